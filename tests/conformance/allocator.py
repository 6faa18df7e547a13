#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A client for tests of memory: does as each line of its input says, answers each with one line.

alloc BYTES -> CUresult NUMBER; free NUMBER -> CUresult; info -> FREE TOTAL
"""
import ctypes
import sys

cuda = ctypes.CDLL("libcuda.so.1")


def check(result):
    if result:
        sys.exit(f"CUDA says {result}")


def main():
    context = ctypes.c_void_p()
    check(cuda.cuInit(0))
    check(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0))
    check(cuda.cuCtxSetCurrent(context))
    blocks = []
    print("ready", flush=True)
    for line in sys.stdin:
        words = line.split()
        if words[0] == "alloc":
            address = ctypes.c_uint64()
            result = cuda.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(int(words[1])))
            blocks.append(address)
            print(result, len(blocks) - 1, flush=True)
        elif words[0] == "free":
            print(cuda.cuMemFree_v2(blocks[int(words[1])]), flush=True)
        elif words[0] == "info":
            free, total = ctypes.c_size_t(), ctypes.c_size_t()
            check(cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)))
            print(free.value, total.value, flush=True)


main()
