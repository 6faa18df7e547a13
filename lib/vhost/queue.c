/* SPDX-License-Identifier: Apache-2.0 */
/* Walking, returning and notifying of split virtqueues; see queue.h. */
#include "lib/vhost/queue.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#define READ_ONCE(place) __atomic_load_n(&(place), __ATOMIC_RELAXED)

void vhost_queue_init(struct vhost_queue *queue, const struct vhost_memory *memory)
{
	memset(queue, 0, sizeof(*queue));
	queue->memory = memory;
	queue->kick_fd = queue->call_fd = queue->error_fd = -1;
}

int vhost_queue_resolve(struct vhost_queue *queue)
{
	uint64_t size = queue->size;
	uint64_t available_bytes = sizeof(struct virtio_ring_avail) + (size + 1) * 2;
	uint64_t used_bytes =
		sizeof(struct virtio_ring_used) + size * sizeof(struct virtio_ring_used_elem) + 2;
	void *descriptors, *available, *used;

	queue->descriptors = NULL;
	queue->available = NULL;
	queue->used = NULL;
	descriptors = vhost_memory_ring(queue->memory, queue->address.descriptors,
					size * sizeof(struct virtio_ring_desc));
	available = vhost_memory_ring(queue->memory, queue->address.available, available_bytes);
	used = vhost_memory_ring(queue->memory, queue->address.used, used_bytes);
	if (size == 0 || !descriptors || !available || !used)
		return -EFAULT;
	if ((uintptr_t)descriptors % 16 || (uintptr_t)available % 2 || (uintptr_t)used % 4)
		return -EINVAL;
	queue->descriptors = descriptors;
	queue->available = available;
	queue->used = used;
	return 0;
}

/* Signals a descriptor, if there is one. A full counter or pipe means that it is pending already.
 */
static void vhost_signal(int fd)
{
	static const uint64_t one = 1;
	ssize_t written = fd >= 0 ? write(fd, &one, sizeof(one)) : 0;

	(void)written;
}

void vhost_queue_break(struct vhost_queue *queue)
{
	__atomic_store_n(&queue->broken, true, __ATOMIC_RELAXED);
	vhost_signal(queue->error_fd);
}

/* Where the descriptors of a chain lie: the queue's own table, or an indirect one in memory. */
struct vhost_table {
	const struct virtio_ring_desc *direct;
	uint64_t address; /* guest-physical, when !direct */
	uint32_t count;
};

/* Copies descriptor @index once; nothing looks at guest memory again after this. */
static int vhost_table_read(const struct vhost_queue *queue, const struct vhost_table *table,
			    uint32_t index, struct virtio_ring_desc *copy)
{
	if (index >= table->count)
		return -EPROTO;
	if (table->direct) {
		const struct virtio_ring_desc *source = &table->direct[index];

		copy->addr = READ_ONCE(source->addr);
		copy->len = READ_ONCE(source->len);
		copy->flags = READ_ONCE(source->flags);
		copy->next = READ_ONCE(source->next);
		return 0;
	}
	return vhost_memory_read(queue->memory, table->address + index * sizeof(*copy), copy,
				 sizeof(*copy));
}

/* Adds one descriptor's bytes to the chain; the writable ones have to come last. */
static int vhost_chain_add(const struct vhost_queue *queue, struct vhost_chain *chain,
			   const struct virtio_ring_desc *descriptor, unsigned int capacity)
{
	unsigned int used = chain->readable_count + chain->writable_count;
	int count = vhost_memory_translate(queue->memory, descriptor->addr, descriptor->len,
					   chain->vectors + used, capacity - used);

	if (count < 0)
		return count;
	if (descriptor->flags & VIRTIO_RING_DESC_F_WRITE) {
		chain->writable_count += (unsigned int)count;
		chain->writable_bytes += descriptor->len;
	} else if (chain->writable_count) {
		return -EPROTO;
	} else {
		chain->readable_count += (unsigned int)count;
		chain->readable_bytes += descriptor->len;
	}
	return 0;
}

/* An indirect descriptor stands for a table of its own, which ends the chain. */
static int vhost_table_enter(const struct vhost_queue *queue, struct vhost_table *table,
			     const struct virtio_ring_desc *descriptor)
{
	if (!queue->indirect || !table->direct ||
	    (descriptor->flags & (VIRTIO_RING_DESC_F_NEXT | VIRTIO_RING_DESC_F_WRITE)) ||
	    descriptor->len % sizeof(struct virtio_ring_desc) ||
	    descriptor->len / sizeof(struct virtio_ring_desc) > VIRTIO_RING_SIZE_MAX)
		return -EPROTO;
	table->direct = NULL;
	table->address = descriptor->addr;
	table->count = descriptor->len / sizeof(struct virtio_ring_desc);
	return 0;
}

/* Walks from @head; each table is left after at most as many steps as it has entries. */
static int vhost_chain_walk(const struct vhost_queue *queue, struct vhost_chain *chain,
			    unsigned int capacity)
{
	struct vhost_table table = { .direct = queue->descriptors, .count = queue->size };
	uint32_t index = chain->head, steps = 0;

	for (;;) {
		struct virtio_ring_desc descriptor;
		int status = vhost_table_read(queue, &table, index, &descriptor);

		if (status < 0)
			return status;
		if (descriptor.flags & VIRTIO_RING_DESC_F_INDIRECT) {
			status = vhost_table_enter(queue, &table, &descriptor);
			if (status < 0)
				return status;
			index = 0;
			steps = 0;
			continue;
		}
		status = vhost_chain_add(queue, chain, &descriptor, capacity);
		if (status < 0)
			return status;
		if (!(descriptor.flags & VIRTIO_RING_DESC_F_NEXT))
			return 0;
		if (++steps >= table.count)
			return -EPROTO;
		index = descriptor.next;
	}
}

bool vhost_queue_has_work(struct vhost_queue *queue)
{
	if (!queue->ready || queue->broken)
		return false;
	if (queue->available_seen == queue->next_available)
		queue->available_seen = __atomic_load_n(&queue->available->idx, __ATOMIC_ACQUIRE);
	return queue->available_seen != queue->next_available;
}

bool vhost_queue_peek(const struct vhost_queue *queue)
{
	return queue->ready && !READ_ONCE(queue->broken) &&
	       __atomic_load_n(&queue->available->idx, __ATOMIC_ACQUIRE) !=
		       READ_ONCE(queue->next_available);
}

int vhost_queue_pop(struct vhost_queue *queue, struct vhost_chain *chain, struct iovec *vectors,
		    unsigned int capacity)
{
	int status = -EPROTO;

	if (!vhost_queue_has_work(queue))
		return 0;
	memset(chain, 0, sizeof(*chain));
	chain->vectors = vectors;
	if ((uint16_t)(queue->available_seen - queue->next_available) <= queue->size) {
		uint32_t slot = queue->next_available & (queue->size - 1);

		chain->head = READ_ONCE(queue->available->ring[slot]);
		status = vhost_chain_walk(queue, chain, capacity);
	}
	if (status == -E2BIG && capacity < VHOST_CHAIN_VECTORS_MAX)
		return -E2BIG;
	if (status < 0) {
		vhost_queue_break(queue);
		return -EPROTO;
	}
	__atomic_store_n(&queue->next_available, queue->next_available + 1, __ATOMIC_RELAXED);
	return 1;
}

int vhost_queue_walk(const struct vhost_queue *queue, uint16_t head, struct vhost_chain *chain,
		     struct iovec *vectors)
{
	memset(chain, 0, sizeof(*chain));
	chain->vectors = vectors;
	chain->head = head;
	if (!queue->ready)
		return -EFAULT;
	return vhost_chain_walk(queue, chain, VHOST_CHAIN_VECTORS_MAX);
}

void vhost_queue_unpop(struct vhost_queue *queue, unsigned int count)
{
	__atomic_store_n(&queue->next_available, queue->next_available - count, __ATOMIC_RELAXED);
}

void vhost_queue_push(struct vhost_queue *queue, uint16_t head, uint32_t written)
{
	struct virtio_ring_used_elem *element;

	assert(queue->ready && head < queue->size);
	element = &queue->used->ring[queue->next_used & (queue->size - 1)];
	element->id = head;
	element->len = written;
	queue->next_used++;
	__atomic_store_n(&queue->used->idx, queue->next_used, __ATOMIC_RELEASE);
}

/* The event index's rule: did the index pass @event on its way from @before to @now? */
static bool vhost_event_passed(uint16_t event, uint16_t now, uint16_t before)
{
	return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}

static bool vhost_queue_wants_interrupt(struct vhost_queue *queue)
{
	uint16_t before = queue->notified_used;
	bool valid = queue->notified_valid;

	if (before == queue->next_used)
		return false;
	queue->notified_used = queue->next_used;
	queue->notified_valid = true;
	/* The used index must be visible before the driver's wish is read. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!queue->event_index)
		return !(READ_ONCE(queue->available->flags) & VIRTIO_RING_AVAIL_F_NO_INTERRUPT);
	return !valid || vhost_event_passed(READ_ONCE(queue->available->ring[queue->size]),
					    queue->next_used, before);
}

bool vhost_queue_notify(struct vhost_queue *queue)
{
	if (!queue->ready || queue->broken || !vhost_queue_wants_interrupt(queue))
		return false;
	vhost_signal(queue->call_fd);
	return true;
}

void vhost_queue_want_kicks(struct vhost_queue *queue, bool wanted)
{
	if (!queue->ready || queue->broken)
		return;
	if (!queue->event_index)
		__atomic_store_n(&queue->used->flags, wanted ? 0 : VIRTIO_RING_USED_F_NO_NOTIFY,
				 __ATOMIC_RELAXED);
	else if (wanted) /* an event index left behind asks for nothing */
		__atomic_store_n((uint16_t *)&queue->used->ring[queue->size], queue->available_seen,
				 __ATOMIC_RELAXED);
	if (wanted)
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

size_t vhost_iovec_copy_in(void *to, size_t bytes, const struct iovec *vectors, unsigned int count)
{
	unsigned char *at = to;
	size_t done = 0;

	for (unsigned int i = 0; i < count && done < bytes; i++) {
		size_t part = vectors[i].iov_len < bytes - done ? vectors[i].iov_len : bytes - done;

		memcpy(at + done, vectors[i].iov_base, part);
		done += part;
	}
	return done;
}

size_t vhost_iovec_copy_out(const struct iovec *vectors, unsigned int count, const void *from,
			    size_t bytes)
{
	const unsigned char *at = from;
	size_t done = 0;

	for (unsigned int i = 0; i < count && done < bytes; i++) {
		size_t part = vectors[i].iov_len < bytes - done ? vectors[i].iov_len : bytes - done;

		memcpy(vectors[i].iov_base, at + done, part);
		done += part;
	}
	return done;
}

unsigned int vhost_iovec_skip(struct iovec *vectors, unsigned int count, size_t bytes)
{
	unsigned int dropped = 0;

	while (dropped < count && bytes >= vectors[dropped].iov_len)
		bytes -= vectors[dropped++].iov_len;
	if (dropped < count) {
		vectors[dropped].iov_base = (unsigned char *)vectors[dropped].iov_base + bytes;
		vectors[dropped].iov_len -= bytes;
	}
	return dropped;
}
