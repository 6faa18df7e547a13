/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handlers of floating-point instructions and of conversions.
 *
 * Rounding. The handlers round as the processor's control register says, to nearest even by
 * default; another mode is a pair of instructions (round_*, round_end) around the operation.
 * Flushing. .ftz is done by hand on inputs and result, so that no denormal mode is switched.
 * NaN. A result of an f32 operation that is not a number is 0x7fffffff, as on the device; f64
 * keeps what the processor gives.
 */
#include "cuda/softgpu/ptx_lanes.h"

#include <math.h>
#include <xmmintrin.h>

#include "cuda/softgpu/ptx_half.h"

static inline f32 canonical(f32 a)
{
	return a != a ? half_value(0x7fffffff) : a;
}

/* flush - a subnormal to zero of its sign */
static inline f32 flush(f32 a)
{
	u32 bits = half_bits(a);

	return half_value(bits & 0x7f800000u ? bits : bits & 0x80000000u);
}

static inline u32 bits32(f32 a)
{
	return half_bits(a);
}

static inline u64 bits64(f64 a)
{
	u64 bits;

	memcpy(&bits, &a, sizeof(bits));
	return bits;
}

static inline f64 value64(u64 bits)
{
	f64 value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

/* min and max: a number wins over NaN, -0 is below +0 */
static inline f32 minimum32(f32 a, f32 b)
{
	f32 ordered = a < b ? a : b < a ? b : half_value(bits32(a) | bits32(b));

	return a != a ? canonical(b) : b != b ? a : ordered;
}

static inline f32 maximum32(f32 a, f32 b)
{
	f32 ordered = a > b ? a : b > a ? b : half_value(bits32(a) & bits32(b));

	return a != a ? canonical(b) : b != b ? a : ordered;
}

static inline f64 minimum64(f64 a, f64 b)
{
	f64 ordered = a < b ? a : b < a ? b : value64(bits64(a) | bits64(b));

	return a != a ? b : b != b ? a : ordered;
}

static inline f64 maximum64(f64 a, f64 b)
{
	f64 ordered = a > b ? a : b > a ? b : value64(bits64(a) & bits64(b));

	return a != a ? b : b != b ? a : ordered;
}

static inline f32 minimum_nan(f32 a, f32 b)
{
	return a != a || b != b ? half_value(0x7fffffff) : minimum32(a, b);
}

static inline f32 maximum_nan(f32 a, f32 b)
{
	return a != a || b != b ? half_value(0x7fffffff) : maximum32(a, b);
}

/* saturate - to [0, 1]; NaN and -0 become +0 */
static inline f32 saturate32(f32 a)
{
	return a > 0.0f ? (a < 1.0f ? a : 1.0f) : 0.0f;
}

static inline f64 saturate64(f64 a)
{
	return a > 0.0 ? (a < 1.0 ? a : 1.0) : 0.0;
}

static inline f32 relu(f32 a)
{
	return a > 0.0f ? a : a != a ? a : 0.0f;
}

/* ---- to integers: clamped to the range; NaN as the ISA's table says ---- */

#define DEFINE_TO_INTEGER(type, from, low, high, nan)                       \
	static inline type to_##type##_##from(from a)                       \
	{                                                                   \
		type inside = (type)(a >= (low) && a < (high) ? a : 0);     \
		type clamped = a >= (high) ? (type)(nan##_MAX_OF_##type)    \
			       : a < (low) ? (type)(nan##_MIN_OF_##type)    \
					   : inside;                        \
		return a != a ? (type)(nan##_OF_##type##_##from) : clamped; \
	}
#define NAN_MAX_OF_s32 INT32_MAX
#define NAN_MIN_OF_s32 INT32_MIN
#define NAN_MAX_OF_u32 UINT32_MAX
#define NAN_MIN_OF_u32 0
#define NAN_MAX_OF_s64 INT64_MAX
#define NAN_MIN_OF_s64 INT64_MIN
#define NAN_MAX_OF_u64 UINT64_MAX
#define NAN_MIN_OF_u64 0
#define NAN_OF_s32_f32 0
#define NAN_OF_u32_f32 0
#define NAN_OF_s64_f32 INT64_MIN
#define NAN_OF_u64_f32 ((u64)1 << 63)
#define NAN_OF_s32_f64 INT32_MIN
#define NAN_OF_u32_f64 ((u32)1 << 31)
#define NAN_OF_s64_f64 INT64_MIN
#define NAN_OF_u64_f64 ((u64)1 << 63)
DEFINE_TO_INTEGER(s32, f32, -0x1p31f, 0x1p31f, NAN)
DEFINE_TO_INTEGER(u32, f32, 0.0f, 0x1p32f, NAN)
DEFINE_TO_INTEGER(s64, f32, -0x1p63f, 0x1p63f, NAN)
DEFINE_TO_INTEGER(u64, f32, 0.0f, 0x1p64f, NAN)
DEFINE_TO_INTEGER(s32, f64, -0x1p31, 0x1p31, NAN)
DEFINE_TO_INTEGER(u32, f64, 0.0, 0x1p32, NAN)
DEFINE_TO_INTEGER(s64, f64, -0x1p63, 0x1p63, NAN)
DEFINE_TO_INTEGER(u64, f64, 0.0, 0x1p64, NAN)

/* The four roundings to an integral value, by the name that cvt gives them. */
#define ROUND_rni_f32(a) __builtin_rintf(a)
#define ROUND_rzi_f32(a) __builtin_truncf(a)
#define ROUND_rmi_f32(a) __builtin_floorf(a)
#define ROUND_rpi_f32(a) __builtin_ceilf(a)
#define ROUND_rni_f64(a) __builtin_rint(a)
#define ROUND_rzi_f64(a) __builtin_trunc(a)
#define ROUND_rmi_f64(a) __builtin_floor(a)
#define ROUND_rpi_f64(a) __builtin_ceil(a)

#define ROUND_ROWS(X, mode)                                                  \
	X(cvt_##mode##_s32_f32, u32, f32, to_s32_f32(ROUND_##mode##_f32(a))) \
	X(cvt_##mode##_u32_f32, u32, f32, to_u32_f32(ROUND_##mode##_f32(a))) \
	X(cvt_##mode##_s64_f32, u64, f32, to_s64_f32(ROUND_##mode##_f32(a))) \
	X(cvt_##mode##_u64_f32, u64, f32, to_u64_f32(ROUND_##mode##_f32(a))) \
	X(cvt_##mode##_s32_f64, u32, f64, to_s32_f64(ROUND_##mode##_f64(a))) \
	X(cvt_##mode##_u32_f64, u32, f64, to_u32_f64(ROUND_##mode##_f64(a))) \
	X(cvt_##mode##_s64_f64, u64, f64, to_s64_f64(ROUND_##mode##_f64(a))) \
	X(cvt_##mode##_u64_f64, u64, f64, to_u64_f64(ROUND_##mode##_f64(a))) \
	X(cvt_##mode##_f32_f32, f32, f32, canonical(ROUND_##mode##_f32(a)))  \
	X(cvt_##mode##_f64_f64, f64, f64, ROUND_##mode##_f64(a))             \
	X(cvt_##mode##_f16_f16, u16, u16, half_narrow(ROUND_##mode##_f32(half_widen(a))))

#define CLAMP(a, low, high) ((a) < (low) ? (low) : (a) > (high) ? (high) : (a))

#define CONVERT(X)                                                                      \
	ROUND_ROWS(X, rni)                                                              \
	ROUND_ROWS(X, rzi)                                                              \
	ROUND_ROWS(X, rmi)                                                              \
	ROUND_ROWS(X, rpi)                                                              \
	X(cvt_f32_s32, f32, s32, (f32)a)                                                \
	X(cvt_f32_u32, f32, u32, (f32)a)                                                \
	X(cvt_f32_s64, f32, s64, (f32)a)                                                \
	X(cvt_f32_u64, f32, u64, (f32)a)                                                \
	X(cvt_f64_s32, f64, s32, (f64)a)                                                \
	X(cvt_f64_u32, f64, u32, (f64)a)                                                \
	X(cvt_f64_s64, f64, s64, (f64)a)                                                \
	X(cvt_f64_u64, f64, u64, (f64)a)                                                \
	X(cvt_f64_f32, f64, f32, (f64)a)                                                \
	X(cvt_f32_f64, f32, f64, canonical((f32)a))                                     \
	X(cvt_f32_f16, f32, u16, canonical(half_widen(a)))                              \
	X(cvt_f64_f16, f64, u16, (f64)half_widen(a))                                    \
	X(cvt_f16_f32, u16, f32, half_narrow(a))                                        \
	X(cvt_f16_f64, u16, f64, half_narrow(half_odd(a)))                              \
	X(cvt_rz_f16_f32, u16, f32, half_adjust(half_narrow(a), (f64)a, 'z'))           \
	X(cvt_rm_f16_f32, u16, f32, half_adjust(half_narrow(a), (f64)a, 'm'))           \
	X(cvt_rp_f16_f32, u16, f32, half_adjust(half_narrow(a), (f64)a, 'p'))           \
	X(cvt_rz_f16_f64, u16, f64, half_adjust(half_narrow(half_odd(a)), a, 'z'))      \
	X(cvt_rm_f16_f64, u16, f64, half_adjust(half_narrow(half_odd(a)), a, 'm'))      \
	X(cvt_rp_f16_f64, u16, f64, half_adjust(half_narrow(half_odd(a)), a, 'p'))      \
	X(cvt_f32_bf16, f32, u16, canonical(bhalf_widen(a)))                            \
	X(cvt_f64_bf16, f64, u16, (f64)bhalf_widen(a))                                  \
	X(cvt_bf16_f32, u16, f32, bhalf_narrow(a))                                      \
	X(cvt_rz_bf16_f32, u16, f32, bhalf_cut(a))                                      \
	X(sat_f32, f32, f32, saturate32(a))                                             \
	X(sat_f64, f64, f64, saturate64(a))                                             \
	X(sat_f16, u16, u16, half_narrow(saturate32(half_widen(a))))                    \
	X(sat_f16x2, u32, u32, PAIR(half_narrow, saturate32(half_widen((u16)HALF(a))))) \
	X(relu_f32, f32, f32, relu(a))                                                  \
	X(relu_f16, u16, u16, half_narrow(relu(half_widen(a))))                         \
	X(relu_bf16, u16, u16, bhalf_narrow(relu(bhalf_widen(a))))                      \
	X(relu_f16x2, u32, u32, PAIR(half_narrow, relu(half_widen((u16)HALF(a)))))      \
	X(relu_bf16x2, u32, u32, PAIR(bhalf_narrow, relu(bhalf_widen((u16)HALF(a)))))   \
	X(flush_f32, f32, f32, flush(a))                                                \
	X(clamp_u8_s64, u32, s64, (u32)CLAMP(a, 0, UINT8_MAX))                          \
	X(clamp_s8_s64, u32, s64, (u32)CLAMP(a, INT8_MIN, INT8_MAX))                    \
	X(clamp_u16_s64, u32, s64, (u32)CLAMP(a, 0, UINT16_MAX))                        \
	X(clamp_s16_s64, u32, s64, (u32)CLAMP(a, INT16_MIN, INT16_MAX))                 \
	X(clamp_u32_s64, u32, s64, (u32)CLAMP(a, 0, (s64)UINT32_MAX))                   \
	X(clamp_s32_s64, u32, s64, (u32)CLAMP(a, INT32_MIN, INT32_MAX))                 \
	X(clamp_u64_s64, u64, s64, (u64)(a < 0 ? 0 : a))                                \
	X(clamp_u8_u64, u32, u64, (u32)(a > UINT8_MAX ? UINT8_MAX : a))                 \
	X(clamp_s8_u64, u32, u64, (u32)(a > INT8_MAX ? INT8_MAX : a))                   \
	X(clamp_u16_u64, u32, u64, (u32)(a > UINT16_MAX ? UINT16_MAX : a))              \
	X(clamp_s16_u64, u32, u64, (u32)(a > INT16_MAX ? INT16_MAX : a))                \
	X(clamp_u32_u64, u32, u64, (u32)(a > UINT32_MAX ? UINT32_MAX : a))              \
	X(clamp_s32_u64, u32, u64, (u32)(a > INT32_MAX ? INT32_MAX : a))                \
	X(clamp_s64_u64, u64, u64, a > INT64_MAX ? (u64)INT64_MAX : a)

/* PAIR applies an expression to both halves of a word; inside it HALF(a) is the half at hand. */
#define HALF(a) ((a) >> half_shift)
#define PAIR(narrow, expression)                                            \
	({                                                                  \
		u32 pair_ = 0;                                              \
		for (u32 half_shift = 0; half_shift < 32; half_shift += 16) \
			pair_ |= (u32)narrow(expression) << half_shift;     \
		pair_;                                                      \
	})
#define WIDE(a)	 half_widen((u16)HALF(a))
#define BWIDE(a) bhalf_widen((u16)HALF(a))

#define ONE_OPERAND(X)                                                                             \
	X(neg_f32, u32, u32, a ^ 0x80000000u)                                                      \
	X(neg_ftz_f32, u32, f32, bits32(flush(a)) ^ 0x80000000u)                                   \
	X(abs_f32, u32, u32, a & 0x7fffffffu)                                                      \
	X(abs_ftz_f32, u32, f32, bits32(flush(a)) & 0x7fffffffu)                                   \
	X(neg_f64, u64, u64, a ^ ((u64)1 << 63))                                                   \
	X(abs_f64, u64, u64, a & ~((u64)1 << 63))                                                  \
	X(neg_f16, u16, u16, a ^ 0x8000)                                                           \
	X(abs_f16, u16, u16, a & 0x7fff)                                                           \
	X(neg_f16x2, u32, u32, a ^ 0x80008000u)                                                    \
	X(abs_f16x2, u32, u32, a & 0x7fff7fffu)                                                    \
	X(sqrt_f32, f32, f32, canonical(__builtin_sqrtf(a)))                                       \
	X(sqrt_ftz_f32, f32, f32, canonical(__builtin_sqrtf(flush(a))))                            \
	X(sqrt_f64, f64, f64, __builtin_sqrt(a))                                                   \
	X(rcp_f32, f32, f32, canonical(1.0f / a))                                                  \
	X(rcp_ftz_f32, f32, f32, flush(canonical(1.0f / flush(a))))                                \
	X(rcp_f64, f64, f64, 1.0 / a)                                                              \
	X(rcp_ftz_f64, f64, f64, value64(bits64(1.0 / a) & 0xffffffff00000000u))                   \
	X(rsqrt_f32, f32, f32, canonical(1.0f / __builtin_sqrtf(a)))                               \
	X(rsqrt_ftz_f32, f32, f32, canonical(1.0f / __builtin_sqrtf(flush(a))))                    \
	X(rsqrt_f64, f64, f64, 1.0 / __builtin_sqrt(a))                                            \
	X(rsqrt_ftz_f64, f64, f64, value64(bits64(1.0 / __builtin_sqrt(a)) & 0xffffffff00000000u)) \
	X(sin_f32, f32, f32, canonical(sinf(a)))                                                   \
	X(sin_ftz_f32, f32, f32, flush(canonical(sinf(flush(a)))))                                 \
	X(cos_f32, f32, f32, canonical(cosf(a)))                                                   \
	X(cos_ftz_f32, f32, f32, canonical(cosf(flush(a))))                                        \
	X(lg2_f32, f32, f32, canonical(log2f(a)))                                                  \
	X(lg2_ftz_f32, f32, f32, canonical(log2f(flush(a))))                                       \
	X(ex2_f32, f32, f32, canonical(exp2f(a)))                                                  \
	X(ex2_ftz_f32, f32, f32, flush(canonical(exp2f(flush(a)))))                                \
	X(tanh_f32, f32, f32, canonical(tanhf(a)))                                                 \
	X(ex2_f16, u16, u16, half_narrow(exp2f(half_widen(a))))                                    \
	X(tanh_f16, u16, u16, half_narrow(tanhf(half_widen(a))))                                   \
	X(ex2_f16x2, u32, u32, PAIR(half_narrow, exp2f(WIDE(a))))                                  \
	X(tanh_f16x2, u32, u32, PAIR(half_narrow, tanhf(WIDE(a))))                                 \
	X(ex2_bf16, u16, u16, bhalf_narrow(exp2f(bhalf_widen(a))))                                 \
	X(tanh_bf16, u16, u16, bhalf_narrow(tanhf(bhalf_widen(a))))

#define FLOAT_ROWS(X, name, expression)                                                         \
	X(name##_f32, f32, f32, f32, canonical(expression(a, b)))                               \
	X(name##_ftz_f32, f32, f32, f32, flush(canonical(expression(flush(a), flush(b)))))      \
	X(name##_f64, f64, f64, f64, expression(a, b))                                          \
	X(name##_f16, u16, u16, u16, half_narrow(expression(half_widen(a), half_widen(b))))     \
	X(name##_f16x2, u32, u32, u32, PAIR(half_narrow, expression(WIDE(a), WIDE(b))))         \
	X(name##_bf16, u16, u16, u16, bhalf_narrow(expression(bhalf_widen(a), bhalf_widen(b)))) \
	X(name##_bf16x2, u32, u32, u32, PAIR(bhalf_narrow, expression(BWIDE(a), BWIDE(b))))
#define HALF_ROWS(X, name, expression)                                                          \
	X(name##_f16, u16, u16, u16, half_narrow(expression(half_widen(a), half_widen(b))))     \
	X(name##_f16x2, u32, u32, u32, PAIR(half_narrow, expression(WIDE(a), WIDE(b))))         \
	X(name##_bf16, u16, u16, u16, bhalf_narrow(expression(bhalf_widen(a), bhalf_widen(b)))) \
	X(name##_bf16x2, u32, u32, u32, PAIR(bhalf_narrow, expression(BWIDE(a), BWIDE(b))))
#define PLUS(a, b)  ((a) + (b))
#define MINUS(a, b) ((a) - (b))
#define TIMES(a, b) ((a) * (b))

#define TWO_OPERANDS(X)                                                                \
	FLOAT_ROWS(X, add, PLUS)                                                       \
	FLOAT_ROWS(X, sub, MINUS)                                                      \
	FLOAT_ROWS(X, mul, TIMES)                                                      \
	X(div_f32, f32, f32, f32, canonical(a / b))                                    \
	X(div_ftz_f32, f32, f32, f32, flush(canonical(flush(a) / flush(b))))           \
	X(div_f64, f64, f64, f64, a / b)                                               \
	X(min_f32, f32, f32, f32, minimum32(a, b))                                     \
	X(min_ftz_f32, f32, f32, f32, minimum32(flush(a), flush(b)))                   \
	X(min_nan_f32, f32, f32, f32, minimum_nan(a, b))                               \
	X(min_ftz_nan_f32, f32, f32, f32, minimum_nan(flush(a), flush(b)))             \
	X(min_f64, f64, f64, f64, minimum64(a, b))                                     \
	X(max_f32, f32, f32, f32, maximum32(a, b))                                     \
	X(max_ftz_f32, f32, f32, f32, maximum32(flush(a), flush(b)))                   \
	X(max_nan_f32, f32, f32, f32, maximum_nan(a, b))                               \
	X(max_ftz_nan_f32, f32, f32, f32, maximum_nan(flush(a), flush(b)))             \
	X(max_f64, f64, f64, f64, maximum64(a, b))                                     \
	HALF_ROWS(X, min, minimum32)                                                   \
	HALF_ROWS(X, max, maximum32)                                                   \
	HALF_ROWS(X, min_nan, minimum_nan)                                             \
	HALF_ROWS(X, max_nan, maximum_nan)                                             \
	X(copysign_f32, u32, u32, u32, (b & 0x7fffffffu) | (a & 0x80000000u))          \
	X(copysign_f64, u64, u64, u64, (b & ~((u64)1 << 63)) | (a & ((u64)1 << 63)))   \
	X(cvt_f16x2_f32, u32, f32, f32, (u32)half_narrow(a) << 16 | half_narrow(b))    \
	X(cvt_bf16x2_f32, u32, f32, f32, (u32)bhalf_narrow(a) << 16 | bhalf_narrow(b)) \
	X(cvt_rz_f16x2_f32, u32, f32, f32,                                             \
	  (u32)half_adjust(half_narrow(a), (f64)a, 'z') << 16 |                        \
		  half_adjust(half_narrow(b), (f64)b, 'z'))                            \
	X(cvt_rz_bf16x2_f32, u32, f32, f32, (u32)bhalf_cut(a) << 16 | bhalf_cut(b))

#define HALF_FMA(a, b, c)  half_narrow(half_odd((f64)(a) * (f64)(b) + (f64)(c)))
#define BHALF_FMA(a, b, c) bhalf_narrow(half_odd(__builtin_fma((f64)(a), (f64)(b), (f64)(c))))

#define THREE_OPERANDS(X)                                                                          \
	X(fma_f32, f32, f32, f32, f32, canonical(__builtin_fmaf(a, b, c)))                         \
	X(fma_ftz_f32, f32, f32, f32, f32,                                                         \
	  flush(canonical(__builtin_fmaf(flush(a), flush(b), flush(c)))))                          \
	X(fma_f64, f64, f64, f64, f64, __builtin_fma(a, b, c))                                     \
	X(fma_f16, u16, u16, u16, u16, HALF_FMA(half_widen(a), half_widen(b), half_widen(c)))      \
	X(fma_f16x2, u32, u32, u32, u32, PAIR(, HALF_FMA(WIDE(a), WIDE(b), WIDE(c))))              \
	X(fma_bf16, u16, u16, u16, u16, BHALF_FMA(bhalf_widen(a), bhalf_widen(b), bhalf_widen(c))) \
	X(fma_bf16x2, u32, u32, u32, u32, PAIR(, BHALF_FMA(BWIDE(a), BWIDE(b), BWIDE(c))))

/* W reads an operand, t is its lane's type, s the name's ending */
#define COMPARE_ROWS(X, s, t, W)                     \
	X(eq_##s, t, W(a) == W(b))                   \
	X(ne_##s, t, W(a) < W(b) || W(a) > W(b))     \
	X(lt_##s, t, W(a) < W(b))                    \
	X(le_##s, t, W(a) <= W(b))                   \
	X(gt_##s, t, W(a) > W(b))                    \
	X(ge_##s, t, W(a) >= W(b))                   \
	X(equ_##s, t, !(W(a) < W(b) || W(a) > W(b))) \
	X(neu_##s, t, W(a) != W(b))                  \
	X(ltu_##s, t, !(W(a) >= W(b)))               \
	X(leu_##s, t, !(W(a) > W(b)))                \
	X(gtu_##s, t, !(W(a) <= W(b)))               \
	X(geu_##s, t, !(W(a) < W(b)))                \
	X(num_##s, t, W(a) == W(a) && W(b) == W(b))  \
	X(nan_##s, t, W(a) != W(a) || W(b) != W(b))
#define AS_IS(a) (a)
#define COMPARE(X)                            \
	COMPARE_ROWS(X, f32, f32, AS_IS)      \
	COMPARE_ROWS(X, ftz_f32, f32, flush)  \
	COMPARE_ROWS(X, f64, f64, AS_IS)      \
	COMPARE_ROWS(X, f16, u16, half_widen) \
	COMPARE_ROWS(X, bf16, u16, bhalf_widen)

/* testp: properties of one operand; written as comparisons that do not look at b */
#define MAGNITUDE32 (a & 0x7fffffffu)
#define MAGNITUDE64 (a & ~((u64)1 << 63))
#define INFINITE64  ((u64)0x7ff << 52)
#define TEST(X)                                                                           \
	X(testp_finite_f32, u32, MAGNITUDE32 < 0x7f800000u)                               \
	X(testp_infinite_f32, u32, MAGNITUDE32 == 0x7f800000u)                            \
	X(testp_number_f32, u32, MAGNITUDE32 <= 0x7f800000u)                              \
	X(testp_notanumber_f32, u32, MAGNITUDE32 > 0x7f800000u)                           \
	X(testp_normal_f32, u32, MAGNITUDE32 >= 0x00800000u && MAGNITUDE32 < 0x7f800000u) \
	X(testp_subnormal_f32, u32, MAGNITUDE32 - 1 < 0x007fffffu)                        \
	X(testp_finite_f64, u64, MAGNITUDE64 < INFINITE64)                                \
	X(testp_infinite_f64, u64, MAGNITUDE64 == INFINITE64)                             \
	X(testp_number_f64, u64, MAGNITUDE64 <= INFINITE64)                               \
	X(testp_notanumber_f64, u64, MAGNITUDE64 > INFINITE64)                            \
	X(testp_normal_f64, u64, MAGNITUDE64 >= (u64)1 << 52 && MAGNITUDE64 < INFINITE64) \
	X(testp_subnormal_f64, u64, MAGNITUDE64 - 1 < ((u64)1 << 52) - 1)

#define DEFINE_TEST(name, type, expression)                             \
	HANDLER(name)                                                   \
	{                                                               \
		u32 *d = ptx_target(warp, code->r[0]);                  \
		const type##_lane *pa = SOURCE(type, 1);                \
		u32 result = 0;                                         \
		for (unsigned int lane = 0; lane < PTX_LANES; lane++) { \
			const type a = pa[lane];                        \
			result |= (expression) ? lane_bits[lane] : 0;   \
		}                                                       \
		*d = (*d & ~warp->mask) | (result & warp->mask);        \
		return code + 1;                                        \
	}

CONVERT(DEFINE_UNARY)
ONE_OPERAND(DEFINE_UNARY)
TWO_OPERANDS(DEFINE_BINARY)
THREE_OPERANDS(DEFINE_TERNARY)
COMPARE(DEFINE_COMPARE)
TEST(DEFINE_TEST)

#define ROUNDING(X)                        \
	X(round_rz, _MM_ROUND_TOWARD_ZERO) \
	X(round_rm, _MM_ROUND_DOWN)        \
	X(round_rp, _MM_ROUND_UP)
#define DEFINE_ROUNDING(name, mode)                  \
	HANDLER(name)                                \
	{                                            \
		warp->saved_rounding = _mm_getcsr(); \
		_MM_SET_ROUNDING_MODE(mode);         \
		return code + 1;                     \
	}
ROUNDING(DEFINE_ROUNDING)
HANDLER(round_end)
{
	_mm_setcsr(warp->saved_rounding);
	return code + 1;
}

static const struct ptx_handler_entry entries[] = { CONVERT(ENTRY) ONE_OPERAND(ENTRY) TWO_OPERANDS(
	ENTRY) THREE_OPERANDS(ENTRY) COMPARE(ENTRY_COMPARE) TEST(ENTRY) ROUNDING(ENTRY)
							    ENTRY(round_end) };
const struct ptx_handler_table PTX_TABLE(ptx_float_table) = { entries, sizeof(entries) /
									       sizeof(entries[0]) };
