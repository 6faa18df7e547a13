/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ipc_event: events that several processes record and wait for, as words in a page of shared
 * memory.
 *
 * Each record gets the next number. When what was before it is done, its number goes into its slot;
 * a slot's numbers only rise, since a record waits for the one that had the slot before. So who
 * waits for a record waits for that one, whatever was recorded since, by whichever process.
 *
 * A process that is killed with a record outstanding leaves it outstanding for ever, as a device
 * does.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cuda/softgpu/driver.h"
#include "cuda/softgpu/ipc.h"

#define SLOTS 512 /* records outstanding at a time */

struct words {
	_Atomic uint32_t last; /* number of the last record */
	_Atomic uint32_t reached[SLOTS];
	uint32_t reserved[PAGE_BYTES / sizeof(uint32_t) - 1 - SLOTS];
};

_Static_assert(sizeof(struct words) == PAGE_BYTES, "a page");

struct ipc_event {
	_Atomic unsigned int references;
	bool own; /* made here */
	struct ipc_handle handle;
	struct words *words;
};

/* event_of - what is known of an object that is open as @fd, which is closed; NULL: no memory */
static struct ipc_event *event_of(const struct ipc_handle *handle, int fd, bool own)
{
	struct ipc_event *event = calloc(1, sizeof(*event));
	struct words *words = mmap(NULL, sizeof(*words), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	close(fd);
	if (!event || words == MAP_FAILED) {
		if (words != MAP_FAILED)
			munmap(words, sizeof(*words));
		free(event);
		return NULL;
	}
	event->references = 1;
	event->own = own;
	event->handle = *handle;
	event->words = words;
	return event;
}

struct ipc_event *ipc_event_make(void)
{
	struct ipc_event *event;
	struct ipc_handle handle;
	int fd = ipc_object_make(&handle, IPC_EVENT, sizeof(struct words));

	if (fd < 0)
		return NULL;
	event = event_of(&handle, fd, true);
	if (!event)
		ipc_object_remove(&handle);
	return event;
}

CUresult ipc_event_open(const struct ipc_handle *handle, struct ipc_event **event)
{
	int fd;
	CUresult result = ipc_object_open(handle, IPC_EVENT, &fd);

	if (result)
		return result;
	*event = event_of(handle, fd, false);
	return *event ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

struct ipc_event *ipc_event_hold(struct ipc_event *event)
{
	event->references++;
	return event;
}

void ipc_event_drop(struct ipc_event *event)
{
	if (!event || --event->references)
		return;
	if (event->own)
		ipc_object_remove(&event->handle);
	munmap(event->words, sizeof(*event->words));
	free(event);
}

const struct ipc_handle *ipc_event_handle(const struct ipc_event *event)
{
	return &event->handle;
}

uint32_t ipc_event_begin(struct ipc_event *event)
{
	uint32_t record = ++event->words->last;

	ipc_event_wait(event, record - SLOTS);
	return record;
}

void ipc_event_reach(struct ipc_event *event, uint32_t record)
{
	_Atomic uint32_t *slot = &event->words->reached[record % SLOTS];

	*slot = record;
	syscall(SYS_futex, slot, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

uint32_t ipc_event_last(const struct ipc_event *event)
{
	return event->words->last;
}

bool ipc_event_reached(const struct ipc_event *event, uint32_t record)
{
	return (int32_t)(event->words->reached[record % SLOTS] - record) >= 0;
}

void ipc_event_wait(const struct ipc_event *event, uint32_t record)
{
	const _Atomic uint32_t *slot = &event->words->reached[record % SLOTS];
	uint32_t seen;

	while ((int32_t)((seen = *slot) - record) < 0)
		syscall(SYS_futex, slot, FUTEX_WAIT, seen, NULL, NULL, 0);
}
