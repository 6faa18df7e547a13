/* SPDX-License-Identifier: Apache-2.0 */
/* causeway vm: tells a running causeway-switch which VMs to serve. */
#include <argp.h>
#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/source.h"
#include "lib/base/clean.h"

struct vm_options {
	const char *control;
	const char *action; /* add, remove, list, capture */
	const char *name;   /* or the capture's file */
	long long cid;
	const char *socket, *host_socket;
	long long limit_mib_s;
	json_t *groups;
	bool stop;
};

static const struct argp_option options[] = {
	{ "control", 'C', "PATH", 0,
	  "the switch's control socket (default: switch.control in /run/causeway, or in "
	  "$XDG_RUNTIME_DIR/causeway when not root)",
	  0 },
	{ "cid", 'c', "N", 0, "add: the guest's context id, 3 or more", 0 },
	{ "socket", 's', "PATH", 0, "add: where the VMM connects", 0 },
	{ "host-socket", 'H', "PATH", 0, "add: where host programs connect (SOCKET.host)", 0 },
	{ "group", 'g', "NAME", 0,
	  "add: a group of VMs that may talk to each other; may be given again", 0 },
	{ "limit", 'l', "MIB", 0, "add: most MiB that the guest may send in a second", 0 },
	{ "stop", 'S', NULL, 0, "capture: end the capture", 0 },
	{ 0 },
};

static long long option_number(struct argp_state *state, const char *name, const char *text)
{
	char *end;
	long long number;

	errno = 0;
	number = strtoll(text, &end, 10);
	if (errno || end == text || *end || number < 0)
		argp_error(state, "--%s is '%s': expected a number", name, text);
	return number;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct vm_options *chosen = state->input;

	switch (key) {
	case 'C':
		chosen->control = argument;
		break;
	case 'c':
		chosen->cid = option_number(state, "cid", argument);
		break;
	case 's':
		chosen->socket = argument;
		break;
	case 'H':
		chosen->host_socket = argument;
		break;
	case 'l':
		chosen->limit_mib_s = option_number(state, "limit", argument);
		break;
	case 'g':
		json_array_append_new(chosen->groups, json_string(argument));
		break;
	case 'S':
		chosen->stop = true;
		break;
	case ARGP_KEY_ARG:
		if (state->arg_num > 1)
			argp_error(state, "unexpected argument \"%s\"", argument);
		else if (state->arg_num == 1)
			chosen->name = argument;
		else
			chosen->action = argument;
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.args_doc = "add NAME --cid N --socket PATH\nremove NAME\nlist\ncapture FILE\n"
		    "capture --stop",
	.doc = "Tell a running causeway-switch which VMs to serve, and see them.\v"
	       "What is added lasts until the switch ends; the configuration file is for what is "
	       "to "
	       "stay. A capture is a file for Wireshark of all packets from now on.",
};

/* A path as the switch, which has another working folder, understands it; the caller frees it. */
static char *absolute(const char *path)
{
	autofree char *folder = NULL;
	char *whole = NULL;

	if (*path == '/')
		return strdup(path);
	folder = getcwd(NULL, 0);
	return folder && asprintf(&whole, "%s/%s", folder, path) >= 0 ? whole : NULL;
}

static json_t *absolute_json(const char *path)
{
	autofree char *whole = path ? absolute(path) : NULL;

	return whole ? json_string(whole) : json_null();
}

/* The request for the action; NULL, with a sentence, when it was called wrongly. */
static json_t *vm_request(const struct vm_options *chosen, struct error *error)
{
	const char *action = chosen->action ? chosen->action : "";
	json_t *request = NULL;

	if (strcmp(action, "add") == 0 && chosen->name && chosen->cid && chosen->socket)
		request = json_pack("{s:s, s:s, s:I, s:o, s:o, s:O, s:I}", "command", "vm-add",
				    "name", chosen->name, "cid", (json_int_t)chosen->cid, "socket",
				    absolute_json(chosen->socket), "host_socket",
				    absolute_json(chosen->host_socket), "groups", chosen->groups,
				    "limit_mib_s", (json_int_t)chosen->limit_mib_s);
	else if (strcmp(action, "remove") == 0 && chosen->name)
		request = json_pack("{s:s, s:s}", "command", "vm-remove", "name", chosen->name);
	else if (strcmp(action, "list") == 0 && !chosen->name)
		request = json_pack("{s:s}", "command", "vm-list");
	else if (strcmp(action, "capture") == 0 && !chosen->name == chosen->stop)
		request = json_pack("{s:s, s:o}", "command", "capture", "file",
				    absolute_json(chosen->name));
	else
		error_set(error, -EINVAL,
			  "expected: add NAME --cid N --socket PATH, remove NAME, list, capture "
			  "FILE, or capture --stop");
	return request;
}

int cli_vm(int argc, char **argv)
{
	struct vm_options chosen = { .groups = json_array() };
	struct error error = { 0 };
	json_t *request;

	argp_parse(&argp, argc, argv, 0, NULL, &chosen);
	request = vm_request(&chosen, &error);
	json_decref(chosen.groups);
	return source_request(chosen.control, "switch.control", request,
			      request && !strcmp(chosen.action, "list"), &error);
}
