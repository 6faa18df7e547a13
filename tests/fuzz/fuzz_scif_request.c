/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile guest: any requests with any payload, in two VMs that see each other one way.
 *
 * The input is a list of steps of 32 bytes. Most make a request whose members are taken from small
 * sets, so that connections, windows and copies come into being; others put raw bytes into it,
 * cancel, restart the queues, take the memory away, or let the VMM answer. Each VM keeps a trap: a
 * region of memory that it gives to nobody and that must stay as it is.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "tests/fuzz/scif_members.h"
#include "tests/unit/scif_bench.h"

#define STEP_BYTES  32
#define PAGE	    4096u
#define PAGES_FIRST BENCH_PAGES
#define PAGES_COUNT 64u
#define TRAP_PLACE  (PAGES_FIRST + PAGES_COUNT * PAGE)
#define TRAP_BYTES  (4 * PAGE)
#define TRAP_BYTE   0xa5

static struct bench bench;
static uint64_t handles[BENCH_GUESTS]; /* the last that ACCEPTREQ gave */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void trap_set(unsigned int index)
{
	for (uint64_t i = 0; i < TRAP_BYTES; i += PAGE)
		memset(frontend_at(&bench.guests[index].frontend, TRAP_PLACE + i), TRAP_BYTE, PAGE);
}

static void trap_check(unsigned int index)
{
	for (uint64_t i = 0; i < TRAP_BYTES; i++) {
		if (*(unsigned char *)frontend_at(&bench.guests[index].frontend, TRAP_PLACE + i) !=
		    TRAP_BYTE)
			abort();
	}
}

/* Payload of some pages, or of odd pieces of them; never the trap. */
static unsigned int make_payload(const uint8_t *step, struct virtio_ring_desc *parts)
{
	unsigned int count = step[0] % 5;

	for (unsigned int i = 0; i < count; i++) {
		unsigned int page = (step[1] + i * (step[2] | 1u)) % (PAGES_COUNT - 1);

		parts[i] =
			(struct virtio_ring_desc){ .addr = PAGES_FIRST + page * PAGE, .len = PAGE };
		if (step[3] & 0x80) {
			parts[i].addr += step[3] & 0x7f;
			parts[i].len = 1u + step[4] * 8u;
		}
	}
	return count;
}

static void make_request(unsigned int index, const uint8_t *step,
			 struct scif_virtio_request *request)
{
	*request = (struct scif_virtio_request){
		.call = 1 + step[1] % (SCIF_VIRTIO_CALLS + 1),
		.flags = step[2] & 0x40 ? step[3]
			 : step[2] % 2u ? step[3] & 0x1f
					: 0,
		.endpoint = 1 + step[4] % 6,
		.tag = step[5] % 8,
	};
	fuzz_scif_members(step, request);
	switch (request->call) {
	case SCIF_VIRTIO_CONNECT:
		request->connect.node = step[8] % 2 ? 0 : BENCH_NODE_B;
		break;
	case SCIF_VIRTIO_ACCEPTREG:
		request->accept.handle = handles[index] + (step[7] == 1);
		break;
	case SCIF_VIRTIO_REGISTER:
	case SCIF_VIRTIO_REGISTER_MORE:
	case SCIF_VIRTIO_REGISTER_END:
	case SCIF_VIRTIO_UNREGISTER:
		request->window.cookie = 1 + step[8] % 6;
		break;
	case SCIF_VIRTIO_POLL:
		request->poll.mask = step[7];
		request->flags = step[3] % 2 ? SCIF_VIRTIO_POLL_ARM : 0;
		break;
	default:
		break;
	}
	if (step[0] & 0x80)
		memcpy((unsigned char *)request + step[10] % 56, step + 20, 8);
}

/* A request of VM @index, its answer looked at if it came at once. */
static void step_request(unsigned int index, const uint8_t *step)
{
	struct virtio_ring_desc in[8], out[8];
	struct scif_virtio_request request;
	struct scif_virtio_reply reply;
	unsigned int slot, in_count, out_count;

	make_request(index, step, &request);
	in_count = make_payload(step + 11, in);
	out_count = make_payload(step + 16, out);
	for (slot = 0; slot < BENCH_SLOTS && bench.guests[index].slots[slot].used; slot++)
		continue;
	if (slot == BENCH_SLOTS)
		return; /* all wait */
	slot = bench_issue(&bench, index, &request, in, in_count, out, out_count);
	if (bench_answer(&bench, index, slot, &reply) && request.call == SCIF_VIRTIO_ACCEPTREQ &&
	    reply.status == 0)
		handles[index] = reply.value[1];
}

/* Takes answers of calls that waited, and events. */
static void step_collect(unsigned int index)
{
	struct scif_virtio_event event;

	for (unsigned int slot = 0; slot < BENCH_SLOTS; slot++) {
		if (bench.guests[index].slots[slot].used)
			bench_answer(&bench, index, slot, NULL);
	}
	while (bench_event(&bench, index, &event))
		continue;
	bench_offer_events(&bench, index, 2);
}

static void step_vmm_answers(unsigned int index, uint8_t number)
{
	int fd = bench.guests[index].frontend.request_fd, fds[IO_FDS_MAX];
	struct {
		struct vhost_user_header header;
		struct vhost_user_shmem_mapping mapping;
	} __attribute__((packed)) asked;
	struct {
		struct vhost_user_header header;
		uint64_t number;
	} __attribute__((packed)) answer = {
		{ 0, VHOST_USER_FLAG_VERSION | VHOST_USER_FLAG_REPLY, sizeof(uint64_t) },
		number % 4 == 0,
	};
	size_t count = 0;

	io_set_nonblock(fd, 1);
	if (io_receive_fds(fd, &asked, sizeof(asked), fds, &count) != (ssize_t)sizeof(asked))
		return;
	while (count)
		close(fds[--count]);
	answer.header.request = asked.header.request;
	if (write(fd, &answer, sizeof(answer)) < 0)
		return;
	bench_serve(&bench);
}

static void step_pause(unsigned int index)
{
	uint16_t bases[FRONTEND_QUEUES];

	for (unsigned int i = 0; i < FRONTEND_QUEUES; i++)
		bases[i] = frontend_stop_queue(&bench.guests[index].frontend, i);
	for (unsigned int i = 0; i < FRONTEND_QUEUES; i++)
		frontend_start_queue(&bench.guests[index].frontend, i, bases[i]);
}

static void step_replace(unsigned int index)
{
	trap_check(index);
	frontend_close(&bench.guests[index].frontend);
	bench_serve(&bench);
	bench_attach(&bench, index);
	trap_set(index);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	bench_open_shm(&bench, ",endpoints=8,windows=8,pinned=65536", 64 * PAGE);
	for (unsigned int i = 0; i < BENCH_GUESTS; i++)
		trap_set(i);
	for (; bytes >= STEP_BYTES; data += STEP_BYTES, bytes -= STEP_BYTES) {
		unsigned int index = data[0] & 1;

		switch (data[0] >> 1 & 15) {
		case 0:
			step_collect(index);
			break;
		case 1:
			step_vmm_answers(index, data[1]);
			break;
		case 2:
			step_pause(index);
			break;
		case 3:
			if (data[1] % 16 == 0)
				step_replace(index);
			else
				frontend_share_memory(&bench.guests[index].frontend);
			break;
		default:
			step_request(index, data);
			break;
		}
	}
	for (unsigned int i = 0; i < BENCH_GUESTS; i++)
		trap_check(i);
	bench_close(&bench);
	return 0;
}
