/* SPDX-License-Identifier: Apache-2.0 */
/* Composes a log line in a local buffer and writes it with one system call. */
#include "lib/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_LINE_BYTES 1024

/* Written by log_open() and log_set_level() before threads start, read by all. */
static const char *log_program = "causeway";
static enum log_level log_limit = LOG_LEVEL_INFO;
static int log_for_journal;

static const char *const level_names[] = { "error", "warning", "info", "debug" };

/* The priorities of syslog(3) that journald reads from a "<N>" prefix. */
static const int level_priorities[] = { 3, 4, 6, 7 };

void log_open(const char *program)
{
	const char *wanted = getenv("CAUSEWAY_LOG");

	log_program = program;
	log_for_journal = getenv("JOURNAL_STREAM") != NULL;
	if (!wanted)
		return;
	for (int level = LOG_LEVEL_ERROR; level <= LOG_LEVEL_DEBUG; level++) {
		if (strcmp(wanted, level_names[level]) == 0) {
			log_limit = level;
			return;
		}
	}
	log_warning("CAUSEWAY_LOG is '%s': expected error, warning, info or debug; using info",
		    wanted);
}

void log_set_level(enum log_level level)
{
	log_limit = level;
}

int log_enabled(enum log_level level)
{
	return level <= log_limit;
}

void log_message(enum log_level level, const char *format, ...)
{
	char line[LOG_LINE_BYTES];
	int saved_errno = errno;
	int used, added;
	va_list arguments;

	if (!log_enabled(level))
		return;
	if (log_for_journal)
		used = snprintf(line, sizeof(line), "<%d>%s: ", level_priorities[level],
				log_program);
	else
		used = snprintf(line, sizeof(line), "%s: %s: ", log_program, level_names[level]);
	if (used < 0 || used > (int)sizeof(line) - 2)
		used = 0;

	errno = saved_errno;
	va_start(arguments, format);
	added = vsnprintf(line + used, sizeof(line) - used - 1, format, arguments);
	va_end(arguments);
	if (added < 0)
		added = 0;
	if (added > (int)sizeof(line) - used - 2)
		added = (int)sizeof(line) - used - 2;
	used += added;
	line[used++] = '\n';
	/* A log that cannot be written has nobody to tell. */
	if (write(STDERR_FILENO, line, used) < 0)
		errno = saved_errno;
	errno = saved_errno;
}
