/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scifd's inside: nodes, endpoints, rings, windows, copies, and the calls on them.
 *
 * Nodes. A number of the fabric for each: 0 the host, 1 to 16 the cards, from 17 on the VMs. A VM
 * sees itself as node 0 and the host, if it may, under its own number: the two are swapped in all
 * it says and hears (node_seen). Ports, handles and endpoint numbers belong to one node.
 *
 * Threads. Each VM has a loop of its own; one loop serves all processes. An endpoint belongs to
 * its node's loop: that loop alone runs calls on it, moves its bytes and knows its waiting calls.
 * Workers copy. Nothing waits for another VM: the lock below is held for short computations, never
 * over a copy or a system call on guest memory.
 *
 * Locks. fabric->lock guards all that is marked (F): states, ports, queues of connections, windows,
 * mappings, jobs. A loop's inbox has its own lock, taken inside. Without any lock: the rings (one
 * writer, one reader), and endpoint->state, ->rx, ->tx for the owner's loop: they are set before
 * the state says CONNECTED (release), and stay until the owner closes.
 *
 * States of an endpoint (endpoint_set_state):
 *
 *	UNBOUND      fresh.
 *	BOUND        has a port; also after a refusal.
 *	LISTENING    ->pending are connectors that wait, ->accepted what accept has not collected.
 *	CONNECTING   in its listener's ->pending.
 *	CONNECTED    ->peer, ->rx and ->tx are valid.
 *	DISCONNECTED the peer is gone; what is in ->rx can still be received.
 *	CLOSING      gone for its owner; copies and mappings may still hold it.
 *
 * Calls. A handler returns 0 or -errno, or CALL_WAITS: then the call is kept at its endpoint and
 * tried again, by the same handler, whenever the endpoint is notified (endpoint_notify, from any
 * thread), until it returns something else. Cancelling only sets ->cancelled and tries again.
 */
#ifndef CAUSEWAY_SCIF_FABRIC_FABRIC_H
#define CAUSEWAY_SCIF_FABRIC_FABRIC_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/uio.h>

#include "lib/base/error.h"
#include "lib/vhost/memory.h"
#include "proto/scif-local.h"
#include "proto/scif-virtio.h"

#define FABRIC_NODES_MAX      64u
#define FABRIC_NODE_HOST      0u
#define FABRIC_NODE_VM_FIRST  17u
#define FABRIC_PORTS	      65536u
#define FABRIC_PORT_ANY_FIRST 1088u
#define FABRIC_PAGE_BYTES     4096u
#define FABRIC_INLINE_BYTES   (64u << 10) /* copies up to this are done by the caller's loop */
#define FABRIC_MARK_MASK      0x3fffffffu
#define FABRIC_MARK_PEER      0x40000000u
#define FABRIC_OFFSET_FIRST   0x4000000000000000ull

#define CALL_WAITS 1

/* What programs say, the same numbers in both ABIs. */
#define SCIF_ACCEPT_SYNC     1u
#define SCIF_SEND_BLOCK	     1u
#define SCIF_RECV_BLOCK	     1u
#define SCIF_PROT_READ	     1u
#define SCIF_PROT_WRITE	     2u
#define SCIF_MAP_FIXED	     0x10u
#define SCIF_RMA_USECPU	     1u
#define SCIF_RMA_USECACHE    2u
#define SCIF_RMA_SYNC	     4u
#define SCIF_RMA_ORDERED     8u
#define SCIF_FENCE_INIT_SELF 1u
#define SCIF_FENCE_INIT_PEER 2u
#define SCIF_SIGNAL_LOCAL    0x10u
#define SCIF_SIGNAL_REMOTE   0x20u

/* Where an endpoint is in its life; the table above has who moves it on. */
enum endpoint_state {
	ENDPOINT_UNBOUND,
	ENDPOINT_BOUND,
	ENDPOINT_LISTENING,
	ENDPOINT_CONNECTING,
	ENDPOINT_CONNECTED,
	ENDPOINT_DISCONNECTED,
	ENDPOINT_CLOSING,
};

struct call;
struct device_end;
struct device_task;
struct endpoint;
struct fabric;
struct job;
struct node;
struct window;

TAILQ_HEAD(call_list, call);
TAILQ_HEAD(endpoint_list, endpoint);
TAILQ_HEAD(job_list, job);
TAILQ_HEAD(window_list, window);

/* A loop as others see it: where they leave notes, and how they wake it. */
struct inbox {
	pthread_mutex_t lock;
	struct endpoint_list endpoints;
	struct window_list released; /* windows whose pages go back to the loop's guest */
	atomic_bool full;	     /* something is in it: looked at without the lock */
	atomic_bool sleeping;	     /* the loop wants wake_fd written */
	atomic_bool nodes_changed;
	atomic_bool windows_gone; /* some VM's driver is gone, and with it windows that it had */
	int wake_fd;		  /* edge-triggered: nobody reads it, so nobody can make it block */
};

/* Who is behind a node. */
enum node_kind { NODE_HOST, NODE_CARD, NODE_VM };

struct node_limits {
	uint32_t endpoints, windows;
	uint64_t pinned_bytes;
	uint64_t bytes_per_second; /* 0: no limit */
};

struct node {
	struct fabric *fabric;
	unsigned int number;
	enum node_kind kind;
	char name[32];
	char tenant[64];  /* whose it is in accounts; constant once it serves */
	bool card_vm;	  /* NODE_VM that is a card: it sees numbers as all others do */
	uint64_t visible; /* bit for each node that it may connect to */
	bool online;	  /* (F) */
	bool resting;	  /* (F) its guest is stopped: its memory must not change */
	struct inbox *inbox;
	struct endpoint **ports; /* (F) FABRIC_PORTS of them: who is bound */
	unsigned int next_port;
	struct endpoint_list endpoints; /* (F) all that are not closed */
	struct endpoint_list accepted;	/* (F) not collected yet, of all listeners */
	struct scif_virtio_card card;
	const char *device;   /* a card behind a driver of this host: its path */
	uint16_t device_node; /* and its node there */
	struct node *hears;   /* such a card, whose driver this VM's listeners listen at */

	/* (F) what is used; for the copies' bandwidth a balance that may be negative */
	struct node_limits limits;
	_Atomic uint32_t endpoint_count, window_count;
	_Atomic uint64_t pinned_bytes;
	int64_t balance_bytes;
	struct endpoint *own_copy; /* (F) held; set by a VM's loop alone, which reads it without */
	uint64_t balance_time_ns;
	uint64_t turn;		     /* when a worker last took a copy of it */
	_Atomic uint32_t generation; /* of its driver; older windows are nobody's */

	/* statistics: written by one loop or under the lock, read by anyone */
	_Atomic uint64_t sent_bytes, received_bytes, copied_bytes, calls;
};

/* One direction of a connection, in the memory of the endpoint that receives. */
struct ring {
	atomic_uint holders;
	struct scif_ring *shared;
	unsigned char *bytes;
	int fd; /* -1: no process looks at it */
};

struct endpoint {
	atomic_uint holders;
	struct node *node;
	uint32_t number; /* the owner's name for it */
	_Atomic(enum endpoint_state) state;
	bool is_process; /* wakes by its ring */

	uint16_t port;
	bool owns_port;
	TAILQ_ENTRY(endpoint) node_link; /* (F) */
	unsigned int peer_node;
	uint16_t peer_port;
	struct endpoint *peer; /* (F) held */
	struct ring *rx, *tx;
	struct device_end *device; /* connected through a driver; instead of peer and rings */
	struct device_end *hears;  /* (F) a listener's place at a driver */

	/* (F) listening, or being listened to */
	int backlog;
	struct endpoint_list pending;
	int pending_count;
	struct endpoint *listener;
	uint64_t handle;
	TAILQ_ENTRY(endpoint) link; /* in ->pending of the listener, or the node's ->accepted */

	/* (F) a connect whose result nobody has collected */
	bool connect_open;
	int connect_result; /* -EINPROGRESS until settled */

	/* (F) windows by offset; copies; mappings of the peer's windows */
	struct window **windows;
	unsigned int window_count, window_room;
	struct job_list jobs;
	TAILQ_ENTRY(endpoint) active_link; /* in fabric->active while it has jobs or is busy */
	bool active, busy;
	bool carried; /* its node's own_copy: no worker's */
	uint32_t jobs_queued, jobs_done;

	/* the owner's loop alone */
	struct call_list waiting;
	uint32_t armed; /* poll mask, with POLLHUP and POLLERR; 0: not armed */
	bool watched;	/* its rings are looked at while spinning */
	uint32_t seen_head, seen_tail;
	bool event_due; /* a poll event waits for a buffer */
	uint32_t event_mask;
	TAILQ_ENTRY(endpoint) watch_link, event_link;
	void *carrier; /* of a process's: its session */

	atomic_bool wants;    /* it has waiting calls, or is armed: notes are welcome */
	atomic_bool notified; /* in the inbox */
	TAILQ_ENTRY(endpoint) inbox_link;
};

/* A stretch of a window's memory that is contiguous here. */
struct window_run {
	unsigned char *start; /* here, or in the process */
	uint64_t end;	      /* offset of its end in the window */
};

struct window {
	atomic_uint holders; /* registration, jobs, mappings */
	struct node *node;
	uint64_t offset, bytes, cookie;
	uint32_t prot, generation;
	bool complete; /* (F) exists for the peer */
	pid_t process; /* the runs are that process's memory; 0: ours */
	struct window_run *runs;
	uint32_t run_count, run_room;
	uint64_t filled;		 /* bytes that runs cover */
	struct vhost_mapping **mappings; /* held, those the runs lie in */
	unsigned int mapping_count;
	TAILQ_ENTRY(window) link; /* in an inbox when released */
};

/* A mapping of the peer's windows, whoever made it. */
struct window_map {
	uint32_t number;
	uint64_t offset, bytes;
	uint32_t prot;
	struct window **windows; /* held */
	unsigned int window_count;
	int device_fd; /* of the driver whose card it is; -1 */
};

/* Where a copy reads or writes. */
struct side {
	enum { SIDE_WINDOWS, SIDE_VECTORS, SIDE_PROCESS } kind;
	struct window **windows; /* held */
	unsigned int window_count, window_at;
	uint32_t run_at;
	uint64_t offset; /* next byte: a window offset; an address for SIDE_PROCESS */
	const struct iovec *vectors;
	unsigned int vector_at;
	size_t vector_done;
	pid_t process;
};

/* A copy, or the store of a fence_signal, in the order of its endpoint. */
struct job {
	TAILQ_ENTRY(job) link;
	struct endpoint *endpoint; /* held */
	struct side from, to;
	struct node *nodes[2]; /* whose memory it touches */
	uint64_t bytes, done;
	bool ordered, signal, aborted;
	uint64_t value;
	struct call *call; /* collects it; NULL when nobody does (any more) */
	int status;
	bool finished;
	struct vhost_mapping **mappings;
	unsigned int mapping_count;
};

struct call {
	TAILQ_ENTRY(call) link;	    /* in endpoint->waiting */
	TAILQ_ENTRY(call) all_link; /* in the carrier's list */
	struct fabric *fabric;
	struct node *node;
	struct endpoint *endpoint;
	struct scif_virtio_request request;
	const struct iovec *in, *out; /* payload: to be read, to be written */
	unsigned int in_count, out_count;
	size_t in_bytes, out_bytes;

	int32_t status;
	uint32_t flags;
	uint64_t value[3];
	size_t written; /* bytes of payload */

	size_t moved; /* of a message */
	struct job *job;
	struct device_task *task;
	bool cancelled;
	bool waits;   /* it is kept: in a list, its memory held */
	bool started; /* its handler ran before */

	/* Local calls: session and process, and descriptors in and out (those to send stay
	 * others').
	 */
	void *carrier;
	pid_t process;
	uint64_t address, file_offset;
	int fd_in;
	int fds[SCIF_LOCAL_FDS_MAX];
	unsigned int fd_count;

	struct vhost_mapping **mappings; /* held while it waits */
	unsigned int mapping_count;
	struct iovec *vectors; /* of a call that is kept: all its vectors */
	struct iovec reply[4]; /* where the reply goes */
	unsigned int reply_count;
	uint16_t queue, head;
};

struct fabric {
	pthread_mutex_t lock;
	struct node *nodes[FABRIC_NODES_MAX];
	struct inbox *inboxes[FABRIC_NODES_MAX]; /* loops that want to know of nodes */
	unsigned int inbox_count;

	/* copies */
	pthread_cond_t work, quiet;
	struct endpoint_list active; /* (F) in turn */
	pthread_t workers[16];
	unsigned int worker_count;
	uint64_t turn;
	bool stopping;

	/* cards behind drivers, see device.h */
	int device_epoll, device_stop, device_timer;
	pthread_t device_watcher;
	bool device_started;

	uint64_t since;
};

/* fabric.c: nodes and notes */
int fabric_init(struct fabric *fabric, unsigned int workers);
void fabric_destroy(struct fabric *fabric);
/* node_create - a node, online, seeing nothing; NULL without memory */
struct node *node_create(struct fabric *fabric, unsigned int number, enum node_kind kind,
			 const char *name, struct inbox *inbox);
/* node_seen - the number under which @node sees fabric node @number, and back */
unsigned int node_seen(const struct node *node, unsigned int number);
/* node_is_card - whether it is listed among the cards, in either form */
bool node_is_card(const struct node *node);
/* node_find - the node that @node means by @seen, if it may see it and it is online; (F) */
struct node *node_find(const struct node *node, unsigned int seen);
/* node_driver_gone - its windows are nobody's any more: all guests stop to show their memory */
void node_driver_gone(struct node *node);
/* node_set_online - down ends all its endpoints (as disconnected); tells every guest */
void node_set_online(struct node *node, bool online);
int inbox_init(struct inbox *inbox);
void inbox_destroy(struct inbox *inbox);
/* inbox_wake - after something was put in; costs nothing while the loop is awake */
void inbox_wake(struct inbox *inbox);
uint64_t fabric_clock_ns(void);

/* endpoint.c */
/* endpoint_create - held once, for its owner; NULL with -EMFILE, -ENOMEM; (F) */
struct endpoint *endpoint_create(struct node *node, bool is_process, int *status);
void endpoint_hold(struct endpoint *endpoint);
void endpoint_put(struct endpoint *endpoint);
/* endpoint_close - by its owner; waiting calls are the carrier's to end before */
void endpoint_close(struct endpoint *endpoint);
/* endpoint_cut_off - its node goes down: as if the other side were gone; (F) */
void endpoint_cut_off(struct endpoint *endpoint);
/* endpoint_notify - its rings or its state changed: who waits looks again. Any thread; (F) or not
 */
void endpoint_notify(struct endpoint *endpoint);
/* endpoint_retry - the same for what only calls wait for that came here: copies and marks */
void endpoint_retry(struct endpoint *endpoint);
int endpoint_bind(struct call *call);
int endpoint_listen(struct call *call);
int endpoint_connect(struct call *call);
int endpoint_accept_request(struct call *call);
/* endpoint_accept_register - value: the endpoint that takes the fresh one's place; (F) */
int endpoint_accept_register(struct call *call, struct endpoint **accepted);
/* endpoint_verify - -ENOTCONN, -ECONNRESET, or 0 when connected */
int endpoint_verify(const struct endpoint *endpoint);
uint32_t endpoint_poll(struct endpoint *endpoint);
/* endpoint_refresh - a connect through a driver may be over: before each look at the endpoint */
void endpoint_refresh(struct endpoint *endpoint);
/* endpoint_publish - tell a process what its ring says of the state; (F) */
void endpoint_publish(struct endpoint *endpoint);

/* ring.c */
struct ring *ring_create(bool shared);
struct ring *ring_hold(struct ring *ring);
void ring_put(struct ring *ring);
size_t ring_used(const struct ring *ring);
size_t ring_write(struct ring *ring, const struct iovec *from, unsigned int count, size_t skip,
		  size_t bytes);
size_t ring_read(struct ring *ring, const struct iovec *to, unsigned int count, size_t skip,
		 size_t bytes);
/* ring_wake - those of its owner's process that sleep */
void ring_wake(struct ring *ring);
int stream_send(struct call *call);
int stream_receive(struct call *call);

/* window.c */
int window_register(struct call *call);
int window_register_more(struct call *call);
int window_register_end(struct call *call);
int window_unregister(struct call *call);
void window_hold(struct window *window);
void window_put(struct window *window);
/* window_drop_all - the endpoint's, when it closes; (F) */
void window_drop_all(struct endpoint *endpoint);
/**
 * window_collect - the windows that cover [offset, offset + bytes) without a gap, held; (F)
 *
 * Return: how many, in *@windows (the caller's); -ENXIO, -EPERM when @prot is more than theirs,
 * -ENOMEM.
 */
int window_collect(struct endpoint *endpoint, uint64_t offset, uint64_t bytes, uint32_t prot,
		   struct window ***windows);
/* window_find_mapping - the mapping in which a run's memory lies, or NULL; not held */
struct vhost_mapping *window_find_mapping(const struct window *window, const unsigned char *start);
/* window_withdraw - take it out of its endpoint, if it is there; (F) */
void window_withdraw(struct endpoint *endpoint, struct window *window);
/* window_run_at - the run in which @start of the window lies */
uint32_t window_run_at(const struct window *window, uint64_t start);
/* mappings_add - hold the mapping in which @pointer lies, once; -EFAULT, -ENOMEM */
int mappings_add(struct vhost_mapping ***list, unsigned int *count, struct vhost_mapping *mapping);
void mappings_put(struct vhost_mapping **list, unsigned int count);

/* move.c */
#define MOVE_PIECES 4
struct move_piece {
	unsigned char *to;
	const unsigned char *from;
	size_t bytes; /* at most a page */
};

/* A long copy. The last pieces wait until it is known what is read behind them. */
struct move {
	struct move_piece pieces[MOVE_PIECES];
	unsigned int count;
	bool scattered; /* most of what is read lies elsewhere than behind what was */
};

/* move_add - as memmove(), past the caches, by and by */
void move_add(struct move *move, unsigned char *to, const unsigned char *from, size_t bytes);
/* move_settle - all is copied, and visible before what this thread stores from now on */
void move_settle(struct move *move);

/* copy.c: jobs and workers */
int copy_windows(struct call *call); /* readfrom, writeto */
int copy_program(struct call *call); /* vreadfrom, vwriteto */
int copy_fence_mark(struct call *call);
int copy_fence_wait(struct call *call);
int copy_fence_signal(struct call *call);
/* copy_rest_node - no copy touches the node's memory from now on, until it rests no more */
void copy_rest_node(struct node *node, bool resting);
/**
 * copy_own_turn - a part of the copy that the loop of VM @node does itself, if there is one
 * @pending: whether the loop has other work: then the rest is left to the workers; under (F)
 */
void copy_own_turn(struct node *node, bool (*pending)(void *context), void *context);
/* copy_leave_own - leave it to the workers in any case; takes (F) */
void copy_leave_own(struct node *node);
/* copy_detach - the call of a process that is gone: its job ends without it */
void copy_detach(struct call *call);
/* copy_abort_node - end all copies that touch the node's memory, and wait until they have */
void copy_abort_node(struct node *node);
int copy_start_workers(struct fabric *fabric, unsigned int count);
void copy_stop_workers(struct fabric *fabric);

/* map.c */
/* map_prepare - windows of the peer for MMAP; 0 or -errno; the caller owes map_drop(); takes (F) */
int map_prepare(struct call *call, struct window_map *map);
void map_drop(struct window_map *map);
/* A stretch of a map that is contiguous in one file. */
struct map_piece {
	int fd;
	uint64_t file_offset, bytes;
};
/* map_pieces - at most @room of them; how many, -E2BIG, -EOPNOTSUPP for memory without a file */
int map_pieces(const struct window_map *map, struct map_piece *pieces, unsigned int room);

/* call.c: the gate */
/* call_run - run a call, or try a waiting one again: CALL_WAITS, or it is over with ->status */
int call_run(struct call *call);
/* call_check - members that the call does not name are zero, it exists: 0 or -EINVAL */
int call_check(const struct scif_virtio_request *request);
/* call_names_endpoint - request.endpoint must be one of the caller's */
bool call_names_endpoint(const struct scif_virtio_request *request);
int call_nodes(struct call *call);
int call_card(struct call *call);
/* call_put - append to the payload that is written; how much fitted */
size_t call_put(struct call *call, const void *from, size_t bytes);

#endif
