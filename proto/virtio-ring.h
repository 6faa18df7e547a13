/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Split virtqueues in guest memory and the feature bits that belong to every virtio device, as the
 * virtio specification gives them. Little-endian; with VIRTIO_F_VERSION_1 only.
 */
#ifndef CAUSEWAY_PROTO_VIRTIO_RING_H
#define CAUSEWAY_PROTO_VIRTIO_RING_H

#include <stddef.h>
#include <stdint.h>

#define VIRTIO_RING_F_INDIRECT_DESC (1ull << 28)
#define VIRTIO_RING_F_EVENT_IDX	    (1ull << 29)
#define VIRTIO_F_VERSION_1	    (1ull << 32)

#define VIRTIO_RING_SIZE_MAX 32768u

#define VIRTIO_RING_DESC_F_NEXT	    1u
#define VIRTIO_RING_DESC_F_WRITE    2u
#define VIRTIO_RING_DESC_F_INDIRECT 4u

#define VIRTIO_RING_AVAIL_F_NO_INTERRUPT 1u
#define VIRTIO_RING_USED_F_NO_NOTIFY	 1u

struct virtio_ring_desc {
	uint64_t addr; /* guest-physical */
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

/* Behind ring[size]: uint16_t used_event, meaningful with VIRTIO_RING_F_EVENT_IDX. */
struct virtio_ring_avail {
	uint16_t flags;
	uint16_t idx;
	uint16_t ring[];
};

struct virtio_ring_used_elem {
	uint32_t id;
	uint32_t len; /* bytes written into the writable part */
};

/* Behind ring[size]: uint16_t avail_event, meaningful with VIRTIO_RING_F_EVENT_IDX. */
struct virtio_ring_used {
	uint16_t flags;
	uint16_t idx;
	struct virtio_ring_used_elem ring[];
};

_Static_assert(sizeof(struct virtio_ring_desc) == 16, "as in guest memory");
_Static_assert(sizeof(struct virtio_ring_used_elem) == 8, "as in guest memory");
_Static_assert(offsetof(struct virtio_ring_used, ring) == 4, "as in guest memory");

#endif
