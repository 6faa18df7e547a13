/* SPDX-License-Identifier: Apache-2.0 */
/* Framing of vhost-user; see message.h. */
#include "lib/vhost/message.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/io.h"

_Static_assert(VHOST_FDS_MAX <= IO_FDS_MAX, "one receive carries every message's descriptors");

void vhost_message_drop(struct vhost_incoming *incoming)
{
	for (unsigned int i = 0; i < incoming->fd_count; i++)
		if (incoming->fds[i] >= 0)
			close(incoming->fds[i]);
	incoming->fd_count = 0;
	incoming->used = 0;
}

int vhost_message_take_fd(struct vhost_incoming *incoming, unsigned int index)
{
	int fd;

	if (index >= incoming->fd_count)
		return -1;
	fd = incoming->fds[index];
	incoming->fds[index] = -1;
	return fd;
}

/* Keeps received descriptors with the message; too many are closed and refused. */
static int vhost_message_keep_fds(struct vhost_incoming *incoming, const int *fds, size_t count)
{
	int status = 0;

	for (size_t i = 0; i < count; i++) {
		if (incoming->fd_count < VHOST_FDS_MAX) {
			incoming->fds[incoming->fd_count++] = fds[i];
		} else {
			close(fds[i]);
			status = -EPROTO;
		}
	}
	return status;
}

/* Where the next bytes go: never beyond the message at hand, so that none of the next is read. */
static size_t vhost_message_room(struct vhost_incoming *incoming, void **to)
{
	uint32_t used = incoming->used, header = sizeof(incoming->header);

	if (used < header) {
		*to = (unsigned char *)&incoming->header + used;
		return header - used;
	}
	*to = (unsigned char *)&incoming->payload + (used - header);
	return header + incoming->header.size - used;
}

int vhost_message_receive(int socket_fd, struct vhost_incoming *incoming)
{
	for (;;) {
		int fds[IO_FDS_MAX], status;
		size_t fd_count = 0, room;
		ssize_t got;
		void *to;

		room = vhost_message_room(incoming, &to);
		if (room == 0)
			return 1;
		got = io_receive_fds(socket_fd, to, room, fds, &fd_count);
		if (got == -EAGAIN)
			return 0;
		if (got <= 0)
			return got < 0 ? (int)got : -EPIPE;
		status = vhost_message_keep_fds(incoming, fds, fd_count);
		if (status < 0)
			return status;
		incoming->used += (uint32_t)got;
		if (incoming->used >= sizeof(incoming->header) &&
		    incoming->header.size > sizeof(incoming->payload))
			return -EPROTO;
	}
}

int vhost_message_reply(int socket_fd, uint32_t request, const union vhost_user_payload *payload,
			uint32_t bytes)
{
	struct vhost_user_header header = {
		.request = request,
		.flags = VHOST_USER_FLAG_VERSION | VHOST_USER_FLAG_REPLY,
		.size = bytes,
	};
	unsigned char message[sizeof(header) + sizeof(*payload)];
	ssize_t sent;

	memcpy(message, &header, sizeof(header));
	memcpy(message + sizeof(header), payload, bytes);
	sent = send(socket_fd, message, sizeof(header) + bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent < 0)
		return -errno;
	return (size_t)sent == sizeof(header) + bytes ? 0 : -EAGAIN;
}
