/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stream capture on the driver's side, and attributes of streams and kernel nodes. Every capture is
 * in the relaxed mode: the stricter ones go by threads, and a client's requests are executed by
 * whichever thread reads them.
 */
#include <stdlib.h>

#include "cuda/server/worker.h"
#include "lib/base/clean.h"

CUresult worker_capture_begin(struct worker_call *call,
			      const struct wire_capture_begin_request *request)
{
	const void *numbers = worker_tail(call, request->dependency_count, sizeof(uint32_t));
	const CUgraphEdgeData *edges =
		numbers ? worker_tail(call, request->edge_count, sizeof(*edges)) : NULL;
	autofree void **on = NULL;
	CUstream stream;
	CUgraph graph;
	CUresult result;

	if (!edges || (request->edge_count && request->edge_count != request->dependency_count))
		return worker_broken(call);
	result = worker_handle_find(call, KIND_stream, request->stream, true, &stream);
	if (!result)
		result = worker_handle_find(call, KIND_graph, request->graph, true, &graph);
	if (!result)
		result = worker_handles_find(call, KIND_node, numbers, request->dependency_count,
					     &on);
	if (result)
		return result;
	if (graph)
		return worker_driver.cuStreamBeginCaptureToGraph
			       ? worker_driver.cuStreamBeginCaptureToGraph(
					 stream, graph, (const CUgraphNode *)on,
					 request->edge_count ? edges : NULL,
					 request->dependency_count, CU_STREAM_CAPTURE_MODE_RELAXED)
			       : CUDA_ERROR_NOT_SUPPORTED;
	return worker_driver.cuStreamBeginCapture_v2
		       ? worker_driver.cuStreamBeginCapture_v2(stream,
							       CU_STREAM_CAPTURE_MODE_RELAXED)
		       : CUDA_ERROR_NOT_SUPPORTED;
}

CUresult worker_capture_end(struct worker_call *call,
			    const struct wire_capture_end_request *request,
			    struct wire_capture_end_reply *reply)
{
	CUgraph graph = NULL;
	CUstream stream;
	CUresult result = worker_handle_find(call, KIND_stream, request->stream, true, &stream);

	if (result)
		return result;
	if (!worker_handle_free(call, request->graph))
		return worker_broken(call);
	if (!worker_driver.cuStreamEndCapture)
		return CUDA_ERROR_NOT_SUPPORTED;
	result = worker_driver.cuStreamEndCapture(stream, &graph);
	if (result)
		return result;
	if (!graph)
		return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
	reply->known = worker_handle_known(KIND_graph, graph);
	if (reply->known)
		return CUDA_SUCCESS; /* it has a number since it was asked about, or made */
	reply->known = request->graph;
	return worker_handle_set(call, KIND_graph, request->graph, graph, 0);
}

/* capture_ask - status, id, graph and dependencies, with edges where the driver has them */
static CUresult capture_ask(CUstream stream, CUstreamCaptureStatus *status, cuuint64_t *id,
			    CUgraph *graph, const CUgraphNode **nodes,
			    const CUgraphEdgeData **edges, size_t *count)
{
	if (worker_driver.cuStreamGetCaptureInfo_v3)
		return worker_driver.cuStreamGetCaptureInfo_v3(stream, status, id, graph, nodes,
							       edges, count);
	*edges = NULL;
	return worker_driver.cuStreamGetCaptureInfo_v2
		       ? worker_driver.cuStreamGetCaptureInfo_v2(stream, status, id, graph, nodes,
								 count)
		       : CUDA_ERROR_NOT_SUPPORTED;
}

CUresult worker_capture_info(struct worker_call *call,
			     const struct wire_capture_info_request *request,
			     struct wire_capture_info_reply *reply)
{
	static const CUgraphEdgeData plain[CUDA_WIRE_LIST_MAX];
	CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
	const CUgraphEdgeData *edges = NULL;
	const CUgraphNode *nodes = NULL;
	CUgraph graph = NULL;
	CUstream stream;
	cuuint64_t id = 0;
	size_t count = 0;
	CUresult result = worker_handle_find(call, KIND_stream, request->stream, true, &stream);

	if (!result)
		result = capture_ask(stream, &status, &id, &graph, &nodes, &edges, &count);
	if (result)
		return result;
	reply->status = (int32_t)status;
	reply->id = id;
	if (status != CU_STREAM_CAPTURE_STATUS_ACTIVE)
		return CUDA_SUCCESS;
	result = worker_handle_number(call, KIND_graph, graph, 0, &reply->graph);
	if (result || !request->wanted)
		return result;
	reply->count = count;
	if (count > CUDA_WIRE_LIST_MAX)
		return CUDA_ERROR_NOT_SUPPORTED;
	result = worker_list_handles(call, KIND_node, reply->graph, (void **)(uintptr_t)nodes,
				     count, count);
	return result ? result
		      : worker_list_add(call, edges ? edges : plain, count, sizeof(*edges));
}

CUresult worker_attribute_get(struct worker_call *call,
			      const struct wire_attribute_get_request *request)
{
	CUlaunchAttributeValue value = { { 0 } };
	CUgraphNode node;
	CUstream stream;
	CUresult result = worker_handle_find(call, KIND_node, request->node, true, &node);

	if (!result)
		result = worker_handle_find(call, KIND_stream, request->stream, true, &stream);
	if (result)
		return result;
	if (node)
		result = worker_driver.cuGraphKernelNodeGetAttribute
				 ? worker_driver.cuGraphKernelNodeGetAttribute(
					   node, (CUkernelNodeAttrID)request->attribute, &value)
				 : CUDA_ERROR_NOT_SUPPORTED;
	else
		result = worker_driver.cuStreamGetAttribute
				 ? worker_driver.cuStreamGetAttribute(
					   stream, (CUstreamAttrID)request->attribute, &value)
				 : CUDA_ERROR_NOT_SUPPORTED;
	return result ? result : worker_list_add(call, &value, 1, sizeof(value));
}

CUresult worker_attribute_set(struct worker_call *call,
			      const struct wire_attribute_set_request *request)
{
	const void *tail = worker_tail(call, 1, sizeof(CUlaunchAttributeValue));
	CUlaunchAttributeValue value;
	CUgraphNode node;
	CUstream stream;
	CUresult result = worker_handle_find(call, KIND_node, request->node, true, &node);

	if (!tail)
		return worker_broken(call);
	memcpy(&value, tail, sizeof(value));
	if (!result)
		result = worker_handle_find(call, KIND_stream, request->stream, true, &stream);
	if (result)
		return result;
	if (node)
		return worker_driver.cuGraphKernelNodeSetAttribute
			       ? worker_driver.cuGraphKernelNodeSetAttribute(
					 node, (CUkernelNodeAttrID)request->attribute, &value)
			       : CUDA_ERROR_NOT_SUPPORTED;
	return worker_driver.cuStreamSetAttribute
		       ? worker_driver.cuStreamSetAttribute(
				 stream, (CUstreamAttrID)request->attribute, &value)
		       : CUDA_ERROR_NOT_SUPPORTED;
}
