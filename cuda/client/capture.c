/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stream capture, and attributes of streams and kernel nodes.
 *
 * The worker captures in the relaxed mode, whatever the program asked for: threads here are not
 * threads there, and the stricter modes go by threads. While no capture is open (a counter knows)
 * questions about it are answered here, as a runtime asks before nearly every call.
 */
#include <stdlib.h>

#include "cuda/client/client.h"
#include "lib/base/clean.h"

static unsigned int captures; /* open ones, atomic */

bool client_capture_possible(void)
{
	return __atomic_load_n(&captures, __ATOMIC_ACQUIRE) != 0;
}

/* capture_stream - the number of a stream; CUDA_ERROR_INVALID_CONTEXT for the NULL one without one
 */
static CUresult capture_stream(CUstream hStream, uint32_t *number)
{
	CUresult result = client_enter();

	if (!result)
		result = client_number_stream(hStream, true, number);
	if (!result && !*number && !client_context_number())
		result = CUDA_ERROR_INVALID_CONTEXT;
	return result;
}

static CUresult capture_begin(CUstream hStream, CUgraph hGraph, const CUgraphNode *dependencies,
			      const CUgraphEdgeData *edges, size_t count, CUstreamCaptureMode mode)
{
	struct wire_capture_begin_request request = { .mode = (int32_t)mode };
	struct client_call call = { .number = CALL_capture_begin,
				    .block = &request,
				    .block_bytes = sizeof(request) };
	autofree uint32_t *numbers = NULL;
	CUresult result = capture_stream(hStream, &request.stream);

	if (!result && hGraph)
		result = client_number_graph(hGraph, false, &request.graph);
	if (result)
		return result;
	if (mode > CU_STREAM_CAPTURE_MODE_RELAXED || (count && !dependencies) ||
	    count > CUDA_WIRE_REQUEST_BYTES_MAX / sizeof(void *))
		return CUDA_ERROR_INVALID_VALUE;
	result = client_numbers_node(dependencies, count, &numbers);
	if (result)
		return result;
	request.dependency_count = (uint32_t)count;
	request.edge_count = edges ? (uint32_t)count : 0;
	client_call_piece(&call, numbers, count * sizeof(*numbers));
	client_call_piece(&call, edges, request.edge_count * sizeof(*edges));
	__atomic_add_fetch(&captures, 1, __ATOMIC_ACQ_REL);
	result = client_call_run(&call);
	if (result)
		__atomic_sub_fetch(&captures, 1, __ATOMIC_ACQ_REL);
	return result;
}

CUresult client_cuStreamBeginCapture_v2(CUstream hStream, CUstreamCaptureMode mode)
{
	return capture_begin(hStream, NULL, NULL, NULL, 0, mode);
}

CUresult client_cuStreamBeginCapture(CUstream hStream)
{
	return capture_begin(hStream, NULL, NULL, NULL, 0, CU_STREAM_CAPTURE_MODE_GLOBAL);
}

CUresult client_cuStreamBeginCaptureToGraph(CUstream hStream, CUgraph hGraph,
					    const CUgraphNode *dependencies,
					    const CUgraphEdgeData *dependencyData,
					    size_t numDependencies, CUstreamCaptureMode mode)
{
	if (!hGraph)
		return CUDA_ERROR_INVALID_VALUE;
	return capture_begin(hStream, hGraph, dependencies, dependencyData, numDependencies, mode);
}

/* capture_over - whether cuStreamEndCapture ended a capture, be it without a graph */
static bool capture_over(CUresult result)
{
	return result == CUDA_SUCCESS || (result >= CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED &&
					  result <= CUDA_ERROR_CAPTURED_EVENT);
}

CUresult client_cuStreamEndCapture(CUstream hStream, CUgraph *phGraph)
{
	struct client_object *graph;
	uint32_t stream, number = 0;
	CUresult result = capture_stream(hStream, &stream);

	if (result)
		return result;
	if (!phGraph)
		return CUDA_ERROR_INVALID_VALUE;
	result = client_handle_new(KIND_graph, 0, &graph);
	if (result)
		return result;
	result = client_send_capture_end(stream, graph->number, &number);
	if (capture_over(result) && client_capture_possible())
		__atomic_sub_fetch(&captures, 1, __ATOMIC_ACQ_REL);
	*phGraph = NULL;
	if (!result && number != graph->number) {
		/* The capture went into a graph that the program has already. */
		client_handle_end(graph);
		result = client_handle_adopt(KIND_graph, number, 0, &graph);
	} else if (result) {
		client_handle_end(graph);
	}
	if (!result)
		*phGraph = client_handle_pointer(graph);
	return result;
}

/* What the last question about a capture brought: the arrays are the program's until the next. */
static __thread struct {
	CUgraphNode nodes[CUDA_WIRE_LIST_MAX];
	CUgraphEdgeData edges[CUDA_WIRE_LIST_MAX];
} * shown;

/* capture_show - the lists of the reply into the thread's arrays */
static CUresult capture_show(const struct client_call *call, const unsigned char *tail,
			     uint32_t graph, uint64_t count)
{
	struct client_list list = client_list_begin(call, tail);
	CUresult result;

	if (count > CUDA_WIRE_LIST_MAX)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (!shown)
		shown = malloc(sizeof(*shown));
	if (!shown)
		return CUDA_ERROR_OUT_OF_MEMORY;
	result = client_list_handles(&list, KIND_node, graph, (void **)shown->nodes, count, count);
	if (!result)
		result = client_list_take(&list, shown->edges, count, count,
					  sizeof(shown->edges[0]));
	return result;
}

CUresult client_cuStreamGetCaptureInfo_v3(CUstream hStream,
					  CUstreamCaptureStatus *captureStatus_out,
					  cuuint64_t *id_out, CUgraph *graph_out,
					  const CUgraphNode **dependencies_out,
					  const CUgraphEdgeData **edgeData_out,
					  size_t *numDependencies_out)
{
	bool lists = dependencies_out || edgeData_out;
	struct wire_capture_info_request request = { .wanted = lists };
	struct wire_capture_info_reply reply;
	struct client_call call = { .number = CALL_capture_info,
				    .block = &request,
				    .block_bytes = sizeof(request),
				    .reply = &reply,
				    .reply_bytes = sizeof(reply) };
	autofree unsigned char *tail = NULL;
	struct client_object *graph = NULL;
	CUresult result = capture_stream(hStream, &request.stream);

	if (result)
		return result;
	if (!captureStatus_out)
		return CUDA_ERROR_INVALID_VALUE;
	*captureStatus_out = CU_STREAM_CAPTURE_STATUS_NONE;
	if (!client_capture_possible())
		return CUDA_SUCCESS;
	if (lists)
		call.tail_capacity = CUDA_WIRE_REPLY_BYTES_MAX;
	result = client_list_open(&call, &tail);
	if (!result)
		result = client_call_run(&call);
	if (result)
		return result;
	*captureStatus_out = (CUstreamCaptureStatus)reply.status;
	if (reply.status != CU_STREAM_CAPTURE_STATUS_ACTIVE)
		return CUDA_SUCCESS;
	if (reply.graph)
		result = client_handle_adopt(KIND_graph, reply.graph, 0, &graph);
	if (!result && lists)
		result = capture_show(&call, tail, reply.graph, reply.count);
	if (result)
		return result;
	if (id_out)
		*id_out = reply.id;
	if (graph_out)
		*graph_out = graph ? client_handle_pointer(graph) : NULL;
	if (dependencies_out)
		*dependencies_out = shown->nodes;
	if (edgeData_out)
		*edgeData_out = shown->edges;
	if (numDependencies_out)
		*numDependencies_out = reply.count;
	return CUDA_SUCCESS;
}

CUresult client_cuStreamGetCaptureInfo_v2(CUstream hStream,
					  CUstreamCaptureStatus *captureStatus_out,
					  cuuint64_t *id_out, CUgraph *graph_out,
					  const CUgraphNode **dependencies_out,
					  size_t *numDependencies_out)
{
	return client_cuStreamGetCaptureInfo_v3(hStream, captureStatus_out, id_out, graph_out,
						dependencies_out, NULL, numDependencies_out);
}

CUresult client_cuStreamGetCaptureInfo(CUstream hStream, CUstreamCaptureStatus *captureStatus_out,
				       cuuint64_t *id_out)
{
	return client_cuStreamGetCaptureInfo_v3(hStream, captureStatus_out, id_out, NULL, NULL,
						NULL, NULL);
}

CUresult client_cuStreamIsCapturing(CUstream hStream, CUstreamCaptureStatus *captureStatus)
{
	return client_cuStreamGetCaptureInfo(hStream, captureStatus, NULL);
}

bool client_capture_active(CUstream stream)
{
	CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;

	return client_capture_possible() && !client_cuStreamIsCapturing(stream, &status) &&
	       status != CU_STREAM_CAPTURE_STATUS_NONE;
}

/* attribute_ask - an attribute of a stream or of a node: one call of the two sorts */
static CUresult attribute_ask(uint16_t number, uint32_t stream, uint32_t node, int attribute,
			      const CUlaunchAttributeValue *set, CUlaunchAttributeValue *get)
{
	struct wire_attribute_get_request request = { .stream = stream,
						      .node = node,
						      .attribute = attribute };
	struct client_call call = { .number = number,
				    .block = &request,
				    .block_bytes = sizeof(request),
				    .tail = get,
				    .tail_capacity = get ? sizeof(*get) : 0 };
	CUresult result;

	static_assert(sizeof(struct wire_attribute_set_request) == sizeof(request) &&
			      offsetof(struct wire_attribute_set_request, attribute) ==
				      offsetof(struct wire_attribute_get_request, attribute),
		      "both are sent alike");
	if (!set && !get)
		return CUDA_ERROR_INVALID_VALUE;
	if (set)
		client_call_piece(&call, set, sizeof(*set));
	result = client_call_run(&call);
	return !result && get && call.tail_bytes < sizeof(*get) ? CUDA_ERROR_UNKNOWN : result;
}

CUresult client_cuStreamGetAttribute(CUstream hStream, CUstreamAttrID attr,
				     CUstreamAttrValue *value_out)
{
	uint32_t stream;
	CUresult result = capture_stream(hStream, &stream);

	return result ? result
		      : attribute_ask(CALL_attribute_get, stream, 0, (int)attr, NULL, value_out);
}

CUresult client_cuStreamSetAttribute(CUstream hStream, CUstreamAttrID attr,
				     const CUstreamAttrValue *value)
{
	uint32_t stream;
	CUresult result = capture_stream(hStream, &stream);

	return result ? result
		      : attribute_ask(CALL_attribute_set, stream, 0, (int)attr, value, NULL);
}

CUresult client_cuGraphKernelNodeGetAttribute(CUgraphNode hNode, CUkernelNodeAttrID attr,
					      CUkernelNodeAttrValue *value_out)
{
	uint32_t node;
	CUresult result = client_enter();

	if (!result)
		result = client_number_node(hNode, false, &node);
	return result ? result
		      : attribute_ask(CALL_attribute_get, 0, node, (int)attr, NULL, value_out);
}

CUresult client_cuGraphKernelNodeSetAttribute(CUgraphNode hNode, CUkernelNodeAttrID attr,
					      const CUkernelNodeAttrValue *value)
{
	uint32_t node;
	CUresult result = client_enter();

	if (!result)
		result = client_number_node(hNode, false, &node);
	return result ? result : attribute_ask(CALL_attribute_set, 0, node, (int)attr, value, NULL);
}
