/* SPDX-License-Identifier: Apache-2.0 */
/* What a card takes of the names and lists that come with a program. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "scif/card/wire.h"

static void lists_are_whole(void **state)
{
	char text[] = "one\0two\0";
	char *strings[2];

	(void)state;
	assert_int_equal(wire_strings(text, sizeof(text) - 1, strings, 2), 2);
	assert_string_equal(strings[0], "one");
	assert_string_equal(strings[1], "two");
	assert_int_equal(wire_strings(text, 0, strings, 2), 0);
	assert_int_equal(wire_strings(text, sizeof(text) - 2, strings, 2), -EPROTO); /* no end */
	assert_int_equal(wire_strings(text, sizeof(text) - 1, strings, 1), -EPROTO); /* no room */
}

static void names_stay_in_their_folder(void **state)
{
	char longest[CARD_NAME_MAX + 2];

	(void)state;
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(wire_name_check(longest + 1), 0);
	assert_int_equal(wire_name_check(longest), -EINVAL);
	assert_int_equal(wire_name_check(""), -EINVAL);
	assert_int_equal(wire_name_check(".."), -EINVAL);
	assert_int_equal(wire_name_check("a/b"), -EINVAL);
	assert_int_equal(wire_name_check("a\nb"), -EINVAL);
	assert_int_equal(wire_name_check("a\177b"), -EINVAL);
	assert_int_equal(wire_name_check("libm.so.6"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists_are_whole),
		cmocka_unit_test(names_stay_in_their_folder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
