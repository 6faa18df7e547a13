/* SPDX-License-Identifier: Apache-2.0 */
/* The tap for captures: each packet once, one predictable branch while nobody listens. */
#ifndef CAUSEWAY_VSOCK_SWITCH_CAPTURE_H
#define CAUSEWAY_VSOCK_SWITCH_CAPTURE_H

#include <stdbool.h>
#include <sys/uio.h>

#include "proto/virtio-vsock.h"

/**
 * Called by any worker, with locks held: it must not wait and must not call into the switch.
 * @payload: @count vectors, of which the first @header->len bytes are payload, in guest memory,
 * which the guest may change at any time; read each byte once
 */
typedef void capture_sink(const struct virtio_vsock_header *header, const struct iovec *payload,
			  unsigned int count);

/* The sink in use, NULL without; stored and loaded atomically. A sink is never unloaded. */
extern capture_sink *capture_current;

/* Whether anybody listens: one load on a packet's way. */
static inline bool capture_is_on(void)
{
	return __atomic_load_n(&capture_current, __ATOMIC_RELAXED) != NULL;
}

/* capture_packet - a packet of a guest, or one that the switch makes on behalf of the host */
static inline void capture_packet(const struct virtio_vsock_header *header,
				  const struct iovec *payload, unsigned int count)
{
	capture_sink *sink = __atomic_load_n(&capture_current, __ATOMIC_ACQUIRE);

	if (__builtin_expect(sink != NULL, 0))
		sink(header, payload, count);
}

#endif
