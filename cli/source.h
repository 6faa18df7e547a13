/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemons that `causeway status` and `causeway top` ask, and how their reports look as text.
 *
 * Both see nothing but lib/metrics/report.h's reports, so a daemon that answers with one on its
 * control socket is shown without a change here. An answer of another version must not bring the
 * command down: a value that is missing shows as "-".
 */
#ifndef CAUSEWAY_CLI_SOURCE_H
#define CAUSEWAY_CLI_SOURCE_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/base/buffer.h"
#include "lib/base/error.h"

#define SOURCES_MAX 16

/* One daemon's control socket, and what it said last. */
struct source {
	char path[PATH_MAX];
	json_t *report;	  /* NULL: it did not answer */
	json_t *previous; /* the report before, for what changed; or NULL */
	uint64_t report_ns, previous_ns;
	struct error error; /* why there is no report */
};

struct sources {
	struct source list[SOURCES_MAX];
	unsigned int count;
	bool named; /* by the user: then one that does not answer is a failure */
};

/* sources_add - a control socket that the user named; 0 or -errno with a sentence */
int sources_add(struct sources *sources, const char *path, struct error *error);

/* sources_add_default - those of every daemon that runs here, unless the user named any */
void sources_add_default(struct sources *sources);

/* sources_ask - new reports from all; how many answered */
unsigned int sources_ask(struct sources *sources);
void sources_free(struct sources *sources);

/* source_default_path - a daemon's usual control socket: NAME in /run/causeway, or the user's */
void source_default_path(const char *name, char path[PATH_MAX]);

/**
 * source_request - one request to one daemon, for a subcommand that does nothing else
 * @control: its control socket, or NULL for the usual place of @name
 * @request: as control_ask() takes it; NULL for one that was called wrongly
 * @print: show the answer, a report, as tables
 *
 * What goes wrong is logged. Return: the exit status, CLI_USAGE_STATUS where @request is NULL.
 */
int source_request(const char *control, const char *name, json_t *request, bool print,
		   const struct error *wrong);

/**
 * source_print - the report as lines of text
 * @rates: show counters as what was added per second since the previous report
 * @sort: index of the column by which rows are ordered, largest first; -1 leaves them alone
 *
 * Return: 0 or -errno of @text.
 */
int source_print(const struct source *source, bool rates, int sort, struct buffer *text);

#endif
