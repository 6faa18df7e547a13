/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's tables: which of the driver's handles a number stands for, and which device
 * addresses the client may name.
 *
 * A number is the client's choice, so every use checks bound and kind. An entry knows its parent;
 * when a parent ends, what is below it ends too, so that no number leads to a handle that the
 * driver has freed. Entries lie in an area that takes memory where it is written.
 *
 * table_lock protects both tables.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "cuda/common/range.h"
#include "cuda/server/account.h"
#include "cuda/server/turn.h"
#include "cuda/server/worker.h"

struct entry {
	void *real;
	void *owned; /* freed with the entry: a kernel's facts, a library's image */
	uint32_t parent;
	uint32_t next; /* in the bucket of .real */
	uint8_t kind;  /* KIND_none: free */
};

#define BUCKETS	    4096u
#define BLOCK_BYTES (2ull << 20) /* of device memory, that the driver hands out parts of */

static struct {
	pthread_mutex_t lock;
	struct entry *entries;	   /* CUDA_WIRE_HANDLES, from the first use on */
	uint32_t used;		   /* entries at and above were never set */
	uint32_t chosen;	   /* the last number that this side chose */
	uint32_t buckets[BUCKETS]; /* entries by .real */
	struct range_table ranges;
	uint64_t allocated_bytes;
	uint64_t overhead_bytes; /* of these, what the program did not ask for */
} table = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* table_open - reserve the area; under the lock */
static int table_open(void)
{
	void *at;

	if (table.entries)
		return 0;
	at = mmap(NULL, CUDA_WIRE_HANDLES * sizeof(struct entry), PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED)
		return -errno;
	table.entries = at;
	return 0;
}

static uint32_t *entry_bucket(const void *real)
{
	return &table.buckets[((uintptr_t)real >> 4) * 0x9e3779b97f4a7c15ull >> 52];
}

/* entry_begin - under the lock */
static void entry_begin(uint32_t number, enum cuda_wire_kind kind, void *real, uint32_t parent)
{
	uint32_t *bucket = entry_bucket(real);

	table.entries[number] = (struct entry){
		.real = real, .parent = parent, .next = *bucket, .kind = (uint8_t)kind
	};
	*bucket = number;
	if (number >= table.used)
		table.used = number + 1;
}

/* entry_find - the number of a handle of that kind, or 0; under the lock */
static uint32_t entry_find(enum cuda_wire_kind kind, const void *real)
{
	uint32_t number = *entry_bucket(real);

	while (number && (table.entries[number].real != real || table.entries[number].kind != kind))
		number = table.entries[number].next;
	return number;
}

bool worker_handle_free(struct worker_call *call, uint32_t number)
{
	bool is_free;

	(void)call;
	pthread_mutex_lock(&table.lock);
	is_free = number && number < CUDA_WIRE_HANDLES && !table_open() &&
		  table.entries[number].kind == KIND_none;
	pthread_mutex_unlock(&table.lock);
	return is_free;
}

CUresult worker_handle_set(struct worker_call *call, enum cuda_wire_kind kind, uint32_t number,
			   void *real, uint32_t parent)
{
	if (!worker_handle_free(call, number))
		return worker_broken(call);
	pthread_mutex_lock(&table.lock);
	entry_begin(number, kind, real, parent);
	pthread_mutex_unlock(&table.lock);
	return CUDA_SUCCESS;
}

uint32_t worker_handle_known(enum cuda_wire_kind kind, void *real)
{
	uint32_t number;

	pthread_mutex_lock(&table.lock);
	number = real && !table_open() ? entry_find(kind, real) : 0;
	pthread_mutex_unlock(&table.lock);
	return number;
}

CUresult worker_handle_number(struct worker_call *call, enum cuda_wire_kind kind, void *real,
			      uint32_t parent, uint32_t *number)
{
	CUresult result = CUDA_SUCCESS;
	uint32_t tries = CUDA_WIRE_HANDLES - CUDA_WIRE_HANDLES_CLIENT;

	(void)call;
	*number = 0;
	if (!real)
		return CUDA_SUCCESS;
	pthread_mutex_lock(&table.lock);
	if (!table_open())
		*number = entry_find(kind, real);
	if (!*number && parent < table.used && table.entries[parent].kind == kind)
		parent = table.entries[parent].parent;
	while (!*number && tries--) {
		if (++table.chosen < CUDA_WIRE_HANDLES_CLIENT || table.chosen >= CUDA_WIRE_HANDLES)
			table.chosen = CUDA_WIRE_HANDLES_CLIENT;
		if (table.entries[table.chosen].kind == KIND_none) {
			entry_begin(table.chosen, kind, real, parent);
			*number = table.chosen;
		}
	}
	if (!*number)
		result = CUDA_ERROR_OUT_OF_MEMORY;
	pthread_mutex_unlock(&table.lock);
	return result;
}

CUresult worker_handles_find(struct worker_call *call, enum cuda_wire_kind kind,
			     const void *numbers, uint64_t count, void ***real)
{
	void **found = malloc(count * sizeof(*found) + 1);
	CUresult result = found ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;

	*real = found;
	for (uint64_t i = 0; i < count && !result; i++) {
		uint32_t number;

		memcpy(&number, (const unsigned char *)numbers + i * sizeof(number),
		       sizeof(number));
		result = worker_handle_find(call, kind, number, false, &found[i]);
	}
	return result;
}

CUresult worker_handle_find(struct worker_call *call, enum cuda_wire_kind kind, uint32_t number,
			    bool null, void *real_pointer)
{
	CUresult result =
		kind == KIND_context ? CUDA_ERROR_INVALID_CONTEXT : CUDA_ERROR_INVALID_HANDLE;
	void **real = real_pointer;

	(void)call;
	*real = NULL;
	if (!number)
		return null ? CUDA_SUCCESS : result;
	pthread_mutex_lock(&table.lock);
	if (number < table.used) {
		const struct entry *entry = &table.entries[number];

		/* A kernel may stand where a function is meant. */
		if (entry->kind == kind || (kind == KIND_function && entry->kind == KIND_kernel)) {
			*real = entry->real;
			result = CUDA_SUCCESS;
		}
	}
	pthread_mutex_unlock(&table.lock);
	return result;
}

/* entry_end - free one entry, then all whose parent it was; under the lock */
static void entry_end(uint32_t number)
{
	struct entry *entry = &table.entries[number];
	bool may_have_children = entry->kind == KIND_context || entry->kind == KIND_module ||
				 entry->kind == KIND_library || entry->kind == KIND_kernel ||
				 entry->kind == KIND_graph || entry->kind == KIND_node ||
				 entry->kind == KIND_mipmap;
	uint32_t *at = entry_bucket(entry->real);

	while (*at != number)
		at = &table.entries[*at].next;
	*at = entry->next;
	free(entry->owned);
	*entry = (struct entry){ 0 };
	for (uint32_t i = 1; may_have_children && i < table.used; i++)
		if (table.entries[i].kind != KIND_none && table.entries[i].parent == number)
			entry_end(i);
}

void worker_handle_end(struct worker_call *call, uint32_t number)
{
	(void)call;
	pthread_mutex_lock(&table.lock);
	if (number && number < table.used && table.entries[number].kind != KIND_none)
		entry_end(number);
	pthread_mutex_unlock(&table.lock);
}

void worker_handle_own(uint32_t number, void *owned)
{
	pthread_mutex_lock(&table.lock);
	if (number < table.used && table.entries[number].kind != KIND_none) {
		free(table.entries[number].owned);
		table.entries[number].owned = owned;
	} else {
		free(owned);
	}
	pthread_mutex_unlock(&table.lock);
}

void *worker_handle_owned(uint32_t number)
{
	void *owned = NULL;

	pthread_mutex_lock(&table.lock);
	if (number && number < table.used)
		owned = table.entries[number].owned;
	pthread_mutex_unlock(&table.lock);
	return owned;
}

/* allocated_set - under the table's lock; the tenant's books follow */
static void allocated_set(uint64_t bytes)
{
	table.allocated_bytes = bytes;
	quota_publish(bytes);
	account_memory(bytes);
}

CUresult worker_range_check(struct worker_call *call, uint64_t address, unsigned __int128 bytes)
{
	CUresult result = CUDA_ERROR_INVALID_VALUE;

	(void)call;
	if (!bytes)
		return CUDA_SUCCESS;
	if (bytes > UINT64_MAX)
		return result;
	pthread_mutex_lock(&table.lock);
	if (range_covers(&table.ranges, address, (uint64_t)bytes))
		result = CUDA_SUCCESS;
	pthread_mutex_unlock(&table.lock);
	return result;
}

/* range_charged - whether a range of that kind is device memory that the client asked for */
static bool range_charged(uint16_t kind)
{
	return kind == WORKER_RANGE_ALLOCATION || kind == WORKER_RANGE_ASYNC;
}

/* range_end - forget it, and what it was charged; under the lock */
static void range_end(const struct range *range)
{
	if (range_charged(range->kind))
		allocated_set(table.allocated_bytes - range->bytes);
	if (range->kind == WORKER_RANGE_ASYNC)
		quota_pool_count((CUmemoryPool)(uintptr_t)range->serial, -(int64_t)range->bytes);
	range_remove(&table.ranges, range->start);
}

/*
 * range_graphs_end - what graphs allocated between these addresses is forgotten, since the driver
 * gave them again: nobody says when the last executable graph of such an address is gone. Under the
 * lock.
 */
static void range_graphs_end(uint64_t address, uint64_t bytes)
{
	for (size_t i = range_index(&table.ranges, address + bytes - 1); i-- > 0;) {
		const struct range *range = &table.ranges.ranges[i];

		if (range->start + range->bytes <= address)
			return;
		if (range->kind == WORKER_RANGE_GRAPH)
			range_end(range);
	}
}

CUresult worker_range_add(uint64_t address, uint64_t bytes, enum worker_range_kind kind,
			  uint32_t owner)
{
	struct range range = {
		.start = address, .bytes = bytes, .kind = (uint16_t)kind, .owner = owner
	};
	int error;

	pthread_mutex_lock(&table.lock);
	error = range_insert(&table.ranges, &range);
	if (error == -EEXIST && kind != WORKER_RANGE_HOST) {
		range_graphs_end(address, bytes);
		error = range_insert(&table.ranges, &range);
	}
	if (!error && range_charged(kind))
		allocated_set(table.allocated_bytes + bytes);
	pthread_mutex_unlock(&table.lock);
	if (error == -EEXIST && kind == WORKER_RANGE_GLOBAL)
		return CUDA_SUCCESS; /* the same variable, looked up again */
	return error ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}

CUresult worker_range_take(uint64_t address, enum worker_range_kind *kind)
{
	CUresult result = CUDA_ERROR_INVALID_VALUE;
	struct range *range;

	quota_change_begin();
	pthread_mutex_lock(&table.lock);
	range = range_find(&table.ranges, address);
	if (range && range->start == address && range->kind != WORKER_RANGE_GLOBAL &&
	    range->kind != WORKER_RANGE_HOST) {
		*kind = range->kind;
		range_end(range);
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&table.lock);
	return result;
}

void worker_range_forget(uint32_t owner)
{
	quota_change_begin();
	pthread_mutex_lock(&table.lock);
	for (size_t i = table.ranges.count; i-- > 0;) {
		const struct range *range = &table.ranges.ranges[i];

		if (range->owner == owner)
			range_end(range);
	}
	pthread_mutex_unlock(&table.lock);
}

void worker_range_from_pool(uint64_t start, CUmemoryPool pool)
{
	struct range *range;

	pthread_mutex_lock(&table.lock);
	range = range_find(&table.ranges, start);
	if (range && range->kind == WORKER_RANGE_ASYNC) {
		range->serial = (uintptr_t)pool;
		quota_pool_count(pool, (int64_t)range->bytes);
	}
	pthread_mutex_unlock(&table.lock);
}

/* range_host_at - under table_lock */
static struct range *range_host_at(uint64_t address)
{
	struct range *range = range_find(&table.ranges, address);

	return range && range->kind == WORKER_RANGE_HOST ? range : NULL;
}

bool worker_range_host(uint64_t address, uint64_t bytes, struct range *range)
{
	const struct range *found;

	pthread_mutex_lock(&table.lock);
	found = range_host_at(address);
	if (found && bytes > found->bytes - (address - found->start))
		found = NULL;
	if (found)
		*range = *found;
	pthread_mutex_unlock(&table.lock);
	return found != NULL;
}

void worker_range_host_mark(uint64_t start, uint64_t mark)
{
	struct range *range;

	pthread_mutex_lock(&table.lock);
	range = range_host_at(start);
	if (range)
		range->serial = mark;
	pthread_mutex_unlock(&table.lock);
}

/* range_foreign - the range of another process's memory that starts at @start; under the lock */
static struct range *range_foreign(uint64_t start)
{
	struct range *range = range_find(&table.ranges, start);

	return range && range->start == start && range->kind == WORKER_RANGE_FOREIGN ? range : NULL;
}

bool worker_range_foreign_again(uint64_t start)
{
	struct range *range;

	pthread_mutex_lock(&table.lock);
	range = range_foreign(start);
	if (range)
		range->serial++;
	pthread_mutex_unlock(&table.lock);
	return range != NULL;
}

CUresult worker_range_foreign_close(uint64_t start, bool *last)
{
	struct range *range;

	pthread_mutex_lock(&table.lock);
	range = range_foreign(start);
	*last = range && !range->serial;
	if (*last)
		range_remove(&table.ranges, start);
	else if (range)
		range->serial--;
	pthread_mutex_unlock(&table.lock);
	return range ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult worker_range_host_take(uint64_t start, uint64_t *bytes)
{
	CUresult result = CUDA_ERROR_INVALID_VALUE;
	const struct range *range;

	pthread_mutex_lock(&table.lock);
	range = range_host_at(start);
	if (range && range->start == start) {
		*bytes = range->bytes;
		range_remove(&table.ranges, start);
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&table.lock);
	return result;
}

/* memory_fits - within the tenant's limit and this client's own */
static bool memory_fits(uint64_t bytes)
{
	uint64_t limit = worker_options.memory_limit;

	return quota_enter(bytes) &&
	       (!limit || (bytes <= limit && worker_memory_used() <= limit - bytes));
}

CUresult worker_memory_admit(uint64_t bytes)
{
	quota_change_begin();
	/* What pools keep beyond what is in use makes room first, as a full device's would. */
	if (memory_fits(bytes) || (quota_pools_trim() && memory_fits(bytes)))
		return CUDA_SUCCESS;
	return CUDA_ERROR_OUT_OF_MEMORY;
}

void worker_memory_charge(int64_t bytes)
{
	pthread_mutex_lock(&table.lock);
	allocated_set(table.allocated_bytes + (uint64_t)bytes);
	pthread_mutex_unlock(&table.lock);
}

void worker_overhead_charge(int64_t bytes)
{
	pthread_mutex_lock(&table.lock);
	table.overhead_bytes += (uint64_t)bytes;
	account_overhead(table.overhead_bytes);
	allocated_set(table.allocated_bytes + (uint64_t)bytes);
	pthread_mutex_unlock(&table.lock);
}

uint64_t worker_memory_used(void)
{
	uint64_t bytes;

	pthread_mutex_lock(&table.lock);
	bytes = table.allocated_bytes;
	pthread_mutex_unlock(&table.lock);
	return bytes;
}

uint64_t worker_memory_rest(uint64_t bytes)
{
	return -bytes % BLOCK_BYTES;
}

uint64_t worker_memory_rests(void)
{
	uint64_t bytes = 0;

	pthread_mutex_lock(&table.lock);
	for (size_t i = 0; i < table.ranges.count; i++) {
		const struct range *range = &table.ranges.ranges[i];

		if (range->kind == WORKER_RANGE_ALLOCATION)
			bytes += worker_memory_rest(range->bytes);
		else if (range->kind == WORKER_RANGE_FOREIGN)
			bytes += range->bytes;
	}
	pthread_mutex_unlock(&table.lock);
	return bytes;
}

void worker_table_close(void)
{
	pthread_mutex_lock(&table.lock);
	for (uint32_t i = 1; i < table.used; i++)
		free(table.entries[i].owned);
	if (table.entries)
		munmap(table.entries, CUDA_WIRE_HANDLES * sizeof(struct entry));
	table.entries = NULL;
	memset(table.buckets, 0, sizeof(table.buckets));
	table.used = 0;
	table.chosen = 0;
	range_free(&table.ranges);
	table.overhead_bytes = 0;
	allocated_set(0);
	pthread_mutex_unlock(&table.lock);
}
