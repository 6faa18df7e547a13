/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CARD_POLICY_SHARE: which cores each node's programs have now.
 *
 * Why: programs make as many threads as they have cores. When each has all of them, threads of one
 * wait at their barriers for threads that another has pushed off their core, and a card that is
 * mostly idle does less for eight programs than for four. So those that compute divide the cores,
 * and one that is alone has them all.
 *
 *	1. Each node gets, by weight among the busy nodes whose cores it competes for, its part of
 *	   the cores that it may have, rounded down, at least one.
 *	2. It takes the least loaded ones, those that it has already before others, so that programs
 *	   stay where their caches are. Nodes with the fewest cores to choose from go first.
 *	3. Cores that nobody got go to the busy node that has least for its weight.
 *
 * Idle nodes choose after that, as if they were busy; nobody gets less for them.
 */
#include <string.h>

#include "scif/card/policy.h"

struct part {
	bool present, busy;
	unsigned int weight, wanted; /* cores at most */
	cpu_set_t allowed, held, cores;
};

struct division {
	struct part parts[CARD_NODES_MAX];
	double load[CARD_CORES_MAX]; /* weights of those that chose, spread over their cores */
	unsigned int holders[CARD_CORES_MAX]; /* nodes that have the core until now */
};

/* Who is there, what each may have, and has. */
static void division_begin(struct division *division, const struct policy *policy)
{
	const struct policy_program *program;

	memset(division, 0, sizeof(*division));
	TAILQ_FOREACH(program, &policy->running, link)
	{
		struct part *part = &division->parts[program->node];
		unsigned int wanted = program->cores_wanted;

		if (!part->present) {
			part->present = true;
			part->weight = policy->settings->shares[program->node].weight;
			part->allowed = policy_cores(policy, program->node);
		}
		if (wanted == 0)
			wanted = (unsigned int)CPU_COUNT(&part->allowed);
		if (wanted > part->wanted)
			part->wanted = wanted;
		part->busy = part->busy || !program->idle;
		CPU_OR(&part->held, &part->held, &program->cores);
	}
	for (int node = 0; node < CARD_NODES_MAX; node++) {
		for (int core = 0; core < CARD_CORES_MAX; core++)
			division->holders[core] +=
				CPU_ISSET(core, &division->parts[node].held) != 0;
	}
}

static bool parts_meet(const struct part *one, const struct part *other)
{
	cpu_set_t both;

	CPU_AND(&both, &one->allowed, &other->allowed);
	return CPU_COUNT(&both) > 0;
}

/* How many cores are a node's part. */
static unsigned int part_count(const struct division *division, const struct part *part)
{
	unsigned int weights = part->weight, count;

	for (int node = 0; node < CARD_NODES_MAX; node++) {
		const struct part *other = &division->parts[node];

		if (other != part && other->present && other->busy && parts_meet(part, other))
			weights += other->weight;
	}
	count = (unsigned int)((unsigned long)CPU_COUNT(&part->allowed) * part->weight / weights);
	if (count > part->wanted)
		count = part->wanted;
	return count ? count : 1;
}

/* Whether a node should rather take one core than the other. */
static bool part_prefers(const struct division *division, const struct part *part, int one,
			 int other)
{
	bool has_one = CPU_ISSET(one, &part->held), has_other = CPU_ISSET(other, &part->held);

	if (division->load[one] != division->load[other])
		return division->load[one] < division->load[other];
	if (has_one != has_other)
		return has_one;
	return division->holders[one] < division->holders[other];
}

/* The best of a node's cores that it has not got yet, or -1. */
static int part_choose(const struct division *division, const struct part *part)
{
	int best = -1;

	for (int core = 0; core < CARD_CORES_MAX; core++) {
		if (!CPU_ISSET(core, &part->allowed) || CPU_ISSET(core, &part->cores))
			continue;
		if (best < 0 || part_prefers(division, part, core, best))
			best = core;
	}
	return best;
}

static void part_place(struct division *division, struct part *part)
{
	unsigned int count = part_count(division, part);

	for (unsigned int i = 0; i < count; i++) {
		int core = part_choose(division, part);

		if (core < 0)
			return;
		CPU_SET(core, &part->cores);
	}
	for (int core = 0; core < CARD_CORES_MAX; core++) {
		if (CPU_ISSET(core, &part->cores))
			division->load[core] += (double)part->weight / count;
	}
}

/* The next node to choose: of those that are as busy, the one with the fewest cores to choose from.
 */
static struct part *division_next(struct division *division, bool busy)
{
	struct part *next = NULL;

	for (int node = 0; node < CARD_NODES_MAX; node++) {
		struct part *part = &division->parts[node];

		if (!part->present || part->busy != busy || CPU_COUNT(&part->cores))
			continue;
		if (!next || CPU_COUNT(&part->allowed) < CPU_COUNT(&next->allowed))
			next = part;
	}
	return next;
}

/* A core that no busy node got, to the one with least for its weight. */
static void division_give(struct division *division, int core)
{
	struct part *poorest = NULL;

	for (int node = 0; node < CARD_NODES_MAX; node++) {
		struct part *part = &division->parts[node];

		if (!part->present || !part->busy || !CPU_ISSET(core, &part->allowed) ||
		    (unsigned int)CPU_COUNT(&part->cores) >= part->wanted)
			continue;
		if (!poorest || CPU_COUNT(&part->cores) * (long)poorest->weight <
					CPU_COUNT(&poorest->cores) * (long)part->weight)
			poorest = part;
	}
	if (!poorest)
		return;
	CPU_SET(core, &poorest->cores);
	division->load[core] += poorest->weight;
}

/* A program's cores: its node's, and no more than it wants of them. */
static void program_move(struct policy_program *program, const struct part *part)
{
	cpu_set_t cores = part->cores;

	for (int core = CARD_CORES_MAX - 1; core >= 0 && program->cores_wanted; core--) {
		if (CPU_COUNT(&cores) <= (int)program->cores_wanted)
			break;
		CPU_CLR(core, &cores);
	}
	program->moved = program->moved || !CPU_EQUAL(&cores, &program->cores);
	program->cores = cores;
}

void policy_balance(struct policy *policy)
{
	struct policy_program *program;
	struct division division;
	struct part *part;

	if (policy->settings->policy != CARD_POLICY_SHARE)
		return;
	division_begin(&division, policy);
	while ((part = division_next(&division, true)))
		part_place(&division, part);
	for (int core = 0; core < CARD_CORES_MAX; core++) {
		if (CPU_ISSET(core, &policy->settings->cores) && division.load[core] == 0)
			division_give(&division, core);
	}
	while ((part = division_next(&division, false)))
		part_place(&division, part);
	TAILQ_FOREACH(program, &policy->running, link)
	{
		program_move(program, &division.parts[program->node]);
	}
}
