/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket: whoever may open it gets one line of JSON that tells who is served, and a
 * hang-up. Fields: pid, since, driver, max_clients, max_clients_per_identity, admitted, refused,
 * pending, clients = list of {id, identity, kind, entrance, worker, state, since}; times in
 * seconds since 1970.
 */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cuda/server/supervisor.h"

#define CONTROL_TIME_S 5

static const char *const kind_names[] = {
	[IDENTITY_UID] = "uid",
	[IDENTITY_CID] = "cid",
	[IDENTITY_ADDRESS] = "address",
};

static const char *const entrance_names[] = {
	[ENTRANCE_UNIX] = "unix",
	[ENTRANCE_SWITCH] = "switch",
	[ENTRANCE_VSOCK] = "vsock",
	[ENTRANCE_TCP] = "tcp",
};

static json_t *control_client(const struct client *client)
{
	return json_pack("{s:I, s:s, s:s, s:s, s:i, s:s, s:I}", "id", (json_int_t)client->id,
			 "identity", client->identity.text, "kind",
			 kind_names[client->identity.kind], "entrance",
			 entrance_names[client->entrance], "worker", (int)client->pid, "state",
			 client->state == CLIENT_SERVED ? "served" : "left", "since",
			 (json_int_t)client->since);
}

/* The line, without its newline; the caller frees it. NULL without memory. */
static char *control_compose(const struct supervisor *supervisor)
{
	const struct supervisor_options *options = &supervisor->options;
	json_t *clients = json_array(), *all;
	const struct client *client;
	char *text;

	TAILQ_FOREACH(client, &supervisor->clients, link)
	{
		if (client->pid)
			json_array_append_new(clients, control_client(client));
	}
	all = json_pack("{s:s, s:i, s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:o}", "program",
			"causeway-cudad", "pid", (int)getpid(), "since",
			(json_int_t)supervisor->since, "driver", options->driver, "max_clients",
			(json_int_t)options->max_clients, "max_clients_per_identity",
			(json_int_t)options->max_clients_per_identity, "admitted",
			(json_int_t)supervisor->admitted_total, "refused",
			(json_int_t)supervisor->refused_total, "pending",
			(json_int_t)supervisor->pending_count, "clients", clients);
	text = all ? json_dumps(all, JSON_COMPACT) : NULL;
	json_decref(all);
	return text;
}

static void control_end(struct bufferevent *connection, short what, void *argument)
{
	(void)what;
	(void)argument;
	bufferevent_free(connection);
}

static void control_written(struct bufferevent *connection, void *argument)
{
	control_end(connection, 0, argument);
}

/* control_accept - answer one connection; @fd is owned from here on */
void control_accept(struct supervisor *supervisor, int fd)
{
	static const struct timeval limit = { .tv_sec = CONTROL_TIME_S };
	struct bufferevent *connection =
		bufferevent_socket_new(supervisor->base, fd, BEV_OPT_CLOSE_ON_FREE);
	char *text;

	if (!connection) {
		close(fd);
		return;
	}
	text = control_compose(supervisor);
	bufferevent_setcb(connection, NULL, control_written, control_end, NULL);
	bufferevent_set_timeouts(connection, NULL, &limit);
	if (!text || evbuffer_add_printf(bufferevent_get_output(connection), "%s\n", text) < 0)
		bufferevent_free(connection);
	free(text);
}
