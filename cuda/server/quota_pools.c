/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What memory pools keep counts against the limits.
 *
 * A pool gives what is freed back to the device at the next synchronisation, but for so much that
 * it has its release threshold reserved, 0 unless the program says otherwise. What is allocated
 * from a pool counts as any allocation does (worker_table.c, from the request on, not from when the
 * stream comes to it). Here is charged what the pool has beside that and need not give back:
 *
 *	max(0, min(reserved, threshold) - allocated)
 *
 * It is settled whenever a pool's memory is allocated or freed, or a threshold changes. Before an
 * allocation is refused pools are made to keep nothing. Without a threshold nothing is asked.
 *
 * pools.lock guards the list, which has each pool that memory was taken from or that has a
 * threshold; a leaf but for the locks of what is charged.
 */
#include <pthread.h>
#include <stdlib.h>

#include "cuda/server/turn.h"
#include "cuda/server/worker.h"

struct pool_record {
	struct pool_record *next;
	CUmemoryPool pool;
	uint64_t allocated_bytes;
	uint64_t threshold_bytes;
	uint64_t charged_bytes; /* of what it keeps */
};

static struct {
	pthread_mutex_t lock;
	struct pool_record *first;
} pools = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct cuda_driver real;

/* pool_find - its record or NULL; under the lock */
static struct pool_record *pool_find(CUmemoryPool pool)
{
	struct pool_record *record = pools.first;

	while (record && record->pool != pool)
		record = record->next;
	return record;
}

/* pool_known - its record, made where there is none; NULL without memory; under the lock */
static struct pool_record *pool_known(CUmemoryPool pool)
{
	struct pool_record *record = pool_find(pool);

	if (record)
		return record;
	record = calloc(1, sizeof(*record));
	if (record) {
		record->pool = pool;
		record->next = pools.first;
		pools.first = record;
	}
	return record;
}

/* pool_kept - above what is allocated; under the lock */
static uint64_t pool_kept(const struct pool_record *record)
{
	cuuint64_t kept = 0;

	if (!record->threshold_bytes ||
	    real.cuMemPoolGetAttribute(record->pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, &kept))
		return 0;
	if (kept > record->threshold_bytes)
		kept = record->threshold_bytes;
	return kept > record->allocated_bytes ? kept - record->allocated_bytes : 0;
}

void quota_pool_count(CUmemoryPool pool, int64_t bytes)
{
	struct pool_record *record;

	if (!pool)
		return;
	pthread_mutex_lock(&pools.lock);
	/* What is freed may have outlived its pool, whose place another may have by now. */
	record = bytes > 0 ? pool_known(pool) : pool_find(pool);
	if (record && bytes < 0 && record->allocated_bytes < (uint64_t)-bytes)
		record->allocated_bytes = 0;
	else if (record)
		record->allocated_bytes += (uint64_t)bytes;
	pthread_mutex_unlock(&pools.lock);
}

void quota_pools_settle(void)
{
	int64_t more = 0;

	pthread_mutex_lock(&pools.lock);
	for (struct pool_record *record = pools.first; record; record = record->next) {
		uint64_t kept = pool_kept(record);

		more += (int64_t)(kept - record->charged_bytes);
		record->charged_bytes = kept;
	}
	pthread_mutex_unlock(&pools.lock);
	if (more)
		worker_overhead_charge(more);
}

uint64_t quota_pools_rests(void)
{
	uint64_t bytes = 0;

	pthread_mutex_lock(&pools.lock);
	for (struct pool_record *record = pools.first; record; record = record->next) {
		uint64_t known = record->allocated_bytes + record->charged_bytes;
		cuuint64_t kept;

		if (!real.cuMemPoolGetAttribute(record->pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT,
						&kept) &&
		    kept > known)
			bytes += kept - known;
	}
	pthread_mutex_unlock(&pools.lock);
	return bytes;
}

bool quota_pools_trim(void)
{
	bool any = false;

	pthread_mutex_lock(&pools.lock);
	for (struct pool_record *record = pools.first; record; record = record->next) {
		if (record->charged_bytes && real.cuMemPoolTrimTo)
			any |= !real.cuMemPoolTrimTo(record->pool, 0);
	}
	pthread_mutex_unlock(&pools.lock);
	if (any)
		quota_pools_settle();
	return any;
}

CUmemoryPool quota_pool_current(void)
{
	CUmemoryPool pool = NULL;
	CUdevice device;

	if (!real.cuDeviceGetMemPool || real.cuCtxGetDevice(&device) ||
	    real.cuDeviceGetMemPool(&pool, device))
		return NULL;
	return pool;
}

static CUresult pool_trim(CUmemoryPool pool, size_t keep_bytes)
{
	CUresult result = real.cuMemPoolTrimTo(pool, keep_bytes);

	quota_pools_settle();
	return result;
}

static CUresult pool_set(CUmemoryPool pool, CUmemPool_attribute attribute, void *value)
{
	CUresult result = real.cuMemPoolSetAttribute(pool, attribute, value);
	struct pool_record *record;

	if (result || attribute != CU_MEMPOOL_ATTR_RELEASE_THRESHOLD)
		return result;
	pthread_mutex_lock(&pools.lock);
	record = pool_known(pool);
	if (record)
		record->threshold_bytes = *(const cuuint64_t *)value;
	pthread_mutex_unlock(&pools.lock);
	quota_pools_settle();
	return CUDA_SUCCESS;
}

static CUresult pool_destroy(CUmemoryPool pool)
{
	CUresult result = real.cuMemPoolDestroy(pool);
	struct pool_record **at = &pools.first, *record;
	uint64_t charged = 0;

	if (result)
		return result;
	pthread_mutex_lock(&pools.lock);
	while (*at && (*at)->pool != pool)
		at = &(*at)->next;
	record = *at;
	if (record) {
		charged = record->charged_bytes;
		*at = record->next;
		free(record);
	}
	pthread_mutex_unlock(&pools.lock);
	if (charged)
		worker_overhead_charge(-(int64_t)charged);
	return CUDA_SUCCESS;
}

void quota_pools_open(struct cuda_driver *driver)
{
	if (!driver->cuMemPoolGetAttribute || !driver->cuCtxGetDevice)
		return;
	real = *driver;
	WORKER_PUT(driver, cuMemPoolTrimTo, pool_trim);
	WORKER_PUT(driver, cuMemPoolSetAttribute, pool_set);
	WORKER_PUT(driver, cuMemPoolDestroy, pool_destroy);
}
