# SPDX-License-Identifier: Apache-2.0
"""Managed memory: either really working, or reported as unsupported by the attributes."""
import ctypes

import cupy

from common import show

offered = cupy.cuda.Device(0).attributes["ManagedMemory"]
try:
    memory = cupy.cuda.malloc_managed(4096)
    array = cupy.ndarray(1024, cupy.float32, memory)
    array[...] = 7
    cupy.cuda.Device().synchronize()
    works = ctypes.cast(memory.ptr, ctypes.POINTER(ctypes.c_float))[10] == 7
except cupy.cuda.runtime.CUDARuntimeError as error:
    works = False
show("attribute and truth agree", bool(offered) == works)
