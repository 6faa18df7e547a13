/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TCP socket becomes an AF_VSOCK one: socket, connect, bind, and what is sent with an address.
 *
 * A socket stays the kernel's TCP socket until connect() (or bind() to an address that only the
 * VMs' world has) decides by the rules. Then an AF_VSOCK socket is made beside it, given the same
 * flags and options, and dup3'ed over its number and over those that dup() had made of it;
 * registrations in epoll sets are made again. Whether a descriptor still is what the slot says is
 * asked of the kernel, by SO_COOKIE and by deleting each registration before it is made again.
 *
 *	blocking, any rule	connects first and replaces after success: a failure leaves the TCP
 *				socket untouched, for TCP's connect() or the next try
 *	O_NONBLOCK, "vsock"	replaces, and returns EINPROGRESS; SO_ERROR tells the end
 *	O_NONBLOCK, "both"	waits for the verdict of the peer's kernel, at most VERDICT_MS: it
 *				comes within microseconds, and only it says whether TCP must be
 *tried
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/random.h>
#include <sys/time.h>
#include <unistd.h>

#include "vsock/wrap/wrap.h"

#define VERDICT_MS	250
#define EPHEMERAL_FIRST 32768
#define EPHEMERAL_LAST	60999
#define EPHEMERAL_TRIES 64
#define ALIASES_MAX	64
#define TRY_TCP		(-2)

struct client {
	struct wrap_endpoint to;
	struct sockaddr_vm vm;
	struct wrap_tcp tcp;
	const struct rules_line *rule;
	int map;
	int flags; /* of the file */
	int error; /* what vsock said before TCP is tried */
};

bool wrap_tcp_socket(int fd, struct wrap_tcp *tcp)
{
	const struct wrap_slot *slot = wrap_slot_find(fd);
	int domain, protocol;

	tcp->is_new = slot && slot->flags & WRAP_SLOT_NEW;
	tcp->v6 = tcp->is_new && slot->flags & WRAP_SLOT_V6;
	if (tcp->is_new)
		return true;
	domain = wrap_socket_option(fd, SO_DOMAIN);
	if (domain != AF_INET && domain != AF_INET6)
		return false;
	tcp->v6 = domain == AF_INET6;
	protocol = wrap_socket_option(fd, SO_PROTOCOL);
	return wrap_socket_option(fd, SO_TYPE) == SOCK_STREAM &&
	       (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP);
}

WRAP_EXPORT int socket(int domain, int type, int protocol)
{
	int fd = REAL(socket)(domain, type, protocol);
	struct wrap_slot *slot;

	if (fd < 0 || !wrap_state.active)
		return fd;
	if ((domain == AF_INET || domain == AF_INET6) && (type & 0xf) == SOCK_STREAM &&
	    (protocol == 0 || protocol == IPPROTO_TCP)) {
		slot = wrap_slot_make(fd);
		if (slot)
			*slot = (struct wrap_slot){
				.flags = WRAP_SLOT_NEW | (domain == AF_INET6 ? WRAP_SLOT_V6 : 0)
			};
	} else {
		/* Whatever had this number was closed behind our back. */
		slot = wrap_slot_find(fd);
		if (slot && slot->flags)
			*slot = (struct wrap_slot){ 0 };
	}
	return fd;
}

/* Options of SOL_SOCKET that mean the same to both kinds of socket. */
static const int copied_options[] = { SO_RCVTIMEO,  SO_SNDTIMEO,  SO_LINGER,   SO_KEEPALIVE,
				      SO_REUSEADDR, SO_RCVLOWAT,  SO_PRIORITY, SO_MARK,
				      SO_OOBINLINE, SO_BROADCAST, SO_DONTROUTE };

int wrap_options_copy(int from, int to)
{
	static const char zeros[sizeof(struct timeval)];
	struct timeval limit;
	socklen_t bytes = sizeof(limit);
	char value[sizeof(struct timeval)], present[sizeof(struct timeval)];

	for (size_t i = 0; i < sizeof(copied_options) / sizeof(*copied_options); i++) {
		socklen_t length = sizeof(value), other = sizeof(present);

		if (REAL(getsockopt)(from, SOL_SOCKET, copied_options[i], value, &length) < 0 ||
		    !memcmp(value, zeros, length))
			continue;
		if (REAL(getsockopt)(to, SOL_SOCKET, copied_options[i], present, &other) == 0 &&
		    other == length && !memcmp(value, present, length))
			continue;
		if (REAL(setsockopt)(to, SOL_SOCKET, copied_options[i], value, length) < 0)
			return -errno;
	}
	/* How long connect() may take has a name of its own there. */
	if (REAL(getsockopt)(from, SOL_SOCKET, SO_SNDTIMEO, &limit, &bytes) == 0 &&
	    (limit.tv_sec || limit.tv_usec))
		REAL(setsockopt)(to, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &limit, bytes);
	if (wrap_socket_option(from, SO_ZEROCOPY) == 1) {
		int on = 1;

		if (REAL(setsockopt)(to, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof(on)) < 0)
			return -EOPNOTSUPP;
	}
	return 0;
}

int wrap_bind_port(int fd, uint32_t cid, uint32_t port)
{
	struct sockaddr_vm vm = { .svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port };

	return REAL(bind)(fd, (struct sockaddr *)&vm, sizeof(vm)) < 0 ? -errno : 0;
}

int wrap_bind_ephemeral(int fd, uint32_t cid)
{
	static uint32_t state;
	uint32_t now;

	/* Not for secrecy: so that processes seldom try the same. */
	if (!state && getrandom(&state, sizeof(state), GRND_NONBLOCK) < 0)
		state = (uint32_t)getpid() * 2654435761u;
	for (int tries = 0; tries < EPHEMERAL_TRIES; tries++) {
		int code;

		now = __atomic_add_fetch(&state, 0x9e3779b9u, __ATOMIC_RELAXED);
		now = EPHEMERAL_FIRST +
		      (uint32_t)((uint64_t)now * (EPHEMERAL_LAST - EPHEMERAL_FIRST + 1) >> 32);
		code = wrap_bind_port(fd, cid, now);
		if (code != -EADDRINUSE)
			return code;
	}
	return -EADDRINUSE;
}

/* Give one descriptor to the new socket; its registrations move. */
static int replace_one(int fd, int with)
{
	struct wrap_slot *slot = wrap_slot_find(fd);
	bool watched[WRAP_WATCHES] = { false };
	int flags = REAL(fcntl)(fd, F_GETFD);

	for (int i = 0; slot && i < WRAP_WATCHES; i++)
		watched[i] =
			slot->watches[i].epoll_fd && REAL(epoll_ctl)(slot->watches[i].epoll_fd - 1,
								     EPOLL_CTL_DEL, fd, NULL) == 0;
	if (slot && slot->flags & WRAP_SLOT_CROWDED)
		wrap_say(WRAP_REFUSED, "fd %d: is in more than %d epoll sets: some lose it", fd,
			 WRAP_WATCHES);
	if (REAL(dup3)(with, fd, flags > 0 && flags & FD_CLOEXEC ? O_CLOEXEC : 0) < 0)
		return -errno;
	for (int i = 0; slot && i < WRAP_WATCHES; i++) {
		struct epoll_event event = { .events = slot->watches[i].events,
					     .data.u64 = slot->watches[i].data };

		if (watched[i])
			REAL(epoll_ctl)(slot->watches[i].epoll_fd - 1, EPOLL_CTL_ADD, fd, &event);
	}
	if (slot) {
		slot->flags &= WRAP_SLOT_HIDDEN;
		slot->alias_next = 0;
	}
	return 0;
}

/* The descriptors of this process that are the same socket as @fd, itself last; with the lock. */
static int aliases_of(int fd, int found[ALIASES_MAX])
{
	const struct wrap_slot *at = wrap_slot_find(fd);
	uint64_t cookie = wrap_cookie(fd);
	int count = 0;

	while (at && at->alias_next && at->alias_next - 1 != fd && count < ALIASES_MAX - 1) {
		int other = at->alias_next - 1;

		if (cookie && wrap_cookie(other) == cookie)
			found[count++] = other;
		at = wrap_slot_find(other);
	}
	found[count++] = fd;
	return count;
}

int wrap_replace(int fd, int with, int flags)
{
	const struct wrap_slot *slot = wrap_slot_find(fd);
	int found[ALIASES_MAX], count, code = 0;
	struct f_owner_ex who;
	sigset_t saved;

	if (flags & O_ASYNC && REAL(fcntl)(fd, F_GETOWN_EX, &who) == 0) {
		REAL(fcntl)(with, F_SETOWN_EX, &who);
		REAL(fcntl)(with, F_SETSIG, REAL(fcntl)(fd, F_GETSIG));
	}
	if (!slot || !slot->alias_next) {
		code = replace_one(fd, with);
	} else {
		wrap_lock(&saved);
		count = aliases_of(fd, found);
		for (int i = 0; i < count && !code; i++)
			code = replace_one(found[i], with);
		wrap_unlock(&saved);
	}
	REAL(close)(with);
	return code;
}

int wrap_tcp_error(int error)
{
	switch (error) {
	case ECONNRESET:
		return ECONNREFUSED;
	case ENODEV:
	case EAFNOSUPPORT:
	case EADDRNOTAVAIL:
		return ENETUNREACH;
	default:
		return error;
	}
}

static bool is_v6_only(int fd)
{
	int on = 0;
	socklen_t bytes = sizeof(on);

	return REAL(getsockopt)(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, &bytes) == 0 && on;
}

/* The AF_VSOCK socket that is to take the place of @fd, not connected; or -errno. */
static int client_open(int fd, const struct client *client)
{
	const struct wrap_slot *slot = wrap_slot_find(fd);
	struct wrap_tag tag = { .kind = WRAP_TAG_CLIENT,
				.v6 = client->tcp.v6,
				.mapped =
					client->tcp.v6 && IN6_IS_ADDR_V4MAPPED(&client->to.address),
				.v6_only = client->tcp.v6 && is_v6_only(fd),
				.map = client->map + 1 };
	int made = REAL(socket)(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0), code = 0;
	struct wrap_endpoint local = { .port = 0 };
	socklen_t bytes = sizeof(int);
	int on = 0;

	if (made < 0)
		return -errno;
	if (!client->tcp.is_new || slot->flags & WRAP_SLOT_OPTIONS) {
		code = wrap_options_copy(fd, made);
		if (REAL(getsockopt)(fd, IPPROTO_TCP, TCP_NODELAY, &on, &bytes) == 0)
			tag.no_delay = on;
	}
	if (!code)
		code = wrap_tag_set(made, &tag);
	if (!code && client->flags & (O_NONBLOCK | O_ASYNC) &&
	    REAL(fcntl)(made, F_SETFL, client->flags & (O_NONBLOCK | O_ASYNC)) < 0)
		code = -errno;
	if (!client->tcp.is_new || slot->flags & WRAP_SLOT_BOUND)
		wrap_local_endpoint(fd, &local);
	if (!code && local.port)
		code = wrap_bind_port(made, VMADDR_CID_ANY, local.port);
	if (code == -EADDRINUSE || (!code && !local.port)) {
		/* Where all of those are taken, connect() picks one that is shown cut. */
		wrap_bind_ephemeral(made, VMADDR_CID_ANY);
		code = 0;
	}
	if (code)
		REAL(close)(made);
	return code ? code : made;
}

/* Wait for a connection that is under way; 0, -errno, or -ETIMEDOUT when the verdict is late. */
static int client_verdict(int fd)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLOUT };
	struct timespec now;
	int64_t left_ms = VERDICT_MS, end_ms;
	int ready, error;

	clock_gettime(CLOCK_MONOTONIC, &now);
	end_ms = now.tv_sec * 1000LL + now.tv_nsec / 1000000 + VERDICT_MS;
	do {
		ready = REAL(poll)(&pollfd, 1, (int)left_ms);
		clock_gettime(CLOCK_MONOTONIC, &now);
		left_ms = end_ms - (now.tv_sec * 1000LL + now.tv_nsec / 1000000);
	} while (ready < 0 && errno == EINTR && left_ms > 0);
	if (ready <= 0)
		return -ETIMEDOUT;
	error = wrap_socket_option(fd, SO_ERROR);
	return error > 0 ? -error : 0;
}

/* Connect the new socket as far as the rule wants before it takes over; 0 or -errno. */
static int client_try(int made, const struct client *client)
{
	int code = REAL(connect)(made, (const struct sockaddr *)&client->vm, sizeof(client->vm));

	if (code < 0)
		code = -errno;
	if (code == -EINPROGRESS && client->rule->use == RULES_USE_BOTH)
		code = client_verdict(made);
	return code == -EINPROGRESS ? 0 : code;
}

/**
 * client_connect - connect() of a TCP socket to an address that is a VM's
 *
 * Return: as connect(); TRY_TCP where the kernel's connect() is to be called.
 */
static int client_connect(int fd, struct client *client)
{
	char text[WRAP_TEXT_BYTES];
	int made = client_open(fd, client), code = made;

	wrap_endpoint_text(&client->to, text);
	if (made >= 0) {
		code = client_try(made, client);
		if (!code)
			code = wrap_replace(fd, made, client->flags);
		else
			REAL(close)(made);
	}
	if (!code) {
		wrap_say(WRAP_EXPLAIN, "fd %d: connects to %s as vsock %u:%u (rule %u)", fd, text,
			 client->vm.svm_cid, client->vm.svm_port, client->rule->number);
		errno = EINPROGRESS;
		return client->flags & O_NONBLOCK ? -1 : 0;
	}
	if (code == -EOPNOTSUPP)
		wrap_say(WRAP_REFUSED,
			 "fd %d: SO_ZEROCOPY is set, which this kernel's vsock does not have%s", fd,
			 client->rule->use == RULES_USE_BOTH ? ": TCP" : "");
	client->error = wrap_tcp_error(-code);
	if (client->rule->use == RULES_USE_BOTH && code != -EINTR) {
		wrap_say(WRAP_EXPLAIN, "fd %d: %s: vsock %u:%u: %s; TCP is tried (rule %u)", fd,
			 text, client->vm.svm_cid, client->vm.svm_port, strerror(-code),
			 client->rule->number);
		return TRY_TCP;
	}
	errno = client->error;
	wrap_say(WRAP_EXPLAIN, "fd %d: %s: vsock %u:%u: %s (rule %u)", fd, text, client->vm.svm_cid,
		 client->vm.svm_port, strerror(errno), client->rule->number);
	return -1;
}

/* connect() of a socket that is AF_VSOCK already: once more, or after bind() to a VM's address. */
static int connect_again(int fd, const struct client *client, struct wrap_tag *tag)
{
	int code;

	if (tag->kind == WRAP_TAG_SERVER) {
		tag->kind = WRAP_TAG_CLIENT;
		tag->map = client->map + 1;
		tag->mapped = tag->v6 && IN6_IS_ADDR_V4MAPPED(&client->to.address);
		wrap_tag_set(fd, tag);
	}
	code = REAL(connect)(fd, (const struct sockaddr *)&client->vm, sizeof(client->vm));
	if (code < 0)
		errno = wrap_tcp_error(errno);
	return code;
}

/* What the rules say about a client; false: leave it to the kernel as it is. */
static bool client_find(int fd, struct client *client, const struct sockaddr *to, socklen_t bytes)
{
	char text[WRAP_TEXT_BYTES];

	if (!wrap_endpoint_read(&client->to, to, bytes))
		return false;
	client->rule =
		rules_find(&wrap_state.rules, RULES_CLIENT, &client->to.address, client->to.port);
	client->map = -1;
	client->vm = (struct sockaddr_vm){ .svm_family = AF_VSOCK, .svm_port = client->to.port };
	if (client->rule && client->rule->use != RULES_USE_TCP)
		client->map =
			rules_cid(&wrap_state.rules, &client->to.address, &client->vm.svm_cid);
	if (client->map >= 0)
		return true;
	if (wrap_says(WRAP_EXPLAIN) && wrap_tcp_socket(fd, &client->tcp))
		wrap_say(WRAP_EXPLAIN, "fd %d: connects to %s as TCP (%s)", fd,
			 wrap_endpoint_text(&client->to, text),
			 !client->rule			      ? "no rule"
			 : client->rule->use == RULES_USE_TCP ? "by rule"
							      : "no map line has its CID");
	return false;
}

/* Whether a TCP socket is as socket() made it: not connected, not on its way, no listener. */
static bool is_unconnected(int fd, const struct wrap_tcp *tcp)
{
	unsigned char state = 0; /* first field of struct tcp_info */
	socklen_t bytes = sizeof(state);

	return tcp->is_new || (REAL(getsockopt)(fd, IPPROTO_TCP, TCP_INFO, &state, &bytes) == 0 &&
			       state == TCP_CLOSE);
}

/* connect() by the kernel: from now on the slot does not say what the socket is. */
static int connect_tcp(int fd, const struct sockaddr *to, socklen_t bytes)
{
	struct wrap_slot *slot = wrap_slot_find(fd);
	int code;

	if (slot)
		slot->flags &= ~WRAP_SLOT_NEW;
	code = REAL(connect)(fd, to, bytes);
	if (code < 0 && errno == EAFNOSUPPORT && wrap_state.active &&
	    wrap_tag_of(fd).kind != WRAP_TAG_NONE)
		wrap_say(WRAP_REFUSED,
			 "fd %d: is vsock already, but no map line has the CID of "
			 "where it is to connect",
			 fd);
	return code;
}

WRAP_EXPORT int connect(int fd, const struct sockaddr *to, socklen_t bytes)
{
	struct client client;
	int code;

	if (!wrap_state.active || !client_find(fd, &client, to, bytes))
		return connect_tcp(fd, to, bytes);
	if (!wrap_tcp_socket(fd, &client.tcp)) {
		struct wrap_tag tag = wrap_tag_of(fd);

		if (tag.kind == WRAP_TAG_NONE)
			return REAL(connect)(fd, to, bytes);
		return connect_again(fd, &client, &tag);
	}
	/* An IPv4 socket cannot take an IPv6 address, nor one for IPv6 alone a mapped one. */
	if (client.to.v6 != client.tcp.v6 || !is_unconnected(fd, &client.tcp) ||
	    (client.tcp.v6 && IN6_IS_ADDR_V4MAPPED(&client.to.address) && is_v6_only(fd)))
		return connect_tcp(fd, to, bytes);
	client.flags = REAL(fcntl)(fd, F_GETFL);
	code = client_connect(fd, &client);
	if (code != TRY_TCP)
		return code;
	code = connect_tcp(fd, to, bytes);
	/* Where there is no such network, the VM's answer is the better one. */
	if (code < 0 && (errno == ENETUNREACH || errno == EHOSTUNREACH))
		errno = client.error;
	return code;
}

/* Public under this name too. */
int __connect(int fd, const struct sockaddr *to, socklen_t bytes);

WRAP_EXPORT int __connect(int fd, const struct sockaddr *to, socklen_t bytes)
{
	return connect(fd, to, bytes);
}

/**
 * bind_vsock - bind() to an address that only the VMs' world has: ours, by the rules
 *
 * Return: as bind(); the TCP socket is untouched after a failure.
 */
static int bind_vsock(int fd, uint32_t cid, const struct wrap_endpoint *local,
		      const struct wrap_tcp *tcp, unsigned rule)
{
	struct wrap_tag tag = { .kind = WRAP_TAG_SERVER,
				.v6 = tcp->v6,
				.v6_only = tcp->v6 && is_v6_only(fd) };
	int made = REAL(socket)(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0), code;
	int flags = REAL(fcntl)(fd, F_GETFL);
	char text[WRAP_TEXT_BYTES];

	code = made < 0 ? -errno : wrap_options_copy(fd, made);
	if (!code)
		code = wrap_tag_set(made, &tag);
	if (!code && REAL(fcntl)(made, F_SETFL, flags & (O_NONBLOCK | O_ASYNC)) < 0)
		code = -errno;
	if (!code)
		code = local->port ? wrap_bind_port(made, cid, local->port)
				   : wrap_bind_ephemeral(made, cid);
	if (!code)
		code = wrap_replace(fd, made, flags);
	else if (made >= 0)
		REAL(close)(made);
	wrap_say(WRAP_EXPLAIN,
		 "fd %d: bound to %s, which is this machine's on vsock alone: %s (rule %u)", fd,
		 wrap_endpoint_text(local, text), code ? strerror(-code) : "done", rule);
	errno = code ? -code : errno;
	return code ? -1 : 0;
}

WRAP_EXPORT int bind(int fd, const struct sockaddr *to, socklen_t bytes)
{
	int code = REAL(bind)(fd, to, bytes), saved_errno = errno;
	struct wrap_slot *slot = wrap_slot_find(fd);
	const struct rules_line *rule;
	struct wrap_endpoint local;
	struct wrap_tcp tcp;
	uint32_t cid;

	if (code == 0) {
		if (slot && slot->flags & WRAP_SLOT_NEW)
			slot->flags |= WRAP_SLOT_BOUND;
		return 0;
	}
	if (errno == EADDRNOTAVAIL && wrap_state.active && wrap_endpoint_read(&local, to, bytes) &&
	    wrap_tcp_socket(fd, &tcp) && local.v6 == tcp.v6) {
		rule = rules_find(&wrap_state.rules, RULES_SERVER, &local.address, local.port);
		if (rule && rule->use != RULES_USE_TCP &&
		    rules_cid(&wrap_state.rules, &local.address, &cid) >= 0 &&
		    (cid == wrap_state.own_cid || cid == VMADDR_CID_LOCAL))
			return bind_vsock(fd, cid, &local, &tcp, rule->number);
	}
	errno = saved_errno;
	return code;
}
