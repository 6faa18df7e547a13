/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Large receives with MSG_WAITALL. AF_VSOCK refuses, with ENOMEM, to wait for as many bytes as its
 * window has; TCP waits. Such a receive is then made of several. All others cost one comparison;
 * read and readv are not here at all.
 */
#include <errno.h>
#include <sys/uio.h>

#include "vsock/wrap/wrap.h"

#define PIECE_BYTES_MAX (128u << 10) /* half of the default window */

ssize_t __recv_chk(int fd, void *data, size_t bytes, size_t room, int flags);
ssize_t __recvfrom_chk(int fd, void *data, size_t bytes, size_t room, int flags,
		       struct sockaddr *from, socklen_t *from_bytes);
extern void __chk_fail(void) __attribute__((noreturn));

/* Whether the call just made failed for its length alone. */
static bool is_too_long(int fd, int flags)
{
	return errno == ENOMEM && wrap_state.active && !(flags & MSG_PEEK) &&
	       wrap_tag_of(fd).kind != WRAP_TAG_NONE;
}

/* How much may be waited for at once. */
static size_t piece_bytes(int fd)
{
	uint64_t window = 0;
	socklen_t bytes = sizeof(window);

	if (REAL(getsockopt)(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &window, &bytes) < 0 ||
	    window / 2 > PIECE_BYTES_MAX)
		return PIECE_BYTES_MAX;
	return window < 2 ? 1 : window / 2;
}

/* recv() of all @bytes; fewer at the end of the stream, at an error or a signal behind some. */
static ssize_t receive_all(int fd, void *data, size_t bytes, int flags)
{
	size_t piece = piece_bytes(fd), done = 0;

	while (done < bytes) {
		size_t wanted = bytes - done < piece ? bytes - done : piece;
		ssize_t got = REAL(recv)(fd, (char *)data + done, wanted, flags);

		if (got < 0)
			return done ? (ssize_t)done : -1;
		done += got;
		if ((size_t)got < wanted)
			break;
	}
	return done;
}

WRAP_EXPORT ssize_t recv(int fd, void *data, size_t bytes, int flags)
{
	ssize_t got;

	if (!(flags & MSG_WAITALL))
		return REAL(recv)(fd, data, bytes, flags);
	got = REAL(recv)(fd, data, bytes, flags);
	return got < 0 && is_too_long(fd, flags) ? receive_all(fd, data, bytes, flags) : got;
}

WRAP_EXPORT ssize_t __recv_chk(int fd, void *data, size_t bytes, size_t room, int flags)
{
	if (bytes > room)
		__chk_fail();
	return recv(fd, data, bytes, flags);
}

WRAP_EXPORT ssize_t recvfrom(int fd, void *data, size_t bytes, int flags, struct sockaddr *from,
			     socklen_t *from_bytes)
{
	ssize_t got;

	if (!(flags & MSG_WAITALL))
		return REAL(recvfrom)(fd, data, bytes, flags, from, from_bytes);
	got = REAL(recvfrom)(fd, data, bytes, flags, from, from_bytes);
	if (got >= 0 || !is_too_long(fd, flags))
		return got;
	if (from && from_bytes)
		*from_bytes = 0;
	return receive_all(fd, data, bytes, flags);
}

WRAP_EXPORT ssize_t __recvfrom_chk(int fd, void *data, size_t bytes, size_t room, int flags,
				   struct sockaddr *from, socklen_t *from_bytes)
{
	if (bytes > room)
		__chk_fail();
	return recvfrom(fd, data, bytes, flags, from, from_bytes);
}

WRAP_EXPORT ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	ssize_t got, done = 0;

	if (!(flags & MSG_WAITALL))
		return REAL(recvmsg)(fd, message, flags);
	got = REAL(recvmsg)(fd, message, flags);
	if (got >= 0 || !is_too_long(fd, flags))
		return got;
	message->msg_namelen = 0;
	message->msg_controllen = 0;
	message->msg_flags = 0;
	for (size_t i = 0; i < message->msg_iovlen; i++) {
		const struct iovec *part = &message->msg_iov[i];

		got = receive_all(fd, part->iov_base, part->iov_len, flags);
		if (got < 0)
			return done ? done : -1;
		done += got;
		if ((size_t)got < part->iov_len)
			break;
	}
	return done;
}
