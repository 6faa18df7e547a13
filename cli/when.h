/* SPDX-License-Identifier: Apache-2.0 */
/* Points in time as people write them. */
#ifndef CAUSEWAY_CLI_WHEN_H
#define CAUSEWAY_CLI_WHEN_H

#include <time.h>

#define WHEN_EXPECTED                                                                           \
	"expected \"now\", \"today\", \"yesterday\", an age such as \"90s\", \"30m\", \"2h\", " \
	"\"7d\" or "                                                                            \
	"\"4w\", a date such as \"2026-11-01\", one with a time, \"2026-11-01 12:30\", or "     \
	"\"@SECONDS\" since 1970"

/* when_parse - in this machine's local time; 0 and *when, or -EINVAL */
int when_parse(const char *text, time_t now, time_t *when);

#endif
