/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a worker gives up before it loads a driver: see sandbox.c.
 */
#ifndef CAUSEWAY_CUDA_SERVER_SANDBOX_H
#define CAUSEWAY_CUDA_SERVER_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "lib/base/error.h"

#define SANDBOX_PATHS_MAX 16

struct sandbox {
	bool confined; /* with Landlock and seccomp; the user does not depend on it */
	bool as_user;  /* as this one */
	uid_t uid;
	const char *driver;		      /* its folder may be read, if it is a path */
	const char *paths[SANDBOX_PATHS_MAX]; /* files and folders to read and write as well */
	size_t path_count;
	int folder_fd; /* in which it may make files, and remove them; -1: none */
};

/**
 * sandbox_enter - give up what a worker does not need; before any other thread exists
 *
 * Return: 0, or -errno with a sentence: then the process must not serve anybody. That the kernel
 * has no Landlock is no error (see sandbox_lacks()).
 */
int sandbox_enter(const struct sandbox *sandbox, struct error *error);

/* sandbox_lacks - what this kernel does not enforce, for the log; NULL: nothing is lacking */
const char *sandbox_lacks(void);

#endif
