/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver's functions that give a device work, each with a turn around it.
 *
 * They take the driver's places in worker_driver, so that no request can forget its turn. A small
 * copy's estimate comes from its bytes; other copies, kernels, fills and graphs are told apart by
 * what they do and how large, and learn theirs.
 */
#include "cuda/common/range.h"
#include "cuda/server/account.h"
#include "cuda/server/turn.h"
#include "cuda/server/worker.h"

/* Of copies, until they are measured: below what any of today's buses moves in a nanosecond. */
#define COPY_BYTES_PER_NS 8u
/* From here on a copy's length is learned: a smaller one is over before an event can tell. */
#define COPY_LEARNED_BYTES (1u << 20)
#define FILL_COST	   1u
#define COPY_COST	   2u
#define COPY_COST_FIXED	   0u

static struct cuda_driver real;

/* kernel_cost - a number for this function at about this size */
static uint32_t kernel_cost(const void *function, uint64_t threads)
{
	uint64_t mixed = (uint64_t)(uintptr_t)function >> 4;

	mixed = mixed * 64 + (threads ? 63 - (unsigned int)__builtin_clzll(threads) : 0);
	return (uint32_t)((mixed * 0x9e3779b97f4a7c15u) >> 32);
}

static uint32_t fill_cost(uint64_t bytes)
{
	return FILL_COST + 4 * (bytes ? 63 - (unsigned int)__builtin_clzll(bytes) : 0);
}

/* copy_cost - a number for copies that way of about this size; no fill's */
static uint32_t copy_cost(enum share_copy way, uint64_t bytes)
{
	if (bytes < COPY_LEARNED_BYTES)
		return COPY_COST_FIXED;
	return COPY_COST + 4 * ((uint32_t)way * 64 + 63 - (unsigned int)__builtin_clzll(bytes));
}

static uint64_t copy_ns(uint64_t bytes)
{
	return bytes / COPY_BYTES_PER_NS + 1;
}

/* WITH_TURN - the real call between turn_begin() and turn_end() */
#define WITH_TURN(stream, cost, estimate_ns, call)             \
	({                                                     \
		struct turn_work work_;                        \
		CUresult result_;                              \
                                                               \
		turn_begin(&work_, stream, cost, estimate_ns); \
		result_ = real.call;                           \
		turn_end(&work_, result_);                     \
		result_;                                       \
	})

/* WITH_COPY - the same for a copy of @bytes */
#define WITH_COPY(stream, way, bytes, call)                                         \
	({                                                                          \
		const enum share_copy way_ = way;                                   \
		struct turn_work work_;                                             \
		CUresult result_;                                                   \
                                                                                    \
		turn_begin(&work_, stream, copy_cost(way_, bytes), copy_ns(bytes)); \
		result_ = real.call;                                                \
		if (!result_)                                                       \
			account_copy(way_, bytes);                                  \
		turn_end(&work_, result_);                                          \
		result_;                                                            \
	})

static CUresult launch(CUfunction function, unsigned int grid_x, unsigned int grid_y,
		       unsigned int grid_z, unsigned int block_x, unsigned int block_y,
		       unsigned int block_z, unsigned int shared_bytes, CUstream stream,
		       void **parameters, void **extra)
{
	uint64_t threads = (uint64_t)grid_x * grid_y * grid_z * block_x * block_y * block_z;

	return WITH_TURN(stream, kernel_cost(function, threads), 0,
			 cuLaunchKernel(function, grid_x, grid_y, grid_z, block_x, block_y, block_z,
					shared_bytes, stream, parameters, extra));
}

static CUresult launch_cooperative(CUfunction function, unsigned int grid_x, unsigned int grid_y,
				   unsigned int grid_z, unsigned int block_x, unsigned int block_y,
				   unsigned int block_z, unsigned int shared_bytes, CUstream stream,
				   void **parameters)
{
	uint64_t threads = (uint64_t)grid_x * grid_y * grid_z * block_x * block_y * block_z;

	return WITH_TURN(stream, kernel_cost(function, threads), 0,
			 cuLaunchCooperativeKernel(function, grid_x, grid_y, grid_z, block_x,
						   block_y, block_z, shared_bytes, stream,
						   parameters));
}

static CUresult launch_ex(const CUlaunchConfig *config, CUfunction function, void **parameters,
			  void **extra)
{
	uint64_t threads = (uint64_t)config->gridDimX * config->gridDimY * config->gridDimZ *
			   config->blockDimX * config->blockDimY * config->blockDimZ;

	return WITH_TURN(config->hStream, kernel_cost(function, threads), 0,
			 cuLaunchKernelEx(config, function, parameters, extra));
}

static CUresult launch_graph(CUgraphExec graph, CUstream stream)
{
	return WITH_TURN(stream, kernel_cost(graph, 0), 0, cuGraphLaunch(graph, stream));
}

/* address_way - of a copy whose ends may be memory that is shared with the client */
static enum share_copy address_way(CUdeviceptr to, CUdeviceptr from)
{
	struct range part;

	if (worker_range_host(from, 1, &part))
		return SHARE_COPY_IN;
	return worker_range_host(to, 1, &part) ? SHARE_COPY_OUT : SHARE_COPY_WITHIN;
}

/* memory_way - of a copy that says what its ends are */
static enum share_copy memory_way(CUmemorytype to, CUmemorytype from)
{
	if (from == CU_MEMORYTYPE_HOST)
		return SHARE_COPY_IN;
	return to == CU_MEMORYTYPE_HOST ? SHARE_COPY_OUT : SHARE_COPY_WITHIN;
}

static CUresult copy_in(CUdeviceptr to, const void *from, size_t bytes)
{
	return WITH_COPY(NULL, SHARE_COPY_IN, bytes, cuMemcpyHtoD_v2(to, from, bytes));
}

static CUresult copy_in_async(CUdeviceptr to, const void *from, size_t bytes, CUstream stream)
{
	return WITH_COPY(stream, SHARE_COPY_IN, bytes,
			 cuMemcpyHtoDAsync_v2(to, from, bytes, stream));
}

static CUresult copy_out(void *to, CUdeviceptr from, size_t bytes)
{
	return WITH_COPY(NULL, SHARE_COPY_OUT, bytes, cuMemcpyDtoH_v2(to, from, bytes));
}

static CUresult copy_out_async(void *to, CUdeviceptr from, size_t bytes, CUstream stream)
{
	return WITH_COPY(stream, SHARE_COPY_OUT, bytes,
			 cuMemcpyDtoHAsync_v2(to, from, bytes, stream));
}

static CUresult copy_any(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)
{
	return WITH_COPY(stream, address_way(to, from), bytes,
			 cuMemcpyAsync(to, from, bytes, stream));
}

static CUresult copy_within(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)
{
	return WITH_COPY(stream, SHARE_COPY_WITHIN, bytes,
			 cuMemcpyDtoDAsync_v2(to, from, bytes, stream));
}

static CUresult copy_peer(CUdeviceptr to, CUcontext to_context, CUdeviceptr from,
			  CUcontext from_context, size_t bytes, CUstream stream)
{
	return WITH_COPY(stream, SHARE_COPY_WITHIN, bytes,
			 cuMemcpyPeerAsync(to, to_context, from, from_context, bytes, stream));
}

static CUresult copy_2d(const CUDA_MEMCPY2D *copy, CUstream stream)
{
	return WITH_COPY(stream, memory_way(copy->dstMemoryType, copy->srcMemoryType),
			 copy->WidthInBytes * copy->Height, cuMemcpy2DAsync_v2(copy, stream));
}

static CUresult copy_3d(const CUDA_MEMCPY3D *copy, CUstream stream)
{
	return WITH_COPY(stream, memory_way(copy->dstMemoryType, copy->srcMemoryType),
			 copy->WidthInBytes * copy->Height * copy->Depth,
			 cuMemcpy3DAsync_v2(copy, stream));
}

static CUresult fill_8(CUdeviceptr to, unsigned char value, size_t count, CUstream stream)
{
	return WITH_TURN(stream, fill_cost(count), 0, cuMemsetD8Async(to, value, count, stream));
}

static CUresult fill_16(CUdeviceptr to, unsigned short value, size_t count, CUstream stream)
{
	return WITH_TURN(stream, fill_cost(2 * count), 0,
			 cuMemsetD16Async(to, value, count, stream));
}

static CUresult fill_32(CUdeviceptr to, unsigned int value, size_t count, CUstream stream)
{
	return WITH_TURN(stream, fill_cost(4 * count), 0,
			 cuMemsetD32Async(to, value, count, stream));
}

static CUresult fill_2d8(CUdeviceptr to, size_t pitch, unsigned char value, size_t width,
			 size_t height, CUstream stream)
{
	return WITH_TURN(stream, fill_cost(width * height), 0,
			 cuMemsetD2D8Async(to, pitch, value, width, height, stream));
}

static CUresult fill_2d16(CUdeviceptr to, size_t pitch, unsigned short value, size_t width,
			  size_t height, CUstream stream)
{
	return WITH_TURN(stream, fill_cost(2 * width * height), 0,
			 cuMemsetD2D16Async(to, pitch, value, width, height, stream));
}

static CUresult fill_2d32(CUdeviceptr to, size_t pitch, unsigned int value, size_t width,
			  size_t height, CUstream stream)
{
	return WITH_TURN(stream, fill_cost(4 * width * height), 0,
			 cuMemsetD2D32Async(to, pitch, value, width, height, stream));
}

static CUresult stream_destroy(CUstream stream)
{
	turn_stream_ends(stream);
	return real.cuStreamDestroy_v2(stream);
}

static CUresult capture_begin(CUstream stream, CUstreamCaptureMode mode)
{
	turn_stream_ends(stream);
	return real.cuStreamBeginCapture_v2(stream, mode);
}

static CUresult context_destroy(CUcontext context)
{
	turn_context_ends(context);
	return real.cuCtxDestroy_v2(context);
}

/* primary_ends - whoever releases it may be the last one; a reset ends it in any case */
static void primary_ends(CUdevice device)
{
	CUcontext context;
	unsigned int flags;
	int active = 0;

	if (!real.cuDevicePrimaryCtxGetState || !real.cuDevicePrimaryCtxRetain ||
	    real.cuDevicePrimaryCtxGetState(device, &flags, &active) || !active ||
	    real.cuDevicePrimaryCtxRetain(&context, device))
		return;
	turn_context_ends(context);
	real.cuDevicePrimaryCtxRelease_v2(device);
}

static CUresult primary_release(CUdevice device)
{
	primary_ends(device);
	return real.cuDevicePrimaryCtxRelease_v2(device);
}

static CUresult primary_reset(CUdevice device)
{
	primary_ends(device);
	return real.cuDevicePrimaryCtxReset_v2(device);
}

void turn_calls_open(struct cuda_driver *driver)
{
	if (!account_opened())
		return;
	real = *driver;
	WORKER_PUT(driver, cuLaunchKernel, launch);
	WORKER_PUT(driver, cuLaunchCooperativeKernel, launch_cooperative);
	WORKER_PUT(driver, cuLaunchKernelEx, launch_ex);
	WORKER_PUT(driver, cuGraphLaunch, launch_graph);
	WORKER_PUT(driver, cuMemcpyHtoD_v2, copy_in);
	WORKER_PUT(driver, cuMemcpyHtoDAsync_v2, copy_in_async);
	WORKER_PUT(driver, cuMemcpyDtoH_v2, copy_out);
	WORKER_PUT(driver, cuMemcpyDtoHAsync_v2, copy_out_async);
	WORKER_PUT(driver, cuMemcpyAsync, copy_any);
	WORKER_PUT(driver, cuMemcpyDtoDAsync_v2, copy_within);
	WORKER_PUT(driver, cuMemcpyPeerAsync, copy_peer);
	WORKER_PUT(driver, cuMemcpy2DAsync_v2, copy_2d);
	WORKER_PUT(driver, cuMemcpy3DAsync_v2, copy_3d);
	WORKER_PUT(driver, cuMemsetD8Async, fill_8);
	WORKER_PUT(driver, cuMemsetD16Async, fill_16);
	WORKER_PUT(driver, cuMemsetD32Async, fill_32);
	WORKER_PUT(driver, cuMemsetD2D8Async, fill_2d8);
	WORKER_PUT(driver, cuMemsetD2D16Async, fill_2d16);
	WORKER_PUT(driver, cuMemsetD2D32Async, fill_2d32);
	WORKER_PUT(driver, cuStreamDestroy_v2, stream_destroy);
	WORKER_PUT(driver, cuStreamBeginCapture_v2, capture_begin);
	WORKER_PUT(driver, cuCtxDestroy_v2, context_destroy);
	WORKER_PUT(driver, cuDevicePrimaryCtxRelease_v2, primary_release);
	WORKER_PUT(driver, cuDevicePrimaryCtxReset_v2, primary_reset);
}
