/* SPDX-License-Identifier: Apache-2.0 */
/* Filling another VM's receive buffers; see deliver.h. */
#include "vsock/switch/deliver.h"

#include <string.h>

#include "lib/base/log.h"
#include "lib/vhost/fault.h"
#include "vsock/switch/vm.h"

static struct vhost_queue *delivery_queue(struct delivery *delivery)
{
	return vhost_device_queue(&delivery->to->device, VIRTIO_VSOCK_QUEUE_RECEIVE);
}

/* Gives the open buffer to the guest, its header first. */
static void delivery_close(struct delivery *delivery)
{
	struct vm *to = delivery->to;

	if (!delivery->owner)
		return;
	delivery->owner = NULL;
	vhost_queue_push(delivery_queue(delivery), delivery->chain.head,
			 (uint32_t)sizeof(delivery->header) + delivery->header.len);
	counter_add(&to->counters.received.packets, 1);
	counter_add(&to->counters.received.bytes, delivery->header.len);
}

void delivery_begin(struct delivery *delivery, struct vm *to)
{
	if (delivery->to == to)
		return;
	delivery_end(delivery);
	vm_lock(to);
	delivery->to = to;
	vhost_fault_guard_other(&to->device.memory);
}

void delivery_end(struct delivery *delivery)
{
	struct vm *to = delivery->to;

	if (!to)
		return;
	delivery_close(delivery);
	vhost_queue_notify(delivery_queue(delivery));
	vhost_fault_guard_other(NULL);
	/* What ends its session is its own worker's to see. */
	if (vhost_memory_lost(&to->device.memory) || delivery_queue(delivery)->broken)
		worker_poke(to->worker);
	delivery->to = NULL;
	vm_unlock(to);
}

/* The next receive buffer that can hold a packet; whether there is one. */
static bool delivery_pop(struct delivery *delivery)
{
	struct vhost_chain *chain = &delivery->chain;

	if (vhost_queue_pop(delivery_queue(delivery), chain, delivery->vectors,
			    VHOST_CHAIN_VECTORS_MAX) <= 0)
		return false;
	if (chain->readable_count == 0 &&
	    chain->writable_bytes >= sizeof(struct virtio_vsock_header))
		return true;
	vhost_queue_unpop(delivery_queue(delivery), 1);
	vhost_queue_break(delivery_queue(delivery));
	return false;
}

bool delivery_has_room(struct delivery *delivery, const void *owner)
{
	return (delivery->owner && delivery->owner == owner) ||
	       vhost_queue_has_work(delivery_queue(delivery));
}

bool delivery_put(struct delivery *delivery, const struct virtio_vsock_header *header)
{
	struct vhost_chain *chain = &delivery->chain;

	delivery_close(delivery);
	if (!delivery_pop(delivery))
		return false;
	vhost_iovec_copy_out(chain->vectors, chain->writable_count, header, sizeof(*header));
	vhost_queue_push(delivery_queue(delivery), chain->head, sizeof(*header));
	counter_add(&delivery->to->counters.received.packets, 1);
	return true;
}

static void delivery_write_header(struct delivery *delivery)
{
	vhost_iovec_copy_out(delivery->chain.vectors, delivery->chain.writable_count,
			     &delivery->header, sizeof(delivery->header));
}

/* Opens a buffer for @owner; whether there was one with room for payload. */
static bool delivery_open(struct delivery *delivery, const void *owner,
			  const struct virtio_vsock_header *header)
{
	struct vhost_chain *chain = &delivery->chain;
	size_t skip = sizeof(*header);

	if (!delivery_pop(delivery))
		return false;
	delivery->header = *header;
	delivery->header.len = 0;
	delivery->header.flags = 0;
	delivery->vector = 0;
	while (delivery->vector < chain->writable_count &&
	       skip >= chain->vectors[delivery->vector].iov_len)
		skip -= chain->vectors[delivery->vector++].iov_len;
	delivery->offset = skip;
	delivery->room = chain->writable_bytes - sizeof(*header);
	if (delivery->room == 0) { /* a header and no more: with such buffers data never gets on */
		vhost_queue_unpop(delivery_queue(delivery), 1);
		vhost_queue_break(delivery_queue(delivery));
		return false;
	}
	delivery->owner = owner;
	return true;
}

/* Copies @bytes bytes, which are there and fit. */
static void delivery_copy(struct delivery *delivery, struct delivery_source *source, size_t bytes)
{
	struct iovec *to = &delivery->chain.vectors[delivery->vector];

	delivery->room -= bytes;
	while (bytes) {
		size_t part = bytes;

		if (part > to->iov_len - delivery->offset)
			part = to->iov_len - delivery->offset;
		if (part > source->vectors->iov_len - source->offset)
			part = source->vectors->iov_len - source->offset;
		memcpy((unsigned char *)to->iov_base + delivery->offset,
		       (const unsigned char *)source->vectors->iov_base + source->offset, part);
		bytes -= part;
		delivery->offset += part;
		source->offset += part;
		if (delivery->offset == to->iov_len) {
			to++;
			delivery->vector++;
			delivery->offset = 0;
		}
		if (source->offset == source->vectors->iov_len) {
			source->vectors++;
			source->count--;
			source->offset = 0;
		}
	}
}

uint32_t delivery_data(struct delivery *delivery, const void *owner,
		       const struct virtio_vsock_header *header, struct delivery_source *source,
		       uint32_t bytes)
{
	uint32_t left = bytes;

	if (delivery->owner && delivery->owner != owner)
		delivery_close(delivery);
	while (left) {
		uint32_t part = left;

		if (!delivery->owner && !delivery_open(delivery, owner, header))
			break;
		if (part > delivery->room)
			part = (uint32_t)delivery->room;
		delivery_copy(delivery, source, part);
		left -= part;
		delivery->header.len += part;
		/* The latest word on the sender's own window. */
		delivery->header.buf_alloc = header->buf_alloc;
		delivery->header.fwd_cnt = header->fwd_cnt;
		if (left == 0)
			delivery->header.flags = header->flags;
		delivery_write_header(delivery);
		if (delivery->room == 0 || (left == 0 && header->flags))
			delivery_close(delivery);
	}
	return bytes - left;
}
