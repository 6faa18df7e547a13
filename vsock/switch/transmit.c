/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest to host: packets of the transmit queue.
 *
 * Hops: transmit_run pops a chain -> transmit_packet checks its header (the one gate for what a
 * guest writes) -> what is for another guest is flow.c's; else transmit_data hands the payload's
 * vectors, which lie in guest memory, to sendmsg(). The chain is returned as soon as its packet was
 * looked at. What a full socket refuses goes to the connection's remainder (vm.h says why there is
 * one) and transmit_resume sends it on; credit is given back by transmit_credit only when the
 * socket has room for a whole window. Messages are message.c's.
 */
#include <errno.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "lib/base/log.h"
#include "vsock/switch/capture.h"
#include "vsock/switch/vm.h"

#define TRANSMIT_TELL_NS	  2000000u /* a guest learns that late of chains returned */
#define TRANSMIT_TELL_SHARE	  4	   /* or when they are this part of its queue */
#define TRANSMIT_TELL_BYTES	  65536u   /* or so much: its sockets may wait for that memory */
#define TRANSMIT_PACKETS_PER_TURN 64

/* The payload of the packet at hand. */
struct transmit_payload {
	struct iovec *vectors;
	unsigned int count;
	uint32_t bytes;
};

/* The kernel calls a Unix socket writable under the same condition. */
static bool transmit_has_room(const struct connection *connection)
{
	int queued = 0;

	return message_waiting(connection) == 0 && ioctl(connection->fd, SIOCOUTQ, &queued) == 0 &&
	       queued <= connection->socket_bytes / 4;
}

static void transmit_wait_for_room(struct vm *vm, struct connection *connection, bool wait)
{
	uint32_t events = EPOLLIN | EPOLLRDHUP | EPOLLET;

	if (connection->waits_for_room == wait)
		return;
	connection->waits_for_room = wait;
	vhost_wait_change(&vm->worker->wait, connection->fd, wait ? events | EPOLLOUT : events,
			  VM_TAG(VM_TAG_CONNECTION, vm->slot, connection->slot));
}

/* Tells the guest that the host program has kept up. */
static void transmit_open_window(struct vm *vm, struct connection *connection)
{
	uint32_t taken = connection->received - connection->open_bytes;

	if (connection->announced == taken)
		return;
	connection->announced = taken;
	connection_owe(vm, connection, OWED_CREDIT);
}

/* Opens the window again once half of it is used and the host program has kept up. */
static void transmit_credit(struct vm *vm, struct connection *connection)
{
	if (connection->received - connection->announced < connection->window / 2)
		return;
	if (transmit_has_room(connection)) {
		transmit_open_window(vm, connection);
	} else {
		counter_add(&vm->counters.waits, 1);
		counter_add(&connection->from_guest.stalls, 1);
		transmit_wait_for_room(vm, connection, true);
	}
}

/* The host program receives no more: tell the guest, whose data is of no use from now on. */
static void transmit_refused(struct vm *vm, struct connection *connection)
{
	connection_drop_remainder(vm, connection);
	connection->announced = connection->received;
	connection->told |= VIRTIO_VSOCK_SHUTDOWN_RECEIVE;
	connection_owe(vm, connection, OWED_SHUTDOWN);
}

/* Keeps what the socket refused, from byte @done of the payload on; 0 or -errno. */
static int transmit_keep(struct vm *vm, struct connection *connection,
			 struct transmit_payload *payload, uint32_t done)
{
	unsigned int skipped = vhost_iovec_skip(payload->vectors, payload->count, done);
	uint32_t bytes = payload->bytes - done;
	void *to;

	if (bytes > VM_REMAINDERS_BYTES_MAX - vm->remainders_bytes)
		return -ENOBUFS;
	to = buffer_reserve(&connection->remainder, bytes);
	if (!to)
		return -errno;
	vhost_iovec_copy_in(to, bytes, payload->vectors + skipped, payload->count - skipped);
	connection->remainder.used += bytes;
	vm->remainders_bytes += bytes;
	vm->remainder_bytes_ever += bytes;
	return 0;
}

/* A part of a stream; 0 or -errno, as message_take() has it. */
static int transmit_stream(struct vm *vm, struct connection *connection,
			   struct transmit_payload *payload)
{
	struct msghdr message = { .msg_iov = payload->vectors, .msg_iovlen = payload->count };
	ssize_t sent = 0;

	if (payload->bytes == 0)
		return 0;
	if (connection->remainder.used == 0)
		sent = sendmsg(connection->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent < 0 && errno != EAGAIN && errno != EINTR && errno != ENOBUFS)
		return -errno;
	if (sent < 0)
		sent = 0;
	if ((uint32_t)sent == payload->bytes)
		return 0;
	return transmit_keep(vm, connection, payload, (uint32_t)sent);
}

static void transmit_data(struct vm *vm, struct connection *connection,
			  const struct virtio_vsock_header *header,
			  struct transmit_payload *payload)
{
	int status;

	if (connection->heard & VIRTIO_VSOCK_SHUTDOWN_SEND ||
	    payload->bytes > connection->window - (connection->received - connection->announced)) {
		connection_reset(vm, connection); /* more than it was allowed to send */
		return;
	}
	connection->received += payload->bytes;
	counter_add(&connection->from_guest.sent.packets, 1);
	counter_add(&connection->from_guest.sent.bytes, payload->bytes);
	if (connection->told & VIRTIO_VSOCK_SHUTDOWN_RECEIVE) {
		connection->announced = connection->received;
		return;
	}
	if (connection->type == VIRTIO_VSOCK_TYPE_SEQPACKET)
		status = message_take(vm, connection, payload->vectors, payload->count,
				      header->flags & VIRTIO_VSOCK_SEQ_EOM);
	else
		status = transmit_stream(vm, connection, payload);
	if (status == -ENOBUFS || status == -ENOMEM || status == -EMSGSIZE) {
		connection_reset(vm, connection);
	} else if (status < 0) {
		transmit_refused(vm, connection);
	} else {
		if (message_waiting(connection))
			transmit_wait_for_room(vm, connection, true);
		transmit_credit(vm, connection);
	}
}

/* What is left of a stream goes on; 0 or -errno: -EAGAIN when the socket is full again. */
static int transmit_send_kept(struct vm *vm, struct connection *connection)
{
	struct buffer *remainder = &connection->remainder;

	while (remainder->used) {
		ssize_t sent = send(connection->fd, remainder->data, remainder->used,
				    MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent < 0)
			return -errno;
		buffer_consume(remainder, (size_t)sent);
		vm->remainders_bytes -= (size_t)sent;
	}
	buffer_free(remainder);
	return 0;
}

void transmit_resume(struct vm *vm, struct connection *connection)
{
	int status = connection->type == VIRTIO_VSOCK_TYPE_SEQPACKET
			     ? message_send_kept(vm, connection)
			     : transmit_send_kept(vm, connection);

	if (status == -EAGAIN)
		return;
	if (connection->state == CONNECTION_DRAINING) {
		connection_free(vm, connection);
		return;
	}
	if (status < 0) {
		transmit_refused(vm, connection);
		return;
	}
	if (connection->heard & VIRTIO_VSOCK_SHUTDOWN_SEND)
		shutdown(connection->fd, SHUT_WR);
	if (!transmit_has_room(connection))
		return;
	transmit_wait_for_room(vm, connection, false);
	transmit_open_window(vm, connection);
}

/* The guest closes one direction, or both, which ends the connection with a reset. */
static void transmit_shutdown(struct vm *vm, struct connection *connection,
			      const struct virtio_vsock_header *header)
{
	connection->heard |= header->flags & VIRTIO_VSOCK_SHUTDOWN_BOTH;
	if (connection->heard == VIRTIO_VSOCK_SHUTDOWN_BOTH) {
		receive_reset(vm, header);
		connection_end(vm, connection);
		return;
	}
	if (connection->fd < 0)
		return;
	if (connection->heard & VIRTIO_VSOCK_SHUTDOWN_RECEIVE)
		shutdown(connection->fd, SHUT_RD);
	if (connection->heard & VIRTIO_VSOCK_SHUTDOWN_SEND)
		message_drop_open(vm, connection);
	if ((connection->heard & VIRTIO_VSOCK_SHUTDOWN_SEND) && connection->remainder.used == 0)
		shutdown(connection->fd, SHUT_WR);
}

static void transmit_request(struct vm *vm, const struct virtio_vsock_header *header)
{
	struct connection *connection =
		connection_create(vm, -1, header->type, CONNECTION_CONNECTING);

	if (!connection) {
		receive_reset(vm, header);
		return;
	}
	connection_set_ports(vm, connection, header->src_port, header->dst_port);
	connection->guest_window = header->buf_alloc;
	connection->guest_taken = header->fwd_cnt;
	host_connect(vm, connection);
}

/* A packet of a connection that exists, by its state. */
static void transmit_to_connection(struct vm *vm, struct connection *connection,
				   const struct virtio_vsock_header *header,
				   struct transmit_payload *payload)
{
	bool open = connection->state == CONNECTION_OPEN;

	connection->guest_window = header->buf_alloc;
	connection->guest_taken = header->fwd_cnt;
	if (open && connection->readable)
		connection_set_ready(vm, connection, true);

	switch (header->op) {
	case VIRTIO_VSOCK_OP_RW:
		if (open)
			transmit_data(vm, connection, header, payload);
		else if (connection->state != CONNECTION_CLOSING)
			connection_reset(vm, connection);
		break;
	case VIRTIO_VSOCK_OP_RESPONSE:
		if (connection->state == CONNECTION_REQUESTED && !(connection->owed & OWED_REQUEST))
			host_welcome(vm, connection);
		else
			connection_reset(vm, connection);
		break;
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		transmit_shutdown(vm, connection, header);
		break;
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
		break;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
		if (open)
			connection_owe(vm, connection, OWED_CREDIT);
		break;
	default: /* also a REQUEST for ports in use: the guest forgot them */
		connection_reset(vm, connection);
		break;
	}
}

/* A packet for the host. */
static void transmit_to_host(struct vm *vm, const struct virtio_vsock_header *header,
			     struct transmit_payload *payload)
{
	struct connection *connection = NULL;
	bool ours = header->type == VIRTIO_VSOCK_TYPE_STREAM ||
		    (header->type == VIRTIO_VSOCK_TYPE_SEQPACKET && vm->has_seqpacket);

	delivery_end(&vm->worker->delivery); /* no other VM is held over system calls */
	if (ours)
		connection = connection_find(vm, header->src_port, header->dst_port);
	if (connection && connection->type != header->type) {
		connection = NULL;
		ours = false;
	}
	if (connection && connection->state == CONNECTION_CLOSING &&
	    header->op == VIRTIO_VSOCK_OP_REQUEST) {
		/* The guest is done with the old one and uses its port again. */
		connection_free(vm, connection);
		connection = NULL;
	}
	if (header->op == VIRTIO_VSOCK_OP_RST) {
		if (connection)
			connection_end(vm, connection);
	} else if (connection) {
		transmit_to_connection(vm, connection, header, payload);
	} else if (ours && header->op == VIRTIO_VSOCK_OP_REQUEST) {
		transmit_request(vm, header);
	} else {
		receive_reset(vm, header);
	}
}

/* The gate for a packet's header; then by where it goes. */
static enum flow_verdict transmit_packet(struct vm *vm, const struct virtio_vsock_header *header,
					 struct transmit_payload *payload, uint16_t head)
{
	struct delivery_source source = { .vectors = payload->vectors, .count = payload->count };
	enum flow_verdict verdict = FLOW_TAKEN;

	if (header->src_cid != vm->own.cid) {
		if (header->op != VIRTIO_VSOCK_OP_RST)
			receive_reset(vm, header); /* a source that is not this guest */
	} else if (header->dst_cid == VIRTIO_VSOCK_CID_HOST) {
		transmit_to_host(vm, header, payload);
	} else {
		verdict = flow_packet(vm, header, &source, head);
	}
	if (verdict == FLOW_HELD)
		return verdict;
	counter_add(&vm->counters.sent.packets, 1);
	counter_add(&vm->counters.sent.bytes, header->len);
	limiter_charge(&vm->limiter, header->len);
	capture_packet(header, payload->vectors, payload->count);
	return verdict;
}

/* Splits a chain into header and payload; false when it is too short for what it says. */
static bool transmit_parse(struct vhost_chain *chain, struct virtio_vsock_header *header,
			   struct transmit_payload *payload)
{
	unsigned int skipped;
	size_t left;

	if (vhost_iovec_copy_in(header, sizeof(*header), chain->vectors, chain->readable_count) <
		    sizeof(*header) ||
	    header->len > chain->readable_bytes - sizeof(*header))
		return false;
	skipped = vhost_iovec_skip(chain->vectors, chain->readable_count, sizeof(*header));
	payload->vectors = chain->vectors + skipped;
	payload->bytes = header->len;
	payload->count = 0;
	left = header->len;
	while (left) {
		struct iovec *vector = &payload->vectors[payload->count++];

		if (vector->iov_len > left)
			vector->iov_len = left;
		left -= vector->iov_len;
	}
	return true;
}

bool transmit_may_pop(const struct vm *vm)
{
	return vm->reset_count < VM_RESETS_MAX && vm->limited_until_ns == 0 &&
	       vm->held_until_ns == 0;
}

bool transmit_is_pending(struct vm *vm)
{
	return transmit_may_pop(vm) &&
	       vhost_queue_has_work(vhost_device_queue(&vm->device, VIRTIO_VSOCK_QUEUE_TRANSMIT));
}

/* Ends the rest until *@until_ns when it is over; ms until then, -1 without one. */
static int transmit_rest_until(uint64_t *until_ns)
{
	uint64_t now_ns;

	if (*until_ns == 0)
		return -1;
	now_ns = vm_clock_ns();
	if (now_ns < *until_ns)
		return (int)((*until_ns - now_ns) / 1000000) + 1;
	*until_ns = 0;
	return -1;
}

int transmit_rest(struct vm *vm)
{
	int limited_ms = transmit_rest_until(&vm->limited_until_ns);
	int held_ms = transmit_rest_until(&vm->held_until_ns);

	return limited_ms > held_ms ? limited_ms : held_ms;
}

void transmit_tell(struct vm *vm)
{
	struct vhost_queue *queue = vhost_device_queue(&vm->device, VIRTIO_VSOCK_QUEUE_TRANSMIT);
	uint32_t untold = vhost_queue_untold(queue);

	if (untold && untold < queue->size / TRANSMIT_TELL_SHARE &&
	    vm->untold_bytes < TRANSMIT_TELL_BYTES) {
		if (vm->tell_at_ns == 0)
			vm->tell_at_ns = vm_clock_ns() + TRANSMIT_TELL_NS;
		if (vm_clock_ns() < vm->tell_at_ns)
			return;
	}
	vm->tell_at_ns = 0;
	vm->untold_bytes = 0;
	vhost_queue_notify(queue);
}

int transmit_tell_late(struct vm *vm)
{
	if (vm->tell_at_ns)
		transmit_tell(vm);
	return vm->tell_at_ns ? (int)(TRANSMIT_TELL_NS / 1000000) : -1;
}

/* Whether the bandwidth limit lets the next packet pass; else the queue rests. */
static bool transmit_is_within_limit(struct vm *vm)
{
	uint64_t wait_ns = limiter_wait_ns(&vm->limiter, vm_clock_ns);

	if (wait_ns == 0)
		return true;
	vm->limited_until_ns = vm_clock_ns() + wait_ns;
	counter_add(&vm->counters.limited, 1);
	return false;
}

void transmit_run(struct vm *vm)
{
	struct vhost_queue *queue = vhost_device_queue(&vm->device, VIRTIO_VSOCK_QUEUE_TRANSMIT);
	struct virtio_vsock_header header;
	struct transmit_payload payload;
	enum flow_verdict verdict;

	for (int i = 0; i < TRANSMIT_PACKETS_PER_TURN && transmit_is_pending(vm) &&
			transmit_is_within_limit(vm);
	     i++) {
		struct vhost_chain *chain = &vm->worker->chains[0];
		int popped =
			vhost_queue_pop(queue, chain, vm->worker->vectors, VHOST_CHAIN_VECTORS_MAX);

		if (popped <= 0)
			break;
		/* A chain too short for a packet is returned like any other: nobody to answer. */
		verdict = FLOW_TAKEN;
		payload.bytes = 0;
		if (transmit_parse(chain, &header, &payload))
			verdict = transmit_packet(vm, &header, &payload, chain->head);
		if (verdict == FLOW_HELD) {
			vhost_queue_unpop(queue, 1);
		} else if (verdict == FLOW_TAKEN) {
			vm->untold_bytes += payload.bytes;
			vhost_queue_push(queue, chain->head, 0);
		}
	}
	delivery_end(&vm->worker->delivery);
	transmit_tell(vm);
}
