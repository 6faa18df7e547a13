/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A daemon's report: all that it tells about itself, in one form that needs no further knowledge.
 *
 * `causeway status` prints it, `causeway top` shows how it changes, and the exporter makes
 * Prometheus' text of it. It is JSON, as the control socket carries it:
 *
 *	{"program": "causeway-switch", "pid": 7, "since": 1700000000, "tables": [
 *	  {"name": "vm", "exported": true,
 *	   "columns": [{"name": "name", "kind": "label", "unit": "", "help": "..."}, ...],
 *	   "rows": [["build", 3, ...], ...]}, ...]}
 *
 * A daemon may add members of its own. Labels name a row and come first; a table that has none has
 * one row, facts about the whole daemon, and its name may be empty. Times are seconds since 1970.
 */
#ifndef CAUSEWAY_LIB_METRICS_REPORT_H
#define CAUSEWAY_LIB_METRICS_REPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "lib/base/buffer.h"

enum report_kind {
	REPORT_LABEL,	/* text or number: which row this is */
	REPORT_TEXT,	/* text that describes the row; not a metric */
	REPORT_GAUGE,	/* number that goes up and down */
	REPORT_COUNTER, /* number that only grows */
	REPORT_SINCE,	/* time at which the row began; 0 unknown */
};

struct report_column {
	const char *name; /* lower case and underscores, without unit and _total */
	enum report_kind kind;
	const char *unit; /* "bytes", "seconds", or "" */
	const char *help; /* a phrase for people */
};

/* report_new - without tables; NULL without memory */
json_t *report_new(const char *program, time_t since);

/**
 * report_add_table - a table without rows
 * @exported: whether the exporter shows it; not for tables whose labels come and go all the time
 *
 * Return: the list for rows, the report's own; each row is an array in the order of @columns, with
 * json_array_append_new(rows, json_pack("[...]", ...)). NULL without memory, which
 * json_array_append_new() bears.
 */
json_t *report_add_table(json_t *report, const char *name, bool exported,
			 const struct report_column *columns, size_t count);

/**
 * report_write_metrics - the exported tables as Prometheus' text (version 0.0.4)
 *
 * Names are program_table_column, with the unit and, for counters, _total behind it.
 * Return: 0 or -errno of @text (-ENOBUFS, -ENOMEM).
 */
int report_write_metrics(const json_t *report, struct buffer *text);

/* report_add_process - the table "process": memory and CPU time of this process */
void report_add_process(json_t *report);

#endif
