/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages of proto/coi.h: sending and receiving whole ones, and the gates that check what they
 * say. Both sides use these. No function here keeps what it is given.
 */
#ifndef CAUSEWAY_SCIF_COI_MESSAGE_H
#define CAUSEWAY_SCIF_COI_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

#include "include/scif.h"
#include "proto/coi.h"

/* message_send - all of it, waiting for room; at most three parts behind the header. 0 or -errno.
 * Messages of several threads on one connection: the caller sees to their order. */
int message_send(scif_epd_t epd, struct coi_header *header, const struct iovec *parts,
		 unsigned int count);
/* message_send_all, message_receive_all - so many bytes; 0 or -errno */
int message_send_all(scif_epd_t epd, const void *bytes, size_t count);
int message_receive_all(scif_epd_t epd, void *bytes, size_t count);
/* message_receive - the next one; the payload, which the caller frees, or NULL for none. 0, -EPROTO
 * for a length beyond COI_PAYLOAD_MAX, or -errno */
int message_receive(scif_epd_t epd, struct coi_header *header, unsigned char **payload);

/*
 * A stream of messages read with few calls: a call of SCIF from a VM costs more than many messages.
 * One thread; not by value.
 */
struct message_stream {
	scif_epd_t epd;
	unsigned char *bytes;
	size_t room, at, end; /* what was read and not yet taken: from at to end */
	uint64_t taken;	      /* bytes that came in all */
	bool looked;	      /* without waiting, since it last waited */
};

#define MESSAGE_STREAM_ROOM 4096 /* for who does not read ahead: a ring of SCIF's */

/* message_stream_open - @room: bytes that it may hold of what was not asked for yet; a message that
 * is longer has it grow. 0 or -ENOMEM */
int message_stream_open(struct message_stream *stream, scif_epd_t epd, size_t room);
void message_stream_close(struct message_stream *stream);
/**
 * message_stream_next - the next message, waiting for it
 * @more: others are likely to have come with it
 * @payload: aligned as by malloc(), valid until the next call of this or of message_stream_more();
 *	NULL for none
 *
 * Return: 0, -EPROTO for a length beyond COI_PAYLOAD_MAX, or -errno.
 */
int message_stream_next(struct message_stream *stream, bool more, struct coi_header *header,
			unsigned char **payload);
/* message_stream_more - takes what has come, as far as there is room; whether something of a
 * further message is there */
bool message_stream_more(struct message_stream *stream);

/* message_greeting_check - 0; -EPROTO or -EACCES (the token) */
int message_greeting_check(const struct coi_greeting *greeting, const uint8_t *token);

/* A RUN's parts, inside the payload. */
struct message_run {
	struct coi_run run;
	const unsigned char *buffers; /* struct coi_run_buffer[], not aligned */
	const unsigned char *misc;
};

/* message_run_parse - 0, or -EPROTO when counts and bytes do not agree */
int message_run_parse(const unsigned char *payload, size_t bytes, struct message_run *run);
struct coi_run_buffer message_run_buffer(const struct message_run *run, uint32_t index);

/* message_names_parse - @count names, each with its NUL, filling the payload; @names points into
 * it. 0 or -EPROTO */
int message_names_parse(const unsigned char *payload, size_t bytes, uint64_t count,
			const char **names);
/* message_library_parse - 0 or -EPROTO; @name points into the payload */
int message_library_parse(const unsigned char *payload, size_t bytes, struct coi_library *library,
			  const char **name);
/* message_fixed - a structure that is the whole payload. 0 or -EPROTO */
int message_fixed(const unsigned char *payload, size_t bytes, void *structure, size_t size);
/* message_range - whether @bytes from @offset on are inside @size */
bool message_range(uint64_t offset, uint64_t bytes, uint64_t size);

#endif
