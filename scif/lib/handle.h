/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An endpoint of this process: its socket to scifd, its rings, what it registered and mapped.
 *
 * Handles are found by descriptor (handle_find) and counted. Of the threads that wait for answers
 * on one socket one reads, and hands each answer to whom it is for (handle_call). Everything here
 * works with plain calls of libc, in other people's processes: no thread, no signal handler.
 *
 * Locks: handles_lock (table), then none. handle->lock: the waiters, ->reading, ->own_fd. ->attach:
 * rings, windows. ->locks: held over a whole send and recv, as a driver does, by one thread of all
 * processes that have the endpoint.
 *
 * Forks (fork.c). A child has its parent's endpoints. The descriptor that both have keeps the
 * endpoint alive, but answers on it are the parent's: the child's first call makes a socket of its
 * own (->own_fd) that joins the endpoint. Closing then ends this process's calls and no more;
 * scifd sees the end of the endpoint when the last process has closed the descriptor.
 */
#ifndef CAUSEWAY_SCIF_LIB_HANDLE_H
#define CAUSEWAY_SCIF_LIB_HANDLE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "lib/base/spin.h"
#include "proto/scif-local.h"

/* An answer that a thread waits for. */
struct waiter {
	TAILQ_ENTRY(waiter) link;
	uint32_t tag;
	bool done;
	struct scif_local_reply reply;
	unsigned char *payload; /* room of SCIF_LOCAL_PAYLOAD_BYTES, or NULL */
	size_t payload_bytes;
	int fds[SCIF_LOCAL_FDS_MAX];
	unsigned int fd_count;
};

TAILQ_HEAD(waiter_list, waiter);

/* A registered range whose memory is a memfd of ours. */
struct window {
	TAILQ_ENTRY(window) link;
	uint64_t offset, bytes;
	struct shared *shared;
};

TAILQ_HEAD(window_list, window);

/* In memory that children share. */
struct stream_locks {
	pthread_mutex_t sending, receiving;
};

struct handle {
	atomic_uint holders;
	int fd;		  /* the program's */
	int own_fd;	  /* this process's socket to an endpoint that it inherited; -1 */
	bool inherited;	  /* so ->own_fd must be made before a call */
	bool shared;	  /* others may have the endpoint, too */
	uint64_t session; /* what it takes to join */
	uint64_t key;
	pthread_mutex_t lock;
	struct waiter_list waiters;
	bool reading;
	uint32_t changes; /* futex: an answer was handed over, or nobody reads any more */
	uint32_t next_tag;
	atomic_bool dead; /* scifd is gone */

	pthread_mutex_t attach;
	struct scif_ring *own, *peer; /* mapped; NULL until known */
	int wake_fd;		      /* wakes the peer's owner where that is no process */
	struct window_list windows;

	struct stream_locks *locks;
	struct spin send_spin, receive_spin;
};

/* handle_open - a fresh endpoint; its descriptor, or -errno */
int handle_open(void);
/* handle_socket_path - where scifd is to be found */
void handle_socket_path(char *path, size_t bytes);
/* handle_find - held, or NULL for a descriptor that is no endpoint */
struct handle *handle_find(int fd);
void handle_hold(struct handle *handle);
void handle_put(struct handle *handle);
/* handle_forget - the descriptor is the handle's no more; -EBADF */
int handle_forget(int fd, struct handle **handle);

/**
 * handle_call - one call and its answer
 * @fd: travels along, -1 without; stays the caller's
 * @waiter: filled; descriptors that came are the caller's. payload is the caller's room.
 *
 * Return: the answer's status: 0 or -errno; -ECONNRESET when scifd is gone.
 */
int handle_call(struct handle *handle, struct scif_local_request *request, int fd,
		struct waiter *waiter);

/* fork.c: before and after a fork, what each file has is locked and let go, or made the child's */
void fork_watch(void);
void handles_freeze(void);
void handles_thaw(void);
void handles_inherit(void);
void mappings_freeze(void);
void mappings_thaw(void);
void mappings_forget(void);
void memory_freeze(void);
void memory_thaw(void);

/* stream.c */
/* handle_attach - map the rings that there are; 0 or -errno */
int handle_attach(struct handle *handle);
/* handle_detach - forget the rings: the handle is another endpoint now */
void handle_detach(struct handle *handle);

/* memory.c */
/* memory_share - the range as a part of a memfd: 1 with descriptor and place, 0 when it cannot be,
 * -EFAULT where nothing is mapped, -errno. The shared object is counted for the caller. */
int memory_share(void *address, size_t bytes, struct shared **shared, uint64_t *file_offset);
int memory_fd(const struct shared *shared);
void memory_put(struct shared *shared);

#endif
