/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client gets of a device's memory has nothing in it that another left behind.
 *
 * A driver need not clear what it gives to a process, and who left it there may have died: so it is
 * cleared when it is given, before the client learns its address. The functions here take the
 * driver's places in worker_driver below all others, so that no way to allocate can forget it, and
 * clearing takes part in no turn. What is allocated in the order of a stream is cleared in that
 * order; everything else on a stream of its own that waits for nobody.
 *
 * Arrays that cannot be cleared (block-compressed and video formats) are refused.
 *
 * What a graph's nodes allocate is memory_clear_graph.c's; while a stream is captured, the fill is
 * captured, too, and becomes such a node.
 *
 * clear.lock guards the stream, which is of the context used last, while it is used.
 */
#include <stdlib.h>

#include "cuda/server/turn.h"
#include "cuda/server/worker.h"

static struct {
	pthread_mutex_t lock;
	CUcontext context;
	CUstream stream;
} clear = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct cuda_driver real;

/* clear_stream - the context's own, made anew where @fresh; under the lock */
static CUresult clear_stream(CUcontext context, bool fresh)
{
	CUresult result;

	if (!fresh && clear.stream && clear.context == context)
		return CUDA_SUCCESS;
	result = real.cuStreamCreate(&clear.stream, CU_STREAM_NON_BLOCKING);
	clear.context = context;
	if (result)
		clear.stream = NULL;
	return result;
}

/* clear_bytes - in the current context, and wait for it */
static CUresult clear_bytes(CUdeviceptr address, size_t bytes)
{
	CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
	CUcontext context = NULL;
	CUresult result = real.cuCtxGetCurrent(&context);

	if (result)
		return result;
	if (real.cuThreadExchangeStreamCaptureMode)
		real.cuThreadExchangeStreamCaptureMode(&mode);
	pthread_mutex_lock(&clear.lock);
	/* A context that is gone took its stream along, and another may have its address now. */
	for (int fresh = 0; fresh < 2; fresh++) {
		result = clear_stream(context, fresh);
		if (!result)
			result = real.cuMemsetD8Async(address, 0, bytes, clear.stream);
		if (!result)
			break;
	}
	if (!result)
		result = real.cuStreamSynchronize(clear.stream);
	pthread_mutex_unlock(&clear.lock);
	if (real.cuThreadExchangeStreamCaptureMode)
		real.cuThreadExchangeStreamCaptureMode(&mode);
	return result;
}

static CUresult allocate(CUdeviceptr *address, size_t bytes)
{
	CUresult result = real.cuMemAlloc_v2(address, bytes);

	if (result)
		return result;
	result = clear_bytes(*address, bytes);
	if (result)
		real.cuMemFree_v2(*address);
	return result;
}

static CUresult allocate_pitch(CUdeviceptr *address, size_t *pitch, size_t width_bytes,
			       size_t height, unsigned int element_bytes)
{
	CUresult result =
		real.cuMemAllocPitch_v2(address, pitch, width_bytes, height, element_bytes);

	if (result)
		return result;
	result = clear_bytes(*address, *pitch * height);
	if (result)
		real.cuMemFree_v2(*address);
	return result;
}

/* clear_behind - in the order of the stream that it was allocated on, also of a captured one */
static CUresult clear_behind(CUdeviceptr address, size_t bytes, CUstream stream)
{
	CUresult result = real.cuMemsetD8Async(address, 0, bytes, stream);

	if (result)
		real.cuMemFreeAsync(address, stream);
	return result;
}

static CUresult allocate_async(CUdeviceptr *address, size_t bytes, CUstream stream)
{
	CUresult result = real.cuMemAllocAsync(address, bytes, stream);

	return result ? result : clear_behind(*address, bytes, stream);
}

static CUresult allocate_from_pool(CUdeviceptr *address, size_t bytes, CUmemoryPool pool,
				   CUstream stream)
{
	CUresult result = real.cuMemAllocFromPoolAsync(address, bytes, pool, stream);

	return result ? result : clear_behind(*address, bytes, stream);
}

/* clear_unmapped - memory without an address gets one for as long as it takes */
static CUresult clear_unmapped(CUmemGenericAllocationHandle handle, size_t bytes,
			       const CUmemLocation *location)
{
	const CUmemAccessDesc access = { .location = *location,
					 .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE };
	CUdeviceptr address;
	CUresult result = real.cuMemAddressReserve(&address, bytes, 0, 0, 0);

	if (result)
		return result;
	result = real.cuMemMap(address, bytes, 0, handle, 0);
	if (!result) {
		result = real.cuMemSetAccess(address, bytes, &access, 1);
		if (!result)
			result = clear_bytes(address, bytes);
		real.cuMemUnmap(address, bytes);
	}
	real.cuMemAddressFree(address, bytes);
	return result;
}

static CUresult create(CUmemGenericAllocationHandle *handle, size_t bytes,
		       const CUmemAllocationProp *properties, unsigned long long flags)
{
	CUresult result = real.cuMemCreate(handle, bytes, properties, flags);

	if (result || properties->location.type != CU_MEM_LOCATION_TYPE_DEVICE)
		return result;
	result = clear_unmapped(*handle, bytes, &properties->location);
	if (result)
		real.cuMemRelease(*handle);
	return result;
}

bool memory_clears(void)
{
	return real.cuMemcpy3D_v2 != NULL;
}

CUresult memory_clear_array(CUarray array, const CUDA_ARRAY3D_DESCRIPTOR *shape,
			    unsigned int element_bytes)
{
	CUDA_MEMCPY3D copy = {
		.srcMemoryType = CU_MEMORYTYPE_HOST,
		.dstMemoryType = CU_MEMORYTYPE_ARRAY,
		.dstArray = array,
		.WidthInBytes = shape->Width * element_bytes,
		.Height = shape->Height ? shape->Height : 1,
		.Depth = 1,
	};
	size_t slices = shape->Depth ? shape->Depth : 1;
	CUresult result = CUDA_SUCCESS;
	void *nothing;

	if (!memory_clears())
		return CUDA_SUCCESS;
	if (!element_bytes)
		return CUDA_ERROR_NOT_SUPPORTED;
	nothing = calloc(copy.Height, copy.WidthInBytes);
	if (!nothing)
		return CUDA_ERROR_OUT_OF_MEMORY;
	copy.srcHost = nothing;
	copy.srcPitch = copy.WidthInBytes;
	for (; copy.dstZ < slices && !result; copy.dstZ++)
		result = real.cuMemcpy3D_v2(&copy);
	free(nothing);
	return result;
}

void memory_clear_open(struct cuda_driver *driver)
{
	if (!driver->cuMemsetD8Async || !driver->cuStreamCreate || !driver->cuStreamSynchronize ||
	    !driver->cuCtxGetCurrent || !driver->cuMemFree_v2)
		return;
	real = *driver;
	WORKER_PUT(driver, cuMemAlloc_v2, allocate);
	WORKER_PUT(driver, cuMemAllocPitch_v2, allocate_pitch);
	if (real.cuMemFreeAsync) {
		WORKER_PUT(driver, cuMemAllocAsync, allocate_async);
		WORKER_PUT(driver, cuMemAllocFromPoolAsync, allocate_from_pool);
	}
	if (real.cuMemAddressReserve && real.cuMemMap && real.cuMemSetAccess && real.cuMemUnmap &&
	    real.cuMemAddressFree && real.cuMemRelease)
		WORKER_PUT(driver, cuMemCreate, create);
	memory_clear_graph_open(driver);
}
