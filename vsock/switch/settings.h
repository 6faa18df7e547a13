/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What causeway-switch is told: VMs, services and bounds, from options and from the section
 * `switch` of a configuration file. Read once, before threads start; constant from then on.
 */
#ifndef CAUSEWAY_VSOCK_SWITCH_SETTINGS_H
#define CAUSEWAY_VSOCK_SWITCH_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/error.h"

#define SETTINGS_VMS_MAX      256
#define SETTINGS_SERVICES_MAX 64
#define SETTINGS_THREADS_MAX  64

struct settings_vm {
	char *name;
	uint64_t cid;
	char *socket;	   /* where the VMM connects */
	char *host_socket; /* where host programs connect; guest ports P go to host_socket_P */
};

struct settings_service {
	uint32_t port;
	char *socket;
	bool identity; /* write the identity preamble first */
};

struct settings {
	struct settings_vm vms[SETTINGS_VMS_MAX];
	unsigned int vm_count;
	struct settings_service services[SETTINGS_SERVICES_MAX];
	unsigned int service_count;
	uint32_t spin_us;
	uint32_t threads;     /* that share all VMs; 0: each VM has its own */
	uint32_t connections; /* of one VM at most */
	bool verbose;
};

/**
 * settings_read - options (exits after --help and on misuse, as argp does) and configuration file
 *
 * Return: 0 or -errno with a sentence. Either way the caller owes settings_free().
 */
int settings_read(struct settings *settings, int argc, char **argv, struct error *error);
void settings_free(struct settings *settings);

/* settings_add_vm - from NAME,cid=N,socket=PATH[,host-socket=PATH]; 0 or -errno */
int settings_add_vm(struct settings *settings, const char *text, struct error *error);

/* settings_add_service - from PORT=PATH[,identity]; 0 or -errno */
int settings_add_service(struct settings *settings, const char *text, struct error *error);

/* settings_load - add what the section `switch` of the file at @path says; 0 or -errno */
int settings_load(struct settings *settings, const char *path, struct error *error);

/* settings_find_service - the service for @port, or NULL */
const struct settings_service *settings_find_service(const struct settings *settings,
						     uint32_t port);

#endif
