/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events for a guest: notes at endpoints and windows until the driver has a buffer for each.
 */
#include <stdlib.h>
#include <string.h>

#include "scif/fabric/guest.h"

void guest_event_poll(struct guest *guest, struct endpoint *endpoint, uint32_t mask)
{
	endpoint->armed = 0;
	endpoint->event_mask = mask;
	if (endpoint->event_due)
		return;
	endpoint->event_due = true;
	TAILQ_INSERT_TAIL(&guest->events, endpoint, event_link);
}

bool guest_has_events(const struct guest *guest)
{
	return guest->nodes_due || !TAILQ_EMPTY(&guest->events) || !TAILQ_EMPTY(&guest->released);
}

/* Takes the next event that is due; there must be one. */
static struct scif_virtio_event guest_take_event(struct guest *guest)
{
	struct scif_virtio_event event = { 0 };
	struct endpoint *endpoint = TAILQ_FIRST(&guest->events);
	struct window *window = TAILQ_FIRST(&guest->released);

	if (endpoint) {
		event.kind = SCIF_VIRTIO_EVENT_POLL;
		event.endpoint = endpoint->number;
		event.mask = endpoint->event_mask;
		TAILQ_REMOVE(&guest->events, endpoint, event_link);
		endpoint->event_due = false;
	} else if (window) {
		event.kind = SCIF_VIRTIO_EVENT_RELEASED;
		event.cookie = window->cookie;
		TAILQ_REMOVE(&guest->released, window, link);
		free(window);
	} else {
		event.kind = SCIF_VIRTIO_EVENT_NODES;
		guest->nodes_due = false;
	}
	return event;
}

void guest_send_events(struct guest *guest)
{
	struct vhost_queue *queue = vhost_device_queue(&guest->device, SCIF_VIRTIO_QUEUE_EVENT);
	struct vhost_chain chain;

	while (guest_has_events(guest) &&
	       vhost_queue_pop(queue, &chain, guest->vectors, VHOST_CHAIN_VECTORS_MAX) > 0) {
		struct scif_virtio_event event;

		if (chain.readable_count || chain.writable_bytes < sizeof(event)) {
			vhost_queue_break(queue);
			return;
		}
		event = guest_take_event(guest);
		vhost_iovec_copy_out(chain.vectors, chain.writable_count, &event, sizeof(event));
		vhost_queue_push(queue, chain.head, sizeof(event));
	}
}
