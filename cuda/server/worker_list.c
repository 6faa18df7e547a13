/* SPDX-License-Identifier: Apache-2.0 */
/* Lists in a reply's tail: behind the block, each padded to 8 bytes, one behind the other. */
#include <stdlib.h>

#include "cuda/server/worker.h"

size_t worker_list_count(uint64_t wanted)
{
	return wanted < CUDA_WIRE_LIST_MAX ? (size_t)wanted : CUDA_WIRE_LIST_MAX;
}

void *worker_list(struct worker_call *call, uint64_t count, size_t element_bytes)
{
	(void)call;
	return count > CUDA_WIRE_LIST_MAX ? NULL : calloc(count + 1, element_bytes);
}

/* list_room - the next @bytes of the reply's tail, or NULL */
static unsigned char *list_room(struct worker_call *call, size_t bytes)
{
	size_t before = worker_rows[call->request.call].reply_bytes + call->reply_tail_bytes;
	size_t padded = cuda_wire_pad((uint32_t)bytes);

	if (bytes > WORKER_PAYLOAD_BYTES || padded > WORKER_PAYLOAD_BYTES - before)
		return NULL;
	call->reply_tail_bytes += padded;
	memset(call->reply + before, 0, padded);
	return call->reply + before;
}

/*
 * list_none - @result, without the lists that were added: a client that gets more than an error
 * beside an error takes it for a whole reply, which has a block
 */
static CUresult list_none(struct worker_call *call, CUresult result)
{
	call->reply_tail_bytes = 0;
	return result;
}

CUresult worker_list_add(struct worker_call *call, const void *elements, uint64_t count,
			 size_t element_bytes)
{
	unsigned char *at;

	if (count > CUDA_WIRE_LIST_MAX)
		return list_none(call, CUDA_ERROR_NOT_SUPPORTED);
	at = list_room(call, count * element_bytes);
	if (!at)
		return list_none(call, CUDA_ERROR_NOT_SUPPORTED);
	if (count)
		memcpy(at, elements, count * element_bytes);
	return CUDA_SUCCESS;
}

CUresult worker_list_handles(struct worker_call *call, enum cuda_wire_kind kind, uint32_t parent,
			     void **real, uint64_t listed, uint64_t room)
{
	uint64_t count = listed < room ? listed : room;
	unsigned char *at;

	/* A list that was cut is not what the driver said. */
	if (room > CUDA_WIRE_LIST_MAX && listed >= CUDA_WIRE_LIST_MAX)
		return list_none(call, CUDA_ERROR_NOT_SUPPORTED);
	at = list_room(call, count * sizeof(uint32_t));
	if (!at)
		return list_none(call, CUDA_ERROR_NOT_SUPPORTED);
	for (uint64_t i = 0; i < count; i++) {
		uint32_t number;
		CUresult result = worker_handle_number(call, kind, real[i], parent, &number);

		if (result)
			return list_none(call, result);
		memcpy(at + i * sizeof(number), &number, sizeof(number));
	}
	return CUDA_SUCCESS;
}
