// SPDX-License-Identifier: GPL-2.0-only
/*
 * Peers: greeting, watching, retiring.
 *
 *	argo_peer_get()		registers our ring for a domain and greets it
 *	argo_hello_work()	greetings of others: a peer comes UP, or an old life is retired
 *	argo_watch_work()	while sockets exist: is each peer's ring still there? Xen drops the
 *				rings of a dead domain, and raises no interrupt for it
 *	argo_peer_retire()	the end of one life of a peer; its work then resets its sockets
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/random.h>
#include <linux/slab.h>

#include "argo.h"

#define ARGO_HELLOS_MAX	64	/* in one turn of the work */

static void argo_peer_free(struct work_struct *work)
{
	struct argo_peer *peer = container_of(to_rcu_work(work), struct argo_peer, free_work);

	argo_ring_free(&peer->ring);
	kfree(peer);
	atomic_dec(&argo.peer_count);
}

static void argo_peer_release(struct kref *kref)
{
	struct argo_peer *peer = container_of(kref, struct argo_peer, kref);

	/* The tasklet may still look at the ring, under RCU. */
	queue_rcu_work(argo.queue, &peer->free_work);
}

void argo_peer_put(struct argo_peer *peer)
{
	kref_put(&peer->kref, argo_peer_release);
}

/* argo_peer_find - the living peer of that number, with a reference, or NULL */
struct argo_peer *argo_peer_find(u16 domain)
{
	struct argo_peer *peer;

	rcu_read_lock();
	peer = xa_load(&argo.peers, domain);
	if (peer && !kref_get_unless_zero(&peer->kref))
		peer = NULL;
	rcu_read_unlock();
	return peer;
}

/* argo_peer_queue_work - the peer's work, which holds a reference of its own */
void argo_peer_queue_work(struct argo_peer *peer)
{
	kref_get(&peer->kref);
	if (!queue_work(argo.queue, &peer->work))
		argo_peer_put(peer);
}

/* argo_peer_fail - retire it soon; may be called from anywhere. @why is kept, not copied */
void argo_peer_fail(struct argo_peer *peer, const char *why)
{
	if (test_and_set_bit(ARGO_PEER_FAILED, &peer->flags))
		return;
	WRITE_ONCE(peer->failure, why);
	argo_peer_queue_work(peer);
}

/* argo_peer_reset_sockets - each of its sockets leaves the table and is reset */
static void argo_peer_reset_sockets(struct argo_peer *peer)
{
	struct argo_socket *socket;
	struct sock *sk;
	int bucket;

	for (;;) {
		sk = NULL;
		spin_lock_bh(&peer->lock);
		hash_for_each(peer->sockets, bucket, socket, node) {
			argo_socket_get(socket);
			sk = sk_vsock(socket->vsk);
			sock_hold(sk);
			break;
		}
		spin_unlock_bh(&peer->lock);
		if (!sk)
			return;
		lock_sock(sk);
		argo_socket_detach(socket);
		argo_connection_reset(socket, ECONNRESET);
		release_sock(sk);
		argo_socket_put(socket);
		sock_put(sk);
		cond_resched();
	}
}

/* argo_peer_retire - from NEW or UP to GONE, under argo.mutex; its work resets its connections */
static void argo_peer_retire(struct argo_peer *peer, const char *why)
{
	struct argo_owed *owed, *next;

	lockdep_assert_held(&argo.mutex);
	spin_lock_bh(&peer->lock);
	if (peer->state == ARGO_PEER_GONE) {
		spin_unlock_bh(&peer->lock);
		return;
	}
	peer->state = ARGO_PEER_GONE;
	list_for_each_entry_safe(owed, next, &peer->owed, node) {
		list_del(&owed->node);
		kfree(owed);
	}
	spin_unlock_bh(&peer->lock);

	pr_debug("domain %u: %s\n", peer->domain, why);
	xa_erase(&argo.peers, peer->domain);
	argo_ring_unregister(&peer->ring);
	wake_up_all(&peer->wait);
	argo_peer_queue_work(peer); /* resets the sockets: their locks come before the mutex */
	argo_peer_put(peer);
}

/* argo_peer_retire_all - the module goes, or the domain has got another number */
void argo_peer_retire_all(const char *why)
{
	struct argo_peer *peer;
	unsigned long domain;

	mutex_lock(&argo.mutex);
	xa_for_each(&argo.peers, domain, peer)
		argo_peer_retire(peer, why);
	mutex_unlock(&argo.mutex);
}

static void argo_peer_work(struct work_struct *work)
{
	struct argo_peer *peer = container_of(work, struct argo_peer, work);

	if (!test_bit(ARGO_PEER_FAILED, &peer->flags))
		argo_receive_work(peer);
	if (test_bit(ARGO_PEER_FAILED, &peer->flags)) {
		mutex_lock(&argo.mutex);
		argo_peer_retire(peer, READ_ONCE(peer->failure));
		mutex_unlock(&argo.mutex);
	}
	if (READ_ONCE(peer->state) == ARGO_PEER_GONE)
		argo_peer_reset_sockets(peer);
	argo_peer_put(peer);
}

/* argo_peer_greet - 0 or -errno; -EAGAIN where its hello ring is full: argo_watch_work() repeats */
static int argo_peer_greet(struct argo_peer *peer, bool reply_wanted)
{
	struct argo_hello hello = {
		.magic = cpu_to_le32(ARGO_HELLO_MAGIC),
		.version = ARGO_VERSION,
		.flags = reply_wanted ? ARGO_HELLO_REPLY_WANTED : 0,
		.epoch = cpu_to_le32(argo.epoch),
		.echo = cpu_to_le32(peer->epoch),
		.ring_bytes = cpu_to_le32(peer->ring.length),
	};
	struct argo_iov iov = { .address = (unsigned long)&hello, .bytes = sizeof(hello) };

	return argo_hypervisor_send(peer->domain, ARGO_PORT_HELLO, &iov, 1);
}

/* argo_peer_make - a NEW peer with its ring, in the table; a pointer or an ERR_PTR */
static struct argo_peer *argo_peer_make(u16 domain)
{
	struct argo_peer *peer = kzalloc(sizeof(*peer), GFP_KERNEL);
	int code;

	lockdep_assert_held(&argo.mutex);
	if (!peer)
		return ERR_PTR(-ENOMEM);
	kref_init(&peer->kref);
	peer->domain = domain;
	spin_lock_init(&peer->lock);
	hash_init(peer->sockets);
	INIT_LIST_HEAD(&peer->owed);
	init_waitqueue_head(&peer->wait);
	INIT_WORK(&peer->work, argo_peer_work);
	INIT_RCU_WORK(&peer->free_work, argo_peer_free);
	code = argo_ring_register(&peer->ring, argo_ring_size, ARGO_PORT_DATA, domain);
	if (code) {
		kfree(peer);
		return ERR_PTR(code);
	}
	atomic_inc(&argo.peer_count);
	code = xa_err(xa_store(&argo.peers, domain, peer, GFP_KERNEL));
	if (code) {
		argo_ring_unregister(&peer->ring);
		argo_peer_put(peer);
		return ERR_PTR(code);
	}
	return peer;
}

/**
 * argo_peer_get - the peer of that number, greeted if it was not known
 *
 * Return: a reference, or an ERR_PTR: -ESRCH where there is no such domain, -ECONNREFUSED where it
 * does not speak our protocol.
 */
struct argo_peer *argo_peer_get(u16 domain)
{
	struct argo_peer *peer;
	int code = 0;

	mutex_lock(&argo.mutex);
	peer = xa_load(&argo.peers, domain);
	/* Nobody watches a peer without sockets: another domain may have its number by now. */
	if (peer && peer->state == ARGO_PEER_UP && !test_bit(ARGO_PEER_FULL, &peer->flags) &&
	    !(argo_hypervisor_query(domain, ARGO_PORT_DATA, 0) & ARGO_RING_EXISTS)) {
		argo_peer_retire(peer, "has gone");
		peer = NULL;
	}
	if (!peer) {
		/* Asked first: a message to a ring that is not there leaves a line in Xen's log. */
		if (!(argo_hypervisor_query(domain, ARGO_PORT_HELLO, 0) & ARGO_RING_EXISTS)) {
			mutex_unlock(&argo.mutex);
			return ERR_PTR(-ECONNREFUSED);
		}
		peer = argo_peer_make(domain);
		if (!IS_ERR(peer))
			code = argo_peer_greet(peer, true);
		if (code && code != -EAGAIN) {
			argo_peer_retire(peer, "cannot be greeted");
			peer = ERR_PTR(code);
		}
	}
	if (!IS_ERR(peer))
		kref_get(&peer->kref);
	mutex_unlock(&argo.mutex);
	return peer;
}

/* argo_peer_up - from NEW to UP: frames may flow */
static void argo_peer_up(struct argo_peer *peer, const struct argo_greeting *greeting)
{
	/* Xen's header comes on top, and it never fills the last slot. */
	u32 share = (greeting->ring_bytes - ARGO_SLOT) / ARGO_RING_SHARE / ARGO_SLOT * ARGO_SLOT -
		    sizeof(struct argo_message_header) - sizeof(struct argo_frame);

	lockdep_assert_held(&argo.mutex);
	spin_lock_bh(&peer->lock);
	peer->epoch = greeting->epoch;
	peer->session = greeting->epoch + argo.epoch;
	peer->payload_max = min_t(u32, share, ARGO_PAYLOAD_MAX);
	peer->state = ARGO_PEER_UP;
	spin_unlock_bh(&peer->lock);
	set_bit(ARGO_PEER_FULL, &peer->flags);
	argo_peer_room(peer); /* what was owed so far goes out, and all who wait wake up */
	tasklet_schedule(&argo.tasklet);
}

/* argo_hello_take - one greeting from @domain; the hypervisor vouches for the number */
static void argo_hello_take(u16 domain, const struct argo_greeting *greeting)
{
	struct argo_peer *peer;

	mutex_lock(&argo.mutex);
	peer = xa_load(&argo.peers, domain);
	if (greeting->echo && greeting->echo != argo.epoch && !greeting->reply_wanted)
		goto out; /* a reply to an earlier life of ours */
	if (peer && peer->state == ARGO_PEER_UP && peer->epoch != greeting->epoch) {
		argo_peer_retire(peer, "has begun a new life");
		peer = NULL;
	}
	if (!peer) {
		peer = argo_peer_make(domain);
		if (IS_ERR(peer)) {
			pr_notice_ratelimited("no ring for domain %u: error %ld\n", domain,
					      -PTR_ERR(peer));
			goto out;
		}
	}
	if (peer->state == ARGO_PEER_NEW)
		argo_peer_up(peer, greeting);
	if (greeting->reply_wanted)
		argo_peer_greet(peer, false);
out:
	mutex_unlock(&argo.mutex);
}

/* argo_hello_work - empties the hello ring */
void argo_hello_work(struct work_struct *work)
{
	struct argo_greeting greeting;
	struct argo_message message;
	struct argo_hello hello;
	int left = ARGO_HELLOS_MAX;
	int found;

	while (left-- && (found = argo_ring_peek(&argo.hello, &message)) != 0) {
		bool good = false;

		if (found < 0) {
			/* Where the next message starts is not known: all are passed over. */
			message.next = READ_ONCE(argo.hello.shared->tx_ptr);
			if (argo_ring_used(argo.hello.length, 0, message.next) < 0)
				return;
		} else if (message.bytes == sizeof(hello)) {
			argo_ring_copy(&argo.hello, message.at, &hello, sizeof(hello));
			good = argo_hello_check(&hello, message.bytes, &greeting);
		}
		argo_ring_advance(&argo.hello, &message);
		if (good && message.domain != argo.domain)
			argo_hello_take(message.domain, &greeting);
	}
	argo_hypervisor_probe(); /* Xen looks whether someone waited for room */
	if (!argo_ring_empty(&argo.hello))
		queue_work(argo.queue, &argo.hello_work);
}

/* argo_watch_start - called when a socket joins a peer */
void argo_watch_start(void)
{
	unsigned int interval_ms = max(READ_ONCE(argo_watch_ms), 1U);

	queue_delayed_work(argo.queue, &argo.watch_work, msecs_to_jiffies(interval_ms));
}

/* argo_watch_work - are the peers that have sockets still there? Also repeats a lost greeting */
void argo_watch_work(struct work_struct *work)
{
	struct argo_peer *peer;
	unsigned long domain;
	bool again = false;

	mutex_lock(&argo.mutex);
	xa_for_each(&argo.peers, domain, peer) {
		if (!READ_ONCE(peer->socket_count))
			continue;
		again = true;
		if (peer->state == ARGO_PEER_NEW) {
			int code = argo_peer_greet(peer, true);

			if (code && code != -EAGAIN)
				argo_peer_retire(peer, "has gone before it answered");
			continue;
		}
		/* A question about no bytes would cancel what Xen owes us when it has room. */
		if (test_bit(ARGO_PEER_FULL, &peer->flags))
			argo_peer_room(peer);
		else if (!(argo_hypervisor_query(peer->domain, ARGO_PORT_DATA, 0) &
			   ARGO_RING_EXISTS))
			argo_peer_fail(peer, "has gone");
	}
	mutex_unlock(&argo.mutex);
	if (again)
		argo_watch_start();
}
