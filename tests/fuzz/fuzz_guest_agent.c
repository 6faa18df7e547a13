/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's decoder: any stream of bytes, in pieces; every string of a RUN frame is read. */
#include <stdint.h>
#include <string.h>

#include "testbed/agent_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static struct agent_run run;
	volatile size_t total = 0;
	struct agent_frame frame;
	struct buffer stream;
	uint32_t number;
	long taken = 0;

	buffer_init(&stream, 2 * (sizeof(struct guest_frame) + GUEST_FRAME_PAYLOAD_MAX));
	for (size_t at = 0; at < bytes && taken >= 0; at += 7) {
		if (buffer_append(&stream, data + at, bytes - at < 7 ? bytes - at : 7) < 0)
			break;
		while ((taken = agent_frame_next(&stream, &frame)) > 0) {
			if (frame.header.type == GUEST_FRAME_RUN &&
			    agent_run_parse(&frame, &run) == 0) {
				for (char **string = run.arguments; *string; string++)
					total = total + strlen(*string);
				for (char **string = run.variables; *string; string++)
					total = total + strlen(*string);
			}
			if (agent_number_parse(&frame, &number) == 0)
				total = total + number;
			buffer_consume(&stream, (size_t)taken);
		}
	}
	buffer_free(&stream);
	return 0;
}
