/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each generated call of proto/cuda.api through the client's encoder, a real link, and the worker's
 * decoder: the arguments arrive as they were given, the results come back as they were answered,
 * handles are translated. gen/cuda_round_trip.h holds one test a call.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "cuda/client/client.h"
#include "cuda/client/thread.h"
#include "cuda/server/worker.h"
#include "lib/base/clean.h"
#include "tests/unit/cuda_pair.h"

#define ROUND_TRIP_ADDRESS 0x7e8100000000ull
#define ROUND_TRIP_BYTES   (16u << 20)
#define ROUND_TRIP_ROOM	   5 /* elements that a list is given room for */
#define ROUND_TRIP_LISTED  3 /* and those that the driver has */

static unsigned int round_trip_calls;
static const char *round_trip_wrong; /* the first parameter that arrived otherwise */
static uintptr_t round_trip_next = 0x900000;
static struct client_object *round_trip_objects[KIND_count];

static void *round_trip_handle(enum cuda_wire_kind kind)
{
	struct worker_call call = { 0 };

	/* A call may have ended the last one. */
	if (!round_trip_objects[kind] || round_trip_objects[kind]->kind != kind) {
		assert_int_equal(client_handle_new(kind, 0, &round_trip_objects[kind]), 0);
		assert_int_equal(worker_handle_set(&call, kind, round_trip_objects[kind]->number,
						   (void *)(0x1000 * (uintptr_t)kind), 0),
				 0);
	}
	return client_handle_pointer(round_trip_objects[kind]);
}

static void *round_trip_real(enum cuda_wire_kind kind)
{
	return (void *)(0x1000 * (uintptr_t)kind);
}

static void *round_trip_made(void)
{
	return (void *)++round_trip_next;
}

static void round_trip_made_check(enum cuda_wire_kind kind, void *handle)
{
	struct client_object *object = client_handle_object(handle);
	void *real;

	assert_non_null(object);
	assert_int_equal(object->kind, kind);
	assert_int_equal(worker_handle_find(NULL, kind, object->number, false, &real), 0);
	assert_ptr_equal(real, (void *)round_trip_next);
}

/* A listed handle, which no other call lists. */
static void *round_trip_listed(size_t place)
{
	return (void *)(0x700000 + round_trip_calls * 0x100 + place);
}

static void round_trip_listed_check(enum cuda_wire_kind kind, size_t place, void *handle)
{
	struct client_object *object = client_handle_object(handle);
	void *real;

	if (place >= ROUND_TRIP_LISTED) {
		assert_null(handle);
		return;
	}
	assert_non_null(object);
	assert_int_equal(object->kind, kind);
	assert_int_equal(worker_handle_find(NULL, kind, object->number, false, &real), 0);
	assert_ptr_equal(real, (void *)(0x700000 + (round_trip_calls - 1) * 0x100 + place));
}

static void round_trip_check(const char *call, const char *parameter, bool right)
{
	if (right || round_trip_wrong)
		return;
	fprintf(stderr, "%s: %s arrived otherwise\n", call, parameter);
	round_trip_wrong = parameter;
}

static void round_trip_settle(void)
{
	assert_int_equal(client_send_ping(), CUDA_SUCCESS);
}

#include "gen/cuda_round_trip.h"

static CUresult fake_set_current(CUcontext context)
{
	(void)context;
	return CUDA_SUCCESS;
}

static int round_trip_open(void **state)
{
	(void)state;
	round_trip_fakes(&worker_driver);
	worker_driver.cuCtxSetCurrent = fake_set_current;
	if (cuda_pair_open("unix"))
		return -1;
	round_trip_handle(KIND_context);
	if (client_thread_push(round_trip_objects[KIND_context]))
		return -1;
	client_range_global(ROUND_TRIP_ADDRESS, ROUND_TRIP_BYTES, 0);
	return worker_range_add(ROUND_TRIP_ADDRESS, ROUND_TRIP_BYTES, WORKER_RANGE_GLOBAL, 0);
}

static int round_trip_close(void **state)
{
	(void)state;
	cuda_pair_close();
	return 0;
}

int main(void)
{
	return cmocka_run_group_tests_name("cuda round trip", round_trips, round_trip_open,
					   round_trip_close);
}
