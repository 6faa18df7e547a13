/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The folders in which workers share memory by name (shm.c): one for each tenant that has clients,
 * in one of this daemon's in /dev/shm.
 *
 *	/dev/shm/causeway-PID.RANDOM	0700, locked as long as this daemon lives
 *	  .../NUMBER			0777: reached only by the descriptor that a worker inherits
 *
 * So a worker of another user may write into its folder without owning it, and the supervisor, who
 * owns it, may remove what is in it. What a tenant's workers leave goes when the last of them has
 * ended; what daemons leave that were killed, by their guardians, or when the next one starts:
 *their folders are those that nobody has locked.
 *
 * Without a place for them (no /dev/shm) workers share no memory, which the log says.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cuda/server/supervisor.h"
#include "lib/base/clean.h"
#include "lib/base/log.h"

#define FOLDER_PREFIX "/dev/shm/causeway-"
#define FOLDER_TRIES  8
#define FOLDER_DEPTH  2 /* objects lie in folders of the daemon's */
#define FOLDER_OPEN   (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

/* folder_empty - remove what is in @fd, which is closed; what is deeper than @depth stays */
static void folder_empty(int fd, int depth)
{
	DIR *folder = fdopendir(fd);
	const struct dirent *entry;

	if (!folder) {
		close(fd);
		return;
	}
	while ((entry = readdir(folder))) {
		int inner;

		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (unlinkat(fd, entry->d_name, 0) == 0 || depth <= 1)
			continue;
		inner = openat(fd, entry->d_name, FOLDER_OPEN);
		if (inner >= 0)
			folder_empty(inner, depth - 1);
		unlinkat(fd, entry->d_name, AT_REMOVEDIR);
	}
	closedir(folder);
}

void folder_remove(const char *path)
{
	int fd = open(path, FOLDER_OPEN);

	if (fd >= 0)
		folder_empty(fd, FOLDER_DEPTH);
	rmdir(path);
}

/* folders_of_the_dead - what daemons of this user left that are no more */
static void folders_of_the_dead(void)
{
	glob_t found;

	if (glob(FOLDER_PREFIX "*", GLOB_NOSORT, NULL, &found))
		return;
	for (size_t i = 0; i < found.gl_pathc; i++) {
		autoclose int fd = open(found.gl_pathv[i], FOLDER_OPEN);
		struct stat status;

		if (fd >= 0 && fstat(fd, &status) == 0 && status.st_uid == geteuid() &&
		    flock(fd, LOCK_EX | LOCK_NB) == 0)
			folder_remove(found.gl_pathv[i]);
	}
	globfree(&found);
}

/* folder_new - a folder, locked; or -errno: -EAGAIN where a daemon took it for a dead one's */
static int folder_new(struct supervisor *supervisor)
{
	char *path = supervisor->folder;
	struct stat status;

	snprintf(path, sizeof(supervisor->folder), FOLDER_PREFIX "%d.XXXXXX", getpid());
	if (!mkdtemp(path)) {
		*path = '\0';
		return -errno;
	}
	supervisor->folder_fd = open(path, FOLDER_OPEN);
	if (supervisor->folder_fd < 0)
		return -errno;
	if (flock(supervisor->folder_fd, LOCK_EX | LOCK_NB) < 0 ||
	    fstat(supervisor->folder_fd, &status) < 0)
		return -errno;
	return status.st_nlink ? 0 : -EAGAIN;
}

void folder_open(struct supervisor *supervisor)
{
	int status = -EAGAIN;

	folders_of_the_dead();
	for (int i = 0; i < FOLDER_TRIES && status; i++) {
		status = folder_new(supervisor);
		if (status)
			folder_close(supervisor);
	}
	if (status)
		log_warning("workers cannot share memory: " FOLDER_PREFIX "...: %s",
			    strerror(-status));
	else
		guardian_add_folder(supervisor);
}

void folder_close(struct supervisor *supervisor)
{
	if (*supervisor->folder)
		folder_remove(supervisor->folder);
	if (supervisor->folder_fd >= 0)
		close(supervisor->folder_fd);
	*supervisor->folder = '\0';
	supervisor->folder_fd = -1;
}

void folder_make(struct supervisor *supervisor, struct folder *folder)
{
	char name[16];

	*folder = (struct folder){ .fd = -1, .parent_fd = supervisor->folder_fd };
	if (supervisor->folder_fd < 0)
		return;
	folder->number = ++supervisor->folder_last;
	snprintf(name, sizeof(name), "%u", folder->number);
	if (mkdirat(folder->parent_fd, name, 0700) == 0)
		folder->fd = openat(folder->parent_fd, name, FOLDER_OPEN);
	if (folder->fd >= 0 && fchmod(folder->fd, 0777) == 0)
		return;
	log_warning("workers cannot share memory: %s/%s: %s", supervisor->folder, name,
		    strerror(errno));
	folder_unmake(folder);
}

void folder_unmake(struct folder *folder)
{
	char name[16];

	if (folder->fd >= 0)
		folder_empty(folder->fd, 1);
	snprintf(name, sizeof(name), "%u", folder->number);
	if (folder->number)
		unlinkat(folder->parent_fd, name, AT_REMOVEDIR);
	*folder = (struct folder){ .fd = -1 };
}
