/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Maps of buffers in the source, and the places where buffers are valid by the program's word. Both
 * are uses: they wait for run functions, and these for them.
 */
#include <stdlib.h>

#include "scif/coi/export.h"
#include "scif/coi/host/host.h"

struct coimapinst {
	struct object object;
	struct coibuffer *buffer;
	uint64_t use; /* ends with the map */
	COI_MAP_TYPE type;
	struct version *version;
	void **data; /* a streaming one's address is known only when it is there */
};

/* Mapping, unmapping, or setting a state. */
struct change {
	struct operation operation;
	struct coibuffer *buffer;
	struct coimapinst *map;
	struct coiprocess *process;
	COI_BUFFER_STATE state;
	COI_BUFFER_MOVE_FLAG move;
	uint64_t use;
	struct note note; /* when bytes are moved */
};

static struct change *change_new(COIRESULT (*execute)(struct operation *operation),
				 struct coibuffer *buffer)
{
	struct change *change = calloc(1, sizeof(*change));

	if (!change)
		return NULL;
	change->operation.execute = execute;
	change->buffer = buffer;
	return change;
}

static COIRESULT map_execute(struct operation *operation)
{
	struct change *change = (struct change *)operation;
	struct coimapinst *map = change->map;
	struct coibuffer *whole = buffer_whole(change->buffer, NULL);
	struct note note = change->note;
	COIRESULT result = COI_SUCCESS;

	free(change);
	if (whole->type == COI_BUFFER_STREAMING_TO_SOURCE) {
		pthread_mutex_lock(&host_lock);
		map->version = STAILQ_FIRST(&whole->versions);
		if (map->version)
			STAILQ_REMOVE_HEAD(&whole->versions, link);
		pthread_mutex_unlock(&host_lock);
		if (!map->version)
			map->version = version_new(whole->bytes);
		if (!map->version)
			return COI_RESOURCE_EXHAUSTED;
		*map->data = (char *)map->version->memory + (uintptr_t)*map->data;
		return COI_SUCCESS;
	}
	if (whole->type == COI_BUFFER_STREAMING_TO_SINK)
		return COI_SUCCESS;
	if (map->type != COI_MAP_WRITE_ENTIRE_BUFFER)
		result = buffer_bring(whole, NULL, &note);
	pthread_mutex_lock(&host_lock);
	if (result == COI_SUCCESS && map->type != COI_MAP_READ_ONLY &&
	    whole->type != COI_BUFFER_PINNED)
		buffer_own(whole, NULL);
	pthread_mutex_unlock(&host_lock);
	return result;
}

/* With the lock: whether, and which part. */
static COIRESULT map_check(struct coibuffer *buffer, uint64_t offset, uint64_t bytes,
			   COI_MAP_TYPE type)
{
	if (!object_is(buffer, OBJECT_BUFFER))
		return COI_INVALID_HANDLE;
	if (type < COI_MAP_READ_WRITE || type > COI_MAP_WRITE_ENTIRE_BUFFER ||
	    (bytes == 0 && offset) || !message_range(offset, bytes, buffer->size))
		return COI_OUT_OF_RANGE;
	return COI_VALID_BUFFER_TYPES_AND_MAP[buffer->type][type] ? COI_SUCCESS
								  : COI_ARGUMENT_MISMATCH;
}

/* With the lock: the address, and for a buffer that streams to the sink a new version. */
static COIRESULT map_place(struct coimapinst *map, uint64_t offset, void **data)
{
	uint64_t base;
	struct coibuffer *whole = buffer_whole(map->buffer, &base);

	map->data = data;
	if (whole->type == COI_BUFFER_STREAMING_TO_SOURCE) {
		*data = (void *)(uintptr_t)offset;
		return COI_SUCCESS;
	}
	if (whole->type == COI_BUFFER_STREAMING_TO_SINK) {
		map->version = version_new(whole->bytes);
		if (!map->version)
			return COI_RESOURCE_EXHAUSTED;
		*data = (char *)map->version->memory + offset;
		return COI_SUCCESS;
	}
	*data = whole->memory + base + offset;
	return COI_SUCCESS;
}

COI_EXPORT COIRESULT COIBufferMap(COIBUFFER in_Buffer, uint64_t in_Offset, uint64_t in_Length,
				  COI_MAP_TYPE in_Type, uint32_t in_NumDependencies,
				  const COIEVENT *in_pDependencies, COIEVENT *out_pCompletion,
				  COIMAPINSTANCE *out_pMapInstance, void **out_ppData)
{
	struct coimapinst *map = calloc(1, sizeof(*map));
	struct change *change = change_new(map_execute, in_Buffer);
	COIRESULT result = COI_SUCCESS;

	if (!out_pMapInstance || !out_ppData)
		result = COI_INVALID_POINTER;
	else if (!map || !change)
		result = COI_OUT_OF_MEMORY;
	pthread_mutex_lock(&host_lock);
	if (result == COI_SUCCESS)
		result = map_check(in_Buffer, in_Offset, in_Length, in_Type);
	if (result == COI_SUCCESS)
		result = operation_after_all(&change->operation, in_NumDependencies,
					     in_pDependencies);
	if (result == COI_SUCCESS) {
		map->buffer = in_Buffer;
		map->type = in_Type;
		change->map = map;
		result = map_place(map, in_Offset, out_ppData);
	}
	if (result != COI_SUCCESS) {
		pthread_mutex_unlock(&host_lock);
		free(map);
		free(change);
		return result;
	}
	change->operation.done = event_begin();
	buffer_note(in_Buffer, NULL, change->operation.done, &change->note);
	/* A map that streams to the sink is a version of its own, in nobody's way. */
	if (in_Buffer->type != COI_BUFFER_STREAMING_TO_SINK) {
		map->use = event_begin();
		buffer_use(in_Buffer, &change->operation, map->use, in_Type != COI_MAP_READ_ONLY);
	}
	buffer_whole(in_Buffer, NULL)->maps++;
	object_enter(&map->object, OBJECT_MAP);
	*out_pMapInstance = map;
	return operation_begin(&change->operation, out_pCompletion);
}

static COIRESULT unmap_execute(struct operation *operation)
{
	struct change *change = (struct change *)operation;
	struct coimapinst *map = change->map;
	struct coibuffer *whole = buffer_whole(map->buffer, NULL);
	struct version *old = map->version;

	pthread_mutex_lock(&host_lock);
	whole->maps--;
	if (map->use)
		event_finish(map->use, COI_SUCCESS);
	if (whole->type == COI_BUFFER_STREAMING_TO_SINK) {
		old = whole->version;
		whole->version = map->version;
	}
	pthread_mutex_unlock(&host_lock);
	version_put(old);
	free(map);
	free(change);
	return COI_SUCCESS;
}

COI_EXPORT COIRESULT COIBufferUnmap(COIMAPINSTANCE in_MapInstance, uint32_t in_NumDependencies,
				    const COIEVENT *in_pDependencies, COIEVENT *out_pCompletion)
{
	struct change *change = change_new(unmap_execute, NULL);
	COIRESULT result = change ? COI_SUCCESS : COI_OUT_OF_MEMORY;

	pthread_mutex_lock(&host_lock);
	if (result == COI_SUCCESS && !object_is(in_MapInstance, OBJECT_MAP))
		result = COI_INVALID_HANDLE;
	if (result == COI_SUCCESS)
		result = operation_after_all(&change->operation, in_NumDependencies,
					     in_pDependencies);
	if (result != COI_SUCCESS) {
		pthread_mutex_unlock(&host_lock);
		free(change);
		return result;
	}
	object_leave(&in_MapInstance->object);
	change->map = in_MapInstance;
	change->operation.done = event_begin();
	return operation_begin(&change->operation, out_pCompletion);
}

/* With the lock: the state of one place. The last valid one may be made invalid: programs do so
 * with buffers that they are about to overwrite. */
static void state_set(struct coibuffer *buffer, struct coiprocess *process, COI_BUFFER_STATE state)
{
	bool valid = state != COI_BUFFER_INVALID, primary = buffer->valid;

	for (uint32_t i = 0; i < buffer->instance_count; i++)
		primary = primary ||
			  (buffer->instances[i].valid && buffer->instances[i].process != process);
	/* A second copy needs a first one; without it nothing changes. */
	if (state == COI_BUFFER_VALID_MAY_DROP && !primary)
		return;
	if (process == COI_PROCESS_SOURCE) {
		buffer->valid = valid;
		return;
	}
	for (uint32_t i = 0; i < buffer->instance_count; i++) {
		struct instance *instance = &buffer->instances[i];

		if (process == COI_SINK_OWNERS ? instance->valid : instance->process == process)
			instance->valid = valid;
	}
}

static COIRESULT state_execute(struct operation *operation)
{
	struct change *change = (struct change *)operation;
	struct coibuffer *whole = buffer_whole(change->buffer, NULL);
	COIRESULT result = COI_SUCCESS;

	if (change->move == COI_BUFFER_MOVE && change->state != COI_BUFFER_INVALID)
		result = buffer_bring(
			whole, change->process == COI_PROCESS_SOURCE ? NULL : change->process,
			&change->note);
	/* Bytes that are valid here alone go to the source before this place gives them up. */
	if (change->move == COI_BUFFER_MOVE && change->state == COI_BUFFER_INVALID &&
	    change->process != COI_PROCESS_SOURCE)
		result = buffer_bring(whole, NULL, &change->note);
	pthread_mutex_lock(&host_lock);
	if (result == COI_SUCCESS)
		state_set(whole, change->process, change->state);
	event_finish(change->use, COI_SUCCESS);
	pthread_mutex_unlock(&host_lock);
	free(change);
	return result;
}

/* With the lock. */
static COIRESULT state_check(struct coibuffer *buffer, struct coiprocess *process,
			     COI_BUFFER_STATE state, COI_BUFFER_MOVE_FLAG move)
{
	struct coibuffer *whole;

	if (!object_is(buffer, OBJECT_BUFFER))
		return COI_INVALID_HANDLE;
	whole = buffer_whole(buffer, NULL);
	if (whole->type != COI_BUFFER_NORMAL && whole->type != COI_BUFFER_OPENCL)
		return COI_NOT_SUPPORTED;
	if (state < COI_BUFFER_VALID || state > COI_BUFFER_VALID_MAY_DROP ||
	    move < COI_BUFFER_MOVE || move > COI_BUFFER_NO_MOVE)
		return COI_OUT_OF_RANGE;
	if (process == COI_PROCESS_SOURCE)
		return state == COI_BUFFER_VALID_MAY_DROP ? COI_ARGUMENT_MISMATCH : COI_SUCCESS;
	if (process == COI_SINK_OWNERS)
		return move == COI_BUFFER_MOVE ? COI_ARGUMENT_MISMATCH : COI_SUCCESS;
	if (!process_is(process))
		return COI_INVALID_HANDLE;
	return buffer_instance(whole, process) ? COI_SUCCESS : COI_MISSING_DEPENDENCY;
}

COI_EXPORT COIRESULT COIBufferSetState(COIBUFFER in_Buffer, COIPROCESS in_Process,
				       COI_BUFFER_STATE in_State, COI_BUFFER_MOVE_FLAG in_DataMove,
				       uint32_t in_NumDependencies,
				       const COIEVENT *in_pDependencies, COIEVENT *out_pCompletion)
{
	struct change *change = change_new(state_execute, in_Buffer);
	COIRESULT result;

	if (!change)
		return COI_OUT_OF_MEMORY;
	pthread_mutex_lock(&host_lock);
	result = state_check(in_Buffer, in_Process, in_State, in_DataMove);
	if (result == COI_SUCCESS)
		result = operation_after_all(&change->operation, in_NumDependencies,
					     in_pDependencies);
	if (result != COI_SUCCESS) {
		pthread_mutex_unlock(&host_lock);
		free(change);
		return result;
	}
	change->process = in_Process;
	change->state = in_State;
	change->move = in_DataMove;
	change->operation.done = event_begin();
	change->use = event_begin();
	buffer_note(in_Buffer, in_Process, change->operation.done, &change->note);
	buffer_use(in_Buffer, &change->operation, change->use, true);
	return operation_begin(&change->operation, out_pCompletion);
}
