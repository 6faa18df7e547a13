/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One split virtqueue, seen from the device.
 *
 * A chain is popped, its vectors point straight into guest memory, and its head is pushed back
 * with the number of bytes written, in any order. Chains popped last may be given back unused
 * (vhost_queue_unpop), so that a device can look how much room there is before it reads data.
 *
 * Trust: everything in the rings is the guest's. Indices are read once and bounded by the queue's
 * size; a chain ends after as many descriptors as its table has; translation bounds addresses. A
 * ring that breaks a rule makes the queue ->broken: it yields nothing more until it is restarted.
 *
 * Notifications: after pushes, vhost_queue_notify() interrupts the driver if the driver wants it
 * (event index or flag). vhost_queue_want_kicks() says whether the driver shall kick; after
 * switching kicks on, look once more with vhost_queue_has_work(), since a chain may have slipped
 * in.
 *
 * Threads: one thread uses a queue.
 */
#ifndef CAUSEWAY_LIB_VHOST_QUEUE_H
#define CAUSEWAY_LIB_VHOST_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "lib/vhost/memory.h"
#include "proto/virtio-ring.h"

#define VHOST_CHAIN_VECTORS_MAX 1024u /* what readv and writev take at once */

struct vhost_queue {
	const struct vhost_memory *memory;
	/* Set by messages; the pointers are NULL while any of them does not resolve. */
	uint32_t size;
	struct vhost_user_vring_address address;
	const struct virtio_ring_desc *descriptors;
	const struct virtio_ring_avail *available;
	struct virtio_ring_used *used;
	int kick_fd, call_fd, error_fd; /* owned; -1 without */
	bool started;			/* a kick descriptor came and no GET_VRING_BASE since */
	bool enabled;
	bool event_index, indirect; /* negotiated */

	bool ready;		 /* the device may use it: started, enabled, resolved */
	bool broken;		 /* the guest broke a rule since the start */
	bool was_ready;		 /* it ran before; decides whether a new base means a new driver */
	uint16_t available_seen; /* driver's index when last read */
	uint16_t next_available; /* next chain to pop */
	uint16_t next_used;	 /* next element to push */
	uint16_t notified_used;	 /* next_used when the driver was last considered */
	bool notified_valid;	 /* false until the first notification since the start */
};

struct vhost_chain {
	uint16_t head;
	unsigned int readable_count, writable_count; /* vectors of each kind, readable first */
	size_t readable_bytes, writable_bytes;
	struct iovec *vectors;
};

/* vhost_queue_init - nothing set, no descriptors */
void vhost_queue_init(struct vhost_queue *queue, const struct vhost_memory *memory);

/* vhost_queue_resolve - find the rings in memory (again); 0 or -EFAULT, -EINVAL for alignment */
int vhost_queue_resolve(struct vhost_queue *queue);

/**
 * vhost_queue_pop - the next chain that the driver made available
 * @vectors: room for the chain's parts, used until the chain is pushed
 * @capacity: of @vectors; VHOST_CHAIN_VECTORS_MAX holds every chain that is served at all
 *
 * Return: 1; 0 when there is none (or the queue is not ready); -E2BIG when @capacity is too small
 * (the chain stays); -EPROTO when the ring broke a rule, once, after which the queue is broken.
 */
int vhost_queue_pop(struct vhost_queue *queue, struct vhost_chain *chain, struct iovec *vectors,
		    unsigned int capacity);

/**
 * vhost_queue_walk - the chain with that head once more, for a device that keeps chains
 *
 * Memory may have moved since it was popped, and the driver may have changed the descriptors: the
 * chain is checked anew. Vectors: VHOST_CHAIN_VECTORS_MAX. Return: 0, or -errno when it makes no
 * sense any more.
 */
int vhost_queue_walk(const struct vhost_queue *queue, uint16_t head, struct vhost_chain *chain,
		     struct iovec *vectors);

/* vhost_queue_unpop - give back the @count chains popped last; none of them may be pushed yet */
void vhost_queue_unpop(struct vhost_queue *queue, unsigned int count);

/* vhost_queue_push - give the chain with that head back, @written bytes written into it */
void vhost_queue_push(struct vhost_queue *queue, uint16_t head, uint32_t written);

/* vhost_queue_notify - interrupt the driver if it asked for that; whether it did */
bool vhost_queue_notify(struct vhost_queue *queue);

/* vhost_queue_untold - chains returned since the last vhost_queue_notify(); 0 if it cannot tell */
static inline uint32_t vhost_queue_untold(const struct vhost_queue *queue)
{
	if (!queue->ready || queue->broken)
		return 0;
	return (uint16_t)(queue->next_used - queue->notified_used);
}

/* vhost_queue_has_work - a chain is available */
bool vhost_queue_has_work(struct vhost_queue *queue);

/* vhost_queue_peek - as has_work, changes nothing: fine while another thread uses the queue, as
 * long as its rings stay mapped */
bool vhost_queue_peek(const struct vhost_queue *queue);

/* vhost_queue_want_kicks - ask the driver to kick for the next chain, or not to */
void vhost_queue_want_kicks(struct vhost_queue *queue, bool wanted);

/* vhost_queue_break - stop serving it and signal its error descriptor */
void vhost_queue_break(struct vhost_queue *queue);

/* vhost_iovec_copy_in - @bytes bytes out of the vectors, from their start; how many there were */
size_t vhost_iovec_copy_in(void *to, size_t bytes, const struct iovec *vectors, unsigned int count);
/* vhost_iovec_copy_out - @bytes bytes into the vectors, from their start; how many fitted */
size_t vhost_iovec_copy_out(const struct iovec *vectors, unsigned int count, const void *from,
			    size_t bytes);
/**
 * vhost_iovec_skip - drop the first @bytes bytes
 *
 * Changes the vector in which the cut lies. Return: how many vectors are dropped entirely.
 */
unsigned int vhost_iovec_skip(struct iovec *vectors, unsigned int count, size_t bytes);

#endif
