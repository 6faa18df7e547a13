/* SPDX-License-Identifier: Apache-2.0 */
/*
 * module: code in a context, and its functions.
 *
 * A module comes from cuModuleLoad* or is a library's in one context. Functions are made when they
 * are asked for and end with their module, which waits for all work of its context first.
 *
 * Locks: module_lock over modules, libraries and kernels. Parsing happens under it: one image at a
 * time. A function is immutable but for its atomic attributes, so launches take no lock.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/softgpu/driver.h"
#include "cuda/softgpu/image.h"
#include "lib/base/clean.h"
#include "lib/base/log.h"

pthread_mutex_t module_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- loading ---- */

CUresult image_options(unsigned int count, const CUjit_option *options, void **values,
		       struct image_log *log)
{
	*log = (struct image_log){ 0 };
	if (count > 0 && (!options || !values))
		return CUDA_ERROR_INVALID_VALUE;
	for (unsigned int i = 0; i < count; i++) {
		if (options[i] == CU_JIT_ERROR_LOG_BUFFER) {
			log->text = values[i];
		} else if (options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES) {
			log->bytes = (unsigned int)(uintptr_t)values[i];
			log->written = &values[i];
		} else if ((unsigned int)options[i] >= CU_JIT_NUM_OPTIONS) {
			return CUDA_ERROR_INVALID_VALUE;
		}
	}
	if (log->text && log->bytes > 0)
		log->text[0] = '\0';
	return CUDA_SUCCESS;
}

CUresult image_report(const struct image_log *log, CUresult result, const struct error *error)
{
	log_error("%s", error->text);
	if (log->text && log->bytes > 0) {
		size_t used = strnlen(error->text, log->bytes - 1);

		memcpy(log->text, error->text, used);
		log->text[used] = '\0';
		*log->written = (void *)(used + 1);
	}
	return result;
}

static CUresult load_result(int error)
{
	switch (error) {
	case -ENOENT:
		return CUDA_ERROR_NO_BINARY_FOR_GPU;
	case -ENOEXEC:
		return CUDA_ERROR_INVALID_PTX;
	default:
		return driver_result(error);
	}
}

CUresult module_create(struct context *context, const struct image *image, struct module **module,
		       struct error *error)
{
	struct module *made = object_create(OBJECT_MODULE);
	autofree char *text = NULL;
	size_t bytes;
	int result;

	if (!made) {
		error_set(error, -ENOMEM, "too many modules");
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	result = image_text(image, &text, &bytes, error);
	if (result == 0)
		result = ptx_module_load(text, bytes,
					 memory_for_machine(context ? context->device : 0),
					 &made->machine, error);
	if (result < 0) {
		object_destroy(OBJECT_MODULE, made);
		return load_result(result);
	}
	made->context = context;
	*module = made;
	return CUDA_SUCCESS;
}

/* The context's work is over: nothing runs in the module. */
void module_destroy(struct module *module)
{
	struct function *function = NULL;

	while ((function = object_next(OBJECT_FUNCTION, function))) {
		if (function->module != module)
			continue;
		if (function->charged)
			memory_discharge(module->context->device, settings.code_bytes);
		object_destroy(OBJECT_FUNCTION, function);
	}
	ptx_module_free(module->machine);
	object_destroy(OBJECT_MODULE, module);
}

void context_modules_unload(struct context *context)
{
	struct module *module = NULL;

	pthread_mutex_lock(&module_lock);
	while ((module = object_next(OBJECT_MODULE, module))) {
		if (module->context == context) {
			library_forget(module);
			module_destroy(module);
		}
	}
	pthread_mutex_unlock(&module_lock);
}

/* Takes the image, whatever the outcome. */
static CUresult module_load(int error_code, struct image *image, const struct image_log *log,
			    struct error *error, CUmodule *module)
{
	struct context *context;
	struct module *made;
	CUresult result = context_enter(&context);

	if (result == CUDA_SUCCESS && error_code < 0) {
		result = load_result(error_code);
		if (error_code == -ENOEXEC)
			result = CUDA_ERROR_INVALID_IMAGE;
		image_report(log, result, error);
	} else if (result == CUDA_SUCCESS) {
		pthread_mutex_lock(&module_lock);
		result = module_create(context, image, &made, error);
		pthread_mutex_unlock(&module_lock);
		if (result != CUDA_SUCCESS)
			image_report(log, result, error);
		else
			*module = (CUmodule)made;
	}
	image_free(image);
	return result;
}

CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned int numOptions,
			    CUjit_option *options, void **optionValues)
{
	struct image *copy = NULL;
	struct image_log log;
	struct error error = { 0 };
	struct context *context;
	CUresult result = context_enter(&context);
	int error_code;

	if (result != CUDA_SUCCESS)
		return result;
	if (!module || !image)
		return CUDA_ERROR_INVALID_VALUE;
	result = image_options(numOptions, options, optionValues, &log);
	if (result != CUDA_SUCCESS)
		return result;
	error_code = image_copy(image, &copy, &error);
	return module_load(error_code, copy, &log, &error, module);
}

CUresult cuModuleLoadData(CUmodule *module, const void *image)
{
	return cuModuleLoadDataEx(module, image, 0, NULL, NULL);
}

CUresult cuModuleLoadFatBinary(CUmodule *module, const void *fatCubin)
{
	return cuModuleLoadDataEx(module, fatCubin, 0, NULL, NULL);
}

CUresult cuModuleLoad(CUmodule *module, const char *fname)
{
	const struct image_log log = { 0 };
	struct image *image = NULL;
	struct error error = { 0 };
	struct context *context;
	CUresult result = context_enter(&context);
	int error_code;

	if (result != CUDA_SUCCESS)
		return result;
	if (!module || !fname)
		return CUDA_ERROR_INVALID_VALUE;
	error_code = image_read(fname, &image, &error);
	if (error_code == IMAGE_NO_FILE)
		return CUDA_ERROR_FILE_NOT_FOUND;
	return module_load(error_code, image, &log, &error, module);
}

/* The live module behind a handle of the current context or of any other. */
static CUresult module_of(CUmodule handle, struct module **module)
{
	struct context *context;
	CUresult result = context_enter(&context);

	if (result != CUDA_SUCCESS)
		return result;
	*module = (struct module *)handle;
	return object_valid(OBJECT_MODULE, handle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuModuleUnload(CUmodule hmod)
{
	struct module *module;
	CUresult result = module_of(hmod, &module);

	if (result != CUDA_SUCCESS)
		return result;
	context_drain(module->context);
	pthread_mutex_lock(&module_lock);
	if (!object_valid(OBJECT_MODULE, module) || module->library)
		result = CUDA_ERROR_INVALID_HANDLE; /* a library's ends with the library */
	else
		module_destroy(module);
	pthread_mutex_unlock(&module_lock);
	return result;
}

CUresult cuModuleGetLoadingMode(CUmoduleLoadingMode *mode)
{
	CUresult result = driver_ready();

	if (result == CUDA_SUCCESS && !mode)
		result = CUDA_ERROR_INVALID_VALUE;
	if (result == CUDA_SUCCESS)
		*mode = CU_MODULE_LAZY_LOADING;
	return result;
}

/* ---- what is in a module ---- */

static struct function *find_function(const struct module *module, const struct ptx_kernel *machine)
{
	struct function *function = NULL;

	while ((function = object_next(OBJECT_FUNCTION, function))) {
		if (function->module == module && function->machine == machine)
			return function;
	}
	return NULL;
}

CUresult module_function(struct module *module, const char *name, struct function **function)
{
	const struct ptx_kernel *machine = ptx_module_kernel(module->machine, name);

	if (!machine)
		return CUDA_ERROR_NOT_FOUND;
	*function = find_function(module, machine);
	if (*function)
		return CUDA_SUCCESS;
	*function = object_create(OBJECT_FUNCTION);
	if (!*function)
		return CUDA_ERROR_OUT_OF_MEMORY;
	(*function)->module = module;
	(*function)->machine = machine;
	(*function)->facts = ptx_kernel_facts(machine);
	(*function)->dynamic_shared_max = -1;
	(*function)->carveout = -1;
	return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction *hfunc, CUmodule hmod, const char *name)
{
	struct function *function;
	struct module *module;
	CUresult result = module_of(hmod, &module);

	if (result != CUDA_SUCCESS)
		return result;
	if (!hfunc || !name)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&module_lock);
	result = module_function(module, name, &function);
	pthread_mutex_unlock(&module_lock);
	if (result == CUDA_SUCCESS)
		*hfunc = (CUfunction)function;
	return result;
}

CUresult cuModuleGetFunctionCount(unsigned int *count, CUmodule mod)
{
	struct module *module;
	CUresult result = module_of(mod, &module);

	if (result == CUDA_SUCCESS && !count)
		result = CUDA_ERROR_INVALID_VALUE;
	if (result == CUDA_SUCCESS)
		*count = (unsigned int)ptx_module_kernel_count(module->machine);
	return result;
}

CUresult cuModuleGetGlobal_v2(CUdeviceptr *dptr, size_t *bytes, CUmodule hmod, const char *name)
{
	struct module *module;
	uint64_t address;
	size_t found;
	CUresult result = module_of(hmod, &module);

	if (result != CUDA_SUCCESS)
		return result;
	if (!name)
		return CUDA_ERROR_INVALID_VALUE;
	if (ptx_module_variable(module->machine, name, &address, &found) < 0)
		return CUDA_ERROR_NOT_FOUND;
	if (dptr)
		*dptr = address;
	if (bytes)
		*bytes = found;
	return CUDA_SUCCESS;
}

/* ---- functions ---- */

CUresult function_of(CUfunction handle, struct context *context, struct function **function)
{
	CUresult result;

	if (object_valid(OBJECT_FUNCTION, handle)) {
		*function = (struct function *)handle;
		return CUDA_SUCCESS;
	}
	/* Runtimes pass a CUkernel where a CUfunction is meant. */
	result = kernel_check(handle);
	if (result != CUDA_SUCCESS)
		return result;
	*function = ((struct kernel *)handle)->last;
	if (*function && object_valid(OBJECT_FUNCTION, *function) &&
	    (*function)->kernel == (struct kernel *)handle &&
	    (*function)->module->context == context)
		return CUDA_SUCCESS;
	pthread_mutex_lock(&module_lock);
	result = kernel_function((struct kernel *)handle, context, function);
	pthread_mutex_unlock(&module_lock);
	return result;
}

static CUresult function_enter(CUfunction handle, struct function **function)
{
	struct context *context;
	CUresult result = context_enter(&context);

	return result == CUDA_SUCCESS ? function_of(handle, context, function) : result;
}

size_t function_dynamic_shared_max(const struct function *function)
{
	size_t fixed = function->facts->static_shared_bytes;

	if (function->dynamic_shared_max >= 0)
		return (size_t)function->dynamic_shared_max;
	return fixed < BLOCK_SHARED_BYTES ? BLOCK_SHARED_BYTES - fixed : 0;
}

CUresult function_attribute(const struct function *function, CUfunction_attribute attribute,
			    int *value)
{
	const struct ptx_kernel_facts *facts = function->facts;

	switch (attribute) {
	case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
		*value = (int)facts->max_threads;
		return CUDA_SUCCESS;
	case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
		*value = (int)facts->static_shared_bytes;
		return CUDA_SUCCESS;
	case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
		*value = (int)facts->constant_bytes;
		return CUDA_SUCCESS;
	case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
		*value = (int)facts->local_bytes;
		return CUDA_SUCCESS;
	case CU_FUNC_ATTRIBUTE_NUM_REGS:
		*value = (int)facts->registers;
		return CUDA_SUCCESS;
	case CU_FUNC_ATTRIBUTE_PTX_VERSION:
		*value = (int)facts->target;
		return CUDA_SUCCESS;
	case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
		*value = CAPABILITY_MAJOR * 10 + CAPABILITY_MINOR;
		return CUDA_SUCCESS;
	case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
		*value = (int)function_dynamic_shared_max(function);
		return CUDA_SUCCESS;
	case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
		*value = function->carveout;
		return CUDA_SUCCESS;
	default:
		if ((int)attribute < 0 || attribute >= CU_FUNC_ATTRIBUTE_MAX)
			return CUDA_ERROR_INVALID_VALUE;
		*value = 0; /* cache mode and clusters */
		return CUDA_SUCCESS;
	}
}

CUresult attribute_value_valid(const struct ptx_kernel_facts *facts, CUfunction_attribute attribute,
			       int value)
{
	switch (attribute) {
	case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
		if (value < 0 ||
		    (size_t)value + facts->static_shared_bytes > BLOCK_SHARED_BYTES_MAX)
			return CUDA_ERROR_INVALID_VALUE;
		return CUDA_SUCCESS;
	case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
		return value >= -1 && value <= 100 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
}

CUresult cuFuncGetAttribute(int *pi, CUfunction_attribute attrib, CUfunction hfunc)
{
	struct function *function;
	CUresult result = function_enter(hfunc, &function);

	if (result == CUDA_SUCCESS && !pi)
		result = CUDA_ERROR_INVALID_VALUE;
	return result == CUDA_SUCCESS ? function_attribute(function, attrib, pi) : result;
}

CUresult cuFuncSetAttribute(CUfunction hfunc, CUfunction_attribute attrib, int value)
{
	struct function *function;
	CUresult result = function_enter(hfunc, &function);

	if (result == CUDA_SUCCESS)
		result = attribute_value_valid(function->facts, attrib, value);
	if (result != CUDA_SUCCESS)
		return result;
	if (attrib == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES)
		function->dynamic_shared_max = value;
	else
		function->carveout = value;
	return CUDA_SUCCESS;
}

CUresult cuFuncSetCacheConfig(CUfunction hfunc, CUfunc_cache config)
{
	struct function *function;
	CUresult result = function_enter(hfunc, &function);

	if (result == CUDA_SUCCESS && (unsigned int)config > CU_FUNC_CACHE_PREFER_EQUAL)
		result = CUDA_ERROR_INVALID_VALUE;
	return result;
}

CUresult cuFuncSetSharedMemConfig(CUfunction hfunc, CUsharedconfig config)
{
	struct function *function;
	CUresult result = function_enter(hfunc, &function);

	if (result == CUDA_SUCCESS &&
	    (unsigned int)config > CU_SHARED_MEM_CONFIG_EIGHT_BYTE_BANK_SIZE)
		result = CUDA_ERROR_INVALID_VALUE;
	return result;
}

CUresult cuFuncGetModule(CUmodule *hmod, CUfunction hfunc)
{
	struct function *function;
	CUresult result = function_enter(hfunc, &function);

	if (result == CUDA_SUCCESS && !hmod)
		result = CUDA_ERROR_INVALID_VALUE;
	if (result == CUDA_SUCCESS)
		*hmod = (CUmodule)function->module;
	return result;
}

CUresult cuFuncGetName(const char **name, CUfunction hfunc)
{
	struct function *function;
	CUresult result = function_enter(hfunc, &function);

	if (result == CUDA_SUCCESS && !name)
		result = CUDA_ERROR_INVALID_VALUE;
	if (result == CUDA_SUCCESS)
		*name = function->facts->name;
	return result;
}

CUresult cuFuncGetParamInfo(CUfunction func, size_t paramIndex, size_t *paramOffset,
			    size_t *paramSize)
{
	struct function *function;
	size_t offset;
	size_t bytes;
	CUresult result = function_enter(func, &function);

	if (result != CUDA_SUCCESS)
		return result;
	if (!paramOffset || ptx_kernel_parameter(function->machine, paramIndex, &offset, &bytes))
		return CUDA_ERROR_INVALID_VALUE;
	*paramOffset = offset;
	if (paramSize)
		*paramSize = bytes;
	return CUDA_SUCCESS;
}

CUresult cuFuncIsLoaded(CUfunctionLoadingState *state, CUfunction function)
{
	struct function *found;
	CUresult result = function_enter(function, &found);

	if (result == CUDA_SUCCESS && !state)
		result = CUDA_ERROR_INVALID_VALUE;
	if (result == CUDA_SUCCESS)
		*state = CU_FUNCTION_LOADING_STATE_LOADED;
	return result;
}

CUresult cuFuncLoad(CUfunction function)
{
	struct function *found;

	return function_enter(function, &found);
}
