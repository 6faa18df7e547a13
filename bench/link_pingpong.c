/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Round trips and copies over a link, and over the bare medium beside it, in one run.
 *
 *	link_pingpong serve ADDRESS		unix:PATH, or tcp:127.0.0.1:PORT; one child a client
 *	link_pingpong measure ADDRESS [copy]	unix:, ring:, tcp: or vsock:; copies where asked for
 *
 * Bare and linked samples are taken in turn.
 * Output: one line of JSON with the samples, each the median of a batch:
 *	bare_us, link_us	round trip of 32 bytes each way
 *	memcpy_gbps, to_gbps, from_gbps		64 MiB copied in memory, to the peer, from the peer
 * A copy to the peer ends when the peer has it at its destination and has said so.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/bare.h"
#include "lib/base/io.h"
#include "lib/link/internal.h"

#define SAMPLES	     15
#define BATCH	     400 /* round trips in a sample */
#define COPY_BYTES   (64u << 20)
#define COPY_SAMPLES 7
#define TOKEN	     "pingpong"

enum operation { OPERATION_ECHO = 1, OPERATION_TO, OPERATION_FROM };

struct message {
	uint32_t operation;
	char rest[BARE_MESSAGE_BYTES - 4];
};

static struct link_options bench_options(void)
{
	struct link_options options = link_options_default;

	options.token = TOKEN;
	return options;
}

/* The serving side. */

static void serve_bare(int fd)
{
	struct message message;

	while (io_read_full(fd, &message, sizeof(message)) == 0 &&
	       io_write_full(fd, &message, sizeof(message)) == 0)
		;
}

static void serve_link(struct link *link)
{
	unsigned char *memory = malloc(COPY_BYTES);
	const void *from;
	void *to;

	memset(memory, 1, COPY_BYTES);
	while (link_peek(link, sizeof(struct message), &from) == 0) {
		struct message message;

		memcpy(&message, from, sizeof(message));
		link_consume(link, sizeof(message));
		if (message.operation == OPERATION_TO)
			bare_check("read", link_read(link, memory, COPY_BYTES));
		if (message.operation == OPERATION_FROM)
			bare_check("write", link_write(link, memory, COPY_BYTES));
		bare_check("reserve", link_reserve(link, sizeof(message), &to));
		memcpy(to, &message, sizeof(message));
		bare_check("commit", link_commit(link, sizeof(message)));
		bare_check("flush", link_flush(link));
	}
	free(memory);
}

static void serve_one(int fd)
{
	struct link_options options = bench_options();
	struct error error = { 0 };
	uint32_t magic = 0;
	struct link *link;

	bare_check("nonblock", io_set_nonblock(fd, 0));
	recv(fd, &magic, sizeof(magic), MSG_PEEK | MSG_WAITALL);
	if (magic == BARE_MAGIC) {
		bare_check("magic", io_read_full(fd, &magic, sizeof(magic)));
		return serve_bare(fd);
	}
	if (link_adopt(fd, &options, &link, &error) < 0) {
		fprintf(stderr, "link_pingpong: %s\n", error.text);
		return;
	}
	serve_link(link);
	link_close(link);
}

static int serve_listen(const char *text)
{
	struct link_address address;
	struct error error = { 0 };
	struct sockaddr_in name = { .sin_family = AF_INET };
	int fd, one = 1;

	bare_check(text, link_address_parse(text, &address, &error));
	if (address.medium == LINK_UNIX)
		return bare_check(address.path, io_unix_listen(address.path, 0600, &error));
	name.sin_port = htons(atoi(address.port));
	name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&name, sizeof(name)) < 0 || listen(fd, 16) < 0)
		bare_fail(text, -errno);
	return fd;
}

static int serve(const char *address)
{
	int listener = serve_listen(address);

	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		struct pollfd one = { .fd = listener, .events = POLLIN };
		int fd, no_delay = 1;

		poll(&one, 1, -1);
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			continue;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &no_delay, sizeof(no_delay));
		if (fork() == 0) {
			serve_one(fd);
			exit(0);
		}
		close(fd);
	}
}

/* The measuring side. */

static void link_round(void *argument)
{
	struct message message = { .operation = OPERATION_ECHO };
	struct link *link = argument;
	const void *from;
	void *to;

	bare_check("reserve", link_reserve(link, sizeof(message), &to));
	memcpy(to, &message, sizeof(message));
	bare_check("commit", link_commit(link, sizeof(message)));
	bare_check("flush", link_flush(link));
	bare_check("peek", link_peek(link, sizeof(message), &from));
	memcpy(&message, from, sizeof(message));
	link_consume(link, sizeof(message));
}

static void measure_round_trips(const char *address, struct link *link)
{
	double bare_us[SAMPLES], link_us[SAMPLES];
	struct bare bare;

	bare_open(&bare, address);
	for (int i = -2; i < SAMPLES; i++) {
		int at = i < 0 ? 0 : i;

		bare_us[at] = bare_sample(&bare);
		link_us[at] = bare_batch(link_round, link);
	}
	bare_close(&bare);
	bare_print("bare_us", bare_us, SAMPLES);
	printf(", ");
	bare_print("link_us", link_us, SAMPLES);
}

static double gbps(double start_us)
{
	return COPY_BYTES / (bare_now_us() - start_us) / 1e3;
}

static void copy_once(struct link *link, uint32_t operation, unsigned char *memory)
{
	struct message message = { .operation = operation };

	bare_check("write", link_write(link, &message, sizeof(message)));
	if (operation == OPERATION_TO)
		bare_check("write", link_write(link, memory, COPY_BYTES));
	bare_check("flush", link_flush(link));
	if (operation == OPERATION_FROM)
		bare_check("read", link_read(link, memory, COPY_BYTES));
	bare_check("read", link_read(link, &message, sizeof(message)));
}

static void measure_copies(struct link *link)
{
	double plain[COPY_SAMPLES], to[COPY_SAMPLES], from[COPY_SAMPLES];
	unsigned char *one = malloc(COPY_BYTES), *other = malloc(COPY_BYTES);

	memset(one, 1, COPY_BYTES);
	memset(other, 2, COPY_BYTES);
	for (int i = -1; i < COPY_SAMPLES; i++) {
		int at = i < 0 ? 0 : i;
		double start = bare_now_us();

		memcpy(other, one, COPY_BYTES);
		__asm__ volatile("" ::: "memory");
		plain[at] = gbps(start);
		start = bare_now_us();
		copy_once(link, OPERATION_TO, one);
		to[at] = gbps(start);
		start = bare_now_us();
		copy_once(link, OPERATION_FROM, other);
		from[at] = gbps(start);
	}
	printf(", ");
	bare_print("memcpy_gbps", plain, COPY_SAMPLES);
	printf(", ");
	bare_print("to_gbps", to, COPY_SAMPLES);
	printf(", ");
	bare_print("from_gbps", from, COPY_SAMPLES);
	free(one);
	free(other);
}

static int measure(const char *address, bool with_copies)
{
	struct link_options options = bench_options();
	struct error error = { 0 };
	struct link *link;

	if (link_connect(address, &options, &link, &error) < 0) {
		fprintf(stderr, "link_pingpong: %s\n", error.text);
		return 1;
	}
	printf("{");
	measure_round_trips(address, link);
	if (with_copies)
		measure_copies(link);
	printf("}\n");
	link_close(link);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		return serve(argv[2]);
	if (argc >= 3 && strcmp(argv[1], "measure") == 0)
		return measure(argv[2], argc == 4 && strcmp(argv[3], "copy") == 0);
	fprintf(stderr, "usage: link_pingpong serve ADDRESS | measure ADDRESS [copy]\n");
	return 2;
}
