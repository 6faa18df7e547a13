/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies through the driver API: pageable, pinned and registered memory, both ways, sizes around
 * every limit at which an implementation may change its way, several threads at once, and again in
 * a context made after the first one has ended. Every byte that comes back is compared.
 */
#include "tests/programs/driver.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS	 3
#define LARGEST	 ((5u << 20) + 5)
#define ROUNDS	 3
#define PAIR_GAP 4096 /* between the two halves of a pinned block */

static const size_t sizes[] = {
	1,	    4095,	    4096,     65535,   65537, (128u << 10) - 1,
	128u << 10, (1u << 20) + 3, 2u << 20, LARGEST,
};
#define SIZES (sizeof(sizes) / sizeof(*sizes))

static void fill(unsigned char *at, size_t bytes, uint32_t seed)
{
	for (size_t i = 0; i + sizeof(seed) <= bytes; i += sizeof(seed)) {
		seed = seed * 1664525u + 1013904223u;
		memcpy(at + i, &seed, sizeof(seed));
	}
	memset(at + bytes / sizeof(seed) * sizeof(seed), (int)seed, bytes % sizeof(seed));
}

/* round_trip - to the device and back; how many sizes came back wrong */
static int round_trips(unsigned char *from, unsigned char *to, uint32_t seed)
{
	CUdeviceptr device;
	int wrong = 0;

	CHECK(driver.memory_allocate(&device, LARGEST));
	for (size_t i = 0; i < SIZES; i++) {
		fill(from, sizes[i], seed + i);
		memset(to, 0, sizes[i]);
		CHECK(driver.memory_set(device, 0xee, sizes[i]));
		CHECK(driver.copy_in(device, from, sizes[i]));
		/* A pageable block may be written again as soon as the copy has returned. */
		if (seed % 2)
			memset(from, 0x55, sizes[i]);
		CHECK(driver.copy_out(to, device, sizes[i]));
		fill(from, sizes[i], seed + i);
		wrong += memcmp(from, to, sizes[i]) != 0;
	}
	CHECK(driver.memory_free(device));
	return wrong;
}

static int pageable(uint32_t seed)
{
	unsigned char *from = malloc(LARGEST), *to = malloc(LARGEST);
	int wrong = round_trips(from, to, seed);

	free(from);
	free(to);
	return wrong;
}

static int pinned(uint32_t seed)
{
	unsigned char *block;
	int wrong;

	CHECK(driver.host_allocate((void **)&block, 2 * LARGEST + PAIR_GAP, 0));
	wrong = round_trips(block, block + LARGEST + PAIR_GAP, seed);
	CHECK(driver.host_free(block));
	return wrong;
}

/* registered - the program's own memory, whole pages or not; its contents outlive both changes */
static int registered(uint32_t seed, size_t offset)
{
	size_t bytes = 2 * LARGEST + PAIR_GAP;
	unsigned char *block = aligned_alloc(4096, (bytes + offset + 4095) & ~(size_t)4095);
	unsigned char *copy = malloc(bytes);
	int wrong;

	fill(block + offset, bytes, seed);
	memcpy(copy, block + offset, bytes);
	CHECK(driver.host_register(block + offset, offset ? bytes : bytes & ~(size_t)4095, 0));
	wrong = memcmp(block + offset, copy, bytes) != 0;
	wrong += round_trips(block + offset, block + offset + LARGEST + PAIR_GAP, seed);
	fill(block + offset, bytes, seed + 1);
	memcpy(copy, block + offset, bytes);
	CHECK(driver.host_unregister(block + offset));
	wrong += memcmp(block + offset, copy, bytes) != 0;
	free(block);
	free(copy);
	return wrong;
}

/* asynchronous - in a stream, through one pinned block, seen after the stream is waited for */
static int asynchronous(void)
{
	unsigned char *block;
	CUdeviceptr device;
	CUstream stream;
	int wrong;

	CHECK(driver.stream_create(&stream, 0));
	CHECK(driver.host_allocate((void **)&block, 2 * LARGEST, 0));
	CHECK(driver.memory_allocate(&device, LARGEST));
	fill(block, LARGEST, 77);
	CHECK(driver.copy_in_async(device, block, LARGEST, stream));
	CHECK(driver.copy_out_async(block + LARGEST, device, LARGEST, stream));
	CHECK(driver.stream_synchronize(stream));
	wrong = memcmp(block, block + LARGEST, LARGEST) != 0;
	CHECK(driver.memory_free(device));
	CHECK(driver.host_free(block));
	CHECK(driver.stream_destroy(stream));
	return wrong;
}

static CUcontext context;

static void *thread_main(void *number)
{
	uint32_t seed = 1000 * (uint32_t)(uintptr_t)number;
	uintptr_t wrong = 0;

	CHECK(driver.context_set_current(context));
	for (int i = 0; i < ROUNDS; i++)
		wrong += pageable(seed + 10 * i) + pinned(seed + 10 * i + 5) +
			 registered(seed + 10 * i + 6, i ? 0 : 40);
	return (void *)wrong;
}

static int threads(void)
{
	pthread_t made[THREADS];
	int wrong = 0;

	for (uintptr_t i = 0; i < THREADS; i++)
		if (pthread_create(&made[i], NULL, thread_main, (void *)(i + 1)))
			exit(1);
	for (int i = 0; i < THREADS; i++) {
		void *result;

		pthread_join(made[i], &result);
		wrong += (int)(uintptr_t)result;
	}
	return wrong;
}

int main(int argc, char **argv)
{
	int wrong[5], failed = 0;

	driver_begin("driver_copies", argc, argv);
	wrong[0] = pageable(1) + pageable(2);
	wrong[1] = pinned(4) + registered(8, 0) + registered(10, 24);
	wrong[2] = asynchronous();
	CHECK(driver.context_get_current(&context));
	wrong[3] = threads();
	/* What an implementation pinned for the first context must not be missed in the next. */
	CHECK(driver.primary_reset(0));
	CHECK(driver.primary_retain(&context, 0));
	CHECK(driver.context_set_current(context));
	wrong[4] = pageable(3) + pinned(6);
	for (int i = 0; i < 5; i++)
		failed += wrong[i];
	printf("driver_copies: wrong: %d pageable, %d pinned, %d asynchronous, %d in threads, "
	       "%d in a second context\n",
	       wrong[0], wrong[1], wrong[2], wrong[3], wrong[4]);
	printf("driver_copies: %s\n", failed ? "FAILED" : "PASSED");
	return failed ? 1 : 0;
}
