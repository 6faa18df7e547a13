/* SPDX-License-Identifier: Apache-2.0 */
/* What the card's control socket tells, and does: for `causeway card` and `causeway status`. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/control/server.h"
#include "lib/metrics/report.h"
#include "scif/card/sandbox.h"
#include "scif/card/supervisor.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static const struct report_column card_columns[] = {
	{ "card", REPORT_LABEL, "", "its name" },
	{ "state", REPORT_TEXT, "", "down, booting or online" },
	{ "cores", REPORT_GAUGE, "", "of this host, the card's" },
	{ "memory", REPORT_GAUGE, "bytes", "of the card" },
	{ "policy", REPORT_TEXT, "", "share, time, space or first" },
	{ "limits", REPORT_TEXT, "", "cgroup, or affinity, nice and limits of each process" },
	{ "running", REPORT_GAUGE, "", "programs" },
	{ "waiting", REPORT_GAUGE, "", "programs" },
	{ "clients", REPORT_GAUGE, "", "connections" },
};

static const struct report_column node_columns[] = {
	{ "node", REPORT_LABEL, "", "of the VM; 0 is the host" },
	{ "weight", REPORT_GAUGE, "", "of its programs" },
	{ "programs", REPORT_COUNTER, "", "that were started" },
	{ "refused", REPORT_COUNTER, "", "that were not" },
	{ "core_seconds", REPORT_COUNTER, "seconds", "that its programs used" },
	{ "tenant", REPORT_TEXT, "", "whose it is" },
};

static const struct report_column program_columns[] = {
	{ "number", REPORT_LABEL, "", "of the program" },
	{ "node", REPORT_TEXT, "", "whose it is" },
	{ "name", REPORT_TEXT, "", "of its file" },
	{ "state", REPORT_TEXT, "", "waiting or running" },
	{ "cores", REPORT_TEXT, "", "how many it may use" },
	{ "core_seconds", REPORT_COUNTER, "seconds", "used so far" },
};

static json_t *report_node(const struct supervisor *supervisor, unsigned int node)
{
	const struct account *account = &supervisor->accounts[node];
	uint64_t used = account->cpu_us;
	const struct client *client;
	char name[16];

	TAILQ_FOREACH(client, &supervisor->clients, link)
	{
		if (client->node == node)
			used += supervisor_cpu_us(client);
	}
	snprintf(name, sizeof(name), "%u", node);
	return json_pack("[s, i, I, I, f, s]", name, (int)supervisor->settings->shares[node].weight,
			 (json_int_t)account->programs, (json_int_t)account->refused,
			 (double)used / 1e6, account_tenant(supervisor, node));
}

static json_t *report_program(const struct client *client)
{
	char number[24], node[16], cores[16];

	snprintf(number, sizeof(number), "%llu", (unsigned long long)client->number);
	snprintf(node, sizeof(node), "%u", client->node);
	snprintf(cores, sizeof(cores), "%d",
		 client->program.running ? CPU_COUNT(&client->program.cores) : 0);
	return json_pack("[s, s, s, s, s, f]", number, node, client->name,
			 client->program.running ? "running" : "waiting", cores,
			 (double)supervisor_cpu_us(client) / 1e6);
}

static json_t *report_all(const struct supervisor *supervisor)
{
	static const char *const states[] = { "down", "booting", "online" };
	const struct card_settings *settings = supervisor->settings;
	json_t *report = report_new("causeway-card", (time_t)supervisor->since), *rows;
	const struct client *client;

	rows = report_add_table(report, "card", true, card_columns, COUNT(card_columns));
	json_array_append_new(rows, json_pack("[s, s, i, I, s, s, i, i, i]", settings->name,
					      states[supervisor->state], (int)settings->core_count,
					      (json_int_t)settings->memory_bytes,
					      card_policy_names[settings->policy],
					      cgroup_is_used() ? "cgroup" : "process",
					      (int)supervisor->policy.running_count,
					      (int)supervisor->policy.waiting_count,
					      (int)supervisor->client_count));
	rows = report_add_table(report, "vm", true, node_columns, COUNT(node_columns));
	for (unsigned int node = 0; node < CARD_NODES_MAX; node++) {
		if (supervisor->accounts[node].programs || supervisor->accounts[node].refused)
			json_array_append_new(rows, report_node(supervisor, node));
	}
	rows = report_add_table(report, "program", false, program_columns, COUNT(program_columns));
	TAILQ_FOREACH(client, &supervisor->clients, link)
	{
		if (client->asked)
			json_array_append_new(rows, report_program(client));
	}
	report_add_process(report);
	return report;
}

json_t *supervisor_answer(void *context, const char *command, const json_t *request)
{
	struct supervisor *supervisor = context;

	(void)request;
	if (strcmp(command, "status") == 0)
		return report_all(supervisor);
	if (strcmp(command, "reset") == 0) {
		supervisor_end_programs(supervisor, false);
		return json_object();
	}
	if (strcmp(command, "restart") == 0) {
		supervisor->restarting = true;
		supervisor_end_programs(supervisor, true);
		return json_object();
	}
	return control_refusal("causeway-card has no command '%s'", command);
}
