/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All kinds of AF_VSOCK sockets, for tests of a transport: STREAM, SEQPACKET and DGRAM.
 *
 *	vsock_types serve PORT	echoes on all three, until standard input ends
 *	vsock_types TEST CID PORT [NUMBER [NUMBER]]	a test against such a server
 *
 * TEST:
 *	messages	SEQPACKET: sizes up to the window come back whole and in order;
 *			truncation, MSG_PEEK, MSG_EOR
 *	datagrams N	DGRAM: N of random sizes, one after the other; addresses; too large;
 *			refused
 *	reading		STREAM: MSG_PEEK, SO_RCVLOWAT with poll(), MSG_WAITALL beyond the window
 *	windows		STREAM: SO_VM_SOCKETS_BUFFER_*: how much can be sent to a deaf reader
 *	options		SO_VM_SOCKETS_*: their limits
 *	pieces		STREAM and SEQPACKET: sendmsg() with many pieces, some in pages not there
 *			yet, and a buffer that is not mapped
 *	many N		N connections at once, a message back and forth on each
 *	mixed N S	N connections and datagrams of random traffic for S seconds, every byte
 *			checked
 *	hold N		N connections; prints "held", then what becomes of each: one line for a
 *			kind of end and how often
 *	tap INTERFACE	a message there and back as a vsockmon interface shows it
 *	wall		STREAM: send to a server that goes away; prints "sending", then the error
 *
 * Exit status 0 when everything was as expected; otherwise a sentence says what not.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/vm_sockets.h>
#include <linux/vsockmon.h>

#define CHUNK	    65536
#define MIXED_MAX   4096
#define MESSAGE_MAX (200 * 1024)
#define EVENTS	    64
#define ENDS	    140 /* error numbers */

static void __attribute__((noreturn, format(printf, 1, 2))) fail(const char *format, ...)
{
	va_list arguments;

	fputs("vsock_types: ", stdout);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	fputs("\n", stdout);
	fflush(stdout);
	exit(1);
}

static uint64_t clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint64_t random_state = 88172645463325252u;

static uint32_t random_below(uint32_t limit)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state >> 16) % limit;
}

/* random_size - all magnitudes up to @limit alike, at least 1 */
static uint32_t random_size(uint32_t limit)
{
	uint32_t size = 1u << random_below(32 - (uint32_t)__builtin_clz(limit));

	size += random_below(size);
	return size > limit ? limit : size;
}

/* Byte @at of stream @seed. */
static unsigned char stream_byte(uint32_t seed, uint64_t at)
{
	uint64_t mixed = (at / 8 + 1 + ((uint64_t)seed << 32)) * 0x9e3779b97f4a7c15u;

	mixed ^= mixed >> 29;
	return (unsigned char)(mixed >> (at % 8 * 8));
}

static void stream_fill(unsigned char *to, uint32_t seed, uint64_t at, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		to[i] = stream_byte(seed, at + i);
}

static void stream_check(const unsigned char *got, uint32_t seed, uint64_t at, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		if (got[i] != stream_byte(seed, at + i))
			fail("byte %llu of stream %u is %02x, not %02x",
			     (unsigned long long)(at + i), seed, got[i], stream_byte(seed, at + i));
}

static struct sockaddr_vm address_of(unsigned int cid, unsigned int port)
{
	struct sockaddr_vm address = { .svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port };

	return address;
}

static int socket_open(int type)
{
	int fd = socket(AF_VSOCK, type, 0);

	if (fd < 0)
		fail("socket: %s", strerror(errno));
	return fd;
}

static int socket_connect(int type, unsigned int cid, unsigned int port)
{
	struct sockaddr_vm address = address_of(cid, port);
	int fd = socket_open(type);

	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		fail("connect to %u:%u: %s", cid, port, strerror(errno));
	return fd;
}

static int socket_listen(int type, unsigned int port)
{
	struct sockaddr_vm address = address_of(VMADDR_CID_ANY, port);
	int fd = socket_open(type);

	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		fail("bind to port %u: %s", port, strerror(errno));
	if ((type & ~SOCK_NONBLOCK) != SOCK_DGRAM && listen(fd, MIXED_MAX) < 0)
		fail("listen: %s", strerror(errno));
	return fd;
}

static void send_whole(int fd, const void *from, size_t bytes)
{
	const char *next = from;

	while (bytes) {
		ssize_t sent = send(fd, next, bytes, MSG_NOSIGNAL);

		if (sent < 0)
			fail("send of %zu bytes: %s", bytes, strerror(errno));
		next += sent;
		bytes -= (size_t)sent;
	}
}

static void receive_whole(int fd, void *to, size_t bytes)
{
	char *next = to;

	while (bytes) {
		ssize_t got = recv(fd, next, bytes, 0);

		if (got < 0)
			fail("recv of %zu bytes: %s", bytes, strerror(errno));
		if (!got)
			fail("the connection ended, %zu bytes before its time", bytes);
		next += got;
		bytes -= (size_t)got;
	}
}

/* ---- the server: whatever comes goes back ---- */

enum echo_kind {
	ECHO_STREAM_LISTENER,
	ECHO_MESSAGE_LISTENER,
	ECHO_DATAGRAMS,
	ECHO_INPUT,
	ECHO_PEER
};

struct echo {
	enum echo_kind kind;
	int fd;
	bool ended;
	size_t used, done;     /* of what has to go back */
	size_t capacity;       /* one message, or CHUNK */
	unsigned char *buffer; /* while something has to go back */
};

static void echo_watch(int epoll, struct echo *echo, uint32_t events, int operation)
{
	struct epoll_event event = { .events = events, .data = { .ptr = echo } };

	if (epoll_ctl(epoll, operation, echo->fd, &event) < 0)
		fail("epoll_ctl: %s", strerror(errno));
}

static struct echo *echo_add(int epoll, enum echo_kind kind, int fd, size_t capacity)
{
	struct echo *echo = calloc(1, sizeof(*echo));

	if (!echo)
		fail("out of memory");
	*echo = (struct echo){ .kind = kind, .fd = fd, .capacity = capacity };
	echo_watch(epoll, echo, EPOLLIN, EPOLL_CTL_ADD);
	return echo;
}

static void echo_accept(int epoll, struct echo *listener)
{
	size_t capacity = listener->kind == ECHO_MESSAGE_LISTENER ? 2 * MESSAGE_MAX : CHUNK;
	int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK);

	if (fd >= 0)
		echo_add(epoll, ECHO_PEER, fd, capacity);
	else if (errno != EAGAIN && errno != ECONNABORTED && errno != ECONNRESET)
		fail("accept: %s", strerror(errno));
}

static void echo_datagram(int fd)
{
	static unsigned char buffer[CHUNK];
	struct sockaddr_vm from;
	socklen_t length = sizeof(from);
	ssize_t got = recvfrom(fd, buffer, sizeof(buffer), 0, (struct sockaddr *)&from, &length);

	if (got >= 0)
		sendto(fd, buffer, (size_t)got, 0, (struct sockaddr *)&from, length);
}

static void echo_close(struct echo *echo)
{
	close(echo->fd);
	free(echo->buffer);
	free(echo);
}

/* echo_turn - one read or some writes; false when the connection is over */
static bool echo_turn(int epoll, struct echo *echo)
{
	ssize_t count;

	if (echo->done == echo->used) {
		if (!echo->buffer && !(echo->buffer = malloc(echo->capacity)))
			fail("out of memory");
		count = recv(echo->fd, echo->buffer, echo->capacity, 0);
		if (count <= 0)
			return count < 0 && errno == EAGAIN;
		echo->used = (size_t)count;
		echo->done = 0;
	}
	count = send(echo->fd, echo->buffer + echo->done, echo->used - echo->done, MSG_NOSIGNAL);
	if (count < 0 && errno != EAGAIN)
		return false;
	if (count > 0)
		echo->done += (size_t)count;
	if (echo->done == echo->used) {
		free(echo->buffer);
		echo->buffer = NULL;
		echo_watch(epoll, echo, EPOLLIN, EPOLL_CTL_MOD);
	} else {
		echo_watch(epoll, echo, EPOLLOUT, EPOLL_CTL_MOD);
	}
	return true;
}

/* raise_limits - as many descriptors as the tests want */
static void raise_limits(void)
{
	struct rlimit limit = { .rlim_cur = 2 * MIXED_MAX, .rlim_max = 2 * MIXED_MAX };

	setrlimit(RLIMIT_NOFILE, &limit);
}

static void serve(unsigned int port)
{
	int epoll = epoll_create1(0);
	int datagrams = socket_listen(SOCK_DGRAM | SOCK_NONBLOCK, port);
	struct epoll_event events[EVENTS];

	raise_limits();
	fcntl(0, F_SETFL, O_NONBLOCK);
	echo_add(epoll, ECHO_STREAM_LISTENER, socket_listen(SOCK_STREAM | SOCK_NONBLOCK, port), 0);
	echo_add(epoll, ECHO_MESSAGE_LISTENER,
		 socket_listen(SOCK_SEQPACKET | SOCK_NONBLOCK, port + 1), 0);
	echo_add(epoll, ECHO_DATAGRAMS, datagrams, 0);
	echo_add(epoll, ECHO_INPUT, 0, 0);
	puts("listening");
	fflush(stdout);
	for (;;) {
		int count = epoll_wait(epoll, events, EVENTS, -1);

		for (int i = 0; i < count; i++) {
			struct echo *echo = events[i].data.ptr;

			if (echo->kind == ECHO_INPUT)
				return;
			if (echo->kind == ECHO_DATAGRAMS)
				echo_datagram(echo->fd);
			else if (echo->kind != ECHO_PEER)
				echo_accept(epoll, echo);
			else if (!echo_turn(epoll, echo))
				echo_close(echo);
		}
	}
}

/* ---- the tests ---- */

static void test_messages(unsigned int cid, unsigned int port)
{
	static const size_t sizes[] = { 1,     2,     100,   4096,   65000,
					65504, 65505, 65536, 150000, MESSAGE_MAX };
	static unsigned char out[MESSAGE_MAX], in[MESSAGE_MAX + 1];
	int fd = socket_connect(SOCK_SEQPACKET, cid, port + 1);
	struct iovec iov = { .iov_base = in, .iov_len = sizeof(in) };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		stream_fill(out, (uint32_t)i, 0, sizes[i]);
		if (send(fd, out, sizes[i], i % 2 ? MSG_EOR : 0) != (ssize_t)sizes[i])
			fail("message of %zu bytes: %s", sizes[i], strerror(errno));
		if (recv(fd, in, sizeof(in), MSG_PEEK) != (ssize_t)sizes[i])
			fail("peeking at a message of %zu bytes: %s", sizes[i], strerror(errno));
		if (recvmsg(fd, &message, 0) != (ssize_t)sizes[i])
			fail("reading a message of %zu bytes: %s", sizes[i], strerror(errno));
		stream_check(in, (uint32_t)i, 0, sizes[i]);
	}
	/* Many of them under way at once keep their borders. */
	for (int i = 1; i <= 100; i++) {
		stream_fill(out, (uint32_t)i, 0, (size_t)i);
		send_whole(fd, out, (size_t)i);
	}
	for (int i = 1; i <= 100; i++) {
		if (recv(fd, in, sizeof(in), 0) != i)
			fail("message %d lost its border", i);
		stream_check(in, (uint32_t)i, 0, (size_t)i);
	}
	stream_fill(out, 7, 0, 100);
	send_whole(fd, out, 100);
	send_whole(fd, out, 5);
	iov.iov_len = 10;
	if (recvmsg(fd, &message, MSG_TRUNC) != 100 || !(message.msg_flags & MSG_TRUNC))
		fail("a message cut off is not told as such");
	if (recv(fd, in, sizeof(in), 0) != 5)
		fail("the rest of a message cut off was kept");
	if (send(fd, out, sizeof(out), 0) > 0 && send(fd, in, 1 << 20, 0) >= 0)
		fail("a message larger than the window was taken");
	close(fd);
}

static void test_datagrams(unsigned int cid, unsigned int port, unsigned int count)
{
	static unsigned char out[CHUNK + 1], in[CHUNK];
	struct sockaddr_vm to = address_of(cid, port), from, own;
	socklen_t length;
	int fd = socket_open(SOCK_DGRAM);

	for (unsigned int i = 0; i < count; i++) {
		size_t bytes = random_size(60000);
		ssize_t got;

		stream_fill(out, i, 0, bytes);
		if (sendto(fd, out, bytes, 0, (struct sockaddr *)&to, sizeof(to)) != (ssize_t)bytes)
			fail("datagram of %zu bytes: %s", bytes, strerror(errno));
		length = sizeof(from);
		got = recvfrom(fd, in, sizeof(in), 0, (struct sockaddr *)&from, &length);
		if (got != (ssize_t)bytes || from.svm_cid != cid || from.svm_port != port)
			fail("%zd bytes from %u:%u, not %zu from %u:%u", got, from.svm_cid,
			     from.svm_port, bytes, cid, port);
		stream_check(in, i, 0, bytes);
	}
	length = sizeof(own);
	if (getsockname(fd, (struct sockaddr *)&own, &length) < 0 || own.svm_port < 1024)
		fail("the socket was given no port");
	if (sendto(fd, out, sizeof(out), 0, (struct sockaddr *)&to, sizeof(to)) >= 0 ||
	    errno != EMSGSIZE)
		fail("a datagram of more than 64 KiB: %s", strerror(errno));
	to.svm_cid = 4000;
	if (sendto(fd, out, 1, 0, (struct sockaddr *)&to, sizeof(to)) >= 0)
		fail("a datagram to a domain that is none was taken");
	if (connect(fd, (struct sockaddr *)&from, sizeof(from)) < 0 || send(fd, out, 3, 0) != 3 ||
	    recv(fd, in, sizeof(in), 0) != 3)
		fail("a connected socket of datagrams: %s", strerror(errno));
	close(fd);
}

static void test_reading(unsigned int cid, unsigned int port)
{
	static unsigned char out[2 << 20], in[2 << 20];
	int fd = socket_connect(SOCK_STREAM, cid, port), low = 1000;
	struct pollfd polled = { .fd = fd, .events = POLLIN };

	stream_fill(out, 1, 0, sizeof(out));
	if (setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof(low)) < 0)
		fail("SO_RCVLOWAT: %s", strerror(errno));
	send_whole(fd, out, 999);
	if (poll(&polled, 1, 300) != 0)
		fail("999 bytes wake a reader that wants 1000");
	send_whole(fd, out + 999, 1);
	if (poll(&polled, 1, 20000) != 1)
		fail("1000 bytes do not wake a reader that wants 1000");
	if (recv(fd, in, 2000, MSG_PEEK) != 1000)
		fail("MSG_PEEK: %s", strerror(errno));
	if (recv(fd, in, 2000, MSG_PEEK | MSG_DONTWAIT) != 1000)
		fail("MSG_PEEK again: %s", strerror(errno));
	stream_check(in, 1, 0, 1000);
	receive_whole(fd, in, 1000);
	if (recv(fd, in, 1, MSG_DONTWAIT) >= 0 || errno != EAGAIN)
		fail("more came back than was sent");

	/* More than both windows hold: written by a child, read at one go. */
	fflush(stdout);
	if (fork() == 0) {
		send_whole(fd, out, sizeof(out));
		_exit(0);
	}
	if (recv(fd, in, sizeof(in), MSG_WAITALL) != (ssize_t)sizeof(in))
		fail("MSG_WAITALL: %s", strerror(errno));
	stream_check(in, 1, 0, sizeof(in));
	close(fd);
}

/* deaf_capacity - how much one can send, without waiting, to a reader with such a window */
static size_t deaf_capacity(unsigned int cid, unsigned int port, uint64_t window)
{
	static unsigned char out[CHUNK];
	int fd = socket_open(SOCK_STREAM);
	struct sockaddr_vm address = address_of(cid, port);
	uint64_t got = 0;
	socklen_t length = sizeof(got);
	size_t sent = 0, echoed = 0;
	ssize_t count;

	if (setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_MAX_SIZE, &window, sizeof(window)) < 0 ||
	    setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &window, sizeof(window)) < 0)
		fail("SO_VM_SOCKETS_BUFFER_SIZE: %s", strerror(errno));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		fail("connect: %s", strerror(errno));
	if (getsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &got, &length) < 0 || got != window)
		fail("the window is %llu, not %llu", (unsigned long long)got,
		     (unsigned long long)window);
	/* The server echoes until our window is full, then its own fills. */
	for (uint64_t end = clock_ms() + 1500; clock_ms() < end;) {
		count = send(fd, out, sizeof(out), MSG_DONTWAIT | MSG_NOSIGNAL);
		if (count > 0)
			sent += (size_t)count;
		else if (errno != EAGAIN)
			fail("send: %s", strerror(errno));
		else
			poll(NULL, 0, 10);
	}
	while (echoed < sent) {
		count = recv(fd, out, sizeof(out), 0);
		if (count <= 0)
			fail("%zu of %zu bytes came back", echoed, sent);
		echoed += (size_t)count;
	}
	close(fd);
	return sent;
}

static void test_windows(unsigned int cid, unsigned int port)
{
	size_t small = deaf_capacity(cid, port, 65536);
	size_t large = deaf_capacity(cid, port, 4 << 20);

	printf("window 64 KiB: %zu bytes, 4 MiB: %zu bytes\n", small, large);
	/* Beside our window: the server's window, its buffer. */
	if (small < 65536 || small > 65536 + (512 << 10) || large < 4 << 20)
		fail("the windows are not what was asked for");
}

/* option_get - a number of an AF_VSOCK option */
static uint64_t option_get(int fd, int option)
{
	uint64_t value = 0;
	socklen_t length = sizeof(value);

	if (getsockopt(fd, AF_VSOCK, option, &value, &length) < 0)
		fail("getsockopt %d: %s", option, strerror(errno));
	return value;
}

static void option_set(int fd, int option, uint64_t value)
{
	if (setsockopt(fd, AF_VSOCK, option, &value, sizeof(value)) < 0)
		fail("setsockopt %d: %s", option, strerror(errno));
}

/* SO_VM_SOCKETS_*: limits hold, on a socket that is connected too; the time limit is kept. */
static void test_options(unsigned int cid, unsigned int port)
{
	int fd = socket_connect(SOCK_STREAM, cid, port);
	struct timeval limit = { .tv_sec = 7 }, got;
	socklen_t length = sizeof(got);

	option_set(fd, SO_VM_SOCKETS_BUFFER_MIN_SIZE, 32768);
	option_set(fd, SO_VM_SOCKETS_BUFFER_MAX_SIZE, 1 << 20);
	option_set(fd, SO_VM_SOCKETS_BUFFER_SIZE, 100);
	if (option_get(fd, SO_VM_SOCKETS_BUFFER_SIZE) != 32768)
		fail("a window below its least size");
	option_set(fd, SO_VM_SOCKETS_BUFFER_SIZE, 8 << 20);
	if (option_get(fd, SO_VM_SOCKETS_BUFFER_SIZE) != 1 << 20)
		fail("a window above its largest size");
	option_set(fd, SO_VM_SOCKETS_BUFFER_MAX_SIZE, 64 << 20);
	option_set(fd, SO_VM_SOCKETS_BUFFER_SIZE, 64 << 20);
	if (option_get(fd, SO_VM_SOCKETS_BUFFER_SIZE) != 16 << 20)
		fail("a window of more than 16 MiB, which is the transport's limit");
	if (option_get(fd, SO_VM_SOCKETS_BUFFER_MIN_SIZE) != 32768 ||
	    option_get(fd, SO_VM_SOCKETS_BUFFER_MAX_SIZE) != 64 << 20)
		fail("the limits of the window changed");
	if (setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &limit, sizeof(limit)) < 0 ||
	    getsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &got, &length) < 0 ||
	    got.tv_sec != 7)
		fail("SO_VM_SOCKETS_CONNECT_TIMEOUT: %s", strerror(errno));
	send_whole(fd, "still there", 11);
	receive_whole(fd, &got, 11);
	close(fd);
}

/*
 * tap_expect - one message out and the same one back on the interface, in any order: a message is
 * shown when it was sent, and its answer may come before that. What goes out lies in the program's
 * memory: the header alone is shown.
 */
static void tap_expect(int tap, unsigned int own, unsigned int other, const char *payload)
{
	unsigned char packet[4096];
	struct af_vsockmon_hdr *header = (struct af_vsockmon_hdr *)packet;
	struct pollfd polled = { .fd = tap, .events = POLLIN };
	unsigned int out = 0, in = 0;

	while (!out || !in) {
		size_t got, start = sizeof(*header);

		if (poll(&polled, 1, 20000) != 1)
			fail("the interface shows %u messages out, %u in, not 1 and 1", out, in);
		got = (size_t)recv(tap, packet, sizeof(packet), 0);
		if (got >= start && got < sizeof(packet))
			start += le16toh(header->len);
		if (got < start || got > sizeof(packet))
			fail("a packet of %zu bytes", got);
		if (le16toh(header->op) != AF_VSOCK_OP_PAYLOAD)
			continue;
		if (le64toh(header->src_cid) == own && le64toh(header->dst_cid) == other)
			out++;
		else if (le64toh(header->src_cid) == other && le64toh(header->dst_cid) == own)
			in++;
		else
			fail("a message on the interface has other ends");
		if (le64toh(header->src_cid) == other &&
		    (got - start != strlen(payload) ||
		     memcmp(packet + start, payload, got - start)))
			fail("the interface shows other bytes than came");
	}
}

static void test_tap(unsigned int cid, unsigned int port, const char *interface)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET,
				       .sll_protocol = htons(ETH_P_ALL),
				       .sll_ifindex = (int)if_nametoindex(interface) };
	/* No protocol until it is bound: it would get every interface's packets in between. */
	int tap = socket(AF_PACKET, SOCK_RAW, 0);
	unsigned int own = 0;
	char back[32];
	int fd;

	if (tap < 0 || bind(tap, (struct sockaddr *)&address, sizeof(address)) < 0)
		fail("capturing on %s: %s", interface, strerror(errno));
	fd = open("/dev/vsock", O_RDONLY);
	if (fd < 0 || ioctl(fd, IOCTL_VM_SOCKETS_GET_LOCAL_CID, &own) < 0)
		fail("the own CID: %s", strerror(errno));
	close(fd);
	fd = socket_connect(SOCK_STREAM, cid, port);
	send_whole(fd, "there and back", 14);
	receive_whole(fd, back, 14);
	tap_expect(tap, own, cid, "there and back");
	close(fd);
}

static void test_pieces(unsigned int cid, unsigned int port)
{
	static unsigned char in[CHUNK];
	unsigned char *out =
		mmap(NULL, 16 * CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (int type = 0; type < 2; type++) {
		int fd = socket_connect(type ? SOCK_SEQPACKET : SOCK_STREAM, cid,
					port + (unsigned)type);
		struct iovec iov[64];
		struct msghdr message = { .msg_iov = iov };

		for (size_t pieces = 1; pieces <= 64;
		     pieces = pieces * 2 + 1 > 64 ? 65 : pieces * 2 + 1) {
			size_t each = 20000 / pieces, total = each * pieces;

			stream_fill(out, 3, 0, total);
			for (size_t i = 0; i < pieces; i++)
				iov[i] = (struct iovec){ out + i * each, each };
			message.msg_iovlen = pieces;
			if (sendmsg(fd, &message, 0) != (ssize_t)total)
				fail("%zu pieces: %s", pieces, strerror(errno));
			receive_whole(fd, in, total);
			stream_check(in, 3, 0, total);
		}
		/* Pages that do not exist yet read as zeros. */
		send_whole(fd, out + 8 * CHUNK, 30000);
		receive_whole(fd, in, 30000);
		for (size_t i = 0; i < 30000; i++)
			if (in[i])
				fail("a fresh page is not zero");
		if (send(fd, (void *)16, 100, MSG_NOSIGNAL) >= 0)
			fail("a buffer that is not mapped was sent");
		send_whole(fd, out, 10);
		receive_whole(fd, in, 10);
		close(fd);
	}
}

static void test_many(unsigned int cid, unsigned int port, unsigned int count)
{
	int *fds = calloc(count, sizeof(*fds));
	uint32_t number;

	raise_limits();
	if (!fds)
		fail("out of memory");
	for (uint32_t i = 0; i < count; i++) {
		fds[i] = socket_connect(i % 2 ? SOCK_SEQPACKET : SOCK_STREAM, cid, port + i % 2);
		send_whole(fds[i], &i, sizeof(i));
	}
	for (uint32_t i = 0; i < count; i++) {
		receive_whole(fds[i], &number, sizeof(number));
		if (number != i)
			fail("connection %u got the message of connection %u", i, number);
	}
	puts("all answered");
	fflush(stdout);
	getchar();
	free(fds);
}

/* One connection of the mixed traffic: it writes stream @seed and reads it back. */
struct mixed {
	int fd;
	bool messages;
	uint32_t seed;
	uint32_t pending; /* bytes of a message that is being tried */
	uint64_t sent, received;
	uint64_t limit; /* closes then, and begins again */
};

static void mixed_open(struct mixed *mixed, unsigned int cid, unsigned int port)
{
	static uint32_t seed;

	mixed->messages = random_below(2);
	mixed->fd = socket_connect(mixed->messages ? SOCK_SEQPACKET : SOCK_STREAM, cid,
				   port + mixed->messages);
	fcntl(mixed->fd, F_SETFL, O_NONBLOCK);
	mixed->seed = ++seed;
	mixed->pending = 0;
	mixed->sent = 0;
	mixed->received = 0;
	mixed->limit = 1 + random_size(1 << 20);
}

/* mixed_turn - one write and one read if possible; bytes that came back */
static size_t mixed_turn(struct mixed *mixed)
{
	static unsigned char buffer[MESSAGE_MAX];
	ssize_t count;

	if (mixed->sent < mixed->limit) {
		/* What the server has to hold is bounded, or both would wait for each other. */
		if (!mixed->pending)
			mixed->pending = random_size(mixed->messages ? 60000 : CHUNK);
		if (mixed->sent - mixed->received + mixed->pending <= 2 * CHUNK) {
			stream_fill(buffer, mixed->seed, mixed->sent, mixed->pending);
			count = send(mixed->fd, buffer, mixed->pending, MSG_NOSIGNAL);
			if (count < 0 && errno != EAGAIN)
				fail("send: %s", strerror(errno));
			if (count >= 0 && mixed->messages && count != (ssize_t)mixed->pending)
				fail("%zd bytes of a message of %u were sent", count,
				     mixed->pending);
			if (count > 0) {
				mixed->sent += (uint64_t)count;
				mixed->pending = 0;
			}
		}
	}
	count = recv(mixed->fd, buffer, mixed->messages ? sizeof(buffer) : 1 + random_below(CHUNK),
		     0);
	if (count < 0 && errno == EAGAIN)
		return 0;
	if (count <= 0)
		fail("recv: %s", count ? strerror(errno) : "the connection ended");
	stream_check(buffer, mixed->seed, mixed->received, (size_t)count);
	mixed->received += (uint64_t)count;
	return (size_t)count;
}

static void mixed_datagram(int fd, const struct sockaddr_vm *to)
{
	static unsigned char buffer[CHUNK];
	uint32_t seed = random_below(1000), bytes = random_size(8000);
	ssize_t got;

	stream_fill(buffer + 4, seed, 0, bytes);
	memcpy(buffer, &seed, 4);
	sendto(fd, buffer, bytes + 4, MSG_DONTWAIT, (const struct sockaddr *)to, sizeof(*to));
	while ((got = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT)) >= 4) {
		memcpy(&seed, buffer, 4);
		stream_check(buffer + 4, seed, 0, (size_t)got - 4);
	}
}

static void test_mixed(unsigned int cid, unsigned int port, unsigned int count,
		       unsigned int seconds)
{
	struct mixed *all = calloc(count, sizeof(*all));
	struct sockaddr_vm datagrams = address_of(cid, port);
	int fd = socket_open(SOCK_DGRAM);
	uint64_t end = clock_ms() + 1000ull * seconds, bytes = 0, connections = 0;

	raise_limits();
	if (!all)
		fail("out of memory");
	for (unsigned int i = 0; i < count; i++)
		mixed_open(&all[i], cid, port);
	while (clock_ms() < end) {
		for (unsigned int i = 0; i < count; i++) {
			bytes += mixed_turn(&all[i]);
			if (all[i].received < all[i].limit)
				continue;
			if (all[i].received != all[i].sent)
				continue;
			close(all[i].fd);
			connections++;
			mixed_open(&all[i], cid, port);
		}
		mixed_datagram(fd, &datagrams);
	}
	printf("mixed: %u at once, %llu more, %llu bytes back\n", count,
	       (unsigned long long)connections, (unsigned long long)bytes);
}

/* socket_end - the error that a connection ended with, 0 for an orderly end */
static int socket_end(int fd)
{
	int error = 0;
	socklen_t length = sizeof(error);
	char byte;

	/* Linux 6.1 does not tell it to a reader of a SEQPACKET. */
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
		fail("SO_ERROR: %s", strerror(errno));
	if (!error && recv(fd, &byte, 1, 0) < 0)
		error = errno;
	return error < ENDS ? error : ENDS - 1;
}

static void test_hold(unsigned int cid, unsigned int port, unsigned int count)
{
	struct pollfd *polled = calloc(count, sizeof(*polled));
	int ends[ENDS] = { 0 };

	raise_limits();
	if (!polled)
		fail("out of memory");
	for (unsigned int i = 0; i < count; i++)
		polled[i] = (struct pollfd){ socket_connect(i % 2 ? SOCK_SEQPACKET : SOCK_STREAM,
							    cid, port + i % 2),
					     POLLIN, 0 };
	puts("held");
	fflush(stdout);
	for (unsigned int left = count; left;) {
		if (poll(polled, count, 30000) <= 0)
			fail("%u of %u connections noticed nothing", left, count);
		for (unsigned int i = 0; i < count; i++) {
			if (polled[i].fd < 0 || !polled[i].revents)
				continue;
			ends[socket_end(polled[i].fd)]++;
			polled[i].fd = -1;
			left--;
		}
	}
	for (int i = 0; i < ENDS; i++)
		if (ends[i])
			printf("%d: %s\n", ends[i], i ? strerror(i) : "end of the stream");
}

static void test_wall(unsigned int cid, unsigned int port)
{
	static unsigned char out[CHUNK], in[CHUNK];
	int fd = socket_connect(SOCK_STREAM, cid, port);

	send_whole(fd, out, sizeof(out));
	receive_whole(fd, in, sizeof(in));
	puts("sending");
	fflush(stdout);
	for (;;) {
		if (send(fd, out, sizeof(out), MSG_NOSIGNAL) < 0)
			break;
		while (recv(fd, in, sizeof(in), MSG_DONTWAIT) > 0)
			;
	}
	printf("send: %s\n", strerror(errno));
}

int main(int argc, char **argv)
{
	const char *test = argc > 1 ? argv[1] : "";
	unsigned int numbers[4] = { 0 };

	for (int i = 2; i < argc && i < 6; i++)
		numbers[i - 2] = (unsigned int)strtoul(argv[i], NULL, 10);
	random_state += clock_ms();
	if (!strcmp(test, "serve"))
		serve(numbers[0]);
	else if (!strcmp(test, "messages"))
		test_messages(numbers[0], numbers[1]);
	else if (!strcmp(test, "datagrams"))
		test_datagrams(numbers[0], numbers[1], numbers[2]);
	else if (!strcmp(test, "reading"))
		test_reading(numbers[0], numbers[1]);
	else if (!strcmp(test, "windows"))
		test_windows(numbers[0], numbers[1]);
	else if (!strcmp(test, "options"))
		test_options(numbers[0], numbers[1]);
	else if (!strcmp(test, "tap") && argc > 4)
		test_tap(numbers[0], numbers[1], argv[4]);
	else if (!strcmp(test, "pieces"))
		test_pieces(numbers[0], numbers[1]);
	else if (!strcmp(test, "many"))
		test_many(numbers[0], numbers[1], numbers[2]);
	else if (!strcmp(test, "mixed"))
		test_mixed(numbers[0], numbers[1], numbers[2], numbers[3]);
	else if (!strcmp(test, "hold"))
		test_hold(numbers[0], numbers[1], numbers[2]);
	else if (!strcmp(test, "wall"))
		test_wall(numbers[0], numbers[1]);
	else
		fail("what is %s?", test);
	return 0;
}
