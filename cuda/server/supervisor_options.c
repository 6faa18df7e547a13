/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The supervisor's settings: section `cuda` of the configuration file, overridden by options.
 * Strings from the file are duplicated and live until the process ends.
 */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cuda/server/supervisor.h"
#include "lib/base/clean.h"
#include "lib/base/config.h"

#define OPTIONS_CONFIG_DEFAULT "/etc/causeway/causeway.conf"
#define OPTIONS_CLIENTS_MAX    4096

enum option_key {
	OPTION_SWITCH_SOCKET = 256,
	OPTION_CONTROL_SOCKET,
	OPTION_METRICS,
	OPTION_VSOCK_PORT,
	OPTION_TCP,
	OPTION_TOKEN_FILE,
	OPTION_WORKER,
	OPTION_MAX_CLIENTS,
	OPTION_MAX_PER_IDENTITY,
	OPTION_MEMORY_LIMIT,
};

static const struct argp_option option_table[] = {
	{ "config", 'c', "FILE", 0, "configuration file (" OPTIONS_CONFIG_DEFAULT " if it exists)",
	  0 },
	{ "socket", 's', "PATH", 0, "Unix socket for programs of this host", 0 },
	{ "driver", 'd', "LIBRARY", 0, "libcuda.so.1 that the workers load", 0 },
	{ "switch-socket", OPTION_SWITCH_SOCKET, "PATH", 0,
	  "Unix socket, mode 0600, for causeway-switch", 0 },
	{ "control-socket", OPTION_CONTROL_SOCKET, "PATH", 0,
	  "Unix socket that tells who is served (SOCKET.control)", 0 },
	{ "metrics", OPTION_METRICS, "PATH|127.0.0.1:PORT", 0,
	  "serve metrics for Prometheus over HTTP there", 0 },
	{ "vsock-port", OPTION_VSOCK_PORT, "PORT", 0, "listen on AF_VSOCK too (0: no)", 0 },
	{ "tcp", OPTION_TCP, "HOST:PORT", 0, "listen on TCP too; needs --token-file", 0 },
	{ "token-file", OPTION_TOKEN_FILE, "FILE", 0, "the secret that TCP clients must know", 0 },
	{ "worker", OPTION_WORKER, "PROGRAM", 0, "causeway-cuda-worker to start", 0 },
	{ "max-clients", OPTION_MAX_CLIENTS, "N", 0, "most clients at once (256)", 0 },
	{ "max-clients-per-identity", OPTION_MAX_PER_IDENTITY, "N", 0,
	  "most clients of one user, guest or address (256)", 0 },
	{ "memory-limit", OPTION_MEMORY_LIMIT, "BYTES", 0,
	  "device memory that a client may have (0: no limit)", 0 },
	{ 0 },
};

static void option_number(struct argp_state *state, const char *name, const char *text,
			  int64_t minimum, int64_t maximum, int64_t *value)
{
	char *end;

	errno = 0;
	*value = strtoll(text, &end, 10);
	if (errno || end == text || *end || *value < minimum || *value > maximum)
		argp_error(state, "--%s is '%s': expected %lld to %lld", name, text,
			   (long long)minimum, (long long)maximum);
}

static error_t option_parse(int key, char *text, struct argp_state *state)
{
	struct supervisor_options *options = state->input;

	switch (key) {
	case 'c':
		options->config_path = text;
		break;
	case 's':
		options->socket = text;
		break;
	case 'd':
		options->driver = text;
		break;
	case OPTION_SWITCH_SOCKET:
		options->switch_socket = text;
		break;
	case OPTION_CONTROL_SOCKET:
		options->control_socket = text;
		break;
	case OPTION_METRICS:
		options->metrics = text;
		break;
	case OPTION_TCP:
		options->tcp = text;
		break;
	case OPTION_TOKEN_FILE:
		options->token_file = text;
		break;
	case OPTION_WORKER:
		options->worker = text;
		break;
	case OPTION_VSOCK_PORT:
		option_number(state, "vsock-port", text, 0, UINT32_MAX - 1, &options->vsock_port);
		break;
	case OPTION_MAX_CLIENTS:
		option_number(state, "max-clients", text, 1, OPTIONS_CLIENTS_MAX,
			      &options->max_clients);
		break;
	case OPTION_MAX_PER_IDENTITY:
		option_number(state, "max-clients-per-identity", text, 1, OPTIONS_CLIENTS_MAX,
			      &options->max_clients_per_identity);
		break;
	case OPTION_MEMORY_LIMIT:
		option_number(state, "memory-limit", text, 0, INT64_MAX, &options->memory_limit);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp option_parser = {
	.options = option_table,
	.parser = option_parse,
	.doc = "Serve CUDA to programs of this host and its virtual machines: each client gets a "
	       "process of its own that loads the driver.",
};

/* One string of the section, unless an option was given. */
static int config_string(struct config *config, config_setting_t *group, const char *name,
			 const char **value, struct error *error)
{
	const char *text = NULL;
	int status = config_get_string(config, group, name, &text, error);

	if (status > 0 && !*value) {
		*value = strdup(text);
		if (!*value)
			return error_set(error, -ENOMEM, "no memory");
	}
	return status < 0 ? status : 0;
}

static int config_number(struct config *config, config_setting_t *group, const char *name,
			 int64_t minimum, int64_t maximum, int64_t *value, struct error *error)
{
	int64_t number = *value;
	int status = config_get_integer(config, group, name, minimum, maximum, &number, error);

	/* Negative: no option was given. */
	if (status > 0 && *value < 0)
		*value = number;
	return status < 0 ? status : 0;
}

static int options_worker_paths(struct supervisor_options *options, const struct config *config,
				config_setting_t *group, struct error *error)
{
	config_setting_t *list = config_setting_get_member(group, "worker_paths");
	int length = list ? config_setting_length(list) : 0;

	for (int i = 0; i < length && length <= SANDBOX_PATHS_MAX; i++) {
		const char *path = config_setting_get_string_elem(list, i);

		if (!path || *path != '/')
			break;
		options->worker_paths[i] = strdup(path);
		if (!options->worker_paths[i])
			return error_set(error, -ENOMEM, "no memory");
		options->worker_path_count++;
	}
	if (list && (int)options->worker_path_count != length)
		return error_set(error, -EINVAL,
				 "%s:%u: worker_paths: expected at most %d files or folders, as in "
				 "[\"/dev/shm\"]",
				 config->path, config_setting_source_line(list), SANDBOX_PATHS_MAX);
	return 0;
}

static int options_worker_users(struct supervisor_options *options, const struct config *config,
				config_setting_t *group, struct error *error)
{
	config_setting_t *list = config_setting_get_member(group, "worker_users");
	int64_t *users = options->worker_users;

	if (!list)
		return 0;
	for (int i = 0; i < 2 && config_setting_length(list) == 2; i++)
		users[i] = tenant_user_find(config_setting_get_elem(list, (unsigned int)i));
	if (users[0] < 0 || users[1] < users[0])
		return error_set(
			error, -EINVAL,
			"%s:%u: worker_users: expected the first and the last number of users, "
			"as in [64000, 64255]",
			config->path, config_setting_source_line(list));
	return 0;
}

static int options_from_group(struct supervisor_options *options, struct config *config,
			      config_setting_t *group, struct error *error)
{
	static const char *const known[] = { "socket",
					     "socket_mode",
					     "switch_socket",
					     "control_socket",
					     "vsock_port",
					     "tcp",
					     "token_file",
					     "driver",
					     "worker",
					     "memory_limit",
					     "max_clients",
					     "max_clients_per_identity",
					     "metrics",
					     "turns",
					     "clear_memory",
					     "sandbox",
					     "worker_paths",
					     "worker_users",
					     NULL };
	const struct {
		const char *name;
		const char **value;
	} strings[] = {
		{ "socket", &options->socket },
		{ "switch_socket", &options->switch_socket },
		{ "control_socket", &options->control_socket },
		{ "metrics", &options->metrics },
		{ "tcp", &options->tcp },
		{ "token_file", &options->token_file },
		{ "driver", &options->driver },
		{ "worker", &options->worker },
		{ "socket_mode", &options->socket_mode_text },
	};
	const struct {
		const char *name;
		int64_t minimum, maximum;
		int64_t *value;
	} numbers[] = {
		{ "vsock_port", 0, UINT32_MAX - 1, &options->vsock_port },
		{ "memory_limit", 0, INT64_MAX, &options->memory_limit },
		{ "max_clients", 1, OPTIONS_CLIENTS_MAX, &options->max_clients },
		{ "max_clients_per_identity", 1, OPTIONS_CLIENTS_MAX,
		  &options->max_clients_per_identity },
	};
	int status = config_check_unknown(config, group, known, error);

	for (size_t i = 0; !status && i < sizeof(strings) / sizeof(*strings); i++)
		status = config_string(config, group, strings[i].name, strings[i].value, error);
	for (size_t i = 0; !status && i < sizeof(numbers) / sizeof(*numbers); i++)
		status = config_number(config, group, numbers[i].name, numbers[i].minimum,
				       numbers[i].maximum, numbers[i].value, error);
	if (!status)
		status = config_get_boolean(config, group, "turns", &options->turns, error);
	if (status >= 0)
		status = config_get_boolean(config, group, "clear_memory", &options->clear_memory,
					    error);
	if (status >= 0)
		status = config_get_boolean(config, group, "sandbox", &options->sandbox, error);
	if (status >= 0)
		status = options_worker_paths(options, config, group, error);
	if (status >= 0)
		status = options_worker_users(options, config, group, error);
	return status < 0 ? status : 0;
}

static int options_from_file(struct supervisor_options *options, struct error *error)
{
	struct config config;
	config_setting_t *group;
	int status;

	if (!options->config_path) {
		if (access(OPTIONS_CONFIG_DEFAULT, F_OK) < 0)
			return 0;
		options->config_path = OPTIONS_CONFIG_DEFAULT;
	}
	status = config_load(&config, options->config_path, error);
	if (status < 0)
		return status;
	group = config_section(&config, "cuda");
	if (group)
		status = options_from_group(options, &config, group, error);
	if (status >= 0)
		status = journal_settings_read(&options->accounting, &config, error);
	config_close(&config);
	return status;
}

/* Permission bits are written as people know them, in octal. */
static int options_read_mode(struct supervisor_options *options, struct error *error)
{
	const char *text = options->socket_mode_text;
	char *end;
	long mode;

	options->socket_mode = 0660;
	if (!text)
		return 0;
	mode = strtol(text, &end, 8);
	if (end == text || *end || mode < 0 || mode > 0777)
		return error_set(error, -EINVAL, "socket_mode is '%s': expected \"0\" to \"777\"",
				 text);
	options->socket_mode = mode;
	return 0;
}

/* @format with @text in it, on the heap; NULL without memory. */
static char *options_text(const char *format, const char *text)
{
	char *made;

	return asprintf(&made, format, text) < 0 ? NULL : made;
}

/* /run/causeway for root, else the user's own runtime folder. */
static int options_default_socket(struct supervisor_options *options, struct error *error)
{
	const char *runtime = geteuid() ? getenv("XDG_RUNTIME_DIR") : "/run";
	autofree char *folder = NULL;

	if (!runtime)
		return error_set(error, -EINVAL,
				 "no place for the socket: give --socket, or set XDG_RUNTIME_DIR");
	folder = options_text("%s/causeway", runtime);
	if (!folder || (mkdir(folder, 0755) < 0 && errno != EEXIST))
		return error_set(error, -errno, "cannot create '%s': %s", folder ? folder : runtime,
				 strerror(errno));
	options->socket = options_text("%s/cuda.sock", folder);
	return options->socket ? 0 : error_set(error, -ENOMEM, "no memory");
}

static int options_defaults(struct supervisor_options *options, struct error *error)
{
	int64_t *const numbers[] = { &options->vsock_port, &options->memory_limit,
				     &options->max_clients, &options->max_clients_per_identity };
	static const int64_t defaults[] = { 0, 0, 256, 256 };
	char self[4096];
	ssize_t self_bytes;

	for (size_t i = 0; i < sizeof(defaults) / sizeof(*defaults); i++) {
		if (*numbers[i] < 0)
			*numbers[i] = defaults[i];
	}
	if (!options->driver)
		options->driver = "libcuda.so.1";
	if (!options->control_socket)
		options->control_socket = options_text("%s.control", options->socket);
	if (!options->worker) {
		self_bytes = readlink("/proc/self/exe", self, sizeof(self) - 1);
		if (self_bytes <= 0)
			return error_set(error, -errno, "/proc/self/exe: %s", strerror(errno));
		self[self_bytes] = '\0';
		*strrchr(self, '/') = '\0';
		options->worker = options_text("%s/causeway-cuda-worker", self);
	}
	if (!options->control_socket || !options->worker)
		return error_set(error, -ENOMEM, "no memory");
	return 0;
}

/**
 * supervisor_options_read - all settings, checked as far as can be before anything starts
 *
 * Return: 0, or -errno with a sentence in @error. Wrong options end the program (argp).
 */
int supervisor_options_read(struct supervisor_options *options, int argc, char **argv,
			    struct error *error)
{
	int status;

	options->vsock_port = options->memory_limit = -1;
	options->max_clients = options->max_clients_per_identity = -1;
	options->worker_users[0] = options->worker_users[1] = -1;
	options->turns = options->clear_memory = options->sandbox = true;
	if (argp_parse(&option_parser, argc, argv, 0, NULL, options))
		return error_set(error, -EINVAL, "wrong options");
	status = options_from_file(options, error);
	if (status >= 0 && !options->socket)
		status = options_default_socket(options, error);
	if (status >= 0)
		status = options_read_mode(options, error);
	if (status >= 0)
		status = options_defaults(options, error);
	if (status >= 0 && options->token_file)
		status = tenant_token_read(options->token_file, &options->token, error);
	if (status >= 0 && access(options->worker, X_OK) < 0)
		status = error_set(error, -errno, "worker '%s': %s", options->worker,
				   strerror(errno));
	return status;
}
