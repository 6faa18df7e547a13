/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters of VMs and flows that any thread may read.
 *
 * Each counter has one writer at a time (the VM's worker, or whoever holds the VM's lock), so it is
 * written with a plain addition and an atomic store, and read with an atomic load: no locked
 * instruction on the path of data.
 */
#ifndef CAUSEWAY_VSOCK_SWITCH_COUNTERS_H
#define CAUSEWAY_VSOCK_SWITCH_COUNTERS_H

#include <stdint.h>

struct counters_traffic {
	uint64_t bytes;	  /* of payload */
	uint64_t packets; /* as they were sent, before they are split or merged */
};

/* Of one VM, since it was added. */
struct counters_vm {
	struct counters_traffic sent;	  /* by the guest; its worker writes */
	struct counters_traffic received; /* by the guest, in receive buffers; under vm.lock */
	uint64_t opened;		  /* connections asked for by or of the guest; its worker */
	uint64_t refused; /* of these: no such cid or port, denied, too many; its worker */
	uint64_t stalls;  /* a flow began to wait for buffers of its receiver; its worker */
	uint64_t waits;	  /* a stream began to wait for its host program; its worker */
	uint64_t limited; /* the bandwidth limit held the guest back; its worker */
	uint64_t sleeps;  /* its worker went to sleep; its worker */
};

/* Of one direction of a flow. */
struct counters_flow {
	struct counters_traffic sent;
	uint64_t stalls;
};

/* Written by one thread, read by any: whole values, no locked instructions. */
static inline void counter_add(uint64_t *counter, uint64_t amount)
{
	__atomic_store_n(counter, *counter + amount, __ATOMIC_RELAXED);
}

/* counter_read - its value now, from any thread */
static inline uint64_t counter_read(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

#endif
