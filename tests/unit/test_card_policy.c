// SPDX-License-Identifier: Apache-2.0
/* The card's policy, without processes: who runs when, on which cores, and who is refused. */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "scif/card/policy.h"

static struct card_settings settings;
static struct policy policy;
static struct error error;

static int start(void **state)
{
	(void)state;
	memset(&settings, 0, sizeof(settings));
	settings.memory_bytes = 1000;
	settings.programs_max = 4;
	settings.queue_max = 2;
	assert_int_equal(card_cores_parse("0-3", &settings.cores), 0);
	policy_init(&policy, &settings);
	return 0;
}

static struct policy_program program(unsigned int node, unsigned int cores)
{
	return (struct policy_program){ .node = node, .cores_wanted = cores };
}

static void test_time_shares_all_cores(void **state)
{
	struct policy_program a = program(17, 1), b = program(18, 1);

	(void)state;
	assert_int_equal(card_share_parse(&settings, "18,cores=2+3", &error), 0);
	assert_int_equal(policy_ask(&policy, &a, &error), 0);
	assert_int_equal(policy_ask(&policy, &b, &error), 0);
	assert_ptr_equal(policy_next(&policy), &a);
	assert_ptr_equal(policy_next(&policy), &b);
	assert_null(policy_next(&policy));
	assert_int_equal(CPU_COUNT(&a.cores), 4);
	assert_int_equal(CPU_COUNT(&b.cores), 2);
	assert_true(CPU_ISSET(2, &b.cores) && CPU_ISSET(3, &b.cores));
}

static void test_programs_and_queue_are_bounded(void **state)
{
	struct policy_program programs[7];

	(void)state;
	for (int i = 0; i < 7; i++) {
		programs[i] = program(17, 1);
		assert_int_equal(policy_ask(&policy, &programs[i], &error), 0);
		assert_ptr_equal(policy_next(&policy), i < 4 ? &programs[i] : NULL);
		assert_int_equal(policy_check_queue(&policy, &error), i < 6 ? 0 : -EBUSY);
	}
	assert_string_equal(error.text, "the card is full: 4 programs are there, and 2 wait");
	policy_leave(&policy, &programs[6]);
	assert_int_equal(policy_place(&policy, &programs[5]), 1);
	policy_leave(&policy, &programs[0]);
	assert_ptr_equal(policy_next(&policy), &programs[4]);
	assert_int_equal(policy_place(&policy, &programs[5]), 0);
}

static void test_a_nodes_own_bound(void **state)
{
	struct policy_program a = program(17, 1), b = program(17, 1), c = program(18, 1);

	(void)state;
	assert_int_equal(card_share_parse(&settings, "17,programs=1", &error), 0);
	assert_int_equal(policy_ask(&policy, &a, &error), 0);
	assert_int_equal(policy_ask(&policy, &b, &error), -EBUSY);
	assert_string_equal(error.text, "the card is full: node 17 has its 1 program there");
	assert_int_equal(policy_ask(&policy, &c, &error), 0);
	policy_leave(&policy, &a);
	assert_int_equal(policy_ask(&policy, &b, &error), 0);
}

static void test_space_never_gives_a_core_twice(void **state)
{
	struct policy_program a = program(17, 3), b = program(18, 2), c = program(19, 1);
	cpu_set_t both;

	(void)state;
	settings.policy = CARD_POLICY_SPACE;
	assert_int_equal(policy_ask(&policy, &a, &error), 0);
	assert_int_equal(policy_ask(&policy, &b, &error), 0);
	assert_int_equal(policy_ask(&policy, &c, &error), 0);
	assert_ptr_equal(policy_next(&policy), &a);
	assert_null(policy_next(&policy)); /* c would fit; b came first */
	policy_leave(&policy, &a);
	assert_ptr_equal(policy_next(&policy), &b);
	assert_ptr_equal(policy_next(&policy), &c);
	CPU_AND(&both, &b.cores, &c.cores);
	assert_int_equal(CPU_COUNT(&both), 0);
	assert_int_equal(CPU_COUNT(&b.cores), 2);
	assert_int_equal(policy_ask(&policy, &(struct policy_program){ .cores_wanted = 5 }, &error),
			 -EINVAL);
}

static void test_first_come_has_the_card(void **state)
{
	struct policy_program a = program(17, 1), b = program(18, 1);

	(void)state;
	settings.policy = CARD_POLICY_FIRST;
	assert_int_equal(policy_ask(&policy, &a, &error), 0);
	assert_int_equal(policy_ask(&policy, &b, &error), 0);
	assert_ptr_equal(policy_next(&policy), &a);
	assert_int_equal(CPU_COUNT(&a.cores), 4);
	assert_null(policy_next(&policy));
	policy_leave(&policy, &a);
	assert_ptr_equal(policy_next(&policy), &b);
}

static void test_memory_is_reserved(void **state)
{
	struct policy_program a = program(17, 1), b = program(18, 1), c = program(19, 1);

	(void)state;
	a.memory_bytes = 700;
	b.memory_bytes = 400;
	c.memory_bytes = 1001;
	assert_int_equal(policy_ask(&policy, &a, &error), 0);
	assert_int_equal(policy_ask(&policy, &b, &error), 0);
	assert_int_equal(policy_ask(&policy, &c, &error), -ENOMEM);
	assert_ptr_equal(policy_next(&policy), &a);
	assert_null(policy_next(&policy));
	policy_leave(&policy, &a);
	assert_ptr_equal(policy_next(&policy), &b);
}

static void test_bad_settings_are_named(void **state)
{
	static const char *const bad[] = { "",
					   "x",
					   "64",
					   "17,weight=0",
					   "17,cores=",
					   "17,cores=3-1",
					   "17,programs=0",
					   "17,colour=1" };
	cpu_set_t cores;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(card_share_parse(&settings, bad[i], &error), -EINVAL);
		assert_non_null(strstr(error.text, bad[i]));
	}
	assert_int_equal(card_cores_parse("0,2-3,9", &cores), 0);
	assert_int_equal(CPU_COUNT(&cores), 4);
	assert_int_equal(card_cores_parse("0-", &cores), -EINVAL);
	assert_int_equal(card_cores_parse("-1", &cores), -EINVAL);
	assert_int_equal(card_cores_parse("99999", &cores), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_time_shares_all_cores, start),
		cmocka_unit_test_setup(test_programs_and_queue_are_bounded, start),
		cmocka_unit_test_setup(test_a_nodes_own_bound, start),
		cmocka_unit_test_setup(test_space_never_gives_a_core_twice, start),
		cmocka_unit_test_setup(test_first_come_has_the_card, start),
		cmocka_unit_test_setup(test_memory_is_reserved, start),
		cmocka_unit_test_setup(test_bad_settings_are_named, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
