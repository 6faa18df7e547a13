/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who asks, and whether it is admitted: the one place for policy.
 *
 * An identity comes from below, never from the client: the kernel's peer credentials of a Unix
 * socket, the CID that the switch or the hypervisor vouches for, or a network address. The tenant
 * that it belongs to has limits of its own (supervisor_share.c), beside the two below.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "cuda/server/supervisor.h"
#include "proto/identity.h"

static int identify_unix(int fd, struct identity *identity)
{
	struct ucred peer;
	socklen_t bytes = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) < 0)
		return -errno;
	identity->kind = IDENTITY_UID;
	identity->number = peer.uid;
	snprintf(identity->text, sizeof(identity->text), "uid %u pid %d", peer.uid, peer.pid);
	return 0;
}

static void identify_cid(uint64_t cid, struct identity *identity)
{
	identity->kind = IDENTITY_CID;
	identity->number = cid;
	snprintf(identity->text, sizeof(identity->text), "cid %llu", (unsigned long long)cid);
}

static int identify_vsock(int fd, struct identity *identity)
{
	struct sockaddr_vm peer;
	socklen_t bytes = sizeof(peer);

	if (getpeername(fd, (struct sockaddr *)&peer, &bytes) < 0)
		return -errno;
	identify_cid(peer.svm_cid, identity);
	return 0;
}

static int identify_address(int fd, struct identity *identity)
{
	struct sockaddr_storage peer;
	socklen_t bytes = sizeof(peer);
	const void *address = &((struct sockaddr_in *)&peer)->sin_addr;
	uint16_t port;

	if (getpeername(fd, (struct sockaddr *)&peer, &bytes) < 0)
		return -errno;
	port = ntohs(((struct sockaddr_in *)&peer)->sin_port);
	if (peer.ss_family == AF_INET6) {
		address = &((struct sockaddr_in6 *)&peer)->sin6_addr;
		port = ntohs(((struct sockaddr_in6 *)&peer)->sin6_port);
	}
	identity->kind = IDENTITY_ADDRESS;
	if (!inet_ntop(peer.ss_family, address, identity->address, sizeof(identity->address)))
		return -errno;
	snprintf(identity->text, sizeof(identity->text), "tcp %s port %u", identity->address, port);
	return 0;
}

/**
 * admission_identify - the identity that the socket itself tells
 *
 * For ENTRANCE_SWITCH that is the switch's own; admission_identify_guest() replaces it. A tenant's
 * own socket says the tenant, and the kernel who of it.
 * Return: 0 or -errno (the peer is gone already).
 */
int admission_identify(const struct listener *listener, int fd, struct identity *identity)
{
	memset(identity, 0, sizeof(*identity));
	if (listener->tenant)
		snprintf(identity->tenant, sizeof(identity->tenant), "%s", listener->tenant);
	switch (listener->entrance) {
	case ENTRANCE_VSOCK:
		return identify_vsock(fd, identity);
	case ENTRANCE_TCP:
		return identify_address(fd, identity);
	default:
		return identify_unix(fd, identity);
	}
}

/**
 * admission_identify_guest - the identity in the switch's preamble
 * @preamble: struct identity_preamble as received
 *
 * Return: 0, or -EACCES for anything but a guest's CID.
 */
int admission_identify_guest(const void *preamble, struct identity *identity)
{
	struct identity_preamble wire;
	uint64_t cid;

	memcpy(&wire, preamble, sizeof(wire));
	cid = le64toh(wire.cid);
	if (le32toh(wire.magic) != IDENTITY_MAGIC || le32toh(wire.version) != IDENTITY_VERSION ||
	    cid <= VMADDR_CID_HOST || cid >= VMADDR_CID_ANY)
		return -EACCES;
	identify_cid(cid, identity);
	return 0;
}

static bool identity_same(const struct identity *one, const struct identity *other)
{
	return one->kind == other->kind && one->number == other->number &&
	       strcmp(one->address, other->address) == 0 && strcmp(one->tenant, other->tenant) == 0;
}

int admission_decide(struct supervisor *supervisor, const struct identity *identity,
		     struct tenant **tenant, char *text, size_t text_bytes)
{
	const struct supervisor_options *options = &supervisor->options;
	const struct client *client;
	int64_t count = 0;

	if ((int64_t)supervisor->worker_count >= options->max_clients) {
		snprintf(text, text_bytes, "%zu of %lld clients connected",
			 supervisor->worker_count, (long long)options->max_clients);
		return -EBUSY;
	}
	TAILQ_FOREACH(client, &supervisor->clients, link)
	{
		if (client->pid && identity_same(&client->identity, identity))
			count++;
	}
	if (count >= options->max_clients_per_identity) {
		snprintf(text, text_bytes, "%lld of %lld clients of %s connected", (long long)count,
			 (long long)options->max_clients_per_identity,
			 identity->kind == IDENTITY_UID	  ? "this user"
			 : identity->kind == IDENTITY_CID ? "this guest"
							  : "this address");
		return -EBUSY;
	}
	return share_admit(supervisor, identity, tenant, text, text_bytes);
}
