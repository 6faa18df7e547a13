# SPDX-License-Identifier: Apache-2.0
"""Training with autograd, and with AMP in float16 (scaled) and bfloat16: losses bit by bit."""
import torch

from common import digest, show

torch.use_deterministic_algorithms(True, warn_only=True)
torch.backends.cuda.enable_flash_sdp(False)
torch.backends.cuda.enable_mem_efficient_sdp(False)


def train(kind, steps=8):
    torch.manual_seed(2)
    layer = torch.nn.TransformerEncoderLayer(256, 4, 512, dropout=0.1, batch_first=True)
    model = torch.nn.Sequential(torch.nn.Embedding(1000, 256),
                                torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False),
                                torch.nn.Linear(256, 1000)).cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler("cuda", enabled=kind is torch.float16)
    losses = []
    for step in range(steps):
        words = torch.randint(0, 1000, (8, 65), device="cuda")
        with torch.autocast("cuda", dtype=kind or torch.float16, enabled=kind is not None):
            out = model(words[:, :-1])
            loss = torch.nn.functional.cross_entropy(out.float().flatten(0, 1),
                                                     words[:, 1:].flatten())
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.detach())
    losses = torch.stack(losses)
    show("train", kind, digest(losses), f"{losses[-1].item():.5f}",
         digest(torch.cat([p.flatten() for p in model.parameters()])))


for kind in (None, torch.bfloat16, torch.float16):
    train(kind)
