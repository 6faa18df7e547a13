/* SPDX-License-Identifier: Apache-2.0 */
/* The card's side of card_sharing.c: sums of a buffer, by as many threads as the card gives. */
#include <common/COIResult_common.h>
#include <sink/COIPipeline_sink.h>
#include <sink/COIProcess_sink.h>
#include <stdint.h>
#include <string.h>

COINATIVELIBEXPORT void reduce(uint32_t count, void **buffers, uint64_t *lengths, void *misc,
			       uint16_t misc_bytes, void *answer, uint16_t answer_bytes);

COINATIVELIBEXPORT void reduce(uint32_t count, void **buffers, uint64_t *lengths, void *misc,
			       uint16_t misc_bytes, void *answer, uint16_t answer_bytes)
{
	const double *data = count == 1 ? buffers[0] : NULL;
	long elements = count == 1 ? (long)(lengths[0] / sizeof(*data)) : 0;
	unsigned int reductions = 0;
	double total = 0;

	if (misc_bytes == sizeof(reductions))
		memcpy(&reductions, misc, sizeof(reductions));
	for (unsigned int i = 0; i < reductions; i++) {
		double sum = 0;

#pragma omp parallel for reduction(+ : sum)
		for (long k = 0; k < elements; k++)
			sum += data[k];
		total += sum;
	}
	if (answer_bytes == sizeof(total))
		memcpy(answer, &total, sizeof(total));
}

int main(void)
{
	if (COIPipelineStartExecutingRunFunctions() != COI_SUCCESS)
		return 2;
	COIProcessWaitForShutdown();
	return 0;
}
