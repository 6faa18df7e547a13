/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of this process that scifd and peers are to share: a private anonymous range is moved into
 * a memfd and mapped again in its place, contents kept.
 *
 * What a range is now is asked of /proc/self/maps each time, since the program may have unmapped
 * what was shared before. A shared object is found again by its inode; one that no window uses is
 * kept while the memory is mapped, so that a range that is registered again and again is moved
 * once.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "scif/lib/handle.h"

#define MEMORY_PAGE_BYTES  4096u
#define MEMORY_MAPS_BYTES  65536u
#define MEMORY_PAGES_ASKED 512u
/* One in so many objects may be idle without a look for it. */
#define MEMORY_SWEEP_SHARE 8u
#define MEMORY_PRESENT	   (3ull << 62) /* of /proc/self/pagemap: in memory, or swapped out */

struct shared {
	TAILQ_ENTRY(shared) link;
	unsigned int users;
	int fd;
	ino_t inode;
	bool seen; /* in the look at the maps under way */
};

static pthread_mutex_t memory_lock = PTHREAD_MUTEX_INITIALIZER;
static TAILQ_HEAD(, shared) memory_shared = TAILQ_HEAD_INITIALIZER(memory_shared);
static unsigned int memory_count, memory_idled; /* objects; windows ended since the last sweep */

/* One line of the maps. */
struct area {
	uintptr_t start, end;
	char access[5];
	uint64_t offset;
	unsigned long inode;
	const char *name;
};

/* What a range turned out to be. */
struct range {
	uintptr_t start, end, covered; /* without a hole up to there */
	bool private;		       /* all of it private, anonymous and writable */
	struct shared *shared;	       /* all of it in this one, from file_offset on */
	uint64_t file_offset;
	bool mixed;
	int access;
};

void memory_freeze(void)
{
	pthread_mutex_lock(&memory_lock);
}

void memory_thaw(void)
{
	pthread_mutex_unlock(&memory_lock);
}

int memory_fd(const struct shared *shared)
{
	return shared->fd;
}

void memory_put(struct shared *shared)
{
	pthread_mutex_lock(&memory_lock);
	shared->users--;
	memory_idled++;
	pthread_mutex_unlock(&memory_lock);
}

/* Where the area of the last line that is whole begins; 0 before there is one. */
static uintptr_t memory_last_start(const char *text, size_t used)
{
	while (used && text[used - 1] != '\n')
		used--;
	while (used > 1 && text[used - 2] != '\n')
		used--;
	return used ? strtoull(text + used - 1, NULL, 16) : 0;
}

/* /proc/self/maps up to @end or a little more, with a zero behind; NULL with errno. */
static char *memory_read_maps(uintptr_t end)
{
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC), code;
	size_t room = MEMORY_MAPS_BYTES, used = 0;
	char *text = fd < 0 ? NULL : malloc(room), *larger;
	ssize_t got = -1;

	while (text && (got = read(fd, text + used, room - used - 1)) > 0) {
		used += (size_t)got;
		if (memory_last_start(text, used) >= end) {
			got = 0;
			break;
		}
		if (room - used > MEMORY_PAGE_BYTES)
			continue;
		larger = realloc(text, room * 2);
		if (!larger)
			break;
		text = larger;
		room *= 2;
	}
	code = errno;
	if (fd >= 0)
		close(fd);
	if (!text || got != 0) {
		free(text);
		errno = got > 0 ? ENOMEM : code;
		return NULL;
	}
	text[used] = 0;
	return text;
}

static struct shared *memory_find(ino_t inode)
{
	struct shared *shared;

	TAILQ_FOREACH(shared, &memory_shared, link)
	{
		if (shared->inode == inode)
			return shared;
	}
	return NULL;
}

static void range_take(struct range *range, const struct area *area)
{
	bool anonymous = area->access[3] == 'p' && area->inode == 0 &&
			 strncmp(area->name, "[stack", 6) != 0 && area->name[0] != '/';
	struct shared *shared = NULL;
	int access = (area->access[0] == 'r' ? PROT_READ : 0) |
		     (area->access[1] == 'w' ? PROT_WRITE : 0) |
		     (area->access[2] == 'x' ? PROT_EXEC : 0);

	if (area->end <= range->start || area->start >= range->end || area->start > range->covered)
		return; /* elsewhere, or behind a hole */
	if (area->access[3] == 's')
		shared = memory_find(area->inode);
	if (range->covered == range->start) {
		range->private = anonymous;
		range->shared = shared;
		range->file_offset = area->offset + (range->start - area->start);
		range->access = access;
	} else {
		range->private = range->private && anonymous;
		if (range->shared != shared ||
		    (shared && area->offset != range->file_offset + (area->start - range->start)))
			range->mixed = true;
	}
	if (access != range->access || !(access & PROT_READ) || !(access & PROT_WRITE))
		range->private = false;
	range->covered = area->end;
}

/* Drops shared objects that were not seen in the maps and have no window. */
static void memory_sweep(void)
{
	struct shared *shared, *next;

	for (shared = TAILQ_FIRST(&memory_shared); shared; shared = next) {
		next = TAILQ_NEXT(shared, link);
		if (shared->seen || shared->users)
			continue;
		TAILQ_REMOVE(&memory_shared, shared, link);
		memory_count--;
		close(shared->fd);
		free(shared);
	}
	memory_idled = 0;
}

/*
 * Looks at the areas up to the range's end; at all of them, for objects that are mapped nowhere any
 * more, once so many windows have ended that it pays: a thousand windows must not be a million
 * looks.
 */
static int memory_look(struct range *range)
{
	bool sweeps = memory_idled && memory_idled * MEMORY_SWEEP_SHARE >= memory_count;
	char *text = memory_read_maps(sweeps ? UINTPTR_MAX : range->end), *rest = text, *line;
	struct shared *shared;

	if (!text)
		return -errno;
	TAILQ_FOREACH(shared, &memory_shared, link)
	shared->seen = false;
	while ((line = strsep(&rest, "\n"))) {
		struct area area;
		int name = 0;

		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s %" SCNx64 " %*s %lu %n",
			   &area.start, &area.end, area.access, &area.offset, &area.inode,
			   &name) < 5)
			continue;
		area.name = name ? line + name : "";
		range_take(range, &area);
		shared = sweeps && area.access[3] == 's' ? memory_find(area.inode) : NULL;
		if (shared)
			shared->seen = true;
	}
	free(text);
	if (sweeps)
		memory_sweep();
	return 0;
}

/* Copies the pages that were ever touched into the file; the others are zero in both. */
static int memory_fill(int fd, const unsigned char *from, size_t bytes)
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), status = 0;
	uint64_t pages[MEMORY_PAGES_ASKED];

	for (size_t at = 0; at < bytes && status == 0;) {
		uintptr_t first = ((uintptr_t)from + at) / MEMORY_PAGE_BYTES;
		size_t count = (bytes - at) / MEMORY_PAGE_BYTES;
		ssize_t got;

		if (count > MEMORY_PAGES_ASKED)
			count = MEMORY_PAGES_ASKED;
		got = pagemap < 0 ? -1
				  : pread(pagemap, pages, count * sizeof(pages[0]),
					  (off_t)(first * sizeof(pages[0])));
		if (got != (ssize_t)(count * sizeof(pages[0])))
			memset(pages, 0xff, sizeof(pages)); /* not told: copy all */
		for (size_t i = 0; i < count && status == 0; i++, at += MEMORY_PAGE_BYTES) {
			if (!(pages[i] & MEMORY_PRESENT))
				continue;
			if (pwrite(fd, from + at, MEMORY_PAGE_BYTES, (off_t)at) !=
			    MEMORY_PAGE_BYTES)
				status = -ENOMEM;
		}
	}
	if (pagemap >= 0)
		close(pagemap);
	return status;
}

/* Moves the range into a memfd; the new object, or NULL with *status. */
static struct shared *memory_move(const struct range *range, int *status)
{
	size_t bytes = range->end - range->start;
	struct shared *shared = calloc(1, sizeof(*shared));
	int fd = memfd_create("scif-window", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct stat file;

	*status = shared && fd >= 0 ? 0 : -ENOMEM;
	if (*status == 0 &&
	    (ftruncate(fd, (off_t)bytes) < 0 ||
	     fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0 || fstat(fd, &file) < 0))
		*status = -errno;
	if (*status == 0)
		*status = memory_fill(fd, (const unsigned char *)range->start, bytes);
	if (*status == 0 && mmap((void *)range->start, bytes, range->access, MAP_SHARED | MAP_FIXED,
				 fd, 0) == MAP_FAILED)
		*status = -errno;
	if (*status < 0) {
		if (fd >= 0)
			close(fd);
		free(shared);
		return NULL;
	}
	shared->fd = fd;
	shared->inode = file.st_ino;
	TAILQ_INSERT_HEAD(&memory_shared, shared, link);
	memory_count++;
	return shared;
}

int memory_share(void *address, size_t bytes, struct shared **shared, uint64_t *file_offset)
{
	struct range range = {
		.start = (uintptr_t)address,
		.end = (uintptr_t)address + bytes,
		.covered = (uintptr_t)address,
	};
	int status;

	pthread_mutex_lock(&memory_lock);
	status = memory_look(&range);
	if (status == 0 && range.covered < range.end)
		status = -EFAULT;
	if (status == 0 && range.private) {
		range.shared = memory_move(&range, &status);
		range.file_offset = 0;
		range.mixed = false;
	}
	if (status == 0 && range.shared && !range.mixed) {
		range.shared->users++;
		*shared = range.shared;
		*file_offset = range.file_offset;
		status = 1;
	}
	pthread_mutex_unlock(&memory_lock);
	return status;
}
