/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls of the driver interface that programs seldom make, with what they answer, one a line: run
 * on a driver directly and through a client, the lines must be the same (test_driver_rows.py). A
 * function that a library does not have is "absent", which a client says of none.
 *
 * usage: driver_rows [LIBRARY [FILE]]      (libcuda.so.1; FILE: a module to load, in PTX)
 *
 * Addresses and numbers that differ from run to run are not printed, only whether they hold.
 */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gen/cuda_types.h"

static void *library;
static const char *module_path;
static CUdevice device;
static CUcontext context;

static const char *text_of(CUresult result)
{
	__typeof__(cuGetErrorName) *name = NULL;
	const char *text = NULL;

	*(void **)&name = dlsym(library, "cuGetErrorName");
	return name && !name(result, &text) ? text : "no CUresult";
}

/* say - one line; values follow on the same one */
static void say(const char *name, bool present, CUresult result)
{
	printf("\n%s: %s", name, present ? text_of(result) : "absent");
	fflush(stdout);
}

/* CALL - the function by its exported name; its result is printed, and CALL's value */
#define CALL(name, ...)                                       \
	({                                                    \
		__typeof__(name) *function_ = NULL;           \
		CUresult result_ = CUDA_ERROR_NOT_FOUND;      \
                                                              \
		*(void **)&function_ = dlsym(library, #name); \
		if (function_)                                \
			result_ = function_(__VA_ARGS__);     \
		say(#name, function_ != NULL, result_);       \
		result_;                                      \
	})

/* SAY - a number, or whether something holds, behind the last call if that succeeded */
#define SAY(result, format, ...)                         \
	do {                                             \
		if (!(result))                           \
			printf(" " format, __VA_ARGS__); \
	} while (0)

static void rows_contexts(void)
{
	unsigned int version = 0, flags = 0;
	unsigned long long id = 0;
	CUcontext made = NULL, popped = NULL;
	CUdevice found = -1;
	int major = 0, minor = 0;
	CUuuid uuid;
	CUdevprop properties;

	SAY(CALL(cuCtxCreate, &made, 0, device), "%d", made != NULL);
	SAY(CALL(cuCtxGetApiVersion, made, &version), "%u", version);
	SAY(CALL(cuCtxGetFlags, &flags), "%u", flags);
	SAY(CALL(cuCtxGetId, made, &id), "%d", id != 0);
	SAY(CALL(cuCtxGetDevice_v2, &found, made), "%d", found);
	CALL(cuCtxSynchronize_v2, made);
	CALL(cuCtxSetFlags, CU_CTX_SCHED_YIELD);
	SAY(CALL(cuCtxPopCurrent, &popped), "%d", popped == made);
	CALL(cuCtxPushCurrent, made);
	CALL(cuCtxDestroy, made);
	made = NULL;
	CALL(cuCtxCreate_v2, &made, 0, device);
	CALL(cuCtxAttach, &popped, 0);
	CALL(cuCtxDetach, made);
	if (!CALL(cuCtxCreate_v3, &made, NULL, 0, 0, device))
		CALL(cuCtxDestroy_v2, made);
	if (!CALL(cuCtxCreate_v4, &made, NULL, 0, device))
		CALL(cuCtxDestroy_v2, made);
	CALL(cuCtxSetCurrent, context);
	SAY(CALL(cuDeviceComputeCapability, &major, &minor, device), "%d.%d", major, minor);
	SAY(CALL(cuDeviceGetProperties, &properties, device), "%d %d",
	    properties.maxThreadsPerBlock, properties.SIMDWidth);
	CALL(cuDeviceGetUuid, &uuid, device);
	CALL(cuDevicePrimaryCtxSetFlags, device, CU_CTX_SCHED_SPIN);
	CALL(cuDevicePrimaryCtxSetFlags_v2, device, CU_CTX_SCHED_AUTO);
	CALL(cuProfilerStart);
	CALL(cuProfilerStop);
}

static void rows_pools(void)
{
	CUmemPoolProps properties = { .allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
				      .location = { CU_MEM_LOCATION_TYPE_DEVICE, device } };
	CUmemoryPool pool = NULL, standard = NULL, now = NULL;
	cuuint64_t threshold = 4096, got = 0, graph = 0;
	CUdeviceptr address = 0;

	SAY(CALL(cuDeviceGetDefaultMemPool, &standard, device), "%d", standard != NULL);
	SAY(CALL(cuDeviceGetMemPool, &now, device), "%d", now == standard);
	SAY(CALL(cuMemGetDefaultMemPool, &now, &properties.location, properties.allocType), "%d",
	    now == standard);
	SAY(CALL(cuMemGetMemPool, &now, &properties.location, properties.allocType), "%d",
	    now == standard);
	CALL(cuMemSetMemPool, &properties.location, properties.allocType, standard);
	CALL(cuMemGetMemPool, &now, NULL, properties.allocType);
	CALL(cuMemPoolCreate, &pool, &properties);
	CALL(cuMemPoolSetAttribute, pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &threshold);
	SAY(CALL(cuMemPoolGetAttribute, pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &got), "%llu",
	    (unsigned long long)got);
	CALL(cuDeviceSetMemPool, device, pool);
	SAY(CALL(cuMemAllocFromPoolAsync, &address, 4096, pool, NULL), "%d", address != 0);
	CALL(cuMemFreeAsync, address, NULL);
	CALL(cuDeviceSetMemPool, device, standard);
	CALL(cuMemPoolDestroy, pool);
	CALL(cuDeviceGetGraphMemAttribute, device, CU_GRAPH_MEM_ATTR_USED_MEM_CURRENT, &graph);
	CALL(cuDeviceSetGraphMemAttribute, device, CU_GRAPH_MEM_ATTR_USED_MEM_HIGH, &graph);
}

static void rows_memory(void)
{
	CUmemLocation here = { CU_MEM_LOCATION_TYPE_DEVICE, device };
	CUmem_range_attribute attributes[] = { CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY };
	unsigned int flags = 0, on = 1;
	size_t sizes[] = { 4 };
	int value = 0;
	void *values[] = { &value }, *host = NULL;
	unsigned char back[256];
	CUdeviceptr one = 0, other = 0;

	CALL(cuMemAlloc_v2, &one, 4096);
	CALL(cuMemAlloc_v2, &other, 4096);
	CALL(cuMemAllocHost_v2, &host, 4096);
	SAY(CALL(cuMemHostGetFlags, &flags, host), "%u", flags);
	CALL(cuPointerSetAttribute, &on, CU_POINTER_ATTRIBUTE_SYNC_MEMOPS, one);
	CALL(cuMemsetD2D32_v2, one, 64, 7, 8, 4);
	CALL(cuMemsetD2D16_v2, other, 64, 9, 16, 4);
	CALL(cuMemcpyDtoDAsync_v2, other, one, 64, NULL);
	CALL(cuMemcpyPeer, other + 64, context, one, context, 32);
	CALL(cuMemcpyPeerAsync, other + 128, context, one + 64, context, 32, NULL);
	CALL(cuMemcpyDtoH_v2, back, other, sizeof(back));
	printf(" %u %u %u", back[0], back[64], back[128]);
	CALL(cuMemAdvise, one, 4096, CU_MEM_ADVISE_SET_READ_MOSTLY, device);
	CALL(cuMemAdvise_v2, one, 4096, CU_MEM_ADVISE_SET_READ_MOSTLY, here);
	CALL(cuMemPrefetchAsync, one, 4096, device, NULL);
	CALL(cuMemPrefetchAsync_v2, one, 4096, here, 0, NULL);
	CALL(cuMemRangeGetAttribute, &value, 4, attributes[0], one, 4096);
	CALL(cuMemRangeGetAttributes, values, sizes, attributes, 1, one, 4096);
	CALL(cuStreamAttachMemAsync, NULL, one, 0, CU_MEM_ATTACH_SINGLE);
	CALL(cuMemFreeHost, host);
	CALL(cuMemFree_v2, one);
	CALL(cuMemFree_v2, other);
}

static void rows_boxes(void)
{
	unsigned char from[16][16], to[16][16];
	CUdeviceptr address = 0;
	CUDA_MEMCPY2D plane = { .srcMemoryType = CU_MEMORYTYPE_HOST,
				.srcHost = from,
				.srcPitch = 16,
				.dstMemoryType = CU_MEMORYTYPE_DEVICE,
				.dstPitch = 32,
				.WidthInBytes = 8,
				.Height = 16 };
	CUDA_MEMCPY3D volume = { .srcMemoryType = CU_MEMORYTYPE_DEVICE,
				 .srcPitch = 32,
				 .srcHeight = 8,
				 .dstMemoryType = CU_MEMORYTYPE_HOST,
				 .dstHost = to,
				 .dstPitch = 16,
				 .dstHeight = 8,
				 .WidthInBytes = 8,
				 .Height = 8,
				 .Depth = 2 };
	CUDA_MEMCPY3D_PEER peer = { .srcMemoryType = CU_MEMORYTYPE_DEVICE,
				    .srcContext = context,
				    .srcPitch = 32,
				    .srcHeight = 8,
				    .dstMemoryType = CU_MEMORYTYPE_DEVICE,
				    .dstContext = context,
				    .dstPitch = 32,
				    .dstHeight = 8,
				    .WidthInBytes = 8,
				    .Height = 8,
				    .Depth = 1 };

	for (int i = 0; i < 256; i++)
		from[i / 16][i % 16] = (unsigned char)i;
	memset(to, 0, sizeof(to));
	CALL(cuMemAlloc_v2, &address, 4096);
	plane.dstDevice = volume.srcDevice = peer.srcDevice = address;
	peer.dstDevice = address + 2048;
	CALL(cuMemcpy2DAsync_v2, &plane, NULL);
	CALL(cuMemcpy2DUnaligned_v2, &plane);
	CALL(cuMemcpy3DAsync_v2, &volume, NULL);
	CALL(cuStreamSynchronize, NULL);
	printf(" %u %u", to[0][7], to[15][7]);
	CALL(cuMemcpy3DPeer, &peer);
	CALL(cuMemcpy3DPeerAsync, &peer, NULL);
	CALL(cuMemcpyDtoH_v2, to, address + 2048 + 32, 8);
	printf(" %u", to[0][3]);
	CALL(cuMemFree_v2, address);
}

static void rows_modules(void)
{
	CUfunction function = NULL, listed = NULL;
	CUmoduleLoadingMode mode;
	CUmodule module = NULL, owner = NULL, shared = NULL;
	CUlibrary images = NULL, owning = NULL;
	CUlinkState link = NULL;
	CUkernel kernel = NULL;
	const char *name = NULL;
	CUdeviceptr managed = 0;
	size_t bytes = 0;
	int value = 0, grid = 0, block = 0;
	void *unified = NULL;

	CALL(cuModuleGetLoadingMode, &mode);
	CALL(cuModuleLoad, &module, module_path);
	CALL(cuModuleLoad, &shared, "/nonexistent/module.ptx");
	CALL(cuModuleLoadFatBinary, &shared, "no fat binary");
	CALL(cuModuleGetFunction, &function, module, "vectoradd");
	SAY(CALL(cuModuleEnumerateFunctions, &listed, 1, module), "%d", listed != NULL);
	SAY(CALL(cuFuncGetModule, &owner, function), "%d", owner == module);
	SAY(CALL(cuFuncGetName, &name, function), "%s", name);
	CALL(cuFuncSetAttribute, function, CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT, 50);
	SAY(CALL(cuOccupancyMaxPotentialBlockSize, &grid, &block, function, NULL, 0, 0), "%d",
	    block > 0);
	SAY(CALL(cuOccupancyMaxPotentialBlockSizeWithFlags, &grid, &block, function, NULL, 0, 64,
		 0),
	    "%d", block);
	CALL(cuModuleUnload, module);
	CALL(cuLibraryLoadFromFile, &images, module_path, NULL, NULL, 0, NULL, NULL, 0);
	CALL(cuLibraryGetKernel, &kernel, images, "vectoradd");
	SAY(CALL(cuLibraryGetModule, &owner, images), "%d", owner != NULL);
	CALL(cuLibraryGetManaged, &managed, &bytes, images, "none");
	CALL(cuLibraryGetUnifiedFunction, &unified, images, "none");
	SAY(CALL(cuKernelGetName, &name, kernel), "%s", name);
	SAY(CALL(cuKernelGetLibrary, &owning, kernel), "%d", owning == images);
	SAY(CALL(cuKernelGetAttribute, &value, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, kernel,
		 device),
	    "%d", value);
	CALL(cuKernelSetAttribute, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 1024, kernel,
	     device);
	CALL(cuLibraryUnload, images);
	CALL(cuLinkCreate, 0, NULL, NULL, &link);
	CALL(cuLinkCreate_v2, 0, NULL, NULL, &link);
	CALL(cuLinkAddFile, NULL, CU_JIT_INPUT_PTX, module_path, 0, NULL, NULL);
	CALL(cuLinkAddFile_v2, NULL, CU_JIT_INPUT_PTX, module_path, 0, NULL, NULL);
	SAY(CALL(cuGetProcAddress, "cuInit", &unified, 12000, 0), "%d", unified != NULL);
}

static void note_call(CUstream stream, CUresult result, void *data)
{
	(void)stream;
	*(CUresult *)data = result + 1;
}

static void rows_streams(void)
{
	CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
	CUstreamBatchMemOpParams operation = { .operation = CU_STREAM_MEM_OP_WRITE_VALUE_32 };
	CUstreamAttrValue attribute = { { 0 } };
	CUstreamCaptureStatus status;
	unsigned long long id = 0;
	volatile CUresult called = CUDA_SUCCESS;
	unsigned int flags = 9;
	CUcontext owner = NULL;
	CUgreenCtx green = NULL;
	const CUgraphEdgeData *edges = NULL;
	const CUgraphNode *nodes = NULL;
	cuuint64_t capture = 0;
	size_t count = 9;
	CUdeviceptr word = 0;
	CUdevice found = -1;
	CUstream stream = NULL;
	CUgraph graph = NULL;

	CALL(cuMemAlloc_v2, &word, 64);
	CALL(cuMemsetD8_v2, word, 0, 64);
	CALL(cuCtxSynchronize);
	CALL(cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING);
	SAY(CALL(cuStreamGetCtx, stream, &owner), "%d", owner == context);
	SAY(CALL(cuStreamGetCtx_v2, stream, &owner, &green), "%d", owner == context && !green);
	SAY(CALL(cuStreamGetDevice, stream, &found), "%d", found);
	SAY(CALL(cuStreamGetFlags, stream, &flags), "%u", flags);
	SAY(CALL(cuStreamGetId, stream, &id), "%d", id != 0);
	CALL(cuStreamGetAttribute, stream, CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY, &attribute);
	CALL(cuStreamSetAttribute, stream, CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY, &attribute);
	CALL(cuStreamAddCallback, stream, note_call, (void *)&called, 0);
	CALL(cuStreamWriteValue32, stream, word, 1, 0);
	CALL(cuStreamWaitValue32, stream, word, 1, 0);
	CALL(cuStreamWriteValue64, stream, word + 8, 2, 0);
	CALL(cuStreamWaitValue64, stream, word + 8, 2, 0);
	operation.writeValue.address = word + 16;
	operation.writeValue.value = 3;
	CALL(cuStreamBatchMemOp, stream, 1, &operation, 0);
	CALL(cuStreamSynchronize, stream);
	printf(" %d", called == CUDA_SUCCESS + 1);
	CALL(cuStreamBeginCapture, stream);
	SAY(CALL(cuStreamGetCaptureInfo, stream, &status, &capture), "%d", (int)status);
	SAY(CALL(cuStreamGetCaptureInfo_v3, stream, &status, &capture, &graph, &nodes, &edges,
		 &count),
	    "%d %d %d", (int)status, graph != NULL, (int)count);
	CALL(cuStreamEndCapture, stream, &graph);
	CALL(cuGraphDestroy, graph);
	SAY(CALL(cuThreadExchangeStreamCaptureMode, &mode), "%d", (int)mode);
	SAY(CALL(cuThreadExchangeStreamCaptureMode, &mode), "%d", (int)mode);
	CALL(cuGraphCreate, &graph, 0);
	if (!CALL(cuStreamBeginCaptureToGraph, stream, graph, NULL, NULL, 0,
		  CU_STREAM_CAPTURE_MODE_RELAXED)) {
		CUgraph same = NULL;

		CALL(cuMemsetD32Async, word, 5, 1, stream);
		SAY(CALL(cuStreamEndCapture, stream, &same), "%d", same == graph);
	}
	CALL(cuGraphDestroy, graph);
	CALL(cuStreamDestroy, stream);
	CALL(cuMemFree_v2, word);
}

static void note_host(void *data)
{
	++*(volatile int *)data;
}

static void rows_graphs(void)
{
	volatile int calls = 0;
	CUDA_HOST_NODE_PARAMS host = { .fn = note_host, .userData = (void *)(uintptr_t)&calls };
	CUDA_MEMCPY3D copy = { .srcMemoryType = CU_MEMORYTYPE_DEVICE,
			       .dstMemoryType = CU_MEMORYTYPE_DEVICE,
			       .WidthInBytes = 16,
			       .Height = 1,
			       .Depth = 1 },
		      got = { 0 };
	CUgraphNodeParams general = { .type = CU_GRAPH_NODE_TYPE_MEMSET };
	CUgraphNode first = NULL, second = NULL, third = NULL, fourth = NULL, failed;
	CUgraphExecUpdateResult why;
	CUDA_MEM_ALLOC_NODE_PARAMS allocation = {
		.poolProps = { .allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
			       .location = { CU_MEM_LOCATION_TYPE_DEVICE, device } },
		.bytesize = 4096
	};
	CUDA_GRAPH_INSTANTIATE_PARAMS instantiate = { .flags = 0 };
	CUDA_BATCH_MEM_OP_NODE_PARAMS batch = { .ctx = context };
	CUuserObject object = NULL;
	CUgraphExec exec = NULL;
	CUgraph graph = NULL;
	volatile int ended = 0;
	CUdeviceptr words = 0;
	uint32_t back[8] = { 0 };

	CALL(cuMemAlloc_v2, &words, 64);
	CALL(cuGraphCreate, &graph, 0);
	general.memset.dst = words;
	general.memset.value = 21;
	general.memset.elementSize = 4;
	general.memset.width = 4;
	general.memset.height = 1;
	CALL(cuGraphAddNode, &first, graph, NULL, 0, &general);
	copy.srcDevice = words;
	copy.dstDevice = words + 16;
	CALL(cuGraphAddMemcpyNode, &second, graph, &first, 1, &copy, context);
	SAY(CALL(cuGraphMemcpyNodeGetParams, second, &got), "%d %d", (int)got.WidthInBytes,
	    got.dstDevice == words + 16);
	CALL(cuGraphMemcpyNodeSetParams, second, &copy);
	CALL(cuGraphAddHostNode, &third, graph, &second, 1, &host);
	CALL(cuGraphHostNodeSetParams, third, &host);
	general.memset.dst = words + 32;
	CALL(cuGraphAddNode_v2, &fourth, graph, &third, NULL, 1, &general);
	general.memset.value = 22;
	CALL(cuGraphNodeSetParams, fourth, &general);
	if (!CALL(cuGraphInstantiate, &exec, graph, NULL, NULL, 0))
		CALL(cuGraphExecDestroy, exec);
	CALL(cuGraphInstantiate_v2, &exec, graph, NULL, NULL, 0);
	CALL(cuGraphLaunch, exec, NULL);
	CALL(cuCtxSynchronize);
	CALL(cuMemcpyDtoH_v2, back, words + 16, 32);
	printf(" %u %u %d", back[0], back[4], calls);
	CALL(cuGraphExecHostNodeSetParams, exec, third, &host);
	copy.WidthInBytes = 8;
	CALL(cuGraphExecMemcpyNodeSetParams, exec, second, &copy, context);
	general.memset.value = 23;
	CALL(cuGraphExecNodeSetParams, exec, fourth, &general);
	CALL(cuGraphExecUpdate, exec, graph, &failed, &why);
	CALL(cuGraphLaunch, exec, NULL);
	CALL(cuCtxSynchronize);
	CALL(cuMemcpyDtoH_v2, back, words + 32, 16);
	printf(" %u %d", back[0], calls);
	CALL(cuGraphExecDestroy, exec);
	SAY(CALL(cuGraphInstantiateWithParams, &exec, graph, &instantiate), "%d",
	    (int)instantiate.result_out);
	CALL(cuGraphExecDestroy, exec);
	CALL(cuGraphAddMemAllocNode, &fourth, graph, NULL, 0, &allocation);
	CALL(cuGraphMemAllocNodeGetParams, fourth, &allocation);
	CALL(cuGraphAddBatchMemOpNode, &fourth, graph, NULL, 0, &batch);
	CALL(cuUserObjectCreate, &object, (void *)(uintptr_t)&ended, note_host, 1,
	     CU_USER_OBJECT_NO_DESTRUCTOR_SYNC);
	CALL(cuUserObjectRetain, object, 1);
	CALL(cuGraphRetainUserObject, graph, object, 1, 0);
	CALL(cuGraphReleaseUserObject, graph, object, 1);
	SAY(CALL(cuUserObjectRelease, object, 2), "%d", ended);
	CALL(cuGraphDestroy, graph);
	CALL(cuMemFree_v2, words);
}

/* A graph of many nodes in a row as text: longer than what one message carries. */
static void rows_text(void)
{
	char path[] = "/tmp/driver_rows-XXXXXX", line[128];
	unsigned int lines = 0, edges = 0;
	CUgraphNode node = NULL, last;
	CUgraph graph = NULL;
	FILE *file;

	CALL(cuGraphCreate, &graph, 0);
	printf(" %d", mkstemp(path) >= 0);
	for (int i = 0; i < 3000; i++) {
		__typeof__(cuGraphAddEmptyNode) *add = NULL;

		*(void **)&add = dlsym(library, "cuGraphAddEmptyNode");
		last = node;
		if (!add || add(&node, graph, i ? &last : NULL, i > 0))
			break;
	}
	CALL(cuGraphDebugDotPrint, graph, path, CU_GRAPH_DEBUG_DOT_FLAGS_VERBOSE);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file)) {
		lines++;
		edges += strstr(line, "->") != NULL;
	}
	printf(" %d %u", lines > edges, edges);
	if (file)
		fclose(file);
	unlink(path);
	CALL(cuGraphDebugDotPrint, graph, "/nonexistent/file", 0);
	CALL(cuGraphDebugDotPrint, graph, NULL, 0);
	CALL(cuGraphDestroy, graph);
}

/* Two batches of copies, there and back, and what no batch may be. */
static void rows_batches(void)
{
	CUmemcpyAttributes attributes[2] = {
		{ .srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_DURING_API_CALL },
		{ .srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM,
		  .flags = CU_MEMCPY_FLAG_PREFER_OVERLAP_WITH_COMPUTE }
	};
	uint64_t here[2] = { 41, 42 }, back[2] = { 0 };
	size_t bytes[2] = { 8, 8 }, first[2] = { 0, 1 }, fail = 7;
	CUdeviceptr to[2], from[2], memory = 0;
	CUstream stream = NULL;

	CALL(cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING);
	CALL(cuMemAlloc_v2, &memory, 64);
	for (int i = 0; i < 2; i++) {
		to[i] = memory + 32 * (unsigned int)i;
		from[i] = (uintptr_t)&here[i];
	}
	CALL(cuMemcpyBatchAsync_v2, to, from, bytes, 2, attributes, first, 2, stream);
	here[0] = here[1] = 0;
	from[0] = memory + 32;
	to[0] = memory + 8;
	from[1] = memory;
	to[1] = (uintptr_t)&back[0];
	CALL(cuMemcpyBatchAsync, to, from, bytes, 2, attributes, first, 1, &fail, stream);
	printf(" %d", fail == SIZE_MAX);
	CALL(cuMemcpyDtoHAsync_v2, &back[1], memory + 8, 8, stream);
	CALL(cuStreamSynchronize, stream);
	printf(" %d %d", (int)back[0], (int)back[1]);
	CALL(cuMemcpyBatchAsync_v2, to, from, bytes, 2, attributes, first, 2, NULL);
	CALL(cuMemcpyBatchAsync_v2, to, from, bytes, 0, attributes, first, 1, stream);
	CALL(cuMemcpyBatchAsync_v2, to, from, bytes, 1, attributes, first, 2, stream);
	bytes[1] = 4096;
	CALL(cuMemcpyBatchAsync, to, from, bytes, 2, attributes, first, 1, &fail, stream);
	printf(" %d", (int)fail);
	first[1] = 0;
	CALL(cuMemcpyBatchAsync, to, from, bytes, 2, attributes, first, 2, &fail, stream);
	printf(" %d", fail == SIZE_MAX);
	attributes[0].srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_INVALID;
	CALL(cuMemcpyBatchAsync_v2, to, from, bytes, 2, attributes, first, 1, stream);
	CALL(cuStreamDestroy_v2, stream);
	CALL(cuMemFree_v2, memory);
}

/* All kernels of a library, each the one that its name gives; fewer where fewer are asked for. */
static void rows_library(void)
{
	CUkernel kernels[65] = { NULL }, same = NULL;
	unsigned int count = 0, alike = 0;
	CUlibrary loaded = NULL;
	const char *name = NULL;

	CALL(cuLibraryLoadFromFile, &loaded, module_path, NULL, NULL, 0, NULL, NULL, 0);
	SAY(CALL(cuLibraryGetKernelCount, &count, loaded), "%u", count);
	CALL(cuLibraryEnumerateKernels, kernels, 64, loaded);
	for (unsigned int i = 0; i < count && i < 64 && kernels[i]; i++)
		if (!CALL(cuKernelGetName, &name, kernels[i]) &&
		    !CALL(cuLibraryGetKernel, &same, loaded, name))
			alike += same == kernels[i];
	printf(" %d", count && alike == count && !kernels[count]);
	CALL(cuLibraryEnumerateKernels, &same, 1, loaded);
	printf(" %d", same == kernels[0]);
	CALL(cuLibraryEnumerateKernels, kernels, 0, loaded);
	CALL(cuLibraryEnumerateKernels, NULL, 1, loaded);
	CALL(cuLibraryUnload, loaded);
	CALL(cuLibraryEnumerateKernels, kernels, 1, loaded);
}

static void rows_kernels(void)
{
	unsigned int count = 0;
	CUdeviceptr none = 0;
	void *parameters[] = { &none, &none, &none, &count };
	CUDA_KERNEL_NODE_PARAMS_v1 kernel = { .gridDimX = 1,
					      .gridDimY = 1,
					      .gridDimZ = 1,
					      .blockDimX = 32,
					      .blockDimY = 1,
					      .blockDimZ = 1,
					      .kernelParams = parameters },
				   got = { 0 };
	CUkernelNodeAttrValue value = { { 0 } };
	CUlaunchConfig config = { .gridDimX = 1,
				  .gridDimY = 1,
				  .gridDimZ = 1,
				  .blockDimX = 32,
				  .blockDimY = 1,
				  .blockDimZ = 1 };
	CUgraphExec exec = NULL;
	CUgraphNode node = NULL;
	CUmodule module = NULL;
	CUgraph graph = NULL;
	int clusters = 0;

	CALL(cuModuleLoad, &module, module_path);
	CALL(cuModuleGetFunction, &kernel.func, module, "vectoradd");
	CALL(cuLaunchCooperativeKernel, kernel.func, 1, 1, 1, 32, 1, 1, 0, NULL, parameters);
	CALL(cuCtxSynchronize);
	CALL(cuOccupancyMaxActiveClusters, &clusters, kernel.func, &config);
	CALL(cuOccupancyMaxPotentialClusterSize, &clusters, kernel.func, &config);
	rows_library();
	CALL(cuGraphCreate, &graph, 0);
	CALL(cuGraphAddKernelNode, &node, graph, NULL, 0, &kernel);
	CALL(cuGraphKernelNodeGetParams, node, &got);
	CALL(cuGraphKernelNodeSetParams, node, &kernel);
	CALL(cuGraphKernelNodeGetAttribute, node, CU_LAUNCH_ATTRIBUTE_COOPERATIVE, &value);
	CALL(cuGraphKernelNodeSetAttribute, node, CU_LAUNCH_ATTRIBUTE_COOPERATIVE, &value);
	CALL(cuGraphInstantiateWithFlags, &exec, graph, 0);
	CALL(cuGraphExecKernelNodeSetParams, exec, node, &kernel);
	CALL(cuGraphLaunch, exec, NULL);
	CALL(cuCtxSynchronize);
	CALL(cuGraphExecDestroy, exec);
	CALL(cuGraphDestroy, graph);
	CALL(cuModuleUnload, module);
}

/* What only devices have: asked for with arguments that are wrong everywhere. */
static void rows_refused(void)
{
	CUipcMemHandle memory = { { 0 } };
	CUipcEventHandle shared = { { 0 } };
	unsigned long long object = 0;
	CUmemGenericAllocationHandle handle = 0;
	CUDA_RESOURCE_DESC resource = { .resType = CU_RESOURCE_TYPE_LINEAR };
	CUDA_RESOURCE_VIEW_DESC view;
	CUDA_TEXTURE_DESC texture = { .flags = 0 };
	CUdeviceptr address = 0;
	CUevent event = NULL;
	char bytes[16] = { 0 };

	CALL(cuIpcOpenMemHandle_v2, &address, memory, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);
	CALL(cuIpcCloseMemHandle, 4096);
	CALL(cuIpcOpenEventHandle, &event, shared);
	CALL(cuMemExportToShareableHandle, bytes, 1, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0);
	CALL(cuMemImportFromShareableHandle, &handle, (void *)(intptr_t)-1,
	     CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
	CALL(cuMemcpyAtoA_v2, NULL, 0, NULL, 0, 16);
	CALL(cuMemcpyAtoD_v2, 4096, NULL, 0, 16);
	CALL(cuMemcpyAtoH_v2, bytes, NULL, 0, 16);
	CALL(cuMemcpyAtoHAsync_v2, bytes, NULL, 0, 16, NULL);
	CALL(cuMemcpyDtoA_v2, NULL, 0, 4096, 16);
	CALL(cuMemcpyHtoA_v2, NULL, 0, bytes, 16);
	CALL(cuMemcpyHtoAAsync_v2, NULL, 0, bytes, 16, NULL);
	CALL(cuTexObjectCreate, &object, &resource, &texture, NULL);
	CALL(cuTexObjectDestroy, 1);
	CALL(cuTexObjectGetResourceDesc, &resource, 1);
	CALL(cuTexObjectGetResourceViewDesc, &view, 1);
	CALL(cuTexObjectGetTextureDesc, &texture, 1);
	CALL(cuSurfObjectCreate, &object, &resource);
	CALL(cuSurfObjectDestroy, 1);
	CALL(cuSurfObjectGetResourceDesc, &resource, 1);
}

int main(int argc, char **argv)
{
	static void (*const groups[])(void) = { rows_contexts, rows_pools,   rows_memory,
						rows_boxes,    rows_modules, rows_streams,
						rows_graphs,   rows_text,    rows_batches,
						rows_kernels,  rows_refused };

	library = dlopen(argc > 1 ? argv[1] : "libcuda.so.1", RTLD_NOW);
	module_path = argc > 2 ? argv[2] : "driver_kernels.ptx";
	if (!library) {
		fprintf(stderr, "%s\n", dlerror());
		return 1;
	}
	if (CALL(cuInit, 0) || CALL(cuDeviceGet, &device, 0) ||
	    CALL(cuDevicePrimaryCtxRetain, &context, device) || CALL(cuCtxSetCurrent, context))
		return 1;
	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
		groups[i]();
	CALL(cuDevicePrimaryCtxReset, device);
	CALL(cuDevicePrimaryCtxRelease, device);
	printf("\n");
	return 0;
}
