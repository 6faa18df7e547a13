/* SPDX-License-Identifier: Apache-2.0 */
/*
 * causeway simulate: what tenants would get under a policy, from traces and without a device.
 *
 * A tenant is described in one word, `NAME,KEY=VALUE,...`; its load is a trace file, or one kernel
 * repeated. The model is in share/simulate.h.
 */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "lib/base/clean.h"
#include "lib/base/log.h"
#include "share/recorded.h"
#include "share/simulate.h"

#define NS_PER_US 1e3
#define NS_PER_MS 1e6
#define NS_PER_S  1e9

enum option_key {
	OPTION_QUANTUM = 256,
	OPTION_SLICE,
	OPTION_HANDOVER,
	OPTION_LINGER,
	OPTION_DEVICE,
};

struct simulate_options {
	struct simulate_settings settings;
	struct simulate_tenant tenants[SIMULATE_TENANTS_MAX];
	struct simulate_trace traces[SIMULATE_TENANTS_MAX];
	size_t count;
	const char *recorded; /* a file of launches that were recorded, or NULL */
	struct recorded file;
	unsigned int device;
	bool json, timed;
};

static const struct argp_option options[] = {
	{ "tenant", 't', "NAME,...", 0,
	  "a tenant, with trace=FILE, or kernel=US and perhaps gap=US and wait=1; weight=N, "
	  "priority=N (0 to 3), start=MS",
	  0 },
	{ "recorded", 'r', "FILE", 0,
	  "the tenants and launches that causeway tenant record wrote; --tenant NAME,weight=N then "
	  "changes one of them",
	  0 },
	{ "device", OPTION_DEVICE, "N", 0, "of that file, this device's launches (0)", 0 },
	{ "policy", 'p', "NAME", 0, "round-robin (the default), virtual-time or first-come", 0 },
	{ "seconds", 's', "S", 0, "simulated time (10, or as long as the recording)", 0 },
	{ "quantum", OPTION_QUANTUM, "MS", 0, "device time a round for the smallest weight (10)",
	  0 },
	{ "slice", OPTION_SLICE, "MS", 0, "longest turn (10)", 0 },
	{ "handover", OPTION_HANDOVER, "US", 0, "idle time between two clients' turns (30)", 0 },
	{ "linger", OPTION_LINGER, "US", 0, "longest pause inside a turn (100)", 0 },
	{ "json", 'j', NULL, 0, "print JSON", 0 },
	{ 0 },
};

/* parse_number - @text as a number of [minimum, maximum]; anything else ends the program */
static double parse_number(struct argp_state *state, const char *name, const char *text,
			   double minimum, double maximum)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end || !(value >= minimum && value <= maximum))
		argp_error(state, "%s is \"%s\": expected a number from %g to %g", name, text,
			   minimum, maximum);
	return value;
}

static void tenant_key(struct argp_state *state, struct simulate_tenant *tenant,
		       struct simulate_trace *trace, struct simulate_launch *launch,
		       const char *key, const char *value)
{
	struct error error = { 0 };

	if (!strcmp(key, "weight"))
		tenant->weight = parse_number(state, key, value, 1, SHARE_WEIGHT_MAX);
	else if (!strcmp(key, "priority"))
		tenant->priority = parse_number(state, key, value, 0, SHARE_PRIORITIES - 1);
	else if (!strcmp(key, "start"))
		tenant->start_ns = parse_number(state, key, value, 0, 1e9) * NS_PER_MS;
	else if (!strcmp(key, "kernel"))
		launch->duration_ns = parse_number(state, key, value, 0.001, 1e9) * NS_PER_US;
	else if (!strcmp(key, "gap"))
		launch->gap_ns = parse_number(state, key, value, 0, 1e9) * NS_PER_US;
	else if (!strcmp(key, "wait"))
		launch->waits = parse_number(state, key, value, 0, 1);
	else if (strcmp(key, "trace") != 0)
		argp_error(state, "tenant \"%s\": unknown key \"%s\"", tenant->name, key);
	else if (simulate_trace_read(trace, value, &error))
		argp_failure(state, CLI_USAGE_STATUS, 0, "%s", error.text);
}

/* parse_tenant - @text is cut into pieces, which stay in use */
static void parse_tenant(struct argp_state *state, struct simulate_options *chosen, char *text)
{
	struct simulate_tenant *tenant = &chosen->tenants[chosen->count];
	struct simulate_trace *trace = &chosen->traces[chosen->count];
	struct simulate_launch launch = { 0 };
	char *save, *piece;

	if (chosen->count == SIMULATE_TENANTS_MAX)
		argp_error(state, "more than %u tenants", SIMULATE_TENANTS_MAX);
	*tenant = (struct simulate_tenant){ .name = strtok_r(text, ",", &save), .weight = 1 };
	if (!tenant->name)
		argp_error(state, "a tenant needs a name");
	while ((piece = strtok_r(NULL, ",", &save))) {
		char *value = strchr(piece, '=');

		if (!value)
			argp_error(state, "tenant \"%s\": \"%s\": expected KEY=VALUE", tenant->name,
				   piece);
		*value++ = '\0';
		tenant_key(state, tenant, trace, &launch, piece, value);
	}
	if (trace->count && launch.duration_ns)
		argp_error(state, "tenant \"%s\": expected either trace=FILE or kernel=US",
			   tenant->name);
	if (launch.duration_ns) {
		trace->launches = malloc(sizeof(launch));
		if (!trace->launches)
			argp_failure(state, 1, ENOMEM, "tenant \"%s\"", tenant->name);
		*trace->launches = launch;
		trace->count = 1;
	}
	tenant->trace = trace;
	chosen->count++;
}

/*
 * take_client - of the file, as one more tenant or as a further client of one that is there
 *
 * A tenant that the command line names without a load takes the place of the file's.
 */
static void take_client(struct argp_state *state, struct simulate_options *chosen,
			const struct recorded_client *client, size_t named)
{
	const struct recorded_tenant *is = &chosen->file.tenants[client->tenant];
	struct simulate_tenant *tenant, *head = NULL;
	const uint64_t length_ns = chosen->file.length_ns;

	for (size_t i = 0; i < chosen->count && !head; i++)
		if (!strcmp(chosen->tenants[i].name, is->name))
			head = &chosen->tenants[i];
	if (head && (size_t)(head - chosen->tenants) < named && !head->trace->count) {
		tenant = head;
	} else if (chosen->count == SIMULATE_TENANTS_MAX) {
		argp_error(state, "more than %u clients and tenants", SIMULATE_TENANTS_MAX);
		return;
	} else {
		tenant = &chosen->tenants[chosen->count++];
		*tenant = (struct simulate_tenant){ .name = is->name,
						    .weight = is->weight,
						    .priority = is->priority };
		if (head)
			tenant->client_of = 1 + (size_t)(head - chosen->tenants);
	}
	tenant->trace = &client->trace;
	tenant->start_ns = client->start_ns;
	/* Who was still at work at the end would have gone on, had it got more or less before. */
	tenant->once = client->end_ns < length_ns - length_ns / 20;
}

/* parse_end - all options are there: the recording's clients, and every tenant has a load */
static void parse_end(struct argp_state *state, struct simulate_options *chosen)
{
	struct error error = { 0 };
	size_t named = chosen->count;

	if (chosen->recorded &&
	    recorded_read(&chosen->file, chosen->recorded, chosen->device, &error))
		argp_failure(state, CLI_USAGE_STATUS, 0, "%s", error.text);
	for (size_t i = 0; i < chosen->file.client_count; i++)
		take_client(state, chosen, &chosen->file.clients[i], named);
	if (chosen->recorded && !chosen->timed)
		chosen->settings.duration_ns = chosen->file.length_ns;
	for (size_t i = 0; i < chosen->count; i++)
		if (!chosen->tenants[i].trace->count)
			argp_error(state,
				   "tenant \"%s\": expected either trace=FILE or kernel=US%s",
				   chosen->tenants[i].name,
				   chosen->recorded ? ", or a name of the recording" : "");
	if (!chosen->count)
		argp_error(state, "no --tenant and no --recorded");
}

/* results_join - what further clients got, to their tenants; waits: those of the worst client */
static void results_join(const struct simulate_options *chosen, struct simulate_result *results)
{
	for (size_t i = 0; i < chosen->count; i++) {
		const struct simulate_result *own = &results[i];
		struct simulate_result *head = &results[chosen->tenants[i].client_of - 1];

		if (!chosen->tenants[i].client_of)
			continue;
		if (head->launches + own->launches)
			head->wait_mean_ns = (head->wait_mean_ns * head->launches +
					      own->wait_mean_ns * own->launches) /
					     (head->launches + own->launches);
		head->device_ns += own->device_ns;
		head->launches += own->launches;
		head->turns += own->turns;
		if (own->wait_median_ns > head->wait_median_ns)
			head->wait_median_ns = own->wait_median_ns;
		if (own->wait_p99_ns > head->wait_p99_ns)
			head->wait_p99_ns = own->wait_p99_ns;
		if (own->wait_max_ns > head->wait_max_ns)
			head->wait_max_ns = own->wait_max_ns;
	}
}

/* measured - the part of the device that the tenant had when it was recorded; negative: unknown */
static double measured(const struct simulate_options *chosen, const char *name)
{
	double sum = 0, own = -1;

	for (size_t i = 0; i < chosen->file.tenant_count; i++) {
		sum += (double)chosen->file.tenants[i].measured_ns;
		if (!strcmp(chosen->file.tenants[i].name, name))
			own = (double)chosen->file.tenants[i].measured_ns;
	}
	return own < 0 || sum <= 0 ? -1 : own / sum;
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct simulate_options *chosen = state->input;
	struct simulate_settings *settings = &chosen->settings;

	switch (key) {
	case 't':
		parse_tenant(state, chosen, text);
		return 0;
	case 'p':
		if (share_kind_named(text, &settings->share.kind))
			argp_error(state,
				   "policy is \"%s\": expected round-robin, virtual-time or "
				   "first-come",
				   text);
		return 0;
	case 's':
		settings->duration_ns = parse_number(state, "seconds", text, 1e-3, 1e6) * NS_PER_S;
		chosen->timed = true;
		return 0;
	case 'r':
		chosen->recorded = text;
		return 0;
	case OPTION_DEVICE:
		chosen->device = parse_number(state, "device", text, 0, 15);
		return 0;
	case OPTION_QUANTUM:
		settings->share.quantum_ns =
			parse_number(state, "quantum", text, 0.01, 1e4) * NS_PER_MS;
		return 0;
	case OPTION_SLICE:
		settings->share.slice_ns =
			parse_number(state, "slice", text, 0.01, 1e4) * NS_PER_MS;
		return 0;
	case OPTION_HANDOVER:
		settings->handover_ns = parse_number(state, "handover", text, 0, 1e6) * NS_PER_US;
		return 0;
	case OPTION_LINGER:
		settings->linger_ns = parse_number(state, "linger", text, 0, 1e6) * NS_PER_US;
		return 0;
	case 'j':
		chosen->json = true;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "unexpected argument \"%s\"", text);
		return 0;
	case ARGP_KEY_END:
		parse_end(state, chosen);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.doc = "Show what tenants would get of a device, and how long their kernels would wait, "
	       "under a policy.",
};

/* due - the tenant's part of the device by weight among all */
static double due(const struct simulate_options *chosen, size_t i)
{
	double weights = 0;

	for (size_t k = 0; k < chosen->count; k++)
		weights += chosen->tenants[k].client_of ? 0 : chosen->tenants[k].weight;
	return chosen->tenants[i].weight / weights;
}

static double part(uint64_t of, uint64_t whole)
{
	return whole ? (double)of / (double)whole : 0;
}

static void print_table(const struct simulate_options *chosen,
			const struct simulate_result *results,
			const struct simulate_summary *summary)
{
	printf("%-16s %6s %8s %7s %7s%s %9s %8s  %s\n", "tenant", "weight", "priority", "due",
	       "share", chosen->recorded ? " recorded" : "", "launches", "turns",
	       "wait ms: mean, median, p99, longest");
	for (size_t i = 0; i < chosen->count; i++) {
		const struct simulate_result *result = &results[i];
		char had[16] = "";

		if (chosen->tenants[i].client_of)
			continue;
		if (chosen->recorded)
			snprintf(had, sizeof(had), "%8.1f%%",
				 100 * measured(chosen, chosen->tenants[i].name));
		printf("%-16s %6u %8u %6.1f%% %6.1f%%%s %9" PRIu64 " %8" PRIu64
		       "  %.3f %.3f %.3f %.3f\n",
		       chosen->tenants[i].name, chosen->tenants[i].weight,
		       chosen->tenants[i].priority, 100 * due(chosen, i),
		       100 * part(result->device_ns, summary->device_ns), had, result->launches,
		       result->turns, result->wait_mean_ns / NS_PER_MS,
		       result->wait_median_ns / NS_PER_MS, result->wait_p99_ns / NS_PER_MS,
		       result->wait_max_ns / NS_PER_MS);
	}
	printf("\nThe device worked in %.2f%% of the time in which it was wanted; handing over "
	       "took "
	       "%.2f%%.\n",
	       100 * part(summary->device_ns, summary->wanted_ns),
	       100 * part(summary->handover_ns, summary->wanted_ns));
}

static int print_json(const struct simulate_options *chosen, const struct simulate_result *results,
		      const struct simulate_summary *summary)
{
	json_t *tenants = json_array(), *all;
	int status;

	for (size_t i = 0; i < chosen->count; i++) {
		const struct simulate_result *result = &results[i];

		if (chosen->tenants[i].client_of)
			continue;
		json_array_append_new(
			tenants,
			json_pack("{s:s, s:f, s:f, s:f, s:I, s:I, s:f, s:f, s:f, s:f}", "name",
				  chosen->tenants[i].name, "due", due(chosen, i), "share",
				  part(result->device_ns, summary->device_ns), "device_s",
				  result->device_ns / NS_PER_S, "launches",
				  (json_int_t)result->launches, "turns", (json_int_t)result->turns,
				  "wait_mean_ms", result->wait_mean_ns / NS_PER_MS,
				  "wait_median_ms", result->wait_median_ns / NS_PER_MS,
				  "wait_p99_ms", result->wait_p99_ns / NS_PER_MS, "wait_max_ms",
				  result->wait_max_ns / NS_PER_MS));
		if (chosen->recorded)
			json_object_set_new(json_array_get(tenants, json_array_size(tenants) - 1),
					    "recorded_share",
					    json_real(measured(chosen, chosen->tenants[i].name)));
	}
	all = json_pack("{s:f, s:f, s:o}", "device_of_wanted",
			part(summary->device_ns, summary->wanted_ns), "handover_of_wanted",
			part(summary->handover_ns, summary->wanted_ns), "tenants", tenants);
	status = all ? json_dumpf(all, stdout, JSON_INDENT(1)) : -1;
	putchar('\n');
	json_decref(all);
	return status ? 1 : 0;
}

int cli_simulate(int argc, char **argv)
{
	static struct simulate_options chosen = {
		.settings = { .duration_ns = 10ull * 1000000000,
			      .handover_ns = 30000,
			      .linger_ns = 100000 },
	};
	struct simulate_result results[SIMULATE_TENANTS_MAX];
	struct simulate_summary summary;
	int status;

	chosen.settings.share = share_settings_default;
	argp_parse(&argp, argc, argv, 0, NULL, &chosen);
	status = simulate_run(&chosen.settings, chosen.tenants, chosen.count, results, &summary);
	if (!status)
		results_join(&chosen, results);
	if (status) {
		log_error("simulate: %s", strerror(-status));
	} else if (chosen.json) {
		status = print_json(&chosen, results, &summary);
	} else {
		print_table(&chosen, results, &summary);
	}
	for (size_t i = 0; i < chosen.count; i++)
		simulate_trace_free(&chosen.traces[i]);
	recorded_free(&chosen.file);
	return status ? 1 : 0;
}
