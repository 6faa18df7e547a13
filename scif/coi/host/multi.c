/* SPDX-License-Identifier: Apache-2.0 */
/*
 * COIBufferWriteMultiD and ReadMultiD: sections of arrays, element by element in the order of
 * their last dimension.
 *
 * An array is described as compilers do it: in each dimension the bytes from one index to the next,
 * the lowest index, and lower bound, upper bound and stride of the section. The part of the buffer
 * that a section spans is moved as a whole; elements are picked or placed in memory here.
 */
#include <stdlib.h>
#include <string.h>

#include "scif/coi/export.h"
#include "scif/coi/host/host.h"

#define MULTI_DIMENSIONS_MAX 3

/* A section, checked: nothing about it overflows. */
struct section {
	unsigned int rank;
	int64_t counts[MULTI_DIMENSIONS_MAX]; /* indices of each dimension */
	int64_t steps[MULTI_DIMENSIONS_MAX];  /* bytes between two of them */
	int64_t first;			      /* bytes before its first element */
	int64_t element;		      /* bytes of one */
	int64_t elements;
	int64_t span; /* bytes from the first element to behind the last */
};

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

/* One dimension; false when something about it is impossible, or beyond numbers. */
static bool section_add(struct section *section, const struct dim_desc *dim)
{
	int64_t bytes, last, count;
	unsigned int at = section->rank++;

	if (dim->size < 1 || dim->stride < 1 || dim->lower < dim->lindex || dim->upper < dim->lower)
		return false;
	if (__builtin_sub_overflow(dim->upper, dim->lower, &count))
		return false;
	count /= dim->stride;
	if (__builtin_add_overflow(count, 1, &count))
		return false;
	section->counts[at] = count;
	section->element = dim->size;
	return !__builtin_mul_overflow(dim->stride, dim->size, &section->steps[at]) &&
	       !__builtin_sub_overflow(dim->lower, dim->lindex, &bytes) &&
	       !__builtin_mul_overflow(bytes, dim->size, &bytes) &&
	       !__builtin_add_overflow(section->first, bytes, &section->first) &&
	       !__builtin_mul_overflow(section->steps[at], count - 1, &last) &&
	       !__builtin_add_overflow(section->span, last, &section->span) &&
	       !__builtin_mul_overflow(section->elements, count, &section->elements);
}

static COIRESULT section_read(struct section *section, const struct arr_desc *array)
{
	*section = (struct section){ .elements = 1 };
	if (array->rank < 1 || array->rank > MULTI_DIMENSIONS_MAX)
		return COI_NOT_SUPPORTED;
	for (int64_t i = 0; i < array->rank; i++) {
		if (!section_add(section, &array->dim[i]))
			return COI_OUT_OF_RANGE;
	}
	return __builtin_add_overflow(section->span, section->element, &section->span)
		       ? COI_OUT_OF_RANGE
		       : COI_SUCCESS;
}

/* Bytes from the first element to that of number @number. */
static int64_t section_place(const struct section *section, int64_t number)
{
	int64_t bytes = 0;

	for (unsigned int i = section->rank; i-- > 0; number /= section->counts[i])
		bytes += number % section->counts[i] * section->steps[i];
	return bytes;
}

static void multi_move(const struct multi *multi, unsigned char *part)
{
	for (int64_t i = 0; i < multi->in_buffer.elements; i++) {
		unsigned char *there = part + section_place(&multi->in_buffer, i);
		unsigned char *here = multi->memory + section_place(&multi->in_memory, i);

		if (multi->writes)
			memcpy(there, here, (size_t)multi->in_buffer.element);
		else
			memcpy(here, there, (size_t)multi->in_buffer.element);
	}
}

static COIRESULT multi_execute(struct operation *operation)
{
	struct multi *multi = (struct multi *)operation;
	uint64_t base, bytes = (uint64_t)multi->in_buffer.span;
	struct coibuffer *whole = buffer_whole(multi->buffer, &base);
	unsigned char *part = malloc(bytes);
	COIRESULT result = part ? COI_SUCCESS : COI_OUT_OF_MEMORY;

	note_tell(&multi->note, BUFFER_OPERATION_READY);
	/* What lies between the elements stays what it is. */
	if (result == COI_SUCCESS)
		result = transfer_load(whole, base + multi->offset, part, bytes);
	if (result == COI_SUCCESS)
		multi_move(multi, part);
	if (result == COI_SUCCESS && multi->writes)
		result = transfer_store(whole, multi->process, base + multi->offset, part, bytes);
	free(part);
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

	if (in_buffer && in_memory && in_memory->base)
		result = section_read(&multi->in_buffer, in_buffer);
	if (result == COI_SUCCESS)
		result = section_read(&multi->in_memory, in_memory);
	if (result != COI_SUCCESS)
		return result;
	if (multi->in_buffer.elements != multi->in_memory.elements ||
	    multi->in_buffer.element != multi->in_memory.element)
		return COI_ARGUMENT_MISMATCH;
	multi->memory = (unsigned char *)(uintptr_t)in_memory->base + multi->in_memory.first;
	return __builtin_add_overflow(offset, (uint64_t)multi->in_buffer.first, &multi->offset)
		       ? COI_OUT_OF_RANGE
		       : COI_SUCCESS;
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
		result = transfer_check(buffer, multi->offset, (uint64_t)multi->in_buffer.span);
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
