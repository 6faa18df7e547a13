// SPDX-License-Identifier: GPL-2.0-only
/*
 * From sockets into a peer's ring: one hypercall for each frame.
 *
 * Payload goes from where it lies: the pieces of a program's buffers are named to Xen as they are,
 * and Xen copies them behind the frame's header. Only where there are more pieces than one call
 * takes, or where the pages have no address of ours (splice), they are gathered first.
 *
 * A ring that took no more is FULL: has_space() is then 0 for all its sockets. Frames without
 * payload do not wait for that; they are owed, in their order, and payload comes behind them.
 * argo_peer_room() alone ends this state, when Xen says that there is room.
 */
#include <linux/mm.h>
#include <linux/slab.h>

#include "argo.h"

/* argo_frame_fill - a frame of a socket, with its credit as of now */
void argo_frame_fill(struct argo_frame *frame, struct argo_socket *socket, u8 type, u8 flags,
		     u32 bytes)
{
	*frame = (struct argo_frame){
		.type = type,
		.kind = socket->kind,
		.flags = flags,
		.source_port = cpu_to_le32(socket->local_port),
		.target_port = cpu_to_le32(socket->remote_port),
		.bytes = cpu_to_le32(bytes),
	};
	spin_lock_bh(&socket->lock);
	if (socket->told != socket->taken)
		socket->peer_waits = false;
	socket->told = socket->taken;
	if (socket->kind != ARGO_KIND_DATAGRAM) {
		frame->window = cpu_to_le32(socket->window);
		frame->taken = cpu_to_le32(socket->taken);
	}
	spin_unlock_bh(&socket->lock);
}

/* argo_frame_send - a frame and its payload's pieces; 0 or -errno, see argo_hypervisor_send() */
static int argo_frame_send(struct argo_peer *peer, struct argo_frame *frame, struct argo_iov *iov,
			   unsigned int count)
{
	int code;

	frame->session = cpu_to_le32(peer->session);
	iov[0] = (struct argo_iov){ .address = (unsigned long)frame, .bytes = sizeof(*frame) };
	code = argo_hypervisor_send(peer->domain, ARGO_PORT_DATA, iov, count);
	if (code == -ECONNREFUSED || code == -ESRCH) {
		argo_peer_fail(peer, "has gone");
		return -ECONNRESET;
	}
	if (!code)
		peer->frames_out++;
	return code;
}

/* argo_owe - keep a frame until there is room; peer->lock is held */
static void argo_owe(struct argo_peer *peer, const struct argo_frame *frame, bool of_nobody)
{
	struct argo_owed *owed;

	lockdep_assert_held(&peer->lock);
	if (of_nobody && peer->owed_resets >= ARGO_OWED_RESETS_MAX)
		return; /* who asked will ask again, or run into its time limit */
	owed = kmalloc(sizeof(*owed), GFP_ATOMIC);
	if (!owed) {
		argo_peer_fail(peer, "could not be answered: out of memory");
		return;
	}
	owed->frame = *frame;
	owed->of_nobody = of_nobody;
	peer->owed_resets += of_nobody;
	list_add_tail(&owed->node, &peer->owed);
}

/* argo_send_or_owe - a frame without payload, now or when there is room; whether it is owed */
static bool argo_send_or_owe(struct argo_peer *peer, struct argo_frame *frame, bool of_nobody)
{
	struct argo_iov iov[1];
	int code = -EAGAIN;

	argo_tap(peer, true, frame, NULL);
	spin_lock_bh(&peer->lock);
	if (peer->state == ARGO_PEER_UP && !test_bit(ARGO_PEER_FULL, &peer->flags))
		code = argo_frame_send(peer, frame, iov, 1);
	if (code == -EAGAIN && peer->state != ARGO_PEER_GONE) {
		argo_owe(peer, frame, of_nobody);
		set_bit(ARGO_PEER_FULL, &peer->flags);
	}
	spin_unlock_bh(&peer->lock);
	/* Xen's word on room may have come before the bit was set. */
	if (code == -EAGAIN && READ_ONCE(peer->state) == ARGO_PEER_UP)
		tasklet_schedule(&argo.tasklet);
	return code == -EAGAIN;
}

/* argo_send_control - a socket's frame without payload; nothing once it has left its peer */
void argo_send_control(struct argo_socket *socket, u8 type, u8 flags)
{
	struct argo_peer *peer = READ_ONCE(socket->peer);
	struct argo_frame frame;
	bool owed;

	if (!peer)
		return;
	if (type == ARGO_FRAME_CREDIT) {
		/* One of these waits at most, however long there is no room. */
		spin_lock_bh(&socket->lock);
		owed = socket->credit_owed;
		socket->credit_owed = true;
		spin_unlock_bh(&socket->lock);
		if (owed)
			return;
	}
	argo_frame_fill(&frame, socket, type, flags, 0);
	owed = argo_send_or_owe(peer, &frame, false);
	if (type == ARGO_FRAME_CREDIT && !owed) {
		spin_lock_bh(&socket->lock);
		socket->credit_owed = false;
		spin_unlock_bh(&socket->lock);
	}
}

/*
 * argo_send_reset - the answer to a frame for a connection that is none. What a closed connection's
 * other side still says about credit or its own end needs none.
 */
void argo_send_reset(struct argo_peer *peer, const struct argo_checked *frame)
{
	struct argo_frame reset = {
		.type = ARGO_FRAME_RESET,
		.kind = frame->kind,
		.source_port = cpu_to_le32(frame->target_port),
		.target_port = cpu_to_le32(frame->source_port),
	};

	if (frame->type == ARGO_FRAME_REQUEST || frame->type == ARGO_FRAME_RESPONSE ||
	    frame->type == ARGO_FRAME_DATA)
		argo_send_or_owe(peer, &reset, true);
}

/* argo_send_bye - the module goes; where there is no room, the missing ring says it */
void argo_send_bye(struct argo_peer *peer)
{
	struct argo_frame frame = { .type = ARGO_FRAME_BYE };
	struct argo_iov iov[1];

	if (READ_ONCE(peer->state) == ARGO_PEER_UP)
		argo_frame_send(peer, &frame, iov, 1);
}

/* argo_pieces_user - the pieces of a program's buffer; their number, or 0 if they are too many */
static unsigned int argo_pieces_user(const struct iov_iter *iter, u32 bytes, struct argo_iov *iov,
				     unsigned int room)
{
	const struct iovec *next;
	size_t skip = iter->iov_offset;
	unsigned int count = 0;

	if (iter_is_ubuf(iter)) {
		iov[0] = (struct argo_iov){ (unsigned long)iter->ubuf + skip, bytes };
		return 1;
	}
	for (next = iter_iov(iter); bytes; next++, skip = 0) {
		u32 piece = min_t(size_t, bytes, next->iov_len - skip);

		if (!piece)
			continue;
		if (count == room)
			return 0;
		iov[count++] = (struct argo_iov){ (unsigned long)next->iov_base + skip, piece };
		bytes -= piece;
	}
	return count;
}

/* argo_send_retry - send; where the ring is full, once more after the bit is set */
static int argo_send_retry(struct argo_peer *peer, struct argo_frame *frame, struct argo_iov *iov,
			   unsigned int count)
{
	int code = argo_frame_send(peer, frame, iov, count);

	if (code != -EAGAIN)
		return code;
	set_bit(ARGO_PEER_FULL, &peer->flags);
	smp_mb__after_atomic(); /* the bit is seen by whoever handles Xen's word on room */
	code = argo_frame_send(peer, frame, iov, count);
	if (!code)
		tasklet_schedule(&argo.tasklet); /* which clears the bit again */
	return code;
}

/* argo_send_gathered - the same payload through memory of the kernel */
static int argo_send_gathered(struct argo_peer *peer, struct msghdr *msg, struct argo_frame *frame,
			      struct argo_iov *iov, u32 bytes)
{
	void *gathered = kvmalloc(bytes, GFP_KERNEL);
	int code = -EFAULT;

	if (!gathered)
		return -ENOMEM;
	if (copy_from_iter_full(gathered, bytes, &msg->msg_iter)) {
		iov[1] = (struct argo_iov){ (unsigned long)gathered, bytes };
		code = argo_send_retry(peer, frame, iov, 2);
		if (code)
			iov_iter_revert(&msg->msg_iter, bytes);
	}
	kvfree(gathered);
	return code;
}

/**
 * argo_send_payload - one frame with payload
 * @msg: its iterator is moved by what was sent
 * @frame: filled in, all but the session
 * @bytes: at most the peer's payload_max, and what msg has
 *
 * Called with the socket's own lock. Return: @bytes, or -errno; -EAGAIN where there is no room.
 */
ssize_t argo_send_payload(struct argo_peer *peer, struct msghdr *msg, struct argo_frame *frame,
			  u32 bytes)
{
	struct argo_iov iov[ARGO_IOV_MAX];
	unsigned int count = 0;
	int code = -EFAULT;

	if (READ_ONCE(peer->state) == ARGO_PEER_GONE)
		return -ECONNRESET;
	if (peer->state != ARGO_PEER_UP || test_bit(ARGO_PEER_FULL, &peer->flags))
		return -EAGAIN;
	if (user_backed_iter(&msg->msg_iter) && bytes) {
		if (fault_in_iov_iter_readable(&msg->msg_iter, bytes))
			return -EFAULT;
		count = argo_pieces_user(&msg->msg_iter, bytes, iov + 1, ARGO_IOV_MAX - 1);
	}
	if (count || !bytes) {
		code = argo_send_retry(peer, frame, iov, count + 1);
		if (!code)
			iov_iter_advance(&msg->msg_iter, bytes);
	}
	/* -EFAULT: a page went away again in between. */
	if (code == -EFAULT)
		code = argo_send_gathered(peer, msg, frame, iov, bytes);
	if (code)
		return code;
	argo_tap(peer, true, frame, NULL);
	return bytes;
}

/* argo_credit_paid - the owed CREDIT of a socket goes out: it may owe the next one */
static void argo_credit_paid(struct argo_peer *peer, struct argo_frame *frame)
{
	struct argo_socket *socket;

	if (frame->type != ARGO_FRAME_CREDIT)
		return;
	socket = argo_socket_find(peer, frame->kind, le32_to_cpu(frame->source_port),
				  le32_to_cpu(frame->target_port));
	if (!socket)
		return;
	spin_lock_bh(&socket->lock);
	socket->credit_owed = false;
	frame->window = cpu_to_le32(socket->window);
	frame->taken = cpu_to_le32(socket->taken);
	socket->told = socket->taken;
	spin_unlock_bh(&socket->lock);
	sock_put(sk_vsock(socket->vsk));
	argo_socket_put(socket);
}

/* argo_pay - what is owed goes out; whether all did */
static bool argo_pay(struct argo_peer *peer)
{
	struct argo_owed *owed;
	struct argo_iov iov[1];
	int code = 0;

	for (;;) {
		spin_lock_bh(&peer->lock);
		owed = list_first_entry_or_null(&peer->owed, struct argo_owed, node);
		if (!owed || peer->state != ARGO_PEER_UP) {
			if (peer->state == ARGO_PEER_UP)
				clear_bit(ARGO_PEER_FULL, &peer->flags);
			spin_unlock_bh(&peer->lock);
			return true;
		}
		list_del(&owed->node);
		peer->owed_resets -= owed->of_nobody;
		spin_unlock_bh(&peer->lock);

		argo_credit_paid(peer, &owed->frame);
		code = argo_frame_send(peer, &owed->frame, iov, 1);
		if (code == -EAGAIN) {
			spin_lock_bh(&peer->lock);
			list_add(&owed->node, &peer->owed);
			peer->owed_resets += owed->of_nobody;
			spin_unlock_bh(&peer->lock);
			return false;
		}
		kfree(owed);
		if (code)
			return false;
	}
}

/**
 * argo_peer_room - has a FULL peer room again?
 *
 * If so, what is owed goes out and all who wait to write wake up. Called from the tasklet and from
 * works; callers at the same time take turns.
 */
void argo_peer_room(struct argo_peer *peer)
{
	u32 bytes = peer->payload_max + sizeof(struct argo_frame);
	static DEFINE_SPINLOCK(turn);
	struct argo_socket *socket;
	u32 flags;
	bool paid = false;
	int bucket;

	spin_lock_bh(&turn);
	if (test_bit(ARGO_PEER_FULL, &peer->flags) && READ_ONCE(peer->state) == ARGO_PEER_UP) {
		flags = argo_hypervisor_query(peer->domain, ARGO_PORT_DATA, bytes);
		if (!(flags & ARGO_RING_EXISTS))
			argo_peer_fail(peer, "has gone");
		else if (flags & ARGO_RING_SUFFICIENT)
			paid = argo_pay(peer);
	}
	spin_unlock_bh(&turn);
	if (!paid)
		return;
	wake_up_all(&peer->wait);
	spin_lock_bh(&peer->lock);
	hash_for_each(peer->sockets, bucket, socket, node) {
		struct sock *sk = sk_vsock(socket->vsk);

		sk->sk_write_space(sk);
	}
	spin_unlock_bh(&peer->lock);
}

/* argo_peer_settled - whether waiting for a peer's room has come to an end */
static bool argo_peer_settled(struct argo_peer *peer)
{
	enum argo_peer_state state = READ_ONCE(peer->state);

	return state == ARGO_PEER_GONE ||
	       (state == ARGO_PEER_UP && !test_bit(ARGO_PEER_FULL, &peer->flags));
}

/**
 * argo_peer_wait_room - sleep until the peer is up and its ring takes something
 * @unlock: give the socket's lock up meanwhile
 *
 * Return: 0, -ECONNRESET when the peer is gone, -ETIMEDOUT, or -EINTR.
 */
int argo_peer_wait_room(struct argo_peer *peer, struct sock *sk, bool unlock)
{
	long left;

	if (unlock)
		release_sock(sk);
	left = wait_event_interruptible_timeout(peer->wait, argo_peer_settled(peer),
						msecs_to_jiffies(ARGO_GREETING_MS));
	if (unlock)
		lock_sock(sk);
	if (READ_ONCE(peer->state) == ARGO_PEER_GONE)
		return -ECONNRESET;
	return left > 0 ? 0 : left ? -EINTR : -ETIMEDOUT;
}
