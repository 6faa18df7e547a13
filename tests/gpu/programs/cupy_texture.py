# SPDX-License-Identifier: Apache-2.0
"""Arrays, textures and surfaces through CuPy; layered and three-dimensional ones too."""
import cupy
import numpy
from cupy.cuda import runtime
from cupy.cuda.texture import (ChannelFormatDescriptor, CUDAarray, ResourceDescriptor,
                               SurfaceObject, TextureDescriptor, TextureObject)

from common import digest, show

source = r"""
extern "C" __global__ void read2(float *out, cudaTextureObject_t t, int w, int h)
{ int x = threadIdx.x, y = blockIdx.x; out[y * w + x] = tex2D<float>(t, (x + 0.25f) / w, (y + 0.75f) / h); }
extern "C" __global__ void read1(float *out, cudaTextureObject_t t)
{ out[threadIdx.x] = tex1Dfetch<float>(t, threadIdx.x); }
extern "C" __global__ void read3(float *out, cudaTextureObject_t t)
{ out[(blockIdx.x * 4 + threadIdx.y) * 8 + threadIdx.x] = tex3D<float>(t, threadIdx.x, threadIdx.y, blockIdx.x); }
extern "C" __global__ void write2(cudaSurfaceObject_t s, int w)
{ surf2Dwrite((float)(threadIdx.x * 100 + blockIdx.x), s, threadIdx.x * 4, blockIdx.x); }
"""
module = cupy.RawModule(code=source)
channel = ChannelFormatDescriptor(32, 0, 0, 0, runtime.cudaChannelFormatKindFloat)
host = numpy.arange(32 * 16, dtype=numpy.float32).reshape(16, 32)
array = CUDAarray(channel, 32, 16)
array.copy_from(host)
back = numpy.zeros_like(host)
array.copy_to(back)
show("array", numpy.array_equal(host, back))
descriptor = TextureDescriptor((runtime.cudaAddressModeClamp, runtime.cudaAddressModeWrap),
                               runtime.cudaFilterModeLinear, runtime.cudaReadModeElementType,
                               normalizedCoords=1)
texture = TextureObject(ResourceDescriptor(runtime.cudaResourceTypeArray, cuArr=array), descriptor)
out = cupy.zeros((16, 32), cupy.float32)
module.get_function("read2")((16,), (32,), (out, texture, 32, 16))
show("tex2D linear", digest(out))
line = cupy.arange(100, dtype=cupy.float32)
linear = TextureObject(ResourceDescriptor(runtime.cudaResourceTypeLinear, arr=line, chDesc=channel,
                                          sizeInBytes=line.nbytes), TextureDescriptor())
out = cupy.zeros(100, cupy.float32)
module.get_function("read1")((1,), (100,), (out, linear))
show("tex1Dfetch", digest(out), cupy.array_equal(out, line))
pitched = cupy.arange(32 * 16, dtype=cupy.float32).reshape(16, 32)
flat = TextureObject(ResourceDescriptor(runtime.cudaResourceTypePitch2D, arr=pitched, chDesc=channel,
                                        width=32, height=16, pitchInBytes=128), descriptor)
out = cupy.zeros((16, 32), cupy.float32)
module.get_function("read2")((16,), (32,), (out, flat, 32, 16))
show("pitched", digest(out))
cube = CUDAarray(channel, 8, 4, 2)
cube.copy_from(numpy.arange(64, dtype=numpy.float32).reshape(2, 4, 8))
texture = TextureObject(ResourceDescriptor(runtime.cudaResourceTypeArray, cuArr=cube),
                        TextureDescriptor((runtime.cudaAddressModeClamp,) * 3))
out = cupy.zeros((2, 4, 8), cupy.float32)
module.get_function("read3")((2,), (8, 4), (out, texture))
show("tex3D", digest(out))
surface_array = CUDAarray(channel, 32, 16, flags=runtime.cudaArraySurfaceLoadStore)
surface = SurfaceObject(ResourceDescriptor(runtime.cudaResourceTypeArray, cuArr=surface_array))
module.get_function("write2")((16,), (32,), (surface, 32))
surface_array.copy_to(back)
show("surface", digest(back))
device = cupy.zeros((16, 32), cupy.float32)
surface_array.copy_to(device)
show("array to device", digest(device))
