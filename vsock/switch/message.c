/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages (SOCK_SEQPACKET) from a guest to the host.
 *
 * A Unix socket takes a message whole or not at all. A guest's comes in packets of up to 64 KiB,
 * the last of which says so. A message of one packet goes straight from the guest's buffers into
 * the socket. The packets of a larger one are put together in the connection's remainder, where
 * whole messages wait, too, that a full socket refuses. There each has its length in front; the
 * last one may lack its end: ->open_bytes of it are there.
 *
 * What is kept is bounded as it is for a stream: bytes by the window, their records by the buffer's
 * limit and VM_REMAINDERS_BYTES_MAX. Bytes of a message without an end count as taken only when it
 * is whole; the others' credit is given back meanwhile, or the end could not come.
 *
 * Messages without bytes are left out: a reader would take them for the end, and Linux guests send
 * none. MSG_EOR has no place in Unix sockets.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "vsock/switch/vm.h"

#define MESSAGE_CUT_BYTES (256u << 10) /* of what is out already, dropped at once */

/* In front of each message in the remainder. */
struct message_record {
	uint32_t bytes;
};

size_t message_waiting(const struct connection *connection)
{
	size_t open = 0;

	if (connection->open_bytes)
		open = connection->open_bytes + sizeof(struct message_record);
	return connection->remainder.used - connection->remainder_done - open;
}

void message_drop_open(struct vm *vm, struct connection *connection)
{
	size_t bytes = connection->open_bytes + sizeof(struct message_record);

	if (connection->open_bytes == 0)
		return;
	connection->open_bytes = 0;
	connection->remainder.used -= bytes;
	vm->remainders_bytes -= bytes;
	if (message_waiting(connection) == 0)
		connection_drop_remainder(vm, connection);
}

/* Drops what is out, all of it or in large pieces. */
static void message_shorten(struct vm *vm, struct connection *connection)
{
	if (connection->remainder_done == connection->remainder.used) {
		connection_drop_remainder(vm, connection);
	} else if (connection->remainder_done >= MESSAGE_CUT_BYTES) {
		buffer_consume(&connection->remainder, connection->remainder_done);
		vm->remainders_bytes -= connection->remainder_done;
		connection->remainder_done = 0;
	}
}

int message_send_kept(struct vm *vm, struct connection *connection)
{
	while (message_waiting(connection)) {
		const unsigned char *from = connection->remainder.data + connection->remainder_done;
		struct message_record record;

		memcpy(&record, from, sizeof(record));
		if (send(connection->fd, from + sizeof(record), record.bytes,
			 MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			return -errno;
		connection->remainder_done += sizeof(record) + record.bytes;
		message_shorten(vm, connection);
	}
	return 0;
}

/* Puts @bytes bytes behind the message that is open, or begins one; 0 or -errno. */
static int message_keep(struct vm *vm, struct connection *connection, const struct iovec *vectors,
			unsigned int count, uint32_t bytes)
{
	struct buffer *remainder = &connection->remainder;
	struct message_record record = { .bytes = connection->open_bytes + bytes };
	size_t extra = connection->open_bytes ? 0 : sizeof(record);
	unsigned char *to;

	if (bytes + extra > VM_REMAINDERS_BYTES_MAX - vm->remainders_bytes)
		return -ENOBUFS;
	to = buffer_reserve(remainder, bytes + extra);
	if (!to)
		return -errno;
	vhost_iovec_copy_in(to + extra, bytes, vectors, count);
	remainder->used += bytes + extra;
	vm->remainders_bytes += bytes + extra;
	vm->remainder_bytes_ever += bytes;
	connection->open_bytes += bytes;
	memcpy(remainder->data + remainder->used - record.bytes - sizeof(record), &record,
	       sizeof(record));
	return 0;
}

int message_take(struct vm *vm, struct connection *connection, struct iovec *vectors,
		 unsigned int count, bool ends)
{
	const struct msghdr message = { .msg_iov = vectors, .msg_iovlen = count };
	uint32_t bytes = 0;
	int status;

	for (unsigned int i = 0; i < count; i++)
		bytes += (uint32_t)vectors[i].iov_len;
	if (bytes && ends && connection->remainder.used == 0) {
		if (sendmsg(connection->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
			return 0;
		if (errno != EAGAIN && errno != EINTR && errno != ENOBUFS)
			return -errno;
	}
	status = bytes ? message_keep(vm, connection, vectors, count, bytes) : 0;
	if (status < 0)
		return status;
	if (!ends)
		return connection->open_bytes == connection->window ? -EMSGSIZE : 0;
	connection->open_bytes = 0;
	status = message_send_kept(vm, connection);
	return status == -EAGAIN ? 0 : status;
}
