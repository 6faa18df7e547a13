/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio socket device as the virtio specification gives it (device 19): the packet header in
 * front of every packet in the receive queue (0) and the transmit queue (1), and the
 * configuration space. Everything is little-endian.
 */
#ifndef CAUSEWAY_PROTO_VIRTIO_VSOCK_H
#define CAUSEWAY_PROTO_VIRTIO_VSOCK_H

#include <stddef.h>
#include <stdint.h>

#define VIRTIO_ID_VSOCK 19

/* The device's queues. */
enum virtio_vsock_queue {
	VIRTIO_VSOCK_QUEUE_RECEIVE = 0,
	VIRTIO_VSOCK_QUEUE_TRANSMIT = 1,
	VIRTIO_VSOCK_QUEUE_EVENT = 2,
	VIRTIO_VSOCK_QUEUE_COUNT = 3,
};

/* The configuration space. */
struct virtio_vsock_config {
	uint64_t guest_cid;
};

struct virtio_vsock_header {
	uint64_t src_cid;
	uint64_t dst_cid;
	uint32_t src_port;
	uint32_t dst_port;
	uint32_t len; /* payload bytes behind the header */
	uint16_t type;
	uint16_t op;
	uint32_t flags;
	uint32_t buf_alloc; /* the sender's receive window */
	uint32_t fwd_cnt;   /* bytes the sender has taken out of that window since the start */
} __attribute__((packed));

_Static_assert(sizeof(struct virtio_vsock_header) == 44, "as on the wire");
_Static_assert(offsetof(struct virtio_vsock_header, fwd_cnt) == 40, "as on the wire");

/* Kinds of sockets. */
enum virtio_vsock_type {
	VIRTIO_VSOCK_TYPE_STREAM = 1,
	VIRTIO_VSOCK_TYPE_SEQPACKET = 2,
};

/* What a packet is. */
enum virtio_vsock_op {
	VIRTIO_VSOCK_OP_INVALID = 0,
	VIRTIO_VSOCK_OP_REQUEST = 1,
	VIRTIO_VSOCK_OP_RESPONSE = 2,
	VIRTIO_VSOCK_OP_RST = 3,
	VIRTIO_VSOCK_OP_SHUTDOWN = 4,
	VIRTIO_VSOCK_OP_RW = 5,
	VIRTIO_VSOCK_OP_CREDIT_UPDATE = 6,
	VIRTIO_VSOCK_OP_CREDIT_REQUEST = 7,
};

/* flags of VIRTIO_VSOCK_OP_SHUTDOWN */
#define VIRTIO_VSOCK_SHUTDOWN_RECEIVE 1u /* the sender will receive no more */
#define VIRTIO_VSOCK_SHUTDOWN_SEND    2u /* the sender will send no more */
#define VIRTIO_VSOCK_SHUTDOWN_BOTH    3u

/* flags of VIRTIO_VSOCK_OP_RW on a SEQPACKET connection: the end of a message, of a record */
#define VIRTIO_VSOCK_SEQ_EOM   1u
#define VIRTIO_VSOCK_SEQ_EOR   2u
#define VIRTIO_VSOCK_SEQ_FLAGS (VIRTIO_VSOCK_SEQ_EOM | VIRTIO_VSOCK_SEQ_EOR)

/* features */
#define VIRTIO_VSOCK_F_SEQPACKET (1ull << 1)

#define VIRTIO_VSOCK_CID_HOST  2u
#define VIRTIO_VSOCK_CID_FIRST 3u /* 0 to 2 are reserved */

#endif
