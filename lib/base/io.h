/* SPDX-License-Identifier: Apache-2.0 */
/*
 * File descriptors and Unix sockets: whole reads and writes, descriptors over a socket, and
 * the two ways to open a Unix socket. All return -errno; interrupted calls are repeated.
 */
#ifndef CAUSEWAY_LIB_BASE_IO_H
#define CAUSEWAY_LIB_BASE_IO_H

#include <stddef.h>
#include <sys/types.h>

#include "lib/base/error.h"

#define IO_FDS_MAX 16 /* descriptors that one message may carry here */

/* io_read_full - exactly @bytes bytes; 0, -EPIPE when the stream ends before, or -errno */
int io_read_full(int fd, void *to, size_t bytes);

/* io_write_full - all of it, never raising SIGPIPE on a socket; 0 or -errno (-EPIPE) */
int io_write_full(int fd, const void *from, size_t bytes);

/* io_set_nonblock - switch O_NONBLOCK */
int io_set_nonblock(int fd, int on);

/**
 * io_send_fds - one message with descriptors on a Unix socket
 *
 * The descriptors stay the caller's. Return: bytes sent (may be short on a stream) or -errno.
 */
ssize_t io_send_fds(int fd, const void *data, size_t bytes, const int *fds, size_t fd_count);

/**
 * io_receive_fds - one recvmsg() with room for descriptors
 * @fds: array of IO_FDS_MAX; received descriptors are close-on-exec and the caller's
 * @fd_count: out, how many came
 *
 * Return: bytes received, 0 at the end of the stream, or -errno; -EPROTO when the peer sent more
 * descriptors than IO_FDS_MAX (all are closed then).
 */
ssize_t io_receive_fds(int fd, void *data, size_t bytes, int *fds, size_t *fd_count);

/**
 * io_unix_listen - a listening, close-on-exec, non-blocking Unix stream socket
 * @path: at most 107 bytes; a stale socket file (nobody listens) is replaced, a live one is not
 * @mode: permission bits of the file
 *
 * Return: the descriptor, or -errno with the sentence in @error; -EADDRINUSE when someone listens.
 */
int io_unix_listen(const char *path, mode_t mode, struct error *error);
/* io_unix_listen_packets - the same for a socket that keeps messages apart (SOCK_SEQPACKET) */
int io_unix_listen_packets(const char *path, mode_t mode, struct error *error);

/* io_unix_connect - a connected, close-on-exec, blocking Unix stream socket, or -errno */
int io_unix_connect(const char *path, struct error *error);
/* io_unix_connect_packets - the same for a socket of messages */
int io_unix_connect_packets(const char *path, struct error *error);

#endif
