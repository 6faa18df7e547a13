/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sums out of the journal's file, while daemons may write it; see journal.h. The file is opened for
 * reading alone. What is read may have been damaged or made by others: SQLite checks its form, and
 * nothing here depends on its content.
 */
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "share/journal.h"

#define BUSY_MS	     5000
#define URI_BYTES    4352u
#define COUNTER_MOST 1.8e19

/* total() and not sum(): memory over time passes 2^63 byte milliseconds within days. */
static const char sums[] =
	"SELECT daemon, tenant, min(minute), max(minute), total(device_ns), total(launches), "
	"total(calls),"
	" total(copied_in), total(copied_out), total(copied_within), total(memory_byte_ms), "
	"total(waits),"
	" total(waited_ns)%s FROM usage JOIN client ON client.id = usage.client"
	" WHERE minute >= ?1 AND minute < ?2 AND (?3 IS NULL OR tenant = ?3)"
	" GROUP BY daemon, tenant%s ORDER BY daemon, tenant%s";

/* database_uri - "file:" and the path, with what has a meaning in it escaped */
static int database_uri(const char *path, const char *mode, char *uri, size_t bytes)
{
	size_t used = (size_t)snprintf(uri, bytes, "file:");

	for (; *path && used + 4 < bytes; path++) {
		if (strchr("%?#", *path))
			used += (size_t)snprintf(uri + used, bytes - used, "%%%02x", *path);
		else
			uri[used++] = *path;
	}
	if (*path || used + strlen(mode) >= bytes)
		return -ENAMETOOLONG;
	strcpy(uri + used, mode);
	return 0;
}

/*
 * database_open - a file in WAL mode wants its companions made, for which a reader may lack the
 * right; without a log there is nothing that they could tell it.
 */
static sqlite3 *database_open(const char *path, struct error *error)
{
	static const char *const modes[] = { "?mode=ro", "?immutable=1" };
	char uri[URI_BYTES], log[URI_BYTES];
	sqlite3 *database = NULL;

	snprintf(log, sizeof(log), "%s-wal", path);
	for (int i = 0; i < 2; i++) {
		if (database_uri(path, modes[i], uri, sizeof(uri)) < 0)
			break;
		/* The first question must wait, too: a daemon that starts locks the file. */
		if (sqlite3_open_v2(uri, &database, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL) ==
			    SQLITE_OK &&
		    sqlite3_busy_timeout(database, BUSY_MS) == SQLITE_OK &&
		    sqlite3_exec(database, "SELECT 1 FROM sqlite_master", NULL, NULL, NULL) ==
			    SQLITE_OK)
			return database;
		if (i == 0 && sqlite3_errcode(database) == SQLITE_CANTOPEN &&
		    access(log, F_OK) < 0) {
			sqlite3_close(database);
			database = NULL;
			continue;
		}
		break;
	}
	error_set(error, access(path, F_OK) < 0 ? -ENOENT : -EIO, "%s: %s", path,
		  access(path, R_OK) < 0 ? strerror(errno)
		  : database		 ? sqlite3_errmsg(database)
					 : "the name is too long");
	sqlite3_close(database);
	return NULL;
}

/* database_empty - a daemon has made the file, and written nothing yet: its disk is full, perhaps
 */
static bool database_empty(sqlite3 *database)
{
	sqlite3_stmt *statement = NULL;
	bool empty = false;

	if (sqlite3_prepare_v2(database, "SELECT count(*) FROM sqlite_master", -1, &statement,
			       NULL) == SQLITE_OK &&
	    sqlite3_step(statement) == SQLITE_ROW)
		empty = sqlite3_column_int64(statement, 0) == 0;
	sqlite3_finalize(statement);
	return empty;
}

static const char *column_text(sqlite3_stmt *statement, int column)
{
	const char *text = (const char *)sqlite3_column_text(statement, column);

	return text ? text : "";
}

static void row_take(sqlite3_stmt *statement, bool clients, struct journal_row *row)
{
	*row = (struct journal_row){
		.daemon = column_text(statement, 0),
		.tenant = column_text(statement, 1),
		.first = sqlite3_column_int64(statement, 2),
		.last = sqlite3_column_int64(statement, 3),
		.who = "",
	};
	for (int i = 0; i < JOURNAL_COUNTERS; i++) {
		double sum = sqlite3_column_double(statement, 4 + i);

		if (sum > 0)
			row->usage.counters[i] = sum < COUNTER_MOST ? (uint64_t)sum : UINT64_MAX;
	}
	if (!clients)
		return;
	row->client = (uint64_t)sqlite3_column_int64(statement, 4 + JOURNAL_COUNTERS);
	row->who = column_text(statement, 5 + JOURNAL_COUNTERS);
	row->since = sqlite3_column_int64(statement, 6 + JOURNAL_COUNTERS);
}

int journal_read(const char *path, const struct journal_query *query,
		 void (*visit)(void *context, const struct journal_row *row), void *context,
		 struct error *error)
{
	sqlite3 *database = database_open(path, error);
	sqlite3_stmt *statement = NULL;
	struct journal_row row;
	char sql[1024];
	int status;

	if (!database)
		return error->code;
	if (database_empty(database)) {
		sqlite3_close(database);
		return 0;
	}
	snprintf(sql, sizeof(sql), sums, query->clients ? ", number, who, since" : "",
		 query->clients ? ", client.id" : "", query->clients ? ", since, number" : "");
	status = sqlite3_prepare_v2(database, sql, -1, &statement, NULL);
	if (status == SQLITE_OK) {
		sqlite3_bind_int64(statement, 1, query->since);
		sqlite3_bind_int64(statement, 2, query->until);
		if (query->tenant)
			sqlite3_bind_text(statement, 3, query->tenant, -1, SQLITE_STATIC);
		while ((status = sqlite3_step(statement)) == SQLITE_ROW) {
			row_take(statement, query->clients, &row);
			visit(context, &row);
		}
	}
	status = status == SQLITE_DONE || status == SQLITE_OK
			 ? 0
			 : error_set(error, -EIO, "%s: %s", path, sqlite3_errmsg(database));
	sqlite3_finalize(statement);
	sqlite3_close(database);
	return status;
}
