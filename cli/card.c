/* SPDX-License-Identifier: Apache-2.0 */
/* causeway card: shows the software coprocessors of this host, resets and restarts them. */
#include <argp.h>
#include <errno.h>
#include <glob.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/source.h"
#include "lib/base/log.h"

struct card_options {
	const char *control;
	const char *action; /* status, list, reset, restart */
	const char *name;
};

static const struct argp_option options[] = {
	{ "control", 'C', "PATH", 0,
	  "the card's control socket (default: NAME/control in /run/causeway)", 0 },
	{ 0 },
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct card_options *chosen = state->input;

	switch (key) {
	case 'C':
		chosen->control = argument;
		return 0;
	case ARGP_KEY_ARG:
		if (state->arg_num == 0)
			chosen->action = argument;
		else if (state->arg_num == 1)
			chosen->name = argument;
		else
			argp_error(state, "unexpected argument \"%s\"", argument);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.args_doc = "list\nstatus [NAME]\nreset [NAME]\nrestart [NAME]",
	.doc = "Show the software coprocessors of this host, reset and restart them.\v"
	       "NAME is mic0 if it is not given. `reset` ends all programs on the card; `restart` "
	       "takes the card down, which ends all connections to it, and boots it again.",
};

/* Names of the cards whose daemons have their control sockets in the usual place. */
static int card_list(void)
{
	char pattern[PATH_MAX];
	glob_t found;
	int status;

	source_default_path("*/control", pattern);
	status = glob(pattern, 0, NULL, &found);
	if (status != 0) {
		log_error("no card runs here: there is no %s", pattern);
		return 1;
	}
	for (size_t i = 0; i < found.gl_pathc; i++) {
		char *name = found.gl_pathv[i] + strlen(pattern) - strlen("*/control");

		name[strcspn(name, "/")] = 0;
		puts(name);
	}
	globfree(&found);
	return 0;
}

int cli_card(int argc, char **argv)
{
	static const char *const actions[] = { "status", "reset", "restart" };
	const struct error wrong = {
		.code = -EINVAL,
		.text = "expected: list, status [NAME], reset [NAME] or restart [NAME]"
	};
	struct card_options chosen = { .action = "", .name = "mic0" };
	json_t *request = NULL;
	char path[PATH_MAX];

	argp_parse(&argp, argc, argv, 0, NULL, &chosen);
	if (strcmp(chosen.action, "list") == 0)
		return card_list();
	for (size_t i = 0; i < sizeof(actions) / sizeof(*actions); i++) {
		if (strcmp(chosen.action, actions[i]) == 0)
			request = json_pack("{s:s}", "command", actions[i]);
	}
	snprintf(path, sizeof(path), "%.64s/control", chosen.name);
	return source_request(chosen.control, path, request, strcmp(chosen.action, "status") == 0,
			      &wrong);
}
