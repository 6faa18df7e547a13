/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is remembered by descriptor, and the lock.
 *
 * Slots come in chunks that are mapped when first needed and stay; all zero is empty. No malloc:
 * the calls we stand in for are allowed where malloc is not.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vsock/wrap/wrap.h"

#define CHUNK_SLOTS 256
#define CHUNKS	    4096

static struct wrap_slot *chunks[CHUNKS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static sigset_t fork_saved; /* guarded by the lock */

struct wrap_slot *wrap_slot_find(int fd)
{
	struct wrap_slot *chunk;

	if (fd < 0 || fd >= CHUNKS * CHUNK_SLOTS)
		return NULL;
	chunk = __atomic_load_n(&chunks[fd / CHUNK_SLOTS], __ATOMIC_ACQUIRE);
	return chunk ? &chunk[fd % CHUNK_SLOTS] : NULL;
}

struct wrap_slot *wrap_slot_make(int fd)
{
	struct wrap_slot *slot = wrap_slot_find(fd), *chunk, *none = NULL;
	int saved_errno = errno;

	if (slot || fd < 0 || fd >= CHUNKS * CHUNK_SLOTS)
		return slot;
	chunk = mmap(NULL, CHUNK_SLOTS * sizeof(*chunk), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (chunk == MAP_FAILED) {
		errno = saved_errno;
		return NULL;
	}
	if (!__atomic_compare_exchange_n(&chunks[fd / CHUNK_SLOTS], &none, chunk, false,
					 __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		munmap(chunk, CHUNK_SLOTS * sizeof(*chunk)); /* another thread was first */
	return wrap_slot_find(fd);
}

bool wrap_slot_is_empty(const struct wrap_slot *slot)
{
	return !slot || (!slot->flags && !slot->companion && !slot->alias_next);
}

void wrap_slots_clear(unsigned first, unsigned last)
{
	if (last >= CHUNKS * CHUNK_SLOTS)
		last = CHUNKS * CHUNK_SLOTS - 1;
	for (unsigned fd = first; fd <= last; fd++) {
		struct wrap_slot *slot = wrap_slot_find((int)fd);

		if (!slot) {
			fd |= CHUNK_SLOTS - 1; /* on to the next chunk */
			continue;
		}
		if (wrap_slot_is_empty(slot) || slot->flags & WRAP_SLOT_HIDDEN)
			continue;
		wrap_listener_release((int)fd);
		*slot = (struct wrap_slot){ 0 };
	}
}

void wrap_lock(sigset_t *saved)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, saved);
	pthread_mutex_lock(&lock);
}

void wrap_unlock(const sigset_t *saved)
{
	pthread_mutex_unlock(&lock);
	pthread_sigmask(SIG_SETMASK, saved, NULL);
}

static void before_fork(void)
{
	sigset_t saved;

	wrap_lock(&saved);
	fork_saved = saved;
}

static void after_fork(void)
{
	sigset_t saved = fork_saved;

	wrap_unlock(&saved);
}

static void after_fork_in_child(void)
{
	wrap_state.pid = getpid();
	after_fork();
}

void wrap_table_open(void)
{
	wrap_state.pid = getpid();
	pthread_atfork(before_fork, after_fork, after_fork_in_child);
}

bool wrap_is_ours(void)
{
	return getpid() == wrap_state.pid;
}
