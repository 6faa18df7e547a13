/* SPDX-License-Identifier: Apache-2.0 */
/* The connections of a VM: table, states, deadlines; see vm.h for the states. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "vsock/switch/vm.h"

/* Asked for; the kernel doubles it and gives what it allows. Then the window is the largest. */
#define CONNECTION_SOCKET_BYTES (VM_WINDOW_BYTES_MAX * 8 / 5)
#define CONNECTION_RETRY_MS	10 /* a host listener with a full backlog is asked again */
#define CONNECTION_RECORDS	8  /* kept messages, of a byte each, take that much more room */

/* How long a state may last, in ms; 0 without bound. */
static uint32_t connection_patience_ms(enum connection_state state)
{
	switch (state) {
	case CONNECTION_GREETING:
		return 5000;
	case CONNECTION_CONNECTING:
		return 1900; /* Linux guests give up after 2 s */
	case CONNECTION_REQUESTED:
		return 2000;
	case CONNECTION_CLOSING:
		return 8000; /* what Linux guests wait, too */
	case CONNECTION_OPEN:
	case CONNECTION_DRAINING:
		break;
	}
	return 0;
}

uint64_t vm_clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void connection_set_state(struct vm *vm, struct connection *connection, enum connection_state state)
{
	uint32_t patience_ms = connection_patience_ms(state);

	if (connection->deadline_ns)
		TAILQ_REMOVE(&vm->timed, connection, timed_link);
	connection->deadline_ns = 0;
	__atomic_store_n(&connection->state, state, __ATOMIC_RELAXED);
	if (patience_ms) {
		connection->deadline_ns = vm_clock_ns() + patience_ms * 1000000ull;
		TAILQ_INSERT_TAIL(&vm->timed, connection, timed_link);
	}
}

static struct connection **connection_bucket(struct vm *vm, uint32_t guest_port, uint32_t host_port)
{
	uint32_t hash = (guest_port * 0x9e3779b1u) ^ (host_port * 0x85ebca77u);

	return &vm->buckets[(hash >> 16) % VM_PORT_BUCKETS];
}

struct connection *connection_find(struct vm *vm, uint32_t guest_port, uint32_t host_port)
{
	struct connection *connection = *connection_bucket(vm, guest_port, host_port);

	while (connection &&
	       (connection->guest_port != guest_port || connection->host_port != host_port))
		connection = connection->bucket_next;
	return connection;
}

void connection_set_ports(struct vm *vm, struct connection *connection, uint32_t guest_port,
			  uint32_t host_port)
{
	struct connection **bucket = connection_bucket(vm, guest_port, host_port);

	connection->guest_port = guest_port;
	connection->host_port = host_port;
	connection->bucket_next = *bucket;
	*bucket = connection;
}

static void connection_unset_ports(struct vm *vm, struct connection *connection)
{
	struct connection **at =
		connection_bucket(vm, connection->guest_port, connection->host_port);

	while (*at && *at != connection)
		at = &(*at)->bucket_next;
	if (*at)
		*at = connection->bucket_next;
}

/* Window: five sixteenths of the buffer, so that packets of 4 KiB, charged double, still fit. */
static void connection_set_window(struct connection *connection)
{
	int bytes = CONNECTION_SOCKET_BYTES;
	socklen_t length = sizeof(bytes);
	uint64_t window = 0;

	setsockopt(connection->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	if (getsockopt(connection->fd, SOL_SOCKET, SO_SNDBUF, &bytes, &length) == 0 && bytes > 0)
		window = (uint64_t)bytes * 5 / 16;
	if (window > VM_WINDOW_BYTES_MAX)
		window = VM_WINDOW_BYTES_MAX;
	if (window < VM_WINDOW_BYTES_MIN)
		window = VM_WINDOW_BYTES_MIN;
	connection->window = (uint32_t)window;
	connection->socket_bytes = bytes;
	buffer_init(&connection->remainder, connection->type == VIRTIO_VSOCK_TYPE_SEQPACKET
						    ? connection->window * CONNECTION_RECORDS
						    : connection->window);
}

int connection_set_host(struct vm *vm, struct connection *connection, int fd)
{
	int start = 0, status = 0;

	/* A message may be read in parts: each look goes on behind the one before. */
	if (connection->type == VIRTIO_VSOCK_TYPE_SEQPACKET &&
	    setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &start, sizeof(start)) < 0)
		status = -errno;
	if (status == 0)
		status = vhost_wait_add(&vm->worker->wait, fd, EPOLLIN | EPOLLRDHUP | EPOLLET,
					VM_TAG(VM_TAG_CONNECTION, vm->slot, connection->slot));

	if (status < 0)
		return status;
	connection->fd = fd;
	connection_set_window(connection);
	return 0;
}

struct connection *connection_create(struct vm *vm, int fd, uint16_t type,
				     enum connection_state state)
{
	struct connection *connection;
	uint32_t slot = 0;

	if (vm->connection_count == vm->connections_max)
		return NULL;
	connection = calloc(1, sizeof(*connection));
	if (!connection)
		return NULL;
	while (vm->slots[slot])
		slot++;
	connection->slot = slot;
	connection->type = type;
	connection->fd = -1;
	if (fd >= 0 && connection_set_host(vm, connection, fd) < 0) {
		free(connection);
		return NULL;
	}
	pthread_mutex_lock(&vm->flows_lock);
	vm->slots[slot] = connection;
	vm->connection_count++;
	pthread_mutex_unlock(&vm->flows_lock);
	counter_add(&vm->counters.opened, 1);
	connection_set_state(vm, connection, state);
	return connection;
}

void connection_set_ready(struct vm *vm, struct connection *connection, bool ready)
{
	if (ready == connection->is_ready)
		return;
	connection->is_ready = ready;
	if (ready)
		TAILQ_INSERT_TAIL(&vm->ready, connection, ready_link);
	else
		TAILQ_REMOVE(&vm->ready, connection, ready_link);
}

void connection_owe(struct vm *vm, struct connection *connection, enum connection_owed packet)
{
	connection->owed |= packet;
	connection_set_ready(vm, connection, true);
}

void connection_drop_remainder(struct vm *vm, struct connection *connection)
{
	vm->remainders_bytes -= connection->remainder.used;
	buffer_free(&connection->remainder);
	connection->remainder_done = 0;
	connection->open_bytes = 0;
}

/* The remainder, too, was meant for whom is closed here. */
void connection_close_host(struct vm *vm, struct connection *connection)
{
	if (connection->fd < 0)
		return;
	vhost_wait_remove(&vm->worker->wait, connection->fd);
	close(connection->fd);
	connection->fd = -1;
	connection->readable = false;
	connection_drop_remainder(vm, connection);
}

void connection_reset(struct vm *vm, struct connection *connection)
{
	connection_close_host(vm, connection);
	connection_set_state(vm, connection, CONNECTION_CLOSING);
	connection->owed = 0;
	connection_owe(vm, connection, OWED_RESET);
}

void connection_end(struct vm *vm, struct connection *connection)
{
	message_drop_open(vm, connection);
	if (connection->remainder.used == 0) {
		connection_free(vm, connection);
		return;
	}
	connection_unset_ports(vm, connection);
	connection_set_ready(vm, connection, false);
	connection->owed = 0;
	connection_set_state(vm, connection, CONNECTION_DRAINING);
}

void connection_free(struct vm *vm, struct connection *connection)
{
	log_debug("VM '%s': connection of ports %u and %u is over", vm->own.name,
		  connection->guest_port, connection->host_port);
	connection_close_host(vm, connection);
	connection_unset_ports(vm, connection);
	connection_set_ready(vm, connection, false);
	if (connection->deadline_ns)
		TAILQ_REMOVE(&vm->timed, connection, timed_link);
	assert(vm->slots[connection->slot] == connection);
	pthread_mutex_lock(&vm->flows_lock);
	vm->slots[connection->slot] = NULL;
	vm->connection_count--;
	pthread_mutex_unlock(&vm->flows_lock);
	free(connection);
}

void connection_free_all(struct vm *vm)
{
	for (uint32_t slot = 0; slot < vm->connections_max && vm->connection_count; slot++)
		if (vm->slots[slot])
			connection_free(vm, vm->slots[slot]);
	vm->reset_count = 0;
}

void connection_visit(const struct connection *connection,
		      void (*visit)(const struct vm_flow *flow, void *context), void *context)
{
	static const char *const names[] = {
		[CONNECTION_GREETING] = "greeting",   [CONNECTION_CONNECTING] = "connecting",
		[CONNECTION_REQUESTED] = "requested", [CONNECTION_OPEN] = "open",
		[CONNECTION_CLOSING] = "closing",     [CONNECTION_DRAINING] = "draining",
	};
	const struct vm_flow flow = {
		.peer_cid = VIRTIO_VSOCK_CID_HOST,
		.port = connection->guest_port,
		.peer_port = connection->host_port,
		.state = names[__atomic_load_n(&connection->state, __ATOMIC_RELAXED)],
		.sent.bytes = counter_read(&connection->from_guest.sent.bytes),
		.sent.packets = counter_read(&connection->from_guest.sent.packets),
		.received.bytes = counter_read(&connection->to_guest.sent.bytes),
		.received.packets = counter_read(&connection->to_guest.sent.packets),
		.stalls = counter_read(&connection->from_guest.stalls),
	};

	visit(&flow, context);
}

static void connection_expire_one(struct vm *vm, struct connection *connection)
{
	switch (connection->state) {
	case CONNECTION_GREETING:
		connection_free(vm, connection);
		break;
	case CONNECTION_CONNECTING:
	case CONNECTION_REQUESTED:
	case CONNECTION_CLOSING:
		/* Without receive buffers the reset may never go out: once is enough. */
		if (connection->owed & OWED_RESET)
			connection_free(vm, connection);
		else
			connection_reset(vm, connection);
		break;
	case CONNECTION_OPEN:
	case CONNECTION_DRAINING:
		break;
	}
}

int connection_expire(struct vm *vm)
{
	uint64_t now_ns = vm_clock_ns(), nearest_ns = UINT64_MAX;
	struct connection *connection, *next;

	for (connection = TAILQ_FIRST(&vm->timed); connection; connection = next) {
		next = TAILQ_NEXT(connection, timed_link);
		if (connection->deadline_ns <= now_ns)
			connection_expire_one(vm, connection);
		else if (connection->state == CONNECTION_CONNECTING)
			host_connect(vm, connection);
	}
	TAILQ_FOREACH(connection, &vm->timed, timed_link)
	{
		uint64_t when_ns = connection->state == CONNECTION_CONNECTING
					   ? now_ns + CONNECTION_RETRY_MS * 1000000ull
					   : connection->deadline_ns;

		if (when_ns < nearest_ns)
			nearest_ns = when_ns;
	}
	if (nearest_ns == UINT64_MAX)
		return -1;
	return (int)((nearest_ns - now_ns) / 1000000) + 1;
}
