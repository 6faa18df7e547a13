/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays, graphs and contexts against the limit, over a driver that only counts them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cuda/server/turn.h"
#include "cuda/server/worker.h"

#define MIB (1ull << 20)

static CUcontext current = (CUcontext)0x10;
static uintptr_t last_array = 0x1000;

/* What the device says of this process, and what a context and a byte of a limit add to it. */
static struct device_memory taken;
static uint64_t context_bytes;
static size_t limit_bytes;
static unsigned int contexts;

/* The bytes that were cleared, of an array or of each level. */
static uint64_t cleared[16];
static unsigned int level_of_array;

static CUresult get_current(CUcontext *context)
{
	*context = current;
	return CUDA_SUCCESS;
}

static CUresult get_device(CUdevice *device)
{
	*device = 0;
	return CUDA_SUCCESS;
}

static CUresult create(CUarray *array, const CUDA_ARRAY_DESCRIPTOR *wanted)
{
	(void)wanted;
	*array = (CUarray)(last_array += 16);
	return CUDA_SUCCESS;
}

static CUresult create_mipmapped(CUmipmappedArray *array, const CUDA_ARRAY3D_DESCRIPTOR *wanted,
				 unsigned int levels)
{
	(void)wanted;
	(void)levels;
	*array = (CUmipmappedArray)(last_array += 16);
	return CUDA_SUCCESS;
}

static CUresult destroy(CUarray array)
{
	(void)array;
	return CUDA_SUCCESS;
}

static CUresult destroy_mipmapped(CUmipmappedArray array)
{
	(void)array;
	return CUDA_SUCCESS;
}

static CUresult create_3d(CUarray *array, const CUDA_ARRAY3D_DESCRIPTOR *wanted)
{
	(void)wanted;
	*array = (CUarray)(last_array += 16);
	return CUDA_SUCCESS;
}

static CUresult get_level(CUarray *level, CUmipmappedArray array, unsigned int number)
{
	(void)array;
	level_of_array = number;
	*level = (CUarray)(uintptr_t)(0x100 + number);
	return CUDA_SUCCESS;
}

static CUresult copy_3d(const CUDA_MEMCPY3D *copy)
{
	const unsigned char *from = copy->srcHost;

	assert_int_equal(copy->Depth, 1);
	for (size_t i = 0; i < copy->Height * copy->srcPitch; i++)
		assert_int_equal(from[i], 0);
	assert_true(level_of_array < 16);
	cleared[level_of_array] += copy->WidthInBytes * copy->Height;
	return CUDA_SUCCESS;
}

static CUresult any(void)
{
	return CUDA_SUCCESS;
}

static void context_end(void)
{
	contexts--;
	taken.own_bytes -= context_bytes;
	taken.all_bytes -= context_bytes;
	taken.listed &= contexts > 0;
}

static CUresult destroy_context(CUcontext context)
{
	(void)context;
	context_end();
	return CUDA_SUCCESS;
}

static void context_begin(CUcontext *context)
{
	*context = (CUcontext)(last_array += 16);
	contexts++;
	taken.own_bytes += context_bytes;
	taken.all_bytes += context_bytes;
}

static CUresult create_context(CUcontext *context, unsigned int flags, CUdevice device)
{
	(void)flags;
	(void)device;
	context_begin(context);
	current = *context;
	return CUDA_SUCCESS;
}

static unsigned int retained;

static CUresult retain(CUcontext *context, CUdevice device)
{
	static CUcontext primary;

	(void)device;
	if (!retained++)
		context_begin(&primary);
	*context = primary;
	return CUDA_SUCCESS;
}

static CUresult release(CUdevice device)
{
	(void)device;
	if (!--retained)
		context_end();
	return CUDA_SUCCESS;
}

static CUresult primary_state(CUdevice device, unsigned int *flags, int *active)
{
	(void)device;
	*flags = 0;
	*active = retained > 0;
	return CUDA_SUCCESS;
}

static CUresult bus_id(char *text, int bytes, CUdevice device)
{
	(void)device;
	assert_true(bytes > 12);
	strcpy(text, "0000:01:00.0");
	return CUDA_SUCCESS;
}

static CUresult get_limit(size_t *value, CUlimit limit)
{
	(void)limit;
	*value = limit_bytes;
	return CUDA_SUCCESS;
}

static CUresult set_limit(CUlimit limit, size_t value)
{
	(void)limit;
	taken.own_bytes += value - limit_bytes;
	taken.all_bytes += value - limit_bytes;
	limit_bytes = value;
	return CUDA_SUCCESS;
}

static bool device_says(const char *id, const char *driver, struct device_memory *memory)
{
	assert_string_equal(id, "0000:01:00.0");
	assert_string_equal(driver, "the driver");
	*memory = taken;
	return true;
}

/* A graph of two nodes that allocate 3 MiB each, and one that does not. */
static CUresult graph_nodes(CUgraph graph, CUgraphNode *nodes, size_t *count)
{
	(void)graph;
	*count = 3;
	for (uintptr_t i = 0; nodes && i < 3; i++)
		nodes[i] = (CUgraphNode)(i + 1);
	return CUDA_SUCCESS;
}

/* What clears the first and the third one, behind them. */
#define CLEARING(node) ((CUgraphNode)(0x100 + (uintptr_t)(node)))

static CUresult node_type(CUgraphNode node, CUgraphNodeType *type)
{
	if ((uintptr_t)node > 0x100)
		*type = CU_GRAPH_NODE_TYPE_MEMSET;
	else if (node == (CUgraphNode)1 || node == (CUgraphNode)3)
		*type = CU_GRAPH_NODE_TYPE_MEM_ALLOC;
	else
		*type = CU_GRAPH_NODE_TYPE_KERNEL;
	return CUDA_SUCCESS;
}

static CUmemLocation memory_place;

static CUresult node_allocates(CUgraphNode node, CUDA_MEM_ALLOC_NODE_PARAMS *allocation)
{
	*allocation = (CUDA_MEM_ALLOC_NODE_PARAMS){ .bytesize = 3 * MIB,
						    .dptr = (uintptr_t)node << 20,
						    .poolProps.location = memory_place };
	return CUDA_SUCCESS;
}

/* Bits: behind which node something clears, and which nodes come behind CLEARING(1). */
static unsigned int clearing_nodes, clearing_edges;
static bool clears_too_late;

static CUresult node_list(const CUgraphNode *from, size_t count, CUgraphNode *nodes, size_t *room)
{
	for (size_t i = 0; nodes && i < count; i++)
		nodes[i] = from[i];
	*room = count;
	return CUDA_SUCCESS;
}

/* The second node, a kernel, and the fourth come behind the first, nothing behind the third. */
static CUresult node_dependents(CUgraphNode node, CUgraphNode *nodes, size_t *room)
{
	CUgraphNode found[3];
	size_t count = 0;

	if ((uintptr_t)node < 0x100 && clearing_nodes & 1u << (uintptr_t)node)
		found[count++] = CLEARING(node);
	for (uintptr_t behind = 2; behind <= 4; behind += 2)
		if (node == (CUgraphNode)1 ||
		    (node == CLEARING(1) && clearing_edges & 1u << behind))
			found[count++] = (CUgraphNode)behind;
	return node_list(found, count, nodes, room);
}

static CUresult node_dependencies(CUgraphNode node, CUgraphNode *nodes, size_t *room)
{
	CUgraphNode behind =
		(uintptr_t)node > 0x100 ? (CUgraphNode)((uintptr_t)node - 0x100) : (CUgraphNode)1;

	return node_list(&behind, node != (CUgraphNode)1 && node != (CUgraphNode)3, nodes, room);
}

static CUDA_MEMSET_NODE_PARAMS fill_of[4];

static CUresult add_memset(CUgraphNode *made, CUgraph graph, const CUgraphNode *dependencies,
			   size_t count, const CUDA_MEMSET_NODE_PARAMS *memset, CUcontext context)
{
	assert_ptr_equal(graph, (CUgraph)0x20);
	assert_ptr_equal(context, current);
	assert_int_equal(count, 1);
	assert_int_equal(memset->dst, (uintptr_t)dependencies[0] << 20);
	assert_int_equal(memset->elementSize * memset->width * memset->height, 3 * MIB);
	assert_int_equal(memset->value, 0);
	*made = CLEARING(dependencies[0]);
	clearing_nodes |= 1u << (uintptr_t)dependencies[0];
	fill_of[(uintptr_t)dependencies[0]] = *memset;
	return CUDA_SUCCESS;
}

static CUresult memset_of(CUgraphNode node, CUDA_MEMSET_NODE_PARAMS *memset)
{
	*memset = fill_of[(uintptr_t)node & 3];
	return CUDA_SUCCESS;
}

static CUresult set_memset(CUgraphNode node, const CUDA_MEMSET_NODE_PARAMS *memset)
{
	fill_of[(uintptr_t)node & 3] = *memset;
	return CUDA_SUCCESS;
}

static CUresult add_allocation(CUgraphNode *made, CUgraph graph, const CUgraphNode *dependencies,
			       size_t count, CUDA_MEM_ALLOC_NODE_PARAMS *allocation)
{
	(void)graph;
	(void)dependencies;
	*made = (CUgraphNode)(count ? 3ul : 1ul);
	allocation->dptr = (uintptr_t)*made << 20;
	return CUDA_SUCCESS;
}

/* As a driver does, it refuses an edge that is there already. */
static CUresult add_dependencies(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to,
				 size_t count)
{
	assert_ptr_equal(graph, (CUgraph)0x20);
	for (size_t i = 0; i < count; i++) {
		assert_ptr_equal(from[i], CLEARING(1));
		if (clearing_edges & 1u << (uintptr_t)to[i])
			return CUDA_ERROR_INVALID_VALUE;
		clearing_edges |= 1u << (uintptr_t)to[i];
	}
	return CUDA_SUCCESS;
}

static CUresult remove_dependencies(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to,
				    size_t count)
{
	(void)graph;
	(void)from;
	(void)to;
	(void)count;
	return CUDA_SUCCESS;
}

static CUresult destroy_node(CUgraphNode node)
{
	(void)node;
	return CUDA_SUCCESS;
}

static CUresult enable_node(CUgraphExec exec, CUgraphNode node, unsigned int enabled)
{
	(void)exec;
	(void)node;
	(void)enabled;
	return CUDA_SUCCESS;
}

static CUresult update(CUgraphExec exec, CUgraph graph, CUgraphExecUpdateResultInfo *info)
{
	(void)exec;
	(void)graph;
	(void)info;
	return CUDA_SUCCESS;
}

static CUresult instantiate(CUgraphExec *exec, CUgraph graph, unsigned long long flags)
{
	clears_too_late = !clearing_nodes;
	(void)graph;
	(void)flags;
	*exec = (CUgraphExec)(last_array += 16);
	return CUDA_SUCCESS;
}

static CUresult destroy_exec(CUgraphExec exec)
{
	(void)exec;
	return CUDA_SUCCESS;
}

/* with_driver - the driver as its worker has it, with or without clearing */
static void with_driver(bool clears)
{
	taken = (struct device_memory){ 0 };
	context_bytes = limit_bytes = 0;
	contexts = retained = 0;
	current = (CUcontext)0x10;
	worker_driver = (struct cuda_driver){ .cuCtxGetCurrent = get_current,
					      .cuCtxGetDevice = get_device,
					      .cuArrayCreate_v2 = create,
					      .cuArray3DCreate_v2 = create_3d,
					      .cuMipmappedArrayCreate = create_mipmapped,
					      .cuMipmappedArrayGetLevel = get_level,
					      .cuArrayDestroy = destroy,
					      .cuMipmappedArrayDestroy = destroy_mipmapped,
					      .cuCtxCreate_v2 = create_context,
					      .cuCtxDestroy_v2 = destroy_context,
					      .cuDevicePrimaryCtxRetain = retain,
					      .cuDevicePrimaryCtxRelease_v2 = release,
					      .cuDevicePrimaryCtxGetState = primary_state,
					      .cuDeviceGetPCIBusId = bus_id,
					      .cuCtxGetLimit = get_limit,
					      .cuCtxSetLimit = set_limit,
					      .cuGraphGetNodes = graph_nodes,
					      .cuGraphNodeGetType = node_type,
					      .cuGraphMemAllocNodeGetParams = node_allocates,
					      .cuGraphNodeGetDependentNodes = node_dependents,
					      .cuGraphAddMemsetNode = add_memset,
					      .cuGraphNodeGetDependencies = node_dependencies,
					      .cuGraphMemsetNodeGetParams = memset_of,
					      .cuGraphMemsetNodeSetParams = set_memset,
					      .cuGraphAddMemAllocNode = add_allocation,
					      .cuGraphAddDependencies = add_dependencies,
					      .cuGraphRemoveDependencies = remove_dependencies,
					      .cuGraphDestroyNode = destroy_node,
					      .cuGraphNodeSetEnabled = enable_node,
					      .cuGraphExecUpdate_v2 = update,
					      .cuGraphInstantiateWithFlags = instantiate,
					      .cuGraphExecDestroy = destroy_exec };
	if (clears) {
		worker_driver.cuMemcpy3D_v2 = copy_3d;
		*(void **)&worker_driver.cuMemsetD8Async = (void *)(uintptr_t)any;
		*(void **)&worker_driver.cuStreamCreate = (void *)(uintptr_t)any;
		*(void **)&worker_driver.cuStreamSynchronize = (void *)(uintptr_t)any;
		*(void **)&worker_driver.cuMemFree_v2 = (void *)(uintptr_t)any;
		memory_clear_open(&worker_driver);
	}
	memset(cleared, 0, sizeof(cleared));
	level_of_array = 0;
	clearing_nodes = clearing_edges = 0;
	memory_place = (CUmemLocation){ .type = CU_MEM_LOCATION_TYPE_DEVICE };
	quota_arrays_open(&worker_driver);
	quota_overhead_open(&worker_driver, "the driver", device_says);
}

static int set_up(void **state)
{
	(void)state;
	worker_options.memory_limit = 8 * MIB;
	with_driver(false);
	return 0;
}

static void test_arrays_count(void **state)
{
	const CUDA_ARRAY_DESCRIPTOR wanted = { 1024, 1024, CU_AD_FORMAT_FLOAT, 1 };
	CUarray one, two, three;

	(void)state;
	assert_int_equal(worker_driver.cuArrayCreate_v2(&one, &wanted), CUDA_SUCCESS);
	assert_int_equal(worker_driver.cuArrayCreate_v2(&two, &wanted), CUDA_SUCCESS);
	assert_int_equal(worker_memory_used(), 8 * MIB);
	assert_int_equal(worker_driver.cuArrayCreate_v2(&three, &wanted), CUDA_ERROR_OUT_OF_MEMORY);
	assert_int_equal(worker_driver.cuArrayDestroy(one), CUDA_SUCCESS);
	assert_int_equal(worker_memory_used(), 4 * MIB);
	assert_int_equal(worker_driver.cuArrayCreate_v2(&three, &wanted), CUDA_SUCCESS);
	assert_int_equal(worker_driver.cuCtxDestroy_v2(current), CUDA_SUCCESS);
	assert_int_equal(worker_memory_used(), 0);
}

static void test_levels_and_huge_ones(void **state)
{
	CUDA_ARRAY3D_DESCRIPTOR wanted = {
		.Width = 512, .Height = 512, .Format = CU_AD_FORMAT_HALF, .NumChannels = 4
	};
	CUmipmappedArray array;

	(void)state;
	assert_int_equal(worker_driver.cuMipmappedArrayCreate(&array, &wanted, 2), CUDA_SUCCESS);
	assert_int_equal(worker_memory_used(), (512 * 512 + 256 * 256) * 8);
	wanted.Height = wanted.Depth = SIZE_MAX / 512;
	assert_int_equal(worker_driver.cuMipmappedArrayCreate(&array, &wanted, 1),
			 CUDA_ERROR_OUT_OF_MEMORY);
	assert_int_equal(worker_driver.cuCtxDestroy_v2(current), CUDA_SUCCESS);
	assert_int_equal(worker_memory_used(), 0);
}

static void test_graphs_count_what_they_allocate(void **state)
{
	CUgraph graph = (CUgraph)0x20;
	CUgraphExec one, two;

	(void)state;
	assert_int_equal(worker_driver.cuGraphInstantiateWithFlags(&one, graph, 0), CUDA_SUCCESS);
	assert_int_equal(worker_memory_used(), 6 * MIB);
	assert_int_equal(worker_driver.cuGraphInstantiateWithFlags(&two, graph, 0),
			 CUDA_ERROR_OUT_OF_MEMORY);
	assert_int_equal(worker_driver.cuGraphExecDestroy(one), CUDA_SUCCESS);
	assert_int_equal(worker_memory_used(), 0);
	assert_int_equal(worker_driver.cuGraphInstantiateWithFlags(&two, graph, 0), CUDA_SUCCESS);
	assert_int_equal(worker_driver.cuCtxDestroy_v2(current), CUDA_SUCCESS);
	assert_int_equal(worker_memory_used(), 0);
}

/* allocate_nodes - the first and the third node of the graph */
static void allocate_nodes(CUgraph graph)
{
	CUDA_MEM_ALLOC_NODE_PARAMS allocation = { .bytesize = 3 * MIB,
						  .poolProps.location = memory_place };
	CUgraphNode node;

	assert_int_equal(worker_driver.cuGraphAddMemAllocNode(&node, graph, NULL, 0, &allocation),
			 CUDA_SUCCESS);
	assert_int_equal(worker_driver.cuGraphAddMemAllocNode(&node, graph, &node, 1, &allocation),
			 CUDA_SUCCESS);
}

static void test_what_graphs_allocate_is_cleared(void **state)
{
	CUgraph graph = (CUgraph)0x20;
	CUgraphExecUpdateResultInfo info;
	CUgraphExec exec;

	(void)state;
	allocate_nodes(graph);
	assert_int_equal(worker_driver.cuGraphInstantiateWithFlags(&exec, graph, 0), CUDA_SUCCESS);
	assert_int_equal(clearing_nodes, 0); /* the control: this worker does not clear */
	assert_int_equal(worker_driver.cuGraphExecDestroy(exec), CUDA_SUCCESS);
	with_driver(true);
	allocate_nodes(graph);
	assert_int_equal(clearing_nodes, 1 << 1 | 1 << 3);
	assert_int_equal(worker_driver.cuGraphInstantiateWithFlags(&exec, graph, 0), CUDA_SUCCESS);
	assert_int_equal(clearing_edges, 1 << 2 | 1 << 4);
	assert_false(clears_too_late);
	assert_int_equal(worker_driver.cuGraphExecDestroy(exec), CUDA_SUCCESS);
	assert_int_equal(worker_driver.cuGraphInstantiateWithFlags(&exec, graph, 0), CUDA_SUCCESS);
	assert_int_equal(worker_driver.cuGraphExecUpdate_v2(exec, graph, &info),
			 CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
	assert_int_equal(info.result, CU_GRAPH_EXEC_UPDATE_ERROR_NOT_SUPPORTED);
	assert_int_equal(worker_driver.cuGraphExecDestroy(exec), CUDA_SUCCESS);
	assert_int_equal(worker_memory_used(), 0);
}

static void test_what_is_not_cleared_is_refused(void **state)
{
	CUDA_MEM_ALLOC_NODE_PARAMS allocation = { .bytesize = 3 * MIB };
	CUgraph graph = (CUgraph)0x20;
	CUgraphExec exec;
	CUgraphNode node;

	(void)state;
	with_driver(true);
	allocate_nodes(graph);
	clearing_nodes = 1 << 1;
	assert_int_equal(worker_driver.cuGraphInstantiateWithFlags(&exec, graph, 0),
			 CUDA_ERROR_NOT_SUPPORTED);
	clearing_nodes = 1 << 1 | 1 << 3;
	fill_of[3].width--;
	assert_int_equal(worker_driver.cuGraphInstantiateWithFlags(&exec, graph, 0),
			 CUDA_ERROR_NOT_SUPPORTED);
	assert_int_equal(worker_memory_used(), 0);
	allocation.poolProps.location.id = 1; /* of another device than the context is */
	assert_int_equal(worker_driver.cuGraphAddMemAllocNode(&node, graph, NULL, 0, &allocation),
			 CUDA_ERROR_NOT_SUPPORTED);
}

static void test_what_clears_stays(void **state)
{
	const CUDA_MEMSET_NODE_PARAMS other = { .dst = 5 << 20, .elementSize = 1, .width = 1 };
	CUgraphNode clearing = CLEARING(1), kernel = (CUgraphNode)2;
	CUgraph graph = (CUgraph)0x20;

	(void)state;
	with_driver(true);
	allocate_nodes(graph);
	assert_int_equal(worker_driver.cuGraphMemsetNodeSetParams(clearing, &other),
			 CUDA_ERROR_NOT_PERMITTED);
	assert_int_equal(worker_driver.cuGraphDestroyNode(clearing), CUDA_ERROR_NOT_PERMITTED);
	assert_int_equal(worker_driver.cuGraphNodeSetEnabled(NULL, clearing, 0),
			 CUDA_ERROR_NOT_PERMITTED);
	assert_int_equal(worker_driver.cuGraphAddDependencies(graph, &kernel, &clearing, 1),
			 CUDA_ERROR_NOT_PERMITTED);
	assert_int_equal(worker_driver.cuGraphRemoveDependencies(graph, &clearing, &kernel, 1),
			 CUDA_ERROR_NOT_PERMITTED);
	assert_int_equal(worker_driver.cuGraphDestroyNode(kernel), CUDA_SUCCESS);
	assert_int_equal(worker_driver.cuGraphRemoveDependencies(graph, &kernel, &kernel, 1),
			 CUDA_SUCCESS);
	fill_of[1].value = 1; /* a program's own fill is none of ours */
	assert_int_equal(worker_driver.cuGraphMemsetNodeSetParams(clearing, &other), CUDA_SUCCESS);
}

static void test_levels_are_cleared(void **state)
{
	const CUDA_ARRAY3D_DESCRIPTOR wanted = { .Width = 64,
						 .Height = 32,
						 .Depth = 4,
						 .Format = CU_AD_FORMAT_FLOAT,
						 .NumChannels = 2 };
	CUDA_ARRAY3D_DESCRIPTOR layers = wanted;
	CUmipmappedArray array;

	(void)state;
	with_driver(true);
	/* There are 7 levels, however many were asked for. */
	assert_int_equal(worker_driver.cuMipmappedArrayCreate(&array, &wanted, UINT32_MAX), 0);
	assert_int_equal(cleared[0], 64 * 32 * 4 * 8);
	assert_int_equal(cleared[1], 32 * 16 * 2 * 8);
	assert_int_equal(cleared[2], 16 * 8 * 8);
	assert_int_equal(cleared[5], 2 * 1 * 8);
	assert_int_equal(cleared[6], 8);
	assert_int_equal(cleared[7], 0);
	assert_int_equal(worker_driver.cuMipmappedArrayDestroy(array), 0);
	layers.Flags = CUDA_ARRAY3D_LAYERED;
	memset(cleared, 0, sizeof(cleared));
	assert_int_equal(worker_driver.cuMipmappedArrayCreate(&array, &layers, 2), 0);
	assert_int_equal(cleared[1], 32 * 16 * 4 * 8);
	assert_int_equal(cleared[2], 0);
	assert_int_equal(worker_driver.cuMipmappedArrayDestroy(array), 0);
	assert_int_equal(worker_memory_used(), 0);
}

static void test_what_cannot_be_cleared_is_refused(void **state)
{
	CUDA_ARRAY3D_DESCRIPTOR wanted = {
		.Width = 64, .Height = 64, .Format = 0x91 /* BC1 */, .NumChannels = 4
	};
	CUmipmappedArray levels;
	CUarray array;

	(void)state;
	with_driver(true);
	assert_int_equal(worker_driver.cuArray3DCreate_v2(&array, &wanted),
			 CUDA_ERROR_NOT_SUPPORTED);
	assert_int_equal(worker_driver.cuMipmappedArrayCreate(&levels, &wanted, 3),
			 CUDA_ERROR_NOT_SUPPORTED);
	assert_int_equal(worker_memory_used(), 0);
	/* It has no memory of its own: what is mapped there was cleared when it was created. */
	wanted.Flags = 0x40;
	assert_int_equal(worker_driver.cuMipmappedArrayCreate(&levels, &wanted, 3), 0);
	assert_int_equal(worker_driver.cuMipmappedArrayDestroy(levels), 0);
}

/* contexts_count - of 3 MiB each against 8, whichever way the device tells */
static void contexts_count(bool listed)
{
	CUcontext one, two, three, primary;

	with_driver(false);
	context_bytes = 3 * MIB;
	taken.listed = listed;
	taken.own_bytes = listed ? MIB : 0;
	taken.all_bytes = 77 * MIB; /* neighbours' */
	assert_int_equal(worker_driver.cuCtxCreate_v2(&one, 0, 0), CUDA_SUCCESS);
	assert_int_equal(worker_memory_used(), 3 * MIB);
	assert_int_equal(worker_driver.cuDevicePrimaryCtxRetain(&primary, 0), CUDA_SUCCESS);
	assert_int_equal(worker_driver.cuDevicePrimaryCtxRetain(&primary, 0), CUDA_SUCCESS);
	assert_int_equal(worker_memory_used(), 6 * MIB);
	assert_int_equal(worker_driver.cuCtxCreate_v2(&three, 0, 0), CUDA_ERROR_OUT_OF_MEMORY);
	assert_int_equal(contexts, 2);
	assert_int_equal(worker_memory_used(), 6 * MIB);
	assert_int_equal(worker_driver.cuDevicePrimaryCtxRelease_v2(0), CUDA_SUCCESS);
	assert_int_equal(worker_memory_used(), 6 * MIB);
	assert_int_equal(worker_driver.cuDevicePrimaryCtxRelease_v2(0), CUDA_SUCCESS);
	assert_int_equal(worker_memory_used(), 3 * MIB);
	assert_int_equal(worker_driver.cuCtxCreate_v2(&two, 0, 0), CUDA_SUCCESS);
	assert_int_equal(worker_driver.cuDevicePrimaryCtxRetain(&primary, 0),
			 CUDA_ERROR_OUT_OF_MEMORY);
	assert_int_equal(retained, 0);
	assert_int_equal(worker_driver.cuCtxDestroy_v2(one), CUDA_SUCCESS);
	assert_int_equal(worker_driver.cuCtxDestroy_v2(two), CUDA_SUCCESS);
	assert_int_equal(worker_memory_used(), 0);
}

static void test_contexts_count_by_process(void **state)
{
	(void)state;
	contexts_count(true);
}

static void test_contexts_count_by_device(void **state)
{
	(void)state;
	contexts_count(false);
}

static void test_limits_of_a_context_count(void **state)
{
	CUcontext context;

	(void)state;
	with_driver(false);
	context_bytes = 2 * MIB;
	assert_int_equal(worker_driver.cuCtxCreate_v2(&context, 0, 0), CUDA_SUCCESS);
	assert_int_equal(worker_driver.cuCtxSetLimit(CU_LIMIT_MALLOC_HEAP_SIZE, 5 * MIB), 0);
	assert_int_equal(worker_memory_used(), 7 * MIB);
	assert_int_equal(worker_driver.cuCtxSetLimit(CU_LIMIT_MALLOC_HEAP_SIZE, 7 * MIB),
			 CUDA_ERROR_OUT_OF_MEMORY);
	assert_int_equal(limit_bytes, 5 * MIB);
	assert_int_equal(worker_memory_used(), 7 * MIB);
	assert_int_equal(worker_driver.cuCtxSetLimit(CU_LIMIT_MALLOC_HEAP_SIZE, MIB), 0);
	assert_int_equal(worker_memory_used(), 3 * MIB);
	assert_int_equal(worker_driver.cuCtxDestroy_v2(context), CUDA_SUCCESS);
	assert_int_equal(worker_memory_used(), 0);
}

static void test_what_the_driver_takes_later_counts(void **state)
{
	enum worker_range_kind kind;
	CUcontext context;

	(void)state;
	with_driver(false);
	context_bytes = 2 * MIB;
	taken.listed = true;
	assert_int_equal(worker_driver.cuCtxCreate_v2(&context, 0, 0), CUDA_SUCCESS);
	taken.own_bytes += 3 * MIB;	   /* the code of a kernel */
	assert_false(quota_follow_look()); /* that request is at work */
	assert_int_equal(worker_memory_used(), 2 * MIB);
	quota_change_end();
	assert_true(quota_follow_look());
	assert_int_equal(worker_memory_used(), 5 * MIB);
	assert_true(quota_follow_look());
	assert_int_equal(worker_memory_used(), 5 * MIB);
	/* The rest of the block that an allocation lies in is not charged; what comes beside it is.
	 */
	assert_int_equal(worker_range_add(0x10000, 4096, WORKER_RANGE_ALLOCATION, 0), 0);
	taken.own_bytes += 2 * MIB;
	assert_true(quota_follow_look());
	assert_int_equal(worker_memory_used(), 5 * MIB + 4096);
	taken.own_bytes += MIB;
	assert_true(quota_follow_look());
	assert_int_equal(worker_memory_used(), 6 * MIB + 4096);
	/* Off the books, and still with the device. */
	assert_int_equal(worker_range_take(0x10000, &kind), CUDA_SUCCESS);
	assert_false(quota_follow_look());
	taken.own_bytes -= 2 * MIB;
	quota_change_end();
	assert_true(quota_follow_look());
	assert_int_equal(worker_memory_used(), 6 * MIB);
	/* Code goes with its context. */
	assert_int_equal(worker_driver.cuCtxDestroy_v2(context), CUDA_SUCCESS);
	taken.own_bytes = 0;
	assert_true(quota_follow_look());
	assert_int_equal(worker_memory_used(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arrays_count),
		cmocka_unit_test(test_levels_and_huge_ones),
		cmocka_unit_test(test_graphs_count_what_they_allocate),
		cmocka_unit_test(test_contexts_count_by_process),
		cmocka_unit_test(test_contexts_count_by_device),
		cmocka_unit_test(test_limits_of_a_context_count),
		cmocka_unit_test(test_what_the_driver_takes_later_counts),
		cmocka_unit_test(test_what_graphs_allocate_is_cleared),
		cmocka_unit_test(test_what_is_not_cleared_is_refused),
		cmocka_unit_test(test_what_clears_stays),
		cmocka_unit_test(test_levels_are_cleared),
		cmocka_unit_test(test_what_cannot_be_cleared_is_refused),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
