/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal's settings and its queue, and the thread that writes; see journal.h.
 * journal_file.c is the file.
 *
 * The owner appends rows to .pending; the thread takes all of them at once, writes them in one
 * transaction and, if that fails, puts them back in front of what has come since. So a row is
 * written exactly once, unless the queue is full for so long that it cannot be kept.
 *
 * Locks: .lock guards pending, commit, ending and lost. The file is the thread's alone.
 */
#include "share/journal.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/log.h"
#include "share/journal_file.h"

#define RETRY_S 5 /* after a failure, also when nobody commits */

const char *const journal_columns[JOURNAL_COUNTERS] = {
	"device_ns",	 "launches",	   "calls", "copied_in", "copied_out",
	"copied_within", "memory_byte_ms", "waits", "waited_ns",
};

struct rows {
	struct journal_record *list;
	size_t count, capacity;
};

struct journal {
	struct journal_settings settings;
	const char *daemon;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct rows pending;
	bool commit, ending;
	uint64_t lost; /* rows that could not be kept */
};

int journal_settings_read(struct journal_settings *settings, struct config *config,
			  struct error *error)
{
	static const char *const known[] = { "journal", "keep_days", "keep_mib", "interval_s",
					     NULL };
	config_setting_t *group = config_section(config, "accounting");
	int64_t days = 400, mib = 256, interval_s = 5;
	const char *path = NULL;
	int status;

	*settings = (struct journal_settings){ 0 };
	if (group) {
		status = config_check_unknown(config, group, known, error);
		if (status >= 0)
			status = config_get_string(config, group, "journal", &path, error);
		if (status >= 0)
			status = config_get_integer(config, group, "keep_days", 1, 36500, &days,
						    error);
		if (status >= 0)
			status = config_get_integer(config, group, "keep_mib", 1, 1 << 20, &mib,
						    error);
		if (status >= 0)
			status = config_get_integer(config, group, "interval_s", 1, 3600,
						    &interval_s, error);
		if (status < 0)
			return status;
	}
	settings->keep_days = (unsigned int)days;
	settings->keep_mib = (unsigned int)mib;
	settings->interval_s = (unsigned int)interval_s;
	if (!path || !*path)
		return 0;
	if (*path != '/')
		return error_set(error, -EINVAL,
				 "%s: accounting.journal is '%s': expected a path from the root",
				 config->path, path);
	settings->path = strdup(path);
	return settings->path ? 0 : error_set(error, -ENOMEM, "no memory");
}

void journal_settings_free(struct journal_settings *settings)
{
	free(settings->path);
	settings->path = NULL;
}

/* rows_room - for one more; NULL without memory */
static struct journal_record *rows_room(struct rows *rows)
{
	size_t capacity = rows->capacity ? 2 * rows->capacity : 64;
	struct journal_record *list;

	if (rows->count < rows->capacity)
		return &rows->list[rows->count];
	list = realloc(rows->list, capacity * sizeof(*list));
	if (!list)
		return NULL;
	rows->list = list;
	rows->capacity = capacity;
	return &rows->list[rows->count];
}

/* rows_find - the last row of a client, or NULL */
static struct journal_record *rows_find(struct rows *rows, uint64_t number)
{
	for (size_t i = rows->count; i-- > 0;)
		if (rows->list[i].number == number)
			return &rows->list[i];
	return NULL;
}

static void record_fill(struct journal_record *record, const struct journal_client *client,
			const struct journal_usage *usage)
{
	time_t now = time(NULL);

	*record = (struct journal_record){
		.minute = now - now % JOURNAL_MINUTE_S,
		.number = client->number,
		.since = client->since,
		.usage = *usage,
	};
	strncpy(record->tenant, client->tenant, sizeof(record->tenant) - 1);
	strncpy(record->who, client->who, sizeof(record->who) - 1);
}

void journal_add(struct journal *journal, const struct journal_client *client,
		 const struct journal_usage *usage)
{
	struct journal_record *record = NULL;

	pthread_mutex_lock(&journal->lock);
	if (journal->pending.count < JOURNAL_PENDING_MAX)
		record = rows_room(&journal->pending);
	if (record) {
		record_fill(record, client, usage);
		journal->pending.count++;
	} else {
		record = rows_find(&journal->pending, client->number);
		for (int i = 0; record && i < JOURNAL_COUNTERS; i++)
			record->usage.counters[i] += usage->counters[i];
		journal->lost += !record;
	}
	pthread_mutex_unlock(&journal->lock);
}

void journal_commit(struct journal *journal)
{
	pthread_mutex_lock(&journal->lock);
	journal->commit = true;
	pthread_cond_signal(&journal->wake);
	pthread_mutex_unlock(&journal->lock);
}

/* journal_put_back - rows that were not written, in front of those that have come since */
static void journal_put_back(struct journal *journal, struct rows *rows)
{
	for (size_t i = 0; i < journal->pending.count; i++) {
		struct journal_record *at = rows_room(rows);

		if (!at) {
			journal->lost += journal->pending.count - i;
			break;
		}
		*at = journal->pending.list[i];
		rows->count++;
	}
	free(journal->pending.list);
	journal->pending = *rows;
}

/* journal_write - one transaction; the log says when it begins to fail, and when it works again */
static bool journal_write(struct journal *journal, struct journal_file *file, struct rows *rows,
			  bool failed)
{
	struct error error = { 0 };
	int status = journal_file_write(file, rows->list, rows->count, &error);

	if (status < 0 && !failed)
		log_error("the journal of usage cannot be written, and is tried again: %s",
			  error.text);
	if (status == 0 && failed)
		log_info("the journal of usage is written again: %s", journal->settings.path);
	return status == 0;
}

/* journal_wait - until there is something to do; under the lock */
static void journal_wait(struct journal *journal, bool failed)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += RETRY_S;
	while (!journal->ending && !(journal->commit && journal->pending.count)) {
		if (!failed)
			pthread_cond_wait(&journal->wake, &journal->lock);
		else if (pthread_cond_timedwait(&journal->wake, &journal->lock, &until))
			return;
	}
}

static void *journal_run(void *argument)
{
	struct journal *journal = argument;
	struct journal_file *file = journal_file_new(journal->daemon, &journal->settings);
	bool failed = false, ending = false;
	uint64_t lost;

	if (file)
		failed = !journal_write(journal, file, &(struct rows){ 0 }, false);
	pthread_mutex_lock(&journal->lock);
	while (!ending) {
		struct rows rows;

		journal_wait(journal, failed);
		rows = journal->pending;
		ending = journal->ending;
		journal->pending = (struct rows){ 0 };
		journal->commit = false;
		pthread_mutex_unlock(&journal->lock);
		failed = !file || !journal_write(journal, file, &rows, failed);
		pthread_mutex_lock(&journal->lock);
		if (failed)
			journal_put_back(journal, &rows);
		else
			free(rows.list);
		lost = failed ? 0 : journal->lost;
		journal->lost -= lost;
		if (lost)
			log_warning("the journal of usage lacks %llu records",
				    (unsigned long long)lost);
	}
	pthread_mutex_unlock(&journal->lock);
	journal_file_free(file);
	return NULL;
}

/* journal_start - the thread, which takes none of the program's signals */
static int journal_start(struct journal *journal)
{
	pthread_condattr_t attributes;
	sigset_t all, before;
	int status;

	pthread_mutex_init(&journal->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&journal->wake, &attributes);
	pthread_condattr_destroy(&attributes);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	status = pthread_create(&journal->thread, NULL, journal_run, journal);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -status;
}

int journal_open(struct journal **opened, const char *daemon,
		 const struct journal_settings *settings)
{
	struct journal *journal = calloc(1, sizeof(*journal));
	int status;

	if (!journal)
		return -ENOMEM;
	journal->daemon = daemon;
	journal->settings = *settings;
	journal->settings.path = strdup(settings->path);
	status = journal->settings.path ? journal_start(journal) : -ENOMEM;
	if (status) {
		free(journal->settings.path);
		free(journal);
		return status;
	}
	*opened = journal;
	return 0;
}

void journal_close(struct journal *journal)
{
	if (!journal)
		return;
	pthread_mutex_lock(&journal->lock);
	journal->ending = true;
	pthread_cond_signal(&journal->wake);
	pthread_mutex_unlock(&journal->lock);
	pthread_join(journal->thread, NULL);
	pthread_cond_destroy(&journal->wake);
	pthread_mutex_destroy(&journal->lock);
	free(journal->pending.list);
	free(journal->settings.path);
	free(journal);
}
