/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A policy under a recorded load, without a device: what each tenant would get, and wait.
 *
 * The model is that of causeway-cuda-worker's turns: a client issues launches as its trace says;
 * what is issued waits for the client's turn; within a turn kernels run one after another, and one
 * that has begun runs to its end; a turn goes on through a pause shorter than the linger time;
 * handing over to another client takes a fixed time during which the device is idle.
 */
#ifndef CAUSEWAY_SHARE_SIMULATE_H
#define CAUSEWAY_SHARE_SIMULATE_H

#include <stddef.h>

#include "lib/base/error.h"
#include "share/policy.h"

#define SIMULATE_TENANTS_MAX 64u
#define SIMULATE_QUEUE_MAX   1024u /* launches that a client has issued and that did not begin */

/* One launch of a trace. */
struct simulate_launch {
	uint64_t gap_ns; /* from the launch before it was issued, or ended when that one waits */
	uint64_t duration_ns; /* on the device */
	bool waits;	      /* the program waits for its end before it goes on */
};

struct simulate_trace {
	struct simulate_launch *launches; /* freed by simulate_trace_free() */
	size_t count;
};

struct simulate_tenant {
	const char *name;
	unsigned int weight, priority;
	const struct simulate_trace *trace; /* repeated until the time is over */
	uint64_t start_ns;		    /* its first launch's gap counts from here */
	bool once;			    /* the trace is not repeated */
	size_t client_of; /* 0, or 1 + index of an earlier one: it is another client of that tenant
			   */
};

/* The policy, how long to simulate, what a hand-over costs, how long a turn lingers. */
struct simulate_settings {
	struct share_settings share;
	uint64_t duration_ns, handover_ns, linger_ns;
};

/* What one tenant got. Waits are those of launches, from issue to begin. */
struct simulate_result {
	uint64_t device_ns, launches, turns;
	uint64_t wait_mean_ns, wait_median_ns, wait_p99_ns, wait_max_ns;
};

struct simulate_summary {
	uint64_t device_ns;   /* all tenants */
	uint64_t wanted_ns;   /* time in which somebody had issued work */
	uint64_t handover_ns; /* of it, spent on handing over */
};

/**
 * simulate_trace_read - a trace from a text file
 *
 * A line is `GAP_US DURATION_US [wait]`, numbers with or without decimals; empty lines and those
 * that begin with # are skipped. Return: 0, or -errno with file, line and what was expected.
 */
int simulate_trace_read(struct simulate_trace *trace, const char *path, struct error *error);

/* simulate_trace_parse - the same from memory; @name stands for the file in messages */
int simulate_trace_parse(struct simulate_trace *trace, const char *text, size_t bytes,
			 const char *name, struct error *error);
void simulate_trace_free(struct simulate_trace *trace);

/**
 * simulate_run - let @count tenants (at most SIMULATE_TENANTS_MAX) run against each other
 * @results: one for each tenant
 *
 * Return: 0, -ENOMEM, or -EINVAL for a count or an empty trace.
 */
int simulate_run(const struct simulate_settings *settings, const struct simulate_tenant *tenants,
		 size_t count, struct simulate_result *results, struct simulate_summary *summary);

#endif
