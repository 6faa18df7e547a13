/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors that come and go: close, dup and fcntl.
 *
 * Nothing here decides what a socket is; it keeps slots from describing another file, a duplicate
 * of a socket that is not connected yet findable, and a companion where its listener is. The
 * program cannot close what it does not know of: for such numbers close() says EBADF, and
 * close_range() goes around them.
 *
 * Hidden numbers begin near HIDDEN_FIRST: above what most programs reach, but low, since the
 * kernel's table of descriptors, which fork copies, is as long as the highest one.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "vsock/wrap/wrap.h"

#define HIDDEN_FIRST 896
#define HIDDEN_BELOW 64 /* at least that far below the limit */
#define RING_MAX     64

/* Public under these names too. */
int __close(int fd);
int __dup2(int fd, int to);
int __fcntl(int fd, int command, ...);

int wrap_descriptor_hide(int fd, bool close_on_exec)
{
	int command = close_on_exec ? F_DUPFD_CLOEXEC : F_DUPFD, high, first = HIDDEN_FIRST;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < HIDDEN_FIRST + HIDDEN_BELOW)
		first = limit.rlim_cur > HIDDEN_BELOW ? (int)limit.rlim_cur - HIDDEN_BELOW : 3;
	high = REAL(fcntl)(fd, command, first);
	if (high < 0)
		high = REAL(fcntl)(fd, command, 3);
	REAL(close)(fd);
	return high;
}

static bool is_hidden(int fd)
{
	const struct wrap_slot *slot = wrap_slot_find(fd);

	return (slot && slot->flags & WRAP_SLOT_HIDDEN) || (fd >= 0 && fd == wrap_say_fd());
}

/* Take a descriptor out of its ring of duplicates; with the lock held. */
static void ring_leave(int fd, struct wrap_slot *slot)
{
	int before = slot->alias_next - 1;

	for (int steps = 0; slot->alias_next && steps < RING_MAX; steps++) {
		struct wrap_slot *at = wrap_slot_find(before);

		if (!at || !at->alias_next)
			break;
		if (at->alias_next - 1 == fd) {
			at->alias_next = slot->alias_next - 1 == before ? 0 : slot->alias_next;
			break;
		}
		before = at->alias_next - 1;
	}
	slot->alias_next = 0;
}

/* The descriptor is closed or about to be; with the lock held. */
static void slot_leave(int fd)
{
	struct wrap_slot *slot = wrap_slot_find(fd);

	if (wrap_slot_is_empty(slot))
		return;
	wrap_listener_release(fd);
	ring_leave(fd, slot);
	*slot = (struct wrap_slot){ 0 };
}

WRAP_EXPORT int close(int fd)
{
	sigset_t saved;

	if (is_hidden(fd)) {
		errno = EBADF;
		return -1;
	}
	if (!wrap_slot_is_empty(wrap_slot_find(fd)) && wrap_is_ours()) {
		wrap_lock(&saved);
		slot_leave(fd);
		wrap_unlock(&saved);
	}
	return REAL(close)(fd);
}

WRAP_EXPORT int __close(int fd)
{
	return close(fd);
}

/* The numbers that the program must not close, in order; how many. */
static int hidden_list(int found[WRAP_HIDDEN_MAX])
{
	int count = wrap_companions(found);

	if (wrap_say_fd() >= 0)
		found[count++] = wrap_say_fd();
	for (int i = 1; i < count; i++)
		for (int at = i; at > 0 && found[at] < found[at - 1]; at--) {
			int swapped = found[at];

			found[at] = found[at - 1];
			found[at - 1] = swapped;
		}
	return count;
}

WRAP_EXPORT int close_range(unsigned first, unsigned last, int flags)
{
	int hidden[WRAP_HIDDEN_MAX], count = hidden_list(hidden), code = 0;
	bool closes = !(flags & CLOSE_RANGE_CLOEXEC);
	unsigned from = first;
	sigset_t saved;

	if (first > last)
		return REAL(close_range)(first, last, flags);
	if (wrap_is_ours() && closes) {
		wrap_lock(&saved);
		wrap_slots_clear(first, last);
		wrap_unlock(&saved);
		count = hidden_list(hidden); /* companions whose listeners went are gone */
	}
	for (int i = 0; i < count && !code; i++) {
		unsigned at = (unsigned)hidden[i];

		if (at < from || at > last)
			continue;
		if (at > from)
			code = REAL(close_range)(from, at - 1, flags);
		from = at + 1;
	}
	if (!code && from <= last)
		code = REAL(close_range)(from, last, flags);
	for (unsigned fd = first; !closes && fd <= last && fd < 1 << 20; fd++) {
		struct wrap_listener *listener = wrap_listener_of((int)fd);

		if (listener)
			wrap_listener_mirror(listener);
		if (!wrap_slot_find((int)fd))
			fd |= 255;
	}
	return code;
}

WRAP_EXPORT void closefrom(int first)
{
	close_range(first < 0 ? 0 : (unsigned)first, ~0u, 0);
}

/* @to is a duplicate of @from now, and no longer what it was. */
static void slot_duplicate(int from, int to)
{
	struct wrap_slot *source = wrap_slot_find(from), *slot = wrap_slot_find(to);
	struct wrap_listener *listener;
	sigset_t saved;

	if (wrap_slot_is_empty(source) && wrap_slot_is_empty(slot))
		return;
	listener = wrap_listener_of(from);
	if (!wrap_is_ours()) {
		/* A child of vfork before its exec, which will find the pair by itself. */
		if (listener && !(REAL(fcntl)(to, F_GETFD) & FD_CLOEXEC))
			REAL(fcntl)(listener->fd, F_SETFD, 0);
		return;
	}
	wrap_lock(&saved);
	slot_leave(to);
	slot = wrap_slot_is_empty(source) ? NULL : wrap_slot_make(to);
	if (slot) {
		*slot = (struct wrap_slot){ .flags = source->flags & ~WRAP_SLOT_CROWDED };
		for (int i = 0; i < WRAP_KEPT; i++)
			slot->kept[i] = source->kept[i];
		if (source->flags & WRAP_SLOT_NEW) {
			slot->alias_next = source->alias_next ? source->alias_next : from + 1;
			source->alias_next = to + 1;
		}
		if (listener) {
			wrap_listener_hold(to, listener);
			wrap_listener_mirror(listener);
		}
	}
	wrap_unlock(&saved);
}

WRAP_EXPORT int dup(int fd)
{
	int made = REAL(dup)(fd);

	if (made >= 0 && wrap_state.active)
		slot_duplicate(fd, made);
	return made;
}

/* The program wants a number that we have taken: ours moves. */
static void make_way(int to)
{
	sigset_t saved;

	if (!is_hidden(to) || !wrap_is_ours())
		return;
	wrap_lock(&saved);
	wrap_listener_move(to);
	wrap_unlock(&saved);
}

WRAP_EXPORT int dup2(int fd, int to)
{
	int made;

	if (wrap_state.active && fd != to)
		make_way(to);
	made = REAL(dup2)(fd, to);
	if (made >= 0 && wrap_state.active && fd != to)
		slot_duplicate(fd, made);
	return made;
}

WRAP_EXPORT int __dup2(int fd, int to)
{
	return dup2(fd, to);
}

WRAP_EXPORT int dup3(int fd, int to, int flags)
{
	int made;

	if (wrap_state.active && fd != to)
		make_way(to);
	made = REAL(dup3)(fd, to, flags);
	if (made >= 0 && wrap_state.active)
		slot_duplicate(fd, made);
	return made;
}

/* F_GETFL and F_SETFL of a TCP listener with a companion: O_NONBLOCK may be ours. */
static int listener_flags(int fd, const struct wrap_listener *listener, int command, long argument)
{
	struct wrap_tag tag = wrap_tag_get(listener->fd);
	int code;

	if (command == F_GETFL) {
		code = REAL(fcntl)(fd, F_GETFL);
		return code >= 0 && tag.blocking ? code & ~O_NONBLOCK : code;
	}
	if (tag.blocking && !(argument & O_NONBLOCK))
		argument |= O_NONBLOCK;
	else if (tag.blocking) {
		tag.blocking = false;
		wrap_tag_set(listener->fd, &tag);
	}
	return REAL(fcntl)(fd, F_SETFL, argument);
}

static int fcntl_any(int fd, int command, long argument)
{
	struct wrap_listener *listener;
	int code;

	switch (command) {
	case F_DUPFD:
	case F_DUPFD_CLOEXEC:
		code = REAL(fcntl)(fd, command, argument);
		if (code >= 0 && wrap_state.active)
			slot_duplicate(fd, code);
		return code;
	case F_GETFL:
	case F_SETFL:
		listener = wrap_listener_of(fd);
		if (listener)
			return listener_flags(fd, listener, command, argument);
		break;
	case F_SETFD:
		code = REAL(fcntl)(fd, command, argument);
		listener = wrap_listener_of(fd);
		if (code >= 0 && listener)
			wrap_listener_mirror(listener);
		return code;
	}
	return REAL(fcntl)(fd, command, argument);
}

#define FCNTL(name)                                      \
	WRAP_EXPORT int name(int fd, int command, ...)   \
	{                                                \
		va_list arguments;                       \
		long argument;                           \
                                                         \
		va_start(arguments, command);            \
		argument = va_arg(arguments, long);      \
		va_end(arguments);                       \
		return fcntl_any(fd, command, argument); \
	}

FCNTL(fcntl)
FCNTL(fcntl64)
FCNTL(__fcntl)
