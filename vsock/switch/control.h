/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the main thread does while workers carry data: signals, the control socket, metrics, and
 * the configuration that is read anew.
 *
 * Threads: all of it in the main thread, which is the only one that changes the settings
 * (settings.h). Nothing of it waits for a guest; adding or removing a VM waits for its worker.
 */
#ifndef CAUSEWAY_VSOCK_SWITCH_CONTROL_H
#define CAUSEWAY_VSOCK_SWITCH_CONTROL_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <time.h>

#include "lib/base/error.h"
#include "vsock/switch/switch.h"

struct exporter;

struct control {
	struct vsock_switch *sw;
	int argc; /* the options, to be read again with the file */
	char **argv;
	time_t since;
	struct event_base *base;
	struct event *signals[3];
	int listener; /* -1: none */
	struct event *accepting;
	struct event *accept_again; /* the listener rests while descriptors are short */
	struct exporter *exporter;
};

/* control.c */

/* control_open - control socket and metrics, as configured; 0 or -errno with a sentence */
int control_open(struct control *control, struct vsock_switch *sw, int argc, char **argv,
		 struct error *error);
/* control_run - until SIGTERM or SIGINT; 0 or -errno */
int control_run(struct control *control);
void control_close(struct control *control);

/* reload.c */

/**
 * reload_settings - read options and file again, and bring the switch to what they say
 *
 * VMs that were added by command stay. Return: 0; or -errno with a sentence, and everything is as
 * it was, except that a VM which had to be ended on the way has lost its connections.
 */
int reload_settings(struct vsock_switch *sw, int argc, char **argv, struct error *error);

/* report.c */

/* report_switch - the switch's report, see lib/metrics/report.h; NULL without memory */
json_t *report_switch(const struct control *control, bool flows);

#endif
