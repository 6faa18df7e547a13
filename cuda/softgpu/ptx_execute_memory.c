/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handlers of loads, stores and atomics.
 *
 * An access looks at 16 lanes at a time and finds the shape of their addresses: a run (lane i at
 * base + i * size) or all the same takes one bounds check and one vector move; anything else is
 * checked lane by lane. No access happens before all of its 16 lanes are checked.
 *
 * Spaces. Global and const: the address is the host's; its page must be marked valid by the owner
 * of device memory. Shared and param: an offset into the block's shared memory or the launch's
 * parameter block. Local: an offset into the lane's own stretch. Generic: by the address's window.
 *
 * Operands: 0 to 3 are values, 4 the address, immediate is added to the address.
 */
#include "cuda/softgpu/ptx_lanes.h"

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

#include "cuda/softgpu/ptx_half.h"

#define PART	  16u
#define PART_MASK 0xffffu

enum shape {
	SHAPE_FAULT,
	SHAPE_RUN,  /* offsets[0] + i * bytes */
	SHAPE_SAME, /* offsets[0] for all */
	SHAPE_EACH, /* offsets[i]; lanes that are not active point at spare bytes */
};

struct access {
	u8 *origin;
	u64 offsets[PART];
};

/* What lanes that take no part may read. */
static const u8 spare[64] __attribute__((aligned(64)));

static inline bool page_valid(const struct ptx_warp *warp, u64 address)
{
	u64 page = (address - warp->memory_base) >> warp->page_shift;

	return page < warp->memory_pages && warp->valid_pages[page];
}

/* Ranges here are at most 256 bytes, less than a page: their ends tell. */
static inline bool range_valid(const struct ptx_warp *warp, u64 address, u32 bytes)
{
	return page_valid(warp, address) && page_valid(warp, address + bytes - 1);
}

/* ---- shapes of sixteen addresses ---- */

#define ALWAYS	  static inline __attribute__((always_inline))
#define OUTOFLINE static __attribute__((noinline))

/* is_line_32, is_line_64 - sixteen addresses at base, base + step, ... */
ALWAYS bool is_line_32(const u32 *addresses, u32 step)
{
#ifdef __AVX512F__
	const __m512i lanes =
		_mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
	const __m512i base = _mm512_set1_epi32((s32)addresses[0]);
	/* Steps are powers of two or zero: the product is a shift and a mask. */
	const __m512i steps = _mm512_maskz_sllv_epi32(
		step ? 0xffff : 0, lanes, _mm512_set1_epi32(step ? __builtin_ctz(step) : 0));

	return !_mm512_cmpneq_epi32_mask(_mm512_loadu_si512(addresses),
					 _mm512_add_epi32(base, steps));
#else
	u32 differ = 0;

	for (u32 i = 0; i < PART; i++)
		differ |= addresses[i] ^ (addresses[0] + i * step);
	return !differ;
#endif
}

ALWAYS bool is_line_64(const u64 *addresses, u32 step)
{
#ifdef __AVX512F__
	const __m512i lanes = _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0);
	const __m512i base = _mm512_set1_epi64((s64)addresses[0]);
	const __m512i steps = _mm512_maskz_sllv_epi64(
		step ? 0xff : 0, lanes, _mm512_set1_epi64(step ? __builtin_ctz(step) : 0));
	const __m512i first = _mm512_add_epi64(base, steps);
	const __m512i second = _mm512_add_epi64(first, _mm512_set1_epi64(8 * (s64)step));

	return !(_mm512_cmpneq_epi64_mask(_mm512_loadu_si512(addresses), first) |
		 _mm512_cmpneq_epi64_mask(_mm512_loadu_si512(addresses + 8), second));
#else
	u64 differ = 0;

	for (u32 i = 0; i < PART; i++)
		differ |= addresses[i] ^ (addresses[0] + i * step);
	return !differ;
#endif
}

static enum shape access_fault(struct ptx_warp *warp, const struct ptx_code *code,
			       enum ptx_fault fault, u64 address, u32 lane)
{
	ptx_fault(warp, code, fault, address, lane);
	return SHAPE_FAULT;
}

/* ---- one function per space: check and find the shape ---- */

static inline enum shape shape_global(struct ptx_warp *warp, const struct ptx_code *code, u32 first,
				      u32 part, u32 bytes, u32 align, struct access *access)
{
	const u64 *addresses = (const u64 *)ptx_source(warp, code->r[4]) + first;
	const u64 base = addresses[0] + code->immediate;

	access->origin = NULL;
	if (part == PART_MASK && !(base & (align - 1))) {
		access->offsets[0] = base;
		if (is_line_64(addresses, bytes) && range_valid(warp, base, PART * bytes))
			return SHAPE_RUN;
		if (is_line_64(addresses, 0) && range_valid(warp, base, bytes))
			return SHAPE_SAME;
	}
	for (u32 i = 0; i < PART; i++) {
		u64 address = addresses[i] + code->immediate;

		if (!(part & (1u << i))) {
			access->offsets[i] = (u64)(uintptr_t)spare;
			continue;
		}
		if (__builtin_expect(address & (align - 1), 0))
			return access_fault(warp, code, PTX_FAULT_MISALIGNED_ADDRESS, address,
					    first + i);
		if (__builtin_expect(!page_valid(warp, address), 0))
			return access_fault(warp, code, PTX_FAULT_ILLEGAL_ADDRESS, address,
					    first + i);
		access->offsets[i] = address;
	}
	return SHAPE_EACH;
}
#define shape_const shape_global

/* shape_window - 32-bit offsets into [origin, origin + limit) */
static inline enum shape shape_window(struct ptx_warp *warp, const struct ptx_code *code, u32 first,
				      u32 part, u32 bytes, u32 align, u8 *origin, u64 limit,
				      struct access *access)
{
	const u32 *addresses = (const u32 *)ptx_source(warp, code->r[4]) + first;
	const u32 offset = (u32)code->immediate;
	const u32 base = addresses[0] + offset;
	u32 bad = 0;

	access->origin = origin;
	if (part == PART_MASK && !(base & (align - 1))) {
		access->offsets[0] = base;
		if (is_line_32(addresses, bytes) && (u64)base + PART * bytes <= limit)
			return SHAPE_RUN;
		if (is_line_32(addresses, 0) && (u64)base + bytes <= limit)
			return SHAPE_SAME;
	}
	for (u32 i = 0; i < PART; i++) {
		u32 address = addresses[i] + offset;
		u32 wrong = (address & (align - 1)) | ((u64)address + bytes > limit);

		bad |= (part & lane_bits[i]) ? wrong : 0;
		access->offsets[i] = address;
	}
	if (__builtin_expect(bad != 0, 0)) {
		for (u32 i = 0; i < PART; i++) {
			u32 address = addresses[i] + offset;

			if (!(part & lane_bits[i]))
				continue;
			if (address & (align - 1))
				return access_fault(warp, code, PTX_FAULT_MISALIGNED_ADDRESS,
						    address, first + i);
			if ((u64)address + bytes > limit)
				return access_fault(warp, code, PTX_FAULT_ILLEGAL_ADDRESS, address,
						    first + i);
		}
	}
	if (part != PART_MASK)
		for (u32 i = 0; i < PART; i++)
			if (!(part & (1u << i)))
				access->offsets[i] = (u64)(spare - origin);
	return SHAPE_EACH;
}

static inline enum shape shape_shared(struct ptx_warp *warp, const struct ptx_code *code, u32 first,
				      u32 part, u32 bytes, u32 align, struct access *access)
{
	struct ptx_block *block = warp->block;

	return shape_window(warp, code, first, part, bytes, align, block->shared,
			    block->shared_bytes, access);
}

static inline enum shape shape_param(struct ptx_warp *warp, const struct ptx_code *code, u32 first,
				     u32 part, u32 bytes, u32 align, struct access *access)
{
	struct ptx_run *run = warp->block->run;

	return shape_window(warp, code, first, part, bytes, align, run->parameters,
			    run->parameter_bytes, access);
}

static inline enum shape shape_local(struct ptx_warp *warp, const struct ptx_code *code, u32 first,
				     u32 part, u32 bytes, u32 align, struct access *access)
{
	const u64 *addresses = (const u64 *)ptx_source(warp, code->r[4]) + first;
	const u64 limit = warp->block->local_bytes;
	const u64 stride = warp->block->local_stride;

	access->origin = warp->local + first * stride;
	for (u32 i = 0; i < PART; i++) {
		u64 address = addresses[i] + code->immediate;

		if (!(part & (1u << i))) {
			access->offsets[i] = (u64)(spare - access->origin);
			continue;
		}
		if (address & (align - 1))
			return access_fault(warp, code, PTX_FAULT_MISALIGNED_ADDRESS, address,
					    first + i);
		if (address >= limit || limit - address < bytes)
			return access_fault(warp, code, PTX_FAULT_ILLEGAL_ADDRESS, address,
					    first + i);
		access->offsets[i] = i * stride + address;
	}
	return SHAPE_EACH;
}

static enum shape shape_mixed(struct ptx_warp *warp, const struct ptx_code *code, u32 first,
			      u32 part, u32 bytes, u32 align, struct access *access)
{
	const u64 *addresses = (const u64 *)ptx_source(warp, code->r[4]) + first;

	access->origin = NULL;
	for (u32 i = 0; i < PART; i++) {
		u64 address = addresses[i] + code->immediate;
		void *pointer;

		if (!(part & (1u << i))) {
			access->offsets[i] = (u64)(uintptr_t)spare;
			continue;
		}
		if (address & (align - 1))
			return access_fault(warp, code, PTX_FAULT_MISALIGNED_ADDRESS, address,
					    first + i);
		pointer = ptx_host_pointer(warp, address, bytes, first + i, code->detail);
		if (!pointer)
			return access_fault(warp, code, PTX_FAULT_ILLEGAL_ADDRESS, address,
					    first + i);
		access->offsets[i] = (u64)(uintptr_t)pointer;
	}
	return SHAPE_EACH;
}

static inline enum shape shape_generic(struct ptx_warp *warp, const struct ptx_code *code,
				       u32 first, u32 part, u32 bytes, u32 align,
				       struct access *access)
{
	const u64 *addresses = (const u64 *)ptx_source(warp, code->r[4]) + first;
	u64 high = 0;

	for (u32 i = 0; i < PART; i++)
		high |= addresses[i] + code->immediate;
	if (high < PTX_HOST_ADDRESS_END)
		return shape_global(warp, code, first, part, bytes, align, access);
	return shape_mixed(warp, code, first, part, bytes, align, access);
}

/*
 * ---- the quick way ----
 * All 32 lanes are active and each half of them is a run or all the same: two checks, two moves.
 * Everything else goes through the shapes above, out of line.
 */
struct quick {
	u8 *at[2];
	bool same[2];
};

ALWAYS bool quick_window(const struct ptx_warp *warp, const struct ptx_code *code, u32 bytes,
			 u8 *origin, u64 limit, struct quick *quick)
{
	const u32 *addresses = ptx_source(warp, code->r[4]);

	if (warp->mask != ~0u)
		return false;
	for (u32 half = 0; half < 2; half++) {
		const u32 *line = addresses + half * PART;
		const u32 base = line[0] + (u32)code->immediate;
		const bool same = line[0] == line[1];
		const u32 reach = same ? bytes : PART * bytes;

		if ((base & (bytes - 1)) || (u64)base + reach > limit ||
		    !is_line_32(line, same ? 0 : bytes))
			return false;
		quick->at[half] = origin + base;
		quick->same[half] = same;
	}
	return true;
}

ALWAYS bool quick_shared(const struct ptx_warp *warp, const struct ptx_code *code, u32 bytes,
			 struct quick *quick)
{
	return quick_window(warp, code, bytes, warp->block->shared, warp->block->shared_bytes,
			    quick);
}

ALWAYS bool quick_param(const struct ptx_warp *warp, const struct ptx_code *code, u32 bytes,
			struct quick *quick)
{
	const struct ptx_run *run = warp->block->run;

	return quick_window(warp, code, bytes, run->parameters, run->parameter_bytes, quick);
}

ALWAYS bool quick_global(const struct ptx_warp *warp, const struct ptx_code *code, u32 bytes,
			 struct quick *quick)
{
	const u64 *addresses = ptx_source(warp, code->r[4]);

	if (warp->mask != ~0u)
		return false;
	for (u32 half = 0; half < 2; half++) {
		const u64 *line = addresses + half * PART;
		const u64 base = line[0] + code->immediate;
		const bool same = line[0] == line[1];

		if ((base & (bytes - 1)) || !is_line_64(line, same ? 0 : bytes) ||
		    !range_valid(warp, base, same ? bytes : PART * bytes))
			return false;
		quick->at[half] = (u8 *)(uintptr_t)base;
		quick->same[half] = same;
	}
	return true;
}
/* A generic address that is valid as a global one is one. */
#define quick_generic quick_global

ALWAYS bool quick_local(const struct ptx_warp *warp, const struct ptx_code *code, u32 bytes,
			struct quick *quick)
{
	(void)warp, (void)code, (void)bytes, (void)quick;
	return false;
}

/* ---- loads ---- */

/* read_part - d[e][i] from element e of lane i */
#define READ_PART(M, L, n, value)                                                                  \
	do {                                                                                       \
		if (part == PART_MASK) {                                                           \
			PTX_INDEPENDENT for (u32 i = 0; i < PART; i++) for (u32 e = 0; e < n; e++) \
				d[e][first + i] = (L)(value);                                      \
		} else {                                                                           \
			for (u32 i = 0; i < PART; i++)                                             \
				if (part & (1u << i))                                              \
					for (u32 e = 0; e < n; e++)                                \
						d[e][first + i] = (L)(value);                      \
		}                                                                                  \
	} while (0)

#define DEFINE_LOAD(name, space, M, L, n)                                                        \
	OUTOFLINE const struct ptx_code *slow_##name(struct ptx_warp *warp,                      \
						     const struct ptx_code *code)                \
	{                                                                                        \
		const u32 bytes = n * sizeof(M);                                                 \
		L *d[n];                                                                         \
		for (u32 e = 0; e < n; e++)                                                      \
			d[e] = ptx_target(warp, code->r[e]);                                     \
		for (u32 first = 0; first < PTX_LANES; first += PART) {                          \
			const u32 part = (warp->mask >> first) & PART_MASK;                      \
			struct access access;                                                    \
			const M *p;                                                              \
			if (!part)                                                               \
				continue;                                                        \
			switch (shape_##space(warp, code, first, part, bytes, bytes, &access)) { \
			case SHAPE_FAULT:                                                        \
				return NULL;                                                     \
			case SHAPE_RUN:                                                          \
				p = (const M *)(access.origin + access.offsets[0]);              \
				READ_PART(M, L, n, p[i * n + e]);                                \
				break;                                                           \
			case SHAPE_SAME:                                                         \
				p = (const M *)(access.origin + access.offsets[0]);              \
				READ_PART(M, L, n, p[e]);                                        \
				break;                                                           \
			case SHAPE_EACH:                                                         \
				READ_PART(M, L, n,                                               \
					  ((const M *)(access.origin + access.offsets[i]))[e]);  \
				break;                                                           \
			}                                                                        \
		}                                                                                \
		return code + 1;                                                                 \
	}                                                                                        \
	HANDLER(name)                                                                            \
	{                                                                                        \
		struct quick quick;                                                              \
		if (!quick_##space(warp, code, n * sizeof(M), &quick))                           \
			return slow_##name(warp, code);                                          \
		for (u32 half = 0; half < 2; half++) {                                           \
			const M *p = (const M *)quick.at[half];                                  \
			for (u32 e = 0; e < n; e++) {                                            \
				L *d = (L *)ptx_target(warp, code->r[e]) + half * PART;          \
				if (quick.same[half])                                            \
					PTX_INDEPENDENT for (u32 i = 0; i < PART; i++) d[i] =    \
						(L)p[e];                                         \
				else                                                             \
					PTX_INDEPENDENT for (u32 i = 0; i < PART; i++) d[i] =    \
						(L)p[i * n + e];                                 \
			}                                                                        \
		}                                                                                \
		return code + 1;                                                                 \
	}

/* ---- stores: lanes in order, so that the last of several to one place wins ---- */

#define DEFINE_STORE(name, space, M, L, n)                                                       \
	OUTOFLINE const struct ptx_code *slow_##name(struct ptx_warp *warp,                      \
						     const struct ptx_code *code)                \
	{                                                                                        \
		const u32 bytes = n * sizeof(M);                                                 \
		const L *s[n];                                                                   \
		for (u32 e = 0; e < n; e++)                                                      \
			s[e] = ptx_source(warp, code->r[e]);                                     \
		for (u32 first = 0; first < PTX_LANES; first += PART) {                          \
			const u32 part = (warp->mask >> first) & PART_MASK;                      \
			struct access access;                                                    \
			M *p;                                                                    \
			if (!part)                                                               \
				continue;                                                        \
			switch (shape_##space(warp, code, first, part, bytes, bytes, &access)) { \
			case SHAPE_FAULT:                                                        \
				return NULL;                                                     \
			case SHAPE_RUN:                                                          \
				p = (M *)(access.origin + access.offsets[0]);                    \
				PTX_INDEPENDENT for (u32 i = 0; i < PART; i++) for (u32 e = 0;   \
										    e < n; e++)  \
					p[i * n + e] = (M)s[e][first + i];                       \
				break;                                                           \
			case SHAPE_SAME:                                                         \
				p = (M *)(access.origin + access.offsets[0]);                    \
				for (u32 e = 0; e < n; e++)                                      \
					p[e] = (M)s[e][first + PART - 1];                        \
				break;                                                           \
			case SHAPE_EACH:                                                         \
				for (u32 left = part; left; left &= left - 1) {                  \
					u32 i = ptx_first_lane(left);                            \
					p = (M *)(access.origin + access.offsets[i]);            \
					for (u32 e = 0; e < n; e++)                              \
						p[e] = (M)s[e][first + i];                       \
				}                                                                \
				break;                                                           \
			}                                                                        \
		}                                                                                \
		return code + 1;                                                                 \
	}                                                                                        \
	HANDLER(name)                                                                            \
	{                                                                                        \
		struct quick quick;                                                              \
		if (!quick_##space(warp, code, n * sizeof(M), &quick) || quick.same[0] ||        \
		    quick.same[1])                                                               \
			return slow_##name(warp, code);                                          \
		for (u32 half = 0; half < 2; half++) {                                           \
			M *p = (M *)quick.at[half];                                              \
			for (u32 e = 0; e < n; e++) {                                            \
				const L *v =                                                     \
					(const L *)ptx_source(warp, code->r[e]) + half * PART;   \
				PTX_INDEPENDENT for (u32 i = 0; i < PART; i++) p[i * n + e] =    \
					(M)v[i];                                                 \
			}                                                                        \
		}                                                                                \
		return code + 1;                                                                 \
	}

#define LOAD_SPACE(X, space)                       \
	X(ld_##space##_u8, space, u8, u32, 1)      \
	X(ld_##space##_s8, space, s8, u32, 1)      \
	X(ld_##space##_u16, space, u16, u32, 1)    \
	X(ld_##space##_s16, space, s16, u32, 1)    \
	X(ld_##space##_b32, space, u32, u32, 1)    \
	X(ld_##space##_b64, space, u64, u64, 1)    \
	X(ld_##space##_u8_v2, space, u8, u32, 2)   \
	X(ld_##space##_s8_v2, space, s8, u32, 2)   \
	X(ld_##space##_u16_v2, space, u16, u32, 2) \
	X(ld_##space##_s16_v2, space, s16, u32, 2) \
	X(ld_##space##_b32_v2, space, u32, u32, 2) \
	X(ld_##space##_b64_v2, space, u64, u64, 2) \
	X(ld_##space##_u8_v4, space, u8, u32, 4)   \
	X(ld_##space##_s8_v4, space, s8, u32, 4)   \
	X(ld_##space##_u16_v4, space, u16, u32, 4) \
	X(ld_##space##_s16_v4, space, s16, u32, 4) \
	X(ld_##space##_b32_v4, space, u32, u32, 4)
#define STORE_SPACE(X, space)                      \
	X(st_##space##_b8, space, u8, u32, 1)      \
	X(st_##space##_b16, space, u16, u32, 1)    \
	X(st_##space##_b32, space, u32, u32, 1)    \
	X(st_##space##_b64, space, u64, u64, 1)    \
	X(st_##space##_b8_v2, space, u8, u32, 2)   \
	X(st_##space##_b16_v2, space, u16, u32, 2) \
	X(st_##space##_b32_v2, space, u32, u32, 2) \
	X(st_##space##_b64_v2, space, u64, u64, 2) \
	X(st_##space##_b8_v4, space, u8, u32, 4)   \
	X(st_##space##_b16_v4, space, u16, u32, 4) \
	X(st_##space##_b32_v4, space, u32, u32, 4)

#define LOADS(X)               \
	LOAD_SPACE(X, global)  \
	LOAD_SPACE(X, shared)  \
	LOAD_SPACE(X, local)   \
	LOAD_SPACE(X, generic) \
	LOAD_SPACE(X, param)
#define STORES(X)              \
	STORE_SPACE(X, global) \
	STORE_SPACE(X, shared) \
	STORE_SPACE(X, local)  \
	STORE_SPACE(X, generic)

LOADS(DEFINE_LOAD)
STORES(DEFINE_STORE)

/*
 * ---- atomics ----
 * X(name, M, L, expression): the new value from old, b and c. Shared memory belongs to the one
 * host thread that runs the block; elsewhere a compare-and-exchange makes the step atomic.
 * Operands: 0 the old value, 1 and 2 what b and c are, 4 the address.
 */
static inline f32 as_f32(u32 bits)
{
	return half_value(bits);
}

static inline u32 add_f32(u32 a, u32 b)
{
	f32 sum = as_f32(a) + as_f32(b);

	return sum != sum ? 0x7fffffff : half_bits(sum);
}

static inline u64 add_f64(u64 a, u64 b)
{
	f64 x, y;

	memcpy(&x, &a, sizeof(x));
	memcpy(&y, &b, sizeof(y));
	x += y;
	memcpy(&a, &x, sizeof(x));
	return a;
}

static inline u16 add_f16(u32 a, u32 b)
{
	return half_narrow(half_widen((u16)a) + half_widen((u16)b));
}

static inline u16 add_bf16(u32 a, u32 b)
{
	return bhalf_narrow(bhalf_widen((u16)a) + bhalf_widen((u16)b));
}

#define ATOMIC_ROWS(X, space)                                                   \
	X(atom_##space##_add_u32, space, u32, u32, old + b)                     \
	X(atom_##space##_add_u64, space, u64, u64, old + b)                     \
	X(atom_##space##_add_f32, space, u32, u32, add_f32(old, b))             \
	X(atom_##space##_add_f64, space, u64, u64, add_f64(old, b))             \
	X(atom_##space##_add_f16, space, u16, u32, add_f16(old, b))             \
	X(atom_##space##_add_bf16, space, u16, u32, add_bf16(old, b))           \
	X(atom_##space##_add_f16x2, space, u32, u32,                            \
	  add_f16(old, b) | (u32)add_f16(old >> 16, b >> 16) << 16)             \
	X(atom_##space##_add_bf16x2, space, u32, u32,                           \
	  add_bf16(old, b) | (u32)add_bf16(old >> 16, b >> 16) << 16)           \
	X(atom_##space##_and_b32, space, u32, u32, old &b)                      \
	X(atom_##space##_and_b64, space, u64, u64, old &b)                      \
	X(atom_##space##_or_b32, space, u32, u32, old | b)                      \
	X(atom_##space##_or_b64, space, u64, u64, old | b)                      \
	X(atom_##space##_xor_b32, space, u32, u32, old ^ b)                     \
	X(atom_##space##_xor_b64, space, u64, u64, old ^ b)                     \
	X(atom_##space##_exch_b32, space, u32, u32, b)                          \
	X(atom_##space##_exch_b64, space, u64, u64, b)                          \
	X(atom_##space##_cas_b16, space, u16, u32, old == (u16)b ? c : old)     \
	X(atom_##space##_cas_b32, space, u32, u32, old == b ? c : old)          \
	X(atom_##space##_cas_b64, space, u64, u64, old == b ? c : old)          \
	X(atom_##space##_min_u32, space, u32, u32, old < b ? old : b)           \
	X(atom_##space##_max_u32, space, u32, u32, old > b ? old : b)           \
	X(atom_##space##_min_s32, space, u32, u32, (s32)old < (s32)b ? old : b) \
	X(atom_##space##_max_s32, space, u32, u32, (s32)old > (s32)b ? old : b) \
	X(atom_##space##_min_u64, space, u64, u64, old < b ? old : b)           \
	X(atom_##space##_max_u64, space, u64, u64, old > b ? old : b)           \
	X(atom_##space##_min_s64, space, u64, u64, (s64)old < (s64)b ? old : b) \
	X(atom_##space##_max_s64, space, u64, u64, (s64)old > (s64)b ? old : b) \
	X(atom_##space##_inc_u32, space, u32, u32, old >= b ? 0 : old + 1)      \
	X(atom_##space##_dec_u32, space, u32, u32, old == 0 || old > b ? b : old - 1)

#define ALONE_shared  true
#define ALONE_global  false
#define ALONE_generic false

#define DEFINE_ATOMIC(name, space, M, L, expression)                                           \
	HANDLER(name)                                                                          \
	{                                                                                      \
		L *d = ptx_target(warp, code->r[0]);                                           \
		const L *pb = ptx_source(warp, code->r[1]);                                    \
		const L *pc = ptx_source(warp, code->r[2]);                                    \
		for (u32 first = 0; first < PTX_LANES; first += PART) {                        \
			const u32 part = (warp->mask >> first) & PART_MASK;                    \
			struct access access;                                                  \
			enum shape shape;                                                      \
			if (!part)                                                             \
				continue;                                                      \
			shape = shape_##space(warp, code, first, part, sizeof(M), sizeof(M),   \
					      &access);                                        \
			if (shape == SHAPE_FAULT)                                              \
				return NULL;                                                   \
			for (u32 left = part; left; left &= left - 1) {                        \
				const u32 i = ptx_first_lane(left);                            \
				const u64 offset =                                             \
					shape == SHAPE_EACH                                    \
						? access.offsets[i]                            \
						: access.offsets[0] + (shape == SHAPE_RUN      \
									       ? i * sizeof(M) \
									       : 0);           \
				M *p = (M *)(access.origin + offset);                          \
				const L b = pb[first + i], c = pc[first + i];                  \
				M old, next;                                                   \
				(void)b;                                                       \
				(void)c;                                                       \
				if (ALONE_##space) {                                           \
					old = *p;                                              \
					*p = (M)(expression);                                  \
				} else {                                                       \
					old = __atomic_load_n(p, __ATOMIC_RELAXED);            \
					do {                                                   \
						next = (M)(expression);                        \
					} while (!__atomic_compare_exchange_n(                 \
						p, &old, next, false, __ATOMIC_SEQ_CST,        \
						__ATOMIC_RELAXED));                            \
				}                                                              \
				d[first + i] = old;                                            \
			}                                                                      \
		}                                                                              \
		return code + 1;                                                               \
	}

#define ATOMICS(X)             \
	ATOMIC_ROWS(X, global) \
	ATOMIC_ROWS(X, shared) \
	ATOMIC_ROWS(X, generic)
ATOMICS(DEFINE_ATOMIC)

static const struct ptx_handler_entry entries[] = { LOADS(ENTRY) STORES(ENTRY) ATOMICS(ENTRY) };
const struct ptx_handler_table PTX_TABLE(ptx_memory_table) = {
	entries, sizeof(entries) / sizeof(entries[0])
};
