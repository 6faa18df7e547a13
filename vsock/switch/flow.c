/* SPDX-License-Identifier: Apache-2.0 */
/* Flows between guests: their tables, how they begin and how they end; see flow.h. */
#include "vsock/switch/flow.h"

#include <sched.h>
#include <stdlib.h>

#include "lib/base/log.h"
#include "vsock/switch/flow_data.h"
#include "vsock/switch/policy.h"
#include "vsock/switch/vm.h"

static struct flow_end **flow_bucket(struct vm *vm, uint32_t port, uint64_t peer_cid,
				     uint32_t peer_port)
{
	uint32_t hash = (port * 0x9e3779b1u) ^ (peer_port * 0x85ebca77u) ^
			((uint32_t)peer_cid * 0xc2b2ae3du);

	return &vm->flows[(hash >> 16) % VM_PORT_BUCKETS];
}

/* The end of @vm; valid for its worker beyond the lock, as only that lets go of it. */
static struct flow_end *flow_find(struct vm *vm, uint32_t port, uint64_t peer_cid,
				  uint32_t peer_port)
{
	struct flow_end *end;

	pthread_mutex_lock(&vm->flows_lock);
	end = *flow_bucket(vm, port, peer_cid, peer_port);
	while (end && (end->port != port || flow_other(end)->port != peer_port ||
		       flow_other(end)->vm->own.cid != peer_cid))
		end = end->bucket_next;
	pthread_mutex_unlock(&vm->flows_lock);
	return end;
}

/* Enters @end into its VM's table; false when the VM is down or has too many. */
static bool flow_enter(struct flow_end *end)
{
	struct vm *vm = end->vm, *other = flow_other(end)->vm;
	struct flow_end **bucket =
		flow_bucket(vm, end->port, other->own.cid, flow_other(end)->port);
	bool fits;

	pthread_mutex_lock(&vm->flows_lock);
	fits = vm->door_is_open && vm->connection_count + vm->flow_count < vm->connections_max &&
	       (end->flow->type == VIRTIO_VSOCK_TYPE_STREAM || vm->has_seqpacket);
	if (fits) {
		end->bucket_next = *bucket;
		*bucket = end;
		vm->flow_count++;
		__atomic_add_fetch(&vm->ends_there, 1, __ATOMIC_RELAXED);
	}
	pthread_mutex_unlock(&vm->flows_lock);
	return fits;
}

static void flow_leave_table(struct flow_end *end)
{
	struct vm *vm = end->vm, *other = flow_other(end)->vm;
	struct flow_end **at = flow_bucket(vm, end->port, other->own.cid, flow_other(end)->port);

	pthread_mutex_lock(&vm->flows_lock);
	while (*at && *at != end)
		at = &(*at)->bucket_next;
	if (*at) {
		*at = end->bucket_next;
		vm->flow_count--;
	}
	pthread_mutex_unlock(&vm->flows_lock);
}

/* The poke is sent under the lock: whoever reads the mail may then be sure that it was. */
static void flow_mail(struct flow_end *end)
{
	struct vm *vm = end->vm;

	pthread_mutex_lock(&vm->mail_lock);
	TAILQ_INSERT_TAIL(&vm->mail, end, mail_link);
	__atomic_store_n(&vm->has_mail, true, __ATOMIC_RELEASE);
	worker_poke(vm->worker);
	pthread_mutex_unlock(&vm->mail_lock);
}

void flow_finish(struct flow *flow, bool tell_asker, bool tell_other)
{
	struct flow_end *ends = flow->ends;

	if (__atomic_exchange_n(&flow->state, FLOW_OVER, __ATOMIC_ACQ_REL) == FLOW_OVER)
		return;
	ends[0].told = tell_asker;
	ends[1].told = tell_other;
	flow_leave_table(&ends[0]);
	flow_leave_table(&ends[1]);
	flow_mail(&ends[0]); /* the flow stays: its other end has no mail yet */
	flow_mail(&ends[1]);
}

/* Finishes the flow for @end's sake: its guest is told if @own, the other if @other. */
static void flow_finish_from(struct flow_end *end, bool own, bool other)
{
	bool is_asker = end == &end->flow->ends[0];

	flow_finish(end->flow, is_asker ? own : other, is_asker ? other : own);
}

static void flow_put(struct flow_end *end)
{
	struct flow *flow = end->flow;
	struct vm *vms[2] = { flow->ends[0].vm, flow->ends[1].vm };

	__atomic_sub_fetch(&end->vm->ends_there, 1, __ATOMIC_RELEASE);
	if (__atomic_sub_fetch(&flow->ends_there, 1, __ATOMIC_ACQ_REL))
		return;
	free(flow);
	vm_put(vms[0]);
	vm_put(vms[1]);
}

static bool flow_is_allowed(struct vm *vm, struct vm *peer, uint32_t port)
{
	bool allowed;

	pthread_rwlock_rdlock(&vm->sw->rules_lock);
	allowed = policy_allows(vm->sw->settings, vm->own.cid, peer->own.cid, port);
	pthread_rwlock_unlock(&vm->sw->rules_lock);
	return allowed;
}

/* A flow in both tables, or NULL. The references to both VMs are the flow's from then on. */
static struct flow *flow_create(struct vm *vm, struct vm *peer,
				const struct virtio_vsock_header *header)
{
	struct flow *flow = calloc(1, sizeof(*flow));

	if (!flow)
		return NULL;
	flow->type = header->type;
	flow->ends_there = 2;
	flow->ends[0].vm = vm;
	flow->ends[0].port = header->src_port;
	flow->ends[1].vm = peer;
	flow->ends[1].port = header->dst_port;
	for (int i = 0; i < 2; i++) {
		flow->ends[i].flow = flow;
		buffer_init(&flow->ends[i].remainder, VM_REMAINDERS_BYTES_MAX);
	}
	if (!flow_enter(&flow->ends[0])) {
		free(flow);
		return NULL;
	}
	if (!flow_enter(&flow->ends[1])) {
		flow_leave_table(&flow->ends[0]);
		__atomic_sub_fetch(&vm->ends_there, 1, __ATOMIC_RELEASE);
		free(flow);
		return NULL;
	}
	return flow;
}

/* REQUEST of a guest: to whom, whether it may, and on its way. */
static void flow_request(struct vm *vm, const struct virtio_vsock_header *header)
{
	struct vm *peer;
	struct flow *flow = NULL;

	delivery_end(&vm->worker->delivery); /* its lock comes after those needed here */
	counter_add(&vm->counters.opened, 1);
	peer = switch_vm_get(vm->sw, header->dst_cid);
	if (peer && peer != vm && flow_is_allowed(vm, peer, header->dst_port))
		flow = flow_create(vm, peer, header);
	if (!flow) {
		log_debug("VM '%s': port %u of cid %llu refused", vm->own.name, header->dst_port,
			  (unsigned long long)header->dst_cid);
		if (peer)
			vm_put(peer);
		counter_add(&vm->counters.refused, 1);
		receive_reset(vm, header);
		return;
	}
	vm_get(vm);
	flow->deadline_ns = vm_clock_ns() + FLOW_PATIENCE_NS;
	flow->is_timed = true;
	TAILQ_INSERT_TAIL(&vm->timed_flows, flow, timed_link);
	flow_heard(vm, &flow->ends[0], header);
	flow_owe(vm, &flow->ends[0], FLOW_OWES_REQUEST);
}

/* The asked guest accepts. */
static void flow_response(struct vm *vm, struct flow_end *end)
{
	enum flow_state requested = FLOW_REQUESTED;

	if (end == &end->flow->ends[1] &&
	    __atomic_compare_exchange_n(&end->flow->state, &requested, FLOW_OPEN, false,
					__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		flow_owe(vm, end, FLOW_OWES_RESPONSE);
	else
		flow_finish_from(end, true, true);
}

/* The guest is done with the flow; what it sent before goes out first, if it waits. */
static void flow_reset(struct vm *vm, struct flow_end *end)
{
	if (end->is_blocked)
		flow_owe(vm, end, FLOW_OWES_RESET);
	else
		flow_finish_from(end, false, true);
}

/* A packet of a flow that exists. */
static enum flow_verdict flow_serve(struct vm *vm, struct flow_end *end,
				    const struct virtio_vsock_header *header,
				    struct delivery_source *source, uint16_t head)
{
	enum flow_state state = __atomic_load_n(&end->flow->state, __ATOMIC_ACQUIRE);

	flow_heard(vm, end, header);
	switch (header->op) {
	case VIRTIO_VSOCK_OP_RW:
		if (state == FLOW_OPEN && flow_may_send(end, header->len))
			return flow_data(vm, end, header, source, head);
		flow_finish_from(end, true, true);
		break;
	case VIRTIO_VSOCK_OP_RESPONSE:
		flow_response(vm, end);
		break;
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		end->shut |= header->flags & VIRTIO_VSOCK_SHUTDOWN_BOTH;
		flow_owe(vm, end, FLOW_OWES_SHUTDOWN);
		break;
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
		if (state == FLOW_OPEN)
			flow_pass_credit(vm, end);
		break;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
		if (state == FLOW_OPEN) {
			__atomic_store_n(&end->asks, true, __ATOMIC_RELAXED);
			flow_owe(vm, end, FLOW_OWES_QUESTION);
		}
		break;
	default:
		flow_finish_from(end, true, true);
		break;
	}
	return FLOW_TAKEN;
}

enum flow_verdict flow_packet(struct vm *vm, const struct virtio_vsock_header *header,
			      struct delivery_source *source, uint16_t head)
{
	bool known = header->type == VIRTIO_VSOCK_TYPE_STREAM ||
		     header->type == VIRTIO_VSOCK_TYPE_SEQPACKET;
	struct flow_end *end = NULL;

	if (known)
		end = flow_find(vm, header->src_port, header->dst_cid, header->dst_port);
	if (end && end->flow->type != header->type)
		end = NULL;
	if (end && header->op == VIRTIO_VSOCK_OP_REQUEST) {
		flow_finish_from(end, false, true); /* its guest forgot it */
		end = NULL;
	}
	if (header->op == VIRTIO_VSOCK_OP_RST) {
		if (end)
			flow_reset(vm, end);
	} else if (end) {
		return flow_serve(vm, end, header, source, head);
	} else if (known && header->op == VIRTIO_VSOCK_OP_REQUEST) {
		flow_request(vm, header);
	} else {
		receive_reset(vm, header);
	}
	return FLOW_TAKEN;
}

/* Lets go of an end of a flow that is over; its reset may be owed yet. */
static void flow_leave(struct vm *vm, struct flow_end *end)
{
	flow_drop(vm, end);
	if (end == &end->flow->ends[0] && end->flow->is_timed) {
		TAILQ_REMOVE(&vm->timed_flows, end->flow, timed_link);
		end->flow->is_timed = false;
	}
	if (end->told && vm->door_is_open)
		TAILQ_INSERT_TAIL(&vm->farewells, end, mail_link);
	else
		flow_put(end);
}

void flow_read_mail(struct vm *vm)
{
	struct flow_end *end;

	while (__atomic_load_n(&vm->has_mail, __ATOMIC_ACQUIRE)) {
		pthread_mutex_lock(&vm->mail_lock);
		end = TAILQ_FIRST(&vm->mail);
		if (end)
			TAILQ_REMOVE(&vm->mail, end, mail_link);
		if (TAILQ_EMPTY(&vm->mail))
			__atomic_store_n(&vm->has_mail, false, __ATOMIC_RELEASE);
		pthread_mutex_unlock(&vm->mail_lock);
		if (end)
			flow_leave(vm, end);
	}
}

bool flow_put_farewell(struct vm *vm)
{
	struct flow_end *end = TAILQ_FIRST(&vm->farewells);
	struct virtio_vsock_header header = {
		.src_cid = flow_other(end)->vm->own.cid,
		.dst_cid = vm->own.cid,
		.src_port = flow_other(end)->port,
		.dst_port = end->port,
		.type = end->flow->type,
		.op = VIRTIO_VSOCK_OP_RST,
	};

	if (!receive_put(vm, &header))
		return false;
	TAILQ_REMOVE(&vm->farewells, end, mail_link);
	flow_put(end);
	return true;
}

/* Any flow of the VM, with the end's own worker calling. */
static struct flow_end *flow_first(struct vm *vm)
{
	struct flow_end *end = NULL;

	pthread_mutex_lock(&vm->flows_lock);
	for (unsigned int i = 0; i < VM_PORT_BUCKETS && vm->flow_count && !end; i++)
		end = vm->flows[i];
	pthread_mutex_unlock(&vm->flows_lock);
	return end;
}

void flow_end_all(struct vm *vm, bool told)
{
	struct flow_end *end;

	delivery_end(&vm->worker->delivery);
	while ((end = flow_first(vm)))
		flow_finish_from(end, told, true);
	flow_read_mail(vm);
	if (told)
		return;
	while ((end = TAILQ_FIRST(&vm->farewells))) {
		TAILQ_REMOVE(&vm->farewells, end, mail_link);
		flow_put(end);
	}
}

/* A flow that @vm's guest asked for and that the rules do not allow; NULL without one. */
static struct flow_end *flow_find_denied(struct vm *vm)
{
	struct flow_end *found = NULL;

	pthread_rwlock_rdlock(&vm->sw->rules_lock);
	pthread_mutex_lock(&vm->flows_lock);
	for (unsigned int i = 0; i < VM_PORT_BUCKETS && !found; i++)
		for (struct flow_end *end = vm->flows[i]; end && !found; end = end->bucket_next)
			if (end == &end->flow->ends[0] &&
			    !policy_allows(vm->sw->settings, vm->own.cid,
					   flow_other(end)->vm->own.cid, flow_other(end)->port))
				found = end;
	pthread_mutex_unlock(&vm->flows_lock);
	pthread_rwlock_unlock(&vm->sw->rules_lock);
	return found;
}

void flow_end_denied(struct vm *vm)
{
	struct flow_end *end;

	delivery_end(&vm->worker->delivery); /* its lock comes after the rules' */
	while ((end = flow_find_denied(vm))) {
		log_info("VM '%s': a connection to port %u of cid %llu is not allowed any more",
			 vm->own.name, flow_other(end)->port,
			 (unsigned long long)flow_other(end)->vm->own.cid);
		flow_finish(end->flow, true, true);
	}
}

void flow_wait_for_ends(struct vm *vm)
{
	/* Another worker that finishes a flow right now has its mail under way. */
	while (__atomic_load_n(&vm->ends_there, __ATOMIC_ACQUIRE)) {
		flow_end_all(vm, false);
		sched_yield();
	}
}

int flow_expire(struct vm *vm)
{
	struct flow *flow;
	uint64_t now_ns;

	while ((flow = TAILQ_FIRST(&vm->timed_flows))) {
		if (__atomic_load_n(&flow->state, __ATOMIC_ACQUIRE) == FLOW_REQUESTED) {
			now_ns = vm_clock_ns();
			if (now_ns < flow->deadline_ns)
				return (int)((flow->deadline_ns - now_ns) / 1000000) + 1;
			flow_finish(flow, true, true);
		}
		TAILQ_REMOVE(&vm->timed_flows, flow, timed_link);
		flow->is_timed = false;
	}
	return -1;
}

void flow_open_door(struct vm *vm, bool seqpacket)
{
	pthread_mutex_lock(&vm->flows_lock);
	vm->door_is_open = true;
	vm->has_seqpacket = seqpacket;
	pthread_mutex_unlock(&vm->flows_lock);
}

void flow_close_door(struct vm *vm)
{
	pthread_mutex_lock(&vm->flows_lock);
	vm->door_is_open = false;
	pthread_mutex_unlock(&vm->flows_lock);
}

void flow_visit(const struct flow_end *end,
		void (*visit)(const struct vm_flow *flow, void *context), void *context)
{
	static const char *const names[] = {
		[FLOW_REQUESTED] = "requested",
		[FLOW_OPEN] = "open",
		[FLOW_OVER] = "over",
	};
	const struct flow_end *other = flow_other(end);
	const struct vm_flow flow = {
		.peer_cid = other->vm->own.cid,
		.port = end->port,
		.peer_port = other->port,
		.state = names[__atomic_load_n(&end->flow->state, __ATOMIC_RELAXED)],
		.sent.bytes = counter_read(&end->counters.sent.bytes),
		.sent.packets = counter_read(&end->counters.sent.packets),
		.received.bytes = counter_read(&other->counters.sent.bytes),
		.received.packets = counter_read(&other->counters.sent.packets),
		.stalls = counter_read(&end->counters.stalls),
	};

	visit(&flow, context);
}
