# SPDX-License-Identifier: Apache-2.0
"""CuPy: NVRTC kernels, cuBLAS, cuFFT, cuSOLVER, cuSPARSE, cuRAND, CUB, Thrust, streams, graphs."""
import cupy
import numpy

from common import digest, show

generator = numpy.random.default_rng(6)
a = cupy.asarray(generator.standard_normal((300, 200), dtype=numpy.float32))
b = cupy.asarray(generator.standard_normal((200, 100), dtype=numpy.float32))
show("matmul", digest(a @ b))
show("elementwise", digest(cupy.sin(a) * 2 + cupy.sqrt(cupy.abs(a))))
show("reduce", digest(a.sum(axis=0)), digest(cupy.sort(a.ravel())))
show("fft", digest(cupy.fft.fft(a, axis=1)))
s = a[:100, :100] @ a[:100, :100].T + 100 * cupy.eye(100, dtype=cupy.float32)
show("cholesky", digest(cupy.linalg.cholesky(s)))
show("eigh", digest(cupy.linalg.eigvalsh(s)))
show("solve", digest(cupy.linalg.solve(s, b[:100])))
import cupyx.scipy.sparse as sparse
matrix = sparse.random(200, 200, density=0.05, format="csr", dtype=cupy.float32, random_state=7)
show("sparse", matrix.nnz, (matrix @ cupy.ones(200, cupy.float32)).shape)
cupy.random.seed(8)
show("random", digest(cupy.random.random(1000)))
show("generator", digest(cupy.random.default_rng(9).standard_normal(1000)))
kernel = cupy.RawKernel(r"""
extern "C" __global__ void scale(float *x, float by, int n)
{ int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) x[i] *= by; }""", "scale")
x = cupy.arange(1000, dtype=cupy.float32)
kernel((8,), (128,), (x, cupy.float32(3), 1000))
show("raw kernel", digest(x), kernel.num_regs > 0, kernel.max_threads_per_block)
module = cupy.RawModule(code=r"""
__constant__ float table[4]; __device__ int counter;
template<typename T> __global__ void pick(T *out) { out[threadIdx.x] = table[threadIdx.x % 4]; atomicAdd(&counter, 1); }
""", options=("-std=c++17",), name_expressions=("pick<float>",))
table = cupy.ndarray(4, cupy.float32, module.get_global("table"))
table[...] = cupy.asarray([1, 2, 3, 4], cupy.float32)
out = cupy.zeros(32, cupy.float32)
module.get_function("pick<float>")((1,), (32,), (out,))
show("module", digest(out), int(cupy.ndarray(1, cupy.int32, module.get_global("counter"))[0]))
stream = cupy.cuda.Stream(non_blocking=True)
with stream:
    y = cupy.arange(1 << 16, dtype=cupy.float32)
    y = y * 2
stream.synchronize()
show("stream", digest(y))
stream = cupy.cuda.Stream(non_blocking=True)
with stream:
    z = cupy.ones(1000, cupy.float32)
    stream.synchronize()
    stream.begin_capture()
    z *= 2
    z += 1
    graph = stream.end_capture()
for _ in range(3):
    graph.launch(stream)
stream.synchronize()
show("graph", digest(z), float(z[0]))
memory = cupy.cuda.alloc_pinned_memory(4096)
show("pinned", len(bytes(memory)) >= 4096 if hasattr(memory, "__len__") else True)
pool = cupy.cuda.MemoryAsyncPool()
with cupy.cuda.using_allocator(pool.malloc):
    show("async pool", digest(cupy.arange(1 << 18).astype(cupy.float64).cumsum()))
show("attributes", cupy.cuda.Device(0).attributes["MultiProcessorCount"],
     cupy.cuda.Device(0).pci_bus_id, cupy.cuda.runtime.driverGetVersion() >= 13000)
