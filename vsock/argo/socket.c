// SPDX-License-Identifier: GPL-2.0-only
/*
 * The transport's callbacks for STREAM and SEQPACKET sockets, and their place in a peer's table.
 *
 * The core calls with the socket's lock. Credit: see proto/argo-frame.h. A reader tells the other
 * side what it has taken when that is a quarter of the window, or at once when the other side has
 * asked; a writer without credit asks once, before it sleeps.
 */
#include <linux/slab.h>

#include "argo.h"

#define ARGO_WINDOW_MIN	4096
#define ARGO_TELL_SHARE	4

void argo_socket_get(struct argo_socket *socket)
{
	kref_get(&socket->kref);
}

static void argo_socket_release(struct kref *kref)
{
	struct argo_socket *socket = container_of(kref, struct argo_socket, kref);

	__skb_queue_purge(&socket->queue);
	kfree(socket);
	atomic_dec(&argo.socket_count);
}

void argo_socket_put(struct argo_socket *socket)
{
	kref_put(&socket->kref, argo_socket_release);
}

static u32 argo_socket_key(u8 kind, u32 local_port, u32 remote_port)
{
	return local_port * 31 + remote_port * 7 + kind;
}

/* argo_socket_find - the socket in a peer's table, with references to it and to its sk, or NULL */
struct argo_socket *argo_socket_find(struct argo_peer *peer, u8 kind, u32 local_port,
				     u32 remote_port)
{
	struct argo_socket *socket, *found = NULL;

	spin_lock_bh(&peer->lock);
	hash_for_each_possible(peer->sockets, socket, node,
			       argo_socket_key(kind, local_port, remote_port)) {
		if (socket->kind == kind && socket->local_port == local_port &&
		    socket->remote_port == remote_port &&
		    refcount_inc_not_zero(&sk_vsock(socket->vsk)->sk_refcnt)) {
			argo_socket_get(socket);
			found = socket;
			break;
		}
	}
	spin_unlock_bh(&peer->lock);
	return found;
}

/* argo_window_grant - what a peer's memory allows of a wish; peer->lock is held */
static u32 argo_window_grant(struct argo_peer *peer, u64 wish)
{
	u64 limit = (u64)argo_peer_memory << 20;
	u64 left = limit > peer->window_bytes ? limit - peer->window_bytes : 0;

	lockdep_assert_held(&peer->lock);
	return min3(wish, left / 2, (u64)ARGO_WINDOW_MAX);
}

/**
 * argo_socket_attach - into the peer's table, with a window of the peer's memory
 *
 * Return: 0, -ECONNRESET when the peer is gone, -EADDRINUSE where such a connection exists, or
 * -ENOBUFS where the peer's sockets have taken all of its memory.
 */
int argo_socket_attach(struct argo_socket *socket, struct argo_peer *peer)
{
	u32 key = argo_socket_key(socket->kind, socket->local_port, socket->remote_port);
	struct argo_socket *other;
	int code = 0;
	u32 window;

	spin_lock_bh(&peer->lock);
	window = argo_window_grant(peer, socket->vsk->buffer_size);
	hash_for_each_possible(peer->sockets, other, node, key)
		if (other->kind == socket->kind && other->local_port == socket->local_port &&
		    other->remote_port == socket->remote_port)
			code = -EADDRINUSE;
	if (peer->state == ARGO_PEER_GONE)
		code = -ECONNRESET;
	else if (window < min_t(u64, ARGO_WINDOW_MIN, socket->vsk->buffer_size))
		code = -ENOBUFS;
	if (!code) {
		kref_get(&peer->kref);
		socket->peer = peer;
		socket->window = window;
		socket->granted = window;
		peer->window_bytes += window;
		hash_add(peer->sockets, &socket->node, key);
		peer->socket_count++;
	}
	spin_unlock_bh(&peer->lock);
	if (!code)
		argo_watch_start();
	return code;
}

/* argo_socket_detach - out of the peer's table; under the socket's lock, or at its very end */
void argo_socket_detach(struct argo_socket *socket)
{
	struct argo_peer *peer = socket->peer;

	if (!peer)
		return;
	spin_lock_bh(&peer->lock);
	hash_del(&socket->node);
	peer->socket_count--;
	peer->window_bytes -= socket->window;
	WRITE_ONCE(socket->peer, NULL);
	spin_unlock_bh(&peer->lock);
	argo_peer_put(peer);
}

/* argo_socket_restart - counters and queue of a connection that begins */
void argo_socket_restart(struct argo_socket *socket)
{
	spin_lock_bh(&socket->lock);
	__skb_queue_purge(&socket->queue);
	socket->queued_bytes = 0;
	socket->messages = 0;
	socket->received = 0;
	socket->taken = 0;
	socket->told = 0;
	socket->sent = 0;
	socket->peer_taken = 0;
	socket->peer_window = 0;
	socket->needed = 0;
	socket->credit_owed = false;
	socket->peer_waits = false;
	socket->asked = false;
	socket->front_bytes = 0;
	spin_unlock_bh(&socket->lock);
}

/* argo_credit - what may be sent now; socket->lock is held */
static u32 argo_credit(struct argo_socket *socket)
{
	u32 under_way = socket->sent - socket->peer_taken;

	lockdep_assert_held(&socket->lock);
	return socket->peer_window > under_way ? socket->peer_window - under_way : 0;
}

/**
 * argo_socket_credit - the other side's window and what it has taken, from one of its frames
 * @bad: set where it claims to have taken what was not sent
 *
 * A frame may be older than one that came before it; it then says nothing new.
 */
void argo_socket_credit(struct argo_socket *socket, u32 window, u32 taken, bool *bad)
{
	struct sock *sk = sk_vsock(socket->vsk);
	bool wake = false;
	u32 advance;

	spin_lock_bh(&socket->lock);
	advance = taken - socket->peer_taken;
	if ((s32)advance >= 0) {
		if (advance > socket->sent - socket->peer_taken) {
			*bad = true;
		} else {
			wake = advance || window > socket->peer_window;
			socket->peer_taken = taken;
			socket->peer_window = window;
			if (wake)
				socket->asked = false;
		}
	}
	spin_unlock_bh(&socket->lock);
	if (wake) {
		argo_spin_learn(socket);
		sk->sk_write_space(sk);
	}
}

static int argo_init(struct vsock_sock *vsk, struct vsock_sock *parent)
{
	struct argo_socket *socket = kzalloc(sizeof(*socket), GFP_KERNEL);

	if (!socket)
		return -ENOMEM;
	kref_init(&socket->kref);
	socket->vsk = vsk;
	spin_lock_init(&socket->lock);
	__skb_queue_head_init(&socket->queue);
	INIT_HLIST_NODE(&socket->node);
	socket->spin_ns = argo_spin_bound_ns();
	switch (sk_vsock(vsk)->sk_type) {
	case SOCK_STREAM:
		socket->kind = ARGO_KIND_STREAM;
		break;
	case SOCK_SEQPACKET:
		socket->kind = ARGO_KIND_SEQPACKET;
		break;
	default:
		socket->kind = ARGO_KIND_DATAGRAM;
		break;
	}
	vsk->trans = socket;
	vsk->buffer_size = min_t(u64, vsk->buffer_size, ARGO_WINDOW_MAX);
	atomic_inc(&argo.socket_count);
	return 0;
}

static void argo_destruct(struct vsock_sock *vsk)
{
	struct argo_socket *socket = vsk->trans;

	if (!socket)
		return;
	argo_dgram_release(socket);
	argo_socket_detach(socket);
	vsk->trans = NULL;
	argo_socket_put(socket);
}

static void argo_release(struct vsock_sock *vsk)
{
	struct argo_socket *socket = vsk->trans;
	struct sock *sk = sk_vsock(vsk);

	argo_dgram_release(socket);
	if (socket->peer && sk->sk_state != TCP_LISTEN) {
		/* As TCP does: what was not read is not lost without a word. */
		if (sk->sk_state == TCP_SYN_SENT || socket->queued_bytes || socket->messages)
			argo_send_control(socket, ARGO_FRAME_RESET, 0);
		else if (vsk->peer_shutdown != SHUTDOWN_MASK)
			argo_send_control(socket, ARGO_FRAME_SHUTDOWN,
					  ARGO_NO_MORE_RECEIVES | ARGO_NO_MORE_SENDS);
		argo_socket_detach(socket);
	}
	sock_set_flag(sk, SOCK_DONE);
	vsock_remove_sock(vsk);
}

static int argo_connect(struct vsock_sock *vsk)
{
	struct argo_socket *socket = vsk->trans;
	u32 domain = vsk->remote_addr.svm_cid - ARGO_CID_OFFSET;
	struct argo_peer *peer;
	int code;

	if (domain >= DOMID_FIRST_RESERVED || domain == argo.domain)
		return -ECONNRESET;
	peer = argo_peer_get(domain);
	if (IS_ERR(peer)) {
		code = PTR_ERR(peer);
		return code == -ESRCH || code == -ECONNREFUSED ? -ECONNRESET : code;
	}
	argo_socket_detach(socket);
	argo_socket_restart(socket);
	socket->local_port = vsk->local_addr.svm_port;
	socket->remote_port = vsk->remote_addr.svm_port;
	code = argo_socket_attach(socket, peer);
	if (!code)
		argo_send_control(socket, ARGO_FRAME_REQUEST, 0);
	argo_peer_put(peer);
	return code;
}

/* argo_cancel - connect() gives up: whatever the other side made of it goes */
static int argo_cancel(struct vsock_sock *vsk)
{
	struct argo_socket *socket = vsk->trans;

	if (socket->peer)
		argo_send_control(socket, ARGO_FRAME_RESET, 0);
	argo_socket_detach(socket);
	return 0;
}

static int argo_shutdown(struct vsock_sock *vsk, int mode)
{
	u8 flags = 0;

	if (mode & RCV_SHUTDOWN)
		flags |= ARGO_NO_MORE_RECEIVES;
	if (mode & SEND_SHUTDOWN)
		flags |= ARGO_NO_MORE_SENDS;
	if (sk_vsock(vsk)->sk_type != SOCK_DGRAM && sk_vsock(vsk)->sk_state == TCP_ESTABLISHED)
		argo_send_control(vsk->trans, ARGO_FRAME_SHUTDOWN, flags);
	return 0;
}

static u32 argo_local_cid(void)
{
	return argo.domain + ARGO_CID_OFFSET;
}

static bool argo_stream_allow(u32 cid, u32 port)
{
	return cid >= ARGO_CID_OFFSET;
}

static bool argo_seqpacket_allow(u32 cid)
{
	return true;
}

static s64 argo_has_data(struct vsock_sock *vsk)
{
	struct argo_socket *socket = vsk->trans;

	return READ_ONCE(socket->queued_bytes) + READ_ONCE(socket->front_bytes);
}

static u32 argo_has_messages(struct vsock_sock *vsk)
{
	struct argo_socket *socket = vsk->trans;

	return READ_ONCE(socket->messages);
}

static s64 argo_has_space(struct vsock_sock *vsk)
{
	struct argo_socket *socket = vsk->trans;
	struct argo_peer *peer = socket->peer;
	u32 credit;

	if (!peer || READ_ONCE(peer->state) != ARGO_PEER_UP)
		return 0;
	if (test_bit(ARGO_PEER_FULL, &peer->flags) || socket->message_under_way)
		return 0;
	spin_lock_bh(&socket->lock);
	credit = argo_credit(socket);
	if (credit < socket->needed)
		credit = 0;
	spin_unlock_bh(&socket->lock);
	return credit;
}

static u64 argo_rcvhiwat(struct vsock_sock *vsk)
{
	return U64_MAX; /* a read of more than the window goes on as the data comes */
}

static bool argo_is_active(struct vsock_sock *vsk)
{
	return sk_vsock(vsk)->sk_state == TCP_ESTABLISHED;
}

/* argo_ask - the writer will sleep: the other side shall say when there is credit */
static void argo_ask(struct argo_socket *socket)
{
	bool ask;

	spin_lock_bh(&socket->lock);
	ask = !socket->asked && argo_credit(socket) < max(socket->needed, 1U);
	socket->asked |= ask;
	spin_unlock_bh(&socket->lock);
	if (ask)
		argo_send_control(socket, ARGO_FRAME_CREDIT_WANTED, 0);
}

/* argo_tell - after a read: the other side hears of it when that matters to it */
static void argo_tell(struct argo_socket *socket)
{
	bool tell;
	u32 due;

	spin_lock_bh(&socket->lock);
	due = socket->taken - socket->told;
	tell = due && (socket->peer_waits || due >= socket->window / ARGO_TELL_SHARE);
	spin_unlock_bh(&socket->lock);
	if (tell)
		argo_send_control(socket, ARGO_FRAME_CREDIT, 0);
}

/* argo_sent - add to (or take back from) the cost of what was sent */
static void argo_sent(struct argo_socket *socket, u32 cost)
{
	spin_lock_bh(&socket->lock);
	socket->sent += cost;
	spin_unlock_bh(&socket->lock);
}

static ssize_t argo_stream_enqueue(struct vsock_sock *vsk, struct msghdr *msg, size_t length)
{
	struct argo_socket *socket = vsk->trans;
	struct argo_peer *peer = socket->peer;
	struct argo_frame frame;
	ssize_t code;
	u32 bytes;

	if (!peer)
		return -ECONNRESET;
	spin_lock_bh(&socket->lock);
	bytes = min3(length, (size_t)argo_credit(socket), (size_t)peer->payload_max);
	socket->sent += bytes; /* first: credit for it may come before the call returns */
	spin_unlock_bh(&socket->lock);
	if (!bytes)
		return 0;
	argo_frame_fill(&frame, socket, ARGO_FRAME_DATA, 0, bytes);
	code = argo_send_payload(peer, msg, &frame, bytes);
	if (code < 0)
		argo_sent(socket, -bytes);
	return code == -EAGAIN ? 0 : code;
}

/**
 * argo_message_send - all frames of a SEQPACKET's message, whose cost is paid
 *
 * Between two of them it waits for room even if the program does not want to wait: half a message
 * cannot be taken back. Return: 0; -EAGAIN if nothing was sent; or another -errno.
 */
static int argo_message_send(struct argo_socket *socket, struct argo_peer *peer,
			     struct msghdr *msg, size_t length)
{
	struct sock *sk = sk_vsock(socket->vsk);
	size_t left = length;
	struct argo_frame frame;
	ssize_t code = 0;

	while (left) {
		u32 bytes = min_t(size_t, left, peer->payload_max);
		u8 flags = 0;

		if (bytes == left)
			flags = ARGO_END_OF_MESSAGE |
				(msg->msg_flags & MSG_EOR ? ARGO_END_OF_RECORD : 0);
		argo_frame_fill(&frame, socket, ARGO_FRAME_DATA, flags, bytes);
		code = argo_send_payload(peer, msg, &frame, bytes);
		if (code >= 0) {
			left -= bytes;
			continue;
		}
		if (code != -EAGAIN || left == length)
			break;
		socket->message_under_way = true;
		code = argo_peer_wait_room(peer, sk, true);
		socket->message_under_way = false;
		if (!socket->peer || sk->sk_err)
			return -ECONNRESET;
		if (code && code != -ETIMEDOUT)
			break;
	}
	if (left && left != length) {
		argo_send_control(socket, ARGO_FRAME_RESET, 0);
		argo_socket_detach(socket);
		argo_connection_reset(socket, ECONNRESET);
	}
	return code < 0 ? code : 0;
}

static int argo_seqpacket_enqueue(struct vsock_sock *vsk, struct msghdr *msg, size_t length)
{
	struct argo_socket *socket = vsk->trans;
	struct argo_peer *peer = socket->peer;
	u64 cost;
	int code;

	if (!peer)
		return -ECONNRESET;
	cost = length + DIV_ROUND_UP(length, peer->payload_max) * (u64)ARGO_MESSAGE_COST;
	spin_lock_bh(&socket->lock);
	if (cost > socket->peer_window) {
		spin_unlock_bh(&socket->lock);
		return -EMSGSIZE;
	}
	if (argo_credit(socket) < cost) {
		socket->needed = cost; /* has_space() is 0 until then */
		spin_unlock_bh(&socket->lock);
		return 0;
	}
	socket->needed = 0;
	socket->sent += cost;
	spin_unlock_bh(&socket->lock);

	kref_get(&peer->kref);
	code = argo_message_send(socket, peer, msg, length);
	if (code == -EAGAIN) {
		argo_sent(socket, -(u32)cost);
		code = 0;
	} else if (!code) {
		code = length;
	}
	argo_peer_put(peer);
	return code;
}

/* argo_next - the piece behind @skb (NULL: the first), and how much of it there is now */
static struct sk_buff *argo_next(struct argo_socket *socket, struct sk_buff *skb, u32 *bytes)
{
	spin_lock_bh(&socket->lock);
	skb = skb ? skb_peek_next(skb, &socket->queue) : skb_peek(&socket->queue);
	if (skb)
		*bytes = skb->len - argo_cb(skb)->offset;
	spin_unlock_bh(&socket->lock);
	return skb;
}

/* argo_take - @bytes of the first piece were read; it goes when nothing is left of it */
static void argo_take(struct argo_socket *socket, struct sk_buff *skb, u32 bytes)
{
	bool whole;

	spin_lock_bh(&socket->lock);
	argo_cb(skb)->offset += bytes;
	whole = argo_cb(skb)->offset == skb->len;
	socket->queued_bytes -= bytes;
	if (socket->kind == ARGO_KIND_STREAM)
		socket->taken += bytes;
	if (whole) {
		__skb_unlink(skb, &socket->queue);
		if (socket->kind == ARGO_KIND_SEQPACKET)
			socket->taken += argo_cb(skb)->cost;
		if (argo_cb(skb)->flags & ARGO_END_OF_MESSAGE)
			socket->messages--;
	}
	spin_unlock_bh(&socket->lock);
	if (whole)
		consume_skb(skb);
}

/* argo_fetch - who only peeks gets what was left to a reader into the queue; whether it is there */
static bool argo_fetch(struct argo_socket *socket)
{
	struct argo_peer *peer = socket->peer;

	while (peer && READ_ONCE(socket->front_bytes) && READ_ONCE(peer->state) == ARGO_PEER_UP &&
	       !test_bit(ARGO_PEER_FAILED, &peer->flags)) {
		argo_receive_own(peer, NULL);
		cond_resched();
	}
	return !skb_queue_empty(&socket->queue);
}

static ssize_t argo_stream_dequeue(struct vsock_sock *vsk, struct msghdr *msg, size_t length,
				   int flags)
{
	struct argo_socket *socket = vsk->trans;
	bool peek = flags & MSG_PEEK;
	struct sk_buff *skb = NULL;
	size_t done = 0;
	u32 bytes;

	argo_spin_woken(socket);
	while (done < length) {
		skb = argo_next(socket, peek ? skb : NULL, &bytes);
		if (!skb && !done && peek && argo_fetch(socket))
			continue;
		if (!skb && !peek) {
			bytes = argo_receive_direct(socket, msg, length - done);
			done += bytes;
			if (bytes || !skb_queue_empty(&socket->queue))
				continue;
		}
		if (!skb)
			break;
		bytes = min_t(size_t, bytes, length - done);
		if (skb_copy_datagram_msg(skb, argo_cb(skb)->offset, msg, bytes)) {
			if (!done)
				return -EFAULT;
			break;
		}
		done += bytes;
		if (!peek)
			argo_take(socket, skb, bytes);
	}
	if (!peek)
		argo_tell(socket);
	return done;
}

static ssize_t argo_seqpacket_dequeue(struct vsock_sock *vsk, struct msghdr *msg, int flags)
{
	struct argo_socket *socket = vsk->trans;
	bool peek = flags & MSG_PEEK;
	struct sk_buff *skb = NULL;
	size_t total = 0;
	u8 ends = 0;
	int code = 0;
	u32 bytes;

	argo_spin_woken(socket);
	while (socket->messages && !(ends & ARGO_END_OF_MESSAGE)) {
		skb = argo_next(socket, peek ? skb : NULL, &bytes);
		if (!skb)
			break;
		ends = argo_cb(skb)->flags;
		if (!code && msg_data_left(msg))
			code = skb_copy_datagram_msg(skb, 0, msg,
						     min_t(size_t, bytes, msg_data_left(msg)));
		total += bytes;
		if (!peek)
			argo_take(socket, skb, bytes);
	}
	if (ends & ARGO_END_OF_RECORD)
		msg->msg_flags |= MSG_EOR;
	if (!peek)
		argo_tell(socket);
	if (code)
		return code;
	return total;
}

/* argo_readable - a reader need not sleep */
static bool argo_readable(struct argo_socket *socket)
{
	return socket->kind == ARGO_KIND_SEQPACKET ?
		READ_ONCE(socket->messages) > 0 : argo_has_data(socket->vsk) > 0;
}

/* argo_writable - a writer need not sleep */
static bool argo_writable(struct argo_socket *socket)
{
	return argo_has_space(socket->vsk) > 0;
}

/*
 * argo_notify_poll_in - for poll(), which does not say whether it would wait: so it looks at the
 * ring once, as the tasklet would, and spins only where Linux calls it again and again (sysctl
 * net.core.busy_poll, with busy_read or SO_BUSY_POLL)
 */
static int argo_notify_poll_in(struct vsock_sock *vsk, size_t target, bool *ready)
{
	struct argo_socket *socket = vsk->trans;
	struct argo_peer *peer = socket->peer;

	if (peer && READ_ONCE(peer->state) == ARGO_PEER_UP && !argo_readable(socket))
		argo_receive_own(peer, NULL);
	if (sk_vsock(vsk)->sk_type == SOCK_SEQPACKET)
		*ready = argo_has_messages(vsk) > 0;
	else
		*ready = argo_has_data(vsk) >= target;
	return 0;
}

static int argo_notify_poll_out(struct vsock_sock *vsk, size_t target, bool *ready)
{
	*ready = argo_has_space(vsk) > 0;
	if (!*ready)
		argo_ask(vsk->trans);
	return 0;
}

static int argo_notify_recv_block(struct vsock_sock *vsk, size_t target,
				  struct vsock_transport_recv_notify_data *data)
{
	argo_spin(vsk->trans, argo_readable, vsk->trans);
	return 0;
}

static int argo_notify_recv(struct vsock_sock *vsk, size_t target,
			    struct vsock_transport_recv_notify_data *data)
{
	return 0;
}

static int argo_notify_recv_post(struct vsock_sock *vsk, size_t target, ssize_t copied,
				 bool data_read, struct vsock_transport_recv_notify_data *data)
{
	return 0;
}

static int argo_notify_send(struct vsock_sock *vsk, struct vsock_transport_send_notify_data *data)
{
	return 0;
}

static int argo_notify_send_block(struct vsock_sock *vsk,
				  struct vsock_transport_send_notify_data *data)
{
	argo_ask(vsk->trans);
	argo_spin(vsk->trans, argo_writable, NULL);
	return 0;
}

static int argo_notify_send_post(struct vsock_sock *vsk, ssize_t written,
				 struct vsock_transport_send_notify_data *data)
{
	return 0;
}

/* argo_notify_buffer_size - SO_VM_SOCKETS_BUFFER_SIZE: the window grows or shrinks with it */
static void argo_notify_buffer_size(struct vsock_sock *vsk, u64 *size)
{
	struct argo_socket *socket = vsk->trans;
	struct argo_peer *peer = socket->peer;

	*size = min_t(u64, *size, ARGO_WINDOW_MAX);
	if (!peer)
		return;
	spin_lock_bh(&peer->lock);
	peer->window_bytes -= socket->window;
	spin_lock(&socket->lock);
	socket->window = argo_window_grant(peer, *size);
	socket->granted = max(socket->granted, socket->window);
	spin_unlock(&socket->lock);
	peer->window_bytes += socket->window;
	spin_unlock_bh(&peer->lock);
	if (sk_vsock(vsk)->sk_state == TCP_ESTABLISHED)
		argo_send_control(socket, ARGO_FRAME_CREDIT, 0);
}

const struct vsock_transport argo_transport = {
	.module = THIS_MODULE,
	.init = argo_init,
	.destruct = argo_destruct,
	.release = argo_release,
	.cancel_pkt = argo_cancel,
	.connect = argo_connect,
	.dgram_bind = argo_dgram_bind,
	.dgram_dequeue = argo_dgram_dequeue,
	.dgram_enqueue = argo_dgram_enqueue,
	.dgram_allow = argo_dgram_allow,
	.stream_dequeue = argo_stream_dequeue,
	.stream_enqueue = argo_stream_enqueue,
	.stream_has_data = argo_has_data,
	.stream_has_space = argo_has_space,
	.stream_rcvhiwat = argo_rcvhiwat,
	.stream_is_active = argo_is_active,
	.stream_allow = argo_stream_allow,
	.seqpacket_dequeue = argo_seqpacket_dequeue,
	.seqpacket_enqueue = argo_seqpacket_enqueue,
	.seqpacket_allow = argo_seqpacket_allow,
	.seqpacket_has_data = argo_has_messages,
	.notify_poll_in = argo_notify_poll_in,
	.notify_poll_out = argo_notify_poll_out,
	.notify_recv_init = argo_notify_recv,
	.notify_recv_pre_block = argo_notify_recv_block,
	.notify_recv_pre_dequeue = argo_notify_recv,
	.notify_recv_post_dequeue = argo_notify_recv_post,
	.notify_send_init = argo_notify_send,
	.notify_send_pre_block = argo_notify_send_block,
	.notify_send_pre_enqueue = argo_notify_send,
	.notify_send_post_enqueue = argo_notify_send_post,
	.notify_buffer_size = argo_notify_buffer_size,
	.shutdown = argo_shutdown,
	.get_local_cid = argo_local_cid,
};
