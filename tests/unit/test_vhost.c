/* SPDX-License-Identifier: Apache-2.0 */
/* lib/vhost: both handshakes, chains of every shape, broken rings, notifications, lost memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/base/io.h"
#include "lib/vhost/device.h"
#include "lib/vhost/fault.h"
#include "tests/unit/vhost_frontend.h"

#define WRITE VIRTIO_RING_DESC_F_WRITE

struct bench {
	struct frontend frontend;
	struct vhost_wait wait;
	struct vhost_device device;
	unsigned int started; /* bit for each queue */
	unsigned int kicks, resets;
	unsigned int shm_answers;
	int shm_status; /* of the last */
	void *shm_token;
	int ended;	    /* why the session ended, 0 while it goes on */
	struct error error; /* the sentence with it */
	unsigned char config[16];
	struct iovec vectors[VHOST_CHAIN_VECTORS_MAX];
	struct vhost_chain chain;
};

static void bench_config_read(void *context, uint32_t offset, void *to, uint32_t bytes)
{
	memcpy(to, ((struct bench *)context)->config + offset, bytes);
}

static int bench_config_write(void *context, uint32_t offset, const void *from, uint32_t bytes)
{
	memcpy(((struct bench *)context)->config + offset, from, bytes);
	return 0;
}

static void bench_started(void *context, unsigned int index)
{
	((struct bench *)context)->started |= 1u << index;
}

static void bench_stopped(void *context, unsigned int index)
{
	((struct bench *)context)->started &= ~(1u << index);
}

static void bench_kicked(void *context, unsigned int index)
{
	(void)index;
	((struct bench *)context)->kicks++;
}

static void bench_reset(void *context)
{
	((struct bench *)context)->resets++;
}

static void bench_shm_done(void *context, void *token, int status)
{
	struct bench *bench = context;

	bench->shm_answers++;
	bench->shm_token = token;
	bench->shm_status = status;
}

#define SHM_BYTES 0x100000u

static const struct vhost_device_ops bench_ops = {
	.features = VIRTIO_RING_F_INDIRECT_DESC | VIRTIO_RING_F_EVENT_IDX,
	.queue_count = FRONTEND_QUEUES,
	.config_bytes = 16,
	.config_read = bench_config_read,
	.config_write = bench_config_write,
	.queue_started = bench_started,
	.queue_stopped = bench_stopped,
	.queue_kicked = bench_kicked,
	.reset = bench_reset,
	.shm_bytes = SHM_BYTES,
	.shm_done = bench_shm_done,
};

static bool bench_nothing(void *context)
{
	(void)context;
	return false;
}

static void bench_arm(void *context, bool sleeping)
{
	(void)context;
	(void)sleeping;
}

static void bench_serve(void *context)
{
	struct vhost_wait_work work = { bench_nothing, bench_arm, context };
	struct bench *bench = context;
	struct epoll_event events[8];
	int count;

	while (!bench->ended &&
	       (count = vhost_wait_events(&bench->wait, &work, events, 8, 0)) > 0) {
		for (int i = 0; i < count && !bench->ended; i++)
			bench->ended = vhost_device_woken(
				&bench->device, (unsigned int)events[i].data.u64, &bench->error);
	}
	if (bench->ended)
		vhost_device_detach(&bench->device);
}

static void bench_attach(struct bench *bench, enum frontend_style style)
{
	int pair[2];

	bench->ended = 0;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	frontend_open(&bench->frontend, style, bench_serve, bench, pair[0]);
	assert_int_equal(vhost_device_attach(&bench->device, pair[1]), 0);
}

static void bench_open(struct bench *bench, enum frontend_style style)
{
	memset(bench, 0, sizeof(*bench));
	assert_int_equal(vhost_wait_init(&bench->wait, 0), 0);
	vhost_device_init(&bench->device, &bench_ops, bench, &bench->wait, 0);
	vhost_fault_guard(&bench->device.memory);
	bench_attach(bench, style);
}

static void bench_close(struct bench *bench)
{
	vhost_device_detach(&bench->device);
	bench->ended = -EPIPE;
	frontend_close(&bench->frontend);
	vhost_wait_close(&bench->wait);
	vhost_fault_guard(NULL);
}

static void bench_ready(struct bench *bench, uint64_t features)
{
	bench_open(bench, FRONTEND_QEMU);
	frontend_handshake(&bench->frontend, features);
	assert_int_equal(bench->started, 7);
}

static int bench_pop(struct bench *bench, unsigned int index)
{
	return vhost_queue_pop(vhost_device_queue(&bench->device, index), &bench->chain,
			       bench->vectors, VHOST_CHAIN_VECTORS_MAX);
}

/* The queue refuses this and everything after it, and says so on its error descriptor. */
static void bench_expect_broken(struct bench *bench)
{
	static const struct virtio_ring_desc good = { .addr = FRONTEND_BUFFERS, .len = 4 };

	assert_int_equal(bench_pop(bench, 0), -EPROTO);
	frontend_offer(&bench->frontend, 0, &good, 1);
	assert_int_equal(bench_pop(bench, 0), 0);
	/* The other queues are as good as before. */
	frontend_offer(&bench->frontend, 1, &good, 1);
	assert_int_equal(bench_pop(bench, 1), 1);
}

static void both_front_ends_start_all_queues(void **state)
{
	static const enum frontend_style styles[] = { FRONTEND_QEMU, FRONTEND_UML };
	struct virtio_ring_desc part = { .addr = FRONTEND_BUFFERS, .len = 5 };
	struct virtio_ring_used_elem used;
	char text[6] = "";
	struct bench bench;

	(void)state;
	for (unsigned int i = 0; i < 2; i++) {
		bench_open(&bench, styles[i]);
		frontend_handshake(&bench.frontend, 0);
		assert_int_equal(bench.started, 7);
		frontend_put(&bench.frontend, FRONTEND_BUFFERS, "hello", 5);
		frontend_offer(&bench.frontend, 1, &part, 1);
		frontend_kick(&bench.frontend, 1);
		assert_int_equal(bench.kicks, 1);
		assert_int_equal(bench_pop(&bench, 1), 1);
		vhost_iovec_copy_in(text, 5, bench.chain.vectors, bench.chain.readable_count);
		assert_string_equal(text, "hello");
		vhost_queue_push(&bench.device.queues[1], bench.chain.head, 0);
		assert_true(vhost_queue_notify(&bench.device.queues[1]));
		assert_true(frontend_used(&bench.frontend, 1, &used));
		assert_int_equal(used.id, bench.chain.head);
		assert_int_equal(frontend_interrupts(&bench.frontend, 1), 1);
		bench_close(&bench);
	}
}

static void a_message_may_come_byte_by_byte(void **state)
{
	struct vhost_user_header header = { VHOST_USER_GET_FEATURES, VHOST_USER_FLAG_VERSION, 0 };
	struct bench bench;
	uint64_t answer[4];

	(void)state;
	bench_open(&bench, FRONTEND_QEMU);
	for (size_t i = 0; i < sizeof(header); i++) {
		assert_int_equal(recv(bench.frontend.socket_fd, answer, 20, MSG_DONTWAIT), -1);
		assert_int_equal(write(bench.frontend.socket_fd, (char *)&header + i, 1), 1);
		bench_serve(&bench);
	}
	assert_int_equal(recv(bench.frontend.socket_fd, answer, sizeof(answer), MSG_DONTWAIT), 20);
	bench_close(&bench);
}

static void refusals_are_acknowledged_or_end_the_session(void **state)
{
	struct vhost_user_vring_state odd_size = { 0, 100 }, no_queue = { 3, 128 };
	struct vhost_user_vring_state no_switch = { 0, 2 };
	uint64_t unknown_feature = 1ull << 63;
	struct bench bench;
	struct frontend *frontend = &bench.frontend;

	(void)state;
	bench_open(&bench, FRONTEND_QEMU);
	frontend_negotiate(frontend, 0);
	assert_int_equal(
		frontend_acknowledged(frontend, VHOST_USER_SET_VRING_NUM, &odd_size, 8, NULL, 0),
		1);
	assert_int_equal(
		frontend_acknowledged(frontend, VHOST_USER_SET_VRING_NUM, &no_queue, 8, NULL, 0),
		1);
	assert_int_equal(frontend_acknowledged(frontend, VHOST_USER_SET_VRING_ENABLE, &no_switch, 8,
					       NULL, 0),
			 1);
	assert_int_equal(frontend_acknowledged(frontend, VHOST_USER_SET_FEATURES, &unknown_feature,
					       8, NULL, 0),
			 1);
	assert_int_equal(
		frontend_acknowledged(frontend, VHOST_USER_SET_VRING_NUM, &no_queue, 4, NULL, 0),
		1);
	assert_int_equal(frontend_acknowledged(frontend, 6, NULL, 0, NULL, 0), 1);
	assert_int_equal(frontend_acknowledged(frontend, 4000000000u, NULL, 0, NULL, 0), 1);
	assert_int_equal(bench.ended, 0);
	frontend_send(frontend, VHOST_USER_SET_VRING_NUM, 0, &odd_size, 8, NULL, 0);
	bench_serve(&bench);
	assert_int_equal(bench.ended, -EINVAL);
	bench_close(&bench);
}

static void features_that_do_not_exist_are_refused(void **state)
{
	uint64_t unknown = 1ull << 62;
	struct bench bench;

	(void)state;
	bench_open(&bench, FRONTEND_QEMU);
	frontend_negotiate(&bench.frontend, 0);
	assert_int_equal(frontend_acknowledged(&bench.frontend, VHOST_USER_SET_PROTOCOL_FEATURES,
					       &unknown, sizeof(unknown), NULL, 0),
			 1);
	/* Those of before still hold, or this would not be answered. */
	assert_int_equal(
		frontend_acknowledged(&bench.frontend, VHOST_USER_SET_OWNER, NULL, 0, NULL, 0), 0);
	frontend_send(&bench.frontend, VHOST_USER_SET_PROTOCOL_FEATURES, 0, &unknown,
		      sizeof(unknown), NULL, 0);
	bench_serve(&bench);
	assert_int_equal(bench.ended, -EINVAL);
	assert_string_equal(bench.error.text, "vhost-user request 16 (8 bytes, 0 descriptors) "
					      "refused: Invalid argument");
	bench_close(&bench);
}

/* One region that cannot be is refused with the whole table: none of it stays. */
static void a_table_with_a_bad_region_leaves_no_memory(void **state)
{
	struct vhost_user_memory_table table = { .region_count = 2 };
	struct bench bench;
	struct iovec part;

	(void)state;
	bench_ready(&bench, 0);
	for (unsigned int i = 0; i < 2; i++) {
		table.regions[i].guest_address = (uint64_t)i * FRONTEND_REGION_BYTES;
		table.regions[i].bytes = FRONTEND_REGION_BYTES;
		table.regions[i].user_address = FRONTEND_USER_BASE + table.regions[i].guest_address;
	}
	table.regions[1].mmap_offset = 4096; /* the file ends before the region does */
	assert_int_equal(frontend_acknowledged(&bench.frontend, VHOST_USER_SET_MEM_TABLE, &table,
					       8 + 2 * sizeof(table.regions[0]),
					       bench.frontend.memory_fds, 2),
			 1);
	assert_int_equal(bench.started, 0);
	assert_int_equal(vhost_memory_translate(&bench.device.memory, 0, 16, &part, 1), -EFAULT);
	/* Fewer descriptors than regions, and fewer bytes. */
	table.regions[1].mmap_offset = 0;
	assert_int_equal(frontend_acknowledged(&bench.frontend, VHOST_USER_SET_MEM_TABLE, &table,
					       8 + 2 * sizeof(table.regions[0]),
					       bench.frontend.memory_fds, 1),
			 1);
	assert_int_equal(frontend_acknowledged(&bench.frontend, VHOST_USER_SET_MEM_TABLE, &table,
					       8 + 2 * sizeof(table.regions[0]) - 1,
					       bench.frontend.memory_fds, 2),
			 1);
	bench_close(&bench);
}

/* Each request about a queue, with the number of one that is not there, or what no queue has. */
static void requests_name_queues_that_exist(void **state)
{
	static const uint32_t by_state[] = { VHOST_USER_SET_VRING_NUM, VHOST_USER_SET_VRING_BASE,
					     VHOST_USER_GET_VRING_BASE,
					     VHOST_USER_SET_VRING_ENABLE };
	static const uint32_t by_number[] = { VHOST_USER_SET_VRING_KICK, VHOST_USER_SET_VRING_CALL,
					      VHOST_USER_SET_VRING_ERR };
	struct vhost_user_vring_state none = { FRONTEND_QUEUES, 1 }, far = { 0, 0x10000 };
	struct vhost_user_vring_address address = { .index = FRONTEND_QUEUES };
	uint64_t number = FRONTEND_QUEUES, no_descriptor = VHOST_USER_VRING_NO_FD;
	uint64_t wide_status = 256;
	struct bench bench;
	struct frontend *frontend = &bench.frontend;

	(void)state;
	bench_open(&bench, FRONTEND_QEMU);
	frontend_negotiate(frontend, 0);
	frontend_share_memory(frontend);
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(
			frontend_acknowledged(frontend, by_state[i], &none, sizeof(none), NULL, 0),
			1);
	assert_int_equal(frontend_acknowledged(frontend, VHOST_USER_SET_VRING_ADDR, &address,
					       sizeof(address), NULL, 0),
			 1);
	for (unsigned int i = 0; i < 3; i++) {
		number = FRONTEND_QUEUES;
		assert_int_equal(frontend_acknowledged(frontend, by_number[i], &number,
						       sizeof(number), &frontend->queues[0].kick_fd,
						       1),
				 1);
		number = 0; /* the queue is there, its descriptor is not */
		assert_int_equal(frontend_acknowledged(frontend, by_number[i], &number,
						       sizeof(number), NULL, 0),
				 1);
	}
	/* An index of more than 16 bits; a queue that is to be polled; a status of more than 8. */
	assert_int_equal(frontend_acknowledged(frontend, VHOST_USER_SET_VRING_BASE, &far,
					       sizeof(far), NULL, 0),
			 1);
	assert_int_equal(frontend_acknowledged(frontend, VHOST_USER_SET_STATUS, &wide_status,
					       sizeof(wide_status), NULL, 0),
			 1);
	assert_int_equal(frontend_acknowledged(frontend, VHOST_USER_SET_VRING_KICK, &no_descriptor,
					       sizeof(no_descriptor), NULL, 0),
			 1);
	assert_int_equal(bench.device.queues[0].next_available, 0);
	assert_int_equal(bench.device.status, 0);
	frontend_send(frontend, VHOST_USER_SET_VRING_KICK, 0, &no_descriptor, sizeof(no_descriptor),
		      NULL, 0);
	bench_serve(&bench);
	assert_int_equal(bench.ended, -EOPNOTSUPP);
	bench_close(&bench);
}

/* A file that the VMM lets nobody write to is no memory of a guest's. */
static void memory_that_cannot_be_written_is_refused(void **state)
{
	struct vhost_user_single_region single = { .region = { .bytes = FRONTEND_REGION_BYTES } };
	struct bench bench;
	char path[32];
	int file;

	(void)state;
	bench_open(&bench, FRONTEND_QEMU);
	frontend_negotiate(&bench.frontend, 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", bench.frontend.memory_fds[0]);
	file = open(path, O_RDONLY | O_CLOEXEC);
	assert_return_code(file, errno);
	assert_int_equal(frontend_acknowledged(&bench.frontend, VHOST_USER_ADD_MEM_REG, &single,
					       sizeof(single), &file, 1),
			 1);
	assert_int_equal(bench.device.memory.count, 0);
	/* And without a descriptor. */
	assert_int_equal(frontend_acknowledged(&bench.frontend, VHOST_USER_ADD_MEM_REG, &single,
					       sizeof(single), NULL, 0),
			 1);
	frontend_send(&bench.frontend, VHOST_USER_ADD_MEM_REG, 0, &single, sizeof(single), &file,
		      1);
	bench_serve(&bench);
	assert_int_equal(bench.ended, -EACCES);
	close(file);
	bench_close(&bench);
}

static void kicks_come_by_a_descriptor_that_can_be_waited_for(void **state)
{
	uint64_t number = 0;
	struct bench bench;

	(void)state;
	bench_ready(&bench, 0);
	/* A file: no one can wait for it. */
	assert_int_equal(frontend_acknowledged(&bench.frontend, VHOST_USER_SET_VRING_KICK, &number,
					       sizeof(number), bench.frontend.memory_fds, 1),
			 1);
	assert_int_equal(bench.device.queues[0].kick_fd, -1);
	/* The next good one does, in the place of none and of another. */
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(frontend_acknowledged(&bench.frontend, VHOST_USER_SET_VRING_KICK,
						       &number, sizeof(number),
						       &bench.frontend.queues[0].kick_fd, 1),
				 0);
		frontend_kick(&bench.frontend, 0);
		assert_int_equal(bench.kicks, i + 1);
	}
	frontend_send(&bench.frontend, VHOST_USER_SET_VRING_KICK, 0, &number, sizeof(number),
		      bench.frontend.memory_fds, 1);
	bench_serve(&bench);
	assert_int_equal(bench.ended, -EPERM);
	assert_string_equal(bench.error.text, "vhost-user request 12 (8 bytes, 1 descriptors) "
					      "refused: Operation not permitted");
	bench_close(&bench);
}

/* As User-Mode Linux does when its driver lets the device go: its pipes, a new one for the next. */
static void a_kick_whose_writer_is_gone_wakes_nobody(void **state)
{
	static const uint64_t one = 1;
	uint64_t number = 1;
	struct bench bench;
	int ends[2];

	(void)state;
	bench_ready(&bench, 0);
	for (unsigned int i = 0; i < 2; i++) {
		struct epoll_event event;

		assert_int_equal(pipe(ends), 0);
		assert_int_equal(frontend_acknowledged(&bench.frontend, VHOST_USER_SET_VRING_KICK,
						       &number, sizeof(number), &ends[0], 1),
				 0);
		close(ends[0]);
		/* The last kick before the end counts. */
		assert_int_equal(write(ends[1], &one, sizeof(one)), sizeof(one));
		close(ends[1]);
		bench_serve(&bench);
		assert_int_equal(bench.ended, 0);
		assert_int_equal(bench.kicks, i + 1);
		assert_int_equal(bench.device.queues[1].kick_fd, -1);
		assert_int_equal(epoll_wait(bench.wait.epoll_fd, &event, 1, 0), 0);
	}
	bench_close(&bench);
}

/* The end of a pipe for writing, which wakes when the other is closed, and cannot be read. */
static void a_kick_that_cannot_be_read_ends_the_session(void **state)
{
	uint64_t number = 1;
	struct bench bench;
	int ends[2];

	(void)state;
	bench_ready(&bench, 0);
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(frontend_acknowledged(&bench.frontend, VHOST_USER_SET_VRING_KICK, &number,
					       sizeof(number), &ends[1], 1),
			 0);
	close(ends[0]);
	bench_serve(&bench);
	assert_int_equal(bench.ended, -EBADF);
	assert_string_equal(bench.error.text, "kick of queue 1: Bad file descriptor");
	assert_int_equal(bench.kicks, 0);
	close(ends[1]);
	bench_close(&bench);
}

static void the_request_channel_needs_a_descriptor(void **state)
{
	struct bench bench;

	(void)state;
	bench_open(&bench, FRONTEND_QEMU);
	frontend_negotiate(&bench.frontend, 0);
	assert_int_equal(frontend_acknowledged(&bench.frontend, VHOST_USER_SET_BACKEND_REQ_FD, NULL,
					       0, NULL, 0),
			 1);
	/* The one of before is still there. */
	assert_int_equal(vhost_device_config_changed(&bench.device), 0);
	bench_close(&bench);
}

/* A front-end that never stops sending is left after a while, for those of the others. */
static void many_messages_do_not_keep_the_loop(void **state)
{
	struct bench bench;
	int left;

	(void)state;
	bench_open(&bench, FRONTEND_QEMU);
	for (unsigned int i = 0; i < 40; i++)
		frontend_send(&bench.frontend, VHOST_USER_SET_OWNER, 0, NULL, 0, NULL, 0);
	assert_int_equal(vhost_device_woken(&bench.device, 0, NULL), 0);
	assert_int_equal(ioctl(bench.device.socket_fd, FIONREAD, &left), 0);
	assert_int_equal(left, 8 * sizeof(struct vhost_user_header));
	assert_int_equal(vhost_device_woken(&bench.device, 0, NULL), 0);
	assert_int_equal(ioctl(bench.device.socket_fd, FIONREAD, &left), 0);
	assert_int_equal(left, 0);
	bench_close(&bench);
}

/* Events that were collected before what they are about ended. */
static void late_events_are_nothing(void **state)
{
	struct bench bench;

	(void)state;
	bench_ready(&bench, 0);
	frontend_stop_queue(&bench.frontend, 1);
	assert_int_equal(vhost_device_woken(&bench.device, 1 + 1, NULL), 0);
	assert_int_equal(vhost_device_woken(&bench.device, 1 + FRONTEND_QUEUES, NULL), 0);
	vhost_device_detach(&bench.device);
	assert_int_equal(vhost_device_woken(&bench.device, 0, NULL), 0);
	assert_int_equal(vhost_device_woken(&bench.device, 1, NULL), 0);
	assert_int_equal(bench.kicks, 0);
	bench_close(&bench);
}

static void a_socket_nobody_can_wait_for_is_closed(void **state)
{
	struct bench bench;
	int file;

	(void)state;
	bench_open(&bench, FRONTEND_QEMU);
	vhost_device_detach(&bench.device);
	file = dup(bench.frontend.memory_fds[0]);
	assert_int_equal(vhost_device_attach(&bench.device, file), -EPERM);
	assert_int_equal(bench.device.socket_fd, -1);
	assert_int_equal(fcntl(file, F_GETFD), -1);
	bench_close(&bench);
}

static void bad_framing_ends_the_session(void **state)
{
	struct vhost_user_header too_long = { VHOST_USER_GET_FEATURES, 1, 0xffffffff };
	int fds[VHOST_FDS_MAX + 1];
	struct bench bench;

	(void)state;
	bench_open(&bench, FRONTEND_QEMU);
	assert_int_equal(write(bench.frontend.socket_fd, &too_long, sizeof(too_long)),
			 sizeof(too_long));
	bench_serve(&bench);
	assert_int_equal(bench.ended, -EPROTO);
	bench_close(&bench);

	bench_open(&bench, FRONTEND_QEMU);
	frontend_send(&bench.frontend, VHOST_USER_GET_FEATURES, 2, NULL, 0, NULL, 0);
	bench_serve(&bench);
	assert_int_equal(bench.ended, -EPROTO);
	bench_close(&bench);

	bench_open(&bench, FRONTEND_QEMU);
	for (unsigned int i = 0; i <= VHOST_FDS_MAX; i++)
		fds[i] = 0;
	frontend_send(&bench.frontend, VHOST_USER_SET_MEM_TABLE, 0, fds, 8, fds, VHOST_FDS_MAX + 1);
	bench_serve(&bench);
	assert_int_equal(bench.ended, -EPROTO);
	bench_close(&bench);
}

static void configuration_space_has_bounds(void **state)
{
	struct vhost_user_config config = { .offset = 4, .size = 8 };
	union vhost_user_payload answer;
	struct bench bench;
	struct frontend *frontend = &bench.frontend;

	(void)state;
	bench_open(&bench, FRONTEND_QEMU);
	frontend_negotiate(frontend, 0);
	memcpy(config.bytes, "abcdefgh", 8);
	assert_int_equal(
		frontend_acknowledged(frontend, VHOST_USER_SET_CONFIG, &config, 20, NULL, 0), 0);
	memset(config.bytes, 0, 8);
	assert_int_equal(frontend_call(frontend, VHOST_USER_GET_CONFIG, 0, &config, 20, &answer),
			 20);
	assert_memory_equal(answer.config.bytes, "abcdefgh", 8);
	config.offset = 12; /* four bytes too far */
	assert_int_equal(frontend_call(frontend, VHOST_USER_GET_CONFIG, 0, &config, 20, &answer),
			 0);
	assert_int_equal(
		frontend_acknowledged(frontend, VHOST_USER_SET_CONFIG, &config, 20, NULL, 0), 1);
	config.offset = 0;
	config.size = 200; /* more than the message has */
	assert_int_equal(frontend_call(frontend, VHOST_USER_GET_CONFIG, 0, &config, 20, &answer),
			 0);
	bench_close(&bench);
}

static void memory_regions_come_and_go(void **state)
{
	struct vhost_user_single_region single = { .region = { .guest_address = 0,
							       .bytes = FRONTEND_REGION_BYTES,
							       .user_address =
								       FRONTEND_USER_BASE } };
	union vhost_user_payload answer;
	struct bench bench;
	struct frontend *frontend = &bench.frontend;
	struct iovec parts[2];

	(void)state;
	bench_open(&bench, FRONTEND_QEMU);
	frontend_negotiate(frontend, 0);
	assert_int_equal(frontend_call(frontend, VHOST_USER_GET_MAX_MEM_SLOTS, 0, NULL, 0, &answer),
			 8);
	assert_int_equal(answer.number, VHOST_MEMORY_REGIONS_MAX);
	for (unsigned int i = 0; i < 2; i++) {
		single.region.guest_address = (uint64_t)i * FRONTEND_REGION_BYTES;
		single.region.user_address = FRONTEND_USER_BASE + single.region.guest_address;
		assert_int_equal(frontend_acknowledged(frontend, VHOST_USER_ADD_MEM_REG, &single,
						       sizeof(single), &frontend->memory_fds[i], 1),
				 0);
	}
	/* The same place again, and a place beyond the end of its file. */
	assert_int_equal(frontend_acknowledged(frontend, VHOST_USER_ADD_MEM_REG, &single,
					       sizeof(single), frontend->memory_fds, 1),
			 1);
	single.region.guest_address = 16 * FRONTEND_REGION_BYTES;
	single.region.mmap_offset = 1;
	assert_int_equal(frontend_acknowledged(frontend, VHOST_USER_ADD_MEM_REG, &single,
					       sizeof(single), frontend->memory_fds, 1),
			 1);
	single.region.mmap_offset = UINT64_MAX - 4096;
	assert_int_equal(frontend_acknowledged(frontend, VHOST_USER_ADD_MEM_REG, &single,
					       sizeof(single), frontend->memory_fds, 1),
			 1);
	for (unsigned int i = 0; i < 3; i++)
		frontend_start_queue(frontend, i, 0);
	assert_int_equal(bench.started, 7);
	assert_int_equal(
		vhost_memory_translate(&bench.device.memory, FRONTEND_BORDER - 8, 16, parts, 2), 2);
	assert_int_equal(
		vhost_memory_translate(&bench.device.memory, 2 * FRONTEND_BORDER - 8, 9, parts, 2),
		-EFAULT);
	assert_int_equal(vhost_memory_translate(&bench.device.memory, UINT64_MAX - 3, 8, parts, 2),
			 -EFAULT);

	/* Without the region that holds the rings no queue runs. */
	single.region.guest_address = 0;
	single.region.user_address = FRONTEND_USER_BASE;
	assert_int_equal(frontend_acknowledged(frontend, VHOST_USER_REM_MEM_REG, &single,
					       sizeof(single), NULL, 0),
			 0);
	assert_int_equal(bench.started, 0);
	assert_int_equal(frontend_acknowledged(frontend, VHOST_USER_REM_MEM_REG, &single,
					       sizeof(single), NULL, 0),
			 1);
	bench_close(&bench);
}

static void a_ring_lies_inside_one_region(void **state)
{
	struct vhost_user_vring_address address = {
		.descriptors = FRONTEND_USER_BASE + 0x1000,
		.available = FRONTEND_USER_BASE + 0x2000,
		.used = FRONTEND_USER_BASE + FRONTEND_REGION_BYTES - 1024,
	};
	struct vhost_user_vring_state size = { 0, FRONTEND_QUEUE_SIZE };
	struct bench bench;

	(void)state;
	bench_open(&bench, FRONTEND_QEMU);
	frontend_negotiate(&bench.frontend, 0);
	frontend_share_memory(&bench.frontend);
	frontend_send(&bench.frontend, VHOST_USER_SET_VRING_NUM, 0, &size, sizeof(size), NULL, 0);
	/* It takes 4 + 128 * 8 + 2 bytes, and its alignment is 4. */
	assert_int_equal(frontend_acknowledged(&bench.frontend, VHOST_USER_SET_VRING_ADDR, &address,
					       sizeof(address), NULL, 0),
			 1);
	address.used -= 8;
	assert_int_equal(frontend_acknowledged(&bench.frontend, VHOST_USER_SET_VRING_ADDR, &address,
					       sizeof(address), NULL, 0),
			 0);
	address.used++;
	assert_int_equal(frontend_acknowledged(&bench.frontend, VHOST_USER_SET_VRING_ADDR, &address,
					       sizeof(address), NULL, 0),
			 1);
	bench_close(&bench);
}

static void a_buffer_may_span_regions(void **state)
{
	struct virtio_ring_desc parts[] = {
		{ .addr = FRONTEND_BORDER - 3, .len = 10 },
		{ .addr = FRONTEND_BUFFERS, .len = 7, .flags = WRITE },
	};
	struct bench bench;
	char text[11] = "";

	(void)state;
	bench_ready(&bench, 0);
	frontend_put(&bench.frontend, FRONTEND_BORDER - 3, "0123456789", 10);
	frontend_offer(&bench.frontend, 0, parts, 2);
	assert_int_equal(bench_pop(&bench, 0), 1);
	assert_int_equal(bench.chain.readable_count, 2);
	assert_int_equal(bench.chain.writable_count, 1);
	assert_int_equal(bench.chain.readable_bytes, 10);
	assert_int_equal(bench.chain.writable_bytes, 7);
	vhost_iovec_copy_in(text, 10, bench.chain.vectors, 2);
	assert_string_equal(text, "0123456789");
	bench_close(&bench);
}

static void an_indirect_table_may_span_regions(void **state)
{
	uint64_t place = FRONTEND_BORDER - 24; /* the second entry lies across */
	struct virtio_ring_desc table[] = {
		{ .addr = FRONTEND_BUFFERS, .len = 3, .flags = VIRTIO_RING_DESC_F_NEXT, .next = 2 },
		{ .addr = FRONTEND_BUFFERS + 10, .len = 2, .flags = WRITE },
		{ .addr = FRONTEND_BUFFERS + 3,
		  .len = 3,
		  .flags = VIRTIO_RING_DESC_F_NEXT,
		  .next = 1 },
	};
	struct virtio_ring_desc outer = { .addr = place,
					  .len = sizeof(table),
					  .flags = VIRTIO_RING_DESC_F_INDIRECT };
	char text[7] = "";
	struct bench bench;

	(void)state;
	bench_ready(&bench, VIRTIO_RING_F_INDIRECT_DESC);
	frontend_put(&bench.frontend, FRONTEND_BUFFERS, "abcdef", 6);
	frontend_put(&bench.frontend, place, table, sizeof(table));
	frontend_offer(&bench.frontend, 0, &outer, 1);
	assert_int_equal(bench_pop(&bench, 0), 1);
	assert_int_equal(bench.chain.readable_bytes, 6);
	assert_int_equal(bench.chain.writable_bytes, 2);
	vhost_iovec_copy_in(text, 6, bench.chain.vectors, bench.chain.readable_count);
	assert_string_equal(text, "abcdef");
	bench_close(&bench);
}

static void an_indirect_table_unasked_for_breaks_the_queue(void **state)
{
	struct virtio_ring_desc outer = { .addr = FRONTEND_BUFFERS,
					  .len = 16,
					  .flags = VIRTIO_RING_DESC_F_INDIRECT };
	struct bench bench;

	(void)state;
	bench_ready(&bench, 0);
	frontend_offer(&bench.frontend, 0, &outer, 1);
	bench_expect_broken(&bench);
	bench_close(&bench);
}

static void a_table_in_a_table_breaks_the_queue(void **state)
{
	struct virtio_ring_desc outer = { .addr = FRONTEND_BUFFERS,
					  .len = 16,
					  .flags = VIRTIO_RING_DESC_F_INDIRECT };
	struct bench bench;

	(void)state;
	bench_ready(&bench, VIRTIO_RING_F_INDIRECT_DESC);
	frontend_put(&bench.frontend, FRONTEND_BUFFERS, &outer, sizeof(outer));
	frontend_offer(&bench.frontend, 0, &outer, 1);
	bench_expect_broken(&bench);
	bench_close(&bench);
}

static void a_loop_breaks_the_queue(void **state)
{
	struct bench bench;
	struct virtio_ring_desc *descriptors;

	(void)state;
	bench_ready(&bench, 0);
	descriptors = bench.frontend.queues[0].descriptors;
	/* Of no length, so that no other bound is met. */
	descriptors[5] = (struct virtio_ring_desc){ .flags = VIRTIO_RING_DESC_F_NEXT, .next = 6 };
	descriptors[6] = descriptors[5];
	descriptors[6].next = 5;
	frontend_offer_head(&bench.frontend, 0, 5);
	bench_expect_broken(&bench);
	bench_close(&bench);
}

static void indices_out_of_bounds_break_the_queue(void **state)
{
	struct virtio_ring_desc part = { .addr = FRONTEND_BUFFERS, .len = 1 };
	uint64_t number = 0, count = 0;
	struct bench bench;
	int error_fd = eventfd(0, EFD_NONBLOCK);

	(void)state;
	bench_ready(&bench, 0);
	frontend_send(&bench.frontend, VHOST_USER_SET_VRING_ERR, 0, &number, sizeof(number),
		      &error_fd, 1);
	bench_serve(&bench);
	frontend_offer_head(&bench.frontend, 0, FRONTEND_QUEUE_SIZE);
	bench_expect_broken(&bench);
	assert_int_equal(read(error_fd, &count, sizeof(count)), sizeof(count));
	bench_close(&bench);
	close(error_fd);

	bench_ready(&bench, 0);
	frontend_offer(&bench.frontend, 0, &part, 1);
	bench.frontend.queues[0].descriptors[0].flags = VIRTIO_RING_DESC_F_NEXT;
	bench.frontend.queues[0].descriptors[0].next = FRONTEND_QUEUE_SIZE;
	bench_expect_broken(&bench);
	bench_close(&bench);

	bench_ready(&bench, 0);
	bench.frontend.queues[0].next_available = FRONTEND_QUEUE_SIZE;
	frontend_offer(&bench.frontend, 0, &part, 1);
	bench_expect_broken(&bench);
	bench_close(&bench);
}

static void addresses_outside_memory_break_the_queue(void **state)
{
	struct virtio_ring_desc beyond = { .addr = 2 * FRONTEND_BORDER - 4, .len = 5 };
	struct virtio_ring_desc wrapping = { .addr = UINT64_MAX - 1, .len = 0xffffffff };
	struct bench bench;

	(void)state;
	bench_ready(&bench, 0);
	frontend_offer(&bench.frontend, 0, &beyond, 1);
	bench_expect_broken(&bench);
	bench_close(&bench);

	bench_ready(&bench, 0);
	frontend_offer(&bench.frontend, 0, &wrapping, 1);
	bench_expect_broken(&bench);
	bench_close(&bench);
}

static void readable_behind_writable_breaks_the_queue(void **state)
{
	struct virtio_ring_desc parts[] = {
		{ .addr = FRONTEND_BUFFERS, .len = 4, .flags = WRITE },
		{ .addr = FRONTEND_BUFFERS, .len = 4 },
	};
	struct bench bench;

	(void)state;
	bench_ready(&bench, 0);
	frontend_offer(&bench.frontend, 0, parts, 2);
	bench_expect_broken(&bench);
	bench_close(&bench);
}

/* Who brings too little room may come again with more; the chain and the queue are still good. */
static void a_chain_waits_for_room(void **state)
{
	struct virtio_ring_desc parts[] = {
		{ .addr = FRONTEND_BUFFERS, .len = 4 },
		{ .addr = FRONTEND_BUFFERS + 8, .len = 4 },
		{ .addr = FRONTEND_BUFFERS + 16, .len = 4, .flags = WRITE },
	};
	struct bench bench;
	uint16_t head;

	(void)state;
	bench_ready(&bench, 0);
	head = frontend_offer(&bench.frontend, 0, parts, 3);
	for (unsigned int capacity = 0; capacity < 3; capacity++)
		assert_int_equal(vhost_queue_pop(vhost_device_queue(&bench.device, 0), &bench.chain,
						 bench.vectors, capacity),
				 -E2BIG);
	assert_int_equal(vhost_queue_pop(vhost_device_queue(&bench.device, 0), &bench.chain,
					 bench.vectors, 3),
			 1);
	assert_int_equal(bench.chain.head, head);
	assert_int_equal(bench.chain.readable_count, 2);
	assert_int_equal(bench.chain.writable_count, 1);
	bench_close(&bench);
}

static void a_stopped_queue_is_not_walked(void **state)
{
	struct virtio_ring_desc part = { .addr = FRONTEND_BUFFERS, .len = 4 };
	struct vhost_queue *queue;
	struct bench bench;
	uint16_t head;

	(void)state;
	bench_ready(&bench, 0);
	queue = vhost_device_queue(&bench.device, 0);
	head = frontend_offer(&bench.frontend, 0, &part, 1);
	assert_int_equal(vhost_queue_walk(queue, head, &bench.chain, bench.vectors), 0);
	assert_int_equal(bench.chain.readable_bytes, 4);
	frontend_stop_queue(&bench.frontend, 0);
	assert_int_equal(vhost_queue_walk(queue, head, &bench.chain, bench.vectors), -EFAULT);
	assert_int_equal(bench.chain.readable_bytes, 0);
	bench_close(&bench);
}

static void chains_return_in_any_order_and_unused(void **state)
{
	struct virtio_ring_desc part = { .addr = FRONTEND_BUFFERS, .len = 4, .flags = WRITE };
	struct vhost_queue *queue;
	struct virtio_ring_used_elem used;
	uint16_t heads[4];
	struct bench bench;

	(void)state;
	bench_ready(&bench, 0);
	queue = vhost_device_queue(&bench.device, 0);
	for (int i = 0; i < 4; i++)
		heads[i] = frontend_offer(&bench.frontend, 0, &part, 1);
	for (int i = 0; i < 4; i++)
		assert_int_equal(bench_pop(&bench, 0), 1);
	assert_int_equal(bench_pop(&bench, 0), 0);
	vhost_queue_unpop(queue, 1);
	assert_int_equal(bench_pop(&bench, 0), 1);
	assert_int_equal(bench.chain.head, heads[3]);
	vhost_queue_push(queue, heads[2], 2);
	vhost_queue_push(queue, heads[0], 0);
	assert_true(frontend_used(&bench.frontend, 0, &used));
	assert_int_equal(used.id, heads[2]);
	assert_int_equal(used.len, 2);
	assert_true(frontend_used(&bench.frontend, 0, &used));
	assert_int_equal(used.id, heads[0]);
	assert_false(frontend_used(&bench.frontend, 0, &used));
	bench_close(&bench);
}

static void the_ring_goes_round_many_times(void **state)
{
	struct virtio_ring_desc part = { .addr = FRONTEND_BUFFERS, .len = 4 };
	struct virtio_ring_used_elem used;
	struct bench bench;

	(void)state;
	bench_ready(&bench, VIRTIO_RING_F_EVENT_IDX);
	for (uint32_t i = 0; i < 70000; i++) { /* past the wrap of 16 bits */
		uint16_t head = frontend_offer(&bench.frontend, 0, &part, 1);

		assert_int_equal(bench_pop(&bench, 0), 1);
		assert_int_equal(bench.chain.head, head);
		vhost_queue_push(&bench.device.queues[0], head, i);
		assert_true(frontend_used(&bench.frontend, 0, &used));
		assert_int_equal(used.len, i);
	}
	bench_close(&bench);
}

static void event_index_holds_back_interrupts(void **state)
{
	struct virtio_ring_desc part = { .addr = FRONTEND_BUFFERS, .len = 4 };
	struct frontend_queue *ring;
	struct bench bench;

	(void)state;
	bench_ready(&bench, VIRTIO_RING_F_EVENT_IDX);
	ring = &bench.frontend.queues[0];
	ring->available->ring[FRONTEND_QUEUE_SIZE] = 2; /* used_event: after the third */
	for (uint16_t i = 0; i < 5; i++) {
		frontend_offer(&bench.frontend, 0, &part, 1);
		assert_int_equal(bench_pop(&bench, 0), 1);
		vhost_queue_push(&bench.device.queues[0], bench.chain.head, 0);
		/* The first after the start is always told. */
		assert_int_equal(vhost_queue_notify(&bench.device.queues[0]), i == 0 || i == 2);
	}
	assert_false(vhost_queue_notify(&bench.device.queues[0]));
	assert_int_equal(frontend_interrupts(&bench.frontend, 0), 2);
	bench_close(&bench);
}

static void the_flag_holds_back_interrupts(void **state)
{
	struct virtio_ring_desc part = { .addr = FRONTEND_BUFFERS, .len = 4 };
	struct bench bench;

	(void)state;
	bench_ready(&bench, 0);
	for (int i = 0; i < 2; i++) {
		bench.frontend.queues[0].available->flags =
			i ? 0 : VIRTIO_RING_AVAIL_F_NO_INTERRUPT;
		frontend_offer(&bench.frontend, 0, &part, 1);
		assert_int_equal(bench_pop(&bench, 0), 1);
		vhost_queue_push(&bench.device.queues[0], bench.chain.head, 0);
		assert_int_equal(vhost_queue_notify(&bench.device.queues[0]), i);
		/* Once for what is new, not again for what is not. */
		assert_false(vhost_queue_notify(&bench.device.queues[0]));
	}
	bench_close(&bench);
}

static void kicks_are_asked_for_only_when_wanted(void **state)
{
	static const uint64_t features[] = { 0, VIRTIO_RING_F_EVENT_IDX };
	struct virtio_ring_desc part = { .addr = FRONTEND_BUFFERS, .len = 4 };
	struct vhost_queue *queue;
	struct bench bench;

	(void)state;
	for (int i = 0; i < 2; i++) {
		bench_ready(&bench, features[i]);
		queue = vhost_device_queue(&bench.device, 0);
		vhost_queue_want_kicks(queue, true);
		assert_false(vhost_queue_has_work(queue));
		frontend_offer(&bench.frontend, 0, &part, 1);
		assert_true(frontend_wants_kick(&bench.frontend, 0, i == 1));
		vhost_queue_want_kicks(queue, false);
		assert_int_equal(bench_pop(&bench, 0), 1);
		frontend_offer(&bench.frontend, 0, &part, 1);
		assert_false(frontend_wants_kick(&bench.frontend, 0, i == 1));
		bench_close(&bench);
	}
}

static void a_pause_goes_on_and_a_reboot_resets(void **state)
{
	struct virtio_ring_desc part = { .addr = FRONTEND_BUFFERS, .len = 4 };
	uint16_t base;
	struct bench bench;

	(void)state;
	bench_ready(&bench, 0);
	for (int i = 0; i < 3; i++) {
		frontend_offer(&bench.frontend, 1, &part, 1);
		assert_int_equal(bench_pop(&bench, 1), 1);
		vhost_queue_push(&bench.device.queues[1], bench.chain.head, 0);
	}
	base = frontend_stop_queue(&bench.frontend, 1);
	assert_int_equal(base, 3);
	assert_int_equal(bench.started, 5);
	frontend_start_queue(&bench.frontend, 1, base);
	assert_int_equal(bench.resets, 0);
	frontend_offer(&bench.frontend, 1, &part, 1);
	assert_int_equal(bench_pop(&bench, 1), 1);
	vhost_queue_push(&bench.device.queues[1], bench.chain.head, 9);
	assert_int_equal(bench.frontend.queues[1].used->idx, 4);

	frontend_stop_queue(&bench.frontend, 1);
	frontend_start_queue(&bench.frontend, 1, 0);
	assert_int_equal(bench.resets, 1);
	frontend_send(&bench.frontend, VHOST_USER_RESET_DEVICE, 0, NULL, 0, NULL, 0);
	bench_serve(&bench);
	assert_int_equal(bench.resets, 2);
	assert_int_equal(bench.started, 0);
	bench_close(&bench);
}

static void the_next_vmm_starts_afresh(void **state)
{
	struct virtio_ring_desc part = { .addr = FRONTEND_BUFFERS, .len = 4 };
	struct bench bench;

	(void)state;
	bench_ready(&bench, VIRTIO_RING_F_EVENT_IDX);
	frontend_offer(&bench.frontend, 1, &part, 1);
	assert_int_equal(bench_pop(&bench, 1), 1);
	frontend_close(&bench.frontend);
	assert_int_equal(bench.ended, -EPIPE);
	assert_int_equal(bench.started, 0);
	bench_attach(&bench, FRONTEND_UML);
	frontend_handshake(&bench.frontend, 0);
	assert_int_equal(bench.started, 7);
	assert_int_equal(bench.resets, 0);
	frontend_offer(&bench.frontend, 1, &part, 1);
	assert_int_equal(bench_pop(&bench, 1), 1);
	bench_close(&bench);
}

static void status_is_kept_and_does_not_reset(void **state)
{
	union vhost_user_payload answer;
	uint64_t status = 15;
	struct bench bench;

	(void)state;
	bench_ready(&bench, 0);
	frontend_send(&bench.frontend, VHOST_USER_SET_STATUS, 0, &status, 8, NULL, 0);
	assert_int_equal(frontend_call(&bench.frontend, VHOST_USER_GET_STATUS, 0, NULL, 0, &answer),
			 8);
	assert_int_equal(answer.number, 15);
	status = 0;
	frontend_send(&bench.frontend, VHOST_USER_SET_STATUS, 0, &status, 8, NULL, 0);
	assert_int_equal(frontend_call(&bench.frontend, VHOST_USER_GET_STATUS, 0, NULL, 0, &answer),
			 8);
	assert_int_equal(answer.number, 0);
	assert_int_equal(bench.resets, 0);
	bench_close(&bench);
}

static void the_request_channel_may_be_a_pipe(void **state)
{
	static const enum frontend_style styles[] = { FRONTEND_QEMU, FRONTEND_UML };
	struct vhost_user_header header;
	struct bench bench;

	(void)state;
	for (unsigned int i = 0; i < 2; i++) {
		bench_open(&bench, styles[i]);
		assert_int_equal(vhost_device_config_changed(&bench.device), -EOPNOTSUPP);
		frontend_negotiate(&bench.frontend, 0);
		bench_serve(&bench);
		assert_int_equal(vhost_device_config_changed(&bench.device), 0);
		assert_int_equal(read(bench.frontend.request_fd, &header, sizeof(header)),
				 sizeof(header));
		assert_int_equal(header.request, VHOST_USER_BACKEND_CONFIG_CHANGE);
		assert_int_equal(header.size, 0);
		bench_close(&bench);
	}
}

static void memory_cut_off_ends_only_the_session(void **state)
{
	struct virtio_ring_desc part = { .addr = FRONTEND_BUFFERS, .len = 4 };
	struct bench bench;

	(void)state;
	/* Here, because cmocka takes the signal at the start of each test. */
	assert_int_equal(vhost_fault_install(), 0);
	bench_ready(&bench, 0);
	frontend_offer(&bench.frontend, 0, &part, 1);
	assert_int_equal(vhost_device_check(&bench.device, NULL), 0);
	assert_int_equal(ftruncate(bench.frontend.memory_fds[0], 0), 0);
	bench_pop(&bench, 0); /* touches what is gone: SIGBUS without the handler */
	assert_int_equal(vhost_device_check(&bench.device, NULL), -EFAULT);
	vhost_device_detach(&bench.device);
	assert_int_equal(vhost_device_check(&bench.device, NULL), 0);
	frontend_close(&bench.frontend);

	bench_attach(&bench, FRONTEND_QEMU);
	frontend_handshake(&bench.frontend, 0);
	frontend_offer(&bench.frontend, 0, &part, 1);
	assert_int_equal(bench_pop(&bench, 0), 1);
	bench_close(&bench);
}

/* The first version of struct sched_attr, as the kernel fills it in. */
struct schedule {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

static struct schedule schedule_now(void)
{
	struct schedule now = { 0 };

	if (syscall(SYS_sched_getattr, 0, &now, sizeof(now), 0) < 0)
		now.size = 0; /* the test says so, in its own thread */
	return now;
}

struct slices {
	struct schedule before, after;
};

static void *slices_short(void *argument)
{
	struct slices *slices = argument;

	slices->before = schedule_now();
	vhost_wait_promptly();
	slices->after = schedule_now();
	return NULL;
}

/* In a thread of its own: other tests keep their slices. */
static void slices_get_short(void **state)
{
	struct slices slices = { { 0 }, { 0 } };
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, slices_short, &slices), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(slices.before.size, sizeof(slices.before));
	assert_int_equal(slices.after.policy, slices.before.policy);
	assert_int_equal(slices.after.nice, slices.before.nice);
	/* Older kernels tell no slice, and give none. */
	assert_int_equal(slices.after.runtime, slices.before.runtime == 0 ? 0 : 100000);
}

/* A wait that slept, and began so long ago. */
static void spinning_slept(struct spin *spin, uint64_t waited_ns)
{
	spin->start_ns = spin_clock_ns() - waited_ns;
	spin_slept(spin);
}

static void spinning_adapts(void **state)
{
	/* A limit that no hiccup of the machine between two lines reaches. */
	struct spin spin = { .limit_ns = 500000000 };

	(void)state;
	for (int i = 0; i < 20; i++)
		spinning_slept(&spin, 300000000); /* soon: worth spinning for */
	assert_int_equal(spin.now_ns, 500000000);
	for (int i = 0; i < 30; i++)
		spinning_slept(&spin, 3000000000); /* late: not worth it */
	assert_int_equal(spin.now_ns, 0);
	spinning_slept(&spin, 1000000000); /* two that sleep must get back to spinning */
	assert_true(spin.now_ns > 0);
	spin.thrifty = true;
	for (int i = 0; i < 30; i++)
		spinning_slept(&spin, 1000000000); /* no spin would have caught it */
	assert_int_equal(spin.now_ns, 0);
	spin.thrifty = false;
	/* Others want the processor: no growth before they had it. */
	spin_rest(&spin, spin_clock_ns() + 10000000000);
	spinning_slept(&spin, 1000);
	assert_int_equal(spin.now_ns, 0);
	spin = (struct spin){ .limit_ns = 0 };
	spinning_slept(&spin, 10);
	assert_int_equal(spin.now_ns, 0);
}

static bool looks_left(void *context)
{
	return --*(int *)context == 0;
}

static void looks_are_armed(void *context, bool sleeping)
{
	(void)context;
	(void)sleeping;
	fail_msg("slept, though it was to spin");
}

static void spinning_sees_memory_and_descriptors(void **state)
{
	static const uint64_t one = 1;
	int looks = 1000, fd = eventfd(0, EFD_CLOEXEC);
	const struct vhost_wait_work work = { looks_left, looks_are_armed, &looks };
	struct epoll_event event;
	struct vhost_wait wait;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(vhost_wait_init(&wait, 4000000), 0);
	wait.spin.now_ns = wait.spin.limit_ns;
	assert_int_equal(vhost_wait_add(&wait, fd, EPOLLIN, 7), 0);
	assert_int_equal(vhost_wait_events(&wait, &work, &event, 1, -1), 0);
	assert_int_equal(looks, 0);
	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
	looks = INT_MAX;
	assert_int_equal(vhost_wait_events(&wait, &work, &event, 1, -1), 1);
	assert_int_equal(event.data.u64, 7);
	assert_true(looks > INT_MAX - 1000);
	vhost_wait_close(&wait);
	close(fd);
}

/* What the back-end asked of the VMM; the descriptor that came along, or -1. */
static int bench_shm_request(struct bench *bench, uint32_t *request,
			     struct vhost_user_shmem_mapping *mapping)
{
	struct {
		struct vhost_user_header header;
		struct vhost_user_shmem_mapping mapping;
		struct vhost_user_header behind;
	} __attribute__((packed)) message;
	size_t count = 0;
	int fds[IO_FDS_MAX];

	assert_int_equal(
		io_receive_fds(bench->frontend.request_fd, &message, sizeof(message), fds, &count),
		sizeof(message));
	assert_int_equal(message.header.flags,
			 VHOST_USER_FLAG_VERSION | VHOST_USER_FLAG_NEED_REPLY);
	assert_int_equal(message.header.size, sizeof(*mapping));
	assert_int_equal(message.behind.request, VHOST_USER_BACKEND_CONFIG_CHANGE);
	assert_int_equal(message.behind.flags, message.header.flags);
	assert_int_equal(message.behind.size, 0);
	*request = message.header.request;
	*mapping = message.mapping;
	return count ? fds[0] : -1;
}

static void bench_shm_answer(struct bench *bench, uint32_t request, uint64_t number)
{
	struct {
		struct vhost_user_header header;
		uint64_t number;
	} __attribute__((packed)) message = {
		{ request, VHOST_USER_FLAG_VERSION | VHOST_USER_FLAG_REPLY, sizeof(number) },
		number,
	};

	assert_int_equal(write(bench->frontend.request_fd, &message, sizeof(message)),
			 sizeof(message));
	bench_serve(bench);
}

static void memory_is_shown_and_hidden(void **state)
{
	struct vhost_user_shmem_mapping mapping;
	union vhost_user_payload answer;
	struct vhost_device *device;
	uint32_t request;
	struct bench bench;
	char byte = 0;
	int fd;

	(void)state;
	bench_ready(&bench, 0);
	device = &bench.device;
	assert_true(vhost_device_has_shm(device));
	assert_int_equal(
		frontend_call(&bench.frontend, VHOST_USER_GET_SHMEM_CONFIG, 0, NULL, 0, &answer),
		sizeof(answer.shmem_config));
	assert_int_equal(answer.shmem_config.region_count, 1);
	assert_int_equal(answer.shmem_config.bytes[0], SHM_BYTES);
	assert_int_equal(answer.shmem_config.bytes[1], 0);

	assert_int_equal(vhost_device_shm_map(device, 0x2000, bench.frontend.memory_fds[0], 0x3000,
					      0x1000, true, &bench),
			 0);
	assert_int_equal(vhost_device_shm_unmap(device, 0x4000, 0x1000, &byte), 0);
	fd = bench_shm_request(&bench, &request, &mapping);
	assert_int_equal(request, VHOST_USER_BACKEND_SHMEM_MAP);
	assert_int_equal(mapping.offset, 0x2000);
	assert_int_equal(mapping.file_offset, 0x3000);
	assert_int_equal(mapping.bytes, 0x1000);
	assert_int_equal(mapping.flags, VHOST_USER_SHMEM_WRITABLE);
	*(char *)frontend_at(&bench.frontend, 0x3000) = 'x';
	assert_int_equal(pread(fd, &byte, 1, 0x3000), 1);
	assert_int_equal(byte, 'x');
	close(fd);
	assert_int_equal(bench_shm_request(&bench, &request, &mapping), -1);
	assert_int_equal(request, VHOST_USER_BACKEND_SHMEM_UNMAP);

	bench_shm_answer(&bench, VHOST_USER_BACKEND_SHMEM_MAP, 0);
	assert_int_equal(bench.shm_answers, 0); /* not before the VMM is through with it */
	bench_shm_answer(&bench, VHOST_USER_BACKEND_CONFIG_CHANGE, 1);
	assert_int_equal(bench.shm_answers, 1);
	assert_ptr_equal(bench.shm_token, &bench);
	assert_int_equal(bench.shm_status, 0);
	bench_shm_answer(&bench, VHOST_USER_BACKEND_SHMEM_UNMAP, 1);
	bench_shm_answer(&bench, VHOST_USER_BACKEND_CONFIG_CHANGE, 0);
	assert_int_equal(bench.shm_answers, 2);
	assert_ptr_equal(bench.shm_token, &byte);
	assert_int_equal(bench.shm_status, -EINVAL);
	bench_close(&bench);
}

static void memory_outside_the_region_is_not_asked_for(void **state)
{
	static const uint64_t wrong[][3] = { /* offset, file offset, bytes */
					     { 0, 0, 0 },
					     { SHM_BYTES, 0, 0x1000 },
					     { SHM_BYTES - 0x1000, 0, 0x2000 },
					     { 0x1000, 0, UINT64_MAX - 0xfff },
					     { 0x800, 0, 0x1000 },
					     { 0x1000, 0x10, 0x1000 }
	};
	struct bench bench;

	(void)state;
	bench_ready(&bench, 0);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(vhost_device_shm_map(&bench.device, wrong[i][0],
						      bench.frontend.memory_fds[0], wrong[i][1],
						      wrong[i][2], true, NULL),
				 -EINVAL);
	for (unsigned int i = 0; i < VHOST_SHM_CALLS_MAX; i++)
		assert_int_equal(vhost_device_shm_unmap(&bench.device, 0, 0x1000, NULL), 0);
	assert_int_equal(vhost_device_shm_unmap(&bench.device, 0, 0x1000, NULL), -EAGAIN);
	assert_int_equal(bench.shm_answers, 0);
	vhost_device_detach(&bench.device);
	assert_int_equal(bench.shm_answers, VHOST_SHM_CALLS_MAX);
	assert_int_equal(bench.shm_status, -EPIPE);
	bench_close(&bench);

	bench_open(&bench, FRONTEND_UML);
	frontend_handshake(&bench.frontend, 0);
	assert_false(vhost_device_has_shm(&bench.device));
	assert_int_equal(vhost_device_shm_unmap(&bench.device, 0, 0x1000, NULL), -EOPNOTSUPP);
	bench_close(&bench);
}

static void an_answer_nobody_waits_for_ends_the_session(void **state)
{
	struct bench bench;

	(void)state;
	bench_ready(&bench, 0);
	assert_int_equal(vhost_device_shm_unmap(&bench.device, 0, 0x1000, NULL), 0);
	bench_shm_answer(&bench, VHOST_USER_BACKEND_SHMEM_MAP, 0);
	assert_int_equal(bench.ended, -EPROTO);
	assert_int_equal(bench.shm_status, -EPIPE);
	bench_close(&bench);

	bench_ready(&bench, 0);
	bench_shm_answer(&bench, VHOST_USER_BACKEND_SHMEM_UNMAP, 0);
	assert_int_equal(bench.ended, -EPROTO);
	bench_close(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_front_ends_start_all_queues),
		cmocka_unit_test(a_message_may_come_byte_by_byte),
		cmocka_unit_test(refusals_are_acknowledged_or_end_the_session),
		cmocka_unit_test(features_that_do_not_exist_are_refused),
		cmocka_unit_test(a_table_with_a_bad_region_leaves_no_memory),
		cmocka_unit_test(requests_name_queues_that_exist),
		cmocka_unit_test(memory_that_cannot_be_written_is_refused),
		cmocka_unit_test(kicks_come_by_a_descriptor_that_can_be_waited_for),
		cmocka_unit_test(a_kick_whose_writer_is_gone_wakes_nobody),
		cmocka_unit_test(a_kick_that_cannot_be_read_ends_the_session),
		cmocka_unit_test(the_request_channel_needs_a_descriptor),
		cmocka_unit_test(many_messages_do_not_keep_the_loop),
		cmocka_unit_test(late_events_are_nothing),
		cmocka_unit_test(a_socket_nobody_can_wait_for_is_closed),
		cmocka_unit_test(bad_framing_ends_the_session),
		cmocka_unit_test(configuration_space_has_bounds),
		cmocka_unit_test(memory_regions_come_and_go),
		cmocka_unit_test(a_ring_lies_inside_one_region),
		cmocka_unit_test(a_buffer_may_span_regions),
		cmocka_unit_test(an_indirect_table_may_span_regions),
		cmocka_unit_test(an_indirect_table_unasked_for_breaks_the_queue),
		cmocka_unit_test(a_table_in_a_table_breaks_the_queue),
		cmocka_unit_test(a_loop_breaks_the_queue),
		cmocka_unit_test(indices_out_of_bounds_break_the_queue),
		cmocka_unit_test(addresses_outside_memory_break_the_queue),
		cmocka_unit_test(readable_behind_writable_breaks_the_queue),
		cmocka_unit_test(a_chain_waits_for_room),
		cmocka_unit_test(a_stopped_queue_is_not_walked),
		cmocka_unit_test(chains_return_in_any_order_and_unused),
		cmocka_unit_test(the_ring_goes_round_many_times),
		cmocka_unit_test(event_index_holds_back_interrupts),
		cmocka_unit_test(the_flag_holds_back_interrupts),
		cmocka_unit_test(kicks_are_asked_for_only_when_wanted),
		cmocka_unit_test(a_pause_goes_on_and_a_reboot_resets),
		cmocka_unit_test(the_next_vmm_starts_afresh),
		cmocka_unit_test(status_is_kept_and_does_not_reset),
		cmocka_unit_test(the_request_channel_may_be_a_pipe),
		cmocka_unit_test(memory_cut_off_ends_only_the_session),
		cmocka_unit_test(slices_get_short),
		cmocka_unit_test(spinning_adapts),
		cmocka_unit_test(spinning_sees_memory_and_descriptors),
		cmocka_unit_test(memory_is_shown_and_hidden),
		cmocka_unit_test(memory_outside_the_region_is_not_asked_for),
		cmocka_unit_test(an_answer_nobody_waits_for_ends_the_session),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
