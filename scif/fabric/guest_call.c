/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chains of a guest's request queues as calls, and calls that are kept.
 *
 * A chain's header is copied once. The payload's vectors point into the guest's memory; a call
 * that waits, or whose memory outlives it (windows, V calls), holds the mappings they lie in.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "scif/fabric/device.h"
#include "scif/fabric/guest.h"

/* Holds what the payload lies in; 0 or -errno. */
static int guest_hold_mappings(struct guest *guest, struct call *call)
{
	const struct iovec *lists[2] = { call->in, call->out };
	const unsigned int counts[2] = { call->in_count, call->out_count };
	struct vhost_mapping *last = NULL;

	for (unsigned int list = 0; list < 2; list++) {
		for (unsigned int i = 0; i < counts[list]; i++) {
			const unsigned char *start = lists[list][i].iov_base;
			int status;

			if (last && start >= last->base && start < last->base + last->bytes)
				continue;
			last = vhost_memory_find_mapping(&guest->device.memory, start);
			status = mappings_add(&call->mappings, &call->mapping_count, last);
			if (status < 0)
				return status;
		}
	}
	return 0;
}

static void guest_answer(struct guest *guest, struct call *call)
{
	struct vhost_queue *queue = vhost_device_queue(&guest->device, call->queue);
	struct scif_virtio_reply reply = {
		.status = (__le32)call->status,
		.flags = call->flags,
		.value = { call->value[0], call->value[1], call->value[2] },
	};

	vhost_iovec_copy_out(call->reply, call->reply_count, &reply, sizeof(reply));
	vhost_queue_push(queue, call->head, (uint32_t)(sizeof(reply) + call->written));
}

static void guest_free(struct call *call)
{
	mappings_put(call->mappings, call->mapping_count);
	call->mappings = NULL;
	call->mapping_count = 0;
	if (!call->waits)
		return;
	if (call->endpoint)
		endpoint_put(call->endpoint);
	free(call->vectors);
	free(call);
}

void guest_finish(struct guest *guest, struct call *call)
{
	struct vhost_queue *queue = vhost_device_queue(&guest->device, call->queue);

	if (call->waits) {
		TAILQ_REMOVE(&guest->calls, call, all_link);
		if (call->endpoint)
			TAILQ_REMOVE(&call->endpoint->waiting, call, link);
	}
	if (!queue->ready) {
		/* Only a call that is kept can meet this: the queue rests. */
		TAILQ_INSERT_TAIL(&guest->finished, call, all_link);
		return;
	}
	guest_answer(guest, call);
	guest_free(call);
}

void guest_flush(struct guest *guest)
{
	struct call *call, *next;

	for (call = TAILQ_FIRST(&guest->finished); call; call = next) {
		next = TAILQ_NEXT(call, all_link);
		if (!vhost_device_queue(&guest->device, call->queue)->ready)
			continue;
		TAILQ_REMOVE(&guest->finished, call, all_link);
		guest_answer(guest, call);
		guest_free(call);
	}
}

static void guest_watch(struct guest *guest, struct endpoint *endpoint)
{
	unsigned int count = 0;
	struct endpoint *other;

	if (endpoint->watched || !endpoint->rx || !endpoint->rx->shared->peer_is_process)
		return;
	endpoint->watched = true;
	endpoint->seen_head = endpoint->seen_tail = UINT32_MAX;
	TAILQ_INSERT_HEAD(&guest->watch, endpoint, watch_link);
	TAILQ_FOREACH(other, &guest->watch, watch_link)
	{
		if (count++ < GUEST_WATCHED)
			continue;
		__atomic_store_n(&other->rx->shared->waiting, 1, __ATOMIC_SEQ_CST);
		break;
	}
}

static void guest_unwatch(struct guest *guest, struct endpoint *endpoint)
{
	if (!endpoint->watched)
		return;
	endpoint->watched = false;
	TAILQ_REMOVE(&guest->watch, endpoint, watch_link);
}

bool guest_watch_changed(const struct endpoint *endpoint)
{
	return __atomic_load_n(&endpoint->rx->shared->head, __ATOMIC_ACQUIRE) !=
		       endpoint->seen_head ||
	       __atomic_load_n(&endpoint->tx->shared->tail, __ATOMIC_ACQUIRE) !=
		       endpoint->seen_tail;
}

/* Notes what the rings say, for guest_watch_changed(), before they are acted upon. */
static void guest_watch_note(struct endpoint *endpoint)
{
	if (!endpoint->watched)
		return;
	endpoint->seen_head = __atomic_load_n(&endpoint->rx->shared->head, __ATOMIC_ACQUIRE);
	endpoint->seen_tail = __atomic_load_n(&endpoint->tx->shared->tail, __ATOMIC_ACQUIRE);
}

void guest_watch_check(struct guest *guest)
{
	struct endpoint *endpoint, *next;
	unsigned int count = 0;

	for (endpoint = TAILQ_FIRST(&guest->watch); endpoint; endpoint = next) {
		next = TAILQ_NEXT(endpoint, watch_link);
		/* A process that woke us took the wish away. */
		if (count++ >= GUEST_WATCHED)
			__atomic_store_n(&endpoint->rx->shared->waiting, 1, __ATOMIC_SEQ_CST);
		if (guest_watch_changed(endpoint))
			guest_try(guest, endpoint);
	}
}

static bool guest_poll_try(struct guest *guest, struct endpoint *endpoint)
{
	uint32_t mask = endpoint->armed ? endpoint_poll(endpoint) & endpoint->armed : 0;

	if (mask)
		guest_event_poll(guest, endpoint, mask);
	else if (endpoint->armed && (endpoint->device || endpoint->hears))
		device_want(endpoint, endpoint->armed);
	return mask != 0;
}

void guest_try(struct guest *guest, struct endpoint *endpoint)
{
	struct call *call, *next;
	bool wants;

	if (guest->resting)
		return; /* all are tried when it goes on */
	endpoint_refresh(endpoint);
	guest_watch_note(endpoint);
	for (call = TAILQ_FIRST(&endpoint->waiting); call; call = next) {
		next = TAILQ_NEXT(call, link);
		if (call_run(call) != CALL_WAITS)
			guest_finish(guest, call);
	}
	guest_poll_try(guest, endpoint);
	wants = !TAILQ_EMPTY(&endpoint->waiting) || endpoint->armed;
	atomic_store(&endpoint->wants, wants);
	if (!wants)
		guest_unwatch(guest, endpoint);
}

/* Keeps a call beyond its chain's turn; NULL without memory. */
static struct call *guest_keep(struct guest *guest, const struct call *call)
{
	unsigned int count = call->in_count + call->out_count;
	struct call *kept = malloc(sizeof(*kept));

	if (!kept)
		return NULL;
	*kept = *call;
	kept->vectors = malloc((count ? count : 1) * sizeof(kept->vectors[0]));
	if (!kept->vectors || (!kept->mapping_count && guest_hold_mappings(guest, kept) < 0)) {
		mappings_put(call->mapping_count ? NULL : kept->mappings,
			     call->mapping_count ? 0 : kept->mapping_count);
		free(kept->vectors);
		free(kept);
		return NULL;
	}
	memcpy(kept->vectors, call->in, call->in_count * sizeof(kept->vectors[0]));
	memcpy(kept->vectors + call->in_count, call->out,
	       call->out_count * sizeof(kept->vectors[0]));
	kept->in = kept->vectors;
	kept->out = kept->vectors + call->in_count;
	kept->waits = true;
	if (kept->endpoint)
		endpoint_hold(kept->endpoint);
	return kept;
}

/* Runs a call that may wait; what waits is kept. */
static void guest_run_call(struct guest *guest, struct call *call)
{
	struct endpoint *endpoint = call->endpoint;
	bool may_queue = call->request.call == SCIF_VIRTIO_VREADFROM ||
			 call->request.call == SCIF_VIRTIO_VWRITETO ||
			 ((call->request.call == SCIF_VIRTIO_READFROM ||
			   call->request.call == SCIF_VIRTIO_WRITETO) &&
			  (call->request.flags & SCIF_RMA_SYNC));
	struct call *kept = NULL;

	if (call->fabric->device_started && call->request.call != SCIF_VIRTIO_SEND &&
	    call->request.call != SCIF_VIRTIO_RECV && endpoint)
		may_queue = true; /* it may get a thread, which points to it as well */
	/* A job points to its call and vectors: these must be in place before it begins. */
	if (may_queue) {
		kept = guest_keep(guest, call);
		if (!kept) {
			call->status = -ENOMEM;
			guest_finish(guest, call);
			return;
		}
		call = kept;
	}
	if (!kept && call_run(call) != CALL_WAITS) {
		guest_finish(guest, call);
		return;
	}
	if (!kept) {
		kept = guest_keep(guest, call);
		if (!kept) {
			/* Nothing is queued for it yet but a connect, which goes on alone. */
			call->status = call->moved ? 0 : -ENOMEM;
			call->value[0] = call->moved;
			guest_finish(guest, call);
			return;
		}
	}
	TAILQ_INSERT_TAIL(&guest->calls, kept, all_link);
	TAILQ_INSERT_TAIL(&endpoint->waiting, kept, link);
	atomic_store(&endpoint->wants, true);
	guest_watch(guest, endpoint);
	guest_try(guest, endpoint);
}

static void guest_open(struct guest *guest, struct call *call)
{
	uint32_t slot = 0;

	while (slot < guest->slot_count && guest->slots[slot])
		slot++;
	if (slot == guest->slot_count) {
		uint32_t count = slot ? slot * 2 : 16;
		struct endpoint **larger = realloc(guest->slots, count * sizeof(larger[0]));

		if (!larger) {
			call->status = -ENOMEM;
			return;
		}
		memset(larger + slot, 0, (count - slot) * sizeof(larger[0]));
		guest->slots = larger;
		guest->slot_count = count;
	}
	pthread_mutex_lock(&call->fabric->lock);
	guest->slots[slot] = endpoint_create(guest->node, false, &call->status);
	pthread_mutex_unlock(&call->fabric->lock);
	if (!guest->slots[slot])
		return;
	guest->slots[slot]->number = slot + 1;
	call->value[0] = slot + 1;
}

/* Ends an endpoint for the guest; calls that a copy still uses come back when its turn ends. */
static void guest_close(struct guest *guest, struct endpoint *endpoint)
{
	struct call *call;

	TAILQ_FOREACH(call, &endpoint->waiting, link)
	call->cancelled = true;
	endpoint->armed = 0;
	if (endpoint->event_due)
		TAILQ_REMOVE(&guest->events, endpoint, event_link);
	endpoint->event_due = false;
	guest_try(guest, endpoint);
	guest_unwatch(guest, endpoint);
	guest->slots[endpoint->number - 1] = NULL;
	endpoint_close(endpoint);
}

static void guest_accept_register(struct guest *guest, struct call *call)
{
	struct endpoint *fresh = call->endpoint, *accepted = NULL;
	uint32_t number = fresh->number;

	pthread_mutex_lock(&call->fabric->lock);
	call->status = endpoint_accept_register(call, &accepted);
	pthread_mutex_unlock(&call->fabric->lock);
	if (!accepted)
		return;
	call->endpoint = NULL;
	guest_close(guest, fresh);
	accepted->number = number;
	guest->slots[number - 1] = accepted;
}

static void guest_poll(struct guest *guest, struct call *call)
{
	struct endpoint *endpoint = call->endpoint;
	uint32_t mask = call->request.poll.mask | POLLHUP | POLLERR;

	if (call->request.flags & ~SCIF_VIRTIO_POLL_ARM) {
		call->status = -EINVAL;
		return;
	}
	call->value[0] = endpoint_poll(endpoint);
	if (!(call->request.flags & SCIF_VIRTIO_POLL_ARM) || (call->value[0] & mask))
		return;
	endpoint->armed = mask;
	atomic_store(&endpoint->wants, true);
	guest_watch(guest, endpoint);
	guest_try(guest, endpoint);
}

static void guest_cancel(struct guest *guest, struct call *call)
{
	struct call *other;

	call->status = -ENOENT;
	TAILQ_FOREACH(other, &guest->calls, all_link)
	{
		if (other->request.tag != call->request.cancel.tag || !other->endpoint)
			continue;
		other->cancelled = true;
		call->status = 0;
		if (call_run(other) != CALL_WAITS)
			guest_finish(guest, other);
		return;
	}
}

/* The calls that are this file's own; false for the others. */
static bool guest_run_own(struct guest *guest, struct call *call)
{
	switch (call->request.call) {
	case SCIF_VIRTIO_OPEN:
		guest_open(guest, call);
		return true;
	case SCIF_VIRTIO_CLOSE:
		guest_close(guest, call->endpoint);
		call->endpoint = NULL;
		return true;
	case SCIF_VIRTIO_ACCEPTREG:
		guest_accept_register(guest, call);
		return true;
	case SCIF_VIRTIO_POLL:
		guest_poll(guest, call);
		return true;
	case SCIF_VIRTIO_CANCEL:
		guest_cancel(guest, call);
		return true;
	default:
		return false;
	}
}

/* MMAP and MUNMAP, which wait for the VMM and not for an endpoint. */
static void guest_run_map(struct guest *guest, struct call *call)
{
	struct call *kept = guest_keep(guest, call);

	if (!kept) {
		call->status = -ENOMEM;
		guest_finish(guest, call);
		return;
	}
	TAILQ_INSERT_TAIL(&guest->calls, kept, all_link);
	if (kept->endpoint) {
		endpoint_put(kept->endpoint); /* needed for the look-up alone */
		kept->endpoint = NULL;
	}
	kept->status = call->request.call == SCIF_VIRTIO_MMAP ? guest_map(guest, kept)
							      : guest_unmap(guest, kept);
	if (kept->status != CALL_WAITS)
		guest_finish(guest, kept);
}

static void guest_run_chain(struct guest *guest, struct call *call)
{
	uint32_t number = call->request.endpoint;

	atomic_fetch_add_explicit(&guest->node->calls, 1, memory_order_relaxed);
	call->status = call_check(&call->request);
	if (call->status == 0 && call_names_endpoint(&call->request)) {
		if (number - 1 < guest->slot_count)
			call->endpoint = guest->slots[number - 1];
		if (!call->endpoint)
			call->status = -EBADF;
		else
			endpoint_refresh(call->endpoint);
	}
	if (call->status == 0 && (call->request.call == SCIF_VIRTIO_REGISTER ||
				  call->request.call == SCIF_VIRTIO_REGISTER_MORE))
		call->status = guest_hold_mappings(guest, call);
	if (call->status < 0 || guest_run_own(guest, call))
		guest_finish(guest, call);
	else if (call->request.call == SCIF_VIRTIO_MMAP || call->request.call == SCIF_VIRTIO_MUNMAP)
		guest_run_map(guest, call);
	else
		guest_run_call(guest, call);
}

/* Splits a chain into header, reply and payload; false when it is no request at all. */
static bool guest_decode(struct vhost_chain *chain, struct call *call)
{
	struct iovec *in = chain->vectors, *out = chain->vectors + chain->readable_count;
	size_t reply = sizeof(struct scif_virtio_reply);
	unsigned int dropped;

	if (chain->readable_bytes < sizeof(call->request) || chain->writable_bytes < reply)
		return false;
	vhost_iovec_copy_in(&call->request, sizeof(call->request), in, chain->readable_count);
	dropped = vhost_iovec_skip(in, chain->readable_count, sizeof(call->request));
	call->in = in + dropped;
	call->in_count = chain->readable_count - dropped;
	call->in_bytes = chain->readable_bytes - sizeof(call->request);

	for (unsigned int i = 0; reply; i++) {
		if (i == GUEST_REPLY_PIECES_MAX)
			return false;
		call->reply[i] = out[i];
		if (call->reply[i].iov_len > reply)
			call->reply[i].iov_len = reply;
		reply -= call->reply[i].iov_len;
		call->reply_count = i + 1;
	}
	dropped = vhost_iovec_skip(out, chain->writable_count, sizeof(struct scif_virtio_reply));
	call->out = out + dropped;
	call->out_count = chain->writable_count - dropped;
	call->out_bytes = chain->writable_bytes - sizeof(struct scif_virtio_reply);
	return true;
}

static void guest_serve_queue(struct guest *guest, unsigned int index)
{
	struct vhost_queue *queue = vhost_device_queue(&guest->device, index);

	for (unsigned int i = 0; i < GUEST_CHAINS_PER_TURN; i++) {
		struct vhost_chain chain;
		struct call call = { 0 };

		if (vhost_queue_pop(queue, &chain, guest->vectors, VHOST_CHAIN_VECTORS_MAX) <= 0)
			return;
		call.fabric = guest->node->fabric;
		call.node = guest->node;
		call.fd_in = -1;
		call.queue = (uint16_t)index;
		call.head = chain.head;
		if (!guest_decode(&chain, &call)) {
			vhost_queue_break(queue);
			return;
		}
		guest_run_chain(guest, &call);
	}
}

void guest_serve(struct guest *guest)
{
	for (unsigned int i = 0; i < guest->settings->request_queues; i++)
		guest_serve_queue(guest, SCIF_VIRTIO_QUEUE_REQUEST + i);
}

/* A kept call without an answer: the guest it belonged to is gone. */
static void guest_forget(struct guest *guest, struct call *call)
{
	if (call->job) {
		call->cancelled = true;
		call_run(call); /* its copy is over: this collects it */
	}
	if (call->task)
		device_finish(call);
	TAILQ_REMOVE(&guest->calls, call, all_link);
	if (call->endpoint)
		TAILQ_REMOVE(&call->endpoint->waiting, call, link);
	guest_free(call);
}

void guest_drop_all(struct guest *guest)
{
	struct call *call, *next;
	struct window *window;

	copy_leave_own(guest->node);
	copy_abort_node(guest->node);
	for (call = TAILQ_FIRST(&guest->calls); call; call = next) {
		next = TAILQ_NEXT(call, all_link);
		if (call->endpoint) /* those of maps are guest_map_drop_all()'s */
			guest_forget(guest, call);
	}
	while ((call = TAILQ_FIRST(&guest->finished))) {
		TAILQ_REMOVE(&guest->finished, call, all_link);
		guest_free(call);
	}
	guest_map_drop_all(guest);
	for (uint32_t i = 0; i < guest->slot_count; i++) {
		if (guest->slots[i])
			guest_close(guest, guest->slots[i]);
	}
	/* Closing let copies of others into this guest's windows begin no more; end the last. */
	copy_abort_node(guest->node);
	node_driver_gone(guest->node);
	guest->nodes_due = false;
	while ((window = TAILQ_FIRST(&guest->released))) {
		TAILQ_REMOVE(&guest->released, window, link);
		free(window);
	}
}
