/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory as device code sees it from outside the fast paths: generic addresses, and the heap that
 * malloc() in a kernel takes from.
 *
 * The heap is PTX_HEAP_BYTES of device memory per module, taken at the first call. What is known
 * about it is kept out of the device's reach: one word per granule, the length in granules where
 * an allocation starts, zero elsewhere. Guarded by the module's heap_lock.
 */
#include <stdlib.h>

#include "cuda/softgpu/ptx_code.h"

#define GRANULE_BYTES 64u
#define GRANULES      (PTX_HEAP_BYTES / GRANULE_BYTES)

static bool page_valid(const struct ptx_warp *warp, uint64_t address)
{
	uint64_t page = (address - warp->memory_base) >> warp->page_shift;

	return page < warp->memory_pages && warp->valid_pages[page];
}

void *ptx_host_pointer(struct ptx_warp *warp, uint64_t address, uint64_t bytes, uint32_t lane,
		       uint32_t writes)
{
	struct ptx_block *block = warp->block;
	struct ptx_run *run = block->run;
	uint64_t offset = address & (((uint64_t)1 << 56) - 1);

	switch (PTX_WINDOW_OF(address)) {
	case 0:
		if (!bytes || bytes > 4096 || address + bytes > PTX_HOST_ADDRESS_END ||
		    !page_valid(warp, address) || !page_valid(warp, address + bytes - 1))
			return NULL;
		return (void *)(uintptr_t)address;
	case PTX_WINDOW_OF(PTX_WINDOW_SHARED):
		if (offset >= block->shared_bytes || block->shared_bytes - offset < bytes)
			return NULL;
		return block->shared + offset;
	case PTX_WINDOW_OF(PTX_WINDOW_LOCAL):
		if (offset >= block->local_bytes || block->local_bytes - offset < bytes)
			return NULL;
		return warp->local + (uint64_t)lane * block->local_stride + offset;
	case PTX_WINDOW_OF(PTX_WINDOW_PARAM):
		if (writes || offset >= run->parameter_bytes ||
		    run->parameter_bytes - offset < bytes)
			return NULL;
		return run->parameters + offset;
	default:
		return NULL;
	}
}

int ptx_heap_init(struct ptx_heap *heap)
{
	return -pthread_mutex_init(&heap->lock, NULL);
}

void ptx_heap_free(struct ptx_heap *heap, const struct ptx_memory *memory)
{
	if (heap->address)
		memory->release(memory->owner, heap->address);
	free(heap->lengths);
	pthread_mutex_destroy(&heap->lock);
}

/* heap_open - the device memory and the table, once */
static bool heap_open(struct ptx_heap *heap, const struct ptx_memory *memory)
{
	if (heap->address)
		return true;
	heap->lengths = calloc(GRANULES, sizeof(*heap->lengths));
	if (!heap->lengths)
		return false;
	if (memory->allocate(memory->owner, PTX_HEAP_BYTES, 256, &heap->address)) {
		free(heap->lengths);
		heap->lengths = NULL;
		heap->address = 0;
		return false;
	}
	return true;
}

/* heap_search - the first gap of @wanted granules in [from, to); GRANULES where there is none */
static uint32_t heap_search(const struct ptx_heap *heap, uint32_t from, uint32_t to,
			    uint32_t wanted)
{
	uint32_t gap = 0;

	for (uint32_t granule = from; granule < to;) {
		if (heap->lengths[granule]) {
			granule += heap->lengths[granule];
			gap = 0;
			continue;
		}
		granule++;
		if (++gap == wanted)
			return granule - wanted;
	}
	return GRANULES;
}

uint64_t ptx_heap_take(struct ptx_heap *heap, const struct ptx_memory *memory, uint64_t bytes)
{
	uint32_t wanted, granule;
	uint64_t address = 0;

	if (!bytes || bytes > PTX_HEAP_BYTES)
		return 0;
	wanted = (uint32_t)((bytes + GRANULE_BYTES - 1) / GRANULE_BYTES);
	pthread_mutex_lock(&heap->lock);
	if (heap_open(heap, memory)) {
		granule = heap_search(heap, heap->next, GRANULES, wanted);
		if (granule == GRANULES)
			granule = heap_search(heap, 0, GRANULES, wanted);
		if (granule < GRANULES) {
			heap->lengths[granule] = wanted;
			heap->next = granule + wanted < GRANULES ? granule + wanted : 0;
			address = heap->address + (uint64_t)granule * GRANULE_BYTES;
		}
	}
	pthread_mutex_unlock(&heap->lock);
	return address;
}

bool ptx_heap_give(struct ptx_heap *heap, uint64_t address)
{
	uint64_t offset = address - heap->address;
	bool given = false;

	if (!address)
		return true;
	pthread_mutex_lock(&heap->lock);
	if (heap->address && offset < PTX_HEAP_BYTES && offset % GRANULE_BYTES == 0 &&
	    heap->lengths[offset / GRANULE_BYTES]) {
		heap->lengths[offset / GRANULE_BYTES] = 0;
		heap->next = (uint32_t)(offset / GRANULE_BYTES);
		given = true;
	}
	pthread_mutex_unlock(&heap->lock);
	return given;
}
