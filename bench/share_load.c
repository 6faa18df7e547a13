/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tenant's program for bench/run sharing: kernels of a given length, one after another.
 *
 *	share_load calibrate US		prints the iterations of a kernel that takes US microseconds
 *	share_load run ITERATIONS DEPTH GAP_US [FROM_S TO_S]
 *	share_load rest NS DEPTH GAP_US [FROM_S TO_S]
 *
 * The kernel of `run` counts. That of `rest` waits by the device's clock instead: softgpu sleeps
 * meanwhile, so that a device made of the host's cores does not take them from what is measured.
 *
 * Without FROM_S and TO_S it prints `ready` once it has its device, and reads the two from its
 *input. `run` launches until TO_S (CLOCK_MONOTONIC) and counts the launches that ended between
 *FROM_S and TO_S. Output: one line of JSON with `launches`, `first_us`, how long a launch before
 *all of these took, with what the driver does once, and, where DEPTH is 1, `took_us`, the time of
 *each launch from its issue to its end. With DEPTH 1 it waits for each launch and then for GAP_US;
 *else it issues DEPTH launches before it waits for the DEPTH before them, so that the device always
 *has something of it to do.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/programs/driver.h"

#define CALIBRATION_ROUNDS 7
#define CALIBRATION_WARM_S 0.5

/* One thread counts; so a kernel's length does not depend on what else the cores do together. */
static const char spin_ptx[] =
	".version 6.4\n.target sm_75\n.address_size 64\n"
	".visible .entry spin(.param .u32 count, .param .u64 out)\n"
	"{\n"
	"	.reg .pred %p;\n	.reg .b32 %n, %x;\n	.reg .b64 %a;\n"
	"	ld.param.u32 %n, [count];\n	ld.param.u64 %a, [out];\n	mov.u32 %x, 1;\n"
	"again:\n"
	"	mad.lo.u32 %x, %x, 1664525, 1013904223;\n"
	"	sub.u32 %n, %n, 1;\n	setp.ne.u32 %p, %n, 0;\n	@%p bra again;\n"
	"	cvta.to.global.u64 %a, %a;\n	st.global.u32 [%a], %x;\n	ret;\n"
	"}\n";

typedef struct CUevent_st *CUevent;

/*
 * Until so many nanoseconds have passed on the device's clock. It looks at that all the time in the
 * end, since sleepers are woken late.
 */
static const char rest_ptx[] =
	".version 6.4\n.target sm_75\n.address_size 64\n"
	".visible .entry rest(.param .u32 ns, .param .u64 out)\n"
	"{\n"
	"	.reg .pred %p;\n	.reg .b32 %n;\n	.reg .b64 %now, %end, %left;\n"
	"	ld.param.u32 %n, [ns];\n	cvt.u64.u32 %left, %n;\n"
	"	mov.u64 %now, %globaltimer;\n	add.u64 %end, %now, %left;\n"
	"again:\n"
	"	sub.u64 %left, %end, %now;\n	max.u64 %left, %left, 150000;\n"
	"	sub.u64 %left, %left, 150000;\n	min.u64 %left, %left, 1000000;\n"
	"	cvt.u32.u64 %n, %left;\n	nanosleep.u32 %n;\n"
	"	mov.u64 %now, %globaltimer;\n	setp.lt.u64 %p, %now, %end;\n"
	"	@%p bra again;\n	ret;\n"
	"}\n";

static CUfunction kernel;
static CUdeviceptr out;
static int (*event_create)(CUevent *event, unsigned int flags);
static int (*event_record)(CUevent event, CUstream stream);
static int (*event_synchronize)(CUevent event);

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void sleep_until(double at_s)
{
	const struct timespec at = { (time_t)at_s, (long)((at_s - (double)(time_t)at_s) * 1e9) };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
		;
}

static void launch(unsigned int iterations)
{
	void *parameters[] = { &iterations, &out };

	CHECK(driver.launch(kernel, 1, 1, 1, 1, 1, 1, 0, NULL, parameters, NULL));
}

static double timed_us(unsigned int iterations)
{
	double begin = now_s();

	launch(iterations);
	CHECK(driver.context_synchronize());
	return (now_s() - begin) * 1e6;
}

static int compare(const void *one, const void *other)
{
	double a = *(const double *)one, b = *(const double *)other;

	return (a > b) - (a < b);
}

/* median_us - of a kernel of so many iterations */
static double median_us(unsigned int iterations)
{
	double took[CALIBRATION_ROUNDS];

	for (int i = 0; i < CALIBRATION_ROUNDS; i++)
		took[i] = timed_us(iterations);
	qsort(took, CALIBRATION_ROUNDS, sizeof(*took), compare);
	return took[CALIBRATION_ROUNDS / 2];
}

/* calibrate - from two lengths, so that the cost of a launch itself does not count */
static void calibrate(double wanted_us)
{
	unsigned int few = 10000, many = 110000;
	double each_us, until = now_s() + CALIBRATION_WARM_S;

	/* Until a real device has its clocks up. */
	do {
		timed_us(many);
	} while (now_s() < until);
	each_us = (median_us(many) - median_us(few)) / (many - few);
	printf("%.0f\n", wanted_us / each_us > 1 ? wanted_us / each_us : 1);
}

/* find - a function that driver.h has not */
static void find(void *function, const char *name)
{
	*(void **)function = dlsym(RTLD_DEFAULT, name);
	if (!*(void **)function)
		*(void **)function = dlsym(dlopen("libcuda.so.1", RTLD_NOW), name);
	if (!*(void **)function) {
		fprintf(stderr, "share_load: libcuda.so.1 has no %s\n", name);
		exit(1);
	}
}

/* run_busy - always @depth launches at least on their way; how many ended in the time */
static unsigned long run_busy(unsigned int iterations, unsigned int depth, double from, double to)
{
	CUevent ends[2];
	unsigned long launches = 0;
	double now;

	for (int i = 0; i < 2; i++) {
		/* CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING */
		CHECK(event_create(&ends[i], 3));
		CHECK(event_record(ends[i], NULL));
	}
	for (unsigned int turn = 0;; turn ^= 1) {
		for (unsigned int i = 0; i < depth; i++)
			launch(iterations);
		CHECK(event_record(ends[turn], NULL));
		CHECK(event_synchronize(ends[turn ^ 1]));
		now = now_s();
		if (now >= to)
			break;
		if (now >= from)
			launches += depth;
	}
	CHECK(driver.context_synchronize());
	return launches;
}

/* run_waiting - one launch after another with a pause; prints how long each took */
static unsigned long run_waiting(unsigned int iterations, double gap_us, double to)
{
	unsigned long launches = 0;

	printf("\"took_us\": [");
	for (double begin; (begin = now_s()) < to; launches++) {
		double took_us = timed_us(iterations);

		printf("%s%.1f", launches ? ", " : "", took_us);
		sleep_until(begin + (took_us + gap_us) / 1e6);
	}
	printf("], ");
	return launches;
}

static void run(unsigned int iterations, unsigned int depth, double gap_us, double from, double to)
{
	unsigned long launches;
	double first_us;

	find(&event_create, "cuEventCreate");
	find(&event_record, "cuEventRecord");
	find(&event_synchronize, "cuEventSynchronize");
	first_us = timed_us(1);
	if (to <= 0) {
		puts("ready");
		fflush(stdout);
		if (scanf("%lf %lf", &from, &to) != 2) {
			fprintf(stderr, "share_load: expected FROM_S TO_S\n");
			exit(2);
		}
	}
	sleep_until(from - 0.2);
	printf("{\"first_us\": %.1f, ", first_us);
	launches = depth == 1 ? run_waiting(iterations, gap_us, to)
			      : run_busy(iterations, depth, from, to);
	printf("\"launches\": %lu}\n", launches);
}

int main(int argc, char **argv)
{
	char *quiet[] = { argv[0], NULL };
	bool rests = argc > 1 && !strcmp(argv[1], "rest");
	CUmodule module;

	if (!((argc == 3 && !strcmp(argv[1], "calibrate")) ||
	      ((argc == 5 || argc == 7) && (rests || !strcmp(argv[1], "run"))))) {
		fprintf(stderr, "usage: share_load calibrate US | "
				"run ITERATIONS DEPTH GAP_US [FROM_S TO_S] | "
				"rest NS DEPTH GAP_US [FROM_S TO_S]\n");
		return 2;
	}
	driver_begin("share_load", 1, quiet);
	CHECK(driver.module_load_data(&module, rests ? rest_ptx : spin_ptx));
	CHECK(driver.module_get_function(&kernel, module, rests ? "rest" : "spin"));
	CHECK(driver.memory_allocate(&out, 4));
	if (argc == 3)
		calibrate(atof(argv[2]));
	else
		run((unsigned int)atol(argv[2]), (unsigned int)atol(argv[3]), atof(argv[4]),
		    argc == 7 ? atof(argv[5]) : 0, argc == 7 ? atof(argv[6]) : 0);
	return 0;
}
