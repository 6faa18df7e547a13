/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a PTX module: load it, and run each kernel briefly with memory of its own. Only the
 * machine's own stop ends a kernel that would go on for ever.
 */
#include <pthread.h>
#include <stdint.h>
#include <time.h>

#include "tests/unit/ptx_harness.h"

static volatile int stop;
static _Atomic int running;

/* A clock of its own: raises the stop a moment after a launch began. */
static void *watch(void *argument)
{
	const struct timespec tick = { .tv_nsec = 2000000 };

	(void)argument;
	for (;;) {
		nanosleep(&tick, NULL);
		if (running && ++running > 3)
			stop = 1;
	}
	return NULL;
}

static void run_kernels(struct harness *harness, struct ptx_module *module)
{
	static uint8_t parameters[PTX_PARAMETER_BYTES_MAX];
	uint64_t *addresses = (uint64_t *)parameters;
	void *block = harness_take(harness, 65536);
	size_t count = ptx_module_kernel_count(module);

	for (size_t i = 0; i < 64; i++)
		addresses[i] = i % 2 ? i : (uint64_t)(uintptr_t)block + 256 * i;
	for (size_t i = 0; i < count && i < 4; i++) {
		struct ptx_kernel *kernel = ptx_module_kernel_at(module, i);
		struct ptx_launch launch = { .grid = { 2, 1, 1 },
					     .block = { 48, 1, 1 },
					     .dynamic_shared_bytes = 512,
					     .parameters = parameters,
					     .cooperative = i == 1,
					     .print = harness_print,
					     .print_context = harness,
					     .stop = &stop };

		if (ptx_kernel_facts(kernel)->local_bytes > 65536)
			continue;
		stop = 0;
		running = 1;
		(void)ptx_launch_run(kernel, &launch);
		running = 0;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static struct harness harness;
	static pthread_t clock;
	struct ptx_module *module;
	struct error error = { 0 };
	size_t first;

	if (!harness.arena) {
		harness_open(&harness);
		if (pthread_create(&clock, NULL, watch, NULL))
			abort();
	}
	first = harness.next;
	harness.printed_bytes = 0;
	if (!ptx_module_load((const char *)data, bytes, &harness.memory, &module, &error)) {
		run_kernels(&harness, module);
		ptx_module_free(module);
	}
	memset(harness.valid + first, 0, harness.next - first);
	harness.next = first;
	return 0;
}
