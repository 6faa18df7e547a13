/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one logging call of Causeway's programs.
 *
 * Libraries return -errno (and fill a struct error where a sentence helps); programs log, once,
 * where the decision falls. A line goes to standard error as "program: level: text", or with the
 * priority prefix "<N>" that journald reads when JOURNAL_STREAM is set.
 *
 * Threads: log_message() may be called from any thread; each line is one write(2).
 * log_open() is called once, before threads start.
 */
#ifndef CAUSEWAY_LIB_BASE_LOG_H
#define CAUSEWAY_LIB_BASE_LOG_H

/* From what stops a service to what only its author wants to see. */
enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARNING,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
};

/**
 * log_open - name the program and take the level from the environment
 * @program: printed before each line; kept, not copied
 *
 * The level is CAUSEWAY_LOG = error | warning | info | debug; info without it. Any other value
 * is reported once and read as info.
 */
void log_open(const char *program);

/* log_set_level - override what the environment said (an option such as --verbose) */
void log_set_level(enum log_level level);

/* log_enabled - whether a line of @level would be written; to spare the work of composing one */
int log_enabled(enum log_level level);

/* One line to standard error, where @level is wanted; the macros below say it shorter. */
void log_message(enum log_level level, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#define log_error(...)	 log_message(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_message(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)	 log_message(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)	 log_message(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
