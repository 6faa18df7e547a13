# SPDX-License-Identifier: Apache-2.0
"""Numba: the driver interface called from Python through cuda-bindings or ctypes, and its linker."""
import numpy

# Some versions of Numba ask for a name that NumPy has given up since.
if not hasattr(numpy, "row_stack"):
    numpy.row_stack = numpy.vstack
from numba import cuda, float32  # noqa: E402

from common import digest, show


@cuda.jit
def smooth(source, target):
    i = cuda.grid(1)
    part = cuda.shared.array(64, float32)
    part[cuda.threadIdx.x] = source[i]
    cuda.syncthreads()
    target[i] = (part[cuda.threadIdx.x] + part[63 - cuda.threadIdx.x]) / 2


source = numpy.arange(640, dtype=numpy.float32)
there = cuda.to_device(source)
target = cuda.device_array_like(there)
smooth[10, 64](there, target)
show("kernel", digest(target.copy_to_host()))
pinned = cuda.pinned_array(100, numpy.float32)
pinned[:] = 5
show("pinned", digest(cuda.to_device(pinned).copy_to_host()))
stream = cuda.stream()
with stream.auto_synchronize():
    moved = cuda.to_device(source, stream=stream)
show("stream", digest(moved.copy_to_host()))
try:
    mapped = cuda.mapped_array(64, numpy.float32)
    mapped[:] = 1
    smooth[1, 64](there, mapped)
    cuda.synchronize()
    show("mapped", digest(numpy.array(mapped)))
except Exception as error:
    show("mapped", type(error).__name__, str(error)[:80])
