/* SPDX-License-Identifier: Apache-2.0 */
/* causeway-card's options. */
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "scif/card/card.h"

const char *const card_policy_names[CARD_POLICIES] = { "share", "time", "space", "first" };

static const struct argp_option options[] = {
	{ "name", 'n', "NAME", 0, "of the card, as scifd knows it (default: mic0)", 0 },
	{ "socket", 's', "PATH", 0, "scifd's socket of this card; without it, /dev/mic/scif", 0 },
	{ "scifd", 'S', "PATH", 0, "scifd's control socket, to be told of the card's state", 0 },
	{ "control", 'C', "PATH", 0, "answer `causeway card` here (FOLDER/control)", 0 },
	{ "config", 'k', "FILE", 0, "tenants and accounting, as causeway.conf(5) has them", 0 },
	{ "folder", 'f', "PATH", 0, "for libraries and sandboxes (/run/causeway/NAME)", 0 },
	{ "library", 'l', "FILE", 0, "a library that every program finds; many times", 0 },
	{ "cores", 'c', "LIST", 0, "cores of this host that are the card's, as 2-5,8 (all)", 0 },
	{ "memory", 'm', "BYTES", 0, "of the card; K, M, G, T (half of this host's)", 0 },
	{ "policy", 'p', "NAME", 0, "share (default), time, space or first", 0 },
	{ "programs", 'P', "N", 0, "at once (64)", 0 },
	{ "queue", 'q', "N", 0, "that may wait (64)", 0 },
	{ "vm", 'V', "NODE,...", 0, "weight=N, cores=LIST, programs=N of a VM; many times", 0 },
	{ "uid-base", 'u', "N", 0, "programs of node I run as user N + I (60000)", 0 },
	{ "cgroup", 'g', "PATH", 0, "a cgroup v2 of the card's own (/sys/fs/cgroup/causeway-NAME)",
	  0 },
	{ "network", 'N', NULL, 0, "an interface over SCIF for programs that ask for it", 0 },
	{ "verbose", 'v', NULL, 0, "log more", 0 },
	{ 0 },
};

int card_cores_parse(const char *text, cpu_set_t *cores)
{
	CPU_ZERO(cores);
	for (const char *at = text;;) {
		char *end;
		unsigned long first = strtoul(at, &end, 10), last = first;

		if (end == at || *at == '-' || *at == '+' || *at == ' ')
			return -EINVAL;
		if (*end == '-') {
			at = end + 1;
			last = strtoul(at, &end, 10);
			if (end == at || *at == '-')
				return -EINVAL;
		}
		if (last < first || last >= CARD_CORES_MAX)
			return -EINVAL;
		for (; first <= last; first++)
			CPU_SET(first, cores);
		if (!*end)
			return 0;
		if (*end != ',' && *end != '+')
			return -EINVAL;
		at = end + 1;
	}
}

/* A number within the bounds, or false. */
static bool settings_number(const char *text, unsigned long minimum, unsigned long maximum,
			    unsigned long *number)
{
	char *end;

	errno = 0;
	*number = strtoul(text, &end, 10);
	return *text >= '0' && *text <= '9' && !*end && !errno && *number >= minimum &&
	       *number <= maximum;
}

int card_share_parse(struct card_settings *settings, const char *text, struct error *error)
{
	char copy[256], *rest = copy, *part;
	struct card_share *share;
	unsigned long number;

	if (snprintf(copy, sizeof(copy), "%s", text) >= (int)sizeof(copy))
		return error_set(error, -EINVAL, "--vm=%s: too long", text);
	part = strsep(&rest, ",");
	if (!settings_number(part, 0, CARD_NODES_MAX - 1, &number))
		return error_set(error, -EINVAL, "--vm=%s: expected a node number below %d first",
				 text, CARD_NODES_MAX);
	share = &settings->shares[number];
	while ((part = strsep(&rest, ","))) {
		if (!strncmp(part, "weight=", 7) && settings_number(part + 7, 1, 10000, &number)) {
			share->weight = (unsigned int)number;
			share->weighed = true;
		} else if (!strncmp(part, "programs=", 9) &&
			   settings_number(part + 9, 1, CARD_CLIENTS_MAX, &number))
			share->programs = (unsigned int)number;
		else if (strncmp(part, "cores=", 6) != 0 ||
			 card_cores_parse(part + 6, &share->cores) < 0)
			return error_set(error, -EINVAL,
					 "--vm=%s: '%s': expected weight=1..10000, programs=1..%d "
					 "or cores=LIST (as 0-1+4)",
					 text, part, CARD_CLIENTS_MAX);
	}
	return 0;
}

static uint64_t settings_bytes(const char *text)
{
	static const char units[] = "KMGT";
	char *end;
	unsigned long long number = strtoull(text, &end, 10);
	const char *unit = *end ? strchr(units, *end) : NULL;

	if (end == text || *text == '-' || (*end && (!unit || end[1])))
		return 0;
	for (int i = 0; unit && i <= unit - units; i++) {
		if (number > UINT64_MAX >> 10)
			return 0;
		number <<= 10;
	}
	return number;
}

static void settings_policy(struct argp_state *state, struct card_settings *settings,
			    const char *name)
{
	for (int i = 0; i < CARD_POLICIES; i++) {
		if (strcmp(name, card_policy_names[i]))
			continue;
		settings->policy = (enum card_policy)i;
		return;
	}
	argp_error(state, "--policy=%s: expected share, time, space or first", name);
}

static error_t settings_option(int key, char *argument, struct argp_state *state)
{
	struct card_settings *settings = state->input;
	struct error error = { 0 };
	unsigned long number = 0;

	switch (key) {
	case 'n':
		settings->name = argument;
		break;
	case 's':
		settings->socket = argument;
		break;
	case 'S':
		settings->scifd = argument;
		break;
	case 'C':
		settings->control = argument;
		break;
	case 'k':
		settings->config = argument;
		break;
	case 'f':
		settings->folder = argument;
		break;
	case 'g':
		settings->cgroup = argument;
		break;
	case 'v':
		settings->verbose = true;
		break;
	case 'N':
		settings->network = true;
		break;
	case 'p':
		settings_policy(state, settings, argument);
		break;
	case 'l':
		if (settings->library_count == CARD_LIBRARIES_MAX)
			argp_error(state, "more than %d libraries", CARD_LIBRARIES_MAX);
		settings->libraries[settings->library_count++] = argument;
		break;
	case 'c':
		if (card_cores_parse(argument, &settings->cores) < 0)
			argp_error(state, "--cores=%s: expected a list as 2-5,8", argument);
		break;
	case 'm':
		settings->memory_bytes = settings_bytes(argument);
		if (settings->memory_bytes < 1 << 20)
			argp_error(state, "--memory=%s: expected at least 1M", argument);
		break;
	case 'P':
	case 'q':
		if (!settings_number(argument, key == 'P', CARD_CLIENTS_MAX, &number))
			argp_error(state, "'%s': expected a number up to %d", argument,
				   CARD_CLIENTS_MAX);
		*(key == 'P' ? &settings->programs_max : &settings->queue_max) =
			(unsigned int)number;
		break;
	case 'u':
		if (!settings_number(argument, 1, 4000000000ul, &number))
			argp_error(state, "--uid-base=%s: expected a number from 1", argument);
		settings->uid_base = (uid_t)number;
		break;
	case 'V':
		if (card_share_parse(settings, argument, &error) < 0)
			argp_error(state, "%s", error.text);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp argp = {
	.options = options,
	.parser = settings_option,
	.doc = "The software coprocessor: runs programs that clients send over SCIF.",
};

/* The cores that there are, of those that were named; and of each VM, of the card's. */
static int settings_check_cores(struct card_settings *settings, struct error *error)
{
	cpu_set_t own, there;

	CPU_ZERO(&own);
	if (sched_getaffinity(0, sizeof(own), &own) < 0)
		return error_set(error, -errno, "cores of this host: %s", strerror(errno));
	if (CPU_COUNT(&settings->cores) == 0)
		settings->cores = own;
	CPU_AND(&there, &settings->cores, &own);
	if (!CPU_EQUAL(&there, &settings->cores))
		return error_set(error, -EINVAL,
				 "--cores: not all of them exist here, or this program may not use "
				 "them");
	settings->core_count = (unsigned int)CPU_COUNT(&settings->cores);
	for (int node = 0; node < CARD_NODES_MAX; node++) {
		CPU_AND(&there, &settings->cores, &settings->shares[node].cores);
		if (!CPU_EQUAL(&there, &settings->shares[node].cores))
			return error_set(error, -EINVAL,
					 "--vm=%d: its cores are not all of the card", node);
	}
	return 0;
}

int card_settings_read(struct card_settings *settings, int argc, char **argv, struct error *error)
{
	static char folder[256], control[300], cgroup[256];
	struct sysinfo about;

	*settings = (struct card_settings){ .name = "mic0",
					    .programs_max = 64,
					    .queue_max = 64,
					    .uid_base = 60000,
					    .network_fd = -1 };
	for (int node = 0; node < CARD_NODES_MAX; node++)
		settings->shares[node].weight = 100;
	argp_parse(&argp, argc, argv, 0, NULL, settings);
	if (strchr(settings->name, '/'))
		return error_set(error, -EINVAL, "--name=%s: expected no '/'", settings->name);
	snprintf(folder, sizeof(folder), "/run/causeway/%s", settings->name);
	if (!settings->folder)
		settings->folder = folder;
	snprintf(control, sizeof(control), "%s/control", settings->folder);
	if (!settings->control)
		settings->control = control;
	snprintf(cgroup, sizeof(cgroup), "/sys/fs/cgroup/causeway-%s", settings->name);
	if (!settings->cgroup)
		settings->cgroup = cgroup;
	if (settings->memory_bytes == 0) {
		sysinfo(&about);
		settings->memory_bytes = about.totalram * about.mem_unit / 2;
	}
	return settings_check_cores(settings, error);
}
