/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection of a control socket: a line in, a line out, a hang-up; see server.h.
 *
 * The request is bounded; what follows its line is read and dropped, so that the answer is not
 * overtaken by a reset.
 */
#include "lib/control/server.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONTROL_TIME_S	      5
#define CONTROL_REQUEST_BYTES (64u << 10)

struct control_connection {
	control_handler *handler;
	void *context;
	struct bufferevent *stream;
	bool answered;
};

json_t *control_refusal(const char *format, ...)
{
	char text[1024];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	return json_pack("{s:s}", "error", text);
}

static void control_free(struct control_connection *connection)
{
	bufferevent_free(connection->stream);
	free(connection);
}

static void control_written(struct bufferevent *stream, void *argument)
{
	struct control_connection *connection = argument;

	(void)stream;
	if (connection->answered)
		control_free(connection);
}

/* What the daemon says to that line; NULL without memory. */
static json_t *control_respond(const struct control_connection *connection, const char *line)
{
	json_error_t where;
	json_t *request = *line ? json_loads(line, JSON_REJECT_DUPLICATES, &where) : json_object();
	const json_t *named = json_object_get(request, "command");
	json_t *answer;

	if (!json_is_object(request))
		answer = control_refusal("the request is no JSON object: %s",
					 request ? "another kind of value" : where.text);
	else if (named && !json_is_string(named))
		answer = control_refusal("command: expected a string");
	else
		answer = connection->handler(connection->context,
					     named ? json_string_value(named) : "status", request);
	json_decref(request);
	return answer;
}

static void control_answer(struct control_connection *connection, const char *line)
{
	json_t *answer = control_respond(connection, line);
	char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;

	json_decref(answer);
	connection->answered = true;
	if (!text ||
	    evbuffer_add_printf(bufferevent_get_output(connection->stream), "%s\n", text) < 0)
		control_free(connection);
	free(text);
}

static void control_readable(struct bufferevent *stream, void *argument)
{
	struct control_connection *connection = argument;
	struct evbuffer *input = bufferevent_get_input(stream);
	char *line;

	if (connection->answered) {
		evbuffer_drain(input, evbuffer_get_length(input));
		return;
	}
	line = evbuffer_readln(input, NULL, EVBUFFER_EOL_LF);
	if (line)
		control_answer(connection, line);
	else if (evbuffer_get_length(input) > CONTROL_REQUEST_BYTES)
		control_free(connection);
	free(line);
}

/* The end of the stream without a line asks for the status; everything else ends it. */
static void control_event(struct bufferevent *stream, short what, void *argument)
{
	struct control_connection *connection = argument;

	if ((what & BEV_EVENT_EOF) && connection->answered)
		return; /* its answer is still on the way */
	if ((what & BEV_EVENT_EOF) && evbuffer_get_length(bufferevent_get_input(stream)) == 0)
		control_answer(connection, "");
	else
		control_free(connection);
}

void control_serve(struct event_base *base, int fd, control_handler *handler, void *context)
{
	static const struct timeval limit = { .tv_sec = CONTROL_TIME_S };
	struct control_connection *connection = calloc(1, sizeof(*connection));

	if (connection)
		connection->stream = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (!connection || !connection->stream) {
		close(fd);
		free(connection);
		return;
	}
	connection->handler = handler;
	connection->context = context;
	bufferevent_setcb(connection->stream, control_readable, control_written, control_event,
			  connection);
	bufferevent_setwatermark(connection->stream, EV_READ, 0, CONTROL_REQUEST_BYTES + 1);
	bufferevent_set_timeouts(connection->stream, &limit, &limit);
	bufferevent_enable(connection->stream, EV_READ | EV_WRITE);
}
