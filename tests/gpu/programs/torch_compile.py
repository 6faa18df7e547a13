# SPDX-License-Identifier: Apache-2.0
"""torch.compile with Triton's kernels, forward and backward."""
import torch

from common import digest, show

torch.manual_seed(4)


def function(x, y):
    return torch.nn.functional.gelu(x @ y).softmax(-1) * torch.sin(x.sum(1, keepdim=True))


compiled = torch.compile(function)
x = torch.randn(64, 128, device="cuda", requires_grad=True)
y = torch.randn(128, 256, device="cuda", requires_grad=True)
out = compiled(x, y)
out.square().sum().backward()
show("compiled", digest(out), digest(x.grad), digest(y.grad))
show("close to eager", torch.allclose(out, function(x, y), atol=1e-5))
model = torch.compile(torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.LayerNorm(64)).cuda(),
                      mode="reduce-overhead")
with torch.no_grad():
    for _ in range(4):
        result = model(torch.ones(16, 64, device="cuda")).clone()
show("reduce-overhead", digest(result))
