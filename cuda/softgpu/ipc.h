/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What softgpu's files of sharing between processes tell each other: ipc.c, ipc_event.c.
 */
#ifndef CAUSEWAY_CUDA_SOFTGPU_IPC_H
#define CAUSEWAY_CUDA_SOFTGPU_IPC_H

#include <stdbool.h>
#include <stdint.h>

#include "gen/cuda_types.h"

#define IPC_MAGIC 0x63706973u /* "sipc" */

/* What a handle is of. */
enum ipc_kind { IPC_MEMORY = 1, IPC_EVENT = 2 };

/* A handle that programs pass on: which object of shared memory, and whose. */
struct ipc_handle {
	uint32_t magic;
	uint32_t kind;
	uint64_t process; /* the maker's, a random number */
	uint64_t name[2]; /* likewise; all zero: of nothing */
	uint64_t bytes;	  /* whole pages */
	uint64_t asked;	  /* of these, for memory: how long the allocation is */
	uint32_t device;
	uint32_t reserved[3];
};

_Static_assert(sizeof(struct ipc_handle) == sizeof(CUipcMemHandle), "a memory's handle");
_Static_assert(sizeof(struct ipc_handle) == sizeof(CUipcEventHandle), "an event's handle");

/**
 * ipc_object_make - a new object of shared memory, zeroed, all of its memory there
 * @handle: its name, kind, bytes and process are filled in
 * @bytes: a multiple of the page
 *
 * Return: a descriptor, or -errno.
 */
int ipc_object_make(struct ipc_handle *handle, enum ipc_kind kind, uint64_t bytes);
/*
 * ipc_object_open - a descriptor of what another process made; INVALID_VALUE: it is no handle of
 * that kind, or its object is gone; INVALID_CONTEXT: this process made it
 */
CUresult ipc_object_open(const struct ipc_handle *handle, enum ipc_kind kind, int *fd);
/* ipc_object_remove - nobody may open it any more; who has it keeps it */
void ipc_object_remove(const struct ipc_handle *handle);

/* ---- ipc_event.c ---- */

/* What the processes that have an event know of it. Counted: a late task keeps it. */
struct ipc_event;

/* ipc_event_make - NULL without room for it */
struct ipc_event *ipc_event_make(void);
CUresult ipc_event_open(const struct ipc_handle *handle, struct ipc_event **event);
struct ipc_event *ipc_event_hold(struct ipc_event *event);
void ipc_event_drop(struct ipc_event *event);
const struct ipc_handle *ipc_event_handle(const struct ipc_event *event);
/* ipc_event_begin - a record is asked for: its number; may wait for very old ones */
uint32_t ipc_event_begin(struct ipc_event *event);
/* ipc_event_reach - what was before that record is done */
void ipc_event_reach(struct ipc_event *event, uint32_t record);
/* ipc_event_last - the number of the last record, whoever asked for it; 0: there was none */
uint32_t ipc_event_last(const struct ipc_event *event);
bool ipc_event_reached(const struct ipc_event *event, uint32_t record);
void ipc_event_wait(const struct ipc_event *event, uint32_t record);

#endif
