/* SPDX-License-Identifier: Apache-2.0 */
/*
 * causeway status: asks causeway-cudad who uses the devices, and shows it.
 *
 * The daemon's control socket gives one line of JSON and hangs up (supervisor_control.c has the
 * fields). It is trusted, since only its user may open it, but an answer of another version must
 * not bring the command down: a field that is missing shows as "-".
 */
#include <argp.h>
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "lib/base/buffer.h"
#include "lib/base/clean.h"
#include "lib/base/io.h"
#include "lib/base/log.h"

#define ANSWER_BYTES_MAX (8u << 20)
#define ANSWER_WAIT_MS	 5000
#define READ_BYTES	 65536
#define SOCKET_NAME	 "causeway/cuda.sock.control"

struct status_options {
	const char *socket;
	bool json;
};

static const struct argp_option options[] = {
	{ "socket", 's', "PATH", 0,
	  "the daemon's control socket (default: /run/" SOCKET_NAME
	  ", or in $XDG_RUNTIME_DIR when not root)",
	  0 },
	{ "json", 'j', NULL, 0, "print the daemon's answer as it is", 0 },
	{ 0 },
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct status_options *chosen = state->input;

	switch (key) {
	case 's':
		chosen->socket = argument;
		return 0;
	case 'j':
		chosen->json = true;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "unexpected argument \"%s\"", argument);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.doc = "Show who uses the devices of this host through causeway-cudad.",
};

/* All that the daemon sends until it hangs up; 0 or -errno with a sentence. */
static int answer_read(const char *path, struct buffer *answer, struct error *error)
{
	autoclose int fd = io_unix_connect(path, error);

	if (fd < 0)
		return fd;
	for (;;) {
		struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
		void *room = buffer_reserve(answer, READ_BYTES);
		ssize_t got;
		int ready;

		if (!room)
			return error_set(error, -errno, "%s: the answer is too long", path);
		ready = poll(&poll_fd, 1, ANSWER_WAIT_MS);
		if (ready < 0 && errno == EINTR)
			continue;
		if (ready == 0)
			return error_set(error, -ETIMEDOUT, "%s does not answer", path);
		got = read(fd, room, READ_BYTES);
		if (got < 0)
			return error_set(error, -errno, "%s: %s", path, strerror(errno));
		if (got == 0)
			return 0;
		answer->used += got;
	}
}

static const char *text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "-";
}

static long long number_of(const json_t *object, const char *name)
{
	return json_integer_value(json_object_get(object, name));
}

/* "3 d 4 h", "5 min 7 s": the two largest units. */
static void format_age(long long since, char *text, size_t bytes)
{
	long long age = (long long)time(NULL) - since;

	if (age < 0 || !since)
		snprintf(text, bytes, "-");
	else if (age >= 86400)
		snprintf(text, bytes, "%lld d %lld h", age / 86400, age % 86400 / 3600);
	else if (age >= 3600)
		snprintf(text, bytes, "%lld h %lld min", age / 3600, age % 3600 / 60);
	else if (age >= 60)
		snprintf(text, bytes, "%lld min %lld s", age / 60, age % 60);
	else
		snprintf(text, bytes, "%lld s", age);
}

static void answer_print(const json_t *answer)
{
	const json_t *clients = json_object_get(answer, "clients"), *client;
	char age[48];
	size_t i;

	format_age(number_of(answer, "since"), age, sizeof(age));
	printf("%s (process %lld), up for %s, driver %s\n", text_of(answer, "program"),
	       number_of(answer, "pid"), age, text_of(answer, "driver"));
	printf("%zu of at most %lld clients; %lld admitted, %lld refused since the start\n",
	       json_array_size(clients), number_of(answer, "max_clients"),
	       number_of(answer, "admitted"), number_of(answer, "refused"));
	if (!json_array_size(clients))
		return;
	printf("\n%6s  %-28s %-8s %8s  %-8s %s\n", "client", "identity", "came by", "worker",
	       "state", "for");
	json_array_foreach(clients, i, client)
	{
		format_age(number_of(client, "since"), age, sizeof(age));
		printf("%6lld  %-28s %-8s %8lld  %-8s %s\n", number_of(client, "id"),
		       text_of(client, "identity"), text_of(client, "entrance"),
		       number_of(client, "worker"), text_of(client, "state"), age);
	}
}

static int status_show(const struct status_options *chosen, struct error *error)
{
	struct buffer answer;
	json_error_t parse_error;
	json_t *tree = NULL;
	int code;

	buffer_init(&answer, ANSWER_BYTES_MAX);
	code = answer_read(chosen->socket, &answer, error);
	if (code == 0) {
		tree = json_loadb((const char *)answer.data, answer.used, 0, &parse_error);
		if (!json_is_object(tree))
			code = error_set(error, -EPROTO,
					 "%s does not answer as causeway-cudad does",
					 chosen->socket);
		else if (chosen->json)
			printf("%.*s", (int)answer.used, (const char *)answer.data);
		else
			answer_print(tree);
	}
	json_decref(tree);
	buffer_free(&answer);
	return code;
}

int cli_status(int argc, char **argv)
{
	struct status_options chosen = { 0 };
	const char *runtime = geteuid() ? getenv("XDG_RUNTIME_DIR") : NULL;
	struct error error = { 0 };
	char path[PATH_MAX];

	argp_parse(&argp, argc, argv, 0, NULL, &chosen);
	snprintf(path, sizeof(path), "%s/" SOCKET_NAME, runtime ? runtime : "/run");
	if (!chosen.socket)
		chosen.socket = path;
	if (status_show(&chosen, &error) < 0) {
		log_error("%s", error.text);
		return 1;
	}
	return 0;
}
