/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flows: connections between two guests.
 *
 * Credit is the guests' own, but that a stream of large packets may run ahead of its receiver's
 * (flow_credit.c): nobody is given more than it allowed, nobody may send more than it was told.
 * Data normally finds credit and a receive buffer, and the sender's worker copies it there at once
 * (deliver.h). What finds none stays where it is:
 *
 *	kept       The sender's descriptors are not returned yet. A chain is kept by its head
 *	           alone and walked anew when it goes on, since memory may have moved meanwhile.
 *	           The used ring is out of order then; other flows of the sender go on.
 *	remainder  A receiver that takes nothing for FLOW_HOLD_NS must not take away all
 *	           descriptors of its sender: what a flow sends beyond its share of them
 *	           (flow_is_full) is copied, merged, and bounded by VM_REMAINDERS_BYTES_MAX for
 *	           all flows of a VM; beyond, the flow is reset. A receiver that is only slow
 *	           never leads there: its sender's queue rests instead.
 *
 * Turns: an end whose data waits is in ->waiters of the receiving VM, first come, first served,
 * each FLOW_TURN_BYTES before it goes to the end of the line; new data of others lines up behind.
 * The receiver's worker sees new buffers and pokes the worker of the first in line; that one
 * serves its own ends until another VM's is first, and pokes on. So flows share a receiver's
 * buffers evenly, whoever sends.
 *
 * States (atomic; ->state):
 *
 *	REQUESTED  the asker's REQUEST is under way; until its deadline
 *	OPEN       data flows both ways
 *	OVER       whoever sets it takes the flow out of both tables and mails both ends; each VM's
 *	           worker then lets go of its end, and owes its guest a reset if it is ->told
 *
 * An end whose receiver's credit is used up stands in no line: the receiver's worker hears of new
 * credit and pokes.
 *
 * Threads: an end belongs to the worker of its VM (what that VM sends), but for: ->waiter_link,
 * ->waits and ->awaits_credit, under the other VM's lock; ->told_taken and its kin, written under
 * its own VM's lock, by whoever gives its guest a packet; ->asks, atomic. The other worker reads
 * ->edge, ->buf_alloc, ->fwd_cnt, ->sent and ->ahead, which are atomic, too. The VM's mail_lock
 * guards ->mail_link, its flows_lock ->bucket_next. An end stays valid for its worker until that
 * worker has let go of it; the flow is freed with the second.
 */
#ifndef CAUSEWAY_VSOCK_SWITCH_FLOW_H
#define CAUSEWAY_VSOCK_SWITCH_FLOW_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "lib/base/buffer.h"
#include "lib/vhost/queue.h"
#include "proto/virtio-vsock.h"
#include "vsock/switch/counters.h"
#include "vsock/switch/deliver.h"

#define FLOW_TURN_BYTES	 (64u << 10)
#define FLOW_HOLD_NS	 250000000u
#define FLOW_PATIENCE_NS 2500000000u /* of a REQUEST; Linux guests give up after 2 s */
#define FLOW_WINDOW_MAX	 (1u << 30)  /* what an end may allow at once, as we count */

struct vm;
struct flow;

/* A flow's life; the rules are above. */
enum flow_state {
	FLOW_REQUESTED,
	FLOW_OPEN,
	FLOW_OVER,
};

/* Packets that an end owes the other, sent when there is a buffer; data comes before SHUTDOWN. */
enum flow_owed {
	FLOW_OWES_REQUEST = 1,
	FLOW_OWES_RESPONSE = 2,
	FLOW_OWES_CREDIT = 4,
	FLOW_OWES_QUESTION = 8,	 /* CREDIT_REQUEST */
	FLOW_OWES_SHUTDOWN = 16, /* with the flags of ->shut */
	FLOW_OWES_RESET = 32,	 /* which ends the flow */
};

#define FLOW_OWES_LAST (FLOW_OWES_SHUTDOWN | FLOW_OWES_RESET) /* behind the data */

struct flow_end {
	struct vm *vm;
	struct flow *flow;
	uint32_t port;
	uint32_t buf_alloc, fwd_cnt; /* as its guest said last */
	uint32_t sent;		     /* bytes so far, modulo 2^32 */
	uint32_t delivered;	     /* of these, in the other's buffers */
	uint32_t edge;		     /* what the other may be given at most, as ->sent counts */
	uint32_t ahead;		     /* its guest may run ahead of the other's credit by that */
	uint32_t told_taken,
		told_window; /* fwd_cnt and buf_alloc of the other, as its guest knows */
	uint32_t told_edge;  /* what its guest may have sent at most, from these */
	bool told_any;	     /* these are set */
	bool asks;	     /* its guest asked for them, and has no answer */
	bool is_telling;     /* in vm->tellings */
	bool holds_credit;   /* in vm->late_credits */
	uint64_t credit_ns;  /* since when */
	bool is_blocked;     /* in vm->blocked */
	bool waits;	     /* in the other VM's waiters */
	bool awaits_credit;  /* blocked, and in no line: the other's credit is used up */
	bool told;	     /* its guest gets a reset */
	unsigned int owed;   /* enum flow_owed */
	unsigned int shut;   /* VIRTIO_VSOCK_SHUTDOWN_*: what its guest closed */
	uint16_t kept_first, kept_last;
	uint32_t kept_count;
	uint64_t moved_ns; /* when it was blocked, or last got on since */
	struct buffer remainder;
	size_t remainder_done; /* bytes of it that are out already */
	struct flow_end *bucket_next;
	TAILQ_ENTRY(flow_end) blocked_link; /* in vm->blocked while ->is_blocked */
	TAILQ_ENTRY(flow_end) waiter_link;
	TAILQ_ENTRY(flow_end) telling_link; /* in vm->tellings while ->is_telling */
	TAILQ_ENTRY(flow_end) late_link;    /* in vm->late_credits while ->holds_credit */
	TAILQ_ENTRY(flow_end) mail_link;    /* in vm->mail, then vm->farewells */
	struct counters_flow counters;
};

struct flow {
	enum flow_state state;
	uint16_t type;	     /* enum virtio_vsock_type */
	uint32_t ends_there; /* atomic */
	uint64_t deadline_ns;
	bool is_timed;
	TAILQ_ENTRY(flow)
	timed_link;		 /* in the asker's timed_flows while ->is_timed; its worker's */
	struct flow_end ends[2]; /* the asker's first */
};

TAILQ_HEAD(flow_end_list, flow_end);
TAILQ_HEAD(flow_list, flow);

/* A chain of the transmit queue that is kept; by its head. */
struct flow_kept {
	uint32_t bytes, done; /* of payload */
	uint32_t flags;
	uint16_t next; /* the next of the same end */
	bool used;
};

enum flow_verdict {
	FLOW_TAKEN, /* the chain may be returned */
	FLOW_KEPT,  /* the flow keeps the chain */
	FLOW_HELD,  /* not now: leave the chain in the queue; vm->held_until_ns says until when */
};

/* All of these are for the worker of @vm. */

/**
 * flow_packet - a packet of @vm's guest for another guest
 * @header: checked to come from @vm's cid
 * @source: its payload; @head its chain
 *
 * Packets that belong to nothing are answered with a reset, for which there is room.
 */
enum flow_verdict flow_packet(struct vm *vm, const struct virtio_vsock_header *header,
			      struct delivery_source *source, uint16_t head);

/* flow_resume - what is blocked gets on, as far as it is its turn */
void flow_resume(struct vm *vm);
/* flow_wake_waiters - if there are receive buffers for them, whoever is first gets on */
void flow_wake_waiters(struct vm *vm);
bool flow_has_waiters(const struct vm *vm);
/* flow_pass_late - credit that waited long enough goes out */
void flow_pass_late(struct vm *vm);
/* flow_late_ms - until there is such credit; -1 without any */
int flow_late_ms(const struct vm *vm);
/* flow_read_mail - let go of the ends of flows that are over */
void flow_read_mail(struct vm *vm);
/* flow_put_telling - one word of credit that is owed to the guest; whether there was a buffer.
 * Locked. */
bool flow_put_telling(struct vm *vm);
/* flow_put_farewell - one reset that is owed to the guest; whether there was a buffer. Locked. */
bool flow_put_farewell(struct vm *vm);
/* flow_end_all - all flows of @vm are over; their other ends are told, and this one if @told */
void flow_end_all(struct vm *vm, bool told);
/* flow_end_denied - flows that @vm's guest asked for end where the rules do not allow them any more
 */
void flow_end_denied(struct vm *vm);
/* flow_spill - the transmit queue stops: what is kept is copied, its chains are returned. Locked.
 */
void flow_spill(struct vm *vm);
/* flow_expire - end requests that nobody answered; ms until the next, -1 without */
int flow_expire(struct vm *vm);
/* flow_resize - a transmit queue of @size entries starts; 0 or -ENOMEM */
int flow_resize(struct vm *vm, uint32_t size);

/* flow_open_door, flow_close_door - whether others may connect to the guest */
void flow_open_door(struct vm *vm, bool seqpacket);
void flow_close_door(struct vm *vm);

struct vm_flow;
/* flow_visit - show the end to another thread's @visit; with flows_lock */
void flow_visit(const struct flow_end *end,
		void (*visit)(const struct vm_flow *flow, void *context), void *context);

#endif
