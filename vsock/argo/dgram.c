// SPDX-License-Identifier: GPL-2.0-only
/*
 * Datagrams: no connection and no credit. Each is one frame, so ARGO_PAYLOAD_MAX is its limit (less
 * where the receiver's ring is small). A sender waits for room in the receiver's ring; a receiver
 * whose socket is full (SO_RCVBUF) loses what comes.
 *
 * Bound sockets are in argo.dgrams by their port, under argo.dgram_lock.
 */
#include "argo.h"

#define ARGO_PORTS_TRIED 1000

/* argo_dgram_find - the socket bound to a port; argo.dgram_lock is held */
static struct argo_socket *argo_dgram_find(u32 port)
{
	struct argo_socket *socket;

	lockdep_assert_held(&argo.dgram_lock);
	hash_for_each_possible(argo.dgrams, socket, node, port)
		if (socket->local_port == port)
			return socket;
	return NULL;
}

/* argo_dgram_free_port - one above the reserved ones, or VMADDR_PORT_ANY if none is found */
static u32 argo_dgram_free_port(void)
{
	int tries;

	for (tries = 0; tries < ARGO_PORTS_TRIED; tries++) {
		u32 port = argo.dgram_port++;

		if (port <= LAST_RESERVED_PORT || port == VMADDR_PORT_ANY)
			continue;
		if (!argo_dgram_find(port))
			return port;
	}
	return VMADDR_PORT_ANY;
}

int argo_dgram_bind(struct vsock_sock *vsk, struct sockaddr_vm *address)
{
	struct argo_socket *socket = vsk->trans;
	u32 port = address->svm_port;
	int code = 0;

	if (port <= LAST_RESERVED_PORT && !capable(CAP_NET_BIND_SERVICE))
		return -EACCES;
	spin_lock_bh(&argo.dgram_lock);
	if (port == VMADDR_PORT_ANY) {
		port = argo_dgram_free_port();
		if (port == VMADDR_PORT_ANY)
			code = -EADDRNOTAVAIL;
	} else if (argo_dgram_find(port)) {
		code = -EADDRINUSE;
	}
	if (!code) {
		socket->local_port = port;
		hash_add(argo.dgrams, &socket->node, port);
		vsock_addr_init(&vsk->local_addr, address->svm_cid, port);
	}
	spin_unlock_bh(&argo.dgram_lock);
	return code;
}

/* argo_dgram_release - out of the table; nothing for sockets of another kind */
void argo_dgram_release(struct argo_socket *socket)
{
	if (socket->kind != ARGO_KIND_DATAGRAM)
		return;
	spin_lock_bh(&argo.dgram_lock);
	if (hash_hashed(&socket->node))
		hash_del(&socket->node);
	spin_unlock_bh(&argo.dgram_lock);
}

bool argo_dgram_allow(u32 cid, u32 port)
{
	return cid >= ARGO_CID_OFFSET && cid - ARGO_CID_OFFSET < DOMID_FIRST_RESERVED;
}

/* argo_dgram_deliver - to the socket of a port of ours, if there is one with room; takes the skb */
static void argo_dgram_deliver(u32 port, struct sk_buff *skb)
{
	struct argo_socket *socket;
	struct sock *sk = NULL;

	spin_lock_bh(&argo.dgram_lock);
	socket = argo_dgram_find(port);
	if (socket && refcount_inc_not_zero(&sk_vsock(socket->vsk)->sk_refcnt))
		sk = sk_vsock(socket->vsk);
	spin_unlock_bh(&argo.dgram_lock);
	if (!sk || sock_queue_rcv_skb(sk, skb))
		kfree_skb(skb);
	if (sk)
		sock_put(sk);
}

/* argo_dgram_receive - a datagram from a peer; takes the skb */
void argo_dgram_receive(struct argo_peer *peer, const struct argo_checked *frame,
			struct sk_buff *skb)
{
	argo_cb(skb)->cid = peer->domain + ARGO_CID_OFFSET;
	argo_cb(skb)->port = frame->source_port;
	argo_dgram_deliver(frame->target_port, skb);
}

/* argo_dgram_loop - to a socket of this domain */
static int argo_dgram_loop(struct argo_socket *socket, u32 port, struct msghdr *msg, size_t bytes)
{
	struct sk_buff *skb;

	if (bytes > ARGO_PAYLOAD_MAX)
		return -EMSGSIZE;
	skb = alloc_skb(bytes, GFP_KERNEL);
	if (!skb)
		return -ENOMEM;
	if (memcpy_from_msg(skb_put(skb, bytes), msg, bytes)) {
		kfree_skb(skb);
		return -EFAULT;
	}
	memset(skb->cb, 0, sizeof(skb->cb));
	argo_cb(skb)->cid = argo.domain + ARGO_CID_OFFSET;
	argo_cb(skb)->port = socket->local_port;
	argo_dgram_deliver(port, skb);
	return bytes;
}

/* argo_dgram_send - one frame to a peer; waits for its greeting, and for room */
static int argo_dgram_send(struct argo_socket *socket, struct argo_peer *peer, u32 port,
			   struct msghdr *msg, size_t bytes)
{
	struct sock *sk = sk_vsock(socket->vsk);
	bool wait = !(msg->msg_flags & MSG_DONTWAIT);
	struct argo_frame frame;
	ssize_t sent;
	int code = 0;

	if (READ_ONCE(peer->state) == ARGO_PEER_NEW)
		code = argo_peer_wait_room(peer, sk, false);
	while (!code) {
		if (READ_ONCE(peer->state) == ARGO_PEER_UP && bytes > peer->payload_max)
			return -EMSGSIZE;
		argo_frame_fill(&frame, socket, ARGO_FRAME_DATAGRAM, 0, bytes);
		frame.target_port = cpu_to_le32(port);
		sent = argo_send_payload(peer, msg, &frame, bytes);
		if (sent != -EAGAIN || !wait)
			return sent;
		code = argo_peer_wait_room(peer, sk, false);
	}
	return code;
}

int argo_dgram_enqueue(struct vsock_sock *vsk, struct sockaddr_vm *to, struct msghdr *msg,
		       size_t bytes)
{
	struct argo_socket *socket = vsk->trans;
	u32 domain = to->svm_cid - ARGO_CID_OFFSET;
	struct argo_peer *peer;
	int code;

	if (bytes > ARGO_PAYLOAD_MAX)
		return -EMSGSIZE;
	if (domain == argo.domain)
		return argo_dgram_loop(socket, to->svm_port, msg, bytes);
	peer = argo_peer_get(domain);
	if (IS_ERR(peer))
		return PTR_ERR(peer) == -ESRCH ? -EHOSTUNREACH : PTR_ERR(peer);
	code = argo_dgram_send(socket, peer, to->svm_port, msg, bytes);
	argo_peer_put(peer);
	return code;
}

int argo_dgram_dequeue(struct vsock_sock *vsk, struct msghdr *msg, size_t bytes, int flags)
{
	struct sk_buff *skb;
	size_t copied;
	int code;

	if (flags & (MSG_OOB | MSG_ERRQUEUE))
		return -EOPNOTSUPP;
	skb = skb_recv_datagram(sk_vsock(vsk), flags, &code);
	if (!skb)
		return code;
	copied = min_t(size_t, bytes, skb->len);
	if (copied < skb->len)
		msg->msg_flags |= MSG_TRUNC;
	code = skb_copy_datagram_msg(skb, 0, msg, copied);
	if (!code && msg->msg_name) {
		DECLARE_SOCKADDR(struct sockaddr_vm *, from, msg->msg_name);

		vsock_addr_init(from, argo_cb(skb)->cid, argo_cb(skb)->port);
		msg->msg_namelen = sizeof(*from);
	}
	if (!code)
		code = flags & MSG_TRUNC ? skb->len : copied;
	skb_free_datagram(sk_vsock(vsk), skb);
	return code;
}
