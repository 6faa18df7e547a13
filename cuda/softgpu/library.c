/* SPDX-License-Identifier: Apache-2.0 */
/*
 * library: code that belongs to no context. A library keeps the image a program gave and becomes a
 * module in each context in which something of it is asked for; a kernel is a name in a library,
 * and a function in each of those modules.
 *
 * So the container is checked when it is loaded and the PTX when it is first needed: a runtime
 * loads all of a program's images at its first call, used or not. Locks: module_lock.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/softgpu/driver.h"
#include "cuda/softgpu/image.h"

/* ---- a library's modules ---- */

static CUresult library_module(struct library *library, struct context *context,
			       struct module **module)
{
	const struct image_log nowhere = { 0 };
	struct error error = { 0 };
	CUresult result;

	for (*module = library->modules; *module; *module = (*module)->next) {
		if ((*module)->context == context)
			return CUDA_SUCCESS;
	}
	if (library->refused)
		return library->refused;
	result = module_create(context, library->image, module, &error);
	if (result == CUDA_SUCCESS) {
		(*module)->library = library;
		(*module)->next = library->modules;
		library->modules = *module;
		return CUDA_SUCCESS;
	}
	if (result != CUDA_ERROR_OUT_OF_MEMORY)
		library->refused = result; /* said once; it will not parse the next time either */
	return image_report(&nowhere, result, &error);
}

void library_forget(struct module *module)
{
	struct module **link;

	if (!module->library)
		return;
	link = &module->library->modules;
	while (*link && *link != module)
		link = &(*link)->next;
	if (*link)
		*link = module->next;
}

CUresult kernel_function(struct kernel *kernel, struct context *context, struct function **function)
{
	struct module *module;
	CUresult result = library_module(kernel->library, context, &module);

	if (result == CUDA_SUCCESS)
		result = module_function(module, kernel->name, function);
	if (result != CUDA_SUCCESS)
		return result;
	if (!(*function)->kernel) {
		(*function)->kernel = kernel;
		(*function)->dynamic_shared_max = kernel->dynamic_shared_max;
		(*function)->carveout = kernel->carveout;
	}
	kernel->last = *function;
	return CUDA_SUCCESS;
}

/* ---- loading ---- */

static CUresult library_make(int error_code, struct image *image, const struct image_log *log,
			     const struct error *error, CUlibrary *handle)
{
	struct library *library;

	if (error_code < 0)
		return image_report(log,
				    error_code == -ENOENT   ? CUDA_ERROR_NO_BINARY_FOR_GPU
				    : error_code == -ENOMEM ? CUDA_ERROR_OUT_OF_MEMORY
							    : CUDA_ERROR_INVALID_IMAGE,
				    error);
	library = object_create(OBJECT_LIBRARY);
	if (!library) {
		image_free(image);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	library->image = image;
	*handle = (CUlibrary)library;
	return CUDA_SUCCESS;
}

CUresult cuLibraryLoadData(CUlibrary *library, const void *code, CUjit_option *jitOptions,
			   void **jitOptionsValues, unsigned int numJitOptions,
			   CUlibraryOption *libraryOptions, void **libraryOptionValues,
			   unsigned int numLibraryOptions)
{
	struct image *image = NULL;
	struct error error = { 0 };
	struct image_log log;
	CUresult result = driver_ready();
	int error_code;

	(void)libraryOptions; /* neither changes what we do: the image is copied */
	(void)libraryOptionValues;
	(void)numLibraryOptions;
	if (result != CUDA_SUCCESS)
		return result;
	if (!library || !code)
		return CUDA_ERROR_INVALID_VALUE;
	result = image_options(numJitOptions, jitOptions, jitOptionsValues, &log);
	if (result != CUDA_SUCCESS)
		return result;
	error_code = image_copy(code, &image, &error);
	return library_make(error_code, image, &log, &error, library);
}

CUresult cuLibraryLoadFromFile(CUlibrary *library, const char *fileName, CUjit_option *jitOptions,
			       void **jitOptionsValues, unsigned int numJitOptions,
			       CUlibraryOption *libraryOptions, void **libraryOptionValues,
			       unsigned int numLibraryOptions)
{
	struct image *image = NULL;
	struct error error = { 0 };
	struct image_log log;
	CUresult result = driver_ready();
	int error_code;

	(void)libraryOptions;
	(void)libraryOptionValues;
	(void)numLibraryOptions;
	if (result != CUDA_SUCCESS)
		return result;
	if (!library || !fileName)
		return CUDA_ERROR_INVALID_VALUE;
	result = image_options(numJitOptions, jitOptions, jitOptionsValues, &log);
	if (result != CUDA_SUCCESS)
		return result;
	error_code = image_read(fileName, &image, &error);
	if (error_code == IMAGE_NO_FILE)
		return CUDA_ERROR_FILE_NOT_FOUND;
	return library_make(error_code, image, &log, &error, library);
}

static CUresult library_of(CUlibrary handle, struct library **library)
{
	CUresult result = driver_ready();

	if (result != CUDA_SUCCESS)
		return result;
	*library = (struct library *)handle;
	return object_valid(OBJECT_LIBRARY, handle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuLibraryUnload(CUlibrary library)
{
	struct kernel *kernel = NULL;
	struct library *ended;
	CUresult result = library_of(library, &ended);

	if (result != CUDA_SUCCESS)
		return result;
	streams_drain_all();
	pthread_mutex_lock(&module_lock);
	while (ended->modules) {
		struct module *module = ended->modules;

		ended->modules = module->next;
		module_destroy(module);
	}
	while ((kernel = object_next(OBJECT_KERNEL, kernel))) {
		if (kernel->library == ended) {
			free(kernel->name);
			object_destroy(OBJECT_KERNEL, kernel);
		}
	}
	image_free(ended->image);
	object_destroy(OBJECT_LIBRARY, ended);
	pthread_mutex_unlock(&module_lock);
	return CUDA_SUCCESS;
}

/* ---- what is in a library ---- */

/* The library's module in the current context. Caller holds module_lock. */
static CUresult library_here(struct library *library, struct module **module)
{
	struct context *context;
	CUresult result = context_enter(&context);

	return result == CUDA_SUCCESS ? library_module(library, context, module) : result;
}

/*
 * Any module of the library, for what is the same in all of them: names and facts. Runtimes ask
 * before they make a context current, so where there is none yet the library is parsed for the
 * primary context that is about to be used, or else for none at all. Caller holds module_lock.
 */
static CUresult library_anywhere(struct library *library, struct module **module)
{
	*module = library->modules;
	return *module ? CUDA_SUCCESS : library_module(library, context_primary_active(0), module);
}

static struct kernel *find_kernel(const struct library *library, const char *name)
{
	struct kernel *kernel = NULL;

	while ((kernel = object_next(OBJECT_KERNEL, kernel))) {
		if (kernel->library == library && strcmp(kernel->name, name) == 0)
			return kernel;
	}
	return NULL;
}

/* Caller holds module_lock. */
static CUresult kernel_make(struct library *library, const char *name, struct kernel **kernel)
{
	struct function *function;
	struct module *module;
	CUresult result = library_anywhere(library, &module);

	if (result == CUDA_SUCCESS)
		result = module_function(module, name, &function);
	if (result != CUDA_SUCCESS)
		return result;
	*kernel = object_create(OBJECT_KERNEL);
	if (!*kernel)
		return CUDA_ERROR_OUT_OF_MEMORY;
	(*kernel)->name = strdup(name);
	if (!(*kernel)->name) {
		object_destroy(OBJECT_KERNEL, *kernel);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	(*kernel)->library = library;
	(*kernel)->dynamic_shared_max = -1;
	(*kernel)->carveout = -1;
	return CUDA_SUCCESS;
}

CUresult cuLibraryGetKernel(CUkernel *pKernel, CUlibrary library, const char *name)
{
	struct library *from;
	struct kernel *kernel;
	CUresult result = library_of(library, &from);

	if (result != CUDA_SUCCESS)
		return result;
	if (!pKernel || !name)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&module_lock);
	kernel = find_kernel(from, name);
	if (!kernel)
		result = kernel_make(from, name, &kernel);
	pthread_mutex_unlock(&module_lock);
	if (result == CUDA_SUCCESS)
		*pKernel = (CUkernel)kernel;
	return result;
}

CUresult cuLibraryGetModule(CUmodule *pMod, CUlibrary library)
{
	struct library *from;
	struct module *module;
	CUresult result = library_of(library, &from);

	if (result != CUDA_SUCCESS)
		return result;
	if (!pMod)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&module_lock);
	result = library_here(from, &module);
	pthread_mutex_unlock(&module_lock);
	if (result == CUDA_SUCCESS)
		*pMod = (CUmodule)module;
	return result;
}

CUresult cuLibraryGetKernelCount(unsigned int *count, CUlibrary lib)
{
	struct library *from;
	struct module *module;
	CUresult result = library_of(lib, &from);

	if (result != CUDA_SUCCESS)
		return result;
	if (!count)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&module_lock);
	result = library_anywhere(from, &module);
	if (result == CUDA_SUCCESS)
		*count = (unsigned int)ptx_module_kernel_count(module->machine);
	pthread_mutex_unlock(&module_lock);
	return result;
}

CUresult cuLibraryEnumerateKernels(CUkernel *kernels, unsigned int numKernels, CUlibrary lib)
{
	struct ptx_kernel *machine;
	struct library *from;
	struct kernel *kernel;
	struct module *module;
	CUresult result = library_of(lib, &from);

	if (result != CUDA_SUCCESS)
		return result;
	if (!kernels || !numKernels)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&module_lock);
	result = library_anywhere(from, &module);
	for (unsigned int i = 0; result == CUDA_SUCCESS && i < numKernels &&
				 (machine = ptx_module_kernel_at(module->machine, i));
	     i++) {
		const char *name = ptx_kernel_facts(machine)->name;

		kernel = find_kernel(from, name);
		if (!kernel)
			result = kernel_make(from, name, &kernel);
		kernels[i] = (CUkernel)kernel;
	}
	pthread_mutex_unlock(&module_lock);
	return result;
}

CUresult cuLibraryGetGlobal(CUdeviceptr *dptr, size_t *bytes, CUlibrary library, const char *name)
{
	CUmodule module;
	CUresult result = cuLibraryGetModule(&module, library);

	return result == CUDA_SUCCESS ? cuModuleGetGlobal_v2(dptr, bytes, module, name) : result;
}

CUresult cuLibraryGetManaged(CUdeviceptr *dptr, size_t *bytes, CUlibrary library, const char *name)
{
	struct library *from;
	CUresult result = library_of(library, &from);

	(void)dptr;
	(void)bytes;
	if (result == CUDA_SUCCESS)
		result = name ? CUDA_ERROR_NOT_FOUND : CUDA_ERROR_INVALID_VALUE;
	return result; /* there is no managed memory */
}

CUresult cuLibraryGetUnifiedFunction(void **fptr, CUlibrary library, const char *symbol)
{
	struct library *from;
	CUresult result = library_of(library, &from);

	(void)fptr;
	if (result == CUDA_SUCCESS)
		result = symbol ? CUDA_ERROR_NOT_FOUND : CUDA_ERROR_INVALID_VALUE;
	return result; /* as the attribute UNIFIED_FUNCTION_POINTERS says */
}

/* ---- kernels ---- */

CUresult kernel_check(const void *handle)
{
	return object_valid(OBJECT_KERNEL, handle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

static CUresult kernel_of(CUkernel handle, struct kernel **kernel)
{
	CUresult result = driver_ready();

	if (result != CUDA_SUCCESS)
		return result;
	*kernel = (struct kernel *)handle;
	return kernel_check(handle);
}

/* The kernel's function in any context: for its facts, which are the same in all. */
static CUresult kernel_any_function(CUkernel handle, struct function **function)
{
	struct kernel *kernel;
	struct module *module;
	CUresult result = kernel_of(handle, &kernel);

	if (result != CUDA_SUCCESS)
		return result;
	*function = kernel->last;
	if (*function && object_valid(OBJECT_FUNCTION, *function) && (*function)->kernel == kernel)
		return CUDA_SUCCESS;
	pthread_mutex_lock(&module_lock);
	result = library_anywhere(kernel->library, &module);
	if (result == CUDA_SUCCESS)
		result = kernel_function(kernel, module->context, function);
	pthread_mutex_unlock(&module_lock);
	return result;
}

CUresult cuKernelGetFunction(CUfunction *pFunc, CUkernel kernel)
{
	struct function *function;
	struct context *context;
	struct kernel *asked;
	CUresult result = kernel_of(kernel, &asked);

	if (result == CUDA_SUCCESS)
		result = context_enter(&context);
	if (result == CUDA_SUCCESS && !pFunc)
		result = CUDA_ERROR_INVALID_VALUE;
	if (result == CUDA_SUCCESS)
		result = function_of((CUfunction)kernel, context, &function);
	if (result == CUDA_SUCCESS)
		*pFunc = (CUfunction)function;
	return result;
}

CUresult cuKernelGetLibrary(CUlibrary *pLib, CUkernel kernel)
{
	struct kernel *asked;
	CUresult result = kernel_of(kernel, &asked);

	if (result == CUDA_SUCCESS && !pLib)
		result = CUDA_ERROR_INVALID_VALUE;
	if (result == CUDA_SUCCESS)
		*pLib = (CUlibrary)asked->library;
	return result;
}

CUresult cuKernelGetName(const char **name, CUkernel hfunc)
{
	struct kernel *asked;
	CUresult result = kernel_of(hfunc, &asked);

	if (result == CUDA_SUCCESS && !name)
		result = CUDA_ERROR_INVALID_VALUE;
	if (result == CUDA_SUCCESS)
		*name = asked->name;
	return result;
}

CUresult cuKernelGetAttribute(int *pi, CUfunction_attribute attrib, CUkernel kernel, CUdevice dev)
{
	struct function *function;
	CUresult result = kernel_any_function(kernel, &function);

	if (result != CUDA_SUCCESS)
		return result;
	if (!device_valid(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	return pi ? function_attribute(function, attrib, pi) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuKernelSetAttribute(CUfunction_attribute attrib, int val, CUkernel kernel, CUdevice dev)
{
	struct function *function;
	struct kernel *changed;
	CUresult result = kernel_any_function(kernel, &function);

	if (result != CUDA_SUCCESS)
		return result;
	if (!device_valid(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	result = attribute_value_valid(function->facts, attrib, val);
	if (result != CUDA_SUCCESS)
		return result;
	changed = (struct kernel *)kernel;
	pthread_mutex_lock(&module_lock);
	if (attrib == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES)
		changed->dynamic_shared_max = val;
	else
		changed->carveout = val;
	function = NULL;
	while ((function = object_next(OBJECT_FUNCTION, function))) {
		if (function->kernel == changed &&
		    (!function->module->context || function->module->context->device == dev)) {
			function->dynamic_shared_max = changed->dynamic_shared_max;
			function->carveout = changed->carveout;
		}
	}
	pthread_mutex_unlock(&module_lock);
	return CUDA_SUCCESS;
}

CUresult cuKernelSetCacheConfig(CUkernel kernel, CUfunc_cache config, CUdevice dev)
{
	struct kernel *asked;
	CUresult result = kernel_of(kernel, &asked);

	if (result == CUDA_SUCCESS && !device_valid(dev))
		result = CUDA_ERROR_INVALID_DEVICE;
	if (result == CUDA_SUCCESS && (unsigned int)config > CU_FUNC_CACHE_PREFER_EQUAL)
		result = CUDA_ERROR_INVALID_VALUE;
	return result;
}

CUresult cuKernelGetParamInfo(CUkernel kernel, size_t paramIndex, size_t *paramOffset,
			      size_t *paramSize)
{
	struct function *function;
	size_t offset;
	size_t bytes;
	CUresult result = kernel_any_function(kernel, &function);

	if (result != CUDA_SUCCESS)
		return result;
	if (!paramOffset || ptx_kernel_parameter(function->machine, paramIndex, &offset, &bytes))
		return CUDA_ERROR_INVALID_VALUE;
	*paramOffset = offset;
	if (paramSize)
		*paramSize = bytes;
	return CUDA_SUCCESS;
}
