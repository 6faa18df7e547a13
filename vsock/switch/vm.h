/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One VM: its device, its connections, its sockets, and the hops between them.
 *
 * What one guest sends to another is flow.h's; the connections here are those with the host.
 *
 * Threads: a VM belongs to its worker. Other threads, which bring packets of other guests, use its
 * receive queue and memory, under ->lock: the worker takes it wherever it changes the device or
 * fills receive buffers, and not for the transmit queue, which is its own. Which lock guards what
 * is said at the members; switch.h has their order.
 *
 * A connection is one stream, or one of messages (message.c), between a port of the guest and a
 * Unix socket of the host. Data is never stored on the way: transmit.c writes from the guest's
 * buffers into the socket, receive.c reads from the socket into the guest's buffers. What a full
 * peer does not take stays with the sender, by credit:
 *
 *	guest -> host  The window told to the guest is a part of the Unix socket's buffer, and it is
 *	               opened again only when the host program has read most of that buffer. So what
 *	               the guest may send normally fits. The kernel charges a small packet for much
 *	               more than its bytes, though, so a flood of small ones can fill the buffer
 *	               early. Bytes that the socket refuses then are kept, merged, in ->remainder,
 *	               which never exceeds the window; VM_REMAINDERS_BYTES_MAX bounds them all.
 *	host -> guest  A socket is read only as far as the guest's credit and buffers go.
 *
 * States of a connection (connection_set_state assigns them):
 *
 *	GREETING    a host program connected; its line "CONNECT port" has not come. No ports yet.
 *	CONNECTING  the guest asked; the host listener's backlog is full; tried again until the
 *	            deadline.
 *	REQUESTED   REQUEST is owed or sent to the guest; its RESPONSE or RST is awaited.
 *	OPEN        data flows; either direction may be closed already (see ->told, ->heard).
 *	CLOSING     both directions are over and the guest was told; its RST is awaited.
 *	DRAINING    the guest is done and its ports are free; ->remainder goes out to the host yet.
 *
 * REQUESTED, OPEN, CONNECTING and CLOSING are in the table of ports. A deadline is set in all
 * states but OPEN and DRAINING.
 */
#ifndef CAUSEWAY_VSOCK_SWITCH_VM_H
#define CAUSEWAY_VSOCK_SWITCH_VM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "lib/base/buffer.h"
#include "lib/vhost/device.h"
#include "proto/virtio-vsock.h"
#include "vsock/switch/counters.h"
#include "vsock/switch/flow.h"
#include "vsock/switch/limiter.h"
#include "vsock/switch/settings.h"
#include "vsock/switch/switch.h"
#include "vsock/switch/worker.h"

#define VM_PORT_BUCKETS		256u
#define VM_RESETS_MAX		256u	    /* resets owed for packets of no connection */
#define VM_REMAINDERS_BYTES_MAX (16u << 20) /* of all connections together */
#define VM_WINDOW_BYTES_MAX	(256u << 10)
#define VM_WINDOW_BYTES_MIN	(4u << 10)
#define VM_HOST_PORT_FIRST	(1024u * 1024 * 1024)
#define VM_MESSAGES_SUFFIX	".seq" /* of the host socket's name, for SOCK_SEQPACKET */

/* What woke the worker: an event's tag is the kind, the VM's slot at its worker, and an index. */
enum vm_tag {
	VM_TAG_DEVICE,	   /* index: as vhost_device_woken() wants it */
	VM_TAG_VMM,	   /* a VMM connects */
	VM_TAG_HOST,	   /* a host program connects; index: enum vm_host_listener */
	VM_TAG_CONNECTION, /* index: slot of the connection */
	VM_TAG_BELL,	   /* of the worker itself */
};

#define VM_TAG(kind, slot, index) ((uint64_t)(kind) << 56 | (uint64_t)(slot) << 32 | (index))
#define VM_TAG_KIND(tag)	  ((enum vm_tag)((tag) >> 56))
#define VM_TAG_SLOT(tag)	  ((unsigned int)((tag) >> 32 & 0xffffff))
#define VM_TAG_INDEX(tag)	  ((uint32_t)(tag))

/* Where host programs connect: for streams, and for messages. */
enum vm_host_listener {
	VM_HOST_STREAMS,
	VM_HOST_MESSAGES,
	VM_HOST_LISTENERS,
};

/* States of a connection with a host program; the table above has their rules. */
enum connection_state {
	CONNECTION_GREETING,
	CONNECTION_CONNECTING,
	CONNECTION_REQUESTED,
	CONNECTION_OPEN,
	CONNECTION_CLOSING,
	CONNECTION_DRAINING,
};

/* Packets owed to the guest, sent when it has buffers; in this order, but a reset first of all. */
enum connection_owed {
	OWED_REQUEST = 1,
	OWED_RESPONSE = 2,
	OWED_CREDIT = 4,
	OWED_SHUTDOWN = 8, /* with the flags of ->told */
	OWED_RESET = 16,   /* the connection is freed with it */
};

struct connection {
	enum connection_state state;
	uint32_t slot;	/* in vm->slots; its tag */
	int fd;		/* the host's side; -1 in CONNECTING and CLOSING */
	uint16_t type;	/* enum virtio_vsock_type */
	bool from_host; /* a host program asked */
	uint32_t guest_port, host_port;
	struct connection *bucket_next;
	TAILQ_ENTRY(connection) ready_link; /* in vm->ready while ->is_ready */
	TAILQ_ENTRY(connection) timed_link; /* in vm->timed while ->deadline_ns */
	bool is_ready;
	uint64_t deadline_ns;
	unsigned int owed;  /* enum connection_owed */
	unsigned int told;  /* VIRTIO_VSOCK_SHUTDOWN_*: what we closed towards the guest */
	unsigned int heard; /* VIRTIO_VSOCK_SHUTDOWN_*: what the guest closed */

	/* host -> guest, counters modulo 2^32 */
	bool readable; /* the socket may have bytes */
	bool hung_up;  /* the host closed at least one direction: the end may follow the data */
	uint32_t guest_window, guest_taken; /* the guest's buf_alloc and fwd_cnt */
	uint32_t sent;
	uint32_t message_sent; /* of the message at hand, in the guest's buffers already */

	/* guest -> host */
	uint32_t window;  /* our buf_alloc */
	int socket_bytes; /* of the socket's send buffer, as the kernel counts */
	uint32_t received;
	uint32_t announced; /* our fwd_cnt: follows ->received when the socket has room */
	bool waits_for_room;
	struct buffer remainder;
	size_t remainder_done; /* bytes of it that are out already */
	uint32_t open_bytes;   /* of a message whose end has not come: the last ones in remainder */

	struct counters_flow from_guest, to_guest;
};

/* A reset owed for a packet that belongs to no connection. */
struct vm_reset {
	uint64_t src_cid; /* of the reset: whom the guest addressed */
	uint32_t src_port, dst_port;
	uint16_t type;
};

TAILQ_HEAD(connection_list, connection);

struct vm {
	struct vsock_switch *sw;
	struct settings_vm own; /* a copy */
	uint32_t references;	/* atomic */
	bool gone;		/* atomic: removed; for those who still hold a reference */
	struct counters_vm counters;
	struct limiter limiter; /* of what the guest sends */

	struct worker *worker;
	unsigned int slot; /* at the worker */
	int vmm_listener, host_listeners[VM_HOST_LISTENERS];
	uint64_t host_rests_until_ns; /* when the host listeners are looked at again; 0: now */

	pthread_mutex_t lock;	      /* of ->device, its memory and receive queue, and: */
	struct vhost_device device;   /* the transmit queue is the worker's, without the lock */
	struct flow_end_list waiters; /* of other VMs, in line for receive buffers */
	uint32_t waiter_count;	      /* atomic: also looked at without the lock */
	bool waiters_poked;	      /* atomic, too: the first one knows of buffers */

	pthread_mutex_t flows_lock; /* tables of connections and flows, their members' lifetime */
	struct connection **slots;  /* settings->connections of them; the worker writes */
	uint32_t connection_count;
	uint32_t connections_max; /* settings->connections when it was created */
	struct flow_end *flows[VM_PORT_BUCKETS];
	uint32_t flow_count;
	bool door_is_open;  /* guests may connect to this one */
	bool has_seqpacket; /* its driver took that feature */

	pthread_mutex_t mail_lock;
	struct flow_end_list mail; /* ends of flows that are over */
	bool has_mail;		   /* atomic: also looked at without the lock */
	bool retries;		   /* atomic: what is blocked may get on */
	bool rules_changed;	   /* atomic: its connections are to be looked at */
	uint32_t ends_there;	   /* atomic: ends not let go of */

	/* The worker's own from here on. */
	bool is_wrecked;	      /* a queue is broken, and its connections were ended */
	bool driver_is_new;	      /* what the old driver had open must end */
	struct flow_end_list blocked; /* ends with something to send that found no place */
	uint32_t blocked_count;
	struct flow_end_list farewells;	   /* ends whose guest is owed a reset */
	struct flow_end_list tellings;	   /* ends whose guest may run further ahead */
	struct flow_end_list late_credits; /* ends whose credit waits for data, the oldest first */
	uint32_t ahead_total;		   /* of ->ahead of all its ends */
	struct flow_list timed_flows;
	struct flow_kept *kept; /* by head; kept_size of them */
	uint32_t kept_size, kept_total;
	uint64_t held_until_ns; /* a flow holds up the transmit queue; 0: none does */
	struct connection *buckets[VM_PORT_BUCKETS];
	struct connection_list ready; /* owed packets, or data for the guest */
	struct connection_list timed;
	uint32_t next_host_port;
	size_t remainders_bytes;
	uint64_t remainder_bytes_ever; /* for tests: whether a stream came to that */
	uint64_t tell_at_ns;	       /* when the guest learns of chains returned; 0: it has */
	uint64_t untold_bytes;	       /* of payload in them */
	uint64_t limited_until_ns;     /* the bandwidth limit; 0: it does not hold the guest back */

	struct vm_reset resets[VM_RESETS_MAX];
	unsigned int reset_first, reset_count;
};

/* vm.c */

/* vm_create - with one reference, not served yet; NULL without memory. @own is copied. */
struct vm *vm_create(struct vsock_switch *sw, const struct settings_vm *own);
void vm_get(struct vm *vm);
/* vm_put - the last one frees it; it is not served any more then */
void vm_put(struct vm *vm);

/* The rest of vm.c is called by the VM's worker alone. */

/* vm_open - its sockets, watched by @worker; 0 or -errno with a sentence. vm_close() follows. */
int vm_open(struct vm *vm, struct worker *worker, unsigned int slot, struct error *error);
/* vm_close - reset what its guest has open, end the session, close and remove its sockets */
void vm_close(struct vm *vm);

/* vm_woken - an event with one of its tags */
void vm_woken(struct vm *vm, const struct epoll_event *event);
/* vm_next_ms - act on deadlines that have passed; ms until the next one, -1 without */
int vm_next_ms(struct vm *vm);
bool vm_is_pending(struct vm *vm);
/* vm_arm - ask the driver for kicks, before the worker sleeps, or not */
void vm_arm(struct vm *vm, bool sleeping);
/* vm_serve - both queues, each within a budget */
void vm_serve(struct vm *vm);

/* vm_can_send - the guest's driver is there and sane; with vm->lock, or by its worker */
bool vm_can_send(struct vm *vm);

/* vm_lock - for the device, its memory and receive queue; the thread may touch them then */
void vm_lock(struct vm *vm);
void vm_unlock(struct vm *vm);

/* vm_clock_ns - nanoseconds of the monotonic clock */
uint64_t vm_clock_ns(void);

/* Of a connection or flow, for other threads. */
struct vm_flow {
	uint64_t peer_cid;
	uint32_t port, peer_port; /* of the VM asked about, of the other side */
	const char *state;
	struct counters_traffic sent, received; /* by the guest */
	uint64_t stalls;			/* of what it sends */
};

/* vm_flow_each - call @visit for each connection of the VM; from any thread, keeps it short */
void vm_flow_each(struct vm *vm, void (*visit)(const struct vm_flow *flow, void *context),
		  void *context);

/* connection.c */

/* connection_create - with its descriptor watched, if any (then owned); NULL when there are too
 * many */
struct connection *connection_create(struct vm *vm, int fd, uint16_t type,
				     enum connection_state state);
void connection_set_state(struct vm *vm, struct connection *connection,
			  enum connection_state state);
/* connection_set_ports - enter it into the table of ports */
void connection_set_ports(struct vm *vm, struct connection *connection, uint32_t guest_port,
			  uint32_t host_port);
/* connection_set_host - the host's side exists now: watch it and take its window; 0 or -errno */
int connection_set_host(struct vm *vm, struct connection *connection, int fd);
struct connection *connection_find(struct vm *vm, uint32_t guest_port, uint32_t host_port);
/* connection_owe - a packet for the guest */
void connection_owe(struct vm *vm, struct connection *connection, enum connection_owed packet);
/* connection_set_ready - there may be something for the guest, or not */
void connection_set_ready(struct vm *vm, struct connection *connection, bool ready);
/* connection_drop_remainder - what waits for the host is of no use any more */
void connection_drop_remainder(struct vm *vm, struct connection *connection);
void connection_close_host(struct vm *vm, struct connection *connection);
/* connection_reset - close the host's side and owe the guest a reset, which frees it */
void connection_reset(struct vm *vm, struct connection *connection);
/* connection_end - the guest is done: free it, or drain its remainder first */
void connection_end(struct vm *vm, struct connection *connection);
void connection_free(struct vm *vm, struct connection *connection);
/* connection_visit - show it to another thread's @visit; with flows_lock */
void connection_visit(const struct connection *connection,
		      void (*visit)(const struct vm_flow *flow, void *context), void *context);
void connection_free_all(struct vm *vm);
/* connection_expire - act on deadlines that have passed; ms until the next one, -1 without */
int connection_expire(struct vm *vm);

/* host.c: the Unix sockets */

/* host_accept - host programs that connected to the VM */
void host_accept(struct vm *vm, enum vm_host_listener which);
/* host_end_denied - connections end that the rules do not allow any more */
void host_end_denied(struct vm *vm);
/* host_rest - end the listeners' rest when it is over; ms until then, -1 without */
int host_rest(struct vm *vm);
/* host_greet - read the line "CONNECT port" of a connection in GREETING */
void host_greet(struct vm *vm, struct connection *connection);
/* host_welcome - the guest accepted: "OK port" */
void host_welcome(struct vm *vm, struct connection *connection);
/* host_connect - the guest asked for a port: connect to whom it belongs; owes the answer */
void host_connect(struct vm *vm, struct connection *connection);

/* message.c: messages from guest to host */

/**
 * message_take - the payload of a packet
 * @ends: with it the message is whole
 *
 * Return: 0; -EMSGSIZE for a message larger than the window, -ENOBUFS or -ENOMEM when it cannot be
 * kept; any other -errno is the socket's.
 */
int message_take(struct vm *vm, struct connection *connection, struct iovec *vectors,
		 unsigned int count, bool ends);
/* message_send_kept - whole messages that wait; 0, or -errno: -EAGAIN when the socket is full */
int message_send_kept(struct vm *vm, struct connection *connection);
/* message_drop_open - the guest does not finish the message that it began, if any */
void message_drop_open(struct vm *vm, struct connection *connection);
/* message_waiting - bytes of the remainder that wait for the socket, be it a stream's */
size_t message_waiting(const struct connection *connection);

/* transmit.c: guest to host */

/* transmit_run - serve the transmit queue, a bounded number of packets */
void transmit_run(struct vm *vm);
/* transmit_resume - the socket has room again: the remainder goes out, then credit is given */
void transmit_resume(struct vm *vm, struct connection *connection);
bool transmit_is_pending(struct vm *vm);
/* transmit_may_pop - neither the bandwidth limit nor resets that are owed hold the guest back */
bool transmit_may_pop(const struct vm *vm);
/**
 * transmit_tell - interrupt the guest for the chains returned to it, or put that off
 *
 * All that the guest does then is to free memory, and an interrupt costs it more than a small
 * packet: so it gets one for many chains, or after a while.
 */
void transmit_tell(struct vm *vm);
/* transmit_tell_late - do what was put off for long enough; ms until the next, -1 without */
int transmit_tell_late(struct vm *vm);
/* transmit_rest - end the rest that the bandwidth limit imposed; ms until then, -1 without */
int transmit_rest(struct vm *vm);

/* receive.c: host to guest */

/* receive_run - fill the guest's receive buffers with what is owed and what is readable */
void receive_run(struct vm *vm);
bool receive_is_pending(struct vm *vm);
/* receive_is_owed - there is something for the guest, buffers or not */
bool receive_is_owed(const struct vm *vm);
/* receive_put - one packet without data; whether there was a buffer for it. Locked. */
bool receive_put(struct vm *vm, const struct virtio_vsock_header *header);
/* receive_reset - owe a reset for a packet of no connection; the caller saw that there is room */
void receive_reset(struct vm *vm, const struct virtio_vsock_header *header);

#endif
