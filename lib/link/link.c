/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The public face of a link: making and ending one, and the choice between socket and ring.
 *
 * Hops of a message:
 *	1. stream.c:stream_commit / ring.c:ring_commit	into the out-buffer or the ring
 *	2. stream.c:stream_send / ring.c:ring_publish	on its way, the peer awake
 *	3. stream.c:stream_receive / ring.c:ring_reader_wait	at the peer, after a spin or a sleep
 *	4. stream.c:stream_peek / ring.c:ring_peek	under the reader's eyes
 *
 * State: a link is open from link_connect() or link_adopt() on. link_shutdown() sets `stopped`,
 * which any thread may do and which never goes back; a failure is kept in write_status or
 * read_status, which only the thread that writes or reads touches. There are no locks: the two
 * directions share nothing but `stopped` and the descriptors.
 */
#include "lib/link/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clean.h"
#include "lib/base/io.h"

#define LINK_SPIN_LIMIT_US_MAX 1000000u
/* A server may be starting many workers at once; a client that does not even greet may not wait. */
#define LINK_CONNECT_WAIT_MS 30000
#define LINK_ADOPT_WAIT_MS   5000

const struct link_options link_options_default = {
	.token = NULL,
	.spin_limit_us = 50,
	.ring_bytes = 4u << 20,
	.connect_wait_ms = 0,
};

static const char *const medium_names[] = {
	[LINK_UNIX] = "unix",	[LINK_RING] = "ring", [LINK_TCP] = "tcp",
	[LINK_VSOCK] = "vsock", [LINK_SCIF] = "scif",
};

static struct link *link_allocate(const struct link_options *options, bool outside)
{
	struct link *link = calloc(1, sizeof(*link));
	uint32_t limit_us = options->spin_limit_us;

	if (!link)
		return NULL;
	link->fd = -1;
	link->shared_fd = -1;
	link->ring.room_fd = -1;
	link->scif.epd = link->scif.listener = -1;
	if (limit_us > LINK_SPIN_LIMIT_US_MAX)
		limit_us = LINK_SPIN_LIMIT_US_MAX;
	/* With one processor the peer can only run while this side sleeps. */
	if (!outside && sysconf(_SC_NPROCESSORS_ONLN) == 1)
		limit_us = 0;
	link->write_spin.outside = outside;
	link->write_spin.limit_ns = link->write_spin.now_ns = limit_us * 1000;
	link->read_spin = link->write_spin;
	return link;
}

/* Frees what link_allocate() and the media made; leaves the descriptor alone. */
static void link_release(struct link *link)
{
	if (link_has_ring(link))
		ring_close(link);
	else
		stream_close(link);
	if (link->medium == LINK_SCIF)
		link_scif_close(link);
	if (link->shared_fd >= 0)
		close(link->shared_fd);
	free(link);
}

static int64_t link_deadline_ms(const struct link_options *options, uint32_t default_ms)
{
	return link_now_ms() + (options->connect_wait_ms ? options->connect_wait_ms : default_ms);
}

int link_connect(const char *text, const struct link_options *options, struct link **result,
		 struct error *error)
{
	struct link_address address;
	int64_t deadline_ms;
	struct link *link;
	autoclose int fd = -1;
	int status;

	if (!options)
		options = &link_options_default;
	deadline_ms = link_deadline_ms(options, LINK_CONNECT_WAIT_MS);
	status = link_address_parse(text, &address, error);
	if (status < 0)
		return status;
	fd = link_address_connect(&address, deadline_ms, error);
	if (fd < 0)
		return fd;
	link = link_allocate(options, address.medium == LINK_SCIF);
	if (!link)
		return error_set(error, -ENOMEM, "no memory for a link");
	link->fd = fd;
	link->medium = address.medium;
	status = link_greet(link, options, deadline_ms, error);
	if (status >= 0 && !link_has_ring(link))
		status = stream_open(link);
	if (status < 0) {
		link_release(link);
		return status;
	}
	steal_fd(&fd);
	*result = link;
	return 0;
}

int link_adopt(int fd, const struct link_options *options, struct link **result,
	       struct error *error)
{
	struct link *link;
	int status;

	if (!options)
		options = &link_options_default;
	status = io_set_nonblock(fd, 0);
	if (status < 0)
		return error_set(error, status, "descriptor %d: %s", fd, strerror(-status));
	link = link_allocate(options, false);
	if (!link)
		return error_set(error, -ENOMEM, "no memory for a link");
	link->fd = fd;
	status = link_answer(link, options, link_deadline_ms(options, LINK_ADOPT_WAIT_MS), error);
	if (status >= 0 && !link_has_ring(link))
		status = stream_open(link);
	if (status < 0) {
		link_release(link);
		return status;
	}
	*result = link;
	return 0;
}

enum link_medium link_medium(const struct link *link)
{
	return link->medium;
}

const char *link_medium_name(enum link_medium medium)
{
	return medium_names[medium];
}

int link_shared(const struct link *link, uint64_t *bytes)
{
	*bytes = link->medium == LINK_SCIF ? INT64_MAX & ~4095ull : link->shared_bytes;
	return link->shared_fd;
}

int link_failure(struct link *link, int error_number)
{
	if (atomic_load(&link->stopped))
		return -ESHUTDOWN;
	switch (error_number) {
	case 0: /* the end of the stream */
	case EPIPE:
	case ECONNRESET:
	case ENOTCONN:
	case ECONNABORTED:
		return -EPIPE;
	}
	return -error_number;
}

/* The sticky state of a side: 0 while it may go on. */
static inline int link_side_status(struct link *link, int status)
{
	if (atomic_load_explicit(&link->stopped, memory_order_relaxed))
		return -ESHUTDOWN;
	return status;
}

static inline int link_write_result(struct link *link, int status)
{
	if (status < 0 && status != -EMSGSIZE)
		link->write_status = status;
	return status;
}

static inline int link_read_result(struct link *link, int status)
{
	if (status < 0 && status != -EMSGSIZE)
		link->read_status = status;
	return status;
}

int link_reserve(struct link *link, size_t bytes, void **at)
{
	int status = link_side_status(link, link->write_status);

	if (status < 0)
		return status;
	if (bytes > LINK_CONTIGUOUS_BYTES)
		return -EMSGSIZE;
	status = link_has_ring(link) ? ring_reserve(link, bytes, at)
				     : stream_reserve(link, bytes, at);
	return link_write_result(link, status);
}

int link_commit(struct link *link, size_t bytes)
{
	int status = link_side_status(link, link->write_status);

	if (status < 0)
		return status;
	status = link_has_ring(link) ? ring_commit(link, bytes) : stream_commit(link, bytes);
	return link_write_result(link, status);
}

int link_write(struct link *link, const void *data, size_t bytes)
{
	int status = link_side_status(link, link->write_status);

	if (status < 0)
		return status;
	status = link_has_ring(link) ? ring_write(link, data, bytes)
				     : stream_write(link, data, bytes);
	return link_write_result(link, status);
}

int link_flush(struct link *link)
{
	int status = link_side_status(link, link->write_status);

	if (status < 0)
		return status;
	status = link_has_ring(link) ? ring_flush(link) : stream_flush(link);
	return link_write_result(link, status);
}

int link_peek(struct link *link, size_t bytes, const void **at)
{
	int status = link_side_status(link, link->read_status);

	if (status < 0)
		return status;
	if (bytes > LINK_CONTIGUOUS_BYTES)
		return -EMSGSIZE;
	status = link_has_ring(link) ? ring_peek(link, bytes, at) : stream_peek(link, bytes, at);
	return link_read_result(link, status);
}

int link_peek_some(struct link *link, const void **at, size_t *bytes)
{
	int status = link_side_status(link, link->read_status);

	if (status < 0)
		return status;
	status = link_has_ring(link) ? ring_peek_some(link, at, bytes)
				     : stream_peek_some(link, at, bytes);
	return link_read_result(link, status);
}

ssize_t link_readable(struct link *link)
{
	ssize_t bytes = link_side_status(link, link->read_status);

	if (bytes < 0)
		return bytes;
	bytes = link_has_ring(link) ? ring_readable(link) : stream_readable(link);
	if (bytes < 0)
		link->read_status = (int)bytes;
	return bytes;
}

void link_consume(struct link *link, size_t bytes)
{
	if (link_has_ring(link))
		ring_consume(link, bytes);
	else
		stream_consume(link, bytes);
}

int link_read(struct link *link, void *to, size_t bytes)
{
	int status = link_side_status(link, link->read_status);

	if (status < 0)
		return status;
	status = link_has_ring(link) ? ring_read(link, to, bytes) : stream_read(link, to, bytes);
	return link_read_result(link, status);
}

int link_discard(struct link *link, uint64_t bytes)
{
	while (bytes) {
		size_t some = bytes < LINK_CONTIGUOUS_BYTES ? bytes : LINK_CONTIGUOUS_BYTES;
		const void *at;
		int status = link_peek_some(link, &at, &some);

		if (status < 0)
			return status;
		link_consume(link, some);
		bytes -= some;
	}
	return 0;
}

void link_shutdown(struct link *link)
{
	atomic_store(&link->stopped, true);
	if (link_has_ring(link))
		ring_shutdown(link);
	shutdown(link->fd, SHUT_RDWR);
}

void link_close(struct link *link)
{
	if (!link)
		return;
	link_shutdown(link);
	link_abandon(link);
}

void link_abandon(struct link *link)
{
	if (!link)
		return;
	close(link->fd);
	link_release(link);
}
