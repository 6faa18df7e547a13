/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cores that change hands while programs run: policy_balance() says whose they are, here they are
 * given and taken. Once a while, as long as several nodes have programs, a look at what each has
 * used since the last: one that has used nothing for BALANCE_IDLE_MS is idle.
 */
#include <time.h>

#include "lib/base/log.h"
#include "scif/card/sandbox.h"
#include "scif/card/supervisor.h"

#define BALANCE_LOOK_US 250000
#define BALANCE_IDLE_MS 2000

static uint64_t balance_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Whether programs of more than one node run. */
static bool balance_is_shared(const struct supervisor *supervisor)
{
	const struct policy_program *first = TAILQ_FIRST(&supervisor->policy.running), *program;

	TAILQ_FOREACH(program, &supervisor->policy.running, link)
	{
		if (program->node != first->node)
			return true;
	}
	return false;
}

/* Whether what is known of a program's idleness changed. */
static bool balance_look(struct client *client, uint64_t now_ms)
{
	struct policy_program *program = &client->program;
	bool before = program->idle;
	uint64_t used_us;

	if (!program->running || client->process <= 0 || client->counted)
		return false;
	used_us = processes_cpu_us(client->process);
	if (used_us != client->used_us) {
		client->used_us = used_us;
		client->busy_ms = now_ms;
	}
	program->idle = now_ms - client->busy_ms >= BALANCE_IDLE_MS;
	return program->idle != before;
}

static void balance_on_time(evutil_socket_t fd, short what, void *context)
{
	struct supervisor *supervisor = context;
	uint64_t now_ms = balance_now_ms();
	struct client *client;
	bool changed = false;

	(void)fd;
	(void)what;
	TAILQ_FOREACH(client, &supervisor->clients, link)
	{
		changed = balance_look(client, now_ms) || changed;
	}
	if (changed)
		policy_balance(&supervisor->policy);
	balance_apply(supervisor);
}

void balance_begin(struct client *client)
{
	client->busy_ms = balance_now_ms();
	client->used_us = 0;
}

void balance_apply(struct supervisor *supervisor)
{
	static const struct timeval pause = { 0, BALANCE_LOOK_US };
	struct client *client;

	TAILQ_FOREACH(client, &supervisor->clients, link)
	{
		struct policy_program *program = &client->program;

		if (!program->running || !program->moved || client->process <= 0 || client->counted)
			continue;
		program->moved = false;
		if (!cgroup_is_used())
			processes_move(client->process, &program->cores);
		else if (cgroup_move(supervisor->settings, client->number, &program->cores) < 0)
			log_warning("program %llu stays on its cores",
				    (unsigned long long)client->number);
	}
	if (supervisor->settings->policy != CARD_POLICY_SHARE || !balance_is_shared(supervisor))
		return;
	if (!supervisor->balance)
		supervisor->balance = evtimer_new(supervisor->base, balance_on_time, supervisor);
	if (supervisor->balance && !evtimer_pending(supervisor->balance, NULL))
		evtimer_add(supervisor->balance, &pause);
}
