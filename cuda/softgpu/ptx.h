/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ptx: the machine behind softgpu. Turns PTX text into code for a warp of 32 lanes in lock-step
 * and runs grids of it on the host's cores.
 *
 * Threads: a loaded module is immutable apart from its global variables and may be launched from
 * any number of threads at once. Ownership: ptx_module_free() ends everything found in a module;
 * the caller sees to it that no launch is under way.
 */
#ifndef CAUSEWAY_CUDA_SOFTGPU_PTX_H
#define CAUSEWAY_CUDA_SOFTGPU_PTX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"

#define PTX_PARAMETER_BYTES_MAX 32764u /* of one kernel; PTX ISA, .param of entry functions */

struct ptx_module;
struct ptx_kernel;

/*
 * Device memory as the machine sees it: the driver above owns the allocations and answers whether
 * a range of global addresses may be touched. Device addresses are host addresses.
 */
struct ptx_memory {
	void *owner;
	/* Memory for a module's .global and .const variables; 0 or -errno. */
	int (*allocate)(void *owner, size_t bytes, size_t alignment, uint64_t *address);
	void (*release)(void *owner, uint64_t address);
	/*
	 * One byte per page of 1 << page_shift bytes in [base, base + pages << page_shift):
	 * non-zero where device code may read and write. Read without a lock by running kernels.
	 */
	const uint8_t *valid_pages;
	uint64_t base;
	uint64_t pages;
	unsigned int page_shift;
};

/**
 * ptx_module_load - parse, check and compile a module
 * @text: need not end in NUL; @bytes long
 *
 * Errors: -ENOEXEC with "line N: ..." naming the instruction or directive for anything malformed
 * or not implemented, -ENOMEM. Untrusted text: every table it can fill has a bound.
 */
int ptx_module_load(const char *text, size_t bytes, const struct ptx_memory *memory,
		    struct ptx_module **module, struct error *error);
/* ptx_module_load_counting - the same; with @counting, launches fill in ->lane_operations (slower)
 */
int ptx_module_load_counting(const char *text, size_t bytes, const struct ptx_memory *memory,
			     bool counting, struct ptx_module **module, struct error *error);
void ptx_module_free(struct ptx_module *module);

/* Enumerate and look up; NULL or -ENOENT where there is none. */
size_t ptx_module_kernel_count(const struct ptx_module *module);
struct ptx_kernel *ptx_module_kernel_at(struct ptx_module *module, size_t index);
struct ptx_kernel *ptx_module_kernel(struct ptx_module *module, const char *name);
int ptx_module_variable(struct ptx_module *module, const char *name, uint64_t *address,
			size_t *bytes);

struct ptx_kernel_facts {
	const char *name;
	size_t parameter_count;
	size_t parameter_bytes; /* of the whole parameter block */
	size_t static_shared_bytes;
	size_t local_bytes; /* per thread */
	size_t constant_bytes;
	unsigned int registers;		  /* per thread, as cuFuncGetAttribute reports it */
	unsigned int max_threads;	  /* per block; 1024 unless .maxntid says less */
	unsigned int required_threads[3]; /* .reqntid, else 0 */
	unsigned int ptx_version;	  /* 10 * major + minor */
	unsigned int target;		  /* sm number: 75 for sm_75 */
	bool has_printf;
};
const struct ptx_kernel_facts *ptx_kernel_facts(const struct ptx_kernel *kernel);
/* ptx_kernel_parameter - where parameter @index lies in the block; -ENOENT past the last */
int ptx_kernel_parameter(const struct ptx_kernel *kernel, size_t index, size_t *offset,
			 size_t *bytes);

/* Why a launch ended; the driver turns these into CUDA's codes. */
enum ptx_fault {
	PTX_FAULT_NONE,
	PTX_FAULT_ILLEGAL_ADDRESS,
	PTX_FAULT_MISALIGNED_ADDRESS,
	PTX_FAULT_ILLEGAL_INSTRUCTION, /* brkpt, or a call through a bad address */
	PTX_FAULT_TRAP,		       /* trap */
	PTX_FAULT_ASSERT,	       /* __assertfail; its sentence was printed */
	PTX_FAULT_STACK,	       /* calls nested too deep */
	PTX_FAULT_STOPPED,	       /* *stop became non-zero */
};

struct ptx_launch {
	unsigned int grid[3];
	unsigned int block[3];
	size_t dynamic_shared_bytes;
	const void *parameters; /* parameter_bytes of the kernel; copied before return */
	bool cooperative;	/* all blocks resident: a grid-wide barrier may be used */
	/* Where device printf goes, one formatted piece at a time; called by any worker thread. */
	void (*print)(void *context, const char *text, size_t bytes);
	void *print_context;
	const volatile int *stop; /* polled at block and loop ends; may be NULL */
	/* Out: the first fault. */
	enum ptx_fault fault;
	uint64_t fault_address;
	char fault_text[160]; /* kernel, line of PTX, block, thread: for the log */
	/* Out: executed PTX instructions times active lanes; 0 unless the module counts. */
	uint64_t lane_operations;
};

/**
 * ptx_launch_run - run the whole grid; returns when every block has ended or one has faulted
 *
 * Blocks are spread over all cores by a pool of threads that the first launch starts. Return: 0
 * (look at ->fault), -EINVAL for a grid or block that the kernel cannot have, -ENOMEM.
 */
int ptx_launch_run(const struct ptx_kernel *kernel, struct ptx_launch *launch);

#endif
