/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool: stream-ordered allocation. Memory is taken when it is asked for, which is early enough for
 * any order, and given back when its stream comes to the free; so the reuse attributes are kept but
 * mean nothing. What is given back stays the pool's, as a count, as far as its release threshold
 * goes; it is released when the device runs out of memory.
 *
 * Locks: pool_lock over the list of pools, their counts and each device's current pool; taken under
 * memory_lock, never the other way round.
 */
#include <stdlib.h>

#include "cuda/common/place.h"
#include "cuda/softgpu/driver.h"

#define ATTRIBUTES (CU_MEMPOOL_ATTR_USED_MEM_HIGH + 1)

struct pool {
	struct object object;
	CUdevice device;
	bool builtin;	     /* the device's default one */
	uint64_t kept_bytes; /* that it has and nobody uses; whole pages */
	struct pool *next;
	uint64_t attributes[ATTRIBUTES];
};

static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static struct pool *defaults[DEVICES_MAX];
static struct pool *current[DEVICES_MAX];
static struct pool *all;

size_t pool_bytes(void)
{
	return sizeof(struct pool);
}

/* Caller holds pool_lock. */
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
	pool->next = all;
	all = pool;
	return pool;
}

/* Counts @bytes in or, negative, out. Caller holds pool_lock. */
static void pool_count(struct pool *pool, int64_t bytes)
{
	uint64_t *attributes = pool->attributes;

	attributes[CU_MEMPOOL_ATTR_USED_MEM_CURRENT] += (uint64_t)bytes;
	attributes[CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT] =
		attributes[CU_MEMPOOL_ATTR_USED_MEM_CURRENT] + pool->kept_bytes;
	for (int i = CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT; i <= CU_MEMPOOL_ATTR_USED_MEM_HIGH;
	     i += 2) {
		if (attributes[i + 1] < attributes[i])
			attributes[i + 1] = attributes[i];
	}
}

/* How much the pool may have without anybody's using it. Caller holds pool_lock. */
static uint64_t pool_may_keep(const struct pool *pool)
{
	uint64_t threshold = pool->attributes[CU_MEMPOOL_ATTR_RELEASE_THRESHOLD];
	uint64_t used = pool->attributes[CU_MEMPOOL_ATTR_USED_MEM_CURRENT];

	return threshold > used ? (threshold - used) & ~(uint64_t)(PAGE_BYTES - 1) : 0;
}

size_t pool_credit(CUmemoryPool handle, size_t bytes)
{
	struct pool *pool = (struct pool *)handle;
	uint64_t kept = 0;

	pthread_mutex_lock(&pool_lock);
	if (object_valid(OBJECT_POOL, handle)) {
		pool_count(pool, -(int64_t)bytes);
		kept = pool_may_keep(pool) - pool->kept_bytes;
		if (kept > bytes)
			kept = bytes;
		pool->kept_bytes += kept;
		pool_count(pool, 0);
	}
	pthread_mutex_unlock(&pool_lock);
	return kept;
}

/* Takes at most @bytes of what the pool keeps away from it and gives them back to the device. */
static size_t pool_release(struct pool *pool, uint64_t bytes)
{
	CUdevice device;

	pthread_mutex_lock(&pool_lock);
	if (bytes > pool->kept_bytes)
		bytes = pool->kept_bytes;
	pool->kept_bytes -= bytes;
	pool_count(pool, 0);
	device = pool->device;
	pthread_mutex_unlock(&pool_lock);
	memory_discharge(device, bytes);
	return bytes;
}

bool pools_release(CUdevice device)
{
	uint64_t released = 0;

	pthread_mutex_lock(&pool_lock);
	for (struct pool *pool = all; pool; pool = pool->next) {
		if (pool->device != device)
			continue;
		released += pool->kept_bytes;
		pool->kept_bytes = 0;
		pool_count(pool, 0);
	}
	pthread_mutex_unlock(&pool_lock);
	memory_discharge(device, released);
	return released != 0;
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

/* pool_device - see place_device() */
static CUresult pool_device(const CUmemLocation *location, CUmemAllocationType type,
			    CUdevice *device)
{
	CUresult result = driver_ready();

	return result ? result : place_device(location, type, device);
}

CUresult cuMemGetDefaultMemPool(CUmemoryPool *pool_out, CUmemLocation *location,
				CUmemAllocationType type)
{
	CUdevice device;
	CUresult result = pool_device(location, type, &device);

	return result ? result : cuDeviceGetDefaultMemPool(pool_out, device);
}

CUresult cuMemGetMemPool(CUmemoryPool *pool, CUmemLocation *location, CUmemAllocationType type)
{
	CUdevice device;
	CUresult result = pool_device(location, type, &device);

	return result ? result : cuDeviceGetMemPool(pool, device);
}

CUresult cuMemSetMemPool(CUmemLocation *location, CUmemAllocationType type, CUmemoryPool pool)
{
	CUdevice device;
	CUresult result = pool_device(location, type, &device);

	return result ? result : cuDeviceSetMemPool(device, pool);
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
	pthread_mutex_lock(&pool_lock);
	made = pool_make(poolProps->location.id, false);
	pthread_mutex_unlock(&pool_lock);
	if (!made)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*pool = (CUmemoryPool)made;
	return CUDA_SUCCESS;
}

/* Memory taken from the pool outlives it, as CUDA has it; only the count ends. */
CUresult cuMemPoolDestroy(CUmemoryPool pool)
{
	struct pool *ended, **at;
	CUresult result = pool_of(pool, &ended);

	if (result != CUDA_SUCCESS)
		return result;
	if (ended->builtin)
		return CUDA_ERROR_INVALID_VALUE;
	pool_release(ended, UINT64_MAX);
	pthread_mutex_lock(&pool_lock);
	for (at = &all; *at != ended;)
		at = &(*at)->next;
	*at = ended->next;
	if (current[ended->device] == ended)
		current[ended->device] = defaults[ended->device];
	object_destroy(OBJECT_POOL, ended);
	pthread_mutex_unlock(&pool_lock);
	return CUDA_SUCCESS;
}

CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t minBytesToKeep)
{
	struct pool *trimmed;
	CUresult result = pool_of(pool, &trimmed);
	uint64_t used, kept;

	if (result != CUDA_SUCCESS)
		return result;
	pthread_mutex_lock(&pool_lock);
	used = trimmed->attributes[CU_MEMPOOL_ATTR_USED_MEM_CURRENT];
	kept = trimmed->kept_bytes;
	pthread_mutex_unlock(&pool_lock);
	if (used + kept > minBytesToKeep) {
		uint64_t excess = used + kept - minBytesToKeep;

		pool_release(trimmed, excess & ~(uint64_t)(PAGE_BYTES - 1));
	}
	return CUDA_SUCCESS;
}

static bool attribute_is_flag(CUmemPool_attribute attribute)
{
	return attribute <= CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES;
}

CUresult cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute attr, void *value)
{
	struct pool *changed;
	uint64_t excess = 0;
	CUresult result = pool_of(pool, &changed);

	if (result != CUDA_SUCCESS)
		return result;
	if (!value || (int)attr < 1 || attr >= ATTRIBUTES)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&pool_lock);
	if (attribute_is_flag(attr))
		changed->attributes[attr] = *(int *)value != 0;
	else if (attr == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD) {
		changed->attributes[attr] = *(uint64_t *)value;
		if (changed->kept_bytes > pool_may_keep(changed))
			excess = changed->kept_bytes - pool_may_keep(changed);
	} else if ((attr == CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH ||
		    attr == CU_MEMPOOL_ATTR_USED_MEM_HIGH) &&
		   *(uint64_t *)value == 0)
		changed->attributes[attr] = changed->attributes[attr - 1];
	else
		result = CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_unlock(&pool_lock);
	pool_release(changed, excess);
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
	CUresult result;

	pool_release(pool, (bytes + PAGE_BYTES - 1) & ~(uint64_t)(PAGE_BYTES - 1));
	result = memory_allocate(&block);
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
