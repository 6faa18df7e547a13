/* SPDX-License-Identifier: Apache-2.0 */
/* The gates of offload's messages: what is whole passes, what is not does not. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "scif/coi/message.h"
#include "scif/coi/section.h"

/* A RUN with @buffers buffers and @misc bytes of data, of which @cut are missing. */
static int parse_run(uint32_t buffers, uint16_t misc, size_t cut)
{
	struct coi_run what = { .buffers = buffers, .misc_bytes = misc };
	size_t bytes = sizeof(what) + buffers * sizeof(struct coi_run_buffer) + misc;
	unsigned char *payload = calloc(1, bytes + 1);
	struct message_run run;
	int status;

	memcpy(payload, &what, sizeof(what));
	status = message_run_parse(payload, bytes - cut, &run);
	if (status == 0) {
		assert_ptr_equal(run.misc, payload + bytes - misc);
		assert_int_equal(run.run.buffers, buffers);
	}
	free(payload);
	return status;
}

static void runs_are_whole(void **state)
{
	(void)state;
	assert_int_equal(parse_run(0, 0, 0), 0);
	assert_int_equal(parse_run(3, 100, 0), 0);
	assert_int_equal(parse_run(COI_RUN_BUFFERS_MAX, COI_RUN_MISC_MAX, 0), 0);
	assert_int_equal(parse_run(3, 100, 1), -EPROTO);
	assert_int_equal(parse_run(0, 0, 1), -EPROTO);
	assert_int_equal(parse_run(COI_RUN_BUFFERS_MAX + 1, 0, 0), -EPROTO);
	assert_int_equal(parse_run(1, COI_RUN_MISC_MAX + 1, 0), -EPROTO);
}

static void buffers_of_a_run_are_read(void **state)
{
	struct coi_run what = { .buffers = 2 };
	struct coi_run_buffer buffers[2] = { { .id = 7, .offset = 1, .bytes = 2 },
					     { .id = 8, .offset = 3, .bytes = 4 } };
	unsigned char payload[sizeof(what) + sizeof(buffers)];
	struct message_run run;

	(void)state;
	memcpy(payload, &what, sizeof(what));
	memcpy(payload + sizeof(what), buffers, sizeof(buffers));
	assert_int_equal(message_run_parse(payload, sizeof(payload), &run), 0);
	assert_int_equal(message_run_buffer(&run, 1).id, 8);
	assert_int_equal(message_run_buffer(&run, 1).bytes, 4);
}

static void names_fill_the_payload(void **state)
{
	const char *names[COI_FUNCTIONS_MAX];
	char longest[COI_NAME_MAX + 2];

	(void)state;
	assert_int_equal(message_names_parse((const unsigned char *)"a\0bc\0", 5, 2, names), 0);
	assert_string_equal(names[1], "bc");
	assert_int_equal(message_names_parse((const unsigned char *)"a\0bc", 4, 2, names), -EPROTO);
	assert_int_equal(message_names_parse((const unsigned char *)"a\0b\0", 4, 1, names),
			 -EPROTO);
	assert_int_equal(message_names_parse((const unsigned char *)"", 0, 1, names), -EPROTO);
	assert_int_equal(message_names_parse((const unsigned char *)"a", 2, 0, names), -EPROTO);
	assert_int_equal(
		message_names_parse((const unsigned char *)"a", 2, COI_FUNCTIONS_MAX + 1, names),
		-EPROTO);
	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = 0;
	assert_int_equal(message_names_parse((unsigned char *)longest, sizeof(longest), 1, names),
			 -EPROTO);
	assert_int_equal(
		message_names_parse((unsigned char *)longest + 1, sizeof(longest) - 1, 1, names),
		0);
}

static void libraries_have_a_name(void **state)
{
	struct coi_library library = { .buffer = 5, .bytes = 6 };
	unsigned char payload[sizeof(library) + 4] = { 0 };
	const char *name;

	(void)state;
	memcpy(payload, &library, sizeof(library));
	memcpy(payload + sizeof(library), "lib", 4);
	assert_int_equal(message_library_parse(payload, sizeof(payload), &library, &name), 0);
	assert_string_equal(name, "lib");
	assert_int_equal(message_library_parse(payload, sizeof(payload) - 1, &library, &name),
			 -EPROTO);
	assert_int_equal(message_library_parse(payload, 8, &library, &name), -EPROTO);
}

static void greetings_need_the_token(void **state)
{
	uint8_t token[COI_TOKEN_BYTES] = { 1, 2, 3 };
	struct coi_greeting greeting = { .magic = COI_MAGIC,
					 .version = COI_VERSION,
					 .role = COI_ROLE_DATA };

	(void)state;
	memcpy(greeting.token, token, sizeof(token));
	assert_int_equal(message_greeting_check(&greeting, token), 0);
	greeting.token[15] ^= 1;
	assert_int_equal(message_greeting_check(&greeting, token), -EACCES);
	greeting.token[15] ^= 1;
	greeting.role = COI_ROLE_PIPELINE + 1;
	assert_int_equal(message_greeting_check(&greeting, token), -EPROTO);
	greeting.role = 0;
	assert_int_equal(message_greeting_check(&greeting, token), -EPROTO);
	greeting.role = COI_ROLE_CONTROL;
	greeting.version++;
	assert_int_equal(message_greeting_check(&greeting, token), -EPROTO);
}

static void ranges_do_not_wrap(void **state)
{
	(void)state;
	assert_true(message_range(0, 10, 10));
	assert_true(message_range(10, 0, 10));
	assert_false(message_range(11, 0, 10));
	assert_false(message_range(1, 10, 10));
	assert_false(message_range(UINT64_MAX, 2, 10));
	assert_false(message_range(2, UINT64_MAX, 10));
}

/* What the other side sent, and how much of it a call that does not wait may take. In place of
 * libscif's. */
static struct {
	unsigned char bytes[8192];
	size_t count, at, piece;
	unsigned int calls;
	unsigned int interrupts; /* so many of the next calls are cut short by a signal */
	bool gone;		 /* the other side, as a call that does not wait finds */
} feed;

int scif_recv(scif_epd_t epd, void *message, int count, int flags)
{
	size_t left = feed.count - feed.at, got = (size_t)count;

	(void)epd;
	feed.calls++;
	if (feed.interrupts) {
		feed.interrupts--;
		errno = EINTR;
		return -1;
	}
	if (!(flags & SCIF_RECV_BLOCK)) {
		if (feed.gone) {
			errno = ECONNRESET;
			return -1;
		}
		got = got < left ? got : left;
		got = got < feed.piece ? got : feed.piece;
	}
	if (got > left) {
		errno = ECONNRESET;
		return -1;
	}
	memcpy(message, feed.bytes + feed.at, got);
	feed.at += got;
	return (int)got;
}

static void feed_message(uint32_t tag, uint32_t bytes)
{
	struct coi_header header = { .type = COI_COMPLETE, .bytes = bytes, .tag = tag };

	memcpy(feed.bytes + feed.count, &header, sizeof(header));
	memset(feed.bytes + feed.count + sizeof(header), (int)tag, bytes);
	feed.count += sizeof(header) + bytes;
}

static void messages_of_a_stream(void **state)
{
	static const uint32_t sizes[] = { 0, 8, 1, 300, 0, 5000, 7 };
	struct message_stream stream;
	struct coi_header header;
	unsigned char *payload;

	(void)state;
	for (size_t piece = 1; piece <= sizeof(feed.bytes); piece *= 3) {
		memset(&feed, 0, sizeof(feed));
		feed.piece = piece;
		for (uint32_t i = 0; i < 7; i++)
			feed_message(i, sizes[i]);
		assert_int_equal(message_stream_open(&stream, 0, MESSAGE_STREAM_ROOM), 0);
		for (uint32_t i = 0; i < 7; i++) {
			assert_int_equal(message_stream_next(&stream, true, &header, &payload), 0);
			assert_int_equal(header.tag, i);
			assert_int_equal(header.bytes, sizes[i]);
			assert_int_equal((uintptr_t)payload % 16, 0);
			for (uint32_t k = 0; k < sizes[i]; k++)
				assert_int_equal(payload[k], i);
			assert_int_equal(message_stream_more(&stream), i < 6);
		}
		assert_int_equal(message_stream_next(&stream, false, &header, &payload),
				 -ECONNRESET);
		message_stream_close(&stream);
	}
}

/* Answers that came together cost two calls: one that waits, and one for the rest. */
static void a_stream_takes_few_calls(void **state)
{
	struct message_stream stream;
	struct coi_header header;
	unsigned char *payload;

	(void)state;
	memset(&feed, 0, sizeof(feed));
	feed.piece = sizeof(feed.bytes);
	for (uint32_t i = 0; i < 20; i++)
		feed_message(i, 0);
	assert_int_equal(message_stream_open(&stream, 0, MESSAGE_STREAM_ROOM), 0);
	for (uint32_t i = 0; i < 20; i++)
		assert_int_equal(message_stream_next(&stream, i < 19, &header, &payload), 0);
	assert_int_equal(feed.calls, 2);
	feed_message(20, 0);
	header.bytes = COI_PAYLOAD_MAX + 1;
	memcpy(feed.bytes + feed.at, &header, sizeof(header));
	assert_int_equal(message_stream_next(&stream, false, &header, &payload), -EPROTO);
	message_stream_close(&stream);
}

/* What comes while messages are looked at is taken, as far as there is room, and no further. */
static void a_stream_reads_ahead(void **state)
{
	const size_t each = sizeof(struct coi_header) + 13, room = 2000;
	const uint32_t count = (uint32_t)(sizeof(feed.bytes) / each);
	struct message_stream stream;
	struct coi_header header;
	unsigned char *payload;

	(void)state;
	memset(&feed, 0, sizeof(feed));
	feed.piece = 500; /* a call gets no more */
	for (uint32_t i = 0; i < count; i++)
		feed_message(i, 13);
	assert_true(feed.count > 2 * room);
	assert_int_equal(message_stream_open(&stream, 0, room), 0);
	for (uint32_t i = 0; i < count; i++) {
		assert_int_equal(message_stream_next(&stream, true, &header, &payload), 0);
		assert_int_equal(header.tag, i);
		assert_int_equal((uintptr_t)payload % 16, 0);
		for (uint32_t k = 0; k < 13; k++)
			assert_int_equal(payload[k], i & 0xff);
		assert_int_equal(message_stream_more(&stream), i + 1 < count);
		assert_int_equal(stream.taken, feed.at);
		assert_true(feed.at <= (i + 1) * each + room);
		/* Half of the room is used, unless that was all. */
		if (i > 10)
			assert_true(feed.at >= (i + 1) * each + room / 2 - 500 ||
				    feed.at == feed.count);
	}
	message_stream_close(&stream);
}

static void sections_do_not_wrap(void **state)
{
	const uint64_t steps[3] = { 100, 10, 2 }, none[3] = { 1, 0, 1 }, huge = 1ull << 62;
	const uint64_t counts[3] = { 3, 2, 5 }, many[3] = { huge, 2, 1 };
	const uint64_t wide[3] = { huge, 1, 1 }, far[3] = { 2, 1, 1 };
	struct section section;

	(void)state;
	assert_true(section_set(&section, 2, counts, steps));
	assert_int_equal(section.elements, 30);
	assert_int_equal(section.row, 10); /* the second dimension follows without a gap */
	assert_int_equal(section.span, 200 + 10 + 8 + 2);
	assert_int_equal(section_at(&section, 29), 218);
	assert_false(section_set(&section, 0, counts, steps));
	assert_false(section_set(&section, 2, none, steps));
	assert_false(section_set(&section, 2, counts, wide));
	assert_false(section_set(&section, 4, far, (const uint64_t[3]){ huge * 2, 1, 1 }));
	assert_false(section_set(&section, 2, many, (const uint64_t[3]){ 0, 0, 0 }));
	assert_false(section_set(&section, 2, many, steps));
}

static void sections_move_between_gaps(void **state)
{
	const uint64_t counts[3] = { 2, 2, 2 }, steps[3] = { 12, 6, 2 };
	unsigned char array[21], packed[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	const unsigned char wanted[21] = { 1, 0, 2, 0, 0, 0, 3, 0, 4, 0, 0,
					   0, 5, 0, 6, 0, 0, 0, 7, 0, 8 };
	struct section section;

	(void)state;
	memset(array, 0, sizeof(array));
	assert_true(section_set(&section, 1, counts, steps));
	section_move(&section, array, 0, 3, packed, false);
	assert_int_equal(array[8], 0);
	section_move(&section, array, 3, 5, packed + 3, false);
	assert_memory_equal(array, wanted, sizeof(array));
	memset(packed, 0, sizeof(packed));
	memset(array + 1, 9, 1);
	section_move(&section, array, 1, 7, packed, true);
	for (unsigned char i = 0; i < 7; i++)
		assert_int_equal(packed[i], i + 2);
}

/* What was sent, in place of libscif's as well. */
static struct {
	unsigned char bytes[256];
	size_t count;
	unsigned int interrupts;
	bool gone; /* the other side */
} sent;

int scif_send(scif_epd_t epd, void *message, int count, int flags)
{
	(void)epd;
	(void)flags;
	if (sent.interrupts || sent.gone) {
		errno = sent.gone ? ECONNRESET : EINTR;
		sent.interrupts -= sent.interrupts > 0;
		return -1;
	}
	assert_true(sent.count + (size_t)count <= sizeof(sent.bytes));
	memcpy(sent.bytes + sent.count, message, (size_t)count);
	sent.count += (size_t)count;
	return count;
}

/* One that announces more than any has, and one that ends before its payload does. */
static void broken_messages_are_refused(void **state)
{
	static unsigned char before;
	unsigned char *payload = &before;
	struct coi_header header = { .bytes = COI_PAYLOAD_MAX + 1 };

	(void)state;
	memset(&feed, 0, sizeof(feed));
	memcpy(feed.bytes, &header, sizeof(header));
	feed.count = sizeof(feed.bytes); /* bytes enough: the length itself is what is wrong */
	assert_int_equal(message_receive(0, &header, &payload), -EPROTO);
	assert_null(payload);
	assert_int_equal(feed.at, sizeof(header));

	memset(&feed, 0, sizeof(feed));
	feed_message(1, 100);
	feed.count--;
	payload = &before;
	assert_int_equal(message_receive(0, &header, &payload), -ECONNRESET);
	assert_null(payload);

	memset(&feed, 0, sizeof(feed));
	feed_message(1, 0);
	feed.count--;
	payload = &before;
	assert_int_equal(message_receive(0, &header, &payload), -ECONNRESET);
	assert_null(payload);
}

/* A stream that breaks inside a payload, while others are looked for as well. */
static void a_broken_stream_is_told(void **state)
{
	struct message_stream stream;
	struct coi_header header;
	unsigned char *payload;

	(void)state;
	memset(&feed, 0, sizeof(feed));
	feed.piece = sizeof(feed.bytes);
	feed_message(1, 100);
	feed.count--;
	assert_int_equal(message_stream_open(&stream, 0, MESSAGE_STREAM_ROOM), 0);
	assert_int_equal(message_stream_next(&stream, true, &header, &payload), -ECONNRESET);
	assert_null(payload);
	message_stream_close(&stream);

	memset(&feed, 0, sizeof(feed));
	feed.gone = true;
	feed_message(1, 100);
	assert_int_equal(message_stream_open(&stream, 0, MESSAGE_STREAM_ROOM), 0);
	assert_int_equal(message_stream_next(&stream, false, &header, &payload), -ECONNRESET);
	assert_null(payload);
	assert_int_equal(feed.at, sizeof(header));
	message_stream_close(&stream);
}

static void structures_have_their_size(void **state)
{
	struct coi_run_buffer buffer = { .id = 1 };
	const unsigned char payload[sizeof(buffer) + 1] = { 9 };

	(void)state;
	assert_int_equal(message_fixed(payload, sizeof(buffer) - 1, &buffer, sizeof(buffer)),
			 -EPROTO);
	assert_int_equal(message_fixed(payload, sizeof(buffer) + 1, &buffer, sizeof(buffer)),
			 -EPROTO);
	assert_int_equal(buffer.id, 1);
	assert_int_equal(message_fixed(payload, sizeof(buffer), &buffer, sizeof(buffer)), 0);
	assert_memory_equal(&buffer, payload, sizeof(buffer));
}

static void a_signal_loses_no_byte(void **state)
{
	struct coi_header header = { .type = COI_COMPLETE, .tag = 9 };
	struct iovec part = { .iov_base = (char[]){ "abcd" }, .iov_len = 4 };
	unsigned char *payload;

	(void)state;
	memset(&sent, 0, sizeof(sent));
	sent.interrupts = 2;
	assert_int_equal(message_send(0, &header, &part, 1), 0);
	assert_int_equal(sent.interrupts, 0);
	assert_int_equal(sent.count, sizeof(header) + 4);
	sent.gone = true;
	assert_int_equal(message_send(0, &header, &part, 1), -ECONNRESET);

	memset(&feed, 0, sizeof(feed));
	memcpy(feed.bytes, sent.bytes, sent.count);
	feed.count = sent.count;
	feed.interrupts = 2;
	assert_int_equal(message_receive(0, &header, &payload), 0);
	assert_int_equal(feed.interrupts, 0);
	assert_int_equal(header.tag, 9);
	assert_memory_equal(payload, "abcd", 4);
	free(payload);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_of_a_stream),
		cmocka_unit_test(a_stream_takes_few_calls),
		cmocka_unit_test(a_stream_reads_ahead),
		cmocka_unit_test(broken_messages_are_refused),
		cmocka_unit_test(a_broken_stream_is_told),
		cmocka_unit_test(structures_have_their_size),
		cmocka_unit_test(a_signal_loses_no_byte),
		cmocka_unit_test(runs_are_whole),
		cmocka_unit_test(buffers_of_a_run_are_read),
		cmocka_unit_test(names_fill_the_payload),
		cmocka_unit_test(libraries_have_a_name),
		cmocka_unit_test(greetings_need_the_token),
		cmocka_unit_test(ranges_do_not_wrap),
		cmocka_unit_test(sections_do_not_wrap),
		cmocka_unit_test(sections_move_between_gaps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
