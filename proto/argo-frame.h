/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What two domains of one Xen host say to each other through Argo, to carry AF_VSOCK.
 *
 * Every domain has one ring on the port ARGO_PORT_HELLO that any domain may send to, for struct
 * argo_hello alone, and for each peer one ring on ARGO_PORT_DATA that this peer alone may send to.
 * Xen writes the sender's domain id in front of each message. All numbers are little-endian.
 *
 *	A: registers its ring for B, then HELLO{epoch A, wants a reply}	-> B's hello ring
 *	B: registers its ring for A, then HELLO{epoch B, echo A}	-> A's hello ring
 *
 * From then on both send frames into each other's ring. An epoch is a random number of one life of
 * the module in its domain; the sum of both is the session, which every frame names: what was
 * under way for an earlier life, or for another domain of the same number, is not taken.
 *
 *	client  REQUEST ------------>  listener        refused: RESET
 *	client  <------------ RESPONSE
 *	either  DATA, CREDIT, CREDIT_WANTED, SHUTDOWN, RESET
 *	either  DATAGRAM                               no connection
 *	either  BYE                                    the module goes, and all connections with it
 *
 * Credit: window and taken are those of the sender's own socket. A sender of DATA keeps
 * (cost of what it sent) - taken below window, modulo 2^32. The cost of a frame is its bytes, and
 * ARGO_MESSAGE_COST more for each frame of a SEQPACKET, which cannot be merged with its neighbour.
 */
#ifndef CAUSEWAY_PROTO_ARGO_FRAME_H
#define CAUSEWAY_PROTO_ARGO_FRAME_H

#include <linux/types.h>

#define ARGO_PORT_HELLO	  0x43570001u
#define ARGO_PORT_DATA	  0x43570002u
#define ARGO_MESSAGE_TYPE 0x43575953u /* Argo's message_type of all of it */
#define ARGO_HELLO_MAGIC  0x6f677241u
#define ARGO_VERSION	  1

#define ARGO_PAYLOAD_MAX  65536 /* of one frame */
#define ARGO_RING_MIN	  16384
#define ARGO_RING_MAX	  (16u << 20)
#define ARGO_WINDOW_MAX	  (16u << 20)
#define ARGO_MESSAGE_COST 256

/* A frame takes at most a quarter of the receiver's ring. */
#define ARGO_RING_SHARE 4

enum argo_frame_type {
	ARGO_FRAME_REQUEST = 1,
	ARGO_FRAME_RESPONSE = 2,
	ARGO_FRAME_RESET = 3,
	ARGO_FRAME_SHUTDOWN = 4,      /* flags: ARGO_NO_MORE_* */
	ARGO_FRAME_DATA = 5,	      /* payload; flags of a SEQPACKET: ARGO_END_OF_* */
	ARGO_FRAME_CREDIT = 6,	      /* nothing but window and taken */
	ARGO_FRAME_CREDIT_WANTED = 7, /* the sender waits: CREDIT as soon as there is more */
	ARGO_FRAME_DATAGRAM = 8,      /* payload */
	ARGO_FRAME_BYE = 9,	      /* ports, window and taken are 0 */
};

enum argo_frame_kind {
	ARGO_KIND_NONE = 0, /* of BYE */
	ARGO_KIND_STREAM = 1,
	ARGO_KIND_SEQPACKET = 2,
	ARGO_KIND_DATAGRAM = 3,
};

#define ARGO_NO_MORE_RECEIVES 1u
#define ARGO_NO_MORE_SENDS    2u
#define ARGO_END_OF_MESSAGE   1u
#define ARGO_END_OF_RECORD    2u

struct argo_frame {
	__le32 session;
	__u8 type;
	__u8 kind;
	__u8 flags;
	__u8 zero;
	__le32 source_port;
	__le32 target_port;
	__le32 window;
	__le32 taken;
	__le32 bytes; /* of payload behind this header */
	__le32 zero2;
};

#define ARGO_HELLO_REPLY_WANTED 1u

struct argo_hello {
	__le32 magic;
	__u8 version;
	__u8 flags;
	__le16 zero;
	__le32 epoch;	   /* never 0 */
	__le32 echo;	   /* the receiver's epoch, 0 while it is not known */
	__le32 ring_bytes; /* of the sender's ring for the receiver */
	__le32 zero2[3];
};

#endif
