/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The gate: what another domain wrote is read once, checked here, and used from the copy.
 *
 * No kernel interface is used here, so that a fuzzer in user space drives the very code. The
 * hypervisor writes a ring's tx_ptr and message headers and is trusted; they are checked all the
 * same, since a mistake there would be a wild read in a kernel.
 */
#ifndef CAUSEWAY_VSOCK_ARGO_CHECK_H
#define CAUSEWAY_VSOCK_ARGO_CHECK_H

#include "proto/argo-frame.h"

#ifdef __KERNEL__
#include <asm/byteorder.h>
#include <linux/build_bug.h>
#include <linux/types.h>
#else
#include "tests/unit/kernel_types.h"
#endif

static_assert(sizeof(struct argo_frame) == 32, "wire layout");
static_assert(sizeof(struct argo_hello) == 32, "wire layout");

#define ARGO_SLOT 16u

/* The hypervisor's header in front of each message. */
struct argo_message_header {
	u32 len;    /* with this header */
	u32 port;   /* of the sender */
	u16 domain; /* the sender, as Xen vouches */
	u16 pad;
	u32 message_type;
};

static_assert(sizeof(struct argo_message_header) == ARGO_SLOT, "Xen's layout");

/* A checked frame, in the machine's byte order. */
struct argo_checked {
	u32 session, source_port, target_port, window, taken, bytes;
	u8 type, kind, flags;
};

/* A checked greeting. */
struct argo_greeting {
	u32 epoch, echo, ring_bytes;
	bool reply_wanted;
};

/* argo_round_up - what @bytes take in a ring */
static inline u32 argo_round_up(u32 bytes)
{
	return (bytes + ARGO_SLOT - 1) & ~(ARGO_SLOT - 1);
}

/**
 * argo_ring_used - bytes between the reader's place and the writer's
 * @rx: below @length and a multiple of ARGO_SLOT, since it is ours
 *
 * Return: 0 for an empty ring, or a negative number where @tx is none that Xen writes.
 */
static inline int argo_ring_used(u32 length, u32 rx, u32 tx)
{
	if (tx >= length || tx % ARGO_SLOT)
		return -1;
	return (int)(tx >= rx ? tx - rx : tx + length - rx);
}

/* argo_message_check - the payload's bytes of a message in @used bytes of a ring, or negative */
static inline int argo_message_check(const struct argo_message_header *header, u32 used)
{
	if (header->len < sizeof(*header) || header->len > used ||
	    argo_round_up(header->len) > used)
		return -1;
	return (int)(header->len - sizeof(*header));
}

/* argo_frame_flags - the flags that a type may have */
static inline u8 argo_frame_flags(u8 type, u8 kind)
{
	if (type == ARGO_FRAME_SHUTDOWN)
		return ARGO_NO_MORE_RECEIVES | ARGO_NO_MORE_SENDS;
	if (type == ARGO_FRAME_DATA && kind == ARGO_KIND_SEQPACKET)
		return ARGO_END_OF_MESSAGE | ARGO_END_OF_RECORD;
	return 0;
}

/* argo_kind_check - whether a type of frame goes with a kind of socket */
static inline bool argo_kind_check(u8 type, u8 kind)
{
	switch (type) {
	case ARGO_FRAME_REQUEST:
	case ARGO_FRAME_RESPONSE:
	case ARGO_FRAME_RESET:
	case ARGO_FRAME_SHUTDOWN:
	case ARGO_FRAME_DATA:
	case ARGO_FRAME_CREDIT:
	case ARGO_FRAME_CREDIT_WANTED:
		return kind == ARGO_KIND_STREAM || kind == ARGO_KIND_SEQPACKET;
	case ARGO_FRAME_DATAGRAM:
		return kind == ARGO_KIND_DATAGRAM;
	case ARGO_FRAME_BYE:
		return kind == ARGO_KIND_NONE;
	default:
		return false;
	}
}

/**
 * argo_frame_check - a frame that was copied out of a ring
 * @bytes: of the message that it came in, this header included
 * @checked: filled in when it is good
 *
 * Return: whether any module of ours would have sent it.
 */
static inline bool argo_frame_check(const struct argo_frame *frame, u32 bytes,
				    struct argo_checked *checked)
{
	bool payload = frame->type == ARGO_FRAME_DATA || frame->type == ARGO_FRAME_DATAGRAM;

	if (bytes < sizeof(*frame) || frame->zero || frame->zero2)
		return false;
	checked->session = le32_to_cpu(frame->session);
	checked->source_port = le32_to_cpu(frame->source_port);
	checked->target_port = le32_to_cpu(frame->target_port);
	checked->window = le32_to_cpu(frame->window);
	checked->taken = le32_to_cpu(frame->taken);
	checked->bytes = le32_to_cpu(frame->bytes);
	checked->type = frame->type;
	checked->kind = frame->kind;
	checked->flags = frame->flags;

	if (!argo_kind_check(frame->type, frame->kind) ||
	    (frame->flags & ~argo_frame_flags(frame->type, frame->kind)))
		return false;
	if (checked->bytes != bytes - sizeof(*frame) || checked->bytes > ARGO_PAYLOAD_MAX ||
	    (checked->bytes && !payload) ||
	    (!checked->bytes && frame->type == ARGO_FRAME_DATA && frame->kind == ARGO_KIND_STREAM))
		return false;
	return checked->window <= ARGO_WINDOW_MAX;
}

/* argo_hello_check - a greeting that was copied out of the hello ring */
static inline bool argo_hello_check(const struct argo_hello *hello, u32 bytes,
				    struct argo_greeting *greeting)
{
	if (bytes != sizeof(*hello) || le32_to_cpu(hello->magic) != ARGO_HELLO_MAGIC ||
	    hello->version != ARGO_VERSION || (hello->flags & ~ARGO_HELLO_REPLY_WANTED) ||
	    hello->zero || hello->zero2[0] || hello->zero2[1] || hello->zero2[2])
		return false;
	greeting->epoch = le32_to_cpu(hello->epoch);
	greeting->echo = le32_to_cpu(hello->echo);
	greeting->ring_bytes = le32_to_cpu(hello->ring_bytes);
	greeting->reply_wanted = hello->flags & ARGO_HELLO_REPLY_WANTED;
	return greeting->epoch && greeting->ring_bytes >= ARGO_RING_MIN &&
	       greeting->ring_bytes <= ARGO_RING_MAX;
}

#endif
