/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page that causeway-cudad and one worker share: turns on each device, and what was used.
 *
 * One page for each worker, so that a worker that goes wrong reaches nobody else's. Each word has
 * one writer, but for `bell`; a worker's threads add to `calls` and `copied_bytes`. All are
 * accessed atomically. The supervisor takes nothing in it for granted: a sequence that is not the
 * current turn's is ignored, a counter that falls is read as one that stood still.
 *
 *	worker wants a turn	want = 1, then a byte count into the kick (an eventfd)
 *	supervisor gives it	budget_ns, then grant = sequence << 2 | kind, bell + 1, futex wake
 *	it has another bound	the same, with the same sequence
 *	worker will end it soon	ending = sequence, then the kick
 *	supervisor tells who is likely to be next	prepared + 1, bell + 1, futex wake
 *	worker ends it		want, used_ns, then ended = sequence, then the kick
 *
 * A worker whose `ended` is the grant's sequence, or sequence 0, has no turn.
 */
#ifndef CAUSEWAY_PROTO_SHARE_PAGE_H
#define CAUSEWAY_PROTO_SHARE_PAGE_H

#include <assert.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>

#define SHARE_PAGE_MAGIC   0x65726873u /* "shre" */
#define SHARE_PAGE_VERSION 8u
#define SHARE_PAGE_DEVICES 16u

/* What a worker inherits beside its connection (3) and token (4). */
#define SHARE_PAGE_FD	5
#define SHARE_KICK_FD	6
#define SHARE_MEMORY_FD 7
#define SHARE_FOLDER_FD 8 /* where its tenant's workers share memory by name */

enum share_grant_kind {
	SHARE_GRANT_BOUNDED = 1,   /* the turn ends when budget_ns of device time are used */
	SHARE_GRANT_UNBOUNDED = 2, /* nobody else waits */
};

struct share_page_device {
	/* The supervisor's. */
	uint32_t grant;
	uint32_t bell; /* either side adds to it and wakes; everything that waits, waits for it */
	uint64_t budget_ns;
	uint32_t prepared; /* counts: the turn that this worker waits for may come at once */
	uint8_t reserved[44];
	/* The worker's. */
	uint32_t ended;
	uint32_t want;
	uint64_t used_ns; /* device time of all that ended, by the driver's events */
	uint64_t launches;
	uint64_t waits; /* how often work had to wait for a turn, and how long in all */
	uint64_t waited_ns;
	uint32_t ending; /* the sequence of a turn whose last work is about to be done */
	uint8_t reserved_worker[20];
};

/* Which way a copy went. */
enum share_copy {
	SHARE_COPY_IN,	   /* from the client to the device */
	SHARE_COPY_OUT,	   /* from the device to the client */
	SHARE_COPY_WITHIN, /* between two places of devices */
	SHARE_COPIES,
};

/* One batch of work that ended, while launches are recorded. */
struct share_page_piece {
	uint32_t device;
	uint32_t count;	      /* launches in it: they took equal parts of measured_ns */
	uint64_t issued_ns;   /* when the first one came; CLOCK_MONOTONIC */
	uint64_t gap_ns;      /* from the launch before it to the first one */
	uint64_t spread_ns;   /* the same for all others together */
	uint64_t measured_ns; /* on the device */
	uint32_t idle;	      /* 1: all before it had ended when the first one came */
	uint32_t reserved;
};

#define SHARE_PAGE_PIECES 1024u /* what comes faster than it is taken is lost */

struct share_page {
	uint32_t magic;
	uint32_t version;
	/* The worker's: device memory allocated now, since when, and over time before that. */
	uint64_t memory_bytes;
	uint64_t memory_since_ms; /* CLOCK_MONOTONIC */
	uint64_t memory_byte_ms;
	uint64_t calls; /* requests that were executed */
	uint64_t copied_bytes[SHARE_COPIES];
	struct share_page_device devices[SHARE_PAGE_DEVICES];
	/* The supervisor's: whether launches are recorded, and whether there are processors enough
	 * for either side to look for the other's next word in a loop. */
	uint32_t recording;
	uint32_t spins;
	uint8_t reserved_recording[56];
	/* The worker's: how many pieces it has written, each into place number % SHARE_PAGE_PIECES.
	 */
	uint64_t piece_count;
	/* The worker's: of memory_bytes, what contexts, modules and pools keep for themselves. */
	uint64_t overhead_bytes;
	uint8_t reserved_pieces[48];
	struct share_page_piece pieces[SHARE_PAGE_PIECES];
};

/*
 * The memory that the workers of one tenant share with each other and the supervisor: what each has
 * allocated. A worker admits an allocation under the lock, a robust process-shared mutex that the
 * supervisor made and never takes; it clears the slots of workers that ended.
 */
#define SHARE_MEMORY_SLOTS 4096u

struct share_memory {
	uint32_t magic;
	uint32_t version;
	uint64_t limit_bytes; /* the supervisor's; 0: none */
	uint8_t reserved[48];
	alignas(64) uint8_t lock[64]; /* pthread_mutex_t */
	uint64_t used_bytes[SHARE_MEMORY_SLOTS];
	/* Who has the slot, for the tenant's list of processes; written by its worker. */
	struct share_memory_process {
		uint32_t process; /* as it calls itself; 0: nobody */
		uint32_t devices; /* bit n: it has a context on device n */
	} processes[SHARE_MEMORY_SLOTS];
};

static_assert(offsetof(struct share_memory, used_bytes) == 128, "no padding");
static_assert(sizeof(struct share_memory_process) == 8, "no padding");
static_assert(sizeof(struct share_page_device) == 128, "two cache lines");
static_assert(offsetof(struct share_page_device, ended) == 64, "the worker's line");
static_assert(sizeof(struct share_page_piece) == 48, "no padding");
static_assert(sizeof(struct share_page) ==
		      64 + SHARE_PAGE_DEVICES * 128 + 128 + SHARE_PAGE_PIECES * 48,
	      "the whole page");

#endif
