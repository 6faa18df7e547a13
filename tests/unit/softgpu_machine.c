/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine for tests of softgpu's driver: it takes any text that begins with "machine", knows the
 * kernels below, and runs them in the calling thread. Text with the word "refuse" is refused as
 * PTX with an unknown instruction would be.
 */
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/softgpu/ptx.h"

struct ptx_kernel {
	struct ptx_kernel_facts facts;
	void (*run)(const unsigned char *parameters, struct ptx_launch *launch);
};

struct ptx_module {
	struct ptx_memory memory;
	uint64_t variable;
};

static uint64_t parameter(const unsigned char *parameters, int index)
{
	uint64_t value;

	memcpy(&value, parameters + 8 * index, sizeof(value));
	return value;
}

/* store(address, value) */
static void run_store(const unsigned char *parameters, struct ptx_launch *launch)
{
	(void)launch;
	*(uint64_t *)parameter(parameters, 0) = parameter(parameters, 1);
}

/* add(address, value): not atomic, so lost updates show kernels that ran at the same time */
static void run_add(const unsigned char *parameters, struct ptx_launch *launch)
{
	volatile uint64_t *sum = (uint64_t *)parameter(parameters, 0);
	uint64_t before = *sum;

	(void)launch;
	sched_yield();
	*sum = before + parameter(parameters, 1);
}

/* wait(address): until the word is no longer 0, or the launch is stopped */
static void run_wait(const unsigned char *parameters, struct ptx_launch *launch)
{
	_Atomic uint64_t *gate = (_Atomic uint64_t *)parameter(parameters, 0);

	while (!*gate) {
		if (*launch->stop) {
			launch->fault = PTX_FAULT_STOPPED;
			return;
		}
		sched_yield();
	}
}

static void run_fault(const unsigned char *parameters, struct ptx_launch *launch)
{
	launch->fault = (enum ptx_fault)parameter(parameters, 0);
	strcpy(launch->fault_text, "a fault that a test asked for");
}

static void run_print(const unsigned char *parameters, struct ptx_launch *launch)
{
	(void)parameters;
	launch->print(launch->print_context, "printed\n", 8);
}

#define FACTS(kernel_name, parameters)                                                     \
	{                                                                                  \
		.name = kernel_name, .parameter_count = parameters,                        \
		.parameter_bytes = 8 * (parameters), .registers = 32, .max_threads = 1024, \
		.static_shared_bytes = 1024, .ptx_version = 90, .target = 75,              \
	}

static struct ptx_kernel kernels[] = {
	{ FACTS("store", 2), run_store }, { FACTS("add", 2), run_add },
	{ FACTS("wait", 1), run_wait },	  { FACTS("fault", 1), run_fault },
	{ FACTS("print", 0), run_print },
};

int ptx_module_load(const char *text, size_t bytes, const struct ptx_memory *memory,
		    struct ptx_module **module, struct error *error)
{
	if (bytes < 7 || memcmp(text, "machine", 7) != 0)
		return error_set(error, -ENOEXEC, "line 1: this is no text of the machine");
	if (strstr(text, "refuse"))
		return error_set(error, -ENOEXEC, "line 2: \"refuse\" is not implemented");
	*module = calloc(1, sizeof(**module));
	if (!*module)
		return -ENOMEM;
	(*module)->memory = *memory;
	return memory->allocate(memory->owner, 8, 8, &(*module)->variable);
}

void ptx_module_free(struct ptx_module *module)
{
	module->memory.release(module->memory.owner, module->variable);
	free(module);
}

size_t ptx_module_kernel_count(const struct ptx_module *module)
{
	(void)module;
	return sizeof(kernels) / sizeof(kernels[0]);
}

struct ptx_kernel *ptx_module_kernel_at(struct ptx_module *module, size_t index)
{
	return index < ptx_module_kernel_count(module) ? &kernels[index] : NULL;
}

struct ptx_kernel *ptx_module_kernel(struct ptx_module *module, const char *name)
{
	for (size_t i = 0; i < ptx_module_kernel_count(module); i++) {
		if (strcmp(kernels[i].facts.name, name) == 0)
			return &kernels[i];
	}
	return NULL;
}

int ptx_module_variable(struct ptx_module *module, const char *name, uint64_t *address,
			size_t *bytes)
{
	if (strcmp(name, "variable") != 0)
		return -ENOENT;
	*address = module->variable;
	*bytes = 8;
	return 0;
}

const struct ptx_kernel_facts *ptx_kernel_facts(const struct ptx_kernel *kernel)
{
	return &kernel->facts;
}

int ptx_kernel_parameter(const struct ptx_kernel *kernel, size_t index, size_t *offset,
			 size_t *bytes)
{
	if (index >= kernel->facts.parameter_count)
		return -ENOENT;
	*offset = 8 * index;
	*bytes = 8;
	return 0;
}

int ptx_launch_run(const struct ptx_kernel *kernel, struct ptx_launch *launch)
{
	launch->fault = PTX_FAULT_NONE;
	kernel->run(launch->parameters, launch);
	return 0;
}
