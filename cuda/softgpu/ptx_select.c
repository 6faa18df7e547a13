/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Instruction selection: PTX statements into drafts of code.
 *
 * The table at the end names a function for each opcode. That function takes the modifiers it
 * understands; one that nobody took, an operand of the wrong kind, or a handler that does not
 * exist make the load fail with the instruction's text: what is not understood completely is never
 * run.
 */
#include "cuda/softgpu/ptx_select.h"

#include <errno.h>
#include <string.h>

/* ---- the table ---- */

static const struct opcode {
	const char *name;
	bool (*select)(S s);
	bool flows; /* may wait or go elsewhere: a guard becomes a branch around it */
} opcodes[] = {
	{ "add", select_add, false },
	{ "sub", select_add, false },
	{ "addc", select_add, false },
	{ "subc", select_add, false },
	{ "mul", select_mul, false },
	{ "mad", select_mad, false },
	{ "madc", select_mad, false },
	{ "mul24", select_mul24, false },
	{ "mad24", select_mul24, false },
	{ "fma", select_fma, false },
	{ "div", select_div, false },
	{ "rem", select_two_same, false },
	{ "sad", select_sad, false },
	{ "min", select_min, false },
	{ "max", select_min, false },
	{ "neg", select_neg, false },
	{ "abs", select_neg, false },
	{ "sqrt", select_root, false },
	{ "rcp", select_root, false },
	{ "rsqrt", select_root, false },
	{ "sin", select_approximate, false },
	{ "cos", select_approximate, false },
	{ "lg2", select_approximate, false },
	{ "ex2", select_approximate, false },
	{ "tanh", select_approximate, false },
	{ "copysign", select_two_same, false },
	{ "testp", select_testp, false },
	{ "and", select_logic, false },
	{ "or", select_logic, false },
	{ "xor", select_logic, false },
	{ "not", select_logic, false },
	{ "cnot", select_cnot, false },
	{ "shl", select_shift, false },
	{ "shr", select_shift, false },
	{ "popc", select_count_bits, false },
	{ "clz", select_count_bits, false },
	{ "brev", select_count_bits, false },
	{ "bfind", select_bfind, false },
	{ "bfe", select_bfe, false },
	{ "bfi", select_bfi, false },
	{ "prmt", select_prmt, false },
	{ "lop3", select_lop3, false },
	{ "shf", select_shf, false },
	{ "fns", select_fns, false },
	{ "dp4a", select_dot, false },
	{ "dp2a", select_dot, false },
	{ "vabsdiff4", select_vabsdiff4, false },
	{ "szext", select_clamped, false },
	{ "bmsk", select_clamped, false },
	{ "setp", select_setp, false },
	{ "set", select_set, false },
	{ "selp", select_selp, false },
	{ "slct", select_slct, false },
	{ "mov", select_mov, false },
	{ "cvt", select_cvt, false },
	{ "cvta", select_cvta, false },
	{ "isspacep", select_isspacep, false },
	{ "ld", select_ld, false },
	{ "ldu", select_ld, false },
	{ "st", select_st, false },
	{ "atom", select_atom, false },
	{ "red", select_atom, false },
	{ "cp", select_cp, false },
	{ "prefetch", select_nothing, false },
	{ "prefetchu", select_nothing, false },
	{ "discard", select_nothing, false },
	{ "applypriority", select_nothing, false },
	{ "pmevent", select_nothing, false },
	{ "griddepcontrol", select_nothing, false },
	{ "setmaxnreg", select_nothing, false },
	{ "membar", select_fence, false },
	{ "fence", select_fence, false },
	{ "activemask", select_activemask, false },
	{ "shfl", select_shfl, true },
	{ "vote", select_vote, true },
	{ "match", select_match, true },
	{ "redux", select_redux, true },
	{ "elect", select_elect, true },
	{ "bar", select_bar, true },
	{ "barrier", select_bar, true },
	{ "nanosleep", select_nanosleep, true },
	{ "brx", select_brx, true },
	{ "call", select_call, true },
	{ "ret", select_end, true },
	{ "exit", select_end, true },
	{ "trap", select_end, true },
	{ "brkpt", select_end, true },
};

static const struct opcode *opcode_find(const char *name)
{
	for (size_t i = 0; i < sizeof(opcodes) / sizeof(opcodes[0]); i++)
		if (!strcmp(opcodes[i].name, name))
			return &opcodes[i];
	return NULL;
}

/* select_guarded - with a mask of the guard's lanes: guard, drafts, unguard */
static bool select_guarded(S s, const struct opcode *opcode)
{
	uint32_t label = s->out->label_count++;
	bool done;
	D d = draft_emit(s, "guard");

	if (d == FAILED)
		return false;
	draft_operand(s, d, 1, operand_register(s, s->statement->guard), false);
	draft_at(s, d)->kind = PTX_DRAFT_GUARD;
	draft_at(s, d)->label = label;
	draft_at(s, d)->code.detail = s->statement->guard_negated ? ~0u : 0;
	s->in_guard = true;
	done = opcode->select(s);
	s->in_guard = false;
	if (draft_emit(s, "unguard") == FAILED)
		return false;
	return done && label_place(s, label);
}

static bool select_statement(S s)
{
	const struct ptx_statement *statement = s->statement;
	size_t first = s->out->draft_count;
	const struct opcode *opcode;
	uint32_t label;

	s->taken = 0;
	if (statement->label) {
		struct select_label *known = label_lookup(s, statement->label, statement->scope);

		return label_place(s, known->number);
	}
	if (!strcmp(statement->opcode, "bra")) {
		if (!select_bra(s))
			return false;
	} else {
		opcode = opcode_find(statement->opcode);
		if (!opcode)
			return select_not_implemented(s);
		if (statement->guard == PTX_NO_REGISTER) {
			if (!opcode->select(s))
				return s->code ? false : select_not_implemented(s);
		} else if (!opcode->flows) {
			if (!select_guarded(s, opcode))
				return s->code ? false : select_not_implemented(s);
		} else {
			label = s->out->label_count++;
			if (!draft_branch(s, label, true) || !opcode->select(s) ||
			    !label_place(s, label))
				return s->code ? false : select_not_implemented(s);
		}
	}
	for (unsigned int i = 0; i < statement->modifier_count; i++)
		if (!(s->taken & (1u << i)))
			return select_not_implemented(s);
	/* What a statement became counts as one instruction. */
	for (size_t d = first + 1; d < s->out->draft_count; d++)
		s->out->drafts[d].code.count = 0;
	return !s->code;
}

/* ---- a function ---- */

static bool map_registers(S s)
{
	struct ptx_function *function = s->function;
	uint32_t *map = ptx_arena_take(&s->compiler->tree->arena,
				       (function->register_count + 1) * sizeof(*map));

	if (!map)
		return select_no_memory(s);
	for (uint32_t reg = 0; reg < function->register_count; reg++)
		map[reg] = s->out->counts[type_class(function->register_types[reg])]++;
	s->out->register_map = map;
	return true;
}

/* map_parameters - give parameters, results and call variables their units */
static bool map_parameters(S s)
{
	struct ptx_function *function = s->function;
	struct ptx_variable *variable;
	uint64_t unit = 0;

	if (!function->is_entry) {
		for (variable = function->parameters; variable; variable = variable->next) {
			variable->address = PTX_UNIT_FIXED | unit;
			unit += (variable->bytes + 3) / 4;
		}
		for (variable = function->results; variable; variable = variable->next) {
			variable->address = PTX_UNIT_FIXED | unit;
			unit += (variable->bytes + 3) / 4;
		}
		if (unit * 4 > 2 * PTX_PARAMETER_BYTES_MAX)
			return select_fail(s, "the parameters are too large");
	}
	for (variable = function->variables; variable; variable = variable->next) {
		if (variable->space != PTX_SPACE_PARAM)
			continue;
		if (variable->bytes > PTX_PARAMETER_BYTES_MAX || variable->unsized)
			return select_fail(s, "a parameter is too large");
		variable->address = s->out->counts[PTX_VIRTUAL_REG32];
		s->out->counts[PTX_VIRTUAL_REG32] += (uint32_t)((variable->bytes + 3) / 4);
		if (s->out->counts[PTX_VIRTUAL_REG32] > PTX_DRAFTS_MAX)
			return select_fail(s, "the parameters are too large");
	}
	return true;
}

int ptx_select(struct ptx_compiler *compiler, struct ptx_draft_function *out)
{
	struct ptx_statement opening = { .line = out->function->line,
					 .text = out->function->name->text,
					 .text_length = out->function->name->length };
	struct selector selector = { .compiler = compiler, .out = out, .function = out->function };
	const struct ptx_statement *statement;
	S s = &selector;
	D d;

	s->statement = &opening;
	out->end_label = out->label_count++;
	if (!map_registers(s) || !map_parameters(s))
		return s->code;
	for (statement = s->function->statements; statement; statement = statement->next) {
		s->statement = statement;
		if (statement->label && !label_declare(s, statement->label, statement->scope))
			return s->code;
	}
	for (statement = s->function->statements; statement; statement = statement->next) {
		s->statement = statement;
		if (!select_statement(s))
			return s->code ? s->code : -ENOMEM;
	}
	s->statement = &opening;
	if (!label_place(s, out->end_label))
		return s->code;
	d = draft_emit(s, "return");
	if (d == FAILED)
		return s->code;
	draft_at(s, d)->kind = PTX_DRAFT_END;
	draft_at(s, d)->code.count = 0;
	return 0;
}
