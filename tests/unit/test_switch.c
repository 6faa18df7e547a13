/* SPDX-License-Identifier: Apache-2.0 */
/* causeway-switch with a guest's driver in the test: connections, credit, ends, refusals, options.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/base/io.h"
#include "proto/identity.h"
#include "tests/unit/vhost_frontend.h"
#include "vsock/switch/vm.h"

#define GUEST_CID     42
#define GUEST_PORT    1000
#define HOST_PORT     5000
#define RECEIVE	      VIRTIO_VSOCK_QUEUE_RECEIVE
#define TRANSMIT      VIRTIO_VSOCK_QUEUE_TRANSMIT
#define GUEST_WINDOW  (1u << 30)
#define PACKET_PLACE  0xb0000u		       /* of a header to send */
#define PAYLOAD_PLACE (FRONTEND_BORDER - 1000) /* across the regions, so two parts at least */
#define BUFFER_BYTES  3776u		       /* as Linux guests have them */

struct bench {
	char folder[64];
	struct settings settings;
	struct vsock_switch sw;
	struct worker *worker;
	struct vm *vm;
	struct frontend guest;
	uint32_t buffer_bytes; /* of receive buffers that are posted again */
	uint32_t taken;	       /* fwd_cnt that the guest tells */
	uint32_t window;       /* buf_alloc that the guest tells */
	uint16_t type;	       /* of its packets */
	int listener;
	int host; /* the host's end of the connection at hand */
};

static void bench_serve(void *context)
{
	struct bench *bench = context;

	for (int i = 0; i < 3; i++)
		worker_turn(bench->worker, 0);
	while (bench->vm && vm_is_pending(bench->vm))
		worker_turn(bench->worker, 0);
}

static void bench_attach(struct bench *bench, uint64_t features)
{
	int fd = io_unix_connect(bench->settings.vms[0].socket, NULL);

	assert_true(fd >= 0);
	bench_serve(bench);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	frontend_open(&bench->guest, FRONTEND_QEMU, bench_serve, bench, fd);
	frontend_handshake(&bench->guest, features);
	bench->taken = 0;
}

static void bench_open(struct bench *bench, uint32_t connections)
{
	struct error error = { 0 };
	char text[256];

	memset(bench, 0, sizeof(*bench));
	strcpy(bench->folder, "/tmp/causeway-test-XXXXXX");
	assert_non_null(mkdtemp(bench->folder));
	snprintf(text, sizeof(text), "guest,cid=%d,socket=%s/vm", GUEST_CID, bench->folder);
	assert_int_equal(settings_add_vm(&bench->settings, text, &error), 0);
	snprintf(text, sizeof(text), "7000=%s/service,identity", bench->folder);
	assert_int_equal(settings_add_service(&bench->settings, text, &error), 0);
	bench->settings.connections = connections;
	assert_int_equal(switch_open(&bench->sw, &bench->settings, &error), 0);
	bench->worker = worker_create(0, &error);
	assert_non_null(bench->worker);
	bench->vm = vm_create(&bench->sw, &bench->settings.vms[0]);
	assert_non_null(bench->vm);
	assert_int_equal(worker_serve(bench->worker, bench->vm, &error), 0);
	bench->buffer_bytes = BUFFER_BYTES;
	bench->window = GUEST_WINDOW;
	bench->type = VIRTIO_VSOCK_TYPE_STREAM;
	snprintf(text, sizeof(text), "%s/vm.host_%d", bench->folder, HOST_PORT);
	bench->listener = io_unix_listen(text, 0600, &error);
	assert_true(bench->listener >= 0);
	bench->host = -1;
	bench_attach(bench, VIRTIO_RING_F_EVENT_IDX | VIRTIO_RING_F_INDIRECT_DESC);
}

static void bench_end_vm(struct bench *bench)
{
	worker_release(bench->worker, bench->vm);
	vm_put(bench->vm);
	bench->vm = NULL;
}

static void bench_close(struct bench *bench)
{
	char path[128];

	if (bench->host >= 0)
		close(bench->host);
	close(bench->listener);
	frontend_close(&bench->guest);
	if (bench->vm)
		bench_end_vm(bench);
	worker_destroy(bench->worker);
	switch_close(&bench->sw);
	snprintf(path, sizeof(path), "%s/vm.host_%d", bench->folder, HOST_PORT);
	unlink(path);
	settings_free(&bench->settings);
	assert_int_equal(rmdir(bench->folder), 0); /* the VM's sockets are gone */
}

/* One receive buffer; its place follows from its descriptor. */
static void guest_post(struct bench *bench)
{
	uint64_t slot = bench->guest.queues[RECEIVE].next_descriptor % FRONTEND_QUEUE_SIZE;
	struct virtio_ring_desc part = { .addr = FRONTEND_BUFFERS + slot * 4096,
					 .len = bench->buffer_bytes,
					 .flags = VIRTIO_RING_DESC_F_WRITE };

	frontend_offer(&bench->guest, RECEIVE, &part, 1);
}

static void guest_post_many(struct bench *bench, unsigned int count)
{
	while (count--)
		guest_post(bench);
	frontend_kick(&bench->guest, RECEIVE);
}

static void guest_send_header(struct bench *bench, const struct virtio_vsock_header *header,
			      const void *payload)
{
	struct virtio_ring_desc parts[] = { { .addr = PACKET_PLACE, .len = sizeof(*header) },
					    { .addr = PAYLOAD_PLACE, .len = header->len } };
	struct virtio_ring_used_elem used;

	frontend_put(&bench->guest, PACKET_PLACE, header, sizeof(*header));
	if (header->len)
		frontend_put(&bench->guest, PAYLOAD_PLACE, payload, header->len);
	frontend_offer(&bench->guest, TRANSMIT, parts, header->len ? 2 : 1);
	frontend_kick(&bench->guest, TRANSMIT);
	assert_true(frontend_used(&bench->guest, TRANSMIT, &used));
}

static struct virtio_vsock_header guest_header(struct bench *bench, uint16_t op, uint32_t port)
{
	return (struct virtio_vsock_header){ .src_cid = GUEST_CID,
					     .dst_cid = VIRTIO_VSOCK_CID_HOST,
					     .src_port = GUEST_PORT,
					     .dst_port = port,
					     .type = bench->type,
					     .op = op,
					     .buf_alloc = bench->window,
					     .fwd_cnt = bench->taken };
}

static void guest_send(struct bench *bench, uint16_t op, uint32_t port, uint32_t flags,
		       const void *payload, uint32_t bytes)
{
	struct virtio_vsock_header header = guest_header(bench, op, port);

	header.flags = flags;
	header.len = bytes;
	guest_send_header(bench, &header, payload);
}

/* The next packet for the guest, its payload in @payload; whether there is one. */
static bool guest_receive(struct bench *bench, struct virtio_vsock_header *header, void *payload)
{
	struct virtio_ring_used_elem used;
	uint64_t place;

	if (!frontend_used(&bench->guest, RECEIVE, &used))
		return false;
	place = bench->guest.queues[RECEIVE].descriptors[used.id].addr;
	frontend_get(&bench->guest, place, header, sizeof(*header));
	assert_int_equal(used.len, sizeof(*header) + header->len);
	assert_int_equal(header->dst_cid, GUEST_CID);
	if (header->len)
		frontend_get(&bench->guest, place + sizeof(*header), payload, header->len);
	bench->taken += header->len;
	guest_post(bench);
	return true;
}

static void guest_expect(struct bench *bench, uint16_t op, struct virtio_vsock_header *header)
{
	unsigned char payload[BUFFER_BYTES];

	assert_true(guest_receive(bench, header, payload));
	assert_int_equal(header->op, op);
	assert_int_equal(header->len, 0);
}

static void guest_expect_nothing(struct bench *bench)
{
	struct virtio_vsock_header header;
	unsigned char payload[BUFFER_BYTES];

	assert_false(guest_receive(bench, &header, payload));
}

/* Connects the guest to HOST_PORT; the answer is in @header. */
static void bench_connect(struct bench *bench, struct virtio_vsock_header *header)
{
	bench->taken = 0;
	guest_post_many(bench, 64);
	guest_send(bench, VIRTIO_VSOCK_OP_REQUEST, HOST_PORT, 0, NULL, 0);
	guest_expect(bench, VIRTIO_VSOCK_OP_RESPONSE, header);
	bench->host = accept4(bench->listener, NULL, NULL, SOCK_NONBLOCK);
	assert_true(bench->host >= 0);
}

static void host_expect(struct bench *bench, const char *text)
{
	char got[256] = "";

	assert_int_equal(recv(bench->host, got, sizeof(got) - 1, 0), strlen(text));
	assert_string_equal(got, text);
}

static void host_expect_end(struct bench *bench)
{
	char byte;

	assert_int_equal(recv(bench->host, &byte, 1, 0), 0);
}

static void host_write(struct bench *bench, const void *from, size_t bytes)
{
	assert_int_equal(send(bench->host, from, bytes, MSG_NOSIGNAL), bytes);
	bench_serve(bench);
}

static unsigned char pattern(uint64_t at)
{
	return (unsigned char)((at * 0x9e3779b97f4a7c15u) >> 56);
}

static void a_guest_connects_and_talks(void **state)
{
	struct virtio_vsock_header header;
	struct bench bench;
	char payload[BUFFER_BYTES];

	(void)state;
	bench_open(&bench, 8);
	bench_connect(&bench, &header);
	assert_int_equal(header.src_cid, VIRTIO_VSOCK_CID_HOST);
	assert_int_equal(header.src_port, HOST_PORT);
	assert_int_equal(header.dst_port, GUEST_PORT);
	assert_true(header.buf_alloc >= VM_WINDOW_BYTES_MIN);
	guest_send(&bench, VIRTIO_VSOCK_OP_RW, HOST_PORT, 0, "to the host", 11);
	host_expect(&bench, "to the host");
	host_write(&bench, "to the guest", 12);
	assert_true(guest_receive(&bench, &header, payload));
	assert_int_equal(header.op, VIRTIO_VSOCK_OP_RW);
	assert_int_equal(header.len, 12);
	assert_memory_equal(payload, "to the guest", 12);
	bench_close(&bench);
}

static void what_cannot_be_reached_is_reset_at_once(void **state)
{
	struct virtio_vsock_header header, answer;
	struct bench bench;

	(void)state;
	bench_open(&bench, 8);
	guest_post_many(&bench, 8);
	guest_send(&bench, VIRTIO_VSOCK_OP_REQUEST, HOST_PORT + 1, 0, NULL, 0);
	guest_expect(&bench, VIRTIO_VSOCK_OP_RST, &answer);
	assert_int_equal(answer.src_port, HOST_PORT + 1);
	assert_int_equal(answer.dst_port, GUEST_PORT);

	header = guest_header(&bench, VIRTIO_VSOCK_OP_REQUEST, HOST_PORT);
	header.dst_cid = 77;
	guest_send_header(&bench, &header, NULL);
	guest_expect(&bench, VIRTIO_VSOCK_OP_RST, &answer);
	assert_int_equal(answer.src_cid, 77);

	header = guest_header(&bench, VIRTIO_VSOCK_OP_REQUEST, HOST_PORT);
	header.type = VIRTIO_VSOCK_TYPE_SEQPACKET;
	guest_send_header(&bench, &header, NULL);
	guest_expect(&bench, VIRTIO_VSOCK_OP_RST, &answer);

	guest_send(&bench, VIRTIO_VSOCK_OP_RW, HOST_PORT, 0, "x", 1); /* no such connection */
	guest_expect(&bench, VIRTIO_VSOCK_OP_RST, &answer);
	guest_send(&bench, VIRTIO_VSOCK_OP_RST, HOST_PORT, 0, NULL, 0); /* is never answered */
	guest_expect_nothing(&bench);
	assert_int_equal(bench.vm->connection_count, 0);
	bench_close(&bench);
}

static void a_source_cannot_be_forged(void **state)
{
	struct virtio_vsock_header header, answer;
	struct bench bench;

	(void)state;
	bench_open(&bench, 8);
	bench_connect(&bench, &answer);
	header = guest_header(&bench, VIRTIO_VSOCK_OP_RW, HOST_PORT);
	header.src_cid = GUEST_CID + 1;
	header.len = 3;
	guest_send_header(&bench, &header, "bad");
	guest_expect(&bench, VIRTIO_VSOCK_OP_RST, &answer);
	assert_int_equal(recv(bench.host, &header, 3, 0), -1);
	header.op = VIRTIO_VSOCK_OP_REQUEST;
	header.len = 0;
	guest_send_header(&bench, &header, NULL);
	guest_expect(&bench, VIRTIO_VSOCK_OP_RST, &answer);
	assert_int_equal(accept(bench.listener, NULL, NULL), -1);
	bench_close(&bench);
}

static void a_service_learns_who_asks(void **state)
{
	struct identity_preamble preamble;
	struct virtio_vsock_header header;
	struct bench bench;
	char path[128];
	int service;

	(void)state;
	bench_open(&bench, 8);
	snprintf(path, sizeof(path), "%s/service", bench.folder);
	service = io_unix_listen(path, 0600, NULL);
	guest_post_many(&bench, 8);
	guest_send(&bench, VIRTIO_VSOCK_OP_REQUEST, 7000, 0, NULL, 0);
	guest_expect(&bench, VIRTIO_VSOCK_OP_RESPONSE, &header);
	guest_send(&bench, VIRTIO_VSOCK_OP_RW, 7000, 0, "hello", 5);
	bench.host = accept(service, NULL, NULL);
	assert_int_equal(recv(bench.host, &preamble, sizeof(preamble), 0), sizeof(preamble));
	assert_memory_equal(&preamble, "CWID", 4);
	assert_int_equal(preamble.version, 1);
	assert_int_equal(preamble.cid, GUEST_CID);
	host_expect(&bench, "hello");
	close(service);
	unlink(path);
	bench_close(&bench);
}

/* A host program asks for the guest's port 22; its REQUEST is in @header. */
static void bench_ask(struct bench *bench, const char *line, struct virtio_vsock_header *header)
{
	bench->host = io_unix_connect(bench->settings.vms[0].host_socket, NULL);
	assert_true(bench->host >= 0);
	assert_int_equal(fcntl(bench->host, F_SETFL, O_NONBLOCK), 0);
	guest_post_many(bench, 8);
	host_write(bench, line, strlen(line));
	if (header) {
		guest_expect(bench, VIRTIO_VSOCK_OP_REQUEST, header);
		assert_int_equal(header->dst_port, 22);
		assert_true(header->src_port >= VM_HOST_PORT_FIRST);
	}
}

static void guest_answer(struct bench *bench, const struct virtio_vsock_header *request,
			 uint16_t op)
{
	struct virtio_vsock_header header = guest_header(bench, op, request->src_port);

	header.src_port = request->dst_port;
	guest_send_header(bench, &header, NULL);
}

static void a_host_program_connects_to_a_guest(void **state)
{
	struct virtio_vsock_header header;
	char payload[BUFFER_BYTES], expected[32];
	struct bench bench;

	(void)state;
	bench_open(&bench, 8);
	bench_ask(&bench, "CONNECT 22\nbehind the line", &header);
	assert_int_equal(recv(bench.host, payload, 1, 0), -1);
	guest_answer(&bench, &header, VIRTIO_VSOCK_OP_RESPONSE);
	snprintf(expected, sizeof(expected), "OK %u\n", header.src_port);
	host_expect(&bench, expected);
	assert_true(guest_receive(&bench, &header, payload));
	assert_int_equal(header.op, VIRTIO_VSOCK_OP_RW);
	assert_int_equal(header.len, 15);
	assert_memory_equal(payload, "behind the line", 15);
	bench_close(&bench);
}

/* From now on the rules deny one direction between the guest and the host, for a range of ports. */
static void bench_deny(struct bench *bench, bool to_host, uint32_t first, uint32_t last)
{
	const struct settings_party guest = { .kind = SETTINGS_PARTY_CID, .cid = GUEST_CID };
	const struct settings_party host = { .kind = SETTINGS_PARTY_CID,
					     .cid = VIRTIO_VSOCK_CID_HOST };

	bench->settings.rules[0] = (struct settings_rule){ .from = to_host ? guest : host,
							   .to = to_host ? host : guest,
							   .port_first = first,
							   .port_last = last };
	bench->settings.rule_count = 1;
	bench->vm->rules_changed = true; /* as switch_rules_changed() does */
	bench_serve(bench);
}

static void a_connection_that_is_denied_later_ends(void **state)
{
	struct virtio_vsock_header header;
	struct bench bench;
	char text[32];

	(void)state;
	bench_open(&bench, 8);
	bench_connect(&bench, &header);
	bench_deny(&bench, false, 0, UINT32_MAX);
	bench_deny(&bench, true, 0, HOST_PORT - 1);
	guest_send(&bench, VIRTIO_VSOCK_OP_RW, HOST_PORT, 0, "on", 2);
	host_expect(&bench, "on");
	bench_deny(&bench, true, HOST_PORT, HOST_PORT);
	guest_expect(&bench, VIRTIO_VSOCK_OP_RST, &header);
	host_expect_end(&bench);
	close(bench.host);
	/* What the host asked for. */
	bench_ask(&bench, "CONNECT 22\n", &header);
	guest_answer(&bench, &header, VIRTIO_VSOCK_OP_RESPONSE);
	assert_true(recv(bench.host, text, sizeof(text), 0) > 0);
	bench_deny(&bench, false, 22, 22);
	guest_expect(&bench, VIRTIO_VSOCK_OP_RST, &header);
	host_expect_end(&bench);
	assert_int_equal(bench.vm->connection_count, 0);
	bench_close(&bench);
}

static void a_guest_that_refuses_ends_the_host_program(void **state)
{
	struct virtio_vsock_header header;
	struct bench bench;

	(void)state;
	bench_open(&bench, 8);
	bench_ask(&bench, "CONNECT 22\n", &header);
	guest_answer(&bench, &header, VIRTIO_VSOCK_OP_RST);
	host_expect_end(&bench);
	assert_int_equal(bench.vm->connection_count, 0);
	bench_close(&bench);
}

static void lines_that_are_no_request_are_refused(void **state)
{
	static const char *const lines[] = {
		"CONNECT\n",
		"CONNECT 22 \n",
		"CONNECT -1\n",
		"CONNECT 4294967295\n",
		"connect 22\n",
		"GET / HTTP/1.1\r\n",
		"0123456789012345678901234567890123456789",
	};
	struct bench bench;

	(void)state;
	bench_open(&bench, 8);
	for (unsigned int i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		char byte;
		ssize_t got;

		bench_ask(&bench, lines[i], NULL);
		got = recv(bench.host, &byte, 1, 0);
		assert_true(got == 0 || (got < 0 && errno == ECONNRESET));
		guest_expect_nothing(&bench);
		assert_int_equal(bench.vm->connection_count, 0);
		close(bench.host);
	}
	bench.host = -1;
	bench_close(&bench);
}

static void data_is_split_to_the_guests_buffers(void **state)
{
	unsigned char data[10000], payload[BUFFER_BYTES];
	struct virtio_vsock_header header;
	struct bench bench;
	size_t at = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = pattern(i);
	bench_open(&bench, 8);
	bench.buffer_bytes = 1000;
	bench_connect(&bench, &header);
	host_write(&bench, data, sizeof(data));
	while (guest_receive(&bench, &header, payload)) {
		assert_int_equal(header.len, sizeof(data) - at < 956 ? sizeof(data) - at : 956);
		assert_memory_equal(payload, data + at, header.len);
		at += header.len;
	}
	assert_int_equal(at, sizeof(data));
	bench_close(&bench);
}

static void a_buffer_may_come_in_pieces(void **state)
{
	struct virtio_ring_desc parts[] = {
		{ .addr = FRONTEND_BORDER - 5, .len = 10, .flags = VIRTIO_RING_DESC_F_WRITE },
		{ .addr = FRONTEND_BUFFERS, .len = 40, .flags = VIRTIO_RING_DESC_F_WRITE },
		{ .addr = FRONTEND_BUFFERS + 64, .len = 4, .flags = VIRTIO_RING_DESC_F_WRITE },
	};
	struct virtio_vsock_header header;
	struct virtio_ring_used_elem used;
	unsigned char got[54];
	struct bench bench;

	(void)state;
	bench_open(&bench, 8);
	frontend_offer(&bench.guest, RECEIVE, parts, 3);
	guest_send(&bench, VIRTIO_VSOCK_OP_REQUEST, HOST_PORT, 0, NULL, 0);
	assert_true(frontend_used(&bench.guest, RECEIVE, &used));
	bench.host = accept4(bench.listener, NULL, NULL, SOCK_NONBLOCK);
	host_write(&bench, "0123456789", 10);
	assert_false(frontend_used(&bench.guest, RECEIVE, &used));
	frontend_offer(&bench.guest, RECEIVE, parts, 3);
	frontend_kick(&bench.guest, RECEIVE);
	assert_true(frontend_used(&bench.guest, RECEIVE, &used));
	assert_int_equal(used.len, 54);
	for (int i = 0, at = 0; i < 3; at += (int)parts[i++].len)
		frontend_get(&bench.guest, parts[i].addr, got + at, parts[i].len);
	memcpy(&header, got, sizeof(header));
	assert_int_equal(header.len, 10);
	assert_memory_equal(got + sizeof(header), "0123456789", 10);
	bench_close(&bench);
}

static void the_guests_credit_is_kept(void **state)
{
	unsigned char data[5000] = { 0 }, payload[BUFFER_BYTES];
	struct virtio_vsock_header header;
	struct bench bench;

	(void)state;
	bench_open(&bench, 8);
	bench.window = 1000;
	bench_connect(&bench, &header);
	host_write(&bench, data, sizeof(data));
	assert_true(guest_receive(&bench, &header, payload));
	assert_int_equal(header.len, 1000);
	guest_expect_nothing(&bench);
	bench.taken = 600;
	guest_send(&bench, VIRTIO_VSOCK_OP_CREDIT_UPDATE, HOST_PORT, 0, NULL, 0);
	assert_true(guest_receive(&bench, &header, payload));
	assert_int_equal(header.len, 600);
	guest_expect_nothing(&bench);
	bench.window = 100; /* less than is under way */
	bench.taken = 700;
	guest_send(&bench, VIRTIO_VSOCK_OP_CREDIT_UPDATE, HOST_PORT, 0, NULL, 0);
	guest_expect_nothing(&bench);
	bench_close(&bench);
}

static void without_buffers_nothing_is_lost(void **state)
{
	struct virtio_vsock_header header;
	unsigned char payload[BUFFER_BYTES];
	struct bench bench;

	(void)state;
	bench_open(&bench, 8);
	guest_send(&bench, VIRTIO_VSOCK_OP_REQUEST, HOST_PORT, 0, NULL, 0);
	guest_send(&bench, VIRTIO_VSOCK_OP_REQUEST, HOST_PORT + 1, 0, NULL, 0);
	guest_expect_nothing(&bench);
	bench.host = accept4(bench.listener, NULL, NULL, SOCK_NONBLOCK);
	host_write(&bench, "kept", 4);
	guest_post_many(&bench, 8);
	guest_expect(&bench, VIRTIO_VSOCK_OP_RESPONSE, &header);
	guest_expect(&bench, VIRTIO_VSOCK_OP_RST, &header);
	assert_true(guest_receive(&bench, &header, payload));
	assert_memory_equal(payload, "kept", 4);
	bench_close(&bench);
}

/* Sends packets of @packet bytes until no credit comes any more; how much that was. */
static uint32_t guest_send_all_it_may(struct bench *bench, uint32_t window, uint32_t packet)
{
	static unsigned char data[65536];
	unsigned char payload[BUFFER_BYTES];
	struct virtio_vsock_header header = { .fwd_cnt = 0 };
	uint32_t sent = 0;

	while (sent - header.fwd_cnt < window) {
		uint32_t room = window - (sent - header.fwd_cnt);
		uint32_t part = room < packet ? room : packet;

		for (uint32_t i = 0; i < part; i++)
			data[i] = pattern(sent + i);
		guest_send(bench, VIRTIO_VSOCK_OP_RW, HOST_PORT, 0, data, part);
		sent += part;
		while (guest_receive(bench, &header, payload))
			assert_int_equal(header.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	}
	return sent;
}

static void host_drain(struct bench *bench, uint32_t from, uint32_t bytes)
{
	unsigned char data[65536];

	for (uint32_t at = from; at < from + bytes;) {
		ssize_t got = recv(bench->host, data, sizeof(data), 0);

		assert_true(got > 0);
		for (ssize_t i = 0; i < got; i++)
			assert_int_equal(data[i], pattern(at + (uint32_t)i));
		at += (uint32_t)got;
		bench_serve(bench);
	}
}

static void a_reader_that_waits_holds_back_the_guest(void **state)
{
	struct virtio_vsock_header header;
	struct bench bench;
	uint32_t sent;

	(void)state;
	bench_open(&bench, 8);
	bench_connect(&bench, &header);
	sent = guest_send_all_it_may(&bench, header.buf_alloc, 65536);
	assert_true(sent <= 3 * header.buf_alloc);
	assert_int_equal(bench.vm->remainder_bytes_ever, 0); /* all of it fitted the socket */
	host_drain(&bench, 0, sent);
	guest_expect(&bench, VIRTIO_VSOCK_OP_CREDIT_UPDATE, &header);
	assert_int_equal(header.fwd_cnt, sent);
	bench_close(&bench);
}

static void packets_of_a_page_never_overflow_the_socket(void **state)
{
	struct virtio_vsock_header header;
	struct bench bench;
	uint32_t sent;

	(void)state;
	bench_open(&bench, 8);
	bench_connect(&bench, &header);
	sent = guest_send_all_it_may(&bench, header.buf_alloc, 4096);
	assert_int_equal(bench.vm->remainder_bytes_ever, 0);
	host_drain(&bench, 0, sent);
	bench_close(&bench);
}

static void more_than_the_window_is_a_reset(void **state)
{
	struct virtio_vsock_header header;
	struct bench bench;

	(void)state;
	bench_open(&bench, 8);
	bench_connect(&bench, &header);
	guest_send_all_it_may(&bench, header.buf_alloc, 65536);
	guest_send(&bench, VIRTIO_VSOCK_OP_RW, HOST_PORT, 0, "x", 1);
	guest_expect(&bench, VIRTIO_VSOCK_OP_RST, &header);
	assert_int_equal(bench.vm->connection_count, 0);
	bench_close(&bench);
}

static void tiny_packets_to_a_reader_that_waits_are_all_kept(void **state)
{
	struct virtio_vsock_header header;
	struct bench bench;
	uint32_t sent, window;

	(void)state;
	bench_open(&bench, 8);
	bench_connect(&bench, &header);
	window = header.buf_alloc;
	sent = guest_send_all_it_may(&bench, window, 1);
	assert_true(bench.vm->remainders_bytes > 0);
	assert_true(bench.vm->remainders_bytes < window);
	guest_send(&bench, VIRTIO_VSOCK_OP_SHUTDOWN, HOST_PORT, VIRTIO_VSOCK_SHUTDOWN_SEND, NULL,
		   0);
	guest_expect_nothing(&bench);
	host_drain(&bench, 0, sent);
	assert_int_equal(bench.vm->remainders_bytes, 0);
	host_expect_end(&bench);
	guest_expect(&bench, VIRTIO_VSOCK_OP_CREDIT_UPDATE, &header);
	bench_close(&bench);
}

/* A guest of messages instead, and a host program that listens for such. */
static void bench_open_messages(struct bench *bench)
{
	char path[128];

	bench_open(bench, 8);
	close(bench->listener);
	snprintf(path, sizeof(path), "%s/vm.host_%d", bench->folder, HOST_PORT);
	bench->listener = io_unix_listen_packets(path, 0600, NULL);
	assert_true(bench->listener >= 0);
	frontend_close(&bench->guest);
	bench_serve(bench);
	bench_attach(bench, VIRTIO_VSOCK_F_SEQPACKET | VIRTIO_RING_F_EVENT_IDX);
	bench->type = VIRTIO_VSOCK_TYPE_SEQPACKET;
}

static void guest_send_message(struct bench *bench, const void *from, uint32_t bytes, bool ends)
{
	guest_send(bench, VIRTIO_VSOCK_OP_RW, HOST_PORT,
		   ends ? VIRTIO_VSOCK_SEQ_EOM | VIRTIO_VSOCK_SEQ_EOR : 0, from, bytes);
}

static void messages_to_the_host_stay_apart(void **state)
{
	struct virtio_vsock_header header;
	struct bench bench;

	(void)state;
	bench_open_messages(&bench);
	bench_connect(&bench, &header);
	assert_int_equal(header.type, VIRTIO_VSOCK_TYPE_SEQPACKET);
	guest_send_message(&bench, "one", 3, true);
	guest_send_message(&bench, "tw", 2, false);
	guest_send_message(&bench, "o", 1, true);
	guest_send_message(&bench, NULL, 0, true); /* left out */
	guest_send_message(&bench, "three", 5, false);
	guest_send_message(&bench, NULL, 0, true);
	guest_send_message(&bench, "four's end never comes", 22, false);
	host_expect(&bench, "one");
	host_expect(&bench, "two");
	host_expect(&bench, "three");
	guest_send(&bench, VIRTIO_VSOCK_OP_SHUTDOWN, HOST_PORT, VIRTIO_VSOCK_SHUTDOWN_SEND, NULL,
		   0);
	host_expect_end(&bench);
	assert_int_equal(bench.vm->remainders_bytes, 0);
	bench_close(&bench);
}

/* As many messages of @bytes bytes as the guest has credit for, each in parts of @part. */
static unsigned int guest_fill_with_messages(struct bench *bench, uint32_t window, uint32_t bytes,
					     uint32_t part)
{
	static unsigned char data[65536];
	unsigned char payload[BUFFER_BYTES];
	struct virtio_vsock_header header = { .fwd_cnt = 0 };
	unsigned int count = 0;
	uint32_t sent = 0;

	for (; window - (sent - header.fwd_cnt) >= bytes; count++) {
		memset(data, (int)count, sizeof(data));
		for (uint32_t done = 0; done < bytes; done += part) {
			uint32_t now = bytes - done < part ? bytes - done : part;

			guest_send_message(bench, data, now, done + now == bytes);
			sent += now;
		}
		while (guest_receive(bench, &header, payload))
			assert_int_equal(header.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	}
	return count;
}

static void host_drain_messages(struct bench *bench, unsigned int count, uint32_t bytes)
{
	unsigned char *message = malloc(bytes + 1);

	for (unsigned int i = 0; i < count; i++) {
		assert_int_equal(recv(bench->host, message, bytes + 1, 0), bytes);
		assert_int_equal(message[0], i & 255);
		assert_int_equal(message[bytes - 1], i & 255);
		bench_serve(bench);
	}
	free(message);
}

static void messages_wait_for_a_reader(void **state)
{
	static const struct {
		uint32_t bytes, part;
	} cases[] = { { 1, 1 }, { 100, 60 }, { 70000, 65536 }, { 100000, 4096 } };
	struct virtio_vsock_header header;
	struct bench bench;

	(void)state;
	bench_open_messages(&bench);
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint32_t bytes = cases[i].bytes;
		unsigned int count;

		bench_connect(&bench, &header);
		count = guest_fill_with_messages(&bench, header.buf_alloc, bytes, cases[i].part);
		assert_true(count > 1);
		guest_send(&bench, VIRTIO_VSOCK_OP_SHUTDOWN, HOST_PORT, VIRTIO_VSOCK_SHUTDOWN_SEND,
			   NULL, 0);
		host_drain_messages(&bench, count, bytes);
		assert_int_equal(bench.vm->remainders_bytes, 0);
		host_expect_end(&bench);
		guest_send(&bench, VIRTIO_VSOCK_OP_RST, HOST_PORT, 0, NULL, 0);
		while (guest_receive(&bench, &header, NULL))
			assert_int_equal(header.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
		close(bench.host);
	}
	bench.host = -1;
	bench_close(&bench);
}

/* Behind what the host program has read already, a message of the whole window must get through. */
static void a_message_as_large_as_the_window_passes(void **state)
{
	static unsigned char data[4096];
	struct virtio_vsock_header header;
	uint32_t window, sent = 0, told = 0;
	unsigned char payload[BUFFER_BYTES];
	struct bench bench;
	char *message;

	(void)state;
	bench_open_messages(&bench);
	bench_connect(&bench, &header);
	window = header.buf_alloc;
	guest_send_message(&bench, data, 1000, true);
	assert_int_equal(recv(bench.host, payload, sizeof(payload), 0), 1000);
	for (uint32_t done = 0; done < window;) {
		uint32_t room = window - (1000 + sent - told);
		uint32_t part = window - done < sizeof(data) ? window - done : sizeof(data);

		assert_true(room > 0);
		if (part > room)
			part = room;
		done += part;
		sent += part;
		guest_send_message(&bench, data, part, done == window);
		while (guest_receive(&bench, &header, payload))
			told = header.fwd_cnt;
	}
	message = malloc(window + 1);
	assert_int_equal(recv(bench.host, message, window + 1, 0), window);
	free(message);
	bench_serve(&bench);
	guest_expect(&bench, VIRTIO_VSOCK_OP_CREDIT_UPDATE, &header);

	/* And one that is larger never will. */
	for (uint32_t done = 0; done < window; done += sizeof(data))
		guest_send_message(&bench, data, sizeof(data), false);
	guest_expect(&bench, VIRTIO_VSOCK_OP_RST, &header);
	assert_int_equal(bench.vm->remainders_bytes, 0);
	bench_close(&bench);
}

/* Connects a host program of messages to port 22 of the guest. */
static void bench_ask_messages(struct bench *bench, struct virtio_vsock_header *request)
{
	char path[128], expected[32];

	snprintf(path, sizeof(path), "%s%s", bench->settings.vms[0].host_socket,
		 VM_MESSAGES_SUFFIX);
	bench->host = io_unix_connect_packets(path, NULL);
	assert_true(bench->host >= 0);
	assert_int_equal(fcntl(bench->host, F_SETFL, O_NONBLOCK), 0);
	guest_post_many(bench, 64);
	host_write(bench, "CONNECT 22\n", 11);
	guest_expect(bench, VIRTIO_VSOCK_OP_REQUEST, request);
	assert_int_equal(request->type, VIRTIO_VSOCK_TYPE_SEQPACKET);
	guest_answer(bench, request, VIRTIO_VSOCK_OP_RESPONSE);
	snprintf(expected, sizeof(expected), "OK %u\n", request->src_port);
	host_expect(bench, expected);
}

static void messages_to_the_guest_stay_apart(void **state)
{
	static const uint32_t sizes[] = { 1, 3732, 3733, 0, 5000, 150000, 2 };
	static unsigned char data[150000];
	unsigned char payload[BUFFER_BYTES];
	struct virtio_vsock_header header;
	struct bench bench;

	(void)state;
	bench_open_messages(&bench);
	bench_ask_messages(&bench, &header);
	for (uint32_t i = 0; i < sizeof(data); i++)
		data[i] = pattern(i);
	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint32_t got = 0;

		assert_int_equal(send(bench.host, data, sizes[i], 0), sizes[i]);
		bench_serve(&bench);
		while (got < sizes[i]) {
			assert_true(guest_receive(&bench, &header, payload));
			assert_int_equal(header.op, VIRTIO_VSOCK_OP_RW);
			assert_memory_equal(payload, data + got, header.len);
			got += header.len;
			assert_int_equal(header.flags, got == sizes[i] ? VIRTIO_VSOCK_SEQ_EOM : 0);
			bench_serve(&bench);
		}
		guest_expect_nothing(&bench);
	}
	send(bench.host, "", 0, 0); /* an empty one, and another message, in front of the end */
	send(bench.host, "last", 4, 0);
	shutdown(bench.host, SHUT_WR);
	bench_serve(&bench);
	assert_true(guest_receive(&bench, &header, payload));
	assert_int_equal(header.len, 4);
	guest_expect(&bench, VIRTIO_VSOCK_OP_SHUTDOWN, &header);
	assert_int_equal(header.flags, VIRTIO_VSOCK_SHUTDOWN_SEND);
	bench_close(&bench);
}

static void a_message_that_the_guest_cannot_hold_ends_the_connection(void **state)
{
	static unsigned char data[10000];
	struct virtio_vsock_header header;
	struct bench bench;

	(void)state;
	bench_open_messages(&bench);
	bench.window = 8192;
	bench_ask_messages(&bench, &header);
	host_write(&bench, data, sizeof(data));
	guest_expect(&bench, VIRTIO_VSOCK_OP_RST, &header);
	assert_int_equal(header.type, VIRTIO_VSOCK_TYPE_SEQPACKET);
	assert_int_equal(recv(bench.host, data, 1, 0), -1); /* it learns that its message is lost */
	assert_int_equal(errno, ECONNRESET);
	bench_close(&bench);
}

static void streams_and_messages_do_not_meet(void **state)
{
	struct virtio_vsock_header header, answer;
	struct bench bench;

	(void)state;
	bench_open_messages(&bench);
	bench_connect(&bench, &header);
	header = guest_header(&bench, VIRTIO_VSOCK_OP_RW, HOST_PORT);
	header.type = VIRTIO_VSOCK_TYPE_STREAM; /* of the same ports */
	header.len = 3;
	guest_send_header(&bench, &header, "bad");
	guest_expect(&bench, VIRTIO_VSOCK_OP_RST, &answer);
	assert_int_equal(answer.type, VIRTIO_VSOCK_TYPE_STREAM);
	assert_int_equal(recv(bench.host, &answer, 3, 0), -1);
	header = guest_header(&bench, VIRTIO_VSOCK_OP_REQUEST, HOST_PORT);
	header.type = VIRTIO_VSOCK_TYPE_STREAM; /* to a program that listens for messages */
	header.src_port++;
	guest_send_header(&bench, &header, NULL);
	guest_expect(&bench, VIRTIO_VSOCK_OP_RST, &answer);
	bench_close(&bench);
}

static void a_closed_guest_still_drains(void **state)
{
	struct virtio_vsock_header header;
	struct bench bench;
	uint32_t sent;

	(void)state;
	bench_open(&bench, 8);
	bench_connect(&bench, &header);
	sent = guest_send_all_it_may(&bench, header.buf_alloc, 1);
	assert_true(bench.vm->remainders_bytes > 0);
	guest_send(&bench, VIRTIO_VSOCK_OP_SHUTDOWN, HOST_PORT, VIRTIO_VSOCK_SHUTDOWN_BOTH, NULL,
		   0);
	guest_expect(&bench, VIRTIO_VSOCK_OP_RST, &header);
	/* Its ports are free at once. */
	assert_null(connection_find(bench.vm, GUEST_PORT, HOST_PORT));
	host_drain(&bench, 0, sent);
	host_expect_end(&bench);
	assert_int_equal(bench.vm->connection_count, 0);
	bench_close(&bench);
}

static void one_stream_that_waits_leaves_others_alone(void **state)
{
	struct virtio_vsock_header header;
	struct bench bench;
	int waiting;

	(void)state;
	bench_open(&bench, 8);
	bench_connect(&bench, &header);
	waiting = bench.host;
	guest_send_all_it_may(&bench, header.buf_alloc, 1);
	header = guest_header(&bench, VIRTIO_VSOCK_OP_REQUEST, HOST_PORT);
	header.src_port++;
	guest_send_header(&bench, &header, NULL);
	bench.host = accept4(bench.listener, NULL, NULL, SOCK_NONBLOCK);
	header.op = VIRTIO_VSOCK_OP_RW;
	header.len = 9;
	guest_send_header(&bench, &header, "unimpeded");
	host_expect(&bench, "unimpeded");
	close(waiting);
	bench_close(&bench);
}

static void half_closes_pass_both_ways(void **state)
{
	struct virtio_vsock_header header;
	unsigned char payload[BUFFER_BYTES];
	struct bench bench;

	(void)state;
	bench_open(&bench, 8);
	bench_connect(&bench, &header);
	guest_send(&bench, VIRTIO_VSOCK_OP_RW, HOST_PORT, 0, "last", 4);
	guest_send(&bench, VIRTIO_VSOCK_OP_SHUTDOWN, HOST_PORT, VIRTIO_VSOCK_SHUTDOWN_SEND, NULL,
		   0);
	host_expect(&bench, "last");
	host_expect_end(&bench);
	host_write(&bench, "answer", 6);
	assert_true(guest_receive(&bench, &header, payload));
	assert_memory_equal(payload, "answer", 6);
	close(bench.host);
	bench.host = -1;
	bench_serve(&bench);
	guest_expect(&bench, VIRTIO_VSOCK_OP_SHUTDOWN, &header);
	assert_int_equal(header.flags, VIRTIO_VSOCK_SHUTDOWN_BOTH);
	guest_send(&bench, VIRTIO_VSOCK_OP_RST, HOST_PORT, 0, NULL, 0);
	assert_int_equal(bench.vm->connection_count, 0);

	bench_connect(&bench, &header);
	assert_int_equal(send(bench.host, "last", 4, 0), 4);
	assert_int_equal(shutdown(bench.host, SHUT_WR), 0);
	bench_serve(&bench);
	assert_true(guest_receive(&bench, &header, payload));
	assert_int_equal(header.len, 4);
	guest_expect(&bench, VIRTIO_VSOCK_OP_SHUTDOWN, &header);
	assert_int_equal(header.flags, VIRTIO_VSOCK_SHUTDOWN_SEND);
	guest_send(&bench, VIRTIO_VSOCK_OP_RW, HOST_PORT, 0, "answer", 6);
	host_expect(&bench, "answer");
	guest_send(&bench, VIRTIO_VSOCK_OP_SHUTDOWN, HOST_PORT, VIRTIO_VSOCK_SHUTDOWN_BOTH, NULL,
		   0);
	guest_expect(&bench, VIRTIO_VSOCK_OP_RST, &header);
	host_expect_end(&bench);
	assert_int_equal(bench.vm->connection_count, 0);
	bench_close(&bench);
}

static void a_host_program_that_died_is_told(void **state)
{
	struct virtio_vsock_header header;
	struct bench bench;

	(void)state;
	bench_open(&bench, 8);
	bench_connect(&bench, &header);
	guest_send(&bench, VIRTIO_VSOCK_OP_RW, HOST_PORT, 0, "unread", 6);
	close(bench.host);
	bench.host = -1;
	guest_send(&bench, VIRTIO_VSOCK_OP_RW, HOST_PORT, 0, "in flight", 9);
	guest_expect(&bench, VIRTIO_VSOCK_OP_SHUTDOWN, &header);
	if (header.flags == VIRTIO_VSOCK_SHUTDOWN_RECEIVE) /* known first */
		guest_expect(&bench, VIRTIO_VSOCK_OP_SHUTDOWN, &header);
	assert_int_equal(header.flags, VIRTIO_VSOCK_SHUTDOWN_BOTH);
	bench_close(&bench);
}

static void a_vmm_that_dies_ends_its_streams_and_the_next_is_served(void **state)
{
	struct virtio_vsock_header header;
	struct bench bench;

	(void)state;
	bench_open(&bench, 8);
	bench_connect(&bench, &header);
	frontend_close(&bench.guest);
	bench_serve(&bench);
	host_expect_end(&bench);
	close(bench.host);
	bench_attach(&bench, 0);
	bench_connect(&bench, &header);
	guest_send(&bench, VIRTIO_VSOCK_OP_RW, HOST_PORT, 0, "again", 5);
	host_expect(&bench, "again");
	bench_close(&bench);
}

static void a_guest_that_reboots_ends_its_streams(void **state)
{
	struct virtio_vsock_header header;
	struct bench bench;

	(void)state;
	bench_open(&bench, 8);
	bench_connect(&bench, &header);
	for (unsigned int i = 0; i < FRONTEND_QUEUES; i++)
		frontend_stop_queue(&bench.guest, i);
	assert_int_equal(recv(bench.host, &header, 1, 0), -1); /* so far it may be a pause */
	for (unsigned int i = 0; i < FRONTEND_QUEUES; i++)
		frontend_start_queue(&bench.guest, i, 0);
	host_expect_end(&bench);
	bench_close(&bench);
}

static void a_full_backlog_is_waited_for(void **state)
{
	struct virtio_vsock_header header;
	struct bench bench;
	uint64_t start_ns;
	int waiting[2];
	char path[128];

	(void)state;
	bench_open(&bench, 8);
	assert_int_equal(listen(bench.listener, 0), 0);
	snprintf(path, sizeof(path), "%s/vm.host_%d", bench.folder, HOST_PORT);
	waiting[0] = io_unix_connect(path, NULL);
	assert_true(waiting[0] >= 0);
	guest_post_many(&bench, 8);
	guest_send(&bench, VIRTIO_VSOCK_OP_REQUEST, HOST_PORT, 0, NULL, 0);
	guest_expect_nothing(&bench);
	start_ns = vm_clock_ns();
	worker_turn(bench.worker, 1000); /* ends when the next attempt is due */
	assert_true(vm_clock_ns() - start_ns < 900 * 1000000ull);
	waiting[1] = accept(bench.listener, NULL, NULL);
	bench_serve(&bench);
	guest_expect(&bench, VIRTIO_VSOCK_OP_RESPONSE, &header);
	close(waiting[0]);
	close(waiting[1]);
	bench_close(&bench);
}

/* More than one wake-up accepts, and then without descriptors. */
static void many_host_programs_and_no_descriptors(void **state)
{
	struct rlimit limit, low;
	struct bench bench;
	int fds[100], next;

	(void)state;
	bench_open(&bench, 200);
	for (int i = 0; i < 100; i++) {
		fds[i] = io_unix_connect(bench.settings.vms[0].host_socket, NULL);
		assert_true(fds[i] >= 0);
	}
	bench_serve(&bench);
	worker_turn(bench.worker, 0);
	assert_int_equal(bench.vm->connection_count, 100);

	bench.host = io_unix_connect(bench.settings.vms[0].host_socket, NULL);
	next = dup(0);
	close(next);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	low = limit;
	low.rlim_cur = (rlim_t)next; /* nothing can be opened */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	bench_serve(&bench);
	assert_int_equal(bench.vm->connection_count, 100);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	worker_turn(bench.worker, 5000); /* ends with the listener's rest */
	bench_serve(&bench);
	assert_int_equal(bench.vm->connection_count, 101);
	for (int i = 0; i < 100; i++)
		close(fds[i]);
	bench_close(&bench);
}

static void a_port_may_be_used_again_while_closing(void **state)
{
	struct virtio_vsock_header header;
	struct bench bench;

	(void)state;
	bench_open(&bench, 8);
	bench_connect(&bench, &header);
	close(bench.host);
	bench_serve(&bench);
	guest_expect(&bench, VIRTIO_VSOCK_OP_SHUTDOWN, &header);
	guest_send(&bench, VIRTIO_VSOCK_OP_REQUEST, HOST_PORT, 0, NULL, 0);
	guest_expect(&bench, VIRTIO_VSOCK_OP_RESPONSE, &header);
	bench.host = accept4(bench.listener, NULL, NULL, SOCK_NONBLOCK);
	guest_send(&bench, VIRTIO_VSOCK_OP_RW, HOST_PORT, 0, "anew", 4);
	host_expect(&bench, "anew");
	bench_close(&bench);
}

static void too_many_connections_are_reset(void **state)
{
	struct virtio_vsock_header header;
	struct bench bench;

	(void)state;
	bench_open(&bench, 2);
	guest_post_many(&bench, 8);
	for (uint32_t i = 0; i < 3; i++) {
		header = guest_header(&bench, VIRTIO_VSOCK_OP_REQUEST, HOST_PORT);
		header.src_port += i;
		guest_send_header(&bench, &header, NULL);
		guest_expect(&bench, i < 2 ? VIRTIO_VSOCK_OP_RESPONSE : VIRTIO_VSOCK_OP_RST,
			     &header);
	}
	bench_close(&bench);
}

static void owed_resets_are_bounded(void **state)
{
	struct virtio_ring_desc part = { .addr = PACKET_PLACE,
					 .len = sizeof(struct virtio_vsock_header) };
	struct virtio_vsock_header header;
	struct virtio_ring_used_elem used;
	unsigned int returned = 0;
	struct bench bench;

	(void)state;
	bench_open(&bench, 8);
	header = guest_header(&bench, VIRTIO_VSOCK_OP_REQUEST, HOST_PORT);
	header.dst_cid = 99;
	frontend_put(&bench.guest, PACKET_PLACE, &header, sizeof(header));
	for (unsigned int i = 0; i < VM_RESETS_MAX + 50; i++) {
		frontend_offer(&bench.guest, TRANSMIT, &part, 1);
		frontend_kick(&bench.guest, TRANSMIT);
		while (frontend_used(&bench.guest, TRANSMIT, &used))
			returned++;
	}
	assert_int_equal(returned, VM_RESETS_MAX);
	guest_post_many(&bench, 100);
	while (frontend_used(&bench.guest, TRANSMIT, &used))
		returned++;
	assert_int_equal(returned, VM_RESETS_MAX + 50);
	bench_close(&bench);
}

static void stopping_tells_the_guest(void **state)
{
	struct virtio_vsock_header header;
	struct virtio_ring_used_elem used;
	struct bench bench;

	(void)state;
	bench_open(&bench, 8);
	bench_connect(&bench, &header);
	bench_end_vm(&bench);
	assert_true(frontend_used(&bench.guest, RECEIVE, &used));
	frontend_get(&bench.guest, bench.guest.queues[RECEIVE].descriptors[used.id].addr, &header,
		     sizeof(header));
	assert_int_equal(header.op, VIRTIO_VSOCK_OP_RST);
	host_expect_end(&bench);
	bench_close(&bench);
}

static void registry_count(struct vm *vm, void *context)
{
	(void)vm;
	++*(unsigned int *)context;
}

/* With threads: three VMs on @threads of them, or one for each. */
static void registry_run(unsigned int threads)
{
	struct settings settings = { .connections = 8, .threads = threads };
	char folder[] = "/tmp/causeway-test-XXXXXX", text[128];
	struct vm *held;
	struct vsock_switch sw;
	struct error error = { 0 };
	unsigned int count = 0;

	assert_non_null(mkdtemp(folder));
	for (int i = 0; i < 3; i++) {
		snprintf(text, sizeof(text), "vm%d,cid=%d,socket=%s/%d", i, 3 + i, folder, i);
		assert_int_equal(settings_add_vm(&settings, text, &error), 0);
	}
	assert_int_equal(switch_open(&sw, &settings, &error), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(switch_vm_add(&sw, &settings.vms[i], &error), 0);
	assert_int_equal(switch_vm_add(&sw, &settings.vms[0], &error), -EEXIST);
	assert_null(switch_vm_get(&sw, 77));
	held = switch_vm_get(&sw, 4);
	assert_string_equal(held->own.name, "vm1");
	assert_int_equal(switch_vm_remove(&sw, "vm1", &error), 0);
	assert_true(held->gone);
	assert_int_equal(access(held->own.socket, F_OK), -1);
	vm_put(held);
	assert_int_equal(switch_vm_remove(&sw, "vm1", &error), -ENOENT);
	switch_vm_each(&sw, registry_count, &count);
	assert_int_equal(count, 2);
	assert_int_equal(switch_vm_add(&sw, &settings.vms[1], &error), 0);
	switch_close(&sw);
	settings_free(&settings);
	assert_int_equal(rmdir(folder), 0);
}

static void vms_come_and_go(void **state)
{
	(void)state;
	registry_run(0);
	registry_run(2);
}

static void a_limit_holds_the_guest_back(void **state)
{
	struct virtio_vsock_header header;
	char bytes[2000] = "";
	struct bench bench;

	(void)state;
	bench_open(&bench, 8);
	bench_connect(&bench, &header);
	limiter_set(&bench.vm->limiter, 100000); /* overdrawn by 1000 bytes: 10 ms */
	guest_send(&bench, VIRTIO_VSOCK_OP_RW, HOST_PORT, 0, bytes, sizeof(bytes));
	header = guest_header(&bench, VIRTIO_VSOCK_OP_CREDIT_REQUEST, HOST_PORT);
	frontend_put(&bench.guest, PACKET_PLACE, &header, sizeof(header));
	frontend_offer(&bench.guest, TRANSMIT,
		       &(struct virtio_ring_desc){ .addr = PACKET_PLACE, .len = sizeof(header) },
		       1);
	frontend_kick(&bench.guest, TRANSMIT);
	guest_expect_nothing(&bench);
	assert_int_equal(bench.vm->counters.limited, 1);
	while (bench.vm->limited_until_ns)
		worker_turn(bench.worker, 1000);
	bench_serve(&bench);
	guest_expect(&bench, VIRTIO_VSOCK_OP_CREDIT_UPDATE, &header);
	bench_close(&bench);
}

static void options_are_checked(void **state)
{
	static const char *const bad_vms[] = { "a",
					       "a,cid=2,socket=/s",
					       "a,cid=x,socket=/s",
					       "a,cid=4294967295,socket=/s",
					       "a,cid=3",
					       ",cid=3,socket=/s",
					       "a,cid=3,socket=/s,what=1",
					       "b,cid=9,socket=/one",
					       "one,cid=9,socket=/two" };
	static const char *const bad_services[] = { "",	  "7",	       "x=/s",	   "-1=/s",
						    "7=", "7=/s,what", "80=/other" };
	struct settings settings = { 0 };
	struct error error = { 0 };

	(void)state;
	assert_int_equal(settings_add_vm(&settings, "one,cid=3,socket=/one", &error), 0);
	assert_string_equal(settings.vms[0].host_socket, "/one.host");
	assert_int_equal(settings_add_service(&settings, "80=/web", &error), 0);
	assert_false(settings.services[0].identity);
	for (unsigned int i = 0; i < sizeof(bad_vms) / sizeof(bad_vms[0]); i++)
		assert_true(settings_add_vm(&settings, bad_vms[i], &error) < 0);
	for (unsigned int i = 0; i < sizeof(bad_services) / sizeof(bad_services[0]); i++)
		assert_true(settings_add_service(&settings, bad_services[i], &error) < 0);
	assert_int_equal(settings.vm_count, 1);
	assert_int_equal(settings.service_count, 1);
	settings_free(&settings);
}

static void the_configuration_file_is_read(void **state)
{
	static const char text[] =
		"switch = { spin_us = 7; connections = 9;\n"
		"  vms = ( { name = \"a\"; cid = 3; socket = \"/a\"; },\n"
		"          { name = \"b\"; cid = 4; socket = \"/b\";"
		"            host_socket = \"/hb\"; } );\n"
		"  services = ( { port = 80; socket = \"/w\"; identity = true; } );"
		" };\n";
	static const char bad[] = "switch = { vms = ( { name = \"a\"; cid = 1; } ); };\n";
	char path[] = "/tmp/causeway-test-XXXXXX";
	struct settings settings = { 0 };
	struct error error = { 0 };
	int fd = mkstemp(path);

	(void)state;
	assert_int_equal(io_write_full(fd, text, sizeof(text) - 1), 0);
	assert_int_equal(settings_load(&settings, path, &error), 0);
	assert_int_equal(settings.spin_us, 7);
	assert_int_equal(settings.connections, 9);
	assert_int_equal(settings.vm_count, 2);
	assert_string_equal(settings.vms[1].host_socket, "/hb");
	assert_true(settings_find_service(&settings, 80)->identity);
	assert_null(settings_find_service(&settings, 81));
	settings_free(&settings);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(io_write_full(fd, bad, sizeof(bad) - 1), 0);
	assert_int_equal(settings_load(&settings, path, &error), -EINVAL);
	assert_non_null(strstr(error.text, ":1: cid is 1"));
	settings_free(&settings);
	close(fd);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_guest_connects_and_talks),
		cmocka_unit_test(what_cannot_be_reached_is_reset_at_once),
		cmocka_unit_test(a_source_cannot_be_forged),
		cmocka_unit_test(a_service_learns_who_asks),
		cmocka_unit_test(a_host_program_connects_to_a_guest),
		cmocka_unit_test(a_connection_that_is_denied_later_ends),
		cmocka_unit_test(a_guest_that_refuses_ends_the_host_program),
		cmocka_unit_test(lines_that_are_no_request_are_refused),
		cmocka_unit_test(data_is_split_to_the_guests_buffers),
		cmocka_unit_test(a_buffer_may_come_in_pieces),
		cmocka_unit_test(the_guests_credit_is_kept),
		cmocka_unit_test(without_buffers_nothing_is_lost),
		cmocka_unit_test(a_reader_that_waits_holds_back_the_guest),
		cmocka_unit_test(packets_of_a_page_never_overflow_the_socket),
		cmocka_unit_test(more_than_the_window_is_a_reset),
		cmocka_unit_test(tiny_packets_to_a_reader_that_waits_are_all_kept),
		cmocka_unit_test(messages_to_the_host_stay_apart),
		cmocka_unit_test(messages_wait_for_a_reader),
		cmocka_unit_test(a_message_as_large_as_the_window_passes),
		cmocka_unit_test(messages_to_the_guest_stay_apart),
		cmocka_unit_test(a_message_that_the_guest_cannot_hold_ends_the_connection),
		cmocka_unit_test(streams_and_messages_do_not_meet),
		cmocka_unit_test(a_closed_guest_still_drains),
		cmocka_unit_test(one_stream_that_waits_leaves_others_alone),
		cmocka_unit_test(half_closes_pass_both_ways),
		cmocka_unit_test(a_host_program_that_died_is_told),
		cmocka_unit_test(a_vmm_that_dies_ends_its_streams_and_the_next_is_served),
		cmocka_unit_test(a_guest_that_reboots_ends_its_streams),
		cmocka_unit_test(a_full_backlog_is_waited_for),
		cmocka_unit_test(many_host_programs_and_no_descriptors),
		cmocka_unit_test(a_port_may_be_used_again_while_closing),
		cmocka_unit_test(too_many_connections_are_reset),
		cmocka_unit_test(owed_resets_are_bounded),
		cmocka_unit_test(stopping_tells_the_guest),
		cmocka_unit_test(vms_come_and_go),
		cmocka_unit_test(a_limit_holds_the_guest_back),
		cmocka_unit_test(options_are_checked),
		cmocka_unit_test(the_configuration_file_is_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
