/* SPDX-License-Identifier: Apache-2.0 */
/* Handlers of integer and bit instructions, moves, selections and integer comparisons. */
#include "cuda/softgpu/ptx_lanes.h"

typedef __int128 s128;
typedef unsigned __int128 u128;

/* Shift amounts are unsigned 32 bits and clamp at the width. */
#define SHIFT_LEFT(bits, a, b)	((b) < (bits) ? (a) << ((b) & ((bits)-1)) : 0)
#define SHIFT_RIGHT(bits, a, b) ((b) < (bits) ? (a) >> ((b) & ((bits)-1)) : 0)
#define SHIFT_SIGN(bits, a, b)	((a) >> ((b) < (bits) ? (b) : (bits)-1))

/* Division by zero gives all ones, as the device does; the most negative by -1 wraps. */
#define DIVIDE(type, a, b)    ((b) ? (type)((a) / (b)) : (type)-1)
#define REMAINDER(type, a, b) ((b) ? (type)((a) % (b)) : (a))
#define DIVIDE_SIGNED(type, unsigned_type, a, b) \
	((b) == 0 ? (type)-1 : (b) == -1 ? (type)(0 - (unsigned_type)(a)) : (type)((a) / (b)))
#define REMAINDER_SIGNED(type, a, b) ((b) == 0 ? (a) : (b) == -1 ? (type)0 : (type)((a) % (b)))

static inline u32 reverse_bits_32(u32 a)
{
	a = ((a >> 1) & 0x55555555u) | ((a & 0x55555555u) << 1);
	a = ((a >> 2) & 0x33333333u) | ((a & 0x33333333u) << 2);
	a = ((a >> 4) & 0x0f0f0f0fu) | ((a & 0x0f0f0f0fu) << 4);
	return __builtin_bswap32(a);
}

static inline u64 reverse_bits_64(u64 a)
{
	return (u64)reverse_bits_32((u32)a) << 32 | reverse_bits_32((u32)(a >> 32));
}

static inline u32 find_bit_u32(u32 a)
{
	return a ? 31u - (u32)__builtin_clz(a) : ~0u;
}

static inline u32 find_bit_u64(u64 a)
{
	return a ? 63u - (u32)__builtin_clzll(a) : ~0u;
}

/* bfe: position and length are the low bytes; a field past the end reads zeros or signs. */
static inline u64 extract_u(u64 a, u32 position, u32 length, u32 bits)
{
	position &= 255;
	length &= 255;
	if (!length || position >= bits)
		return 0;
	a >>= position;
	return length >= 64 ? a : a & (((u64)1 << length) - 1);
}

static inline u64 extract_s(u64 a, u32 position, u32 length, u32 bits)
{
	u32 last;
	u64 sign, field;

	position &= 255;
	length &= 255;
	if (!length)
		return 0;
	last = position + length - 1 < bits - 1 ? position + length - 1 : bits - 1;
	sign = (a >> last) & 1;
	field = extract_u(a, position, length, bits);
	if (sign && position >= bits)
		return ~(u64)0;
	length = last + 1 - position;
	if (sign && length < 64)
		field |= ~(u64)0 << length;
	return field;
}

static inline u64 insert(u64 a, u64 b, u32 position, u32 length, u32 bits)
{
	u64 mask;

	position &= 255;
	length &= 255;
	if (!length || position >= bits)
		return b;
	mask = (length >= 64 ? ~(u64)0 : ((u64)1 << length) - 1) << position;
	return (b & ~mask) | ((a << position) & mask);
}

static inline u32 permute_byte(u64 bytes, u32 selector)
{
	u32 byte = (u32)(bytes >> (8 * (selector & 7))) & 255;

	return selector & 8 ? (byte & 128 ? 255 : 0) : byte;
}

static inline u32 permute(u32 a, u32 b, u32 c)
{
	u64 bytes = (u64)b << 32 | a;

	return permute_byte(bytes, c) | permute_byte(bytes, c >> 4) << 8 |
	       permute_byte(bytes, c >> 8) << 16 | permute_byte(bytes, c >> 12) << 24;
}

/* prmt's special modes as selectors of the general one, by the two low bits of c */
static inline u32 permute_mode(u32 a, u32 b, u32 c, u32 mode)
{
	static const u16 selectors[6][4] = {
		{ 0x3210, 0x4321, 0x5432, 0x6543 }, /* f4e */
		{ 0x5670, 0x6701, 0x7012, 0x0123 }, /* b4e */
		{ 0x0000, 0x1111, 0x2222, 0x3333 }, /* rc8 */
		{ 0x3210, 0x3211, 0x3222, 0x3333 }, /* ecl */
		{ 0x0000, 0x1110, 0x2210, 0x3210 }, /* ecr */
		{ 0x1010, 0x3232, 0x1010, 0x3232 }, /* rc16 */
	};

	return permute(a, b, selectors[mode][c & 3]);
}

static inline u32 logic3(u32 a, u32 b, u32 c, u32 table)
{
	u32 result = 0;

	for (u32 bit = 0; bit < 8; bit++)
		if (table & (1u << bit))
			result |= (bit & 4 ? a : ~a) & (bit & 2 ? b : ~b) & (bit & 1 ? c : ~c);
	return result;
}

static inline u32 funnel_left(u32 a, u32 b, u32 shift)
{
	return shift >= 32 ? a : (u32)((((u64)b << 32 | a) << shift) >> 32);
}

static inline u32 funnel_right(u32 a, u32 b, u32 shift)
{
	return shift >= 32 ? b : (u32)(((u64)b << 32 | a) >> shift);
}

/* fns: the position of the offset-th set bit from base on; an offset of 0 asks for base itself */
static inline u32 find_nth_set(u32 mask, u32 base, s32 offset)
{
	s32 step = offset < 0 ? -1 : 1;
	s32 left = offset < 0 ? -offset : offset;

	if (base > 31)
		return ~0u;
	if (!offset)
		return (mask >> base) & 1 ? base : ~0u;
	for (s32 position = (s32)base; position >= 0 && position < 32; position += step)
		if ((mask >> position) & 1 && --left == 0)
			return (u32)position;
	return ~0u;
}

static inline u32 dot4(u32 a, u32 b, u32 c, bool signed_a, bool signed_b)
{
	for (u32 i = 0; i < 32; i += 8) {
		s32 x = signed_a ? (s8)(a >> i) : (s32)(u8)(a >> i);
		s32 y = signed_b ? (s8)(b >> i) : (s32)(u8)(b >> i);

		c += (u32)(x * y);
	}
	return c;
}

static inline u32 dot2(u32 a, u32 b, u32 c, bool signed_a, bool signed_b, u32 high)
{
	for (u32 i = 0; i < 2; i++) {
		s32 x = signed_a ? (s16)(a >> 16 * i) : (s32)(u16)(a >> 16 * i);
		u32 byte = b >> (8 * (i + 2 * high));
		s32 y = signed_b ? (s8)byte : (s32)(u8)byte;

		c += (u32)(x * y);
	}
	return c;
}

/* Both halves of a word, each with its own order. */
#define BY_HALVES(type, expression)                                                  \
	({                                                                           \
		u32 pair_ = 0;                                                       \
		for (u32 shift_ = 0; shift_ < 32; shift_ += 16) {                    \
			const type x = (type)(a >> shift_), y = (type)(b >> shift_); \
			pair_ |= (u32)(u16)(expression) << shift_;                   \
		}                                                                    \
		pair_;                                                               \
	})

/* absolute_differences - of the four bytes, side by side or (sum) added up */
static inline u32 absolute_differences(u32 a, u32 b, bool sum)
{
	u32 result = 0;

	for (u32 shift = 0; shift < 32; shift += 8) {
		u32 x = (u8)(a >> shift), y = (u8)(b >> shift);
		u32 difference = x < y ? y - x : x - y;

		result += sum ? difference : difference << shift;
	}
	return result;
}

static inline u32 add_saturated(s32 a, s64 b)
{
	s64 sum = a + b;

	return (u32)(sum > INT32_MAX ? INT32_MAX : sum < INT32_MIN ? INT32_MIN : sum);
}

static inline u32 low24(u32 a)
{
	return a & 0xffffff;
}

static inline s32 signed24(u32 a)
{
	return (s32)(a << 8) >> 8;
}

/* szext, bmsk: clamp takes amounts as they are, wrap takes them modulo 32 */
static inline u32 sign_extend(u32 a, u32 b, bool is_signed)
{
	if (b >= 32)
		return a;
	if (!b)
		return 0;
	return is_signed ? (u32)((s32)(a << (32 - b)) >> (32 - b)) : a & ((1u << b) - 1);
}

static inline u32 bit_mask(u32 a, u32 b, bool wrap)
{
	if (wrap) {
		a &= 31;
		b &= 31;
	}
	if (a >= 32 || !b)
		return 0;
	return (b >= 32 ? ~0u : (1u << b) - 1) << a;
}

#define UNARY(X)                                                       \
	X(mov_b32, u32, u32, a)                                        \
	X(mov_b64, u64, u64, a)                                        \
	X(not_b16, u16, u16, ~a)                                       \
	X(not_b32, u32, u32, ~a)                                       \
	X(not_b64, u64, u64, ~a)                                       \
	X(cnot_b16, u16, u16, !a)                                      \
	X(cnot_b32, u32, u32, !a)                                      \
	X(cnot_b64, u64, u64, !a)                                      \
	X(neg_s16, u16, u16, 0 - a)                                    \
	X(neg_s32, u32, u32, 0 - a)                                    \
	X(neg_s64, u64, u64, 0 - a)                                    \
	X(abs_s16, u16, s16, a < 0 ? 0 - (u16)a : (u16)a)              \
	X(abs_s32, u32, s32, a < 0 ? 0 - (u32)a : (u32)a)              \
	X(abs_s64, u64, s64, a < 0 ? 0 - (u64)a : (u64)a)              \
	X(popc_b32, u32, u32, __builtin_popcount(a))                   \
	X(popc_b64, u32, u64, __builtin_popcountll(a))                 \
	X(clz_b32, u32, u32, a ? __builtin_clz(a) : 32)                \
	X(clz_b64, u32, u64, a ? __builtin_clzll(a) : 64)              \
	X(brev_b32, u32, u32, reverse_bits_32(a))                      \
	X(brev_b64, u64, u64, reverse_bits_64(a))                      \
	X(bfind_u32, u32, u32, find_bit_u32(a))                        \
	X(bfind_u64, u32, u64, find_bit_u64(a))                        \
	X(bfind_s32, u32, s32, find_bit_u32(a < 0 ? ~(u32)a : (u32)a)) \
	X(bfind_s64, u32, s64, find_bit_u64(a < 0 ? ~(u64)a : (u64)a)) \
	X(bfind_shift_32, u32, u32, a == ~0u ? a : 31 - a)             \
	X(bfind_shift_64, u32, u32, a == ~0u ? a : 63 - a)             \
	X(widen_u16, u32, u16, a)                                      \
	X(widen_s16, u32, s16, a)                                      \
	X(widen_u8, u32, u8, a)                                        \
	X(widen_s8, u32, s8, a)                                        \
	X(widen_u32, u64, u32, a)                                      \
	X(widen_s32, u64, s32, a)                                      \
	X(widen_u8_64, u64, u8, a)                                     \
	X(widen_s8_64, u64, s8, a)                                     \
	X(widen_u16_64, u64, u16, a)                                   \
	X(widen_s16_64, u64, s16, a)                                   \
	X(narrow_b64, u32, u64, a)                                     \
	X(high_b64, u32, u64, a >> 32)                                 \
	X(high_b32, u32, u32, a >> 16)                                 \
	X(quarter2_b64, u32, u64, (u16)(a >> 32))                      \
	X(quarter3_b64, u32, u64, a >> 48)

#define BINARY(X)                                                              \
	X(add_u16, u16, u16, u16, a + b)                                       \
	X(add_u32, u32, u32, u32, a + b)                                       \
	X(add_u64, u64, u64, u64, a + b)                                       \
	X(add_sat_s32, u32, s32, s32, add_saturated(a, b))                     \
	X(add_u16x2, u32, u32, u32, BY_HALVES(u16, x + y))                     \
	X(add_s16x2, u32, u32, u32, BY_HALVES(u16, x + y))                     \
	X(min_u16x2, u32, u32, u32, BY_HALVES(u16, x < y ? x : y))             \
	X(max_u16x2, u32, u32, u32, BY_HALVES(u16, x > y ? x : y))             \
	X(min_s16x2, u32, u32, u32, BY_HALVES(s16, x < y ? x : y))             \
	X(max_s16x2, u32, u32, u32, BY_HALVES(s16, x > y ? x : y))             \
	X(vabsdiff4_u32, u32, u32, u32, absolute_differences(a, b, false))     \
	X(sub_u16, u16, u16, u16, a - b)                                       \
	X(sub_u32, u32, u32, u32, a - b)                                       \
	X(sub_u64, u64, u64, u64, a - b)                                       \
	X(sub_sat_s32, u32, s32, s32, add_saturated(a, -(s64)b))               \
	X(mul_lo_u16, u16, u16, u16, (u32)a *b)                                \
	X(mul_lo_u32, u32, u32, u32, a *b)                                     \
	X(mul_lo_u64, u64, u64, u64, a *b)                                     \
	X(mul_hi_u16, u16, u16, u16, ((u32)a * b) >> 16)                       \
	X(mul_hi_s16, u16, s16, s16, ((s32)a * b) >> 16)                       \
	X(mul_hi_u32, u32, u32, u32, ((u64)a * b) >> 32)                       \
	X(mul_hi_s32, u32, s32, s32, ((s64)a * b) >> 32)                       \
	X(mul_hi_u64, u64, u64, u64, (u64)(((u128)a * b) >> 64))               \
	X(mul_hi_s64, u64, s64, s64, (u64)(((s128)a * b) >> 64))               \
	X(mul_wide_u16, u32, u16, u16, (u32)a *b)                              \
	X(mul_wide_s16, u32, s16, s16, (s32)a *b)                              \
	X(mul_wide_u32, u64, u32, u32, (u64)a *b)                              \
	X(mul_wide_s32, u64, s32, s32, (u64)((s64)a * b))                      \
	X(mul24_lo_u32, u32, u32, u32, low24(a) * low24(b))                    \
	X(mul24_lo_s32, u32, u32, u32, (u32)signed24(a) * (u32)signed24(b))    \
	X(mul24_hi_u32, u32, u32, u32, ((u64)low24(a) * low24(b)) >> 16)       \
	X(mul24_hi_s32, u32, u32, u32, ((s64)signed24(a) * signed24(b)) >> 16) \
	X(div_u16, u16, u16, u16, DIVIDE(u16, a, b))                           \
	X(div_u32, u32, u32, u32, DIVIDE(u32, a, b))                           \
	X(div_u64, u64, u64, u64, DIVIDE(u64, a, b))                           \
	X(div_s16, u16, s16, s16, DIVIDE_SIGNED(s16, u16, a, b))               \
	X(div_s32, u32, s32, s32, DIVIDE_SIGNED(s32, u32, a, b))               \
	X(div_s64, u64, s64, s64, DIVIDE_SIGNED(s64, u64, a, b))               \
	X(rem_u16, u16, u16, u16, REMAINDER(u16, a, b))                        \
	X(rem_u32, u32, u32, u32, REMAINDER(u32, a, b))                        \
	X(rem_u64, u64, u64, u64, REMAINDER(u64, a, b))                        \
	X(rem_s16, u16, s16, s16, REMAINDER_SIGNED(s16, a, b))                 \
	X(rem_s32, u32, s32, s32, REMAINDER_SIGNED(s32, a, b))                 \
	X(rem_s64, u64, s64, s64, REMAINDER_SIGNED(s64, a, b))                 \
	X(min_u16, u16, u16, u16, a < b ? a : b)                               \
	X(min_s16, u16, s16, s16, a < b ? a : b)                               \
	X(min_u32, u32, u32, u32, a < b ? a : b)                               \
	X(min_s32, u32, s32, s32, a < b ? a : b)                               \
	X(min_u64, u64, u64, u64, a < b ? a : b)                               \
	X(min_s64, u64, s64, s64, a < b ? a : b)                               \
	X(max_u16, u16, u16, u16, a > b ? a : b)                               \
	X(max_s16, u16, s16, s16, a > b ? a : b)                               \
	X(max_u32, u32, u32, u32, a > b ? a : b)                               \
	X(max_s32, u32, s32, s32, a > b ? a : b)                               \
	X(max_u64, u64, u64, u64, a > b ? a : b)                               \
	X(max_s64, u64, s64, s64, a > b ? a : b)                               \
	X(and_b32, u32, u32, u32, a &b)                                        \
	X(and_b64, u64, u64, u64, a &b)                                        \
	X(or_b32, u32, u32, u32, a | b)                                        \
	X(or_b64, u64, u64, u64, a | b)                                        \
	X(xor_b32, u32, u32, u32, a ^ b)                                       \
	X(xor_b64, u64, u64, u64, a ^ b)                                       \
	X(shl_b16, u16, u16, u32, SHIFT_LEFT(16, (u32)a, b))                   \
	X(shl_b32, u32, u32, u32, SHIFT_LEFT(32, a, b))                        \
	X(shl_b64, u64, u64, u32, SHIFT_LEFT(64, a, b))                        \
	X(shr_u16, u16, u16, u32, SHIFT_RIGHT(16, a, b))                       \
	X(shr_u32, u32, u32, u32, SHIFT_RIGHT(32, a, b))                       \
	X(shr_u64, u64, u64, u32, SHIFT_RIGHT(64, a, b))                       \
	X(shr_s16, u16, s16, u32, SHIFT_SIGN(16, a, b))                        \
	X(shr_s32, u32, s32, u32, SHIFT_SIGN(32, a, b))                        \
	X(shr_s64, u64, s64, u32, SHIFT_SIGN(64, a, b))                        \
	X(szext_clamp_u32, u32, u32, u32, sign_extend(a, b, false))            \
	X(szext_clamp_s32, u32, u32, u32, sign_extend(a, b, true))             \
	X(szext_wrap_u32, u32, u32, u32, sign_extend(a, b & 31, false))        \
	X(szext_wrap_s32, u32, u32, u32, sign_extend(a, b & 31, true))         \
	X(bmsk_clamp_b32, u32, u32, u32, bit_mask(a, b, false))                \
	X(bmsk_wrap_b32, u32, u32, u32, bit_mask(a, b, true))                  \
	X(pack_b32, u32, u16, u16, (u32)b << 16 | a)                           \
	X(pack_b64, u64, u32, u32, (u64)b << 32 | a)

#define TERNARY(X)                                                                             \
	X(vabsdiff4_add_u32, u32, u32, u32, u32, absolute_differences(a, b, true) + c)         \
	X(mad_lo_u16, u16, u16, u16, u16, (u32)a *b + c)                                       \
	X(mad_lo_u32, u32, u32, u32, u32, a *b + c)                                            \
	X(mad_lo_u64, u64, u64, u64, u64, a *b + c)                                            \
	X(mad_hi_u16, u16, u16, u16, u16, (((u32)a * b) >> 16) + c)                            \
	X(mad_hi_s16, u16, s16, s16, u16, (u32)(((s32)a * b) >> 16) + c)                       \
	X(mad_hi_u32, u32, u32, u32, u32, (u32)(((u64)a * b) >> 32) + c)                       \
	X(mad_hi_s32, u32, s32, s32, u32, (u32)(((s64)a * b) >> 32) + c)                       \
	X(mad_hi_sat_s32, u32, s32, s32, s32, add_saturated((s32)(((s64)a * b) >> 32), c))     \
	X(mad_hi_u64, u64, u64, u64, u64, (u64)(((u128)a * b) >> 64) + c)                      \
	X(mad_hi_s64, u64, s64, s64, u64, (u64)(((s128)a * b) >> 64) + c)                      \
	X(mad_wide_u16, u32, u16, u16, u32, (u32)a *b + c)                                     \
	X(mad_wide_s16, u32, s16, s16, u32, (u32)((s32)a * b) + c)                             \
	X(mad_wide_u32, u64, u32, u32, u64, (u64)a *b + c)                                     \
	X(mad_wide_s32, u64, s32, s32, u64, (u64)((s64)a * b) + c)                             \
	X(mad24_lo_u32, u32, u32, u32, u32, low24(a) * low24(b) + c)                           \
	X(mad24_lo_s32, u32, u32, u32, u32, (u32)signed24(a) * (u32)signed24(b) + c)           \
	X(mad24_hi_u32, u32, u32, u32, u32, (u32)(((u64)low24(a) * low24(b)) >> 16) + c)       \
	X(mad24_hi_s32, u32, u32, u32, u32, (u32)(((s64)signed24(a) * signed24(b)) >> 16) + c) \
	X(mad24_hi_sat_s32, u32, u32, u32, s32,                                                \
	  add_saturated((s32)(((s64)signed24(a) * signed24(b)) >> 16), c))                     \
	X(sad_u16, u16, u16, u16, u16, c + (a < b ? b - a : a - b))                            \
	X(sad_s16, u16, s16, s16, u16, c + (a < b ? b - a : a - b))                            \
	X(sad_u32, u32, u32, u32, u32, c + (a < b ? b - a : a - b))                            \
	X(sad_s32, u32, s32, s32, u32, c + (a < b ? (u32)b - (u32)a : (u32)a - (u32)b))        \
	X(sad_u64, u64, u64, u64, u64, c + (a < b ? b - a : a - b))                            \
	X(sad_s64, u64, s64, s64, u64, c + (a < b ? (u64)b - (u64)a : (u64)a - (u64)b))        \
	X(bfe_u32, u32, u32, u32, u32, extract_u(a, b, c, 32))                                 \
	X(bfe_s32, u32, u32, u32, u32, extract_s(a, b, c, 32))                                 \
	X(bfe_u64, u64, u64, u32, u32, extract_u(a, b, c, 64))                                 \
	X(bfe_s64, u64, u64, u32, u32, extract_s(a, b, c, 64))                                 \
	X(prmt_b32, u32, u32, u32, u32, permute(a, b, c))                                      \
	X(prmt_f4e_b32, u32, u32, u32, u32, permute_mode(a, b, c, 0))                          \
	X(prmt_b4e_b32, u32, u32, u32, u32, permute_mode(a, b, c, 1))                          \
	X(prmt_rc8_b32, u32, u32, u32, u32, permute_mode(a, b, c, 2))                          \
	X(prmt_ecl_b32, u32, u32, u32, u32, permute_mode(a, b, c, 3))                          \
	X(prmt_ecr_b32, u32, u32, u32, u32, permute_mode(a, b, c, 4))                          \
	X(prmt_rc16_b32, u32, u32, u32, u32, permute_mode(a, b, c, 5))                         \
	X(shf_l_clamp_b32, u32, u32, u32, u32, funnel_left(a, b, c))                           \
	X(shf_l_wrap_b32, u32, u32, u32, u32, funnel_left(a, b, c & 31))                       \
	X(shf_r_clamp_b32, u32, u32, u32, u32, funnel_right(a, b, c))                          \
	X(shf_r_wrap_b32, u32, u32, u32, u32, funnel_right(a, b, c & 31))                      \
	X(fns_b32, u32, u32, u32, s32, find_nth_set(a, b, c))                                  \
	X(dp4a_u32_u32, u32, u32, u32, u32, dot4(a, b, c, false, false))                       \
	X(dp4a_u32_s32, u32, u32, u32, u32, dot4(a, b, c, false, true))                        \
	X(dp4a_s32_u32, u32, u32, u32, u32, dot4(a, b, c, true, false))                        \
	X(dp4a_s32_s32, u32, u32, u32, u32, dot4(a, b, c, true, true))                         \
	X(dp2a_lo_u32_u32, u32, u32, u32, u32, dot2(a, b, c, false, false, 0))                 \
	X(dp2a_lo_u32_s32, u32, u32, u32, u32, dot2(a, b, c, false, true, 0))                  \
	X(dp2a_lo_s32_u32, u32, u32, u32, u32, dot2(a, b, c, true, false, 0))                  \
	X(dp2a_lo_s32_s32, u32, u32, u32, u32, dot2(a, b, c, true, true, 0))                   \
	X(dp2a_hi_u32_u32, u32, u32, u32, u32, dot2(a, b, c, false, false, 1))                 \
	X(dp2a_hi_u32_s32, u32, u32, u32, u32, dot2(a, b, c, false, true, 1))                  \
	X(dp2a_hi_s32_u32, u32, u32, u32, u32, dot2(a, b, c, true, false, 1))                  \
	X(dp2a_hi_s32_s32, u32, u32, u32, u32, dot2(a, b, c, true, true, 1))                   \
	X(slct_b16_s32, u16, u16, u16, s32, c >= 0 ? a : b)                                    \
	X(slct_b32_s32, u32, u32, u32, s32, c >= 0 ? a : b)                                    \
	X(slct_b64_s32, u64, u64, u64, s32, c >= 0 ? a : b)                                    \
	X(slct_b16_f32, u16, u16, u16, f32, c >= 0 ? a : b)                                    \
	X(slct_b32_f32, u32, u32, u32, f32, c >= 0 ? a : b)                                    \
	X(slct_b64_f32, u64, u64, u64, f32, c >= 0 ? a : b)                                    \
	X(lop3_b32, u32, u32, u32, u32, logic3(a, b, c, code->detail))

#define QUATERNARY(X)                                               \
	X(bfi_b32, u32, u32, u32, u32, u32, insert(a, b, c, e, 32)) \
	X(bfi_b64, u64, u64, u64, u32, u32, insert(a, b, c, e, 64))

#define COMPARE_INTEGER(X, t) \
	X(eq_##t, t, a == b)  \
	X(ne_##t, t, a != b)  \
	X(lt_##t, t, a < b)   \
	X(le_##t, t, a <= b)  \
	X(gt_##t, t, a > b)   \
	X(ge_##t, t, a >= b)
#define COMPARE(X)              \
	COMPARE_INTEGER(X, u16) \
	COMPARE_INTEGER(X, s16) \
	COMPARE_INTEGER(X, u32) \
	COMPARE_INTEGER(X, s32) \
	COMPARE_INTEGER(X, u64) \
	COMPARE_INTEGER(X, s64)

UNARY(DEFINE_UNARY)
BINARY(DEFINE_BINARY)
TERNARY(DEFINE_TERNARY)
QUATERNARY(DEFINE_QUATERNARY)
COMPARE(DEFINE_COMPARE)

/* selp: the predicate is operand 3 */
#define DEFINE_SELECT(name, type)                                                             \
	HANDLER(name)                                                                         \
	{                                                                                     \
		type##_lane *d = TARGET(type, 0);                                             \
		const type##_lane *pa = SOURCE(type, 1);                                      \
		const type##_lane *pb = SOURCE(type, 2);                                      \
		const u32 chosen = *(const u32 *)ptx_source(warp, code->r[3]) ^ code->detail; \
		LANE_LOOPS(type, , (chosen & lane_bits[lane]) ? pa[lane] : pb[lane]);         \
		return code + 1;                                                              \
	}
#define SELECT(X)        \
	X(selp_b32, u32) \
	X(selp_b64, u64)
SELECT(DEFINE_SELECT)

/*
 * Carry chains. X(name, type, wide, expression): the expression is computed in the wide type; CC
 * is the lane's carry (borrow) before. Names ending in _cc write it: what is above the type's width
 * of the result is non-zero.
 */
#define CARRY_ROWS(X, t, w, bits)                                    \
	X(add_cc_##t, t, w, bits, (w)a + b)                          \
	X(addc_cc_##t, t, w, bits, (w)a + b + CC)                    \
	X(sub_cc_##t, t, w, bits, (w)a - b)                          \
	X(subc_cc_##t, t, w, bits, (w)a - b - CC)                    \
	X(mad_lo_cc_##t, t, w, bits, (w)(t)((w)a * b) + c)           \
	X(madc_lo_cc_##t, t, w, bits, (w)(t)((w)a * b) + c + CC)     \
	X(mad_hi_cc_##t, t, w, bits, (w)(t)(((w)a * b) >> bits) + c) \
	X(madc_hi_cc_##t, t, w, bits, (w)(t)(((w)a * b) >> bits) + c + CC)
#define CARRY(X)                    \
	CARRY_ROWS(X, u32, u64, 32) \
	CARRY_ROWS(X, u64, u128, 64)

#define CC ((warp->carry & lane_bits[lane]) ? 1u : 0u)
/* detail: non-zero where CC is written; operand c is the constant zero where there is none */
#define DEFINE_CARRY(name, type, wide, bits, expression)                                   \
	HANDLER(name)                                                                      \
	{                                                                                  \
		type##_lane *d = TARGET(type, 0);                                          \
		const type##_lane *pa = SOURCE(type, 1);                                   \
		const type##_lane *pb = SOURCE(type, 2);                                   \
		const type##_lane *pc = SOURCE(type, 3);                                   \
		u32 carry = 0;                                                             \
		for (unsigned int lane = 0; lane < PTX_LANES; lane++) {                    \
			const type a = pa[lane], b = pb[lane], c = pc[lane];               \
			const wide result = expression;                                    \
			(void)c;                                                           \
			carry |= (result >> bits) ? lane_bits[lane] : 0;                   \
			d[lane] = (warp->mask & lane_bits[lane]) ? (type)result : d[lane]; \
		}                                                                          \
		if (code->detail)                                                          \
			warp->carry = (warp->carry & ~warp->mask) | (carry & warp->mask);  \
		return code + 1;                                                           \
	}
CARRY(DEFINE_CARRY)

/* Predicates: whole words; inputs may be negated by the masks in immediate. */
#define DEFINE_PREDICATE(name, expression)                                                         \
	HANDLER(name)                                                                              \
	{                                                                                          \
		u32 *d = ptx_target(warp, code->r[0]);                                             \
		const u32 a = *(const u32 *)ptx_source(warp, code->r[1]) ^ (u32)code->immediate;   \
		const u32 b =                                                                      \
			*(const u32 *)ptx_source(warp, code->r[2]) ^ (u32)(code->immediate >> 32); \
		(void)b;                                                                           \
		*d = (*d & ~warp->mask) | ((expression)&warp->mask);                               \
		return code + 1;                                                                   \
	}
#define PREDICATE(X)      \
	X(mov_pred, a)    \
	X(not_pred, ~a)   \
	X(and_pred, a &b) \
	X(or_pred, a | b) \
	X(xor_pred, a ^ b)
PREDICATE(DEFINE_PREDICATE)

static const struct ptx_handler_entry entries[] = { UNARY(ENTRY) BINARY(ENTRY) TERNARY(ENTRY)
							    QUATERNARY(ENTRY) COMPARE(ENTRY_COMPARE)
								    SELECT(ENTRY) CARRY(ENTRY)
									    PREDICATE(ENTRY) };
const struct ptx_handler_table PTX_TABLE(ptx_integer_table) = {
	entries, sizeof(entries) / sizeof(entries[0])
};
