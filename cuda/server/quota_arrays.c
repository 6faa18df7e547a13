/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arrays, and what graphs allocate, count against the limits as other memory does.
 *
 * The functions here take the driver's places in worker_driver, so that no request can forget to
 * count. What an array counts is what its elements take; the driver's own padding is not known
 * before it exists. Sparse arrays and such that are mapped later have no memory of their own. What
 * a graph's nodes allocate counts for each executable graph, from its instantiation to its end:
 * each may have all of it at once, at its first launch.
 *
 * arrays.lock guards the list, which has one record for each array that has memory.
 */
#include <stdlib.h>
#include <string.h>

#include "cuda/server/turn.h"
#include "cuda/server/worker.h"
#include "lib/base/clean.h"

#define WITHOUT_MEMORY 0xc0u /* CUDA_ARRAY3D_SPARSE, CUDA_ARRAY3D_DEFERRED_MAPPING */

struct array_record {
	struct array_record *next;
	void *array; /* a CUarray, CUmipmappedArray or CUgraphExec */
	CUcontext context;
	CUdevice device;
	uint64_t bytes;
};

static struct {
	pthread_mutex_t lock;
	struct array_record *first;
} arrays = { .lock = PTHREAD_MUTEX_INITIALIZER };

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

/* array_bytes - of all levels; UINT64_MAX where that is more than any device has */
static uint64_t array_bytes(const CUDA_ARRAY3D_DESCRIPTOR *array, unsigned int levels)
{
	uint64_t width = array->Width, height = array->Height, depth = array->Depth, sum = 0;
	uint64_t element = element_bytes(array->Format) * array->NumChannels;

	if (array->Flags & WITHOUT_MEMORY)
		return 0;
	for (unsigned int i = 0; i < levels; i++) {
		uint64_t bytes;

		if (__builtin_mul_overflow(width ? width : 1, height ? height : 1, &bytes) ||
		    __builtin_mul_overflow(bytes, depth ? depth : 1, &bytes) ||
		    __builtin_mul_overflow(bytes, element, &bytes) ||
		    __builtin_add_overflow(sum, bytes, &sum))
			return UINT64_MAX;
		width /= 2;
		height /= 2;
		/* Layers do not become fewer. */
		depth = array->Flags & 1 ? depth : depth / 2;
		if (!width && !height && !depth)
			break;
	}
	return sum;
}

/* array_keep - on the books; false without memory for the record */
static bool array_keep(void *array, uint64_t bytes)
{
	struct array_record *record = calloc(1, sizeof(*record));

	if (!record)
		return false;
	record->array = array;
	record->bytes = bytes;
	real.cuCtxGetCurrent(&record->context);
	real.cuCtxGetDevice(&record->device);
	pthread_mutex_lock(&arrays.lock);
	record->next = arrays.first;
	arrays.first = record;
	pthread_mutex_unlock(&arrays.lock);
	worker_memory_charge((int64_t)bytes);
	return true;
}

/* arrays_drop - those for which one of the three is theirs; unused ones are NULL, NULL, -1 */
static void arrays_drop(const void *array, CUcontext context, CUdevice device)
{
	struct array_record **at = &arrays.first, *record;
	uint64_t bytes = 0;

	pthread_mutex_lock(&arrays.lock);
	while ((record = *at)) {
		if ((array && record->array == array) || (context && record->context == context) ||
		    record->device == device) {
			*at = record->next;
			bytes += record->bytes;
			free(record);
		} else {
			at = &record->next;
		}
	}
	pthread_mutex_unlock(&arrays.lock);
	if (bytes)
		worker_memory_charge(-(int64_t)bytes);
}

/* array_keep_clear - the new array on the books and without another's content, or gone again */
static CUresult array_keep_clear(CUarray array, const CUDA_ARRAY3D_DESCRIPTOR *shape,
				 uint64_t bytes)
{
	bool plain = !(shape->Flags & WITHOUT_MEMORY) && array_format_known(shape->Format);
	CUresult result = CUDA_SUCCESS;

	if (plain)
		result = memory_clear_array(array, shape,
					    (unsigned int)element_bytes(shape->Format) *
						    shape->NumChannels);
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
	uint64_t bytes = array_bytes(wanted, levels);
	CUresult result = worker_memory_admit(bytes);

	if (!result)
		result = real.cuMipmappedArrayCreate(array, wanted, levels);
	if (result || array_keep(*array, bytes))
		return result;
	real.cuMipmappedArrayDestroy(*array);
	return CUDA_ERROR_OUT_OF_MEMORY;
}

/* Requests are in order, so that no other thread gets the same address for a new array meanwhile.
 */
static CUresult array_destroy(CUarray array)
{
	CUresult result = real.cuArrayDestroy(array);

	if (!result)
		arrays_drop(array, NULL, -1);
	return result;
}

static CUresult array_destroy_mipmapped(CUmipmappedArray array)
{
	CUresult result = real.cuMipmappedArrayDestroy(array);

	if (!result)
		arrays_drop(array, NULL, -1);
	return result;
}

/* graph_bytes - what the nodes of a graph allocate */
static CUresult graph_bytes(CUgraph graph, uint64_t *bytes)
{
	CUDA_MEM_ALLOC_NODE_PARAMS allocation;
	autofree CUgraphNode *nodes = NULL;
	CUgraphNodeType type;
	size_t count = 0;
	CUresult result = real.cuGraphGetNodes(graph, NULL, &count);

	*bytes = 0;
	if (result || !count)
		return result;
	nodes = calloc(count, sizeof(*nodes));
	if (!nodes)
		return CUDA_ERROR_OUT_OF_MEMORY;
	result = real.cuGraphGetNodes(graph, nodes, &count);
	for (size_t i = 0; i < count && !result; i++) {
		result = real.cuGraphNodeGetType(nodes[i], &type);
		if (result || type != CU_GRAPH_NODE_TYPE_MEM_ALLOC)
			continue;
		result = real.cuGraphMemAllocNodeGetParams(nodes[i], &allocation);
		if (!result && __builtin_add_overflow(*bytes, allocation.bytesize, bytes))
			return CUDA_ERROR_OUT_OF_MEMORY;
	}
	return result;
}

/* graph_admit - before a graph is instantiated */
static CUresult graph_admit(CUgraph graph, uint64_t *bytes)
{
	CUresult result = graph_bytes(graph, bytes);

	return result || !*bytes ? result : worker_memory_admit(*bytes);
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
		arrays_drop(exec, NULL, -1);
	return result;
}

static CUresult context_destroy(CUcontext context)
{
	CUresult result = real.cuCtxDestroy_v2(context);

	if (!result)
		arrays_drop(NULL, context, -1);
	return result;
}

static CUresult primary_reset(CUdevice device)
{
	CUresult result = real.cuDevicePrimaryCtxReset_v2(device);

	if (!result)
		arrays_drop(NULL, NULL, device);
	return result;
}

void quota_arrays_open(struct cuda_driver *driver)
{
	if (!driver->cuCtxGetCurrent || !driver->cuCtxGetDevice)
		return;
	real = *driver;
	WORKER_PUT(driver, cuArrayCreate_v2, array_create);
	WORKER_PUT(driver, cuArray3DCreate_v2, array_create_3d);
	WORKER_PUT(driver, cuMipmappedArrayCreate, array_create_mipmapped);
	WORKER_PUT(driver, cuArrayDestroy, array_destroy);
	WORKER_PUT(driver, cuMipmappedArrayDestroy, array_destroy_mipmapped);
	WORKER_PUT(driver, cuCtxDestroy_v2, context_destroy);
	WORKER_PUT(driver, cuDevicePrimaryCtxReset_v2, primary_reset);
	if (!driver->cuGraphGetNodes || !driver->cuGraphNodeGetType ||
	    !driver->cuGraphMemAllocNodeGetParams || !driver->cuGraphExecDestroy)
		return;
	WORKER_PUT(driver, cuGraphInstantiateWithFlags, graph_instantiate);
	WORKER_PUT(driver, cuGraphInstantiateWithParams, graph_instantiate_with);
	WORKER_PUT(driver, cuGraphExecDestroy, graph_destroy);
}
