/* SPDX-License-Identifier: Apache-2.0 */
/* The report and its form for Prometheus; see report.h. */
#include "lib/metrics/report.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const char *const kind_names[] = {
	[REPORT_LABEL] = "label",     [REPORT_TEXT] = "text",	[REPORT_GAUGE] = "gauge",
	[REPORT_COUNTER] = "counter", [REPORT_SINCE] = "since",
};

json_t *report_new(const char *program, time_t since)
{
	return json_pack("{s:s, s:i, s:I, s:[]}", "program", program, "pid", (int)getpid(), "since",
			 (json_int_t)since, "tables");
}

json_t *report_add_table(json_t *report, const char *name, bool exported,
			 const struct report_column *columns, size_t count)
{
	json_t *list = json_array(), *rows = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list,
				      json_pack("{s:s, s:s, s:s, s:s}", "name", columns[i].name,
						"kind", kind_names[columns[i].kind], "unit",
						columns[i].unit, "help", columns[i].help));
	if (json_array_append_new(json_object_get(report, "tables"),
				  json_pack("{s:s, s:b, s:o, s:o}", "name", name, "exported",
					    exported, "columns", list, "rows", rows)) < 0)
		return NULL;
	return rows;
}

void report_add_process(json_t *report)
{
	static const struct report_column columns[] = {
		{ "resident", REPORT_GAUGE, "bytes", "memory in use by the process" },
		{ "cpu", REPORT_COUNTER, "seconds", "processor time used by the process" },
	};
	json_t *rows = report_add_table(report, "process", true, columns, 2);
	FILE *file = fopen("/proc/self/statm", "re");
	struct rusage used = { 0 };
	long pages = 0;

	if (file) {
		if (fscanf(file, "%*d %ld", &pages) != 1)
			pages = 0;
		fclose(file);
	}
	getrusage(RUSAGE_SELF, &used);
	json_array_append_new(
		rows,
		json_pack("[I, f]", (json_int_t)pages * sysconf(_SC_PAGESIZE),
			  (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
				  (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6));
}

static int text_add(struct buffer *text, const char *words)
{
	return buffer_append(text, words, strlen(words));
}

/* Label values and help texts, with what would end them escaped. */
static int text_escape(struct buffer *text, const char *words)
{
	int status = 0;

	for (; *words && status == 0; words++) {
		if (*words == '\n')
			status = text_add(text, "\\n");
		else if (*words == '\\' || *words == '"')
			status = buffer_format(text, "\\%c", *words);
		else
			status = buffer_append(text, words, 1);
	}
	return status;
}

static const char *member(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

static bool column_is(const json_t *column, enum report_kind kind)
{
	return strcmp(member(column, "kind"), kind_names[kind]) == 0;
}

/* The metric's name into @name; other characters than Prometheus' become underscores. */
static void metric_name(const json_t *report, const json_t *table, const json_t *column, char *name,
			size_t bytes)
{
	const char *unit = member(column, "unit");
	bool since = column_is(column, REPORT_SINCE);

	snprintf(name, bytes, "%s_%s%s%s%s%s%s", member(report, "program"), member(table, "name"),
		 *member(table, "name") ? "_" : "", member(column, "name"),
		 *unit || since ? "_" : "", since ? "seconds" : unit,
		 column_is(column, REPORT_COUNTER) ? "_total" : "");
	for (char *at = name; *at; at++)
		if (!isalnum((unsigned char)*at))
			*at = '_';
}

/* {label="value",...} of one row, nothing where the table has no labels. */
static int write_labels(struct buffer *text, const json_t *columns, const json_t *row)
{
	const char *before = "{";
	const json_t *column;
	int status = 0;
	size_t i;

	json_array_foreach(columns, i, column)
	{
		const json_t *value = json_array_get(row, i);

		if (!column_is(column, REPORT_LABEL))
			continue;
		status = buffer_format(text, "%s%s=\"", before, member(column, "name"));
		if (status == 0 && json_is_integer(value))
			status = buffer_format(text, "%" JSON_INTEGER_FORMAT,
					       json_integer_value(value));
		else if (status == 0)
			status = text_escape(text,
					     json_is_string(value) ? json_string_value(value) : "");
		if (status == 0)
			status = text_add(text, "\"");
		if (status < 0)
			return status;
		before = ",";
	}
	return *before == ',' ? text_add(text, "}") : 0;
}

static int write_value(struct buffer *text, const json_t *value)
{
	if (json_is_integer(value))
		return buffer_format(text, " %" JSON_INTEGER_FORMAT "\n",
				     json_integer_value(value));
	return buffer_format(text, " %.9g\n", json_number_value(value));
}

/* One column as a metric: its description, then a line for each row. */
static int write_metric(struct buffer *text, const json_t *report, const json_t *table, size_t i)
{
	const json_t *columns = json_object_get(table, "columns"), *row;
	const json_t *column = json_array_get(columns, i);
	char name[256];
	int status;
	size_t k;

	metric_name(report, table, column, name, sizeof(name));
	status = buffer_format(text, "# HELP %s ", name);
	if (status == 0)
		status = text_escape(text, member(column, "help"));
	if (status == 0)
		status = buffer_format(text, "\n# TYPE %s %s\n", name,
				       column_is(column, REPORT_COUNTER) ? "counter" : "gauge");
	json_array_foreach(json_object_get(table, "rows"), k, row)
	{
		if (status == 0)
			status = text_add(text, name);
		if (status == 0)
			status = write_labels(text, columns, row);
		if (status == 0)
			status = write_value(text, json_array_get(row, i));
	}
	return status;
}

int report_write_metrics(const json_t *report, struct buffer *text)
{
	const json_t *table, *column;
	int status = 0;
	size_t i, k;

	json_array_foreach(json_object_get(report, "tables"), i, table)
	{
		if (!json_is_true(json_object_get(table, "exported")))
			continue;
		json_array_foreach(json_object_get(table, "columns"), k, column)
		{
			if (column_is(column, REPORT_LABEL) || column_is(column, REPORT_TEXT))
				continue;
			status = write_metric(text, report, table, k);
			if (status < 0)
				return status;
		}
	}
	return 0;
}
