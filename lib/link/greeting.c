/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The greeting, both sides (wire: proto/link.h).
 *
 *	client				server
 *	link_greet: send greeting  →	link_answer: receive, link_greeting_check, map the ring
 *	receive, link_answer_check ←	send answer
 *
 * Both ends bound the whole exchange by one deadline, so that a peer that sends a byte now and
 * then gains nothing. Exactly the greeting's bytes are read: what follows belongs to the link's
 * user. Sizes on the wire are checked against constants and never decide how much is read.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/link/internal.h"

/* Between an answer's code and what link_connect() returns. */
static const int answer_errnos[LINK_ANSWER_CODES] = {
	[LINK_ANSWER_ACCEPTED] = 0,
	[LINK_ANSWER_MALFORMED] = -EPROTO,
	[LINK_ANSWER_VERSION] = -EPROTONOSUPPORT,
	[LINK_ANSWER_DENIED] = -EACCES,
	[LINK_ANSWER_MEMORY] = -EINVAL,
	[LINK_ANSWER_BUSY] = -EBUSY,
	[LINK_ANSWER_BROKEN] = -EIO,
};

static const uint8_t wire_media[] = {
	[LINK_UNIX] = LINK_WIRE_UNIX,	[LINK_RING] = LINK_WIRE_RING, [LINK_TCP] = LINK_WIRE_TCP,
	[LINK_VSOCK] = LINK_WIRE_VSOCK, [LINK_SCIF] = LINK_WIRE_SCIF,
};

int64_t link_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits for @events; 0, -ETIMEDOUT or -errno. */
static int greeting_wait(int fd, short events, int64_t deadline_ms)
{
	for (;;) {
		int64_t left_ms = deadline_ms - link_now_ms();
		struct pollfd one = { .fd = fd, .events = events };
		int ready;

		if (left_ms <= 0)
			return -ETIMEDOUT;
		ready = poll(&one, 1, left_ms < 60000 ? (int)left_ms : 60000);
		if (ready > 0)
			return 0;
		if (ready < 0 && errno != EINTR)
			return -errno;
	}
}

/* Sends all of @data before the deadline, with descriptors beside its first byte. */
static int greeting_send(int fd, const void *data, size_t bytes, const int *fds, size_t fd_count,
			 int64_t deadline_ms)
{
	const char *at = data;

	while (bytes) {
		int status = greeting_wait(fd, POLLOUT, deadline_ms);
		ssize_t sent;

		if (status < 0)
			return status;
		if (fd_count)
			sent = io_send_fds(fd, at, bytes, fds, fd_count);
		else
			sent = send(fd, at, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (sent < 0)
			return -errno;
		fd_count = 0;
		at += sent;
		bytes -= sent;
	}
	return 0;
}

/*
 * Receives exactly @bytes bytes before the deadline, and the descriptors beside them; @fds has
 * IO_FDS_MAX places. On failure no descriptor is left open.
 */
static int greeting_receive(int fd, void *data, size_t bytes, int *fds, size_t *fd_count,
			    int64_t deadline_ms)
{
	char *at = data;
	int status = 0;

	*fd_count = 0;
	while (bytes) {
		int some[IO_FDS_MAX];
		size_t some_count = 0;
		ssize_t got;

		status = greeting_wait(fd, POLLIN, deadline_ms);
		if (status < 0)
			break;
		got = io_receive_fds(fd, at, bytes, some, &some_count);
		if (some_count && !*fd_count) {
			memcpy(fds, some, some_count * sizeof(int));
			*fd_count = some_count;
		} else if (some_count) {
			while (some_count)
				close(some[--some_count]);
			status = -EPROTO;
			break;
		}
		if (got == -EAGAIN)
			continue;
		if (got <= 0) {
			status = got < 0 ? (int)got : -EPIPE;
			break;
		}
		at += got;
		bytes -= got;
	}
	while (status < 0 && *fd_count)
		close(fds[--*fd_count]);
	return status;
}

/* Whether a range of bytes is all zero. */
static bool all_zero(const void *data, size_t bytes)
{
	const unsigned char *at = data;
	unsigned char any = 0;

	while (bytes--)
		any |= *at++;
	return any == 0;
}

/*
 * Compares what a peer sent with the secret, touching every byte of both fields whatever they
 * hold, so that the time tells nothing about where they differ.
 */
static bool token_equal(const uint8_t *sent, uint32_t sent_bytes, const char *token)
{
	uint8_t wanted[LINK_TOKEN_BYTES_MAX] = { 0 };
	size_t wanted_bytes = strnlen(token, LINK_TOKEN_BYTES_MAX + 1);
	volatile uint8_t difference = 0;

	if (!wanted_bytes || wanted_bytes > LINK_TOKEN_BYTES_MAX)
		return false;
	memcpy(wanted, token, wanted_bytes);
	difference |= sent_bytes != wanted_bytes;
	for (size_t i = 0; i < LINK_TOKEN_BYTES_MAX; i++)
		difference |= sent[i] ^ wanted[i];
	return difference == 0;
}

bool link_greeting_token_is(const struct link_greeting *greeting, const char *token)
{
	return token_equal(greeting->token, le32toh(greeting->token_bytes), token);
}

static int check_sizes(const struct link_greeting *greeting, struct error *error)
{
	uint64_t ring_bytes = le64toh(greeting->ring_bytes);
	uint64_t memory_bytes = le64toh(greeting->memory_bytes);
	uint64_t shared_bytes = le64toh(greeting->shared_bytes);

	if (shared_bytes > LINK_SHARED_BYTES_MAX || shared_bytes % 4096 ||
	    (shared_bytes && greeting->medium != LINK_WIRE_RING &&
	     greeting->medium != LINK_WIRE_UNIX))
		return error_set(error, -EPROTO, "greeting: shared memory of %llu bytes",
				 (unsigned long long)shared_bytes);
	if (greeting->medium != LINK_WIRE_RING && greeting->medium != LINK_WIRE_SCIF) {
		if (ring_bytes || memory_bytes)
			return error_set(error, -EPROTO, "greeting: a ring's size without a ring");
		return 0;
	}
	if (ring_bytes < LINK_RING_BYTES_MIN || ring_bytes > LINK_RING_BYTES_MAX ||
	    (ring_bytes & (ring_bytes - 1)))
		return error_set(
			error, -EINVAL, "ring of %llu bytes: expected a power of two from %u to %u",
			(unsigned long long)ring_bytes, LINK_RING_BYTES_MIN, LINK_RING_BYTES_MAX);
	if (memory_bytes != LINK_RING_HEADER_BYTES + 2 * ring_bytes)
		return error_set(error, -EINVAL, "ring memory of %llu bytes: expected %llu",
				 (unsigned long long)memory_bytes,
				 (unsigned long long)(LINK_RING_HEADER_BYTES + 2 * ring_bytes));
	return 0;
}

int link_greeting_check(const struct link_greeting *greeting, bool is_inet, const char *token,
			struct error *error)
{
	uint32_t token_bytes = le32toh(greeting->token_bytes);

	if (le32toh(greeting->magic) != LINK_WIRE_MAGIC)
		return error_set(error, -EPROTO, "the peer does not speak the link's protocol");
	if (le16toh(greeting->version) != LINK_WIRE_VERSION)
		return error_set(error, -EPROTONOSUPPORT,
				 "version %u of the link is not spoken here, only %u",
				 le16toh(greeting->version), LINK_WIRE_VERSION);
	if (greeting->zero_a || greeting->zero_b ||
	    !all_zero(greeting->zero_c, sizeof(greeting->zero_c)))
		return error_set(error, -EPROTO, "greeting: reserved bytes are not zero");
	if (greeting->medium < LINK_WIRE_UNIX || greeting->medium > LINK_WIRE_SCIF)
		return error_set(error, -EPROTO, "greeting: medium %u is unknown",
				 greeting->medium);
	/* The socket decides what must be shown; the medium's name is only the peer's word. */
	if ((greeting->medium == LINK_WIRE_TCP) != is_inet)
		return error_set(error, -EPROTO, "greeting: the socket is not of medium %u",
				 greeting->medium);
	if (token_bytes > LINK_TOKEN_BYTES_MAX ||
	    !all_zero(greeting->token + token_bytes, LINK_TOKEN_BYTES_MAX - token_bytes))
		return error_set(error, -EPROTO, "greeting: a token of %u bytes", token_bytes);
	if (!is_inet && token_bytes)
		return error_set(error, -EPROTO, "greeting: a token where none is due");
	if (is_inet && !token)
		return error_set(error, -EACCES, "TCP is off: the server has no token");
	if (is_inet && !token_equal(greeting->token, token_bytes, token))
		return error_set(error, -EACCES, "wrong token");
	return check_sizes(greeting, error);
}

static int answer_code_of(int status)
{
	for (int code = 0; code < LINK_ANSWER_CODES; code++) {
		if (answer_errnos[code] == status)
			return code;
	}
	return LINK_ANSWER_BROKEN;
}

int link_refuse(int fd, int status, const char *text)
{
	struct link_answer answer = {
		.magic = htole32(LINK_WIRE_MAGIC),
		.version = htole16(LINK_WIRE_VERSION),
		.code = htole16(answer_code_of(status)),
	};
	size_t text_bytes = strnlen(text, LINK_ANSWER_TEXT_BYTES);

	memcpy(answer.text, text, text_bytes);
	answer.text_bytes = htole32(text_bytes);
	/* The socket is fresh: if not even these bytes fit, nobody is listening. */
	return send(fd, &answer, sizeof(answer), MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

static enum link_medium medium_of_wire(uint8_t wire)
{
	for (int medium = LINK_UNIX; medium < LINK_SCIF; medium++) {
		if (wire_media[medium] == wire)
			return medium;
	}
	return LINK_SCIF;
}

/* Checks what came and maps the ring; takes the descriptors over or leaves them alone. */
static int answer_decide(struct link *link, const struct link_greeting *greeting, const int *fds,
			 size_t fd_count, const struct link_options *options, struct error *error)
{
	int family = AF_UNSPEC;
	socklen_t bytes = sizeof(family);
	size_t own_count;
	bool is_inet;
	int status, one = 1;

	if (getsockopt(link->fd, SOL_SOCKET, SO_DOMAIN, &family, &bytes) < 0)
		return error_set(error, -errno, "not a socket: %s", strerror(errno));
	is_inet = family == AF_INET || family == AF_INET6;
	status = link_greeting_check(greeting, is_inet, options->token, error);
	if (status < 0)
		return status;
	own_count = greeting->medium == LINK_WIRE_RING ? LINK_RING_FDS : 0;
	if (fd_count != own_count && (fd_count != own_count + 1 || !greeting->shared_bytes))
		return error_set(error, -EPROTO, "greeting: %zu descriptors", fd_count);
	if (fd_count > own_count)
		status = ring_check_memory(fds[own_count], le64toh(greeting->shared_bytes),
					   "the shared memory", error);
	if (status < 0)
		return status;
	link->medium = medium_of_wire(greeting->medium);
	if (is_inet)
		setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (link->medium == LINK_RING)
		status = ring_attach(link, greeting, fds, error);
	else if (link->medium == LINK_SCIF)
		link->ring.ring_bytes = le64toh(greeting->ring_bytes);
	if (status >= 0 && fd_count > own_count) {
		link->shared_fd = fds[own_count];
		link->shared_bytes = le64toh(greeting->shared_bytes);
	}
	return status;
}

int link_answer(struct link *link, const struct link_options *options, int64_t deadline_ms,
		struct error *error)
{
	struct link_answer accepted = {
		.magic = htole32(LINK_WIRE_MAGIC),
		.version = htole16(LINK_WIRE_VERSION),
		.code = htole16(LINK_ANSWER_ACCEPTED),
	};
	struct link_greeting greeting;
	struct link_scif_door door;
	struct error reason = { 0 };
	int fds[IO_FDS_MAX];
	size_t fd_count;
	int status = greeting_receive(link->fd, &greeting, sizeof(greeting), fds, &fd_count,
				      deadline_ms);

	if (status < 0) {
		link_refuse(link->fd, -EPROTO,
			    status == -ETIMEDOUT ? "no greeting came in time"
						 : "the greeting is malformed");
		return error_set(error, status, "no greeting: %s", strerror(-status));
	}
	status = answer_decide(link, &greeting, fds, fd_count, options, &reason);
	if (status >= 0 && link->medium == LINK_SCIF)
		status = link_scif_listen(link, &door, &reason);
	if (status < 0) {
		while (fd_count)
			close(fds[--fd_count]);
		link_refuse(link->fd, status, reason.text);
		return error_set(error, status, "%s", reason.text);
	}
	accepted.flags = htole32(link->shared_fd >= 0 ? LINK_ANSWER_SHARED : 0);
	status = greeting_send(link->fd, &accepted, sizeof(accepted), NULL, 0, deadline_ms);
	if (status >= 0 && link->medium == LINK_SCIF)
		status = greeting_send(link->fd, &door, sizeof(door), NULL, 0, deadline_ms);
	if (status < 0)
		return error_set(error, status, "the peer left during the greeting: %s",
				 strerror(-status));
	return link->medium == LINK_SCIF ? link_scif_serve(link, &door, deadline_ms, error) : 0;
}

int link_answer_check(const struct link_answer *answer, struct error *error)
{
	uint32_t text_bytes = le32toh(answer->text_bytes);
	uint16_t code = le16toh(answer->code);

	if (le32toh(answer->magic) != LINK_WIRE_MAGIC)
		return error_set(error, -EPROTO, "the server does not speak the link's protocol");
	if (text_bytes > LINK_ANSWER_TEXT_BYTES || code >= LINK_ANSWER_CODES ||
	    le32toh(answer->flags) > (code == LINK_ANSWER_ACCEPTED ? LINK_ANSWER_SHARED : 0))
		return error_set(error, -EPROTO, "the server's answer makes no sense");
	if (code == LINK_ANSWER_ACCEPTED && le16toh(answer->version) != LINK_WIRE_VERSION)
		return error_set(error, -EPROTONOSUPPORT,
				 "the server speaks version %u of the link, this client %u",
				 le16toh(answer->version), LINK_WIRE_VERSION);
	if (code != LINK_ANSWER_ACCEPTED)
		return error_set(error, answer_errnos[code], "server refused: %.*s",
				 (int)text_bytes, answer->text);
	return 0;
}

static int greet_fill(struct link *link, const struct link_options *options,
		      struct link_greeting *greeting, struct error *error)
{
	size_t token_bytes;

	memset(greeting, 0, sizeof(*greeting));
	greeting->magic = htole32(LINK_WIRE_MAGIC);
	greeting->version = htole16(LINK_WIRE_VERSION);
	greeting->medium = wire_media[link->medium];
	if (link_has_ring(link)) {
		greeting->ring_bytes = htole64(link->ring.ring_bytes);
		greeting->memory_bytes =
			htole64(LINK_RING_HEADER_BYTES + 2 * (uint64_t)link->ring.ring_bytes);
	}
	greeting->shared_bytes = htole64(link->shared_bytes);
	if (link->medium != LINK_TCP)
		return 0;
	token_bytes = options->token ? strlen(options->token) : 0;
	if (!token_bytes || token_bytes > LINK_TOKEN_BYTES_MAX)
		return error_set(error, -EINVAL, "a TCP link needs a token of 1 to %d bytes",
				 LINK_TOKEN_BYTES_MAX);
	greeting->token_bytes = htole32(token_bytes);
	memcpy(greeting->token, options->token, token_bytes);
	return 0;
}

/* Makes the memory that is offered; a system that has none offers none. */
static void shared_make(struct link *link, uint64_t bytes)
{
	int fd = memfd_create("causeway-shared", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return;
	if (ftruncate(fd, (off_t)bytes) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
		close(fd);
		return;
	}
	link->shared_fd = fd;
	link->shared_bytes = bytes;
}

static void shared_drop(struct link *link)
{
	if (link->shared_fd >= 0)
		close(link->shared_fd);
	link->shared_fd = -1;
	link->shared_bytes = 0;
}

/* greet_scif - medium scif: the second connection, once the server has accepted the first */
static int greet_scif(struct link *link, int64_t deadline_ms, struct error *error)
{
	struct link_scif_door door;
	int none[IO_FDS_MAX];
	size_t none_count;
	int status =
		greeting_receive(link->fd, &door, sizeof(door), none, &none_count, deadline_ms);

	if (status < 0)
		return error_set(error, status, "the server's SCIF port: %s", strerror(-status));
	while (none_count)
		close(none[--none_count]);
	return link_scif_meet(link, &door, deadline_ms, error);
}

int link_greet(struct link *link, const struct link_options *options, int64_t deadline_ms,
	       struct error *error)
{
	int travelling[LINK_RING_FDS + 1] = { -1, -1, -1 }, none[IO_FDS_MAX];
	size_t travelling_count = link->medium == LINK_RING ? LINK_RING_FDS : 0;
	size_t ring_bytes =
		options->ring_bytes ? options->ring_bytes : link_options_default.ring_bytes;
	struct link_greeting greeting;
	struct link_answer answer;
	size_t none_count;
	int status = 0;

	if (link->medium == LINK_RING)
		status = ring_make(link, ring_bytes, travelling, error);
	if (link->medium == LINK_SCIF)
		status = link_scif_open(error);
	if (link->medium == LINK_SCIF && status >= 0)
		status = ring_make_window(link, ring_bytes, error);
	if (options->shared_bytes && (link->medium == LINK_RING || link->medium == LINK_UNIX))
		shared_make(link, options->shared_bytes);
	if (status >= 0)
		status = greet_fill(link, options, &greeting, error);
	if (status < 0)
		goto out;
	/* A server that refuses may hang up before it has read anything: its answer counts. */
	if (link->shared_fd >= 0)
		travelling[travelling_count++] = link->shared_fd;
	greeting_send(link->fd, &greeting, sizeof(greeting), travelling, travelling_count,
		      deadline_ms);
	status =
		greeting_receive(link->fd, &answer, sizeof(answer), none, &none_count, deadline_ms);
	if (status < 0) {
		error_set(error, status, "no answer from the server: %s", strerror(-status));
		goto out;
	}
	while (none_count)
		close(none[--none_count]);
	status = link_answer_check(&answer, error);
	if (!(le32toh(answer.flags) & LINK_ANSWER_SHARED))
		shared_drop(link);
	if (status >= 0 && link->medium == LINK_SCIF)
		status = greet_scif(link, deadline_ms, error);
out:
	/* The ring's two are the server's; the shared memory is the link's own as well. */
	for (int i = 0; link->medium == LINK_RING && i < LINK_RING_FDS; i++) {
		if (travelling[i] >= 0)
			close(travelling[i]);
	}
	return status;
}
