/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table of address ranges that do not overlap, for look-ups by any address inside.
 *
 * Sorted array, binary search: look-ups are frequent, and an insertion moves 32 bytes for each
 * range above it, which is little beside what an allocation costs.
 * Threads: none of it locks; the owner serialises.
 */
#ifndef CAUSEWAY_CUDA_COMMON_RANGE_H
#define CAUSEWAY_CUDA_COMMON_RANGE_H

#include <stddef.h>
#include <stdint.h>

struct range {
	uint64_t start;
	uint64_t bytes; /* never 0; start + bytes does not wrap */
	uint64_t serial;
	uint32_t owner; /* the user's: a context, a pool */
	uint16_t kind;	/* the user's */
	uint16_t flags; /* the user's */
};

struct range_table {
	struct range *ranges; /* by rising start */
	size_t count;
	size_t capacity;
};

/* range_insert - -EEXIST where it meets a range that is there, -EINVAL for an empty or wrapping one
 */
int range_insert(struct range_table *table, const struct range *range);

/* range_find - the range that holds @address, or NULL; valid until the next change */
struct range *range_find(const struct range_table *table, uint64_t address);

/* range_covers - whether [address, address + bytes) lies within one range; 0 bytes: the address */
int range_covers(const struct range_table *table, uint64_t address, uint64_t bytes);

/* range_index - how many ranges start at or below @address */
size_t range_index(const struct range_table *table, uint64_t address);

/* range_remove - forget the range at @start; -ENOENT where none starts there */
int range_remove(struct range_table *table, uint64_t start);

/* range_free - forgets all ranges and gives the table's memory back */
void range_free(struct range_table *table);

#endif
