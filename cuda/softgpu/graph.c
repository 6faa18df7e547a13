/* SPDX-License-Identifier: Apache-2.0 */
/*
 * graph: making, copying and asking about graphs. Their nodes' bodies are graph_node.c's, running
 * them is graph_exec.c's. See graph.h for the lock.
 */
#include "cuda/softgpu/graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

pthread_mutex_t graph_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t node_ids; /* under graph_lock */

struct graph *graph_make(void)
{
	struct graph *graph = object_create(OBJECT_GRAPH);

	if (graph)
		graph->last = &graph->first;
	return graph;
}

/* node_free - no longer in any list */
static void node_free(struct node *node)
{
	body_free(&node->body);
	free(node->on);
	node->on = NULL;
	object_destroy(OBJECT_NODE, node);
}

void graph_end(struct graph *graph)
{
	while (graph->first) {
		struct node *node = graph->first;

		graph->first = node->next;
		node_free(node);
	}
	object_destroy(OBJECT_GRAPH, graph);
}

struct node *node_make(struct graph *graph, struct node *const *on, size_t count)
{
	struct node *node = object_create(OBJECT_NODE);

	if (!node)
		return NULL;
	node->on = malloc((count + 1) * sizeof(struct node *));
	if (!node->on) {
		object_destroy(OBJECT_NODE, node);
		return NULL;
	}
	if (count)
		memcpy(node->on, on, count * sizeof(struct node *));
	node->on_count = count;
	node->graph = graph;
	node->id = ++node_ids;
	*graph->last = node;
	graph->last = &node->next;
	graph->count++;
	return node;
}

/* node_remove - off its graph, and no other depends on it any more */
static void node_remove(struct node *node)
{
	struct graph *graph = node->graph;
	struct node **at = &graph->first;

	while (*at != node)
		at = &(*at)->next;
	*at = node->next;
	if (graph->last == &node->next)
		graph->last = at;
	graph->count--;
	for (struct node *other = graph->first; other; other = other->next) {
		size_t kept = 0;

		for (size_t i = 0; i < other->on_count; i++)
			if (other->on[i] != node)
				other->on[kept++] = other->on[i];
		other->on_count = kept;
	}
	node_free(node);
}

CUresult node_depends(struct node *node, struct node *on)
{
	struct node **longer;

	if (node == on || node->graph != on->graph)
		return CUDA_ERROR_INVALID_VALUE;
	for (size_t i = 0; i < node->on_count; i++)
		if (node->on[i] == on)
			return CUDA_ERROR_INVALID_VALUE;
	longer = realloc(node->on, (node->on_count + 1) * sizeof(struct node *));
	if (!longer)
		return CUDA_ERROR_OUT_OF_MEMORY;
	node->on = longer;
	node->on[node->on_count++] = on;
	return CUDA_SUCCESS;
}

bool graph_nodes_valid(const struct graph *graph, const CUgraphNode *nodes, size_t count)
{
	if (count && !nodes)
		return false;
	for (size_t i = 0; i < count; i++)
		if (!object_valid(OBJECT_NODE, nodes[i]) ||
		    ((struct node *)nodes[i])->graph != graph)
			return false;
	return true;
}

/* node_ready - all that it depends on is in the first @done of @order; marks are in .open */
static bool node_ready(const struct node *node)
{
	for (size_t i = 0; i < node->on_count; i++)
		if (node->on[i]->open)
			return false;
	return true;
}

struct node **graph_order(struct graph *graph, bool *cycle)
{
	struct node **order = malloc((graph->count + 1) * sizeof(struct node *));
	size_t done = 0, before;

	*cycle = false;
	if (!order)
		return NULL;
	for (struct node *node = graph->first; node; node = node->next)
		node->open = 1;
	do {
		before = done;
		for (struct node *node = graph->first; node; node = node->next) {
			if (!node->open || !node_ready(node))
				continue;
			node->open = 0;
			order[done++] = node;
		}
	} while (done > before && done < graph->count);
	*cycle = done < graph->count;
	if (!*cycle)
		return order;
	free(order);
	return NULL;
}

/* copy_of - the node of @copy that was made from @node, which has one */
static struct node *copy_of(const struct graph *copy, const struct node *node)
{
	struct node *made = copy->first;

	while (made && (made->original != node || made->original_id != node->id))
		made = made->next;
	return made;
}

struct graph *graph_copy(const struct graph *graph)
{
	struct graph *copy = graph_make();

	if (!copy)
		return NULL;
	for (struct node *node = graph->first; node; node = node->next) {
		struct node *made = node_make(copy, NULL, 0);

		if (!made || body_copy(&made->body, &node->body)) {
			graph_end(copy);
			return NULL;
		}
		made->original = node;
		made->original_id = node->id;
	}
	for (struct node *node = graph->first; node; node = node->next) {
		struct node *made = copy_of(copy, node);

		for (size_t i = 0; i < node->on_count; i++) {
			if (node_depends(made, copy_of(copy, node->on[i]))) {
				graph_end(copy);
				return NULL;
			}
		}
	}
	return copy;
}

/* ---- the driver's functions ---- */

/* object_enter - the lock, and whether that is such an object; the lock is held in either case */
static CUresult object_enter(enum object_kind kind, const void *handle)
{
	CUresult result = driver_ready();

	pthread_mutex_lock(&graph_lock);
	if (!result && !object_valid(kind, handle))
		result = CUDA_ERROR_INVALID_VALUE;
	return result;
}

static CUresult graph_enter(CUgraph handle)
{
	return object_enter(OBJECT_GRAPH, handle);
}

static CUresult node_enter(CUgraphNode handle)
{
	return object_enter(OBJECT_NODE, handle);
}

static CUresult graph_leave(CUresult result)
{
	pthread_mutex_unlock(&graph_lock);
	return result;
}

CUresult cuGraphCreate(CUgraph *phGraph, unsigned int flags)
{
	CUresult result = driver_ready();
	struct graph *graph;

	if (result)
		return result;
	if (!phGraph || flags)
		return CUDA_ERROR_INVALID_VALUE;
	graph = graph_make();
	*phGraph = (CUgraph)graph;
	return graph ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuGraphDestroy(CUgraph hGraph)
{
	CUresult result = graph_enter(hGraph);

	if (!result && ((struct graph *)hGraph)->owned)
		result = CUDA_ERROR_INVALID_VALUE;
	if (!result)
		graph_end((struct graph *)hGraph);
	return graph_leave(result);
}

CUresult cuGraphClone(CUgraph *phGraphClone, CUgraph originalGraph)
{
	CUresult result = graph_enter(originalGraph);

	if (!result && !phGraphClone)
		result = CUDA_ERROR_INVALID_VALUE;
	if (!result) {
		*phGraphClone = (CUgraph)graph_copy((struct graph *)originalGraph);
		result = *phGraphClone ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
	}
	return graph_leave(result);
}

CUresult cuGraphNodeFindInClone(CUgraphNode *phNode, CUgraphNode hOriginalNode,
				CUgraph hClonedGraph)
{
	CUresult result = node_enter(hOriginalNode);

	if (!result && (!phNode || !object_valid(OBJECT_GRAPH, hClonedGraph)))
		result = CUDA_ERROR_INVALID_VALUE;
	if (!result) {
		*phNode = (CUgraphNode)copy_of((struct graph *)hClonedGraph,
					       (struct node *)hOriginalNode);
		result = *phNode ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
	}
	return graph_leave(result);
}

CUresult cuGraphDestroyNode(CUgraphNode hNode)
{
	CUresult result = node_enter(hNode);

	if (!result)
		node_remove((struct node *)hNode);
	return graph_leave(result);
}

CUresult cuGraphNodeGetType(CUgraphNode hNode, CUgraphNodeType *type)
{
	CUresult result = node_enter(hNode);

	if (!result && !type)
		result = CUDA_ERROR_INVALID_VALUE;
	if (!result)
		*type = ((struct node *)hNode)->body.type;
	return graph_leave(result);
}

/* A list that a program asks for in two steps: the number alone, then as many as it has room for.
 */
struct listing {
	CUgraphNode *nodes;
	size_t room, count;
};

static void listing_add(struct listing *listing, struct node *node)
{
	if (listing->nodes && listing->count < listing->room)
		listing->nodes[listing->count] = (CUgraphNode)node;
	listing->count++;
}

/* listing_end - the number found where there is no array, else what was written; the rest is NULL
 */
static void listing_end(const struct listing *listing, size_t *count)
{
	for (size_t i = listing->count; listing->nodes && i < listing->room; i++)
		listing->nodes[i] = NULL;
	*count = !listing->nodes || listing->count < listing->room ? listing->count : listing->room;
}

static CUresult list_nodes(CUgraph handle, CUgraphNode *nodes, size_t *count, bool roots)
{
	CUresult result = graph_enter(handle);

	if (!result && !count)
		result = CUDA_ERROR_INVALID_VALUE;
	if (!result) {
		struct listing listing = { .nodes = nodes, .room = *count };

		for (struct node *node = ((struct graph *)handle)->first; node; node = node->next)
			if (!roots || !node->on_count)
				listing_add(&listing, node);
		listing_end(&listing, count);
	}
	return graph_leave(result);
}

CUresult cuGraphGetNodes(CUgraph hGraph, CUgraphNode *nodes, size_t *numNodes)
{
	return list_nodes(hGraph, nodes, numNodes, false);
}

CUresult cuGraphGetRootNodes(CUgraph hGraph, CUgraphNode *rootNodes, size_t *numRootNodes)
{
	return list_nodes(hGraph, rootNodes, numRootNodes, true);
}

CUresult cuGraphGetEdges(CUgraph hGraph, CUgraphNode *from, CUgraphNode *to, size_t *numEdges)
{
	CUresult result = graph_enter(hGraph);

	if (!result && (!numEdges || !from != !to))
		result = CUDA_ERROR_INVALID_VALUE;
	if (!result) {
		struct listing begins = { .nodes = from, .room = *numEdges };
		struct listing ends = { .nodes = to, .room = *numEdges };

		for (struct node *node = ((struct graph *)hGraph)->first; node; node = node->next) {
			for (size_t i = 0; i < node->on_count; i++) {
				listing_add(&begins, node->on[i]);
				listing_add(&ends, node);
			}
		}
		listing_end(&begins, numEdges);
		listing_end(&ends, numEdges);
	}
	return graph_leave(result);
}

/* What a node is, for people. */
static const char *node_word(const struct node *node)
{
	static const char *const words[] = {
		[CU_GRAPH_NODE_TYPE_KERNEL] = "kernel",
		[CU_GRAPH_NODE_TYPE_MEMCPY] = "copy",
		[CU_GRAPH_NODE_TYPE_MEMSET] = "fill",
		[CU_GRAPH_NODE_TYPE_HOST] = "host function",
		[CU_GRAPH_NODE_TYPE_GRAPH] = "graph",
		[CU_GRAPH_NODE_TYPE_EMPTY] = "empty",
		[CU_GRAPH_NODE_TYPE_WAIT_EVENT] = "wait for an event",
		[CU_GRAPH_NODE_TYPE_EVENT_RECORD] = "record of an event",
	};
	size_t type = (size_t)node->body.type;

	return type < sizeof(words) / sizeof(words[0]) && words[type] ? words[type] : "node";
}

/* Nodes by their place among the graph's, so that equal graphs have equal texts. */
static size_t node_place(const struct node *wanted)
{
	size_t place = 0;

	for (const struct node *node = wanted->graph->first; node != wanted; node = node->next)
		place++;
	return place;
}

CUresult cuGraphDebugDotPrint(CUgraph hGraph, const char *path, unsigned int flags)
{
	FILE *file = path ? fopen(path, "we") : NULL;
	CUresult result = graph_enter(hGraph);

	(void)flags; /* there is no more to tell */
	if (!result && !file)
		result = path ? CUDA_ERROR_OPERATING_SYSTEM : CUDA_ERROR_INVALID_VALUE;
	if (!result) {
		fprintf(file, "digraph dot {\n");
		for (const struct node *node = ((struct graph *)hGraph)->first; node;
		     node = node->next) {
			size_t place = node_place(node);

			fprintf(file, "\"%zu\" [label=\"%zu %s\"];\n", place, place,
				node_word(node));
			for (size_t i = 0; i < node->on_count; i++)
				fprintf(file, "\"%zu\" -> \"%zu\";\n", node_place(node->on[i]),
					place);
		}
		fprintf(file, "}\n");
	}
	graph_leave(result);
	if (file && fclose(file) && !result)
		result = CUDA_ERROR_OPERATING_SYSTEM;
	return result;
}

/* Edges have no data here: each stands for the whole of what is before it. */
static void edges_plain(CUgraphEdgeData *edges, size_t room, CUresult result)
{
	if (edges && !result)
		memset(edges, 0, room * sizeof(*edges));
}

CUresult cuGraphGetEdges_v2(CUgraph hGraph, CUgraphNode *from, CUgraphNode *to,
			    CUgraphEdgeData *edgeData, size_t *numEdges)
{
	CUresult result = cuGraphGetEdges(hGraph, from, to, numEdges);

	edges_plain(from ? edgeData : NULL, numEdges ? *numEdges : 0, result);
	return result;
}

CUresult cuGraphNodeGetDependencies(CUgraphNode hNode, CUgraphNode *dependencies,
				    size_t *numDependencies)
{
	CUresult result = node_enter(hNode);

	if (!result && !numDependencies)
		result = CUDA_ERROR_INVALID_VALUE;
	if (!result) {
		struct listing listing = { .nodes = dependencies, .room = *numDependencies };
		const struct node *node = (struct node *)hNode;

		for (size_t i = 0; i < node->on_count; i++)
			listing_add(&listing, node->on[i]);
		listing_end(&listing, numDependencies);
	}
	return graph_leave(result);
}

CUresult cuGraphNodeGetDependencies_v2(CUgraphNode hNode, CUgraphNode *dependencies,
				       CUgraphEdgeData *edgeData, size_t *numDependencies)
{
	CUresult result = cuGraphNodeGetDependencies(hNode, dependencies, numDependencies);

	edges_plain(dependencies ? edgeData : NULL, numDependencies ? *numDependencies : 0, result);
	return result;
}

static bool depends_on(const struct node *node, const struct node *on)
{
	for (size_t i = 0; i < node->on_count; i++)
		if (node->on[i] == on)
			return true;
	return false;
}

CUresult cuGraphNodeGetDependentNodes(CUgraphNode hNode, CUgraphNode *dependentNodes,
				      size_t *numDependentNodes)
{
	CUresult result = node_enter(hNode);

	if (!result && !numDependentNodes)
		result = CUDA_ERROR_INVALID_VALUE;
	if (!result) {
		struct listing listing = { .nodes = dependentNodes, .room = *numDependentNodes };
		const struct node *node = (struct node *)hNode;

		for (struct node *other = node->graph->first; other; other = other->next)
			if (depends_on(other, node))
				listing_add(&listing, other);
		listing_end(&listing, numDependentNodes);
	}
	return graph_leave(result);
}

CUresult cuGraphNodeGetDependentNodes_v2(CUgraphNode hNode, CUgraphNode *dependentNodes,
					 CUgraphEdgeData *edgeData, size_t *numDependentNodes)
{
	CUresult result = cuGraphNodeGetDependentNodes(hNode, dependentNodes, numDependentNodes);

	edges_plain(dependentNodes ? edgeData : NULL, numDependentNodes ? *numDependentNodes : 0,
		    result);
	return result;
}

CUresult cuGraphAddDependencies(CUgraph hGraph, const CUgraphNode *from, const CUgraphNode *to,
				size_t numDependencies)
{
	CUresult result = graph_enter(hGraph);
	const struct graph *graph = (struct graph *)hGraph;

	if (!result && (!graph_nodes_valid(graph, from, numDependencies) ||
			!graph_nodes_valid(graph, to, numDependencies)))
		result = CUDA_ERROR_INVALID_VALUE;
	for (size_t i = 0; !result && i < numDependencies; i++)
		result = node_depends((struct node *)to[i], (struct node *)from[i]);
	return graph_leave(result);
}

CUresult cuGraphRemoveDependencies(CUgraph hGraph, const CUgraphNode *from, const CUgraphNode *to,
				   size_t numDependencies)
{
	CUresult result = graph_enter(hGraph);
	const struct graph *graph = (struct graph *)hGraph;

	if (!result && (!graph_nodes_valid(graph, from, numDependencies) ||
			!graph_nodes_valid(graph, to, numDependencies)))
		result = CUDA_ERROR_INVALID_VALUE;
	for (size_t i = 0; !result && i < numDependencies; i++) {
		struct node *node = (struct node *)to[i];
		size_t kept = 0;

		for (size_t j = 0; j < node->on_count; j++)
			if (node->on[j] != (struct node *)from[i])
				node->on[kept++] = node->on[j];
		if (kept == node->on_count)
			result = CUDA_ERROR_INVALID_VALUE;
		node->on_count = kept;
	}
	return graph_leave(result);
}

/* edges_ask_nothing - what programmatic launches and ports ask for is not here */
static bool edges_ask_nothing(const CUgraphEdgeData *edges, size_t count)
{
	static const CUgraphEdgeData plain;

	for (size_t i = 0; edges && i < count; i++)
		if (memcmp(&edges[i], &plain, sizeof(plain)) != 0)
			return false;
	return true;
}

CUresult cuGraphAddDependencies_v2(CUgraph hGraph, const CUgraphNode *from, const CUgraphNode *to,
				   const CUgraphEdgeData *edgeData, size_t numDependencies)
{
	return edges_ask_nothing(edgeData, numDependencies)
		       ? cuGraphAddDependencies(hGraph, from, to, numDependencies)
		       : CUDA_ERROR_NOT_SUPPORTED;
}

CUresult cuGraphRemoveDependencies_v2(CUgraph hGraph, const CUgraphNode *from,
				      const CUgraphNode *to, const CUgraphEdgeData *edgeData,
				      size_t numDependencies)
{
	(void)edgeData;
	return cuGraphRemoveDependencies(hGraph, from, to, numDependencies);
}
