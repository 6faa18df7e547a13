/* SPDX-License-Identifier: Apache-2.0 */
/* The journal's file, for journal.c alone: rows into SQLite, and old ones out of it. */
#ifndef CAUSEWAY_SHARE_JOURNAL_FILE_H
#define CAUSEWAY_SHARE_JOURNAL_FILE_H

#include "share/journal.h"

/* One row on its way into the file. */
struct journal_record {
	char tenant[JOURNAL_NAME_BYTES], who[JOURNAL_WHO_BYTES];
	uint64_t number;
	time_t minute, since;
	struct journal_usage usage;
};

struct journal_file;

/* journal_file_new - nothing is opened yet; NULL without memory. @settings must stay. */
struct journal_file *journal_file_new(const char *daemon, const struct journal_settings *settings);

/**
 * journal_file_write - add all rows, or none; opens the file where it is not open
 *
 * Return: 0, or -errno with a sentence; then the file is closed, to be opened anew the next time.
 */
int journal_file_write(struct journal_file *file, const struct journal_record *list, size_t count,
		       struct error *error);

/* journal_file_free - NULL is allowed */
void journal_file_free(struct journal_file *file);

#endif
