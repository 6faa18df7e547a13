/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file of recorded launches: what causeway-cudad writes for `causeway tenant record`, and
 * `causeway simulate --recorded` replays. A header, then records of one size, in the order in which
 * work ended. Little-endian; the rest of a record, and what is reserved, is zero.
 *
 * TENANT comes before the first LAUNCHES that names it. The file may end anywhere: what is left of
 * a record is ignored.
 */
#ifndef CAUSEWAY_PROTO_SHARE_TRACE_H
#define CAUSEWAY_PROTO_SHARE_TRACE_H

#include <assert.h>
#include <stdint.h>

#include "proto/share-page.h"

#define SHARE_TRACE_MAGIC   0x6563617274777763u /* "cwwtrace" */
#define SHARE_TRACE_VERSION 1u
#define SHARE_TRACE_NAME    64u /* with the NUL */

/* The file's first bytes. */
struct share_trace_header {
	uint64_t magic;
	uint32_t version;
	uint32_t record_bytes;
	uint64_t began_ns; /* since 1970, and of the clock that launches have */
	uint64_t clock_ns;
};

/* What a record is. */
enum share_trace_kind {
	SHARE_TRACE_TENANT = 1,
	SHARE_TRACE_LAUNCHES = 2,
};

/* A tenant: its number in this file, and what it was when it was seen first. */
struct share_trace_tenant {
	uint32_t weight;
	uint32_t priority;
	uint8_t name[SHARE_TRACE_NAME];
	uint8_t reserved[8];
};

/* Launches of one client that ended together; see struct share_page_piece. */
struct share_trace_launches {
	uint64_t client;
	struct share_page_piece piece;
	uint8_t reserved[24];
};

/* One record. */
struct share_trace_record {
	uint32_t kind;
	uint32_t tenant; /* its number: from 0 on, without gaps */
	union {
		struct share_trace_tenant tenant_is;
		struct share_trace_launches launches;
	};
};

static_assert(sizeof(struct share_trace_header) == 32, "no padding");
static_assert(sizeof(struct share_trace_tenant) == 80, "no padding");
static_assert(sizeof(struct share_trace_launches) == 80, "no padding");
static_assert(sizeof(struct share_trace_record) == 88, "no padding");

#endif
