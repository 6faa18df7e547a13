/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages of a process as calls, and their answers.
 *
 * A process that does not take its answers ends its session: answers are as many as its requests,
 * and the socket holds them all.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "scif/fabric/local.h"

#define LOCAL_MESSAGES_PER_TURN 16
#define LOCAL_CALLS_MAX		1024u /* that wait, of one session */
#define LOCAL_ROOT_PORT_END	1024u /* ports below are root's */

struct local_message {
	struct scif_local_request request;
	int fd;
	pid_t process;
};

/* One message; 1, 0 when there is none, -errno when the session is over. */
static int local_receive(struct session *session, struct local_message *message)
{
	union {
		char bytes[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(4 * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec part = { &message->request, sizeof(message->request) };
	struct msghdr header = { .msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control) };
	ssize_t got = recvmsg(session->fd, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	struct cmsghdr *item;
	struct ucred sender;

	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	message->fd = -1;
	message->process = 0;
	for (item = CMSG_FIRSTHDR(&header); item; item = CMSG_NXTHDR(&header, item)) {
		size_t count = (item->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		int fd;

		if (item->cmsg_level != SOL_SOCKET)
			continue;
		if (item->cmsg_type == SCM_CREDENTIALS) {
			memcpy(&sender, CMSG_DATA(item), sizeof(sender));
			message->process = sender.pid;
		}
		for (size_t i = 0; item->cmsg_type == SCM_RIGHTS && i < count; i++) {
			memcpy(&fd, CMSG_DATA(item) + i * sizeof(fd), sizeof(fd));
			if (message->fd < 0)
				message->fd = fd;
			else
				close(fd);
		}
	}
	if (got != sizeof(message->request) || (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
		if (message->fd >= 0)
			close(message->fd);
		return got == 0 ? -EPIPE : -EPROTO;
	}
	return 1;
}

/* Sends a call's answer; false when the process does not take it. */
static bool local_answer(struct session *session, const struct call *call)
{
	struct scif_local_reply reply = {
		.tag = call->request.tag,
		.reply = { .status = (__le32)call->status,
			   .flags = call->flags,
			   .value = { call->value[0], call->value[1], call->value[2] } },
	};
	union {
		char bytes[CMSG_SPACE(SCIF_LOCAL_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec parts[2] = { { &reply, sizeof(reply) },
				  { call->out ? call->out->iov_base : NULL, call->written } };
	struct msghdr header = { .msg_iov = parts, .msg_iovlen = 2 };
	ssize_t sent;

	if (call->fd_count) {
		struct cmsghdr *item = (struct cmsghdr *)&control;

		header.msg_control = &control;
		header.msg_controllen = CMSG_SPACE(call->fd_count * sizeof(int));
		item->cmsg_level = SOL_SOCKET;
		item->cmsg_type = SCM_RIGHTS;
		item->cmsg_len = CMSG_LEN(call->fd_count * sizeof(int));
		memcpy(CMSG_DATA(item), call->fds, call->fd_count * sizeof(int));
	}
	sent = sendmsg(session->fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
	return sent >= 0;
}

static void local_free(struct call *call)
{
	struct session *session = call->carrier;

	TAILQ_REMOVE(&session->calls, call, all_link);
	TAILQ_REMOVE(&call->endpoint->waiting, call, link);
	endpoint_put(call->endpoint);
	free(call);
}

/* A kept call is over. A process that does not take the answer: the loop finds its socket shut. */
static void local_finish(struct call *call)
{
	struct session *session = call->carrier;

	if (!local_answer(session, call))
		shutdown(session->fd, SHUT_RDWR);
	local_free(call);
}

void local_try(struct endpoint *endpoint)
{
	struct call *call, *next;

	for (call = TAILQ_FIRST(&endpoint->waiting); call; call = next) {
		next = TAILQ_NEXT(call, link);
		if (call_run(call) != CALL_WAITS)
			local_finish(call);
	}
	atomic_store(&endpoint->wants, !TAILQ_EMPTY(&endpoint->waiting));
}

static void local_hello(struct session *session, struct call *call)
{
	if (session->greeted || call->request.flags != SCIF_LOCAL_VERSION) {
		call->status = session->greeted ? -EINVAL : -EPROTO;
		return;
	}
	if (getrandom(&session->key, sizeof(session->key), 0) < 0) {
		call->status = -errno;
		return;
	}
	pthread_mutex_lock(&call->fabric->lock);
	session->endpoint = endpoint_create(session->node, true, &call->status);
	pthread_mutex_unlock(&call->fabric->lock);
	if (!session->endpoint)
		return;
	session->endpoint->carrier = session;
	session->greeted = true;
	call->value[0] = node_seen(session->node, session->node->number);
	call->value[1] = session->slot;
	call->value[2] = session->key;
}

/* The session shall use the endpoint of one of the same node, whose key it knows. */
static void local_join(const struct local *local, struct session *session, struct call *call)
{
	struct session *first =
		call->address < local->session_room ? local->sessions[call->address] : NULL;

	call->status = -EINVAL;
	if (session->greeted || call->request.flags != SCIF_LOCAL_VERSION)
		return;
	call->status = -EACCES;
	if (!first || !first->greeted || first->of || first->node != session->node ||
	    first->key != call->file_offset)
		return;
	session->greeted = true;
	session->of = first;
	first->joined = true;
	call->status = 0;
}

/* Ends the endpoint; what a copy still uses is answered when its turn ends. */
static void local_close(struct session *session)
{
	struct endpoint *endpoint = session->endpoint;
	struct call *call;

	TAILQ_FOREACH(call, &endpoint->waiting, link)
	call->cancelled = true;
	local_try(endpoint);
	session->endpoint = NULL;
	endpoint_close(endpoint);
}

/* Ends the session's waiting calls; the endpoint is others', too. */
static void local_leave(struct session *session)
{
	struct call *call, *next;

	for (call = TAILQ_FIRST(&session->calls); call; call = next) {
		next = TAILQ_NEXT(call, all_link);
		call->cancelled = true;
		if (call_run(call) != CALL_WAITS)
			local_finish(call);
	}
}

static void local_attach(struct call *call)
{
	struct endpoint *endpoint = call->endpoint, *peer;

	pthread_mutex_lock(&call->fabric->lock);
	if (!endpoint->rx)
		endpoint->rx = ring_create(true);
	peer = endpoint->peer;
	if (!endpoint->rx) {
		call->status = -ENOMEM;
	} else {
		endpoint_publish(endpoint);
		call->fds[call->fd_count++] = endpoint->rx->fd;
		if (peer && endpoint->tx) {
			call->fds[call->fd_count++] = endpoint->tx->fd;
			call->value[0] = 1;
		}
		if (call->value[0] && !peer->is_process) {
			call->fds[call->fd_count++] = peer->node->inbox->wake_fd;
			call->value[1] = 1;
		}
	}
	pthread_mutex_unlock(&call->fabric->lock);
}

static void local_accept_register(struct session *session, struct call *call)
{
	struct session *first = session->of ? session->of : session;
	struct endpoint *accepted = NULL;

	pthread_mutex_lock(&call->fabric->lock);
	call->status = endpoint_accept_register(call, &accepted);
	pthread_mutex_unlock(&call->fabric->lock);
	if (!accepted)
		return;
	local_close(first);
	accepted->carrier = first;
	first->endpoint = accepted;
}

/* The pieces of a map as extents, each file's descriptor once; 0 or -errno. */
static int local_describe_map(const struct window_map *map, struct call *call)
{
	struct map_piece *pieces;
	const unsigned int room = SCIF_LOCAL_PAYLOAD_BYTES / sizeof(struct scif_local_extent);
	int count, status = 0;

	pieces = malloc(room * sizeof(pieces[0]));
	if (!pieces)
		return -ENOMEM;
	count = map_pieces(map, pieces, room);
	if (count < 0)
		status = count == -E2BIG ? -ENOMEM : count;
	for (int i = 0; i < count && status == 0; i++) {
		struct scif_local_extent extent = { pieces[i].file_offset, pieces[i].bytes, 0, 0 };

		while (extent.descriptor < call->fd_count &&
		       call->fds[extent.descriptor] != pieces[i].fd)
			extent.descriptor++;
		if (extent.descriptor == SCIF_LOCAL_FDS_MAX) {
			status = -ENOMEM;
			break;
		}
		if (extent.descriptor == call->fd_count)
			call->fds[call->fd_count++] = pieces[i].fd;
		call_put(call, &extent, sizeof(extent));
	}
	free(pieces);
	return status;
}

/* A guest's memory file shows all of it: only who could read scifd's memory anyway may have it. */
static bool local_may_map(const struct session *session, const struct window_map *map)
{
	if (session->user == 0 || session->user == geteuid())
		return true;
	for (unsigned int i = 0; i < map->window_count; i++) {
		if (map->windows[i]->node->kind == NODE_VM)
			return false;
	}
	return true;
}

static void local_map(struct session *session, struct call *call)
{
	struct local_map *map = calloc(1, sizeof(*map));

	call->status = map ? map_prepare(call, &map->map) : -ENOMEM;
	if (call->status == 0 && !local_may_map(session, &map->map))
		call->status = -EACCES;
	if (call->status == 0)
		call->status = local_describe_map(&map->map, call);
	if (call->status < 0) {
		if (map)
			map_drop(&map->map);
		free(map);
		call->fd_count = 0;
		call->written = 0;
		return;
	}
	map->map.number = ++session->next_map;
	TAILQ_INSERT_TAIL(&session->maps, map, link);
	call->value[0] = map->map.number;
}

static void local_unmap(struct session *session, struct call *call)
{
	struct local_map *map;

	call->status = -EINVAL;
	TAILQ_FOREACH(map, &session->maps, link)
	{
		if (map->map.number != call->request.map.mapping)
			continue;
		TAILQ_REMOVE(&session->maps, map, link);
		map_drop(&map->map);
		free(map);
		call->status = 0;
		return;
	}
}

static void local_cancel(struct session *session, struct call *call)
{
	struct call *other;

	call->status = -ENOENT;
	TAILQ_FOREACH(other, &session->calls, all_link)
	{
		if (other->request.tag != call->request.cancel.tag)
			continue;
		other->cancelled = true;
		call->status = 0;
		if (call_run(other) != CALL_WAITS)
			local_finish(other);
		return;
	}
}

/*
 * Before a process binds a port: who has it may have closed its socket just before, and that was
 * not looked at yet. Ports of root's are root's.
 */
static void local_before_bind(struct local *local, struct session *session, struct call *call)
{
	uint16_t port = call->request.bind.port;
	struct session *owner = NULL;
	struct pollfd socket = { 0 };

	if (port && port < LOCAL_ROOT_PORT_END && session->user != 0)
		call->status = -EACCES;
	pthread_mutex_lock(&call->fabric->lock);
	if (session->node->ports[port])
		owner = session->node->ports[port]->carrier;
	pthread_mutex_unlock(&call->fabric->lock);
	if (!owner || owner == session || owner == session->of)
		return;
	socket.fd = owner->fd;
	if (poll(&socket, 1, 0) > 0 && (socket.revents & POLLHUP))
		local_end(local, owner);
}

/* Runs one of the fabric's calls; true when it is over, false when it is kept. */
static bool local_run_call(struct session *session, struct call *call)
{
	struct call *kept = malloc(sizeof(*kept));
	unsigned int waiting = 0;
	const struct call *other;

	TAILQ_FOREACH(other, &session->calls, all_link)
	waiting++;
	if (!kept || waiting >= LOCAL_CALLS_MAX) {
		free(kept);
		call->status = -ENOMEM;
		return true;
	}
	/* A job points to its call: the call must be in place before it begins. */
	*kept = *call;
	kept->waits = true;
	kept->out = NULL; /* no call that waits has an answer beyond its numbers */
	kept->out_count = 0;
	kept->out_bytes = 0;
	kept->carrier = session;
	endpoint_hold(kept->endpoint);
	TAILQ_INSERT_TAIL(&session->calls, kept, all_link);
	TAILQ_INSERT_TAIL(&kept->endpoint->waiting, kept, link);
	atomic_store(&kept->endpoint->wants, true);
	if (call_run(kept) == CALL_WAITS) {
		/* The first look was before its wish was known to all. */
		if (call_run(kept) == CALL_WAITS)
			return false;
	}
	*call = *kept;
	local_free(kept);
	return true;
}

/* Whether the message's call is one of this wire's own; then it was run. */
static bool local_run_own(const struct local *local, struct session *session, struct call *call)
{
	switch (call->request.call) {
	case SCIF_LOCAL_HELLO:
		local_hello(session, call);
		return true;
	case SCIF_LOCAL_JOIN:
		local_join(local, session, call);
		return true;
	case SCIF_LOCAL_ATTACH:
		if (call->endpoint)
			local_attach(call);
		else
			call->status = -EBADF;
		return true;
	default:
		return false;
	}
}

/* Checks and runs a message's call; its answer is owed when this returns true. */
static bool local_run_message(struct local *local, struct session *session, struct call *call)
{
	uint32_t number = call->request.call;

	if (local_run_own(local, session, call))
		return true;
	call->status = call_check(&call->request);
	if (call->status == 0 && call_names_endpoint(&call->request) && !call->endpoint &&
	    number != SCIF_VIRTIO_MUNMAP)
		call->status = -EBADF;
	if (call->status == 0 && number == SCIF_VIRTIO_BIND)
		local_before_bind(local, session, call);
	if (call->status < 0)
		return true;
	switch (number) {
	case SCIF_VIRTIO_CLOSE:
		if (session->of || (call->request.flags & SCIF_LOCAL_LEAVE))
			local_leave(session);
		else
			local_close(session);
		return true;
	case SCIF_VIRTIO_ACCEPTREG:
		local_accept_register(session, call);
		return true;
	case SCIF_VIRTIO_MMAP:
		local_map(session, call);
		return true;
	case SCIF_VIRTIO_MUNMAP:
		local_unmap(session, call);
		return true;
	case SCIF_VIRTIO_CANCEL:
		local_cancel(session, call);
		return true;
	case SCIF_VIRTIO_POLL:
		call->value[0] = endpoint_poll(call->endpoint);
		return true;
	case SCIF_VIRTIO_OPEN:
	case SCIF_VIRTIO_SEND:
	case SCIF_VIRTIO_RECV:
	case SCIF_VIRTIO_REGISTER_MORE:
	case SCIF_VIRTIO_REGISTER_END:
		call->status = -EINVAL;
		return true;
	case SCIF_VIRTIO_GET_NODES:
	case SCIF_VIRTIO_GET_CARD:
		call_run(call);
		return true;
	default:
		return local_run_call(session, call);
	}
}

bool local_serve(struct local *local, struct session *session)
{
	unsigned char payload[SCIF_LOCAL_PAYLOAD_BYTES];

	for (unsigned int i = 0; i < LOCAL_MESSAGES_PER_TURN; i++) {
		struct iovec out = { payload, sizeof(payload) };
		struct local_message message;
		struct call call = { 0 };
		int got = local_receive(session, &message);
		bool sound = true;

		if (got <= 0)
			return got == 0;
		call.fabric = local->fabric;
		call.node = session->node;
		call.endpoint = session->of ? session->of->endpoint : session->endpoint;
		call.request = message.request.request;
		call.process = message.process;
		call.address = message.request.address;
		call.file_offset = message.request.file_offset;
		call.fd_in = message.fd;
		call.out = &out;
		call.out_count = 1;
		call.out_bytes = sizeof(payload);
		if (local_run_message(local, session, &call))
			sound = local_answer(session, &call);
		if (message.fd >= 0)
			close(message.fd);
		if (!sound)
			return false;
	}
	return true;
}

void local_drop(struct session *session)
{
	struct local_map *map;
	struct call *call;

	/* Copies in the process's memory stop by themselves: it is gone, or does not care. */
	while ((call = TAILQ_FIRST(&session->calls))) {
		if (call->job)
			copy_detach(call);
		local_free(call);
	}
	if (session->endpoint)
		local_close(session);
	while ((map = TAILQ_FIRST(&session->maps))) {
		TAILQ_REMOVE(&session->maps, map, link);
		map_drop(&map->map);
		free(map);
	}
}
