/* SPDX-License-Identifier: Apache-2.0 */
/* Device memory for tests of the PTX machine: one arena of host pages, valid where allocated. */
#ifndef CAUSEWAY_TESTS_UNIT_PTX_HARNESS_H
#define CAUSEWAY_TESTS_UNIT_PTX_HARNESS_H

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cuda/softgpu/ptx.h"

#define HARNESS_PAGE_SHIFT 12
#define HARNESS_PAGES	   ((size_t)1 << 15)

struct harness {
	uint8_t *arena;
	uint8_t valid[HARNESS_PAGES];
	uint32_t lengths[HARNESS_PAGES]; /* in pages, where an allocation starts */
	size_t next;			 /* first page never used */
	pthread_mutex_t lock;
	struct ptx_memory memory;
	char printed[65536];
	size_t printed_bytes;
};

static inline int harness_allocate(void *owner, size_t bytes, size_t alignment, uint64_t *address)
{
	struct harness *harness = owner;
	size_t pages = (bytes + (1 << HARNESS_PAGE_SHIFT) - 1) >> HARNESS_PAGE_SHIFT;
	int code = -ENOMEM;

	(void)alignment;
	pthread_mutex_lock(&harness->lock);
	if (harness->next + pages + 1 < HARNESS_PAGES) {
		*address =
			(uint64_t)(uintptr_t)harness->arena + (harness->next << HARNESS_PAGE_SHIFT);
		memset(harness->valid + harness->next, 1, pages);
		harness->lengths[harness->next] = (uint32_t)pages;
		harness->next += pages + 1; /* a page between two that is not valid */
		code = 0;
	}
	pthread_mutex_unlock(&harness->lock);
	return code;
}

static inline void harness_release(void *owner, uint64_t address)
{
	struct harness *harness = owner;
	size_t page = (address - (uint64_t)(uintptr_t)harness->arena) >> HARNESS_PAGE_SHIFT;

	memset(harness->valid + page, 0, harness->lengths[page]);
}

static inline void harness_open(struct harness *harness)
{
	memset(harness, 0, sizeof(*harness));
	harness->arena = mmap(NULL, HARNESS_PAGES << HARNESS_PAGE_SHIFT, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (harness->arena == MAP_FAILED)
		abort();
	pthread_mutex_init(&harness->lock, NULL);
	harness->memory = (struct ptx_memory){
		.owner = harness,
		.allocate = harness_allocate,
		.release = harness_release,
		.valid_pages = harness->valid,
		.base = (uint64_t)(uintptr_t)harness->arena,
		.pages = HARNESS_PAGES,
		.page_shift = HARNESS_PAGE_SHIFT,
	};
}

static inline void harness_close(struct harness *harness)
{
	munmap(harness->arena, HARNESS_PAGES << HARNESS_PAGE_SHIFT);
	pthread_mutex_destroy(&harness->lock);
}

static inline void *harness_take(struct harness *harness, size_t bytes)
{
	uint64_t address;

	if (harness_allocate(harness, bytes, 256, &address))
		abort();
	return (void *)(uintptr_t)address;
}

static inline void harness_print(void *context, const char *text, size_t bytes)
{
	struct harness *harness = context;

	if (harness->printed_bytes + bytes < sizeof(harness->printed)) {
		memcpy(harness->printed + harness->printed_bytes, text, bytes);
		harness->printed_bytes += bytes;
		harness->printed[harness->printed_bytes] = '\0';
	}
}

/* harness_read - a whole file with a NUL behind it; NULL where it cannot be read */
static inline char *harness_read(const char *path, size_t *bytes)
{
	FILE *file = fopen(path, "rb");
	char *text = NULL;

	*bytes = 0;
	if (!file)
		return NULL;
	if (!fseek(file, 0, SEEK_END)) {
		long size = ftell(file);

		rewind(file);
		text = calloc(1, (size_t)size + 1);
		if (text)
			*bytes = fread(text, 1, (size_t)size, file);
	}
	fclose(file);
	return text;
}

/* One-dimensional launch. */
static inline int harness_launch(struct harness *harness, struct ptx_module *module,
				 const char *name, unsigned int grid, unsigned int block,
				 size_t shared, const void *parameters, struct ptx_launch *launch)
{
	struct ptx_kernel *kernel = ptx_module_kernel(module, name);

	if (!kernel)
		return -ENOENT;
	memset(launch, 0, sizeof(*launch));
	launch->grid[0] = grid;
	launch->block[0] = block;
	launch->grid[1] = launch->grid[2] = launch->block[1] = launch->block[2] = 1;
	launch->dynamic_shared_bytes = shared;
	launch->parameters = parameters;
	launch->print = harness_print;
	launch->print_context = harness;
	return ptx_launch_run(kernel, launch);
}

#endif
