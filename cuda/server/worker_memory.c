/* SPDX-License-Identifier: Apache-2.0 */
/* Device memory on the driver's side: within the limit, and known to the table of ranges. */
#include "cuda/server/turn.h"
#include "cuda/server/worker.h"

/* memory_keep - enter what was allocated; what cannot be entered is freed again */
static CUresult memory_keep(struct worker_call *call, CUdeviceptr address, uint64_t bytes,
			    enum worker_range_kind kind)
{
	CUresult result = worker_range_add(address, bytes, kind, call->request.context);

	if (result && worker_driver.cuMemFree_v2)
		worker_driver.cuMemFree_v2(address);
	return result;
}

CUresult worker_memory_allocate(struct worker_call *call,
				const struct wire_memory_allocate_request *request,
				struct wire_memory_allocate_reply *reply)
{
	CUdeviceptr address = 0;
	CUresult result = worker_memory_admit(request->bytes);

	if (result)
		return result;
	if (!worker_driver.cuMemAlloc_v2)
		return CUDA_ERROR_NOT_SUPPORTED;
	worker_step_back(call);
	result = worker_driver.cuMemAlloc_v2(&address, request->bytes);
	if (!result)
		result = memory_keep(call, address, request->bytes, WORKER_RANGE_ALLOCATION);
	reply->address = address;
	return result;
}

CUresult worker_memory_allocate_pitch(struct worker_call *call,
				      const struct wire_memory_allocate_pitch_request *request,
				      struct wire_memory_allocate_pitch_reply *reply)
{
	CUdeviceptr address = 0;
	size_t pitch = 0;
	uint64_t bytes;
	CUresult result;

	if (__builtin_mul_overflow(request->width_bytes, request->height, &bytes))
		return CUDA_ERROR_OUT_OF_MEMORY;
	result = worker_memory_admit(bytes);
	if (result)
		return result;
	if (!worker_driver.cuMemAllocPitch_v2)
		return CUDA_ERROR_NOT_SUPPORTED;
	worker_step_back(call);
	result = worker_driver.cuMemAllocPitch_v2(&address, &pitch, request->width_bytes,
						  request->height, request->element_bytes);
	/* The driver's rows are longer than the program's: these are what counts. */
	if (!result && worker_memory_admit(pitch * request->height)) {
		worker_driver.cuMemFree_v2(address);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	if (!result)
		result = memory_keep(call, address, pitch * request->height,
				     WORKER_RANGE_ALLOCATION);
	reply->address = address;
	reply->pitch = pitch;
	return result;
}

CUresult worker_memory_free(struct worker_call *call,
			    const struct wire_memory_free_request *request)
{
	enum worker_range_kind kind;
	CUresult result = worker_range_take(request->address, &kind);

	if (result)
		return result;
	quota_pools_settle();
	worker_step_back(call);
	return worker_driver.cuMemFree_v2 ? worker_driver.cuMemFree_v2(request->address)
					  : CUDA_ERROR_NOT_SUPPORTED;
}

/* stream_captures - what it is told now becomes a graph's */
static bool stream_captures(CUstream stream)
{
	CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;

	return worker_driver.cuStreamIsCapturing &&
	       !worker_driver.cuStreamIsCapturing(stream, &status) &&
	       status == CU_STREAM_CAPTURE_STATUS_ACTIVE;
}

CUresult worker_memory_allocate_async(struct worker_call *call,
				      const struct wire_memory_allocate_async_request *request,
				      struct wire_memory_allocate_async_reply *reply)
{
	CUdeviceptr address = 0;
	CUmemoryPool pool;
	CUstream stream;
	CUresult result = worker_handle_find(call, KIND_stream, request->stream, true, &stream);

	if (!result)
		result = worker_handle_find(call, KIND_pool, request->pool, true, &pool);
	if (!result)
		result = worker_memory_admit(request->bytes);
	if (result)
		return result;
	if (pool)
		result = worker_driver.cuMemAllocFromPoolAsync
				 ? worker_driver.cuMemAllocFromPoolAsync(&address, request->bytes,
									 pool, stream)
				 : CUDA_ERROR_NOT_SUPPORTED;
	else
		result = worker_driver.cuMemAllocAsync
				 ? worker_driver.cuMemAllocAsync(&address, request->bytes, stream)
				 : CUDA_ERROR_NOT_SUPPORTED;
	if (!result)
		result = memory_keep(call, address, request->bytes,
				     stream_captures(stream) ? WORKER_RANGE_GRAPH
							     : WORKER_RANGE_ASYNC);
	if (!result) {
		worker_range_from_pool(address, pool ? pool : quota_pool_current());
		quota_pools_settle();
	}
	reply->address = address;
	return result;
}

CUresult worker_memory_free_async(struct worker_call *call,
				  const struct wire_memory_free_async_request *request)
{
	enum worker_range_kind kind;
	CUstream stream;
	CUresult result = worker_handle_find(call, KIND_stream, request->stream, true, &stream);

	if (!result)
		result = worker_range_take(request->address, &kind);
	if (result)
		return result;
	quota_pools_settle();
	return worker_driver.cuMemFreeAsync ? worker_driver.cuMemFreeAsync(request->address, stream)
					    : CUDA_ERROR_NOT_SUPPORTED;
}

/* What the device has, or what is left of the limit where that is less. */
CUresult worker_memory_info(struct worker_call *call,
			    const struct wire_memory_info_request *request,
			    struct wire_memory_info_reply *reply)
{
	uint64_t limit = worker_options.memory_limit, used = worker_memory_used(), left;
	size_t free_bytes, total_bytes;
	CUresult result;

	(void)call;
	(void)request;
	if (!worker_driver.cuMemGetInfo_v2)
		return CUDA_ERROR_NOT_SUPPORTED;
	result = worker_driver.cuMemGetInfo_v2(&free_bytes, &total_bytes);
	if (result)
		return result;
	reply->free = free_bytes;
	reply->total = total_bytes;
	if (limit && reply->total > limit)
		reply->total = limit;
	if (limit && reply->free > (limit > used ? limit - used : 0))
		reply->free = limit > used ? limit - used : 0;
	left = quota_left(&limit);
	if (limit && reply->total > limit)
		reply->total = limit;
	if (reply->free > left)
		reply->free = left;
	return CUDA_SUCCESS;
}

CUresult worker_pool_default(struct worker_call *call,
			     const struct wire_pool_default_request *request)
{
	CUmemoryPool pool;
	CUresult result;

	if (!worker_handle_free(call, request->pool))
		return worker_broken(call);
	if (!worker_driver.cuDeviceGetDefaultMemPool)
		return CUDA_ERROR_NOT_SUPPORTED;
	result = worker_driver.cuDeviceGetDefaultMemPool(&pool, request->device);
	return result ? result : worker_handle_set(call, KIND_pool, request->pool, pool, 0);
}

CUresult worker_pool_destroy(struct worker_call *call,
			     const struct wire_pool_destroy_request *request)
{
	CUmemoryPool pool;
	CUresult result = worker_handle_find(call, KIND_pool, request->pool, false, &pool);

	if (result)
		return result;
	worker_handle_end(call, request->pool);
	return worker_driver.cuMemPoolDestroy ? worker_driver.cuMemPoolDestroy(pool)
					      : CUDA_ERROR_NOT_SUPPORTED;
}

CUresult worker_pool_current_set(struct worker_call *call,
				 const struct wire_pool_current_set_request *request)
{
	CUmemoryPool pool;
	CUresult result = worker_handle_find(call, KIND_pool, request->pool, false, &pool);

	if (result)
		return result;
	return worker_driver.cuDeviceSetMemPool
		       ? worker_driver.cuDeviceSetMemPool(request->device, pool)
		       : CUDA_ERROR_NOT_SUPPORTED;
}

CUresult worker_pool_attribute_get(struct worker_call *call,
				   const struct wire_pool_attribute_get_request *request,
				   struct wire_pool_attribute_get_reply *reply)
{
	cuuint64_t value = 0; /* an attribute that is an int fills its lower half */
	CUmemoryPool pool;
	CUresult result = worker_handle_find(call, KIND_pool, request->pool, false, &pool);

	if (result)
		return result;
	if (!worker_driver.cuMemPoolGetAttribute)
		return CUDA_ERROR_NOT_SUPPORTED;
	result = worker_driver.cuMemPoolGetAttribute(pool, (CUmemPool_attribute)request->attribute,
						     &value);
	reply->value = value;
	return result;
}

CUresult worker_pool_attribute_set(struct worker_call *call,
				   const struct wire_pool_attribute_set_request *request)
{
	cuuint64_t value = request->value;
	CUmemoryPool pool;
	CUresult result = worker_handle_find(call, KIND_pool, request->pool, false, &pool);

	if (result)
		return result;
	return worker_driver.cuMemPoolSetAttribute
		       ? worker_driver.cuMemPoolSetAttribute(
				 pool, (CUmemPool_attribute)request->attribute, &value)
		       : CUDA_ERROR_NOT_SUPPORTED;
}
