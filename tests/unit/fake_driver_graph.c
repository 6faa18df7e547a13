/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fake driver's graphs, captures, virtual memory and linker: as much as shows whether client
 * and worker carry them. A graph is a list of nodes in the order in which they were added, which is
 * the order in which a launch runs them; a capture is a graph that the test's own launches go into.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/unit/fake_driver.h"

#define NODES_MAX 16u

struct CUgraphNode_st {
	CUgraph graph;
	CUgraphNodeType type;
	CUDA_KERNEL_NODE_PARAMS kernel;
	uint64_t block[8]; /* the kernel's parameters, eight bytes each */
	void *parameters[8];
	CUDA_HOST_NODE_PARAMS host;
	CUDA_MEMSET_NODE_PARAMS fill;
	CUgraphNode on; /* the last node that it depends on */
};

struct CUgraph_st {
	struct CUgraphNode_st nodes[NODES_MAX];
	size_t count;
	bool alive;
};

/* Graphs stay where they are: a stale handle shows as one that is not alive. */
static struct CUgraph_st graphs[64];
static size_t graph_count;
static CUgraph capturing;
static const struct cuda_driver *self;

static CUgraph graph_new(void)
{
	CUgraph graph = &graphs[graph_count++ % 64];

	memset(graph, 0, sizeof(*graph));
	graph->alive = true;
	return graph;
}

static CUgraphNode node_new(CUgraph graph, CUgraphNodeType type, const CUgraphNode *on,
			    size_t count)
{
	CUgraphNode node;

	if (!graph->alive || graph->count == NODES_MAX)
		return NULL;
	node = &graph->nodes[graph->count++];
	node->graph = graph;
	node->type = type;
	node->on = count ? on[count - 1] : NULL;
	return node;
}

static CUresult fake_cuGraphCreate(CUgraph *graph, unsigned int flags)
{
	*graph = graph_new();
	return flags ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

static CUresult fake_cuGraphDestroy(CUgraph graph)
{
	graph->alive = false;
	return CUDA_SUCCESS;
}

/* node_keep - the kernel's two or fewer parameters, which the caller's memory holds only now */
static void node_keep(CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS *parameters)
{
	size_t offset, bytes;

	node->kernel = *parameters;
	node->kernel.kernelParams = node->parameters;
	for (size_t i = 0; i < 8; i++) {
		CUfunction function =
			parameters->func ? parameters->func : (CUfunction)parameters->kern;

		if (self->cuFuncGetParamInfo(function, i, &offset, &bytes))
			break;
		memcpy(&node->block[i], parameters->kernelParams[i], bytes < 8 ? bytes : 8);
		node->parameters[i] = &node->block[i];
	}
}

static CUresult fake_cuGraphAddKernelNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *on,
					  size_t count, const CUDA_KERNEL_NODE_PARAMS *parameters)
{
	*node = node_new(graph, CU_GRAPH_NODE_TYPE_KERNEL, on, count);
	if (!*node)
		return CUDA_ERROR_OUT_OF_MEMORY;
	node_keep(*node, parameters);
	return CUDA_SUCCESS;
}

static CUresult fake_cuGraphKernelNodeSetParams(CUgraphNode node,
						const CUDA_KERNEL_NODE_PARAMS *parameters)
{
	node_keep(node, parameters);
	return CUDA_SUCCESS;
}

static CUresult fake_cuGraphKernelNodeGetParams(CUgraphNode node,
						CUDA_KERNEL_NODE_PARAMS *parameters)
{
	*parameters = node->kernel;
	return node->type == CU_GRAPH_NODE_TYPE_KERNEL ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static CUresult fake_cuGraphAddHostNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *on,
					size_t count, const CUDA_HOST_NODE_PARAMS *parameters)
{
	*node = node_new(graph, CU_GRAPH_NODE_TYPE_HOST, on, count);
	if (!*node)
		return CUDA_ERROR_OUT_OF_MEMORY;
	(*node)->host = *parameters;
	return CUDA_SUCCESS;
}

static CUresult fake_cuGraphHostNodeGetParams(CUgraphNode node, CUDA_HOST_NODE_PARAMS *parameters)
{
	*parameters = node->host;
	return node->type == CU_GRAPH_NODE_TYPE_HOST ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static CUresult fake_cuGraphGetNodes(CUgraph graph, CUgraphNode *nodes, size_t *count)
{
	for (size_t i = 0; nodes && i < *count && i < graph->count; i++)
		nodes[i] = &graph->nodes[i];
	*count = graph->count;
	return CUDA_SUCCESS;
}

static CUresult fake_cuGraphNodeGetType(CUgraphNode node, CUgraphNodeType *type)
{
	*type = node->type;
	return CUDA_SUCCESS;
}

static CUresult fake_cuGraphNodeGetDependencies(CUgraphNode node, CUgraphNode *on, size_t *count)
{
	if (on && *count && node->on)
		on[0] = node->on;
	*count = node->on != NULL;
	return CUDA_SUCCESS;
}

static CUresult fake_cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph,
						 unsigned long long flags)
{
	CUgraph copy = graph_new();

	*copy = *graph;
	*exec = (CUgraphExec)copy;
	return flags ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

static CUresult fake_cuGraphExecDestroy(CUgraphExec exec)
{
	return fake_cuGraphDestroy((CUgraph)exec);
}

static CUresult fake_cuGraphLaunch(CUgraphExec exec, CUstream stream)
{
	CUgraph graph = (CUgraph)exec;
	CUresult result = graph->alive ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;

	for (size_t i = 0; i < graph->count && !result; i++) {
		CUgraphNode node = &graph->nodes[i];

		for (size_t k = 0; k < 8; k++)
			node->parameters[k] = &node->block[k];
		if (node->type == CU_GRAPH_NODE_TYPE_KERNEL)
			result = self->cuLaunchKernel(
				node->kernel.func ? node->kernel.func
						  : (CUfunction)node->kernel.kern,
				node->kernel.gridDimX, node->kernel.gridDimY, node->kernel.gridDimZ,
				node->kernel.blockDimX, node->kernel.blockDimY,
				node->kernel.blockDimZ, 0, stream, node->parameters, NULL);
		else if (node->type == CU_GRAPH_NODE_TYPE_HOST)
			result = self->cuLaunchHostFunc
					 ? self->cuLaunchHostFunc(stream, node->host.fn,
								  node->host.userData)
					 : CUDA_ERROR_NOT_SUPPORTED;
	}
	return result;
}

static CUresult fake_cuStreamBeginCapture(CUstream stream, CUstreamCaptureMode mode)
{
	if (!stream || capturing || mode != CU_STREAM_CAPTURE_MODE_RELAXED)
		return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	capturing = graph_new();
	/* What was captured: two nodes that the client never named. */
	node_new(capturing, CU_GRAPH_NODE_TYPE_EMPTY, NULL, 0);
	node_new(capturing, CU_GRAPH_NODE_TYPE_EMPTY, &(CUgraphNode){ &capturing->nodes[0] }, 1);
	return CUDA_SUCCESS;
}

static CUresult fake_cuStreamEndCapture(CUstream stream, CUgraph *graph)
{
	*graph = capturing;
	capturing = NULL;
	return stream && *graph ? CUDA_SUCCESS : CUDA_ERROR_ILLEGAL_STATE;
}

static CUresult fake_cuStreamGetCaptureInfo(CUstream stream, CUstreamCaptureStatus *status,
					    cuuint64_t *id, CUgraph *graph,
					    const CUgraphNode **nodes, size_t *count)
{
	static CUgraphNode last;

	*status = stream && capturing ? CU_STREAM_CAPTURE_STATUS_ACTIVE
				      : CU_STREAM_CAPTURE_STATUS_NONE;
	if (!stream || !capturing)
		return CUDA_SUCCESS;
	last = &capturing->nodes[1];
	*id = 77;
	*graph = capturing;
	*nodes = &last;
	*count = 1;
	return CUDA_SUCCESS;
}

static CUresult fake_cuMemAddressReserve(CUdeviceptr *address, size_t bytes, size_t alignment,
					 CUdeviceptr at, unsigned long long flags)
{
	*address = FAKE_RESERVED_BASE;
	return alignment || at || flags || !bytes ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

static CUresult fake_cuMemAddressFree(CUdeviceptr address, size_t bytes)
{
	return address == FAKE_RESERVED_BASE && bytes ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static CUresult fake_cuMemCreate(CUmemGenericAllocationHandle *handle, size_t bytes,
				 const CUmemAllocationProp *properties, unsigned long long flags)
{
	static CUmemGenericAllocationHandle handles = 0x5000;

	*handle = ++handles;
	return flags || !bytes || properties->location.type != CU_MEM_LOCATION_TYPE_DEVICE
		       ? CUDA_ERROR_INVALID_VALUE
		       : CUDA_SUCCESS;
}

static CUresult fake_cuMemRelease(CUmemGenericAllocationHandle handle)
{
	return handle ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static CUresult fake_cuMemMap(CUdeviceptr address, size_t bytes, size_t offset,
			      CUmemGenericAllocationHandle handle, unsigned long long flags)
{
	return address && bytes && !offset && handle && !flags ? CUDA_SUCCESS
							       : CUDA_ERROR_INVALID_VALUE;
}

static CUresult fake_cuMemUnmap(CUdeviceptr address, size_t bytes)
{
	return address && bytes ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static struct {
	unsigned char image[4096];
	size_t bytes;
} linked;

static CUresult fake_cuLinkCreate(unsigned int count, CUjit_option *names, void **values,
				  CUlinkState *state)
{
	(void)count;
	(void)names;
	(void)values;
	linked.bytes = 0;
	*state = (CUlinkState)&linked;
	return CUDA_SUCCESS;
}

/* The linked image is what was added, one behind the other. */
static CUresult fake_cuLinkAddData(CUlinkState state, CUjitInputType type, void *data, size_t bytes,
				   const char *name, unsigned int count, CUjit_option *names,
				   void **values)
{
	(void)name;
	(void)count;
	(void)names;
	(void)values;
	if ((void *)state != &linked || type != CU_JIT_INPUT_PTX ||
	    bytes > sizeof(linked.image) - linked.bytes)
		return CUDA_ERROR_INVALID_IMAGE;
	memcpy(linked.image + linked.bytes, data, bytes);
	linked.bytes += bytes;
	return CUDA_SUCCESS;
}

static CUresult fake_cuLinkComplete(CUlinkState state, void **image, size_t *bytes)
{
	*image = linked.image;
	*bytes = linked.bytes;
	return (void *)state == &linked ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

static CUresult fake_cuLinkDestroy(CUlinkState state)
{
	return (void *)state == &linked ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

void fake_driver_fill_graphs(struct cuda_driver *driver)
{
	self = driver;
	driver->cuGraphCreate = fake_cuGraphCreate;
	driver->cuGraphDestroy = fake_cuGraphDestroy;
	driver->cuGraphAddKernelNode_v2 = fake_cuGraphAddKernelNode;
	driver->cuGraphKernelNodeSetParams_v2 = fake_cuGraphKernelNodeSetParams;
	driver->cuGraphKernelNodeGetParams_v2 = fake_cuGraphKernelNodeGetParams;
	driver->cuGraphAddHostNode = fake_cuGraphAddHostNode;
	driver->cuGraphHostNodeGetParams = fake_cuGraphHostNodeGetParams;
	driver->cuGraphGetNodes = fake_cuGraphGetNodes;
	driver->cuGraphNodeGetType = fake_cuGraphNodeGetType;
	driver->cuGraphNodeGetDependencies = fake_cuGraphNodeGetDependencies;
	driver->cuGraphInstantiateWithFlags = fake_cuGraphInstantiateWithFlags;
	driver->cuGraphExecDestroy = fake_cuGraphExecDestroy;
	driver->cuGraphLaunch = fake_cuGraphLaunch;
	driver->cuStreamBeginCapture_v2 = fake_cuStreamBeginCapture;
	driver->cuStreamEndCapture = fake_cuStreamEndCapture;
	driver->cuStreamGetCaptureInfo_v2 = fake_cuStreamGetCaptureInfo;
	driver->cuMemAddressReserve = fake_cuMemAddressReserve;
	driver->cuMemAddressFree = fake_cuMemAddressFree;
	driver->cuMemCreate = fake_cuMemCreate;
	driver->cuMemRelease = fake_cuMemRelease;
	driver->cuMemMap = fake_cuMemMap;
	driver->cuMemUnmap = fake_cuMemUnmap;
	driver->cuLinkCreate_v2 = fake_cuLinkCreate;
	driver->cuLinkAddData_v2 = fake_cuLinkAddData;
	driver->cuLinkComplete = fake_cuLinkComplete;
	driver->cuLinkDestroy = fake_cuLinkDestroy;
}
