/* SPDX-License-Identifier: Apache-2.0 */
/* Conversions of 16-bit floating point, without branches so that loops over them become vectors. */
#ifndef CAUSEWAY_CUDA_SOFTGPU_PTX_HALF_H
#define CAUSEWAY_CUDA_SOFTGPU_PTX_HALF_H

#include <stdint.h>
#include <string.h>

/* The 16 bits of a value as IEEE binary16, rounded to nearest even. */
static inline uint32_t half_bits(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

/* The value of 16 bits of IEEE binary16, exactly. */
static inline float half_value(uint32_t bits)
{
	float value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

/* half_widen - f16 to f32, exact; 2^112 moves the exponent's bias, subnormals included */
static inline float half_widen(uint16_t half)
{
	uint32_t magnitude = (uint32_t)(half & 0x7fff) << 13;
	uint32_t finite = half_bits(half_value(magnitude) * 0x1p112f);
	uint32_t bits = (half & 0x7c00) == 0x7c00 ? magnitude | 0x7f800000u : finite;

	return half_value(bits | (uint32_t)(half & 0x8000) << 16);
}

/* half_narrow - f32 to f16, to nearest even; NaN becomes 0x7fff */
static inline uint16_t half_narrow(float value)
{
	uint32_t bits = half_bits(value);
	uint32_t sign = bits >> 16 & 0x8000;
	uint32_t magnitude = bits & 0x7fffffff;
	uint32_t small = half_bits(half_value(magnitude < 0x38800000u ? magnitude : 0) + 0.5f) -
			 half_bits(0.5f);
	uint32_t normal = (magnitude + (magnitude >> 13 & 1) + 0xfff - (112u << 23)) >> 13;
	uint32_t result = magnitude < 0x38800000u ? small : normal;

	result = magnitude >= 0x47800000u ? 0x7c00 : result;
	result |= sign;
	return (uint16_t)(magnitude > 0x7f800000u ? 0x7fff : result);
}

/* half_adjust - from the nearest f16 to the one that rounding in @mode (z, m, p) asks for */
static inline uint16_t half_adjust(uint16_t nearest, double exact, char mode)
{
	double have = (double)half_widen(nearest);
	int up, down;

	if (!(have != exact) || exact != exact || exact > 1.7e308 || exact < -1.7e308)
		return nearest;
	down = have > exact && (mode == 'm' || (mode == 'z' && exact > 0));
	up = have < exact && (mode == 'p' || (mode == 'z' && exact < 0));
	if (down)
		return nearest & 0x8000 ? (uint16_t)(nearest + 1)
		       : nearest	? (uint16_t)(nearest - 1)
					: 0x8001;
	if (up)
		return !(nearest & 0x8000) ? (uint16_t)(nearest + 1)
		       : nearest != 0x8000 ? (uint16_t)(nearest - 1)
					   : 1;
	return nearest;
}

/* half_odd - f64 to f32 rounded to odd: a second rounding to 16 bits is then exact */
static inline float half_odd(double value)
{
	float nearest = (float)value;
	uint32_t bits = half_bits(nearest);
	double back = (double)nearest;
	int inexact = back != value && value == value;
	int beyond = (back > value && value > 0) || (back < value && value < 0);

	return half_value(inexact ? (bits - (uint32_t)beyond) | 1 : bits);
}

/* The value of 16 bits of bfloat16, exactly. */
static inline float bhalf_widen(uint16_t half)
{
	return half_value((uint32_t)half << 16);
}

/* The 16 bits of a value as bfloat16, rounded to nearest even. */
static inline uint16_t bhalf_narrow(float value)
{
	uint32_t bits = half_bits(value);
	uint32_t result = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;

	return (uint16_t)((bits & 0x7fffffff) > 0x7f800000u ? 0x7fff : result);
}

/* bhalf_cut - towards zero */
static inline uint16_t bhalf_cut(float value)
{
	uint32_t bits = half_bits(value);

	return (uint16_t)((bits & 0x7fffffff) > 0x7f800000u ? 0x7fff : bits >> 16);
}

#endif
