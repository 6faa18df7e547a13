/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options of TCP and IP on a socket that is AF_VSOCK: getsockopt, setsockopt, ioctl, shutdown.
 *
 * The kernel is asked first; only what it refuses is looked at, so a TCP socket costs nothing
 * more. On a socket of ours then
 *	- what cannot matter there (TCP_NODELAY: vsock never waits) is taken and read back,
 *	- what describes the connection (TCP_INFO, TCP_MAXSEG) is answered as far as it is known,
 *	- what a program relies on (TCP_ULP, TCP_MD5SIG, IP_TRANSPARENT ...) is refused with a line.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vsock/wrap/wrap.h"

#define SEGMENT_BYTES	65483 /* the largest that TCP_MAXSEG can name: packets have 64 KiB */
#define PEEK_PART_BYTES 4096
#define PEEK_PARTS	64 /* together the default window */

/* What a TCP or IP option reads as where nothing was set; and whether it may be set. */
static const struct option {
	int level, name;
	int value;
	int kept; /* enum wrap_kept plus one */
} harmless[] = {
	{ IPPROTO_TCP, TCP_CORK, 0, 0 },
	{ IPPROTO_TCP, TCP_QUICKACK, 1, 0 },
	{ IPPROTO_TCP, TCP_MAXSEG, SEGMENT_BYTES, 0 },
	{ IPPROTO_TCP, TCP_KEEPIDLE, 7200, WRAP_KEPT_IDLE + 1 },
	{ IPPROTO_TCP, TCP_KEEPINTVL, 75, WRAP_KEPT_INTERVAL + 1 },
	{ IPPROTO_TCP, TCP_KEEPCNT, 9, WRAP_KEPT_COUNT + 1 },
	{ IPPROTO_TCP, TCP_USER_TIMEOUT, 0, WRAP_KEPT_TIMEOUT + 1 },
	{ IPPROTO_TCP, TCP_SYNCNT, 6, 0 },
	{ IPPROTO_TCP, TCP_LINGER2, 60, 0 },
	{ IPPROTO_TCP, TCP_DEFER_ACCEPT, 0, 0 },
	{ IPPROTO_TCP, TCP_WINDOW_CLAMP, 0, 0 },
	{ IPPROTO_TCP, TCP_NOTSENT_LOWAT, 0, 0 },
	{ IPPROTO_TCP, TCP_FASTOPEN, 0, 0 },
	{ IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 0, 0 },
	{ IPPROTO_TCP, TCP_SAVE_SYN, 0, 0 },
	{ IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, 0, 0 },
	{ IPPROTO_IP, IP_TOS, 0, 0 },
	{ IPPROTO_IP, IP_TTL, 64, 0 },
	{ IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_WANT, 0 },
	{ IPPROTO_IP, IP_RECVERR, 0, 0 },
	{ IPPROTO_IP, IP_FREEBIND, 0, 0 },
	{ IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 0, 0 },
	{ IPPROTO_IP, IP_PKTINFO, 0, 0 },
	{ IPPROTO_IPV6, IPV6_TCLASS, 0, 0 },
	{ IPPROTO_IPV6, IPV6_UNICAST_HOPS, 64, 0 },
	{ IPPROTO_IPV6, IPV6_RECVERR, 0, 0 },
	{ IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_WANT, 0 },
	{ IPPROTO_IPV6, IPV6_RECVPKTINFO, 0, 0 },
};

static const struct option *option_find(int level, int name)
{
	for (size_t i = 0; i < sizeof(harmless) / sizeof(*harmless); i++)
		if (harmless[i].level == level && harmless[i].name == name)
			return &harmless[i];
	return NULL;
}

static bool is_internet(int level)
{
	return level == IPPROTO_TCP || level == IPPROTO_IP || level == IPPROTO_IPV6;
}

/* Write an answer as the kernel does, cut to *bytes. */
static int answer(const void *from, socklen_t length, void *value, socklen_t *bytes)
{
	if ((int)*bytes < 0) {
		errno = EINVAL;
		return -1;
	}
	if (*bytes > length)
		*bytes = length;
	memcpy(value, from, *bytes);
	return 0;
}

static bool is_connected(int fd)
{
	struct sockaddr_vm vm;
	socklen_t bytes = sizeof(vm);

	return REAL(getpeername)(fd, (struct sockaddr *)&vm, &bytes) == 0;
}

static int answer_info(int fd, void *value, socklen_t *bytes)
{
	struct tcp_info info = { .tcpi_state = TCP_CLOSE,
				 .tcpi_snd_mss = SEGMENT_BYTES,
				 .tcpi_rcv_mss = SEGMENT_BYTES,
				 .tcpi_advmss = SEGMENT_BYTES,
				 .tcpi_pmtu = SEGMENT_BYTES };

	if (wrap_socket_option(fd, SO_ACCEPTCONN) == 1)
		info.tcpi_state = TCP_LISTEN;
	else if (is_connected(fd))
		info.tcpi_state = TCP_ESTABLISHED;
	return answer(&info, sizeof(info), value, bytes);
}

/* getsockopt() at a level that the kernel does not have for the socket, which is ours. */
static int answer_internet(int fd, const struct wrap_tag *tag, int level, int name, void *value,
			   socklen_t *bytes)
{
	const struct option *option = option_find(level, name);
	const struct wrap_slot *slot = wrap_slot_find(fd);
	int number;

	if (option) {
		number = option->value;
		if (option->kept && slot && slot->kept[option->kept - 1])
			number = slot->kept[option->kept - 1];
	} else if (level == IPPROTO_TCP && name == TCP_NODELAY) {
		number = tag->no_delay;
	} else if (level == IPPROTO_IPV6 && name == IPV6_V6ONLY && tag->v6) {
		number = tag->v6_only;
	} else if (level == IPPROTO_TCP && name == TCP_INFO) {
		return answer_info(fd, value, bytes);
	} else if (level == IPPROTO_TCP && name == TCP_CONGESTION) {
		return answer("vsock", sizeof("vsock"), value, bytes);
	} else if (level == IPPROTO_IP && name == IP_OPTIONS) {
		*bytes = 0;
		return 0;
	} else {
		errno = ENOPROTOOPT;
		return -1;
	}
	return answer(&number, sizeof(number), value, bytes);
}

/* Answers of SOL_SOCKET that would tell a program that its socket is no TCP socket. */
static void answer_socket(int fd, int name, int *value)
{
	struct wrap_tag tag;

	if (name == SO_DOMAIN && *value == AF_VSOCK) {
		tag = wrap_tag_get(fd);
		if (tag.kind != WRAP_TAG_NONE)
			*value = tag.v6 ? AF_INET6 : AF_INET;
	} else if (name == SO_PROTOCOL && *value == 0) {
		if (wrap_tag_of(fd).kind != WRAP_TAG_NONE)
			*value = IPPROTO_TCP;
	} else if (name == SO_ERROR && *value && wrap_tcp_error(*value) != *value) {
		if (wrap_tag_of(fd).kind == WRAP_TAG_CLIENT && !is_connected(fd)) {
			*value = wrap_tcp_error(*value);
			wrap_say(WRAP_EXPLAIN, "fd %d: the connection failed: %s", fd,
				 strerror(*value));
		}
	}
}

WRAP_EXPORT int getsockopt(int fd, int level, int name, void *value, socklen_t *bytes)
{
	int code = REAL(getsockopt)(fd, level, name, value, bytes), saved_errno = errno;
	struct wrap_tag tag;

	if (!wrap_state.active)
		return code;
	if (code == 0) {
		if (level == SOL_SOCKET && *bytes == sizeof(int))
			answer_socket(fd, name, value);
		errno = saved_errno;
		return 0;
	}
	if ((errno != ENOPROTOOPT && errno != EOPNOTSUPP) || !is_internet(level))
		return -1;
	tag = wrap_tag_of(fd);
	errno = saved_errno;
	return tag.kind == WRAP_TAG_NONE ? -1
					 : answer_internet(fd, &tag, level, name, value, bytes);
}

/* setsockopt() that the kernel refused on a socket of ours. */
static int set_internet(int fd, struct wrap_tag *tag, int level, int name, const void *value,
			socklen_t bytes)
{
	const struct option *option = option_find(level, name);
	struct wrap_slot *slot;

	if (level == IPPROTO_TCP && name == TCP_NODELAY && bytes >= sizeof(int)) {
		tag->no_delay = *(const int *)value != 0;
		return wrap_tag_set(fd, tag);
	}
	if (level == IPPROTO_TCP && name == TCP_CONGESTION)
		return 0;
	if (!option) {
		wrap_say(WRAP_REFUSED,
			 "fd %d: setsockopt(level %d, option %d) has no meaning on vsock", fd,
			 level, name);
		errno = ENOPROTOOPT;
		return -1;
	}
	slot = option->kept && bytes >= sizeof(int) ? wrap_slot_make(fd) : NULL;
	if (slot)
		slot->kept[option->kept - 1] = *(const int *)value;
	return 0;
}

WRAP_EXPORT int setsockopt(int fd, int level, int name, const void *value, socklen_t bytes)
{
	const struct option *option;
	struct wrap_listener *listener;
	struct wrap_slot *slot;
	struct wrap_tag tag;
	int code;

	if (!wrap_state.active)
		return REAL(setsockopt)(fd, level, name, value, bytes);
	if (level == SOL_SOCKET && name == SO_MAX_PACING_RATE &&
	    wrap_tag_of(fd).kind != WRAP_TAG_NONE)
		return 0; /* our tag lies there, and vsock has no pacing */
	code = REAL(setsockopt)(fd, level, name, value, bytes);
	if (code < 0) {
		if ((errno != ENOPROTOOPT && errno != EOPNOTSUPP) || !is_internet(level))
			return code;
		tag = wrap_tag_of(fd);
		return tag.kind == WRAP_TAG_NONE
			       ? code
			       : set_internet(fd, &tag, level, name, value, bytes);
	}
	slot = wrap_slot_find(fd);
	if (slot && slot->flags & WRAP_SLOT_NEW) {
		slot->flags |= WRAP_SLOT_OPTIONS;
		option = option_find(level, name);
		if (option && option->kept && bytes >= sizeof(int))
			slot->kept[option->kept - 1] = *(const int *)value;
	}
	listener = level == SOL_SOCKET ? wrap_listener_of(fd) : NULL;
	if (listener)
		wrap_listener_reread(listener, fd);
	return code;
}

/* Bytes that a read would find at least: the kernel's vsock has no FIONREAD. */
static int count_readable(int fd, int *count)
{
	char part[PEEK_PART_BYTES];
	struct iovec parts[PEEK_PARTS];
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = PEEK_PARTS };
	ssize_t got;

	for (int i = 0; i < PEEK_PARTS; i++) /* all into one: only the number matters */
		parts[i] = (struct iovec){ part, sizeof(part) };
	got = recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT);
	if (got < 0 && errno != EAGAIN && errno != ENOTCONN)
		return -1;
	*count = got < 0 ? 0 : (int)got;
	return 0;
}

/* ioctl() that the kernel refused on a socket of ours. */
static int ioctl_internet(int fd, const struct wrap_tag *tag, unsigned long request, void *argument)
{
	int other, code, saved_errno;

	if (request == FIONREAD)
		return count_readable(fd, argument);
	if (request == SIOCATMARK) {
		*(int *)argument = 0;
		return 0;
	}
	if (request < SIOCGIFNAME || request >= SIOCPROTOPRIVATE) {
		errno = ENOTTY;
		return -1;
	}
	/* About interfaces and routes: any socket of the family will do. */
	other = REAL(socket)(tag->v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (other < 0)
		return -1;
	code = REAL(ioctl)(other, request, argument);
	saved_errno = errno;
	REAL(close)(other);
	errno = saved_errno;
	return code;
}

/* O_NONBLOCK and close-on-exec of a TCP listener with a companion, by way of fcntl(). */
static int ioctl_listener(int fd, unsigned long request, const void *argument)
{
	int flags;

	if (request == FIOCLEX || request == FIONCLEX)
		return fcntl(fd, F_SETFD, request == FIOCLEX ? FD_CLOEXEC : 0);
	flags = fcntl(fd, F_GETFL);
	return flags < 0 ? -1
			 : fcntl(fd, F_SETFL,
				 *(const int *)argument ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}

WRAP_EXPORT int ioctl(int fd, unsigned long request, ...)
{
	struct wrap_tag tag;
	va_list arguments;
	void *argument;
	int code;

	va_start(arguments, request);
	argument = va_arg(arguments, void *);
	va_end(arguments);
	if ((request == FIONBIO || request == FIOCLEX || request == FIONCLEX) &&
	    wrap_listener_of(fd))
		return ioctl_listener(fd, request, argument);
	code = REAL(ioctl)(fd, request, argument);
	if (code == 0 || !wrap_state.active || (errno != EOPNOTSUPP && errno != ENOTTY))
		return code;
	code = errno;
	tag = wrap_tag_of(fd);
	errno = code;
	return tag.kind == WRAP_TAG_NONE ? -1 : ioctl_internet(fd, &tag, request, argument);
}

WRAP_EXPORT int sockatmark(int fd)
{
	int mark;

	return ioctl(fd, SIOCATMARK, &mark) < 0 ? -1 : mark;
}

WRAP_EXPORT int shutdown(int fd, int how)
{
	if (wrap_listener_of(fd) && wrap_is_ours())
		wrap_listener_forget(fd);
	return REAL(shutdown)(fd, how);
}
