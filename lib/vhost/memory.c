/* SPDX-License-Identifier: Apache-2.0 */
/* Mapping and translation of guest memory; see memory.h. */
#include "lib/vhost/memory.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

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

int vhost_memory_add(struct vhost_memory *memory, const struct vhost_user_memory_region *place,
		     int fd)
{
	struct vhost_memory_region *region;
	size_t unit, bytes;
	struct stat status;
	void *mapping;
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
	mapping = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (mapping == MAP_FAILED)
		return -errno;
	madvise(mapping, bytes, MADV_DONTDUMP);

	region = &memory->regions[memory->count];
	region->place = *place;
	region->mapping = mapping;
	region->mapping_bytes = bytes;
	region->host = (unsigned char *)mapping + place->mmap_offset;
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
		munmap(region->mapping, region->mapping_bytes);
		*region = memory->regions[--memory->count];
		return 0;
	}
	return -ENOENT;
}

void vhost_memory_clear(struct vhost_memory *memory)
{
	while (memory->count) {
		struct vhost_memory_region *region = &memory->regions[--memory->count];

		munmap(region->mapping, region->mapping_bytes);
	}
	memory->lost = 0;
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
