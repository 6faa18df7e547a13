/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays and graphs against the limit, over a driver that only counts them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cuda/server/turn.h"
#include "cuda/server/worker.h"

#define MIB (1ull << 20)

static CUcontext current = (CUcontext)0x10;
static uintptr_t last_array = 0x1000;

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

static CUresult destroy_context(CUcontext context)
{
	(void)context;
	return CUDA_SUCCESS;
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

static CUresult node_type(CUgraphNode node, CUgraphNodeType *type)
{
	*type = node == (CUgraphNode)2 ? CU_GRAPH_NODE_TYPE_KERNEL : CU_GRAPH_NODE_TYPE_MEM_ALLOC;
	return CUDA_SUCCESS;
}

static CUresult node_allocates(CUgraphNode node, CUDA_MEM_ALLOC_NODE_PARAMS *allocation)
{
	(void)node;
	*allocation = (CUDA_MEM_ALLOC_NODE_PARAMS){ .bytesize = 3 * MIB };
	return CUDA_SUCCESS;
}

static CUresult instantiate(CUgraphExec *exec, CUgraph graph, unsigned long long flags)
{
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

static int set_up(void **state)
{
	(void)state;
	worker_options.memory_limit = 8 * MIB;
	worker_driver = (struct cuda_driver){ .cuCtxGetCurrent = get_current,
					      .cuCtxGetDevice = get_device,
					      .cuArrayCreate_v2 = create,
					      .cuMipmappedArrayCreate = create_mipmapped,
					      .cuArrayDestroy = destroy,
					      .cuCtxDestroy_v2 = destroy_context,
					      .cuGraphGetNodes = graph_nodes,
					      .cuGraphNodeGetType = node_type,
					      .cuGraphMemAllocNodeGetParams = node_allocates,
					      .cuGraphInstantiateWithFlags = instantiate,
					      .cuGraphExecDestroy = destroy_exec };
	quota_arrays_open(&worker_driver);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arrays_count),
		cmocka_unit_test(test_levels_and_huge_ones),
		cmocka_unit_test(test_graphs_count_what_they_allocate),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
