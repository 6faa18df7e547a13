/* SPDX-License-Identifier: Apache-2.0 */
/* Endpoints by descriptor, and calls over their sockets; see handle.h. */
#include "scif/lib/handle.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/io.h"

#define HANDLE_TABLE_STEP 256

static pthread_mutex_t handles_lock = PTHREAD_MUTEX_INITIALIZER;
static struct handle **handles;
static int handles_room;

void handle_hold(struct handle *handle)
{
	atomic_fetch_add(&handle->holders, 1);
}

void handle_put(struct handle *handle)
{
	struct window *window;

	if (!handle || atomic_fetch_sub(&handle->holders, 1) != 1)
		return;
	handle_detach(handle);
	while ((window = TAILQ_FIRST(&handle->windows))) {
		TAILQ_REMOVE(&handle->windows, window, link);
		memory_put(window->shared);
		free(window);
	}
	if (handle->fd >= 0)
		close(handle->fd);
	if (handle->own_fd >= 0)
		close(handle->own_fd);
	if (handle->locks)
		munmap(handle->locks, sizeof(*handle->locks));
	free(handle);
}

struct handle *handle_find(int fd)
{
	struct handle *handle = NULL;

	pthread_mutex_lock(&handles_lock);
	if (fd >= 0 && fd < handles_room && handles[fd]) {
		handle = handles[fd];
		handle_hold(handle);
	}
	pthread_mutex_unlock(&handles_lock);
	return handle;
}

int handle_forget(int fd, struct handle **handle)
{
	*handle = NULL;
	pthread_mutex_lock(&handles_lock);
	if (fd >= 0 && fd < handles_room) {
		*handle = handles[fd];
		handles[fd] = NULL;
	}
	pthread_mutex_unlock(&handles_lock);
	return *handle ? 0 : -EBADF;
}

/* Enters the handle; one that was left at that descriptor (a plain close) is forgotten. */
static int handle_enter(struct handle *handle)
{
	struct handle *stale = NULL;
	int status = 0;

	pthread_mutex_lock(&handles_lock);
	if (handle->fd >= handles_room) {
		int room = handle->fd + HANDLE_TABLE_STEP;
		struct handle **larger = realloc(handles, (size_t)room * sizeof(larger[0]));

		if (larger) {
			memset(larger + handles_room, 0,
			       (size_t)(room - handles_room) * sizeof(larger[0]));
			handles = larger;
			handles_room = room;
		} else {
			status = -ENOMEM;
		}
	}
	if (status == 0) {
		stale = handles[handle->fd];
		handles[handle->fd] = handle;
	}
	pthread_mutex_unlock(&handles_lock);
	if (stale)
		stale->fd = -1; /* closed already, and the number is another's */
	handle_put(stale);
	return status;
}

void handle_socket_path(char *path, size_t bytes)
{
	const char *chosen = getenv("CAUSEWAY_SCIF_SOCKET");
	const char *runtime = geteuid() ? getenv("XDG_RUNTIME_DIR") : NULL;

	if (chosen)
		snprintf(path, bytes, "%s", chosen);
	else
		snprintf(path, bytes, "%s/causeway/scif.sock", runtime ? runtime : "/run");
}

void handles_freeze(void)
{
	pthread_mutex_lock(&handles_lock);
}

void handles_thaw(void)
{
	for (int i = 0; i < handles_room; i++) {
		if (handles[i])
			handles[i]->shared = true;
	}
	pthread_mutex_unlock(&handles_lock);
}

void handles_inherit(void)
{
	for (int i = 0; i < handles_room; i++) {
		struct handle *handle = handles[i];

		if (!handle)
			continue;
		handle->holders = 1;
		handle->inherited = handle->shared = true;
		pthread_mutex_init(&handle->lock, NULL);
		pthread_mutex_init(&handle->attach, NULL);
		TAILQ_INIT(&handle->waiters);
		handle->reading = false;
		if (handle->own_fd >= 0)
			close(handle->own_fd); /* the parent's, which was a child itself */
		handle->own_fd = -1;
	}
	pthread_mutex_unlock(&handles_lock);
}

/* Locks that children share, and that tell when their owner dies; NULL without memory. */
static struct stream_locks *handle_make_locks(void)
{
	struct stream_locks *locks = mmap(NULL, sizeof(*locks), PROT_READ | PROT_WRITE,
					  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_t kind;

	if (locks == MAP_FAILED)
		return NULL;
	pthread_mutexattr_init(&kind);
	pthread_mutexattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&locks->sending, &kind);
	pthread_mutex_init(&locks->receiving, &kind);
	pthread_mutexattr_destroy(&kind);
	return locks;
}

/* Where processes may look into others' memory only when these allow it, allow scifd. */
static void handle_allow_daemon(int fd)
{
	struct ucred daemon;
	socklen_t bytes = sizeof(daemon);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &daemon, &bytes) == 0)
		prctl(PR_SET_PTRACER, (unsigned long)daemon.pid, 0, 0, 0);
}

int handle_open(void)
{
	struct scif_local_request hello = {
		.request = { .call = SCIF_LOCAL_HELLO, .flags = SCIF_LOCAL_VERSION },
	};
	struct handle *handle = calloc(1, sizeof(*handle));
	struct waiter waiter = { 0 };
	char path[PATH_MAX];
	int status;

	if (!handle)
		return -ENOMEM;
	fork_watch();
	handle->holders = 1;
	handle->fd = handle->own_fd = handle->wake_fd = -1;
	handle->send_spin.limit_ns = handle->receive_spin.limit_ns = 50000;
	pthread_mutex_init(&handle->lock, NULL);
	pthread_mutex_init(&handle->attach, NULL);
	TAILQ_INIT(&handle->waiters);
	TAILQ_INIT(&handle->windows);
	handle->locks = handle_make_locks();
	handle_socket_path(path, sizeof(path));
	status = handle->locks ? io_unix_connect_packets(path, NULL) : -ENOMEM;
	if (status >= 0) {
		handle->fd = status;
		handle_allow_daemon(handle->fd);
		status = handle_call(handle, &hello, -1, &waiter);
	}
	if (status == 0) {
		handle->session = waiter.reply.reply.value[1];
		handle->key = waiter.reply.reply.value[2];
		status = handle_enter(handle);
	}
	if (status < 0) {
		handle_put(handle);
		return status;
	}
	return handle->fd;
}

/* The socket on which this process's answers come. */
static int handle_socket(const struct handle *handle)
{
	return handle->own_fd >= 0 ? handle->own_fd : handle->fd;
}

/* A socket of this process's own to an endpoint that it inherited; 0 or -errno. handle->lock. */
static int handle_join(struct handle *handle)
{
	const struct scif_local_request join = {
		.request = { .call = SCIF_LOCAL_JOIN, .flags = SCIF_LOCAL_VERSION, .tag = 1 },
		.address = handle->session,
		.file_offset = handle->key,
	};
	struct scif_local_reply reply = { 0 };
	struct sockaddr_un daemon = { 0 };
	socklen_t bytes = sizeof(daemon) - 1;
	int fd, status = -ECONNRESET;

	if (getpeername(handle->fd, (struct sockaddr *)&daemon, &bytes) < 0)
		return status;
	fd = io_unix_connect_packets(daemon.sun_path, NULL);
	if (fd < 0)
		return status;
	handle_allow_daemon(fd);
	if (send(fd, &join, sizeof(join), MSG_NOSIGNAL) == sizeof(join)) {
		do
			status = (int)recv(fd, &reply, sizeof(reply), 0);
		while (status < 0 && errno == EINTR);
		status = status == sizeof(reply) ? (int32_t)reply.reply.status : -ECONNRESET;
	}
	if (status < 0) {
		close(fd);
		return status;
	}
	handle->own_fd = fd;
	handle->inherited = false;
	return 0;
}

/* Sends one message; waits for room where the socket has none. */
static int handle_send(struct handle *handle, const struct scif_local_request *request, int fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct scif_local_request sent = *request;
	unsigned int used = scif_virtio_used_bytes(request->request.call);
	struct iovec part = { &sent, sizeof(sent) };
	struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1 };

	memset(sent.request.bytes + used, 0, sizeof(sent.request.bytes) - used);
	if (fd >= 0) {
		header.msg_control = &control;
		header.msg_controllen = sizeof(control);
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(sizeof(fd));
		memcpy(CMSG_DATA(&control.align), &fd, sizeof(fd));
	}
	for (;;) {
		struct pollfd room = { .fd = handle_socket(handle), .events = POLLOUT };

		if (sendmsg(room.fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
			return 0;
		if (errno == EAGAIN)
			poll(&room, 1, -1);
		else if (errno != EINTR)
			return -ECONNRESET;
	}
}

static void handle_changed(struct handle *handle)
{
	__atomic_fetch_add(&handle->changes, 1, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &handle->changes, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static void handle_take_fds(struct msghdr *header, struct waiter *waiter)
{
	for (struct cmsghdr *item = CMSG_FIRSTHDR(header); item; item = CMSG_NXTHDR(header, item)) {
		size_t count = (item->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(item) + i * sizeof(fd), sizeof(fd));
			if (waiter && waiter->fd_count < SCIF_LOCAL_FDS_MAX)
				waiter->fds[waiter->fd_count++] = fd;
			else
				close(fd);
		}
	}
}

/* One message, if there is any, to whom it is for. Called by the one that reads, with the lock. */
static void handle_receive(struct handle *handle)
{
	union {
		char bytes[CMSG_SPACE(SCIF_LOCAL_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct scif_local_reply reply;
	unsigned char payload[SCIF_LOCAL_PAYLOAD_BYTES];
	struct iovec parts[2] = { { &reply, sizeof(reply) }, { payload, sizeof(payload) } };
	struct msghdr header = { .msg_iov = parts,
				 .msg_iovlen = 2,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control) };
	ssize_t got = recvmsg(handle_socket(handle), &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct waiter *waiter;

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got < (ssize_t)sizeof(reply)) {
		handle->dead = true;
		return;
	}
	TAILQ_FOREACH(waiter, &handle->waiters, link)
	{
		if (waiter->tag == reply.tag && !waiter->done)
			break;
	}
	handle_take_fds(&header, waiter);
	if (!waiter)
		return; /* of a CANCEL, which nobody waits for */
	waiter->reply = reply;
	waiter->payload_bytes = (size_t)got - sizeof(reply);
	if (waiter->payload)
		memcpy(waiter->payload, payload, waiter->payload_bytes);
	waiter->done = true;
}

/* Waits for something to happen, as reader or behind one. True when a signal ended it. */
static bool handle_wait(struct handle *handle)
{
	bool interrupted = false;

	if (handle->reading) {
		/* With a limit, so that a signal handler always ends it; it never passes. */
		const struct timespec limit = { 3600 * 24, 0 };
		uint32_t seen = handle->changes;

		pthread_mutex_unlock(&handle->lock);
		interrupted = syscall(SYS_futex, &handle->changes, FUTEX_WAIT_PRIVATE, seen, &limit,
				      NULL, 0) < 0 &&
			      errno == EINTR;
		pthread_mutex_lock(&handle->lock);
	} else {
		struct pollfd answer = { .fd = handle_socket(handle), .events = POLLIN };

		handle->reading = true;
		pthread_mutex_unlock(&handle->lock);
		interrupted = poll(&answer, 1, -1) < 0 && errno == EINTR;
		pthread_mutex_lock(&handle->lock);
		if (!interrupted)
			handle_receive(handle);
		handle->reading = false;
		handle_changed(handle);
	}
	return interrupted;
}

static void handle_cancel(struct handle *handle, uint32_t tag)
{
	struct scif_local_request cancel = {
		.request = { .call = SCIF_VIRTIO_CANCEL, .cancel.tag = tag },
	};

	handle_send(handle, &cancel, -1);
}

int handle_call(struct handle *handle, struct scif_local_request *request, int fd,
		struct waiter *waiter)
{
	bool cancelled = false;
	int status;

	waiter->done = false;
	waiter->fd_count = 0;
	pthread_mutex_lock(&handle->lock);
	status = handle->inherited ? handle_join(handle) : 0;
	if (status < 0) {
		pthread_mutex_unlock(&handle->lock);
		return status;
	}
	if (++handle->next_tag == 0)
		handle->next_tag++;
	waiter->tag = request->request.tag = handle->next_tag;
	TAILQ_INSERT_TAIL(&handle->waiters, waiter, link);
	pthread_mutex_unlock(&handle->lock);
	status = handle_send(handle, request, fd);
	pthread_mutex_lock(&handle->lock);
	while (status == 0 && !waiter->done && !handle->dead) {
		if (!handle_wait(handle) || cancelled || waiter->done)
			continue;
		cancelled = true;
		pthread_mutex_unlock(&handle->lock);
		handle_cancel(handle, waiter->tag);
		pthread_mutex_lock(&handle->lock);
	}
	TAILQ_REMOVE(&handle->waiters, waiter, link);
	pthread_mutex_unlock(&handle->lock);
	if (!waiter->done)
		return -ECONNRESET;
	return (int32_t)waiter->reply.reply.status;
}
