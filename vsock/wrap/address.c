/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of sockets: from sockaddr_in and sockaddr_in6, and for sockets of ours back to them.
 *
 * A CID's address is found in this order: the map line that a client was told to connect by, the
 * first map line of a fitting family that has a name for the CID, 127.0.0.1 or ::1 for this
 * machine itself, and else a link-local address made of the CID, which no rule confuses with an
 * address that a program may trust.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vsock/wrap/wrap.h"

#define V4_LOOPBACK 0x7f000001u
#define V4_LINK	    0xa9fe0000u /* 169.254.0.0 */

static void set_v4(struct in6_addr *address, uint32_t v4)
{
	*address = (struct in6_addr){ 0 };
	address->s6_addr32[2] = htonl(0xffff);
	address->s6_addr32[3] = htonl(v4);
}

bool wrap_endpoint_read(struct wrap_endpoint *endpoint, const void *name, socklen_t bytes)
{
	const struct sockaddr_in *in = name;
	const struct sockaddr_in6 *in6 = name;

	if (!name || bytes < sizeof(*in))
		return false;
	if (in->sin_family == AF_INET) {
		set_v4(&endpoint->address, ntohl(in->sin_addr.s_addr));
		endpoint->port = ntohs(in->sin_port);
		endpoint->v6 = false;
		return true;
	}
	if (in->sin_family != AF_INET6 || bytes < sizeof(*in6))
		return false;
	endpoint->address = in6->sin6_addr;
	endpoint->port = ntohs(in6->sin6_port);
	endpoint->v6 = true;
	return true;
}

const char *wrap_endpoint_text(const struct wrap_endpoint *endpoint, char text[WRAP_TEXT_BYTES])
{
	char address[INET6_ADDRSTRLEN];

	if (IN6_IS_ADDR_V4MAPPED(&endpoint->address)) {
		inet_ntop(AF_INET, &endpoint->address.s6_addr32[3], address, sizeof(address));
		snprintf(text, WRAP_TEXT_BYTES, "%s:%u", address, endpoint->port);
	} else {
		inet_ntop(AF_INET6, &endpoint->address, address, sizeof(address));
		snprintf(text, WRAP_TEXT_BYTES, "[%s]:%u", address, endpoint->port);
	}
	return text;
}

bool wrap_endpoint_is_wildcard(const struct wrap_endpoint *endpoint)
{
	const struct in6_addr *address = &endpoint->address;

	return IN6_IS_ADDR_UNSPECIFIED(address) ||
	       (IN6_IS_ADDR_V4MAPPED(address) && !address->s6_addr32[3]);
}

bool wrap_endpoint_is_loopback(const struct wrap_endpoint *endpoint)
{
	const struct in6_addr *address = &endpoint->address;

	return IN6_IS_ADDR_LOOPBACK(address) ||
	       (IN6_IS_ADDR_V4MAPPED(address) && address->s6_addr[12] == 127);
}

bool wrap_local_endpoint(int fd, struct wrap_endpoint *endpoint)
{
	struct sockaddr_storage name;
	socklen_t bytes = sizeof(name);

	return REAL(getsockname)(fd, (struct sockaddr *)&name, &bytes) == 0 &&
	       wrap_endpoint_read(endpoint, &name, bytes);
}

void wrap_name_of(const struct wrap_tag *tag, const struct sockaddr_vm *vm, bool peer,
		  struct wrap_endpoint *endpoint)
{
	struct in6_addr *address = &endpoint->address;
	unsigned families = RULES_V4;
	uint32_t cid = vm->svm_cid;

	if (tag->v6)
		families = tag->v6_only ? RULES_V6 : tag->mapped ? RULES_V4 : RULES_V4 | RULES_V6;
	if (tag->kind == WRAP_TAG_CLIENT && tag->v6 && !tag->mapped)
		families = RULES_V6;
	endpoint->v6 = tag->v6;
	endpoint->port = vm->svm_port == VMADDR_PORT_ANY ? 0 : (uint16_t)vm->svm_port;
	if (cid == VMADDR_CID_ANY) {
		*address = in6addr_any;
		if (families == RULES_V4)
			set_v4(address, 0);
		return;
	}
	if (peer && tag->kind == WRAP_TAG_CLIENT && tag->map &&
	    rules_address(&wrap_state.rules, tag->map - 1, cid, address))
		return;
	if (rules_name(&wrap_state.rules, cid, families, address))
		return;
	if (families & RULES_V4) {
		set_v4(address, cid == VMADDR_CID_LOCAL ? V4_LOOPBACK
							: V4_LINK | (cid < 0xffff ? cid : 0xffff));
		return;
	}
	*address = (struct in6_addr)IN6ADDR_LOOPBACK_INIT;
	if (cid != VMADDR_CID_LOCAL) {
		address->s6_addr32[3] = htonl(cid);
		address->s6_addr32[0] = htonl(0xfe800000);
	}
}

/* As the kernel does it: what fits, and the full length. */
static int store(const void *from, socklen_t full, void *name, socklen_t *bytes)
{
	if ((int)*bytes < 0) {
		errno = EINVAL;
		return -1;
	}
	memcpy(name, from, *bytes < full ? *bytes : full);
	*bytes = full;
	return 0;
}

int wrap_name_store(const struct wrap_tag *tag, const struct wrap_endpoint *endpoint, void *name,
		    socklen_t *bytes)
{
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6,
				    .sin6_port = htons(endpoint->port),
				    .sin6_addr = endpoint->address };
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_port = htons(endpoint->port),
				  .sin_addr.s_addr = endpoint->address.s6_addr32[3] };

	return tag->v6 ? store(&in6, sizeof(in6), name, bytes)
		       : store(&in, sizeof(in), name, bytes);
}

/* The kernel's name for one end of @fd, as the program is to see it. */
static int name_get(int fd, struct sockaddr *name, socklen_t *bytes, bool peer)
{
	int (*get)(int, struct sockaddr *, socklen_t *) =
		peer ? REAL(getpeername) : REAL(getsockname);
	struct sockaddr_storage storage;
	struct sockaddr_vm *vm = (struct sockaddr_vm *)&storage, other;
	socklen_t length = sizeof(storage), other_length = sizeof(other);
	struct wrap_endpoint endpoint;
	struct wrap_tag tag;

	if (!wrap_state.active || !name || !bytes)
		return get(fd, name, bytes);
	if (get(fd, (struct sockaddr *)&storage, &length) < 0)
		return -1;
	tag.kind = WRAP_TAG_NONE;
	if (storage.ss_family == AF_VSOCK)
		tag = wrap_tag_get(fd);
	if (tag.kind == WRAP_TAG_NONE)
		return store(&storage, length, name, bytes);
	/* The kernel leaves a client's own CID open. */
	if (!peer && vm->svm_cid == VMADDR_CID_ANY &&
	    REAL(getpeername)(fd, (struct sockaddr *)&other, &other_length) == 0)
		vm->svm_cid =
			other.svm_cid == VMADDR_CID_LOCAL ? VMADDR_CID_LOCAL : wrap_state.own_cid;
	wrap_name_of(&tag, vm, peer, &endpoint);
	return wrap_name_store(&tag, &endpoint, name, bytes);
}

WRAP_EXPORT int getsockname(int fd, struct sockaddr *name, socklen_t *bytes)
{
	return name_get(fd, name, bytes, false);
}

WRAP_EXPORT int getpeername(int fd, struct sockaddr *name, socklen_t *bytes)
{
	return name_get(fd, name, bytes, true);
}
