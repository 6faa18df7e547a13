/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PTX text as a tree: tokens (ptx_lex.c), then directives, functions and statements (ptx_parse.c).
 *
 * Everything hangs on one arena that the module's loader drops when code has been made. Names are
 * interned: equal text is the same struct ptx_name. While a scope is open, name->binding is its
 * innermost declaration. Bounds: PTX_ARENA_BYTES_MAX for the whole tree, the rest named below.
 */
#ifndef CAUSEWAY_CUDA_SOFTGPU_PTX_TEXT_H
#define CAUSEWAY_CUDA_SOFTGPU_PTX_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"

#define PTX_ARENA_BYTES_MAX	 ((size_t)1 << 30)
#define PTX_MODIFIERS_MAX	 12
#define PTX_OPERANDS_MAX	 8
#define PTX_VECTOR_MAX		 8
#define PTX_PARAMETERS_MAX	 4096
#define PTX_REGISTERS_MAX	 (1u << 18) /* of one function */
#define PTX_SCOPES_MAX		 (1u << 16)
#define PTX_SCOPE_DEPTH_MAX	 64
#define PTX_VARIABLE_BYTES_MAX	 ((uint64_t)1 << 36)
#define PTX_INITIAL_ELEMENTS_MAX (1u << 26)
#define PTX_NO_REGISTER		 UINT32_MAX

enum ptx_token_kind {
	PTX_TOKEN_END,
	PTX_TOKEN_NAME,	   /* add  %r1  $L__BB0_2 */
	PTX_TOKEN_DOT,	   /* .u32, .shared::cta; text without the dot */
	PTX_TOKEN_INTEGER, /* value in integer */
	PTX_TOKEN_FLOAT32, /* 0f...; bits in integer */
	PTX_TOKEN_FLOAT64, /* 0d... or 1.5; bits in integer */
	PTX_TOKEN_STRING,  /* text without the quotes */
	PTX_TOKEN_SIGN,	   /* one character: its code in integer */
	PTX_TOKEN_BAD,
};

/* One token; @text points into the source. */
struct ptx_token {
	enum ptx_token_kind kind;
	unsigned int line;
	const char *text;
	size_t length;
	uint64_t integer;
};

/* Where reading stands. */
struct ptx_lexer {
	const char *at;
	const char *end;
	unsigned int line;
};

/* ptx_lex - the next token; PTX_TOKEN_END for ever at the end of the text */
struct ptx_token ptx_lex(struct ptx_lexer *lexer);

/* Memory that is freed as a whole. */
struct ptx_arena {
	struct ptx_arena_chunk *chunks;
	size_t bytes; /* taken in all */
};
/* ptx_arena_take - zeroed memory, or NULL beyond the bound or without memory */
void *ptx_arena_take(struct ptx_arena *arena, size_t bytes);
void ptx_arena_free(struct ptx_arena *arena);

/* Types of PTX that this machine has. */
enum ptx_type {
	PTX_TYPE_NONE,
	PTX_TYPE_PRED,
	PTX_TYPE_B8,
	PTX_TYPE_U8,
	PTX_TYPE_S8,
	PTX_TYPE_B16,
	PTX_TYPE_U16,
	PTX_TYPE_S16,
	PTX_TYPE_F16,
	PTX_TYPE_BF16,
	PTX_TYPE_B32,
	PTX_TYPE_U32,
	PTX_TYPE_S32,
	PTX_TYPE_F32,
	PTX_TYPE_F16X2,
	PTX_TYPE_BF16X2,
	PTX_TYPE_U16X2,
	PTX_TYPE_S16X2,
	PTX_TYPE_B64,
	PTX_TYPE_U64,
	PTX_TYPE_S64,
	PTX_TYPE_F64,
	PTX_TYPE_B128,
	PTX_TYPE_COUNT,
};
/* ptx_type_find - by its name without the dot; PTX_TYPE_NONE for anything else */
enum ptx_type ptx_type_find(const char *name);
const char *ptx_type_name(enum ptx_type type);
unsigned int ptx_type_bytes(enum ptx_type type); /* 0 for pred */

/* State spaces. */
enum ptx_space {
	PTX_SPACE_GENERIC,
	PTX_SPACE_GLOBAL,
	PTX_SPACE_CONST,
	PTX_SPACE_SHARED,
	PTX_SPACE_LOCAL,
	PTX_SPACE_PARAM,
};

struct ptx_name {
	struct ptx_name *next;	       /* in its bucket */
	struct ptx_symbol *binding;    /* in the open scopes */
	struct ptx_function *function; /* of the module */
	struct ptx_variable *variable; /* of the module */
	uint32_t hash;
	uint32_t length;
	char text[];
};

/* One element of an initialiser: a number, or the address of @name. */
struct ptx_initial {
	uint64_t value; /* a number's bits, or what is added to the address */
	struct ptx_name *name;
	uint64_t mask; /* 0xff00(name): which bits of the address; 0 for all */
	unsigned int line;
	bool is_float32;
	bool is_float64;
};

struct ptx_variable {
	struct ptx_variable *next;
	struct ptx_name *name;
	struct ptx_function *function; /* where it was declared; NULL for the module's own */
	enum ptx_space space;
	enum ptx_type type;
	unsigned int line;
	unsigned int alignment;
	uint64_t bytes;
	bool external;	       /* .extern: shared ones lie behind the static ones */
	bool unsized;	       /* name[] */
	bool kernel_parameter; /* of an .entry */
	struct ptx_initial *initial;
	uint32_t initial_count;
	/* Filled in by the compiler: */
	uint64_t address; /* device address, or offset in its space or frame */
};

enum ptx_operand_kind {
	PTX_OPERAND_REGISTER,
	PTX_OPERAND_SPECIAL, /* a special register; name says which */
	PTX_OPERAND_INTEGER,
	PTX_OPERAND_FLOAT32,
	PTX_OPERAND_FLOAT64,
	PTX_OPERAND_VARIABLE, /* its address plus value */
	PTX_OPERAND_NAME,     /* label, function, prototype: looked up later */
	PTX_OPERAND_ADDRESS,  /* [base + value] */
	PTX_OPERAND_VECTOR,   /* { ... } */
	PTX_OPERAND_LIST,     /* ( ... ) */
	PTX_OPERAND_SINK,     /* _ */
};

struct ptx_operand {
	enum ptx_operand_kind kind;
	bool negated;	       /* !p */
	uint32_t reg;	       /* REGISTER; base of an ADDRESS or PTX_NO_REGISTER */
	enum ptx_type type;    /* of the register */
	uint64_t value;	       /* bits, or offset */
	struct ptx_name *name; /* SPECIAL, NAME */
	struct ptx_variable *variable;
	struct ptx_operand *elements; /* VECTOR, LIST */
	uint32_t count;
	struct ptx_operand *second; /* what follows a bar: d|p */
};

struct ptx_statement {
	struct ptx_statement *next;
	unsigned int line;
	const char *text; /* in the module's text, for messages */
	size_t text_length;
	uint32_t scope;
	struct ptx_name *label; /* not NULL: nothing but a label */
	uint32_t guard;		/* register, or PTX_NO_REGISTER */
	bool guard_negated;
	const char *opcode;
	const char *modifiers[PTX_MODIFIERS_MAX];
	unsigned int modifier_count;
	struct ptx_operand operands[PTX_OPERANDS_MAX];
	unsigned int operand_count;
};

/* label: .branchtargets ...; or label: .callprototype ...; */
struct ptx_table {
	struct ptx_table *next;
	struct ptx_name *name;
	uint32_t scope;
	bool is_prototype;
	struct ptx_name **targets; /* of .branchtargets */
	uint32_t target_count;
	struct ptx_variable *results; /* of .callprototype */
	struct ptx_variable *parameters;
};

struct ptx_function {
	struct ptx_function *next;
	struct ptx_name *name;
	struct ptx_name *alias_of;
	unsigned int line;
	bool is_entry;
	bool has_body;
	bool external;
	bool noreturn;
	struct ptx_variable *results;
	struct ptx_variable *parameters;
	struct ptx_variable *variables; /* .local, .shared and .param of the body */
	struct ptx_statement *statements;
	struct ptx_table *tables;
	uint8_t *register_types; /* enum ptx_type of each register */
	uint32_t register_count;
	uint32_t register_capacity;
	uint32_t *scope_parents;
	uint32_t scope_count;
	uint32_t scope_capacity;
	unsigned int max_threads;
	unsigned int required_threads[3];
	struct ptx_draft_function *draft; /* the compiler's */
};

/* What a name can be: one register, a numbered row of them (%r<8>), a variable. */
enum ptx_symbol_kind { PTX_SYMBOL_REGISTER, PTX_SYMBOL_REGISTERS, PTX_SYMBOL_VARIABLE };

struct ptx_symbol {
	struct ptx_symbol *outer; /* what the name meant outside this scope */
	struct ptx_symbol *scope_next;
	struct ptx_name *name;
	enum ptx_symbol_kind kind;
	unsigned int depth; /* of its scope */
	enum ptx_type type;
	uint32_t reg;	/* first register */
	uint32_t count; /* of REGISTERS */
	struct ptx_variable *variable;
};

#define PTX_NAME_BUCKETS 4096u

struct ptx_tree {
	struct ptx_arena arena;
	struct ptx_name *buckets[PTX_NAME_BUCKETS];
	unsigned int version; /* 10 * major + minor */
	unsigned int target;
	struct ptx_function *functions; /* in the order of the text */
	struct ptx_variable *variables; /* the module's own */
};

/**
 * ptx_parse - text into a tree
 * @tree: zeroed; the caller owes ptx_arena_free(&tree->arena) also after an error
 *
 * Return: 0, -ENOEXEC with "line N: ..." or -ENOMEM.
 */
int ptx_parse(const char *text, size_t bytes, struct ptx_tree *tree, struct error *error);

/* ptx_tree_name - intern; NULL without memory */
struct ptx_name *ptx_tree_name(struct ptx_tree *tree, const char *text, size_t length);

#endif
