/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every row of proto/nvml-wire.h, with the same arguments on a library and through a client of it.
 *
 *	as a library (-DNVML_ROWS_LIBRARY): a libnvidia-ml.so.1 that fills whatever it is given with
 *		bytes that follow from function, argument and values
 *	as a program: nvml_rows CLIENT LIBRARY    calls all of both; prints what differs, then how
 *		many were called
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "cuda/common/nvml_row.h"

#define PATTERN 64u /* elements, bytes of text */

static uint64_t mix(uint64_t hash, uint64_t value)
{
	hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
	return hash ^ hash >> 29;
}

static uint64_t hash_name(const char *name)
{
	uint64_t hash = 1;

	while (*name)
		hash = mix(hash, (unsigned char)*name++);
	return hash;
}

#ifdef NVML_ROWS_LIBRARY
#define EXPORT __attribute__((visibility("default")))
#define A      uint64_t

EXPORT int nvmlInit_v2(void);
EXPORT int nvmlDeviceGetCount_v2(unsigned int *count);
EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device);
int fake(const char *name, const uint64_t *arguments);

static char devices[2];

int nvmlInit_v2(void)
{
	return 0;
}

int nvmlDeviceGetCount_v2(unsigned int *count)
{
	*count = sizeof(devices);
	return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device)
{
	*device = &devices[index];
	return index < sizeof(devices) ? 0 : 2;
}

/* fake - fill what @arguments point to; every fifth function says that it is not supported */
int fake(const char *name, const uint64_t *arguments)
{
	const struct nvml_row *row = nvml_row_find(name);
	uint64_t hash = hash_name(name);
	const void *count = NULL;

	for (unsigned int i = 0; row->shape[i]; i++) {
		char letter = row->shape[i];
		unsigned char *at = (unsigned char *)(uintptr_t)arguments[i];
		long bytes, first = letter == 'v' ? 4 : 0;

		if (letter == 'd')
			hash = mix(hash, arguments[i] - (uint64_t)(uintptr_t)devices);
		else if (!nvml_row_points(letter))
			hash = mix(hash, letter == 'x' ? arguments[i] : (uint32_t)arguments[i]);
		if (!nvml_row_points(letter))
			continue;
		bytes = at ? nvml_row_bytes(row, i, arguments, at, 4, count) : 0;
		count = at;
		if (letter == 'c')
			continue;
		for (long byte = first; byte < bytes; byte++)
			at[byte] = (unsigned char)mix(hash, (uint64_t)byte * 8 + i);
	}
	return hash_name(name) % 5 ? 0 : 3;
}

#define FAKE(name, ...)                                                  \
	EXPORT int name(A a, A b, A c, A d, A e, A f);                   \
	int name(A a, A b, A c, A d, A e, A f)                           \
	{                                                                \
		const A all[NVML_WIRE_ARGUMENTS] = { a, b, c, d, e, f }; \
		return fake(#name, all);                                 \
	}
NVML_ROWS(FAKE)

#else
#include <dlfcn.h>

typedef int (*function)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);

/* What a call leaves behind: its result, and its arguments' memory. */
struct outcome {
	int result;
	unsigned char memory[NVML_WIRE_ARGUMENTS][PATTERN * 64];
};

/* run - function @name of @library, with arguments that follow from their places */
static void run(void *library, const char *name, const char *shape, struct outcome *outcome)
{
	uint64_t a[NVML_WIRE_ARGUMENTS] = { 0 };
	const uint32_t version = 3u << 24 | 200, count = PATTERN;
	int (*find)(unsigned int, void **) =
		(int (*)(unsigned int, void **))dlsym(library, "nvmlDeviceGetHandleByIndex_v2");
	function called = (function)dlsym(library, name);
	void *device = NULL;

	memset(outcome, 0x5a, sizeof(*outcome));
	outcome->result = -1;
	if (!called || !find || find(1, &device))
		return;
	for (unsigned int i = 0; shape[i]; i++) {
		a[i] = shape[i] == 'd'		   ? (uint64_t)(uintptr_t)device
		       : nvml_row_points(shape[i]) ? (uint64_t)(uintptr_t)outcome->memory[i]
		       : shape[i] == 'x'	   ? 0x123456789abcdefu
						   : 0xdeadbeef00000000u + PATTERN;
		if (shape[i] == 'v')
			memcpy(outcome->memory[i], &version, sizeof(version));
		if (shape[i] == 'c')
			memcpy(outcome->memory[i], &count, sizeof(count));
	}
	outcome->result = called(a[0], a[1], a[2], a[3], a[4], a[5]);
}

#define NAMED(name, count, shape, ...) { #name, shape },
static const char *const names[][2] = { NVML_ROWS(NAMED) };

int main(int argc, char **argv)
{
	static struct outcome direct, remote;
	void *library, *client;
	unsigned int wrong = 0, failed = 0, count = sizeof(names) / sizeof(*names);
	int (*init)(void);

	if (argc != 3) {
		fprintf(stderr, "usage: nvml_rows CLIENT LIBRARY\n");
		return 2;
	}
	client = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
	library = dlopen(argv[2], RTLD_NOW | RTLD_LOCAL);
	init = client ? (int (*)(void))dlsym(client, "nvmlInit_v2") : NULL;
	if (!library || !init || init()) {
		fprintf(stderr, "%s\n",
			library && client ? "the client does not start" : dlerror());
		return 1;
	}
	for (unsigned int i = 0; i < count; i++) {
		run(library, names[i][0], names[i][1], &direct);
		run(client, names[i][0], names[i][1], &remote);
		failed += direct.result != 0;
		if (memcmp(&direct, &remote, sizeof(direct))) {
			printf("%s: %d, and %d remoted\n", names[i][0], direct.result,
			       remote.result);
			wrong++;
		}
	}
	printf("%u functions, %u of them say no, %u differ\n", count, failed, wrong);
	return wrong || failed == count || hash_name("") != 1;
}
#endif
