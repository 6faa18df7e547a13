/* SPDX-License-Identifier: Apache-2.0 */
/* Selection of comparisons, selections, moves and conversions. */
#include "cuda/softgpu/ptx_select.h"

#include <string.h>

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
			kind = type_unsigned(type);
		}
	if (!type_is_float(type) && !type_is_signed(type))
		kind = type_unsigned(type);
	if (type == PTX_TYPE_F16 || type == PTX_TYPE_BF16)
		flush = false;
	d = draft_emit(s, flush ? "setp_%s_ftz_%s" : "setp_%s_%s", how, ptx_type_name(kind));
	draft_operand(s, d, 0, result, true);
	draft_operand(s, d, 1, x, false);
	draft_operand(s, d, 2, y, false);
	if (d != FAILED)
		draft_at(s, d)->fused = ptx_handler_find(NAME(
			flush ? "branch_%s_ftz_%s" : "branch_%s_%s", how, ptx_type_name(kind)));
	return d != FAILED;
}

/* compare - a predicate of operands a and b into @result */
static bool compare(S s, const char *how, enum ptx_type type, bool flush,
		    const struct ptx_operand *a, const struct ptx_operand *b,
		    struct ptx_draft_operand result)
{
	struct ptx_draft_operand x = operand_value(s, a, type), y = operand_value(s, b, type);

	return compare_values(s, how, type, flush, x, y, result);
}

/* compare_pair - the same of the lower and the upper halves of f16x2 or bf16x2 operands */
static bool compare_pair(S s, const char *how, enum ptx_type type,
			 struct ptx_draft_operand results[2])
{
	enum ptx_type half = type == PTX_TYPE_F16X2 ? PTX_TYPE_F16 : PTX_TYPE_BF16;
	struct ptx_draft_operand a = operand_value(s, statement_operand(s, 1), type);
	struct ptx_draft_operand b = operand_value(s, statement_operand(s, 2), type);

	results[0] = operand_temporary(s, PTX_VIRTUAL_PRED);
	results[1] = operand_temporary(s, PTX_VIRTUAL_PRED);
	return compare_values(s, how, half, false, a, b, results[0]) &&
	       compare_values(s, how, half, false, draft_unary(s, "high_b32", PTX_VIRTUAL_REG32, a),
			      draft_unary(s, "high_b32", PTX_VIRTUAL_REG32, b), results[1]);
}

/* select_constants - d = p ? one : zero */
static struct ptx_draft_operand select_constants(S s, uint32_t one,
						 struct ptx_draft_operand predicate)
{
	struct ptx_draft_operand d = operand_temporary(s, PTX_VIRTUAL_REG32);
	struct ptx_draft_operand first = operand_constant(s, one, false),
				 second = operand_constant(s, 0, false);
	D select = draft_emit(s, "selp_b32");

	draft_operand(s, select, 0, d, true);
	draft_operand(s, select, 1, first, false);
	draft_operand(s, select, 2, second, false);
	draft_operand(s, select, 3, predicate, false);
	return d;
}

/* set_pair - set with two halves: each all ones (integer) or 1.0 */
static bool set_pair(S s, const char *how, enum ptx_type to, enum ptx_type from)
{
	struct ptx_draft_operand results[2], halves[2];
	uint32_t one = to == PTX_TYPE_F16X2 ? 0x3c00 : to == PTX_TYPE_BF16X2 ? 0x3f80 : 0xffff;
	D d;

	if (ptx_type_bytes(to) != 4 || to == PTX_TYPE_F32 || !statement_wants(s, 3))
		return select_not_implemented(s);
	if (!compare_pair(s, how, from, results))
		return false;
	for (int i = 0; i < 2; i++)
		halves[i] = select_constants(s, one, results[i]);
	results[0] = operand_destination(s, statement_operand(s, 0), to);
	d = draft_emit(s, "pack_b32");
	draft_operand(s, d, 0, results[0], true);
	draft_operand(s, d, 1, halves[0], false);
	draft_operand(s, d, 2, halves[1], false);
	return d != FAILED;
}

/* combine - d = a (operation) b of predicates; @negated as in select_predicate */
static void combine(S s, const char *name, struct ptx_draft_operand d, struct ptx_draft_operand a,
		    struct ptx_draft_operand b, uint64_t negated)
{
	D draft = draft_emit(s, "%s_pred", name);

	draft_operand(s, draft, 0, d, true);
	draft_operand(s, draft, 1, a, false);
	draft_operand(s, draft, 2, b, false);
	if (draft != FAILED)
		draft_at(s, draft)->code.immediate = negated;
}

/* setp_pair - setp of halves: the first result is of the lower ones, the second of the upper */
static bool setp_pair(S s, const char *how, const char *operation, enum ptx_type type)
{
	const struct ptx_operand *to = statement_operand(s, 0);
	struct ptx_draft_operand results[2], with;
	uint64_t negated = 0;

	if (!to->second || !statement_wants(s, operation ? 4 : 3))
		return select_not_implemented(s);
	if (!compare_pair(s, how, type, results))
		return false;
	with = results[0];
	if (operation) {
		struct ptx_draft_operand given =
			operand_value(s, statement_operand(s, 3), PTX_TYPE_PRED);

		/* A copy: c may be the first result's register. */
		with = operand_temporary(s, PTX_VIRTUAL_PRED);
		combine(s, "mov", with, given, given, 0);
		negated = statement_operand(s, 3)->negated ? (uint64_t)0xffffffffu << 32 : 0;
	}
	combine(s, operation ? operation : "mov", operand_destination(s, to, PTX_TYPE_PRED),
		results[0], with, negated);
	combine(s, operation ? operation : "mov", operand_destination(s, to->second, PTX_TYPE_PRED),
		results[1], with, negated);
	return !s->code;
}

bool select_setp(S s)
{
	const char *how = modifier_choose(s, comparisons);
	const char *operation = modifier_choose(s, boolean_operations);
	bool flush = modifier_take(s, "ftz");
	enum ptx_type type = modifier_type(s);
	const struct ptx_operand *d = statement_operand(s, 0);
	struct ptx_draft_operand result, first, with;
	uint64_t negated;

	if (!how || type == PTX_TYPE_PRED)
		return select_not_implemented(s);
	if (type == PTX_TYPE_F16X2 || type == PTX_TYPE_BF16X2)
		return setp_pair(s, how, operation, type);
	if (!statement_wants(s, operation ? 4 : 3))
		return false;
	result = operand_destination(s, d, PTX_TYPE_PRED);
	if (!operation && !d->second)
		return compare(s, how, type, flush, statement_operand(s, 1),
			       statement_operand(s, 2), result);
	first = operand_temporary(s, PTX_VIRTUAL_PRED);
	if (!compare(s, how, type, flush, statement_operand(s, 1), statement_operand(s, 2), first))
		return false;
	with = operation ? operand_value(s, statement_operand(s, 3), PTX_TYPE_PRED) : first;
	negated = operation && statement_operand(s, 3)->negated ? (uint64_t)0xffffffffu << 32 : 0;
	if (d->second && operation) {
		/* The second result reads c as the first one does: c may be either register. */
		struct ptx_draft_operand copy = operand_temporary(s, PTX_VIRTUAL_PRED);

		combine(s, "mov", copy, with, with, 0);
		with = copy;
	}
	combine(s, operation ? operation : "mov", result, first, with, negated);
	if (d->second)
		combine(s, operation ? operation : "mov",
			operand_destination(s, d->second, PTX_TYPE_PRED), first, with,
			negated | 0xffffffffu);
	return !s->code;
}

/* set: a comparison whose result is all ones, or 1.0, in a register */
bool select_set(S s)
{
	const char *how = modifier_choose(s, comparisons);
	const char *operation = modifier_choose(s, boolean_operations);
	bool flush = modifier_take(s, "ftz");
	enum ptx_type to = modifier_type(s), from = modifier_type(s);
	struct ptx_draft_operand result, one, zero, d;
	D select;

	if (!how || from == PTX_TYPE_NONE || ptx_type_bytes(to) > 4)
		return select_not_implemented(s);
	if ((from == PTX_TYPE_F16X2 || from == PTX_TYPE_BF16X2) && !operation)
		return set_pair(s, how, to, from);
	if (from == PTX_TYPE_F16X2 || from == PTX_TYPE_BF16X2 || to == PTX_TYPE_F16X2 ||
	    to == PTX_TYPE_BF16X2)
		return select_not_implemented(s);
	if (!statement_wants(s, operation ? 4 : 3))
		return false;
	result = operand_temporary(s, PTX_VIRTUAL_PRED);
	if (!compare(s, how, from, flush, statement_operand(s, 1), statement_operand(s, 2), result))
		return false;
	if (operation)
		combine(s, operation, result, result,
			operand_value(s, statement_operand(s, 3), PTX_TYPE_PRED),
			statement_operand(s, 3)->negated ? (uint64_t)0xffffffffu << 32 : 0);
	one = operand_constant(s,
			       to == PTX_TYPE_F32    ? 0x3f800000u
			       : to == PTX_TYPE_F16  ? 0x3c00u
			       : to == PTX_TYPE_BF16 ? 0x3f80u
						     : 0xffffffffu,
			       false);
	zero = operand_constant(s, 0, false);
	d = operand_destination(s, statement_operand(s, 0), to);
	select = draft_emit(s, "selp_b32");
	draft_operand(s, select, 0, d, true);
	draft_operand(s, select, 1, one, false);
	draft_operand(s, select, 2, zero, false);
	draft_operand(s, select, 3, result, false);
	return select != FAILED;
}

bool select_selp(S s)
{
	enum ptx_type type = modifier_type(s);
	const enum ptx_type types[4] = { type, type, type, PTX_TYPE_PRED };
	D d;

	if (type == PTX_TYPE_PRED || type == PTX_TYPE_NONE)
		return select_not_implemented(s);
	d = draft_simple(s, ptx_type_bytes(type) == 8 ? "selp_b64" : "selp_b32", 4, types);
	if (d != FAILED && statement_operand(s, 3)->negated)
		draft_at(s, d)->code.detail = ~0u;
	return d != FAILED;
}

bool select_slct(S s)
{
	bool flush = modifier_take(s, "ftz");
	enum ptx_type type = modifier_type(s), control = modifier_type(s);
	const enum ptx_type types[4] = { type, type, type, control };

	(void)flush; /* a subnormal c is -0 or +0 then, which is >= 0 for both: handled below */
	if (flush && control == PTX_TYPE_F32) {
		struct values values;
		D d;

		if (!statement_wants(s, 4))
			return false;
		for (unsigned int k = 1; k < 4; k++)
			values.v[k] = operand_value(s, statement_operand(s, k), types[k]);
		values.v[3] = draft_unary(s, "flush_f32", PTX_VIRTUAL_REG32, values.v[3]);
		values.v[0] = operand_destination(s, statement_operand(s, 0), type);
		d = draft_emit(s, "slct_%s_f32", ptx_type_name(type_plain(type)));
		for (unsigned int k = 0; k < 4; k++)
			draft_operand(s, d, k, values.v[k], k == 0);
		return d != FAILED;
	}
	return draft_simple(
		       s,
		       NAME("slct_%s_%s", ptx_type_name(type_plain(type)), ptx_type_name(control)),
		       4, types) != FAILED;
}

bool select_testp(S s)
{
	static const char *const tests[] = { "finite", "infinite",  "number", "notanumber",
					     "normal", "subnormal", NULL };
	const char *test = modifier_choose(s, tests);
	enum ptx_type type = modifier_type(s);
	const enum ptx_type types[2] = { PTX_TYPE_PRED, type };

	if (!test)
		return select_not_implemented(s);
	return draft_simple(s, NAME("testp_%s_%s", test, ptx_type_name(type)), 2, types) != FAILED;
}

/* ---- moves and conversions ---- */

/* pack - {a, b, ...} into one register of twice or four times the width */
static bool select_pack(S s, enum ptx_type type)
{
	const struct ptx_operand *from = statement_operand(s, 1);
	bool wide = ptx_type_bytes(type) == 8;
	enum ptx_type part;
	struct ptx_draft_operand halves[4], d;
	D draft;

	if ((from->count != 2 && from->count != 4) ||
	    ptx_type_bytes(type) / from->count < (from->count == 4 && !wide ? 4u : 2u))
		return select_not_implemented(s);
	part = ptx_type_bytes(type) / from->count == 4 ? PTX_TYPE_B32 : PTX_TYPE_B16;
	for (unsigned int i = 0; i < from->count; i++)
		halves[i] = operand_value(s, &from->elements[i], part);
	for (unsigned int i = 0; from->count == 4 && i < 4; i += 2) {
		struct ptx_draft_operand pair = operand_temporary(s, PTX_VIRTUAL_REG32);

		draft = draft_emit(s, "pack_b32");
		draft_operand(s, draft, 0, pair, true);
		draft_operand(s, draft, 1, halves[i], false);
		draft_operand(s, draft, 2, halves[i + 1], false);
		halves[i / 2] = pair;
	}
	d = operand_destination(s, statement_operand(s, 0), type);
	draft = draft_emit(s, wide ? "pack_b64" : "pack_b32");
	draft_operand(s, draft, 0, d, true);
	draft_operand(s, draft, 1, halves[0], false);
	draft_operand(s, draft, 2, halves[1], false);
	return draft != FAILED;
}

/* unpack - one register into {a, b, ...}; a part that lies in the source register goes last */
static bool select_unpack(S s, enum ptx_type type)
{
	static const char *const in_64[] = { "narrow_b64", "high_b64" };
	static const char *const in_32[] = { "widen_u16", "high_b32" };
	static const char *const in_four[] = { "narrow_b64", "high_b64", "quarter2_b64",
					       "quarter3_b64" };
	const struct ptx_operand *to = statement_operand(s, 0);
	bool wide = ptx_type_bytes(type) == 8;
	struct ptx_draft_operand from = operand_value(s, statement_operand(s, 1), type), copy;
	enum ptx_type part;

	if ((to->count != 2 && to->count != 4) || (to->count == 4 && !wide) ||
	    (!wide && ptx_type_bytes(type) != 4))
		return select_not_implemented(s);
	part = ptx_type_bytes(type) / to->count == 4 ? PTX_TYPE_B32 : PTX_TYPE_B16;
	copy = operand_temporary(s, wide ? PTX_VIRTUAL_REG64 : PTX_VIRTUAL_REG32);
	draft_move(s, copy, from, wide);
	for (unsigned int i = 0; i < to->count; i++) {
		const char *name = to->count == 4 ? (i == 1 ? "narrow_b64" : in_four[i])
				   : wide	  ? in_64[i]
						  : in_32[i];
		struct ptx_draft_operand d;
		D draft;

		if (to->elements[i].kind == PTX_OPERAND_SINK)
			continue;
		d = operand_destination(s, &to->elements[i], part);
		draft = draft_emit(s, "%s", name);
		draft_operand(s, draft, 0, d, true);
		draft_operand(s, draft, 1, copy, false);
		if (to->count == 4 && i == 1 && draft != FAILED)
			draft_after(s, draft, "high_b32");
	}
	return !s->code;
}

bool select_mov(S s)
{
	enum ptx_type type = modifier_type(s);
	const enum ptx_type types[2] = { type, type };

	if (!statement_wants(s, 2))
		return false;
	if (type == PTX_TYPE_PRED)
		return select_predicate(s, "mov", 2);
	if (type == PTX_TYPE_NONE || type == PTX_TYPE_B128)
		return select_not_implemented(s);
	if (statement_operand(s, 1)->kind == PTX_OPERAND_VECTOR)
		return select_pack(s, type);
	if (statement_operand(s, 0)->kind == PTX_OPERAND_VECTOR)
		return select_unpack(s, type);
	return draft_simple(s, ptx_type_bytes(type) == 8 ? "mov_b64" : "mov_b32", 2, types) !=
	       FAILED;
}

/* operand_resized - the value of type @from as a register of type @to, extended or cut, signs kept
 */
static struct ptx_draft_operand operand_resized(S s, struct ptx_draft_operand a, enum ptx_type to,
						enum ptx_type from)
{
	unsigned int to_bytes = ptx_type_bytes(to), from_bytes = ptx_type_bytes(from);
	const char *sign = type_is_signed(from) ? "s" : "u";

	if (to_bytes == 8 && from_bytes == 8)
		return a;
	if (to_bytes == 8)
		return draft_unary(s,
				   NAME(from_bytes == 4 ? "widen_%s%u" : "widen_%s%u_64", sign,
					8 * from_bytes),
				   PTX_VIRTUAL_REG64, a);
	if (from_bytes == 8) {
		a = draft_unary(s, "narrow_b64", PTX_VIRTUAL_REG32, a);
		from_bytes = 4;
	}
	if (to_bytes < 4 && to_bytes <= from_bytes)
		return draft_unary(s,
				   NAME("widen_%s%u", type_is_signed(to) ? "s" : "u", 8 * to_bytes),
				   PTX_VIRTUAL_REG32, a);
	if (from_bytes < 4)
		return draft_unary(s, NAME("widen_%s%u", sign, 8 * from_bytes), PTX_VIRTUAL_REG32,
				   a);
	return a;
}

/* operand_type - a register may be wider than the instruction's type: read it whole */
struct ptx_draft_operand operand_narrowed(S s, const struct ptx_operand *from, enum ptx_type type)
{
	if (from->kind == PTX_OPERAND_REGISTER && from->type != PTX_TYPE_PRED &&
	    ptx_type_bytes(from->type) == 8 && ptx_type_bytes(type) < 8)
		return draft_unary(s, "narrow_b64", PTX_VIRTUAL_REG32,
				   operand_register(s, from->reg));
	return operand_value(s, from, type);
}

/* operand_widened - write @result, of @type, to a register that may be wider */
bool operand_widened(S s, const struct ptx_operand *to, struct ptx_draft_operand result,
		     enum ptx_type type)
{
	if (to->kind == PTX_OPERAND_SINK)
		return true;
	if (to->kind != PTX_OPERAND_REGISTER || to->type == PTX_TYPE_PRED)
		return select_fail(s, "the result is not a register");
	if (ptx_type_bytes(to->type) == 8 && ptx_type_bytes(type) < 8) {
		if (type_is_float(type))
			return select_fail(s, "'%.60s' has the wrong type", to->name->text);
		result = operand_resized(s, result,
					 type_is_signed(type) ? PTX_TYPE_S64 : PTX_TYPE_U64, type);
	} else if (ptx_type_bytes(to->type) < 8 && ptx_type_bytes(type) == 8) {
		return select_fail(s, "'%.60s' has the wrong type", to->name->text);
	}
	draft_move(s, operand_register(s, to->reg), result, ptx_type_bytes(to->type) == 8);
	return !s->code;
}

/* saturate_integer - a 64-bit value clamped to @to */
static struct ptx_draft_operand saturate_integer(S s, struct ptx_draft_operand a, enum ptx_type to,
						 enum ptx_type from)
{
	char sign = type_is_signed(from) ? 's' : 'u';

	if (ptx_type_bytes(to) == 8 && type_is_signed(to) == type_is_signed(from))
		return a;
	return draft_unary(s, NAME("clamp_%s_%c64", ptx_type_name(to), sign), type_class(to), a);
}

static struct ptx_draft_operand convert_integers(S s, struct ptx_draft_operand a, enum ptx_type to,
						 enum ptx_type from, bool saturate)
{
	if (!saturate)
		return operand_resized(s, a, to, from);
	a = operand_resized(s, a, type_is_signed(from) ? PTX_TYPE_S64 : PTX_TYPE_U64, from);
	return saturate_integer(s, a, to, from);
}

/* Types of 8 and 16 bits are converted as 32 bits. */
static enum ptx_type at_least_32(enum ptx_type type)
{
	return ptx_type_bytes(type) >= 4 ? type
	       : type_is_signed(type)	 ? PTX_TYPE_S32
					 : PTX_TYPE_U32;
}

static struct ptx_draft_operand float_to_float(S s, struct ptx_draft_operand a, enum ptx_type to,
					       enum ptx_type from, const char *mode)
{
	bool narrow = to == PTX_TYPE_F16 || to == PTX_TYPE_BF16;
	struct ptx_draft_operand result;

	if (to == from)
		return a;
	if (to == PTX_TYPE_F16 && from == PTX_TYPE_BF16) {
		a = draft_unary(s, "cvt_f32_bf16", PTX_VIRTUAL_REG32, a);
		from = PTX_TYPE_F32;
	}
	if (narrow) {
		bool nearest = !strcmp(mode, "rn");

		return draft_unary(s,
				   NAME("cvt%s%s_%s_%s", nearest ? "" : "_", nearest ? "" : mode,
					ptx_type_name(to), ptx_type_name(from)),
				   PTX_VIRTUAL_REG32, a);
	}
	draft_round_begin(s, mode);
	result = draft_unary(s, NAME("cvt_%s_%s", ptx_type_name(to), ptx_type_name(from)),
			     type_class(to), a);
	draft_round_end(s, mode);
	return result;
}

static struct ptx_draft_operand integer_to_float(S s, struct ptx_draft_operand a, enum ptx_type to,
						 enum ptx_type from, const char *mode)
{
	enum ptx_type through = to == PTX_TYPE_F16 || to == PTX_TYPE_BF16 ? PTX_TYPE_F64 : to;
	enum ptx_type whole = at_least_32(from);
	struct ptx_draft_operand result;

	a = operand_resized(s, a, whole, from);
	if (through == to)
		draft_round_begin(s, mode);
	result = draft_unary(s, NAME("cvt_%s_%s", ptx_type_name(through), ptx_type_name(whole)),
			     type_class(through), a);
	if (through == to)
		draft_round_end(s, mode);
	if (to == PTX_TYPE_BF16)
		select_not_implemented(s);
	return through == to ? result : float_to_float(s, result, to, through, mode);
}

static struct ptx_draft_operand float_to_integer(S s, struct ptx_draft_operand a, enum ptx_type to,
						 enum ptx_type from, const char *mode)
{
	enum ptx_type whole = at_least_32(to);
	struct ptx_draft_operand result;

	if (from == PTX_TYPE_F16 || from == PTX_TYPE_BF16) {
		a = draft_unary(s, NAME("cvt_f32_%s", ptx_type_name(from)), PTX_VIRTUAL_REG32, a);
		from = PTX_TYPE_F32;
	}
	result = draft_unary(s,
			     NAME("cvt_%s_%s_%s", mode, ptx_type_name(whole), ptx_type_name(from)),
			     type_class(whole), a);
	if (whole == to)
		return result;
	result = operand_resized(s, result, type_is_signed(whole) ? PTX_TYPE_S64 : PTX_TYPE_U64,
				 whole);
	return saturate_integer(s, result, to, whole);
}

/* cvt.rn.f16x2.f32 d, a, b and its like */
static bool select_convert_pair(S s, enum ptx_type to, enum ptx_type from, const char *mode,
				bool relu)
{
	const enum ptx_type types[3] = { to, from, from };
	bool nearest = !strcmp(mode, "rn");
	D d = draft_simple(s,
			   NAME("cvt%s%s_%s_%s", nearest ? "" : "_", nearest ? "" : mode,
				ptx_type_name(to), ptx_type_name(from)),
			   3, types);

	if (relu && d != FAILED)
		return draft_after(s, d, NAME("relu_%s", ptx_type_name(to)));
	return d != FAILED;
}

bool select_cvt(S s)
{
	static const char *const integral[] = { "rni", "rzi", "rmi", "rpi", NULL };
	const char *whole = modifier_choose(s, integral);
	const char *mode = modifier_rounding(s);
	bool flush = modifier_take(s, "ftz"), saturate = modifier_take(s, "sat"),
	     relu = modifier_take(s, "relu");
	enum ptx_type to = modifier_type(s), from = modifier_type(s);
	struct ptx_draft_operand a;

	if (to == PTX_TYPE_F16X2 || to == PTX_TYPE_BF16X2)
		return select_convert_pair(s, to, from, mode, relu);
	if (!statement_wants(s, 2) || from == PTX_TYPE_NONE || to == PTX_TYPE_PRED ||
	    from == PTX_TYPE_PRED || from == PTX_TYPE_F16X2 || from == PTX_TYPE_BF16X2)
		return select_not_implemented(s);
	a = operand_narrowed(s, statement_operand(s, 1), from);
	if (flush && from == PTX_TYPE_F32)
		a = draft_unary(s, "flush_f32", PTX_VIRTUAL_REG32, a);
	if (!type_is_float(to) && !type_is_float(from)) {
		a = convert_integers(s, a, to, from, saturate);
	} else if (type_is_float(to) && type_is_float(from)) {
		if (whole && to != from)
			return select_not_implemented(s);
		if (whole)
			a = draft_unary(
				s,
				NAME("cvt_%s_%s_%s", whole, ptx_type_name(to), ptx_type_name(from)),
				type_class(to), a);
		else
			a = float_to_float(s, a, to, from, mode);
	} else if (type_is_float(to)) {
		a = integer_to_float(s, a, to, from, mode);
	} else {
		if (!whole)
			return select_not_implemented(s);
		a = float_to_integer(s, a, to, from, whole);
	}
	if (type_is_float(to) && saturate)
		a = draft_unary(s, NAME("sat_%s", ptx_type_name(to)), type_class(to), a);
	if (relu)
		a = draft_unary(s, NAME("relu_%s", ptx_type_name(to)), type_class(to), a);
	if (flush && to == PTX_TYPE_F32)
		a = draft_unary(s, "flush_f32", PTX_VIRTUAL_REG32, a);
	return operand_widened(s, statement_operand(s, 0), a, to);
}

/* cvta: windows added or taken off; global and const addresses are the same in both */
bool select_cvta(S s)
{
	bool to = modifier_take(s, "to");
	static const char *const spaces[] = { "global", "const", "shared", "shared::cta",
					      "local",	"param", NULL };
	const char *space = modifier_choose(s, spaces);
	enum ptx_type type = modifier_type(s);
	uint64_t window;
	struct ptx_draft_operand a, d;
	D draft;

	if (!space || ptx_type_bytes(type) != 8 || !statement_wants(s, 2))
		return select_not_implemented(s);
	window = space[0] == 's'   ? PTX_WINDOW_SHARED
		 : space[0] == 'l' ? PTX_WINDOW_LOCAL
		 : space[0] == 'p' ? PTX_WINDOW_PARAM
				   : 0;
	a = operand_value(s, statement_operand(s, 1), type);
	d = operand_destination(s, statement_operand(s, 0), type);
	if (!window) {
		draft_move(s, d, a, true);
		return !s->code;
	}
	draft = draft_emit(s, "add_u64");
	draft_operand(s, draft, 0, d, true);
	draft_operand(s, draft, 1, a, false);
	draft_operand(s, draft, 2, operand_constant(s, to ? 0 - window : window, true), false);
	return !s->code;
}

bool select_isspacep(S s)
{
	static const char *const spaces[] = { "global", "shared", "shared::cta", "local",
					      "param",	"const",  NULL };
	const char *space = modifier_choose(s, spaces);
	const enum ptx_type types[2] = { PTX_TYPE_PRED, PTX_TYPE_U64 };
	D d;

	if (!space)
		return select_not_implemented(s);
	d = draft_simple(s, "isspacep", 2, types);
	if (d == FAILED)
		return false;
	draft_at(s, d)->code.detail = space[0] == 'g'	? 0
				      : space[0] == 's' ? PTX_WINDOW_OF(PTX_WINDOW_SHARED)
				      : space[0] == 'l' ? PTX_WINDOW_OF(PTX_WINDOW_LOCAL)
				      : space[0] == 'p' ? PTX_WINDOW_OF(PTX_WINDOW_PARAM)
							: 0xff;
	return true;
}
