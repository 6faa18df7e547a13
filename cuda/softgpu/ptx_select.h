/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Instruction selection, as ptx_select*.c share it. Each select_OPCODE takes the modifiers it
 * understands off the statement and adds drafts; false after a failure, which is kept once.
 */
#ifndef CAUSEWAY_CUDA_SOFTGPU_PTX_SELECT_H
#define CAUSEWAY_CUDA_SOFTGPU_PTX_SELECT_H

#include "cuda/softgpu/ptx_compile.h"

/* A label by its name within a scope. */
struct select_label {
	struct ptx_name *name;
	uint32_t scope;
	uint32_t number;
	struct select_label *next;
};

#define LABEL_BUCKETS 256u

struct selector {
	struct ptx_compiler *compiler;
	struct ptx_draft_function *out;
	struct ptx_function *function;
	const struct ptx_statement *statement;
	uint32_t taken; /* modifiers, a bit each */
	struct select_label *labels[LABEL_BUCKETS];
	int code; /* 0, or the first failure's */
	bool in_guard;
};

/* Short, as each function here has it first. */
typedef struct selector *S;

/* Drafts are named by number while others may be added behind them. */
typedef size_t D;
#define FAILED ((D)-1)

/*
 * Operands may need drafts of their own (a special register, an address); those must stand before
 * the instruction that reads them. So values are made first, then the instruction.
 */
struct values {
	struct ptx_draft_operand v[PTX_CODE_OPERANDS];
};

/*
 * ptx_select_operand.c. A failure is said once (select_fail) and false returned. modifier_* take
 * modifiers off the statement, type_* say what a type is, operand_* make values, with drafts of
 * their own where that takes any, draft_* add drafts: FAILED, or false, after a failure.
 */
bool select_fail(S s, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool select_not_implemented(S s);
bool select_no_memory(S s);
bool modifier_take(S s, const char *name);
const char *modifier_choose(S s, const char *const *names);
enum ptx_type modifier_type(S s);
bool type_is_float(enum ptx_type type);
bool type_is_signed(enum ptx_type type);
unsigned int type_bits(enum ptx_type type);
enum ptx_type type_unsigned(enum ptx_type type);
enum ptx_type type_plain(enum ptx_type type);
struct ptx_draft *draft_at(S s, D d);
D draft_emit(S s, const char *format, ...) __attribute__((format(printf, 2, 3)));
void draft_operand(S s, D d, unsigned int k, struct ptx_draft_operand operand, bool defines);
struct ptx_draft_operand operand_ready(uint32_t number);
struct ptx_draft_operand operand_constant(S s, uint64_t value, bool wide);
struct ptx_draft_operand operand_temporary(S s, enum ptx_virtual class);
enum ptx_virtual type_class(enum ptx_type type);
struct ptx_draft_operand operand_register(S s, uint32_t reg);
void draft_move(S s, struct ptx_draft_operand d, struct ptx_draft_operand a, bool wide);
struct ptx_draft_operand draft_unary(S s, const char *name, enum ptx_virtual class,
				     struct ptx_draft_operand a);
const struct ptx_operand *statement_operand(S s, unsigned int k);
bool statement_wants(S s, unsigned int count);
struct ptx_draft_operand operand_variable(S s, const struct ptx_variable *variable, uint64_t offset,
					  bool wide);
struct ptx_draft_operand operand_value(S s, const struct ptx_operand *from, enum ptx_type type);
struct ptx_draft_operand operand_destination(S s, const struct ptx_operand *to, enum ptx_type type);
D draft_simple(S s, const char *name, unsigned int count, const enum ptx_type *types);
const char *name_format(char *buffer, size_t bytes, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
bool draft_after(S s, D d, const char *name);
#define NAME(...) name_format((char[64]){ 0 }, 64, __VA_ARGS__)

/*
 * ptx_select_arithmetic.c. modifier_rounding: "rn" and its kin, "" without one; drafts that set
 * and restore a rounding stand around those that want it. select_OPCODE as above.
 */
const char *modifier_rounding(S s);
void draft_round_begin(S s, const char *mode);
void draft_round_end(S s, const char *mode);
bool select_add(S s);
bool select_mul(S s);
bool select_mad(S s);
bool select_mul24(S s);
bool select_fma(S s);
bool select_div(S s);
bool select_two_same(S s);
bool select_sad(S s);
bool select_min(S s);
bool select_neg(S s);
bool select_root(S s);
bool select_approximate(S s);
bool select_predicate(S s, const char *name, unsigned int count);
bool select_logic(S s);
bool select_cnot(S s);
bool select_shift(S s);
bool select_count_bits(S s);
bool select_bfind(S s);
bool select_bfe(S s);
bool select_bfi(S s);
bool select_prmt(S s);
bool select_lop3(S s);
bool select_shf(S s);
bool select_fns(S s);
bool select_dot(S s);
bool select_vabsdiff4(S s);
bool select_clamped(S s);

/* ptx_select_convert.c. Operands wider or narrower than the instruction's type, as PTX allows. */
bool select_setp(S s);
bool select_set(S s);
bool select_selp(S s);
bool select_slct(S s);
bool select_testp(S s);
bool select_mov(S s);
struct ptx_draft_operand operand_narrowed(S s, const struct ptx_operand *from, enum ptx_type type);
bool operand_widened(S s, const struct ptx_operand *to, struct ptx_draft_operand result,
		     enum ptx_type type);
bool select_cvt(S s);
bool select_cvta(S s);
bool select_isspacep(S s);

/* ptx_select_memory.c. A parameter is read and written in units of a slot. */
struct ptx_draft_operand operand_parameter_unit(const struct ptx_variable *variable, uint64_t unit);
bool select_ld(S s);
bool select_st(S s);
bool select_atom(S s);
bool select_cp(S s);
bool select_nothing(S s);

/* ptx_select_control.c. Labels may be named before they are placed. */
bool select_shfl(S s);
bool select_vote(S s);
bool select_match(S s);
bool select_redux(S s);
bool select_elect(S s);
bool select_activemask(S s);
bool select_bar(S s);
bool select_fence(S s);
struct select_label *label_lookup(S s, const struct ptx_name *name, uint32_t scope);
bool label_declare(S s, struct ptx_name *name, uint32_t scope);
bool label_place(S s, uint32_t number);
bool draft_branch(S s, uint32_t label, bool invert);
bool select_bra(S s);
bool select_brx(S s);
bool select_end(S s);
bool select_nanosleep(S s);
bool select_call(S s);

#endif
