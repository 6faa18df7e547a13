/* SPDX-License-Identifier: Apache-2.0 */
/* Sections of arrays; see section.h. */
#include "scif/coi/section.h"

#include <string.h>

bool section_set(struct section *section, uint64_t element, const uint64_t *counts,
		 const uint64_t *steps)
{
	uint64_t bytes;
	bool gap = false;

	*section = (struct section){ .element = element, .elements = 1, .row = 1, .span = element };
	for (unsigned int i = COI_DIMENSIONS; i-- > 0;) {
		section->counts[i] = counts[i];
		section->steps[i] = steps[i];
		if (counts[i] == 0 || __builtin_mul_overflow(counts[i] - 1, steps[i], &bytes) ||
		    __builtin_add_overflow(section->span, bytes, &section->span) ||
		    __builtin_mul_overflow(section->elements, counts[i], &section->elements) ||
		    __builtin_mul_overflow(section->elements, element, &bytes))
			return false;
		gap = gap || (counts[i] > 1 && steps[i] != section->row * element);
		if (!gap)
			section->row = section->elements;
	}
	return element > 0 && section->span <= INT64_MAX;
}

uint64_t section_at(const struct section *section, uint64_t number)
{
	uint64_t bytes = 0;

	for (unsigned int i = COI_DIMENSIONS; i-- > 0; number /= section->counts[i])
		bytes += number % section->counts[i] * section->steps[i];
	return bytes;
}

void section_move(const struct section *section, unsigned char *memory, uint64_t first,
		  uint64_t count, unsigned char *packed, bool packs)
{
	for (uint64_t end = first + count, some; first < end; first += some) {
		unsigned char *at = memory + section_at(section, first);
		size_t bytes;

		some = section->row - first % section->row;
		some = some < end - first ? some : end - first;
		bytes = (size_t)(some * section->element);
		memmove(packs ? packed : at, packs ? at : packed, bytes);
		packed += bytes;
	}
}
