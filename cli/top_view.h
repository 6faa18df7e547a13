/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `causeway top` shows of a causeway-cudad on a terminal: devices, tenants and clients, each a
 * table of what is used now. Everything is computed from two reports of the daemon, one after the
 * other; a value that is not known shows as "-".
 */
#ifndef CAUSEWAY_CLI_TOP_VIEW_H
#define CAUSEWAY_CLI_TOP_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/source.h"
#include "lib/base/buffer.h"

/* The first byte of each line says how it looks. */
#define VIEW_PLAIN   ' '
#define VIEW_HEADING '#' /* bold: what the table is */
#define VIEW_TITLES  '=' /* reversed: names of columns */

/* What the user chose. */
struct view {
	unsigned int sort; /* index among the columns; rows are ordered by it, largest first */
	bool upwards;	   /* smallest first */
	uint32_t hidden;   /* bit i: column i is not shown */
};

/* view_fits - whether the source is a daemon that this shows */
bool view_fits(const struct source *source);

/* view_columns - how many there are; view_column - the name of one */
unsigned int view_columns(void);
const char *view_column(unsigned int column);

/* view_print - the lines of @source; 0 or -errno of @text */
int view_print(const struct source *source, const struct view *view, struct buffer *text);

#endif
