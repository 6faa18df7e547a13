/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring whose peer writes anything into the control words, between any calls of this side. The
 * peer has hung up, so that no call waits. Whatever is handed out must lie inside the mapping.
 */
#include <endian.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/link/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

struct input {
	const uint8_t *data;
	size_t bytes;
};

static uint64_t take(struct input *input, size_t bytes)
{
	uint64_t value = 0;

	if (bytes > input->bytes)
		bytes = input->bytes;
	if (bytes)
		memcpy(&value, input->data, bytes);
	input->data += bytes;
	input->bytes -= bytes;
	return value;
}

/* The server's end of a ring whose memory is reachable as @header. */
static struct link *ring_server(struct link *client)
{
	struct link_greeting greeting = {
		.ring_bytes = htole64(LINK_RING_BYTES_MIN),
		.memory_bytes = htole64(LINK_RING_HEADER_BYTES + 2 * LINK_RING_BYTES_MIN),
	};
	struct link *server = calloc(1, sizeof(*server));
	int fds[LINK_RING_FDS], pair[2];

	client->medium = server->medium = LINK_RING;
	client->ring.room_fd = server->ring.room_fd = -1;
	if (ring_make(client, LINK_RING_BYTES_MIN, fds, NULL) < 0 ||
	    ring_attach(server, &greeting, fds, NULL) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		abort();
	close(client->ring.room_fd);
	client->ring.room_fd = -1;
	close(pair[0]);
	server->fd = pair[1];
	return server;
}

static void check_inside(const struct link *link, const struct link_ring_half *half, const void *at,
			 size_t bytes)
{
	const unsigned char *from = at;

	if (from < half->base || bytes > link->ring.ring_bytes ||
	    from + bytes > half->base + 2 * link->ring.ring_bytes)
		abort();
}

static void set_word(struct link_ring_header *header, struct input *input)
{
	uint8_t which = take(input, 1);
	struct link_ring_words *words = which & 1 ? &header->to_server : &header->to_client;
	/* Mostly near the present values, sometimes anything. */
	uint64_t value = which & 2 ? take(input, 8) : take(input, 3);

	switch (which >> 2 & 3) {
	case 0:
		atomic_store(&words->produced, value);
		return;
	case 1:
		atomic_store(&words->consumed, value);
		return;
	case 2:
		atomic_store(&words->reader_sleeps, value);
		return;
	case 3:
		atomic_store(&words->writer_sleeps, value);
		atomic_store(&words->writer_processor, value);
		return;
	}
}

static void one_call(struct link *link, struct link_ring_header *header, struct input *input)
{
	static unsigned char scratch[1u << 20];
	size_t bytes = 0, readable;
	const void *from;
	ssize_t known;
	void *to;

	switch (take(input, 1) % 8) {
	case 0:
	case 1:
		set_word(header, input);
		return;
	case 2:
		bytes = take(input, 3) % (LINK_CONTIGUOUS_BYTES + 2);
		if (link_reserve(link, bytes, &to) == 0) {
			check_inside(link, &link->ring.out, to, bytes);
			memset(to, 1, bytes);
			link_commit(link, bytes);
		}
		return;
	case 3:
		link_write(link, scratch, take(input, 3) % sizeof(scratch));
		link_flush(link);
		return;
	case 4:
		bytes = take(input, 3) % (LINK_CONTIGUOUS_BYTES + 2);
		if (link_peek(link, bytes, &from) == 0) {
			check_inside(link, &link->ring.in, from, bytes);
			memcpy(scratch, from, bytes);
			link_consume(link, bytes);
		}
		return;
	case 5:
		readable = sizeof(scratch);
		if (link_peek_some(link, &from, &readable) == 0) {
			check_inside(link, &link->ring.in, from, readable);
			memcpy(scratch, from, readable);
			link_consume(link, readable / 2);
		}
		return;
	case 6:
		link_read(link, scratch, take(input, 3) % sizeof(scratch));
		return;
	case 7:
		known = link_readable(link);
		if (known > (ssize_t)link->ring.ring_bytes)
			abort();
		return;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input input = { data, bytes };
	struct link client = { .fd = -1 };
	struct link *server = ring_server(&client);

	for (int calls = 0; input.bytes && calls < 64; calls++)
		one_call(server, client.ring.header, &input);
	link_close(server);
	ring_close(&client);
	return 0;
}
