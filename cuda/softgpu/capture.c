/* SPDX-License-Identifier: Apache-2.0 */
/*
 * capture: streams whose work becomes nodes of a graph.
 *
 * A capture has a graph and the stream that it began in; other streams join it by waiting for an
 * event that was recorded in one of its streams. Each of them knows the nodes that its next one
 * depends on. What cannot be a node makes the capture void: everything says so until it is ended.
 * A capture ends in the stream that it began in, once every other one has been joined to that.
 *
 * All under graph_lock; .capture of a stream is read without it by who only asks whether it is one.
 */
#include <stdlib.h>
#include <string.h>

#include "cuda/softgpu/graph.h"

struct capture {
	struct capture *next;
	uint64_t id;
	struct graph *graph;
	struct stream *origin;
	bool broken;
	bool foreign; /* the graph is the program's: cuStreamBeginCaptureToGraph */
};

static struct capture *captures;
static uint64_t capture_ids;
static _Atomic unsigned int capture_count;

static struct capture *capture_of(const struct stream *stream)
{
	return __atomic_load_n(&stream->capture, __ATOMIC_ACQUIRE);
}

bool capture_active(const struct stream *stream)
{
	return capture_of(stream) != NULL;
}

static struct capture *capture_find(uint64_t id)
{
	struct capture *capture = captures;

	while (capture && capture->id != id)
		capture = capture->next;
	return capture;
}

/* stream_leave - the stream is no longer captured */
static void stream_leave(struct stream *stream)
{
	free(stream->capture_on);
	stream->capture_on = NULL;
	stream->capture_on_count = 0;
	__atomic_store_n(&stream->capture, NULL, __ATOMIC_RELEASE);
}

static CUresult stream_enter(struct stream *stream, struct capture *capture, struct node *const *on,
			     size_t count)
{
	stream->capture_on = malloc((count + 1) * sizeof(struct node *));
	if (!stream->capture_on)
		return CUDA_ERROR_OUT_OF_MEMORY;
	if (count)
		memcpy(stream->capture_on, on, count * sizeof(struct node *));
	stream->capture_on_count = count;
	__atomic_store_n(&stream->capture, capture, __ATOMIC_RELEASE);
	return CUDA_SUCCESS;
}

/* stream_on - one more node that the stream's next one depends on, unless it does already */
static CUresult stream_on(struct stream *stream, struct node *node)
{
	struct node **longer;

	for (size_t i = 0; i < stream->capture_on_count; i++)
		if (stream->capture_on[i] == node)
			return CUDA_SUCCESS;
	longer =
		realloc(stream->capture_on, (stream->capture_on_count + 1) * sizeof(struct node *));
	if (!longer)
		return CUDA_ERROR_OUT_OF_MEMORY;
	stream->capture_on = longer;
	longer[stream->capture_on_count++] = node;
	return CUDA_SUCCESS;
}

CUresult capture_add(struct stream *stream, struct body *body)
{
	struct capture *capture;
	struct node *node = NULL;
	CUresult result = CUDA_SUCCESS;

	pthread_mutex_lock(&graph_lock);
	capture = capture_of(stream);
	if (!capture || capture->broken)
		result = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
	else if (!(node = node_make(capture->graph, stream->capture_on, stream->capture_on_count)))
		result = CUDA_ERROR_OUT_OF_MEMORY;
	if (result) {
		body_free(body);
	} else {
		node->body = *body;
		stream->capture_on_count = 0;
		result = stream_on(stream, node);
	}
	pthread_mutex_unlock(&graph_lock);
	return result;
}

CUresult capture_refuse(struct stream *stream)
{
	struct capture *capture;
	CUresult result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;

	pthread_mutex_lock(&graph_lock);
	capture = capture_of(stream);
	if (capture && capture->broken)
		result = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
	else if (capture)
		capture->broken = true;
	pthread_mutex_unlock(&graph_lock);
	return result;
}

CUresult capture_implicit(struct stream *stream)
{
	CUresult result = CUDA_SUCCESS;

	if (stream->kind != STREAM_LEGACY || !capture_count)
		return CUDA_SUCCESS;
	pthread_mutex_lock(&graph_lock);
	for (struct capture *capture = captures; capture; capture = capture->next) {
		if (capture->origin->context != stream->context ||
		    capture->origin->kind != STREAM_BLOCKING)
			continue;
		capture->broken = true;
		result = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
	}
	pthread_mutex_unlock(&graph_lock);
	return result;
}

/* ---- events ---- */

void capture_unmark(struct capture_mark *mark)
{
	free(mark->on);
	*mark = (struct capture_mark){ 0 };
}

CUresult capture_marked(const struct stream *stream, struct capture_mark *mark)
{
	const struct capture *capture;
	CUresult result = CUDA_SUCCESS;

	pthread_mutex_lock(&graph_lock);
	capture_unmark(mark);
	capture = capture_of(stream);
	if (!capture || capture->broken) {
		result = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
	} else {
		mark->on = malloc((stream->capture_on_count + 1) * sizeof(struct node *));
		if (mark->on) {
			memcpy(mark->on, stream->capture_on,
			       stream->capture_on_count * sizeof(struct node *));
			mark->on_count = stream->capture_on_count;
			mark->id = capture->id;
		} else {
			result = CUDA_ERROR_OUT_OF_MEMORY;
		}
	}
	pthread_mutex_unlock(&graph_lock);
	return result;
}

/* mark_valid - nodes may have been destroyed since; one that took a place belongs elsewhere */
static bool mark_valid(const struct capture_mark *mark, const struct capture *capture)
{
	return graph_nodes_valid(capture->graph, (const CUgraphNode *)mark->on, mark->on_count);
}

CUresult capture_join(struct stream *stream, const struct capture_mark *mark)
{
	struct capture *capture, *own;
	CUresult result = CUDA_SUCCESS;

	pthread_mutex_lock(&graph_lock);
	capture = capture_find(mark->id);
	own = capture_of(stream);
	if (!capture || capture->broken || !mark_valid(mark, capture))
		result = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
	else if (own && own != capture)
		result = CUDA_ERROR_STREAM_CAPTURE_MERGE;
	else if (stream->kind == STREAM_LEGACY)
		result = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
	else if (!own)
		result = stream_enter(stream, capture, mark->on, mark->on_count);
	else
		for (size_t i = 0; i < mark->on_count && !result; i++)
			result = stream_on(stream, mark->on[i]);
	if (result && capture)
		capture->broken = true;
	pthread_mutex_unlock(&graph_lock);
	return result;
}

/* ---- begin and end ---- */

static CUresult capture_begin(struct stream *stream, struct graph *graph, const CUgraphNode *on,
			      size_t count)
{
	struct capture *capture;
	CUresult result;

	if (stream->kind == STREAM_LEGACY)
		return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	if (capture_of(stream))
		return CUDA_ERROR_ILLEGAL_STATE;
	capture = calloc(1, sizeof(*capture));
	if (!capture)
		return CUDA_ERROR_OUT_OF_MEMORY;
	capture->foreign = graph != NULL;
	capture->graph = graph ? graph : graph_make();
	result = capture->graph ? stream_enter(stream, capture, (struct node *const *)on, count)
				: CUDA_ERROR_OUT_OF_MEMORY;
	if (result) {
		if (capture->graph && !capture->foreign)
			graph_end(capture->graph);
		free(capture);
		return result;
	}
	capture->graph->owned = !capture->foreign;
	capture->id = ++capture_ids;
	capture->origin = stream;
	capture->next = captures;
	captures = capture;
	capture_count++;
	return CUDA_SUCCESS;
}

CUresult cuStreamBeginCapture_v2(CUstream hStream, CUstreamCaptureMode mode)
{
	struct stream *stream;
	CUresult result = stream_resolve(hStream, &stream);

	if (result)
		return result;
	if ((unsigned int)mode > CU_STREAM_CAPTURE_MODE_RELAXED)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&graph_lock);
	result = capture_begin(stream, NULL, NULL, 0);
	pthread_mutex_unlock(&graph_lock);
	return result;
}

CUresult cuStreamBeginCapture(CUstream hStream)
{
	return cuStreamBeginCapture_v2(hStream, CU_STREAM_CAPTURE_MODE_GLOBAL);
}

CUresult cuStreamBeginCaptureToGraph(CUstream hStream, CUgraph hGraph,
				     const CUgraphNode *dependencies,
				     const CUgraphEdgeData *dependencyData, size_t numDependencies,
				     CUstreamCaptureMode mode)
{
	static const CUgraphEdgeData plain;
	struct stream *stream;
	CUresult result = stream_resolve(hStream, &stream);

	if (result)
		return result;
	for (size_t i = 0; dependencyData && i < numDependencies; i++)
		if (memcmp(&dependencyData[i], &plain, sizeof(plain)) != 0)
			return CUDA_ERROR_NOT_SUPPORTED;
	pthread_mutex_lock(&graph_lock);
	if ((unsigned int)mode > CU_STREAM_CAPTURE_MODE_RELAXED ||
	    !object_valid(OBJECT_GRAPH, hGraph) ||
	    !graph_nodes_valid((struct graph *)hGraph, dependencies, numDependencies))
		result = CUDA_ERROR_INVALID_VALUE;
	else
		result = capture_begin(stream, (struct graph *)hGraph, dependencies,
				       numDependencies);
	pthread_mutex_unlock(&graph_lock);
	return result;
}

/* node_reaches - whether @node is @on or comes behind it */
static bool node_reaches(const struct node *node, const struct node *on)
{
	if (node == on)
		return true;
	for (size_t i = 0; i < node->on_count; i++)
		if (node_reaches(node->on[i], on))
			return true;
	return false;
}

/* stream_joined - all that @stream was given comes before what its capture's origin goes on behind
 */
static bool stream_joined(const struct stream *stream, const struct stream *origin)
{
	for (size_t i = 0; i < stream->capture_on_count; i++) {
		bool found = false;

		for (size_t j = 0; j < origin->capture_on_count && !found; j++)
			found = node_reaches(origin->capture_on[j], stream->capture_on[i]);
		if (!found)
			return false;
	}
	return true;
}

/* capture_release - out of the list, and off its streams; whether all had been joined */
static bool capture_release(struct capture *capture)
{
	struct capture **at = &captures;
	struct stream *stream = NULL;
	bool joined = true;

	while ((stream = object_next(OBJECT_STREAM, stream))) {
		if (capture_of(stream) != capture || stream == capture->origin)
			continue;
		joined = joined && stream_joined(stream, capture->origin);
		stream_leave(stream);
	}
	stream_leave(capture->origin);
	while (*at != capture)
		at = &(*at)->next;
	*at = capture->next;
	capture_count--;
	return joined;
}

CUresult cuStreamEndCapture(CUstream hStream, CUgraph *phGraph)
{
	struct capture *capture;
	struct stream *stream;
	CUresult result = stream_resolve(hStream, &stream);

	if (result)
		return result;
	if (!phGraph)
		return CUDA_ERROR_INVALID_VALUE;
	*phGraph = NULL;
	pthread_mutex_lock(&graph_lock);
	capture = capture_of(stream);
	if (!capture) {
		result = CUDA_ERROR_ILLEGAL_STATE;
	} else if (capture->origin != stream) {
		capture->broken = true;
		result = CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
	} else {
		bool joined = capture_release(capture);

		if (capture->broken)
			result = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
		else if (!joined)
			result = CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
		if (!capture->foreign)
			capture->graph->owned = false;
		if (!result)
			*phGraph = (CUgraph)capture->graph;
		else if (!capture->foreign)
			graph_end(capture->graph);
		free(capture);
	}
	pthread_mutex_unlock(&graph_lock);
	return result;
}

void capture_stream_closed(struct stream *stream)
{
	struct capture *capture;

	pthread_mutex_lock(&graph_lock);
	capture = capture_of(stream);
	if (capture && capture->origin == stream) {
		capture_release(capture);
		if (!capture->foreign)
			graph_end(capture->graph);
		free(capture);
	} else if (capture) {
		capture->broken = true;
		stream_leave(stream);
	}
	pthread_mutex_unlock(&graph_lock);
}

/* ---- asking ---- */

CUresult cuStreamGetCaptureInfo_v3(CUstream hStream, CUstreamCaptureStatus *captureStatus_out,
				   cuuint64_t *id_out, CUgraph *graph_out,
				   const CUgraphNode **dependencies_out,
				   const CUgraphEdgeData **edgeData_out,
				   size_t *numDependencies_out)
{
	const struct capture *capture;
	struct stream *stream;
	CUresult result = stream_resolve(hStream, &stream);

	if (result == CUDA_SUCCESS && !captureStatus_out)
		result = CUDA_ERROR_INVALID_VALUE;
	if (result)
		return result;
	if ((result = capture_implicit(stream)))
		return result;
	pthread_mutex_lock(&graph_lock);
	capture = capture_of(stream);
	*captureStatus_out = !capture	       ? CU_STREAM_CAPTURE_STATUS_NONE
			     : capture->broken ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
					       : CU_STREAM_CAPTURE_STATUS_ACTIVE;
	if (capture && id_out)
		*id_out = capture->id;
	if (capture && graph_out)
		*graph_out = (CUgraph)capture->graph;
	if (capture && dependencies_out)
		*dependencies_out = (const CUgraphNode *)stream->capture_on;
	if (capture && edgeData_out)
		*edgeData_out = NULL;
	if (capture && numDependencies_out)
		*numDependencies_out = stream->capture_on_count;
	pthread_mutex_unlock(&graph_lock);
	return CUDA_SUCCESS;
}

CUresult cuStreamGetCaptureInfo_v2(CUstream hStream, CUstreamCaptureStatus *captureStatus_out,
				   cuuint64_t *id_out, CUgraph *graph_out,
				   const CUgraphNode **dependencies_out,
				   size_t *numDependencies_out)
{
	return cuStreamGetCaptureInfo_v3(hStream, captureStatus_out, id_out, graph_out,
					 dependencies_out, NULL, numDependencies_out);
}

CUresult cuStreamGetCaptureInfo(CUstream hStream, CUstreamCaptureStatus *captureStatus_out,
				cuuint64_t *id_out)
{
	return cuStreamGetCaptureInfo_v3(hStream, captureStatus_out, id_out, NULL, NULL, NULL,
					 NULL);
}

CUresult cuStreamIsCapturing(CUstream hStream, CUstreamCaptureStatus *captureStatus)
{
	return cuStreamGetCaptureInfo_v3(hStream, captureStatus, NULL, NULL, NULL, NULL, NULL);
}

CUresult cuStreamUpdateCaptureDependencies(CUstream hStream, CUgraphNode *dependencies,
					   size_t numDependencies, unsigned int flags)
{
	const struct capture *capture;
	struct stream *stream;
	CUresult result = stream_resolve(hStream, &stream);

	if (result)
		return result;
	pthread_mutex_lock(&graph_lock);
	capture = capture_of(stream);
	if (!capture)
		result = CUDA_ERROR_ILLEGAL_STATE;
	else if (capture->broken)
		result = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
	else if (flags > CU_STREAM_SET_CAPTURE_DEPENDENCIES ||
		 !graph_nodes_valid(capture->graph, dependencies, numDependencies))
		result = CUDA_ERROR_INVALID_VALUE;
	if (!result && flags == CU_STREAM_SET_CAPTURE_DEPENDENCIES)
		stream->capture_on_count = 0;
	for (size_t i = 0; i < numDependencies && !result; i++)
		result = stream_on(stream, (struct node *)dependencies[i]);
	pthread_mutex_unlock(&graph_lock);
	return result;
}

CUresult cuStreamUpdateCaptureDependencies_v2(CUstream hStream, CUgraphNode *dependencies,
					      const CUgraphEdgeData *dependencyData,
					      size_t numDependencies, unsigned int flags)
{
	(void)dependencyData;
	return cuStreamUpdateCaptureDependencies(hStream, dependencies, numDependencies, flags);
}

/* Kept for each thread and given back: which calls a capture forbids goes by threads elsewhere. */
CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode)
{
	static __thread CUstreamCaptureMode current = CU_STREAM_CAPTURE_MODE_GLOBAL;
	CUstreamCaptureMode before = current;

	if (!mode || (unsigned int)*mode > CU_STREAM_CAPTURE_MODE_RELAXED)
		return CUDA_ERROR_INVALID_VALUE;
	current = *mode;
	*mode = before;
	return CUDA_SUCCESS;
}
