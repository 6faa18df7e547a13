# SPDX-License-Identifier: Apache-2.0
"""What the GPU tests' programs share: lines that must be the same natively and remoted."""
import hashlib
import sys

SKIP = 77


def digest(array):
    """A short hash of an array's bytes: equal only where every bit is."""
    if hasattr(array, "detach"):  # a torch tensor
        import torch
        array = array.detach().cpu().contiguous()
        if array.dtype == torch.bfloat16:
            array = array.view(torch.int16)
        array = array.numpy()
    elif hasattr(array, "get"):  # a cupy array
        array = array.get()
    import numpy
    array = numpy.ascontiguousarray(array)
    return hashlib.sha256(array.tobytes()).hexdigest()[:16]


def show(name, *values):
    """One line of the result; both runs must print the same."""
    print(f"{name}:", *values, flush=True)


def skip(reason):
    print(f"skipped: {reason}", flush=True)
    sys.exit(SKIP)
