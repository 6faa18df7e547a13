/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each instruction of the PTX machine against a scalar reference in C, over random and special
 * values: with all lanes active, and with every second lane held back by a guard.
 *
 * A row is R(instruction, widths of d, a, b, c, kind, reference). Widths: h 16, w 32, l 64 bits. In
 * the instruction %d, %a, %b, %c are registers of those widths, %p is a scratch predicate that is
 * bit 0 of c. The reference sets d from a, b, c and p.
 */
#include <fenv.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "cuda/softgpu/ptx_half.h"
#include "tests/unit/ptx_harness.h"

#define LANES 480u

union value {
	uint16_t h;
	int16_t sh;
	uint32_t w;
	int32_t sw;
	uint64_t l;
	int64_t sl;
	float f;
	double g;
	uint8_t bytes[8];
};

typedef unsigned __int128 u128;
typedef __int128 s128;

struct row {
	const char *text;
	char widths[5];
	char kind; /* e exact, f float, g double, n nearly a float, h half, x two halves */
};

static float in_mode(int mode, char operation, float a, float b, float c)
{
	volatile float x = a, y = b, z = c, result = 0;
	int before = fegetround();

	fesetround(mode);
	switch (operation) {
	case '+':
		result = x + y;
		break;
	case '*':
		result = x * y;
		break;
	case '/':
		result = x / y;
		break;
	case 'f':
		result = fmaf(x, y, z);
		break;
	case 's':
		result = sqrtf(x);
		break;
	}
	fesetround(before);
	return result;
}

static double in_mode_double(int mode, char operation, double a, double b, double c)
{
	volatile double x = a, y = b, z = c, result = 0;
	int before = fegetround();

	fesetround(mode);
	switch (operation) {
	case '+':
		result = x + y;
		break;
	case '*':
		result = x * y;
		break;
	case 'f':
		result = fma(x, y, z);
		break;
	}
	fesetround(before);
	return result;
}

static float narrow_in_mode(int mode, double a)
{
	volatile double x = a;
	volatile float result;
	int before = fegetround();

	fesetround(mode);
	result = (float)x;
	fesetround(before);
	return result;
}

static float integer_in_mode(int mode, int32_t a)
{
	volatile int32_t x = a;
	volatile float result;
	int before = fegetround();

	fesetround(mode);
	result = (float)x;
	fesetround(before);
	return result;
}

static float flushed(float x)
{
	return fpclassify(x) == FP_SUBNORMAL ? copysignf(0, x) : x;
}

static float saturated(float x)
{
	return x > 0 ? (x < 1 ? x : 1) : 0;
}

static int64_t whole(double rounded, double low, double high, int64_t nan)
{
	if (isnan(rounded))
		return nan;
	return (int64_t)(rounded < low ? low : rounded > high ? high : rounded);
}

static uint32_t lop3(uint32_t a, uint32_t b, uint32_t c, uint32_t table)
{
	uint32_t result = 0;

	for (int bit = 0; bit < 32; bit++) {
		uint32_t index = (a >> bit & 1) << 2 | (b >> bit & 1) << 1 | (c >> bit & 1);

		result |= (table >> index & 1) << bit;
	}
	return result;
}

static uint64_t extract(uint64_t a, uint32_t b, uint32_t c, int bits, int is_signed)
{
	int position = b & 255, length = c & 255, last = bits - 1;
	uint64_t sign, result = 0;

	if (position + length - 1 < last)
		last = position + length - 1;
	sign = is_signed && length ? a >> last & 1 : 0;
	for (int i = 0; i < bits; i++)
		result |= (i < length && position + i < bits ? a >> (position + i) & 1 : sign) << i;
	return result;
}

static uint64_t insert(uint64_t a, uint64_t b, uint32_t c, uint32_t length, int bits)
{
	for (uint32_t i = 0; i < length && (c & 255) + i < (uint32_t)bits; i++) {
		b &= ~((uint64_t)1 << ((c & 255) + i));
		b |= (a >> i & 1) << ((c & 255) + i);
	}
	return b;
}

static uint32_t permute(uint32_t a, uint32_t b, uint32_t c)
{
	uint64_t bytes = (uint64_t)b << 32 | a;
	uint32_t result = 0;

	for (int i = 0; i < 4; i++) {
		uint32_t selector = c >> 4 * i & 15, byte = bytes >> 8 * (selector & 7) & 255;

		if (selector & 8)
			byte = byte & 128 ? 255 : 0;
		result |= byte << 8 * i;
	}
	return result;
}

static uint32_t saturated_sum(int64_t sum)
{
	return (uint32_t)(sum > INT32_MAX ? INT32_MAX : sum < INT32_MIN ? INT32_MIN : sum);
}

static int bit_first(uint64_t a, int bits)
{
	for (int bit = bits - 1; bit >= 0; bit--)
		if (a >> bit & 1)
			return bit;
	return -1;
}

/* half_nearest - f16 of a double by searching all of them */
static uint16_t half_nearest(double x)
{
	uint16_t best = 0;
	double distance = INFINITY;

	if (isnan(x))
		return 0x7fff;
	for (uint32_t half = 0; half < 0x7c00; half++) {
		double d = fabs((double)half_widen((uint16_t)half) - fabs(x));

		if (d < distance || (d == distance && !(half & 1))) {
			distance = d;
			best = (uint16_t)half;
		}
	}
	if (fabs(x) >= 65520)
		best = 0x7c00;
	return (uint16_t)(best | (signbit(x) ? 0x8000 : 0));
}

#define ROWS(R)                                                                                    \
	R("add.u16 %d, %a, %b;", hhh_, e, d->h = a.h + b.h)                                        \
	R("add.s32 %d, %a, %b;", www_, e, d->w = a.w + b.w)                                        \
	R("add.u64 %d, %a, %b;", lll_, e, d->l = a.l + b.l)                                        \
	R("add.sat.s32 %d, %a, %b;", www_, e, d->w = saturated_sum((int64_t)a.sw + b.sw))          \
	R("add.s32 %d, %a, -77;", www_, e, d->w = a.w - 77)                                        \
	R("sub.s16 %d, %a, %b;", hhh_, e, d->h = a.h - b.h)                                        \
	R("sub.u32 %d, %a, %b;", www_, e, d->w = a.w - b.w)                                        \
	R("sub.s64 %d, %a, %b;", lll_, e, d->l = a.l - b.l)                                        \
	R("sub.sat.s32 %d, %a, %b;", www_, e, d->w = saturated_sum((int64_t)a.sw - b.sw))          \
	R("mul.lo.s16 %d, %a, %b;", hhh_, e, d->h = (uint16_t)((uint32_t)a.h * b.h))               \
	R("mul.lo.u32 %d, %a, %b;", www_, e, d->w = a.w * b.w)                                     \
	R("mul.lo.s64 %d, %a, %b;", lll_, e, d->l = a.l * b.l)                                     \
	R("mul.hi.u16 %d, %a, %b;", hhh_, e, d->h = (uint16_t)((uint32_t)a.h * b.h >> 16))         \
	R("mul.hi.s16 %d, %a, %b;", hhh_, e, d->h = (uint16_t)(a.sh * b.sh >> 16))                 \
	R("mul.hi.u32 %d, %a, %b;", www_, e, d->w = (uint32_t)((uint64_t)a.w * b.w >> 32))         \
	R("mul.hi.s32 %d, %a, %b;", www_, e, d->w = (uint32_t)((int64_t)a.sw * b.sw >> 32))        \
	R("mul.hi.u64 %d, %a, %b;", lll_, e, d->l = (uint64_t)((u128)a.l * b.l >> 64))             \
	R("mul.hi.s64 %d, %a, %b;", lll_, e, d->l = (uint64_t)((s128)a.sl * b.sl >> 64))           \
	R("mul.wide.u16 %d, %a, %b;", whh_, e, d->w = (uint32_t)a.h * b.h)                         \
	R("mul.wide.s16 %d, %a, %b;", whh_, e, d->sw = a.sh * b.sh)                                \
	R("mul.wide.u32 %d, %a, %b;", lww_, e, d->l = (uint64_t)a.w * b.w)                         \
	R("mul.wide.s32 %d, %a, %b;", lww_, e, d->sl = (int64_t)a.sw * b.sw)                       \
	R("mad.lo.s32 %d, %a, %b, %c;", wwww, e, d->w = a.w * b.w + c.w)                           \
	R("mad.lo.u64 %d, %a, %b, %c;", llll, e, d->l = a.l * b.l + c.l)                           \
	R("mad.lo.u16 %d, %a, %b, %c;", hhhh, e, d->h = (uint16_t)((uint32_t)a.h * b.h + c.h))     \
	R("mad.hi.u32 %d, %a, %b, %c;", wwww, e,                                                   \
	  d->w = (uint32_t)((uint64_t)a.w * b.w >> 32) + c.w)                                      \
	R("mad.hi.s32 %d, %a, %b, %c;", wwww, e,                                                   \
	  d->w = (uint32_t)((int64_t)a.sw * b.sw >> 32) + c.w)                                     \
	R("mad.hi.sat.s32 %d, %a, %b, %c;", wwww, e,                                               \
	  d->w = saturated_sum(((int64_t)a.sw * b.sw >> 32) + c.sw))                               \
	R("mad.wide.u32 %d, %a, %b, %c;", lwwl, e, d->l = (uint64_t)a.w * b.w + c.l)               \
	R("mad.wide.s32 %d, %a, %b, %c;", lwwl, e, d->l = (uint64_t)((int64_t)a.sw * b.sw) + c.l)  \
	R("mad.wide.u16 %d, %a, %b, %c;", whhw, e, d->w = (uint32_t)a.h * b.h + c.w)               \
	R("mul24.lo.u32 %d, %a, %b;", www_, e, d->w = (a.w & 0xffffff) * (b.w & 0xffffff))         \
	R("mul24.hi.u32 %d, %a, %b;", www_, e,                                                     \
	  d->w = (uint32_t)((uint64_t)(a.w & 0xffffff) * (b.w & 0xffffff) >> 16))                  \
	R("mul24.lo.s32 %d, %a, %b;", www_, e,                                                     \
	  d->w = (uint32_t)((int64_t)((int32_t)(a.w << 8) >> 8) * ((int32_t)(b.w << 8) >> 8)))     \
	R("mad24.lo.s32 %d, %a, %b, %c;", wwww, e,                                                 \
	  d->w = (uint32_t)((int64_t)((int32_t)(a.w << 8) >> 8) * ((int32_t)(b.w << 8) >> 8)) +    \
		 c.w)                                                                              \
	R("{ add.cc.u32 %d, %a, %b; addc.u32 %d, %c, 0; }", wwww, e,                               \
	  d->w = c.w + (uint32_t)(((uint64_t)a.w + b.w) >> 32))                                    \
	R("{ sub.cc.u32 %d, %a, %b; subc.u32 %d, %c, 5; }", wwww, e, d->w = c.w - 5 - (a.w < b.w)) \
	R("{ add.cc.u64 %d, %a, %b; addc.cc.u64 %d, %d, %c; addc.u64 %d, 0, 0; }", llll, e,        \
	  d->l = (uint64_t)(((u128)(a.l + b.l) + c.l + (((u128)a.l + b.l) >> 64)) >> 64))          \
	R("{ mad.lo.cc.u32 %d, %a, %b, %c; madc.hi.u32 %d, %a, %b, %c; }", wwww, e,                \
	  d->w = (uint32_t)((uint64_t)a.w * b.w >> 32) + c.w +                                     \
		 (uint32_t)(((uint64_t)(a.w * b.w) + c.w) >> 32))                                  \
	R("sad.u32 %d, %a, %b, %c;", wwww, e, d->w = c.w + (a.w > b.w ? a.w - b.w : b.w - a.w))    \
	R("sad.s32 %d, %a, %b, %c;", wwww, e, d->w = c.w + (a.sw > b.sw ? a.w - b.w : b.w - a.w))  \
	R("sad.s16 %d, %a, %b, %c;", hhhh, e,                                                      \
	  d->h = (uint16_t)(c.h + (a.sh > b.sh ? a.sh - b.sh : b.sh - a.sh)))                      \
	R("div.u32 %d, %a, %b;", www_, e, d->w = b.w ? a.w / b.w : ~0u)                            \
	R("div.s32 %d, %a, %b;", www_, e, d->w = b.w ? (uint32_t)((int64_t)a.sw / b.sw) : ~0u)     \
	R("div.u64 %d, %a, %b;", lll_, e, d->l = b.l ? a.l / b.l : ~(uint64_t)0)                   \
	R("div.s64 %d, %a, %b;", lll_, e,                                                          \
	  d->l = b.l ? (uint64_t)((s128)a.sl / b.sl) : ~(uint64_t)0)                               \
	R("div.s16 %d, %a, %b;", hhh_, e, d->h = b.h ? (uint16_t)(a.sh / b.sh) : 0xffff)           \
	R("div.u16 %d, %a, %b;", hhh_, e, d->h = b.h ? (uint16_t)(a.h / b.h) : 0xffff)             \
	R("rem.u32 %d, %a, %b;", www_, e, d->w = b.w ? a.w % b.w : a.w)                            \
	R("rem.s32 %d, %a, %b;", www_, e, d->w = b.w ? (uint32_t)((int64_t)a.sw % b.sw) : a.w)     \
	R("rem.s64 %d, %a, %b;", lll_, e, d->l = b.l ? (uint64_t)((s128)a.sl % b.sl) : a.l)        \
	R("rem.u64 %d, %a, %b;", lll_, e, d->l = b.l ? a.l % b.l : a.l)                            \
	R("rem.s16 %d, %a, %b;", hhh_, e, d->h = b.h ? (uint16_t)(a.sh % b.sh) : a.h)              \
	R("min.s32 %d, %a, %b;", www_, e, d->sw = a.sw < b.sw ? a.sw : b.sw)                       \
	R("min.u32 %d, %a, %b;", www_, e, d->w = a.w < b.w ? a.w : b.w)                            \
	R("max.s64 %d, %a, %b;", lll_, e, d->sl = a.sl > b.sl ? a.sl : b.sl)                       \
	R("max.u64 %d, %a, %b;", lll_, e, d->l = a.l > b.l ? a.l : b.l)                            \
	R("max.u16 %d, %a, %b;", hhh_, e, d->h = a.h > b.h ? a.h : b.h)                            \
	R("min.s16 %d, %a, %b;", hhh_, e, d->sh = a.sh < b.sh ? a.sh : b.sh)                       \
	R("neg.s16 %d, %a;", hh__, e, d->h = (uint16_t)-a.h)                                       \
	R("neg.s32 %d, %a;", ww__, e, d->w = 0 - a.w)                                              \
	R("neg.s64 %d, %a;", ll__, e, d->l = 0 - a.l)                                              \
	R("abs.s32 %d, %a;", ww__, e, d->w = a.sw < 0 ? 0 - a.w : a.w)                             \
	R("abs.s64 %d, %a;", ll__, e, d->l = a.sl < 0 ? 0 - a.l : a.l)                             \
	R("abs.s16 %d, %a;", hh__, e, d->h = (uint16_t)(a.sh < 0 ? -a.sh : a.sh))                  \
	R("popc.b32 %d, %a;", ww__, e, d->w = (uint32_t)__builtin_popcount(a.w))                   \
	R("popc.b64 %d, %a;", wl__, e, d->w = (uint32_t)__builtin_popcountll(a.l))                 \
	R("clz.b32 %d, %a;", ww__, e, d->sw = 31 - bit_first(a.w, 32))                             \
	R("clz.b64 %d, %a;", wl__, e, d->sw = 63 - bit_first(a.l, 64))                             \
	R("bfind.u32 %d, %a;", ww__, e, d->sw = bit_first(a.w, 32))                                \
	R("bfind.s32 %d, %a;", ww__, e, d->sw = bit_first(a.sw < 0 ? ~a.w : a.w, 32))              \
	R("bfind.u64 %d, %a;", wl__, e, d->sw = bit_first(a.l, 64))                                \
	R("bfind.s64 %d, %a;", wl__, e, d->sw = bit_first(a.sl < 0 ? ~a.l : a.l, 64))              \
	R("bfind.shiftamt.u32 %d, %a;", ww__, e,                                                   \
	  d->sw = bit_first(a.w, 32) < 0 ? -1 : 31 - bit_first(a.w, 32))                           \
	R("brev.b32 %d, %a;", ww__, e, d->w = 0;                                                   \
	  for (int i = 0; i < 32; i++) d->w |= (a.w >> i & 1) << (31 - i))                         \
	R("brev.b64 %d, %a;", ll__, e, d->l = 0;                                                   \
	  for (int i = 0; i < 64; i++) d->l |= (a.l >> i & 1) << (63 - i))                         \
	R("bfe.u32 %d, %a, %b, %c;", wwww, e, d->w = (uint32_t)extract(a.w, b.w, c.w, 32, 0))      \
	R("bfe.s32 %d, %a, %b, %c;", wwww, e, d->w = (uint32_t)extract(a.w, b.w, c.w, 32, 1))      \
	R("bfe.u64 %d, %a, %b, %c;", llww, e, d->l = extract(a.l, b.w, c.w, 64, 0))                \
	R("bfe.s64 %d, %a, %b, %c;", llww, e, d->l = extract(a.l, b.w, c.w, 64, 1))                \
	R("bfe.s64 %d, %a, 3, 17;", ll__, e, d->l = extract(a.l, 3, 17, 64, 1))                    \
	R("bfi.b32 %d, %a, %b, %c, 7;", wwww, e, d->w = (uint32_t)insert(a.w, b.w, c.w, 7, 32))    \
	R("bfi.b64 %d, %a, %b, %c, 40;", lllw, e, d->l = insert(a.l, b.l, c.w, 40, 64))            \
	R("prmt.b32 %d, %a, %b, %c;", wwww, e, d->w = permute(a.w, b.w, c.w))                      \
	R("prmt.b32.f4e %d, %a, %b, 2;", www_, e, d->w = permute(a.w, b.w, 0x5432))                \
	R("prmt.b32.rc16 %d, %a, %b, 1;", www_, e, d->w = permute(a.w, b.w, 0x3232))               \
	R("lop3.b32 %d, %a, %b, %c, 0x96;", wwww, e, d->w = lop3(a.w, b.w, c.w, 0x96))             \
	R("lop3.b32 %d, %a, %b, %c, 0xe8;", wwww, e, d->w = lop3(a.w, b.w, c.w, 0xe8))             \
	R("lop3.b32 %d, %a, %b, %c, 0x1b;", wwww, e, d->w = lop3(a.w, b.w, c.w, 0x1b))             \
	R("shf.l.clamp.b32 %d, %a, %b, %c;", wwww, e,                                              \
	  d->w = (uint32_t)((((u128)b.w << 32 | a.w) << (c.w < 32 ? c.w : 32)) >> 32))             \
	R("shf.l.wrap.b32 %d, %a, %b, %c;", wwww, e,                                               \
	  d->w = (uint32_t)((((u128)b.w << 32 | a.w) << (c.w & 31)) >> 32))                        \
	R("shf.r.clamp.b32 %d, %a, %b, %c;", wwww, e,                                              \
	  d->w = (uint32_t)((((u128)b.w << 32 | a.w)) >> (c.w < 32 ? c.w : 32)))                   \
	R("shf.r.wrap.b32 %d, %a, %b, %c;", wwww, e,                                               \
	  d->w = (uint32_t)((((u128)b.w << 32 | a.w)) >> (c.w & 31)))                              \
	R("shl.b32 %d, %a, %b;", www_, e, d->w = b.w < 32 ? a.w << b.w : 0)                        \
	R("shl.b64 %d, %a, %b;", llw_, e, d->l = b.w < 64 ? a.l << b.w : 0)                        \
	R("shl.b16 %d, %a, %b;", hhw_, e, d->h = (uint16_t)(b.w < 16 ? a.h << b.w : 0))            \
	R("shr.u32 %d, %a, %b;", www_, e, d->w = b.w < 32 ? a.w >> b.w : 0)                        \
	R("shr.s32 %d, %a, %b;", www_, e, d->sw = a.sw >> (b.w < 32 ? b.w : 31))                   \
	R("shr.s64 %d, %a, %b;", llw_, e, d->sl = a.sl >> (b.w < 64 ? b.w : 63))                   \
	R("shr.u64 %d, %a, %b;", llw_, e, d->l = b.w < 64 ? a.l >> b.w : 0)                        \
	R("shr.s16 %d, %a, %b;", hhw_, e, d->sh = (int16_t)(a.sh >> (b.w < 16 ? b.w : 15)))        \
	R("shr.u32 %d, %a, 31;", ww__, e, d->w = a.w >> 31)                                        \
	R("and.b32 %d, %a, %b;", www_, e, d->w = a.w & b.w)                                        \
	R("or.b64 %d, %a, %b;", lll_, e, d->l = a.l | b.l)                                         \
	R("xor.b16 %d, %a, %b;", hhh_, e, d->h = a.h ^ b.h)                                        \
	R("not.b64 %d, %a;", ll__, e, d->l = ~a.l)                                                 \
	R("not.b16 %d, %a;", hh__, e, d->h = (uint16_t)~a.h)                                       \
	R("cnot.b32 %d, %a;", ww__, e, d->w = !a.w)                                                \
	R(                                                                                         \
		"fns.b32 %d, %a, 3, 2;", ww__, e, d->w = ~0u;                                      \
		for (int i = 3, left = 2; i < 32; i++) if ((a.w >> i & 1) && !--left) {            \
			d->w = (uint32_t)i;                                                        \
			break;                                                                     \
		})                                                                                 \
	R("dp4a.s32.u32 %d, %a, %b, %c;", wwww, e, d->w = c.w;                                     \
	  for (int i = 0; i < 4; i++) d->w += (uint32_t)((int8_t)a.bytes[i] * (int)b.bytes[i]))    \
	R("dp2a.hi.s32.s32 %d, %a, %b, %c;", wwww, e,                                              \
	  d->w = c.w + (uint32_t)((int16_t)a.w * (int8_t)b.bytes[2]) +                             \
		 (uint32_t)((int16_t)(a.w >> 16) * (int8_t)b.bytes[3]))                            \
	R("add.u16x2 %d, %a, %b;", www_, e,                                                        \
	  d->w = (uint16_t)(a.w + b.w) | ((a.w >> 16) + (b.w >> 16)) << 16)                        \
	R("max.s16x2 %d, %a, %b;", www_, e,                                                        \
	  d->w = (uint32_t)(uint16_t)(a.sh > b.sh ? a.sh : b.sh) |                                 \
		 ((int16_t)(a.w >> 16) > (int16_t)(b.w >> 16) ? a.w : b.w) >> 16 << 16)            \
	R("vabsdiff4.u32.u32.u32.add %d, %a, %b, %c;", wwww, e, d->w = c.w;                        \
	  for (int i = 0; i < 4; i++) d->w += (uint32_t)abs(a.bytes[i] - b.bytes[i]))              \
	R("szext.clamp.s32 %d, %a, %b;", www_, e,                                                  \
	  d->w = b.w >= 32 ? a.w                                                                   \
		 : b.w	   ? (uint32_t)extract(a.w, 0, b.w, 32, 1)                                 \
			   : 0)                                                                        \
	R("szext.wrap.u32 %d, %a, %b;", www_, e,                                                   \
	  d->w = (uint32_t)extract(a.w, 0, b.w & 31, 32, 0))                                       \
	R("bmsk.clamp.b32 %d, %a, %b;", www_, e, d->w = 0;                                         \
	  for (uint32_t i = 0; i < 32; i++) d->w |= (uint32_t)(i >= a.w && i - a.w < b.w) << i)    \
	R("selp.b32 %d, %a, %b, %p;", www_, e, d->w = p ? a.w : b.w)                               \
	R("selp.f64 %d, %a, %b, %p;", lll_, e, d->l = p ? a.l : b.l)                               \
	R("slct.u32.s32 %d, %a, %b, %c;", wwww, e, d->w = c.sw >= 0 ? a.w : b.w)                   \
	R("slct.u64.f32 %d, %a, %b, %c;", lllw, e, d->l = c.f >= 0 ? a.l : b.l)                    \
	R("{ .reg .pred q; setp.lt.s32 q, %a, %b; selp.u32 %d, 1, 0, q; }", www_, e,               \
	  d->w = a.sw < b.sw)                                                                      \
	R("{ .reg .pred q; setp.hi.u32 q, %a, %b; selp.u32 %d, 1, 0, q; }", www_, e,               \
	  d->w = a.w > b.w)                                                                        \
	R("{ .reg .pred q; setp.ls.u64 q, %a, %b; selp.u64 %d, 1, 0, q; }", lll_, e,               \
	  d->l = a.l <= b.l)                                                                       \
	R("{ .reg .pred q; setp.ge.s16 q, %a, %b; selp.u16 %d, 1, 0, q; }", hhh_, e,               \
	  d->h = a.sh >= b.sh)                                                                     \
	R("{ .reg .pred q, r; setp.ne.and.b32 q|r, %a, %b, !%p; selp.u32 %d, 1, 0, q;"             \
	  " @r add.u32 %d, %d, 2; }",                                                              \
	  www_, e, d->w = (a.w != b.w && !p) + 2 * (a.w == b.w && !p))                             \
	R("{ .reg .pred q; setp.lt.xor.s64 q, %a, %b, %p; selp.u64 %d, 1, 0, q; }", lll_, e,       \
	  d->l = (a.sl < b.sl) ^ p)                                                                \
	R("set.gt.u32.s32 %d, %a, %b;", www_, e, d->w = a.sw > b.sw ? ~0u : 0)                     \
	R("set.le.f32.u32 %d, %a, %b;", www_, e, d->f = a.w <= b.w ? 1 : 0)                        \
	R("set.gtu.or.u32.f32 %d, %a, %b, %p;", www_, e, d->w = !(a.f <= b.f) || p ? ~0u : 0)      \
	R("mov.b64 %d, {%a, %b};", lww_, e, d->l = (uint64_t)b.w << 32 | a.w)                      \
	R("mov.b32 %d, {%a, %b};", whh_, e, d->w = (uint32_t)b.h << 16 | a.h)                      \
	R("mov.b64 {_, %d}, %a;", wl__, e, d->w = (uint32_t)(a.l >> 32))                           \
	R("mov.b32 {%d, _}, %a;", hw__, e, d->h = (uint16_t)a.w)                                   \
	R("{ .reg .b16 x, y, z, u; mov.b64 {x, y, z, u}, %a; mov.b64 %d, {u, z, y, x}; }", ll__,   \
	  e, d->l = a.l << 48 | (a.l & 0xffff0000) << 16 | (a.l >> 16 & 0xffff0000) | a.l >> 48)   \
	R("cvt.u64.u32 %d, %a;", lw__, e, d->l = a.w)                                              \
	R("cvt.s64.s32 %d, %a;", lw__, e, d->sl = a.sw)                                            \
	R("cvt.s32.s16 %d, %a;", wh__, e, d->sw = a.sh)                                            \
	R("cvt.u32.u16 %d, %a;", wh__, e, d->w = a.h)                                              \
	R("cvt.u32.u64 %d, %a;", wl__, e, d->w = (uint32_t)a.l)                                    \
	R("cvt.u16.u32 %d, %a;", hw__, e, d->h = (uint16_t)a.w)                                    \
	R("cvt.s32.s8 %d, %a;", ww__, e, d->sw = (int8_t)a.w)                                      \
	R("cvt.u16.u8 %d, %a;", hh__, e, d->h = (uint8_t)a.h)                                      \
	R("cvt.s16.s8 %d, %a;", hh__, e, d->sh = (int8_t)a.h)                                      \
	R("cvt.s64.s16 %d, %a;", lh__, e, d->sl = a.sh)                                            \
	R("cvt.u8.u32 %d, %a;", ww__, e, d->w = (uint8_t)a.w)                                      \
	R("cvt.s8.s64 %d, %a;", wl__, e, d->sw = (int8_t)a.l)                                      \
	R("cvt.sat.u8.s32 %d, %a;", ww__, e,                                                       \
	  d->w = (uint32_t)(a.sw < 0	 ? 0                                                       \
			    : a.sw > 255 ? 255                                                     \
					 : a.sw))                                                  \
	R("cvt.sat.s16.s32 %d, %a;", hw__, e,                                                      \
	  d->sh = (int16_t)(a.sw < -32768  ? -32768                                                \
			    : a.sw > 32767 ? 32767                                                 \
					   : a.sw))                                                \
	R("cvt.sat.u32.s64 %d, %a;", wl__, e,                                                      \
	  d->w = a.sl < 0	     ? 0                                                           \
		 : a.sl > UINT32_MAX ? UINT32_MAX                                                  \
				     : (uint32_t)a.sl)                                             \
	R("cvt.sat.s32.u32 %d, %a;", ww__, e, d->w = a.w > INT32_MAX ? INT32_MAX : a.w)            \
	R("cvt.rn.f32.s32 %d, %a;", ww__, e, d->f = (float)a.sw)                                   \
	R("cvt.rz.f32.s32 %d, %a;", ww__, e, d->f = integer_in_mode(FE_TOWARDZERO, a.sw))          \
	R("cvt.rp.f32.s32 %d, %a;", ww__, e, d->f = integer_in_mode(FE_UPWARD, a.sw))              \
	R("cvt.rn.f32.u32 %d, %a;", ww__, e, d->f = (float)a.w)                                    \
	R("cvt.rn.f32.u64 %d, %a;", wl__, e, d->f = (float)a.l)                                    \
	R("cvt.rn.f32.s64 %d, %a;", wl__, e, d->f = (float)a.sl)                                   \
	R("cvt.rn.f32.u8 %d, %a;", ww__, e, d->f = (float)(uint8_t)a.w)                            \
	R("cvt.rn.f32.s16 %d, %a;", wh__, e, d->f = (float)a.sh)                                   \
	R("cvt.rn.f64.s32 %d, %a;", lw__, e, d->g = (double)a.sw)                                  \
	R("cvt.rn.f64.u64 %d, %a;", ll__, e, d->g = (double)a.l)                                   \
	R("cvt.rn.f64.s64 %d, %a;", ll__, e, d->g = (double)a.sl)                                  \
	R("cvt.rzi.s32.f32 %d, %a;", ww__, e,                                                      \
	  d->sw = (int32_t)whole(trunc(a.f), INT32_MIN, INT32_MAX, 0))                             \
	R("cvt.rni.s32.f32 %d, %a;", ww__, e,                                                      \
	  d->sw = (int32_t)whole(rint(a.f), INT32_MIN, INT32_MAX, 0))                              \
	R("cvt.rmi.s32.f32 %d, %a;", ww__, e,                                                      \
	  d->sw = (int32_t)whole(floor(a.f), INT32_MIN, INT32_MAX, 0))                             \
	R("cvt.rpi.u32.f32 %d, %a;", ww__, e, d->w = (uint32_t)whole(ceil(a.f), 0, UINT32_MAX, 0)) \
	R("cvt.rzi.u32.f64 %d, %a;", wl__, e,                                                      \
	  d->w = (uint32_t)whole(trunc(a.g), 0, UINT32_MAX, (int64_t)1 << 31))                     \
	R("cvt.rni.s32.f64 %d, %a;", wl__, e,                                                      \
	  d->sw = (int32_t)whole(rint(a.g), INT32_MIN, INT32_MAX, INT32_MIN))                      \
	R("cvt.rzi.s64.f32 %d, %a;", lw__, e,                                                      \
	  d->sl = isnan(a.f)	   ? INT64_MIN                                                     \
		  : a.f >= 0x1p63f ? INT64_MAX                                                     \
		  : a.f < -0x1p63f ? INT64_MIN                                                     \
				   : (int64_t)a.f)                                                 \
	R("cvt.rzi.u64.f64 %d, %a;", ll__, e,                                                      \
	  d->l = isnan(a.g)	 ? (uint64_t)1 << 63                                               \
		 : a.g >= 0x1p64 ? UINT64_MAX                                                      \
		 : a.g < 0	 ? 0                                                               \
				 : (uint64_t)a.g)                                                        \
	R("cvt.rzi.s16.f32 %d, %a;", hw__, e,                                                      \
	  d->sh = (int16_t)whole(trunc(a.f), INT16_MIN, INT16_MAX, 0))                             \
	R("cvt.rzi.u8.f32 %d, %a;", ww__, e, d->w = (uint32_t)whole(trunc(a.f), 0, 255, 0))        \
	R("cvt.rn.f32.f64 %d, %a;", wl__, f, d->f = (float)a.g)                                    \
	R("cvt.rz.f32.f64 %d, %a;", wl__, f, d->f = narrow_in_mode(FE_TOWARDZERO, a.g))            \
	R("cvt.rm.f32.f64 %d, %a;", wl__, f, d->f = narrow_in_mode(FE_DOWNWARD, a.g))              \
	R("cvt.rp.f32.f64 %d, %a;", wl__, f, d->f = narrow_in_mode(FE_UPWARD, a.g))                \
	R("cvt.f64.f32 %d, %a;", lw__, g, d->g = (double)a.f)                                      \
	R("cvt.rmi.f32.f32 %d, %a;", ww__, f, d->f = floorf(a.f))                                  \
	R("cvt.rni.f64.f64 %d, %a;", ll__, g, d->g = rint(a.g))                                    \
	R("cvt.sat.f32.f32 %d, %a;", ww__, e, d->f = saturated(a.f))                               \
	R("cvt.ftz.f64.f32 %d, %a;", lw__, g, d->g = (double)flushed(a.f))                         \
	R("cvt.f32.f16 %d, %a;", wh__, f, d->f = half_widen(a.h))                                  \
	R("cvt.rn.f16.f32 %d, %a;", hw__, e, d->h = half_nearest(a.f))                             \
	R("cvt.rn.f16.f64 %d, %a;", hl__, e, d->h = half_nearest(a.g))                             \
	R("cvt.rzi.s32.f16 %d, %a;", wh__, e,                                                      \
	  d->sw = (int32_t)whole(trunc(half_widen(a.h)), INT32_MIN, INT32_MAX, 0))                 \
	R("cvt.rn.f16.s32 %d, %a;", hw__, e, d->h = half_nearest(a.sw))                            \
	R("cvt.rn.f16x2.f32 %d, %a, %b;", www_, e,                                                 \
	  d->w = (uint32_t)half_nearest(a.f) << 16 | half_nearest(b.f))                            \
	R("cvt.rn.bf16.f32 %d, %a;", hw__, e,                                                      \
	  d->h = isnan(a.f) ? 0x7fff                                                               \
			    : (uint16_t)(((uint64_t)a.w + 0x7fff + (a.w >> 16 & 1)) >> 16))        \
	R("add.f32 %d, %a, %b;", www_, f, d->f = a.f + b.f)                                        \
	R("add.rz.f32 %d, %a, %b;", www_, f, d->f = in_mode(FE_TOWARDZERO, '+', a.f, b.f, 0))      \
	R("add.rm.f32 %d, %a, %b;", www_, f, d->f = in_mode(FE_DOWNWARD, '+', a.f, b.f, 0))        \
	R("add.rp.f32 %d, %a, %b;", www_, f, d->f = in_mode(FE_UPWARD, '+', a.f, b.f, 0))          \
	R("add.sat.f32 %d, %a, %b;", www_, e, d->f = saturated(a.f + b.f))                         \
	R("add.ftz.f32 %d, %a, %b;", www_, f, d->f = flushed(flushed(a.f) + flushed(b.f)))         \
	R("sub.f32 %d, %a, %b;", www_, f, d->f = a.f - b.f)                                        \
	R("mul.f32 %d, %a, %b;", www_, f, d->f = a.f * b.f)                                        \
	R("mul.f32 %d, %a, 0f40490FDB;", ww__, f, d->f = a.f * 3.14159274f)                        \
	R("mul.rm.f32 %d, %a, %b;", www_, f, d->f = in_mode(FE_DOWNWARD, '*', a.f, b.f, 0))        \
	R("fma.rn.f32 %d, %a, %b, %c;", wwww, f, d->f = fmaf(a.f, b.f, c.f))                       \
	R("fma.rp.f32 %d, %a, %b, %c;", wwww, f, d->f = in_mode(FE_UPWARD, 'f', a.f, b.f, c.f))    \
	R("fma.rn.ftz.f32 %d, %a, %b, %c;", wwww, f,                                               \
	  d->f = flushed(fmaf(flushed(a.f), flushed(b.f), flushed(c.f))))                          \
	R("mad.rn.f32 %d, %a, %b, %c;", wwww, f, d->f = fmaf(a.f, b.f, c.f))                       \
	R("div.rn.f32 %d, %a, %b;", www_, f, d->f = a.f / b.f)                                     \
	R("div.rz.f32 %d, %a, %b;", www_, f, d->f = in_mode(FE_TOWARDZERO, '/', a.f, b.f, 0))      \
	R("div.full.f32 %d, %a, %b;", www_, n, d->f = a.f / b.f)                                   \
	R("div.approx.f32 %d, %a, %b;", www_, n, d->f = a.f / b.f)                                 \
	R("min.f32 %d, %a, %b;", www_, f,                                                          \
	  d->f = isnan(a.f)   ? b.f                                                                \
		 : isnan(b.f) ? a.f                                                                \
		 : a.f == b.f ? (signbit(a.f) ? a.f : b.f)                                         \
		 : a.f < b.f  ? a.f                                                                \
			      : b.f)                                                                \
	R("max.f32 %d, %a, %b;", www_, f,                                                          \
	  d->f = isnan(a.f)   ? b.f                                                                \
		 : isnan(b.f) ? a.f                                                                \
		 : a.f == b.f ? (signbit(a.f) ? b.f : a.f)                                         \
		 : a.f > b.f  ? a.f                                                                \
			      : b.f)                                                                \
	R("max.NaN.f32 %d, %a, %b;", www_, f,                                                      \
	  d->f = isnan(a.f) || isnan(b.f) ? NAN                                                    \
		 : a.f == b.f		  ? (signbit(a.f) ? b.f : a.f)                             \
		 : a.f > b.f		  ? a.f                                                    \
					  : b.f)                                                                \
	R("neg.f32 %d, %a;", ww__, f, d->f = -a.f)                                                 \
	R("abs.f32 %d, %a;", ww__, f, d->f = fabsf(a.f))                                           \
	R("abs.ftz.f32 %d, %a;", ww__, f, d->f = fabsf(flushed(a.f)))                              \
	R("sqrt.rn.f32 %d, %a;", ww__, f, d->f = sqrtf(a.f))                                       \
	R("sqrt.rp.f32 %d, %a;", ww__, f, d->f = in_mode(FE_UPWARD, 's', a.f, 0, 0))               \
	R("rcp.rn.f32 %d, %a;", ww__, f, d->f = 1 / a.f)                                           \
	R("rcp.approx.ftz.f32 %d, %a;", ww__, n, d->f = flushed(1 / flushed(a.f)))                 \
	R("rsqrt.approx.f32 %d, %a;", ww__, n, d->f = 1 / sqrtf(a.f))                              \
	R("sin.approx.f32 %d, %a;", ww__, n, d->f = sinf(a.f))                                     \
	R("cos.approx.f32 %d, %a;", ww__, n, d->f = cosf(a.f))                                     \
	R("lg2.approx.f32 %d, %a;", ww__, n, d->f = log2f(a.f))                                    \
	R("ex2.approx.f32 %d, %a;", ww__, n, d->f = exp2f(a.f))                                    \
	R("tanh.approx.f32 %d, %a;", ww__, n, d->f = tanhf(a.f))                                   \
	R("copysign.f32 %d, %a, %b;", www_, f, d->f = copysignf(b.f, a.f))                         \
	R("add.f64 %d, %a, %b;", lll_, g, d->g = a.g + b.g)                                        \
	R("add.rz.f64 %d, %a, %b;", lll_, g,                                                       \
	  d->g = in_mode_double(FE_TOWARDZERO, '+', a.g, b.g, 0))                                  \
	R("sub.rn.f64 %d, %a, %b;", lll_, g, d->g = a.g - b.g)                                     \
	R("mul.rp.f64 %d, %a, %b;", lll_, g, d->g = in_mode_double(FE_UPWARD, '*', a.g, b.g, 0))   \
	R("fma.rn.f64 %d, %a, %b, %c;", llll, g, d->g = fma(a.g, b.g, c.g))                        \
	R("fma.rm.f64 %d, %a, %b, %c;", llll, g,                                                   \
	  d->g = in_mode_double(FE_DOWNWARD, 'f', a.g, b.g, c.g))                                  \
	R("div.rn.f64 %d, %a, %b;", lll_, g, d->g = a.g / b.g)                                     \
	R("sqrt.rn.f64 %d, %a;", ll__, g, d->g = sqrt(a.g))                                        \
	R("rcp.rn.f64 %d, %a;", ll__, g, d->g = 1 / a.g)                                           \
	R("min.f64 %d, %a, %b;", lll_, g,                                                          \
	  d->g = isnan(a.g)   ? b.g                                                                \
		 : isnan(b.g) ? a.g                                                                \
		 : a.g == b.g ? (signbit(a.g) ? a.g : b.g)                                         \
		 : a.g < b.g  ? a.g                                                                \
			      : b.g)                                                                \
	R("neg.f64 %d, %a;", ll__, g, d->g = -a.g)                                                 \
	R("copysign.f64 %d, %a, %b;", lll_, g, d->g = copysign(b.g, a.g))                          \
	R("{ .reg .pred q; setp.neu.f32 q, %a, %b; selp.u32 %d, 1, 0, q; }", www_, e,              \
	  d->w = a.f != b.f)                                                                       \
	R("{ .reg .pred q; setp.ne.f32 q, %a, %b; selp.u32 %d, 1, 0, q; }", www_, e,               \
	  d->w = a.f < b.f || a.f > b.f)                                                           \
	R("{ .reg .pred q; setp.equ.f64 q, %a, %b; selp.u64 %d, 1, 0, q; }", lll_, e,              \
	  d->l = a.g == b.g || isnan(a.g) || isnan(b.g))                                           \
	R("{ .reg .pred q; setp.geu.f32 q, %a, %b; selp.u32 %d, 1, 0, q; }", www_, e,              \
	  d->w = !(a.f < b.f))                                                                     \
	R("{ .reg .pred q; setp.nan.f32 q, %a, %b; selp.u32 %d, 1, 0, q; }", www_, e,              \
	  d->w = isnan(a.f) || isnan(b.f))                                                         \
	R("{ .reg .pred q; setp.gt.ftz.f32 q, %a, 0f00000000; selp.u32 %d, 1, 0, q; }", ww__, e,   \
	  d->w = flushed(a.f) > 0)                                                                 \
	R("{ .reg .pred q; setp.lt.f16 q, %a, %b; selp.u16 %d, 1, 0, q; }", hhh_, e,               \
	  d->h = half_widen(a.h) < half_widen(b.h))                                                \
	R("{ .reg .pred q; testp.normal.f32 q, %a; selp.u32 %d, 1, 0, q; }", ww__, e,              \
	  d->w = isnormal(a.f) != 0)                                                               \
	R("{ .reg .pred q; testp.subnormal.f64 q, %a; selp.u64 %d, 1, 0, q; }", ll__, e,           \
	  d->l = fpclassify(a.g) == FP_SUBNORMAL)                                                  \
	R("{ .reg .pred q; testp.infinite.f32 q, %a; selp.u32 %d, 1, 0, q; }", ww__, e,            \
	  d->w = isinf(a.f) != 0)                                                                  \
	R("{ .reg .pred q; testp.notanumber.f64 q, %a; selp.u64 %d, 1, 0, q; }", ll__, e,          \
	  d->l = isnan(a.g) != 0)                                                                  \
	R("add.f16 %d, %a, %b;", hhh_, h,                                                          \
	  d->h = half_nearest((double)half_widen(a.h) + half_widen(b.h)))                          \
	R("mul.f16 %d, %a, %b;", hhh_, h,                                                          \
	  d->h = half_nearest((double)half_widen(a.h) * half_widen(b.h)))                          \
	R("fma.rn.f16 %d, %a, %b, %c;", hhhh, h,                                                   \
	  d->h = half_nearest((double)half_widen(a.h) * half_widen(b.h) + half_widen(c.h)))        \
	R("set.lt.f16x2.f16x2 %d, %a, %b;", www_, e,                                               \
	  d->w = (half_widen(a.h) < half_widen(b.h) ? 0x3c00u : 0) |                               \
		 (half_widen((uint16_t)(a.w >> 16)) < half_widen((uint16_t)(b.w >> 16))            \
			  ? 0x3c000000u                                                            \
			  : 0))                                                                    \
	R("{ .reg .pred q, r; setp.ge.and.f16x2 q|r, %a, %b, %p; selp.u32 %d, 1, 0, q;"            \
	  " @r add.u32 %d, %d, 2; }",                                                              \
	  www_, e,                                                                                 \
	  d->w = p ? (half_widen(a.h) >= half_widen(b.h)) +                                        \
				 2 * (half_widen((uint16_t)(a.w >> 16)) >=                         \
				      half_widen((uint16_t)(b.w >> 16)))                           \
		   : 0)                                                                            \
	R("neg.f16 %d, %a;", hh__, h, d->h = a.h ^ 0x8000)                                         \
	R("sub.f16x2 %d, %a, %b;", www_, x,                                                        \
	  d->w = (uint32_t)half_nearest((double)half_widen((uint16_t)(a.w >> 16)) -                \
					half_widen((uint16_t)(b.w >> 16)))                         \
			 << 16 |                                                                   \
		 half_nearest((double)half_widen(a.h) - half_widen(b.h)))

/* Rows are numbered in order: the cases here and the table behind them agree. */
static void reference(unsigned int row, union value *d, union value a, union value b, union value c,
		      int p)
{
	enum { BASE = __COUNTER__ + 1 };

#define CASE(text, widths, kind, statement) \
	case __COUNTER__ - BASE:            \
		statement;                  \
		break;
	switch (row) {
		ROWS(CASE)
	}
	(void)p;
}

#define TABLE(text, widths, kind, statement) { text, #widths, #kind[0] },
static const struct row rows[] = { ROWS(TABLE) };

static uint32_t random_state = 12345;

static uint32_t random_word(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 17;
	random_state ^= random_state << 5;
	return random_state;
}

/* interesting - a value of that width: random bits, small numbers, and the edges of each type */
static union value interesting(char width, char kind)
{
	static const uint64_t edges_16[] = { 0,	     1,	     0x7fff, 0x8000, 0xffff, 0x3c00,
					     0x7c00, 0x0001, 0x03ff, 0xfc00, 0x7bff, 0x3c01 };
	static const uint64_t edges_32[] = { 0,	 1,	     0x7fffffff, 0x80000000, 0xffffffff,
					     31, 32,	     33,	 0x3f800000, 0xbf800000,
					     8,	 0x7f800000, 0x7fc00001, 0x00000001, 0x807fffff,
					     16, 0x3f000000, 0x40200000, 0x4b000001, 0x4f000000 };
	static const uint64_t edges_64[] = { 0,
					     1,
					     INT64_MAX,
					     (uint64_t)INT64_MAX + 1,
					     UINT64_MAX,
					     63,
					     64,
					     0xffffffff,
					     0x3ff0000000000000,
					     0xbff8000000000000,
					     0x7ff0000000000000,
					     0x7ff8000000000001,
					     0x0000000000000001,
					     0x8000000000000001,
					     0x43e0000000000000,
					     0x41e0000000000000 };
	union value value = { .l = (uint64_t)random_word() << 32 | random_word() };
	uint32_t choice = random_word() % 8;

	if (choice == 0)
		value.l = width == 'h'	 ? edges_16[random_word() % 12]
			  : width == 'w' ? edges_32[random_word() % 20]
					 : edges_64[random_word() % 16];
	else if (choice == 1)
		value.l = random_word() % 70;
	else if (choice < 5 && (kind == 'f' || kind == 'n' || kind == 'e') && width == 'w')
		value.f = (float)((int32_t)random_word() % 4096) * 0.0625f;
	else if (choice < 5 && (kind == 'g' || kind == 'e') && width == 'l')
		value.g = (double)(int32_t)random_word() * 0.001;
	return value;
}

static bool nearly(float a, float b)
{
	if (isnan(a) || isnan(b))
		return isnan(a) && isnan(b);
	if (a == b)
		return true;
	return fabsf(a - b) <= 4e-6f * fabsf(b) || fabsf(a - b) <= 1e-37f;
}

static bool half_same(uint16_t a, uint16_t b)
{
	return a == b || ((a & 0x7fff) > 0x7c00 && (b & 0x7fff) > 0x7c00);
}

static bool same(const struct row *row, union value a, union value b)
{
	switch (row->kind) {
	case 'f': /* what is not a number is the device's one */
		return a.w == b.w || (a.w == 0x7fffffff && isnan(b.f)) ||
		       (isnan(a.f) && isnan(b.f) && row->text[0] != 'a' && row->text[0] != 'f');
	case 'g':
		return a.l == b.l || (isnan(a.g) && isnan(b.g));
	case 'n':
		return nearly(a.f, b.f);
	case 'h':
		return half_same(a.h, b.h);
	case 'x':
		return half_same(a.h, b.h) &&
		       half_same((uint16_t)(a.w >> 16), (uint16_t)(b.w >> 16));
	default:
		return row->widths[0] == 'h'   ? a.h == b.h
		       : row->widths[0] == 'w' ? a.w == b.w
					       : a.l == b.l;
	}
}

static const char *type_of(char width)
{
	return width == 'h' ? "b16" : width == 'w' ? "b32" : "b64";
}

/* kernel_text - a kernel that runs one row on arrays of 8-byte values */
static void kernel_text(char *text, size_t bytes, const struct row *row, bool guarded)
{
	size_t used = (size_t)snprintf(
		text, bytes,
		".version 8.0\n.target sm_80\n.address_size 64\n"
		".visible .entry k(.param .u64 pa, .param .u64 pb, .param .u64 pc, .param .u64 pd)"
		"\n{\n.reg .b64 %%at, %%base, %%offset;\n.reg .b32 %%i, %%x, %%bit;\n"
		".reg .pred %%p, %%g;\n"
		"mov.u32 %%i, %%tid.x;\nmul.wide.u32 %%offset, %%i, 8;\n");

	for (int k = 3; k >= 0; k--) {
		char width = row->widths[k] == '_' ? 'w' : row->widths[k];
		char letter = k ? (char)('a' + k - 1) : 'd';

		used += (size_t)snprintf(
			text + used, bytes - used,
			".reg .%s %%%c;\nld.param.u64 %%base, [p%c];\n"
			"add.u64 %%at, %%base, %%offset;\nld.global.%s %%%c, [%%at];\n",
			type_of(width), letter, letter, type_of(width), letter);
	}
	/* %at is now where d goes. */
	used += (size_t)snprintf(text + used, bytes - used,
				 "ld.param.u64 %%base, [pc];\nadd.u64 %%base, %%base, %%offset;\n"
				 "ld.global.u8 %%x, [%%base];\nand.b32 %%bit, %%x, 1;\n"
				 "setp.ne.u32 %%p, %%bit, 0;\nand.b32 %%bit, %%i, 1;\n"
				 "setp.ne.u32 %%g, %%bit, 0;\n%s%s\n%sst.global.%s [%%at], %%d;\n"
				 "ret;\n}\n",
				 guarded ? "@!%g bra $after;\n" : "", row->text,
				 guarded ? "$after:\n" : "", type_of(row->widths[0]));
	assert_true(used < bytes);
}

struct arrays {
	struct harness harness;
	union value *values[4]; /* d, a, b, c */
};

static void check_row(struct arrays *arrays, unsigned int number, bool guarded)
{
	const struct row *row = &rows[number];
	struct ptx_module *module;
	struct ptx_launch launch;
	struct error error = { 0 };
	char text[4096];
	union value *const *v = arrays->values;
	const void *parameters[4] = { v[1], v[2], v[3], v[0] };

	kernel_text(text, sizeof(text), row, guarded);
	if (ptx_module_load(text, strlen(text), &arrays->harness.memory, &module, &error))
		fail_msg("%s: %s", row->text, error.text);
	for (unsigned int i = 0; i < LANES; i++)
		for (int k = 0; k < 4; k++)
			v[k][i] = k ? interesting(row->widths[k], row->kind)
				    : (union value){ .l = 0xdeadbeefdeadbeef };
	assert_int_equal(
		harness_launch(&arrays->harness, module, "k", 1, LANES - 3, 0, parameters, &launch),
		0);
	assert_int_equal(launch.fault, PTX_FAULT_NONE);
	for (unsigned int i = 0; i < LANES; i++) {
		union value expected = { .l = 0xdeadbeefdeadbeef };

		if (i < LANES - 3 && (!guarded || (i & 1)))
			reference(number, &expected, v[1][i], v[2][i], v[3][i], v[3][i].l & 1);
		if (same(row, v[0][i], expected) &&
		    (i < LANES - 3 || v[0][i].l == 0xdeadbeefdeadbeef))
			continue;
		fail_msg("%s%s, thread %u: a %llx b %llx c %llx gives %llx, not %llx", row->text,
			 guarded ? " (guarded)" : "", i, (unsigned long long)v[1][i].l,
			 (unsigned long long)v[2][i].l, (unsigned long long)v[3][i].l,
			 (unsigned long long)v[0][i].l, (unsigned long long)expected.l);
	}
	ptx_module_free(module);
}

static void arrays_open(struct arrays *arrays)
{
	harness_open(&arrays->harness);
	for (int k = 0; k < 4; k++)
		arrays->values[k] = harness_take(&arrays->harness, LANES * sizeof(union value));
}

static void test_all_lanes(void **state)
{
	static struct arrays arrays;

	(void)state;
	arrays_open(&arrays);
	for (unsigned int number = 0; number < sizeof(rows) / sizeof(rows[0]); number++)
		check_row(&arrays, number, false);
	harness_close(&arrays.harness);
}

static void test_some_lanes(void **state)
{
	static struct arrays arrays;

	(void)state;
	arrays_open(&arrays);
	for (unsigned int number = 0; number < sizeof(rows) / sizeof(rows[0]); number++)
		check_row(&arrays, number, true);
	harness_close(&arrays.harness);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_lanes),
		cmocka_unit_test(test_some_lanes),
	};

	alarm(110);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
