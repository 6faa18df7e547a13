/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host to guest: filling the guest's receive buffers.
 *
 * Hops: receive_run takes the connections that have something for the guest in turn -> packets
 * without data go out one by one (receive_owed), data by receive_data: it pops as many receive
 * buffers as the guest's credit and WORKER_CHAINS_MAX allow, reads the socket straight into
 * them, leaving room for a header in each, writes the headers, and gives unused buffers back.
 * Nothing is read that has no place in the guest; the rest stays in the socket, where it holds
 * back the host program. A message (SOCK_SEQPACKET) that is larger than that is looked at in parts
 * (SO_PEEK_OFF) and taken out of the socket with its last.
 */
#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "lib/base/log.h"
#include "vsock/switch/capture.h"
#include "vsock/switch/vm.h"

#define RECEIVE_ROUNDS_PER_TURN 64
#define RECEIVE_BYTES_PER_ROUND (64u << 10)

static struct vhost_queue *receive_queue(struct vm *vm)
{
	return vhost_device_queue(&vm->device, VIRTIO_VSOCK_QUEUE_RECEIVE);
}

/* The next receive buffer that can hold a packet; whether there is one. */
static bool receive_pop(struct vm *vm, struct vhost_chain *chain, struct iovec *vectors,
			unsigned int capacity)
{
	struct vhost_queue *queue = receive_queue(vm);
	int popped = vhost_queue_pop(queue, chain, vectors, capacity);

	if (popped <= 0)
		return false;
	if (chain->readable_count == 0 &&
	    chain->writable_bytes >= sizeof(struct virtio_vsock_header))
		return true;
	vhost_queue_unpop(queue, 1);
	vhost_queue_break(queue);
	return false;
}

static void receive_header(const struct vm *vm, const struct connection *connection, uint16_t op,
			   struct virtio_vsock_header *header)
{
	*header = (struct virtio_vsock_header){
		.src_cid = VIRTIO_VSOCK_CID_HOST,
		.dst_cid = vm->own.cid,
		.src_port = connection->host_port,
		.dst_port = connection->guest_port,
		.type = connection->type,
		.op = op,
		.buf_alloc = connection->window,
		.fwd_cnt = connection->announced,
	};
}

bool receive_put(struct vm *vm, const struct virtio_vsock_header *header)
{
	struct vhost_chain *chain = &vm->worker->chains[0];

	if (!receive_pop(vm, chain, vm->worker->vectors, VHOST_CHAIN_VECTORS_MAX))
		return false;
	vhost_iovec_copy_out(chain->vectors, chain->writable_count, header, sizeof(*header));
	vhost_queue_push(receive_queue(vm), chain->head, sizeof(*header));
	counter_add(&vm->counters.received.packets, 1);
	capture_packet(header, NULL, 0);
	return true;
}

void receive_reset(struct vm *vm, const struct virtio_vsock_header *header)
{
	struct vm_reset *reset;

	if (vm->reset_count == VM_RESETS_MAX)
		return; /* transmit_run() stops before */
	reset = &vm->resets[(vm->reset_first + vm->reset_count++) % VM_RESETS_MAX];
	reset->src_cid = header->dst_cid;
	reset->src_port = header->dst_port;
	reset->dst_port = header->src_port;
	reset->type = header->type;
}

static bool receive_put_reset(struct vm *vm)
{
	const struct vm_reset *reset = &vm->resets[vm->reset_first];
	struct virtio_vsock_header header = {
		.src_cid = reset->src_cid,
		.dst_cid = vm->own.cid,
		.src_port = reset->src_port,
		.dst_port = reset->dst_port,
		.type = reset->type,
		.op = VIRTIO_VSOCK_OP_RST,
	};

	if (!receive_put(vm, &header))
		return false;
	vm->reset_first = (vm->reset_first + 1) % VM_RESETS_MAX;
	vm->reset_count--;
	return true;
}

/* What a packet owed becomes, and what follows once it is in the guest's buffer. */
static void receive_owed(struct vm *vm, struct connection *connection)
{
	static const struct {
		enum connection_owed owed;
		enum virtio_vsock_op op;
	} order[] = {
		{ OWED_RESET, VIRTIO_VSOCK_OP_RST },
		{ OWED_REQUEST, VIRTIO_VSOCK_OP_REQUEST },
		{ OWED_RESPONSE, VIRTIO_VSOCK_OP_RESPONSE },
		{ OWED_CREDIT, VIRTIO_VSOCK_OP_CREDIT_UPDATE },
		{ OWED_SHUTDOWN, VIRTIO_VSOCK_OP_SHUTDOWN },
	};
	struct virtio_vsock_header header;
	unsigned int i = 0;

	while (!(connection->owed & order[i].owed))
		i++;
	receive_header(vm, connection, order[i].op, &header);
	if (order[i].owed == OWED_SHUTDOWN)
		header.flags = connection->told;
	if (!receive_put(vm, &header))
		return;
	connection->owed &= ~order[i].owed;
	if (order[i].owed == OWED_RESET) {
		connection_free(vm, connection);
	} else if (order[i].owed == OWED_SHUTDOWN &&
		   connection->told == VIRTIO_VSOCK_SHUTDOWN_BOTH) {
		connection_close_host(vm, connection);
		connection_set_state(vm, connection, CONNECTION_CLOSING);
	}
}

/* The host program sends no more; if it closed altogether, it receives no more either. */
static void receive_end(struct vm *vm, struct connection *connection)
{
	struct pollfd poll_fd = { .fd = connection->fd };
	unsigned int told = connection->told | VIRTIO_VSOCK_SHUTDOWN_SEND;

	if (poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & (POLLHUP | POLLERR)))
		told = VIRTIO_VSOCK_SHUTDOWN_BOTH;
	connection->readable = false;
	if (told == connection->told)
		return;
	connection->told = told;
	connection_owe(vm, connection, OWED_SHUTDOWN);
}

/* What the guest may still be sent. */
static uint32_t receive_credit(const struct connection *connection)
{
	uint32_t flying = connection->sent - connection->guest_taken;

	return connection->guest_window > flying ? connection->guest_window - flying : 0;
}

/**
 * receive_gather - pop buffers for at most *@bytes bytes of payload
 * @bytes: in and out: cut down to what the buffers hold
 * @payload_count: out, vectors in vm->worker->payload, which hold *@bytes bytes together
 *
 * Return: how many chains were popped into vm->worker->chains.
 */
static unsigned int receive_gather(struct vm *vm, uint32_t *bytes, unsigned int *payload_count)
{
	unsigned int chains = 0, used = 0, parts = 0;
	uint32_t left = *bytes;

	while (left && chains < WORKER_CHAINS_MAX && used < VHOST_CHAIN_VECTORS_MAX) {
		struct vhost_chain *chain = &vm->worker->chains[chains];
		unsigned int skipped;

		if (!receive_pop(vm, chain, vm->worker->vectors + used,
				 VHOST_CHAIN_VECTORS_MAX - used))
			break;
		chains++;
		used += chain->writable_count;
		memcpy(vm->worker->payload + parts, chain->vectors,
		       chain->writable_count * sizeof(struct iovec));
		skipped = vhost_iovec_skip(vm->worker->payload + parts, chain->writable_count,
					   sizeof(struct virtio_vsock_header));
		memmove(vm->worker->payload + parts, vm->worker->payload + parts + skipped,
			(chain->writable_count - skipped) * sizeof(struct iovec));
		for (unsigned int end = parts + chain->writable_count - skipped;
		     parts < end && left; parts++) {
			if (vm->worker->payload[parts].iov_len > left)
				vm->worker->payload[parts].iov_len = left;
			left -= (uint32_t)vm->worker->payload[parts].iov_len;
		}
	}
	*bytes -= left;
	*payload_count = parts;
	return chains;
}

/* Shows a packet to a capture, if there is one; the chain's vectors are not used afterwards. */
static void receive_capture(const struct virtio_vsock_header *header, struct vhost_chain *chain)
{
	unsigned int skipped;

	if (!capture_is_on())
		return;
	skipped = vhost_iovec_skip(chain->vectors, chain->writable_count, sizeof(*header));
	capture_packet(header, chain->vectors + skipped, chain->writable_count - skipped);
}

/* Headers for the @bytes bytes that were read into the first chains, the last one with @flags; the
 * rest is given back. */
static void receive_deliver(struct vm *vm, struct connection *connection, unsigned int chains,
			    uint32_t bytes, uint32_t flags)
{
	struct vhost_queue *queue = receive_queue(vm);
	struct virtio_vsock_header header;
	unsigned int used = 0;

	receive_header(vm, connection, VIRTIO_VSOCK_OP_RW, &header);
	connection->sent += bytes;
	while (bytes) {
		struct vhost_chain *chain = &vm->worker->chains[used++];
		size_t room = chain->writable_bytes - sizeof(header);

		header.len = bytes < room ? bytes : (uint32_t)room;
		bytes -= header.len;
		header.flags = bytes ? 0 : flags;
		vhost_iovec_copy_out(chain->vectors, chain->writable_count, &header,
				     sizeof(header));
		counter_add(&vm->counters.received.packets, 1);
		counter_add(&vm->counters.received.bytes, header.len);
		counter_add(&connection->to_guest.sent.packets, 1);
		counter_add(&connection->to_guest.sent.bytes, header.len);
		receive_capture(&header, chain);
		vhost_queue_push(queue, chain->head, (uint32_t)sizeof(header) + header.len);
	}
	vhost_queue_unpop(queue, chains - used);
}

/* Whether a read of no bytes was a message without any, not the end: it is left out. */
static bool receive_is_empty(const struct connection *connection)
{
	struct pollfd poll_fd = { .fd = connection->fd, .events = POLLRDHUP };
	int queued = 0;

	if (poll(&poll_fd, 1, 0) != 1)
		return true;
	return ioctl(connection->fd, SIOCINQ, &queued) == 0 && queued > 0;
}

/**
 * receive_message - what recvmsg() found of a message into @chains, without taking it out
 * @wanted: bytes that were asked for
 * @left: bytes of the message behind what the guest has of it
 *
 * A message that is larger than the guest's window can never arrive: it ends the connection.
 */
static void receive_message(struct vm *vm, struct connection *connection, unsigned int chains,
			    uint32_t wanted, uint32_t left)
{
	bool ends = left <= wanted;

	if (connection->message_sent == 0 && left > connection->guest_window) {
		log_debug("VM '%s': a message of %u bytes for port %u, whose window is %u",
			  vm->own.name, left, connection->guest_port, connection->guest_window);
		vhost_queue_unpop(receive_queue(vm), chains);
		connection_reset(vm, connection);
		return;
	}
	receive_deliver(vm, connection, chains, ends ? left : wanted,
			ends ? VIRTIO_VSOCK_SEQ_EOM : 0);
	connection->message_sent = ends ? 0 : connection->message_sent + wanted;
	if (ends)
		recv(connection->fd, NULL, 0, MSG_DONTWAIT);
}

static void receive_data(struct vm *vm, struct connection *connection)
{
	bool messages = connection->type == VIRTIO_VSOCK_TYPE_SEQPACKET;
	uint32_t wanted = receive_credit(connection);
	unsigned int chains, parts;
	struct msghdr message = { .msg_iov = vm->worker->payload };
	ssize_t got;

	if (connection->state != CONNECTION_OPEN || !connection->readable || wanted == 0) {
		connection_set_ready(vm, connection, false);
		return;
	}
	if (wanted > RECEIVE_BYTES_PER_ROUND)
		wanted = RECEIVE_BYTES_PER_ROUND;
	chains = receive_gather(vm, &wanted, &parts);
	if (wanted == 0) { /* the queue broke just now, or its buffers hold a header and no more */
		vhost_queue_unpop(receive_queue(vm), chains);
		connection_set_ready(vm, connection, false);
		return;
	}
	message.msg_iovlen = parts;
	got = recvmsg(connection->fd, &message,
		      messages ? MSG_DONTWAIT | MSG_PEEK | MSG_TRUNC : MSG_DONTWAIT);
	if (got > 0 && messages) {
		receive_message(vm, connection, chains, wanted, (uint32_t)got);
		return;
	}
	if (got > 0) {
		/* A short read emptied the socket, unless the end of the stream is next. */
		if ((uint32_t)got < wanted && !connection->hung_up)
			connection->readable = false;
		receive_deliver(vm, connection, chains, (uint32_t)got, 0);
		return;
	}
	vhost_queue_unpop(receive_queue(vm), chains);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		connection->readable = errno == EINTR;
	else if (got == 0 && messages && receive_is_empty(connection))
		recv(connection->fd, NULL, 0, MSG_DONTWAIT);
	else
		receive_end(vm, connection);
}

bool receive_is_owed(const struct vm *vm)
{
	return vm->reset_count || !TAILQ_EMPTY(&vm->farewells) || !TAILQ_EMPTY(&vm->tellings) ||
	       !TAILQ_EMPTY(&vm->ready);
}

bool receive_is_pending(struct vm *vm)
{
	return receive_is_owed(vm) && vhost_queue_peek(receive_queue(vm));
}

/* One packet without data, or the data of one connection; whether to go on. With the lock. */
static bool receive_round(struct vm *vm)
{
	struct connection *connection;

	if (!vhost_queue_has_work(receive_queue(vm)))
		return false;
	if (vm->reset_count)
		return receive_put_reset(vm);
	if (!TAILQ_EMPTY(&vm->farewells))
		return flow_put_farewell(vm);
	if (!TAILQ_EMPTY(&vm->tellings))
		return flow_put_telling(vm);
	connection = TAILQ_FIRST(&vm->ready);
	if (!connection)
		return false;
	/* To the end of the line, whatever comes: it may be freed below. */
	TAILQ_REMOVE(&vm->ready, connection, ready_link);
	TAILQ_INSERT_TAIL(&vm->ready, connection, ready_link);
	if (connection->owed)
		receive_owed(vm, connection);
	else
		receive_data(vm, connection);
	return true;
}

void receive_run(struct vm *vm)
{
	bool more = receive_is_pending(vm);

	if (!more)
		return;
	/* Between two rounds others get their turn at the queue. */
	for (int i = 0; i < RECEIVE_ROUNDS_PER_TURN && more; i++) {
		vm_lock(vm);
		more = receive_round(vm);
		vm_unlock(vm);
	}
	vm_lock(vm);
	vhost_queue_notify(receive_queue(vm));
	vm_unlock(vm);
}
