/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cleanup attributes: a local variable that frees what it owns when it leaves its scope.
 *
 *	autofree char *path = ...;      free() at the end of the scope
 *	autoclose int fd = -1;          close() at the end of the scope unless negative
 *
 * Ownership leaves the scope with steal_pointer(&path) or steal_fd(&fd).
 */
#ifndef CAUSEWAY_LIB_BASE_CLEAN_H
#define CAUSEWAY_LIB_BASE_CLEAN_H

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* What autofree and autoclose call at the end of a variable's scope. */
static inline void clean_free(void *pointer)
{
	free(*(void **)pointer);
}

/* clean_close - closes a descriptor that is there */
static inline void clean_close(int *fd)
{
	int saved_errno = errno;

	if (*fd >= 0)
		close(*fd);
	errno = saved_errno;
}

#define autofree  __attribute__((cleanup(clean_free)))
#define autoclose __attribute__((cleanup(clean_close)))

/* steal_fd - the descriptor, which its variable no longer closes */
static inline int steal_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

#define steal_pointer(variable)                               \
	({                                                    \
		__typeof__(*(variable)) taken_ = *(variable); \
		*(variable) = NULL;                           \
		taken_;                                       \
	})

#endif
