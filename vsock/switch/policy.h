/* SPDX-License-Identifier: Apache-2.0 */
/* Who may connect to whom. */
#ifndef CAUSEWAY_VSOCK_SWITCH_POLICY_H
#define CAUSEWAY_VSOCK_SWITCH_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "vsock/switch/settings.h"

/**
 * policy_allows - may @source open a connection to @port of @destination?
 *
 * Asked for each new connection, and for all when the rules change, by any worker, with
 * switch.rules_lock held for reading; the host is VIRTIO_VSOCK_CID_HOST. Everything else about a
 * connection follows from that answer: packets without a connection go nowhere.
 */
bool policy_allows(const struct settings *settings, uint64_t source, uint64_t destination,
		   uint32_t port);

#endif
