/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to scifd made of an input's bytes, for the targets of its two entrances. */
#ifndef CAUSEWAY_TESTS_FUZZ_SCIF_MEMBERS_H
#define CAUSEWAY_TESTS_FUZZ_SCIF_MEMBERS_H

#include <stdint.h>

#include "proto/scif-virtio.h"
#include "scif/fabric/fabric.h"

/* fuzz_scif_offset - of a window: likely places and their edges */
static inline uint64_t fuzz_scif_offset(uint8_t choice)
{
	static const uint64_t places[] = { 0,
					   0x1000,
					   0x2000,
					   FABRIC_OFFSET_FIRST,
					   FABRIC_OFFSET_FIRST + 0x1000,
					   INT64_MAX - 4095,
					   1ull << 63,
					   0x1fff };

	return places[choice % 8] + (choice & 0x80 ? choice >> 3 & 15 : 0);
}

/* fuzz_scif_members - what the request's call names; of a connect the node, of an accept the
 * handle, and of windows the cookie are the caller's */
static inline void fuzz_scif_members(const uint8_t *step, struct scif_virtio_request *request)
{
	uint64_t count = step[6] & 0x80 ? step[6] & 0x7f : (uint64_t)(step[6] % 6) * 4096;

	switch (request->call) {
	case SCIF_VIRTIO_BIND:
		request->bind.port = step[7] % 4 ? 2000 + step[7] % 3 : 0;
		break;
	case SCIF_VIRTIO_LISTEN:
		request->listen.backlog = step[7] % 3;
		break;
	case SCIF_VIRTIO_CONNECT:
		request->connect.port = (uint16_t)(2000 + step[7] % 3);
		request->flags = step[3] % 2 ? SCIF_VIRTIO_NONBLOCK : 0;
		break;
	case SCIF_VIRTIO_REGISTER:
	case SCIF_VIRTIO_REGISTER_MORE:
	case SCIF_VIRTIO_REGISTER_END:
	case SCIF_VIRTIO_UNREGISTER:
		request->window.offset = fuzz_scif_offset(step[7]);
		request->window.bytes = count;
		request->window.prot = step[9] % 5;
		break;
	case SCIF_VIRTIO_READFROM:
	case SCIF_VIRTIO_WRITETO:
	case SCIF_VIRTIO_VREADFROM:
	case SCIF_VIRTIO_VWRITETO:
		request->rma.local = fuzz_scif_offset(step[7]);
		request->rma.remote = fuzz_scif_offset(step[8]);
		request->rma.bytes = count;
		break;
	case SCIF_VIRTIO_FENCE_WAIT:
		request->fence.mark = step[7] % 8;
		break;
	case SCIF_VIRTIO_FENCE_SIGNAL:
		request->signal.local = fuzz_scif_offset(step[7]);
		request->signal.remote = fuzz_scif_offset(step[8]);
		break;
	case SCIF_VIRTIO_MMAP:
	case SCIF_VIRTIO_MUNMAP:
		request->map.offset = fuzz_scif_offset(step[7]);
		request->map.bytes = count;
		request->map.prot = step[9] % 4;
		request->map.mapping = request->call == SCIF_VIRTIO_MUNMAP ? step[8] % 8 : 0;
		break;
	case SCIF_VIRTIO_CANCEL:
		request->cancel.tag = step[7] % 8;
		break;
	default:
		break;
	}
}

#endif
