/* SPDX-License-Identifier: Apache-2.0 */
/* Two libraries for the sink of coi_cases.c: the second needs the first. */
#include <stdint.h>
#include <string.h>

#include <sink/COIPipeline_sink.h>

COINATIVELIBEXPORT uint32_t library_number(void);

#ifdef FIRST
COINATIVELIBEXPORT uint32_t library_number(void)
{
	return 4242;
}
#else
COINATIVELIBEXPORT void library_answer(uint32_t count, void **buffers, uint64_t *lengths,
				       void *misc, uint16_t misc_bytes, void *answer,
				       uint16_t answer_bytes);

COINATIVELIBEXPORT void library_answer(uint32_t count, void **buffers, uint64_t *lengths,
				       void *misc, uint16_t misc_bytes, void *answer,
				       uint16_t answer_bytes)
{
	uint32_t number = library_number();

	(void)count;
	(void)buffers;
	(void)lengths;
	(void)misc;
	(void)misc_bytes;
	memcpy(answer, &number, answer_bytes < sizeof(number) ? answer_bytes : sizeof(number));
}
#endif
