/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Times of what a CUDA program does most, through whichever libcuda.so.1 the loader finds: run
 * natively and as a client in turn by bench/cuda-gpu.py.
 *
 *	cuda_gpu [SCALE [N]]	SCALE divides the large sizes, for devices made of a processor;
 *				with N: N samples of h2d_pageable_34, whole, and of matmul_total_ms
 *				alone, for processors that are translated; with N of 1 the product
 *				is not warmed up
 *
 * Output: one line of JSON, {"NAME": [samples], ...}
 *	h2d_pageable_34, d2h_pageable_34, ..._256	GB/s of 2112 x 4224 floats, and of 256 MiB
 *	h2d_pinned_256, d2h_pinned_256			the same from memory of cuMemHostAlloc
 *	launch_issue_us		time that a cuLaunchKernel takes the caller, queue not full
 *	launch_sync_us		cuLaunchKernel of an empty grid and cuCtxSynchronize
 *	small_h2d_us, small_d2h_us	a copy of 4 KiB, pageable
 *	matmul_total_ms		two matrices to the device, their product, the product back
 * A wrong byte or product ends it with exit status 1.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bare.h"
#include "tests/programs/driver.h"

#define SAMPLES	      9 /* at most */
#define WARM	      2
#define SMALL_BYTES   4096u
#define SMALL_REPEATS 200
/* Fewer launches than a device's queue holds, so that issuing never waits for the device. */
#define LAUNCHES  400
#define ROWS	  2112
#define DEPTH	  4224
#define TILE_EDGE 32

static const char *separator = "";
static int sample_count = SAMPLES;

static void print_samples(const char *name, const double *samples)
{
	printf("%s", separator);
	bare_print(name, samples, (unsigned int)sample_count);
	separator = ", ";
}

/* A sample index for loop counters that begin below zero: warm-ups are overwritten. */
static int sample(int i)
{
	return i < 0 ? 0 : i;
}

static void fill(unsigned char *at, size_t bytes, uint32_t seed)
{
	for (size_t i = 0; i < bytes / 4; i++) {
		seed = seed * 1664525u + 1013904223u;
		memcpy(at + i * 4, &seed, 4);
	}
}

/* Both directions of one size from one kind of memory; what comes back is compared. */
static void measure_copies(const char *kind, int mib, size_t bytes, unsigned char *one,
			   unsigned char *other)
{
	double to[SAMPLES], from[SAMPLES], start;
	CUdeviceptr device;
	char name[64];

	CHECK(driver.memory_allocate(&device, bytes));
	for (int i = -WARM; i < sample_count; i++) {
		fill(one, 4096, (uint32_t)i);
		start = bare_now_us();
		CHECK(driver.copy_in(device, one, bytes));
		/* A pageable copy may return before the device has it all. */
		CHECK(driver.context_synchronize());
		to[sample(i)] = bytes / (bare_now_us() - start) / 1e3;
		start = bare_now_us();
		CHECK(driver.copy_out(other, device, bytes));
		from[sample(i)] = bytes / (bare_now_us() - start) / 1e3;
		if (i <= 0 && memcmp(one, other, bytes)) {
			fprintf(stderr, "cuda_gpu: %s copies of %zu bytes: wrong bytes\n", kind,
				bytes);
			exit(1);
		}
	}
	CHECK(driver.memory_free(device));
	snprintf(name, sizeof(name), "h2d_%s_%d", kind, mib);
	print_samples(name, to);
	snprintf(name, sizeof(name), "d2h_%s_%d", kind, mib);
	print_samples(name, from);
}

static void measure_pageable(int mib, size_t bytes)
{
	unsigned char *one = malloc(bytes), *other = malloc(bytes);

	fill(one, bytes, 1);
	memset(other, 0, bytes);
	measure_copies("pageable", mib, bytes, one, other);
	free(one);
	free(other);
}

static void measure_pinned(int mib, size_t bytes)
{
	void *one, *other;

	CHECK(driver.host_allocate(&one, bytes, 0));
	CHECK(driver.host_allocate(&other, bytes, 0));
	fill(one, bytes, 2);
	measure_copies("pinned", mib, bytes, one, other);
	CHECK(driver.host_free(one));
	CHECK(driver.host_free(other));
}

static void measure_small(void)
{
	static unsigned char bytes[SMALL_BYTES];
	double to[SAMPLES], from[SAMPLES], start;
	CUdeviceptr device;

	CHECK(driver.memory_allocate(&device, SMALL_BYTES));
	for (int i = -WARM; i < sample_count; i++) {
		start = bare_now_us();
		for (int repeat = 0; repeat < SMALL_REPEATS; repeat++)
			CHECK(driver.copy_in(device, bytes, SMALL_BYTES));
		to[sample(i)] = (bare_now_us() - start) / SMALL_REPEATS;
		CHECK(driver.context_synchronize());
		start = bare_now_us();
		for (int repeat = 0; repeat < SMALL_REPEATS; repeat++)
			CHECK(driver.copy_out(bytes, device, SMALL_BYTES));
		from[sample(i)] = (bare_now_us() - start) / SMALL_REPEATS;
	}
	CHECK(driver.memory_free(device));
	print_samples("small_h2d_us", to);
	print_samples("small_d2h_us", from);
}

static void measure_launches(void)
{
	CUfunction empty = driver_kernel("vectoradd");
	CUdeviceptr none = 0;
	int elements = 0;
	void *parameters[] = { &none, &none, &none, &elements };
	double issue[SAMPLES], whole[SAMPLES], start;

	for (int i = -WARM; i < sample_count; i++) {
		start = bare_now_us();
		for (int launch = 0; launch < LAUNCHES; launch++)
			CHECK(driver.launch(empty, 1, 1, 1, 32, 1, 1, 0, NULL, parameters, NULL));
		issue[sample(i)] = (bare_now_us() - start) / LAUNCHES;
		CHECK(driver.context_synchronize());
	}
	for (int i = -WARM; i < sample_count; i++) {
		start = bare_now_us();
		for (int launch = 0; launch < LAUNCHES; launch++) {
			CHECK(driver.launch(empty, 1, 1, 1, 32, 1, 1, 0, NULL, parameters, NULL));
			CHECK(driver.context_synchronize());
		}
		whole[sample(i)] = (bare_now_us() - start) / LAUNCHES;
	}
	print_samples("launch_issue_us", issue);
	print_samples("launch_sync_us", whole);
}

/*
 * matmul_blur - fractions in the second row of @a, which matmul_check does not look at
 *
 * A product without any rounding is nothing that programs compute, and it is slow where a processor
 * is translated: QEMU takes the host's own floating point only once the guest's thread has seen an
 * inexact result.
 */
static void matmul_blur(float *a, int depth)
{
	for (int i = 0; i < depth; i++)
		a[depth + i] /= 3;
}

/* matmul_check - some entries of the product of small whole numbers, which is exact */
static void matmul_check(const float *a, const float *b, const float *c, int rows, int depth)
{
	for (int i = 0; i < rows; i += rows / 7) {
		int column = (i * 31) % rows;
		float expected = 0;

		for (int k = 0; k < depth; k++)
			expected += a[(size_t)i * depth + k] * b[(size_t)k * rows + column];
		if (c[(size_t)i * rows + column] != expected) {
			fprintf(stderr, "cuda_gpu: the product is wrong in row %d\n", i);
			exit(1);
		}
	}
}

static void measure_matmul(int scale)
{
	int rows = ROWS / scale, depth = DEPTH / scale, columns = rows;
	size_t factor_bytes = sizeof(float) * rows * depth;
	size_t product_bytes = sizeof(float) * rows * columns;
	float *a = malloc(factor_bytes), *b = malloc(factor_bytes), *c = malloc(product_bytes);
	CUfunction kernel = driver_kernel("matmul");
	CUdeviceptr device_a, device_b, device_c;
	void *parameters[] = { &device_a, &device_b, &device_c, &rows, &depth, &columns };
	unsigned int grid = (rows + TILE_EDGE - 1) / TILE_EDGE;
	double total[SAMPLES], start;
	int warm = sample_count > 1 ? WARM : 0;
	uint32_t state = 3;

	for (size_t i = 0; i < (size_t)rows * depth; i++) {
		a[i] = driver_between(&state, -8, 8);
		b[i] = driver_between(&state, -8, 8);
	}
	matmul_blur(a, depth);
	memset(c, 0, product_bytes);
	CHECK(driver.memory_allocate(&device_a, factor_bytes));
	CHECK(driver.memory_allocate(&device_b, factor_bytes));
	CHECK(driver.memory_allocate(&device_c, product_bytes));
	for (int i = -warm; i < sample_count; i++) {
		start = bare_now_us();
		CHECK(driver.copy_in(device_a, a, factor_bytes));
		CHECK(driver.copy_in(device_b, b, factor_bytes));
		CHECK(driver.launch(kernel, grid, grid, 1, TILE_EDGE, TILE_EDGE, 1, 0, NULL,
				    parameters, NULL));
		CHECK(driver.copy_out(c, device_c, product_bytes));
		total[sample(i)] = (bare_now_us() - start) / 1e3;
	}
	matmul_check(a, b, c, rows, depth);
	CHECK(driver.memory_free(device_a));
	CHECK(driver.memory_free(device_b));
	CHECK(driver.memory_free(device_c));
	print_samples("matmul_total_ms", total);
	free(a);
	free(b);
	free(c);
}

int main(int argc, char **argv)
{
	int scale = argc >= 2 ? atoi(argv[1]) : 1;

	sample_count = argc >= 3 ? atoi(argv[2]) : SAMPLES;
	if (argc > 3 || scale < 1 || scale > 16 || sample_count < 1 || sample_count > SAMPLES) {
		fprintf(stderr, "usage: cuda_gpu [SCALE [N]]   1 to 16, 1 to %d\n", SAMPLES);
		return 2;
	}
	driver_begin("cuda_gpu", 1, argv);
	printf("{");
	if (argc < 3) {
		measure_launches();
		measure_small();
		measure_pageable(34, sizeof(float) * ROWS * DEPTH / scale);
		measure_pageable(256, (256u << 20) / scale);
		measure_pinned(256, (256u << 20) / scale);
	} else {
		measure_pageable(34, sizeof(float) * ROWS * DEPTH);
	}
	measure_matmul(scale);
	printf("}\n");
	return driver_end(1);
}
