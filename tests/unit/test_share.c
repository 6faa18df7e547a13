/* SPDX-License-Identifier: Apache-2.0 */
/* Turns: shares, weights, classes, newcomers, ends; and the simulator that shows them. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/share-trace.h"
#include "share/policy.h"
#include "share/recorded.h"
#include "share/simulate.h"

#define MS	1000000ull
#define TENANTS 8

static const struct simulate_settings settings_default = {
	.share = { .kind = SHARE_ROUND_ROBIN, .quantum_ns = 10 * MS, .slice_ns = 10 * MS },
	.duration_ns = 20000 * MS,
	.handover_ns = 30000,
	.linger_ns = 100000,
};

/* Traces of one launch: a program that always has the next kernel ready. */
static struct simulate_launch busy_launch(uint64_t duration_ns)
{
	return (struct simulate_launch){ .duration_ns = duration_ns };
}

struct load {
	struct simulate_launch launches[TENANTS];
	struct simulate_trace traces[TENANTS];
	struct simulate_tenant tenants[TENANTS];
	struct simulate_result results[TENANTS];
	struct simulate_summary summary;
};

static void load_tenant(struct load *load, size_t i, struct simulate_launch launch,
			unsigned int weight, unsigned int priority)
{
	load->launches[i] = launch;
	load->traces[i] = (struct simulate_trace){ &load->launches[i], 1 };
	load->tenants[i] = (struct simulate_tenant){
		.name = "t", .weight = weight, .priority = priority, .trace = &load->traces[i]
	};
}

static void load_run(struct load *load, size_t count, const struct simulate_settings *settings)
{
	assert_int_equal(
		simulate_run(settings, load->tenants, count, load->results, &load->summary), 0);
}

/* load_error - how far a tenant's share is from its due, as part of the due; the worst of all */
static double load_error(const struct load *load, size_t count)
{
	double total = (double)load->summary.device_ns, weights = 0, worst = 0;

	for (size_t i = 0; i < count; i++)
		weights += load->tenants[i].weight;
	for (size_t i = 0; i < count; i++) {
		double due = total * load->tenants[i].weight / weights;
		double off = fabs((double)load->results[i].device_ns - due) / due;

		worst = off > worst ? off : worst;
	}
	return worst;
}

static void test_equal_shares_of_unlike_kernels(void **state)
{
	static const size_t counts[] = { 2, 4, 8 };
	struct load load;

	(void)state;
	for (size_t c = 0; c < 3; c++) {
		for (size_t i = 0; i < counts[c]; i++)
			load_tenant(&load, i, busy_launch(i % 2 ? 10 * MS : MS / 10), 1, 0);
		load_run(&load, counts[c], &settings_default);
		assert_true(load_error(&load, counts[c]) <= 0.02);
		assert_true((double)load.summary.device_ns >=
			    0.97 * (double)load.summary.wanted_ns);
	}
}

static void test_first_come_is_unfair(void **state)
{
	struct simulate_settings settings = settings_default;
	struct load load;

	(void)state;
	settings.share.kind = SHARE_FIRST_COME;
	load_tenant(&load, 0, busy_launch(MS / 10), 1, 0);
	load_tenant(&load, 1, busy_launch(20 * MS), 1, 0);
	load_run(&load, 2, &settings);
	assert_true(load_error(&load, 2) > 0.2);
}

static void test_weights(void **state)
{
	static const unsigned int weights[][4] = { { 3, 1 }, { 8, 4, 2, 1 } };
	static const size_t counts[] = { 2, 4 };
	static const enum share_kind kinds[] = { SHARE_ROUND_ROBIN, SHARE_VIRTUAL_TIME };
	struct simulate_settings settings = settings_default;
	struct load load;

	(void)state;
	for (size_t k = 0; k < 2; k++) {
		settings.share.kind = kinds[k];
		for (size_t c = 0; c < 2; c++) {
			for (size_t i = 0; i < counts[c]; i++)
				load_tenant(&load, i, busy_launch(i % 2 ? 3 * MS : MS / 2),
					    weights[c][i], 0);
			load_run(&load, counts[c], &settings);
			assert_true(load_error(&load, counts[c]) <= 0.02);
		}
	}
}

static void test_higher_class_first(void **state)
{
	struct load load;

	(void)state;
	load_tenant(&load, 0, busy_launch(MS), 1000, 0);
	load_tenant(&load, 1,
		    (struct simulate_launch){ .gap_ns = MS, .duration_ns = 3 * MS, .waits = true },
		    1, 2);
	load_run(&load, 2, &settings_default);
	/* It waits for one kernel that runs already, at most, and the handing over. */
	assert_true(load.results[1].wait_max_ns <= MS + 2 * settings_default.handover_ns);
	assert_true(load.results[0].device_ns > 0);
}

static void test_newcomer_waits_briefly(void **state)
{
	struct load load;

	(void)state;
	for (size_t i = 0; i < 7; i++)
		load_tenant(&load, i, busy_launch(5 * MS), 1, 0);
	load_tenant(&load, 7,
		    (struct simulate_launch){ .gap_ns = 97 * MS, .duration_ns = MS, .waits = true },
		    1, 0);
	load_run(&load, 8, &settings_default);
	assert_true(load.results[7].launches > 100);
	/* Never for more than the kernel that runs already, whatever is left of its turn. */
	assert_true(load.results[7].wait_max_ns <= 5 * MS + settings_default.handover_ns);
	assert_true(load_error(&load, 7) <= 0.02);
}

/* serve - one turn for whoever is next, all clients being greedy; who it was */
static struct share_client *serve(struct share_policy *policy, struct share_client *clients,
				  size_t count, uint64_t used_ns)
{
	struct share_client *served;

	for (size_t i = 0; i < count; i++)
		share_want(policy, &clients[i]);
	served = share_next(policy);
	assert_non_null(served);
	share_end(policy, used_ns);
	return served;
}

/* A newcomer cuts a turn short, and the holder has the rest of it afterwards. */
static void test_what_is_left_of_a_turn_comes_later(void **state)
{
	struct share_policy policy;
	struct share_tenant busy[2], rare, urgent;
	struct share_client clients[2], newcomer, high;

	(void)state;
	share_policy_open(&policy, &share_settings_default);
	for (int i = 0; i < 2; i++) {
		share_tenant_add(&policy, &busy[i], 1, 0);
		share_client_open(&clients[i], &busy[i]);
	}
	share_tenant_add(&policy, &rare, 1, 0);
	share_client_open(&newcomer, &rare);
	share_tenant_add(&policy, &urgent, 1, 1);
	share_client_open(&high, &urgent);
	for (int i = 0; i < 4; i++)
		assert_ptr_equal(serve(&policy, clients, 2, share_settings_default.slice_ns),
				 &clients[i % 2]);
	share_want(&policy, &clients[0]);
	share_want(&policy, &clients[1]);
	assert_ptr_equal(share_next(&policy), &clients[0]);
	assert_int_equal(share_budget(&policy), share_settings_default.slice_ns);
	share_want(&policy, &newcomer);
	assert_int_equal(share_budget(&policy), 0);
	share_end(&policy, 4 * MS); /* what was with the driver already */
	share_want(&policy, &clients[0]);
	assert_ptr_equal(share_next(&policy), &newcomer);
	assert_int_equal(share_budget(&policy), share_settings_default.slice_ns);
	share_end(&policy, MS);
	assert_ptr_equal(share_next(&policy), &clients[0]);
	assert_int_equal(share_budget(&policy), share_settings_default.slice_ns - 4 * MS);
	/* It may come back once for the rest of its quantum, and then has its place in the round.
	 */
	share_want(&policy, &newcomer);
	assert_int_equal(share_budget(&policy), 0);
	share_end(&policy, MS);
	share_want(&policy, &clients[0]);
	assert_ptr_equal(share_next(&policy), &newcomer);
	share_end(&policy, MS);
	assert_ptr_equal(share_next(&policy), &clients[0]);
	share_want(&policy, &newcomer);
	assert_int_equal(share_budget(&policy), share_settings_default.slice_ns - 5 * MS);
	/* A turn that was cut before it began is not lost either. */
	share_want(&policy, &high);
	assert_int_equal(share_budget(&policy), 0);
	share_end(&policy, 0);
	share_want(&policy, &clients[0]);
	assert_ptr_equal(share_next(&policy), &high);
	share_end(&policy, MS);
	assert_ptr_equal(share_next(&policy), &clients[0]);
	assert_int_equal(share_budget(&policy), share_settings_default.slice_ns - 5 * MS);
	/* One that its holder did nothing with is. */
	share_end(&policy, 0);
	share_want(&policy, &clients[0]);
	assert_ptr_equal(share_next(&policy), &clients[1]);
}

/* A program that sleeps whenever it had its turn must not get more than one that works on. */
static void test_bursts_take_no_more(void **state)
{
	struct load load;

	(void)state;
	for (size_t i = 0; i < 3; i++)
		load_tenant(&load, i, busy_launch(MS), 1, 0);
	load_tenant(
		&load, 3,
		(struct simulate_launch){ .gap_ns = MS / 2, .duration_ns = 4 * MS, .waits = true },
		1, 0);
	load_run(&load, 4, &settings_default);
	assert_true((double)load.results[3].device_ns <= 1.02 * (double)load.summary.device_ns / 4);
	assert_true((double)load.results[3].device_ns >= 0.7 * (double)load.summary.device_ns / 4);
}

/* Short kernels with a wait after each keep their turn through the pauses. */
static void test_turn_lingers(void **state)
{
	struct simulate_settings settings = settings_default;
	struct load load;
	double with, without;

	(void)state;
	load_tenant(
		&load, 0,
		(struct simulate_launch){ .gap_ns = 20000, .duration_ns = MS / 10, .waits = true },
		1, 0);
	load_tenant(&load, 1, busy_launch(10 * MS), 1, 0);
	load_run(&load, 2, &settings);
	with = load_error(&load, 2);
	settings.linger_ns = 0;
	load_run(&load, 2, &settings);
	without = load_error(&load, 2);
	assert_true(with <= 0.02);
	assert_true(without > 0.5);
}

static void test_nobody_else_means_no_bound(void **state)
{
	struct share_policy policy;
	struct share_tenant one, other;
	struct share_client first, second;

	(void)state;
	share_policy_open(&policy, &share_settings_default);
	share_tenant_add(&policy, &one, 1, 0);
	share_tenant_add(&policy, &other, 1, 0);
	share_client_open(&first, &one);
	share_client_open(&second, &other);
	assert_null(share_next(&policy));
	share_want(&policy, &first);
	assert_ptr_equal(share_next(&policy), &first);
	assert_true(share_budget(&policy) == SHARE_UNBOUNDED);
	share_want(&policy, &second);
	assert_int_equal(share_budget(&policy), share_settings_default.slice_ns);
	assert_null(share_next(&policy));
	share_end(&policy, 0);
	share_want(&policy, &first);
	assert_ptr_equal(share_next(&policy), &second);
	assert_int_equal(share_budget(&policy), share_settings_default.slice_ns);
}

static void test_clients_of_a_tenant_alternate(void **state)
{
	struct share_policy policy;
	struct share_tenant one, other;
	struct share_client clients[3];
	unsigned int turns[3] = { 0 };

	(void)state;
	share_policy_open(&policy, &share_settings_default);
	share_tenant_add(&policy, &one, 1, 0);
	share_tenant_add(&policy, &other, 1, 0);
	share_client_open(&clients[0], &one);
	share_client_open(&clients[1], &one);
	share_client_open(&clients[2], &other);
	for (int i = 0; i < 400; i++) {
		for (int c = 0; c < 3; c++)
			share_want(&policy, &clients[c]);
		turns[share_next(&policy) - clients]++;
		share_end(&policy, share_settings_default.slice_ns);
	}
	assert_in_range(turns[0], 98, 102);
	assert_in_range(turns[1], 98, 102);
	assert_in_range(turns[2], 198, 202);
}

static void test_likely_next_is_next(void **state)
{
	struct share_policy policy;
	struct share_tenant tenants[3], urgent;
	struct share_client clients[3], high;
	unsigned int right = 0;

	(void)state;
	share_policy_open(&policy, &share_settings_default);
	for (int i = 0; i < 3; i++) {
		share_tenant_add(&policy, &tenants[i], 1 + (unsigned int)i, 0);
		share_client_open(&clients[i], &tenants[i]);
	}
	share_tenant_add(&policy, &urgent, 1, 1);
	share_client_open(&high, &urgent);
	assert_null(share_likely(&policy));
	share_want(&policy, &clients[0]);
	assert_ptr_equal(share_next(&policy), &clients[0]);
	assert_null(share_likely(&policy));
	for (int i = 0; i < 300; i++) {
		struct share_client *likely;

		for (int c = 0; c < 3; c++)
			share_want(&policy, &clients[c]);
		likely = share_likely(&policy);
		share_end(&policy, share_settings_default.slice_ns + 50000);
		right += share_next(&policy) == likely;
	}
	assert_in_range(right, 290, 300);
	share_want(&policy, &high);
	assert_ptr_equal(share_likely(&policy), &high);
}

static void test_who_leaves_is_forgotten(void **state)
{
	struct share_policy policy;
	struct share_tenant one, other;
	struct share_client first, second;

	(void)state;
	share_policy_open(&policy, &share_settings_default);
	share_tenant_add(&policy, &one, 1, 0);
	share_tenant_add(&policy, &other, 1, 3);
	share_client_open(&first, &one);
	share_client_open(&second, &other);
	share_want(&policy, &first);
	share_want(&policy, &second);
	assert_ptr_equal(share_next(&policy), &second);
	/* It dies with the turn: the other is next at once. */
	share_client_close(&policy, &second);
	assert_ptr_equal(share_next(&policy), &first);
	assert_true(share_budget(&policy) == SHARE_UNBOUNDED);
	share_client_open(&second, &other);
	share_want(&policy, &second);
	share_client_close(&policy, &second);
	assert_true(share_budget(&policy) == SHARE_UNBOUNDED);
	share_client_close(&policy, &first);
	share_tenant_remove(&policy, &other);
	share_tenant_remove(&policy, &one);
	assert_null(share_next(&policy));
}

static void test_debt_is_paid(void **state)
{
	struct share_policy policy;
	struct share_tenant tenants[2];
	struct share_client clients[2];
	uint64_t slice = share_settings_default.slice_ns;

	(void)state;
	share_policy_open(&policy, &share_settings_default);
	for (int i = 0; i < 2; i++) {
		share_tenant_add(&policy, &tenants[i], 1, 0);
		share_client_open(&clients[i], &tenants[i]);
	}
	/* One kernel of ten slices; then the other gets ten turns before it is even. */
	assert_ptr_equal(serve(&policy, clients, 2, 10 * slice), &clients[0]);
	for (int i = 0; i < 10; i++)
		assert_ptr_equal(serve(&policy, clients, 2, slice), &clients[1]);
	assert_ptr_equal(serve(&policy, clients, 2, slice), &clients[0]);
}

/* Who is away for one decision, between two of its kernels, loses nothing to another's debt. */
static void test_short_absence_costs_nothing(void **state)
{
	struct share_policy policy;
	struct share_tenant tenants[2];
	struct share_client clients[2];
	uint64_t slice = share_settings_default.slice_ns, got = 0, other = 0;
	bool away = false;

	(void)state;
	share_policy_open(&policy, &share_settings_default);
	for (int i = 0; i < 2; i++) {
		share_tenant_add(&policy, &tenants[i], i ? 1 : 3, 0);
		share_client_open(&clients[i], &tenants[i]);
	}
	for (int i = 0; i < 4000; i++) {
		struct share_client *served;

		if (!away)
			share_want(&policy, &clients[0]);
		share_want(&policy, &clients[1]);
		served = share_next(&policy);
		/* The kernels of one take two slices; the other misses one decision in eight. */
		share_end(&policy, served == &clients[1] ? 2 * slice : slice);
		got += served == &clients[0] ? slice : 0;
		other += served == &clients[1] ? 2 * slice : 0;
		away = !away && i % 8 == 7;
	}
	assert_true(fabs((double)got / (double)(got + other) - 0.75) <= 0.025);
}

/* What was used while somebody was away now and then is no debt for ever. */
static void test_debt_is_bounded(void **state)
{
	struct share_policy policy;
	struct share_tenant tenants[2];
	struct share_client clients[2];
	uint64_t slice = share_settings_default.slice_ns;
	int turns = 0;

	(void)state;
	share_policy_open(&policy, &share_settings_default);
	for (int i = 0; i < 2; i++) {
		share_tenant_add(&policy, &tenants[i], 1, 0);
		share_client_open(&clients[i], &tenants[i]);
	}
	for (int i = 0; i < 1000; i++) {
		if (i % 2)
			share_want(&policy, &clients[0]);
		share_want(&policy, &clients[1]);
		share_end(&policy, share_next(&policy) == &clients[1] ? 2 * slice : slice / 10);
	}
	while (serve(&policy, clients, 2, slice) != &clients[1])
		turns++;
	assert_in_range(turns, 1, 8);
}

static void test_weight_changes_while_served(void **state)
{
	struct share_policy policy;
	struct share_tenant tenants[2];
	struct share_client clients[2];
	unsigned int turns = 0;

	(void)state;
	share_policy_open(&policy, &share_settings_default);
	for (int i = 0; i < 2; i++) {
		share_tenant_add(&policy, &tenants[i], 1, 0);
		share_client_open(&clients[i], &tenants[i]);
	}
	for (int i = 0; i < 10; i++)
		serve(&policy, clients, 2, share_settings_default.slice_ns);
	share_tenant_change(&policy, &tenants[0], 4, 0);
	for (int i = 0; i < 500; i++)
		turns += serve(&policy, clients, 2, share_settings_default.slice_ns) == clients;
	assert_in_range(turns, 396, 404);
	share_tenant_change(&policy, &tenants[1], 1, 3);
	assert_ptr_equal(serve(&policy, clients, 2, 1), &clients[1]);
	assert_ptr_equal(serve(&policy, clients, 2, 1), &clients[1]);
}

static int parse(struct simulate_trace *trace, const char *text, struct error *error)
{
	return simulate_trace_parse(trace, text, strlen(text), "t.trace", error);
}

static void test_trace_is_read(void **state)
{
	struct simulate_trace trace;
	struct error error;

	(void)state;
	assert_int_equal(parse(&trace, "# of a day\n\n 0 12.5\n3.25 1000 wait\n7 1", &error), 0);
	assert_int_equal(trace.count, 3);
	assert_int_equal(trace.launches[0].duration_ns, 12500);
	assert_int_equal(trace.launches[1].gap_ns, 3250);
	assert_true(trace.launches[1].waits);
	assert_false(trace.launches[2].waits);
	simulate_trace_free(&trace);
}

static void test_bad_traces_are_refused(void **state)
{
	static const char *const bad[] = { "1\n",      "1 0\n",	      "-1 2\n",
					   "nan 3\n",  "1 2 later\n", "1 2 wait 3\n",
					   "1 1e30\n", "a b\n",	      "1 inf\n" };
	struct simulate_trace trace;
	struct error error;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		char text[64];

		snprintf(text, sizeof(text), "0 1\n%s", bad[i]);
		assert_int_equal(parse(&trace, text, &error), -EINVAL);
		assert_non_null(strstr(error.text, "t.trace:2:"));
		assert_non_null(strstr(error.text, "expected GAP_US DURATION_US [wait]"));
	}
	assert_int_equal(parse(&trace, "# nothing\n", &error), -EINVAL);
	assert_int_equal(simulate_trace_read(&trace, "/nonexistent/trace", &error), -ENOENT);
	assert_non_null(strstr(error.text, "/nonexistent/trace"));
}

/* A file of recorded launches, of one tenant, in memory. */
#define RECORDS 70

struct recording {
	struct share_trace_header header;
	struct share_trace_record records[RECORDS];
	size_t count;
};

static void recording_begin(struct recording *recording)
{
	*recording =
		(struct recording){ .header = { .magic = SHARE_TRACE_MAGIC,
						.version = SHARE_TRACE_VERSION,
						.record_bytes = sizeof(struct share_trace_record),
						.clock_ns = 1000 } };
	recording->records[recording->count++] =
		(struct share_trace_record){ .kind = SHARE_TRACE_TENANT,
					     .tenant_is = { .name = "red", .weight = 1 } };
}

static struct share_trace_record *recording_add(struct recording *recording, uint64_t client)
{
	struct share_trace_record *record = &recording->records[recording->count++];

	*record = (struct share_trace_record){
		.kind = SHARE_TRACE_LAUNCHES,
		.launches = { .client = client,
			      .piece = { .issued_ns = 2000, .measured_ns = 10, .count = 1 } },
	};
	return record;
}

/* recording_refused - what is said of it, without the file's name and the record's number */
static void recording_refused(const struct recording *recording, const char *expected)
{
	struct recorded recorded;
	struct error error = { 0 };

	assert_int_equal(recorded_parse(&recorded, recording,
					sizeof(recording->header) +
						recording->count * sizeof(recording->records[0]),
					0, "file", &error),
			 -EINVAL);
	assert_non_null(strstr(error.text, expected));
	assert_null(recorded.clients);
}

static void test_bad_recordings_are_refused(void **state)
{
	static const uint64_t hour_ns = 3600ull * 1000000000;
	struct recording recording;
	struct recorded recorded;
	struct error error;

	(void)state;
	recording_begin(&recording);
	recording_refused(&recording, "no launch on device 0");
	recording.header.version++;
	recording_refused(&recording, "it is of version");
	recording.header.magic++;
	recording_refused(&recording, "no file of recorded launches");
	recording_begin(&recording);
	recording.records[0].tenant = 1;
	recording_refused(&recording, "without gaps");
	recording_begin(&recording);
	recording.records[0].tenant_is.weight = 0;
	recording_refused(&recording, "weight or priority");
	recording_begin(&recording);
	memset(recording.records[0].tenant_is.name, 'x',
	       sizeof(recording.records[0].tenant_is.name));
	recording_refused(&recording, "a tenant's name");
	recording_begin(&recording);
	recording_add(&recording, 1)->kind = 99;
	recording_refused(&recording, "unknown kind");
	recording_begin(&recording);
	recording_add(&recording, 1)->tenant = 1;
	recording_refused(&recording, "not told of");
	recording_begin(&recording);
	recording_add(&recording, 1)->launches.piece.count = 0;
	recording_refused(&recording, "expected 1 to 4096 launches");
	recording_begin(&recording);
	recording_add(&recording, 1)->launches.piece.gap_ns = hour_ns + 1;
	recording_refused(&recording, "longer than an hour");
	recording_begin(&recording);
	recording_add(&recording, 1)->launches.piece.issued_ns = 25 * hour_ns;
	recording_refused(&recording, "a day after the beginning");
	recording_begin(&recording);
	for (uint64_t i = 0; i < SIMULATE_TENANTS_MAX + 1; i++)
		recording_add(&recording, i);
	recording_refused(&recording, "more than 64 clients");
	recording_begin(&recording);
	recording.records[recording.count] = recording.records[0];
	recording.records[recording.count++].tenant = 1;
	recording_add(&recording, 1);
	recording_add(&recording, 1)->tenant = 1;
	recording_refused(&recording, "of another tenant");
	assert_int_equal(recorded_read(&recorded, "/nowhere", 0, &error), -ENOENT);
	assert_int_equal(recorded_read(&recorded, "/", 0, &error), -EINVAL);
	assert_string_equal(error.text, "'/' is no file");
	assert_int_equal(recorded_read(&recorded, "/dev/null", 0, &error), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_equal_shares_of_unlike_kernels),
		cmocka_unit_test(test_first_come_is_unfair),
		cmocka_unit_test(test_weights),
		cmocka_unit_test(test_higher_class_first),
		cmocka_unit_test(test_newcomer_waits_briefly),
		cmocka_unit_test(test_what_is_left_of_a_turn_comes_later),
		cmocka_unit_test(test_bursts_take_no_more),
		cmocka_unit_test(test_turn_lingers),
		cmocka_unit_test(test_nobody_else_means_no_bound),
		cmocka_unit_test(test_clients_of_a_tenant_alternate),
		cmocka_unit_test(test_likely_next_is_next),
		cmocka_unit_test(test_who_leaves_is_forgotten),
		cmocka_unit_test(test_debt_is_paid),
		cmocka_unit_test(test_short_absence_costs_nothing),
		cmocka_unit_test(test_debt_is_bounded),
		cmocka_unit_test(test_weight_changes_while_served),
		cmocka_unit_test(test_trace_is_read),
		cmocka_unit_test(test_bad_traces_are_refused),
		cmocka_unit_test(test_bad_recordings_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
