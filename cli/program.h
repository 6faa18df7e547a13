/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What kind of program a file is, as far as it decides whether a library can be preloaded.
 *
 * The file is anybody's: every offset in it is checked, nothing is mapped.
 */
#ifndef CAUSEWAY_CLI_PROGRAM_H
#define CAUSEWAY_CLI_PROGRAM_H

#include <limits.h>

#include "lib/base/error.h"

enum program_kind {
	PROGRAM_PRELOADS, /* a dynamic program for glibc on x86-64 */
	PROGRAM_SCRIPT,	  /* .interpreter runs it */
	PROGRAM_STATIC,
	PROGRAM_GO,	    /* makes its system calls itself, dynamic or not */
	PROGRAM_OTHER_LIBC, /* .interpreter is its loader */
	PROGRAM_OTHER_MACHINE,
	PROGRAM_UNKNOWN,
};

/* What an executable is, and the loader that it names ("" without one). */
struct program {
	enum program_kind kind;
	char interpreter[PATH_MAX];
};

/* program_inspect - read the file's headers; 0 or -errno */
int program_inspect(int fd, struct program *program);

/**
 * program_check - whether the wrapper can be loaded into the program that exec would run
 * @name: a path, or a name to be found in PATH
 *
 * Follows scripts to their interpreters; knows programs that change their rights.
 * Return: 0; -ENOENT or -EACCES where there is no such program; -ENOTSUP with the reason.
 */
int program_check(const char *name, struct error *error);

#endif
