/* SPDX-License-Identifier: Apache-2.0 */
/* A simulation in steps of one kernel; see simulate.h for the model. */
#include "share/simulate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clean.h"

#define NEVER		UINT64_MAX
#define TRACE_BYTES_MAX (64u << 20)
#define TRACE_US_MAX	1e12
#define LINE_BYTES_MAX	256u
#define WAIT_STEPS	32u /* steps in each power of two: percentiles are exact to 3 % */
#define WAIT_BUCKETS	(64u * WAIT_STEPS)
#define NS_PER_US	1000.0

struct player {
	struct share_tenant own, *tenant; /* another player's where it is a further client of it */
	struct share_client client;
	const struct simulate_tenant *given;
	struct simulate_result *result;
	bool ended;	      /* its trace is over, and is not repeated */
	size_t next;	      /* index of the launch to be issued next */
	uint64_t next_ns;     /* when; NEVER while the program waits for a launch's end */
	uint64_t *issued_ns;  /* ring of SIMULATE_QUEUE_MAX; of launches that did not begin */
	size_t begun, queued; /* counts since the start; the ring holds [begun, queued) */
	uint64_t wait_sum_ns;
	uint32_t waits[WAIT_BUCKETS];
};

struct simulation {
	const struct simulate_settings *settings;
	struct share_policy policy;
	struct player *players;
	size_t count;
	struct player *last; /* who had the device last */
	uint64_t used_ns;    /* in this turn */
	uint64_t charged_ns; /* of it, what the tenant pays for */
	uint64_t kernel_ns;  /* of it, the last kernel */
	uint64_t now_ns;
	bool contended; /* somebody else waits */
	struct simulate_summary *summary;
};

static struct player *player_of(struct share_client *client)
{
	return (struct player *)((char *)client - offsetof(struct player, client));
}

/* wait_bucket - a logarithmic scale with WAIT_STEPS linear steps in each power of two */
static unsigned int wait_bucket(uint64_t ns)
{
	unsigned int power;

	if (ns < WAIT_STEPS)
		return (unsigned int)ns;
	power = 63 - (unsigned int)__builtin_clzll(ns) - 5;
	return (power + 1) * WAIT_STEPS + (unsigned int)((ns >> power) - WAIT_STEPS);
}

static uint64_t wait_value(unsigned int bucket)
{
	unsigned int power = bucket / WAIT_STEPS;

	if (!power)
		return bucket;
	return (uint64_t)(WAIT_STEPS + bucket % WAIT_STEPS) << (power - 1);
}

static void wait_note(struct player *player, uint64_t ns)
{
	player->waits[wait_bucket(ns)]++;
	player->wait_sum_ns += ns;
	if (ns > player->result->wait_max_ns)
		player->result->wait_max_ns = ns;
}

static uint64_t wait_percentile(const struct player *player, unsigned int percent)
{
	uint64_t wanted = (player->result->launches * percent + 99) / 100, seen = 0;

	for (unsigned int i = 0; i < WAIT_BUCKETS; i++) {
		seen += player->waits[i];
		if (seen && seen >= wanted)
			return wait_value(i);
	}
	return 0;
}

/* player_issue - everything that the program has issued by now; it wants the device for it */
static void player_issue(struct simulation *simulation, struct player *player)
{
	const struct simulate_trace *trace = player->given->trace;

	while (player->next_ns <= simulation->now_ns &&
	       player->queued - player->begun < SIMULATE_QUEUE_MAX) {
		const struct simulate_launch *launch = &trace->launches[player->next];

		player->issued_ns[player->queued++ % SIMULATE_QUEUE_MAX] = player->next_ns;
		player->next = (player->next + 1) % trace->count;
		player->ended = player->given->once && !player->next;
		if (launch->waits || player->ended)
			player->next_ns = NEVER;
		else
			player->next_ns += trace->launches[player->next].gap_ns;
	}
	if (player->queued != player->begun && simulation->policy.holder != &player->client)
		share_want(&simulation->policy, &player->client);
}

/* player_run - the oldest launch, from begin to end */
static void player_run(struct simulation *simulation, struct player *player)
{
	const struct simulate_trace *trace = player->given->trace;
	const struct simulate_launch *launch = &trace->launches[player->begun % trace->count];
	uint64_t issued = player->issued_ns[player->begun++ % SIMULATE_QUEUE_MAX];
	bool full = player->queued - player->begun == SIMULATE_QUEUE_MAX - 1;

	wait_note(player, simulation->now_ns - issued);
	simulation->now_ns += launch->duration_ns;
	simulation->used_ns += launch->duration_ns;
	simulation->charged_ns += launch->duration_ns;
	simulation->kernel_ns = launch->duration_ns;
	player->result->device_ns += launch->duration_ns;
	player->result->launches++;
	simulation->summary->device_ns += launch->duration_ns;
	simulation->summary->wanted_ns += launch->duration_ns;
	if (player->ended)
		return;
	if (launch->waits)
		player->next_ns = simulation->now_ns + trace->launches[player->next].gap_ns;
	else if (full && player->next_ns < simulation->now_ns - launch->duration_ns)
		player->next_ns = simulation->now_ns - launch->duration_ns; /* it was held back */
}

static void simulation_issue(struct simulation *simulation)
{
	for (size_t i = 0; i < simulation->count; i++)
		player_issue(simulation, &simulation->players[i]);
	if (!simulation->policy.holder || simulation->contended ||
	    share_budget(&simulation->policy) == SHARE_UNBOUNDED)
		return;
	simulation->contended = true;
	simulation->charged_ns = simulation->kernel_ns;
}

/* next_issue - when anything happens by itself */
static uint64_t next_issue(const struct simulation *simulation)
{
	uint64_t next = NEVER;

	for (size_t i = 0; i < simulation->count; i++)
		if (simulation->players[i].next_ns < next)
			next = simulation->players[i].next_ns;
	return next;
}

/* turn_begin - hand the device over, or let time pass until somebody wants it */
static void turn_begin(struct simulation *simulation)
{
	struct share_client *client = share_next(&simulation->policy);
	struct player *player;

	if (!client) {
		simulation->now_ns = next_issue(simulation);
		return;
	}
	player = player_of(client);
	player->result->turns++;
	simulation->used_ns = simulation->charged_ns = simulation->kernel_ns = 0;
	simulation->contended = false;
	if (player != simulation->last) {
		simulation->now_ns += simulation->settings->handover_ns;
		simulation->summary->handover_ns += simulation->settings->handover_ns;
		simulation->summary->wanted_ns += simulation->settings->handover_ns;
	}
	simulation->last = player;
}

/*
 * turn_pause - the holder has nothing to run: wait for its next launch, or end the turn
 *
 * Also where its budget is used up: a program that waits for each kernel would otherwise be missing
 * among those that want the next turn, by the moment that it needs to issue its next launch.
 */
static void turn_pause(struct simulation *simulation, struct player *player)
{
	uint64_t next = player->next_ns, alone = next_issue(simulation);

	if (!simulation->contended) {
		simulation->now_ns = alone;
		return;
	}
	if (next != NEVER && share_budget(&simulation->policy) &&
	    next - simulation->now_ns <= simulation->settings->linger_ns) {
		simulation->summary->wanted_ns += next - simulation->now_ns;
		simulation->now_ns = next;
		return;
	}
	share_end(&simulation->policy, simulation->charged_ns);
}

/* turn_spent - the next launch belongs into another turn; as cuda/server/turn.c decides it */
static bool turn_spent(struct simulation *simulation, const struct player *player)
{
	const struct simulate_trace *trace = player->given->trace;
	uint64_t next_ns = trace->launches[player->begun % trace->count].duration_ns;
	uint64_t budget_ns = share_budget(&simulation->policy);

	if (budget_ns == SHARE_UNBOUNDED)
		return false;
	if (!budget_ns)
		return true;
	return simulation->used_ns &&
	       (simulation->used_ns >= budget_ns || budget_ns - simulation->used_ns < next_ns / 2);
}

static void simulation_step(struct simulation *simulation)
{
	struct player *player;

	simulation_issue(simulation);
	if (!simulation->policy.holder) {
		turn_begin(simulation);
		return;
	}
	player = player_of(simulation->policy.holder);
	if (player->queued == player->begun)
		turn_pause(simulation, player);
	else if (turn_spent(simulation, player))
		share_end(&simulation->policy, simulation->charged_ns);
	else
		player_run(simulation, player);
}

static void simulation_finish(struct simulation *simulation)
{
	for (size_t i = 0; i < simulation->count; i++) {
		struct player *player = &simulation->players[i];
		struct simulate_result *result = player->result;

		if (result->launches)
			result->wait_mean_ns = player->wait_sum_ns / result->launches;
		result->wait_median_ns = wait_percentile(player, 50);
		result->wait_p99_ns = wait_percentile(player, 99);
	}
}

int simulate_run(const struct simulate_settings *settings, const struct simulate_tenant *tenants,
		 size_t count, struct simulate_result *results, struct simulate_summary *summary)
{
	struct simulation simulation = { .settings = settings, .count = count, .summary = summary };
	autofree struct player *players = NULL;
	autofree uint64_t *rings = NULL;

	if (!count || count > SIMULATE_TENANTS_MAX)
		return -EINVAL;
	players = calloc(count, sizeof(*players));
	rings = calloc(count * SIMULATE_QUEUE_MAX, sizeof(*rings));
	if (!players || !rings)
		return -ENOMEM;
	memset(results, 0, count * sizeof(*results));
	memset(summary, 0, sizeof(*summary));
	simulation.players = players;
	share_policy_open(&simulation.policy, &settings->share);
	for (size_t i = 0; i < count; i++) {
		struct player *player = &players[i];

		if (!tenants[i].trace->count)
			return -EINVAL;
		player->given = &tenants[i];
		player->result = &results[i];
		player->issued_ns = rings + i * SIMULATE_QUEUE_MAX;
		player->next_ns = tenants[i].start_ns + tenants[i].trace->launches[0].gap_ns;
		if (tenants[i].client_of > i)
			return -EINVAL;
		if (tenants[i].client_of) {
			player->tenant = &players[tenants[i].client_of - 1].own;
		} else {
			player->tenant = &player->own;
			share_tenant_add(&simulation.policy, &player->own, tenants[i].weight,
					 tenants[i].priority);
		}
		share_client_open(&player->client, player->tenant);
	}
	while (simulation.now_ns < settings->duration_ns)
		simulation_step(&simulation);
	simulation_finish(&simulation);
	return 0;
}

/* launch_parse - one line, without its newline; 0, -EINVAL, or 1 for one that holds nothing */
static int launch_parse(char *line, struct simulate_launch *launch)
{
	double gap_us, duration_us;
	char word[8] = "", rest;
	int fields;

	line += strspn(line, " \t");
	if (!*line || *line == '#')
		return 1;
	fields = sscanf(line, "%lf %lf %7s %c", &gap_us, &duration_us, word, &rest);
	if (fields < 2 || fields > 3 || (fields == 3 && strcmp(word, "wait") != 0))
		return -EINVAL;
	/* Written so that what is not a number fails. */
	if (!(gap_us >= 0 && gap_us <= TRACE_US_MAX) ||
	    !(duration_us > 0 && duration_us <= TRACE_US_MAX))
		return -EINVAL;
	launch->gap_ns = (uint64_t)(gap_us * NS_PER_US);
	launch->duration_ns = (uint64_t)(duration_us * NS_PER_US);
	launch->waits = fields == 3;
	return launch->duration_ns ? 0 : -EINVAL;
}

int simulate_trace_parse(struct simulate_trace *trace, const char *text, size_t bytes,
			 const char *name, struct error *error)
{
	autofree struct simulate_launch *launches = NULL;
	size_t count = 0, room = 0, number = 0;

	while (bytes) {
		const char *end = memchr(text, '\n', bytes);
		size_t length = end ? (size_t)(end - text) : bytes;
		char line[LINE_BYTES_MAX] = "";
		int status = -EINVAL;

		number++;
		if (count == room) {
			struct simulate_launch *grown;

			room = room ? 2 * room : 1024;
			grown = realloc(launches, room * sizeof(*launches));
			if (!grown)
				return error_set(error, -ENOMEM, "no memory");
			launches = grown;
		}
		if (length < sizeof(line) && !memchr(text, '\0', length)) {
			memcpy(line, text, length);
			status = launch_parse(line, &launches[count]);
		}
		if (status < 0)
			return error_set(error, -EINVAL,
					 "%s:%zu: '%.40s': expected GAP_US DURATION_US [wait]",
					 name, number, line);
		count += !status;
		text += length + !!end;
		bytes -= length + !!end;
	}
	if (!count)
		return error_set(error, -EINVAL, "%s: no launch in it", name);
	trace->launches = steal_pointer(&launches);
	trace->count = count;
	return 0;
}

int simulate_trace_read(struct simulate_trace *trace, const char *path, struct error *error)
{
	FILE *file = fopen(path, "re");
	autofree char *text = NULL;
	size_t bytes = 0, room = 0;
	int status = 0;

	if (!file)
		return error_set(error, -errno, "cannot read '%s': %s", path, strerror(errno));
	while (!status && !feof(file) && !ferror(file)) {
		char *grown;

		room = room ? 2 * room : 65536;
		if (room > TRACE_BYTES_MAX) {
			status = error_set(error, -EFBIG, "'%s': more than %u MiB", path,
					   TRACE_BYTES_MAX >> 20);
			break;
		}
		grown = realloc(text, room);
		if (!grown) {
			status = error_set(error, -ENOMEM, "no memory");
			break;
		}
		text = grown;
		bytes += fread(text + bytes, 1, room - bytes, file);
	}
	if (!status && ferror(file))
		status = error_set(error, -EIO, "cannot read '%s': %s", path, strerror(errno));
	fclose(file);
	return status ? status : simulate_trace_parse(trace, text, bytes, path, error);
}

void simulate_trace_free(struct simulate_trace *trace)
{
	free(trace->launches);
	*trace = (struct simulate_trace){ 0 };
}
