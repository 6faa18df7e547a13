/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What causeway-switch is told: VMs, services, rules and bounds, from options and from the section
 * `switch` of a configuration file.
 *
 * Threads: the main thread changes VMs, services and rules while workers run, with
 * switch.rules_lock held for writing (control.c, reload.c); the rest is constant once they run.
 */
#ifndef CAUSEWAY_VSOCK_SWITCH_SETTINGS_H
#define CAUSEWAY_VSOCK_SWITCH_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/config.h"
#include "lib/base/error.h"

#define SETTINGS_VMS_MAX       256
#define SETTINGS_SERVICES_MAX  64
#define SETTINGS_THREADS_MAX   64
#define SETTINGS_RULES_MAX     256
#define SETTINGS_GROUPS_MAX    8
#define SETTINGS_GROUP_BYTES   32
#define SETTINGS_LIMIT_MIB_MAX (1u << 20)

#define SETTINGS_GROUP_DEFAULT "default" /* of VMs that name none */

struct settings_vm {
	char *name;
	uint64_t cid;
	char *socket;	   /* where the VMM connects */
	char *host_socket; /* where host programs connect; guest ports P go to host_socket_P */
	char groups[SETTINGS_GROUPS_MAX][SETTINGS_GROUP_BYTES];
	unsigned int group_count;
	uint64_t limit_bytes_per_s; /* of what the guest sends; 0: no limit */
	bool added;		    /* while the switch runs; not from options or file */
};

struct settings_service {
	uint32_t port;
	char *socket;
	bool identity; /* write the identity preamble first */
};

/* Whom a side of a rule means. */
enum settings_party_kind { SETTINGS_PARTY_ANY, SETTINGS_PARTY_CID, SETTINGS_PARTY_GROUP };

/* One side of a connection, in a rule. */
struct settings_party {
	enum settings_party_kind kind;
	uint64_t cid;
	char group[SETTINGS_GROUP_BYTES];
};

/* Who may, or may not, connect to whom, at which ports. */
struct settings_rule {
	bool allow;
	struct settings_party from, to;
	uint32_t port_first, port_last;
};

struct settings {
	struct settings_vm vms[SETTINGS_VMS_MAX];
	unsigned int vm_count;
	struct settings_service services[SETTINGS_SERVICES_MAX];
	unsigned int service_count;
	struct settings_rule rules[SETTINGS_RULES_MAX];
	unsigned int rule_count;
	char *config;  /* the file that was read; NULL: none */
	char *control; /* the control socket; NULL: none */
	char *metrics; /* the exporter's address; NULL: none */
	char *capture; /* the file for a capture from the start on; NULL: none */
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

/* settings_control_default - where the control socket is by default; static */
const char *settings_control_default(void);

/* settings_add_vm - from NAME,cid=N,socket=PATH[,...], as the option --vm has it; 0 or -errno */
int settings_add_vm(struct settings *settings, const char *text, struct error *error);

/**
 * settings_put_vm - the gate for a VM, whoever described it
 * @vm: copied, with its strings; host_socket may be NULL
 *
 * Return: 0, -EINVAL, -EEXIST when name, cid or socket is in use, -ENOSPC or -ENOMEM, with a
 * sentence.
 */
int settings_put_vm(struct settings *settings, const struct settings_vm *vm, struct error *error);

/* settings_find_vm - the VM of that name, or NULL */
struct settings_vm *settings_find_vm(struct settings *settings, const char *name);

/* settings_drop_vm - forget it */
void settings_drop_vm(struct settings *settings, struct settings_vm *vm);

/* settings_add_service - from PORT=PATH[,identity]; 0 or -errno */
int settings_add_service(struct settings *settings, const char *text, struct error *error);

/* settings_load - add what the section `switch` of the file at @path says; 0 or -errno */
int settings_load(struct settings *settings, const char *path, struct error *error);

/* settings_rules.c */
bool settings_group_is_valid(const char *name);
int settings_vm_add_group(struct settings_vm *vm, const char *name, struct error *error);
int settings_load_groups(struct settings_vm *vm, struct config *config, config_setting_t *group,
			 struct error *error);
int settings_load_rule(struct settings *settings, struct config *config, config_setting_t *group,
		       struct error *error);

/* settings_find_service - the service for @port, or NULL */
const struct settings_service *settings_find_service(const struct settings *settings,
						     uint32_t port);

#endif
