/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gate of all calls, whoever carries them: one table of which handler serves a call, and
 * whether the fabric's lock is held meanwhile.
 */
#include <errno.h>
#include <string.h>

#include "scif/fabric/fabric.h"

struct call_row {
	int (*run)(struct call *call); /* NULL: the carrier's own */
	bool lock, endpoint;
};

static const struct call_row call_rows[] = {
	[SCIF_VIRTIO_OPEN] = { NULL, false, false },
	[SCIF_VIRTIO_CLOSE] = { NULL, false, true },
	[SCIF_VIRTIO_BIND] = { endpoint_bind, true, true },
	[SCIF_VIRTIO_LISTEN] = { endpoint_listen, true, true },
	[SCIF_VIRTIO_CONNECT] = { endpoint_connect, true, true },
	[SCIF_VIRTIO_ACCEPTREQ] = { endpoint_accept_request, true, true },
	[SCIF_VIRTIO_ACCEPTREG] = { NULL, false, true },
	[SCIF_VIRTIO_SEND] = { stream_send, false, true },
	[SCIF_VIRTIO_RECV] = { stream_receive, false, true },
	[SCIF_VIRTIO_REGISTER] = { window_register, true, true },
	[SCIF_VIRTIO_REGISTER_MORE] = { window_register_more, true, true },
	[SCIF_VIRTIO_REGISTER_END] = { window_register_end, true, true },
	[SCIF_VIRTIO_UNREGISTER] = { window_unregister, true, true },
	[SCIF_VIRTIO_READFROM] = { copy_windows, true, true },
	[SCIF_VIRTIO_WRITETO] = { copy_windows, true, true },
	[SCIF_VIRTIO_VREADFROM] = { copy_program, true, true },
	[SCIF_VIRTIO_VWRITETO] = { copy_program, true, true },
	[SCIF_VIRTIO_FENCE_MARK] = { copy_fence_mark, true, true },
	[SCIF_VIRTIO_FENCE_WAIT] = { copy_fence_wait, true, true },
	[SCIF_VIRTIO_FENCE_SIGNAL] = { copy_fence_signal, true, true },
	[SCIF_VIRTIO_MMAP] = { NULL, false, true },
	[SCIF_VIRTIO_MUNMAP] = { NULL, false, true },
	[SCIF_VIRTIO_POLL] = { NULL, false, true },
	[SCIF_VIRTIO_GET_NODES] = { call_nodes, true, false },
	[SCIF_VIRTIO_GET_CARD] = { call_card, true, false },
	[SCIF_VIRTIO_CANCEL] = { NULL, false, false },
};

int call_check(const struct scif_virtio_request *request)
{
	if (request->call == 0 || request->call >= SCIF_VIRTIO_CALLS || request->reserved)
		return -EINVAL;
	for (unsigned int i = scif_virtio_used_bytes(request->call); i < sizeof(request->bytes);
	     i++) {
		if (request->bytes[i])
			return -EINVAL;
	}
	return 0;
}

bool call_names_endpoint(const struct scif_virtio_request *request)
{
	return call_rows[request->call].endpoint;
}

int call_run(struct call *call)
{
	const struct call_row *row = &call_rows[call->request.call];
	int status;

	if (!row->run)
		return -EINVAL; /* the carrier did not take it for its own */
	if (row->lock)
		pthread_mutex_lock(&call->fabric->lock);
	status = row->run(call);
	if (row->lock)
		pthread_mutex_unlock(&call->fabric->lock);
	call->started = true;
	if (status != CALL_WAITS)
		call->status = status;
	return status;
}

size_t call_put(struct call *call, const void *from, size_t bytes)
{
	const unsigned char *at = from;
	size_t skip = call->written, done = 0;

	for (unsigned int i = 0; i < call->out_count && done < bytes; i++) {
		size_t part = call->out[i].iov_len;

		if (skip >= part) {
			skip -= part;
			continue;
		}
		part -= skip;
		if (part > bytes - done)
			part = bytes - done;
		memcpy((unsigned char *)call->out[i].iov_base + skip, at + done, part);
		skip = 0;
		done += part;
	}
	call->written += done;
	return done;
}

int call_nodes(struct call *call)
{
	const struct node *node = call->node;
	uint16_t seen[FABRIC_NODES_MAX];
	unsigned int count = 0, fits;

	for (unsigned int i = 0; i < FABRIC_NODES_MAX; i++) {
		if (node_find(node, i))
			seen[count++] = (uint16_t)i;
	}
	fits = call->out_bytes / sizeof(seen[0]) < count
		       ? (unsigned int)(call->out_bytes / sizeof(seen[0]))
		       : count;
	call_put(call, seen, fits * sizeof(seen[0]));
	call->value[0] = count;
	call->value[1] = node_seen(node, node->number);
	return 0;
}

int call_card(struct call *call)
{
	const struct node *node = call->node;
	uint32_t index = call->request.card.index;

	for (unsigned int i = 0; i < FABRIC_NODES_MAX; i++) {
		const struct node *card = node->fabric->nodes[i];

		if (!card || !node_is_card(card) || !(node->visible >> i & 1) || index--)
			continue;
		call_put(call, &card->card, sizeof(card->card));
		return 0;
	}
	return -ENOENT;
}
