/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal as a SQLite database; see journal_file.h.
 *
 *	client	one row for each client: daemon, tenant, who, number, since; `run` tells apart what
 *		different runs of daemons call by the same number
 *	usage	one row for each client and minute: the counters
 *
 * Everything is in WAL mode with synchronous = NORMAL: a commit is one append and waits for no
 *disk, a killed process loses nothing that was committed, a crash of the machine perhaps the last
 * commits, and in no case is the file damaged. Minutes are seconds since 1970, a multiple of 60.
 */
#include "share/journal_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_VERSION 1
#define BUSY_MS	     5000 /* another daemon writes */
#define TRIM_EVERY_S 3600
#define DAY_S	     86400

struct journal_file {
	const char *daemon;
	const struct journal_settings *settings;
	int64_t run;
	sqlite3 *database;
	sqlite3_stmt *client, *usage;
	time_t trimmed;
};

static const char schema[] =
	"BEGIN IMMEDIATE;"
	"CREATE TABLE IF NOT EXISTS client (id INTEGER PRIMARY KEY, run INTEGER NOT NULL,"
	" number INTEGER NOT NULL, daemon TEXT NOT NULL, tenant TEXT NOT NULL, who TEXT NOT NULL,"
	" since INTEGER NOT NULL, UNIQUE (run, number));"
	"CREATE TABLE IF NOT EXISTS usage (minute INTEGER NOT NULL, client INTEGER NOT NULL,"
	" device_ns INTEGER NOT NULL, launches INTEGER NOT NULL, calls INTEGER NOT NULL,"
	" copied_in INTEGER NOT NULL, copied_out INTEGER NOT NULL, copied_within INTEGER NOT NULL,"
	" memory_byte_ms INTEGER NOT NULL, waits INTEGER NOT NULL, waited_ns INTEGER NOT NULL,"
	" PRIMARY KEY (minute, client)) WITHOUT ROWID;"
	"CREATE INDEX IF NOT EXISTS usage_client ON usage (client);"
	"PRAGMA user_version = 1;"
	"COMMIT;";

static const char add_client[] =
	"INSERT INTO client (run, number, daemon, tenant, who, since) VALUES (?, ?, ?, ?, ?, ?)"
	" ON CONFLICT (run, number) DO UPDATE SET tenant = tenant RETURNING id";

static const char add_usage[] =
	"INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
	" ON CONFLICT (minute, client) DO UPDATE SET device_ns = device_ns + excluded.device_ns,"
	" launches = launches + excluded.launches, calls = calls + excluded.calls,"
	" copied_in = copied_in + excluded.copied_in, copied_out = copied_out + "
	"excluded.copied_out,"
	" copied_within = copied_within + excluded.copied_within,"
	" memory_byte_ms = memory_byte_ms + excluded.memory_byte_ms, waits = waits + "
	"excluded.waits,"
	" waited_ns = waited_ns + excluded.waited_ns";

struct journal_file *journal_file_new(const char *daemon, const struct journal_settings *settings)
{
	struct journal_file *file = calloc(1, sizeof(*file));

	if (!file)
		return NULL;
	file->daemon = daemon;
	file->settings = settings;
	if (getrandom(&file->run, sizeof(file->run), 0) != sizeof(file->run))
		file->run = (int64_t)time(NULL) << 22 | getpid();
	return file;
}

static void file_close(struct journal_file *file)
{
	sqlite3_finalize(file->client);
	sqlite3_finalize(file->usage);
	sqlite3_close(file->database);
	file->client = file->usage = NULL;
	file->database = NULL;
}

void journal_file_free(struct journal_file *file)
{
	if (file)
		file_close(file);
	free(file);
}

/* file_fail - a sentence of SQLite's last error; the file is closed */
static int file_fail(struct journal_file *file, struct error *error)
{
	int number = file->database ? sqlite3_system_errno(file->database) : ENOMEM;

	error_set(error, -EIO, "%s: %s%s%s", file->settings->path,
		  file->database ? sqlite3_errmsg(file->database) : "no memory", number ? ": " : "",
		  number ? strerror(number) : "");
	if (file->database)
		sqlite3_exec(file->database, "ROLLBACK", NULL, NULL, NULL);
	file_close(file);
	return -EIO;
}

/* file_number - the one number that @sql gives, or -1 */
static int64_t file_number(struct journal_file *file, const char *sql)
{
	sqlite3_stmt *statement;
	int64_t number = -1;

	if (sqlite3_prepare_v2(file->database, sql, -1, &statement, NULL))
		return -1;
	if (sqlite3_step(statement) == SQLITE_ROW)
		number = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return number;
}

/*
 * file_give - a new file of root's to the owner of its folder: daemons of several users write it.
 * SQLite gives what it makes beside it to the same one.
 */
static void file_give(const char *path, int fd)
{
	char *folder = strdup(path), *slash = folder ? strrchr(folder, '/') : NULL;
	struct stat is, above;

	if (slash)
		slash[slash == folder] = '\0';
	if (geteuid() == 0 && slash && !fstat(fd, &is) && !is.st_size && !stat(folder, &above) &&
	    fchown(fd, above.st_uid, above.st_gid) < 0)
		errno = 0; /* then it is root's alone, as before */
	free(folder);
}

static int file_open(struct journal_file *file, struct error *error)
{
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
	int64_t version;
	/* What SQLite makes beside it gets the same permissions: it says who does what. */
	int fd = open(file->settings->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return error_set(error, -errno, "%s: %s", file->settings->path, strerror(errno));
	file_give(file->settings->path, fd);
	close(fd);
	if (sqlite3_open_v2(file->settings->path, &file->database, flags, NULL))
		return file_fail(file, error);
	sqlite3_busy_timeout(file->database, BUSY_MS);
	if (sqlite3_exec(file->database,
			 "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;"
			 "PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = 1048576",
			 NULL, NULL, NULL))
		return file_fail(file, error);
	version = file_number(file, "PRAGMA user_version");
	if (version > FILE_VERSION) {
		file_close(file);
		return error_set(error, -EINVAL, "%s: it is of version %lld, expected %d",
				 file->settings->path, (long long)version, FILE_VERSION);
	}
	if ((version < FILE_VERSION && sqlite3_exec(file->database, schema, NULL, NULL, NULL)) ||
	    sqlite3_prepare_v2(file->database, add_client, -1, &file->client, NULL) ||
	    sqlite3_prepare_v2(file->database, add_usage, -1, &file->usage, NULL))
		return file_fail(file, error);
	return 0;
}

/* client_add - the client's row, made where there is none; its id or -1 */
static int64_t client_add(struct journal_file *file, const struct journal_record *record)
{
	sqlite3_stmt *statement = file->client;
	int64_t id = -1;

	sqlite3_bind_int64(statement, 1, file->run);
	sqlite3_bind_int64(statement, 2, (sqlite3_int64)record->number);
	sqlite3_bind_text(statement, 3, file->daemon, -1, SQLITE_STATIC);
	sqlite3_bind_text(statement, 4, record->tenant, -1, SQLITE_STATIC);
	sqlite3_bind_text(statement, 5, record->who, -1, SQLITE_STATIC);
	sqlite3_bind_int64(statement, 6, record->since);
	if (sqlite3_step(statement) == SQLITE_ROW)
		id = sqlite3_column_int64(statement, 0);
	/* Also a statement that returned its row may still fail. */
	return sqlite3_reset(statement) ? -1 : id;
}

static int record_add(struct journal_file *file, const struct journal_record *record)
{
	sqlite3_stmt *statement = file->usage;
	int64_t client = client_add(file, record);

	if (client < 0)
		return -EIO;
	sqlite3_bind_int64(statement, 1, record->minute);
	sqlite3_bind_int64(statement, 2, client);
	for (int i = 0; i < JOURNAL_COUNTERS; i++) {
		uint64_t counter = record->usage.counters[i];

		/* SQLite's integers are signed, and a sum beyond them would be an error for good.
		 */
		sqlite3_bind_int64(statement, 3 + i,
				   counter > INT64_MAX ? INT64_MAX : (int64_t)counter);
	}
	sqlite3_step(statement);
	return sqlite3_reset(statement) ? -EIO : 0;
}

/* file_trim - remove what is too old, and the oldest eighth while the file is too large */
static int file_trim(struct journal_file *file, time_t now)
{
	int64_t most = (int64_t)file->settings->keep_mib << 20;
	int64_t page = file_number(file, "PRAGMA page_size");
	char sql[512];

	if (page * file_number(file, "PRAGMA page_count") <= most &&
	    now - file->trimmed < TRIM_EVERY_S)
		return 0;
	file->trimmed = now;
	snprintf(sql, sizeof(sql), "DELETE FROM usage WHERE minute < %lld",
		 (long long)(now - (time_t)file->settings->keep_days * DAY_S));
	if (sqlite3_exec(file->database, sql, NULL, NULL, NULL))
		return -EIO;
	if (page * (file_number(file, "PRAGMA page_count") -
		    file_number(file, "PRAGMA freelist_count")) >
		    most &&
	    sqlite3_exec(
		    file->database,
		    "DELETE FROM usage WHERE minute <= (SELECT minute FROM usage ORDER BY minute"
		    " LIMIT 1 OFFSET (SELECT count(*) / 8 FROM usage))",
		    NULL, NULL, NULL))
		return -EIO;
	return sqlite3_exec(file->database,
			    "DELETE FROM client WHERE NOT EXISTS"
			    " (SELECT 1 FROM usage WHERE usage.client = client.id);"
			    "PRAGMA incremental_vacuum;"
			    "PRAGMA wal_checkpoint(TRUNCATE)",
			    NULL, NULL, NULL)
		       ? -EIO
		       : 0;
}

int journal_file_write(struct journal_file *file, const struct journal_record *list, size_t count,
		       struct error *error)
{
	int status = file->database ? 0 : file_open(file, error);

	if (status < 0)
		return status;
	if (sqlite3_exec(file->database, "BEGIN IMMEDIATE", NULL, NULL, NULL))
		return file_fail(file, error);
	for (size_t i = 0; i < count; i++) {
		if (record_add(file, &list[i]) < 0)
			return file_fail(file, error);
	}
	if (sqlite3_exec(file->database, "COMMIT", NULL, NULL, NULL))
		return file_fail(file, error);
	/* The rows are written; what fails from here on is tried again the next time. */
	if (file_trim(file, time(NULL)) < 0)
		sqlite3_exec(file->database, "ROLLBACK", NULL, NULL, NULL);
	return 0;
}
