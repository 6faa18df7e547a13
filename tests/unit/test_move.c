/* SPDX-License-Identifier: Apache-2.0 */
/* Long copies past the caches (scif/fabric/move.c) against a plain copy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "scif/fabric/fabric.h"

#define MEMORY_BYTES (64u << 10)

static uint64_t move_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static unsigned char *move_memory(uint64_t *state)
{
	unsigned char *memory = aligned_alloc(FABRIC_PAGE_BYTES, MEMORY_BYTES);

	assert_non_null(memory);
	for (size_t i = 0; i < MEMORY_BYTES; i++)
		memory[i] = (unsigned char)move_random(state);
	return memory;
}

/* Stretches of any size from anywhere to anywhere; @from and @to may be the same memory. */
static void move_stretches(unsigned char *to, const unsigned char *from, unsigned char *expected,
			   const unsigned char *model, uint64_t *state)
{
	struct move move = { .count = 0 };

	for (int i = 0; i < 12; i++) {
		size_t bytes = move_random(state) % (i % 3 ? 300 : 20000);
		size_t source = move_random(state) % (MEMORY_BYTES - bytes);
		size_t target = move_random(state) % (MEMORY_BYTES - bytes);

		if (i % 4 == 3) /* as windows have it */
			source = source / FABRIC_PAGE_BYTES * FABRIC_PAGE_BYTES;
		move_add(&move, to + target, from + source, bytes);
		memmove(expected + target, model + source, bytes);
	}
	move_settle(&move);
	assert_int_equal(move.count, 0);
	assert_memory_equal(to, expected, MEMORY_BYTES);
}

static void stretches_arrive(void **context)
{
	uint64_t state = 88172645463325252u;
	unsigned char *from = move_memory(&state), *to = move_memory(&state);
	unsigned char *expected = move_memory(&state);

	(void)context;
	memcpy(expected, to, MEMORY_BYTES);
	for (int i = 0; i < 300; i++)
		move_stretches(to, from, expected, from, &state);
	free(from);
	free(to);
	free(expected);
}

/* What a later stretch reads may be what an earlier one wrote, or its own target. */
static void stretches_of_one_memory(void **context)
{
	uint64_t state = 362436069;
	unsigned char *memory = move_memory(&state), *expected = move_memory(&state);

	(void)context;
	memcpy(expected, memory, MEMORY_BYTES);
	for (int i = 0; i < 300; i++)
		move_stretches(memory, memory, expected, expected, &state);
	free(memory);
	free(expected);
}

static void nothing_waits_behind_a_page(void **context)
{
	uint64_t state = 521288629;
	unsigned char *from = move_memory(&state), *to = move_memory(&state);
	struct move move = { .count = 0 };

	(void)context;
	move_add(&move, to, from, 16 * FABRIC_PAGE_BYTES);
	/* No more than what is known to be read next waits. */
	assert_true(move.count < MOVE_PIECES);
	assert_memory_equal(to, from, (16 - MOVE_PIECES) * FABRIC_PAGE_BYTES);
	move_settle(&move);
	assert_memory_equal(to, from, 16 * FABRIC_PAGE_BYTES);
	free(from);
	free(to);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stretches_arrive),
		cmocka_unit_test(stretches_of_one_memory),
		cmocka_unit_test(nothing_waits_behind_a_page),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
