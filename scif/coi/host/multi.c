/* SPDX-License-Identifier: Apache-2.0 */
/*
 * COIBufferWriteMultiD and ReadMultiD: sections of arrays, element by element in the order of
 * their last dimension.
 *
 * An array is described as compilers do it: in each dimension the bytes from one index to the next,
 * the lowest index, and lower bound, upper bound and stride of the section.
 *
 * A piece after the other is picked from where it is, and placed where it goes; what lies between
 * the elements is neither read nor written. In a sink, long rows are written and read there one by
 * one. Of short ones many go at once, through memory of the sink from or to which the sink moves
 * them (COI_SECTION): a call of SCIF for each would cost more than their bytes.
 */
#include <stdlib.h>

#include "scif/coi/export.h"
#include "scif/coi/host/host.h"
#include "scif/coi/section.h"

#define MULTI_PIECE_BYTES (1u << 20)  /* or one element, when that has more */
#define MULTI_ROW_BYTES	  (16u << 10) /* a row of so many goes by itself */
#define MULTI_ROWS_FEW	  2	      /* so do these, whatever their length */

struct multi {
	struct operation operation;
	struct coibuffer *buffer;
	struct coiprocess *process;
	uint64_t offset; /* of the first element in the buffer */
	unsigned char *memory;
	struct section in_buffer, in_memory;
	uint64_t use; /* an event that ends with it */
	bool writes;
	struct note note;
};

/* A part of a section on its way: elements one behind the other. */
struct piece {
	struct coibuffer *whole;
	struct instance *place; /* NULL: the source */
	uint64_t offset;	/* of the section's first element in ->whole */
	uint64_t first, count;	/* elements */
	unsigned char *bytes;
};

/* One dimension; adds the bytes before the section's first element. False when something about it
 * is impossible, or beyond numbers. */
static bool dimension_read(const struct dim_desc *dim, uint64_t *count, uint64_t *step,
			   uint64_t *first)
{
	int64_t indices, bytes, stride;

	if (dim->size < 1 || dim->stride < 1 || dim->lower < dim->lindex ||
	    dim->upper < dim->lower || __builtin_sub_overflow(dim->upper, dim->lower, &indices) ||
	    __builtin_sub_overflow(dim->lower, dim->lindex, &bytes) ||
	    __builtin_mul_overflow(bytes, dim->size, &bytes) ||
	    __builtin_mul_overflow(dim->stride, dim->size, &stride))
		return false;
	*count = (uint64_t)(indices / dim->stride) + 1;
	*step = (uint64_t)stride;
	return !__builtin_add_overflow(*first, (uint64_t)bytes, first);
}

static COIRESULT section_read(struct section *section, const struct arr_desc *array,
			      uint64_t *first)
{
	uint64_t counts[COI_DIMENSIONS] = { 1, 1, 1 }, steps[COI_DIMENSIONS] = { 0 };
	int64_t lacking;

	*first = 0;
	if (array->rank < 1 || array->rank > COI_DIMENSIONS)
		return COI_NOT_SUPPORTED;
	lacking = COI_DIMENSIONS - array->rank;
	for (int64_t i = 0; i < array->rank; i++) {
		if (!dimension_read(&array->dim[i], &counts[lacking + i], &steps[lacking + i],
				    first))
			return COI_OUT_OF_RANGE;
	}
	return section_set(section, (uint64_t)array->dim[array->rank - 1].size, counts, steps)
		       ? COI_SUCCESS
		       : COI_OUT_OF_RANGE;
}

/* The sink's memory for pieces, made when it is needed first; call with process->staging. */
static COIRESULT stage_make(struct coiprocess *process)
{
	struct coi_buffer wanted = { .kind = COI_BUFFER_MEMORY, .bytes = MULTI_PIECE_BYTES };
	struct coi_header header = { .type = COI_BUFFER_NEW };
	struct iovec part = { &wanted, sizeof(wanted) };
	struct instance *stage;
	struct coi_place place;
	COIRESULT result;

	if (process->stage)
		return COI_SUCCESS;
	stage = calloc(1, sizeof(*stage));
	if (!stage)
		return COI_OUT_OF_MEMORY;
	pthread_mutex_lock(&host_lock);
	wanted.id = process->next_buffer++;
	pthread_mutex_unlock(&host_lock);
	result = process_call(process, &header, &part, 1, &place, sizeof(place), NULL);
	if (result != COI_SUCCESS) {
		free(stage);
		return result;
	}
	*stage = (struct instance){ .process = process, .id = wanted.id, .offset = place.offset };
	process->stage = stage;
	return COI_SUCCESS;
}

/* Short rows in a sink: it picks or places them itself. */
static COIRESULT piece_move_rows(const struct multi *multi, const struct piece *piece,
				 struct coiprocess *process)
{
	const struct section *section = &multi->in_buffer;
	uint64_t bytes = piece->count * section->element;
	struct coi_section wanted = { .array = piece->place->id,
				      .offset = piece->offset,
				      .element = section->element,
				      .first = piece->first,
				      .elements = piece->count };
	struct coi_header header = { .type = COI_SECTION };
	struct iovec part = { &wanted, sizeof(wanted) };
	COIRESULT result;

	for (unsigned int i = 0; i < COI_DIMENSIONS; i++) {
		wanted.counts[i] = section->counts[i];
		wanted.steps[i] = section->steps[i];
	}
	header.value = multi->writes ? COI_SECTION_UNPACK : COI_SECTION_PACK;
	pthread_mutex_lock(&process->staging);
	result = stage_make(process);
	if (result == COI_SUCCESS)
		wanted.packed = process->stage->id;
	if (result == COI_SUCCESS && multi->writes)
		result = transfer_write(process->stage, 0, piece->bytes, bytes);
	if (result == COI_SUCCESS)
		result = process_call(process, &header, &part, 1, NULL, 0, NULL);
	if (result == COI_SUCCESS && !multi->writes)
		result = transfer_read(process->stage, 0, piece->bytes, bytes);
	pthread_mutex_unlock(&process->staging);
	return result;
}

/* Whether rows of the buffer's section are written and read one by one. */
static bool multi_by_row(const struct multi *multi)
{
	const struct section *section = &multi->in_buffer;

	return section->row * section->element >= MULTI_ROW_BYTES ||
	       section->elements / section->row <= MULTI_ROWS_FEW;
}

/* A piece to, or from, where it lies in the buffer; by row: of one row. */
static COIRESULT piece_move(const struct multi *multi, const struct piece *piece)
{
	const struct section *section = &multi->in_buffer;
	uint64_t bytes = piece->count * section->element, at;

	if (!piece->place) {
		section_move(section, piece->whole->memory + piece->offset, piece->first,
			     piece->count, piece->bytes, !multi->writes);
		return COI_SUCCESS;
	}
	if (!multi_by_row(multi)) {
		struct coiprocess *process = process_enter(piece->place);
		COIRESULT result = COI_PROCESS_DIED;

		if (process) {
			result = piece_move_rows(multi, piece, process);
			process_leave(process);
		}
		return result;
	}
	at = piece->offset + section_at(section, piece->first);
	return multi->writes ? transfer_write(piece->place, at, piece->bytes, bytes)
			     : transfer_read(piece->place, at, piece->bytes, bytes);
}

/* All of it, with memory for one piece. */
static COIRESULT multi_move(const struct multi *multi, struct piece *piece, uint64_t most)
{
	uint64_t row = multi->in_buffer.row, left = multi->in_buffer.elements;
	COIRESULT result = COI_SUCCESS;

	for (; left && result == COI_SUCCESS; left -= piece->count, piece->first += piece->count) {
		piece->count = left < most ? left : most;
		if (piece->place && multi_by_row(multi) && piece->count > row - piece->first % row)
			piece->count = row - piece->first % row;
		if (multi->writes)
			section_move(&multi->in_memory, multi->memory, piece->first, piece->count,
				     piece->bytes, true);
		result = piece_move(multi, piece);
		if (result == COI_SUCCESS && !multi->writes)
			section_move(&multi->in_memory, multi->memory, piece->first, piece->count,
				     piece->bytes, false);
	}
	return result;
}

static COIRESULT multi_execute(struct operation *operation)
{
	struct multi *multi = (struct multi *)operation;
	const struct section *section = &multi->in_buffer;
	uint64_t base, most = MULTI_PIECE_BYTES / section->element;
	struct piece piece = { .whole = buffer_whole(multi->buffer, &base) };
	COIRESULT result;

	most = most ? most : 1;
	most = most < section->elements ? most : section->elements;
	piece.offset = base + multi->offset;
	piece.bytes = malloc(most * section->element);
	note_tell(&multi->note, BUFFER_OPERATION_READY);
	pthread_mutex_lock(&host_lock);
	piece.place = transfer_place(piece.whole, multi->writes ? multi->process : NULL);
	pthread_mutex_unlock(&host_lock);
	result = piece.bytes ? multi_move(multi, &piece, most) : COI_OUT_OF_MEMORY;
	free(piece.bytes);
	pthread_mutex_lock(&host_lock);
	if (result == COI_SUCCESS && multi->writes && piece.whole->type != COI_BUFFER_PINNED)
		buffer_own(piece.whole, piece.place);
	pthread_mutex_unlock(&host_lock);
	note_tell(&multi->note, BUFFER_OPERATION_COMPLETE);
	pthread_mutex_lock(&host_lock);
	event_finish(multi->use, COI_SUCCESS);
	pthread_mutex_unlock(&host_lock);
	free(multi);
	return result;
}

/* Both sections, and the places that they begin at. */
static COIRESULT multi_check(struct multi *multi, const struct arr_desc *in_buffer,
			     const struct arr_desc *in_memory, uint64_t offset)
{
	COIRESULT result = COI_INVALID_POINTER;
	uint64_t at, end;

	if (in_buffer && in_memory && in_memory->base)
		result = section_read(&multi->in_buffer, in_buffer, &multi->offset);
	if (result == COI_SUCCESS)
		result = section_read(&multi->in_memory, in_memory, &at);
	if (result != COI_SUCCESS)
		return result;
	if (multi->in_buffer.elements != multi->in_memory.elements ||
	    multi->in_buffer.element != multi->in_memory.element)
		return COI_ARGUMENT_MISMATCH;
	/* Elements that must overlap would be more work than the buffer has bytes. */
	if (multi->in_buffer.elements * multi->in_buffer.element > multi->in_buffer.span ||
	    __builtin_add_overflow(offset, multi->offset, &multi->offset) ||
	    __builtin_add_overflow((uint64_t)in_memory->base, at, &at) ||
	    __builtin_add_overflow(at, multi->in_memory.span, &end) || end > UINTPTR_MAX)
		return COI_OUT_OF_RANGE;
	multi->memory = (unsigned char *)(uintptr_t)at;
	return COI_SUCCESS;
}

static COIRESULT multi_begin(bool writes, COIBUFFER buffer, struct coiprocess *process,
			     uint64_t offset, const struct arr_desc *in_buffer,
			     const struct arr_desc *in_memory, COI_COPY_TYPE type, uint32_t count,
			     const COIEVENT *events, COIEVENT *completion)
{
	struct multi *multi = calloc(1, sizeof(*multi));
	COIRESULT result;

	if (!multi)
		return COI_OUT_OF_MEMORY;
	multi->operation.execute = multi_execute;
	multi->buffer = buffer;
	multi->process = process;
	multi->writes = writes;
	result = multi_check(multi, in_buffer, in_memory, offset);
	pthread_mutex_lock(&host_lock);
	if (result == COI_SUCCESS && (type < COI_COPY_UNSPECIFIED || type > COI_COPY_USE_CPU))
		result = COI_OUT_OF_RANGE;
	if (result == COI_SUCCESS)
		result = transfer_check(buffer, multi->offset, multi->in_buffer.span);
	if (result == COI_SUCCESS)
		result = operation_after_all(&multi->operation, count, events);
	if (result != COI_SUCCESS) {
		pthread_mutex_unlock(&host_lock);
		free(multi);
		return result;
	}
	multi->operation.done = event_begin();
	multi->use = event_begin();
	buffer_note(buffer, process, multi->operation.done, &multi->note);
	buffer_keep(buffer_whole(buffer, NULL), multi->use);
	return operation_begin(&multi->operation, completion);
}

COI_EXPORT COIRESULT COIBufferWriteMultiD(COIBUFFER in_DestBuffer, const COIPROCESS in_DestProcess,
					  uint64_t in_Offset, struct arr_desc *in_DestArray,
					  struct arr_desc *in_SrcArray, COI_COPY_TYPE in_Type,
					  uint32_t in_NumDependencies,
					  const COIEVENT *in_pDependencies,
					  COIEVENT *out_pCompletion)
{
	return multi_begin(true, in_DestBuffer, in_DestProcess, in_Offset, in_DestArray,
			   in_SrcArray, in_Type, in_NumDependencies, in_pDependencies,
			   out_pCompletion);
}

COI_EXPORT COIRESULT COIBufferReadMultiD(COIBUFFER in_SourceBuffer, uint64_t in_Offset,
					 struct arr_desc *in_DestArray,
					 struct arr_desc *in_SrcArray, COI_COPY_TYPE in_Type,
					 uint32_t in_NumDependencies,
					 const COIEVENT *in_pDependencies,
					 COIEVENT *out_pCompletion)
{
	return multi_begin(false, in_SourceBuffer, NULL, in_Offset, in_SrcArray, in_DestArray,
			   in_Type, in_NumDependencies, in_pDependencies, out_pCompletion);
}
