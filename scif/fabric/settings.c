/* SPDX-License-Identifier: Apache-2.0 */
/* Options and configuration of scifd; see settings.h. */
#include "scif/fabric/settings.h"

#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/clean.h"
#include "lib/base/config.h"
#include "proto/scif-virtio.h"

#define SETTINGS_SPIN_US_DEFAULT   50
#define SETTINGS_SPIN_US_MAX	   10000
#define SETTINGS_WORKERS_DEFAULT   2
#define SETTINGS_WORKERS_MAX	   16
#define SETTINGS_ENDPOINTS_DEFAULT 4096
#define SETTINGS_WINDOWS_DEFAULT   65536
#define SETTINGS_PINNED_DEFAULT	   (1ull << 40)
#define SETTINGS_SHM_DEFAULT	   (16ull << 30)
#define SETTINGS_MEMORY_DEFAULT	   (8ull << 30)
#define SETTINGS_CORES_DEFAULT	   4
#define SETTINGS_FILE		   "/etc/causeway/causeway.conf"

/* A number with K, M, G or T behind it, powers of 1024; -EINVAL outside the bounds. */
static int settings_number(const char *text, uint64_t minimum, uint64_t maximum, uint64_t *number)
{
	static const char units[] = "KMGT";
	const char *unit;
	char *end;

	errno = 0;
	*number = strtoull(text, &end, 10);
	if (errno || end == text || *text == '-')
		return -EINVAL;
	if (*end) {
		unit = strchr(units, *end);
		if (!unit || end[1] || *number >> (54 - 10 * (unit - units)))
			return -EINVAL;
		*number <<= 10 * (unit - units + 1);
	}
	return *number < minimum || *number > maximum ? -EINVAL : 0;
}

/* One setting of a VM or card: its name, bounds, and where it goes. */
struct settings_item {
	const char *name;
	char **text;
	uint64_t *number;
	uint64_t minimum, maximum;
};

/* Takes "name=value" for one of the items; -errno with a sentence. */
static int settings_take(const char *what, const char *owner, const char *part,
			 const struct settings_item *items, struct error *error)
{
	size_t length = strcspn(part, "=");

	for (; items->name; items++) {
		const char *value = part + length + 1;

		if (strlen(items->name) != length || strncmp(part, items->name, length) != 0 ||
		    !part[length])
			continue;
		if (items->number) {
			if (settings_number(value, items->minimum, items->maximum, items->number))
				return error_set(error, -EINVAL,
						 "%s '%s': %s is '%s': expected %llu to %llu", what,
						 owner, items->name, value,
						 (unsigned long long)items->minimum,
						 (unsigned long long)items->maximum);
			return 0;
		}
		free(*items->text);
		*items->text = strdup(value);
		return *items->text ? 0 : error_set(error, -ENOMEM, "out of memory");
	}
	return error_set(error, -EINVAL, "%s '%s': unknown setting '%s'", what, owner, part);
}

/* "NAME,part,part…": the name, and each part to settings_take(). */
static int settings_parse_list(const char *what, const char *text, char **name,
			       const struct settings_item *items, struct error *error)
{
	autofree char *copy = strdup(text);
	char *rest = copy, *part;
	int status = 0;

	if (!copy)
		return error_set(error, -ENOMEM, "out of memory");
	part = strsep(&rest, ",");
	*name = strdup(part);
	if (!*name)
		return error_set(error, -ENOMEM, "out of memory");
	if (!**name || strlen(*name) > 31)
		return error_set(error, -EINVAL, "%s '%s': its name must have 1 to 31 characters",
				 what, text);
	while (status == 0 && (part = strsep(&rest, ",")))
		status = settings_take(what, *name, part, items, error);
	return status;
}

/* Whether a VM or card of that name, or "host", exists. */
static bool settings_name_taken(const struct settings *settings, const char *name)
{
	for (unsigned int i = 0; i < settings->vm_count; i++) {
		if (strcmp(settings->vms[i].name, name) == 0)
			return true;
	}
	for (unsigned int i = 0; i < settings->card_count; i++) {
		if (strcmp(settings->cards[i].name, name) == 0)
			return true;
	}
	return strcmp(name, "host") == 0;
}

static void settings_free_vm(struct settings_vm *vm)
{
	free(vm->name);
	free(vm->socket);
	free(vm->sees);
	free(vm->hears);
	memset(vm, 0, sizeof(*vm));
}

static void settings_free_card(struct settings_card *card)
{
	free(card->name);
	free(card->socket);
	free(card->device);
	free(card->vm.socket);
	memset(card, 0, sizeof(*card));
}

int settings_add_vm(struct settings *settings, const char *text, struct error *error)
{
	struct settings_vm *vm = &settings->vms[settings->vm_count];
	uint64_t endpoints = SETTINGS_ENDPOINTS_DEFAULT, windows = SETTINGS_WINDOWS_DEFAULT;
	uint64_t pinned = SETTINGS_PINNED_DEFAULT, bandwidth = 0, cid = 0;
	const struct settings_item items[] = {
		{ "socket", &vm->socket, NULL, 0, 0 },
		{ "sees", &vm->sees, NULL, 0, 0 },
		{ "hears", &vm->hears, NULL, 0, 0 },
		{ "endpoints", NULL, &endpoints, 1, 65535 },
		{ "windows", NULL, &windows, 1, UINT32_MAX - 1 },
		{ "pinned", NULL, &pinned, SCIF_VIRTIO_PAGE_BYTES, INT64_MAX },
		{ "bandwidth", NULL, &bandwidth, 0, INT64_MAX },
		{ "cid", NULL, &cid, 3, UINT32_MAX - 1 },
		{ NULL, NULL, NULL, 0, 0 },
	};
	int status;

	if (settings->vm_count == SETTINGS_VMS_MAX)
		return error_set(error, -ENOSPC, "more than %d VMs", SETTINGS_VMS_MAX);
	memset(vm, 0, sizeof(*vm));
	status = settings_parse_list("VM", text, &vm->name, items, error);
	if (status == 0 && !vm->socket)
		status = error_set(error, -EINVAL, "VM '%s' needs a socket", vm->name);
	if (status == 0 && settings_name_taken(settings, vm->name))
		status = error_set(error, -EEXIST, "the name '%s' is given twice", vm->name);
	if (status < 0) {
		settings_free_vm(vm);
		return status;
	}
	vm->endpoints = (uint32_t)endpoints;
	vm->windows = (uint32_t)windows;
	vm->pinned_bytes = pinned;
	vm->bytes_per_second = bandwidth;
	vm->cid = (uint32_t)cid;
	settings->vm_count++;
	return 0;
}

int settings_add_card(struct settings *settings, const char *text, struct error *error)
{
	struct settings_card *card = &settings->cards[settings->card_count];
	uint64_t memory = SETTINGS_MEMORY_DEFAULT, cores = SETTINGS_CORES_DEFAULT, node = 1;
	const struct settings_item items[] = {
		{ "socket", &card->socket, NULL, 0, 0 },
		{ "device", &card->device, NULL, 0, 0 },
		{ "vm", &card->vm.socket, NULL, 0, 0 },
		{ "memory", NULL, &memory, 1 << 20, INT64_MAX },
		{ "cores", NULL, &cores, 1, 65536 },
		{ "node", NULL, &node, 1, UINT16_MAX },
		{ NULL, NULL, NULL, 0, 0 },
	};
	int status;

	if (settings->card_count == SETTINGS_CARDS_MAX)
		return error_set(error, -ENOSPC, "more than %d cards", SETTINGS_CARDS_MAX);
	memset(card, 0, sizeof(*card));
	status = settings_parse_list("card", text, &card->name, items, error);
	if (status == 0 && !!card->socket + !!card->device + !!card->vm.socket != 1)
		status = error_set(error, -EINVAL,
				   "card '%s' needs one of socket= (of its processes), device= and "
				   "vm= (of its VMM)",
				   card->name);
	if (status == 0 && settings_name_taken(settings, card->name))
		status = error_set(error, -EEXIST, "the name '%s' is given twice", card->name);
	if (status < 0) {
		settings_free_card(card);
		return status;
	}
	card->vm.name = card->name;
	card->vm.endpoints = SETTINGS_ENDPOINTS_DEFAULT;
	card->vm.windows = SETTINGS_WINDOWS_DEFAULT;
	card->vm.pinned_bytes = SETTINGS_PINNED_DEFAULT;
	card->memory_bytes = memory;
	card->cores = (uint32_t)cores;
	card->device_node = (uint16_t)node;
	settings->card_count++;
	return 0;
}

/* Each string of the list @name, as an option would give it. */
static int settings_load_list(struct settings *settings, struct config *config,
			      config_setting_t *group, const char *name,
			      int (*add)(struct settings *, const char *, struct error *),
			      struct error *error)
{
	config_setting_t *list = config_setting_get_member(group, name);
	int status = 0;

	for (int i = 0; list && i < config_setting_length(list) && status == 0; i++) {
		const char *text = config_setting_get_string_elem(list, i);

		if (!text)
			status = error_set(error, -EINVAL, "%s: scif.%s: expected a list of texts",
					   config->path, name);
		else if (add(settings, text, error) < 0)
			status = error_prefix(error, "%s: scif.%s", config->path, name);
	}
	return status;
}

static int settings_load(struct settings *settings, const char *path, struct error *error)
{
	static const char *const known[] = { "vms",	"cards",	  "socket",
					     "control", "metrics",	  "spin",
					     "workers", "request_queues", NULL };
	int64_t spin = settings->spin_us, workers = settings->workers;
	int64_t queues = settings->request_queues;
	const char *socket = NULL, *control = NULL, *metrics = NULL;
	struct config config;
	config_setting_t *group;
	int status = config_load(&config, path, error);

	if (status < 0)
		return status;
	group = config_section(&config, "scif");
	if (group &&
	    (config_check_unknown(&config, group, known, error) < 0 ||
	     config_get_string(&config, group, "socket", &socket, error) < 0 ||
	     config_get_string(&config, group, "control", &control, error) < 0 ||
	     config_get_string(&config, group, "metrics", &metrics, error) < 0 ||
	     config_get_integer(&config, group, "spin", 0, SETTINGS_SPIN_US_MAX, &spin, error) <
		     0 ||
	     config_get_integer(&config, group, "workers", 1, SETTINGS_WORKERS_MAX, &workers,
				error) < 0 ||
	     config_get_integer(&config, group, "request_queues", 1, SCIF_VIRTIO_REQUEST_QUEUES_MAX,
				&queues, error) < 0 ||
	     settings_load_list(settings, &config, group, "cards", settings_add_card, error) < 0 ||
	     settings_load_list(settings, &config, group, "vms", settings_add_vm, error) < 0))
		status = -EINVAL;
	if (status == 0)
		status = tenants_read(&settings->tenants, &config, error);
	if (status == 0)
		status = journal_settings_read(&settings->accounting, &config, error);
	if (status == 0 && socket && !settings->socket)
		settings->socket = strdup(socket);
	if (status == 0 && control && !settings->control)
		settings->control = strdup(control);
	if (status == 0 && metrics && !settings->metrics)
		settings->metrics = strdup(metrics);
	settings->spin_us = (uint32_t)spin;
	settings->workers = (uint32_t)workers;
	settings->request_queues = (uint32_t)queues;
	config_close(&config);
	return status;
}

enum settings_key {
	KEY_CONFIG = 'c',
	KEY_VERBOSE = 'v',
	KEY_SOCKET = 's',
	KEY_VM = 256,
	KEY_CARD,
	KEY_CONTROL,
	KEY_METRICS,
	KEY_SPIN,
	KEY_WORKERS,
	KEY_QUEUES,
};

static const struct argp_option settings_options[] = {
	{ "config", KEY_CONFIG, "FILE", 0,
	  "Read the section 'scif' of FILE (" SETTINGS_FILE " if no VM, card or socket is named)",
	  0 },
	{ "vm", KEY_VM,
	  "NAME,socket=PATH[,sees=NAME+NAME][,hears=NAME][,endpoints=N][,windows=N][,pinned=BYTES]"
	  "[,bandwidth=BYTES]",
	  0,
	  "Serve a VM, whose VMM connects to PATH. It sees every card, or what sees= names: cards, "
	  "other VMs, host. Programs of a card with device= that hears= names reach its ports",
	  0 },
	{ "card", KEY_CARD,
	  "NAME,socket=PATH|vm=PATH|device=PATH[,node=N][,memory=BYTES][,cores=N]", 0,
	  "A card: software, whose processes connect to PATH; a VM, whose VMM does; or node N (1) "
	  "of the SCIF driver at "
	  "PATH",
	  0 },
	{ "socket", KEY_SOCKET, "PATH", 0, "Host processes connect to PATH", 0 },
	{ "control", KEY_CONTROL, "PATH", 0, "Status is asked at PATH", 0 },
	{ "metrics", KEY_METRICS, "PATH|127.0.0.1:PORT", 0,
	  "Serve metrics for Prometheus over HTTP there", 0 },
	{ "spin-us", KEY_SPIN, "N", 0, "Spin at most N microseconds before sleeping (50)", 0 },
	{ "workers", KEY_WORKERS, "N", 0, "Threads that copy (2)", 0 },
	{ "request-queues", KEY_QUEUES, "N", 0, "Request queues of each VM's device (1)", 0 },
	{ "verbose", KEY_VERBOSE, NULL, 0, "Log more", 0 },
	{ 0 },
};

struct settings_parse {
	struct settings *settings;
	struct error *error;
	const char *config;
	int64_t spin_us, workers, request_queues; /* -1: not given; what is given wins */
};

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

static int settings_option_path(struct settings_parse *parse, char **place, const char *argument)
{
	free(*place);
	*place = strdup(argument);
	return *place ? 0 : error_set(parse->error, -ENOMEM, "out of memory");
}

static error_t settings_option(int key, char *argument, struct argp_state *state)
{
	struct settings_parse *parse = state->input;
	struct settings *settings = parse->settings;
	int status = 0;

	switch (key) {
	case KEY_CONFIG:
		parse->config = argument;
		break;
	case KEY_VM:
		status = settings_add_vm(settings, argument, parse->error);
		break;
	case KEY_CARD:
		status = settings_add_card(settings, argument, parse->error);
		break;
	case KEY_SOCKET:
		status = settings_option_path(parse, &settings->socket, argument);
		break;
	case KEY_CONTROL:
		status = settings_option_path(parse, &settings->control, argument);
		break;
	case KEY_METRICS:
		status = settings_option_path(parse, &settings->metrics, argument);
		break;
	case KEY_SPIN:
		status = settings_option_number(parse, "spin-us", argument, 0, SETTINGS_SPIN_US_MAX,
						&parse->spin_us);
		break;
	case KEY_WORKERS:
		status = settings_option_number(parse, "workers", argument, 1, SETTINGS_WORKERS_MAX,
						&parse->workers);
		break;
	case KEY_QUEUES:
		status = settings_option_number(parse, "request-queues", argument, 1,
						SCIF_VIRTIO_REQUEST_QUEUES_MAX,
						&parse->request_queues);
		break;
	case KEY_VERBOSE:
		settings->verbose = true;
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return -status;
}

void settings_defaults(struct settings *settings)
{
	memset(settings, 0, sizeof(*settings));
	settings->spin_us = SETTINGS_SPIN_US_DEFAULT;
	settings->workers = SETTINGS_WORKERS_DEFAULT;
	settings->request_queues = 1;
	settings->shm_bytes = SETTINGS_SHM_DEFAULT;
}

int settings_read(struct settings *settings, int argc, char **argv, struct error *error)
{
	static const struct argp argp = {
		.options = settings_options,
		.parser = settings_option,
		.doc = "Carry SCIF between virtual machines, this host and its cards.",
	};
	struct settings_parse parse = { settings, error, NULL, -1, -1, -1 };
	int status;

	settings_defaults(settings);
	status = -argp_parse(&argp, argc, argv, 0, NULL, &parse);
	if (!parse.config && !settings->vm_count && !settings->card_count && !settings->socket &&
	    access(SETTINGS_FILE, F_OK) == 0)
		parse.config = SETTINGS_FILE;
	if (status == 0 && parse.config)
		status = settings_load(settings, parse.config, error);
	if (status < 0)
		return status;
	if (parse.spin_us >= 0)
		settings->spin_us = (uint32_t)parse.spin_us;
	if (parse.workers >= 0)
		settings->workers = (uint32_t)parse.workers;
	if (parse.request_queues >= 0)
		settings->request_queues = (uint32_t)parse.request_queues;
	if (!settings->vm_count && !settings->card_count && !settings->socket)
		return error_set(error, -EINVAL,
				 "nobody to serve: give --vm, --card, --socket or --config");
	return 0;
}

void settings_free(struct settings *settings)
{
	for (unsigned int i = 0; i < settings->vm_count; i++)
		settings_free_vm(&settings->vms[i]);
	for (unsigned int i = 0; i < settings->card_count; i++)
		settings_free_card(&settings->cards[i]);
	free(settings->socket);
	free(settings->control);
	free(settings->metrics);
	tenants_free(&settings->tenants);
	journal_settings_free(&settings->accounting);
	memset(settings, 0, sizeof(*settings));
}
