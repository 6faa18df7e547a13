/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of listen() and accept(): one descriptor for both worlds. */
#include "tests/conformance/wrap/harness.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

/* Connect over one world; the server's end must be of that one, too. */
static void take_one(int listener, const char *address, int port, bool vsock)
{
	int fd = connect_to(address, port), server;

	check_world(fd, vsock);
	server = accept(listener, NULL, NULL);
	CHECK(server >= 0);
	check_world(server, vsock);
	check_carries(fd, server);
	close(fd);
	close(server);
}

void accept_flags(void)
{
	int port, listener = listen_at("0.0.0.0", SOCK_NONBLOCK, &port), server;

	CHECK_ERROR(accept(listener, NULL, NULL), EAGAIN);
	for (int turn = 0; turn < 2; turn++) {
		connect_to(turn ? "127.0.0.1" : ADDRESS, port);
		wait_for(listener, POLLIN);
		server = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		CHECK(server >= 0);
		check_world(server, wrapped && !turn);
		CHECK(fcntl(server, F_GETFL) & O_NONBLOCK);
		CHECK(fcntl(server, F_GETFD) == FD_CLOEXEC);
		connect_to(turn ? "127.0.0.1" : ADDRESS, port);
		wait_for(listener, POLLIN);
		server = accept(listener, NULL, NULL);
		CHECK(server >= 0 && !(fcntl(server, F_GETFL) & O_NONBLOCK));
		CHECK(fcntl(server, F_GETFD) == 0);
	}
}

void both_worlds(void)
{
	int port, listener = listen_at("0.0.0.0", 0, &port);

	for (int i = 0; i < 40; i++) { /* more than a turn of one world */
		take_one(listener, ADDRESS, port, wrapped);
		if (i % 3 == 0)
			take_one(listener, "127.0.0.1", port, false);
	}
}

void both_worlds_v6(void)
{
	int port, listener = listen_at("::", 0, &port), fd, server;
	struct sockaddr_storage name;
	socklen_t bytes = sizeof(name);

	take_one(listener, "::1", port, false);
	take_one(listener, "127.0.0.1", port, false);
	take_one(listener, ADDRESS, port, wrapped);
	fd = connect_to(ADDRESS_V6, port);
	check_world(fd, wrapped);
	server = accept(listener, (struct sockaddr *)&name, &bytes);
	CHECK(server >= 0 && bytes == sizeof(struct sockaddr_in6));
	bytes = sizeof(name);
	CHECK(getpeername(fd, (struct sockaddr *)&name, &bytes) == 0);
	CHECK(!strcmp(text_of(&name), ADDRESS_V6));
	bytes = sizeof(name);
	CHECK(getsockname(fd, (struct sockaddr *)&name, &bytes) == 0);
	CHECK(!strcmp(text_of(&name), ADDRESS_V6));
}

void v6_only_listener(void)
{
	struct name at = name_of("::", 0);
	int listener = socket(AF_INET6, SOCK_STREAM, 0), on = 1, fd;
	struct sockaddr_storage name;
	socklen_t bytes = sizeof(name);

	CHECK(setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) == 0);
	CHECK(bind(listener, NAME(at)) == 0 && listen(listener, 5) == 0);
	fd = connect_to(ADDRESS_V6, port_of(listener));
	check_world(fd, wrapped);
	CHECK(accept(listener, (struct sockaddr *)&name, &bytes) >= 0);
	CHECK(!strcmp(text_of(&name), ADDRESS_V6));
}

/* 0.0.0.0 and :: apart, in either order: what comes over vsock is IPv4's. */
void both_families(void)
{
	for (int turn = 0; turn < 2; turn++) {
		int port, on = 1, fds[2], epoll_fd = epoll_create1(0);
		struct epoll_event event = { .events = EPOLLIN };

		fds[0] = listen_at("0.0.0.0", 0, &port); /* finds a port */
		close(fds[0]);
		for (int i = 0; i < 2; i++) {
			bool v6 = i == turn;
			struct name at = name_of(v6 ? "::" : "0.0.0.0", port);

			fds[v6] = socket(at.at.ss_family, SOCK_STREAM, 0);
			if (v6)
				CHECK(setsockopt(fds[1], IPPROTO_IPV6, IPV6_V6ONLY, &on, 4) == 0);
			CHECK(bind(fds[v6], NAME(at)) == 0 && listen(fds[v6], 5) == 0);
			event.data.fd = fds[v6];
			CHECK(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fds[v6], &event) == 0);
		}
		close(connect_to(ADDRESS, port));
		CHECK(epoll_wait(epoll_fd, &event, 1, 10000) == 1 && event.data.fd == fds[0]);
		CHECK(accept(fds[0], NULL, NULL) >= 0);
		CHECK(epoll_wait(epoll_fd, &event, 1, 0) == 0);
		close(connect_to("::1", port));
		CHECK(epoll_wait(epoll_fd, &event, 1, 10000) == 1 && event.data.fd == fds[1]);
		close(fds[0]);
		close(fds[1]);
	}
}

/* listen() without bind() takes a port, on both worlds the same one. */
void unbound_listener(void)
{
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	CHECK(listen(listener, 5) == 0);
	take_one(listener, "127.0.0.1", port_of(listener), false);
	take_one(listener, ADDRESS, port_of(listener), wrapped);
}

void epoll_before_listen(void)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = 5 };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), epoll_fd = epoll_create1(0);

	CHECK(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event) == 0);
	CHECK(listen(listener, 5) == 0);
	connect_to(ADDRESS, port_of(listener));
	do { /* a socket that did not listen told of itself before */
		CHECK(epoll_wait(epoll_fd, &event, 1, 10000) == 1 && event.data.u64 == 5);
	} while (event.events != EPOLLIN);
	CHECK(accept(listener, NULL, NULL) >= 0);
	CHECK(epoll_wait(epoll_fd, &event, 1, 0) == 0);
}

void epoll_of_listener(void)
{
	int port, listener = listen_at("0.0.0.0", SOCK_NONBLOCK, &port);
	int epoll_fd = epoll_create1(0);
	struct epoll_event event = { .events = EPOLLIN | EPOLLEXCLUSIVE, .data.u64 = 6 };

	CHECK(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event) == 0);
	for (int turn = 0; turn < 2; turn++) {
		CHECK(epoll_wait(epoll_fd, &event, 1, 0) == 0);
		connect_to(turn ? "127.0.0.1" : ADDRESS, port);
		CHECK(epoll_wait(epoll_fd, &event, 1, 10000) == 1);
		CHECK(event.data.u64 == 6 && event.events == EPOLLIN);
		CHECK(accept(listener, NULL, NULL) >= 0);
		CHECK_ERROR(accept(listener, NULL, NULL), EAGAIN);
	}
	CHECK(epoll_ctl(epoll_fd, EPOLL_CTL_DEL, listener, NULL) == 0);
	event.events = EPOLLIN | EPOLLET;
	CHECK(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event) == 0);
	event.events = EPOLLIN;
	event.data.u64 = 7;
	CHECK(epoll_ctl(epoll_fd, EPOLL_CTL_MOD, listener, &event) == 0);
	connect_to(ADDRESS, port);
	CHECK(epoll_wait(epoll_fd, &event, 1, 10000) == 1 && event.data.u64 == 7);
	close(listener);
	CHECK(epoll_wait(epoll_fd, &event, 1, 0) == 0);
}

void poll_of_listener(void)
{
	int port, listener = listen_at("0.0.0.0", 0, &port), other = socket(AF_INET, SOCK_DGRAM, 0);
	struct timespec soon = { .tv_nsec = 1000000 };
	volatile nfds_t count =
		4; /* not known to the compiler: __poll_chk and its like are called */

	for (int turn = 0; turn < 4; turn++) {
		struct pollfd fds[] = { { .fd = -1, .revents = 99 },
					{ .fd = listener, .events = POLLIN },
					{ .fd = other, .events = POLLIN },
					{ .fd = listener, .events = POLLOUT } };

		CHECK(poll(fds, count, 1) == 0 && fds[0].revents == 0 && fds[1].revents == 0);
		CHECK(ppoll(fds, count, &soon, NULL) == 0);
		connect_to(turn % 2 ? "127.0.0.1" : ADDRESS, port);
		CHECK((turn < 2 ? poll(fds, count, 10000) : ppoll(fds, count, NULL, NULL)) == 1);
		CHECK(fds[1].revents == POLLIN && !fds[0].revents && !fds[2].revents &&
		      !fds[3].revents);
		CHECK(accept(listener, NULL, NULL) >= 0);
	}
}

void select_of_listener(void)
{
	int port, listener = listen_at("0.0.0.0", 0, &port), other = socket(AF_INET, SOCK_DGRAM, 0);
	int top = (listener > other ? listener : other) + 1;

	for (int turn = 0; turn < 4; turn++) {
		struct timeval limit = { .tv_usec = 1000 };
		struct timespec soon = { .tv_nsec = 1000000 };
		fd_set reads, writes;

		FD_ZERO(&reads);
		FD_ZERO(&writes);
		FD_SET(listener, &reads);
		FD_SET(other, &reads);
		CHECK(select(top, &reads, &writes, NULL, &limit) == 0);
		CHECK(!FD_ISSET(listener, &reads));
		FD_SET(listener, &reads);
		CHECK(pselect(top, &reads, NULL, NULL, &soon, NULL) == 0);
		connect_to(turn % 2 ? "127.0.0.1" : ADDRESS, port);
		FD_SET(listener, &reads);
		FD_SET(other, &reads);
		FD_SET(other, &writes);
		limit.tv_sec = 10;
		CHECK((turn < 2 ? select(top, &reads, &writes, NULL, &limit)
				: pselect(top, &reads, &writes, NULL, NULL, NULL)) >= 1);
		CHECK(FD_ISSET(other, &writes) && !FD_ISSET(other, &reads));
		/* The writable one may have been first. */
		FD_ZERO(&reads);
		FD_SET(listener, &reads);
		CHECK(select(top, &reads, NULL, NULL, &limit) == 1 && FD_ISSET(listener, &reads));
		for (int fd = 0; fd < FD_SETSIZE; fd++)
			CHECK(!FD_ISSET(fd, &reads) || fd == listener);
		CHECK(accept(listener, NULL, NULL) >= 0);
	}
}

/* A child that connects once it was told to by a byte; returns the write end for that byte. */
static int connects_later(const char *address, int port)
{
	int ends[2];

	CHECK(pipe(ends) == 0);
	if (fork() == 0) {
		char byte;

		CHECK(read(ends[0], &byte, 1) == 1);
		usleep(20000); /* so that the parent most likely waits already; it holds either way
				*/
		connect_to(address, port);
		_exit(0);
	}
	close(ends[0]);
	return ends[1];
}

void blocking_accept(void)
{
	int port, listener = listen_at("0.0.0.0", 0, &port);

	for (int turn = 0; turn < 4; turn++) {
		int later = connects_later(turn % 2 ? "127.0.0.1" : ADDRESS, port), server;

		CHECK(write(later, "x", 1) == 1);
		server = accept(listener, NULL, NULL);
		CHECK(server >= 0);
		check_world(server, wrapped && turn % 2 == 0);
		CHECK(!(fcntl(server, F_GETFL) & O_NONBLOCK));
		wait(NULL);
	}
}

static volatile sig_atomic_t interrupted;

static void on_alarm(int number)
{
	interrupted += number == SIGALRM;
}

/* A signal ends accept() or does not, as its handler was installed. */
void interrupted_accept(void)
{
	struct itimerval often = { .it_interval.tv_usec = 2000, .it_value.tv_usec = 2000 };
	struct sigaction action = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	int port, listener = listen_at("0.0.0.0", 0, &port);
	int later = connects_later(ADDRESS, port);

	CHECK(sigaction(SIGALRM, &action, NULL) == 0);
	CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
	CHECK(write(later, "x", 1) == 1);
	CHECK(accept(listener, NULL, NULL) >= 0);
	while (interrupted == 0)
		usleep(1000);
	action.sa_flags = 0;
	CHECK(sigaction(SIGALRM, &action, NULL) == 0);
	CHECK_ERROR(accept(listener, NULL, NULL), EINTR);
}

/* Several processes block in accept() of one listener: each world reaches one of them. */
void shared_accept(void)
{
	int port, listener = listen_at("0.0.0.0", 0, &port), ends[2];
	char byte;

	CHECK(pipe(ends) == 0);
	for (int i = 0; i < 3; i++)
		if (fork() == 0) {
			for (int server; (server = accept(listener, NULL, NULL)) >= 0;) {
				CHECK(write(ends[1], "x", 1) == 1);
				close(server);
			}
			_exit(1);
		}
	close(ends[1]);
	for (int turn = 0; turn < 20; turn++) {
		int fd = connect_to(turn % 2 ? "127.0.0.1" : ADDRESS, port);

		wait_for(ends[0], POLLIN);
		CHECK(read(ends[0], &byte, 1) == 1);
		close(fd);
	}
	signal(SIGTERM, SIG_IGN);
	kill(0, SIGTERM);
	while (wait(NULL) > 0)
		;
}

void port_zero(void)
{
	int port, other, one = listen_at("0.0.0.0", 0, &port), two = listen_at("::", 0, &other);

	CHECK(port != other);
	take_one(one, ADDRESS, port, wrapped);
	take_one(two, ADDRESS_V6, other, wrapped);
}

/* An address that no interface has, but that the rules give to this machine. */
void own_address(void)
{
	const char *address = wrapped ? "10.78.0.1" : ADDRESS;
	int port, listener = listen_at(address, 0, &port);
	struct sockaddr_storage name;
	socklen_t bytes = sizeof(name);

	CHECK(getsockname(listener, (struct sockaddr *)&name, &bytes) == 0);
	CHECK(!strcmp(text_of(&name), ADDRESS)); /* the first name of the CID */
	check_world(listener, wrapped);
	take_one(listener, ADDRESS, port, wrapped);
}

/* What the wrapper does to a blocking listener does not show. */
void nonblocking_is_hidden(void)
{
	int port, listener = listen_at("0.0.0.0", 0, &port), on = 1;

	take_one(listener, ADDRESS, port, wrapped);
	take_one(listener, "127.0.0.1", port, false);
	CHECK(!(fcntl(listener, F_GETFL) & O_NONBLOCK));
	CHECK(fcntl(listener, F_SETFL, O_NONBLOCK) == 0);
	CHECK(fcntl(listener, F_GETFL) & O_NONBLOCK);
	CHECK_ERROR(accept(listener, NULL, NULL), EAGAIN);
	CHECK(fcntl(listener, F_SETFL, 0) == 0);
	CHECK(!(fcntl(listener, F_GETFL) & O_NONBLOCK));
	take_one(listener, ADDRESS, port, wrapped);
	CHECK(ioctl(listener, FIONBIO, &on) == 0);
	CHECK_ERROR(accept(listener, NULL, NULL), EAGAIN);
	on = 0;
	CHECK(ioctl(listener, FIONBIO, &on) == 0);
	CHECK(!(fcntl(listener, F_GETFL) & O_NONBLOCK));
	take_one(listener, "127.0.0.1", port, false);
	take_one(listener, ADDRESS, port, wrapped);
}

/* A child of vfork: nothing it does to descriptors may change what its parent knows. */
void listener_by_spawn(void)
{
	int port, listener = listen_at("0.0.0.0", SOCK_CLOEXEC, &port), status;
	pid_t child = vfork();

	if (child == 0) {
		dup2(listener, 60);
		close(listener);
		execl(own_path, own_path, "inherited", wrapped ? "vsock" : "tcp", "listener", "60",
		      NULL);
		_exit(126);
	}
	CHECK(child > 0);
	close(connect_to(ADDRESS, port));
	close(connect_to("127.0.0.1", port));
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	take_one(listener, ADDRESS, port, wrapped);
	take_one(listener, "127.0.0.1", port, false);
}
