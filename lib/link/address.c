/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a link's address and opens the client's socket to it. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/vm_sockets.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/clean.h"
#include "lib/link/internal.h"

static int parse_path(const char *text, const char *path, struct link_address *address,
		      struct error *error)
{
	if (!*path)
		return error_set(error, -EINVAL, "address '%s': the path is missing", text);
	if (strlen(path) >= sizeof(address->path))
		return error_set(error, -EINVAL,
				 "address '%s': a socket's path has at most %zu bytes", text,
				 sizeof(address->path) - 1);
	strcpy(address->path, path);
	return 0;
}

/* A decimal number in [minimum, maximum], nothing else behind or before it. */
static int parse_number(const char *text, unsigned long minimum, unsigned long maximum,
			unsigned long *number)
{
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	*number = strtoul(text, &end, 10);
	return errno || *end || *number < minimum || *number > maximum ? -EINVAL : 0;
}

static int parse_tcp(const char *text, const char *rest, struct link_address *address,
		     struct error *error)
{
	const char *colon = strrchr(rest, ':');
	size_t host_bytes = colon ? (size_t)(colon - rest) : 0;
	unsigned long port;

	/* [::1]:5000 */
	if (host_bytes >= 2 && rest[0] == '[' && colon[-1] == ']') {
		rest++;
		host_bytes -= 2;
	}
	if (!host_bytes || host_bytes >= sizeof(address->host) ||
	    parse_number(colon + 1, 1, 65535, &port) < 0)
		return error_set(error, -EINVAL, "address '%s': expected tcp:HOST:PORT", text);
	memcpy(address->host, rest, host_bytes);
	address->host[host_bytes] = '\0';
	strncpy(address->port, colon + 1, sizeof(address->port) - 1);
	return 0;
}

static int parse_vsock(const char *text, const char *rest, struct link_address *address,
		       struct error *error)
{
	const char *colon = strchr(rest, ':');
	unsigned long cid, port;
	char digits[16] = "";

	if (colon && (size_t)(colon - rest) < sizeof(digits))
		memcpy(digits, rest, colon - rest);
	if (!colon || parse_number(digits, 0, UINT32_MAX - 1, &cid) < 0 ||
	    parse_number(colon + 1, 0, UINT32_MAX - 1, &port) < 0 ||
	    strlen(colon + 1) >= sizeof(address->port))
		return error_set(error, -EINVAL,
				 "address '%s': expected vsock:CID:PORT, numbers both", text);
	address->cid = cid;
	strcpy(address->port, colon + 1);
	return 0;
}

int link_address_parse(const char *text, struct link_address *address, struct error *error)
{
	memset(address, 0, sizeof(*address));
	if (strncmp(text, "unix:", 5) == 0) {
		address->medium = LINK_UNIX;
		return parse_path(text, text + 5, address, error);
	}
	if (strncmp(text, "ring:", 5) == 0) {
		address->medium = LINK_RING;
		return parse_path(text, text + 5, address, error);
	}
	if (strncmp(text, "tcp:", 4) == 0) {
		address->medium = LINK_TCP;
		return parse_tcp(text, text + 4, address, error);
	}
	if (strncmp(text, "vsock:", 6) == 0) {
		address->medium = LINK_VSOCK;
		return parse_vsock(text, text + 6, address, error);
	}
	if (strncmp(text, "scif:", 5) == 0) {
		address->medium = LINK_SCIF;
		return parse_vsock(text, text + 5, address, error);
	}
	return error_set(error, -EINVAL,
			 "address '%s': expected unix:PATH, ring:PATH, tcp:HOST:PORT, "
			 "vsock:CID:PORT or scif:CID:PORT",
			 text);
}

/*
 * Opens a socket and connects it before the deadline. A send time-out bounds connect() on every
 * family: also a Unix connect() waits, while the listener's backlog is full.
 */
static int connect_one(const struct sockaddr *address, socklen_t bytes, int64_t deadline_ms)
{
	static const struct timeval forever;
	int64_t left_ms = deadline_ms - link_now_ms();
	struct timeval wait;
	autoclose int fd = -1;
	int one = 1;

	if (left_ms <= 0)
		return -ETIMEDOUT;
	fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	wait.tv_sec = left_ms / 1000;
	wait.tv_usec = left_ms % 1000 * 1000;
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) < 0)
		return -errno;
	if (connect(fd, address, bytes) < 0)
		return errno == EAGAIN || errno == EINPROGRESS ? -ETIMEDOUT : -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &forever, sizeof(forever)) < 0)
		return -errno;
	if (address->sa_family == AF_INET || address->sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return steal_fd(&fd);
}

static int connect_tcp(const struct link_address *address, int64_t deadline_ms, struct error *error)
{
	static const struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
	struct addrinfo *found = NULL;
	int fd = -EADDRNOTAVAIL;
	int status = getaddrinfo(address->host, address->port, &hints, &found);

	if (status)
		return error_set(error, -EADDRNOTAVAIL, "host '%s': %s", address->host,
				 gai_strerror(status));
	for (struct addrinfo *one = found; one && fd < 0; one = one->ai_next)
		fd = connect_one(one->ai_addr, one->ai_addrlen, deadline_ms);
	freeaddrinfo(found);
	if (fd < 0)
		return error_set(error, fd, "cannot connect to tcp:%s:%s: %s", address->host,
				 address->port, strerror(-fd));
	return fd;
}

int link_address_connect(const struct link_address *address, int64_t deadline_ms,
			 struct error *error)
{
	struct sockaddr_un path = { .sun_family = AF_UNIX };
	struct sockaddr_vm guest = { .svm_family = AF_VSOCK };
	int fd;

	switch (address->medium) {
	case LINK_TCP:
		return connect_tcp(address, deadline_ms, error);
	case LINK_VSOCK:
	case LINK_SCIF:
		guest.svm_cid = address->cid;
		guest.svm_port = strtoul(address->port, NULL, 10);
		fd = connect_one((struct sockaddr *)&guest, sizeof(guest), deadline_ms);
		if (fd < 0)
			error_set(error, fd, "cannot connect to vsock:%u:%s: %s", address->cid,
				  address->port, strerror(-fd));
		return fd;
	case LINK_UNIX:
	case LINK_RING:
		break;
	}
	memcpy(path.sun_path, address->path, sizeof(path.sun_path));
	fd = connect_one((struct sockaddr *)&path, sizeof(path), deadline_ms);
	if (fd < 0)
		error_set(error, fd, "cannot connect to '%s': %s", address->path, strerror(-fd));
	return fd;
}
