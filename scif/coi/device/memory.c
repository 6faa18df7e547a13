/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sink's buffers: memory and its window on the data connection, by the number that the source
 * gave. A buffer that a run function uses, or that has references, is not ended.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "include/intel-coi/sink/COIBuffer_sink.h"
#include "scif/coi/device/sink.h"
#include "scif/coi/export.h"
#include "scif/coi/section.h"

#define MEMORY_BUFFERS_MAX (1u << 20)
#define MEMORY_PAGE_BYTES  4096u

struct memory {
	uint32_t kind;
	unsigned char *address;
	uint64_t bytes;
	unsigned char *window; /* the registered pages */
	uint64_t window_bytes, offset;
	unsigned int users, references;
	struct pipeline *pipeline; /* that used it last */
};

static pthread_mutex_t memory_lock = PTHREAD_MUTEX_INITIALIZER;
static struct memory **memories; /* by number */
static uint32_t memories_room;

/* Call with the lock. */
static struct memory *memory_find(uint64_t id)
{
	return id < memories_room ? memories[id] : NULL;
}

/* Makes room for the number; 0 or -ENOMEM. Call with the lock. */
static int memory_make_room(uint32_t id)
{
	uint32_t room = memories_room ? memories_room : 64;
	struct memory **larger;

	if (id < memories_room)
		return 0;
	while (room <= id)
		room *= 2;
	larger = realloc(memories, room * sizeof(larger[0]));
	if (!larger)
		return -ENOMEM;
	memset(larger + memories_room, 0, (room - memories_room) * sizeof(larger[0]));
	memories = larger;
	memories_room = room;
	return 0;
}

/* Registers the pages around the memory. */
static COIRESULT memory_register(struct memory *memory)
{
	uintptr_t first = (uintptr_t)memory->address & ~(uintptr_t)(MEMORY_PAGE_BYTES - 1);
	uintptr_t end = (uintptr_t)memory->address + memory->bytes;
	off_t offset;

	memory->window = (unsigned char *)first;
	memory->window_bytes =
		(end - first + MEMORY_PAGE_BYTES - 1) & ~(uint64_t)(MEMORY_PAGE_BYTES - 1);
	offset = scif_register(sink.data, memory->window, memory->window_bytes, 0,
			       SCIF_PROT_READ | SCIF_PROT_WRITE, 0);
	if (offset == SCIF_REGISTER_FAILED)
		return errno == EFAULT ? COI_INVALID_POINTER : COI_RESOURCE_EXHAUSTED;
	memory->offset = (uint64_t)offset + ((uintptr_t)memory->address - first);
	return COI_SUCCESS;
}

static void memory_drop(struct memory *memory)
{
	switch (memory->kind) {
	case COI_BUFFER_SHARED:
		scif_munmap(memory->address, memory->bytes);
		break;
	case COI_BUFFER_MEMORY:
		scif_unregister(sink.data, (off_t)memory->offset, memory->window_bytes);
		munmap(memory->address, memory->bytes);
		break;
	default:
		scif_unregister(
			sink.data,
			(off_t)(memory->offset - (uint64_t)(memory->address - memory->window)),
			memory->window_bytes);
		break;
	}
	free(memory);
}

/* Finds the memory that is asked for; what it took is undone when it fails. */
static COIRESULT memory_place(struct memory *memory, const struct coi_buffer *wanted)
{
	int fixed = wanted->address ? MAP_FIXED_NOREPLACE : 0;
	void *at = (void *)(uintptr_t)wanted->address;
	COIRESULT result;

	if (wanted->kind == COI_BUFFER_ADOPTED) {
		memory->address = at;
		return at ? memory_register(memory) : COI_INVALID_POINTER;
	}
	if (wanted->bytes % MEMORY_PAGE_BYTES)
		return COI_OUT_OF_RANGE;
	if (wanted->kind == COI_BUFFER_SHARED) {
		memory->address = scif_mmap(NULL, wanted->bytes, SCIF_PROT_READ | SCIF_PROT_WRITE,
					    0, sink.data, (off_t)wanted->offset);
		return memory->address == SCIF_MMAP_FAILED ? COI_NOT_SUPPORTED : COI_SUCCESS;
	}
	memory->address = mmap(at, wanted->bytes, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | fixed, -1, 0);
	if (memory->address == MAP_FAILED)
		return errno == EEXIST ? COI_ALREADY_EXISTS : COI_RESOURCE_EXHAUSTED;
	result = memory_register(memory);
	if (result != COI_SUCCESS)
		munmap(memory->address, wanted->bytes);
	return result;
}

COIRESULT memory_new(const struct coi_buffer *wanted, struct coi_place *place)
{
	struct memory *memory;
	COIRESULT result;

	if (wanted->id >= MEMORY_BUFFERS_MAX || wanted->kind > COI_BUFFER_ADOPTED ||
	    wanted->bytes == 0 || wanted->bytes > UINT64_MAX / 2)
		return COI_OUT_OF_RANGE;
	memory = calloc(1, sizeof(*memory));
	if (!memory)
		return COI_RESOURCE_EXHAUSTED;
	memory->kind = wanted->kind;
	memory->bytes = wanted->bytes;
	pthread_mutex_lock(&memory_lock);
	if (memory_find(wanted->id))
		result = COI_ALREADY_EXISTS;
	else
		result = memory_make_room(wanted->id) < 0 ? COI_RESOURCE_EXHAUSTED
							  : memory_place(memory, wanted);
	if (result == COI_SUCCESS) {
		memories[wanted->id] = memory;
		place->address = (uintptr_t)memory->address;
		place->offset = memory->offset;
	}
	pthread_mutex_unlock(&memory_lock);
	if (result != COI_SUCCESS)
		free(memory);
	return result;
}

COIRESULT memory_end(uint64_t id)
{
	struct memory *memory;
	COIRESULT result = COI_SUCCESS;

	pthread_mutex_lock(&memory_lock);
	memory = memory_find(id);
	if (!memory)
		result = COI_INVALID_HANDLE;
	else if (memory->users)
		result = COI_RETRY;
	else
		memories[id] = NULL;
	pthread_mutex_unlock(&memory_lock);
	if (result == COI_SUCCESS)
		memory_drop(memory);
	return result;
}

COIRESULT memory_copy(const struct coi_copy *copy)
{
	struct memory *to, *from;
	COIRESULT result = COI_SUCCESS;

	pthread_mutex_lock(&memory_lock);
	to = memory_find(copy->to);
	from = memory_find(copy->from);
	if (!to || !from)
		result = COI_INVALID_HANDLE;
	else if (!message_range(copy->to_offset, copy->bytes, to->bytes) ||
		 !message_range(copy->from_offset, copy->bytes, from->bytes))
		result = COI_OUT_OF_RANGE;
	if (result == COI_SUCCESS) {
		to->users++;
		from->users++;
	}
	pthread_mutex_unlock(&memory_lock);
	if (result != COI_SUCCESS)
		return result;
	memmove(to->address + copy->to_offset, from->address + copy->from_offset, copy->bytes);
	memory_release(copy->to);
	memory_release(copy->from);
	return COI_SUCCESS;
}

/* Whether the elements are some of the section's, and both buffers have room. With the lock. */
static COIRESULT section_check(const struct coi_section *wanted, uint64_t way,
			       const struct section *section)
{
	const struct memory *array = memory_find(wanted->array);
	const struct memory *packed = memory_find(wanted->packed);

	if (!array || !packed)
		return COI_INVALID_HANDLE;
	if (array == packed)
		return COI_MEMORY_OVERLAP;
	if (way > COI_SECTION_UNPACK ||
	    !message_range(wanted->offset, section->span, array->bytes) ||
	    !message_range(wanted->first, wanted->elements, section->elements) ||
	    wanted->elements * section->element > packed->bytes)
		return COI_OUT_OF_RANGE;
	return COI_SUCCESS;
}

COIRESULT memory_section(const struct coi_section *wanted, uint64_t way)
{
	struct memory *array, *packed;
	struct section section;
	COIRESULT result;

	if (!section_set(&section, wanted->element, wanted->counts, wanted->steps))
		return COI_OUT_OF_RANGE;
	pthread_mutex_lock(&memory_lock);
	result = section_check(wanted, way, &section);
	array = memory_find(wanted->array);
	packed = memory_find(wanted->packed);
	if (result == COI_SUCCESS) {
		array->users++;
		packed->users++;
	}
	pthread_mutex_unlock(&memory_lock);
	if (result != COI_SUCCESS)
		return result;
	section_move(&section, array->address + wanted->offset, wanted->first, wanted->elements,
		     packed->address, way == COI_SECTION_PACK);
	memory_release(wanted->array);
	memory_release(wanted->packed);
	return COI_SUCCESS;
}

COIRESULT memory_hold(struct pipeline *pipeline, const struct coi_run_buffer *wanted,
		      void **address, uint64_t *bytes)
{
	struct memory *memory;
	COIRESULT result = COI_SUCCESS;

	pthread_mutex_lock(&memory_lock);
	memory = memory_find(wanted->id);
	if (!memory)
		result = COI_INVALID_HANDLE;
	else if (!message_range(wanted->offset, wanted->bytes, memory->bytes))
		result = COI_OUT_OF_RANGE;
	if (result == COI_SUCCESS) {
		memory->users++;
		memory->pipeline = pipeline;
		*address = memory->address + wanted->offset;
		*bytes = wanted->bytes;
	}
	pthread_mutex_unlock(&memory_lock);
	return result;
}

void memory_release(uint32_t id)
{
	pthread_mutex_lock(&memory_lock);
	if (memory_find(id) && memories[id]->users)
		memories[id]->users--;
	pthread_mutex_unlock(&memory_lock);
}

void memory_forget(const struct pipeline *pipeline)
{
	pthread_mutex_lock(&memory_lock);
	for (uint32_t id = 0; id < memories_room; id++) {
		if (memories[id] && memories[id]->pipeline == pipeline)
			memories[id]->pipeline = NULL;
	}
	pthread_mutex_unlock(&memory_lock);
}

/* The buffer that begins at the address, and its number. Call with the lock. */
static struct memory *memory_at(const void *address, uint32_t *id)
{
	for (*id = 0; *id < memories_room; ++*id) {
		if (memories[*id] && memories[*id]->address == address)
			return memories[*id];
	}
	return NULL;
}

/* The first reference is told over the run function's own connection, so that it is known before
 * the function's end is. */
COI_EXPORT COIRESULT COIBufferAddRef(void *in_pBuffer)
{
	struct coi_header header = { .type = COI_HELD };
	struct memory *memory;
	COIRESULT result = COI_SUCCESS;
	uint32_t id;

	if (!in_pBuffer)
		return COI_INVALID_POINTER;
	pthread_mutex_lock(&memory_lock);
	memory = memory_at(in_pBuffer, &id);
	if (!memory || !memory->pipeline || !memory->users) {
		result = COI_INVALID_HANDLE;
	} else if (memory->references++ == 0) {
		header.value = id;
		if (pipeline_hold(memory->pipeline, &header, NULL) < 0)
			result = COI_ERROR;
	}
	pthread_mutex_unlock(&memory_lock);
	return result;
}

COI_EXPORT COIRESULT COIBufferReleaseRef(void *in_pBuffer)
{
	struct memory *memory;
	COIRESULT result = COI_SUCCESS;
	uint32_t id;

	if (!in_pBuffer)
		return COI_INVALID_POINTER;
	pthread_mutex_lock(&memory_lock);
	memory = memory_at(in_pBuffer, &id);
	if (!memory || !memory->references)
		result = COI_INVALID_HANDLE;
	else if (--memory->references == 0 && sink_tell(COI_RELEASED, id, NULL, 0) < 0)
		result = COI_ERROR;
	pthread_mutex_unlock(&memory_lock);
	return result;
}
