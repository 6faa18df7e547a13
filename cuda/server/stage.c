/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool of stages. See stage.h.
 *
 * stage_lock protects the list of the free ones; it is a leaf. Some are kept: as many copies go on
 * at a time as the program has threads that copy. A context that ends takes its events along, and
 * unpins what was pinned in it; both are seen by the number that worker_context_generation() gives.
 */
#include "cuda/server/stage.h"

#include <stdlib.h>
#include <sys/mman.h>

#define STAGES_KEPT 4u

static struct {
	pthread_mutex_t lock; /* stage_lock */
	struct stage *first;
	unsigned int count;
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct stage *stage_make(void)
{
	struct stage *stage = calloc(1, sizeof(*stage));
	unsigned char *at;

	if (!stage)
		return NULL;
	at = mmap(NULL, STAGE_SLOTS * STAGE_SLOT_BYTES, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED) {
		free(stage);
		return NULL;
	}
	for (unsigned int i = 0; i < STAGE_SLOTS; i++)
		stage->slots[i].at = at + (size_t)i * STAGE_SLOT_BYTES;
	stage->epoch = worker_context_generation() - 1; /* not pinned yet */
	return stage;
}

/* stage_pin - again where a context has ended since; without success it stays plain memory */
static void stage_pin(struct stage *stage)
{
	unsigned int epoch = worker_context_generation();

	if (stage->epoch == epoch)
		return;
	stage->epoch = epoch;
	if (worker_driver.cuMemHostRegister_v2)
		worker_driver.cuMemHostRegister_v2(stage->slots[0].at,
						   STAGE_SLOTS * STAGE_SLOT_BYTES,
						   CU_MEMHOSTREGISTER_PORTABLE);
}

struct stage *stage_take(void)
{
	struct stage *stage;

	pthread_mutex_lock(&pool.lock);
	stage = pool.first;
	if (stage) {
		pool.first = stage->next;
		pool.count--;
	}
	pthread_mutex_unlock(&pool.lock);
	if (!stage)
		stage = stage_make();
	if (stage)
		stage_pin(stage);
	return stage;
}

/* stage_end - one more than are kept */
static void stage_end(struct stage *stage)
{
	for (unsigned int i = 0; i < STAGE_SLOTS; i++) {
		struct stage_slot *slot = &stage->slots[i];

		stage_wait(slot);
		if (slot->done && slot->epoch == worker_context_generation())
			worker_driver.cuEventDestroy_v2(slot->done);
	}
	if (worker_driver.cuMemHostUnregister)
		worker_driver.cuMemHostUnregister(stage->slots[0].at);
	munmap(stage->slots[0].at, STAGE_SLOTS * STAGE_SLOT_BYTES);
	free(stage);
}

void stage_give(struct stage *stage)
{
	bool kept;

	pthread_mutex_lock(&pool.lock);
	kept = pool.count < STAGES_KEPT;
	if (kept) {
		stage->next = pool.first;
		pool.first = stage;
		pool.count++;
	}
	pthread_mutex_unlock(&pool.lock);
	if (!kept)
		stage_end(stage);
}

/* slot_event - the slot's event, of the current context; NULL: the driver has none */
static CUevent slot_event(struct stage_slot *slot)
{
	unsigned int epoch = worker_context_generation();
	CUcontext context = NULL;
	CUevent event;

	if (!worker_driver.cuEventCreate || !worker_driver.cuEventRecord ||
	    !worker_driver.cuEventSynchronize || !worker_driver.cuEventDestroy_v2 ||
	    !worker_driver.cuCtxGetCurrent || worker_driver.cuCtxGetCurrent(&context))
		return NULL;
	if (slot->done && slot->context == context && slot->epoch == epoch)
		return slot->done;
	if (slot->done && slot->epoch == epoch)
		worker_driver.cuEventDestroy_v2(slot->done);
	slot->done = NULL;
	if (worker_driver.cuEventCreate(&event, CU_EVENT_DISABLE_TIMING))
		return NULL;
	slot->done = event;
	slot->context = context;
	slot->epoch = epoch;
	return event;
}

CUresult stage_issued(struct stage_slot *slot, CUstream stream)
{
	CUevent event = slot_event(slot);
	CUresult result;

	if (!event)
		return worker_driver.cuStreamSynchronize ? worker_driver.cuStreamSynchronize(stream)
							 : CUDA_ERROR_NOT_SUPPORTED;
	result = worker_driver.cuEventRecord(event, stream);
	slot->busy = !result;
	return result;
}

CUresult stage_wait(struct stage_slot *slot)
{
	if (!slot->busy)
		return CUDA_SUCCESS;
	slot->busy = false;
	/* A context that ended has waited for it. */
	if (slot->epoch != worker_context_generation())
		return CUDA_SUCCESS;
	return worker_driver.cuEventSynchronize(slot->done);
}
