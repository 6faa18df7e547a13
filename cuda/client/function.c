/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernels and functions: their facts came with the look-up, so questions are answered here.
 *
 * A function made from a kernel shares the kernel's facts. Attributes that the program sets go to
 * the worker, and what it answers replaces the fact.
 */
#include <stdlib.h>

#include "cuda/client/client.h"

struct client_object *client_function_object(CUfunction function)
{
	struct client_object *object = client_handle_object(function);

	return object && (object->kind == KIND_function || object->kind == KIND_kernel) ? object
											: NULL;
}

CUresult client_function_adopt(struct client_object *object, const char *name,
			       const struct cuda_wire_function *facts,
			       const struct cuda_wire_parameter *parameters)
{
	struct client_function *function;
	size_t bytes = facts->parameter_count * sizeof(*parameters);

	if (facts->parameter_count > CUDA_WIRE_PARAMETERS_MAX ||
	    facts->parameter_bytes > CUDA_WIRE_PARAMETER_BYTES_MAX)
		return CUDA_ERROR_UNKNOWN;
	for (uint32_t i = 0; i < facts->parameter_count; i++)
		if (parameters[i].bytes > facts->parameter_bytes ||
		    parameters[i].offset > facts->parameter_bytes - parameters[i].bytes)
			return CUDA_ERROR_UNKNOWN;
	function = calloc(1, sizeof(*function));
	if (!function)
		return CUDA_ERROR_OUT_OF_MEMORY;
	function->facts = *facts;
	function->name = strdup(name);
	function->parameters = malloc(bytes + 1);
	if (!function->name || !function->parameters) {
		free(function->name);
		free(function->parameters);
		free(function);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	memcpy(function->parameters, parameters, bytes);
	object->function = function;
	return CUDA_SUCCESS;
}

/* function_name_ask - the driver's name of a function, or an empty one */
static void function_name_ask(uint32_t number, char *name, size_t capacity)
{
	struct wire_function_name_request request = { .function = number };
	struct client_call call = { .number = CALL_function_name,
				    .flags = CLIENT_NO_CONTEXT,
				    .block = &request,
				    .block_bytes = sizeof(request),
				    .tail = name,
				    .tail_capacity = (uint32_t)capacity };

	memset(name, 0, capacity);
	if (client_call_run(&call))
		*name = 0;
	name[capacity - 1] = 0;
}

CUresult client_function_facts(struct client_object *object)
{
	char name[CUDA_WIRE_STRING_BYTES_MAX];
	struct wire_function_facts_request request = { .function = object->number };
	unsigned char *reply = malloc(CUDA_WIRE_REPLY_BYTES_MAX);
	struct client_call call = { .number = CALL_function_facts,
				    .block = &request,
				    .block_bytes = sizeof(request),
				    .tail = reply,
				    .tail_capacity = CUDA_WIRE_REPLY_BYTES_MAX };
	const struct cuda_wire_function *facts = (const void *)reply;
	CUresult result = reply ? client_call_run(&call) : CUDA_ERROR_OUT_OF_MEMORY;

	if (!result && (call.tail_bytes < sizeof(*facts) ||
			facts->parameter_count > (call.tail_bytes - sizeof(*facts)) /
							 sizeof(struct cuda_wire_parameter)))
		result = CUDA_ERROR_UNKNOWN;
	if (!result) {
		function_name_ask(object->number, name, sizeof(name));
		result = client_function_adopt(object, name, facts,
					       (const struct cuda_wire_parameter *)(facts + 1));
	}
	free(reply);
	return result;
}

/* function_known - attribute @attribute of @device is among the facts */
static bool function_known(const struct client_function *function, int attribute, int device)
{
	return function && attribute >= 0 &&
	       (unsigned int)attribute < CUDA_WIRE_FUNCTION_ATTRIBUTES &&
	       function->facts.device == device && (function->facts.known >> attribute & 1);
}

/* function_attribute - from the facts, or asked for where they do not have it */
static CUresult function_attribute(struct client_object *object, int attribute, int device,
				   int *value)
{
	struct client_function *function = object->function;

	if (!value)
		return CUDA_ERROR_INVALID_VALUE;
	if (function_known(function, attribute, device)) {
		*value = function->facts.attributes[attribute];
		return CUDA_SUCCESS;
	}
	return client_send_function_attribute_get(object->number, attribute, device, value);
}

static CUresult function_attribute_set(struct client_object *object, int attribute, int device,
				       int value)
{
	struct client_function *function = object->function;
	CUresult result;

	if (function_known(function, attribute, device) &&
	    function->facts.attributes[attribute] == value)
		return CUDA_SUCCESS;
	result = client_send_function_attribute_set(object->number, attribute, value, device);
	if (!result && function_known(function, attribute, device))
		function->facts.attributes[attribute] = value;
	return result;
}

static int function_device(void)
{
	struct client_object *context = client_context_current();

	return context ? context->context.device : 0;
}

CUresult client_cuFuncGetAttribute(int *pi, CUfunction_attribute attrib, CUfunction hfunc)
{
	struct client_object *object = client_function_object(hfunc);
	CUresult result = client_enter();

	if (result)
		return result;
	if (!object)
		return CUDA_ERROR_INVALID_HANDLE;
	return function_attribute(object, attrib, function_device(), pi);
}

CUresult client_cuFuncSetAttribute(CUfunction hfunc, CUfunction_attribute attrib, int value)
{
	struct client_object *object = client_function_object(hfunc);
	CUresult result = client_enter();

	if (result)
		return result;
	if (!object)
		return CUDA_ERROR_INVALID_HANDLE;
	return function_attribute_set(object, attrib, function_device(), value);
}

CUresult client_cuKernelGetAttribute(int *pi, CUfunction_attribute attrib, CUkernel kernel,
				     CUdevice dev)
{
	struct client_object *object = client_object_of(KIND_kernel, kernel);
	CUresult result = client_device_check(dev);

	if (result)
		return result;
	if (!object)
		return CUDA_ERROR_INVALID_HANDLE;
	return function_attribute(object, attrib, dev, pi);
}

CUresult client_cuKernelSetAttribute(CUfunction_attribute attrib, int val, CUkernel kernel,
				     CUdevice dev)
{
	struct client_object *object = client_object_of(KIND_kernel, kernel);
	CUresult result = client_device_check(dev);

	if (result)
		return result;
	if (!object)
		return CUDA_ERROR_INVALID_HANDLE;
	return function_attribute_set(object, attrib, dev, val);
}

static CUresult function_name(struct client_object *object, const char **name)
{
	CUresult result = client_enter();

	if (result)
		return result;
	if (!object || !object->function)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!name)
		return CUDA_ERROR_INVALID_VALUE;
	*name = object->function->name;
	return CUDA_SUCCESS;
}

CUresult client_cuFuncGetName(const char **name, CUfunction hfunc)
{
	return function_name(client_function_object(hfunc), name);
}

CUresult client_cuKernelGetName(const char **name, CUkernel hfunc)
{
	return function_name(client_object_of(KIND_kernel, hfunc), name);
}

static CUresult function_parameter(struct client_object *object, size_t index, size_t *offset,
				   size_t *bytes)
{
	CUresult result = client_enter();

	if (result)
		return result;
	if (!object || !object->function)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!offset || index >= object->function->facts.parameter_count)
		return CUDA_ERROR_INVALID_VALUE;
	*offset = object->function->parameters[index].offset;
	if (bytes)
		*bytes = object->function->parameters[index].bytes;
	return CUDA_SUCCESS;
}

CUresult client_cuFuncGetParamInfo(CUfunction func, size_t paramIndex, size_t *paramOffset,
				   size_t *paramSize)
{
	return function_parameter(client_function_object(func), paramIndex, paramOffset, paramSize);
}

CUresult client_cuKernelGetParamInfo(CUkernel kernel, size_t paramIndex, size_t *paramOffset,
				     size_t *paramSize)
{
	return function_parameter(client_object_of(KIND_kernel, kernel), paramIndex, paramOffset,
				  paramSize);
}

/* function_kernel_child - the function of @kernel in the current context, made once */
static CUresult function_of_kernel(struct client_object *kernel, struct client_object **function)
{
	CUresult result;

	*function = client_handle_child(kernel, KIND_function, NULL);
	if (*function)
		return CUDA_SUCCESS;
	result = client_handle_new(KIND_function, kernel->number, function);
	if (result)
		return result;
	(*function)->function = kernel->function;
	result = client_send_kernel_function(kernel->number, (*function)->number);
	if (result)
		client_handle_end(*function);
	return result;
}

CUresult client_cuKernelGetFunction(CUfunction *pFunc, CUkernel kernel)
{
	struct client_object *object = client_object_of(KIND_kernel, kernel), *function;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!object)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!pFunc)
		return CUDA_ERROR_INVALID_VALUE;
	if (!client_context_number())
		return CUDA_ERROR_INVALID_CONTEXT;
	result = function_of_kernel(object, &function);
	if (!result)
		*pFunc = client_handle_pointer(function);
	return result;
}

CUresult client_cuKernelGetLibrary(CUlibrary *pLib, CUkernel kernel)
{
	struct client_object *object = client_object_of(KIND_kernel, kernel);
	CUresult result = client_enter();

	if (result)
		return result;
	if (!object)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!pLib)
		return CUDA_ERROR_INVALID_VALUE;
	*pLib = client_handle_pointer(client_handle_at(object->parent));
	return CUDA_SUCCESS;
}

CUresult client_cuFuncGetModule(CUmodule *hmod, CUfunction hfunc)
{
	struct client_object *object = client_function_object(hfunc), *parent;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!object)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!hmod)
		return CUDA_ERROR_INVALID_VALUE;
	parent = client_handle_at(object->parent);
	if (parent && parent->kind == KIND_kernel)
		parent = client_handle_at(parent->parent);
	if (!parent)
		return CUDA_ERROR_INVALID_HANDLE;
	if (parent->kind == KIND_library)
		return client_cuLibraryGetModule(hmod, client_handle_pointer(parent));
	*hmod = client_handle_pointer(parent);
	return CUDA_SUCCESS;
}

/*
 * The block size that keeps most threads on a multiprocessor: CUDA computes it from the plain
 * occupancy call, and so does this, from the largest size downwards in warps.
 */
CUresult client_cuOccupancyMaxPotentialBlockSizeWithFlags(
	int *minGridSize, int *blockSize, CUfunction func,
	CUoccupancyB2DSize blockSizeToDynamicSMemSize, size_t dynamicSMemSize, int blockSizeLimit,
	unsigned int flags)
{
	struct client_object *context = client_context_current();
	int limit = 0, best = 0, best_threads = 0, best_blocks = 0, device, warp;
	CUresult result =
		client_cuFuncGetAttribute(&limit, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, func);

	if (result)
		return result;
	if (!minGridSize || !blockSize)
		return CUDA_ERROR_INVALID_VALUE;
	if (!context)
		return CUDA_ERROR_INVALID_CONTEXT;
	device = context->context.device;
	warp = client_device_attribute(device, CU_DEVICE_ATTRIBUTE_WARP_SIZE);
	if (blockSizeLimit > 0 && blockSizeLimit < limit)
		limit = blockSizeLimit;
	for (int size = (limit + warp - 1) / warp * warp; warp > 0 && size > 0; size -= warp) {
		int threads = size < limit ? size : limit, blocks = 0;
		size_t shared = blockSizeToDynamicSMemSize ? blockSizeToDynamicSMemSize(threads)
							   : dynamicSMemSize;

		result = client_cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
			&blocks, func, threads, shared, flags);
		if (result)
			return result;
		if (blocks * threads > best_threads) {
			best = threads;
			best_threads = blocks * threads;
			best_blocks = blocks;
		}
	}
	*blockSize = best;
	*minGridSize = best_blocks *
		       client_device_attribute(device, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
	return CUDA_SUCCESS;
}

CUresult client_cuOccupancyMaxPotentialBlockSize(int *minGridSize, int *blockSize, CUfunction func,
						 CUoccupancyB2DSize blockSizeToDynamicSMemSize,
						 size_t dynamicSMemSize, int blockSizeLimit)
{
	return client_cuOccupancyMaxPotentialBlockSizeWithFlags(minGridSize, blockSize, func,
								blockSizeToDynamicSMemSize,
								dynamicSMemSize, blockSizeLimit, 0);
}
