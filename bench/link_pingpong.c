/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Round trips and copies over a link, and over the bare medium beside it, in one run.
 *
 *	link_pingpong serve ADDRESS		unix:PATH, or tcp:127.0.0.1:PORT; one child a client
 *	link_pingpong measure ADDRESS [copy]	unix:, ring:, tcp: or vsock:; copies where asked for
 *
 * The bare side is what one would write without a library: read() and write() on a blocking
 * socket, or two counters in shared memory with a spin. Bare and linked samples are taken in turn.
 * Output: one line of JSON with the samples, each the median of a batch:
 *	bare_us, link_us	round trip of MESSAGE_BYTES each way
 *	memcpy_gbps, to_gbps, from_gbps		64 MiB copied in memory, to the peer, from the peer
 * A copy to the peer ends when the peer has it at its destination and has said so.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/link/internal.h"

#define MESSAGE_BYTES 32
#define SAMPLES	      15
#define BATCH	      400 /* round trips in a sample */
#define COPY_BYTES    (64u << 20)
#define COPY_SAMPLES  7
#define BARE_MAGIC    0x45524142u /* "BARE": the first bytes on a bare connection */
#define TOKEN	      "pingpong"

enum operation { OPERATION_ECHO = 1, OPERATION_TO, OPERATION_FROM };

struct message {
	uint32_t operation;
	char rest[MESSAGE_BYTES - 4];
};

static __attribute__((noreturn)) void fail(const char *what, int status)
{
	fprintf(stderr, "link_pingpong: %s: %s\n", what, strerror(-status));
	exit(1);
}

static int check(const char *what, int status)
{
	if (status < 0)
		fail(what, status);
	return status;
}

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
			check("read", link_read(link, memory, COPY_BYTES));
		if (message.operation == OPERATION_FROM)
			check("write", link_write(link, memory, COPY_BYTES));
		check("reserve", link_reserve(link, sizeof(message), &to));
		memcpy(to, &message, sizeof(message));
		check("commit", link_commit(link, sizeof(message)));
		check("flush", link_flush(link));
	}
	free(memory);
}

static void serve_one(int fd)
{
	struct link_options options = bench_options();
	struct error error = { 0 };
	uint32_t magic = 0;
	struct link *link;

	check("nonblock", io_set_nonblock(fd, 0));
	recv(fd, &magic, sizeof(magic), MSG_PEEK | MSG_WAITALL);
	if (magic == BARE_MAGIC) {
		check("magic", io_read_full(fd, &magic, sizeof(magic)));
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

	check(text, link_address_parse(text, &address, &error));
	if (address.medium == LINK_UNIX)
		return check(address.path, io_unix_listen(address.path, 0600, &error));
	name.sin_port = htons(atoi(address.port));
	name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&name, sizeof(name)) < 0 || listen(fd, 16) < 0)
		fail(text, -errno);
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

static double now_us(void)
{
	return spin_clock_ns() / 1e3;
}

static void bare_socket_round(void *argument)
{
	struct message message = { .operation = OPERATION_ECHO };
	int fd = *(int *)argument;

	check("bare write", io_write_full(fd, &message, sizeof(message)));
	check("bare read", io_read_full(fd, &message, sizeof(message)));
}

static void link_round(void *argument)
{
	struct message message = { .operation = OPERATION_ECHO };
	struct link *link = argument;
	const void *from;
	void *to;

	check("reserve", link_reserve(link, sizeof(message), &to));
	memcpy(to, &message, sizeof(message));
	check("commit", link_commit(link, sizeof(message)));
	check("flush", link_flush(link));
	check("peek", link_peek(link, sizeof(message), &from));
	memcpy(&message, from, sizeof(message));
	link_consume(link, sizeof(message));
}

/* Two slots on cache lines of their own, written in turn by two processes that only spin. */
struct bare_ring {
	alignas(128) _Atomic uint64_t there;
	char there_message[MESSAGE_BYTES];
	alignas(128) _Atomic uint64_t back;
	char back_message[MESSAGE_BYTES];
};

static pid_t bare_ring_start(struct bare_ring **made)
{
	struct bare_ring *ring = mmap(NULL, sizeof(*ring), PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct message message;
	pid_t peer;

	*made = ring;
	peer = fork();
	if (peer)
		return peer;
	for (uint64_t turn = 1;; turn++) {
		while (atomic_load_explicit(&ring->there, memory_order_acquire) != turn)
			spin_relax();
		memcpy(&message, ring->there_message, sizeof(message));
		memcpy(ring->back_message, &message, sizeof(message));
		atomic_store_explicit(&ring->back, turn, memory_order_release);
	}
}

static void bare_ring_round(void *argument)
{
	struct message message = { .operation = OPERATION_ECHO };
	struct bare_ring *ring = argument;
	uint64_t turn = atomic_load_explicit(&ring->there, memory_order_relaxed) + 1;

	memcpy(ring->there_message, &message, sizeof(message));
	atomic_store_explicit(&ring->there, turn, memory_order_release);
	while (atomic_load_explicit(&ring->back, memory_order_acquire) != turn)
		spin_relax();
	memcpy(&message, ring->back_message, sizeof(message));
}

static int compare_doubles(const void *one, const void *other)
{
	double a = *(const double *)one, b = *(const double *)other;

	return (a > b) - (a < b);
}

/* The median round trip of a batch, in microseconds. */
static double batch(void (*round)(void *), void *argument)
{
	static double times[BATCH];

	for (int i = 0; i < BATCH; i++) {
		double start = now_us();

		round(argument);
		times[i] = now_us() - start;
	}
	qsort(times, BATCH, sizeof(*times), compare_doubles);
	return times[BATCH / 2];
}

static void print_samples(const char *name, const double *samples, int count)
{
	printf("\"%s\": [", name);
	for (int i = 0; i < count; i++)
		printf("%s%.3f", i ? ", " : "", samples[i]);
	printf("]");
}

static void measure_round_trips(const char *text, struct link *link)
{
	double bare[SAMPLES], linked[SAMPLES];
	uint32_t magic = BARE_MAGIC;
	struct bare_ring *ring = NULL;
	struct link_address address;
	struct error error = { 0 };
	pid_t peer = 0;
	int fd = -1;

	check(text, link_address_parse(text, &address, &error));
	if (address.medium != LINK_RING) {
		fd = check(text, link_address_connect(&address, link_now_ms() + 5000, &error));
		check("magic", io_write_full(fd, &magic, sizeof(magic)));
	}
	for (int i = -2; i < SAMPLES; i++) {
		double one;

		/* The bare ring's peer only lives while it is measured: it never stops spinning. */
		if (fd < 0)
			peer = bare_ring_start(&ring);
		one = fd < 0 ? batch(bare_ring_round, ring) : batch(bare_socket_round, &fd);
		if (fd < 0) {
			kill(peer, SIGKILL);
			waitpid(peer, NULL, 0);
			munmap(ring, sizeof(*ring));
		}
		if (i >= 0)
			bare[i] = one;
		one = batch(link_round, link);
		if (i >= 0)
			linked[i] = one;
	}
	print_samples("bare_us", bare, SAMPLES);
	printf(", ");
	print_samples("link_us", linked, SAMPLES);
}

static double gbps(double start_us)
{
	return COPY_BYTES / (now_us() - start_us) / 1e3;
}

static void copy_once(struct link *link, uint32_t operation, unsigned char *memory)
{
	struct message message = { .operation = operation };

	check("write", link_write(link, &message, sizeof(message)));
	if (operation == OPERATION_TO)
		check("write", link_write(link, memory, COPY_BYTES));
	check("flush", link_flush(link));
	if (operation == OPERATION_FROM)
		check("read", link_read(link, memory, COPY_BYTES));
	check("read", link_read(link, &message, sizeof(message)));
}

static void measure_copies(struct link *link)
{
	double plain[COPY_SAMPLES], to[COPY_SAMPLES], from[COPY_SAMPLES];
	unsigned char *one = malloc(COPY_BYTES), *other = malloc(COPY_BYTES);

	memset(one, 1, COPY_BYTES);
	memset(other, 2, COPY_BYTES);
	for (int i = -1; i < COPY_SAMPLES; i++) {
		int at = i < 0 ? 0 : i;
		double start = now_us();

		memcpy(other, one, COPY_BYTES);
		__asm__ volatile("" ::: "memory");
		plain[at] = gbps(start);
		start = now_us();
		copy_once(link, OPERATION_TO, one);
		to[at] = gbps(start);
		start = now_us();
		copy_once(link, OPERATION_FROM, other);
		from[at] = gbps(start);
	}
	printf(", ");
	print_samples("memcpy_gbps", plain, COPY_SAMPLES);
	printf(", ");
	print_samples("to_gbps", to, COPY_SAMPLES);
	printf(", ");
	print_samples("from_gbps", from, COPY_SAMPLES);
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
