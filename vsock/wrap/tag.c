/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A socket's tag: 64 bits that the kernel keeps for us in the socket itself.
 *
 * Any process may set SO_MAX_PACING_RATE on any socket, the kernel keeps all its 64 bits, and for
 * AF_VSOCK nothing reads it. So it says what a socket is for, and unlike a table of ours it
 * survives fork, exec, dup and travel through a Unix socket. A program's own AF_VSOCK sockets have
 * all bits set there, or a rate, and are left alone.
 *
 *	bits 63-52 magic   51-50 kind   49 v6   48 v6_only   47 mapped   46 no_delay   45 blocking
 *	     44-40 zero    39-0 companion: cookie; client: map
 */
#include "vsock/wrap/wrap.h"

#include <errno.h>

#define TAG_MAGIC UINT64_C(0xca5)

static uint64_t tag_pack(const struct wrap_tag *tag)
{
	uint64_t payload =
		tag->kind == WRAP_TAG_COMPANION ? tag->cookie & WRAP_TAG_COOKIE_MASK : tag->map;

	return TAG_MAGIC << 52 | (uint64_t)tag->kind << 50 | (uint64_t)tag->v6 << 49 |
	       (uint64_t)tag->v6_only << 48 | (uint64_t)tag->mapped << 47 |
	       (uint64_t)tag->no_delay << 46 | (uint64_t)tag->blocking << 45 | payload;
}

static struct wrap_tag tag_unpack(uint64_t bits)
{
	struct wrap_tag tag = { .kind = WRAP_TAG_NONE };

	if (bits >> 52 != TAG_MAGIC)
		return tag;
	tag.kind = bits >> 50 & 3;
	tag.v6 = bits >> 49 & 1;
	tag.v6_only = bits >> 48 & 1;
	tag.mapped = bits >> 47 & 1;
	tag.no_delay = bits >> 46 & 1;
	tag.blocking = bits >> 45 & 1;
	if (tag.kind == WRAP_TAG_COMPANION)
		tag.cookie = bits & WRAP_TAG_COOKIE_MASK;
	else
		tag.map = bits & UINT16_MAX;
	return tag;
}

struct wrap_tag wrap_tag_get(int fd)
{
	uint64_t bits = 0;
	socklen_t bytes = sizeof(bits);
	int saved_errno = errno;

	if (REAL(getsockopt)(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &bits, &bytes) < 0)
		bits = 0;
	errno = saved_errno;
	return tag_unpack(bytes == sizeof(bits) ? bits : 0);
}

int wrap_tag_set(int fd, const struct wrap_tag *tag)
{
	uint64_t bits = tag_pack(tag);

	return REAL(setsockopt)(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &bits, sizeof(bits)) < 0
		       ? -errno
		       : 0;
}

struct wrap_tag wrap_tag_of(int fd)
{
	if (wrap_socket_option(fd, SO_DOMAIN) != AF_VSOCK)
		return (struct wrap_tag){ .kind = WRAP_TAG_NONE };
	return wrap_tag_get(fd);
}

int wrap_socket_option(int fd, int option)
{
	int value, saved_errno = errno;
	socklen_t bytes = sizeof(value);

	if (REAL(getsockopt)(fd, SOL_SOCKET, option, &value, &bytes) < 0)
		value = -1;
	errno = saved_errno;
	return value;
}

uint64_t wrap_cookie(int fd)
{
	uint64_t cookie;
	socklen_t bytes = sizeof(cookie);
	int saved_errno = errno;

	if (REAL(getsockopt)(fd, SOL_SOCKET, SO_COOKIE, &cookie, &bytes) < 0)
		cookie = 0;
	errno = saved_errno;
	return cookie;
}
