/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Servers on both worlds: listen and accept.
 *
 * The program's descriptor stays the kernel's TCP listener, with every option, name and
 * registration that it has. Beside it listens a companion, an AF_VSOCK socket of the same port
 * under a high number that the program does not know of. Whoever waits for the listener (wait.c)
 * waits for both; accept() takes from both in turn. So nothing of TCP's side changes, and a program
 * that was not preloaded, but inherited the listener, still serves TCP.
 *
 * The companion has the listener's close-on-exec flag at all times, thus both get through exec or
 * neither does. Its tag holds the listener's SO_COOKIE: after exec the pair is found by that
 * (wrap_listeners_find). A companion whose listener is not there is closed.
 *
 * A blocking accept() must wait for both, and must not be stuck in one when another process was
 * faster: the listener's file gets O_NONBLOCK at the first one, the companion's tag says that it
 * was us (both are shared by all processes that have the pair), fcntl() hides it, and accept()
 * waits in poll().
 *
 * Entries: free (fd -1) -> used (listen(), or found after exec) -> free, when the last descriptor
 * of the TCP listener is closed. Guarded by wrap_lock; accept() reads without it, and a listener
 * that is closed under it makes the calls fail as they would anyway.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "vsock/wrap/wrap.h"

#define LISTENERS_MAX 128
#define TURNS	      16  /* connections taken from one world before the other is asked first */
#define BACKLOG_LEAST 128 /* a full one refuses on vsock, where TCP waits */
#define INHERITED_MAX 1024

_Static_assert(LISTENERS_MAX < WRAP_HIDDEN_MAX, "all companions and one more");

static struct wrap_listener listeners[LISTENERS_MAX] = { [0 ... LISTENERS_MAX - 1] = { .fd = -1 } };
static unsigned listener_count; /* used entries; read without the lock */

bool wrap_listeners_exist(void)
{
	return __atomic_load_n(&listener_count, __ATOMIC_RELAXED) != 0;
}

struct wrap_listener *wrap_listener_of(int fd)
{
	struct wrap_slot *slot;

	if (!wrap_listeners_exist())
		return NULL;
	slot = wrap_slot_find(fd);
	if (!slot || !slot->companion || listeners[slot->companion - 1].fd < 0)
		return NULL;
	return &listeners[slot->companion - 1];
}

int wrap_companions(int *found)
{
	int count = 0;

	for (int i = 0; i < LISTENERS_MAX && wrap_listeners_exist(); i++)
		if (listeners[i].fd >= 0)
			found[count++] = listeners[i].fd;
	return count;
}

void wrap_listener_hold(int fd, struct wrap_listener *listener)
{
	struct wrap_slot *slot = wrap_slot_make(fd);

	if (!slot || listener->count == WRAP_LISTENER_FDS) {
		wrap_say(WRAP_REFUSED, "fd %d: a duplicate too many of a listener: TCP alone", fd);
		return;
	}
	slot->companion = listener - listeners + 1;
	listener->fds[listener->count++] = fd;
}

/* Close the companion, unless that was done behind our back and the number is another file's. */
static void companion_close(int fd)
{
	*wrap_slot_find(fd) = (struct wrap_slot){ 0 };
	if (wrap_tag_of(fd).kind == WRAP_TAG_COMPANION)
		REAL(close)(fd);
}

void wrap_listener_release(int fd)
{
	struct wrap_slot *slot = wrap_slot_find(fd);
	struct wrap_listener *listener;
	unsigned at = 0;

	if (!slot || !slot->companion)
		return;
	listener = &listeners[slot->companion - 1];
	slot->companion = 0;
	while (at < listener->count && listener->fds[at] != fd)
		at++;
	if (at < listener->count)
		listener->fds[at] = listener->fds[--listener->count];
	if (listener->count || listener->fd < 0)
		return;
	companion_close(listener->fd);
	listener->fd = -1;
	__atomic_sub_fetch(&listener_count, 1, __ATOMIC_RELAXED);
}

void wrap_listener_move(int companion)
{
	for (int i = 0; i < LISTENERS_MAX; i++) {
		int flags, moved;

		if (listeners[i].fd != companion)
			continue;
		flags = REAL(fcntl)(companion, F_GETFD);
		/* Registrations in epoll sets go with the number: they are lost here. */
		moved = REAL(fcntl)(companion, flags & FD_CLOEXEC ? F_DUPFD_CLOEXEC : F_DUPFD,
				    companion + 1);
		if (moved < 0 || !wrap_slot_make(moved))
			continue;
		*wrap_slot_find(moved) = (struct wrap_slot){ .flags = WRAP_SLOT_HIDDEN };
		companion_close(companion);
		listeners[i].fd = moved;
	}
}

void wrap_listener_mirror(const struct wrap_listener *listener)
{
	int flags = FD_CLOEXEC;

	for (unsigned i = 0; i < listener->count; i++) {
		int own = REAL(fcntl)(listener->fds[i], F_GETFD);

		if (own >= 0 && !(own & FD_CLOEXEC))
			flags = 0;
	}
	REAL(fcntl)(listener->fd, F_SETFD, flags);
}

void wrap_listener_forget(int fd)
{
	struct wrap_listener *listener;
	sigset_t saved;

	wrap_lock(&saved);
	while ((listener = wrap_listener_of(fd)))
		wrap_listener_release(listener->count > 1 && listener->fds[0] == fd
					      ? listener->fds[1]
					      : listener->fds[0]);
	wrap_unlock(&saved);
}

/* Which options of @fd, the TCP listener, accepted sockets must be given: TCP's inherit them. */
void wrap_listener_reread(struct wrap_listener *listener, int fd)
{
	struct linger linger = { 0 };
	struct timeval receive = { 0 }, send = { 0 };
	socklen_t bytes = sizeof(linger);

	REAL(getsockopt)(fd, SOL_SOCKET, SO_LINGER, &linger, &bytes);
	bytes = sizeof(receive);
	REAL(getsockopt)(fd, SOL_SOCKET, SO_RCVTIMEO, &receive, &bytes);
	bytes = sizeof(send);
	REAL(getsockopt)(fd, SOL_SOCKET, SO_SNDTIMEO, &send, &bytes);
	listener->copies = linger.l_onoff || receive.tv_sec || receive.tv_usec || send.tv_sec ||
			   send.tv_usec || wrap_socket_option(fd, SO_KEEPALIVE) == 1 ||
			   wrap_socket_option(fd, SO_OOBINLINE) == 1;
}

/* A free entry for the pair, with @fd as its first descriptor; NULL when all are used. */
static struct wrap_listener *listener_enter(int fd, int companion, bool v6, bool v6_only)
{
	struct wrap_slot *slot = wrap_slot_make(companion);

	for (int i = 0; slot && i < LISTENERS_MAX; i++) {
		if (listeners[i].fd >= 0)
			continue;
		listeners[i] =
			(struct wrap_listener){ .fd = companion, .v6 = v6, .v6_only = v6_only };
		*slot = (struct wrap_slot){ .flags = WRAP_SLOT_HIDDEN };
		__atomic_add_fetch(&listener_count, 1, __ATOMIC_RELAXED);
		wrap_listener_hold(fd, &listeners[i]);
		wrap_listener_reread(&listeners[i], fd);
		return &listeners[i];
	}
	return NULL;
}

/* Descriptors of the same socket, and registrations from before listen(), get the companion too. */
static void listener_join(int fd, int companion)
{
	struct wrap_slot *slot = wrap_slot_find(fd);
	int first = fd, next;
	uint64_t cookie = wrap_cookie(fd);

	for (next = first; slot;) {
		for (int i = 0; i < WRAP_WATCHES; i++) {
			struct epoll_event event = { .events = slot->watches[i].events,
						     .data.u64 = slot->watches[i].data };

			if (slot->watches[i].epoll_fd && wrap_cookie(next) == cookie)
				REAL(epoll_ctl)
			(slot->watches[i].epoll_fd - 1, EPOLL_CTL_ADD, companion, &event);
		}
		if (!slot->alias_next || slot->alias_next - 1 == first)
			break;
		next = slot->alias_next - 1;
		slot = wrap_slot_find(next);
		if (slot && !slot->companion && wrap_cookie(next) == cookie)
			wrap_listener_hold(next, wrap_listener_of(fd));
	}
}

struct server {
	struct wrap_endpoint local;
	struct wrap_tcp tcp;
	const struct rules_line *rule;
	uint32_t cid;
	struct wrap_tag tag;
};

/* What the rules say about a socket that is to listen; false: TCP alone, said where asked for. */
static bool server_find(int fd, struct server *server)
{
	const char *why = "by rule";
	char text[WRAP_TEXT_BYTES];
	int on = 0;
	socklen_t bytes = sizeof(on);

	if (!wrap_tcp_socket(fd, &server->tcp) || !wrap_local_endpoint(fd, &server->local))
		return false;
	server->rule = rules_find(&wrap_state.rules, RULES_SERVER, &server->local.address,
				  server->local.port);
	server->cid = VMADDR_CID_ANY;
	if (!server->rule)
		why = "no rule";
	else if (wrap_endpoint_is_loopback(&server->local))
		server->cid = VMADDR_CID_LOCAL;
	else if (!wrap_endpoint_is_wildcard(&server->local) &&
		 (rules_cid(&wrap_state.rules, &server->local.address, &server->cid) < 0 ||
		  (server->cid != wrap_state.own_cid && server->cid != VMADDR_CID_LOCAL)))
		why = "no map line makes this address the own CID";
	else if (server->rule->use != RULES_USE_TCP)
		why = NULL;
	if (server->rule && server->cid == VMADDR_CID_LOCAL && server->rule->use != RULES_USE_TCP)
		why = NULL;
	if (why) {
		wrap_say(WRAP_EXPLAIN, "fd %d: listens at %s on TCP alone (%s)", fd,
			 wrap_endpoint_text(&server->local, text), why);
		return false;
	}
	REAL(getsockopt)(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, &bytes);
	server->tag = (struct wrap_tag){ .v6 = server->tcp.v6, .v6_only = server->tcp.v6 && on };
	return true;
}

/* An AF_VSOCK socket that is bound for the server; or -errno. */
static int server_open(int fd, const struct server *server)
{
	int made = REAL(socket)(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int code = made < 0 ? -errno : wrap_options_copy(fd, made);

	if (!code)
		code = wrap_tag_set(made, &server->tag);
	if (!code)
		code = wrap_bind_port(made, server->cid, server->local.port);
	if (code && made >= 0)
		REAL(close)(made);
	return code ? code : made;
}

/* Why the kernel did not give the port on vsock. */
static const char *server_reason(int code)
{
	switch (code) {
	case -EADDRINUSE:
		return "another socket has that vsock port, and takes what comes there";
	case -EAFNOSUPPORT:
		return "the kernel has no AF_VSOCK";
	case -EADDRNOTAVAIL:
		return "the kernel has no such CID (is vsock_loopback loaded?)";
	default:
		return strerror(-code);
	}
}

/**
 * listener_yield - let an IPv4 listener have the vsock port of one for IPv6 alone
 *
 * Programs that listen at 0.0.0.0 and at :: do it in either order. On vsock there is one port, and
 * what comes there is shown by IPv4 addresses where it can be: as TCP would, and as access lists
 * expect. The companion is not handed over but made anew, since it is registered in epoll sets
 * under the other listener's data.
 *
 * Return: whether a port was given up.
 */
static bool listener_yield(const struct server *server)
{
	for (int i = 0; i < LISTENERS_MAX && !server->tag.v6; i++) {
		struct sockaddr_vm vm;
		socklen_t bytes = sizeof(vm);

		if (listeners[i].fd < 0 || !listeners[i].v6_only ||
		    REAL(getsockname)(listeners[i].fd, (struct sockaddr *)&vm, &bytes) < 0 ||
		    vm.svm_port != server->local.port)
			continue;
		wrap_say(WRAP_EXPLAIN, "fd %d: gives its vsock port %u to a listener for IPv4",
			 listeners[i].fds[0], vm.svm_port);
		wrap_listener_forget(listeners[i].fds[0]);
		return true;
	}
	return false;
}

/* The companion of a TCP socket that listens already. Its absence never fails listen(). */
static void listen_beside(int fd, int backlog, struct server *server)
{
	struct wrap_listener *listener = NULL;
	char text[WRAP_TEXT_BYTES];
	sigset_t saved;
	int made;

	server->tag.kind = WRAP_TAG_COMPANION;
	server->tag.cookie = wrap_cookie(fd);
	made = server_open(fd, server);
	if (made == -EADDRINUSE && listener_yield(server))
		made = server_open(fd, server);
	wrap_endpoint_text(&server->local, text);
	if (made >= 0) {
		wrap_lock(&saved);
		made = wrap_descriptor_hide(made, REAL(fcntl)(fd, F_GETFD) & FD_CLOEXEC);
		if (made >= 0 && REAL(fcntl)(made, F_SETFL, O_NONBLOCK) == 0 &&
		    REAL(listen)(made, backlog < BACKLOG_LEAST ? BACKLOG_LEAST : backlog) == 0)
			listener = listener_enter(fd, made, server->tag.v6, server->tag.v6_only);
		if (listener)
			listener_join(fd, made);
		else if (made >= 0)
			REAL(close)(made);
		wrap_unlock(&saved);
		if (!listener)
			made = -ENFILE;
	}
	/* A machine without vsock_loopback has no such side for local listeners: nothing is amiss.
	 */
	if (made < 0)
		wrap_say(server->cid == VMADDR_CID_LOCAL ? WRAP_EXPLAIN : WRAP_REFUSED,
			 "fd %d: listens at %s on TCP alone: %s (rule %u)", fd, text,
			 server_reason(made), server->rule->number);
	else
		wrap_say(WRAP_EXPLAIN, "fd %d: listens at %s and at vsock port %u (rule %u)", fd,
			 text, server->local.port, server->rule->number);
}

/* Rule "vsock": the TCP socket was only bound, and goes. As listen(). */
static int listen_instead(int fd, int backlog, struct server *server)
{
	int flags = REAL(fcntl)(fd, F_GETFL), code;
	char text[WRAP_TEXT_BYTES];

	server->tag.kind = WRAP_TAG_SERVER;
	code = server_open(fd, server);
	if (code >= 0) {
		REAL(fcntl)(code, F_SETFL, flags & (O_NONBLOCK | O_ASYNC));
		code = wrap_replace(fd, code, flags);
	}
	wrap_say(code ? WRAP_REFUSED : WRAP_EXPLAIN,
		 "fd %d: listens at %s as vsock port %u alone%s%s (rule %u)", fd,
		 wrap_endpoint_text(&server->local, text), server->local.port, code ? ": " : "",
		 code ? server_reason(code) : "", server->rule->number);
	errno = -code;
	return code ? -1 : REAL(listen)(fd, backlog);
}

WRAP_EXPORT int listen(int fd, int backlog)
{
	struct wrap_listener *listener;
	struct server server;
	int code;

	if (!wrap_state.active || !wrap_is_ours())
		return REAL(listen)(fd, backlog);
	listener = wrap_listener_of(fd);
	if (listener) { /* once more, for another backlog */
		REAL(listen)(listener->fd, backlog);
		return REAL(listen)(fd, backlog);
	}
	if (!wrap_tcp_socket(fd, &server.tcp) || wrap_socket_option(fd, SO_ACCEPTCONN) == 1)
		return REAL(listen)(fd, backlog);
	/* A socket that was not bound gets its port here. */
	if (!wrap_local_endpoint(fd, &server.local) || !server.local.port) {
		code = REAL(listen)(fd, backlog);
		if (code < 0)
			return code;
	}
	if (!server_find(fd, &server))
		return REAL(listen)(fd, backlog);
	if (server.rule->use == RULES_USE_VSOCK)
		return listen_instead(fd, backlog, &server);
	code = REAL(listen)(fd, backlog);
	if (code == 0)
		listen_beside(fd, backlog, &server);
	return code;
}

/* An accepted AF_VSOCK socket becomes the program's: tag, options, name. As accept4(). */
static int accept_finish(int made, const struct wrap_tag *of, int copies_from,
			 const struct sockaddr_vm *vm, struct sockaddr *from, socklen_t *bytes)
{
	struct wrap_tag tag = { .kind = WRAP_TAG_SERVER,
				.v6 = of->v6,
				.v6_only = of->v6_only,
				.no_delay = of->no_delay };
	struct wrap_endpoint peer;
	char text[WRAP_TEXT_BYTES];
	struct wrap_slot *slot = wrap_slot_find(made);

	if (slot)
		*slot = (struct wrap_slot){ 0 };
	if (wrap_tag_set(made, &tag) < 0) {
		REAL(close)(made);
		errno = ECONNABORTED;
		return -1;
	}
	if (copies_from >= 0)
		wrap_options_copy(copies_from, made);
	wrap_name_of(&tag, vm, true, &peer);
	wrap_say(WRAP_EXPLAIN, "fd %d: accepted vsock %u:%u as %s", made, vm->svm_cid, vm->svm_port,
		 wrap_endpoint_text(&peer, text));
	if (from && wrap_name_store(&tag, &peer, from, bytes) < 0) {
		REAL(close)(made);
		return -1;
	}
	return made;
}

/* One try at the companion. */
static int accept_companion(int fd, struct wrap_listener *listener, struct sockaddr *from,
			    socklen_t *bytes, int flags)
{
	const struct wrap_tag of = { .v6 = listener->v6, .v6_only = listener->v6_only };
	struct sockaddr_vm vm;
	socklen_t length = sizeof(vm);
	int made = REAL(accept4)(listener->fd, (struct sockaddr *)&vm, &length, flags);

	if (made >= 0)
		return accept_finish(made, &of, listener->copies ? fd : -1, &vm, from, bytes);
	if (errno == EBADF || errno == ENOTSOCK || errno == EINVAL) {
		wrap_say(WRAP_REFUSED, "fd %d: its vsock side was closed by the program", fd);
		wrap_listener_forget(fd);
		errno = EAGAIN;
	}
	return -1;
}

/* One try at the TCP listener, whose file must not block for it. */
static int accept_tcp(int fd, struct wrap_listener *listener, struct sockaddr *from,
		      socklen_t *bytes, int flags)
{
	int file_flags = REAL(fcntl)(fd, F_GETFL);

	if (file_flags >= 0 && !(file_flags & O_NONBLOCK)) {
		struct wrap_tag tag = wrap_tag_get(listener->fd);

		tag.blocking = true;
		if (tag.kind != WRAP_TAG_COMPANION || wrap_tag_set(listener->fd, &tag) < 0 ||
		    REAL(fcntl)(fd, F_SETFL, file_flags | O_NONBLOCK) < 0)
			return REAL(accept4)(fd, from, bytes, flags);
	}
	return REAL(accept4)(fd, from, bytes, flags);
}

/*
 * Whether the kernel's accept() would go on after whatever signal handler has just run. Handlers of
 * faults do not count: those come from what the program itself does, not while it waits.
 */
static bool signals_restart(void)
{
	static const uint64_t faults = UINT64_C(1) << SIGSEGV | UINT64_C(1) << SIGBUS |
				       UINT64_C(1) << SIGFPE | UINT64_C(1) << SIGILL |
				       UINT64_C(1) << SIGTRAP | UINT64_C(1) << SIGABRT |
				       UINT64_C(1) << SIGSYS;
	struct sigaction action;

	for (int number = 1; number < NSIG; number++)
		if (!(number < 32 && faults >> number & 1) &&
		    sigaction(number, NULL, &action) == 0 && action.sa_handler != SIG_DFL &&
		    action.sa_handler != SIG_IGN && !(action.sa_flags & SA_RESTART))
			return false;
	return true;
}

/* Wait for either; as poll(). The listener's SO_RCVTIMEO bounds it, as it does for accept(). */
static int accept_wait(int fd, const struct wrap_listener *listener)
{
	struct pollfd fds[] = { { .fd = fd, .events = POLLIN },
				{ .fd = listener->fd, .events = POLLIN } };
	struct timeval limit = { 0 };
	socklen_t bytes = sizeof(limit);
	int timeout_ms = -1, ready;

	if (REAL(getsockopt)(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, &bytes) == 0 &&
	    (limit.tv_sec || limit.tv_usec))
		timeout_ms = (int)(limit.tv_sec * 1000 + limit.tv_usec / 1000);
	do {
		ready = REAL(poll)(fds, 2, timeout_ms);
	} while (ready < 0 && errno == EINTR && timeout_ms < 0 && signals_restart());
	if (!ready)
		errno = EAGAIN;
	return ready;
}

static int accept_both(int fd, struct wrap_listener *listener, struct sockaddr *from,
		       socklen_t *bytes, int flags)
{
	for (;;) {
		bool interrupted = false;
		unsigned turn = __atomic_load_n(&listener->turn, __ATOMIC_RELAXED);

		for (int i = 0; i < 2; i++) {
			bool vsock = (turn / TURNS + i) % 2 == 0;
			int made = vsock ? accept_companion(fd, listener, from, bytes, flags)
					 : accept_tcp(fd, listener, from, bytes, flags);

			if (made >= 0) {
				/* Stay with this world, but not for ever. */
				__atomic_store_n(&listener->turn, turn + (i ? TURNS : 1),
						 __ATOMIC_RELAXED);
				return made;
			}
			/* AF_VSOCK returns EINTR even where it does not wait. */
			if (errno == EINTR)
				interrupted = true;
			else if (errno != EAGAIN)
				return -1;
		}
		if (listener->fd < 0)
			return REAL(accept4)(fd, from, bytes, flags);
		if (!wrap_tag_get(listener->fd).blocking) {
			errno = EAGAIN;
			return -1;
		}
		if (interrupted && !signals_restart()) {
			errno = EINTR;
			return -1;
		}
		if (accept_wait(fd, listener) <= 0)
			return -1;
	}
}

static int accept_any(int fd, struct sockaddr *from, socklen_t *bytes, int flags)
{
	struct wrap_listener *listener = wrap_listener_of(fd);
	struct sockaddr_storage name;
	socklen_t length = sizeof(name), room;
	struct wrap_tag tag;
	int made;

	if (!wrap_state.active)
		return REAL(accept4)(fd, from, bytes, flags);
	if (from && (!bytes || (int)*bytes < 0)) {
		errno = bytes ? EINVAL : EFAULT;
		return -1;
	}
	if (listener)
		return accept_both(fd, listener, from, bytes, flags);
	made = REAL(accept4)(fd, (struct sockaddr *)&name, &length, flags);
	if (made < 0)
		return made;
	if (name.ss_family == AF_VSOCK) {
		tag = wrap_tag_get(fd);
		if (tag.kind == WRAP_TAG_SERVER)
			return accept_finish(made, &tag, fd, (struct sockaddr_vm *)&name, from,
					     bytes);
	}
	if (from) {
		room = *bytes;
		memcpy(from, &name, room < length ? room : length);
		*bytes = length;
	}
	return made;
}

WRAP_EXPORT int accept4(int fd, struct sockaddr *from, socklen_t *bytes, int flags)
{
	return accept_any(fd, from, bytes, flags);
}

WRAP_EXPORT int accept(int fd, struct sockaddr *from, socklen_t *bytes)
{
	return accept_any(fd, from, bytes, 0);
}

/* The sockets among this process's descriptors; how many. */
static int inherited_sockets(int found[INHERITED_MAX])
{
	DIR *folder = opendir("/proc/self/fd");
	struct dirent *entry;
	int count = 0;

	if (!folder) { /* no /proc: the numbers that are likely */
		for (int fd = 0; fd < INHERITED_MAX; fd++)
			if (wrap_socket_option(fd, SO_DOMAIN) >= 0)
				found[count++] = fd;
		return count;
	}
	while ((entry = readdir(folder)) && count < INHERITED_MAX) {
		int fd = entry->d_name[0] == '.' ? -1 : atoi(entry->d_name);

		if (fd >= 0 && wrap_socket_option(fd, SO_DOMAIN) >= 0)
			found[count++] = fd;
	}
	closedir(folder);
	return count;
}

/* Pair the companion with each descriptor of its listener; false where there is none. */
static bool listener_adopt(int companion, const struct wrap_tag *tag, const int *fds, int count)
{
	struct wrap_listener *listener = NULL;

	for (int i = 0; i < count; i++) {
		if (fds[i] == companion || wrap_socket_option(fds[i], SO_ACCEPTCONN) != 1 ||
		    (wrap_cookie(fds[i]) & WRAP_TAG_COOKIE_MASK) != tag->cookie)
			continue;
		if (!listener)
			listener = listener_enter(fds[i], companion, tag->v6, tag->v6_only);
		else
			wrap_listener_hold(fds[i], listener);
		wrap_say(WRAP_EXPLAIN, "fd %d: an inherited listener, on vsock too", fds[i]);
	}
	return listener != NULL;
}

void wrap_listeners_find(void)
{
	int fds[INHERITED_MAX], count = inherited_sockets(fds);
	sigset_t saved;

	wrap_lock(&saved);
	for (int i = 0; i < count; i++) {
		struct wrap_tag tag = wrap_tag_of(fds[i]);

		if (tag.kind == WRAP_TAG_COMPANION &&
		    (!wrap_state.active || !listener_adopt(fds[i], &tag, fds, count)))
			REAL(close)(fds[i]);
	}
	wrap_unlock(&saved);
}
