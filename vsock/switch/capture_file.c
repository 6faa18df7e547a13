/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pcap with vsockmon records (link type 271); see capture_file.h.
 *
 * A record is proto/vsockmon.h's header, the packet's own virtio header, and its payload. Two
 * buffers: workers append to one under the lock, the writer swaps them and writes the other
 * without it.
 *
 * States, under the lock: closed (fd < 0, no thread) -> running -> stopping (the writer empties
 * the buffer and ends) -> closed. A disk that fails makes the writer drop what comes.
 */
#include "vsock/switch/capture_file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/buffer.h"
#include "lib/base/io.h"
#include "lib/base/log.h"
#include "proto/vsockmon.h"
#include "vsock/switch/capture.h"

#define CAPTURE_BUFFER_BYTES (16u << 20)
#define CAPTURE_SNAP_BYTES   (256u << 10) /* of one packet; a payload has 64 KiB at most */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t filled;
	struct buffer incoming; /* the workers' */
	struct buffer outgoing; /* the writer's, without the lock */
	bool stopping, failed;
	int fd;
	pthread_t writer;
	uint64_t taken, lost;
} capture = { .lock = PTHREAD_MUTEX_INITIALIZER, .filled = PTHREAD_COND_INITIALIZER, .fd = -1 };

static uint16_t capture_operation(uint16_t op)
{
	switch (op) {
	case VIRTIO_VSOCK_OP_REQUEST:
	case VIRTIO_VSOCK_OP_RESPONSE:
		return VSOCKMON_OP_CONNECT;
	case VIRTIO_VSOCK_OP_RST:
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		return VSOCKMON_OP_DISCONNECT;
	case VIRTIO_VSOCK_OP_RW:
		return VSOCKMON_OP_PAYLOAD;
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
		return VSOCKMON_OP_CONTROL;
	default:
		return VSOCKMON_OP_UNKNOWN;
	}
}

/* The record of one packet behind @at, for which there is room. */
static void capture_record(unsigned char *at, const struct virtio_vsock_header *header,
			   const struct iovec *payload, unsigned int count, uint32_t kept)
{
	struct pcap_record record = { .captured_bytes = kept, .original_bytes = 0 };
	struct vsockmon_header monitor = {
		.src_cid = header->src_cid,
		.dst_cid = header->dst_cid,
		.src_port = header->src_port,
		.dst_port = header->dst_port,
		.op = capture_operation(header->op),
		.transport = VSOCKMON_TRANSPORT_VIRTIO,
		.transport_bytes = sizeof(*header),
	};
	uint32_t left = kept - (uint32_t)(sizeof(monitor) + sizeof(*header));
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	record.seconds = (uint32_t)now.tv_sec;
	record.nanoseconds = (uint32_t)now.tv_nsec;
	record.original_bytes = (uint32_t)(sizeof(monitor) + sizeof(*header)) +
				(header->op == VIRTIO_VSOCK_OP_RW ? header->len : 0);
	if (record.original_bytes < kept)
		record.original_bytes = kept;
	memcpy(at, &record, sizeof(record));
	at += sizeof(record);
	memcpy(at, &monitor, sizeof(monitor));
	at += sizeof(monitor);
	memcpy(at, header, sizeof(*header));
	at += sizeof(*header);
	for (unsigned int i = 0; i < count && left; i++) {
		uint32_t part = payload[i].iov_len < left ? (uint32_t)payload[i].iov_len : left;

		memcpy(at, payload[i].iov_base, part);
		at += part;
		left -= part;
	}
}

/* Called by workers; see capture.h. */
static void capture_take(const struct virtio_vsock_header *header, const struct iovec *payload,
			 unsigned int count)
{
	uint64_t bytes = 0;
	uint32_t kept;
	unsigned char *room = NULL;

	for (unsigned int i = 0; i < count; i++)
		bytes += payload[i].iov_len;
	if (bytes > header->len)
		bytes = header->len; /* buffers of a receiver may be longer than the packet */
	if (bytes > CAPTURE_SNAP_BYTES - 4096)
		bytes = CAPTURE_SNAP_BYTES - 4096;
	kept = (uint32_t)(sizeof(struct vsockmon_header) + sizeof(*header) + bytes);
	pthread_mutex_lock(&capture.lock);
	if (capture.fd >= 0 && !capture.stopping && !capture.failed)
		room = buffer_reserve(&capture.incoming, sizeof(struct pcap_record) + kept);
	if (room) {
		capture_record(room, header, payload, count, kept);
		capture.incoming.used += sizeof(struct pcap_record) + kept;
		capture.taken++;
		pthread_cond_signal(&capture.filled);
	} else {
		capture.lost++;
	}
	pthread_mutex_unlock(&capture.lock);
}

static void *capture_write(void *argument)
{
	int status = 0;

	(void)argument;
	pthread_mutex_lock(&capture.lock);
	while (capture.incoming.used || !capture.stopping) {
		struct buffer swapped = capture.incoming;

		if (!capture.incoming.used) {
			pthread_cond_wait(&capture.filled, &capture.lock);
			continue;
		}
		capture.incoming = capture.outgoing;
		capture.outgoing = swapped;
		capture.incoming.used = 0;
		pthread_mutex_unlock(&capture.lock);
		if (status == 0)
			status = io_write_full(capture.fd, capture.outgoing.data,
					       capture.outgoing.used);
		pthread_mutex_lock(&capture.lock);
		if (status < 0 && !capture.failed) {
			log_error("the capture ends early: %s", strerror(-status));
			capture.failed = true;
		}
	}
	pthread_mutex_unlock(&capture.lock);
	return NULL;
}

int capture_file_start(const char *path, struct error *error)
{
	static const struct pcap_file head = {
		.magic = PCAP_MAGIC_NANOSECONDS,
		.version_major = 2,
		.version_minor = 4,
		.snap_bytes = CAPTURE_SNAP_BYTES,
		.link_type = VSOCKMON_LINK_TYPE,
	};
	int fd, status;

	if (capture.fd >= 0)
		return error_set(error, -EBUSY, "a capture runs already; end it first");
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return error_set(error, -errno, "cannot write '%s': %s", path, strerror(errno));
	status = io_write_full(fd, &head, sizeof(head));
	if (status < 0) {
		close(fd);
		return error_set(error, status, "cannot write '%s': %s", path, strerror(-status));
	}
	pthread_mutex_lock(&capture.lock);
	buffer_init(&capture.incoming, CAPTURE_BUFFER_BYTES);
	buffer_init(&capture.outgoing, CAPTURE_BUFFER_BYTES);
	capture.stopping = capture.failed = false;
	capture.taken = capture.lost = 0;
	capture.fd = fd;
	pthread_mutex_unlock(&capture.lock);
	status = pthread_create(&capture.writer, NULL, capture_write, NULL);
	if (status) {
		capture.fd = -1;
		close(fd);
		return error_set(error, -status, "no thread for the capture: %s", strerror(status));
	}
	__atomic_store_n(&capture_current, capture_take, __ATOMIC_RELEASE);
	log_info("capturing into '%s'", path);
	return 0;
}

void capture_file_stop(void)
{
	if (capture.fd < 0)
		return;
	__atomic_store_n(&capture_current, NULL, __ATOMIC_RELEASE);
	pthread_mutex_lock(&capture.lock);
	capture.stopping = true;
	pthread_cond_signal(&capture.filled);
	pthread_mutex_unlock(&capture.lock);
	pthread_join(capture.writer, NULL);
	/* A worker that was on its way into capture_take() finds no file. */
	pthread_mutex_lock(&capture.lock);
	close(capture.fd);
	capture.fd = -1;
	buffer_free(&capture.incoming);
	buffer_free(&capture.outgoing);
	pthread_mutex_unlock(&capture.lock);
	log_info("the capture has ended: %llu packets, %llu more did not fit",
		 (unsigned long long)capture.taken, (unsigned long long)capture.lost);
}

int capture_file_count(uint64_t *taken, uint64_t *lost)
{
	int running;

	pthread_mutex_lock(&capture.lock);
	*taken = capture.taken;
	*lost = capture.lost;
	running = capture.fd >= 0;
	pthread_mutex_unlock(&capture.lock);
	return running;
}
