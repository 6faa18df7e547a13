// SPDX-License-Identifier: GPL-2.0-only
/*
 * vphi: messages, poll, and waiting for them.
 *
 * SEND and RECV move what is there, or all of it with BLOCK. Blocking ones wait in the device, as
 * one chain, while the ring has room for such; else a thread sends the form that does not wait,
 * sleeps until the endpoint is ready, and tries again.
 *
 * poll(). The device tells of a change once for each time that it was asked (POLL with ARM), for
 * the last mask that it was asked for. `interest` of the endpoint collects what pollers want until
 * an event comes; they ask again when they are woken. A poller that is not called again by itself
 * (epoll with EPOLLET) needs the next event nevertheless: whoever sends or receives asks for it.
 */
#include <linux/sched/signal.h>

#include "vphi.h"

#define VPHI_MESSAGE_AT_ONCE 4096 /* what a call that does not block can move, and one byte */

static u32 vphi_poll_bits(__poll_t events)
{
	return (__force u32)(events & (EPOLLIN | EPOLLOUT));
}

/* One look: the state, or -errno. An event follows when nothing of @mask is in it. */
static int vphi_poll_ask(struct vphi_endpoint *endpoint, u32 mask)
{
	struct vphi_call *call = vphi_endpoint_call(endpoint, SCIF_VIRTIO_POLL, VPHI_SHORT,
						    SCIF_VIRTIO_POLL_ARM);
	int status;

	if (!call)
		return -ENOMEM;
	call->request.poll.mask = cpu_to_le32(mask);
	status = vphi_endpoint_run(endpoint, call);
	if (status == 0)
		status = le64_to_cpu(call->reply.value[0]) & 0xffff;
	vphi_call_put(call);
	return status;
}

/*
 * The state, with an event to follow for what of @mask is not in it, and for what others wait for:
 * arming replaces what was armed before. What is ready must not be asked for again, or nothing
 * would be armed.
 */
static int vphi_poll_arm(struct vphi_endpoint *endpoint, u32 mask)
{
	u32 ready = 0, wanted;
	int state;

	atomic_or(mask, &endpoint->interest);
	wanted = atomic_read(&endpoint->interest);
	do { /* once at least: who wants nothing is told of the connection's end */
		state = vphi_poll_ask(endpoint, wanted);
		if (state < 0 || (state & (EPOLLHUP | EPOLLERR)) || !(state & wanted))
			break;
		ready |= state;
		wanted = atomic_read(&endpoint->interest) & ~ready;
	} while (wanted);
	return state < 0 ? state : state | ready;
}

/* vphi_poll - the file operation */
__poll_t vphi_poll(struct vphi_endpoint *endpoint, struct file *file, poll_table *table)
{
	u32 mask = vphi_poll_bits(poll_requested_events(table));
	int state;

	poll_wait(file, &endpoint->wait, table);
	/* Always: epoll waits on, though it says that it does not. */
	state = vphi_poll_arm(endpoint, mask);
	if (state < 0)
		return endpoint->connected ? EPOLLHUP : EPOLLERR;
	return (__force __poll_t)state;
}

/**
 * vphi_poll_wait - sleep until the endpoint is ready
 * @endpoint: of the program
 * @mask: EPOLLIN or EPOLLOUT
 *
 * Return: 0, also when the peer is gone; -EINTR; -errno of the device's.
 */
int vphi_poll_wait(struct vphi_endpoint *endpoint, u32 mask)
{
	DEFINE_WAIT_FUNC(wait, woken_wake_function);
	int state;

	add_wait_queue(&endpoint->wait, &wait);
	for (;;) {
		state = vphi_poll_arm(endpoint, mask);
		if (state < 0 || (state & (mask | EPOLLHUP | EPOLLERR)))
			break;
		if (signal_pending(current)) {
			state = -EINTR;
			break;
		}
		wait_woken(&wait, TASK_INTERRUPTIBLE, MAX_SCHEDULE_TIMEOUT);
	}
	remove_wait_queue(&endpoint->wait, &wait);
	return min(state, 0);
}

/*
 * vphi_poll_again - a call took what was ready; somebody may wait for more without asking
 * @mask: what the call took
 * @all: whether it took all there was, so that what is there now is new
 */
void vphi_poll_again(struct vphi_endpoint *endpoint, u32 mask, bool all)
{
	int state;

	if (!wq_has_sleeper(&endpoint->wait))
		return;
	state = vphi_poll_arm(endpoint, mask);
	if (all && state > 0 && (state & mask))
		wake_up_poll(&endpoint->wait, (__force __poll_t)state);
}

/* vphi_poll_event - the device says that the endpoint of that number is ready; any context */
void vphi_poll_event(struct vphi_device *device, u32 number, u32 mask)
{
	struct vphi_endpoint *endpoint;
	unsigned long flags;

	xa_lock_irqsave(&device->endpoints, flags);
	endpoint = xa_load(&device->endpoints, number);
	if (endpoint && mask) {
		atomic_set(&endpoint->interest, 0);
		wake_up_poll(&endpoint->wait, (__force __poll_t)mask);
	}
	xa_unlock_irqrestore(&device->endpoints, flags);
}

/* One chain; bytes moved, or -errno. -EAGAIN: no room in the ring for one that waits. */
static int vphi_message_piece(struct vphi_endpoint *endpoint, u32 number, unsigned long address,
			      size_t bytes, bool block)
{
	struct vphi_call *call = vphi_endpoint_call(endpoint, number,
						    block ? VPHI_WAIT : VPHI_SHORT,
						    block ? SCIF_SEND_BLOCK : 0);
	u64 moved;
	int status;

	if (!call)
		return -ENOMEM;
	status = vphi_payload_pin(call, address, bytes, number == SCIF_VIRTIO_RECV);
	if (status == 0 && block) {
		status = vphi_call_try(call);
		if (status == 0)
			status = vphi_endpoint_collect(endpoint, call);
		else if (status == -ENODEV)
			status = vphi_endpoint_error(endpoint, status);
	} else if (status == 0) {
		status = vphi_endpoint_run(endpoint, call);
	}
	if (status == 0) {
		moved = le64_to_cpu(call->reply.value[0]);
		status = moved <= bytes ? (int)moved : -EIO;
	}
	vphi_call_put(call);
	return status;
}

/* The same for a thread that blocks, by whichever way there is. */
static int vphi_message_block(struct vphi_endpoint *endpoint, u32 number, unsigned long address,
			      size_t bytes)
{
	int moved = vphi_message_piece(endpoint, number, address, bytes, true);

	while (moved == -EAGAIN) {
		moved = vphi_message_piece(endpoint, number, address,
					   min_t(size_t, bytes, VPHI_MESSAGE_AT_ONCE), false);
		if (moved == 0) {
			moved = vphi_poll_wait(endpoint, number == SCIF_VIRTIO_SEND ? EPOLLOUT :
									      EPOLLIN);
			if (moved == 0)
				moved = -EAGAIN;
		}
	}
	return moved;
}

/**
 * vphi_message - scif_send() or scif_recv()
 * @endpoint: of the program
 * @call: SCIF_VIRTIO_SEND or SCIF_VIRTIO_RECV
 * @address: of the program's
 * @bytes: as the program gave it
 * @flags: SCIF_SEND_BLOCK or SCIF_RECV_BLOCK, which are the same
 *
 * Return: bytes moved, fewer than @bytes when it does not block, the peer is gone or a signal came;
 * -EINVAL, -EFAULT, -ENOTCONN, -ECONNRESET, -EINTR.
 */
int vphi_message(struct vphi_endpoint *endpoint, u32 call, u64 address, int bytes, int flags)
{
	bool block = flags & SCIF_SEND_BLOCK;
	int done = 0, moved;
	size_t part;

	if (bytes < 0 || (flags & ~SCIF_SEND_BLOCK))
		return -EINVAL;
	while (done < bytes) {
		part = min_t(size_t, bytes - done, (VPHI_PIECE_PAGES - 1) * PAGE_SIZE);
		if (block) {
			moved = vphi_message_block(endpoint, call, address + done, part);
		} else {
			part = min_t(size_t, part, VPHI_MESSAGE_AT_ONCE);
			moved = vphi_message_piece(endpoint, call, address + done, part, false);
		}
		if (moved < 0)
			return done ? done : moved;
		done += moved;
		/* Short: the end, unless it went by the way that does not wait. */
		if (moved < part && (!block || moved == 0 || signal_pending(current)))
			break;
		if (!block)
			break;
	}
	vphi_poll_again(endpoint, call == SCIF_VIRTIO_SEND ? EPOLLOUT : EPOLLIN, done < bytes);
	return done;
}
