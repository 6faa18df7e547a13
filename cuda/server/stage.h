/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pinned memory that copies through the link go through, so that the device and the link work at
 * the same time and no lock is held while the device is waited for.
 *
 * A stage has two slots and belongs to one copy from stage_take() to stage_give(). A slot may still
 * be read by the device when its stage is given back; who takes it next waits first. Where the
 * driver pins nothing, the slots are plain memory, which works the same way and is slower.
 */
#ifndef CAUSEWAY_CUDA_SERVER_STAGE_H
#define CAUSEWAY_CUDA_SERVER_STAGE_H

#include "cuda/server/worker.h"

#define STAGE_SLOTS	 2u
#define STAGE_SLOT_BYTES (512u << 10)

struct stage_slot {
	unsigned char *at;  /* STAGE_SLOT_BYTES */
	CUcontext context;  /* of .done */
	CUevent done;	    /* behind the last copy; NULL: none yet */
	unsigned int epoch; /* worker_context_generation() at the time .done was made */
	bool busy;	    /* a copy of it was issued and not waited for */
};

struct stage {
	struct stage *next; /* of those that are free */
	struct stage_slot slots[STAGE_SLOTS];
	unsigned int epoch; /* worker_context_generation() when it was pinned */
};

/* stage_take - one for a copy in the current context; NULL: no memory */
struct stage *stage_take(void);
void stage_give(struct stage *stage);
/* stage_issued - a copy from or to the slot was put into @stream, which is of the current context
 */
CUresult stage_issued(struct stage_slot *slot, CUstream stream);
/* stage_wait - until the slot's last copy is done; its failure */
CUresult stage_wait(struct stage_slot *slot);

#endif
