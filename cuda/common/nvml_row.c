/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of proto/nvml-wire.h as a table, and how many bytes an argument points to. */
#include "cuda/common/nvml_row.h"

#include <string.h>

#define STRING_BYTES_MAX    4096u
#define STRUCTURE_BYTES_MAX 16384u

#define ROW(function, count, letters, a, b, c, d, shown) \
	{ .name = #function, .shape = (letters), .bytes = { a, b, c, d }, .view = (shown) },

static const struct nvml_row rows[] = {
	NVML_ROWS(ROW){ .name = NVML_WIRE_PROCESSES,
			.shape = "dcl",
			.bytes = { sizeof(struct nvml_wire_process) } },
};

const struct nvml_row *nvml_row_find(const char *name)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		if (!strcmp(rows[i].name, name))
			return &rows[i];
	}
	return NULL;
}

bool nvml_row_points(char letter)
{
	return strchr("ovscla", letter);
}

/* row_number - the @index-th argument's number of bytes in the row: one for each o, l and a */
static uint16_t row_number(const struct nvml_row *row, unsigned int index)
{
	unsigned int number = 0;

	for (unsigned int i = 0; i < index; i++)
		number += strchr("ola", row->shape[i]) != NULL;
	return number < 4 ? row->bytes[number] : 0;
}

long nvml_row_bytes(const struct nvml_row *row, unsigned int index, const uint64_t *arguments,
		    const void *at, size_t room, const void *count)
{
	uint32_t number;

	switch (row->shape[index]) {
	case 'o':
		return row_number(row, index);
	case 'v':
		if (room < sizeof(number))
			return -1;
		memcpy(&number, at, sizeof(number));
		number &= 0xffffff;
		return number >= sizeof(number) && number <= STRUCTURE_BYTES_MAX ? (long)number
										 : -1;
	case 's':
		number = (uint32_t)arguments[index + 1];
		return number <= STRING_BYTES_MAX ? (long)number : -1;
	case 'c':
		return sizeof(number);
	case 'l':
		memcpy(&number, count, sizeof(number));
		return number <= NVML_WIRE_ELEMENTS_MAX ? (long)number * row_number(row, index)
							: -1;
	case 'a':
		number = (uint32_t)arguments[index - 1];
		return number <= NVML_WIRE_ELEMENTS_MAX ? (long)number * row_number(row, index)
							: -1;
	default:
		return -1;
	}
}
