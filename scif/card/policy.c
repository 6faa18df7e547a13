/* SPDX-License-Identifier: Apache-2.0 */
/* Which program runs when, and where; see policy.h. */
#include "scif/card/policy.h"

#include <errno.h>
#include <string.h>

void policy_init(struct policy *policy, const struct card_settings *settings)
{
	memset(policy, 0, sizeof(*policy));
	policy->settings = settings;
	TAILQ_INIT(&policy->waiting);
	TAILQ_INIT(&policy->running);
}

static unsigned int policy_count_node(const struct policy_list *list, unsigned int node)
{
	const struct policy_program *program;
	unsigned int count = 0;

	TAILQ_FOREACH(program, list, link)
	count += program->node == node;
	return count;
}

cpu_set_t policy_cores(const struct policy *policy, unsigned int node)
{
	const struct card_share *share = &policy->settings->shares[node];

	return CPU_COUNT(&share->cores) ? share->cores : policy->settings->cores;
}

int policy_ask(struct policy *policy, struct policy_program *program, struct error *error)
{
	const struct card_settings *settings = policy->settings;
	const struct card_share *share = &settings->shares[program->node];
	cpu_set_t cores = policy_cores(policy, program->node);
	unsigned int own = policy_count_node(&policy->running, program->node) +
			   policy_count_node(&policy->waiting, program->node);

	if (program->cores_wanted > (unsigned int)CPU_COUNT(&cores))
		return error_set(error, -EINVAL, "%u cores were asked for; node %u may have %d",
				 program->cores_wanted, program->node, CPU_COUNT(&cores));
	if (program->memory_bytes > settings->memory_bytes)
		return error_set(error, -ENOMEM, "%llu bytes were asked for; the card has %llu",
				 (unsigned long long)program->memory_bytes,
				 (unsigned long long)settings->memory_bytes);
	if (share->programs && own >= share->programs)
		return error_set(error, -EBUSY,
				 "the card is full: node %u has its %u program%s there",
				 program->node, share->programs, share->programs == 1 ? "" : "s");
	program->running = false;
	TAILQ_INSERT_TAIL(&policy->waiting, program, link);
	policy->waiting_count++;
	return 0;
}

/* Takes as many as are wanted of the cores that nobody has; false when there are not so many. */
static bool policy_take_cores(struct policy *policy, struct policy_program *program,
			      const cpu_set_t *allowed)
{
	unsigned int wanted = program->cores_wanted ? program->cores_wanted : 1, found = 0;

	CPU_ZERO(&program->cores);
	for (int core = 0; core < CARD_CORES_MAX && found < wanted; core++) {
		if (!CPU_ISSET(core, allowed) || CPU_ISSET(core, &policy->taken))
			continue;
		CPU_SET(core, &program->cores);
		found++;
	}
	if (found < wanted)
		return false;
	CPU_OR(&policy->taken, &policy->taken, &program->cores);
	return true;
}

/* Whether @program may run now; then its cores are its. */
static bool policy_fits(struct policy *policy, struct policy_program *program)
{
	const struct card_settings *settings = policy->settings;
	cpu_set_t allowed = policy_cores(policy, program->node);

	if (policy->running_count >= settings->programs_max ||
	    program->memory_bytes > settings->memory_bytes - policy->reserved_bytes)
		return false;
	if (settings->policy == CARD_POLICY_SPACE)
		return policy_take_cores(policy, program, &allowed);
	if (settings->policy == CARD_POLICY_FIRST && policy->running_count)
		return false;
	CPU_ZERO(&program->cores);
	if (settings->policy != CARD_POLICY_SHARE) /* there, policy_balance() says which */
		program->cores = allowed;
	return true;
}

struct policy_program *policy_next(struct policy *policy)
{
	struct policy_program *program = TAILQ_FIRST(&policy->waiting);

	if (!program || !policy_fits(policy, program))
		return NULL;
	TAILQ_REMOVE(&policy->waiting, program, link);
	policy->waiting_count--;
	TAILQ_INSERT_TAIL(&policy->running, program, link);
	policy->running_count++;
	policy->reserved_bytes += program->memory_bytes;
	program->running = true;
	return program;
}

int policy_check_queue(const struct policy *policy, struct error *error)
{
	if (policy->waiting_count <= policy->settings->queue_max)
		return 0;
	return error_set(error, -EBUSY, "the card is full: %u program%s there, and %u wait",
			 policy->running_count, policy->running_count == 1 ? " is" : "s are",
			 policy->waiting_count - 1);
}

void policy_leave(struct policy *policy, struct policy_program *program)
{
	if (!program->running) {
		TAILQ_REMOVE(&policy->waiting, program, link);
		policy->waiting_count--;
		return;
	}
	TAILQ_REMOVE(&policy->running, program, link);
	policy->running_count--;
	policy->reserved_bytes -= program->memory_bytes;
	if (policy->settings->policy == CARD_POLICY_SPACE) {
		for (int core = 0; core < CARD_CORES_MAX; core++) {
			if (CPU_ISSET(core, &program->cores))
				CPU_CLR(core, &policy->taken);
		}
	}
}

unsigned int policy_place(const struct policy *policy, const struct policy_program *program)
{
	const struct policy_program *other;
	unsigned int place = 0;

	TAILQ_FOREACH(other, &policy->waiting, link)
	{
		if (other == program)
			break;
		place++;
	}
	return place;
}
