/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory pools: a device's own pool has a handle from its first mention on; others are made and
 * ended by generated calls. pool_lock protects the record of the devices' pools and is held across
 * the request that names one.
 */
#include <stdlib.h>

#include "cuda/common/place.h"
#include "cuda/client/client.h"

static struct {
	pthread_mutex_t lock; /* pool_lock */
	struct {
		struct client_object *own;
		CUmemoryPool current; /* NULL: its own */
	} devices[CUDA_WIRE_DEVICES_MAX];
} pools = { .lock = PTHREAD_MUTEX_INITIALIZER };

CUresult client_cuDeviceGetDefaultMemPool(CUmemoryPool *pool_out, CUdevice dev)
{
	struct client_object *pool;
	CUresult result = client_device_check(dev);

	if (result)
		return result;
	if (!pool_out)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&pools.lock);
	pool = pools.devices[dev].own;
	if (!pool) {
		result = client_handle_new(KIND_pool, 0, &pool);
		if (!result) {
			pool->pool.device = dev;
			pool->pool.lasting = true;
			result = client_send_pool_default(pool->number, dev);
			if (result)
				client_handle_end(pool);
			else
				pools.devices[dev].own = pool;
		}
	}
	pthread_mutex_unlock(&pools.lock);
	if (!result)
		*pool_out = client_handle_pointer(pool);
	return result;
}

CUresult client_cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice dev)
{
	CUresult result = client_device_check(dev);
	CUmemoryPool current;

	if (result)
		return result;
	if (!pool)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&pools.lock);
	current = pools.devices[dev].current;
	pthread_mutex_unlock(&pools.lock);
	if (!current || !client_object_of(KIND_pool, current))
		return client_cuDeviceGetDefaultMemPool(pool, dev);
	*pool = current;
	return CUDA_SUCCESS;
}

/* pool_device - see place_device() */
static CUresult pool_device(const CUmemLocation *location, CUmemAllocationType type,
			    CUdevice *device)
{
	CUresult result = client_enter();

	return result ? result : place_device(location, type, device);
}

CUresult client_cuMemGetDefaultMemPool(CUmemoryPool *pool_out, CUmemLocation *location,
				       CUmemAllocationType type)
{
	CUdevice device;
	CUresult result = pool_device(location, type, &device);

	return result ? result : client_cuDeviceGetDefaultMemPool(pool_out, device);
}

CUresult client_cuMemGetMemPool(CUmemoryPool *pool, CUmemLocation *location,
				CUmemAllocationType type)
{
	CUdevice device;
	CUresult result = pool_device(location, type, &device);

	return result ? result : client_cuDeviceGetMemPool(pool, device);
}

CUresult client_cuMemSetMemPool(CUmemLocation *location, CUmemAllocationType type,
				CUmemoryPool pool)
{
	CUdevice device;
	CUresult result = pool_device(location, type, &device);

	return result ? result : client_cuDeviceSetMemPool(device, pool);
}

CUresult client_cuDeviceSetMemPool(CUdevice dev, CUmemoryPool pool)
{
	struct client_object *object = client_object_of(KIND_pool, pool);
	CUresult result = client_device_check(dev);

	if (result)
		return result;
	if (!object)
		return CUDA_ERROR_INVALID_HANDLE;
	result = client_send_pool_current_set(object->number, dev);
	if (result)
		return result;
	pthread_mutex_lock(&pools.lock);
	pools.devices[dev].current = pool;
	pthread_mutex_unlock(&pools.lock);
	return CUDA_SUCCESS;
}

CUresult client_cuMemPoolDestroy(CUmemoryPool pool)
{
	struct client_object *object = client_object_of(KIND_pool, pool);
	CUresult result = client_enter();

	if (result)
		return result;
	if (!object)
		return CUDA_ERROR_INVALID_HANDLE;
	if (object->pool.lasting)
		return CUDA_ERROR_INVALID_VALUE;
	result = client_send_pool_destroy(object->number);
	client_handle_end(object);
	return result;
}

/* pool_flag - attributes that are an int; all others are 64 bits */
static bool pool_flag(CUmemPool_attribute attribute)
{
	return attribute == CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES ||
	       attribute == CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC ||
	       attribute == CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES;
}

CUresult client_cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute attr, void *value)
{
	struct client_object *object = client_object_of(KIND_pool, pool);
	uint64_t answer = 0;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!object)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!value)
		return CUDA_ERROR_INVALID_VALUE;
	result = client_send_pool_attribute_get(object->number, attr, &answer);
	if (result)
		return result;
	if (pool_flag(attr))
		*(int *)value = (int)answer;
	else
		*(cuuint64_t *)value = answer;
	return CUDA_SUCCESS;
}

CUresult client_cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute attr, void *value)
{
	struct client_object *object = client_object_of(KIND_pool, pool);
	CUresult result = client_enter();

	if (result)
		return result;
	if (!object)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!value)
		return CUDA_ERROR_INVALID_VALUE;
	return client_send_pool_attribute_set(object->number, attr,
					      pool_flag(attr) ? (uint64_t) * (int *)value
							      : *(cuuint64_t *)value);
}
