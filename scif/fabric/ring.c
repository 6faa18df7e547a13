/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rings of connections, and the calls that move bytes through them.
 *
 * A ring lies in a memfd where a process is at either end, which then reads or writes it directly;
 * else in plain memory. Indices are reduced modulo the size whenever they are read, so whatever a
 * process writes there, copies stay in the ring.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "scif/fabric/device.h"

#define RING_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

struct ring *ring_create(bool shared)
{
	struct ring *ring = calloc(1, sizeof(*ring));
	void *memory = MAP_FAILED;

	if (!ring)
		return NULL;
	ring->holders = 1;
	ring->fd = -1;
	if (shared) {
		ring->fd = memfd_create("scif-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		if (ring->fd >= 0 && ftruncate(ring->fd, SCIF_RING_FILE_BYTES) == 0 &&
		    fcntl(ring->fd, F_ADD_SEALS, RING_SEALS) == 0)
			memory = mmap(NULL, SCIF_RING_FILE_BYTES, PROT_READ | PROT_WRITE,
				      MAP_SHARED, ring->fd, 0);
		if (memory == MAP_FAILED) {
			if (ring->fd >= 0)
				close(ring->fd);
			free(ring);
			return NULL;
		}
		ring->shared = memory;
		ring->bytes = (unsigned char *)memory + SCIF_RING_HEADER_BYTES;
		return ring;
	}
	ring->shared = calloc(1, sizeof(*ring->shared) + SCIF_RING_BYTES);
	if (!ring->shared) {
		free(ring);
		return NULL;
	}
	ring->bytes = (unsigned char *)(ring->shared + 1);
	return ring;
}

struct ring *ring_hold(struct ring *ring)
{
	atomic_fetch_add(&ring->holders, 1);
	return ring;
}

void ring_put(struct ring *ring)
{
	if (!ring || atomic_fetch_sub(&ring->holders, 1) != 1)
		return;
	if (ring->fd >= 0) {
		munmap(ring->shared, SCIF_RING_FILE_BYTES);
		close(ring->fd);
	} else {
		free(ring->shared);
	}
	free(ring);
}

size_t ring_used(const struct ring *ring)
{
	uint32_t head = __atomic_load_n(&ring->shared->head, __ATOMIC_ACQUIRE);
	uint32_t tail = __atomic_load_n(&ring->shared->tail, __ATOMIC_ACQUIRE);

	return (head - tail) & (SCIF_RING_BYTES - 1);
}

/* The part of the vectors from @skip on: where it begins, and how long it goes on there. */
static unsigned char *ring_part(const struct iovec *vectors, unsigned int count, size_t skip,
				size_t *bytes)
{
	for (unsigned int i = 0; i < count; i++) {
		if (skip < vectors[i].iov_len) {
			*bytes = vectors[i].iov_len - skip;
			return (unsigned char *)vectors[i].iov_base + skip;
		}
		skip -= vectors[i].iov_len;
	}
	*bytes = 0;
	return NULL;
}

/* Moves @bytes bytes between the vectors from @skip on and the ring from @at on. */
static void ring_move(struct ring *ring, uint32_t at, const struct iovec *vectors,
		      unsigned int count, size_t skip, size_t bytes, bool in)
{
	while (bytes) {
		size_t part;
		unsigned char *program = ring_part(vectors, count, skip, &part);
		unsigned char *place = ring->bytes + (at & (SCIF_RING_BYTES - 1));

		if (part > bytes)
			part = bytes;
		if (part > SCIF_RING_BYTES - (at & (SCIF_RING_BYTES - 1)))
			part = SCIF_RING_BYTES - (at & (SCIF_RING_BYTES - 1));
		if (in)
			memcpy(place, program, part);
		else
			memcpy(program, place, part);
		at += (uint32_t)part;
		skip += part;
		bytes -= part;
	}
}

size_t ring_write(struct ring *ring, const struct iovec *from, unsigned int count, size_t skip,
		  size_t bytes)
{
	uint32_t head = __atomic_load_n(&ring->shared->head, __ATOMIC_RELAXED);
	size_t room = SCIF_RING_BYTES - 1 - ring_used(ring);

	if (bytes > room)
		bytes = room;
	ring_move(ring, head, from, count, skip, bytes, true);
	__atomic_store_n(&ring->shared->head, (head + (uint32_t)bytes) & (SCIF_RING_BYTES - 1),
			 __ATOMIC_RELEASE);
	return bytes;
}

size_t ring_read(struct ring *ring, const struct iovec *to, unsigned int count, size_t skip,
		 size_t bytes)
{
	uint32_t tail = __atomic_load_n(&ring->shared->tail, __ATOMIC_RELAXED);
	size_t used = ring_used(ring);

	if (bytes > used)
		bytes = used;
	ring_move(ring, tail, to, count, skip, bytes, false);
	__atomic_store_n(&ring->shared->tail, (tail + (uint32_t)bytes) & (SCIF_RING_BYTES - 1),
			 __ATOMIC_RELEASE);
	return bytes;
}

void ring_wake(struct ring *ring)
{
	struct scif_ring *shared = ring->shared;

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (ring->fd < 0 || !__atomic_load_n(&shared->waiting, __ATOMIC_RELAXED))
		return;
	__atomic_store_n(&shared->waiting, 0, __ATOMIC_RELAXED);
	__atomic_fetch_add(&shared->sequence, 1, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &shared->sequence, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* What a message call answers when it can move no more: CALL_WAITS, or its end. */
static int stream_settle(struct call *call, size_t wanted, bool block, int fault)
{
	bool over = call->moved == wanted || !block || fault || call->cancelled;

	if (!over)
		return CALL_WAITS;
	call->value[0] = call->moved;
	if (call->moved || (call->moved == wanted && !fault))
		return 0;
	if (fault)
		return fault;
	return call->cancelled ? -EINTR : 0;
}

int stream_send(struct call *call)
{
	struct endpoint *endpoint = call->endpoint;
	enum endpoint_state state = atomic_load(&endpoint->state);
	size_t moved;

	if (endpoint->device && state == ENDPOINT_CONNECTED)
		return device_send(call);
	if (call->in_bytes == 0)
		return 0;
	if (call->request.flags & ~SCIF_SEND_BLOCK)
		return -EINVAL;
	if (state != ENDPOINT_CONNECTED)
		return stream_settle(call, call->in_bytes, false,
				     call->cancelled		      ? -EINTR
				     : state == ENDPOINT_DISCONNECTED ? -ECONNRESET
								      : -ENOTCONN);
	moved = ring_write(endpoint->tx, call->in, call->in_count, call->moved,
			   call->in_bytes - call->moved);
	call->moved += moved;
	if (moved) {
		atomic_fetch_add_explicit(&call->node->sent_bytes, moved, memory_order_relaxed);
		endpoint_notify(endpoint->peer);
	}
	return stream_settle(call, call->in_bytes, call->request.flags & SCIF_SEND_BLOCK, 0);
}

int stream_receive(struct call *call)
{
	struct endpoint *endpoint = call->endpoint;
	enum endpoint_state state = atomic_load(&endpoint->state);
	size_t moved;

	if (endpoint->device && state == ENDPOINT_CONNECTED)
		return device_receive(call);
	if (call->out_bytes == 0)
		return 0;
	if (call->request.flags & ~SCIF_RECV_BLOCK)
		return -EINVAL;
	if (state != ENDPOINT_CONNECTED && state != ENDPOINT_DISCONNECTED)
		return stream_settle(call, call->out_bytes, false,
				     call->cancelled ? -EINTR : -ENOTCONN);
	/* The state was read first: what the peer sent before it closed is in the ring. */
	moved = ring_read(endpoint->rx, call->out, call->out_count, call->moved,
			  call->out_bytes - call->moved);
	call->moved += moved;
	call->written = call->moved;
	if (moved) {
		atomic_fetch_add_explicit(&call->node->received_bytes, moved, memory_order_relaxed);
		endpoint_notify(endpoint->peer);
	}
	return stream_settle(call, call->out_bytes, call->request.flags & SCIF_RECV_BLOCK,
			     state == ENDPOINT_DISCONNECTED ? -ECONNRESET : 0);
}
