/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch: kernels on their way to the machine.
 *
 * Everything that can be wrong with a launch is answered at once, with CUDA's codes; parameters
 * are copied before the call returns; the grid itself runs in its stream. A fault of device code
 * is the context's failure from then on.
 */
#include <stdlib.h>
#include <string.h>

#include "cuda/front/front.h"
#include "cuda/softgpu/driver.h"
#include "cuda/softgpu/graph.h"
#include "lib/base/log.h"

struct launch {
	unsigned int grid[3];
	unsigned int block[3];
	unsigned int dynamic_shared_bytes;
	bool cooperative;
	void **parameters;
	void **extra;
};

struct launch_task {
	struct task task;
	const struct ptx_kernel *machine;
	struct ptx_launch run;
	_Alignas(16) unsigned char parameters[];
};

static CUresult fault_result(enum ptx_fault fault)
{
	switch (fault) {
	case PTX_FAULT_NONE:
	case PTX_FAULT_STOPPED: /* because the context has failed already */
		return CUDA_SUCCESS;
	case PTX_FAULT_ILLEGAL_ADDRESS:
		return CUDA_ERROR_ILLEGAL_ADDRESS;
	case PTX_FAULT_MISALIGNED_ADDRESS:
		return CUDA_ERROR_MISALIGNED_ADDRESS;
	case PTX_FAULT_ILLEGAL_INSTRUCTION:
		return CUDA_ERROR_ILLEGAL_INSTRUCTION;
	case PTX_FAULT_ASSERT:
		return CUDA_ERROR_ASSERT;
	case PTX_FAULT_STACK:
		return CUDA_ERROR_HARDWARE_STACK_ERROR;
	case PTX_FAULT_TRAP:
		break;
	}
	return CUDA_ERROR_LAUNCH_FAILED;
}

static CUresult run_launch(struct task *task)
{
	struct launch_task *launch = (struct launch_task *)task;
	int result;

	launch->run.stop = (const volatile int *)&task->context->failure;
	result = ptx_launch_run(launch->machine, &launch->run);
	if (result < 0) {
		log_error("a launch could not run: %s", strerror(-result));
		return CUDA_ERROR_LAUNCH_FAILED;
	}
	if (launch->run.fault != PTX_FAULT_NONE && launch->run.fault != PTX_FAULT_STOPPED)
		log_info("%s at address 0x%llx: %s",
			 front_result_text((int)fault_result(launch->run.fault)),
			 (unsigned long long)launch->run.fault_address, launch->run.fault_text);
	return fault_result(launch->run.fault);
}

/* ---- the gate ---- */

/* Grid and block against what any kernel may have. */
static bool shape_valid(const struct launch *launch)
{
	static const unsigned int grid_max[3] = { 2147483647, 65535, 65535 };
	static const unsigned int block_max[3] = { 1024, 1024, 64 };
	uint64_t threads = 1;

	for (int i = 0; i < 3; i++) {
		if (launch->grid[i] == 0 || launch->grid[i] > grid_max[i] ||
		    launch->block[i] == 0 || launch->block[i] > block_max[i])
			return false;
		threads *= launch->block[i];
	}
	return threads <= BLOCK_THREADS_MAX;
}

/* The same against what this kernel may have. */
static CUresult check_kernel(const struct function *function, const struct launch *launch)
{
	const struct ptx_kernel_facts *facts = function->facts;
	unsigned int threads = launch->block[0] * launch->block[1] * launch->block[2];

	for (int i = 0; i < 3 && facts->required_threads[0]; i++) {
		unsigned int required = facts->required_threads[i] ? facts->required_threads[i] : 1;

		if (launch->block[i] != required)
			return CUDA_ERROR_INVALID_VALUE;
	}
	if (occupancy_blocks(function, threads, 0) == 0)
		return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
	if (launch->dynamic_shared_bytes > function_dynamic_shared_max(function) ||
	    launch->dynamic_shared_bytes + facts->static_shared_bytes > BLOCK_SHARED_BYTES_MAX)
		return CUDA_ERROR_INVALID_VALUE;
	if (launch->cooperative &&
	    (uint64_t)launch->grid[0] * launch->grid[1] * launch->grid[2] >
		    (uint64_t)settings.processors *
			    (uint64_t)occupancy_blocks(function, threads,
						       launch->dynamic_shared_bytes))
		return CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE;
	return CUDA_SUCCESS;
}

/* The parameter block that @extra points to, instead of an array of pointers. */
static CUresult copy_extra(void **extra, unsigned char *block, size_t bytes)
{
	const void *from = NULL;
	size_t given = 0;

	for (size_t i = 0; extra[i] != CU_LAUNCH_PARAM_END; i += 2) {
		if (extra[i] == CU_LAUNCH_PARAM_BUFFER_POINTER)
			from = extra[i + 1];
		else if (extra[i] == CU_LAUNCH_PARAM_BUFFER_SIZE)
			given = *(size_t *)extra[i + 1];
		else
			return CUDA_ERROR_INVALID_VALUE;
	}
	if (given < bytes || (!from && bytes > 0))
		return CUDA_ERROR_INVALID_VALUE;
	if (bytes > 0)
		memcpy(block, from, bytes);
	return CUDA_SUCCESS;
}

static CUresult copy_parameters(const struct function *function, const struct launch *launch,
				unsigned char *block)
{
	const struct ptx_kernel_facts *facts = function->facts;

	if (launch->extra)
		return launch->parameters
			       ? CUDA_ERROR_INVALID_VALUE
			       : copy_extra(launch->extra, block, facts->parameter_bytes);
	if (facts->parameter_count > 0 && !launch->parameters)
		return CUDA_ERROR_INVALID_VALUE;
	for (size_t i = 0; i < facts->parameter_count; i++) {
		size_t offset;
		size_t bytes;

		if (!launch->parameters[i] ||
		    ptx_kernel_parameter(function->machine, i, &offset, &bytes) < 0)
			return CUDA_ERROR_INVALID_VALUE;
		memcpy(block + offset, launch->parameters[i], bytes);
	}
	return CUDA_SUCCESS;
}

static struct launch_task *launch_task_make(const struct function *function,
					    const struct launch *launch, struct context *context)
{
	struct launch_task *task = calloc(1, sizeof(*task) + function->facts->parameter_bytes);

	if (!task)
		return NULL;
	task->task.run = run_launch;
	task->task.context = context;
	task->machine = function->machine;
	memcpy(task->run.grid, launch->grid, sizeof(launch->grid));
	memcpy(task->run.block, launch->block, sizeof(launch->block));
	task->run.dynamic_shared_bytes = launch->dynamic_shared_bytes;
	task->run.parameters = task->parameters;
	task->run.cooperative = launch->cooperative;
	task->run.print = context_print;
	task->run.print_context = context;
	return task;
}

/* launch_check - all that can be wrong with it; *function is what it launches */
static CUresult launch_check(CUfunction handle, const struct launch *launch,
			     struct context *context, struct function **function)
{
	CUresult result = function_of(handle, context, function);

	if (result != CUDA_SUCCESS)
		return result;
	if ((*function)->module->context != context)
		return CUDA_ERROR_INVALID_HANDLE;
	return shape_valid(launch) ? check_kernel(*function, launch) : CUDA_ERROR_INVALID_VALUE;
}

/* code_charge - what a kernel's code takes of the device, at its first launch */
static CUresult code_charge(struct function *function)
{
	CUresult result;

	if (!settings.code_bytes || atomic_exchange(&function->charged, true))
		return CUDA_SUCCESS;
	result = memory_charge(function->module->context->device, settings.code_bytes);
	if (result != CUDA_SUCCESS)
		function->charged = false;
	return result;
}

/* body_pointers - a kernel's parameters one by one, behind the block that holds them */
static void body_pointers(struct body *body, const struct function *function)
{
	size_t count = function->facts->parameter_count;
	void **pointers = (void **)(void *)(body->block + body->block_bytes);

	for (size_t i = 0; i < count; i++) {
		size_t offset = 0, bytes;

		ptx_kernel_parameter(function->machine, i, &offset, &bytes);
		pointers[i] = body->block + offset;
	}
	pointers[count] = NULL;
	body->kernel.kernelParams = pointers;
	body->kernel.extra = NULL;
}

static struct launch launch_of(const CUDA_KERNEL_NODE_PARAMS *kernel, bool cooperative)
{
	return (struct launch){
		.grid = { kernel->gridDimX, kernel->gridDimY, kernel->gridDimZ },
		.block = { kernel->blockDimX, kernel->blockDimY, kernel->blockDimZ },
		.dynamic_shared_bytes = kernel->sharedMemBytes,
		.cooperative = cooperative,
		.parameters = kernel->kernelParams,
		.extra = kernel->extra,
	};
}

CUresult launch_body(struct body *body, CUfunction handle, struct context *context,
		     const CUDA_KERNEL_NODE_PARAMS *kernel, bool cooperative)
{
	const struct launch launch = launch_of(kernel, cooperative);
	struct function *function;
	CUresult result = launch_check(handle, &launch, context, &function);

	if (result != CUDA_SUCCESS)
		return result;
	body->block_bytes = (function->facts->parameter_bytes + 15) & ~(size_t)15;
	body->block = calloc(1, body->block_bytes +
					(function->facts->parameter_count + 1) * sizeof(void *));
	if (!body->block)
		return CUDA_ERROR_OUT_OF_MEMORY;
	result = copy_parameters(function, &launch, body->block);
	if (result != CUDA_SUCCESS)
		return result; /* the block goes with the body */
	body->type = CU_GRAPH_NODE_TYPE_KERNEL;
	body->context = context;
	body->cooperative = cooperative;
	body->kernel = *kernel;
	body_pointers(body, function);
	return CUDA_SUCCESS;
}

CUresult launch_body_run(const struct body *body, struct context *context)
{
	const CUDA_KERNEL_NODE_PARAMS *kernel = &body->kernel;
	const struct launch launch = launch_of(kernel, body->cooperative);
	struct launch_task *task;
	struct function *function;
	CUresult result = launch_check(kernel->func ? kernel->func : (CUfunction)kernel->kern,
				       &launch, body->context, &function);

	if (result == CUDA_SUCCESS)
		result = code_charge(function);
	if (result != CUDA_SUCCESS)
		return result;
	task = launch_task_make(function, &launch, context);
	if (!task)
		return CUDA_ERROR_OUT_OF_MEMORY;
	memcpy(task->parameters, body->block, function->facts->parameter_bytes);
	result = run_launch(&task->task);
	free(task);
	return result;
}

/* launch_capture - the launch as a node */
static CUresult launch_capture(struct stream *stream, CUfunction handle,
			       const struct launch *launch)
{
	struct body body = { .type = CU_GRAPH_NODE_TYPE_EMPTY };
	const CUDA_KERNEL_NODE_PARAMS kernel = {
		.func = handle,
		.gridDimX = launch->grid[0],
		.gridDimY = launch->grid[1],
		.gridDimZ = launch->grid[2],
		.blockDimX = launch->block[0],
		.blockDimY = launch->block[1],
		.blockDimZ = launch->block[2],
		.sharedMemBytes = launch->dynamic_shared_bytes,
		.kernelParams = launch->parameters,
		.extra = launch->extra,
	};
	CUresult result = launch_body(&body, handle, stream->context, &kernel, launch->cooperative);

	if (result == CUDA_SUCCESS)
		return capture_add(stream, &body);
	body_free(&body);
	return result;
}

static CUresult launch_submit(CUfunction handle, const struct launch *launch,
			      CUstream stream_handle)
{
	struct function *function;
	struct launch_task *task;
	struct stream *stream;
	CUresult result = stream_resolve(stream_handle, &stream);

	if (result != CUDA_SUCCESS)
		return result;
	if (capture_active(stream))
		return launch_capture(stream, handle, launch);
	result = launch_check(handle, launch, stream->context, &function);
	if (result == CUDA_SUCCESS)
		result = code_charge(function);
	if (result != CUDA_SUCCESS)
		return result;
	task = launch_task_make(function, launch, stream->context);
	if (!task)
		return CUDA_ERROR_OUT_OF_MEMORY;
	result = copy_parameters(function, launch, task->parameters);
	if (result != CUDA_SUCCESS) {
		free(task);
		return result;
	}
	return stream_submit(stream, &task->task, NULL, false);
}

/* ---- the driver's functions ---- */

CUresult cuLaunchKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY,
			unsigned int gridDimZ, unsigned int blockDimX, unsigned int blockDimY,
			unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream,
			void **kernelParams, void **extra)
{
	const struct launch launch = {
		.grid = { gridDimX, gridDimY, gridDimZ },
		.block = { blockDimX, blockDimY, blockDimZ },
		.dynamic_shared_bytes = sharedMemBytes,
		.parameters = kernelParams,
		.extra = extra,
	};

	return launch_submit(f, &launch, hStream);
}

CUresult cuLaunchCooperativeKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY,
				   unsigned int gridDimZ, unsigned int blockDimX,
				   unsigned int blockDimY, unsigned int blockDimZ,
				   unsigned int sharedMemBytes, CUstream hStream,
				   void **kernelParams)
{
	const struct launch launch = {
		.grid = { gridDimX, gridDimY, gridDimZ },
		.block = { blockDimX, blockDimY, blockDimZ },
		.dynamic_shared_bytes = sharedMemBytes,
		.cooperative = true,
		.parameters = kernelParams,
	};

	return launch_submit(f, &launch, hStream);
}

/* Attributes that ask for nothing we lack are taken; hints are taken and ignored. */
static CUresult read_attribute(const CUlaunchAttribute *attribute, struct launch *launch)
{
	const CUlaunchAttributeValue *value = &attribute->value;

	switch (attribute->id) {
	case CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
		launch->cooperative = value->cooperative != 0;
		return CUDA_SUCCESS;
	case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
	case CU_LAUNCH_ATTRIBUTE_PREFERRED_CLUSTER_DIMENSION:
		if (value->clusterDim.x > 1 || value->clusterDim.y > 1 || value->clusterDim.z > 1)
			return CUDA_ERROR_INVALID_CLUSTER_SIZE;
		return CUDA_SUCCESS;
	case CU_LAUNCH_ATTRIBUTE_IGNORE:
	case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
	case CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY:
	case CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
	case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION:
	case CU_LAUNCH_ATTRIBUTE_PRIORITY:
	case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP:
	case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN:
	case CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
		return CUDA_SUCCESS;
	default:
		return CUDA_ERROR_NOT_SUPPORTED;
	}
}

static CUresult launch_config(const CUlaunchConfig *config, CUfunction f, void **kernelParams,
			      void **extra, CUstream stream)
{
	struct launch launch = {
		.grid = { config->gridDimX, config->gridDimY, config->gridDimZ },
		.block = { config->blockDimX, config->blockDimY, config->blockDimZ },
		.dynamic_shared_bytes = config->sharedMemBytes,
		.parameters = kernelParams,
		.extra = extra,
	};

	if (config->numAttrs > 0 && !config->attrs)
		return CUDA_ERROR_INVALID_VALUE;
	for (unsigned int i = 0; i < config->numAttrs; i++) {
		CUresult result = read_attribute(&config->attrs[i], &launch);

		if (result != CUDA_SUCCESS)
			return result;
	}
	return launch_submit(f, &launch, stream);
}

CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction f, void **kernelParams,
			  void **extra)
{
	if (!config)
		return CUDA_ERROR_INVALID_VALUE;
	return launch_config(config, f, kernelParams, extra, config->hStream);
}

CUresult cuLaunchKernelEx_ptsz(const CUlaunchConfig *config, CUfunction f, void **kernelParams,
			       void **extra)
{
	if (!config)
		return CUDA_ERROR_INVALID_VALUE;
	return launch_config(config, f, kernelParams, extra,
			     config->hStream ? config->hStream : CU_STREAM_PER_THREAD);
}
