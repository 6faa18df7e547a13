/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Credit between guests: what each was told that the other took, and by how much it may run ahead.
 *
 * A Linux guest says late what its program has read (when three quarters of a window are used up),
 * and only then may its peer go on: both would sleep in turn. So the switch answers for its part:
 * it tells a sender that up to ->ahead bytes more were taken than were, and holds their descriptors
 * until the receiver allows them. What a receiver allows is never exceeded, and a sender is never
 * told of more than it sent, nor of less than before.
 *
 * Promises are bounded: FLOW_AHEAD_BYTES_MAX a flow, FLOW_AHEAD_TOTAL_MAX for all that a VM sends,
 * which is less than what may be copied for it (VM_REMAINDERS_BYTES_MAX), so that a promise can be
 * kept even where descriptors run out. Only streams of packets of FLOW_AHEAD_PACKET_BYTES get one.
 *
 * Linux guests of today also give credit back whenever a program has read all that there is: for
 * each message of a conversation, right before the answer, which carries the same numbers; and in a
 * stream up to once for each receive buffer, where the peer would go on in portions as small. So
 * credit that nobody asked for waits (->holds_credit) until its guest sends data, or the peer has
 * use for it (flow_needs_credit), and FLOW_LATE_NS at most.
 */
#include "vsock/switch/flow_data.h"
#include "vsock/switch/vm.h"

#define FLOW_AHEAD_PACKET_BYTES (4u << 10)
#define FLOW_AHEAD_BYTES_MAX	(256u << 10)
#define FLOW_AHEAD_BYTES_MIN	(64u << 10)
#define FLOW_AHEAD_TOTAL_MAX	(8u << 20)
#define FLOW_AHEAD_SHARE	4 /* a flow gets at most this part of what the VM has left */
#define FLOW_LATE_NS		2000000u

static uint32_t flow_read(const uint32_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_ACQUIRE);
}

/* Whether @one is behind @other, as counters modulo 2^32 are. */
static bool flow_is_behind(uint32_t one, uint32_t other)
{
	return (int32_t)(one - other) < 0;
}

/* The window of @end's guest. */
static uint32_t flow_window(const struct flow_end *end)
{
	uint32_t window = flow_read(&end->buf_alloc);

	return window < FLOW_WINDOW_MAX ? window : FLOW_WINDOW_MAX;
}

/* The other's data waits for what was just heard: its worker gets on. */
static void flow_wake_other(struct vm *vm, struct flow_end *end)
{
	struct flow_end *other = flow_other(end);

	delivery_end(&vm->worker->delivery);
	vm_lock(vm); /* while it waits, its VM and worker are there */
	if (other->awaits_credit) {
		__atomic_store_n(&other->awaits_credit, false, __ATOMIC_RELAXED);
		__atomic_store_n(&other->vm->retries, true, __ATOMIC_RELEASE);
		worker_poke(other->vm->worker);
	}
	vm_unlock(vm);
}

void flow_heard(struct vm *vm, struct flow_end *end, const struct virtio_vsock_header *header)
{
	uint32_t window = header->buf_alloc < FLOW_WINDOW_MAX ? header->buf_alloc : FLOW_WINDOW_MAX;
	uint32_t edge = header->fwd_cnt + window;

	__atomic_store_n(&end->buf_alloc, header->buf_alloc, __ATOMIC_RELEASE);
	__atomic_store_n(&end->fwd_cnt, header->fwd_cnt, __ATOMIC_RELEASE);
	/* A window that shrinks does not take back what was allowed. */
	if (!flow_is_behind(end->edge, edge))
		return;
	__atomic_store_n(&end->edge, edge, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&flow_other(end)->awaits_credit, __ATOMIC_SEQ_CST))
		flow_wake_other(vm, end);
}

bool flow_may_send(const struct flow_end *end, uint32_t bytes)
{
	uint32_t edge = flow_read(&flow_other(end)->edge);
	uint32_t told = edge;
	int32_t left;

	if (__atomic_load_n(&end->told_any, __ATOMIC_ACQUIRE))
		told = flow_read(&end->told_edge);
	if (flow_is_behind(edge, told))
		edge = told;
	left = (int32_t)(edge - end->sent);
	return !(end->shut & VIRTIO_VSOCK_SHUTDOWN_SEND) && left >= 0 && bytes <= (uint32_t)left;
}

uint32_t flow_credit(const struct flow_end *end)
{
	int32_t left = (int32_t)(__atomic_load_n(&flow_other(end)->edge, __ATOMIC_SEQ_CST) -
				 end->delivered);

	return left > 0 ? (uint32_t)left : 0;
}

/* What the guest of @end may be told of its bytes: how many were taken, or will be. */
static uint32_t flow_taken(const struct flow_end *end)
{
	uint32_t taken = flow_read(&flow_other(end)->fwd_cnt) + flow_read(&end->ahead);
	uint32_t sent = flow_read(&end->sent), told = flow_read(&end->told_taken);

	if (flow_is_behind(sent, taken))
		taken = sent;
	return flow_is_behind(taken, told) ? told : taken;
}

struct virtio_vsock_header flow_header(const struct flow_end *end, uint16_t op, uint32_t flags)
{
	const struct flow_end *other = flow_other(end);

	return (struct virtio_vsock_header){
		.src_cid = end->vm->own.cid,
		.dst_cid = other->vm->own.cid,
		.src_port = end->port,
		.dst_port = other->port,
		.type = end->flow->type,
		.op = op,
		.flags = flags,
		.buf_alloc = flow_read(&end->buf_alloc),
		.fwd_cnt = flow_taken(other),
	};
}

void flow_told(struct flow_end *end, const struct virtio_vsock_header *header)
{
	uint32_t window = header->buf_alloc < FLOW_WINDOW_MAX ? header->buf_alloc : FLOW_WINDOW_MAX;
	uint32_t edge = header->fwd_cnt + window;

	if (!end->told_any || flow_is_behind(end->told_edge, edge))
		__atomic_store_n(&end->told_edge, edge, __ATOMIC_RELEASE);
	__atomic_store_n(&end->told_taken, header->fwd_cnt, __ATOMIC_RELEASE);
	__atomic_store_n(&end->told_window, header->buf_alloc, __ATOMIC_RELEASE);
	__atomic_store_n(&end->told_any, true, __ATOMIC_RELEASE);
}

bool flow_has_news(const struct flow_end *end)
{
	return flow_taken(end) != flow_read(&end->told_taken) ||
	       flow_read(&flow_other(end)->buf_alloc) != flow_read(&end->told_window);
}

/* A stream of large packets may run ahead from now on. */
static void flow_grant(struct vm *vm, struct flow_end *end)
{
	uint32_t ahead = flow_window(flow_other(end));
	uint32_t left = (FLOW_AHEAD_TOTAL_MAX - vm->ahead_total) / FLOW_AHEAD_SHARE;

	if (ahead > FLOW_AHEAD_BYTES_MAX)
		ahead = FLOW_AHEAD_BYTES_MAX;
	if (ahead > left)
		ahead = left;
	if (ahead < FLOW_AHEAD_BYTES_MIN)
		return;
	vm->ahead_total += ahead;
	__atomic_store_n(&end->ahead, ahead, __ATOMIC_RELEASE);
}

/* What @end's guest may send yet, of what it was told. */
static uint32_t flow_left(const struct flow_end *end)
{
	int32_t left = (int32_t)(flow_read(&end->told_edge) - flow_read(&end->sent));

	return left > 0 ? (uint32_t)left : 0;
}

/* Whether @end's guest should hear of its credit now: half of its window is used up, and there is
 * enough to tell of for it to go on with large packets. */
static bool flow_needs_credit(const struct flow_end *end)
{
	uint32_t window = flow_window(flow_other(end));

	return flow_left(end) <= window / 2 &&
	       flow_taken(end) - flow_read(&end->told_taken) >= window / 4;
}

void flow_run_ahead(struct vm *vm, struct flow_end *end, uint32_t bytes)
{
	if (end->ahead == 0 && bytes >= FLOW_AHEAD_PACKET_BYTES &&
	    end->flow->type == VIRTIO_VSOCK_TYPE_STREAM)
		flow_grant(vm, end);
	if (end->is_telling || !flow_needs_credit(end))
		return;
	end->is_telling = true;
	TAILQ_INSERT_TAIL(&vm->tellings, end, telling_link);
}

bool flow_put_telling(struct vm *vm)
{
	struct flow_end *end = TAILQ_FIRST(&vm->tellings);
	struct virtio_vsock_header header;

	if (flow_has_news(end)) {
		header = flow_header(flow_other(end), VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
		if (!receive_put(vm, &header))
			return false;
		flow_told(end, &header);
	}
	TAILQ_REMOVE(&vm->tellings, end, telling_link);
	end->is_telling = false;
	return true;
}

static void flow_hold_credit(struct vm *vm, struct flow_end *end)
{
	if (end->holds_credit)
		return;
	end->holds_credit = true;
	end->credit_ns = vm_clock_ns();
	TAILQ_INSERT_TAIL(&vm->late_credits, end, late_link);
}

void flow_release_credit(struct vm *vm, struct flow_end *end)
{
	if (!end->holds_credit)
		return;
	end->holds_credit = false;
	TAILQ_REMOVE(&vm->late_credits, end, late_link);
}

void flow_pass_credit(struct vm *vm, struct flow_end *end)
{
	struct flow_end *other = flow_other(end);
	bool asked = __atomic_exchange_n(&other->asks, false, __ATOMIC_RELAXED);

	if (!asked && !flow_has_news(other))
		return;
	if (!asked && !flow_needs_credit(other)) {
		flow_hold_credit(vm, end);
		return;
	}
	flow_release_credit(vm, end);
	flow_owe(vm, end, FLOW_OWES_CREDIT);
}

void flow_pass_late(struct vm *vm)
{
	struct flow_end *end;

	while (flow_late_ms(vm) == 0) {
		end = TAILQ_FIRST(&vm->late_credits);
		flow_release_credit(vm, end);
		if (flow_has_news(flow_other(end)))
			flow_owe(vm, end, FLOW_OWES_CREDIT);
	}
	delivery_end(&vm->worker->delivery);
}

int flow_late_ms(const struct vm *vm)
{
	const struct flow_end *end = TAILQ_FIRST(&vm->late_credits);
	uint64_t now_ns;

	if (!end)
		return -1;
	now_ns = vm_clock_ns();
	return now_ns - end->credit_ns < FLOW_LATE_NS
		       ? (int)((end->credit_ns + FLOW_LATE_NS - now_ns) / 1000000) + 1
		       : 0;
}

void flow_stay(struct vm *vm, struct flow_end *end)
{
	flow_release_credit(vm, end);
	if (end->is_telling)
		TAILQ_REMOVE(&vm->tellings, end, telling_link);
	end->is_telling = false;
	vm->ahead_total -= end->ahead;
	__atomic_store_n(&end->ahead, 0, __ATOMIC_RELEASE);
}
