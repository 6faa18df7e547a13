/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shapes of handlers that work lane by lane, for the files that are compiled once for each
 * kind of processor (PTX_VARIANT names the kind).
 *
 * A row X(name, D, A, ..., expression) gives a handler's name, the types of its result and
 * operands, and the result in terms of a, b, c, e. Each shape turns its rows into functions with
 * two loops: one for a group that holds all living lanes, one that keeps the other lanes' values.
 * The compiler makes vector code of both.
 */
#ifndef CAUSEWAY_CUDA_SOFTGPU_PTX_LANES_H
#define CAUSEWAY_CUDA_SOFTGPU_PTX_LANES_H

#include <string.h>

#include "cuda/softgpu/ptx_code.h"

#define PTX_JOIN2(a, b) a##b
#define PTX_JOIN1(a, b) PTX_JOIN2(a, b)
#define PTX_TABLE(name) PTX_JOIN1(name##_, PTX_VARIANT)

#ifdef __clang__
#define PTX_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define PTX_INDEPENDENT _Pragma("GCC ivdep")
#endif
#define EACH_LANE PTX_INDEPENDENT for (unsigned int lane = 0; lane < PTX_LANES; lane++)

/* PTX's own names of types, from which macros make handlers' names. */
typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;
typedef float f32;
typedef double f64;
/* How a value of each type is stored in its lane. */
typedef u32 u8_lane;
typedef u32 s8_lane;
typedef u32 u16_lane;
typedef u32 s16_lane;
typedef u32 u32_lane;
typedef s32 s32_lane;
typedef f32 f32_lane;
typedef u64 u64_lane;
typedef s64 s64_lane;
typedef f64 f64_lane;

/* Each lane's bit, to make vectors of a mask. */
static const u32 lane_bits[PTX_LANES] __attribute__((aligned(64), unused)) = {
	1u << 0,  1u << 1,  1u << 2,  1u << 3,	1u << 4,  1u << 5,  1u << 6,  1u << 7,
	1u << 8,  1u << 9,  1u << 10, 1u << 11, 1u << 12, 1u << 13, 1u << 14, 1u << 15,
	1u << 16, 1u << 17, 1u << 18, 1u << 19, 1u << 20, 1u << 21, 1u << 22, 1u << 23,
	1u << 24, 1u << 25, 1u << 26, 1u << 27, 1u << 28, 1u << 29, 1u << 30, 1u << 31,
};

/* Whether all 32 lanes are active, so that nothing of the others must be kept. */
static inline bool lanes_full(const struct ptx_warp *warp)
{
	return warp->mask == warp->live;
}

#define HANDLER(name)                                                               \
	static const struct ptx_code *handle_##name(struct ptx_warp *restrict warp, \
						    const struct ptx_code *restrict code)
#define ENTRY(name, ...) { #name, handle_##name },

#define SOURCE(type, index) ((const type##_lane *)ptx_source(warp, code->r[index]))
#define TARGET(type, index) ((type##_lane *)ptx_target(warp, code->r[index]))

#define LANE_LOOPS(D, prepare, expression)                                            \
	do {                                                                          \
		if (lanes_full(warp)) {                                               \
			EACH_LANE                                                     \
			{                                                             \
				prepare;                                              \
				d[lane] = (D##_lane)(D)(expression);                  \
			}                                                             \
		} else {                                                              \
			const u32 mask = warp->mask;                                  \
			EACH_LANE                                                     \
			{                                                             \
				prepare;                                              \
				D##_lane value = (D##_lane)(D)(expression);           \
				d[lane] = (mask & lane_bits[lane]) ? value : d[lane]; \
			}                                                             \
		}                                                                     \
	} while (0)

#define DEFINE_UNARY(name, D, A, expression)                        \
	HANDLER(name)                                               \
	{                                                           \
		D##_lane *d = TARGET(D, 0);                         \
		const A##_lane *pa = SOURCE(A, 1);                  \
		LANE_LOOPS(D, const A a = (A)pa[lane], expression); \
		return code + 1;                                    \
	}

#define DEFINE_BINARY(name, D, A, B, expression)                                             \
	HANDLER(name)                                                                        \
	{                                                                                    \
		D##_lane *d = TARGET(D, 0);                                                  \
		const A##_lane *pa = SOURCE(A, 1);                                           \
		const B##_lane *pb = SOURCE(B, 2);                                           \
		LANE_LOOPS(D, const A a = (A)pa[lane]; const B b = (B)pb[lane], expression); \
		return code + 1;                                                             \
	}

#define DEFINE_TERNARY(name, D, A, B, C, expression)                            \
	HANDLER(name)                                                           \
	{                                                                       \
		D##_lane *d = TARGET(D, 0);                                     \
		const A##_lane *pa = SOURCE(A, 1);                              \
		const B##_lane *pb = SOURCE(B, 2);                              \
		const C##_lane *pc = SOURCE(C, 3);                              \
		LANE_LOOPS(D, const A a = (A)pa[lane]; const B b = (B)pb[lane]; \
			   const C c = (C)pc[lane], expression);                \
		return code + 1;                                                \
	}

#define DEFINE_QUATERNARY(name, D, A, B, C, E, expression)                                \
	HANDLER(name)                                                                     \
	{                                                                                 \
		D##_lane *d = TARGET(D, 0);                                               \
		const A##_lane *pa = SOURCE(A, 1);                                        \
		const B##_lane *pb = SOURCE(B, 2);                                        \
		const C##_lane *pc = SOURCE(C, 3);                                        \
		const E##_lane *pe = SOURCE(E, 4);                                        \
		LANE_LOOPS(D, const A a = (A)pa[lane]; const B b = (B)pb[lane];           \
			   const C c = (C)pc[lane]; const E e = (E)pe[lane], expression); \
		return code + 1;                                                          \
	}

/* X(name, A, expression): a predicate; and the same with the branch that follows in one step. */
#define DEFINE_COMPARE(name, A, expression)                                                        \
	static inline u32 compare_##name(const struct ptx_warp *warp, const struct ptx_code *code) \
	{                                                                                          \
		const A##_lane *pa = SOURCE(A, 1);                                                 \
		const A##_lane *pb = SOURCE(A, 2);                                                 \
		u32 result = 0;                                                                    \
		for (unsigned int lane = 0; lane < PTX_LANES; lane++) {                            \
			const A a = (A)pa[lane];                                                   \
			const A b = (A)pb[lane];                                                   \
			result |= (expression) ? lane_bits[lane] : 0;                              \
		}                                                                                  \
		return result;                                                                     \
	}                                                                                          \
	HANDLER(setp_##name)                                                                       \
	{                                                                                          \
		u32 *d = ptx_target(warp, code->r[0]);                                             \
		*d = (*d & ~warp->mask) | (compare_##name(warp, code) & warp->mask);               \
		return code + 1;                                                                   \
	}                                                                                          \
	HANDLER(branch_##name)                                                                     \
	{                                                                                          \
		u32 *d = ptx_target(warp, code->r[0]);                                             \
		u32 result = compare_##name(warp, code);                                           \
		*d = (*d & ~warp->mask) | (result & warp->mask);                                   \
		return ptx_branch(warp, code, result ^ code->detail);                              \
	}
#define ENTRY_COMPARE(name, ...) \
	{ "setp_" #name, handle_setp_##name }, { "branch_" #name, handle_branch_##name },

#endif
