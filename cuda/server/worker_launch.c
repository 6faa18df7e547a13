/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernels on the driver's side: their facts, their attributes, their launches.
 *
 * The layout of a kernel's parameters is asked of the driver once and kept with the handle; a
 * launch's parameter block must have exactly that size.
 */
#include <stdlib.h>

#include "cuda/server/turn.h"
#include "cuda/server/worker.h"

#define ATTRIBUTES_MAX 32u

/* What a launch needs; owned by the handle of a kernel or function. */
struct layout {
	bool launched; /* before; requests are executed in order */
	uint32_t count;
	uint32_t bytes;
	uint32_t offsets[];
};

/* function_is_kernel - the driver has two families of functions for the two kinds */
static bool function_is_kernel(struct worker_call *call, uint32_t number)
{
	void *real;

	return !worker_handle_find(call, KIND_kernel, number, false, &real);
}

static CUresult attribute_get(void *function, bool kernel, int attribute, int device, int *value)
{
	if (kernel)
		return worker_driver.cuKernelGetAttribute
			       ? worker_driver.cuKernelGetAttribute(
					 value, (CUfunction_attribute)attribute, function, device)
			       : CUDA_ERROR_NOT_SUPPORTED;
	return worker_driver.cuFuncGetAttribute
		       ? worker_driver.cuFuncGetAttribute(value, (CUfunction_attribute)attribute,
							  function)
		       : CUDA_ERROR_NOT_SUPPORTED;
}

static CUresult parameter_get(void *function, bool kernel, size_t index, size_t *offset,
			      size_t *bytes)
{
	if (kernel)
		return worker_driver.cuKernelGetParamInfo
			       ? worker_driver.cuKernelGetParamInfo(function, index, offset, bytes)
			       : CUDA_ERROR_NOT_SUPPORTED;
	return worker_driver.cuFuncGetParamInfo
		       ? worker_driver.cuFuncGetParamInfo(function, index, offset, bytes)
		       : CUDA_ERROR_NOT_SUPPORTED;
}

/* CUDA_ERROR_NOT_SUPPORTED from old drivers. */
CUresult worker_parameters_get(void *function, bool kernel, struct cuda_wire_function *facts,
			       struct cuda_wire_parameter *parameters)
{
	size_t offset, bytes;
	CUresult result;

	for (;;) {
		result = parameter_get(function, kernel, facts->parameter_count, &offset, &bytes);
		if (result == CUDA_ERROR_INVALID_VALUE)
			return CUDA_SUCCESS; /* past the last */
		if (result)
			return result;
		if (facts->parameter_count == CUDA_WIRE_PARAMETERS_MAX ||
		    offset > CUDA_WIRE_PARAMETER_BYTES_MAX ||
		    bytes > CUDA_WIRE_PARAMETER_BYTES_MAX - offset)
			return CUDA_ERROR_NOT_SUPPORTED;
		parameters[facts->parameter_count++] =
			(struct cuda_wire_parameter){ (uint32_t)offset, (uint32_t)bytes };
		if (offset + bytes > facts->parameter_bytes)
			facts->parameter_bytes = (uint32_t)(offset + bytes);
	}
}

/* layout_keep - what launches need, with the handle */
static CUresult layout_keep(uint32_t number, const struct cuda_wire_function *facts,
			    const struct cuda_wire_parameter *parameters)
{
	struct layout *layout =
		malloc(sizeof(*layout) + facts->parameter_count * sizeof(layout->offsets[0]));

	if (!layout)
		return CUDA_ERROR_OUT_OF_MEMORY;
	layout->launched = false;
	layout->count = facts->parameter_count;
	layout->bytes = facts->parameter_bytes;
	for (uint32_t i = 0; i < facts->parameter_count; i++)
		layout->offsets[i] = parameters[i].offset;
	worker_handle_own(number, layout);
	return CUDA_SUCCESS;
}

static int current_device(void)
{
	CUdevice device = 0;

	if (worker_driver.cuCtxGetDevice && worker_driver.cuCtxGetDevice(&device))
		device = 0;
	return device;
}

CUresult worker_function_describe(struct worker_call *call, uint32_t number, int device)
{
	struct cuda_wire_function *facts = (struct cuda_wire_function *)call->reply;
	struct cuda_wire_parameter *parameters = (struct cuda_wire_parameter *)(facts + 1);
	bool kernel = function_is_kernel(call, number);
	void *function;
	CUresult result = worker_handle_find(call, KIND_function, number, false, &function);

	static_assert(sizeof(*facts) + CUDA_WIRE_PARAMETERS_MAX * sizeof(*parameters) <=
			      WORKER_PAYLOAD_BYTES,
		      "facts fit into a reply");
	if (result)
		return result;
	memset(facts, 0, sizeof(*facts));
	facts->device = device < 0 ? current_device() : device;
	for (int i = 0; i < (int)CUDA_WIRE_FUNCTION_ATTRIBUTES; i++) {
		int value = 0;

		if (!attribute_get(function, kernel, i, facts->device, &value)) {
			facts->attributes[i] = value;
			facts->known |= 1u << i;
		}
	}
	result = worker_parameters_get(function, kernel, facts, parameters);
	if (!result)
		result = layout_keep(number, facts, parameters);
	if (result)
		return result;
	call->reply_tail_bytes = sizeof(*facts) + facts->parameter_count * sizeof(*parameters);
	return CUDA_SUCCESS;
}

const uint32_t *worker_launch_layout(uint32_t number, uint32_t *count, uint32_t *bytes)
{
	const struct layout *layout = worker_handle_owned(number);

	if (!layout)
		return NULL;
	*count = layout->count;
	*bytes = layout->bytes;
	return layout->offsets;
}

CUresult worker_function_facts(struct worker_call *call,
			       const struct wire_function_facts_request *request)
{
	return worker_function_describe(call, request->function, -1);
}

CUresult worker_function_name(struct worker_call *call,
			      const struct wire_function_name_request *request)
{
	bool kernel = function_is_kernel(call, request->function);
	const char *name = NULL;
	void *function;
	size_t bytes;
	CUresult result =
		worker_handle_find(call, KIND_function, request->function, false, &function);

	if (result)
		return result;
	if (kernel)
		result = worker_driver.cuKernelGetName
				 ? worker_driver.cuKernelGetName(&name, function)
				 : CUDA_ERROR_NOT_SUPPORTED;
	else
		result = worker_driver.cuFuncGetName ? worker_driver.cuFuncGetName(&name, function)
						     : CUDA_ERROR_NOT_SUPPORTED;
	if (result)
		return result;
	bytes = strnlen(name, CUDA_WIRE_STRING_BYTES_MAX - 1);
	memset(call->reply, 0, bytes + 8);
	memcpy(call->reply, name, bytes);
	call->reply_tail_bytes = bytes + 1;
	return CUDA_SUCCESS;
}

CUresult worker_kernel_function(struct worker_call *call,
				const struct wire_kernel_function_request *request)
{
	const struct layout *layout = worker_handle_owned(request->kernel);
	CUfunction function;
	struct layout *copy;
	CUkernel kernel;
	size_t bytes;
	CUresult result = worker_handle_find(call, KIND_kernel, request->kernel, false, &kernel);

	if (result)
		return result;
	if (!layout || !worker_handle_free(call, request->function))
		return worker_broken(call);
	if (!worker_driver.cuKernelGetFunction)
		return CUDA_ERROR_NOT_SUPPORTED;
	bytes = sizeof(*layout) + layout->count * sizeof(layout->offsets[0]);
	copy = malloc(bytes);
	if (!copy)
		return CUDA_ERROR_OUT_OF_MEMORY;
	memcpy(copy, layout, bytes);
	copy->launched = false;
	result = worker_driver.cuKernelGetFunction(&function, kernel);
	if (!result)
		result = worker_handle_set(call, KIND_function, request->function, function,
					   request->kernel);
	if (result) {
		free(copy);
		return result;
	}
	worker_handle_own(request->function, copy);
	return CUDA_SUCCESS;
}

CUresult worker_function_attribute_get(struct worker_call *call,
				       const struct wire_function_attribute_get_request *request,
				       struct wire_function_attribute_get_reply *reply)
{
	void *function;
	int value = 0;
	CUresult result =
		worker_handle_find(call, KIND_function, request->function, false, &function);

	if (!result)
		result = attribute_get(function, function_is_kernel(call, request->function),
				       request->attribute, request->device, &value);
	reply->value = value;
	return result;
}

CUresult worker_function_attribute_set(struct worker_call *call,
				       const struct wire_function_attribute_set_request *request)
{
	CUfunction_attribute attribute = (CUfunction_attribute)request->attribute;
	void *function;
	CUresult result =
		worker_handle_find(call, KIND_function, request->function, false, &function);

	if (result)
		return result;
	if (function_is_kernel(call, request->function))
		return worker_driver.cuKernelSetAttribute
			       ? worker_driver.cuKernelSetAttribute(attribute, request->value,
								    function, request->device)
			       : CUDA_ERROR_NOT_SUPPORTED;
	return worker_driver.cuFuncSetAttribute
		       ? worker_driver.cuFuncSetAttribute(function, attribute, request->value)
		       : CUDA_ERROR_NOT_SUPPORTED;
}

/* attributes_decode - from the tail; events by number */
static CUresult attributes_decode(struct worker_call *call, uint32_t count,
				  CUlaunchAttribute *attributes)
{
	const struct cuda_wire_launch_attribute *wire;

	if (count > ATTRIBUTES_MAX)
		return worker_broken(call);
	wire = worker_tail(call, count, sizeof(*wire));
	if (!wire)
		return worker_broken(call);
	for (uint32_t i = 0; i < count; i++) {
		CUresult result = CUDA_SUCCESS;
		CUevent event = NULL;

		memset(&attributes[i], 0, sizeof(attributes[i]));
		attributes[i].id = (CUlaunchAttributeID)wire[i].id;
		memcpy(&attributes[i].value, wire[i].value, sizeof(wire[i].value));
		switch (attributes[i].id) {
		case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT:
		case CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT:
			result = worker_handle_find(call, KIND_event, wire[i].event, false, &event);
			memcpy(&attributes[i].value, &event, sizeof(event));
			break;
		case CU_LAUNCH_ATTRIBUTE_DEVICE_UPDATABLE_KERNEL_NODE:
			return worker_broken(call);
		default:
			break;
		}
		if (result)
			return result;
	}
	return CUDA_SUCCESS;
}

/* launch_plain - as cuLaunchKernel or its cooperative form */
static CUresult launch_plain(const struct wire_launch_request *request, CUfunction function,
			     CUstream stream, void **parameters)
{
	if (request->cooperative)
		return worker_driver.cuLaunchCooperativeKernel
			       ? worker_driver.cuLaunchCooperativeKernel(
					 function, request->grid_x, request->grid_y,
					 request->grid_z, request->block_x, request->block_y,
					 request->block_z, request->shared_bytes, stream,
					 parameters)
			       : CUDA_ERROR_NOT_SUPPORTED;
	return worker_driver.cuLaunchKernel
		       ? worker_driver.cuLaunchKernel(
				 function, request->grid_x, request->grid_y, request->grid_z,
				 request->block_x, request->block_y, request->block_z,
				 request->shared_bytes, stream, parameters, NULL)
		       : CUDA_ERROR_NOT_SUPPORTED;
}

static CUlaunchConfig launch_config(const struct wire_launch_request *request, CUstream stream,
				    CUlaunchAttribute *attributes)
{
	return (CUlaunchConfig){
		.gridDimX = request->grid_x,
		.gridDimY = request->grid_y,
		.gridDimZ = request->grid_z,
		.blockDimX = request->block_x,
		.blockDimY = request->block_y,
		.blockDimZ = request->block_z,
		.sharedMemBytes = request->shared_bytes,
		.hStream = stream,
		.attrs = attributes,
		.numAttrs = request->attribute_count,
	};
}

/* launch_note - a kernel's first launch may have made the driver take more of the device */
static void launch_note(struct layout *layout)
{
	if (layout->launched)
		return;
	layout->launched = true;
	quota_follow();
}

CUresult worker_launch(struct worker_call *call, const struct wire_launch_request *request)
{
	struct layout *layout = worker_handle_owned(request->function);
	CUlaunchAttribute attributes[ATTRIBUTES_MAX];
	void *parameters[CUDA_WIRE_PARAMETERS_MAX];
	const unsigned char *block;
	CUlaunchConfig config;
	CUfunction function;
	CUstream stream;
	CUresult result =
		worker_handle_find(call, KIND_function, request->function, false, &function);

	if (!result)
		result = worker_handle_find(call, KIND_stream, request->stream, true, &stream);
	if (result)
		return result;
	if (!layout || request->parameter_bytes != layout->bytes)
		return worker_broken(call);
	block = worker_tail(call, request->parameter_bytes, 1);
	if (!block)
		return worker_broken(call);
	for (uint32_t i = 0; i < layout->count; i++)
		parameters[i] = (void *)(uintptr_t)(block + layout->offsets[i]);
	result = attributes_decode(call, request->attribute_count, attributes);
	if (result)
		return result;
	worker_step_back(call);
	if (!request->attribute_count) {
		result = launch_plain(request, function, stream, parameters);
	} else if (worker_driver.cuLaunchKernelEx) {
		config = launch_config(request, stream, attributes);
		result = worker_driver.cuLaunchKernelEx(&config, function, parameters, NULL);
	} else {
		result = CUDA_ERROR_NOT_SUPPORTED;
	}
	launch_note(layout);
	return result;
}

CUresult worker_launch_wait(struct worker_call *call,
			    const struct wire_launch_wait_request *request)
{
	struct wire_launch_request same;

	static_assert(sizeof(same) == sizeof(*request), "the two launches are sent alike");
	memcpy(&same, request, sizeof(same));
	return worker_launch(call, &same);
}

CUresult worker_occupancy_clusters(struct worker_call *call,
				   const struct wire_occupancy_clusters_request *request)
{
	CUlaunchAttribute attributes[ATTRIBUTES_MAX];
	struct wire_launch_request launch = {
		.grid_x = request->grid_x,
		.grid_y = request->grid_y,
		.grid_z = request->grid_z,
		.block_x = request->block_x,
		.block_y = request->block_y,
		.block_z = request->block_z,
		.shared_bytes = request->shared_bytes,
		.attribute_count = request->attribute_count,
	};
	CUlaunchConfig config;
	CUfunction function;
	int answer = 0;
	CUresult result =
		worker_handle_find(call, KIND_function, request->function, false, &function);

	if (!result)
		result = attributes_decode(call, request->attribute_count, attributes);
	if (result)
		return result;
	config = launch_config(&launch, NULL, attributes);
	if (request->potential)
		result = worker_driver.cuOccupancyMaxPotentialClusterSize
				 ? worker_driver.cuOccupancyMaxPotentialClusterSize(
					   &answer, function, &config)
				 : CUDA_ERROR_NOT_SUPPORTED;
	else
		result = worker_driver.cuOccupancyMaxActiveClusters
				 ? worker_driver.cuOccupancyMaxActiveClusters(&answer, function,
									      &config)
				 : CUDA_ERROR_NOT_SUPPORTED;
	if (!result) {
		int64_t wide = answer;

		memcpy(call->reply, &wide, sizeof(wide));
		call->reply_tail_bytes = sizeof(wide);
	}
	return result;
}
