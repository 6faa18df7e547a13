/* SPDX-License-Identifier: Apache-2.0 */
/* Options and configuration; see settings.h. */
#include "vsock/switch/settings.h"

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/clean.h"
#include "lib/base/config.h"
#include "proto/virtio-vsock.h"

#define SETTINGS_SPIN_US_DEFAULT     50
#define SETTINGS_SPIN_US_MAX	     10000
#define SETTINGS_CONNECTIONS_DEFAULT 1024
#define SETTINGS_CONNECTIONS_MAX     65536
#define SETTINGS_FILE		     "/etc/causeway/causeway.conf"
#define SETTINGS_PATH_BYTES	     108	      /* what a Unix socket takes */
#define SETTINGS_CID_MAX	     (UINT32_MAX - 1) /* all ones means "any" */

static int settings_number(const char *text, uint64_t minimum, uint64_t maximum, uint64_t *number)
{
	char *end;

	errno = 0;
	*number = strtoull(text, &end, 10);
	if (errno || end == text || *end || *text == '-' || *number < minimum || *number > maximum)
		return -EINVAL;
	return 0;
}

struct settings_vm *settings_find_vm(struct settings *settings, const char *name)
{
	for (unsigned int i = 0; i < settings->vm_count; i++)
		if (strcmp(settings->vms[i].name, name) == 0)
			return &settings->vms[i];
	return NULL;
}

static void settings_free_vm(struct settings_vm *vm)
{
	free(vm->name);
	free(vm->socket);
	free(vm->host_socket);
}

void settings_drop_vm(struct settings *settings, struct settings_vm *vm)
{
	settings_free_vm(vm);
	*vm = settings->vms[--settings->vm_count];
}

int settings_put_vm(struct settings *settings, const struct settings_vm *vm, struct error *error)
{
	struct settings_vm *own = &settings->vms[settings->vm_count];

	if (!vm->name || !*vm->name || !vm->socket || !*vm->socket)
		return error_set(error, -EINVAL, "a VM needs a name and a socket");
	if (vm->cid < VIRTIO_VSOCK_CID_FIRST || vm->cid > SETTINGS_CID_MAX)
		return error_set(error, -EINVAL, "VM '%s': its cid is %llu: expected %u to %u",
				 vm->name, (unsigned long long)vm->cid, VIRTIO_VSOCK_CID_FIRST,
				 SETTINGS_CID_MAX);
	if (settings->vm_count == SETTINGS_VMS_MAX)
		return error_set(error, -ENOSPC, "more than %d VMs", SETTINGS_VMS_MAX);
	for (unsigned int i = 0; i < settings->vm_count; i++) {
		const struct settings_vm *other = &settings->vms[i];

		if (other->cid == vm->cid || strcmp(other->name, vm->name) == 0 ||
		    strcmp(other->socket, vm->socket) == 0)
			return error_set(error, -EEXIST,
					 "VMs '%s' and '%s' share a name, a cid or a socket",
					 other->name, vm->name);
	}
	*own = *vm;
	own->name = strdup(vm->name);
	own->socket = strdup(vm->socket);
	if (vm->host_socket)
		own->host_socket = strdup(vm->host_socket);
	else if (asprintf(&own->host_socket, "%s.host", vm->socket) < 0)
		own->host_socket = NULL;
	if (!own->name || !own->socket || !own->host_socket) {
		settings_free_vm(own);
		return error_set(error, -ENOMEM, "out of memory");
	}
	settings->vm_count++;
	return 0;
}

static int settings_put_service(struct settings *settings, uint32_t port, const char *socket,
				bool identity, struct error *error)
{
	struct settings_service *service = &settings->services[settings->service_count];

	if (!socket || !*socket)
		return error_set(error, -EINVAL, "the service on port %u needs a socket", port);
	if (settings_find_service(settings, port))
		return error_set(error, -EEXIST, "two services on port %u", port);
	if (settings->service_count == SETTINGS_SERVICES_MAX)
		return error_set(error, -ENOSPC, "more than %d services", SETTINGS_SERVICES_MAX);
	service->port = port;
	service->identity = identity;
	service->socket = strdup(socket);
	if (!service->socket)
		return error_set(error, -ENOMEM, "out of memory");
	settings->service_count++;
	return 0;
}

/* One part of the option --vm behind the name. */
static int settings_vm_part(struct settings_vm *vm, char *part, struct error *error)
{
	uint64_t number;

	if (strncmp(part, "cid=", 4) == 0) {
		if (settings_number(part + 4, 0, UINT64_MAX, &vm->cid) < 0)
			return error_set(error, -EINVAL, "VM '%s': '%s' is no cid", vm->name,
					 part + 4);
	} else if (strncmp(part, "socket=", 7) == 0) {
		vm->socket = part + 7;
	} else if (strncmp(part, "host-socket=", 12) == 0) {
		vm->host_socket = part + 12;
	} else if (strncmp(part, "group=", 6) == 0) {
		return settings_vm_add_group(vm, part + 6, error);
	} else if (strncmp(part, "limit-mib-s=", 12) == 0) {
		if (settings_number(part + 12, 0, SETTINGS_LIMIT_MIB_MAX, &number) < 0)
			return error_set(error, -EINVAL,
					 "VM '%s': limit-mib-s is '%s': expected 0 "
					 "to %u",
					 vm->name, part + 12, SETTINGS_LIMIT_MIB_MAX);
		vm->limit_bytes_per_s = number << 20;
	} else {
		return error_set(error, -EINVAL,
				 "VM '%s': '%s' is none of cid=, socket=, "
				 "host-socket=, group=, limit-mib-s=",
				 vm->name, part);
	}
	return 0;
}

int settings_add_vm(struct settings *settings, const char *text, struct error *error)
{
	autofree char *copy = strdup(text);
	struct settings_vm vm = { 0 };
	char *rest = copy, *part;
	int status = 0;

	if (!copy)
		return error_set(error, -ENOMEM, "out of memory");
	vm.name = strsep(&rest, ",");
	while (status == 0 && (part = strsep(&rest, ",")))
		status = settings_vm_part(&vm, part, error);
	return status < 0 ? status : settings_put_vm(settings, &vm, error);
}

int settings_add_service(struct settings *settings, const char *text, struct error *error)
{
	autofree char *copy = strdup(text);
	char *rest = copy, *number, *socket, *option;
	uint64_t port;

	if (!copy)
		return error_set(error, -ENOMEM, "out of memory");
	number = strsep(&rest, "=");
	if (!rest || settings_number(number, 0, UINT32_MAX - 1, &port) < 0)
		return error_set(error, -EINVAL, "service '%s': expected PORT=PATH[,identity]",
				 text);
	socket = strsep(&rest, ",");
	option = rest;
	if (option && strcmp(option, "identity") != 0)
		return error_set(error, -EINVAL, "service '%s': unknown option '%s'", text, option);
	return settings_put_service(settings, (uint32_t)port, socket, option != NULL, error);
}

/* Puts file and line before the sentence that is there. */
static int settings_place(struct config *config, config_setting_t *group, struct error *error)
{
	return error_prefix(error, "%s:%u", config->path, config_setting_source_line(group));
}

static int settings_load_vm(struct settings *settings, struct config *config,
			    config_setting_t *group, struct error *error)
{
	static const char *const known[] = { "name",   "cid",	      "socket", "host_socket",
					     "groups", "limit_mib_s", NULL };
	const char *name = NULL, *socket = NULL, *host_socket = NULL;
	struct settings_vm vm = { 0 };
	int64_t cid = 0, limit = 0;

	if (config_get_string(config, group, "name", &name, error) < 0 ||
	    config_get_integer(config, group, "cid", VIRTIO_VSOCK_CID_FIRST, SETTINGS_CID_MAX, &cid,
			       error) < 0 ||
	    config_get_string(config, group, "socket", &socket, error) < 0 ||
	    config_get_string(config, group, "host_socket", &host_socket, error) < 0 ||
	    config_get_integer(config, group, "limit_mib_s", 0, SETTINGS_LIMIT_MIB_MAX, &limit,
			       error) < 0 ||
	    config_check_unknown(config, group, known, error) < 0)
		return -EINVAL;
	vm.name = (char *)name;
	vm.cid = (uint64_t)cid;
	vm.socket = (char *)socket;
	vm.host_socket = (char *)host_socket;
	vm.limit_bytes_per_s = (uint64_t)limit << 20;
	if (name && settings_load_groups(&vm, config, group, error) < 0)
		return -EINVAL;
	if (settings_put_vm(settings, &vm, error) < 0)
		return settings_place(config, group, error);
	return 0;
}

static int settings_load_service(struct settings *settings, struct config *config,
				 config_setting_t *group, struct error *error)
{
	static const char *const known[] = { "port", "socket", "identity", NULL };
	const char *socket = NULL;
	bool identity = false;
	int64_t port = -1;
	int found = config_get_integer(config, group, "port", 0, UINT32_MAX - 1, &port, error);

	if (found == 0)
		return error_set(error, -EINVAL, "%s: a service needs a port", config->path);
	if (found < 0 || config_get_string(config, group, "socket", &socket, error) < 0 ||
	    config_get_boolean(config, group, "identity", &identity, error) < 0 ||
	    config_check_unknown(config, group, known, error) < 0)
		return -EINVAL;
	if (settings_put_service(settings, (uint32_t)port, socket, identity, error) < 0)
		return settings_place(config, group, error);
	return 0;
}

typedef int settings_load_one(struct settings *settings, struct config *config,
			      config_setting_t *group, struct error *error);

/* Each group of the list @name, which may be absent. */
static int settings_load_list(struct settings *settings, struct config *config,
			      config_setting_t *section, const char *name,
			      settings_load_one *load_one, struct error *error)
{
	config_setting_t *list = config_setting_get_member(section, name);

	if (!list)
		return 0;
	if (!config_setting_is_list(list))
		return error_set(error, -EINVAL, "%s:%u: %s: expected a list: ( { ... }, ... )",
				 config->path, config_setting_source_line(list), name);
	for (int i = 0; i < config_setting_length(list); i++) {
		config_setting_t *group = config_setting_get_elem(list, (unsigned int)i);
		int status;

		if (!config_setting_is_group(group))
			return error_set(error, -EINVAL, "%s:%u: %s: expected { ... }",
					 config->path, config_setting_source_line(group), name);
		status = load_one(settings, config, group, error);
		if (status < 0)
			return status;
	}
	return 0;
}

/* A string that wins over what the file says when an option gave it. */
static int settings_load_string(struct config *config, config_setting_t *section, const char *name,
				char **value, struct error *error)
{
	const char *text = NULL;

	if (config_get_string(config, section, name, &text, error) < 0)
		return -EINVAL;
	if (!text || *value)
		return 0;
	*value = strdup(text);
	return *value ? 0 : error_set(error, -ENOMEM, "out of memory");
}

static int settings_load_numbers(struct settings *settings, struct config *config,
				 config_setting_t *section, struct error *error)
{
	int64_t spin_us = settings->spin_us, connections = settings->connections;
	int64_t threads = settings->threads;

	if (config_get_integer(config, section, "spin_us", 0, SETTINGS_SPIN_US_MAX, &spin_us,
			       error) < 0 ||
	    config_get_integer(config, section, "connections", 1, SETTINGS_CONNECTIONS_MAX,
			       &connections, error) < 0 ||
	    config_get_integer(config, section, "threads", 0, SETTINGS_THREADS_MAX, &threads,
			       error) < 0)
		return -EINVAL;
	settings->spin_us = (uint32_t)spin_us;
	settings->connections = (uint32_t)connections;
	settings->threads = (uint32_t)threads;
	return 0;
}

static int settings_load_section(struct settings *settings, struct config *config,
				 config_setting_t *section, struct error *error)
{
	static const char *const known[] = { "spin_us", "connections", "threads", "vms", "services",
					     "rules",	"control",     "metrics", NULL };
	int status = settings_load_numbers(settings, config, section, error);

	if (status == 0)
		status = config_check_unknown(config, section, known, error);
	if (status == 0)
		status =
			settings_load_string(config, section, "control", &settings->control, error);
	if (status == 0)
		status =
			settings_load_string(config, section, "metrics", &settings->metrics, error);
	if (status == 0)
		status = settings_load_list(settings, config, section, "vms", settings_load_vm,
					    error);
	if (status == 0)
		status = settings_load_list(settings, config, section, "services",
					    settings_load_service, error);
	if (status == 0)
		status = settings_load_list(settings, config, section, "rules", settings_load_rule,
					    error);
	return status;
}

int settings_load(struct settings *settings, const char *path, struct error *error)
{
	config_setting_t *section;
	struct config config;
	int status = config_load(&config, path, error);

	if (status < 0)
		return status;
	section = config_section(&config, "switch");
	if (section && config_setting_is_group(section))
		status = settings_load_section(settings, &config, section, error);
	else
		status = error_set(error, -EINVAL, "%s: no section 'switch = { ... };'", path);
	config_close(&config);
	return status;
}

const struct settings_service *settings_find_service(const struct settings *settings, uint32_t port)
{
	for (unsigned int i = 0; i < settings->service_count; i++)
		if (settings->services[i].port == port)
			return &settings->services[i];
	return NULL;
}

enum settings_key {
	KEY_CONFIG = 'c',
	KEY_VERBOSE = 'v',
	KEY_VM = 256,
	KEY_SERVICE,
	KEY_SPIN,
	KEY_CONNECTIONS,
	KEY_THREADS,
	KEY_CONTROL,
	KEY_METRICS,
	KEY_CAPTURE,
};

static const struct argp_option settings_options[] = {
	{ "config", KEY_CONFIG, "FILE", 0,
	  "Read the section 'switch' of FILE (" SETTINGS_FILE " if there is no --vm)", 0 },
	{ "vm", KEY_VM, "NAME,cid=N,socket=PATH[,...]", 0,
	  "Serve a VM: its VMM connects to PATH, host programs to host-socket=PATH (default: "
	  "PATH.host), and what the guest connects to port P of CID 2 goes to HOST-SOCKET_P; "
	  "group=NAME puts it into a group, limit-mib-s=N limits what it sends",
	  0 },
	{ "control", KEY_CONTROL, "PATH", 0,
	  "Take commands and tell the state there; by default switch.control in /run/causeway, "
	  "unless VMs are named by options alone",
	  0 },
	{ "metrics", KEY_METRICS, "PATH|127.0.0.1:PORT", 0,
	  "Serve metrics for Prometheus over HTTP there", 0 },
	{ "capture", KEY_CAPTURE, "FILE", 0, "Write all packets to FILE, for Wireshark", 0 },
	{ "service", KEY_SERVICE, "PORT=PATH[,identity]", 0,
	  "Take guests' connections to PORT to the Unix socket PATH; with identity, tell the "
	  "daemon the guest's CID first",
	  0 },
	{ "spin-us", KEY_SPIN, "N", 0, "Spin at most N microseconds before sleeping (50)", 0 },
	{ "connections", KEY_CONNECTIONS, "N", 0, "At most N connections for each VM (1024)", 0 },
	{ "threads", KEY_THREADS, "N", 0,
	  "Serve all VMs with N threads (0: each VM has a thread of its own)", 0 },
	{ "verbose", KEY_VERBOSE, NULL, 0, "Log every connection", 0 },
	{ 0 },
};

struct settings_parse {
	struct settings *settings;
	struct error *error;
	int64_t spin_us, connections, threads; /* -1: not given; what is given wins over the file */
};

/* The number of option @name, for @value; a negative errno value with a sentence. */
static int settings_option_number(struct settings_parse *parse, const char *name,
				  const char *argument, uint32_t minimum, uint32_t maximum,
				  int64_t *value)
{
	uint64_t number;

	if (settings_number(argument, minimum, maximum, &number) < 0)
		return error_set(parse->error, -EINVAL, "--%s is '%s': expected %u to %u", name,
				 argument, minimum, maximum);
	*value = (int64_t)number;
	return 0;
}

/* Keeps a copy of what an option says. */
static int settings_option_string(struct settings_parse *parse, char **value, const char *argument)
{
	free(*value);
	*value = strdup(argument);
	return *value ? 0 : error_set(parse->error, -ENOMEM, "out of memory");
}

static error_t settings_option(int key, char *argument, struct argp_state *state)
{
	struct settings_parse *parse = state->input;
	int status = 0;

	switch (key) {
	case KEY_CONFIG:
		status = settings_option_string(parse, &parse->settings->config, argument);
		break;
	case KEY_CONTROL:
		status = settings_option_string(parse, &parse->settings->control, argument);
		break;
	case KEY_METRICS:
		status = settings_option_string(parse, &parse->settings->metrics, argument);
		break;
	case KEY_CAPTURE:
		status = settings_option_string(parse, &parse->settings->capture, argument);
		break;
	case KEY_VM:
		status = settings_add_vm(parse->settings, argument, parse->error);
		break;
	case KEY_SERVICE:
		status = settings_add_service(parse->settings, argument, parse->error);
		break;
	case KEY_SPIN:
		status = settings_option_number(parse, "spin-us", argument, 0, SETTINGS_SPIN_US_MAX,
						&parse->spin_us);
		break;
	case KEY_CONNECTIONS:
		status = settings_option_number(parse, "connections", argument, 1,
						SETTINGS_CONNECTIONS_MAX, &parse->connections);
		break;
	case KEY_THREADS:
		status = settings_option_number(parse, "threads", argument, 0, SETTINGS_THREADS_MAX,
						&parse->threads);
		break;
	case KEY_VERBOSE:
		parse->settings->verbose = true;
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return -status;
}

const char *settings_control_default(void)
{
	static char path[SETTINGS_PATH_BYTES];
	const char *runtime = geteuid() ? getenv("XDG_RUNTIME_DIR") : NULL;

	snprintf(path, sizeof(path), "%s/causeway/switch.control", runtime ? runtime : "/run");
	return path;
}

int settings_read(struct settings *settings, int argc, char **argv, struct error *error)
{
	static const struct argp argp = {
		.options = settings_options,
		.parser = settings_option,
		.doc = "Carry AF_VSOCK sockets between virtual machines and this host.",
	};
	struct settings_parse parse = { settings, error, -1, -1, -1 };
	bool by_default = false;
	int status;

	memset(settings, 0, sizeof(*settings));
	settings->spin_us = SETTINGS_SPIN_US_DEFAULT;
	settings->connections = SETTINGS_CONNECTIONS_DEFAULT;
	status = -argp_parse(&argp, argc, argv, 0, NULL, &parse);
	if (status == 0 && !settings->config && settings->vm_count == 0 &&
	    access(SETTINGS_FILE, F_OK) == 0)
		status = settings_option_string(&parse, &settings->config, SETTINGS_FILE);
	if (status == 0 && !settings->control && (settings->config || settings->vm_count == 0))
		by_default = true;
	if (status == 0 && settings->config)
		status = settings_load(settings, settings->config, error);
	if (status == 0 && by_default && !settings->control)
		status = settings_option_string(&parse, &settings->control,
						settings_control_default());
	if (status < 0)
		return status;
	if (parse.spin_us >= 0)
		settings->spin_us = (uint32_t)parse.spin_us;
	if (parse.connections >= 0)
		settings->connections = (uint32_t)parse.connections;
	if (parse.threads >= 0)
		settings->threads = (uint32_t)parse.threads;
	return 0;
}

void settings_free(struct settings *settings)
{
	while (settings->vm_count)
		settings_free_vm(&settings->vms[--settings->vm_count]);
	for (unsigned int i = 0; i < settings->service_count; i++)
		free(settings->services[i].socket);
	free(settings->config);
	free(settings->control);
	free(settings->metrics);
	free(settings->capture);
	memset(settings, 0, sizeof(*settings));
}
