/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replies, the worker's other messages, and device printf's text.
 *
 * reply_lock makes each message whole, with its bulk. The worker's standard output is a memfd that
 * the driver prints into; what is new there is sent before the reply of a call that settles, and
 * its pages are given back.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cuda/server/worker.h"

static pthread_mutex_t reply_lock = PTHREAD_MUTEX_INITIALIZER;

static struct {
	int fd;	    /* -1: standard output is not caught */
	off_t sent; /* under reply_lock */
} print = { .fd = -1 };

void worker_reply_lock(void)
{
	pthread_mutex_lock(&reply_lock);
}

void worker_reply_unlock(void)
{
	pthread_mutex_unlock(&reply_lock);
}

int worker_reply_send(struct worker_call *call, CUresult result)
{
	size_t block = result ? 0 : worker_rows[call->request.call].reply_bytes;
	size_t payload_bytes = block + cuda_wire_pad((uint32_t)call->reply_tail_bytes);
	const struct cuda_wire_reply reply = {
		.bytes = (uint32_t)(sizeof(reply) + payload_bytes),
		.kind = CUDA_WIRE_REPLY,
		.sequence = call->request.sequence,
		.result = result,
	};
	void *at;
	int error;

	worker_reply_lock();
	error = link_reserve(worker_link, reply.bytes, &at);
	if (!error) {
		memcpy(at, &reply, sizeof(reply));
		memcpy((unsigned char *)at + sizeof(reply), call->reply, payload_bytes);
		error = link_commit(worker_link, reply.bytes);
	}
	if (!error)
		error = link_flush(worker_link);
	worker_reply_unlock();
	return error;
}

int worker_host_function_send(uint64_t id)
{
	const struct {
		struct cuda_wire_reply reply;
		uint64_t id;
	} message = { { .bytes = sizeof(message), .kind = CUDA_WIRE_HOST_FUNCTION }, id };
	int error;

	worker_reply_lock();
	error = link_write(worker_link, &message, sizeof(message));
	if (!error)
		error = link_flush(worker_link);
	worker_reply_unlock();
	return error;
}

int worker_print_open(void)
{
	int fd = memfd_create("device-printf", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (dup2(fd, STDOUT_FILENO) < 0 || fcntl(STDOUT_FILENO, F_SETFL, O_APPEND) < 0) {
		int error = -errno;

		close(fd);
		return error;
	}
	print.fd = fd;
	return 0;
}

/* print_piece - one message of text; under reply_lock */
static int print_piece(uint32_t sequence, uint64_t bytes)
{
	struct {
		struct cuda_wire_reply reply;
		uint64_t bytes;
	} head = { { .bytes = (uint32_t)sizeof(head) + cuda_wire_pad((uint32_t)bytes),
		     .kind = CUDA_WIRE_PRINT,
		     .sequence = sequence },
		   bytes };
	unsigned char *text;
	void *at;
	int error = link_reserve(worker_link, head.reply.bytes, &at);

	if (error)
		return error;
	memset(at, 0, head.reply.bytes);
	memcpy(at, &head, sizeof(head));
	text = (unsigned char *)at + sizeof(head);
	if (pread(print.fd, text, bytes, print.sent) != (ssize_t)bytes)
		memset(text, '?', bytes);
	print.sent += (off_t)bytes;
	return link_commit(worker_link, head.reply.bytes);
}

void worker_print_send(uint32_t sequence)
{
	struct stat facts;
	off_t before;
	int error = 0;

	if (print.fd < 0)
		return;
	fflush(stdout);
	if (fstat(print.fd, &facts) ||
	    facts.st_size == __atomic_load_n(&print.sent, __ATOMIC_RELAXED))
		return;
	worker_reply_lock();
	before = print.sent;
	while (!error && print.sent < facts.st_size) {
		off_t left = facts.st_size - print.sent;

		error = print_piece(sequence, left < (off_t)CUDA_WIRE_PRINT_BYTES_MAX
						      ? (uint64_t)left
						      : CUDA_WIRE_PRINT_BYTES_MAX);
	}
	if (print.sent > before)
		fallocate(print.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, before,
			  print.sent - before);
	worker_reply_unlock();
}
