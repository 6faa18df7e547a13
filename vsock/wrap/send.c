/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is sent with an address. TCP ignores it on a connected socket, AF_VSOCK refuses it; with
 * MSG_FASTOPEN it stands for connect(). sendmsg() may also carry descriptors. Without an address
 * these calls cost one comparison; send, write and writev are not here at all.
 */
#include <errno.h>

#include "vsock/wrap/wrap.h"

/* Whether an address was the only reason for the failure of the call just made. */
static bool is_addressed_in_vain(int fd)
{
	return (errno == EISCONN || errno == EOPNOTSUPP) && wrap_state.active &&
	       wrap_tag_of(fd).kind != WRAP_TAG_NONE;
}

WRAP_EXPORT ssize_t sendto(int fd, const void *data, size_t bytes, int flags,
			   const struct sockaddr *to, socklen_t to_bytes)
{
	struct wrap_tcp tcp;
	ssize_t sent;

	if (!to || !wrap_state.active)
		return REAL(sendto)(fd, data, bytes, flags, to, to_bytes);
	if (flags & MSG_FASTOPEN && wrap_tcp_socket(fd, &tcp)) {
		if (connect(fd, to, to_bytes) < 0)
			return -1;
		return REAL(sendto)(fd, data, bytes, flags & ~MSG_FASTOPEN, NULL, 0);
	}
	sent = REAL(sendto)(fd, data, bytes, flags, to, to_bytes);
	if (sent < 0 && is_addressed_in_vain(fd))
		sent = REAL(sendto)(fd, data, bytes, flags, NULL, 0);
	return sent;
}

/* A listener that goes to another process by SCM_RIGHTS goes without its companion: say so. */
static void note_passed(const struct msghdr *message)
{
	const struct cmsghdr *header = CMSG_FIRSTHDR(message);
	const int *fds = header ? (const int *)CMSG_DATA(header) : NULL;

	if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
		return;
	for (size_t i = 0; i < (header->cmsg_len - CMSG_LEN(0)) / sizeof(*fds); i++)
		if (wrap_listener_of(fds[i]))
			wrap_say(WRAP_REFUSED,
				 "fd %d: a listener is passed to another process: there it is "
				 "TCP's alone",
				 fds[i]);
}

WRAP_EXPORT ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	struct msghdr bare;
	struct wrap_tcp tcp;
	ssize_t sent;

	if (wrap_listeners_exist() && message && message->msg_controllen)
		note_passed(message);
	if (!wrap_state.active || !message || !message->msg_name)
		return REAL(sendmsg)(fd, message, flags);
	bare = *message;
	bare.msg_name = NULL;
	bare.msg_namelen = 0;
	if (flags & MSG_FASTOPEN && wrap_tcp_socket(fd, &tcp)) {
		if (connect(fd, message->msg_name, message->msg_namelen) < 0)
			return -1;
		return REAL(sendmsg)(fd, &bare, flags & ~MSG_FASTOPEN);
	}
	sent = REAL(sendmsg)(fd, message, flags);
	if (sent < 0 && is_addressed_in_vain(fd))
		sent = REAL(sendmsg)(fd, &bare, flags);
	return sent;
}

WRAP_EXPORT int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
	int sent = REAL(sendmmsg)(fd, messages, count, flags);
	unsigned done = 0;

	/* One by one, as the kernel does it: the first failure ends it and shows only if first. */
	if (sent >= 0 || !count || !messages[0].msg_hdr.msg_name || !is_addressed_in_vain(fd))
		return sent;
	while (done < count) {
		ssize_t bytes = sendmsg(fd, &messages[done].msg_hdr, flags);

		if (bytes < 0)
			break;
		messages[done++].msg_len = bytes;
	}
	return done ? (int)done : -1;
}
