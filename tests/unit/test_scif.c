/* SPDX-License-Identifier: Apache-2.0 */
/* scifd over vhost-user: requests, waiting, cancelling, windows, copies, events, quotas, faults. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/base/io.h"
#include "scif/fabric/account.h"
#include "share/journal.h"
#include "tests/unit/scif_bench.h"

#define WAITS INT32_MIN
#define BOTH  (SCIF_PROT_READ | SCIF_PROT_WRITE)
#define PAGE  4096u

static uint32_t open_one(struct bench *bench, unsigned int index)
{
	struct scif_virtio_reply reply;

	assert_int_equal(bench_call(bench, index, REQUEST(OPEN), &reply), 0);
	return (uint32_t)reply.value[0];
}

/* A listener in VM @index; its port. */
static uint16_t listen_one(struct bench *bench, unsigned int index, uint32_t *endpoint)
{
	struct scif_virtio_reply reply;

	*endpoint = open_one(bench, index);
	assert_int_equal(bench_call(bench, index, REQUEST(BIND, .endpoint = *endpoint), &reply), 0);
	assert_int_equal(bench_call(bench, index,
				    REQUEST(LISTEN, .endpoint = *endpoint, .listen.backlog = 4),
				    NULL),
			 0);
	return (uint16_t)reply.value[0];
}

/* An endpoint of VM a connected with one of VM @to. */
static void connect_two(struct bench *bench, unsigned int to, uint32_t ends[2])
{
	struct scif_virtio_reply reply;
	uint32_t listener, slot;
	uint16_t port = listen_one(bench, to, &listener);

	ends[0] = open_one(bench, BENCH_A);
	slot = bench_issue(bench, BENCH_A,
			   REQUEST(CONNECT, .endpoint = ends[0],
				   .connect = { to == BENCH_A ? 0 : BENCH_NODE_B, port }),
			   NULL, 0, NULL, 0);
	assert_false(bench_answer(bench, BENCH_A, slot, NULL));
	assert_int_equal(
		bench_call(bench, to,
			   REQUEST(ACCEPTREQ, .endpoint = listener, .flags = SCIF_ACCEPT_SYNC),
			   &reply),
		0);
	/* The peer's node: its own, 0, in a loopback; else as the fabric numbers it. */
	assert_int_equal(reply.value[0] & 0xffff, to == BENCH_A ? 0 : FABRIC_NODE_VM_FIRST);
	ends[1] = open_one(bench, to);
	assert_int_equal(
		bench_call(bench, to,
			   REQUEST(ACCEPTREG, .endpoint = ends[1], .accept.handle = reply.value[1]),
			   NULL),
		0);
	assert_true(bench_answer(bench, BENCH_A, slot, &reply));
	assert_int_equal(reply.status, 0);
	assert_int_equal(reply.value[0] & 0xffff, 0);
}

static int32_t send_bytes(struct bench *bench, unsigned int index, uint32_t endpoint,
			  const void *bytes, uint32_t count, uint32_t flags)
{
	struct virtio_ring_desc part = { .addr = BENCH_PAGES, .len = count };
	struct scif_virtio_reply reply;
	unsigned int slot;

	frontend_put(&bench->guests[index].frontend, BENCH_PAGES, bytes, count);
	slot = bench_issue(bench, index, REQUEST(SEND, .endpoint = endpoint, .flags = flags), &part,
			   1, NULL, 0);
	if (!bench_answer(bench, index, slot, &reply))
		return WAITS;
	return reply.status ? (int32_t)reply.status : (int32_t)reply.value[0];
}

static unsigned int receive_start(struct bench *bench, unsigned int index, uint32_t endpoint,
				  uint32_t count, uint32_t tag)
{
	/* In two parts, the second across the border of two regions. */
	struct virtio_ring_desc parts[2] = { { .addr = BENCH_PAGES + PAGE, .len = 3 },
					     { .addr = FRONTEND_BORDER - 2, .len = count - 3 } };

	return bench_issue(
		bench, index,
		REQUEST(RECV, .endpoint = endpoint, .flags = SCIF_RECV_BLOCK, .tag = tag), NULL, 0,
		parts, 2);
}

static void received(struct bench *bench, unsigned int index, char *bytes, uint32_t count)
{
	frontend_get(&bench->guests[index].frontend, BENCH_PAGES + PAGE, bytes, 3);
	frontend_get(&bench->guests[index].frontend, FRONTEND_BORDER - 2, bytes + 3, count - 3);
}

static void loopback_connects_and_talks(void **state)
{
	struct scif_virtio_reply reply;
	struct bench bench;
	uint32_t ends[2], slot;
	char bytes[8] = "";

	(void)state;
	bench_open(&bench, "");
	connect_two(&bench, BENCH_A, ends);
	assert_int_equal(send_bytes(&bench, BENCH_A, ends[0], "causeway", 8, 0), 8);
	slot = receive_start(&bench, BENCH_A, ends[1], 8, 0);
	assert_true(bench_answer(&bench, BENCH_A, slot, &reply));
	assert_int_equal(reply.status, 0);
	assert_int_equal(reply.value[0], 8);
	received(&bench, BENCH_A, bytes, 8);
	assert_memory_equal(bytes, "causeway", 8);
	bench_close(&bench);
}

static void guests_talk_to_each_other(void **state)
{
	struct scif_virtio_reply reply;
	struct bench bench;
	uint32_t ends[2], slot;
	char bytes[8] = "";

	(void)state;
	bench_open(&bench, "");
	connect_two(&bench, BENCH_B, ends);
	slot = receive_start(&bench, BENCH_B, ends[1], 8, 0);
	assert_int_equal(send_bytes(&bench, BENCH_A, ends[0], "cause", 5, 0), 5);
	assert_false(bench_answer(&bench, BENCH_B, slot, NULL));
	assert_int_equal(send_bytes(&bench, BENCH_A, ends[0], "way", 3, 0), 3);
	assert_true(bench_answer(&bench, BENCH_B, slot, &reply));
	assert_int_equal(reply.value[0], 8);
	received(&bench, BENCH_B, bytes, 8);
	assert_memory_equal(bytes, "causeway", 8);
	bench_close(&bench);
}

static void who_may_not_see_cannot_connect(void **state)
{
	struct bench bench;
	uint32_t listener, endpoint;
	uint16_t port;

	(void)state;
	bench_open(&bench, "");
	port = listen_one(&bench, BENCH_A, &listener);
	endpoint = open_one(&bench, BENCH_B);
	for (uint16_t node = 0; node < FABRIC_NODES_MAX; node++) {
		int32_t status = bench_call(
			&bench, BENCH_B,
			REQUEST(CONNECT, .endpoint = endpoint, .connect = { node, port }), NULL);

		assert_int_equal(status, node == 0 ? -ECONNREFUSED : -ENODEV);
	}
	bench_close(&bench);
}

static void a_cancelled_call_comes_back(void **state)
{
	struct scif_virtio_reply reply;
	struct bench bench;
	uint32_t ends[2], slot;

	(void)state;
	bench_open(&bench, "");
	connect_two(&bench, BENCH_B, ends);
	slot = receive_start(&bench, BENCH_A, ends[0], 8, 77);
	assert_int_equal(bench_call(&bench, BENCH_A, REQUEST(CANCEL, .cancel.tag = 76), NULL),
			 -ENOENT);
	assert_false(bench_answer(&bench, BENCH_A, slot, NULL));
	assert_int_equal(bench_call(&bench, BENCH_A, REQUEST(CANCEL, .cancel.tag = 77), NULL), 0);
	assert_true(bench_answer(&bench, BENCH_A, slot, &reply));
	assert_int_equal((int32_t)reply.status, -EINTR);
	assert_int_equal(bench_call(&bench, BENCH_A, REQUEST(CANCEL, .cancel.tag = 77), NULL),
			 -ENOENT);
	/* What comes later is not written to where the cancelled call wanted it. */
	assert_int_equal(send_bytes(&bench, BENCH_B, ends[1], "late", 4, 0), 4);
	slot = receive_start(&bench, BENCH_A, ends[0], 4, 78);
	assert_true(bench_answer(&bench, BENCH_A, slot, &reply));
	assert_int_equal(reply.value[0], 4);
	bench_close(&bench);
}

static void a_cancelled_call_keeps_what_it_moved(void **state)
{
	struct scif_virtio_reply reply;
	struct bench bench;
	uint32_t ends[2], slot;

	(void)state;
	bench_open(&bench, "");
	connect_two(&bench, BENCH_B, ends);
	assert_int_equal(send_bytes(&bench, BENCH_B, ends[1], "abcde", 5, 0), 5);
	slot = receive_start(&bench, BENCH_A, ends[0], 8, 5);
	assert_false(bench_answer(&bench, BENCH_A, slot, NULL));
	assert_int_equal(bench_call(&bench, BENCH_A, REQUEST(CANCEL, .cancel.tag = 5), NULL), 0);
	assert_true(bench_answer(&bench, BENCH_A, slot, &reply));
	assert_int_equal(reply.status, 0);
	assert_int_equal(reply.value[0], 5);
	bench_close(&bench);
}

static void closing_ends_waiting_calls(void **state)
{
	struct scif_virtio_reply reply;
	struct bench bench;
	uint32_t listener, slot;

	(void)state;
	bench_open(&bench, "");
	listen_one(&bench, BENCH_A, &listener);
	slot = bench_issue(&bench, BENCH_A,
			   REQUEST(ACCEPTREQ, .endpoint = listener, .flags = SCIF_ACCEPT_SYNC),
			   NULL, 0, NULL, 0);
	assert_false(bench_answer(&bench, BENCH_A, slot, NULL));
	assert_int_equal(bench_call(&bench, BENCH_A, REQUEST(CLOSE, .endpoint = listener), NULL),
			 0);
	assert_true(bench_answer(&bench, BENCH_A, slot, &reply));
	assert_int_equal((int32_t)reply.status, -EINTR);
	assert_int_equal(bench_call(&bench, BENCH_A, REQUEST(CLOSE, .endpoint = listener), NULL),
			 -EBADF);
	bench_close(&bench);
}

/* A window of @count pages with gaps between them, in two requests; its offset. */
static uint64_t register_pages(struct bench *bench, unsigned int index, uint32_t endpoint,
			       unsigned int count, uint64_t cookie, uint32_t prot)
{
	struct virtio_ring_desc pages[16];
	struct scif_virtio_reply reply, more;
	unsigned int first = count / 2, slot;
	bool writable = prot & SCIF_PROT_WRITE;

	for (unsigned int i = 0; i < count; i++)
		pages[i] = (struct virtio_ring_desc){ .addr = BENCH_PAGES + (2 * i + 4) * PAGE,
						      .len = PAGE };
	slot = bench_issue(
		bench, index,
		REQUEST(REGISTER, .endpoint = endpoint,
			.window = { .bytes = count * PAGE, .cookie = cookie, .prot = prot }),
		writable ? NULL : pages, writable ? 0 : first, writable ? pages : NULL,
		writable ? first : 0);
	assert_true(bench_answer(bench, index, slot, &reply));
	assert_int_equal(reply.status, 0);
	slot = bench_issue(bench, index,
			   REQUEST(REGISTER_MORE, .endpoint = endpoint, .window.cookie = cookie),
			   writable ? NULL : pages + first, writable ? 0 : count - first,
			   writable ? pages + first : NULL, writable ? count - first : 0);
	assert_true(bench_answer(bench, index, slot, &more));
	assert_int_equal(more.status, 0);
	return reply.value[0];
}

/* Byte @at of a window made by register_pages(). */
static unsigned char *window_byte(struct bench *bench, unsigned int index, uint64_t at)
{
	return frontend_at(&bench->guests[index].frontend,
			   BENCH_PAGES + (2 * (at / PAGE) + 4) * PAGE + at % PAGE);
}

static void copies_cross_scattered_pages_and_guests(void **state)
{
	struct bench bench;
	uint32_t ends[2];
	uint64_t offsets[2];

	(void)state;
	bench_open(&bench, "");
	connect_two(&bench, BENCH_B, ends);
	offsets[0] = register_pages(&bench, BENCH_A, ends[0], 8, 1, BOTH);
	offsets[1] = register_pages(&bench, BENCH_B, ends[1], 8, 1, BOTH);
	for (unsigned int i = 0; i < 8 * PAGE; i++)
		*window_byte(&bench, BENCH_A, i) = (unsigned char)(i * 31 + i / PAGE);
	/* A trap around the target: the pages between its pages, and its last bytes. */
	assert_int_equal(
		bench_call(&bench, BENCH_A,
			   REQUEST(WRITETO, .endpoint = ends[0], .flags = SCIF_RMA_SYNC,
				   .rma = { offsets[0] + 5, offsets[1] + 9, 7 * PAGE + 100 }),
			   NULL),
		0);
	for (unsigned int i = 0; i < 8 * PAGE; i++) {
		unsigned int from = i - 9 + 5;
		bool inside = i >= 9 && i < 9 + 7 * PAGE + 100;

		assert_int_equal(*window_byte(&bench, BENCH_B, i),
				 inside ? (unsigned char)(from * 31 + from / PAGE) : 0);
	}
	for (unsigned int page = 0; page < 8; page++) {
		const unsigned char *between = frontend_at(&bench.guests[BENCH_B].frontend,
							   BENCH_PAGES + (2 * page + 5) * PAGE);

		for (unsigned int i = 0; i < PAGE; i++)
			assert_int_equal(between[i], 0);
	}
	bench_close(&bench);
}

static void a_window_without_write_is_never_written(void **state)
{
	struct bench bench;
	uint32_t ends[2];
	uint64_t offset;
	struct virtio_ring_desc part = { .addr = BENCH_PAGES, .len = 16 };
	struct scif_virtio_reply reply;
	unsigned int slot;

	(void)state;
	bench_open(&bench, "");
	connect_two(&bench, BENCH_B, ends);
	offset = register_pages(&bench, BENCH_B, ends[1], 2, 9, SCIF_PROT_READ);
	*window_byte(&bench, BENCH_B, 3) = 33;
	slot = bench_issue(
		&bench, BENCH_A,
		REQUEST(VWRITETO, .endpoint = ends[0], .rma = { .remote = offset, .bytes = 16 }),
		&part, 1, NULL, 0);
	assert_true(bench_answer(&bench, BENCH_A, slot, &reply));
	assert_int_equal((int32_t)reply.status, -EPERM);
	slot = bench_issue(
		&bench, BENCH_A,
		REQUEST(VREADFROM, .endpoint = ends[0], .rma = { .remote = offset, .bytes = 16 }),
		NULL, 0, &part, 1);
	assert_true(bench_answer(&bench, BENCH_A, slot, &reply));
	assert_int_equal(reply.status, 0);
	assert_int_equal(*(unsigned char *)frontend_at(&bench.guests[0].frontend, BENCH_PAGES + 3),
			 33);
	bench_close(&bench);
}

static void an_incomplete_window_is_none(void **state)
{
	struct virtio_ring_desc page = { .addr = BENCH_PAGES + 4 * PAGE, .len = PAGE },
				odd = { .addr = BENCH_PAGES + 4 * PAGE, .len = 100 };
	struct scif_virtio_event event;
	struct scif_virtio_reply reply;
	struct bench bench;
	uint32_t ends[2], slot;

	(void)state;
	bench_open(&bench, "");
	bench_offer_events(&bench, BENCH_A, 4);
	connect_two(&bench, BENCH_A, ends);
	slot = bench_issue(&bench, BENCH_A,
			   REQUEST(REGISTER, .endpoint = ends[0],
				   .window = { .bytes = 2 * PAGE, .cookie = 5, .prot = BOTH }),
			   NULL, 0, &page, 1);
	assert_true(bench_answer(&bench, BENCH_A, slot, &reply));
	assert_int_equal(reply.status, 0);
	slot = bench_issue(&bench, BENCH_A,
			   REQUEST(READFROM, .endpoint = ends[1], .flags = SCIF_RMA_SYNC,
				   .rma = { reply.value[0], reply.value[0], 1 }),
			   NULL, 0, NULL, 0);
	assert_true(bench_answer(&bench, BENCH_A, slot, &reply));
	assert_int_equal((int32_t)reply.status, -ENXIO);
	/* A bad piece gives it up. */
	slot = bench_issue(&bench, BENCH_A,
			   REQUEST(REGISTER_MORE, .endpoint = ends[0], .window.cookie = 5), NULL, 0,
			   &odd, 1);
	assert_true(bench_answer(&bench, BENCH_A, slot, &reply));
	assert_int_equal((int32_t)reply.status, -EINVAL);
	assert_true(bench_event(&bench, BENCH_A, &event));
	assert_int_equal(event.kind, SCIF_VIRTIO_EVENT_RELEASED);
	assert_int_equal(event.cookie, 5);
	assert_false(bench_event(&bench, BENCH_A, &event));
	assert_int_equal(bench.guests[BENCH_A].guest->node->pinned_bytes, 0);
	bench_close(&bench);
}

static void released_pages_are_told_once(void **state)
{
	struct scif_virtio_event event;
	struct bench bench;
	uint32_t ends[2];
	uint64_t offset;

	(void)state;
	bench_open(&bench, "");
	connect_two(&bench, BENCH_B, ends);
	offset = register_pages(&bench, BENCH_A, ends[0], 4, 100, BOTH);
	register_pages(&bench, BENCH_A, ends[0], 4, 101, BOTH);
	assert_int_equal(bench_call(&bench, BENCH_A,
				    REQUEST(UNREGISTER, .endpoint = ends[0],
					    .window = { .offset = offset, .bytes = 4 * PAGE }),
				    NULL),
			 0);
	/* Without a buffer the event waits. */
	assert_false(bench_event(&bench, BENCH_A, &event));
	bench_offer_events(&bench, BENCH_A, 3);
	assert_true(bench_event(&bench, BENCH_A, &event));
	assert_int_equal(event.cookie, 100);
	assert_false(bench_event(&bench, BENCH_A, &event));
	assert_int_equal(bench_call(&bench, BENCH_A, REQUEST(CLOSE, .endpoint = ends[0]), NULL), 0);
	assert_true(bench_event(&bench, BENCH_A, &event));
	assert_int_equal(event.kind, SCIF_VIRTIO_EVENT_RELEASED);
	assert_int_equal(event.cookie, 101);
	assert_false(bench_event(&bench, BENCH_A, &event));
	assert_int_equal(bench.guests[BENCH_A].guest->node->window_count, 0);
	bench_close(&bench);
}

static void a_mapping_keeps_its_window(void **state)
{
	struct virtio_ring_desc room = { .addr = BENCH_PAGES, .len = 64 };
	struct scif_virtio_extent extent;
	struct scif_virtio_event event;
	struct scif_virtio_reply reply;
	struct bench bench;
	uint32_t ends[2], slot;
	uint64_t offset;

	(void)state;
	bench_open(&bench, "");
	bench_offer_events(&bench, BENCH_A, 2);
	connect_two(&bench, BENCH_A, ends);
	offset = register_pages(&bench, BENCH_A, ends[0], 4, 7, BOTH);
	slot = bench_issue(
		&bench, BENCH_A,
		REQUEST(MMAP, .endpoint = ends[1],
			.map = { .offset = offset + PAGE, .bytes = 2 * PAGE, .prot = BOTH }),
		NULL, 0, &room, 1);
	assert_true(bench_answer(&bench, BENCH_A, slot, &reply));
	assert_int_equal(reply.status, 0);
	assert_int_equal(reply.flags, SCIF_VIRTIO_MAP_OWN);
	assert_int_equal(reply.value[1], 1);
	frontend_get(&bench.guests[BENCH_A].frontend, BENCH_PAGES, &extent, sizeof(extent));
	assert_int_equal(extent.cookie, 7);
	assert_int_equal(extent.start, PAGE);
	assert_int_equal(extent.bytes, 2 * PAGE);
	assert_int_equal(bench_call(&bench, BENCH_A, REQUEST(CLOSE, .endpoint = ends[0]), NULL), 0);
	assert_false(bench_event(&bench, BENCH_A, &event));
	assert_int_equal(bench_call(&bench, BENCH_A,
				    REQUEST(MUNMAP, .endpoint = ends[1],
					    .map.mapping = (uint32_t)reply.value[0]),
				    NULL),
			 0);
	assert_true(bench_event(&bench, BENCH_A, &event));
	assert_int_equal(event.cookie, 7);
	bench_close(&bench);
}

static void mapping_another_guest_needs_a_region(void **state)
{
	struct bench bench;
	uint32_t ends[2];
	uint64_t offset;

	(void)state;
	bench_open(&bench, "");
	connect_two(&bench, BENCH_B, ends);
	offset = register_pages(&bench, BENCH_B, ends[1], 4, 7, BOTH);
	assert_int_equal(
		bench_call(
			&bench, BENCH_A,
			REQUEST(MMAP, .endpoint = ends[0],
				.map = { .offset = offset, .bytes = PAGE, .prot = SCIF_PROT_READ }),
			NULL),
		-EOPNOTSUPP);
	bench_close(&bench);
}

/* The VMM's next request; the descriptor that came along, or -1. */
static int vmm_request(struct bench *bench, uint32_t *request,
		       struct vhost_user_shmem_mapping *mapping)
{
	struct {
		struct vhost_user_header header;
		struct vhost_user_shmem_mapping mapping;
		struct vhost_user_header behind;
	} __attribute__((packed)) message;
	int fds[IO_FDS_MAX];
	size_t count = 0;

	assert_int_equal(io_receive_fds(bench->guests[BENCH_A].frontend.request_fd, &message,
					sizeof(message), fds, &count),
			 sizeof(message));
	*request = message.header.request;
	*mapping = message.mapping;
	return count ? fds[0] : -1;
}

static void vmm_answer_one(struct bench *bench, uint32_t request, uint64_t number)
{
	struct {
		struct vhost_user_header header;
		uint64_t number;
	} __attribute__((packed)) message = {
		{ request, VHOST_USER_FLAG_VERSION | VHOST_USER_FLAG_REPLY, sizeof(number) },
		number,
	};

	assert_int_equal(
		write(bench->guests[BENCH_A].frontend.request_fd, &message, sizeof(message)),
		sizeof(message));
	bench_serve(bench);
}

/* The answer, and that to the request which goes behind each. */
static void vmm_answer(struct bench *bench, uint32_t request, uint64_t number)
{
	vmm_answer_one(bench, request, number);
	vmm_answer_one(bench, VHOST_USER_BACKEND_CONFIG_CHANGE, 0);
}

static void anothers_memory_is_shown_piece_by_piece(void **state)
{
	struct vhost_user_shmem_mapping mapping;
	struct scif_virtio_reply reply;
	struct bench bench;
	uint32_t ends[2], slot, request;
	uint64_t offset;

	(void)state;
	bench_open_shm(&bench, "", 64 * PAGE);
	connect_two(&bench, BENCH_B, ends);
	offset = register_pages(&bench, BENCH_B, ends[1], 4, 7, BOTH);
	slot = bench_issue(
		&bench, BENCH_A,
		REQUEST(MMAP, .endpoint = ends[0],
			.map = { .offset = offset + PAGE, .bytes = 2 * PAGE, .prot = BOTH }),
		NULL, 0, NULL, 0);
	for (unsigned int i = 0; i < 2; i++) {
		int fd = vmm_request(&bench, &request, &mapping);
		unsigned char *seen;

		assert_int_equal(request, VHOST_USER_BACKEND_SHMEM_MAP);
		assert_int_equal(mapping.bytes, PAGE);
		assert_int_equal(mapping.offset, i * PAGE);
		seen = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			    (off_t)mapping.file_offset);
		assert_ptr_not_equal(seen, MAP_FAILED);
		seen[17] = (unsigned char)(50 + i);
		assert_int_equal(*window_byte(&bench, BENCH_B, (1 + i) * PAGE + 17), 50 + i);
		munmap(seen, PAGE);
		close(fd);
		assert_false(bench_answer(&bench, BENCH_A, slot, NULL));
		vmm_answer(&bench, request, 0);
	}
	assert_true(bench_answer(&bench, BENCH_A, slot, &reply));
	assert_int_equal(reply.status, 0);
	assert_int_equal(reply.flags, 0);
	assert_int_equal(reply.value[1], 0);
	slot = bench_issue(
		&bench, BENCH_A,
		REQUEST(MUNMAP, .endpoint = ends[0], .map.mapping = (uint32_t)reply.value[0]), NULL,
		0, NULL, 0);
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(vmm_request(&bench, &request, &mapping), -1);
		assert_int_equal(request, VHOST_USER_BACKEND_SHMEM_UNMAP);
		assert_false(bench_answer(&bench, BENCH_A, slot, NULL));
		vmm_answer(&bench, request, 0);
	}
	assert_true(bench_answer(&bench, BENCH_A, slot, &reply));
	assert_int_equal(reply.status, 0);
	bench_close(&bench);
}

static void a_refused_map_leaves_nothing(void **state)
{
	struct vhost_user_shmem_mapping mapping;
	struct scif_virtio_reply reply;
	struct bench bench;
	uint32_t ends[2], slot, request;
	uint64_t offset;

	(void)state;
	bench_open_shm(&bench, "", 64 * PAGE);
	connect_two(&bench, BENCH_B, ends);
	offset = register_pages(&bench, BENCH_B, ends[1], 4, 7, BOTH);
	slot = bench_issue(
		&bench, BENCH_A,
		REQUEST(MMAP, .endpoint = ends[0],
			.map = { .offset = offset, .bytes = 2 * PAGE, .prot = SCIF_PROT_READ }),
		NULL, 0, NULL, 0);
	for (unsigned int i = 0; i < 2; i++) {
		close(vmm_request(&bench, &request, &mapping));
		assert_int_equal(mapping.flags, 0);
		vmm_answer(&bench, request, i); /* the second is refused */
	}
	assert_false(bench_answer(&bench, BENCH_A, slot, NULL));
	assert_int_equal(vmm_request(&bench, &request, &mapping), -1);
	assert_int_equal(request, VHOST_USER_BACKEND_SHMEM_UNMAP);
	assert_int_equal(mapping.offset, 0);
	vmm_answer(&bench, request, 0);
	assert_true(bench_answer(&bench, BENCH_A, slot, &reply));
	assert_int_equal((int32_t)reply.status, -ENOMEM);
	assert_true(TAILQ_EMPTY(&bench.guests[BENCH_A].guest->maps));
	bench_close(&bench);
}

static void no_port_is_left(void **state)
{
	struct endpoint *somebody = (struct endpoint *)1;
	struct endpoint **ports;
	struct bench bench;
	uint32_t endpoint;

	(void)state;
	bench_open(&bench, "");
	endpoint = open_one(&bench, BENCH_A);
	ports = bench.guests[BENCH_A].guest->node->ports;
	for (unsigned int port = FABRIC_PORT_ANY_FIRST; port < FABRIC_PORTS; port++)
		ports[port] = somebody;
	assert_int_equal(bench_call(&bench, BENCH_A, REQUEST(BIND, .endpoint = endpoint), NULL),
			 -ENOSPC);
	ports[FABRIC_PORTS - 1] = NULL;
	assert_int_equal(bench_call(&bench, BENCH_A, REQUEST(BIND, .endpoint = endpoint), NULL), 0);
	for (unsigned int port = FABRIC_PORT_ANY_FIRST; port < FABRIC_PORTS - 1; port++)
		ports[port] = NULL;
	bench_close(&bench);
}

/* Another VM starts anew: its memory is hidden, the place stays taken until the driver unmaps it.
 */
static void a_vm_that_goes_is_hidden_from_others(void **state)
{
	struct vhost_user_shmem_mapping mapping;
	struct scif_virtio_reply reply;
	struct guest_map *map;
	struct bench bench;
	uint32_t ends[2], slot, request;
	uint64_t offset;

	(void)state;
	bench_open_shm(&bench, "", 64 * PAGE);
	connect_two(&bench, BENCH_B, ends);
	offset = register_pages(&bench, BENCH_B, ends[1], 4, 7, BOTH);
	slot = bench_issue(&bench, BENCH_A,
			   REQUEST(MMAP, .endpoint = ends[0],
				   .map = { .offset = offset, .bytes = PAGE, .prot = BOTH }),
			   NULL, 0, NULL, 0);
	close(vmm_request(&bench, &request, &mapping));
	vmm_answer(&bench, request, 0);
	assert_true(bench_answer(&bench, BENCH_A, slot, &reply));
	map = TAILQ_FIRST(&bench.guests[BENCH_A].guest->maps);
	assert_int_equal(map->state, GUEST_MAP_MAPPED);

	frontend_close(&bench.guests[BENCH_B].frontend);
	bench.guests[BENCH_B].attached = false;
	bench_serve(&bench);
	assert_int_equal(vmm_request(&bench, &request, &mapping), -1);
	assert_int_equal(request, VHOST_USER_BACKEND_SHMEM_UNMAP);
	assert_int_equal(mapping.offset, 0);
	assert_int_equal(mapping.bytes, PAGE);
	vmm_answer(&bench, request, 0);
	assert_int_equal(map->state, GUEST_MAP_CUT);
	assert_null(map->map.windows); /* nor is that memory kept */
	assert_int_equal(bench_call(&bench, BENCH_A,
				    REQUEST(MUNMAP, .endpoint = ends[0],
					    .map.mapping = (uint32_t)reply.value[0]),
				    NULL),
			 0);
	assert_true(TAILQ_EMPTY(&bench.guests[BENCH_A].guest->maps));
	bench_close(&bench);
}

static void a_vmm_that_goes_ends_its_maps(void **state)
{
	struct bench bench;
	uint32_t ends[2];
	uint64_t offset;

	(void)state;
	bench_open_shm(&bench, "", 64 * PAGE);
	connect_two(&bench, BENCH_B, ends);
	offset = register_pages(&bench, BENCH_B, ends[1], 4, 7, BOTH);
	bench_issue(&bench, BENCH_A,
		    REQUEST(MMAP, .endpoint = ends[0],
			    .map = { .offset = offset, .bytes = PAGE, .prot = SCIF_PROT_READ }),
		    NULL, 0, NULL, 0);
	frontend_close(&bench.guests[BENCH_A].frontend);
	bench.guests[BENCH_A].attached = false;
	bench_serve(&bench);
	assert_true(TAILQ_EMPTY(&bench.guests[BENCH_A].guest->maps));
	assert_true(TAILQ_EMPTY(&bench.guests[BENCH_A].guest->calls));
	bench_close(&bench);
}

static void poll_arms_an_event(void **state)
{
	struct scif_virtio_event event;
	struct scif_virtio_reply reply;
	struct bench bench;
	uint32_t ends[2];

	(void)state;
	bench_open(&bench, "");
	bench_offer_events(&bench, BENCH_A, 4);
	connect_two(&bench, BENCH_B, ends);
	assert_int_equal(bench_call(&bench, BENCH_A,
				    REQUEST(POLL, .endpoint = ends[0],
					    .flags = SCIF_VIRTIO_POLL_ARM, .poll.mask = POLLIN),
				    &reply),
			 0);
	assert_int_equal(reply.value[0], POLLOUT);
	assert_false(bench_event(&bench, BENCH_A, &event));
	assert_int_equal(send_bytes(&bench, BENCH_B, ends[1], "1234", 4, 0), 4);
	assert_true(bench_event(&bench, BENCH_A, &event));
	assert_int_equal(event.kind, SCIF_VIRTIO_EVENT_POLL);
	assert_int_equal(event.endpoint, ends[0]);
	assert_int_equal(event.mask, POLLIN);
	/* Once. */
	assert_int_equal(send_bytes(&bench, BENCH_B, ends[1], "1234", 4, 0), 4);
	assert_false(bench_event(&bench, BENCH_A, &event));
	bench_close(&bench);
}

static void quotas_are_kept(void **state)
{
	struct virtio_ring_desc page = { .addr = BENCH_PAGES, .len = PAGE };
	struct scif_virtio_reply reply;
	struct bench bench;
	uint32_t ends[2], slot;

	(void)state;
	bench_open(&bench, ",endpoints=4,windows=2,pinned=12288");
	connect_two(&bench, BENCH_A, ends); /* three: the listener, and both ends */
	open_one(&bench, BENCH_A);
	assert_int_equal(bench_call(&bench, BENCH_A, REQUEST(OPEN), NULL), -EMFILE);
	/* The other VM has its own. */
	open_one(&bench, BENCH_B);
	assert_int_equal(
		bench_call(&bench, BENCH_A,
			   REQUEST(REGISTER, .endpoint = ends[0],
				   .window = { .bytes = 4 * PAGE, .cookie = 1, .prot = BOTH }),
			   NULL),
		-ENOMEM);
	for (uint64_t cookie = 1; cookie < 4; cookie++) {
		slot = bench_issue(
			&bench, BENCH_A,
			REQUEST(REGISTER, .endpoint = ends[0],
				.window = { .bytes = PAGE, .cookie = cookie, .prot = BOTH }),
			NULL, 0, &page, 1);
		assert_true(bench_answer(&bench, BENCH_A, slot, &reply));
		assert_int_equal((int32_t)reply.status, cookie < 3 ? 0 : -ENOMEM);
	}
	assert_int_equal(bench_call(&bench, BENCH_A, REQUEST(CLOSE, .endpoint = ends[0]), NULL), 0);
	open_one(&bench, BENCH_A);
	bench_close(&bench);
}

static void bandwidth_is_kept(void **state)
{
	struct timespec begin, end;
	struct bench bench;
	uint32_t ends[2];
	uint64_t offset, own;
	double seconds;

	(void)state;
	/* A burst of 1.2 MiB is free; the other 2.8 MiB take 0.7 s. */
	bench_open(&bench, ",bandwidth=4M");
	connect_two(&bench, BENCH_B, ends);
	own = register_pages(&bench, BENCH_A, ends[0], 8, 7, BOTH);
	offset = register_pages(&bench, BENCH_B, ends[1], 8, 7, BOTH);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (unsigned int i = 0; i < 128; i++) {
		unsigned int slot =
			bench_issue(&bench, BENCH_A,
				    REQUEST(WRITETO, .endpoint = ends[0], .flags = SCIF_RMA_SYNC,
					    .rma = { own, offset, 8 * PAGE }),
				    NULL, 0, NULL, 0);

		while (!bench_answer(&bench, BENCH_A, slot, NULL))
			poll(NULL, 0, 1);
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	seconds = (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
	assert_true(seconds > 0.6);
	assert_int_equal(bench.guests[BENCH_A].guest->node->copied_bytes, 4 << 20);
	bench_close(&bench);
}

/* What the journal says of each VM's tenant. */
struct written {
	struct journal_usage red, blue;
	unsigned int rows;
};

static void written_add(void *context, const struct journal_row *row)
{
	struct written *written = context;

	assert_string_equal(row->daemon, "scifd");
	written->rows++;
	if (!strcmp(row->tenant, "red"))
		written->red = row->usage;
	else if (!strcmp(row->tenant, "blue"))
		written->blue = row->usage;
}

/* move_bytes - 5 + 3 bytes of messages from VM a to b, 6 back, and a copy of 7 pages and 100 bytes
 */
static void move_bytes(struct bench *bench)
{
	uint32_t ends[2], slots[2];
	uint64_t offsets[2];

	connect_two(bench, BENCH_B, ends);
	slots[1] = receive_start(bench, BENCH_B, ends[1], 8, 0);
	assert_int_equal(send_bytes(bench, BENCH_A, ends[0], "cause", 5, 0), 5);
	assert_int_equal(send_bytes(bench, BENCH_A, ends[0], "way", 3, 0), 3);
	assert_true(bench_answer(bench, BENCH_B, slots[1], NULL));
	slots[0] = receive_start(bench, BENCH_A, ends[0], 6, 0);
	assert_int_equal(send_bytes(bench, BENCH_B, ends[1], "answer", 6, 0), 6);
	assert_true(bench_answer(bench, BENCH_A, slots[0], NULL));
	offsets[0] = register_pages(bench, BENCH_A, ends[0], 8, 1, BOTH);
	offsets[1] = register_pages(bench, BENCH_B, ends[1], 8, 1, BOTH);
	assert_int_equal(
		bench_call(bench, BENCH_A,
			   REQUEST(WRITETO, .endpoint = ends[0], .flags = SCIF_RMA_SYNC,
				   .rma = { offsets[0] + 5, offsets[1] + 9, 7 * PAGE + 100 }),
			   NULL),
		0);
}

static void bytes_are_in_the_journal(void **state)
{
	const struct journal_query all = { .until = INT64_MAX };
	char path[] = "/tmp/causeway-scif-journal.XXXXXX";
	struct event_base *base = event_base_new();
	struct account *account = NULL;
	struct written written = { 0 };
	struct error error = { 0 };
	struct bench bench;
	int fd = mkstemp(path);

	(void)state;
	assert_true(base && fd >= 0);
	close(fd);
	unlink(path);
	bench_open(&bench, "");
	bench.settings.accounting = (struct journal_settings){
		.path = path, .keep_days = 1, .keep_mib = 1, .interval_s = 60
	};
	strcpy(bench.guests[BENCH_A].guest->node->tenant, "red");
	strcpy(bench.guests[BENCH_B].guest->node->tenant, "blue");
	assert_int_equal(account_open(&account, base, &bench.fabric, &bench.settings, &error), 0);
	move_bytes(&bench);
	account_close(account);
	assert_int_equal(journal_read(path, &all, written_add, &written, &error), 0);
	assert_int_equal(written.rows, 2);
	assert_int_equal(written.red.counters[JOURNAL_IN_BYTES], 8);
	assert_int_equal(written.red.counters[JOURNAL_OUT_BYTES], 6);
	assert_int_equal(written.red.counters[JOURNAL_WITHIN_BYTES], 7 * PAGE + 100);
	assert_int_equal(written.blue.counters[JOURNAL_IN_BYTES], 6);
	assert_int_equal(written.blue.counters[JOURNAL_OUT_BYTES], 8);
	assert_int_equal(written.blue.counters[JOURNAL_WITHIN_BYTES], 0);
	assert_true(written.red.counters[JOURNAL_CALLS] > 6);
	memset(&bench.settings.accounting, 0, sizeof(bench.settings.accounting));
	bench_close(&bench);
	event_base_free(base);
	unlink(path);
}

static void nonsense_is_answered(void **state)
{
	struct bench bench;

	(void)state;
	bench_open(&bench, "");
	assert_int_equal(bench_call(&bench, BENCH_A,
				    &(struct scif_virtio_request){ .call = SCIF_VIRTIO_CALLS },
				    NULL),
			 -EINVAL);
	assert_int_equal(bench_call(&bench, BENCH_A, &(struct scif_virtio_request){ 0 }, NULL),
			 -EINVAL);
	assert_int_equal(bench_call(&bench, BENCH_A, REQUEST(OPEN, .reserved = 1), NULL), -EINVAL);
	assert_int_equal(bench_call(&bench, BENCH_A, REQUEST(OPEN, .bytes[39] = 1), NULL), -EINVAL);
	for (uint32_t call = SCIF_VIRTIO_CLOSE; call < SCIF_VIRTIO_GET_NODES; call++) {
		struct scif_virtio_request request = { .call = call, .endpoint = 12345 };

		assert_int_equal(bench_call(&bench, BENCH_A, &request, NULL), -EBADF);
	}
	bench_close(&bench);
}

static void a_short_chain_breaks_its_queue_alone(void **state)
{
	struct virtio_ring_desc parts[2] = {
		{ .addr = BENCH_PAGES, .len = 63 },
		{ .addr = BENCH_PAGES + 64, .len = 32, .flags = VIRTIO_RING_DESC_F_WRITE },
	};
	struct virtio_ring_used_elem element;
	struct bench bench;

	(void)state;
	bench_open(&bench, "");
	frontend_offer(&bench.guests[BENCH_A].frontend, 2, parts, 2);
	frontend_kick(&bench.guests[BENCH_A].frontend, 2);
	assert_false(frontend_used(&bench.guests[BENCH_A].frontend, 2, &element));
	open_one(&bench, BENCH_A); /* by the other request queue */
	open_one(&bench, BENCH_B);
	bench_close(&bench);
}

static void a_guest_that_goes_leaves_nothing(void **state)
{
	struct scif_virtio_reply reply;
	struct bench bench;
	uint32_t ends[2], slot;
	struct node *node;

	(void)state;
	bench_open(&bench, "");
	connect_two(&bench, BENCH_B, ends);
	register_pages(&bench, BENCH_A, ends[0], 4, 7, BOTH);
	receive_start(&bench, BENCH_A, ends[0], 8, 1);
	slot = receive_start(&bench, BENCH_B, ends[1], 8, 1);
	frontend_close(&bench.guests[BENCH_A].frontend);
	bench.guests[BENCH_A].attached = false;
	bench_serve(&bench);
	node = bench.guests[BENCH_A].guest->node;
	assert_int_equal(node->endpoint_count, 0);
	assert_int_equal(node->window_count, 0);
	assert_int_equal(node->pinned_bytes, 0);
	assert_true(bench_answer(&bench, BENCH_B, slot, &reply));
	assert_int_equal((int32_t)reply.status, -ECONNRESET);
	bench_attach(&bench, BENCH_A);
	connect_two(&bench, BENCH_B, ends);
	bench_close(&bench);
}

static void a_new_driver_starts_afresh(void **state)
{
	struct scif_virtio_event event;
	struct frontend *frontend;
	struct bench bench;
	uint32_t ends[2];

	(void)state;
	bench_open(&bench, "");
	connect_two(&bench, BENCH_B, ends);
	register_pages(&bench, BENCH_A, ends[0], 4, 7, BOTH);
	receive_start(&bench, BENCH_A, ends[0], 8, 1);
	frontend = &bench.guests[BENCH_A].frontend;
	for (unsigned int i = 0; i < FRONTEND_QUEUES; i++) {
		struct frontend_queue *queue = &frontend->queues[i];

		frontend_stop_queue(frontend, i);
		queue->available->idx = queue->used->idx = 0;
		queue->next_descriptor = queue->next_available = queue->next_used = 0;
	}
	memset(bench.guests[BENCH_A].slots, 0, sizeof(bench.guests[BENCH_A].slots));
	for (unsigned int i = 0; i < FRONTEND_QUEUES; i++)
		frontend_start_queue(frontend, i, 0);
	bench_serve(&bench);
	assert_int_equal(bench.guests[BENCH_A].guest->node->endpoint_count, 0);
	bench_offer_events(&bench, BENCH_A, 2);
	assert_false(bench_event(&bench, BENCH_A, &event)); /* the window was another driver's */
	open_one(&bench, BENCH_A);
	bench_close(&bench);
}

static void a_paused_guest_goes_on(void **state)
{
	struct scif_virtio_reply reply;
	struct frontend *frontend;
	uint16_t bases[FRONTEND_QUEUES];
	struct bench bench;
	uint32_t ends[2], slot;
	char before[8], bytes[8];

	(void)state;
	bench_open(&bench, "");
	connect_two(&bench, BENCH_B, ends);
	slot = receive_start(&bench, BENCH_A, ends[0], 8, 1);
	received(&bench, BENCH_A, before, 8);
	frontend = &bench.guests[BENCH_A].frontend;
	for (unsigned int i = 0; i < FRONTEND_QUEUES; i++)
		bases[i] = frontend_stop_queue(frontend, i);
	assert_int_equal(send_bytes(&bench, BENCH_B, ends[1], "12345678", 8, 0), 8);
	bench_serve(&bench);
	received(&bench, BENCH_A, bytes, 8);
	assert_memory_equal(bytes, before, 8); /* memory of a guest that stands still */
	for (unsigned int i = 0; i < FRONTEND_QUEUES; i++)
		frontend_start_queue(frontend, i, bases[i]);
	assert_true(bench_answer(&bench, BENCH_A, slot, &reply));
	assert_int_equal(reply.value[0], 8);
	received(&bench, BENCH_A, bytes, 8);
	assert_memory_equal(bytes, "12345678", 8);
	bench_close(&bench);
}

static void a_poll_armed_before_a_pause_fires_after_it(void **state)
{
	struct scif_virtio_event event;
	struct frontend *frontend;
	uint16_t bases[FRONTEND_QUEUES];
	struct bench bench;
	uint32_t ends[2];

	(void)state;
	bench_open(&bench, "");
	bench_offer_events(&bench, BENCH_A, 2);
	connect_two(&bench, BENCH_B, ends);
	assert_int_equal(bench_call(&bench, BENCH_A,
				    REQUEST(POLL, .endpoint = ends[0],
					    .flags = SCIF_VIRTIO_POLL_ARM, .poll.mask = POLLIN),
				    NULL),
			 0);
	frontend = &bench.guests[BENCH_A].frontend;
	for (unsigned int i = 0; i < FRONTEND_QUEUES; i++)
		bases[i] = frontend_stop_queue(frontend, i);
	assert_int_equal(send_bytes(&bench, BENCH_B, ends[1], "1", 1, 0), 1);
	for (unsigned int i = 0; i < FRONTEND_QUEUES; i++)
		frontend_start_queue(frontend, i, bases[i]);
	assert_true(bench_event(&bench, BENCH_A, &event));
	assert_int_equal(event.mask, POLLIN);
	bench_close(&bench);
}

static void waiting_calls_survive_a_new_memory_table(void **state)
{
	struct scif_virtio_reply reply;
	struct bench bench;
	uint32_t ends[2], slot;
	char bytes[8];

	(void)state;
	bench_open(&bench, "");
	connect_two(&bench, BENCH_B, ends);
	slot = receive_start(&bench, BENCH_A, ends[0], 8, 1);
	frontend_share_memory(&bench.guests[BENCH_A].frontend);
	assert_int_equal(send_bytes(&bench, BENCH_B, ends[1], "12345678", 8, 0), 8);
	assert_true(bench_answer(&bench, BENCH_A, slot, &reply));
	received(&bench, BENCH_A, bytes, 8);
	assert_memory_equal(bytes, "12345678", 8);
	bench_close(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(loopback_connects_and_talks),
		cmocka_unit_test(guests_talk_to_each_other),
		cmocka_unit_test(who_may_not_see_cannot_connect),
		cmocka_unit_test(a_cancelled_call_comes_back),
		cmocka_unit_test(a_cancelled_call_keeps_what_it_moved),
		cmocka_unit_test(closing_ends_waiting_calls),
		cmocka_unit_test(copies_cross_scattered_pages_and_guests),
		cmocka_unit_test(a_window_without_write_is_never_written),
		cmocka_unit_test(an_incomplete_window_is_none),
		cmocka_unit_test(released_pages_are_told_once),
		cmocka_unit_test(a_mapping_keeps_its_window),
		cmocka_unit_test(mapping_another_guest_needs_a_region),
		cmocka_unit_test(anothers_memory_is_shown_piece_by_piece),
		cmocka_unit_test(a_refused_map_leaves_nothing),
		cmocka_unit_test(no_port_is_left),
		cmocka_unit_test(a_vm_that_goes_is_hidden_from_others),
		cmocka_unit_test(a_vmm_that_goes_ends_its_maps),
		cmocka_unit_test(poll_arms_an_event),
		cmocka_unit_test(quotas_are_kept),
		cmocka_unit_test(bandwidth_is_kept),
		cmocka_unit_test(bytes_are_in_the_journal),
		cmocka_unit_test(nonsense_is_answered),
		cmocka_unit_test(a_short_chain_breaks_its_queue_alone),
		cmocka_unit_test(a_guest_that_goes_leaves_nothing),
		cmocka_unit_test(a_new_driver_starts_afresh),
		cmocka_unit_test(a_paused_guest_goes_on),
		cmocka_unit_test(a_poll_armed_before_a_pause_fires_after_it),
		cmocka_unit_test(waiting_calls_survive_a_new_memory_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
