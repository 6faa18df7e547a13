/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between a host or card process (libscif) and scifd: a Unix socket of type SOCK_SEQPACKET for each
 * endpoint, and the rings of connected endpoints in shared memory.
 *
 * Which socket it is says which node the process belongs to. The calls are those of
 * proto/scif-virtio.h with the same fields and the same meaning, one message each way, tags chosen
 * by the process (not 0, unique among what is under way). Differences:
 *
 *	HELLO        first of all; opens the endpoint. value[0]: own node; value[1], value[2]: the
 *	             session's number and key, for JOIN.
 *	JOIN         first of all, instead of HELLO: `address` and `file_offset` are number and key
 *of another session, whose endpoint this one uses, too. A child that inherited a socket does so,
 *since answers on that one are its parent's. CLOSE        ends the endpoint; the socket stays for
 *MUNMAP. Closing the socket does both. With SCIF_LOCAL_LEAVE only this session's waiting calls end:
 *the endpoint lasts until the last process has closed the socket on which HELLO was said. SEND,
 *RECV   are not sent: the process moves the bytes through the rings. ATTACH       what of the rings
 *there is: see below. REGISTER     `address`, and window.cookie is 0. With a descriptor: a sealed
 *memfd that holds the range from file_offset on. Without: the range is reached as memory of the
 *	             process, and cannot be mapped by the peer.
 *	V calls      `address`: of the process that sends the message, as the kernel names it.
 *	MMAP         the payload is struct scif_local_extent, each naming one of the descriptors.
 *
 * There are no events: a process that waits for a state sleeps on its ring's `sequence`.
 */
#ifndef CAUSEWAY_PROTO_SCIF_LOCAL_H
#define CAUSEWAY_PROTO_SCIF_LOCAL_H

#include <stdint.h>

#include "proto/scif-virtio.h"

#define SCIF_LOCAL_VERSION	 1
#define SCIF_LOCAL_FDS_MAX	 64
#define SCIF_LOCAL_PAYLOAD_BYTES 32768

enum scif_local_call {
	SCIF_LOCAL_HELLO = 64, /* request.flags: the version */
	/*
	 * Makes the endpoint's own ring if there is none. Descriptors, in this order: own ring;
	 * if value[0] is 1, the peer's ring; if value[1] is 1, what to write 8 bytes (the number
	 * one) to when the peer's ring says that its owner waits, if that is not a process.
	 */
	SCIF_LOCAL_ATTACH = 65,
	SCIF_LOCAL_JOIN = 66, /* request.flags: the version */
};

#define SCIF_LOCAL_LEAVE 1 /* a flag of CLOSE */

/* A process's request: the device's own, with what a process has in place of pages. */
struct scif_local_request {
	struct scif_virtio_request request;
	uint64_t address;
	uint64_t file_offset;
};

_Static_assert(sizeof(struct scif_local_request) == 80, "as on the wire");

/* Its answer, found again by the request's tag. */
struct scif_local_reply {
	uint32_t tag;
	uint32_t reserved;
	struct scif_virtio_reply reply;
};

_Static_assert(sizeof(struct scif_local_reply) == 40, "as on the wire");

struct scif_local_extent {
	uint64_t file_offset;
	uint64_t bytes;
	uint32_t descriptor; /* which of the message's */
	uint32_t reserved;
};

_Static_assert(sizeof(struct scif_local_extent) == 24, "as on the wire");

/*
 * A ring: what arrives at one endpoint. One page of this, then the bytes. The peer writes bytes and
 * `head`, the owner reads and sets `tail`; both count modulo SCIF_RING_BYTES, and the ring is empty
 * when they are equal, so one byte less fits. Neither side trusts a number: each is reduced modulo
 * SCIF_RING_BYTES when read.
 *
 * Waiting. Everything that may end a wait of the owner (bytes came; the peer's ring has room; the
 * state changed; a connection is pending) is followed by: if `waiting` is set, clear it, add one to
 * `sequence`, wake those who sleep there. The owner sets `waiting`, looks again, then sleeps while
 * `sequence` is what it was.
 */
#define SCIF_RING_BYTES	       4096u
#define SCIF_RING_HEADER_BYTES 4096u
#define SCIF_RING_FILE_BYTES   (SCIF_RING_HEADER_BYTES + SCIF_RING_BYTES)

/* Whether the two rings belong to a connection. */
enum scif_ring_state {
	SCIF_RING_UNCONNECTED = 0,
	SCIF_RING_CONNECTED = 1,
	SCIF_RING_DISCONNECTED = 2,
};

struct scif_ring {
	uint32_t head; /* the peer's */
	uint32_t pad_head[15];
	uint32_t tail; /* the owner's */
	uint32_t pad_tail[15];
	uint32_t sequence;
	uint32_t waiting;
	uint32_t peer_is_process; /* as scifd says: how to wake it */
	uint32_t state;		  /* enum scif_ring_state, as scifd says */
	uint32_t poll;		  /* POLL*, as scifd says, while not connected */
	uint32_t copies_done;	  /* of this endpoint, modulo 2^32, as scifd says */
	uint32_t pad[10];
};

_Static_assert(sizeof(struct scif_ring) == 192, "as on the wire");

#endif
