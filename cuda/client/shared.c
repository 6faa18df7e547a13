/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that the program and the worker both have: parts of the link's shared memory.
 *
 * A part is mapped here, then announced to the worker (host_share), which maps it at the very same
 * address and pins it for the device. So a pointer means the same in the program, in the worker's
 * driver and in kernels, and the device copies straight from and to the program's memory. Where the
 * worker has something at that address already, another address is tried.
 *
 * Over scif the program's own memory takes the place of the link's: a part is any memory of it,
 * which becomes a window that the worker maps (link_shared_place). Nothing is copied or replaced
 * then.
 *
 * What is free of the link's memory is a table of extents that do not touch: first fit. A part that
 * is given back loses its pages, so that the next one starts as zero.
 *
 * shared_lock protects the extents and the table of parts. It is a leaf.
 */
#include "cuda/client/shared.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/single_threaded.h>
#include <unistd.h>

#include "cuda/common/range.h"

#define PAGE_BYTES  4096u
#define SHARE_TRIES 8

static struct {
	pthread_mutex_t lock; /* shared_lock */
	int fd;		      /* the link's; -1: none. Constant once the client is ready. */
	bool windows;	      /* the program's own memory; likewise constant */
	struct range_table free;
	struct range_table parts; /* by address; .serial is the offset in the link's memory */
} shared = { .lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1 };

uint64_t client_shared_offer(void)
{
	uint64_t bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * PAGE_BYTES;
	struct rlimit limit;

	/* Beyond this limit the kernel ends the program with a signal. */
	if (!getrlimit(RLIMIT_FSIZE, &limit) && limit.rlim_cur < bytes)
		bytes = limit.rlim_cur & ~(uint64_t)(PAGE_BYTES - 1);
	return sysconf(_SC_PAGESIZE) == PAGE_BYTES ? bytes : 0;
}

void client_shared_open(void)
{
	struct range all = { .start = 0 };

	shared.fd = link_shared(client.link, &all.bytes);
	shared.windows = link_medium(client.link) == LINK_SCIF;
	if (shared.fd < 0)
		return;
	shared.free.count = 0;
	shared.parts.count = 0;
	if (range_insert(&shared.free, &all))
		shared.fd = -1;
}

bool client_shared_ready(void)
{
	return shared.fd >= 0 || shared.windows;
}

/* extent_take - @bytes of the link's memory, or a part of any; false: there is no such piece */
static bool extent_take(uint64_t bytes, uint64_t *offset)
{
	bool found = shared.windows;

	pthread_mutex_lock(&shared.lock);
	for (size_t i = 0; i < shared.free.count && !found; i++) {
		struct range rest = shared.free.ranges[i];

		if (rest.bytes < bytes)
			continue;
		*offset = rest.start;
		range_remove(&shared.free, rest.start);
		rest.start += bytes;
		rest.bytes -= bytes;
		if (rest.bytes)
			range_insert(&shared.free, &rest); /* there is room: one was removed */
		found = true;
	}
	pthread_mutex_unlock(&shared.lock);
	return found;
}

/* extent_give - back, joined with its neighbours */
static void extent_give(uint64_t offset, uint64_t bytes)
{
	struct range joined = { .start = offset, .bytes = bytes };
	size_t index;

	if (shared.windows)
		return;
	fallocate(shared.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
		  (off_t)bytes);
	pthread_mutex_lock(&shared.lock);
	index = range_index(&shared.free, offset);
	if (index < shared.free.count && shared.free.ranges[index].start == offset + bytes) {
		joined.bytes += shared.free.ranges[index].bytes;
		range_remove(&shared.free, offset + bytes);
	}
	if (index) {
		struct range *before = &shared.free.ranges[index - 1];

		if (before->start + before->bytes == offset) {
			before->bytes += joined.bytes;
			pthread_mutex_unlock(&shared.lock);
			return;
		}
	}
	if (range_insert(&shared.free, &joined))
		client_log("no memory to note that shared memory is free: %llu bytes are lost",
			   (unsigned long long)joined.bytes);
	pthread_mutex_unlock(&shared.lock);
}

/* part_memory - the part at @offset, or memory of the program's that becomes one; NULL: none */
static void *part_memory(uint64_t *offset, uint64_t bytes)
{
	void *at;

	if (shared.windows)
		/* Shared with children, as the other way's is. */
		at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	else
		at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, shared.fd,
			  (off_t)*offset);
	if (at == MAP_FAILED)
		return NULL;
	/* Large pages where the system gives them, and all of them now: a device needs them all,
	 * and this process is the one to be charged. */
	madvise(at, bytes, MADV_HUGEPAGE);
	madvise(at, bytes, MADV_POPULATE_WRITE);
	if (shared.windows && link_shared_place(client.link, at, bytes, offset)) {
		munmap(at, bytes);
		return NULL;
	}
	return at;
}

/* part_remove - a window that the worker has not, or lets go */
static void part_remove(uint64_t offset, uint64_t bytes)
{
	if (shared.windows)
		link_shared_remove(client.link, offset, bytes);
}

/* part_map - map the part and announce it, at an address that both sides have free */
static CUresult part_map(uint64_t *offset, uint64_t bytes, void **mapped, uint64_t *device)
{
	void *refused[SHARE_TRIES];
	CUresult result = CUDA_ERROR_NOT_SUPPORTED;
	uint32_t taken = 1;
	int tries = 0;

	while (tries < SHARE_TRIES && taken) {
		void *at = part_memory(offset, bytes);

		if (!at) {
			result = CUDA_ERROR_OUT_OF_MEMORY;
			break;
		}
		result = client_send_host_share(*offset, (uintptr_t)at, bytes, device, &taken);
		if (!result && !taken) {
			*mapped = at;
			break;
		}
		part_remove(*offset, bytes);
		refused[tries++] = at;
		if (result)
			break;
		result = CUDA_ERROR_NOT_SUPPORTED;
	}
	while (tries)
		munmap(refused[--tries], bytes);
	return result;
}

/* part_enter - note a part that the worker has; false: no memory, and the worker lets go again */
static bool part_enter(void *at, uint64_t bytes, uint64_t offset)
{
	const struct range part = { .start = (uintptr_t)at, .bytes = bytes, .serial = offset };
	int error;

	pthread_mutex_lock(&shared.lock);
	error = range_insert(&shared.parts, &part);
	pthread_mutex_unlock(&shared.lock);
	if (error)
		client_send_host_unshare(part.start);
	return !error;
}

/* part_leave - forget the part at @at, here and in the worker; its offset, or UINT64_MAX */
static uint64_t part_leave(void *at)
{
	const struct range *part;
	uint64_t offset = UINT64_MAX;

	pthread_mutex_lock(&shared.lock);
	part = range_find(&shared.parts, (uintptr_t)at);
	if (part && part->start == (uintptr_t)at) {
		offset = part->serial;
		range_remove(&shared.parts, (uintptr_t)at);
	}
	pthread_mutex_unlock(&shared.lock);
	/* The worker lets go before it sees a later request for the same place. */
	if (offset != UINT64_MAX)
		client_send_host_unshare((uintptr_t)at);
	return offset;
}

CUresult client_shared_allocate(size_t wanted, void **at, uint64_t *device)
{
	uint64_t bytes = ((uint64_t)wanted + PAGE_BYTES - 1) & ~(uint64_t)(PAGE_BYTES - 1);
	uint64_t offset;
	CUresult result;

	if (!client_shared_ready() || bytes < wanted)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (!extent_take(bytes, &offset))
		return CUDA_ERROR_OUT_OF_MEMORY;
	result = part_map(&offset, bytes, at, device);
	if (!result && !part_enter(*at, bytes, offset)) {
		part_remove(offset, bytes);
		munmap(*at, bytes);
		result = CUDA_ERROR_OUT_OF_MEMORY;
	}
	if (result)
		extent_give(offset, bytes);
	return result;
}

void client_shared_free(void *at, size_t wanted)
{
	uint64_t bytes = ((uint64_t)wanted + PAGE_BYTES - 1) & ~(uint64_t)(PAGE_BYTES - 1);
	uint64_t offset = part_leave(at);

	if (offset != UINT64_MAX)
		part_remove(offset, bytes);
	munmap(at, bytes);
	if (offset != UINT64_MAX)
		extent_give(offset, bytes);
}

/* pages_private - whether the pages are all private, anonymous, readable and writable memory */
static bool pages_private(uint64_t from, uint64_t to)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned long start, end, inode;
	char line[512], access[8];
	int name;

	while (maps && from < to && fgets(line, sizeof(line), maps)) {
		name = 0;
		if (sscanf(line, "%lx-%lx %7s %*x %*x:%*x %lu %n", &start, &end, access, &inode,
			   &name) < 4 ||
		    end <= from)
			continue;
		/* No file, no hole, and not the stack, which grows. */
		if (start > from || inode || strcmp(access, "rw-p") ||
		    (name && line[name] == '[' && strncmp(line + name, "[heap]", 6) != 0 &&
		     strncmp(line + name, "[anon", 5) != 0))
			break;
		from = end;
	}
	if (maps)
		fclose(maps);
	return from >= to;
}

/* pages_copy - the contents of @bytes at @from to @at, through a mapping of the link's memory */
static bool pages_copy(const void *from, uint64_t offset, uint64_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, shared.fd, (off_t)offset);

	if (at == MAP_FAILED)
		return false;
	memcpy(at, from, bytes);
	munmap(at, bytes);
	return true;
}

/* pages_make_private - @bytes at @at as memory of this process alone, contents kept */
static bool pages_make_private(void *at, uint64_t bytes)
{
	void *copy = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (copy == MAP_FAILED)
		return false;
	memcpy(copy, at, bytes);
	if (mremap(copy, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, at) != MAP_FAILED)
		return true;
	munmap(copy, bytes);
	return false;
}

/* adopt_window - memory of the program's becomes a part as it is */
static CUresult adopt_window(void *at, uint64_t bytes, uint64_t *device)
{
	uint32_t taken = 1;
	uint64_t offset;
	CUresult result;

	if (link_shared_place(client.link, at, bytes, &offset))
		return CUDA_ERROR_NOT_SUPPORTED;
	result = client_send_host_share(offset, (uintptr_t)at, bytes, device, &taken);
	if (!result && taken)
		result = CUDA_ERROR_NOT_SUPPORTED;
	if (!result && !part_enter(at, bytes, offset))
		result = CUDA_ERROR_OUT_OF_MEMORY;
	if (result)
		part_remove(offset, bytes);
	return result;
}

CUresult client_shared_adopt(void *memory, size_t wanted, uint64_t *device)
{
	uint64_t from = (uintptr_t)memory & ~(uint64_t)(PAGE_BYTES - 1);
	uint64_t to = ((uintptr_t)memory + wanted + PAGE_BYTES - 1) & ~(uint64_t)(PAGE_BYTES - 1);
	bool whole = from == (uintptr_t)memory && to == (uintptr_t)memory + wanted;
	void *at = (void *)(uintptr_t)from;
	uint64_t offset, bytes = to - from;
	uint32_t taken = 1;
	CUresult result;

	if (shared.windows && to > from)
		return adopt_window(at, bytes, device);
	if (shared.fd < 0 || to < from || (!whole && !__libc_single_threaded) ||
	    !pages_private(from, to))
		return CUDA_ERROR_NOT_SUPPORTED;
	if (!extent_take(bytes, &offset))
		return CUDA_ERROR_OUT_OF_MEMORY;
	/* The worker first: where it cannot, nothing has changed here. */
	result = client_send_host_share(offset, from, bytes, device, &taken);
	if (!result && taken)
		result = CUDA_ERROR_NOT_SUPPORTED;
	if (!result && !part_enter(at, bytes, offset))
		result = CUDA_ERROR_OUT_OF_MEMORY;
	if (!result && (!pages_copy(at, offset, bytes) ||
			mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, shared.fd,
			     (off_t)offset) == MAP_FAILED)) {
		part_leave(at);
		result = CUDA_ERROR_OUT_OF_MEMORY;
	}
	if (result)
		extent_give(offset, bytes);
	return result;
}

void client_shared_release(void *memory, size_t wanted)
{
	uint64_t from = (uintptr_t)memory & ~(uint64_t)(PAGE_BYTES - 1);
	uint64_t to = ((uintptr_t)memory + wanted + PAGE_BYTES - 1) & ~(uint64_t)(PAGE_BYTES - 1);
	void *at = (void *)(uintptr_t)from;
	uint64_t offset = part_leave(at);

	if (offset == UINT64_MAX)
		return;
	part_remove(offset, to - from);
	if (shared.windows)
		return;
	/* Without memory for a copy it stays shared with nobody, and its place stays taken. */
	if (pages_make_private(at, to - from))
		extent_give(offset, to - from);
}
