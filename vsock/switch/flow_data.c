/* SPDX-License-Identifier: Apache-2.0 */
/* Data between guests: at once, kept, or copied; whose turn it is. See flow.h. */
#include "vsock/switch/flow_data.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vsock/switch/vm.h"

#define FLOW_CUT_BYTES (1u << 20)

/* In front of each of the remainder's messages, where a flow has messages. */
struct flow_record {
	uint32_t bytes;
	uint32_t flags;
};

static struct vhost_queue *flow_transmit_queue(struct vm *vm)
{
	return vhost_device_queue(&vm->device, VIRTIO_VSOCK_QUEUE_TRANSMIT);
}

static struct vhost_queue *flow_receive_queue(struct vm *vm)
{
	return vhost_device_queue(&vm->device, VIRTIO_VSOCK_QUEUE_RECEIVE);
}

/* Makes the first in line of @to's waiters get on; @to is locked. */
static void flow_poke_first(struct vm *to)
{
	struct flow_end *first = TAILQ_FIRST(&to->waiters);

	if (!first)
		return;
	__atomic_store_n(&to->waiters_poked, true, __ATOMIC_RELAXED);
	__atomic_store_n(&first->vm->retries, true, __ATOMIC_RELEASE);
	worker_poke(first->vm->worker);
}

/* Asks for word of new buffers, and looks whether some came meanwhile; @to is locked. */
static void flow_await_buffers(struct vm *to)
{
	vhost_queue_want_kicks(flow_receive_queue(to), true);
	__atomic_store_n(&to->waiters_poked, false, __ATOMIC_RELAXED);
	if (vhost_queue_has_work(flow_receive_queue(to)))
		flow_poke_first(to);
}

/* The line has changed: whoever is first in it awaits buffers, if there is one; @to is locked. */
static void flow_look_for_buffers(struct vm *to)
{
	if (!TAILQ_EMPTY(&to->waiters))
		flow_await_buffers(to);
	else
		__atomic_store_n(&to->waiters_poked, false, __ATOMIC_RELAXED);
}

/* Into the line for buffers; the other VM is held. */
static void flow_wait(struct flow_end *end)
{
	struct vm *to = flow_other(end)->vm;

	if (end->waits)
		return;
	end->waits = true;
	TAILQ_INSERT_TAIL(&to->waiters, end, waiter_link);
	__atomic_store_n(&to->waiter_count, to->waiter_count + 1, __ATOMIC_RELAXED);
}

/* Out of the line; the other VM is held. */
static void flow_unwait(struct flow_end *end)
{
	struct vm *to = flow_other(end)->vm;

	if (!end->waits)
		return;
	end->waits = false;
	TAILQ_REMOVE(&to->waiters, end, waiter_link);
	__atomic_store_n(&to->waiter_count, to->waiter_count - 1, __ATOMIC_RELAXED);
}

/* Whether nothing but the other guest's credit keeps @end's data back. */
static bool flow_lacks_credit(const struct flow_end *end)
{
	return (end->kept_count || end->remainder.used) && !(end->owed & ~FLOW_OWES_LAST) &&
	       flow_credit(end) == 0;
}

/* @end has something that finds no place: it waits for buffers or for credit; the other VM is
 * held. @starved: its data found no credit. */
static void flow_block(struct vm *vm, struct flow_end *end, bool starved)
{
	if (!end->is_blocked) {
		end->is_blocked = true;
		end->moved_ns = vm_clock_ns();
		TAILQ_INSERT_TAIL(&vm->blocked, end, blocked_link);
		vm->blocked_count++;
		counter_add(&vm->counters.stalls, 1);
		counter_add(&end->counters.stalls, 1);
	}
	__atomic_store_n(&end->awaits_credit, starved, __ATOMIC_SEQ_CST);
	if (!starved)
		flow_wait(end);
	else
		flow_unwait(end);
	if (starved && flow_credit(end)) /* it came meanwhile, and the other worker saw no need */
		__atomic_store_n(&vm->retries, true, __ATOMIC_RELEASE);
	flow_look_for_buffers(flow_other(end)->vm);
}

static void flow_unblock(struct vm *vm, struct flow_end *end)
{
	if (!end->is_blocked)
		return;
	flow_unwait(end);
	__atomic_store_n(&end->awaits_credit, false, __ATOMIC_RELAXED);
	end->is_blocked = false;
	TAILQ_REMOVE(&vm->blocked, end, blocked_link);
	vm->blocked_count--;
}

/* Whether @end has its share of the transmit queue's chains: one that waits for buffers takes half,
 * for credit a quarter; all together take three quarters, those for credit half. */
static bool flow_is_full(struct vm *vm, const struct flow_end *end)
{
	uint32_t size = flow_transmit_queue(vm)->size;

	if (size > vm->kept_size)
		size = vm->kept_size;
	if (!end->waits)
		return end->kept_count >= size / 4 || vm->kept_total >= size / 2;
	return end->kept_count >= size - size / 2 || vm->kept_total >= size - size / 4;
}

/* Copies @bytes bytes of the source behind what @end has copied before; whether there was room. */
static bool flow_store(struct vm *vm, struct flow_end *end, struct delivery_source *source,
		       uint32_t bytes, uint32_t flags)
{
	struct flow_record record = { bytes, flags };
	size_t extra = end->flow->type == VIRTIO_VSOCK_TYPE_SEQPACKET ? sizeof(record) : 0;
	unsigned char *to;

	if (bytes + extra > VM_REMAINDERS_BYTES_MAX - vm->remainders_bytes)
		return false;
	to = buffer_reserve(&end->remainder, bytes + extra);
	if (!to)
		return false;
	memcpy(to, &record, extra);
	to += extra;
	end->remainder.used += bytes + extra;
	vm->remainders_bytes += bytes + extra;
	vm->remainder_bytes_ever += bytes;
	while (bytes) {
		size_t part = source->vectors->iov_len - source->offset;

		if (part > bytes)
			part = bytes;
		memcpy(to, (const unsigned char *)source->vectors->iov_base + source->offset, part);
		to += part;
		bytes -= (uint32_t)part;
		source->vectors++;
		source->offset = 0;
	}
	return true;
}

/* A source behind the header and @done bytes of a kept chain; false when it is not what it was. */
static bool flow_reopen(struct vm *vm, uint16_t head, struct delivery_source *source)
{
	const struct flow_kept *kept = &vm->kept[head];
	struct vhost_chain chain;
	unsigned int skipped;

	if (vhost_queue_walk(flow_transmit_queue(vm), head, &chain, vm->worker->vectors) < 0 ||
	    chain.readable_bytes < sizeof(struct virtio_vsock_header) + kept->bytes)
		return false;
	skipped = vhost_iovec_skip(chain.vectors, chain.readable_count,
				   sizeof(struct virtio_vsock_header) + kept->done);
	*source = (struct delivery_source){ .vectors = chain.vectors + skipped,
					    .count = chain.readable_count - skipped };
	return true;
}

/* The first kept chain goes back to the guest. */
static void flow_return_first(struct vm *vm, struct flow_end *end)
{
	struct vhost_queue *queue = flow_transmit_queue(vm);
	uint16_t head = end->kept_first;

	end->kept_first = vm->kept[head].next;
	end->kept_count--;
	vm->kept_total--;
	vm->kept[head].used = false;
	vm->untold_bytes += vm->kept[head].bytes;
	if (queue->ready && head < queue->size)
		vhost_queue_push(queue, head, 0);
}

/* Keeps the chain, or copies what is left of it when the flow has its share of them. */
static enum flow_verdict flow_keep(struct vm *vm, struct flow_end *end, uint16_t head,
				   const struct flow_kept *kept, struct delivery_source *source)
{
	if (end->remainder.used || flow_is_full(vm, end) || head >= vm->kept_size) {
		if (!flow_store(vm, end, source, kept->bytes - kept->done, kept->flags))
			flow_finish(end->flow, true, true);
		return FLOW_TAKEN;
	}
	if (vm->kept[head].used) { /* it is the flow's yet: the driver may not offer it again */
		vhost_queue_break(flow_transmit_queue(vm));
		return FLOW_KEPT;
	}
	vm->kept[head] = *kept;
	if (end->kept_count++)
		vm->kept[end->kept_last].next = head;
	else
		end->kept_first = head;
	end->kept_last = head;
	vm->kept_total++;
	return FLOW_KEPT;
}

/* Payload to the other end, which is held; how much of it found a place. */
static uint32_t flow_deliver(struct vm *vm, struct flow_end *end, struct delivery_source *source,
			     uint32_t bytes, uint32_t flags)
{
	uint32_t credit = flow_credit(end), taken;
	struct virtio_vsock_header header =
		flow_header(end, VIRTIO_VSOCK_OP_RW, bytes <= credit ? flags : 0);

	if (credit == 0)
		return 0;
	taken = delivery_data(&vm->worker->delivery, end, &header, source,
			      bytes <= credit ? bytes : credit);
	end->delivered += taken;
	if (taken) {
		flow_told(flow_other(end), &header);
		flow_release_credit(vm, end);
	}
	return taken;
}

enum flow_verdict flow_data(struct vm *vm, struct flow_end *end,
			    const struct virtio_vsock_header *header,
			    struct delivery_source *source, uint16_t head)
{
	struct vm *to = flow_other(end)->vm;
	struct flow_kept kept = { .bytes = header->len, .flags = 0, .used = true };

	if (header->len == 0)
		return FLOW_TAKEN;
	if (end->flow->type == VIRTIO_VSOCK_TYPE_SEQPACKET)
		kept.flags = header->flags & VIRTIO_VSOCK_SEQ_FLAGS;
	if (end->waits && flow_is_full(vm, end) && vm_clock_ns() - end->moved_ns < FLOW_HOLD_NS) {
		vm->held_until_ns = end->moved_ns + FLOW_HOLD_NS;
		return FLOW_HELD;
	}
	__atomic_store_n(&end->sent, end->sent + header->len, __ATOMIC_RELEASE);
	flow_run_ahead(vm, end, header->len);
	counter_add(&end->counters.sent.packets, 1);
	counter_add(&end->counters.sent.bytes, header->len);
	if (!end->is_blocked) {
		delivery_begin(&vm->worker->delivery, to);
		if (TAILQ_EMPTY(&to->waiters))
			kept.done = flow_deliver(vm, end, source, kept.bytes, kept.flags);
		if (kept.done == kept.bytes)
			return FLOW_TAKEN;
		flow_block(vm, end, flow_credit(end) == 0);
	}
	return flow_keep(vm, end, head, &kept, source);
}

/* The packets in @which that @end owes; whether there were buffers for all of them. */
static bool flow_push_notes(struct vm *vm, struct flow_end *end, unsigned int which)
{
	static const struct {
		enum flow_owed owed;
		enum virtio_vsock_op op;
	} order[] = {
		{ FLOW_OWES_REQUEST, VIRTIO_VSOCK_OP_REQUEST },
		{ FLOW_OWES_RESPONSE, VIRTIO_VSOCK_OP_RESPONSE },
		{ FLOW_OWES_CREDIT, VIRTIO_VSOCK_OP_CREDIT_UPDATE },
		{ FLOW_OWES_QUESTION, VIRTIO_VSOCK_OP_CREDIT_REQUEST },
		{ FLOW_OWES_SHUTDOWN, VIRTIO_VSOCK_OP_SHUTDOWN },
	};

	for (unsigned int i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		struct virtio_vsock_header header;

		if (!(end->owed & which & order[i].owed))
			continue;
		header = flow_header(end, order[i].op,
				     order[i].owed == FLOW_OWES_SHUTDOWN ? end->shut : 0);
		if (!delivery_put(&vm->worker->delivery, &header))
			return false;
		flow_told(flow_other(end), &header);
		end->owed &= ~order[i].owed;
	}
	return true;
}

/* Kept chains, up to *@budget bytes; whether none is left. */
static bool flow_push_kept(struct vm *vm, struct flow_end *end, uint32_t *budget)
{
	while (end->kept_count) {
		uint16_t head = end->kept_first;
		struct flow_kept *kept = &vm->kept[head];
		uint32_t bytes = kept->bytes - kept->done, taken;
		struct delivery_source source;

		if (*budget == 0 || flow_credit(end) == 0)
			return false;
		if (!flow_reopen(vm, head, &source)) {
			flow_finish(end->flow, true, true);
			return true;
		}
		if (bytes > *budget)
			bytes = *budget;
		taken = flow_deliver(vm, end, &source, bytes,
				     kept->done + bytes == kept->bytes ? kept->flags : 0);
		kept->done += taken;
		*budget -= taken;
		if (taken < bytes)
			return false;
		if (kept->done == kept->bytes)
			flow_return_first(vm, end);
	}
	return true;
}

/* Drops @bytes bytes of what was copied. What is out already is cut off in large pieces only. */
static void flow_shorten(struct vm *vm, struct flow_end *end, size_t bytes)
{
	end->remainder_done += bytes;
	if (end->remainder_done == end->remainder.used) {
		vm->remainders_bytes -= end->remainder.used;
		buffer_free(&end->remainder);
		end->remainder_done = 0;
	} else if (end->remainder_done >= FLOW_CUT_BYTES) {
		vm->remainders_bytes -= end->remainder_done;
		buffer_consume(&end->remainder, end->remainder_done);
		end->remainder_done = 0;
	}
}

/* What was copied, up to *@budget bytes; whether none is left. */
static bool flow_push_remainder(struct vm *vm, struct flow_end *end, uint32_t *budget)
{
	size_t extra = 0;

	if (end->flow->type == VIRTIO_VSOCK_TYPE_SEQPACKET)
		extra = sizeof(struct flow_record);
	while (end->remainder.used) {
		unsigned char *from = end->remainder.data + end->remainder_done;
		struct flow_record record = {
			.bytes = (uint32_t)(end->remainder.used - end->remainder_done),
		};
		struct iovec vector = { .iov_base = from + extra };
		struct delivery_source source = { .vectors = &vector, .count = 1 };
		uint32_t bytes, taken;

		if (*budget == 0 || flow_credit(end) == 0)
			return false;
		memcpy(&record, from, extra);
		vector.iov_len = record.bytes;
		bytes = record.bytes > *budget ? *budget : record.bytes;
		taken = flow_deliver(vm, end, &source, bytes,
				     bytes == record.bytes ? record.flags : 0);
		*budget -= taken;
		if (extra && taken < record.bytes) { /* the record moves up to what is left of it */
			record.bytes -= taken;
			memcpy(from + taken, &record, sizeof(record));
			flow_shorten(vm, end, taken);
		} else {
			flow_shorten(vm, end, extra + taken);
		}
		if (taken < bytes)
			return false;
	}
	return true;
}

/* What @end has for the other end, which is held, in order; whether nothing is left. */
static bool flow_push(struct vm *vm, struct flow_end *end)
{
	uint32_t budget = FLOW_TURN_BYTES;

	if (__atomic_load_n(&end->flow->state, __ATOMIC_ACQUIRE) == FLOW_OVER)
		return true; /* flow_drop() follows */
	if (!flow_push_notes(vm, end, ~FLOW_OWES_LAST) || !flow_push_kept(vm, end, &budget) ||
	    !flow_push_remainder(vm, end, &budget) || !flow_push_notes(vm, end, FLOW_OWES_LAST))
		return false;
	if (end->owed & FLOW_OWES_RESET)
		flow_finish(end->flow, end != &end->flow->ends[0], end == &end->flow->ends[0]);
	return true;
}

void flow_owe(struct vm *vm, struct flow_end *end, enum flow_owed packet)
{
	struct vm *to = flow_other(end)->vm;

	end->owed |= packet;
	if (end->waits || (end->is_blocked && packet & FLOW_OWES_LAST))
		return;
	delivery_begin(&vm->worker->delivery, to);
	if (TAILQ_EMPTY(&to->waiters) && flow_push(vm, end))
		flow_unblock(vm, end);
	else
		flow_block(vm, end, flow_lacks_credit(end));
}

/* @vm's ends that are first in @to's line, each for one turn at a time; @to is held. */
static void flow_take_turns(struct vm *vm, struct vm *to)
{
	struct flow_end *end;

	while ((end = TAILQ_FIRST(&to->waiters)) && end->vm == vm &&
	       delivery_has_room(&vm->worker->delivery, end)) {
		uint32_t kept = end->kept_count;

		if (flow_push(vm, end)) {
			flow_unblock(vm, end);
		} else if (flow_lacks_credit(end)) {
			flow_block(vm, end, true);
		} else {
			TAILQ_REMOVE(&to->waiters, end, waiter_link);
			TAILQ_INSERT_TAIL(&to->waiters, end, waiter_link);
		}
		if (end->kept_count != kept)
			vm->held_until_ns = 0;
		end->moved_ns = vm_clock_ns();
	}
	flow_look_for_buffers(to);
}

void flow_resume(struct vm *vm)
{
	struct vm *to, *before = NULL;

	for (uint32_t left = vm->blocked_count; left && vm->blocked_count; left--) {
		struct flow_end *end = TAILQ_FIRST(&vm->blocked);

		TAILQ_REMOVE(&vm->blocked, end, blocked_link);
		TAILQ_INSERT_TAIL(&vm->blocked, end, blocked_link);
		to = flow_other(end)->vm;
		if (to == before && end->waits)
			continue;
		delivery_begin(&vm->worker->delivery, to);
		if (!end->waits && flow_credit(end)) {
			__atomic_store_n(&end->awaits_credit, false, __ATOMIC_RELAXED);
			flow_wait(end);
		} else if (!end->waits) {
			flow_block(vm, end, true);
		}
		flow_take_turns(vm, to);
		before = to;
	}
	delivery_end(&vm->worker->delivery);
	transmit_tell(vm);
}

bool flow_has_waiters(const struct vm *vm)
{
	return __atomic_load_n(&vm->waiter_count, __ATOMIC_RELAXED) &&
	       !__atomic_load_n(&vm->waiters_poked, __ATOMIC_RELAXED) &&
	       vhost_queue_peek(&vm->device.queues[VIRTIO_VSOCK_QUEUE_RECEIVE]);
}

void flow_wake_waiters(struct vm *vm)
{
	if (!flow_has_waiters(vm))
		return;
	vm_lock(vm);
	if (vhost_queue_has_work(flow_receive_queue(vm)))
		flow_poke_first(vm);
	vm_unlock(vm);
}

void flow_drop(struct vm *vm, struct flow_end *end)
{
	if (end->is_blocked) {
		struct vm *to = flow_other(end)->vm;

		delivery_begin(&vm->worker->delivery, to);
		flow_unblock(vm, end);
		flow_look_for_buffers(to); /* it may have been poked and others wait behind it */
		delivery_end(&vm->worker->delivery);
	}
	while (end->kept_count)
		flow_return_first(vm, end);
	transmit_tell(vm);
	flow_stay(vm, end);
	vm->held_until_ns = 0;
	vm->remainders_bytes -= end->remainder.used;
	buffer_free(&end->remainder);
	end->remainder_done = 0;
}

void flow_spill(struct vm *vm)
{
	struct flow_end *end;

	TAILQ_FOREACH(end, &vm->blocked, blocked_link)
	{
		while (end->kept_count) {
			struct flow_kept *kept = &vm->kept[end->kept_first];
			struct delivery_source source;

			if (!flow_reopen(vm, end->kept_first, &source) ||
			    !flow_store(vm, end, &source, kept->bytes - kept->done, kept->flags)) {
				flow_finish(end->flow, true, true);
				break;
			}
			flow_return_first(vm, end);
		}
	}
}

int flow_resize(struct vm *vm, uint32_t size)
{
	struct flow_kept *kept;

	if (size <= vm->kept_size)
		return 0;
	kept = realloc(vm->kept, size * sizeof(*kept));
	if (!kept)
		return -ENOMEM;
	memset(kept + vm->kept_size, 0, (size - vm->kept_size) * sizeof(*kept));
	vm->kept = kept;
	vm->kept_size = size;
	return 0;
}
