/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Child processes of a command that a person may end at any time.
 *
 * A child leads a process group of its own (unless in the foreground) and has no input; it dies
 * with this process, however that ends. Signals that ask this process to end (SIGINT, SIGTERM,
 * SIGHUP) are blocked from process_open() on and are seen by every wait here, which then returns
 * -EINTR.
 *
 * Threads: one thread uses all of it.
 */
#ifndef CAUSEWAY_CLI_PROCESS_H
#define CAUSEWAY_CLI_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "lib/base/buffer.h"
#include "lib/base/error.h"

#define PROCESS_OUTPUT_BYTES_MAX (1u << 20) /* kept of one child's output; more is dropped */

struct process {
	const char *name; /* for messages; the caller's */
	pid_t pid;	  /* 0: not running */
	bool leads_group;
	int pid_fd;    /* readable when it has ended */
	int output_fd; /* read end of its standard output, or -1 */
};

enum process_output {
	PROCESS_OUTPUT_SHARED, /* ours */
	PROCESS_OUTPUT_PIPE,   /* standard output to ->output_fd, standard error is ours */
	PROCESS_OUTPUT_FILE,   /* both to a file */
};

struct process_setup {
	char *const *arguments;	  /* NULL-ended; [0] is a path, or a name to be found in PATH */
	const char *const *names; /* environment: name, value, name, value, NULL */
	enum process_output output;
	const char *file; /* for PROCESS_OUTPUT_FILE; made, or appended to */
	/* Shares our standard input and process group, as a program at a terminal must. */
	bool foreground;
};

/* process_open - block the signals and make a descriptor of them; 0 or -errno */
int process_open(void);

/**
 * process_start - start a child
 *
 * Errors of exec come back here, as -errno with a sentence. The caller owes process_stop(), also
 * for a child that has ended by itself.
 */
int process_start(struct process *process, const struct process_setup *setup, struct error *error);

/* process_ended - whether the child has ended; does not wait */
bool process_ended(const struct process *process);

/**
 * process_sleep - wait until the child ends, at most @milliseconds
 *
 * Return: 1 when it has ended, 0 when the time is up, -EINTR when asked to end.
 */
int process_sleep(const struct process *process, int milliseconds);

/**
 * process_read - wait for more of the child's output, at most until @deadline_ms of process_now_ms
 *
 * Return: bytes read into @to, 0 at the end of the output, -ETIMEDOUT, -EINTR when asked to end,
 * or another -errno.
 */
ssize_t process_read(const struct process *process, void *to, size_t bytes, double deadline_ms);

/**
 * process_stop - end the child's group if it still runs, and take its status
 * @grace_ms: between SIGTERM and SIGKILL
 *
 * Return: the exit status as a shell gives it (128 + signal number for a signal). The structure
 * is reset; stopping it again returns 0.
 */
int process_stop(struct process *process, int grace_ms);

/* process_now_ms - milliseconds of the monotonic clock */
double process_now_ms(void);

#endif
