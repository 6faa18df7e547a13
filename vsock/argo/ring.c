// SPDX-License-Identifier: GPL-2.0-only
/*
 * The reading side of a ring. Xen moves tx_ptr and writes messages; we move rx_ptr.
 *
 * One reader at a time (see argo.h). Our own place is kept in private memory: shared->rx_ptr is
 * told to Xen and never read back.
 */
#include "argo.h"

/**
 * argo_ring_peek - the message at the front
 *
 * Return: 1 and @message, 0 where the ring is empty, or -EPROTO where what lies there is none.
 */
int argo_ring_peek(struct argo_ring *ring, struct argo_message *message)
{
	struct argo_message_header header;
	int used, bytes;

	/* Pairs with Xen's write barrier: tx_ptr is written after the message. */
	used = argo_ring_used(ring->length, ring->rx, smp_load_acquire(&ring->shared->tx_ptr));
	if (used <= 0)
		return used ? -EPROTO : 0;
	memcpy(&header, ring->shared->bytes + ring->rx, sizeof(header));
	bytes = argo_message_check(&header, used);
	if (bytes < 0 || header.message_type != ARGO_MESSAGE_TYPE ||
	    (ring->partner != ARGO_NO_DOMAIN && header.domain != ring->partner))
		return -EPROTO;
	message->bytes = bytes;
	message->domain = header.domain;
	message->at = (ring->rx + sizeof(header)) % ring->length;
	message->next = (ring->rx + argo_round_up(header.len)) % ring->length;
	return 1;
}

/* argo_ring_copy - @bytes of a message's payload that start at @at */
void argo_ring_copy(const struct argo_ring *ring, u32 at, void *to, u32 bytes)
{
	u32 first;

	at %= ring->length;
	first = min(bytes, ring->length - at);
	memcpy(to, ring->shared->bytes + at, first);
	memcpy(to + first, ring->shared->bytes, bytes - first);
}

/* argo_ring_advance - done with the message: its room is the sender's again */
void argo_ring_advance(struct argo_ring *ring, const struct argo_message *message)
{
	ring->published = ring->rx;
	ring->rx = message->next;
	/* What was read of the message is read before Xen may overwrite it. */
	smp_store_release(&ring->shared->rx_ptr, ring->rx);
}

bool argo_ring_empty(const struct argo_ring *ring)
{
	return !ring->shared || READ_ONCE(ring->shared->tx_ptr) == ring->rx;
}

/**
 * argo_ring_was_crowded - whether a sender may have been refused before the last advance
 * @largest: bytes of the largest message that is sent to this ring
 *
 * Xen tells a refused sender about new room only when we ask it to look, which costs a call. It
 * refuses what does not fit between tx_ptr and the rx_ptr of that moment; any tx_ptr that it has
 * refused at is not beyond the one that is read here, after the new rx_ptr was told.
 */
bool argo_ring_was_crowded(const struct argo_ring *ring, u32 largest)
{
	int used;

	smp_mb(); /* rx_ptr is told before tx_ptr is read */
	used = argo_ring_used(ring->length, ring->published, READ_ONCE(ring->shared->tx_ptr));
	return used < 0 || used + argo_round_up(largest) + 2 * ARGO_SLOT >= ring->length;
}
