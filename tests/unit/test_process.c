/* SPDX-License-Identifier: Apache-2.0 */
/* The children of the causeway command: output, statuses, errors of exec, ends by signal. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/process.h"

#define LONG_MS 20000

static int start_shell(struct process *process, const char *script, const char *const *names)
{
	char *arguments[] = { "sh", "-c", (char *)script, NULL };
	struct process_setup setup = { .arguments = arguments,
				       .names = names,
				       .output = PROCESS_OUTPUT_PIPE };

	return process_start(process, &setup, NULL);
}

static void read_all(const struct process *process, char *text, size_t bytes)
{
	size_t used = 0;
	ssize_t got;

	while ((got = process_read(process, text + used, bytes - 1 - used,
				   process_now_ms() + LONG_MS)) > 0)
		used += got;
	assert_int_equal(got, 0);
	text[used] = 0;
}

static void test_output_and_status(void **state)
{
	const char *names[] = { "PROCESS_TEST", "value", NULL };
	struct process process;
	char text[64];

	(void)state;
	assert_int_equal(start_shell(&process, "echo $PROCESS_TEST; exit 7", names), 0);
	read_all(&process, text, sizeof(text));
	assert_string_equal(text, "value\n");
	assert_int_equal(process_sleep(&process, LONG_MS), 1);
	assert_true(process_ended(&process));
	assert_int_equal(process_stop(&process, 0), 7);
	assert_int_equal(process_stop(&process, 0), 0);
}

static void test_input_is_empty(void **state)
{
	struct process process;
	char text[64];

	(void)state;
	assert_int_equal(start_shell(&process, "cat; echo end", NULL), 0);
	read_all(&process, text, sizeof(text));
	assert_string_equal(text, "end\n");
	assert_int_equal(process_stop(&process, LONG_MS), 0);
}

static void test_missing_program(void **state)
{
	char *arguments[] = { "/no/such/program", NULL };
	struct process_setup setup = { .arguments = arguments };
	struct process process;
	struct error error = { 0 };

	(void)state;
	assert_int_equal(process_start(&process, &setup, &error), -ENOENT);
	assert_non_null(strstr(error.text, "/no/such/program"));
	assert_int_equal(process_stop(&process, 0), 0);
}

static void test_stop_ends_the_group(void **state)
{
	struct process process;
	char text[64];
	pid_t grandchild;

	(void)state;
	/* The child ignores the polite signal, and has a child of its own. */
	assert_int_equal(start_shell(&process, "trap '' TERM; sleep 1000 & echo $!; wait", NULL),
			 0);
	assert_true(process_read(&process, text, sizeof(text), process_now_ms() + LONG_MS) > 0);
	grandchild = atoi(text);
	assert_true(grandchild > 1);
	assert_int_equal(process_sleep(&process, 0), 0);
	assert_int_equal(process_stop(&process, 50), 128 + SIGKILL);
	/* Gone, or a zombie that waits for whoever adopts orphans here. */
	for (double end_ms = process_now_ms() + LONG_MS;;) {
		char path[64], status[256] = "";
		FILE *file;

		snprintf(path, sizeof(path), "/proc/%d/stat", (int)grandchild);
		file = fopen(path, "re");
		if (!file || !fgets(status, sizeof(status), file) || strstr(status, ") Z ")) {
			if (file)
				fclose(file);
			break;
		}
		fclose(file);
		assert_true(process_now_ms() < end_ms);
	}
}

static void test_reading_has_a_limit(void **state)
{
	struct process process;
	char text[8];

	(void)state;
	assert_int_equal(start_shell(&process, "sleep 1000", NULL), 0);
	assert_int_equal(process_read(&process, text, sizeof(text), process_now_ms() + 20),
			 -ETIMEDOUT);
	assert_int_equal(process_stop(&process, LONG_MS), 128 + SIGTERM);
}

/* The last one: from the signal on, every wait of this process ends at once. */
static void test_interrupted(void **state)
{
	struct process process;
	char text[8];

	(void)state;
	assert_int_equal(start_shell(&process, "sleep 1000", NULL), 0);
	raise(SIGINT);
	assert_int_equal(process_sleep(&process, LONG_MS), -EINTR);
	assert_int_equal(process_read(&process, text, sizeof(text), process_now_ms() + LONG_MS),
			 -EINTR);
	assert_int_equal(process_stop(&process, LONG_MS), 128 + SIGTERM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_output_and_status),
		cmocka_unit_test(test_input_is_empty),
		cmocka_unit_test(test_missing_program),
		cmocka_unit_test(test_stop_ends_the_group),
		cmocka_unit_test(test_reading_has_a_limit),
		cmocka_unit_test(test_interrupted),
	};

	if (process_open() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
