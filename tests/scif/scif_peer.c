/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One side of SCIF connections, for tests: in a guest over the ioctls, else over libscif.
 *
 *	serve PORT			serve any number of clients until it is killed
 *	traffic NODE PORT SECONDS SEED	messages, copies and flags, all of them checked
 *	many NODE PORT COUNT		so many connections at once, each checked, then held
 *	maps NODE PORT COUNT		map and unmap the server's window so often
 *	registers NODE PORT COUNT	register and unregister windows so often
 *	block NODE PORT			wait in a receive for ever
 *	hold NODE PORT MIB		register so much, then hold it
 *	ends NODE PORT MIB		the same, but copy at both its ends before
 *	time NODE PORT BYTES ROUNDS	round trips of so many bytes, in microseconds
 *	copy NODE PORT WAY BYTES ROUNDS	copies between windows, WAY read or write: microseconds
 *	memcpy BYTES ROUNDS		the same of this processor alone
 *
 * With 0 ROUNDS, copies are paced: a line of the input says how many come next, and "done" follows
 * them. So several programs can copy in turn, and each is as warm as the others.
 *
 * A server's connection: it registers a window of PEER_WINDOW bytes and sends its offset. Then it
 * obeys orders: one byte, and what belongs to it. A client that finds anything other than it
 * expects says so and ends with 1. 2 is for usage, 3 when the peer went away in between.
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "include/scif.h"

#define PEER_WINDOW   (64u << 20) /* of servers that were asked for it: see ORDER_WINDOW */
#define PEER_SMALL    (1u << 20)
#define PEER_MESSAGES (64u << 10)

enum peer_order {
	ORDER_ECHO = 'e',   /* u32 bytes, then the bytes: they come back */
	ORDER_FLAG = 'f',   /* u32 count: answer so many flags in the window; then a byte */
	ORDER_WINDOW = 'w', /* u64 bytes: a further window; its offset comes back */
};

/* The window's first page: each side writes its own word. */
struct peer_flags {
	volatile uint32_t client;
	uint32_t padding[15];
	volatile uint32_t server;
};

static void peer_fail(const char *what)
{
	int error = errno;
	bool gone = error == ECONNRESET || error == ENOTCONN || error == ECONNREFUSED ||
		    error == ENODEV || error == ENXIO || error == ENOENT; /* of the device */

	printf("%s: %s\n", what, strerror(error));
	fflush(stdout);
	_exit(gone ? 3 : 1);
}

static void peer_wrong(const char *what)
{
	printf("wrong: %s\n", what);
	fflush(stdout);
	_exit(1);
}

static double peer_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static uint64_t peer_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void *peer_memory(size_t bytes)
{
	void *memory =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		peer_fail("memory");
	return memory;
}

/* Whether all was moved; less than that, without an error, is what was left when the peer went. */
static bool peer_all(int moved, int bytes)
{
	if (moved >= 0 && moved < bytes)
		errno = ECONNRESET;
	return moved == bytes;
}

/* All of it; false when the peer is gone. */
static bool peer_get(scif_epd_t epd, void *to, int bytes)
{
	return peer_all(scif_recv(epd, to, bytes, SCIF_RECV_BLOCK), bytes);
}

static bool peer_put(scif_epd_t epd, void *from, int bytes)
{
	return peer_all(scif_send(epd, from, bytes, SCIF_SEND_BLOCK), bytes);
}

static bool serve_echo(scif_epd_t epd, unsigned char *buffer)
{
	uint32_t bytes;

	if (!peer_get(epd, &bytes, sizeof(bytes)) || bytes > PEER_MESSAGES)
		return false;
	return peer_get(epd, buffer, (int)bytes) && peer_put(epd, buffer, (int)bytes);
}

static bool serve_flags(scif_epd_t epd, struct peer_flags *flags)
{
	uint32_t count;
	char done = 'd';

	if (!peer_get(epd, &count, sizeof(count)))
		return false;
	for (uint32_t i = 1; i <= count; i++) {
		struct scif_pollepd poll = { epd, 0, 0 };

		for (uint32_t spins = 1; flags->client != i; spins++) {
			/* A client that died does not set its flag. */
			if (spins % 4096 == 0 && scif_poll(&poll, 1, 0) > 0 &&
			    (poll.revents & SCIF_POLLHUP))
				return false;
			if (spins % 64 == 0)
				sched_yield();
		}
		flags->server = i;
	}
	return peer_put(epd, &done, 1);
}

/* What a connection had of the server's memory beside its first window. */
struct served {
	void *memory;
	size_t bytes;
};

/* One for a connection. */
static bool serve_window(scif_epd_t epd, struct served *served)
{
	uint64_t bytes;
	off_t offset;

	if (served->memory || !peer_get(epd, &bytes, sizeof(bytes)) || bytes > (8ull << 30))
		return false;
	served->memory = peer_memory(bytes);
	served->bytes = bytes;
	memset(served->memory, 1, bytes);
	offset = scif_register(epd, served->memory, bytes, 0, SCIF_PROT_READ | SCIF_PROT_WRITE, 0);
	return peer_put(epd, &offset, sizeof(offset));
}

static void serve_connection(scif_epd_t epd)
{
	unsigned char *buffer = malloc(PEER_MESSAGES), *window = peer_memory(PEER_SMALL);
	off_t offset =
		scif_register(epd, window, PEER_SMALL, 0, SCIF_PROT_READ | SCIF_PROT_WRITE, 0);
	bool goes_on = peer_put(epd, &offset, sizeof(offset));
	struct served served = { NULL, 0 };
	char order;

	while (goes_on && peer_get(epd, &order, 1)) {
		if (order == ORDER_ECHO)
			goes_on = serve_echo(epd, buffer);
		else if (order == ORDER_FLAG)
			goes_on = serve_flags(epd, (struct peer_flags *)window);
		else
			goes_on = order == ORDER_WINDOW && serve_window(epd, &served);
	}
	scif_close(epd);
	if (served.memory)
		munmap(served.memory, served.bytes);
	munmap(window, PEER_SMALL);
	free(buffer);
}

static void *serve_thread(void *argument)
{
	serve_connection((scif_epd_t)(intptr_t)argument);
	return NULL;
}

static void peer_serve(uint16_t port)
{
	scif_epd_t listener = scif_open();
	pthread_attr_t attributes;

	if (listener < 0 || scif_bind(listener, port) < 0 || scif_listen(listener, 64) < 0)
		peer_fail("listen");
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 128 << 10);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	printf("serving\n");
	fflush(stdout);
	for (;;) {
		struct scif_portID peer;
		scif_epd_t epd;
		pthread_t thread;

		if (scif_accept(listener, &peer, &epd, SCIF_ACCEPT_SYNC) < 0) {
			if (errno == ENOENT || errno == EINTR || errno == ECONNRESET)
				continue; /* who asked is gone */
			peer_fail("accept");
		}
		if (pthread_create(&thread, &attributes, serve_thread, (void *)(intptr_t)epd))
			peer_fail("thread");
	}
}

/* A connection to a server, and its window's offset. */
static scif_epd_t peer_connect(uint16_t node, uint16_t port, off_t *offset)
{
	struct scif_portID peer = { node, port };
	double end = peer_now() + 10;
	scif_epd_t epd = scif_open();

	if (epd < 0)
		peer_fail("open");
	/* A full backlog refuses; so does a server that is not there yet. */
	while (scif_connect(epd, &peer) < 0) {
		if (errno != ECONNREFUSED || peer_now() > end)
			peer_fail("connect");
		usleep(1000);
	}
	if (!peer_get(epd, offset, sizeof(*offset)))
		peer_fail("first message");
	return epd;
}

static void traffic_echo(scif_epd_t epd, uint64_t *random)
{
	static unsigned char sent[PEER_MESSAGES], got[PEER_MESSAGES];
	uint32_t bytes = 1 + peer_random(random) % (peer_random(random) % 4 ? 3000 : PEER_MESSAGES);
	char order = ORDER_ECHO;
	uint32_t half;

	for (uint32_t i = 0; i < bytes; i++)
		sent[i] = (unsigned char)peer_random(random);
	if (!peer_put(epd, &order, 1) || !peer_put(epd, &bytes, sizeof(bytes)))
		peer_fail("order");
	/* The server takes all before it answers; what is on its way fits the two rings, or less.
	 */
	if (!peer_put(epd, sent, (int)bytes))
		peer_fail("send");
	half = bytes / 2;
	if ((half && !peer_get(epd, got, (int)half)) ||
	    !peer_get(epd, got + half, (int)(bytes - half)))
		peer_fail("receive");
	if (memcmp(sent, got, bytes) != 0)
		peer_wrong("an echo differs");
}

/* Somewhere in the server's window, but for the page with the flags. */
static void traffic_copy(scif_epd_t epd, off_t remote, unsigned char *window, off_t local,
			 uint64_t *random)
{
	static unsigned char back[PEER_SMALL];
	size_t bytes = 1 + peer_random(random) % (PEER_SMALL / 2);
	size_t at = 4096 + peer_random(random) % (PEER_SMALL - 4096 - bytes);
	size_t own = peer_random(random) % (PEER_SMALL - bytes);
	int flags = SCIF_RMA_SYNC | (peer_random(random) % 2 ? SCIF_RMA_ORDERED : 0), mark;

	for (size_t i = 0; i < bytes; i++)
		window[own + i] = (unsigned char)peer_random(random);
	if (peer_random(random) % 2) {
		if (scif_vwriteto(epd, window + own, bytes, remote + (off_t)at, flags) < 0)
			peer_fail("vwriteto");
	} else if (peer_random(random) % 2) {
		if (scif_writeto(epd, local + (off_t)own, bytes, remote + (off_t)at, flags) < 0)
			peer_fail("writeto");
	} else if (scif_writeto(epd, local + (off_t)own, bytes, remote + (off_t)at, 0) < 0 ||
		   scif_fence_mark(epd, SCIF_FENCE_INIT_SELF, &mark) < 0 ||
		   scif_fence_wait(epd, mark) < 0) {
		peer_fail("writeto with a fence");
	}
	memset(back, 0, bytes);
	if (scif_vreadfrom(epd, back, bytes, remote + (off_t)at, SCIF_RMA_SYNC) < 0)
		peer_fail("vreadfrom");
	if (memcmp(back, window + own, bytes) != 0)
		peer_wrong("vreadfrom brings other bytes");
	memset(window + own, 0, bytes);
	if (scif_readfrom(epd, local + (off_t)own, bytes, remote + (off_t)at, SCIF_RMA_SYNC) < 0)
		peer_fail("readfrom");
	if (memcmp(back, window + own, bytes) != 0)
		peer_wrong("readfrom brings other bytes");
}

static void traffic_flags(scif_epd_t epd, struct peer_flags *flags)
{
	char order = ORDER_FLAG, done;
	uint32_t count = 50;

	flags->client = flags->server = 0;
	if (!peer_put(epd, &order, 1) || !peer_put(epd, &count, sizeof(count)))
		peer_fail("order");
	for (uint32_t i = 1; i <= count; i++) {
		double end = peer_now() + 60;

		flags->client = i;
		for (uint32_t spins = 1; flags->server != i; spins++) {
			struct scif_pollepd poll = { epd, 0, 0 };

			if (spins % 4096 == 0 && scif_poll(&poll, 1, 0) > 0 &&
			    (poll.revents & SCIF_POLLHUP)) {
				errno = ECONNRESET;
				peer_fail("flag");
			}
			if (spins % 4096 == 0 && peer_now() > end)
				peer_wrong("a flag does not arrive");
			if (spins % 64 == 0)
				sched_yield();
		}
	}
	if (!peer_get(epd, &done, 1))
		peer_fail("flags");
}

static int peer_traffic(uint16_t node, uint16_t port, double seconds, uint64_t random)
{
	double end = peer_now() + seconds;
	unsigned int rounds = 0, flags = 0;

	while (rounds == 0 || peer_now() < end) {
		off_t remote, local;
		scif_epd_t epd = peer_connect(node, port, &remote);
		unsigned char *window = peer_memory(PEER_SMALL);
		struct peer_flags *mapped;

		local = scif_register(epd, window, PEER_SMALL, 0, SCIF_PROT_READ | SCIF_PROT_WRITE,
				      0);
		if (local < 0)
			peer_fail("register");
		mapped = scif_mmap(NULL, 4096, SCIF_PROT_READ | SCIF_PROT_WRITE, 0, epd, remote);
		if (mapped == SCIF_MMAP_FAILED && errno != EOPNOTSUPP)
			peer_fail("mmap");
		for (int i = 0; i < 10 && (rounds == 0 || peer_now() < end); i++, rounds++) {
			traffic_echo(epd, &random);
			traffic_copy(epd, remote, window, local, &random);
			if (mapped != SCIF_MMAP_FAILED && ++flags)
				traffic_flags(epd, mapped);
		}
		if (mapped != SCIF_MMAP_FAILED)
			scif_munmap(mapped, 4096);
		if (peer_random(&random) % 2 && scif_unregister(epd, local, PEER_SMALL) < 0)
			peer_fail("unregister");
		scif_close(epd);
		munmap(window, PEER_SMALL);
	}
	printf("%u rounds, %u with flags\n", rounds, flags);
	return 0;
}

static int peer_many(uint16_t node, uint16_t port, unsigned int count)
{
	scif_epd_t *epds = calloc(count, sizeof(*epds));
	uint64_t random = 77;
	off_t offset;

	for (unsigned int i = 0; i < count; i++)
		epds[i] = peer_connect(node, port, &offset);
	for (unsigned int i = 0; i < count; i++)
		traffic_echo(epds[i], &random);
	printf("%u connections\n", count);
	fflush(stdout);
	pause();
	return 0;
}

static int peer_maps(uint16_t node, uint16_t port, unsigned int count)
{
	off_t remote;
	scif_epd_t epd = peer_connect(node, port, &remote);

	for (unsigned int i = 0; i < count; i++) {
		unsigned int pages = 1 + i % 8;
		volatile uint32_t *mapped =
			scif_mmap(NULL, pages * 4096, SCIF_PROT_READ | SCIF_PROT_WRITE, 0, epd,
				  remote + 4096 * (off_t)(i % 200));

		if (mapped == SCIF_MMAP_FAILED)
			peer_fail("mmap");
		mapped[5] = i;
		if (mapped[5] != i)
			peer_wrong("mapped memory");
		if (scif_munmap((void *)mapped, pages * 4096) < 0)
			peer_fail("munmap");
	}
	printf("%u maps\n", count);
	return 0;
}

static int peer_registers(uint16_t node, uint16_t port, unsigned int count)
{
	off_t remote;
	scif_epd_t epd = peer_connect(node, port, &remote);
	unsigned char *memory = peer_memory(16 * 4096);

	for (unsigned int i = 0; i < count; i++) {
		size_t bytes = 4096 * (1 + i % 8);
		unsigned char *start = memory + 4096 * (size_t)(i % 7);
		off_t window;

		*start = (unsigned char)i;
		window = scif_register(epd, start, bytes, 0, SCIF_PROT_READ | SCIF_PROT_WRITE, 0);
		if (window < 0)
			peer_fail("register");
		if (i % 16 == 0 && scif_writeto(epd, window, bytes, remote, SCIF_RMA_SYNC) < 0)
			peer_fail("write");
		if (scif_unregister(epd, window, bytes) < 0)
			peer_fail("unregister");
	}
	printf("%u windows\n", count);
	return 0;
}

static int peer_block(uint16_t node, uint16_t port)
{
	off_t remote;
	scif_epd_t epd = peer_connect(node, port, &remote);
	char byte;
	int status;

	printf("waiting\n");
	fflush(stdout);
	status = scif_recv(epd, &byte, 1, SCIF_RECV_BLOCK);
	printf("receive: %d %s\n", status, status < 0 ? strerror(errno) : "");
	return 0;
}

/* The last bytes of a window go to the server and come back to its first. */
static void peer_check_ends(scif_epd_t epd, unsigned char *memory, size_t bytes, off_t window,
			    off_t remote)
{
	size_t part = bytes < PEER_SMALL / 2 ? bytes / 2 : PEER_SMALL / 2;

	for (size_t i = 0; i < part; i++)
		memory[bytes - part + i] = (unsigned char)(i * 7 + i / 4096);
	if (scif_writeto(epd, window + (off_t)(bytes - part), part, remote + 8192, SCIF_RMA_SYNC) <
		    0 ||
	    scif_readfrom(epd, window, part, remote + 8192, SCIF_RMA_SYNC) < 0)
		peer_fail("copy");
	if (memcmp(memory, memory + bytes - part, part) != 0)
		peer_wrong("the window's ends");
}

static int peer_hold(uint16_t node, uint16_t port, size_t mebibytes, bool check)
{
	off_t remote, window;
	scif_epd_t epd = peer_connect(node, port, &remote);
	unsigned char *memory = peer_memory(mebibytes << 20);

	window =
		scif_register(epd, memory, mebibytes << 20, 0, SCIF_PROT_READ | SCIF_PROT_WRITE, 0);
	if (window < 0)
		peer_fail("register");
	if (check)
		peer_check_ends(epd, memory, mebibytes << 20, window, remote);
	printf("holding\n");
	fflush(stdout);
	pause();
	return 0;
}

static int peer_time(uint16_t node, uint16_t port, uint32_t bytes, unsigned int rounds)
{
	static unsigned char buffer[PEER_MESSAGES];
	off_t remote;
	scif_epd_t epd = peer_connect(node, port, &remote);
	double *took = calloc(rounds, sizeof(*took));
	char order = ORDER_ECHO;

	for (unsigned int i = 0; i < rounds; i++) {
		unsigned char request[5] = { (unsigned char)order };
		double begun;

		memcpy(request + 1, &bytes, sizeof(bytes));
		if (!peer_put(epd, request, sizeof(request)))
			peer_fail("order");
		begun = peer_now();
		if (!peer_put(epd, buffer, (int)bytes) || !peer_get(epd, buffer, (int)bytes))
			peer_fail("echo");
		took[i] = peer_now() - begun;
	}
	for (unsigned int i = 0; i < rounds; i++)
		printf("%.3f\n", took[i] * 1e6);
	return 0;
}

/* Copies of one kind: how one is made. */
struct peer_copies {
	scif_epd_t epd;
	off_t local, remote;
	unsigned char *to, *from; /* of a plain memcpy() */
	size_t bytes;
	int (*once)(const struct peer_copies *copies);
};

static int peer_read_once(const struct peer_copies *copies)
{
	return scif_readfrom(copies->epd, copies->local, copies->bytes, copies->remote,
			     SCIF_RMA_SYNC);
}

static int peer_write_once(const struct peer_copies *copies)
{
	return scif_writeto(copies->epd, copies->local, copies->bytes, copies->remote,
			    SCIF_RMA_SYNC);
}

static int peer_memcpy_once(const struct peer_copies *copies)
{
	memcpy(copies->to, copies->from, copies->bytes);
	__asm__ volatile("" : : "r"(copies->to) : "memory");
	return 0;
}

static void peer_copy_rounds(const struct peer_copies *copies, unsigned int rounds)
{
	for (unsigned int i = 0; i < rounds; i++) {
		double begun = peer_now();

		if (copies->once(copies) < 0)
			peer_fail("copy");
		printf("%.3f\n", (peer_now() - begun) * 1e6);
	}
}

/* So many; with 0, as many as each line of the input asks for. */
static void peer_copy_all(const struct peer_copies *copies, unsigned int rounds)
{
	char line[32];

	peer_copy_rounds(copies, rounds);
	if (rounds)
		return;
	printf("ready\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		peer_copy_rounds(copies, (unsigned int)strtoul(line, NULL, 0));
		printf("done\n");
		fflush(stdout);
	}
}

static int peer_copy(uint16_t node, uint16_t port, const char *way, size_t bytes,
		     unsigned int rounds)
{
	bool reads = strcmp(way, "read") == 0;
	size_t window = (bytes + 4095) & ~(size_t)4095;
	uint64_t wanted = window;
	off_t remote, local;
	scif_epd_t epd = peer_connect(node, port, &remote);
	unsigned char *memory = peer_memory(window);
	char order = ORDER_WINDOW;

	memset(memory, 2, window);
	if (!peer_put(epd, &order, 1) || !peer_put(epd, &wanted, sizeof(wanted)) ||
	    !peer_get(epd, &remote, sizeof(remote)) || remote < 0)
		peer_fail("window");
	local = scif_register(epd, memory, window, 0, SCIF_PROT_READ | SCIF_PROT_WRITE, 0);
	if (local < 0)
		peer_fail("register");
	peer_copy_all(&(struct peer_copies){ epd, local, remote, NULL, NULL, bytes,
					     reads ? peer_read_once : peer_write_once },
		      rounds);
	if (reads && memory[bytes - 1] != 1)
		peer_wrong("the copy did not arrive");
	return 0;
}

static int peer_memcpy(size_t bytes, unsigned int rounds)
{
	struct peer_copies copies = { .to = peer_memory(bytes),
				      .from = peer_memory(bytes),
				      .bytes = bytes,
				      .once = peer_memcpy_once };

	memset(copies.from, 1, bytes);
	memset(copies.to, 2, bytes);
	peer_copy_all(&copies, rounds);
	return 0;
}

/* Each endpoint is a descriptor, or two. */
static void peer_raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int main(int count, char **words)
{
	const char *what = count > 1 ? words[1] : "";
	unsigned long numbers[6] = { 0 };

	peer_raise_limit();

	for (int i = 2; i < count && i < 8; i++)
		numbers[i - 2] = strtoul(words[i], NULL, 0);
	if (strcmp(what, "serve") == 0 && count == 3)
		peer_serve((uint16_t)numbers[0]);
	if (strcmp(what, "traffic") == 0 && count == 6)
		return peer_traffic((uint16_t)numbers[0], (uint16_t)numbers[1], atof(words[4]),
				    numbers[3] + 1);
	if (strcmp(what, "many") == 0 && count == 5)
		return peer_many((uint16_t)numbers[0], (uint16_t)numbers[1],
				 (unsigned int)numbers[2]);
	if (strcmp(what, "maps") == 0 && count == 5)
		return peer_maps((uint16_t)numbers[0], (uint16_t)numbers[1],
				 (unsigned int)numbers[2]);
	if (strcmp(what, "registers") == 0 && count == 5)
		return peer_registers((uint16_t)numbers[0], (uint16_t)numbers[1],
				      (unsigned int)numbers[2]);
	if (strcmp(what, "block") == 0 && count == 4)
		return peer_block((uint16_t)numbers[0], (uint16_t)numbers[1]);
	if ((strcmp(what, "hold") == 0 || strcmp(what, "ends") == 0) && count == 5)
		return peer_hold((uint16_t)numbers[0], (uint16_t)numbers[1], numbers[2],
				 *what == 'e');
	if (strcmp(what, "time") == 0 && count == 6)
		return peer_time((uint16_t)numbers[0], (uint16_t)numbers[1], (uint32_t)numbers[2],
				 (unsigned int)numbers[3]);
	if (strcmp(what, "copy") == 0 && count == 7)
		return peer_copy((uint16_t)numbers[0], (uint16_t)numbers[1], words[4], numbers[3],
				 (unsigned int)numbers[4]);
	if (strcmp(what, "memcpy") == 0 && count == 4)
		return peer_memcpy(numbers[0], (unsigned int)numbers[1]);
	fprintf(stderr, "usage: see the top of scif_peer.c\n");
	return 2;
}
