# SPDX-License-Identifier: Apache-2.0
"""Errors of a faulting kernel: CUDA's own codes, kept for good in this process."""
import torch

from common import show

for attempt in range(2):
    try:
        torch.zeros(4, device="cuda")[torch.tensor([9], device="cuda")].sum()
        torch.cuda.synchronize()
        show("fault", attempt, "nothing seen")
    except Exception as error:
        show("fault", attempt, type(error).__name__, str(error).splitlines()[0])
