/* SPDX-License-Identifier: Apache-2.0 */
/* causeway status: asks the daemons of this host what they do, and shows it once. */
#include <argp.h>
#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/source.h"
#include "lib/base/log.h"

#define STATUS_TEXT_BYTES (64u << 20)

struct status_options {
	struct sources sources;
	bool json;
};

static const struct argp_option options[] = {
	{ "socket", 's', "PATH", 0,
	  "a daemon's control socket; may be given again (default: those of /run/causeway, or of "
	  "$XDG_RUNTIME_DIR/causeway when not root)",
	  0 },
	{ "json", 'j', NULL, 0, "print the daemons' answers as they are, one a line", 0 },
	{ 0 },
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct status_options *chosen = state->input;
	struct error error = { 0 };

	switch (key) {
	case 's':
		if (sources_add(&chosen->sources, argument, &error) < 0)
			argp_error(state, "%s", error.text);
		return 0;
	case 'j':
		chosen->json = true;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "unexpected argument \"%s\"", argument);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.doc = "Show what the daemons of this host do: who uses devices, which VMs talk.",
};

/* One daemon that answered; 0 or -errno. */
static int status_print(const struct source *source, bool json, bool first)
{
	struct buffer text;
	int status;

	if (json) {
		json_dumpf(source->report, stdout, JSON_COMPACT);
		putchar('\n');
		return 0;
	}
	buffer_init(&text, STATUS_TEXT_BYTES);
	status = source_print(source, false, -1, &text);
	if (status == 0)
		printf("%s%.*s", first ? "" : "\n", (int)text.used, (const char *)text.data);
	buffer_free(&text);
	return status;
}

int cli_status(int argc, char **argv)
{
	static struct status_options chosen;
	struct sources *sources = &chosen.sources;
	unsigned int shown = 0, failed = 0;

	argp_parse(&argp, argc, argv, 0, NULL, &chosen);
	sources_add_default(sources);
	sources_ask(sources);
	for (unsigned int i = 0; i < sources->count; i++) {
		const struct source *source = &sources->list[i];

		if (source->report && status_print(source, chosen.json, shown == 0) == 0)
			shown++;
		else if (sources->named || source->error.code != -ENOENT) {
			log_error("%s", source->error.text);
			failed++;
		}
	}
	if (!shown && !failed)
		log_error("no daemon of Causeway runs here: there is no control socket such as %s",
			  sources->list[0].path);
	sources_free(sources);
	return shown && !failed ? 0 : 1;
}
