/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's configuration: /etc/causeway/client.conf or the file that CAUSEWAY_CUDA_CONFIG
 * names, lines of `name = value`, `#` begins a comment; CAUSEWAY_CUDA_SERVER overrides `server`.
 *
 *	server           unix:PATH, ring:PATH, vsock:CID:PORT, scif:CID:PORT or
 *	                 tcp:HOST:PORT
 *	token_file       file with the secret for tcp
 *	spin_us          longest spin before sleeping, 0 to 10000 (10000: a thread that waits for a
 *	                 device spins without Causeway, too)
 *	ring_kib         size of each direction's ring, 512 to 1048576
 *	connect_wait_ms  bound on connecting, 1 to 600000
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cuda/client/client.h"
#include "lib/base/clean.h"

#define DEFAULT_FILE   "/etc/causeway/client.conf"
#define DEFAULT_RING   "/run/causeway/cuda.sock"
#define DEFAULT_VSOCK  "vsock:2:7000"
#define FILE_BYTES_MAX 16384
#define SPIN_US	       10000

/* config_read - a small file as a string; -EFBIG beyond @capacity - 1 bytes */
static int config_read(const char *path, char *text, size_t capacity)
{
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t used = 0;

	if (fd < 0)
		return -errno;
	for (;;) {
		ssize_t got = read(fd, text + used, capacity - used);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (!got)
			break;
		used += (size_t)got;
		if (used == capacity)
			return -EFBIG;
	}
	text[used] = 0;
	return 0;
}

static char *config_trim(char *text)
{
	char *end;

	text += strspn(text, " \t\r\n");
	end = text + strlen(text);
	while (end > text && strchr(" \t\r\n", end[-1]))
		*--end = 0;
	return text;
}

static int config_number(const char *value, unsigned long minimum, unsigned long maximum,
			 uint32_t *number)
{
	char *end;
	unsigned long parsed;

	errno = 0;
	parsed = strtoul(value, &end, 10);
	if (errno || end == value || *end || *value == '-' || parsed < minimum || parsed > maximum)
		return -EINVAL;
	*number = (uint32_t)parsed;
	return 0;
}

static int config_token(struct client_config *config, const char *path, struct error *error)
{
	char text[256];
	const char *token;
	int result = config_read(path, text, sizeof(text));

	if (result)
		return error_set(error, result, "token_file %s: %s", path, strerror(-result));
	token = config_trim(text);
	if (!*token || strlen(token) >= sizeof(config->token))
		return error_set(error, -EINVAL, "token_file %s: a token has 1 to %zu bytes", path,
				 sizeof(config->token) - 1);
	memcpy(config->token, token, strlen(token) + 1);
	config->link.token = config->token;
	return 0;
}

/* config_set - one setting; @where names file and line for the sentence */
static int config_set(struct client_config *config, const char *name, const char *value,
		      const char *where, struct error *error)
{
	uint32_t number = 0;
	int bad = 0;

	if (!strcmp(name, "server")) {
		bad = !*value || strlen(value) >= sizeof(config->server);
		if (!bad)
			memcpy(config->server, value, strlen(value) + 1);
	} else if (!strcmp(name, "token_file")) {
		return config_token(config, value, error);
	} else if (!strcmp(name, "spin_us")) {
		bad = config_number(value, 0, 10000, &config->link.spin_limit_us);
	} else if (!strcmp(name, "ring_kib")) {
		bad = config_number(value, 512, 1048576, &number);
		config->link.ring_bytes = number << 10;
	} else if (!strcmp(name, "connect_wait_ms")) {
		bad = config_number(value, 1, 600000, &config->link.connect_wait_ms);
	} else {
		return error_set(
			error, -EINVAL,
			"%s: unknown setting \"%s\"; known are server, token_file, spin_us, "
			"ring_kib, connect_wait_ms",
			where, name);
	}
	return bad ? error_set(error, -EINVAL, "%s: \"%s\" is no value for %s", where, value, name)
		   : 0;
}

static int config_parse(struct client_config *config, const char *path, char *text,
			struct error *error)
{
	unsigned int number = 0;
	char *next = text, *line;

	while ((line = strsep(&next, "\n"))) {
		char where[300];
		char *equals;
		int result;

		number++;
		line[strcspn(line, "#")] = 0;
		line = config_trim(line);
		if (!*line)
			continue;
		snprintf(where, sizeof(where), "%s:%u", path, number);
		equals = strchr(line, '=');
		if (!equals)
			return error_set(error, -EINVAL, "%s: expected name = value", where);
		*equals = 0;
		result = config_set(config, config_trim(line), config_trim(equals + 1), where,
				    error);
		if (result)
			return result;
	}
	return 0;
}

int client_config_load(struct client_config *config, struct error *error)
{
	const char *named = getenv("CAUSEWAY_CUDA_CONFIG");
	const char *server = getenv("CAUSEWAY_CUDA_SERVER");
	const char *path = named && *named ? named : DEFAULT_FILE;
	char text[FILE_BYTES_MAX];
	int result;

	*config = (struct client_config){ .link = link_options_default };
	config->link.spin_limit_us = SPIN_US;
	result = config_read(path, text, sizeof(text));
	if (!result)
		result = config_parse(config, path, text, error);
	else if (result == -ENOENT && !(named && *named))
		result = 0;
	else
		error_set(error, result, "%s: %s", path, strerror(-result));
	if (result)
		return result;
	if (server && *server)
		return config_set(config, "server", server, "CAUSEWAY_CUDA_SERVER", error);
	if (!*config->server)
		snprintf(config->server, sizeof(config->server), "%s",
			 access(DEFAULT_RING, F_OK) ? DEFAULT_VSOCK : "ring:" DEFAULT_RING);
	return 0;
}
