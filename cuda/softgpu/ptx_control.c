/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control flow of a warp: groups, joins, frames, barriers, faults.
 *
 * States of a group are told at enum ptx_group_state. A warp runs one group at a time; that one's
 * mask, join and frame lie in the warp itself (group_store and group_load move them). A group ends
 * when it arrives at a join that still expects others, or when all its lanes have exited; then the
 * warp goes on with another ready group, or stops.
 *
 * Joins. join->expected are the lanes that were split there; arrived those that came. Lanes that
 * exit leave `expected` of every join they stand under. When both are equal one group goes on
 * behind the join. Each live join stands for a different set of at least two lanes, nested or
 * disjoint, so there are fewer than PTX_JOINS_MAX.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cuda/softgpu/ptx_code.h"

#define NANOSLEEP_MOST_NS 1000000u
#define NANOSLEEP_LATE_NS 60000u /* Linux wakes a sleeper some 50 us late (its timer slack) */

#define HANDLER(name)                                                      \
	static const struct ptx_code *handle_##name(struct ptx_warp *warp, \
						    const struct ptx_code *code)

struct ptx_frame_chunk {
	struct ptx_frame_chunk *next;
	struct ptx_frame frames[32];
};

const struct ptx_code *ptx_fault(struct ptx_warp *warp, const struct ptx_code *code,
				 enum ptx_fault fault, uint64_t address, uint32_t lane)
{
	struct ptx_block *block = warp->block;
	struct ptx_run *run = block->run;
	struct ptx_launch *launch = run->launch;
	unsigned int thread = warp->index * PTX_LANES + lane;
	unsigned int x = launch->block[0], y = launch->block[1];

	pthread_mutex_lock(&run->lock);
	if (launch->fault == PTX_FAULT_NONE) {
		launch->fault = fault;
		launch->fault_address = address;
		snprintf(launch->fault_text, sizeof(launch->fault_text),
			 "%.70s, PTX line %u, block (%u,%u,%u), thread (%u,%u,%u)",
			 run->kernel->facts.name, code->line, block->index[0], block->index[1],
			 block->index[2], thread % x, thread / x % y, thread / x / y);
	}
	pthread_mutex_unlock(&run->lock);
	atomic_store(&run->stopping, 1);
	return NULL;
}

/* ---- groups ---- */

static void group_store(struct ptx_warp *warp, enum ptx_group_state state,
			const struct ptx_code *at)
{
	struct ptx_group *group = &warp->groups[warp->running];

	group->state = state;
	group->mask = warp->mask;
	group->join = warp->join;
	group->frame = warp->frame;
	group->at = at;
}

static const struct ptx_code *group_load(struct ptx_warp *warp, unsigned int index)
{
	struct ptx_group *group = &warp->groups[index];

	warp->forced = group->state == PTX_GROUP_FORCED;
	group->state = PTX_GROUP_RUNNING;
	warp->running = (uint16_t)index;
	warp->mask = group->mask;
	warp->join = group->join;
	warp->frame = group->frame;
	warp->bases[PTX_BASE_FRAME] = group->frame->registers;
	return group->at;
}

/* group_next - go on with the next group that can; NULL: there is none */
static const struct ptx_code *group_next(struct ptx_warp *warp)
{
	/* Those behind the running one first, in a circle. */
	uint32_t behind = warp->used & ~((2u << warp->running) - 1);
	uint32_t turns[2] = { behind, warp->used & ~behind };

	for (unsigned int turn = 0; turn < 2; turn++)
		for (uint32_t left = turns[turn]; left; left &= left - 1) {
			unsigned int index = ptx_first_lane(left);
			enum ptx_group_state state = warp->groups[index].state;

			if (state == PTX_GROUP_READY || state == PTX_GROUP_FORCED)
				return group_load(warp, index);
		}
	warp->ready = false;
	warp->ended = warp->live == 0;
	return NULL;
}

/* group_end - the running group is no more */
static const struct ptx_code *group_end(struct ptx_warp *warp)
{
	warp->groups[warp->running].state = PTX_GROUP_FREE;
	warp->used &= ~(1u << warp->running);
	return group_next(warp);
}

static struct ptx_group *group_new(struct ptx_warp *warp)
{
	unsigned int index;

	if (warp->used == ~0u)
		return NULL; /* never: groups are disjoint and not empty */
	index = ptx_first_lane(~warp->used);
	warp->used |= 1u << index;
	return &warp->groups[index];
}

static bool group_others(const struct ptx_warp *warp)
{
	return warp->mask != warp->live;
}

/* ---- joins ---- */

static uint16_t join_new(struct ptx_warp *warp)
{
	for (uint16_t index = 1; index < PTX_JOINS_MAX; index++)
		if (!warp->joins[index].at)
			return index;
	return 0;
}

/* join_release - the running group goes on behind the join with all that arrived */
static const struct ptx_code *join_release(struct ptx_warp *warp, struct ptx_join *join)
{
	const struct ptx_code *at = join->at;

	warp->mask = join->arrived;
	warp->join = join->parent;
	warp->frame = join->frame;
	warp->bases[PTX_BASE_FRAME] = join->frame->registers;
	join->at = NULL;
	return at + 1;
}

static const struct ptx_code *join_arrive(struct ptx_warp *warp, struct ptx_join *join)
{
	join->arrived |= warp->mask;
	if (join->arrived == join->expected)
		return join_release(warp, join);
	return group_end(warp);
}

HANDLER(join)
{
	struct ptx_join *join;

	if (!warp->join)
		return code + 1;
	join = &warp->joins[warp->join];
	if (join->at != code || join->frame != warp->frame)
		return code + 1;
	return join_arrive(warp, join);
}

/* join_open - the join at @code->join, opened unless the running group stands under it already */
static struct ptx_join *join_open(struct ptx_warp *warp, const struct ptx_code *code)
{
	struct ptx_join *join = &warp->joins[warp->join];
	uint16_t index;

	if (warp->join && join->at == code->join && join->frame == warp->frame)
		return join;
	index = join_new(warp);
	if (!index) {
		ptx_fault(warp, code, PTX_FAULT_STACK, 0, ptx_first_lane(warp->mask));
		return NULL;
	}
	join = &warp->joins[index];
	join->at = code->join;
	join->frame = warp->frame;
	join->expected = warp->mask;
	join->arrived = 0;
	join->parent = warp->join;
	warp->join = index;
	return join;
}

/* group_split - keep @kept running, make the others a group that goes on at @rest_at */
static bool group_split(struct ptx_warp *warp, const struct ptx_code *code, uint32_t kept,
			const struct ptx_code *rest_at)
{
	struct ptx_group *group = group_new(warp);

	if (!group) {
		ptx_fault(warp, code, PTX_FAULT_STACK, 0, ptx_first_lane(warp->mask));
		return false;
	}
	group->state = PTX_GROUP_READY;
	group->mask = warp->mask & ~kept;
	group->join = warp->join;
	group->frame = warp->frame;
	group->at = rest_at;
	warp->mask = kept;
	if (warp->budget > PTX_BUDGET_SPLIT)
		warp->budget = PTX_BUDGET_SPLIT;
	return true;
}

const struct ptx_code *ptx_diverge(struct ptx_warp *warp, const struct ptx_code *code,
				   uint32_t taken, const struct ptx_code *target)
{
	if (code->join) {
		struct ptx_join *join = join_open(warp, code);

		if (!join)
			return NULL;
		if (target == code->join) {
			join->arrived |= taken;
			warp->mask &= ~taken;
			return code + 1;
		}
		if (code + 1 == code->join) {
			join->arrived |= warp->mask & ~taken;
			warp->mask = taken;
			return target;
		}
	}
	return group_split(warp, code, taken, code + 1) ? target : NULL;
}

/* lanes_equal - the group's lanes whose 64-bit value is that of @lane */
static uint32_t lanes_equal(const struct ptx_warp *warp, const uint64_t *values, uint32_t lane)
{
	uint32_t same = 0;

	for (uint32_t other = 0; other < PTX_LANES; other++)
		same |= values[other] == values[lane] ? 1u << other : 0;
	return same & warp->mask;
}

/*
 * join_part - lanes that wait at the join go on without the others. A join is there for speed:
 * what a program may rely on is that every lane gets on, also one that holds a lock the others
 * spin on before the place where they would meet.
 */
static bool join_part(struct ptx_warp *warp, struct ptx_join *join)
{
	struct ptx_group *group;

	if (!join->at || !join->arrived)
		return false;
	group = group_new(warp);
	if (!group)
		return false;
	group->state = PTX_GROUP_READY;
	group->mask = join->arrived;
	group->join = join->parent;
	group->frame = join->frame;
	group->at = join->at + 1;
	join->expected &= ~join->arrived;
	join->arrived = 0;
	warp->ready = true;
	return true;
}

/* joins_part - for the running group's joins, after it has spun for a while */
static void joins_part(struct ptx_warp *warp)
{
	if (++warp->spins < PTX_SPINS_MAX)
		return;
	warp->spins = 0;
	for (uint16_t index = warp->join; index; index = warp->joins[index].parent)
		join_part(warp, &warp->joins[index]);
}

/* yield - let the other groups of the warp and then the other warps run; go on at @next later */
static const struct ptx_code *yield(struct ptx_warp *warp, const struct ptx_code *next)
{
	const struct ptx_code *other;

	group_store(warp, PTX_GROUP_READY, next);
	other = group_next(warp);
	if (warp->block->warp_count == 1 && !warp->block->run->grid_barrier)
		return other;
	/* Each group has its turn, then the warp stops for the other warps' sake. */
	if (group_others(warp) && ++warp->turns < PTX_GROUPS_MAX)
		return other;
	group_store(warp, PTX_GROUP_READY, other);
	return NULL;
}

const struct ptx_code *ptx_poll(struct ptx_warp *warp, const struct ptx_code *code,
				const struct ptx_code *next)
{
	struct ptx_run *run = warp->block->run;

	warp->budget = group_others(warp) || run->grid_barrier ? PTX_BUDGET_SPLIT : PTX_BUDGET;
	if (run->launch->stop && *run->launch->stop)
		return ptx_fault(warp, code, PTX_FAULT_STOPPED, 0, ptx_first_lane(warp->mask));
	if (atomic_load_explicit(&run->stopping, memory_order_relaxed))
		return NULL;
	if (code->spins)
		joins_part(warp);
	return yield(warp, next);
}

/*
 * nanosleep - any time up to twice what was asked for will do. Where nothing else could run on this
 * thread meanwhile (a block of one warp, whose lanes are all here, in a grid without barriers) it
 * sleeps, so that a kernel that waits by the clock takes no processor: a little shorter than asked
 * for, as the host wakes sleepers late.
 */
HANDLER(nanosleep)
{
	const struct ptx_block *block = warp->block;
	const uint32_t *lanes = ptx_source(warp, code->r[1]);
	uint32_t ns = NANOSLEEP_MOST_NS;

	for (uint32_t left = warp->mask; left; left &= left - 1)
		if (lanes[ptx_first_lane(left)] < ns)
			ns = lanes[ptx_first_lane(left)];
	if (ns > NANOSLEEP_LATE_NS && block->warp_count == 1 && !group_others(warp) &&
	    !block->run->grid_barrier) {
		const struct timespec time = { 0, ns - NANOSLEEP_LATE_NS };

		nanosleep(&time, NULL);
	}
	return ptx_poll(warp, code, code + 1);
}

/* ---- branches ---- */

HANDLER(jump)
{
	if (code->target <= code && --warp->budget <= 0)
		return ptx_poll(warp, code, code->target);
	return code->target;
}

HANDLER(branch)
{
	return ptx_branch(warp, code,
			  *(const uint32_t *)ptx_source(warp, code->r[1]) ^ code->detail);
}

/*
 * branch_index - brx.idx: each lane's target from a table of jumps; those with the first lane's
 * target go now, the others come back to this instruction as a group of their own
 */
HANDLER(branch_index)
{
	const uint32_t *index = ptx_source(warp, code->r[1]);
	uint32_t first = ptx_first_lane(warp->mask);
	uint32_t wanted = index[first];
	uint32_t same = 0;

	if (wanted >= code->detail)
		return ptx_fault(warp, code, PTX_FAULT_ILLEGAL_INSTRUCTION, wanted, first);
	for (uint32_t lane = 0; lane < PTX_LANES; lane++)
		same |= index[lane] == wanted ? 1u << lane : 0;
	same &= warp->mask;
	if (same != warp->mask &&
	    ((code->join && !join_open(warp, code)) || !group_split(warp, code, same, code)))
		return NULL;
	return code->target + wanted; /* a row of jumps */
}

HANDLER(guard)
{
	uint32_t chosen = *(const uint32_t *)ptx_source(warp, code->r[1]) ^ code->detail;

	chosen &= warp->mask;
	if (!chosen)
		return code->target;
	warp->saved_mask = warp->mask;
	warp->mask = chosen;
	return code + 1;
}

HANDLER(unguard)
{
	warp->mask = warp->saved_mask;
	return code + 1;
}

HANDLER(count)
{
	warp->lane_operations += (uint64_t)code->count * (uint32_t)__builtin_popcount(warp->mask);
	return code + 1;
}

/* ---- barriers of a block ---- */

static void barrier_release(struct ptx_block *block, unsigned int number)
{
	struct ptx_barrier *barrier = &block->barriers[number];

	barrier->result[0] = barrier->sum;
	barrier->result[1] = barrier->all;
	barrier->result[2] = barrier->any;
	barrier->arrived = 0;
	barrier->expected = 0;
	barrier->sum = 0;
	barrier->all = 1;
	barrier->any = 0;
	for (unsigned int index = 0; index < block->warp_count; index++) {
		struct ptx_warp *warp = &block->warps[index];

		for (uint32_t left = warp->used; left; left &= left - 1) {
			struct ptx_group *group = &warp->groups[ptx_first_lane(left)];

			if (group->state == PTX_GROUP_BARRIER && group->barrier == number) {
				group->state = PTX_GROUP_READY;
				warp->ready = true;
			}
		}
	}
}

static bool barrier_complete(const struct ptx_block *block, const struct ptx_barrier *barrier)
{
	return barrier->arrived &&
	       barrier->arrived >= (barrier->expected ? barrier->expected : block->live_threads);
}

/*
 * barrier_arrive - count the group in; the barrier's number in operand 1, the number of threads in
 * operand 2 (0: all). Explicit numbers count whole warps, as the ISA does.
 *
 * Return: the barrier's number, or -1 after a fault.
 */
static int barrier_arrive(struct ptx_warp *warp, const struct ptx_code *code)
{
	uint32_t lane = ptx_first_lane(warp->mask);
	uint32_t number = ((const uint32_t *)ptx_source(warp, code->r[1]))[lane];
	uint32_t threads = ((const uint32_t *)ptx_source(warp, code->r[2]))[lane];
	struct ptx_barrier *barrier;

	if (number >= PTX_BARRIERS || threads > PTX_THREADS_MAX) {
		ptx_fault(warp, code, PTX_FAULT_ILLEGAL_INSTRUCTION, number, lane);
		return -1;
	}
	barrier = &warp->block->barriers[number];
	if (threads)
		barrier->expected = threads;
	barrier->arrived += threads && warp->mask == warp->live
				    ? PTX_LANES
				    : (uint32_t)__builtin_popcount(warp->mask);
	return (int)number;
}

/* barrier_wait - the running group waits at its barrier, unless it was the last */
static const struct ptx_code *barrier_wait(struct ptx_warp *warp, const struct ptx_code *next,
					   unsigned int number)
{
	struct ptx_block *block = warp->block;

	warp->groups[warp->running].barrier = (uint8_t)number;
	group_store(warp, PTX_GROUP_BARRIER, next);
	if (barrier_complete(block, &block->barriers[number])) {
		barrier_release(block, number);
		return group_load(warp, warp->running);
	}
	return group_next(warp);
}

HANDLER(barrier_sync)
{
	int number = barrier_arrive(warp, code);

	return number < 0 ? NULL : barrier_wait(warp, code + 1, (unsigned int)number);
}

HANDLER(barrier_arrive)
{
	int number = barrier_arrive(warp, code);

	if (number < 0)
		return NULL;
	if (barrier_complete(warp->block, &warp->block->barriers[number]))
		barrier_release(warp->block, (unsigned int)number);
	return code + 1;
}

/* barrier_reduce - operand 3 is the predicate; its value is read by barrier_result behind it */
HANDLER(barrier_reduce)
{
	uint32_t value = *(const uint32_t *)ptx_source(warp, code->r[3]) ^ code->detail;
	int number = barrier_arrive(warp, code);
	struct ptx_barrier *barrier;

	if (number < 0)
		return NULL;
	barrier = &warp->block->barriers[number];
	value &= warp->mask;
	barrier->sum += (uint32_t)__builtin_popcount(value);
	barrier->all &= value == warp->mask;
	barrier->any |= value != 0;
	return barrier_wait(warp, code + 1, (unsigned int)number);
}

/* detail: which result; 0 the sum into a register, 1 and, 2 or into a predicate */
HANDLER(barrier_result)
{
	uint32_t lane = ptx_first_lane(warp->mask);
	uint32_t number = ((const uint32_t *)ptx_source(warp, code->r[1]))[lane] % PTX_BARRIERS;
	uint32_t result = warp->block->barriers[number].result[code->detail];
	uint32_t *d = ptx_target(warp, code->r[0]);

	if (code->detail) {
		*d = (*d & ~warp->mask) | (result ? warp->mask : 0);
		return code + 1;
	}
	for (uint32_t left = warp->mask; left; left &= left - 1)
		d[ptx_first_lane(left)] = result;
	return code + 1;
}

/* ---- the end of lanes ---- */

static const struct ptx_code *lanes_exit(struct ptx_warp *warp, uint32_t lanes)
{
	struct ptx_block *block = warp->block;
	uint16_t index;

	warp->live &= ~lanes;
	for (index = warp->join; index; index = warp->joins[index].parent)
		warp->joins[index].expected &= ~lanes;
	block->live_threads -= (uint32_t)__builtin_popcount(lanes);
	for (unsigned int number = 0; number < PTX_BARRIERS; number++)
		if (block->barriers[number].arrived && !block->barriers[number].expected &&
		    barrier_complete(block, &block->barriers[number]))
			barrier_release(block, number);
	/* Others may have waited for these lanes only. */
	for (unsigned int group = 0; group < PTX_GROUPS_MAX; group++)
		if (warp->groups[group].state == PTX_GROUP_WARP)
			warp->groups[group].state = PTX_GROUP_READY;
	warp->mask &= ~lanes;
	while (warp->join && !warp->mask) {
		struct ptx_join *join = &warp->joins[warp->join];

		if (join->expected && join->arrived == join->expected)
			return join_release(warp, join);
		if (join->expected)
			break;
		warp->join = join->parent;
		join->at = NULL;
	}
	return group_end(warp);
}

HANDLER(exit)
{
	(void)code;
	return lanes_exit(warp, warp->mask);
}

HANDLER(trap)
{
	return ptx_fault(warp, code, PTX_FAULT_TRAP, 0, ptx_first_lane(warp->mask));
}

HANDLER(brkpt)
{
	return ptx_fault(warp, code, PTX_FAULT_ILLEGAL_INSTRUCTION, 0, ptx_first_lane(warp->mask));
}

/* ---- calls ---- */

static struct ptx_frame *frame_new(struct ptx_warp *warp)
{
	struct ptx_frame *frame = warp->free_frames;

	if (!frame) {
		struct ptx_frame_chunk *chunk = malloc(sizeof(*chunk));

		if (!chunk)
			return NULL;
		chunk->next = warp->frame_chunks;
		warp->frame_chunks = chunk;
		for (size_t i = 0; i < sizeof(chunk->frames) / sizeof(chunk->frames[0]); i++) {
			chunk->frames[i].parent = warp->free_frames;
			warp->free_frames = &chunk->frames[i];
		}
		frame = warp->free_frames;
	}
	warp->free_frames = frame->parent;
	return frame;
}

/*
 * call_enter - open a frame and go to the function. In the calling instruction operand 0 is the
 * size of the caller's frame, detail that of its .local variables.
 */
static const struct ptx_code *call_enter(struct ptx_warp *warp, const struct ptx_code *code,
					 const struct ptx_callable *callable)
{
	const struct ptx_kernel *kernel = warp->block->run->kernel;
	struct ptx_frame *caller = warp->frame, *frame;
	uint64_t registers = (uint64_t)(caller->registers - warp->root.registers) + code->r[0];
	uint64_t local = (uint64_t)caller->local_offset + code->detail;

	if (registers + callable->frame_bytes > kernel->register_bytes ||
	    local + callable->local_bytes > kernel->local_bytes ||
	    caller->depth + 1 >= PTX_CALL_DEPTH_MAX)
		return ptx_fault(warp, code, PTX_FAULT_STACK, 0, ptx_first_lane(warp->mask));
	frame = frame_new(warp);
	if (!frame)
		return ptx_fault(warp, code, PTX_FAULT_STACK, 0, ptx_first_lane(warp->mask));
	frame->parent = caller;
	frame->return_at = code + 1;
	frame->registers = caller->registers + code->r[0];
	frame->local_offset = (uint32_t)local;
	frame->depth = caller->depth + 1;
	warp->frame = frame;
	warp->bases[PTX_BASE_FRAME] = frame->registers;
	if (--warp->budget <= 0)
		return ptx_poll(warp, code, callable->code);
	return callable->code;
}

HANDLER(call)
{
	return call_enter(warp, code, code->data);
}

/*
 * call_indirect - operand 1 is the function's address, operands 2 and 3 what the prototype passes
 * (in 4-byte units). Lanes that call the same function go first; the others come back here. A
 * join follows the instruction.
 */
HANDLER(call_indirect)
{
	const struct ptx_module *module = warp->block->run->kernel->module;
	const uint64_t *address = ptx_source(warp, code->r[1]);
	uint32_t first = ptx_first_lane(warp->mask);
	uint64_t wanted = address[first] - PTX_WINDOW_CODE;
	const struct ptx_callable *callable;
	uint32_t same;

	if (wanted % 16 || wanted / 16 >= module->callable_count)
		return ptx_fault(warp, code, PTX_FAULT_ILLEGAL_INSTRUCTION, address[first], first);
	callable = &module->callables[wanted / 16];
	if (!callable->code || callable->parameter_units != code->r[2] ||
	    callable->result_units != code->r[3])
		return ptx_fault(warp, code, PTX_FAULT_ILLEGAL_INSTRUCTION, address[first], first);
	same = lanes_equal(warp, address, first);
	if (same != warp->mask && (!join_open(warp, code) || !group_split(warp, code, same, code)))
		return NULL;
	return call_enter(warp, code, callable);
}

HANDLER(return )
{
	struct ptx_frame *frame = warp->frame;
	const struct ptx_code *at = frame->return_at;

	(void)code;
	if (!frame->parent)
		return lanes_exit(warp, warp->mask);
	warp->frame = frame->parent;
	warp->bases[PTX_BASE_FRAME] = warp->frame->registers;
	frame->parent = warp->free_frames;
	warp->free_frames = frame;
	return at;
}

/* local_address - a .local variable's address: operand 0 64 bits, immediate its offset */
HANDLER(local_address)
{
	uint64_t *d = ptx_target(warp, code->r[0]);

	for (uint32_t left = warp->mask; left; left &= left - 1)
		d[ptx_first_lane(left)] = warp->frame->local_offset + code->immediate;
	return code + 1;
}

/* ---- waiting for lanes of the same warp ---- */

bool ptx_warp_gather(struct ptx_warp *warp, const struct ptx_code *code, uint32_t needed,
		     bool same_code, const struct ptx_code **next)
{
	uint32_t together = warp->mask;
	struct ptx_group *group;

	warp->gathered = warp->mask;
	needed &= warp->live;
	if (!(needed & ~warp->mask) || warp->forced) {
		warp->forced = false;
		return true;
	}
	for (unsigned int index = 0; index < PTX_GROUPS_MAX; index++) {
		group = &warp->groups[index];
		if (group->state == PTX_GROUP_WARP &&
		    (!same_code ||
		     (group->at == code && group->frame->registers == warp->frame->registers)))
			together |= group->mask;
	}
	if (needed & ~together) {
		warp->groups[warp->running].wait_mask = needed;
		group_store(warp, PTX_GROUP_WARP, code);
		*next = group_next(warp);
		return false;
	}
	for (unsigned int index = 0; index < PTX_GROUPS_MAX; index++) {
		group = &warp->groups[index];
		if (group->state != PTX_GROUP_WARP || !(group->mask & needed) ||
		    (group->mask & ~together) || (same_code && group->at != code))
			continue;
		warp->mask |= group->mask;
		group->state = PTX_GROUP_READY;
		group->at++;
	}
	return true;
}

bool ptx_warp_force(struct ptx_warp *warp)
{
	bool found = false;

	for (unsigned int index = 1; index < PTX_JOINS_MAX; index++)
		found = join_part(warp, &warp->joins[index]) || found;
	if (found)
		return true;
	for (unsigned int index = 0; index < PTX_GROUPS_MAX; index++)
		if (warp->groups[index].state == PTX_GROUP_WARP) {
			warp->groups[index].state = PTX_GROUP_FORCED;
			warp->ready = true;
			found = true;
		}
	return found;
}

/* ---- a warp's life ---- */

void ptx_warp_start(struct ptx_warp *warp, const struct ptx_code *code, uint32_t lanes)
{
	struct ptx_frame_chunk *chunk;

	for (unsigned int index = 0; index < PTX_GROUPS_MAX; index++)
		warp->groups[index].state = PTX_GROUP_FREE;
	for (unsigned int index = 0; index < PTX_JOINS_MAX; index++)
		warp->joins[index].at = NULL;
	warp->free_frames = NULL;
	for (chunk = warp->frame_chunks; chunk; chunk = chunk->next)
		for (size_t i = 0; i < sizeof(chunk->frames) / sizeof(chunk->frames[0]); i++) {
			chunk->frames[i].parent = warp->free_frames;
			warp->free_frames = &chunk->frames[i];
		}
	warp->live = warp->mask = lanes;
	warp->carry = 0;
	warp->join = 0;
	warp->running = 0;
	warp->used = 1;
	warp->budget = PTX_BUDGET;
	warp->spins = 0;
	warp->frame = &warp->root;
	warp->ended = false;
	warp->ready = true;
	group_store(warp, PTX_GROUP_READY, code);
}

void ptx_warp_run(struct ptx_warp *warp)
{
	const struct ptx_code *code = group_next(warp);

	warp->turns = 0;
	while (code)
		code = code->run(warp, code);
}

void ptx_warp_clean(struct ptx_warp *warp)
{
	while (warp->frame_chunks) {
		struct ptx_frame_chunk *next = warp->frame_chunks->next;

		free(warp->frame_chunks);
		warp->frame_chunks = next;
	}
}

#define ENTRY(name) { #name, handle_##name },
static const struct ptx_handler_entry entries[] = {
	ENTRY(join) ENTRY(jump) ENTRY(branch) ENTRY(branch_index) ENTRY(guard) ENTRY(unguard)
		ENTRY(count) ENTRY(barrier_sync) ENTRY(barrier_arrive) ENTRY(barrier_reduce)
			ENTRY(barrier_result) ENTRY(exit) ENTRY(trap) ENTRY(brkpt) ENTRY(call)
				ENTRY(call_indirect) ENTRY(return ) ENTRY(local_address)
					ENTRY(nanosleep)
};
const struct ptx_handler_table ptx_control_table = { entries,
						     sizeof(entries) / sizeof(entries[0]) };
