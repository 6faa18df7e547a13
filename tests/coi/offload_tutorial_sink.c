/* SPDX-License-Identifier: Apache-2.0 */
/* The sink's half of the tutorial: two run functions, and a main() that waits for the end. */
#include <stdio.h>

#include <sink/COIPipeline_sink.h>
#include <sink/COIProcess_sink.h>

COINATIVELIBEXPORT void scale(uint32_t count, void **buffers, uint64_t *lengths, void *misc,
			      uint16_t misc_bytes, void *answer, uint16_t answer_bytes);
COINATIVELIBEXPORT void total(uint32_t count, void **buffers, uint64_t *lengths, void *misc,
			      uint16_t misc_bytes, void *answer, uint16_t answer_bytes);

/* Multiplies every value with the number that came along. */
void scale(uint32_t count, void **buffers, uint64_t *lengths, void *misc, uint16_t misc_bytes,
	   void *answer, uint16_t answer_bytes)
{
	double *values = buffers[0];

	(void)count, (void)misc_bytes, (void)answer, (void)answer_bytes;
	for (uint64_t i = 0; i < lengths[0] / sizeof(*values); i++)
		values[i] *= *(double *)misc;
}

/* Returns the sum of all values. */
void total(uint32_t count, void **buffers, uint64_t *lengths, void *misc, uint16_t misc_bytes,
	   void *answer, uint16_t answer_bytes)
{
	const double *values = buffers[0];

	(void)count, (void)misc, (void)misc_bytes, (void)answer_bytes;
	*(double *)answer = 0;
	for (uint64_t i = 0; i < lengths[0] / sizeof(*values); i++)
		*(double *)answer += values[i];
	printf("the sink added %llu values\n", (unsigned long long)(lengths[0] / sizeof(*values)));
	COIProcessProxyFlush();
}

int main(void)
{
	if (COIPipelineStartExecutingRunFunctions() != COI_SUCCESS)
		return 1;
	COIProcessWaitForShutdown();
	return 7;
}
