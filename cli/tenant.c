/* SPDX-License-Identifier: Apache-2.0 */
/*
 * causeway tenant: shows the tenants of a running causeway-cudad, changes what they may have, and
 * writes the file by which containers get them (cdi.c).
 */
#include <argp.h>
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cdi.h"
#include "cli/cli.h"
#include "cli/source.h"
#include "lib/base/log.h"
#include "lib/control/client.h"
#include "share/policy.h"
#include "share/tenants.h"

#define RECORD_SECONDS 10

struct tenant_options {
	const char *control;
	const char *action; /* list, set, reload, cdi */
	const char *name;
	struct cdi_options cdi;
	json_t *changes; /* NAME -> number */
};

static const struct argp_option options[] = {
	{ "control", 'C', "PATH", 0,
	  "the daemon's control socket (default: cuda.sock.control in /run/causeway, or in "
	  "$XDG_RUNTIME_DIR/causeway when not root)",
	  0 },
	{ "config", 'c', "FILE", 0,
	  "cdi: the configuration file (default: /etc/causeway/causeway.conf)", 0 },
	{ "library", 'l', "FOLDER", 0,
	  "cdi: where the client's libcuda.so.1 and libnvidia-ml.so.1 are (default: those of "
	  "package causeway-guest)",
	  0 },
	{ "output", 'o', "FILE", 0, "cdi: write FILE, as /etc/cdi/causeway.json", 0 },
	{ 0 },
};

/* parse_member - a number, for users also a name */
static json_t *parse_member(struct argp_state *state, const char *name, const char *text)
{
	unsigned long long number;
	const struct passwd *user;
	char *end;

	errno = 0;
	number = strtoull(text, &end, 10);
	if (isdigit((unsigned char)*text) && !*end && !errno && number <= UINT32_MAX)
		return json_integer((json_int_t)number);
	user = strncmp(name, "user", 4) ? NULL : getpwnam(text);
	if (!user)
		argp_error(state, "%s: \"%s\": expected %s", name, text,
			   strncmp(name, "user", 4) ? "a number" : "a user's name or number");
	return user ? json_integer(user->pw_uid) : NULL;
}

/* parse_path - as the daemon needs it, which is somewhere else */
static json_t *parse_path(struct argp_state *state, const char *name, const char *text)
{
	if (*text != '/')
		argp_error(state, "%s: \"%s\": expected a path from / on", name, text);
	return json_string(text);
}

/* parse_element - of the list @name: a path for a token's file, else a member */
static json_t *parse_element(struct argp_state *state, const char *name, const char *text)
{
	return strcmp(name, "token_files") ? parse_member(state, name, text)
					   : parse_path(state, name, text);
}

/* parse_single - "user=red", "socket=/path", or nothing behind the =; false: it is neither */
static bool parse_single(struct argp_state *state, json_t *changes, const char *text)
{
	const char *value = strchr(text, '=');

	if (value && !strncmp(text, "user=", 5))
		json_object_set_new(changes, "user",
				    value[1] ? parse_member(state, "user", value + 1)
					     : json_integer(-1));
	else if (value && !strncmp(text, "socket=", 7))
		json_object_set_new(changes, "socket",
				    value[1] ? parse_path(state, "socket", value + 1)
					     : json_string(""));
	else
		return false;
	return true;
}

/* parse_list - "cids=3,4", "users=alice,1000", "devices=0"; false: it is none of these */
static bool parse_list(struct argp_state *state, json_t *changes, const char *text)
{
	static const char *const lists[] = { "cids", "users", "devices", "token_files" };

	for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
		size_t length = strlen(lists[i]);
		char *words, *word, *save;
		json_t *list;

		if (strncmp(text, lists[i], length) != 0 || text[length] != '=')
			continue;
		list = json_array();
		words = strdup(text + length + 1);
		word = strcmp(lists[i], "devices") || strcmp(words, "all")
			       ? strtok_r(words, ",", &save)
			       : NULL;
		for (; word; word = strtok_r(NULL, ",", &save))
			json_array_append_new(list, parse_element(state, lists[i], word));
		free(words);
		json_object_set_new(changes, lists[i], list);
		return true;
	}
	return false;
}

/* parse_change - "weight=3": what the file may say */
static void parse_change(struct argp_state *state, json_t *changes, const char *text)
{
	static const struct {
		const char *name;
		unsigned long long minimum, maximum;
	} known[] = {
		{ "weight", 1, SHARE_WEIGHT_MAX }, { "priority", 0, SHARE_PRIORITIES - 1 },
		{ "memory", 0, INT64_MAX },	   { "clients", 0, TENANT_CLIENTS_MAX },
		{ "watchdog_ms", 0, INT32_MAX },   { "seconds", 1, 3600 },
	};
	const char *value = strchr(text, '=');
	uint64_t number;

	if (parse_list(state, changes, text) || parse_single(state, changes, text))
		return;
	for (size_t i = 0; value && i < sizeof(known) / sizeof(*known); i++) {
		if (strlen(known[i].name) != (size_t)(value - text) ||
		    strncmp(known[i].name, text, (size_t)(value - text)) != 0)
			continue;
		if (tenant_bytes_parse(value + 1, &number) || number < known[i].minimum ||
		    number > known[i].maximum)
			argp_error(state, "\"%s\": expected a number from %llu to %llu", text,
				   known[i].minimum, known[i].maximum);
		json_object_set_new(changes, known[i].name, json_integer((json_int_t)number));
		return;
	}
	argp_error(state,
		   "\"%s\": expected weight=N, priority=N, memory=BYTES, clients=N, "
		   "watchdog_ms=N, cids=N,..., users=NAME,..., devices=N,..., "
		   "token_files=PATH,..., socket=PATH or user=NAME",
		   text);
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct tenant_options *chosen = state->input;

	switch (key) {
	case 'C':
		chosen->control = argument;
		break;
	case 'c':
		chosen->cdi.config = argument;
		break;
	case 'l':
		chosen->cdi.library = argument;
		break;
	case 'o':
		chosen->cdi.output = argument;
		break;
	case ARGP_KEY_ARG:
		if (state->arg_num == 0)
			chosen->action = argument;
		else if (state->arg_num == 1)
			chosen->name = argument;
		else
			parse_change(state, chosen->changes, argument);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

/* seconds_read - how long launches are recorded, as parse_change() has checked it */
static long seconds_read(const json_t *changes)
{
	const json_t *seconds = json_object_get(changes, "seconds");

	return seconds ? (long)json_integer_value(seconds) : RECORD_SECONDS;
}

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
	(void)signal_number;
	interrupted = 1;
}

/* record_wait - so long, or until Ctrl-C */
static void record_wait(long seconds)
{
	const struct sigaction by_us = { .sa_handler = on_interrupt };
	struct timespec left = { seconds, 0 };

	sigaction(SIGINT, &by_us, NULL);
	sigaction(SIGTERM, &by_us, NULL);
	while (!interrupted && nanosleep(&left, &left) < 0)
		;
}

/* tenant_record - launches into a file of the daemon's, from now on and for a while */
static int tenant_record(const struct tenant_options *chosen)
{
	long seconds = seconds_read(chosen->changes);
	struct error error = { 0 };
	char path[PATH_MAX], control[PATH_MAX];
	json_t *answer = NULL;
	int status;

	if (*chosen->name == '/')
		snprintf(path, sizeof(path), "%s", chosen->name);
	else if (!getcwd(path, sizeof(path)) ||
		 strlen(path) + strlen(chosen->name) + 2 > sizeof(path))
		return -ENAMETOOLONG;
	else
		strcat(strcat(path, "/"), chosen->name);
	source_default_path("cuda.sock.control", control);
	if (chosen->control)
		snprintf(control, sizeof(control), "%s", chosen->control);
	status = control_ask(control,
			     json_pack("{s:s, s:s, s:I}", "command", "record", "file", path,
				       "seconds", (json_int_t)seconds),
			     &answer, &error);
	json_decref(answer);
	answer = NULL;
	if (status == 0) {
		record_wait(seconds);
		status = control_ask(control, json_pack("{s:s}", "command", "record-end"), &answer,
				     &error);
	}
	if (status < 0) {
		log_error("%s", error.code ? error.text : strerror(-status));
		return 1;
	}
	printf("%lld launches of %lld clients in %s; %lld pieces were lost\n",
	       (long long)json_integer_value(json_object_get(answer, "launches")),
	       (long long)json_integer_value(json_object_get(answer, "clients")), path,
	       (long long)json_integer_value(json_object_get(answer, "lost")));
	json_decref(answer);
	return 0;
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.args_doc = "list\nset NAME KEY=VALUE...\nreload\nrecord FILE [seconds=N]\ncdi [NAME]",
	.doc = "Show the tenants of a running causeway-cudad, change what they may have, and write "
	       "the "
	       "Container Device Interface file by which containers get them.\v"
	       "A change lasts until the daemon reads its configuration file again, which `reload` "
	       "makes it do; the file is for what is to stay.",
};

/* tenant_request - for the action; NULL when it was called wrongly */
static json_t *tenant_request(const struct tenant_options *chosen)
{
	const char *action = chosen->action ? chosen->action : "";

	if (!strcmp(action, "list") && !chosen->name)
		return json_pack("{s:s}", "command", "tenant-list");
	if (!strcmp(action, "reload") && !chosen->name)
		return json_pack("{s:s}", "command", "reload");
	if (!strcmp(action, "set") && json_object_size(chosen->changes) &&
	    !json_object_get(chosen->changes, "seconds"))
		return json_pack("{s:s, s:s, s:O}", "command", "tenant-set", "name", chosen->name,
				 "changes", chosen->changes);
	return NULL;
}

int cli_tenant(int argc, char **argv)
{
	static const struct error wrong = {
		.code = -EINVAL,
		.text = "expected: list, set NAME KEY=VALUE..., reload, record FILE [seconds=N], "
			"or cdi [NAME]"
	};
	struct tenant_options chosen = { .changes = json_object(),
					 .cdi = { .config = "/etc/causeway/causeway.conf",
						  .library = CLI_CLIENT_FOLDER } };
	json_t *request;

	argp_parse(&argp, argc, argv, 0, NULL, &chosen);
	if (chosen.action && !strcmp(chosen.action, "cdi") && !json_object_size(chosen.changes)) {
		json_decref(chosen.changes);
		chosen.cdi.tenant = chosen.name;
		return cdi_write(&chosen.cdi);
	}
	if (chosen.action && !strcmp(chosen.action, "record") && chosen.name)
		return tenant_record(&chosen);
	request = tenant_request(&chosen);
	json_decref(chosen.changes);
	return source_request(chosen.control, "cuda.sock.control", request,
			      request && !strcmp(chosen.action, "list"), &wrong);
}
