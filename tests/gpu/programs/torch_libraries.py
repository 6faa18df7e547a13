# SPDX-License-Identifier: Apache-2.0
"""cuBLAS, cuBLASLt, cuDNN, cuFFT, cuSOLVER, cuSPARSE and PyTorch's own kernels through PyTorch."""
import torch

from common import digest, show

torch.manual_seed(1)
torch.use_deterministic_algorithms(True, warn_only=True)
torch.backends.cudnn.benchmark = False
device = torch.device("cuda")
show("device", torch.cuda.get_device_name(), torch.cuda.get_device_capability())
a, b = (torch.randn(512, 768, device=device), torch.randn(768, 640, device=device))
show("sgemm", digest(a @ b))
for kind in (torch.float16, torch.bfloat16, torch.float64):
    show("gemm", kind, digest(a.to(kind) @ b.to(kind)))
show("linear", digest(torch.nn.functional.linear(a.half(), b.t().contiguous().half(),
                                                 torch.randn(640, device=device).half())))
show("bmm", digest(torch.bmm(torch.randn(8, 64, 32, device=device),
                             torch.randn(8, 32, 48, device=device))))
image = torch.randn(4, 16, 32, 32, device=device, requires_grad=True)
convolution = torch.nn.Conv2d(16, 32, 3, padding=1).to(device)
result = convolution(image)
result.square().mean().backward()
show("convolution", digest(result), digest(image.grad), digest(convolution.weight.grad))
show("batchnorm", digest(torch.nn.BatchNorm2d(16).to(device)(image)))
lstm = torch.nn.LSTM(32, 64, num_layers=2, batch_first=True).to(device)
show("lstm", digest(lstm(torch.randn(4, 16, 32, device=device))[0]))
query = torch.randn(2, 8, 128, 64, device=device, dtype=torch.float16)
show("attention", digest(torch.nn.functional.scaled_dot_product_attention(query, query, query)))
show("fft", digest(torch.fft.fft2(torch.randn(8, 128, 128, device=device))))
show("rfft", digest(torch.fft.irfft(torch.fft.rfft(torch.randn(16, 1000, device=device)))))
square = torch.randn(96, 96, device=device)
positive = square @ square.t() + 96 * torch.eye(96, device=device)
show("cholesky", digest(torch.linalg.cholesky(positive)))
show("eigh", digest(torch.linalg.eigvalsh(positive)))
show("svd", digest(torch.linalg.svdvals(square)))
show("solve", digest(torch.linalg.solve(positive, square)))
show("qr", digest(torch.linalg.qr(square)[1]))
sparse = (torch.rand(256, 256, device=device) < 0.05) * torch.randn(256, 256, device=device)
show("sparse", digest(torch.mm(sparse.to_sparse_csr(), torch.randn(256, 64, device=device))))
show("sort", digest(torch.sort(torch.randn(100000, device=device))[0]))
show("topk", digest(torch.topk(torch.randn(64, 1000, device=device), 10)[0]))
show("unique", digest(torch.unique(torch.randint(0, 1000, (5000,), device=device))))
show("cumsum", digest(torch.cumsum(torch.ones(10000, device=device), 0)))
show("random", digest(torch.rand(1000, device=device)), digest(torch.randperm(1000, device=device)))
show("nonzero", len(torch.nonzero(torch.arange(1000, device=device) % 3 == 0)))
show("memory", torch.cuda.memory_allocated() > 0, torch.cuda.mem_get_info()[1] > 0)
torch.cuda.synchronize()
