/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernels of the offload benchmarks, as run functions: single-precision matrix product, sparse
 * matrix times vector, sum of an array. Threads as the task says; results are the same for any
 * number of them, since each row or block is one thread's.
 */
#include <string.h>

#include <sink/COIPipeline_sink.h>
#include <sink/COIProcess_sink.h>

#include "bench/offload.h"

#define ROWS	    4	/* of C in registers */
#define LANES	    16	/* of a row */
#define DEPTH	    256 /* of A and B in the cache */
#define SUM_BLOCK   4096
#define SUM_LANES   8
#define MANY_LEVELS __attribute__((target_clones("avx512f", "arch=haswell", "default")))

typedef float lane __attribute__((vector_size(LANES * sizeof(float)), aligned(4)));
typedef double sum_lane __attribute__((vector_size(SUM_LANES * sizeof(double)), aligned(8)));

/* ROWS × LANES of C, over DEPTH of the inner dimension. */
MANY_LEVELS
static void gemm_tile(float *c, const float *a, const float *b, uint32_t n, uint32_t k,
		      uint32_t depth)
{
	lane sums[ROWS];

	for (int r = 0; r < ROWS; r++)
		memcpy(&sums[r], c + (size_t)r * n, sizeof(lane));
	for (uint32_t p = 0; p < depth; p++) {
		lane row;

		memcpy(&row, b + (size_t)p * n, sizeof(row));
		for (int r = 0; r < ROWS; r++)
			sums[r] += a[(size_t)r * k + p] * row;
	}
	for (int r = 0; r < ROWS; r++)
		memcpy(c + (size_t)r * n, &sums[r], sizeof(lane));
}

COINATIVELIBEXPORT void gemm(uint32_t count, void **buffers, uint64_t *lengths, void *misc,
			     uint16_t misc_bytes, void *answer, uint16_t answer_bytes);

/* Buffers: A, B, C. Dimensions are multiples of ROWS and LANES. */
COINATIVELIBEXPORT void gemm(uint32_t count, void **buffers, uint64_t *lengths, void *misc,
			     uint16_t misc_bytes, void *answer, uint16_t answer_bytes)
{
	const struct offload_task *task = misc;
	const float *a = buffers[0], *b = buffers[1];
	uint32_t m = task->m, n = task->n, k = task->k;
	float *c = buffers[2];

	(void)count;
	(void)lengths;
	(void)misc_bytes;
	(void)answer;
	(void)answer_bytes;
#pragma omp parallel for num_threads(task->threads) schedule(static)
	for (uint32_t rows = 0; rows < m; rows += ROWS * 8) {
		uint32_t end = rows + ROWS * 8 < m ? rows + ROWS * 8 : m;

		memset(c + (size_t)rows * n, 0, (size_t)(end - rows) * n * sizeof(*c));
		for (uint32_t p = 0; p < k; p += DEPTH) {
			uint32_t depth = p + DEPTH < k ? DEPTH : k - p;

			for (uint32_t column = 0; column < n; column += LANES) {
				for (uint32_t row = rows; row < end; row += ROWS)
					gemm_tile(c + (size_t)row * n + column,
						  a + (size_t)row * k + p,
						  b + (size_t)p * n + column, n, k, depth);
			}
		}
	}
}

COINATIVELIBEXPORT void spmv(uint32_t count, void **buffers, uint64_t *lengths, void *misc,
			     uint16_t misc_bytes, void *answer, uint16_t answer_bytes);

/* Buffers: values, columns, first index of each row and behind the last, vector, result. */
COINATIVELIBEXPORT void spmv(uint32_t count, void **buffers, uint64_t *lengths, void *misc,
			     uint16_t misc_bytes, void *answer, uint16_t answer_bytes)
{
	const struct offload_task *task = misc;
	const double *values = buffers[0], *vector = buffers[3];
	const uint32_t *columns = buffers[1], *first = buffers[2];
	double *result = buffers[4];

	(void)count;
	(void)lengths;
	(void)misc_bytes;
	(void)answer;
	(void)answer_bytes;
#pragma omp parallel for num_threads(task->threads) schedule(static)
	for (uint32_t row = 0; row < task->m; row++) {
		double sum = 0;

		for (uint32_t i = first[row]; i < first[row + 1]; i++)
			sum += values[i] * vector[columns[i]];
		result[row] = sum;
	}
}

/* A block's sum, lane by lane. */
MANY_LEVELS
static double sum_block(const double *values, uint64_t count)
{
	sum_lane sums = { 0 };
	double total = 0;

	for (uint64_t i = 0; i + SUM_LANES <= count; i += SUM_LANES) {
		sum_lane part;

		memcpy(&part, values + i, sizeof(part));
		sums += part;
	}
	for (int i = 0; i < SUM_LANES; i++)
		total += sums[i];
	return total;
}

COINATIVELIBEXPORT void reduction(uint32_t count, void **buffers, uint64_t *lengths, void *misc,
				  uint16_t misc_bytes, void *answer, uint16_t answer_bytes);

/* Buffer: doubles, a multiple of SUM_BLOCK. The answer is their sum. */
COINATIVELIBEXPORT void reduction(uint32_t count, void **buffers, uint64_t *lengths, void *misc,
				  uint16_t misc_bytes, void *answer, uint16_t answer_bytes)
{
	const struct offload_task *task = misc;
	uint64_t blocks = lengths[0] / sizeof(double) / SUM_BLOCK;
	const double *values = buffers[0];
	double total = 0;

	(void)count;
	(void)task; /* without OpenMP there is one thread */
	(void)misc_bytes;
	/* Whole numbers: no order of the additions changes the sum. */
#pragma omp parallel for num_threads(task->threads) schedule(static) reduction(+ : total)
	for (uint64_t i = 0; i < blocks; i++)
		total += sum_block(values + i * SUM_BLOCK, SUM_BLOCK);
	memcpy(answer, &total, answer_bytes < sizeof(total) ? answer_bytes : sizeof(total));
}

int main(void)
{
	if (COIPipelineStartExecutingRunFunctions() != COI_SUCCESS)
		return 1;
	COIProcessWaitForShutdown();
	return 0;
}
