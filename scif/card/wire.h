/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames of the launch protocol (proto/card-launch.h) over a SCIF endpoint, for both sides.
 *
 * Threads: one at a time may send on an endpoint and one may receive; who shares an endpoint
 * between threads holds a lock around wire_send(). Blocking: until all has moved; a signal does
 * not end a call.
 */
#ifndef CAUSEWAY_SCIF_CARD_WIRE_H
#define CAUSEWAY_SCIF_CARD_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "include/scif.h"
#include "proto/card-launch.h"

/* wire_send - one frame; @bytes at most CARD_PAYLOAD_MAX. 0 or -errno (-ECONNRESET: peer gone) */
int wire_send(scif_epd_t epd, uint32_t type, uint64_t value, const void *payload, size_t bytes);

/**
 * wire_receive - the next frame
 * @payload: room for CARD_PAYLOAD_MAX + 1 bytes; a NUL is put behind what came
 *
 * Return: 0; -ECONNRESET when the peer is gone; -EPROTO for a frame that is longer than frames are.
 */
int wire_receive(scif_epd_t epd, struct card_frame *frame, char *payload);

/* wire_move - exactly @bytes, in the one or the other direction; 0 or -errno */
int wire_move(int (*call)(scif_epd_t, void *, int, int), scif_epd_t epd, void *data, size_t bytes);

/**
 * wire_strings - split @bytes at @text into NUL-ended strings
 * @strings: out, pointers into @text
 *
 * Return: how many; -EPROTO when the last one has no end, or there are more than @room.
 */
int wire_strings(char *text, size_t bytes, char **strings, size_t room);

/* wire_name_check - whether a file's name is one: no folder, not hidden, printable; 0 or -EINVAL */
int wire_name_check(const char *name);

#endif
