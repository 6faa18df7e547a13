/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device memory that no address of the client's stands for: arrays, executable graphs, contexts,
 * modules. Each object of the driver's that holds some has a record, until it or its context ends.
 *
 * Threads: any.
 */
#ifndef CAUSEWAY_CUDA_SERVER_QUOTA_HELD_H
#define CAUSEWAY_CUDA_SERVER_QUOTA_HELD_H

#include <stdbool.h>
#include <stdint.h>

#include "gen/cuda_driver.h"

enum held_kind {
	HELD_ASKED,    /* what the program asked for */
	HELD_OVERHEAD, /* what the driver takes beside that */
};

/* held_keep - charge @bytes (0: none) for @object, of @context; false without memory for it */
bool held_keep(const void *object, CUcontext context, uint64_t bytes, enum held_kind kind);
/* held_change - @bytes more, or negative less, for @object; never below nothing */
void held_change(const void *object, int64_t bytes);
/* held_rests - what the driver may keep beyond what the program asked for */
uint64_t held_rests(void);
/* held_drop - @object is gone */
void held_drop(const void *object);
/* held_drop_context - @context is gone, and all in it */
void held_drop_context(CUcontext context);

#endif
