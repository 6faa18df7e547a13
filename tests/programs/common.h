// SPDX-License-Identifier: Apache-2.0
//
// What the test programs share: options, checked calls, a reproducible sequence of numbers, and
// timing. The programs are ordinary CUDA programs, built by nvcc with its default flags; nothing
// in them knows whether the device is local, remote or software.
//
// Conventions: standard output is the same at each run on a device, wherever the program runs (no
// time, no address); the last line is "NAME: PASSED" or "NAME: FAILED"; the exit status is 0 or 1.
// With --time, lines of JSON with microseconds go to standard error.
#pragma once

#include <cuda_runtime.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

struct program_option {
	const char *name; // "--elements"
	long *value;	  // holds the default
	long minimum, maximum;
	const char *help;
};

static const char *program_name = "program";
static bool program_time_wanted;

#define CHECK(call) program_check((call), #call, __LINE__)

// Ends the program at a call that must not fail here.
inline void program_check(cudaError_t code, const char *call, int line)
{
	if (code == cudaSuccess)
		return;
	fprintf(stderr, "%s: line %d: %s: %s (%d)\n", program_name, line, call,
		cudaGetErrorName(code), int(code));
	exit(1);
}

inline void program_usage(std::initializer_list<program_option> options, int status)
{
	FILE *to = status ? stderr : stdout;

	fprintf(to, "usage: %s [--time]", program_name);
	for (const program_option &option : options)
		fprintf(to, " [%s N]", option.name);
	fprintf(to, "\n");
	for (const program_option &option : options)
		fprintf(to, "  %-12s %s (%ld to %ld, default %ld)\n", option.name, option.help,
			option.minimum, option.maximum, *option.value);
	exit(status);
}

// Names the program and reads its options; ends it with a usage message where they are wrong.
inline void program_options(const char *name, int argc, char **argv,
			    std::initializer_list<program_option> options)
{
	program_name = name;
	for (int i = 1; i < argc; i++) {
		bool found = false;

		if (!strcmp(argv[i], "--help"))
			program_usage(options, 0);
		if (!strcmp(argv[i], "--time")) {
			program_time_wanted = true;
			continue;
		}
		for (const program_option &option : options) {
			char *end;

			if (strcmp(argv[i], option.name) || i + 1 >= argc)
				continue;
			*option.value = strtol(argv[++i], &end, 10);
			if (*end || *option.value < option.minimum ||
			    *option.value > option.maximum)
				program_usage(options, 1);
			found = true;
			break;
		}
		if (!found)
			program_usage(options, 1);
	}
}

inline void program_show_device()
{
	cudaDeviceProp properties;

	CHECK(cudaGetDeviceProperties(&properties, 0));
	printf("%s: device %s\n", program_name, properties.name);
}

// The usual start: options, then the device's name.
inline void program_begin(const char *name, int argc, char **argv,
			  std::initializer_list<program_option> options)
{
	program_options(name, argc, argv, options);
	program_show_device();
}

// The usual end; its value is main's.
inline int program_end(bool passed)
{
	printf("%s: %s\n", program_name, passed ? "PASSED" : "FAILED");
	fflush(stdout);
	return passed ? 0 : 1;
}

inline double program_now_us()
{
	using namespace std::chrono;
	return duration<double, std::micro>(steady_clock::now().time_since_epoch()).count();
}

// Reports microseconds since @start_us under the name @what, with --time only.
inline void program_time(const char *what, double start_us)
{
	if (program_time_wanted)
		fprintf(stderr, "{\"program\": \"%s\", \"what\": \"%s\", \"us\": %.1f}\n",
			program_name, what, program_now_us() - start_us);
}

// A reproducible sequence (Marsaglia's xorshift32), the same on every machine.
struct program_sequence {
	unsigned int state;

	explicit program_sequence(unsigned int seed) : state(seed * 2654435761u + 1)
	{
	}
	unsigned int next()
	{
		state ^= state << 13;
		state ^= state >> 17;
		state ^= state << 5;
		return state;
	}
	// A whole number in [low, high].
	int between(int low, int high)
	{
		return low + int(next() % (unsigned int)(high - low + 1));
	}
};
