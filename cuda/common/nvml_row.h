/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rows of proto/nvml-wire.h as a table, and how many bytes an argument points to: the same on
 * both sides. Stateless.
 */
#ifndef CAUSEWAY_CUDA_COMMON_NVML_ROW_H
#define CAUSEWAY_CUDA_COMMON_NVML_ROW_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/nvml-wire.h"

/* A function of NVML: how its arguments travel (nvml-wire.h), and whose view it shows. */
struct nvml_row {
	const char *name;
	const char *shape;
	uint16_t bytes[4];
	enum nvml_view view;
};

/* nvml_row_find - the row of that name, or NULL */
const struct nvml_row *nvml_row_find(const char *name);

/* nvml_row_points - whether argument @letter is a pointer */
bool nvml_row_points(char letter);

/**
 * nvml_row_bytes - what argument @index of @row points to
 * @arguments: all arguments' values
 * @at: what it points to, of @room readable bytes (a structure that says its own size)
 * @count: what the pointer before it points to, for a list; NULL elsewhere
 *
 * Return: bytes, or -1 where the size is none that is taken.
 */
long nvml_row_bytes(const struct nvml_row *row, unsigned int index, const uint64_t *arguments,
		    const void *at, size_t room, const void *count);

/* nvml_row_pad - @bytes as they take room in a message */
static inline size_t nvml_row_pad(size_t bytes)
{
	return (bytes + 7) & ~(size_t)7;
}

#endif
