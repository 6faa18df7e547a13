/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control flow of one function: where split lanes meet again, and which registers may share a
 * slot.
 *
 * Meeting: a branch's lanes meet at its immediate post-dominator, found by the iterative method of
 * Cooper, Harvey and Kennedy on the reversed graph. Blocks that cannot reach the function's end
 * (they end in exit or trap, or never) take no part: lanes that go there never meet the others.
 *
 * Sharing: live ranges are taken as one stretch from first to last position (linear scan). Liveness
 * of a thread is enough although lanes diverge, since every lane has its own column in a slot.
 * 32-bit and 64-bit registers have slots of their own, so that two operands of one instruction
 * overlap exactly or not at all; handlers rely on it. Within a position, reads come before writes.
 */
#include "cuda/softgpu/ptx_compile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clean.h"

#define LIVENESS_BYTES_MAX  ((size_t)256 << 20)
#define LIVENESS_ROUNDS_MAX 64u
#define NOWHERE		    UINT32_MAX

struct block {
	size_t first, last; /* drafts; last is inside */
	uint32_t successor_start, successor_count;
	uint32_t predecessor_start, predecessor_count;
	uint32_t order; /* in the walk from the end; NOWHERE: does not reach it */
	uint32_t post_dominator;
};

struct flow {
	struct ptx_draft_function *out;
	struct block *blocks;
	uint32_t block_count;
	uint32_t *successors;
	uint32_t *predecessors;
	uint32_t edge_count;
	uint32_t *ordered; /* blocks in reverse post-order of the reversed graph */
	uint32_t ordered_count;
};

static void flow_free(struct flow *flow)
{
	free(flow->blocks);
	free(flow->successors);
	free(flow->predecessors);
	free(flow->ordered);
}

/* fuse_comparisons - a comparison and the branch on its result become one step */
static void fuse_comparisons(struct ptx_draft_function *out)
{
	for (size_t i = 0; i + 1 < out->draft_count; i++) {
		struct ptx_draft *compare = &out->drafts[i];
		struct ptx_draft *branch = &out->drafts[i + 1];

		if (!compare->fused || compare->guarded || branch->kind != PTX_DRAFT_BRANCH ||
		    branch->operands[1].kind != PTX_VIRTUAL_PRED ||
		    compare->operands[0].kind != PTX_VIRTUAL_PRED ||
		    branch->operands[1].number != compare->operands[0].number)
			continue;
		branch->code.run = compare->fused;
		branch->code.count += compare->code.count;
		branch->operands[0] = compare->operands[0];
		branch->operands[1] = compare->operands[1];
		branch->operands[2] = compare->operands[2];
		branch->defines = compare->defines;
		branch->reads = compare->reads;
		memset(compare, 0, sizeof(*compare));
		compare->kind = PTX_DRAFT_GONE;
	}
}

static bool ends_block(const struct ptx_draft *draft)
{
	return draft->kind == PTX_DRAFT_JUMP || draft->kind == PTX_DRAFT_BRANCH ||
	       draft->kind == PTX_DRAFT_TABLE || draft->kind == PTX_DRAFT_END;
}

static int find_blocks(struct flow *flow)
{
	struct ptx_draft_function *out = flow->out;
	uint32_t count = 0;

	for (size_t i = 0; i < out->draft_count; i++) {
		if (i == 0 || out->drafts[i].kind == PTX_DRAFT_LABEL ||
		    ends_block(&out->drafts[i - 1]))
			count++;
		out->drafts[i].block = count - 1;
	}
	flow->block_count = count;
	flow->blocks = calloc(count, sizeof(*flow->blocks));
	out->block_joins = calloc(count, 1);
	out->label_blocks = calloc((size_t)out->label_count + 1, sizeof(*out->label_blocks));
	if (!flow->blocks || !out->block_joins || !out->label_blocks)
		return -ENOMEM;
	out->block_count = count;
	for (size_t i = out->draft_count; i-- > 0;)
		flow->blocks[out->drafts[i].block].first = i;
	for (size_t i = 0; i < out->draft_count; i++) {
		flow->blocks[out->drafts[i].block].last = i;
		if (out->drafts[i].kind == PTX_DRAFT_LABEL)
			out->label_blocks[out->drafts[i].label] = out->drafts[i].block;
	}
	return 0;
}

/* successors_of - written to @to unless NULL; how many */
static uint32_t successors_of(const struct flow *flow, uint32_t index, uint32_t *to)
{
	const struct ptx_draft *last = &flow->out->drafts[flow->blocks[index].last];
	uint32_t count = 0;

	if (last->kind == PTX_DRAFT_TABLE) {
		for (; count < last->code.detail; count++)
			if (to)
				to[count] = index + 1 + count;
		return count;
	}
	if (last->kind == PTX_DRAFT_JUMP || last->kind == PTX_DRAFT_BRANCH) {
		if (to)
			to[count] = flow->out->label_blocks[last->label];
		count++;
	}
	if (last->kind != PTX_DRAFT_JUMP && last->kind != PTX_DRAFT_END &&
	    index + 1 < flow->block_count) {
		if (to)
			to[count] = index + 1;
		count++;
	}
	return count;
}

static int find_edges(struct flow *flow)
{
	uint32_t at = 0;

	for (uint32_t index = 0; index < flow->block_count; index++) {
		flow->blocks[index].successor_start = at;
		flow->blocks[index].successor_count = successors_of(flow, index, NULL);
		at += flow->blocks[index].successor_count;
	}
	flow->edge_count = at;
	flow->successors = calloc((size_t)at + 1, sizeof(*flow->successors));
	flow->predecessors = calloc((size_t)at + 1, sizeof(*flow->predecessors));
	flow->ordered = calloc(flow->block_count, sizeof(*flow->ordered));
	if (!flow->successors || !flow->predecessors || !flow->ordered)
		return -ENOMEM;
	for (uint32_t index = 0; index < flow->block_count; index++)
		successors_of(flow, index, flow->successors + flow->blocks[index].successor_start);
	for (uint32_t edge = 0; edge < at; edge++)
		flow->blocks[flow->successors[edge]].predecessor_count++;
	at = 0;
	for (uint32_t index = 0; index < flow->block_count; index++) {
		flow->blocks[index].predecessor_start = at;
		at += flow->blocks[index].predecessor_count;
		flow->blocks[index].predecessor_count = 0;
	}
	for (uint32_t index = 0; index < flow->block_count; index++)
		for (uint32_t i = 0; i < flow->blocks[index].successor_count; i++) {
			uint32_t edge = flow->blocks[index].successor_start + i;
			struct block *to = &flow->blocks[flow->successors[edge]];

			flow->predecessors[to->predecessor_start + to->predecessor_count++] = index;
		}
	return 0;
}

/* walk_back - depth first from the last block along predecessors; ordered in reverse post-order */
static int walk_back(struct flow *flow)
{
	autofree uint32_t *stack = calloc(flow->block_count, sizeof(*stack));
	autofree uint32_t *next = calloc(flow->block_count, sizeof(*next));
	uint32_t depth = 0, place = flow->block_count;

	if (!stack || !next)
		return -ENOMEM;
	for (uint32_t index = 0; index < flow->block_count; index++) {
		flow->blocks[index].order = NOWHERE;
		flow->blocks[index].post_dominator = NOWHERE;
	}
	stack[depth++] = flow->block_count - 1;
	flow->blocks[flow->block_count - 1].order = 0;
	while (depth) {
		struct block *block = &flow->blocks[stack[depth - 1]];

		if (next[stack[depth - 1]] < block->predecessor_count) {
			uint32_t edge = block->predecessor_start + next[stack[depth - 1]]++;
			uint32_t index = flow->predecessors[edge];

			if (flow->blocks[index].order == NOWHERE) {
				flow->blocks[index].order = 0;
				stack[depth++] = index;
			}
			continue;
		}
		flow->ordered[--place] = stack[--depth];
	}
	flow->ordered_count = flow->block_count - place;
	memmove(flow->ordered, flow->ordered + place, flow->ordered_count * sizeof(*flow->ordered));
	for (uint32_t i = 0; i < flow->ordered_count; i++)
		flow->blocks[flow->ordered[i]].order = i;
	return 0;
}

static uint32_t meet(const struct flow *flow, uint32_t a, uint32_t b)
{
	while (a != b) {
		while (flow->blocks[a].order > flow->blocks[b].order)
			a = flow->blocks[a].post_dominator;
		while (flow->blocks[b].order > flow->blocks[a].order)
			b = flow->blocks[b].post_dominator;
	}
	return a;
}

static void find_post_dominators(struct flow *flow)
{
	bool changed = true;

	flow->blocks[flow->ordered[0]].post_dominator = flow->ordered[0];
	while (changed) {
		changed = false;
		for (uint32_t i = 1; i < flow->ordered_count; i++) {
			struct block *block = &flow->blocks[flow->ordered[i]];
			uint32_t found = NOWHERE;

			for (uint32_t k = 0; k < block->successor_count; k++) {
				uint32_t to = flow->successors[block->successor_start + k];

				if (flow->blocks[to].post_dominator == NOWHERE)
					continue;
				found = found == NOWHERE ? to : meet(flow, found, to);
			}
			if (found != block->post_dominator) {
				block->post_dominator = found;
				changed = true;
			}
		}
	}
}

static void place_joins(struct flow *flow)
{
	struct ptx_draft_function *out = flow->out;

	for (uint32_t index = 0; index < flow->block_count; index++) {
		struct block *block = &flow->blocks[index];
		struct ptx_draft *last = &out->drafts[block->last];
		uint32_t found;

		if ((last->kind != PTX_DRAFT_BRANCH && last->kind != PTX_DRAFT_TABLE) ||
		    block->order == NOWHERE || block->post_dominator == NOWHERE)
			continue;
		found = block->post_dominator;
		while (out->drafts[flow->blocks[found].first].row)
			found = flow->blocks[found].post_dominator;
		last->join_block = found + 1;
		out->block_joins[found] = 1;
	}
}

/* mark_spins - branches back over something that a loop may wait with */
static void mark_spins(struct flow *flow)
{
	struct ptx_draft_function *out = flow->out;
	uint32_t waits = 0;

	for (size_t i = 0; i < out->draft_count; i++) {
		struct ptx_draft *draft = &out->drafts[i];

		waits += draft->waits;
		draft->at = waits;
		if ((draft->kind == PTX_DRAFT_JUMP || draft->kind == PTX_DRAFT_BRANCH) &&
		    out->label_blocks[draft->label] <= draft->block) {
			size_t first = flow->blocks[out->label_blocks[draft->label]].first;

			draft->code.spins = waits > out->drafts[first].at;
		}
	}
}

/* ---- slots ---- */

struct interval {
	uint32_t start, end;
	uint32_t reg; /* 32-bit ones first, then 64-bit ones */
};

struct liveness {
	struct flow *flow;
	uint32_t count32, count;
	size_t words;
	uint64_t *in, *out, *reads, *kills; /* a row of words per block */
	struct interval *intervals;
};

static uint32_t live_index(const struct liveness *live, struct ptx_draft_operand operand)
{
	if (operand.kind == PTX_VIRTUAL_REG32)
		return operand.number;
	if (operand.kind == PTX_VIRTUAL_REG64)
		return live->count32 + operand.number;
	return NOWHERE;
}

static void touch(struct liveness *live, uint32_t reg, uint32_t position)
{
	struct interval *interval = &live->intervals[reg];

	if (position < interval->start)
		interval->start = position;
	if (position > interval->end)
		interval->end = position;
}

/* scan_drafts - each register's own positions, and each block's first reads and sure writes */
static void scan_drafts(struct liveness *live)
{
	const struct ptx_draft_function *out = live->flow->out;

	for (size_t i = 0; i < out->draft_count; i++) {
		const struct ptx_draft *draft = &out->drafts[i];
		uint64_t *reads = live->reads ? live->reads + draft->block * live->words : NULL;
		uint64_t *kills = live->kills ? live->kills + draft->block * live->words : NULL;

		for (unsigned int pass = 0; pass < 2; pass++)
			for (unsigned int k = 0; k < PTX_CODE_OPERANDS; k++) {
				bool defines = draft->defines & (1u << k);
				bool reading =
					(draft->reads & (1u << k)) || (defines && draft->guarded);
				uint32_t reg = live_index(live, draft->operands[k]);
				uint64_t bit = (uint64_t)1 << (reg % 64);

				if (reg == NOWHERE || !(pass ? defines : reading))
					continue;
				touch(live, reg, (uint32_t)(2 * i + pass));
				if (!reads)
					continue;
				if (pass)
					kills[reg / 64] |= bit;
				else if (!(kills[reg / 64] & bit))
					reads[reg / 64] |= bit;
			}
	}
}

/* solve - live in and out of each block; false: too many rounds */
static bool solve(struct liveness *live)
{
	struct flow *flow = live->flow;

	for (uint32_t round = 0; round < LIVENESS_ROUNDS_MAX; round++) {
		bool changed = false;

		for (uint32_t index = flow->block_count; index-- > 0;) {
			struct block *block = &flow->blocks[index];
			size_t row = index * live->words;

			for (uint32_t k = 0; k < block->successor_count; k++) {
				size_t to =
					flow->successors[block->successor_start + k] * live->words;

				for (size_t word = 0; word < live->words; word++)
					live->out[row + word] |= live->in[to + word];
			}
			for (size_t word = 0; word < live->words; word++) {
				uint64_t in = live->reads[row + word] |
					      (live->out[row + word] & ~live->kills[row + word]);

				changed = changed || in != live->in[row + word];
				live->in[row + word] = in;
			}
		}
		if (!changed)
			return true;
	}
	return false;
}

/* stretch - intervals over the blocks that a register lives through */
static void stretch(struct liveness *live)
{
	for (uint32_t index = 0; index < live->flow->block_count; index++) {
		const struct block *block = &live->flow->blocks[index];

		for (size_t word = 0; word < live->words; word++) {
			uint64_t in = live->in[index * live->words + word];
			uint64_t out = live->out[index * live->words + word];

			for (; in; in &= in - 1)
				touch(live, (uint32_t)(64 * word) + (uint32_t)__builtin_ctzll(in),
				      (uint32_t)(2 * block->first));
			for (; out; out &= out - 1)
				touch(live, (uint32_t)(64 * word) + (uint32_t)__builtin_ctzll(out),
				      (uint32_t)(2 * block->last + 1));
		}
	}
}

static int interval_compare(const void *left, const void *right)
{
	const struct interval *a = left, *b = right;

	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	return a->reg < b->reg ? -1 : 1;
}

struct active {
	uint32_t end, slot;
};

static void heap_push(struct active *heap, uint32_t *count, struct active entry)
{
	uint32_t at = (*count)++;

	while (at && heap[(at - 1) / 2].end > entry.end) {
		heap[at] = heap[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	heap[at] = entry;
}

static struct active heap_pop(struct active *heap, uint32_t *count)
{
	struct active top = heap[0], last = heap[--*count];
	uint32_t at = 0;

	for (;;) {
		uint32_t child = 2 * at + 1;

		if (child >= *count)
			break;
		if (child + 1 < *count && heap[child + 1].end < heap[child].end)
			child++;
		if (heap[child].end >= last.end)
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = last;
	return top;
}

/* assign - slots of one class, over intervals sorted by start; how many slots, or 0 and *failed */
static uint32_t assign(const struct interval *intervals, uint32_t count, uint32_t low,
		       uint32_t high, uint32_t *slots, bool *failed)
{
	autofree struct active *heap = calloc((size_t)count + 1, sizeof(*heap));
	autofree uint32_t *spare = calloc((size_t)count + 1, sizeof(*spare));
	uint32_t active_count = 0, spare_count = 0, slot_count = 0;

	if (!heap || !spare) {
		*failed = true;
		return 0;
	}
	for (uint32_t i = 0; i < count; i++) {
		const struct interval *interval = &intervals[i];
		uint32_t slot;

		if (interval->start == NOWHERE || interval->reg < low || interval->reg >= high)
			continue;
		while (active_count && heap[0].end < interval->start)
			spare[spare_count++] = heap_pop(heap, &active_count).slot;
		slot = spare_count ? spare[--spare_count] : slot_count++;
		slots[interval->reg] = slot;
		heap_push(heap, &active_count, (struct active){ interval->end, slot });
	}
	return slot_count;
}

/* lay_out - final operands from slots */
static void lay_out(struct ptx_draft_function *out, const uint32_t *slots, uint32_t count32,
		    uint64_t base32, uint64_t base64, uint64_t base_predicates)
{
	for (size_t i = 0; i < out->draft_count; i++)
		for (unsigned int k = 0; k < PTX_CODE_OPERANDS; k++) {
			struct ptx_draft *draft = &out->drafts[i];
			struct ptx_draft_operand operand = draft->operands[k];
			uint64_t number = operand.number;

			switch (operand.kind) {
			case PTX_VIRTUAL_REG32:
				number = base32 + (uint64_t)slots[number] * PTX_SLOT_BYTES;
				break;
			case PTX_VIRTUAL_REG64:
				number = base64 +
					 (uint64_t)slots[count32 + number] * 2 * PTX_SLOT_BYTES;
				break;
			case PTX_VIRTUAL_PRED:
				number = base_predicates + 4 * number;
				break;
			case PTX_VIRTUAL_FIXED:
				number *= PTX_SLOT_BYTES;
				break;
			case PTX_VIRTUAL_OUTGOING:
				number = out->frame_bytes + number * PTX_SLOT_BYTES;
				break;
			case PTX_VIRTUAL_READY:
			case PTX_VIRTUAL_NONE:
				break;
			}
			draft->code.r[k] = (uint32_t)number;
		}
	for (size_t i = 0; i < out->draft_count; i++)
		if (out->drafts[i].calls) {
			out->drafts[i].code.r[0] = out->frame_bytes;
			out->drafts[i].code.detail = out->local_bytes;
		}
}

static int liveness_take(struct liveness *live)
{
	size_t rows = (size_t)live->flow->block_count * live->words;

	live->intervals = calloc((size_t)live->count + 1, sizeof(*live->intervals));
	if (!live->intervals)
		return -ENOMEM;
	for (uint32_t reg = 0; reg < live->count; reg++)
		live->intervals[reg] = (struct interval){ NOWHERE, 0, reg };
	if (rows > LIVENESS_BYTES_MAX / (4 * sizeof(*live->in)))
		return 0; /* without rows every register lives everywhere */
	live->in = calloc(rows + 1, sizeof(*live->in));
	live->out = calloc(rows + 1, sizeof(*live->out));
	live->reads = calloc(rows + 1, sizeof(*live->reads));
	live->kills = calloc(rows + 1, sizeof(*live->kills));
	return live->in && live->out && live->reads && live->kills ? 0 : -ENOMEM;
}

static void liveness_free(struct liveness *live)
{
	free(live->in);
	free(live->out);
	free(live->reads);
	free(live->kills);
	free(live->intervals);
}

static int assign_slots(struct flow *flow, struct liveness *live)
{
	struct ptx_draft_function *out = flow->out;
	autofree uint32_t *slots = calloc((size_t)live->count + 1, sizeof(*slots));
	uint64_t base32, base64, predicates, bytes;
	uint32_t slots32, slots64;
	bool failed = false;

	if (!slots)
		return -ENOMEM;
	scan_drafts(live);
	if (live->in && solve(live)) {
		stretch(live);
	} else {
		for (uint32_t reg = 0; reg < live->count; reg++)
			if (live->intervals[reg].start != NOWHERE)
				live->intervals[reg] = (struct interval){ 0, NOWHERE - 1, reg };
	}
	qsort(live->intervals, live->count, sizeof(*live->intervals), interval_compare);
	slots32 = assign(live->intervals, live->count, 0, live->count32, slots, &failed);
	slots64 = assign(live->intervals, live->count, live->count32, live->count, slots, &failed);
	if (failed)
		return -ENOMEM;
	base32 = (uint64_t)(out->parameter_units + out->result_units) * PTX_SLOT_BYTES;
	base64 = base32 + (uint64_t)slots32 * PTX_SLOT_BYTES;
	predicates = base64 + (uint64_t)slots64 * 2 * PTX_SLOT_BYTES;
	bytes = predicates + 4 * (uint64_t)out->counts[PTX_VIRTUAL_PRED];
	bytes = (bytes + PTX_SLOT_BYTES - 1) / PTX_SLOT_BYTES * PTX_SLOT_BYTES;
	if (bytes > PTX_FRAME_BYTES_MAX)
		return -E2BIG;
	out->frame_bytes = (uint32_t)bytes;
	out->slot_count = slots32 + 2 * slots64;
	lay_out(out, slots, live->count32, base32, base64, predicates);
	return 0;
}

int ptx_flow(struct ptx_compiler *compiler, struct ptx_draft_function *out)
{
	struct flow flow = { .out = out };
	struct liveness live = { .flow = &flow };
	int code;

	fuse_comparisons(out);
	code = find_blocks(&flow);
	if (!code)
		code = find_edges(&flow);
	if (!code)
		code = walk_back(&flow);
	if (!code) {
		find_post_dominators(&flow);
		place_joins(&flow);
		mark_spins(&flow);
		live.count32 = out->counts[PTX_VIRTUAL_REG32];
		live.count = live.count32 + out->counts[PTX_VIRTUAL_REG64];
		live.words = ((size_t)live.count + 63) / 64;
		code = liveness_take(&live);
	}
	if (!code)
		code = assign_slots(&flow, &live);
	liveness_free(&live);
	flow_free(&flow);
	if (code == -E2BIG)
		return error_set(compiler->error, -ENOEXEC,
				 "line %u: '%.80s' needs too many registers", out->function->line,
				 out->function->name->text);
	if (code)
		return error_set(compiler->error, code, "no memory to compile '%.80s'",
				 out->function->name->text);
	return 0;
}
