/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One end of a stream, for tests of sockets between guests and the host: it runs in the guest and
 * on the host alike.
 *
 *	vsock_peer connect ADDRESS ACTION [NUMBER]      vsock_peer listen ADDRESS ACTION [NUMBER]
 *
 *	vsock_peer datagram                             what the kernel says to SOCK_DGRAM
 *
 * ADDRESS: vsock:CID:PORT (CID -1 listens on any), seqpacket:CID:PORT for SOCK_SEQPACKET,
 * unix:PATH, or host:PATH:PORT, which connects to the VM's host socket PATH and asks for the
 * guest's port; unixseq:PATH and hostseq:PATH:PORT are the same for SOCK_SEQPACKET.
 *
 * ACTION (NUMBER is its amount):
 *	send N     write N bytes of a known stream, close the writing direction, await the end
 *	slurp N    read to the end, expect exactly N bytes of that stream, then close
 *	echo       return what comes until the end of the stream, then close
 *	verify N   send N bytes and expect them back, reading and writing at once; the peer echoes
 *	tail N     send N bytes and close the writing direction first, then expect all of them back
 *	dribble N  write N bytes one by one, then close the writing direction, await the end
 *	blast N    as send, with bytes that cost nothing to make; sink N: as slurp, without a look
 *	ping N     N round trips of 2 bytes; prints the time of one
 *	many N     connect: N connections at once, a message back and forth on each
 *	messages N send N messages of many sizes, close the writing direction, await the end
 *	parcels N  expect those N messages, each in one piece, then the end
 *	large N    messages of N bytes there and back, each in one piece; the peer's is return N
 *	hold       read until the end or an error, and say which
 *	refused    connect: expect a refusal, and print after how long
 *	stall      accept, read nothing until standard input ends, then slurp NUMBER bytes
 *
 * A listener takes one connection (echo: any number, one process each) after printing
 * "listening". Exit status 0 when everything was as expected; otherwise a sentence says what not.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <linux/vm_sockets.h>

#define PEER_CHUNK_BYTES 65536
#define PEER_MANY_MAX	 1024
#define PEER_LARGE_COUNT 20
#define PEER_MESSAGE	 "the message of connection %4d\n"

union peer_address {
	struct sockaddr any;
	struct sockaddr_vm vsock;
	struct sockaddr_un local;
};

static void __attribute__((noreturn, format(printf, 1, 2))) peer_fail(const char *format, ...)
{
	va_list arguments;

	fputs("vsock_peer: ", stdout);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	fputs("\n", stdout);
	fflush(stdout);
	exit(1);
}

static uint64_t peer_clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Byte @at of the known stream: no period that a buffer's size could hide. */
static unsigned char peer_byte(uint64_t at)
{
	uint64_t mixed = (at / 8 + 1) * 0x9e3779b97f4a7c15u;

	mixed ^= mixed >> 29;
	return (unsigned char)(mixed >> (at % 8 * 8));
}

static void peer_fill(unsigned char *to, uint64_t at, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		to[i] = peer_byte(at + i);
}

static void peer_check(const unsigned char *got, uint64_t at, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		if (got[i] != peer_byte(at + i))
			peer_fail("byte %" PRIu64 " is %02x, not %02x", at + i, got[i],
				  peer_byte(at + i));
}

static void peer_write(int fd, const void *from, size_t bytes)
{
	const unsigned char *next = from;

	while (bytes) {
		ssize_t put = send(fd, next, bytes, MSG_NOSIGNAL);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			peer_fail("write: %s", strerror(errno));
		next += put;
		bytes -= (size_t)put;
	}
}

static size_t peer_read(int fd, void *to, size_t bytes)
{
	ssize_t got;

	do {
		got = recv(fd, to, bytes, 0);
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		peer_fail("read: %s", strerror(errno));
	return (size_t)got;
}

static void peer_read_full(int fd, void *to, size_t bytes)
{
	unsigned char *next = to;

	while (bytes) {
		size_t got = peer_read(fd, next, bytes);

		if (got == 0)
			peer_fail("the stream ended %zu bytes early", bytes);
		next += got;
		bytes -= got;
	}
}

static void peer_send(int fd, uint64_t bytes, size_t chunk)
{
	unsigned char buffer[PEER_CHUNK_BYTES];

	for (uint64_t at = 0; at < bytes;) {
		size_t part = bytes - at < chunk ? (size_t)(bytes - at) : chunk;

		peer_fill(buffer, at, part);
		peer_write(fd, buffer, part);
		at += part;
	}
	if (shutdown(fd, SHUT_WR) < 0)
		peer_fail("shutdown: %s", strerror(errno));
}

static void peer_slurp(int fd, uint64_t bytes)
{
	unsigned char buffer[PEER_CHUNK_BYTES];
	uint64_t at = 0, start_ns = peer_clock_ns();
	size_t got;

	while ((got = peer_read(fd, buffer, sizeof(buffer)))) {
		peer_check(buffer, at, got);
		at += got;
	}
	if (at != bytes)
		peer_fail("%" PRIu64 " bytes came, not %" PRIu64, at, bytes);
	printf("received %" PRIu64 " bytes, %.1f MiB/s\n", at,
	       (double)at / 1048576.0 / ((double)(peer_clock_ns() - start_ns) / 1e9));
}

/* For measurements: the stream's own cost without that of its contents. */
static void peer_blast(int fd, uint64_t bytes)
{
	static const unsigned char buffer[PEER_CHUNK_BYTES];

	for (uint64_t at = 0; at < bytes; at += sizeof(buffer))
		peer_write(fd, buffer, sizeof(buffer));
	if (shutdown(fd, SHUT_WR) < 0)
		peer_fail("shutdown: %s", strerror(errno));
}

static void peer_sink(int fd, uint64_t bytes)
{
	unsigned char buffer[PEER_CHUNK_BYTES];
	uint64_t at = 0, start_ns = peer_clock_ns();
	size_t got;

	while ((got = peer_read(fd, buffer, sizeof(buffer))))
		at += got;
	if (at < bytes)
		peer_fail("%" PRIu64 " bytes came, not %" PRIu64, at, bytes);
	printf("received %" PRIu64 " bytes, %.1f MiB/s\n", at,
	       (double)at / 1048576.0 / ((double)(peer_clock_ns() - start_ns) / 1e9));
}

static void peer_await_end(int fd)
{
	char byte;

	if (peer_read(fd, &byte, 1) != 0)
		peer_fail("a byte came where the end was due");
}

static void peer_echo(int fd)
{
	unsigned char buffer[PEER_CHUNK_BYTES];
	size_t got;

	while ((got = peer_read(fd, buffer, sizeof(buffer))))
		peer_write(fd, buffer, got);
}

/* Both directions at once, so that neither side's window alone decides. */
static void peer_verify(int fd, uint64_t bytes)
{
	pid_t child = fork();
	int status;

	if (child < 0)
		peer_fail("fork: %s", strerror(errno));
	if (child == 0) {
		peer_send(fd, bytes, PEER_CHUNK_BYTES);
		_exit(0);
	}
	peer_slurp(fd, bytes);
	if (waitpid(child, &status, 0) < 0 || status != 0)
		peer_fail("the writer failed");
}

static void peer_ping(int fd, uint64_t count)
{
	uint64_t start_ns = peer_clock_ns();
	char bytes[2] = { 0 };

	for (uint64_t i = 0; i < count; i++) {
		bytes[0] = (char)i;
		peer_write(fd, bytes, sizeof(bytes));
		peer_read_full(fd, bytes, sizeof(bytes));
		if (bytes[0] != (char)i)
			peer_fail("round trip %" PRIu64 " brought another's bytes", i);
	}
	printf("round trip %.2f us\n",
	       (double)(peer_clock_ns() - start_ns) / 1000.0 / (double)count);
}

static void peer_hold(int fd)
{
	unsigned char buffer[PEER_CHUNK_BYTES];
	ssize_t got;

	puts("holding");
	fflush(stdout);
	do {
		got = recv(fd, buffer, sizeof(buffer), 0);
	} while (got > 0);
	puts(got == 0 ? "the end" : strerror(errno));
}

static void peer_stall(int fd, uint64_t bytes)
{
	char byte;

	puts("stalling");
	fflush(stdout);
	while (read(0, &byte, 1) > 0)
		continue;
	peer_slurp(fd, bytes);
}

/* The size of message @i: from a byte to what fits a read. */
static size_t peer_message_bytes(uint64_t i)
{
	return 1 + (peer_byte(i) * 257u + (size_t)i) % (PEER_CHUNK_BYTES - 1);
}

static void peer_messages(int fd, uint64_t count)
{
	unsigned char buffer[PEER_CHUNK_BYTES];

	for (uint64_t i = 0; i < count; i++) {
		size_t bytes = peer_message_bytes(i);

		peer_fill(buffer, i, bytes);
		if (send(fd, buffer, bytes, MSG_NOSIGNAL | MSG_EOR) != (ssize_t)bytes)
			peer_fail("message %" PRIu64 ": %s", i, strerror(errno));
	}
	if (shutdown(fd, SHUT_WR) < 0)
		peer_fail("shutdown: %s", strerror(errno));
}

static void peer_parcels(int fd, uint64_t count)
{
	unsigned char buffer[PEER_CHUNK_BYTES];

	for (uint64_t i = 0; i < count; i++) {
		size_t got = peer_read(fd, buffer, sizeof(buffer));

		if (got != peer_message_bytes(i))
			peer_fail("message %" PRIu64 " has %zu bytes, not %zu", i, got,
				  peer_message_bytes(i));
		peer_check(buffer, i, got);
	}
	peer_await_end(fd);
	printf("received %" PRIu64 " messages\n", count);
}

/* Messages of one large size, several of them under way where buffers allow it. */
static void peer_large(int fd, size_t bytes, bool returns)
{
	unsigned char *message = malloc(bytes + 1);

	if (!message)
		peer_fail("no memory");
	for (int i = 0; i < PEER_LARGE_COUNT; i++) {
		peer_fill(message, (uint64_t)i, bytes);
		if (!returns && send(fd, message, bytes, MSG_NOSIGNAL) != (ssize_t)bytes)
			peer_fail("message %d: %s", i, strerror(errno));
		memset(message, 0, bytes);
		if (peer_read(fd, message, bytes + 1) != bytes)
			peer_fail("message %d came in pieces", i);
		peer_check(message, (uint64_t)i, bytes);
		if (returns && send(fd, message, bytes, MSG_NOSIGNAL) != (ssize_t)bytes)
			peer_fail("message %d: %s", i, strerror(errno));
	}
	free(message);
}

/* Virtio has no datagrams: whoever asks for a socket, or for a port of one, must be told. */
static void peer_datagram(void)
{
	struct sockaddr_vm address = { .svm_family = AF_VSOCK, .svm_cid = 2, .svm_port = 5000 };
	int fd = socket(AF_VSOCK, SOCK_DGRAM, 0);

	if (fd < 0) {
		printf("socket: %s\n", strerror(errno));
		return;
	}
	if (sendto(fd, "x", 1, 0, (struct sockaddr *)&address, sizeof(address)) < 0)
		printf("sendto: %s\n", strerror(errno));
	else
		peer_fail("a datagram went out");
}

static socklen_t peer_parse(char *text, union peer_address *address, char **port, int *type)
{
	char *kind = strsep(&text, ":"), *first = strsep(&text, ":"), *second = text;

	memset(address, 0, sizeof(*address));
	*port = NULL;
	*type = strstr(kind, "seq") ? SOCK_SEQPACKET : SOCK_STREAM;
	if (first && second && (strcmp(kind, "vsock") == 0 || strcmp(kind, "seqpacket") == 0)) {
		address->vsock.svm_family = AF_VSOCK;
		address->vsock.svm_cid = (unsigned int)strtol(first, NULL, 10);
		address->vsock.svm_port = (unsigned int)strtoul(second, NULL, 10);
		return sizeof(address->vsock);
	}
	if (!first || (strncmp(kind, "unix", 4) != 0 && strncmp(kind, "host", 4) != 0))
		peer_fail("'%s' is no address", kind);
	address->local.sun_family = AF_UNIX;
	snprintf(address->local.sun_path, sizeof(address->local.sun_path), "%s", first);
	*port = second;
	return sizeof(address->local);
}

/* Asks for the guest's port on the VM's host socket. */
static void peer_ask(int fd, const char *port, int type)
{
	char line[32], byte;
	size_t used = 0;

	peer_write(fd, line, (size_t)snprintf(line, sizeof(line), "CONNECT %s\n", port));
	if (type == SOCK_SEQPACKET)
		used = peer_read(fd, line, sizeof(line) - 1);
	while (type == SOCK_STREAM && used < sizeof(line) - 1 && peer_read(fd, &byte, 1) == 1 &&
	       byte != '\n')
		line[used++] = byte;
	line[used] = '\0';
	if (strncmp(line, "OK ", 3) != 0)
		peer_fail("the guest's port %s refused", port);
}

static int peer_connect(const char *text, bool may_fail)
{
	char copy[256], *port;
	union peer_address address;
	socklen_t length;
	int fd, type;

	snprintf(copy, sizeof(copy), "%s", text);
	length = peer_parse(copy, &address, &port, &type);
	fd = socket(address.any.sa_family, type, 0);
	if (fd < 0)
		peer_fail("socket: %s", strerror(errno));
	if (connect(fd, &address.any, length) < 0) {
		if (may_fail)
			return -errno;
		peer_fail("connect to %s: %s", text, strerror(errno));
	}
	if (port)
		peer_ask(fd, port, type);
	return fd;
}

static int peer_listen(const char *text)
{
	char copy[256], *port;
	union peer_address address;
	socklen_t length;
	int fd, type;

	snprintf(copy, sizeof(copy), "%s", text);
	length = peer_parse(copy, &address, &port, &type);
	fd = socket(address.any.sa_family, type, 0);
	if (fd < 0 || bind(fd, &address.any, length) < 0 || listen(fd, 128) < 0)
		peer_fail("listen on %s: %s", text, strerror(errno));
	puts("listening");
	fflush(stdout);
	return fd;
}

static void peer_many(const char *address, uint64_t count)
{
	static int fds[PEER_MANY_MAX];
	char message[64], answer[64];

	if (count > PEER_MANY_MAX)
		peer_fail("at most %d", PEER_MANY_MAX);
	for (int i = 0; i < (int)count; i++)
		fds[i] = peer_connect(address, false);
	for (int i = 0; i < (int)count; i++) {
		snprintf(message, sizeof(message), PEER_MESSAGE, i);
		peer_write(fds[i], message, strlen(message));
	}
	for (int i = 0; i < (int)count; i++) {
		snprintf(message, sizeof(message), PEER_MESSAGE, i);
		peer_read_full(fds[i], answer, strlen(message));
		if (memcmp(message, answer, strlen(message)) != 0)
			peer_fail("connection %d got another's message", i);
	}
	printf("%" PRIu64 " connections\n", count);
	for (int i = 0; i < (int)count; i++)
		close(fds[i]);
}

static void peer_refused(const char *address)
{
	uint64_t start_ns = peer_clock_ns();
	int fd = peer_connect(address, true);

	if (fd >= 0)
		peer_fail("nobody should have accepted");
	printf("%s after %.1f ms\n", strerror(-fd), (double)(peer_clock_ns() - start_ns) / 1e6);
	if (fd != -ECONNRESET)
		peer_fail("expected %s", strerror(ECONNRESET));
}

static void peer_act(int fd, const char *action, uint64_t number)
{
	if (strcmp(action, "send") == 0) {
		peer_send(fd, number, PEER_CHUNK_BYTES);
		peer_await_end(fd);
	} else if (strcmp(action, "dribble") == 0) {
		peer_send(fd, number, 1);
		peer_await_end(fd);
	} else if (strcmp(action, "blast") == 0) {
		peer_blast(fd, number);
		peer_await_end(fd);
	} else if (strcmp(action, "sink") == 0) {
		peer_sink(fd, number);
	} else if (strcmp(action, "slurp") == 0) {
		peer_slurp(fd, number);
	} else if (strcmp(action, "echo") == 0) {
		peer_echo(fd);
	} else if (strcmp(action, "verify") == 0) {
		peer_verify(fd, number);
	} else if (strcmp(action, "tail") == 0) {
		peer_send(fd, number, PEER_CHUNK_BYTES);
		peer_slurp(fd, number);
	} else if (strcmp(action, "ping") == 0) {
		peer_ping(fd, number);
	} else if (strcmp(action, "messages") == 0) {
		peer_messages(fd, number);
		peer_await_end(fd);
	} else if (strcmp(action, "parcels") == 0) {
		peer_parcels(fd, number);
	} else if (strcmp(action, "large") == 0 || strcmp(action, "return") == 0) {
		peer_large(fd, number, *action == 'r');
	} else if (strcmp(action, "hold") == 0) {
		peer_hold(fd);
	} else if (strcmp(action, "stall") == 0) {
		peer_stall(fd, number);
	} else {
		peer_fail("no such action: %s", action);
	}
	close(fd);
}

/* Every connection in a process of its own, for ever. */
static void peer_serve_echo(int listener)
{
	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd < 0)
			peer_fail("accept: %s", strerror(errno));
		if (fork() == 0) {
			peer_act(fd, "echo", 0);
			_exit(0);
		}
		close(fd);
	}
}

int main(int argc, char **argv)
{
	uint64_t number = argc > 4 ? strtoull(argv[4], NULL, 10) : 0;
	const char *role, *address, *action;

	if (argc == 2 && strcmp(argv[1], "datagram") == 0) {
		peer_datagram();
		return 0;
	}
	if (argc < 4)
		peer_fail("usage: vsock_peer connect|listen ADDRESS ACTION [NUMBER]");
	role = argv[1];
	address = argv[2];
	action = argv[3];
	if (strcmp(role, "listen") == 0) {
		int listener = peer_listen(address);

		if (strcmp(action, "echo") == 0)
			peer_serve_echo(listener);
		peer_act(accept(listener, NULL, NULL), action, number);
	} else if (strcmp(action, "refused") == 0) {
		peer_refused(address);
	} else if (strcmp(action, "many") == 0) {
		peer_many(address, number);
	} else {
		peer_act(peer_connect(address, false), action, number);
	}
	fflush(stdout);
	return 0;
}
