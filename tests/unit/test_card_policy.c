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
	for (int node = 0; node < CARD_NODES_MAX; node++)
		settings.shares[node].weight = 100;
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
	settings.policy = CARD_POLICY_TIME;
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

/* Lets programs run, and divides the cores. */
static void run_all(struct policy_program *programs, int count)
{
	for (int i = 0; i < count; i++) {
		assert_int_equal(policy_ask(&policy, &programs[i], &error), 0);
		assert_ptr_equal(policy_next(&policy), &programs[i]);
	}
	policy_balance(&policy);
}

static bool apart(const struct policy_program *one, const struct policy_program *other)
{
	cpu_set_t both;

	CPU_AND(&both, &one->cores, &other->cores);
	return CPU_COUNT(&both) == 0;
}

static void test_share_divides_and_gives_back(void **state)
{
	struct policy_program programs[] = { program(17, 0), program(18, 0), program(19, 0) };
	struct policy_program *a = &programs[0], *b = &programs[1], *c = &programs[2];
	cpu_set_t before;

	(void)state;
	run_all(a, 1);
	assert_int_equal(CPU_COUNT(&a->cores), 4); /* alone: all of it */
	run_all(b, 1);
	assert_int_equal(CPU_COUNT(&a->cores), 2);
	assert_int_equal(CPU_COUNT(&b->cores), 2);
	assert_true(a->moved && apart(a, b));
	before = b->cores;
	run_all(c, 1);
	assert_true(apart(a, b) && apart(a, c) && apart(b, c));
	/* None is left idle, and nobody moves to a core that another had. */
	assert_int_equal(CPU_COUNT(&a->cores) + CPU_COUNT(&b->cores) + CPU_COUNT(&c->cores), 4);
	CPU_AND(&before, &before, &b->cores);
	assert_true(CPU_COUNT(&before) >= 1);
	policy_leave(&policy, a);
	policy_leave(&policy, c);
	policy_balance(&policy);
	assert_int_equal(CPU_COUNT(&b->cores), 4);
}

static void test_share_spreads_more_than_there_are_cores(void **state)
{
	struct policy_program programs[8];
	unsigned int load[4] = { 0 };

	(void)state;
	settings.programs_max = 8;
	for (int i = 0; i < 8; i++)
		programs[i] = program(17 + (unsigned int)i, 0);
	run_all(programs, 8);
	for (int i = 0; i < 8; i++) {
		assert_int_equal(CPU_COUNT(&programs[i].cores), 1);
		for (int core = 0; core < 4; core++)
			load[core] += CPU_ISSET(core, &programs[i].cores) != 0;
	}
	for (int core = 0; core < 4; core++)
		assert_int_equal(load[core], 2);
	/* What has its place keeps it. */
	for (int i = 0; i < 8; i++)
		programs[i].moved = false;
	policy_balance(&policy);
	for (int i = 0; i < 8; i++)
		assert_false(programs[i].moved);
}

static void test_share_heeds_weights_and_wishes(void **state)
{
	struct policy_program programs[] = { program(17, 0), program(18, 0), program(18, 0) };

	(void)state;
	assert_int_equal(card_share_parse(&settings, "17,weight=300", &error), 0);
	run_all(programs, 3);
	assert_int_equal(CPU_COUNT(&programs[0].cores), 3);
	assert_int_equal(CPU_COUNT(&programs[1].cores), 1); /* a node's programs share its part */
	assert_true(CPU_EQUAL(&programs[1].cores, &programs[2].cores));
	policy_leave(&policy, &programs[0]);
	policy_leave(&policy, &programs[2]);
	programs[0] = program(17, 1);
	run_all(programs, 1);
	assert_int_equal(CPU_COUNT(&programs[0].cores), 1); /* no more than it asked for */
	assert_int_equal(CPU_COUNT(&programs[1].cores), 3);
	assert_true(apart(&programs[0], &programs[1]));
}

static void test_share_keeps_to_a_nodes_cores(void **state)
{
	struct policy_program programs[] = { program(17, 0), program(18, 0), program(19, 0) };

	(void)state;
	assert_int_equal(card_share_parse(&settings, "19,cores=0-1", &error), 0);
	run_all(programs, 3);
	assert_true(CPU_COUNT(&programs[2].cores) >= 1);
	assert_false(CPU_ISSET(2, &programs[2].cores) || CPU_ISSET(3, &programs[2].cores));
	assert_true(apart(&programs[0], &programs[2]) && apart(&programs[1], &programs[2]));
}

static void test_share_leaves_the_idle_out(void **state)
{
	struct policy_program programs[] = { program(17, 0), program(18, 0) };

	(void)state;
	run_all(programs, 2);
	programs[1].idle = true;
	policy_balance(&policy);
	assert_int_equal(CPU_COUNT(&programs[0].cores), 4); /* as if it were alone */
	assert_int_equal(CPU_COUNT(&programs[1].cores), 2); /* should it go on at once */
	programs[1].idle = false;
	policy_balance(&policy);
	assert_int_equal(CPU_COUNT(&programs[0].cores), 2);
	assert_true(apart(&programs[0], &programs[1]));
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
		cmocka_unit_test_setup(test_share_divides_and_gives_back, start),
		cmocka_unit_test_setup(test_share_spreads_more_than_there_are_cores, start),
		cmocka_unit_test_setup(test_share_heeds_weights_and_wishes, start),
		cmocka_unit_test_setup(test_share_keeps_to_a_nodes_cores, start),
		cmocka_unit_test_setup(test_share_leaves_the_idle_out, start),
		cmocka_unit_test_setup(test_programs_and_queue_are_bounded, start),
		cmocka_unit_test_setup(test_a_nodes_own_bound, start),
		cmocka_unit_test_setup(test_space_never_gives_a_core_twice, start),
		cmocka_unit_test_setup(test_first_come_has_the_card, start),
		cmocka_unit_test_setup(test_memory_is_reserved, start),
		cmocka_unit_test_setup(test_bad_settings_are_named, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
