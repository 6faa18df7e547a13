/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scifd's control socket: a report of nodes, and `card-down`, `card-up`, `card-reset`.
 *
 * Threads: the one of the event loop, which is the process's first.
 */
#ifndef CAUSEWAY_SCIF_FABRIC_STATUS_H
#define CAUSEWAY_SCIF_FABRIC_STATUS_H

#include <jansson.h>

#include "scif/fabric/fabric.h"

/* status_report - what the control socket and the metrics tell; NULL without memory */
json_t *status_report(void *fabric);

/* status_handle - a request of the control socket; see lib/control/server.h */
json_t *status_handle(void *fabric, const char *command, const json_t *request);

#endif
