/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who asks: the first 16 bytes that causeway-switch writes on a Unix connection to a daemon whose
 * service was configured with `identity = true`, before any byte of the guest's.
 *
 * The daemon may trust the CID as far as it trusts whoever may connect to its socket: only the
 * switch's user should be allowed to. Everything is little-endian.
 */
#ifndef CAUSEWAY_PROTO_IDENTITY_H
#define CAUSEWAY_PROTO_IDENTITY_H

#include <stddef.h>
#include <stdint.h>

#define IDENTITY_MAGIC	 0x44495743u /* the bytes "CWID" */
#define IDENTITY_VERSION 1u

struct identity_preamble {
	uint32_t magic;
	uint32_t version;
	uint64_t cid; /* the guest's context id, which the guest cannot choose */
};

_Static_assert(sizeof(struct identity_preamble) == 16, "no padding");
_Static_assert(offsetof(struct identity_preamble, cid) == 8, "no padding");

#endif
