/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Graphs: what the generated calls cannot carry, because it holds handles and pointers.
 *
 * A node's parameters become a body: one fixed structure of proto/cuda-wire.h and what it says
 * follows. The same body adds a node, sets one, and sets one of an executable. A graph's nodes
 * have numbers of the client's where the program added them, of the worker's where a capture, a
 * copy or a query brought them. User objects live here alone: a graph and its executables hold
 * them, and the program's destructor runs in the thread that lets go of the last.
 *
 * user_lock protects the user objects and what graphs hold of them; a leaf.
 */
#include <stdio.h>
#include <stdlib.h>

#include "cuda/client/client.h"
#include "cuda/client/node.h"
#include "lib/base/clean.h"

#define USER_MAGIC 0x7563616au

struct CUuserObject_st {
	uint32_t magic; /* USER_MAGIC while it lives */
	unsigned int references;
	CUhostFn destroy;
	void *data;
};

struct held {
	struct held *next;
	CUuserObject object;
	unsigned int count;
};

struct client_graph {
	struct held *held;
};

static pthread_mutex_t user_lock = PTHREAD_MUTEX_INITIALIZER;

CUresult client_cuUserObjectCreate(CUuserObject *object_out, void *ptr, CUhostFn destroy,
				   unsigned int initialRefcount, unsigned int flags)
{
	CUresult result = client_enter();
	CUuserObject object;

	if (result)
		return result;
	if (!object_out || !destroy || !initialRefcount ||
	    flags != CU_USER_OBJECT_NO_DESTRUCTOR_SYNC)
		return CUDA_ERROR_INVALID_VALUE;
	object = malloc(sizeof(*object));
	if (!object)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*object = (struct CUuserObject_st){ USER_MAGIC, initialRefcount, destroy, ptr };
	*object_out = object;
	return CUDA_SUCCESS;
}

CUresult client_cuUserObjectRetain(CUuserObject object, unsigned int count)
{
	CUresult result = client_enter();

	if (result)
		return result;
	if (!object || object->magic != USER_MAGIC || !count)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&user_lock);
	object->references += count;
	pthread_mutex_unlock(&user_lock);
	return CUDA_SUCCESS;
}

CUresult client_cuUserObjectRelease(CUuserObject object, unsigned int count)
{
	CUresult result = client_enter();
	bool last;

	if (result)
		return result;
	if (!object || object->magic != USER_MAGIC || !count)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&user_lock);
	last = count >= object->references;
	object->references -= last ? object->references : count;
	pthread_mutex_unlock(&user_lock);
	if (last) {
		object->magic = 0;
		object->destroy(object->data);
		free(object);
	}
	return CUDA_SUCCESS;
}

/* graph_hold - @owner holds @count more references, which it has been given */
static CUresult graph_hold(struct client_object *owner, CUuserObject object, unsigned int count)
{
	struct held *held = malloc(sizeof(*held));
	CUresult result = CUDA_SUCCESS;

	if (!held)
		return CUDA_ERROR_OUT_OF_MEMORY;
	pthread_mutex_lock(&user_lock);
	if (!owner->graph)
		owner->graph = calloc(1, sizeof(*owner->graph));
	if (owner->graph) {
		*held = (struct held){ owner->graph->held, object, count };
		owner->graph->held = held;
	} else {
		free(held);
		result = CUDA_ERROR_OUT_OF_MEMORY;
	}
	pthread_mutex_unlock(&user_lock);
	return result;
}

/* graph_hold_same - @heir holds what @owner does, with references of its own */
static CUresult graph_hold_same(struct client_object *heir, const struct client_object *owner)
{
	CUresult result = CUDA_SUCCESS;

	for (const struct held *held = owner->graph ? owner->graph->held : NULL; held && !result;
	     held = held->next) {
		result = client_cuUserObjectRetain(held->object, held->count);
		if (!result)
			result = graph_hold(heir, held->object, held->count);
	}
	return result;
}

/* graph_let_go - the device is done with @graph: let go of everything that it holds */
static void graph_let_go(struct client_graph *graph)
{
	struct held *held;

	while (graph && (held = graph->held)) {
		graph->held = held->next;
		client_cuUserObjectRelease(held->object, held->count);
		free(held);
	}
	free(graph);
}

CUresult client_cuGraphRetainUserObject(CUgraph graph, CUuserObject object, unsigned int count,
					unsigned int flags)
{
	struct client_object *owner = client_object_of(KIND_graph, graph);
	CUresult result = client_enter();

	if (result)
		return result;
	if (!owner || !object || object->magic != USER_MAGIC || !count ||
	    flags & ~(unsigned int)CU_GRAPH_USER_OBJECT_MOVE)
		return CUDA_ERROR_INVALID_VALUE;
	if (!(flags & CU_GRAPH_USER_OBJECT_MOVE))
		result = client_cuUserObjectRetain(object, count);
	return result ? result : graph_hold(owner, object, count);
}

CUresult client_cuGraphReleaseUserObject(CUgraph graph, CUuserObject object, unsigned int count)
{
	struct client_object *owner = client_object_of(KIND_graph, graph);
	struct held **at, *held = NULL;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!owner || !count)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&user_lock);
	for (at = owner->graph ? &owner->graph->held : NULL; at && *at; at = &(*at)->next)
		if ((*at)->object == object && (*at)->count >= count)
			break;
	held = at ? *at : NULL;
	if (held && !(held->count -= count))
		*at = held->next;
	pthread_mutex_unlock(&user_lock);
	if (!held)
		return CUDA_ERROR_INVALID_VALUE;
	if (!held->count)
		free(held);
	return client_cuUserObjectRelease(object, count);
}

/* graph_end - a graph or an executable: its handle ends, then what it held is let go */
static void graph_end(struct client_object *object)
{
	struct client_graph *graph = object->graph;

	object->graph = NULL;
	client_handle_end(object);
	if (!graph)
		return;
	if (client_context_number())
		client_cuCtxSynchronize(); /* a launch may still use them */
	graph_let_go(graph);
}

CUresult client_cuGraphDestroy(CUgraph hGraph)
{
	struct client_object *graph = client_object_of(KIND_graph, hGraph);
	CUresult result = client_enter();

	if (result)
		return result;
	if (!graph)
		return CUDA_ERROR_INVALID_VALUE;
	result = client_send_graph_end(graph->number);
	graph_end(graph);
	return result;
}

CUresult client_cuGraphExecDestroy(CUgraphExec hGraphExec)
{
	struct client_object *exec = client_object_of(KIND_exec, hGraphExec);
	CUresult result = client_enter();

	if (result)
		return result;
	if (!exec)
		return CUDA_ERROR_INVALID_VALUE;
	result = client_send_graph_exec_end(exec->number);
	graph_end(exec);
	return result;
}

CUresult client_cuGraphClone(CUgraph *phGraphClone, CUgraph originalGraph)
{
	struct client_object *original = client_object_of(KIND_graph, originalGraph), *clone;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!phGraphClone || !original)
		return CUDA_ERROR_INVALID_VALUE;
	result = client_handle_new(KIND_graph, 0, &clone);
	if (result)
		return result;
	result = client_send_graph_clone(clone->number, original->number);
	if (!result)
		result = graph_hold_same(clone, original);
	if (result) {
		client_handle_end(clone);
		return result;
	}
	*phGraphClone = client_handle_pointer(clone);
	return CUDA_SUCCESS;
}

CUresult client_cuGraphDestroyNode(CUgraphNode hNode)
{
	struct client_object *node = client_object_of(KIND_node, hNode);
	CUresult result = client_enter();

	if (result)
		return result;
	if (!node)
		return CUDA_ERROR_INVALID_VALUE;
	result = client_send_graph_node_end(node->number);
	if (!result)
		client_handle_end(node);
	return result;
}

/* node_add - a node with @body under @graph; *address: what an allocation will have */
static CUresult node_add(CUgraphNode *made, CUgraph hGraph, const CUgraphNode *dependencies,
			 const CUgraphEdgeData *edges, size_t count, const struct node_body *body,
			 uint64_t *address)
{
	struct client_object *graph = client_object_of(KIND_graph, hGraph), *node;
	autofree uint32_t *numbers = NULL;
	struct wire_graph_node_add_request request = { .kind = body->kind };
	struct wire_graph_node_add_reply reply;
	struct client_call call = { .number = CALL_graph_node_add,
				    .block = &request,
				    .block_bytes = sizeof(request),
				    .reply = &reply,
				    .reply_bytes = sizeof(reply) };
	CUresult result = client_enter();

	if (result)
		return result;
	if (!made || !graph || (count && !dependencies) ||
	    count > CUDA_WIRE_REQUEST_BYTES_MAX / sizeof(void *))
		return CUDA_ERROR_INVALID_VALUE;
	result = client_numbers_node(dependencies, count, &numbers);
	if (!result)
		result = client_handle_new(KIND_node, graph->number, &node);
	if (result)
		return result;
	request.graph = graph->number;
	request.node = node->number;
	request.dependency_count = (uint32_t)count;
	request.edge_count = edges ? (uint32_t)count : 0;
	client_call_piece(&call, numbers, count * sizeof(*numbers));
	client_call_piece(&call, edges, request.edge_count * sizeof(*edges));
	client_call_piece(&call, body->bytes, body->used);
	result = client_call_run(&call);
	if (result) {
		client_handle_end(node);
		return result;
	}
	if (address)
		*address = reply.address;
	*made = client_handle_pointer(node);
	return CUDA_SUCCESS;
}

/* node_set - the parameters of a node, or of what became of it in @hExec */
static CUresult node_set(CUgraphExec hExec, CUgraphNode hNode, const struct node_body *body)
{
	struct wire_graph_node_set_request request = { .kind = body->kind };
	struct client_call call = { .number = CALL_graph_node_set,
				    .block = &request,
				    .block_bytes = sizeof(request) };
	CUresult result = client_enter();

	if (!result && hExec)
		result = client_number_exec(hExec, false, &request.exec);
	if (!result)
		result = client_number_node(hNode, false, &request.node);
	if (result)
		return result;
	client_call_piece(&call, body->bytes, body->used);
	return client_call_run(&call);
}

CUresult client_cuGraphAddKernelNode_v2(CUgraphNode *phGraphNode, CUgraph hGraph,
					const CUgraphNode *dependencies, size_t numDependencies,
					const CUDA_KERNEL_NODE_PARAMS *nodeParams)
{
	node_body_auto struct node_body body = { 0 };
	CUresult result = client_node_kernel(&body, nodeParams);

	return result ? result
		      : node_add(phGraphNode, hGraph, dependencies, NULL, numDependencies, &body,
				 NULL);
}

/* node_kernel_newer - the structure of the first version in the newer one's form */
static const CUDA_KERNEL_NODE_PARAMS *node_kernel_newer(const CUDA_KERNEL_NODE_PARAMS_v1 *older,
							CUDA_KERNEL_NODE_PARAMS *newer)
{
	if (!older)
		return NULL;
	*newer = (CUDA_KERNEL_NODE_PARAMS){ 0 };
	memcpy(newer, older, sizeof(*older));
	return newer;
}

CUresult client_cuGraphAddKernelNode(CUgraphNode *phGraphNode, CUgraph hGraph,
				     const CUgraphNode *dependencies, size_t numDependencies,
				     const CUDA_KERNEL_NODE_PARAMS_v1 *nodeParams)
{
	CUDA_KERNEL_NODE_PARAMS newer;

	return client_cuGraphAddKernelNode_v2(phGraphNode, hGraph, dependencies, numDependencies,
					      node_kernel_newer(nodeParams, &newer));
}

CUresult client_cuGraphAddMemcpyNode(CUgraphNode *phGraphNode, CUgraph hGraph,
				     const CUgraphNode *dependencies, size_t numDependencies,
				     const CUDA_MEMCPY3D *copyParams, CUcontext ctx)
{
	node_body_auto struct node_body body = { 0 };
	CUresult result = client_node_copy(&body, copyParams, ctx);

	return result ? result
		      : node_add(phGraphNode, hGraph, dependencies, NULL, numDependencies, &body,
				 NULL);
}

CUresult client_cuGraphAddMemsetNode(CUgraphNode *phGraphNode, CUgraph hGraph,
				     const CUgraphNode *dependencies, size_t numDependencies,
				     const CUDA_MEMSET_NODE_PARAMS *memsetParams, CUcontext ctx)
{
	node_body_auto struct node_body body = { 0 };
	CUresult result = client_node_memset(&body, memsetParams, ctx);

	return result ? result
		      : node_add(phGraphNode, hGraph, dependencies, NULL, numDependencies, &body,
				 NULL);
}

CUresult client_cuGraphAddHostNode(CUgraphNode *phGraphNode, CUgraph hGraph,
				   const CUgraphNode *dependencies, size_t numDependencies,
				   const CUDA_HOST_NODE_PARAMS *nodeParams)
{
	node_body_auto struct node_body body = { 0 };
	CUresult result = client_node_host(&body, nodeParams);

	return result ? result
		      : node_add(phGraphNode, hGraph, dependencies, NULL, numDependencies, &body,
				 NULL);
}

CUresult client_cuGraphAddMemAllocNode(CUgraphNode *phGraphNode, CUgraph hGraph,
				       const CUgraphNode *dependencies, size_t numDependencies,
				       CUDA_MEM_ALLOC_NODE_PARAMS *nodeParams)
{
	node_body_auto struct node_body body = { 0 };
	uint64_t address = 0;
	CUresult result = client_node_allocation(&body, nodeParams);

	if (!result)
		result = node_add(phGraphNode, hGraph, dependencies, NULL, numDependencies, &body,
				  &address);
	if (result)
		return result;
	client_range_adopt(address, nodeParams->bytesize, client_context_number(), true);
	nodeParams->dptr = address;
	return CUDA_SUCCESS;
}

CUresult client_cuGraphAddBatchMemOpNode(CUgraphNode *phGraphNode, CUgraph hGraph,
					 const CUgraphNode *dependencies, size_t numDependencies,
					 const CUDA_BATCH_MEM_OP_NODE_PARAMS *nodeParams)
{
	node_body_auto struct node_body body = { 0 };
	CUresult result = client_node_batch(&body, nodeParams);

	return result ? result
		      : node_add(phGraphNode, hGraph, dependencies, NULL, numDependencies, &body,
				 NULL);
}

CUresult client_cuGraphAddNode_v2(CUgraphNode *phGraphNode, CUgraph hGraph,
				  const CUgraphNode *dependencies,
				  const CUgraphEdgeData *dependencyData, size_t numDependencies,
				  CUgraphNodeParams *nodeParams)
{
	node_body_auto struct node_body body = { 0 };
	uint64_t address = 0;
	CUresult result = client_node_any(&body, nodeParams);

	if (!result)
		result = node_add(phGraphNode, hGraph, dependencies, dependencyData,
				  numDependencies, &body, &address);
	if (result || nodeParams->type != CU_GRAPH_NODE_TYPE_MEM_ALLOC)
		return result;
	client_range_adopt(address, nodeParams->alloc.bytesize, client_context_number(), true);
	nodeParams->alloc.dptr = address;
	return CUDA_SUCCESS;
}

CUresult client_cuGraphAddNode(CUgraphNode *phGraphNode, CUgraph hGraph,
			       const CUgraphNode *dependencies, size_t numDependencies,
			       CUgraphNodeParams *nodeParams)
{
	return client_cuGraphAddNode_v2(phGraphNode, hGraph, dependencies, NULL, numDependencies,
					nodeParams);
}

CUresult client_cuGraphNodeSetParams(CUgraphNode hNode, CUgraphNodeParams *nodeParams)
{
	return client_cuGraphExecNodeSetParams(NULL, hNode, nodeParams);
}

CUresult client_cuGraphExecNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
					 CUgraphNodeParams *nodeParams)
{
	node_body_auto struct node_body body = { 0 };
	CUresult result = client_node_any(&body, nodeParams);

	return result ? result : node_set(hGraphExec, hNode, &body);
}

CUresult client_cuGraphKernelNodeSetParams_v2(CUgraphNode hNode,
					      const CUDA_KERNEL_NODE_PARAMS *nodeParams)
{
	return client_cuGraphExecKernelNodeSetParams_v2(NULL, hNode, nodeParams);
}

CUresult client_cuGraphExecKernelNodeSetParams_v2(CUgraphExec hGraphExec, CUgraphNode hNode,
						  const CUDA_KERNEL_NODE_PARAMS *nodeParams)
{
	node_body_auto struct node_body body = { 0 };
	CUresult result = client_node_kernel(&body, nodeParams);

	return result ? result : node_set(hGraphExec, hNode, &body);
}

CUresult client_cuGraphKernelNodeSetParams(CUgraphNode hNode,
					   const CUDA_KERNEL_NODE_PARAMS_v1 *nodeParams)
{
	return client_cuGraphExecKernelNodeSetParams(NULL, hNode, nodeParams);
}

CUresult client_cuGraphExecKernelNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
					       const CUDA_KERNEL_NODE_PARAMS_v1 *nodeParams)
{
	CUDA_KERNEL_NODE_PARAMS newer;

	return client_cuGraphExecKernelNodeSetParams_v2(hGraphExec, hNode,
							node_kernel_newer(nodeParams, &newer));
}

CUresult client_cuGraphMemcpyNodeSetParams(CUgraphNode hNode, const CUDA_MEMCPY3D *nodeParams)
{
	return client_cuGraphExecMemcpyNodeSetParams(NULL, hNode, nodeParams, NULL);
}

CUresult client_cuGraphExecMemcpyNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
					       const CUDA_MEMCPY3D *copyParams, CUcontext ctx)
{
	node_body_auto struct node_body body = { 0 };
	CUresult result = client_node_copy(&body, copyParams, ctx);

	return result ? result : node_set(hGraphExec, hNode, &body);
}

CUresult client_cuGraphHostNodeSetParams(CUgraphNode hNode, const CUDA_HOST_NODE_PARAMS *nodeParams)
{
	return client_cuGraphExecHostNodeSetParams(NULL, hNode, nodeParams);
}

CUresult client_cuGraphExecHostNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
					     const CUDA_HOST_NODE_PARAMS *nodeParams)
{
	node_body_auto struct node_body body = { 0 };
	CUresult result = client_node_host(&body, nodeParams);

	return result ? result : node_set(hGraphExec, hNode, &body);
}

/* graph_instantiate - with a stream to upload in where @parameters are given */
static CUresult graph_instantiate(CUgraphExec *made, CUgraph hGraph, uint64_t flags,
				  CUDA_GRAPH_INSTANTIATE_PARAMS *parameters)
{
	struct client_object *graph = client_object_of(KIND_graph, hGraph), *exec, *wrong;
	uint32_t stream = 0, node = 0;
	int32_t why = 0;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!made || !graph)
		return CUDA_ERROR_INVALID_VALUE;
	if (parameters)
		result = client_number_stream(parameters->hUploadStream, true, &stream);
	if (!result)
		result = client_handle_new(KIND_exec, 0, &exec);
	if (result)
		return result;
	result = client_send_graph_instantiate(exec->number, graph->number, parameters != NULL,
					       stream, flags, &node, &why);
	if (parameters) {
		parameters->result_out = (CUgraphInstantiateResult)why;
		parameters->hErrNode_out = NULL;
		if (node && !client_handle_adopt(KIND_node, node, graph->number, &wrong))
			parameters->hErrNode_out = client_handle_pointer(wrong);
	}
	if (!result)
		result = graph_hold_same(exec, graph);
	if (result) {
		client_handle_end(exec);
		return result;
	}
	*made = client_handle_pointer(exec);
	return CUDA_SUCCESS;
}

CUresult client_cuGraphInstantiateWithFlags(CUgraphExec *phGraphExec, CUgraph hGraph,
					    unsigned long long flags)
{
	return graph_instantiate(phGraphExec, hGraph, flags, NULL);
}

CUresult client_cuGraphInstantiate_v2(CUgraphExec *phGraphExec, CUgraph hGraph,
				      CUgraphNode *phErrorNode, char *logBuffer, size_t bufferSize)
{
	if (phErrorNode)
		*phErrorNode = NULL;
	if (logBuffer && bufferSize)
		*logBuffer = 0;
	return graph_instantiate(phGraphExec, hGraph, 0, NULL);
}

CUresult client_cuGraphInstantiate(CUgraphExec *phGraphExec, CUgraph hGraph,
				   CUgraphNode *phErrorNode, char *logBuffer, size_t bufferSize)
{
	return client_cuGraphInstantiate_v2(phGraphExec, hGraph, phErrorNode, logBuffer,
					    bufferSize);
}

CUresult client_cuGraphInstantiateWithParams(CUgraphExec *phGraphExec, CUgraph hGraph,
					     CUDA_GRAPH_INSTANTIATE_PARAMS *instantiateParams)
{
	if (!instantiateParams)
		return CUDA_ERROR_INVALID_VALUE;
	return graph_instantiate(phGraphExec, hGraph, instantiateParams->flags, instantiateParams);
}

/* print_parts - the worker's text of @bytes into the program's file */
static CUresult print_parts(FILE *file, uint64_t bytes)
{
	struct wire_graph_print_part_request request = { 0 };
	autofree unsigned char *part = malloc(CUDA_WIRE_REPLY_BYTES_MAX);
	CUresult result = part ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;

	while (!result && request.offset < bytes) {
		struct client_call call = { .number = CALL_graph_print_part,
					    .flags = CLIENT_NO_CONTEXT,
					    .block = &request,
					    .block_bytes = sizeof(request),
					    .tail = part,
					    .tail_capacity = CUDA_WIRE_REPLY_BYTES_MAX };
		uint64_t got;

		result = client_call_run(&call);
		/* What comes is padded. */
		got = call.tail_bytes < bytes - request.offset ? call.tail_bytes
							       : bytes - request.offset;
		if (!result && !got)
			result = CUDA_ERROR_UNKNOWN;
		if (!result && fwrite(part, 1, got, file) != got)
			result = CUDA_ERROR_OPERATING_SYSTEM;
		request.offset += got;
	}
	return result;
}

/* The driver's text: handles in it are the driver's. */
CUresult client_cuGraphDebugDotPrint(CUgraph hGraph, const char *path, unsigned int flags)
{
	static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
	uint64_t bytes = 0;
	uint32_t graph;
	FILE *file;
	CUresult result = client_enter();

	if (!result)
		result = client_number_graph(hGraph, false, &graph);
	if (!result && !path)
		result = CUDA_ERROR_INVALID_VALUE;
	if (result)
		return result;
	file = fopen(path, "we");
	if (!file)
		return CUDA_ERROR_OPERATING_SYSTEM;
	pthread_mutex_lock(&one_at_a_time);
	result = client_send_graph_print(graph, flags, &bytes);
	if (!result)
		result = print_parts(file, bytes);
	pthread_mutex_unlock(&one_at_a_time);
	if (fclose(file) && !result)
		result = CUDA_ERROR_OPERATING_SYSTEM;
	return result;
}

CUresult client_cuGraphLaunch(CUgraphExec hGraphExec, CUstream hStream)
{
	uint32_t exec, stream;
	CUresult result = client_enter();

	if (!result)
		result = client_number_exec(hGraphExec, false, &exec);
	if (!result)
		result = client_number_stream(hStream, true, &stream);
	if (!result && !stream && !client_context_number())
		result = CUDA_ERROR_INVALID_CONTEXT;
	if (!result)
		result = client_send_graph_launch(exec, stream);
	return result ? result : client_launch_finish(hStream, stream);
}

CUresult client_cuGraphExecUpdate_v2(CUgraphExec hGraphExec, CUgraph hGraph,
				     CUgraphExecUpdateResultInfo *resultInfo)
{
	struct client_object *object;
	uint32_t exec, graph, node = 0, from = 0;
	int32_t answer = 0, why = 0;
	CUresult result = client_enter();

	if (!result)
		result = client_number_exec(hGraphExec, false, &exec);
	if (!result)
		result = client_number_graph(hGraph, false, &graph);
	if (!result && !resultInfo)
		result = CUDA_ERROR_INVALID_VALUE;
	if (!result)
		result = client_send_graph_exec_update(exec, graph, &answer, &why, &node, &from);
	if (result)
		return result;
	*resultInfo = (CUgraphExecUpdateResultInfo){ .result = (CUgraphExecUpdateResult)why };
	if (node && !client_handle_adopt(KIND_node, node, graph, &object))
		resultInfo->errorNode = client_handle_pointer(object);
	if (from && !client_handle_adopt(KIND_node, from, graph, &object))
		resultInfo->errorFromNode = client_handle_pointer(object);
	return (CUresult)answer;
}

CUresult client_cuGraphExecUpdate(CUgraphExec hGraphExec, CUgraph hGraph,
				  CUgraphNode *hErrorNode_out,
				  CUgraphExecUpdateResult *updateResult_out)
{
	CUgraphExecUpdateResultInfo info = { 0 };
	CUresult result = client_cuGraphExecUpdate_v2(hGraphExec, hGraph, &info);

	if (hErrorNode_out)
		*hErrorNode_out = info.errorNode;
	if (updateResult_out)
		*updateResult_out = info.result;
	return result;
}

CUresult client_cuDeviceGetGraphMemAttribute(CUdevice device, CUgraphMem_attribute attr,
					     void *value)
{
	uint64_t number;
	CUresult result = client_device_check(device);

	if (!result && !value)
		result = CUDA_ERROR_INVALID_VALUE;
	if (!result)
		result = client_send_graph_memory_get(device, (int32_t)attr, &number);
	if (!result)
		*(cuuint64_t *)value = number;
	return result;
}

CUresult client_cuDeviceSetGraphMemAttribute(CUdevice device, CUgraphMem_attribute attr,
					     void *value)
{
	CUresult result = client_device_check(device);

	if (!result && !value)
		result = CUDA_ERROR_INVALID_VALUE;
	return result ? result
		      : client_send_graph_memory_set(device, (int32_t)attr,
						     *(const cuuint64_t *)value);
}
