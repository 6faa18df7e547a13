/* SPDX-License-Identifier: Apache-2.0 */
/* causeway cuda coverage: which functions of CUDA's driver interface the client offers, and how. */
#include <argp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "gen/cuda_coverage.h"

static const struct argp_option options[] = {
	{ "tsv", 't', 0, 0, "columns with tabs between them, for programs", 0 },
	{ 0 },
};

struct arguments {
	bool tsv;
	const char *what;
	const char *begin; /* of the functions' names */
};

static error_t parse(int key, char *text, struct argp_state *state)
{
	struct arguments *arguments = state->input;

	switch (key) {
	case 't':
		arguments->tsv = true;
		return 0;
	case ARGP_KEY_ARG:
		if (!arguments->what)
			arguments->what = text;
		else if (!arguments->begin)
			arguments->begin = text;
		else
			return ARGP_ERR_UNKNOWN;
		return 0;
	case ARGP_KEY_END:
		if (!arguments->what || strcmp(arguments->what, "coverage"))
			argp_error(state, "expected \"coverage\", found \"%s\"",
				   arguments->what ? arguments->what : "nothing");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int cli_cuda(int argc, char **argv)
{
	static const struct argp parser = {
		options,
		parse,
		"coverage [BEGINNING]",
		"Shows the functions of CUDA's driver interface that programs find in the client's "
		"library, or those whose names begin so. What is not listed is not found.",
		NULL,
		NULL,
		NULL
	};
	struct arguments arguments = { .begin = NULL };
	const char *form;
	unsigned int shown = 0;

	argp_parse(&parser, argc, argv, 0, NULL, &arguments);
	if (!arguments.begin)
		arguments.begin = "";
	form = arguments.tsv ? "%s\t%s\t%s\t%s\t%s\n" : "%-48s %-12s %-7s %-11s %s\n";
	printf(form, "function", "implemented", "cached", "reply-less", "tested by");
	for (unsigned int i = 0; i < cuda_coverage_count; i++) {
		const struct cuda_coverage *row = &cuda_coverage[i];

		if (strncmp(row->function, arguments.begin, strlen(arguments.begin)))
			continue;
		printf(form, row->function, row->implemented, row->cached, row->reply_less,
		       row->tested);
		shown++;
	}
	return shown ? 0 : 1;
}
