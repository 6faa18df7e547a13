/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Times matrix multiplication and reduction on the CUDA device that libcuda.so.1 offers, and the
 * same loops compiled for the CPU with one thread per core, in turn.
 *
 *	softgpu_loops ROUNDS CORES
 *
 * One line of JSON for each round and each of the two: microseconds on the device, processor time
 * that the device's cores took in them, and microseconds on the host. Exit status 1 when the
 * results of the two differ.
 */
#include "tests/programs/driver.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define EDGE	    512 /* of the three matrices */
#define TILE_EDGE   32
#define ELEMENTS    (1 << 24)
#define BLOCKS	    1024
#define THREADS	    256
#define THREADS_MAX 256

static float a[EDGE][EDGE], b[EDGE][EDGE], c[EDGE][EDGE], device_c[EDGE][EDGE];
static int numbers[ELEMENTS];
static long cores;

struct device_time {
	double wall_us, processor_us;
};

struct slice {
	pthread_t thread;
	long first, end;
	long long sum;
};

static void *host_matmul(void *argument)
{
	struct slice *slice = argument;

	for (long row = slice->first; row < slice->end; row++) {
		memset(c[row], 0, sizeof(c[row]));
		for (int k = 0; k < EDGE; k++)
			for (int column = 0; column < EDGE; column++)
				c[row][column] += a[row][k] * b[k][column];
	}
	return NULL;
}

static void *host_reduction(void *argument)
{
	struct slice *slice = argument;

	slice->sum = 0;
	for (long i = slice->first; i < slice->end; i++)
		slice->sum += numbers[i];
	return NULL;
}

/* One thread per core, each with its share of [0, count); the sum of their sums. */
static long long run_on_host(void *(*work)(void *), long count, double *us)
{
	static struct slice slices[THREADS_MAX];
	double start = driver_now_us();
	long long sum = 0;

	for (long i = 0; i < cores; i++) {
		slices[i].first = count * i / cores;
		slices[i].end = count * (i + 1) / cores;
		if (pthread_create(&slices[i].thread, NULL, work, &slices[i])) {
			fprintf(stderr, "softgpu_loops: cannot start a thread\n");
			exit(1);
		}
	}
	for (long i = 0; i < cores; i++) {
		pthread_join(slices[i].thread, NULL);
		sum += slices[i].sum;
	}
	*us = driver_now_us() - start;
	return sum;
}

/* Of all threads of this process. */
static double processor_us(void)
{
	struct timespec used;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return used.tv_sec * 1e6 + used.tv_nsec / 1e3;
}

static struct device_time device_run(CUfunction kernel, unsigned int grid_x, unsigned int grid_y,
				     unsigned int block_x, unsigned int block_y, void **parameters)
{
	struct device_time start = { driver_now_us(), processor_us() };

	CHECK(driver.launch(kernel, grid_x, grid_y, 1, block_x, block_y, 1, 0, NULL, parameters,
			    NULL));
	CHECK(driver.context_synchronize());
	return (struct device_time){ driver_now_us() - start.wall_us,
				     processor_us() - start.processor_us };
}

static void report(const char *what, struct device_time device, double host_us)
{
	printf("{\"what\": \"%s\", \"device_us\": %.1f, \"device_processor_us\": %.1f, "
	       "\"host_us\": %.1f}\n",
	       what, device.wall_us, device.processor_us, host_us);
}

static int measure_matmul(int rounds)
{
	CUfunction kernel = driver_kernel("matmul");
	CUdeviceptr at_a, at_b, at_c;
	int edge = EDGE;
	void *parameters[] = { &at_a, &at_b, &at_c, &edge, &edge, &edge };
	uint32_t state = 5;
	struct device_time device;
	double host;

	for (int i = 0; i < EDGE * EDGE; i++) {
		a[i / EDGE][i % EDGE] = driver_between(&state, -8, 8);
		b[i / EDGE][i % EDGE] = driver_between(&state, -8, 8);
	}
	CHECK(driver.memory_allocate(&at_a, sizeof(a)));
	CHECK(driver.memory_allocate(&at_b, sizeof(b)));
	CHECK(driver.memory_allocate(&at_c, sizeof(c)));
	CHECK(driver.copy_in(at_a, a, sizeof(a)));
	CHECK(driver.copy_in(at_b, b, sizeof(b)));
	for (int round = -1; round < rounds; round++) {
		device = device_run(kernel, EDGE / TILE_EDGE, EDGE / TILE_EDGE, TILE_EDGE,
				    TILE_EDGE, parameters);
		run_on_host(host_matmul, EDGE, &host);
		if (round >= 0) /* the first one warms up */
			report("matmul", device, host);
	}
	CHECK(driver.copy_out(device_c, at_c, sizeof(device_c)));
	return memcmp(device_c, c, sizeof(c)) == 0;
}

static int measure_reduction(int rounds)
{
	CUfunction kernel = driver_kernel("reduction");
	CUdeviceptr at_numbers, at_total;
	int elements = ELEMENTS, right = 1;
	void *parameters[] = { &at_numbers, &elements, &at_total };
	uint32_t state = 6;
	long long sum, total;
	struct device_time device;
	double host;

	for (int i = 0; i < ELEMENTS; i++)
		numbers[i] = driver_between(&state, -1000000, 1000000);
	CHECK(driver.memory_allocate(&at_numbers, sizeof(numbers)));
	CHECK(driver.memory_allocate(&at_total, sizeof(total)));
	CHECK(driver.copy_in(at_numbers, numbers, sizeof(numbers)));
	for (int round = -1; round < rounds; round++) {
		CHECK(driver.memory_set(at_total, 0, sizeof(total)));
		CHECK(driver.context_synchronize());
		device = device_run(kernel, BLOCKS, 1, THREADS, 1, parameters);
		sum = run_on_host(host_reduction, ELEMENTS, &host);
		CHECK(driver.copy_out(&total, at_total, sizeof(total)));
		right = right && total == sum;
		if (round >= 0)
			report("reduction", device, host);
	}
	return right;
}

int main(int argc, char **argv)
{
	char *device_only[] = { argv[0], NULL };
	int rounds, right;

	if (argc != 3 || (rounds = atoi(argv[1])) < 1 || (cores = atol(argv[2])) < 1 ||
	    cores > THREADS_MAX) {
		fprintf(stderr, "usage: softgpu_loops ROUNDS CORES\n");
		return 2;
	}
	driver_begin("softgpu_loops", 1, device_only);
	right = measure_matmul(rounds);
	right = measure_reduction(rounds) && right;
	return driver_end(right);
}
