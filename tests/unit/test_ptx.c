/* SPDX-License-Identifier: Apache-2.0 */
/* The PTX machine on PTX that nvcc made of tests/unit/ptx/kernels.cu, with and without -G. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/ptx_harness.h"

struct context {
	struct harness harness;
	struct ptx_module *module;
};

static int open_file(void **state, const char *path)
{
	struct context *context = calloc(1, sizeof(*context));
	struct error error = { 0 };
	size_t bytes;
	char *text = harness_read(path, &bytes);

	if (!context || !text)
		return -1;
	harness_open(&context->harness);
	if (ptx_module_load(text, bytes, &context->harness.memory, &context->module, &error)) {
		print_error("%s: %s\n", path, error.text);
		return -1;
	}
	free(text);
	*state = context;
	return 0;
}

static int open_plain(void **state)
{
	return open_file(state, PTX_INPUTS "/kernels.ptx");
}

static int open_debug(void **state)
{
	return open_file(state, PTX_INPUTS "/kernels-debug.ptx");
}

static int close_context(void **state)
{
	struct context *context = *state;

	ptx_module_free(context->module);
	harness_close(&context->harness);
	free(context);
	return 0;
}

/* run - a launch that must succeed */
static void run(struct context *context, const char *name, unsigned int grid, unsigned int block,
		size_t shared, const void *parameters)
{
	struct ptx_launch launch;

	assert_int_equal(harness_launch(&context->harness, context->module, name, grid, block,
					shared, parameters, &launch),
			 0);
	if (launch.fault)
		print_error("%s: fault %d, %s\n", name, launch.fault, launch.fault_text);
	assert_int_equal(launch.fault, PTX_FAULT_NONE);
}

/* faults - a launch that must end in @fault; the launch is left for more checks */
static void faults(struct context *context, const char *name, unsigned int block,
		   const void *parameters, enum ptx_fault fault, struct ptx_launch *launch)
{
	assert_int_equal(harness_launch(&context->harness, context->module, name, 1, block, 0,
					parameters, launch),
			 0);
	assert_int_equal(launch->fault, fault);
}

static void test_add(void **state)
{
	struct context *context = *state;
	enum { COUNT = 10007 };
	float *a = harness_take(&context->harness, COUNT * sizeof(float));
	float *b = harness_take(&context->harness, COUNT * sizeof(float));
	float *sum = harness_take(&context->harness, (COUNT + 64) * sizeof(float));
	struct {
		float *a, *b, *sum;
		int count;
	} parameters = { a, b, sum, COUNT };

	for (int i = 0; i < COUNT; i++) {
		a[i] = (float)i;
		b[i] = 0.25f * (float)i;
	}
	run(context, "add", (COUNT + 255) / 256, 256, 0, &parameters);
	for (int i = 0; i < COUNT; i++)
		assert_true(sum[i] == a[i] + b[i]);
	assert_true(sum[COUNT] == 0);
}

static void test_multiply(void **state)
{
	struct context *context = *state;
	enum { SIZE = 48 };
	float *a = harness_take(&context->harness, SIZE * SIZE * sizeof(float));
	float *b = harness_take(&context->harness, SIZE * SIZE * sizeof(float));
	float *product = harness_take(&context->harness, SIZE * SIZE * sizeof(float));
	struct {
		float *a, *b, *product;
		int size;
	} parameters = { a, b, product, SIZE };
	struct ptx_launch launch = { .grid = { 3, 3, 1 },
				     .block = { 16, 16, 1 },
				     .parameters = &parameters };

	for (int i = 0; i < SIZE * SIZE; i++) {
		a[i] = (float)(i % 13) - 5;
		b[i] = (float)(i % 7) - 2;
	}
	assert_int_equal(ptx_launch_run(ptx_module_kernel(context->module, "multiply"), &launch),
			 0);
	assert_int_equal(launch.fault, PTX_FAULT_NONE);
	for (int row = 0; row < SIZE; row++)
		for (int column = 0; column < SIZE; column++) {
			float sum = 0;

			for (int k = 0; k < SIZE; k++)
				sum += a[row * SIZE + k] * b[k * SIZE + column];
			assert_true(product[row * SIZE + column] == sum);
		}
}

static void test_reduce(void **state)
{
	struct context *context = *state;
	enum { COUNT = 20011 };
	float *values = harness_take(&context->harness, COUNT * sizeof(float));
	float *sum = harness_take(&context->harness, sizeof(float));
	struct {
		float *values, *sum;
		int count;
	} parameters = { values, sum, COUNT };
	double expected = 0;

	for (int i = 0; i < COUNT; i++) {
		values[i] = (float)(i % 32);
		expected += values[i];
	}
	run(context, "reduce", 7, 256, 0, &parameters);
	assert_true(sum[0] == (float)expected);
}

static void test_histogram(void **state)
{
	struct context *context = *state;
	enum { COUNT = 30000 };
	unsigned char *bytes = harness_take(&context->harness, COUNT);
	unsigned int *counts = harness_take(&context->harness, 256 * sizeof(unsigned int));
	unsigned int expected[256] = { 0 };
	struct {
		unsigned char *bytes;
		unsigned int *counts;
		int count;
	} parameters = { bytes, counts, COUNT };

	for (int i = 0; i < COUNT; i++) {
		bytes[i] = (unsigned char)(i * 7 >> 3);
		expected[bytes[i]]++;
	}
	run(context, "histogram", 8, 128, 0, &parameters);
	assert_memory_equal(counts, expected, sizeof(expected));
}

static void test_recursion(void **state)
{
	static const int expected[12] = { 0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89 };
	struct context *context = *state;
	int *results = harness_take(&context->harness, 96 * sizeof(int));

	run(context, "recursion", 1, 96, 0, &results);
	for (int i = 0; i < 96; i++)
		assert_int_equal(results[i], expected[i % 12]);
}

static void test_mixture(void **state)
{
	struct context *context = *state;
	int *whole = harness_take(&context->harness, 64 * sizeof(int));
	float *real = harness_take(&context->harness, 64 * sizeof(float));
	struct {
		struct {
			int offset;
			double factor;
			char letters[5];
		} settings;
		int *whole;
		float *real;
	} parameters = { { 3, 0.5, { 1, 2, 3, 4, -5 } }, whole, real };

	run(context, "mixture", 1, 50, 0, &parameters);
	for (int i = 0; i < 50; i++) {
		float x = (float)(i % 4 + 1) + 0.5f;
		int sum = 3 + parameters.settings.letters[i % 5] + 5;

		sum += (sum & 15) * (sum & 15) + 3;
		assert_int_equal(whole[i], sum);
		assert_true(real[i] == (i & 1 ? x + x : x * x));
	}
}

static void test_print(void **state)
{
	struct context *context = *state;
	int limit = 2;

	context->harness.printed_bytes = 0;
	run(context, "say", 1, 32, 0, &limit);
	assert_string_equal(context->harness.printed,
			    "-1  0.00 text a|123456789012345|000042|ff 0x1234 %\n"
			    "0  0.50 text b|123456789012345|000042|ff 0x1234 %\n");
}

static void test_assert(void **state)
{
	struct context *context = *state;
	struct ptx_launch launch;
	int limit = 100;

	context->harness.printed_bytes = 0;
	faults(context, "say", 1, &limit, PTX_FAULT_ASSERT, &launch);
	assert_non_null(strstr(context->harness.printed, "Assertion `limit < 100` failed."));
	assert_non_null(strstr(context->harness.printed, "block: [0,0,0], thread: [0,0,0]"));
}

static void test_tiles(void **state)
{
	struct context *context = *state;
	int *results = harness_take(&context->harness, 64 * sizeof(int));

	run(context, "tiles", 1, 64, 0, &results);
	for (int i = 0; i < 64; i++) {
		int first = i / 16 * 16, expected = 16 * first + 120 + 0x9249;

		if (i & 1)
			expected += 1000 * 16 + 100 * (i % 32 / 2);
		assert_int_equal(results[i], expected);
	}
}

static void test_whole_grid(void **state)
{
	struct context *context = *state;
	int *sums = harness_take(&context->harness, 4 * sizeof(int));
	struct {
		int *sums;
		int rounds;
	} parameters = { sums, 4 };
	struct ptx_launch launch = { .grid = { 19, 1, 1 },
				     .block = { 64, 1, 1 },
				     .parameters = &parameters,
				     .cooperative = true };

	assert_int_equal(ptx_launch_run(ptx_module_kernel(context->module, "whole_grid"), &launch),
			 0);
	assert_int_equal(launch.fault, PTX_FAULT_NONE);
	assert_int_equal(sums[0], 19);
	assert_int_equal(sums[1], 19 * 19);
	assert_int_equal(sums[2], 19 * 19 * 19);
	assert_int_equal(sums[3], 19 * 19 * 19 * 19);
}

static void test_heap(void **state)
{
	struct context *context = *state;
	int **pointers = harness_take(&context->harness, 64 * sizeof(int *));

	run(context, "heap", 1, 64, 0, &pointers);
	for (int i = 0; i < 64; i += 2)
		for (int k = 0; k < 40; k++)
			assert_int_equal(pointers[i][k], i + k);
}

static void test_locked(void **state)
{
	struct context *context = *state;
	int *words = harness_take(&context->harness, 2 * sizeof(int));
	struct {
		int *lock, *value;
	} parameters = { words, words + 1 };

	run(context, "locked", 6, 64, 0, &parameters);
	assert_int_equal(words[1], 6 * 64);
	assert_int_equal(words[0], 0);
}

static int choose(int x)
{
	int result = 0;

	switch (x % 9) {
	case 0:
		return x * 3;
	case 1:
		return x + 7;
	case 2:
		for (int i = 0; i < x && i != 20; i++)
			result += i & 1 ? 0 : i;
		return result;
	case 3:
		return (x ^ 0x55) + 100;
	case 4:
		return 100;
	case 5:
		return x > 40 ? -12345 : -x;
	default:
		return 1;
	}
}

static void test_choose(void **state)
{
	struct context *context = *state;
	int *results = harness_take(&context->harness, 96 * sizeof(int));

	for (int i = 0; i < 96; i++)
		results[i] = -12345;
	run(context, "choose", 1, 96, 0, &results);
	for (int i = 0; i < 96; i++)
		assert_int_equal(results[i], choose(i));
}

static void test_doubles(void **state)
{
	struct context *context = *state;
	double *x = harness_take(&context->harness, 64 * sizeof(double));
	double *results = harness_take(&context->harness, 64 * sizeof(double));
	struct {
		double *x, *results;
	} parameters = { x, results };

	for (int i = 0; i < 64; i++)
		x[i] = (i - 20) * 0.37 + (i == 63 ? 1e7 : 0);
	run(context, "doubles", 1, 64, 0, &parameters);
	for (int i = 0; i < 64; i++) {
		double expected = sin(x[i]) * exp(-x[i]) + sqrt(fabs(x[i])) / (1 + x[i] * x[i]);

		assert_true(fabs(results[i] - expected) <= 4e-15 * fabs(expected) + 1e-300);
	}
}

static void test_generic(void **state)
{
	struct context *context = *state;
	int *results = harness_take(&context->harness, 128 * sizeof(int));
	struct {
		int *results;
		int which;
	} parameters = { results, 0 };

	for (parameters.which = 0; parameters.which < 3; parameters.which++) {
		run(context, "generic", 1, 33, 33 * 32, &parameters);
		for (int i = 0; i < 33; i++)
			assert_int_equal(results[64 + i],
					 40 + parameters.which + (parameters.which == 1 ? 41 : 3));
	}
	assert_int_equal(results[3], 42);
}

static void test_stop(void **state)
{
	struct context *context = *state;
	int *flag = harness_take(&context->harness, sizeof(int));
	static volatile int stop = 1;
	struct ptx_launch launch = {
		.grid = { 3, 1, 1 }, .block = { 64, 1, 1 }, .parameters = &flag, .stop = &stop
	};

	assert_int_equal(ptx_launch_run(ptx_module_kernel(context->module, "forever"), &launch), 0);
	assert_int_equal(launch.fault, PTX_FAULT_STOPPED);
}

static void test_illegal_address(void **state)
{
	struct context *context = *state;
	struct ptx_launch launch;
	uint64_t inside = (uint64_t)(uintptr_t)harness_take(&context->harness, 4096);
	const uint64_t bad[] = { 0,
				 1,
				 (uint64_t)(uintptr_t)&launch,
				 inside + 4096 - 31,
				 (uint64_t)1 << 47,
				 ~(uint64_t)0 - 3,
				 (uint64_t)1 << 56,
				 (uint64_t)2 << 56,
				 (uint64_t)9 << 56 };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		faults(context, "touch", 32, &bad[i], PTX_FAULT_ILLEGAL_ADDRESS, &launch);
		assert_in_range(launch.fault_address - bad[i], 0, 31);
		assert_non_null(strstr(launch.fault_text, "touch, PTX line "));
	}
}

static void test_bad_launch(void **state)
{
	struct context *context = *state;
	struct ptx_kernel *kernel = ptx_module_kernel(context->module, "touch");
	uint64_t address = 0;
	static const unsigned int sizes[][6] = { { 1, 1, 1, 1025, 1, 1 },
						 { 1, 1, 1, 0, 1, 1 },
						 { 0, 1, 1, 1, 1, 1 },
						 { 1, 1, 1, 32, 33, 1 } };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct ptx_launch launch = { .parameters = &address };

		memcpy(launch.grid, sizes[i], sizeof(launch.grid));
		memcpy(launch.block, sizes[i] + 3, sizeof(launch.block));
		assert_int_equal(ptx_launch_run(kernel, &launch), -EINVAL);
	}
}

static void test_facts(void **state)
{
	struct context *context = *state;
	struct ptx_kernel *kernel = ptx_module_kernel(context->module, "mixture");
	const struct ptx_kernel_facts *facts = ptx_kernel_facts(kernel);
	size_t offset, bytes;
	uint64_t address;

	assert_string_equal(facts->name, "mixture");
	assert_int_equal(facts->parameter_count, 3);
	assert_int_equal(facts->parameter_bytes, 40);
	assert_int_equal(facts->constant_bytes, 16);
	assert_int_equal(facts->target, 75);
	assert_int_equal(facts->ptx_version, 90);
	assert_int_equal(ptx_kernel_parameter(kernel, 2, &offset, &bytes), 0);
	assert_int_equal(offset, 32);
	assert_int_equal(bytes, 8);
	assert_int_equal(ptx_kernel_parameter(kernel, 3, &offset, &bytes), -ENOENT);
	assert_int_equal(ptx_module_variable(context->module, "counter", &address, &bytes), 0);
	assert_int_equal(bytes, 4);
	assert_int_equal(*(int *)(uintptr_t)address, 5);
	assert_int_equal(ptx_module_variable(context->module, "none", &address, &bytes), -ENOENT);
	kernel = ptx_module_kernel(context->module, "multiply");
	assert_int_equal(ptx_kernel_facts(kernel)->static_shared_bytes, 2048);
	assert_null(ptx_module_kernel(context->module, "none"));
}

#define WITH(test) cmocka_unit_test(test)
#define TESTS                                                                                  \
	WITH(test_add), WITH(test_multiply), WITH(test_reduce), WITH(test_histogram),          \
		WITH(test_recursion), WITH(test_mixture), WITH(test_print), WITH(test_assert), \
		WITH(test_tiles), WITH(test_whole_grid), WITH(test_heap), WITH(test_locked),   \
		WITH(test_choose), WITH(test_doubles), WITH(test_generic), WITH(test_stop),    \
		WITH(test_illegal_address), WITH(test_bad_launch), WITH(test_facts)

int main(void)
{
	const struct CMUnitTest plain[] = { TESTS };
	const struct CMUnitTest debug[] = { TESTS };
	int failed;

	alarm(110);
	failed = cmocka_run_group_tests(plain, open_plain, close_context);
	failed += cmocka_run_group_tests(debug, open_debug, close_context);
	return failed;
}
