/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a fuzz target without a fuzzer: over its corpus, and over what small damage makes of it.
 *
 * So each decoder's refusals are executed in every build, by every compiler and sanitizer, and
 * always the same ones: every input as it is, cut short, with single bytes changed at places all
 * over it, and with several bytes drawn from fixed seeds. A slow target leaves each after SECONDS.
 *
 * usage: replay_NAME [FOLDER...]    folders of inputs; without one it begins with zeroes and noise
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

#define SECONDS	    1.0 /* for each input of the corpus */
#define INPUT_BYTES (1u << 20)
#define CUTS	    64u	 /* lengths of each input */
#define PLACES	    128u /* single bytes of each input */
#define DRAWS	    512u /* inputs with several bytes changed */
#define ZEROES	    256u /* the first input, where there is no corpus */

static double ends;
static unsigned long inputs;

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* One input, in memory of its very size, so that a sanitizer sees what reads behind it. */
static void run(const uint8_t *data, size_t bytes)
{
	uint8_t *copy = malloc(bytes ? bytes : 1);

	if (!copy)
		abort();
	memcpy(copy, data, bytes);
	LLVMFuzzerTestOneInput(copy, bytes);
	free(copy);
	inputs++;
}

/* Numbers that are the same in each run (xorshift64). */
static uint64_t draw(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void run_cut(const uint8_t *data, size_t bytes)
{
	for (size_t i = 0; i < CUTS && now() < ends; i++)
		run(data, bytes * i / CUTS);
}

static void run_changed(uint8_t *data, size_t bytes)
{
	static const uint8_t flips[] = { 0x01, 0x80, 0xff };
	size_t places = bytes < PLACES ? bytes : PLACES;

	for (size_t i = 0; i < places && now() < ends; i++) {
		size_t at = bytes * i / places;
		uint8_t was = data[at];

		for (size_t k = 0; k < sizeof(flips); k++) {
			data[at] = was ^ flips[k];
			run(data, bytes);
		}
		data[at] = 0;
		run(data, bytes);
		data[at] = was;
	}
}

static void run_drawn(const uint8_t *data, size_t bytes, uint64_t seed)
{
	uint8_t *changed = malloc(bytes);
	uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;

	if (!changed)
		abort();
	for (size_t i = 0; i < DRAWS && now() < ends; i++) {
		size_t count = 1 + draw(&state) % 8;

		memcpy(changed, data, bytes);
		while (count--)
			changed[draw(&state) % bytes] = (uint8_t)draw(&state);
		run(changed, bytes);
	}
	free(changed);
}

static void run_all(uint8_t *data, size_t bytes)
{
	run(data, bytes);
	if (!bytes)
		return;
	run_cut(data, bytes);
	run_changed(data, bytes);
	run_drawn(data, bytes, bytes);
}

/* Every file of a folder; 0 or -errno. */
static int run_folder(const char *folder, uint8_t *data)
{
	DIR *directory = opendir(folder);
	struct dirent *entry;
	char path[4096];

	if (!directory)
		return -errno;
	while ((entry = readdir(directory))) {
		FILE *file;
		size_t bytes;

		if (*entry->d_name == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		file = fopen(path, "rb");
		if (!file)
			break;
		bytes = fread(data, 1, INPUT_BYTES, file);
		fclose(file);
		ends = now() + SECONDS;
		run_all(data, bytes);
	}
	closedir(directory);
	return entry ? -errno : 0;
}

int main(int argc, char **argv)
{
	uint8_t *data = calloc(1, INPUT_BYTES);
	uint64_t state = 1;

	if (!data)
		return EXIT_FAILURE;
	for (int i = 1; i < argc; i++) {
		int status = run_folder(argv[i], data);

		if (status < 0) {
			fprintf(stderr, "%s: %s\n", argv[i], strerror(-status));
			return EXIT_FAILURE;
		}
	}
	if (argc < 2) {
		ends = now() + SECONDS;
		run_all(data, ZEROES);
		for (size_t i = 0; i < ZEROES; i++)
			data[i] = (uint8_t)draw(&state);
		run_all(data, ZEROES);
	}
	free(data);
	printf("%lu inputs\n", inputs);
	return inputs ? EXIT_SUCCESS : EXIT_FAILURE;
}
