/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Load for the benchmarks of sockets: runs in guests and on the host, over vsock or TCP.
 *
 *	sockets_load listen ADDRESS                       serves what the others ask, for ever
 *	sockets_load stream ADDRESS BYTES SECONDS WINDOW [AT]
 *	                                                  messages of BYTES for SECONDS, one way
 *	sockets_load ping ADDRESS BYTES SECONDS [AT]      messages of BYTES there and back
 *	sockets_load clock                                prints the time, as AT wants it
 *	sockets_load hold ADDRESS COUNT                   idle connections until its input ends
 *	sockets_load memcpy BYTES SECONDS                 copies in memory, in pieces of BYTES
 *
 * ADDRESS: vsock:CID:PORT (CID -1 listens on any), tcp:ADDRESS:PORT. WINDOW is what both ends ask
 * for as SO_VM_SOCKETS_BUFFER_SIZE, or SO_SNDBUF and SO_RCVBUF; 0 leaves the default. AT: the load
 * begins when CLOCK_REALTIME is that many seconds, so that several begin together; the connection
 * is made before. Who is more than a tenth of a second late fails.
 *
 * Each prints one line of JSON: bytes_per_s for stream and memcpy; the round trips in microseconds,
 * their median and the 10th and 99th percentile, for ping. A stream's time runs from its first byte
 * to the word of the listener that it has read all.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <linux/vm_sockets.h>

#define LOAD_PINGS_MAX	  (1u << 20)
#define LOAD_WINDOW_BYTES (256u << 10) /* of vsock, unless it is set */
#define LOAD_LATE_MAX	  0.1	       /* seconds */
#define LOAD_AREA_BYTES	  (64u << 20)  /* of memcpy: more than caches hold */

enum load_mode {
	LOAD_SINK,
	LOAD_ECHO,
};

/* What a connection begins with. */
struct load_order {
	uint32_t mode;
	uint32_t bytes; /* of a message */
	uint64_t window;
};

union load_address {
	struct sockaddr any;
	struct sockaddr_vm vsock;
	struct sockaddr_in inet;
};

static void __attribute__((noreturn, format(printf, 1, 2))) load_fail(const char *format, ...)
{
	va_list arguments;

	fputs("sockets_load: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputs("\n", stderr);
	exit(1);
}

static uint64_t load_clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Sleep until CLOCK_REALTIME is @at seconds; 0: do not. */
static void load_wait_until(double at)
{
	struct timespec when = { .tv_sec = (time_t)at,
				 .tv_nsec = (long)((at - (double)(time_t)at) * 1e9) },
			now;
	double late;

	if (at == 0)
		return;
	while (clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &when, NULL) == EINTR)
		continue;
	clock_gettime(CLOCK_REALTIME, &now);
	late = (double)now.tv_sec + (double)now.tv_nsec / 1e9 - at;
	if (late > LOAD_LATE_MAX)
		load_fail("%.2f s late: the others have begun", late);
}

static socklen_t load_parse(const char *text, union load_address *address)
{
	char kind[8], host[64];
	unsigned int port;

	memset(address, 0, sizeof(*address));
	if (sscanf(text, "%7[^:]:%63[^:]:%u", kind, host, &port) != 3)
		load_fail("'%s' is no address", text);
	if (strcmp(kind, "vsock") == 0) {
		address->vsock.svm_family = AF_VSOCK;
		address->vsock.svm_cid = (unsigned int)strtol(host, NULL, 10);
		address->vsock.svm_port = port;
		return sizeof(address->vsock);
	}
	address->inet.sin_family = AF_INET;
	address->inet.sin_port = htons((uint16_t)port);
	if (strcmp(kind, "tcp") != 0 || inet_pton(AF_INET, host, &address->inet.sin_addr) != 1)
		load_fail("'%s' is no address", text);
	return sizeof(address->inet);
}

static int load_socket(const union load_address *address)
{
	int fd = socket(address->any.sa_family, SOCK_STREAM, 0), one = 1;

	if (fd < 0)
		load_fail("socket: %s", strerror(errno));
	if (address->any.sa_family == AF_INET) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	}
	return fd;
}

static void load_set_window(int fd, bool is_vsock, uint64_t window)
{
	int bytes = (int)window;

	if (window == 0)
		return;
	if (is_vsock) {
		setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_MAX_SIZE, &window, sizeof(window));
		setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &window, sizeof(window));
	} else {
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	}
}

static bool load_write(int fd, const void *from, size_t bytes)
{
	const unsigned char *next = from;

	while (bytes) {
		ssize_t put = send(fd, next, bytes, MSG_NOSIGNAL);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return false;
		next += put;
		bytes -= (size_t)put;
	}
	return true;
}

/* How many bytes came: fewer than asked for at the end of the stream only. */
static size_t load_read(int fd, void *to, size_t bytes)
{
	unsigned char *next = to;
	size_t done = 0;

	while (done < bytes) {
		ssize_t got = recv(fd, next + done, bytes - done, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		done += (size_t)got;
	}
	return done;
}

static unsigned char *load_memory(size_t bytes)
{
	unsigned char *memory = malloc(bytes);

	if (!memory)
		load_fail("no memory for %zu bytes", bytes);
	memset(memory, 'c', bytes);
	return memory;
}

/* A message is read whole, or in halves of a window: vsock refuses to wait for more than that. */
static size_t load_part(const struct load_order *order)
{
	size_t half = (order->window ? order->window : LOAD_WINDOW_BYTES) / 2;

	return order->bytes < half ? order->bytes : half;
}

/* Reads to the end and says how much it was, or sends each message back. */
static void load_serve(int fd, bool is_vsock)
{
	struct load_order order;
	unsigned char *message;
	uint64_t total = 0;
	ssize_t got;

	if (load_read(fd, &order, sizeof(order)) != sizeof(order) || order.bytes == 0)
		return;
	load_set_window(fd, is_vsock, order.window);
	if (!load_write(fd, "!", 1)) /* the window is what it shall be */
		return;
	message = load_memory(order.bytes);
	if (order.mode == LOAD_SINK) {
		size_t part = load_part(&order);

		while ((got = recv(fd, message, part, MSG_WAITALL)) > 0)
			total += (uint64_t)got;
		load_write(fd, &total, sizeof(total));
	} else {
		while (load_read(fd, message, order.bytes) == order.bytes)
			if (!load_write(fd, message, order.bytes))
				break;
	}
	free(message);
}

static void load_listen(const char *text)
{
	union load_address address;
	socklen_t length = load_parse(text, &address);
	int listener = load_socket(&address);

	if (bind(listener, &address.any, length) < 0 || listen(listener, 4096) < 0)
		load_fail("listen on %s: %s", text, strerror(errno));
	signal(SIGCHLD, SIG_IGN);
	puts("listening");
	fflush(stdout);
	for (;;) {
		int fd = accept(listener, NULL, NULL), one = 1;
		struct load_order order;

		if (fd < 0)
			load_fail("accept: %s", strerror(errno));
		if (address.any.sa_family == AF_INET)
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		/* Idle connections are kept here, without a process for each. */
		if (recv(fd, &order, sizeof(order), MSG_PEEK) == 1)
			continue;
		if (fork() == 0) {
			load_serve(fd, address.any.sa_family == AF_VSOCK);
			_exit(0);
		}
		close(fd);
	}
}

static int load_connect(const char *text, enum load_mode mode, uint32_t bytes, uint64_t window)
{
	struct load_order order = { .mode = mode, .bytes = bytes, .window = window };
	union load_address address;
	socklen_t length = load_parse(text, &address);
	int fd = load_socket(&address);
	char byte;

	load_set_window(fd, address.any.sa_family == AF_VSOCK, window);
	if (connect(fd, &address.any, length) < 0)
		load_fail("connect to %s: %s", text, strerror(errno));
	if (!load_write(fd, &order, sizeof(order)) || load_read(fd, &byte, 1) != 1)
		load_fail("%s hung up", text);
	return fd;
}

static void load_stream(const char *text, uint32_t bytes, double seconds, uint64_t window,
			double at)
{
	int fd = load_connect(text, LOAD_SINK, bytes, window);
	unsigned char *message = load_memory(bytes);
	uint64_t sent = 0, counted = 0, start_ns, end_ns;

	load_wait_until(at);
	start_ns = load_clock_ns();
	end_ns = start_ns + (uint64_t)(seconds * 1e9);
	while (load_clock_ns() < end_ns) {
		if (!load_write(fd, message, bytes))
			load_fail("write: %s", strerror(errno));
		sent += bytes;
	}
	if (shutdown(fd, SHUT_WR) < 0 ||
	    load_read(fd, &counted, sizeof(counted)) != sizeof(counted))
		load_fail("the listener hung up");
	if (counted != sent)
		load_fail("%" PRIu64 " bytes came of %" PRIu64, counted, sent);
	printf("{\"bytes\": %" PRIu64 ", \"bytes_per_s\": %.0f}\n", sent,
	       (double)sent * 1e9 / (double)(load_clock_ns() - start_ns));
	free(message);
}

static int load_compare(const void *one, const void *other)
{
	uint32_t a = *(const uint32_t *)one, b = *(const uint32_t *)other;

	return (a > b) - (a < b);
}

static void load_ping(const char *text, uint32_t bytes, double seconds, double at)
{
	int fd = load_connect(text, LOAD_ECHO, bytes, 0);
	unsigned char *message = load_memory(bytes);
	uint32_t *times_ns = calloc(LOAD_PINGS_MAX, sizeof(*times_ns));
	uint64_t end_ns, before_ns, now_ns;
	unsigned int count = 0;

	if (!times_ns)
		load_fail("no memory");
	load_wait_until(at);
	end_ns = load_clock_ns() + (uint64_t)(seconds * 1e9);
	for (now_ns = load_clock_ns(); now_ns < end_ns && count < LOAD_PINGS_MAX; count++) {
		before_ns = now_ns;
		if (!load_write(fd, message, bytes) || load_read(fd, message, bytes) != bytes)
			load_fail("the listener hung up");
		now_ns = load_clock_ns();
		times_ns[count] = (uint32_t)(now_ns - before_ns);
	}
	qsort(times_ns, count, sizeof(*times_ns), load_compare);
	printf("{\"count\": %u, \"p10_us\": %.2f, \"p50_us\": %.2f, \"p99_us\": %.2f}\n", count,
	       times_ns[count / 10] / 1e3, times_ns[count / 2] / 1e3,
	       times_ns[count - 1 - count / 100] / 1e3);
	free(times_ns);
	free(message);
}

static void load_hold(const char *text, unsigned int count)
{
	union load_address address;
	socklen_t length = load_parse(text, &address);
	char byte;

	for (unsigned int i = 0; i < count; i++) {
		int fd = load_socket(&address);

		if (connect(fd, &address.any, length) < 0 || !load_write(fd, "i", 1))
			load_fail("connection %u: %s", i, strerror(errno));
	}
	puts("holding");
	fflush(stdout);
	while (read(0, &byte, 1) > 0)
		continue;
}

static void load_memcpy(uint32_t bytes, double seconds)
{
	unsigned char *from = load_memory(LOAD_AREA_BYTES), *to = load_memory(LOAD_AREA_BYTES);
	uint64_t start_ns = load_clock_ns(), end_ns = start_ns + (uint64_t)(seconds * 1e9),
		 total = 0;
	size_t at = 0;

	if (bytes == 0 || bytes > LOAD_AREA_BYTES)
		load_fail("expected 1 to %u bytes", LOAD_AREA_BYTES);
	while (load_clock_ns() < end_ns) {
		memcpy(to + at, from + at, bytes);
		__asm__ volatile("" : : "r"(to) : "memory");
		total += bytes;
		at = at + 2 * (size_t)bytes > LOAD_AREA_BYTES ? 0 : at + bytes;
	}
	printf("{\"bytes\": %" PRIu64 ", \"bytes_per_s\": %.0f}\n", total,
	       (double)total * 1e9 / (double)(load_clock_ns() - start_ns));
	free(from);
	free(to);
}

static uint32_t load_bytes(const char *text)
{
	unsigned long bytes = strtoul(text, NULL, 10);

	if (bytes == 0 || bytes > (1u << 30))
		load_fail("'%s': expected 1 to %u bytes", text, 1u << 30);
	return (uint32_t)bytes;
}

static void load_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	printf("%.3f\n", (double)now.tv_sec + (double)now.tv_nsec / 1e9);
}

int main(int argc, char **argv)
{
	const char *action = argc > 1 ? argv[1] : "";
	double at = argc > 1 ? atof(argv[argc - 1]) : 0; /* where the action has one */

	if (strcmp(action, "listen") == 0 && argc == 3)
		load_listen(argv[2]);
	else if (strcmp(action, "stream") == 0 && (argc == 6 || argc == 7))
		load_stream(argv[2], load_bytes(argv[3]), atof(argv[4]),
			    strtoull(argv[5], NULL, 10), argc == 7 ? at : 0);
	else if (strcmp(action, "ping") == 0 && (argc == 5 || argc == 6))
		load_ping(argv[2], load_bytes(argv[3]), atof(argv[4]), argc == 6 ? at : 0);
	else if (strcmp(action, "clock") == 0 && argc == 2)
		load_clock();
	else if (strcmp(action, "hold") == 0 && argc == 4)
		load_hold(argv[2], (unsigned int)strtoul(argv[3], NULL, 10));
	else if (strcmp(action, "memcpy") == 0 && argc == 4)
		load_memcpy(load_bytes(argv[2]), atof(argv[3]));
	else
		load_fail("usage: sockets_load listen|stream|ping|clock|hold|memcpy ..., see its "
			  "source");
	return 0;
}
