/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a device gives up for a context beside what the program allocates in it counts against the
 * limits: the context itself (some hundred MiB on a GPU), modules that are loaded, and what
 * cuCtxSetLimit makes room for (stacks, printf's buffer, the kernels' heap).
 *
 * Nobody knows beforehand how much that is. So the call is made under the tenant's lock, what the
 * process takes of the device is compared with before (device_memory.h), and where that does not
 * fit the call is undone and CUDA's out-of-memory error given. Requests are executed in order, so
 * that nothing else of this process allocates meanwhile. What a context holds is dropped from the
 * books when it ends (quota_held.c).
 *
 * What the driver takes at some later time, when a kernel is first used, is counted afterwards:
 * quota_follow.c.
 */
#include <string.h>

#include "cuda/server/quota_held.h"
#include "cuda/server/turn.h"
#include "cuda/server/worker.h"

static struct cuda_driver real;
static quota_device_memory *device_read;
static const char *driver_path;
static CUcontext primaries[CUDA_WIRE_DEVICES_MAX]; /* that are on the books, else NULL */

/* A call that may take memory of a device, between before() and after(). */
struct overhead {
	char bus_id[32];
	bool known; /* the device is, to the monitoring library */
	struct device_memory memory;
};

/* overhead_before - under the tenant's lock from here on */
static CUresult overhead_before(struct overhead *overhead, CUdevice device)
{
	*overhead = (struct overhead){ 0 };
	if (worker_memory_admit(0))
		return CUDA_ERROR_OUT_OF_MEMORY;
	if (real.cuDeviceGetPCIBusId(overhead->bus_id, sizeof(overhead->bus_id), device))
		return CUDA_SUCCESS;
	quota_follow_device(device, overhead->bus_id);
	overhead->known = device_read(overhead->bus_id, driver_path, &overhead->memory);
	return CUDA_SUCCESS;
}

/* overhead_after - how much more is taken, or, negative, less; 0 where that is not known */
static int64_t overhead_after(const struct overhead *overhead)
{
	struct device_memory now;

	if (!overhead->known || !device_read(overhead->bus_id, driver_path, &now))
		return 0;
	/* Without anything on the device it is not in the list. */
	if (now.listed || overhead->memory.listed)
		return (int64_t)(now.own_bytes - overhead->memory.own_bytes);
	return (int64_t)(now.all_bytes - overhead->memory.all_bytes);
}

/* overhead_keep - what was taken for @object goes on the books, less than nothing as nothing;
 * false: it does not fit */
static bool overhead_keep(int64_t bytes, const void *object, CUcontext context)
{
	uint64_t kept = bytes > 0 ? (uint64_t)bytes : 0;

	return !worker_memory_admit(kept) && held_keep(object, context, kept, HELD_OVERHEAD);
}

static CUresult context_create(CUcontext *context, unsigned int flags, CUdevice device)
{
	struct overhead overhead;
	CUresult result = overhead_before(&overhead, device);

	if (!result)
		result = real.cuCtxCreate_v2(context, flags, device);
	if (result || overhead_keep(overhead_after(&overhead), *context, *context))
		return result;
	real.cuCtxDestroy_v2(*context);
	return CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult context_destroy(CUcontext context)
{
	CUresult result = real.cuCtxDestroy_v2(context);

	if (result)
		return result;
	held_drop_context(context);
	quota_follow();
	return CUDA_SUCCESS;
}

static CUresult primary_retain(CUcontext *context, CUdevice device)
{
	struct overhead overhead;
	CUresult result;

	if (device < 0 || device >= (CUdevice)CUDA_WIRE_DEVICES_MAX || primaries[device])
		return real.cuDevicePrimaryCtxRetain(context, device);
	result = overhead_before(&overhead, device);
	if (!result)
		result = real.cuDevicePrimaryCtxRetain(context, device);
	if (result)
		return result;
	if (overhead_keep(overhead_after(&overhead), *context, *context)) {
		primaries[device] = *context;
		return CUDA_SUCCESS;
	}
	real.cuDevicePrimaryCtxRelease_v2(device);
	return CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult primary_release(CUdevice device)
{
	CUresult result = real.cuDevicePrimaryCtxRelease_v2(device);
	unsigned int flags;
	int active = 0;

	if (result || device < 0 || device >= (CUdevice)CUDA_WIRE_DEVICES_MAX ||
	    real.cuDevicePrimaryCtxGetState(device, &flags, &active) || active)
		return result;
	held_drop_context(primaries[device]);
	primaries[device] = NULL;
	quota_follow();
	return CUDA_SUCCESS;
}

/* current_before - of the current context's device */
static CUresult current_before(struct overhead *overhead, CUcontext *context)
{
	CUdevice device;
	CUresult result = real.cuCtxGetCurrent(context);

	if (!result)
		result = real.cuCtxGetDevice(&device);
	return result ? result : overhead_before(overhead, device);
}

/* image_keep - a module or library on the books; false: it does not fit */
static bool image_keep(const struct overhead *overhead, const void *image, CUcontext context)
{
	int64_t bytes = overhead_after(overhead);

	return bytes <= 0 || overhead_keep(bytes, image, context);
}

static CUresult module_load(CUmodule *module, const void *image, unsigned int count,
			    CUjit_option *options, void **values)
{
	struct overhead overhead;
	CUcontext context;
	CUresult result = current_before(&overhead, &context);

	if (!result)
		result = real.cuModuleLoadDataEx(module, image, count, options, values);
	if (result || image_keep(&overhead, *module, context))
		return result;
	real.cuModuleUnload(*module);
	return CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult module_unload(CUmodule module)
{
	CUresult result = real.cuModuleUnload(module);

	if (result)
		return result;
	held_drop(module);
	quota_follow();
	return CUDA_SUCCESS;
}

/* A library is loaded into each context when that first needs it; where the driver does so at once
 * it is counted. */
static CUresult library_load(CUlibrary *library, const void *code, CUjit_option *options,
			     void **values, unsigned int count, CUlibraryOption *library_options,
			     void **library_values, unsigned int library_count)
{
	struct overhead overhead;
	CUcontext context;
	bool measured = !current_before(&overhead, &context);
	CUresult result = real.cuLibraryLoadData(library, code, options, values, count,
						 library_options, library_values, library_count);

	if (result || !measured || image_keep(&overhead, *library, context))
		return result;
	real.cuLibraryUnload(*library);
	return CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult library_unload(CUlibrary library)
{
	CUresult result = real.cuLibraryUnload(library);

	if (result)
		return result;
	held_drop(library);
	quota_follow();
	return CUDA_SUCCESS;
}

static CUresult limit_set(CUlimit limit, size_t value)
{
	struct overhead overhead;
	CUcontext context;
	size_t before = 0;
	CUresult result = real.cuCtxGetLimit(&before, limit);
	int64_t bytes;

	if (!result)
		result = current_before(&overhead, &context);
	if (!result)
		result = real.cuCtxSetLimit(limit, value);
	if (result)
		return result;
	bytes = overhead_after(&overhead);
	if (bytes > 0 && worker_memory_admit((uint64_t)bytes)) {
		real.cuCtxSetLimit(limit, before);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	held_change(context, bytes);
	return CUDA_SUCCESS;
}

void quota_overhead_open(struct cuda_driver *driver, const char *path, quota_device_memory *read)
{
	if (!driver->cuCtxGetCurrent || !driver->cuCtxGetDevice || !driver->cuDeviceGetPCIBusId ||
	    !driver->cuDevicePrimaryCtxGetState || !driver->cuDevicePrimaryCtxRelease_v2 ||
	    !driver->cuCtxDestroy_v2)
		return;
	real = *driver;
	driver_path = path;
	device_read = read;
	quota_follow_open(driver, path, read);
	memset(primaries, 0, sizeof(primaries));
	WORKER_PUT(driver, cuCtxCreate_v2, context_create);
	WORKER_PUT(driver, cuCtxDestroy_v2, context_destroy);
	WORKER_PUT(driver, cuDevicePrimaryCtxRetain, primary_retain);
	WORKER_PUT(driver, cuDevicePrimaryCtxRelease_v2, primary_release);
	if (driver->cuModuleUnload) {
		WORKER_PUT(driver, cuModuleLoadDataEx, module_load);
		WORKER_PUT(driver, cuModuleUnload, module_unload);
	}
	if (driver->cuLibraryUnload) {
		WORKER_PUT(driver, cuLibraryLoadData, library_load);
		WORKER_PUT(driver, cuLibraryUnload, library_unload);
	}
	if (driver->cuCtxGetLimit)
		WORKER_PUT(driver, cuCtxSetLimit, limit_set);
}
