/* SPDX-License-Identifier: Apache-2.0 */
/*
 * causeway tenant cdi: a Container Device Interface file (CDI 0.5.0) with a device for each tenant.
 *
 * A container that is given the device "causeway/tenant=NAME" gets, read-only, the folder of that
 * tenant's own socket (causeway.conf(5)) as /run/causeway, so that causeway-cudad knows whose
 * programs they are whatever user they run as and a restarted daemon is found again; the client's
 * libcuda.so.1 and libnvidia-ml.so.1; and the environment that lets the loader find these. Nothing
 * of the container's image is changed, and no device file is needed.
 */
#include "cli/cdi.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "lib/base/clean.h"
#include "lib/base/config.h"
#include "lib/base/log.h"
#include "share/tenants.h"

#define CDI_VERSION    "0.5.0"
#define CDI_KIND       "causeway/tenant"
#define CDI_LIBRARIES  "/usr/lib/causeway" /* in the container */
#define CDI_RUN	       "/run/causeway"
#define CDI_JSON_FLAGS (JSON_INDENT(2) | JSON_SORT_KEYS)

/* Images of NVIDIA's name these folders; ours comes first, the rest of the path stays theirs. */
#define CDI_LOADER_PATH CDI_LIBRARIES ":/usr/local/nvidia/lib:/usr/local/nvidia/lib64"

/* cdi_name_valid - whether CDI allows a device of that name */
static bool cdi_name_valid(const char *name)
{
	size_t length = strlen(name);

	for (size_t i = 0; i < length; i++) {
		if (!isalnum((unsigned char)name[i]) && !strchr("_-.:", name[i]))
			return false;
	}
	return length && isalnum((unsigned char)*name) && isalnum((unsigned char)name[length - 1]);
}

static json_t *cdi_mount(const char *from, const char *to)
{
	return json_pack("{s:s, s:s, s:[s, s, s, s]}", "hostPath", from, "containerPath", to,
			 "options", "ro", "nosuid", "nodev", "bind");
}

/* cdi_device - one tenant's device; NULL with a sentence */
static json_t *cdi_device(const struct tenant_settings *tenant, struct error *error)
{
	char folder[TENANT_PATH_BYTES], server[TENANT_PATH_BYTES + 64];
	const char *file;

	if (!*tenant->socket || !cdi_name_valid(tenant->name)) {
		error_set(error, -EINVAL, "tenant '%s' %s", tenant->name,
			  *tenant->socket ? "cannot be a device's name: expected letters, digits "
					    "and _-.: within"
					  : "has no socket of its own: expected socket = "
					    "\"PATH\" in its settings");
		return NULL;
	}
	strcpy(folder, tenant->socket);
	file = strrchr(folder, '/') + 1;
	snprintf(server, sizeof(server), "CAUSEWAY_CUDA_SERVER=ring:" CDI_RUN "/%s", file);
	folder[file - folder - 1] = 0;
	return json_pack("{s:s, s:{s:[s], s:[o]}}", "name", tenant->name, "containerEdits", "env",
			 server, "mounts", cdi_mount(*folder ? folder : "/", CDI_RUN));
}

/* cdi_edits - what every tenant's containers get; NULL with a sentence where a library is missing
 */
static json_t *cdi_edits(const char *library, struct error *error)
{
	static const char *const names[] = { "libcuda.so.1", "libnvidia-ml.so.1" };
	json_t *mounts = json_array();

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		char path[PATH_MAX], inside[sizeof(CDI_LIBRARIES) + 32];
		autofree char *real = NULL;

		snprintf(path, sizeof(path), "%s/%s", library, names[i]);
		real = realpath(path,
				NULL); /* a mount of a link would be one of its target's name */
		if (!real) {
			error_set(error, -errno,
				  "%s: %s (expected the client's libraries, of package "
				  "causeway-guest, or --library FOLDER)",
				  path, strerror(errno));
			json_decref(mounts);
			return NULL;
		}
		snprintf(inside, sizeof(inside), CDI_LIBRARIES "/%s", names[i]);
		json_array_append_new(mounts, cdi_mount(real, inside));
	}
	return json_pack("{s:[s], s:o}", "env", "LD_LIBRARY_PATH=" CDI_LOADER_PATH, "mounts",
			 mounts);
}

/* cdi_devices - of the tenant, or of all that have a socket; NULL with a sentence */
static json_t *cdi_devices(const struct tenants *tenants, const struct cdi_options *options,
			   struct error *error)
{
	json_t *devices = json_array();

	for (size_t i = 0; i < tenants->count; i++) {
		const struct tenant_settings *tenant = &tenants->list[i];
		json_t *device;

		if (options->tenant ? strcmp(options->tenant, tenant->name) != 0 : !*tenant->socket)
			continue;
		device = cdi_device(tenant, error);
		if (!device) {
			json_decref(devices);
			return NULL;
		}
		json_array_append_new(devices, device);
	}
	if (json_array_size(devices))
		return devices;
	json_decref(devices);
	if (options->tenant)
		error_set(error, -ENOENT, "%s: there is no tenant '%s'", options->config,
			  options->tenant);
	else
		error_set(error, -ENOENT,
			  "%s: no tenant has a socket of its own: expected socket = \"PATH\"",
			  options->config);
	return NULL;
}

static json_t *cdi_document(const struct cdi_options *options, struct error *error)
{
	json_t *devices = NULL, *edits = NULL;
	struct tenants tenants = { 0 };
	struct config config;

	if (config_load(&config, options->config, error) < 0)
		return NULL;
	if (tenants_read(&tenants, &config, error) >= 0)
		devices = cdi_devices(&tenants, options, error);
	tenants_free(&tenants);
	config_close(&config);
	if (devices)
		edits = cdi_edits(options->library, error);
	if (!edits) {
		json_decref(devices);
		return NULL;
	}
	return json_pack("{s:s, s:s, s:o, s:o}", "cdiVersion", CDI_VERSION, "kind", CDI_KIND,
			 "devices", devices, "containerEdits", edits);
}

/* cdi_save - a whole file or none: engines watch the folder; 0 or -errno with a sentence */
static int cdi_save(const json_t *document, const char *path, struct error *error)
{
	char fresh[PATH_MAX];
	int status = 0;

	/* Engines read what ends in .json or .yaml. */
	snprintf(fresh, sizeof(fresh), "%s.new", path);
	if (json_dump_file(document, fresh, CDI_JSON_FLAGS) < 0 || rename(fresh, path) < 0) {
		status = error_set(error, -errno, "cannot write '%s': %s", path, strerror(errno));
		unlink(fresh);
	}
	return status;
}

int cdi_write(const struct cdi_options *options)
{
	struct error error = { 0 };
	json_t *document = cdi_document(options, &error);
	int status = document ? 0 : -1;

	if (document && options->output)
		status = cdi_save(document, options->output, &error);
	else if (document && (json_dumpf(document, stdout, CDI_JSON_FLAGS) < 0 ||
			      putchar('\n') < 0 || fflush(stdout)))
		status = error_set(&error, -EIO, "cannot write to standard output");
	json_decref(document);
	if (status < 0)
		log_error("%s", error.text);
	return status < 0 ? 1 : 0;
}
