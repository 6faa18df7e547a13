/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A daemon's report over HTTP, for reading alone:
 *
 *	/metrics	Prometheus' text
 *	/		a page that shows the report in a browser, as it changes (page.html)
 *	/report.json	the report, for the page
 *
 * The address is the path of a Unix socket (mode 0600) or HOST:PORT of this host, 127.0.0.1 or
 * [::1]: the text says who uses what, so it is not offered to a network. libmicrohttpd serves it
 * inside the daemon's event loop; without requests nothing wakes.
 */
#ifndef CAUSEWAY_LIB_METRICS_EXPORTER_H
#define CAUSEWAY_LIB_METRICS_EXPORTER_H

#include <event2/event.h>
#include <jansson.h>

#include "lib/base/error.h"

struct exporter;

/* The daemon's part: its report, the caller's from then on; NULL without memory. */
typedef json_t *exporter_compose(void *context);

/**
 * exporter_open - serve @address from @base's loop
 * @address: see above; copied
 *
 * Return: the exporter, or NULL with a sentence.
 */
struct exporter *exporter_open(struct event_base *base, const char *address,
			       exporter_compose *compose, void *context, struct error *error);

/* exporter_close - NULL is allowed; removes its socket file */
void exporter_close(struct exporter *exporter);

#endif
