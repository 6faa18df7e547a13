/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vhost-user protocol: what a front-end (a VMM) and a back-end (a device in a process of its
 * own) write to each other over a Unix socket. Descriptors travel beside the first byte of a
 * message. Fields have the host's byte order, which is little-endian wherever we run.
 */
#ifndef CAUSEWAY_PROTO_VHOST_USER_H
#define CAUSEWAY_PROTO_VHOST_USER_H

#include <stddef.h>
#include <stdint.h>

/* The feature bit among virtio's that says: protocol features may be asked for. */
#define VHOST_USER_F_PROTOCOL_FEATURES (1ull << 30)

#define VHOST_USER_PROTOCOL_F_MQ		  (1ull << 0)
#define VHOST_USER_PROTOCOL_F_REPLY_ACK		  (1ull << 3)
#define VHOST_USER_PROTOCOL_F_BACKEND_REQ	  (1ull << 5)
#define VHOST_USER_PROTOCOL_F_CONFIG		  (1ull << 9)
#define VHOST_USER_PROTOCOL_F_RESET_DEVICE	  (1ull << 13)
#define VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS (1ull << 15)
#define VHOST_USER_PROTOCOL_F_STATUS		  (1ull << 16)
#define VHOST_USER_PROTOCOL_F_SHMEM		  (1ull << 22)

/* The front-end's requests, by QEMU's numbers. */
enum vhost_user_request {
	VHOST_USER_GET_FEATURES = 1,
	VHOST_USER_SET_FEATURES = 2,
	VHOST_USER_SET_OWNER = 3,
	VHOST_USER_RESET_OWNER = 4,
	VHOST_USER_SET_MEM_TABLE = 5,
	VHOST_USER_SET_VRING_NUM = 8,
	VHOST_USER_SET_VRING_ADDR = 9,
	VHOST_USER_SET_VRING_BASE = 10,
	VHOST_USER_GET_VRING_BASE = 11,
	VHOST_USER_SET_VRING_KICK = 12,
	VHOST_USER_SET_VRING_CALL = 13,
	VHOST_USER_SET_VRING_ERR = 14,
	VHOST_USER_GET_PROTOCOL_FEATURES = 15,
	VHOST_USER_SET_PROTOCOL_FEATURES = 16,
	VHOST_USER_GET_QUEUE_NUM = 17,
	VHOST_USER_SET_VRING_ENABLE = 18,
	VHOST_USER_SET_BACKEND_REQ_FD = 21,
	VHOST_USER_GET_CONFIG = 24,
	VHOST_USER_SET_CONFIG = 25,
	VHOST_USER_RESET_DEVICE = 34,
	VHOST_USER_GET_MAX_MEM_SLOTS = 36,
	VHOST_USER_ADD_MEM_REG = 37,
	VHOST_USER_REM_MEM_REG = 38,
	VHOST_USER_SET_STATUS = 39,
	VHOST_USER_GET_STATUS = 40,
	VHOST_USER_GET_SHMEM_CONFIG = 44,
};

/* What a back-end may ask the front-end, on the channel of SET_BACKEND_REQ_FD. */
enum vhost_user_backend_request {
	VHOST_USER_BACKEND_CONFIG_CHANGE = 2,
	VHOST_USER_BACKEND_SHMEM_MAP = 9, /* the file's descriptor comes along */
	VHOST_USER_BACKEND_SHMEM_UNMAP = 10,
};

#define VHOST_USER_FLAG_VERSION_MASK 0x3u
#define VHOST_USER_FLAG_VERSION	     0x1u
#define VHOST_USER_FLAG_REPLY	     0x4u
#define VHOST_USER_FLAG_NEED_REPLY   0x8u

struct vhost_user_header {
	uint32_t request;
	uint32_t flags;
	uint32_t size; /* bytes of payload that follow */
};

/* A queue and a number: its size, base or enabling. */
struct vhost_user_vring_state {
	uint32_t index;
	uint32_t num;
};

struct vhost_user_vring_address {
	uint32_t index;
	uint32_t flags;
	uint64_t descriptors; /* these three: addresses of the front-end's user space */
	uint64_t used;
	uint64_t available;
	uint64_t log;
};

struct vhost_user_memory_region {
	uint64_t guest_address; /* guest-physical */
	uint64_t bytes;
	uint64_t user_address; /* where the front-end itself mapped it */
	uint64_t mmap_offset;  /* in the descriptor that comes along */
};

#define VHOST_USER_MEMORY_TABLE_MAX 8 /* regions of one SET_MEM_TABLE */

/* All of the guest's memory; a descriptor comes with each region. */
struct vhost_user_memory_table {
	uint32_t region_count;
	uint32_t padding;
	struct vhost_user_memory_region regions[VHOST_USER_MEMORY_TABLE_MAX];
};

/* One region that comes or goes. */
struct vhost_user_single_region {
	uint64_t padding;
	struct vhost_user_memory_region region;
};

#define VHOST_USER_CONFIG_BYTES_MAX 256

/* A part of the device's configuration space. */
struct vhost_user_config {
	uint32_t offset;
	uint32_t size;
	uint32_t flags;
	uint8_t bytes[VHOST_USER_CONFIG_BYTES_MAX];
};

#define VHOST_USER_CONFIG_HEADER_BYTES offsetof(struct vhost_user_config, bytes)

#define VHOST_USER_SHMEM_REGIONS_MAX 256

/* The device's shared memory regions: `bytes` by their ids, 0 where there is none. */
struct vhost_user_shmem_config {
	uint32_t region_count;
	uint32_t padding;
	uint64_t bytes[VHOST_USER_SHMEM_REGIONS_MAX];
};

#define VHOST_USER_SHMEM_WRITABLE 1ull

/* A part of a file that the guest shall see in a shared memory region, or shall no longer. */
struct vhost_user_shmem_mapping {
	uint8_t region;
	uint8_t padding[7];
	uint64_t file_offset;
	uint64_t offset; /* in the region */
	uint64_t bytes;
	uint64_t flags;
};

/* The number that carries a descriptor's queue in SET_VRING_KICK, _CALL and _ERR. */
#define VHOST_USER_VRING_INDEX_MASK 0xffull
#define VHOST_USER_VRING_NO_FD	    0x100ull /* no descriptor comes along */

/* Whatever a message may carry. */
union vhost_user_payload {
	uint64_t number;
	struct vhost_user_vring_state state;
	struct vhost_user_vring_address address;
	struct vhost_user_memory_table memory;
	struct vhost_user_single_region region;
	struct vhost_user_config config;
	struct vhost_user_shmem_config shmem_config;
	struct vhost_user_shmem_mapping shmem_mapping;
};

_Static_assert(sizeof(struct vhost_user_header) == 12, "as on the wire");
_Static_assert(sizeof(struct vhost_user_vring_address) == 40, "as on the wire");
_Static_assert(sizeof(struct vhost_user_memory_region) == 32, "as on the wire");
_Static_assert(sizeof(struct vhost_user_memory_table) == 8 + 8 * 32, "as on the wire");
_Static_assert(sizeof(struct vhost_user_single_region) == 40, "as on the wire");
_Static_assert(VHOST_USER_CONFIG_HEADER_BYTES == 12, "as on the wire");
_Static_assert(sizeof(struct vhost_user_shmem_config) == 8 + 8 * 256, "as on the wire");
_Static_assert(sizeof(struct vhost_user_shmem_mapping) == 40, "as on the wire");

#endif
