/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Launches: gather the parameters by the layout that came with the kernel, check the geometry,
 * issue.
 *
 * A launch that passes the checks, or whose like the device has accepted, has no reply. One that
 * does not pass would fail in the driver as well; it is sent as launch_wait, so that the code the
 * program gets is the driver's own.
 */
#include <alloca.h>
#include <stdlib.h>

#include "cuda/client/client.h"

#define ATTRIBUTES_MAX 32u

/* launch_plausible - whether the driver should accept the geometry */
static bool launch_plausible(const struct wire_launch_request *launch,
			     const struct client_function *function, int device)
{
	const int32_t *limits = client.devices[device].attributes;
	const int32_t *attributes = function->facts.attributes;
	const uint32_t dimensions[6] = { launch->grid_x,  launch->grid_y,  launch->grid_z,
					 launch->block_x, launch->block_y, launch->block_z };
	static const int limit_of[6] = {
		CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X,  CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y,
		CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z,  CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X,
		CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y, CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z,
	};
	uint64_t threads;

	for (int i = 0; i < 6; i++)
		if (!dimensions[i] || dimensions[i] > (uint32_t)limits[limit_of[i]])
			return false;
	threads = (uint64_t)launch->block_x * launch->block_y * launch->block_z;
	return function->facts.device == device &&
	       threads <= (uint32_t)attributes[CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK] &&
	       launch->shared_bytes <=
		       (uint32_t)attributes[CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES];
}

CUresult client_launch_gather(const struct client_function *function, void **parameters,
			      void **extra, unsigned char *block)
{
	const struct cuda_wire_parameter *layout = function->parameters;
	const void *buffer = NULL;
	size_t bytes = 0;

	if (parameters) {
		for (uint32_t i = 0; i < function->facts.parameter_count; i++) {
			if (!parameters[i])
				return CUDA_ERROR_INVALID_VALUE;
			memcpy(block + layout[i].offset, parameters[i], layout[i].bytes);
		}
		return CUDA_SUCCESS;
	}
	for (int i = 0; extra && extra[i] != CU_LAUNCH_PARAM_END; i += 2) {
		if (extra[i] == CU_LAUNCH_PARAM_BUFFER_POINTER)
			buffer = extra[i + 1];
		else if (extra[i] == CU_LAUNCH_PARAM_BUFFER_SIZE && extra[i + 1])
			bytes = *(size_t *)extra[i + 1];
		else
			return CUDA_ERROR_INVALID_VALUE;
	}
	if (bytes < function->facts.parameter_bytes || (function->facts.parameter_bytes && !buffer))
		return CUDA_ERROR_INVALID_VALUE;
	if (function->facts.parameter_bytes)
		memcpy(block, buffer, function->facts.parameter_bytes);
	return CUDA_SUCCESS;
}

/* launch_attribute - one attribute for the wire; events become numbers */
static CUresult launch_attribute(const CUlaunchAttribute *from,
				 struct cuda_wire_launch_attribute *to)
{
	CUresult result = CUDA_SUCCESS;

	static_assert(sizeof(from->value) == sizeof(to->value), "an attribute's value");
	*to = (struct cuda_wire_launch_attribute){ .id = from->id };
	memcpy(to->value, &from->value, sizeof(to->value));
	switch (from->id) {
	case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT:
		result =
			client_number_event(from->value.programmaticEvent.event, false, &to->event);
		break;
	case CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT:
		result = client_number_event(from->value.launchCompletionEvent.event, false,
					     &to->event);
		break;
	case CU_LAUNCH_ATTRIBUTE_DEVICE_UPDATABLE_KERNEL_NODE:
		result = CUDA_ERROR_NOT_SUPPORTED;
		break;
	default:
		break;
	}
	if (to->event)
		memset(to->value, 0, sizeof(void *)); /* the pointer itself never travels */
	return result;
}

/* What a launch is made of, apart from its geometry in the request's block. */
struct launch {
	struct wire_launch_request request;
	struct cuda_wire_launch_attribute attributes[ATTRIBUTES_MAX];
	void **parameters;
	void **extra;
	bool ask; /* only the device knows whether it fits */
};

/* What decides whether a launch fits, for the answers that are remembered. */
struct launch_shape {
	uint64_t function; /* serial */
	uint64_t hash;	   /* of geometry and attributes */
};

static struct launch_shape launch_shape(const struct launch *launch, uint64_t function)
{
	struct launch_shape shape = { .function = function, .hash = 0xcbf29ce484222325u };
	struct wire_launch_request geometry = launch->request;
	const unsigned char *parts[2] = { (const unsigned char *)&geometry,
					  (const unsigned char *)launch->attributes };
	const size_t bytes[2] = { sizeof(geometry),
				  geometry.attribute_count * sizeof(launch->attributes[0]) };

	geometry.stream = 0;
	for (int i = 0; i < 2; i++)
		for (size_t at = 0; at < bytes[i]; at++)
			shape.hash = (shape.hash ^ parts[i][at]) * 0x100000001b3u;
	return shape;
}

/*
 * launch_asked - send a launch that only the device can judge, or one that it has accepted before
 *
 * Whether clusters fit and all blocks can be resident follows from the shape and the function's
 * attributes, so what was accepted once needs no second answer. A change of attributes forgets.
 */
static CUresult launch_asked(struct launch *launch, struct client_call *call, uint64_t function,
			     uint32_t context)
{
	struct launch_shape shape = launch_shape(launch, function);
	struct client_call remembered = { .number = CALL_launch_wait,
					  .block = &shape,
					  .block_bytes = sizeof(shape),
					  .reply = &shape }; /* of no bytes, but not NULL */
	CUresult result;

	if (client_cache_find(&remembered, context))
		return client_call_run(call);
	call->number = CALL_launch_wait;
	call->flags = 0;
	result = client_call_run(call);
	if (!result)
		client_cache_store(&remembered, context);
	return result;
}

/* launch_issue - with handles and facts looked up: check, gather, send */
static CUresult launch_issue(struct launch *launch, struct client_object *object,
			     struct client_object *context)
{
	const struct client_function *function = object->function;
	unsigned char *block = alloca(cuda_wire_pad(function->facts.parameter_bytes));
	struct client_call call = { .number = CALL_launch,
				    .flags = CLIENT_NO_REPLY,
				    .block = &launch->request,
				    .block_bytes = sizeof(launch->request) };
	CUresult result = client_launch_gather(function, launch->parameters, launch->extra, block);

	static_assert(sizeof(struct wire_launch_wait_request) == sizeof(launch->request) &&
			      offsetof(struct wire_launch_wait_request, attribute_count) ==
				      offsetof(struct wire_launch_request, attribute_count),
		      "the two launches are sent alike");
	if (result)
		return result;
	launch->request.parameter_bytes = function->facts.parameter_bytes;
	client_call_piece(&call, block, function->facts.parameter_bytes);
	if (launch->request.attribute_count)
		client_call_piece(&call, launch->attributes,
				  launch->request.attribute_count * sizeof(launch->attributes[0]));
	if (!launch_plausible(&launch->request, function, context->context.device)) {
		call.number = CALL_launch_wait;
		call.flags = 0;
	} else if (launch->ask) {
		return launch_asked(launch, &call, object->serial, context->number);
	}
	return client_call_run(&call);
}

/* launch_blocking - whether the program wants each launch to be over when it returns */
static bool launch_blocking(void)
{
	static int blocking = -1; /* atomic; -1: not asked yet */
	int answer = __atomic_load_n(&blocking, __ATOMIC_RELAXED);

	if (answer < 0) {
		const char *text = getenv("CUDA_LAUNCH_BLOCKING");

		answer = text && atoi(text) != 0;
		__atomic_store_n(&blocking, answer, __ATOMIC_RELAXED);
	}
	return answer;
}

CUresult client_launch_finish(CUstream handle, uint32_t stream)
{
	if (!launch_blocking() || client_capture_active(handle))
		return CUDA_SUCCESS;
	return client_send_stream_synchronize(stream);
}

static CUresult launch_run(struct launch *launch, CUfunction f, CUstream hStream)
{
	struct client_object *object, *context;
	CUresult result = client_enter();

	if (result)
		return result;
	context = client_context_current();
	if (!context)
		return CUDA_ERROR_INVALID_CONTEXT;
	object = client_function_object(f);
	if (!object || !object->function)
		return CUDA_ERROR_INVALID_HANDLE;
	launch->request.function = object->number;
	result = client_number_stream(hStream, true, &launch->request.stream);
	if (!result)
		result = launch_issue(launch, object, context);
	return result ? result : client_launch_finish(hStream, launch->request.stream);
}

CUresult client_cuLaunchKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY,
			       unsigned int gridDimZ, unsigned int blockDimX,
			       unsigned int blockDimY, unsigned int blockDimZ,
			       unsigned int sharedMemBytes, CUstream hStream, void **kernelParams,
			       void **extra)
{
	struct launch launch;

	launch.request = (struct wire_launch_request){
		.grid_x = gridDimX,
		.grid_y = gridDimY,
		.grid_z = gridDimZ,
		.block_x = blockDimX,
		.block_y = blockDimY,
		.block_z = blockDimZ,
		.shared_bytes = sharedMemBytes,
	};
	launch.parameters = kernelParams;
	launch.extra = extra;
	launch.ask = false;
	return launch_run(&launch, f, hStream);
}

CUresult client_cuLaunchCooperativeKernel(CUfunction f, unsigned int gridDimX,
					  unsigned int gridDimY, unsigned int gridDimZ,
					  unsigned int blockDimX, unsigned int blockDimY,
					  unsigned int blockDimZ, unsigned int sharedMemBytes,
					  CUstream hStream, void **kernelParams)
{
	struct launch launch;

	launch.request = (struct wire_launch_request){
		.grid_x = gridDimX,
		.grid_y = gridDimY,
		.grid_z = gridDimZ,
		.block_x = blockDimX,
		.block_y = blockDimY,
		.block_z = blockDimZ,
		.shared_bytes = sharedMemBytes,
		.cooperative = 1,
	};
	launch.parameters = kernelParams;
	launch.extra = NULL;
	launch.ask = true; /* all blocks must be resident */
	return launch_run(&launch, f, hStream);
}

/* launch_config - geometry and attributes of a configuration */
static CUresult launch_config(struct launch *launch, const CUlaunchConfig *config)
{
	if (!config || config->numAttrs > ATTRIBUTES_MAX || (config->numAttrs && !config->attrs))
		return CUDA_ERROR_INVALID_VALUE;
	launch->request = (struct wire_launch_request){
		.grid_x = config->gridDimX,
		.grid_y = config->gridDimY,
		.grid_z = config->gridDimZ,
		.block_x = config->blockDimX,
		.block_y = config->blockDimY,
		.block_z = config->blockDimZ,
		.shared_bytes = config->sharedMemBytes,
		.attribute_count = config->numAttrs,
	};
	launch->ask = false;
	for (unsigned int i = 0; i < config->numAttrs; i++) {
		CUresult result = launch_attribute(&config->attrs[i], &launch->attributes[i]);

		if (result)
			return result;
		if (config->attrs[i].id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE ||
		    config->attrs[i].id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION)
			launch->ask = true;
	}
	return CUDA_SUCCESS;
}

CUresult client_cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction f, void **kernelParams,
				 void **extra)
{
	struct launch launch;
	CUresult result = launch_config(&launch, config);

	if (result)
		return result;
	launch.parameters = kernelParams;
	launch.extra = extra;
	return launch_run(&launch, f, config->hStream);
}

/* launch_clusters - ask the device about a launch with clusters */
static CUresult launch_clusters(int *answer, CUfunction f, const CUlaunchConfig *config,
				uint32_t potential)
{
	struct client_object *object = client_function_object(f);
	struct wire_occupancy_clusters_request request = { .potential = potential };
	struct client_call call = { .number = CALL_occupancy_clusters,
				    .block = &request,
				    .block_bytes = sizeof(request) };
	struct launch launch;
	int64_t value = 0;
	CUresult result = client_enter();

	if (!result)
		result = launch_config(&launch, config);
	if (result)
		return result;
	if (!object)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!answer)
		return CUDA_ERROR_INVALID_VALUE;
	request.function = object->number;
	request.grid_x = launch.request.grid_x;
	request.grid_y = launch.request.grid_y;
	request.grid_z = launch.request.grid_z;
	request.block_x = launch.request.block_x;
	request.block_y = launch.request.block_y;
	request.block_z = launch.request.block_z;
	request.shared_bytes = launch.request.shared_bytes;
	request.attribute_count = launch.request.attribute_count;
	client_call_piece(&call, launch.attributes,
			  request.attribute_count * sizeof(launch.attributes[0]));
	call.tail = &value;
	call.tail_capacity = sizeof(value);
	result = client_call_run(&call);
	if (!result)
		*answer = (int)value;
	return result;
}

CUresult client_cuOccupancyMaxActiveClusters(int *numClusters, CUfunction func,
					     const CUlaunchConfig *config)
{
	return launch_clusters(numClusters, func, config, 0);
}

CUresult client_cuOccupancyMaxPotentialClusterSize(int *clusterSize, CUfunction func,
						   const CUlaunchConfig *config)
{
	return launch_clusters(clusterSize, func, config, 1);
}
