/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flows between guests: three guests whose drivers are in the test, one worker that the test turns,
 * or a worker with a thread for each.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/base/io.h"
#include "lib/vhost/fault.h"
#include "tests/unit/switch_guest.h"
#include "vsock/switch/vm.h"

#define GUESTS	   3
#define CID(index) (3u + (index))
#define LATE_NS	   2000000u /* credit waits that long */

struct bench {
	char folder[64];
	struct settings settings;
	struct vsock_switch sw;
	bool has_threads;
	struct guest guests[GUESTS];
};

static bool bench_has_work(struct bench *bench)
{
	for (unsigned int i = 0; i < bench->settings.threads; i++)
		if (bench->sw.shared[i]->vm_count && worker_has_work(bench->sw.shared[i]))
			return true;
	return false;
}

static void bench_serve(void *context)
{
	struct bench *bench = ((struct guest *)context)->bench;

	if (bench->has_threads) {
		sched_yield();
		return;
	}
	for (int turn = 0; turn < 3 || bench_has_work(bench); turn++)
		for (unsigned int i = 0; i < bench->settings.threads; i++)
			worker_turn(bench->sw.shared[i], 0);
}

static void guest_attach(struct guest *guest, uint64_t features)
{
	int fd = io_unix_connect(guest->vm->own.socket, NULL);

	assert_true(fd >= 0);
	bench_serve(guest);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	frontend_open(&guest->frontend, FRONTEND_QEMU, bench_serve, guest, fd);
	frontend_handshake(&guest->frontend, features);
	guest->is_attached = true;
	guest->taken = 0;
	guest->window = WINDOW;
	guest->type = VIRTIO_VSOCK_TYPE_STREAM;
}

/* Whether flows are left whose ends have not been let go of. */
static bool bench_has_flows(struct bench *bench)
{
	for (unsigned int i = 0; i < bench->sw.vm_count; i++)
		if (__atomic_load_n(&bench->sw.vms[i]->references, __ATOMIC_ACQUIRE) != 1)
			return true;
	return false;
}

static void guest_detach(struct guest *guest)
{
	if (guest->is_attached)
		frontend_close(&guest->frontend);
	guest->is_attached = false;
}

static void bench_open_with(struct bench *bench, unsigned int workers)
{
	struct error error = { 0 };
	char text[128];

	memset(bench, 0, sizeof(*bench));
	strcpy(bench->folder, "/tmp/causeway-test-XXXXXX");
	assert_non_null(mkdtemp(bench->folder));
	bench->settings.connections = 64;
	assert_int_equal(switch_open(&bench->sw, &bench->settings, &error), 0);
	/* Shared workers without threads: the test turns them. */
	for (unsigned int i = 0; i < workers; i++)
		bench->sw.shared[i] = worker_create(0, &error);
	bench->settings.threads = workers;
	for (unsigned int i = 0; i < GUESTS; i++) {
		snprintf(text, sizeof(text), "guest%u,cid=%u,socket=%s/%u", i, CID(i),
			 bench->folder, i);
		assert_int_equal(settings_add_vm(&bench->settings, text, &error), 0);
		assert_int_equal(switch_vm_add(&bench->sw, &bench->settings.vms[i], &error), 0);
		bench->guests[i].bench = bench;
		bench->guests[i].vm = bench->sw.vms[i];
		bench->guests[i].cid = CID(i);
		guest_attach(&bench->guests[i], GUEST_FEATURES);
	}
}

/* All guests on one worker; the first two are what most tests need. */
static void bench_open(struct bench *bench, struct guest **a, struct guest **b)
{
	bench_open_with(bench, 1);
	*a = &bench->guests[0];
	*b = &bench->guests[1];
}

static void bench_close(struct bench *bench)
{
	for (unsigned int i = 0; i < GUESTS; i++)
		guest_detach(&bench->guests[i]);
	while (bench->has_threads && bench_has_flows(bench))
		sched_yield();
	for (unsigned int i = 0; i < bench->sw.vm_count; i++) {
		assert_int_equal(bench->sw.vms[i]->flow_count, 0);
		assert_int_equal(bench->sw.vms[i]->ends_there, 0);
		assert_int_equal(bench->sw.vms[i]->remainders_bytes, 0);
		assert_int_equal(bench->sw.vms[i]->kept_total, 0);
		assert_int_equal(bench->sw.vms[i]->references, 1);
	}
	switch_close(&bench->sw);
	settings_free(&bench->settings);
	assert_int_equal(rmdir(bench->folder), 0);
}

static void guests_connect_and_talk(void **state)
{
	struct virtio_vsock_header header;
	struct guest *a, *b;
	struct bench bench;
	char payload[BUFFER_BYTES];

	(void)state;
	bench_open(&bench, &a, &b);
	connect_guests(a, b, 100, 200);
	guest_post(a, 8);
	guest_post(b, 8);
	guest_send_data(a, b, 100, 200, "to b", 4);
	assert_true(guest_receive(b, &header, payload));
	assert_int_equal(header.op, VIRTIO_VSOCK_OP_RW);
	assert_int_equal(header.len, 4);
	assert_memory_equal(payload, "to b", 4);
	guest_send_data(b, a, 200, 100, "to a!", 5);
	assert_true(guest_receive(a, &header, payload));
	assert_memory_equal(payload, "to a!", 5);
	assert_int_equal(header.fwd_cnt, 4);
	guest_send(b, a, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 200, 100, 0);
	guest_expect(a, VIRTIO_VSOCK_OP_CREDIT_REQUEST, &header);
	guest_send(a, b, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 100, 200, 0);
	guest_expect(b, VIRTIO_VSOCK_OP_CREDIT_UPDATE, &header);
	assert_int_equal(header.fwd_cnt, 5);
	/* Half-close, then the other half, answered with a reset as guests do. */
	guest_send(a, b, VIRTIO_VSOCK_OP_SHUTDOWN, 100, 200, VIRTIO_VSOCK_SHUTDOWN_SEND);
	guest_expect(b, VIRTIO_VSOCK_OP_SHUTDOWN, &header);
	assert_int_equal(header.flags, VIRTIO_VSOCK_SHUTDOWN_SEND);
	guest_send_data(b, a, 200, 100, "more", 4);
	assert_true(guest_receive(a, &header, payload));
	guest_send(b, a, VIRTIO_VSOCK_OP_SHUTDOWN, 200, 100, VIRTIO_VSOCK_SHUTDOWN_BOTH);
	guest_expect(a, VIRTIO_VSOCK_OP_SHUTDOWN, &header);
	guest_send(a, b, VIRTIO_VSOCK_OP_RST, 100, 200, 0);
	guest_expect(b, VIRTIO_VSOCK_OP_RST, &header);
	guest_expect_nothing(a);
	assert_int_equal(a->vm->flow_count + b->vm->flow_count, 0);
	bench_close(&bench);
}

static void what_cannot_be_reached_is_reset(void **state)
{
	struct virtio_vsock_header header;
	struct guest *a, *b;
	struct bench bench;

	(void)state;
	bench_open(&bench, &a, &b);
	guest_post(a, 8);
	guest_post(b, 8);
	/* A closed port: the other guest resets. */
	guest_send(a, b, VIRTIO_VSOCK_OP_REQUEST, 100, 201, 0);
	guest_expect(b, VIRTIO_VSOCK_OP_REQUEST, &header);
	guest_send(b, a, VIRTIO_VSOCK_OP_RST, 201, 100, 0);
	guest_expect(a, VIRTIO_VSOCK_OP_RST, &header);
	assert_int_equal(header.src_port, 201);
	assert_int_equal(header.dst_port, 100);
	assert_int_equal(header.src_cid, CID(1));
	/* A VM whose VMM is gone, itself, and none at all. */
	guest_detach(b);
	guest_send(a, b, VIRTIO_VSOCK_OP_REQUEST, 100, 200, 0);
	guest_expect(a, VIRTIO_VSOCK_OP_RST, &header);
	guest_send(a, a, VIRTIO_VSOCK_OP_REQUEST, 100, 200, 0);
	guest_expect(a, VIRTIO_VSOCK_OP_RST, &header);
	b->vm->own.cid = b->cid += 100;
	guest_send(a, b, VIRTIO_VSOCK_OP_REQUEST, 100, 200, 0);
	guest_expect(a, VIRTIO_VSOCK_OP_RST, &header);
	assert_int_equal(header.src_cid, CID(1) + 100);
	assert_int_equal(a->vm->counters.refused, 3);
	bench_close(&bench);
}

/* From now on the first guest may not connect to port 200 of the second. */
static void bench_deny(struct bench *bench)
{
	bench->settings.rules[0] = (struct settings_rule){
		.from = { .kind = SETTINGS_PARTY_CID, .cid = CID(0) },
		.to = { .kind = SETTINGS_PARTY_CID, .cid = CID(1) },
		.port_first = 200,
		.port_last = 200,
	};
	bench->settings.rule_count = 1;
}

static void a_denied_pair_is_reset(void **state)
{
	struct virtio_vsock_header header;
	struct guest *a, *b;
	struct bench bench;

	(void)state;
	bench_open(&bench, &a, &b);
	bench_deny(&bench);
	guest_post(a, 2);
	guest_post(b, 1);
	guest_send(a, b, VIRTIO_VSOCK_OP_REQUEST, 100, 200, 0);
	guest_expect(a, VIRTIO_VSOCK_OP_RST, &header);
	guest_send_data(a, b, 100, 200, "smuggled", 8); /* nor without asking */
	guest_expect(a, VIRTIO_VSOCK_OP_RST, &header);
	guest_expect_nothing(b);
	assert_int_equal(a->vm->counters.refused, 1);
	connect_guests(a, b, 100, 201);
	connect_guests(b, a, 300, 200);
	bench_close(&bench);
}

/* Rules that change end what they do not allow, whoever asked, and nothing else. */
static void a_flow_that_is_denied_later_ends(void **state)
{
	struct virtio_vsock_header header;
	unsigned char payload[BUFFER_BYTES];
	struct guest *a, *b;
	struct bench bench;

	(void)state;
	bench_open(&bench, &a, &b);
	connect_guests(a, b, 100, 200);
	connect_guests(a, b, 101, 201);
	connect_guests(b, a, 300, 200);
	bench_deny(&bench);
	guest_post(a, 2);
	guest_post(b, 3);
	switch_rules_changed(&bench.sw);
	bench_serve(a);
	guest_expect(a, VIRTIO_VSOCK_OP_RST, &header);
	assert_int_equal(header.dst_port, 100);
	guest_expect(b, VIRTIO_VSOCK_OP_RST, &header);
	assert_int_equal(header.src_port, 100);
	guest_send_data(a, b, 101, 201, "on", 2);
	assert_true(guest_receive(b, &header, payload));
	guest_send_data(a, b, 200, 300, "on", 2);
	assert_true(guest_receive(b, &header, payload));
	assert_int_equal(header.dst_port, 300);
	guest_expect_nothing(a);
	assert_int_equal(a->vm->flow_count, 2);
	bench_close(&bench);
}

static void a_dead_guest_ends_its_flows(void **state)
{
	struct virtio_vsock_header header;
	struct guest *a, *b, *c;
	struct bench bench;
	char payload[BUFFER_BYTES];

	(void)state;
	bench_open(&bench, &a, &b);
	c = &bench.guests[2];
	connect_guests(a, b, 100, 200);
	connect_guests(c, a, 300, 400);
	guest_post(a, 2);
	guest_detach(b);
	guest_expect(a, VIRTIO_VSOCK_OP_RST, &header);
	assert_int_equal(header.src_cid, CID(1));
	guest_attach(b, GUEST_FEATURES); /* the next VMM, at once */
	connect_guests(a, b, 100, 200);
	assert_int_equal(switch_vm_remove(&bench.sw, "guest1", NULL), 0);
	bench_serve(a);
	guest_expect(a, VIRTIO_VSOCK_OP_RST, &header);
	guest_send_data(c, a, 300, 400, "alive", 5);
	guest_post(a, 1);
	assert_true(guest_receive(a, &header, payload));
	assert_memory_equal(payload, "alive", 5);
	bench_close(&bench);
}

static void a_sender_keeps_to_its_credit(void **state)
{
	struct virtio_vsock_header header;
	unsigned char bytes[1000] = { 0 };
	struct guest *a, *b;
	struct bench bench;

	(void)state;
	bench_open(&bench, &a, &b);
	b->window = 1500;
	connect_guests(a, b, 100, 200);
	guest_post(a, 4);
	guest_post(b, 4);
	guest_send_data(a, b, 100, 200, bytes, 1000);
	assert_true(guest_receive(b, &header, bytes));
	guest_send_data(a, b, 100, 200, bytes, 501);
	guest_expect(a, VIRTIO_VSOCK_OP_RST, &header);
	guest_expect(b, VIRTIO_VSOCK_OP_RST, &header);
	bench_close(&bench);
}

static void tiny_packets_share_a_buffer(void **state)
{
	unsigned char bytes[200], payload[BUFFER_BYTES];
	struct virtio_vsock_header header;
	struct guest *a, *b;
	struct bench bench;

	(void)state;
	bench_open(&bench, &a, &b);
	connect_guests(a, b, 100, 200);
	guest_post(b, 4);
	fill(bytes, 0, sizeof(bytes));
	for (unsigned int i = 0; i < 50; i++)
		guest_offer_data(a, b, 100, 200, bytes + i * 3, 3, 0);
	frontend_kick(&a->frontend, TRANSMIT);
	assert_int_equal(guest_returned(a), 50);
	assert_true(guest_receive(b, &header, payload));
	assert_int_equal(header.len, 150);
	assert_memory_equal(payload, bytes, 150);
	guest_expect_nothing(b);
	bench_close(&bench);
}

static void packets_are_split_for_the_receiver(void **state)
{
	unsigned char bytes[8000];
	struct guest *a, *b;
	struct bench bench;
	uint64_t at = 0;

	(void)state;
	bench_open(&bench, &a, &b);
	connect_guests(a, b, 100, 200);
	guest_post(b, 100);
	for (unsigned int i = 0; i < 20; i++) {
		fill(bytes, i * sizeof(bytes), sizeof(bytes));
		guest_offer_data(a, b, 100, 200, bytes, sizeof(bytes), 0);
	}
	frontend_kick(&a->frontend, TRANSMIT);
	at = guest_read_pattern(b, 100, 0);
	assert_int_equal(at, 20 * sizeof(bytes));
	bench_close(&bench);
}

/* A receiver without buffers holds back its flow alone; the rest comes when buffers do. */
static void a_receiver_without_buffers_holds_its_sender(void **state)
{
	unsigned char bytes[8000], payload[BUFFER_BYTES];
	struct virtio_vsock_header header;
	struct guest *a, *b, *c;
	struct bench bench;
	uint64_t at;

	(void)state;
	bench_open(&bench, &a, &b);
	c = &bench.guests[2];
	connect_guests(a, b, 100, 200);
	connect_guests(a, c, 100, 200);
	guest_post(b, 3);
	guest_post(c, 3);
	for (unsigned int i = 0; i < 10; i++) {
		fill(bytes, i * sizeof(bytes), sizeof(bytes));
		guest_offer_data(a, b, 100, 200, bytes, sizeof(bytes), 0);
	}
	guest_offer_data(a, c, 100, 200, "goes on", 7, 0);
	frontend_kick(&a->frontend, TRANSMIT);
	assert_true(guest_receive(c, &header, payload));
	assert_memory_equal(payload, "goes on", 7);
	assert_int_equal(guest_returned(a), 2); /* one packet had room, and the one for c */
	assert_int_equal(a->vm->kept_total, 9);
	assert_int_equal(a->vm->counters.stalls, 1);
	at = guest_read_pattern(b, 100, 0);
	guest_post_only(b, 1);
	assert_true(frontend_wants_kick(&b->frontend, RECEIVE, true));
	for (int i = 0; i < 30; i++) {
		guest_post(b, 2);
		at = guest_read_pattern(b, 100, at);
	}
	assert_int_equal(at, 10 * sizeof(bytes));
	assert_int_equal(guest_returned(a), 9);
	assert_int_equal(a->vm->remainder_bytes_ever, 0);
	bench_close(&bench);
}

/* The memory table may be told anew, elsewhere, while chains are kept. */
static void kept_chains_survive_a_new_memory_table(void **state)
{
	unsigned char bytes[8000];
	struct guest *a, *b;
	struct bench bench;
	uint64_t at;

	(void)state;
	bench_open(&bench, &a, &b);
	connect_guests(a, b, 100, 200);
	for (unsigned int i = 0; i < 8; i++) {
		fill(bytes, i * sizeof(bytes), sizeof(bytes));
		guest_offer_data(a, b, 100, 200, bytes, sizeof(bytes), 0);
	}
	frontend_kick(&a->frontend, TRANSMIT);
	assert_int_equal(a->vm->kept_total, 8);
	frontend_share_memory(&a->frontend);
	frontend_share_memory(&b->frontend);
	bench_serve(a);
	guest_post(b, 24);
	at = guest_read_pattern(b, 100, 0);
	assert_int_equal(at, 8 * sizeof(bytes));
	assert_int_equal(guest_returned(a), 8);
	bench_close(&bench);
}

/* A guest that is paused while chains are kept gets them back; their bytes are not lost. */
static void kept_chains_survive_a_pause(void **state)
{
	unsigned char bytes[8000];
	struct guest *a, *b;
	struct bench bench;
	uint16_t base;
	uint64_t at;

	(void)state;
	bench_open(&bench, &a, &b);
	connect_guests(a, b, 100, 200);
	for (unsigned int i = 0; i < 8; i++) {
		fill(bytes, i * sizeof(bytes), sizeof(bytes));
		guest_offer_data(a, b, 100, 200, bytes, sizeof(bytes), 0);
	}
	frontend_kick(&a->frontend, TRANSMIT);
	base = frontend_stop_queue(&a->frontend, TRANSMIT);
	assert_int_equal(a->vm->kept_total, 0);
	assert_int_equal(guest_returned(a), 8);
	guest_post(b, 12);
	at = guest_read_pattern(b, 100, 0);
	frontend_start_queue(&a->frontend, TRANSMIT, base);
	guest_post(b, 12);
	at = guest_read_pattern(b, 100, at);
	assert_int_equal(at, 8 * sizeof(bytes));
	bench_close(&bench);
}

/* A receiver that takes nothing does not take away its sender's descriptors either. */
static void a_flood_to_a_dead_receiver_is_merged(void **state)
{
	unsigned char bytes[100], payload[BUFFER_BYTES];
	struct virtio_vsock_header header;
	struct guest *a, *b, *c;
	struct bench bench;
	uint64_t at = 0;

	(void)state;
	bench_open(&bench, &a, &b);
	c = &bench.guests[2];
	connect_guests(a, b, 100, 200);
	connect_guests(a, c, 100, 200);
	guest_post(c, 3);
	for (unsigned int i = 0; i < 1000; i++) {
		fill(bytes, i * sizeof(bytes), sizeof(bytes));
		/* Where the chains lie that are kept from the start. */
		if (i && a->frontend.queues[TRANSMIT].next_descriptor % FRONTEND_QUEUE_SIZE == 0)
			a->frontend.queues[TRANSMIT].next_descriptor += 72;
		guest_offer_data(a, b, 100, 200, bytes, sizeof(bytes), 0);
		frontend_kick(&a->frontend, TRANSMIT);
		while (a->vm->held_until_ns)
			worker_turn(bench.sw.shared[0], 100);
		bench_serve(a);
	}
	guest_send_data(a, c, 100, 200, "goes on", 7);
	assert_true(guest_receive(c, &header, payload));
	assert_int_equal(guest_returned(a), 1001 - a->vm->kept_total);
	assert_true(a->vm->kept_total <= FRONTEND_QUEUE_SIZE / 2);
	assert_true(a->vm->remainder_bytes_ever > 80000);
	while (at < 100000) {
		uint64_t before = at;

		guest_post(b, 4);
		at = guest_read_pattern(b, 100, at);
		assert_true(at > before);
	}
	bench_close(&bench);
}

/* Sends packets of the pattern from where it is; where it is then. */
static uint64_t guest_send_pattern(struct guest *guest, const struct guest *to, uint64_t at,
				   unsigned int count, uint32_t bytes)
{
	unsigned char payload[8000];

	while (count--) {
		fill(payload, at, bytes);
		guest_send_data(guest, to, 100, 200, payload, bytes);
		at += bytes;
	}
	return at;
}

/* Up to its receiver's credit and as far as it may run ahead: 36 of 8000 bytes, of which b allows
 * 32.8; none reads. Where the pattern is then. */
static uint64_t bench_run_ahead(struct guest *a, struct guest *b)
{
	struct virtio_vsock_header header;
	uint64_t sent;

	connect_guests(a, b, 100, 200);
	guest_post(a, 4);
	guest_post(b, 100);
	sent = guest_send_pattern(a, b, 0, 32, 8000);
	guest_expect(a, VIRTIO_VSOCK_OP_CREDIT_UPDATE, &header);
	assert_in_range(header.fwd_cnt, WINDOW / 4, sent);
	assert_int_equal(header.src_cid, b->cid);
	return guest_send_pattern(a, b, sent, 4, 8000);
}

/* A stream may run ahead of its receiver's credit; the receiver gets no more than it allowed. */
static void a_stream_runs_ahead_of_its_receiver(void **state)
{
	struct virtio_vsock_header header;
	struct guest *a, *b;
	struct bench bench;
	uint64_t sent, at;

	(void)state;
	bench_open(&bench, &a, &b);
	sent = bench_run_ahead(a, b);
	b->taken = 0;
	at = guest_read_pattern(b, 100, 0);
	assert_int_equal(at, WINDOW);
	assert_in_range(a->vm->kept_total, 1, 4);
	guest_send(a, b, VIRTIO_VSOCK_OP_SHUTDOWN, 100, 200, VIRTIO_VSOCK_SHUTDOWN_SEND);
	guest_expect_nothing(b);
	/* b says what it read: the rest comes, then the end. */
	guest_post(b, 20);
	guest_send(b, a, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 200, 100, 0);
	while (at < sent) {
		assert_true(guest_receive(b, &header, (unsigned char[BUFFER_BYTES]){ 0 }));
		assert_int_equal(header.op, VIRTIO_VSOCK_OP_RW);
		at += header.len;
	}
	assert_int_equal(at, sent);
	guest_expect(b, VIRTIO_VSOCK_OP_SHUTDOWN, &header);
	assert_int_equal(a->vm->kept_total, 0);
	assert_int_equal(a->vm->remainder_bytes_ever, 0);
	bench_close(&bench);
}

/* It keeps to what it was told, too. */
static void a_stream_runs_not_too_far_ahead(void **state)
{
	struct virtio_vsock_header header;
	unsigned char payload[8000] = { 0 };
	struct guest *a, *b;
	struct bench bench;
	unsigned int more = 0;

	(void)state;
	bench_open(&bench, &a, &b);
	bench_run_ahead(a, b);
	guest_post(a, 20);
	while (a->vm->flow_count && more++ < 200)
		guest_send_data(a, b, 100, 200, payload, sizeof(payload));
	/* A window, and FLOW_AHEAD_BYTES_MAX or a window, whichever is less. */
	assert_in_range(more, WINDOW / 8000 - 5, WINDOW / 8000 + 1);
	while (guest_receive(a, &header, payload) && header.op != VIRTIO_VSOCK_OP_RST)
		assert_int_equal(header.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	assert_int_equal(header.op, VIRTIO_VSOCK_OP_RST);
	bench_close(&bench);
}

/* A message from a, and what b says of it: its credit, and then an answer. Whether a heard of the
 * credit before the answer came. */
static bool bench_converse(struct guest *a, struct guest *b)
{
	unsigned char payload[BUFFER_BYTES];
	struct virtio_vsock_header header;
	bool heard;

	guest_post(a, 2);
	guest_post(b, 1);
	guest_send_data(a, b, 100, 200, "to b", 4);
	assert_true(guest_receive(b, &header, payload));
	guest_send(b, a, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 200, 100, 0);
	heard = guest_receive(a, &header, payload);
	if (heard)
		assert_int_equal(header.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	guest_send_data(b, a, 200, 100, "to a", 4);
	assert_true(guest_receive(a, &header, payload));
	assert_int_equal(header.op, VIRTIO_VSOCK_OP_RW);
	assert_int_equal(header.fwd_cnt, b->taken);
	return heard;
}

/* Until b's credit waited for its answer: where this machine lets both come within LATE_NS. */
static void bench_converse_in_time(struct guest *a, struct guest *b)
{
	for (unsigned int i = 0; bench_converse(a, b); i++)
		assert_true(i < 1000);
}

/* In a conversation the answer brings the credit. */
static void credit_comes_with_the_answer(void **state)
{
	struct virtio_vsock_header header;
	unsigned char payload[BUFFER_BYTES];
	uint64_t end_ns = vm_clock_ns() + 10000000000ull;
	struct guest *a, *b;
	struct bench bench;

	(void)state;
	bench_open(&bench, &a, &b);
	connect_guests(a, b, 100, 200);
	bench_converse_in_time(a, b);
	guest_expect_nothing(a);
	/* No answer comes: it goes without. */
	guest_post(b, 2);
	guest_post(a, 2);
	guest_send_data(a, b, 100, 200, "more", 4);
	assert_true(guest_receive(b, &header, payload));
	guest_send(b, a, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 200, 100, 0);
	while (!guest_receive(a, &header, payload)) {
		assert_true(vm_clock_ns() < end_ns);
		bench_serve(a);
	}
	assert_int_equal(header.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	assert_int_equal(header.fwd_cnt, b->taken);
	bench_close(&bench);
}

/* b says after each packet that it was read; a hears of it when half of its window is used up, and
 * of what waited for LATE_NS. */
static void credit_comes_in_large_portions(void **state)
{
	unsigned char payload[BUFFER_BYTES], bytes[2000] = { 0 };
	struct virtio_vsock_header header;
	unsigned int heard = 0, late;
	struct guest *a, *b;
	struct bench bench;
	uint64_t start_ns;

	(void)state;
	bench_open(&bench, &a, &b);
	connect_guests(a, b, 100, 200);
	guest_post(a, 1);
	start_ns = vm_clock_ns();
	for (unsigned int sent = 0; sent < WINDOW / 4 * 3; sent += sizeof(bytes)) {
		guest_post(b, 1);
		guest_send_data(a, b, 100, 200, bytes, sizeof(bytes));
		assert_true(guest_receive(b, &header, payload));
		guest_send(b, a, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 200, 100, 0);
		if (!guest_receive(a, &header, payload))
			continue;
		assert_int_equal(header.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
		heard++;
		guest_post(a, 1);
	}
	late = (unsigned int)((vm_clock_ns() - start_ns) / LATE_NS);
	assert_in_range(heard, 1, 1 + late);
	bench_close(&bench);
}

/* A sender that has less than half of its window left, or asks, does not wait for credit. */
static void credit_that_is_needed_does_not_wait(void **state)
{
	unsigned char payload[BUFFER_BYTES] = { 0 };
	struct virtio_vsock_header header;
	struct guest *a, *b;
	struct bench bench;

	(void)state;
	bench_open(&bench, &a, &b);
	b->window = 4000;
	connect_guests(a, b, 100, 200);
	bench_converse_in_time(a, b);
	guest_post(a, 4);
	guest_post(b, 4);
	guest_send_data(a, b, 100, 200, payload, 1000);
	assert_true(guest_receive(b, &header, payload));
	guest_send(b, a, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 200, 100, 0);
	guest_send_data(a, b, 100, 200, payload, 1500); /* 2500 of 4000 that were told */
	guest_expect(a, VIRTIO_VSOCK_OP_CREDIT_UPDATE, &header);
	assert_int_equal(header.fwd_cnt, b->taken);
	assert_true(guest_receive(b, &header, payload));
	guest_send_data(b, a, 200, 100, "", 1);
	assert_true(guest_receive(a, &header, payload));
	bench_converse_in_time(a, b);
	guest_send(a, b, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 100, 200, 0);
	guest_expect(b, VIRTIO_VSOCK_OP_CREDIT_REQUEST, &header);
	guest_send(b, a, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 200, 100, 0);
	guest_expect(a, VIRTIO_VSOCK_OP_CREDIT_UPDATE, &header);
	bench_close(&bench);
}

/* What waits for credit holds back neither the other direction's credit nor other flows. */
static void waiting_for_credit_holds_up_nothing_else(void **state)
{
	unsigned char payload[BUFFER_BYTES], tiny[64] = { 0 };
	struct virtio_vsock_header header;
	struct guest *a, *b, *c;
	struct bench bench;

	(void)state;
	bench_open(&bench, &a, &b);
	c = &bench.guests[2];
	connect_guests(a, c, 101, 201);
	guest_post(c, 2);
	bench_run_ahead(a, b);
	guest_read_pattern(b, 100, 0);
	b->taken = 0; /* which it says nothing of */
	guest_post(b, 8);
	guest_send(a, b, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 100, 200, 0);
	guest_expect_nothing(b); /* no news */
	guest_send(b, a, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 200, 100, 0);
	guest_send(a, b, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 100, 200, 0);
	guest_expect(b, VIRTIO_VSOCK_OP_CREDIT_UPDATE, &header);
	/* More tiny packets than there are descriptors. */
	for (unsigned int i = 0; i < 2 * FRONTEND_QUEUE_SIZE; i++) {
		if (a->frontend.queues[TRANSMIT].next_descriptor % FRONTEND_QUEUE_SIZE == 0)
			a->frontend.queues[TRANSMIT].next_descriptor += 72;
		guest_send_data(a, b, 100, 200, tiny, sizeof(tiny));
	}
	assert_int_equal(a->vm->held_until_ns, 0);
	assert_true(a->vm->kept_total <= FRONTEND_QUEUE_SIZE / 2);
	guest_send_data(a, c, 101, 201, "goes on", 7);
	assert_true(guest_receive(c, &header, payload));
	assert_memory_equal(payload, "goes on", 7);
	bench_close(&bench);
}

/* What was sent before a reset is delivered before it. */
static void a_reset_comes_behind_the_data(void **state)
{
	struct virtio_vsock_header header;
	struct guest *a, *b;
	struct bench bench;
	uint64_t at;

	(void)state;
	bench_open(&bench, &a, &b);
	connect_guests(a, b, 100, 200);
	guest_post(b, 1);
	guest_send_pattern(a, b, 0, 2, 8000);
	guest_send(a, b, VIRTIO_VSOCK_OP_RST, 100, 200, 0);
	at = guest_read_pattern(b, 100, 0);
	assert_in_range(at, 1, 8000);
	while (at < 16000) {
		guest_post(b, 1);
		at = guest_read_pattern(b, 100, at);
	}
	guest_post(b, 1);
	guest_expect(b, VIRTIO_VSOCK_OP_RST, &header);
	bench_close(&bench);
}

/* Two flows of one guest and one of another share a receiver's buffers. */
static void flows_take_turns(void **state)
{
	static unsigned char bytes[8000];
	struct virtio_vsock_header header;
	uint64_t got[3] = { 0 };
	struct guest *a, *b, *c;
	struct bench bench;

	(void)state;
	bench_open(&bench, &a, &b);
	c = &bench.guests[2];
	connect_guests(a, b, 100, 200);
	connect_guests(a, b, 101, 200);
	connect_guests(c, b, 102, 200);
	for (int i = 0; i < 16; i++)
		guest_offer_data(a, b, 100, 200, bytes, sizeof(bytes), 0);
	for (int i = 0; i < 16; i++)
		guest_offer_data(a, b, 101, 200, bytes, sizeof(bytes), 0);
	for (int i = 0; i < 16; i++)
		guest_offer_data(c, b, 102, 200, bytes, sizeof(bytes), 0);
	frontend_kick(&a->frontend, TRANSMIT);
	frontend_kick(&c->frontend, TRANSMIT);
	guest_post(b, 3 * (FLOW_TURN_BYTES / (BUFFER_BYTES - sizeof(header)) + 1));
	while (guest_receive(b, &header, bytes))
		got[header.src_port - 100] += header.len;
	for (int i = 0; i < 3; i++)
		assert_in_range(got[i], FLOW_TURN_BYTES - 4000, FLOW_TURN_BYTES + 4000);
	bench_close(&bench);
}

static void messages_keep_their_ends(void **state)
{
	unsigned char bytes[8000], payload[BUFFER_BYTES];
	struct virtio_vsock_header header;
	struct guest *a, *b;
	struct bench bench;
	uint32_t total = 0;

	(void)state;
	bench_open(&bench, &a, &b);
	a->type = b->type = VIRTIO_VSOCK_TYPE_SEQPACKET;
	connect_guests(a, b, 100, 200);
	guest_post(b, 12);
	fill(bytes, 0, sizeof(bytes));
	/* Two short messages, one in two packets, one that needs three buffers. */
	guest_offer_data(a, b, 100, 200, bytes, 10, VIRTIO_VSOCK_SEQ_EOM);
	guest_offer_data(a, b, 100, 200, bytes, 20, VIRTIO_VSOCK_SEQ_FLAGS);
	guest_offer_data(a, b, 100, 200, bytes, 30, 0);
	guest_offer_data(a, b, 100, 200, bytes + 30, 40, VIRTIO_VSOCK_SEQ_EOM);
	guest_offer_data(a, b, 100, 200, bytes, 8000, VIRTIO_VSOCK_SEQ_EOM);
	frontend_kick(&a->frontend, TRANSMIT);
	assert_true(guest_receive(b, &header, payload));
	assert_int_equal(header.len, 10);
	assert_int_equal(header.flags, VIRTIO_VSOCK_SEQ_EOM);
	assert_true(guest_receive(b, &header, payload));
	assert_int_equal(header.len, 20);
	assert_int_equal(header.flags, VIRTIO_VSOCK_SEQ_FLAGS);
	assert_true(guest_receive(b, &header, payload));
	assert_int_equal(header.len, 70);
	assert_int_equal(header.flags, VIRTIO_VSOCK_SEQ_EOM);
	assert_memory_equal(payload, bytes, 70);
	while (total < 8000) {
		assert_true(guest_receive(b, &header, payload));
		total += header.len;
		assert_int_equal(header.flags, total == 8000 ? VIRTIO_VSOCK_SEQ_EOM : 0);
	}
	guest_expect_nothing(b);
	bench_close(&bench);
}

static void kept_messages_keep_their_ends(void **state)
{
	unsigned char bytes[100], payload[BUFFER_BYTES];
	struct virtio_vsock_header header;
	struct guest *a, *b;
	struct bench bench;

	(void)state;
	bench_open(&bench, &a, &b);
	a->type = b->type = VIRTIO_VSOCK_TYPE_SEQPACKET;
	connect_guests(a, b, 100, 200);
	fill(bytes, 0, sizeof(bytes));
	for (unsigned int i = 1; i <= 100; i++) {
		guest_offer_data(a, b, 100, 200, bytes, i, VIRTIO_VSOCK_SEQ_EOM);
		frontend_kick(&a->frontend, TRANSMIT);
		while (a->vm->held_until_ns)
			worker_turn(bench.sw.shared[0], 100);
		bench_serve(a);
	}
	assert_true(a->vm->remainders_bytes > 0);
	for (unsigned int i = 1; i <= 100; i++) {
		guest_post(b, 1);
		assert_true(guest_receive(b, &header, payload));
		assert_int_equal(header.len, i);
		assert_int_equal(header.flags, VIRTIO_VSOCK_SEQ_EOM);
		assert_memory_equal(payload, bytes, i);
	}
	bench_close(&bench);
}

static void seqpacket_needs_both_drivers(void **state)
{
	struct virtio_vsock_header header;
	struct guest *a, *b;
	struct bench bench;

	(void)state;
	bench_open(&bench, &a, &b);
	guest_detach(b);
	guest_attach(b, VIRTIO_RING_F_EVENT_IDX);
	a->type = VIRTIO_VSOCK_TYPE_SEQPACKET;
	guest_post(a, 2);
	guest_post(b, 2);
	guest_send(a, b, VIRTIO_VSOCK_OP_REQUEST, 100, 200, 0);
	guest_expect(a, VIRTIO_VSOCK_OP_RST, &header);
	assert_int_equal(header.type, VIRTIO_VSOCK_TYPE_SEQPACKET);
	guest_expect_nothing(b);
	bench_close(&bench);
}

static void a_broken_ring_ends_its_own_connections(void **state)
{
	struct virtio_vsock_header header;
	struct guest *a, *b, *c;
	struct bench bench;
	char payload[BUFFER_BYTES];

	(void)state;
	bench_open(&bench, &a, &b);
	c = &bench.guests[2];
	connect_guests(a, b, 100, 200);
	connect_guests(a, c, 100, 200);
	guest_post(a, 8);
	guest_post(c, 2);
	frontend_offer_head(&b->frontend, RECEIVE, 999);
	guest_send_data(a, b, 100, 200, "lost", 4);
	bench_serve(a);
	guest_expect(a, VIRTIO_VSOCK_OP_RST, &header);
	assert_int_equal(header.src_cid, CID(1));
	guest_send(a, b, VIRTIO_VSOCK_OP_REQUEST, 100, 200, 0);
	guest_expect(a, VIRTIO_VSOCK_OP_RST, &header);
	guest_send_data(a, c, 100, 200, "goes on", 7);
	assert_true(guest_receive(c, &header, payload));
	bench_close(&bench);
}

static void a_head_that_is_kept_may_not_come_again(void **state)
{
	struct virtio_vsock_header header;
	unsigned char bytes[100] = { 0 };
	struct guest *a, *b;
	struct bench bench;
	uint16_t head;

	(void)state;
	bench_open(&bench, &a, &b);
	connect_guests(a, b, 100, 200);
	head = guest_offer_data(a, b, 100, 200, bytes, sizeof(bytes), 0);
	frontend_kick(&a->frontend, TRANSMIT);
	frontend_offer_head(&a->frontend, TRANSMIT, head);
	frontend_kick(&a->frontend, TRANSMIT);
	assert_true(a->vm->is_wrecked);
	guest_post(b, 2);
	guest_expect(b, VIRTIO_VSOCK_OP_RST, &header);
	bench_close(&bench);
}

/* A sender that changes a kept packet, or whose memory goes away, loses that flow. */
static void a_kept_packet_that_changes_ends_its_flow(void **state)
{
	struct virtio_vsock_header header;
	unsigned char bytes[100] = { 0 };
	struct guest *a, *b;
	struct bench bench;
	uint16_t head;

	(void)state;
	bench_open(&bench, &a, &b);
	connect_guests(a, b, 100, 200);
	head = guest_offer_data(a, b, 100, 200, bytes, sizeof(bytes), 0);
	frontend_kick(&a->frontend, TRANSMIT);
	a->frontend.queues[TRANSMIT].descriptors[head].len = 60;
	guest_post(b, 2);
	guest_expect(b, VIRTIO_VSOCK_OP_RST, &header);
	guest_post(a, 2);
	guest_expect(a, VIRTIO_VSOCK_OP_RST, &header);
	assert_int_equal(guest_returned(a), 1);
	bench_close(&bench);
}

static void a_receiver_whose_memory_is_cut_off(void **state)
{
	unsigned char bytes[5000] = { 0 };
	struct virtio_vsock_header header;
	struct guest *a, *b;
	struct bench bench;

	(void)state;
	bench_open(&bench, &a, &b);
	assert_int_equal(vhost_fault_install(), 0); /* cmocka took the signal */
	connect_guests(a, b, 100, 200);
	guest_post(a, 2);
	guest_post(b, 8);
	assert_int_equal(ftruncate(b->frontend.memory_fds[0], FRONTEND_BUFFERS), 0);
	guest_send_data(a, b, 100, 200, bytes, sizeof(bytes));
	guest_expect(a, VIRTIO_VSOCK_OP_RST, &header);
	assert_int_equal(b->vm->device.socket_fd, -1);
	b->frontend.serve(b->frontend.context);
	bench_close(&bench);
}

/* The part of a guest that sends a known stream to the next one and checks that of the one before.
 */
struct busy {
	struct guest *guest, *next;
	uint64_t sent, received;
	uint32_t told; /* fwd_cnt of the next */
	uint32_t announced;
	unsigned int flying; /* packets not returned */
	bool is_cut;	     /* the next one is gone */
};

static void busy_send(struct busy *busy)
{
	unsigned char bytes[8000];
	uint32_t size = 1 + pattern(busy->sent + 7) * 31u;

	busy->flying -= guest_returned(busy->guest);
	if (busy->is_cut || busy->flying >= 16 || (uint32_t)busy->sent + size - busy->told > WINDOW)
		return;
	fill(bytes, busy->sent, size);
	guest_offer_data(busy->guest, busy->next, 100, 200, bytes, size, 0);
	frontend_kick(&busy->guest->frontend, TRANSMIT);
	busy->sent += size;
	busy->flying++;
}

static void busy_receive(struct busy *busy, struct guest *previous)
{
	unsigned char payload[BUFFER_BYTES];
	struct virtio_vsock_header header;

	while (guest_receive(busy->guest, &header, payload)) {
		guest_post(busy->guest, 1);
		if (header.op == VIRTIO_VSOCK_OP_CREDIT_UPDATE)
			busy->told = header.fwd_cnt;
		else if (header.op == VIRTIO_VSOCK_OP_RST && header.src_port == 200)
			busy->is_cut = true;
		if (header.op != VIRTIO_VSOCK_OP_RW)
			continue;
		for (uint32_t i = 0; i < header.len; i++)
			assert_int_equal(payload[i], pattern(busy->received + i));
		busy->received += header.len;
	}
	if (busy->guest->taken - busy->announced < WINDOW / 4 || !previous->is_attached)
		return;
	busy->announced = busy->guest->taken;
	guest_send(busy->guest, previous, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 200, 100, 0);
	busy->flying++;
}

/* Each guest has a thread of the switch; the third one dies in the middle of it all. */
static void guests_talk_over_threads(void **state)
{
	const uint64_t bytes = 4u << 20;
	struct busy busy[GUESTS] = { 0 };
	struct bench bench;
	struct error error = { 0 };

	(void)state;
	bench_open_with(&bench, GUESTS);
	for (int i = 0; i < GUESTS; i++) {
		busy[i].guest = &bench.guests[i];
		busy[i].next = &bench.guests[(i + 1) % GUESTS];
		connect_guests(busy[i].guest, busy[i].next, 100, 200);
		busy[i].guest->taken = 0;
	}
	for (int i = 0; i < GUESTS; i++)
		guest_post(busy[i].guest, 40);
	bench.has_threads = true;
	for (int i = 0; i < GUESTS; i++)
		assert_int_equal(worker_start(bench.sw.shared[i], "vm", &error), 0);
	while (busy[1].received < bytes || !busy[1].is_cut) {
		for (int i = 0; i < GUESTS; i++) {
			if (!busy[i].guest->is_attached)
				continue;
			busy_send(&busy[i]);
			busy_receive(&busy[i], busy[(i + GUESTS - 1) % GUESTS].guest);
		}
		if (busy[1].received > bytes / 2)
			guest_detach(busy[2].guest);
	}
	bench_close(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guests_connect_and_talk),
		cmocka_unit_test(what_cannot_be_reached_is_reset),
		cmocka_unit_test(a_denied_pair_is_reset),
		cmocka_unit_test(a_flow_that_is_denied_later_ends),
		cmocka_unit_test(a_dead_guest_ends_its_flows),
		cmocka_unit_test(a_sender_keeps_to_its_credit),
		cmocka_unit_test(tiny_packets_share_a_buffer),
		cmocka_unit_test(packets_are_split_for_the_receiver),
		cmocka_unit_test(a_receiver_without_buffers_holds_its_sender),
		cmocka_unit_test(kept_chains_survive_a_new_memory_table),
		cmocka_unit_test(kept_chains_survive_a_pause),
		cmocka_unit_test(a_flood_to_a_dead_receiver_is_merged),
		cmocka_unit_test(a_stream_runs_ahead_of_its_receiver),
		cmocka_unit_test(a_stream_runs_not_too_far_ahead),
		cmocka_unit_test(credit_comes_with_the_answer),
		cmocka_unit_test(credit_comes_in_large_portions),
		cmocka_unit_test(credit_that_is_needed_does_not_wait),
		cmocka_unit_test(waiting_for_credit_holds_up_nothing_else),
		cmocka_unit_test(a_reset_comes_behind_the_data),
		cmocka_unit_test(flows_take_turns),
		cmocka_unit_test(messages_keep_their_ends),
		cmocka_unit_test(kept_messages_keep_their_ends),
		cmocka_unit_test(seqpacket_needs_both_drivers),
		cmocka_unit_test(a_broken_ring_ends_its_own_connections),
		cmocka_unit_test(a_head_that_is_kept_may_not_come_again),
		cmocka_unit_test(a_kept_packet_that_changes_ends_its_flow),
		cmocka_unit_test(a_receiver_whose_memory_is_cut_off),
		cmocka_unit_test(guests_talk_over_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
