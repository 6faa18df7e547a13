# SPDX-License-Identifier: Apache-2.0
"""A kernel of one's own in Triton: elementwise, reduction, dot; also autotuned."""
import torch
import triton
import triton.language as tl

from common import digest, show


@triton.autotune(configs=[triton.Config({"BLOCK": 64}), triton.Config({"BLOCK": 128})], key=["n"])
@triton.jit
def add(a, b, c, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    tl.store(c + at, tl.load(a + at, inside) + tl.load(b + at, inside), inside)


@triton.jit
def product(a, b, c, n: tl.constexpr):
    rows, columns = tl.arange(0, n)[:, None], tl.arange(0, n)[None, :]
    at = rows * n + columns
    tl.store(c + at, tl.dot(tl.load(a + at), tl.load(b + at)))


torch.manual_seed(5)
a, b = torch.randn(10000, device="cuda"), torch.randn(10000, device="cuda")
c = torch.empty_like(a)
add[lambda meta: (triton.cdiv(10000, meta["BLOCK"]),)](a, b, c, 10000)
show("add", digest(c), torch.equal(c, a + b))
a, b = (torch.randn(64, 64, device="cuda", dtype=torch.float16) for _ in range(2))
c = torch.empty(64, 64, device="cuda")
product[(1,)](a, b, c, 64)
show("dot", digest(c))
