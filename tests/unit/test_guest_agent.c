/* SPDX-License-Identifier: Apache-2.0 */
/* testbed/agent_frame: what the agent takes from its host, and what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "lib/base/clean.h"
#include "testbed/agent_frame.h"

#define STREAM_LIMIT (2 * (sizeof(struct guest_frame) + GUEST_FRAME_PAYLOAD_MAX))

static void header_append(struct buffer *stream, struct guest_frame header)
{
	assert_int_equal(buffer_append(stream, &header, sizeof(header)), 0);
}

/* run_append - a RUN frame with these counts and string bytes */
static void run_append(struct buffer *stream, uint32_t arguments, uint32_t variables,
		       const char *strings, size_t bytes)
{
	struct guest_run counts = { arguments, variables };
	unsigned char payload[256];

	memcpy(payload, &counts, sizeof(counts));
	memcpy(payload + sizeof(counts), strings, bytes);
	assert_int_equal(
		agent_frame_append(stream, 5, GUEST_FRAME_RUN, payload, sizeof(counts) + bytes), 0);
}

static void frames_come_whole_however_they_are_cut(void **state)
{
	struct buffer whole, stream;
	struct agent_frame frame;

	(void)state;
	buffer_init(&whole, STREAM_LIMIT);
	buffer_init(&stream, STREAM_LIMIT);
	assert_int_equal(agent_frame_append(&whole, 7, GUEST_FRAME_STDIN, "hello", 5), 0);
	for (size_t at = 0; at < whole.used; at++) {
		assert_int_equal(agent_frame_next(&stream, &frame), 0);
		assert_int_equal(buffer_append(&stream, whole.data + at, 1), 0);
	}
	assert_int_equal(agent_frame_next(&stream, &frame), sizeof(struct guest_frame) + 5);
	assert_int_equal(frame.header.command, 7);
	assert_memory_equal(frame.payload, "hello", 5);
	buffer_free(&whole);
	buffer_free(&stream);
}

static void headers_that_no_host_sends_are_refused(void **state)
{
	static const struct guest_frame wrong[] = {
		{ .type = GUEST_FRAME_STDIN, .bytes = GUEST_FRAME_PAYLOAD_MAX + 1 },
		{ .type = GUEST_FRAME_STDIN, .bytes = 0xffffffff },
		{ .type = GUEST_FRAME_STDIN, .zero = { 0, 0, 1 } },
		{ .type = 0 },
		{ .type = GUEST_FRAME_HELLO },
		{ .type = GUEST_FRAME_EXIT, .bytes = 4 },
		{ .type = 200 },
		{ .type = GUEST_FRAME_SIGNAL, .bytes = 3 },
		{ .type = GUEST_FRAME_STOP, .bytes = 1 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct agent_frame frame;
		struct buffer stream;

		buffer_init(&stream, STREAM_LIMIT);
		header_append(&stream, wrong[i]);
		assert_int_equal(agent_frame_next(&stream, &frame), -EPROTO);
		buffer_free(&stream);
	}
}

static void run_has_exactly_its_strings(void **state)
{
	static const struct {
		uint32_t arguments, variables;
		const char *strings;
		size_t bytes;
		int code;
	} cases[] = {
		{ 2, 1, "sh\0-c\0A=b", 10, 0 },	     { 1, 0, "", 1, 0 },
		{ 0, 1, "A=b", 4, -EPROTO },	     { 1, 1, "sh", 3, -EPROTO },
		{ 1, 0, "sh", 2, -EPROTO },	     { 1, 0, "sh\0more", 8, -EPROTO },
		{ 0xffffffff, 1, "sh", 3, -EPROTO }, { 1, 0xffffffff, "sh", 3, -EPROTO },
	};
	autofree struct agent_run *run = malloc(sizeof(*run));

	(void)state;
	assert_non_null(run);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct agent_frame frame;
		struct buffer stream;

		buffer_init(&stream, STREAM_LIMIT);
		run_append(&stream, cases[i].arguments, cases[i].variables, cases[i].strings,
			   cases[i].bytes);
		assert_true(agent_frame_next(&stream, &frame) > 0);
		assert_int_equal(agent_run_parse(&frame, run), cases[i].code);
		if (i == 0) {
			assert_string_equal(run->arguments[1], "-c");
			assert_null(run->arguments[2]);
			assert_string_equal(run->variables[0], "A=b");
			assert_null(run->variables[1]);
		}
		buffer_free(&stream);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_come_whole_however_they_are_cut),
		cmocka_unit_test(headers_that_no_host_sends_are_refused),
		cmocka_unit_test(run_has_exactly_its_strings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
