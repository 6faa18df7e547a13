/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both sides of a link's second connection (lib/link/scif.c), each against one that does not do as
 * it should: strangers at the port, silence, hang-ups, wrong words, windows that are not there.
 *
 * The server is a process of the host, the client one of the card; each case forks one of them.
 *
 * usage: scif_door HOST_SOCKET CARD_SOCKET	prints "ok NAME" for each case; 1 with the first
 * that fails
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "include/scif.h"
#include "lib/base/io.h"
#include "lib/link/internal.h"

#define RING_BYTES   LINK_RING_BYTES_MIN
#define WINDOW_BYTES (LINK_RING_HEADER_BYTES + 2 * RING_BYTES)
#define LIMIT_MS     20000 /* far more than any case needs, where nothing is to be waited for */
#define SHORT_MS     1000  /* where the deadline itself is the case */

static const char *host, *card;

#define CHECK(condition)                                                                    \
	do {                                                                                \
		if (!(condition)) {                                                         \
			fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #condition, \
				strerror(errno));                                           \
			exit(1);                                                            \
		}                                                                           \
	} while (0)

/* The side that is not under test. */
struct side {
	pid_t process;
	int pipe;
};

static void be(const char *socket)
{
	CHECK(setenv("CAUSEWAY_SCIF_SOCKET", socket, 1) == 0);
}

static struct link make_link(void)
{
	struct link link = { .fd = -1, .medium = LINK_SCIF, .shared_fd = -1 };

	link.ring.room_fd = link.scif.epd = link.scif.listener = -1;
	link.ring.ring_bytes = RING_BYTES;
	return link;
}

/* What a server's or a client's call came to. */
struct outcome {
	int status;
	char text[512];
};

/* A server in a process of its own; its door. Its outcome follows in the pipe. */
static struct side start_server(struct link_scif_door *door, int64_t limit_ms)
{
	struct side side;
	int ends[2];

	CHECK(pipe(ends) == 0);
	side.process = fork();
	CHECK(side.process >= 0);
	if (side.process == 0) {
		struct outcome outcome = { 0 };
		struct link link = make_link();
		struct error error = { 0 };

		be(host);
		CHECK(link_scif_listen(&link, door, &error) == 0);
		CHECK(io_write_full(ends[1], door, sizeof(*door)) == 0);
		outcome.status = link_scif_serve(&link, door, link_now_ms() + limit_ms, &error);
		snprintf(outcome.text, sizeof(outcome.text), "%s", error.text);
		if (outcome.status == 0) { /* the rings are the client's memory, twice in a row */
			link.ring.in.base[0] = 11;
			link.ring.out.base[RING_BYTES + 1] = 22;
			CHECK(link.ring.header->to_server.produced == 33);
		}
		CHECK(io_write_full(ends[1], &outcome, sizeof(outcome)) == 0);
		link_scif_close(&link);
		exit(0);
	}
	close(ends[1]);
	side.pipe = ends[0];
	CHECK(io_read_full(side.pipe, door, sizeof(*door)) == 0);
	be(card);
	return side;
}

static void ended(const struct side *side, int status, const char *text)
{
	struct outcome outcome;
	int code;

	CHECK(io_read_full(side->pipe, &outcome, sizeof(outcome)) == 0);
	if (outcome.status != status || strncmp(outcome.text, text, strlen(text)) != 0) {
		fprintf(stderr, "%d \"%s\": expected %d \"%s\"\n", outcome.status, outcome.text,
			status, text);
		exit(1);
	}
	close(side->pipe);
	CHECK(waitpid(side->process, &code, 0) == side->process && code == 0);
}

/* A client as it should be meets the server. */
static void meet(const struct link_scif_door *door)
{
	struct link link = make_link();
	struct error error = { 0 };
	struct link_ring_header *header;
	unsigned char *rings;
	int status;

	link.scif.memory_bytes = WINDOW_BYTES;
	link.scif.memory = mmap(NULL, WINDOW_BYTES, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(link.scif.memory != MAP_FAILED);
	header = link.scif.memory;
	header->to_server.produced = 33;
	status = link_scif_meet(&link, door, link_now_ms() + LIMIT_MS, &error);
	if (status)
		fprintf(stderr, "%s\n", error.text);
	CHECK(status == 0);
	rings = (unsigned char *)link.scif.memory + LINK_RING_HEADER_BYTES;
	while (((volatile unsigned char *)rings)[RING_BYTES + 1] != 22)
		continue;
	CHECK(rings[0] == 11);
	link_scif_close(&link);
}

/* Somebody at the server's port, who has read its word. */
static scif_epd_t come(const struct link_scif_door *door)
{
	struct scif_portID server = { 0, le16toh(door->port) };
	scif_epd_t epd = scif_open();
	char word[16];

	CHECK(epd >= 0 && scif_connect(epd, &server) > 0);
	CHECK(scif_recv(epd, word, sizeof(word), SCIF_RECV_BLOCK) == sizeof(word));
	CHECK(memcmp(word, door->server_word, sizeof(word)) == 0);
	return epd;
}

static void knock(scif_epd_t epd, const struct link_scif_door *door, uint64_t offset, int wrong)
{
	struct link_scif_knock message = { .offset = htole64(offset) };

	memcpy(message.client_word, door->client_word, sizeof(message.client_word));
	message.client_word[15] ^= (uint8_t)wrong;
	CHECK(scif_send(epd, &message, sizeof(message), SCIF_SEND_BLOCK) == sizeof(message));
}

static void both_meet(void)
{
	struct link_scif_door door;
	struct side server = start_server(&door, LIMIT_MS);

	meet(&door);
	ended(&server, 0, "");
}

static void nobody_comes(void)
{
	struct link_scif_door door;
	struct side server = start_server(&door, SHORT_MS);

	ended(&server, -ETIMEDOUT, "the client did not come over SCIF");
}

static void a_wrong_word_is_a_stranger(void)
{
	struct link_scif_door door;
	struct side server = start_server(&door, LIMIT_MS);
	scif_epd_t stranger = come(&door);
	char byte;

	knock(stranger, &door, 0, 1);
	CHECK(scif_recv(stranger, &byte, 1, SCIF_RECV_BLOCK) == -1 && errno == ECONNRESET);
	meet(&door);
	ended(&server, 0, "");
	scif_close(stranger);
}

static void a_silent_stranger_costs_a_moment(void)
{
	struct link_scif_door door;
	struct side server = start_server(&door, LIMIT_MS);
	scif_epd_t stranger = come(&door);

	meet(&door);
	ended(&server, 0, "");
	scif_close(stranger);
}

static void half_a_knock_is_a_stranger(void)
{
	struct link_scif_door door;
	struct side server = start_server(&door, LIMIT_MS);
	scif_epd_t stranger = come(&door);

	CHECK(scif_send(stranger, door.client_word, 16, SCIF_SEND_BLOCK) == 16);
	scif_close(stranger);
	meet(&door);
	ended(&server, 0, "");
}

/* The right word, and a window that is none; client and server have the same answer. */
static void offer(uint64_t offset, size_t bytes, int status)
{
	struct link_scif_door door;
	struct side server = start_server(&door, LIMIT_MS);
	scif_epd_t client = come(&door);
	int32_t answer = 0;

	if (bytes) {
		void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		CHECK(memory != MAP_FAILED);
		CHECK(scif_register(client, memory, bytes, (off_t)offset, 3, SCIF_MAP_FIXED) ==
		      (off_t)offset);
	}
	knock(client, &door, offset, 0);
	CHECK(scif_recv(client, &answer, sizeof(answer), SCIF_RECV_BLOCK) == sizeof(answer));
	CHECK((int32_t)le32toh((uint32_t)answer) == status);
	ended(&server, status, "cannot map the client's ring");
	scif_close(client);
}

static void windows_that_are_not_there(void)
{
	offer(1ull << 63, 0, -EINVAL);
	offer(UINT64_MAX, 0, -EINVAL);
	offer(INT64_MAX - 4095, 0, -ENXIO);
	offer(0x10000, 0, -ENXIO);
	offer(0x10000, LINK_RING_HEADER_BYTES, -ENXIO);
	offer(0x10000, LINK_RING_HEADER_BYTES + RING_BYTES, -ENXIO);
	offer(0x10000, WINDOW_BYTES - 4096, -ENXIO);
}

/* ---- the client's side ---- */

/* A client in a process of its own; what it came to follows in the pipe. */
static struct side start_client(const struct link_scif_door *door, int64_t limit_ms)
{
	struct side side;
	int ends[2];

	CHECK(pipe(ends) == 0);
	side.process = fork();
	CHECK(side.process >= 0);
	if (side.process == 0) {
		struct outcome outcome;
		struct link link = make_link();
		struct error error = { 0 };

		be(card);
		link.scif.memory_bytes = WINDOW_BYTES;
		link.scif.memory = mmap(NULL, WINDOW_BYTES, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(link.scif.memory != MAP_FAILED);
		outcome.status = link_scif_meet(&link, door, link_now_ms() + limit_ms, &error);
		snprintf(outcome.text, sizeof(outcome.text), "%s", error.text);
		link_scif_close(&link);
		CHECK(io_write_full(ends[1], &outcome, sizeof(outcome)) == 0);
		exit(0);
	}
	close(ends[1]);
	side.pipe = ends[0];
	return side;
}

/* A listener in the server's place, and its door. */
static scif_epd_t make_door(struct link_scif_door *door)
{
	scif_epd_t listener;
	int port;

	be(host);
	listener = scif_open();
	port = scif_bind(listener, 0);
	CHECK(listener >= 0 && port > 0 && scif_listen(listener, 4) == 0);
	*door = (struct link_scif_door){ .port = htole16((uint16_t)port) };
	memset(door->server_word, 5, sizeof(door->server_word));
	memset(door->client_word, 6, sizeof(door->client_word));
	return listener;
}

static scif_epd_t let_in(scif_epd_t listener)
{
	struct scif_portID peer;
	scif_epd_t epd;

	CHECK(scif_accept(listener, &peer, &epd, SCIF_ACCEPT_SYNC) == 0);
	return epd;
}

static void nobody_listens(void)
{
	struct link_scif_door door;
	struct side client;

	scif_close(make_door(&door));
	client = start_client(&door, LIMIT_MS);
	ended(&client, -ECONNREFUSED, "the server is at none of the nodes");
}

/* Two who would let the client wait for ever: one never accepts, one accepts and says nothing. */
static void waiting_has_an_end(void)
{
	struct link_scif_door door;
	scif_epd_t listener = make_door(&door), epd;
	struct side client = start_client(&door, SHORT_MS);

	ended(&client, -ECONNREFUSED, "the server is at none of the nodes");
	client = start_client(&door, SHORT_MS);
	epd = let_in(listener);
	ended(&client, -ECONNREFUSED, "the server is at none of the nodes");
	scif_close(epd);
	scif_close(listener);
}

/* One who accepts, says @word of the server's and after the knock @answer, if they have bytes. */
static void serve(const char *word, size_t word_bytes, const void *answer, size_t answer_bytes,
		  int status, const char *text)
{
	struct link_scif_door door;
	scif_epd_t listener = make_door(&door);
	struct side client = start_client(&door, LIMIT_MS);
	scif_epd_t epd = let_in(listener);
	struct link_scif_knock message;

	CHECK(scif_send(epd, (void *)(uintptr_t)word, (int)word_bytes, SCIF_SEND_BLOCK) ==
	      (int)word_bytes);
	if (status != -ECONNREFUSED) {
		CHECK(scif_recv(epd, &message, sizeof(message), SCIF_RECV_BLOCK) ==
		      sizeof(message));
		CHECK(memcmp(message.client_word, door.client_word, 16) == 0);
		CHECK(scif_send(epd, (void *)(uintptr_t)answer, (int)answer_bytes,
				SCIF_SEND_BLOCK) == (int)answer_bytes);
	}
	scif_close(epd);
	ended(&client, status, text);
	scif_close(listener);
}

static void servers_that_are_none(void)
{
	static const char right[16] = { 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5 };
	static const char wrong[16] = { 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 4 };
	const int32_t refused = (int32_t)htole32((uint32_t)-ENOMEM), odd = (int32_t)htole32(7);

	serve(wrong, 16, NULL, 0, -ECONNREFUSED, "the server is at none of the nodes");
	serve(right, 15, NULL, 0, -ECONNREFUSED, "the server is at none of the nodes");
	serve(right, 16, NULL, 0, -EPIPE, "the server cannot map the ring: Broken pipe");
	serve(right, 16, &refused, 3, -EPIPE, "the server cannot map the ring: Broken pipe");
	serve(right, 16, &refused, 4, -ENOMEM, "the server cannot map the ring: Cannot allocate");
	serve(right, 16, &odd, 4, -EPROTO, "the server cannot map the ring");
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} cases[] = {
		{ "both_meet", both_meet },
		{ "nobody_comes", nobody_comes },
		{ "a_wrong_word_is_a_stranger", a_wrong_word_is_a_stranger },
		{ "a_silent_stranger_costs_a_moment", a_silent_stranger_costs_a_moment },
		{ "half_a_knock_is_a_stranger", half_a_knock_is_a_stranger },
		{ "windows_that_are_not_there", windows_that_are_not_there },
		{ "nobody_listens", nobody_listens },
		{ "waiting_has_an_end", waiting_has_an_end },
		{ "servers_that_are_none", servers_that_are_none },
	};

	struct error error = { 0 };

	if (argc != 3)
		return 2;
	CHECK(link_scif_open(&error) == 0);
	host = argv[1];
	card = argv[2];
	be(card);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cases[i].run();
		printf("ok %s\n", cases[i].name);
		fflush(stdout);
	}
	return 0;
}
