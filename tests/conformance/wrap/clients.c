/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of connect(), of names, and of what is sent with an address. */
#include "tests/conformance/wrap/harness.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/time.h>
#include <unistd.h>

/* A port of this machine where nobody listens. */
static int closed_port(void)
{
	int port, fd = listen_at("0.0.0.0", 0, &port);

	close(fd);
	return port;
}

static int socket_error(int fd)
{
	int error;
	socklen_t bytes = sizeof(error);

	CHECK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &bytes) == 0);
	return error;
}

void blocking_connect(void)
{
	int client, server;

	pair_open(&client, &server);
	check_carries(client, server);
	CHECK(!(fcntl(client, F_GETFL) & O_NONBLOCK));
	close(client);
	CHECK(read(server, &client, 1) == 0);
}

void nonblocking_connect(void)
{
	int port, listener = listen_at("0.0.0.0", 0, &port), server;
	struct name to = name_of(ADDRESS, port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	CHECK_ERROR(connect(fd, NAME(to)), EINPROGRESS);
	wait_for(fd, POLLOUT);
	CHECK(socket_error(fd) == 0);
	CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
	check_world(fd, wrapped);
	server = accept(listener, NULL, NULL);
	CHECK(server >= 0);
	check_carries(fd, server);
}

void refused(void)
{
	struct name to = name_of(ADDRESS, closed_port());
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	CHECK_ERROR(connect(fd, NAME(to)), ECONNREFUSED);
	/* And may be tried again. */
	CHECK_ERROR(connect(fd, NAME(to)), ECONNREFUSED);
}

void refused_later(void)
{
	struct name to = name_of(ADDRESS, closed_port());
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct pollfd pollfd = { .fd = fd, .events = POLLOUT };

	CHECK_ERROR(connect(fd, NAME(to)), EINPROGRESS);
	CHECK(poll(&pollfd, 1, 10000) == 1);
	CHECK(socket_error(fd) == ECONNREFUSED);
	CHECK(socket_error(fd) == 0);
}

void connects_again(void)
{
	int port, listener = listen_at("0.0.0.0", 0, &port);
	struct name to = name_of(ADDRESS, port);
	int fd = connect_to(ADDRESS, port);

	CHECK_ERROR(connect(fd, NAME(to)), EISCONN);
	check_world(fd, wrapped);
	close(listener);
}

void epoll_before_connect(void)
{
	int port, listener = listen_at("0.0.0.0", 0, &port), server;
	struct name to = name_of(ADDRESS, port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	int one = epoll_create1(0), two = epoll_create1(0);
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.u64 = 77 };

	CHECK(epoll_ctl(one, EPOLL_CTL_ADD, fd, &event) == 0);
	event.events = EPOLLIN;
	event.data.u64 = 78;
	CHECK(epoll_ctl(two, EPOLL_CTL_ADD, fd, &event) == 0);
	CHECK_ERROR(connect(fd, NAME(to)), EINPROGRESS);
	do { /* an unconnected TCP socket may have told of itself before */
		CHECK(epoll_wait(one, &event, 1, 10000) == 1 && event.data.u64 == 77);
	} while (!(event.events & EPOLLOUT) || event.events & EPOLLHUP);
	check_world(fd, wrapped);
	server = accept(listener, NULL, NULL);
	CHECK(write(server, "x", 1) == 1);
	CHECK(epoll_wait(two, &event, 1, 10000) == 1);
	CHECK(event.data.u64 == 78 && event.events == EPOLLIN);
	CHECK(epoll_ctl(two, EPOLL_CTL_DEL, fd, NULL) == 0);
	CHECK(epoll_wait(two, &event, 1, 0) == 0);
}

void options_follow(void)
{
	int port, listener = listen_at("0.0.0.0", 0, &port), on = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timeval limit = { .tv_sec = 3, .tv_usec = 500000 }, got;
	struct linger linger = { .l_onoff = 1, .l_linger = 4 }, linger_got;
	struct name to = name_of(ADDRESS, port);
	socklen_t bytes = sizeof(got);

	CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0);
	CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) == 0);
	CHECK(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) == 0);
	CHECK(connect(fd, NAME(to)) == 0);
	check_world(fd, wrapped);
	CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC);
	CHECK(getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &got, &bytes) == 0);
	CHECK(got.tv_sec == 3 && got.tv_usec == 500000);
	bytes = sizeof(linger_got);
	CHECK(getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger_got, &bytes) == 0);
	CHECK(linger_got.l_onoff == 1 && linger_got.l_linger == 4);
	bytes = sizeof(on);
	on = 0;
	CHECK(getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, &bytes) == 0 && on == 1);
	close(listener);
}

/* TCP ignores the address of what is sent on a connection. */
void addressed_sends(void)
{
	struct name other = name_of("192.0.2.1", 9);
	struct iovec part = { "two", 3 };
	struct mmsghdr messages[2] = { { .msg_hdr = { .msg_iov = &part, .msg_iovlen = 1 } },
				       { .msg_hdr = { .msg_iov = &part, .msg_iovlen = 1 } } };
	struct msghdr message = {
		.msg_name = &other.at, .msg_namelen = other.bytes, .msg_iov = &part, .msg_iovlen = 1
	};
	int client, server;
	char text[16];

	pair_open(&client, &server);
	CHECK(sendto(client, "one", 3, 0, NAME(other)) == 3);
	CHECK(sendmsg(client, &message, 0) == 3);
	messages[0].msg_hdr.msg_name = &other.at;
	messages[0].msg_hdr.msg_namelen = other.bytes;
	CHECK(sendmmsg(client, messages, 2, 0) == 2);
	CHECK(messages[1].msg_len == 3);
	CHECK(recv(server, text, 12, MSG_WAITALL) == 12);
	CHECK(!memcmp(text, "onetwotwotwo", 12));
}

void fast_open(void)
{
	int port, listener = listen_at("0.0.0.0", 0, &port), server;
	struct name to = name_of(ADDRESS, port);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	char text[8];

	CHECK(sendto(fd, "early", 5, MSG_FASTOPEN, NAME(to)) == 5);
	server = accept(listener, NULL, NULL);
	CHECK(recv(server, text, 5, MSG_WAITALL) == 5 && !memcmp(text, "early", 5));
	check_world(fd, wrapped);
}

/* Every length that a program may give: cut as the kernel does it, and the whole length told. */
void names_are_cut(void)
{
	int port, listener = listen_at("0.0.0.0", 0, &port), server, fd;
	struct sockaddr_storage name;
	socklen_t bytes = sizeof(name);

	fd = connect_to(ADDRESS, port);
	memset(&name, 0xee, sizeof(name));
	server = accept(listener, (struct sockaddr *)&name, &bytes);
	CHECK(server >= 0 && bytes == sizeof(struct sockaddr_in));
	CHECK(name.ss_family == AF_INET && !strcmp(text_of(&name), ADDRESS));
	CHECK(port_in(&name) == port_of(fd));
	CHECK(((unsigned char *)&name)[16] == 0xee);
	for (socklen_t room = 0; room < 20; room++) {
		memset(&name, 0xee, sizeof(name));
		bytes = room;
		CHECK(getpeername(fd, (struct sockaddr *)&name, &bytes) == 0);
		CHECK(bytes == sizeof(struct sockaddr_in));
		for (socklen_t i = room; i < 20; i++)
			CHECK(((unsigned char *)&name)[i] == 0xee);
		if (room >= 8)
			CHECK(!strcmp(text_of(&name), ADDRESS) && port_in(&name) == port);
	}
	bytes = sizeof(name);
	CHECK(getsockname(fd, (struct sockaddr *)&name, &bytes) == 0);
	CHECK(bytes == sizeof(struct sockaddr_in) && !strcmp(text_of(&name), ADDRESS));
	bytes = (socklen_t)-1;
	CHECK_ERROR(getsockname(fd, (struct sockaddr *)&name, &bytes), EINVAL);
	bytes = 3;
	fd = connect_to(ADDRESS, port);
	CHECK(accept(listener, (struct sockaddr *)&name, &bytes) >= 0 && bytes == 16);
	CHECK_ERROR(getpeername(listener, (struct sockaddr *)&name, &bytes), ENOTCONN);
}

/* recvfrom() on a stream gives no address, only the length 0. */
void receives_have_no_name(void)
{
	struct sockaddr_storage name;
	struct iovec part;
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_name = &name, .msg_namelen = sizeof(name)
	};
	struct mmsghdr many = { .msg_hdr = message };
	int client, server;
	socklen_t bytes = sizeof(name);
	char text[8];

	pair_open(&client, &server);
	part = (struct iovec){ text, 1 };
	CHECK(write(client, "abc", 3) == 3);
	CHECK(recvfrom(server, text, 1, 0, (struct sockaddr *)&name, &bytes) == 1);
	CHECK(bytes == 0);
	CHECK(recvmsg(server, &message, 0) == 1 && message.msg_namelen == 0);
	CHECK(recvmmsg(server, &many, 1, 0, NULL) == 1);
	CHECK(many.msg_len == 1 && many.msg_hdr.msg_namelen == 0 && *text == 'c');
}

void mapped_addresses(void)
{
	int port, listener = listen_at("::", 0, &port), server, fd;
	struct sockaddr_storage name;
	socklen_t bytes = sizeof(name);

	fd = connect_to("::ffff:" ADDRESS, port);
	check_world(fd, wrapped);
	server = accept(listener, (struct sockaddr *)&name, &bytes);
	CHECK(server >= 0 && name.ss_family == AF_INET6);
	CHECK(!strcmp(text_of(&name), "::ffff:" ADDRESS));
	bytes = sizeof(name);
	CHECK(getpeername(fd, (struct sockaddr *)&name, &bytes) == 0);
	CHECK(bytes == sizeof(struct sockaddr_in6));
	CHECK(!strcmp(text_of(&name), "::ffff:" ADDRESS) && port_in(&name) == port);
	bytes = sizeof(name);
	CHECK(getsockname(fd, (struct sockaddr *)&name, &bytes) == 0);
	CHECK(!strcmp(text_of(&name), "::ffff:" ADDRESS));
	check_carries(fd, server);
}

/* A client that was bound to a port shows it to the server. */
void local_port_is_kept(void)
{
	int port, listener = listen_at("0.0.0.0", 0, &port), wanted = closed_port();
	struct name to = name_of(ADDRESS, port), local = name_of("0.0.0.0", wanted);
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
	struct sockaddr_storage name;
	socklen_t bytes = sizeof(name);

	CHECK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0);
	CHECK(bind(fd, NAME(local)) == 0);
	CHECK(connect(fd, NAME(to)) == 0);
	check_world(fd, wrapped);
	CHECK(port_of(fd) == wanted);
	CHECK(accept(listener, (struct sockaddr *)&name, &bytes) >= 0);
	CHECK(port_in(&name) == wanted);
}

/* Rule "both": a server that only TCP has is reached by TCP. The test's rules name the port. */
void falls_back(void)
{
	struct name at = name_of("0.0.0.0", 7001), to = name_of(ADDRESS, 7001);
	int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	CHECK(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0);
	CHECK(bind(listener, NAME(at)) == 0 && listen(listener, 5) == 0);
	for (int flags = 0; flags <= SOCK_NONBLOCK; flags += SOCK_NONBLOCK) {
		int fd = socket(AF_INET, SOCK_STREAM | flags, 0), server;

		if (flags)
			CHECK_ERROR(connect(fd, NAME(to)), EINPROGRESS);
		else
			CHECK(connect(fd, NAME(to)) == 0);
		wait_for(fd, POLLOUT);
		CHECK(socket_error(fd) == 0);
		check_world(fd, false);
		server = accept(listener, NULL, NULL);
		check_carries(fd, server);
		close(fd);
		close(server);
	}
}

void udp_is_untouched(void)
{
	struct name at = name_of(ADDRESS, 0);
	int server = socket(AF_INET, SOCK_DGRAM, 0), fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_storage name;
	socklen_t bytes = sizeof(name);
	char text[8];

	CHECK(bind(server, NAME(at)) == 0);
	at = name_of(ADDRESS, port_of(server));
	CHECK(sendto(fd, "one", 3, 0, NAME(at)) == 3);
	CHECK(recvfrom(server, text, 8, 0, (struct sockaddr *)&name, &bytes) == 3);
	CHECK(bytes == sizeof(struct sockaddr_in) && port_in(&name) == port_of(fd));
	CHECK(connect(fd, NAME(at)) == 0);
	check_world(fd, false);
	CHECK(send(fd, "three", 5, 0) == 5 && recv(server, text, 8, 0) == 5);
}
