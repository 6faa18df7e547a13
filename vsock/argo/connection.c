// SPDX-License-Identifier: GPL-2.0-only
/*
 * Set-up, half-close, reset and end of connections, as frames ask for them.
 *
 * All of this runs in the peer's work and takes the socket's lock. A connection's state is
 * sk->sk_state: TCP_SYN_SENT from connect() to RESPONSE, TCP_ESTABLISHED until close(). The end of
 * the other side is in vsk->peer_shutdown, a reset in sk->sk_err: what came before can be read.
 */
#include "argo.h"

static struct argo_socket *argo_of(struct sock *sk)
{
	return vsock_sk(sk)->trans;
}

/**
 * argo_connection_reset - the connection is broken; the socket's lock is held
 * @error: what the program gets, after what it can still read; nothing new where the other side had
 *	closed before
 */
void argo_connection_reset(struct argo_socket *socket, int error)
{
	struct vsock_sock *vsk = socket->vsk;
	struct sock *sk = sk_vsock(vsk);

	if (sk->sk_state == TCP_SYN_SENT)
		sk->sk_state = TCP_CLOSE;
	else if (vsk->peer_shutdown == SHUTDOWN_MASK)
		return;
	vsk->peer_shutdown = SHUTDOWN_MASK;
	sock_set_flag(sk, SOCK_DONE);
	sk->sk_err = error;
	sk_error_report(sk);
	sk->sk_state_change(sk);
}

/* argo_child_make - the accepted side's socket, in the peer's table; NULL if it cannot be had */
static struct sock *argo_child_make(struct argo_peer *peer, struct sock *listener,
				    const struct argo_checked *frame)
{
	struct sock *child = vsock_create_connected(listener);
	struct argo_socket *socket;
	struct vsock_sock *vsk;

	if (!child)
		return NULL;
	vsk = vsock_sk(child);
	lock_sock_nested(child, SINGLE_DEPTH_NESTING);
	vsock_addr_init(&vsk->local_addr, argo.domain + ARGO_CID_OFFSET, frame->target_port);
	vsock_addr_init(&vsk->remote_addr, peer->domain + ARGO_CID_OFFSET, frame->source_port);
	if (vsock_assign_transport(vsk, vsock_sk(listener)) || vsk->transport != &argo_transport)
		goto failed;
	socket = argo_of(child);
	socket->local_port = frame->target_port;
	socket->remote_port = frame->source_port;
	socket->peer_window = frame->window;
	if (argo_socket_attach(socket, peer))
		goto failed;
	child->sk_state = TCP_ESTABLISHED;
	vsock_insert_connected(vsk);
	release_sock(child);
	return child;
failed:
	release_sock(child);
	sock_put(child);
	return NULL;
}

/* argo_connection_request - REQUEST: a child for the listener's queue and RESPONSE, or RESET */
static void argo_connection_request(struct argo_peer *peer, const struct argo_checked *frame)
{
	u16 type = frame->kind == ARGO_KIND_STREAM ? SOCK_STREAM : SOCK_SEQPACKET;
	struct sock *listener, *child = NULL;
	struct sockaddr_vm address;

	vsock_addr_init(&address, argo.domain + ARGO_CID_OFFSET, frame->target_port);
	listener = vsock_find_bound_socket(&address);
	if (!listener) {
		argo_send_reset(peer, frame);
		return;
	}
	lock_sock(listener);
	if (listener->sk_state == TCP_LISTEN && listener->sk_type == type &&
	    !(listener->sk_shutdown & RCV_SHUTDOWN) && !sk_acceptq_is_full(listener))
		child = argo_child_make(peer, listener, frame);
	if (child) {
		argo_send_control(argo_of(child), ARGO_FRAME_RESPONSE, 0);
		sk_acceptq_added(listener);
		vsock_enqueue_accept(listener, child);
		listener->sk_data_ready(listener);
	} else {
		argo_send_reset(peer, frame);
	}
	release_sock(listener);
	sock_put(listener);
}

/* argo_connection_response - RESPONSE: connect() has succeeded */
static void argo_connection_response(struct argo_peer *peer, struct argo_socket *socket,
				     const struct argo_checked *frame)
{
	struct vsock_sock *vsk = socket->vsk;
	struct sock *sk = sk_vsock(vsk);

	if (sk->sk_state != TCP_SYN_SENT || !sk->sk_socket) {
		argo_send_reset(peer, frame);
		return;
	}
	spin_lock_bh(&socket->lock);
	socket->peer_window = frame->window;
	spin_unlock_bh(&socket->lock);
	sk->sk_state = TCP_ESTABLISHED;
	sk->sk_socket->state = SS_CONNECTED;
	vsock_insert_connected(vsk);
	sk->sk_state_change(sk);
}

/* argo_connection_shutdown - SHUTDOWN: the other side will not send, not receive, or neither */
static void argo_connection_shutdown(struct argo_socket *socket, const struct argo_checked *frame)
{
	struct vsock_sock *vsk = socket->vsk;
	struct sock *sk = sk_vsock(vsk);

	if (frame->flags & ARGO_NO_MORE_RECEIVES)
		vsk->peer_shutdown |= RCV_SHUTDOWN;
	if (frame->flags & ARGO_NO_MORE_SENDS)
		vsk->peer_shutdown |= SEND_SHUTDOWN;
	if (vsk->peer_shutdown == SHUTDOWN_MASK)
		sock_set_flag(sk, SOCK_DONE);
	sk->sk_state_change(sk);
}

/* argo_connection_known - a frame for a socket in the peer's table */
static void argo_connection_known(struct argo_peer *peer, struct argo_socket *socket,
				  const struct argo_checked *frame)
{
	struct sock *sk = sk_vsock(socket->vsk);

	lock_sock(sk);
	if (!socket->peer) {
		release_sock(sk);
		return; /* closed just now */
	}
	switch (frame->type) {
	case ARGO_FRAME_RESPONSE:
		argo_connection_response(peer, socket, frame);
		break;
	case ARGO_FRAME_SHUTDOWN:
		argo_connection_shutdown(socket, frame);
		break;
	default: /* RESET, or a REQUEST by a side that has forgotten the connection */
		argo_socket_detach(socket);
		argo_connection_reset(socket, ECONNRESET);
		break;
	}
	release_sock(sk);
}

/* argo_connection_frame - a frame that was checked and is none of argo_fast_frame()'s */
void argo_connection_frame(struct argo_peer *peer, const struct argo_checked *frame)
{
	struct argo_socket *socket;

	if (frame->type == ARGO_FRAME_BYE) {
		argo_peer_fail(peer, "has said goodbye");
		return;
	}
	socket = argo_socket_find(peer, frame->kind, frame->target_port, frame->source_port);
	if (socket) {
		argo_connection_known(peer, socket, frame);
		sock_put(sk_vsock(socket->vsk));
		argo_socket_put(socket);
	}
	if (frame->type == ARGO_FRAME_REQUEST)
		argo_connection_request(peer, frame);
	else if (!socket)
		argo_send_reset(peer, frame);
}
