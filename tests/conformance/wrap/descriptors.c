/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of duplicates, inheritance and closing. */
#include "tests/conformance/wrap/harness.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

void duplicates_before_connect(void)
{
	int port, listener = listen_at("0.0.0.0", 0, &port), server;
	struct name to = name_of(ADDRESS, port);
	int fd = socket(AF_INET, SOCK_STREAM, 0), fds[6];

	fds[0] = dup(fd);
	fds[1] = dup2(fd, 70);
	fds[2] = dup3(fds[0], 71, O_CLOEXEC);
	fds[3] = fcntl(fd, F_DUPFD, 80);
	fds[4] = fcntl(fds[3], F_DUPFD_CLOEXEC, 80);
	fds[5] = dup(fd);
	close(fds[0]);
	CHECK(fds[1] == 70 && fds[2] == 71 && fds[3] >= 80 && fds[4] > fds[3]);
	CHECK(connect(fds[3], NAME(to)) == 0);
	server = accept(listener, NULL, NULL);
	for (int i = 1; i < 6; i++) {
		check_world(fds[i], wrapped);
		check_carries(fds[i], server);
		CHECK(fcntl(fds[i], F_GETFD) == (i == 2 || i == 4 ? FD_CLOEXEC : 0));
	}
	check_world(fd, wrapped);
	close(fd);
	for (int i = 1; i < 6; i++)
		CHECK(close(fds[i]) == 0);
	CHECK(read(server, &port, 1) == 0);
}

/* The last duplicate to go takes the port along, on both worlds. */
void duplicates_of_listener(void)
{
	int port, listener = listen_at("0.0.0.0", 0, &port), other = dup(listener), fd;
	struct name to = name_of(ADDRESS, port);

	CHECK(close(listener) == 0);
	fd = connect_to(ADDRESS, port);
	CHECK(accept(other, NULL, NULL) >= 0);
	close(fd);
	CHECK(dup2(other, 90) == 90 && close(other) == 0);
	fd = connect_to(ADDRESS, port);
	CHECK(accept(90, NULL, NULL) >= 0);
	close(fd);
	CHECK(dup2(STDIN_FILENO, 90) == 90); /* closes it */
	fd = socket(AF_INET, SOCK_STREAM, 0);
	CHECK_ERROR(connect(fd, NAME(to)), ECONNREFUSED);
}

void descriptors_above_1023(void)
{
	struct rlimit limit = { 4096, 4096 };
	int port, listener, server, fd;
	struct name to;

	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	listener = fcntl(listen_at("0.0.0.0", 0, &port), F_DUPFD, 3000);
	fd = fcntl(socket(AF_INET, SOCK_STREAM, 0), F_DUPFD, 2000);
	to = name_of(ADDRESS, port);
	CHECK(fd >= 2000 && connect(fd, NAME(to)) == 0);
	check_world(fd, wrapped);
	wait_for(listener, POLLIN);
	server = fcntl(accept(listener, NULL, NULL), F_DUPFD, 3500);
	CHECK(server >= 3500);
	check_carries(fd, server);
}

/* Closing all numbers but one's own leaves the listener whole; so does marking them. */
void close_range_and_companion(void)
{
	int port, listener = listen_at("0.0.0.0", 0, &port), fd, server;

	CHECK(dup2(listener, 50) == 50);
	CHECK(close_range(51, ~0u, 0) == 0);
	CHECK(close_range(3, 49, 0) == 0);
	fd = connect_to(ADDRESS, port);
	server = accept(50, NULL, NULL);
	CHECK(server >= 0);
	check_world(server, wrapped);
	close(server);
	close(fd);
	closefrom(51);
	for (fd = 51; fd < 1024; fd++)
		CHECK_ERROR(close(fd), EBADF);
	fd = connect_to(ADDRESS, port);
	CHECK((server = accept(50, NULL, NULL)) >= 0);
	close(server);
	close(fd);
	CHECK(close_range(3, ~0u, 0) == 0);
	struct name to = name_of(ADDRESS, port);

	fd = socket(AF_INET, SOCK_STREAM, 0);
	CHECK_ERROR(connect(fd, NAME(to)), ECONNREFUSED);
}

/* Run this program anew with descriptors of this one; its status. */
static int run_inherited(const char *what, int fd)
{
	char number[16];
	int status;
	pid_t child;

	snprintf(number, sizeof(number), "%d", fd);
	child = fork();
	if (child == 0) {
		execl(own_path, own_path, "inherited", wrapped ? "vsock" : "tcp", what, number,
		      NULL);
		_exit(126);
	}
	CHECK(waitpid(child, &status, 0) == child);
	return status;
}

int inherited_main(int argc, char **argv)
{
	struct sockaddr_storage name;
	socklen_t bytes = sizeof(name);
	int fd = argc == 3 ? atoi(argv[2]) : -1, taken;

	wrapped = argc == 3 && !strcmp(argv[0], "vsock");
	alarm(30);
	if (!strcmp(argv[1], "connection")) {
		check_world(fd, wrapped);
		CHECK(getpeername(fd, (struct sockaddr *)&name, &bytes) == 0);
		CHECK(name.ss_family == AF_INET && !strcmp(text_of(&name), ADDRESS));
		CHECK(write(fd, "from exec", 9) == 9);
	} else if (!strcmp(argv[1], "listener")) {
		int seen[2] = { 0 };

		/* One connection of each world waits. */
		for (int i = 0; i < 2; i++) {
			wait_for(fd, POLLIN);
			CHECK((taken = accept(fd, (struct sockaddr *)&name, &bytes)) >= 0);
			CHECK(name.ss_family == AF_INET);
			seen[!strcmp(text_of(&name), ADDRESS)]++;
		}
		CHECK(seen[0] == 1 && seen[1] == 1);
	} else {
		CHECK_ERROR(fcntl(fd, F_GETFD), EBADF);
		for (taken = 3; taken < 1024; taken++) {
			struct stat status;

			CHECK(fstat(taken, &status) < 0 || !S_ISSOCK(status.st_mode));
		}
	}
	return 0;
}

void inherited_by_exec(void)
{
	int client, server;
	char text[9];

	pair_open(&client, &server);
	CHECK(run_inherited("connection", client) == 0);
	CHECK(recv(server, text, 9, MSG_WAITALL) == 9 && !memcmp(text, "from exec", 9));
}

void listener_by_exec(void)
{
	int port, listener = listen_at("0.0.0.0", 0, &port);

	close(connect_to(ADDRESS, port));
	close(connect_to("127.0.0.1", port));
	CHECK(run_inherited("listener", listener) == 0);
}

void close_on_exec_holds(void)
{
	int port, listener = listen_at("0.0.0.0", SOCK_CLOEXEC, &port), other;

	closefrom(listener + 1);
	CHECK(run_inherited("nothing", listener) == 0);
	/* Marked later, and all at once. */
	close(listener);
	listener = listen_at("0.0.0.0", 0, &port);
	CHECK(fcntl(listener, F_SETFD, FD_CLOEXEC) == 0);
	CHECK(run_inherited("nothing", listener) == 0);
	CHECK(fcntl(listener, F_SETFD, 0) == 0);
	CHECK(close_range(3, ~0u, CLOSE_RANGE_CLOEXEC) == 0);
	CHECK(run_inherited("nothing", listener) == 0);
	/* One of two duplicates is enough to keep it. */
	other = dup(listener);
	close(connect_to(ADDRESS, port));
	close(connect_to("127.0.0.1", port));
	CHECK(run_inherited("listener", other) == 0);
}

static void send_descriptor(int through, int fd)
{
	char room[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec part = { "x", 1 };
	struct msghdr message = { .msg_iov = &part,
				  .msg_iovlen = 1,
				  .msg_control = room,
				  .msg_controllen = sizeof(room) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	CHECK(sendmsg(through, &message, 0) == 1);
}

static int receive_descriptor(int through)
{
	char room[CMSG_SPACE(sizeof(int))], byte;
	struct iovec part = { &byte, 1 };
	struct msghdr message = { .msg_iov = &part,
				  .msg_iovlen = 1,
				  .msg_control = room,
				  .msg_controllen = sizeof(room) };
	int fd;

	CHECK(recvmsg(through, &message, 0) == 1 && CMSG_FIRSTHDR(&message));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
	return fd;
}

void passed_through_socket(void)
{
	int client, server, ends[2], status, port;
	struct sockaddr_storage name;
	socklen_t bytes = sizeof(name);

	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
	if (fork() == 0) {
		int fd = receive_descriptor(ends[1]);

		CHECK(getpeername(fd, (struct sockaddr *)&name, &bytes) == 0);
		CHECK(name.ss_family == AF_INET && !strcmp(text_of(&name), ADDRESS));
		bytes = sizeof(port);
		CHECK(getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &port, &bytes) == 0);
		CHECK(port == AF_INET && write(fd, "y", 1) == 1);
		_exit(0);
	}
	pair_open(&client, &server);
	send_descriptor(ends[0], client);
	CHECK(wait(&status) > 0 && status == 0);
	CHECK(read(server, &bytes, 1) == 1);
}

/* A listener in another process serves TCP; its vsock port ends with the first process's. */
void listener_passed(void)
{
	int port, listener = listen_at("0.0.0.0", 0, &port), ends[2], status;

	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
	if (fork() == 0) {
		close(listener);
		listener = receive_descriptor(ends[1]);
		CHECK(write(ends[1], "x", 1) == 1);
		for (int i = 0; i < 2; i++)
			CHECK(accept(listener, NULL, NULL) >= 0);
		_exit(0);
	}
	send_descriptor(ends[0], listener);
	CHECK(close(listener) == 0 && read(ends[0], &status, 1) == 1);
	check_world(connect_to(ADDRESS, port), false);
	check_world(connect_to("127.0.0.1", port), false);
	CHECK(wait(&status) > 0 && status == 0);
}

/* A server that forks: the child serves, the parent goes on, and both close what they need not. */
void fork_and_close(void)
{
	int port, listener = listen_at("0.0.0.0", 0, &port);

	for (int turn = 0; turn < 4; turn++) {
		int fd = connect_to(turn % 2 ? "127.0.0.1" : ADDRESS, port), status;
		int server = accept(listener, NULL, NULL);
		char text[4];

		if (fork() == 0) {
			CHECK(close(listener) == 0);
			CHECK(read(server, text, 4) == 4 && write(server, text, 4) == 4);
			_exit(0);
		}
		close(server);
		CHECK(write(fd, "ping", 4) == 4 && recv(fd, text, 4, MSG_WAITALL) == 4);
		CHECK(read(fd, text, 1) == 0);
		CHECK(wait(&status) > 0 && status == 0);
		close(fd);
	}
}
