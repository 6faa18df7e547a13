# SPDX-License-Identifier: Apache-2.0
"""PyTorch through whichever libcuda.so.1 the loader finds; prints one line of JSON.

usage: cuda_gpu_torch.py START [PART ...]     START: time.time() just before this was started
       parts: first, sgemm, small, large; all of them by default

    import_to_first_result_s     from START to the sum of a product that the device computed
    sgemm_N_ms                   a product of two N x N matrices in single precision
    small_step_ms, large_step_ms a training step, steady state
    small_counters, ...          what a step made of calls, requests, round trips, bytes (a client)
    small_loss, large_loss       last losses, as hexadecimal floats: bit-identical or not
"""
import json
import mmap
import os
import struct
import sys
import time

COUNTERS = ("calls", "requests", "round_trips", "bytes_out", "bytes_in")
RESULTS = {}


class Counters:
    """The client library's counters, where CAUSEWAY_CUDA_COUNTERS names their file."""

    def __init__(self):
        self.map = None
        path = os.environ.get("CAUSEWAY_CUDA_COUNTERS")
        if path and os.path.exists(path):
            with open(path, "rb") as file:
                self.map = mmap.mmap(file.fileno(), 8 * len(COUNTERS), prot=mmap.PROT_READ)

    def read(self):
        return struct.unpack(f"<{len(COUNTERS)}Q", self.map[:]) if self.map else None


def measure_first(start):
    import torch
    matrix = torch.ones(256, 256, device="cuda")
    assert (matrix @ matrix).sum().item() == 256 ** 3
    RESULTS["import_to_first_result_s"] = [time.time() - start]


def measure_sgemm():
    import torch
    for size in (256, 512, 1024, 2048, 4096, 8192):
        a, b = (torch.randn(size, size, device="cuda") for _ in range(2))
        out = torch.empty_like(a)
        repeats = max(3, min(200, int(2e11 / size ** 3)))
        samples = []
        for _ in range(6):
            torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(repeats):
                torch.mm(a, b, out=out)
            torch.cuda.synchronize()
            samples.append((time.perf_counter() - start) / repeats * 1e3)
        RESULTS[f"sgemm_{size}_ms"] = samples[1:]


def small_model():
    """A transformer of two layers, 16 sequences of 64 x 512."""
    import torch
    from torch import nn
    layer = nn.TransformerEncoderLayer(512, 8, 2048, dropout=0.0, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).cuda()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    inputs, wanted = (torch.randn(16, 64, 512, device="cuda") for _ in range(2))

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = (model(inputs) - wanted).square().mean()
        loss.backward()
        optimizer.step()
        return loss
    return step


def large_model():
    """124 million parameters in GPT-2's shape, 4 sequences of 512, single precision (TF32)."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, width, heads):
            super().__init__()
            self.heads = heads
            self.norm_a, self.norm_b = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x):
            batch, length, width = x.shape
            q, k, v = (part.view(batch, length, self.heads, -1).transpose(1, 2)
                       for part in self.qkv(self.norm_a(x)).chunk(3, dim=-1))
            mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
            return x + self.down(nn.functional.gelu(self.up(self.norm_b(x))))

    class Model(nn.Module):
        def __init__(self, words=50257, length=512, width=768):
            super().__init__()
            self.word, self.place = nn.Embedding(words, width), nn.Embedding(length, width)
            self.blocks = nn.ModuleList(Block(width, 12) for _ in range(12))
            self.norm = nn.LayerNorm(width)

        def forward(self, tokens):
            x = self.word(tokens) + self.place.weight
            for block in self.blocks:
                x = block(x)
            return self.norm(x) @ self.word.weight.t()

    torch.set_float32_matmul_precision("high")
    model = Model().cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    tokens = torch.randint(50257, (4, 513), device="cuda")

    def step():
        optimizer.zero_grad(set_to_none=True)
        logits = model(tokens[:, :-1])
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        return loss
    return step


def measure_steps(name, make, warm, steps, samples):
    import torch
    torch.manual_seed(1)
    step = make()
    counters = Counters()
    for _ in range(warm):
        loss = step()
    times = []
    before = after = None
    for _ in range(samples):
        torch.cuda.synchronize()
        before = counters.read()
        start = time.perf_counter()
        for _ in range(steps):
            loss = step()
        after = counters.read()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - start) / steps * 1e3)
    RESULTS[f"{name}_step_ms"] = times
    RESULTS[f"{name}_loss"] = loss.item().hex()
    if before:
        RESULTS[f"{name}_counters"] = {
            key: (b - a) / steps for key, a, b in zip(COUNTERS, before, after)}


def main():
    start = float(sys.argv[1])
    parts = sys.argv[2:] or ["first", "sgemm", "small", "large"]
    measure_first(start)
    if "sgemm" in parts:
        measure_sgemm()
    if "small" in parts:
        measure_steps("small", small_model, 20, 50, 7)
    if "large" in parts:
        measure_steps("large", large_model, 8, 10, 5)
    print(json.dumps(RESULTS))


if __name__ == "__main__":
    main()
