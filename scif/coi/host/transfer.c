/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Moving buffers' bytes: COIBufferWrite, Read and Copy, and what run functions
 * need (buffer_bring). One call of SCIF each, synchronous, by the thread that executes the
 * operation; a copy within one sink is the sink's own.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "scif/coi/export.h"
#include "scif/coi/host/host.h"

#define TRANSFER_BOUNCE_BYTES (4u << 20) /* between two sinks */

/* One of the operations here. */
struct transfer {
	struct operation operation;
	COIRESULT (*move)(const struct transfer *transfer);
	struct note note;
	struct coibuffer *buffer, *from;
	struct coiprocess *process;
	uint64_t offset, from_offset, bytes;
	unsigned char *memory;
	uint64_t uses[2]; /* events that end with it, one for each buffer */
};

COIRESULT transfer_write(const struct instance *to, uint64_t offset, const void *from,
			 uint64_t bytes)
{
	struct coiprocess *process = process_enter(to);
	COIRESULT result = COI_SUCCESS;

	if (!process)
		return COI_PROCESS_DIED;
	if (scif_vwriteto(process->data, (void *)from, bytes, (off_t)(to->offset + offset),
			  SCIF_RMA_SYNC) < 0)
		result = errno == EFAULT ? COI_INVALID_POINTER : COI_PROCESS_DIED;
	process_leave(process);
	return result;
}

COIRESULT transfer_read(const struct instance *from, uint64_t offset, void *to, uint64_t bytes)
{
	struct coiprocess *process = process_enter(from);
	COIRESULT result = COI_SUCCESS;

	if (!process)
		return COI_PROCESS_DIED;
	if (scif_vreadfrom(process->data, to, bytes, (off_t)(from->offset + offset),
			   SCIF_RMA_SYNC) < 0)
		result = errno == EFAULT ? COI_INVALID_POINTER : COI_PROCESS_DIED;
	process_leave(process);
	return result;
}

/* With the lock: a place where the buffer is valid. NULL is the source, which is preferred. */
static struct instance *buffer_place_of(struct coibuffer *buffer)
{
	struct instance *best = NULL;

	if (buffer->type == COI_BUFFER_PINNED || buffer->valid)
		return NULL;
	for (uint32_t i = 0; i < buffer->instance_count; i++) {
		struct instance *instance = &buffer->instances[i];

		if (instance->valid && instance->process &&
		    (!best || (uintptr_t)instance->process < (uintptr_t)best->process))
			best = instance;
	}
	return best;
}

COIRESULT buffer_bring(struct coibuffer *buffer, struct coiprocess *process,
		       const struct note *note)
{
	struct instance *from, *to;
	COIRESULT result = COI_SUCCESS;
	bool source;

	pthread_mutex_lock(&host_lock);
	buffer = buffer_whole(buffer, NULL);
	to = process ? buffer_instance(buffer, process) : NULL;
	from = buffer_place_of(buffer);
	source = buffer->valid || !from;
	pthread_mutex_unlock(&host_lock);
	if (buffer->type == COI_BUFFER_PINNED || (to ? to->valid : source))
		return COI_SUCCESS;
	if (note)
		note_tell(note, BUFFER_OPERATION_READY);
	if (!source)
		result = transfer_read(from, 0, buffer->memory, buffer->size);
	if (result == COI_SUCCESS && to)
		result = transfer_write(to, 0, buffer->memory, buffer->size);
	if (note)
		note_tell(note, BUFFER_OPERATION_COMPLETE);
	pthread_mutex_lock(&host_lock);
	if (result == COI_SUCCESS) {
		buffer->valid = true;
		if (to)
			to->valid = true;
	}
	pthread_mutex_unlock(&host_lock);
	return result;
}

void buffer_note(struct coibuffer *buffer, struct coiprocess *wanted, uint64_t event,
		 struct note *note)
{
	struct coiprocess *process = NULL;

	buffer = buffer_whole(buffer, NULL);
	for (uint32_t i = 0; i < buffer->instance_count; i++) {
		if (!process || buffer->instances[i].process == wanted)
			process = buffer->instances[i].process;
	}
	note_take(note, process, note_context(), event_value(event));
}

/* The operation, told of: bytes are moved, then what uses it was ends, and its memory. */
static COIRESULT transfer_execute(struct operation *operation)
{
	struct transfer *transfer = (struct transfer *)operation;
	COIRESULT result;

	note_tell(&transfer->note, BUFFER_OPERATION_READY);
	result = transfer->move(transfer);
	note_tell(&transfer->note, BUFFER_OPERATION_COMPLETE);
	pthread_mutex_lock(&host_lock);
	for (unsigned int i = 0; i < 2; i++) {
		if (transfer->uses[i])
			event_finish(transfer->uses[i], COI_SUCCESS);
	}
	pthread_mutex_unlock(&host_lock);
	free(transfer);
	return result;
}

static struct transfer *transfer_new(COIRESULT (*move)(const struct transfer *transfer),
				     struct coibuffer *buffer, uint64_t offset, uint64_t bytes)
{
	struct transfer *transfer = calloc(1, sizeof(*transfer));

	if (!transfer)
		return NULL;
	transfer->operation.execute = transfer_execute;
	transfer->move = move;
	transfer->buffer = buffer;
	transfer->offset = offset;
	transfer->bytes = bytes;
	return transfer;
}

/* With the lock: reads and writes keep the buffer from being destroyed, and wait for nobody. */
static void transfer_keep(struct transfer *transfer)
{
	struct coibuffer *all[2] = { transfer->buffer, transfer->from };

	for (unsigned int i = 0; i < 2; i++) {
		struct coibuffer *whole = all[i] ? buffer_whole(all[i], NULL) : NULL;

		if (!whole)
			continue;
		transfer->uses[i] = event_begin();
		buffer_keep(whole, transfer->uses[i]);
	}
}

struct instance *transfer_place(struct coibuffer *buffer, struct coiprocess *wanted)
{
	/* A wish for a sink holds where the buffer is valid there. */
	if (wanted && wanted != COI_PROCESS_SOURCE && buffer->type != COI_BUFFER_PINNED &&
	    buffer_instance(buffer, wanted) && buffer_instance(buffer, wanted)->valid)
		return buffer_instance(buffer, wanted);
	return buffer_place_of(buffer);
}

COIRESULT transfer_store(struct coibuffer *buffer, struct coiprocess *wanted, uint64_t offset,
			 const void *from, uint64_t bytes)
{
	struct instance *to;
	COIRESULT result = COI_SUCCESS;

	pthread_mutex_lock(&host_lock);
	to = transfer_place(buffer, wanted);
	pthread_mutex_unlock(&host_lock);
	if (to)
		result = transfer_write(to, offset, from, bytes);
	else
		memmove(buffer->memory + offset, from, bytes);
	pthread_mutex_lock(&host_lock);
	if (result == COI_SUCCESS && buffer->type != COI_BUFFER_PINNED)
		buffer_own(buffer, to);
	pthread_mutex_unlock(&host_lock);
	return result;
}

COIRESULT transfer_load(struct coibuffer *buffer, uint64_t offset, void *to, uint64_t bytes)
{
	struct instance *from;

	pthread_mutex_lock(&host_lock);
	from = buffer_place_of(buffer);
	pthread_mutex_unlock(&host_lock);
	if (from)
		return transfer_read(from, offset, to, bytes);
	memmove(to, buffer->memory + offset, bytes);
	return COI_SUCCESS;
}

static COIRESULT write_move(const struct transfer *transfer)
{
	uint64_t base;
	struct coibuffer *whole = buffer_whole(transfer->buffer, &base);

	return transfer_store(whole, transfer->process, base + transfer->offset, transfer->memory,
			      transfer->bytes);
}

static COIRESULT read_move(const struct transfer *transfer)
{
	uint64_t base;
	struct coibuffer *whole = buffer_whole(transfer->buffer, &base);

	return transfer_load(whole, base + transfer->offset, transfer->memory, transfer->bytes);
}

static bool buffer_streams(const struct coibuffer *buffer)
{
	return buffer->type == COI_BUFFER_STREAMING_TO_SINK ||
	       buffer->type == COI_BUFFER_STREAMING_TO_SOURCE;
}

COIRESULT transfer_check(struct coibuffer *buffer, uint64_t offset, uint64_t bytes)
{
	struct coibuffer *whole;

	if (!object_is(buffer, OBJECT_BUFFER))
		return COI_INVALID_HANDLE;
	whole = buffer_whole(buffer, NULL);
	if (buffer_streams(whole))
		return COI_NOT_SUPPORTED;
	if (bytes == 0 || offset >= buffer->size || !message_range(offset, bytes, buffer->size))
		return COI_OUT_OF_RANGE;
	return whole->maps && whole->type == COI_BUFFER_NORMAL ? COI_RETRY : COI_SUCCESS;
}

/* With the lock, which it gives up: waits for the program's list, then goes, or is dropped. */
static COIRESULT transfer_begin(struct transfer *transfer, COI_COPY_TYPE type, uint32_t count,
				const COIEVENT *events, COIEVENT *completion, COIRESULT result)
{
	if (result == COI_SUCCESS && (type < COI_COPY_UNSPECIFIED || type > COI_COPY_USE_CPU))
		result = COI_OUT_OF_RANGE;
	if (result == COI_SUCCESS)
		result = operation_after_all(&transfer->operation, count, events);
	if (result != COI_SUCCESS) {
		pthread_mutex_unlock(&host_lock);
		free(transfer);
		return result;
	}
	transfer->operation.done = event_begin();
	transfer_keep(transfer);
	buffer_note(transfer->buffer, transfer->process, transfer->operation.done, &transfer->note);
	if (type == COI_COPY_USE_CPU && completion && completion != COI_EVENT_ASYNC &&
	    completion != COI_EVENT_SYNC) {
		*completion = event_value(transfer->operation.done);
		completion = COI_EVENT_SYNC;
	}
	return operation_begin(&transfer->operation, completion);
}

COI_EXPORT COIRESULT COIBufferWriteEx(COIBUFFER in_DestBuffer, const COIPROCESS in_DestProcess,
				      uint64_t in_Offset, const void *in_pSourceData,
				      uint64_t in_Length, COI_COPY_TYPE in_Type,
				      uint32_t in_NumDependencies, const COIEVENT *in_pDependencies,
				      COIEVENT *out_pCompletion)
{
	struct transfer *transfer;

	if (!in_pSourceData)
		return COI_INVALID_POINTER;
	transfer = transfer_new(write_move, in_DestBuffer, in_Offset, in_Length);
	if (!transfer)
		return COI_OUT_OF_MEMORY;
	transfer->memory = (unsigned char *)in_pSourceData;
	transfer->process = in_DestProcess;
	pthread_mutex_lock(&host_lock);
	return transfer_begin(transfer, in_Type, in_NumDependencies, in_pDependencies,
			      out_pCompletion, transfer_check(in_DestBuffer, in_Offset, in_Length));
}

COI_EXPORT COIRESULT COIBufferWrite(COIBUFFER in_DestBuffer, uint64_t in_Offset,
				    const void *in_pSourceData, uint64_t in_Length,
				    COI_COPY_TYPE in_Type, uint32_t in_NumDependencies,
				    const COIEVENT *in_pDependencies, COIEVENT *out_pCompletion)
{
	return COIBufferWriteEx(in_DestBuffer, NULL, in_Offset, in_pSourceData, in_Length, in_Type,
				in_NumDependencies, in_pDependencies, out_pCompletion);
}

COI_EXPORT COIRESULT COIBufferRead(COIBUFFER in_SourceBuffer, uint64_t in_Offset,
				   void *in_pDestData, uint64_t in_Length, COI_COPY_TYPE in_Type,
				   uint32_t in_NumDependencies, const COIEVENT *in_pDependencies,
				   COIEVENT *out_pCompletion)
{
	struct transfer *transfer;

	if (!in_pDestData)
		return COI_INVALID_POINTER;
	transfer = transfer_new(read_move, in_SourceBuffer, in_Offset, in_Length);
	if (!transfer)
		return COI_OUT_OF_MEMORY;
	transfer->memory = in_pDestData;
	pthread_mutex_lock(&host_lock);
	return transfer_begin(transfer, in_Type, in_NumDependencies, in_pDependencies,
			      out_pCompletion,
			      transfer_check(in_SourceBuffer, in_Offset, in_Length));
}

/* Both in one sink: the sink copies. */
static COIRESULT copy_there(struct coibuffer *to, struct instance *there, struct instance *here,
			    const struct transfer *transfer, uint64_t to_base, uint64_t from_base)
{
	struct coi_copy copy = {
		.to = there->id,
		.from = here->id,
		.to_offset = to_base + transfer->offset,
		.from_offset = from_base + transfer->from_offset,
		.bytes = transfer->bytes,
	};
	struct coi_header header = { .type = COI_COPY };
	struct iovec part = { &copy, sizeof(copy) };
	struct coiprocess *process = process_enter(there);
	COIRESULT result = COI_PROCESS_DIED;

	if (process) {
		result = process_call(process, &header, &part, 1, NULL, 0, NULL);
		process_leave(process);
	}
	if (result != COI_SUCCESS)
		return result;
	pthread_mutex_lock(&host_lock);
	buffer_own(to, there);
	pthread_mutex_unlock(&host_lock);
	return COI_SUCCESS;
}

/* Through memory here, a piece after the other. */
static COIRESULT copy_over(struct coibuffer *to, struct coibuffer *from,
			   const struct transfer *transfer, uint64_t to_base, uint64_t from_base)
{
	unsigned char *piece = malloc(TRANSFER_BOUNCE_BYTES);
	COIRESULT result = piece ? COI_SUCCESS : COI_OUT_OF_MEMORY;

	for (uint64_t at = 0, bytes; at < transfer->bytes && result == COI_SUCCESS; at += bytes) {
		bytes = transfer->bytes - at;
		bytes = bytes > TRANSFER_BOUNCE_BYTES ? TRANSFER_BOUNCE_BYTES : bytes;
		result = transfer_load(from, from_base + transfer->from_offset + at, piece, bytes);
		if (result == COI_SUCCESS)
			result = transfer_store(to, transfer->process,
						to_base + transfer->offset + at, piece, bytes);
	}
	free(piece);
	return result;
}

static COIRESULT copy_move(const struct transfer *transfer)
{
	uint64_t to_base, from_base;
	struct coibuffer *to = buffer_whole(transfer->buffer, &to_base);
	struct coibuffer *from = buffer_whole(transfer->from, &from_base);
	struct instance *here, *there;
	COIRESULT result;

	pthread_mutex_lock(&host_lock);
	here = buffer_place_of(from);
	there = buffer_place_of(to);
	pthread_mutex_unlock(&host_lock);
	if (here && there && here->process == there->process)
		result = copy_there(to, there, here, transfer, to_base, from_base);
	else if (!here)
		result = transfer_store(to, transfer->process, to_base + transfer->offset,
					from->memory + from_base + transfer->from_offset,
					transfer->bytes);
	else if (!there && !transfer->process)
		result = transfer_load(from, from_base + transfer->from_offset,
				       to->memory + to_base + transfer->offset, transfer->bytes);
	else
		result = copy_over(to, from, transfer, to_base, from_base);
	pthread_mutex_lock(&host_lock);
	if (result == COI_SUCCESS && here && !there && !transfer->process &&
	    to->type != COI_BUFFER_PINNED)
		buffer_own(to, NULL);
	pthread_mutex_unlock(&host_lock);
	return result;
}

/* With the lock. */
static COIRESULT copy_check(const struct transfer *transfer)
{
	COIRESULT result = transfer_check(transfer->buffer, transfer->offset, transfer->bytes);
	uint64_t to, from;

	if (result == COI_SUCCESS)
		result = transfer_check(transfer->from, transfer->from_offset, transfer->bytes);
	if (result != COI_SUCCESS)
		return result;
	if (buffer_whole(transfer->buffer, &to) != buffer_whole(transfer->from, &from))
		return COI_SUCCESS;
	to += transfer->offset;
	from += transfer->from_offset;
	return to < from + transfer->bytes && from < to + transfer->bytes ? COI_MEMORY_OVERLAP
									  : COI_SUCCESS;
}

COI_EXPORT COIRESULT COIBufferCopyEx(COIBUFFER in_DestBuffer, const COIPROCESS in_DestProcess,
				     COIBUFFER in_SourceBuffer, uint64_t in_DestOffset,
				     uint64_t in_SourceOffset, uint64_t in_Length,
				     COI_COPY_TYPE in_Type, uint32_t in_NumDependencies,
				     const COIEVENT *in_pDependencies, COIEVENT *out_pCompletion)
{
	struct transfer *transfer =
		transfer_new(copy_move, in_DestBuffer, in_DestOffset, in_Length);

	if (!transfer)
		return COI_OUT_OF_MEMORY;
	transfer->process = in_DestProcess;
	transfer->from = in_SourceBuffer;
	transfer->from_offset = in_SourceOffset;
	pthread_mutex_lock(&host_lock);
	if (in_Length == 0 && object_is(in_DestBuffer, OBJECT_BUFFER))
		transfer->bytes = in_DestBuffer->size;
	return transfer_begin(transfer, in_Type, in_NumDependencies, in_pDependencies,
			      out_pCompletion, copy_check(transfer));
}

COI_EXPORT COIRESULT COIBufferCopy(COIBUFFER in_DestBuffer, COIBUFFER in_SourceBuffer,
				   uint64_t in_DestOffset, uint64_t in_SourceOffset,
				   uint64_t in_Length, COI_COPY_TYPE in_Type,
				   uint32_t in_NumDependencies, const COIEVENT *in_pDependencies,
				   COIEVENT *out_pCompletion)
{
	return COIBufferCopyEx(in_DestBuffer, NULL, in_SourceBuffer, in_DestOffset, in_SourceOffset,
			       in_Length, in_Type, in_NumDependencies, in_pDependencies,
			       out_pCompletion);
}
