/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What scifd is told: VMs, cards, sockets and bounds, from options and from the section `scif` of
 * a configuration file. Read once, before threads start; constant from then on.
 */
#ifndef CAUSEWAY_SCIF_FABRIC_SETTINGS_H
#define CAUSEWAY_SCIF_FABRIC_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/error.h"
#include "share/journal.h"
#include "share/tenants.h"

#define SETTINGS_VMS_MAX   46
#define SETTINGS_CARDS_MAX 16

struct settings_vm {
	char *name;
	char *socket; /* where the VMM connects */
	char *sees;   /* names of what it may connect to, with '+' between; NULL: every card */
	char *hears;  /* the card whose programs reach its ports through the host's driver, or NULL
		       */
	uint32_t
		cid; /* the guest that it is elsewhere, which may belong to a tenant; 0: not said */
	uint32_t endpoints, windows;
	uint64_t pinned_bytes, bytes_per_second;
};

struct settings_card {
	char *name;
	char *socket;	       /* where card processes connect */
	struct settings_vm vm; /* .socket: the card is a VM, whose VMM connects there */
	char *device;	       /* a SCIF driver of the host that is the card, or NULL */
	uint16_t device_node;  /* the card's node there */
	uint64_t memory_bytes;
	uint32_t cores;
};

struct settings {
	struct settings_vm vms[SETTINGS_VMS_MAX];
	unsigned int vm_count;
	struct settings_card cards[SETTINGS_CARDS_MAX];
	unsigned int card_count;
	char *socket;  /* where host processes connect; NULL: none may */
	char *control; /* where status is asked */
	char *metrics; /* where Prometheus asks: see lib/metrics/exporter.h */
	uint32_t spin_us, workers, request_queues;
	uint64_t shm_bytes;
	struct tenants tenants;		    /* of the configuration file, as its accounting is */
	struct journal_settings accounting; /* .path NULL: no journal */
	bool verbose;
};

/**
 * settings_read - options (exits after --help and on misuse, as argp does) and configuration file
 *
 * Return: 0 or -errno with a sentence. Either way the caller owes settings_free().
 */
int settings_read(struct settings *settings, int argc, char **argv, struct error *error);
void settings_free(struct settings *settings);

/* settings_defaults - what applies where nothing is said */
void settings_defaults(struct settings *settings);

/* settings_add_vm - from
 * NAME,socket=PATH[,sees=A+B][,hears=A][,endpoints=N][,windows=N][,pinned=BYTES]
 * [,bandwidth=BYTES][,cid=N]; 0 or -errno */
int settings_add_vm(struct settings *settings, const char *text, struct error *error);

/* settings_add_card - from NAME,socket=PATH, NAME,device=PATH or NAME,vm=PATH
 * [,memory=BYTES][,cores=N] */
int settings_add_card(struct settings *settings, const char *text, struct error *error);

#endif
