/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The steps of `causeway demo`; docs/architecture.md has their order.
 *
 * A struct demo goes through them in that order. Each step returns 0 or -errno with a sentence;
 * -EINTR means that somebody asked the command to end.
 */
#ifndef CAUSEWAY_CLI_DEMO_H
#define CAUSEWAY_CLI_DEMO_H

#include <stdbool.h>
#include <stddef.h>

#include "cli/cli.h"
#include "cli/process.h"
#include "lib/base/buffer.h"

#define DEMO_PROGRAMS_MAX 16
#define DEMO_FILES_MAX	  32
#define DEMO_VSOCK_PORT	  7000 /* where a client in a VM looks for cudad unless told otherwise */
#define DEMO_GUEST_CID	  3

/* One run of one program. */
struct demo_run {
	bool ended;
	int status; /* exit status, once ended */
	double milliseconds;
	char device[96];      /* as its first line names it */
	bool verified;	      /* its last line says PASSED and it exited with 0 */
	struct buffer output; /* its standard output */
};

/* One of the demo's programs, with how it went in both places. */
struct demo_program {
	const char *name;
	char path[PATH_MAX];
	struct demo_run natively, from_guest;
};

struct demo {
	/* Options. */
	const char *kind;		   /* of guest */
	const char *driver;		   /* NULL: find out */
	const char *files[DEMO_FILES_MAX]; /* of the user's, for the guest */
	size_t file_count;
	bool verbose;
	char **user_program; /* NULL-ended; NULL: run ours */

	struct cli_paths paths;
	const char *device_text; /* for a person */
	char driver_path[PATH_MAX];
	char library_path[2 * PATH_MAX]; /* LD_LIBRARY_PATH natively; empty: as it is */
	struct demo_program programs[DEMO_PROGRAMS_MAX];
	size_t program_count;

	char folder[64]; /* of configuration, sockets and logs; empty: none */
	struct process cudad, vsock_switch;
};

/* demo_services_start - the daemons, ready for connections; demo_services_stop() in any case */
int demo_services_start(struct demo *demo, struct error *error);
void demo_services_stop(struct demo *demo);
/* demo_services_explain - the last lines of the daemons' logs to standard error */
void demo_services_explain(const struct demo *demo);
/* demo_services_guest_socket - where the guest's vhost-user-vsock device connects */
void demo_services_guest_socket(const struct demo *demo, char *path, size_t bytes);

/* Run the programs on the device directly, and in one guest: 0, or -errno with a sentence. */
int demo_run_natively(struct demo *demo, struct error *error);
int demo_run_in_guest(struct demo *demo, struct error *error);
/* demo_run_user - the user's program, natively and in the guest; *status is the guest's */
int demo_run_user(struct demo *demo, int *status, struct error *error);

/* demo_table_print - the table; returns how many programs did not pass */
size_t demo_table_print(const struct demo *demo);

#endif
