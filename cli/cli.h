/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The causeway command: one file per subcommand, and what they share.
 *
 * Conventions: a subcommand returns its exit status: 0, 1 when what it did failed, 2 when it was
 * called wrongly (argp's own status for that is 64; main.c sets it to 2).
 */
#ifndef CAUSEWAY_CLI_CLI_H
#define CAUSEWAY_CLI_CLI_H

#include <limits.h>

#include "lib/base/error.h"

#define CLI_USAGE_STATUS  2
#define CLI_CLIENT_FOLDER "/usr/lib/x86_64-linux-gnu/causeway" /* of package causeway-guest */

/* Subcommands; argv[0] is "causeway NAME". */
int cli_demo(int argc, char **argv);
int cli_run(int argc, char **argv);
int cli_status(int argc, char **argv);
int cli_top(int argc, char **argv);
int cli_vm(int argc, char **argv);
int cli_simulate(int argc, char **argv);
int cli_cuda(int argc, char **argv);
int cli_card(int argc, char **argv);
int cli_doctor(int argc, char **argv);
int cli_tenant(int argc, char **argv);
int cli_usage(int argc, char **argv);

/* Where the other parts of Causeway are. */
struct cli_paths {
	char build[PATH_MAX - 256];  /* the build folder this program lies in, or a bundle's */
	char source[PATH_MAX - 256]; /* the folder it was built from; the bundle itself */
};

/**
 * cli_paths_find - find the build tree or bundle that this program belongs to
 *
 * Return: 0, or -ENOENT with a sentence when the program lies in neither.
 */
int cli_paths_find(struct cli_paths *paths, struct error *error);

#endif
