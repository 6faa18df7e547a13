/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Buffers: creating and ending them, who uses them, where they are valid.
 *
 * A buffer's state is that of the whole of it: a part that is written where the buffer is valid
 * leaves it valid there and nowhere else, which is right, if more than needed is moved sometimes.
 * A sub-buffer has its parent's state. At least one place is valid, unless the program itself said
 * otherwise (COIBufferSetState); then the source's memory is taken as it is.
 *
 * Uses are events. One that writes waits for all before it, one that reads for the last that wrote;
 * references of a sink (->held) keep all further ones waiting. OpenCL's and pinned buffers wait for
 * nothing. Everything here is guarded by host_lock.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "scif/coi/export.h"
#include "scif/coi/host/host.h"

#define BUFFER_PAGE	   4096u
#define BUFFER_FLAGS	   0x1ffu
#define BUFFER_SAME	   (COI_SAME_ADDRESS_SINKS | COI_SAME_ADDRESS_SINKS_AND_SOURCE)
#define BUFFER_SAME_BEGIN  0x2000000000ull   /* addresses for these: free in all kinds of guests, */
#define BUFFER_SAME_END	   0x3c00000000ull   /* where user space may end at 39 bits */
#define BUFFER_SAME_HIGH   0x200000000000ull /* added where these are taken, as by sanitizers */
#define BUFFER_SAME_TRIES  64
#define BUFFER_READERS_MIN 4

static LIST_HEAD(, coibuffer) buffers = LIST_HEAD_INITIALIZER(buffers);
static uint64_t buffer_same_next = BUFFER_SAME_BEGIN;

struct coibuffer *buffer_whole(struct coibuffer *buffer, uint64_t *offset)
{
	if (offset)
		*offset = buffer->parent_offset;
	return buffer->parent ? buffer->parent : buffer;
}

struct instance *buffer_instance(struct coibuffer *buffer, const struct coiprocess *process)
{
	for (uint32_t i = 0; i < buffer->instance_count; i++) {
		if (buffer->instances[i].process == process)
			return &buffer->instances[i];
	}
	return NULL;
}

struct version *version_new(uint64_t bytes)
{
	struct version *version = calloc(1, sizeof(*version));

	if (!version)
		return NULL;
	version->holders = 1;
	version->bytes = bytes;
	version->memory =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (version->memory == MAP_FAILED) {
		free(version);
		return NULL;
	}
	return version;
}

void version_put(struct version *version)
{
	if (!version || __atomic_sub_fetch(&version->holders, 1, __ATOMIC_ACQ_REL))
		return;
	munmap(version->memory, version->bytes);
	free(version);
}

int buffer_keep(struct coibuffer *buffer, uint64_t event)
{
	if (buffer->reader_count == buffer->reader_room) {
		uint32_t room = buffer->reader_room ? buffer->reader_room * 2 : BUFFER_READERS_MIN;
		uint64_t *larger;

		/* Most of them have come. */
		buffer->reader_count = event_pending(buffer->readers, buffer->reader_count);
		if (buffer->reader_count * 2 > buffer->reader_room || !buffer->reader_room) {
			larger = realloc(buffer->readers, room * sizeof(larger[0]));
			if (!larger)
				return -ENOMEM;
			buffer->readers = larger;
			buffer->reader_room = room;
		}
	}
	buffer->readers[buffer->reader_count++] = event;
	return 0;
}

int buffer_use(struct coibuffer *buffer, struct operation *operation, uint64_t event, bool writes)
{
	int status = 0;

	buffer = buffer_whole(buffer, NULL);
	if (buffer->type != COI_BUFFER_OPENCL && buffer->type != COI_BUFFER_PINNED) {
		status = operation_after(operation, buffer->writer);
		if (status == 0)
			status = operation_after(operation, buffer->held);
		for (uint32_t i = 0; i < buffer->reader_count && writes && status == 0; i++)
			status = operation_after(operation, buffer->readers[i]);
	}
	if (status < 0 || !event)
		return status;
	if (!writes || buffer->type == COI_BUFFER_OPENCL || buffer->type == COI_BUFFER_PINNED)
		return buffer_keep(buffer, event);
	buffer->writer = event;
	buffer->reader_count = 0;
	return 0;
}

void buffer_own(struct coibuffer *buffer, const struct instance *only)
{
	buffer->valid = !only;
	for (uint32_t i = 0; i < buffer->instance_count; i++)
		buffer->instances[i].valid = &buffer->instances[i] == only;
}

/* References came or went: while there are some, ->held is an event that has not come. */
static void buffer_hold_change(struct coibuffer *buffer, int change)
{
	buffer->holds += change;
	if (buffer->holds > 0 && !buffer->held) {
		buffer->held = event_begin();
	} else if (buffer->holds <= 0 && buffer->held) {
		event_finish(buffer->held, COI_SUCCESS);
		buffer->held = 0;
	}
}

void buffer_hold(struct coiprocess *process, uint64_t id, int change)
{
	struct coibuffer *buffer;
	struct instance *instance;

	LIST_FOREACH(buffer, &buffers, link)
	{
		instance = buffer->parent ? NULL : buffer_instance(buffer, process);
		if (!instance || instance->id != id)
			continue;
		instance->holds += change;
		buffer_hold_change(buffer, change);
		return;
	}
}

void buffer_forget_holds(struct coiprocess *process)
{
	struct coibuffer *buffer;
	struct instance *instance;

	LIST_FOREACH(buffer, &buffers, link)
	{
		instance = buffer_instance(buffer, process);
		if (!instance || !instance->holds)
			continue;
		buffer_hold_change(buffer, -instance->holds);
		instance->holds = 0;
	}
}

void buffer_forget(struct coiprocess *process)
{
	struct coibuffer *buffer;
	struct instance *instance;

	buffer_forget_holds(process);
	LIST_FOREACH(buffer, &buffers, link)
	{
		instance = buffer_instance(buffer, process);
		if (instance) {
			instance->process = NULL;
			instance->valid = false;
		}
	}
}

/* What is wrong with a new buffer's arguments. */
static COIRESULT buffer_check(uint64_t size, COI_BUFFER_TYPE type, uint32_t flags, uint32_t count,
			      const COIPROCESS *processes, const COIBUFFER *out)
{
	if (size == 0 || size > UINT64_MAX / 4 || (flags & ~BUFFER_FLAGS) || count == 0)
		return COI_OUT_OF_RANGE;
	if (!processes || !out)
		return COI_INVALID_POINTER;
	if (type < COI_BUFFER_NORMAL || type > COI_BUFFER_OPENCL ||
	    (flags & ~COI_VALID_BUFFER_TYPES_AND_FLAGS[type]))
		return COI_ARGUMENT_MISMATCH;
	if ((flags & BUFFER_SAME) && (flags & COI_OPTIMIZE_HUGE_PAGE_SIZE))
		return COI_NOT_SUPPORTED;
	return COI_SUCCESS;
}

/* Without its memory; its processes are known to be processes. */
static struct coibuffer *buffer_new(uint64_t size, COI_BUFFER_TYPE type, uint32_t flags,
				    uint32_t count, const COIPROCESS *processes, COIRESULT *result)
{
	struct coibuffer *buffer = calloc(1, sizeof(*buffer));
	struct instance *instances = calloc(count, sizeof(*instances));

	*result = buffer && instances ? COI_SUCCESS : COI_OUT_OF_MEMORY;
	pthread_mutex_lock(&host_lock);
	for (uint32_t i = 0; i < count && *result == COI_SUCCESS; i++) {
		if (!process_is(processes[i]))
			*result = COI_INVALID_HANDLE;
		else
			instances[i] = (struct instance){ .process = processes[i],
							  .id = processes[i]->next_buffer++ };
	}
	pthread_mutex_unlock(&host_lock);
	if (*result != COI_SUCCESS) {
		free(buffer);
		free(instances);
		return NULL;
	}
	buffer->type = type;
	buffer->flags = flags;
	buffer->size = size;
	buffer->bytes = (size + BUFFER_PAGE - 1) & ~(uint64_t)(BUFFER_PAGE - 1);
	buffer->instances = instances;
	buffer->instance_count = count;
	buffer->valid = true;
	STAILQ_INIT(&buffer->versions);
	return buffer;
}

/* One process's part of a buffer is made there. */
static COIRESULT instance_make(struct coibuffer *buffer, struct instance *instance, uint32_t kind,
			       uint64_t address)
{
	struct coi_buffer wanted = {
		.id = instance->id,
		.kind = kind,
		.bytes = kind == COI_BUFFER_ADOPTED ? buffer->size : buffer->bytes,
		.address = address,
		.offset = instance->offset,
	};
	struct coi_header header = { .type = COI_BUFFER_NEW };
	struct iovec part = { &wanted, sizeof(wanted) };
	struct coi_place place;
	COIRESULT result =
		process_call(instance->process, &header, &part, 1, &place, sizeof(place), NULL);

	if (result != COI_SUCCESS)
		return result;
	instance->made = true;
	instance->address = place.address;
	if (kind != COI_BUFFER_SHARED)
		instance->offset = place.offset;
	return COI_SUCCESS;
}

static void instance_end(struct instance *instance)
{
	struct coi_header header = { .type = COI_BUFFER_END, .value = instance->id };

	if (instance->process && instance->made)
		process_call(instance->process, &header, NULL, 0, NULL, 0, NULL);
	if (instance->process && instance->window_bytes)
		scif_unregister(instance->process->data, (off_t)instance->window,
				instance->window_bytes);
	instance->made = false;
	instance->window_bytes = 0;
}

/* The source's memory as a window for that process, so that the sink can map it. */
static COIRESULT instance_share(struct coibuffer *buffer, struct instance *instance)
{
	uintptr_t first = (uintptr_t)buffer->memory & ~(uintptr_t)(BUFFER_PAGE - 1);
	uintptr_t end = ((uintptr_t)buffer->memory + buffer->size + BUFFER_PAGE - 1) &
			~(uintptr_t)(BUFFER_PAGE - 1);
	off_t offset = scif_register(instance->process->data, (void *)first, end - first, 0,
				     SCIF_PROT_READ | SCIF_PROT_WRITE, 0);
	COIRESULT result;

	if (offset == SCIF_REGISTER_FAILED)
		return errno == EFAULT || errno == EACCES ? COI_NOT_SUPPORTED : result_of(-errno);
	instance->window = instance->offset = (uint64_t)offset;
	instance->window_bytes = buffer->bytes = end - first;
	result = instance_make(buffer, instance, COI_BUFFER_SHARED, 0);
	instance->address += (uintptr_t)buffer->memory - first;
	return result;
}

static void *buffer_map_source(uint64_t bytes, uint64_t address)
{
	int fixed = address ? MAP_FIXED_NOREPLACE : 0;
	void *memory = mmap((void *)(uintptr_t)address, bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | fixed, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

/* The next address that buffers which have to lie alike may try. */
static uint64_t buffer_same_address(uint64_t bytes)
{
	uint64_t address;

	pthread_mutex_lock(&host_lock);
	if (buffer_same_next + bytes > BUFFER_SAME_END)
		buffer_same_next = BUFFER_SAME_BEGIN;
	address = buffer_same_next;
	buffer_same_next += (bytes + (1u << 21)) & ~(uint64_t)((1u << 21) - 1);
	pthread_mutex_unlock(&host_lock);
	return address;
}

/* Makes its part in every process, at an address of their own choice or at the one given. */
static COIRESULT buffer_make(struct coibuffer *buffer, uint32_t kind, uint64_t address)
{
	COIRESULT result = COI_SUCCESS;

	for (uint32_t i = 0; i < buffer->instance_count && result == COI_SUCCESS; i++)
		result = kind == COI_BUFFER_SHARED
				 ? instance_share(buffer, &buffer->instances[i])
				 : instance_make(buffer, &buffer->instances[i], kind, address);
	for (uint32_t i = 0; i < buffer->instance_count && result != COI_SUCCESS; i++)
		instance_end(&buffer->instances[i]);
	return result;
}

/* A pinned buffer: the source's memory, mapped by the sinks; or, where a sink may not map that (a
 * card's programs may not map a VM's memory), the memory of the one sink, mapped here. */
static COIRESULT buffer_pin(struct coibuffer *buffer)
{
	struct instance *only = buffer->instances;
	COIRESULT result;
	void *memory;

	buffer->memory = buffer_map_source(buffer->bytes, 0);
	result = buffer->memory ? buffer_make(buffer, COI_BUFFER_SHARED, 0) : COI_OUT_OF_MEMORY;
	if (result != COI_NOT_SUPPORTED || buffer->instance_count > 1)
		return result;
	munmap(buffer->memory, buffer->bytes);
	buffer->memory = NULL;
	result = buffer_make(buffer, COI_BUFFER_MEMORY, 0);
	if (result != COI_SUCCESS)
		return result;
	memory = scif_mmap(NULL, buffer->bytes, SCIF_PROT_READ | SCIF_PROT_WRITE, 0,
			   only->process->data, (off_t)only->offset);
	if (memory == SCIF_MMAP_FAILED) {
		instance_end(only);
		return COI_NOT_SUPPORTED;
	}
	buffer->memory = memory;
	buffer->memory_is_theirs = true;
	return COI_SUCCESS;
}

/* Memory in the source, and in every process, alike where that is asked for. */
static COIRESULT buffer_place(struct coibuffer *buffer)
{
	uint32_t kind = COI_BUFFER_MEMORY;
	bool with_source = buffer->flags & COI_SAME_ADDRESS_SINKS_AND_SOURCE;
	COIRESULT result = COI_ALREADY_EXISTS;

	if (buffer->type == COI_BUFFER_PINNED)
		return buffer->flags & BUFFER_SAME ? COI_NOT_SUPPORTED : buffer_pin(buffer);
	if (!(buffer->flags & BUFFER_SAME)) {
		buffer->memory = buffer_map_source(buffer->bytes, 0);
		return buffer->memory ? buffer_make(buffer, kind, 0) : COI_OUT_OF_MEMORY;
	}
	for (unsigned int i = 0; i < BUFFER_SAME_TRIES && result == COI_ALREADY_EXISTS; i++) {
		uint64_t address =
			buffer_same_address(buffer->bytes) + (i % 8 == 7 ? BUFFER_SAME_HIGH : 0);

		buffer->memory = buffer_map_source(buffer->bytes, with_source ? address : 0);
		if (!buffer->memory && with_source && errno == EEXIST)
			continue;
		if (!buffer->memory)
			return COI_OUT_OF_MEMORY;
		result = buffer_make(buffer, kind, address);
		if (result != COI_SUCCESS) {
			munmap(buffer->memory, buffer->bytes);
			buffer->memory = NULL;
		}
	}
	return result == COI_ALREADY_EXISTS ? COI_RESOURCE_EXHAUSTED : result;
}

static void buffer_free(struct coibuffer *buffer)
{
	struct version *version;

	if (buffer->memory_is_theirs)
		scif_munmap(buffer->memory, buffer->bytes);
	else if (buffer->memory_is_ours && buffer->memory)
		munmap(buffer->memory, buffer->bytes);
	while ((version = STAILQ_FIRST(&buffer->versions))) {
		STAILQ_REMOVE_HEAD(&buffer->versions, link);
		version_put(version);
	}
	version_put(buffer->version);
	free(buffer->instances);
	free(buffer->readers);
	free(buffer);
}

static COIRESULT buffer_enter(struct coibuffer *buffer, COIRESULT result, COIBUFFER *out)
{
	if (result != COI_SUCCESS) {
		buffer_free(buffer);
		return result;
	}
	pthread_mutex_lock(&host_lock);
	object_enter(&buffer->object, OBJECT_BUFFER);
	LIST_INSERT_HEAD(&buffers, buffer, link);
	pthread_mutex_unlock(&host_lock);
	*out = buffer;
	return COI_SUCCESS;
}

/* A streaming buffer that begins with data has a version that was never mapped. */
static COIRESULT buffer_begin(struct coibuffer *buffer, const void *data)
{
	if (buffer->type == COI_BUFFER_STREAMING_TO_SINK && data) {
		buffer->version = version_new(buffer->bytes);
		if (!buffer->version)
			return COI_OUT_OF_MEMORY;
		memcpy(buffer->version->memory, data, buffer->size);
	} else if (data) {
		memcpy(buffer->memory, data, buffer->size);
	}
	/* Fresh memory is the same everywhere: nothing has to be moved. */
	for (uint32_t i = 0; i < buffer->instance_count && !data; i++)
		buffer->instances[i].valid = true;
	return COI_SUCCESS;
}

COI_EXPORT COIRESULT COIBufferCreate(uint64_t in_Size, COI_BUFFER_TYPE in_Type, uint32_t in_Flags,
				     const void *in_pInitData, uint32_t in_NumProcesses,
				     const COIPROCESS *in_pProcesses, COIBUFFER *out_pBuffer)
{
	struct coibuffer *buffer;
	COIRESULT result = buffer_check(in_Size, in_Type, in_Flags, in_NumProcesses, in_pProcesses,
					out_pBuffer);

	if (result != COI_SUCCESS)
		return result;
	if (in_Flags & COI_SINK_MEMORY)
		return COI_NOT_SUPPORTED;
	buffer = buffer_new(in_Size, in_Type, in_Flags, in_NumProcesses, in_pProcesses, &result);
	if (!buffer)
		return result;
	buffer->memory_is_ours = true;
	result = buffer_place(buffer);
	if (result == COI_SUCCESS)
		result = buffer_begin(buffer, in_pInitData);
	return buffer_enter(buffer, result, out_pBuffer);
}

COI_EXPORT COIRESULT COIBufferCreateFromMemory(uint64_t in_Size, COI_BUFFER_TYPE in_Type,
					       uint32_t in_Flags, void *in_Memory,
					       uint32_t in_NumProcesses,
					       const COIPROCESS *in_pProcesses,
					       COIBUFFER *out_pBuffer)
{
	uint32_t kind = in_Flags & COI_SINK_MEMORY     ? COI_BUFFER_ADOPTED
			: in_Type == COI_BUFFER_PINNED ? COI_BUFFER_SHARED
						       : COI_BUFFER_MEMORY;
	struct coibuffer *buffer;
	COIRESULT result;

	if (in_Type != COI_BUFFER_NORMAL &&
	    (in_Type != COI_BUFFER_PINNED || (in_Flags & COI_SINK_MEMORY)))
		return COI_NOT_SUPPORTED;
	if (!in_Memory)
		return COI_INVALID_POINTER;
	result = buffer_check(in_Size, in_Type, in_Flags, in_NumProcesses, in_pProcesses,
			      out_pBuffer);
	if (result != COI_SUCCESS)
		return result;
	if (in_Flags & BUFFER_SAME)
		return COI_NOT_SUPPORTED;
	if (kind == COI_BUFFER_ADOPTED &&
	    (in_NumProcesses > 1 || (in_Flags & COI_OPTIMIZE_HUGE_PAGE_SIZE)))
		return COI_ARGUMENT_MISMATCH;
	buffer = buffer_new(in_Size, in_Type, in_Flags, in_NumProcesses, in_pProcesses, &result);
	if (!buffer)
		return result;
	if (kind == COI_BUFFER_ADOPTED) {
		/* Its place in the source is there for maps. */
		buffer->memory_is_ours = true;
		buffer->memory = buffer_map_source(buffer->bytes, 0);
		result = buffer->memory ? buffer_make(buffer, kind, (uintptr_t)in_Memory)
					: COI_OUT_OF_MEMORY;
		buffer->valid = false;
		buffer->instances[0].valid = true;
	} else {
		buffer->memory = in_Memory;
		result = buffer_make(buffer, kind, 0);
	}
	return buffer_enter(buffer, result, out_pBuffer);
}

COI_EXPORT COIRESULT COIBufferCreateSubBuffer(COIBUFFER in_Buffer, uint64_t in_Length,
					      uint64_t in_Offset, COIBUFFER *out_pSubBuffer)
{
	struct coibuffer *buffer = calloc(1, sizeof(*buffer));
	COIRESULT result = COI_SUCCESS;

	if (!out_pSubBuffer || !buffer) {
		free(buffer);
		return out_pSubBuffer ? COI_OUT_OF_MEMORY : COI_INVALID_POINTER;
	}
	STAILQ_INIT(&buffer->versions);
	pthread_mutex_lock(&host_lock);
	if (!object_is(in_Buffer, OBJECT_BUFFER))
		result = COI_INVALID_HANDLE;
	else if (in_Buffer->type != COI_BUFFER_OPENCL || in_Buffer->parent)
		result = COI_NOT_SUPPORTED;
	else if (in_Length == 0 || !message_range(in_Offset, in_Length, in_Buffer->size))
		result = COI_OUT_OF_RANGE;
	if (result == COI_SUCCESS) {
		buffer->type = in_Buffer->type;
		buffer->size = buffer->bytes = in_Length;
		buffer->parent = in_Buffer;
		buffer->parent_offset = in_Offset;
		in_Buffer->children++;
	}
	pthread_mutex_unlock(&host_lock);
	return buffer_enter(buffer, result, out_pSubBuffer);
}

/* By whoever finishes the last use: wakes who waits for it. */
static COIRESULT buffer_quiet(struct operation *operation)
{
	(void)operation;
	return COI_SUCCESS;
}

COI_EXPORT COIRESULT COIBufferDestroy(COIBUFFER in_Buffer)
{
	struct operation last = { .execute = buffer_quiet };
	COIRESULT result = COI_SUCCESS;

	pthread_mutex_lock(&host_lock);
	if (!object_is(in_Buffer, OBJECT_BUFFER))
		result = COI_INVALID_HANDLE;
	else if (in_Buffer->maps || in_Buffer->children)
		result = COI_RETRY;
	if (result != COI_SUCCESS) {
		pthread_mutex_unlock(&host_lock);
		return result;
	}
	object_leave(&in_Buffer->object);
	last.done = event_begin();
	/* Whatever its type: everything that uses it. */
	operation_after(&last, in_Buffer->writer);
	operation_after(&last, in_Buffer->held);
	for (uint32_t i = 0; i < in_Buffer->reader_count; i++)
		operation_after(&last, in_Buffer->readers[i]);
	operation_begin(&last, COI_EVENT_SYNC);
	for (uint32_t i = 0; i < in_Buffer->instance_count; i++)
		instance_end(&in_Buffer->instances[i]);
	pthread_mutex_lock(&host_lock);
	LIST_REMOVE(in_Buffer, link);
	if (in_Buffer->parent)
		in_Buffer->parent->children--;
	pthread_mutex_unlock(&host_lock);
	buffer_free(in_Buffer);
	return COI_SUCCESS;
}

COI_EXPORT COIRESULT COIBufferGetSinkAddressEx(COIPROCESS in_Process, COIBUFFER in_Buffer,
					       uint64_t *out_pAddress)
{
	struct coibuffer *whole;
	struct instance *instance;
	COIRESULT result = COI_SUCCESS;
	uint64_t offset;

	if (!out_pAddress)
		return COI_INVALID_POINTER;
	pthread_mutex_lock(&host_lock);
	if (!object_is(in_Buffer, OBJECT_BUFFER) || (in_Process && !process_is(in_Process))) {
		result = COI_INVALID_HANDLE;
	} else {
		whole = buffer_whole(in_Buffer, &offset);
		instance = in_Process ? buffer_instance(whole, in_Process) : whole->instances;
		if (whole->type == COI_BUFFER_STREAMING_TO_SINK ||
		    whole->type == COI_BUFFER_STREAMING_TO_SOURCE)
			result = COI_NOT_SUPPORTED;
		else if (!instance)
			result = COI_INVALID_HANDLE;
		else
			*out_pAddress = instance->address + offset;
	}
	pthread_mutex_unlock(&host_lock);
	return result;
}

COI_EXPORT COIRESULT COIBufferGetSinkAddress(COIBUFFER in_Buffer, uint64_t *out_pAddress)
{
	return COIBufferGetSinkAddressEx(NULL, in_Buffer, out_pAddress);
}

/* Changes how often the source refers to it; never below zero. */
static COIRESULT buffer_refer(COIPROCESS process, COIBUFFER buffer, uint64_t more, uint64_t less)
{
	struct instance *instance = NULL;
	COIRESULT result = COI_SUCCESS;

	pthread_mutex_lock(&host_lock);
	if (process_is(process) && object_is(buffer, OBJECT_BUFFER))
		instance = buffer_instance(buffer_whole(buffer, NULL), process);
	if (!instance)
		result = COI_INVALID_HANDLE;
	else if (more && !instance->valid && buffer->type != COI_BUFFER_PINNED)
		result = COI_NOT_INITIALIZED;
	else if (less > instance->references)
		result = COI_OUT_OF_RANGE;
	else
		instance->references += more - less;
	pthread_mutex_unlock(&host_lock);
	return result;
}

COI_EXPORT COIRESULT COIBufferAddRefcnt(COIPROCESS in_Process, COIBUFFER in_Buffer,
					uint64_t in_AddRefcnt)
{
	return buffer_refer(in_Process, in_Buffer, in_AddRefcnt, 0);
}

COI_EXPORT COIRESULT COIBufferReleaseRefcnt(COIPROCESS in_Process, COIBUFFER in_Buffer,
					    uint64_t in_ReleaseRefcnt)
{
	return buffer_refer(in_Process, in_Buffer, 0, in_ReleaseRefcnt);
}
