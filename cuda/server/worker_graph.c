/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Graphs on the driver's side: nodes from their bodies, and bodies from nodes; executables.
 *
 * A body is decoded into CUDA's own structures with handles looked up and device ranges checked,
 * then given to the call that adds a node, sets one, or sets one of an executable. What a kernel
 * node holds is copied by the driver, so that the body may go with the request. Handles that the
 * driver made by itself get numbers of this side's as they are asked for.
 */
#include <stdlib.h>

#include "cuda/server/turn.h"
#include "cuda/server/worker.h"
#include "lib/base/clean.h"

#define ACCESS_MAX 64u
#define BATCH_MAX  256u

/* A node's parameters as the driver wants them. */
struct node {
	CUgraphNodeType kind;
	CUDA_KERNEL_NODE_PARAMS kernel;
	CUDA_MEMCPY3D copy;
	CUDA_MEMSET_NODE_PARAMS fill;
	CUDA_HOST_NODE_PARAMS host;
	CUDA_MEM_ALLOC_NODE_PARAMS allocation;
	CUDA_BATCH_MEM_OP_NODE_PARAMS batch;
	CUcontext context;
	CUgraph graph;
	CUevent event;
	CUdeviceptr address;
	void **parameters;	   /* freed by node_free() */
	CUmemAccessDesc *accesses; /* so is this */
	CUstreamBatchMemOpParams *operations;
};

static void node_free(struct node *node)
{
	free(node->parameters);
	free(node->accesses);
	free(node->operations);
}

#define node_auto __attribute__((cleanup(node_free)))

/* node_context - the context that a node names, or the current one */
static CUresult node_context(struct worker_call *call, uint32_t number, CUcontext *context)
{
	return worker_handle_find(call, KIND_context, number ? number : call->request.context,
				  false, context);
}

static CUresult node_kernel(struct worker_call *call, struct node *node)
{
	const struct cuda_wire_kernel_node *wire = worker_tail(call, 1, sizeof(*wire));
	struct cuda_wire_kernel_node head;
	const uint32_t *offsets;
	const unsigned char *block;
	uint32_t count, bytes;
	void *function;
	CUresult result;

	if (!wire)
		return worker_broken(call);
	memcpy(&head, wire, sizeof(head));
	result = worker_handle_find(call, KIND_function, head.function, false, &function);
	if (!result)
		result = node_context(call, head.context, &node->context);
	if (result)
		return result;
	offsets = worker_launch_layout(head.function, &count, &bytes);
	block = worker_tail(call, head.parameter_bytes, 1);
	if (!offsets || head.parameter_bytes != bytes || !block)
		return worker_broken(call);
	node->parameters = calloc(count + 1, sizeof(*node->parameters));
	if (!node->parameters)
		return CUDA_ERROR_OUT_OF_MEMORY;
	for (uint32_t i = 0; i < count; i++)
		node->parameters[i] = (void *)(uintptr_t)(block + offsets[i]);
	node->kernel = (CUDA_KERNEL_NODE_PARAMS){
		.gridDimX = head.grid[0],
		.gridDimY = head.grid[1],
		.gridDimZ = head.grid[2],
		.blockDimX = head.block[0],
		.blockDimY = head.block[1],
		.blockDimZ = head.block[2],
		.sharedMemBytes = head.shared_bytes,
		.kernelParams = node->parameters,
	};
	if (worker_handle_known(KIND_kernel, function) == head.function)
		node->kernel.kern = function;
	else
		node->kernel.func = function;
	return CUDA_SUCCESS;
}

static CUresult node_copy(struct worker_call *call, struct node *node)
{
	const struct cuda_wire_copy *tail = worker_tail(call, 1, sizeof(*tail));
	struct cuda_wire_copy wire;
	CUresult result;

	if (!tail)
		return worker_broken(call);
	memcpy(&wire, tail, sizeof(wire));
	if (wire.from.type == CU_MEMORYTYPE_HOST || wire.to.type == CU_MEMORYTYPE_HOST)
		return CUDA_ERROR_NOT_SUPPORTED;
	result = node_context(call, wire.context, &node->context);
	return result ? result : worker_copy_decode(call, &wire, &node->copy);
}

static CUresult node_fill(struct worker_call *call, struct node *node)
{
	const struct cuda_wire_memset_node *wire = worker_tail(call, 1, sizeof(*wire));
	CUresult result;

	if (!wire)
		return worker_broken(call);
	result = node_context(call, wire->context, &node->context);
	node->fill = (CUDA_MEMSET_NODE_PARAMS){ .dst = wire->to,
						.pitch = wire->pitch,
						.value = wire->value,
						.elementSize = wire->element_bytes,
						.width = wire->width,
						.height = wire->height };
	return result;
}

static CUresult node_host(struct worker_call *call, struct node *node)
{
	const uint64_t *id = worker_tail(call, 1, sizeof(*id));

	if (!id)
		return worker_broken(call);
	return worker_host_lasting(*id, &node->host.fn, &node->host.userData);
}

static CUresult node_allocation(struct worker_call *call, struct node *node)
{
	const struct cuda_wire_allocation_node *wire = worker_tail(call, 1, sizeof(*wire));
	const CUmemAccessDesc *accesses;

	if (!wire || wire->access_count > ACCESS_MAX)
		return worker_broken(call);
	accesses = worker_tail(call, wire->access_count, sizeof(*accesses));
	if (!accesses)
		return worker_broken(call);
	node->accesses = calloc(wire->access_count + 1, sizeof(*accesses));
	if (!node->accesses)
		return CUDA_ERROR_OUT_OF_MEMORY;
	memcpy(node->accesses, accesses, wire->access_count * sizeof(*accesses));
	node->allocation = (CUDA_MEM_ALLOC_NODE_PARAMS){
		.poolProps = { .allocType = (CUmemAllocationType)wire->allocation_type,
			       .handleTypes = (CUmemAllocationHandleType)wire->handle_types,
			       .location = { (CUmemLocationType)wire->location_type,
					     wire->location } },
		.accessDescs = wire->access_count ? node->accesses : NULL,
		.accessDescCount = wire->access_count,
		.bytesize = wire->bytes,
	};
	return worker_memory_admit(wire->bytes);
}

static CUresult node_batch(struct worker_call *call, struct node *node)
{
	const uint32_t *head = worker_tail(call, 4, sizeof(*head));
	const CUstreamBatchMemOpParams *operations;
	CUresult result;

	if (!head || head[0] > BATCH_MAX)
		return worker_broken(call);
	operations = worker_tail(call, head[0], sizeof(*operations));
	if (!operations)
		return worker_broken(call);
	result = node_context(call, head[2], &node->context);
	if (result)
		return result;
	node->operations = calloc(head[0] + 1, sizeof(*operations));
	if (!node->operations)
		return CUDA_ERROR_OUT_OF_MEMORY;
	memcpy(node->operations, operations, head[0] * sizeof(*operations));
	node->batch = (CUDA_BATCH_MEM_OP_NODE_PARAMS){ .ctx = node->context,
						       .count = head[0],
						       .paramArray = node->operations,
						       .flags = head[1] };
	return CUDA_SUCCESS;
}

/* node_decode - the rest of the tail as the parameters of a node of that kind */
static CUresult node_decode(struct worker_call *call, int32_t kind, struct node *node)
{
	const uint32_t *number;
	const uint64_t *address;

	node->kind = (CUgraphNodeType)kind;
	switch (node->kind) {
	case CU_GRAPH_NODE_TYPE_KERNEL:
		return node_kernel(call, node);
	case CU_GRAPH_NODE_TYPE_MEMCPY:
		return node_copy(call, node);
	case CU_GRAPH_NODE_TYPE_MEMSET:
		return node_fill(call, node);
	case CU_GRAPH_NODE_TYPE_HOST:
		return node_host(call, node);
	case CU_GRAPH_NODE_TYPE_EMPTY:
		return CUDA_SUCCESS;
	case CU_GRAPH_NODE_TYPE_MEM_ALLOC:
		return node_allocation(call, node);
	case CU_GRAPH_NODE_TYPE_BATCH_MEM_OP:
		return node_batch(call, node);
	case CU_GRAPH_NODE_TYPE_MEM_FREE:
		address = worker_tail(call, 1, sizeof(*address));
		if (!address)
			return worker_broken(call);
		node->address = *address;
		return worker_range_check(call, *address, 1);
	case CU_GRAPH_NODE_TYPE_GRAPH:
	case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
	case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
		number = worker_tail(call, 1, sizeof(*number));
		if (!number)
			return worker_broken(call);
		return node->kind == CU_GRAPH_NODE_TYPE_GRAPH
			       ? worker_handle_find(call, KIND_graph, *number, false, &node->graph)
			       : worker_handle_find(call, KIND_event, *number, false, &node->event);
	default:
		return CUDA_ERROR_NOT_SUPPORTED;
	}
}

/* A driver that lacks a function of the family says so. */
#define DRIVER(function, ...) \
	(worker_driver.function ? worker_driver.function(__VA_ARGS__) : CUDA_ERROR_NOT_SUPPORTED)

/* node_general - the same node in the structure that cuGraphAddNode takes */
static void node_general(const struct node *node, CUgraphNodeParams *to)
{
	*to = (CUgraphNodeParams){ .type = node->kind };
	switch (node->kind) {
	case CU_GRAPH_NODE_TYPE_KERNEL:
		memcpy(&to->kernel, &node->kernel, sizeof(to->kernel));
		to->kernel.ctx = node->context;
		break;
	case CU_GRAPH_NODE_TYPE_MEMCPY:
		to->memcpy.copyCtx = node->context;
		to->memcpy.copyParams = node->copy;
		break;
	case CU_GRAPH_NODE_TYPE_MEMSET:
		memcpy(&to->memset, &node->fill, sizeof(node->fill));
		to->memset.ctx = node->context;
		break;
	case CU_GRAPH_NODE_TYPE_HOST:
		to->host.fn = node->host.fn;
		to->host.userData = node->host.userData;
		break;
	case CU_GRAPH_NODE_TYPE_GRAPH:
		to->graph.graph = node->graph;
		break;
	case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
		to->eventWait.event = node->event;
		break;
	case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
		to->eventRecord.event = node->event;
		break;
	case CU_GRAPH_NODE_TYPE_MEM_ALLOC:
		to->alloc.poolProps = node->allocation.poolProps;
		to->alloc.accessDescs = node->allocation.accessDescs;
		to->alloc.accessDescCount = node->allocation.accessDescCount;
		to->alloc.bytesize = node->allocation.bytesize;
		break;
	case CU_GRAPH_NODE_TYPE_MEM_FREE:
		to->free.dptr = node->address;
		break;
	case CU_GRAPH_NODE_TYPE_BATCH_MEM_OP:
		to->memOp.ctx = node->batch.ctx;
		to->memOp.count = node->batch.count;
		to->memOp.paramArray = node->batch.paramArray;
		to->memOp.flags = node->batch.flags;
		break;
	default:
		break;
	}
}

/* node_add - by the function of its kind, or by the general one where edges have data */
static CUresult node_add(struct node *node, CUgraph graph, const CUgraphNode *on, size_t count,
			 const CUgraphEdgeData *edges, CUgraphNode *made)
{
	CUgraphNodeParams general;
	CUresult result;

	if (edges) {
		node_general(node, &general);
		result = DRIVER(cuGraphAddNode_v2, made, graph, on, edges, count, &general);
		node->allocation.dptr = general.alloc.dptr;
		return result;
	}
	switch (node->kind) {
	case CU_GRAPH_NODE_TYPE_KERNEL:
		return DRIVER(cuGraphAddKernelNode_v2, made, graph, on, count, &node->kernel);
	case CU_GRAPH_NODE_TYPE_MEMCPY:
		return DRIVER(cuGraphAddMemcpyNode, made, graph, on, count, &node->copy,
			      node->context);
	case CU_GRAPH_NODE_TYPE_MEMSET:
		return DRIVER(cuGraphAddMemsetNode, made, graph, on, count, &node->fill,
			      node->context);
	case CU_GRAPH_NODE_TYPE_HOST:
		return DRIVER(cuGraphAddHostNode, made, graph, on, count, &node->host);
	case CU_GRAPH_NODE_TYPE_GRAPH:
		return DRIVER(cuGraphAddChildGraphNode, made, graph, on, count, node->graph);
	case CU_GRAPH_NODE_TYPE_EMPTY:
		return DRIVER(cuGraphAddEmptyNode, made, graph, on, count);
	case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
		return DRIVER(cuGraphAddEventWaitNode, made, graph, on, count, node->event);
	case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
		return DRIVER(cuGraphAddEventRecordNode, made, graph, on, count, node->event);
	case CU_GRAPH_NODE_TYPE_MEM_ALLOC:
		return DRIVER(cuGraphAddMemAllocNode, made, graph, on, count, &node->allocation);
	case CU_GRAPH_NODE_TYPE_MEM_FREE:
		return DRIVER(cuGraphAddMemFreeNode, made, graph, on, count, node->address);
	case CU_GRAPH_NODE_TYPE_BATCH_MEM_OP:
		return DRIVER(cuGraphAddBatchMemOpNode, made, graph, on, count, &node->batch);
	default:
		return CUDA_ERROR_NOT_SUPPORTED;
	}
}

CUresult worker_graph_node_add(struct worker_call *call,
			       const struct wire_graph_node_add_request *request,
			       struct wire_graph_node_add_reply *reply)
{
	const void *numbers = worker_tail(call, request->dependency_count, sizeof(uint32_t));
	const CUgraphEdgeData *edges =
		numbers ? worker_tail(call, request->edge_count, sizeof(*edges)) : NULL;
	autofree void **on = NULL;
	node_auto struct node node = { 0 };
	CUgraphNode made = NULL;
	CUgraph graph;
	CUresult result;

	if (!edges || !worker_handle_free(call, request->node) ||
	    (request->edge_count && request->edge_count != request->dependency_count))
		return worker_broken(call);
	result = worker_handle_find(call, KIND_graph, request->graph, false, &graph);
	if (!result)
		result = worker_handles_find(call, KIND_node, numbers, request->dependency_count,
					     &on);
	if (!result)
		result = node_decode(call, request->kind, &node);
	if (!result)
		result = node_add(&node, graph, (const CUgraphNode *)on, request->dependency_count,
				  request->edge_count ? edges : NULL, &made);
	if (result)
		return result;
	reply->address = node.allocation.dptr;
	if (reply->address)
		worker_range_add(reply->address, node.allocation.bytesize, WORKER_RANGE_GRAPH,
				 call->request.context);
	return worker_handle_set(call, KIND_node, request->node, made, request->graph);
}

/* node_set - a node of a graph, or what became of it in @exec */
static CUresult node_set(const struct node *node, CUgraphExec exec, CUgraphNode real)
{
	CUgraphNodeParams general;

	switch (node->kind) {
	case CU_GRAPH_NODE_TYPE_KERNEL:
		return exec ? DRIVER(cuGraphExecKernelNodeSetParams_v2, exec, real, &node->kernel)
			    : DRIVER(cuGraphKernelNodeSetParams_v2, real, &node->kernel);
	case CU_GRAPH_NODE_TYPE_MEMCPY:
		return exec ? DRIVER(cuGraphExecMemcpyNodeSetParams, exec, real, &node->copy,
				     node->context)
			    : DRIVER(cuGraphMemcpyNodeSetParams, real, &node->copy);
	case CU_GRAPH_NODE_TYPE_MEMSET:
		return exec ? DRIVER(cuGraphExecMemsetNodeSetParams, exec, real, &node->fill,
				     node->context)
			    : DRIVER(cuGraphMemsetNodeSetParams, real, &node->fill);
	case CU_GRAPH_NODE_TYPE_HOST:
		return exec ? DRIVER(cuGraphExecHostNodeSetParams, exec, real, &node->host)
			    : DRIVER(cuGraphHostNodeSetParams, real, &node->host);
	default:
		node_general(node, &general);
		return exec ? DRIVER(cuGraphExecNodeSetParams, exec, real, &general)
			    : DRIVER(cuGraphNodeSetParams, real, &general);
	}
}

CUresult worker_graph_node_set(struct worker_call *call,
			       const struct wire_graph_node_set_request *request)
{
	node_auto struct node node = { 0 };
	CUgraphExec exec;
	CUgraphNode real;
	CUresult result = worker_handle_find(call, KIND_exec, request->exec, true, &exec);

	if (!result)
		result = worker_handle_find(call, KIND_node, request->node, false, &real);
	if (!result)
		result = node_decode(call, request->kind, &node);
	return result ? result : node_set(&node, exec, real);
}

/* kernel_number - the number of what a node launches, known or new */
static CUresult kernel_number(struct worker_call *call, const CUDA_KERNEL_NODE_PARAMS *kernel,
			      uint32_t *number)
{
	*number = worker_handle_known(KIND_kernel, kernel->kern);
	if (!*number)
		*number = worker_handle_known(KIND_kernel, kernel->func);
	if (*number)
		return CUDA_SUCCESS;
	if (kernel->func)
		return worker_handle_number(call, KIND_function, kernel->func, 0, number);
	return worker_handle_number(call, KIND_kernel, kernel->kern, 0, number);
}

/* kernel_describe - the parameters of a kernel node, by the layout that the driver knows */
static CUresult kernel_describe(struct worker_call *call, CUgraphNode node)
{
	autofree struct cuda_wire_parameter *layout =
		calloc(CUDA_WIRE_PARAMETERS_MAX, sizeof(*layout));
	struct cuda_wire_function facts = { 0 };
	struct cuda_wire_kernel_node wire = { 0 };
	CUDA_KERNEL_NODE_PARAMS kernel = { 0 };
	unsigned char *block = call->reply + sizeof(wire);
	CUresult result = layout ? DRIVER(cuGraphKernelNodeGetParams_v2, node, &kernel)
				 : CUDA_ERROR_OUT_OF_MEMORY;

	if (!result)
		result = kernel.func ? worker_parameters_get(kernel.func, false, &facts, layout)
				     : worker_parameters_get(kernel.kern, true, &facts, layout);
	if (!result && facts.parameter_count && !kernel.kernelParams)
		result = CUDA_ERROR_NOT_SUPPORTED;
	if (!result)
		result = kernel_number(call, &kernel, &wire.function);
	if (result)
		return result;
	wire.grid[0] = kernel.gridDimX;
	wire.grid[1] = kernel.gridDimY;
	wire.grid[2] = kernel.gridDimZ;
	wire.block[0] = kernel.blockDimX;
	wire.block[1] = kernel.blockDimY;
	wire.block[2] = kernel.blockDimZ;
	wire.shared_bytes = kernel.sharedMemBytes;
	wire.parameter_bytes = facts.parameter_bytes;
	memcpy(call->reply, &wire, sizeof(wire));
	memset(block, 0, facts.parameter_bytes);
	for (uint32_t i = 0; i < facts.parameter_count; i++)
		memcpy(block + layout[i].offset, kernel.kernelParams[i], layout[i].bytes);
	call->reply_tail_bytes = sizeof(wire) + facts.parameter_bytes;
	return CUDA_SUCCESS;
}

/* place_encode - one side of a copy node */
static struct cuda_wire_place place_encode(CUmemorytype type, CUdeviceptr device, CUarray array,
					   size_t x_bytes, size_t y, size_t z, size_t lod,
					   size_t pitch, size_t height)
{
	return (struct cuda_wire_place){
		.at = type == CU_MEMORYTYPE_HOST ? 0 : device,
		.x_bytes = x_bytes,
		.y = y,
		.z = z,
		.lod = lod,
		.pitch = pitch,
		.height = height,
		.type = (uint32_t)type,
		.array = type == CU_MEMORYTYPE_ARRAY ? worker_handle_known(KIND_array, array) : 0,
	};
}

static CUresult copy_describe(struct worker_call *call, CUgraphNode node)
{
	CUDA_MEMCPY3D copy;
	struct cuda_wire_copy wire = { 0 };
	CUresult result = DRIVER(cuGraphMemcpyNodeGetParams, node, &copy);

	if (result)
		return result;
	wire.from =
		place_encode(copy.srcMemoryType, copy.srcDevice, copy.srcArray, copy.srcXInBytes,
			     copy.srcY, copy.srcZ, copy.srcLOD, copy.srcPitch, copy.srcHeight);
	wire.to = place_encode(copy.dstMemoryType, copy.dstDevice, copy.dstArray, copy.dstXInBytes,
			       copy.dstY, copy.dstZ, copy.dstLOD, copy.dstPitch, copy.dstHeight);
	wire.width_bytes = copy.WidthInBytes;
	wire.rows = copy.Height;
	wire.slices = copy.Depth;
	return worker_list_add(call, &wire, 1, sizeof(wire));
}

static CUresult allocation_describe(struct worker_call *call, CUgraphNode node)
{
	CUDA_MEM_ALLOC_NODE_PARAMS allocation = { 0 };
	struct {
		struct cuda_wire_allocation_node node;
		uint64_t address;
	} wire = { 0 };
	CUresult result = DRIVER(cuGraphMemAllocNodeGetParams, node, &allocation);

	if (result)
		return result;
	wire.node.bytes = allocation.bytesize;
	wire.node.allocation_type = allocation.poolProps.allocType;
	wire.node.handle_types = allocation.poolProps.handleTypes;
	wire.node.location_type = allocation.poolProps.location.type;
	wire.node.location = allocation.poolProps.location.id;
	wire.address = allocation.dptr;
	return worker_list_add(call, &wire, 1, sizeof(wire));
}

CUresult worker_graph_node_get(struct worker_call *call,
			       const struct wire_graph_node_get_request *request)
{
	CUDA_HOST_NODE_PARAMS host = { 0 };
	CUgraphNode node;
	uint64_t id;
	CUresult result = worker_handle_find(call, KIND_node, request->node, false, &node);

	if (result)
		return result;
	switch (request->kind) {
	case CU_GRAPH_NODE_TYPE_KERNEL:
		return kernel_describe(call, node);
	case CU_GRAPH_NODE_TYPE_MEMCPY:
		return copy_describe(call, node);
	case CU_GRAPH_NODE_TYPE_MEM_ALLOC:
		return allocation_describe(call, node);
	case CU_GRAPH_NODE_TYPE_HOST:
		result = DRIVER(cuGraphHostNodeGetParams, node, &host);
		id = worker_host_id(host.fn, host.userData);
		return result ? result : worker_list_add(call, &id, 1, sizeof(id));
	default:
		return CUDA_ERROR_NOT_SUPPORTED;
	}
}

CUresult worker_graph_node_end(struct worker_call *call,
			       const struct wire_graph_node_end_request *request)
{
	CUgraphNode node;
	CUresult result = worker_handle_find(call, KIND_node, request->node, false, &node);

	if (!result)
		result = DRIVER(cuGraphDestroyNode, node);
	if (!result)
		worker_handle_end(call, request->node);
	return result;
}

CUresult worker_graph_end(struct worker_call *call, const struct wire_graph_end_request *request)
{
	CUgraph graph;
	CUresult result = worker_handle_find(call, KIND_graph, request->graph, false, &graph);

	if (result)
		return result;
	worker_handle_end(call, request->graph);
	return DRIVER(cuGraphDestroy, graph);
}

CUresult worker_graph_clone(struct worker_call *call,
			    const struct wire_graph_clone_request *request)
{
	CUgraph original, clone;
	CUresult result = worker_handle_find(call, KIND_graph, request->original, false, &original);

	if (result)
		return result;
	if (!worker_handle_free(call, request->clone))
		return worker_broken(call);
	result = DRIVER(cuGraphClone, &clone, original);
	return result ? result : worker_handle_set(call, KIND_graph, request->clone, clone, 0);
}

/* instantiate_node - the node that stopped an instantiation, or 0 */
static uint32_t instantiate_node(struct worker_call *call, CUgraphNode node, uint32_t graph)
{
	uint32_t number;

	return worker_handle_number(call, KIND_node, node, graph, &number) ? 0 : number;
}

CUresult worker_graph_instantiate(struct worker_call *call,
				  const struct wire_graph_instantiate_request *request,
				  struct wire_graph_instantiate_reply *reply)
{
	CUDA_GRAPH_INSTANTIATE_PARAMS parameters = { .flags = request->flags };
	CUgraphExec exec = NULL;
	CUgraph graph;
	CUresult result = worker_handle_find(call, KIND_graph, request->graph, false, &graph);

	if (!result)
		result = worker_handle_find(call, KIND_stream, request->stream, true,
					    &parameters.hUploadStream);
	if (result)
		return result;
	if (!worker_handle_free(call, request->exec))
		return worker_broken(call);
	if (request->with_parameters) {
		result = DRIVER(cuGraphInstantiateWithParams, &exec, graph, &parameters);
		reply->why = (int32_t)parameters.result_out;
		reply->node = instantiate_node(call, parameters.hErrNode_out, request->graph);
	} else {
		result = DRIVER(cuGraphInstantiateWithFlags, &exec, graph, request->flags);
	}
	return result ? result : worker_handle_set(call, KIND_exec, request->exec, exec, 0);
}

CUresult worker_graph_exec_end(struct worker_call *call,
			       const struct wire_graph_exec_end_request *request)
{
	CUgraphExec exec;
	CUresult result = worker_handle_find(call, KIND_exec, request->exec, false, &exec);

	if (result)
		return result;
	worker_handle_end(call, request->exec);
	return DRIVER(cuGraphExecDestroy, exec);
}

CUresult worker_graph_exec_update(struct worker_call *call,
				  const struct wire_graph_exec_update_request *request,
				  struct wire_graph_exec_update_reply *reply)
{
	CUgraphExecUpdateResultInfo info = { 0 };
	CUgraphExec exec;
	CUgraph graph;
	CUresult result = worker_handle_find(call, KIND_exec, request->exec, false, &exec);

	if (!result)
		result = worker_handle_find(call, KIND_graph, request->graph, false, &graph);
	if (result)
		return result;
	reply->answer = (int32_t)DRIVER(cuGraphExecUpdate_v2, exec, graph, &info);
	reply->why = (int32_t)info.result;
	reply->node = instantiate_node(call, info.errorNode, request->graph);
	reply->from = instantiate_node(call, info.errorFromNode, request->graph);
	return CUDA_SUCCESS;
}

CUresult worker_graph_launch(struct worker_call *call,
			     const struct wire_graph_launch_request *request)
{
	CUgraphExec exec;
	CUstream stream;
	CUresult result = worker_handle_find(call, KIND_exec, request->exec, false, &exec);

	if (!result)
		result = worker_handle_find(call, KIND_stream, request->stream, true, &stream);
	if (result)
		return result;
	worker_step_back(call);
	result = DRIVER(cuGraphLaunch, exec, stream);
	/* The code of its kernels; what the handle owns says that it was launched before. */
	if (!worker_handle_owned(request->exec)) {
		worker_handle_own(request->exec, malloc(1));
		quota_follow();
	}
	return result;
}

CUresult worker_graph_memory_get(struct worker_call *call,
				 const struct wire_graph_memory_get_request *request,
				 struct wire_graph_memory_get_reply *reply)
{
	cuuint64_t value = 0;
	CUresult result = DRIVER(cuDeviceGetGraphMemAttribute, request->device,
				 (CUgraphMem_attribute)request->attribute, &value);

	(void)call;
	reply->value = value;
	return result;
}

CUresult worker_graph_memory_set(struct worker_call *call,
				 const struct wire_graph_memory_set_request *request)
{
	cuuint64_t value = request->value;

	(void)call;
	return DRIVER(cuDeviceSetGraphMemAttribute, request->device,
		      (CUgraphMem_attribute)request->attribute, &value);
}
