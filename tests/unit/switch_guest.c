/* SPDX-License-Identifier: Apache-2.0 */
/* A guest's vsock driver for tests; see switch_guest.h. */
#include "tests/unit/switch_guest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#define SLOT_BYTES 8192u /* of the place of a packet to send */

void guest_post_only(struct guest *guest, unsigned int count)
{
	while (count--) {
		uint64_t slot =
			guest->frontend.queues[RECEIVE].next_descriptor % FRONTEND_QUEUE_SIZE;
		struct virtio_ring_desc part = { .addr = FRONTEND_BUFFERS + slot * 4096,
						 .len = BUFFER_BYTES,
						 .flags = VIRTIO_RING_DESC_F_WRITE };

		frontend_offer(&guest->frontend, RECEIVE, &part, 1);
	}
}

void guest_post(struct guest *guest, unsigned int count)
{
	guest_post_only(guest, count);
	frontend_kick(&guest->frontend, RECEIVE);
}

/* Puts a packet into the transmit queue; its head. Does not kick. */
uint16_t guest_offer(struct guest *guest, const struct virtio_vsock_header *header,
		     const void *payload)
{
	uint64_t slot = guest->frontend.queues[TRANSMIT].next_descriptor % FRONTEND_QUEUE_SIZE;
	uint64_t place = FRONTEND_BORDER + slot * SLOT_BYTES;
	struct virtio_ring_desc part = { .addr = place, .len = sizeof(*header) + header->len };

	frontend_put(&guest->frontend, place, header, sizeof(*header));
	frontend_put(&guest->frontend, place + sizeof(*header), payload, header->len);
	return frontend_offer(&guest->frontend, TRANSMIT, &part, 1);
}

struct virtio_vsock_header guest_header(const struct guest *guest, const struct guest *to,
					uint16_t op, uint32_t port, uint32_t to_port)
{
	return (struct virtio_vsock_header){ .src_cid = guest->cid,
					     .dst_cid = to->cid,
					     .src_port = port,
					     .dst_port = to_port,
					     .type = guest->type,
					     .op = op,
					     .buf_alloc = guest->window,
					     .fwd_cnt = guest->taken };
}

void guest_send(struct guest *guest, const struct guest *to, uint16_t op, uint32_t port,
		uint32_t to_port, uint32_t flags)
{
	struct virtio_vsock_header header = guest_header(guest, to, op, port, to_port);

	header.flags = flags;
	guest_offer(guest, &header, "");
	frontend_kick(&guest->frontend, TRANSMIT);
}

uint16_t guest_offer_data(struct guest *guest, const struct guest *to, uint32_t port,
			  uint32_t to_port, const void *data, uint32_t bytes, uint32_t flags)
{
	struct virtio_vsock_header header =
		guest_header(guest, to, VIRTIO_VSOCK_OP_RW, port, to_port);

	header.len = bytes;
	header.flags = flags;
	return guest_offer(guest, &header, data);
}

void guest_send_data(struct guest *guest, const struct guest *to, uint32_t port, uint32_t to_port,
		     const void *data, uint32_t bytes)
{
	guest_offer_data(guest, to, port, to_port, data, bytes, 0);
	frontend_kick(&guest->frontend, TRANSMIT);
}

/* The next packet for the guest; whether there is one. Its buffer is not posted again. */
bool guest_receive(struct guest *guest, struct virtio_vsock_header *header, void *payload)
{
	struct virtio_ring_used_elem used;
	uint64_t place;

	if (!frontend_used(&guest->frontend, RECEIVE, &used))
		return false;
	place = guest->frontend.queues[RECEIVE].descriptors[used.id].addr;
	frontend_get(&guest->frontend, place, header, sizeof(*header));
	assert_int_equal(used.len, sizeof(*header) + header->len);
	assert_int_equal(header->dst_cid, guest->cid);
	if (header->len)
		frontend_get(&guest->frontend, place + sizeof(*header), payload, header->len);
	guest->taken += header->len;
	return true;
}

void guest_expect(struct guest *guest, uint16_t op, struct virtio_vsock_header *header)
{
	unsigned char payload[BUFFER_BYTES];

	assert_true(guest_receive(guest, header, payload));
	assert_int_equal(header->op, op);
	assert_int_equal(header->len, 0);
}

void guest_expect_nothing(struct guest *guest)
{
	struct virtio_vsock_header header;
	unsigned char payload[BUFFER_BYTES];

	assert_false(guest_receive(guest, &header, payload));
}

unsigned int guest_returned(struct guest *guest)
{
	struct virtio_ring_used_elem used;
	unsigned int count = 0;

	while (frontend_used(&guest->frontend, TRANSMIT, &used))
		count++;
	return count;
}

/* Connects port @port of @from to @to_port of @to; both got what is due, two buffers are used. */
void connect_guests(struct guest *from, struct guest *to, uint32_t port, uint32_t to_port)
{
	struct virtio_vsock_header header;

	guest_post(from, 1);
	guest_post(to, 1);
	guest_send(from, to, VIRTIO_VSOCK_OP_REQUEST, port, to_port, 0);
	guest_expect(to, VIRTIO_VSOCK_OP_REQUEST, &header);
	assert_int_equal(header.src_cid, from->cid);
	assert_int_equal(header.src_port, port);
	assert_int_equal(header.dst_port, to_port);
	assert_int_equal(header.type, from->type);
	assert_int_equal(header.buf_alloc, from->window);
	guest_send(to, from, VIRTIO_VSOCK_OP_RESPONSE, to_port, port, 0);
	guest_expect(from, VIRTIO_VSOCK_OP_RESPONSE, &header);
	assert_int_equal(header.src_cid, to->cid);
	guest_returned(from);
	guest_returned(to);
}

unsigned char pattern(uint64_t at)
{
	return (unsigned char)((at * 0x9e3779b97f4a7c15u) >> 56);
}

void fill(unsigned char *to, uint64_t at, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		to[i] = pattern(at + i);
}

/* Reads packets of the flow from @port until there are none; how many bytes of the pattern came. */
uint64_t guest_read_pattern(struct guest *guest, uint32_t port, uint64_t at)
{
	unsigned char payload[BUFFER_BYTES];
	struct virtio_vsock_header header;

	while (guest_receive(guest, &header, payload)) {
		if (header.src_port != port || header.op != VIRTIO_VSOCK_OP_RW)
			continue;
		for (uint32_t i = 0; i < header.len; i++, at++)
			assert_int_equal(payload[i], pattern(at));
	}
	return at;
}
