/* SPDX-License-Identifier: Apache-2.0 */
/*
 * causeway run: starts a program with libcauseway-wrap.so preloaded.
 *
 *	1. rules are read and checked; the program gets their text, not the file's name, so that it
 *	   needs no right to read it, and finds it in a chroot
 *	2. program.c tells whether the library will be loaded at all; if not, nothing is started
 *	3. the environment: LD_PRELOAD, the rules, where lines go (vsock/wrap/say.c)
 *	4. exec
 */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/program.h"
#include "lib/base/clean.h"
#include "lib/base/log.h"
#include "vsock/wrap/rules.h"
#include "vsock/wrap/wrap.h"

#define RULES_FILE	 "/etc/causeway/wrap.rules"
#define LIBRARY_NAME	 "libcauseway-wrap.so"
#define STATUS_FAILED	 125 /* as env(1) and its kind */
#define STATUS_UNWRAPPED 126
#define STATUS_NOT_FOUND 127
#define LOG_FD_FIRST	 900 /* where the program will hardly look */

struct run_options {
	const char *map;
	bool explain;
	char **program;
};

static const struct argp_option options[] = {
	{ "map", 'm', "RULES", 0,
	  "file with the rules (default: " RULES_FILE ", or built-in ones where it does not exist)",
	  0 },
	{ "explain", 'e', NULL, 0, "print what happens to each socket", 0 },
	{ 0 },
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct run_options *chosen = state->input;

	switch (key) {
	case 'm':
		chosen->map = argument;
		return 0;
	case 'e':
		chosen->explain = true;
		return 0;
	case ARGP_KEY_ARG:
		/* The program's own options are none of ours. */
		chosen->program = state->argv + state->next - 1;
		state->next = state->argc;
		return 0;
	case ARGP_KEY_END:
		if (!chosen->program)
			argp_error(state, "expected a program");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.args_doc = "PROGRAM [ARGUMENT...]",
	.doc = "Run a program whose TCP sockets go to AF_VSOCK by rules. The manual page "
	       "causeway-run(1) has the rules' form.",
};

/* The file's text, NUL-terminated, checked; the caller frees it. NULL with a sentence. */
static char *rules_read(const char *path, struct error *error)
{
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	autofree char *text = malloc(RULES_TEXT_BYTES_MAX + 2);
	struct rules rules;
	size_t used = 0;
	ssize_t got;

	if (fd < 0 || !text) {
		error_set(error, -errno, "%s: %s", path, strerror(errno));
		return NULL;
	}
	/* The library takes a text that begins with a slash for a path. */
	text[used++] = '\n';
	while (used <= RULES_TEXT_BYTES_MAX &&
	       (got = read(fd, text + used, RULES_TEXT_BYTES_MAX + 1 - used)) > 0)
		used += got;
	text[used] = '\0';
	if (rules_parse(&rules, text + 1, used - 1, path, error) < 0)
		return NULL;
	rules_free(&rules);
	return steal_pointer(&text);
}

/* Where the library is: beside this command, in its build tree, or installed. */
static int library_find(char path[PATH_MAX], struct error *error)
{
	static const char *const places[] = { "/" LIBRARY_NAME, "/../vsock/wrap/" LIBRARY_NAME,
					      "/../" CAUSEWAY_LIBDIR "/" LIBRARY_NAME };
	char self[PATH_MAX], *slash;
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (length < 0)
		return error_set(error, -errno, "cannot read /proc/self/exe: %s", strerror(errno));
	self[length] = '\0';
	slash = strrchr(self, '/');
	if (slash)
		*slash = '\0';
	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		autofree char *whole = NULL, *found = NULL;

		if (asprintf(&whole, "%s%s", self, places[i]) < 0)
			return error_set(error, -ENOMEM, "no memory");
		found = realpath(whole, NULL);
		if (!found)
			continue;
		/* The loader takes colons and spaces for ends. */
		if (strpbrk(found, " :"))
			return error_set(error, -EINVAL,
					 "%s: a path with a space or colon cannot be preloaded",
					 found);
		snprintf(path, PATH_MAX, "%s", found);
		return 0;
	}
	return error_set(error, -ENOENT,
			 "%s is not beside %s/causeway, in ../vsock/wrap or in ../%s", LIBRARY_NAME,
			 self, CAUSEWAY_LIBDIR);
}

/* Tell the library where lines go: a duplicate of standard error, and what file that is. */
static int log_open_for(bool explain)
{
	int fd = fcntl(STDERR_FILENO, F_DUPFD, LOG_FD_FIRST);
	struct stat status;
	char value[96];

	if (fd < 0)
		fd = fcntl(STDERR_FILENO, F_DUPFD, 3);
	if (fd < 0 || fstat(fd, &status) < 0)
		return explain ? -errno : 0; /* no standard error, no lines */
	snprintf(value, sizeof(value), "%s:%d:%lu:%lu", explain ? "explain" : "refused", fd,
		 (unsigned long)status.st_dev, (unsigned long)status.st_ino);
	return setenv(WRAP_LOG_NAME, value, 1) < 0 ? -errno : 0;
}

static int environment_set(const struct run_options *chosen, struct error *error)
{
	const char *before = getenv("LD_PRELOAD"), *map = chosen->map;
	autofree char *preload = NULL;
	autofree char *text = NULL;
	char library[PATH_MAX];
	int code = library_find(library, error);

	if (code)
		return code;
	if (!map && !getenv(WRAP_RULES_NAME) && access(RULES_FILE, F_OK) == 0)
		map = RULES_FILE;
	if (map) {
		text = rules_read(map, error);
		if (!text)
			return -EINVAL;
		if (setenv(WRAP_RULES_NAME, text, 1) < 0)
			return error_set(error, -errno, "%s", strerror(errno));
	}
	code = log_open_for(chosen->explain);
	if (code)
		return error_set(error, code, "cannot keep standard error: %s", strerror(-code));
	if (before && strstr(before, library))
		return 0;
	if (asprintf(&preload, "%s%s%s", before && *before ? before : "",
		     before && *before ? ":" : "", library) < 0 ||
	    setenv("LD_PRELOAD", preload, 1) < 0)
		return error_set(error, -ENOMEM, "no memory");
	return 0;
}

int cli_run(int argc, char **argv)
{
	struct run_options chosen = { 0 };
	struct error error;
	int code;

	argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &chosen);
	code = program_check(chosen.program[0], &error);
	if (code == -ENOTSUP) {
		log_error("%s; its sockets would stay TCP, so it is not started", error.text);
		return STATUS_UNWRAPPED;
	}
	if (!code && environment_set(&chosen, &error) < 0) {
		log_error("%s", error.text);
		return STATUS_FAILED;
	}
	if (!code) {
		execvp(chosen.program[0], chosen.program);
		code = error_set(&error, -errno, "%s: %s", chosen.program[0], strerror(errno));
	}
	log_error("%s", error.text);
	return code == -ENOENT ? STATUS_NOT_FOUND : STATUS_UNWRAPPED;
}
