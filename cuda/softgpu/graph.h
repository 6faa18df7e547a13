/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Graphs, and the capture of streams into them; what graph.c, graph_node.c, graph_exec.c, capture.c
 * and those who give work to streams share.
 *
 * A node's body says what to do; it owns copies of all that it names but functions and events.
 * graph_lock guards graphs, nodes, executables and captures; it is taken after context_lock and
 * before stream_lock.
 */
#ifndef CAUSEWAY_CUDA_SOFTGPU_GRAPH_H
#define CAUSEWAY_CUDA_SOFTGPU_GRAPH_H

#include "cuda/softgpu/driver.h"

struct graph;

struct body {
	CUgraphNodeType type;
	struct context *context;
	union {
		CUDA_KERNEL_NODE_PARAMS kernel; /* .kernelParams points into .block */
		CUDA_MEMCPY3D copy;
		CUDA_MEMSET_NODE_PARAMS fill;
		CUDA_HOST_NODE_PARAMS host;
		struct graph *child; /* owned */
		CUevent event;
	};
	bool cooperative;     /* a kernel's */
	unsigned char *block; /* a kernel's parameters, owned */
	size_t block_bytes;
};

struct node {
	struct object object;
	struct graph *graph;
	struct node *next;     /* of the graph, in the order of their making */
	struct node *original; /* in the graph that this one was cloned from, or NULL */
	uint64_t original_id;
	uint64_t id;
	struct node **on; /* what it depends on */
	size_t on_count;
	size_t open; /* scratch of graph_order() */
	struct body body;
};

struct graph {
	struct object object;
	struct node *first, **last;
	size_t count;
	bool owned; /* a child of a node, or of a capture: not to be destroyed by its handle */
};

/* graph_lock - see above; for the functions of graph.c below the caller holds it */
extern pthread_mutex_t graph_lock;

/* graph_make - an empty one; graph_end gives it back with its nodes; NULL: no memory */
struct graph *graph_make(void);
void graph_end(struct graph *graph);
/* graph_copy - nodes that know which they were copied from; NULL: no memory */
struct graph *graph_copy(const struct graph *graph);
/* node_make - the graph's last node so far, with an empty body, behind @on; NULL: no memory */
struct node *node_make(struct graph *graph, struct node *const *on, size_t count);
/* node_depends - add a dependency; INVALID_VALUE where it is there already or makes no sense */
CUresult node_depends(struct node *node, struct node *on);
/* graph_order - the nodes, each behind those it depends on; the caller frees; NULL and *cycle */
struct node **graph_order(struct graph *graph, bool *cycle);
/* graph_nodes_valid - whether all are nodes of @graph */
bool graph_nodes_valid(const struct graph *graph, const CUgraphNode *nodes, size_t count);

/* graph_node.c: bodies */
CUresult body_copy(struct body *to, const struct body *from);
void body_free(struct body *body);
/* body_run - in a stream's thread, in its place */
CUresult body_run(const struct body *body, struct context *context);
/* body_general - from the structure that cuGraphAddNode takes */
CUresult body_general(struct body *body, const CUgraphNodeParams *parameters);

/* launch.c, copy.c, fill.c, event.c: the checks and the work of a body */
CUresult launch_body(struct body *body, CUfunction function, struct context *context,
		     const CUDA_KERNEL_NODE_PARAMS *kernel, bool cooperative);
CUresult launch_body_run(const struct body *body, struct context *context);
CUresult copy_body_check(const CUDA_MEMCPY3D *copy);
void copy_body_run(const CUDA_MEMCPY3D *copy);
CUresult fill_body_check(const CUDA_MEMSET_NODE_PARAMS *fill);
void fill_body_run(const CUDA_MEMSET_NODE_PARAMS *fill);
bool event_usable(CUevent event);
void event_record_now(CUevent event);
void event_wait_now(CUevent event);

/* ---- capture.c ---- */

/* capture_active - whether what is given to the stream goes into a graph */
bool capture_active(const struct stream *stream);
/* capture_add - @body becomes the stream's next node; it is taken over also where that fails */
CUresult capture_add(struct stream *stream, struct body *body);
/* capture_refuse - this cannot be captured: the capture is void, and so says the result */
CUresult capture_refuse(struct stream *stream);
/* capture_implicit - whether work on the legacy stream would wait for a stream that is captured */
CUresult capture_implicit(struct stream *stream);

/* Where a captured stream was when an event was recorded in it. */
struct capture_mark {
	uint64_t id; /* of the capture; 0: none */
	struct node **on;
	size_t on_count;
};

/* capture_marked - what is recorded now stands for the stream's nodes; the caller's lock guards it
 */
CUresult capture_marked(const struct stream *stream, struct capture_mark *mark);
void capture_unmark(struct capture_mark *mark);
/* capture_join - @stream goes on behind the mark, and joins its capture where it is in none */
CUresult capture_join(struct stream *stream, const struct capture_mark *mark);
/* capture_stream_closed - a stream ends while it is captured */
void capture_stream_closed(struct stream *stream);

#endif
