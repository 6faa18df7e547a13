/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PTX tokens into a tree: directives, variables, functions, statements and operands.
 *
 * What an instruction means is not known here; ptx_select.c decides. Registers and the variables
 * of a body are bound while their scope is open; labels, functions and prototypes may be named
 * before they are seen and stay names.
 *
 * The parser keeps its first error and every production returns at once after it; a production
 * that failed returns false.
 */
#include "cuda/softgpu/ptx_text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct parser {
	struct ptx_tree *tree;
	struct ptx_lexer lexer;
	struct ptx_token token; /* the one to look at */
	const char *previous_end;
	struct error *error;
	int code; /* 0, -ENOEXEC, -ENOMEM */
	struct ptx_function *function;
	struct ptx_statement **statement_tail;
	struct ptx_symbol *scope_symbols[PTX_SCOPE_DEPTH_MAX];
	uint32_t scope_ids[PTX_SCOPE_DEPTH_MAX];
	unsigned int scope_depth; /* 0: the module's own scope */
	struct ptx_function **function_tail;
	struct ptx_variable **variable_tail;
};

static bool parse_fail_at(struct parser *parser, unsigned int line, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static bool parse_fail_at(struct parser *parser, unsigned int line, const char *format, ...)
{
	char text[300];
	va_list arguments;

	if (parser->code)
		return false;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	parser->code = error_set(parser->error, -ENOEXEC, "line %u: %s", line, text);
	return false;
}

#define parse_fail(parser, ...) parse_fail_at(parser, (parser)->token.line, __VA_ARGS__)

static bool parse_no_memory(struct parser *parser)
{
	if (!parser->code)
		parser->code = error_set(parser->error, -ENOMEM, "line %u: the module is too large",
					 parser->token.line);
	return false;
}

/* parse_unexpected - say what stands where something else was due */
static bool parse_unexpected(struct parser *parser, const char *expected)
{
	struct ptx_token *token = &parser->token;

	if (token->kind == PTX_TOKEN_END)
		return parse_fail(parser, "expected %s, found the end of the text", expected);
	return parse_fail(parser, "expected %s, found '%.*s'", expected,
			  token->length > 60 ? 60 : (int)token->length, token->text);
}

static void parse_next(struct parser *parser)
{
	parser->previous_end = parser->token.text + parser->token.length;
	parser->token = ptx_lex(&parser->lexer);
}

static bool parse_is(const struct parser *parser, char sign)
{
	return parser->token.kind == PTX_TOKEN_SIGN && parser->token.integer == (unsigned char)sign;
}

static bool parse_accept(struct parser *parser, char sign)
{
	if (!parse_is(parser, sign))
		return false;
	parse_next(parser);
	return true;
}

static bool parse_expect(struct parser *parser, char sign)
{
	char expected[4] = { '\'', sign, '\'', '\0' };

	return parse_accept(parser, sign) || parse_unexpected(parser, expected);
}

static bool parse_is_text(const struct parser *parser, enum ptx_token_kind kind, const char *text)
{
	return parser->token.kind == kind && parser->token.length == strlen(text) &&
	       !memcmp(parser->token.text, text, parser->token.length);
}

static bool parse_accept_dot(struct parser *parser, const char *text)
{
	if (!parse_is_text(parser, PTX_TOKEN_DOT, text))
		return false;
	parse_next(parser);
	return true;
}

static void *parse_take(struct parser *parser, size_t bytes)
{
	void *taken = ptx_arena_take(&parser->tree->arena, bytes);

	if (!taken)
		parse_no_memory(parser);
	return taken;
}

/* parse_name - a name token, interned; NULL after a failure */
static struct ptx_name *parse_name(struct parser *parser, const char *expected)
{
	struct ptx_name *name;

	if (parser->token.kind != PTX_TOKEN_NAME) {
		parse_unexpected(parser, expected);
		return NULL;
	}
	name = ptx_tree_name(parser->tree, parser->token.text, parser->token.length);
	if (!name) {
		parse_no_memory(parser);
		return NULL;
	}
	parse_next(parser);
	return name;
}

static bool parse_unsigned(struct parser *parser, uint64_t *value)
{
	if (parser->token.kind != PTX_TOKEN_INTEGER)
		return parse_unexpected(parser, "a number");
	*value = parser->token.integer;
	parse_next(parser);
	return true;
}

/* ---- scopes ---- */

static bool scope_open(struct parser *parser)
{
	struct ptx_function *function = parser->function;

	if (parser->scope_depth + 1 >= PTX_SCOPE_DEPTH_MAX)
		return parse_fail(parser, "blocks are nested too deeply");
	if (function->scope_count == PTX_SCOPES_MAX)
		return parse_fail(parser, "too many blocks in one function");
	if (function->scope_count == function->scope_capacity) {
		uint32_t capacity = function->scope_capacity ? 2 * function->scope_capacity : 16;
		uint32_t *parents = parse_take(parser, capacity * sizeof(*parents));

		if (!parents)
			return false;
		if (function->scope_count)
			memcpy(parents, function->scope_parents,
			       function->scope_count * sizeof(*parents));
		function->scope_parents = parents;
		function->scope_capacity = capacity;
	}
	function->scope_parents[function->scope_count] =
		parser->scope_depth ? parser->scope_ids[parser->scope_depth] : UINT32_MAX;
	parser->scope_depth++;
	parser->scope_ids[parser->scope_depth] = function->scope_count++;
	parser->scope_symbols[parser->scope_depth] = NULL;
	return true;
}

static void scope_close(struct parser *parser)
{
	struct ptx_symbol *symbol = parser->scope_symbols[parser->scope_depth];

	for (; symbol; symbol = symbol->scope_next)
		symbol->name->binding = symbol->outer;
	parser->scope_depth--;
}

static struct ptx_symbol *scope_declare(struct parser *parser, struct ptx_name *name,
					enum ptx_symbol_kind kind)
{
	struct ptx_symbol *symbol;

	if (parser->scope_depth && name->binding && name->binding->depth == parser->scope_depth) {
		parse_fail(parser, "'%.80s' is declared twice", name->text);
		return NULL;
	}
	symbol = parse_take(parser, sizeof(*symbol));
	if (!symbol)
		return NULL;
	symbol->name = name;
	symbol->kind = kind;
	symbol->depth = parser->scope_depth;
	symbol->outer = name->binding;
	symbol->scope_next = parser->scope_symbols[parser->scope_depth];
	parser->scope_symbols[parser->scope_depth] = symbol;
	name->binding = symbol;
	return symbol;
}

/* scope_find_register - %r17 from the declaration %r<54>; false where there is none */
static bool scope_find_register(struct parser *parser, const struct ptx_name *name, uint32_t *reg,
				enum ptx_type *type)
{
	size_t prefix = name->length;
	uint64_t index = 0, scale = 1;
	struct ptx_name *range;

	while (prefix > 0 && name->text[prefix - 1] >= '0' && name->text[prefix - 1] <= '9' &&
	       name->length - prefix < 7) {
		index += scale * (uint64_t)(name->text[prefix - 1] - '0');
		scale *= 10;
		prefix--;
		range = ptx_tree_name(parser->tree, name->text, prefix);
		if (!range)
			return parse_no_memory(parser);
		if (range->binding && range->binding->kind == PTX_SYMBOL_REGISTERS &&
		    index < range->binding->count &&
		    (name->text[prefix] != '0' || prefix + 1 == name->length)) {
			*reg = range->binding->reg + (uint32_t)index;
			*type = range->binding->type;
			return true;
		}
	}
	return false;
}

/* ---- variables ---- */

static bool parse_type(struct parser *parser, enum ptx_type *type)
{
	char name[16];

	if (parser->token.kind != PTX_TOKEN_DOT || parser->token.length >= sizeof(name))
		return parse_unexpected(parser, "a type");
	memcpy(name, parser->token.text, parser->token.length);
	name[parser->token.length] = '\0';
	*type = ptx_type_find(name);
	if (*type == PTX_TYPE_NONE)
		return parse_fail(parser, "'.%s': not implemented", name);
	parse_next(parser);
	return true;
}

/* Growing list of initialisers of one variable. */
struct initial_list {
	struct ptx_initial *items;
	uint32_t count;
	uint32_t capacity;
};

static struct ptx_initial *initial_add(struct parser *parser, struct initial_list *list)
{
	if (list->count == PTX_INITIAL_ELEMENTS_MAX) {
		parse_fail(parser, "too many initial values");
		return NULL;
	}
	if (list->count == list->capacity) {
		uint32_t capacity = list->capacity ? 2 * list->capacity : 16;
		struct ptx_initial *items = parse_take(parser, (size_t)capacity * sizeof(*items));

		if (!items)
			return NULL;
		if (list->count)
			memcpy(items, list->items, (size_t)list->count * sizeof(*items));
		list->items = items;
		list->capacity = capacity;
	}
	return &list->items[list->count++];
}

/* parse_initial_address - name, generic(name), either with + or - a number */
static bool parse_initial_address(struct parser *parser, struct ptx_initial *initial)
{
	bool parenthesis = false;

	if (parse_is_text(parser, PTX_TOKEN_NAME, "generic")) {
		parse_next(parser);
		if (!parse_expect(parser, '('))
			return false;
		parenthesis = true;
	}
	initial->name = parse_name(parser, "the name of a variable or function");
	if (!initial->name || (parenthesis && !parse_expect(parser, ')')))
		return false;
	if (parse_is(parser, '+') || parse_is(parser, '-')) {
		bool minus = parse_is(parser, '-');
		uint64_t value = 0;

		parse_next(parser);
		if (parse_is(parser, '-')) {
			minus = !minus;
			parse_next(parser);
		}
		if (!parse_unsigned(parser, &value))
			return false;
		initial->value = minus ? 0 - value : value;
	}
	return true;
}

static bool parse_initial_element(struct parser *parser, struct initial_list *list)
{
	struct ptx_initial *initial = initial_add(parser, list);
	bool minus;

	if (!initial)
		return false;
	initial->line = parser->token.line;
	if (parser->token.kind == PTX_TOKEN_NAME)
		return parse_initial_address(parser, initial);
	minus = parse_accept(parser, '-');
	if (parser->token.kind == PTX_TOKEN_FLOAT32)
		initial->is_float32 = true;
	else if (parser->token.kind == PTX_TOKEN_FLOAT64)
		initial->is_float64 = true;
	else if (parser->token.kind != PTX_TOKEN_INTEGER)
		return parse_unexpected(parser, "an initial value");
	initial->value = parser->token.integer;
	parse_next(parser);
	if (minus && initial->is_float32)
		initial->value ^= (uint64_t)1 << 31;
	else if (minus && initial->is_float64)
		initial->value ^= (uint64_t)1 << 63;
	else if (minus)
		initial->value = 0 - initial->value;
	if (!minus && parse_accept(parser, '(')) { /* 0xff00(name) */
		initial->mask = initial->value;
		initial->value = 0;
		return parse_initial_address(parser, initial) && parse_expect(parser, ')');
	}
	return true;
}

/* parse_initial_list - { ... }, nested ones in the order of memory */
static bool parse_initial_list(struct parser *parser, struct initial_list *list, int depth)
{
	if (depth > 8)
		return parse_fail(parser, "initial values are nested too deeply");
	if (!parse_expect(parser, '{'))
		return false;
	if (parse_accept(parser, '}'))
		return true;
	do {
		if (parse_is(parser, '{') ? !parse_initial_list(parser, list, depth + 1)
					  : !parse_initial_element(parser, list))
			return false;
	} while (parse_accept(parser, ','));
	return parse_expect(parser, '}');
}

static bool parse_initial(struct parser *parser, struct ptx_variable *variable)
{
	struct initial_list list = { 0 };
	bool done;

	done = parse_is(parser, '{') ? parse_initial_list(parser, &list, 0)
				     : parse_initial_element(parser, &list);
	variable->initial = list.items;
	variable->initial_count = list.count;
	if (!done)
		return false;
	if (variable->unsized) {
		variable->bytes = (uint64_t)list.count * ptx_type_bytes(variable->type);
		variable->unsized = false;
	}
	if ((uint64_t)list.count * ptx_type_bytes(variable->type) > variable->bytes)
		return parse_fail(parser, "more initial values than '%.80s' has elements",
				  variable->name->text);
	return true;
}

/* parse_dimensions - [4][] ... behind a variable's name */
static bool parse_dimensions(struct parser *parser, struct ptx_variable *variable)
{
	while (parse_accept(parser, '[')) {
		uint64_t count = 0;

		if (parse_accept(parser, ']')) {
			variable->unsized = true;
			continue;
		}
		if (!parse_unsigned(parser, &count) || !parse_expect(parser, ']'))
			return false;
		if (count > PTX_VARIABLE_BYTES_MAX ||
		    (count && variable->bytes > PTX_VARIABLE_BYTES_MAX / count))
			return parse_fail(parser, "'%.80s' is too large", variable->name->text);
		variable->bytes *= count;
	}
	if (variable->unsized)
		variable->bytes = 0;
	return true;
}

/* parse_attributes - what may stand between a variable's space and its name */
static bool parse_attributes(struct parser *parser, struct ptx_variable *variable)
{
	uint64_t value = 0, vector = 1;

	for (;;) {
		if (parse_accept_dot(parser, "align")) {
			if (!parse_unsigned(parser, &value))
				return false;
			if (!value || value > 4096 || (value & (value - 1)))
				return parse_fail(parser, "bad alignment");
			variable->alignment = (unsigned int)value;
		} else if (parse_accept_dot(parser, "v2")) {
			vector = 2;
		} else if (parse_accept_dot(parser, "v4")) {
			vector = 4;
		} else if (parse_accept_dot(parser, "ptr")) {
			while (parse_accept_dot(parser, "global") ||
			       parse_accept_dot(parser, "const") ||
			       parse_accept_dot(parser, "shared") ||
			       parse_accept_dot(parser, "local"))
				;
			if (parse_accept_dot(parser, "align") && !parse_unsigned(parser, &value))
				return false;
		} else if (parse_is_text(parser, PTX_TOKEN_DOT, "attribute")) {
			return parse_fail(parser, "'.attribute': not implemented");
		} else if (variable->type == PTX_TYPE_NONE) {
			if (!parse_type(parser, &variable->type))
				return false;
		} else {
			break;
		}
	}
	if (variable->type == PTX_TYPE_PRED)
		return parse_fail(parser, "a variable cannot be a predicate");
	variable->bytes = vector * ptx_type_bytes(variable->type);
	if (variable->alignment < variable->bytes && !variable->alignment)
		variable->alignment = (unsigned int)variable->bytes;
	return true;
}

/* parse_variable - one variable after its space; linked by the caller */
static struct ptx_variable *parse_variable(struct parser *parser, enum ptx_space space)
{
	struct ptx_variable *variable = parse_take(parser, sizeof(*variable));

	if (!variable)
		return NULL;
	variable->space = space;
	variable->line = parser->token.line;
	variable->function = parser->function;
	if (!parse_attributes(parser, variable))
		return NULL;
	variable->name = parse_name(parser, "the name of a variable");
	if (!variable->name || !parse_dimensions(parser, variable))
		return NULL;
	return variable;
}

/* parse_bind_variable - make it known in the open scope */
static bool parse_bind_variable(struct parser *parser, struct ptx_variable *variable)
{
	struct ptx_symbol *symbol = scope_declare(parser, variable->name, PTX_SYMBOL_VARIABLE);

	if (!symbol)
		return false;
	symbol->variable = variable;
	return true;
}

/*
 * parse_module_variable - .global, .const or .shared outside any function. A second declaration
 * of the same name (.extern first) completes the first.
 */
static bool parse_module_variable(struct parser *parser, enum ptx_space space, bool external)
{
	do {
		struct ptx_variable *variable = parse_variable(parser, space);
		struct ptx_variable *earlier;

		if (!variable)
			return false;
		variable->external = external;
		if (parse_accept(parser, '=') && !parse_initial(parser, variable))
			return false;
		earlier = variable->name->variable;
		if (earlier && earlier->space == space && (earlier->external || external)) {
			struct ptx_variable *next = earlier->next;

			if (!external) {
				*earlier = *variable;
				earlier->next = next;
				if (parser->variable_tail == &variable->next)
					parser->variable_tail = &earlier->next;
			}
			continue;
		}
		if (earlier)
			return parse_fail_at(parser, variable->line, "'%.80s' is declared twice",
					     variable->name->text);
		variable->name->variable = variable;
		*parser->variable_tail = variable;
		parser->variable_tail = &variable->next;
		if (!parse_bind_variable(parser, variable))
			return false;
	} while (parse_accept(parser, ','));
	return parse_expect(parser, ';');
}

static bool parse_body_variable(struct parser *parser, enum ptx_space space, bool external)
{
	do {
		struct ptx_variable *variable = parse_variable(parser, space);

		if (!variable)
			return false;
		variable->external = external;
		if (parse_is(parser, '=')) {
			if (space != PTX_SPACE_GLOBAL && space != PTX_SPACE_CONST)
				return parse_fail(parser, "only .global and .const variables may "
							  "have initial values");
			parse_next(parser);
			if (!parse_initial(parser, variable))
				return false;
		}
		if (space == PTX_SPACE_GLOBAL || space == PTX_SPACE_CONST) {
			*parser->variable_tail = variable;
			parser->variable_tail = &variable->next;
		} else {
			variable->next = parser->function->variables;
			parser->function->variables = variable;
		}
		if (!parse_bind_variable(parser, variable))
			return false;
	} while (parse_accept(parser, ','));
	return parse_expect(parser, ';');
}

/* ---- registers ---- */

static bool register_add(struct parser *parser, enum ptx_type type, uint64_t count, uint32_t *first)
{
	struct ptx_function *function = parser->function;

	if (count > PTX_REGISTERS_MAX - function->register_count)
		return parse_fail(parser, "too many registers");
	if (function->register_count + count > function->register_capacity) {
		uint32_t capacity = 2 * (uint32_t)(function->register_count + count) + 64;
		uint8_t *types = parse_take(parser, capacity);

		if (!types)
			return false;
		if (function->register_count)
			memcpy(types, function->register_types, function->register_count);
		function->register_types = types;
		function->register_capacity = capacity;
	}
	*first = function->register_count;
	memset(function->register_types + function->register_count, (int)type, count);
	function->register_count += (uint32_t)count;
	return true;
}

/* parse_registers - after .reg: .type name, name<count>, ... ; */
static bool parse_registers(struct parser *parser)
{
	enum ptx_type type;

	if (parse_is_text(parser, PTX_TOKEN_DOT, "v2") ||
	    parse_is_text(parser, PTX_TOKEN_DOT, "v4"))
		return parse_fail(parser, "'.reg .%.*s': not implemented",
				  (int)parser->token.length, parser->token.text);
	if (!parse_type(parser, &type))
		return false;
	if (type == PTX_TYPE_B128)
		return parse_fail(parser, "'.reg .b128': not implemented");
	do {
		struct ptx_name *name = parse_name(parser, "the name of a register");
		struct ptx_symbol *symbol;
		bool range = false;
		uint64_t count = 1;

		if (!name)
			return false;
		if (parse_accept(parser, '<')) {
			range = true;
			if (!parse_unsigned(parser, &count) || !parse_expect(parser, '>'))
				return false;
		}
		symbol = scope_declare(parser, name,
				       range ? PTX_SYMBOL_REGISTERS : PTX_SYMBOL_REGISTER);
		if (!symbol || !register_add(parser, type, count, &symbol->reg))
			return false;
		symbol->type = type;
		symbol->count = (uint32_t)count;
	} while (parse_accept(parser, ','));
	return parse_expect(parser, ';');
}

/* ---- operands ---- */

static bool parse_operand(struct parser *parser, struct ptx_operand *operand, int depth);

/* parse_named_operand - a register, special register, variable, or a name for later */
static bool parse_named_operand(struct parser *parser, struct ptx_operand *operand)
{
	struct ptx_name *name;
	struct ptx_symbol *symbol;

	if (parse_is_text(parser, PTX_TOKEN_NAME, "_")) {
		operand->kind = PTX_OPERAND_SINK;
		parse_next(parser);
		return true;
	}
	name = parse_name(parser, "an operand");
	if (!name)
		return false;
	symbol = name->binding;
	operand->name = name;
	if (symbol && symbol->kind == PTX_SYMBOL_REGISTER) {
		operand->kind = PTX_OPERAND_REGISTER;
		operand->reg = symbol->reg;
		operand->type = symbol->type;
	} else if (symbol && symbol->kind == PTX_SYMBOL_VARIABLE) {
		operand->kind = PTX_OPERAND_VARIABLE;
		operand->variable = symbol->variable;
	} else if (scope_find_register(parser, name, &operand->reg, &operand->type)) {
		operand->kind = PTX_OPERAND_REGISTER;
	} else if (name->text[0] == '%') {
		char whole[64];
		int length;

		operand->kind = PTX_OPERAND_SPECIAL;
		if (parser->token.kind == PTX_TOKEN_DOT && parser->token.length == 1) {
			length = snprintf(whole, sizeof(whole), "%.40s.%c", name->text,
					  parser->token.text[0]);
			parse_next(parser);
			operand->name = ptx_tree_name(parser->tree, whole, (size_t)length);
			if (!operand->name)
				return parse_no_memory(parser);
		}
	} else {
		operand->kind = PTX_OPERAND_NAME;
	}
	return !parser->code;
}

static bool parse_number(struct parser *parser, struct ptx_operand *operand)
{
	bool minus = false, invert = false;

	while (parse_is(parser, '-') || parse_is(parser, '+') || parse_is(parser, '~')) {
		if (parse_is(parser, '-'))
			minus = !minus;
		if (parse_is(parser, '~'))
			invert = !invert;
		parse_next(parser);
	}
	operand->value = parser->token.integer;
	if (parser->token.kind == PTX_TOKEN_INTEGER) {
		operand->kind = PTX_OPERAND_INTEGER;
		if (minus)
			operand->value = 0 - operand->value;
		if (invert)
			operand->value = ~operand->value;
	} else if (parser->token.kind == PTX_TOKEN_FLOAT32) {
		operand->kind = PTX_OPERAND_FLOAT32;
		if (minus)
			operand->value ^= (uint64_t)1 << 31;
	} else if (parser->token.kind == PTX_TOKEN_FLOAT64) {
		operand->kind = PTX_OPERAND_FLOAT64;
		if (minus)
			operand->value ^= (uint64_t)1 << 63;
	} else {
		return parse_unexpected(parser, "a number");
	}
	parse_next(parser);
	return true;
}

/* parse_offset - the + or - behind a name; signs may pile up as in [%r1+-4] */
static bool parse_offset(struct parser *parser, uint64_t *offset)
{
	struct ptx_operand number = { 0 };

	*offset = 0;
	if (!parse_is(parser, '+') && !parse_is(parser, '-'))
		return true;
	if (!parse_number(parser, &number))
		return false;
	if (number.kind != PTX_OPERAND_INTEGER)
		return parse_fail(parser, "an offset must be an integer");
	*offset = number.value;
	return true;
}

static bool parse_address(struct parser *parser, struct ptx_operand *operand)
{
	struct ptx_operand base = { .reg = PTX_NO_REGISTER };

	if (parser->token.kind == PTX_TOKEN_NAME) {
		if (!parse_named_operand(parser, &base) || !parse_offset(parser, &base.value))
			return false;
		if (base.kind != PTX_OPERAND_REGISTER && base.kind != PTX_OPERAND_VARIABLE)
			return parse_fail(parser, "'%.80s' is not declared",
					  base.name ? base.name->text : "_");
	} else {
		if (!parse_number(parser, &base))
			return false;
		if (base.kind != PTX_OPERAND_INTEGER)
			return parse_fail(parser, "an address must be an integer");
		base.reg = PTX_NO_REGISTER;
	}
	if (base.kind != PTX_OPERAND_REGISTER)
		base.reg = PTX_NO_REGISTER;
	*operand = base;
	operand->kind = PTX_OPERAND_ADDRESS;
	if (parse_is(parser, ','))
		return parse_fail(parser, "an address of several parts: not implemented");
	return parse_expect(parser, ']');
}

static bool parse_elements(struct parser *parser, struct ptx_operand *operand, char end, int depth)
{
	struct ptx_operand *elements;
	unsigned int maximum = end == ')' ? PTX_PARAMETERS_MAX : PTX_VECTOR_MAX;
	unsigned int capacity = 8;

	operand->kind = end == ')' ? PTX_OPERAND_LIST : PTX_OPERAND_VECTOR;
	elements = parse_take(parser, capacity * sizeof(*elements));
	if (!elements)
		return false;
	operand->elements = elements;
	if (parse_accept(parser, end))
		return true;
	do {
		if (operand->count == maximum)
			return parse_fail(parser, "too many operands");
		if (operand->count == capacity) {
			elements = parse_take(parser, 2 * capacity * sizeof(*elements));
			if (!elements)
				return false;
			memcpy(elements, operand->elements, capacity * sizeof(*elements));
			operand->elements = elements;
			capacity *= 2;
		}
		if (!parse_operand(parser, &elements[operand->count], depth + 1))
			return false;
		operand->count++;
	} while (parse_accept(parser, ','));
	return parse_expect(parser, end);
}

static bool parse_operand(struct parser *parser, struct ptx_operand *operand, int depth)
{
	if (depth > 2)
		return parse_fail(parser, "operands are nested too deeply");
	if (parse_accept(parser, '[')) {
		if (!parse_address(parser, operand))
			return false;
	} else if (parse_accept(parser, '{')) {
		if (!parse_elements(parser, operand, '}', depth))
			return false;
	} else if (parse_accept(parser, '(')) {
		if (!parse_elements(parser, operand, ')', depth))
			return false;
	} else if (parse_accept(parser, '!')) {
		if (!parse_named_operand(parser, operand))
			return false;
		operand->negated = true;
	} else if (parser->token.kind == PTX_TOKEN_NAME) {
		if (!parse_named_operand(parser, operand))
			return false;
		if (operand->kind == PTX_OPERAND_VARIABLE && !parse_offset(parser, &operand->value))
			return false;
	} else if (!parse_number(parser, operand)) {
		return false;
	}
	if (parse_accept(parser, '|')) {
		operand->second = parse_take(parser, sizeof(*operand));
		return operand->second && parse_operand(parser, operand->second, depth + 1);
	}
	return true;
}

/* ---- statements ---- */

static struct ptx_statement *statement_new(struct parser *parser)
{
	struct ptx_statement *statement = parse_take(parser, sizeof(*statement));

	if (!statement)
		return NULL;
	statement->line = parser->token.line;
	statement->text = parser->token.text;
	statement->scope = parser->scope_ids[parser->scope_depth];
	statement->guard = PTX_NO_REGISTER;
	return statement;
}

static void statement_link(struct parser *parser, struct ptx_statement *statement)
{
	*parser->statement_tail = statement;
	parser->statement_tail = &statement->next;
}

static bool parse_guard(struct parser *parser, struct ptx_statement *statement)
{
	struct ptx_operand guard = { 0 };

	statement->guard_negated = parse_accept(parser, '!');
	if (!parse_named_operand(parser, &guard))
		return false;
	if (guard.kind != PTX_OPERAND_REGISTER || guard.type != PTX_TYPE_PRED)
		return parse_fail(parser, "the guard is not a predicate");
	statement->guard = guard.reg;
	return true;
}

/* parse_instruction - opcode, modifiers, operands and the semicolon */
static bool parse_instruction(struct parser *parser, struct ptx_statement *statement)
{
	struct ptx_name *name = parse_name(parser, "an instruction");

	if (!name)
		return false;
	statement->opcode = name->text;
	while (parser->token.kind == PTX_TOKEN_DOT) {
		if (statement->modifier_count == PTX_MODIFIERS_MAX)
			return parse_fail(parser, "too many modifiers");
		name = ptx_tree_name(parser->tree, parser->token.text, parser->token.length);
		if (!name)
			return parse_no_memory(parser);
		statement->modifiers[statement->modifier_count++] = name->text;
		parse_next(parser);
	}
	if (!parse_is(parser, ';')) {
		do {
			if (statement->operand_count == PTX_OPERANDS_MAX)
				return parse_fail(parser, "too many operands");
			if (!parse_operand(parser, &statement->operands[statement->operand_count],
					   0))
				return false;
			statement->operand_count++;
		} while (parse_accept(parser, ','));
	}
	statement->text_length = (size_t)(parser->token.text - statement->text);
	if (!parse_expect(parser, ';'))
		return false;
	statement_link(parser, statement);
	return true;
}

/* parse_skip_statement - debug information and the like, to its semicolon */
static bool parse_skip_statement(struct parser *parser)
{
	while (!parse_is(parser, ';')) {
		if (parser->token.kind == PTX_TOKEN_END)
			return parse_unexpected(parser, "';'");
		parse_next(parser);
	}
	parse_next(parser);
	return true;
}

/* parse_skip_line - .loc and .file end with their line, there is no semicolon */
static void parse_skip_line(struct parser *parser)
{
	unsigned int line = parser->token.line;

	while (parser->token.kind != PTX_TOKEN_END && parser->token.line == line)
		parse_next(parser);
}

static bool parse_skip_braces(struct parser *parser)
{
	unsigned int depth = 0;

	do {
		if (parser->token.kind == PTX_TOKEN_END)
			return parse_unexpected(parser, "'}'");
		if (parse_is(parser, '{'))
			depth++;
		if (parse_is(parser, '}'))
			depth--;
		parse_next(parser);
	} while (depth);
	return true;
}

static bool parse_parameters(struct parser *parser, struct ptx_variable **list, bool entry);

/* parse_table - .branchtargets or .callprototype behind a label */
static bool parse_table(struct parser *parser, struct ptx_name *name)
{
	struct ptx_table *table = parse_take(parser, sizeof(*table));
	uint32_t capacity = 0;

	if (!table)
		return false;
	table->name = name;
	table->scope = parser->scope_ids[parser->scope_depth];
	table->next = parser->function->tables;
	parser->function->tables = table;
	if (parse_accept_dot(parser, "callprototype")) {
		table->is_prototype = true;
		if (parse_is(parser, '(') && !parse_parameters(parser, &table->results, false))
			return false;
		if (!parse_name(parser, "'_'"))
			return false;
		if (parse_is(parser, '(') && !parse_parameters(parser, &table->parameters, false))
			return false;
		return parse_skip_statement(parser); /* .noreturn, .abi_preserve */
	}
	parse_next(parser);
	do {
		struct ptx_name *target = parse_name(parser, "a label");

		if (!target)
			return false;
		if (table->target_count == capacity) {
			struct ptx_name **targets;

			if (capacity >= 65536)
				return parse_fail(parser, "too many branch targets");
			capacity = capacity ? 2 * capacity : 8;
			targets = parse_take(parser, capacity * sizeof(*targets));
			if (!targets)
				return false;
			if (table->target_count)
				memcpy(targets, table->targets,
				       table->target_count * sizeof(*targets));
			table->targets = targets;
		}
		table->targets[table->target_count++] = target;
	} while (parse_accept(parser, ','));
	return parse_expect(parser, ';');
}

static bool parse_body_directive(struct parser *parser)
{
	static const struct {
		const char *name;
		enum ptx_space space;
	} spaces[] = {
		{ "local", PTX_SPACE_LOCAL }, { "shared", PTX_SPACE_SHARED },
		{ "param", PTX_SPACE_PARAM }, { "global", PTX_SPACE_GLOBAL },
		{ "const", PTX_SPACE_CONST },
	};
	bool external = parse_accept_dot(parser, "extern");

	if (parse_accept_dot(parser, "reg"))
		return parse_registers(parser);
	for (size_t i = 0; i < sizeof(spaces) / sizeof(spaces[0]); i++)
		if (parse_accept_dot(parser, spaces[i].name))
			return parse_body_variable(parser, spaces[i].space, external);
	if (parse_is_text(parser, PTX_TOKEN_DOT, "loc") ||
	    parse_is_text(parser, PTX_TOKEN_DOT, "file")) {
		parse_skip_line(parser);
		return true;
	}
	if (parse_is_text(parser, PTX_TOKEN_DOT, "pragma"))
		return parse_skip_statement(parser);
	return parse_fail(parser, "'.%.*s': not implemented",
			  parser->token.length > 60 ? 60 : (int)parser->token.length,
			  parser->token.text);
}

/* parse_labelled - a name followed by a colon was read */
static bool parse_labelled(struct parser *parser, struct ptx_statement *statement,
			   struct ptx_name *name)
{
	if (parse_is_text(parser, PTX_TOKEN_DOT, "branchtargets") ||
	    parse_is_text(parser, PTX_TOKEN_DOT, "callprototype"))
		return parse_table(parser, name);
	statement->label = name;
	statement->text_length = name->length;
	statement_link(parser, statement);
	return true;
}

/* parse_is_label - whether the name at hand is followed by a colon */
static bool parse_is_label(struct parser *parser)
{
	struct ptx_lexer ahead = parser->lexer;
	struct ptx_token token;

	if (parser->token.kind != PTX_TOKEN_NAME)
		return false;
	token = ptx_lex(&ahead);
	return token.kind == PTX_TOKEN_SIGN && token.integer == ':';
}

static bool parse_statement(struct parser *parser)
{
	struct ptx_statement *statement;

	if (parser->token.kind == PTX_TOKEN_DOT)
		return parse_body_directive(parser);
	if (parse_accept(parser, ';'))
		return true;
	statement = statement_new(parser);
	if (!statement)
		return false;
	if (parse_is_label(parser)) {
		struct ptx_name *name = parse_name(parser, "a label");

		return name && parse_expect(parser, ':') && parse_labelled(parser, statement, name);
	}
	if (parse_accept(parser, '@') && !parse_guard(parser, statement))
		return false;
	return parse_instruction(parser, statement);
}

/* parse_body - from { to its }; inner blocks are scopes and nothing else */
static bool parse_body(struct parser *parser)
{
	unsigned int base = parser->scope_depth;

	do {
		if (parse_accept(parser, '{')) {
			if (!scope_open(parser))
				return false;
		} else if (parse_accept(parser, '}')) {
			scope_close(parser);
		} else if (parser->token.kind == PTX_TOKEN_END) {
			return parse_unexpected(parser, "'}'");
		} else if (!parse_statement(parser)) {
			return false;
		}
	} while (parser->scope_depth > base);
	return true;
}

/* ---- functions ---- */

static bool parse_parameters(struct parser *parser, struct ptx_variable **list, bool entry)
{
	struct ptx_variable **tail = list;
	unsigned int count = 0;

	*list = NULL;
	if (!parse_expect(parser, '('))
		return false;
	if (parse_accept(parser, ')'))
		return true;
	do {
		struct ptx_variable *variable;

		if (count++ == PTX_PARAMETERS_MAX)
			return parse_fail(parser, "too many parameters");
		if (parse_is_text(parser, PTX_TOKEN_DOT, "reg"))
			return parse_fail(parser, "'.reg' parameters: not implemented");
		if (!parse_accept_dot(parser, "param"))
			return parse_unexpected(parser, "'.param'");
		variable = parse_variable(parser, PTX_SPACE_PARAM);
		if (!variable)
			return false;
		if (variable->unsized)
			return parse_fail(parser, "a parameter without a size: not implemented");
		variable->kernel_parameter = entry;
		*tail = variable;
		tail = &variable->next;
	} while (parse_accept(parser, ','));
	return parse_expect(parser, ')');
}

/* parse_up_to_three - .maxntid 256, 1, 1 */
static bool parse_up_to_three(struct parser *parser, uint64_t values[3])
{
	values[0] = values[1] = values[2] = 1;
	for (int i = 0; i < 3; i++) {
		if (!parse_unsigned(parser, &values[i]))
			return false;
		if (values[i] > 65536)
			return parse_fail(parser, "the number is too large");
		if (!parse_accept(parser, ','))
			break;
	}
	return true;
}

/* parse_tuning - directives between a function's head and its body */
static bool parse_tuning(struct parser *parser, struct ptx_function *function)
{
	uint64_t values[3];

	while (parser->token.kind == PTX_TOKEN_DOT) {
		if (parse_accept_dot(parser, "maxntid")) {
			if (!parse_up_to_three(parser, values))
				return false;
			values[0] *= values[1] * values[2];
			function->max_threads =
				values[0] && values[0] < 1024 ? (unsigned int)values[0] : 1024;
		} else if (parse_accept_dot(parser, "reqntid")) {
			if (!parse_up_to_three(parser, values))
				return false;
			for (int i = 0; i < 3; i++)
				function->required_threads[i] = (unsigned int)values[i];
		} else if (parse_accept_dot(parser, "minnctapersm") ||
			   parse_accept_dot(parser, "maxnctapersm") ||
			   parse_accept_dot(parser, "maxnreg") ||
			   parse_accept_dot(parser, "abi_preserve") ||
			   parse_accept_dot(parser, "abi_preserve_control")) {
			if (!parse_unsigned(parser, values))
				return false;
		} else if (parse_accept_dot(parser, "noreturn")) {
			function->noreturn = true;
		} else if (parse_is_text(parser, PTX_TOKEN_DOT, "pragma")) {
			if (!parse_skip_statement(parser))
				return false;
		} else {
			return parse_fail(parser, "'.%.*s': not implemented",
					  parser->token.length > 60 ? 60
								    : (int)parser->token.length,
					  parser->token.text);
		}
	}
	return true;
}

/* function_declare - the function of that name, new or declared before */
static struct ptx_function *function_declare(struct parser *parser, struct ptx_function *head)
{
	struct ptx_function *function = head->name->function;

	if (function) {
		if (function->is_entry != head->is_entry) {
			parse_fail_at(parser, head->line, "'%.80s' is declared twice",
				      head->name->text);
			return NULL;
		}
		if (!function->has_body) {
			function->results = head->results;
			function->parameters = head->parameters;
			function->line = head->line;
		}
		function->external = function->external && head->external;
		return function;
	}
	function = parse_take(parser, sizeof(*function));
	if (!function)
		return NULL;
	*function = *head;
	function->name->function = function;
	*parser->function_tail = function;
	parser->function_tail = &function->next;
	return function;
}

static bool function_open_body(struct parser *parser, struct ptx_function *function)
{
	struct ptx_variable *variable;

	if (function->has_body)
		return parse_fail(parser, "'%.80s' is defined twice", function->name->text);
	function->has_body = true;
	parser->function = function;
	parser->statement_tail = &function->statements;
	if (!scope_open(parser))
		return false;
	for (variable = function->results; variable; variable = variable->next) {
		variable->function = function;
		if (!parse_bind_variable(parser, variable))
			return false;
	}
	for (variable = function->parameters; variable; variable = variable->next) {
		variable->function = function;
		if (!parse_bind_variable(parser, variable))
			return false;
	}
	return true;
}

static bool parse_function(struct parser *parser, bool entry, bool external)
{
	struct ptx_function head = { .is_entry = entry,
				     .external = external,
				     .max_threads = 1024,
				     .line = parser->token.line };
	struct ptx_function *function;

	if (parse_accept_dot(parser, "noreturn"))
		head.noreturn = true;
	if (parse_is(parser, '(') && !parse_parameters(parser, &head.results, false))
		return false;
	head.name = parse_name(parser, "the name of a function");
	if (!head.name)
		return false;
	if (parse_is(parser, '(') && !parse_parameters(parser, &head.parameters, entry))
		return false;
	if (!parse_tuning(parser, &head))
		return false;
	function = function_declare(parser, &head);
	if (!function)
		return false;
	function->max_threads = head.max_threads;
	function->noreturn = function->noreturn || head.noreturn;
	memcpy(function->required_threads, head.required_threads, sizeof(head.required_threads));
	if (parse_accept(parser, ';'))
		return true;
	if (!parse_is(parser, '{'))
		return parse_unexpected(parser, "'{' or ';'");
	if (!function_open_body(parser, function) || !parse_body(parser))
		return false;
	scope_close(parser);
	parser->function = NULL;
	return true;
}

/* parse_alias - .alias new, old; */
static bool parse_alias(struct parser *parser)
{
	struct ptx_function head = { .line = parser->token.line, .max_threads = 1024 };
	struct ptx_function *function;

	head.name = parse_name(parser, "the name of a function");
	if (!head.name || !parse_expect(parser, ','))
		return false;
	head.alias_of = parse_name(parser, "the name of a function");
	if (!head.alias_of)
		return false;
	function = function_declare(parser, &head);
	if (!function)
		return false;
	if (function->has_body || head.alias_of == head.name)
		return parse_fail(parser, "'%.80s' is defined twice", head.name->text);
	function->alias_of = head.alias_of;
	return parse_expect(parser, ';');
}

/* ---- the module ---- */

static bool parse_version(struct parser *parser)
{
	unsigned int major = 0, minor = 0;
	char copy[16];

	if (parser->token.length >= sizeof(copy))
		return parse_unexpected(parser, "a version");
	memcpy(copy, parser->token.text, parser->token.length);
	copy[parser->token.length] = '\0';
	if (sscanf(copy, "%3u.%3u", &major, &minor) != 2)
		return parse_unexpected(parser, "a version");
	parser->tree->version = 10 * major + minor;
	if (major < 6)
		return parse_fail(parser, "PTX ISA %u.%u: not implemented; 6.0 is the oldest",
				  major, minor);
	parse_next(parser);
	return true;
}

static bool parse_target(struct parser *parser)
{
	do {
		struct ptx_name *name = parse_name(parser, "a target");
		unsigned int number;

		if (!name)
			return false;
		if (sscanf(name->text, "sm_%3u", &number) == 1)
			parser->tree->target = number;
		else if (strncmp(name->text, "texmode_", 8) && strcmp(name->text, "debug") &&
			 strcmp(name->text, "map_f64_to_f32"))
			return parse_fail(parser, "target '%.40s': not implemented", name->text);
	} while (parse_accept(parser, ','));
	return true;
}

static bool parse_address_size(struct parser *parser)
{
	unsigned int line = parser->token.line;
	uint64_t bits = 0;

	if (!parse_unsigned(parser, &bits))
		return false;
	if (bits != 64)
		return parse_fail_at(parser, line, "'.address_size %llu': not implemented",
				     (unsigned long long)bits);
	return true;
}

/* parse_section - .section .debug_info { ... }: debug information is not read */
static bool parse_section(struct parser *parser)
{
	while (!parse_is(parser, '{')) {
		if (parser->token.kind == PTX_TOKEN_END)
			return parse_unexpected(parser, "'{'");
		parse_next(parser);
	}
	return parse_skip_braces(parser);
}

static bool parse_module_directive(struct parser *parser)
{
	bool external = false;

	if (parse_accept_dot(parser, "version"))
		return parse_version(parser);
	if (parse_accept_dot(parser, "target"))
		return parse_target(parser);
	if (parse_accept_dot(parser, "address_size"))
		return parse_address_size(parser);
	if (parse_accept_dot(parser, "section"))
		return parse_section(parser);
	if (parse_accept_dot(parser, "alias"))
		return parse_alias(parser);
	if (parse_is_text(parser, PTX_TOKEN_DOT, "pragma"))
		return parse_skip_statement(parser);
	if (parse_is_text(parser, PTX_TOKEN_DOT, "file") ||
	    parse_is_text(parser, PTX_TOKEN_DOT, "loc")) {
		parse_skip_line(parser);
		return true;
	}
	for (;;) {
		if (parse_accept_dot(parser, "extern"))
			external = true;
		else if (!parse_accept_dot(parser, "visible") &&
			 !parse_accept_dot(parser, "weak") && !parse_accept_dot(parser, "common"))
			break;
	}
	if (parse_accept_dot(parser, "entry"))
		return parse_function(parser, true, external);
	if (parse_accept_dot(parser, "func"))
		return parse_function(parser, false, external);
	if (parse_accept_dot(parser, "global"))
		return parse_module_variable(parser, PTX_SPACE_GLOBAL, external);
	if (parse_accept_dot(parser, "const"))
		return parse_module_variable(parser, PTX_SPACE_CONST, external);
	if (parse_accept_dot(parser, "shared"))
		return parse_module_variable(parser, PTX_SPACE_SHARED, external);
	return parse_fail(parser, "'.%.*s': not implemented",
			  parser->token.length > 60 ? 60 : (int)parser->token.length,
			  parser->token.text);
}

int ptx_parse(const char *text, size_t bytes, struct ptx_tree *tree, struct error *error)
{
	struct parser parser = { .tree = tree, .error = error };

	parser.lexer.at = text;
	parser.lexer.end = text + bytes;
	parser.lexer.line = 1;
	parser.function_tail = &tree->functions;
	parser.variable_tail = &tree->variables;
	parse_next(&parser);
	while (!parser.code && parser.token.kind != PTX_TOKEN_END) {
		if (parse_accept(&parser, ';'))
			continue;
		if (parser.token.kind != PTX_TOKEN_DOT)
			parse_unexpected(&parser, "a directive");
		else
			parse_module_directive(&parser);
	}
	if (!parser.code && !tree->version)
		parse_fail(&parser, "there is no .version");
	return parser.code;
}
