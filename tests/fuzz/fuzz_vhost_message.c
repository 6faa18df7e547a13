/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile VMM: any bytes and descriptors on the vhost-user socket.
 *
 * The input is a list of steps. Each begins with a byte: raw bytes follow, or a message whose
 * header is well-formed and whose payload the input gives, with descriptors of several kinds, or
 * raw bytes on the channel on which the VMM answers.
 */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/vhost/device.h"
#include "tests/unit/vhost_frontend.h"

struct bench {
	struct frontend frontend;
	struct vhost_wait wait;
	struct vhost_device device;
	struct iovec vectors[VHOST_CHAIN_VECTORS_MAX];
	bool ended;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void bench_config_read(void *context, uint32_t offset, void *to, uint32_t bytes)
{
	(void)context;
	(void)offset;
	memset(to, 7, bytes);
}

static void bench_note(void *context, unsigned int index)
{
	(void)context;
	(void)index;
}

static void bench_reset(void *context)
{
	(void)context;
}

static void bench_shm_done(void *context, void *token, int status)
{
	(void)context;
	(void)token;
	(void)status;
}

static const struct vhost_device_ops bench_ops = {
	.features = VIRTIO_RING_F_INDIRECT_DESC | VIRTIO_RING_F_EVENT_IDX,
	.queue_count = FRONTEND_QUEUES,
	.config_bytes = 16,
	.config_read = bench_config_read,
	.queue_started = bench_note,
	.queue_stopped = bench_note,
	.queue_kicked = bench_note,
	.reset = bench_reset,
	.shm_bytes = 1 << 20,
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

/* What a device does with its queues, a little of it. */
static void bench_use_queues(struct bench *bench)
{
	for (unsigned int i = 0; i < FRONTEND_QUEUES; i++) {
		struct vhost_queue *queue = vhost_device_queue(&bench->device, i);
		struct vhost_chain chain;

		if (vhost_queue_pop(queue, &chain, bench->vectors, VHOST_CHAIN_VECTORS_MAX) > 0)
			vhost_queue_push(queue, chain.head, 0);
		vhost_queue_notify(queue);
		vhost_queue_want_kicks(queue, true);
	}
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
			bench->ended =
				vhost_device_woken(&bench->device, (unsigned int)events[i].data.u64,
						   NULL) < 0;
		bench_use_queues(bench);
	}
	if (bench->ended)
		vhost_device_detach(&bench->device);
}

/* One step; the bytes it took. */
static size_t bench_step(struct bench *bench, const uint8_t *data, size_t bytes)
{
	int fds[3] = { bench->frontend.memory_fds[0], bench->frontend.queues[0].kick_fd,
		       bench->frontend.queues[0].call_write_fd };
	size_t length = bytes > 1 ? data[1] : 0;
	unsigned int kind = data[0] & 3;
	char answers[4096];

	if (bytes < 4)
		return bytes;
	if (length > bytes - 4)
		length = bytes - 4;
	if (kind == 3 && bench->frontend.request_fd >= 0) {
		vhost_device_shm_map(&bench->device, (uint64_t)data[2] << 12, fds[0], 0, 4096, true,
				     NULL);
		io_send_fds(bench->frontend.request_fd, data + 4, length, fds, data[2] & 1);
	} else if (kind == 0)
		io_send_fds(bench->frontend.socket_fd, data + 4, length, fds, data[2] % 3);
	else
		frontend_send(&bench->frontend, data[3] % 48, kind == 1 ? 0 : 8, data + 4,
			      (uint32_t)length, &fds[data[2] % 3], data[2] >= 64);
	bench_serve(bench);
	while (recv(bench->frontend.socket_fd, answers, sizeof(answers), MSG_DONTWAIT) > 0)
		continue;
	return 4 + length;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static struct bench bench;
	int pair[2];

	if (bytes == 0)
		return 0;
	memset(&bench, 0, sizeof(bench));
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0 ||
	    vhost_wait_init(&bench.wait, 0) < 0)
		return 0;
	vhost_device_init(&bench.device, &bench_ops, &bench, &bench.wait, 0);
	frontend_open(&bench.frontend, data[0] & 1 ? FRONTEND_QEMU : FRONTEND_UML, bench_serve,
		      &bench, pair[0]);
	vhost_device_attach(&bench.device, pair[1]);
	if (data[0] & 2)
		frontend_handshake(&bench.frontend, VIRTIO_RING_F_EVENT_IDX);
	for (size_t at = 1; at < bytes && !bench.ended;)
		at += bench_step(&bench, data + at, bytes - at);
	frontend_close(&bench.frontend);
	vhost_device_detach(&bench.device);
	vhost_wait_close(&bench.wait);
	return 0;
}
