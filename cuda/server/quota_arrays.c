/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arrays, and what graphs allocate, count against the limits as other memory does.
 *
 * The functions here take the driver's places in worker_driver, so that no request can forget to
 * count. What an array counts is what its elements take; the driver's own padding is not known
 * before it exists. Sparse arrays and such that are mapped later have no memory of their own. What
 * a graph's nodes allocate counts for each executable graph, from its instantiation to its end:
 * each may have all of it at once, at its first launch. quota_held.c has the list of them all.
 */
#include <stdlib.h>
#include <string.h>

#include "cuda/server/quota_held.h"
#include "cuda/server/turn.h"
#include "cuda/server/worker.h"
#include "lib/base/clean.h"

#define LAYERS	       (CUDA_ARRAY3D_LAYERED | CUDA_ARRAY3D_CUBEMAP) /* Depth counts them */
#define WITHOUT_MEMORY 0xc0u /* CUDA_ARRAY3D_SPARSE, CUDA_ARRAY3D_DEFERRED_MAPPING */

static struct cuda_driver real;

static uint64_t element_bytes(CUarray_format format)
{
	switch ((unsigned int)format) {
	case 0x02: /* 16-bit integers and half precision */
	case 0x09:
	case 0x10:
		return 2;
	case 0x03: /* 32-bit integers and single precision */
	case 0x0a:
	case 0x20:
		return 4;
	default: /* 8-bit integers; compressed and video formats take no more */
		return 1;
	}
}

/* array_format_known - one element is one value for each channel */
static bool array_format_known(CUarray_format format)
{
	static const unsigned char known[] = { 0x01, 0x02, 0x03, 0x08, 0x09, 0x0a, 0x10, 0x20 };

	return memchr(known, (int)format, sizeof(known));
}

/* half - of an extent that is there: at least 1 */
static size_t half(size_t extent)
{
	return extent > 1 ? extent / 2 : extent;
}

/* shape_halve - to that of the next level; layers do not become fewer */
static void shape_halve(CUDA_ARRAY3D_DESCRIPTOR *shape)
{
	shape->Width = half(shape->Width);
	shape->Height = half(shape->Height);
	if (!(shape->Flags & LAYERS))
		shape->Depth = half(shape->Depth);
}

/* levels_clamp - so many as there are at most, as the driver does */
static unsigned int levels_clamp(const CUDA_ARRAY3D_DESCRIPTOR *array, unsigned int levels)
{
	size_t extents = array->Width | array->Height | (array->Flags & LAYERS ? 0 : array->Depth);
	unsigned int most = extents ? 64u - (unsigned int)__builtin_clzll(extents) : 1;

	if (!levels)
		return 1;
	return levels < most ? levels : most;
}

/* array_bytes - of all levels; UINT64_MAX where that is more than any device has */
static uint64_t array_bytes(const CUDA_ARRAY3D_DESCRIPTOR *array, unsigned int levels)
{
	uint64_t element = element_bytes(array->Format) * array->NumChannels, sum = 0;
	CUDA_ARRAY3D_DESCRIPTOR shape = *array;

	if (array->Flags & WITHOUT_MEMORY)
		return 0;
	for (unsigned int i = 0; i < levels; i++) {
		uint64_t bytes;

		if (__builtin_mul_overflow(shape.Width, shape.Height ? shape.Height : 1, &bytes) ||
		    __builtin_mul_overflow(bytes, shape.Depth ? shape.Depth : 1, &bytes) ||
		    __builtin_mul_overflow(bytes, element, &bytes) ||
		    __builtin_add_overflow(sum, bytes, &sum))
			return UINT64_MAX;
		shape_halve(&shape);
	}
	return sum;
}

/* array_keep - a CUarray, CUmipmappedArray or CUgraphExec on the books; false without memory */
static bool array_keep(const void *array, uint64_t bytes)
{
	CUcontext context = NULL;

	real.cuCtxGetCurrent(&context);
	return held_keep(array, context, bytes, HELD_ASKED);
}

/*
 * array_clear - the @levels of a new array (1: of a plain one) without another's content. How what
 * is no list of values lies in memory is not known here: such arrays are refused while memory is
 * cleared.
 */
static CUresult array_clear(CUarray array, CUmipmappedArray levelled,
			    const CUDA_ARRAY3D_DESCRIPTOR *wanted, unsigned int levels)
{
	CUDA_ARRAY3D_DESCRIPTOR shape = *wanted;
	CUresult result = CUDA_SUCCESS;
	unsigned int bytes = 0;

	if (wanted->Flags & WITHOUT_MEMORY)
		return CUDA_SUCCESS;
	if (array_format_known(wanted->Format))
		bytes = (unsigned int)element_bytes(wanted->Format) * wanted->NumChannels;
	for (unsigned int i = 0; i < levels && !result; i++) {
		if (levelled)
			result = real.cuMipmappedArrayGetLevel
					 ? real.cuMipmappedArrayGetLevel(&array, levelled, i)
					 : CUDA_ERROR_NOT_SUPPORTED;
		if (!result)
			result = memory_clear_array(array, &shape, bytes);
		shape_halve(&shape);
	}
	return result;
}

/* array_keep_clear - the new array on the books and without another's content, or gone again */
static CUresult array_keep_clear(CUarray array, const CUDA_ARRAY3D_DESCRIPTOR *shape,
				 uint64_t bytes)
{
	CUresult result = array_clear(array, NULL, shape, 1);

	if (!result && !array_keep(array, bytes))
		result = CUDA_ERROR_OUT_OF_MEMORY;
	if (result)
		real.cuArrayDestroy(array);
	return result;
}

static CUresult array_create_3d(CUarray *array, const CUDA_ARRAY3D_DESCRIPTOR *wanted)
{
	uint64_t bytes = array_bytes(wanted, 1);
	CUresult result = worker_memory_admit(bytes);

	if (!result)
		result = real.cuArray3DCreate_v2(array, wanted);
	return result ? result : array_keep_clear(*array, wanted, bytes);
}

static CUresult array_create(CUarray *array, const CUDA_ARRAY_DESCRIPTOR *wanted)
{
	const CUDA_ARRAY3D_DESCRIPTOR same = { .Width = wanted->Width,
					       .Height = wanted->Height,
					       .Format = wanted->Format,
					       .NumChannels = wanted->NumChannels };
	uint64_t bytes = array_bytes(&same, 1);
	CUresult result = worker_memory_admit(bytes);

	if (!result)
		result = real.cuArrayCreate_v2(array, wanted);
	return result ? result : array_keep_clear(*array, &same, bytes);
}

static CUresult array_create_mipmapped(CUmipmappedArray *array,
				       const CUDA_ARRAY3D_DESCRIPTOR *wanted, unsigned int levels)
{
	unsigned int there = levels_clamp(wanted, levels);
	uint64_t bytes = array_bytes(wanted, there);
	CUresult result = worker_memory_admit(bytes);

	if (!result)
		result = real.cuMipmappedArrayCreate(array, wanted, levels);
	if (result)
		return result;
	if (memory_clears())
		result = array_clear(NULL, *array, wanted, there);
	if (!result && !array_keep(*array, bytes))
		result = CUDA_ERROR_OUT_OF_MEMORY;
	if (result)
		real.cuMipmappedArrayDestroy(*array);
	return result;
}

/* Requests are in order, so that no other thread gets the same address for a new array meanwhile.
 */
static CUresult array_destroy(CUarray array)
{
	CUresult result = real.cuArrayDestroy(array);

	if (!result)
		held_drop(array);
	return result;
}

static CUresult array_destroy_mipmapped(CUmipmappedArray array)
{
	CUresult result = real.cuMipmappedArrayDestroy(array);

	if (!result)
		held_drop(array);
	return result;
}

CUresult graph_allocations(const struct cuda_driver *driver, CUgraph graph,
			   graph_allocation_fn *visit, void *argument)
{
	CUDA_MEM_ALLOC_NODE_PARAMS allocation;
	autofree CUgraphNode *nodes = NULL;
	CUgraphNodeType type;
	size_t count = 0;
	CUresult result = driver->cuGraphGetNodes(graph, NULL, &count);

	if (result || !count)
		return result;
	nodes = calloc(count, sizeof(*nodes));
	if (!nodes)
		return CUDA_ERROR_OUT_OF_MEMORY;
	result = driver->cuGraphGetNodes(graph, nodes, &count);
	for (size_t i = 0; i < count && !result; i++) {
		result = driver->cuGraphNodeGetType(nodes[i], &type);
		if (result || type != CU_GRAPH_NODE_TYPE_MEM_ALLOC)
			continue;
		result = driver->cuGraphMemAllocNodeGetParams(nodes[i], &allocation);
		if (!result)
			result = visit(nodes[i], &allocation, argument);
	}
	return result;
}

static CUresult add_bytes(CUgraphNode node, const CUDA_MEM_ALLOC_NODE_PARAMS *allocation,
			  void *argument)
{
	uint64_t *bytes = argument;

	(void)node;
	return __builtin_add_overflow(*bytes, allocation->bytesize, bytes)
		       ? CUDA_ERROR_OUT_OF_MEMORY
		       : CUDA_SUCCESS;
}

/* graph_admit - before a graph is instantiated; what it allocates will be cleared */
static CUresult graph_admit(CUgraph graph, uint64_t *bytes)
{
	CUresult result;

	*bytes = 0;
	result = graph_allocations(&real, graph, add_bytes, bytes);
	if (!result && *bytes)
		result = worker_memory_admit(*bytes);
	return result || !*bytes ? result : memory_clear_graph(graph);
}

/* graph_keep - the new executable graph on the books, or gone again */
static CUresult graph_keep(CUgraphExec exec, uint64_t bytes)
{
	if (!bytes || array_keep(exec, bytes))
		return CUDA_SUCCESS;
	real.cuGraphExecDestroy(exec);
	return CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult graph_instantiate(CUgraphExec *exec, CUgraph graph, unsigned long long flags)
{
	uint64_t bytes;
	CUresult result = graph_admit(graph, &bytes);

	if (!result)
		result = real.cuGraphInstantiateWithFlags(exec, graph, flags);
	return result ? result : graph_keep(*exec, bytes);
}

static CUresult graph_instantiate_with(CUgraphExec *exec, CUgraph graph,
				       CUDA_GRAPH_INSTANTIATE_PARAMS *parameters)
{
	uint64_t bytes;
	CUresult result = graph_admit(graph, &bytes);

	if (!result)
		result = real.cuGraphInstantiateWithParams(exec, graph, parameters);
	return result ? result : graph_keep(*exec, bytes);
}

static CUresult graph_destroy(CUgraphExec exec)
{
	CUresult result = real.cuGraphExecDestroy(exec);

	if (!result)
		held_drop(exec);
	return result;
}

void quota_arrays_open(struct cuda_driver *driver)
{
	if (!driver->cuCtxGetCurrent)
		return;
	real = *driver;
	WORKER_PUT(driver, cuArrayCreate_v2, array_create);
	WORKER_PUT(driver, cuArray3DCreate_v2, array_create_3d);
	WORKER_PUT(driver, cuMipmappedArrayCreate, array_create_mipmapped);
	WORKER_PUT(driver, cuArrayDestroy, array_destroy);
	WORKER_PUT(driver, cuMipmappedArrayDestroy, array_destroy_mipmapped);
	if (!driver->cuGraphGetNodes || !driver->cuGraphNodeGetType ||
	    !driver->cuGraphMemAllocNodeGetParams || !driver->cuGraphExecDestroy)
		return;
	WORKER_PUT(driver, cuGraphInstantiateWithFlags, graph_instantiate);
	WORKER_PUT(driver, cuGraphInstantiateWithParams, graph_instantiate_with);
	WORKER_PUT(driver, cuGraphExecDestroy, graph_destroy);
}
