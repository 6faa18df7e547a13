/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sections of arrays: which bytes of a memory they are, and moving these to and from memory where
 * they lie one behind the other. Both sides use this. No state.
 */
#ifndef CAUSEWAY_SCIF_COI_SECTION_H
#define CAUSEWAY_SCIF_COI_SECTION_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/coi.h"

/* A section, checked: nothing about it overflows. Its elements are numbered in the order of the
 * last dimension. */
struct section {
	uint64_t element; /* bytes of one */
	uint64_t counts[COI_DIMENSIONS];
	uint64_t steps[COI_DIMENSIONS]; /* bytes from one index to the next */
	uint64_t elements;
	uint64_t row;  /* elements that follow each other without a gap, from each multiple of it */
	uint64_t span; /* bytes from the first element to behind the last */
};

/* section_set - every dimension, those that there are not with one index; false when one has no
 * index, elements have no bytes, or numbers overflow */
bool section_set(struct section *section, uint64_t element, const uint64_t *counts,
		 const uint64_t *steps);
/* section_at - bytes from the first element to that of number @number */
uint64_t section_at(const struct section *section, uint64_t number);
/* section_move - elements @first to @first + @count - 1, between the memory that the section
 * begins at and @packed: to the latter when @packs. Nothing between the elements is touched. */
void section_move(const struct section *section, unsigned char *memory, uint64_t first,
		  uint64_t count, unsigned char *packed, bool packs);

#endif
