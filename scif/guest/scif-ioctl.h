/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * SCIF's ioctls as programs issue them: MPSS 3's numbers, and those of mainline Linux.
 *
 * Both number the same calls. Mainline's carry the size of the argument, MPSS 3's the size of a
 * pointer, and one structure differs (the nodes). A name without suffix is common to both.
 */
#ifndef VPHI_SCIF_IOCTL_H
#define VPHI_SCIF_IOCTL_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define SCIF_ACCEPT_SYNC 1
#define SCIF_SEND_BLOCK 1
#define SCIF_RECV_BLOCK 1
#define SCIF_PROT_READ 1
#define SCIF_PROT_WRITE 2
#define SCIF_MAP_FIXED 0x10
#define SCIF_RMA_USECPU 1
#define SCIF_RMA_USECACHE 2
#define SCIF_RMA_SYNC 4
#define SCIF_RMA_ORDERED 8
#define SCIF_RMA_FLAGS 15
#define SCIF_FENCE_INIT_SELF 1
#define SCIF_FENCE_INIT_PEER 2
#define SCIF_SIGNAL_LOCAL 0x10
#define SCIF_SIGNAL_REMOTE 0x20

#define SCIF_ADMIN_PORT_END 1024 /* ports below are the administrator's */

/* A node and a port of it. */
struct vphi_port {
	__u16 node;
	__u16 port;
};

struct vphi_ioctl_connect {
	struct vphi_port self; /* out */
	struct vphi_port peer;
};

struct vphi_ioctl_accept {
	__s32 flags;
	struct vphi_port peer; /* out */
	__u64 endpoint; /* out */
};

struct vphi_ioctl_message {
	__u64 address;
	__s32 bytes;
	__s32 flags;
	__s32 moved; /* out */
	__s32 padding;
};

struct vphi_ioctl_register {
	__u64 address;
	__u64 bytes;
	__s64 offset;
	__s32 prot;
	__s32 flags;
	__s64 chosen; /* out */
};

/* A window, or a row of them, that goes. */
struct vphi_ioctl_unregister {
	__s64 offset;
	__u64 bytes;
};

/* All four copies: between windows, or with @address in place of @local. */
struct vphi_ioctl_copy {
	__s64 local;
	__u64 bytes;
	__s64 remote;
	__u64 address;
	__s32 flags;
	__s32 padding;
};

/* Which nodes there are, in MPSS 3's order of members. */
struct vphi_ioctl_nodes_mpss {
	__u64 nodes;
	__s32 count;
	__s32 padding;
	__u64 self;
};

/* Which nodes there are, in mainline's order of members. */
struct vphi_ioctl_nodes {
	__u64 nodes;
	__u64 self;
	__s32 count;
	__s32 padding;
};

struct vphi_ioctl_fence_mark {
	__s32 flags;
	__s32 padding;
	__u64 mark; /* where it goes */
};

/* Values that are written to both sides when earlier copies are done. */
struct vphi_ioctl_fence_signal {
	__s64 local;
	__u64 local_value;
	__s64 remote;
	__u64 remote_value;
	__s32 flags;
	__s32 padding;
};

#define SCIF_BIND _IOWR('s', 1, __u64)
#define SCIF_LISTEN _IOW('s', 2, __s32)
#define SCIF_CONNECT _IOWR('s', 3, __u64)
#define SCIF_ACCEPTREQ_MPSS _IOWR('s', 4, __u64)
#define SCIF_ACCEPTREQ _IOWR('s', 4, struct vphi_ioctl_accept)
#define SCIF_ACCEPTREG _IOWR('s', 5, __u64)
#define SCIF_SEND_MPSS _IOWR('s', 6, __u64)
#define SCIF_SEND _IOWR('s', 6, struct vphi_ioctl_message)
#define SCIF_RECV_MPSS _IOWR('s', 7, __u64)
#define SCIF_RECV _IOWR('s', 7, struct vphi_ioctl_message)
#define SCIF_REG_MPSS _IOWR('s', 8, __u64)
#define SCIF_REG _IOWR('s', 8, struct vphi_ioctl_register)
#define SCIF_UNREG_MPSS _IOWR('s', 9, __u64)
#define SCIF_UNREG _IOWR('s', 9, struct vphi_ioctl_unregister)
#define SCIF_READFROM_MPSS _IOWR('s', 10, __u64)
#define SCIF_READFROM _IOWR('s', 10, struct vphi_ioctl_copy)
#define SCIF_WRITETO_MPSS _IOWR('s', 11, __u64)
#define SCIF_WRITETO _IOWR('s', 11, struct vphi_ioctl_copy)
#define SCIF_VREADFROM_MPSS _IOWR('s', 12, __u64)
#define SCIF_VREADFROM _IOWR('s', 12, struct vphi_ioctl_copy)
#define SCIF_VWRITETO_MPSS _IOWR('s', 13, __u64)
#define SCIF_VWRITETO _IOWR('s', 13, struct vphi_ioctl_copy)
#define SCIF_GET_NODEIDS_MPSS _IOWR('s', 14, __u64)
#define SCIF_GET_NODEIDS _IOWR('s', 14, struct vphi_ioctl_nodes)
#define SCIF_FENCE_MARK_MPSS _IOWR('s', 15, __u64)
#define SCIF_FENCE_MARK _IOWR('s', 15, struct vphi_ioctl_fence_mark)
#define SCIF_FENCE_WAIT _IOWR('s', 16, __s32)
#define SCIF_FENCE_SIGNAL_MPSS _IOWR('s', 17, __u64)
#define SCIF_FENCE_SIGNAL _IOWR('s', 17, struct vphi_ioctl_fence_signal)
#define SCIF_GET_VERSION _IO('s', 23)

#endif
