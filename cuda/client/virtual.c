/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtual memory management, memory of other processes of the same server, and what asks for
 * managed memory, which there is none of.
 *
 * A reserved range of device addresses is one known range from reserving to freeing: what is mapped
 * in it is the driver's to know, and an access to what is not mapped is the driver's to refuse. The
 * handles of allocations are the driver's own numbers, as no one reads behind them.
 */
#include "cuda/client/client.h"
#include "cuda/common/range.h"

#define RESERVE_TRIES 4

CUresult client_cuMemAddressReserve(CUdeviceptr *ptr, size_t size, size_t alignment,
				    CUdeviceptr addr, unsigned long long flags)
{
	uint64_t address;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!ptr || !size)
		return CUDA_ERROR_INVALID_VALUE;
	for (int i = 0; i < RESERVE_TRIES; i++) {
		result = client_send_memory_reserve(size, alignment, addr, flags, &address);
		if (result)
			return result;
		if (!client_range_adopt(address, size, 0, false)) {
			*ptr = address;
			return CUDA_SUCCESS;
		}
		addr = 0; /* the worker keeps that range, so that it gives another */
	}
	return CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult client_cuMemAddressFree(CUdeviceptr ptr, size_t size)
{
	struct range range;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!client_range_lookup(ptr, &range) || range.start != ptr || range.bytes != size)
		return CUDA_ERROR_INVALID_VALUE;
	result = client_send_memory_reserve_end(ptr, size);
	return result ? result : client_range_end(ptr);
}

CUresult client_cuMemCreate(CUmemGenericAllocationHandle *handle, size_t size,
			    const CUmemAllocationProp *prop, unsigned long long flags)
{
	uint64_t made;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!handle || !size || !prop)
		return CUDA_ERROR_INVALID_VALUE;
	if (prop->requestedHandleTypes & ~CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
		return CUDA_ERROR_NOT_SUPPORTED;
	/* Nobody could be handed a descriptor of the worker's; memory is made without. */
	result = client_send_memory_create(
		size, flags, (int32_t)prop->type, 0, (int32_t)prop->location.type,
		prop->location.id, prop->allocFlags.compressionType,
		prop->allocFlags.gpuDirectRDMACapable, prop->allocFlags.usage, &made);
	if (!result)
		*handle = made;
	return result;
}

CUresult client_cuMemRelease(CUmemGenericAllocationHandle handle)
{
	CUresult result = client_enter();

	return result ? result : client_send_memory_release(handle);
}

CUresult client_cuMemMap(CUdeviceptr ptr, size_t size, size_t offset,
			 CUmemGenericAllocationHandle handle, unsigned long long flags)
{
	CUresult result = client_enter();

	if (!result)
		result = client_range_check(ptr, size);
	return result ? result : client_send_memory_map(ptr, size, offset, handle, flags);
}

CUresult client_cuMemUnmap(CUdeviceptr ptr, size_t size)
{
	CUresult result = client_enter();

	if (!result)
		result = client_range_check(ptr, size);
	return result ? result : client_send_memory_unmap(ptr, size);
}

CUresult client_cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *handle, void *addr)
{
	uint64_t found;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!handle)
		return CUDA_ERROR_INVALID_VALUE;
	result = client_range_check((uintptr_t)addr, 1);
	if (!result)
		result = client_send_memory_handle_of((uintptr_t)addr, &found);
	if (!result)
		*handle = found;
	return result;
}

/* Descriptors and fabric handles do not leave the worker; the attributes say so. */
CUresult client_cuMemExportToShareableHandle(void *shareableHandle,
					     CUmemGenericAllocationHandle handle,
					     CUmemAllocationHandleType handleType,
					     unsigned long long flags)
{
	CUresult result = client_enter();

	(void)handle;
	if (result)
		return result;
	return shareableHandle && handleType && !flags ? CUDA_ERROR_NOT_SUPPORTED
						       : CUDA_ERROR_INVALID_VALUE;
}

CUresult client_cuMemImportFromShareableHandle(CUmemGenericAllocationHandle *handle, void *osHandle,
					       CUmemAllocationHandleType shHandleType)
{
	CUresult result = client_enter();

	(void)osHandle;
	if (result)
		return result;
	return handle && shHandleType ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_VALUE;
}

CUresult client_cuIpcOpenMemHandle_v2(CUdeviceptr *pdptr, CUipcMemHandle handle, unsigned int Flags)
{
	uint64_t word[8], address, bytes;
	CUresult result = client_enter();
	uint32_t last;

	static_assert(sizeof(word) == sizeof(handle), "a handle is 64 bytes");
	if (result)
		return result;
	if (!pdptr || Flags != CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS)
		return CUDA_ERROR_INVALID_VALUE;
	memcpy(word, &handle, sizeof(word));
	result = client_send_ipc_memory_open(word[0], word[1], word[2], word[3], word[4], word[5],
					     word[6], word[7], Flags, &address, &bytes);
	if (result)
		return result;
	/* Opened a second time it is where it was. */
	if (client_range_check(address, bytes) &&
	    client_range_adopt(address, bytes, client_context_number(), false)) {
		client_send_ipc_memory_close(address, &last);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	*pdptr = address;
	return CUDA_SUCCESS;
}

CUresult client_cuIpcCloseMemHandle(CUdeviceptr dptr)
{
	CUresult result = client_enter();
	uint32_t last = 0;

	if (!result)
		result = client_range_check(dptr, 1);
	if (!result)
		result = client_send_ipc_memory_close(dptr, &last);
	return result || !last ? result : client_range_end(dptr);
}

CUresult client_cuIpcOpenEventHandle(CUevent *phEvent, CUipcEventHandle handle)
{
	struct client_object *event;
	uint64_t word[8];
	CUresult result = client_enter();

	static_assert(sizeof(word) == sizeof(handle), "a handle is 64 bytes");
	if (result)
		return result;
	if (!phEvent)
		return CUDA_ERROR_INVALID_VALUE;
	if (!client_context_number())
		return CUDA_ERROR_INVALID_CONTEXT;
	memcpy(word, &handle, sizeof(word));
	result = client_handle_new(KIND_event, client_context_number(), &event);
	if (result)
		return result;
	result = client_send_ipc_event_open(event->number, word[0], word[1], word[2], word[3],
					    word[4], word[5], word[6], word[7]);
	if (result) {
		client_handle_end(event);
		return result;
	}
	*phEvent = client_handle_pointer(event);
	return client_event_share(*phEvent);
}

/* managed_none - no address is managed memory, which is what the driver says of others */
static CUresult managed_none(void)
{
	CUresult result = client_enter();

	return result ? result : CUDA_ERROR_INVALID_VALUE;
}

CUresult client_cuMemPrefetchAsync(CUdeviceptr devPtr, size_t count, CUdevice dstDevice,
				   CUstream hStream)
{
	(void)devPtr;
	(void)count;
	(void)dstDevice;
	(void)hStream;
	return managed_none();
}

CUresult client_cuMemPrefetchAsync_v2(CUdeviceptr devPtr, size_t count, CUmemLocation location,
				      unsigned int flags, CUstream hStream)
{
	(void)devPtr;
	(void)count;
	(void)location;
	(void)flags;
	(void)hStream;
	return managed_none();
}

CUresult client_cuMemAdvise(CUdeviceptr devPtr, size_t count, CUmem_advise advice, CUdevice device)
{
	(void)devPtr;
	(void)count;
	(void)advice;
	(void)device;
	return managed_none();
}

CUresult client_cuMemAdvise_v2(CUdeviceptr devPtr, size_t count, CUmem_advise advice,
			       CUmemLocation location)
{
	(void)devPtr;
	(void)count;
	(void)advice;
	(void)location;
	return managed_none();
}

CUresult client_cuMemRangeGetAttribute(void *data, size_t dataSize, CUmem_range_attribute attribute,
				       CUdeviceptr devPtr, size_t count)
{
	(void)data;
	(void)dataSize;
	(void)attribute;
	(void)devPtr;
	(void)count;
	return managed_none();
}

CUresult client_cuMemRangeGetAttributes(void **data, size_t *dataSizes,
					CUmem_range_attribute *attributes, size_t numAttributes,
					CUdeviceptr devPtr, size_t count)
{
	(void)data;
	(void)dataSizes;
	(void)attributes;
	(void)numAttributes;
	(void)devPtr;
	(void)count;
	return managed_none();
}

CUresult client_cuStreamAttachMemAsync(CUstream hStream, CUdeviceptr dptr, size_t length,
				       unsigned int flags)
{
	(void)hStream;
	(void)dptr;
	(void)length;
	(void)flags;
	return managed_none();
}

/* The first versions of a stream's memory operations: the same, for the devices of today. */
CUresult client_cuStreamWaitValue32(CUstream stream, CUdeviceptr addr, cuuint32_t value,
				    unsigned int flags)
{
	return client_cuStreamWaitValue32_v2(stream, addr, value, flags);
}

CUresult client_cuStreamWaitValue64(CUstream stream, CUdeviceptr addr, cuuint64_t value,
				    unsigned int flags)
{
	return client_cuStreamWaitValue64_v2(stream, addr, value, flags);
}

CUresult client_cuStreamWriteValue32(CUstream stream, CUdeviceptr addr, cuuint32_t value,
				     unsigned int flags)
{
	return client_cuStreamWriteValue32_v2(stream, addr, value, flags);
}

CUresult client_cuStreamWriteValue64(CUstream stream, CUdeviceptr addr, cuuint64_t value,
				     unsigned int flags)
{
	return client_cuStreamWriteValue64_v2(stream, addr, value, flags);
}

CUresult client_cuStreamBatchMemOp(CUstream stream, unsigned int count,
				   CUstreamBatchMemOpParams *paramArray, unsigned int flags)
{
	return client_cuStreamBatchMemOp_v2(stream, count, paramArray, flags);
}
