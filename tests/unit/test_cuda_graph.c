/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Client and worker in one process: graphs with the program's nodes and with nodes that a capture
 * made, host nodes that run again and again, user objects, virtual memory under a limit, the
 * linker, and what a capture must refuse.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cuda/client/client.h"
#include "cuda/server/worker.h"
#include "tests/unit/cuda_pair.h"
#include "tests/unit/fake_driver.h"

#define LIMIT_BYTES (8u << 20)

static CUcontext context;

/* Another process's memory, as the driver has it: one place, however often it is opened. */
static _Atomic unsigned int foreign_open;

static CUresult foreign_memory_open(CUdeviceptr *address, CUipcMemHandle handle, unsigned int flags)
{
	(void)handle;
	(void)flags;
	*address = 0x7e9000000000ull;
	foreign_open++;
	return CUDA_SUCCESS;
}

static CUresult foreign_range(CUdeviceptr *start, size_t *bytes, CUdeviceptr address)
{
	*start = address;
	*bytes = 4096;
	return CUDA_SUCCESS;
}

static CUresult foreign_close(CUdeviceptr address)
{
	(void)address;
	foreign_open--;
	return CUDA_SUCCESS;
}

/* A driver gives the addresses of a graph that is gone again. */
#define GRAPH_ADDRESS 0x7e8000000000ull

static CUresult node_allocates(CUgraphNode *node, CUgraph graph, const CUgraphNode *dependencies,
			       size_t count, CUDA_MEM_ALLOC_NODE_PARAMS *allocation)
{
	(void)graph;
	(void)dependencies;
	(void)count;
	*node = (CUgraphNode)0x777;
	allocation->dptr = GRAPH_ADDRESS;
	return CUDA_SUCCESS;
}

static CUresult stream_allocates(CUdeviceptr *address, size_t bytes, CUstream stream)
{
	(void)bytes;
	(void)stream;
	*address = GRAPH_ADDRESS;
	return CUDA_SUCCESS;
}

static CUresult stream_frees(CUdeviceptr address, CUstream stream)
{
	(void)address;
	(void)stream;
	return CUDA_SUCCESS;
}

static int graph_open(void **state)
{
	(void)state;
	fake_driver_fill(&worker_driver);
	worker_driver.cuGraphAddMemAllocNode = node_allocates;
	worker_driver.cuMemAllocAsync = stream_allocates;
	worker_driver.cuMemFreeAsync = stream_frees;
	worker_driver.cuIpcOpenMemHandle_v2 = foreign_memory_open;
	worker_driver.cuMemGetAddressRange_v2 = foreign_range;
	worker_driver.cuIpcCloseMemHandle = foreign_close;
	worker_options = (struct worker_options){ .image_limit = 1u << 20,
						  .peer = "test",
						  .memory_limit = LIMIT_BYTES };
	return cuda_pair_open("ring") || client_cuDevicePrimaryCtxRetain(&context, 0) ||
	       client_cuCtxSetCurrent(context);
}

static int graph_close(void **state)
{
	(void)state;
	client_cuDevicePrimaryCtxRelease_v2(0);
	cuda_pair_close();
	return 0;
}

static CUfunction function_note(void)
{
	static const char image[] = "good module, really";
	CUfunction function;
	CUmodule module;

	assert_int_equal(client_cuModuleLoadData(&module, image), CUDA_SUCCESS);
	assert_int_equal(client_cuModuleGetFunction(&function, module, "note"), CUDA_SUCCESS);
	return function;
}

/* node_note - a node that notes @number */
static CUDA_KERNEL_NODE_PARAMS node_note(CUfunction function, uint64_t *number, void **parameters)
{
	parameters[0] = number;
	return (CUDA_KERNEL_NODE_PARAMS){ .func = function,
					  .gridDimX = 1,
					  .gridDimY = 1,
					  .gridDimZ = 1,
					  .blockDimX = 1,
					  .blockDimY = 1,
					  .blockDimZ = 1,
					  .kernelParams = parameters };
}

/* What the worker's thread counted: the ring orders it with a fence, which thread sanitizer
 * ignores. */
static unsigned int launches(void)
{
	return __atomic_load_n(&fake.launches, __ATOMIC_ACQUIRE);
}

static uint64_t launched(unsigned int launch)
{
	return __atomic_load_n(&fake.order[launch], __ATOMIC_RELAXED);
}

static void test_kernel_nodes(void **state)
{
	uint64_t number = 11;
	void *parameters[2] = { NULL };
	CUDA_KERNEL_NODE_PARAMS node = node_note(function_note(), &number, parameters), back;
	CUgraphNode first, second, listed[4] = { NULL };
	unsigned int before = launches();
	size_t count = 4;
	CUgraphExec exec;
	CUgraph graph;

	(void)state;
	assert_int_equal(client_cuGraphCreate(&graph, 0), CUDA_SUCCESS);
	assert_int_equal(client_cuGraphAddKernelNode_v2(&first, graph, NULL, 0, &node),
			 CUDA_SUCCESS);
	number = 12;
	assert_int_equal(client_cuGraphAddKernelNode_v2(&second, graph, &first, 1, &node),
			 CUDA_SUCCESS);
	assert_int_equal(client_cuGraphGetNodes(graph, listed, &count), CUDA_SUCCESS);
	assert_int_equal(count, 2);
	assert_ptr_equal(listed[0], first);
	assert_ptr_equal(listed[1], second);
	assert_null(listed[2]);
	count = 1;
	assert_int_equal(client_cuGraphNodeGetDependencies(second, listed, &count), CUDA_SUCCESS);
	assert_ptr_equal(listed[0], first);
	assert_int_equal(client_cuGraphKernelNodeGetParams_v2(second, &back), CUDA_SUCCESS);
	assert_int_equal(*(uint64_t *)back.kernelParams[0], 12);
	number = 13;
	assert_int_equal(client_cuGraphKernelNodeSetParams_v2(second, &node), CUDA_SUCCESS);
	assert_int_equal(client_cuGraphInstantiateWithFlags(&exec, graph, 0), CUDA_SUCCESS);
	assert_int_equal(client_cuGraphDestroy(graph), CUDA_SUCCESS);
	for (int i = 0; i < 3; i++)
		assert_int_equal(client_cuGraphLaunch(exec, NULL), CUDA_SUCCESS);
	assert_int_equal(client_cuCtxSynchronize(), CUDA_SUCCESS);
	assert_int_equal(launches(), before + 6);
	assert_int_equal(launched(before + 4), 11);
	assert_int_equal(launched(before + 5), 13);
	assert_int_equal(client_cuGraphExecDestroy(exec), CUDA_SUCCESS);
	assert_int_equal(client_cuGraphLaunch(exec, NULL), CUDA_ERROR_INVALID_HANDLE);
	assert_int_equal(client_cuGraphNodeGetType(first, &(CUgraphNodeType){ 0 }),
			 CUDA_ERROR_INVALID_HANDLE);
}

static void host_count(void *data)
{
	__atomic_add_fetch((unsigned int *)data, 1, __ATOMIC_ACQ_REL);
}

static void test_host_nodes(void **state)
{
	unsigned int called = 0;
	CUDA_HOST_NODE_PARAMS host = { .fn = host_count, .userData = &called }, back = { 0 };
	CUgraphExec exec;
	CUgraphNode node;
	CUgraph graph;

	(void)state;
	assert_int_equal(client_cuGraphCreate(&graph, 0), CUDA_SUCCESS);
	assert_int_equal(client_cuGraphAddHostNode(&node, graph, NULL, 0, &host), CUDA_SUCCESS);
	assert_int_equal(client_cuGraphInstantiateWithFlags(&exec, graph, 0), CUDA_SUCCESS);
	for (int i = 0; i < 5; i++)
		assert_int_equal(client_cuGraphLaunch(exec, NULL), CUDA_SUCCESS);
	while (__atomic_load_n(&called, __ATOMIC_ACQUIRE) < 5)
		sched_yield();
	assert_int_equal(client_cuCtxSynchronize(), CUDA_SUCCESS);
	assert_int_equal(called, 5);
	assert_int_equal(client_cuGraphHostNodeGetParams(node, &back), CUDA_SUCCESS);
	assert_true(back.fn == host_count && back.userData == &called);
	assert_int_equal(client_cuGraphExecDestroy(exec), CUDA_SUCCESS);
	assert_int_equal(client_cuGraphDestroy(graph), CUDA_SUCCESS);
}

/* A graph and its executables hold an object; the last to go has it destroyed. */
static void test_user_objects(void **state)
{
	unsigned int destroyed = 0;
	CUuserObject object;
	CUgraphExec exec;
	CUgraph graph;

	(void)state;
	assert_int_equal(client_cuUserObjectCreate(&object, &destroyed, host_count, 1,
						   CU_USER_OBJECT_NO_DESTRUCTOR_SYNC),
			 CUDA_SUCCESS);
	assert_int_equal(client_cuGraphCreate(&graph, 0), CUDA_SUCCESS);
	assert_int_equal(
		client_cuGraphRetainUserObject(graph, object, 1, CU_GRAPH_USER_OBJECT_MOVE),
		CUDA_SUCCESS);
	assert_int_equal(client_cuGraphInstantiateWithFlags(&exec, graph, 0), CUDA_SUCCESS);
	assert_int_equal(client_cuGraphDestroy(graph), CUDA_SUCCESS);
	assert_int_equal(destroyed, 0);
	assert_int_equal(client_cuGraphExecDestroy(exec), CUDA_SUCCESS);
	assert_int_equal(destroyed, 1);
}

static void test_capture(void **state)
{
	CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_INVALIDATED;
	const CUgraphNode *dependencies;
	CUgraphNode nodes[3];
	size_t count = 0;
	cuuint64_t id = 0;
	CUdeviceptr memory;
	CUgraph graph, known;
	CUstream stream;
	int host = 1;

	(void)state;
	assert_int_equal(client_cuMemAlloc_v2(&memory, 4096), CUDA_SUCCESS);
	assert_int_equal(client_cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), CUDA_SUCCESS);
	assert_int_equal(client_cuStreamIsCapturing(stream, &status), CUDA_SUCCESS);
	assert_int_equal(status, CU_STREAM_CAPTURE_STATUS_NONE);
	assert_int_equal(client_cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_GLOBAL),
			 CUDA_SUCCESS);
	assert_int_equal(client_cuStreamGetCaptureInfo_v2(stream, &status, &id, &known,
							  &dependencies, &count),
			 CUDA_SUCCESS);
	assert_int_equal(status, CU_STREAM_CAPTURE_STATUS_ACTIVE);
	assert_int_equal(id, 77);
	assert_int_equal(count, 1);
	/* The program's memory would be read when the graph runs, by a process that has it not. */
	assert_int_equal(client_cuMemcpyHtoDAsync_v2(memory, &host, sizeof(host), stream),
			 CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
	assert_int_equal(client_cuStreamEndCapture(stream, &graph), CUDA_SUCCESS);
	assert_ptr_equal(graph, known);
	count = 3;
	assert_int_equal(client_cuGraphGetNodes(graph, nodes, &count), CUDA_SUCCESS);
	assert_int_equal(count, 2);
	assert_ptr_equal(nodes[1], dependencies[0]);
	assert_int_equal(client_cuStreamIsCapturing(stream, &status), CUDA_SUCCESS);
	assert_int_equal(status, CU_STREAM_CAPTURE_STATUS_NONE);
	assert_int_equal(client_cuGraphDestroy(graph), CUDA_SUCCESS);
	assert_int_equal(client_cuGraphGetNodes(graph, NULL, &count), CUDA_ERROR_INVALID_HANDLE);
	assert_int_equal(client_cuStreamDestroy_v2(stream), CUDA_SUCCESS);
	assert_int_equal(client_cuMemFree_v2(memory), CUDA_SUCCESS);
}

/* The worker has no number left for a node of the driver's: that call fails, and no other does. */
static void test_numbers_run_out(void **state)
{
	CUstreamCaptureStatus status;
	const CUgraphNode *dependencies;
	CUdeviceptr memory;
	size_t count = 0;
	cuuint64_t id = 0;
	uint32_t number, last = 0;
	CUstream stream;
	CUgraph graph;

	(void)state;
	assert_int_equal(client_cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), CUDA_SUCCESS);
	assert_int_equal(client_cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_GLOBAL),
			 CUDA_SUCCESS);
	/* All but one, which the graph gets. */
	for (uintptr_t i = 1; !worker_handle_number(NULL, KIND_node, (void *)(8 * i), 0, &number);
	     i++)
		last = number;
	worker_handle_end(NULL, last);
	assert_int_equal(client_cuStreamGetCaptureInfo_v2(stream, &status, &id, &graph,
							  &dependencies, &count),
			 CUDA_ERROR_OUT_OF_MEMORY);
	assert_int_equal(client_cuMemAlloc_v2(&memory, 4096), CUDA_SUCCESS);
	assert_int_equal(client_cuMemFree_v2(memory), CUDA_SUCCESS);
	assert_int_equal(client_cuStreamEndCapture(stream, &graph), CUDA_SUCCESS);
}

static void test_virtual_memory(void **state)
{
	CUmemAllocationProp properties = { .type = CU_MEM_ALLOCATION_TYPE_PINNED,
					   .location = { CU_MEM_LOCATION_TYPE_DEVICE, 0 } };
	CUmemGenericAllocationHandle handle, other;
	CUdeviceptr address;

	(void)state;
	assert_int_equal(client_cuMemAddressReserve(&address, LIMIT_BYTES, 0, 0, 0), CUDA_SUCCESS);
	assert_int_equal(client_cuMemCreate(&handle, LIMIT_BYTES / 2, &properties, 0),
			 CUDA_SUCCESS);
	assert_int_equal(client_cuMemCreate(&other, LIMIT_BYTES, &properties, 0),
			 CUDA_ERROR_OUT_OF_MEMORY);
	assert_int_equal(client_cuMemMap(address, LIMIT_BYTES / 2, 0, handle, 0), CUDA_SUCCESS);
	assert_int_equal(client_cuMemMap(address, LIMIT_BYTES * 2, 0, handle, 0),
			 CUDA_ERROR_INVALID_VALUE);
	/* Mapped memory counts although its handle is gone; unmapped, it does not any more. */
	assert_int_equal(client_cuMemRelease(handle), CUDA_SUCCESS);
	assert_int_equal(client_cuMemCreate(&other, LIMIT_BYTES, &properties, 0),
			 CUDA_ERROR_OUT_OF_MEMORY);
	assert_int_equal(client_cuMemUnmap(address, LIMIT_BYTES / 2), CUDA_SUCCESS);
	assert_int_equal(client_cuMemCreate(&other, LIMIT_BYTES, &properties, 0), CUDA_SUCCESS);
	assert_int_equal(client_cuMemRelease(other), CUDA_SUCCESS);
	assert_int_equal(client_cuMemRelease(other), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(client_cuMemAddressFree(address, LIMIT_BYTES), CUDA_SUCCESS);
	assert_int_equal(client_cuMemAddressFree(address, LIMIT_BYTES), CUDA_ERROR_INVALID_VALUE);
}

static void test_linker(void **state)
{
	char first[] = "one ", second[] = "two";
	CUlinkState linker;
	void *image;
	size_t bytes;

	(void)state;
	assert_int_equal(client_cuLinkCreate_v2(0, NULL, NULL, &linker), CUDA_SUCCESS);
	assert_int_equal(
		client_cuLinkAddData_v2(linker, CU_JIT_INPUT_PTX, first, 4, "a", 0, NULL, NULL),
		CUDA_SUCCESS);
	assert_int_equal(
		client_cuLinkAddData_v2(linker, CU_JIT_INPUT_CUBIN, first, 4, NULL, 0, NULL, NULL),
		CUDA_ERROR_INVALID_IMAGE);
	assert_int_equal(
		client_cuLinkAddData(linker, CU_JIT_INPUT_PTX, second, 3, NULL, 0, NULL, NULL),
		CUDA_SUCCESS);
	assert_int_equal(client_cuLinkComplete(linker, &image, &bytes), CUDA_SUCCESS);
	assert_int_equal(bytes, 7);
	assert_memory_equal(image, "one two", 7);
	assert_int_equal(client_cuLinkDestroy(linker), CUDA_SUCCESS);
	assert_int_equal(client_cuLinkDestroy(linker), CUDA_ERROR_INVALID_HANDLE);
}

static void test_foreign_memory(void **state)
{
	CUipcMemHandle handle = { { 1 } };
	CUdeviceptr first, again;

	(void)state;
	assert_int_equal(client_cuIpcOpenMemHandle_v2(&first, handle, 1), CUDA_SUCCESS);
	assert_int_equal(client_cuIpcOpenMemHandle_v2(&again, handle, 1), CUDA_SUCCESS);
	assert_int_equal(first, again);
	assert_int_equal(foreign_open, 2);
	assert_int_equal(client_cuIpcCloseMemHandle(first), CUDA_SUCCESS);
	assert_int_equal(client_cuIpcCloseMemHandle(first), CUDA_SUCCESS);
	assert_int_equal(foreign_open, 0);
	assert_int_equal(client_cuIpcCloseMemHandle(first), CUDA_ERROR_INVALID_VALUE);
}

static void test_memory_of_graphs(void **state)
{
	CUDA_MEM_ALLOC_NODE_PARAMS allocation = {
		.poolProps = { .allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
			       .location = { .type = CU_MEM_LOCATION_TYPE_DEVICE } }
	};
	CUdeviceptr start, address;
	CUgraphNode node;
	CUgraph graph;
	size_t bytes;

	(void)state;
	for (size_t megabytes = 1; megabytes <= 2; megabytes++) {
		allocation.bytesize = megabytes << 20;
		assert_int_equal(client_cuGraphCreate(&graph, 0), CUDA_SUCCESS);
		assert_int_equal(client_cuGraphAddMemAllocNode(&node, graph, NULL, 0, &allocation),
				 CUDA_SUCCESS);
		assert_int_equal(allocation.dptr, GRAPH_ADDRESS);
		assert_int_equal(client_cuMemGetAddressRange_v2(&start, &bytes, GRAPH_ADDRESS + 8),
				 CUDA_SUCCESS);
		assert_int_equal(bytes, allocation.bytesize);
		assert_int_equal(client_cuGraphDestroy(graph), CUDA_SUCCESS);
	}
	for (int again = 0; again < 2; again++) {
		assert_int_equal(client_cuMemAllocAsync(&address, 4096, NULL), CUDA_SUCCESS);
		assert_int_equal(address, GRAPH_ADDRESS);
		assert_int_equal(worker_memory_used(), 4096);
		assert_int_equal(client_cuMemFreeAsync(address, NULL), CUDA_SUCCESS);
		assert_int_equal(client_cuStreamSynchronize(NULL), CUDA_SUCCESS);
		assert_int_equal(worker_memory_used(), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kernel_nodes),	 cmocka_unit_test(test_host_nodes),
		cmocka_unit_test(test_user_objects),	 cmocka_unit_test(test_capture),
		cmocka_unit_test(test_virtual_memory),	 cmocka_unit_test(test_linker),
		cmocka_unit_test(test_foreign_memory),	 cmocka_unit_test(test_numbers_run_out),
		cmocka_unit_test(test_memory_of_graphs),
	};

	return cmocka_run_group_tests_name("cuda graphs", tests, graph_open, graph_close);
}
