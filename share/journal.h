/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal: who used how much, minute by minute, in a file that survives the daemons.
 *
 * A SQLite database in WAL mode (write-ahead log), one row for each client and minute. Several
 * daemons may write the same file. A daemon adds differences as often as it likes and commits now
 * and then; a thread of the journal's does the writing, so that the daemon's loop never waits for a
 * disk. What was not committed when the machine or the daemon dies is lost; the file stays whole.
 *
 * A file that cannot be written is said once and tried again; meanwhile differences are kept, up to
 * JOURNAL_PENDING_MAX rows. They are added to rows of the same client beyond that.
 *
 * Threads: journal_add() and the like belong to one thread; the reading functions to any.
 */
#ifndef CAUSEWAY_SHARE_JOURNAL_H
#define CAUSEWAY_SHARE_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "lib/base/config.h"
#include "lib/base/error.h"

#define JOURNAL_MINUTE_S    60
#define JOURNAL_NAME_BYTES  64u /* of tenants, with the NUL */
#define JOURNAL_WHO_BYTES   96u
#define JOURNAL_PENDING_MAX 16384u
#define JOURNAL_DEFAULT	    "/var/lib/causeway/usage.db"

/* What is counted; journal_columns has a name for each. */
enum journal_counter {
	JOURNAL_DEVICE_NS, /* time of a GPU, or of a card's cores */
	JOURNAL_LAUNCHES,  /* pieces of work: kernels, fills, a card's programs */
	JOURNAL_CALLS,	   /* requests */
	JOURNAL_IN_BYTES,  /* copied to the device, or sent */
	JOURNAL_OUT_BYTES, /* copied from it, or received */
	JOURNAL_WITHIN_BYTES,
	JOURNAL_MEMORY_BYTE_MS, /* memory over time */
	JOURNAL_WAITS,
	JOURNAL_WAITED_NS,
	JOURNAL_COUNTERS,
};

/* journal_columns - how the file calls them */
extern const char *const journal_columns[JOURNAL_COUNTERS];

/* What somebody used. */
struct journal_usage {
	uint64_t counters[JOURNAL_COUNTERS];
};

/* The configuration's section `accounting`. */
struct journal_settings {
	char *path;		 /* NULL: no journal; owned here */
	unsigned int keep_days;	 /* older rows are removed */
	unsigned int keep_mib;	 /* the file's size; beyond it the oldest rows are removed */
	unsigned int interval_s; /* between two commits */
};

/* Who it was. */
struct journal_client {
	const char *tenant;
	const char *who; /* for people: "uid 1000 pid 4711" */
	uint64_t number; /* unique in this run of the daemon */
	time_t since;
};

struct journal;

/* journal_settings_read - 0, or -EINVAL with a sentence; the caller owes journal_settings_free() */
int journal_settings_read(struct journal_settings *settings, struct config *config,
			  struct error *error);
void journal_settings_free(struct journal_settings *settings);

/**
 * journal_open - start writing
 * @daemon: its name, a literal
 *
 * A file that cannot be opened is no failure; the thread tries again. Return: 0 or -errno.
 */
int journal_open(struct journal **journal, const char *daemon,
		 const struct journal_settings *settings);

/* journal_add - @client has used @usage more, in this minute; never waits */
void journal_add(struct journal *journal, const struct journal_client *client,
		 const struct journal_usage *usage);

/* journal_commit - what was added is to be written now; never waits */
void journal_commit(struct journal *journal);

/* journal_close - write what was added, once, and end; NULL is allowed */
void journal_close(struct journal *journal);

/* One row of an answer; client, who and since are 0 and "" where rows are tenants. */
struct journal_row {
	const char *daemon, *tenant, *who;
	uint64_t client;
	time_t since, first, last; /* its first and last minute */
	struct journal_usage usage;
};

/* What is asked for. */
struct journal_query {
	time_t since, until; /* minutes that begin in [since, until) */
	const char *tenant;  /* NULL: all */
	bool clients;	     /* a row for each client */
};

/**
 * journal_read - sums for each daemon and tenant, or client, ordered by them
 * @visit: called for each row; its strings live as long as the call
 *
 * Return: 0, or -errno with a sentence.
 */
int journal_read(const char *path, const struct journal_query *query,
		 void (*visit)(void *context, const struct journal_row *row), void *context,
		 struct error *error);

#endif
