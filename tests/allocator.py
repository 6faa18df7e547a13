#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A client for tests of memory: does as each line of its input says, answers each with one line.

ways -> the ways to allocate that this driver has; alloc WAY BYTES -> CUresult NUMBER BYTES, with
the bytes that count against a quota; free NUMBER -> CUresult; info -> FREE TOTAL;
fill NUMBER BYTE -> CUresult; dirty NUMBER -> CUresult COUNT, with the bytes of it that are not zero;
put NUMBER BYTES, get NUMBER BYTES, move NUMBER NUMBER BYTES -> CUresult: copies;
context -> CUresult NUMBER: one more on the device, that is not made current; uncontext NUMBER;
keep BYTES -> CUresult: the default pool's release threshold; pool ATTRIBUTE -> CUresult VALUE of it;
load BYTES -> CUresult NUMBER: a module with a variable of so many bytes; unload NUMBER -> CUresult;
launch NUMBER -> CUresult: that module's kernel, which does nothing;
export NUMBER -> CUresult HANDLE: a block for other processes; open HANDLE -> CUresult NUMBER: one of
another process, which "free" closes
"""
import ctypes
import sys

cuda = ctypes.CDLL("libcuda.so.1")
GRANULE = 2 << 20  # of cuMemCreate
ROW = 1000  # bytes: no multiple of any pitch
u64 = ctypes.c_uint64


class Location(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("id", ctypes.c_int)]


class AllocationProp(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("handle_types", ctypes.c_int), ("location", Location),
                ("meta", ctypes.c_void_p), ("flags", ctypes.c_ubyte * 8)]


class PoolProps(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("handle_types", ctypes.c_int), ("location", Location),
                ("security", ctypes.c_void_p), ("max_size", ctypes.c_size_t),
                ("usage", ctypes.c_ushort), ("reserved", ctypes.c_ubyte * 54)]


class ArrayDescriptor(ctypes.Structure):
    _fields_ = [("width", ctypes.c_size_t), ("height", ctypes.c_size_t),
                ("format", ctypes.c_int), ("channels", ctypes.c_uint)]


def check(result):
    if result:
        sys.exit(f"CUDA says {result}")


def plain(count):
    at = u64()
    return cuda.cuMemAlloc_v2(ctypes.byref(at), ctypes.c_size_t(count)), at, count


def pitch(count):
    at, row, rows = u64(), ctypes.c_size_t(), max(1, count // ROW)
    result = cuda.cuMemAllocPitch_v2(ctypes.byref(at), ctypes.byref(row), ctypes.c_size_t(ROW),
                                     ctypes.c_size_t(rows), 4)
    if not result:
        pitch.row = row.value
    return result, at, getattr(pitch, "row", ROW) * rows


def managed(count):
    at = u64()
    return cuda.cuMemAllocManaged(ctypes.byref(at), ctypes.c_size_t(count), 1), at, count


def asynchronous(count):
    at = u64()
    return cuda.cuMemAllocAsync(ctypes.byref(at), ctypes.c_size_t(count), None), at, count


def pool(count):
    if not hasattr(pool, "handle"):
        props = PoolProps(type=1, location=Location(1, 0))
        handle = ctypes.c_void_p()
        result = cuda.cuMemPoolCreate(ctypes.byref(handle), ctypes.byref(props))
        if result:
            return result, None, count
        pool.handle = handle
    at = u64()
    return (cuda.cuMemAllocFromPoolAsync(ctypes.byref(at), ctypes.c_size_t(count), pool.handle,
                                         None), at, count)


def create(count):
    count = -(-count // GRANULE) * GRANULE
    handle, prop = u64(), AllocationProp(type=1, location=Location(1, 0))
    return (cuda.cuMemCreate(ctypes.byref(handle), ctypes.c_size_t(count), ctypes.byref(prop),
                             ctypes.c_ulonglong(0)), handle, count)


def array(count):
    width, rows = 1024, max(1, min(32768, count // 4096))
    handle = ctypes.c_void_p()
    result = cuda.cuArrayCreate_v2(ctypes.byref(handle),
                                   ctypes.byref(ArrayDescriptor(width, rows, 0x20, 1)))
    return result, handle, 4 * width * rows


def free_async(at):
    return cuda.cuMemFreeAsync(at, None) or cuda.cuStreamSynchronize(None)


WAYS = {"plain": (plain, cuda.cuMemFree_v2), "pitch": (pitch, cuda.cuMemFree_v2),
        "managed": (managed, cuda.cuMemFree_v2), "async": (asynchronous, free_async),
        "pool": (pool, free_async), "create": (create, cuda.cuMemRelease),
        "array": (array, cuda.cuArrayDestroy)}


def ways():
    """Those that work here."""
    found = []
    for name, (allocate, release) in WAYS.items():
        result, handle, _ = allocate(65536)
        if not result:
            check(release(handle))
            found.append(name)
    return found


def default_pool():
    handle = ctypes.c_void_p()
    check(cuda.cuDeviceGetDefaultMemPool(ctypes.byref(handle), 0))
    return handle


def context(blocks):
    """A context of its own, beside the primary one, which stays current."""
    made, popped = ctypes.c_void_p(), ctypes.c_void_p()
    result = cuda.cuCtxCreate_v2(ctypes.byref(made), 0, 0)
    if not result:
        check(cuda.cuCtxPopCurrent_v2(ctypes.byref(popped)))
    blocks.append(made)
    return [result, len(blocks) - 1]


def load(count, blocks):
    text = (".version 6.4\n.target sm_75\n.address_size 64\n"
            f".visible .global .align 8 .b8 much[{count}];\n"
            ".visible .entry nothing() { ret; }\n").encode()
    made = ctypes.c_void_p()
    result = cuda.cuModuleLoadData(ctypes.byref(made), text)
    blocks.append(made)
    return [result, len(blocks) - 1]


def launch(module):
    kernel = ctypes.c_void_p()
    check(cuda.cuModuleGetFunction(ctypes.byref(kernel), module, b"nothing"))
    return [cuda.cuLaunchKernel(kernel, 1, 1, 1, 1, 1, 1, 0, None, None, None)
            or cuda.cuCtxSynchronize()]


class Handle(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_ubyte * 64)]


def export(block):
    handle = Handle()
    return [cuda.cuIpcGetMemHandle(ctypes.byref(handle), block[0]),
            int.from_bytes(bytes(handle.bytes), "little")]


def open_handle(number, blocks):
    at, handle = u64(), Handle((ctypes.c_ubyte * 64)(*number.to_bytes(64, "little")))
    result = cuda.cuIpcOpenMemHandle_v2(ctypes.byref(at), handle, 1)
    blocks.append((at, cuda.cuIpcCloseMemHandle, 0))
    return [result, len(blocks) - 1]


def pool_attribute(number):
    value = u64()
    return [cuda.cuMemPoolGetAttribute(default_pool(), number, ctypes.byref(value)), value.value]


OTHERS = {
    "context": lambda words, blocks: context(blocks),
    "uncontext": lambda words, blocks: [cuda.cuCtxDestroy_v2(blocks[int(words[0])])],
    "keep": lambda words, blocks: [cuda.cuMemPoolSetAttribute(
        default_pool(), 4, ctypes.byref(u64(int(words[0]))))],
    "pool": lambda words, blocks: pool_attribute(int(words[0])),
    "load": lambda words, blocks: load(int(words[0]), blocks),
    "unload": lambda words, blocks: [cuda.cuModuleUnload(blocks[int(words[0])])],
    "launch": lambda words, blocks: launch(blocks[int(words[0])]),
    "export": lambda words, blocks: export(blocks[int(words[0])]),
    "open": lambda words, blocks: open_handle(int(words[0]), blocks),
}


def answer(words, blocks):
    if words[0] in OTHERS:
        return OTHERS[words[0]](words[1:], blocks)
    if words[0] == "ways":
        return ways()
    if words[0] == "alloc":
        allocate, release = WAYS[words[1]]
        result, handle, charged = allocate(int(words[2]))
        blocks.append((handle, release, int(words[2])))
        return [result, len(blocks) - 1, charged]
    if words[0] == "info":
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        check(cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)))
        return [free.value, total.value]
    handle, release, count = blocks[int(words[1])]
    if words[0] == "free":
        return [release(handle)]
    if words[0] in ("put", "get"):
        size = ctypes.c_size_t(int(words[2]))
        content = ctypes.create_string_buffer(size.value)
        return [cuda.cuMemcpyHtoD_v2(handle, content, size) if words[0] == "put"
                else cuda.cuMemcpyDtoH_v2(content, handle, size)]
    if words[0] == "move":
        return [cuda.cuMemcpyDtoD_v2(handle, blocks[int(words[2])][0],
                                     ctypes.c_size_t(int(words[3]))) or cuda.cuCtxSynchronize()]
    if words[0] == "fill":
        return [cuda.cuMemsetD8_v2(handle, int(words[2]), ctypes.c_size_t(count))
                or cuda.cuCtxSynchronize()]
    content = ctypes.create_string_buffer(count)
    result = cuda.cuMemcpyDtoH_v2(content, handle, ctypes.c_size_t(count))
    return [result, count - content.raw.count(0)]


def main():
    context = ctypes.c_void_p()
    check(cuda.cuInit(0))
    check(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0))
    check(cuda.cuCtxSetCurrent(context))
    blocks = []
    print("ready", flush=True)
    for line in sys.stdin:
        print(*answer(line.split(), blocks), flush=True)


main()
