/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whoever waits for a listener with a companion waits for both: epoll_ctl, poll, select.
 *
 * In an epoll set the companion is registered with the listener's events and data, so epoll_wait
 * is the kernel's alone. poll and select are extended for the call. Without such a listener in
 * the process all of them cost one comparison.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vsock/wrap/wrap.h"

#define FEW_FDS	     64
#define SELECT_WORDS 1024 /* 65536 descriptors: beyond, select() sees TCP alone */
#define WORD_BITS    64

int __poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int __poll_chk(struct pollfd *fds, nfds_t count, int timeout_ms, size_t bytes);
int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
		const sigset_t *mask, size_t bytes);
int __select(int count, fd_set *reads, fd_set *writes, fd_set *excepts, struct timeval *timeout);
extern void __chk_fail(void) __attribute__((noreturn));

/* Remember registrations of a socket that connect() or listen() may replace or accompany. */
static void watch_note(struct wrap_slot *slot, int epoll_fd, int operation,
		       const struct epoll_event *event)
{
	struct wrap_watch *unused = NULL, *found = NULL;

	for (int i = 0; i < WRAP_WATCHES; i++) {
		if (slot->watches[i].epoll_fd == epoll_fd + 1)
			found = &slot->watches[i];
		else if (!slot->watches[i].epoll_fd)
			unused = &slot->watches[i];
	}
	if (operation == EPOLL_CTL_DEL) {
		if (found)
			*found = (struct wrap_watch){ 0 };
		return;
	}
	if (!found)
		found = unused;
	if (!found) {
		slot->flags |= WRAP_SLOT_CROWDED;
		return;
	}
	*found = (struct wrap_watch){ .epoll_fd = epoll_fd + 1,
				      .events = event->events,
				      .data = event->data.u64 };
}

WRAP_EXPORT int epoll_ctl(int epoll_fd, int operation, int fd, struct epoll_event *event)
{
	int code = REAL(epoll_ctl)(epoll_fd, operation, fd, event), saved_errno = errno;
	const struct wrap_listener *listener;
	struct wrap_slot *slot;

	if (code < 0 || !wrap_state.active)
		return code;
	listener = wrap_listener_of(fd);
	slot = wrap_slot_find(fd);
	if (listener)
		REAL(epoll_ctl)(epoll_fd, operation, listener->fd, event);
	else if (slot && slot->flags & WRAP_SLOT_NEW)
		watch_note(slot, epoll_fd, operation, event);
	errno = saved_errno;
	return 0;
}

/* A poll array with companions behind the program's entries. */
struct wide_poll {
	struct pollfd few[FEW_FDS];
	struct pollfd *fds; /* NULL: the program's own array will do */
	nfds_t count;
};

/* Which companion belongs to an entry, or -1. */
static int entry_companion(const struct pollfd *entry)
{
	const struct wrap_listener *listener;

	if (entry->fd < 0 || !(entry->events & (POLLIN | POLLRDNORM)))
		return -1;
	listener = wrap_listener_of(entry->fd);
	return listener ? listener->fd : -1;
}

static void wide_open(struct wide_poll *wide, const struct pollfd *fds, nfds_t count)
{
	nfds_t more = 0;

	wide->fds = NULL;
	if (!wrap_listeners_exist())
		return;
	for (nfds_t i = 0; i < count; i++)
		more += entry_companion(&fds[i]) >= 0;
	if (!more)
		return;
	wide->fds = count + more <= FEW_FDS ? wide->few : malloc((count + more) * sizeof(*fds));
	if (!wide->fds)
		return;
	memcpy(wide->fds, fds, count * sizeof(*fds));
	wide->count = count;
	for (nfds_t i = 0; i < count; i++) {
		int companion = entry_companion(&fds[i]);

		if (companion >= 0 && wide->count < count + more)
			wide->fds[wide->count++] =
				(struct pollfd){ .fd = companion, .events = fds[i].events };
	}
}

/* Bring the answers back; as poll()'s result. */
static int wide_close(struct wide_poll *wide, struct pollfd *fds, nfds_t count, int ready)
{
	nfds_t at = count;
	int saved_errno = errno, seen = 0;

	for (nfds_t i = 0; ready >= 0 && i < count; i++) {
		fds[i].revents = wide->fds[i].revents;
		if (at < wide->count && entry_companion(&fds[i]) == wide->fds[at].fd)
			fds[i].revents |= wide->fds[at++].revents & (fds[i].events | POLLERR);
		seen += fds[i].revents != 0;
	}
	if (wide->fds != wide->few)
		free(wide->fds);
	errno = saved_errno;
	return ready < 0 ? ready : seen;
}

WRAP_EXPORT int poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
	struct wide_poll wide;

	wide_open(&wide, fds, count);
	if (!wide.fds)
		return REAL(poll)(fds, count, timeout_ms);
	return wide_close(&wide, fds, count, REAL(poll)(wide.fds, wide.count, timeout_ms));
}

WRAP_EXPORT int __poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
	return poll(fds, count, timeout_ms);
}

WRAP_EXPORT int __poll_chk(struct pollfd *fds, nfds_t count, int timeout_ms, size_t bytes)
{
	if (bytes / sizeof(*fds) < count)
		__chk_fail();
	return poll(fds, count, timeout_ms);
}

WRAP_EXPORT int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
		      const sigset_t *mask)
{
	struct wide_poll wide;

	wide_open(&wide, fds, count);
	if (!wide.fds)
		return REAL(ppoll)(fds, count, timeout, mask);
	return wide_close(&wide, fds, count, REAL(ppoll)(wide.fds, wide.count, timeout, mask));
}

WRAP_EXPORT int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
			    const sigset_t *mask, size_t bytes)
{
	if (bytes / sizeof(*fds) < count)
		__chk_fail();
	return ppoll(fds, count, timeout, mask);
}

/* Three sets as select() takes them, large enough for companions; any of them may be absent. */
struct wide_select {
	uint64_t words[3][SELECT_WORDS];
	fd_set *theirs[3];
	int pairs[FD_SETSIZE / 8][2]; /* listener, companion */
	int pair_count;
	int count; /* for the kernel */
};

static bool set_has(const uint64_t *words, int fd)
{
	return words[fd / WORD_BITS] >> fd % WORD_BITS & 1;
}

/* False where the program's own sets will do. */
static bool select_open(struct wide_select *wide, int count, fd_set *reads, fd_set *writes,
			fd_set *excepts)
{
	const uint64_t *words = (const uint64_t *)reads;

	if (!wrap_listeners_exist() || !reads || count <= 0 || count > SELECT_WORDS * WORD_BITS)
		return false;
	wide->pair_count = 0;
	wide->count = count;
	for (int fd = 0; fd < count; fd++) {
		const struct wrap_listener *listener;

		if (!words[fd / WORD_BITS]) {
			fd |= WORD_BITS - 1;
			continue;
		}
		listener = set_has(words, fd) ? wrap_listener_of(fd) : NULL;
		if (!listener || listener->fd >= SELECT_WORDS * WORD_BITS ||
		    wide->pair_count == FD_SETSIZE / 8)
			continue;
		wide->pairs[wide->pair_count][0] = fd;
		wide->pairs[wide->pair_count++][1] = listener->fd;
		if (listener->fd >= wide->count)
			wide->count = listener->fd + 1;
	}
	if (!wide->pair_count)
		return false;
	wide->theirs[0] = reads;
	wide->theirs[1] = writes;
	wide->theirs[2] = excepts;
	for (int i = 0; i < 3; i++) {
		size_t bytes = (count + WORD_BITS - 1) / WORD_BITS * sizeof(uint64_t);
		size_t all = (wide->count + WORD_BITS - 1) / WORD_BITS * sizeof(uint64_t);

		memset(wide->words[i], 0, all);
		if (wide->theirs[i])
			memcpy(wide->words[i], wide->theirs[i], bytes);
		/* What lies behind the program's count is not part of its sets. */
		if (count % WORD_BITS)
			wide->words[i][count / WORD_BITS] &= (UINT64_C(1) << count % WORD_BITS) - 1;
	}
	for (int i = 0; i < wide->pair_count; i++)
		wide->words[0][wide->pairs[i][1] / WORD_BITS] |= UINT64_C(1)
								 << wide->pairs[i][1] % WORD_BITS;
	return true;
}

/* Bring the answers back; as select()'s result. */
static int select_close(struct wide_select *wide, int count, int ready)
{
	size_t bytes = (count + WORD_BITS - 1) / WORD_BITS * sizeof(uint64_t);

	if (ready < 0)
		return ready;
	for (int i = 0; i < wide->pair_count; i++) {
		uint64_t *from = &wide->words[0][wide->pairs[i][1] / WORD_BITS];
		uint64_t *to = &wide->words[0][wide->pairs[i][0] / WORD_BITS];
		uint64_t bit = UINT64_C(1) << wide->pairs[i][0] % WORD_BITS;

		if (!set_has(wide->words[0], wide->pairs[i][1]))
			continue;
		*from &= ~(UINT64_C(1) << wide->pairs[i][1] % WORD_BITS);
		if (*to & bit)
			ready--;
		*to |= bit;
	}
	for (int i = 0; i < 3; i++)
		if (wide->theirs[i])
			memcpy(wide->theirs[i], wide->words[i], bytes);
	return ready;
}

/* The sets that select_open() filled, NULL where the program gave none. */
#define WIDE_SET(wide, i) ((wide).theirs[i] ? (fd_set *)(wide).words[i] : NULL)

WRAP_EXPORT int select(int count, fd_set *reads, fd_set *writes, fd_set *excepts,
		       struct timeval *timeout)
{
	struct wide_select wide;

	if (!select_open(&wide, count, reads, writes, excepts))
		return REAL(select)(count, reads, writes, excepts, timeout);
	return select_close(&wide, count,
			    REAL(select)(wide.count, WIDE_SET(wide, 0), WIDE_SET(wide, 1),
					 WIDE_SET(wide, 2), timeout));
}

WRAP_EXPORT int __select(int count, fd_set *reads, fd_set *writes, fd_set *excepts,
			 struct timeval *timeout)
{
	return select(count, reads, writes, excepts, timeout);
}

WRAP_EXPORT int pselect(int count, fd_set *reads, fd_set *writes, fd_set *excepts,
			const struct timespec *timeout, const sigset_t *mask)
{
	struct wide_select wide;

	if (!select_open(&wide, count, reads, writes, excepts))
		return REAL(pselect)(count, reads, writes, excepts, timeout, mask);
	return select_close(&wide, count,
			    REAL(pselect)(wide.count, WIDE_SET(wide, 0), WIDE_SET(wide, 1),
					  WIDE_SET(wide, 2), timeout, mask));
}
