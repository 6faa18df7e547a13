/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of options and of the calls that move bytes. */
#include "tests/conformance/wrap/harness.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define BULK_BYTES (300 * 1024)

static int get(int fd, int level, int name)
{
	int value = -1;
	socklen_t bytes = sizeof(value);

	CHECK(getsockopt(fd, level, name, &value, &bytes) == 0);
	return value;
}

static void set(int fd, int level, int name, int value)
{
	CHECK(setsockopt(fd, level, name, &value, sizeof(value)) == 0);
}

void tcp_options(void)
{
	static const int kept[] = { TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT, TCP_USER_TIMEOUT };
	int port, listener = listen_at("0.0.0.0", 0, &port);
	struct name to = name_of(ADDRESS, port);
	int fd = socket(AF_INET, SOCK_STREAM, 0), server;
	char text[16];
	socklen_t bytes = sizeof(text);

	set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 33);
	CHECK(connect(fd, NAME(to)) == 0);
	server = accept(listener, NULL, NULL);
	check_world(fd, wrapped);
	CHECK(get(fd, IPPROTO_TCP, TCP_NODELAY) == 1);
	CHECK(get(server, IPPROTO_TCP, TCP_NODELAY) == 0);
	CHECK(get(fd, IPPROTO_TCP, TCP_KEEPIDLE) == 33);
	set(fd, IPPROTO_TCP, TCP_NODELAY, 0);
	CHECK(get(fd, IPPROTO_TCP, TCP_NODELAY) == 0);
	for (int i = 0; i < 4; i++) {
		set(fd, IPPROTO_TCP, kept[i], 40 + i);
		CHECK(get(fd, IPPROTO_TCP, kept[i]) == 40 + i);
	}
	set(fd, IPPROTO_TCP, TCP_CORK, 1);
	set(fd, IPPROTO_TCP, TCP_CORK, 0);
	set(fd, IPPROTO_TCP, TCP_QUICKACK, 1);
	set(fd, IPPROTO_IP, IP_TOS, 0x10);
	CHECK(get(fd, IPPROTO_TCP, TCP_MAXSEG) > 0);
	CHECK(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, text, &bytes) == 0);
	bytes = sizeof(text);
	CHECK(getsockopt(fd, IPPROTO_IP, IP_OPTIONS, text, &bytes) == 0 && bytes == 0);
	/* What needs TCP itself is refused, not swallowed. */
	if (wrapped)
		CHECK_ERROR(setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", 3), ENOPROTOOPT);
	check_carries(fd, server);
}

void socket_options(void)
{
	int client, server;

	pair_open(&client, &server);
	CHECK(get(client, SOL_SOCKET, SO_DOMAIN) == AF_INET);
	CHECK(get(client, SOL_SOCKET, SO_TYPE) == SOCK_STREAM);
	CHECK(get(server, SOL_SOCKET, SO_PROTOCOL) == IPPROTO_TCP);
	CHECK(get(client, SOL_SOCKET, SO_ACCEPTCONN) == 0);
	CHECK(get(client, SOL_SOCKET, SO_ERROR) == 0);
	set(client, SOL_SOCKET, SO_KEEPALIVE, 1);
	CHECK(get(client, SOL_SOCKET, SO_KEEPALIVE) == 1);
	set(client, SOL_SOCKET, SO_MAX_PACING_RATE, 1 << 30);
	set(client, SOL_SOCKET, SO_RCVBUF, 100000);
	CHECK(get(client, SOL_SOCKET, SO_DOMAIN) == AF_INET);
	CHECK_ERROR(setsockopt(client, IPPROTO_TCP, 9999, &client, 4), ENOPROTOOPT);
	CHECK_ERROR(setsockopt(STDIN_FILENO, IPPROTO_TCP, TCP_NODELAY, &client, 4), ENOTSOCK);
	check_carries(client, server);
}

void tcp_info(void)
{
	int client, server, port, listener = listen_at("0.0.0.0", 0, &port);
	struct tcp_info info;
	socklen_t bytes = sizeof(info);

	pair_open(&client, &server);
	CHECK(getsockopt(client, IPPROTO_TCP, TCP_INFO, &info, &bytes) == 0);
	CHECK(info.tcpi_state == TCP_ESTABLISHED && info.tcpi_snd_mss > 0);
	CHECK(info.tcpi_total_retrans == 0 && bytes >= offsetof(struct tcp_info, tcpi_rtt));
	bytes = sizeof(info);
	CHECK(getsockopt(listener, IPPROTO_TCP, TCP_INFO, &info, &bytes) == 0);
	CHECK(info.tcpi_state == TCP_LISTEN);
	bytes = 1;
	CHECK(getsockopt(client, IPPROTO_TCP, TCP_INFO, &info, &bytes) == 0);
	CHECK(bytes == 1 && info.tcpi_state == TCP_ESTABLISHED);
}

void readable_bytes(void)
{
	int client, server, count = -1;
	char text[32];

	pair_open(&client, &server);
	CHECK(ioctl(server, FIONREAD, &count) == 0 && count == 0);
	CHECK(write(client, "twelve bytes", 12) == 12);
	wait_for(server, POLLIN);
	CHECK(ioctl(server, FIONREAD, &count) == 0 && count == 12);
	CHECK(read(server, text, sizeof(text)) == 12 && !memcmp(text, "twelve bytes", 12));
	CHECK(sockatmark(server) == 0);
	count = 1;
	CHECK(ioctl(client, FIONBIO, &count) == 0);
	CHECK_ERROR(read(client, text, 1), EAGAIN);
}

void interface_ioctls(void)
{
	struct ifreq request = { .ifr_name = "lo" };
	int client, server;

	pair_open(&client, &server);
	CHECK(ioctl(client, SIOCGIFFLAGS, &request) == 0 && request.ifr_flags & IFF_LOOPBACK);
	CHECK(ioctl(client, SIOCGIFADDR, &request) == 0);
	CHECK_ERROR(ioctl(client, TIOCGWINSZ, &request), ENOTTY);
}

void half_close(void)
{
	int client, server;
	char text[8];

	pair_open(&client, &server);
	CHECK(write(client, "last", 4) == 4);
	CHECK(shutdown(client, SHUT_WR) == 0);
	CHECK(recv(server, text, 4, MSG_WAITALL) == 4 && read(server, text, 1) == 0);
	CHECK(write(server, "reply", 5) == 5);
	CHECK(recv(client, text, 5, MSG_WAITALL) == 5);
	signal(SIGPIPE, SIG_IGN);
	CHECK_ERROR(send(client, "x", 1, MSG_NOSIGNAL), EPIPE);
	CHECK_ERROR(shutdown(socket(AF_INET, SOCK_STREAM, 0), SHUT_RDWR), ENOTCONN);
}

/* A file of bytes that tell where they belong. */
static int bulk_file(void)
{
	unsigned char bytes[4096];
	int fd = memfd_create("bulk", MFD_CLOEXEC);

	for (size_t at = 0; at < BULK_BYTES; at += sizeof(bytes)) {
		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = (unsigned char)((at + i) * 2654435761u >> 24);
		CHECK(write(fd, bytes, sizeof(bytes)) == sizeof(bytes));
	}
	return fd;
}

static void check_bulk(const unsigned char *bytes)
{
	for (size_t at = 0; at < BULK_BYTES; at++)
		CHECK(bytes[at] == (unsigned char)(at * 2654435761u >> 24));
}

void sends_file(void)
{
	static unsigned char bytes[BULK_BYTES];
	volatile size_t room = sizeof(bytes); /* so that __recv_chk is called */
	int client, server, file = bulk_file();
	off_t at = 0;

	pair_open(&client, &server);
	if (fork() == 0) {
		while (at < BULK_BYTES)
			CHECK(sendfile(client, file, &at, BULK_BYTES - at) > 0);
		_exit(0);
	}
	CHECK(recv(server, bytes, room, MSG_WAITALL) == sizeof(bytes));
	check_bulk(bytes);
}

/* Into a pipe and out of it again, both ends of the connection. */
void splices(void)
{
	static unsigned char bytes[BULK_BYTES];
	int client, server, file = bulk_file(), ends[2];
	loff_t at = 0;
	size_t got = 0;

	pair_open(&client, &server);
	CHECK(pipe(ends) == 0);
	if (fork() == 0) {
		for (ssize_t part; at < BULK_BYTES;) {
			CHECK((part = splice(file, &at, ends[1], NULL, 65536, 0)) > 0);
			while (part > 0) {
				ssize_t sent = splice(ends[0], NULL, client, NULL, part, 0);

				CHECK(sent > 0);
				part -= sent;
			}
		}
		_exit(0);
	}
	CHECK(pipe(ends) == 0);
	while (got < sizeof(bytes)) {
		ssize_t part = splice(server, NULL, ends[1], NULL, 32768, 0);

		CHECK(part > 0);
		while (part > 0) {
			ssize_t taken = read(ends[0], bytes + got, part);

			CHECK(taken > 0);
			got += taken;
			part -= taken;
		}
	}
	check_bulk(bytes);
}

void many_messages(void)
{
	struct iovec parts[2] = { { "ab", 2 }, { "cd", 2 } };
	struct mmsghdr messages[2] = { { .msg_hdr = { .msg_iov = parts, .msg_iovlen = 2 } },
				       { .msg_hdr = { .msg_iov = parts, .msg_iovlen = 1 } } };
	struct timespec soon = { .tv_sec = 5 };
	int client, server;
	char text[8];

	pair_open(&client, &server);
	CHECK(sendmmsg(client, messages, 2, 0) == 2);
	CHECK(messages[0].msg_len == 4 && messages[1].msg_len == 2);
	parts[0] = (struct iovec){ text, 4 };
	parts[1] = (struct iovec){ text + 4, 2 };
	messages[0].msg_hdr.msg_iovlen = 1;
	messages[1].msg_hdr.msg_iov = parts + 1;
	CHECK(recv(server, text, 1, MSG_PEEK) == 1);
	CHECK(recvmmsg(server, messages, 2, MSG_WAITALL, &soon) >= 1);
	CHECK(messages[0].msg_len == 4 && !memcmp(text, "abcd", 4));
}

void time_limits(void)
{
	struct timeval limit = { .tv_usec = 50000 };
	int client, server, port, listener = listen_at("0.0.0.0", 0, &port);
	char byte;

	pair_open(&client, &server);
	CHECK(setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0);
	CHECK_ERROR(read(client, &byte, 1), EAGAIN);
	CHECK(setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0);
	CHECK_ERROR(accept(listener, NULL, NULL), EAGAIN);
	client = connect_to(ADDRESS, port);
	server = accept(listener, NULL, NULL);
	CHECK(server >= 0);
	/* The accepted one has the listener's limit, as TCP's has. */
	CHECK_ERROR(read(server, &byte, 1), EAGAIN);
}

/* SO_ZEROCOPY cannot be had on vsock of every kernel: then TCP is taken, or the call refused. */
void zero_copy(void)
{
	int port, listener = listen_at("0.0.0.0", 0, &port), server;
	struct name to = name_of(ADDRESS, port);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	set(fd, SOL_SOCKET, SO_ZEROCOPY, 1);
	CHECK(connect(fd, NAME(to)) == 0);
	CHECK(get(fd, SOL_SOCKET, SO_ZEROCOPY) == 1);
	server = accept(listener, NULL, NULL);
	check_carries(fd, server);
}

static volatile sig_atomic_t signalled;

static void on_signal(int number)
{
	signalled = number;
}

/* O_ASYNC with its owner and signal, set before connect(). */
void async_signal(void)
{
	int port, listener = listen_at("0.0.0.0", 0, &port), server;
	struct name to = name_of(ADDRESS, port);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	signal(SIGUSR1, on_signal);
	CHECK(fcntl(fd, F_SETOWN, getpid()) == 0);
	CHECK(fcntl(fd, F_SETSIG, SIGUSR1) == 0);
	CHECK(fcntl(fd, F_SETFL, O_ASYNC) == 0);
	CHECK(connect(fd, NAME(to)) == 0);
	CHECK(fcntl(fd, F_GETFL) & O_ASYNC);
	CHECK((server = accept(listener, NULL, NULL)) >= 0);
	signalled = 0;
	CHECK(write(server, "x", 1) == 1);
	for (int i = 0; i < 1000 && !signalled; i++)
		usleep(10000);
	CHECK(signalled == SIGUSR1);
}
