/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames between host and agent: taking whole ones out of a byte stream, and checking them.
 *
 * This is the one gate for bytes from the host; the agent acts on nothing that did not pass it.
 */
#ifndef CAUSEWAY_TESTBED_AGENT_FRAME_H
#define CAUSEWAY_TESTBED_AGENT_FRAME_H

#include "lib/base/buffer.h"
#include "proto/guest-agent.h"

#define AGENT_STRINGS_MAX 1024 /* arguments and variables of one command together */

struct agent_frame {
	struct guest_frame header;
	const unsigned char *payload; /* in the stream's buffer, valid until bytes are consumed */
};

struct agent_run {
	char *arguments[AGENT_STRINGS_MAX + 1]; /* ended by NULL; into the payload */
	char *variables[AGENT_STRINGS_MAX + 1];
};

/**
 * agent_frame_next - the first whole frame in @stream
 *
 * Return: the bytes that it takes, for buffer_consume(); 0 when more bytes are needed; -EPROTO
 * when the stream cannot be a host's (length, type or padding), after which it is of no use.
 */
long agent_frame_next(const struct buffer *stream, struct agent_frame *frame);

/* agent_run_parse - the strings of a RUN frame, or -EPROTO; @run is of @frame's lifetime */
int agent_run_parse(const struct agent_frame *frame, struct agent_run *run);

/* agent_number_parse - the one number that is a frame's whole payload (SIGNAL), or -EPROTO */
int agent_number_parse(const struct agent_frame *frame, uint32_t *number);

/* agent_frame_append - a frame to the end of @stream: 0, -ENOBUFS or -ENOMEM (nothing is added) */
int agent_frame_append(struct buffer *stream, uint32_t command, enum guest_frame_type type,
		       const void *payload, size_t bytes);

#endif
