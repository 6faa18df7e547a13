/* SPDX-License-Identifier: Apache-2.0 */
/* Selection of instructions that compute: arithmetic and bits. */
#include "cuda/softgpu/ptx_select.h"

#include <string.h>

/* ---- rounding ---- */

/* modifier_rounding - take the modifier; "rn" without one; "?" never */
const char *modifier_rounding(S s)
{
	static const char *const modes[] = { "rn", "rz", "rm", "rp", NULL };
	const char *mode = modifier_choose(s, modes);

	return mode ? mode : "rn";
}

void draft_round_begin(S s, const char *mode)
{
	if (strcmp(mode, "rn"))
		draft_emit(s, "round_%s", mode);
}

void draft_round_end(S s, const char *mode)
{
	if (strcmp(mode, "rn"))
		draft_emit(s, "round_end");
}

/* float_operation - add, sub, mul, fma, div, sqrt, rcp of any floating type */
static bool float_operation(S s, const char *name, enum ptx_type type, unsigned int count)
{
	const char *mode = modifier_rounding(s);
	bool flush = modifier_take(s, "ftz"), saturate = modifier_take(s, "sat"),
	     relu = modifier_take(s, "relu");
	const enum ptx_type types[4] = { type, type, type, type };
	struct values values;
	D d;

	if (strcmp(mode, "rn") && type != PTX_TYPE_F32 && type != PTX_TYPE_F64)
		return select_not_implemented(s);
	if (!statement_wants(s, count))
		return false;
	for (unsigned int k = 1; k < count; k++)
		values.v[k] = operand_value(s, statement_operand(s, k), types[k]);
	values.v[0] = operand_destination(s, statement_operand(s, 0), type);
	draft_round_begin(s, mode);
	d = draft_emit(s, flush ? "%s_ftz_%s" : "%s_%s", name, ptx_type_name(type));
	for (unsigned int k = 0; k < count; k++)
		draft_operand(s, d, k, values.v[k], k == 0);
	draft_round_end(s, mode);
	if (saturate && d != FAILED)
		draft_after(s, d, NAME("sat_%s", ptx_type_name(type)));
	if (relu && d != FAILED)
		draft_after(s, d, NAME("relu_%s", ptx_type_name(type)));
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
		return select_not_implemented(s);
	if (!statement_wants(s, count))
		return false;
	for (unsigned int k = 1; k < count; k++)
		values.v[k] = operand_value(s, statement_operand(s, k), type);
	if (count < 4)
		values.v[3] = operand_constant(s, 0, ptx_type_bytes(type) == 8);
	values.v[0] = operand_destination(s, statement_operand(s, 0), type);
	d = draft_emit(s, "%s_%s", name, ptx_type_name(type_unsigned(type)));
	for (unsigned int k = 0; k < 4; k++)
		draft_operand(s, d, k, values.v[k], k == 0);
	if (d != FAILED)
		draft_at(s, d)->code.detail = writes;
	return d != FAILED;
}

bool select_add(S s)
{
	const char *name = s->statement->opcode; /* add, sub, addc, subc */
	enum ptx_type type = modifier_type(s);
	const enum ptx_type types[3] = { type, type, type };
	bool chain = name[3] == 'c';

	if (type_is_float(type) && !chain)
		return float_operation(s, name, type, 3);
	if (chain || modifier_take(s, "cc")) {
		bool writes = chain ? modifier_take(s, "cc") : true;

		return carry_operation(s, NAME("%s_cc", name), type, writes, 3);
	}
	if (type == PTX_TYPE_U16X2 || type == PTX_TYPE_S16X2)
		return draft_simple(s, NAME("%s_%s", name, ptx_type_name(type)), 3, types) !=
		       FAILED;
	if (modifier_take(s, "sat"))
		return draft_simple(s, NAME("%s_sat_%s", name, ptx_type_name(type)), 3, types) !=
		       FAILED;
	return draft_simple(s, NAME("%s_%s", name, ptx_type_name(type_unsigned(type))), 3, types) !=
	       FAILED;
}

static const char *const lo_hi_wide[] = { "lo", "hi", "wide", NULL };

static enum ptx_type wider(enum ptx_type type)
{
	return ptx_type_bytes(type) == 2 ? PTX_TYPE_U32 : PTX_TYPE_U64;
}

bool select_mul(S s)
{
	enum ptx_type type = modifier_type(s);
	const char *part;
	enum ptx_type types[3] = { type, type, type };

	if (type_is_float(type))
		return float_operation(s, "mul", type, 3);
	part = modifier_choose(s, lo_hi_wide);
	if (!part)
		return select_not_implemented(s);
	if (!strcmp(part, "wide"))
		types[0] = wider(type);
	if (!strcmp(part, "lo"))
		type = type_unsigned(type);
	return draft_simple(s, NAME("mul_%s_%s", part, ptx_type_name(type)), 3, types) != FAILED;
}

bool select_mad(S s)
{
	bool with_carry = !strcmp(s->statement->opcode, "madc"), carry, saturate;
	enum ptx_type type = modifier_type(s);
	enum ptx_type types[4] = { type, type, type, type };
	const char *part;

	if (type_is_float(type) && !with_carry)
		return float_operation(s, "fma", type, 4);
	part = modifier_choose(s, lo_hi_wide);
	carry = modifier_take(s, "cc");
	saturate = modifier_take(s, "sat");
	if (!part)
		return select_not_implemented(s);
	if (carry || with_carry)
		return carry_operation(s, NAME(with_carry ? "madc_%s_cc" : "mad_%s_cc", part), type,
				       carry, 4);
	if (!strcmp(part, "wide"))
		types[0] = types[3] = wider(type);
	if (!strcmp(part, "lo"))
		type = type_unsigned(type);
	return draft_simple(
		       s, NAME(saturate ? "mad_%s_sat_%s" : "mad_%s_%s", part, ptx_type_name(type)),
		       4, types) != FAILED;
}

bool select_mul24(S s)
{
	bool mad = !strcmp(s->statement->opcode, "mad24"), saturate = modifier_take(s, "sat");
	enum ptx_type type = modifier_type(s);
	const enum ptx_type types[4] = { type, type, type, type };
	const char *part = modifier_choose(s, lo_hi_wide);

	if (!part)
		return select_not_implemented(s);
	return draft_simple(s,
			    NAME("%s_%s%s_%s", mad ? "mad24" : "mul24", part,
				 saturate ? "_sat" : "", ptx_type_name(type)),
			    mad ? 4 : 3, types) != FAILED;
}

bool select_fma(S s)
{
	enum ptx_type type = modifier_type(s);

	return type_is_float(type) ? float_operation(s, "fma", type, 4) : select_not_implemented(s);
}

/* div: .approx and .full are computed exactly */
bool select_div(S s)
{
	enum ptx_type type = modifier_type(s);
	const enum ptx_type types[3] = { type, type, type };

	if (type_is_float(type)) {
		if (!modifier_take(s, "approx"))
			modifier_take(s, "full");
		return float_operation(s, "div", type, 3);
	}
	return draft_simple(s, NAME("div_%s", ptx_type_name(type)), 3, types) != FAILED;
}

/* the same type for all operands, handler opcode_type */
static bool select_same(S s, unsigned int count, enum ptx_type (*canonical)(enum ptx_type))
{
	enum ptx_type type = modifier_type(s);
	const enum ptx_type types[4] = { type, type, type, type };

	return draft_simple(s,
			    NAME("%s_%s", s->statement->opcode,
				 ptx_type_name(canonical ? canonical(type) : type)),
			    count, types) != FAILED;
}

bool select_two_same(S s)
{
	return select_same(s, 3, NULL);
}

bool select_sad(S s)
{
	return select_same(s, 4, NULL);
}

bool select_min(S s)
{
	enum ptx_type type = modifier_type(s);
	const enum ptx_type types[3] = { type, type, type };
	bool flush = modifier_take(s, "ftz"), nan = modifier_take(s, "NaN");

	return draft_simple(s,
			    NAME("%s%s%s_%s", s->statement->opcode, flush ? "_ftz" : "",
				 nan ? "_nan" : "", ptx_type_name(type)),
			    3, types) != FAILED;
}

bool select_neg(S s)
{
	enum ptx_type type = modifier_type(s);
	const enum ptx_type types[2] = { type, type };
	bool flush = modifier_take(s, "ftz");

	if (type == PTX_TYPE_BF16)
		type = PTX_TYPE_F16;
	if (type == PTX_TYPE_BF16X2)
		type = PTX_TYPE_F16X2;
	return draft_simple(s,
			    NAME(flush ? "%s_ftz_%s" : "%s_%s", s->statement->opcode,
				 ptx_type_name(type)),
			    2, types) != FAILED;
}

/* sqrt, rcp, rsqrt: .approx is computed exactly; of doubles .ftz keeps the upper half only */
bool select_root(S s)
{
	enum ptx_type type = modifier_type(s);

	modifier_take(s, "approx");
	return type_is_float(type) ? float_operation(s, s->statement->opcode, type, 2)
				   : select_not_implemented(s);
}

bool select_approximate(S s)
{
	enum ptx_type type = modifier_type(s);
	const enum ptx_type types[2] = { type, type };
	bool flush = modifier_take(s, "ftz");

	if (!modifier_take(s, "approx"))
		return select_not_implemented(s);
	return draft_simple(s,
			    NAME(flush && type == PTX_TYPE_F32 ? "%s_ftz_%s" : "%s_%s",
				 s->statement->opcode, ptx_type_name(type)),
			    2, types) != FAILED;
}

/* ---- bits ---- */

/* select_predicate - and, or, xor, not, mov of predicates; operands may be negated */
bool select_predicate(S s, const char *name, unsigned int count)
{
	struct values values;
	uint64_t negated = 0;
	D d;

	if (!statement_wants(s, count))
		return false;
	for (unsigned int k = 1; k < count; k++) {
		values.v[k] = operand_value(s, statement_operand(s, k), PTX_TYPE_PRED);
		if (statement_operand(s, k)->negated)
			negated |= k == 1 ? 0xffffffffu : (uint64_t)0xffffffffu << 32;
	}
	if (count < 3)
		values.v[2] = values.v[1];
	values.v[0] = operand_destination(s, statement_operand(s, 0), PTX_TYPE_PRED);
	d = draft_emit(s, "%s_pred", name);
	for (unsigned int k = 0; k < 3; k++)
		draft_operand(s, d, k, values.v[k], k == 0);
	if (d != FAILED)
		draft_at(s, d)->code.immediate = negated;
	return d != FAILED;
}

bool select_logic(S s)
{
	enum ptx_type type = modifier_type(s);
	const enum ptx_type types[3] = { type, type, type };
	bool not = !strcmp(s->statement->opcode, "not");

	if (type == PTX_TYPE_PRED)
		return select_predicate(s, s->statement->opcode, not ? 2 : 3);
	if (type_is_float(type))
		return select_not_implemented(s);
	if (ptx_type_bytes(type) == 2 && !not )
		return draft_simple(s, NAME("%s_b32", s->statement->opcode), 3, types) != FAILED;
	return draft_simple(s, NAME("%s_%s", s->statement->opcode, ptx_type_name(type_plain(type))),
			    not ? 2 : 3, types) != FAILED;
}

bool select_cnot(S s)
{
	return select_same(s, 2, type_plain);
}

bool select_shift(S s)
{
	enum ptx_type type = modifier_type(s);
	const enum ptx_type types[3] = { type, type, PTX_TYPE_U32 };
	bool left = !strcmp(s->statement->opcode, "shl");

	if (type_is_float(type) || type == PTX_TYPE_PRED)
		return select_not_implemented(s);
	if (left)
		return draft_simple(s, NAME("shl_%s", ptx_type_name(type_plain(type))), 3, types) !=
		       FAILED;
	return draft_simple(s,
			    NAME("shr_%s",
				 ptx_type_name(type_is_signed(type) ? type : type_unsigned(type))),
			    3, types) != FAILED;
}

/* popc, clz: a 32-bit result whatever the operand; brev: the same width */
bool select_count_bits(S s)
{
	enum ptx_type type = modifier_type(s);
	const enum ptx_type types[2] = { strcmp(s->statement->opcode, "brev") ? PTX_TYPE_U32 : type,
					 type };

	return draft_simple(s, NAME("%s_%s", s->statement->opcode, ptx_type_name(type)), 2,
			    types) != FAILED;
}

bool select_bfind(S s)
{
	enum ptx_type type = modifier_type(s);
	const enum ptx_type types[2] = { PTX_TYPE_U32, type };
	bool shift = modifier_take(s, "shiftamt");
	D d = draft_simple(s, NAME("bfind_%s", ptx_type_name(type)), 2, types);

	if (shift && d != FAILED)
		return draft_after(s, d, NAME("bfind_shift_%u", type_bits(type)));
	return d != FAILED;
}

bool select_bfe(S s)
{
	enum ptx_type type = modifier_type(s);
	const enum ptx_type types[4] = { type, type, PTX_TYPE_U32, PTX_TYPE_U32 };

	return draft_simple(s, NAME("bfe_%s", ptx_type_name(type)), 4, types) != FAILED;
}

bool select_bfi(S s)
{
	enum ptx_type type = modifier_type(s);
	const enum ptx_type types[5] = { type, type, type, PTX_TYPE_U32, PTX_TYPE_U32 };

	return draft_simple(s, NAME("bfi_%s", ptx_type_name(type)), 5, types) != FAILED;
}

bool select_prmt(S s)
{
	static const char *const modes[] = { "f4e", "b4e", "rc8", "ecl", "ecr", "rc16", NULL };
	enum ptx_type type = modifier_type(s);
	const enum ptx_type types[4] = { type, type, type, PTX_TYPE_U32 };
	const char *mode = modifier_choose(s, modes);

	return draft_simple(s,
			    NAME(mode ? "prmt_%s_%s" : "prmt%s_%s", mode ? mode : "",
				 ptx_type_name(type)),
			    4, types) != FAILED;
}

bool select_lop3(S s)
{
	enum ptx_type type = modifier_type(s);
	struct values values;
	D d;

	if (!statement_wants(s, 5) || type != PTX_TYPE_B32)
		return select_not_implemented(s);
	if (statement_operand(s, 4)->kind != PTX_OPERAND_INTEGER ||
	    statement_operand(s, 4)->value > 255)
		return select_fail(s, "the table is not a number below 256");
	for (unsigned int k = 1; k < 4; k++)
		values.v[k] = operand_value(s, statement_operand(s, k), type);
	values.v[0] = operand_destination(s, statement_operand(s, 0), type);
	d = draft_emit(s, "lop3_b32");
	for (unsigned int k = 0; k < 4; k++)
		draft_operand(s, d, k, values.v[k], k == 0);
	if (d != FAILED)
		draft_at(s, d)->code.detail = (uint32_t)statement_operand(s, 4)->value;
	return d != FAILED;
}

bool select_shf(S s)
{
	static const char *const sides[] = { "l", "r", NULL };
	static const char *const amounts[] = { "clamp", "wrap", NULL };
	const enum ptx_type types[4] = { PTX_TYPE_B32, PTX_TYPE_B32, PTX_TYPE_B32, PTX_TYPE_U32 };
	const char *side = modifier_choose(s, sides), *amount = modifier_choose(s, amounts);

	if (!side || !amount || modifier_type(s) != PTX_TYPE_B32)
		return select_not_implemented(s);
	return draft_simple(s, NAME("shf_%s_%s_b32", side, amount), 4, types) != FAILED;
}

bool select_fns(S s)
{
	const enum ptx_type types[4] = { PTX_TYPE_B32, PTX_TYPE_B32, PTX_TYPE_B32, PTX_TYPE_S32 };

	if (modifier_type(s) != PTX_TYPE_B32)
		return select_not_implemented(s);
	return draft_simple(s, "fns_b32", 4, types) != FAILED;
}

bool select_dot(S s)
{
	static const char *const parts[] = { "lo", "hi", NULL };
	const enum ptx_type types[4] = { PTX_TYPE_U32, PTX_TYPE_U32, PTX_TYPE_U32, PTX_TYPE_U32 };
	const char *part = modifier_choose(s, parts);
	enum ptx_type a = modifier_type(s), b = modifier_type(s);

	return draft_simple(s,
			    NAME("%s%s%s_%s_%s", s->statement->opcode, part ? "_" : "",
				 part ? part : "", ptx_type_name(a), ptx_type_name(b)),
			    4, types) != FAILED;
}

/* vabsdiff4 of unsigned bytes, as the runtime's headers use it */
bool select_vabsdiff4(S s)
{
	const enum ptx_type types[4] = { PTX_TYPE_U32, PTX_TYPE_U32, PTX_TYPE_U32, PTX_TYPE_U32 };
	struct values values;
	bool add = modifier_take(s, "add");
	D d;

	for (int i = 0; i < 3; i++)
		if (modifier_type(s) != PTX_TYPE_U32)
			return select_not_implemented(s);
	if (add)
		return draft_simple(s, "vabsdiff4_add_u32", 4, types) != FAILED;
	if (!statement_wants(s, 4)) /* c would be what bytes that a mask leaves out are */
		return false;
	values.v[1] = operand_value(s, statement_operand(s, 1), PTX_TYPE_U32);
	values.v[2] = operand_value(s, statement_operand(s, 2), PTX_TYPE_U32);
	values.v[0] = operand_destination(s, statement_operand(s, 0), PTX_TYPE_U32);
	d = draft_emit(s, "vabsdiff4_u32");
	for (unsigned int k = 0; k < 3; k++)
		draft_operand(s, d, k, values.v[k], k == 0);
	return d != FAILED;
}

/* szext, bmsk */
bool select_clamped(S s)
{
	static const char *const amounts[] = { "clamp", "wrap", NULL };
	enum ptx_type type = modifier_type(s);
	const enum ptx_type types[3] = { type, PTX_TYPE_U32, PTX_TYPE_U32 };
	const char *amount = modifier_choose(s, amounts);

	if (!amount)
		return select_not_implemented(s);
	return draft_simple(s, NAME("%s_%s_%s", s->statement->opcode, amount, ptx_type_name(type)),
			    3, types) != FAILED;
}
