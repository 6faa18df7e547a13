/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client for tests of faults and of idling; it is told what to do:
 *
 *	launch   compute a little and verify it
 *	idle     compute, say "ready", wait for the end of standard input, compute again
 *	copy     say "ready", copy to and from the device until a call fails; name that error, and
 *	         check that later calls fail too; passes if so
 *	hold     the same with launches and synchronisations instead of copies
 *	fault    launch a kernel on a wrong address; name the error, later calls must fail too
 */
#include "tests/programs/driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ELEMENTS    4096
#define COPY_BYTES  (32u << 20)
#define LIMIT_US    120e6 /* until something must have failed */
#define LATER_CALLS 3

static int compute(void)
{
	static float a[ELEMENTS], b[ELEMENTS], sum[ELEMENTS];
	CUdeviceptr device_a, device_b, device_sum;
	int elements = ELEMENTS, wrong = 0;
	void *parameters[] = { &device_a, &device_b, &device_sum, &elements };

	for (int i = 0; i < ELEMENTS; i++) {
		a[i] = i;
		b[i] = 2 * i;
		sum[i] = -1;
	}
	CHECK(driver.memory_allocate(&device_a, sizeof(a)));
	CHECK(driver.memory_allocate(&device_b, sizeof(b)));
	CHECK(driver.memory_allocate(&device_sum, sizeof(sum)));
	CHECK(driver.copy_in(device_a, a, sizeof(a)));
	CHECK(driver.copy_in(device_b, b, sizeof(b)));
	CHECK(driver.launch(driver_kernel("vectoradd"), ELEMENTS / 256, 1, 1, 256, 1, 1, 0, NULL,
			    parameters, NULL));
	CHECK(driver.copy_out(sum, device_sum, sizeof(sum)));
	CHECK(driver.memory_free(device_a));
	CHECK(driver.memory_free(device_b));
	CHECK(driver.memory_free(device_sum));
	for (int i = 0; i < ELEMENTS; i++)
		wrong += sum[i] != 3 * i;
	return wrong == 0;
}

static void say(const char *text)
{
	printf("driver_client: %s\n", text);
	fflush(stdout);
}

static int idle(void)
{
	char byte;
	int right = compute();

	say("ready");
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	return compute() && right;
}

/* The error is there; every later call must give one too, and soon. */
static int fails_for_good(int code)
{
	CUdeviceptr address;
	const char *name = NULL;
	int failed = 0;

	driver.get_error_name(code, &name);
	printf("driver_client: error %s\n", name ? name : "without a name");
	for (int i = 0; i < LATER_CALLS; i++)
		failed += driver.context_synchronize() != 0 &&
			  driver.memory_allocate(&address, 4096) != 0;
	say(failed == LATER_CALLS ? "later calls fail too" : "later calls do not fail");
	return failed == LATER_CALLS;
}

static int copy(void)
{
	char *host = calloc(1, COPY_BYTES);
	double start = driver_now_us();
	CUdeviceptr device;
	int code = 0;

	if (!host)
		return 0;
	CHECK(driver.memory_allocate(&device, COPY_BYTES));
	say("ready");
	while (!code && driver_now_us() - start < LIMIT_US) {
		code = driver.copy_in(device, host, COPY_BYTES);
		if (!code)
			code = driver.copy_out(host, device, COPY_BYTES);
	}
	free(host);
	return code ? fails_for_good(code) : 0;
}

static int hold(void)
{
	double start = driver_now_us();
	CUdeviceptr numbers, total;
	int elements = 1 << 16, code = 0;
	void *parameters[] = { &numbers, &elements, &total };
	CUfunction kernel = driver_kernel("reduction");

	CHECK(driver.memory_allocate(&numbers, elements * sizeof(int)));
	CHECK(driver.memory_allocate(&total, sizeof(long long)));
	CHECK(driver.memory_set(numbers, 0, elements * sizeof(int)));
	CHECK(driver.memory_set(total, 0, sizeof(long long)));
	say("ready");
	while (!code && driver_now_us() - start < LIMIT_US) {
		code = driver.launch(kernel, 8, 1, 1, 256, 1, 1, 0, NULL, parameters, NULL);
		if (!code)
			code = driver.context_synchronize();
	}
	return code ? fails_for_good(code) : 0;
}

static int fault(void)
{
	CUdeviceptr wrong = 16;
	int elements = ELEMENTS;
	void *parameters[] = { &wrong, &wrong, &wrong, &elements };
	int code = driver.launch(driver_kernel("vectoradd"), ELEMENTS / 256, 1, 1, 256, 1, 1, 0,
				 NULL, parameters, NULL);

	if (!code)
		code = driver.context_synchronize();
	return code ? fails_for_good(code) : 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(void);
		int context_lives; /* at the end */
	} tasks[] = {
		{ "launch", compute, 1 }, { "idle", idle, 1 },	 { "copy", copy, 0 },
		{ "hold", hold, 0 },	  { "fault", fault, 0 },
	};
	int passed;

	for (size_t i = 0; i < sizeof(tasks) / sizeof(*tasks); i++) {
		if (argc != 2 || strcmp(argv[1], tasks[i].name))
			continue;
		driver_begin("driver_client", 1, argv);
		passed = tasks[i].run();
		if (tasks[i].context_lives)
			return driver_end(passed);
		say(passed ? "PASSED" : "FAILED");
		return !passed;
	}
	fprintf(stderr, "usage: driver_client launch|idle|copy|hold|fault\n");
	return 2;
}
