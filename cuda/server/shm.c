/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shm_open() and shm_unlink() for the driver: objects of a worker lie in its tenant's folder.
 *
 * Drivers keep what processes share (NVIDIA's: the words of interprocess events) in /dev/shm under
 * names that anybody can guess, which would be a way from tenant to tenant. The sandbox lets a
 * worker into one folder instead, the same for all workers of a tenant. The driver need not know:
 * the executable exports these two functions, and the dynamic linker prefers an executable's to
 * those of the C library. Names are checked as the C library does; Landlock is what enforces the
 * folder.
 *
 * Threads: the folder is set before the driver is loaded, and only read afterwards.
 */
#include "cuda/server/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static int shm_folder = -1;

void shm_folder_set(int fd)
{
	shm_folder = fd;
}

/* shm_place - where that object lies; false: it is no name of one */
static bool shm_place(const char *name, char *path, size_t bytes)
{
	int used;

	name += strspn(name, "/");
	if (!*name || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
		return false;
	used = snprintf(path, bytes, "%s%s", shm_folder < 0 ? "/dev/shm/" : "", name);
	return used >= 0 && (size_t)used < bytes;
}

/* As POSIX has it; the descriptor is closed by exec. EINVAL: the name has a slash inside. */
EXPORT int shm_open(const char *name, int flags, mode_t mode)
{
	char path[NAME_MAX + 1];

	if (!shm_place(name, path, sizeof(path))) {
		errno = EINVAL;
		return -1;
	}
	return openat(shm_folder < 0 ? AT_FDCWD : shm_folder, path, flags | O_NOFOLLOW | O_CLOEXEC,
		      mode);
}

EXPORT int shm_unlink(const char *name)
{
	char path[NAME_MAX + 1];

	if (!shm_place(name, path, sizeof(path))) {
		errno = EINVAL;
		return -1;
	}
	return unlinkat(shm_folder < 0 ? AT_FDCWD : shm_folder, path, 0);
}
