/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtual memory management and memory of other processes, on the driver's side.
 *
 * An allocation counts against the limit as long as anything holds it: a reference of the client's
 * or a mapping. virtual_lock protects the lists of allocations and mappings, which are short.
 */
#include <stdlib.h>

#include "cuda/server/worker.h"

struct allocation {
	struct allocation *next;
	CUmemGenericAllocationHandle handle;
	uint64_t bytes;
	uint64_t references; /* of the client's, and one for each mapping */
};

struct mapping {
	struct mapping *next;
	uint64_t address, bytes;
	struct allocation *allocation;
};

static struct {
	pthread_mutex_t lock; /* virtual_lock */
	struct allocation *allocations;
	struct mapping *mappings;
} virtual = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* allocation_find - under the lock */
static struct allocation *allocation_find(CUmemGenericAllocationHandle handle)
{
	struct allocation *found = virtual.allocations;

	while (found && found->handle != handle)
		found = found->next;
	return found;
}

/* allocation_drop - one reference less; under the lock */
static void allocation_drop(struct allocation *allocation)
{
	struct allocation **at = &virtual.allocations;

	if (--allocation->references)
		return;
	while (*at != allocation)
		at = &(*at)->next;
	*at = allocation->next;
	worker_memory_charge(-(int64_t)allocation->bytes);
	free(allocation);
}

CUresult worker_memory_reserve(struct worker_call *call,
			       const struct wire_memory_reserve_request *request,
			       struct wire_memory_reserve_reply *reply)
{
	CUdeviceptr address = 0;
	CUresult result;

	(void)call;
	if (!worker_driver.cuMemAddressReserve)
		return CUDA_ERROR_NOT_SUPPORTED;
	result = worker_driver.cuMemAddressReserve(&address, request->bytes, request->alignment,
						   request->at, request->flags);
	if (result)
		return result;
	reply->address = address;
	/* Addresses are the process's, not a context's. */
	return worker_range_add(address, request->bytes, WORKER_RANGE_RESERVED, 0);
}

CUresult worker_memory_reserve_end(struct worker_call *call,
				   const struct wire_memory_reserve_end_request *request)
{
	enum worker_range_kind kind;
	CUresult result = worker_range_check(call, request->address, request->bytes);

	if (!result && !worker_driver.cuMemAddressFree)
		result = CUDA_ERROR_NOT_SUPPORTED;
	if (!result)
		result = worker_driver.cuMemAddressFree(request->address, request->bytes);
	return result ? result : worker_range_take(request->address, &kind);
}

CUresult worker_memory_create(struct worker_call *call,
			      const struct wire_memory_create_request *request,
			      struct wire_memory_create_reply *reply)
{
	CUmemAllocationProp properties = {
		.type = (CUmemAllocationType)request->type,
		.requestedHandleTypes = (CUmemAllocationHandleType)request->handle_types,
		.location = { (CUmemLocationType)request->location_type, request->location },
		.allocFlags = { .compressionType = (unsigned char)request->compression,
				.gpuDirectRDMACapable = (unsigned char)request->direct,
				.usage = (unsigned short)request->usage },
	};
	struct allocation *allocation;
	CUmemGenericAllocationHandle handle = 0;
	CUresult result = worker_memory_admit(request->bytes);

	(void)call;
	if (!result && !worker_driver.cuMemCreate)
		result = CUDA_ERROR_NOT_SUPPORTED;
	if (result)
		return result;
	allocation = calloc(1, sizeof(*allocation));
	if (!allocation)
		return CUDA_ERROR_OUT_OF_MEMORY;
	result = worker_driver.cuMemCreate(&handle, request->bytes, &properties, request->flags);
	if (result) {
		free(allocation);
		return result;
	}
	pthread_mutex_lock(&virtual.lock);
	*allocation = (struct allocation){ virtual.allocations, handle, request->bytes, 1 };
	virtual.allocations = allocation;
	worker_memory_charge((int64_t)request->bytes);
	pthread_mutex_unlock(&virtual.lock);
	reply->handle = handle;
	return CUDA_SUCCESS;
}

CUresult worker_memory_release(struct worker_call *call,
			       const struct wire_memory_release_request *request)
{
	struct allocation *allocation;
	CUresult result = CUDA_ERROR_INVALID_VALUE;

	(void)call;
	pthread_mutex_lock(&virtual.lock);
	allocation = allocation_find(request->handle);
	if (allocation && worker_driver.cuMemRelease)
		result = worker_driver.cuMemRelease(request->handle);
	if (allocation && !result)
		allocation_drop(allocation);
	pthread_mutex_unlock(&virtual.lock);
	return result;
}

CUresult worker_memory_map(struct worker_call *call, const struct wire_memory_map_request *request)
{
	struct mapping *mapping = calloc(1, sizeof(*mapping));
	struct allocation *allocation;
	CUresult result = worker_range_check(call, request->address, request->bytes);

	if (!mapping)
		return CUDA_ERROR_OUT_OF_MEMORY;
	pthread_mutex_lock(&virtual.lock);
	allocation = allocation_find(request->handle);
	if (!result && (!allocation || !worker_driver.cuMemMap))
		result = CUDA_ERROR_INVALID_VALUE;
	if (!result)
		result = worker_driver.cuMemMap(request->address, request->bytes, request->offset,
						request->handle, request->flags);
	if (!result) {
		*mapping = (struct mapping){ virtual.mappings, request->address, request->bytes,
					     allocation };
		virtual.mappings = mapping;
		allocation->references++;
		mapping = NULL;
	}
	pthread_mutex_unlock(&virtual.lock);
	free(mapping);
	return result;
}

CUresult worker_memory_unmap(struct worker_call *call,
			     const struct wire_memory_unmap_request *request)
{
	struct mapping **at = &virtual.mappings, *mapping;
	CUresult result = worker_range_check(call, request->address, request->bytes);

	if (!result && !worker_driver.cuMemUnmap)
		result = CUDA_ERROR_NOT_SUPPORTED;
	if (result)
		return result;
	worker_step_back(call); /* the driver may wait for what uses it */
	pthread_mutex_lock(&virtual.lock);
	result = worker_driver.cuMemUnmap(request->address, request->bytes);
	while (!result && (mapping = *at)) {
		if (mapping->address < request->address ||
		    mapping->address - request->address >= request->bytes) {
			at = &mapping->next;
			continue;
		}
		*at = mapping->next;
		allocation_drop(mapping->allocation);
		free(mapping);
	}
	pthread_mutex_unlock(&virtual.lock);
	return result;
}

CUresult worker_memory_handle_of(struct worker_call *call,
				 const struct wire_memory_handle_of_request *request,
				 struct wire_memory_handle_of_reply *reply)
{
	CUmemGenericAllocationHandle handle = 0;
	struct allocation *allocation;
	CUresult result = worker_range_check(call, request->address, 1);

	if (!result && !worker_driver.cuMemRetainAllocationHandle)
		result = CUDA_ERROR_NOT_SUPPORTED;
	if (!result)
		result = worker_driver.cuMemRetainAllocationHandle(
			&handle, (void *)(uintptr_t)request->address);
	if (result)
		return result;
	pthread_mutex_lock(&virtual.lock);
	allocation = allocation_find(handle);
	if (allocation)
		allocation->references++;
	pthread_mutex_unlock(&virtual.lock);
	reply->handle = handle;
	return CUDA_SUCCESS;
}

CUresult worker_ipc_memory_open(struct worker_call *call,
				const struct wire_ipc_memory_open_request *request,
				struct wire_ipc_memory_open_reply *reply)
{
	const uint64_t word[8] = { request->word0, request->word1, request->word2, request->word3,
				   request->word4, request->word5, request->word6, request->word7 };
	CUipcMemHandle handle;
	CUdeviceptr address = 0, base;
	size_t bytes = 0;
	CUresult result;

	if (!worker_driver.cuIpcOpenMemHandle_v2 || !worker_driver.cuMemGetAddressRange_v2)
		return CUDA_ERROR_NOT_SUPPORTED;
	memcpy(&handle, word, sizeof(handle));
	result = worker_driver.cuIpcOpenMemHandle_v2(&address, handle, request->flags);
	if (!result)
		result = worker_driver.cuMemGetAddressRange_v2(&base, &bytes, address);
	if (result)
		return result;
	reply->address = address;
	reply->bytes = bytes - (address - base);
	if (worker_range_foreign_again(address))
		return CUDA_SUCCESS; /* opened before, and closed as often as it was opened */
	return worker_range_add(address, reply->bytes, WORKER_RANGE_FOREIGN, call->request.context);
}

CUresult worker_ipc_memory_close(struct worker_call *call,
				 const struct wire_ipc_memory_close_request *request,
				 struct wire_ipc_memory_close_reply *reply)
{
	bool last;
	CUresult result = worker_range_foreign_close(request->address, &last);

	if (result)
		return result;
	reply->last = last;
	worker_step_back(call);
	return worker_driver.cuIpcCloseMemHandle
		       ? worker_driver.cuIpcCloseMemHandle(request->address)
		       : CUDA_ERROR_NOT_SUPPORTED;
}

CUresult worker_ipc_event_open(struct worker_call *call,
			       const struct wire_ipc_event_open_request *request)
{
	const uint64_t word[8] = { request->word0, request->word1, request->word2, request->word3,
				   request->word4, request->word5, request->word6, request->word7 };
	CUipcEventHandle handle;
	CUevent event;
	CUresult result;

	if (!worker_handle_free(call, request->event))
		return worker_broken(call);
	if (!worker_driver.cuIpcOpenEventHandle)
		return CUDA_ERROR_NOT_SUPPORTED;
	memcpy(&handle, word, sizeof(handle));
	result = worker_driver.cuIpcOpenEventHandle(&event, handle);
	return result ? result
		      : worker_handle_set(call, KIND_event, request->event, event,
					  call->request.context);
}
