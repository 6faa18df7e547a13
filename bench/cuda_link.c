/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a CUDA program meets through its libcuda.so.1, and the bare medium beside it, in one run.
 *
 *	cuda_link BARE_ADDRESS		address of a `link_pingpong serve`, or ring:; "-" for none
 *
 * The link is the one that the client's configuration names; the bare samples are taken in turn
 * with the calls. Output: one line of JSON, then the program waits for the end of its input, so
 * that its worker can be looked at.
 *	bare_us, call_us	round trip of 32 bytes; of a call that does nothing (cuStreamQuery)
 *	launch_us		time that one cuLaunchKernel of an empty grid takes the caller
 *	memcpy_gbps, to_gbps, from_gbps		64 MiB in memory, to the device, from the device
 *	start_ms	from loading the library to a loaded module: holds the worker's whole start
 *	rss_mib, ring_mib	what the library added to this process, and how much of it is ring
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/bare.h"
#include "tests/programs/driver.h"

#define SAMPLES	     15
#define LAUNCHES     256
#define COPY_BYTES   (64u << 20)
#define COPY_SAMPLES 7

static int (*stream_query)(CUstream stream);
static CUfunction empty_kernel;

/* Resident memory of this process in KiB; *ring is the part that maps a ring's memory. */
static long resident_kib(long *ring)
{
	FILE *file = fopen("/proc/self/smaps", "r");
	long total = 0, some;
	unsigned long start, end;
	char line[512];
	int is_ring = 0;

	*ring = 0;
	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2) {
			is_ring = strstr(line, "causeway-ring") != NULL;
		} else if (sscanf(line, "Rss: %ld kB", &some) == 1) {
			total += some;
			*ring += is_ring ? some : 0;
		}
	}
	if (file)
		fclose(file);
	return total;
}

static void empty_call(void *argument)
{
	(void)argument;
	CHECK(stream_query(NULL));
}

static void measure_calls(struct bare *bare)
{
	double bare_us[SAMPLES], call_us[SAMPLES];

	for (int i = -2; i < SAMPLES; i++) {
		int at = i < 0 ? 0 : i;

		bare_us[at] = bare_sample(bare);
		call_us[at] = bare_batch(empty_call, NULL);
	}
	bare_print("bare_us", bare_us, SAMPLES);
	printf(", ");
	bare_print("call_us", call_us, SAMPLES);
	printf(", ");
}

static void measure_launches(void)
{
	CUdeviceptr none = 0;
	int elements = 0;
	void *parameters[] = { &none, &none, &none, &elements };
	double launch_us[SAMPLES];

	for (int i = -2; i < SAMPLES; i++) {
		double start = bare_now_us();

		for (int launch = 0; launch < LAUNCHES; launch++)
			CHECK(driver.launch(empty_kernel, 1, 1, 1, 32, 1, 1, 0, NULL, parameters,
					    NULL));
		launch_us[i < 0 ? 0 : i] = (bare_now_us() - start) / LAUNCHES;
		CHECK(driver.context_synchronize());
	}
	bare_print("launch_us", launch_us, SAMPLES);
	printf(", ");
}

static double gbps(double start_us)
{
	return COPY_BYTES / (bare_now_us() - start_us) / 1e3;
}

static void measure_copies(void)
{
	double plain[COPY_SAMPLES], to[COPY_SAMPLES], from[COPY_SAMPLES];
	unsigned char *one = malloc(COPY_BYTES), *other = malloc(COPY_BYTES);
	CUdeviceptr device;

	memset(one, 1, COPY_BYTES);
	memset(other, 2, COPY_BYTES);
	CHECK(driver.memory_allocate(&device, COPY_BYTES));
	for (int i = -1; i < COPY_SAMPLES; i++) {
		int at = i < 0 ? 0 : i;
		double start = bare_now_us();

		memcpy(other, one, COPY_BYTES);
		__asm__ volatile("" ::: "memory");
		plain[at] = gbps(start);
		/* A copy in may return before it is over. */
		start = bare_now_us();
		CHECK(driver.copy_in(device, one, COPY_BYTES));
		CHECK(driver.context_synchronize());
		to[at] = gbps(start);
		start = bare_now_us();
		CHECK(driver.copy_out(other, device, COPY_BYTES));
		from[at] = gbps(start);
	}
	CHECK(driver.memory_free(device));
	bare_print("memcpy_gbps", plain, COPY_SAMPLES);
	printf(", ");
	bare_print("to_gbps", to, COPY_SAMPLES);
	printf(", ");
	bare_print("from_gbps", from, COPY_SAMPLES);
	printf(", ");
	free(one);
	free(other);
}

int main(int argc, char **argv)
{
	int with_bare = argc == 2 && strcmp(argv[1], "-") != 0;
	long before_kib, after_kib, ring_kib;
	double start_us, start_ms;
	struct bare bare;
	char byte;

	if (argc != 2) {
		fprintf(stderr, "usage: cuda_link BARE_ADDRESS\n");
		return 2;
	}
	if (with_bare)
		bare_open(&bare, argv[1]);
	before_kib = resident_kib(&ring_kib);
	start_us = bare_now_us();
	driver_begin("cuda_link", 1, argv);
	start_ms = (bare_now_us() - start_us) / 1e3;
	*(void **)&stream_query = dlsym(dlopen("libcuda.so.1", RTLD_NOW), "cuStreamQuery");
	empty_kernel = driver_kernel("vectoradd");
	printf("{");
	measure_launches();
	if (with_bare) {
		measure_calls(&bare);
		bare_close(&bare);
	}
	measure_copies();
	CHECK(driver.context_synchronize());
	after_kib = resident_kib(&ring_kib);
	printf("\"start_ms\": %.2f, \"rss_mib\": %.2f, \"ring_mib\": %.2f}\n", start_ms,
	       (after_kib - before_kib) / 1024.0, ring_kib / 1024.0);
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	return driver_end(1) ? 1 : 0;
}
