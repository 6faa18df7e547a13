/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tenant's device memory, counted over all its clients (struct share_memory).
 *
 * Admission and allocation happen under one lock, so that the limit is exact: two clients cannot
 * both get the last of it, and none is refused because of another that gets nothing in the end.
 * The lock is robust: who dies with it has allocated nothing that outlives it.
 *
 * A program goes on once it has issued a cuMemFree, before its worker has done it. What another
 * client of the tenant frees first can therefore become visible a moment late: before a refusal
 * that moment is waited for.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "cuda/server/turn.h"
#include "proto/share-page.h"

#define FREED_WAITS   20
#define FREED_WAIT_NS 500000

static struct share_memory *memory;
static unsigned int own_slot;
static __thread bool entered;

static pthread_mutex_t *memory_lock(void)
{
	return (pthread_mutex_t *)memory->lock;
}

int quota_open(int fd, unsigned int slot)
{
	void *at = mmap(NULL, sizeof(*memory), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	close(fd);
	if (at == MAP_FAILED)
		return -errno;
	memory = at;
	own_slot = slot;
	if (slot >= SHARE_MEMORY_SLOTS || memory->magic != SHARE_PAGE_MAGIC ||
	    memory->version != SHARE_PAGE_VERSION)
		return -EPROTO;
	return 0;
}

/* memory_used - of all the tenant's clients */
static uint64_t memory_used(void)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < SHARE_MEMORY_SLOTS; i++)
		sum += __atomic_load_n(&memory->used_bytes[i], __ATOMIC_ACQUIRE);
	return sum;
}

uint64_t quota_used(void)
{
	return memory ? memory_used() : 0;
}

void quota_show_process(uint32_t process)
{
	if (memory)
		__atomic_store_n(&memory->processes[own_slot].process, process, __ATOMIC_RELEASE);
}

void quota_show_device(int device)
{
	if (memory && device >= 0 && device < (int)SHARE_PAGE_DEVICES)
		__atomic_fetch_or(&memory->processes[own_slot].devices, 1u << device,
				  __ATOMIC_RELEASE);
}

bool quota_process_at(unsigned int slot, int device, uint32_t *process, uint64_t *used_bytes)
{
	const struct share_memory_process *at;

	if (!memory || slot >= SHARE_MEMORY_SLOTS || device < 0 ||
	    device >= (int)SHARE_PAGE_DEVICES)
		return false;
	at = &memory->processes[slot];
	if (!(__atomic_load_n(&at->devices, __ATOMIC_ACQUIRE) & 1u << device))
		return false;
	*process = __atomic_load_n(&at->process, __ATOMIC_ACQUIRE);
	*used_bytes = __atomic_load_n(&memory->used_bytes[slot], __ATOMIC_ACQUIRE);
	return *process != 0;
}

uint64_t quota_left(uint64_t *limit)
{
	uint64_t used;

	*limit = memory ? __atomic_load_n(&memory->limit_bytes, __ATOMIC_ACQUIRE) : 0;
	if (!*limit)
		return UINT64_MAX;
	used = memory_used();
	return used < *limit ? *limit - used : 0;
}

static void memory_enter(void)
{
	if (entered)
		return;
	if (pthread_mutex_lock(memory_lock()) == EOWNERDEAD)
		pthread_mutex_consistent(memory_lock());
	entered = true;
}

bool quota_enter(uint64_t bytes)
{
	static const struct timespec moment = { 0, FREED_WAIT_NS };
	uint64_t limit;

	if (!memory || !__atomic_load_n(&memory->limit_bytes, __ATOMIC_ACQUIRE))
		return true;
	memory_enter();
	for (int i = 0; i < FREED_WAITS && bytes > quota_left(&limit); i++) {
		quota_leave();
		nanosleep(&moment, NULL);
		memory_enter();
	}
	return bytes <= quota_left(&limit);
}

void quota_leave(void)
{
	if (!entered)
		return;
	entered = false;
	pthread_mutex_unlock(memory_lock());
}

void quota_publish(uint64_t bytes)
{
	if (memory)
		__atomic_store_n(&memory->used_bytes[own_slot], bytes, __ATOMIC_RELEASE);
}
