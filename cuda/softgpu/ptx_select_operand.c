/* SPDX-License-Identifier: Apache-2.0 */
/* What the selection of every instruction uses: modifiers, drafts, operands, and how it fails. */
#include "cuda/softgpu/ptx_select.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- failures ---- */

/* select_fail - "line N: 'the instruction': why" */
bool select_fail(S s, const char *format, ...)
{
	const struct ptx_statement *statement = s->statement;
	char why[160], text[120];
	size_t used = 0;
	va_list arguments;

	if (s->code)
		return false;
	va_start(arguments, format);
	vsnprintf(why, sizeof(why), format, arguments);
	va_end(arguments);
	for (size_t i = 0; i < statement->text_length && used + 1 < sizeof(text); i++) {
		char character = statement->text[i];

		if (character == '\n' || character == '\t' || character == '\r')
			character = ' ';
		if (character == ' ' && used && text[used - 1] == ' ')
			continue;
		text[used++] = character;
	}
	text[used] = '\0';
	s->code = error_set(s->compiler->error, -ENOEXEC, "line %u: '%s': %s", statement->line,
			    text, why);
	return false;
}

bool select_not_implemented(S s)
{
	return select_fail(s, "not implemented");
}

bool select_no_memory(S s)
{
	if (!s->code)
		s->code = error_set(s->compiler->error, -ENOMEM,
				    "line %u: no memory for the module's code", s->statement->line);
	return false;
}

/* ---- modifiers ---- */

/* modifier_take - take the modifier if it is there */
bool modifier_take(S s, const char *name)
{
	for (unsigned int i = 0; i < s->statement->modifier_count; i++)
		if (!(s->taken & (1u << i)) && !strcmp(s->statement->modifiers[i], name)) {
			s->taken |= 1u << i;
			return true;
		}
	return false;
}

/* modifier_choose - take the first of several modifiers that is there; names end in NULL; or NULL
 */
const char *modifier_choose(S s, const char *const *names)
{
	for (; *names; names++)
		if (modifier_take(s, *names))
			return *names;
	return NULL;
}

/* modifier_type - the first modifier left that is a type */
enum ptx_type modifier_type(S s)
{
	for (unsigned int i = 0; i < s->statement->modifier_count; i++) {
		enum ptx_type type;

		if (s->taken & (1u << i))
			continue;
		type = ptx_type_find(s->statement->modifiers[i]);
		if (type != PTX_TYPE_NONE) {
			s->taken |= 1u << i;
			return type;
		}
	}
	return PTX_TYPE_NONE;
}

bool type_is_float(enum ptx_type type)
{
	return type == PTX_TYPE_F32 || type == PTX_TYPE_F64 || type == PTX_TYPE_F16 ||
	       type == PTX_TYPE_F16X2 || type == PTX_TYPE_BF16 || type == PTX_TYPE_BF16X2;
}

bool type_is_signed(enum ptx_type type)
{
	return type == PTX_TYPE_S8 || type == PTX_TYPE_S16 || type == PTX_TYPE_S32 ||
	       type == PTX_TYPE_S64;
}

unsigned int type_bits(enum ptx_type type)
{
	return 8 * ptx_type_bytes(type);
}

/* as_unsigned, as_bits - the type of the same width without a sign, without any meaning */
enum ptx_type type_unsigned(enum ptx_type type)
{
	switch (ptx_type_bytes(type)) {
	case 1:
		return PTX_TYPE_U8;
	case 2:
		return PTX_TYPE_U16;
	case 4:
		return PTX_TYPE_U32;
	default:
		return PTX_TYPE_U64;
	}
}

enum ptx_type type_plain(enum ptx_type type)
{
	switch (ptx_type_bytes(type)) {
	case 1:
		return PTX_TYPE_B8;
	case 2:
		return PTX_TYPE_B16;
	case 4:
		return PTX_TYPE_B32;
	default:
		return PTX_TYPE_B64;
	}
}

/* ---- drafts ---- */

struct ptx_draft *ptx_draft_add(struct ptx_draft_function *out)
{
	struct ptx_draft *draft;

	if (out->draft_count == out->draft_capacity) {
		size_t capacity = out->draft_capacity ? 2 * out->draft_capacity : 128;

		if (capacity > PTX_DRAFTS_MAX)
			return NULL;
		draft = realloc(out->drafts, capacity * sizeof(*draft));
		if (!draft)
			return NULL;
		out->drafts = draft;
		out->draft_capacity = capacity;
	}
	draft = &out->drafts[out->draft_count++];
	memset(draft, 0, sizeof(*draft));
	draft->label = PTX_NO_LABEL;
	return draft;
}

struct ptx_draft *draft_at(S s, D d)
{
	return &s->out->drafts[d];
}

/* draft_emit - a draft for the handler of that name */
D draft_emit(S s, const char *format, ...)
{
	struct ptx_draft *draft;
	char name[64];
	va_list arguments;
	ptx_handler run;

	if (s->code)
		return FAILED;
	va_start(arguments, format);
	vsnprintf(name, sizeof(name), format, arguments);
	va_end(arguments);
	run = ptx_handler_find(name);
	if (!run) {
		select_not_implemented(s);
		return FAILED;
	}
	draft = ptx_draft_add(s->out);
	if (!draft) {
		select_no_memory(s);
		return FAILED;
	}
	draft->code.run = run;
	draft->code.line = s->statement->line;
	draft->code.count = 1;
	draft->guarded = s->in_guard;
	return s->out->draft_count - 1;
}

void draft_operand(S s, D d, unsigned int k, struct ptx_draft_operand operand, bool defines)
{
	if (d == FAILED)
		return;
	draft_at(s, d)->operands[k] = operand;
	if (defines)
		draft_at(s, d)->defines |= (uint8_t)(1u << k);
	else
		draft_at(s, d)->reads |= (uint8_t)(1u << k);
}

struct ptx_draft_operand operand_ready(uint32_t number)
{
	return (struct ptx_draft_operand){ PTX_VIRTUAL_READY, number };
}

struct ptx_draft_operand operand_constant(S s, uint64_t value, bool wide)
{
	bool failed = false;
	uint32_t number = ptx_constant(s->compiler, value, wide, &failed);

	if (failed)
		select_no_memory(s);
	return operand_ready(number);
}

struct ptx_draft_operand operand_temporary(S s, enum ptx_virtual class)
{
	uint32_t *count = &s->out->counts[class];

	if (*count >= PTX_DRAFTS_MAX)
		select_no_memory(s);
	return (struct ptx_draft_operand){ class, (*count)++ };
}

enum ptx_virtual type_class(enum ptx_type type)
{
	if (type == PTX_TYPE_PRED)
		return PTX_VIRTUAL_PRED;
	return ptx_type_bytes(type) == 8 ? PTX_VIRTUAL_REG64 : PTX_VIRTUAL_REG32;
}

struct ptx_draft_operand operand_register(S s, uint32_t reg)
{
	enum ptx_type type = s->function->register_types[reg];

	return (struct ptx_draft_operand){ type_class(type), s->out->register_map[reg] };
}

/* draft_move - d = a, both of @class */
void draft_move(S s, struct ptx_draft_operand d, struct ptx_draft_operand a, bool wide)
{
	D draft = draft_emit(s, wide ? "mov_b64" : "mov_b32");

	draft_operand(s, draft, 0, d, true);
	draft_operand(s, draft, 1, a, false);
}

struct ptx_draft_operand draft_unary(S s, const char *name, enum ptx_virtual class,
				     struct ptx_draft_operand a)
{
	struct ptx_draft_operand d = operand_temporary(s, class);
	D draft = draft_emit(s, "%s", name);

	draft_operand(s, draft, 0, d, true);
	draft_operand(s, draft, 1, a, false);
	return d;
}

/* ---- operands ---- */

const struct ptx_operand *statement_operand(S s, unsigned int k)
{
	return &s->statement->operands[k];
}

bool statement_wants(S s, unsigned int count)
{
	if (s->statement->operand_count != count)
		return select_fail(s, "has %u operands where %u are due",
				   s->statement->operand_count, count);
	return true;
}

static const struct {
	const char *name;
	unsigned int base;
	unsigned int slot;
} specials[] = {
	{ "%tid.x", PTX_BASE_WARP, PTX_WARP_TID_X },
	{ "%tid.y", PTX_BASE_WARP, PTX_WARP_TID_Y },
	{ "%tid.z", PTX_BASE_WARP, PTX_WARP_TID_Z },
	{ "%laneid", PTX_BASE_WARP, PTX_WARP_LANEID },
	{ "%lanemask_eq", PTX_BASE_WARP, PTX_WARP_LANEMASK_EQ },
	{ "%lanemask_lt", PTX_BASE_WARP, PTX_WARP_LANEMASK_LT },
	{ "%lanemask_le", PTX_BASE_WARP, PTX_WARP_LANEMASK_LE },
	{ "%lanemask_gt", PTX_BASE_WARP, PTX_WARP_LANEMASK_GT },
	{ "%lanemask_ge", PTX_BASE_WARP, PTX_WARP_LANEMASK_GE },
	{ "%warpid", PTX_BASE_WARP, PTX_WARP_WARPID },
	{ "%ntid.x", PTX_BASE_BLOCK, PTX_BLOCK_NTID_X },
	{ "%ntid.y", PTX_BASE_BLOCK, PTX_BLOCK_NTID_Y },
	{ "%ntid.z", PTX_BASE_BLOCK, PTX_BLOCK_NTID_Z },
	{ "%ctaid.x", PTX_BASE_BLOCK, PTX_BLOCK_CTAID_X },
	{ "%ctaid.y", PTX_BASE_BLOCK, PTX_BLOCK_CTAID_Y },
	{ "%ctaid.z", PTX_BASE_BLOCK, PTX_BLOCK_CTAID_Z },
	{ "%nctaid.x", PTX_BASE_BLOCK, PTX_BLOCK_NCTAID_X },
	{ "%nctaid.y", PTX_BASE_BLOCK, PTX_BLOCK_NCTAID_Y },
	{ "%nctaid.z", PTX_BASE_BLOCK, PTX_BLOCK_NCTAID_Z },
	{ "%nwarpid", PTX_BASE_BLOCK, PTX_BLOCK_NWARPID },
	{ "%smid", PTX_BASE_BLOCK, PTX_BLOCK_SMID },
	{ "%nsmid", PTX_BASE_BLOCK, PTX_BLOCK_NSMID },
	{ "%gridid", PTX_BASE_BLOCK, PTX_BLOCK_GRIDID },
	{ "%dynamic_smem_size", PTX_BASE_BLOCK, PTX_BLOCK_DYNAMIC_SHARED_BYTES },
	{ "%total_smem_size", PTX_BASE_BLOCK, PTX_BLOCK_TOTAL_SHARED_BYTES },
	{ "%envreg1", PTX_BASE_BLOCK, PTX_BLOCK_ENVREG1 },
	{ "%envreg2", PTX_BASE_BLOCK, PTX_BLOCK_ENVREG2 },
	{ "%cluster_ctarank", PTX_BASE_BLOCK, PTX_BLOCK_ZERO },
	{ "%cluster_nctarank", PTX_BASE_BLOCK, PTX_BLOCK_ONE },
};

/* special - a special register; those that are not slots are read into a temporary */
static struct ptx_draft_operand special(S s, const struct ptx_operand *from, bool wide)
{
	const char *name = from->name->text;
	struct ptx_draft_operand result;
	D d;

	for (size_t i = 0; i < sizeof(specials) / sizeof(specials[0]); i++)
		if (!strcmp(name, specials[i].name)) {
			result =
				operand_ready(specials[i].slot * PTX_SLOT_BYTES + specials[i].base);
			return wide ? draft_unary(s, "widen_u32", PTX_VIRTUAL_REG64, result)
				    : result;
		}
	result = operand_temporary(s, PTX_VIRTUAL_REG64);
	if (!strcmp(name, "%clock") || !strcmp(name, "%clock64") || !strcmp(name, "%clock_hi"))
		d = draft_emit(s, "clock_64");
	else if (!strncmp(name, "%globaltimer", 12))
		d = draft_emit(s, "globaltimer");
	else
		d = FAILED;
	if (d == FAILED) {
		select_not_implemented(s);
		return result;
	}
	draft_operand(s, d, 0, result, true);
	if (wide)
		return result;
	return draft_unary(s, strstr(name, "_hi") ? "high_b64" : "narrow_b64", PTX_VIRTUAL_REG32,
			   result);
}

/* operand_variable - where a variable lies, in its own space */
struct ptx_draft_operand operand_variable(S s, const struct ptx_variable *variable, uint64_t offset,
					  bool wide)
{
	struct ptx_draft_operand result, base;
	D d;

	if (variable->space == PTX_SPACE_LOCAL) {
		result = operand_temporary(s, PTX_VIRTUAL_REG64);
		d = draft_emit(s, "local_address");
		draft_operand(s, d, 0, result, true);
		if (d != FAILED)
			draft_at(s, d)->code.immediate = variable->address + offset;
		return wide ? result : draft_unary(s, "narrow_b64", PTX_VIRTUAL_REG32, result);
	}
	if (variable->space == PTX_SPACE_SHARED && (variable->external || variable->unsized)) {
		base = operand_ready(PTX_BLOCK_DYNAMIC_SHARED_OFFSET * PTX_SLOT_BYTES +
				     PTX_BASE_BLOCK);
		if (offset) {
			result = operand_temporary(s, PTX_VIRTUAL_REG32);
			d = draft_emit(s, "add_u32");
			draft_operand(s, d, 0, result, true);
			draft_operand(s, d, 1, base, false);
			draft_operand(s, d, 2, operand_constant(s, offset, false), false);
			base = result;
		}
		return wide ? draft_unary(s, "widen_u32", PTX_VIRTUAL_REG64, base) : base;
	}
	if (variable->space == PTX_SPACE_PARAM && !variable->kernel_parameter) {
		select_fail(s, "the address of a function's parameter: not implemented");
		return operand_ready(0);
	}
	if (!wide && (variable->space == PTX_SPACE_GLOBAL || variable->space == PTX_SPACE_CONST))
		select_fail(s, "a 64-bit address does not fit");
	return operand_constant(s, variable->address + offset, wide);
}

/* literal - a number as a value of @type */
static struct ptx_draft_operand literal(S s, const struct ptx_operand *from, enum ptx_type type)
{
	bool wide = ptx_type_bytes(type) == 8;
	uint64_t bits = from->value;

	if (from->kind == PTX_OPERAND_INTEGER && (type == PTX_TYPE_F32 || type == PTX_TYPE_F64)) {
		select_fail(s, "an integer where a floating-point number is due");
	} else if (from->kind == PTX_OPERAND_FLOAT64 && !wide) {
		double number;
		float narrow;
		uint32_t narrow_bits;

		memcpy(&number, &bits, sizeof(number));
		narrow = (float)number;
		memcpy(&narrow_bits, &narrow, sizeof(narrow_bits));
		bits = narrow_bits;
	} else if (from->kind == PTX_OPERAND_FLOAT32 && wide) {
		uint32_t narrow_bits = (uint32_t)bits;
		float narrow;
		double number;

		memcpy(&narrow, &narrow_bits, sizeof(narrow));
		number = (double)narrow;
		memcpy(&bits, &number, sizeof(bits));
	}
	return operand_constant(s, wide ? bits : (uint32_t)bits, wide);
}

/* operand_value - an operand to read as @type */
struct ptx_draft_operand operand_value(S s, const struct ptx_operand *from, enum ptx_type type)
{
	bool wide = ptx_type_bytes(type) == 8;
	struct ptx_function *function;

	if (s->code)
		return operand_ready(0);
	if (type == PTX_TYPE_PRED && from->kind == PTX_OPERAND_INTEGER)
		return operand_constant(s, from->value ? ~(uint64_t)0 : 0, false);
	switch (from->kind) {
	case PTX_OPERAND_REGISTER:
		if (type_class(type) != type_class(from->type))
			select_fail(s, "'%.60s' has the wrong type", from->name->text);
		return operand_register(s, from->reg);
	case PTX_OPERAND_SPECIAL:
		if (type == PTX_TYPE_PRED)
			break;
		return special(s, from, wide);
	case PTX_OPERAND_INTEGER:
	case PTX_OPERAND_FLOAT32:
	case PTX_OPERAND_FLOAT64:
		return literal(s, from, type);
	case PTX_OPERAND_VARIABLE:
		if (type == PTX_TYPE_PRED)
			break;
		return operand_variable(s, from->variable, from->value, wide);
	case PTX_OPERAND_NAME:
		function = from->name->function;
		if (!function) {
			select_fail(s, "'%.60s' is not declared", from->name->text);
			return operand_ready(0);
		}
		for (int i = 0; function->alias_of && function->alias_of->function && i < 8; i++)
			function = function->alias_of->function;
		if (!wide || !function->draft)
			break;
		return operand_constant(
			s, PTX_WINDOW_CODE + 16 * (uint64_t)function->draft->callable, true);
	default:
		break;
	}
	select_fail(s, "an operand is of the wrong kind");
	return operand_ready(0);
}

/* operand_destination - where a result of @type goes; a sink gets a temporary */
struct ptx_draft_operand operand_destination(S s, const struct ptx_operand *to, enum ptx_type type)
{
	if (to->kind == PTX_OPERAND_SINK)
		return operand_temporary(s, type_class(type));
	if (to->kind != PTX_OPERAND_REGISTER) {
		select_fail(s, "the result is not a register");
		return operand_temporary(s, type_class(type));
	}
	if (type_class(to->type) != type_class(type))
		select_fail(s, "'%.60s' has the wrong type", to->name->text);
	return operand_register(s, to->reg);
}

/*
 * draft_simple - handler @name with the statement's operands in order; @types gives each operand's
 * type, the result first
 */
D draft_simple(S s, const char *name, unsigned int count, const enum ptx_type *types)
{
	struct values values;
	D d;

	if (!statement_wants(s, count))
		return FAILED;
	for (unsigned int k = 1; k < count; k++)
		values.v[k] = operand_value(s, statement_operand(s, k), types[k]);
	values.v[0] = operand_destination(s, statement_operand(s, 0), types[0]);
	d = draft_emit(s, "%s", name);
	for (unsigned int k = 0; k < count; k++)
		draft_operand(s, d, k, values.v[k], k == 0);
	return d;
}

const char *name_format(char *buffer, size_t bytes, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(buffer, bytes, format, arguments);
	va_end(arguments);
	return buffer;
}

/* draft_after - one more step on the result: d = name(d) */
bool draft_after(S s, D d, const char *name)
{
	struct ptx_draft_operand result;
	D step;

	if (d == FAILED)
		return false;
	result = draft_at(s, d)->operands[0];
	step = draft_emit(s, "%s", name);
	draft_operand(s, step, 0, result, true);
	draft_operand(s, step, 1, result, false);
	return step != FAILED;
}
