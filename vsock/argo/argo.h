/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * State of the Argo transport and the functions that its files share.
 *
 * Objects and their lives
 *	argo_ring	memory that Xen writes into; belongs to its peer (or is the hello ring)
 *	argo_peer	one life of another domain as we know it. NEW: our ring for it is there
 *			and a greeting is sent. UP: its greeting came; frames flow. GONE: it is in
 *			no table any more, its ring is unregistered, its sockets are reset; only
 *			references keep the object. A domain that comes back gets a new object.
 *			argo_peer_up() and argo_peer_retire() alone assign the state.
 *	argo_socket	the transport's part of a vsock_sock, from init() to destruct(). While it is
 *			in its peer's table, frames find it, and it holds a reference to the peer.
 *
 * Locks, in the order in which they are taken
 *	sk's own lock	state of a connection, readers, writers
 *	argo.mutex	life of peers: creation, greeting, retirement
 *	peer->lock	(bh) peer's table of sockets, owed frames, state
 *	socket->lock	(bh) the queue and the counters of credit
 *	argo.dgram_lock	(bh) bound datagram sockets
 * No lock is held during a hypercall that reads a program's memory, but the sk's own.
 *
 * A ring has one reader at a time, who owns ARGO_PEER_READING: the tasklet, a program that spins
 * (spin.c) or reads straight from the ring, until a frame comes that needs to sleep; then the
 * peer's work, which owns it as long as ARGO_PEER_SLOW is set too.
 */
#ifndef CAUSEWAY_VSOCK_ARGO_ARGO_H
#define CAUSEWAY_VSOCK_ARGO_ARGO_H

#include <linux/hashtable.h>
#include <linux/interrupt.h>
#include <linux/kref.h>
#include <linux/mutex.h>
#include <linux/skbuff.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>
#include <net/af_vsock.h>
#include <net/sock.h>
#include <xen/interface/xen.h>

#include "check.h"
#include "compat.h"

#define ARGO_NO_DOMAIN		0x7ff4u	/* Xen: any partner */
#define ARGO_CID_OFFSET		2	/* CID = domain id + 2 */
#define ARGO_SOCKET_BITS	8	/* of a peer's table */
#define ARGO_OWED_RESETS_MAX	256	/* for connections that nobody knows */
#define ARGO_IOV_MAX		8	/* Xen's limit of pieces in one message */
#define ARGO_SPIN_US_MAX	100000u	/* of the parameter */
#define ARGO_GREETING_MS	2000	/* how long a datagram waits for its peer's greeting */

/* Xen's view of a ring: indices, then the bytes. */
struct argo_shared_ring {
	u32 rx_ptr;
	u32 tx_ptr;
	u8 reserved[56];
	u8 bytes[];
};

struct argo_ring {
	struct argo_shared_ring *shared;	/* vmalloc, whole pages */
	u32 length;
	u32 rx;			/* our place; shared->rx_ptr is only told */
	u32 published;		/* the rx_ptr before the last that was told */
	u32 port;
	u16 partner;
};

/* A message at the front of a ring. */
struct argo_message {
	u32 at;			/* of its payload in the ring */
	u32 bytes;		/* of payload */
	u32 next;		/* the rx behind it */
	u16 domain;
};

/* A peer's life, in this order. */
enum argo_peer_state {
	ARGO_PEER_NEW,
	ARGO_PEER_UP,
	ARGO_PEER_GONE,
};

enum argo_peer_flag {
	ARGO_PEER_READING,	/* somebody owns the reading side of its ring */
	ARGO_PEER_SLOW,		/* and that is the work */
	ARGO_PEER_FAILED,	/* the work shall retire it */
	ARGO_PEER_FULL,		/* its ring took no more; cleared by argo_peer_room() alone */
};

struct argo_peer {
	struct kref kref;
	u16 domain;
	enum argo_peer_state state;	/* written under lock and argo.mutex */
	unsigned long flags;		/* enum argo_peer_flag */
	const char *failure;		/* why FAILED; a sentence's part */
	u32 epoch;			/* the peer's; 0 until UP */
	u32 session;			/* valid when UP */
	u32 payload_max;		/* of a frame to it; valid when UP */
	struct argo_ring ring;		/* that it sends into */
	struct work_struct work;
	struct rcu_work free_work;
	wait_queue_head_t wait;		/* for UP, GONE, or room */

	spinlock_t lock;		/* protects what follows */
	DECLARE_HASHTABLE(sockets, ARGO_SOCKET_BITS);
	u32 socket_count;
	u64 window_bytes;		/* granted to its side in all */
	struct list_head owed;		/* struct argo_owed, in the order to send */
	u32 owed_resets;
	u64 frames_in, frames_out, frames_direct;
};

/* A frame without payload that waits for room. */
struct argo_owed {
	struct list_head node;
	struct argo_frame frame;
	bool of_nobody;		/* counted in owed_resets */
};

struct argo_socket {
	struct kref kref;
	struct vsock_sock *vsk;
	struct argo_peer *peer;	/* while in its table; read under sk's lock or peer->lock */
	struct hlist_node node;	/* in peer->sockets, or in argo.dgrams */
	u32 local_port, remote_port;
	u8 kind;
	bool message_under_way;	/* a SEQPACKET's sender waits for room inside its message */
	u32 front_bytes;	/* of a frame at the ring's front that is left to our reader */
	u32 spin_ns;		/* how long a wait spins before it sleeps; see spin.c */
	u64 waiting_since_ns;	/* of a wait that went to sleep; 0: none */
	u64 woken_ns;		/* when it was woken, until it runs; 0: it does */

	spinlock_t lock;	/* protects what follows */
	struct sk_buff_head queue;
	u32 queued_bytes;	/* in the queue and not read */
	u32 messages;		/* whole ones in the queue */
	u32 received, taken;	/* cost of what came, and of what was read */
	u32 told;		/* taken, as the peer last heard it */
	u32 window;		/* that we grant; charged to the peer's window_bytes */
	u32 granted;		/* the largest window ever granted */
	bool credit_owed;	/* a CREDIT frame is in peer->owed */
	bool peer_waits;	/* it sent CREDIT_WANTED */
	bool asked;		/* we sent CREDIT_WANTED since credit last came */
	u32 sent, peer_taken, peer_window;
	u32 needed;		/* credit without which has_space() is 0 */
};

/* In skb->cb of what waits for a reader. */
struct argo_cb {
	u32 offset;		/* read so far */
	u32 cost;
	u32 cid, port;		/* of a datagram's sender */
	u8 flags;
};

/* argo_cb - that of a packet */
static inline struct argo_cb *argo_cb(struct sk_buff *skb)
{
	BUILD_BUG_ON(sizeof(struct argo_cb) > sizeof(skb->cb) - 8);
	return (struct argo_cb *)skb->cb;
}

struct argo {
	struct mutex mutex;		/* the life of peers */
	struct xarray peers;		/* by domain id; written under mutex, read under RCU */
	struct argo_ring hello;
	struct work_struct hello_work, resume_work;
	struct delayed_work watch_work;
	struct tasklet_struct tasklet;
	struct timer_list left_timer;	/* a reader did not come for its frame */
	struct workqueue_struct *queue;
	atomic_t peer_count, socket_count;
	atomic_long_t waits_spun, waits_slept;	/* how waits of programs ended */
	u32 wake_ns;			/* what a reader's wake-up takes here, see spin.c */
	u32 epoch;
	u16 domain;			/* our own */
	int irq;
	spinlock_t dgram_lock;		/* protects what follows */
	DECLARE_HASHTABLE(dgrams, ARGO_SOCKET_BITS);
	u32 dgram_port;			/* where the search for a free one goes on */
};

/* The one of this module, its parameters (module.c), and what Linux calls. */
extern struct argo argo;
extern unsigned int argo_ring_size;
extern unsigned int argo_peer_memory;
extern unsigned int argo_spin_us;
extern unsigned int argo_watch_ms;
extern const struct vsock_transport argo_transport;

/* hypercall.c */
struct argo_iov {
	u64 address;
	u32 bytes;
	u32 pad;
};

#define ARGO_RING_EXISTS	1u
#define ARGO_RING_SUFFICIENT	8u

int argo_hypervisor_probe(void);
int argo_ring_register(struct argo_ring *ring, u32 length, u32 port, u16 partner);
void argo_ring_unregister(struct argo_ring *ring);
void argo_ring_free(struct argo_ring *ring);
int argo_hypervisor_send(u16 domain, u32 port, struct argo_iov *iov, unsigned int count);
u32 argo_hypervisor_query(u16 domain, u32 port, u32 bytes);

/* ring.c */
int argo_ring_peek(struct argo_ring *ring, struct argo_message *message);
void argo_ring_copy(const struct argo_ring *ring, u32 at, void *to, u32 bytes);
void argo_ring_advance(struct argo_ring *ring, const struct argo_message *message);
bool argo_ring_empty(const struct argo_ring *ring);
bool argo_ring_was_crowded(const struct argo_ring *ring, u32 largest);

/* peer.c */
struct argo_peer *argo_peer_find(u16 domain);
struct argo_peer *argo_peer_get(u16 domain);
void argo_peer_put(struct argo_peer *peer);
void argo_peer_fail(struct argo_peer *peer, const char *why);
void argo_peer_queue_work(struct argo_peer *peer);
void argo_peer_retire_all(const char *why);
void argo_hello_work(struct work_struct *work);
void argo_watch_work(struct work_struct *work);
void argo_watch_start(void);

/* receive.c */
void argo_receive_tasklet(struct tasklet_struct *tasklet);
void argo_receive_work(struct argo_peer *peer);
bool argo_receive_own(struct argo_peer *peer, struct argo_socket *reader);
bool argo_receive_waits(const struct argo_peer *except, bool full);
u32 argo_receive_direct(struct argo_socket *socket, struct msghdr *msg, size_t room);

/* spin.c */
void argo_spin(struct argo_socket *socket, bool (*ready)(struct argo_socket *socket),
	       struct argo_socket *reader);
void argo_spin_learn(struct argo_socket *socket);
void argo_spin_woken(struct argo_socket *socket);
u32 argo_spin_bound_ns(void);

/* connection.c */
void argo_connection_frame(struct argo_peer *peer, const struct argo_checked *frame);
void argo_connection_reset(struct argo_socket *socket, int error);

/* send.c */
void argo_frame_fill(struct argo_frame *frame, struct argo_socket *socket, u8 type, u8 flags,
		     u32 bytes);
void argo_send_control(struct argo_socket *socket, u8 type, u8 flags);
void argo_send_reset(struct argo_peer *peer, const struct argo_checked *frame);
void argo_send_bye(struct argo_peer *peer);
ssize_t argo_send_payload(struct argo_peer *peer, struct msghdr *msg, struct argo_frame *frame,
			  u32 bytes);
void argo_peer_room(struct argo_peer *peer);
int argo_peer_wait_room(struct argo_peer *peer, struct sock *sk, bool unlock);

/* socket.c */
struct argo_socket *argo_socket_find(struct argo_peer *peer, u8 kind, u32 local_port,
				     u32 remote_port);
int argo_socket_attach(struct argo_socket *socket, struct argo_peer *peer);
void argo_socket_detach(struct argo_socket *socket);
void argo_socket_get(struct argo_socket *socket);
void argo_socket_put(struct argo_socket *socket);
void argo_socket_credit(struct argo_socket *socket, u32 window, u32 taken, bool *bad);
void argo_socket_restart(struct argo_socket *socket);

/* dgram.c */
int argo_dgram_bind(struct vsock_sock *vsk, struct sockaddr_vm *address);
int argo_dgram_enqueue(struct vsock_sock *vsk, struct sockaddr_vm *to, struct msghdr *msg,
		       size_t bytes);
int argo_dgram_dequeue(struct vsock_sock *vsk, struct msghdr *msg, size_t bytes, int flags);
bool argo_dgram_allow(u32 cid, u32 port);
void argo_dgram_release(struct argo_socket *socket);
void argo_dgram_receive(struct argo_peer *peer, const struct argo_checked *frame,
			struct sk_buff *skb);

/* tap.c */
void argo_tap(struct argo_peer *peer, bool out, const struct argo_frame *frame,
	      struct sk_buff *payload);
void argo_tap_direct(struct argo_peer *peer, const struct argo_frame *frame, u32 at);
void argo_debug_create(void);
void argo_debug_remove(void);

#endif
