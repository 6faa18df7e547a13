/* SPDX-License-Identifier: Apache-2.0 */
/* Mapping and translation of guest memory; see memory.h. */
#include "lib/vhost/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define VHOST_MEMORY_PAGE_BYTES 4096u

static bool vhost_ranges_overlap(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes)
{
	return a < b + b_bytes && b < a + a_bytes;
}

/* The gate for what a VMM says of a region. */
static int vhost_memory_check(const struct vhost_memory *memory,
			      const struct vhost_user_memory_region *place,
			      const struct stat *status)
{
	uint64_t file_end;

	if (place->bytes == 0 || place->guest_address + place->bytes < place->guest_address ||
	    place->user_address + place->bytes < place->user_address ||
	    __builtin_add_overflow(place->mmap_offset, place->bytes, &file_end) ||
	    file_end > (uint64_t)INT64_MAX - (1u << 30))
		return -EINVAL;
	if (S_ISREG(status->st_mode) && file_end > (uint64_t)status->st_size)
		return -EINVAL;
	for (unsigned int i = 0; i < memory->count; i++) {
		const struct vhost_user_memory_region *other = &memory->regions[i].place;

		if (vhost_ranges_overlap(place->guest_address, place->bytes, other->guest_address,
					 other->bytes))
			return -EINVAL;
	}
	return memory->count < VHOST_MEMORY_REGIONS_MAX ? 0 : -ENOSPC;
}

struct vhost_mapping *vhost_mapping_get(struct vhost_mapping *mapping)
{
	atomic_fetch_add_explicit(&mapping->holders, 1, memory_order_relaxed);
	return mapping;
}

void vhost_mapping_put(struct vhost_mapping *mapping)
{
	if (atomic_fetch_sub_explicit(&mapping->holders, 1, memory_order_acq_rel) != 1)
		return;
	munmap(mapping->base, mapping->bytes);
	close(mapping->fd);
	free(mapping);
}

struct vhost_mapping *vhost_mapping_create(int fd, uint64_t file_offset, size_t bytes)
{
	struct vhost_mapping *mapping = calloc(1, sizeof(*mapping));
	struct stat status;
	void *base;
	int code;

	if (!mapping)
		return NULL;
	base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
		    (off_t)file_offset);
	mapping->fd = base == MAP_FAILED ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (mapping->fd < 0 || fstat(fd, &status) < 0) {
		code = errno;
		if (base != MAP_FAILED)
			munmap(base, bytes);
		if (mapping->fd >= 0)
			close(mapping->fd);
		free(mapping);
		errno = code;
		return NULL;
	}
	madvise(base, bytes, MADV_DONTDUMP);
	mapping->holders = 1;
	mapping->base = base;
	mapping->bytes = bytes;
	mapping->file_offset = file_offset;
	mapping->device = status.st_dev;
	mapping->inode = status.st_ino;
	return mapping;
}

/* The mapping of the same file in @memory if it is of that size and sound, else NULL. */
static struct vhost_mapping *vhost_mapping_reuse(const struct vhost_memory *memory,
						 const struct stat *status, size_t bytes)
{
	for (unsigned int i = 0; memory && i < memory->count; i++) {
		struct vhost_mapping *mapping = memory->regions[i].mapping;

		if (mapping->device == status->st_dev && mapping->inode == status->st_ino &&
		    mapping->bytes == bytes && !mapping->lost)
			return vhost_mapping_get(mapping);
	}
	return NULL;
}

int vhost_memory_add(struct vhost_memory *memory, const struct vhost_user_memory_region *place,
		     int fd, const struct vhost_memory *before)
{
	struct vhost_memory_region *region;
	struct vhost_mapping *mapping;
	size_t unit, bytes;
	struct stat status;
	int checked;

	if (fstat(fd, &status) < 0)
		return -errno;
	checked = vhost_memory_check(memory, place, &status);
	if (checked < 0)
		return checked;
	/* Huge pages want whole ones; from offset 0, because the offset need not be aligned. */
	unit = status.st_blksize > VHOST_MEMORY_PAGE_BYTES ? (size_t)status.st_blksize
							   : VHOST_MEMORY_PAGE_BYTES;
	bytes = (place->mmap_offset + place->bytes + unit - 1) / unit * unit;
	mapping = vhost_mapping_reuse(before, &status, bytes);
	if (!mapping)
		mapping = vhost_mapping_create(fd, 0, bytes);
	if (!mapping)
		return -errno;

	region = &memory->regions[memory->count];
	region->place = *place;
	region->mapping = mapping;
	region->host = mapping->base + place->mmap_offset;
	memory->count++;
	return 0;
}

int vhost_memory_remove(struct vhost_memory *memory, const struct vhost_user_memory_region *place)
{
	for (unsigned int i = 0; i < memory->count; i++) {
		struct vhost_memory_region *region = &memory->regions[i];

		if (region->place.guest_address != place->guest_address ||
		    region->place.user_address != place->user_address ||
		    region->place.bytes != place->bytes)
			continue;
		vhost_mapping_put(region->mapping);
		*region = memory->regions[--memory->count];
		return 0;
	}
	return -ENOENT;
}

void vhost_memory_clear(struct vhost_memory *memory)
{
	while (memory->count)
		vhost_mapping_put(memory->regions[--memory->count].mapping);
}

struct vhost_mapping *vhost_memory_find_mapping(const struct vhost_memory *memory,
						const void *pointer)
{
	const unsigned char *at = pointer;

	for (unsigned int i = 0; i < memory->count; i++) {
		struct vhost_mapping *mapping = memory->regions[i].mapping;

		if (at >= mapping->base && at < mapping->base + mapping->bytes)
			return mapping;
	}
	return NULL;
}

bool vhost_memory_lost(const struct vhost_memory *memory)
{
	for (unsigned int i = 0; i < memory->count; i++) {
		if (memory->regions[i].mapping->lost)
			return true;
	}
	return false;
}

/* The region that holds guest-physical @address, or NULL. */
static const struct vhost_memory_region *vhost_memory_find(const struct vhost_memory *memory,
							   uint64_t address)
{
	for (unsigned int i = 0; i < memory->count; i++) {
		const struct vhost_memory_region *region = &memory->regions[i];

		if (address - region->place.guest_address < region->place.bytes)
			return region;
	}
	return NULL;
}

int vhost_memory_translate(const struct vhost_memory *memory, uint64_t address, uint64_t bytes,
			   struct iovec *vectors, unsigned int capacity)
{
	unsigned int count = 0;

	while (bytes) {
		const struct vhost_memory_region *region = vhost_memory_find(memory, address);
		uint64_t offset, part;

		if (!region)
			return -EFAULT;
		if (count == capacity)
			return -E2BIG;
		offset = address - region->place.guest_address;
		part = region->place.bytes - offset;
		if (part > bytes)
			part = bytes;
		vectors[count].iov_base = region->host + offset;
		vectors[count].iov_len = part;
		count++;
		address += part;
		bytes -= part;
	}
	return (int)count;
}

int vhost_memory_read(const struct vhost_memory *memory, uint64_t address, void *to, size_t bytes)
{
	unsigned char *at = to;

	while (bytes) {
		struct iovec part;
		int count = vhost_memory_translate(memory, address, bytes, &part, 1);

		if (count == -E2BIG)
			count = 1; /* goes on in the next region: take the first part */
		if (count < 0)
			return count;
		memcpy(at, part.iov_base, part.iov_len);
		at += part.iov_len;
		address += part.iov_len;
		bytes -= part.iov_len;
	}
	return 0;
}

static void *vhost_region_piece(const struct vhost_memory_region *region, uint64_t base,
				uint64_t address, uint64_t bytes)
{
	uint64_t offset = address - base;

	if (offset >= region->place.bytes || bytes > region->place.bytes - offset)
		return NULL;
	return region->host + offset;
}

void *vhost_memory_ring(const struct vhost_memory *memory, uint64_t address, uint64_t bytes)
{
	for (unsigned int i = 0; i < memory->count; i++) {
		const struct vhost_memory_region *region = &memory->regions[i];
		void *piece =
			vhost_region_piece(region, region->place.user_address, address, bytes);

		if (piece)
			return piece;
	}
	for (unsigned int i = 0; i < memory->count; i++) {
		const struct vhost_memory_region *region = &memory->regions[i];
		void *piece =
			vhost_region_piece(region, region->place.guest_address, address, bytes);

		if (piece)
			return piece;
	}
	return NULL;
}
