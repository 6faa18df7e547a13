/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's side: Unix sockets by the convention that other hypervisors use as well.
 *
 *	host -> guest  connect to the VM's host socket, write "CONNECT <port>\n"; once the guest
 *	               accepted, "OK <host port>\n" comes back, then the stream. A refusal closes.
 *	guest -> host  port P of CID 2 is the configured service for P, or else whoever listens on
 *	               "<host socket>_<P>". Nobody there: the guest is reset at once.
 *
 * A guest's SOCK_SEQPACKET socket is a Unix socket of that kind: to the host, who listens must have
 * asked for it; from the host, programs connect to "<host socket>.seq", and line and answer are
 * messages.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/clean.h"
#include "lib/base/log.h"
#include "proto/identity.h"
#include "vsock/switch/policy.h"
#include "vsock/switch/vm.h"

#define HOST_ACCEPTS_PER_WAKE 32
#define HOST_REST_MS	      100 /* without descriptors, until the next attempt */
#define HOST_LINE_MAX	      32  /* "CONNECT 4294967295\n" and room for a carriage return */

/* Looks at the listeners, or lets them rest. */
static void host_watch(struct vm *vm, uint32_t events)
{
	for (uint32_t which = 0; which < VM_HOST_LISTENERS; which++)
		if (vm->host_listeners[which] >= 0)
			vhost_wait_change(&vm->worker->wait, vm->host_listeners[which], events,
					  VM_TAG(VM_TAG_HOST, vm->slot, which));
}

void host_accept(struct vm *vm, enum vm_host_listener which)
{
	uint16_t type =
		which == VM_HOST_MESSAGES ? VIRTIO_VSOCK_TYPE_SEQPACKET : VIRTIO_VSOCK_TYPE_STREAM;

	for (int i = 0; i < HOST_ACCEPTS_PER_WAKE; i++) {
		int fd = accept4(vm->host_listeners[which], NULL, NULL,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0 && (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR))
			return;
		if (fd < 0) {
			log_warning("VM '%s': cannot accept a host program: %s", vm->own.name,
				    strerror(errno));
			vm->host_rests_until_ns = vm_clock_ns() + HOST_REST_MS * 1000000ull;
			host_watch(vm, 0);
			return;
		}
		if (!vm_can_send(vm) || !connection_create(vm, fd, type, CONNECTION_GREETING))
			close(fd);
	}
}

int host_rest(struct vm *vm)
{
	uint64_t now_ns;

	if (!vm->host_rests_until_ns)
		return -1;
	now_ns = vm_clock_ns();
	if (now_ns < vm->host_rests_until_ns)
		return (int)((vm->host_rests_until_ns - now_ns) / 1000000) + 1;
	vm->host_rests_until_ns = 0;
	host_watch(vm, EPOLLIN);
	return -1;
}

/* The port in "CONNECT <port>" with or without a carriage return; whether it is one. */
static bool host_parse_line(char *line, uint32_t *port)
{
	static const char word[] = "CONNECT ";
	char *digits = line + sizeof(word) - 1, *end;
	unsigned long number;

	if (strncmp(line, word, sizeof(word) - 1) != 0 || *digits < '0' || *digits > '9')
		return false;
	errno = 0;
	number = strtoul(digits, &end, 10);
	if (*end == '\r')
		end++;
	if (errno || *end || number >= UINT32_MAX)
		return false;
	*port = (uint32_t)number;
	return true;
}

static uint32_t host_choose_port(struct vm *vm, uint32_t guest_port)
{
	do {
		vm->next_host_port++;
		if (vm->next_host_port < VM_HOST_PORT_FIRST || vm->next_host_port == UINT32_MAX)
			vm->next_host_port = VM_HOST_PORT_FIRST;
	} while (connection_find(vm, guest_port, vm->next_host_port));
	return vm->next_host_port;
}

/* Whether the rules let the host and the guest talk: to the guest's port if the host asked. */
static bool host_is_allowed(struct vm *vm, bool from_host, uint32_t port)
{
	uint64_t from = from_host ? VIRTIO_VSOCK_CID_HOST : vm->own.cid;
	uint64_t to = from_host ? vm->own.cid : VIRTIO_VSOCK_CID_HOST;
	bool allowed;

	pthread_rwlock_rdlock(&vm->sw->rules_lock);
	allowed = policy_allows(vm->sw->settings, from, to, port);
	pthread_rwlock_unlock(&vm->sw->rules_lock);
	return allowed;
}

void host_end_denied(struct vm *vm)
{
	for (uint32_t slot = 0; slot < vm->connections_max; slot++) {
		struct connection *connection = vm->slots[slot];

		if (!connection || (connection->state != CONNECTION_CONNECTING &&
				    connection->state != CONNECTION_REQUESTED &&
				    connection->state != CONNECTION_OPEN))
			continue;
		if (host_is_allowed(vm, connection->from_host,
				    connection->from_host ? connection->guest_port
							  : connection->host_port))
			continue;
		log_info("VM '%s': a connection of port %" PRIu32 " is not allowed any more",
			 vm->own.name, connection->guest_port);
		connection_reset(vm, connection);
	}
}

/* Whether the host program may connect to the guest's port. */
static bool host_may_ask(struct vm *vm, uint32_t guest_port, const struct connection *connection)
{
	if (connection->type == VIRTIO_VSOCK_TYPE_SEQPACKET && !vm->has_seqpacket)
		return false;
	return vm_can_send(vm) && host_is_allowed(vm, true, guest_port);
}

/* Takes the line alone out of the socket: bytes behind it belong to the stream. A message is the
 * line and no more. */
void host_greet(struct vm *vm, struct connection *connection)
{
	bool whole = connection->type == VIRTIO_VSOCK_TYPE_SEQPACKET;
	char line[HOST_LINE_MAX + 1];
	ssize_t got = recv(connection->fd, line, HOST_LINE_MAX, whole ? MSG_TRUNC : MSG_PEEK);
	uint32_t guest_port;
	char *end;

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		connection_free(vm, connection);
		return;
	}
	end = got <= HOST_LINE_MAX ? memchr(line, '\n', (size_t)got) : NULL;
	if (!end && got < HOST_LINE_MAX && !connection->hung_up && !whole)
		return;
	if (end && whole && end != line + got - 1)
		end = NULL;
	if (end)
		*end = '\0';
	if (!end || !host_parse_line(line, &guest_port) ||
	    !host_may_ask(vm, guest_port, connection)) {
		connection_free(vm, connection);
		return;
	}
	if (!whole && recv(connection->fd, line, (size_t)(end - line) + 1, 0) != end - line + 1) {
		connection_free(vm, connection);
		return;
	}
	connection->from_host = true;
	connection_set_ports(vm, connection, guest_port, host_choose_port(vm, guest_port));
	connection_set_state(vm, connection, CONNECTION_REQUESTED);
	connection_owe(vm, connection, OWED_REQUEST);
}

void host_welcome(struct vm *vm, struct connection *connection)
{
	char line[HOST_LINE_MAX];
	int bytes = snprintf(line, sizeof(line), "OK %" PRIu32 "\n", connection->host_port);

	connection_set_state(vm, connection, CONNECTION_OPEN);
	connection->readable = true;
	connection_set_ready(vm, connection, true);
	/* The first bytes on this socket: they fit, or the host program is gone. */
	if (send(connection->fd, line, (size_t)bytes, MSG_NOSIGNAL) != bytes)
		connection_reset(vm, connection);
}

/* Where the guest's port leads: a path in @address; -ECONNREFUSED when the policy says no. */
static int host_find(struct vm *vm, uint32_t port, struct sockaddr_un *address, bool *identity)
{
	const struct settings_service *service;
	int bytes = -1;

	*identity = false;
	pthread_rwlock_rdlock(&vm->sw->rules_lock);
	service = settings_find_service(vm->sw->settings, port);
	if (!policy_allows(vm->sw->settings, vm->own.cid, VIRTIO_VSOCK_CID_HOST, port)) {
		bytes = 0;
	} else if (service) {
		*identity = service->identity;
		bytes = snprintf(address->sun_path, sizeof(address->sun_path), "%s",
				 service->socket);
	} else {
		bytes = snprintf(address->sun_path, sizeof(address->sun_path), "%s_%" PRIu32,
				 vm->own.host_socket, port);
	}
	pthread_rwlock_unlock(&vm->sw->rules_lock);
	if (bytes == 0)
		return -ECONNREFUSED;
	return bytes < 0 || (size_t)bytes >= sizeof(address->sun_path) ? -ENAMETOOLONG : 0;
}

/* A connected socket of the guest's type for its port, or -errno: -EAGAIN with a full backlog. */
static int host_open(struct vm *vm, uint32_t port, uint16_t type)
{
	int kind = type == VIRTIO_VSOCK_TYPE_SEQPACKET ? SOCK_SEQPACKET : SOCK_STREAM;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	autoclose int fd = -1;
	bool identity;
	int status = host_find(vm, port, &address, &identity);

	if (status < 0)
		return status;
	fd = socket(AF_UNIX, kind | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	if (identity) {
		struct identity_preamble preamble = {
			.magic = IDENTITY_MAGIC,
			.version = IDENTITY_VERSION,
			.cid = vm->own.cid,
		};

		if (send(fd, &preamble, sizeof(preamble), MSG_NOSIGNAL) != sizeof(preamble))
			return -EPIPE;
	}
	return steal_fd(&fd);
}

void host_connect(struct vm *vm, struct connection *connection)
{
	int fd = host_open(vm, connection->host_port, connection->type);
	int status = fd < 0 ? fd : connection_set_host(vm, connection, fd);

	if (status == -EAGAIN)
		return; /* connection_expire() comes back */
	if (status < 0) {
		log_debug("VM '%s': port %" PRIu32 " refused: %s", vm->own.name,
			  connection->host_port, strerror(-status));
		if (fd >= 0)
			close(fd);
		counter_add(&vm->counters.refused, 1);
		connection_reset(vm, connection);
		return;
	}
	connection_set_state(vm, connection, CONNECTION_OPEN);
	connection_owe(vm, connection, OWED_RESPONSE);
}
