/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: what vsock_argo.ko reads out of a ring that another domain's messages lie in.
 *
 * The input is a ring's content, with its indices first. The loop is the module's: a message's
 * header, its frame, the next message; the checks are its very code (vsock/argo/check.h). A checked
 * message must lie in what Xen has written, a checked frame must keep the wire's rules.
 */
#include <stdlib.h>
#include <string.h>

#include "vsock/argo/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
	if (!condition)
		abort();
}

static void fuzz_copy(const uint8_t *ring, u32 length, u32 at, void *to, u32 bytes)
{
	for (u32 i = 0; i < bytes; i++)
		((uint8_t *)to)[i] = ring[(at + i) % length];
}

static void fuzz_frame(const uint8_t *ring, u32 length, u32 at, u32 bytes)
{
	struct argo_checked checked;
	struct argo_greeting greeting;
	struct argo_frame frame;
	struct argo_hello hello;

	if (bytes >= sizeof(frame)) {
		fuzz_copy(ring, length, at, &frame, sizeof(frame));
		if (argo_frame_check(&frame, bytes, &checked)) {
			require(checked.bytes == bytes - sizeof(frame));
			require(checked.bytes <= ARGO_PAYLOAD_MAX);
			require(checked.window <= ARGO_WINDOW_MAX);
			require(checked.type >= ARGO_FRAME_REQUEST &&
				checked.type <= ARGO_FRAME_BYE);
			require(checked.kind <= ARGO_KIND_DATAGRAM);
			require(!checked.bytes || checked.type == ARGO_FRAME_DATA ||
				checked.type == ARGO_FRAME_DATAGRAM);
		}
	}
	if (bytes == sizeof(hello)) {
		fuzz_copy(ring, length, at, &hello, sizeof(hello));
		if (argo_hello_check(&hello, bytes, &greeting))
			require(greeting.epoch &&
				greeting.ring_bytes / ARGO_RING_SHARE > sizeof(struct argo_frame));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct argo_message_header header;
	u32 places[2], length, rx, tx;

	if (size < sizeof(places) + 4 * ARGO_SLOT)
		return 0;
	memcpy(places, data, sizeof(places));
	data += sizeof(places);
	length = (u32)(size - sizeof(places)) & ~(ARGO_SLOT - 1);
	rx = places[0] % length & ~(ARGO_SLOT - 1);
	tx = places[1];

	for (;;) {
		int used = argo_ring_used(length, rx, tx);
		int bytes;

		if (used <= 0)
			return 0;
		require((u32)used < length && used % (int)ARGO_SLOT == 0);
		memcpy(&header, data + rx, sizeof(header)); /* a slot never wraps */
		bytes = argo_message_check(&header, (u32)used);
		if (bytes < 0)
			return 0;
		require((u32)bytes + sizeof(header) <= (u32)used);
		fuzz_frame(data, length, rx + (u32)sizeof(header), (u32)bytes);
		rx = (rx + argo_round_up(header.len)) % length;
	}
}
