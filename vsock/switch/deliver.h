/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bringing packets of one guest into another's receive buffers.
 *
 * A delivery is a worker's hold on the receive queue of one VM: delivery_begin() takes the VM's
 * lock, delivery_end() interrupts its guest once for everything and gives the lock back. Between
 * them payload goes straight from the sender's buffers into the receiver's. A receive buffer stays
 * open while more payload of the same stream may follow, so that a run of tiny packets shares one.
 *
 * Threads: a worker has one delivery. While it holds a VM no other VM's lock and none of the
 * switch's may be taken (switch.h has the order).
 */
#ifndef CAUSEWAY_VSOCK_SWITCH_DELIVER_H
#define CAUSEWAY_VSOCK_SWITCH_DELIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "lib/vhost/queue.h"
#include "proto/virtio-vsock.h"

struct vm;

/* Payload of a packet that is taken out bit by bit. */
struct delivery_source {
	const struct iovec *vectors;
	unsigned int count;
	size_t offset; /* into the first vector */
};

struct delivery {
	struct vm *to;	       /* locked; NULL: nothing is held */
	struct iovec *vectors; /* room for VHOST_CHAIN_VECTORS_MAX parts of the open buffer */

	/* The open buffer. */
	const void *owner; /* whose payload it holds; NULL: none is open */
	struct virtio_vsock_header header;
	struct vhost_chain chain;
	unsigned int vector; /* where the next byte goes */
	size_t offset;
	size_t room;
};

/* delivery_begin - hold @to, having ended what was held */
void delivery_begin(struct delivery *delivery, struct vm *to);
void delivery_end(struct delivery *delivery);

/* delivery_has_room - there is a receive buffer, or room in the open one for @owner */
bool delivery_has_room(struct delivery *delivery, const void *owner);

/* delivery_put - a packet without payload; whether there was a buffer for it */
bool delivery_put(struct delivery *delivery, const struct virtio_vsock_header *header);

/**
 * delivery_data - payload from @source, as far as there are buffers
 * @owner: identifies the stream; payload of one owner may share a buffer
 * @header: for the packets that it becomes; its flags belong behind the last byte
 * @bytes: how many; the source is moved on by what was taken
 *
 * Return: how many bytes were taken.
 */
uint32_t delivery_data(struct delivery *delivery, const void *owner,
		       const struct virtio_vsock_header *header, struct delivery_source *source,
		       uint32_t bytes);

#endif
