/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of checks, and what they share; see harness.h.
 *
 * usage: wrap_sockets --list | tcp|vsock CHECK
 */
#include "tests/conformance/wrap/harness.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

bool wrapped;
const char *own_path;

#define ENTRY(name)         \
	{                   \
#name, name \
	}
static const struct {
	const char *name;
	check_function *run;
} checks[] = {
	ENTRY(blocking_connect),
	ENTRY(nonblocking_connect),
	ENTRY(refused),
	ENTRY(refused_later),
	ENTRY(connects_again),
	ENTRY(epoll_before_connect),
	ENTRY(options_follow),
	ENTRY(addressed_sends),
	ENTRY(fast_open),
	ENTRY(names_are_cut),
	ENTRY(receives_have_no_name),
	ENTRY(mapped_addresses),
	ENTRY(local_port_is_kept),
	ENTRY(falls_back),
	ENTRY(udp_is_untouched),
	ENTRY(accept_flags),
	ENTRY(both_worlds),
	ENTRY(both_worlds_v6),
	ENTRY(epoll_before_listen),
	ENTRY(epoll_of_listener),
	ENTRY(poll_of_listener),
	ENTRY(select_of_listener),
	ENTRY(blocking_accept),
	ENTRY(shared_accept),
	ENTRY(interrupted_accept),
	ENTRY(port_zero),
	ENTRY(own_address),
	ENTRY(nonblocking_is_hidden),
	ENTRY(listener_by_spawn),
	ENTRY(v6_only_listener),
	ENTRY(unbound_listener),
	ENTRY(both_families),
	ENTRY(duplicates_before_connect),
	ENTRY(duplicates_of_listener),
	ENTRY(descriptors_above_1023),
	ENTRY(close_range_and_companion),
	ENTRY(inherited_by_exec),
	ENTRY(listener_by_exec),
	ENTRY(close_on_exec_holds),
	ENTRY(passed_through_socket),
	ENTRY(listener_passed),
	ENTRY(fork_and_close),
	ENTRY(tcp_options),
	ENTRY(socket_options),
	ENTRY(tcp_info),
	ENTRY(readable_bytes),
	ENTRY(interface_ioctls),
	ENTRY(half_close),
	ENTRY(sends_file),
	ENTRY(splices),
	ENTRY(many_messages),
	ENTRY(time_limits),
	ENTRY(zero_copy),
	ENTRY(async_signal),
};

void check_failed(const char *file, int line, const char *what)
{
	printf("%s:%d: %s (errno: %s)\n", file, line, what, strerror(errno));
	fflush(stdout);
	_exit(1);
}

struct name name_of(const char *address, int port)
{
	struct name name = { .bytes = sizeof(struct sockaddr_in) };
	struct sockaddr_in *in = (struct sockaddr_in *)&name.at;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&name.at;

	if (strchr(address, ':')) {
		name.bytes = sizeof(*in6);
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		CHECK(inet_pton(AF_INET6, address, &in6->sin6_addr) == 1);
	} else {
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		CHECK(inet_pton(AF_INET, address, &in->sin_addr) == 1);
	}
	return name;
}

int port_in(const struct sockaddr_storage *name)
{
	/* The same place in both. */
	CHECK(name->ss_family == AF_INET || name->ss_family == AF_INET6);
	return ntohs(((const struct sockaddr_in *)name)->sin_port);
}

int port_of(int fd)
{
	struct sockaddr_storage name;
	socklen_t bytes = sizeof(name);

	CHECK(getsockname(fd, (struct sockaddr *)&name, &bytes) == 0);
	return port_in(&name);
}

const char *text_of(const struct sockaddr_storage *name)
{
	static char text[INET6_ADDRSTRLEN];
	const void *address =
		name->ss_family == AF_INET6
			? (const void *)&((const struct sockaddr_in6 *)name)->sin6_addr
			: (const void *)&((const struct sockaddr_in *)name)->sin_addr;

	return inet_ntop(name->ss_family, address, text, sizeof(text));
}

int listen_at(const char *address, int flags, int *port)
{
	struct name name = name_of(address, 0);
	int fd = socket(name.at.ss_family, SOCK_STREAM | flags, 0);

	CHECK(fd >= 0);
	CHECK(bind(fd, NAME(name)) == 0);
	CHECK(listen(fd, 16) == 0);
	*port = port_of(fd);
	CHECK(*port > 0);
	return fd;
}

int connect_to(const char *address, int port)
{
	struct name name = name_of(address, port);
	int fd = socket(name.at.ss_family, SOCK_STREAM, 0);

	CHECK(fd >= 0);
	CHECK(connect(fd, NAME(name)) == 0);
	return fd;
}

void pair_open(int *client, int *server)
{
	int port, listener = listen_at("0.0.0.0", 0, &port);

	*client = connect_to(ADDRESS, port);
	*server = accept(listener, NULL, NULL);
	CHECK(*server >= 0);
	close(listener);
	check_world(*client, wrapped);
	check_world(*server, wrapped);
}

void check_carries(int one, int other)
{
	char text[8] = { 0 };

	CHECK(send(one, "there", 5, 0) == 5);
	CHECK(recv(other, text, 5, MSG_WAITALL) == 5 && !memcmp(text, "there", 5));
	CHECK(write(other, "back", 4) == 4);
	wait_for(one, POLLIN);
	CHECK(read(one, text, sizeof(text)) == 4 && !memcmp(text, "back", 4));
}

void check_world(int fd, bool vsock)
{
	int domain;
	socklen_t bytes = sizeof(domain);

	CHECK(syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_DOMAIN, &domain, &bytes) == 0);
	CHECK((domain == AF_VSOCK) == vsock);
}

void wait_for(int fd, short events)
{
	struct pollfd pollfd = { .fd = fd, .events = events };

	CHECK(poll(&pollfd, 1, 10000) == 1);
	CHECK(pollfd.revents & events);
}

int main(int argc, char **argv)
{
	own_path = argv[0];
	if (argc > 1 && !strcmp(argv[1], "inherited"))
		return inherited_main(argc - 2, argv + 2);
	for (size_t i = 0; i < sizeof(checks) / sizeof(*checks); i++) {
		if (argc == 2 && !strcmp(argv[1], "--list")) {
			puts(checks[i].name);
		} else if (argc == 3 && !strcmp(argv[2], checks[i].name)) {
			wrapped = !strcmp(argv[1], "vsock");
			alarm(60);
			checks[i].run();
			return 0;
		}
	}
	if (argc == 2)
		return 0;
	fprintf(stderr, "usage: wrap_sockets --list | tcp|vsock CHECK\n");
	return 2;
}
