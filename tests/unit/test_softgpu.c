/* SPDX-License-Identifier: Apache-2.0 */
/*
 * softgpu's driver over a machine of the test's own (softgpu_machine.c): order of streams, events,
 * memory, errors that stay. Nothing here sleeps: a kernel that waits for a word stands for work
 * that takes long.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "cuda/softgpu/ptx.h"
#include "gen/cuda_types.h"

#define MEMORY_MIB 64

static CUcontext context;
static CUmodule module;

static CUfunction function(const char *name)
{
	CUfunction found;

	assert_int_equal(cuModuleGetFunction(&found, module, name), CUDA_SUCCESS);
	return found;
}

static CUresult launch1(CUfunction kernel, CUstream stream, uint64_t first, uint64_t second)
{
	void *parameters[] = { &first, &second };

	return cuLaunchKernel(kernel, 1, 1, 1, 1, 1, 1, 0, stream, parameters, NULL);
}

static CUresult launch2(const char *name, CUstream stream, uint64_t first, uint64_t second)
{
	return launch1(function(name), stream, first, second);
}

static uint64_t *device_words(size_t count)
{
	CUdeviceptr address;

	assert_int_equal(cuMemAlloc_v2(&address, 8 * count), CUDA_SUCCESS);
	assert_int_equal(cuMemsetD8_v2(address, 0, 8 * count), CUDA_SUCCESS);
	return (uint64_t *)address;
}

static void release(uint64_t *words)
{
	assert_int_equal(cuMemFree_v2((CUdeviceptr)words), CUDA_SUCCESS);
}

/* The stream has work and keeps it, also when its thread is given every chance to run. */
static void expect_held(CUstream stream)
{
	for (int i = 0; i < 2000; i++) {
		assert_int_equal(cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
		sched_yield();
	}
}

/* Every test has a context of its own, so that a failure in one does not reach the next. */
static int setup(void **state)
{
	(void)state;
	assert_int_equal(cuCtxCreate_v2(&context, 0, 0), CUDA_SUCCESS);
	assert_int_equal(cuModuleLoadData(&module, "machine"), CUDA_SUCCESS);
	return 0;
}

static int teardown(void **state)
{
	size_t free_bytes, total;

	(void)state;
	assert_int_equal(cuCtxDestroy_v2(context), CUDA_SUCCESS);
	/* Whatever a test left behind ended with its context. */
	assert_int_equal(cuCtxCreate_v2(&context, 0, 0), CUDA_SUCCESS);
	assert_int_equal(cuMemGetInfo_v2(&free_bytes, &total), CUDA_SUCCESS);
	assert_int_equal(free_bytes, total);
	assert_int_equal(cuCtxDestroy_v2(context), CUDA_SUCCESS);
	return 0;
}

static void test_order_in_stream(void **state)
{
	uint64_t *words = device_words(2);
	CUstream stream;

	(void)state;
	assert_int_equal(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), CUDA_SUCCESS);
	assert_int_equal(cuCtxSynchronize(), CUDA_SUCCESS);
	assert_int_equal(launch2("wait", stream, (uint64_t)&words[0], 0), CUDA_SUCCESS);
	for (int i = 0; i < 500; i++)
		assert_int_equal(launch2("add", stream, (uint64_t)&words[1], 1), CUDA_SUCCESS);
	assert_int_equal(cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
	assert_int_equal(words[1], 0);
	words[0] = 1;
	assert_int_equal(cuStreamSynchronize(stream), CUDA_SUCCESS);
	assert_int_equal(words[1], 500);
	assert_int_equal(cuStreamQuery(stream), CUDA_SUCCESS);
	assert_int_equal(cuStreamDestroy_v2(stream), CUDA_SUCCESS);
	assert_int_equal(cuStreamQuery(stream), CUDA_ERROR_INVALID_HANDLE);
	assert_int_equal(cuStreamDestroy_v2(stream), CUDA_ERROR_INVALID_HANDLE);
	release(words);
}

static void test_legacy_order(void **state)
{
	uint64_t *words = device_words(3);
	CUstream blocking, apart;

	(void)state;
	assert_int_equal(cuStreamCreate(&blocking, CU_STREAM_DEFAULT), CUDA_SUCCESS);
	assert_int_equal(cuStreamCreate(&apart, CU_STREAM_NON_BLOCKING), CUDA_SUCCESS);
	assert_int_equal(cuCtxSynchronize(), CUDA_SUCCESS);
	/* The default stream waits for the blocking one ... */
	assert_int_equal(launch2("wait", blocking, (uint64_t)&words[0], 0), CUDA_SUCCESS);
	assert_int_equal(launch2("store", NULL, (uint64_t)&words[1], 7), CUDA_SUCCESS);
	/* ... and the blocking one for it, but not a non-blocking stream. */
	assert_int_equal(launch2("add", blocking, (uint64_t)&words[1], 1), CUDA_SUCCESS);
	assert_int_equal(launch2("store", apart, (uint64_t)&words[2], 9), CUDA_SUCCESS);
	assert_int_equal(cuStreamSynchronize(apart), CUDA_SUCCESS);
	assert_int_equal(words[2], 9);
	assert_int_equal(words[1], 0);
	expect_held(NULL);
	expect_held(blocking);
	assert_int_equal(words[1], 0);
	words[0] = 1;
	assert_int_equal(cuStreamSynchronize(NULL), CUDA_SUCCESS);
	assert_int_equal(cuStreamSynchronize(blocking), CUDA_SUCCESS);
	assert_int_equal(words[1], 8);
	words[0] = 0;
	assert_int_equal(launch2("wait", NULL, (uint64_t)&words[0], 0), CUDA_SUCCESS);
	assert_int_equal(launch2("add", blocking, (uint64_t)&words[1], 1), CUDA_SUCCESS);
	expect_held(blocking);
	assert_int_equal(words[1], 8);
	words[0] = 1;
	assert_int_equal(cuStreamSynchronize(blocking), CUDA_SUCCESS);
	assert_int_equal(words[1], 9);
	release(words);
}

static void *per_thread_main(void *argument)
{
	uint64_t *words = argument;
	void *parameters[] = { &words, &(uint64_t){ 5 } };

	assert_int_equal(cuCtxSetCurrent(context), CUDA_SUCCESS);
	assert_int_equal(
		cuLaunchKernel_ptsz(function("store"), 1, 1, 1, 1, 1, 1, 0, NULL, parameters, NULL),
		CUDA_SUCCESS);
	assert_int_equal(cuStreamSynchronize_ptsz(NULL), CUDA_SUCCESS);
	assert_int_equal(words[0], 5);
	return NULL;
}

static void test_per_thread_stream(void **state)
{
	uint64_t *words = device_words(2);
	pthread_t thread;

	(void)state;
	assert_int_equal(cuCtxSynchronize(), CUDA_SUCCESS);
	/* This thread's own default stream is busy; another thread's is not. */
	assert_int_equal(launch2("wait", CU_STREAM_PER_THREAD, (uint64_t)&words[1], 0),
			 CUDA_SUCCESS);
	assert_int_equal(cuStreamQuery_ptsz(NULL), CUDA_ERROR_NOT_READY);
	assert_int_equal(pthread_create(&thread, NULL, per_thread_main, words), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(cuStreamQuery(CU_STREAM_PER_THREAD), CUDA_ERROR_NOT_READY);
	/* The legacy stream comes after it, as it is a blocking one. */
	assert_int_equal(launch2("store", NULL, (uint64_t)&words[0], 6), CUDA_SUCCESS);
	words[1] = 1;
	assert_int_equal(cuStreamSynchronize(NULL), CUDA_SUCCESS);
	assert_int_equal(words[0], 6);
	release(words);
}

static void test_events(void **state)
{
	uint64_t *words = device_words(2);
	CUstream first, second;
	CUevent start, end, plain;
	float milliseconds = -1;
	struct timespec from, now;

	(void)state;
	assert_int_equal(cuStreamCreate(&first, CU_STREAM_NON_BLOCKING), CUDA_SUCCESS);
	assert_int_equal(cuStreamCreate(&second, CU_STREAM_NON_BLOCKING), CUDA_SUCCESS);
	assert_int_equal(cuEventCreate(&start, CU_EVENT_DEFAULT), CUDA_SUCCESS);
	assert_int_equal(cuEventCreate(&end, CU_EVENT_DEFAULT), CUDA_SUCCESS);
	assert_int_equal(cuEventCreate(&plain, CU_EVENT_DISABLE_TIMING), CUDA_SUCCESS);
	assert_int_equal(cuCtxSynchronize(), CUDA_SUCCESS);
	assert_int_equal(cuEventElapsedTime_v2(&milliseconds, start, end),
			 CUDA_ERROR_INVALID_HANDLE);
	assert_int_equal(cuEventQuery(end), CUDA_SUCCESS); /* never recorded */
	assert_int_equal(cuEventRecord(start, first), CUDA_SUCCESS);
	assert_int_equal(launch2("wait", first, (uint64_t)&words[0], 0), CUDA_SUCCESS);
	assert_int_equal(launch2("store", first, (uint64_t)&words[1], 3), CUDA_SUCCESS);
	assert_int_equal(cuEventRecord(end, first), CUDA_SUCCESS);
	assert_int_equal(cuEventRecord(plain, first), CUDA_SUCCESS);
	assert_int_equal(cuStreamWaitEvent(second, end, 0), CUDA_SUCCESS);
	assert_int_equal(launch2("add", second, (uint64_t)&words[1], 4), CUDA_SUCCESS);
	assert_int_equal(cuEventQuery(end), CUDA_ERROR_NOT_READY);
	expect_held(second);
	assert_int_equal(words[1], 0);
	assert_int_equal(cuEventElapsedTime_v2(&milliseconds, start, end), CUDA_ERROR_NOT_READY);
	clock_gettime(CLOCK_MONOTONIC, &from);
	do { /* the work takes two milliseconds more: the time is that of the end, not of the call
	      */
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - from.tv_sec) * 1000000000 + now.tv_nsec - from.tv_nsec < 2000000);
	words[0] = 1;
	assert_int_equal(cuEventSynchronize(end), CUDA_SUCCESS);
	assert_int_equal(cuStreamSynchronize(second), CUDA_SUCCESS);
	assert_int_equal(words[1], 7);
	assert_int_equal(cuEventElapsedTime_v2(&milliseconds, start, end), CUDA_SUCCESS);
	assert_true(milliseconds >= 2 && milliseconds < 100000);
	assert_int_equal(cuEventElapsedTime_v2(&milliseconds, start, plain),
			 CUDA_ERROR_INVALID_HANDLE);
	assert_int_equal(cuEventDestroy_v2(end), CUDA_SUCCESS);
	assert_int_equal(cuEventQuery(end), CUDA_ERROR_INVALID_HANDLE);
	release(words);
}

static void count_call(void *data)
{
	*(int *)data += 1;
	/* A host function may not call the driver. */
	assert_int_equal(cuCtxSynchronize(), CUDA_ERROR_NOT_PERMITTED);
}

static void note_status(CUstream stream, CUresult status, void *data)
{
	(void)stream;
	*(CUresult *)data = status;
}

static void test_host_functions(void **state)
{
	CUresult status = CUDA_ERROR_UNKNOWN;
	uint64_t *words = device_words(1);
	int calls = 0;

	(void)state;
	assert_int_equal(cuLaunchHostFunc(NULL, count_call, &calls), CUDA_SUCCESS);
	assert_int_equal(cuStreamAddCallback(NULL, note_status, &status, 0), CUDA_SUCCESS);
	assert_int_equal(cuCtxSynchronize(), CUDA_SUCCESS);
	assert_int_equal(calls, 1);
	assert_int_equal(status, CUDA_SUCCESS);
	/* The fault comes once the gate is open, so that it cannot refuse the callback. */
	assert_int_equal(launch2("wait", NULL, (uint64_t)words, 0), CUDA_SUCCESS);
	assert_int_equal(launch2("fault", NULL, PTX_FAULT_TRAP, 0), CUDA_SUCCESS);
	assert_int_equal(cuStreamAddCallback(NULL, note_status, &status, 0), CUDA_SUCCESS);
	words[0] = 1;
	assert_int_equal(cuCtxSynchronize(), CUDA_ERROR_LAUNCH_FAILED);
	assert_int_equal(status, CUDA_ERROR_LAUNCH_FAILED);
}

/* What a kernel printed is there when a synchronisation returns, or the call that tells of a fault.
 */
static void test_print(void **state)
{
	int file = memfd_create("test_softgpu", 0);
	size_t bytes, total;
	char text[32] = "";
	CUresult result;
	int saved;

	(void)state;
	fflush(stdout);
	saved = dup(1);
	dup2(file, 1);
	launch2("print", NULL, 0, 0);
	cuCtxSynchronize();
	fflush(stdout);
	launch2("print", NULL, 0, 0);
	launch2("fault", NULL, PTX_FAULT_ASSERT, 0);
	do {
		sched_yield();
		result = cuMemGetInfo_v2(&bytes, &total);
	} while (result == CUDA_SUCCESS);
	fflush(stdout);
	dup2(saved, 1);
	close(saved);
	assert_int_equal(result, CUDA_ERROR_ASSERT);
	assert_int_equal(pread(file, text, sizeof(text) - 1, 0), 16);
	assert_string_equal(text, "printed\nprinted\n");
	close(file);
}

static void expect_fault(enum ptx_fault fault, CUresult result)
{
	CUfunction store = function("store"); /* after the fault it is not to be had */
	uint64_t word = 0;
	CUdeviceptr address;
	CUstream stream;
	size_t bytes;
	CUresult ran;

	assert_int_equal(cuMemAlloc_v2(&address, 8), CUDA_SUCCESS);
	assert_int_equal(launch2("fault", NULL, fault, 0), CUDA_SUCCESS);
	ran = launch1(store, NULL, address, 5); /* queued behind it, or refused already */
	assert_true(ran == CUDA_SUCCESS || ran == result);
	assert_int_equal(cuCtxSynchronize(), result);
	assert_int_equal(*(uint64_t *)address, 0); /* and it did not run */
	assert_int_equal(cuCtxSynchronize(), result);
	assert_int_equal(cuMemcpyDtoH_v2(&word, address, 8), result);
	assert_int_equal(cuMemAlloc_v2(&address, 8), result);
	assert_int_equal(cuStreamCreate(&stream, 0), result);
	assert_int_equal(cuMemGetInfo_v2(&bytes, &bytes), result);
	assert_int_equal(cuCtxDestroy_v2(context), CUDA_SUCCESS);
	assert_int_equal(setup(NULL), 0);
}

static void test_faults(void **state)
{
	(void)state;
	expect_fault(PTX_FAULT_ILLEGAL_ADDRESS, CUDA_ERROR_ILLEGAL_ADDRESS);
	expect_fault(PTX_FAULT_MISALIGNED_ADDRESS, CUDA_ERROR_MISALIGNED_ADDRESS);
	expect_fault(PTX_FAULT_ILLEGAL_INSTRUCTION, CUDA_ERROR_ILLEGAL_INSTRUCTION);
	expect_fault(PTX_FAULT_TRAP, CUDA_ERROR_LAUNCH_FAILED);
	expect_fault(PTX_FAULT_ASSERT, CUDA_ERROR_ASSERT);
	expect_fault(PTX_FAULT_STACK, CUDA_ERROR_HARDWARE_STACK_ERROR);
}

static void test_fault_stops_others(void **state)
{
	uint64_t *words = device_words(1);
	CUstream stream;

	(void)state;
	assert_int_equal(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), CUDA_SUCCESS);
	assert_int_equal(cuCtxSynchronize(), CUDA_SUCCESS);
	assert_int_equal(launch2("wait", stream, (uint64_t)words, 0), CUDA_SUCCESS);
	assert_int_equal(launch2("fault", NULL, PTX_FAULT_TRAP, 0), CUDA_SUCCESS);
	/* Nobody ever opens the gate: only the other kernel's fault ends the wait. */
	assert_int_equal(cuCtxSynchronize(), CUDA_ERROR_LAUNCH_FAILED);
}

static void test_launch_gate(void **state)
{
	uint64_t *words = device_words(1);
	uint64_t address = (uint64_t)words, value = 1;
	void *parameters[] = { &address, &value };
	uint64_t block[2] = { address, 6 };
	size_t block_bytes = sizeof(block);
	void *extra[] = { CU_LAUNCH_PARAM_BUFFER_POINTER, block, CU_LAUNCH_PARAM_BUFFER_SIZE,
			  &block_bytes, CU_LAUNCH_PARAM_END };
	CUfunction store = function("store");
	static const struct {
		unsigned int shape[6], shared;
		CUresult result;
	} cases[] = {
		{ { 1, 1, 1, 1024, 1, 1 }, 47 << 10, CUDA_SUCCESS },
		{ { 0, 1, 1, 1, 1, 1 }, 0, CUDA_ERROR_INVALID_VALUE },
		{ { 1, 1, 1, 1, 0, 1 }, 0, CUDA_ERROR_INVALID_VALUE },
		{ { 1, 65536, 1, 1, 1, 1 }, 0, CUDA_ERROR_INVALID_VALUE },
		{ { 1, 1, 1, 1, 1, 65 }, 0, CUDA_ERROR_INVALID_VALUE },
		{ { 1, 1, 1, 1025, 1, 1 }, 0, CUDA_ERROR_INVALID_VALUE },
		{ { 1, 1, 1, 512, 3, 1 }, 0, CUDA_ERROR_INVALID_VALUE },
		{ { 1, 1, 1, 1, 1, 1 }, (47 << 10) + 1, CUDA_ERROR_INVALID_VALUE },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const unsigned int *s = cases[i].shape;

		assert_int_equal(cuLaunchKernel(store, s[0], s[1], s[2], s[3], s[4], s[5],
						cases[i].shared, NULL, parameters, NULL),
				 cases[i].result);
	}
	assert_int_equal(cuLaunchKernel(store, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL),
			 CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(cuLaunchKernel(NULL, 1, 1, 1, 1, 1, 1, 0, NULL, parameters, NULL),
			 CUDA_ERROR_INVALID_HANDLE);
	assert_int_equal(cuLaunchKernel(store, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, extra),
			 CUDA_SUCCESS);
	assert_int_equal(cuCtxSynchronize(), CUDA_SUCCESS);
	assert_int_equal(words[0], 6);
	block_bytes = 15;
	assert_int_equal(cuLaunchKernel(store, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, extra),
			 CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(cuFuncSetAttribute(store, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
					    63 << 10),
			 CUDA_SUCCESS);
	assert_int_equal(cuLaunchKernel(store, 1, 1, 1, 1, 1, 1, 63 << 10, NULL, parameters, NULL),
			 CUDA_SUCCESS);
	assert_int_equal(cuFuncSetAttribute(store, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
					    64 << 10),
			 CUDA_ERROR_INVALID_VALUE);
	/* 16 blocks of 64 threads fit a multiprocessor by threads; 1 KiB of shared memory each. */
	assert_int_equal(
		cuLaunchCooperativeKernel(store, 1, 65535, 1, 64, 1, 1, 0, NULL, parameters),
		CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
	release(words);
}

#define QUEUE_MAX 1024 /* as the driver has it */

struct flood {
	CUstream stream;
	uint64_t *words;
	_Atomic int submitted;
};

static void *flood_main(void *argument)
{
	struct flood *flood = argument;

	assert_int_equal(cuCtxSetCurrent(context), CUDA_SUCCESS);
	for (int i = 0; i < 3 * QUEUE_MAX; i++) {
		assert_int_equal(launch2("add", flood->stream, (uint64_t)&flood->words[1], 1),
				 CUDA_SUCCESS);
		flood->submitted++;
	}
	return NULL;
}

static void test_queue_is_bounded(void **state)
{
	struct flood flood = { .words = device_words(2) };
	pthread_t thread;

	(void)state;
	assert_int_equal(cuStreamCreate(&flood.stream, CU_STREAM_NON_BLOCKING), CUDA_SUCCESS);
	assert_int_equal(cuCtxSynchronize(), CUDA_SUCCESS);
	assert_int_equal(launch2("wait", flood.stream, (uint64_t)&flood.words[0], 0), CUDA_SUCCESS);
	assert_int_equal(pthread_create(&thread, NULL, flood_main, &flood), 0);
	while (flood.submitted < QUEUE_MAX - 1)
		sched_yield();
	for (int i = 0; i < 1000; i++) /* time for one too many */
		sched_yield();
	assert_int_equal(flood.submitted, QUEUE_MAX - 1);
	flood.words[0] = 1;
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(cuStreamSynchronize(flood.stream), CUDA_SUCCESS);
	assert_int_equal(flood.words[1], 3 * QUEUE_MAX);
	release(flood.words);
}

static void test_out_of_memory(void **state)
{
	CUdeviceptr all, more, part[MEMORY_MIB];
	size_t free_bytes, total;

	(void)state;
	assert_int_equal(cuModuleUnload(module), CUDA_SUCCESS);
	assert_int_equal(cuMemGetInfo_v2(&free_bytes, &total), CUDA_SUCCESS);
	assert_int_equal(total, (size_t)MEMORY_MIB << 20);
	assert_int_equal(free_bytes, total);
	assert_int_equal(cuMemAlloc_v2(&all, total + 1), CUDA_ERROR_OUT_OF_MEMORY);
	assert_int_equal(cuMemAlloc_v2(&all, SIZE_MAX), CUDA_ERROR_OUT_OF_MEMORY);
	assert_int_equal(cuMemAlloc_v2(&all, 0), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(cuMemAlloc_v2(&all, total), CUDA_SUCCESS);
	assert_int_equal(cuMemAlloc_v2(&more, 1), CUDA_ERROR_OUT_OF_MEMORY);
	assert_int_equal(cuMemFree_v2(all), CUDA_SUCCESS);
	/* In pieces it is as much, also after every other piece went. */
	for (int i = 0; i < MEMORY_MIB; i++)
		assert_int_equal(cuMemAlloc_v2(&part[i], 1 << 20), CUDA_SUCCESS);
	assert_int_equal(cuMemAlloc_v2(&more, 1), CUDA_ERROR_OUT_OF_MEMORY);
	for (int i = 0; i < MEMORY_MIB; i += 2)
		assert_int_equal(cuMemFree_v2(part[i]), CUDA_SUCCESS);
	assert_int_equal(cuMemAlloc_v2(&all, total / 2), CUDA_SUCCESS);
	assert_int_equal(cuMemAlloc_v2(&more, 1), CUDA_ERROR_OUT_OF_MEMORY);
	assert_int_equal(cuMemFree_v2(all), CUDA_SUCCESS);
	for (int i = 0; i < MEMORY_MIB; i += 2)
		assert_int_equal(cuMemAlloc_v2(&part[i], 1 << 20), CUDA_SUCCESS);
}

static void test_memory(void **state)
{
	char host[3 * 4096];
	CUdeviceptr address, base;
	size_t bytes;

	(void)state;
	assert_int_equal(cuMemAlloc_v2(&address, 5000), CUDA_SUCCESS);
	/* New memory is zero although it was used before. */
	assert_int_equal(cuMemsetD8_v2(address, 0xff, 5000), CUDA_SUCCESS);
	assert_int_equal(cuMemFree_v2(address), CUDA_SUCCESS);
	assert_int_equal(cuMemFree_v2(address), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(cuMemAlloc_v2(&address, 5000), CUDA_SUCCESS);
	assert_int_equal(cuMemcpyDtoH_v2(host, address, 5000), CUDA_SUCCESS);
	for (int i = 0; i < 5000; i++)
		assert_int_equal(host[i], 0);
	assert_int_equal(cuMemcpyDtoH_v2(host, address, 5001), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(cuMemcpyHtoD_v2(address + 4999, host, 2), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(cuMemcpyHtoD_v2(0, host, 1), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(cuMemcpyHtoD_v2((CUdeviceptr)host, host + 4096, 1),
			 CUDA_ERROR_INVALID_VALUE);
	/* Nor does an address between allocations pass for the program's own memory. */
	assert_int_equal(cuMemcpy((CUdeviceptr)host, address + (16 << 20), 4),
			 CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(cuMemFree_v2(address + 1), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(cuMemGetAddressRange_v2(&base, &bytes, address + 17), CUDA_SUCCESS);
	assert_int_equal(base, address);
	assert_int_equal(bytes, 5000);
	assert_int_equal(cuMemsetD32_v2(address + 1, 1, 1), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(cuMemsetD16_v2(address + 4998, 0x1234, 2), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(cuMemsetD16_v2(address + 4998, 0x1234, 1), CUDA_SUCCESS);
	assert_int_equal(cuMemcpyDtoH_v2(host, address + 4996, 4), CUDA_SUCCESS);
	assert_memory_equal(host, "\0\0\x34\x12", 4);
	assert_int_equal(cuMemAllocManaged(&address, 64, CU_MEM_ATTACH_GLOBAL),
			 CUDA_ERROR_NOT_SUPPORTED);
}

static void test_boxes(void **state)
{
	unsigned char from[6][16], to[6][16] = { { 0 } };
	CUdeviceptr address;
	size_t pitch;
	CUDA_MEMCPY2D copy = { .srcMemoryType = CU_MEMORYTYPE_HOST,
			       .srcHost = from,
			       .srcXInBytes = 2,
			       .srcY = 1,
			       .srcPitch = 16,
			       .dstMemoryType = CU_MEMORYTYPE_DEVICE,
			       .dstXInBytes = 3,
			       .dstY = 2,
			       .WidthInBytes = 10,
			       .Height = 4 };

	(void)state;
	for (int i = 0; i < 6 * 16; i++)
		((unsigned char *)from)[i] = (unsigned char)i;
	assert_int_equal(cuMemAllocPitch_v2(&address, &pitch, 16, 6, 4), CUDA_SUCCESS);
	assert_int_equal(pitch, 512);
	copy.dstDevice = address;
	copy.dstPitch = pitch;
	assert_int_equal(cuMemcpy2D_v2(&copy), CUDA_SUCCESS);
	copy.dstY = 3; /* its last row would lie behind the end */
	assert_int_equal(cuMemcpy2D_v2(&copy), CUDA_ERROR_INVALID_VALUE);
	copy.dstY = 2;
	copy.dstPitch = 9; /* less than a row */
	assert_int_equal(cuMemcpy2D_v2(&copy), CUDA_ERROR_INVALID_VALUE);
	copy = (CUDA_MEMCPY2D){ .srcMemoryType = CU_MEMORYTYPE_UNIFIED,
				.srcDevice = address,
				.srcXInBytes = 3,
				.srcY = 2,
				.srcPitch = pitch,
				.dstMemoryType = CU_MEMORYTYPE_HOST,
				.dstHost = to,
				.dstPitch = 16,
				.WidthInBytes = 10,
				.Height = 4 };
	assert_int_equal(cuMemcpy2D_v2(&copy), CUDA_SUCCESS);
	for (int row = 0; row < 4; row++)
		assert_memory_equal(to[row], &from[row + 1][2], 10);
}

static void test_pinned(void **state)
{
	CUpointer_attribute asked[] = { CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
					CU_POINTER_ATTRIBUTE_DEVICE_POINTER };
	unsigned int type = 99, flags;
	CUdeviceptr address = 99;
	void *answers[] = { &type, &address };
	uint64_t *pinned, *gate = device_words(1);
	uint64_t pageable = 5;
	CUstream stream;

	(void)state;
	assert_int_equal(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), CUDA_SUCCESS);
	assert_int_equal(cuMemHostAlloc((void **)&pinned, 4096, CU_MEMHOSTALLOC_PORTABLE),
			 CUDA_SUCCESS);
	assert_int_equal(cuMemHostGetDevicePointer_v2(&address, pinned, 0), CUDA_SUCCESS);
	assert_int_equal(cuMemHostGetFlags(&flags, pinned), CUDA_SUCCESS);
	assert_true(flags & CU_MEMHOSTALLOC_PORTABLE);
	/* A kernel may use it, and a copy from it runs behind the caller. */
	assert_int_equal(launch2("store", NULL, address, 77), CUDA_SUCCESS);
	assert_int_equal(cuCtxSynchronize(), CUDA_SUCCESS);
	assert_int_equal(pinned[0], 77);
	assert_int_equal(launch2("wait", stream, (uint64_t)gate, 0), CUDA_SUCCESS);
	assert_int_equal(cuMemcpyHtoDAsync_v2((CUdeviceptr)gate, pinned, 8, stream), CUDA_SUCCESS);
	assert_int_equal(cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
	*gate = 1;
	assert_int_equal(cuStreamSynchronize(stream), CUDA_SUCCESS);
	assert_int_equal(*gate, 77);

	assert_int_equal(cuPointerGetAttributes(2, asked, answers, (CUdeviceptr)pinned),
			 CUDA_SUCCESS);
	assert_int_equal(type, CU_MEMORYTYPE_HOST);
	assert_int_equal(cuPointerGetAttributes(2, asked, answers, (CUdeviceptr)&pageable),
			 CUDA_SUCCESS);
	assert_int_equal(type, 0);
	assert_int_equal(address, 0);
	assert_int_equal(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
					       (CUdeviceptr)&pageable),
			 CUDA_ERROR_INVALID_VALUE);
	address = ~0ul;
	assert_int_equal(cuPointerGetAttribute(&address, CU_POINTER_ATTRIBUTE_IS_MANAGED,
					       (CUdeviceptr)pinned),
			 CUDA_SUCCESS);
	assert_int_equal(address, 0xffffffff00000000); /* four bytes */
	assert_int_equal(cuMemHostRegister_v2(&pageable, 8, 0), CUDA_SUCCESS);
	assert_int_equal(cuMemHostRegister_v2(&pageable, 8, 0),
			 CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
	assert_int_equal(cuMemHostGetDevicePointer_v2(&address, &pageable, 0),
			 CUDA_ERROR_NOT_SUPPORTED);
	assert_int_equal(cuMemHostUnregister(&pageable), CUDA_SUCCESS);
	assert_int_equal(cuMemHostUnregister(&pageable), CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
	assert_int_equal(cuMemFreeHost(pinned), CUDA_SUCCESS);
	assert_int_equal(cuMemFreeHost(&pageable), CUDA_ERROR_INVALID_VALUE);
}

static void test_pool(void **state)
{
	uint64_t *gate = device_words(1);
	uint64_t used, high;
	CUdeviceptr address;
	CUmemoryPool pool;
	CUstream stream;

	(void)state;
	assert_int_equal(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), CUDA_SUCCESS);
	assert_int_equal(cuDeviceGetDefaultMemPool(&pool, 0), CUDA_SUCCESS);
	assert_int_equal(cuCtxSynchronize(), CUDA_SUCCESS);
	assert_int_equal(launch2("wait", stream, (uint64_t)gate, 0), CUDA_SUCCESS);
	assert_int_equal(cuMemAllocAsync(&address, 1 << 20, stream), CUDA_SUCCESS);
	assert_int_equal(cuMemFreeAsync(address, stream), CUDA_SUCCESS);
	/* The free is behind the waiting kernel, so it has not happened. */
	assert_int_equal(cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &used),
			 CUDA_SUCCESS);
	assert_int_equal(used, 1 << 20);
	*gate = 1;
	assert_int_equal(cuStreamSynchronize(stream), CUDA_SUCCESS);
	assert_int_equal(cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &used),
			 CUDA_SUCCESS);
	assert_int_equal(used, 0);
	assert_int_equal(cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH, &high),
			 CUDA_SUCCESS);
	assert_int_equal(high, 1 << 20);
}

static void test_modules(void **state)
{
	char log[64] = "";
	CUjit_option options[] = { CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES };
	void *values[] = { log, (void *)sizeof(log) };
	CUmodule other, here;
	CUfunction found;
	CUlibrary library;
	CUkernel kernel;
	CUdeviceptr address;
	uint64_t word = 0, value = 4;
	void *parameters[] = { &address, &value };
	size_t bytes;
	int count;

	(void)state;
	assert_int_equal(cuModuleLoadDataEx(&other, "machine refuse", 2, options, values),
			 CUDA_ERROR_INVALID_PTX);
	assert_string_equal(log, "line 2: \"refuse\" is not implemented");
	assert_int_equal((uintptr_t)values[1], strlen(log) + 1);
	assert_int_equal(cuModuleLoadData(&other, "\177ELF\2\1\1"), CUDA_ERROR_NO_BINARY_FOR_GPU);
	assert_int_equal(cuModuleLoadData(&other, ""), CUDA_ERROR_INVALID_IMAGE);
	assert_int_equal(cuModuleLoad(&other, "/nonexistent/file"), CUDA_ERROR_FILE_NOT_FOUND);
	assert_int_equal(cuModuleGetFunction(&found, module, "none"), CUDA_ERROR_NOT_FOUND);
	assert_int_equal(cuModuleGetGlobal_v2(&address, &bytes, module, "none"),
			 CUDA_ERROR_NOT_FOUND);

	assert_int_equal(cuLibraryLoadData(&library, "machine", NULL, NULL, 0, NULL, NULL, 0),
			 CUDA_SUCCESS);
	assert_int_equal(cuLibraryGetKernel(&kernel, library, "none"), CUDA_ERROR_NOT_FOUND);
	assert_int_equal(cuLibraryGetKernel(&kernel, library, "store"), CUDA_SUCCESS);
	assert_int_equal(cuLibraryGetGlobal(&address, &bytes, library, "variable"), CUDA_SUCCESS);
	assert_int_equal(bytes, 8);
	/* Runtimes pass the kernel where a function is meant. */
	assert_int_equal(
		cuLaunchKernel((CUfunction)kernel, 1, 1, 1, 1, 1, 1, 0, NULL, parameters, NULL),
		CUDA_SUCCESS);
	assert_int_equal(cuMemcpyDtoH_v2(&word, address, 8), CUDA_SUCCESS);
	assert_int_equal(word, 4);
	assert_int_equal(cuMemFree_v2(address), CUDA_ERROR_INVALID_VALUE); /* the module's */
	/* A runtime passes on what it does not know; the results are those of driver 580. */
	assert_int_equal(
		cuLaunchKernel((CUfunction)kernel, 1, 1, 1, 2048, 1, 1, 0, NULL, parameters, NULL),
		CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(cuLaunchKernel((CUfunction)&test_modules, 1, 1, 1, 1, 1, 1, 0, NULL,
					parameters, NULL),
			 CUDA_ERROR_INVALID_HANDLE);
	assert_int_equal(cuKernelGetFunction(&found, kernel), CUDA_SUCCESS);
	assert_int_equal(cuFuncGetModule(&here, found), CUDA_SUCCESS);
	assert_int_equal(cuModuleUnload(here), CUDA_ERROR_INVALID_HANDLE);
	assert_int_equal(cuOccupancyMaxActiveBlocksPerMultiprocessor(&count, found, 256, 0),
			 CUDA_SUCCESS);
	assert_int_equal(count, 4); /* 1024 threads of a multiprocessor */
	assert_int_equal(cuOccupancyMaxActiveBlocksPerMultiprocessor(&count, found, 32, 30 << 10),
			 CUDA_SUCCESS);
	assert_int_equal(count, 2); /* 64 KiB of shared memory */
	assert_int_equal(cuLibraryUnload(library), CUDA_SUCCESS);
	assert_int_equal(cuKernelGetFunction(&found, kernel), CUDA_ERROR_INVALID_HANDLE);
	assert_int_equal(cuLibraryUnload(library), CUDA_ERROR_INVALID_HANDLE);
}

/* Runtimes look kernels up before they make a context current. */
static void test_library_without_context(void **state)
{
	unsigned int count = 0;
	CUlibrary library;
	CUkernel kernel;
	uint64_t *words;
	int threads = 0;

	(void)state;
	words = device_words(1);
	assert_int_equal(cuCtxSetCurrent(NULL), CUDA_SUCCESS);
	assert_int_equal(cuLibraryLoadData(&library, "machine", NULL, NULL, 0, NULL, NULL, 0),
			 CUDA_SUCCESS);
	assert_int_equal(cuLibraryGetKernel(&kernel, library, "none"), CUDA_ERROR_NOT_FOUND);
	assert_int_equal(cuLibraryGetKernel(&kernel, library, "store"), CUDA_SUCCESS);
	assert_int_equal(cuLibraryGetKernelCount(&count, library), CUDA_SUCCESS);
	assert_true(count > 0);
	assert_int_equal(
		cuKernelGetAttribute(&threads, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, kernel, 0),
		CUDA_SUCCESS);
	assert_int_equal(threads, 1024);
	assert_int_equal(cuCtxSetCurrent(context), CUDA_SUCCESS);
	assert_int_equal(cuLaunchKernel((CUfunction)kernel, 1, 1, 1, 1, 1, 1, 0, NULL,
					(void *[]){ &words, &(uint64_t){ 3 } }, NULL),
			 CUDA_SUCCESS);
	assert_int_equal(cuCtxSynchronize(), CUDA_SUCCESS);
	assert_int_equal(words[0], 3);
	assert_int_equal(cuLibraryUnload(library), CUDA_SUCCESS);
	release(words);
}

static void test_contexts(void **state)
{
	CUcontext other, current, primary;
	CUdeviceptr address;
	unsigned int flags;
	int active;

	(void)state;
	assert_int_equal(cuCtxCreate_v2(&other, 0, 0), CUDA_SUCCESS);
	assert_int_equal(cuMemAlloc_v2(&address, 64), CUDA_SUCCESS);
	assert_int_equal(cuCtxPopCurrent_v2(&current), CUDA_SUCCESS);
	assert_ptr_equal(current, other);
	assert_int_equal(cuCtxGetCurrent(&current), CUDA_SUCCESS);
	assert_ptr_equal(current, context);
	assert_int_equal(cuCtxPushCurrent_v2(other), CUDA_SUCCESS);
	assert_int_equal(cuCtxPushCurrent_v2(context), CUDA_SUCCESS);
	assert_int_equal(cuCtxDestroy_v2(other), CUDA_SUCCESS);
	assert_int_equal(cuMemFree_v2(address), CUDA_ERROR_INVALID_VALUE); /* ended with it */
	assert_int_equal(cuCtxPopCurrent_v2(NULL), CUDA_SUCCESS);
	assert_int_equal(cuCtxSynchronize(), CUDA_ERROR_CONTEXT_IS_DESTROYED);
	assert_int_equal(cuCtxPopCurrent_v2(NULL), CUDA_SUCCESS);
	assert_int_equal(cuCtxSetCurrent(other), CUDA_ERROR_INVALID_CONTEXT);

	assert_int_equal(cuDevicePrimaryCtxGetState(0, &flags, &active), CUDA_SUCCESS);
	assert_int_equal(active, 0);
	assert_int_equal(cuDevicePrimaryCtxRetain(&primary, 0), CUDA_SUCCESS);
	assert_int_equal(cuDevicePrimaryCtxRetain(&current, 0), CUDA_SUCCESS);
	assert_ptr_equal(primary, current);
	assert_int_equal(cuDevicePrimaryCtxRelease_v2(0), CUDA_SUCCESS);
	assert_int_equal(cuDevicePrimaryCtxGetState(0, &flags, &active), CUDA_SUCCESS);
	assert_int_equal(active, 1);
	assert_int_equal(cuDevicePrimaryCtxRelease_v2(0), CUDA_SUCCESS);
	assert_int_equal(cuDevicePrimaryCtxRelease_v2(0), CUDA_ERROR_INVALID_CONTEXT);
	assert_int_equal(cuDevicePrimaryCtxGetState(0, &flags, &active), CUDA_SUCCESS);
	assert_int_equal(active, 0);
	assert_int_equal(cuCtxGetDevice(NULL), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(cuDevicePrimaryCtxRetain(&primary, 2), CUDA_ERROR_INVALID_DEVICE);
}

static void test_two_devices(void **state)
{
	CUdeviceptr here, there;
	size_t free_bytes, total;
	CUuuid uuid[2];
	CUcontext other;
	CUstream stream;
	int place[2];
	int access;

	(void)state;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(cuDeviceGetUuid_v2(&uuid[i], i), CUDA_SUCCESS);
		assert_int_equal(cuDeviceGetAttribute(&place[i], CU_DEVICE_ATTRIBUTE_PCI_BUS_ID, i),
				 CUDA_SUCCESS);
	}
	assert_memory_not_equal(&uuid[0], &uuid[1], sizeof(uuid[0]));
	assert_int_not_equal(place[0], place[1]);
	assert_int_equal(cuDeviceCanAccessPeer(&access, 0, 1), CUDA_SUCCESS);
	assert_int_equal(access, 1);
	assert_int_equal(cuMemAlloc_v2(&here, 4096), CUDA_SUCCESS);
	assert_int_equal(cuMemsetD8_v2(here, 3, 4096), CUDA_SUCCESS);
	assert_int_equal(cuStreamCreate(&stream, 0), CUDA_SUCCESS);
	assert_int_equal(cuCtxSynchronize(), CUDA_SUCCESS);

	assert_int_equal(cuCtxCreate_v2(&other, 0, 1), CUDA_SUCCESS);
	assert_int_equal(cuMemGetInfo_v2(&free_bytes, &total), CUDA_SUCCESS);
	assert_int_equal(free_bytes, total); /* what the first device holds does not count */
	assert_int_equal(cuMemAlloc_v2(&there, 4096), CUDA_SUCCESS);
	assert_int_equal(cuMemcpyPeer(there, other, here, context, 4096), CUDA_SUCCESS);
	assert_int_equal(*(char *)(there + 4095), 3);
	/* A stream of the one cannot run a function of the other, nor record its events. */
	assert_int_equal(launch2("store", NULL, there, 1), CUDA_ERROR_INVALID_HANDLE);
	assert_int_equal(cuCtxDestroy_v2(other), CUDA_SUCCESS);
	assert_int_equal(launch2("store", stream, here, 1), CUDA_SUCCESS);
}

static void test_fork(void **state)
{
	int status;
	pid_t child = fork();

	(void)state;
	if (child == 0) {
		int count;

		_exit(cuDeviceGetCount(&count) == CUDA_ERROR_NOT_INITIALIZED &&
				      cuInit(0) == CUDA_ERROR_NOT_INITIALIZED
			      ? 0
			      : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_int_equal(cuCtxSynchronize(), CUDA_SUCCESS);
}

/* Another process's part is in tests/programs/ipc.cu: here, what an export changes for its maker.
 */
static void test_export(void **state)
{
	size_t before, during, after, total, bytes;
	CUdeviceptr memory, base, opened;
	CUipcMemHandle handle, again;
	uint64_t *words;

	(void)state;
	assert_int_equal(cuMemGetInfo_v2(&before, &total), CUDA_SUCCESS);
	assert_int_equal(cuMemAlloc_v2(&memory, 3 * 4096 + 8), CUDA_SUCCESS);
	assert_int_equal(cuMemGetInfo_v2(&during, &total), CUDA_SUCCESS);
	words = (uint64_t *)memory;
	words[0] = 11;
	words[3 * 512] = 12;
	assert_int_equal(cuIpcGetMemHandle(&handle, memory + 8), CUDA_SUCCESS);
	assert_int_equal(cuIpcGetMemHandle(&again, memory), CUDA_SUCCESS);
	assert_memory_equal(&handle, &again, sizeof(handle));
	assert_int_equal(words[0], 11);
	assert_int_equal(words[3 * 512], 12);
	/* It is at the same address, works as before, and is counted once. */
	assert_int_equal(launch2("store", NULL, memory, 13), CUDA_SUCCESS);
	assert_int_equal(cuCtxSynchronize(), CUDA_SUCCESS);
	assert_int_equal(words[0], 13);
	assert_int_equal(cuMemGetAddressRange_v2(&base, &bytes, memory + 8), CUDA_SUCCESS);
	assert_int_equal(base, memory);
	assert_int_equal(bytes, 3 * 4096 + 8);
	assert_int_equal(cuMemGetInfo_v2(&after, &total), CUDA_SUCCESS);
	assert_int_equal(after, during);
	assert_int_equal(cuIpcOpenMemHandle_v2(&opened, handle, 1), CUDA_ERROR_INVALID_CONTEXT);
	assert_int_equal(cuIpcCloseMemHandle(memory), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(cuMemFree_v2(memory), CUDA_SUCCESS);
	assert_int_equal(cuMemGetInfo_v2(&after, &total), CUDA_SUCCESS);
	assert_int_equal(after, before);
	/* What comes to lie there next is private, and empty. */
	assert_int_equal(cuMemAlloc_v2(&base, 3 * 4096 + 8), CUDA_SUCCESS);
	assert_int_equal(base, memory);
	assert_int_equal(words[0], 0);
	assert_int_equal(words[3 * 512], 0);
	assert_int_equal(cuMemFree_v2(base), CUDA_SUCCESS);
	assert_int_equal(cuIpcGetMemHandle(&handle, memory), CUDA_ERROR_INVALID_VALUE);
}

static void *synchronize_main(void *stream)
{
	assert_int_equal(cuCtxSetCurrent(context), CUDA_SUCCESS);
	assert_int_equal(cuStreamSynchronize(stream), CUDA_SUCCESS);
	return NULL;
}

/* A record of an event for several processes counts from when it was asked for. */
static void test_shared_event(void **state)
{
	uint64_t *words = device_words(2);
	CUstream first, second;
	CUipcEventHandle handle;
	CUevent event, opened;
	pthread_t thread;

	(void)state;
	assert_int_equal(cuEventCreate(&event, CU_EVENT_INTERPROCESS), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(cuEventCreate(&event, CU_EVENT_INTERPROCESS | CU_EVENT_DISABLE_TIMING),
			 CUDA_SUCCESS);
	assert_int_equal(cuStreamCreate(&first, CU_STREAM_NON_BLOCKING), CUDA_SUCCESS);
	assert_int_equal(cuStreamCreate(&second, CU_STREAM_NON_BLOCKING), CUDA_SUCCESS);
	assert_int_equal(cuCtxSynchronize(), CUDA_SUCCESS);
	assert_int_equal(cuIpcGetEventHandle(&handle, event), CUDA_SUCCESS);
	assert_int_equal(cuIpcOpenEventHandle(&opened, handle), CUDA_ERROR_INVALID_CONTEXT);
	assert_int_equal(cuEventQuery(event), CUDA_SUCCESS);
	assert_int_equal(launch2("wait", first, (uint64_t)&words[1], 0), CUDA_SUCCESS);
	assert_int_equal(cuEventRecord(event, first), CUDA_SUCCESS);
	assert_int_equal(cuEventQuery(event), CUDA_ERROR_NOT_READY);
	assert_int_equal(cuStreamWaitEvent(second, event, 0), CUDA_SUCCESS);
	assert_int_equal(launch2("store", second, (uint64_t)&words[0], 5), CUDA_SUCCESS);
	assert_int_equal(pthread_create(&thread, NULL, synchronize_main, second), 0);
	assert_int_equal(cuStreamQuery(second), CUDA_ERROR_NOT_READY);
	assert_int_equal(words[0], 0);
	/* The wait is for that record, whatever comes later. */
	for (int i = 0; i < 400; i++)
		assert_int_equal(cuEventRecord(event, NULL), CUDA_SUCCESS);
	assert_int_equal(cuEventQuery(event), CUDA_SUCCESS);
	assert_int_equal(words[0], 0);
	words[1] = 1;
	assert_int_equal(pthread_join(thread, NULL), 0);
	/* More of them than there are places for. */
	for (int i = 0; i < 2000; i++)
		assert_int_equal(cuEventRecord(event, i % 2 ? first : second), CUDA_SUCCESS);
	assert_int_equal(words[0], 5);
	assert_int_equal(cuEventSynchronize(event), CUDA_SUCCESS);
	assert_int_equal(cuEventDestroy_v2(event), CUDA_SUCCESS);
	assert_int_equal(cuStreamDestroy_v2(first), CUDA_SUCCESS);
	assert_int_equal(cuStreamDestroy_v2(second), CUDA_SUCCESS);
	release(words);
}

static void test_bad_handles(void **state)
{
	uint64_t stray[64] = { 1 };
	CUevent event;

	(void)state;
	assert_int_equal(cuStreamSynchronize((CUstream)stray), CUDA_ERROR_INVALID_HANDLE);
	assert_int_equal(cuStreamSynchronize((CUstream)0x1234567), CUDA_ERROR_INVALID_HANDLE);
	assert_int_equal(cuEventCreate(&event, 0), CUDA_SUCCESS);
	assert_int_equal(cuEventQuery((CUevent)((char *)event + 8)), CUDA_ERROR_INVALID_HANDLE);
	assert_int_equal(cuModuleUnload((CUmodule)event), CUDA_ERROR_INVALID_HANDLE);
	assert_int_equal(cuCtxSetCurrent((CUcontext)stray), CUDA_ERROR_INVALID_CONTEXT);
	assert_int_equal(cuLibraryUnload((CUlibrary)stray), CUDA_ERROR_INVALID_HANDLE);
}

static void test_before_init(void)
{
	int count;

	assert_int_equal(cuDeviceGetCount(&count), CUDA_ERROR_NOT_INITIALIZED);
	assert_int_equal(cuCtxSynchronize(), CUDA_ERROR_NOT_INITIALIZED);
	assert_int_equal(cuInit(1), CUDA_ERROR_INVALID_VALUE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_order_in_stream),
		TEST(test_legacy_order),
		TEST(test_per_thread_stream),
		TEST(test_events),
		TEST(test_host_functions),
		TEST(test_print),
		TEST(test_faults),
		TEST(test_fault_stops_others),
		TEST(test_launch_gate),
		TEST(test_queue_is_bounded),
		TEST(test_out_of_memory),
		TEST(test_memory),
		TEST(test_boxes),
		TEST(test_pinned),
		TEST(test_pool),
		TEST(test_modules),
		TEST(test_library_without_context),
		TEST(test_contexts),
		TEST(test_two_devices),
		TEST(test_fork),
		TEST(test_export),
		TEST(test_shared_event),
		TEST(test_bad_handles),
	};

	setenv("SOFTGPU_DEVICES", "2", 1);
	setenv("SOFTGPU_MEMORY_MIB", "64", 1);
	setenv("CAUSEWAY_LOG", "error", 1);
	test_before_init();
	if (cuInit(0) != CUDA_SUCCESS)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
