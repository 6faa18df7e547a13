/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Modules and libraries: images travel as they are, kernels and variables are looked up by name.
 *
 * What a look-up of a kernel brings (attributes, the layout of its parameters) stays with its
 * handle, so that a launch needs no answer. The same name in the same module is the same handle.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cuda/client/client.h"
#include "cuda/client/image.h"
#include "cuda/client/options.h"
#include "lib/base/clean.h"
#include "lib/base/io.h"

#define LOG_BYTES_MAX 32768u

CUresult client_options_read(struct client_options *options, unsigned int count,
			     const CUjit_option *names, void **values)
{
	options->count = 0;
	options->error_log = NULL;
	options->error_log_bytes = 0;
	options->error_log_size = NULL;
	if (count > CLIENT_OPTIONS_MAX || (count && (!names || !values)))
		return CUDA_ERROR_INVALID_VALUE;
	for (unsigned int i = 0; i < count; i++) {
		struct cuda_wire_option *option = &options->wire[options->count];

		switch (names[i]) {
		case CU_JIT_ERROR_LOG_BUFFER:
			options->error_log = values[i];
			continue;
		case CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES:
			options->error_log_size = &values[i];
			continue;
		case CU_JIT_INFO_LOG_BUFFER:
			if (values[i])
				*(char *)values[i] = 0;
			continue;
		case CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES:
		case CU_JIT_WALL_TIME:
		case CU_JIT_THREADS_PER_BLOCK:
			continue;
		case CU_JIT_GLOBAL_SYMBOL_NAMES:
		case CU_JIT_GLOBAL_SYMBOL_ADDRESSES:
			return CUDA_ERROR_NOT_SUPPORTED;
		default:
			break;
		}
		*option = (struct cuda_wire_option){ .option = (uint32_t)names[i],
						     .value = (uintptr_t)values[i] };
		options->count++;
	}
	if (options->error_log && options->error_log_size) {
		size_t capacity = (uintptr_t)*options->error_log_size;

		options->error_log_bytes =
			(uint32_t)(capacity < LOG_BYTES_MAX ? capacity : LOG_BYTES_MAX);
	}
	return CUDA_SUCCESS;
}

/* module_send - load @image as @number; module_load and library_load have the same layout */
static CUresult module_send(uint16_t request, uint32_t number, const void *image,
			    struct client_options *options)
{
	struct wire_module_load_request block = { .module = number };
	struct client_call call = { .number = request,
				    .block = &block,
				    .block_bytes = sizeof(block) };
	struct client_bulk bulk = { .rows = 1, .slices = 1 };
	struct client_image measured;
	CUresult result;

	static_assert(sizeof(struct wire_library_load_request) == sizeof(block) &&
			      offsetof(struct wire_library_load_request, log_bytes) ==
				      offsetof(struct wire_module_load_request, log_bytes),
		      "the two loads are sent alike");
	if (client_image_measure(image, &measured))
		return CUDA_ERROR_INVALID_IMAGE;
	if (request == CALL_library_load)
		call.flags = CLIENT_NO_CONTEXT;
	bulk.at = (unsigned char *)(uintptr_t)measured.at;
	bulk.width_bytes = measured.bytes;
	call.send = &bulk;
	block.form = measured.form;
	block.option_count = options->count;
	block.log_bytes = options->error_log_bytes;
	client_call_piece(&call, options->wire, options->count * sizeof(options->wire[0]));
	call.tail = options->error_log;
	call.tail_capacity = options->error_log_bytes;
	result = client_call_run(&call);
	if (options->error_log_bytes && !call.tail_bytes)
		*options->error_log = 0;
	if (options->error_log_size)
		*options->error_log_size = (void *)(uintptr_t)call.tail_bytes;
	return result;
}

CUresult client_cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned int numOptions,
				   CUjit_option *options, void **optionValues)
{
	struct client_object *made;
	struct client_options read;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!module || !image)
		return CUDA_ERROR_INVALID_VALUE;
	if (!client_context_number())
		return CUDA_ERROR_INVALID_CONTEXT;
	result = client_options_read(&read, numOptions, options, optionValues);
	if (!result)
		result = client_handle_new(KIND_module, client_context_number(), &made);
	if (result)
		return result;
	result = module_send(CALL_module_load, made->number, image, &read);
	if (result) {
		client_handle_end(made);
		return result;
	}
	*module = client_handle_pointer(made);
	return CUDA_SUCCESS;
}

CUresult client_cuModuleLoadData(CUmodule *module, const void *image)
{
	return client_cuModuleLoadDataEx(module, image, 0, NULL, NULL);
}

CUresult client_cuModuleLoadFatBinary(CUmodule *module, const void *fatCubin)
{
	return client_cuModuleLoadData(module, fatCubin);
}

CUresult client_file_read(const char *path, void **data, size_t *bytes)
{
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat facts;
	char *text;

	if (fd < 0 || fstat(fd, &facts) || !S_ISREG(facts.st_mode))
		return CUDA_ERROR_FILE_NOT_FOUND;
	text = malloc((size_t)facts.st_size + 1);
	if (!text)
		return CUDA_ERROR_OUT_OF_MEMORY;
	if (facts.st_size < 4 || io_read_full(fd, text, (size_t)facts.st_size)) {
		free(text);
		return CUDA_ERROR_INVALID_IMAGE;
	}
	text[facts.st_size] = 0;
	*data = text;
	*bytes = (size_t)facts.st_size;
	return CUDA_SUCCESS;
}

CUresult client_cuModuleLoad(CUmodule *module, const char *fname)
{
	autofree void *image = NULL;
	size_t bytes;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!module || !fname)
		return CUDA_ERROR_INVALID_VALUE;
	result = client_file_read(fname, &image, &bytes);
	return result ? result : client_cuModuleLoadData(module, image);
}

CUresult client_cuModuleEnumerateFunctions(CUfunction *functions, unsigned int numFunctions,
					   CUmodule mod)
{
	struct client_object *module = client_object_of(KIND_module, mod), *function;
	struct wire_module_functions_request request = { 0 };
	struct client_call call = { .number = CALL_module_functions,
				    .flags = CLIENT_NO_CONTEXT,
				    .block = &request,
				    .block_bytes = sizeof(request) };
	autofree unsigned char *tail = NULL;
	struct client_list list;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!module)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!functions || !numFunctions || numFunctions > CUDA_WIRE_LIST_MAX)
		return CUDA_ERROR_INVALID_VALUE;
	request.module = module->number;
	call.tail_capacity = client_list_bytes(CUDA_WIRE_LIST_MAX, sizeof(uint32_t));
	result = client_list_open(&call, &tail);
	if (!result)
		result = client_call_run(&call);
	if (result)
		return result;
	list = client_list_begin(&call, tail);
	if (numFunctions > call.tail_bytes / sizeof(uint32_t))
		numFunctions = call.tail_bytes / sizeof(uint32_t);
	result = client_list_handles(&list, KIND_function, module->number, (void **)functions,
				     numFunctions, numFunctions);
	for (unsigned int i = 0; i < numFunctions && !result; i++) {
		function = client_handle_object(functions[i]);
		if (!function->function)
			result = client_function_facts(function);
	}
	return result;
}

CUresult client_cuModuleUnload(CUmodule hmod)
{
	struct client_object *module = client_object_of(KIND_module, hmod);
	CUresult result = client_enter();
	uint32_t number;

	if (result)
		return result;
	if (!module)
		return CUDA_ERROR_INVALID_HANDLE;
	number = module->number;
	result = client_send_module_unload(number);
	client_range_forget(number);
	client_handle_end(module);
	return result;
}

CUresult client_cuModuleGetLoadingMode(CUmoduleLoadingMode *mode)
{
	if (!mode)
		return CUDA_ERROR_INVALID_VALUE;
	*mode = CU_MODULE_LAZY_LOADING;
	return CUDA_SUCCESS;
}

/* Room for a kernel's facts and its parameters as they travel. */
struct kernel_reply {
	struct cuda_wire_function facts;
	struct cuda_wire_parameter parameters[CUDA_WIRE_PARAMETERS_MAX];
};

/**
 * module_kernel - a kernel or function by name under @parent
 * @call: prepared apart from the name's piece and the tail
 *
 * On success *made has the facts that came; a failed look-up leaves no handle.
 */
static CUresult module_kernel(struct client_call *call, struct client_object *made,
			      const char *name)
{
	autofree struct kernel_reply *reply = malloc(sizeof(*reply));
	CUresult result = reply ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;

	if (!result) {
		client_call_piece(call, name, strlen(name) + 1);
		call->tail = reply;
		call->tail_capacity = sizeof(*reply);
		result = client_call_run(call);
	}
	if (!result &&
	    (call->tail_bytes < sizeof(reply->facts) ||
	     call->tail_bytes - sizeof(reply->facts) !=
		     (size_t)reply->facts.parameter_count * sizeof(reply->parameters[0])))
		result = CUDA_ERROR_UNKNOWN;
	if (!result)
		result = client_function_adopt(made, name, &reply->facts, reply->parameters);
	if (result)
		client_handle_end(made);
	return result;
}

CUresult client_cuModuleGetFunction(CUfunction *hfunc, CUmodule hmod, const char *name)
{
	struct client_object *module = client_object_of(KIND_module, hmod), *made;
	struct wire_module_function_request request = { 0 };
	struct client_call call = { .number = CALL_module_function,
				    .block = &request,
				    .block_bytes = sizeof(request) };
	CUresult result = client_enter();

	if (result)
		return result;
	if (!module)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!hfunc || !name || strlen(name) >= CUDA_WIRE_STRING_BYTES_MAX)
		return CUDA_ERROR_INVALID_VALUE;
	made = client_handle_child(module, KIND_function, name);
	if (!made) {
		result = client_handle_new(KIND_function, module->number, &made);
		if (result)
			return result;
		request.module = module->number;
		request.function = made->number;
		request.name_bytes = (uint32_t)strlen(name) + 1;
		result = module_kernel(&call, made, name);
	}
	if (!result)
		*hfunc = client_handle_pointer(made);
	return result;
}

CUresult client_cuLibraryGetKernel(CUkernel *pKernel, CUlibrary library, const char *name)
{
	struct client_object *parent = client_object_of(KIND_library, library), *made;
	struct client_object *context = client_context_current();
	struct wire_library_kernel_request request = { 0 };
	struct client_call call = { .number = CALL_library_kernel,
				    .flags = CLIENT_NO_CONTEXT,
				    .block = &request,
				    .block_bytes = sizeof(request) };
	CUresult result = client_enter();

	if (result)
		return result;
	if (!parent)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!pKernel || !name || strlen(name) >= CUDA_WIRE_STRING_BYTES_MAX)
		return CUDA_ERROR_INVALID_VALUE;
	made = client_handle_child(parent, KIND_kernel, name);
	if (!made) {
		result = client_handle_new(KIND_kernel, parent->number, &made);
		if (result)
			return result;
		request.library = parent->number;
		request.kernel = made->number;
		request.device = context ? context->context.device : 0;
		request.name_bytes = (uint32_t)strlen(name) + 1;
		result = module_kernel(&call, made, name);
	}
	if (!result)
		*pKernel = client_handle_pointer(made);
	return result;
}

/* library_names - names of kernels behind the first ones; *bytes: how long they are together */
static CUresult library_names(uint32_t library, unsigned int first, char *names, size_t *bytes)
{
	struct wire_library_kernels_request request = { .library = library, .first = first };
	struct client_call call = { .number = CALL_library_kernels,
				    .flags = CLIENT_NO_CONTEXT,
				    .block = &request,
				    .block_bytes = sizeof(request),
				    .tail = names,
				    .tail_capacity = CUDA_WIRE_REPLY_BYTES_MAX };
	CUresult result = client_call_run(&call);

	*bytes = call.tail_bytes;
	if (!result && *bytes && names[*bytes - 1])
		result = CUDA_ERROR_UNKNOWN; /* the last one does not end */
	return result;
}

/* Kernels by their names, so that a handle is the one that cuLibraryGetKernel gives. */
CUresult client_cuLibraryEnumerateKernels(CUkernel *kernels, unsigned int numKernels, CUlibrary lib)
{
	struct client_object *library = client_object_of(KIND_library, lib);
	autofree char *names = NULL;
	unsigned int count = 0;
	size_t bytes;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!library)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!kernels || !numKernels)
		return CUDA_ERROR_INVALID_VALUE;
	names = malloc(CUDA_WIRE_REPLY_BYTES_MAX);
	if (!names)
		return CUDA_ERROR_OUT_OF_MEMORY;
	do {
		result = library_names(library->number, count, names, &bytes);
		/* The rest of the last eight bytes are zeros: no name is empty. */
		for (size_t at = 0; at < bytes && names[at] && count < numKernels && !result;
		     at += strlen(names + at) + 1)
			result = client_cuLibraryGetKernel(&kernels[count++], lib, names + at);
	} while (bytes && count < numKernels && !result);
	return result;
}

static CUresult module_variable(CUresult result, uint32_t owner, uint64_t address, uint64_t bytes,
				CUdeviceptr *dptr, size_t *size)
{
	if (result)
		return result;
	client_range_global(address, bytes, owner);
	if (dptr)
		*dptr = address;
	if (size)
		*size = bytes;
	return CUDA_SUCCESS;
}

CUresult client_cuModuleGetGlobal_v2(CUdeviceptr *dptr, size_t *bytes, CUmodule hmod,
				     const char *name)
{
	struct client_object *module = client_object_of(KIND_module, hmod);
	uint64_t address = 0, size = 0;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!module)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!name)
		return CUDA_ERROR_INVALID_VALUE;
	result = client_send_module_global(module->number, name, &address, &size);
	return module_variable(result, module->number, address, size, dptr, bytes);
}

CUresult client_cuLibraryGetGlobal(CUdeviceptr *dptr, size_t *bytes, CUlibrary library,
				   const char *name)
{
	struct client_object *parent = client_object_of(KIND_library, library);
	uint64_t address = 0, size = 0;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!parent)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!name)
		return CUDA_ERROR_INVALID_VALUE;
	result = client_send_library_global(parent->number, name, &address, &size);
	return module_variable(result, parent->number, address, size, dptr, bytes);
}

/* A managed variable would be memory that both sides see; a library that has one cannot be used. */
CUresult client_cuLibraryGetManaged(CUdeviceptr *dptr, size_t *bytes, CUlibrary library,
				    const char *name)
{
	CUresult result = client_enter();

	(void)dptr;
	(void)bytes;
	if (result)
		return result;
	if (!client_object_of(KIND_library, library))
		return CUDA_ERROR_INVALID_HANDLE;
	return name ? CUDA_ERROR_NOT_FOUND : CUDA_ERROR_INVALID_VALUE;
}

CUresult client_cuLibraryGetUnifiedFunction(void **fptr, CUlibrary library, const char *symbol)
{
	CUresult result = client_enter();

	if (result)
		return result;
	if (!client_object_of(KIND_library, library))
		return CUDA_ERROR_INVALID_HANDLE;
	return fptr && symbol ? CUDA_ERROR_NOT_FOUND : CUDA_ERROR_INVALID_VALUE;
}

CUresult client_cuLibraryLoadData(CUlibrary *library, const void *code, CUjit_option *jitOptions,
				  void **jitOptionsValues, unsigned int numJitOptions,
				  CUlibraryOption *libraryOptions, void **libraryOptionValues,
				  unsigned int numLibraryOptions)
{
	struct client_object *made;
	struct client_options read;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!library || !code)
		return CUDA_ERROR_INVALID_VALUE;
	/* The worker keeps its own copy of the image, whatever the program does with this one. */
	(void)libraryOptionValues; /* that option has none */
	for (unsigned int i = 0; i < numLibraryOptions; i++)
		if (!libraryOptions || libraryOptions[i] != CU_LIBRARY_BINARY_IS_PRESERVED)
			return CUDA_ERROR_NOT_SUPPORTED;
	result = client_options_read(&read, numJitOptions, jitOptions, jitOptionsValues);
	if (!result)
		result = client_handle_new(KIND_library, 0, &made);
	if (result)
		return result;
	result = module_send(CALL_library_load, made->number, code, &read);
	if (result) {
		client_handle_end(made);
		return result;
	}
	*library = client_handle_pointer(made);
	return CUDA_SUCCESS;
}

CUresult client_cuLibraryLoadFromFile(CUlibrary *library, const char *fileName,
				      CUjit_option *jitOptions, void **jitOptionsValues,
				      unsigned int numJitOptions, CUlibraryOption *libraryOptions,
				      void **libraryOptionValues, unsigned int numLibraryOptions)
{
	autofree void *image = NULL;
	size_t bytes;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!library || !fileName)
		return CUDA_ERROR_INVALID_VALUE;
	result = client_file_read(fileName, &image, &bytes);
	if (result)
		return result;
	return client_cuLibraryLoadData(library, image, jitOptions, jitOptionsValues, numJitOptions,
					libraryOptions, libraryOptionValues, numLibraryOptions);
}

CUresult client_cuLibraryUnload(CUlibrary library)
{
	struct client_object *object = client_object_of(KIND_library, library);
	CUresult result = client_enter();
	uint32_t number;

	if (result)
		return result;
	if (!object)
		return CUDA_ERROR_INVALID_HANDLE;
	number = object->number;
	result = client_send_library_unload(number);
	client_range_forget(number);
	client_handle_end(object);
	return result;
}

CUresult client_cuLibraryGetModule(CUmodule *pMod, CUlibrary library)
{
	struct client_object *parent = client_object_of(KIND_library, library), *made;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!parent)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!pMod)
		return CUDA_ERROR_INVALID_VALUE;
	made = client_handle_child(parent, KIND_module, NULL);
	if (!made) {
		result = client_handle_new(KIND_module, parent->number, &made);
		if (result)
			return result;
		result = client_send_library_module(parent->number, made->number);
		if (result) {
			client_handle_end(made);
			return result;
		}
	}
	*pMod = client_handle_pointer(made);
	return CUDA_SUCCESS;
}
