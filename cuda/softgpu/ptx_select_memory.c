/* SPDX-License-Identifier: Apache-2.0 */
/* Selection of loads, stores, atomics and copies. */
#include "cuda/softgpu/ptx_select.h"

#include <string.h>

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
	bool is_strong = modifier_choose(s, strong);

	while (modifier_choose(s, hints))
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
		return select_fail(s, "an address is due");
	if (from->variable) {
		/* Generic access to a variable of a space needs the window; PTX forbids it. */
		*address = operand_variable(s, from->variable, from->value, wide);
		return !s->code;
	}
	if (from->reg == PTX_NO_REGISTER) {
		*address = operand_constant(s, wide ? from->value : (uint32_t)from->value, wide);
		return !s->code;
	}
	*offset = from->value;
	*address = operand_register(s, from->reg);
	if (address->kind == PTX_VIRTUAL_PRED)
		return select_fail(s, "the address is a predicate");
	if (wide && address->kind == PTX_VIRTUAL_REG32)
		*address = draft_unary(s, "widen_u32", PTX_VIRTUAL_REG64, *address);
	if (!wide && address->kind == PTX_VIRTUAL_REG64)
		*address = draft_unary(s, "narrow_b64", PTX_VIRTUAL_REG32, *address);
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
		return type_is_signed(type) ? "s8" : "u8";
	case 2:
		return type_is_signed(type) ? "s16" : "u16";
	case 4:
		return "b32";
	default:
		return "b64";
	}
}

static unsigned int vector_length(S s)
{
	return modifier_take(s, "v2")	? 2
	       : modifier_take(s, "v4") ? 4
	       : modifier_take(s, "v8") ? 8
					: 1;
}

static const struct ptx_operand *vector_element(S s, const struct ptx_operand *operand,
						unsigned int length, unsigned int i)
{
	if (length == 1 && operand->kind != PTX_OPERAND_VECTOR)
		return operand;
	if (operand->kind != PTX_OPERAND_VECTOR || operand->count != length) {
		select_fail(s, "a vector of %u is due", length);
		return NULL;
	}
	return &operand->elements[i];
}

/*
 * Parameters of functions are 4-byte units, a slot each: those of this function in its frame
 * (FIXED), those of a call in temporaries that the call copies.
 */
struct ptx_draft_operand operand_parameter_unit(const struct ptx_variable *variable, uint64_t unit)
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
		return select_fail(s, "outside of '%.60s'", address->variable->name->text);
	return true;
}

static bool load_parameter(S s, const struct ptx_operand *address, enum ptx_type type,
			   unsigned int length)
{
	unsigned int bytes = ptx_type_bytes(type);

	for (unsigned int i = 0; i < length; i++) {
		const struct ptx_operand *to =
			vector_element(s, statement_operand(s, 0), length, i);
		uint64_t offset = address->value + (uint64_t)i * bytes;
		struct ptx_draft_operand low, result;
		D d;

		if (!to || !parameter_range(s, address, bytes))
			return false;
		if (offset + bytes > address->variable->bytes)
			return select_fail(s, "outside of '%.60s'", address->variable->name->text);
		low = operand_parameter_unit(address->variable, offset / 4);
		if (bytes == 8) {
			result = operand_temporary(s, PTX_VIRTUAL_REG64);
			d = draft_emit(s, "pack_b64");
			draft_operand(s, d, 0, result, true);
			draft_operand(s, d, 1, low, false);
			draft_operand(s, d, 2,
				      operand_parameter_unit(address->variable, offset / 4 + 1),
				      false);
		} else if (bytes == 4) {
			result = low;
		} else {
			result = operand_temporary(s, PTX_VIRTUAL_REG32);
			d = draft_emit(s, type_is_signed(type) ? "bfe_s32" : "bfe_u32");
			draft_operand(s, d, 0, result, true);
			draft_operand(s, d, 1, low, false);
			draft_operand(s, d, 2, operand_constant(s, 8 * (offset % 4), false), false);
			draft_operand(s, d, 3, operand_constant(s, 8 * bytes, false), false);
		}
		if (!operand_widened(s, to, result, type))
			return false;
	}
	return true;
}

static bool store_parameter(S s, const struct ptx_operand *address, enum ptx_type type,
			    unsigned int length)
{
	unsigned int bytes = ptx_type_bytes(type);

	for (unsigned int i = 0; i < length; i++) {
		const struct ptx_operand *from =
			vector_element(s, statement_operand(s, 1), length, i);
		uint64_t offset = address->value + (uint64_t)i * bytes;
		struct ptx_draft_operand a, low;
		D d;

		if (!from || !parameter_range(s, address, bytes))
			return false;
		if (offset + bytes > address->variable->bytes)
			return select_fail(s, "outside of '%.60s'", address->variable->name->text);
		a = operand_narrowed(s, from, type);
		low = operand_parameter_unit(address->variable, offset / 4);
		d = draft_emit(s, bytes == 8 ? "narrow_b64" : bytes == 4 ? "mov_b32" : "bfi_b32");
		draft_operand(s, d, 0, low, true);
		draft_operand(s, d, 1, a, false);
		if (bytes == 8) {
			d = draft_emit(s, "high_b64");
			draft_operand(s, d, 0,
				      operand_parameter_unit(address->variable, offset / 4 + 1),
				      true);
			draft_operand(s, d, 1, a, false);
		} else if (bytes < 4) {
			draft_operand(s, d, 2, low, false);
			draft_operand(s, d, 3, operand_constant(s, 8 * (offset % 4), false), false);
			draft_operand(s, d, 4, operand_constant(s, 8 * bytes, false), false);
		}
	}
	return !s->code;
}

static bool is_function_parameter(const struct ptx_operand *address)
{
	return address->kind == PTX_OPERAND_ADDRESS && address->variable &&
	       address->variable->space == PTX_SPACE_PARAM && !address->variable->kernel_parameter;
}

bool select_ld(S s)
{
	const char *space = memory_space(modifier_choose(s, memory_spaces));
	unsigned int length = vector_length(s);
	enum ptx_type type = modifier_type(s);
	struct ptx_draft_operand address, results[4];
	const struct ptx_operand *to;
	uint64_t offset;
	bool strong = memory_hints(s);
	D d;

	if (!statement_wants(s, 2) || type == PTX_TYPE_NONE || type == PTX_TYPE_PRED ||
	    type == PTX_TYPE_B128 || length > 4)
		return select_not_implemented(s);
	if (!strcmp(s->statement->opcode, "ldu") && strcmp(space, "global"))
		space = "generic";
	if (is_function_parameter(statement_operand(s, 1)))
		return load_parameter(s, statement_operand(s, 1), type, length);
	if (!memory_address(s, statement_operand(s, 1), space, &address, &offset))
		return false;
	/* A register that is wider than what is loaded is filled in a second step. */
	for (unsigned int i = 0; i < length; i++) {
		to = vector_element(s, statement_operand(s, 0), length, i);
		if (!to)
			return false;
		if (to->kind == PTX_OPERAND_REGISTER && type_class(to->type) == type_class(type))
			results[i] = operand_register(s, to->reg);
		else
			results[i] = operand_temporary(s, type_class(type));
	}
	d = length == 1 ? draft_emit(s, "ld_%s_%s", space, load_type(type))
			: draft_emit(s, "ld_%s_%s_v%u", space, load_type(type), length);
	if (d == FAILED)
		return false;
	for (unsigned int i = 0; i < length; i++)
		draft_operand(s, d, i, results[i], true);
	draft_operand(s, d, 4, address, false);
	draft_at(s, d)->waits = strong;
	draft_at(s, d)->code.immediate = offset;
	for (unsigned int i = 0; i < length; i++) {
		to = vector_element(s, statement_operand(s, 0), length, i);
		if (to->kind == PTX_OPERAND_REGISTER && type_class(to->type) == type_class(type))
			continue;
		if (!operand_widened(s, to, results[i], type))
			return false;
	}
	return true;
}

bool select_st(S s)
{
	const char *space = memory_space(modifier_choose(s, memory_spaces));
	unsigned int length = vector_length(s);
	enum ptx_type type = modifier_type(s);
	struct ptx_draft_operand address, values[4];
	uint64_t offset;
	D d;

	memory_hints(s);
	if (!statement_wants(s, 2) || type == PTX_TYPE_NONE || type == PTX_TYPE_PRED ||
	    type == PTX_TYPE_B128 || length > 4)
		return select_not_implemented(s);
	if (is_function_parameter(statement_operand(s, 0)))
		return store_parameter(s, statement_operand(s, 0), type, length);
	if (!memory_address(s, statement_operand(s, 0), space, &address, &offset))
		return false;
	for (unsigned int i = 0; i < length; i++) {
		const struct ptx_operand *from =
			vector_element(s, statement_operand(s, 1), length, i);

		if (!from)
			return false;
		values[i] = operand_narrowed(s, from, type);
	}
	d = length == 1
		    ? draft_emit(s, "st_%s_%s", space, ptx_type_name(type_plain(type)))
		    : draft_emit(s, "st_%s_%s_v%u", space, ptx_type_name(type_plain(type)), length);
	if (d == FAILED)
		return false;
	for (unsigned int i = 0; i < length; i++)
		draft_operand(s, d, i, values[i], false);
	draft_operand(s, d, 4, address, false);
	draft_at(s, d)->code.immediate = offset;
	draft_at(s, d)->code.detail = 1;
	return true;
}

/* atom d, [a], b, c; red [a], b */
bool select_atom(S s)
{
	static const char *const operations[] = { "add", "and", "or",  "xor", "exch", "cas",
						  "min", "max", "inc", "dec", NULL };
	bool red = !strcmp(s->statement->opcode, "red");
	const char *space = memory_space(modifier_choose(s, memory_spaces));
	const char *operation = modifier_choose(s, operations);
	enum ptx_type type = modifier_type(s), kind = type;
	unsigned int first = red ? 0 : 1, count;
	struct ptx_draft_operand address, b, c, result;
	uint64_t offset;
	D d;

	memory_hints(s);
	if (!operation || type == PTX_TYPE_NONE)
		return select_not_implemented(s);
	count = first + 2 + !strcmp(operation, "cas");
	if (!statement_wants(s, count))
		return false;
	if (!strcmp(operation, "add") && !type_is_float(type))
		kind = type_unsigned(type);
	else if (strcmp(operation, "min") && strcmp(operation, "max") && !type_is_float(type) &&
		 strcmp(operation, "inc") && strcmp(operation, "dec"))
		kind = type_plain(type);
	if (!memory_address(s, statement_operand(s, first), space, &address, &offset))
		return false;
	b = operand_value(s, statement_operand(s, first + 1), type);
	c = count == first + 3 ? operand_value(s, statement_operand(s, first + 2), type) : b;
	result = red ? operand_temporary(s, type_class(type))
		     : operand_destination(s, statement_operand(s, 0), type);
	d = draft_emit(s, "atom_%s_%s_%s", space, operation, ptx_type_name(kind));
	if (d == FAILED)
		return false;
	draft_operand(s, d, 0, result, true);
	draft_operand(s, d, 1, b, false);
	draft_operand(s, d, 2, c, false);
	draft_operand(s, d, 4, address, false);
	draft_at(s, d)->waits = !red;
	draft_at(s, d)->code.immediate = offset;
	draft_at(s, d)->code.detail = 1;
	return true;
}

/* cp.async: done at once, so that groups have nothing to wait for */
bool select_cp(S s)
{
	struct ptx_draft_operand to, from, read;
	uint64_t to_offset, from_offset, bytes;
	unsigned int count = s->statement->operand_count;
	D d;

	if (!modifier_take(s, "async"))
		return select_not_implemented(s);
	if (modifier_take(s, "commit_group") || modifier_take(s, "wait_all"))
		return statement_wants(s, 0);
	if (modifier_take(s, "wait_group"))
		return statement_wants(s, 1);
	if ((!modifier_take(s, "shared") && !modifier_take(s, "shared::cta")) ||
	    !modifier_take(s, "global"))
		return select_not_implemented(s);
	memory_hints(s);
	if (count < 3 || count > 4 || statement_operand(s, 2)->kind != PTX_OPERAND_INTEGER)
		return select_not_implemented(s);
	bytes = statement_operand(s, 2)->value;
	if (bytes != 4 && bytes != 8 && bytes != 16)
		return select_fail(s, "the size is not 4, 8 or 16");
	if (!memory_address(s, statement_operand(s, 0), "shared", &to, &to_offset) ||
	    !memory_address(s, statement_operand(s, 1), "global", &from, &from_offset))
		return false;
	if ((uint64_t)((int64_t)from_offset + INT32_MAX) > 2ull * INT32_MAX)
		return select_not_implemented(s);
	read = count == 4 ? operand_value(s, statement_operand(s, 3), PTX_TYPE_U32)
			  : operand_constant(s, bytes, false);
	d = draft_emit(s, "copy_async");
	if (d == FAILED)
		return false;
	draft_operand(s, d, 1, to, false);
	draft_operand(s, d, 2, from, false);
	draft_operand(s, d, 3, read, false);
	draft_at(s, d)->code.detail = (uint32_t)bytes;
	draft_at(s, d)->code.immediate = (uint32_t)to_offset | from_offset << 32;
	return true;
}

/* Hints to caches: nothing to do. */
bool select_nothing(S s)
{
	s->taken = ~0u;
	return true;
}
