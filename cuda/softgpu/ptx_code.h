/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PTX machine's code and the state it runs on.
 *
 * A warp is 32 lanes in lock-step. A register is a slot of 32 values: 4 bytes each for types up to
 * 32 bits, 8 bytes each for 64-bit types; a predicate is one 32-bit word, a bit per lane. Values
 * of 8 and 16 bits lie in 4-byte lanes whose upper bits mean nothing: readers cut them off.
 *
 * An instruction is one struct ptx_code: a pointer to its handler and pre-resolved operands. A
 * handler does its work for the lanes in warp->mask and returns the instruction to go on with, or
 * NULL where the warp must stop for now (it ended, waits, yields or faulted).
 *
 * Divergence. The lanes of a warp form groups; a group has one program counter and one frame.
 * A branch that splits a group opens a join at the branch's immediate post-dominator: each part
 * waits there until all lanes that the join expects (less those that exited) have arrived, then
 * they go on as one group. Groups of a warp are independent otherwise and are rotated when one has
 * taken many backward branches. One that spins in a loop with an atomic, a strong load or a call
 * ends up going round alone: lanes waiting at its joins then go on without it, so that a lane
 * spinning on a lock cannot starve its holder.
 *
 * Frames. A call opens a frame behind the caller's registers. Lanes of different groups may be in
 * different functions and share slots: each lane owns its column, and writes are masked unless
 * the group holds all living lanes.
 *
 * Threads: a block, with its warps, is run by one host thread. Shared between threads are global
 * memory (as on a device) and struct ptx_run (atomics, and its lock for the fault and for print).
 */
#ifndef CAUSEWAY_CUDA_SOFTGPU_PTX_CODE_H
#define CAUSEWAY_CUDA_SOFTGPU_PTX_CODE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "cuda/softgpu/ptx.h"

#define PTX_LANES	   32u
#define PTX_SLOT_BYTES	   128u /* of 32-bit lanes; 64-bit ones take two */
#define PTX_BARRIERS	   16u
#define PTX_GROUPS_MAX	   32u
#define PTX_JOINS_MAX	   33u /* number 0 is none */
#define PTX_THREADS_MAX	   1024u
#define PTX_BUDGET	   4096 /* backward branches before a warp is looked after */
#define PTX_BUDGET_SPLIT   64	/* the same while it has several groups */
#define PTX_SPINS_MAX	   4	/* times its budget that a group spins while others wait for it */
#define PTX_CALL_DEPTH_MAX 4096u

/*
 * Generic addresses. Host addresses end at 2^47; the windows lie beyond, so that no allocation of
 * a driver can meet them. Inside a window the low 32 bits are the offset.
 */
#define PTX_WINDOW_SHARED      ((uint64_t)1 << 56)
#define PTX_WINDOW_LOCAL       ((uint64_t)2 << 56)
#define PTX_WINDOW_PARAM       ((uint64_t)3 << 56)
#define PTX_WINDOW_CODE	       ((uint64_t)4 << 56) /* what a function's address is */
#define PTX_WINDOW_OF(address) ((address) >> 56)
#define PTX_HOST_ADDRESS_END   ((uint64_t)1 << 47)

struct ptx_warp;
struct ptx_code;
/* Executes one step for the active lanes; returns the next step, or NULL to stop here. */
typedef const struct ptx_code *(*ptx_handler)(struct ptx_warp *warp, const struct ptx_code *code);

/* Where an operand lies: the low two bits of its number; the rest is a byte offset. */
enum ptx_base {
	PTX_BASE_FRAME,	   /* registers */
	PTX_BASE_CONSTANT, /* the module's broadcast constants */
	PTX_BASE_WARP,	   /* special registers that differ between lanes or warps */
	PTX_BASE_BLOCK,	   /* special registers that are the same in a block */
};

#define PTX_CODE_OPERANDS 7

struct ptx_code {
	ptx_handler run;
	uint32_t r[PTX_CODE_OPERANDS];
	uint32_t detail;
	union {
		uint64_t immediate;
		const struct ptx_code *target;
		const void *data;
	};
	const struct ptx_code *join; /* where a split made here ends; NULL: nowhere */
	uint32_t line;
	uint32_t count : 31; /* of PTX instructions, in "count" */
	uint32_t spins : 1;  /* a branch back over something that may wait for other lanes */
};
_Static_assert(sizeof(struct ptx_code) == 64, "one cache line");

/* Special registers of a warp and of a block, one slot each, in this order. */
enum ptx_warp_special {
	PTX_WARP_TID_X,
	PTX_WARP_TID_Y,
	PTX_WARP_TID_Z,
	PTX_WARP_LANEID,
	PTX_WARP_LANEMASK_EQ,
	PTX_WARP_LANEMASK_LT,
	PTX_WARP_LANEMASK_LE,
	PTX_WARP_LANEMASK_GT,
	PTX_WARP_LANEMASK_GE,
	PTX_WARP_WARPID,
	PTX_WARP_SPECIALS,
};
enum ptx_block_special {
	PTX_BLOCK_NTID_X,
	PTX_BLOCK_NTID_Y,
	PTX_BLOCK_NTID_Z,
	PTX_BLOCK_CTAID_X,
	PTX_BLOCK_CTAID_Y,
	PTX_BLOCK_CTAID_Z,
	PTX_BLOCK_NCTAID_X,
	PTX_BLOCK_NCTAID_Y,
	PTX_BLOCK_NCTAID_Z,
	PTX_BLOCK_NWARPID,
	PTX_BLOCK_SMID,
	PTX_BLOCK_NSMID,
	PTX_BLOCK_GRIDID,
	PTX_BLOCK_DYNAMIC_SHARED_BYTES,
	PTX_BLOCK_TOTAL_SHARED_BYTES,
	PTX_BLOCK_DYNAMIC_SHARED_OFFSET, /* where .extern .shared begins */
	PTX_BLOCK_ENVREG1,		 /* upper and lower half of the grid barrier's address */
	PTX_BLOCK_ENVREG2,
	PTX_BLOCK_ONE,
	PTX_BLOCK_ZERO,
	PTX_BLOCK_SPECIALS,
};

enum ptx_group_state {
	PTX_GROUP_FREE,
	PTX_GROUP_READY,   /* at is where it goes on */
	PTX_GROUP_RUNNING, /* its state is in the warp */
	PTX_GROUP_BARRIER, /* waits for the block's barrier `barrier`; at is behind it */
	PTX_GROUP_WARP,	   /* waits at `at` for the lanes in wait_mask */
	PTX_GROUP_FORCED,  /* ready, and must not wait at `at` again */
};

struct ptx_frame {
	struct ptx_frame *parent;
	const struct ptx_code *return_at;
	uint8_t *registers;
	uint32_t local_offset; /* where its .local variables begin */
	uint32_t depth;
};

/* Lanes of a warp that go together: where they are, and whom they wait for. */
struct ptx_group {
	enum ptx_group_state state;
	uint32_t mask;
	uint32_t wait_mask;
	uint16_t join;
	uint8_t barrier;
	const struct ptx_code *at;
	struct ptx_frame *frame;
};

struct ptx_join {
	const struct ptx_code *at; /* NULL: free */
	struct ptx_frame *frame;
	uint32_t expected;
	uint32_t arrived;
	uint16_t parent;
};

struct ptx_warp {
	uint8_t *bases[4];   /* by enum ptx_base */
	uint32_t mask;	     /* lanes of the running group */
	uint32_t live;	     /* lanes that exist and have not exited */
	uint32_t saved_mask; /* of a guard */
	uint32_t gathered;   /* see ptx_warp_gather */
	uint32_t turns;	     /* of groups since the warp was last entered */
	uint32_t carry;	     /* CC.CF, a bit per lane */
	unsigned int saved_rounding;
	int budget;
	unsigned int spins; /* see joins_part */
	uint16_t join;	    /* of the running group */
	uint16_t running;
	uint32_t used; /* groups that are not free */
	bool forced;   /* the running group must not wait for other lanes */
	bool ended;
	bool ready; /* worth running */
	struct ptx_frame *frame;
	struct ptx_block *block;
	/* A copy of struct ptx_memory's view, near at hand. */
	const uint8_t *valid_pages;
	uint64_t memory_base;
	uint64_t memory_pages;
	unsigned int page_shift;
	unsigned int index; /* in the block */
	uint8_t *local;	    /* lane 0's local memory */
	uint64_t lane_operations;
	struct ptx_frame root;
	struct ptx_frame *free_frames;
	struct ptx_frame_chunk *frame_chunks;
	struct ptx_group groups[PTX_GROUPS_MAX];
	struct ptx_join joins[PTX_JOINS_MAX];
};

struct ptx_barrier {
	uint32_t arrived;
	uint32_t expected; /* threads; 0: all that live */
	uint32_t sum;	   /* bar.red under way */
	uint32_t all;
	uint32_t any;
	uint32_t result[3]; /* popc, and, or of the last phase */
};

struct ptx_block {
	struct ptx_run *run;
	uint8_t *shared;
	uint32_t shared_bytes;
	uint32_t local_bytes;  /* of one thread */
	uint32_t local_stride; /* from one thread's to the next's */
	uint32_t live_threads;
	unsigned int warp_count;
	unsigned int index[3];
	struct ptx_warp *warps;
	uint8_t *specials;
	uint8_t *warp_specials;
	uint8_t *registers;
	uint8_t *local;
	bool forced_once;
	struct ptx_barrier barriers[PTX_BARRIERS];
};

struct ptx_kernel {
	struct ptx_kernel_facts facts;
	struct ptx_module *module;
	char *name;
	size_t *parameter_offsets;
	size_t *parameter_sizes;
	const struct ptx_code *code;
	uint32_t frame_bytes;
	uint32_t register_bytes; /* of all frames of a warp */
	uint32_t outgoing_bytes; /* behind the last frame: what it may write for a callee */
	uint32_t local_bytes;	 /* of one thread, all frames */
};

/* A function that a call may reach. */
struct ptx_callable {
	const struct ptx_code *code;
	uint32_t frame_bytes;
	uint32_t local_bytes;
	uint32_t parameter_units; /* 4-byte units at the start of the frame */
	uint32_t result_units;	  /* behind the parameters */
};

/* A global variable, for those who look it up by name. */
struct ptx_module_variable {
	char *name;
	uint64_t address;
	size_t bytes;
};

#define PTX_HEAP_BYTES ((uint64_t)8 << 20)

struct ptx_heap {
	pthread_mutex_t lock; /* guards all of it */
	uint64_t address;     /* 0: not opened yet */
	uint32_t *lengths;
	uint32_t next;
};

struct ptx_module {
	struct ptx_memory memory;
	uint64_t data; /* of all .global and .const variables; 0: none */
	struct ptx_kernel *kernels;
	size_t kernel_count;
	struct ptx_module_variable *variables;
	size_t variable_count;
	struct ptx_callable *callables;
	size_t callable_count;
	struct ptx_code *code;
	size_t code_count;
	uint8_t *constants;
	size_t constant_bytes;
	struct ptx_heap heap;
};

/* One launch, shared by the threads that run its blocks. */
struct ptx_run {
	const struct ptx_kernel *kernel;
	struct ptx_launch *launch;
	uint8_t *parameters;
	uint32_t parameter_bytes;
	unsigned int block_threads;
	unsigned int warp_count;
	uint32_t shared_bytes;
	uint32_t dynamic_shared_offset;
	uint64_t block_total;
	uint64_t grid_barrier; /* device address, cooperative launches only */
	uint32_t grid_id;
	_Atomic uint64_t next_block;
	_Atomic uint64_t lane_operations;
	_Atomic int stopping;
	_Atomic int no_memory;
	pthread_mutex_t lock; /* guards launch->fault* and launch->print */
};

/* An operand's 32 lanes, to read and to write; the first of a set of lanes. */
static inline const void *ptx_source(const struct ptx_warp *warp, uint32_t operand)
{
	return warp->bases[operand & 3] + (operand & ~3u);
}

/* ptx_target - where a result's 32 lanes go */
static inline void *ptx_target(const struct ptx_warp *warp, uint32_t operand)
{
	return warp->bases[PTX_BASE_FRAME] + operand;
}

/* ptx_first_lane - the lowest lane of @mask, which is not 0 */
static inline uint32_t ptx_first_lane(uint32_t mask)
{
	return (uint32_t)__builtin_ctz(mask);
}

/* ---- ptx_control.c ---- */

/* ptx_fault - note the launch's first fault; always NULL, for handlers to return */
const struct ptx_code *ptx_fault(struct ptx_warp *warp, const struct ptx_code *code,
				 enum ptx_fault fault, uint64_t address, uint32_t lane);
/* ptx_diverge - go on with the lanes in @taken at @target, with the others at @code + 1 */
const struct ptx_code *ptx_diverge(struct ptx_warp *warp, const struct ptx_code *code,
				   uint32_t taken, const struct ptx_code *target);
/* ptx_poll - the budget is used up: look for a stop, let others run; go on at @next */
const struct ptx_code *ptx_poll(struct ptx_warp *warp, const struct ptx_code *code,
				const struct ptx_code *next);
/* ptx_warp_start - one group at the kernel's first instruction */
void ptx_warp_start(struct ptx_warp *warp, const struct ptx_code *code, uint32_t lanes);
/* ptx_warp_run - until it ends or can do nothing */
void ptx_warp_run(struct ptx_warp *warp);
/* ptx_warp_force - let groups go on that wait for lanes which cannot come; false: there is none */
bool ptx_warp_force(struct ptx_warp *warp);
void ptx_warp_clean(struct ptx_warp *warp);
/*
 * ptx_warp_gather - have all lanes in @needed at this instruction before it acts
 * @same_code: they must be at @code itself, not at any instruction that waits like this
 *
 * Return: true: act now, with warp->mask, then set the mask back to warp->gathered; the groups
 * that had waited go on behind it. False: return *next.
 */
bool ptx_warp_gather(struct ptx_warp *warp, const struct ptx_code *code, uint32_t needed,
		     bool same_code, const struct ptx_code **next);

/* ptx_branch - take @target with the lanes in @taken */
static inline const struct ptx_code *ptx_branch(struct ptx_warp *warp, const struct ptx_code *code,
						uint32_t taken)
{
	taken &= warp->mask;
	if (taken == warp->mask) {
		if (code->target <= code && --warp->budget <= 0)
			return ptx_poll(warp, code, code->target);
		return code->target;
	}
	if (!taken)
		return code + 1;
	return ptx_diverge(warp, code, taken, code->target);
}

/* ---- tables of handlers ---- */

/* Handlers by name, as the selecting code asks for them. */
struct ptx_handler_entry {
	const char *name;
	ptx_handler run;
};
struct ptx_handler_table {
	const struct ptx_handler_entry *entries;
	size_t count;
};
/* ptx_handler_find - by name, in the variant this processor can run best; NULL: there is none */
ptx_handler ptx_handler_find(const char *name);
/* ptx_handler_variant - "avx512", "avx2" or "plain" */
const char *ptx_handler_variant(void);

/* Tables of the files that are compiled once, for every variant. */
extern const struct ptx_handler_table ptx_control_table;
extern const struct ptx_handler_table ptx_warp_table;
extern const struct ptx_handler_table ptx_system_table;
extern const struct ptx_handler_table ptx_printf_table;

/* ptx_aligned_alloc - memory on a cache line's boundary, as aligned_alloc() wants to be asked */
static inline void *ptx_aligned_alloc(size_t bytes)
{
	return aligned_alloc(64, (bytes + 63) & ~(size_t)63);
}

/* ---- ptx_memory.c ---- */

/*
 * ptx_host_pointer - where lane @lane's generic address lies; NULL: it may not be touched
 * @writes: non-zero where it will be written; parameters are read-only
 */
void *ptx_host_pointer(struct ptx_warp *warp, uint64_t address, uint64_t bytes, uint32_t lane,
		       uint32_t writes);

/* Begin and end a module's heap for malloc() in kernels; 0 or -errno. */
int ptx_heap_init(struct ptx_heap *heap);
void ptx_heap_free(struct ptx_heap *heap, const struct ptx_memory *memory);
/* ptx_heap_take - @bytes of the heap; 0 where there is no room */
uint64_t ptx_heap_take(struct ptx_heap *heap, const struct ptx_memory *memory, uint64_t bytes);
/* ptx_heap_give - false: @address is not the start of an allocation */
bool ptx_heap_give(struct ptx_heap *heap, uint64_t address);

#endif
