/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of proto/coi.h; see message.h. */
#include "scif/coi/message.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGE_AT_ONCE 1024 /* bytes: what is not longer goes out by one call */
#define STREAM_RING	4096 /* bytes: what may have come at once */
#define STREAM_ALIGN	16
/* Where a header lies so that its payload is aligned. */
#define STREAM_BEGIN (STREAM_ALIGN - sizeof(struct coi_header) % STREAM_ALIGN)

int message_send_all(scif_epd_t epd, const void *bytes, size_t count)
{
	const char *next = bytes;

	while (count) {
		int part = count > 1 << 20 ? 1 << 20 : (int)count;
		int sent = scif_send(epd, (void *)next, part, SCIF_SEND_BLOCK);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return -errno;
		next += sent;
		count -= (size_t)sent;
	}
	return 0;
}

int message_receive_all(scif_epd_t epd, void *bytes, size_t count)
{
	char *next = bytes;

	while (count) {
		int part = count > 1 << 20 ? 1 << 20 : (int)count;
		int got = scif_recv(epd, next, part, SCIF_RECV_BLOCK);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		next += got;
		count -= (size_t)got;
	}
	return 0;
}

int message_send(scif_epd_t epd, struct coi_header *header, const struct iovec *parts,
		 unsigned int count)
{
	unsigned char together[sizeof(*header) + MESSAGE_AT_ONCE];
	size_t bytes = 0, at = sizeof(*header);
	int status;

	for (unsigned int i = 0; i < count; i++)
		bytes += parts[i].iov_len;
	header->bytes = (uint32_t)bytes;
	if (bytes > MESSAGE_AT_ONCE) {
		status = message_send_all(epd, header, sizeof(*header));
		for (unsigned int i = 0; i < count && status == 0; i++)
			status = message_send_all(epd, parts[i].iov_base, parts[i].iov_len);
		return status;
	}
	memcpy(together, header, sizeof(*header));
	for (unsigned int i = 0; i < count; i++) {
		if (parts[i].iov_len)
			memcpy(together + at, parts[i].iov_base, parts[i].iov_len);
		at += parts[i].iov_len;
	}
	return message_send_all(epd, together, at);
}

int message_receive(scif_epd_t epd, struct coi_header *header, unsigned char **payload)
{
	int status = message_receive_all(epd, header, sizeof(*header));

	*payload = NULL;
	if (status < 0)
		return status;
	if (header->bytes > COI_PAYLOAD_MAX)
		return -EPROTO;
	if (header->bytes == 0)
		return 0;
	*payload = malloc(header->bytes);
	if (!*payload)
		return -ENOMEM;
	status = message_receive_all(epd, *payload, header->bytes);
	if (status < 0) {
		free(*payload);
		*payload = NULL;
	}
	return status;
}

int message_stream_open(struct message_stream *stream, scif_epd_t epd, size_t room)
{
	*stream = (struct message_stream){ .epd = epd,
					   .bytes = malloc(room),
					   .room = room,
					   .at = STREAM_BEGIN,
					   .end = STREAM_BEGIN };
	return stream->bytes ? 0 : -ENOMEM;
}

void message_stream_close(struct message_stream *stream)
{
	free(stream->bytes);
	stream->bytes = NULL;
}

/* What is left goes to the beginning. */
static void stream_compact(struct message_stream *stream)
{
	memmove(stream->bytes + STREAM_BEGIN, stream->bytes + stream->at, stream->end - stream->at);
	stream->end -= stream->at - STREAM_BEGIN;
	stream->at = STREAM_BEGIN;
}

/* Room for @need bytes of the next message. */
static int stream_make_room(struct message_stream *stream, size_t need)
{
	if (stream->at == stream->end || need > stream->room - stream->at)
		stream_compact(stream);
	if (need > stream->room - stream->at) {
		unsigned char *bytes = realloc(stream->bytes, need + stream->at);

		if (!bytes)
			return -ENOMEM;
		stream->bytes = bytes;
		stream->room = need + stream->at;
	}
	return 0;
}

/* Whatever has come and fits, without waiting; 0 or -errno. */
static int stream_take(struct message_stream *stream)
{
	size_t room = stream->room - stream->end;
	int got = scif_recv(stream->epd, stream->bytes + stream->end,
			    (int)(room < STREAM_RING ? room : STREAM_RING), 0);

	if (got < 0)
		return errno == EINTR ? 0 : -errno;
	stream->end += (size_t)got;
	stream->taken += (size_t)got;
	stream->looked = true;
	return 0;
}

/* At least @need bytes of the message; others with them when @more says so. */
static int stream_fill(struct message_stream *stream, size_t need, bool more)
{
	int status = stream_make_room(stream, need);

	if (status == 0 && more && stream->end - stream->at < need)
		status = stream_take(stream);
	if (status == 0 && stream->end - stream->at < need) {
		size_t lacking = need - (stream->end - stream->at);

		status = message_receive_all(stream->epd, stream->bytes + stream->end, lacking);
		if (status == 0) {
			stream->end += lacking;
			stream->taken += lacking;
		}
		stream->looked = false;
	}
	return status;
}

int message_stream_next(struct message_stream *stream, bool more, struct coi_header *header,
			unsigned char **payload)
{
	int status = stream_fill(stream, sizeof(*header), false);
	size_t bytes, begin;

	*payload = NULL;
	if (status < 0)
		return status;
	memcpy(header, stream->bytes + stream->at, sizeof(*header));
	if (header->bytes > COI_PAYLOAD_MAX)
		return -EPROTO;
	bytes = sizeof(*header) + header->bytes;
	status = stream_fill(stream, bytes, true);
	if (status < 0)
		return status;
	/* What came with this one; a second look would cost a call and find little. */
	if (more && !stream->looked && stream->end - stream->at == bytes &&
	    stream->end < stream->room)
		stream_take(stream); /* an error comes again, after this message */
	/* Down to where its payload is aligned, over what was given out before. */
	begin = stream->at - (stream->at - STREAM_BEGIN) % STREAM_ALIGN;
	if (header->bytes && begin != stream->at)
		memmove(stream->bytes + begin, stream->bytes + stream->at, bytes);
	if (header->bytes)
		*payload = stream->bytes + begin + sizeof(*header);
	stream->at += bytes;
	return 0;
}

bool message_stream_more(struct message_stream *stream)
{
	/* Seldom, since it may be a lot. */
	if (stream->at == stream->end || stream->at > stream->room / 2)
		stream_compact(stream);
	if (stream->end < stream->room)
		stream_take(stream); /* a connection that broke shows at the next message */
	return stream->end > stream->at;
}

int message_greeting_check(const struct coi_greeting *greeting, const uint8_t *token)
{
	unsigned int differs = 0;

	if (greeting->magic != COI_MAGIC || greeting->version != COI_VERSION ||
	    greeting->role < COI_ROLE_CONTROL || greeting->role > COI_ROLE_PIPELINE)
		return -EPROTO;
	for (unsigned int i = 0; i < COI_TOKEN_BYTES; i++)
		differs |= (unsigned int)(greeting->token[i] ^ token[i]);
	return differs ? -EACCES : 0;
}

int message_run_parse(const unsigned char *payload, size_t bytes, struct message_run *run)
{
	size_t buffers;

	if (bytes < sizeof(run->run))
		return -EPROTO;
	memcpy(&run->run, payload, sizeof(run->run));
	if (run->run.buffers > COI_RUN_BUFFERS_MAX || run->run.misc_bytes > COI_RUN_MISC_MAX)
		return -EPROTO;
	buffers = run->run.buffers * sizeof(struct coi_run_buffer);
	if (bytes != sizeof(run->run) + buffers + run->run.misc_bytes)
		return -EPROTO;
	run->buffers = payload + sizeof(run->run);
	run->misc = run->buffers + buffers;
	return 0;
}

struct coi_run_buffer message_run_buffer(const struct message_run *run, uint32_t index)
{
	struct coi_run_buffer buffer;

	memcpy(&buffer, run->buffers + index * sizeof(buffer), sizeof(buffer));
	return buffer;
}

int message_names_parse(const unsigned char *payload, size_t bytes, uint64_t count,
			const char **names)
{
	size_t at = 0;

	if (count == 0 || count > COI_FUNCTIONS_MAX)
		return -EPROTO;
	for (uint64_t i = 0; i < count; i++) {
		const unsigned char *end = at < bytes ? memchr(payload + at, 0, bytes - at) : NULL;

		if (!end || (size_t)(end - payload) - at > COI_NAME_MAX)
			return -EPROTO;
		names[i] = (const char *)payload + at;
		at = (size_t)(end - payload) + 1;
	}
	return at == bytes ? 0 : -EPROTO;
}

int message_library_parse(const unsigned char *payload, size_t bytes, struct coi_library *library,
			  const char **name)
{
	if (bytes < sizeof(*library))
		return -EPROTO;
	memcpy(library, payload, sizeof(*library));
	return message_names_parse(payload + sizeof(*library), bytes - sizeof(*library), 1, name);
}

int message_fixed(const unsigned char *payload, size_t bytes, void *structure, size_t size)
{
	if (bytes != size)
		return -EPROTO;
	memcpy(structure, payload, size);
	return 0;
}

bool message_range(uint64_t offset, uint64_t bytes, uint64_t size)
{
	return offset <= size && bytes <= size - offset;
}
