/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the sandbox: its first process, and the program's last steps before execve(). */
#ifndef CAUSEWAY_SCIF_CARD_INIT_H
#define CAUSEWAY_SCIF_CARD_INIT_H

#include <signal.h>

#include "scif/card/sandbox.h"

/* Pipes between worker and sandbox; the sandbox reads from the first and the last. */
enum init_pipe {
	INIT_INPUT,   /* the program's standard input */
	INIT_OUTPUT,  /* its standard output */
	INIT_ERRORS,  /* its standard error */
	INIT_PORT,    /* CAUSEWAY_CARD_FD */
	INIT_STATUS,  /* the program's wait status */
	INIT_FAILURE, /* -errno when there was no program; end of file at execve() */
	INIT_GO,      /* a byte when the init may go on */
	INIT_PIPES,
};

#define INIT_PORT_FD	3	 /* in the program */
#define INIT_END_SIGNAL SIGRTMIN /* end everything, reap it, end */

/* init_run - never returns */
void init_run(const struct sandbox *box, const struct sandbox_start *start,
	      int pipes[INIT_PIPES][2]) __attribute__((noreturn));

#endif
