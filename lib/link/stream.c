/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A link over a stream socket (Unix, TCP, vsock).
 *
 * Writing: small pieces gather in the out-buffer and leave together at a flush, or when
 * STREAM_SEND_AHEAD_BYTES have gathered; large ones leave straight from the caller's memory, behind
 * what has gathered, in the same sendmsg(). Reading: whatever has arrived comes into the in-buffer
 * with one recvmsg(); large reads go straight to their destination and only what follows them
 * goes into the buffer.
 *
 * The writing thread alone touches out_*, the reading thread alone in_*. The socket is blocking:
 * a wait first spins with MSG_DONTWAIT, then blocks in the very call that brings the data, which
 * shutdown() and the peer's death both end.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "lib/link/internal.h"

#define STREAM_OUT_BYTES	(LINK_CONTIGUOUS_BYTES)
#define STREAM_IN_BYTES		(2 * LINK_CONTIGUOUS_BYTES)
#define STREAM_SEND_AHEAD_BYTES (32u << 10)
#define STREAM_DIRECT_BYTES	(16u << 10) /* from here on the caller's memory is used itself */

int stream_open(struct link *link)
{
	link->stream.out = malloc(STREAM_OUT_BYTES);
	link->stream.in = malloc(STREAM_IN_BYTES);
	return link->stream.out && link->stream.in ? 0 : -ENOMEM;
}

void stream_close(struct link *link)
{
	free(link->stream.out);
	free(link->stream.in);
}

/* Sends the out-buffer and then @data, all of it; returns 0 or -errno. */
static int stream_send(struct link *link, const void *data, size_t bytes)
{
	struct iovec parts[2] = { { link->stream.out, link->stream.out_used },
				  { (void *)data, bytes } };
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };

	while (parts[0].iov_len || parts[1].iov_len) {
		ssize_t sent = sendmsg(link->fd, &message, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return link_failure(link, errno);
		for (int i = 0; i < 2; i++) {
			size_t part =
				(size_t)sent < parts[i].iov_len ? (size_t)sent : parts[i].iov_len;

			if (part) /* an empty part may be NULL */
				parts[i].iov_base = (char *)parts[i].iov_base + part;
			parts[i].iov_len -= part;
			sent -= part;
		}
	}
	link->stream.out_used = 0;
	return 0;
}

int stream_reserve(struct link *link, size_t bytes, void **at)
{
	if (bytes > STREAM_OUT_BYTES - link->stream.out_used) {
		int status = stream_send(link, NULL, 0);

		if (status < 0)
			return status;
	}
	*at = link->stream.out + link->stream.out_used;
	return 0;
}

int stream_commit(struct link *link, size_t bytes)
{
	link->stream.out_used += bytes;
	if (link->stream.out_used >= STREAM_SEND_AHEAD_BYTES)
		return stream_send(link, NULL, 0);
	return 0;
}

int stream_write(struct link *link, const void *data, size_t bytes)
{
	void *at;
	int status;

	if (bytes >= STREAM_DIRECT_BYTES)
		return stream_send(link, data, bytes);
	status = stream_reserve(link, bytes, &at);
	if (status < 0)
		return status;
	if (bytes)
		memcpy(at, data, bytes);
	return stream_commit(link, bytes);
}

int stream_flush(struct link *link)
{
	return stream_send(link, NULL, 0);
}

/* Receives at least one byte into @parts: spins, then blocks. The count, or -errno. */
static ssize_t stream_receive(struct link *link, struct iovec *parts, size_t part_count)
{
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = part_count };
	bool slept = false;
	ssize_t got;

	spin_begin(&link->read_spin);
	for (;;) {
		bool sleeps = !spin_again(&link->read_spin, true);

		slept |= sleeps;
		got = recvmsg(link->fd, &message, sleeps ? 0 : MSG_DONTWAIT);
		if (got > 0)
			break;
		if (got < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		return link_failure(link, got < 0 ? errno : 0);
	}
	if (slept)
		spin_slept(&link->read_spin);
	return got;
}

/* Makes @bytes contiguous in the in-buffer possible, then receives until they are there. */
static int stream_fill(struct link *link, size_t bytes)
{
	struct link_stream *stream = &link->stream;
	size_t have = stream->in_end - stream->in_start;

	if (stream->in_start && (!have || stream->in_start + bytes > STREAM_IN_BYTES)) {
		memmove(stream->in, stream->in + stream->in_start, have);
		stream->in_start = 0;
		stream->in_end = have;
	}
	while (stream->in_end - stream->in_start < bytes) {
		struct iovec part = { stream->in + stream->in_end,
				      STREAM_IN_BYTES - stream->in_end };
		ssize_t got = stream_receive(link, &part, 1);

		if (got < 0)
			return (int)got;
		stream->in_end += got;
	}
	return 0;
}

int stream_peek(struct link *link, size_t bytes, const void **at)
{
	struct link_stream *stream = &link->stream;

	if (stream->in_end - stream->in_start < bytes) {
		int status = stream_fill(link, bytes);

		if (status < 0)
			return status;
	}
	*at = stream->in + stream->in_start;
	return 0;
}

int stream_peek_some(struct link *link, const void **at, size_t *bytes)
{
	struct link_stream *stream = &link->stream;
	int status = stream_peek(link, 1, at);

	if (status < 0)
		return status;
	if (*bytes > stream->in_end - stream->in_start)
		*bytes = stream->in_end - stream->in_start;
	return 0;
}

ssize_t stream_readable(struct link *link)
{
	struct link_stream *stream = &link->stream;
	ssize_t got;

	if (stream->in_end > stream->in_start)
		return stream->in_end - stream->in_start;
	stream->in_start = stream->in_end = 0;
	do {
		got = recv(link->fd, stream->in, STREAM_IN_BYTES, MSG_DONTWAIT);
	} while (got < 0 && errno == EINTR);
	if (got < 0 && errno == EAGAIN)
		return 0;
	if (got <= 0)
		return link_failure(link, got < 0 ? errno : 0);
	stream->in_end = got;
	return got;
}

void stream_consume(struct link *link, size_t bytes)
{
	struct link_stream *stream = &link->stream;

	stream->in_start += bytes;
	if (stream->in_start == stream->in_end)
		stream->in_start = stream->in_end = 0;
}

/* Reads @bytes straight to their place; what follows them in the socket goes into the buffer. */
static int stream_read_direct(struct link *link, unsigned char *to, size_t bytes)
{
	struct link_stream *stream = &link->stream;

	while (bytes) {
		struct iovec parts[2] = { { to, bytes }, { stream->in, STREAM_IN_BYTES } };
		ssize_t got = stream_receive(link, parts, 2);

		if (got < 0)
			return (int)got;
		if ((size_t)got > bytes) {
			stream->in_end = got - bytes;
			return 0;
		}
		to += got;
		bytes -= got;
	}
	return 0;
}

int stream_read(struct link *link, void *to, size_t bytes)
{
	struct link_stream *stream = &link->stream;
	unsigned char *at = to;

	while (bytes) {
		size_t some = stream->in_end - stream->in_start;
		const void *from;
		int status;

		if (!some && bytes >= STREAM_DIRECT_BYTES)
			return stream_read_direct(link, at, bytes);
		some = bytes;
		status = stream_peek_some(link, &from, &some);
		if (status < 0)
			return status;
		memcpy(at, from, some);
		stream_consume(link, some);
		at += some;
		bytes -= some;
	}
	return 0;
}
