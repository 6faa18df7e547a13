/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lib/link: traffic over every medium, back-pressure, dead peers, shutdown, and what a server
 * does with greetings and rings that lie. The peer is a thread, or a process where it is killed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/link/internal.h"

#define TOKEN "correct horse battery staple"

/* Both ends of one link in this process. */
struct pair {
	struct link *client;
	struct link *server;
};

struct adoption {
	int listener;
	const struct link_options *options;
	struct link *link;
	int status;
	struct error error;
};

static void *adopt_one(void *argument)
{
	struct adoption *adoption = argument;
	struct pollfd one = { .fd = adoption->listener, .events = POLLIN };
	int fd;

	poll(&one, 1, 10000);
	fd = accept4(adoption->listener, NULL, NULL, SOCK_CLOEXEC);
	adoption->status = link_adopt(fd, adoption->options, &adoption->link, &adoption->error);
	if (adoption->status < 0)
		close(fd);
	return NULL;
}

static int listen_tcp(char *address, size_t bytes)
{
	struct sockaddr_in name = { .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t name_bytes = sizeof(name);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_return_code(bind(fd, (struct sockaddr *)&name, sizeof(name)), errno);
	assert_return_code(listen(fd, 8), errno);
	assert_return_code(getsockname(fd, (struct sockaddr *)&name, &name_bytes), errno);
	snprintf(address, bytes, "tcp:127.0.0.1:%u", ntohs(name.sin_port));
	return fd;
}

/* Listens for @medium in a fresh folder; @folder is the caller's to remove. */
static int listen_medium(const char *medium, char *folder, char *address, size_t bytes)
{
	char path[72];

	strcpy(folder, "/tmp/causeway-link-XXXXXX");
	assert_non_null(mkdtemp(folder));
	if (strcmp(medium, "tcp") == 0)
		return listen_tcp(address, bytes);
	snprintf(path, sizeof(path), "%s/s", folder);
	snprintf(address, bytes, "%s:%s", medium, path);
	return io_unix_listen(path, 0600, NULL);
}

static void remove_folder(const char *folder)
{
	char path[72];

	snprintf(path, sizeof(path), "%s/s", folder);
	unlink(path);
	rmdir(folder);
}

#define SHARED_BYTES (1u << 20)

static struct link_options options_of(uint32_t spin_limit_us)
{
	struct link_options options = link_options_default;

	options.token = TOKEN;
	options.spin_limit_us = spin_limit_us;
	options.shared_bytes = SHARED_BYTES;
	options.ring_bytes = LINK_RING_BYTES_MIN;
	return options;
}

static struct pair pair_open(const char *medium, uint32_t spin_limit_us)
{
	struct link_options options = options_of(spin_limit_us);
	struct adoption adoption = { .options = &options };
	char folder[64], address[160];
	struct error error = { 0 };
	struct pair pair = { NULL, NULL };
	pthread_t thread;
	int status;

	adoption.listener = listen_medium(medium, folder, address, sizeof(address));
	assert_true(adoption.listener >= 0);
	assert_int_equal(pthread_create(&thread, NULL, adopt_one, &adoption), 0);
	status = link_connect(address, &options, &pair.client, &error);
	pthread_join(thread, NULL);
	if (status < 0 || adoption.status < 0)
		fail_msg("%s: %s / %s", address, error.text, adoption.error.text);
	pair.server = adoption.link;
	close(adoption.listener);
	remove_folder(folder);
	return pair;
}

static void pair_close(struct pair *pair)
{
	link_close(pair->client);
	link_close(pair->server);
}

/* The byte that belongs at @offset of stream @seed. */
static inline uint8_t pattern(uint64_t offset, uint64_t seed)
{
	return (offset + seed) * 0x9e3779b97f4a7c15ull >> 56;
}

static void pattern_fill(uint8_t *to, size_t bytes, uint64_t offset, uint64_t seed)
{
	for (size_t i = 0; i < bytes; i++)
		to[i] = pattern(offset + i, seed);
}

static bool pattern_matches(const uint8_t *from, size_t bytes, uint64_t offset, uint64_t seed)
{
	uint8_t difference = 0;

	for (size_t i = 0; i < bytes; i++)
		difference |= from[i] ^ pattern(offset + i, seed);
	return difference == 0;
}

/* One direction of traffic by one thread. */
struct traffic {
	struct link *link;
	uint64_t seed;
	uint64_t total; /* bytes to move; 0 = until an error */
	unsigned int randomness;
	int status;
	bool matched;
	uint64_t moved;
};

/* Mostly small pieces, some at the contiguous limit, some far beyond a ring. */
static size_t traffic_piece(struct traffic *traffic)
{
	size_t kind = rand_r(&traffic->randomness) % 16;
	size_t size = (size_t)rand_r(&traffic->randomness);

	if (kind < 10)
		size = size % 300;
	else if (kind < 15)
		size = size % (LINK_CONTIGUOUS_BYTES + 1);
	else
		size = size % (3 * LINK_RING_BYTES_MIN);
	if (traffic->total && size > traffic->total - traffic->moved)
		size = traffic->total - traffic->moved;
	return size;
}

static void *traffic_write(void *argument)
{
	struct traffic *traffic = argument;
	uint8_t *scratch = malloc(3 * LINK_RING_BYTES_MIN);

	while (!traffic->status && (!traffic->total || traffic->moved < traffic->total)) {
		size_t bytes = traffic_piece(traffic);
		void *at;

		if (bytes <= LINK_CONTIGUOUS_BYTES && rand_r(&traffic->randomness) % 2) {
			traffic->status = link_reserve(traffic->link, bytes, &at);
			if (traffic->status < 0)
				break;
			pattern_fill(at, bytes, traffic->moved, traffic->seed);
			traffic->status = link_commit(traffic->link, bytes);
		} else {
			pattern_fill(scratch, bytes, traffic->moved, traffic->seed);
			traffic->status = link_write(traffic->link, scratch, bytes);
		}
		traffic->moved += bytes;
		if (!traffic->status && rand_r(&traffic->randomness) % 4 == 0)
			traffic->status = link_flush(traffic->link);
	}
	if (!traffic->status)
		traffic->status = link_flush(traffic->link);
	free(scratch);
	return NULL;
}

static void *traffic_read(void *argument)
{
	struct traffic *traffic = argument;
	uint8_t *scratch = malloc(3 * LINK_RING_BYTES_MIN);

	traffic->matched = true;
	while (!traffic->total || traffic->moved < traffic->total) {
		size_t bytes = traffic_piece(traffic);
		int way = rand_r(&traffic->randomness) % 4;
		const void *at = scratch;

		if (!bytes)
			continue;
		if (way == 0 && bytes <= LINK_CONTIGUOUS_BYTES)
			traffic->status = link_peek(traffic->link, bytes, &at);
		else if (way == 1)
			traffic->status = link_peek_some(traffic->link, &at, &bytes);
		else if (way == 2 && bytes % 8 == 0)
			traffic->status = link_discard(traffic->link, bytes);
		else
			traffic->status = link_read(traffic->link, scratch, bytes);
		if (traffic->status < 0)
			break;
		if (!(way == 2 && bytes % 8 == 0) || at != scratch)
			traffic->matched &=
				pattern_matches(at, bytes, traffic->moved, traffic->seed);
		if (at != scratch)
			link_consume(traffic->link, bytes);
		traffic->moved += bytes;
	}
	free(scratch);
	return NULL;
}

/* Runs random traffic both ways at once between the ends and checks every byte. */
static void traffic_both_ways(struct pair *pair, uint64_t total)
{
	struct traffic traffic[4] = {
		{ .link = pair->client, .seed = 1, .total = total, .randomness = 11 },
		{ .link = pair->server, .seed = 1, .total = total, .randomness = 12 },
		{ .link = pair->server, .seed = 2, .total = total, .randomness = 13 },
		{ .link = pair->client, .seed = 2, .total = total, .randomness = 14 },
	};
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL,
						i % 2 ? traffic_read : traffic_write, &traffic[i]),
				 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(traffic[i].status, 0);
		assert_int_equal(traffic[i].moved, total);
		if (i % 2)
			assert_true(traffic[i].matched);
	}
}

static void traffic_passes_whole(void **state)
{
	static const uint32_t spins[] = { 0, 50, 1000 };

	for (size_t i = 0; i < 3; i++) {
		struct pair pair = pair_open(*state, spins[i]);

		traffic_both_ways(&pair, 20u << 20);
		pair_close(&pair);
	}
}

static void more_than_the_contiguous_limit_is_refused(void **state)
{
	struct pair pair = pair_open(*state, 50);
	const void *from;
	char byte = 'x';
	void *at;

	assert_int_equal(link_reserve(pair.client, LINK_CONTIGUOUS_BYTES + 1, &at), -EMSGSIZE);
	assert_int_equal(link_peek(pair.client, LINK_CONTIGUOUS_BYTES + 1, &from), -EMSGSIZE);
	/* and the link goes on */
	assert_int_equal(link_readable(pair.server), 0);
	assert_int_equal(link_write(pair.client, &byte, 1), 0);
	assert_int_equal(link_flush(pair.client), 0);
	assert_int_equal(link_peek(pair.server, 1, &from), 0);
	assert_int_equal(*(const char *)from, 'x');
	assert_int_equal(link_readable(pair.server), 1);
	link_consume(pair.server, 1);
	assert_int_equal(link_readable(pair.server), 0);
	pair_close(&pair);
}

/* A writer whose peer does not read stops, and goes on when it does; nothing is lost. */
static void full_link_pushes_back(void **state)
{
	struct pair pair = pair_open(*state, 0);
	struct traffic out = {
		.link = pair.client, .seed = 3, .total = 64u << 20, .randomness = 5
	};
	struct traffic in = { .link = pair.server, .seed = 3, .total = 64u << 20, .randomness = 6 };
	uint64_t before;
	pthread_t writer;
	int still = 0;

	assert_int_equal(pthread_create(&writer, NULL, traffic_write, &out), 0);
	/* Wait until it no longer moves. */
	for (before = 0; still < 5; before = __atomic_load_n(&out.moved, __ATOMIC_RELAXED)) {
		poll(NULL, 0, 20);
		still = before && before == __atomic_load_n(&out.moved, __ATOMIC_RELAXED)
				? still + 1
				: 0;
	}
	assert_true(before < 64u << 20);
	traffic_read(&in);
	pthread_join(writer, NULL);
	assert_int_equal(out.status, 0);
	assert_int_equal(in.status, 0);
	assert_true(in.matched);
	pair_close(&pair);
}

/* Shutdown by a third thread ends a waiting reader and a writer waiting for room. */
static void shutdown_wakes_both_sides(void **state)
{
	static const uint32_t spins[] = { 0, 100000 };

	for (int i = 0; i < 2; i++) {
		struct pair pair = pair_open(*state, spins[i]);
		struct traffic out = { .link = pair.client, .seed = 1, .randomness = 1 };
		struct traffic in = { .link = pair.client, .seed = 1, .randomness = 2 };
		pthread_t writer, reader;

		assert_int_equal(pthread_create(&writer, NULL, traffic_write, &out), 0);
		assert_int_equal(pthread_create(&reader, NULL, traffic_read, &in), 0);
		poll(NULL, 0, 30);
		link_shutdown(pair.client);
		pthread_join(writer, NULL);
		pthread_join(reader, NULL);
		assert_int_equal(out.status, -ESHUTDOWN);
		assert_int_equal(in.status, -ESHUTDOWN);
		pair_close(&pair);
	}
}

/* The peer process: echoes nothing, sends and swallows until it is killed. */
static void peer_process(const char *address, const struct link_options *options)
{
	struct traffic out = { .seed = 7, .randomness = 3 }, in = { .seed = 8, .randomness = 4 };
	pthread_t writer;

	if (link_connect(address, options, &out.link, NULL) < 0)
		_exit(1);
	in.link = out.link;
	pthread_create(&writer, NULL, traffic_write, &out);
	traffic_read(&in);
	_exit(0);
}

static void killed_peer_is_noticed(void **state)
{
	struct link_options options = options_of(50);

	for (unsigned int round = 0; round < 12; round++) {
		struct adoption adoption = { .options = &options };
		struct traffic out = { .seed = 8, .randomness = round };
		struct traffic in = { .seed = 7, .randomness = round + 100 };
		char folder[64], address[160];
		pthread_t writer, reader;
		int64_t killed_ms;
		pid_t peer;

		adoption.listener = listen_medium(*state, folder, address, sizeof(address));
		peer = fork();
		if (!peer)
			peer_process(address, &options);
		adopt_one(&adoption);
		assert_int_equal(adoption.status, 0);
		out.link = in.link = adoption.link;
		pthread_create(&writer, NULL, traffic_write, &out);
		pthread_create(&reader, NULL, traffic_read, &in);
		poll(NULL, 0, (int)(round * round));
		kill(peer, SIGKILL);
		waitpid(peer, NULL, 0);
		killed_ms = link_now_ms();
		pthread_join(writer, NULL);
		pthread_join(reader, NULL);
		assert_true(link_now_ms() - killed_ms < 1000);
		assert_int_equal(out.status, -EPIPE);
		assert_int_equal(in.status, -EPIPE);
		assert_true(in.matched);
		link_close(adoption.link);
		close(adoption.listener);
		remove_folder(folder);
	}
}

/* What was written before the end arrives, then the end is told, again and again. */
static void last_words_arrive(void **state)
{
	struct pair pair = pair_open(*state, 50);
	char words[5];

	assert_int_equal(link_write(pair.client, "bye", 4), 0);
	assert_int_equal(link_flush(pair.client), 0);
	link_close(pair.client);
	assert_int_equal(link_read(pair.server, words, 4), 0);
	assert_string_equal(words, "bye");
	assert_int_equal(link_read(pair.server, words, 1), -EPIPE);
	assert_int_equal(link_read(pair.server, words, 1), -EPIPE);
	assert_true(link_readable(pair.server) == -EPIPE);
	link_close(pair.server);
}

/* A forked child drops its copy; the parent's link does not notice. */
static void forked_child_abandons(void **state)
{
	struct pair pair = pair_open(*state, 50);
	pid_t child = fork();
	int status;

	if (!child) {
		link_abandon(pair.client);
		link_abandon(pair.server);
		_exit(0);
	}
	waitpid(child, &status, 0);
	assert_int_equal(status, 0);
	traffic_both_ways(&pair, 1u << 20);
	pair_close(&pair);
}

static void lying_indices_kill_the_link(void **state)
{
	static const uint64_t lies[] = { 1ull << 63, UINT64_MAX, LINK_RING_BYTES_MIN + 101 };
	const void *from;
	void *at;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct pair pair = pair_open("ring", 50);
		struct link_ring_header *header = pair.client->ring.header;

		assert_int_equal(link_write(pair.client, "abc", 3), 0);
		assert_int_equal(link_peek(pair.server, 3, &from), 0);
		atomic_store(&header->to_server.produced, lies[i]);
		assert_int_equal(link_peek(pair.server, 4, &from), -EPROTO);
		assert_int_equal(link_peek(pair.server, 1, &from), -EPROTO);
		atomic_store(&header->to_client.consumed, lies[i]);
		/* Half a ring is known to be free; behind it the server must look. */
		assert_int_equal(link_reserve(pair.server, LINK_CONTIGUOUS_BYTES, &at), 0);
		assert_int_equal(link_commit(pair.server, 10), 0);
		assert_int_equal(link_reserve(pair.server, LINK_CONTIGUOUS_BYTES, &at), 0);
		assert_int_equal(link_commit(pair.server, LINK_CONTIGUOUS_BYTES), 0);
		assert_int_equal(link_reserve(pair.server, LINK_CONTIGUOUS_BYTES, &at), -EPROTO);
		assert_int_equal(link_write(pair.server, "abc", 3), -EPROTO);
		pair_close(&pair);
	}
}

static void index_running_backwards_kills_the_link(void **state)
{
	struct pair pair = pair_open("ring", 50);
	const void *from;

	(void)state;
	assert_int_equal(link_write(pair.client, "abcd", 4), 0);
	assert_int_equal(link_peek(pair.server, 4, &from), 0);
	atomic_store(&pair.client->ring.header->to_server.produced, 2);
	assert_int_equal(link_peek(pair.server, 5, &from), -EPROTO);
	pair_close(&pair);
}

static struct link_greeting greeting_of(uint8_t medium)
{
	struct link_greeting greeting = {
		.magic = htole32(LINK_WIRE_MAGIC),
		.version = htole16(LINK_WIRE_VERSION),
		.medium = medium,
	};

	return greeting;
}

/* Sends a greeting to a server and gives the server's status and answer. */
static int try_greeting(const void *greeting, size_t bytes, const int *fds, size_t fd_count,
			struct link_answer *answer)
{
	struct link_options options = options_of(0);
	struct error error = { 0 };
	struct link *link = NULL;
	int pair[2], status;

	options.connect_wait_ms = 100;
	assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), errno);
	if (bytes)
		assert_int_equal(io_send_fds(pair[0], greeting, bytes, fds, fd_count), bytes);
	status = link_adopt(pair[1], &options, &link, &error);
	assert_int_equal(io_read_full(pair[0], answer, sizeof(*answer)), 0);
	if (status < 0)
		close(pair[1]);
	else
		link_close(link);
	close(pair[0]);
	return status;
}

static void bad_greetings_are_answered(void **state)
{
	struct link_greeting good = greeting_of(LINK_WIRE_UNIX), bad;
	uint8_t garbage[sizeof(good)];
	struct link_answer answer;

	(void)state;
	assert_int_equal(try_greeting(&good, sizeof(good), NULL, 0, &answer), 0);
	assert_int_equal(answer.code, LINK_ANSWER_ACCEPTED);
	/* A guest's client says vsock on what the switch hands over as a Unix socket. */
	bad = greeting_of(LINK_WIRE_VSOCK);
	assert_int_equal(try_greeting(&bad, sizeof(bad), NULL, 0, &answer), 0);

	memset(garbage, 0xff, sizeof(garbage));
	assert_int_equal(try_greeting(garbage, sizeof(garbage), NULL, 0, &answer), -EPROTO);
	assert_int_equal(answer.code, LINK_ANSWER_MALFORMED);
	bad = good;
	bad.version = htole16(LINK_WIRE_VERSION + 1);
	assert_int_equal(try_greeting(&bad, sizeof(bad), NULL, 0, &answer), -EPROTONOSUPPORT);
	assert_int_equal(answer.code, LINK_ANSWER_VERSION);
	bad = good;
	bad.zero_c[23] = 1;
	assert_int_equal(try_greeting(&bad, sizeof(bad), NULL, 0, &answer), -EPROTO);
	bad = good;
	bad.token_bytes = htole32(UINT32_MAX);
	assert_int_equal(try_greeting(&bad, sizeof(bad), NULL, 0, &answer), -EPROTO);
	bad = good;
	bad.medium = 9;
	assert_int_equal(try_greeting(&bad, sizeof(bad), NULL, 0, &answer), -EPROTO);
	bad = greeting_of(LINK_WIRE_TCP);
	assert_int_equal(try_greeting(&bad, sizeof(bad), NULL, 0, &answer), -EPROTO);
	/* too short, and nothing at all */
	assert_int_equal(try_greeting(&good, sizeof(good) - 1, NULL, 0, &answer), -ETIMEDOUT);
	assert_int_equal(try_greeting(NULL, 0, NULL, 0, &answer), -ETIMEDOUT);
	/* a descriptor where none is due */
	assert_int_equal(try_greeting(&good, sizeof(good), (int[]){ 0 }, 1, &answer), -EPROTO);
}

static struct link_greeting ring_greeting(uint64_t ring_bytes, uint64_t memory_bytes)
{
	struct link_greeting greeting = greeting_of(LINK_WIRE_RING);

	greeting.ring_bytes = htole64(ring_bytes);
	greeting.memory_bytes = htole64(memory_bytes);
	return greeting;
}

/* Each rule about tokens and sizes, with its own sentence. */
static void greetings_are_refused_with_a_reason(void **state)
{
	static char longest[LINK_TOKEN_BYTES_MAX + 2];
	struct link_greeting plain = greeting_of(LINK_WIRE_UNIX), bad;
	struct link_greeting tcp = greeting_of(LINK_WIRE_TCP);
	struct error error = { 0 };

	(void)state;
	memset(longest, 'x', LINK_TOKEN_BYTES_MAX + 1);
	bad = plain;
	bad.token_bytes = htole32(1);
	bad.token[0] = 'x';
	assert_int_equal(link_greeting_check(&bad, false, "x", &error), -EPROTO);
	assert_string_equal(error.text, "greeting: a token where none is due");
	bad.token_bytes = 0; /* and bytes behind its end */
	assert_int_equal(link_greeting_check(&bad, false, "x", &error), -EPROTO);
	assert_string_equal(error.text, "greeting: a token of 0 bytes");
	bad = plain;
	bad.ring_bytes = htole64(LINK_RING_BYTES_MIN);
	assert_int_equal(link_greeting_check(&bad, false, NULL, &error), -EPROTO);
	assert_string_equal(error.text, "greeting: a ring's size without a ring");
	bad = plain;
	bad.shared_bytes = htole64(4097);
	assert_int_equal(link_greeting_check(&bad, false, NULL, &error), -EPROTO);
	assert_string_equal(error.text, "greeting: shared memory of 4097 bytes");
	bad.shared_bytes = htole64(LINK_SHARED_BYTES_MAX + 4096);
	assert_int_equal(link_greeting_check(&bad, false, NULL, &error), -EPROTO);
	bad = greeting_of(LINK_WIRE_VSOCK); /* which carries no descriptor */
	bad.shared_bytes = htole64(4096);
	assert_int_equal(link_greeting_check(&bad, false, NULL, &error), -EPROTO);
	assert_string_equal(error.text, "greeting: shared memory of 4096 bytes");
	assert_int_equal(link_greeting_check(&plain, true, "x", &error), -EPROTO);
	assert_string_equal(error.text, "greeting: the socket is not of medium 1");

	/* A server's token that no greeting can hold opens to none: not the empty one either. */
	assert_int_equal(link_greeting_check(&tcp, true, "", &error), -EACCES);
	assert_string_equal(error.text, "wrong token");
	tcp.token_bytes = htole32(LINK_TOKEN_BYTES_MAX);
	memset(tcp.token, 'x', LINK_TOKEN_BYTES_MAX);
	assert_int_equal(link_greeting_check(&tcp, true, longest, &error), -EACCES);
	longest[LINK_TOKEN_BYTES_MAX] = 0;
	assert_int_equal(link_greeting_check(&tcp, true, longest, &error), 0);
}

/* What ends a server's side of the greeting; @pair[0] is the client's end, closed by nobody. */
static void expect_refused(int pair[2], int status, const char *sentence)
{
	struct link_options options = options_of(0);
	struct error error = { 0 };
	struct link *link = NULL;

	options.connect_wait_ms = 100;
	assert_int_equal(link_adopt(pair[1], &options, &link, &error), status);
	assert_string_equal(error.text, sentence);
	close(pair[1]);
}

/* Whether the end for writing of the pipe that is read from @fd is closed everywhere. */
static bool pipe_is_closed(int fd)
{
	struct pollfd one = { .fd = fd, .events = POLLIN };

	return poll(&one, 1, 0) == 1 && one.revents == POLLHUP;
}

/* Descriptors come beside the greeting's first byte; none of those that came is kept. */
static void descriptors_in_two_pieces_are_refused(void **state)
{
	struct link_greeting greeting = ring_greeting(
		LINK_RING_BYTES_MIN, LINK_RING_HEADER_BYTES + 2 * LINK_RING_BYTES_MIN);
	struct link_answer answer;
	int pair[2], ends[2];

	(void)state;
	assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), errno);
	assert_return_code(pipe(ends), errno);
	assert_int_equal(io_send_fds(pair[0], &greeting, 64, &ends[1], 1), 64);
	assert_int_equal(io_send_fds(pair[0], (char *)&greeting + 64, 64, &ends[1], 1), 64);
	close(ends[1]);
	expect_refused(pair, -EPROTO, "no greeting: Protocol error");
	assert_true(pipe_is_closed(ends[0]));
	assert_int_equal(io_read_full(pair[0], &answer, sizeof(answer)), 0);
	assert_int_equal(le16toh(answer.code), LINK_ANSWER_MALFORMED);
	assert_string_equal(answer.text, "the greeting is malformed");
	close(ends[0]);
	close(pair[0]);
}

/* A client that hangs up after its greeting, and one that reads nothing. */
static void clients_that_take_no_answer_are_left(void **state)
{
	struct link_greeting greeting = greeting_of(LINK_WIRE_UNIX);
	static const char filling[4096];
	int pair[2];

	(void)state;
	assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), errno);
	assert_int_equal(write(pair[0], &greeting, sizeof(greeting)), sizeof(greeting));
	close(pair[0]);
	expect_refused(pair, -EPIPE, "the peer left during the greeting: Broken pipe");

	assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), errno);
	assert_int_equal(write(pair[0], &greeting, sizeof(greeting)), sizeof(greeting));
	while (send(pair[1], filling, sizeof(filling), MSG_DONTWAIT) > 0)
		;
	expect_refused(pair, -ETIMEDOUT, "the peer left during the greeting: Connection timed out");
	close(pair[0]);
}

struct dripping {
	int fd;
	struct link_greeting greeting;
};

static void *drip(void *argument)
{
	struct dripping *dripping = argument;

	for (size_t i = 0; i < sizeof(dripping->greeting); i++) {
		if (send(dripping->fd, (char *)&dripping->greeting + i, 1, MSG_NOSIGNAL) < 0)
			break;
		poll(NULL, 0, 20);
	}
	return NULL;
}

/* A byte now and then does not extend the time. */
static void slow_greeting_times_out(void **state)
{
	struct dripping dripping = { .greeting = greeting_of(LINK_WIRE_UNIX) };
	struct link_options options = options_of(0);
	struct link *link;
	int64_t start_ms = link_now_ms();
	pthread_t thread;
	int pair[2];

	(void)state;
	options.connect_wait_ms = 200;
	assert_return_code(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), errno);
	dripping.fd = pair[0];
	pthread_create(&thread, NULL, drip, &dripping);
	assert_int_equal(link_adopt(pair[1], &options, &link, NULL), -ETIMEDOUT);
	assert_in_range(link_now_ms() - start_ms, 150, 1500);
	close(pair[1]);
	pthread_join(thread, NULL);
	close(pair[0]);
}

static void bad_rings_are_refused(void **state)
{
	const uint64_t ring_bytes = LINK_RING_BYTES_MIN;
	const uint64_t memory_bytes = LINK_RING_HEADER_BYTES + 2 * ring_bytes;
	struct link_greeting greeting = ring_greeting(ring_bytes, memory_bytes);
	struct link_answer answer;
	int fds[3], pair[2];

	(void)state;
	assert_return_code(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), errno);
	fds[0] = memfd_create("test", MFD_ALLOW_SEALING);
	fds[1] = fds[2] = pair[0];
	assert_return_code(ftruncate(fds[0], memory_bytes), errno);
	/* no descriptor, too many, not sealed, sealed half */
	assert_int_equal(try_greeting(&greeting, sizeof(greeting), NULL, 0, &answer), -EPROTO);
	assert_int_equal(try_greeting(&greeting, sizeof(greeting), fds, 3, &answer), -EPROTO);
	assert_int_equal(try_greeting(&greeting, sizeof(greeting), fds, 2, &answer), -EINVAL);
	assert_int_equal(answer.code, LINK_ANSWER_MEMORY);
	assert_return_code(fcntl(fds[0], F_ADD_SEALS, F_SEAL_GROW), errno);
	assert_int_equal(try_greeting(&greeting, sizeof(greeting), fds, 2, &answer), -EINVAL);
	assert_return_code(fcntl(fds[0], F_ADD_SEALS, F_SEAL_SHRINK), errno);
	assert_int_equal(try_greeting(&greeting, sizeof(greeting), fds, 2, &answer), 0);
	/* other sizes than the memory's, no power of two, 4 GiB and more */
	for (int i = 0; i < 5; i++) {
		static const uint64_t sizes[] = { 1ull << 32, 3u << 20, 0, UINT64_MAX,
						  LINK_RING_BYTES_MIN * 2 };

		greeting = ring_greeting(sizes[i], LINK_RING_HEADER_BYTES + 2 * sizes[i]);
		assert_int_equal(try_greeting(&greeting, sizeof(greeting), fds, 2, &answer),
				 -EINVAL);
	}
	greeting = ring_greeting(ring_bytes, memory_bytes * 2);
	assert_int_equal(try_greeting(&greeting, sizeof(greeting), fds, 2, &answer), -EINVAL);
	/* a file in place of the socket, a pipe in place of the memory */
	greeting = ring_greeting(ring_bytes, memory_bytes);
	fds[1] = fds[0];
	assert_int_equal(try_greeting(&greeting, sizeof(greeting), fds, 2, &answer), -EINVAL);
	fds[0] = pair[0];
	assert_int_equal(try_greeting(&greeting, sizeof(greeting), fds, 2, &answer), -EINVAL);
	close(fds[1]);
	close(pair[0]);
	close(pair[1]);
}

/* A link whose client's side is at work on one end of @pair, the server's answer being written. */
static struct link *greeting_link(enum link_medium medium, int pair[2])
{
	struct link_answer answer = { .magic = htole32(LINK_WIRE_MAGIC),
				      .version = htole16(LINK_WIRE_VERSION) };
	struct link *link = calloc(1, sizeof(*link));

	assert_non_null(link);
	assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), errno);
	link->fd = pair[0];
	link->medium = medium;
	link->shared_fd = link->ring.room_fd = link->scif.epd = link->scif.listener = -1;
	assert_int_equal(write(pair[1], &answer, sizeof(answer) / 2), sizeof(answer) / 2);
	return link;
}

/* Memory in huge pages, which may turn out to be missing when this side touches them. */
static void memory_in_huge_pages_is_refused(void **state)
{
	struct link_greeting greeting = greeting_of(LINK_WIRE_UNIX);
	struct link_answer answer;
	int memory = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);

	(void)state;
	if (memory < 0 || ftruncate(memory, 1 << 30) < 0)
		skip(); /* a kernel without them */
	greeting.shared_bytes = htole64(1 << 30);
	assert_return_code(fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), errno);
	assert_int_equal(try_greeting(&greeting, sizeof(greeting), &memory, 1, &answer), -EINVAL);
	assert_string_equal(answer.text, "the shared memory is not an ordinary memfd");
	close(memory);
}

/* What a client is told before it has said anything. */
static void impossible_links_are_not_asked_for(void **state)
{
	struct link_options options = options_of(0);
	char address[128] = "unix:/";
	struct link_address parsed;
	struct error error = { 0 };
	struct link *link;
	int pair[2];

	(void)state;
	memset(address + 6, 'x', 106); /* 107 with the first */
	assert_int_equal(link_address_parse(address, &parsed, &error), 0);
	address[6 + 106] = 'x';
	assert_int_equal(link_address_parse(address, &parsed, &error), -EINVAL);
	assert_non_null(strstr(error.text, "a socket's path has at most 107 bytes"));

	options.ring_bytes = 3u << 20;
	link = greeting_link(LINK_RING, pair);
	assert_int_equal(link_greet(link, &options, link_now_ms() + 1000, &error), -EINVAL);
	assert_string_equal(error.text, "ring of 3145728 bytes: expected a power of two from "
					"524288 to 67108864");
	assert_int_equal(recv(pair[1], &error, 1, MSG_DONTWAIT), -1);
	close(pair[1]);
	link_abandon(link);
}

static void tcp_needs_the_token(void **state)
{
	static const char *const tokens[] = { "correct horse battery stapla", "x",
					      "correct horse battery staple ", NULL };
	struct link_options server = options_of(0);

	(void)state;
	for (int i = 0; tokens[i]; i++) {
		struct link_options client = options_of(0);
		struct adoption adoption = { .options = &server };
		char address[160];
		struct error error = { 0 };
		struct link *link;
		pthread_t thread;

		client.token = tokens[i];
		adoption.listener = listen_tcp(address, sizeof(address));
		pthread_create(&thread, NULL, adopt_one, &adoption);
		assert_int_equal(link_connect(address, &client, &link, &error), -EACCES);
		assert_non_null(strstr(error.text, "server refused: wrong token"));
		pthread_join(thread, NULL);
		assert_int_equal(adoption.status, -EACCES);
		close(adoption.listener);
	}
}

static void tcp_without_a_token_is_off(void **state)
{
	struct link_options server = options_of(0), client = options_of(0);
	struct adoption adoption = { .options = &server };
	struct error error = { 0 };
	struct link *link;
	char address[160];
	pthread_t thread;

	(void)state;
	server.token = NULL;
	adoption.listener = listen_tcp(address, sizeof(address));
	pthread_create(&thread, NULL, adopt_one, &adoption);
	assert_int_equal(link_connect(address, &client, &link, &error), -EACCES);
	pthread_join(thread, NULL);
	assert_int_equal(adoption.status, -EACCES);
	client.token = NULL;
	assert_int_equal(link_connect(address, &client, &link, &error), -EINVAL);
	close(adoption.listener);
}

/* A server that refuses before it reads: the client gets the sentence, not just a hang-up. */
static void refusal_reaches_the_client(void **state)
{
	struct link_options options = options_of(0);
	char folder[64], address[160];
	struct error error = { 0 };
	struct link *link;
	pid_t server;
	int listener, fd;

	listener = listen_medium(*state, folder, address, sizeof(address));
	server = fork();
	if (!server) {
		struct pollfd one = { .fd = listener, .events = POLLIN };

		poll(&one, 1, 5000);
		fd = accept(listener, NULL, NULL);
		link_refuse(fd, -EBUSY, "256 of 256 clients connected");
		_exit(0);
	}
	assert_int_equal(link_connect(address, &options, &link, &error), -EBUSY);
	assert_non_null(strstr(error.text, "server refused: 256 of 256 clients connected"));
	waitpid(server, NULL, 0);
	close(listener);
	remove_folder(folder);
}

static void silent_server_times_out(void **state)
{
	struct link_options options = options_of(0);
	int64_t start_ms = link_now_ms();
	char folder[64], address[160];
	struct link *link;
	int listener = listen_medium(*state, folder, address, sizeof(address));

	options.connect_wait_ms = 150;
	assert_int_equal(link_connect(address, &options, &link, NULL), -ETIMEDOUT);
	assert_in_range(link_now_ms() - start_ms, 100, 1500);
	close(listener);
	remove_folder(folder);
}

/* Both sides have the memory that the client offers, where descriptors travel. */
static void offered_memory_is_shared(void **state)
{
	static const char *const media[] = { "unix", "ring", "tcp" };

	(void)state;
	for (size_t i = 0; i < sizeof(media) / sizeof(media[0]); i++) {
		uint64_t client_bytes, server_bytes;
		struct pair pair = pair_open(media[i], 50);
		int client = link_shared(pair.client, &client_bytes);
		int server = link_shared(pair.server, &server_bytes);
		char got = 0;

		if (!strcmp(media[i], "tcp")) {
			assert_int_equal(client, -1);
			assert_int_equal(server, -1);
		} else {
			assert_int_equal(client_bytes, SHARED_BYTES);
			assert_int_equal(server_bytes, SHARED_BYTES);
			assert_int_equal(pwrite(client, "x", 1, SHARED_BYTES - 1), 1);
			assert_int_equal(pread(server, &got, 1, SHARED_BYTES - 1), 1);
			assert_int_equal(got, 'x');
			assert_int_equal(ftruncate(client, 0), -1);
		}
		pair_close(&pair);
	}
}

/* Memory that could shrink under the server, and a size that is not the memory's. */
static void bad_shared_memory_is_refused(void **state)
{
	struct link_greeting greeting = { .magic = htole32(LINK_WIRE_MAGIC),
					  .version = htole16(LINK_WIRE_VERSION),
					  .medium = LINK_WIRE_UNIX,
					  .shared_bytes = htole64(SHARED_BYTES) };
	struct error error = { 0 };

	(void)state;
	for (int i = 0; i < 2; i++) {
		int memory = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		struct link *link = NULL;
		int pair[2];

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
		assert_int_equal(ftruncate(memory, i ? 4096 : SHARED_BYTES), 0);
		if (i)
			assert_int_equal(fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW),
					 0);
		assert_int_equal(io_send_fds(pair[0], &greeting, sizeof(greeting), &memory, 1),
				 sizeof(greeting));
		assert_int_equal(link_adopt(pair[1], NULL, &link, &error), -EINVAL);
		close(memory);
		close(pair[0]);
		close(pair[1]);
	}
}

/* A reason that the wire has no code for is one of the server's own troubles. */
static void other_reasons_are_the_servers(void **state)
{
	struct link_answer answer;
	struct error error = { 0 };
	int pair[2];

	(void)state;
	assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), errno);
	assert_int_equal(link_refuse(pair[1], -ENOENT, "no worker"), 0);
	assert_int_equal(io_read_full(pair[0], &answer, sizeof(answer)), 0);
	assert_int_equal(le16toh(answer.code), LINK_ANSWER_BROKEN);
	assert_int_equal(link_answer_check(&answer, &error), -EIO);
	assert_string_equal(error.text, "server refused: no worker");
	close(pair[0]);
	assert_int_equal(link_refuse(pair[1], -ENOENT, "no worker"), -EPIPE);
	close(pair[1]);
}

/* The rest of that answer, with a descriptor that no answer has; its pipe's other end. */
static int greeting_rest(int fd)
{
	static const char zeroes[sizeof(struct link_answer) / 2];
	int ends[2];

	assert_return_code(pipe(ends), errno);
	assert_int_equal(io_send_fds(fd, zeroes, sizeof(zeroes), &ends[1], 1), sizeof(zeroes));
	close(ends[1]);
	return ends[0];
}

static void descriptors_beside_an_answer_are_closed(void **state)
{
	struct link_options options = options_of(0);
	struct error error = { 0 };
	struct link *link;
	int pair[2], end;

	(void)state;
	link = greeting_link(LINK_UNIX, pair);
	end = greeting_rest(pair[1]);
	assert_int_equal(link_greet(link, &options, link_now_ms() + 1000, &error), 0);
	assert_true(pipe_is_closed(end));
	close(end);
	close(pair[1]);
	link_abandon(link);
}

/* The client's side makes do without the memory that its system does not give. */
static void memory_that_cannot_be_is_not_offered(void **state)
{
	struct link_options options = options_of(0);
	struct link_greeting greeting;
	struct error error = { 0 };
	int pair[2], fds[IO_FDS_MAX];
	size_t fd_count = 0;
	struct link *link;

	(void)state;
	options.shared_bytes = 1ull << 63; /* more than a file can have */
	link = greeting_link(LINK_UNIX, pair);
	close(greeting_rest(pair[1]));
	assert_int_equal(link_greet(link, &options, link_now_ms() + 1000, &error), 0);
	assert_int_equal(link->shared_fd, -1);
	assert_int_equal(io_receive_fds(pair[1], &greeting, sizeof(greeting), fds, &fd_count),
			 sizeof(greeting));
	assert_int_equal(fd_count, 0);
	assert_int_equal(greeting.shared_bytes, 0);
	close(pair[1]);
	link_abandon(link);
}

/* Medium scif: a server that accepts and names no port, and one that names none of SCIF's. */
static void a_server_without_a_door_is_left(void **state)
{
	struct link_options options = options_of(0);
	struct link_scif_door door = { 0 };
	struct error error = { 0 };
	struct link *link;
	int pair[2], ends[2];

	(void)state;
	if (link_scif_open(&error) < 0)
		skip();
	link = greeting_link(LINK_SCIF, pair);
	close(greeting_rest(pair[1]));
	assert_int_equal(shutdown(pair[1], SHUT_WR), 0);
	assert_int_equal(link_greet(link, &options, link_now_ms() + 1000, &error), -EPIPE);
	assert_string_equal(error.text, "the server's SCIF port: Broken pipe");
	close(pair[1]);
	link_abandon(link);

	link = greeting_link(LINK_SCIF, pair);
	close(greeting_rest(pair[1]));
	assert_return_code(pipe(ends), errno);
	assert_int_equal(io_send_fds(pair[1], &door, sizeof(door), &ends[1], 1), sizeof(door));
	close(ends[1]);
	assert_true(link_greet(link, &options, link_now_ms() + 1000, &error) < 0);
	assert_non_null(strstr(error.text, "the server is at none of the nodes"));
	assert_true(pipe_is_closed(ends[0]));
	close(ends[0]);
	close(pair[1]);
	link_abandon(link);
}

static void odd_answers_are_refused(void **state)
{
	struct link_answer answer = { .magic = htole32(LINK_WIRE_MAGIC),
				      .version = htole16(LINK_WIRE_VERSION) };
	struct error error = { 0 };

	(void)state;
	assert_int_equal(link_answer_check(&answer, NULL), 0);
	answer.magic++;
	assert_int_equal(link_answer_check(&answer, &error), -EPROTO);
	assert_string_equal(error.text, "the server does not speak the link's protocol");
	answer.magic--;
	answer.flags = htole32(LINK_ANSWER_SHARED << 1);
	assert_int_equal(link_answer_check(&answer, &error), -EPROTO);
	assert_string_equal(error.text, "the server's answer makes no sense");
	answer.flags = 0;
	answer.text_bytes = htole32(UINT32_MAX);
	assert_int_equal(link_answer_check(&answer, NULL), -EPROTO);
	answer.text_bytes = 0;
	answer.code = htole16(LINK_ANSWER_CODES);
	assert_int_equal(link_answer_check(&answer, NULL), -EPROTO);
	answer.code = 0;
	answer.version = htole16(LINK_WIRE_VERSION + 1);
	assert_int_equal(link_answer_check(&answer, NULL), -EPROTONOSUPPORT);
}

static void addresses_are_read_strictly(void **state)
{
	static const char *const wrong[] = {
		"",	     "unix:",
		"ring:",     "tcp:localhost",
		"tcp:h:0",   "tcp:h:70000",
		"tcp::80",   "vsock:2",
		"vsock:a:1", "vsock:2:1x",
		"scif:1",    "vsock:-1:5",
		"tcp:h: 80", "vsock:4294967295:1",
	};
	struct link_address address;
	struct error error;
	struct link *link;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		assert_int_equal(link_address_parse(wrong[i], &address, &error), -EINVAL);
	assert_int_equal(link_address_parse("tcp:[::1]:5000", &address, &error), 0);
	assert_string_equal(address.host, "::1");
	assert_string_equal(address.port, "5000");
	assert_int_equal(link_address_parse("vsock:2:7300", &address, &error), 0);
	assert_int_equal(address.cid, 2);
	assert_int_equal(link_connect("unix:/nonexistent/socket", NULL, &link, &error), -ENOENT);
	assert_int_equal(link_connect("carrier:pigeon", NULL, &link, &error), -EINVAL);
	assert_non_null(strstr(error.text, "ring:PATH"));
}

#define ON_MEDIUM(test, medium)                            \
	{                                                  \
#test " " medium, test, NULL, NULL, medium \
	}
#define ON_EACH_MEDIUM(test) \
	ON_MEDIUM(test, "unix"), ON_MEDIUM(test, "ring"), ON_MEDIUM(test, "tcp")

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_EACH_MEDIUM(traffic_passes_whole),
		ON_EACH_MEDIUM(more_than_the_contiguous_limit_is_refused),
		ON_EACH_MEDIUM(full_link_pushes_back),
		ON_EACH_MEDIUM(shutdown_wakes_both_sides),
		ON_EACH_MEDIUM(killed_peer_is_noticed),
		ON_EACH_MEDIUM(last_words_arrive),
		ON_EACH_MEDIUM(forked_child_abandons),
		ON_EACH_MEDIUM(refusal_reaches_the_client),
		ON_EACH_MEDIUM(silent_server_times_out),
		cmocka_unit_test(lying_indices_kill_the_link),
		cmocka_unit_test(index_running_backwards_kills_the_link),
		cmocka_unit_test(bad_greetings_are_answered),
		cmocka_unit_test(greetings_are_refused_with_a_reason),
		cmocka_unit_test(descriptors_in_two_pieces_are_refused),
		cmocka_unit_test(clients_that_take_no_answer_are_left),
		cmocka_unit_test(slow_greeting_times_out),
		cmocka_unit_test(bad_rings_are_refused),
		cmocka_unit_test(memory_in_huge_pages_is_refused),
		cmocka_unit_test(impossible_links_are_not_asked_for),
		cmocka_unit_test(tcp_needs_the_token),
		cmocka_unit_test(tcp_without_a_token_is_off),
		cmocka_unit_test(other_reasons_are_the_servers),
		cmocka_unit_test(descriptors_beside_an_answer_are_closed),
		cmocka_unit_test(memory_that_cannot_be_is_not_offered),
		cmocka_unit_test(a_server_without_a_door_is_left),
		cmocka_unit_test(odd_answers_are_refused),
		cmocka_unit_test(offered_memory_is_shared),
		cmocka_unit_test(bad_shared_memory_is_refused),
		cmocka_unit_test(addresses_are_read_strictly),
	};

	alarm(100); /* a hang is a failure */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
