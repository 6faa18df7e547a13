/* SPDX-License-Identifier: Apache-2.0 */
/* A table of address ranges that do not overlap. */
#include "cuda/common/range.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

size_t range_index(const struct range_table *table, uint64_t address)
{
	size_t low = 0, high = table->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (table->ranges[middle].start <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct range *range_find(const struct range_table *table, uint64_t address)
{
	size_t index = range_index(table, address);
	struct range *range;

	if (!index)
		return NULL;
	range = &table->ranges[index - 1];
	return address - range->start < range->bytes ? range : NULL;
}

int range_covers(const struct range_table *table, uint64_t address, uint64_t bytes)
{
	const struct range *range = range_find(table, address);

	return range && bytes <= range->bytes - (address - range->start);
}

/* range_grow - room for one more range */
static int range_grow(struct range_table *table)
{
	size_t capacity = table->capacity ? 2 * table->capacity : 64;
	struct range *ranges;

	if (table->count < table->capacity)
		return 0;
	ranges = realloc(table->ranges, capacity * sizeof(*ranges));
	if (!ranges)
		return -ENOMEM;
	table->ranges = ranges;
	table->capacity = capacity;
	return 0;
}

int range_insert(struct range_table *table, const struct range *range)
{
	size_t index = range_index(table, range->start);
	int error;

	if (!range->bytes || range->start + range->bytes < range->start)
		return -EINVAL;
	if (index && range->start - table->ranges[index - 1].start < table->ranges[index - 1].bytes)
		return -EEXIST;
	if (index < table->count && table->ranges[index].start - range->start < range->bytes)
		return -EEXIST;
	error = range_grow(table);
	if (error)
		return error;
	memmove(&table->ranges[index + 1], &table->ranges[index],
		(table->count - index) * sizeof(*range));
	table->ranges[index] = *range;
	table->count++;
	return 0;
}

int range_remove(struct range_table *table, uint64_t start)
{
	size_t index = range_index(table, start);

	if (!index || table->ranges[index - 1].start != start)
		return -ENOENT;
	memmove(&table->ranges[index - 1], &table->ranges[index],
		(table->count - index) * sizeof(*table->ranges));
	table->count--;
	return 0;
}

void range_free(struct range_table *table)
{
	free(table->ranges);
	*table = (struct range_table){ 0 };
}
