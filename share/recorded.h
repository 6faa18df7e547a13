/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recorded launches (proto/share-trace.h) as traces for the simulator: a trace for each client,
 * with the tenant that it is of. A file may come from anywhere: it is checked as a whole, and
 * bounded.
 */
#ifndef CAUSEWAY_SHARE_RECORDED_H
#define CAUSEWAY_SHARE_RECORDED_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"
#include "share/simulate.h"

#define RECORDED_LAUNCHES_MAX (8u << 20)
#define RECORDED_NAME_BYTES   64u /* with the NUL */

/* A tenant of the file. */
struct recorded_tenant {
	char name[RECORDED_NAME_BYTES];
	unsigned int weight, priority;
	uint64_t measured_ns; /* device time that it got when it was recorded */
};

/* A client of the file: when its first launch came, and all of them. */
struct recorded_client {
	uint64_t number;
	uint32_t device;
	size_t tenant;	   /* index into the tenants */
	uint64_t start_ns; /* since the recording began */
	uint64_t end_ns;   /* of its last launch */
	struct simulate_trace trace;
};

/* A file that was read. */
struct recorded {
	struct recorded_tenant *tenants;
	size_t tenant_count;
	struct recorded_client *clients; /* at most SIMULATE_TENANTS_MAX */
	size_t client_count;
	uint64_t length_ns; /* from the beginning to the last launch */
};

/**
 * recorded_parse - @bytes of a file
 * @device: launches on this device alone
 * @name: stands for the file in messages
 *
 * Return: 0, or -errno with a sentence; then *recorded is empty. The caller owes recorded_free().
 */
int recorded_parse(struct recorded *recorded, const void *data, size_t bytes, uint32_t device,
		   const char *name, struct error *error);

/* recorded_read - the same from a file */
int recorded_read(struct recorded *recorded, const char *path, uint32_t device,
		  struct error *error);
void recorded_free(struct recorded *recorded);

#endif
