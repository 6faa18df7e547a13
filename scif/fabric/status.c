/* SPDX-License-Identifier: Apache-2.0 */
/* What the control socket tells of the fabric, and does to its cards; see status.h. */
#include "scif/fabric/status.h"

#include <string.h>

#include "lib/control/server.h"
#include "lib/metrics/report.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static const struct report_column node_columns[] = {
	{ "name", REPORT_LABEL, "", "of the VM or card; host for this host" },
	{ "node", REPORT_TEXT, "", "its number, as host and cards see it" },
	{ "kind", REPORT_TEXT, "", "host, card or vm" },
	{ "online", REPORT_GAUGE, "", "1 while it can be connected to" },
	{ "endpoints", REPORT_GAUGE, "", "open endpoints" },
	{ "windows", REPORT_GAUGE, "", "registered windows" },
	{ "pinned", REPORT_GAUGE, "bytes", "memory in windows" },
	{ "calls", REPORT_COUNTER, "", "requests of its guest" },
	{ "sent", REPORT_COUNTER, "bytes", "message bytes its guest sent" },
	{ "received", REPORT_COUNTER, "bytes", "message bytes its guest received" },
	{ "copied", REPORT_COUNTER, "bytes", "bytes of remote memory it read and wrote" },
	{ "tenant", REPORT_TEXT, "", "whose it is" },
};

static const struct report_column quota_columns[] = {
	{ "name", REPORT_LABEL, "", "of the VM" },
	{ "endpoints", REPORT_GAUGE, "", "it may have open" },
	{ "windows", REPORT_GAUGE, "", "it may have registered" },
	{ "pinned", REPORT_GAUGE, "bytes", "it may have in windows" },
	{ "copies", REPORT_GAUGE, "bytes", "of remote memory it may move a second; 0: no limit" },
};

static const char *const kind_names[] = {
	[NODE_HOST] = "host",
	[NODE_CARD] = "card",
	[NODE_VM] = "vm",
};

static json_t *status_node(struct node *node)
{
	return json_pack("[s, i, s, i, I, I, I, I, I, I, I, s]", node->name, (int)node->number,
			 node->card_vm ? "card" : kind_names[node->kind], node->online ? 1 : 0,
			 (json_int_t)node->endpoint_count, (json_int_t)node->window_count,
			 (json_int_t)node->pinned_bytes, (json_int_t)node->calls,
			 (json_int_t)node->sent_bytes, (json_int_t)node->received_bytes,
			 (json_int_t)node->copied_bytes, node->tenant);
}

static json_t *status_quota(const struct node *node)
{
	return json_pack("[s, I, I, I, I]", node->name, (json_int_t)node->limits.endpoints,
			 (json_int_t)node->limits.windows, (json_int_t)node->limits.pinned_bytes,
			 (json_int_t)node->limits.bytes_per_second);
}

json_t *status_report(void *context)
{
	struct fabric *fabric = context;
	json_t *report = report_new("scifd", (time_t)fabric->since), *rows, *quotas;

	rows = report_add_table(report, "node", true, node_columns, COUNT(node_columns));
	quotas = report_add_table(report, "quota", true, quota_columns, COUNT(quota_columns));
	pthread_mutex_lock(&fabric->lock);
	for (unsigned int i = 0; i < FABRIC_NODES_MAX; i++) {
		if (!fabric->nodes[i])
			continue;
		json_array_append_new(rows, status_node(fabric->nodes[i]));
		if (fabric->nodes[i]->kind == NODE_VM)
			json_array_append_new(quotas, status_quota(fabric->nodes[i]));
	}
	pthread_mutex_unlock(&fabric->lock);
	report_add_process(report);
	return report;
}

static struct node *status_find_card(struct fabric *fabric, const char *name)
{
	for (unsigned int i = 0; name && i < FABRIC_NODES_MAX; i++) {
		struct node *node = fabric->nodes[i];

		if (node && node_is_card(node) && strcmp(node->name, name) == 0)
			return node;
	}
	return NULL;
}

/* What causeway-card says of itself when it boots: cores and memory (bytes), if it does. */
static void status_describe_card(struct node *card, const json_t *request)
{
	json_int_t cores = json_integer_value(json_object_get(request, "cores"));
	json_int_t memory = json_integer_value(json_object_get(request, "memory"));

	pthread_mutex_lock(&card->fabric->lock);
	if (cores > 0 && cores <= UINT32_MAX)
		card->card.cores = (__le32)cores;
	if (memory > 0)
		card->card.memsize = (__le64)memory;
	pthread_mutex_unlock(&card->fabric->lock);
}

json_t *status_handle(void *context, const char *command, const json_t *request)
{
	const char *name = json_string_value(json_object_get(request, "name"));
	struct node *card;

	if (strcmp(command, "status") == 0)
		return status_report(context);
	if (strcmp(command, "card-down") != 0 && strcmp(command, "card-up") != 0 &&
	    strcmp(command, "card-reset") != 0)
		return control_refusal("scifd has no command '%s'", command);
	card = status_find_card(context, name);
	if (!card)
		return control_refusal("there is no card '%s'", name ? name : "");
	if (strcmp(command, "card-up") != 0)
		node_set_online(card, false);
	status_describe_card(card, request);
	if (strcmp(command, "card-down") != 0)
		node_set_online(card, true);
	return json_object();
}
