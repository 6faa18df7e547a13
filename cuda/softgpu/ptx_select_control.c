/* SPDX-License-Identifier: Apache-2.0 */
/* Selection of instructions between lanes, of barriers, branches and calls. */
#include "cuda/softgpu/ptx_select.h"

#include <string.h>

/* ---- warps and barriers ---- */

bool select_shfl(S s)
{
	static const char *const modes[] = { "up", "down", "bfly", "idx", NULL };
	const char *mode;
	const struct ptx_operand *d = statement_operand(s, 0);
	struct values values;
	D draft;

	if (!modifier_take(s, "sync") || !(mode = modifier_choose(s, modes)) ||
	    modifier_type(s) != PTX_TYPE_B32)
		return select_not_implemented(s);
	if (!statement_wants(s, 5))
		return false;
	for (unsigned int k = 1; k < 5; k++)
		values.v[k] = operand_value(s, statement_operand(s, k), PTX_TYPE_B32);
	values.v[0] = operand_destination(s, d, PTX_TYPE_B32);
	if (d->second)
		values.v[5] = operand_destination(s, d->second, PTX_TYPE_PRED);
	draft = draft_emit(s, "shfl_%s", mode);
	for (unsigned int k = 0; k < 5; k++)
		draft_operand(s, draft, k, values.v[k], k == 0);
	if (d->second) {
		draft_operand(s, draft, 5, values.v[5], true);
		if (draft != FAILED)
			draft_at(s, draft)->code.detail = 1;
	}
	return draft != FAILED;
}

bool select_vote(S s)
{
	static const char *const modes[] = { "all", "any", "uni", "ballot", NULL };
	const char *mode;
	enum ptx_type type;
	struct ptx_draft_operand d, p, member;
	D draft;

	if (!modifier_take(s, "sync") || !(mode = modifier_choose(s, modes)))
		return select_not_implemented(s);
	type = modifier_type(s);
	if (!statement_wants(s, 3) || (type == PTX_TYPE_PRED) == !strcmp(mode, "ballot"))
		return select_not_implemented(s);
	p = operand_value(s, statement_operand(s, 1), PTX_TYPE_PRED);
	member = operand_value(s, statement_operand(s, 2), PTX_TYPE_B32);
	d = operand_destination(s, statement_operand(s, 0), type);
	draft = draft_emit(s, "vote_%s", mode);
	draft_operand(s, draft, 0, d, true);
	draft_operand(s, draft, 1, p, false);
	draft_operand(s, draft, 4, member, false);
	if (draft != FAILED)
		draft_at(s, draft)->code.detail = statement_operand(s, 1)->negated ? ~0u : 0;
	return draft != FAILED;
}

bool select_match(S s)
{
	static const char *const modes[] = { "any", "all", NULL };
	const char *mode = modifier_choose(s, modes);
	const struct ptx_operand *to = statement_operand(s, 0);
	struct ptx_draft_operand a, member, d, p;
	enum ptx_type type;
	D draft;

	if (!mode || !modifier_take(s, "sync"))
		return select_not_implemented(s);
	type = modifier_type(s);
	if (!statement_wants(s, 3))
		return false;
	a = operand_value(s, statement_operand(s, 1), type);
	member = operand_value(s, statement_operand(s, 2), PTX_TYPE_B32);
	d = operand_destination(s, to, PTX_TYPE_B32);
	p = to->second ? operand_destination(s, to->second, PTX_TYPE_PRED) : operand_ready(0);
	draft = draft_emit(s, "match_%s_%s", mode, ptx_type_name(type_plain(type)));
	draft_operand(s, draft, 0, d, true);
	draft_operand(s, draft, 1, a, false);
	draft_operand(s, draft, 4, member, false);
	if (to->second && draft != FAILED) {
		draft_operand(s, draft, 5, p, true);
		draft_at(s, draft)->code.detail = 1;
	}
	return draft != FAILED;
}

bool select_redux(S s)
{
	static const char *const operations[] = { "add", "min", "max", "and", "or", "xor", NULL };
	const char *operation;
	enum ptx_type type, kind;
	struct ptx_draft_operand d, a, member;
	D draft;

	if (!modifier_take(s, "sync") || !(operation = modifier_choose(s, operations)))
		return select_not_implemented(s);
	type = modifier_type(s);
	if (ptx_type_bytes(type) != 4 || type_is_float(type) || !statement_wants(s, 3))
		return select_not_implemented(s);
	kind = !strcmp(operation, "add")			      ? PTX_TYPE_U32
	       : strcmp(operation, "min") && strcmp(operation, "max") ? PTX_TYPE_B32
								      : type;
	a = operand_value(s, statement_operand(s, 1), type);
	member = operand_value(s, statement_operand(s, 2), PTX_TYPE_B32);
	d = operand_destination(s, statement_operand(s, 0), type);
	draft = draft_emit(s, "redux_%s_%s", operation, ptx_type_name(kind));
	draft_operand(s, draft, 0, d, true);
	draft_operand(s, draft, 1, a, false);
	draft_operand(s, draft, 4, member, false);
	return draft != FAILED;
}

bool select_elect(S s)
{
	const struct ptx_operand *to = statement_operand(s, 0);
	struct ptx_draft_operand d, p, member;
	D draft;

	if (!modifier_take(s, "sync") || !statement_wants(s, 2) || !to->second)
		return select_not_implemented(s);
	member = operand_value(s, statement_operand(s, 1), PTX_TYPE_B32);
	d = operand_destination(s, to, PTX_TYPE_B32);
	p = operand_destination(s, to->second, PTX_TYPE_PRED);
	draft = draft_emit(s, "elect");
	draft_operand(s, draft, 0, d, true);
	draft_operand(s, draft, 5, p, true);
	draft_operand(s, draft, 4, member, false);
	if (draft != FAILED)
		draft_at(s, draft)->code.detail = 1;
	return draft != FAILED;
}

bool select_activemask(S s)
{
	const enum ptx_type types[1] = { PTX_TYPE_B32 };

	if (modifier_type(s) != PTX_TYPE_B32)
		return select_not_implemented(s);
	return draft_simple(s, "activemask", 1, types) != FAILED;
}

/* barrier_reduction - bar.red.op d, a{, b}, p */
static bool barrier_reduction(S s, const char *operation)
{
	enum ptx_type type = modifier_type(s);
	unsigned int count = s->statement->operand_count;
	struct ptx_draft_operand number, threads, p, d;
	unsigned int which = operation[0] == 'p' ? 0 : operation[0] == 'a' ? 1 : 2;
	D draft;

	if (count < 3 || count > 4 || (type == PTX_TYPE_PRED) != (which != 0))
		return select_not_implemented(s);
	number = operand_value(s, statement_operand(s, 1), PTX_TYPE_U32);
	threads = count == 4 ? operand_value(s, statement_operand(s, 2), PTX_TYPE_U32)
			     : operand_constant(s, 0, false);
	p = operand_value(s, statement_operand(s, count - 1), PTX_TYPE_PRED);
	d = operand_destination(s, statement_operand(s, 0), type);
	draft = draft_emit(s, "barrier_reduce");
	draft_operand(s, draft, 1, number, false);
	draft_operand(s, draft, 2, threads, false);
	draft_operand(s, draft, 3, p, false);
	if (draft != FAILED)
		draft_at(s, draft)->code.detail =
			statement_operand(s, count - 1)->negated ? ~0u : 0;
	draft = draft_emit(s, "barrier_result");
	draft_operand(s, draft, 0, d, true);
	draft_operand(s, draft, 1, number, false);
	if (draft != FAILED)
		draft_at(s, draft)->code.detail = which;
	return draft != FAILED;
}

bool select_bar(S s)
{
	static const char *const operations[] = { "popc", "and", "or", NULL };
	unsigned int count = s->statement->operand_count;
	struct ptx_draft_operand number, threads;
	const char *operation;
	bool arrive;
	D draft;

	if (modifier_take(s, "warp")) {
		if (!modifier_take(s, "sync") || !statement_wants(s, 1))
			return select_not_implemented(s);
		number = operand_value(s, statement_operand(s, 0), PTX_TYPE_B32);
		draft = draft_emit(s, "bar_warp_sync");
		draft_operand(s, draft, 4, number, false);
		return draft != FAILED;
	}
	modifier_take(s, "cta");
	modifier_take(s, "aligned");
	if (modifier_take(s, "red")) {
		operation = modifier_choose(s, operations);
		return operation ? barrier_reduction(s, operation) : select_not_implemented(s);
	}
	arrive = modifier_take(s, "arrive");
	if ((!arrive && !modifier_take(s, "sync")) || count < 1 || count > 2)
		return select_not_implemented(s);
	number = operand_value(s, statement_operand(s, 0), PTX_TYPE_U32);
	threads = count == 2 ? operand_value(s, statement_operand(s, 1), PTX_TYPE_U32)
			     : operand_constant(s, 0, false);
	draft = draft_emit(s, arrive ? "barrier_arrive" : "barrier_sync");
	draft_operand(s, draft, 1, number, false);
	draft_operand(s, draft, 2, threads, false);
	return draft != FAILED;
}

bool select_fence(S s)
{
	static const char *const modifiers[] = { "sc",	"acq_rel", "acquire", "release", "cta",
						 "gpu", "sys",	   "cluster", "gl",	 NULL };

	while (modifier_choose(s, modifiers))
		;
	return statement_wants(s, 0) && draft_emit(s, "fence") != FAILED;
}

/* ---- control flow ---- */

static uint32_t label_bucket(const struct ptx_name *name, uint32_t scope)
{
	return (name->hash ^ scope * 2654435761u) % LABEL_BUCKETS;
}

struct select_label *label_lookup(S s, const struct ptx_name *name, uint32_t scope)
{
	struct select_label *label = s->labels[label_bucket(name, scope)];

	while (label && (label->name != name || label->scope != scope))
		label = label->next;
	return label;
}

/* label_find - the label of that name in the scope or those around it */
static struct select_label *label_find(S s, const struct ptx_name *name, uint32_t scope)
{
	while (scope != UINT32_MAX) {
		struct select_label *label = label_lookup(s, name, scope);

		if (label)
			return label;
		scope = s->function->scope_parents[scope];
	}
	return NULL;
}

bool label_declare(S s, struct ptx_name *name, uint32_t scope)
{
	uint32_t bucket = label_bucket(name, scope);
	struct select_label *label;

	if (label_lookup(s, name, scope))
		return select_fail(s, "the label is placed twice");
	label = ptx_arena_take(&s->compiler->tree->arena, sizeof(*label));
	if (!label)
		return select_no_memory(s);
	label->name = name;
	label->scope = scope;
	label->number = s->out->label_count++;
	label->next = s->labels[bucket];
	s->labels[bucket] = label;
	return true;
}

bool label_place(S s, uint32_t number)
{
	struct ptx_draft *draft = ptx_draft_add(s->out);

	if (!draft)
		return select_no_memory(s);
	draft->kind = PTX_DRAFT_LABEL;
	draft->label = number;
	return true;
}

static bool draft_jump(S s, uint32_t label)
{
	D d = draft_emit(s, "jump");

	if (d == FAILED)
		return false;
	draft_at(s, d)->kind = PTX_DRAFT_JUMP;
	draft_at(s, d)->label = label;
	return true;
}

/* draft_branch - to @label where the statement's guard holds (or not: @invert) */
bool draft_branch(S s, uint32_t label, bool invert)
{
	D d = draft_emit(s, "branch");

	if (d == FAILED)
		return false;
	draft_operand(s, d, 1, operand_register(s, s->statement->guard), false);
	draft_at(s, d)->kind = PTX_DRAFT_BRANCH;
	draft_at(s, d)->label = label;
	draft_at(s, d)->code.detail = s->statement->guard_negated != invert ? ~0u : 0;
	return true;
}

bool select_bra(S s)
{
	const struct ptx_operand *to = statement_operand(s, 0);
	struct select_label *label;

	modifier_take(s, "uni");
	if (!statement_wants(s, 1))
		return false;
	if (to->kind != PTX_OPERAND_NAME)
		return select_fail(s, "the target is not a label");
	label = label_find(s, to->name, s->statement->scope);
	if (!label)
		return select_fail(s, "there is no label '%.60s'", to->name->text);
	if (s->statement->guard != PTX_NO_REGISTER)
		return draft_branch(s, label->number, false);
	return draft_jump(s, label->number);
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

bool select_brx(S s)
{
	struct ptx_table *table;
	struct ptx_draft_operand index;
	D d;

	if (!modifier_take(s, "idx") || !statement_wants(s, 2) ||
	    statement_operand(s, 1)->kind != PTX_OPERAND_NAME)
		return select_not_implemented(s);
	modifier_take(s, "uni");
	table = table_find(s, statement_operand(s, 1)->name, false);
	if (!table)
		return select_fail(s, "there is no list of targets '%.60s'",
				   statement_operand(s, 1)->name->text);
	index = operand_value(s, statement_operand(s, 0), PTX_TYPE_U32);
	d = draft_emit(s, "branch_index");
	if (d == FAILED)
		return false;
	draft_operand(s, d, 1, index, false);
	draft_at(s, d)->kind = PTX_DRAFT_TABLE;
	draft_at(s, d)->code.detail = table->target_count;
	for (uint32_t i = 0; i < table->target_count; i++) {
		struct select_label *label = label_find(s, table->targets[i], table->scope);

		if (!label)
			return select_fail(s, "there is no label '%.60s'", table->targets[i]->text);
		if (!draft_jump(s, label->number))
			return false;
		s->out->drafts[s->out->draft_count - 1].row = true;
	}
	return true;
}

bool select_end(S s)
{
	const char *opcode = s->statement->opcode;
	D d;

	if (!statement_wants(s, 0))
		return false;
	if (!strcmp(opcode, "ret")) {
		modifier_take(s, "uni");
		return draft_jump(s, s->out->end_label);
	}
	d = draft_emit(s, "%s", opcode);
	if (d == FAILED)
		return false;
	draft_at(s, d)->kind = PTX_DRAFT_END;
	return true;
}

bool select_nanosleep(S s)
{
	struct ptx_draft_operand ns;
	D d;

	if (modifier_type(s) != PTX_TYPE_U32 || !statement_wants(s, 1))
		return select_not_implemented(s);
	ns = operand_value(s, statement_operand(s, 0), PTX_TYPE_U32);
	d = draft_emit(s, "nanosleep");
	if (d == FAILED)
		return false;
	draft_operand(s, d, 1, ns, false);
	return true;
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
			return select_fail(s, "too many parameters");
		units = (formal->bytes + 3) / 4;
		if (actual->kind != PTX_OPERAND_VARIABLE ||
		    actual->variable->space != PTX_SPACE_PARAM ||
		    actual->variable->kernel_parameter)
			return select_fail(
				s, "a parameter that is not a .param variable: not implemented");
		if (actual->variable->bytes != formal->bytes)
			return select_fail(s, "'%.60s' has not the size of the parameter",
					   actual->variable->name->text);
		for (uint64_t k = 0; k < units; k++) {
			struct ptx_draft_operand inner =
				operand_parameter_unit(actual->variable, k);
			struct ptx_draft_operand outer = { PTX_VIRTUAL_OUTGOING,
							   unit + (uint32_t)k };

			draft_move(s, results ? inner : outer, results ? outer : inner, false);
		}
		unit += (uint32_t)units;
		if (unit > s->compiler->outgoing_units)
			s->compiler->outgoing_units = unit;
	}
	if (formal)
		return select_fail(s, "too few parameters");
	return !s->code;
}

/* built_in_parameter - parameter @index of a built-in function as one value */
static struct ptx_draft_operand built_in_parameter(S s, const struct ptx_operand *list,
						   uint32_t index, bool wide)
{
	struct ptx_draft_operand result = operand_temporary(s, PTX_VIRTUAL_REG64);
	const struct ptx_variable *variable;
	D d;

	if (!list || index >= list->count || list->elements[index].kind != PTX_OPERAND_VARIABLE ||
	    list->elements[index].variable->space != PTX_SPACE_PARAM ||
	    list->elements[index].variable->kernel_parameter ||
	    list->elements[index].variable->bytes != (wide ? 8 : 4)) {
		select_fail(s, "the parameters are not those of the function");
		return result;
	}
	variable = list->elements[index].variable;
	if (!wide)
		return operand_parameter_unit(variable, 0);
	d = draft_emit(s, "pack_b64");
	draft_operand(s, d, 0, result, true);
	draft_operand(s, d, 1, operand_parameter_unit(variable, 0), false);
	draft_operand(s, d, 2, operand_parameter_unit(variable, 1), false);
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
		return select_fail(s, "the result is not that of the function");
	variable = results->elements[0].variable;
	if (!wide) {
		draft_move(s, operand_parameter_unit(variable, 0), result, false);
		return !s->code;
	}
	d = draft_emit(s, "narrow_b64");
	draft_operand(s, d, 0, operand_parameter_unit(variable, 0), true);
	draft_operand(s, d, 1, result, false);
	d = draft_emit(s, "high_b64");
	draft_operand(s, d, 0, operand_parameter_unit(variable, 1), true);
	draft_operand(s, d, 1, result, false);
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
		result = operand_temporary(s, functions[i].result == 'w' ? PTX_VIRTUAL_REG64
									 : PTX_VIRTUAL_REG32);
		d = draft_emit(s, "%s", functions[i].handler);
		if (functions[i].result != '-')
			draft_operand(s, d, 0, result, true);
		for (uint32_t k = 0; k < 4 && functions[i].parameters[k]; k++)
			draft_operand(s, d, k + 1, values[k], false);
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
	d = draft_emit(s, "call");
	if (d == FAILED)
		return false;
	draft_at(s, d)->calls = true;
	draft_at(s, d)->waits = true;
	draft_at(s, d)->callee = function->draft;
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
		return select_fail(s, "there is no prototype");
	target = operand_value(s, address, PTX_TYPE_U64);
	if (!call_units(s, list, table->parameters, 0, false))
		return false;
	units = unit_count(table->parameters);
	d = draft_emit(s, "call_indirect");
	if (d == FAILED)
		return false;
	draft_operand(s, d, 1, target, false);
	draft_operand(s, d, 2, operand_ready(units), false);
	draft_operand(s, d, 3, operand_ready(unit_count(table->results)), false);
	draft_at(s, d)->calls = true;
	draft_at(s, d)->waits = true;
	draft_at(s, d)->joins_next = true;
	s->out->calls_unknown = true;
	d = draft_emit(s, "join");
	if (d == FAILED)
		return false;
	draft_at(s, d)->kind = PTX_DRAFT_JOIN;
	return call_units(s, results, table->results, units, true);
}

/* call (results), function, (parameters), prototype; both lists may be missing */
bool select_call(S s)
{
	unsigned int k = 0, count = s->statement->operand_count;
	const struct ptx_operand *results = NULL, *list = NULL, *target;
	struct ptx_function *function;
	struct ptx_name *prototype = NULL;
	bool is_built_in = false, done;

	modifier_take(s, "uni");
	if (k < count && statement_operand(s, k)->kind == PTX_OPERAND_LIST)
		results = statement_operand(s, k++);
	if (k == count)
		return select_fail(s, "there is no function");
	target = statement_operand(s, k++);
	if (k < count && statement_operand(s, k)->kind == PTX_OPERAND_LIST)
		list = statement_operand(s, k++);
	if (k < count && statement_operand(s, k)->kind == PTX_OPERAND_NAME)
		prototype = statement_operand(s, k++)->name;
	if (k != count)
		return select_fail(s, "too many operands");
	if (target->kind == PTX_OPERAND_REGISTER)
		return call_by_address(s, target, prototype, results, list);
	if (target->kind != PTX_OPERAND_NAME || !target->name->function)
		return select_fail(s, "there is no such function");
	function = target->name->function;
	for (int i = 0; function->alias_of && function->alias_of->function && i < 8; i++)
		function = function->alias_of->function;
	if (!function->has_body) {
		done = select_built_in(s, function->name->text, results, list, &is_built_in);
		if (is_built_in)
			return done;
		return select_fail(s, "the function '%.60s' has no body: not implemented",
				   function->name->text);
	}
	if (function->is_entry || !function->draft)
		return select_fail(s, "a kernel cannot be called");
	return call_direct(s, function, results, list);
}
