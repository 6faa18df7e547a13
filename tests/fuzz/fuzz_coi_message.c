/* SPDX-License-Identifier: Apache-2.0 */
/* Offload's decoders: what either side makes of any bytes of the other; images that are sent. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "scif/card/binary.h"
#include "scif/coi/message.h"
#include "scif/coi/section.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* Touches every byte that a run function would be given. */
static unsigned int touch_run(const uint8_t *data, size_t bytes)
{
	struct message_run run;
	unsigned int total = 0;

	if (message_run_parse(data, bytes, &run) < 0)
		return 0;
	for (uint32_t i = 0; i < run.run.buffers; i++) {
		struct coi_run_buffer buffer = message_run_buffer(&run, i);

		total += message_range(buffer.offset, buffer.bytes, 4096) ? 1u : 0;
	}
	for (uint32_t i = 0; i < run.run.misc_bytes; i++)
		total += run.misc[i];
	return total;
}

/* What a sink does with SECTION: every element is inside the span, which moves as it says. */
static void touch_section(const uint8_t *data, size_t bytes)
{
	static unsigned char array[4096], packed[4096];
	struct coi_section wanted;
	struct section section;

	if (message_fixed(data, bytes, &wanted, sizeof(wanted)) < 0 ||
	    !section_set(&section, wanted.element, wanted.counts, wanted.steps))
		return;
	if (section_at(&section, section.elements - 1) != section.span - section.element)
		abort();
	if (message_range(wanted.offset, section.span, sizeof(array)) &&
	    message_range(wanted.first, wanted.elements, section.elements) &&
	    wanted.elements * section.element <= sizeof(packed))
		section_move(&section, array + wanted.offset, wanted.first, wanted.elements, packed,
			     wanted.array & 1);
}

/* The other side of a connection: bytes that come in pieces, then its end. In place of libscif's.
 */
static struct {
	const uint8_t *data;
	size_t bytes, at;
} feed;

int scif_recv(scif_epd_t epd, void *message, int count, int flags)
{
	size_t left = feed.bytes - feed.at, got = (size_t)count;

	(void)epd;
	if (!(flags & SCIF_RECV_BLOCK) && left)
		got = (size_t)count < left ? (size_t)feed.data[feed.at] % ((size_t)count + 1)
					   : left;
	if (got > left) {
		errno = ECONNRESET;
		return -1;
	}
	memcpy(message, feed.data + feed.at, got);
	feed.at += got;
	return (int)got;
}

/* A stream of messages; what was given out is read to its last byte. */
static size_t touch_stream(const uint8_t *data, size_t bytes)
{
	struct message_stream stream;
	struct coi_header header;
	unsigned char *payload;
	size_t total = 0;

	feed.data = data;
	feed.bytes = bytes;
	feed.at = 0;
	if (message_stream_open(&stream, 0, MESSAGE_STREAM_ROOM) < 0)
		return 0;
	while (message_stream_next(&stream, total & 1, &header, &payload) == 0) {
		total += header.type;
		for (uint32_t i = 0; i < header.bytes; i++)
			total += payload[i];
		total += message_stream_more(&stream);
	}
	message_stream_close(&stream);
	return total;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	const char *names[COI_FUNCTIONS_MAX], *needed[16], *name, *path;
	uint8_t token[COI_TOKEN_BYTES] = { 0 };
	volatile size_t total = touch_run(data, bytes);
	struct coi_greeting greeting;
	struct coi_library library;
	uint64_t count = bytes ? data[0] : 0;
	int found;

	if (bytes && message_names_parse(data + 1, bytes - 1, count, names) == 0) {
		for (uint64_t i = 0; i < count; i++)
			total = total + strlen(names[i]);
	}
	if (message_library_parse(data, bytes, &library, &name) == 0)
		total = total + strlen(name);
	if (message_fixed(data, bytes, &greeting, sizeof(greeting)) == 0)
		total = total + (message_greeting_check(&greeting, token) == 0);
	touch_section(data, bytes);
	total = total + touch_stream(data, bytes);
	found = elf_needed(data, bytes, needed, 16, &path);
	for (int i = 0; i < found; i++)
		total = total + strlen(needed[i]);
	name = elf_soname(data, bytes);
	total = total + (name ? strlen(name) : 0);
	return 0;
}
