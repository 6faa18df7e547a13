/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fatbin: finds and unfolds the PTX of a fat binary. The layout is as nvcc 13 writes it, read off
 * its output under every --compress-mode.
 */
#include "cuda/softgpu/fatbin.h"

#include <errno.h>
#include <lz4.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "lib/base/clean.h"

struct container_header {
	uint32_t magic;
	uint16_t version;
	uint16_t header_bytes;
	uint64_t entries_bytes; /* that follow the header */
};

_Static_assert(sizeof(struct container_header) == 16, "as nvcc writes it");

enum { KIND_PTX = 1 };
enum { FLAG_LZ4 = 0x2000, FLAG_ZSTD = 0x8000 };

struct entry_header {
	uint16_t kind;
	uint16_t version;
	uint32_t header_bytes;
	uint64_t payload_bytes;	   /* with padding */
	uint32_t compressed_bytes; /* without padding; 0 where the payload is plain */
	uint32_t options_offset;
	uint16_t ptx_minor;
	uint16_t ptx_major;
	uint32_t target;
	uint32_t name_offset;
	uint32_t name_bytes;
	uint64_t flags;
	uint64_t reserved;
	uint64_t plain_bytes; /* of a compressed payload */
};

_Static_assert(sizeof(struct entry_header) == 64, "as nvcc writes it");

struct entry {
	struct entry_header header;
	const uint8_t *payload;
};

size_t fatbin_bytes(const void *fatbin)
{
	struct container_header header;

	memcpy(&header, fatbin, sizeof(header));
	if (header.magic != FATBIN_MAGIC || header.header_bytes < sizeof(header) ||
	    header.entries_bytes > SIZE_MAX - header.header_bytes)
		return 0;
	return header.header_bytes + (size_t)header.entries_bytes;
}

/* Reads the entry at @offset and moves @offset behind it. */
static int next_entry(const uint8_t *fatbin, size_t bytes, size_t *offset, struct entry *entry,
		      struct error *error)
{
	size_t left = bytes - *offset;

	if (left < sizeof(entry->header))
		return error_set(error, -ENOEXEC, "fat binary: entry at %zu is cut off", *offset);
	memcpy(&entry->header, fatbin + *offset, sizeof(entry->header));
	if (entry->header.header_bytes < sizeof(entry->header) ||
	    entry->header.header_bytes > left ||
	    entry->header.payload_bytes > left - entry->header.header_bytes)
		return error_set(error, -ENOEXEC,
				 "fat binary: entry at %zu is larger than what is left", *offset);
	entry->payload = fatbin + *offset + entry->header.header_bytes;
	*offset += entry->header.header_bytes + (size_t)entry->header.payload_bytes;
	return 0;
}

/* Whether @candidate suits a device of @target better than @best. */
static int better(uint32_t candidate, uint32_t best, uint32_t target)
{
	if (candidate <= target)
		return best > target || candidate > best;
	return best > target && candidate < best;
}

static int pick_entry(const uint8_t *fatbin, size_t bytes, unsigned int target, struct entry *best,
		      struct error *error)
{
	struct container_header header;
	struct entry entry;
	int found = 0;
	size_t offset;

	if (bytes < sizeof(header))
		return error_set(error, -ENOEXEC, "fat binary: cut off in its header");
	memcpy(&header, fatbin, sizeof(header));
	if (fatbin_bytes(fatbin) == 0 || fatbin_bytes(fatbin) > bytes)
		return error_set(error, -ENOEXEC, "fat binary: its header is wrong");
	bytes = fatbin_bytes(fatbin);
	for (offset = header.header_bytes; offset < bytes;) {
		int result = next_entry(fatbin, bytes, &offset, &entry, error);

		if (result < 0)
			return result;
		if (entry.header.kind == KIND_PTX &&
		    (!found || better(entry.header.target, best->header.target, target))) {
			*best = entry;
			found = 1;
		}
	}
	return found ? 0
		     : error_set(error, -ENOENT,
				 "fat binary: machine code only, no PTX that could be run here");
}

/* Unfolds a compressed payload into @text; its exact size is known from the header. */
static int unfold(const struct entry *entry, char *text)
{
	size_t plain = (size_t)entry->header.plain_bytes;
	size_t bytes = entry->header.compressed_bytes;
	int result;

	if (entry->header.flags & FLAG_ZSTD)
		return ZSTD_decompress(text, plain, entry->payload, bytes) == plain ? 0 : -ENOEXEC;
	result = LZ4_decompress_safe((const char *)entry->payload, text, (int)bytes, (int)plain);
	return result >= 0 && (size_t)result == plain ? 0 : -ENOEXEC;
}

int fatbin_text(const void *fatbin, size_t bytes, unsigned int target, char **text,
		size_t *text_bytes, struct error *error)
{
	autofree char *unfolded = NULL;
	struct entry entry = { 0 };
	int compressed;
	size_t plain;
	int result = pick_entry(fatbin, bytes, target, &entry, error);

	if (result < 0)
		return result;
	compressed = (entry.header.flags & (FLAG_LZ4 | FLAG_ZSTD)) != 0;
	plain = (size_t)(compressed ? entry.header.plain_bytes : entry.header.payload_bytes);
	if (plain > FATBIN_TEXT_MAX ||
	    (compressed && entry.header.compressed_bytes > entry.header.payload_bytes))
		return error_set(error, -ENOEXEC, "fat binary: the sizes of its PTX are wrong");
	unfolded = malloc(plain + 1);
	if (!unfolded)
		return error_set(error, -ENOMEM, "no memory for %zu bytes of PTX", plain);
	if (!compressed)
		memcpy(unfolded, entry.payload, plain);
	else if (unfold(&entry, unfolded) < 0)
		return error_set(error, -ENOEXEC, "fat binary: its PTX cannot be decompressed");
	unfolded[plain] = '\0';
	*text_bytes = strnlen(unfolded, plain);
	*text = steal_pointer(&unfolded);
	return 0;
}
