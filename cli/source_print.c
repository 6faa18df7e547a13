/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A report as text: a line about the daemon, its facts, then each table.
 *
 * A table is made twice: first into cells of text, which decide how wide columns are, then into
 * lines. Rates compare a row with the row of the same labels in the report before.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/source.h"
#include "lib/base/clean.h"

#define CELL_BYTES  64
#define COLUMNS_MAX 24

struct cell {
	char text[CELL_BYTES];
};

/* A table while it is printed. */
struct grid {
	const json_t *columns, *rows, *before; /* before: rows of the previous report, or NULL */
	double seconds;			       /* between the two */
	size_t width;			       /* columns */
};

static const char *member(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

static bool column_is(const json_t *column, const char *kind)
{
	return strcmp(member(column, "kind"), kind) == 0;
}

/* "3 d 4 h", "5 min 7 s": the two largest units. */
static void format_age(long long since, char *text, size_t bytes)
{
	long long age = (long long)time(NULL) - since;

	if (age < 0 || !since)
		snprintf(text, bytes, "-");
	else if (age >= 86400)
		snprintf(text, bytes, "%lld d %lld h", age / 86400, age % 86400 / 3600);
	else if (age >= 3600)
		snprintf(text, bytes, "%lld h %lld min", age / 3600, age % 3600 / 60);
	else if (age >= 60)
		snprintf(text, bytes, "%lld min %lld s", age / 60, age % 60);
	else
		snprintf(text, bytes, "%lld s", age);
}

static void format_number(double number, const char *unit, const char *behind, char *text,
			  size_t bytes)
{
	static const char *const binary[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	unsigned int power = 0;

	if (strcmp(unit, "bytes") == 0) {
		for (; number >= 1024 && power < 4; power++)
			number /= 1024;
		snprintf(text, bytes, "%.*f %s%s", power ? 1 : 0, number, binary[power], behind);
	} else if (strcmp(unit, "seconds") == 0) {
		snprintf(text, bytes, "%.3g s%s", number, behind);
	} else if (*behind) {
		snprintf(text, bytes, "%.*f%s", number < 10 ? 1 : 0, number, behind);
	} else {
		snprintf(text, bytes, "%.15g", number);
	}
}

/* The row of the previous report with the same labels, or NULL. */
static const json_t *grid_find_before(const struct grid *grid, const json_t *row)
{
	const json_t *other, *column;
	size_t i, k;

	json_array_foreach(grid->before, i, other)
	{
		bool same = true;

		json_array_foreach(grid->columns, k, column)
		{
			if (column_is(column, "label") &&
			    !json_equal(json_array_get(row, k), json_array_get(other, k)))
				same = false;
		}
		if (same)
			return other;
	}
	return NULL;
}

/* What a counter added per second; negative when that is not known. */
static double grid_rate(const struct grid *grid, const json_t *row, size_t k)
{
	const json_t *before = grid->seconds > 0 ? grid_find_before(grid, row) : NULL;

	if (!before)
		return -1;
	return (json_number_value(json_array_get(row, k)) -
		json_number_value(json_array_get(before, k))) /
	       grid->seconds;
}

static void grid_cell(const struct grid *grid, bool rates, const json_t *row, size_t k,
		      struct cell *cell)
{
	const json_t *column = json_array_get(grid->columns, k), *value = json_array_get(row, k);

	snprintf(cell->text, CELL_BYTES, "-");
	if (json_is_string(value)) {
		snprintf(cell->text, CELL_BYTES, "%s", json_string_value(value));
	} else if (!json_is_number(value)) {
		return;
	} else if (column_is(column, "since")) {
		format_age((long long)json_integer_value(value), cell->text, CELL_BYTES);
	} else if (rates && column_is(column, "counter")) {
		double rate = grid_rate(grid, row, k);

		if (rate >= 0)
			format_number(rate, member(column, "unit"), "/s", cell->text, CELL_BYTES);
	} else {
		format_number(json_number_value(value), member(column, "unit"), "", cell->text,
			      CELL_BYTES);
	}
}

/* What rows are ordered by: the rate where rates are shown. */
static double grid_key(const struct grid *grid, bool rates, const json_t *row, size_t k)
{
	if (rates && column_is(json_array_get(grid->columns, k), "counter"))
		return grid_rate(grid, row, k);
	return json_number_value(json_array_get(row, k));
}

/* Row numbers in @order, largest value of column @sort first; equal ones stay as they are. */
static void grid_sort(const struct grid *grid, bool rates, size_t sort, size_t *order, size_t count)
{
	for (size_t i = 1; i < count; i++) {
		size_t moved = order[i], at = i;
		double key = grid_key(grid, rates, json_array_get(grid->rows, moved), sort);

		while (at > 0 && grid_key(grid, rates, json_array_get(grid->rows, order[at - 1]),
					  sort) < key) {
			order[at] = order[at - 1];
			at--;
		}
		order[at] = moved;
	}
}

/* A title: the column's name with spaces for underscores. */
static void grid_title(const json_t *column, struct cell *cell)
{
	snprintf(cell->text, CELL_BYTES, "%s", member(column, "name"));
	for (char *at = cell->text; *at; at++)
		if (*at == '_')
			*at = ' ';
}

/* A table with labels: a line of titles, a line for each row. */
static int grid_print(const struct grid *grid, const char *name, bool rates, int sort,
		      struct buffer *text)
{
	size_t rows = json_array_size(grid->rows), widths[COLUMNS_MAX] = { 0 };
	autofree struct cell *cells = calloc((rows + 1) * grid->width, sizeof(*cells));
	autofree size_t *order = calloc(rows + 1, sizeof(*order));
	int status = buffer_format(text, "\n%s: %zu\n", name, rows);

	if (!cells || !order)
		return -ENOMEM;
	for (size_t i = 0; i < rows; i++)
		order[i] = i;
	if (sort >= 0 && (size_t)sort < grid->width)
		grid_sort(grid, rates, (size_t)sort, order, rows);
	for (size_t i = 0; i < (rows + 1) * grid->width; i++) {
		size_t k = i % grid->width, row = i / grid->width, length;

		if (row == 0)
			grid_title(json_array_get(grid->columns, k), &cells[i]);
		else
			grid_cell(grid, rates, json_array_get(grid->rows, order[row - 1]), k,
				  &cells[i]);
		length = strlen(cells[i].text);
		widths[k] = length > widths[k] ? length : widths[k];
	}
	for (size_t i = 0; i < (rows + 1) * grid->width && status == 0 && rows; i++) {
		size_t k = i % grid->width;
		const json_t *column = json_array_get(grid->columns, k);
		bool words = column_is(column, "label") || column_is(column, "text");

		status = buffer_format(text, "%s%*s%s", k ? "  " : "  ",
				       words ? -(int)widths[k] : (int)widths[k], cells[i].text,
				       k + 1 == grid->width ? "\n" : "");
	}
	return status;
}

/* A table without labels: its one row, as "name value, name value". */
static int grid_print_facts(const struct grid *grid, bool rates, struct buffer *text)
{
	const json_t *row = json_array_get(grid->rows, 0), *column;
	int status = 0;
	size_t k;

	json_array_foreach(grid->columns, k, column)
	{
		struct cell title, cell;

		grid_title(column, &title);
		grid_cell(grid, rates, row, k, &cell);
		if (status == 0)
			status = buffer_format(text, "%s%s %s", k ? ", " : "  ", title.text,
					       cell.text);
	}
	return status == 0 ? buffer_format(text, "\n") : status;
}

static bool grid_has_labels(const struct grid *grid)
{
	const json_t *column;
	size_t k;

	json_array_foreach(grid->columns, k, column)
	{
		if (column_is(column, "label"))
			return true;
	}
	return false;
}

/* The rows of the table of that name in a report, or NULL. */
static const json_t *report_rows(const json_t *report, const char *name)
{
	const json_t *table;
	size_t i;

	json_array_foreach(json_object_get(report, "tables"), i, table)
	{
		if (strcmp(member(table, "name"), name) == 0)
			return json_object_get(table, "rows");
	}
	return NULL;
}

/* The tables with labels, or those without. */
static int print_tables(const struct source *source, bool rates, int sort, bool labels,
			struct buffer *text)
{
	const json_t *table;
	int status = 0;
	size_t i;

	json_array_foreach(json_object_get(source->report, "tables"), i, table)
	{
		struct grid grid = {
			.columns = json_object_get(table, "columns"),
			.rows = json_object_get(table, "rows"),
			.before = report_rows(source->previous, member(table, "name")),
			.seconds = (double)(source->report_ns - source->previous_ns) / 1e9,
			.width = json_array_size(json_object_get(table, "columns")),
		};

		if (grid.width == 0 || grid.width > COLUMNS_MAX ||
		    grid_has_labels(&grid) != labels || status < 0)
			continue;
		status = labels ? grid_print(&grid, member(table, "name"), rates, sort, text)
				: grid_print_facts(&grid, rates, text);
	}
	return status;
}

int source_print(const struct source *source, bool rates, int sort, struct buffer *text)
{
	char age[CELL_BYTES];
	int status;

	if (!source->report)
		return buffer_format(text, "%s\n", source->error.text);
	format_age(json_integer_value(json_object_get(source->report, "since")), age, sizeof(age));
	status = buffer_format(
		text, "%s (process %lld), up for %s\n", member(source->report, "program"),
		(long long)json_integer_value(json_object_get(source->report, "pid")), age);
	if (status == 0)
		status = print_tables(source, rates, sort, false, text);
	if (status == 0)
		status = print_tables(source, rates, sort, true, text);
	return status;
}
