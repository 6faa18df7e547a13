# SPDX-License-Identifier: Apache-2.0
"""A DataLoader with forked workers and pinned memory; copies that do not block."""
import torch
from torch.utils.data import DataLoader, Dataset

from common import digest, show


class Numbers(Dataset):
    def __len__(self):
        return 256

    def __getitem__(self, index):
        return torch.full((3, 32, 32), float(index)), index


if __name__ == "__main__":
    total = torch.zeros(3, 32, 32, device="cuda")
    for workers in (0, 3):
        for images, labels in DataLoader(Numbers(), 32, num_workers=workers, pin_memory=True):
            show("batch", images.is_pinned(), int(labels[0]))
            total += images.cuda(non_blocking=True).sum(0)
    show("sum", digest(total), total[0, 0, 0].item())
    pinned = torch.arange(1 << 20).pin_memory()
    there = pinned.cuda(non_blocking=True)
    back = torch.empty_like(pinned).pin_memory()
    back.copy_(there * 2, non_blocking=True)
    torch.cuda.current_stream().synchronize()
    show("back", digest(back))
