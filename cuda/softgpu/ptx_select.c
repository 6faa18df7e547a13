/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Instruction selection: PTX statements into drafts of code.
 *
 * The table at the end names a function for each opcode. That function takes the modifiers it
 * understands; one that nobody took, an operand of the wrong kind, or a handler that does not
 * exist make the load fail with the instruction's text: what is not understood completely is never
 * run.
 */
#include "cuda/softgpu/ptx_compile.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct label {
	struct ptx_name *name;
	uint32_t scope;
	uint32_t number;
	bool placed;
	struct label *next;
};

#define LABEL_BUCKETS 256u

struct selector {
	struct ptx_compiler *compiler;
	struct ptx_draft_function *out;
	struct ptx_function *function;
	const struct ptx_statement *statement;
	uint32_t taken; /* modifiers, a bit each */
	struct label *labels[LABEL_BUCKETS];
	int code;
	bool in_guard;
};

typedef struct selector *S;

/* ---- failures ---- */

static bool fail(S s, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* fail - "line N: 'the instruction': why" */
static bool fail(S s, const char *format, ...)
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

static bool not_implemented(S s)
{
	return fail(s, "not implemented");
}

static bool no_memory(S s)
{
	if (!s->code)
		s->code = error_set(s->compiler->error, -ENOMEM,
				    "line %u: no memory for the module's code", s->statement->line);
	return false;
}

/* ---- modifiers ---- */

/* flag - take the modifier if it is there */
static bool flag(S s, const char *name)
{
	for (unsigned int i = 0; i < s->statement->modifier_count; i++)
		if (!(s->taken & (1u << i)) && !strcmp(s->statement->modifiers[i], name)) {
			s->taken |= 1u << i;
			return true;
		}
	return false;
}

/* choose - take the first of several modifiers that is there; names end in NULL; or NULL */
static const char *choose(S s, const char *const *names)
{
	for (; *names; names++)
		if (flag(s, *names))
			return *names;
	return NULL;
}

/* take_type - the first modifier left that is a type */
static enum ptx_type take_type(S s)
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

static bool is_float(enum ptx_type type)
{
	return type == PTX_TYPE_F32 || type == PTX_TYPE_F64 || type == PTX_TYPE_F16 ||
	       type == PTX_TYPE_F16X2 || type == PTX_TYPE_BF16 || type == PTX_TYPE_BF16X2;
}

static bool is_signed(enum ptx_type type)
{
	return type == PTX_TYPE_S8 || type == PTX_TYPE_S16 || type == PTX_TYPE_S32 ||
	       type == PTX_TYPE_S64;
}

static unsigned int width(enum ptx_type type)
{
	return 8 * ptx_type_bytes(type);
}

/* as_unsigned, as_bits - the type of the same width without a sign, without any meaning */
static enum ptx_type as_unsigned(enum ptx_type type)
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

static enum ptx_type as_bits(enum ptx_type type)
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

/* Drafts are named by number while others may be added behind them. */
typedef size_t D;
#define FAILED ((D)-1)

static struct ptx_draft *at(S s, D d)
{
	return &s->out->drafts[d];
}

static D emit(S s, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* emit - a draft for the handler of that name */
static D emit(S s, const char *format, ...)
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
		not_implemented(s);
		return FAILED;
	}
	draft = ptx_draft_add(s->out);
	if (!draft) {
		no_memory(s);
		return FAILED;
	}
	draft->code.run = run;
	draft->code.line = s->statement->line;
	draft->code.count = 1;
	draft->guarded = s->in_guard;
	return s->out->draft_count - 1;
}

static void set(S s, D d, unsigned int k, struct ptx_draft_operand operand, bool defines)
{
	if (d == FAILED)
		return;
	at(s, d)->operands[k] = operand;
	if (defines)
		at(s, d)->defines |= (uint8_t)(1u << k);
	else
		at(s, d)->reads |= (uint8_t)(1u << k);
}

static struct ptx_draft_operand ready(uint32_t number)
{
	return (struct ptx_draft_operand){ PTX_VIRTUAL_READY, number };
}

static struct ptx_draft_operand constant(S s, uint64_t value, bool wide)
{
	bool failed = false;
	uint32_t number = ptx_constant(s->compiler, value, wide, &failed);

	if (failed)
		no_memory(s);
	return ready(number);
}

static struct ptx_draft_operand temporary(S s, enum ptx_virtual class)
{
	uint32_t *count = &s->out->counts[class];

	if (*count >= PTX_DRAFTS_MAX)
		no_memory(s);
	return (struct ptx_draft_operand){ class, (*count)++ };
}

static enum ptx_virtual class_of(enum ptx_type type)
{
	if (type == PTX_TYPE_PRED)
		return PTX_VIRTUAL_PRED;
	return ptx_type_bytes(type) == 8 ? PTX_VIRTUAL_REG64 : PTX_VIRTUAL_REG32;
}

static struct ptx_draft_operand tree_register(S s, uint32_t reg)
{
	enum ptx_type type = s->function->register_types[reg];

	return (struct ptx_draft_operand){ class_of(type), s->out->register_map[reg] };
}

/* move - d = a, both of @class */
static void move(S s, struct ptx_draft_operand d, struct ptx_draft_operand a, bool wide)
{
	D draft = emit(s, wide ? "mov_b64" : "mov_b32");

	set(s, draft, 0, d, true);
	set(s, draft, 1, a, false);
}

static struct ptx_draft_operand unary(S s, const char *name, enum ptx_virtual class,
				      struct ptx_draft_operand a)
{
	struct ptx_draft_operand d = temporary(s, class);
	D draft = emit(s, "%s", name);

	set(s, draft, 0, d, true);
	set(s, draft, 1, a, false);
	return d;
}

/* ---- operands ---- */

static const struct ptx_operand *operand(S s, unsigned int k)
{
	return &s->statement->operands[k];
}

static bool want(S s, unsigned int count)
{
	if (s->statement->operand_count != count)
		return fail(s, "has %u operands where %u are due", s->statement->operand_count,
			    count);
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
			result = ready(specials[i].slot * PTX_SLOT_BYTES + specials[i].base);
			return wide ? unary(s, "widen_u32", PTX_VIRTUAL_REG64, result) : result;
		}
	result = temporary(s, PTX_VIRTUAL_REG64);
	if (!strcmp(name, "%clock") || !strcmp(name, "%clock64") || !strcmp(name, "%clock_hi"))
		d = emit(s, "clock_64");
	else if (!strncmp(name, "%globaltimer", 12))
		d = emit(s, "globaltimer");
	else
		d = FAILED;
	if (d == FAILED) {
		not_implemented(s);
		return result;
	}
	set(s, d, 0, result, true);
	if (wide)
		return result;
	return unary(s, strstr(name, "_hi") ? "high_b64" : "narrow_b64", PTX_VIRTUAL_REG32, result);
}

/* variable_address - where a variable lies, in its own space */
static struct ptx_draft_operand variable_address(S s, const struct ptx_variable *variable,
						 uint64_t offset, bool wide)
{
	struct ptx_draft_operand result, base;
	D d;

	if (variable->space == PTX_SPACE_LOCAL) {
		result = temporary(s, PTX_VIRTUAL_REG64);
		d = emit(s, "local_address");
		set(s, d, 0, result, true);
		if (d != FAILED)
			at(s, d)->code.immediate = variable->address + offset;
		return wide ? result : unary(s, "narrow_b64", PTX_VIRTUAL_REG32, result);
	}
	if (variable->space == PTX_SPACE_SHARED && (variable->external || variable->unsized)) {
		base = ready(PTX_BLOCK_DYNAMIC_SHARED_OFFSET * PTX_SLOT_BYTES + PTX_BASE_BLOCK);
		if (offset) {
			result = temporary(s, PTX_VIRTUAL_REG32);
			d = emit(s, "add_u32");
			set(s, d, 0, result, true);
			set(s, d, 1, base, false);
			set(s, d, 2, constant(s, offset, false), false);
			base = result;
		}
		return wide ? unary(s, "widen_u32", PTX_VIRTUAL_REG64, base) : base;
	}
	if (variable->space == PTX_SPACE_PARAM && !variable->kernel_parameter) {
		fail(s, "the address of a function's parameter: not implemented");
		return ready(0);
	}
	if (!wide && (variable->space == PTX_SPACE_GLOBAL || variable->space == PTX_SPACE_CONST))
		fail(s, "a 64-bit address does not fit");
	return constant(s, variable->address + offset, wide);
}

/* literal - a number as a value of @type */
static struct ptx_draft_operand literal(S s, const struct ptx_operand *from, enum ptx_type type)
{
	bool wide = ptx_type_bytes(type) == 8;
	uint64_t bits = from->value;

	if (from->kind == PTX_OPERAND_INTEGER && (type == PTX_TYPE_F32 || type == PTX_TYPE_F64)) {
		fail(s, "an integer where a floating-point number is due");
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
	return constant(s, wide ? bits : (uint32_t)bits, wide);
}

/* value - an operand to read as @type */
static struct ptx_draft_operand value(S s, const struct ptx_operand *from, enum ptx_type type)
{
	bool wide = ptx_type_bytes(type) == 8;
	struct ptx_function *function;

	if (s->code)
		return ready(0);
	if (type == PTX_TYPE_PRED && from->kind == PTX_OPERAND_INTEGER)
		return constant(s, from->value ? ~(uint64_t)0 : 0, false);
	switch (from->kind) {
	case PTX_OPERAND_REGISTER:
		if (class_of(type) != class_of(from->type))
			fail(s, "'%.60s' has the wrong type", from->name->text);
		return tree_register(s, from->reg);
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
		return variable_address(s, from->variable, from->value, wide);
	case PTX_OPERAND_NAME:
		function = from->name->function;
		if (!function) {
			fail(s, "'%.60s' is not declared", from->name->text);
			return ready(0);
		}
		for (int i = 0; function->alias_of && function->alias_of->function && i < 8; i++)
			function = function->alias_of->function;
		if (!wide || !function->draft)
			break;
		return constant(s, PTX_WINDOW_CODE + 16 * (uint64_t)function->draft->callable,
				true);
	default:
		break;
	}
	fail(s, "an operand is of the wrong kind");
	return ready(0);
}

/* destination - where a result of @type goes; a sink gets a temporary */
static struct ptx_draft_operand destination(S s, const struct ptx_operand *to, enum ptx_type type)
{
	if (to->kind == PTX_OPERAND_SINK)
		return temporary(s, class_of(type));
	if (to->kind != PTX_OPERAND_REGISTER) {
		fail(s, "the result is not a register");
		return temporary(s, class_of(type));
	}
	if (class_of(to->type) != class_of(type))
		fail(s, "'%.60s' has the wrong type", to->name->text);
	return tree_register(s, to->reg);
}

/*
 * Operands may need drafts of their own (a special register, an address); those must stand before
 * the instruction that reads them. So values are made first, then the instruction.
 */
struct values {
	struct ptx_draft_operand v[PTX_CODE_OPERANDS];
};

/*
 * simple - handler @name with the statement's operands in order; @types gives each operand's type,
 * the result first
 */
static D simple(S s, const char *name, unsigned int count, const enum ptx_type *types)
{
	struct values values;
	D d;

	if (!want(s, count))
		return FAILED;
	for (unsigned int k = 1; k < count; k++)
		values.v[k] = value(s, operand(s, k), types[k]);
	values.v[0] = destination(s, operand(s, 0), types[0]);
	d = emit(s, "%s", name);
	for (unsigned int k = 0; k < count; k++)
		set(s, d, k, values.v[k], k == 0);
	return d;
}

static const char *format_name(char *buffer, size_t bytes, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static const char *format_name(char *buffer, size_t bytes, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(buffer, bytes, format, arguments);
	va_end(arguments);
	return buffer;
}

#define NAME(...) format_name((char[64]){ 0 }, 64, __VA_ARGS__)

/* after - one more step on the result: d = name(d) */
static bool after(S s, D d, const char *name)
{
	struct ptx_draft_operand result;
	D step;

	if (d == FAILED)
		return false;
	result = at(s, d)->operands[0];
	step = emit(s, "%s", name);
	set(s, step, 0, result, true);
	set(s, step, 1, result, false);
	return step != FAILED;
}

/* ---- rounding ---- */

/* rounding - take the modifier; "rn" without one; "?" never */
static const char *rounding(S s)
{
	static const char *const modes[] = { "rn", "rz", "rm", "rp", NULL };
	const char *mode = choose(s, modes);

	return mode ? mode : "rn";
}

static void round_begin(S s, const char *mode)
{
	if (strcmp(mode, "rn"))
		emit(s, "round_%s", mode);
}

static void round_end(S s, const char *mode)
{
	if (strcmp(mode, "rn"))
		emit(s, "round_end");
}

/* float_operation - add, sub, mul, fma, div, sqrt, rcp of any floating type */
static bool float_operation(S s, const char *name, enum ptx_type type, unsigned int count)
{
	const char *mode = rounding(s);
	bool flush = flag(s, "ftz"), saturate = flag(s, "sat"), relu = flag(s, "relu");
	const enum ptx_type types[4] = { type, type, type, type };
	struct values values;
	D d;

	if (strcmp(mode, "rn") && type != PTX_TYPE_F32 && type != PTX_TYPE_F64)
		return not_implemented(s);
	if (!want(s, count))
		return false;
	for (unsigned int k = 1; k < count; k++)
		values.v[k] = value(s, operand(s, k), types[k]);
	values.v[0] = destination(s, operand(s, 0), type);
	round_begin(s, mode);
	d = emit(s, flush ? "%s_ftz_%s" : "%s_%s", name, ptx_type_name(type));
	for (unsigned int k = 0; k < count; k++)
		set(s, d, k, values.v[k], k == 0);
	round_end(s, mode);
	if (saturate && d != FAILED)
		after(s, d, NAME("sat_%s", ptx_type_name(type)));
	if (relu && d != FAILED)
		after(s, d, NAME("relu_%s", ptx_type_name(type)));
	return d != FAILED;
}

/* ---- arithmetic ---- */

/* carry_operation - the chain instructions; @c_index: operand that is added, 0 for none */
static bool carry_operation(S s, const char *name, enum ptx_type type, bool writes,
			    unsigned int count)
{
	struct values values;
	D d;

	if (ptx_type_bytes(type) != 4 && ptx_type_bytes(type) != 8)
		return not_implemented(s);
	if (!want(s, count))
		return false;
	for (unsigned int k = 1; k < count; k++)
		values.v[k] = value(s, operand(s, k), type);
	if (count < 4)
		values.v[3] = constant(s, 0, ptx_type_bytes(type) == 8);
	values.v[0] = destination(s, operand(s, 0), type);
	d = emit(s, "%s_%s", name, ptx_type_name(as_unsigned(type)));
	for (unsigned int k = 0; k < 4; k++)
		set(s, d, k, values.v[k], k == 0);
	if (d != FAILED)
		at(s, d)->code.detail = writes;
	return d != FAILED;
}

static bool select_add(S s)
{
	const char *name = s->statement->opcode; /* add, sub, addc, subc */
	enum ptx_type type = take_type(s);
	const enum ptx_type types[3] = { type, type, type };
	bool chain = name[3] == 'c';

	if (is_float(type) && !chain)
		return float_operation(s, name, type, 3);
	if (chain || flag(s, "cc")) {
		bool writes = chain ? flag(s, "cc") : true;

		return carry_operation(s, NAME("%s_cc", name), type, writes, 3);
	}
	if (type == PTX_TYPE_U16X2 || type == PTX_TYPE_S16X2)
		return simple(s, NAME("%s_%s", name, ptx_type_name(type)), 3, types) != FAILED;
	if (flag(s, "sat"))
		return simple(s, NAME("%s_sat_%s", name, ptx_type_name(type)), 3, types) != FAILED;
	return simple(s, NAME("%s_%s", name, ptx_type_name(as_unsigned(type))), 3, types) != FAILED;
}

static const char *const lo_hi_wide[] = { "lo", "hi", "wide", NULL };

static enum ptx_type wider(enum ptx_type type)
{
	return ptx_type_bytes(type) == 2 ? PTX_TYPE_U32 : PTX_TYPE_U64;
}

static bool select_mul(S s)
{
	enum ptx_type type = take_type(s);
	const char *part;
	enum ptx_type types[3] = { type, type, type };

	if (is_float(type))
		return float_operation(s, "mul", type, 3);
	part = choose(s, lo_hi_wide);
	if (!part)
		return not_implemented(s);
	if (!strcmp(part, "wide"))
		types[0] = wider(type);
	if (!strcmp(part, "lo"))
		type = as_unsigned(type);
	return simple(s, NAME("mul_%s_%s", part, ptx_type_name(type)), 3, types) != FAILED;
}

static bool select_mad(S s)
{
	bool with_carry = !strcmp(s->statement->opcode, "madc"), carry, saturate;
	enum ptx_type type = take_type(s);
	enum ptx_type types[4] = { type, type, type, type };
	const char *part;

	if (is_float(type) && !with_carry)
		return float_operation(s, "fma", type, 4);
	part = choose(s, lo_hi_wide);
	carry = flag(s, "cc");
	saturate = flag(s, "sat");
	if (!part)
		return not_implemented(s);
	if (carry || with_carry)
		return carry_operation(s, NAME(with_carry ? "madc_%s_cc" : "mad_%s_cc", part), type,
				       carry, 4);
	if (!strcmp(part, "wide"))
		types[0] = types[3] = wider(type);
	if (!strcmp(part, "lo"))
		type = as_unsigned(type);
	return simple(s, NAME(saturate ? "mad_%s_sat_%s" : "mad_%s_%s", part, ptx_type_name(type)),
		      4, types) != FAILED;
}

static bool select_mul24(S s)
{
	bool mad = !strcmp(s->statement->opcode, "mad24"), saturate = flag(s, "sat");
	enum ptx_type type = take_type(s);
	const enum ptx_type types[4] = { type, type, type, type };
	const char *part = choose(s, lo_hi_wide);

	if (!part)
		return not_implemented(s);
	return simple(s,
		      NAME("%s_%s%s_%s", mad ? "mad24" : "mul24", part, saturate ? "_sat" : "",
			   ptx_type_name(type)),
		      mad ? 4 : 3, types) != FAILED;
}

static bool select_fma(S s)
{
	enum ptx_type type = take_type(s);

	return is_float(type) ? float_operation(s, "fma", type, 4) : not_implemented(s);
}

/* div: .approx and .full are computed exactly */
static bool select_div(S s)
{
	enum ptx_type type = take_type(s);
	const enum ptx_type types[3] = { type, type, type };

	if (is_float(type)) {
		if (!flag(s, "approx"))
			flag(s, "full");
		return float_operation(s, "div", type, 3);
	}
	return simple(s, NAME("div_%s", ptx_type_name(type)), 3, types) != FAILED;
}

/* the same type for all operands, handler opcode_type */
static bool select_same(S s, unsigned int count, enum ptx_type (*canonical)(enum ptx_type))
{
	enum ptx_type type = take_type(s);
	const enum ptx_type types[4] = { type, type, type, type };

	return simple(s,
		      NAME("%s_%s", s->statement->opcode,
			   ptx_type_name(canonical ? canonical(type) : type)),
		      count, types) != FAILED;
}

static bool select_two_same(S s)
{
	return select_same(s, 3, NULL);
}

static bool select_sad(S s)
{
	return select_same(s, 4, NULL);
}

static bool select_min(S s)
{
	enum ptx_type type = take_type(s);
	const enum ptx_type types[3] = { type, type, type };
	bool flush = flag(s, "ftz"), nan = flag(s, "NaN");

	return simple(s,
		      NAME("%s%s%s_%s", s->statement->opcode, flush ? "_ftz" : "",
			   nan ? "_nan" : "", ptx_type_name(type)),
		      3, types) != FAILED;
}

static bool select_neg(S s)
{
	enum ptx_type type = take_type(s);
	const enum ptx_type types[2] = { type, type };
	bool flush = flag(s, "ftz");

	if (type == PTX_TYPE_BF16)
		type = PTX_TYPE_F16;
	if (type == PTX_TYPE_BF16X2)
		type = PTX_TYPE_F16X2;
	return simple(s,
		      NAME(flush ? "%s_ftz_%s" : "%s_%s", s->statement->opcode,
			   ptx_type_name(type)),
		      2, types) != FAILED;
}

/* sqrt, rcp, rsqrt: .approx is computed exactly; of doubles .ftz keeps the upper half only */
static bool select_root(S s)
{
	enum ptx_type type = take_type(s);

	flag(s, "approx");
	return is_float(type) ? float_operation(s, s->statement->opcode, type, 2)
			      : not_implemented(s);
}

static bool select_approximate(S s)
{
	enum ptx_type type = take_type(s);
	const enum ptx_type types[2] = { type, type };
	bool flush = flag(s, "ftz");

	if (!flag(s, "approx"))
		return not_implemented(s);
	return simple(s,
		      NAME(flush && type == PTX_TYPE_F32 ? "%s_ftz_%s" : "%s_%s",
			   s->statement->opcode, ptx_type_name(type)),
		      2, types) != FAILED;
}

/* ---- bits ---- */

/* predicate_operation - and, or, xor, not, mov of predicates; operands may be negated */
static bool predicate_operation(S s, const char *name, unsigned int count)
{
	struct values values;
	uint64_t negated = 0;
	D d;

	if (!want(s, count))
		return false;
	for (unsigned int k = 1; k < count; k++) {
		values.v[k] = value(s, operand(s, k), PTX_TYPE_PRED);
		if (operand(s, k)->negated)
			negated |= k == 1 ? 0xffffffffu : (uint64_t)0xffffffffu << 32;
	}
	if (count < 3)
		values.v[2] = values.v[1];
	values.v[0] = destination(s, operand(s, 0), PTX_TYPE_PRED);
	d = emit(s, "%s_pred", name);
	for (unsigned int k = 0; k < 3; k++)
		set(s, d, k, values.v[k], k == 0);
	if (d != FAILED)
		at(s, d)->code.immediate = negated;
	return d != FAILED;
}

static bool select_logic(S s)
{
	enum ptx_type type = take_type(s);
	const enum ptx_type types[3] = { type, type, type };
	bool not = !strcmp(s->statement->opcode, "not");

	if (type == PTX_TYPE_PRED)
		return predicate_operation(s, s->statement->opcode, not ? 2 : 3);
	if (is_float(type))
		return not_implemented(s);
	if (ptx_type_bytes(type) == 2 && !not )
		return simple(s, NAME("%s_b32", s->statement->opcode), 3, types) != FAILED;
	return simple(s, NAME("%s_%s", s->statement->opcode, ptx_type_name(as_bits(type))),
		      not ? 2 : 3, types) != FAILED;
}

static bool select_cnot(S s)
{
	return select_same(s, 2, as_bits);
}

static bool select_shift(S s)
{
	enum ptx_type type = take_type(s);
	const enum ptx_type types[3] = { type, type, PTX_TYPE_U32 };
	bool left = !strcmp(s->statement->opcode, "shl");

	if (is_float(type) || type == PTX_TYPE_PRED)
		return not_implemented(s);
	if (left)
		return simple(s, NAME("shl_%s", ptx_type_name(as_bits(type))), 3, types) != FAILED;
	return simple(s, NAME("shr_%s", ptx_type_name(is_signed(type) ? type : as_unsigned(type))),
		      3, types) != FAILED;
}

/* popc, clz: a 32-bit result whatever the operand; brev: the same width */
static bool select_count_bits(S s)
{
	enum ptx_type type = take_type(s);
	const enum ptx_type types[2] = { strcmp(s->statement->opcode, "brev") ? PTX_TYPE_U32 : type,
					 type };

	return simple(s, NAME("%s_%s", s->statement->opcode, ptx_type_name(type)), 2, types) !=
	       FAILED;
}

static bool select_bfind(S s)
{
	enum ptx_type type = take_type(s);
	const enum ptx_type types[2] = { PTX_TYPE_U32, type };
	bool shift = flag(s, "shiftamt");
	D d = simple(s, NAME("bfind_%s", ptx_type_name(type)), 2, types);

	if (shift && d != FAILED)
		return after(s, d, NAME("bfind_shift_%u", width(type)));
	return d != FAILED;
}

static bool select_bfe(S s)
{
	enum ptx_type type = take_type(s);
	const enum ptx_type types[4] = { type, type, PTX_TYPE_U32, PTX_TYPE_U32 };

	return simple(s, NAME("bfe_%s", ptx_type_name(type)), 4, types) != FAILED;
}

static bool select_bfi(S s)
{
	enum ptx_type type = take_type(s);
	const enum ptx_type types[5] = { type, type, type, PTX_TYPE_U32, PTX_TYPE_U32 };

	return simple(s, NAME("bfi_%s", ptx_type_name(type)), 5, types) != FAILED;
}

static bool select_prmt(S s)
{
	static const char *const modes[] = { "f4e", "b4e", "rc8", "ecl", "ecr", "rc16", NULL };
	enum ptx_type type = take_type(s);
	const enum ptx_type types[4] = { type, type, type, PTX_TYPE_U32 };
	const char *mode = choose(s, modes);

	return simple(s,
		      NAME(mode ? "prmt_%s_%s" : "prmt%s_%s", mode ? mode : "",
			   ptx_type_name(type)),
		      4, types) != FAILED;
}

static bool select_lop3(S s)
{
	enum ptx_type type = take_type(s);
	struct values values;
	D d;

	if (!want(s, 5) || type != PTX_TYPE_B32)
		return not_implemented(s);
	if (operand(s, 4)->kind != PTX_OPERAND_INTEGER || operand(s, 4)->value > 255)
		return fail(s, "the table is not a number below 256");
	for (unsigned int k = 1; k < 4; k++)
		values.v[k] = value(s, operand(s, k), type);
	values.v[0] = destination(s, operand(s, 0), type);
	d = emit(s, "lop3_b32");
	for (unsigned int k = 0; k < 4; k++)
		set(s, d, k, values.v[k], k == 0);
	if (d != FAILED)
		at(s, d)->code.detail = (uint32_t)operand(s, 4)->value;
	return d != FAILED;
}

static bool select_shf(S s)
{
	static const char *const sides[] = { "l", "r", NULL };
	static const char *const amounts[] = { "clamp", "wrap", NULL };
	const enum ptx_type types[4] = { PTX_TYPE_B32, PTX_TYPE_B32, PTX_TYPE_B32, PTX_TYPE_U32 };
	const char *side = choose(s, sides), *amount = choose(s, amounts);

	if (!side || !amount || take_type(s) != PTX_TYPE_B32)
		return not_implemented(s);
	return simple(s, NAME("shf_%s_%s_b32", side, amount), 4, types) != FAILED;
}

static bool select_fns(S s)
{
	const enum ptx_type types[4] = { PTX_TYPE_B32, PTX_TYPE_B32, PTX_TYPE_B32, PTX_TYPE_S32 };

	if (take_type(s) != PTX_TYPE_B32)
		return not_implemented(s);
	return simple(s, "fns_b32", 4, types) != FAILED;
}

static bool select_dot(S s)
{
	static const char *const parts[] = { "lo", "hi", NULL };
	const enum ptx_type types[4] = { PTX_TYPE_U32, PTX_TYPE_U32, PTX_TYPE_U32, PTX_TYPE_U32 };
	const char *part = choose(s, parts);
	enum ptx_type a = take_type(s), b = take_type(s);

	return simple(s,
		      NAME("%s%s%s_%s_%s", s->statement->opcode, part ? "_" : "", part ? part : "",
			   ptx_type_name(a), ptx_type_name(b)),
		      4, types) != FAILED;
}

/* vabsdiff4 of unsigned bytes, as the runtime's headers use it */
static bool select_vabsdiff4(S s)
{
	const enum ptx_type types[4] = { PTX_TYPE_U32, PTX_TYPE_U32, PTX_TYPE_U32, PTX_TYPE_U32 };
	struct values values;
	bool add = flag(s, "add");
	D d;

	for (int i = 0; i < 3; i++)
		if (take_type(s) != PTX_TYPE_U32)
			return not_implemented(s);
	if (add)
		return simple(s, "vabsdiff4_add_u32", 4, types) != FAILED;
	if (!want(s, 4)) /* c would be what bytes that a mask leaves out are */
		return false;
	values.v[1] = value(s, operand(s, 1), PTX_TYPE_U32);
	values.v[2] = value(s, operand(s, 2), PTX_TYPE_U32);
	values.v[0] = destination(s, operand(s, 0), PTX_TYPE_U32);
	d = emit(s, "vabsdiff4_u32");
	for (unsigned int k = 0; k < 3; k++)
		set(s, d, k, values.v[k], k == 0);
	return d != FAILED;
}

/* szext, bmsk */
static bool select_clamped(S s)
{
	static const char *const amounts[] = { "clamp", "wrap", NULL };
	enum ptx_type type = take_type(s);
	const enum ptx_type types[3] = { type, PTX_TYPE_U32, PTX_TYPE_U32 };
	const char *amount = choose(s, amounts);

	if (!amount)
		return not_implemented(s);
	return simple(s, NAME("%s_%s_%s", s->statement->opcode, amount, ptx_type_name(type)), 3,
		      types) != FAILED;
}

/* ---- comparisons and selections ---- */

static const char *const comparisons[] = { "eq",  "ne",	 "lt",	"le",  "gt",  "ge",  "lo",
					   "ls",  "hi",	 "hs",	"equ", "neu", "ltu", "leu",
					   "gtu", "geu", "num", "nan", NULL };
static const char *const boolean_operations[] = { "and", "or", "xor", NULL };

/* compare_values - a predicate of two values of @type into @result */
static bool compare_values(S s, const char *how, enum ptx_type type, bool flush,
			   struct ptx_draft_operand x, struct ptx_draft_operand y,
			   struct ptx_draft_operand result)
{
	static const char *const plain[][2] = {
		{ "lo", "lt" }, { "ls", "le" }, { "hi", "gt" }, { "hs", "ge" }
	};
	enum ptx_type kind = type;
	D d;

	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		if (!strcmp(how, plain[i][0])) {
			how = plain[i][1];
			kind = as_unsigned(type);
		}
	if (!is_float(type) && !is_signed(type))
		kind = as_unsigned(type);
	if (type == PTX_TYPE_F16 || type == PTX_TYPE_BF16)
		flush = false;
	d = emit(s, flush ? "setp_%s_ftz_%s" : "setp_%s_%s", how, ptx_type_name(kind));
	set(s, d, 0, result, true);
	set(s, d, 1, x, false);
	set(s, d, 2, y, false);
	if (d != FAILED)
		at(s, d)->fused = ptx_handler_find(NAME(flush ? "branch_%s_ftz_%s" : "branch_%s_%s",
							how, ptx_type_name(kind)));
	return d != FAILED;
}

/* compare - a predicate of operands a and b into @result */
static bool compare(S s, const char *how, enum ptx_type type, bool flush,
		    const struct ptx_operand *a, const struct ptx_operand *b,
		    struct ptx_draft_operand result)
{
	struct ptx_draft_operand x = value(s, a, type), y = value(s, b, type);

	return compare_values(s, how, type, flush, x, y, result);
}

/* compare_pair - the same of the lower and the upper halves of f16x2 or bf16x2 operands */
static bool compare_pair(S s, const char *how, enum ptx_type type,
			 struct ptx_draft_operand results[2])
{
	enum ptx_type half = type == PTX_TYPE_F16X2 ? PTX_TYPE_F16 : PTX_TYPE_BF16;
	struct ptx_draft_operand a = value(s, operand(s, 1), type);
	struct ptx_draft_operand b = value(s, operand(s, 2), type);

	results[0] = temporary(s, PTX_VIRTUAL_PRED);
	results[1] = temporary(s, PTX_VIRTUAL_PRED);
	return compare_values(s, how, half, false, a, b, results[0]) &&
	       compare_values(s, how, half, false, unary(s, "high_b32", PTX_VIRTUAL_REG32, a),
			      unary(s, "high_b32", PTX_VIRTUAL_REG32, b), results[1]);
}

/* select_constants - d = p ? one : zero */
static struct ptx_draft_operand select_constants(S s, uint32_t one,
						 struct ptx_draft_operand predicate)
{
	struct ptx_draft_operand d = temporary(s, PTX_VIRTUAL_REG32);
	struct ptx_draft_operand first = constant(s, one, false), second = constant(s, 0, false);
	D select = emit(s, "selp_b32");

	set(s, select, 0, d, true);
	set(s, select, 1, first, false);
	set(s, select, 2, second, false);
	set(s, select, 3, predicate, false);
	return d;
}

/* set_pair - set with two halves: each all ones (integer) or 1.0 */
static bool set_pair(S s, const char *how, enum ptx_type to, enum ptx_type from)
{
	struct ptx_draft_operand results[2], halves[2];
	uint32_t one = to == PTX_TYPE_F16X2 ? 0x3c00 : to == PTX_TYPE_BF16X2 ? 0x3f80 : 0xffff;
	D d;

	if (ptx_type_bytes(to) != 4 || to == PTX_TYPE_F32 || !want(s, 3))
		return not_implemented(s);
	if (!compare_pair(s, how, from, results))
		return false;
	for (int i = 0; i < 2; i++)
		halves[i] = select_constants(s, one, results[i]);
	results[0] = destination(s, operand(s, 0), to);
	d = emit(s, "pack_b32");
	set(s, d, 0, results[0], true);
	set(s, d, 1, halves[0], false);
	set(s, d, 2, halves[1], false);
	return d != FAILED;
}

/* combine - d = a (operation) b of predicates; @negated as in predicate_operation */
static void combine(S s, const char *name, struct ptx_draft_operand d, struct ptx_draft_operand a,
		    struct ptx_draft_operand b, uint64_t negated)
{
	D draft = emit(s, "%s_pred", name);

	set(s, draft, 0, d, true);
	set(s, draft, 1, a, false);
	set(s, draft, 2, b, false);
	if (draft != FAILED)
		at(s, draft)->code.immediate = negated;
}

/* setp_pair - setp of halves: the first result is of the lower ones, the second of the upper */
static bool setp_pair(S s, const char *how, const char *operation, enum ptx_type type)
{
	const struct ptx_operand *to = operand(s, 0);
	struct ptx_draft_operand results[2], with;
	uint64_t negated = 0;

	if (!to->second || !want(s, operation ? 4 : 3))
		return not_implemented(s);
	if (!compare_pair(s, how, type, results))
		return false;
	with = results[0];
	if (operation) {
		struct ptx_draft_operand given = value(s, operand(s, 3), PTX_TYPE_PRED);

		/* A copy: c may be the first result's register. */
		with = temporary(s, PTX_VIRTUAL_PRED);
		combine(s, "mov", with, given, given, 0);
		negated = operand(s, 3)->negated ? (uint64_t)0xffffffffu << 32 : 0;
	}
	combine(s, operation ? operation : "mov", destination(s, to, PTX_TYPE_PRED), results[0],
		with, negated);
	combine(s, operation ? operation : "mov", destination(s, to->second, PTX_TYPE_PRED),
		results[1], with, negated);
	return !s->code;
}

static bool select_setp(S s)
{
	const char *how = choose(s, comparisons);
	const char *operation = choose(s, boolean_operations);
	bool flush = flag(s, "ftz");
	enum ptx_type type = take_type(s);
	const struct ptx_operand *d = operand(s, 0);
	struct ptx_draft_operand result, first, with;
	uint64_t negated;

	if (!how || type == PTX_TYPE_PRED)
		return not_implemented(s);
	if (type == PTX_TYPE_F16X2 || type == PTX_TYPE_BF16X2)
		return setp_pair(s, how, operation, type);
	if (!want(s, operation ? 4 : 3))
		return false;
	result = destination(s, d, PTX_TYPE_PRED);
	if (!operation && !d->second)
		return compare(s, how, type, flush, operand(s, 1), operand(s, 2), result);
	first = temporary(s, PTX_VIRTUAL_PRED);
	if (!compare(s, how, type, flush, operand(s, 1), operand(s, 2), first))
		return false;
	with = operation ? value(s, operand(s, 3), PTX_TYPE_PRED) : first;
	negated = operation && operand(s, 3)->negated ? (uint64_t)0xffffffffu << 32 : 0;
	if (d->second && operation) {
		/* The second result reads c as the first one does: c may be either register. */
		struct ptx_draft_operand copy = temporary(s, PTX_VIRTUAL_PRED);

		combine(s, "mov", copy, with, with, 0);
		with = copy;
	}
	combine(s, operation ? operation : "mov", result, first, with, negated);
	if (d->second)
		combine(s, operation ? operation : "mov", destination(s, d->second, PTX_TYPE_PRED),
			first, with, negated | 0xffffffffu);
	return !s->code;
}

/* set: a comparison whose result is all ones, or 1.0, in a register */
static bool select_set(S s)
{
	const char *how = choose(s, comparisons);
	const char *operation = choose(s, boolean_operations);
	bool flush = flag(s, "ftz");
	enum ptx_type to = take_type(s), from = take_type(s);
	struct ptx_draft_operand result, one, zero, d;
	D select;

	if (!how || from == PTX_TYPE_NONE || ptx_type_bytes(to) > 4)
		return not_implemented(s);
	if ((from == PTX_TYPE_F16X2 || from == PTX_TYPE_BF16X2) && !operation)
		return set_pair(s, how, to, from);
	if (from == PTX_TYPE_F16X2 || from == PTX_TYPE_BF16X2 || to == PTX_TYPE_F16X2 ||
	    to == PTX_TYPE_BF16X2)
		return not_implemented(s);
	if (!want(s, operation ? 4 : 3))
		return false;
	result = temporary(s, PTX_VIRTUAL_PRED);
	if (!compare(s, how, from, flush, operand(s, 1), operand(s, 2), result))
		return false;
	if (operation)
		combine(s, operation, result, result, value(s, operand(s, 3), PTX_TYPE_PRED),
			operand(s, 3)->negated ? (uint64_t)0xffffffffu << 32 : 0);
	one = constant(s,
		       to == PTX_TYPE_F32    ? 0x3f800000u
		       : to == PTX_TYPE_F16  ? 0x3c00u
		       : to == PTX_TYPE_BF16 ? 0x3f80u
					     : 0xffffffffu,
		       false);
	zero = constant(s, 0, false);
	d = destination(s, operand(s, 0), to);
	select = emit(s, "selp_b32");
	set(s, select, 0, d, true);
	set(s, select, 1, one, false);
	set(s, select, 2, zero, false);
	set(s, select, 3, result, false);
	return select != FAILED;
}

static bool select_selp(S s)
{
	enum ptx_type type = take_type(s);
	const enum ptx_type types[4] = { type, type, type, PTX_TYPE_PRED };
	D d;

	if (type == PTX_TYPE_PRED || type == PTX_TYPE_NONE)
		return not_implemented(s);
	d = simple(s, ptx_type_bytes(type) == 8 ? "selp_b64" : "selp_b32", 4, types);
	if (d != FAILED && operand(s, 3)->negated)
		at(s, d)->code.detail = ~0u;
	return d != FAILED;
}

static bool select_slct(S s)
{
	bool flush = flag(s, "ftz");
	enum ptx_type type = take_type(s), control = take_type(s);
	const enum ptx_type types[4] = { type, type, type, control };

	(void)flush; /* a subnormal c is -0 or +0 then, which is >= 0 for both: handled below */
	if (flush && control == PTX_TYPE_F32) {
		struct values values;
		D d;

		if (!want(s, 4))
			return false;
		for (unsigned int k = 1; k < 4; k++)
			values.v[k] = value(s, operand(s, k), types[k]);
		values.v[3] = unary(s, "flush_f32", PTX_VIRTUAL_REG32, values.v[3]);
		values.v[0] = destination(s, operand(s, 0), type);
		d = emit(s, "slct_%s_f32", ptx_type_name(as_bits(type)));
		for (unsigned int k = 0; k < 4; k++)
			set(s, d, k, values.v[k], k == 0);
		return d != FAILED;
	}
	return simple(s, NAME("slct_%s_%s", ptx_type_name(as_bits(type)), ptx_type_name(control)),
		      4, types) != FAILED;
}

static bool select_testp(S s)
{
	static const char *const tests[] = { "finite", "infinite",  "number", "notanumber",
					     "normal", "subnormal", NULL };
	const char *test = choose(s, tests);
	enum ptx_type type = take_type(s);
	const enum ptx_type types[2] = { PTX_TYPE_PRED, type };

	if (!test)
		return not_implemented(s);
	return simple(s, NAME("testp_%s_%s", test, ptx_type_name(type)), 2, types) != FAILED;
}

/* ---- moves and conversions ---- */

/* pack - {a, b, ...} into one register of twice or four times the width */
static bool select_pack(S s, enum ptx_type type)
{
	const struct ptx_operand *from = operand(s, 1);
	bool wide = ptx_type_bytes(type) == 8;
	enum ptx_type part;
	struct ptx_draft_operand halves[4], d;
	D draft;

	if ((from->count != 2 && from->count != 4) ||
	    ptx_type_bytes(type) / from->count < (from->count == 4 && !wide ? 4u : 2u))
		return not_implemented(s);
	part = ptx_type_bytes(type) / from->count == 4 ? PTX_TYPE_B32 : PTX_TYPE_B16;
	for (unsigned int i = 0; i < from->count; i++)
		halves[i] = value(s, &from->elements[i], part);
	for (unsigned int i = 0; from->count == 4 && i < 4; i += 2) {
		struct ptx_draft_operand pair = temporary(s, PTX_VIRTUAL_REG32);

		draft = emit(s, "pack_b32");
		set(s, draft, 0, pair, true);
		set(s, draft, 1, halves[i], false);
		set(s, draft, 2, halves[i + 1], false);
		halves[i / 2] = pair;
	}
	d = destination(s, operand(s, 0), type);
	draft = emit(s, wide ? "pack_b64" : "pack_b32");
	set(s, draft, 0, d, true);
	set(s, draft, 1, halves[0], false);
	set(s, draft, 2, halves[1], false);
	return draft != FAILED;
}

/* unpack - one register into {a, b, ...}; a part that lies in the source register goes last */
static bool select_unpack(S s, enum ptx_type type)
{
	static const char *const in_64[] = { "narrow_b64", "high_b64" };
	static const char *const in_32[] = { "widen_u16", "high_b32" };
	static const char *const in_four[] = { "narrow_b64", "high_b64", "quarter2_b64",
					       "quarter3_b64" };
	const struct ptx_operand *to = operand(s, 0);
	bool wide = ptx_type_bytes(type) == 8;
	struct ptx_draft_operand from = value(s, operand(s, 1), type), copy;
	enum ptx_type part;

	if ((to->count != 2 && to->count != 4) || (to->count == 4 && !wide) ||
	    (!wide && ptx_type_bytes(type) != 4))
		return not_implemented(s);
	part = ptx_type_bytes(type) / to->count == 4 ? PTX_TYPE_B32 : PTX_TYPE_B16;
	copy = temporary(s, wide ? PTX_VIRTUAL_REG64 : PTX_VIRTUAL_REG32);
	move(s, copy, from, wide);
	for (unsigned int i = 0; i < to->count; i++) {
		const char *name = to->count == 4 ? (i == 1 ? "narrow_b64" : in_four[i])
				   : wide	  ? in_64[i]
						  : in_32[i];
		struct ptx_draft_operand d;
		D draft;

		if (to->elements[i].kind == PTX_OPERAND_SINK)
			continue;
		d = destination(s, &to->elements[i], part);
		draft = emit(s, "%s", name);
		set(s, draft, 0, d, true);
		set(s, draft, 1, copy, false);
		if (to->count == 4 && i == 1 && draft != FAILED)
			after(s, draft, "high_b32");
	}
	return !s->code;
}

static bool select_mov(S s)
{
	enum ptx_type type = take_type(s);
	const enum ptx_type types[2] = { type, type };

	if (!want(s, 2))
		return false;
	if (type == PTX_TYPE_PRED)
		return predicate_operation(s, "mov", 2);
	if (type == PTX_TYPE_NONE || type == PTX_TYPE_B128)
		return not_implemented(s);
	if (operand(s, 1)->kind == PTX_OPERAND_VECTOR)
		return select_pack(s, type);
	if (operand(s, 0)->kind == PTX_OPERAND_VECTOR)
		return select_unpack(s, type);
	return simple(s, ptx_type_bytes(type) == 8 ? "mov_b64" : "mov_b32", 2, types) != FAILED;
}

/* resize - the value of type @from as a register of type @to, extended or cut, signs kept */
static struct ptx_draft_operand resize(S s, struct ptx_draft_operand a, enum ptx_type to,
				       enum ptx_type from)
{
	unsigned int to_bytes = ptx_type_bytes(to), from_bytes = ptx_type_bytes(from);
	const char *sign = is_signed(from) ? "s" : "u";

	if (to_bytes == 8 && from_bytes == 8)
		return a;
	if (to_bytes == 8)
		return unary(s,
			     NAME(from_bytes == 4 ? "widen_%s%u" : "widen_%s%u_64", sign,
				  8 * from_bytes),
			     PTX_VIRTUAL_REG64, a);
	if (from_bytes == 8) {
		a = unary(s, "narrow_b64", PTX_VIRTUAL_REG32, a);
		from_bytes = 4;
	}
	if (to_bytes < 4 && to_bytes <= from_bytes)
		return unary(s, NAME("widen_%s%u", is_signed(to) ? "s" : "u", 8 * to_bytes),
			     PTX_VIRTUAL_REG32, a);
	if (from_bytes < 4)
		return unary(s, NAME("widen_%s%u", sign, 8 * from_bytes), PTX_VIRTUAL_REG32, a);
	return a;
}

/* operand_type - a register may be wider than the instruction's type: read it whole */
static struct ptx_draft_operand narrowed(S s, const struct ptx_operand *from, enum ptx_type type)
{
	if (from->kind == PTX_OPERAND_REGISTER && from->type != PTX_TYPE_PRED &&
	    ptx_type_bytes(from->type) == 8 && ptx_type_bytes(type) < 8)
		return unary(s, "narrow_b64", PTX_VIRTUAL_REG32, tree_register(s, from->reg));
	return value(s, from, type);
}

/* widened - write @result, of @type, to a register that may be wider */
static bool widened(S s, const struct ptx_operand *to, struct ptx_draft_operand result,
		    enum ptx_type type)
{
	if (to->kind == PTX_OPERAND_SINK)
		return true;
	if (to->kind != PTX_OPERAND_REGISTER || to->type == PTX_TYPE_PRED)
		return fail(s, "the result is not a register");
	if (ptx_type_bytes(to->type) == 8 && ptx_type_bytes(type) < 8) {
		if (is_float(type))
			return fail(s, "'%.60s' has the wrong type", to->name->text);
		result = resize(s, result, is_signed(type) ? PTX_TYPE_S64 : PTX_TYPE_U64, type);
	} else if (ptx_type_bytes(to->type) < 8 && ptx_type_bytes(type) == 8) {
		return fail(s, "'%.60s' has the wrong type", to->name->text);
	}
	move(s, tree_register(s, to->reg), result, ptx_type_bytes(to->type) == 8);
	return !s->code;
}

/* saturate_integer - a 64-bit value clamped to @to */
static struct ptx_draft_operand saturate_integer(S s, struct ptx_draft_operand a, enum ptx_type to,
						 enum ptx_type from)
{
	char sign = is_signed(from) ? 's' : 'u';

	if (ptx_type_bytes(to) == 8 && is_signed(to) == is_signed(from))
		return a;
	return unary(s, NAME("clamp_%s_%c64", ptx_type_name(to), sign), class_of(to), a);
}

static struct ptx_draft_operand convert_integers(S s, struct ptx_draft_operand a, enum ptx_type to,
						 enum ptx_type from, bool saturate)
{
	if (!saturate)
		return resize(s, a, to, from);
	a = resize(s, a, is_signed(from) ? PTX_TYPE_S64 : PTX_TYPE_U64, from);
	return saturate_integer(s, a, to, from);
}

/* Types of 8 and 16 bits are converted as 32 bits. */
static enum ptx_type at_least_32(enum ptx_type type)
{
	return ptx_type_bytes(type) >= 4 ? type : is_signed(type) ? PTX_TYPE_S32 : PTX_TYPE_U32;
}

static struct ptx_draft_operand float_to_float(S s, struct ptx_draft_operand a, enum ptx_type to,
					       enum ptx_type from, const char *mode)
{
	bool narrow = to == PTX_TYPE_F16 || to == PTX_TYPE_BF16;
	struct ptx_draft_operand result;

	if (to == from)
		return a;
	if (to == PTX_TYPE_F16 && from == PTX_TYPE_BF16) {
		a = unary(s, "cvt_f32_bf16", PTX_VIRTUAL_REG32, a);
		from = PTX_TYPE_F32;
	}
	if (narrow) {
		bool nearest = !strcmp(mode, "rn");

		return unary(s,
			     NAME("cvt%s%s_%s_%s", nearest ? "" : "_", nearest ? "" : mode,
				  ptx_type_name(to), ptx_type_name(from)),
			     PTX_VIRTUAL_REG32, a);
	}
	round_begin(s, mode);
	result = unary(s, NAME("cvt_%s_%s", ptx_type_name(to), ptx_type_name(from)), class_of(to),
		       a);
	round_end(s, mode);
	return result;
}

static struct ptx_draft_operand integer_to_float(S s, struct ptx_draft_operand a, enum ptx_type to,
						 enum ptx_type from, const char *mode)
{
	enum ptx_type through = to == PTX_TYPE_F16 || to == PTX_TYPE_BF16 ? PTX_TYPE_F64 : to;
	enum ptx_type whole = at_least_32(from);
	struct ptx_draft_operand result;

	a = resize(s, a, whole, from);
	if (through == to)
		round_begin(s, mode);
	result = unary(s, NAME("cvt_%s_%s", ptx_type_name(through), ptx_type_name(whole)),
		       class_of(through), a);
	if (through == to)
		round_end(s, mode);
	if (to == PTX_TYPE_BF16)
		not_implemented(s);
	return through == to ? result : float_to_float(s, result, to, through, mode);
}

static struct ptx_draft_operand float_to_integer(S s, struct ptx_draft_operand a, enum ptx_type to,
						 enum ptx_type from, const char *mode)
{
	enum ptx_type whole = at_least_32(to);
	struct ptx_draft_operand result;

	if (from == PTX_TYPE_F16 || from == PTX_TYPE_BF16) {
		a = unary(s, NAME("cvt_f32_%s", ptx_type_name(from)), PTX_VIRTUAL_REG32, a);
		from = PTX_TYPE_F32;
	}
	result = unary(s, NAME("cvt_%s_%s_%s", mode, ptx_type_name(whole), ptx_type_name(from)),
		       class_of(whole), a);
	if (whole == to)
		return result;
	result = resize(s, result, is_signed(whole) ? PTX_TYPE_S64 : PTX_TYPE_U64, whole);
	return saturate_integer(s, result, to, whole);
}

/* cvt.rn.f16x2.f32 d, a, b and its like */
static bool select_convert_pair(S s, enum ptx_type to, enum ptx_type from, const char *mode,
				bool relu)
{
	const enum ptx_type types[3] = { to, from, from };
	bool nearest = !strcmp(mode, "rn");
	D d = simple(s,
		     NAME("cvt%s%s_%s_%s", nearest ? "" : "_", nearest ? "" : mode,
			  ptx_type_name(to), ptx_type_name(from)),
		     3, types);

	if (relu && d != FAILED)
		return after(s, d, NAME("relu_%s", ptx_type_name(to)));
	return d != FAILED;
}

static bool select_cvt(S s)
{
	static const char *const integral[] = { "rni", "rzi", "rmi", "rpi", NULL };
	const char *whole = choose(s, integral);
	const char *mode = rounding(s);
	bool flush = flag(s, "ftz"), saturate = flag(s, "sat"), relu = flag(s, "relu");
	enum ptx_type to = take_type(s), from = take_type(s);
	struct ptx_draft_operand a;

	if (to == PTX_TYPE_F16X2 || to == PTX_TYPE_BF16X2)
		return select_convert_pair(s, to, from, mode, relu);
	if (!want(s, 2) || from == PTX_TYPE_NONE || to == PTX_TYPE_PRED || from == PTX_TYPE_PRED ||
	    from == PTX_TYPE_F16X2 || from == PTX_TYPE_BF16X2)
		return not_implemented(s);
	a = narrowed(s, operand(s, 1), from);
	if (flush && from == PTX_TYPE_F32)
		a = unary(s, "flush_f32", PTX_VIRTUAL_REG32, a);
	if (!is_float(to) && !is_float(from)) {
		a = convert_integers(s, a, to, from, saturate);
	} else if (is_float(to) && is_float(from)) {
		if (whole && to != from)
			return not_implemented(s);
		if (whole)
			a = unary(
				s,
				NAME("cvt_%s_%s_%s", whole, ptx_type_name(to), ptx_type_name(from)),
				class_of(to), a);
		else
			a = float_to_float(s, a, to, from, mode);
	} else if (is_float(to)) {
		a = integer_to_float(s, a, to, from, mode);
	} else {
		if (!whole)
			return not_implemented(s);
		a = float_to_integer(s, a, to, from, whole);
	}
	if (is_float(to) && saturate)
		a = unary(s, NAME("sat_%s", ptx_type_name(to)), class_of(to), a);
	if (relu)
		a = unary(s, NAME("relu_%s", ptx_type_name(to)), class_of(to), a);
	if (flush && to == PTX_TYPE_F32)
		a = unary(s, "flush_f32", PTX_VIRTUAL_REG32, a);
	return widened(s, operand(s, 0), a, to);
}

/* cvta: windows added or taken off; global and const addresses are the same in both */
static bool select_cvta(S s)
{
	bool to = flag(s, "to");
	static const char *const spaces[] = { "global", "const", "shared", "shared::cta",
					      "local",	"param", NULL };
	const char *space = choose(s, spaces);
	enum ptx_type type = take_type(s);
	uint64_t window;
	struct ptx_draft_operand a, d;
	D draft;

	if (!space || ptx_type_bytes(type) != 8 || !want(s, 2))
		return not_implemented(s);
	window = space[0] == 's'   ? PTX_WINDOW_SHARED
		 : space[0] == 'l' ? PTX_WINDOW_LOCAL
		 : space[0] == 'p' ? PTX_WINDOW_PARAM
				   : 0;
	a = value(s, operand(s, 1), type);
	d = destination(s, operand(s, 0), type);
	if (!window) {
		move(s, d, a, true);
		return !s->code;
	}
	draft = emit(s, "add_u64");
	set(s, draft, 0, d, true);
	set(s, draft, 1, a, false);
	set(s, draft, 2, constant(s, to ? 0 - window : window, true), false);
	return !s->code;
}

static bool select_isspacep(S s)
{
	static const char *const spaces[] = { "global", "shared", "shared::cta", "local",
					      "param",	"const",  NULL };
	const char *space = choose(s, spaces);
	const enum ptx_type types[2] = { PTX_TYPE_PRED, PTX_TYPE_U64 };
	D d;

	if (!space)
		return not_implemented(s);
	d = simple(s, "isspacep", 2, types);
	if (d == FAILED)
		return false;
	at(s, d)->code.detail = space[0] == 'g'	  ? 0
				: space[0] == 's' ? PTX_WINDOW_OF(PTX_WINDOW_SHARED)
				: space[0] == 'l' ? PTX_WINDOW_OF(PTX_WINDOW_LOCAL)
				: space[0] == 'p' ? PTX_WINDOW_OF(PTX_WINDOW_PARAM)
						  : 0xff;
	return true;
}

/* ---- memory ---- */

static const char *const memory_spaces[] = { "global",	    "shared", "shared::cta",
					     "local",	    "param",  "param::entry",
					     "param::func", "const",  NULL };

/* memory_hints - orderings, scopes and cache hints: every access here is as strong as any of them
 */
static bool memory_hints(S s)
{
	static const char *const strong[] = { "relaxed", "acquire", "volatile", "mmio", NULL };
	static const char *const hints[] = { "release",
					     "acq_rel",
					     "weak",
					     "cta",
					     "gpu",
					     "sys",
					     "cluster",
					     "nc",
					     "ca",
					     "cg",
					     "cs",
					     "lu",
					     "cv",
					     "wb",
					     "wt",
					     "L1::evict_normal",
					     "L1::evict_unchanged",
					     "L1::evict_first",
					     "L1::evict_last",
					     "L1::no_allocate",
					     "L2::64B",
					     "L2::128B",
					     "L2::256B",
					     "noftz",
					     NULL };
	bool is_strong = choose(s, strong);

	while (choose(s, hints))
		;
	return is_strong;
}

/* memory_address - operand 4 and the offset; shared and param want 32 bits, the others 64 */
static bool memory_address(S s, const struct ptx_operand *from, const char *space,
			   struct ptx_draft_operand *address, uint64_t *offset)
{
	bool wide = strcmp(space, "shared") && strcmp(space, "param");

	*offset = 0;
	if (from->kind != PTX_OPERAND_ADDRESS)
		return fail(s, "an address is due");
	if (from->variable) {
		/* Generic access to a variable of a space needs the window; PTX forbids it. */
		*address = variable_address(s, from->variable, from->value, wide);
		return !s->code;
	}
	if (from->reg == PTX_NO_REGISTER) {
		*address = constant(s, wide ? from->value : (uint32_t)from->value, wide);
		return !s->code;
	}
	*offset = from->value;
	*address = tree_register(s, from->reg);
	if (address->kind == PTX_VIRTUAL_PRED)
		return fail(s, "the address is a predicate");
	if (wide && address->kind == PTX_VIRTUAL_REG32)
		*address = unary(s, "widen_u32", PTX_VIRTUAL_REG64, *address);
	if (!wide && address->kind == PTX_VIRTUAL_REG64)
		*address = unary(s, "narrow_b64", PTX_VIRTUAL_REG32, *address);
	return !s->code;
}

/* memory_space - the space's name in handlers */
static const char *memory_space(const char *modifier)
{
	if (!modifier)
		return "generic";
	if (!strncmp(modifier, "shared", 6))
		return "shared";
	if (!strncmp(modifier, "param", 5))
		return "param";
	if (!strcmp(modifier, "const"))
		return "global";
	return modifier;
}

/* memory_type - the type's name in handlers of loads */
static const char *load_type(enum ptx_type type)
{
	switch (ptx_type_bytes(type)) {
	case 1:
		return is_signed(type) ? "s8" : "u8";
	case 2:
		return is_signed(type) ? "s16" : "u16";
	case 4:
		return "b32";
	default:
		return "b64";
	}
}

static unsigned int vector_length(S s)
{
	return flag(s, "v2") ? 2 : flag(s, "v4") ? 4 : flag(s, "v8") ? 8 : 1;
}

static const struct ptx_operand *vector_element(S s, const struct ptx_operand *operand,
						unsigned int length, unsigned int i)
{
	if (length == 1 && operand->kind != PTX_OPERAND_VECTOR)
		return operand;
	if (operand->kind != PTX_OPERAND_VECTOR || operand->count != length) {
		fail(s, "a vector of %u is due", length);
		return NULL;
	}
	return &operand->elements[i];
}

/*
 * Parameters of functions are 4-byte units, a slot each: those of this function in its frame
 * (FIXED), those of a call in temporaries that the call copies.
 */
static struct ptx_draft_operand parameter_unit(const struct ptx_variable *variable, uint64_t unit)
{
	if (variable->address & PTX_UNIT_FIXED)
		return (struct ptx_draft_operand){ PTX_VIRTUAL_FIXED,
						   (uint32_t)((uint32_t)variable->address + unit) };
	return (struct ptx_draft_operand){ PTX_VIRTUAL_REG32,
					   (uint32_t)((uint32_t)variable->address + unit) };
}

static bool parameter_range(S s, const struct ptx_operand *address, unsigned int bytes)
{
	if (address->value >= address->variable->bytes ||
	    address->variable->bytes - address->value < bytes || address->value % bytes)
		return fail(s, "outside of '%.60s'", address->variable->name->text);
	return true;
}

static bool load_parameter(S s, const struct ptx_operand *address, enum ptx_type type,
			   unsigned int length)
{
	unsigned int bytes = ptx_type_bytes(type);

	for (unsigned int i = 0; i < length; i++) {
		const struct ptx_operand *to = vector_element(s, operand(s, 0), length, i);
		uint64_t offset = address->value + (uint64_t)i * bytes;
		struct ptx_draft_operand low, result;
		D d;

		if (!to || !parameter_range(s, address, bytes))
			return false;
		if (offset + bytes > address->variable->bytes)
			return fail(s, "outside of '%.60s'", address->variable->name->text);
		low = parameter_unit(address->variable, offset / 4);
		if (bytes == 8) {
			result = temporary(s, PTX_VIRTUAL_REG64);
			d = emit(s, "pack_b64");
			set(s, d, 0, result, true);
			set(s, d, 1, low, false);
			set(s, d, 2, parameter_unit(address->variable, offset / 4 + 1), false);
		} else if (bytes == 4) {
			result = low;
		} else {
			result = temporary(s, PTX_VIRTUAL_REG32);
			d = emit(s, is_signed(type) ? "bfe_s32" : "bfe_u32");
			set(s, d, 0, result, true);
			set(s, d, 1, low, false);
			set(s, d, 2, constant(s, 8 * (offset % 4), false), false);
			set(s, d, 3, constant(s, 8 * bytes, false), false);
		}
		if (!widened(s, to, result, type))
			return false;
	}
	return true;
}

static bool store_parameter(S s, const struct ptx_operand *address, enum ptx_type type,
			    unsigned int length)
{
	unsigned int bytes = ptx_type_bytes(type);

	for (unsigned int i = 0; i < length; i++) {
		const struct ptx_operand *from = vector_element(s, operand(s, 1), length, i);
		uint64_t offset = address->value + (uint64_t)i * bytes;
		struct ptx_draft_operand a, low;
		D d;

		if (!from || !parameter_range(s, address, bytes))
			return false;
		if (offset + bytes > address->variable->bytes)
			return fail(s, "outside of '%.60s'", address->variable->name->text);
		a = narrowed(s, from, type);
		low = parameter_unit(address->variable, offset / 4);
		d = emit(s, bytes == 8 ? "narrow_b64" : bytes == 4 ? "mov_b32" : "bfi_b32");
		set(s, d, 0, low, true);
		set(s, d, 1, a, false);
		if (bytes == 8) {
			d = emit(s, "high_b64");
			set(s, d, 0, parameter_unit(address->variable, offset / 4 + 1), true);
			set(s, d, 1, a, false);
		} else if (bytes < 4) {
			set(s, d, 2, low, false);
			set(s, d, 3, constant(s, 8 * (offset % 4), false), false);
			set(s, d, 4, constant(s, 8 * bytes, false), false);
		}
	}
	return !s->code;
}

static bool is_function_parameter(const struct ptx_operand *address)
{
	return address->kind == PTX_OPERAND_ADDRESS && address->variable &&
	       address->variable->space == PTX_SPACE_PARAM && !address->variable->kernel_parameter;
}

static bool select_ld(S s)
{
	const char *space = memory_space(choose(s, memory_spaces));
	unsigned int length = vector_length(s);
	enum ptx_type type = take_type(s);
	struct ptx_draft_operand address, results[4];
	const struct ptx_operand *to;
	uint64_t offset;
	bool strong = memory_hints(s);
	D d;

	if (!want(s, 2) || type == PTX_TYPE_NONE || type == PTX_TYPE_PRED ||
	    type == PTX_TYPE_B128 || length > 4)
		return not_implemented(s);
	if (!strcmp(s->statement->opcode, "ldu") && strcmp(space, "global"))
		space = "generic";
	if (is_function_parameter(operand(s, 1)))
		return load_parameter(s, operand(s, 1), type, length);
	if (!memory_address(s, operand(s, 1), space, &address, &offset))
		return false;
	/* A register that is wider than what is loaded is filled in a second step. */
	for (unsigned int i = 0; i < length; i++) {
		to = vector_element(s, operand(s, 0), length, i);
		if (!to)
			return false;
		if (to->kind == PTX_OPERAND_REGISTER && class_of(to->type) == class_of(type))
			results[i] = tree_register(s, to->reg);
		else
			results[i] = temporary(s, class_of(type));
	}
	d = length == 1 ? emit(s, "ld_%s_%s", space, load_type(type))
			: emit(s, "ld_%s_%s_v%u", space, load_type(type), length);
	if (d == FAILED)
		return false;
	for (unsigned int i = 0; i < length; i++)
		set(s, d, i, results[i], true);
	set(s, d, 4, address, false);
	at(s, d)->waits = strong;
	at(s, d)->code.immediate = offset;
	for (unsigned int i = 0; i < length; i++) {
		to = vector_element(s, operand(s, 0), length, i);
		if (to->kind == PTX_OPERAND_REGISTER && class_of(to->type) == class_of(type))
			continue;
		if (!widened(s, to, results[i], type))
			return false;
	}
	return true;
}

static bool select_st(S s)
{
	const char *space = memory_space(choose(s, memory_spaces));
	unsigned int length = vector_length(s);
	enum ptx_type type = take_type(s);
	struct ptx_draft_operand address, values[4];
	uint64_t offset;
	D d;

	memory_hints(s);
	if (!want(s, 2) || type == PTX_TYPE_NONE || type == PTX_TYPE_PRED ||
	    type == PTX_TYPE_B128 || length > 4)
		return not_implemented(s);
	if (is_function_parameter(operand(s, 0)))
		return store_parameter(s, operand(s, 0), type, length);
	if (!memory_address(s, operand(s, 0), space, &address, &offset))
		return false;
	for (unsigned int i = 0; i < length; i++) {
		const struct ptx_operand *from = vector_element(s, operand(s, 1), length, i);

		if (!from)
			return false;
		values[i] = narrowed(s, from, type);
	}
	d = length == 1 ? emit(s, "st_%s_%s", space, ptx_type_name(as_bits(type)))
			: emit(s, "st_%s_%s_v%u", space, ptx_type_name(as_bits(type)), length);
	if (d == FAILED)
		return false;
	for (unsigned int i = 0; i < length; i++)
		set(s, d, i, values[i], false);
	set(s, d, 4, address, false);
	at(s, d)->code.immediate = offset;
	at(s, d)->code.detail = 1;
	return true;
}

/* atom d, [a], b, c; red [a], b */
static bool select_atom(S s)
{
	static const char *const operations[] = { "add", "and", "or",  "xor", "exch", "cas",
						  "min", "max", "inc", "dec", NULL };
	bool red = !strcmp(s->statement->opcode, "red");
	const char *space = memory_space(choose(s, memory_spaces));
	const char *operation = choose(s, operations);
	enum ptx_type type = take_type(s), kind = type;
	unsigned int first = red ? 0 : 1, count;
	struct ptx_draft_operand address, b, c, result;
	uint64_t offset;
	D d;

	memory_hints(s);
	if (!operation || type == PTX_TYPE_NONE)
		return not_implemented(s);
	count = first + 2 + !strcmp(operation, "cas");
	if (!want(s, count))
		return false;
	if (!strcmp(operation, "add") && !is_float(type))
		kind = as_unsigned(type);
	else if (strcmp(operation, "min") && strcmp(operation, "max") && !is_float(type) &&
		 strcmp(operation, "inc") && strcmp(operation, "dec"))
		kind = as_bits(type);
	if (!memory_address(s, operand(s, first), space, &address, &offset))
		return false;
	b = value(s, operand(s, first + 1), type);
	c = count == first + 3 ? value(s, operand(s, first + 2), type) : b;
	result = red ? temporary(s, class_of(type)) : destination(s, operand(s, 0), type);
	d = emit(s, "atom_%s_%s_%s", space, operation, ptx_type_name(kind));
	if (d == FAILED)
		return false;
	set(s, d, 0, result, true);
	set(s, d, 1, b, false);
	set(s, d, 2, c, false);
	set(s, d, 4, address, false);
	at(s, d)->waits = !red;
	at(s, d)->code.immediate = offset;
	at(s, d)->code.detail = 1;
	return true;
}

/* cp.async: done at once, so that groups have nothing to wait for */
static bool select_cp(S s)
{
	struct ptx_draft_operand to, from, read;
	uint64_t to_offset, from_offset, bytes;
	unsigned int count = s->statement->operand_count;
	D d;

	if (!flag(s, "async"))
		return not_implemented(s);
	if (flag(s, "commit_group") || flag(s, "wait_all"))
		return want(s, 0);
	if (flag(s, "wait_group"))
		return want(s, 1);
	if ((!flag(s, "shared") && !flag(s, "shared::cta")) || !flag(s, "global"))
		return not_implemented(s);
	memory_hints(s);
	if (count < 3 || count > 4 || operand(s, 2)->kind != PTX_OPERAND_INTEGER)
		return not_implemented(s);
	bytes = operand(s, 2)->value;
	if (bytes != 4 && bytes != 8 && bytes != 16)
		return fail(s, "the size is not 4, 8 or 16");
	if (!memory_address(s, operand(s, 0), "shared", &to, &to_offset) ||
	    !memory_address(s, operand(s, 1), "global", &from, &from_offset))
		return false;
	if ((uint64_t)((int64_t)from_offset + INT32_MAX) > 2ull * INT32_MAX)
		return not_implemented(s);
	read = count == 4 ? value(s, operand(s, 3), PTX_TYPE_U32) : constant(s, bytes, false);
	d = emit(s, "copy_async");
	if (d == FAILED)
		return false;
	set(s, d, 1, to, false);
	set(s, d, 2, from, false);
	set(s, d, 3, read, false);
	at(s, d)->code.detail = (uint32_t)bytes;
	at(s, d)->code.immediate = (uint32_t)to_offset | from_offset << 32;
	return true;
}

/* Hints to caches: nothing to do. */
static bool select_nothing(S s)
{
	s->taken = ~0u;
	return true;
}

/* ---- warps and barriers ---- */

static bool select_shfl(S s)
{
	static const char *const modes[] = { "up", "down", "bfly", "idx", NULL };
	const char *mode;
	const struct ptx_operand *d = operand(s, 0);
	struct values values;
	D draft;

	if (!flag(s, "sync") || !(mode = choose(s, modes)) || take_type(s) != PTX_TYPE_B32)
		return not_implemented(s);
	if (!want(s, 5))
		return false;
	for (unsigned int k = 1; k < 5; k++)
		values.v[k] = value(s, operand(s, k), PTX_TYPE_B32);
	values.v[0] = destination(s, d, PTX_TYPE_B32);
	if (d->second)
		values.v[5] = destination(s, d->second, PTX_TYPE_PRED);
	draft = emit(s, "shfl_%s", mode);
	for (unsigned int k = 0; k < 5; k++)
		set(s, draft, k, values.v[k], k == 0);
	if (d->second) {
		set(s, draft, 5, values.v[5], true);
		if (draft != FAILED)
			at(s, draft)->code.detail = 1;
	}
	return draft != FAILED;
}

static bool select_vote(S s)
{
	static const char *const modes[] = { "all", "any", "uni", "ballot", NULL };
	const char *mode;
	enum ptx_type type;
	struct ptx_draft_operand d, p, member;
	D draft;

	if (!flag(s, "sync") || !(mode = choose(s, modes)))
		return not_implemented(s);
	type = take_type(s);
	if (!want(s, 3) || (type == PTX_TYPE_PRED) == !strcmp(mode, "ballot"))
		return not_implemented(s);
	p = value(s, operand(s, 1), PTX_TYPE_PRED);
	member = value(s, operand(s, 2), PTX_TYPE_B32);
	d = destination(s, operand(s, 0), type);
	draft = emit(s, "vote_%s", mode);
	set(s, draft, 0, d, true);
	set(s, draft, 1, p, false);
	set(s, draft, 4, member, false);
	if (draft != FAILED)
		at(s, draft)->code.detail = operand(s, 1)->negated ? ~0u : 0;
	return draft != FAILED;
}

static bool select_match(S s)
{
	static const char *const modes[] = { "any", "all", NULL };
	const char *mode = choose(s, modes);
	const struct ptx_operand *to = operand(s, 0);
	struct ptx_draft_operand a, member, d, p;
	enum ptx_type type;
	D draft;

	if (!mode || !flag(s, "sync"))
		return not_implemented(s);
	type = take_type(s);
	if (!want(s, 3))
		return false;
	a = value(s, operand(s, 1), type);
	member = value(s, operand(s, 2), PTX_TYPE_B32);
	d = destination(s, to, PTX_TYPE_B32);
	p = to->second ? destination(s, to->second, PTX_TYPE_PRED) : ready(0);
	draft = emit(s, "match_%s_%s", mode, ptx_type_name(as_bits(type)));
	set(s, draft, 0, d, true);
	set(s, draft, 1, a, false);
	set(s, draft, 4, member, false);
	if (to->second && draft != FAILED) {
		set(s, draft, 5, p, true);
		at(s, draft)->code.detail = 1;
	}
	return draft != FAILED;
}

static bool select_redux(S s)
{
	static const char *const operations[] = { "add", "min", "max", "and", "or", "xor", NULL };
	const char *operation;
	enum ptx_type type, kind;
	struct ptx_draft_operand d, a, member;
	D draft;

	if (!flag(s, "sync") || !(operation = choose(s, operations)))
		return not_implemented(s);
	type = take_type(s);
	if (ptx_type_bytes(type) != 4 || is_float(type) || !want(s, 3))
		return not_implemented(s);
	kind = !strcmp(operation, "add")			      ? PTX_TYPE_U32
	       : strcmp(operation, "min") && strcmp(operation, "max") ? PTX_TYPE_B32
								      : type;
	a = value(s, operand(s, 1), type);
	member = value(s, operand(s, 2), PTX_TYPE_B32);
	d = destination(s, operand(s, 0), type);
	draft = emit(s, "redux_%s_%s", operation, ptx_type_name(kind));
	set(s, draft, 0, d, true);
	set(s, draft, 1, a, false);
	set(s, draft, 4, member, false);
	return draft != FAILED;
}

static bool select_elect(S s)
{
	const struct ptx_operand *to = operand(s, 0);
	struct ptx_draft_operand d, p, member;
	D draft;

	if (!flag(s, "sync") || !want(s, 2) || !to->second)
		return not_implemented(s);
	member = value(s, operand(s, 1), PTX_TYPE_B32);
	d = destination(s, to, PTX_TYPE_B32);
	p = destination(s, to->second, PTX_TYPE_PRED);
	draft = emit(s, "elect");
	set(s, draft, 0, d, true);
	set(s, draft, 5, p, true);
	set(s, draft, 4, member, false);
	if (draft != FAILED)
		at(s, draft)->code.detail = 1;
	return draft != FAILED;
}

static bool select_activemask(S s)
{
	const enum ptx_type types[1] = { PTX_TYPE_B32 };

	if (take_type(s) != PTX_TYPE_B32)
		return not_implemented(s);
	return simple(s, "activemask", 1, types) != FAILED;
}

/* barrier_reduction - bar.red.op d, a{, b}, p */
static bool barrier_reduction(S s, const char *operation)
{
	enum ptx_type type = take_type(s);
	unsigned int count = s->statement->operand_count;
	struct ptx_draft_operand number, threads, p, d;
	unsigned int which = operation[0] == 'p' ? 0 : operation[0] == 'a' ? 1 : 2;
	D draft;

	if (count < 3 || count > 4 || (type == PTX_TYPE_PRED) != (which != 0))
		return not_implemented(s);
	number = value(s, operand(s, 1), PTX_TYPE_U32);
	threads = count == 4 ? value(s, operand(s, 2), PTX_TYPE_U32) : constant(s, 0, false);
	p = value(s, operand(s, count - 1), PTX_TYPE_PRED);
	d = destination(s, operand(s, 0), type);
	draft = emit(s, "barrier_reduce");
	set(s, draft, 1, number, false);
	set(s, draft, 2, threads, false);
	set(s, draft, 3, p, false);
	if (draft != FAILED)
		at(s, draft)->code.detail = operand(s, count - 1)->negated ? ~0u : 0;
	draft = emit(s, "barrier_result");
	set(s, draft, 0, d, true);
	set(s, draft, 1, number, false);
	if (draft != FAILED)
		at(s, draft)->code.detail = which;
	return draft != FAILED;
}

static bool select_bar(S s)
{
	static const char *const operations[] = { "popc", "and", "or", NULL };
	unsigned int count = s->statement->operand_count;
	struct ptx_draft_operand number, threads;
	const char *operation;
	bool arrive;
	D draft;

	if (flag(s, "warp")) {
		if (!flag(s, "sync") || !want(s, 1))
			return not_implemented(s);
		number = value(s, operand(s, 0), PTX_TYPE_B32);
		draft = emit(s, "bar_warp_sync");
		set(s, draft, 4, number, false);
		return draft != FAILED;
	}
	flag(s, "cta");
	flag(s, "aligned");
	if (flag(s, "red")) {
		operation = choose(s, operations);
		return operation ? barrier_reduction(s, operation) : not_implemented(s);
	}
	arrive = flag(s, "arrive");
	if ((!arrive && !flag(s, "sync")) || count < 1 || count > 2)
		return not_implemented(s);
	number = value(s, operand(s, 0), PTX_TYPE_U32);
	threads = count == 2 ? value(s, operand(s, 1), PTX_TYPE_U32) : constant(s, 0, false);
	draft = emit(s, arrive ? "barrier_arrive" : "barrier_sync");
	set(s, draft, 1, number, false);
	set(s, draft, 2, threads, false);
	return draft != FAILED;
}

static bool select_fence(S s)
{
	static const char *const modifiers[] = { "sc",	"acq_rel", "acquire", "release", "cta",
						 "gpu", "sys",	   "cluster", "gl",	 NULL };

	while (choose(s, modifiers))
		;
	return want(s, 0) && emit(s, "fence") != FAILED;
}

/* ---- control flow ---- */

static uint32_t label_bucket(const struct ptx_name *name, uint32_t scope)
{
	return (name->hash ^ scope * 2654435761u) % LABEL_BUCKETS;
}

static struct label *label_lookup(S s, const struct ptx_name *name, uint32_t scope)
{
	struct label *label = s->labels[label_bucket(name, scope)];

	while (label && (label->name != name || label->scope != scope))
		label = label->next;
	return label;
}

/* label_find - the label of that name in the scope or those around it */
static struct label *label_find(S s, const struct ptx_name *name, uint32_t scope)
{
	while (scope != UINT32_MAX) {
		struct label *label = label_lookup(s, name, scope);

		if (label)
			return label;
		scope = s->function->scope_parents[scope];
	}
	return NULL;
}

static bool label_declare(S s, struct ptx_name *name, uint32_t scope)
{
	uint32_t bucket = label_bucket(name, scope);
	struct label *label;

	if (label_lookup(s, name, scope))
		return fail(s, "the label is placed twice");
	label = ptx_arena_take(&s->compiler->tree->arena, sizeof(*label));
	if (!label)
		return no_memory(s);
	label->name = name;
	label->scope = scope;
	label->number = s->out->label_count++;
	label->next = s->labels[bucket];
	s->labels[bucket] = label;
	return true;
}

static bool place_label(S s, uint32_t number)
{
	struct ptx_draft *draft = ptx_draft_add(s->out);

	if (!draft)
		return no_memory(s);
	draft->kind = PTX_DRAFT_LABEL;
	draft->label = number;
	return true;
}

static bool jump_to(S s, uint32_t label)
{
	D d = emit(s, "jump");

	if (d == FAILED)
		return false;
	at(s, d)->kind = PTX_DRAFT_JUMP;
	at(s, d)->label = label;
	return true;
}

/* branch_if - to @label where the statement's guard holds (or not: @invert) */
static bool branch_if(S s, uint32_t label, bool invert)
{
	D d = emit(s, "branch");

	if (d == FAILED)
		return false;
	set(s, d, 1, tree_register(s, s->statement->guard), false);
	at(s, d)->kind = PTX_DRAFT_BRANCH;
	at(s, d)->label = label;
	at(s, d)->code.detail = s->statement->guard_negated != invert ? ~0u : 0;
	return true;
}

static bool select_bra(S s)
{
	const struct ptx_operand *to = operand(s, 0);
	struct label *label;

	flag(s, "uni");
	if (!want(s, 1))
		return false;
	if (to->kind != PTX_OPERAND_NAME)
		return fail(s, "the target is not a label");
	label = label_find(s, to->name, s->statement->scope);
	if (!label)
		return fail(s, "there is no label '%.60s'", to->name->text);
	if (s->statement->guard != PTX_NO_REGISTER)
		return branch_if(s, label->number, false);
	return jump_to(s, label->number);
}

static struct ptx_table *table_find(S s, const struct ptx_name *name, bool prototype)
{
	struct ptx_table *table;

	for (uint32_t scope = s->statement->scope; scope != UINT32_MAX;
	     scope = s->function->scope_parents[scope])
		for (table = s->function->tables; table; table = table->next)
			if (table->name == name && table->scope == scope &&
			    table->is_prototype == prototype)
				return table;
	return NULL;
}

static bool select_brx(S s)
{
	struct ptx_table *table;
	struct ptx_draft_operand index;
	D d;

	if (!flag(s, "idx") || !want(s, 2) || operand(s, 1)->kind != PTX_OPERAND_NAME)
		return not_implemented(s);
	flag(s, "uni");
	table = table_find(s, operand(s, 1)->name, false);
	if (!table)
		return fail(s, "there is no list of targets '%.60s'", operand(s, 1)->name->text);
	index = value(s, operand(s, 0), PTX_TYPE_U32);
	d = emit(s, "branch_index");
	if (d == FAILED)
		return false;
	set(s, d, 1, index, false);
	at(s, d)->kind = PTX_DRAFT_TABLE;
	at(s, d)->code.detail = table->target_count;
	for (uint32_t i = 0; i < table->target_count; i++) {
		struct label *label = label_find(s, table->targets[i], table->scope);

		if (!label)
			return fail(s, "there is no label '%.60s'", table->targets[i]->text);
		if (!jump_to(s, label->number))
			return false;
		s->out->drafts[s->out->draft_count - 1].row = true;
	}
	return true;
}

static bool select_end(S s)
{
	const char *opcode = s->statement->opcode;
	D d;

	if (!want(s, 0))
		return false;
	if (!strcmp(opcode, "ret")) {
		flag(s, "uni");
		return jump_to(s, s->out->end_label);
	}
	d = emit(s, "%s", opcode);
	if (d == FAILED)
		return false;
	at(s, d)->kind = PTX_DRAFT_END;
	return true;
}

static bool select_nanosleep(S s)
{
	if (take_type(s) != PTX_TYPE_U32 || !want(s, 1))
		return not_implemented(s);
	return emit(s, "nanosleep") != FAILED;
}

/* ---- calls ---- */

/* unit_count - 4-byte units of a list of parameters, each at its own unit */
static uint32_t unit_count(const struct ptx_variable *list)
{
	uint64_t units = 0;

	for (; list; list = list->next)
		units += (list->bytes + 3) / 4;
	return units > PTX_PARAMETER_BYTES_MAX ? PTX_PARAMETER_BYTES_MAX : (uint32_t)units;
}

/* call_variable - the .param variable or register that stands in a call's list */
static bool call_units(S s, const struct ptx_operand *list, const struct ptx_variable *formal,
		       uint32_t unit, bool results)
{
	for (uint32_t i = 0; list && i < list->count; i++, formal = formal->next) {
		const struct ptx_operand *actual = &list->elements[i];
		uint64_t units;

		if (!formal)
			return fail(s, "too many parameters");
		units = (formal->bytes + 3) / 4;
		if (actual->kind != PTX_OPERAND_VARIABLE ||
		    actual->variable->space != PTX_SPACE_PARAM ||
		    actual->variable->kernel_parameter)
			return fail(s,
				    "a parameter that is not a .param variable: not implemented");
		if (actual->variable->bytes != formal->bytes)
			return fail(s, "'%.60s' has not the size of the parameter",
				    actual->variable->name->text);
		for (uint64_t k = 0; k < units; k++) {
			struct ptx_draft_operand inner = parameter_unit(actual->variable, k);
			struct ptx_draft_operand outer = { PTX_VIRTUAL_OUTGOING,
							   unit + (uint32_t)k };

			move(s, results ? inner : outer, results ? outer : inner, false);
		}
		unit += (uint32_t)units;
		if (unit > s->compiler->outgoing_units)
			s->compiler->outgoing_units = unit;
	}
	if (formal)
		return fail(s, "too few parameters");
	return !s->code;
}

/* built_in_parameter - parameter @index of a built-in function as one value */
static struct ptx_draft_operand built_in_parameter(S s, const struct ptx_operand *list,
						   uint32_t index, bool wide)
{
	struct ptx_draft_operand result = temporary(s, PTX_VIRTUAL_REG64);
	const struct ptx_variable *variable;
	D d;

	if (!list || index >= list->count || list->elements[index].kind != PTX_OPERAND_VARIABLE ||
	    list->elements[index].variable->space != PTX_SPACE_PARAM ||
	    list->elements[index].variable->kernel_parameter ||
	    list->elements[index].variable->bytes != (wide ? 8 : 4)) {
		fail(s, "the parameters are not those of the function");
		return result;
	}
	variable = list->elements[index].variable;
	if (!wide)
		return parameter_unit(variable, 0);
	d = emit(s, "pack_b64");
	set(s, d, 0, result, true);
	set(s, d, 1, parameter_unit(variable, 0), false);
	set(s, d, 2, parameter_unit(variable, 1), false);
	return result;
}

/* built_in_result - where a built-in function's result of 1 or 2 units goes */
static bool built_in_result(S s, const struct ptx_operand *results, struct ptx_draft_operand result,
			    bool wide)
{
	const struct ptx_variable *variable;
	D d;

	if (!results)
		return true;
	if (results->count != 1 || results->elements[0].kind != PTX_OPERAND_VARIABLE ||
	    results->elements[0].variable->space != PTX_SPACE_PARAM ||
	    results->elements[0].variable->bytes != (wide ? 8 : 4))
		return fail(s, "the result is not that of the function");
	variable = results->elements[0].variable;
	if (!wide) {
		move(s, parameter_unit(variable, 0), result, false);
		return !s->code;
	}
	d = emit(s, "narrow_b64");
	set(s, d, 0, parameter_unit(variable, 0), true);
	set(s, d, 1, result, false);
	d = emit(s, "high_b64");
	set(s, d, 0, parameter_unit(variable, 1), true);
	set(s, d, 1, result, false);
	return !s->code;
}

/* select_built_in - functions that the machine brings; false without an error: not one of them */
static bool select_built_in(S s, const char *name, const struct ptx_operand *results,
			    const struct ptx_operand *list, bool *is_built_in)
{
	/* For each: the handler, its parameters (w wide, n narrow) and its result. */
	static const struct {
		const char *name;
		const char *handler;
		const char *parameters;
		char result;
	} functions[] = {
		{ "vprintf", "vprintf", "ww", 'n' },
		{ "malloc", "heap_take", "w", 'w' },
		{ "free", "heap_give", "w", '-' },
		{ "__assertfail", "assertfail", "wwnww", '-' },
	};
	struct ptx_draft_operand values[5], result;
	D d;

	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
		if (strcmp(name, functions[i].name))
			continue;
		*is_built_in = true;
		for (uint32_t k = 0; functions[i].parameters[k]; k++)
			values[k] =
				built_in_parameter(s, list, k, functions[i].parameters[k] == 'w');
		if (!strcmp(name, "vprintf") || !strcmp(name, "__assertfail"))
			s->out->has_printf = true;
		result = temporary(s, functions[i].result == 'w' ? PTX_VIRTUAL_REG64
								 : PTX_VIRTUAL_REG32);
		d = emit(s, "%s", functions[i].handler);
		if (functions[i].result != '-')
			set(s, d, 0, result, true);
		for (uint32_t k = 0; k < 4 && functions[i].parameters[k]; k++)
			set(s, d, k + 1, values[k], false);
		if (functions[i].result == '-')
			return !s->code;
		return !s->code && built_in_result(s, results, result, functions[i].result == 'w');
	}
	return false;
}

static bool call_direct(S s, struct ptx_function *function, const struct ptx_operand *results,
			const struct ptx_operand *list)
{
	D d;

	if (!call_units(s, list, function->parameters, 0, false))
		return false;
	d = emit(s, "call");
	if (d == FAILED)
		return false;
	at(s, d)->calls = true;
	at(s, d)->waits = true;
	at(s, d)->callee = function->draft;
	return call_units(s, results, function->results, unit_count(function->parameters), true);
}

static bool call_by_address(S s, const struct ptx_operand *address, struct ptx_name *prototype,
			    const struct ptx_operand *results, const struct ptx_operand *list)
{
	struct ptx_table *table = prototype ? table_find(s, prototype, true) : NULL;
	struct ptx_draft_operand target;
	uint32_t units;
	D d;

	if (!table)
		return fail(s, "there is no prototype");
	target = value(s, address, PTX_TYPE_U64);
	if (!call_units(s, list, table->parameters, 0, false))
		return false;
	units = unit_count(table->parameters);
	d = emit(s, "call_indirect");
	if (d == FAILED)
		return false;
	set(s, d, 1, target, false);
	set(s, d, 2, ready(units), false);
	set(s, d, 3, ready(unit_count(table->results)), false);
	at(s, d)->calls = true;
	at(s, d)->waits = true;
	at(s, d)->joins_next = true;
	s->out->calls_unknown = true;
	d = emit(s, "join");
	if (d == FAILED)
		return false;
	at(s, d)->kind = PTX_DRAFT_JOIN;
	return call_units(s, results, table->results, units, true);
}

/* call (results), function, (parameters), prototype; both lists may be missing */
static bool select_call(S s)
{
	unsigned int k = 0, count = s->statement->operand_count;
	const struct ptx_operand *results = NULL, *list = NULL, *target;
	struct ptx_function *function;
	struct ptx_name *prototype = NULL;
	bool is_built_in = false, done;

	flag(s, "uni");
	if (k < count && operand(s, k)->kind == PTX_OPERAND_LIST)
		results = operand(s, k++);
	if (k == count)
		return fail(s, "there is no function");
	target = operand(s, k++);
	if (k < count && operand(s, k)->kind == PTX_OPERAND_LIST)
		list = operand(s, k++);
	if (k < count && operand(s, k)->kind == PTX_OPERAND_NAME)
		prototype = operand(s, k++)->name;
	if (k != count)
		return fail(s, "too many operands");
	if (target->kind == PTX_OPERAND_REGISTER)
		return call_by_address(s, target, prototype, results, list);
	if (target->kind != PTX_OPERAND_NAME || !target->name->function)
		return fail(s, "there is no such function");
	function = target->name->function;
	for (int i = 0; function->alias_of && function->alias_of->function && i < 8; i++)
		function = function->alias_of->function;
	if (!function->has_body) {
		done = select_built_in(s, function->name->text, results, list, &is_built_in);
		if (is_built_in)
			return done;
		return fail(s, "the function '%.60s' has no body: not implemented",
			    function->name->text);
	}
	if (function->is_entry || !function->draft)
		return fail(s, "a kernel cannot be called");
	return call_direct(s, function, results, list);
}

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
	D d = emit(s, "guard");

	if (d == FAILED)
		return false;
	set(s, d, 1, tree_register(s, s->statement->guard), false);
	at(s, d)->kind = PTX_DRAFT_GUARD;
	at(s, d)->label = label;
	at(s, d)->code.detail = s->statement->guard_negated ? ~0u : 0;
	s->in_guard = true;
	done = opcode->select(s);
	s->in_guard = false;
	if (emit(s, "unguard") == FAILED)
		return false;
	return done && place_label(s, label);
}

static bool select_statement(S s)
{
	const struct ptx_statement *statement = s->statement;
	size_t first = s->out->draft_count;
	const struct opcode *opcode;
	uint32_t label;

	s->taken = 0;
	if (statement->label) {
		struct label *known = label_lookup(s, statement->label, statement->scope);

		return place_label(s, known->number);
	}
	if (!strcmp(statement->opcode, "bra")) {
		if (!select_bra(s))
			return false;
	} else {
		opcode = opcode_find(statement->opcode);
		if (!opcode)
			return not_implemented(s);
		if (statement->guard == PTX_NO_REGISTER) {
			if (!opcode->select(s))
				return s->code ? false : not_implemented(s);
		} else if (!opcode->flows) {
			if (!select_guarded(s, opcode))
				return s->code ? false : not_implemented(s);
		} else {
			label = s->out->label_count++;
			if (!branch_if(s, label, true) || !opcode->select(s) ||
			    !place_label(s, label))
				return s->code ? false : not_implemented(s);
		}
	}
	for (unsigned int i = 0; i < statement->modifier_count; i++)
		if (!(s->taken & (1u << i)))
			return not_implemented(s);
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
		return no_memory(s);
	for (uint32_t reg = 0; reg < function->register_count; reg++)
		map[reg] = s->out->counts[class_of(function->register_types[reg])]++;
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
			return fail(s, "the parameters are too large");
	}
	for (variable = function->variables; variable; variable = variable->next) {
		if (variable->space != PTX_SPACE_PARAM)
			continue;
		if (variable->bytes > PTX_PARAMETER_BYTES_MAX || variable->unsized)
			return fail(s, "a parameter is too large");
		variable->address = s->out->counts[PTX_VIRTUAL_REG32];
		s->out->counts[PTX_VIRTUAL_REG32] += (uint32_t)((variable->bytes + 3) / 4);
		if (s->out->counts[PTX_VIRTUAL_REG32] > PTX_DRAFTS_MAX)
			return fail(s, "the parameters are too large");
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
	if (!place_label(s, out->end_label))
		return s->code;
	d = emit(s, "return");
	if (d == FAILED)
		return s->code;
	at(s, d)->kind = PTX_DRAFT_END;
	at(s, d)->code.count = 0;
	return 0;
}
