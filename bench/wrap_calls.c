/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long single calls on sockets take; bench/wrap.py runs it with and without the wrapper.
 *
 * usage: wrap_calls calls                         nanoseconds of calls on one TCP connection
 *        wrap_calls connect ADDRESS|vsock COUNT   connect, accept and two closes: their median in
 *                                               microseconds
 *
 * Prints one line of JSON: {"NAME": value, ...}.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <linux/vm_sockets.h>
#include <time.h>
#include <unistd.h>

#define BATCH	  500
#define BATCHES	  400
#define COUNT_MAX 10000

static void __attribute__((noreturn)) fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static double now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e9 + now.tv_nsec;
}

/* Ends of a connection over loopback, both in this process. */
static void pair_open(int ends[2])
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t bytes = sizeof(at);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	ends[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(listener, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(listener, 1) < 0 ||
	    getsockname(listener, (struct sockaddr *)&at, &bytes) < 0 ||
	    connect(ends[0], (struct sockaddr *)&at, bytes) < 0)
		fail("connect");
	ends[1] = accept(listener, NULL, NULL);
	if (ends[1] < 0)
		fail("accept");
	close(listener);
}

/* The best of many short batches: what others do on the machine only ever adds. */
#define MEASURE(name, call)                                              \
	do {                                                             \
		double best_ns = 1e12;                                   \
                                                                         \
		for (int batch = 0; batch < BATCHES; batch++) {          \
			double start_ns = now_ns(), took_ns;             \
                                                                         \
			for (int i = 0; i < BATCH; i++)                  \
				if ((call) < 0 && errno != EAGAIN)       \
					fail(name);                      \
			took_ns = (now_ns() - start_ns) / BATCH;         \
			best_ns = took_ns < best_ns ? took_ns : best_ns; \
		}                                                        \
		printf("\"%s\": %.1f, ", name, best_ns);                 \
	} while (0)

static int compare(const void *one, const void *other)
{
	double difference = *(const double *)one - *(const double *)other;

	return difference < 0 ? -1 : difference > 0;
}

static void measure_calls(void)
{
	struct epoll_event event = { .events = EPOLLIN };
	struct pollfd pollfd = { .events = POLLIN };
	struct iovec part = { "x", 0 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	struct sockaddr_storage name;
	socklen_t bytes = sizeof(name);
	int ends[2], epoll_fd = epoll_create1(0), value = 1;
	char byte;

	pair_open(ends);
	pollfd.fd = ends[0];
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, ends[0], &event) < 0)
		fail("epoll_ctl");
	printf("{");
	/* Of no bytes: the call and the kernel's way in, without the network's work. */
	MEASURE("write", write(ends[0], "x", 0));
	MEASURE("send", send(ends[0], "x", 0, 0));
	MEASURE("sendto", sendto(ends[0], "x", 0, 0, NULL, 0));
	MEASURE("sendmsg", sendmsg(ends[0], &message, 0));
	MEASURE("read", read(ends[0], &byte, 0));
	MEASURE("recv", recv(ends[0], &byte, 1, MSG_DONTWAIT));
	MEASURE("poll", poll(&pollfd, 1, 0));
	MEASURE("epoll_ctl", epoll_ctl(epoll_fd, EPOLL_CTL_MOD, ends[0], &event));
	MEASURE("setsockopt", setsockopt(ends[0], SOL_SOCKET, SO_KEEPALIVE, &value, sizeof(value)));
	MEASURE("getsockname",
		(bytes = sizeof(name), getsockname(ends[0], (struct sockaddr *)&name, &bytes)));
	MEASURE("dup_close", close(dup(ends[0])));
	printf("\"calls\": %d}\n", BATCH * BATCHES);
}

static void measure_connect(const char *address, int count)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_vm vm = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_LOCAL };
	struct sockaddr_vm any = { .svm_family = AF_VSOCK,
				   .svm_cid = VMADDR_CID_ANY,
				   .svm_port = 7300 };
	struct sockaddr_in any_in = { .sin_family = AF_INET, .sin_port = htons(7300) };
	int vsock = !strcmp(address, "vsock"), family = vsock ? AF_VSOCK : AF_INET;
	int listener = socket(family, SOCK_STREAM, 0);
	const struct sockaddr *to = vsock ? (void *)&vm : (void *)&in;
	static double took_ns[COUNT_MAX];

	vm.svm_port = 7300;
	in.sin_port = htons(7300);
	if (!vsock && inet_pton(AF_INET, address, &in.sin_addr) != 1)
		fail(address);
	if (bind(listener, vsock ? (void *)&any : (void *)&any_in, sizeof(any)) < 0 ||
	    listen(listener, 16) < 0)
		fail("listen");
	for (int i = 0; i < count; i++) {
		double start_ns = now_ns();
		int fd = socket(family, SOCK_STREAM, 0), server;

		if (connect(fd, to, sizeof(vm)) < 0)
			fail("connect");
		server = accept(listener, NULL, NULL);
		if (server < 0)
			fail("accept");
		close(fd);
		close(server);
		took_ns[i] = now_ns() - start_ns;
	}
	qsort(took_ns, count, sizeof(*took_ns), compare);
	printf("{\"connect\": %.2f}\n", took_ns[count / 2] / 1e3);
}

int main(int argc, char **argv)
{
	_Static_assert(sizeof(struct sockaddr_vm) == sizeof(struct sockaddr_in), "one length");

	if (argc == 2 && !strcmp(argv[1], "calls"))
		measure_calls();
	else if (argc == 4 && !strcmp(argv[1], "connect") && atoi(argv[3]) > 0 &&
		 atoi(argv[3]) <= COUNT_MAX)
		measure_connect(argv[2], atoi(argv[3]));
	else {
		fprintf(stderr, "usage: wrap_calls calls | connect ADDRESS|vsock COUNT\n");
		return 2;
	}
	return 0;
}
