/* SPDX-License-Identifier: Apache-2.0 */
/* See scif_bench.h. */
#include "tests/unit/scif_bench.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/log.h"

#define PLACE_BYTES  1024u
#define REPLY_OFFSET 256u
#define PARTS_MAX    64u

#define MUST(condition)           \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

void bench_serve(void *context)
{
	struct bench *bench = context;
	bool busy = true;

	for (int round = 0; round < 3 || busy; round++) {
		busy = false;
		for (unsigned int i = 0; i < BENCH_GUESTS; i++) {
			guest_turn(bench->guests[i].guest, 0);
			busy = busy || guest_is_pending(bench->guests[i].guest);
		}
		local_turn(bench->local, 0);
		busy = busy || atomic_load(&bench->local->inbox.full);
	}
}

void bench_attach(struct bench *bench, unsigned int index)
{
	struct bench_guest *own = &bench->guests[index];
	int fd = io_unix_connect(bench->settings.vms[index].socket, NULL);

	MUST(fd >= 0);
	bench_serve(bench);
	MUST(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
	memset(own->slots, 0, sizeof(own->slots));
	frontend_open(&own->frontend, FRONTEND_QEMU, bench_serve, bench, fd);
	frontend_handshake(&own->frontend, VIRTIO_RING_F_INDIRECT_DESC);
	own->attached = true;
}

void bench_open(struct bench *bench, const char *options)
{
	bench_open_shm(bench, options, 0);
}

void bench_open_shm(struct bench *bench, const char *options, uint64_t shm_bytes)
{
	char text[256];

	memset(bench, 0, sizeof(*bench));
	log_set_level(LOG_LEVEL_ERROR);
	strcpy(bench->folder, "/tmp/causeway-scif-XXXXXX");
	MUST(mkdtemp(bench->folder));
	settings_defaults(&bench->settings);
	bench->settings.request_queues = 2;
	bench->settings.spin_us = 0;
	bench->settings.shm_bytes = shm_bytes;
	for (unsigned int i = 0; i < BENCH_GUESTS; i++) {
		snprintf(text, sizeof(text), "%c,socket=%s/%c%s", 'a' + i, bench->folder, 'a' + i,
			 options);
		MUST(settings_add_vm(&bench->settings, text, NULL) == 0);
	}
	MUST(fabric_init(&bench->fabric, 1) == 0);
	bench->local = local_create(&bench->fabric, &bench->settings, NULL);
	MUST(bench->local);
	for (unsigned int i = 0; i < BENCH_GUESTS; i++) {
		bench->guests[i].guest =
			guest_create(&bench->fabric, &bench->settings, &bench->settings.vms[i],
				     FABRIC_NODE_VM_FIRST + i, NULL);
		MUST(bench->guests[i].guest);
	}
	bench->guests[BENCH_A].guest->node->visible |= 1ull << BENCH_NODE_B;
	for (unsigned int i = 0; i < BENCH_GUESTS; i++)
		bench_attach(bench, i);
}

void bench_close(struct bench *bench)
{
	bench_close_before(bench);
	bench_close_after(bench);
}

void bench_close_before(struct bench *bench)
{
	for (unsigned int i = 0; i < BENCH_GUESTS; i++) {
		if (bench->guests[i].attached)
			frontend_close(&bench->guests[i].frontend);
	}
	bench_serve(bench);
	for (unsigned int i = 0; i < BENCH_GUESTS; i++)
		guest_destroy(bench->guests[i].guest);
}

void bench_close_after(struct bench *bench)
{
	local_destroy(bench->local);
	fabric_destroy(&bench->fabric);
	settings_free(&bench->settings);
	rmdir(bench->folder);
}

static uint64_t place_of(unsigned int slot)
{
	return BENCH_PLACE + slot * PLACE_BYTES;
}

unsigned int bench_issue(struct bench *bench, unsigned int index,
			 const struct scif_virtio_request *request,
			 const struct virtio_ring_desc *in, unsigned int in_count,
			 const struct virtio_ring_desc *out, unsigned int out_count)
{
	struct bench_guest *own = &bench->guests[index];
	struct virtio_ring_desc parts[PARTS_MAX];
	unsigned int slot = 0, count = 0;

	while (slot < BENCH_SLOTS && own->slots[slot].used)
		slot++;
	MUST(slot < BENCH_SLOTS && in_count + out_count + 2 <= PARTS_MAX);
	frontend_put(&own->frontend, place_of(slot), request, sizeof(*request));
	parts[count++] =
		(struct virtio_ring_desc){ .addr = place_of(slot), .len = sizeof(*request) };
	for (unsigned int i = 0; i < in_count; i++)
		parts[count++] = in[i];
	parts[count++] = (struct virtio_ring_desc){ .addr = place_of(slot) + REPLY_OFFSET,
						    .len = sizeof(struct scif_virtio_reply),
						    .flags = VIRTIO_RING_DESC_F_WRITE };
	for (unsigned int i = 0; i < out_count; i++) {
		parts[count] = out[i];
		parts[count++].flags = VIRTIO_RING_DESC_F_WRITE;
	}
	own->slots[slot] = (struct bench_slot){ .used = true };
	own->slots[slot].head =
		frontend_offer(&own->frontend, SCIF_VIRTIO_QUEUE_REQUEST, parts, count);
	frontend_kick(&own->frontend, SCIF_VIRTIO_QUEUE_REQUEST);
	return slot;
}

/* Takes what came back from queue 1 to the slots. */
static void bench_collect(struct bench_guest *own)
{
	struct virtio_ring_used_elem element;

	while (frontend_used(&own->frontend, SCIF_VIRTIO_QUEUE_REQUEST, &element)) {
		unsigned int slot = 0;

		while (slot < BENCH_SLOTS && (!own->slots[slot].used || own->slots[slot].answered ||
					      own->slots[slot].head != element.id))
			slot++;
		MUST(slot < BENCH_SLOTS); /* else a chain came back that was not sent, or twice */
		own->slots[slot].answered = true;
		own->slots[slot].written = element.len;
		frontend_get(&own->frontend, place_of(slot) + REPLY_OFFSET, &own->slots[slot].reply,
			     sizeof(own->slots[slot].reply));
	}
}

bool bench_answer(struct bench *bench, unsigned int index, unsigned int slot,
		  struct scif_virtio_reply *reply)
{
	struct bench_guest *own = &bench->guests[index];

	bench_serve(bench);
	bench_collect(own);
	if (!own->slots[slot].answered)
		return false;
	own->slots[slot].used = false;
	if (reply)
		*reply = own->slots[slot].reply;
	return true;
}

int32_t bench_call(struct bench *bench, unsigned int index,
		   const struct scif_virtio_request *request, struct scif_virtio_reply *reply)
{
	struct scif_virtio_reply own;
	unsigned int slot = bench_issue(bench, index, request, NULL, 0, NULL, 0);

	if (!reply)
		reply = &own;
	return bench_answer(bench, index, slot, reply) ? (int32_t)reply->status : INT32_MIN;
}

void bench_offer_events(struct bench *bench, unsigned int index, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		struct virtio_ring_desc part = { .addr = BENCH_EVENTS + i * 64,
						 .len = sizeof(struct scif_virtio_event),
						 .flags = VIRTIO_RING_DESC_F_WRITE };

		frontend_offer(&bench->guests[index].frontend, SCIF_VIRTIO_QUEUE_EVENT, &part, 1);
	}
	frontend_kick(&bench->guests[index].frontend, SCIF_VIRTIO_QUEUE_EVENT);
}

bool bench_event(struct bench *bench, unsigned int index, struct scif_virtio_event *event)
{
	struct frontend *frontend = &bench->guests[index].frontend;
	struct virtio_ring_used_elem element;

	bench_serve(bench);
	if (!frontend_used(frontend, SCIF_VIRTIO_QUEUE_EVENT, &element))
		return false;
	frontend_get(frontend,
		     frontend->queues[SCIF_VIRTIO_QUEUE_EVENT].descriptors[element.id].addr, event,
		     sizeof(*event));
	return element.len == sizeof(*event);
}

const struct scif_virtio_request *bench_request(struct scif_virtio_request *request)
{
	unsigned int used = scif_virtio_used_bytes(request->call);

	if (used)
		memset(request->bytes + used, 0, sizeof(request->bytes) - used);
	return request;
}
