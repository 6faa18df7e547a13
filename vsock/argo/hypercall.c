// SPDX-License-Identifier: GPL-2.0-only
/*
 * The four calls of Xen's Argo: register and unregister a ring, send, and ask about a ring.
 *
 * The structures are Xen's (xen/include/public/argo.h); Linux's headers have none of them. Xen
 * reads all arguments through the caller's page tables, so a program's own memory can be sent as it
 * is: privcmd_call() lets the hypervisor look at user pages, and a page that is not there makes
 * the call fail with -EFAULT before the receiver sees anything.
 */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <xen/interface/xen.h>
#include <xen/page.h>
#include <asm/xen/hypercall.h>

#include "argo.h"

#define ARGO_HYPERCALL		39
#define ARGO_OP_REGISTER	1
#define ARGO_OP_UNREGISTER	2
#define ARGO_OP_SENDV		3
#define ARGO_OP_NOTIFY		4

struct argo_address {
	u32 port;
	u16 domain;
	u16 pad;
};

struct argo_register {
	u32 port;
	u16 partner;
	u16 pad;
	u32 length;
};

struct argo_query {
	u32 count;
	u32 pad;
	struct argo_address ring;
	u16 flags;
	u16 pad2;
	u32 space_required;
	u32 max_message_size;
};

static int argo_call(unsigned int op, const void *first, const void *second, unsigned long third,
		     unsigned long fourth)
{
	return (int)privcmd_call(ARGO_HYPERCALL, op, (unsigned long)first, (unsigned long)second,
				 third, fourth);
}

/* argo_hypervisor_probe - 0 where the hypervisor has Argo, -errno where not */
int argo_hypervisor_probe(void)
{
	return argo_call(ARGO_OP_NOTIFY, NULL, NULL, 0, 0);
}

/**
 * argo_ring_register - memory for a ring, made known to Xen
 * @ring: zeroed; the caller's to unregister and free when this returns 0
 * @length: of the ring in bytes, a multiple of ARGO_SLOT
 * @partner: the one domain that may send, or ARGO_NO_DOMAIN for all
 *
 * Return: 0 or -errno; -ESRCH where there is no such domain, -EPERM where Xen refuses rings for
 * all, -ENOSPC where this domain has as many rings as Xen allows.
 */
int argo_ring_register(struct argo_ring *ring, u32 length, u32 port, u16 partner)
{
	unsigned int pages = DIV_ROUND_UP(length + sizeof(struct argo_shared_ring), PAGE_SIZE);
	struct argo_register arguments = { .port = port, .partner = partner, .length = length };
	u64 *frames = kvmalloc_array(pages, sizeof(*frames), GFP_KERNEL);
	void *memory = vzalloc((unsigned long)pages * PAGE_SIZE);
	unsigned int i;
	int code = -ENOMEM;

	if (!frames || !memory)
		goto out;
	for (i = 0; i < pages; i++)
		frames[i] = pfn_to_gfn(vmalloc_to_pfn(memory + i * PAGE_SIZE));
	code = argo_call(ARGO_OP_REGISTER, &arguments, frames, pages, 0);
	if (code)
		goto out;
	*ring = (struct argo_ring){
		.shared = memory, .length = length, .port = port, .partner = partner
	};
	memory = NULL;
out:
	vfree(memory);
	kvfree(frames);
	return code;
}

/* argo_ring_unregister - Xen writes into it no more; no harm where it has forgotten it already */
void argo_ring_unregister(struct argo_ring *ring)
{
	struct argo_register arguments = { .port = ring->port, .partner = ring->partner };

	/* Xen's structure for this call is the same without the length. */
	if (ring->shared)
		argo_call(ARGO_OP_UNREGISTER, &arguments, NULL, 0, 0);
}

/* argo_ring_free - its memory; it is unregistered, and nobody reads it */
void argo_ring_free(struct argo_ring *ring)
{
	vfree(ring->shared);
	ring->shared = NULL;
}

/**
 * argo_hypervisor_send - one message of up to ARGO_IOV_MAX pieces, none of them empty
 *
 * Return: 0 or -errno; -EAGAIN where the ring is full (Xen then raises the interrupt when there is
 * room for as much), -ECONNREFUSED where the domain has no ring for us, -ESRCH where there is no
 * such domain, -EFAULT where a piece is not in memory.
 */
int argo_hypervisor_send(u16 domain, u32 port, struct argo_iov *iov, unsigned int count)
{
	struct argo_address addresses[2] = {
		{ .port = port, .domain = ARGO_NO_DOMAIN },	/* the sender: Xen fills it in */
		{ .port = port, .domain = domain },
	};
	int code = argo_call(ARGO_OP_SENDV, addresses, iov, count, ARGO_MESSAGE_TYPE);

	return code < 0 ? code : 0;
}

/**
 * argo_hypervisor_query - ask about another domain's ring
 * @bytes: if they do not fit now, Xen raises the interrupt when they do
 *
 * It also makes Xen look whether senders to our own rings wait for room.
 *
 * Return: ARGO_RING_* flags; none where there is no such ring.
 */
u32 argo_hypervisor_query(u16 domain, u32 port, u32 bytes)
{
	struct argo_query query = {
		.count = 1,
		.ring = { .port = port, .domain = domain },
		.space_required = bytes,
	};

	if (argo_call(ARGO_OP_NOTIFY, &query, NULL, 0, 0))
		return 0;
	return query.flags;
}
