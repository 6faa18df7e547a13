/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deficit round robin (Shreedhar and Varghese, 1995) on device time, with the list of fresh flows
 * of FQ-CoDel (RFC 8290, section 4.2).
 *
 * A round gives each tenant of a class that wants the device its quantum, in proportion to its
 * weight. A kernel cannot be interrupted: what a turn used beyond its budget is a debt that later
 * rounds pay. A tenant that was idle is served before the backlog, with one quantum and once: when
 * it wants nothing more it still stands in the backlog until it has been passed by, so that short
 * bursts with pauses between them cannot take more than a round's share. Who comes back before
 * that for what is left of its quantum is served first once more, and only once: each time costs a
 * hand-over.
 *
 * A decision passes each tenant by once. Where all who want something are in debt, rounds would go
 * by until one is not, and a tenant that is away for the moment between two of its kernels would be
 * taken for idle and find its due forgiven to the others. So no round goes by then: the least
 * indebted is served, and its debt grows; who stays away for longer is idle.
 *
 * Nobody saves: a tenant that becomes idle loses what it did not use. Debts outlive idleness, less
 * one quantum for each round that went by without it.
 *
 * A turn is long, since handing over costs time, and is cut short for who is served first: then the
 * holder gives it no more work, and what it has left comes after the newcomer.
 */
#include "share/policy.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

/*
 * A GPU stands still for some 0.2 ms between two processes (bench/run sharing, `conservation`):
 * 10 ms keep that at a fiftieth. A newcomer does not wait for them.
 */
const struct share_settings share_settings_default = {
	.kind = SHARE_ROUND_ROBIN,
	.quantum_ns = 10000000,
	.slice_ns = 10000000,
};

/* The remainder of a quantum is not worth a turn below this part of it: it adds to the next one. */
#define LEAST_PART 8

/* Debt that remains, in quanta, to who is served in debt: short absences add up to no more. */
#define DEBT_QUANTA 4

void share_policy_open(struct share_policy *policy, const struct share_settings *settings)
{
	memset(policy, 0, sizeof(*policy));
	policy->settings = *settings;
	policy->weight_least = 1;
	for (unsigned int i = 0; i < SHARE_PRIORITIES; i++) {
		TAILQ_INIT(&policy->classes[i].fresh);
		TAILQ_INIT(&policy->classes[i].backlog);
	}
}

int share_kind_named(const char *name, enum share_kind *kind)
{
	static const char *const names[] = { [SHARE_ROUND_ROBIN] = "round-robin",
					     [SHARE_VIRTUAL_TIME] = "virtual-time",
					     [SHARE_FIRST_COME] = "first-come" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (!strcmp(name, names[i])) {
			*kind = (enum share_kind)i;
			return 0;
		}
	}
	return -EINVAL;
}

static struct share_class *tenant_class(struct share_policy *policy,
					const struct share_tenant *tenant)
{
	return &policy->classes[tenant->priority];
}

static int64_t tenant_quantum(const struct share_policy *policy, const struct share_tenant *tenant)
{
	return (int64_t)(policy->settings.quantum_ns * tenant->weight / policy->weight_least);
}

/* least_ns - what is worth a turn */
static int64_t least_ns(const struct share_policy *policy)
{
	const struct share_settings *settings = &policy->settings;
	uint64_t shorter = settings->slice_ns < settings->quantum_ns ? settings->slice_ns
								     : settings->quantum_ns;

	return (int64_t)(shorter / LEAST_PART) + 1;
}

/* share_tenant_enter - leave the list it is in and go to the end of another */
static void share_tenant_enter(struct share_policy *policy, struct share_tenant *tenant,
			       enum share_place place)
{
	struct share_class *class = tenant_class(policy, tenant);

	if (tenant->place == SHARE_FRESH)
		TAILQ_REMOVE(&class->fresh, tenant, link);
	else if (tenant->place == SHARE_BACKLOG)
		TAILQ_REMOVE(&class->backlog, tenant, link);
	tenant->place = place;
	if (place == SHARE_FRESH)
		TAILQ_INSERT_TAIL(&class->fresh, tenant, link);
	else if (place == SHARE_BACKLOG)
		TAILQ_INSERT_TAIL(&class->backlog, tenant, link);
}

/* tenant_rest - nothing is wanted any more: savings end, debts are kept with their date */
static void tenant_rest(struct share_policy *policy, struct share_tenant *tenant)
{
	if (tenant->deficit_ns > 0)
		tenant->deficit_ns = 0;
	tenant->round = tenant_class(policy, tenant)->round;
	share_tenant_enter(policy, tenant, SHARE_IDLE);
}

/* tenant_wake - the first wish after a rest */
static void tenant_wake(struct share_policy *policy, struct share_tenant *tenant)
{
	struct share_class *class = tenant_class(policy, tenant);
	int64_t quantum = tenant_quantum(policy, tenant);
	uint64_t rounds = class->round - tenant->round;

	if (tenant->virtual_ns < class->virtual_ns)
		tenant->virtual_ns = class->virtual_ns;
	if (tenant->deficit_ns < 0 && rounds < (uint64_t)(-tenant->deficit_ns / quantum)) {
		tenant->deficit_ns += (int64_t)rounds * quantum;
		share_tenant_enter(policy, tenant, SHARE_BACKLOG);
		return;
	}
	tenant->deficit_ns = quantum;
	tenant->returned = false;
	share_tenant_enter(policy, tenant, SHARE_FRESH);
}

static void weight_count(struct share_policy *policy, unsigned int weight, int difference)
{
	policy->weights[weight] += (unsigned int)difference;
	for (unsigned int i = 1; i <= SHARE_WEIGHT_MAX; i++) {
		policy->weight_least = i;
		if (policy->weights[i])
			return;
	}
	policy->weight_least = 1;
}

void share_tenant_add(struct share_policy *policy, struct share_tenant *tenant, unsigned int weight,
		      unsigned int priority)
{
	assert(weight && weight <= SHARE_WEIGHT_MAX && priority < SHARE_PRIORITIES);
	memset(tenant, 0, sizeof(*tenant));
	TAILQ_INIT(&tenant->waiting);
	tenant->weight = weight;
	tenant->priority = priority;
	tenant->round = tenant_class(policy, tenant)->round;
	weight_count(policy, weight, 1);
}

void share_tenant_change(struct share_policy *policy, struct share_tenant *tenant,
			 unsigned int weight, unsigned int priority)
{
	bool listed = tenant->place != SHARE_IDLE;

	assert(weight && weight <= SHARE_WEIGHT_MAX && priority < SHARE_PRIORITIES);
	weight_count(policy, tenant->weight, -1);
	weight_count(policy, weight, 1);
	tenant->weight = weight;
	if (priority == tenant->priority)
		return;
	share_tenant_enter(policy, tenant, SHARE_IDLE);
	tenant->priority = priority;
	tenant->round = tenant_class(policy, tenant)->round;
	if (listed)
		share_tenant_enter(policy, tenant, SHARE_BACKLOG);
}

void share_tenant_remove(struct share_policy *policy, struct share_tenant *tenant)
{
	assert(TAILQ_EMPTY(&tenant->waiting));
	share_tenant_enter(policy, tenant, SHARE_IDLE);
	weight_count(policy, tenant->weight, -1);
}

void share_client_open(struct share_client *client, struct share_tenant *tenant)
{
	*client = (struct share_client){ .tenant = tenant };
}

static void client_unwait(struct share_client *client)
{
	if (client->waits)
		TAILQ_REMOVE(&client->tenant->waiting, client, link);
	client->waits = false;
}

void share_client_close(struct share_policy *policy, struct share_client *client)
{
	client_unwait(client);
	if (policy->holder == client)
		share_end(policy, 0);
}

/* tenant_returns - it wants more, and has something left of its quantum from this round */
static bool tenant_returns(const struct share_policy *policy, const struct share_tenant *tenant)
{
	return tenant->place == SHARE_BACKLOG && TAILQ_EMPTY(&tenant->waiting) &&
	       (!policy->holder || policy->holder->tenant != tenant) && !tenant->served &&
	       !tenant->returned && tenant->deficit_ns >= least_ns(policy);
}

void share_want(struct share_policy *policy, struct share_client *client)
{
	struct share_tenant *tenant = client->tenant;

	if (client->waits || policy->holder == client)
		return;
	if (tenant_returns(policy, tenant)) {
		tenant->returned = true;
		share_tenant_enter(policy, tenant, SHARE_FRESH);
	}
	client->waits = true;
	client->asked = ++policy->asked;
	TAILQ_INSERT_TAIL(&tenant->waiting, client, link);
	if (tenant->place == SHARE_IDLE)
		tenant_wake(policy, tenant);
}

/*
 * tenant_next - the head of the fresh, else of the backlog, that wants something; NULL: nobody, or
 * this decision has been all around and is at one that it passed by already
 */
static struct share_tenant *tenant_next(struct share_policy *policy, struct share_class *class)
{
	struct share_tenant *tenant;

	while ((tenant = TAILQ_FIRST(&class->fresh)) || (tenant = TAILQ_FIRST(&class->backlog))) {
		if (!TAILQ_EMPTY(&tenant->waiting))
			return tenant;
		if (tenant->passed == policy->decisions)
			return NULL;
		tenant->passed = policy->decisions;
		/* Whoever had a turn must be passed by once before it is fresh again. */
		if (tenant->place == SHARE_FRESH || tenant->served)
			share_tenant_enter(policy, tenant, SHARE_BACKLOG);
		else
			tenant_rest(policy, tenant);
		tenant->served = false;
	}
	return NULL;
}

/* tenant_give - a round's quantum, with a note of the decision */
static void tenant_give(struct share_policy *policy, struct share_tenant *tenant)
{
	if (tenant->given != policy->decisions)
		tenant->given_ns = 0;
	tenant->given = policy->decisions;
	tenant->given_ns += tenant_quantum(policy, tenant);
	tenant->deficit_ns += tenant_quantum(policy, tenant);
	tenant->returned = false;
}

/*
 * pick_debtor - of the tenants in the backlog that want something the least indebted; NULL: none.
 * What this decision gave is taken back.
 */
static struct share_tenant *pick_debtor(struct share_policy *policy, struct share_class *class)
{
	struct share_tenant *tenant, *best = NULL;
	int64_t most_ns;

	TAILQ_FOREACH(tenant, &class->backlog, link)
	{
		if (TAILQ_EMPTY(&tenant->waiting))
			continue;
		if (tenant->given == policy->decisions)
			tenant->deficit_ns -= tenant->given_ns;
		if (!best || tenant->deficit_ns / tenant_quantum(policy, tenant) >
				     best->deficit_ns / tenant_quantum(policy, best))
			best = tenant;
	}
	if (!best)
		return NULL;
	most_ns = DEBT_QUANTA * tenant_quantum(policy, best);
	if (best->deficit_ns < -most_ns)
		best->deficit_ns = -most_ns;
	return best;
}

static struct share_tenant *pick_round_robin(struct share_policy *policy, struct share_class *class)
{
	struct share_tenant *tenant;

	while ((tenant = tenant_next(policy, class)) && tenant->deficit_ns < least_ns(policy)) {
		if (tenant->round == class->round)
			class->round++;
		tenant->round = class->round;
		tenant_give(policy, tenant);
		if (tenant->deficit_ns < least_ns(policy))
			share_tenant_enter(policy, tenant, SHARE_BACKLOG);
	}
	return tenant ? tenant : pick_debtor(policy, class);
}

/* pick_least - the tenant of both lists that wants something and for which @rank is least */
static struct share_tenant *pick_least(struct share_policy *policy, struct share_class *class,
				       uint64_t (*rank)(const struct share_tenant *))
{
	struct share_tenant *best = tenant_next(policy, class), *tenant;
	struct share_tenant_list *lists[] = { &class->fresh, &class->backlog };

	for (int i = 0; i < 2; i++) {
		TAILQ_FOREACH(tenant, lists[i], link)
		{
			if (!TAILQ_EMPTY(&tenant->waiting) && rank(tenant) < rank(best))
				best = tenant;
		}
	}
	return best;
}

static uint64_t rank_virtual(const struct share_tenant *tenant)
{
	return tenant->virtual_ns;
}

static uint64_t rank_asked(const struct share_tenant *tenant)
{
	return TAILQ_FIRST(&tenant->waiting)->asked;
}

static struct share_tenant *pick(struct share_policy *policy, struct share_class *class)
{
	switch (policy->settings.kind) {
	case SHARE_VIRTUAL_TIME:
		return pick_least(policy, class, rank_virtual);
	case SHARE_FIRST_COME:
		return pick_least(policy, class, rank_asked);
	default:
		return pick_round_robin(policy, class);
	}
}

/* list_wanted - somebody in it waits */
static bool list_wanted(const struct share_tenant_list *list)
{
	const struct share_tenant *tenant;

	TAILQ_FOREACH(tenant, list, link)
	{
		if (!TAILQ_EMPTY(&tenant->waiting))
			return true;
	}
	return false;
}

/* turn_budget - within a slice, and not too short to be worth a turn */
static uint64_t turn_budget(const struct share_policy *policy, const struct share_tenant *tenant)
{
	uint64_t slice = policy->settings.slice_ns, least = (uint64_t)least_ns(policy);
	uint64_t deficit = tenant->deficit_ns > 0 ? (uint64_t)tenant->deficit_ns : 0;

	if (policy->settings.kind != SHARE_ROUND_ROBIN || deficit > slice)
		return slice;
	return deficit > least ? deficit : least;
}

struct share_client *share_next(struct share_policy *policy)
{
	struct share_tenant *tenant = NULL;

	if (policy->holder)
		return NULL;
	policy->decisions++;
	for (unsigned int i = SHARE_PRIORITIES; i-- && !tenant;) {
		tenant = pick(policy, &policy->classes[i]);
		if (tenant)
			policy->classes[i].virtual_ns = tenant->virtual_ns;
	}
	if (!tenant)
		return NULL;
	policy->holder = TAILQ_FIRST(&tenant->waiting);
	policy->budget_ns = turn_budget(policy, tenant);
	client_unwait(policy->holder);
	return policy->holder;
}

/* list_likely - the first of a list that waits and that one more quantum takes out of debt */
static struct share_tenant *list_likely(const struct share_policy *policy,
					const struct share_tenant_list *list)
{
	const struct share_tenant *own = policy->holder ? policy->holder->tenant : NULL;
	struct share_tenant *tenant;

	TAILQ_FOREACH(tenant, list, link)
	{
		if (tenant != own && !TAILQ_EMPTY(&tenant->waiting) &&
		    tenant->deficit_ns + tenant_quantum(policy, tenant) > 0)
			return tenant;
	}
	return NULL;
}

struct share_client *share_likely(const struct share_policy *policy)
{
	const struct share_tenant *tenant;

	for (unsigned int i = SHARE_PRIORITIES; i--;) {
		tenant = list_likely(policy, &policy->classes[i].fresh);
		if (!tenant)
			tenant = list_likely(policy, &policy->classes[i].backlog);
		if (tenant)
			return TAILQ_FIRST(&tenant->waiting);
	}
	return NULL;
}

uint64_t share_budget(struct share_policy *policy)
{
	const struct share_tenant *own = policy->holder->tenant;
	bool newcomers = policy->settings.kind == SHARE_ROUND_ROBIN;

	policy->cut = false;
	for (unsigned int i = SHARE_PRIORITIES; i--;) {
		const struct share_class *class = &policy->classes[i];
		bool fresh = list_wanted(&class->fresh);

		if (!fresh && !list_wanted(&class->backlog))
			continue;
		policy->cut = i > own->priority || (i == own->priority && fresh && newcomers &&
						    own->place != SHARE_FRESH);
		return policy->cut ? 0 : policy->budget_ns;
	}
	return SHARE_UNBOUNDED;
}

void share_end(struct share_policy *policy, uint64_t used_ns)
{
	struct share_tenant *tenant = policy->holder->tenant;

	share_budget(policy);
	policy->holder = NULL;
	tenant->served = true;
	/*
	 * Without anybody who waited, or with a turn that it did nothing with, it saved nothing;
	 * its next quantum comes with the next round.
	 */
	if (!used_ns && !policy->cut && tenant->deficit_ns > 0)
		tenant->deficit_ns = 0;
	if (used_ns > INT64_MAX / 2)
		used_ns = INT64_MAX / 2;
	tenant->virtual_ns += used_ns / tenant->weight;
	if (tenant->deficit_ns > INT64_MIN / 2)
		tenant->deficit_ns -= (int64_t)used_ns;
	if (tenant->deficit_ns < least_ns(policy))
		share_tenant_enter(policy, tenant, SHARE_BACKLOG);
}
