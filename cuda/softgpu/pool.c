/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool: stream-ordered allocation. Memory is taken when it is asked for, which is early enough for
 * any order, and given back when its stream comes to the free; so a pool keeps nothing between the
 * two, its reserved bytes are its used bytes, and the reuse attributes are kept but mean nothing.
 *
 * Locks: pool_lock over every pool's counts and each device's current pool.
 */
#include <stdlib.h>

#include "cuda/softgpu/driver.h"

#define ATTRIBUTES (CU_MEMPOOL_ATTR_USED_MEM_HIGH + 1)

struct pool {
	struct object object;
	CUdevice device;
	bool builtin; /* the device's default one */
	uint64_t attributes[ATTRIBUTES];
};

static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static struct pool *defaults[DEVICES_MAX];
static struct pool *current[DEVICES_MAX];

size_t pool_bytes(void)
{
	return sizeof(struct pool);
}

static struct pool *pool_make(CUdevice device, bool builtin)
{
	struct pool *pool = object_create(OBJECT_POOL);

	if (!pool)
		return NULL;
	pool->device = device;
	pool->builtin = builtin;
	pool->attributes[CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES] = 1;
	pool->attributes[CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC] = 1;
	pool->attributes[CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES] = 1;
	return pool;
}

/* Counts @bytes in or, negative, out. Caller holds pool_lock. */
static void pool_count(struct pool *pool, int64_t bytes)
{
	for (int i = CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT; i <= CU_MEMPOOL_ATTR_USED_MEM_HIGH;
	     i += 2) {
		pool->attributes[i] += (uint64_t)bytes;
		if (pool->attributes[i + 1] < pool->attributes[i])
			pool->attributes[i + 1] = pool->attributes[i];
	}
}

void pool_credit(CUmemoryPool pool, size_t bytes)
{
	pthread_mutex_lock(&pool_lock);
	if (object_valid(OBJECT_POOL, pool))
		pool_count((struct pool *)pool, -(int64_t)bytes);
	pthread_mutex_unlock(&pool_lock);
}

static CUresult pool_default(CUdevice device, CUmemoryPool *pool)
{
	CUresult result = driver_ready();

	if (result != CUDA_SUCCESS)
		return result;
	if (!device_valid(device))
		return CUDA_ERROR_INVALID_DEVICE;
	pthread_mutex_lock(&pool_lock);
	if (!defaults[device])
		defaults[device] = pool_make(device, true);
	if (!current[device])
		current[device] = defaults[device];
	*pool = (CUmemoryPool)defaults[device];
	pthread_mutex_unlock(&pool_lock);
	return *pool ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult pool_of(CUmemoryPool handle, struct pool **pool)
{
	CUresult result = driver_ready();

	if (result != CUDA_SUCCESS)
		return result;
	*pool = (struct pool *)handle;
	return object_valid(OBJECT_POOL, handle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool_out, CUdevice dev)
{
	return pool_out ? pool_default(dev, pool_out) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice dev)
{
	CUresult result = pool ? pool_default(dev, pool) : CUDA_ERROR_INVALID_VALUE;

	if (result != CUDA_SUCCESS)
		return result;
	pthread_mutex_lock(&pool_lock);
	*pool = (CUmemoryPool)current[dev];
	pthread_mutex_unlock(&pool_lock);
	return CUDA_SUCCESS;
}

CUresult cuDeviceSetMemPool(CUdevice dev, CUmemoryPool pool)
{
	struct pool *wanted;
	CUresult result = pool_of(pool, &wanted);

	if (result != CUDA_SUCCESS)
		return result;
	if (!device_valid(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	if (wanted->device != dev)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&pool_lock);
	current[dev] = wanted;
	pthread_mutex_unlock(&pool_lock);
	return CUDA_SUCCESS;
}

CUresult cuMemPoolCreate(CUmemoryPool *pool, const CUmemPoolProps *poolProps)
{
	struct pool *made;
	CUresult result = driver_ready();

	if (result != CUDA_SUCCESS)
		return result;
	if (!pool || !poolProps || poolProps->allocType != CU_MEM_ALLOCATION_TYPE_PINNED ||
	    poolProps->location.type != CU_MEM_LOCATION_TYPE_DEVICE)
		return CUDA_ERROR_INVALID_VALUE;
	if (poolProps->handleTypes != CU_MEM_HANDLE_TYPE_NONE)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (!device_valid(poolProps->location.id))
		return CUDA_ERROR_INVALID_DEVICE;
	made = pool_make(poolProps->location.id, false);
	if (!made)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*pool = (CUmemoryPool)made;
	return CUDA_SUCCESS;
}

/* Memory taken from the pool outlives it, as CUDA has it; only the count ends. */
CUresult cuMemPoolDestroy(CUmemoryPool pool)
{
	struct pool *ended;
	CUresult result = pool_of(pool, &ended);

	if (result != CUDA_SUCCESS)
		return result;
	if (ended->builtin)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&pool_lock);
	if (current[ended->device] == ended)
		current[ended->device] = defaults[ended->device];
	object_destroy(OBJECT_POOL, ended);
	pthread_mutex_unlock(&pool_lock);
	return CUDA_SUCCESS;
}

CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t minBytesToKeep)
{
	struct pool *trimmed;

	(void)minBytesToKeep; /* nothing is kept */
	return pool_of(pool, &trimmed);
}

static bool attribute_is_flag(CUmemPool_attribute attribute)
{
	return attribute <= CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES;
}

CUresult cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute attr, void *value)
{
	struct pool *changed;
	CUresult result = pool_of(pool, &changed);

	if (result != CUDA_SUCCESS)
		return result;
	if (!value || (int)attr < 1 || attr >= ATTRIBUTES)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&pool_lock);
	if (attribute_is_flag(attr))
		changed->attributes[attr] = *(int *)value != 0;
	else if (attr == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD)
		changed->attributes[attr] = *(uint64_t *)value;
	else if ((attr == CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH ||
		  attr == CU_MEMPOOL_ATTR_USED_MEM_HIGH) &&
		 *(uint64_t *)value == 0)
		changed->attributes[attr] = changed->attributes[attr - 1];
	else
		result = CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_unlock(&pool_lock);
	return result;
}

CUresult cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute attr, void *value)
{
	struct pool *asked;
	CUresult result = pool_of(pool, &asked);

	if (result != CUDA_SUCCESS)
		return result;
	if (!value || (int)attr < 1 || attr >= ATTRIBUTES)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&pool_lock);
	if (attribute_is_flag(attr))
		*(int *)value = (int)asked->attributes[attr];
	else
		*(uint64_t *)value = asked->attributes[attr];
	pthread_mutex_unlock(&pool_lock);
	return CUDA_SUCCESS;
}

CUresult cuMemPoolSetAccess(CUmemoryPool pool, const CUmemAccessDesc *map, size_t count)
{
	struct pool *opened;
	CUresult result = pool_of(pool, &opened);

	if (result != CUDA_SUCCESS)
		return result;
	if (!map && count > 0)
		return CUDA_ERROR_INVALID_VALUE;
	for (size_t i = 0; i < count; i++) {
		if (map[i].location.type != CU_MEM_LOCATION_TYPE_DEVICE ||
		    !device_valid(map[i].location.id))
			return CUDA_ERROR_INVALID_DEVICE;
		if (map[i].location.id == opened->device &&
		    map[i].flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE)
			return CUDA_ERROR_INVALID_VALUE;
	}
	return CUDA_SUCCESS;
}

CUresult cuMemPoolGetAccess(CUmemAccess_flags *flags, CUmemoryPool memPool, CUmemLocation *location)
{
	struct pool *asked;
	CUresult result = pool_of(memPool, &asked);

	if (result != CUDA_SUCCESS)
		return result;
	if (!flags || !location || location->type != CU_MEM_LOCATION_TYPE_DEVICE ||
	    !device_valid(location->id))
		return CUDA_ERROR_INVALID_VALUE;
	*flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
	return CUDA_SUCCESS;
}

static CUresult allocate_from(struct pool *pool, struct stream *stream, size_t bytes,
			      CUdeviceptr *address)
{
	struct memory_block block = {
		.bytes = bytes,
		.kind = MEMORY_DEVICE,
		.device = pool->device,
		.context = stream->context,
		.pool = (CUmemoryPool)pool,
	};
	CUresult result = memory_allocate(&block);

	if (result == CUDA_ERROR_OUT_OF_MEMORY) {
		/* Frees that are still queued may make room. */
		streams_drain_all();
		result = memory_allocate(&block);
	}
	if (result != CUDA_SUCCESS)
		return result;
	pthread_mutex_lock(&pool_lock);
	pool_count(pool, (int64_t)(block.pages << PAGE_SHIFT));
	pthread_mutex_unlock(&pool_lock);
	*address = block.address;
	return CUDA_SUCCESS;
}

CUresult cuMemAllocFromPoolAsync(CUdeviceptr *dptr, size_t bytesize, CUmemoryPool pool,
				 CUstream hStream)
{
	struct stream *stream;
	struct pool *from;
	CUresult result = stream_resolve(hStream, &stream);

	if (result == CUDA_SUCCESS)
		result = pool_of(pool, &from);
	if (result != CUDA_SUCCESS)
		return result;
	if (!dptr || bytesize == 0)
		return CUDA_ERROR_INVALID_VALUE;
	return allocate_from(from, stream, bytesize, dptr);
}

CUresult cuMemAllocAsync(CUdeviceptr *dptr, size_t bytesize, CUstream hStream)
{
	CUmemoryPool pool;
	struct stream *stream;
	CUresult result = stream_resolve(hStream, &stream);

	if (result == CUDA_SUCCESS)
		result = cuDeviceGetMemPool(&pool, stream->context->device);
	if (result != CUDA_SUCCESS)
		return result;
	if (!dptr || bytesize == 0)
		return CUDA_ERROR_INVALID_VALUE;
	return allocate_from((struct pool *)pool, stream, bytesize, dptr);
}

struct free_task {
	struct task task;
	uint64_t address;
};

static CUresult run_free(struct task *task)
{
	memory_free(((struct free_task *)task)->address);
	return CUDA_SUCCESS;
}

CUresult cuMemFreeAsync(CUdeviceptr dptr, CUstream hStream)
{
	struct memory_block block;
	struct free_task *task;
	struct stream *stream;
	CUresult result = stream_resolve(hStream, &stream);

	if (result != CUDA_SUCCESS || !dptr)
		return result;
	if (!memory_find(dptr, &block) || block.address != dptr || block.kind != MEMORY_DEVICE ||
	    !block.context)
		return CUDA_ERROR_INVALID_VALUE;
	task = calloc(1, sizeof(*task));
	if (!task)
		return CUDA_ERROR_OUT_OF_MEMORY;
	task->task.run = run_free;
	task->task.always = true;
	task->address = dptr;
	return stream_submit(stream, &task->task, NULL, false);
}
