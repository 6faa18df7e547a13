/* SPDX-License-Identifier: Apache-2.0 */
/* What causeway-scifnet reads of a packet: whose it is. Packets of other nodes are untrusted. */
#ifndef CAUSEWAY_SCIF_NET_PACKET_H
#define CAUSEWAY_SCIF_NET_PACKET_H

#include <stddef.h>
#include <stdint.h>

#define NET_MTU 32000

enum packet_end { PACKET_FROM = 12, PACKET_TO = 16 }; /* where its address is in an IPv4 header */

/* packet_node - the node whose address that end has; -1 for other addresses and other protocols */
static inline int packet_node(const unsigned char *data, size_t bytes, enum packet_end end,
			      uint32_t prefix)
{
	uint32_t address;

	if (bytes < 20 || data[0] >> 4 != 4)
		return -1;
	address = (uint32_t)data[end] << 24 | (uint32_t)data[end + 1] << 16 |
		  (uint32_t)data[end + 2] << 8 | data[end + 3];
	if ((address & 0xffffff00u) != prefix || (address & 0xff) == 0)
		return -1;
	return (int)(address & 0xff) - 1;
}

#endif
