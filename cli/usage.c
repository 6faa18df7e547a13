/* SPDX-License-Identifier: Apache-2.0 */
/*
 * causeway usage: who used how much of this host's devices, out of the journal that the daemons
 * keep (share/journal.h). It asks no daemon: the last seconds may be missing.
 */
#include <argp.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/when.h"
#include "lib/base/config.h"
#include "lib/base/log.h"
#include "share/journal.h"

#define CONFIG_DEFAULT "/etc/causeway/causeway.conf"
#define NS_PER_S       1e9
#define GIB	       1073741824.0

struct usage_options {
	struct journal_query query;
	const char *journal, *config;
	bool json;
	time_t now;
};

/* What is printed at last, and how many rows went before. */
struct usage_print {
	const struct usage_options *chosen;
	json_t *rows;
	unsigned int count;
	struct journal_usage sum;
};

static const struct argp_option options[] = {
	{ "since", 's', "TIME", 0,
	  "from then on (default: today); TIME is now, today, yesterday, an age (2h, 7d), a date "
	  "(2026-11-01), perhaps with a time, or @SECONDS since 1970",
	  0 },
	{ "until", 'u', "TIME", 0, "up to then (default: now)", 0 },
	{ "tenant", 't', "NAME", 0, "this tenant alone", 0 },
	{ "clients", 'c', NULL, 0, "a line for each client", 0 },
	{ "json", 'j', NULL, 0, "print JSON", 0 },
	{ "journal", 'J', "FILE", 0,
	  "the journal (default: the one of the configuration, else " JOURNAL_DEFAULT ")", 0 },
	{ "config", 'C', "FILE", 0, "configuration file (" CONFIG_DEFAULT ")", 0 },
	{ 0 },
};

static void parse_when(struct argp_state *state, const char *name, const char *text, time_t *when)
{
	const struct usage_options *chosen = state->input;

	if (when_parse(text, chosen->now, when))
		argp_error(state, "--%s is \"%s\": " WHEN_EXPECTED, name, text);
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct usage_options *chosen = state->input;

	switch (key) {
	case 's':
		parse_when(state, "since", text, &chosen->query.since);
		return 0;
	case 'u':
		parse_when(state, "until", text, &chosen->query.until);
		return 0;
	case 't':
		chosen->query.tenant = text;
		return 0;
	case 'c':
		chosen->query.clients = true;
		return 0;
	case 'j':
		chosen->json = true;
		return 0;
	case 'J':
		chosen->journal = text;
		return 0;
	case 'C':
		chosen->config = text;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "unexpected argument \"%s\"", text);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.doc = "Show who used how much of the devices, minute by minute added up.",
};

/* One row as JSON; numbers in the units that their names say. */
static void row_json(struct usage_print *print, const struct journal_row *row)
{
	const uint64_t *counters = row->usage.counters;
	json_t *object = json_pack(
		"{s:s, s:s, s:I, s:I, s:f, s:I, s:I, s:I, s:I, s:I, s:f, s:I, s:f}", "service",
		row->daemon, "tenant", row->tenant, "first", (json_int_t)row->first, "last",
		(json_int_t)row->last, "device_s", counters[JOURNAL_DEVICE_NS] / NS_PER_S,
		"launches", (json_int_t)counters[JOURNAL_LAUNCHES], "calls",
		(json_int_t)counters[JOURNAL_CALLS], "copied_in_bytes",
		(json_int_t)counters[JOURNAL_IN_BYTES], "copied_out_bytes",
		(json_int_t)counters[JOURNAL_OUT_BYTES], "copied_within_bytes",
		(json_int_t)counters[JOURNAL_WITHIN_BYTES], "memory_byte_s",
		counters[JOURNAL_MEMORY_BYTE_MS] / 1e3, "waits",
		(json_int_t)counters[JOURNAL_WAITS], "waited_s",
		counters[JOURNAL_WAITED_NS] / NS_PER_S);

	if (print->chosen->query.clients) {
		json_object_set_new(object, "client", json_integer((json_int_t)row->client));
		json_object_set_new(object, "identity", json_string(row->who));
		json_object_set_new(object, "since", json_integer((json_int_t)row->since));
	}
	json_array_append_new(print->rows, object);
}

/* bytes_text - "12.3 MiB" */
static void bytes_text(double bytes, char text[16])
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
	int unit = 0;

	for (; bytes >= 1024 && unit < 5; unit++)
		bytes /= 1024;
	snprintf(text, 16, "%.*f %s", unit ? 1 : 0, bytes, units[unit]);
}

static void row_line(const struct usage_print *print, const char *service, const char *tenant,
		     const uint64_t *counters, const char *who)
{
	char in[16], out[16], within[16];

	bytes_text((double)counters[JOURNAL_IN_BYTES], in);
	bytes_text((double)counters[JOURNAL_OUT_BYTES], out);
	bytes_text((double)counters[JOURNAL_WITHIN_BYTES], within);
	printf("%-7s %-16s %12.3f %10llu %12llu %10s %10s %10s %12.3f %9llu %10.3f%s%s\n", service,
	       tenant, counters[JOURNAL_DEVICE_NS] / NS_PER_S,
	       (unsigned long long)counters[JOURNAL_LAUNCHES],
	       (unsigned long long)counters[JOURNAL_CALLS], in, out, within,
	       counters[JOURNAL_MEMORY_BYTE_MS] / 1e3 / GIB,
	       (unsigned long long)counters[JOURNAL_WAITS], counters[JOURNAL_WAITED_NS] / NS_PER_S,
	       print->chosen->query.clients ? "  " : "", who);
}

static void usage_visit(void *context, const struct journal_row *row)
{
	struct usage_print *print = context;

	for (int i = 0; i < JOURNAL_COUNTERS; i++)
		print->sum.counters[i] += row->usage.counters[i];
	if (print->chosen->json)
		row_json(print, row);
	else if (print->count == 0)
		printf("%-7s %-16s %12s %10s %12s %10s %10s %10s %12s %9s %10s%s\n", "service",
		       "tenant", "device s", "launches", "calls", "copied in", "out", "within",
		       "memory GiB s", "waits", "waited s",
		       print->chosen->query.clients ? "  client" : "");
	if (!print->chosen->json)
		row_line(print, row->daemon, row->tenant, row->usage.counters, row->who);
	print->count++;
}

/* usage_path - the configured journal into @settings, else the default; 0 or -errno */
static int usage_path(const struct usage_options *chosen, struct journal_settings *settings,
		      struct error *error)
{
	const char *path = chosen->config ? chosen->config : CONFIG_DEFAULT;
	struct config config;
	int status = 0;

	if (chosen->config || access(path, F_OK) == 0) {
		status = config_load(&config, path, error);
		if (status < 0)
			return status;
		status = journal_settings_read(settings, &config, error);
		config_close(&config);
	}
	return status;
}

static void usage_end(struct usage_print *print, const char *path)
{
	const struct journal_query *query = &print->chosen->query;
	json_t *all;

	if (!print->chosen->json) {
		if (print->count > 1)
			row_line(print, "", "all", print->sum.counters, "");
		if (!print->count)
			printf("nothing was used in that time, as %s says\n", path);
		return;
	}
	all = json_pack("{s:I, s:I, s:O}", "since", (json_int_t)query->since, "until",
			(json_int_t)query->until, "rows", print->rows);
	json_dumpf(all, stdout, JSON_INDENT(1));
	putchar('\n');
	json_decref(all);
}

int cli_usage(int argc, char **argv)
{
	struct usage_options chosen = { .now = time(NULL) };
	struct usage_print print = { .chosen = &chosen, .rows = json_array() };
	struct journal_settings settings = { 0 };
	struct error error = { 0 };
	const char *path;
	int status;

	chosen.query.until = chosen.now + 1;
	when_parse("today", chosen.now, &chosen.query.since);
	argp_parse(&argp, argc, argv, 0, NULL, &chosen);
	chosen.query.since -= chosen.query.since % JOURNAL_MINUTE_S;
	status = chosen.journal ? 0 : usage_path(&chosen, &settings, &error);
	path = chosen.journal ? chosen.journal : settings.path ? settings.path : JOURNAL_DEFAULT;
	if (status == 0)
		status = journal_read(path, &chosen.query, usage_visit, &print, &error);
	if (status == 0)
		usage_end(&print, path);
	else
		log_error("%s", error.text);
	json_decref(print.rows);
	journal_settings_free(&settings);
	return status < 0 ? 1 : 0;
}
