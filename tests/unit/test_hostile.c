/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A driver made to do harm: garbage in every field of rings, packets, messages and configuration
 * reads, against a switch with its threads, while two other guests talk.
 *
 * The two check every byte of what they send each other, and that it never stands still for as long
 * as HOSTILE_STALL_NS. After each attack the hostile driver's VMM comes again, and its guest must
 * be served as any other.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/base/io.h"
#include "lib/base/log.h"
#include "lib/vhost/fault.h"
#include "tests/unit/switch_guest.h"
#include "vsock/switch/vm.h"

#define HOSTILE_STALL_NS  1000000000ull
#define HOSTILE_ANSWER_MS 10000
#define HOSTILE_SCRIBBLES 30

struct scene {
	char folder[64];
	struct settings settings;
	struct vsock_switch sw;
	struct guest one, other; /* that talk; the thread's */
	struct guest hostile;
	uint64_t seed;
	pthread_t talk;
	bool stops;	     /* atomic */
	uint64_t carried;    /* bytes so far; atomic */
	uint64_t longest_ns; /* that nothing came */
};

static void scene_serve(void *context)
{
	struct guest *guest = context;
	struct pollfd answer = { .fd = guest->frontend.socket_fd, .events = POLLIN };

	if (guest->frontend.awaits_answer)
		poll(&answer, 1, HOSTILE_ANSWER_MS);
	else
		sched_yield();
}

static uint64_t scene_random(struct scene *scene)
{
	scene->seed ^= scene->seed << 13;
	scene->seed ^= scene->seed >> 7;
	scene->seed ^= scene->seed << 17;
	return scene->seed;
}

static void scene_attach(struct scene *scene, struct guest *guest, unsigned int index)
{
	int fd = io_unix_connect(scene->settings.vms[index].socket, NULL);
	union vhost_user_payload answer;

	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	guest->cid = scene->settings.vms[index].cid;
	guest->taken = 0;
	guest->window = WINDOW;
	guest->type = VIRTIO_VSOCK_TYPE_STREAM;
	frontend_open(&guest->frontend, FRONTEND_QEMU, scene_serve, guest, fd);
	frontend_handshake(&guest->frontend, GUEST_FEATURES);
	/* Answers come in order: with this one the switch has read all of the handshake. Before, it
	 * refuses what others send to the guest. */
	assert_true(frontend_call(&guest->frontend, VHOST_USER_GET_FEATURES, 0, NULL, 0, &answer) >
		    0);
	guest->is_attached = true;
}

/* The next packet of that kind; others are passed over. */
static void scene_await(struct guest *guest, uint16_t op, struct virtio_vsock_header *header)
{
	unsigned char payload[BUFFER_BYTES];
	uint64_t end_ns = vm_clock_ns() + 10000000000ull;

	while (!guest_receive(guest, header, payload) || header->op != op) {
		assert_true(vm_clock_ns() < end_ns);
		sched_yield();
	}
}

static void scene_connect(struct guest *from, struct guest *to)
{
	struct virtio_vsock_header header;

	guest_post(from, 64);
	guest_post(to, 64);
	guest_send(from, to, VIRTIO_VSOCK_OP_REQUEST, 100, 200, 0);
	scene_await(to, VIRTIO_VSOCK_OP_REQUEST, &header);
	guest_send(to, from, VIRTIO_VSOCK_OP_RESPONSE, 200, 100, 0);
	scene_await(from, VIRTIO_VSOCK_OP_RESPONSE, &header);
}

static void __attribute__((noreturn)) talk_fail(int line, uint64_t a, uint64_t b)
{
	fprintf(stderr, "talk: line %d: %llx %llx\n", line, (unsigned long long)a,
		(unsigned long long)b);
	abort();
}

/* What @to has: its stream from @from is checked, everything of strangers is refused as due. */
static bool talk_receive(const struct guest *from, struct guest *to, uint64_t *at)
{
	unsigned char payload[BUFFER_BYTES];
	struct virtio_vsock_header header;
	bool came = false;

	while (guest_receive(to, &header, payload)) {
		guest_post(to, 1);
		if (header.src_cid != from->cid) {
			to->taken -= header.len;
			if (header.op == VIRTIO_VSOCK_OP_REQUEST) {
				struct virtio_vsock_header answer =
					guest_header(to, from, VIRTIO_VSOCK_OP_RESPONSE,
						     header.dst_port, header.src_port);

				answer.dst_cid = header.src_cid;
				answer.type = header.type;
				guest_offer(to, &answer, "");
				frontend_kick(&to->frontend, TRANSMIT);
			}
			continue;
		}
		if (header.op != VIRTIO_VSOCK_OP_RW)
			talk_fail(__LINE__, header.op, header.src_port);
		for (uint32_t i = 0; i < header.len; i++)
			if (payload[i] != pattern(*at + i))
				talk_fail(__LINE__, payload[i], *at + i);
		*at += header.len;
		came = true;
	}
	return came;
}

static void *talk_run(void *context)
{
	struct scene *scene = context;
	uint64_t sent = 0, received = 0, told = 0, last_ns = vm_clock_ns();
	unsigned char bytes[4000];

	while (!__atomic_load_n(&scene->stops, __ATOMIC_ACQUIRE)) {
		guest_returned(&scene->one);
		guest_returned(&scene->other);
		/* One packet at a time, there and its credit back. */
		if (sent == told) {
			uint64_t now_ns = vm_clock_ns();

			if (now_ns - last_ns > scene->longest_ns)
				scene->longest_ns = now_ns - last_ns;
			last_ns = now_ns;
			fill(bytes, sent, sizeof(bytes));
			guest_send_data(&scene->one, &scene->other, 100, 200, bytes, sizeof(bytes));
			sent += sizeof(bytes);
		}
		if (talk_receive(&scene->one, &scene->other, &received) && received == sent) {
			scene->other.taken = (uint32_t)received;
			guest_send(&scene->other, &scene->one, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 200,
				   100, 0);
		}
		__atomic_store_n(&scene->carried, received, __ATOMIC_RELEASE);
		/* Credit updates of the other, and what the hostile one sends. */
		for (unsigned char payload[BUFFER_BYTES];;) {
			struct virtio_vsock_header header;

			if (!guest_receive(&scene->one, &header, payload))
				break;
			scene->one.taken = 0;
			guest_post(&scene->one, 1);
			if (header.src_cid == scene->other.cid)
				told = sent;
			if (header.src_cid == scene->other.cid && header.op == VIRTIO_VSOCK_OP_RST)
				talk_fail(__LINE__, header.src_port, header.dst_port);
		}
	}
	return NULL;
}

static void scene_open(struct scene *scene)
{
	static const char *const names[] = { "one", "other", "hostile" };
	struct error error = { 0 };
	char text[128];

	memset(scene, 0, sizeof(*scene));
	scene->seed = 0x9e3779b97f4a7c15u;
	log_set_level(LOG_LEVEL_ERROR);
	assert_int_equal(vhost_fault_install(), 0);
	strcpy(scene->folder, "/tmp/causeway-test-XXXXXX");
	assert_non_null(mkdtemp(scene->folder));
	scene->settings.connections = 64;
	scene->settings.spin_us = 50;
	assert_int_equal(switch_open(&scene->sw, &scene->settings, &error), 0);
	for (unsigned int i = 0; i < 3; i++) {
		snprintf(text, sizeof(text), "%s,cid=%u,socket=%s/%u", names[i], 3 + i,
			 scene->folder, i);
		assert_int_equal(settings_add_vm(&scene->settings, text, &error), 0);
		assert_int_equal(switch_vm_add(&scene->sw, &scene->settings.vms[i], &error), 0);
	}
	scene_attach(scene, &scene->one, 0);
	scene_attach(scene, &scene->other, 1);
	scene_connect(&scene->one, &scene->other);
	scene_attach(scene, &scene->hostile, 2);
	assert_int_equal(pthread_create(&scene->talk, NULL, talk_run, scene), 0);
}

/* The others go on: so much more of their stream is carried. */
static void scene_goes_on(struct scene *scene)
{
	uint64_t goal = __atomic_load_n(&scene->carried, __ATOMIC_ACQUIRE) + 3 * 4000;
	uint64_t end_ns = vm_clock_ns() + 20000000000ull;

	while (__atomic_load_n(&scene->carried, __ATOMIC_ACQUIRE) < goal) {
		assert_true(vm_clock_ns() < end_ns);
		sched_yield();
	}
}

static void scene_close(struct scene *scene)
{
	scene_goes_on(scene);
	__atomic_store_n(&scene->stops, true, __ATOMIC_RELEASE);
	pthread_join(scene->talk, NULL);
	assert_true(scene->longest_ns < HOSTILE_STALL_NS);
	frontend_close(&scene->hostile.frontend);
	frontend_close(&scene->one.frontend);
	frontend_close(&scene->other.frontend);
	switch_close(&scene->sw);
	settings_free(&scene->settings);
	assert_int_equal(rmdir(scene->folder), 0);
}

/* A new VMM for the hostile guest; then it is a guest like any other. */
static void hostile_again(struct scene *scene)
{
	struct virtio_vsock_header header;

	frontend_close(&scene->hostile.frontend);
	scene_attach(scene, &scene->hostile, 2);
	guest_post(&scene->hostile, 8);
	guest_send(&scene->hostile, &scene->one, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 1, 1, 0);
	scene_await(&scene->hostile, VIRTIO_VSOCK_OP_RST, &header);
	assert_int_equal(header.src_cid, scene->one.cid);
}

/* A connection to one of the talkers, with data both kept and delivered. */
static void hostile_connect(struct scene *scene)
{
	struct virtio_vsock_header header;
	unsigned char bytes[3000] = { 0 };

	guest_post(&scene->hostile, 8);
	guest_send(&scene->hostile, &scene->other, VIRTIO_VSOCK_OP_REQUEST, 7, 8, 0);
	scene_await(&scene->hostile, VIRTIO_VSOCK_OP_RESPONSE, &header);
	guest_send_data(&scene->hostile, &scene->other, 7, 8, bytes, sizeof(bytes));
}

static const uint64_t hostile_values[] = {
	0,
	1,
	2,
	3,
	4,
	5,
	43,
	44,
	45,
	127,
	128,
	129,
	4095,
	4096,
	0x7fff,
	0x8000,
	0xffff,
	0x10000,
	FRONTEND_BORDER - 1,
	FRONTEND_BORDER,
	2 * FRONTEND_BORDER - 1,
	2 * FRONTEND_BORDER,
	0x7fffffff,
	0x80000000,
	0xfffffffe,
	0xffffffff,
	0x100000000,
	0x7fffffffffffffff,
	0x8000000000000000,
	0xfffffffffffff000,
	0xffffffffffffffff,
};

#define HOSTILE_VALUES (sizeof(hostile_values) / sizeof(hostile_values[0]))

/* Every field of a packet's header, with and without a connection. */
static void packets_with_garbage_in_every_field(void **state)
{
	static const struct {
		size_t offset, bytes;
	} fields[] = { { 0, 8 },  { 8, 8 },  { 16, 4 }, { 20, 4 }, { 24, 4 },
		       { 28, 2 }, { 30, 2 }, { 32, 4 }, { 36, 4 }, { 40, 4 } };
	struct scene scene;

	(void)state;
	scene_open(&scene);
	for (unsigned int field = 0; field < sizeof(fields) / sizeof(fields[0]); field++) {
		for (unsigned int i = 0; i < HOSTILE_VALUES; i++) {
			uint16_t op = (uint16_t)(i % 9);
			struct virtio_vsock_header header =
				guest_header(&scene.hostile, &scene.other, op, 7, 8);

			guest_post(&scene.hostile, 2);
			memcpy((unsigned char *)&header + fields[field].offset, &hostile_values[i],
			       fields[field].bytes);
			/* The payload is as long as the place, whatever the header says. */
			frontend_put(&scene.hostile.frontend, 0xb0000, &header, sizeof(header));
			frontend_offer(&scene.hostile.frontend, TRANSMIT,
				       &(struct virtio_ring_desc){ .addr = 0xb0000, .len = 0x8000 },
				       1);
			frontend_kick(&scene.hostile.frontend, TRANSMIT);
		}
		scene_goes_on(&scene);
		hostile_again(&scene);
		hostile_connect(&scene);
	}
	scene_close(&scene);
}

/* Every field of a descriptor and of the rings' heads, in either queue. */
static void rings_with_garbage_in_every_field(void **state)
{
	struct scene scene;

	(void)state;
	scene_open(&scene);
	for (unsigned int field = 0; field < 10; field++) {
		for (unsigned int i = 0; i < HOSTILE_VALUES; i++) {
			unsigned int index = (field + i) % 2 ? RECEIVE : TRANSMIT;
			struct frontend_queue *queue = &scene.hostile.frontend.queues[index];
			uint16_t slot = queue->next_descriptor % FRONTEND_QUEUE_SIZE;
			uint64_t value = hostile_values[i];
			struct virtio_ring_desc *descriptor = &queue->descriptors[slot];

			if (i % 8 == 0)
				hostile_connect(&scene);
			*descriptor = (struct virtio_ring_desc){
				.addr = 0xb0000,
				.len = 0x1000,
				.flags = index == RECEIVE ? VIRTIO_RING_DESC_F_WRITE : 0,
			};
			switch (field) {
			case 0:
				descriptor->addr = value;
				break;
			case 1:
				descriptor->len = (uint32_t)value;
				break;
			case 2:
				descriptor->flags = (uint16_t)value;
				break;
			case 3:
				descriptor->flags |= VIRTIO_RING_DESC_F_NEXT;
				descriptor->next = (uint16_t)value;
				break;
			case 4: /* a table of descriptors of any size, of any place */
				descriptor->flags = VIRTIO_RING_DESC_F_INDIRECT;
				descriptor->len = (uint32_t)value;
				break;
			case 5:
				descriptor->flags = VIRTIO_RING_DESC_F_INDIRECT;
				descriptor->addr = value & ~15ull;
				descriptor->len = 0x100;
				break;
			case 6:
				queue->available->idx += (uint16_t)value;
				break;
			case 7:
				queue->available->flags = (uint16_t)value;
				queue->available->ring[FRONTEND_QUEUE_SIZE] = (uint16_t)value;
				break;
			case 8: /* what the device writes */
				queue->used->idx = (uint16_t)value;
				queue->used->flags = (uint16_t)value;
				memset(queue->used->ring, (int)value, 100);
				break;
			case 9:
				slot = (uint16_t)value;
				break;
			}
			frontend_offer_head(&scene.hostile.frontend, index, slot);
			queue->next_descriptor++;
			frontend_kick(&scene.hostile.frontend, index);
			if (field == 6 || i % 8 == 7)
				hostile_again(&scene);
		}
		scene_goes_on(&scene);
		hostile_again(&scene);
	}
	scene_close(&scene);
}

/* Random bytes over rings and buffers while the switch works on them. */
static void memory_that_changes_all_the_time(void **state)
{
	struct scene scene;

	(void)state;
	scene_open(&scene);
	for (unsigned int round = 0; round < HOSTILE_SCRIBBLES; round++) {
		hostile_connect(&scene);
		for (unsigned int i = 0; i < 2000; i++) {
			uint64_t random = scene_random(&scene);
			uint64_t place = 0x1000 + random % 0x9000; /* the rings */
			uint32_t bytes = (uint32_t)(random >> 32);

			if (random >> 60 == 0)
				place = 0xb0000 + random % 0x10000;
			frontend_put(&scene.hostile.frontend, place, &bytes, 1 + random % 4);
			if (i % 20 == 0)
				frontend_kick(&scene.hostile.frontend, random >> 40 & 1);
		}
		scene_goes_on(&scene);
		hostile_again(&scene);
	}
	scene_close(&scene);
}

/* Reads of the configuration space and messages about rings and memory, with any numbers. */
static void messages_with_garbage_in_every_field(void **state)
{
	static const uint32_t requests[] = {
		VHOST_USER_GET_CONFIG,	     VHOST_USER_SET_CONFIG,	VHOST_USER_SET_MEM_TABLE,
		VHOST_USER_SET_VRING_NUM,    VHOST_USER_SET_VRING_ADDR, VHOST_USER_SET_VRING_BASE,
		VHOST_USER_GET_VRING_BASE,   VHOST_USER_SET_VRING_KICK, VHOST_USER_SET_VRING_CALL,
		VHOST_USER_SET_VRING_ENABLE, VHOST_USER_SET_FEATURES,	VHOST_USER_ADD_MEM_REG,
		VHOST_USER_REM_MEM_REG,	     VHOST_USER_SET_STATUS,	VHOST_USER_RESET_DEVICE,
	};
	struct scene scene;

	(void)state;
	scene_open(&scene);
	for (unsigned int request = 0; request < sizeof(requests) / sizeof(requests[0]);
	     request++) {
		for (unsigned int i = 0; i < HOSTILE_VALUES; i++) {
			uint64_t payload[16];

			for (unsigned int j = 0; j < 16; j++)
				payload[j] = j == i % 4 ? hostile_values[i]
							: hostile_values[scene_random(&scene) % 12];
			frontend_send(&scene.hostile.frontend, requests[request],
				      i % 2 ? VHOST_USER_FLAG_NEED_REPLY : 0, payload,
				      8u << (i % 5), scene.hostile.frontend.memory_fds, i % 3);
			if (i % 6 == 5) {
				hostile_again(&scene);
				hostile_connect(&scene);
			}
		}
		scene_goes_on(&scene);
		hostile_again(&scene);
	}
	scene_close(&scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packets_with_garbage_in_every_field),
		cmocka_unit_test(rings_with_garbage_in_every_field),
		cmocka_unit_test(memory_that_changes_all_the_time),
		cmocka_unit_test(messages_with_garbage_in_every_field),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
