/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists in replies, and arrays of handles in requests: between the program's pointers and the
 * wire's numbers. A list lies in the reply's tail, padded to 8 bytes, one behind the other.
 */
#include <stdlib.h>

#include "cuda/client/client.h"

uint32_t client_list_bytes(uint64_t count, size_t element_bytes)
{
	if (count > CUDA_WIRE_LIST_MAX)
		count = CUDA_WIRE_LIST_MAX;
	return cuda_wire_pad((uint32_t)(count * element_bytes));
}

CUresult client_list_open(struct client_call *call, unsigned char **tail)
{
	if (call->tail_capacity > CUDA_WIRE_REPLY_BYTES_MAX)
		return CUDA_ERROR_INVALID_VALUE;
	*tail = malloc(call->tail_capacity + 1);
	if (!*tail)
		return CUDA_ERROR_OUT_OF_MEMORY;
	call->tail = *tail;
	return CUDA_SUCCESS;
}

struct client_list client_list_begin(const struct client_call *call, const unsigned char *tail)
{
	return (struct client_list){ .at = tail, .bytes = call->tail_bytes };
}

/* list_next - the next @count elements; NULL where the reply brought fewer */
static const unsigned char *list_next(struct client_list *list, size_t count, size_t element_bytes)
{
	const unsigned char *at = list->at;
	size_t bytes = cuda_wire_pad((uint32_t)(count * element_bytes));

	if (count > CUDA_WIRE_LIST_MAX || bytes > list->bytes)
		return NULL;
	list->at += bytes;
	list->bytes -= bytes;
	return at;
}

CUresult client_list_take(struct client_list *list, void *to, uint64_t room, uint64_t count,
			  size_t element_bytes)
{
	uint64_t taken = count < room ? count : room;
	const unsigned char *at;

	if (!to)
		return CUDA_SUCCESS;
	at = list_next(list, taken, element_bytes);
	if (!at)
		return CUDA_ERROR_UNKNOWN;
	memcpy(to, at, taken * element_bytes);
	return CUDA_SUCCESS;
}

CUresult client_list_handles(struct client_list *list, enum cuda_wire_kind kind, uint32_t parent,
			     void **to, uint64_t room, uint64_t count)
{
	uint64_t taken = count < room ? count : room;
	const unsigned char *at;

	if (!to)
		return CUDA_SUCCESS;
	at = list_next(list, taken, sizeof(uint32_t));
	if (!at)
		return CUDA_ERROR_UNKNOWN;
	for (uint64_t i = 0; i < taken; i++) {
		struct client_object *object;
		uint32_t number;
		CUresult result;

		memcpy(&number, at + i * sizeof(number), sizeof(number));
		result = client_handle_adopt(kind, number, parent, &object);
		if (result)
			return result;
		to[i] = client_handle_pointer(object);
	}
	memset(to + taken, 0, (room - taken) * sizeof(*to));
	return CUDA_SUCCESS;
}

CUresult client_numbers(enum cuda_wire_kind kind, const void *handles, uint64_t count,
			uint32_t **numbers)
{
	*numbers = malloc(count * sizeof(**numbers) + 1);
	if (!*numbers)
		return CUDA_ERROR_OUT_OF_MEMORY;
	for (uint64_t i = 0; i < count; i++) {
		void *handle;
		struct client_object *object;

		memcpy(&handle, (const unsigned char *)handles + i * sizeof(handle),
		       sizeof(handle));
		object = client_object_of(kind, handle);
		if (!object)
			return CUDA_ERROR_INVALID_HANDLE;
		(*numbers)[i] = object->number;
	}
	return CUDA_SUCCESS;
}

CUresult client_numbers_node(const CUgraphNode *nodes, uint64_t count, uint32_t **numbers)
{
	return client_numbers(KIND_node, nodes, count, numbers);
}
