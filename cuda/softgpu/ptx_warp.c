/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handlers of instructions in which the lanes of a warp exchange values: shfl, vote, match, redux,
 * elect, activemask, bar.warp.sync.
 *
 * The member mask (operand 4) may differ between lanes: the lanes that name the same mask form a
 * part of their own. Before it acts, the instruction waits for all lanes that any mask names.
 */
#include <stdbool.h>

#include "cuda/softgpu/ptx_code.h"

#define HANDLER(name)                                                      \
	static const struct ptx_code *handle_##name(struct ptx_warp *warp, \
						    const struct ptx_code *code)

static const uint32_t *members(const struct ptx_warp *warp, const struct ptx_code *code)
{
	return ptx_source(warp, code->r[4]);
}

/* gather_members - wait for all lanes named; false: return *next */
static bool gather_members(struct ptx_warp *warp, const struct ptx_code *code, bool same_code,
			   const struct ptx_code **next)
{
	const uint32_t *member = members(warp, code);
	uint32_t needed = 0;

	for (uint32_t left = warp->mask; left; left &= left - 1)
		needed |= member[ptx_first_lane(left)];
	return ptx_warp_gather(warp, code, needed, same_code, next);
}

static const struct ptx_code *scatter(struct ptx_warp *warp, const struct ptx_code *code)
{
	warp->mask = warp->gathered;
	return code + 1;
}

/* part_next - the lanes left that name the same mask as the first of them */
static uint32_t part_next(const struct ptx_warp *warp, const struct ptx_code *code, uint32_t left)
{
	const uint32_t *member = members(warp, code);
	uint32_t named = member[ptx_first_lane(left)];
	uint32_t part = 0;

	for (uint32_t lane = 0; lane < PTX_LANES; lane++)
		part |= member[lane] == named ? 1u << lane : 0;
	return part & left;
}

static void predicate_write(struct ptx_warp *warp, uint32_t operand, uint32_t lanes, uint32_t value)
{
	uint32_t *d = ptx_target(warp, operand);

	*d = (*d & ~lanes) | (value & lanes);
}

enum shuffle { SHUFFLE_UP, SHUFFLE_DOWN, SHUFFLE_BFLY, SHUFFLE_IDX };

/* shuffle - operands: 0 result, 1 value, 2 distance or lane, 3 clamp and segments, 5 predicate */
static inline const struct ptx_code *shuffle(struct ptx_warp *warp, const struct ptx_code *code,
					     enum shuffle mode)
{
	const struct ptx_code *next = NULL;
	const uint32_t *a, *b, *c;
	uint32_t *d, values[PTX_LANES], inside = 0;

	if (!gather_members(warp, code, true, &next))
		return next;
	a = ptx_source(warp, code->r[1]);
	b = ptx_source(warp, code->r[2]);
	c = ptx_source(warp, code->r[3]);
	d = ptx_target(warp, code->r[0]);
	for (uint32_t lane = 0; lane < PTX_LANES; lane++) {
		uint32_t segment = (c[lane] >> 8) & 31, clamp = c[lane] & 31;
		uint32_t last = (lane & segment) | (clamp & ~segment);
		uint32_t lowest = lane & segment;
		uint32_t distance = b[lane] & 31;
		uint32_t from = mode == SHUFFLE_UP     ? lane - distance
				: mode == SHUFFLE_DOWN ? lane + distance
				: mode == SHUFFLE_BFLY ? lane ^ distance
						       : lowest | (distance & ~segment & 31);
		bool good = mode == SHUFFLE_UP ? (int32_t)from >= (int32_t)last
					       : (int32_t)from <= (int32_t)last;

		from = good ? from & 31 : lane;
		inside |= good ? 1u << lane : 0;
		values[lane] = a[from];
	}
	for (uint32_t lane = 0; lane < PTX_LANES; lane++)
		d[lane] = (warp->mask >> lane) & 1 ? values[lane] : d[lane];
	if (code->detail)
		predicate_write(warp, code->r[5], warp->mask, inside);
	return scatter(warp, code);
}

HANDLER(shfl_up)
{
	return shuffle(warp, code, SHUFFLE_UP);
}
HANDLER(shfl_down)
{
	return shuffle(warp, code, SHUFFLE_DOWN);
}
HANDLER(shfl_bfly)
{
	return shuffle(warp, code, SHUFFLE_BFLY);
}
HANDLER(shfl_idx)
{
	return shuffle(warp, code, SHUFFLE_IDX);
}

enum vote { VOTE_ALL, VOTE_ANY, VOTE_UNI, VOTE_BALLOT };

/* vote - operand 1 the predicate, detail its negation */
static inline const struct ptx_code *vote(struct ptx_warp *warp, const struct ptx_code *code,
					  enum vote mode)
{
	const struct ptx_code *next = NULL;
	uint32_t value;

	if (!gather_members(warp, code, true, &next))
		return next;
	value = *(const uint32_t *)ptx_source(warp, code->r[1]) ^ code->detail;
	for (uint32_t left = warp->mask, part; left; left &= ~part) {
		uint32_t chosen;

		part = part_next(warp, code, left);
		chosen = value & part;
		if (mode == VOTE_BALLOT) {
			uint32_t *d = ptx_target(warp, code->r[0]);

			for (uint32_t lanes = part; lanes; lanes &= lanes - 1)
				d[ptx_first_lane(lanes)] = chosen;
		} else {
			bool result = mode == VOTE_ALL	 ? chosen == part
				      : mode == VOTE_ANY ? chosen != 0
							 : chosen == part || !chosen;

			predicate_write(warp, code->r[0], part, result ? ~0u : 0);
		}
	}
	return scatter(warp, code);
}

HANDLER(vote_all)
{
	return vote(warp, code, VOTE_ALL);
}
HANDLER(vote_any)
{
	return vote(warp, code, VOTE_ANY);
}
HANDLER(vote_uni)
{
	return vote(warp, code, VOTE_UNI);
}
HANDLER(vote_ballot)
{
	return vote(warp, code, VOTE_BALLOT);
}

HANDLER(activemask)
{
	uint32_t *d = ptx_target(warp, code->r[0]);

	for (uint32_t left = warp->mask; left; left &= left - 1)
		d[ptx_first_lane(left)] = warp->mask;
	return code + 1;
}

HANDLER(bar_warp_sync)
{
	const struct ptx_code *next = NULL;

	if (!gather_members(warp, code, false, &next))
		return next;
	return scatter(warp, code);
}

/* elect - operand 0 the leader's lane (detail: wanted), 5 the predicate */
HANDLER(elect)
{
	const struct ptx_code *next = NULL;
	uint32_t *d = ptx_target(warp, code->r[0]);

	if (!gather_members(warp, code, true, &next))
		return next;
	for (uint32_t left = warp->mask, part; left; left &= ~part) {
		part = part_next(warp, code, left);
		for (uint32_t lanes = part; code->detail && lanes; lanes &= lanes - 1)
			d[ptx_first_lane(lanes)] = ptx_first_lane(part);
		predicate_write(warp, code->r[5], part, part & (0 - part));
	}
	return scatter(warp, code);
}

static uint64_t match_value(const struct ptx_warp *warp, const struct ptx_code *code, uint32_t lane,
			    bool wide)
{
	const void *values = ptx_source(warp, code->r[1]);

	return wide ? ((const uint64_t *)values)[lane] : ((const uint32_t *)values)[lane];
}

/* match - of the lanes in a part: those with the same value (any), or all or none (all) */
static inline const struct ptx_code *match(struct ptx_warp *warp, const struct ptx_code *code,
					   bool all, bool wide)
{
	const struct ptx_code *next = NULL;
	uint32_t *d = ptx_target(warp, code->r[0]);
	uint32_t results[PTX_LANES] = { 0 };

	if (!gather_members(warp, code, true, &next))
		return next;
	for (uint32_t left = warp->mask, part; left; left &= ~part) {
		bool equal = true;

		part = part_next(warp, code, left);
		for (uint32_t lanes = part; lanes; lanes &= lanes - 1) {
			uint32_t lane = ptx_first_lane(lanes);
			uint64_t value = match_value(warp, code, lane, wide);

			for (uint32_t other = part; other; other &= other - 1)
				if (match_value(warp, code, ptx_first_lane(other), wide) == value)
					results[lane] |= other & (0 - other);
			equal = equal && results[lane] == part;
		}
		for (uint32_t lanes = part; all && lanes; lanes &= lanes - 1)
			results[ptx_first_lane(lanes)] = equal ? part : 0;
		if (all && code->detail)
			predicate_write(warp, code->r[5], part, equal ? ~0u : 0);
	}
	for (uint32_t left = warp->mask; left; left &= left - 1)
		d[ptx_first_lane(left)] = results[ptx_first_lane(left)];
	return scatter(warp, code);
}

HANDLER(match_any_b32)
{
	return match(warp, code, false, false);
}
HANDLER(match_any_b64)
{
	return match(warp, code, false, true);
}
HANDLER(match_all_b32)
{
	return match(warp, code, true, false);
}
HANDLER(match_all_b64)
{
	return match(warp, code, true, true);
}

/* X(name, type, expression): the running result r and the next value v */
#define REDUCE(X)                                 \
	X(redux_add_u32, uint32_t, r + v)         \
	X(redux_min_u32, uint32_t, r < v ? r : v) \
	X(redux_max_u32, uint32_t, r > v ? r : v) \
	X(redux_min_s32, int32_t, r < v ? r : v)  \
	X(redux_max_s32, int32_t, r > v ? r : v)  \
	X(redux_and_b32, uint32_t, r &v)          \
	X(redux_or_b32, uint32_t, r | v)          \
	X(redux_xor_b32, uint32_t, r ^ v)
#define DEFINE_REDUCE(name, type, expression)                                                 \
	HANDLER(name)                                                                         \
	{                                                                                     \
		const struct ptx_code *next = NULL;                                           \
		const type *a = ptx_source(warp, code->r[1]);                                 \
		type *d = ptx_target(warp, code->r[0]);                                       \
		if (!gather_members(warp, code, true, &next))                                 \
			return next;                                                          \
		for (uint32_t left = warp->mask, part; left; left &= ~part) {                 \
			type r;                                                               \
			part = part_next(warp, code, left);                                   \
			r = a[ptx_first_lane(part)];                                          \
			for (uint32_t lanes = part & (part - 1); lanes; lanes &= lanes - 1) { \
				type v = a[ptx_first_lane(lanes)];                            \
				r = expression;                                               \
			}                                                                     \
			for (uint32_t lanes = part; lanes; lanes &= lanes - 1)                \
				d[ptx_first_lane(lanes)] = r;                                 \
		}                                                                             \
		return scatter(warp, code);                                                   \
	}
REDUCE(DEFINE_REDUCE)

#define ENTRY(name, ...) { #name, handle_##name },
static const struct ptx_handler_entry entries[] = {
	ENTRY(shfl_up) ENTRY(shfl_down) ENTRY(shfl_bfly) ENTRY(shfl_idx) ENTRY(vote_all)
		ENTRY(vote_any) ENTRY(vote_uni) ENTRY(vote_ballot) ENTRY(activemask)
			ENTRY(bar_warp_sync) ENTRY(elect) ENTRY(match_any_b32) ENTRY(match_any_b64)
				ENTRY(match_all_b32) ENTRY(match_all_b64) REDUCE(ENTRY)
};
const struct ptx_handler_table ptx_warp_table = { entries, sizeof(entries) / sizeof(entries[0]) };
