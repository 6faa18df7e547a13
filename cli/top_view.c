/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tables of top_view.h.
 *
 * One list of columns serves the three tables: each names what it is in the daemon's report, and a
 * table has those for which its report has something. A row's value is a number, by which rows are
 * ordered, and a text. Rates are differences between two reports over the time between them; shares
 * are of what all rows of the table used together.
 */
#include "cli/top_view.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clean.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define CELL_BYTES   40
#define COLUMNS	     COUNT(view_list)

enum view_kind {
	VIEW_TEXT,
	VIEW_NUMBER,
	VIEW_MEMORY, /* bytes, of a limit where there is one */
	VIEW_SHARE,  /* of what all rows added to a counter of seconds */
	VIEW_BUSY,   /* seconds for each second */
	VIEW_WAIT,   /* mean time of the waits that ended */
	VIEW_RATE,
	VIEW_BYTES, /* for each second */
};

/* A column: its title, what it is, and the report's columns that it is made of. */
static const struct view_entry {
	const char *title;
	enum view_kind kind;
	const char *of, *with;
} view_list[] = {
	{ "device", VIEW_TEXT, "device", NULL }, /* of the table device alone: there it is a label
						  */
	{ "client", VIEW_TEXT, "client", NULL },
	{ "tenant", VIEW_TEXT, "tenant", NULL },
	{ "identity", VIEW_TEXT, "identity", NULL },
	{ "holder", VIEW_TEXT, "holder", NULL },
	{ "weight", VIEW_NUMBER, "weight", NULL },
	{ "prio", VIEW_NUMBER, "priority", NULL },
	{ "clients", VIEW_NUMBER, "clients", NULL },
	{ "share", VIEW_SHARE, "device", "used" },
	{ "busy", VIEW_BUSY, "device", "used" },
	{ "memory", VIEW_MEMORY, "memory", "memory_limit" },
	{ "queue", VIEW_NUMBER, "queue", NULL },
	{ "wait", VIEW_WAIT, "waited", "waits" },
	{ "turns/s", VIEW_RATE, "turns", NULL },
	{ "work/s", VIEW_RATE, "launches", NULL },
	{ "calls/s", VIEW_RATE, "calls", NULL },
	{ "in/s", VIEW_BYTES, "copied_in", NULL },
	{ "out/s", VIEW_BYTES, "copied_out", NULL },
};

static const struct {
	const char *name, *heading;
} tables[] = {
	{ "device", "devices" },
	{ "tenant", "tenants" },
	{ "client_usage", "clients" },
};

/* A table of the report, with the same one of the report before. */
struct panel {
	const json_t *columns, *rows, *before;
	double seconds; /* between the two; 0: there is no report before */
	double total;	/* what all rows added to the counter that shares are of */
};

struct cell {
	double value;
	char text[CELL_BYTES];
	bool known;
};

unsigned int view_columns(void)
{
	return COLUMNS;
}

const char *view_column(unsigned int column)
{
	return view_list[column].title;
}

static const json_t *table_named(const json_t *report, const char *name)
{
	const json_t *table;
	size_t i;

	json_array_foreach(json_object_get(report, "tables"), i, table)
	{
		const char *is = json_string_value(json_object_get(table, "name"));

		if (is && !strcmp(is, name))
			return table;
	}
	return NULL;
}

bool view_fits(const struct source *source)
{
	return table_named(source->report, "tenant") && table_named(source->report, "device");
}

/* column_named - its index, or -1; @label: whether it must be one, or must not */
static int column_named(const struct panel *panel, const char *name, bool label)
{
	const json_t *column;
	size_t i;

	json_array_foreach(panel->columns, i, column)
	{
		const char *is = json_string_value(json_object_get(column, "name"));
		const char *kind = json_string_value(json_object_get(column, "kind"));
		bool words = kind && (!strcmp(kind, "label") || !strcmp(kind, "text"));

		if (name && is && !strcmp(is, name) && words == label)
			return (int)i;
	}
	return -1;
}

static double number_at(const json_t *row, int column)
{
	return json_number_value(json_array_get(row, (size_t)column));
}

/* row_before - the same row in the report before: the one whose first label is the same */
static const json_t *row_before(const struct panel *panel, const json_t *row)
{
	const json_t *other;
	size_t i;

	json_array_foreach(panel->before, i, other)
	{
		if (json_equal(json_array_get(row, 0), json_array_get(other, 0)))
			return other;
	}
	return NULL;
}

/* row_added - to a counter between the two reports; false: not known */
static bool row_added(const struct panel *panel, const json_t *row, int column, double *added)
{
	const json_t *before = panel->seconds > 0 ? row_before(panel, row) : NULL;

	if (!before || column < 0)
		return false;
	*added = number_at(row, column) - number_at(before, column);
	return *added >= 0;
}

static void format_bytes(double bytes, const char *behind, char *text, size_t size)
{
	static const char *const units[] = { "B", "K", "M", "G", "T" };
	unsigned int unit = 0;

	for (; bytes >= 1024 && unit < 4; unit++)
		bytes /= 1024;
	snprintf(text, size, "%.*f%s%s", unit && bytes < 100 ? 1 : 0, bytes, units[unit], behind);
}

static void cell_memory(const json_t *row, int used, int limit, struct cell *cell)
{
	char most[16];

	cell->value = number_at(row, used);
	cell->known = true;
	format_bytes(cell->value, "", cell->text, sizeof(cell->text));
	if (limit < 0 || number_at(row, limit) <= 0)
		return;
	format_bytes(number_at(row, limit), "", most, sizeof(most));
	snprintf(cell->text + strlen(cell->text), sizeof(cell->text) - strlen(cell->text), "/%s",
		 most);
}

/* cell_rate - the kinds that compare two reports; @of and @with are columns */
static void cell_rate(const struct panel *panel, const struct view_entry *entry, const json_t *row,
		      int of, int with, struct cell *cell)
{
	double added, waits;

	cell->known = row_added(panel, row, of, &added);
	if (!cell->known)
		return;
	cell->value = added / panel->seconds;
	switch (entry->kind) {
	case VIEW_SHARE:
		cell->value = panel->total > 0 ? added / panel->total : 0;
		snprintf(cell->text, CELL_BYTES, "%.1f%%", 100 * cell->value);
		return;
	case VIEW_BUSY:
		snprintf(cell->text, CELL_BYTES, "%.1f%%", 100 * cell->value);
		return;
	case VIEW_WAIT:
		cell->value = row_added(panel, row, with, &waits) && waits > 0 ? added / waits : 0;
		snprintf(cell->text, CELL_BYTES, "%.2fms", 1e3 * cell->value);
		return;
	case VIEW_BYTES:
		format_bytes(cell->value, "", cell->text, CELL_BYTES);
		return;
	default:
		snprintf(cell->text, CELL_BYTES, "%.*f", cell->value < 10 ? 1 : 0, cell->value);
	}
}

/* panel_column - where the entry's value is in this table; -1: it has no such column */
static int panel_column(const struct panel *panel, const struct view_entry *entry)
{
	int column = column_named(panel, entry->of, entry->kind == VIEW_TEXT);

	if (column < 0 && (entry->kind == VIEW_SHARE || entry->kind == VIEW_BUSY))
		column = column_named(panel, entry->with, false);
	return column;
}

static void cell_fill(const struct panel *panel, const struct view_entry *entry, const json_t *row,
		      struct cell *cell)
{
	int of = panel_column(panel, entry), with = column_named(panel, entry->with, false);
	const json_t *value = json_array_get(row, (size_t)of);

	*cell = (struct cell){ 0 };
	if (entry->kind == VIEW_MEMORY) {
		cell_memory(row, of, with, cell);
	} else if (entry->kind == VIEW_TEXT || entry->kind == VIEW_NUMBER) {
		cell->known = json_is_number(value) || json_is_string(value);
		cell->value = json_number_value(value);
		if (json_is_string(value))
			snprintf(cell->text, CELL_BYTES, "%s", json_string_value(value));
		else
			snprintf(cell->text, CELL_BYTES, "%.15g", cell->value);
	} else {
		cell_rate(panel, entry, row, of, with, cell);
	}
	if (!cell->known)
		strcpy(cell->text, "-");
	/* Names are other people's: nothing of them may move the cursor. */
	for (char *at = cell->text; *at; at++)
		if ((unsigned char)*at < ' ' || *at == 0x7f)
			*at = '?';
}

/* cell_compare - negative: @one goes before @other */
static int cell_compare(const struct cell *one, const struct cell *other, enum view_kind kind)
{
	if (kind == VIEW_TEXT && one->value == other->value)
		return -strcmp(one->text, other->text);
	return one->value > other->value ? -1 : one->value < other->value;
}

/* panel_order - row numbers, ordered as the user wants it; equal ones stay as they are */
static void panel_order(const struct cell *cells, size_t rows, const struct view *view,
			size_t *order)
{
	enum view_kind kind = view_list[view->sort].kind;

	for (size_t i = 0; i < rows; i++) {
		size_t at = i;

		for (; at > 0; at--) {
			int compared =
				cell_compare(&cells[i * COLUMNS + view->sort],
					     &cells[order[at - 1] * COLUMNS + view->sort], kind);

			if ((view->upwards ? -compared : compared) >= 0)
				break;
			order[at] = order[at - 1];
		}
		order[at] = i;
	}
}

/* panel_write - titles and rows, with columns as wide as they must be */
static int panel_write(const struct panel *panel, const struct view *view, struct cell *cells,
		       const size_t *order, size_t rows, struct buffer *text)
{
	int status = buffer_format(text, "%c", VIEW_TITLES);

	for (size_t line = 0; line <= rows && !status; line++) {
		for (size_t i = 0; i < COLUMNS && !status; i++) {
			const struct view_entry *entry = &view_list[i];
			int width = (int)strlen(entry->title) + (i == view->sort);
			char title[CELL_BYTES];

			if (view->hidden & 1u << i || panel_column(panel, entry) < 0)
				continue;
			for (size_t k = 0; k < rows; k++) {
				int length = (int)strlen(cells[k * COLUMNS + i].text);

				width = length > width ? length : width;
			}
			snprintf(title, sizeof(title), "%s%s", entry->title,
				 i != view->sort ? ""
				 : view->upwards ? "^"
						 : "v");
			status = buffer_format(
				text, "%*s  ", entry->kind == VIEW_TEXT ? -width : width,
				line ? cells[order[line - 1] * COLUMNS + i].text : title);
		}
		if (!status)
			status = buffer_format(text, line < rows ? "\n%c" : "\n", VIEW_PLAIN);
	}
	return status;
}

static int panel_print(struct panel *panel, const char *heading, const struct view *view,
		       struct buffer *text)
{
	size_t rows = json_array_size(panel->rows);
	autofree struct cell *cells = calloc(rows * COLUMNS + 1, sizeof(*cells));
	autofree size_t *order = calloc(rows + 1, sizeof(*order));
	const json_t *row;
	double added;
	size_t i;
	int used = column_named(panel, "device", false), status;

	if (!cells || !order)
		return -ENOMEM;
	if (used < 0)
		used = column_named(panel, "used", false);
	json_array_foreach(panel->rows, i, row)
	{
		if (row_added(panel, row, used, &added))
			panel->total += added;
	}
	json_array_foreach(panel->rows, i, row)
	{
		for (size_t k = 0; k < COLUMNS; k++)
			if (panel_column(panel, &view_list[k]) >= 0)
				cell_fill(panel, &view_list[k], row, &cells[i * COLUMNS + k]);
	}
	panel_order(cells, rows, view, order);
	status = buffer_format(text, "%c%s: %zu\n", VIEW_HEADING, heading, rows);
	return status ? status : panel_write(panel, view, cells, order, rows, text);
}

int view_print(const struct source *source, const struct view *view, struct buffer *text)
{
	int status = 0;

	for (size_t i = 0; i < COUNT(tables) && !status; i++) {
		const json_t *table = table_named(source->report, tables[i].name);
		struct panel panel = {
			.columns = json_object_get(table, "columns"),
			.rows = json_object_get(table, "rows"),
			.before = json_object_get(table_named(source->previous, tables[i].name),
						  "rows"),
		};

		if (source->previous)
			panel.seconds = (double)(source->report_ns - source->previous_ns) / 1e9;
		if (i)
			status = buffer_format(text, "%c\n", VIEW_PLAIN);
		if (!status)
			status = panel_print(&panel, tables[i].heading, view, text);
	}
	return status;
}
