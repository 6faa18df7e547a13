/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's memory as the VMM shares it: regions mapped here, and the one place that turns the
 * guest's addresses into pointers.
 *
 * Trust: every address and length is the guest's or the VMM's; nothing outside a region is ever
 * handed out, and a range may span regions that follow each other in guest-physical space.
 * A region's file may shrink under us. The access then raises SIGBUS, which fault.h turns into
 * zeroes and ->lost: whoever owns the memory looks at ->lost after a batch and ends the session.
 * System calls on such memory fail with -EFAULT instead.
 * Threads: one thread uses a vhost_memory; it announces itself with vhost_fault_guard().
 */
#ifndef CAUSEWAY_LIB_VHOST_MEMORY_H
#define CAUSEWAY_LIB_VHOST_MEMORY_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "proto/vhost-user.h"

/* The guest's own memory is a few; each part of a shared memory region that it sees is one more. */
#define VHOST_MEMORY_REGIONS_MAX 256

struct vhost_memory_region {
	struct vhost_user_memory_region place;
	unsigned char *host; /* where place.guest_address is mapped here */
	void *mapping;
	size_t mapping_bytes;
};

struct vhost_memory {
	struct vhost_memory_region regions[VHOST_MEMORY_REGIONS_MAX];
	unsigned int count;
	volatile int lost; /* a mapped file shrank; set by the SIGBUS handler */
};

/**
 * vhost_memory_add - map one region
 * @fd: stays the caller's
 *
 * Return: 0; -EINVAL for ranges that wrap around, overlap a region, are empty or go beyond the
 * end of the file; -ENOSPC when all slots are taken; -errno of mmap.
 */
int vhost_memory_add(struct vhost_memory *memory, const struct vhost_user_memory_region *place,
		     int fd);

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
