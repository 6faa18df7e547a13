/* SPDX-License-Identifier: Apache-2.0 */
/* A CUDA driver for tests of client and worker; see fake_driver.h. */
#include "tests/unit/fake_driver.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct fake_state fake;

static struct {
	pthread_mutex_t lock;
	unsigned char *memory;
	uint64_t used;
	uintptr_t handles;
} device = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* The one kernel "note" writes down its parameter, "add" adds its second to *first. */
static char kernel_note, kernel_add;

static CUresult fake_take(CUresult *failure)
{
	return __atomic_exchange_n(failure, CUDA_SUCCESS, __ATOMIC_ACQ_REL);
}

static void *fake_handle(void)
{
	return (void *)(__atomic_add_fetch(&device.handles, 16, __ATOMIC_RELAXED) + 0x10000);
}

void *fake_driver_memory(CUdeviceptr address)
{
	return device.memory + (address - FAKE_MEMORY_BASE);
}

static CUresult fake_cuInit(unsigned int flags)
{
	return flags ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

static CUresult fake_cuDeviceGetCount(int *count)
{
	*count = 1;
	return CUDA_SUCCESS;
}

static CUresult fake_cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice dev)
{
	*context = fake_handle();
	return dev ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
}

static CUresult fake_cuDevicePrimaryCtxRelease(CUdevice dev)
{
	return dev ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
}

static CUresult fake_cuCtxCreate(CUcontext *context, unsigned int flags, CUdevice dev)
{
	(void)flags;
	return fake_cuDevicePrimaryCtxRetain(context, dev);
}

static CUresult fake_context(CUcontext context)
{
	return context ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

static CUresult fake_wait(void)
{
	__atomic_add_fetch(&fake.waiting, 1, __ATOMIC_ACQ_REL);
	while (__atomic_load_n(&fake.hold, __ATOMIC_ACQUIRE))
		sched_yield();
	__atomic_sub_fetch(&fake.waiting, 1, __ATOMIC_ACQ_REL);
	return CUDA_SUCCESS;
}

static CUresult fake_cuStreamSynchronize(CUstream stream)
{
	(void)stream;
	return fake_wait();
}

static CUresult fake_cuStreamQuery(CUstream stream)
{
	(void)stream;
	return __atomic_load_n(&fake.hold, __ATOMIC_ACQUIRE) ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
}

static CUresult fake_cuStreamCreateWithPriority(CUstream *stream, unsigned int flags, int priority)
{
	(void)flags;
	(void)priority;
	*stream = fake_handle();
	return fake_take(&fake.fail_stream_create);
}

static CUresult fake_cuStreamDestroy(CUstream stream)
{
	return stream ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

static CUresult fake_cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned int count,
					CUjit_option *options, void **values)
{
	*module = fake_handle();
	if (!memcmp(image, "good", 4))
		return CUDA_SUCCESS;
	for (unsigned int i = 0; i + 1 < count; i++)
		if (options[i] == CU_JIT_ERROR_LOG_BUFFER && (uintptr_t)values[i + 1] > 10)
			strcpy(values[i], "line 1: no");
	return CUDA_ERROR_INVALID_PTX;
}

static CUresult fake_cuLibraryLoadData(CUlibrary *library, const void *code, CUjit_option *options,
				       void **values, unsigned int count, CUlibraryOption *others,
				       void **other_values, unsigned int other_count)
{
	(void)others;
	(void)other_values;
	(void)other_count;
	return fake_cuModuleLoadDataEx((CUmodule *)library, code, count, options, values);
}

static CUresult fake_unload(void *module)
{
	return module ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

static CUresult fake_cuModuleUnload(CUmodule module)
{
	return fake_unload(module);
}

static CUresult fake_cuLibraryUnload(CUlibrary library)
{
	return fake_unload(library);
}

static CUresult fake_find(void **function, const char *name)
{
	*function = !strcmp(name, "note")  ? &kernel_note
		    : !strcmp(name, "add") ? &kernel_add
					   : NULL;
	return *function ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

static CUresult fake_cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name)
{
	(void)module;
	return fake_find((void **)function, name);
}

static CUresult fake_cuLibraryGetKernel(CUkernel *kernel, CUlibrary library, const char *name)
{
	(void)library;
	return fake_find((void **)kernel, name);
}

static CUresult fake_cuKernelGetFunction(CUfunction *function, CUkernel kernel)
{
	*function = (CUfunction)kernel;
	return CUDA_SUCCESS;
}

static CUresult fake_cuLibraryGetModule(CUmodule *module, CUlibrary library)
{
	*module = (CUmodule)library;
	return CUDA_SUCCESS;
}

static CUresult fake_cuModuleGetGlobal(CUdeviceptr *address, size_t *bytes, CUmodule module,
				       const char *name)
{
	(void)module;
	*address = FAKE_MEMORY_BASE + FAKE_MEMORY_BYTES - 4096;
	*bytes = 64;
	return strcmp(name, "variable") ? CUDA_ERROR_NOT_FOUND : CUDA_SUCCESS;
}

static CUresult fake_cuLibraryGetGlobal(CUdeviceptr *address, size_t *bytes, CUlibrary library,
					const char *name)
{
	return fake_cuModuleGetGlobal(address, bytes, (CUmodule)library, name);
}

static CUresult fake_parameter(void *function, size_t index, size_t *offset, size_t *bytes)
{
	size_t count = function == &kernel_add ? 2 : 1;

	if (index >= count)
		return CUDA_ERROR_INVALID_VALUE;
	*offset = index * 8;
	*bytes = 8;
	return CUDA_SUCCESS;
}

static CUresult fake_cuFuncGetParamInfo(CUfunction function, size_t index, size_t *offset,
					size_t *bytes)
{
	return fake_parameter(function, index, offset, bytes);
}

static CUresult fake_cuKernelGetParamInfo(CUkernel kernel, size_t index, size_t *offset,
					  size_t *bytes)
{
	return fake_parameter(kernel, index, offset, bytes);
}

static CUresult fake_cuFuncGetAttribute(int *value, CUfunction_attribute attribute,
					CUfunction function)
{
	(void)function;
	*value = attribute == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK ? 1024 : 0;
	return CUDA_SUCCESS;
}

static CUresult fake_cuKernelGetAttribute(int *value, CUfunction_attribute attribute,
					  CUkernel kernel, CUdevice dev)
{
	(void)dev;
	return fake_cuFuncGetAttribute(value, attribute, (CUfunction)kernel);
}

static CUresult fake_cuLaunchKernel(CUfunction function, unsigned int grid_x, unsigned int grid_y,
				    unsigned int grid_z, unsigned int block_x, unsigned int block_y,
				    unsigned int block_z, unsigned int shared_bytes,
				    CUstream stream, void **parameters, void **extra)
{
	CUresult result = fake_take(&fake.fail_launch);

	(void)shared_bytes;
	(void)stream;
	(void)extra;
	if (result)
		return result;
	if (!grid_x || !grid_y || !grid_z || !block_x || block_x * block_y * block_z > 1024)
		return CUDA_ERROR_INVALID_VALUE;
	if ((void *)function == &kernel_add) {
		uint64_t address = *(uint64_t *)parameters[0] - FAKE_MEMORY_BASE;

		if (address > FAKE_MEMORY_BYTES - 8)
			return CUDA_ERROR_ILLEGAL_ADDRESS;
		*(uint64_t *)(device.memory + address) += *(uint64_t *)parameters[1];
		return CUDA_SUCCESS;
	}
	__atomic_store_n(&fake.order[fake.launches % (sizeof(fake.order) / sizeof(fake.order[0]))],
			 *(uint64_t *)parameters[0], __ATOMIC_RELAXED);
	__atomic_add_fetch(&fake.launches, 1, __ATOMIC_RELEASE);
	return CUDA_SUCCESS;
}

static CUresult fake_cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction function,
				      void **parameters, void **extra)
{
	return fake_cuLaunchKernel(function, config->gridDimX, config->gridDimY, config->gridDimZ,
				   config->blockDimX, config->blockDimY, config->blockDimZ,
				   config->sharedMemBytes, config->hStream, parameters, extra);
}

static CUresult fake_cuMemAlloc(CUdeviceptr *address, size_t bytes)
{
	CUresult result = CUDA_ERROR_OUT_OF_MEMORY;

	pthread_mutex_lock(&device.lock);
	if (bytes <= FAKE_MEMORY_BYTES - 8192 && device.used <= FAKE_MEMORY_BYTES - 8192 - bytes) {
		*address = FAKE_MEMORY_BASE + device.used;
		device.used += (bytes + 511) & ~(size_t)511;
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&device.lock);
	return result;
}

static CUresult fake_cuMemAllocPitch(CUdeviceptr *address, size_t *pitch, size_t width,
				     size_t height, unsigned int element)
{
	(void)element;
	if (width > FAKE_MEMORY_BYTES || height > FAKE_MEMORY_BYTES)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*pitch = (width + 511) & ~(size_t)511;
	return fake_cuMemAlloc(address, *pitch * height);
}

static CUresult fake_cuMemAllocAsync(CUdeviceptr *address, size_t bytes, CUstream stream)
{
	(void)stream;
	return fake_cuMemAlloc(address, bytes);
}

static CUresult fake_cuMemFree(CUdeviceptr address)
{
	__atomic_add_fetch(&fake.frees, 1, __ATOMIC_ACQ_REL);
	return address ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static CUresult fake_cuMemFreeAsync(CUdeviceptr address, CUstream stream)
{
	(void)stream;
	return fake_cuMemFree(address);
}

static bool fake_inside(CUdeviceptr address, size_t bytes)
{
	return address >= FAKE_MEMORY_BASE && address - FAKE_MEMORY_BASE <= FAKE_MEMORY_BYTES &&
	       bytes <= FAKE_MEMORY_BYTES - (address - FAKE_MEMORY_BASE);
}

static CUresult fake_cuMemcpyHtoDAsync(CUdeviceptr to, const void *from, size_t bytes,
				       CUstream stream)
{
	CUresult result = fake_take(&fake.fail_copy);

	(void)stream;
	if (result || !fake_inside(to, bytes))
		return result ? result : CUDA_ERROR_INVALID_VALUE;
	memcpy(fake_driver_memory(to), from, bytes);
	return CUDA_SUCCESS;
}

static CUresult fake_cuMemcpyDtoHAsync(void *to, CUdeviceptr from, size_t bytes, CUstream stream)
{
	CUresult result = fake_take(&fake.fail_copy);

	(void)stream;
	if (result || !fake_inside(from, bytes))
		return result ? result : CUDA_ERROR_INVALID_VALUE;
	memcpy(to, fake_driver_memory(from), bytes);
	return CUDA_SUCCESS;
}

static CUresult fake_cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes,
				       CUstream stream)
{
	(void)stream;
	if (!fake_inside(to, bytes) || !fake_inside(from, bytes))
		return CUDA_ERROR_INVALID_VALUE;
	memmove(fake_driver_memory(to), fake_driver_memory(from), bytes);
	return CUDA_SUCCESS;
}

/* Either side may be the device's or memory of this process. */
static CUresult fake_cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)
{
	if (!fake_inside(from, bytes))
		return fake_cuMemcpyHtoDAsync(to, (const void *)(uintptr_t)from, bytes, stream);
	if (!fake_inside(to, bytes))
		return fake_cuMemcpyDtoHAsync((void *)(uintptr_t)to, from, bytes, stream);
	return fake_cuMemcpyDtoDAsync(to, from, bytes, stream);
}

/* One side on the device, the other in memory. */
static CUresult fake_cuMemcpy2DAsync(const CUDA_MEMCPY2D *copy, CUstream stream)
{
	CUresult result = CUDA_SUCCESS;

	for (size_t row = 0; row < copy->Height && !result; row++) {
		if (copy->srcMemoryType == CU_MEMORYTYPE_HOST)
			result = fake_cuMemcpyHtoDAsync(copy->dstDevice + row * copy->dstPitch,
							(const char *)copy->srcHost +
								row * copy->srcPitch,
							copy->WidthInBytes, stream);
		else
			result = fake_cuMemcpyDtoHAsync(
				(char *)copy->dstHost + row * copy->dstPitch,
				copy->srcDevice + row * copy->srcPitch, copy->WidthInBytes, stream);
	}
	return result;
}

static CUresult fake_cuMemcpy3DAsync(const CUDA_MEMCPY3D *copy, CUstream stream)
{
	for (size_t slice = 0; slice < copy->Depth; slice++) {
		for (size_t row = 0; row < copy->Height; row++) {
			CUresult result = fake_cuMemcpyDtoDAsync(
				copy->dstDevice + (slice * copy->dstHeight + row) * copy->dstPitch,
				copy->srcDevice + (slice * copy->srcHeight + row) * copy->srcPitch,
				copy->WidthInBytes, stream);

			if (result)
				return result;
		}
	}
	return CUDA_SUCCESS;
}

static CUresult fake_cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count,
				     CUstream stream)
{
	(void)stream;
	if (!fake_inside(to, count))
		return CUDA_ERROR_INVALID_VALUE;
	memset(fake_driver_memory(to), value, count);
	return CUDA_SUCCESS;
}

static CUresult fake_cuEventCreate(CUevent *event, unsigned int flags)
{
	(void)flags;
	*event = fake_handle();
	return CUDA_SUCCESS;
}

static CUresult fake_cuEventSynchronize(CUevent event)
{
	(void)event;
	return fake_wait();
}

/* The stream executes at once, in a thread of the driver's as CUDA has it. */
struct host_call {
	CUhostFn function;
	void *data;
};

static void *fake_host_thread(void *data)
{
	struct host_call *call = data;

	call->function(call->data);
	free(call);
	return NULL;
}

static CUresult fake_cuLaunchHostFunc(CUstream stream, CUhostFn function, void *data)
{
	struct host_call *call = malloc(sizeof(*call));
	pthread_t thread;

	(void)stream;
	if (!call)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*call = (struct host_call){ function, data };
	if (pthread_create(&thread, NULL, fake_host_thread, call)) {
		free(call);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	pthread_detach(thread);
	return CUDA_SUCCESS;
}

static CUresult fake_cuMemGetInfo(size_t *free_bytes, size_t *total)
{
	*free_bytes = FAKE_MEMORY_BYTES - device.used;
	*total = FAKE_MEMORY_BYTES;
	return CUDA_SUCCESS;
}

void fake_driver_fill(struct cuda_driver *driver)
{
	if (!device.memory)
		device.memory = mmap(NULL, FAKE_MEMORY_BYTES, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (device.memory == MAP_FAILED)
		abort();
	device.used = 4096;
	memset(&fake, 0, sizeof(fake));
	*driver = (struct cuda_driver){
		.cuInit = fake_cuInit,
		.cuDeviceGetCount = fake_cuDeviceGetCount,
		.cuDevicePrimaryCtxRetain = fake_cuDevicePrimaryCtxRetain,
		.cuDevicePrimaryCtxRelease_v2 = fake_cuDevicePrimaryCtxRelease,
		.cuCtxCreate_v2 = fake_cuCtxCreate,
		.cuCtxDestroy_v2 = fake_context,
		.cuCtxSetCurrent = fake_context,
		.cuCtxSynchronize = fake_wait,
		.cuStreamSynchronize = fake_cuStreamSynchronize,
		.cuStreamQuery = fake_cuStreamQuery,
		.cuStreamCreateWithPriority = fake_cuStreamCreateWithPriority,
		.cuStreamDestroy_v2 = fake_cuStreamDestroy,
		.cuModuleLoadDataEx = fake_cuModuleLoadDataEx,
		.cuLibraryLoadData = fake_cuLibraryLoadData,
		.cuModuleUnload = fake_cuModuleUnload,
		.cuLibraryUnload = fake_cuLibraryUnload,
		.cuModuleGetFunction = fake_cuModuleGetFunction,
		.cuLibraryGetKernel = fake_cuLibraryGetKernel,
		.cuKernelGetFunction = fake_cuKernelGetFunction,
		.cuLibraryGetModule = fake_cuLibraryGetModule,
		.cuModuleGetGlobal_v2 = fake_cuModuleGetGlobal,
		.cuLibraryGetGlobal = fake_cuLibraryGetGlobal,
		.cuFuncGetParamInfo = fake_cuFuncGetParamInfo,
		.cuKernelGetParamInfo = fake_cuKernelGetParamInfo,
		.cuFuncGetAttribute = fake_cuFuncGetAttribute,
		.cuKernelGetAttribute = fake_cuKernelGetAttribute,
		.cuLaunchKernel = fake_cuLaunchKernel,
		.cuLaunchKernelEx = fake_cuLaunchKernelEx,
		.cuMemAlloc_v2 = fake_cuMemAlloc,
		.cuMemAllocPitch_v2 = fake_cuMemAllocPitch,
		.cuMemAllocAsync = fake_cuMemAllocAsync,
		.cuMemFree_v2 = fake_cuMemFree,
		.cuMemFreeAsync = fake_cuMemFreeAsync,
		.cuMemcpyHtoDAsync_v2 = fake_cuMemcpyHtoDAsync,
		.cuMemcpyDtoHAsync_v2 = fake_cuMemcpyDtoHAsync,
		.cuMemcpyDtoDAsync_v2 = fake_cuMemcpyDtoDAsync,
		.cuMemcpyAsync = fake_cuMemcpyAsync,
		.cuMemcpy2DAsync_v2 = fake_cuMemcpy2DAsync,
		.cuMemcpy3DAsync_v2 = fake_cuMemcpy3DAsync,
		.cuMemsetD8Async = fake_cuMemsetD8Async,
		.cuEventCreate = fake_cuEventCreate,
		.cuEventSynchronize = fake_cuEventSynchronize,
		.cuLaunchHostFunc = fake_cuLaunchHostFunc,
		.cuMemGetInfo_v2 = fake_cuMemGetInfo,
	};
	fake_driver_fill_graphs(driver);
}
