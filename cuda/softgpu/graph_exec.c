/* SPDX-License-Identifier: Apache-2.0 */
/*
 * graph_exec: executables, and how they run.
 *
 * An executable is a list of steps: the graph's nodes, children's in their place, each behind those
 * it depends on. A launch is one task of its stream, which takes the steps one after the other: any
 * order that the edges allow is right, and each kernel uses all cores by itself. Steps are shared
 * by the executable and the launches under way, and copied before they change while one is.
 */
#include <stdlib.h>
#include <string.h>

#include "cuda/softgpu/graph.h"

struct step {
	const struct node *node; /* what it was made from; only compared, with its id */
	uint64_t node_id;
	size_t on_count;
	bool disabled;
	struct body body;
};

struct steps {
	unsigned int users; /* under graph_lock */
	size_t count, capacity;
	struct step *steps;
};

struct exec {
	struct object object;
	struct steps *steps;
	unsigned long long flags;
};

struct graph_task {
	struct task task;
	struct steps *steps;
};

size_t exec_bytes(void)
{
	return sizeof(struct exec);
}

size_t graph_bytes(void)
{
	return sizeof(struct graph);
}

size_t node_bytes(void)
{
	return sizeof(struct node);
}

/* steps_drop - one user less; under graph_lock */
static void steps_drop(struct steps *steps)
{
	if (--steps->users)
		return;
	for (size_t i = 0; i < steps->count; i++)
		body_free(&steps->steps[i].body);
	free(steps->steps);
	free(steps);
}

static CUresult steps_add(struct steps *steps, const struct step *step)
{
	struct step *longer = steps->steps;
	CUresult result;

	if (steps->count == steps->capacity) {
		size_t capacity = steps->capacity ? 2 * steps->capacity : 16;

		longer = realloc(longer, capacity * sizeof(*longer));
		if (!longer)
			return CUDA_ERROR_OUT_OF_MEMORY;
		steps->steps = longer;
		steps->capacity = capacity;
	}
	longer[steps->count] = *step;
	result = body_copy(&longer[steps->count].body, &step->body);
	if (!result)
		steps->count++;
	return result;
}

/* steps_collect - the steps of a graph behind those that are there; INVALID_VALUE: a cycle */
static CUresult steps_collect(struct steps *steps, struct graph *graph)
{
	bool cycle;
	struct node **order = graph_order(graph, &cycle);
	CUresult result = CUDA_SUCCESS;

	if (!order)
		return cycle ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_OUT_OF_MEMORY;
	for (size_t i = 0; i < graph->count && !result; i++) {
		const struct node *node = order[i];
		const struct step step = { .node = node,
					   .node_id = node->id,
					   .on_count = node->on_count,
					   .body = node->body };

		if (node->body.type == CU_GRAPH_NODE_TYPE_GRAPH)
			result = steps_collect(steps, node->body.child);
		else
			result = steps_add(steps, &step);
	}
	free(order);
	return result;
}

static struct steps *steps_make(void)
{
	struct steps *steps = calloc(1, sizeof(*steps));

	if (steps)
		steps->users = 1;
	return steps;
}

/* exec_own - steps of the executable's alone, so that they may change */
static CUresult exec_own(struct exec *exec)
{
	struct steps *own;
	CUresult result = CUDA_SUCCESS;

	if (exec->steps->users == 1)
		return CUDA_SUCCESS;
	own = steps_make();
	if (!own)
		return CUDA_ERROR_OUT_OF_MEMORY;
	for (size_t i = 0; i < exec->steps->count && !result; i++)
		result = steps_add(own, &exec->steps->steps[i]);
	if (result) {
		steps_drop(own);
		return result;
	}
	steps_drop(exec->steps);
	exec->steps = own;
	return CUDA_SUCCESS;
}

/* ---- running ---- */

static CUresult run_graph(struct task *task)
{
	struct steps *steps = ((struct graph_task *)task)->steps;
	CUresult result = CUDA_SUCCESS;

	for (size_t i = 0; i < steps->count && !result && !task->context->failure; i++)
		if (!steps->steps[i].disabled)
			result = body_run(&steps->steps[i].body, task->context);
	pthread_mutex_lock(&graph_lock);
	steps_drop(steps);
	pthread_mutex_unlock(&graph_lock);
	return result;
}

/* exec_launch - as a task, or as a child node where the stream is captured; under graph_lock */
static CUresult exec_task(CUgraphExec handle, struct graph_task **task)
{
	struct exec *exec = (struct exec *)handle;

	if (!object_valid(OBJECT_EXEC, handle))
		return CUDA_ERROR_INVALID_HANDLE;
	*task = calloc(1, sizeof(**task));
	if (!*task)
		return CUDA_ERROR_OUT_OF_MEMORY;
	(*task)->task.run = run_graph;
	(*task)->task.always = true; /* it gives its steps back */
	(*task)->steps = exec->steps;
	exec->steps->users++;
	return CUDA_SUCCESS;
}

CUresult cuGraphLaunch(CUgraphExec hGraphExec, CUstream hStream)
{
	struct graph_task *task;
	struct stream *stream;
	struct steps *steps;
	CUresult result = stream_resolve(hStream, &stream);

	if (result)
		return result;
	if (capture_active(stream))
		return capture_refuse(stream);
	pthread_mutex_lock(&graph_lock);
	result = exec_task(hGraphExec, &task);
	pthread_mutex_unlock(&graph_lock);
	if (result)
		return result;
	steps = task->steps;
	result = stream_submit(stream, &task->task, NULL, false);
	if (result == CUDA_ERROR_OUT_OF_MEMORY) { /* the task is freed, and has not run */
		pthread_mutex_lock(&graph_lock);
		steps_drop(steps);
		pthread_mutex_unlock(&graph_lock);
	}
	return result;
}

CUresult cuGraphUpload(CUgraphExec hGraphExec, CUstream hStream)
{
	struct stream *stream;
	CUresult result = stream_resolve(hStream, &stream);

	if (!result && !object_valid(OBJECT_EXEC, hGraphExec))
		result = CUDA_ERROR_INVALID_HANDLE;
	return result;
}

/* ---- life ---- */

static CUresult instantiate(CUgraphExec *handle, CUgraph graph, unsigned long long flags)
{
	struct exec *exec = NULL;
	struct steps *steps;
	CUresult result = driver_ready();

	if (result)
		return result;
	if (!handle ||
	    flags & ~(unsigned long long)(CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH |
					  CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD |
					  CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY))
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&graph_lock);
	steps = steps_make();
	if (!object_valid(OBJECT_GRAPH, graph))
		result = CUDA_ERROR_INVALID_VALUE;
	else
		result = steps ? steps_collect(steps, (struct graph *)graph)
			       : CUDA_ERROR_OUT_OF_MEMORY;
	if (!result) {
		exec = object_create(OBJECT_EXEC);
		result = exec ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
	}
	if (result && steps)
		steps_drop(steps);
	pthread_mutex_unlock(&graph_lock);
	if (result)
		return result;
	exec->steps = steps;
	exec->flags = flags;
	*handle = (CUgraphExec)exec;
	return CUDA_SUCCESS;
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec *phGraphExec, CUgraph hGraph,
				     unsigned long long flags)
{
	return instantiate(phGraphExec, hGraph, flags);
}

CUresult cuGraphInstantiate_v2(CUgraphExec *phGraphExec, CUgraph hGraph, CUgraphNode *phErrorNode,
			       char *logBuffer, size_t bufferSize)
{
	if (phErrorNode)
		*phErrorNode = NULL;
	if (logBuffer && bufferSize)
		logBuffer[0] = 0;
	return instantiate(phGraphExec, hGraph, 0);
}

CUresult cuGraphInstantiate(CUgraphExec *phGraphExec, CUgraph hGraph, CUgraphNode *phErrorNode,
			    char *logBuffer, size_t bufferSize)
{
	return cuGraphInstantiate_v2(phGraphExec, hGraph, phErrorNode, logBuffer, bufferSize);
}

CUresult cuGraphInstantiateWithParams(CUgraphExec *phGraphExec, CUgraph hGraph,
				      CUDA_GRAPH_INSTANTIATE_PARAMS *instantiateParams)
{
	CUresult result;

	if (!instantiateParams)
		return CUDA_ERROR_INVALID_VALUE;
	result = instantiate(phGraphExec, hGraph, instantiateParams->flags);
	instantiateParams->hErrNode_out = NULL;
	instantiateParams->result_out = !result ? CUDA_GRAPH_INSTANTIATE_SUCCESS
					: result == CUDA_ERROR_INVALID_VALUE
						? CUDA_GRAPH_INSTANTIATE_INVALID_STRUCTURE
						: CUDA_GRAPH_INSTANTIATE_ERROR;
	return result;
}

CUresult cuGraphExecDestroy(CUgraphExec hGraphExec)
{
	CUresult result = driver_ready();

	if (result)
		return result;
	pthread_mutex_lock(&graph_lock);
	if (object_valid(OBJECT_EXEC, hGraphExec)) {
		steps_drop(((struct exec *)hGraphExec)->steps);
		object_destroy(OBJECT_EXEC, hGraphExec);
	} else {
		result = CUDA_ERROR_INVALID_HANDLE;
	}
	pthread_mutex_unlock(&graph_lock);
	return result;
}

CUresult cuGraphExecGetFlags(CUgraphExec hGraphExec, cuuint64_t *flags)
{
	CUresult result = driver_ready();

	if (!result && (!flags || !object_valid(OBJECT_EXEC, hGraphExec)))
		result = CUDA_ERROR_INVALID_VALUE;
	if (!result)
		*flags = ((struct exec *)hGraphExec)->flags;
	return result;
}

/* ---- changing ---- */

/* exec_step - the step of that node, in steps that may change; under graph_lock */
static CUresult exec_step(CUgraphExec handle, CUgraphNode wanted, struct step **step)
{
	struct exec *exec = (struct exec *)handle;
	const struct node *node = (struct node *)wanted;
	CUresult result;

	if (!object_valid(OBJECT_EXEC, handle) || !object_valid(OBJECT_NODE, wanted))
		return CUDA_ERROR_INVALID_VALUE;
	result = exec_own(exec);
	if (result)
		return result;
	for (size_t i = 0; i < exec->steps->count; i++) {
		*step = &exec->steps->steps[i];
		if ((*step)->node == node && (*step)->node_id == node->id)
			return CUDA_SUCCESS;
	}
	return CUDA_ERROR_INVALID_VALUE;
}

/* step_set - what @parameters say in the place of the step's body, of whose kind they must be */
static CUresult step_set(CUgraphExec exec, CUgraphNode node, const CUgraphNodeParams *parameters)
{
	struct body fresh = { .type = CU_GRAPH_NODE_TYPE_EMPTY };
	struct step *step;
	CUresult result = driver_ready();

	if (result)
		return result;
	pthread_mutex_lock(&graph_lock);
	result = exec_step(exec, node, &step);
	if (!result && step->body.type != parameters->type)
		result = CUDA_ERROR_INVALID_VALUE;
	if (!result)
		result = body_general(&fresh, parameters);
	if (!result) {
		fresh.cooperative = step->body.cooperative;
		body_free(&step->body);
		step->body = fresh;
	}
	pthread_mutex_unlock(&graph_lock);
	return result;
}

CUresult cuGraphExecNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
				  CUgraphNodeParams *nodeParams)
{
	return nodeParams ? step_set(hGraphExec, hNode, nodeParams) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGraphExecKernelNodeSetParams_v2(CUgraphExec hGraphExec, CUgraphNode hNode,
					   const CUDA_KERNEL_NODE_PARAMS *nodeParams)
{
	CUgraphNodeParams general = { .type = CU_GRAPH_NODE_TYPE_KERNEL };

	if (!nodeParams)
		return CUDA_ERROR_INVALID_VALUE;
	memcpy(&general.kernel, nodeParams, sizeof(*nodeParams));
	return step_set(hGraphExec, hNode, &general);
}

CUresult cuGraphExecMemcpyNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
					const CUDA_MEMCPY3D *copyParams, CUcontext ctx)
{
	CUgraphNodeParams general = { .type = CU_GRAPH_NODE_TYPE_MEMCPY };

	if (!copyParams)
		return CUDA_ERROR_INVALID_VALUE;
	general.memcpy.copyCtx = ctx;
	general.memcpy.copyParams = *copyParams;
	return step_set(hGraphExec, hNode, &general);
}

CUresult cuGraphExecMemsetNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
					const CUDA_MEMSET_NODE_PARAMS *memsetParams, CUcontext ctx)
{
	CUgraphNodeParams general = { .type = CU_GRAPH_NODE_TYPE_MEMSET };

	if (!memsetParams)
		return CUDA_ERROR_INVALID_VALUE;
	memcpy(&general.memset, memsetParams, sizeof(*memsetParams));
	general.memset.ctx = ctx;
	return step_set(hGraphExec, hNode, &general);
}

CUresult cuGraphExecHostNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
				      const CUDA_HOST_NODE_PARAMS *nodeParams)
{
	CUgraphNodeParams general = { .type = CU_GRAPH_NODE_TYPE_HOST };

	if (!nodeParams)
		return CUDA_ERROR_INVALID_VALUE;
	general.host.fn = nodeParams->fn;
	general.host.userData = nodeParams->userData;
	return step_set(hGraphExec, hNode, &general);
}

CUresult cuGraphExecEventRecordNodeSetEvent(CUgraphExec hGraphExec, CUgraphNode hNode,
					    CUevent event)
{
	CUgraphNodeParams general = { .type = CU_GRAPH_NODE_TYPE_EVENT_RECORD };

	general.eventRecord.event = event;
	return step_set(hGraphExec, hNode, &general);
}

CUresult cuGraphExecEventWaitNodeSetEvent(CUgraphExec hGraphExec, CUgraphNode hNode, CUevent event)
{
	CUgraphNodeParams general = { .type = CU_GRAPH_NODE_TYPE_WAIT_EVENT };

	general.eventWait.event = event;
	return step_set(hGraphExec, hNode, &general);
}

/* Kernels, copies and fills can be left out of an executable for a while. */
static bool step_optional(const struct step *step)
{
	return step->body.type == CU_GRAPH_NODE_TYPE_KERNEL ||
	       step->body.type == CU_GRAPH_NODE_TYPE_MEMCPY ||
	       step->body.type == CU_GRAPH_NODE_TYPE_MEMSET;
}

CUresult cuGraphNodeSetEnabled(CUgraphExec hGraphExec, CUgraphNode hNode, unsigned int isEnabled)
{
	struct step *step;
	CUresult result = driver_ready();

	if (result)
		return result;
	pthread_mutex_lock(&graph_lock);
	result = exec_step(hGraphExec, hNode, &step);
	if (!result && !step_optional(step))
		result = CUDA_ERROR_INVALID_VALUE;
	if (!result)
		step->disabled = !isEnabled;
	pthread_mutex_unlock(&graph_lock);
	return result;
}

CUresult cuGraphNodeGetEnabled(CUgraphExec hGraphExec, CUgraphNode hNode, unsigned int *isEnabled)
{
	struct step *step;
	CUresult result = driver_ready();

	if (result)
		return result;
	if (!isEnabled)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&graph_lock);
	result = exec_step(hGraphExec, hNode, &step);
	if (!result && !step_optional(step))
		result = CUDA_ERROR_INVALID_VALUE;
	if (!result)
		*isEnabled = !step->disabled;
	pthread_mutex_unlock(&graph_lock);
	return result;
}

/* update_check - whether the graph differs from what is there in parameters alone */
static CUgraphExecUpdateResult update_check(const struct steps *old, const struct steps *fresh,
					    CUgraphNode *node)
{
	if (old->count != fresh->count)
		return CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
	for (size_t i = 0; i < old->count; i++) {
		*node = (CUgraphNode)(uintptr_t)fresh->steps[i].node;
		if (old->steps[i].body.type != fresh->steps[i].body.type)
			return CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED;
		if (old->steps[i].on_count != fresh->steps[i].on_count)
			return CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
		if (old->steps[i].body.context != fresh->steps[i].body.context)
			return CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED;
	}
	*node = NULL;
	return CU_GRAPH_EXEC_UPDATE_SUCCESS;
}

/* update_take - the new bodies, while the steps go on standing for the nodes they were made from */
static CUresult update_take(struct exec *exec, struct steps *fresh)
{
	CUresult result = exec_own(exec);

	for (size_t i = 0; !result && i < fresh->count; i++) {
		struct step *step = &exec->steps->steps[i];
		struct body body = step->body;

		step->body = fresh->steps[i].body;
		fresh->steps[i].body = body; /* goes with the rest of them */
	}
	return result;
}

CUresult cuGraphExecUpdate_v2(CUgraphExec hGraphExec, CUgraph hGraph,
			      CUgraphExecUpdateResultInfo *resultInfo)
{
	struct exec *exec = (struct exec *)hGraphExec;
	struct steps *fresh = NULL;
	CUresult result = driver_ready();

	if (result)
		return result;
	if (!resultInfo)
		return CUDA_ERROR_INVALID_VALUE;
	*resultInfo = (CUgraphExecUpdateResultInfo){ .result = CU_GRAPH_EXEC_UPDATE_ERROR };
	pthread_mutex_lock(&graph_lock);
	if (!object_valid(OBJECT_EXEC, hGraphExec) || !object_valid(OBJECT_GRAPH, hGraph))
		result = CUDA_ERROR_INVALID_VALUE;
	else if (!(fresh = steps_make()))
		result = CUDA_ERROR_OUT_OF_MEMORY;
	if (!result)
		result = steps_collect(fresh, (struct graph *)hGraph);
	if (!result) {
		resultInfo->result = update_check(exec->steps, fresh, &resultInfo->errorNode);
		result = resultInfo->result ? CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE
					    : update_take(exec, fresh);
	}
	if (fresh)
		steps_drop(fresh);
	pthread_mutex_unlock(&graph_lock);
	return result;
}

CUresult cuGraphExecUpdate(CUgraphExec hGraphExec, CUgraph hGraph, CUgraphNode *hErrorNode_out,
			   CUgraphExecUpdateResult *updateResult_out)
{
	CUgraphExecUpdateResultInfo info = { .result = CU_GRAPH_EXEC_UPDATE_ERROR };
	CUresult result = cuGraphExecUpdate_v2(hGraphExec, hGraph, &info);

	if (hErrorNode_out)
		*hErrorNode_out = info.errorNode;
	if (updateResult_out)
		*updateResult_out = info.result;
	return result;
}
