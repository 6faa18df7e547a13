// SPDX-License-Identifier: GPL-2.0-only
/*
 * From a peer's ring to its sockets.
 *
 * The tasklet takes what needs no sleep: payload and credit of connections that stand. At the first
 * other frame (or when memory is short) it leaves the ring to the peer's work, which may take a
 * socket's lock, and which gives the ring back when it has emptied it. So frames are handled in
 * their order, by one context at a time.
 *
 * A reader who waits and spins does the tasklet's work (argo_receive_own), but leaves a large piece
 * of its own stream where it lies: argo_receive_direct() copies it from the ring to the program,
 * once. Should the reader not come for it, a timer lets the tasklet have it.
 */
#include "argo.h"

#define ARGO_TASKLET_FRAMES	256	/* of one peer in one run */
#define ARGO_WORK_FRAMES	4096
#define ARGO_LINEAR_MAX		2048	/* up to here a payload lies in one piece */
#define ARGO_LINEAR_MIN		1024	/* so that the next small ones find room behind it */
#define ARGO_PIECE_ORDER	3
#define ARGO_DIRECT_MIN		4096	/* less is copied twice rather than waited for */
#define ARGO_DIRECT_FRAMES	16

/* argo_ring_claim - become the reader of a peer's ring; false where somebody is */
static bool argo_ring_claim(struct argo_peer *peer)
{
	return !test_and_set_bit_lock(ARGO_PEER_READING, &peer->flags);
}

/* argo_ring_unclaim - the end of that; whoever did not get the ring meanwhile is made up for */
static void argo_ring_unclaim(struct argo_peer *peer)
{
	clear_bit_unlock(ARGO_PEER_READING, &peer->flags);
	smp_mb__after_atomic(); /* an interrupt finds the bit clear, or we find its message */
	if (!argo_ring_empty(&peer->ring))
		tasklet_schedule(&argo.tasklet);
}

/* argo_ring_to_work - the owner hands the ring to the peer's work */
static void argo_ring_to_work(struct argo_peer *peer)
{
	set_bit(ARGO_PEER_SLOW, &peer->flags);
	argo_peer_queue_work(peer);
}

/* argo_skb_make - room for @bytes; NULL without memory */
static struct sk_buff *argo_skb_make(u32 bytes, gfp_t gfp)
{
	struct sk_buff *skb;
	int code;

	if (bytes <= ARGO_LINEAR_MAX) {
		skb = alloc_skb(max_t(u32, bytes, ARGO_LINEAR_MIN), gfp);
		if (skb)
			skb_put(skb, bytes);
	} else {
		skb = alloc_skb_with_frags(0, bytes, ARGO_PIECE_ORDER, &code, gfp);
		if (skb) {
			skb->data_len = bytes;
			skb->len = bytes;
		}
	}
	if (skb)
		memset(skb->cb, 0, sizeof(skb->cb));
	return skb;
}

/* argo_skb_fill - a message's payload behind its frame */
static void argo_skb_fill(struct sk_buff *skb, struct argo_ring *ring, u32 at)
{
	u32 first;

	at %= ring->length;
	first = min(skb->len, ring->length - at);
	skb_store_bits(skb, 0, ring->shared->bytes + at, first);
	if (first < skb->len)
		skb_store_bits(skb, first, ring->shared->bytes, skb->len - first);
}

/* argo_append - a small piece of a stream behind the last one; whether there was room */
static bool argo_append(struct argo_socket *socket, struct argo_ring *ring, u32 at, u32 bytes)
{
	struct sk_buff *last = skb_peek_tail(&socket->queue);

	lockdep_assert_held(&socket->lock);
	if (socket->kind != ARGO_KIND_STREAM || !last || skb_is_nonlinear(last) ||
	    skb_tailroom(last) < bytes)
		return false;
	/* A reader may be copying what lies before; it takes its length under the lock. */
	argo_ring_copy(ring, at, skb_put(last, bytes), bytes);
	argo_cb(last)->cost += bytes;
	return true;
}

/* argo_received - a piece is queued: counters, and the reader */
static void argo_received(struct argo_socket *socket, const struct argo_checked *frame, u32 cost)
{
	struct sock *sk = sk_vsock(socket->vsk);
	bool ready;

	spin_lock_bh(&socket->lock);
	socket->front_bytes = 0;
	socket->received += cost;
	socket->queued_bytes += frame->bytes;
	if (frame->flags & ARGO_END_OF_MESSAGE)
		socket->messages++;
	ready = socket->kind == ARGO_KIND_STREAM ?
		socket->queued_bytes >= READ_ONCE(sk->sk_rcvlowat) : socket->messages > 0;
	spin_unlock_bh(&socket->lock);
	if (ready) {
		argo_spin_learn(socket);
		sk->sk_data_ready(sk);
	}
}

/* argo_data - payload of a connection; false without memory */
static bool argo_data(struct argo_peer *peer, struct argo_socket *socket,
		      const struct argo_frame *wire, const struct argo_checked *frame, u32 at,
		      gfp_t gfp)
{
	u32 cost = frame->bytes;
	struct sk_buff *skb;
	bool over, appended;

	if (socket->kind == ARGO_KIND_SEQPACKET)
		cost += ARGO_MESSAGE_COST;
	spin_lock_bh(&socket->lock);
	over = socket->received - socket->taken + cost > socket->granted;
	appended = !over && argo_append(socket, &peer->ring, at, frame->bytes);
	spin_unlock_bh(&socket->lock);
	if (over) {
		argo_peer_fail(peer, "sent more than its window");
		return true;
	}
	if (!appended) {
		skb = argo_skb_make(frame->bytes, gfp);
		if (!skb)
			return false;
		argo_skb_fill(skb, &peer->ring, at);
		argo_cb(skb)->cost = cost;
		argo_cb(skb)->flags = frame->flags;
		argo_tap(peer, false, wire, skb);
		spin_lock_bh(&socket->lock);
		__skb_queue_tail(&socket->queue, skb);
		spin_unlock_bh(&socket->lock);
	} else {
		argo_tap(peer, false, wire, NULL);
	}
	argo_received(socket, frame, cost);
	return true;
}

/* argo_datagram - false without memory */
static bool argo_datagram(struct argo_peer *peer, const struct argo_frame *wire,
			  const struct argo_checked *frame, u32 at, gfp_t gfp)
{
	struct sk_buff *skb = argo_skb_make(frame->bytes, gfp);

	if (!skb)
		return false;
	argo_skb_fill(skb, &peer->ring, at);
	argo_tap(peer, false, wire, skb);
	argo_dgram_receive(peer, frame, skb);
	return true;
}

/* argo_wanted - the other side waits for credit: at once, or with the next bytes that are read */
static void argo_wanted(struct argo_socket *socket)
{
	bool tell;

	spin_lock_bh(&socket->lock);
	tell = socket->taken != socket->told;
	socket->peer_waits = !tell;
	spin_unlock_bh(&socket->lock);
	if (tell)
		argo_send_control(socket, ARGO_FRAME_CREDIT, 0);
}

/**
 * argo_fast_frame - a frame that needs no sleep
 *
 * Return: whether it is done with; false leaves it to the work.
 */
static bool argo_fast_frame(struct argo_peer *peer, const struct argo_frame *wire,
			    const struct argo_checked *frame, u32 at, gfp_t gfp)
{
	struct argo_socket *socket;
	bool done = true, bad = false;

	if (frame->type == ARGO_FRAME_DATAGRAM)
		return argo_datagram(peer, wire, frame, at, gfp);
	socket = argo_socket_find(peer, frame->kind, frame->target_port, frame->source_port);
	if (!socket) {
		argo_send_reset(peer, frame);
		return true;
	}
	if (sk_vsock(socket->vsk)->sk_state == TCP_SYN_SENT) {
		argo_peer_fail(peer, "sent before it answered");
		goto out;
	}
	if (frame->type == ARGO_FRAME_DATA)
		done = argo_data(peer, socket, wire, frame, at, gfp);
	else
		argo_tap(peer, false, wire, NULL);
	if (done)
		argo_socket_credit(socket, frame->window, frame->taken, &bad);
	if (bad)
		argo_peer_fail(peer, "gave credit for what was not sent");
	else if (frame->type == ARGO_FRAME_CREDIT_WANTED)
		argo_wanted(socket);
out:
	sock_put(sk_vsock(socket->vsk));
	argo_socket_put(socket);
	return done;
}

/* argo_frame_read - the frame of a message, checked; false fails the peer */
static bool argo_frame_read(struct argo_peer *peer, const struct argo_message *message,
			    struct argo_frame *wire, struct argo_checked *frame)
{
	if (message->bytes < sizeof(*wire))
		return false;
	argo_ring_copy(&peer->ring, message->at, wire, sizeof(*wire));
	return argo_frame_check(wire, message->bytes, frame);
}

static bool argo_frame_is_fast(u8 type)
{
	return type == ARGO_FRAME_DATA || type == ARGO_FRAME_CREDIT ||
	       type == ARGO_FRAME_CREDIT_WANTED || type == ARGO_FRAME_DATAGRAM;
}

/* argo_frame_is_direct - may this socket's reader copy the frame's payload by itself? */
static bool argo_frame_is_direct(const struct argo_peer *peer, const struct argo_socket *socket,
				 const struct argo_checked *frame)
{
	return frame->type == ARGO_FRAME_DATA && frame->kind == ARGO_KIND_STREAM &&
	       frame->session == peer->session && socket->kind == ARGO_KIND_STREAM &&
	       frame->target_port == socket->local_port &&
	       frame->source_port == socket->remote_port && skb_queue_empty(&socket->queue);
}

/**
 * argo_drain - frames out of a peer's ring, whose owner the caller is
 * @may_sleep: called from the peer's work
 * @reader: if not NULL, large pieces of its stream are left to it: its front_bytes is set
 *
 * Return: whether nothing is left to do; false leaves the rest to the next turn or to the work.
 */
static bool argo_drain(struct argo_peer *peer, bool may_sleep, struct argo_socket *reader)
{
	u32 largest = peer->ring.length / ARGO_RING_SHARE;
	int left = may_sleep ? ARGO_WORK_FRAMES : ARGO_TASKLET_FRAMES;
	bool crowded = false, empty = false;
	struct argo_message message;
	struct argo_checked frame;
	struct argo_frame wire;
	int found;

	while (left-- && !test_bit(ARGO_PEER_FAILED, &peer->flags) &&
	       READ_ONCE(peer->state) == ARGO_PEER_UP) {
		found = argo_ring_peek(&peer->ring, &message);
		empty = !found;
		if (empty)
			break;
		if (found < 0 || !argo_frame_read(peer, &message, &wire, &frame)) {
			argo_peer_fail(peer, "sent what is no frame");
			break;
		}
		if (reader && frame.bytes >= ARGO_DIRECT_MIN &&
		    argo_frame_is_direct(peer, reader, &frame)) {
			WRITE_ONCE(reader->front_bytes, frame.bytes);
			empty = true;
			break;
		}
		/* What an earlier life of one of us was sent is passed over. */
		if (frame.session == peer->session) {
			if (!argo_frame_is_fast(frame.type)) {
				if (!may_sleep)
					break;
				argo_tap(peer, false, &wire, NULL);
				argo_connection_frame(peer, &frame);
			} else if (!argo_fast_frame(peer, &wire, &frame,
						    message.at + sizeof(wire),
						    may_sleep ? GFP_KERNEL : GFP_ATOMIC)) {
				break;
			}
		}
		peer->frames_in++;
		argo_ring_advance(&peer->ring, &message);
		crowded |= argo_ring_was_crowded(&peer->ring, largest);
		if (crowded && !(left % 8)) {
			argo_hypervisor_probe();
			crowded = false;
		}
		if (may_sleep)
			cond_resched();
	}
	if (crowded)
		argo_hypervisor_probe(); /* Xen looks who waits for room in our rings */
	return empty;
}

/* argo_receive_tasklet - after Xen's interrupt: what came, and who has room again */
void argo_receive_tasklet(struct tasklet_struct *tasklet)
{
	struct argo_peer *peer;
	unsigned long domain;

	if (!argo_ring_empty(&argo.hello))
		queue_work(argo.queue, &argo.hello_work);
	rcu_read_lock();
	xa_for_each(&argo.peers, domain, peer) {
		if (READ_ONCE(peer->state) != ARGO_PEER_UP ||
		    test_bit(ARGO_PEER_FAILED, &peer->flags))
			continue;
		if (!argo_ring_empty(&peer->ring) && argo_ring_claim(peer)) {
			if (argo_drain(peer, false, NULL))
				argo_ring_unclaim(peer);
			else
				argo_ring_to_work(peer);
		}
		if (test_bit(ARGO_PEER_FULL, &peer->flags))
			argo_peer_room(peer);
	}
	rcu_read_unlock();
}

/* argo_receive_work - the peer's work: the ring is its own until it is empty */
void argo_receive_work(struct argo_peer *peer)
{
	if (!test_bit(ARGO_PEER_SLOW, &peer->flags))
		return;
	if (!argo_drain(peer, true, NULL) && !test_bit(ARGO_PEER_FAILED, &peer->flags) &&
	    READ_ONCE(peer->state) == ARGO_PEER_UP) {
		argo_peer_queue_work(peer);
		return;
	}
	clear_bit(ARGO_PEER_SLOW, &peer->flags);
	argo_ring_unclaim(peer);
}

/**
 * argo_receive_own - what the tasklet would do for a peer, by a program that waits
 * @reader: large pieces of its stream are left to it, see argo_drain(); or NULL
 *
 * Return: false where the ring is the work's, which may want the socket's lock: spinning on would
 * be in its way.
 */
bool argo_receive_own(struct argo_peer *peer, struct argo_socket *reader)
{
	bool done = !test_bit(ARGO_PEER_SLOW, &peer->flags);

	if (argo_ring_empty(&peer->ring) || !done)
		return done;
	local_bh_disable();
	if (argo_ring_claim(peer)) {
		done = argo_drain(peer, false, reader);
		if (!done) {
			argo_ring_to_work(peer);
		} else if (reader && READ_ONCE(reader->front_bytes)) {
			clear_bit_unlock(ARGO_PEER_READING, &peer->flags);
			if (!timer_pending(&argo.left_timer))
				mod_timer(&argo.left_timer, jiffies + 1);
		} else {
			argo_ring_unclaim(peer);
		}
	}
	local_bh_enable();
	return done;
}

/**
 * argo_receive_waits - whether the tasklet has something to do
 * @except: a peer whose ring is not looked at, or NULL
 * @full: a peer that may have room again counts
 */
bool argo_receive_waits(const struct argo_peer *except, bool full)
{
	bool waits = !argo_ring_empty(&argo.hello);
	struct argo_peer *peer;
	unsigned long domain;

	rcu_read_lock();
	xa_for_each(&argo.peers, domain, peer)
		waits |= READ_ONCE(peer->state) == ARGO_PEER_UP &&
			 ((peer != except && !argo_ring_empty(&peer->ring)) ||
			  (full && test_bit(ARGO_PEER_FULL, &peer->flags)));
	rcu_read_unlock();
	return waits;
}

/* argo_copy_direct - from a ring to a program whose pages are there; false if one was not */
static bool argo_copy_direct(const struct argo_ring *ring, u32 at, struct msghdr *msg, u32 bytes)
{
	u32 first, copied;

	at %= ring->length;
	first = min(bytes, ring->length - at);
	pagefault_disable();
	copied = copy_to_iter(ring->shared->bytes + at, first, &msg->msg_iter);
	if (copied == first)
		copied += copy_to_iter(ring->shared->bytes, bytes - first, &msg->msg_iter);
	pagefault_enable();
	if (copied < bytes)
		iov_iter_revert(&msg->msg_iter, copied);
	return copied == bytes;
}

/* argo_direct_account - one piece was received and taken at once; false where it was too much */
static bool argo_direct_account(struct argo_peer *peer, struct argo_socket *socket,
				const struct argo_checked *frame)
{
	bool over, bad = false;

	spin_lock_bh(&socket->lock);
	over = socket->received - socket->taken + frame->bytes > socket->granted;
	if (!over) {
		socket->received += frame->bytes;
		socket->taken += frame->bytes;
	}
	spin_unlock_bh(&socket->lock);
	if (over)
		argo_peer_fail(peer, "sent more than its window");
	else
		argo_socket_credit(socket, frame->window, frame->taken, &bad);
	if (bad)
		argo_peer_fail(peer, "gave credit for what was not sent");
	return !over && !bad;
}

/**
 * argo_receive_direct - a reader takes pieces of its stream from the ring, as long as they fit
 * @room: in the program's buffer
 *
 * Called with the socket's own lock; what it does not take goes the usual way. Return: bytes.
 */
u32 argo_receive_direct(struct argo_socket *socket, struct msghdr *msg, size_t room)
{
	struct argo_peer *peer = socket->peer;
	int left = ARGO_DIRECT_FRAMES;
	struct argo_message message;
	struct argo_checked frame;
	struct argo_frame wire;
	bool crowded = false;
	u32 done = 0;

	WRITE_ONCE(socket->front_bytes, 0);
	if (!peer || argo_ring_empty(&peer->ring))
		return 0;
	local_bh_disable();
	if (!argo_ring_claim(peer))
		goto out;
	while (left-- && !test_bit(ARGO_PEER_FAILED, &peer->flags) &&
	       READ_ONCE(peer->state) == ARGO_PEER_UP &&
	       argo_ring_peek(&peer->ring, &message) > 0 &&
	       argo_frame_read(peer, &message, &wire, &frame) &&
	       argo_frame_is_direct(peer, socket, &frame) && frame.bytes <= room - done &&
	       argo_copy_direct(&peer->ring, message.at + sizeof(wire), msg, frame.bytes)) {
		argo_tap_direct(peer, &wire, message.at + sizeof(wire));
		if (!argo_direct_account(peer, socket, &frame)) {
			iov_iter_revert(&msg->msg_iter, frame.bytes);
			break;
		}
		done += frame.bytes;
		peer->frames_in++;
		peer->frames_direct++;
		argo_ring_advance(&peer->ring, &message);
		crowded |= argo_ring_was_crowded(&peer->ring,
						 peer->ring.length / ARGO_RING_SHARE);
	}
	if (crowded)
		argo_hypervisor_probe();
	argo_ring_unclaim(peer);
out:
	local_bh_enable();
	return done;
}
