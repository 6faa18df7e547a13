/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A card behind a host's driver: each call of a guest becomes the driver's. The driver is one of
 * the test: an endpoint is a socket pair, the card's memory a buffer, windows are what was
 * registered, and some calls never end unless a signal comes. An endpoint can be written to once
 * its peer read what it had: so a full socket pair is one whose connect is under way, and one with
 * a byte in it a listener that somebody waits at.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "scif/fabric/device.h"
#include "tests/unit/scif_bench.h"

#define PAGE	    4096u
#define CARD_BYTES  (16 * PAGE)
#define CARD_OFFSET 0x8000000000ull
#define MARK	    5
#define MARK_NEVER  6
#define MARK_LATE   7
#define PORT	    7
#define PORT_FULL   8
#define PORT_SLOW   9
#define PORT_TAKEN  10
#define CARD_PORT   2000
#define HANDLE	    0x1234567812345678ull
#define EARLY_MS    50
#define BOTH	    (SCIF_PROT_READ | SCIF_PROT_WRITE)
#define ANSWER_S    20

static struct {
	int card_fd; /* the other end of the last endpoint */
	unsigned char *memory;
	unsigned char *window;
	uint64_t window_offset, window_bytes;
	unsigned int registrations;
	unsigned int caller_node; /* of who waits at the listener */
	int listener_fd, backlog; /* the other end of the last listener */
	bool settled, refuses;	  /* the slow connect */
	atomic_bool early;	  /* a call is about to be entered */
} driver;

static int driver_open(const char *path)
{
	int ends[2];

	assert_string_equal(path, "/dev/of-the-test");
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	if (driver.card_fd >= 0)
		close(driver.card_fd);
	driver.card_fd = ends[1];
	return ends[0];
}

static int driver_fail(int code)
{
	errno = code;
	return -1;
}

static int driver_message(int fd, bool sends, uint64_t *argument)
{
	int32_t *numbers = (int32_t *)(argument + 1); /* bytes, flags, moved */
	void *place = (void *)(uintptr_t)argument[0];
	ssize_t moved = sends ? send(fd, place, (size_t)numbers[0], MSG_DONTWAIT | MSG_NOSIGNAL)
			      : recv(fd, place, (size_t)numbers[0], MSG_DONTWAIT);

	assert_int_equal(numbers[1], 0); /* never told to block */
	if (moved < 0 && errno != EAGAIN)
		return driver_fail(ECONNRESET);
	if (moved == 0)
		return driver_fail(ECONNRESET);
	numbers[2] = moved < 0 ? 0 : (int32_t)moved;
	return 0;
}

static int driver_copy(unsigned long number, const uint64_t *argument)
{
	uint64_t local = argument[0], bytes = argument[1], remote = argument[2] - CARD_OFFSET;
	bool program = (number & 0xff) >= 0x0c, reads = !(number & 1);
	unsigned char *own;

	if (remote > CARD_BYTES || bytes > CARD_BYTES - remote)
		return driver_fail(ENXIO);
	if (!program && (local < driver.window_offset ||
			 local + bytes > driver.window_offset + driver.window_bytes))
		return driver_fail(ENXIO);
	own = program ? (unsigned char *)(uintptr_t)argument[3]
		      : driver.window + (local - driver.window_offset);
	memcpy(reads ? own : driver.memory + remote, reads ? driver.memory + remote : own, bytes);
	return 0;
}

static int driver_wait_for_ever(void)
{
	struct timespec day = { 86400, 0 };

	return nanosleep(&day, NULL) < 0 ? driver_fail(EINTR) : 0;
}

/* Begins to wait for ever only after a while, in which signals are lost. */
static int driver_wait_late(void)
{
	struct timespec rest = { 0, EARLY_MS * 1000000 };

	atomic_store(&driver.early, true);
	while (nanosleep(&rest, &rest) < 0)
		continue;
	return driver_wait_for_ever();
}

static int driver_connect(int fd, const uint16_t *connect)
{
	static const char bytes[4096];

	assert_int_equal(connect[2], 1);
	if (connect[3] != PORT_SLOW)
		return connect[3] == PORT ? 0 : driver_fail(ECONNREFUSED);
	if (driver.settled)
		return driver.refuses ? driver_fail(ECONNREFUSED) : 0;
	while (send(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		continue;
	return driver_fail(EINPROGRESS);
}

/* The slow connect is over: its endpoint can be written to. */
static void driver_settle(bool refuses)
{
	char bytes[4096];

	driver.settled = true;
	driver.refuses = refuses;
	while (recv(driver.card_fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		continue;
}

static int driver_accept(int fd, unsigned char *argument)
{
	const uint16_t peer[2] = { (uint16_t)driver.caller_node, CARD_PORT };
	const uint64_t handle = HANDLE;
	char byte;

	assert_int_equal(*(int32_t *)argument, 0); /* never told to block */
	if (recv(fd, &byte, 1, MSG_DONTWAIT) != 1)
		return driver_fail(EAGAIN);
	memcpy(argument + 4, peer, sizeof(peer));
	memcpy(argument + 8, &handle, sizeof(handle));
	return 0;
}

static int driver_control(int fd, unsigned long number, void *argument)
{
	uint64_t *words = argument;

	switch (number & 0xff) {
	case 0x01:
		return *(int *)argument == PORT_TAKEN ? driver_fail(EINVAL) : 0;
	case 0x02:
		driver.backlog = (int)(uintptr_t)argument;
		driver.listener_fd = driver.card_fd;
		driver.card_fd = -1;
		return 0;
	case 0x03:
		return driver_connect(fd, argument);
	case 0x04:
		return driver_accept(fd, argument);
	case 0x05:
		return *words == HANDLE ? 0 : driver_fail(ENOENT);
	case 0x06:
	case 0x07:
		return driver_message(fd, (number & 0xff) == 0x06, words);
	case 0x08:
		driver.window = (unsigned char *)(uintptr_t)words[0];
		driver.window_bytes = words[1];
		driver.window_offset = words[2];
		driver.registrations++;
		return 0;
	case 0x09:
		if (words[0] != driver.window_offset)
			return driver_fail(ENXIO);
		driver.window_bytes = 0;
		return 0;
	case 0x0f:
		*(int32_t *)(uintptr_t)words[1] = MARK;
		return 0;
	case 0x10:
		if ((uintptr_t)argument == MARK_LATE)
			return driver_wait_late();
		return (uintptr_t)argument == MARK ? 0 : driver_wait_for_ever();
	case 0x11:
		memcpy(driver.window + (words[0] - driver.window_offset), &words[1], 8);
		return 0;
	default:
		return driver_copy(number, words);
	}
}

static void *driver_map(int fd, uint64_t bytes, int prot, uint64_t offset)
{
	(void)fd;
	(void)bytes;
	(void)prot;
	(void)offset;
	errno = ENXIO;
	return MAP_FAILED;
}

static void card_open(struct bench *bench)
{
	struct node *card;

	driver.card_fd = -1;
	driver.memory = calloc(1, CARD_BYTES);
	driver.registrations = 0;
	driver.settled = false;
	driver.listener_fd = -1;
	driver.caller_node = 1;
	device_system = (struct device_system){ driver_open, driver_control, driver_map };
	bench_open_shm(bench, "", 64 * PAGE);
	card = node_create(&bench->fabric, 1, NODE_CARD, "mic0", &bench->local->inbox);
	assert_non_null(card);
	card->device = "/dev/of-the-test";
	card->device_node = 1;
	bench->guests[BENCH_A].guest->node->visible |= 2;
	bench->guests[BENCH_A].guest->node->hears = card;
	assert_int_equal(device_start(&bench->fabric), 0);
}

static void card_close(struct bench *bench)
{
	bench_close_before(bench);
	device_stop(&bench->fabric);
	bench_close_after(bench);
	close(driver.card_fd);
	close(driver.listener_fd);
	free(driver.memory);
}

/* The answer, which threads may have to make first. */
static int32_t await(struct bench *bench, unsigned int slot, struct scif_virtio_reply *reply)
{
	time_t end = time(NULL) + ANSWER_S;

	while (!bench_answer(bench, BENCH_A, slot, reply)) {
		assert_true(time(NULL) < end);
		poll(NULL, 0, 1);
	}
	return (int32_t)reply->status;
}

static int32_t ask(struct bench *bench, const struct scif_virtio_request *request,
		   struct scif_virtio_reply *reply)
{
	return await(bench, bench_issue(bench, BENCH_A, request, NULL, 0, NULL, 0), reply);
}

static uint32_t dial(struct bench *bench)
{
	struct scif_virtio_reply reply;
	uint32_t endpoint;

	assert_int_equal(ask(bench, REQUEST(OPEN), &reply), 0);
	endpoint = (uint32_t)reply.value[0];
	assert_int_equal(
		ask(bench, REQUEST(CONNECT, .endpoint = endpoint, .connect = { 1, PORT }), &reply),
		0);
	return endpoint;
}

static void connects_or_is_refused(void **state)
{
	struct scif_virtio_reply reply;
	struct bench bench;
	uint32_t endpoint;

	(void)state;
	card_open(&bench);
	assert_int_equal(ask(&bench, REQUEST(OPEN), &reply), 0);
	endpoint = (uint32_t)reply.value[0];
	for (int i = 0; i < 3; i++)
		assert_int_equal(
			ask(&bench,
			    REQUEST(CONNECT, .endpoint = endpoint, .connect = { 1, PORT_FULL }),
			    &reply),
			-ECONNREFUSED);
	assert_int_equal(
		ask(&bench, REQUEST(CONNECT, .endpoint = endpoint, .connect = { 1, PORT }), &reply),
		0);
	assert_int_equal(
		ask(&bench, REQUEST(CONNECT, .endpoint = endpoint, .connect = { 1, PORT }), &reply),
		-EISCONN);
	card_close(&bench);
}

static uint32_t open_endpoint(struct bench *bench)
{
	struct scif_virtio_reply reply;

	assert_int_equal(ask(bench, REQUEST(OPEN), &reply), 0);
	return (uint32_t)reply.value[0];
}

static int32_t connect_slowly(struct bench *bench, uint32_t endpoint)
{
	struct scif_virtio_reply reply;

	return ask(bench,
		   REQUEST(CONNECT, .endpoint = endpoint, .flags = SCIF_VIRTIO_NONBLOCK,
			   .connect = { 1, PORT_SLOW }),
		   &reply);
}

static void await_event(struct bench *bench, struct scif_virtio_event *event)
{
	time_t end = time(NULL) + ANSWER_S;

	while (!bench_event(bench, BENCH_A, event)) {
		assert_true(time(NULL) < end);
		poll(NULL, 0, 1);
	}
}

static void a_connect_returns_before_it_is_settled(void **state)
{
	struct scif_virtio_event event;
	struct scif_virtio_reply reply;
	struct bench bench;
	uint32_t endpoint;

	(void)state;
	card_open(&bench);
	bench_offer_events(&bench, BENCH_A, 4);
	for (int refuses = 1; refuses >= 0; refuses--) {
		driver.settled = false;
		endpoint = open_endpoint(&bench);
		assert_int_equal(connect_slowly(&bench, endpoint), -EINPROGRESS);
		assert_int_equal(connect_slowly(&bench, endpoint), -EINPROGRESS);
		assert_int_equal(ask(&bench,
				     REQUEST(POLL, .endpoint = endpoint,
					     .flags = SCIF_VIRTIO_POLL_ARM, .poll.mask = POLLOUT),
				     &reply),
				 0);
		assert_int_equal(reply.value[0], 0);
		assert_false(bench_event(&bench, BENCH_A, &event));
		driver_settle(refuses);
		await_event(&bench, &event);
		assert_int_equal(event.mask, POLLOUT);
		assert_int_equal(connect_slowly(&bench, endpoint), refuses ? -ECONNREFUSED : 0);
		assert_int_equal(ask(&bench,
				     REQUEST(FENCE_MARK, .endpoint = endpoint,
					     .flags = SCIF_FENCE_INIT_SELF),
				     &reply),
				 refuses ? -ENOTCONN : 0);
	}
	card_close(&bench);
}

static void a_connect_waits_for_the_drivers_poll(void **state)
{
	struct scif_virtio_reply reply, other;
	struct bench bench;
	uint32_t endpoint;
	unsigned int slot;

	(void)state;
	card_open(&bench);
	endpoint = open_endpoint(&bench);
	slot = bench_issue(
		&bench, BENCH_A,
		REQUEST(CONNECT, .endpoint = endpoint, .connect = { 1, PORT_SLOW }, .tag = 3), NULL,
		0, NULL, 0);
	assert_false(bench_answer(&bench, BENCH_A, slot, &reply));
	assert_int_equal(ask(&bench, REQUEST(CANCEL, .cancel.tag = 3), &other), 0);
	assert_int_equal(await(&bench, slot, &reply), -EINTR);
	slot = bench_issue(&bench, BENCH_A,
			   REQUEST(CONNECT, .endpoint = endpoint, .connect = { 1, PORT_SLOW }),
			   NULL, 0, NULL, 0);
	assert_false(bench_answer(&bench, BENCH_A, slot, &reply));
	driver_settle(false);
	assert_int_equal(await(&bench, slot, &reply), 0);
	card_close(&bench);
}

static uint32_t listen_at(struct bench *bench, uint16_t port)
{
	struct scif_virtio_reply reply;
	uint32_t endpoint = open_endpoint(bench);

	assert_int_equal(ask(bench, REQUEST(BIND, .endpoint = endpoint, .bind.port = port), &reply),
			 0);
	assert_int_equal(
		ask(bench, REQUEST(LISTEN, .endpoint = endpoint, .listen.backlog = 4), &reply), 0);
	return endpoint;
}

static void a_card_reaches_a_listener(void **state)
{
	struct virtio_ring_desc part = { .addr = BENCH_PAGES, .len = 3 };
	struct scif_virtio_event event;
	struct scif_virtio_reply reply;
	struct bench bench;
	uint32_t listener, endpoint;
	unsigned int slot;

	(void)state;
	card_open(&bench);
	bench_offer_events(&bench, BENCH_A, 2);
	listener = listen_at(&bench, 50);
	assert_int_equal(driver.backlog, 4);
	assert_int_equal(ask(&bench, REQUEST(ACCEPTREQ, .endpoint = listener), &reply), -EAGAIN);
	assert_int_equal(ask(&bench,
			     REQUEST(POLL, .endpoint = listener, .flags = SCIF_VIRTIO_POLL_ARM,
				     .poll.mask = POLLIN),
			     &reply),
			 0);
	assert_int_equal(reply.value[0], 0);
	assert_int_equal(write(driver.listener_fd, "x", 1), 1);
	await_event(&bench, &event);
	assert_int_equal(event.mask, POLLIN);
	slot = bench_issue(&bench, BENCH_A,
			   REQUEST(ACCEPTREQ, .endpoint = listener, .flags = SCIF_ACCEPT_SYNC),
			   NULL, 0, NULL, 0);
	assert_int_equal(await(&bench, slot, &reply), 0);
	assert_int_equal(reply.value[0], 1 | CARD_PORT << 16);
	endpoint = open_endpoint(&bench);
	assert_int_equal(
		ask(&bench,
		    REQUEST(ACCEPTREG, .endpoint = endpoint, .accept.handle = reply.value[1]),
		    &reply),
		0);
	assert_int_equal(write(driver.card_fd, "hi!", 3), 3);
	slot = bench_issue(&bench, BENCH_A,
			   REQUEST(RECV, .endpoint = endpoint, .flags = SCIF_RECV_BLOCK), NULL, 0,
			   &part, 1);
	assert_int_equal(await(&bench, slot, &reply), 0);
	assert_memory_equal(frontend_at(&bench.guests[BENCH_A].frontend, BENCH_PAGES), "hi!", 3);
	card_close(&bench);
}

static void an_accept_waits_for_the_card(void **state)
{
	struct scif_virtio_reply reply;
	struct bench bench;
	uint32_t listener;
	unsigned int slot;

	(void)state;
	card_open(&bench);
	listener = listen_at(&bench, 50);
	slot = bench_issue(&bench, BENCH_A,
			   REQUEST(ACCEPTREQ, .endpoint = listener, .flags = SCIF_ACCEPT_SYNC),
			   NULL, 0, NULL, 0);
	assert_false(bench_answer(&bench, BENCH_A, slot, &reply));
	driver.caller_node = 2; /* of another card, which this VM does not see */
	assert_int_equal(write(driver.listener_fd, "x", 1), 1);
	poll(NULL, 0, 50);
	assert_false(bench_answer(&bench, BENCH_A, slot, &reply));
	driver.caller_node = 1;
	assert_int_equal(write(driver.listener_fd, "x", 1), 1);
	assert_int_equal(await(&bench, slot, &reply), 0);
	assert_int_equal(ask(&bench, REQUEST(CLOSE, .endpoint = listener), &reply), 0);
	assert_int_equal(recv(driver.listener_fd, (char[1]){ 0 }, 1, 0), 0); /* the driver's too */
	assert_int_equal(recv(driver.card_fd, (char[1]){ 0 }, 1, 0), 0);
	card_close(&bench);
}

static void a_port_that_the_driver_refuses(void **state)
{
	struct scif_virtio_reply reply;
	struct bench bench;
	uint32_t listener, endpoint;
	unsigned int slot;

	(void)state;
	card_open(&bench);
	listener = listen_at(&bench, PORT_TAKEN); /* the VM's own programs still reach it */
	endpoint = open_endpoint(&bench);
	slot = bench_issue(&bench, BENCH_A,
			   REQUEST(CONNECT, .endpoint = endpoint, .connect = { 0, PORT_TAKEN }),
			   NULL, 0, NULL, 0);
	assert_false(bench_answer(&bench, BENCH_A, slot, &reply));
	assert_int_equal(ask(&bench, REQUEST(ACCEPTREQ, .endpoint = listener), &reply), 0);
	assert_int_equal(await(&bench, slot, &reply), 0);
	card_close(&bench);
}

static void messages_wait_for_the_drivers_poll(void **state)
{
	struct virtio_ring_desc parts[2] = { { .addr = BENCH_PAGES, .len = 5 },
					     { .addr = BENCH_PAGES + PAGE, .len = 3 } };
	struct scif_virtio_reply reply;
	struct bench bench;
	char bytes[9] = "";
	uint32_t endpoint;
	unsigned int slot;

	(void)state;
	card_open(&bench);
	endpoint = dial(&bench);
	slot = bench_issue(&bench, BENCH_A,
			   REQUEST(RECV, .endpoint = endpoint, .flags = SCIF_RECV_BLOCK), NULL, 0,
			   parts, 2);
	assert_false(bench_answer(&bench, BENCH_A, slot, &reply));
	assert_int_equal(write(driver.card_fd, "cause", 5), 5);
	assert_int_equal(write(driver.card_fd, "way", 3), 3);
	assert_int_equal(await(&bench, slot, &reply), 0);
	assert_int_equal(reply.value[0], 8);
	frontend_get(&bench.guests[BENCH_A].frontend, BENCH_PAGES, bytes, 5);
	frontend_get(&bench.guests[BENCH_A].frontend, BENCH_PAGES + PAGE, bytes + 5, 3);
	assert_string_equal(bytes, "causeway");
	slot = bench_issue(&bench, BENCH_A, REQUEST(SEND, .endpoint = endpoint), parts, 2, NULL, 0);
	assert_int_equal(await(&bench, slot, &reply), 0);
	assert_int_equal(reply.value[0], 8);
	memset(bytes, 0, sizeof(bytes));
	assert_int_equal(read(driver.card_fd, bytes, 8), 8);
	assert_string_equal(bytes, "causeway");
	card_close(&bench);
}

static void poll_is_the_drivers(void **state)
{
	struct scif_virtio_event event;
	struct scif_virtio_reply reply;
	struct bench bench;
	uint32_t endpoint;
	time_t end = time(NULL) + ANSWER_S;

	(void)state;
	card_open(&bench);
	bench_offer_events(&bench, BENCH_A, 2);
	endpoint = dial(&bench);
	assert_int_equal(ask(&bench,
			     REQUEST(POLL, .endpoint = endpoint, .flags = SCIF_VIRTIO_POLL_ARM,
				     .poll.mask = POLLIN),
			     &reply),
			 0);
	assert_int_equal(reply.value[0], POLLOUT);
	assert_false(bench_event(&bench, BENCH_A, &event));
	assert_int_equal(write(driver.card_fd, "x", 1), 1);
	while (!bench_event(&bench, BENCH_A, &event)) {
		assert_true(time(NULL) < end);
		poll(NULL, 0, 1);
	}
	assert_int_equal(event.kind, SCIF_VIRTIO_EVENT_POLL);
	assert_int_equal(event.mask, POLLIN);
	card_close(&bench);
}

static void scattered_pages_are_one_registration(void **state)
{
	struct virtio_ring_desc pages[8];
	struct scif_virtio_event event;
	struct scif_virtio_reply reply;
	struct bench bench;
	uint32_t endpoint;
	unsigned int slot;
	uint64_t offset;

	(void)state;
	card_open(&bench);
	bench_offer_events(&bench, BENCH_A, 2);
	endpoint = dial(&bench);
	for (unsigned int i = 0; i < 8; i++)
		pages[i] = (struct virtio_ring_desc){ .addr = BENCH_PAGES + (15 - 2 * i) * PAGE,
						      .len = PAGE };
	slot = bench_issue(&bench, BENCH_A,
			   REQUEST(REGISTER, .endpoint = endpoint,
				   .window = { .bytes = 8 * PAGE, .cookie = 3, .prot = BOTH }),
			   NULL, 0, pages, 8);
	assert_int_equal(await(&bench, slot, &reply), 0);
	offset = reply.value[0];
	assert_int_equal(driver.registrations, 1);
	assert_int_equal(driver.window_bytes, 8 * PAGE);
	for (unsigned int i = 0; i < CARD_BYTES; i++)
		driver.memory[i] = (unsigned char)(i * 13 + i / PAGE);
	assert_int_equal(ask(&bench,
			     REQUEST(READFROM, .endpoint = endpoint, .flags = SCIF_RMA_SYNC,
				     .rma = { offset + 10, CARD_OFFSET + 20, 7 * PAGE }),
			     &reply),
			 0);
	for (unsigned int i = 10; i < 10 + 7 * PAGE; i++)
		assert_int_equal(*(unsigned char *)frontend_at(&bench.guests[BENCH_A].frontend,
							       pages[i / PAGE].addr + i % PAGE),
				 (unsigned char)((i + 10) * 13 + (i + 10) / PAGE));
	assert_int_equal(ask(&bench,
			     REQUEST(FENCE_SIGNAL, .endpoint = endpoint,
				     .flags = SCIF_FENCE_INIT_SELF | SCIF_SIGNAL_LOCAL,
				     .signal = { .local = offset, .local_value = 77 }),
			     &reply),
			 0);
	assert_int_equal(*(uint64_t *)frontend_at(&bench.guests[BENCH_A].frontend, pages[0].addr),
			 77);
	assert_int_equal(ask(&bench,
			     REQUEST(READFROM, .endpoint = endpoint, .flags = SCIF_RMA_SYNC,
				     .rma = { offset, CARD_OFFSET + CARD_BYTES, 1 }),
			     &reply),
			 -ENXIO);
	assert_false(bench_event(&bench, BENCH_A, &event));
	assert_int_equal(ask(&bench,
			     REQUEST(UNREGISTER, .endpoint = endpoint,
				     .window = { .offset = offset, .bytes = 8 * PAGE }),
			     &reply),
			 0);
	assert_true(bench_event(&bench, BENCH_A, &event));
	assert_int_equal(event.cookie, 3);
	card_close(&bench);
}

static void program_memory_is_copied(void **state)
{
	struct virtio_ring_desc parts[2] = { { .addr = BENCH_PAGES + 100, .len = 5000 },
					     { .addr = FRONTEND_BORDER - 60, .len = 120 } };
	struct scif_virtio_reply reply;
	struct bench bench;
	uint32_t endpoint;
	unsigned int slot;

	(void)state;
	card_open(&bench);
	endpoint = dial(&bench);
	for (unsigned int i = 0; i < CARD_BYTES; i++)
		driver.memory[i] = (unsigned char)(i * 7 + i / 255);
	slot = bench_issue(&bench, BENCH_A,
			   REQUEST(VREADFROM, .endpoint = endpoint,
				   .rma = { .remote = CARD_OFFSET + 9, .bytes = 5120 }),
			   NULL, 0, parts, 2);
	assert_int_equal(await(&bench, slot, &reply), 0);
	for (unsigned int i = 0; i < 5120; i++) {
		unsigned char byte;

		frontend_get(&bench.guests[BENCH_A].frontend,
			     i < 5000 ? parts[0].addr + i : parts[1].addr + i - 5000, &byte, 1);
		assert_int_equal(byte, (unsigned char)((i + 9) * 7 + (i + 9) / 255));
	}
	memset(driver.memory, 0, CARD_BYTES);
	slot = bench_issue(&bench, BENCH_A,
			   REQUEST(VWRITETO, .endpoint = endpoint,
				   .rma = { .remote = CARD_OFFSET + 1, .bytes = 5120 }),
			   parts, 2, NULL, 0);
	assert_int_equal(await(&bench, slot, &reply), 0);
	for (unsigned int i = 0; i < 5120; i++)
		assert_int_equal(driver.memory[i + 1],
				 (unsigned char)((i + 9) * 7 + (i + 9) / 255));
	card_close(&bench);
}

static void fences_are_the_drivers(void **state)
{
	struct scif_virtio_reply reply;
	struct bench bench;
	uint32_t endpoint;

	(void)state;
	card_open(&bench);
	endpoint = dial(&bench);
	assert_int_equal(
		ask(&bench,
		    REQUEST(FENCE_MARK, .endpoint = endpoint, .flags = SCIF_FENCE_INIT_SELF),
		    &reply),
		0);
	assert_int_equal(reply.value[0], MARK);
	assert_int_equal(
		ask(&bench, REQUEST(FENCE_WAIT, .endpoint = endpoint, .fence.mark = MARK), &reply),
		0);
	card_close(&bench);
}

static void a_long_call_is_interrupted(void **state)
{
	struct scif_virtio_reply reply, other;
	struct bench bench;
	uint32_t endpoint;
	unsigned int slot;

	(void)state;
	card_open(&bench);
	endpoint = dial(&bench);
	slot = bench_issue(
		&bench, BENCH_A,
		REQUEST(FENCE_WAIT, .endpoint = endpoint, .fence.mark = MARK_NEVER, .tag = 4), NULL,
		0, NULL, 0);
	assert_false(bench_answer(&bench, BENCH_A, slot, &reply));
	/* Others go on. */
	assert_int_equal(
		ask(&bench, REQUEST(FENCE_WAIT, .endpoint = endpoint, .fence.mark = MARK), &other),
		0);
	poll(NULL, 0, 50); /* it shall sit in the driver's call */
	assert_int_equal(ask(&bench, REQUEST(CANCEL, .cancel.tag = 4), &other), 0);
	assert_int_equal(await(&bench, slot, &reply), -EINTR);
	card_close(&bench);
}

static void a_signal_before_the_call_is_not_lost(void **state)
{
	struct scif_virtio_reply reply, other;
	struct bench bench;
	uint32_t endpoint;
	unsigned int slot;

	(void)state;
	card_open(&bench);
	endpoint = dial(&bench);
	atomic_store(&driver.early, false);
	slot = bench_issue(
		&bench, BENCH_A,
		REQUEST(FENCE_WAIT, .endpoint = endpoint, .fence.mark = MARK_LATE, .tag = 4), NULL,
		0, NULL, 0);
	while (!atomic_load(&driver.early))
		poll(NULL, 0, 1);
	assert_int_equal(ask(&bench, REQUEST(CANCEL, .cancel.tag = 4), &other), 0);
	assert_int_equal(await(&bench, slot, &reply), -EINTR);
	card_close(&bench);
}

static void a_guest_that_goes_ends_its_calls(void **state)
{
	struct bench bench;
	uint32_t endpoint;

	(void)state;
	card_open(&bench);
	endpoint = dial(&bench);
	bench_issue(&bench, BENCH_A,
		    REQUEST(FENCE_WAIT, .endpoint = endpoint, .fence.mark = MARK_NEVER), NULL, 0,
		    NULL, 0);
	frontend_close(&bench.guests[BENCH_A].frontend);
	bench.guests[BENCH_A].attached = false;
	bench_serve(&bench);
	assert_int_equal(bench.guests[BENCH_A].guest->node->endpoint_count, 0);
	assert_int_equal(recv(driver.card_fd, (char[1]){ 0 }, 1, 0), 0); /* the driver's too */
	card_close(&bench);
}

static void a_map_that_the_driver_refuses(void **state)
{
	struct scif_virtio_reply reply;
	struct bench bench;
	uint32_t endpoint;

	(void)state;
	card_open(&bench);
	endpoint = dial(&bench);
	assert_int_equal(ask(&bench,
			     REQUEST(MMAP, .endpoint = endpoint,
				     .map = { .offset = CARD_OFFSET,
					      .bytes = PAGE,
					      .prot = SCIF_PROT_READ }),
			     &reply),
			 -ENXIO);
	card_close(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(connects_or_is_refused),
		cmocka_unit_test(a_connect_returns_before_it_is_settled),
		cmocka_unit_test(a_connect_waits_for_the_drivers_poll),
		cmocka_unit_test(a_card_reaches_a_listener),
		cmocka_unit_test(an_accept_waits_for_the_card),
		cmocka_unit_test(a_port_that_the_driver_refuses),
		cmocka_unit_test(messages_wait_for_the_drivers_poll),
		cmocka_unit_test(poll_is_the_drivers),
		cmocka_unit_test(scattered_pages_are_one_registration),
		cmocka_unit_test(program_memory_is_copied),
		cmocka_unit_test(fences_are_the_drivers),
		cmocka_unit_test(a_long_call_is_interrupted),
		cmocka_unit_test(a_signal_before_the_call_is_not_lost),
		cmocka_unit_test(a_guest_that_goes_ends_its_calls),
		cmocka_unit_test(a_map_that_the_driver_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
