/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The virtio SCIF device: every byte between a guest's driver (scif/guest, vphi.ko) and scifd.
 *
 * Virtio device id 45. Queue 0 brings events to the driver; queues 1 to `request_queues` of the
 * configuration space carry requests. Everything is little-endian. Features of the ring only:
 * VERSION_1, INDIRECT_DESC, EVENT_IDX. Memory of the other side that a guest program maps appears
 * in the shared memory region SCIF_VIRTIO_SHM_ID; a VMM without such regions (User-Mode Linux)
 * has all but that.
 *
 * A REQUEST IS ONE CHAIN:
 *
 *	device-readable    struct scif_virtio_request, then the payload that the device reads
 *	device-writable    struct scif_virtio_reply, then the payload that the device writes
 *
 * Request and reply may be cut into descriptors as the driver likes. Payload is the program's own
 * pinned pages. The device writes nothing but the writable part. A chain that is too short for
 * both structures, or that cuts the reply into more than four descriptors, breaks the queue; any
 * other fault of a request is answered in its reply: -EBADF for an endpoint that is not open,
 *-EINVAL for an unknown call and for members that are not zero though the call does not name them.
 *Chains come back in any order.
 *
 * Time. A request either is short, or WAITS: the ones marked (W) below stay in the queue until
 * what they wait for has happened. The driver must keep a quarter of each queue free of waiting
 * requests. Where it has no room for one, it sends the form that does not wait, arms POLL, sleeps
 * until the event, and tries again. So any number of threads can wait, and none blocks another.
 * Both sides may look at the rings instead of sleeping: each way is one look at shared memory.
 *
 * Cancelling. A waiting request with a `tag` comes back early after SCIF_VIRTIO_CANCEL: with what
 * it moved so far, or with -EINTR when that is nothing. It always comes back, soon (a copy stops
 * at the next SCIF_VIRTIO_COPY_BYTES), and until then its memory must stay in place. After it came
 * back the device has forgotten it. CLOSE does the same for all requests of its endpoint.
 *
 * Memory. The device uses a chain's memory until the chain comes back, and a window's pages until
 * the event SCIF_VIRTIO_EVENT_RELEASED with its cookie (it comes exactly once for every window
 * that became complete or was given up, also when the endpoint is closed; a peer's mapping, or a
 * copy, may delay it). Device reset ends all use before it is acknowledged; no events follow.
 *
 * Numbers. `status` is 0 or a negative errno in Linux's numbering for x86, the one that the program
 * shall see. Endpoint numbers are the device's and belong to this guest alone. Ports are per
 * guest, handles of ACCEPTREQ cannot be guessed and are good for one guest.
 */
#ifndef CAUSEWAY_PROTO_SCIF_VIRTIO_H
#define CAUSEWAY_PROTO_SCIF_VIRTIO_H

#include <linux/types.h>
#ifdef __KERNEL__
#include <linux/build_bug.h>
#include <linux/stddef.h>
#define SCIF_VIRTIO_ASSERT(condition) static_assert(condition)
#else
#include <stddef.h>
#define SCIF_VIRTIO_ASSERT(condition) _Static_assert(condition, "as on the wire")
#endif

#define SCIF_VIRTIO_ID	    45
#define SCIF_VIRTIO_VERSION 1
#define SCIF_VIRTIO_SHM_ID  0

#define SCIF_VIRTIO_QUEUE_EVENT	       0
#define SCIF_VIRTIO_QUEUE_REQUEST      1 /* the first of them */
#define SCIF_VIRTIO_REQUEST_QUEUES_MAX 8

#define SCIF_VIRTIO_PAGE_BYTES	4096
#define SCIF_VIRTIO_VECTORS_MAX 1024 /* descriptors of one chain */
#define SCIF_VIRTIO_COPY_BYTES	(1 << 20)
#define SCIF_VIRTIO_NODES_MAX	64

/* The configuration space; it does not change while the device runs. */
struct scif_virtio_config {
	__le32 version;
	__le16 request_queues;
	__le16 self; /* the guest's own node number: 0 */
	__le32 endpoints_max;
	__le32 windows_max;
	__le64 pinned_bytes_max; /* of all windows together */
	__le64 reserved[5];
};

SCIF_VIRTIO_ASSERT(sizeof(struct scif_virtio_config) == 64);

enum scif_virtio_call {
	/* Endpoints. OPEN's `endpoint` is 0; value[0] is the new number. -EMFILE: the quota. */
	SCIF_VIRTIO_OPEN = 1,
	/*
	 * Ends the endpoint: the peer is disconnected, pending connections are refused, waiting
	 * requests come back (-EINTR). Never fails for an endpoint that exists.
	 */
	SCIF_VIRTIO_CLOSE = 2,
	/*
	 * bind.port: 0 = any. value[0]: the port. The driver itself answers -EACCES for ports
	 * below 1024 without CAP_SYS_ADMIN.
	 */
	SCIF_VIRTIO_BIND = 3,
	SCIF_VIRTIO_LISTEN = 4, /* listen.backlog */
	/*
	 * (W) connect.node, .port. value[0]: own node | own port << 16. With
	 * SCIF_VIRTIO_NONBLOCK -EINPROGRESS at once; POLLOUT when settled; a further CONNECT
	 * collects the result. A CONNECT that was cancelled goes on as a NONBLOCK one would.
	 */
	SCIF_VIRTIO_CONNECT = 5,
	/*
	 * (W) with SCIF_ACCEPT_SYNC in flags, else -EAGAIN. value[0]: peer's node | port << 16;
	 * value[1]: the handle.
	 */
	SCIF_VIRTIO_ACCEPTREQ = 6,
	SCIF_VIRTIO_ACCEPTREG = 7, /* accept.handle, on a fresh endpoint; -ENOENT */

	/*
	 * (W) with SCIF_SEND_BLOCK or SCIF_RECV_BLOCK in flags. The payload is the message, all
	 * of it readable (SEND) or writable (RECV). value[0]: bytes moved.
	 */
	SCIF_VIRTIO_SEND = 8,
	SCIF_VIRTIO_RECV = 9,

	/*
	 * A new window of window.bytes at window.offset (SCIF_MAP_FIXED in flags) or where the
	 * device likes. window.prot: SCIF_PROT_*. window.cookie: the driver's name for it, not in
	 * use by another window of this guest, and not 0. Payload: its first pages in order, in the
	 * writable part if prot has SCIF_PROT_WRITE, else in the readable part; each descriptor a
	 * whole number of pages. value[0]: the offset. The window exists for the peer when its
	 * last page has come. -ENOMEM: pinned_bytes_max or windows_max.
	 */
	SCIF_VIRTIO_REGISTER = 10,
	/* window.cookie: its further pages, same form. Any fault gives the window up. */
	SCIF_VIRTIO_REGISTER_MORE = 11,
	/* window.cookie: give up a window that is not complete yet. */
	SCIF_VIRTIO_REGISTER_END = 12,
	SCIF_VIRTIO_UNREGISTER = 13, /* window.offset, .bytes: whole windows */

	/*
	 * (W) with SCIF_RMA_SYNC in flags; without it the reply comes when the copy is queued.
	 * rma.local, .remote, .bytes.
	 */
	SCIF_VIRTIO_READFROM = 14,
	SCIF_VIRTIO_WRITETO = 15,
	/*
	 * (W) always: the reply comes when the copy is done, since the chain is what keeps the
	 * pages. rma.remote; the payload is the program's memory, writable (VREADFROM) or
	 * readable (VWRITETO), rma.bytes of it in all. A longer copy takes several requests, at
	 * once where order does not matter; the last one of a SCIF_RMA_ORDERED copy follows when
	 * the others are done.
	 */
	SCIF_VIRTIO_VREADFROM = 16,
	SCIF_VIRTIO_VWRITETO = 17,

	/* flags: SCIF_FENCE_INIT_SELF or SCIF_FENCE_INIT_PEER. value[0]: the mark. */
	SCIF_VIRTIO_FENCE_MARK = 18,
	SCIF_VIRTIO_FENCE_WAIT = 19, /* (W) fence.mark */
	/* signal.*; flags: SCIF_FENCE_*. The words change when earlier copies are done. */
	SCIF_VIRTIO_FENCE_SIGNAL = 20,

	/*
	 * map.offset, .bytes, .prot: of the peer's windows. value[0]: the mapping's number, for
	 * MUNMAP. Without SCIF_VIRTIO_MAP_OWN in the reply's flags: value[1] is where it lies in
	 * the shared memory region; the driver makes it visible to the program only after this
	 * reply. With it the pages are this guest's own (loopback): the writable payload has
	 * value[1] struct scif_virtio_extent, and the driver maps what it pinned itself.
	 * -EOPNOTSUPP: the VMM has no shared memory region. -ENOMEM: no room in it, or the
	 * payload is too small for the extents, or the memory lies in too many pieces. -EAGAIN:
	 * too many mappings are under way.
	 */
	SCIF_VIRTIO_MMAP = 21,
	SCIF_VIRTIO_MUNMAP = 22, /* map.mapping; the reply comes when the memory is out of sight */

	/*
	 * poll.mask: POLLIN, POLLOUT (POLLHUP, POLLERR are always in it). value[0]: the state.
	 * With SCIF_VIRTIO_POLL_ARM in flags and none of the mask in the state, one
	 * SCIF_VIRTIO_EVENT_POLL follows when there is. Arming again replaces the mask.
	 */
	SCIF_VIRTIO_POLL = 23,

	/* Writable payload: __le16 nodes, as many as fit. value[0]: online nodes; [1]: self. */
	SCIF_VIRTIO_GET_NODES = 24,
	/* card.index: 0 is mic0. Writable payload: struct scif_virtio_card. -ENOENT: no more. */
	SCIF_VIRTIO_GET_CARD = 25,

	SCIF_VIRTIO_CANCEL = 26, /* cancel.tag; -ENOENT: it came back already */

	SCIF_VIRTIO_CALLS /* one more than the last */
};

/* Flags beside the program's own. The program's come first, as it gave them; unknown ones fail. */
#define SCIF_VIRTIO_NONBLOCK 0x10000 /* CONNECT */
#define SCIF_VIRTIO_POLL_ARM 0x10000 /* POLL */
#define SCIF_VIRTIO_MAP_OWN  0x10000 /* in MMAP's reply */

/* Members that a call does not name are zero. */
struct scif_virtio_request {
	__le32 call; /* enum scif_virtio_call */
	__le32 flags;
	__le32 endpoint;
	__le32 tag; /* names a waiting request to CANCEL; 0: cannot be cancelled */
	union {
		struct {
			__le16 port;
		} bind;
		struct {
			__le32 backlog;
		} listen;
		struct {
			__le16 node, port;
		} connect;
		struct {
			__le64 handle;
		} accept;
		struct {
			__le64 offset, bytes, cookie;
			__le32 prot;
		} window;
		struct {
			__le64 local, remote, bytes;
		} rma;
		struct {
			__le32 mark;
		} fence;
		struct {
			__le64 local, local_value, remote, remote_value;
		} signal;
		struct {
			__le64 offset, bytes;
			__le32 prot, mapping;
		} map;
		struct {
			__le32 mask;
		} poll;
		struct {
			__le32 index;
		} card;
		struct {
			__le32 tag;
		} cancel;
		__u8 bytes[40];
	};
	__le64 reserved;
};

SCIF_VIRTIO_ASSERT(sizeof(struct scif_virtio_request) == 64);
SCIF_VIRTIO_ASSERT(offsetof(struct scif_virtio_request, window.prot) == 40);
SCIF_VIRTIO_ASSERT(offsetof(struct scif_virtio_request, map.mapping) == 36);
SCIF_VIRTIO_ASSERT(offsetof(struct scif_virtio_request, reserved) == 56);

/*
 * scif_virtio_used_bytes - how much of a request's union its call names, from its start. The rest
 * must be zero, which an initializer of a shorter member does not promise (C11 6.2.6.1).
 */
static inline unsigned int scif_virtio_used_bytes(unsigned int call)
{
#define SCIF_VIRTIO_END(member)                              \
	(offsetof(struct scif_virtio_request, member) +      \
	 sizeof(((struct scif_virtio_request *)0)->member) - \
	 offsetof(struct scif_virtio_request, bytes))
	switch (call) {
	case SCIF_VIRTIO_BIND:
		return SCIF_VIRTIO_END(bind.port);
	case SCIF_VIRTIO_LISTEN:
		return SCIF_VIRTIO_END(listen.backlog);
	case SCIF_VIRTIO_CONNECT:
		return SCIF_VIRTIO_END(connect.port);
	case SCIF_VIRTIO_ACCEPTREG:
		return SCIF_VIRTIO_END(accept.handle);
	case SCIF_VIRTIO_REGISTER:
	case SCIF_VIRTIO_REGISTER_MORE:
	case SCIF_VIRTIO_REGISTER_END:
	case SCIF_VIRTIO_UNREGISTER:
		return SCIF_VIRTIO_END(window.prot);
	case SCIF_VIRTIO_READFROM:
	case SCIF_VIRTIO_WRITETO:
	case SCIF_VIRTIO_VREADFROM:
	case SCIF_VIRTIO_VWRITETO:
		return SCIF_VIRTIO_END(rma.bytes);
	case SCIF_VIRTIO_FENCE_WAIT:
		return SCIF_VIRTIO_END(fence.mark);
	case SCIF_VIRTIO_FENCE_SIGNAL:
		return SCIF_VIRTIO_END(signal.remote_value);
	case SCIF_VIRTIO_MMAP:
	case SCIF_VIRTIO_MUNMAP:
		return SCIF_VIRTIO_END(map.mapping);
	case SCIF_VIRTIO_POLL:
		return SCIF_VIRTIO_END(poll.mask);
	case SCIF_VIRTIO_GET_CARD:
		return SCIF_VIRTIO_END(card.index);
	case SCIF_VIRTIO_CANCEL:
		return SCIF_VIRTIO_END(cancel.tag);
	default:
		return 0;
	}
#undef SCIF_VIRTIO_END
}

struct scif_virtio_reply {
	__le32 status; /* signed */
	__le32 flags;
	__le64 value[3];
};

SCIF_VIRTIO_ASSERT(sizeof(struct scif_virtio_reply) == 32);

/* A part of a mapping of the guest's own memory, in the order of the mapping. */
struct scif_virtio_extent {
	__le64 cookie; /* of the window */
	__le64 start;  /* in the window */
	__le64 bytes;
};

SCIF_VIRTIO_ASSERT(sizeof(struct scif_virtio_extent) == 24);

/* What sysfs shows of a card: strings end with a zero. */
struct scif_virtio_card {
	__le16 node;
	__le16 vendor, device, subsystem_device;
	__le32 cores;
	__le32 reserved;
	__le64 memsize; /* bytes */
	char family[16];
	char stepping[16];
	char sku[32];
	char state[16]; /* "online", "ready", "resetting" … */
	char mode[16];
};

SCIF_VIRTIO_ASSERT(sizeof(struct scif_virtio_card) == 120);

enum scif_virtio_event_kind {
	SCIF_VIRTIO_EVENT_POLL = 1,	/* endpoint, mask: what POLL was armed for is there */
	SCIF_VIRTIO_EVENT_RELEASED = 2, /* cookie: the window's pages are the driver's again */
	SCIF_VIRTIO_EVENT_NODES = 3,	/* nodes or cards changed: ask GET_NODES, GET_CARD again */
};

/*
 * One chain of the event queue takes one event. No event is lost while the driver is slow with
 * buffers: the device keeps a note at the endpoint or window until there is one.
 */
struct scif_virtio_event {
	__le32 kind; /* enum scif_virtio_event_kind */
	__le32 endpoint;
	__le32 mask;
	__le32 reserved;
	__le64 cookie;
};

SCIF_VIRTIO_ASSERT(sizeof(struct scif_virtio_event) == 24);

#endif
