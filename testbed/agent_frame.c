/* SPDX-License-Identifier: Apache-2.0 */
/* The decoder of the agent: see agent_frame.h. */
#include "testbed/agent_frame.h"

#include <errno.h>
#include <string.h>

/* agent_frame_check - whether a host may send such a header */
static int agent_frame_check(const struct guest_frame *header)
{
	static const unsigned char zero[sizeof(header->zero)];

	if (header->bytes > GUEST_FRAME_PAYLOAD_MAX ||
	    memcmp(header->zero, zero, sizeof(zero)) != 0)
		return -EPROTO;

	switch (header->type) {
	case GUEST_FRAME_RUN:
	case GUEST_FRAME_STDIN:
		return 0;
	case GUEST_FRAME_SIGNAL:
		return header->bytes == sizeof(struct guest_signal) ? 0 : -EPROTO;
	case GUEST_FRAME_STOP:
		return header->bytes == 0 ? 0 : -EPROTO;
	default:
		return -EPROTO;
	}
}

long agent_frame_next(const struct buffer *stream, struct agent_frame *frame)
{
	if (stream->used < sizeof(frame->header))
		return 0;
	memcpy(&frame->header, stream->data, sizeof(frame->header));
	if (agent_frame_check(&frame->header) < 0)
		return -EPROTO;
	if (stream->used - sizeof(frame->header) < frame->header.bytes)
		return 0;
	frame->payload = stream->data + sizeof(frame->header);
	return (long)(sizeof(frame->header) + frame->header.bytes);
}

/* agent_strings_take - @count strings from *@at on; moves *@at behind them */
static int agent_strings_take(char **strings, uint32_t count, const unsigned char **at,
			      const unsigned char *end)
{
	for (uint32_t i = 0; i < count; i++) {
		const unsigned char *zero = memchr(*at, '\0', (size_t)(end - *at));

		if (!zero)
			return -EPROTO;
		strings[i] = (char *)*at;
		*at = zero + 1;
	}
	strings[count] = NULL;
	return 0;
}

int agent_run_parse(const struct agent_frame *frame, struct agent_run *run)
{
	const unsigned char *at = frame->payload, *end = at + frame->header.bytes;
	struct guest_run counts;

	if (frame->header.bytes < sizeof(counts))
		return -EPROTO;
	memcpy(&counts, at, sizeof(counts));
	at += sizeof(counts);
	if (counts.arguments < 1 || counts.arguments > AGENT_STRINGS_MAX ||
	    counts.variables > AGENT_STRINGS_MAX)
		return -EPROTO;
	if (agent_strings_take(run->arguments, counts.arguments, &at, end) < 0 ||
	    agent_strings_take(run->variables, counts.variables, &at, end) < 0)
		return -EPROTO;
	return at == end ? 0 : -EPROTO;
}

int agent_number_parse(const struct agent_frame *frame, uint32_t *number)
{
	if (frame->header.bytes != sizeof(*number))
		return -EPROTO;
	memcpy(number, frame->payload, sizeof(*number));
	return 0;
}

int agent_frame_append(struct buffer *stream, uint32_t command, enum guest_frame_type type,
		       const void *payload, size_t bytes)
{
	struct guest_frame header = {
		.command = command,
		.type = (uint8_t)type,
		.bytes = (uint32_t)bytes,
	};
	unsigned char *to = buffer_reserve(stream, sizeof(header) + bytes);

	if (!to)
		return -errno;
	memcpy(to, &header, sizeof(header));
	if (bytes)
		memcpy(to + sizeof(header), payload, bytes);
	stream->used += sizeof(header) + bytes;
	return 0;
}
