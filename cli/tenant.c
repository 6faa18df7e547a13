/* SPDX-License-Identifier: Apache-2.0 */
/*
 * causeway tenant: shows the tenants of a running causeway-cudad, changes what they may have, and
 * writes the file by which containers get them (cdi.c).
 */
#include <argp.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cdi.h"
#include "cli/cli.h"
#include "cli/source.h"
#include "share/policy.h"
#include "share/tenants.h"

struct tenant_options {
	const char *control;
	const char *action; /* list, set, reload, cdi */
	const char *name;
	struct cdi_options cdi;
	json_t *changes; /* NAME -> number */
};

static const struct argp_option options[] = {
	{ "control", 'C', "PATH", 0,
	  "the daemon's control socket (default: cuda.sock.control in /run/causeway, or in "
	  "$XDG_RUNTIME_DIR/causeway when not root)",
	  0 },
	{ "config", 'c', "FILE", 0,
	  "cdi: the configuration file (default: /etc/causeway/causeway.conf)", 0 },
	{ "library", 'l', "FOLDER", 0,
	  "cdi: where the client's libcuda.so.1 and libnvidia-ml.so.1 are (default: those of "
	  "package causeway-guest)",
	  0 },
	{ "output", 'o', "FILE", 0, "cdi: write FILE, as /etc/cdi/causeway.json", 0 },
	{ 0 },
};

/* parse_change - "weight=3": what the file may say, but for members and devices */
static void parse_change(struct argp_state *state, json_t *changes, const char *text)
{
	static const struct {
		const char *name;
		unsigned long long minimum, maximum;
	} known[] = {
		{ "weight", 1, SHARE_WEIGHT_MAX }, { "priority", 0, SHARE_PRIORITIES - 1 },
		{ "memory", 0, INT64_MAX },	   { "clients", 0, TENANT_CLIENTS_MAX },
		{ "watchdog_ms", 0, INT32_MAX },
	};
	const char *value = strchr(text, '=');
	uint64_t number;

	for (size_t i = 0; value && i < sizeof(known) / sizeof(*known); i++) {
		if (strlen(known[i].name) != (size_t)(value - text) ||
		    strncmp(known[i].name, text, (size_t)(value - text)) != 0)
			continue;
		if (tenant_bytes_parse(value + 1, &number) || number < known[i].minimum ||
		    number > known[i].maximum)
			argp_error(state, "\"%s\": expected a number from %llu to %llu", text,
				   known[i].minimum, known[i].maximum);
		json_object_set_new(changes, known[i].name, json_integer((json_int_t)number));
		return;
	}
	argp_error(state,
		   "\"%s\": expected weight=N, priority=N, memory=BYTES, clients=N or "
		   "watchdog_ms=N",
		   text);
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct tenant_options *chosen = state->input;

	switch (key) {
	case 'C':
		chosen->control = argument;
		break;
	case 'c':
		chosen->cdi.config = argument;
		break;
	case 'l':
		chosen->cdi.library = argument;
		break;
	case 'o':
		chosen->cdi.output = argument;
		break;
	case ARGP_KEY_ARG:
		if (state->arg_num == 0)
			chosen->action = argument;
		else if (state->arg_num == 1)
			chosen->name = argument;
		else
			parse_change(state, chosen->changes, argument);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.args_doc = "list\nset NAME KEY=VALUE...\nreload\ncdi [NAME]",
	.doc = "Show the tenants of a running causeway-cudad, change what they may have, and write "
	       "the "
	       "Container Device Interface file by which containers get them.\v"
	       "A change lasts until the daemon reads its configuration file again, which `reload` "
	       "makes it do; the file is for what is to stay.",
};

/* tenant_request - for the action; NULL when it was called wrongly */
static json_t *tenant_request(const struct tenant_options *chosen)
{
	const char *action = chosen->action ? chosen->action : "";

	if (!strcmp(action, "list") && !chosen->name)
		return json_pack("{s:s}", "command", "tenant-list");
	if (!strcmp(action, "reload") && !chosen->name)
		return json_pack("{s:s}", "command", "reload");
	if (!strcmp(action, "set") && json_object_size(chosen->changes))
		return json_pack("{s:s, s:s, s:O}", "command", "tenant-set", "name", chosen->name,
				 "changes", chosen->changes);
	return NULL;
}

int cli_tenant(int argc, char **argv)
{
	static const struct error wrong = {
		.code = -EINVAL,
		.text = "expected: list, set NAME KEY=VALUE..., reload, or cdi [NAME]"
	};
	struct tenant_options chosen = { .changes = json_object(),
					 .cdi = { .config = "/etc/causeway/causeway.conf",
						  .library = CLI_CLIENT_FOLDER } };
	json_t *request;

	argp_parse(&argp, argc, argv, 0, NULL, &chosen);
	if (chosen.action && !strcmp(chosen.action, "cdi") && !json_object_size(chosen.changes)) {
		json_decref(chosen.changes);
		chosen.cdi.tenant = chosen.name;
		return cdi_write(&chosen.cdi);
	}
	request = tenant_request(&chosen);
	json_decref(chosen.changes);
	return source_request(chosen.control, "cuda.sock.control", request,
			      request && !strcmp(chosen.action, "list"), &wrong);
}
