/* SPDX-License-Identifier: Apache-2.0 */
/*
 * allocate: memory as programs ask for it, and what they may ask about an address.
 */
#include <string.h>

#include "cuda/softgpu/driver.h"

#define PITCH_BYTES 512

CUresult cuMemGetInfo_v2(size_t *free, size_t *total)
{
	struct context *context;
	CUresult result = context_enter(&context);

	if (result != CUDA_SUCCESS)
		return result;
	if (!free || !total)
		return CUDA_ERROR_INVALID_VALUE;
	*total = settings.memory_bytes;
	*free = settings.memory_bytes - memory_used(context->device);
	return CUDA_SUCCESS;
}

static CUresult allocate(enum memory_kind kind, size_t bytes, unsigned int host_flags,
			 uint64_t *address)
{
	struct memory_block block = { .bytes = bytes, .kind = kind, .host_flags = host_flags };
	CUresult result = context_enter(&block.context);

	if (result != CUDA_SUCCESS)
		return result;
	block.device = block.context->device;
	result = memory_allocate(&block);
	if (result == CUDA_SUCCESS)
		*address = block.address;
	return result;
}

CUresult cuMemAlloc_v2(CUdeviceptr *dptr, size_t bytesize)
{
	uint64_t address;
	CUresult result;

	if (!dptr || bytesize == 0)
		return CUDA_ERROR_INVALID_VALUE;
	result = allocate(MEMORY_DEVICE, bytesize, 0, &address);
	if (result == CUDA_SUCCESS)
		*dptr = address;
	return result;
}

CUresult cuMemAllocPitch_v2(CUdeviceptr *dptr, size_t *pPitch, size_t WidthInBytes, size_t Height,
			    unsigned int ElementSizeBytes)
{
	size_t pitch;
	size_t bytes;
	CUresult result;

	if (!dptr || !pPitch || WidthInBytes == 0 || Height == 0 ||
	    (ElementSizeBytes != 4 && ElementSizeBytes != 8 && ElementSizeBytes != 16))
		return CUDA_ERROR_INVALID_VALUE;
	if (WidthInBytes > SIZE_MAX - PITCH_BYTES)
		return CUDA_ERROR_OUT_OF_MEMORY;
	pitch = (WidthInBytes + PITCH_BYTES - 1) / PITCH_BYTES * PITCH_BYTES;
	if (__builtin_mul_overflow(pitch, Height, &bytes))
		return CUDA_ERROR_OUT_OF_MEMORY;
	result = cuMemAlloc_v2(dptr, bytes);
	if (result == CUDA_SUCCESS)
		*pPitch = pitch;
	return result;
}

/* Freeing waits for all work, as a device does: nothing may still use the memory. */
static CUresult release(uint64_t address, enum memory_kind kind)
{
	struct memory_block block;
	struct context *context;
	CUresult result = context_enter(&context);

	if (result != CUDA_SUCCESS)
		return result;
	if (!memory_find(address, &block) || block.kind != kind || block.address != address ||
	    !block.context || block.imported)
		return CUDA_ERROR_INVALID_VALUE;
	streams_drain_all();
	return memory_free(address);
}

CUresult cuMemFree_v2(CUdeviceptr dptr)
{
	struct context *context;

	if (!dptr)
		return context_enter(&context);
	return release(dptr, MEMORY_DEVICE);
}

CUresult cuMemAllocManaged(CUdeviceptr *dptr, size_t bytesize, unsigned int flags)
{
	struct context *context;
	CUresult result = context_enter(&context);

	if (result != CUDA_SUCCESS)
		return result;
	if (!dptr || bytesize == 0 ||
	    (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST))
		return CUDA_ERROR_INVALID_VALUE;
	return CUDA_ERROR_NOT_SUPPORTED; /* as the attribute MANAGED_MEMORY says */
}

CUresult cuMemGetAddressRange_v2(CUdeviceptr *pbase, size_t *psize, CUdeviceptr dptr)
{
	struct memory_block block;
	struct context *context;
	CUresult result = context_enter(&context);

	if (result != CUDA_SUCCESS)
		return result;
	if (!memory_find(dptr, &block) || block.kind == MEMORY_REGISTERED)
		return CUDA_ERROR_NOT_FOUND;
	if (pbase)
		*pbase = block.address;
	if (psize)
		*psize = block.bytes;
	return CUDA_SUCCESS;
}

/* ---- host memory ---- */

CUresult cuMemHostAlloc(void **pp, size_t bytesize, unsigned int Flags)
{
	uint64_t address;
	CUresult result;

	if (!pp || bytesize == 0 ||
	    Flags & ~(CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP |
		      CU_MEMHOSTALLOC_WRITECOMBINED))
		return CUDA_ERROR_INVALID_VALUE;
	/* All of it is mapped, as with unified addressing; the flags report that. */
	result = allocate(MEMORY_PINNED, bytesize, Flags | CU_MEMHOSTALLOC_DEVICEMAP, &address);
	if (result == CUDA_SUCCESS)
		*pp = (void *)address;
	return result;
}

CUresult cuMemAllocHost_v2(void **pp, size_t bytesize)
{
	return cuMemHostAlloc(pp, bytesize, 0);
}

CUresult cuMemFreeHost(void *p)
{
	struct context *context;

	if (!p)
		return context_enter(&context);
	return release((uint64_t)p, MEMORY_PINNED);
}

CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *pdptr, void *p, unsigned int Flags)
{
	struct memory_block block;
	struct context *context;
	CUresult result = context_enter(&context);

	if (result != CUDA_SUCCESS)
		return result;
	if (!pdptr || !p || Flags != 0 || !memory_find((uint64_t)p, &block))
		return CUDA_ERROR_INVALID_VALUE;
	if (block.kind == MEMORY_REGISTERED)
		return CUDA_ERROR_NOT_SUPPORTED; /* kernels cannot reach it */
	if (block.kind != MEMORY_PINNED)
		return CUDA_ERROR_INVALID_VALUE;
	*pdptr = (CUdeviceptr)(uint64_t)p;
	return CUDA_SUCCESS;
}

CUresult cuMemHostGetFlags(unsigned int *pFlags, void *p)
{
	struct memory_block block;
	struct context *context;
	CUresult result = context_enter(&context);

	if (result != CUDA_SUCCESS)
		return result;
	if (!pFlags || !memory_find((uint64_t)p, &block) || block.kind == MEMORY_DEVICE)
		return CUDA_ERROR_INVALID_VALUE;
	*pFlags = block.host_flags;
	return CUDA_SUCCESS;
}

CUresult cuMemHostRegister_v2(void *p, size_t bytesize, unsigned int Flags)
{
	struct memory_block block = {
		.address = (uint64_t)p,
		.bytes = bytesize,
		.host_flags = Flags,
	};
	CUresult result = context_enter(&block.context);

	if (result != CUDA_SUCCESS)
		return result;
	if (!p || bytesize == 0 || bytesize > UINT64_MAX - block.address ||
	    Flags & ~(CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP |
		      CU_MEMHOSTREGISTER_IOMEMORY | CU_MEMHOSTREGISTER_READ_ONLY))
		return CUDA_ERROR_INVALID_VALUE;
	if (Flags & (CU_MEMHOSTREGISTER_DEVICEMAP | CU_MEMHOSTREGISTER_IOMEMORY))
		return CUDA_ERROR_NOT_SUPPORTED;
	block.device = block.context->device;
	return memory_register(&block);
}

CUresult cuMemHostUnregister(void *p)
{
	struct context *context;
	CUresult result = context_enter(&context);

	if (result != CUDA_SUCCESS)
		return result;
	streams_drain_all();
	return memory_unregister((uint64_t)p);
}

/* ---- what an address is ---- */

/* Bytes that the answer to an attribute takes; 0 for one that is unknown. */
static size_t pointer_answer_bytes(CUpointer_attribute attribute)
{
	switch (attribute) {
	case CU_POINTER_ATTRIBUTE_CONTEXT:
	case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
	case CU_POINTER_ATTRIBUTE_HOST_POINTER:
	case CU_POINTER_ATTRIBUTE_BUFFER_ID:
	case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
	case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
	case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
	case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
	case CU_POINTER_ATTRIBUTE_MAPPING_SIZE:
	case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR:
	case CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID:
		return 8;
	case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
	case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
	case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
	/* Documented as booleans; the runtime's own room for one is four bytes, not set before. */
	case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
	case CU_POINTER_ATTRIBUTE_IS_MANAGED:
	case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
	case CU_POINTER_ATTRIBUTE_MAPPED:
	case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
		return 4;
	default:
		return 0;
	}
}

/* The answer as a number; what does not apply is 0. False where CUDA has an error instead. */
static bool pointer_answer(CUpointer_attribute attribute, uint64_t address,
			   const struct memory_block *block, uint64_t *answer)
{
	bool host = block->kind != MEMORY_DEVICE;

	*answer = 0;
	switch (attribute) {
	case CU_POINTER_ATTRIBUTE_CONTEXT:
		*answer = (uint64_t)block->context;
		return block->context != NULL;
	case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
		*answer = host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
		return true;
	case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
		*answer = address;
		return block->kind != MEMORY_REGISTERED;
	case CU_POINTER_ATTRIBUTE_HOST_POINTER:
		*answer = address;
		return host;
	case CU_POINTER_ATTRIBUTE_BUFFER_ID:
	case CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID:
		*answer = block->id;
		return true;
	case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
		*answer = (uint64_t)block->device;
		return true;
	case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
	case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR:
		*answer = block->address;
		return true;
	case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
	case CU_POINTER_ATTRIBUTE_MAPPING_SIZE:
		*answer = block->bytes;
		return true;
	case CU_POINTER_ATTRIBUTE_MAPPED:
		*answer = 1;
		return true;
	case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
		*answer = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
		return true;
	case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
		*answer = (uint64_t)block->pool;
		return true;
	case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
		*answer = !host && block->context && !block->pool && !block->imported;
		return true;
	default:
		return true;
	}
}

CUresult cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr ptr)
{
	size_t bytes = pointer_answer_bytes(attribute);
	struct memory_block block;
	uint64_t answer;
	CUresult result = driver_ready();

	if (result != CUDA_SUCCESS)
		return result;
	if (!data || bytes == 0 || !memory_find(ptr, &block) ||
	    !pointer_answer(attribute, ptr, &block, &answer))
		return CUDA_ERROR_INVALID_VALUE;
	memcpy(data, &answer, bytes);
	return CUDA_SUCCESS;
}

/* Unlike the single question, this one answers 0 for an address nobody knows. */
CUresult cuPointerGetAttributes(unsigned int numAttributes, CUpointer_attribute *attributes,
				void **data, CUdeviceptr ptr)
{
	struct memory_block block;
	CUresult result = driver_ready();
	bool known;

	if (result != CUDA_SUCCESS)
		return result;
	if (!attributes || !data)
		return CUDA_ERROR_INVALID_VALUE;
	known = memory_find(ptr, &block);
	for (unsigned int i = 0; i < numAttributes; i++) {
		size_t bytes = pointer_answer_bytes(attributes[i]);
		uint64_t answer = 0;

		if (bytes == 0 || !data[i])
			return CUDA_ERROR_INVALID_VALUE;
		if (!known && attributes[i] == CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL)
			answer = (uint64_t)CU_DEVICE_INVALID;
		else if (known && !pointer_answer(attributes[i], ptr, &block, &answer))
			answer = 0;
		memcpy(data[i], &answer, bytes);
	}
	return CUDA_SUCCESS;
}

CUresult cuPointerSetAttribute(const void *value, CUpointer_attribute attribute, CUdeviceptr ptr)
{
	struct memory_block block;
	CUresult result = driver_ready();

	if (result != CUDA_SUCCESS)
		return result;
	if (!value || attribute != CU_POINTER_ATTRIBUTE_SYNC_MEMOPS || !memory_find(ptr, &block))
		return CUDA_ERROR_INVALID_VALUE;
	return CUDA_SUCCESS; /* memory operations are ordered by their streams anyway */
}
