/* SPDX-License-Identifier: Apache-2.0 */
/* Parameters of a graph's nodes: the program's structures into the wire's, and back. */
#include "cuda/client/node.h"

#include "cuda/client/callback.h"
#include "cuda/common/range.h"

#define ACCESS_MAX 64u
#define BATCH_MAX  256u

/* What the program was shown of a kernel node: the arrays stay as long as the node. */
struct client_node {
	void **pointers;
	unsigned char *block;
};

void client_node_release(struct client_node *node)
{
	if (!node)
		return;
	free(node->pointers);
	free(node->block);
	free(node);
}

/* body_make - room for @fixed bytes, copied, and @more behind them */
static CUresult body_make(struct node_body *body, CUgraphNodeType kind, const void *fixed,
			  size_t fixed_bytes, size_t more)
{
	body->kind = (int32_t)kind;
	body->used = fixed_bytes + more;
	body->bytes = calloc(1, body->used + 1);
	if (!body->bytes)
		return CUDA_ERROR_OUT_OF_MEMORY;
	memcpy(body->bytes, fixed, fixed_bytes);
	return CUDA_SUCCESS;
}

CUresult client_node_kernel(struct node_body *body, const CUDA_KERNEL_NODE_PARAMS *parameters)
{
	struct cuda_wire_kernel_node node = { 0 };
	struct client_object *function;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!parameters)
		return CUDA_ERROR_INVALID_VALUE;
	function = client_function_object(parameters->func ? parameters->func
							   : (CUfunction)parameters->kern);
	if (!function || !function->function)
		return CUDA_ERROR_INVALID_VALUE;
	result = client_number_context(parameters->ctx, true, &node.context);
	if (result)
		return result;
	node.function = function->number;
	node.grid[0] = parameters->gridDimX;
	node.grid[1] = parameters->gridDimY;
	node.grid[2] = parameters->gridDimZ;
	node.block[0] = parameters->blockDimX;
	node.block[1] = parameters->blockDimY;
	node.block[2] = parameters->blockDimZ;
	node.shared_bytes = parameters->sharedMemBytes;
	node.parameter_bytes = function->function->facts.parameter_bytes;
	result = body_make(body, CU_GRAPH_NODE_TYPE_KERNEL, &node, sizeof(node),
			   node.parameter_bytes);
	if (result)
		return result;
	return client_launch_gather(function->function, parameters->kernelParams, parameters->extra,
				    body->bytes + sizeof(node));
}

CUresult client_place(struct cuda_wire_place *place, CUmemorytype type, const void *host,
		      CUdeviceptr device, CUarray array, size_t x_bytes, size_t y, size_t z,
		      size_t lod, size_t pitch, size_t height)
{
	*place = (struct cuda_wire_place){ .type = (uint32_t)type,
					   .x_bytes = x_bytes,
					   .y = y,
					   .z = z,
					   .lod = lod,
					   .pitch = pitch,
					   .height = height };
	switch (type) {
	case CU_MEMORYTYPE_HOST:
		place->at = (uintptr_t)host;
		return CUDA_SUCCESS;
	case CU_MEMORYTYPE_DEVICE:
	case CU_MEMORYTYPE_UNIFIED:
		place->at = device;
		return CUDA_SUCCESS;
	case CU_MEMORYTYPE_ARRAY:
		return client_number_array(array, false, &place->array);
	}
	return CUDA_ERROR_INVALID_VALUE;
}

/* place_shared - memory that the worker has at the same address is the device's to reach there */
static void place_shared(struct cuda_wire_place *place)
{
	struct range range;

	if (place->type == CU_MEMORYTYPE_HOST && client_range_lookup(place->at, &range) &&
	    range.kind == CLIENT_RANGE_HOST && client_range_on_device(&range))
		place->type = CU_MEMORYTYPE_UNIFIED;
}

CUresult client_copy_encode(struct cuda_wire_copy *to, const CUDA_MEMCPY3D *copy)
{
	CUresult result;

	*to = (struct cuda_wire_copy){ .width_bytes = copy->WidthInBytes,
				       .rows = copy->Height,
				       .slices = copy->Depth };
	result = client_place(&to->from, copy->srcMemoryType, copy->srcHost, copy->srcDevice,
			      copy->srcArray, copy->srcXInBytes, copy->srcY, copy->srcZ,
			      copy->srcLOD, copy->srcPitch, copy->srcHeight);
	if (!result)
		result = client_place(&to->to, copy->dstMemoryType, copy->dstHost, copy->dstDevice,
				      copy->dstArray, copy->dstXInBytes, copy->dstY, copy->dstZ,
				      copy->dstLOD, copy->dstPitch, copy->dstHeight);
	place_shared(&to->from);
	place_shared(&to->to);
	return result;
}

CUresult client_node_copy(struct node_body *body, const CUDA_MEMCPY3D *copy, CUcontext context)
{
	struct cuda_wire_copy wire;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!copy)
		return CUDA_ERROR_INVALID_VALUE;
	result = client_copy_encode(&wire, copy);
	if (!result)
		result = client_number_context(context, true, &wire.context);
	return result ? result : body_make(body, CU_GRAPH_NODE_TYPE_MEMCPY, &wire, sizeof(wire), 0);
}

CUresult client_node_memset(struct node_body *body, const CUDA_MEMSET_NODE_PARAMS *parameters,
			    CUcontext context)
{
	struct cuda_wire_memset_node node;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!parameters)
		return CUDA_ERROR_INVALID_VALUE;
	node = (struct cuda_wire_memset_node){ .to = parameters->dst,
					       .pitch = parameters->pitch,
					       .width = parameters->width,
					       .height = parameters->height,
					       .value = parameters->value,
					       .element_bytes = parameters->elementSize };
	result = client_number_context(context, true, &node.context);
	return result ? result : body_make(body, CU_GRAPH_NODE_TYPE_MEMSET, &node, sizeof(node), 0);
}

CUresult client_node_host(struct node_body *body, const CUDA_HOST_NODE_PARAMS *parameters)
{
	uint64_t id;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!parameters || !parameters->fn)
		return CUDA_ERROR_INVALID_VALUE;
	result = client_callback_lasting(parameters->fn, parameters->userData, &id);
	return result ? result : body_make(body, CU_GRAPH_NODE_TYPE_HOST, &id, sizeof(id), 0);
}

CUresult client_node_allocation(struct node_body *body,
				const CUDA_MEM_ALLOC_NODE_PARAMS *parameters)
{
	struct cuda_wire_allocation_node node;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!parameters || parameters->accessDescCount > ACCESS_MAX ||
	    (parameters->accessDescCount && !parameters->accessDescs) || !parameters->bytesize)
		return CUDA_ERROR_INVALID_VALUE;
	node = (struct cuda_wire_allocation_node){
		.bytes = parameters->bytesize,
		.allocation_type = parameters->poolProps.allocType,
		.handle_types = parameters->poolProps.handleTypes,
		.location_type = parameters->poolProps.location.type,
		.location = parameters->poolProps.location.id,
		.access_count = (uint32_t)parameters->accessDescCount,
	};
	result = body_make(body, CU_GRAPH_NODE_TYPE_MEM_ALLOC, &node, sizeof(node),
			   node.access_count * sizeof(CUmemAccessDesc));
	if (!result && node.access_count)
		memcpy(body->bytes + sizeof(node), parameters->accessDescs,
		       node.access_count * sizeof(CUmemAccessDesc));
	return result;
}

CUresult client_node_batch(struct node_body *body, const CUDA_BATCH_MEM_OP_NODE_PARAMS *parameters)
{
	uint32_t head[4] = { 0 };
	CUresult result = client_enter();

	if (result)
		return result;
	if (!parameters || !parameters->paramArray || !parameters->count ||
	    parameters->count > BATCH_MAX)
		return CUDA_ERROR_INVALID_VALUE;
	result = client_number_context(parameters->ctx, true, &head[2]);
	if (result)
		return result;
	head[0] = parameters->count;
	head[1] = parameters->flags;
	result = body_make(body, CU_GRAPH_NODE_TYPE_BATCH_MEM_OP, head, sizeof(head),
			   parameters->count * sizeof(*parameters->paramArray));
	if (!result)
		memcpy(body->bytes + sizeof(head), parameters->paramArray,
		       parameters->count * sizeof(*parameters->paramArray));
	return result;
}

/* node_number - a node whose parameter is one handle */
static CUresult node_number(struct node_body *body, CUgraphNodeType kind, CUresult result,
			    uint32_t number)
{
	return result ? result : body_make(body, kind, &number, sizeof(number), 0);
}

/* node_allocation_newer - the general form of an allocation has the older one's members */
static CUresult node_allocation_any(struct node_body *body, const CUgraphNodeParams *parameters)
{
	CUDA_MEM_ALLOC_NODE_PARAMS older = { .poolProps = parameters->alloc.poolProps,
					     .accessDescs = parameters->alloc.accessDescs,
					     .accessDescCount = parameters->alloc.accessDescCount,
					     .bytesize = parameters->alloc.bytesize };

	return client_node_allocation(body, &older);
}

CUresult client_node_any(struct node_body *body, const CUgraphNodeParams *parameters)
{
	CUDA_KERNEL_NODE_PARAMS kernel;
	CUDA_MEMSET_NODE_PARAMS fill;
	CUDA_HOST_NODE_PARAMS host;
	CUDA_BATCH_MEM_OP_NODE_PARAMS batch;
	uint32_t number = 0;
	uint64_t address;
	CUresult result;

	static_assert(sizeof(kernel) == sizeof(parameters->kernel), "kernel nodes");
	if (!parameters)
		return CUDA_ERROR_INVALID_VALUE;
	switch (parameters->type) {
	case CU_GRAPH_NODE_TYPE_KERNEL:
		memcpy(&kernel, &parameters->kernel, sizeof(kernel));
		return client_node_kernel(body, &kernel);
	case CU_GRAPH_NODE_TYPE_MEMCPY:
		return client_node_copy(body, &parameters->memcpy.copyParams,
					parameters->memcpy.copyCtx);
	case CU_GRAPH_NODE_TYPE_MEMSET:
		memcpy(&fill, &parameters->memset, sizeof(fill));
		return client_node_memset(body, &fill, parameters->memset.ctx);
	case CU_GRAPH_NODE_TYPE_HOST:
		host.fn = parameters->host.fn;
		host.userData = parameters->host.userData;
		return client_node_host(body, &host);
	case CU_GRAPH_NODE_TYPE_GRAPH:
		result = client_number_graph(parameters->graph.graph, false, &number);
		return node_number(body, parameters->type, result, number);
	case CU_GRAPH_NODE_TYPE_EMPTY:
		return body_make(body, parameters->type, &number, 0, 0);
	case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
		result = client_number_event(parameters->eventWait.event, false, &number);
		return node_number(body, parameters->type, result, number);
	case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
		result = client_number_event(parameters->eventRecord.event, false, &number);
		return node_number(body, parameters->type, result, number);
	case CU_GRAPH_NODE_TYPE_MEM_ALLOC:
		return node_allocation_any(body, parameters);
	case CU_GRAPH_NODE_TYPE_MEM_FREE:
		address = parameters->free.dptr;
		return body_make(body, parameters->type, &address, sizeof(address), 0);
	case CU_GRAPH_NODE_TYPE_BATCH_MEM_OP:
		batch = (CUDA_BATCH_MEM_OP_NODE_PARAMS){ .ctx = parameters->memOp.ctx,
							 .count = parameters->memOp.count,
							 .paramArray = parameters->memOp.paramArray,
							 .flags = parameters->memOp.flags };
		return client_node_batch(body, &batch);
	default:
		return CUDA_ERROR_NOT_SUPPORTED;
	}
}

/* node_ask - the body of a node's parameters; at least @least bytes, *used in all */
static CUresult node_ask(CUgraphNode hNode, CUgraphNodeType kind, void *to, size_t capacity,
			 size_t least, size_t *used)
{
	struct wire_graph_node_get_request request = { .kind = (int32_t)kind };
	struct client_call call = { .number = CALL_graph_node_get,
				    .flags = CLIENT_NO_CONTEXT,
				    .block = &request,
				    .block_bytes = sizeof(request),
				    .tail = to,
				    .tail_capacity = (uint32_t)capacity };
	CUresult result = client_enter();

	if (!result)
		result = client_number_node(hNode, false, &request.node);
	if (!result)
		result = client_call_run(&call);
	if (result)
		return result;
	*used = call.tail_bytes;
	return *used >= least ? CUDA_SUCCESS : CUDA_ERROR_UNKNOWN;
}

/* node_function - the function that a node names, with its facts */
static CUresult node_function(uint32_t number, struct client_object **object)
{
	CUresult result;

	*object = client_handle_at(number);
	if (!*object) {
		result = client_handle_adopt(KIND_function, number, 0, object);
		if (result)
			return result;
	}
	if ((*object)->kind != KIND_function && (*object)->kind != KIND_kernel)
		return CUDA_ERROR_UNKNOWN;
	return (*object)->function ? CUDA_SUCCESS : client_function_facts(*object);
}

/* node_show - keep the parameters where the program may read them as long as the node is */
static CUresult node_show(struct client_object *object, const struct client_function *function,
			  const unsigned char *block)
{
	uint32_t count = function->facts.parameter_count;
	struct client_node *node = calloc(1, sizeof(*node));

	if (!node)
		return CUDA_ERROR_OUT_OF_MEMORY;
	node->pointers = calloc(count + 1, sizeof(*node->pointers));
	node->block = malloc(function->facts.parameter_bytes + 1);
	if (!node->pointers || !node->block) {
		client_node_release(node);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	memcpy(node->block, block, function->facts.parameter_bytes);
	for (uint32_t i = 0; i < count; i++)
		node->pointers[i] = node->block + function->parameters[i].offset;
	client_node_release(object->node);
	object->node = node;
	return CUDA_SUCCESS;
}

CUresult client_cuGraphKernelNodeGetParams_v2(CUgraphNode hNode,
					      CUDA_KERNEL_NODE_PARAMS *nodeParams)
{
	unsigned char *reply = malloc(CUDA_WIRE_REPLY_BYTES_MAX);
	struct cuda_wire_kernel_node node;
	struct client_object *object = client_object_of(KIND_node, hNode), *function = NULL;
	size_t used = 0;
	CUresult result = reply ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;

	if (!result && !nodeParams)
		result = CUDA_ERROR_INVALID_VALUE;
	if (!result)
		result = node_ask(hNode, CU_GRAPH_NODE_TYPE_KERNEL, reply,
				  CUDA_WIRE_REPLY_BYTES_MAX, sizeof(node), &used);
	if (!result) {
		memcpy(&node, reply, sizeof(node));
		result = node_function(node.function, &function);
	}
	if (!result && (node.parameter_bytes != function->function->facts.parameter_bytes ||
			node.parameter_bytes > used - sizeof(node)))
		result = CUDA_ERROR_UNKNOWN;
	if (!result)
		result = node_show(object, function->function, reply + sizeof(node));
	free(reply);
	if (result)
		return result;
	*nodeParams = (CUDA_KERNEL_NODE_PARAMS){
		.func = function->kind == KIND_function ? client_handle_pointer(function) : NULL,
		.gridDimX = node.grid[0],
		.gridDimY = node.grid[1],
		.gridDimZ = node.grid[2],
		.blockDimX = node.block[0],
		.blockDimY = node.block[1],
		.blockDimZ = node.block[2],
		.sharedMemBytes = node.shared_bytes,
		.kernelParams = object->node->pointers,
		.kern = function->kind == KIND_kernel ? client_handle_pointer(function) : NULL,
	};
	return CUDA_SUCCESS;
}

CUresult client_cuGraphKernelNodeGetParams(CUgraphNode hNode,
					   CUDA_KERNEL_NODE_PARAMS_v1 *nodeParams)
{
	CUDA_KERNEL_NODE_PARAMS newer;
	CUresult result = client_cuGraphKernelNodeGetParams_v2(hNode, &newer);

	if (!result && !nodeParams)
		result = CUDA_ERROR_INVALID_VALUE;
	if (result)
		return result;
	if (!newer.func)
		newer.func = (CUfunction)newer.kern; /* the older form has no other place for it */
	memcpy(nodeParams, &newer, sizeof(*nodeParams));
	return CUDA_SUCCESS;
}

CUresult client_cuGraphMemcpyNodeGetParams(CUgraphNode hNode, CUDA_MEMCPY3D *nodeParams)
{
	struct cuda_wire_copy copy;
	struct client_object *from, *to;
	size_t used;
	CUresult result;

	if (!nodeParams)
		return CUDA_ERROR_INVALID_VALUE;
	result = node_ask(hNode, CU_GRAPH_NODE_TYPE_MEMCPY, &copy, sizeof(copy), sizeof(copy),
			  &used);
	if (result)
		return result;
	from = client_handle_at(copy.from.array);
	to = client_handle_at(copy.to.array);
	*nodeParams = (CUDA_MEMCPY3D){
		.srcXInBytes = copy.from.x_bytes,
		.srcY = copy.from.y,
		.srcZ = copy.from.z,
		.srcLOD = copy.from.lod,
		.srcMemoryType = (CUmemorytype)copy.from.type,
		.srcHost = copy.from.type == CU_MEMORYTYPE_HOST ? (void *)(uintptr_t)copy.from.at
								: NULL,
		.srcDevice = copy.from.type == CU_MEMORYTYPE_HOST ? 0 : copy.from.at,
		.srcArray = from ? client_handle_pointer(from) : NULL,
		.srcPitch = copy.from.pitch,
		.srcHeight = copy.from.height,
		.dstXInBytes = copy.to.x_bytes,
		.dstY = copy.to.y,
		.dstZ = copy.to.z,
		.dstLOD = copy.to.lod,
		.dstMemoryType = (CUmemorytype)copy.to.type,
		.dstHost =
			copy.to.type == CU_MEMORYTYPE_HOST ? (void *)(uintptr_t)copy.to.at : NULL,
		.dstDevice = copy.to.type == CU_MEMORYTYPE_HOST ? 0 : copy.to.at,
		.dstArray = to ? client_handle_pointer(to) : NULL,
		.dstPitch = copy.to.pitch,
		.dstHeight = copy.to.height,
		.WidthInBytes = copy.width_bytes,
		.Height = copy.rows,
		.Depth = copy.slices,
	};
	return CUDA_SUCCESS;
}

CUresult client_cuGraphHostNodeGetParams(CUgraphNode hNode, CUDA_HOST_NODE_PARAMS *nodeParams)
{
	uint64_t id;
	size_t used;
	CUresult result;

	if (!nodeParams)
		return CUDA_ERROR_INVALID_VALUE;
	result = node_ask(hNode, CU_GRAPH_NODE_TYPE_HOST, &id, sizeof(id), sizeof(id), &used);
	if (result)
		return result;
	return client_callback_find(id, &nodeParams->fn, &nodeParams->userData);
}

CUresult client_cuGraphMemAllocNodeGetParams(CUgraphNode hNode,
					     CUDA_MEM_ALLOC_NODE_PARAMS *params_out)
{
	struct {
		struct cuda_wire_allocation_node node;
		uint64_t address;
	} reply;
	size_t used;
	CUresult result;

	if (!params_out)
		return CUDA_ERROR_INVALID_VALUE;
	result = node_ask(hNode, CU_GRAPH_NODE_TYPE_MEM_ALLOC, &reply, sizeof(reply), sizeof(reply),
			  &used);
	if (result)
		return result;
	*params_out = (CUDA_MEM_ALLOC_NODE_PARAMS){
		.poolProps = { .allocType = (CUmemAllocationType)reply.node.allocation_type,
			       .handleTypes = (CUmemAllocationHandleType)reply.node.handle_types,
			       .location = { (CUmemLocationType)reply.node.location_type,
					     reply.node.location } },
		.bytesize = reply.node.bytes,
		.dptr = reply.address,
	};
	return CUDA_SUCCESS;
}
