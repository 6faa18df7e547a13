/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the tree to code, inside one call of ptx_module_load():
 *
 *	ptx_select*.c   statements into drafts: handlers chosen, operands still virtual
 *	ptx_flow.c      control flow graph, post-dominators, liveness, registers into slots
 *	ptx_module.c    variables, kernels, and the drafts of all functions into one array of code
 */
#ifndef CAUSEWAY_CUDA_SOFTGPU_PTX_COMPILE_H
#define CAUSEWAY_CUDA_SOFTGPU_PTX_COMPILE_H

#include "cuda/softgpu/ptx_code.h"
#include "cuda/softgpu/ptx_text.h"

#define PTX_NO_LABEL	    UINT32_MAX
#define PTX_UNIT_FIXED	    ((uint64_t)1 << 32) /* in a .param variable's address */
#define PTX_DRAFTS_MAX	    (1u << 24)
#define PTX_CONSTANTS_MAX   (1u << 18)
#define PTX_FRAME_BYTES_MAX (32u << 20)

/* An operand before registers have slots. */
enum ptx_virtual {
	PTX_VIRTUAL_NONE,
	PTX_VIRTUAL_REG32, /* number in its class; the tree's registers first, temporaries behind */
	PTX_VIRTUAL_REG64,
	PTX_VIRTUAL_PRED,
	PTX_VIRTUAL_FIXED,    /* 4-byte unit of the function's parameters and results */
	PTX_VIRTUAL_OUTGOING, /* the same of a callee, behind this frame */
	PTX_VIRTUAL_READY,    /* number is what the code will hold: constants, special registers */
};

/* An operand of a draft: a virtual register, constant or place, not a slot yet. */
struct ptx_draft_operand {
	enum ptx_virtual kind;
	uint32_t number;
};

enum ptx_draft_kind {
	PTX_DRAFT_PLAIN,
	PTX_DRAFT_GONE,	  /* no code; fused into the next */
	PTX_DRAFT_LABEL,  /* no code; number in label */
	PTX_DRAFT_JUMP,	  /* to label, never on */
	PTX_DRAFT_BRANCH, /* to label or on */
	PTX_DRAFT_TABLE,  /* to one of the jumps that follow */
	PTX_DRAFT_GUARD,  /* on, or behind the unguard at label */
	PTX_DRAFT_JOIN,	  /* after an indirect call */
	PTX_DRAFT_END,	  /* exit, trap: nowhere */
};

struct ptx_draft {
	struct ptx_code code;
	struct ptx_draft_operand operands[PTX_CODE_OPERANDS];
	uint8_t kind;
	uint8_t defines; /* a bit per operand */
	uint8_t reads;
	bool guarded;	   /* may leave what it defines alone */
	bool calls;	   /* operand 0 is the frame's size, once it is known */
	bool joins_next;   /* the join is the next instruction */
	bool waits;	   /* may be what a loop waits with */
	ptx_handler fused; /* of a comparison: with the branch that follows */
	uint32_t label;
	uint32_t join_block;		   /* plus one; 0: none */
	struct ptx_draft_function *callee; /* of "call" */
	bool row;			   /* of a branch table: nothing may stand before it */
	uint32_t block;			   /* ptx_flow.c */
	uint32_t at;			   /* index of the code made from it */
};

struct ptx_draft_function {
	struct ptx_function *function;
	struct ptx_draft *drafts;
	size_t draft_count;
	size_t draft_capacity;
	uint32_t label_count;
	uint32_t counts[4];	/* of registers by class: REG32, REG64, PRED */
	uint32_t *register_map; /* of the tree's registers: number in their class */
	uint32_t parameter_units;
	uint32_t result_units;
	uint32_t frame_bytes;
	uint32_t local_bytes;
	uint32_t shared_bytes; /* static, of an entry */
	uint32_t callable;     /* its index */
	uint32_t slot_count;   /* registers as the driver reports them */
	bool has_printf;
	bool uses_common_shared;
	bool calls_unknown; /* indirect */
	uint32_t code_start;
	uint32_t end_label;
	uint32_t block_count;
	uint8_t *block_joins; /* of each block: it begins with a join */
	uint32_t *label_blocks;
	uint32_t *block_starts; /* where each block's code begins */
	/* The longest chain of calls, for ptx_module.c. */
	uint8_t visit;
	bool recursive;
	uint64_t deep_register_bytes;
	uint64_t deep_local_bytes;
};

struct ptx_constant {
	struct ptx_constant *next;
	uint64_t value;
	uint32_t operand; /* what code holds */
	bool wide;
};

#define PTX_CONSTANT_BUCKETS 1024u

struct ptx_compiler {
	struct ptx_tree *tree;
	struct ptx_module *module;
	struct error *error;
	bool count; /* insert instructions that count */
	struct ptx_constant *constants[PTX_CONSTANT_BUCKETS];
	uint32_t constant_bytes;
	uint32_t constant_count;
	uint32_t common_shared_bytes;
	uint32_t outgoing_units; /* the most that a call passes and takes back */
};

/* ptx_constant - the operand of a broadcast constant; 0 and *failed without memory */
uint32_t ptx_constant(struct ptx_compiler *compiler, uint64_t value, bool wide, bool *failed);

/**
 * ptx_select - drafts of one function with a body
 *
 * Variables have their addresses, functions their callables. Return: 0, -ENOEXEC with
 * "line N: 'text': not implemented" and the like, -ENOMEM.
 */
int ptx_select(struct ptx_compiler *compiler, struct ptx_draft_function *draft);

/* ptx_flow - blocks, joins, slots; the drafts come back with final operands, but without targets */
int ptx_flow(struct ptx_compiler *compiler, struct ptx_draft_function *draft);

/* ptx_draft_add - a zeroed draft at the end; NULL without memory */
struct ptx_draft *ptx_draft_add(struct ptx_draft_function *draft);

#endif
