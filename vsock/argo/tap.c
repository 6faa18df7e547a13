// SPDX-License-Identifier: GPL-2.0-only
/*
 * What can be seen from outside: frames on vsockmon interfaces, and memory in debugfs.
 *
 * A tapped frame is vsockmon's header, our frame as it is on the wire, and the payload where it
 * lies in kernel memory: what comes in whole, but for small pieces of a stream that were merged.
 */
#include <linux/debugfs.h>
#include <linux/if_arp.h>
#include <linux/seq_file.h>
#include <uapi/linux/vsockmon.h>

#include "argo.h"

struct argo_tapped {
	struct argo_peer *peer;
	const struct argo_frame *frame;
	struct sk_buff *payload;
	u32 at, bytes;		/* of a payload that is still in the peer's ring */
	bool out;
};

static u16 argo_tap_op(u8 type)
{
	switch (type) {
	case ARGO_FRAME_REQUEST:
	case ARGO_FRAME_RESPONSE:
		return AF_VSOCK_OP_CONNECT;
	case ARGO_FRAME_RESET:
	case ARGO_FRAME_SHUTDOWN:
		return AF_VSOCK_OP_DISCONNECT;
	case ARGO_FRAME_DATA:
	case ARGO_FRAME_DATAGRAM:
		return AF_VSOCK_OP_PAYLOAD;
	default:
		return AF_VSOCK_OP_CONTROL;
	}
}

static struct sk_buff *argo_tap_build(void *opaque)
{
	const struct argo_tapped *tapped = opaque;
	u32 payload = tapped->payload ? tapped->payload->len : tapped->bytes;
	u32 own = argo.domain + ARGO_CID_OFFSET, other = tapped->peer->domain + ARGO_CID_OFFSET;
	struct af_vsockmon_hdr *header;
	struct sk_buff *skb;

	skb = alloc_skb(sizeof(*header) + sizeof(*tapped->frame) + payload, GFP_ATOMIC);
	if (!skb)
		return NULL;
	header = skb_put_zero(skb, sizeof(*header));
	header->src_cid = cpu_to_le64(tapped->out ? own : other);
	header->dst_cid = cpu_to_le64(tapped->out ? other : own);
	header->src_port = tapped->frame->source_port;
	header->dst_port = tapped->frame->target_port;
	header->op = cpu_to_le16(argo_tap_op(tapped->frame->type));
	header->transport = cpu_to_le16(AF_VSOCK_TRANSPORT_UNKNOWN);
	header->len = cpu_to_le16(sizeof(*tapped->frame));
	skb_put_data(skb, tapped->frame, sizeof(*tapped->frame));
	if (tapped->bytes)
		argo_ring_copy(&tapped->peer->ring, tapped->at, skb_put(skb, payload), payload);
	else if (payload)
		skb_copy_bits(tapped->payload, 0, skb_put(skb, payload), payload);
	return skb;
}

/* argo_tap - show a frame to whoever listens; costs one test if nobody does */
void argo_tap(struct argo_peer *peer, bool out, const struct argo_frame *frame,
	      struct sk_buff *payload)
{
	struct argo_tapped tapped = {
		.peer = peer, .frame = frame, .payload = payload, .out = out
	};

	vsock_deliver_tap(argo_tap_build, &tapped);
}

/* argo_tap_direct - the same for a frame that came in and whose payload lies in the ring, at @at */
void argo_tap_direct(struct argo_peer *peer, const struct argo_frame *frame, u32 at)
{
	struct argo_tapped tapped = {
		.peer = peer, .frame = frame, .at = at, .bytes = le32_to_cpu(frame->bytes)
	};

	vsock_deliver_tap(argo_tap_build, &tapped);
}

static struct dentry *argo_debug;

static const char *argo_state_name(enum argo_peer_state state)
{
	switch (state) {
	case ARGO_PEER_NEW:
		return "new";
	case ARGO_PEER_UP:
		return "up";
	default:
		return "gone";
	}
}

/* memory - what the module holds, in bytes; one line for each peer */
static int memory_show(struct seq_file *file, void *unused)
{
	struct argo_socket *socket;
	struct argo_peer *peer;
	unsigned long domain;
	int bucket;

	seq_printf(file, "socket_bytes %zu\n",
		   sizeof(struct vsock_sock) + sizeof(struct argo_socket));
	seq_printf(file, "peer_bytes %zu\n", sizeof(struct argo_peer));
	seq_printf(file, "sockets %d\n", atomic_read(&argo.socket_count));
	seq_printf(file, "peers %d\n", atomic_read(&argo.peer_count));
	seq_printf(file, "waits_spun %ld\n", atomic_long_read(&argo.waits_spun));
	seq_printf(file, "waits_slept %ld\n", atomic_long_read(&argo.waits_slept));
	seq_printf(file, "wake_ns %u\n", READ_ONCE(argo.wake_ns));
	seq_printf(file, "spin_bound_ns %u\n", argo_spin_bound_ns());
	mutex_lock(&argo.mutex);
	xa_for_each(&argo.peers, domain, peer) {
		u64 queued = 0;

		spin_lock_bh(&peer->lock);
		hash_for_each(peer->sockets, bucket, socket, node)
			queued += READ_ONCE(socket->queued_bytes);
		seq_printf(file, "peer %lu state %s ring_bytes %u sockets %u window_bytes %llu queued_bytes %llu frames_in %llu frames_direct %llu frames_out %llu%s\n",
			   domain, argo_state_name(peer->state), peer->ring.length,
			   peer->socket_count, peer->window_bytes, queued, peer->frames_in,
			   peer->frames_direct, peer->frames_out,
			   test_bit(ARGO_PEER_FULL, &peer->flags) ? " full" : "");
		spin_unlock_bh(&peer->lock);
	}
	mutex_unlock(&argo.mutex);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(memory);

/* connections - the credit of each, as both sides count it */
static int connections_show(struct seq_file *file, void *unused)
{
	struct argo_socket *socket;
	struct argo_peer *peer;
	unsigned long domain;
	int bucket;

	mutex_lock(&argo.mutex);
	xa_for_each(&argo.peers, domain, peer) {
		spin_lock_bh(&peer->lock);
		hash_for_each(peer->sockets, bucket, socket, node)
			seq_printf(file, "peer %lu ports %u %u queued %u received %u taken %u told %u window %u sent %u peer_taken %u peer_window %u needed %u%s%s%s\n",
				   domain, socket->local_port, socket->remote_port,
				   socket->queued_bytes, socket->received, socket->taken,
				   socket->told, socket->window, socket->sent,
				   socket->peer_taken, socket->peer_window, socket->needed,
				   socket->asked ? " asked" : "",
				   socket->peer_waits ? " peer_waits" : "",
				   socket->credit_owed ? " credit_owed" : "");
		spin_unlock_bh(&peer->lock);
	}
	mutex_unlock(&argo.mutex);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(connections);

void argo_debug_create(void)
{
	argo_debug = debugfs_create_dir("vsock_argo", NULL);
	debugfs_create_file("memory", 0444, argo_debug, NULL, &memory_fops);
	debugfs_create_file("connections", 0444, argo_debug, NULL, &connections_fops);
}

void argo_debug_remove(void)
{
	debugfs_remove(argo_debug);
}
