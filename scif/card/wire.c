/* SPDX-License-Identifier: Apache-2.0 */
/* Frames over a SCIF endpoint; see wire.h. */
#include "scif/card/wire.h"

#include <errno.h>
#include <string.h>

int wire_move(int (*call)(scif_epd_t, void *, int, int), scif_epd_t epd, void *data, size_t bytes)
{
	char *at = data;

	while (bytes) {
		int moved = call(epd, at, (int)bytes, 1); /* SCIF_SEND_BLOCK, SCIF_RECV_BLOCK */

		if (moved < 0 && errno == EINTR)
			continue;
		if (moved < 0)
			return -errno;
		at += moved;
		bytes -= (size_t)moved;
	}
	return 0;
}

int wire_send(scif_epd_t epd, uint32_t type, uint64_t value, const void *payload, size_t bytes)
{
	char frame[sizeof(struct card_frame) + CARD_PAYLOAD_MAX];
	struct card_frame header = { type, (uint32_t)bytes, value };

	if (bytes > CARD_PAYLOAD_MAX)
		return -EMSGSIZE;
	memcpy(frame, &header, sizeof(header));
	if (bytes)
		memcpy(frame + sizeof(header), payload, bytes);
	return wire_move(scif_send, epd, frame, sizeof(header) + bytes);
}

int wire_receive(scif_epd_t epd, struct card_frame *frame, char *payload)
{
	int status = wire_move(scif_recv, epd, frame, sizeof(*frame));

	if (status == 0 && frame->bytes > CARD_PAYLOAD_MAX)
		return -EPROTO;
	if (status == 0)
		status = wire_move(scif_recv, epd, payload, frame->bytes);
	if (status == 0)
		payload[frame->bytes] = 0;
	return status;
}

int wire_strings(char *text, size_t bytes, char **strings, size_t room)
{
	size_t count = 0;

	if (bytes && text[bytes - 1])
		return -EPROTO;
	for (char *at = text; at < text + bytes; at += strlen(at) + 1) {
		if (count == room)
			return -EPROTO;
		strings[count++] = at;
	}
	return (int)count;
}

int wire_name_check(const char *name)
{
	size_t length = strlen(name);

	if (length == 0 || length > CARD_NAME_MAX || name[0] == '.')
		return -EINVAL;
	for (size_t i = 0; i < length; i++) {
		if (name[i] == '/' || (unsigned char)name[i] < ' ' || name[i] == 127)
			return -EINVAL;
	}
	return 0;
}
