/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A daemon's control socket: whoever may open it (mode 0600) sends one line of JSON and gets one.
 *
 *	-> {"command": "status"}		also: an empty line, or the end of the stream
 *	<- {"program": "causeway-cudad", ...}	a report, see lib/metrics/report.h
 *	-> {"command": "vm-remove", "name": "build"}
 *	<- {"error": "there is no VM 'build'"}	{} when it worked and there is nothing to tell
 *
 * Threads: all in the thread of the event loop. A connection that sends nothing, or does not take
 * its answer, is closed after some seconds.
 */
#ifndef CAUSEWAY_LIB_CONTROL_SERVER_H
#define CAUSEWAY_LIB_CONTROL_SERVER_H

#include <event2/event.h>
#include <jansson.h>

/**
 * The daemon's part: answer one request.
 * @command: of the request, "status" when it named none
 * @request: the whole of it, an object; the caller's
 *
 * Return: an object, which is the caller's now; NULL without memory.
 */
typedef json_t *control_handler(void *context, const char *command, const json_t *request);

/* control_serve - answer the connection @fd, which is owned from here on, through @base's loop */
void control_serve(struct event_base *base, int fd, control_handler *handler, void *context);

/* control_refusal - the answer that carries a sentence; NULL without memory */
json_t *control_refusal(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
