/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile guest: any packets in the transmit queue, any receive buffers, while a host program
 * accepts, writes, closes.
 *
 * The input is a list of steps of 16 bytes: a packet whose fields are taken from small sets, so
 * that connections come into being; raw header bytes; a receive buffer of some shape; or something
 * that the host program does.
 */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/log.h"
#include "tests/unit/vhost_frontend.h"
#include "vsock/switch/vm.h"

#define STEP_BYTES   16
#define PACKET_PLACE 0xb0000u
#define DATA_PLACE   (FRONTEND_BORDER - 1000)

struct bench {
	char folder[64];
	struct settings settings;
	struct vsock_switch sw;
	struct worker *worker;
	struct vm *vm;
	struct frontend guest;
	int listener;
	int host; /* the last connection accepted */
};

static struct bench bench;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void bench_must(bool condition)
{
	if (!condition)
		abort();
}

static void bench_serve(void *context)
{
	(void)context;
	for (int i = 0; i < 3; i++)
		worker_turn(bench.worker, 0);
	while (vm_is_pending(bench.vm))
		worker_turn(bench.worker, 0);
}

static void bench_remove(void)
{
	char path[128];

	worker_release(bench.worker, bench.vm);
	vm_put(bench.vm);
	worker_destroy(bench.worker);
	switch_close(&bench.sw);
	snprintf(path, sizeof(path), "%s/vm.host_7", bench.folder);
	unlink(path);
	rmdir(bench.folder);
	settings_free(&bench.settings);
}

static void bench_open(void)
{
	char text[128];

	log_set_level(LOG_LEVEL_ERROR);
	strcpy(bench.folder, "/tmp/causeway-fuzz-XXXXXX");
	bench_must(mkdtemp(bench.folder) != NULL);
	snprintf(text, sizeof(text), "guest,cid=3,socket=%s/vm", bench.folder);
	bench_must(settings_add_vm(&bench.settings, text, NULL) == 0);
	bench.settings.connections = 8;
	bench_must(switch_open(&bench.sw, &bench.settings, NULL) == 0);
	bench.worker = worker_create(0, NULL);
	bench_must(bench.worker != NULL);
	bench.vm = vm_create(&bench.sw, &bench.settings.vms[0]);
	bench_must(bench.vm != NULL && worker_serve(bench.worker, bench.vm, NULL) == 0);
	snprintf(text, sizeof(text), "%s/vm.host_7", bench.folder);
	bench.listener = io_unix_listen(text, 0600, NULL);
	bench_must(bench.listener >= 0);
	bench.host = -1;
	atexit(bench_remove);
}

static void guest_packet(const uint8_t *step)
{
	static const uint64_t cids[] = { 3, 3, 3, 2, 4, UINT64_MAX };
	struct virtio_vsock_header header = {
		.src_cid = cids[step[1] % 6],
		.dst_cid = step[1] & 0x80 ? step[1] : VIRTIO_VSOCK_CID_HOST,
		.src_port = 100u + step[2] % 4,
		.dst_port = step[2] & 0x80 ? VM_HOST_PORT_FIRST + 1 + step[2] % 8 : 7,
		.type = step[3] & 0x80 ? step[3] : VIRTIO_VSOCK_TYPE_STREAM,
		.op = step[3] % 9,
		.flags = step[4],
		.buf_alloc = (uint32_t)step[5] << (step[6] % 25),
		.fwd_cnt = (uint32_t)step[7] << (step[8] % 25),
		.len = (uint32_t)step[9] << (step[10] % 10),
	};
	struct virtio_ring_desc parts[] = {
		{ .addr = PACKET_PLACE, .len = step[11] & 0x80 ? step[11] : sizeof(header) },
		{ .addr = DATA_PLACE, .len = step[11] & 0x40 ? step[12] : header.len },
	};

	if (step[0] & 0x80)
		memcpy((unsigned char *)&header + step[12] % 32, step + 4, 12);
	frontend_put(&bench.guest, PACKET_PLACE, &header, sizeof(header));
	frontend_offer(&bench.guest, VIRTIO_VSOCK_QUEUE_TRANSMIT, parts, parts[1].len ? 2 : 1);
	frontend_kick(&bench.guest, VIRTIO_VSOCK_QUEUE_TRANSMIT);
}

static void guest_buffer(const uint8_t *step)
{
	struct virtio_ring_desc parts[] = {
		{ .addr = FRONTEND_BUFFERS, .len = step[1], .flags = VIRTIO_RING_DESC_F_WRITE },
		{ .addr = DATA_PLACE, .len = step[2] * 16u, .flags = VIRTIO_RING_DESC_F_WRITE },
		{ .addr = FRONTEND_BUFFERS + 4096,
		  .len = step[3],
		  .flags = VIRTIO_RING_DESC_F_WRITE },
	};

	frontend_offer(&bench.guest, VIRTIO_VSOCK_QUEUE_RECEIVE, parts, 1 + step[4] % 3);
	frontend_kick(&bench.guest, VIRTIO_VSOCK_QUEUE_RECEIVE);
}

static void host_act(const uint8_t *step)
{
	static char data[4096];

	switch (step[1] % 6) {
	case 0:
		if (bench.host >= 0)
			close(bench.host);
		bench.host = accept4(bench.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		break;
	case 1:
		if (bench.host >= 0)
			close(bench.host);
		bench.host = io_unix_connect(bench.settings.vms[0].host_socket, NULL);
		if (bench.host >= 0)
			io_set_nonblock(bench.host, 1);
		break;
	case 2:
		send(bench.host, "CONNECT 101\n", 12, MSG_NOSIGNAL | MSG_DONTWAIT);
		break;
	case 3:
		send(bench.host, data, step[2] * 16u, MSG_NOSIGNAL | MSG_DONTWAIT);
		break;
	case 4:
		while (recv(bench.host, data, sizeof(data), MSG_DONTWAIT) > 0)
			continue;
		break;
	case 5:
		shutdown(bench.host, step[2] % 3);
		break;
	}
	bench_serve(NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	int fd;

	if (!bench.vm)
		bench_open();
	fd = io_unix_connect(bench.settings.vms[0].socket, NULL);
	bench_must(fd >= 0);
	io_set_nonblock(fd, 1);
	bench_serve(NULL);
	frontend_open(&bench.guest, FRONTEND_QEMU, bench_serve, NULL, fd);
	frontend_handshake(&bench.guest, VIRTIO_RING_F_EVENT_IDX);
	for (; bytes >= STEP_BYTES; data += STEP_BYTES, bytes -= STEP_BYTES) {
		switch (data[0] % 4) {
		case 0:
		case 1:
			guest_packet(data);
			break;
		case 2:
			guest_buffer(data);
			break;
		case 3:
			host_act(data);
			break;
		}
	}
	frontend_close(&bench.guest);
	bench_serve(NULL);
	bench_must(bench.vm->connection_count == 0 && bench.vm->remainders_bytes == 0);
	if (bench.host >= 0)
		close(bench.host);
	bench.host = -1;
	while ((fd = accept(bench.listener, NULL, NULL)) >= 0)
		close(fd);
	return 0;
}
