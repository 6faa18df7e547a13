/* SPDX-License-Identifier: Apache-2.0 */
/* Endpoints: their states, from open over connect and accept to close. See fabric.h. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "lib/base/log.h"
#include "scif/fabric/device.h"

struct endpoint *endpoint_create(struct node *node, bool is_process, int *status)
{
	struct endpoint *endpoint;

	*status = -EMFILE;
	if (atomic_fetch_add(&node->endpoint_count, 1) >= node->limits.endpoints) {
		atomic_fetch_sub(&node->endpoint_count, 1);
		return NULL;
	}
	*status = -ENOMEM;
	endpoint = calloc(1, sizeof(*endpoint));
	if (!endpoint) {
		atomic_fetch_sub(&node->endpoint_count, 1);
		return NULL;
	}
	*status = 0;
	endpoint->holders = 1;
	endpoint->node = node;
	endpoint->is_process = is_process;
	TAILQ_INIT(&endpoint->pending);
	TAILQ_INIT(&endpoint->jobs);
	TAILQ_INIT(&endpoint->waiting);
	TAILQ_INSERT_TAIL(&node->endpoints, endpoint, node_link);
	return endpoint;
}

void endpoint_hold(struct endpoint *endpoint)
{
	atomic_fetch_add(&endpoint->holders, 1);
}

void endpoint_put(struct endpoint *endpoint)
{
	while (endpoint && atomic_fetch_sub(&endpoint->holders, 1) == 1) {
		struct endpoint *peer = endpoint->peer;

		device_free(endpoint);
		ring_put(endpoint->rx);
		ring_put(endpoint->tx);
		free(endpoint->windows);
		free(endpoint);
		endpoint = peer;
	}
}

void endpoint_notify(struct endpoint *endpoint)
{
	if (endpoint->is_process && endpoint->rx)
		ring_wake(endpoint->rx);
	endpoint_retry(endpoint);
}

void endpoint_retry(struct endpoint *endpoint)
{
	struct inbox *inbox = endpoint->node->inbox;

	atomic_thread_fence(memory_order_seq_cst);
	if (!atomic_load(&endpoint->wants) || atomic_exchange(&endpoint->notified, true))
		return;
	endpoint_hold(endpoint);
	pthread_mutex_lock(&inbox->lock);
	TAILQ_INSERT_TAIL(&inbox->endpoints, endpoint, inbox_link);
	pthread_mutex_unlock(&inbox->lock);
	inbox_wake(inbox);
}

void endpoint_publish(struct endpoint *endpoint)
{
	struct scif_ring *shared = endpoint->rx ? endpoint->rx->shared : NULL;
	uint32_t state = SCIF_RING_UNCONNECTED;

	if (!shared)
		return;
	if (endpoint->state == ENDPOINT_CONNECTED)
		state = SCIF_RING_CONNECTED;
	else if (endpoint->state == ENDPOINT_DISCONNECTED || endpoint->state == ENDPOINT_CLOSING)
		state = SCIF_RING_DISCONNECTED;
	__atomic_store_n(&shared->copies_done, endpoint->jobs_done, __ATOMIC_RELEASE);
	if (state == SCIF_RING_UNCONNECTED)
		__atomic_store_n(&shared->poll, endpoint_poll(endpoint), __ATOMIC_RELEASE);
	__atomic_store_n(&shared->state, state, __ATOMIC_RELEASE);
}

/* The one function that assigns a state; (F). */
static void endpoint_set_state(struct endpoint *endpoint, enum endpoint_state state)
{
	atomic_store(&endpoint->state, state);
	endpoint_publish(endpoint);
}

int endpoint_verify(const struct endpoint *endpoint)
{
	enum endpoint_state state = atomic_load(&endpoint->state);

	if (state == ENDPOINT_CONNECTED)
		return 0;
	return state == ENDPOINT_DISCONNECTED ? -ECONNRESET : -ENOTCONN;
}

/* A free port from 1088 on, or 0. */
static uint16_t endpoint_any_port(struct node *node)
{
	for (unsigned int i = FABRIC_PORT_ANY_FIRST; i < FABRIC_PORTS; i++) {
		unsigned int port = node->next_port;

		node->next_port = port + 1 < FABRIC_PORTS ? port + 1 : FABRIC_PORT_ANY_FIRST;
		if (!node->ports[port])
			return (uint16_t)port;
	}
	return 0;
}

static int endpoint_take_port(struct endpoint *endpoint, uint16_t port)
{
	if (port == 0) {
		port = endpoint_any_port(endpoint->node);
		if (port == 0)
			return -ENOSPC;
	}
	if (endpoint->node->ports[port])
		return -EINVAL;
	endpoint->node->ports[port] = endpoint;
	endpoint->port = port;
	endpoint->owns_port = true;
	endpoint_set_state(endpoint, ENDPOINT_BOUND);
	return 0;
}

int endpoint_bind(struct call *call)
{
	struct endpoint *endpoint = call->endpoint;
	int status;

	if (endpoint->state != ENDPOINT_UNBOUND)
		return endpoint->state == ENDPOINT_BOUND ? -EINVAL : -EISCONN;
	status = endpoint_take_port(endpoint, call->request.bind.port);
	call->value[0] = endpoint->port;
	return status;
}

int endpoint_listen(struct call *call)
{
	struct endpoint *endpoint = call->endpoint;
	int status;

	if (endpoint->state == ENDPOINT_UNBOUND || endpoint->state == ENDPOINT_DISCONNECTED)
		return -EINVAL;
	if (endpoint->state != ENDPOINT_BOUND)
		return -EISCONN;
	endpoint->backlog = (int)call->request.listen.backlog;
	endpoint_set_state(endpoint, ENDPOINT_LISTENING);
	status = endpoint->node->hears ? device_listen(endpoint, endpoint->node->hears) : 0;
	if (status < 0)
		log_warning(
			"%s: programs of card '%s' do not reach its port %u: its driver says: %s",
			endpoint->node->name, endpoint->node->hears->name, endpoint->port,
			strerror(-status));
	return 0;
}

/* The connect of @endpoint is over; its owner, or a poll, shall know. (F) */
static void endpoint_settle_connect(struct endpoint *endpoint, int result)
{
	endpoint->listener = NULL;
	endpoint->connect_result = result;
	endpoint_set_state(endpoint, result ? ENDPOINT_BOUND : ENDPOINT_CONNECTED);
	endpoint_notify(endpoint);
}

/* A connect through a driver begins, or may be over by now. (F) */
static void endpoint_try_device(struct endpoint *endpoint)
{
	const struct node *card = endpoint->node->fabric->nodes[endpoint->peer_node];
	int status = device_connect(endpoint, card);

	if (status != -EINPROGRESS)
		endpoint_settle_connect(endpoint, status);
}

/* A result that nobody has collected: it, or what to do until there is one. */
static int endpoint_collect_connect(struct call *call)
{
	struct endpoint *endpoint = call->endpoint;

	if (endpoint->connect_result != -EINPROGRESS) {
		endpoint->connect_open = false;
		call->value[0] = node_seen(endpoint->node, endpoint->node->number) |
				 (uint64_t)endpoint->port << 16;
		return endpoint->connect_result;
	}
	if (call->cancelled)
		return -EINTR;
	return call->request.flags & SCIF_VIRTIO_NONBLOCK ? -EINPROGRESS : CALL_WAITS;
}

static int endpoint_check_connect(const struct endpoint *endpoint, const struct node *to,
				  uint16_t port)
{
	if (!to)
		return -ENODEV;
	if (port == 0)
		return -EINVAL;
	switch (atomic_load(&endpoint->state)) {
	case ENDPOINT_UNBOUND:
	case ENDPOINT_BOUND:
		return 0;
	case ENDPOINT_LISTENING:
		return -EOPNOTSUPP;
	case ENDPOINT_DISCONNECTED:
	case ENDPOINT_CLOSING:
		return -EINVAL;
	case ENDPOINT_CONNECTING:
	case ENDPOINT_CONNECTED:
		break;
	}
	return -EISCONN;
}

int endpoint_connect(struct call *call)
{
	struct endpoint *endpoint = call->endpoint, *listener;
	uint16_t port = call->request.connect.port;
	struct node *to = node_find(call->node, call->request.connect.node);
	int status;

	if (call->request.flags & ~SCIF_VIRTIO_NONBLOCK)
		return -EINVAL;
	if (endpoint->connect_open)
		return endpoint_collect_connect(call);
	status = endpoint_check_connect(endpoint, to, port);
	if (status == 0 && endpoint->state == ENDPOINT_UNBOUND)
		status = endpoint_take_port(endpoint, 0);
	if (status < 0)
		return status;
	endpoint->peer_node = to->number;
	endpoint->peer_port = port;
	endpoint->connect_open = true;
	endpoint->connect_result = -EINPROGRESS;
	if (to->device) {
		endpoint_set_state(endpoint, ENDPOINT_CONNECTING);
		endpoint_try_device(endpoint);
		return endpoint_collect_connect(call);
	}
	listener = to->ports[port];
	if (listener && listener->state == ENDPOINT_LISTENING &&
	    listener->pending_count < listener->backlog) {
		endpoint->listener = listener;
		TAILQ_INSERT_TAIL(&listener->pending, endpoint, link);
		listener->pending_count++;
		endpoint_set_state(endpoint, ENDPOINT_CONNECTING);
		endpoint_publish(listener);
		endpoint_notify(listener);
	} else {
		endpoint->connect_result = -ECONNREFUSED;
		if (call->request.flags & SCIF_VIRTIO_NONBLOCK) {
			endpoint_publish(endpoint);
			return -EINPROGRESS;
		}
	}
	return endpoint_collect_connect(call);
}

void endpoint_refresh(struct endpoint *endpoint)
{
	struct fabric *fabric = endpoint->node->fabric;

	if (!endpoint->device || endpoint->state != ENDPOINT_CONNECTING)
		return;
	pthread_mutex_lock(&fabric->lock);
	if (endpoint->device && endpoint->state == ENDPOINT_CONNECTING)
		endpoint_try_device(endpoint);
	pthread_mutex_unlock(&fabric->lock);
}

static int endpoint_make_rings(struct endpoint *one, struct endpoint *other)
{
	bool shared = one->is_process || other->is_process;

	if (!one->rx)
		one->rx = ring_create(shared);
	if (!other->rx)
		other->rx = ring_create(shared);
	if (!one->rx || !other->rx)
		return -ENOMEM;
	one->tx = ring_hold(other->rx);
	other->tx = ring_hold(one->rx);
	one->rx->shared->peer_is_process = other->is_process;
	other->rx->shared->peer_is_process = one->is_process;
	return 0;
}

static void endpoint_end(struct endpoint *endpoint);

/* Connects the first that waits with a new endpoint of the listener's; (F). */
static int endpoint_accept(struct endpoint *listener, struct endpoint **accepted)
{
	struct endpoint *connector = TAILQ_FIRST(&listener->pending), *made;
	int status;

	made = endpoint_create(listener->node, listener->is_process, &status);
	if (!made)
		return -ENOMEM;
	status = endpoint_make_rings(connector, made);
	if (status == 0 && getrandom(&made->handle, sizeof(made->handle), 0) < 0)
		status = -errno;
	if (status < 0) {
		endpoint_end(made);
		endpoint_put(made);
		return status;
	}
	TAILQ_REMOVE(&listener->pending, connector, link);
	listener->pending_count--;
	made->port = listener->port;
	made->peer_node = connector->node->number;
	made->peer_port = connector->port;
	made->listener = listener;
	made->peer = connector;
	connector->peer = made;
	endpoint_hold(connector);
	endpoint_hold(made);
	TAILQ_INSERT_TAIL(&listener->node->accepted, made, link);
	endpoint_set_state(made, ENDPOINT_CONNECTED);
	endpoint_publish(listener);
	endpoint_settle_connect(connector, 0);
	*accepted = made;
	return 0;
}

/* The card that the VM's driver means by @seen, if the VM may see it; or NULL. (F) */
static const struct node *endpoint_find_card(const struct node *node, uint16_t seen)
{
	for (unsigned int i = 0; i < FABRIC_NODES_MAX; i++) {
		const struct node *card = node->fabric->nodes[i];

		if (card && card->device && card->device_node == seen && card->online &&
		    strcmp(card->device, node->hears->device) == 0 && (node->visible >> i & 1))
			return card;
	}
	return NULL;
}

/* One that waits at the driver, with a new endpoint of the listener's; as endpoint_accept(). (F) */
static int endpoint_accept_device(struct endpoint *listener, struct endpoint **accepted)
{
	struct endpoint *made;
	const struct node *card = NULL;
	uint16_t node, port;
	int status;

	if (!listener->hears || !(device_poll(listener) & POLLIN))
		return -EAGAIN;
	made = endpoint_create(listener->node, false, &status);
	if (!made)
		return -ENOMEM;
	status = device_accept(listener, made, &node, &port);
	if (status == 0)
		card = endpoint_find_card(listener->node, node);
	if (status == 0 && !card)
		status = -EAGAIN; /* somebody whom the VM does not know */
	if (status == 0 && getrandom(&made->handle, sizeof(made->handle), 0) < 0)
		status = -errno;
	if (status < 0) {
		endpoint_end(made);
		endpoint_put(made);
		return status;
	}
	made->port = listener->port;
	made->peer_node = card->number;
	made->peer_port = port;
	made->listener = listener;
	TAILQ_INSERT_TAIL(&listener->node->accepted, made, link);
	endpoint_set_state(made, ENDPOINT_CONNECTED);
	*accepted = made;
	return 0;
}

int endpoint_accept_request(struct call *call)
{
	struct endpoint *endpoint = call->endpoint, *made;
	int status;

	if (call->request.flags & ~SCIF_ACCEPT_SYNC)
		return -EINVAL;
	if (call->cancelled)
		return -EINTR;
	if (endpoint->state != ENDPOINT_LISTENING)
		return call->started ? -EINTR : -EINVAL;
	status = TAILQ_EMPTY(&endpoint->pending) ? endpoint_accept_device(endpoint, &made)
						 : endpoint_accept(endpoint, &made);
	if (status == -EAGAIN && (call->request.flags & SCIF_ACCEPT_SYNC)) {
		if (endpoint->hears)
			device_want(endpoint, POLLIN);
		return CALL_WAITS;
	}
	if (status < 0)
		return status;
	call->value[0] = node_seen(call->node, made->peer_node) | (uint64_t)made->peer_port << 16;
	call->value[1] = made->handle;
	return 0;
}

int endpoint_accept_register(struct call *call, struct endpoint **accepted)
{
	struct endpoint *found;

	if (call->endpoint->state != ENDPOINT_UNBOUND)
		return -EINVAL;
	TAILQ_FOREACH(found, &call->node->accepted, link)
	{
		if (found->handle != call->request.accept.handle)
			continue;
		TAILQ_REMOVE(&call->node->accepted, found, link);
		found->listener = NULL;
		*accepted = found;
		return 0;
	}
	return -ENOENT;
}

uint32_t endpoint_poll(struct endpoint *endpoint)
{
	uint32_t mask = 0;

	if (endpoint->device && endpoint->state == ENDPOINT_CONNECTED)
		return device_poll(endpoint);
	if (endpoint->connect_open && endpoint->connect_result)
		return endpoint->connect_result == -EINPROGRESS ? 0 : POLLOUT;
	switch (atomic_load(&endpoint->state)) {
	case ENDPOINT_LISTENING:
		if (!TAILQ_EMPTY(&endpoint->pending))
			return POLLIN;
		return endpoint->hears ? device_poll(endpoint) & POLLIN : 0;
	case ENDPOINT_CONNECTED:
		if (ring_used(endpoint->rx))
			mask |= POLLIN;
		if (ring_used(endpoint->tx) < SCIF_RING_BYTES - 1)
			mask |= POLLOUT;
		return mask;
	case ENDPOINT_DISCONNECTED:
		return ring_used(endpoint->rx) ? POLLHUP | POLLIN : POLLHUP;
	case ENDPOINT_UNBOUND:
	case ENDPOINT_BOUND:
	case ENDPOINT_CONNECTING:
	case ENDPOINT_CLOSING:
		break;
	}
	return POLLERR;
}

static void endpoint_disconnect_peer(struct endpoint *endpoint)
{
	struct endpoint *peer = endpoint->peer;

	if (peer && peer->state == ENDPOINT_CONNECTED) {
		endpoint_set_state(peer, ENDPOINT_DISCONNECTED);
		endpoint_notify(peer);
	}
}

/* A listener ends: refusals for those that wait, an end for what was never collected. (F) */
static void endpoint_end_listener(struct endpoint *endpoint)
{
	struct endpoint *other, *next;

	while ((other = TAILQ_FIRST(&endpoint->pending))) {
		TAILQ_REMOVE(&endpoint->pending, other, link);
		endpoint_settle_connect(other, -ECONNREFUSED);
	}
	endpoint->pending_count = 0;
	for (other = TAILQ_FIRST(&endpoint->node->accepted); other; other = next) {
		next = TAILQ_NEXT(other, link);
		if (other->listener != endpoint)
			continue;
		TAILQ_REMOVE(&endpoint->node->accepted, other, link);
		endpoint_end(other);
		endpoint_put(other);
	}
}

/* Out of all tables; the peer learns of it. (F) */
static void endpoint_end(struct endpoint *endpoint)
{
	struct endpoint *peer = endpoint->peer;

	if (endpoint->state == ENDPOINT_LISTENING) {
		endpoint_end_listener(endpoint);
		device_free(endpoint); /* the port at the driver is free at once */
	}
	if (endpoint->state == ENDPOINT_CONNECTING && endpoint->listener) {
		TAILQ_REMOVE(&endpoint->listener->pending, endpoint, link);
		endpoint->listener->pending_count--;
		endpoint_publish(endpoint->listener);
	}
	if (endpoint->state == ENDPOINT_CONNECTED)
		endpoint_disconnect_peer(endpoint);
	if (endpoint->owns_port)
		endpoint->node->ports[endpoint->port] = NULL;
	endpoint->owns_port = false;
	window_drop_all(endpoint);
	TAILQ_REMOVE(&endpoint->node->endpoints, endpoint, node_link);
	endpoint_set_state(endpoint, ENDPOINT_CLOSING);
	atomic_fetch_sub(&endpoint->node->endpoint_count, 1);
	endpoint->peer = NULL;
	endpoint_put(peer);
}

void endpoint_cut_off(struct endpoint *endpoint)
{
	switch (atomic_load(&endpoint->state)) {
	case ENDPOINT_LISTENING:
		endpoint_end_listener(endpoint);
		break;
	case ENDPOINT_CONNECTING:
		if (!endpoint->listener)
			break;
		TAILQ_REMOVE(&endpoint->listener->pending, endpoint, link);
		endpoint->listener->pending_count--;
		endpoint_settle_connect(endpoint, -ECONNREFUSED);
		break;
	case ENDPOINT_CONNECTED:
		endpoint_disconnect_peer(endpoint);
		endpoint_set_state(endpoint, ENDPOINT_DISCONNECTED);
		endpoint_notify(endpoint);
		break;
	default:
		break;
	}
}

void endpoint_close(struct endpoint *endpoint)
{
	struct fabric *fabric = endpoint->node->fabric;

	pthread_mutex_lock(&fabric->lock);
	endpoint_end(endpoint);
	pthread_mutex_unlock(&fabric->lock);
	endpoint_put(endpoint);
}
