/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the nodes of a graph allocate is cleared at each launch, before anything else sees it.
 *
 * Such memory has its address from the beginning, and other memory behind it for each launch. So
 * each node that allocates gets a node that fills with zeroes, its clearing: at once, since a
 * driver refuses a fill of what a later node has freed (seen with NVIDIA's 580). Before the graph
 * is instantiated, all that comes right behind the allocation comes behind its clearing, too. Where
 * a stream is captured, the fill is captured behind the allocation (memory_clear.c).
 *
 * The program sees these nodes among the graph's, and may not change them, nor update an executable
 * graph by a graph that allocates. A clearing is told by
 * its form, so that nothing has to be remembered of graphs: a fill of the whole allocation with
 * zero, bytes at a time, that waits for the allocation alone. A program's own node of that form
 * serves as well, and is kept from changes as well.
 */
#include <stdlib.h>

#include "cuda/server/turn.h"
#include "cuda/server/worker.h"
#include "lib/base/clean.h"

static struct cuda_driver real;

/* clearing_form - what fills this allocation with zeroes */
static CUDA_MEMSET_NODE_PARAMS clearing_form(CUdeviceptr address, size_t bytes)
{
	return (CUDA_MEMSET_NODE_PARAMS){
		.dst = address, .elementSize = 1, .width = bytes, .height = 1
	};
}

/* clearing_of - @node is the clearing of @allocation, which it waits for alone */
static bool clearing_of(CUgraphNode node, CUgraphNode allocation)
{
	CUDA_MEM_ALLOC_NODE_PARAMS allocated;
	CUDA_MEMSET_NODE_PARAMS fill, form;
	CUgraphNodeType type;
	CUgraphNode behind;
	size_t count = 0;

	if (real.cuGraphNodeGetType(node, &type) || type != CU_GRAPH_NODE_TYPE_MEMSET ||
	    real.cuGraphNodeGetType(allocation, &type) || type != CU_GRAPH_NODE_TYPE_MEM_ALLOC ||
	    real.cuGraphNodeGetDependencies(node, NULL, &count) || count != 1 ||
	    real.cuGraphNodeGetDependencies(node, &behind, &count) || behind != allocation ||
	    real.cuGraphMemsetNodeGetParams(node, &fill) ||
	    real.cuGraphMemAllocNodeGetParams(allocation, &allocated))
		return false;
	form = clearing_form(allocated.dptr, allocated.bytesize);
	return fill.dst == form.dst && fill.value == form.value &&
	       fill.elementSize == form.elementSize && fill.width == form.width &&
	       fill.height == form.height;
}

/* is_clearing - of any allocation */
static bool is_clearing(CUgraphNode node)
{
	CUgraphNode behind;
	size_t count = 0;

	return !real.cuGraphNodeGetDependencies(node, NULL, &count) && count == 1 &&
	       !real.cuGraphNodeGetDependencies(node, &behind, &count) && clearing_of(node, behind);
}

/* place_check - what is allocated there can be cleared in the current context */
static CUresult place_check(const CUmemLocation *place, CUcontext *context)
{
	CUdevice device;
	CUresult result = real.cuCtxGetCurrent(context);

	if (!result)
		result = real.cuCtxGetDevice(&device);
	if (!result && place->id != device)
		result = CUDA_ERROR_NOT_SUPPORTED;
	return result;
}

/* clearing_add - behind a new node that allocates. Where that fails, the graph cannot be used. */
static CUresult clearing_add(CUgraph graph, CUgraphNode node, CUdeviceptr address, size_t bytes,
			     CUcontext context)
{
	const CUDA_MEMSET_NODE_PARAMS zeroes = clearing_form(address, bytes);
	CUgraphNode clearing;

	return real.cuGraphAddMemsetNode(&clearing, graph, &node, 1, &zeroes, context);
}

static CUresult add_allocation(CUgraphNode *node, CUgraph graph, const CUgraphNode *dependencies,
			       size_t count, CUDA_MEM_ALLOC_NODE_PARAMS *allocation)
{
	CUcontext context;
	CUresult result = place_check(&allocation->poolProps.location, &context);

	if (!result)
		result = real.cuGraphAddMemAllocNode(node, graph, dependencies, count, allocation);
	return result ? result
		      : clearing_add(graph, *node, allocation->dptr, allocation->bytesize, context);
}

static CUresult add_any(CUgraphNode *node, CUgraph graph, const CUgraphNode *dependencies,
			const CUgraphEdgeData *edges, size_t count, CUgraphNodeParams *parameters)
{
	bool allocates = parameters->type == CU_GRAPH_NODE_TYPE_MEM_ALLOC;
	CUcontext context;
	CUresult result = allocates ? place_check(&parameters->alloc.poolProps.location, &context)
				    : CUDA_SUCCESS;

	if (!result)
		result =
			real.cuGraphAddNode_v2(node, graph, dependencies, edges, count, parameters);
	if (result || !allocates)
		return result;
	return clearing_add(graph, *node, parameters->alloc.dptr, parameters->alloc.bytesize,
			    context);
}

/* nodes_behind - all that come right behind @node; to be freed by the caller */
static CUresult nodes_behind(CUgraphNode node, CUgraphNode **behind, size_t *count)
{
	CUresult result = real.cuGraphNodeGetDependentNodes(node, NULL, count);

	*behind = NULL;
	if (result)
		return result;
	*behind = calloc(*count + 1, sizeof(**behind));
	if (!*behind)
		return CUDA_ERROR_OUT_OF_MEMORY;
	return *count ? real.cuGraphNodeGetDependentNodes(node, *behind, count) : CUDA_SUCCESS;
}

static bool among(CUgraphNode node, CUgraphNode *const *nodes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if ((*nodes)[i] == node)
			return true;
	return false;
}

/* clear_first - what comes right behind @node comes behind its clearing */
static CUresult clear_first(CUgraphNode node, const CUDA_MEM_ALLOC_NODE_PARAMS *allocation,
			    void *argument)
{
	autofree CUgraphNode *behind = NULL, *ordered = NULL;
	size_t count, ordered_count;
	CUgraphNode clearing = NULL;
	CUgraph graph = argument;
	CUresult result = nodes_behind(node, &behind, &count);

	(void)allocation;
	for (size_t i = 0; !result && !clearing && i < count; i++)
		if (clearing_of(behind[i], node))
			clearing = behind[i];
	if (result || !clearing)
		return result ? result : CUDA_ERROR_NOT_SUPPORTED;
	result = nodes_behind(clearing, &ordered, &ordered_count);
	for (size_t i = 0; !result && i < count; i++)
		if (behind[i] != clearing && !among(behind[i], &ordered, ordered_count))
			result = real.cuGraphAddDependencies(graph, &clearing, &behind[i], 1);
	return result;
}

CUresult memory_clear_graph(CUgraph graph)
{
	if (!real.cuGraphAddMemsetNode)
		return CUDA_SUCCESS;
	return graph_allocations(&real, graph, clear_first, graph);
}

static CUresult note_allocation(CUgraphNode node, const CUDA_MEM_ALLOC_NODE_PARAMS *allocation,
				void *argument)
{
	(void)node;
	(void)allocation;
	*(bool *)argument = true;
	return CUDA_SUCCESS;
}

/*
 * NVIDIA's driver refuses an update that moves a fill to another allocation. What it does with
 * equal addresses shall not decide whether memory is cleared: a program instantiates such a graph
 * again.
 */
static CUresult exec_update(CUgraphExec exec, CUgraph graph, CUgraphExecUpdateResultInfo *info)
{
	bool allocates = false;
	CUresult result = graph_allocations(&real, graph, note_allocation, &allocates);

	if (result || !allocates)
		return result ? result : real.cuGraphExecUpdate_v2(exec, graph, info);
	*info = (CUgraphExecUpdateResultInfo){ .result = CU_GRAPH_EXEC_UPDATE_ERROR_NOT_SUPPORTED };
	return CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE;
}

/* UNLESS_CLEARING - the driver's call, unless it would change a clearing */
#define UNLESS_CLEARING(node, call) (is_clearing(node) ? CUDA_ERROR_NOT_PERMITTED : real.call)

static CUresult node_destroy(CUgraphNode node)
{
	return UNLESS_CLEARING(node, cuGraphDestroyNode(node));
}

static CUresult memset_set(CUgraphNode node, const CUDA_MEMSET_NODE_PARAMS *parameters)
{
	return UNLESS_CLEARING(node, cuGraphMemsetNodeSetParams(node, parameters));
}

static CUresult node_set(CUgraphNode node, CUgraphNodeParams *parameters)
{
	return UNLESS_CLEARING(node, cuGraphNodeSetParams(node, parameters));
}

static CUresult exec_memset_set(CUgraphExec exec, CUgraphNode node,
				const CUDA_MEMSET_NODE_PARAMS *parameters, CUcontext context)
{
	return UNLESS_CLEARING(node,
			       cuGraphExecMemsetNodeSetParams(exec, node, parameters, context));
}

static CUresult exec_node_set(CUgraphExec exec, CUgraphNode node, CUgraphNodeParams *parameters)
{
	return UNLESS_CLEARING(node, cuGraphExecNodeSetParams(exec, node, parameters));
}

static CUresult node_enable(CUgraphExec exec, CUgraphNode node, unsigned int enabled)
{
	return UNLESS_CLEARING(node, cuGraphNodeSetEnabled(exec, node, enabled));
}

/* any_clearing - one end of these edges is a clearing */
static bool any_clearing(const CUgraphNode *from, const CUgraphNode *to, size_t count)
{
	for (size_t i = 0; from && to && i < count; i++)
		if (is_clearing(from[i]) || is_clearing(to[i]))
			return true;
	return false;
}

static CUresult edges_remove(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to,
			     size_t count)
{
	return any_clearing(from, to, count)
		       ? CUDA_ERROR_NOT_PERMITTED
		       : real.cuGraphRemoveDependencies(graph, from, to, count);
}

static CUresult edges_remove_v2(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to,
				const CUgraphEdgeData *data, size_t count)
{
	return any_clearing(from, to, count)
		       ? CUDA_ERROR_NOT_PERMITTED
		       : real.cuGraphRemoveDependencies_v2(graph, from, to, data, count);
}

/* An edge to a clearing would end it: it would wait for more than its allocation. */
static CUresult edges_add(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to,
			  size_t count)
{
	return any_clearing(to, to, count) ? CUDA_ERROR_NOT_PERMITTED
					   : real.cuGraphAddDependencies(graph, from, to, count);
}

static CUresult edges_add_v2(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to,
			     const CUgraphEdgeData *data, size_t count)
{
	return any_clearing(to, to, count)
		       ? CUDA_ERROR_NOT_PERMITTED
		       : real.cuGraphAddDependencies_v2(graph, from, to, data, count);
}

void memory_clear_graph_open(struct cuda_driver *driver)
{
	if (!driver->cuGraphAddMemAllocNode || !driver->cuGraphMemAllocNodeGetParams ||
	    !driver->cuGraphAddMemsetNode || !driver->cuGraphMemsetNodeGetParams ||
	    !driver->cuGraphNodeGetType || !driver->cuGraphNodeGetDependencies ||
	    !driver->cuGraphNodeGetDependentNodes || !driver->cuGraphAddDependencies ||
	    !driver->cuGraphGetNodes || !driver->cuCtxGetCurrent || !driver->cuCtxGetDevice)
		return;
	real = *driver;
	WORKER_PUT(driver, cuGraphAddMemAllocNode, add_allocation);
	WORKER_PUT(driver, cuGraphAddNode_v2, add_any);
	WORKER_PUT(driver, cuGraphExecUpdate_v2, exec_update);
	WORKER_PUT(driver, cuGraphDestroyNode, node_destroy);
	WORKER_PUT(driver, cuGraphMemsetNodeSetParams, memset_set);
	WORKER_PUT(driver, cuGraphNodeSetParams, node_set);
	WORKER_PUT(driver, cuGraphExecMemsetNodeSetParams, exec_memset_set);
	WORKER_PUT(driver, cuGraphExecNodeSetParams, exec_node_set);
	WORKER_PUT(driver, cuGraphNodeSetEnabled, node_enable);
	WORKER_PUT(driver, cuGraphRemoveDependencies, edges_remove);
	WORKER_PUT(driver, cuGraphRemoveDependencies_v2, edges_remove_v2);
	WORKER_PUT(driver, cuGraphAddDependencies, edges_add);
	WORKER_PUT(driver, cuGraphAddDependencies_v2, edges_add_v2);
}
