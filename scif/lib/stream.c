/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages and poll: bytes move through the rings in shared memory, scifd is not asked.
 *
 * A wait is for anything that may have changed (see proto/scif-local.h): look, spin, look, sleep on
 * the own ring's sequence; every STREAM_ALIVE_S a sleeper asks its socket whether scifd still
 * lives, which would tell of a peer's death. The peer's numbers are reduced modulo the size, so a
 * peer that writes nonsense garbles its own stream and no more.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "include/scif.h"
#include "scif/lib/device.h"
#include "scif/lib/handle.h"

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif
#define STREAM_WAITV_MAX 128u
#define STREAM_FUTEX_32	 2u
#define STREAM_LIMIT_S	 (3600 * 24)
#define STREAM_ALIVE_S	 2
#define STREAM_LOOK_MS	 20 /* between looks, beyond what the kernel waits for at once */

/* Of <linux/futex.h>, which older ones lack. */
struct stream_futex {
	uint64_t value, address;
	uint32_t flags, reserved;
};

static struct scif_ring *stream_map(int fd)
{
	void *memory = mmap(NULL, SCIF_RING_FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

void handle_detach(struct handle *handle)
{
	if (handle->own)
		munmap(handle->own, SCIF_RING_FILE_BYTES);
	if (handle->peer)
		munmap(handle->peer, SCIF_RING_FILE_BYTES);
	if (handle->wake_fd >= 0)
		close(handle->wake_fd);
	handle->own = handle->peer = NULL;
	handle->wake_fd = -1;
}

/* Takes what ATTACH answered. The rings once mapped stay. */
static int stream_take(struct handle *handle, struct waiter *waiter)
{
	const __le64 *value = waiter->reply.reply.value;
	unsigned int expected = 1 + (value[0] == 1) + (value[1] == 1);
	int status = waiter->fd_count == expected ? 0 : -EPROTO;

	if (status == 0 && !handle->own) {
		handle->own = stream_map(waiter->fds[0]);
		status = handle->own ? 0 : -ENOMEM;
	}
	if (status == 0 && value[0] == 1 && !handle->peer) {
		struct scif_ring *peer = stream_map(waiter->fds[1]);

		status = peer ? 0 : -ENOMEM;
		if (value[1] == 1 && peer) {
			handle->wake_fd = waiter->fds[2];
			waiter->fds[2] = -1;
		}
		__atomic_store_n(&handle->peer, peer, __ATOMIC_RELEASE);
	}
	for (unsigned int i = 0; i < waiter->fd_count; i++) {
		if (waiter->fds[i] >= 0)
			close(waiter->fds[i]);
	}
	return status;
}

int handle_attach(struct handle *handle)
{
	struct scif_local_request request = { .request.call = SCIF_LOCAL_ATTACH };
	struct waiter waiter = { 0 };
	int status;

	if (__atomic_load_n(&handle->peer, __ATOMIC_ACQUIRE))
		return 0;
	pthread_mutex_lock(&handle->attach);
	status = handle_call(handle, &request, -1, &waiter);
	if (status == 0)
		status = stream_take(handle, &waiter);
	pthread_mutex_unlock(&handle->attach);
	return status;
}

static size_t stream_used(const struct scif_ring *ring)
{
	uint32_t head = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE);
	uint32_t tail = __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);

	return (head - tail) & (SCIF_RING_BYTES - 1);
}

static uint32_t stream_state(const struct scif_ring *ring)
{
	return __atomic_load_n(&ring->state, __ATOMIC_ACQUIRE);
}

static bool stream_is_connected(const struct handle *handle)
{
	return !handle->dead && stream_state(handle->own) == SCIF_RING_CONNECTED;
}

/* Notes that scifd is gone, if it is. */
static void stream_check_daemon(struct handle *handle)
{
	struct pollfd daemon = { .fd = handle->fd };

	if (poll(&daemon, 1, 0) > 0 && (daemon.revents & (POLLHUP | POLLERR)))
		handle->dead = true;
}

/* Tells the peer's owner that its ring, or ours, changed. */
static void stream_wake(struct handle *handle)
{
	static const uint64_t one = 1;
	struct scif_ring *peer = handle->peer;

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&peer->waiting, __ATOMIC_RELAXED))
		return;
	__atomic_store_n(&peer->waiting, 0, __ATOMIC_RELAXED);
	__atomic_fetch_add(&peer->sequence, 1, __ATOMIC_SEQ_CST);
	if (handle->wake_fd < 0)
		syscall(SYS_futex, &peer->sequence, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	else if (write(handle->wake_fd, &one, sizeof(one)) < 0)
		return; /* full: it is awake */
}

static unsigned char *stream_bytes(struct scif_ring *ring)
{
	return (unsigned char *)ring + SCIF_RING_HEADER_BYTES;
}

/* Copies between a ring from @at on and memory, around the ring's end. */
static void stream_copy(struct scif_ring *ring, uint32_t at, unsigned char *memory, size_t bytes,
			bool in)
{
	size_t first = SCIF_RING_BYTES - at;

	if (first > bytes)
		first = bytes;
	if (in) {
		memcpy(stream_bytes(ring) + at, memory, first);
		memcpy(stream_bytes(ring), memory + first, bytes - first);
	} else {
		memcpy(memory, stream_bytes(ring) + at, first);
		memcpy(memory + first, stream_bytes(ring), bytes - first);
	}
}

static size_t stream_put(struct handle *handle, const unsigned char *from, size_t bytes)
{
	struct scif_ring *ring = handle->peer;
	uint32_t head = __atomic_load_n(&ring->head, __ATOMIC_RELAXED) & (SCIF_RING_BYTES - 1);
	size_t room = SCIF_RING_BYTES - 1 - stream_used(ring);

	if (bytes > room)
		bytes = room;
	if (!bytes)
		return 0;
	stream_copy(ring, head, (unsigned char *)from, bytes, true);
	__atomic_store_n(&ring->head, (head + (uint32_t)bytes) & (SCIF_RING_BYTES - 1),
			 __ATOMIC_RELEASE);
	stream_wake(handle);
	return bytes;
}

static size_t stream_get(struct handle *handle, unsigned char *to, size_t bytes)
{
	struct scif_ring *ring = handle->own;
	uint32_t tail = __atomic_load_n(&ring->tail, __ATOMIC_RELAXED) & (SCIF_RING_BYTES - 1);
	size_t used = stream_used(ring);

	if (bytes > used)
		bytes = used;
	if (!bytes)
		return 0;
	stream_copy(ring, tail, to, bytes, false);
	__atomic_store_n(&ring->tail, (tail + (uint32_t)bytes) & (SCIF_RING_BYTES - 1),
			 __ATOMIC_RELEASE);
	stream_wake(handle);
	return bytes;
}

static bool stream_may_send(const struct handle *handle)
{
	return stream_used(handle->peer) < SCIF_RING_BYTES - 1 || !stream_is_connected(handle);
}

static bool stream_may_receive(const struct handle *handle)
{
	return stream_used(handle->own) || !stream_is_connected(handle);
}

/* Waits until @ready; 0, or -EINTR after a signal handler ran. */
static int stream_wait(struct handle *handle, struct spin *spin,
		       bool (*ready)(const struct handle *handle))
{
	const struct timespec limit = { STREAM_ALIVE_S, 0 };
	struct scif_ring *own = handle->own;

	spin_begin(spin);
	while (!ready(handle)) {
		uint32_t sequence;

		if (spin_again(spin, false))
			continue;
		sequence = __atomic_load_n(&own->sequence, __ATOMIC_SEQ_CST);
		__atomic_store_n(&own->waiting, 1, __ATOMIC_SEQ_CST);
		if (ready(handle))
			break;
		if (syscall(SYS_futex, &own->sequence, FUTEX_WAIT, sequence, &limit, NULL, 0) < 0) {
			if (errno == EINTR)
				return ready(handle) ? 0 : -EINTR;
			if (errno == ETIMEDOUT)
				stream_check_daemon(handle);
		}
		spin_slept(spin);
	}
	return 0;
}

/* Checks what both directions share; 1 when there is nothing to do, 0 to go on, -errno. */
static int stream_begin(struct handle *handle, int bytes, int flags)
{
	int status;

	if (bytes == 0)
		return 1;
	if (bytes < 0 || (flags & ~SCIF_SEND_BLOCK))
		return -EINVAL;
	status = handle_attach(handle);
	if (status < 0)
		return status;
	return handle->peer ? 0 : -ENOTCONN;
}

static int stream_send(struct handle *handle, const unsigned char *from, int bytes, int flags)
{
	int moved = 0, status = stream_begin(handle, bytes, flags);

	if (status)
		return status < 0 ? status : 0;
	for (;;) {
		if (!stream_is_connected(handle))
			return moved ? moved : -ECONNRESET;
		moved += (int)stream_put(handle, from + moved, (size_t)(bytes - moved));
		if (moved == bytes || !(flags & SCIF_SEND_BLOCK))
			return moved;
		if (stream_wait(handle, &handle->send_spin, stream_may_send) < 0)
			return moved ? moved : -EINTR;
	}
}

static int stream_receive(struct handle *handle, unsigned char *to, int bytes, int flags)
{
	int moved = 0, status = stream_begin(handle, bytes, flags);

	if (status)
		return status < 0 ? status : 0;
	for (;;) {
		/* First the state: what was sent before it changed is in the ring. */
		bool connected = stream_is_connected(handle);

		moved += (int)stream_get(handle, to + moved, (size_t)(bytes - moved));
		if (moved == bytes)
			return moved;
		if (!connected)
			return moved ? moved : -ECONNRESET;
		if (!(flags & SCIF_RECV_BLOCK))
			return moved;
		if (stream_wait(handle, &handle->receive_spin, stream_may_receive) < 0)
			return moved ? moved : -EINTR;
	}
}

/* One thread of all processes that have the endpoint; one that died in it left a sound ring. */
static void stream_lock(pthread_mutex_t *lock)
{
	if (pthread_mutex_lock(lock) == EOWNERDEAD)
		pthread_mutex_consistent(lock);
}

static int stream_result(struct handle *handle, int status)
{
	handle_put(handle);
	if (status >= 0)
		return status;
	errno = -status;
	return -1;
}

int scif_send(scif_epd_t epd, void *message, int bytes, int flags)
{
	if (device_is_used())
		return device_send(epd, message, bytes, flags);
	struct handle *handle = handle_find(epd);
	int status;

	if (!handle)
		return stream_result(NULL, -EBADF);
	stream_lock(&handle->locks->sending);
	status = stream_send(handle, message, bytes, flags);
	pthread_mutex_unlock(&handle->locks->sending);
	return stream_result(handle, status);
}

int scif_recv(scif_epd_t epd, void *message, int bytes, int flags)
{
	if (device_is_used())
		return device_recv(epd, message, bytes, flags);
	struct handle *handle = handle_find(epd);
	int status;

	if (!handle)
		return stream_result(NULL, -EBADF);
	stream_lock(&handle->locks->receiving);
	status = stream_receive(handle, message, bytes, flags);
	pthread_mutex_unlock(&handle->locks->receiving);
	return stream_result(handle, status);
}

/* The endpoint's state as poll's bits. */
static short stream_poll(struct handle *handle)
{
	short mask = 0;

	if (handle->dead)
		return handle->own && stream_used(handle->own) ? POLLHUP | POLLIN : POLLHUP;
	if (!handle->own || (stream_state(handle->own) == SCIF_RING_CONNECTED && !handle->peer)) {
		if (handle_attach(handle) < 0)
			return POLLERR;
	}
	switch (stream_state(handle->own)) {
	case SCIF_RING_CONNECTED:
		if (stream_used(handle->own))
			mask |= POLLIN;
		if (handle->peer && stream_used(handle->peer) < SCIF_RING_BYTES - 1)
			mask |= POLLOUT;
		return mask;
	case SCIF_RING_DISCONNECTED:
		return stream_used(handle->own) ? POLLHUP | POLLIN : POLLHUP;
	default:
		return (short)__atomic_load_n(&handle->own->poll, __ATOMIC_ACQUIRE);
	}
}

/* One look at all; how many have something to tell. */
static int poll_look(struct scif_pollepd *epds, struct handle **found, unsigned int count)
{
	int ready = 0;

	for (unsigned int i = 0; i < count; i++) {
		epds[i].revents = 0;
		if (epds[i].epd < 0)
			continue;
		if (!found[i])
			epds[i].revents = POLLNVAL;
		else
			epds[i].revents = (short)(stream_poll(found[i]) &
						  (epds[i].events | POLLHUP | POLLERR));
		ready += epds[i].revents != 0;
	}
	return ready;
}

/* Sleeps until a sequence moves on, or @until; 0, or -EINTR. */
static int poll_sleep(struct handle **found, unsigned int count, const uint32_t *sequences,
		      const struct timespec *until)
{
	struct stream_futex futexes[STREAM_WAITV_MAX];
	struct timespec soon;
	unsigned int used = 0;
	long look_ms = STREAM_ALIVE_S * 1000L;

	for (unsigned int i = 0; i < count && used < STREAM_WAITV_MAX; i++) {
		if (!found[i] || !found[i]->own)
			continue;
		futexes[used++] = (struct stream_futex){
			sequences[i],
			(uintptr_t)&found[i]->own->sequence,
			STREAM_FUTEX_32,
			0,
		};
	}
	if (used == STREAM_WAITV_MAX)
		look_ms = STREAM_LOOK_MS;
	clock_gettime(CLOCK_MONOTONIC, &soon);
	soon.tv_sec += look_ms / 1000;
	soon.tv_nsec += look_ms % 1000 * 1000000;
	soon.tv_sec += soon.tv_nsec / 1000000000;
	soon.tv_nsec %= 1000000000;
	if (soon.tv_sec < until->tv_sec ||
	    (soon.tv_sec == until->tv_sec && soon.tv_nsec < until->tv_nsec))
		until = &soon;
	if (used == 0)
		return clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, until, NULL) == EINTR
			       ? -EINTR
			       : 0;
	if (syscall(SYS_futex_waitv, futexes, used, 0, until, CLOCK_MONOTONIC) < 0)
		return errno == EINTR ? -EINTR : 0;
	return 0;
}

static bool poll_is_over(const struct timespec *until)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec > until->tv_sec ||
	       (now.tv_sec == until->tv_sec && now.tv_nsec >= until->tv_nsec);
}

static int poll_wait(struct scif_pollepd *epds, struct handle **found, unsigned int count,
		     uint32_t *sequences, long timeout_ms)
{
	struct timespec until;
	int ready = poll_look(epds, found, count);

	if (ready || timeout_ms == 0)
		return ready;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += timeout_ms < 0 ? STREAM_LIMIT_S : timeout_ms / 1000;
	until.tv_nsec += timeout_ms < 0 ? 0 : timeout_ms % 1000 * 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	for (;;) {
		for (unsigned int i = 0; i < count; i++) {
			if (!found[i] || !found[i]->own)
				continue;
			sequences[i] = __atomic_load_n(&found[i]->own->sequence, __ATOMIC_SEQ_CST);
			__atomic_store_n(&found[i]->own->waiting, 1, __ATOMIC_SEQ_CST);
		}
		ready = poll_look(epds, found, count);
		if (ready || (timeout_ms > 0 && poll_is_over(&until)))
			return ready;
		if (poll_sleep(found, count, sequences, &until) < 0)
			return -EINTR;
		for (unsigned int i = 0; i < count; i++) {
			if (found[i])
				stream_check_daemon(found[i]);
		}
	}
}

int scif_poll(struct scif_pollepd *epds, unsigned int count, long timeout_ms)
{
	if (device_is_used())
		return poll((struct pollfd *)epds, count, (int)timeout_ms);
	struct handle **found = calloc(count ? count : 1, sizeof(found[0]));
	uint32_t *sequences = calloc(count ? count : 1, sizeof(sequences[0]));
	int status = -ENOMEM;

	if (found && sequences) {
		for (unsigned int i = 0; i < count; i++)
			found[i] = handle_find(epds[i].epd);
		status = poll_wait(epds, found, count, sequences, timeout_ms);
		for (unsigned int i = 0; i < count; i++)
			handle_put(found[i]);
	}
	free(found);
	free(sequences);
	return stream_result(NULL, status);
}
