/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's vsock driver in the test: packets over a vhost_frontend. What is not as expected ends
 * the test at hand.
 */
#ifndef CAUSEWAY_TESTS_UNIT_SWITCH_GUEST_H
#define CAUSEWAY_TESTS_UNIT_SWITCH_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/virtio-vsock.h"
#include "tests/unit/vhost_frontend.h"

#define RECEIVE	     VIRTIO_VSOCK_QUEUE_RECEIVE
#define TRANSMIT     VIRTIO_VSOCK_QUEUE_TRANSMIT
#define BUFFER_BYTES 3776u /* of a receive buffer, as Linux guests have them */
#define WINDOW	     (256u << 10)
#define GUEST_FEATURES \
	(VIRTIO_VSOCK_F_SEQPACKET | VIRTIO_RING_F_EVENT_IDX | VIRTIO_RING_F_INDIRECT_DESC)

struct guest {
	void *bench;   /* the test's */
	struct vm *vm; /* the test's, too */
	uint64_t cid;
	struct frontend frontend;
	bool is_attached;
	uint32_t taken; /* fwd_cnt that it tells */
	uint32_t window;
	uint16_t type;
};

/* guest_post_only - make @count receive buffers available; guest_post kicks, too */
void guest_post_only(struct guest *guest, unsigned int count);
void guest_post(struct guest *guest, unsigned int count);

/* guest_offer - put a packet into the transmit queue, without a kick; its head */
uint16_t guest_offer(struct guest *guest, const struct virtio_vsock_header *header,
		     const void *payload);
uint16_t guest_offer_data(struct guest *guest, const struct guest *to, uint32_t port,
			  uint32_t to_port, const void *data, uint32_t bytes, uint32_t flags);
struct virtio_vsock_header guest_header(const struct guest *guest, const struct guest *to,
					uint16_t op, uint32_t port, uint32_t to_port);
/* guest_send, guest_send_data - a packet without and with data, and a kick */
void guest_send(struct guest *guest, const struct guest *to, uint16_t op, uint32_t port,
		uint32_t to_port, uint32_t flags);
void guest_send_data(struct guest *guest, const struct guest *to, uint32_t port, uint32_t to_port,
		     const void *data, uint32_t bytes);

/* guest_receive - the next packet, if there is one; its buffer is not posted again */
bool guest_receive(struct guest *guest, struct virtio_vsock_header *header, void *payload);
void guest_expect(struct guest *guest, uint16_t op, struct virtio_vsock_header *header);
void guest_expect_nothing(struct guest *guest);
/* guest_returned - how many chains of the transmit queue came back since the last look */
unsigned int guest_returned(struct guest *guest);

/* connect_guests - a flow; uses up one receive buffer of each */
void connect_guests(struct guest *from, struct guest *to, uint32_t port, uint32_t to_port);

/* A stream of bytes that both ends know. */
unsigned char pattern(uint64_t at);
void fill(unsigned char *to, uint64_t at, size_t bytes);
/* guest_read_pattern - read what there is of the flow from @port; where the pattern is then */
uint64_t guest_read_pattern(struct guest *guest, uint32_t port, uint64_t at);

#endif
