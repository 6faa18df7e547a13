# SPDX-License-Identifier: Apache-2.0
"""PyTorch's allocators: argv[1] is expandable (virtual memory management), async (pools) or plain."""
import os
import sys

kind = sys.argv[1]
os.environ["PYTORCH_CUDA_ALLOC_CONF"] = {"expandable": "expandable_segments:True",
                                         "async": "backend:cudaMallocAsync",
                                         "plain": ""}[kind]
os.environ["PYTORCH_ALLOC_CONF"] = os.environ["PYTORCH_CUDA_ALLOC_CONF"]
import torch

from common import digest, show

show("backend", torch.cuda.get_allocator_backend())
kept = []
for i in range(40):
    block = torch.full((1 + i * 37, 4099), float(i), device="cuda")
    if i % 3:
        kept.append(block)
show("kept", digest(torch.cat([k.sum(1) for k in kept])))
del kept, block
torch.cuda.empty_cache()
big = [torch.ones(64 << 20, dtype=torch.uint8, device="cuda") for _ in range(8)]
show("big", sum(int(b.sum()) for b in big))
before = torch.cuda.memory_reserved()
del big
torch.cuda.empty_cache()
show("given back", torch.cuda.memory_reserved() < before)
side = torch.cuda.Stream()
with torch.cuda.stream(side):
    x = torch.arange(1 << 20, device="cuda").float().sqrt()
x.record_stream(torch.cuda.current_stream())
torch.cuda.current_stream().wait_stream(side)
show("streams", digest(x))
try:
    torch.empty(1 << 50, dtype=torch.uint8, device="cuda")
except torch.OutOfMemoryError:
    show("too much", "out of memory")
show("afterwards", digest(torch.ones(5, device="cuda")))
