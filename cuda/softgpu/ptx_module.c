/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A module: text in, kernels and variables out.
 *
 * Shared memory. Variables declared in a kernel are laid out for that kernel. Those of the module
 * and of functions are common: they come first, at the same place in every kernel that names one
 * or calls anything. Dynamic shared memory (.extern .shared) lies behind both.
 */
#include "cuda/softgpu/ptx_compile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clean.h"

#define RECURSION_REGISTER_BYTES (2u << 20)  /* per warp, beyond what is known to be needed */
#define RECURSION_LOCAL_BYTES	 (32u << 10) /* per thread */
#define CALL_CHAIN_MAX		 512u
#define LOCAL_BYTES_MAX		 (512u << 10)
#define SHARED_BYTES_MAX	 (227u << 10)

struct loader {
	struct ptx_compiler compiler;
	struct ptx_draft_function *drafts;
	size_t draft_count;
};

uint32_t ptx_constant(struct ptx_compiler *compiler, uint64_t value, bool wide, bool *failed)
{
	uint32_t hash = (uint32_t)((value ^ value >> 32) * 2654435761u) % PTX_CONSTANT_BUCKETS;
	struct ptx_constant *constant;

	for (constant = compiler->constants[hash]; constant; constant = constant->next)
		if (constant->value == value && constant->wide == wide)
			return constant->operand;
	constant = ptx_arena_take(&compiler->tree->arena, sizeof(*constant));
	if (!constant || compiler->constant_count >= PTX_CONSTANTS_MAX) {
		*failed = true;
		return PTX_BASE_CONSTANT;
	}
	constant->value = value;
	constant->wide = wide;
	constant->operand = compiler->constant_bytes | PTX_BASE_CONSTANT;
	constant->next = compiler->constants[hash];
	compiler->constants[hash] = constant;
	compiler->constant_count++;
	compiler->constant_bytes += wide ? 2 * PTX_SLOT_BYTES : PTX_SLOT_BYTES;
	return constant->operand;
}

/* constants_fill - every constant in all 32 lanes */
static int constants_fill(struct ptx_compiler *compiler)
{
	struct ptx_module *module = compiler->module;

	module->constants = ptx_aligned_alloc(compiler->constant_bytes + 2 * PTX_SLOT_BYTES);
	if (!module->constants)
		return -ENOMEM;
	for (uint32_t bucket = 0; bucket < PTX_CONSTANT_BUCKETS; bucket++) {
		struct ptx_constant *constant = compiler->constants[bucket];

		for (; constant; constant = constant->next) {
			uint8_t *slot = module->constants + (constant->operand & ~3u);

			for (uint32_t lane = 0; lane < PTX_LANES; lane++) {
				if (constant->wide)
					((uint64_t *)slot)[lane] = constant->value;
				else
					((uint32_t *)slot)[lane] = (uint32_t)constant->value;
			}
		}
	}
	return 0;
}

/* ---- variables ---- */

static uint64_t align_up(uint64_t value, uint64_t alignment)
{
	return alignment ? (value + alignment - 1) & ~(alignment - 1) : value;
}

static int too_large(struct loader *loader, const struct ptx_variable *variable, const char *what)
{
	return error_set(loader->compiler.error, -ENOEXEC, "line %u: '%.80s': too much %s memory",
			 variable->line, variable->name->text, what);
}

static bool is_data(const struct ptx_variable *variable)
{
	return variable->space == PTX_SPACE_GLOBAL || variable->space == PTX_SPACE_CONST;
}

/* data_place - addresses of all .global and .const variables, in one allocation */
static int data_place(struct loader *loader)
{
	struct ptx_module *module = loader->compiler.module;
	struct ptx_variable *variable;
	uint64_t bytes = 0;
	size_t count = 0;
	int code;

	for (variable = loader->compiler.tree->variables; variable; variable = variable->next) {
		if (!is_data(variable))
			continue;
		if (variable->external || variable->unsized)
			return error_set(loader->compiler.error, -ENOEXEC,
					 "line %u: '%.80s' is not defined in this module",
					 variable->line, variable->name->text);
		variable->address = align_up(bytes, variable->alignment);
		bytes = variable->address + variable->bytes;
		if (bytes > PTX_VARIABLE_BYTES_MAX)
			return too_large(loader, variable, "global");
		count++;
	}
	module->variables = calloc(count + 1, sizeof(*module->variables));
	if (!module->variables)
		return -ENOMEM;
	if (!count)
		return 0;
	code = module->memory.allocate(module->memory.owner, bytes ? bytes : 1, 4096,
				       &module->data);
	if (code) {
		module->data = 0;
		return error_set(loader->compiler.error, -ENOMEM,
				 "no device memory for the module's variables");
	}
	memset((void *)(uintptr_t)module->data, 0, bytes);
	for (variable = loader->compiler.tree->variables; variable; variable = variable->next) {
		struct ptx_module_variable *known = &module->variables[module->variable_count];

		if (!is_data(variable))
			continue;
		variable->address += module->data;
		known->name = strdup(variable->name->text);
		known->address = variable->address;
		known->bytes = variable->bytes;
		if (!known->name)
			return -ENOMEM;
		module->variable_count++;
	}
	return 0;
}

/* initial_address - what &name is, as an initial value */
static int initial_address(struct loader *loader, const struct ptx_initial *initial,
			   uint64_t *address)
{
	struct ptx_function *function = initial->name->function;
	struct ptx_variable *variable = initial->name->variable;

	for (int i = 0; function && function->alias_of && function->alias_of->function && i < 8;
	     i++)
		function = function->alias_of->function;
	if (function && function->draft && !function->is_entry) {
		*address = PTX_WINDOW_CODE + 16 * (uint64_t)function->draft->callable;
		return 0;
	}
	if (variable && is_data(variable)) {
		*address = variable->address + initial->value;
		return 0;
	}
	return error_set(loader->compiler.error, -ENOEXEC,
			 "line %u: the address of '%.80s' cannot be an initial value",
			 initial->line, initial->name->text);
}

static int initial_bits(struct loader *loader, const struct ptx_variable *variable,
			const struct ptx_initial *initial, uint64_t *bits)
{
	int code = 0;

	*bits = initial->value;
	if (initial->name) {
		code = initial_address(loader, initial, bits);
		if (!code && initial->mask)
			*bits = (*bits & initial->mask) >> __builtin_ctzll(initial->mask);
	} else if (initial->is_float64 && variable->type == PTX_TYPE_F32) {
		double wide;
		float narrow;

		memcpy(&wide, bits, sizeof(wide));
		narrow = (float)wide;
		*bits = 0;
		memcpy(bits, &narrow, sizeof(narrow));
	} else if (initial->is_float32 && variable->type == PTX_TYPE_F64) {
		float narrow;
		double wide;

		memcpy(&narrow, bits, sizeof(narrow));
		wide = (double)narrow;
		memcpy(bits, &wide, sizeof(wide));
	}
	return code;
}

static int data_fill(struct loader *loader)
{
	struct ptx_variable *variable;

	for (variable = loader->compiler.tree->variables; variable; variable = variable->next) {
		unsigned int bytes = ptx_type_bytes(variable->type);
		uint8_t *to = (uint8_t *)(uintptr_t)variable->address;

		if (!is_data(variable))
			continue;
		for (uint32_t i = 0; i < variable->initial_count; i++) {
			uint64_t bits;
			int code = initial_bits(loader, variable, &variable->initial[i], &bits);

			if (code)
				return code;
			memcpy(to + (size_t)i * bytes, &bits, bytes > 8 ? 8 : bytes);
		}
	}
	return 0;
}

/* ---- places in shared and local memory, and in parameter blocks ---- */

static bool is_static_shared(const struct ptx_variable *variable)
{
	return variable->space == PTX_SPACE_SHARED && !variable->external && !variable->unsized;
}

static int place_one(struct loader *loader, struct ptx_variable *variable, uint32_t *bytes,
		     uint32_t limit, const char *what)
{
	uint64_t start = align_up(*bytes, variable->alignment);

	if (variable->bytes > limit || start + variable->bytes > limit)
		return too_large(loader, variable, what);
	variable->address = start;
	*bytes = (uint32_t)(start + variable->bytes);
	return 0;
}

static int common_shared_place(struct loader *loader)
{
	uint32_t *bytes = &loader->compiler.common_shared_bytes;
	struct ptx_variable *variable;
	int code = 0;

	for (variable = loader->compiler.tree->variables; variable && !code;
	     variable = variable->next)
		if (is_static_shared(variable))
			code = place_one(loader, variable, bytes, SHARED_BYTES_MAX, "shared");
	for (size_t i = 0; i < loader->draft_count && !code; i++) {
		if (loader->drafts[i].function->is_entry)
			continue;
		for (variable = loader->drafts[i].function->variables; variable && !code;
		     variable = variable->next)
			if (is_static_shared(variable))
				code = place_one(loader, variable, bytes, SHARED_BYTES_MAX,
						 "shared");
	}
	return code;
}

static bool names_common_shared(const struct ptx_operand *operand)
{
	if ((operand->kind == PTX_OPERAND_VARIABLE || operand->kind == PTX_OPERAND_ADDRESS) &&
	    operand->variable && is_static_shared(operand->variable) &&
	    (!operand->variable->function || !operand->variable->function->is_entry))
		return true;
	return false;
}

/* needs_common_shared - the kernel names a common variable or calls a function */
static bool needs_common_shared(const struct ptx_function *function)
{
	const struct ptx_statement *statement;

	for (statement = function->statements; statement; statement = statement->next) {
		if (statement->label)
			continue;
		if (!strcmp(statement->opcode, "call"))
			return true;
		for (unsigned int k = 0; k < statement->operand_count; k++)
			if (names_common_shared(&statement->operands[k]))
				return true;
	}
	return false;
}

static int function_place(struct loader *loader, struct ptx_draft_function *draft)
{
	struct ptx_function *function = draft->function;
	struct ptx_variable *variable;
	uint32_t parameters = 0;
	int code = 0;

	if (function->is_entry && loader->compiler.common_shared_bytes &&
	    needs_common_shared(function))
		draft->shared_bytes = loader->compiler.common_shared_bytes;
	for (variable = function->variables; variable && !code; variable = variable->next) {
		if (is_static_shared(variable) && function->is_entry)
			code = place_one(loader, variable, &draft->shared_bytes, SHARED_BYTES_MAX,
					 "shared");
		else if (variable->space == PTX_SPACE_LOCAL)
			code = place_one(loader, variable, &draft->local_bytes, LOCAL_BYTES_MAX,
					 "local");
	}
	draft->local_bytes = (uint32_t)align_up(draft->local_bytes, 16);
	for (variable = function->parameters; variable && function->is_entry && !code;
	     variable = variable->next)
		code = place_one(loader, variable, &parameters, PTX_PARAMETER_BYTES_MAX,
				 "parameter");
	return code;
}

static uint32_t list_units(const struct ptx_variable *list)
{
	uint64_t units = 0;

	for (; list; list = list->next)
		units += (list->bytes + 3) / 4;
	return units > PTX_PARAMETER_BYTES_MAX ? PTX_PARAMETER_BYTES_MAX : (uint32_t)units;
}

/* functions_find - a draft and, for what can be called, a callable for each body */
static int functions_find(struct loader *loader)
{
	struct ptx_module *module = loader->compiler.module;
	struct ptx_function *function;
	size_t count = 0;

	for (function = loader->compiler.tree->functions; function; function = function->next)
		count += function->has_body;
	loader->drafts = calloc(count + 1, sizeof(*loader->drafts));
	module->callables = calloc(count + 1, sizeof(*module->callables));
	if (!loader->drafts || !module->callables)
		return -ENOMEM;
	for (function = loader->compiler.tree->functions; function; function = function->next) {
		struct ptx_draft_function *draft = &loader->drafts[loader->draft_count];

		if (!function->has_body)
			continue;
		loader->draft_count++;
		draft->function = function;
		function->draft = draft;
		if (function->is_entry) {
			module->kernel_count++;
			continue;
		}
		draft->parameter_units = list_units(function->parameters);
		draft->result_units = list_units(function->results);
		draft->callable = (uint32_t)module->callable_count++;
	}
	return 0;
}

/* ---- code ---- */

/* code_measure - where each draft's code will stand */
static size_t code_measure(struct loader *loader)
{
	size_t count = 0;

	for (size_t i = 0; i < loader->draft_count; i++) {
		struct ptx_draft_function *draft = &loader->drafts[i];
		uint32_t block = UINT32_MAX;

		draft->code_start = (uint32_t)count;
		for (size_t k = 0; k < draft->draft_count; k++) {
			if (draft->drafts[k].block != block) {
				block = draft->drafts[k].block;
				draft->block_starts[block] = (uint32_t)count;
				count += draft->block_joins[block];
				count += loader->compiler.count && !draft->drafts[k].row;
			}
			draft->drafts[k].at = (uint32_t)count;
			if (draft->drafts[k].kind != PTX_DRAFT_LABEL &&
			    draft->drafts[k].kind != PTX_DRAFT_GONE)
				count++;
		}
	}
	return count;
}

static void code_of_draft(struct loader *loader, struct ptx_draft_function *function,
			  struct ptx_draft *draft)
{
	struct ptx_module *module = loader->compiler.module;
	struct ptx_code *code = &module->code[draft->at];

	*code = draft->code;
	if (draft->label != PTX_NO_LABEL)
		code->target =
			&module->code[function->block_starts[function->label_blocks[draft->label]]];
	if (draft->kind == PTX_DRAFT_TABLE)
		code->target = code + 1; /* its rows */
	if (draft->join_block)
		code->join = &module->code[function->block_starts[draft->join_block - 1]];
	if (draft->joins_next)
		code->join = code + 1;
	if (draft->callee)
		code->data = &module->callables[draft->callee->callable];
}

/* block_open - the join and the counter at a block's start */
static void block_open(struct loader *loader, struct ptx_draft_function *function, size_t first)
{
	uint32_t block = function->drafts[first].block;
	struct ptx_code *code = &loader->compiler.module->code[function->block_starts[block]];
	unsigned int line = function->drafts[first].code.line;

	if (function->block_joins[block]) {
		code->run = ptx_handler_find("join");
		code->line = line;
		code++;
	}
	if (loader->compiler.count && !function->drafts[first].row) {
		code->run = ptx_handler_find("count");
		code->line = line;
		for (size_t i = first;
		     i < function->draft_count && function->drafts[i].block == block; i++)
			code->count += function->drafts[i].code.count;
	}
}

static int code_make(struct loader *loader)
{
	struct ptx_module *module = loader->compiler.module;

	for (size_t i = 0; i < loader->draft_count; i++) {
		struct ptx_draft_function *draft = &loader->drafts[i];

		draft->block_starts =
			calloc((size_t)draft->block_count + 1, sizeof(*draft->block_starts));
		if (!draft->block_starts)
			return -ENOMEM;
	}
	module->code_count = code_measure(loader);
	if (module->code_count > PTX_DRAFTS_MAX)
		return -ENOMEM;
	module->code = ptx_aligned_alloc((module->code_count + 1) * sizeof(*module->code));
	if (!module->code)
		return -ENOMEM;
	memset(module->code, 0, (module->code_count + 1) * sizeof(*module->code));
	for (size_t i = 0; i < loader->draft_count; i++) {
		struct ptx_draft_function *draft = &loader->drafts[i];
		uint32_t block = UINT32_MAX;

		for (size_t k = 0; k < draft->draft_count; k++) {
			if (draft->drafts[k].block != block) {
				block = draft->drafts[k].block;
				block_open(loader, draft, k);
			}
			if (draft->drafts[k].kind != PTX_DRAFT_LABEL &&
			    draft->drafts[k].kind != PTX_DRAFT_GONE)
				code_of_draft(loader, draft, &draft->drafts[k]);
		}
	}
	return constants_fill(&loader->compiler);
}

/* ---- calls: how much a kernel needs ---- */

static void chain_measure(struct ptx_draft_function *draft, unsigned int depth)
{
	uint64_t registers = 0, local = 0;

	draft->visit = 1;
	for (size_t i = 0; i < draft->draft_count; i++) {
		struct ptx_draft_function *callee = draft->drafts[i].callee;

		if (!callee)
			continue;
		if (callee->visit == 1 || depth == CALL_CHAIN_MAX) {
			draft->recursive = true;
			continue;
		}
		if (!callee->visit)
			chain_measure(callee, depth + 1);
		draft->recursive = draft->recursive || callee->recursive;
		draft->has_printf = draft->has_printf || callee->has_printf;
		if (callee->deep_register_bytes > registers)
			registers = callee->deep_register_bytes;
		if (callee->deep_local_bytes > local)
			local = callee->deep_local_bytes;
	}
	draft->recursive = draft->recursive || draft->calls_unknown;
	draft->deep_register_bytes = draft->frame_bytes + registers;
	draft->deep_local_bytes = draft->local_bytes + local;
	draft->visit = 2;
}

static int kernel_parameters(struct ptx_kernel *kernel, const struct ptx_function *function)
{
	const struct ptx_variable *variable;
	size_t count = 0;

	for (variable = function->parameters; variable; variable = variable->next)
		count++;
	kernel->parameter_offsets = calloc(count + 1, sizeof(size_t));
	kernel->parameter_sizes = calloc(count + 1, sizeof(size_t));
	if (!kernel->parameter_offsets || !kernel->parameter_sizes)
		return -ENOMEM;
	kernel->facts.parameter_count = count;
	count = 0;
	for (variable = function->parameters; variable; variable = variable->next, count++) {
		kernel->parameter_offsets[count] = variable->address;
		kernel->parameter_sizes[count] = variable->bytes;
		kernel->facts.parameter_bytes = variable->address + variable->bytes;
	}
	return 0;
}

static int kernel_make(struct loader *loader, struct ptx_draft_function *draft,
		       struct ptx_kernel *kernel)
{
	struct ptx_module *module = loader->compiler.module;
	struct ptx_function *function = draft->function;
	struct ptx_kernel_facts *facts = &kernel->facts;
	uint64_t registers, local;
	int code;

	chain_measure(draft, 0);
	registers = draft->deep_register_bytes;
	local = draft->deep_local_bytes;
	if (draft->recursive) {
		registers += RECURSION_REGISTER_BYTES;
		local += RECURSION_LOCAL_BYTES;
	}
	if (registers > UINT32_MAX / 2 || local > LOCAL_BYTES_MAX)
		return error_set(loader->compiler.error, -ENOEXEC,
				 "line %u: '%.80s' needs too much memory per thread",
				 function->line, function->name->text);
	kernel->module = module;
	kernel->name = strdup(function->name->text);
	if (!kernel->name)
		return -ENOMEM;
	kernel->code = &module->code[draft->code_start];
	kernel->frame_bytes = draft->frame_bytes;
	kernel->register_bytes = (uint32_t)registers;
	kernel->outgoing_bytes = loader->compiler.outgoing_units * PTX_SLOT_BYTES;
	kernel->local_bytes = (uint32_t)local;
	code = kernel_parameters(kernel, function);
	facts->name = kernel->name;
	facts->static_shared_bytes = draft->shared_bytes;
	facts->local_bytes = (size_t)local;
	for (const struct ptx_variable *variable = loader->compiler.tree->variables; variable;
	     variable = variable->next)
		if (variable->space == PTX_SPACE_CONST)
			facts->constant_bytes += variable->bytes;
	facts->registers = draft->slot_count < 16    ? 16
			   : draft->slot_count > 255 ? 255
						     : draft->slot_count;
	facts->max_threads = function->max_threads;
	memcpy(facts->required_threads, function->required_threads,
	       sizeof(facts->required_threads));
	facts->ptx_version = loader->compiler.tree->version;
	facts->target = loader->compiler.tree->target;
	facts->has_printf = draft->has_printf;
	return code;
}

static int kernels_make(struct loader *loader)
{
	struct ptx_module *module = loader->compiler.module;
	size_t index = 0;

	for (size_t i = 0; i < loader->draft_count; i++) {
		struct ptx_draft_function *draft = &loader->drafts[i];
		struct ptx_callable *callable = &module->callables[draft->callable];

		if (draft->function->is_entry)
			continue;
		callable->code = &module->code[draft->code_start];
		callable->frame_bytes = draft->frame_bytes;
		callable->local_bytes = draft->local_bytes;
		callable->parameter_units = draft->parameter_units;
		callable->result_units = draft->result_units;
	}
	module->kernels = calloc(module->kernel_count + 1, sizeof(*module->kernels));
	if (!module->kernels)
		return -ENOMEM;
	for (size_t i = 0; i < loader->draft_count; i++) {
		int code;

		if (!loader->drafts[i].function->is_entry)
			continue;
		code = kernel_make(loader, &loader->drafts[i], &module->kernels[index++]);
		if (code)
			return code;
	}
	return 0;
}

/* ---- loading ---- */

static int compile(struct loader *loader)
{
	int code = functions_find(loader);

	if (!code)
		code = data_place(loader);
	if (!code)
		code = common_shared_place(loader);
	for (size_t i = 0; i < loader->draft_count && !code; i++)
		code = function_place(loader, &loader->drafts[i]);
	if (!code)
		code = data_fill(loader);
	for (size_t i = 0; i < loader->draft_count && !code; i++) {
		code = ptx_select(&loader->compiler, &loader->drafts[i]);
		if (!code)
			code = ptx_flow(&loader->compiler, &loader->drafts[i]);
	}
	if (!code)
		code = code_make(loader);
	if (!code)
		code = kernels_make(loader);
	return code;
}

static void loader_free(struct loader *loader)
{
	for (size_t i = 0; i < loader->draft_count; i++) {
		free(loader->drafts[i].drafts);
		free(loader->drafts[i].block_joins);
		free(loader->drafts[i].label_blocks);
		free(loader->drafts[i].block_starts);
	}
	free(loader->drafts);
}

int ptx_module_load_counting(const char *text, size_t bytes, const struct ptx_memory *memory,
			     bool counting, struct ptx_module **module, struct error *error)
{
	struct error own = { 0 };
	struct loader loader = { .compiler = { .error = &own, .count = counting } };
	struct ptx_module *loaded = calloc(1, sizeof(*loaded));
	struct ptx_tree *tree = calloc(1, sizeof(*tree));
	int code = -ENOMEM;

	*module = NULL;
	if (loaded && tree && !ptx_heap_init(&loaded->heap)) {
		loaded->memory = *memory;
		loader.compiler.tree = tree;
		loader.compiler.module = loaded;
		code = ptx_parse(text, bytes, tree, &own);
		if (!code)
			code = compile(&loader);
		loader_free(&loader);
		if (code) {
			ptx_module_free(loaded);
			if (own.code)
				error_set(error, own.code, "%s", own.text);
			else
				error_set(error, code, "no memory to load the module");
		}
		ptx_arena_free(&tree->arena);
	} else {
		free(loaded);
		error_set(error, code, "no memory to load the module");
	}
	free(tree);
	if (!code)
		*module = loaded;
	return code;
}

int ptx_module_load(const char *text, size_t bytes, const struct ptx_memory *memory,
		    struct ptx_module **module, struct error *error)
{
	return ptx_module_load_counting(text, bytes, memory, false, module, error);
}

void ptx_module_free(struct ptx_module *module)
{
	if (!module)
		return;
	if (module->data)
		module->memory.release(module->memory.owner, module->data);
	ptx_heap_free(&module->heap, &module->memory);
	for (size_t i = 0; module->kernels && i < module->kernel_count; i++) {
		free(module->kernels[i].name);
		free(module->kernels[i].parameter_offsets);
		free(module->kernels[i].parameter_sizes);
	}
	for (size_t i = 0; i < module->variable_count; i++)
		free(module->variables[i].name);
	free(module->kernels);
	free(module->variables);
	free(module->callables);
	free(module->code);
	free(module->constants);
	free(module);
}

size_t ptx_module_kernel_count(const struct ptx_module *module)
{
	return module->kernel_count;
}

struct ptx_kernel *ptx_module_kernel_at(struct ptx_module *module, size_t index)
{
	return index < module->kernel_count ? &module->kernels[index] : NULL;
}

struct ptx_kernel *ptx_module_kernel(struct ptx_module *module, const char *name)
{
	for (size_t i = 0; i < module->kernel_count; i++)
		if (!strcmp(module->kernels[i].name, name))
			return &module->kernels[i];
	return NULL;
}

int ptx_module_variable(struct ptx_module *module, const char *name, uint64_t *address,
			size_t *bytes)
{
	for (size_t i = 0; i < module->variable_count; i++)
		if (!strcmp(module->variables[i].name, name)) {
			*address = module->variables[i].address;
			*bytes = module->variables[i].bytes;
			return 0;
		}
	return -ENOENT;
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
	*offset = kernel->parameter_offsets[index];
	*bytes = kernel->parameter_sizes[index];
	return 0;
}
