/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two hostile guests: any packets in the transmit queue, any receive buffers, for each other and
 * for a host program that accepts, writes, closes.
 *
 * The input is a list of steps of 16 bytes: a packet whose fields are taken from small sets, so
 * that connections come into being; raw header bytes; a receive buffer of some shape; or something
 * that the host program does, or the VMM. The upper bits of the first byte say which guest it is.
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

#define GUESTS	     2
#define CID_FIRST    3
#define STEP_BYTES   16
#define STEPS_MAX    256
#define PACKET_PLACE 0xb0000u
#define DATA_PLACE   (FRONTEND_BORDER - 1000)

struct bench {
	char folder[64];
	struct settings settings;
	struct vsock_switch sw;
	struct worker *worker;
	struct vm *vms[GUESTS];
	struct frontend guests[GUESTS];
	int listener, messages_listener; /* at ports 7 and 8 */
	int host;			 /* the last connection accepted */
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
	while (vm_is_pending(bench.vms[0]) || vm_is_pending(bench.vms[1]))
		worker_turn(bench.worker, 0);
}

static void bench_remove(void)
{
	char path[128];

	switch_close(&bench.sw); /* and its worker */
	snprintf(path, sizeof(path), "%s/vm.host_7", bench.folder);
	unlink(path);
	snprintf(path, sizeof(path), "%s/vm.host_8", bench.folder);
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
	bench.settings.connections = 8;
	bench_must(switch_open(&bench.sw, &bench.settings, NULL) == 0);
	bench.sw.shared[0] = bench.worker = worker_create(0, NULL);
	bench_must(bench.worker != NULL);
	bench.settings.threads = 1;
	for (unsigned int i = 0; i < GUESTS; i++) {
		snprintf(text, sizeof(text), "guest%u,cid=%u,socket=%s/vm%s", i, CID_FIRST + i,
			 bench.folder, i ? "1" : "");
		bench_must(settings_add_vm(&bench.settings, text, NULL) == 0);
		bench_must(switch_vm_add(&bench.sw, &bench.settings.vms[i], NULL) == 0);
		bench.vms[i] = bench.sw.vms[i];
	}
	snprintf(text, sizeof(text), "%s/vm.host_7", bench.folder);
	bench.listener = io_unix_listen(text, 0600, NULL);
	bench_must(bench.listener >= 0);
	snprintf(text, sizeof(text), "%s/vm.host_8", bench.folder);
	bench.messages_listener = io_unix_listen_packets(text, 0600, NULL);
	bench_must(bench.messages_listener >= 0);
	bench.host = -1;
	atexit(bench_remove);
}

static void guest_packet(unsigned int guest, const uint8_t *step)
{
	static const uint64_t cids[] = { 3, 4, 3, 4, 2, UINT64_MAX };
	const uint64_t own = CID_FIRST + guest;
	bool to_host = step[1] & 0x40, to_messages = step[1] & 0x20;
	struct virtio_vsock_header header = {
		.src_cid = step[1] % 16 == 15 ? cids[step[2] % 6] : own,
		.dst_cid = step[1] & 0x80 ? step[1]
			   : to_host	  ? VIRTIO_VSOCK_CID_HOST
					  : 7 - own,
		.src_port = 100u + step[2] % 4,
		.dst_port = step[2] & 0x80 ? VM_HOST_PORT_FIRST + 1 + step[2] % 8
			    : to_host	   ? 7u + to_messages
					   : 100u + step[2] / 4 % 4,
		.type = step[3] & 0x80 ? step[3] % 4
			: to_messages  ? VIRTIO_VSOCK_TYPE_SEQPACKET
				       : VIRTIO_VSOCK_TYPE_STREAM,
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
	frontend_put(&bench.guests[guest], PACKET_PLACE, &header, sizeof(header));
	frontend_offer(&bench.guests[guest], VIRTIO_VSOCK_QUEUE_TRANSMIT, parts,
		       parts[1].len ? 2 : 1);
	frontend_kick(&bench.guests[guest], VIRTIO_VSOCK_QUEUE_TRANSMIT);
}

static void guest_buffer(unsigned int guest, const uint8_t *step)
{
	struct virtio_ring_desc parts[] = {
		{ .addr = FRONTEND_BUFFERS, .len = step[1], .flags = VIRTIO_RING_DESC_F_WRITE },
		{ .addr = DATA_PLACE, .len = step[2] * 16u, .flags = VIRTIO_RING_DESC_F_WRITE },
		{ .addr = FRONTEND_BUFFERS + 4096,
		  .len = step[3],
		  .flags = VIRTIO_RING_DESC_F_WRITE },
	};

	frontend_offer(&bench.guests[guest], VIRTIO_VSOCK_QUEUE_RECEIVE, parts, 1 + step[4] % 3);
	frontend_kick(&bench.guests[guest], VIRTIO_VSOCK_QUEUE_RECEIVE);
}

/* A descriptor or an index that changes under the switch's hands; the VMM pauses, or tells anew. */
static void guest_disturb(unsigned int guest, const uint8_t *step)
{
	struct frontend *frontend = &bench.guests[guest];
	struct frontend_queue *queue = &frontend->queues[step[1] % 2];
	uint16_t base;

	switch (step[1] / 2 % 4) {
	case 0:
		memcpy((unsigned char *)&queue->descriptors[step[2] % FRONTEND_QUEUE_SIZE] +
			       step[3] % 12,
		       step + 4, 4);
		break;
	case 1:
		frontend_offer_head(frontend, step[1] % 2, step[2]);
		frontend_kick(frontend, step[1] % 2);
		break;
	case 2:
		frontend_share_memory(frontend);
		break;
	case 3:
		base = frontend_stop_queue(frontend, step[1] % 2);
		frontend_start_queue(frontend, step[1] % 2, base + (step[2] == 7));
		break;
	}
	bench_serve(NULL);
}

static void host_act(const uint8_t *step)
{
	static char data[4096];
	char path[128];

	switch (step[1] % 6) {
	case 0:
		if (bench.host >= 0)
			close(bench.host);
		bench.host = accept4(step[2] & 1 ? bench.messages_listener : bench.listener, NULL,
				     NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		break;
	case 1:
		if (bench.host >= 0)
			close(bench.host);
		snprintf(path, sizeof(path), "%s%s", bench.vms[0]->own.host_socket,
			 VM_MESSAGES_SUFFIX);
		bench.host = step[2] & 1 ? io_unix_connect_packets(path, NULL)
					 : io_unix_connect(bench.vms[0]->own.host_socket, NULL);
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

static void guest_attach(unsigned int guest)
{
	int fd = io_unix_connect(bench.vms[guest]->own.socket, NULL);

	bench_must(fd >= 0);
	io_set_nonblock(fd, 1);
	bench_serve(NULL);
	frontend_open(&bench.guests[guest], FRONTEND_QEMU, bench_serve, NULL, fd);
	frontend_handshake(&bench.guests[guest],
			   VIRTIO_RING_F_EVENT_IDX | VIRTIO_VSOCK_F_SEQPACKET);
}

static void bench_step(const uint8_t *step)
{
	unsigned int guest = step[0] / 8 % GUESTS;

	switch (step[0] % 8) {
	case 0:
	case 1:
	case 2:
	case 3:
		guest_packet(guest, step);
		break;
	case 4:
	case 5:
		guest_buffer(guest, step);
		break;
	case 6:
		guest_disturb(guest, step);
		break;
	case 7:
		host_act(step);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	int fd;

	if (!bench.worker)
		bench_open();
	for (unsigned int i = 0; i < GUESTS; i++)
		guest_attach(i);
	if (bytes > STEPS_MAX * STEP_BYTES) /* more of them would only make it slow */
		bytes = STEPS_MAX * STEP_BYTES;
	for (; bytes >= STEP_BYTES; data += STEP_BYTES, bytes -= STEP_BYTES)
		bench_step(data);
	for (unsigned int i = 0; i < GUESTS; i++)
		frontend_close(&bench.guests[i]);
	bench_serve(NULL);
	for (unsigned int i = 0; i < GUESTS; i++)
		bench_must(bench.vms[i]->connection_count == 0 && bench.vms[i]->flow_count == 0 &&
			   bench.vms[i]->ends_there == 0 && bench.vms[i]->kept_total == 0 &&
			   bench.vms[i]->remainders_bytes == 0);
	if (bench.host >= 0)
		close(bench.host);
	bench.host = -1;
	while ((fd = accept(bench.listener, NULL, NULL)) >= 0)
		close(fd);
	while ((fd = accept(bench.messages_listener, NULL, NULL)) >= 0)
		close(fd);
	return 0;
}
