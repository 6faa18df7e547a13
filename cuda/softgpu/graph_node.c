/* SPDX-License-Identifier: Apache-2.0 */
/*
 * graph_node: bodies of nodes, from what programs give and to what they ask for. A body is checked
 * by who would do its work in a stream (launch.c, copy.c, fill.c), when it is made or set.
 */
#include <stdlib.h>
#include <string.h>

#include "cuda/softgpu/graph.h"

/* kernel_pointers - an array of pointers into the block, in its own memory behind it */
static void kernel_pointers(struct body *to, const struct body *from)
{
	size_t count = 0;

	if (!from->kernel.kernelParams)
		return;
	while (from->kernel.kernelParams[count])
		count++;
	to->kernel.kernelParams = (void **)(void *)(to->block + to->block_bytes);
	for (size_t i = 0; i < count; i++)
		to->kernel.kernelParams[i] =
			to->block + ((unsigned char *)from->kernel.kernelParams[i] - from->block);
	to->kernel.kernelParams[count] = NULL;
}

/* kernel_bytes - of a block with its array of pointers; block_bytes is a multiple of 16 */
static size_t kernel_bytes(const struct body *body)
{
	size_t count = 0;

	while (body->kernel.kernelParams && body->kernel.kernelParams[count])
		count++;
	return body->block_bytes + (count + 1) * sizeof(void *);
}

CUresult body_copy(struct body *to, const struct body *from)
{
	*to = *from;
	if (from->type == CU_GRAPH_NODE_TYPE_KERNEL) {
		to->block = malloc(kernel_bytes(from));
		if (!to->block)
			return CUDA_ERROR_OUT_OF_MEMORY;
		memcpy(to->block, from->block, from->block_bytes);
		kernel_pointers(to, from);
	} else if (from->type == CU_GRAPH_NODE_TYPE_GRAPH) {
		to->child = graph_copy(from->child);
		if (!to->child)
			return CUDA_ERROR_OUT_OF_MEMORY;
		to->child->owned = true;
	}
	return CUDA_SUCCESS;
}

void body_free(struct body *body)
{
	free(body->block);
	if (body->type == CU_GRAPH_NODE_TYPE_GRAPH && body->child)
		graph_end(body->child);
	*body = (struct body){ .type = CU_GRAPH_NODE_TYPE_EMPTY };
}

CUresult body_run(const struct body *body, struct context *context)
{
	switch (body->type) {
	case CU_GRAPH_NODE_TYPE_KERNEL:
		return launch_body_run(body, context);
	case CU_GRAPH_NODE_TYPE_MEMCPY:
		copy_body_run(&body->copy);
		break;
	case CU_GRAPH_NODE_TYPE_MEMSET:
		fill_body_run(&body->fill);
		break;
	case CU_GRAPH_NODE_TYPE_HOST:
		host_call(body->host.fn, body->host.userData);
		break;
	case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
		event_record_now(body->event);
		break;
	case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
		event_wait_now(body->event);
		break;
	default:
		break;
	}
	return CUDA_SUCCESS;
}

/* ---- from what programs give ---- */

/* body_context - the context a program names, or the current one */
static CUresult body_context(struct body *body, CUcontext context)
{
	if (!context)
		return context_enter(&body->context);
	if (!object_valid(OBJECT_CONTEXT, context))
		return CUDA_ERROR_INVALID_CONTEXT;
	body->context = (struct context *)context;
	return CUDA_SUCCESS;
}

static CUresult body_kernel(struct body *body, const CUDA_KERNEL_NODE_PARAMS *kernel)
{
	CUfunction function;
	CUresult result;

	if (!kernel || !kernel->func == !kernel->kern)
		return CUDA_ERROR_INVALID_VALUE;
	function = kernel->func ? kernel->func : (CUfunction)kernel->kern;
	result = body_context(body, kernel->ctx);
	return result ? result : launch_body(body, function, body->context, kernel, false);
}

static CUresult body_memcpy(struct body *body, const CUDA_MEMCPY3D *copy, CUcontext context)
{
	CUresult result = copy ? body_context(body, context) : CUDA_ERROR_INVALID_VALUE;

	if (!result)
		result = copy_body_check(copy);
	if (result)
		return result;
	body->type = CU_GRAPH_NODE_TYPE_MEMCPY;
	body->copy = *copy;
	return CUDA_SUCCESS;
}

static CUresult body_memset(struct body *body, const CUDA_MEMSET_NODE_PARAMS *fill,
			    CUcontext context)
{
	CUresult result = fill ? body_context(body, context) : CUDA_ERROR_INVALID_VALUE;

	if (!result)
		result = fill_body_check(fill);
	if (result)
		return result;
	body->type = CU_GRAPH_NODE_TYPE_MEMSET;
	body->fill = *fill;
	return CUDA_SUCCESS;
}

static CUresult body_host(struct body *body, const CUDA_HOST_NODE_PARAMS *host)
{
	if (!host || !host->fn)
		return CUDA_ERROR_INVALID_VALUE;
	body->type = CU_GRAPH_NODE_TYPE_HOST;
	body->host = *host;
	return CUDA_SUCCESS;
}

static CUresult body_event(struct body *body, CUgraphNodeType type, CUevent event)
{
	if (!event_usable(event))
		return CUDA_ERROR_INVALID_HANDLE;
	body->type = type;
	body->event = event;
	return CUDA_SUCCESS;
}

/* body_child - a copy of the graph as it is now; under graph_lock */
static CUresult body_child(struct body *body, CUgraph graph)
{
	if (!object_valid(OBJECT_GRAPH, graph))
		return CUDA_ERROR_INVALID_VALUE;
	body->child = graph_copy((struct graph *)graph);
	if (!body->child)
		return CUDA_ERROR_OUT_OF_MEMORY;
	body->child->owned = true;
	body->type = CU_GRAPH_NODE_TYPE_GRAPH;
	return CUDA_SUCCESS;
}

CUresult body_general(struct body *body, const CUgraphNodeParams *parameters)
{
	CUDA_KERNEL_NODE_PARAMS kernel;
	CUDA_MEMSET_NODE_PARAMS fill;
	CUDA_HOST_NODE_PARAMS host;

	switch (parameters->type) {
	case CU_GRAPH_NODE_TYPE_EMPTY:
		body->type = CU_GRAPH_NODE_TYPE_EMPTY;
		return CUDA_SUCCESS;
	case CU_GRAPH_NODE_TYPE_KERNEL:
		memcpy(&kernel, &parameters->kernel, sizeof(kernel));
		return body_kernel(body, &kernel);
	case CU_GRAPH_NODE_TYPE_MEMCPY:
		return body_memcpy(body, &parameters->memcpy.copyParams,
				   parameters->memcpy.copyCtx);
	case CU_GRAPH_NODE_TYPE_MEMSET:
		memcpy(&fill, &parameters->memset, sizeof(fill));
		return body_memset(body, &fill, parameters->memset.ctx);
	case CU_GRAPH_NODE_TYPE_HOST:
		host = (CUDA_HOST_NODE_PARAMS){ .fn = parameters->host.fn,
						.userData = parameters->host.userData };
		return body_host(body, &host);
	case CU_GRAPH_NODE_TYPE_GRAPH:
		return body_child(body, parameters->graph.graph);
	case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
		return body_event(body, parameters->type, parameters->eventRecord.event);
	case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
		return body_event(body, parameters->type, parameters->eventWait.event);
	default:
		return CUDA_ERROR_NOT_SUPPORTED;
	}
}

/* node_add - a node of @graph with @body, which it takes over; @made: what making the body said */
static CUresult node_add(CUgraphNode *handle, CUgraph graph, const CUgraphNode *on, size_t count,
			 struct body *body, CUresult made)
{
	CUresult result = made;
	struct node *node = NULL;

	if (!result && (!handle || !object_valid(OBJECT_GRAPH, graph) ||
			!graph_nodes_valid((struct graph *)graph, on, count)))
		result = CUDA_ERROR_INVALID_VALUE;
	if (!result) {
		node = node_make((struct graph *)graph, NULL, 0);
		result = node ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
	}
	if (!node) {
		body_free(body);
		return result;
	}
	node->body = *body;
	*handle = (CUgraphNode)node;
	for (size_t i = 0; !result && i < count; i++)
		result = node_depends(node, (struct node *)on[i]);
	return result;
}

/* NODE_ADD - in the driver's functions: make the body, then the node, under the lock */
#define NODE_ADD(make)                                                                             \
	do {                                                                                       \
		struct body body = { .type = CU_GRAPH_NODE_TYPE_EMPTY };                           \
		CUresult result = driver_ready();                                                  \
                                                                                                   \
		if (result)                                                                        \
			return result;                                                             \
		pthread_mutex_lock(&graph_lock);                                                   \
		result =                                                                           \
			node_add(phGraphNode, hGraph, dependencies, numDependencies, &body, make); \
		pthread_mutex_unlock(&graph_lock);                                                 \
		return result;                                                                     \
	} while (0)

CUresult cuGraphAddEmptyNode(CUgraphNode *phGraphNode, CUgraph hGraph,
			     const CUgraphNode *dependencies, size_t numDependencies)
{
	NODE_ADD(CUDA_SUCCESS);
}

CUresult cuGraphAddKernelNode_v2(CUgraphNode *phGraphNode, CUgraph hGraph,
				 const CUgraphNode *dependencies, size_t numDependencies,
				 const CUDA_KERNEL_NODE_PARAMS *nodeParams)
{
	NODE_ADD(body_kernel(&body, nodeParams));
}

CUresult cuGraphAddMemcpyNode(CUgraphNode *phGraphNode, CUgraph hGraph,
			      const CUgraphNode *dependencies, size_t numDependencies,
			      const CUDA_MEMCPY3D *copyParams, CUcontext ctx)
{
	NODE_ADD(body_memcpy(&body, copyParams, ctx));
}

CUresult cuGraphAddMemsetNode(CUgraphNode *phGraphNode, CUgraph hGraph,
			      const CUgraphNode *dependencies, size_t numDependencies,
			      const CUDA_MEMSET_NODE_PARAMS *memsetParams, CUcontext ctx)
{
	NODE_ADD(body_memset(&body, memsetParams, ctx));
}

CUresult cuGraphAddHostNode(CUgraphNode *phGraphNode, CUgraph hGraph,
			    const CUgraphNode *dependencies, size_t numDependencies,
			    const CUDA_HOST_NODE_PARAMS *nodeParams)
{
	NODE_ADD(body_host(&body, nodeParams));
}

CUresult cuGraphAddChildGraphNode(CUgraphNode *phGraphNode, CUgraph hGraph,
				  const CUgraphNode *dependencies, size_t numDependencies,
				  CUgraph childGraph)
{
	NODE_ADD(body_child(&body, childGraph));
}

CUresult cuGraphAddEventRecordNode(CUgraphNode *phGraphNode, CUgraph hGraph,
				   const CUgraphNode *dependencies, size_t numDependencies,
				   CUevent event)
{
	NODE_ADD(body_event(&body, CU_GRAPH_NODE_TYPE_EVENT_RECORD, event));
}

CUresult cuGraphAddEventWaitNode(CUgraphNode *phGraphNode, CUgraph hGraph,
				 const CUgraphNode *dependencies, size_t numDependencies,
				 CUevent event)
{
	NODE_ADD(body_event(&body, CU_GRAPH_NODE_TYPE_WAIT_EVENT, event));
}

CUresult cuGraphAddNode(CUgraphNode *phGraphNode, CUgraph hGraph, const CUgraphNode *dependencies,
			size_t numDependencies, CUgraphNodeParams *nodeParams)
{
	if (!nodeParams)
		return CUDA_ERROR_INVALID_VALUE;
	NODE_ADD(body_general(&body, nodeParams));
}

CUresult cuGraphAddNode_v2(CUgraphNode *phGraphNode, CUgraph hGraph,
			   const CUgraphNode *dependencies, const CUgraphEdgeData *dependencyData,
			   size_t numDependencies, CUgraphNodeParams *nodeParams)
{
	static const CUgraphEdgeData plain;

	for (size_t i = 0; dependencyData && i < numDependencies; i++)
		if (memcmp(&dependencyData[i], &plain, sizeof(plain)) != 0)
			return CUDA_ERROR_NOT_SUPPORTED;
	return cuGraphAddNode(phGraphNode, hGraph, dependencies, numDependencies, nodeParams);
}

/* ---- asking and setting ---- */

/* body_at - the body of a node of that kind; under the lock */
static CUresult body_at(CUgraphNode handle, CUgraphNodeType type, struct body **body)
{
	if (!object_valid(OBJECT_NODE, handle) || ((struct node *)handle)->body.type != type)
		return CUDA_ERROR_INVALID_VALUE;
	*body = &((struct node *)handle)->body;
	return CUDA_SUCCESS;
}

/* body_replace - @fresh takes the place of a body of its kind, if making it succeeded */
static CUresult body_replace(CUgraphNode handle, CUgraphNodeType type, struct body *fresh,
			     CUresult made)
{
	struct body *body;
	CUresult result = made ? made : body_at(handle, type, &body);

	if (result) {
		body_free(fresh);
		return result;
	}
	fresh->cooperative = body->cooperative; /* an attribute, not a parameter */
	body_free(body);
	*body = *fresh;
	return CUDA_SUCCESS;
}

/* BODY_GET, BODY_SET - the driver's functions that ask for a body's parameters, and set them */
#define BODY_GET(node, kind, member, to)                                  \
	do {                                                              \
		struct body *body;                                        \
		CUresult result = driver_ready();                         \
                                                                          \
		if (result)                                               \
			return result;                                    \
		if (!(to))                                                \
			return CUDA_ERROR_INVALID_VALUE;                  \
		pthread_mutex_lock(&graph_lock);                          \
		result = body_at(node, CU_GRAPH_NODE_TYPE_##kind, &body); \
		if (!result)                                              \
			*(to) = body->member;                             \
		pthread_mutex_unlock(&graph_lock);                        \
		return result;                                            \
	} while (0)

#define BODY_SET(node, kind, make)                                                    \
	do {                                                                          \
		struct body fresh = { .type = CU_GRAPH_NODE_TYPE_EMPTY };             \
		CUresult result = driver_ready();                                     \
                                                                                      \
		if (result)                                                           \
			return result;                                                \
		pthread_mutex_lock(&graph_lock);                                      \
		result = body_replace(node, CU_GRAPH_NODE_TYPE_##kind, &fresh, make); \
		pthread_mutex_unlock(&graph_lock);                                    \
		return result;                                                        \
	} while (0)

CUresult cuGraphKernelNodeGetParams_v2(CUgraphNode hNode, CUDA_KERNEL_NODE_PARAMS *nodeParams)
{
	BODY_GET(hNode, KERNEL, kernel, nodeParams);
}

CUresult cuGraphKernelNodeSetParams_v2(CUgraphNode hNode, const CUDA_KERNEL_NODE_PARAMS *nodeParams)
{
	BODY_SET(hNode, KERNEL, body_kernel(&fresh, nodeParams));
}

CUresult cuGraphMemcpyNodeGetParams(CUgraphNode hNode, CUDA_MEMCPY3D *nodeParams)
{
	BODY_GET(hNode, MEMCPY, copy, nodeParams);
}

CUresult cuGraphMemcpyNodeSetParams(CUgraphNode hNode, const CUDA_MEMCPY3D *nodeParams)
{
	BODY_SET(hNode, MEMCPY, body_memcpy(&fresh, nodeParams, NULL));
}

CUresult cuGraphMemsetNodeGetParams(CUgraphNode hNode, CUDA_MEMSET_NODE_PARAMS *nodeParams)
{
	BODY_GET(hNode, MEMSET, fill, nodeParams);
}

CUresult cuGraphMemsetNodeSetParams(CUgraphNode hNode, const CUDA_MEMSET_NODE_PARAMS *nodeParams)
{
	BODY_SET(hNode, MEMSET, body_memset(&fresh, nodeParams, NULL));
}

CUresult cuGraphHostNodeGetParams(CUgraphNode hNode, CUDA_HOST_NODE_PARAMS *nodeParams)
{
	BODY_GET(hNode, HOST, host, nodeParams);
}

CUresult cuGraphHostNodeSetParams(CUgraphNode hNode, const CUDA_HOST_NODE_PARAMS *nodeParams)
{
	BODY_SET(hNode, HOST, body_host(&fresh, nodeParams));
}

CUresult cuGraphEventRecordNodeGetEvent(CUgraphNode hNode, CUevent *event_out)
{
	BODY_GET(hNode, EVENT_RECORD, event, event_out);
}

CUresult cuGraphEventRecordNodeSetEvent(CUgraphNode hNode, CUevent event)
{
	BODY_SET(hNode, EVENT_RECORD, body_event(&fresh, CU_GRAPH_NODE_TYPE_EVENT_RECORD, event));
}

CUresult cuGraphEventWaitNodeGetEvent(CUgraphNode hNode, CUevent *event_out)
{
	BODY_GET(hNode, WAIT_EVENT, event, event_out);
}

CUresult cuGraphEventWaitNodeSetEvent(CUgraphNode hNode, CUevent event)
{
	BODY_SET(hNode, WAIT_EVENT, body_event(&fresh, CU_GRAPH_NODE_TYPE_WAIT_EVENT, event));
}

static CUgraph child_of(const struct body *body)
{
	return (CUgraph)body->child;
}

CUresult cuGraphChildGraphNodeGetGraph(CUgraphNode hNode, CUgraph *phGraph)
{
	struct body *body;
	CUresult result = driver_ready();

	if (result)
		return result;
	if (!phGraph)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&graph_lock);
	result = body_at(hNode, CU_GRAPH_NODE_TYPE_GRAPH, &body);
	if (!result)
		*phGraph = child_of(body);
	pthread_mutex_unlock(&graph_lock);
	return result;
}

CUresult cuGraphNodeSetParams(CUgraphNode hNode, CUgraphNodeParams *nodeParams)
{
	struct body fresh = { .type = CU_GRAPH_NODE_TYPE_EMPTY };
	CUresult result = driver_ready();

	if (result)
		return result;
	if (!nodeParams)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&graph_lock);
	result = body_replace(hNode, nodeParams->type, &fresh, body_general(&fresh, nodeParams));
	pthread_mutex_unlock(&graph_lock);
	return result;
}

/* Of the attributes of a kernel node one means something here: whether it is cooperative. */
CUresult cuGraphKernelNodeGetAttribute(CUgraphNode hNode, CUkernelNodeAttrID attr,
				       CUkernelNodeAttrValue *value_out)
{
	struct body *body;
	CUresult result = driver_ready();

	if (result)
		return result;
	if (!value_out)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&graph_lock);
	result = body_at(hNode, CU_GRAPH_NODE_TYPE_KERNEL, &body);
	if (!result) {
		memset(value_out, 0, sizeof(*value_out));
		if (attr == CU_LAUNCH_ATTRIBUTE_COOPERATIVE)
			value_out->cooperative = body->cooperative;
	}
	pthread_mutex_unlock(&graph_lock);
	return result;
}

CUresult cuGraphKernelNodeSetAttribute(CUgraphNode hNode, CUkernelNodeAttrID attr,
				       const CUkernelNodeAttrValue *value)
{
	struct body *body;
	CUresult result = driver_ready();

	if (result)
		return result;
	if (!value)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&graph_lock);
	result = body_at(hNode, CU_GRAPH_NODE_TYPE_KERNEL, &body);
	if (!result && attr == CU_LAUNCH_ATTRIBUTE_COOPERATIVE)
		body->cooperative = value->cooperative != 0;
	else if (!result && attr != CU_LAUNCH_ATTRIBUTE_PRIORITY &&
		 attr != CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW)
		result = CUDA_ERROR_NOT_SUPPORTED;
	pthread_mutex_unlock(&graph_lock);
	return result;
}

CUresult cuGraphKernelNodeCopyAttributes(CUgraphNode dst, CUgraphNode src)
{
	struct body *to, *from;
	CUresult result = driver_ready();

	if (result)
		return result;
	pthread_mutex_lock(&graph_lock);
	result = body_at(dst, CU_GRAPH_NODE_TYPE_KERNEL, &to);
	if (!result)
		result = body_at(src, CU_GRAPH_NODE_TYPE_KERNEL, &from);
	if (!result)
		to->cooperative = from->cooperative;
	pthread_mutex_unlock(&graph_lock);
	return result;
}

/* ---- as programs of CUDA 11 and before call them ---- */

/* kernel_since - the structure of today */
static CUDA_KERNEL_NODE_PARAMS kernel_since(const CUDA_KERNEL_NODE_PARAMS_v1 *old)
{
	CUDA_KERNEL_NODE_PARAMS kernel = { .func = NULL };

	memcpy(&kernel, old, sizeof(*old));
	return kernel;
}

CUresult cuGraphAddKernelNode(CUgraphNode *phGraphNode, CUgraph hGraph,
			      const CUgraphNode *dependencies, size_t numDependencies,
			      const CUDA_KERNEL_NODE_PARAMS_v1 *nodeParams)
{
	CUDA_KERNEL_NODE_PARAMS kernel;

	if (!nodeParams)
		return CUDA_ERROR_INVALID_VALUE;
	kernel = kernel_since(nodeParams);
	return cuGraphAddKernelNode_v2(phGraphNode, hGraph, dependencies, numDependencies, &kernel);
}

CUresult cuGraphKernelNodeGetParams(CUgraphNode hNode, CUDA_KERNEL_NODE_PARAMS_v1 *nodeParams)
{
	CUDA_KERNEL_NODE_PARAMS kernel;
	CUresult result = nodeParams ? cuGraphKernelNodeGetParams_v2(hNode, &kernel)
				     : CUDA_ERROR_INVALID_VALUE;

	if (!result)
		memcpy(nodeParams, &kernel, sizeof(*nodeParams));
	return result;
}

CUresult cuGraphKernelNodeSetParams(CUgraphNode hNode, const CUDA_KERNEL_NODE_PARAMS_v1 *nodeParams)
{
	CUDA_KERNEL_NODE_PARAMS kernel;

	if (!nodeParams)
		return CUDA_ERROR_INVALID_VALUE;
	kernel = kernel_since(nodeParams);
	return cuGraphKernelNodeSetParams_v2(hNode, &kernel);
}

CUresult cuGraphExecKernelNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
					const CUDA_KERNEL_NODE_PARAMS_v1 *nodeParams)
{
	CUDA_KERNEL_NODE_PARAMS kernel;

	if (!nodeParams)
		return CUDA_ERROR_INVALID_VALUE;
	kernel = kernel_since(nodeParams);
	return cuGraphExecKernelNodeSetParams_v2(hGraphExec, hNode, &kernel);
}
