/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines for the person who runs the program: what was refused, and with --explain what happened
 * to each socket.
 *
 * They go to a duplicate of the standard error that `causeway run` had, under a high number, which
 * the environment names together with the file's device and inode. Both are compared before each
 * line: a program that closed the descriptor and opened something else there gets no line into its
 * own file.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vsock/wrap/wrap.h"

#define LINE_BYTES 400

static struct {
	int fd; /* 0: no lines */
	bool explain;
	dev_t device;
	ino_t inode;
	char program[64]; /* programs overwrite their argv */
} say;

void wrap_say_open(void)
{
	const char *given = getenv(WRAP_LOG_NAME);
	unsigned long device, inode;
	int fd;

	snprintf(say.program, sizeof(say.program), "%s", program_invocation_short_name);
	if (!given)
		return;
	say.explain = !strncmp(given, "explain:", 8);
	given = strchr(given, ':');
	if (!given || sscanf(given, ":%d:%lu:%lu", &fd, &device, &inode) != 3 || fd <= 2)
		return;
	say.fd = fd;
	say.device = device;
	say.inode = inode;
}

bool wrap_says(enum wrap_say kind)
{
	return say.fd && (kind == WRAP_REFUSED || say.explain);
}

int wrap_say_fd(void)
{
	return say.fd ? say.fd : -1;
}

void wrap_say(enum wrap_say kind, const char *format, ...)
{
	int saved_errno = errno;
	struct pollfd pollfd = { .fd = say.fd, .events = POLLOUT };
	char line[LINE_BYTES];
	struct stat status;
	va_list arguments;
	int used, more;

	if (!wrap_says(kind))
		return;
	if (fstat(say.fd, &status) == 0 && status.st_dev == say.device &&
	    status.st_ino == say.inode) {
		used = snprintf(line, sizeof(line), "causeway: %s[%d]: ", say.program, getpid());
		va_start(arguments, format);
		more = vsnprintf(line + used, sizeof(line) - used, format, arguments);
		va_end(arguments);
		used += more < 0 ? 0 : more;
		if (used > LINE_BYTES - 2)
			used = LINE_BYTES - 2;
		line[used++] = '\n';
		/* With no reader left, a line would raise SIGPIPE in a program that did not ask. */
		if (REAL(poll)(&pollfd, 1, 0) >= 0 && pollfd.revents & POLLERR)
			say.fd = 0;
		else if (write(say.fd, line, used) < 0 && errno == EPIPE)
			say.fd = 0;
	}
	errno = saved_errno;
}
