/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks of what a TCP program sees, one behaviour each: sockets.c lists them.
 *
 * The same checks run without the wrapper, where the kernel's TCP says what is right, and with it,
 * where each must hold just so while the bytes go over AF_VSOCK. A check ends its process with 1
 * and a line at the first thing that is not so.
 */
#ifndef CAUSEWAY_TESTS_WRAP_HARNESS_H
#define CAUSEWAY_TESTS_WRAP_HARNESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <sys/socket.h>

/* This machine's address in the VMs' world, and without the wrapper an address of lo. */
#define ADDRESS	   "10.77.0.1"
#define ADDRESS_V6 "fd00:77::1"

extern bool wrapped; /* connections are to be AF_VSOCK */

void check_failed(const char *file, int line, const char *what) __attribute__((noreturn));

#define CHECK(condition)                                              \
	do {                                                          \
		if (!(condition))                                     \
			check_failed(__FILE__, __LINE__, #condition); \
	} while (0)
#define CHECK_ERROR(call, error) CHECK((call) == -1 && errno == (error))

/* A name for bind() and connect(): IPv6 where @address has a colon. */
struct name {
	struct sockaddr_storage at;
	socklen_t bytes;
};

struct name name_of(const char *address, int port);
#define NAME(name) ((const struct sockaddr *)&(name).at), (name).bytes

int port_of(int fd); /* what getsockname() says */
int port_in(const struct sockaddr_storage *name);
const char *text_of(const struct sockaddr_storage *name); /* "address", in a static buffer */

/* listen_at - a listener at any free port; @flags as socket()'s type takes them */
int listen_at(const char *address, int flags, int *port);
int connect_to(const char *address, int port); /* blocking */
/* pair_open - a connection through a listener of its own */
void pair_open(int *client, int *server);
/* carries - bytes go both ways between two ends of a connection */
void check_carries(int one, int other);
/* check_world - that a socket is what it should be: asked of the kernel itself */
void check_world(int fd, bool vsock);
void wait_for(int fd, short events); /* poll(), at most ten seconds */

typedef void check_function(void);

check_function blocking_connect, nonblocking_connect, refused, refused_later, connects_again,
	epoll_before_connect, options_follow, addressed_sends, fast_open, names_are_cut,
	receives_have_no_name, mapped_addresses, local_port_is_kept, falls_back, udp_is_untouched;
check_function accept_flags, both_worlds, both_worlds_v6, epoll_before_listen, epoll_of_listener,
	poll_of_listener, select_of_listener, blocking_accept, shared_accept, interrupted_accept,
	port_zero, own_address, nonblocking_is_hidden, listener_by_spawn, v6_only_listener,
	unbound_listener, both_families;
check_function duplicates_before_connect, duplicates_of_listener, descriptors_above_1023,
	close_range_and_companion, inherited_by_exec, listener_by_exec, close_on_exec_holds,
	passed_through_socket, listener_passed, fork_and_close;
check_function tcp_options, socket_options, tcp_info, readable_bytes, interface_ioctls, half_close,
	sends_file, splices, many_messages, time_limits, zero_copy, async_signal;

/* What a program that inherited descriptors does: the arguments behind its name. */
int inherited_main(int argc, char **argv);
extern const char *own_path;

#endif
