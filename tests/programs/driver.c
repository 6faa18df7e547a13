/* SPDX-License-Identifier: Apache-2.0 */
/* The start and end of the driver_*.c programs; see driver.h. */
#include "tests/programs/driver.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* nvcc's translation of driver_kernels.cu, NUL-ended. */
__asm__(".pushsection .rodata\n"
	"driver_kernels_text:\n"
	".incbin \"" DRIVER_KERNELS_PTX "\"\n"
	".byte 0\n"
	".popsection\n");
extern const char driver_kernels_text[] __attribute__((visibility("hidden")));

struct driver driver;
static const char *program_name;
static int time_wanted;
static CUmodule kernels;

static const struct {
	void **function;
	const char *symbol;
} driver_symbols[] = {
	{ (void **)&driver.init, "cuInit" },
	{ (void **)&driver.device_get, "cuDeviceGet" },
	{ (void **)&driver.device_get_name, "cuDeviceGetName" },
	{ (void **)&driver.primary_retain, "cuDevicePrimaryCtxRetain" },
	{ (void **)&driver.primary_release, "cuDevicePrimaryCtxRelease_v2" },
	{ (void **)&driver.context_set_current, "cuCtxSetCurrent" },
	{ (void **)&driver.context_synchronize, "cuCtxSynchronize" },
	{ (void **)&driver.module_load_data, "cuModuleLoadData" },
	{ (void **)&driver.module_unload, "cuModuleUnload" },
	{ (void **)&driver.module_get_function, "cuModuleGetFunction" },
	{ (void **)&driver.memory_allocate, "cuMemAlloc_v2" },
	{ (void **)&driver.memory_free, "cuMemFree_v2" },
	{ (void **)&driver.memory_set, "cuMemsetD8_v2" },
	{ (void **)&driver.copy_in, "cuMemcpyHtoD_v2" },
	{ (void **)&driver.copy_out, "cuMemcpyDtoH_v2" },
	{ (void **)&driver.launch, "cuLaunchKernel" },
	{ (void **)&driver.get_error_name, "cuGetErrorName" },
	{ (void **)&driver.primary_reset, "cuDevicePrimaryCtxReset_v2" },
	{ (void **)&driver.context_get_current, "cuCtxGetCurrent" },
	{ (void **)&driver.host_allocate, "cuMemHostAlloc" },
	{ (void **)&driver.host_free, "cuMemFreeHost" },
	{ (void **)&driver.host_register, "cuMemHostRegister_v2" },
	{ (void **)&driver.host_unregister, "cuMemHostUnregister" },
	{ (void **)&driver.copy_in_async, "cuMemcpyHtoDAsync_v2" },
	{ (void **)&driver.copy_out_async, "cuMemcpyDtoHAsync_v2" },
	{ (void **)&driver.stream_create, "cuStreamCreate" },
	{ (void **)&driver.stream_synchronize, "cuStreamSynchronize" },
	{ (void **)&driver.stream_destroy, "cuStreamDestroy_v2" },
};

void driver_check(int code, const char *call, int line)
{
	const char *name = NULL;

	if (!code)
		return;
	driver.get_error_name(code, &name);
	fprintf(stderr, "%s: line %d: %s: %s (%d)\n", program_name, line, call,
		name ? name : "unknown", code);
	exit(1);
}

static void driver_load(void)
{
	void *library = dlopen("libcuda.so.1", RTLD_NOW);

	if (!library) {
		fprintf(stderr, "%s: %s\n", program_name, dlerror());
		exit(1);
	}
	for (size_t i = 0; i < sizeof(driver_symbols) / sizeof(*driver_symbols); i++) {
		*driver_symbols[i].function = dlsym(library, driver_symbols[i].symbol);
		if (!*driver_symbols[i].function) {
			fprintf(stderr, "%s: libcuda.so.1 has no %s\n", program_name,
				driver_symbols[i].symbol);
			exit(1);
		}
	}
}

void driver_begin(const char *name, int argc, char **argv)
{
	CUcontext context;
	char device_name[256];
	int device;

	program_name = name;
	time_wanted = argc == 2 && !strcmp(argv[1], "--time");
	if (argc > 1 && !time_wanted) {
		fprintf(stderr, "usage: %s [--time]\n", name);
		exit(1);
	}
	driver_load();
	CHECK(driver.init(0));
	CHECK(driver.device_get(&device, 0));
	CHECK(driver.device_get_name(device_name, sizeof(device_name), device));
	printf("%s: device %s\n", name, device_name);
	CHECK(driver.primary_retain(&context, device));
	CHECK(driver.context_set_current(context));
	CHECK(driver.module_load_data(&kernels, driver_kernels_text));
}

CUfunction driver_kernel(const char *name)
{
	CUfunction function;

	CHECK(driver.module_get_function(&function, kernels, name));
	return function;
}

int driver_end(int passed)
{
	CHECK(driver.module_unload(kernels));
	CHECK(driver.primary_release(0));
	printf("%s: %s\n", program_name, passed ? "PASSED" : "FAILED");
	return passed ? 0 : 1;
}

double driver_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

void driver_time(const char *what, double start_us)
{
	if (time_wanted)
		fprintf(stderr, "{\"program\": \"%s\", \"what\": \"%s\", \"us\": %.1f}\n",
			program_name, what, driver_now_us() - start_us);
}

int driver_between(uint32_t *state, int low, int high)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return low + (int)(*state % (uint32_t)(high - low + 1));
}
