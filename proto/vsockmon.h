/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A capture file as Wireshark reads it: pcap (the format of libpcap, here with nanoseconds) whose
 * records are what the kernel's vsockmon device gives, <linux/vsockmon.h>. Little-endian.
 */
#ifndef CAUSEWAY_PROTO_VSOCKMON_H
#define CAUSEWAY_PROTO_VSOCKMON_H

#include <stddef.h>
#include <stdint.h>

#define PCAP_MAGIC_NANOSECONDS 0xa1b23c4du
#define VSOCKMON_LINK_TYPE     271u

/* The head of a capture file. */
struct pcap_file {
	uint32_t magic;
	uint16_t version_major, version_minor;
	uint32_t reserved[2];
	uint32_t snap_bytes;
	uint32_t link_type;
};

/* Before each packet of it. */
struct pcap_record {
	uint32_t seconds, nanoseconds;
	uint32_t captured_bytes, original_bytes;
};

/* What a packet did. */
enum vsockmon_op {
	VSOCKMON_OP_UNKNOWN = 0,
	VSOCKMON_OP_CONNECT = 1,
	VSOCKMON_OP_DISCONNECT = 2,
	VSOCKMON_OP_CONTROL = 3,
	VSOCKMON_OP_PAYLOAD = 4,
};

#define VSOCKMON_TRANSPORT_VIRTIO 2u

struct vsockmon_header {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port;
	uint16_t op;
	uint16_t transport;
	uint16_t transport_bytes; /* of the transport's header behind this one */
	uint8_t reserved[2];
};

_Static_assert(sizeof(struct pcap_file) == 24, "as in the file");
_Static_assert(sizeof(struct pcap_record) == 16, "as in the file");
_Static_assert(sizeof(struct vsockmon_header) == 32, "as in the file");
_Static_assert(offsetof(struct vsockmon_header, op) == 24, "as in the file");

#endif
