/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's memory as the VMM shares it: regions mapped here, and the one place that turns the
 * guest's addresses into pointers.
 *
 * Trust: every address and length is the guest's or the VMM's; nothing outside a region is ever
 * handed out, and a range may span regions that follow each other in guest-physical space.
 * A region's file may shrink under us. The access then raises SIGBUS, which fault.h turns into
 * zeroes and ->lost of the mapping: whoever owns the memory looks after a batch and ends the
 * session. System calls on such memory fail with -EFAULT instead.
 *
 * Mappings. A file's mapping is counted: a region holds it, and so may anyone who keeps pointers
 * into it over changes of the table (vhost_mapping_get). A new table that names a file again takes
 * over the old mapping, so pointers into memory that stays do not change.
 * Threads: one thread uses a vhost_memory; it announces itself with vhost_fault_guard(). A mapping
 * that is held may be used and given back by any thread.
 */
#ifndef CAUSEWAY_LIB_VHOST_MEMORY_H
#define CAUSEWAY_LIB_VHOST_MEMORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "proto/vhost-user.h"

/* The guest's own memory is a few; each part of a shared memory region that it sees is one more. */
#define VHOST_MEMORY_REGIONS_MAX 256

/* A part of a file, mapped here. Constant but for the count and ->lost. */
struct vhost_mapping {
	atomic_uint holders;
	volatile int lost; /* the file shrank; set by the SIGBUS handler */
	unsigned char *base;
	size_t bytes;
	int fd;
	uint64_t file_offset; /* of base; 0 for regions */
	dev_t device;
	ino_t inode;
};

struct vhost_memory_region {
	struct vhost_user_memory_region place;
	unsigned char *host; /* where place.guest_address is mapped here */
	struct vhost_mapping *mapping;
};

/* A guest's memory: what the VMM told, in its order. */
struct vhost_memory {
	struct vhost_memory_region regions[VHOST_MEMORY_REGIONS_MAX];
	unsigned int count;
};

/**
 * vhost_mapping_create - map @bytes of a file from @file_offset on, readable and writable
 * @fd: stays the caller's
 *
 * Return: a mapping with one holder, or NULL with errno.
 */
struct vhost_mapping *vhost_mapping_create(int fd, uint64_t file_offset, size_t bytes);

/* vhost_mapping_get, _put - hold a mapping; the last one to put it unmaps it */
struct vhost_mapping *vhost_mapping_get(struct vhost_mapping *mapping);
void vhost_mapping_put(struct vhost_mapping *mapping);

/* vhost_memory_find_mapping - the mapping in which @pointer lies, or NULL; not held */
struct vhost_mapping *vhost_memory_find_mapping(const struct vhost_memory *memory,
						const void *pointer);

/* vhost_memory_lost - a file behind the memory was cut off */
bool vhost_memory_lost(const struct vhost_memory *memory);

/**
 * vhost_memory_add - map one region
 * @fd: stays the caller's
 * @before: memory whose mappings may be taken over, or NULL
 *
 * Return: 0; -EINVAL for ranges that wrap around, overlap a region, are empty or go beyond the
 * end of the file; -ENOSPC when all slots are taken; -errno of mmap.
 */
int vhost_memory_add(struct vhost_memory *memory, const struct vhost_user_memory_region *place,
		     int fd, const struct vhost_memory *before);

/* vhost_memory_remove - unmap the region at that guest address, size and user address; -ENOENT */
int vhost_memory_remove(struct vhost_memory *memory, const struct vhost_user_memory_region *place);

/* vhost_memory_clear - unmap everything; also the way to end using it */
void vhost_memory_clear(struct vhost_memory *memory);

/**
 * vhost_memory_translate - pointers for the guest-physical range
 * @vectors: filled with one part per region that the range touches
 * @capacity: of @vectors
 *
 * Return: how many vectors were filled (0 for an empty range), -EFAULT when any byte lies outside
 * all regions, -E2BIG when @capacity is too small.
 */
int vhost_memory_translate(const struct vhost_memory *memory, uint64_t address, uint64_t bytes,
			   struct iovec *vectors, unsigned int capacity);

/* vhost_memory_read - copy @bytes bytes at a guest-physical address; 0 or -EFAULT */
int vhost_memory_read(const struct vhost_memory *memory, uint64_t address, void *to, size_t bytes);

/**
 * vhost_memory_ring - one contiguous piece at an address as ring messages give it
 *
 * QEMU gives addresses of its own user space, User-Mode Linux guest-physical ones: the first are
 * tried first.
 *
 * Return: the pointer, or NULL when no single region holds all of it.
 */
void *vhost_memory_ring(const struct vhost_memory *memory, uint64_t address, uint64_t bytes);

#endif
