/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the control socket and the metrics tell: who is served. Beside the report's own members
 * (lib/metrics/report.h) the answer has driver, max_clients, max_clients_per_identity, admitted,
 * refused, pending, clients = list of {id, identity, kind, entrance, worker, state, since}; times
 * in seconds since 1970.
 */
#include <string.h>

#include "cuda/server/supervisor.h"
#include "lib/base/log.h"
#include "lib/control/server.h"
#include "lib/metrics/report.h"

static const char *const kind_names[] = {
	[IDENTITY_UID] = "uid",
	[IDENTITY_CID] = "cid",
	[IDENTITY_ADDRESS] = "address",
};

static const char *const entrance_names[] = {
	[ENTRANCE_UNIX] = "unix",
	[ENTRANCE_SWITCH] = "switch",
	[ENTRANCE_VSOCK] = "vsock",
	[ENTRANCE_TCP] = "tcp",
};

static const struct report_column summary_columns[] = {
	{ "driver", REPORT_TEXT, "", "the driver that workers load" },
	{ "clients", REPORT_GAUGE, "", "clients that are served" },
	{ "max_clients", REPORT_GAUGE, "", "most clients at once" },
	{ "pending", REPORT_GAUGE, "", "connections that are not served yet" },
	{ "admitted", REPORT_COUNTER, "", "clients that got a worker" },
	{ "refused", REPORT_COUNTER, "", "clients that were refused" },
};

static const struct report_column client_columns[] = {
	{ "client", REPORT_LABEL, "", "its number" },
	{ "identity", REPORT_LABEL, "", "who it is" },
	{ "came by", REPORT_TEXT, "", "the entrance it came by" },
	{ "worker", REPORT_TEXT, "", "process id of its worker" },
	{ "state", REPORT_TEXT, "", "served, or left" },
	{ "for", REPORT_SINCE, "", "when it came" },
};

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static const char *control_state(const struct client *client)
{
	return client->state == CLIENT_SERVED ? "served" : "left";
}

static json_t *control_client(const struct client *client)
{
	return json_pack("{s:I, s:s, s:s, s:s, s:i, s:s, s:I}", "id", (json_int_t)client->id,
			 "identity", client->identity.text, "kind",
			 kind_names[client->identity.kind], "entrance",
			 entrance_names[client->entrance], "worker", (int)client->pid, "state",
			 control_state(client), "since", (json_int_t)client->since);
}

/* The facts that are not about one client. */
static void control_add_summary(const struct supervisor *supervisor, json_t *report)
{
	const struct supervisor_options *options = &supervisor->options;
	json_t *rows = report_add_table(report, "", true, summary_columns, COUNT(summary_columns)),
	       *own = json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "driver", options->driver,
				"max_clients", (json_int_t)options->max_clients,
				"max_clients_per_identity",
				(json_int_t)options->max_clients_per_identity, "admitted",
				(json_int_t)supervisor->admitted_total, "refused",
				(json_int_t)supervisor->refused_total, "pending",
				(json_int_t)supervisor->pending_count);

	json_array_append_new(rows, json_pack("[s, I, I, I, I, I]", options->driver,
					      (json_int_t)supervisor->worker_count,
					      (json_int_t)options->max_clients,
					      (json_int_t)supervisor->pending_count,
					      (json_int_t)supervisor->admitted_total,
					      (json_int_t)supervisor->refused_total));
	json_object_update(report, own);
	json_decref(own);
}

json_t *control_report(void *context)
{
	const struct supervisor *supervisor = context;
	json_t *report = report_new("causeway-cudad", supervisor->since), *rows;
	json_t *clients = json_array();
	const struct client *client;

	control_add_summary(supervisor, report);
	rows = report_add_table(report, "client", false, client_columns, COUNT(client_columns));
	TAILQ_FOREACH(client, &supervisor->clients, link)
	{
		if (!client->pid)
			continue;
		json_array_append_new(clients, control_client(client));
		json_array_append_new(rows,
				      json_pack("[I, s, s, i, s, I]", (json_int_t)client->id,
						client->identity.text,
						entrance_names[client->entrance], (int)client->pid,
						control_state(client), (json_int_t)client->since));
	}
	json_object_set_new(report, "clients", clients);
	share_report(supervisor, report);
	accounts_report(supervisor, report);
	report_add_process(report);
	return report;
}

static json_t *control_reload(struct supervisor *supervisor)
{
	struct error error = { 0 };

	if (share_reload(supervisor, &error) < 0)
		return control_refusal("%s", error.text);
	log_info("tenants read again");
	return json_object();
}

static json_t *control_tenant_set(struct supervisor *supervisor, const json_t *request)
{
	const char *name = json_string_value(json_object_get(request, "name"));
	struct error error = { 0 };

	if (!name ||
	    share_change(supervisor, name, json_object_get(request, "changes"), &error) < 0)
		return control_refusal("%s", name ? error.text : "expected the tenant's name");
	log_info("tenant '%s' changed", name);
	return json_object();
}

static json_t *control_record(struct supervisor *supervisor, const json_t *request)
{
	const char *path = json_string_value(json_object_get(request, "file"));
	json_int_t seconds = json_integer_value(json_object_get(request, "seconds"));
	struct error error = { 0 };

	if (!path || *path != '/' || seconds < 1 || seconds > RECORD_SECONDS_MAX)
		return control_refusal(
			"expected the file's path from the root, and 1 to %d seconds",
			RECORD_SECONDS_MAX);
	if (record_begin(supervisor, path, (unsigned int)seconds, &error) < 0)
		return control_refusal("%s", error.text);
	return json_object();
}

static json_t *control_record_end(struct supervisor *supervisor)
{
	struct error error = { 0 };
	json_t *answer;

	if (record_end(supervisor, &answer, &error) < 0)
		return control_refusal("%s", error.text);
	return answer;
}

static json_t *control_handle(void *context, const char *command, const json_t *request)
{
	struct supervisor *supervisor = context;
	json_t *report;

	if (!strcmp(command, "status"))
		return control_report(supervisor);
	if (!strcmp(command, "reload"))
		return control_reload(supervisor);
	if (!strcmp(command, "tenant-set"))
		return control_tenant_set(supervisor, request);
	if (!strcmp(command, "record"))
		return control_record(supervisor, request);
	if (!strcmp(command, "record-end"))
		return control_record_end(supervisor);
	if (strcmp(command, "tenant-list") != 0)
		return control_refusal("causeway-cudad has no command '%s'", command);
	report = report_new("causeway-cudad", supervisor->since);
	share_settings_report(supervisor, report);
	share_report(supervisor, report);
	return report;
}

/* control_accept - answer one connection; @fd is owned from here on */
void control_accept(struct supervisor *supervisor, int fd)
{
	control_serve(supervisor->base, fd, control_handle, supervisor);
}
