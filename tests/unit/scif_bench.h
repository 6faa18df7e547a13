/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fabric with two VMs in the process of the test, each driven by a front-end of its own: requests
 * as chains, replies, events. VM a sees VM b; b does not see a.
 */
#ifndef CAUSEWAY_TESTS_UNIT_SCIF_BENCH_H
#define CAUSEWAY_TESTS_UNIT_SCIF_BENCH_H

#include "scif/fabric/guest.h"
#include "scif/fabric/local.h"
#include "tests/unit/vhost_frontend.h"

#define BENCH_GUESTS 2
#define BENCH_A	     0
#define BENCH_B	     1
#define BENCH_SLOTS  32
#define BENCH_NODE_B (FABRIC_NODE_VM_FIRST + 1)
#define BENCH_PLACE  0x20000u /* requests and replies, a place of 1 KiB each */
#define BENCH_EVENTS 0x30000u
#define BENCH_PAGES  0x80000u /* free for the tests, up to both regions' end */

/* A request under way or answered. */
struct bench_slot {
	bool used, answered;
	uint16_t head;
	uint32_t written;
	struct scif_virtio_reply reply;
};

struct bench_guest {
	struct bench *bench;
	struct guest *guest;
	struct frontend frontend;
	struct bench_slot slots[BENCH_SLOTS];
	bool attached;
};

struct bench {
	char folder[64];
	struct settings settings;
	struct fabric fabric;
	struct local *local;
	struct bench_guest guests[BENCH_GUESTS];
};

/* bench_open - both VMs attached, with @options behind each --vm text; aborts on failure */
void bench_open(struct bench *bench, const char *options);
/* bench_open_shm - the same with a shared memory region of that size */
void bench_open_shm(struct bench *bench, const char *options, uint64_t shm_bytes);
void bench_close(struct bench *bench);
/* The two halves of it: all VMs are gone between them. */
void bench_close_before(struct bench *bench);
void bench_close_after(struct bench *bench);
void bench_attach(struct bench *bench, unsigned int index);
/* bench_serve - let all loops work until nothing is left to do */
void bench_serve(void *bench);

/**
 * bench_issue - put a request into queue 1
 * @in, @out: payload parts: guest addresses and lengths
 *
 * Return: its slot.
 */
unsigned int bench_issue(struct bench *bench, unsigned int index,
			 const struct scif_virtio_request *request,
			 const struct virtio_ring_desc *in, unsigned int in_count,
			 const struct virtio_ring_desc *out, unsigned int out_count);
/* bench_answer - the reply, when it is there; frees the slot */
bool bench_answer(struct bench *bench, unsigned int index, unsigned int slot,
		  struct scif_virtio_reply *reply);
/* bench_call - issue and answer: its status; INT32_MIN when it waits (and goes on) */
int32_t bench_call(struct bench *bench, unsigned int index,
		   const struct scif_virtio_request *request, struct scif_virtio_reply *reply);
/* bench_event - the next event; false without */
bool bench_event(struct bench *bench, unsigned int index, struct scif_virtio_event *event);
/* bench_offer_events - @count buffers for events */
void bench_offer_events(struct bench *bench, unsigned int index, unsigned int count);

/**
 * bench_request - @request with what lies behind its call's member of the union zero
 *
 * An initializer of that member leaves it open (C11 6.2.6.1), and the device refuses anything else.
 */
const struct scif_virtio_request *bench_request(struct scif_virtio_request *request);

/* A request by the name of its call, and the members that it needs. */
#define REQUEST(number, ...) \
	bench_request(&(struct scif_virtio_request){ .call = SCIF_VIRTIO_##number, __VA_ARGS__ })

#endif
