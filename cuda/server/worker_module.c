/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Modules and libraries on the driver's side.
 *
 * An image is read whole, checked to be as long as it says, and given to the driver in the form
 * in which the program had it. A library's image is kept as long as the library: its kernels may
 * be loaded from it later.
 */
#include <stdlib.h>

#include "cuda/server/worker.h"
#include "lib/base/clean.h"

#define LOG_BYTES_MAX	   32768u
#define WRAPPER_MAGIC	   0x466243b1u
#define PRINT_SEARCH_BYTES (16u << 20)
#define FATBIN_MAGIC	   0xba55ed50u
#define KERNEL_NAMES_BYTES (WORKER_PAYLOAD_BYTES - 8)

/* How a runtime hands over a fat binary. */
struct image_wrapper {
	uint32_t magic;
	uint32_t version;
	const void *data;
	const void *reserved;
};

/* An image as read, with room for the wrapper before it. */
struct image {
	struct image_wrapper wrapper;
	uint64_t bytes;
	unsigned char data[] __attribute__((aligned(16)));
};

/* image_length_valid - a fat binary must not say that it is longer than what came */
static bool image_length_valid(const struct image *image)
{
	uint32_t magic = 0;
	uint16_t header_bytes;
	uint64_t bytes;

	if (image->bytes < 16)
		return false;
	memcpy(&magic, image->data, sizeof(magic));
	if (magic != FATBIN_MAGIC)
		return true;
	memcpy(&header_bytes, image->data + 6, sizeof(header_bytes));
	memcpy(&bytes, image->data + 8, sizeof(bytes));
	return header_bytes >= 16 && header_bytes <= image->bytes &&
	       bytes <= image->bytes - header_bytes;
}

static bool may_print; /* atomic; never taken back: it costs a driver call for each wait */

bool worker_may_print(void)
{
	return __atomic_load_n(&may_print, __ATOMIC_RELAXED);
}

/*
 * image_may_print - whether its kernels may print or fail an assertion
 *
 * They call functions of these names, which stand in PTX and in machine code. A large image, and
 * a fat binary, whose entries are mostly compressed, is not searched.
 */
static bool image_may_print(const struct image *image)
{
	static const char *const names[] = { "vprintf", "__assertfail" };
	uint32_t magic;

	memcpy(&magic, image->data, sizeof(magic));
	if (image->bytes > PRINT_SEARCH_BYTES || magic == FATBIN_MAGIC)
		return true;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (memmem(image->data, image->bytes, names[i], strlen(names[i])))
			return true;
	return false;
}

/* image_read - the request's bulk; *image is the caller's to free */
static CUresult image_read(struct worker_call *call, struct image **image)
{
	uint64_t bytes = call->bulk_left;
	struct image *made;
	CUresult result;

	if (!bytes || bytes > worker_options.image_limit)
		return CUDA_ERROR_INVALID_IMAGE;
	made = malloc(sizeof(*made) + bytes + 1);
	if (!made)
		return CUDA_ERROR_OUT_OF_MEMORY;
	made->bytes = bytes;
	made->data[bytes] = 0; /* text ends, whatever was sent */
	result = worker_bulk_take(call, made->data, bytes);
	if (result) {
		free(made);
		return result;
	}
	if (!image_length_valid(made)) {
		free(made);
		return CUDA_ERROR_INVALID_IMAGE;
	}
	if (!worker_may_print() && image_may_print(made))
		__atomic_store_n(&may_print, true, __ATOMIC_RELAXED);
	made->wrapper = (struct image_wrapper){ WRAPPER_MAGIC, 1, made->data, NULL };
	*image = made;
	return CUDA_SUCCESS;
}

CUresult worker_bulk_read(struct worker_call *call, void **data, uint64_t *bytes)
{
	CUresult result;

	*bytes = call->bulk_left;
	if (*bytes > worker_options.image_limit)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*data = malloc(*bytes + 1);
	if (!*data)
		return CUDA_ERROR_OUT_OF_MEMORY;
	((char *)*data)[*bytes] = 0;
	result = worker_bulk_take(call, *data, *bytes);
	if (result) {
		free(*data);
		*data = NULL;
	}
	return result;
}

static const void *image_form(const struct image *image, uint32_t form)
{
	return form == CUDA_WIRE_IMAGE_WRAPPED ? (const void *)&image->wrapper : image->data;
}

/* Plain numbers only; pointers are this side's own. */
CUresult worker_options_decode(struct worker_call *call, uint32_t count, uint32_t log_bytes,
			       struct worker_options_read *options)
{
	const struct cuda_wire_option *wire;

	if (count > WORKER_OPTIONS_MAX || log_bytes > LOG_BYTES_MAX)
		return worker_broken(call);
	wire = worker_tail(call, count, sizeof(*wire));
	if (!wire)
		return worker_broken(call);
	options->count = 0;
	for (uint32_t i = 0; i < count; i++) {
		switch (wire[i].option) {
		case CU_JIT_WALL_TIME:
		case CU_JIT_INFO_LOG_BUFFER:
		case CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES:
		case CU_JIT_ERROR_LOG_BUFFER:
		case CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES:
		case CU_JIT_GLOBAL_SYMBOL_NAMES:
		case CU_JIT_GLOBAL_SYMBOL_ADDRESSES:
		case CU_JIT_REFERENCED_KERNEL_NAMES:
		case CU_JIT_REFERENCED_VARIABLE_NAMES:
			return worker_broken(call);
		default:
			break;
		}
		options->names[options->count] = (CUjit_option)wire[i].option;
		options->values[options->count++] = (void *)(uintptr_t)wire[i].value;
	}
	if (log_bytes) {
		memset(call->reply, 0, log_bytes);
		options->names[options->count] = CU_JIT_ERROR_LOG_BUFFER;
		options->values[options->count++] = call->reply;
		options->names[options->count] = CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES;
		options->values[options->count++] = (void *)(uintptr_t)log_bytes;
	}
	return CUDA_SUCCESS;
}

/* The error log, if any, becomes the reply's tail. */
void worker_options_reply(struct worker_call *call, uint32_t log_bytes)
{
	size_t used = log_bytes ? strnlen((char *)call->reply, log_bytes - 1) : 0;

	if (!used)
		return;
	used = (used + 8) & ~(size_t)7;
	if (used <= (log_bytes & ~7u))
		call->reply_tail_bytes = used;
}

CUresult worker_module_load(struct worker_call *call,
			    const struct wire_module_load_request *request)
{
	struct worker_options_read options;
	struct image *image;
	CUmodule module;
	CUresult result;

	if (!worker_handle_free(call, request->module))
		return worker_broken(call);
	result = worker_options_decode(call, request->option_count, request->log_bytes, &options);
	if (result)
		return result;
	if (!worker_driver.cuModuleLoadDataEx)
		return CUDA_ERROR_NOT_SUPPORTED;
	result = image_read(call, &image);
	if (result)
		return result;
	worker_step_back(call);
	result = worker_driver.cuModuleLoadDataEx(&module, image_form(image, request->form),
						  options.count, options.names, options.values);
	free(image);
	worker_options_reply(call, request->log_bytes);
	if (result)
		return result;
	return worker_handle_set(call, KIND_module, request->module, module, call->request.context);
}

CUresult worker_library_load(struct worker_call *call,
			     const struct wire_library_load_request *request)
{
	CUlibraryOption preserved = CU_LIBRARY_BINARY_IS_PRESERVED;
	void *yes = (void *)(uintptr_t)1;
	struct worker_options_read options;
	struct image *image;
	CUlibrary library;
	CUresult result;

	if (!worker_handle_free(call, request->library))
		return worker_broken(call);
	result = worker_options_decode(call, request->option_count, request->log_bytes, &options);
	if (result)
		return result;
	if (!worker_driver.cuLibraryLoadData)
		return CUDA_ERROR_NOT_SUPPORTED;
	result = image_read(call, &image);
	if (result)
		return result;
	worker_step_back(call);
	result = worker_driver.cuLibraryLoadData(&library, image_form(image, request->form),
						 options.names, options.values, options.count,
						 &preserved, &yes, 1);
	worker_options_reply(call, request->log_bytes);
	if (!result)
		result = worker_handle_set(call, KIND_library, request->library, library, 0);
	if (result) {
		free(image);
		return result;
	}
	worker_handle_own(request->library, image);
	return CUDA_SUCCESS;
}

CUresult worker_module_unload(struct worker_call *call,
			      const struct wire_module_unload_request *request)
{
	CUmodule module;
	CUresult result = worker_handle_find(call, KIND_module, request->module, false, &module);

	if (result)
		return result;
	worker_handle_end(call, request->module);
	worker_range_forget(request->module);
	worker_step_back(call);
	return worker_driver.cuModuleUnload ? worker_driver.cuModuleUnload(module)
					    : CUDA_ERROR_NOT_SUPPORTED;
}

CUresult worker_library_unload(struct worker_call *call,
			       const struct wire_library_unload_request *request)
{
	CUlibrary library;
	CUresult result = worker_handle_find(call, KIND_library, request->library, false, &library);

	if (result)
		return result;
	/* The driver may look at the image, which ends with the handle, until the library is gone.
	 */
	worker_step_back(call);
	result = worker_driver.cuLibraryUnload ? worker_driver.cuLibraryUnload(library)
					       : CUDA_ERROR_NOT_SUPPORTED;
	worker_handle_end(call, request->library);
	worker_range_forget(request->library);
	return result;
}

CUresult worker_module_function(struct worker_call *call,
				const struct wire_module_function_request *request,
				const char *name)
{
	CUfunction function;
	CUmodule module;
	CUresult result = worker_handle_find(call, KIND_module, request->module, false, &module);

	if (result)
		return result;
	if (!worker_handle_free(call, request->function))
		return worker_broken(call);
	if (!worker_driver.cuModuleGetFunction)
		return CUDA_ERROR_NOT_SUPPORTED;
	result = worker_driver.cuModuleGetFunction(&function, module, name);
	if (!result)
		result = worker_handle_set(call, KIND_function, request->function, function,
					   request->module);
	if (result)
		return result;
	result = worker_function_describe(call, request->function, -1);
	if (result)
		worker_handle_end(call, request->function);
	return result;
}

CUresult worker_library_kernel(struct worker_call *call,
			       const struct wire_library_kernel_request *request, const char *name)
{
	CUlibrary library;
	CUkernel kernel;
	CUresult result = worker_handle_find(call, KIND_library, request->library, false, &library);

	if (result)
		return result;
	if (!worker_handle_free(call, request->kernel))
		return worker_broken(call);
	if (!worker_driver.cuLibraryGetKernel)
		return CUDA_ERROR_NOT_SUPPORTED;
	result = worker_driver.cuLibraryGetKernel(&kernel, library, name);
	if (!result)
		result = worker_handle_set(call, KIND_kernel, request->kernel, kernel,
					   request->library);
	if (result)
		return result;
	result = worker_function_describe(call, request->kernel, request->device);
	if (result)
		worker_handle_end(call, request->kernel);
	return result;
}

/* kernels_names - those from @first on into the reply, as many as there is room for */
static CUresult kernels_names(struct worker_call *call, const CUkernel *kernels, size_t count)
{
	size_t used = 0;

	for (size_t i = 0; i < count; i++) {
		const char *name;
		CUresult result = worker_driver.cuKernelGetName(&name, kernels[i]);
		size_t bytes = result ? 0 : strlen(name) + 1;

		if (result)
			return result;
		if (bytes > CUDA_WIRE_STRING_BYTES_MAX)
			return CUDA_ERROR_NOT_SUPPORTED; /* nor could it be asked for */
		if (used + bytes > KERNEL_NAMES_BYTES)
			break;
		memcpy(call->reply + used, name, bytes);
		used += bytes;
	}
	memset(call->reply + used, 0, 8); /* up to the next multiple */
	call->reply_tail_bytes = used;
	return CUDA_SUCCESS;
}

CUresult worker_library_kernels(struct worker_call *call,
				const struct wire_library_kernels_request *request)
{
	autofree CUkernel *kernels = NULL;
	unsigned int count = 0;
	CUlibrary library;
	CUresult result = worker_handle_find(call, KIND_library, request->library, false, &library);

	if (!result && (!worker_driver.cuLibraryGetKernelCount ||
			!worker_driver.cuLibraryEnumerateKernels || !worker_driver.cuKernelGetName))
		result = CUDA_ERROR_NOT_SUPPORTED;
	if (!result)
		result = worker_driver.cuLibraryGetKernelCount(&count, library);
	if (result || request->first >= count)
		return result;
	kernels = calloc(count, sizeof(CUkernel));
	if (!kernels)
		return CUDA_ERROR_OUT_OF_MEMORY;
	result = worker_driver.cuLibraryEnumerateKernels(kernels, count, library);
	return result ? result
		      : kernels_names(call, kernels + request->first, count - request->first);
}

/* variable_found - a variable's range may be copied to and from */
static CUresult variable_found(CUresult result, CUdeviceptr address, size_t bytes, uint32_t owner,
			       uint64_t *address_out, uint64_t *bytes_out)
{
	if (!result && bytes)
		result = worker_range_add(address, bytes, WORKER_RANGE_GLOBAL, owner);
	if (result)
		return result;
	*address_out = address;
	*bytes_out = bytes;
	return CUDA_SUCCESS;
}

CUresult worker_module_global(struct worker_call *call,
			      const struct wire_module_global_request *request, const char *name,
			      struct wire_module_global_reply *reply)
{
	CUdeviceptr address = 0;
	size_t bytes = 0;
	CUmodule module;
	CUresult result = worker_handle_find(call, KIND_module, request->module, false, &module);

	if (result)
		return result;
	if (!worker_driver.cuModuleGetGlobal_v2)
		return CUDA_ERROR_NOT_SUPPORTED;
	result = worker_driver.cuModuleGetGlobal_v2(&address, &bytes, module, name);
	return variable_found(result, address, bytes, request->module, &reply->address,
			      &reply->bytes);
}

CUresult worker_library_global(struct worker_call *call,
			       const struct wire_library_global_request *request, const char *name,
			       struct wire_library_global_reply *reply)
{
	CUdeviceptr address = 0;
	size_t bytes = 0;
	CUlibrary library;
	CUresult result = worker_handle_find(call, KIND_library, request->library, false, &library);

	if (result)
		return result;
	if (!worker_driver.cuLibraryGetGlobal)
		return CUDA_ERROR_NOT_SUPPORTED;
	result = worker_driver.cuLibraryGetGlobal(&address, &bytes, library, name);
	return variable_found(result, address, bytes, request->library, &reply->address,
			      &reply->bytes);
}

CUresult worker_library_module(struct worker_call *call,
			       const struct wire_library_module_request *request)
{
	CUlibrary library;
	CUmodule module;
	CUresult result = worker_handle_find(call, KIND_library, request->library, false, &library);

	if (result)
		return result;
	if (!worker_handle_free(call, request->module))
		return worker_broken(call);
	if (!worker_driver.cuLibraryGetModule)
		return CUDA_ERROR_NOT_SUPPORTED;
	result = worker_driver.cuLibraryGetModule(&module, library);
	if (result)
		return result;
	return worker_handle_set(call, KIND_module, request->module, module, request->library);
}

CUresult worker_module_functions(struct worker_call *call,
				 const struct wire_module_functions_request *request)
{
	CUfunction *functions;
	unsigned int count = 0;
	CUmodule module;
	CUresult result = worker_handle_find(call, KIND_module, request->module, false, &module);

	if (!result &&
	    (!worker_driver.cuModuleGetFunctionCount || !worker_driver.cuModuleEnumerateFunctions))
		result = CUDA_ERROR_NOT_SUPPORTED;
	if (!result)
		result = worker_driver.cuModuleGetFunctionCount(&count, module);
	if (result)
		return result;
	functions = worker_list(call, count, sizeof(*functions));
	if (!functions)
		return CUDA_ERROR_NOT_SUPPORTED;
	result = worker_driver.cuModuleEnumerateFunctions(functions, count, module);
	if (!result)
		result = worker_list_handles(call, KIND_function, request->module,
					     (void **)functions, count, count);
	free(functions);
	return result;
}
