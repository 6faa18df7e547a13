/* SPDX-License-Identifier: Apache-2.0 */
/* lib/base: bounds of the buffer, sentences of errors, stale sockets, configuration errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "lib/base/buffer.h"
#include "lib/base/clean.h"
#include "lib/base/config.h"
#include "lib/base/error.h"
#include "lib/base/io.h"

static void buffer_stops_at_its_limit(void **state)
{
	struct buffer buffer;

	(void)state;
	buffer_init(&buffer, 1000);
	for (int i = 0; i < 10; i++) {
		unsigned char bytes[100];

		memset(bytes, i, sizeof(bytes));
		assert_int_equal(buffer_append(&buffer, bytes, sizeof(bytes)), 0);
	}
	assert_int_equal(buffer_append(&buffer, "x", 1), -ENOBUFS);
	assert_int_equal(buffer.used, 1000);
	buffer_consume(&buffer, 150);
	assert_int_equal(buffer.used, 850);
	assert_int_equal(buffer.data[0], 1);
	assert_int_equal(buffer.data[849], 9);
	buffer_consume(&buffer, 5000);
	assert_int_equal(buffer.used, 0);
	buffer_free(&buffer);
}

static void buffer_formats_all_or_nothing(void **state)
{
	struct buffer buffer;

	(void)state;
	buffer_init(&buffer, 1200);
	assert_int_equal(buffer_format(&buffer, "%d%s|", 7, ""), 0);
	assert_int_equal(buffer_format(&buffer, "%*s", 1100, "end"), 0);
	assert_int_equal(buffer.used, 1102);
	assert_memory_equal(buffer.data, "7| ", 3);
	assert_memory_equal(buffer.data + 1099, "end", 3);
	assert_int_equal(buffer_format(&buffer, "%*s", 99, ""), -ENOBUFS);
	assert_int_equal(buffer.used, 1102);
	assert_int_equal(buffer_format(&buffer, "%*s", 98, ""), 0);
	buffer_free(&buffer);
}

static void error_keeps_the_end_inside(void **state)
{
	struct error error = { 0 };
	char long_text[2000];

	(void)state;
	memset(long_text, 'a', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	assert_int_equal(error_set(&error, -EINVAL, "%s", long_text), -EINVAL);
	assert_int_equal(error_prefix(&error, "file %d", 7), -EINVAL);
	assert_int_equal(strncmp(error.text, "file 7: aaa", 11), 0);
	assert_true(strlen(error.text) < sizeof(error.text));
	assert_int_equal(error_set(NULL, -EIO, "nobody reads this"), -EIO);
}

static void stale_socket_is_replaced_live_one_is_not(void **state)
{
	char path[] = "/tmp/causeway-test-XXXXXX";
	struct error error = { 0 };
	char socket_path[64];
	int first, second;

	(void)state;
	assert_non_null(mkdtemp(path));
	snprintf(socket_path, sizeof(socket_path), "%s/s", path);
	first = io_unix_listen(socket_path, 0600, &error);
	assert_true(first >= 0);
	assert_int_equal(io_unix_listen(socket_path, 0600, &error), -EADDRINUSE);
	close(first);
	second = io_unix_listen(socket_path, 0600, &error);
	assert_true(second >= 0);
	close(second);
	unlink(socket_path);
	rmdir(path);
}

static void descriptors_travel_and_too_many_are_refused(void **state)
{
	int pair[2], fds[IO_FDS_MAX], sent[3] = { 0, 1, 2 };
	size_t count = 0;
	char byte = 'x';

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(io_send_fds(pair[0], "abc", 3, sent, 3), 3);
	assert_int_equal(io_receive_fds(pair[1], &byte, 1, fds, &count), 1);
	assert_int_equal(count, 3);
	for (size_t i = 0; i < count; i++)
		close(fds[i]);
	close(pair[0]);
	close(pair[1]);
}

static void config_names_line_value_and_range(void **state)
{
	char path[] = "/tmp/causeway-test-XXXXXX";
	static const char *const known[] = { "count", "name", NULL };
	struct error error = { 0 };
	struct config config;
	const char *name = "default";
	int64_t count = 5;
	config_setting_t *group;
	int fd = mkstemp(path);
	static const char text[] = "cuda = {\n  count = 900;\n  nmae = \"x\";\n};\n";

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(io_write_full(fd, text, sizeof(text) - 1), 0);
	close(fd);
	assert_int_equal(config_load(&config, path, &error), 0);
	group = config_section(&config, "cuda");
	assert_non_null(group);
	assert_int_equal(config_get_integer(&config, group, "count", 1, 256, &count, &error),
			 -EINVAL);
	assert_non_null(strstr(error.text, ":2: count is 900: expected 1 to 256"));
	assert_int_equal(count, 5);
	assert_int_equal(config_get_string(&config, group, "name", &name, &error), 0);
	assert_string_equal(name, "default");
	assert_int_equal(config_check_unknown(&config, group, known, &error), -EINVAL);
	assert_non_null(strstr(error.text, ":3: unknown setting 'nmae'"));
	config_close(&config);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(buffer_stops_at_its_limit),
		cmocka_unit_test(buffer_formats_all_or_nothing),
		cmocka_unit_test(error_keeps_the_end_inside),
		cmocka_unit_test(stale_socket_is_replaced_live_one_is_not),
		cmocka_unit_test(descriptors_travel_and_too_many_are_refused),
		cmocka_unit_test(config_names_line_value_and_range),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
