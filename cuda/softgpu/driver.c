/* SPDX-License-Identifier: Apache-2.0 */
/*
 * driver: softgpu's libcuda.so.1: a CUDA device made of the host's cores.
 *
 * The hops of a launch:
 *	1. front.c:front_get_proc_address     the runtime finds cuLaunchKernel
 *	2. launch.c:cuLaunchKernel            the gate: shapes, sizes, parameters
 *	3. stream.c:stream_submit             queued behind what it must wait for
 *	4. stream.c:executor_main, run_head   its turn comes
 *	5. launch.c:run_launch                into ptx_launch_run(), the machine
 *	6. context.c:context_fail             a fault stays with the context
 *	7. stream.c:cuStreamSynchronize       and the program learns of it
 * A copy goes copy.c:copy, stream_submit, run_copy; an allocation allocate.c:allocate,
 * memory.c:memory_allocate; an image module.c or library.c, image.c, fatbin.c, ptx_module_load().
 *
 * After fork() the child has no device: its threads and its memory's other side stayed behind.
 */
#include <errno.h>
#include <pthread.h>

#include "cuda/front/front.h"
#include "cuda/softgpu/device.h"
#include "cuda/softgpu/driver.h"
#include "gen/cuda_weak.h"
#include "lib/base/log.h"

static pthread_mutex_t init_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic bool initialised;
static _Atomic bool forked;

CUresult driver_ready(void)
{
	return initialised && !forked ? CUDA_SUCCESS : CUDA_ERROR_NOT_INITIALIZED;
}

CUresult driver_result(int error)
{
	switch (error) {
	case 0:
		return CUDA_SUCCESS;
	case -ENOMEM:
		return CUDA_ERROR_OUT_OF_MEMORY;
	case -EINVAL:
		return CUDA_ERROR_INVALID_VALUE;
	case -ENOENT:
		return CUDA_ERROR_NOT_FOUND;
	default:
		return CUDA_ERROR_UNKNOWN;
	}
}

static void note_fork(void)
{
	forked = initialised; /* one that never used the device may start afresh */
}

/* ---- what cuda/front asks of a driver ---- */

static int front_context_current(void **context)
{
	return (int)cuCtxGetCurrent((CUcontext *)context);
}

static int front_context_id(void *context, uint64_t *id)
{
	unsigned long long number;
	CUresult result = cuCtxGetId(context, &number);

	if (result == CUDA_SUCCESS)
		*id = number;
	return (int)result;
}

static int front_stream_id(void *context, void *stream, uint64_t *id)
{
	unsigned long long number;
	CUresult result = cuStreamGetId(stream, &number);

	(void)context; /* a stream's id is its own; the default stream's is the current context's */
	if (result == CUDA_SUCCESS)
		*id = number;
	return (int)result;
}

static int front_primary_context(int device, void **context)
{
	return (int)cuDevicePrimaryCtxRetain((CUcontext *)context, device);
}

static int front_module_load(void **module, const void *image)
{
	return (int)cuModuleLoadData((CUmodule *)module, image);
}

static void front_unused_slot(const char *table)
{
	log_debug("the program used an unknown slot of the export table %s", table);
}

static struct front_driver driver = {
	.driver_version = DRIVER_VERSION,
	.device_count = device_count,
	.device_identity = device_identity,
	.context_current = front_context_current,
	.context_id = front_context_id,
	.stream_id = front_stream_id,
	.primary_context = front_primary_context,
	.module_load_fatbin = front_module_load,
	.unused_slot = front_unused_slot,
};

__attribute__((constructor)) static void library_loaded(void)
{
	log_open("softgpu");
	driver.entries = cuda_weak_entries(&driver.entry_count);
	front_open(&driver);
	pthread_atfork(NULL, NULL, note_fork);
}

CUresult cuGetProcAddress_v2(const char *symbol, void **pfn, int cudaVersion, cuuint64_t flags,
			     CUdriverProcAddressQueryResult *symbolStatus)
{
	return (CUresult)front_get_proc_address_v2(symbol, pfn, cudaVersion, flags,
						   (int *)symbolStatus);
}

CUresult cuGetProcAddress(const char *symbol, void **pfn, int cudaVersion, cuuint64_t flags)
{
	return (CUresult)front_get_proc_address(symbol, pfn, cudaVersion, flags, NULL);
}

CUresult cuGetExportTable(const void **ppExportTable, const CUuuid *pExportTableId)
{
	return (CUresult)front_get_export_table(ppExportTable, pExportTableId);
}

CUresult cuGetErrorString(CUresult error, const char **pStr)
{
	if (!pStr)
		return CUDA_ERROR_INVALID_VALUE;
	*pStr = front_result_text((int)error);
	return *pStr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static const char *result_name(CUresult result)
{
	switch (result) {
#define NAME(value) \
	case value: \
		return #value;
		CUDA_RESULTS(NAME)
#undef NAME
	}
	return NULL;
}

CUresult cuGetErrorName(CUresult error, const char **pStr)
{
	if (!pStr)
		return CUDA_ERROR_INVALID_VALUE;
	*pStr = result_name(error);
	return *pStr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* ---- start ---- */

CUresult cuInit(unsigned int Flags)
{
	CUresult result = CUDA_SUCCESS;

	if (Flags != 0)
		return CUDA_ERROR_INVALID_VALUE;
	if (forked)
		return CUDA_ERROR_NOT_INITIALIZED;
	pthread_mutex_lock(&init_lock);
	if (!initialised) {
		result = device_open();
		if (result == CUDA_SUCCESS)
			result = memory_open();
		initialised = result == CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&init_lock);
	return result;
}

CUresult cuDriverGetVersion(int *driverVersion)
{
	if (!driverVersion)
		return CUDA_ERROR_INVALID_VALUE;
	*driverVersion = DRIVER_VERSION;
	return CUDA_SUCCESS;
}

CUresult cuProfilerStart(void)
{
	struct context *context;

	return context_enter(&context);
}

CUresult cuProfilerStop(void)
{
	struct context *context;

	return context_enter(&context);
}
