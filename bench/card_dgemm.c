/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dgemm on OpenBLAS: C = A * B, N x N, so often; for the host and for a card. Prints seconds of
 * the products alone, GFLOPS, and a sum over C that does not depend on the number of threads.
 *
 * usage: card_dgemm N REPEATS THREADS
 */
#include <cblas.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Small whole numbers, so that every order of summation gives the same product. */
static void fill(double *matrix, size_t count, uint32_t seed)
{
	for (size_t i = 0; i < count; i++) {
		seed = seed * 1664525 + 1013904223;
		matrix[i] = (double)(seed >> 28) - 8;
	}
}

/* The element of the product at a row and column, computed without the library. */
static double expected(const double *a, const double *b, size_t n, size_t row, size_t column)
{
	double sum = 0;

	for (size_t k = 0; k < n; k++)
		sum += a[row * n + k] * b[k * n + column];
	return sum;
}

int main(int argc, char **argv)
{
	size_t n = argc == 4 ? strtoul(argv[1], NULL, 10) : 0;
	int repeats = argc == 4 ? atoi(argv[2]) : 0, threads = argc == 4 ? atoi(argv[3]) : 0;
	double *a, *b, *c, begin, seconds, sum = 0;

	if (n == 0 || n > 32768 || repeats < 1 || threads < 1) {
		fprintf(stderr, "usage: card_dgemm N REPEATS THREADS\n");
		return 64;
	}
	a = malloc(n * n * sizeof(*a));
	b = malloc(n * n * sizeof(*b));
	c = calloc(n * n, sizeof(*c));
	if (!a || !b || !c) {
		fprintf(stderr, "card_dgemm: no memory for three matrices of %zu x %zu\n", n, n);
		return 1;
	}
	openblas_set_num_threads(threads);
	fill(a, n * n, 1);
	fill(b, n * n, 2);
	begin = now();
	for (int i = 0; i < repeats; i++)
		cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, (int)n, (int)n, 1, a,
			    (int)n, b, (int)n, 0, c, (int)n);
	seconds = now() - begin;
	for (size_t i = 0; i < n * n; i++)
		sum += c[i];
	for (size_t i = 0; i < 64; i++) {
		size_t row = i * 7919 % n, column = i * 104729 % n;

		if (c[row * n + column] != expected(a, b, n, row, column)) {
			fprintf(stderr, "card_dgemm: wrong result at %zu, %zu\n", row, column);
			return 1;
		}
	}
	printf("seconds %.6f gflops %.3f sum %.0f\n", seconds,
	       2.0 * (double)n * (double)n * (double)n * repeats / seconds / 1e9, sum);
	return 0;
}
