/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Conformance of a libcuda.so.1, whatever is behind it: softgpu, the remoting client, or a real
 * driver. Drives CUDA's driver API and compares what it answers with what CUDA documents and does.
 *
 * usage: driver_api [LIBRARY]        (libcuda.so.1 by default)
 *
 * One line for each case; exit status 0, 1 where an expectation failed, 77 without a device. Cases
 * that kill their context run in processes of their own. Nothing sleeps: a kernel that waits for a
 * word, which another stream sets, stands for long work.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gen/cuda_types.h"

/* Every function used here, loaded by its exported name: cuda.cuInit(0) and so on. */
#define FUNCTIONS(X)                                   \
	X(cuInit)                                      \
	X(cuLaunchKernel_ptsz)                         \
	X(cuStreamQuery_ptsz)                          \
	X(cuStreamSynchronize_ptsz)                    \
	X(cuMemcpyDtoH_v2_ptds)                        \
	X(cuDriverGetVersion)                          \
	X(cuGetErrorName)                              \
	X(cuGetErrorString)                            \
	X(cuGetProcAddress_v2)                         \
	X(cuGetExportTable)                            \
	X(cuDeviceGet)                                 \
	X(cuDeviceGetCount)                            \
	X(cuDeviceGetName)                             \
	X(cuDeviceGetUuid_v2)                          \
	X(cuDeviceTotalMem_v2)                         \
	X(cuDeviceGetAttribute)                        \
	X(cuDeviceGetPCIBusId)                         \
	X(cuDeviceGetByPCIBusId)                       \
	X(cuDevicePrimaryCtxRetain)                    \
	X(cuDevicePrimaryCtxRelease_v2)                \
	X(cuDevicePrimaryCtxGetState)                  \
	X(cuCtxGetCurrent)                             \
	X(cuCtxSetCurrent)                             \
	X(cuCtxPushCurrent_v2)                         \
	X(cuCtxPopCurrent_v2)                          \
	X(cuCtxGetDevice)                              \
	X(cuCtxGetLimit)                               \
	X(cuCtxSynchronize)                            \
	X(cuCtxGetStreamPriorityRange)                 \
	X(cuMemGetInfo_v2)                             \
	X(cuMemAlloc_v2)                               \
	X(cuMemAllocPitch_v2)                          \
	X(cuMemAllocAsync)                             \
	X(cuMemFreeAsync)                              \
	X(cuMemFree_v2)                                \
	X(cuMemGetAddressRange_v2)                     \
	X(cuMemAddressReserve)                         \
	X(cuMemAddressFree)                            \
	X(cuMemCreate)                                 \
	X(cuMemRelease)                                \
	X(cuMemMap)                                    \
	X(cuMemUnmap)                                  \
	X(cuMemSetAccess)                              \
	X(cuMemGetAccess)                              \
	X(cuMemGetAllocationGranularity)               \
	X(cuMemGetAllocationPropertiesFromHandle)      \
	X(cuMemRetainAllocationHandle)                 \
	X(cuStreamBeginCapture_v2)                     \
	X(cuStreamEndCapture)                          \
	X(cuStreamGetCaptureInfo_v3)                   \
	X(cuGraphCreate)                               \
	X(cuGraphDestroy)                              \
	X(cuGraphClone)                                \
	X(cuGraphAddKernelNode_v2)                     \
	X(cuGraphAddMemcpyNode)                        \
	X(cuGraphAddMemsetNode)                        \
	X(cuGraphAddHostNode)                          \
	X(cuGraphAddEmptyNode)                         \
	X(cuGraphAddChildGraphNode)                    \
	X(cuGraphAddEventRecordNode)                   \
	X(cuGraphAddEventWaitNode)                     \
	X(cuGraphAddDependencies)                      \
	X(cuGraphRemoveDependencies)                   \
	X(cuGraphDestroyNode)                          \
	X(cuGraphNodeGetType)                          \
	X(cuGraphGetNodes)                             \
	X(cuGraphGetRootNodes)                         \
	X(cuGraphGetEdges)                             \
	X(cuGraphNodeGetDependencies)                  \
	X(cuGraphNodeGetDependentNodes)                \
	X(cuGraphNodeFindInClone)                      \
	X(cuGraphChildGraphNodeGetGraph)               \
	X(cuGraphKernelNodeGetParams_v2)               \
	X(cuGraphKernelNodeSetParams_v2)               \
	X(cuGraphMemsetNodeGetParams)                  \
	X(cuGraphMemsetNodeSetParams)                  \
	X(cuGraphHostNodeGetParams)                    \
	X(cuGraphInstantiateWithFlags)                 \
	X(cuGraphInstantiateWithParams)                \
	X(cuGraphExecDestroy)                          \
	X(cuGraphLaunch)                               \
	X(cuGraphUpload)                               \
	X(cuGraphExecUpdate_v2)                        \
	X(cuGraphExecKernelNodeSetParams_v2)           \
	X(cuGraphExecMemsetNodeSetParams)              \
	X(cuGraphNodeSetEnabled)                       \
	X(cuGraphNodeGetEnabled)                       \
	X(cuMemHostAlloc)                              \
	X(cuMemFreeHost)                               \
	X(cuMemcpyHtoD_v2)                             \
	X(cuMemcpyDtoH_v2)                             \
	X(cuMemcpyDtoD_v2)                             \
	X(cuMemcpyAsync)                               \
	X(cuMemcpyHtoDAsync_v2)                        \
	X(cuMemcpyDtoHAsync_v2)                        \
	X(cuMemcpy2D_v2)                               \
	X(cuMemsetD8_v2)                               \
	X(cuMemsetD16_v2)                              \
	X(cuMemsetD32_v2)                              \
	X(cuMemsetD32Async)                            \
	X(cuMemsetD2D8_v2)                             \
	X(cuModuleLoadData)                            \
	X(cuModuleLoadDataEx)                          \
	X(cuModuleUnload)                              \
	X(cuModuleGetFunction)                         \
	X(cuModuleGetGlobal_v2)                        \
	X(cuLibraryLoadData)                           \
	X(cuLibraryUnload)                             \
	X(cuLibraryGetKernel)                          \
	X(cuLibraryGetGlobal)                          \
	X(cuKernelGetFunction)                         \
	X(cuFuncGetAttribute)                          \
	X(cuFuncGetParamInfo)                          \
	X(cuLaunchKernel)                              \
	X(cuLaunchKernelEx)                            \
	X(cuLaunchHostFunc)                            \
	X(cuOccupancyMaxActiveBlocksPerMultiprocessor) \
	X(cuStreamCreate)                              \
	X(cuStreamCreateWithPriority)                  \
	X(cuStreamGetPriority)                         \
	X(cuStreamDestroy_v2)                          \
	X(cuStreamQuery)                               \
	X(cuStreamSynchronize)                         \
	X(cuStreamWaitEvent)                           \
	X(cuStreamIsCapturing)                         \
	X(cuStreamWriteValue32_v2)                     \
	X(cuStreamWriteValue64_v2)                     \
	X(cuStreamWaitValue32_v2)                      \
	X(cuStreamWaitValue64_v2)                      \
	X(cuStreamBatchMemOp_v2)                       \
	X(cuEventCreate)                               \
	X(cuEventDestroy_v2)                           \
	X(cuEventRecord)                               \
	X(cuEventQuery)                                \
	X(cuEventSynchronize)                          \
	X(cuEventElapsedTime)

static struct {
#define MEMBER(name) __typeof__(name) *name;
	FUNCTIONS(MEMBER)
#undef MEMBER
} cuda;

static _Atomic int failures;
static CUdevice device;
static CUcontext context;
static CUmodule module;

static const char *name_of(CUresult result)
{
	const char *name;

	return cuda.cuGetErrorName(result, &name) == CUDA_SUCCESS ? name : "no CUresult";
}

static void expect_result(const char *call, CUresult got, CUresult wanted, int line)
{
	if (got == wanted)
		return;
	failures++;
	printf("  line %d: %s: %s, expected %s\n", line, call, name_of(got), name_of(wanted));
}

static void expect_that(const char *what, bool holds, int line)
{
	if (holds)
		return;
	failures++;
	printf("  line %d: not so: %s\n", line, what);
}

/* EXPECT - a call's result; OK - that it succeeds; THAT - any condition */
#define EXPECT(call, wanted) expect_result(#call, cuda.call, wanted, __LINE__)
#define OK(call)	     EXPECT(call, CUDA_SUCCESS)
#define THAT(condition)	     expect_that(#condition, condition, __LINE__)

/*
 * fill(address, value): word i becomes value + i. increase(address): each word grows by one.
 * wait(gate): until the word at gate is not 0. shared_sum(address): one word, the block's size.
 */
static const char ptx[] = ".version 6.0\n"
			  ".target sm_50\n"
			  ".address_size 64\n"
			  ".visible .global .align 4 .u32 number = 41;\n"
			  ".visible .entry fill(.param .u64 p0, .param .u32 p1)\n"
			  "{\n"
			  "\t.reg .b32 %r<8>;\n"
			  "\t.reg .b64 %rd<5>;\n"
			  "\tld.param.u64 %rd1, [p0];\n"
			  "\tld.param.u32 %r1, [p1];\n"
			  "\tcvta.to.global.u64 %rd2, %rd1;\n"
			  "\tmov.u32 %r2, %ctaid.x;\n"
			  "\tmov.u32 %r3, %ntid.x;\n"
			  "\tmov.u32 %r4, %tid.x;\n"
			  "\tmad.lo.s32 %r5, %r2, %r3, %r4;\n"
			  "\tmul.wide.u32 %rd3, %r5, 4;\n"
			  "\tadd.s64 %rd4, %rd2, %rd3;\n"
			  "\tadd.s32 %r6, %r1, %r5;\n"
			  "\tst.global.u32 [%rd4], %r6;\n"
			  "\tret;\n"
			  "}\n"
			  ".visible .entry increase(.param .u64 p0)\n"
			  "{\n"
			  "\t.reg .b32 %r<8>;\n"
			  "\t.reg .b64 %rd<5>;\n"
			  "\tld.param.u64 %rd1, [p0];\n"
			  "\tcvta.to.global.u64 %rd2, %rd1;\n"
			  "\tmov.u32 %r2, %ctaid.x;\n"
			  "\tmov.u32 %r3, %ntid.x;\n"
			  "\tmov.u32 %r4, %tid.x;\n"
			  "\tmad.lo.s32 %r5, %r2, %r3, %r4;\n"
			  "\tmul.wide.u32 %rd3, %r5, 4;\n"
			  "\tadd.s64 %rd4, %rd2, %rd3;\n"
			  "\tld.global.u32 %r6, [%rd4];\n"
			  "\tadd.s32 %r7, %r6, 1;\n"
			  "\tst.global.u32 [%rd4], %r7;\n"
			  "\tret;\n"
			  "}\n"
			  ".visible .entry wait(.param .u64 p0)\n"
			  "{\n"
			  "\t.reg .pred %p<2>;\n"
			  "\t.reg .b32 %r<2>;\n"
			  "\t.reg .b64 %rd<3>;\n"
			  "\tld.param.u64 %rd1, [p0];\n"
			  "\tcvta.to.global.u64 %rd2, %rd1;\n"
			  "again:\n"
			  "\tld.volatile.global.u32 %r1, [%rd2];\n"
			  "\tsetp.eq.s32 %p1, %r1, 0;\n"
			  "\t@%p1 bra again;\n"
			  "\tret;\n"
			  "}\n"
			  ".visible .entry shared_sum(.param .u64 p0)\n"
			  "{\n"
			  "\t.shared .align 4 .b8 sum[4];\n"
			  "\t.reg .pred %p<2>;\n"
			  "\t.reg .b32 %r<6>;\n"
			  "\t.reg .b64 %rd<3>;\n"
			  "\tld.param.u64 %rd1, [p0];\n"
			  "\tcvta.to.global.u64 %rd2, %rd1;\n"
			  "\tmov.u32 %r1, %tid.x;\n"
			  "\tsetp.ne.s32 %p1, %r1, 0;\n"
			  "\t@%p1 bra first;\n"
			  "\tst.shared.u32 [sum], 0;\n"
			  "first:\n"
			  "\tbar.sync 0;\n"
			  "\tatom.shared.add.u32 %r2, [sum], 1;\n"
			  "\tbar.sync 0;\n"
			  "\t@%p1 bra done;\n"
			  "\tld.shared.u32 %r3, [sum];\n"
			  "\tst.global.u32 [%rd2], %r3;\n"
			  "done:\n"
			  "\tret;\n"
			  "}\n";

/* ---- helpers ---- */

static CUfunction kernel(const char *name)
{
	CUfunction function = NULL;

	OK(cuModuleGetFunction(&function, module, name));
	return function;
}

static void launch(const char *name, unsigned int blocks, unsigned int threads, CUstream stream,
		   CUdeviceptr address, unsigned int value)
{
	void *parameters[] = { &address, &value };

	OK(cuLaunchKernel(kernel(name), blocks, 1, 1, threads, 1, 1, 0, stream, parameters, NULL));
}

static CUdeviceptr words(size_t count)
{
	CUdeviceptr address = 0;

	OK(cuMemAlloc_v2(&address, 4 * count));
	OK(cuMemsetD32_v2(address, 0, count));
	OK(cuCtxSynchronize());
	return address;
}

static uint32_t word(CUdeviceptr address)
{
	uint32_t value = 0xdeadbeef;

	OK(cuMemcpyDtoH_v2(&value, address, 4));
	return value;
}

/* A stream apart, and a word that it sets while others wait for it on the device. */
struct gate {
	CUstream stream;
	CUdeviceptr word;
};

static struct gate gate_close(CUstream waiting)
{
	struct gate gate = { .word = words(1) };

	OK(cuStreamCreate(&gate.stream, CU_STREAM_NON_BLOCKING));
	launch("wait", 1, 1, waiting, gate.word, 0);
	return gate;
}

static void gate_open(const struct gate *gate)
{
	OK(cuMemsetD32Async(gate->word, 1, 1, gate->stream));
	OK(cuStreamSynchronize(gate->stream));
}

static void gate_end(const struct gate *gate)
{
	OK(cuStreamDestroy_v2(gate->stream));
	OK(cuMemFree_v2(gate->word));
}

/* ---- cases ---- */

static void case_device(void)
{
	CUuuid uuid, again;
	char name[128] = "", place[32] = "";
	int value = -1, count = 0;
	CUdevice same = -1;
	size_t total = 0;

	OK(cuDeviceGetCount(&count));
	OK(cuDeviceGetName(name, sizeof(name), device));
	THAT(strlen(name) > 0);
	OK(cuDeviceTotalMem_v2(&total, device));
	THAT(total > 0);
	OK(cuDeviceGetUuid_v2(&uuid, device));
	OK(cuDeviceGetUuid_v2(&again, device));
	THAT(memcmp(&uuid, &again, sizeof(uuid)) == 0);
	OK(cuDeviceGetPCIBusId(place, sizeof(place), device));
	OK(cuDeviceGetByPCIBusId(&same, place));
	THAT(same == device);
	OK(cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_WARP_SIZE, device));
	THAT(value == 32);
	OK(cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, device));
	THAT(value == 1024);
	OK(cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device));
	THAT(value > 0);
	EXPECT(cuDeviceGetAttribute(&value, (CUdevice_attribute)0, device),
	       CUDA_ERROR_INVALID_VALUE);
	EXPECT(cuDeviceGet(&same, count), CUDA_ERROR_INVALID_DEVICE);
	EXPECT(cuDeviceGet(&same, -1), CUDA_ERROR_INVALID_DEVICE);
}

static void case_look_up(void)
{
	static const CUuuid unknown = { { 1, 2, 3 } };
	CUdriverProcAddressQueryResult status;
	const void *table = &table;
	void *found = NULL;

	OK(cuGetProcAddress_v2("cuMemAlloc", &found, 12000, 0, &status));
	THAT(found != NULL && status == CU_GET_PROC_ADDRESS_SUCCESS);
	cuda.cuGetProcAddress_v2("cuNothingOfTheKind", &found, 12000, 0, &status);
	THAT(found == NULL && status == CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
	cuda.cuGetProcAddress_v2("cuLibraryLoadData", &found, 11000, 0, &status);
	THAT(found == NULL && status == CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
	THAT(cuda.cuGetExportTable(&table, &unknown) != CUDA_SUCCESS);
}

static void case_errors(void)
{
	const char *text = NULL;

	OK(cuGetErrorName(CUDA_ERROR_OUT_OF_MEMORY, &text));
	THAT(text && strcmp(text, "CUDA_ERROR_OUT_OF_MEMORY") == 0);
	OK(cuGetErrorString(CUDA_ERROR_OUT_OF_MEMORY, &text));
	THAT(text && strcmp(text, "out of memory") == 0);
	THAT(cuda.cuGetErrorName((CUresult)12345, &text) == CUDA_ERROR_INVALID_VALUE);
}

static void case_contexts(void)
{
	CUcontext again = NULL, current = NULL;
	unsigned int flags;
	CUdevice where = -1;
	int active = 0;

	OK(cuDevicePrimaryCtxRetain(&again, device));
	THAT(again == context);
	OK(cuDevicePrimaryCtxRelease_v2(device));
	OK(cuDevicePrimaryCtxGetState(device, &flags, &active));
	THAT(active == 1);
	OK(cuCtxGetDevice(&where));
	THAT(where == device);
	OK(cuCtxPushCurrent_v2(context));
	OK(cuCtxPopCurrent_v2(&current));
	THAT(current == context);
	OK(cuCtxSetCurrent(NULL));
	OK(cuCtxGetCurrent(&current));
	THAT(current == NULL);
	EXPECT(cuCtxSynchronize(), CUDA_ERROR_INVALID_CONTEXT);
	OK(cuCtxSetCurrent(context));
	OK(cuCtxSynchronize());
}

static void case_memory(void)
{
	size_t before, between, after, total;
	unsigned char host[4096], back[4096];
	CUdeviceptr first, second, base;
	size_t bytes;

	OK(cuMemGetInfo_v2(&before, &total));
	THAT(before > 0 && before <= total);
	OK(cuMemAlloc_v2(&first, 16 << 20));
	OK(cuMemGetInfo_v2(&between, &total));
	THAT(between + (16 << 20) <= before);
	OK(cuMemAlloc_v2(&second, sizeof(host)));
	for (size_t i = 0; i < sizeof(host); i++)
		host[i] = (unsigned char)(i * 7);
	OK(cuMemcpyHtoD_v2(first + 100, host, sizeof(host)));
	OK(cuMemcpyDtoD_v2(second, first + 100, sizeof(host)));
	OK(cuMemcpyDtoH_v2(back, second, sizeof(back)));
	THAT(memcmp(host, back, sizeof(host)) == 0);
	OK(cuMemGetAddressRange_v2(&base, &bytes, first + 5000));
	THAT(base == first && bytes == 16 << 20);
	EXPECT(cuMemcpyHtoD_v2(0, host, 4), CUDA_ERROR_INVALID_VALUE);
	EXPECT(cuMemAlloc_v2(&base, 0), CUDA_ERROR_INVALID_VALUE);
	OK(cuMemFree_v2(first));
	OK(cuMemFree_v2(second));
	EXPECT(cuMemFree_v2(second), CUDA_ERROR_INVALID_VALUE);
	OK(cuMemFree_v2(0));
	OK(cuMemGetInfo_v2(&after, &total));
	THAT(after >= between);
	EXPECT(cuMemAlloc_v2(&first, (size_t)1 << 50), CUDA_ERROR_OUT_OF_MEMORY);
	EXPECT(cuMemAlloc_v2(&first, total + (64 << 20)), CUDA_ERROR_OUT_OF_MEMORY);
	OK(cuMemAlloc_v2(&first, 4096));
	OK(cuMemFree_v2(first));
}

static void case_fills(void)
{
	unsigned char back[64];
	CUdeviceptr address = words(16), plane;
	size_t pitch = 0;
	CUDA_MEMCPY2D copy = { 0 };

	OK(cuMemsetD8_v2(address, 0xab, 64));
	OK(cuMemsetD16_v2(address + 4, 0x1234, 2));
	OK(cuMemsetD32_v2(address + 8, 0x55667788, 1));
	OK(cuMemcpyDtoH_v2(back, address, sizeof(back)));
	THAT(memcmp(back, "\xab\xab\xab\xab\x34\x12\x34\x12\x88\x77\x66\x55\xab", 13) == 0);
	OK(cuMemFree_v2(address));
	OK(cuMemAllocPitch_v2(&plane, &pitch, 10, 4, 4));
	THAT(pitch >= 10 && pitch % 4 == 0);
	OK(cuMemsetD2D8_v2(plane, pitch, 1, 10, 4));
	OK(cuMemsetD2D8_v2(plane + pitch + 2, pitch, 2, 3, 2));
	copy.srcMemoryType = CU_MEMORYTYPE_DEVICE;
	copy.srcDevice = plane;
	copy.srcPitch = pitch;
	copy.dstMemoryType = CU_MEMORYTYPE_HOST;
	copy.dstHost = back;
	copy.dstPitch = 10;
	copy.WidthInBytes = 10;
	copy.Height = 4;
	OK(cuMemcpy2D_v2(&copy));
	THAT(memcmp(back,
		    "\1\1\1\1\1\1\1\1\1\1\1\1\2\2\2\1\1\1\1\1"
		    "\1\1\2\2\2\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1",
		    40) == 0);
	OK(cuMemFree_v2(plane));
}

static void case_launch(void)
{
	CUdeviceptr address = words(256);
	uint32_t back[256];
	bool right = true;

	launch("fill", 4, 64, NULL, address, 1000);
	launch("increase", 2, 128, NULL, address, 0);
	OK(cuMemcpyDtoH_v2(back, address, sizeof(back)));
	for (uint32_t i = 0; i < 256; i++)
		right = right && back[i] == 1001 + i;
	THAT(right);
	launch("shared_sum", 1, 1000, NULL, address, 0);
	THAT(word(address) == 1000);
	OK(cuMemFree_v2(address));
}

static void case_bad_launches(void)
{
	CUfunction fill = kernel("fill");
	CUdeviceptr address = words(1);
	unsigned int value = 1;
	void *parameters[] = { &address, &value };
	CUlaunchAttribute attribute = { .id = CU_LAUNCH_ATTRIBUTE_IGNORE };
	CUlaunchConfig config = { .gridDimX = 1,
				  .gridDimY = 1,
				  .gridDimZ = 1,
				  .blockDimX = 1,
				  .blockDimY = 1,
				  .blockDimZ = 1,
				  .attrs = &attribute,
				  .numAttrs = 1 };

	EXPECT(cuLaunchKernel(fill, 0, 1, 1, 1, 1, 1, 0, NULL, parameters, NULL),
	       CUDA_ERROR_INVALID_VALUE);
	EXPECT(cuLaunchKernel(fill, 1, 1, 1, 2048, 1, 1, 0, NULL, parameters, NULL),
	       CUDA_ERROR_INVALID_VALUE);
	EXPECT(cuLaunchKernel(fill, 1, 1, 1, 1, 1, 65, 0, NULL, parameters, NULL),
	       CUDA_ERROR_INVALID_VALUE);
	EXPECT(cuLaunchKernel(fill, 1, 70000, 1, 1, 1, 1, 0, NULL, parameters, NULL),
	       CUDA_ERROR_INVALID_VALUE);
	EXPECT(cuLaunchKernel(fill, 1, 1, 1, 1, 1, 1, 16 << 20, NULL, parameters, NULL),
	       CUDA_ERROR_INVALID_VALUE);
	OK(cuCtxSynchronize());
	THAT(word(address) == 0);
	OK(cuLaunchKernelEx(&config, fill, parameters, NULL));
	THAT(word(address) == 1);
	OK(cuMemFree_v2(address));
}

static void case_streams(void)
{
	CUdeviceptr sum = words(1);
	CUstreamCaptureStatus capturing = CU_STREAM_CAPTURE_STATUS_ACTIVE;
	int least, greatest, priority = 99;
	struct gate gate;
	CUstream stream;

	OK(cuCtxGetStreamPriorityRange(&least, &greatest));
	THAT(least >= greatest);
	OK(cuStreamCreateWithPriority(&stream, CU_STREAM_NON_BLOCKING, greatest));
	OK(cuStreamGetPriority(stream, &priority));
	THAT(priority == greatest);
	OK(cuStreamIsCapturing(stream, &capturing));
	THAT(capturing == CU_STREAM_CAPTURE_STATUS_NONE);
	OK(cuStreamQuery(stream));
	gate = gate_close(stream);
	for (int i = 0; i < 100; i++)
		launch("increase", 1, 1, stream, sum, 0);
	EXPECT(cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
	gate_open(&gate);
	OK(cuStreamSynchronize(stream));
	OK(cuStreamQuery(stream));
	THAT(word(sum) == 100);
	OK(cuStreamDestroy_v2(stream));
	gate_end(&gate);
	OK(cuMemFree_v2(sum));
}

/* One stream waits for words that another writes. */
static void case_stream_values(void)
{
	CUdeviceptr values = words(8), sum = values + 16;
	CUstreamBatchMemOpParams batch[2] = { 0 };
	CUstream waiter, writer;

	OK(cuStreamCreate(&waiter, CU_STREAM_NON_BLOCKING));
	OK(cuStreamCreate(&writer, CU_STREAM_NON_BLOCKING));
	OK(cuStreamWaitValue32_v2(waiter, values, 5, CU_STREAM_WAIT_VALUE_GEQ));
	launch("increase", 1, 1, waiter, sum, 0);
	OK(cuStreamWaitValue64_v2(waiter, values + 8, 1ull << 40, CU_STREAM_WAIT_VALUE_EQ));
	launch("increase", 1, 1, waiter, sum, 0);
	OK(cuStreamWriteValue32_v2(writer, values, 4, 0));
	OK(cuStreamSynchronize(writer));
	EXPECT(cuStreamQuery(waiter), CUDA_ERROR_NOT_READY);
	OK(cuStreamWriteValue32_v2(writer, values, 6, 0));
	OK(cuStreamWriteValue64_v2(writer, values + 8, 1ull << 40, 0));
	OK(cuStreamSynchronize(waiter));
	THAT(word(sum) == 2);
	OK(cuStreamWaitValue32_v2(waiter, values, 2, CU_STREAM_WAIT_VALUE_AND));
	OK(cuStreamSynchronize(waiter));
	batch[0].waitValue.operation = CU_STREAM_MEM_OP_WAIT_VALUE_32;
	batch[0].waitValue.address = values + 4;
	batch[0].waitValue.value = 9;
	batch[0].waitValue.flags = CU_STREAM_WAIT_VALUE_EQ;
	batch[1].writeValue.operation = CU_STREAM_MEM_OP_WRITE_VALUE_32;
	batch[1].writeValue.address = values + 20;
	batch[1].writeValue.value = 77;
	OK(cuStreamBatchMemOp_v2(waiter, 2, batch, 0));
	EXPECT(cuStreamQuery(waiter), CUDA_ERROR_NOT_READY);
	OK(cuStreamWriteValue32_v2(writer, values + 4, 9, 0));
	OK(cuStreamSynchronize(waiter));
	THAT(word(values + 20) == 77);
	OK(cuStreamDestroy_v2(waiter));
	OK(cuStreamDestroy_v2(writer));
	OK(cuMemFree_v2(values));
}

static void case_default_stream(void)
{
	CUdeviceptr values = words(2);
	CUstream blocking, apart;
	struct gate gate;

	OK(cuStreamCreate(&blocking, CU_STREAM_DEFAULT));
	OK(cuStreamCreate(&apart, CU_STREAM_NON_BLOCKING));
	gate = gate_close(blocking);
	launch("fill", 1, 1, NULL, values, 7);	       /* after the gate */
	launch("increase", 1, 1, blocking, values, 0); /* after the fill */
	launch("fill", 1, 1, apart, values + 4, 9);    /* at once */
	OK(cuStreamSynchronize(apart));
	EXPECT(cuStreamQuery(blocking), CUDA_ERROR_NOT_READY);
	gate_open(&gate);
	OK(cuStreamSynchronize(blocking));
	THAT(word(values) == 8);
	THAT(word(values + 4) == 9);
	OK(cuStreamDestroy_v2(blocking));
	OK(cuStreamDestroy_v2(apart));
	gate_end(&gate);
	OK(cuMemFree_v2(values));
}

static void case_events(void)
{
	CUdeviceptr value = words(1);
	CUstream first, second;
	CUevent start, end, never;
	float milliseconds = -1;
	struct gate gate;

	OK(cuStreamCreate(&first, CU_STREAM_NON_BLOCKING));
	OK(cuStreamCreate(&second, CU_STREAM_NON_BLOCKING));
	OK(cuEventCreate(&start, CU_EVENT_DEFAULT));
	OK(cuEventCreate(&end, CU_EVENT_DEFAULT));
	OK(cuEventCreate(&never, CU_EVENT_DEFAULT));
	OK(cuEventRecord(start, first));
	gate = gate_close(first);
	launch("fill", 1, 1, first, value, 3);
	OK(cuEventRecord(end, first));
	OK(cuStreamWaitEvent(second, end, 0));
	launch("increase", 1, 1, second, value, 0);
	EXPECT(cuEventQuery(end), CUDA_ERROR_NOT_READY);
	EXPECT(cuStreamQuery(second), CUDA_ERROR_NOT_READY);
	EXPECT(cuEventElapsedTime(&milliseconds, start, end), CUDA_ERROR_NOT_READY);
	EXPECT(cuEventElapsedTime(&milliseconds, start, never), CUDA_ERROR_INVALID_HANDLE);
	gate_open(&gate);
	OK(cuEventSynchronize(end));
	OK(cuEventQuery(end));
	OK(cuStreamSynchronize(second));
	THAT(word(value) == 4);
	OK(cuEventElapsedTime(&milliseconds, start, end));
	THAT(milliseconds > 0);
	OK(cuEventDestroy_v2(start));
	OK(cuEventDestroy_v2(end));
	OK(cuEventDestroy_v2(never));
	OK(cuStreamDestroy_v2(first));
	OK(cuStreamDestroy_v2(second));
	gate_end(&gate);
	OK(cuMemFree_v2(value));
}

static void note_order(void *data)
{
	_Atomic int *calls = data;

	calls[0] = calls[1];
}

static void case_host_functions(void)
{
	_Atomic int calls[2] = { -1, 5 };
	CUstream stream;

	OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	OK(cuLaunchHostFunc(stream, note_order, (void *)calls));
	OK(cuStreamSynchronize(stream));
	THAT(calls[0] == 5);
	OK(cuStreamDestroy_v2(stream));
}

/* What the threads of case_crossing share. */
static struct {
	CUstream stream;
	_Atomic int called;
} crossing;

#define CROSSINGS 200

static void note_called(void *unused)
{
	(void)unused;
	crossing.called++;
}

/* Small copies back from a stream that another thread puts host functions into. */
static void *crossing_copies(void *unused)
{
	CUdeviceptr address;

	OK(cuCtxSetCurrent(context));
	OK(cuMemAlloc_v2(&address, 4096));
	for (uint32_t round = 0; round < CROSSINGS; round++) {
		uint32_t value = 0;

		launch("fill", 1, 1, crossing.stream, address, round);
		OK(cuMemcpyDtoHAsync_v2(&value, address, 4, crossing.stream));
		OK(cuStreamSynchronize(crossing.stream));
		THAT(value == round);
	}
	OK(cuMemFree_v2(address));
	return unused;
}

static void *crossing_functions(void *unused)
{
	OK(cuCtxSetCurrent(context));
	for (int round = 0; round < CROSSINGS; round++)
		OK(cuLaunchHostFunc(crossing.stream, note_called, NULL));
	return unused;
}

/* What is freed must first be done with, so this may wait for the host functions. */
static void *crossing_frees(void *unused)
{
	CUdeviceptr address;

	OK(cuCtxSetCurrent(context));
	for (int round = 0; round < CROSSINGS; round++) {
		OK(cuMemAlloc_v2(&address, 4096));
		OK(cuMemsetD32Async(address, 1, 1, crossing.stream));
		OK(cuMemFree_v2(address));
	}
	return unused;
}

/* Host functions, copies back and frees of three threads, none of which may hold up the others. */
static void case_crossing(void)
{
	void *(*const parts[])(void *) = { crossing_copies, crossing_functions, crossing_frees };
	pthread_t threads[3];

	crossing.called = 0;
	OK(cuStreamCreate(&crossing.stream, CU_STREAM_DEFAULT));
	for (int i = 0; i < 3; i++)
		THAT(pthread_create(&threads[i], NULL, parts[i], NULL) == 0);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	OK(cuStreamSynchronize(crossing.stream));
	THAT(crossing.called == CROSSINGS);
	OK(cuStreamDestroy_v2(crossing.stream));
}

static void case_asynchronous(void)
{
	CUdeviceptr address = 0;
	uint32_t *pinned;
	CUstream stream;

	OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	OK(cuMemHostAlloc((void **)&pinned, 4096, 0));
	OK(cuMemAllocAsync(&address, 4096, stream));
	pinned[0] = 17;
	OK(cuMemcpyHtoDAsync_v2(address, pinned, 4, stream));
	launch("increase", 1, 1, stream, address, 0);
	OK(cuMemcpyDtoHAsync_v2(pinned + 1, address, 4, stream));
	OK(cuMemFreeAsync(address, stream));
	OK(cuStreamSynchronize(stream));
	THAT(pinned[1] == 18);
	OK(cuMemFreeHost(pinned));
	OK(cuStreamDestroy_v2(stream));
}

static void case_modules(void)
{
	char log[512] = "";
	CUjit_option options[] = { CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES };
	void *values[] = { log, (void *)sizeof(log) };
	size_t bytes = 0, offset = 99;
	CUdeviceptr address = 0;
	CUfunction function;
	CUmodule other;
	int blocks = 0;

	EXPECT(cuModuleLoadDataEx(&other,
				  ".version 6.0\n.target sm_50\n.address_size 64\n"
				  ".visible .entry broken()\n{\n\tnonsense.u32 %r1, 7;\n}\n",
				  2, options, values),
	       CUDA_ERROR_INVALID_PTX);
	THAT(log[0] != '\0');
	EXPECT(cuModuleGetFunction(&function, module, "no_such_kernel"), CUDA_ERROR_NOT_FOUND);
	EXPECT(cuModuleGetGlobal_v2(&address, &bytes, module, "no_such_variable"),
	       CUDA_ERROR_NOT_FOUND);
	OK(cuModuleGetGlobal_v2(&address, &bytes, module, "number"));
	THAT(bytes == 4 && word(address) == 41);
	OK(cuModuleLoadData(&other, ptx));
	launch("increase", 1, 1, NULL, address, 0);
	THAT(word(address) == 42);
	OK(cuModuleGetGlobal_v2(&address, &bytes, other, "number"));
	THAT(word(address) == 41); /* each module has its own */
	OK(cuModuleUnload(other));
	function = kernel("fill");
	OK(cuFuncGetParamInfo(function, 1, &offset, &bytes));
	THAT(offset == 8 && bytes == 4);
	EXPECT(cuFuncGetParamInfo(function, 2, &offset, &bytes), CUDA_ERROR_INVALID_VALUE);
	OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, function, 256, 0));
	THAT(blocks >= 1);
}

static void case_libraries(void)
{
	CUdeviceptr address = 0, number = 0;
	unsigned int value = 600;
	void *parameters[] = { &address, &value };
	CUfunction function = NULL;
	CUkernel found = NULL;
	CUlibrary library;
	size_t bytes = 0;

	address = words(1);
	OK(cuLibraryLoadData(&library, ptx, NULL, NULL, 0, NULL, NULL, 0));
	/* Kernels belong to no context; runtimes look them up before there is one. */
	OK(cuCtxSetCurrent(NULL));
	EXPECT(cuLibraryGetKernel(&found, library, "no_such_kernel"), CUDA_ERROR_NOT_FOUND);
	OK(cuLibraryGetKernel(&found, library, "fill"));
	OK(cuCtxSetCurrent(context));
	/* Runtimes pass a kernel where a function is meant. */
	OK(cuLaunchKernel((CUfunction)found, 1, 1, 1, 1, 1, 1, 0, NULL, parameters, NULL));
	THAT(word(address) == 600);
	OK(cuKernelGetFunction(&function, found));
	value = 601;
	OK(cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, NULL, parameters, NULL));
	THAT(word(address) == 601);
	OK(cuLibraryGetGlobal(&number, &bytes, library, "number"));
	THAT(bytes == 4 && word(number) == 41);
	OK(cuLibraryUnload(library));
	OK(cuMemFree_v2(address));
}

static void *thread_main(void *argument)
{
	CUdeviceptr address;
	CUstream stream;

	OK(cuCtxSetCurrent(context));
	OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	OK(cuMemAlloc_v2(&address, 4096));
	for (int round = 0; round < 25; round++) {
		uint32_t value = 0;

		launch("fill", 8, 128, stream, address, (unsigned int)(uintptr_t)argument);
		launch("increase", 8, 128, stream, address, 0);
		OK(cuMemcpyDtoHAsync_v2(&value, address + 4 * 1023, 4, stream));
		OK(cuStreamSynchronize(stream));
		THAT(value == (uint32_t)(uintptr_t)argument + 1024);
	}
	OK(cuMemFree_v2(address));
	OK(cuStreamDestroy_v2(stream));
	return NULL;
}

static void case_threads(void)
{
	pthread_t threads[4];

	for (uintptr_t i = 0; i < 4; i++)
		THAT(pthread_create(&threads[i], NULL, thread_main, (void *)(i * 10000)) == 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

/* Streams of its own thread, by their handle and by the names that programs built for them use. */
static void *thread_stream_main(void *argument)
{
	CUdeviceptr address = *(CUdeviceptr *)argument;
	uint32_t value = 0;
	void *parameters[] = { &address, &value };

	OK(cuCtxSetCurrent(context));
	launch("fill", 1, 1, CU_STREAM_PER_THREAD, address, 5);
	OK(cuStreamSynchronize(CU_STREAM_PER_THREAD));
	OK(cuLaunchKernel_ptsz(kernel("increase"), 1, 1, 1, 1, 1, 1, 0, NULL, parameters, NULL));
	OK(cuStreamSynchronize_ptsz(NULL));
	OK(cuMemcpyDtoH_v2_ptds(&value, address, 4));
	THAT(value == 6);
	return NULL;
}

static void case_thread_streams(void)
{
	CUdeviceptr values = words(2), other = values + 4;
	struct gate gate = gate_close(CU_STREAM_PER_THREAD);
	pthread_t thread;

	launch("fill", 1, 1, CU_STREAM_PER_THREAD, values, 7); /* after the gate */
	for (int i = 0; i < 2; i++) {
		THAT(pthread_create(&thread, NULL, thread_stream_main, &other) == 0);
		pthread_join(thread, NULL);
	}
	EXPECT(cuStreamQuery(CU_STREAM_PER_THREAD), CUDA_ERROR_NOT_READY);
	EXPECT(cuStreamQuery_ptsz(NULL), CUDA_ERROR_NOT_READY);
	gate_open(&gate);
	OK(cuStreamSynchronize(CU_STREAM_PER_THREAD));
	THAT(word(values) == 7);
	gate_end(&gate);
	OK(cuMemFree_v2(values));
}

static void case_fork(void)
{
	int status = -1, count;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child == 0)
		_exit(cuda.cuDeviceGetCount(&count) == CUDA_ERROR_NOT_INITIALIZED ? 0 : 1);
	THAT(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
	OK(cuCtxSynchronize());
}

/* After a kernel's fault every call in the context answers with it. */
static void case_illegal_address(void)
{
	CUdeviceptr memory = words(1), address;
	CUstream stream;
	uint32_t value;

	launch("fill", 1, 32, NULL, 16, 0);
	EXPECT(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
	EXPECT(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
	EXPECT(cuMemAlloc_v2(&address, 4), CUDA_ERROR_ILLEGAL_ADDRESS);
	EXPECT(cuStreamCreate(&stream, 0), CUDA_ERROR_ILLEGAL_ADDRESS);
	EXPECT(cuMemcpyDtoH_v2(&value, memory, 4), CUDA_ERROR_ILLEGAL_ADDRESS);
}

static void case_misaligned_address(void)
{
	CUdeviceptr address = words(4);

	launch("fill", 1, 1, NULL, address + 1, 0);
	EXPECT(cuCtxSynchronize(), CUDA_ERROR_MISALIGNED_ADDRESS);
	EXPECT(cuMemAlloc_v2(&address, 4), CUDA_ERROR_MISALIGNED_ADDRESS);
}

/* ---- graphs ---- */

static CUgraphExec instantiate(CUgraph graph)
{
	CUgraphExec exec = NULL;

	OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
	return exec;
}

/* Two streams that fork and join by events; host function, kernels, a fill and a copy. */
static void case_capture(void)
{
	CUdeviceptr address = words(64), copy = words(64);
	_Atomic int calls[2] = { -1, 7 };
	CUstreamCaptureStatus status;
	CUgraphNode nodes[16];
	size_t count = 16;
	CUstream first, second;
	CUevent fork, join;
	CUgraphExec exec;
	CUgraph graph;

	OK(cuStreamCreate(&first, CU_STREAM_NON_BLOCKING));
	OK(cuStreamCreate(&second, CU_STREAM_NON_BLOCKING));
	OK(cuEventCreate(&fork, CU_EVENT_DISABLE_TIMING));
	OK(cuEventCreate(&join, CU_EVENT_DISABLE_TIMING));
	OK(cuStreamBeginCapture_v2(first, CU_STREAM_CAPTURE_MODE_RELAXED));
	OK(cuStreamIsCapturing(first, &status));
	THAT(status == CU_STREAM_CAPTURE_STATUS_ACTIVE);
	launch("fill", 2, 32, first, address, 100);
	OK(cuEventRecord(fork, first));
	OK(cuStreamWaitEvent(second, fork, 0));
	OK(cuStreamIsCapturing(second, &status));
	THAT(status == CU_STREAM_CAPTURE_STATUS_ACTIVE);
	launch("increase", 1, 32, second, address, 0);
	OK(cuMemsetD32Async(address + 128, 9, 32, first));
	OK(cuEventRecord(join, second));
	OK(cuStreamWaitEvent(first, join, 0));
	OK(cuMemcpyAsync(copy, address, 256, first));
	OK(cuLaunchHostFunc(first, note_order, (void *)calls));
	OK(cuStreamEndCapture(first, &graph));
	OK(cuStreamIsCapturing(second, &status));
	THAT(status == CU_STREAM_CAPTURE_STATUS_NONE);
	THAT(word(copy) == 0 && calls[0] == -1); /* nothing has run yet */
	OK(cuGraphGetNodes(graph, nodes, &count));
	THAT(count == 5);
	exec = instantiate(graph);
	OK(cuGraphDestroy(graph));
	for (int run = 0; run < 3; run++) {
		calls[0] = -1;
		OK(cuMemsetD32_v2(copy, 0, 64));
		OK(cuCtxSynchronize()); /* the streams do not wait for the legacy one */
		OK(cuGraphLaunch(exec, first));
		OK(cuStreamSynchronize(first));
		THAT(word(copy) == 101 && word(copy + 4 * 31) == 132 && word(copy + 4 * 40) == 9);
		THAT(calls[0] == 7);
	}
	OK(cuGraphExecDestroy(exec));
	OK(cuEventDestroy_v2(fork));
	OK(cuEventDestroy_v2(join));
	OK(cuStreamDestroy_v2(first));
	OK(cuStreamDestroy_v2(second));
	OK(cuMemFree_v2(address));
	OK(cuMemFree_v2(copy));
}

/* What cannot be captured makes the capture void; a branch that is left open, too. */
static void case_capture_refused(void)
{
	CUdeviceptr address = words(1);
	CUstreamCaptureStatus status;
	CUstream first, second;
	CUgraph graph;
	CUevent fork;

	OK(cuStreamCreate(&first, CU_STREAM_NON_BLOCKING));
	OK(cuStreamCreate(&second, CU_STREAM_NON_BLOCKING));
	OK(cuEventCreate(&fork, CU_EVENT_DISABLE_TIMING));
	EXPECT(cuStreamBeginCapture_v2(NULL, CU_STREAM_CAPTURE_MODE_RELAXED),
	       CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
	EXPECT(cuStreamEndCapture(first, &graph), CUDA_ERROR_ILLEGAL_STATE);
	OK(cuStreamBeginCapture_v2(first, CU_STREAM_CAPTURE_MODE_RELAXED));
	EXPECT(cuStreamBeginCapture_v2(first, CU_STREAM_CAPTURE_MODE_RELAXED),
	       CUDA_ERROR_ILLEGAL_STATE);
	launch("increase", 1, 1, first, address, 0);
	EXPECT(cuStreamSynchronize(first), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
	OK(cuStreamIsCapturing(first, &status));
	THAT(status == CU_STREAM_CAPTURE_STATUS_INVALIDATED);
	EXPECT(cuStreamEndCapture(first, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
	OK(cuStreamBeginCapture_v2(first, CU_STREAM_CAPTURE_MODE_RELAXED));
	launch("increase", 1, 1, first, address, 0);
	OK(cuEventRecord(fork, first));
	EXPECT(cuEventQuery(fork), CUDA_ERROR_CAPTURED_EVENT);
	OK(cuStreamWaitEvent(second, fork, 0));
	launch("increase", 1, 1, second, address, 0);
	EXPECT(cuStreamEndCapture(first, &graph), CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
	OK(cuStreamSynchronize(first));
	THAT(word(address) == 0);
	OK(cuEventDestroy_v2(fork));
	OK(cuStreamDestroy_v2(first));
	OK(cuStreamDestroy_v2(second));
	OK(cuMemFree_v2(address));
}

static CUDA_KERNEL_NODE_PARAMS kernel_node(const char *name, void **parameters)
{
	return (CUDA_KERNEL_NODE_PARAMS){ .func = kernel(name),
					  .gridDimX = 1,
					  .gridDimY = 1,
					  .gridDimZ = 1,
					  .blockDimX = 8,
					  .blockDimY = 1,
					  .blockDimZ = 1,
					  .kernelParams = parameters };
}

/* Nodes made one by one, asked about, changed in the graph and in the executable, updated. */
static void case_graph(void)
{
	CUdeviceptr address = words(8), other = words(8);
	unsigned int value = 50, enabled = 0;
	void *fill_parameters[] = { &address, &value }, *increase_parameters[] = { &address };
	CUDA_KERNEL_NODE_PARAMS fill = kernel_node("fill", fill_parameters), got;
	CUDA_KERNEL_NODE_PARAMS increase = kernel_node("increase", increase_parameters);
	CUDA_MEMSET_NODE_PARAMS set = {
		.dst = other, .value = 3, .elementSize = 4, .width = 8, .height = 1
	};
	CUgraphExecUpdateResultInfo info;
	CUgraphNode a, b, c, d, list[4], to[4];
	CUgraphNodeType type;
	size_t count = 4;
	CUgraphExec exec;
	CUgraph graph;

	OK(cuGraphCreate(&graph, 0));
	OK(cuGraphAddKernelNode_v2(&a, graph, NULL, 0, &fill));
	OK(cuGraphAddKernelNode_v2(&b, graph, &a, 1, &increase));
	OK(cuGraphAddMemsetNode(&c, graph, NULL, 0, &set, context));
	OK(cuGraphAddEmptyNode(&d, graph, &c, 1));
	OK(cuGraphAddDependencies(graph, &b, &d, 1));
	OK(cuGraphGetNodes(graph, NULL, &count));
	THAT(count == 4);
	count = 4;
	OK(cuGraphGetRootNodes(graph, list, &count));
	THAT(count == 2 && list[0] == a && list[1] == c);
	count = 4;
	OK(cuGraphGetEdges(graph, list, to, &count));
	THAT(count == 3);
	count = 4;
	OK(cuGraphNodeGetDependencies(d, list, &count));
	THAT(count == 2);
	count = 4;
	OK(cuGraphNodeGetDependentNodes(a, list, &count));
	THAT(count == 1 && list[0] == b);
	OK(cuGraphNodeGetType(c, &type));
	THAT(type == CU_GRAPH_NODE_TYPE_MEMSET);
	OK(cuGraphKernelNodeGetParams_v2(a, &got));
	THAT(got.blockDimX == 8 && *(unsigned int *)got.kernelParams[1] == 50);
	exec = instantiate(graph);
	OK(cuGraphLaunch(exec, NULL));
	OK(cuCtxSynchronize());
	THAT(word(address + 4) == 52 && word(other) == 3);
	value = 70; /* of the node, then of its step */
	OK(cuGraphKernelNodeSetParams_v2(a, &fill));
	OK(cuGraphLaunch(exec, NULL));
	THAT(word(address) == 51);
	OK(cuGraphExecUpdate_v2(exec, graph, &info));
	THAT(info.result == CU_GRAPH_EXEC_UPDATE_SUCCESS);
	OK(cuGraphLaunch(exec, NULL));
	THAT(word(address) == 71);
	value = 90;
	OK(cuGraphExecKernelNodeSetParams_v2(exec, a, &fill));
	set.value = 4;
	OK(cuGraphExecMemsetNodeSetParams(exec, c, &set, context));
	OK(cuGraphNodeSetEnabled(exec, b, 0));
	OK(cuGraphNodeGetEnabled(exec, b, &enabled));
	THAT(enabled == 0);
	OK(cuGraphLaunch(exec, NULL));
	THAT(word(address) == 90 && word(other) == 4);
	OK(cuGraphDestroyNode(d));
	EXPECT(cuGraphExecUpdate_v2(exec, graph, &info), CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
	THAT(info.result == CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED);
	OK(cuGraphExecDestroy(exec));
	OK(cuGraphDestroy(graph));
	OK(cuMemFree_v2(address));
	OK(cuMemFree_v2(other));
}

/* A graph's launch succeeds as a kernel's does: what is wrong in it shows when it runs. */
static void case_graph_fault(void)
{
	CUdeviceptr nowhere = 16;
	unsigned int value = 0;
	void *parameters[] = { &nowhere, &value };
	CUDA_KERNEL_NODE_PARAMS fill = kernel_node("fill", parameters);
	CUgraphExec exec;
	CUgraphNode node;
	CUgraph graph;

	OK(cuGraphCreate(&graph, 0));
	OK(cuGraphAddKernelNode_v2(&node, graph, NULL, 0, &fill));
	exec = instantiate(graph);
	OK(cuGraphLaunch(exec, NULL));
	EXPECT(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
}

/* A graph in a graph, a copy of a graph, host and event nodes, and edges that go in a circle. */
static void case_graph_parts(void)
{
	CUdeviceptr address = words(8);
	void *parameters[] = { &address };
	CUDA_KERNEL_NODE_PARAMS increase = kernel_node("increase", parameters);
	_Atomic int calls[2] = { -1, 11 };
	CUDA_HOST_NODE_PARAMS host = { .fn = note_order, .userData = (void *)calls }, got = { 0 };
	CUgraphNode node, inner, found, child, record, wait, last;
	CUgraph graph, part, copy, asked;
	CUgraphExec exec;
	CUevent event;

	OK(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
	OK(cuGraphCreate(&part, 0));
	OK(cuGraphAddKernelNode_v2(&inner, part, NULL, 0, &increase));
	OK(cuGraphCreate(&graph, 0));
	OK(cuGraphAddKernelNode_v2(&node, graph, NULL, 0, &increase));
	OK(cuGraphAddChildGraphNode(&child, graph, &node, 1, part));
	OK(cuGraphChildGraphNodeGetGraph(child, &asked));
	THAT(asked != part);
	OK(cuGraphAddEventRecordNode(&record, graph, &child, 1, event));
	OK(cuGraphAddEventWaitNode(&wait, graph, &record, 1, event));
	OK(cuGraphAddHostNode(&last, graph, &wait, 1, &host));
	OK(cuGraphHostNodeGetParams(last, &got));
	THAT(got.fn == note_order && got.userData == (void *)calls);
	OK(cuGraphClone(&copy, graph));
	OK(cuGraphNodeFindInClone(&found, node, copy));
	THAT(found != node);
	OK(cuGraphDestroy(graph));
	OK(cuGraphDestroy(part));
	exec = instantiate(copy);
	for (int run = 0; run < 2; run++)
		OK(cuGraphLaunch(exec, NULL));
	OK(cuCtxSynchronize());
	THAT(word(address) == 4 && calls[0] == 11);
	OK(cuEventQuery(event));
	OK(cuGraphExecDestroy(exec));
	OK(cuGraphDestroy(copy));
	OK(cuGraphCreate(&graph, 0));
	OK(cuGraphAddEmptyNode(&node, graph, NULL, 0));
	OK(cuGraphAddEmptyNode(&last, graph, &node, 1));
	OK(cuGraphAddDependencies(graph, &last, &node, 1));
	EXPECT(cuGraphInstantiateWithFlags(&exec, graph, 0), CUDA_ERROR_INVALID_VALUE);
	OK(cuGraphRemoveDependencies(graph, &last, &node, 1));
	exec = instantiate(graph);
	OK(cuGraphExecDestroy(exec));
	OK(cuGraphDestroy(graph));
	OK(cuEventDestroy_v2(event));
	OK(cuMemFree_v2(address));
}

/* ---- virtual memory ---- */

/* Two pieces of memory side by side in one reservation, used as one; the same piece twice. */
static void case_virtual_memory(void)
{
	CUmemAllocationProp properties = { .type = CU_MEM_ALLOCATION_TYPE_PINNED,
					   .location = { CU_MEM_LOCATION_TYPE_DEVICE, device } },
			    got;
	CUmemAccessDesc access = { .location = properties.location,
				   .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE };
	CUmemGenericAllocationHandle first, second, again;
	size_t piece = 0, before, after, total;
	unsigned long long flags = 0;
	CUdeviceptr base;

	OK(cuMemGetAllocationGranularity(&piece, &properties, CU_MEM_ALLOC_GRANULARITY_MINIMUM));
	THAT(piece && !(piece & (piece - 1)));
	OK(cuMemGetInfo_v2(&before, &total));
	OK(cuMemAddressReserve(&base, 4 * piece, 0, 0, 0));
	EXPECT(cuMemCreate(&first, piece + 1, &properties, 0), CUDA_ERROR_INVALID_VALUE);
	OK(cuMemCreate(&first, piece, &properties, 0));
	OK(cuMemCreate(&second, piece, &properties, 0));
	OK(cuMemGetAllocationPropertiesFromHandle(&got, first));
	THAT(got.type == properties.type && got.location.id == device);
	OK(cuMemMap(base, piece, 0, first, 0));
	OK(cuMemMap(base + piece, piece, 0, second, 0));
	OK(cuMemSetAccess(base, 2 * piece, &access, 1));
	OK(cuMemGetAccess(&flags, &access.location, base + piece));
	THAT(flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
	OK(cuMemsetD32_v2(base, 5, 2 * piece / 4)); /* across the seam */
	launch("increase", 1, 8, NULL, base + piece - 16, 0);
	THAT(word(base) == 5 && word(base + piece - 4) == 6 && word(base + piece) == 6);
	THAT(word(base + 2 * piece - 4) == 5);
	OK(cuMemGetInfo_v2(&after, &total));
	THAT(before - after >= 2 * piece);
	OK(cuMemRetainAllocationHandle(&again, (void *)(uintptr_t)(base + 64)));
	THAT(again == first);
	OK(cuMemRelease(again));
	OK(cuMemRelease(first)); /* the mapping keeps it */
	THAT(word(base) == 5);
	OK(cuMemUnmap(base + piece, piece));
	OK(cuMemMap(base + 3 * piece, piece, 0, second, 0)); /* the contents come along */
	OK(cuMemSetAccess(base + 3 * piece, piece, &access, 1));
	THAT(word(base + 3 * piece) == 6);
	OK(cuMemRelease(second));
	OK(cuMemUnmap(base, piece));
	OK(cuMemUnmap(base + 3 * piece, piece));
	OK(cuMemAddressFree(base, 4 * piece));
	OK(cuMemGetInfo_v2(&after, &total));
	THAT(after == before);
}

/* A kernel that touches what is reserved and not mapped is as wrong as with any other address. */
static void case_unmapped(void)
{
	CUmemAllocationProp properties = { .type = CU_MEM_ALLOCATION_TYPE_PINNED,
					   .location = { CU_MEM_LOCATION_TYPE_DEVICE, device } };
	CUdeviceptr base;
	size_t piece = 0;

	OK(cuMemGetAllocationGranularity(&piece, &properties, CU_MEM_ALLOC_GRANULARITY_MINIMUM));
	OK(cuMemAddressReserve(&base, piece, 0, 0, 0));
	launch("fill", 1, 1, NULL, base, 0);
	EXPECT(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
}

/* ---- running them ---- */

static const struct {
	const char *name;
	void (*run)(void);
	bool apart; /* in a process of its own */
} cases[] = {
	{ "device", case_device, false },
	{ "look-up", case_look_up, false },
	{ "errors", case_errors, false },
	{ "contexts", case_contexts, false },
	{ "memory", case_memory, false },
	{ "fills", case_fills, false },
	{ "launch", case_launch, false },
	{ "bad-launches", case_bad_launches, false },
	{ "streams", case_streams, false },
	{ "stream-values", case_stream_values, false },
	{ "default-stream", case_default_stream, false },
	{ "events", case_events, false },
	{ "host-functions", case_host_functions, false },
	{ "crossing", case_crossing, false },
	{ "asynchronous", case_asynchronous, false },
	{ "modules", case_modules, false },
	{ "libraries", case_libraries, false },
	{ "capture", case_capture, false },
	{ "capture-refused", case_capture_refused, false },
	{ "graph", case_graph, false },
	{ "graph-parts", case_graph_parts, false },
	{ "virtual-memory", case_virtual_memory, false },
	{ "threads", case_threads, false },
	{ "thread-streams", case_thread_streams, false },
	{ "fork", case_fork, false },
	{ "illegal-address", case_illegal_address, true },
	{ "graph-fault", case_graph_fault, true },
	{ "misaligned-address", case_misaligned_address, true },
	{ "unmapped", case_unmapped, true },
};

static void load(const char *path)
{
	void *library = dlopen(path, RTLD_NOW);

	if (!library) {
		fprintf(stderr, "driver_api: %s\n", dlerror());
		exit(77);
	}
#define LOAD(name)                                                          \
	*(void **)&cuda.name = dlsym(library, #name);                       \
	if (!cuda.name) {                                                   \
		fprintf(stderr, "driver_api: %s has no %s\n", path, #name); \
		exit(1);                                                    \
	}
	FUNCTIONS(LOAD)
#undef LOAD
}

static void start(const char *path)
{
	CUresult result;

	load(path);
	result = cuda.cuInit(0);
	if (result == CUDA_ERROR_NO_DEVICE)
		exit(77);
	expect_result("cuInit", result, CUDA_SUCCESS, __LINE__);
	OK(cuDeviceGet(&device, 0));
	OK(cuDevicePrimaryCtxRetain(&context, device));
	OK(cuCtxSetCurrent(context));
	OK(cuModuleLoadData(&module, ptx));
	if (failures)
		exit(1);
}

static void report(const char *name, int before)
{
	printf("%-20s %s\n", name, failures == before ? "ok" : "FAILED");
	fflush(stdout);
}

/* Runs this program again for one case. */
static void run_apart(const char *program, const char *path, const char *name)
{
	int status = -1;
	pid_t child = fork();

	if (child == 0) {
		execl(program, program, path, name, (char *)NULL);
		_exit(127);
	}
	if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
		failures++;
}

int main(int argc, char **argv)
{
	const char *path = argc > 1 ? argv[1] : "libcuda.so.1";
	const char *only = argc > 2 ? argv[2] : NULL;

	start(path);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int before = failures;

		if (only ? strcmp(only, cases[i].name) != 0 : cases[i].apart)
			continue;
		cases[i].run();
		report(cases[i].name, before);
	}
	for (size_t i = 0; !only && i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (cases[i].apart)
			run_apart("/proc/self/exe", path, cases[i].name);
	}
	OK(cuDevicePrimaryCtxRelease_v2(device)); /* the module ends with it */
	if (!only)
		printf("driver_api: %s\n", failures ? "FAILED" : "PASSED");
	return failures ? 1 : 0;
}
