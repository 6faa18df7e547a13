/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Client and worker in one process, a real link between them, a driver of the test's own behind:
 * late errors, order, waiting calls, copies, wrong handles, addresses that are taken, messages that
 * break the format, forks, and what a lost connection leaves.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cuda/client/client.h"
#include "cuda/client/trace.h"
#include "cuda/server/worker.h"
#include "lib/base/io.h"
#include "tests/unit/cuda_pair.h"
#include "tests/unit/fake_driver.h"

#define THREADS	 4
#define LAUNCHES 2000

static uint64_t memory_limit; /* of the next worker */
static bool symbols_missing;  /* the next driver lacks some functions */

static unsigned int fake_launched(void)
{
	return __atomic_load_n(&fake.launches, __ATOMIC_ACQUIRE);
}

static uint64_t fake_noted(unsigned int launch)
{
	return __atomic_load_n(&fake.order[launch], __ATOMIC_RELAXED);
}

static void fake_fail(CUresult *next, CUresult result)
{
	__atomic_store_n(next, result, __ATOMIC_RELEASE);
}

static int pair_open(void **state, const char *scheme)
{
	(void)state;
	fake_driver_fill(&worker_driver);
	if (symbols_missing) {
		worker_driver.cuMemGetInfo_v2 = NULL;
		worker_driver.cuEventCreate = NULL;
		worker_driver.cuLaunchHostFunc = NULL;
	}
	worker_options = (struct worker_options){ .image_limit = 1u << 20,
						  .peer = "test",
						  .memory_limit = memory_limit };
	return cuda_pair_open(scheme);
}

/* The context goes with all that is in it; then the worker sees the end of the link and stops. */
static int pair_close(void **state)
{
	(void)state;
	while (!client_cuDevicePrimaryCtxRelease_v2(0))
		;
	cuda_pair_close();
	return 0;
}

static int open_unix(void **state)
{
	return pair_open(state, "unix");
}

static int open_missing(void **state)
{
	symbols_missing = true;
	return pair_open(state, "unix");
}

static int open_limited(void **state)
{
	memory_limit = 1u << 20;
	return pair_open(state, "unix");
}

static int open_ring(void **state)
{
	return pair_open(state, "ring");
}

static CUcontext context_begin(void)
{
	CUcontext context;

	assert_int_equal(client_cuDevicePrimaryCtxRetain(&context, 0), CUDA_SUCCESS);
	assert_int_equal(client_cuCtxSetCurrent(context), CUDA_SUCCESS);
	return context;
}

static CUfunction function_get(const char *name)
{
	CUfunction function;
	CUmodule module;

	assert_int_equal(client_cuModuleLoadData(&module, "good module, really"), CUDA_SUCCESS);
	assert_int_equal(client_cuModuleGetFunction(&function, module, name), CUDA_SUCCESS);
	return function;
}

static CUresult note(CUfunction function, uint64_t value, unsigned int threads)
{
	void *parameters[] = { &value };

	return client_cuLaunchKernel(function, 1, 1, 1, threads, 1, 1, 0, NULL, parameters, NULL);
}

static void test_launch_needs_no_answer(void **state)
{
	CUfunction function;

	(void)state;
	context_begin();
	function = function_get("note");
	for (uint64_t i = 0; i < 100; i++)
		assert_int_equal(note(function, i, 32), CUDA_SUCCESS);
	assert_int_equal(client_cuCtxSynchronize(), CUDA_SUCCESS);
	assert_int_equal(fake_launched(), 100);
	for (uint64_t i = 0; i < 100; i++)
		assert_int_equal(fake_noted(i), i);
}

/* note_clusters - the same as a launch with clusters; *asked: round trips that it took */
static CUresult note_clusters(CUfunction function, unsigned int blocks, uint64_t *asked)
{
	CUlaunchAttribute cluster = { .id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION };
	CUlaunchConfig config = { .gridDimX = blocks,
				  .gridDimY = 1,
				  .gridDimZ = 1,
				  .blockDimX = 32,
				  .blockDimY = 1,
				  .blockDimZ = 1,
				  .attrs = &cluster,
				  .numAttrs = 1 };
	struct trace_counters counters = { 0 };
	uint64_t value = 5;
	void *parameters[] = { &value };
	CUresult result;

	cluster.value.clusterDim.x = 2;
	cluster.value.clusterDim.y = cluster.value.clusterDim.z = 1;
	trace_counters = &counters;
	result = client_cuLaunchKernelEx(&config, function, parameters, NULL);
	trace_counters = NULL;
	*asked = counters.round_trips;
	return result;
}

/* Whether clusters fit only the device knows; what it said of a shape holds for the next. */
static void test_launch_with_clusters_is_asked_once(void **state)
{
	CUfunction function;
	uint64_t asked;

	(void)state;
	context_begin();
	function = function_get("note");
	fake_fail(&fake.fail_launch, CUDA_ERROR_INVALID_CLUSTER_SIZE);
	assert_int_equal(note_clusters(function, 4, &asked), CUDA_ERROR_INVALID_CLUSTER_SIZE);
	assert_int_equal(note_clusters(function, 4, &asked), CUDA_SUCCESS);
	assert_int_equal(asked, 1);
	assert_int_equal(note_clusters(function, 4, &asked), CUDA_SUCCESS);
	assert_int_equal(asked, 0);
	assert_int_equal(note_clusters(function, 6, &asked), CUDA_SUCCESS);
	assert_int_equal(asked, 1);
	client_cache_clear(); /* as a change of a function's attributes does */
	assert_int_equal(note_clusters(function, 4, &asked), CUDA_SUCCESS);
	assert_int_equal(asked, 1);
	assert_int_equal(client_cuCtxSynchronize(), CUDA_SUCCESS);
	assert_int_equal(fake_launched(), 4);
}

/* A launch starts without any later call. */
static void test_launch_starts_by_itself(void **state)
{
	CUfunction function;

	(void)state;
	context_begin();
	function = function_get("note");
	assert_int_equal(note(function, 7, 32), CUDA_SUCCESS);
	while (!fake_launched())
		sched_yield(); /* the test's time limit is the bound */
	assert_int_equal(fake_noted(0), 7);
}

static void test_late_error_once(void **state)
{
	CUfunction function;

	(void)state;
	context_begin();
	function = function_get("note");
	assert_int_equal(client_send_ping(), CUDA_SUCCESS);
	fake_fail(&fake.fail_launch, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
	assert_int_equal(note(function, 1, 32), CUDA_SUCCESS);
	/* A call that does not settle leaves it. */
	assert_int_equal(client_send_ping(), CUDA_SUCCESS);
	assert_int_equal(client_cuCtxSynchronize(), CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
	assert_int_equal(client_cuCtxSynchronize(), CUDA_SUCCESS);
}

static void test_late_error_reaches_a_copy(void **state)
{
	CUfunction function;
	CUdeviceptr memory;
	char byte = 5;

	(void)state;
	context_begin();
	function = function_get("note");
	assert_int_equal(client_cuMemAlloc_v2(&memory, 1), CUDA_SUCCESS);
	fake_fail(&fake.fail_launch, CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(note(function, 1, 32), CUDA_SUCCESS);
	assert_int_equal(client_cuMemcpyDtoH_v2(&byte, memory, 1), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(byte, 5);
	assert_int_equal(client_cuMemcpyDtoH_v2(&byte, memory, 1), CUDA_SUCCESS);
}

/* An error that lasts is told by every later call, also by those without a reply. */
static void test_lasting_error(void **state)
{
	CUfunction function;
	CUstream stream;

	(void)state;
	context_begin();
	function = function_get("note");
	fake_fail(&fake.fail_launch, CUDA_ERROR_ILLEGAL_ADDRESS);
	assert_int_equal(note(function, 1, 32), CUDA_SUCCESS);
	assert_int_equal(client_cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
	assert_int_equal(client_cuStreamCreate(&stream, 0), CUDA_ERROR_ILLEGAL_ADDRESS);
	assert_int_equal(note(function, 1, 32), CUDA_ERROR_ILLEGAL_ADDRESS);
	/* A new context works. */
	assert_int_equal(client_cuDevicePrimaryCtxReset_v2(0), CUDA_SUCCESS);
	context_begin();
	assert_int_equal(client_cuStreamCreate(&stream, 0), CUDA_SUCCESS);
}

static void test_bad_geometry_at_once(void **state)
{
	CUfunction function;

	(void)state;
	context_begin();
	function = function_get("note");
	assert_int_equal(note(function, 1, 1025), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(note(function, 1, 0), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(client_cuCtxSynchronize(), CUDA_SUCCESS);
}

static void test_failed_create(void **state)
{
	CUstream stream;

	(void)state;
	context_begin();
	assert_int_equal(client_send_ping(), CUDA_SUCCESS);
	fake_fail(&fake.fail_stream_create, CUDA_ERROR_OUT_OF_MEMORY);
	assert_int_equal(client_cuStreamCreate(&stream, 0), CUDA_SUCCESS);
	assert_int_equal(client_cuStreamSynchronize(stream), CUDA_ERROR_INVALID_HANDLE);
	assert_int_equal(client_cuCtxSynchronize(), CUDA_ERROR_OUT_OF_MEMORY);
	assert_int_equal(client_cuStreamDestroy_v2(stream), CUDA_SUCCESS);
}

static void test_wrong_handles(void **state)
{
	CUstream stream;
	CUevent event;
	char anything[2048];

	(void)state;
	context_begin();
	assert_int_equal(client_cuStreamCreate(&stream, 0), CUDA_SUCCESS);
	assert_int_equal(client_cuEventCreate(&event, 0), CUDA_SUCCESS);
	assert_int_equal(client_cuStreamSynchronize((CUstream)event), CUDA_ERROR_INVALID_HANDLE);
	assert_int_equal(client_cuEventSynchronize((CUevent)stream), CUDA_ERROR_INVALID_HANDLE);
	assert_int_equal(client_cuEventSynchronize((CUevent)anything), CUDA_ERROR_INVALID_HANDLE);
	assert_int_equal(client_cuEventSynchronize((CUevent)((char *)event + 1)),
			 CUDA_ERROR_INVALID_HANDLE);
	assert_int_equal(client_cuCtxSetCurrent((CUcontext)stream), CUDA_ERROR_INVALID_CONTEXT);
	/* The worker checks for itself: numbers that this client would never send. */
	assert_int_equal(client_send_stream_synchronize(client_handle_object(event)->number),
			 CUDA_ERROR_INVALID_HANDLE);
	assert_int_equal(client_send_stream_synchronize(4711), CUDA_ERROR_INVALID_HANDLE);
	assert_int_equal(client_send_stream_synchronize(UINT32_MAX), CUDA_ERROR_INVALID_HANDLE);
	/* Behind a handle lie zeros, as some libraries expect. */
	for (int i = 0; i < 256; i++)
		assert_int_equal(((char *)stream)[i], 0);
	assert_int_equal(client_cuStreamDestroy_v2(stream), CUDA_SUCCESS);
	assert_int_equal(client_cuStreamSynchronize(stream), CUDA_ERROR_INVALID_HANDLE);
}

/* A context's end is the end of everything in it. */
static void test_children_end(void **state)
{
	CUcontext context;
	CUfunction function;
	uint32_t number;
	void *real;

	(void)state;
	assert_int_equal(client_cuCtxCreate_v2(&context, 0, 0), CUDA_SUCCESS);
	function = function_get("note");
	number = client_handle_object(function)->number;
	assert_int_equal(worker_handle_find(NULL, KIND_function, number, false, &real), 0);
	assert_int_equal(client_cuCtxDestroy_v2(context), CUDA_SUCCESS);
	assert_null(client_handle_object(function));
	assert_int_equal(worker_handle_find(NULL, KIND_function, number, false, &real),
			 CUDA_ERROR_INVALID_HANDLE);
	assert_int_equal(note(function, 1, 1), CUDA_ERROR_INVALID_CONTEXT);
}

static void test_kernel_for_function(void **state)
{
	CUlibrary library;
	CUkernel kernel, again;
	CUfunction function, same;
	size_t offset, bytes;

	(void)state;
	context_begin();
	assert_int_equal(client_cuLibraryLoadData(&library, "good library, also", NULL, NULL, 0,
						  NULL, NULL, 0),
			 CUDA_SUCCESS);
	assert_int_equal(client_cuLibraryGetKernel(&kernel, library, "note"), CUDA_SUCCESS);
	assert_int_equal(client_cuLibraryGetKernel(&again, library, "note"), CUDA_SUCCESS);
	assert_ptr_equal(kernel, again);
	assert_int_equal(client_cuLibraryGetKernel(&again, library, "none"), CUDA_ERROR_NOT_FOUND);
	assert_int_equal(client_cuKernelGetFunction(&function, kernel), CUDA_SUCCESS);
	assert_int_equal(client_cuKernelGetFunction(&same, kernel), CUDA_SUCCESS);
	assert_ptr_equal(function, same);
	assert_int_equal(client_cuKernelGetParamInfo(kernel, 0, &offset, &bytes), CUDA_SUCCESS);
	assert_int_equal(bytes, 8);
	assert_int_equal(note((CUfunction)kernel, 11, 1), CUDA_SUCCESS);
	assert_int_equal(note(function, 12, 1), CUDA_SUCCESS);
	assert_int_equal(client_cuCtxSynchronize(), CUDA_SUCCESS);
	assert_int_equal(fake_noted(0), 11);
	assert_int_equal(fake_noted(1), 12);
	assert_int_equal(client_cuLibraryUnload(library), CUDA_SUCCESS);
	assert_int_equal(note(function, 13, 1), CUDA_ERROR_INVALID_HANDLE);
}

static void test_jit_log(void **state)
{
	CUjit_option options[] = { CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES };
	char log[64] = "untouched";
	void *values[] = { log, (void *)sizeof(log) };
	CUmodule module;

	(void)state;
	context_begin();
	assert_int_equal(client_cuModuleLoadDataEx(&module, "bad text that is long enough", 2,
						   options, values),
			 CUDA_ERROR_INVALID_PTX);
	assert_string_equal(log, "line 1: no");
}

static void host_note(void *data)
{
	__atomic_add_fetch((unsigned int *)data, 1, __ATOMIC_ACQ_REL);
}

/* A driver without that function: an answer, or a late one, but no crash. */
static void test_missing_symbols(void **state)
{
	CUevent event;
	size_t free_bytes, total;
	unsigned int called = 0;

	(void)state;
	context_begin();
	assert_int_equal(client_cuMemGetInfo_v2(&free_bytes, &total), CUDA_ERROR_NOT_SUPPORTED);
	assert_int_equal(client_cuEventCreate(&event, 0), CUDA_SUCCESS);
	assert_int_equal(client_cuCtxSynchronize(), CUDA_ERROR_NOT_SUPPORTED);
	assert_int_equal(client_cuLaunchHostFunc(NULL, host_note, &called),
			 CUDA_ERROR_NOT_SUPPORTED);
	assert_int_equal(called, 0);
}

static void fill_bytes(unsigned char *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		bytes[i] = (unsigned char)(i * 31 + (i >> 8));
}

static void test_copy_linear(void **state)
{
	size_t bytes = 5u << 20; /* more than a link holds */
	unsigned char *from = malloc(bytes), *to = malloc(bytes);
	CUdeviceptr memory, other;

	(void)state;
	context_begin();
	fill_bytes(from, bytes);
	assert_int_equal(client_cuMemAlloc_v2(&memory, bytes), CUDA_SUCCESS);
	assert_int_equal(client_cuMemAlloc_v2(&other, bytes), CUDA_SUCCESS);
	assert_int_equal(client_cuMemcpyHtoD_v2(memory, from, bytes), CUDA_SUCCESS);
	assert_int_equal(client_cuMemcpyDtoD_v2(other, memory, bytes), CUDA_SUCCESS);
	assert_int_equal(client_cuMemcpyDtoH_v2(to, other, bytes), CUDA_SUCCESS);
	assert_memory_equal(from, to, bytes);
	/* By addresses alone. */
	memset(to, 0, bytes);
	assert_int_equal(client_cuMemcpy(memory, other, bytes), CUDA_SUCCESS);
	assert_int_equal(client_cuMemcpy((uintptr_t)to, memory, bytes), CUDA_SUCCESS);
	assert_memory_equal(from, to, bytes);
	assert_int_equal(client_cuMemcpyHtoD_v2(memory + 1, from, bytes), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(client_cuMemcpyHtoD_v2(17, from, 8), CUDA_ERROR_INVALID_VALUE);
	free(from);
	free(to);
}

/* A failed copy takes its bytes along: the link stays in step. */
static void test_copy_fails(void **state)
{
	size_t bytes = 3u << 20;
	unsigned char *host = calloc(1, bytes);
	CUdeviceptr memory;

	(void)state;
	context_begin();
	assert_int_equal(client_cuMemAlloc_v2(&memory, bytes), CUDA_SUCCESS);
	fake_fail(&fake.fail_copy, CUDA_ERROR_UNKNOWN);
	assert_int_equal(client_cuMemcpyHtoD_v2(memory, host, bytes), CUDA_ERROR_UNKNOWN);
	fake_fail(&fake.fail_copy, CUDA_ERROR_UNKNOWN);
	assert_int_equal(client_cuMemcpyDtoH_v2(host, memory, bytes), CUDA_ERROR_UNKNOWN);
	fake_fail(&fake.fail_copy, CUDA_ERROR_UNKNOWN);
	assert_int_equal(client_cuMemcpyHtoDAsync_v2(memory, host, bytes, NULL), CUDA_SUCCESS);
	assert_int_equal(client_cuCtxSynchronize(), CUDA_ERROR_UNKNOWN);
	assert_int_equal(client_cuMemcpyDtoH_v2(host, memory, bytes), CUDA_SUCCESS);
	free(host);
}

/* Boxes with gaps on every side, there, across and back. */
static void test_copy_boxes(void **state)
{
	enum { WIDTH = 100, ROWS = 7, SLICES = 3, PITCH = 128, HEIGHT = 9 };
	static unsigned char from[SLICES][HEIGHT][PITCH], to[SLICES][HEIGHT][PITCH];
	CUDA_MEMCPY3D copy = { .WidthInBytes = WIDTH, .Height = ROWS, .Depth = SLICES };
	CUdeviceptr memory, other;
	size_t pitch;

	(void)state;
	context_begin();
	fill_bytes(&from[0][0][0], sizeof(from));
	memset(to, 0, sizeof(to));
	assert_int_equal(client_cuMemAllocPitch_v2(&memory, &pitch, WIDTH, SLICES * (ROWS + 2), 4),
			 CUDA_SUCCESS);
	assert_int_equal(client_cuMemAllocPitch_v2(&other, &pitch, WIDTH, SLICES * ROWS, 4),
			 CUDA_SUCCESS);
	copy.srcMemoryType = CU_MEMORYTYPE_HOST;
	copy.srcHost = from;
	copy.srcPitch = PITCH;
	copy.srcHeight = HEIGHT;
	copy.srcXInBytes = 3;
	copy.srcY = 1;
	copy.dstMemoryType = CU_MEMORYTYPE_DEVICE;
	copy.dstDevice = memory;
	copy.dstPitch = pitch;
	copy.dstHeight = ROWS + 2;
	assert_int_equal(client_cuMemcpy3D_v2(&copy), CUDA_SUCCESS);
	copy = (CUDA_MEMCPY3D){ .WidthInBytes = WIDTH,
				.Height = ROWS,
				.Depth = SLICES,
				.srcMemoryType = CU_MEMORYTYPE_DEVICE,
				.srcDevice = memory,
				.srcPitch = pitch,
				.srcHeight = ROWS + 2,
				.dstMemoryType = CU_MEMORYTYPE_DEVICE,
				.dstDevice = other,
				.dstPitch = pitch,
				.dstHeight = ROWS };
	assert_int_equal(client_cuMemcpy3D_v2(&copy), CUDA_SUCCESS);
	copy.srcDevice = other;
	copy.srcHeight = ROWS;
	copy.dstMemoryType = CU_MEMORYTYPE_HOST;
	copy.dstHost = to;
	copy.dstPitch = PITCH;
	copy.dstHeight = HEIGHT;
	copy.dstXInBytes = 5;
	assert_int_equal(client_cuMemcpy3D_v2(&copy), CUDA_SUCCESS);
	for (int slice = 0; slice < SLICES; slice++) {
		for (int row = 0; row < ROWS; row++)
			assert_memory_equal(&from[slice][row + 1][3], &to[slice][row][5], WIDTH);
		assert_int_equal(to[slice][0][4], 0);
		assert_int_equal(to[slice][0][5 + WIDTH], 0);
	}
	copy.dstPitch = 50;
	assert_int_equal(client_cuMemcpy3D_v2(&copy), CUDA_ERROR_INVALID_VALUE);
	copy.dstPitch = PITCH;
	copy.Height = (size_t)1 << 62;
	assert_int_equal(client_cuMemcpy3D_v2(&copy), CUDA_ERROR_INVALID_VALUE);
}

static void test_fill_is_checked(void **state)
{
	unsigned char bytes[16];
	CUdeviceptr memory;

	(void)state;
	context_begin();
	assert_int_equal(client_cuMemAlloc_v2(&memory, 16), CUDA_SUCCESS);
	assert_int_equal(client_cuMemsetD8_v2(memory, 9, 16), CUDA_SUCCESS);
	assert_int_equal(client_cuMemsetD8_v2(memory, 8, 17), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(client_cuMemsetD32_v2(memory, 8, SIZE_MAX / 2), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(client_cuMemcpyDtoH_v2(bytes, memory, 16), CUDA_SUCCESS);
	assert_int_equal(bytes[15], 9);
}

/* Where something of this process lies at a device address, another block is taken. */
static void test_address_taken(void **state)
{
	void *there = mmap((void *)(FAKE_MEMORY_BASE + 4096), 4096, PROT_READ,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	CUdeviceptr memory, next;
	struct {
		char at[4096];
	} *seen = there;

	(void)state;
	assert_ptr_equal(there, (void *)(FAKE_MEMORY_BASE + 4096));
	context_begin();
	assert_int_equal(client_cuMemAlloc_v2(&memory, 4096), CUDA_SUCCESS);
	assert_true(memory != (uintptr_t)there);
	assert_int_equal(seen->at[0], 0); /* still ours */
	/* And what was taken is reserved: nothing else can lie there now. */
	assert_ptr_equal(mmap((void *)(uintptr_t)memory, 4096, PROT_READ,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0),
			 MAP_FAILED);
	/* Small blocks share pages; the page stays until the last one goes. */
	assert_int_equal(client_cuMemAlloc_v2(&next, 100), CUDA_SUCCESS);
	assert_int_equal(client_cuMemAlloc_v2(&memory, 100), CUDA_SUCCESS);
	assert_int_equal(next >> 12, memory >> 12);
	assert_int_equal(client_cuMemFree_v2(next), CUDA_SUCCESS);
	assert_int_equal(client_cuMemFree_v2(next), CUDA_ERROR_INVALID_VALUE);
	assert_ptr_equal(mmap((void *)(uintptr_t)(memory & ~4095ull), 4096, PROT_READ,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0),
			 MAP_FAILED);
	assert_int_equal(client_cuMemFree_v2(memory), CUDA_SUCCESS);
	there = mmap((void *)(uintptr_t)(memory & ~4095ull), 4096, PROT_READ,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	assert_ptr_not_equal(there, MAP_FAILED);
	munmap(there, 4096);
	munmap(seen, 4096);
}

static void test_memory_limit(void **state)
{
	CUdeviceptr first, second;
	size_t free_bytes, total;

	(void)state;
	context_begin();
	assert_int_equal(client_cuMemAlloc_v2(&first, 700000), CUDA_SUCCESS);
	assert_int_equal(client_cuMemGetInfo_v2(&free_bytes, &total), CUDA_SUCCESS);
	assert_int_equal(total, 1u << 20);
	assert_int_equal(free_bytes, (1u << 20) - 700000);
	assert_int_equal(client_cuMemAlloc_v2(&second, 700000), CUDA_ERROR_OUT_OF_MEMORY);
	assert_int_equal(client_cuMemAllocAsync(&second, 700000, NULL), CUDA_ERROR_OUT_OF_MEMORY);
	assert_int_equal(client_cuMemFree_v2(first), CUDA_SUCCESS);
	assert_int_equal(client_cuMemAlloc_v2(&second, 700000), CUDA_SUCCESS);
}

struct runner {
	CUcontext context;
	CUfunction function;
	uint64_t number;
	CUresult result;
};

static void *run_launches(void *data)
{
	struct runner *runner = data;

	runner->result = client_cuCtxSetCurrent(runner->context);
	for (uint64_t i = 0; i < LAUNCHES && !runner->result; i++) {
		runner->result = note(runner->function, runner->number << 32 | i, 32);
		if (!runner->result && i % 64 == 0)
			runner->result = client_cuCtxSynchronize();
		if (!runner->result && i % 50 == 0)
			runner->result = client_send_ping();
	}
	return NULL;
}

/* Each thread's launches stay in its order, whatever the others do. */
static void test_threads_keep_order(void **state)
{
	struct runner runners[THREADS];
	pthread_t threads[THREADS];
	uint64_t next[THREADS] = { 0 };
	CUcontext context;
	CUfunction function;

	(void)state;
	context = context_begin();
	function = function_get("note");
	for (uint64_t i = 0; i < THREADS; i++) {
		runners[i] =
			(struct runner){ .context = context, .function = function, .number = i };
		pthread_create(&threads[i], NULL, run_launches, &runners[i]);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(runners[i].result, CUDA_SUCCESS);
	}
	assert_int_equal(client_cuCtxSynchronize(), CUDA_SUCCESS);
	assert_int_equal(fake_launched(), THREADS * LAUNCHES);
	for (unsigned int i = 0; i < fake_launched(); i++) {
		uint64_t thread = fake_noted(i) >> 32;

		assert_true(thread < THREADS);
		assert_int_equal((uint32_t)fake_noted(i), next[thread]);
		next[thread]++;
	}
}

static void *run_synchronize(void *data)
{
	struct runner *runner = data;

	runner->result = client_cuCtxSetCurrent(runner->context);
	if (!runner->result)
		runner->result = client_cuStreamSynchronize(NULL);
	return NULL;
}

/* While threads wait for the device, others are served. */
static void test_waiting_stalls_nobody(void **state)
{
	struct runner runners[THREADS];
	pthread_t threads[THREADS];
	CUfunction function;
	CUcontext context;
	CUdeviceptr memory;

	(void)state;
	context = context_begin();
	function = function_get("note");
	__atomic_store_n(&fake.hold, true, __ATOMIC_RELEASE);
	for (int i = 0; i < THREADS; i++) {
		runners[i] = (struct runner){ .context = context };
		pthread_create(&threads[i], NULL, run_synchronize, &runners[i]);
	}
	while (__atomic_load_n(&fake.waiting, __ATOMIC_ACQUIRE) < THREADS)
		sched_yield();
	assert_int_equal(client_cuMemAlloc_v2(&memory, 64), CUDA_SUCCESS);
	assert_int_equal(note(function, 3, 1), CUDA_SUCCESS);
	assert_int_equal(client_send_ping(), CUDA_SUCCESS);
	assert_int_equal(client_cuStreamQuery(NULL), CUDA_ERROR_NOT_READY);
	assert_int_equal(fake_launched(), 1);
	__atomic_store_n(&fake.hold, false, __ATOMIC_RELEASE);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(runners[i].result, CUDA_SUCCESS);
	}
}

static void test_host_functions(void **state)
{
	unsigned int called = 0;
	CUfunction function;

	(void)state;
	context_begin();
	function = function_get("note");
	for (int i = 0; i < 20; i++) {
		assert_int_equal(client_cuLaunchHostFunc(NULL, host_note, &called), CUDA_SUCCESS);
		/* More than may be queued behind one that does not return. */
		for (uint64_t k = 0; k < 300; k++)
			assert_int_equal(note(function, k, 1), CUDA_SUCCESS);
	}
	while (__atomic_load_n(&called, __ATOMIC_ACQUIRE) < 20)
		sched_yield();
	assert_int_equal(client_cuCtxSynchronize(), CUDA_SUCCESS);
}

static void test_pointer_attributes(void **state)
{
	CUpointer_attribute names[] = { CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
					CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL };
	unsigned int type = 77;
	int ordinal = 77;
	void *values[] = { &type, &ordinal };
	CUdeviceptr memory, base;
	size_t bytes;
	void *host;
	int plain;

	(void)state;
	context_begin();
	assert_int_equal(client_cuMemAlloc_v2(&memory, 1000), CUDA_SUCCESS);
	assert_int_equal(client_cuMemHostAlloc(&host, 1000, 0), CUDA_SUCCESS);
	assert_int_equal(client_cuPointerGetAttribute(&type, names[0], memory + 999), CUDA_SUCCESS);
	assert_int_equal(type, CU_MEMORYTYPE_DEVICE);
	assert_int_equal(client_cuPointerGetAttribute(&type, names[0], (uintptr_t)host),
			 CUDA_SUCCESS);
	assert_int_equal(type, CU_MEMORYTYPE_HOST);
	assert_int_equal(client_cuPointerGetAttribute(&type, names[0], (uintptr_t)&plain),
			 CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(client_cuPointerGetAttributes(2, names, values, (uintptr_t)&plain),
			 CUDA_SUCCESS);
	assert_int_equal(type, 0);
	assert_int_equal(ordinal, CU_DEVICE_INVALID);
	assert_int_equal(client_cuMemGetAddressRange_v2(&base, &bytes, memory + 10), CUDA_SUCCESS);
	assert_int_equal(base, memory);
	assert_int_equal(bytes, 1000);
	assert_int_equal(client_cuMemHostRegister_v2(host, 10, 0),
			 CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
	assert_int_equal(client_cuMemHostGetDevicePointer_v2(&base, host, 0),
			 CUDA_ERROR_NOT_SUPPORTED);
	assert_int_equal(client_cuMemFreeHost(host), CUDA_SUCCESS);
	assert_int_equal(client_cuMemFreeHost(host), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(client_cuMemHostUnregister(&plain), CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
	assert_int_equal(client_cuMemAllocManaged(&base, 64, CU_MEM_ATTACH_GLOBAL),
			 CUDA_ERROR_NOT_SUPPORTED);
}

/* send_raw - bytes that no client would send; the worker must end that connection alone */
static void send_raw(const void *bytes, size_t count)
{
	assert_int_equal(link_write(client.link, bytes, count), 0);
	assert_int_equal(link_flush(client.link), 0);
	assert_int_equal(client_send_ping(), CUDA_ERROR_DEVICE_UNAVAILABLE);
	assert_int_equal(client_cuCtxSynchronize(), CUDA_ERROR_DEVICE_UNAVAILABLE);
	assert_int_equal(cuda_pair_result(), -EPROTO);
}

static void test_broken_length(void **state)
{
	struct cuda_wire_request request = { .bytes = UINT32_MAX & ~7u, .call = CALL_ping };

	(void)state;
	send_raw(&request, sizeof(request));
}

static void test_broken_call(void **state)
{
	struct cuda_wire_request request = { .bytes = 32, .call = CALL_count };

	(void)state;
	send_raw(&request, sizeof(request));
}

static void test_broken_bulk(void **state)
{
	struct cuda_wire_request request = { .bytes = 32,
					     .call = CALL_ping,
					     .bulk_bytes = 1ull << 32 };

	(void)state;
	send_raw(&request, sizeof(request));
}

static void test_broken_block(void **state)
{
	struct cuda_wire_request request = { .bytes = 24, .call = CALL_ping };

	(void)state;
	send_raw(&request, sizeof(request));
}

/* 4 GiB for a block of 64 bytes, and an image of 4 GiB: refused, and the bytes are dropped. */
static void test_huge_bulk(void **state)
{
	struct wire_module_load_request load = { .module = 77 };
	struct {
		struct cuda_wire_request head;
		struct wire_module_load_request block;
	} request = {
		.head = { .bytes = sizeof(request),
			  .call = CALL_module_load,
			  .bulk_bytes = worker_options.image_limit + 4096 },
		.block = load,
	};
	char *bulk = calloc(1, worker_options.image_limit + 4096);

	(void)state;
	context_begin();
	request.head.context = client_context_number();
	assert_int_equal(link_write(client.link, &request, sizeof(request)), 0);
	assert_int_equal(link_write(client.link, bulk, worker_options.image_limit + 4096), 0);
	free(bulk);
	assert_int_equal(link_flush(client.link), 0);
	/* Nobody waits for sequence 0, so the client itself finds the answer out of place. */
	assert_int_equal(client_send_ping(), CUDA_ERROR_DEVICE_UNAVAILABLE);
}

/* A list that is longer than the wire's, or than what is left of the reply, is refused whole. */
static void test_long_lists(void **state)
{
	static const uint64_t numbers[CUDA_WIRE_LIST_MAX + 1] = { 7, 8 };
	struct worker_call call;
	void *room;

	(void)state;
	assert_int_equal(worker_call_open(&call), 0);
	call.request.call = CALL_ping; /* whose reply has no block */
	assert_int_equal(worker_list_count(CUDA_WIRE_LIST_MAX + 1), CUDA_WIRE_LIST_MAX);
	assert_null(worker_list(&call, CUDA_WIRE_LIST_MAX + 1, sizeof(*numbers)));
	room = worker_list(&call, CUDA_WIRE_LIST_MAX, sizeof(*numbers));
	assert_non_null(room);
	free(room);

	assert_int_equal(worker_list_add(&call, numbers, CUDA_WIRE_LIST_MAX + 1, sizeof(*numbers)),
			 CUDA_ERROR_NOT_SUPPORTED);
	assert_int_equal(worker_list_add(&call, numbers, 2, WORKER_PAYLOAD_BYTES),
			 CUDA_ERROR_NOT_SUPPORTED);
	assert_int_equal(call.reply_tail_bytes, 0);
	/* Three of the longest fit in 64 KiB. With the fourth, none of them is in the reply. */
	for (unsigned int i = 1; i <= 3; i++) {
		assert_int_equal(
			worker_list_add(&call, numbers, CUDA_WIRE_LIST_MAX, sizeof(*numbers)),
			CUDA_SUCCESS);
		assert_int_equal(call.reply_tail_bytes, i * CUDA_WIRE_LIST_MAX * sizeof(*numbers));
	}
	assert_int_equal(worker_list_add(&call, numbers, CUDA_WIRE_LIST_MAX, sizeof(*numbers)),
			 CUDA_ERROR_NOT_SUPPORTED);
	assert_int_equal(call.reply_tail_bytes, 0);
	call.reply_tail_bytes = WORKER_PAYLOAD_BYTES - 8;
	assert_int_equal(worker_list_add(&call, numbers, 9, 1), CUDA_ERROR_NOT_SUPPORTED);
	assert_int_equal(call.reply_tail_bytes, 0);
	call.reply_tail_bytes = WORKER_PAYLOAD_BYTES - 8;
	assert_int_equal(worker_list_add(&call, numbers, 8, 1), CUDA_SUCCESS);
	assert_memory_equal(call.reply + WORKER_PAYLOAD_BYTES - 8, numbers, 8);
	worker_call_close(&call);
}

/* The worker gives numbers to handles of the driver's as long as it has any. */
static void test_lists_of_handles(void **state)
{
	static void *handles[CUDA_WIRE_LIST_MAX];
	struct worker_call call;
	uint32_t number;

	(void)state;
	assert_int_equal(worker_call_open(&call), 0);
	call.request.call = CALL_ping;
	for (uintptr_t i = 0; i < CUDA_WIRE_LIST_MAX; i++)
		handles[i] = (void *)(0x1000 + 8 * i);
	/* The driver filled all that it was given, and may have more. */
	assert_int_equal(worker_list_handles(&call, KIND_node, 0, handles, CUDA_WIRE_LIST_MAX,
					     CUDA_WIRE_LIST_MAX + 1),
			 CUDA_ERROR_NOT_SUPPORTED);
	assert_int_equal(call.reply_tail_bytes, 0);
	assert_int_equal(worker_handle_known(KIND_node, handles[0]), 0);
	/* One less than that, and it has no more. */
	assert_int_equal(worker_list_handles(&call, KIND_node, 0, handles, CUDA_WIRE_LIST_MAX - 1,
					     CUDA_WIRE_LIST_MAX + 1),
			 CUDA_SUCCESS);
	memcpy(&number, call.reply + sizeof(number), sizeof(number));
	assert_int_equal(worker_handle_known(KIND_node, handles[1]), number);
	assert_true(number >= CUDA_WIRE_HANDLES_CLIENT);

	call.reply_tail_bytes = WORKER_PAYLOAD_BYTES - 8;
	assert_int_equal(worker_list_handles(&call, KIND_node, 0, handles, 3, 3),
			 CUDA_ERROR_NOT_SUPPORTED);
	assert_int_equal(call.reply_tail_bytes, 0);

	/* No number is left, and those that were given stay. */
	for (uintptr_t i = 0;
	     i < CUDA_WIRE_HANDLES - CUDA_WIRE_HANDLES_CLIENT - (CUDA_WIRE_LIST_MAX - 1); i++)
		assert_int_equal(worker_handle_number(&call, KIND_node, (void *)(0x100000 + 8 * i),
						      0, &number),
				 CUDA_SUCCESS);
	assert_int_equal(worker_list_handles(&call, KIND_node, 0, handles, CUDA_WIRE_LIST_MAX - 1,
					     CUDA_WIRE_LIST_MAX),
			 CUDA_SUCCESS);
	assert_int_equal(worker_list_handles(&call, KIND_node, 0, handles + 1,
					     CUDA_WIRE_LIST_MAX - 1, CUDA_WIRE_LIST_MAX),
			 CUDA_ERROR_OUT_OF_MEMORY);
	assert_int_equal(call.reply_tail_bytes, 0);
	worker_call_close(&call);
	worker_table_close();
}

static void test_fork(void **state)
{
	CUdeviceptr memory;
	int status;
	pid_t child;

	(void)state;
	context_begin();
	client_fork_prepare();
	child = fork();
	if (!child) {
		bool right = client_cuInit(0) == CUDA_ERROR_NOT_INITIALIZED &&
			     client_cuMemAlloc_v2(&memory, 64) == CUDA_ERROR_NOT_INITIALIZED &&
			     client_cuCtxSynchronize() == CUDA_ERROR_NOT_INITIALIZED;
		_exit(right ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	/* The parent's link is as before. */
	assert_int_equal(client_cuMemAlloc_v2(&memory, 64), CUDA_SUCCESS);
}

/* The worker goes away while threads wait: each gets an error, and none hangs. */
static void test_lost_while_waiting(void **state)
{
	struct runner runners[THREADS];
	pthread_t threads[THREADS];
	CUcontext context;
	CUdeviceptr memory;

	(void)state;
	context = context_begin();
	__atomic_store_n(&fake.hold, true, __ATOMIC_RELEASE);
	for (int i = 0; i < THREADS; i++) {
		runners[i] = (struct runner){ .context = context };
		pthread_create(&threads[i], NULL, run_synchronize, &runners[i]);
	}
	while (__atomic_load_n(&fake.waiting, __ATOMIC_ACQUIRE) < THREADS)
		sched_yield();
	link_shutdown(worker_link);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(runners[i].result, CUDA_ERROR_DEVICE_UNAVAILABLE);
	}
	assert_int_equal(client_cuMemAlloc_v2(&memory, 64), CUDA_ERROR_DEVICE_UNAVAILABLE);
	__atomic_store_n(&fake.hold, false, __ATOMIC_RELEASE);
	while (__atomic_load_n(&fake.waiting, __ATOMIC_ACQUIRE))
		sched_yield();
}

#define BOTH(test)                                                      \
	{ #test " over unix", test, open_unix, pair_close, NULL },      \
	{                                                               \
#test " over a ring", test, open_ring, pair_close, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_launch_needs_no_answer),
		BOTH(test_launch_with_clusters_is_asked_once),
		BOTH(test_launch_starts_by_itself),
		BOTH(test_late_error_once),
		BOTH(test_late_error_reaches_a_copy),
		BOTH(test_lasting_error),
		BOTH(test_bad_geometry_at_once),
		BOTH(test_failed_create),
		BOTH(test_wrong_handles),
		BOTH(test_children_end),
		BOTH(test_kernel_for_function),
		BOTH(test_jit_log),
		{ "test_missing_symbols", test_missing_symbols, open_missing, pair_close, NULL },
		BOTH(test_copy_linear),
		BOTH(test_copy_fails),
		BOTH(test_copy_boxes),
		BOTH(test_fill_is_checked),
		BOTH(test_address_taken),
		{ "test_memory_limit", test_memory_limit, open_limited, pair_close, NULL },
		BOTH(test_threads_keep_order),
		BOTH(test_waiting_stalls_nobody),
		BOTH(test_host_functions),
		BOTH(test_pointer_attributes),
		BOTH(test_broken_length),
		BOTH(test_broken_call),
		BOTH(test_broken_bulk),
		BOTH(test_broken_block),
		BOTH(test_huge_bulk),
		cmocka_unit_test(test_long_lists),
		cmocka_unit_test(test_lists_of_handles),
		BOTH(test_fork),
		BOTH(test_lost_while_waiting),
	};

	int failed = 0;

	/* Client and worker are made for one connection in a process's life: a process for each. */
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		const struct CMUnitTest one[] = { tests[i] };
		int status;
		pid_t child;

		fflush(NULL);
		child = fork();
		if (!child)
			exit(cmocka_run_group_tests_name(one[0].name, one, NULL, NULL));
		if (waitpid(child, &status, 0) != child || status)
			failed++;
	}
	return failed ? 1 : 0;
}
