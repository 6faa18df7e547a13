/* SPDX-License-Identifier: Apache-2.0 */
/*
 * causeway: the one command a person uses. It finds the subcommand by its name and hands over:
 *
 *	1. main.c:main              picks the subcommand
 *	2. demo.c, status.c, ...    one file per subcommand: options, then what it does
 *	3. process.c                child processes that never outlive this one
 *	4. demo_services.c, demo_run.c, demo_table.c   the steps of the demo
 *	5. source.c, source_print.c what status and top ask the daemons, and how it looks
 *	6. program.c                what run must know about a program
 */
#include <argp.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "lib/base/log.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *called; /* argv[0] of the subcommand, for its messages */
	const char *summary;
} commands[] = {
	{ "demo", cli_demo, "causeway demo", "run CUDA programs in a VM that has no GPU" },
	{ "run", cli_run, "causeway run", "run a program whose TCP sockets go to AF_VSOCK" },
	{ "status", cli_status, "causeway status", "show what the daemons of this host do" },
	{ "top", cli_top, "causeway top", "the same, as it changes" },
	{ "vm", cli_vm, "causeway vm", "add, remove and list the VMs of causeway-switch" },
	{ "cuda", cli_cuda, "causeway cuda", "show which CUDA functions programs find" },
	{ "tenant", cli_tenant, "causeway tenant", "show tenants, and change what they may have" },
	{ "usage", cli_usage, "causeway usage", "show who used how much of the devices" },
	{ "card", cli_card, "causeway card", "show software coprocessors, reset and restart them" },
	{ "doctor", cli_doctor, "causeway doctor",
	  "say what a host or guest lacks, and what mends it" },
	{ "simulate", cli_simulate, "causeway simulate", "try a policy of sharing on traces" },
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(*commands))

static void print_usage(FILE *to)
{
	fprintf(to, "usage: causeway COMMAND [OPTION...]\n\n");
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		fprintf(to, "  %-8s %s\n", commands[i].name, commands[i].summary);
	fprintf(to, "\n`causeway COMMAND --help` tells more.\n");
}

int main(int argc, char **argv)
{
	log_open("causeway");
	argp_err_exit_status = CLI_USAGE_STATUS;
	if (argc < 2) {
		print_usage(stderr);
		return CLI_USAGE_STATUS;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "help")) {
		print_usage(stdout);
		return 0;
	}
	if (!strcmp(argv[1], "--version")) {
		printf("causeway %s\n", CAUSEWAY_VERSION);
		return 0;
	}
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		if (strcmp(argv[1], commands[i].name))
			continue;
		argv[1] = (char *)commands[i].called;
		return commands[i].run(argc - 1, argv + 1);
	}
	fprintf(stderr, "causeway: there is no command \"%s\"\n", argv[1]);
	print_usage(stderr);
	return CLI_USAGE_STATUS;
}
