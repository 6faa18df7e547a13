/* SPDX-License-Identifier: Apache-2.0 */
/* Thin, restarting wrappers around the socket calls; see io.h. */
#include "lib/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/clean.h"

#define IO_LISTEN_BACKLOG 512

int io_read_full(int fd, void *to, size_t bytes)
{
	unsigned char *at = to;

	while (bytes) {
		ssize_t got = read(fd, at, bytes);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			return -EPIPE;
		at += got;
		bytes -= got;
	}
	return 0;
}

int io_write_full(int fd, const void *from, size_t bytes)
{
	const unsigned char *at = from;
	int is_socket = 1;

	while (bytes) {
		ssize_t put;

		if (is_socket)
			put = send(fd, at, bytes, MSG_NOSIGNAL);
		else
			put = write(fd, at, bytes);
		if (put < 0 && errno == ENOTSOCK && is_socket) {
			is_socket = 0;
			continue;
		}
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		at += put;
		bytes -= put;
	}
	return 0;
}

int io_set_nonblock(int fd, int on)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -errno;
	flags = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
	return fcntl(fd, F_SETFL, flags) < 0 ? -errno : 0;
}

ssize_t io_send_fds(int fd, const void *data, size_t bytes, const int *fds, size_t fd_count)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(IO_FDS_MAX * sizeof(int))];
	} control;
	struct iovec vector = { (void *)data, bytes };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };
	ssize_t sent;

	if (fd_count > IO_FDS_MAX)
		return -EINVAL;
	if (fd_count) {
		memset(&control, 0, sizeof(control));
		message.msg_control = control.space;
		message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(&control.header), fds, fd_count * sizeof(int));
	}
	do {
		sent = sendmsg(fd, &message, MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : sent;
}

/* Collects the descriptors of all control messages; more than IO_FDS_MAX are closed. */
static int io_collect_fds(struct msghdr *message, int *fds, size_t *fd_count)
{
	int excess = (message->msg_flags & MSG_CTRUNC) != 0;
	struct cmsghdr *part;

	for (part = CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR(message, part)) {
		size_t count;

		if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
			continue;
		count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int one;

			memcpy(&one, CMSG_DATA(part) + i * sizeof(int), sizeof(int));
			if (*fd_count < IO_FDS_MAX) {
				fds[(*fd_count)++] = one;
			} else {
				close(one);
				excess = 1;
			}
		}
	}
	if (!excess)
		return 0;
	while (*fd_count)
		close(fds[--*fd_count]);
	return -EPROTO;
}

ssize_t io_receive_fds(int fd, void *data, size_t bytes, int *fds, size_t *fd_count)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(IO_FDS_MAX * sizeof(int))];
	} control;
	struct iovec vector = { data, bytes };
	struct msghdr message = { .msg_iov = &vector,
				  .msg_iovlen = 1,
				  .msg_control = control.space,
				  .msg_controllen = sizeof(control.space) };
	ssize_t got;
	int status;

	*fd_count = 0;
	do {
		got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	status = io_collect_fds(&message, fds, fd_count);
	return status < 0 ? status : got;
}

static int io_unix_address(const char *path, struct sockaddr_un *address, struct error *error)
{
	if (strlen(path) >= sizeof(address->sun_path))
		return error_set(error, -ENAMETOOLONG,
				 "socket path '%s' has %zu bytes; a Unix socket takes at most %zu",
				 path, strlen(path), sizeof(address->sun_path) - 1);
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	strcpy(address->sun_path, path);
	return 0;
}

static int io_unix_connect_type(const char *path, int type, struct error *error)
{
	struct sockaddr_un address;
	autoclose int fd = -1;
	int status = io_unix_address(path, &address, error);

	if (status < 0)
		return status;
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_set(error, -errno, "no socket for '%s': %s", path, strerror(errno));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return error_set(error, -errno, "cannot connect to '%s': %s", path,
				 strerror(errno));
	return steal_fd(&fd);
}

int io_unix_connect(const char *path, struct error *error)
{
	return io_unix_connect_type(path, SOCK_STREAM, error);
}

int io_unix_connect_packets(const char *path, struct error *error)
{
	return io_unix_connect_type(path, SOCK_SEQPACKET, error);
}

/* A socket file that refuses connections is left over from a process that died. */
static int io_unix_remove_stale(const char *path, int type, struct error *error)
{
	struct stat status;
	int fd;

	if (lstat(path, &status) < 0)
		return 0;
	if (!S_ISSOCK(status.st_mode))
		return error_set(error, -EEXIST, "'%s' exists and is not a socket", path);
	fd = io_unix_connect_type(path, type, NULL);
	if (fd >= 0) {
		close(fd);
		return error_set(error, -EADDRINUSE, "somebody listens on '%s' already", path);
	}
	if (fd == -ECONNREFUSED)
		unlink(path);
	return 0;
}

static int io_unix_listen_type(const char *path, int type, mode_t mode, struct error *error)
{
	struct sockaddr_un address;
	autoclose int fd = -1;
	int status = io_unix_address(path, &address, error);

	if (status < 0)
		return status;
	status = io_unix_remove_stale(path, type, error);
	if (status < 0)
		return status;
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_set(error, -errno, "no socket for '%s': %s", path, strerror(errno));
	/* The mode is set before anybody can connect: nobody can before listen(). */
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return error_set(error, -errno, "cannot create socket '%s': %s", path,
				 strerror(errno));
	if (chmod(path, mode) < 0 || listen(fd, IO_LISTEN_BACKLOG) < 0) {
		status = error_set(error, -errno, "cannot listen on '%s': %s", path,
				   strerror(errno));
		unlink(path);
		return status;
	}
	return steal_fd(&fd);
}

int io_unix_listen(const char *path, mode_t mode, struct error *error)
{
	return io_unix_listen_type(path, SOCK_STREAM, mode, error);
}

int io_unix_listen_packets(const char *path, mode_t mode, struct error *error)
{
	return io_unix_listen_type(path, SOCK_SEQPACKET, mode, error);
}
