/* SPDX-License-Identifier: Apache-2.0 */
/* Windows: register, unregister, mmap. */
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/scif/conformance.h"

#define FIXED 0x10000000

/* scif_register of the first memory of @pair's one, with defaults but for what a case varies. */
static long long reg(struct pair *pair, size_t bytes, off_t offset, int prot, int flags)
{
	return scif_register(pair->one, pair->memory[0], bytes, offset, prot, flags);
}

static void register_chooses_high(void)
{
	struct pair pair;

	make_pair(&pair);
	CHECK(reg(&pair, PAGE, 0, BOTH, 0) >= 0x4000000000000000);
}

static void register_chooses_disjoint(void)
{
	struct pair pair;
	long long first, second;

	make_pair(&pair);
	first = reg(&pair, 2 * PAGE, 0, BOTH, 0);
	second = reg(&pair, 2 * PAGE, 0, BOTH, 0);
	CHECK(first > 0 && second > 0 &&
	      (second >= first + 2 * PAGE || first >= second + 2 * PAGE));
}

static void register_ignores_unfixed_offset(void)
{
	struct pair pair;

	make_pair(&pair);
	CHECK(reg(&pair, PAGE, 0x7000, BOTH, 0) >= 0x4000000000000000);
}

static void register_fixed(void)
{
	struct pair pair;

	make_pair(&pair);
	EQUAL(reg(&pair, PAGE, FIXED, BOTH, SCIF_MAP_FIXED), FIXED);
}

static void register_fixed_0(void)
{
	struct pair pair;

	make_pair(&pair);
	EQUAL(reg(&pair, PAGE, 0, BOTH, SCIF_MAP_FIXED), 0);
}

static void register_fixed_unaligned(void)
{
	struct pair pair;

	make_pair(&pair);
	FAILS(reg(&pair, PAGE, FIXED + 8, BOTH, SCIF_MAP_FIXED), EINVAL);
}

static void register_fixed_negative(void)
{
	struct pair pair;

	make_pair(&pair);
	FAILS(reg(&pair, PAGE, -PAGE, BOTH, SCIF_MAP_FIXED), EINVAL);
}

static void register_fixed_wrapping(void)
{
	struct pair pair;

	make_pair(&pair);
	FAILS(reg(&pair, 2 * PAGE, INT64_MAX - PAGE + 1, BOTH, SCIF_MAP_FIXED), EINVAL);
}

static void register_fixed_over_window(void)
{
	struct pair pair;

	make_pair(&pair);
	EQUAL(reg(&pair, 4 * PAGE, FIXED, BOTH, SCIF_MAP_FIXED), FIXED);
	FAILS(reg(&pair, PAGE, FIXED + PAGE, BOTH, SCIF_MAP_FIXED), EADDRINUSE);
	FAILS(reg(&pair, 2 * PAGE, FIXED - PAGE, BOTH, SCIF_MAP_FIXED), EADDRINUSE);
	FAILS(reg(&pair, 8 * PAGE, FIXED - PAGE, BOTH, SCIF_MAP_FIXED), EADDRINUSE);
}

static void register_fixed_beside_window(void)
{
	struct pair pair;

	make_pair(&pair);
	EQUAL(reg(&pair, PAGE, FIXED, BOTH, SCIF_MAP_FIXED), FIXED);
	EQUAL(reg(&pair, PAGE, FIXED + PAGE, BOTH, SCIF_MAP_FIXED), FIXED + PAGE);
	EQUAL(reg(&pair, PAGE, FIXED - PAGE, BOTH, SCIF_MAP_FIXED), FIXED - PAGE);
}

static void register_of_nothing(void)
{
	struct pair pair;

	make_pair(&pair);
	FAILS(reg(&pair, 0, 0, BOTH, 0), EINVAL);
}

static void register_odd_length(void)
{
	struct pair pair;

	make_pair(&pair);
	FAILS(reg(&pair, PAGE + 1, 0, BOTH, 0), EINVAL);
}

static void register_odd_address(void)
{
	struct pair pair;

	make_pair(&pair);
	FAILS(scif_register(pair.one, pair.memory[0] + 16, PAGE, 0, BOTH, 0), EINVAL);
}

static void register_unknown_prot(void)
{
	struct pair pair;

	make_pair(&pair);
	FAILS(reg(&pair, PAGE, 0, 4, 0), EINVAL);
}

static void register_unknown_flag(void)
{
	struct pair pair;

	make_pair(&pair);
	FAILS(reg(&pair, PAGE, 0, BOTH, 1), EINVAL);
}

static void register_kernel_flag(void)
{
	struct pair pair;

	make_pair(&pair);
	FAILS(reg(&pair, PAGE, 0, BOTH, SCIF_MAP_KERNEL), EINVAL);
}

static void register_of_unconnected(void)
{
	unsigned char *memory = make_memory(PAGE);

	FAILS(scif_register(make_open(), memory, PAGE, 0, BOTH, 0), ENOTCONN);
}

static void register_of_disconnected(void)
{
	struct pair pair;

	make_pair(&pair);
	forget(pair.two);
	scif_close(pair.two);
	FAILS(reg(&pair, PAGE, 0, BOTH, 0), ECONNRESET);
}

static void register_keeps_contents(void)
{
	struct pair pair;

	make_pair(&pair);
	for (int i = 0; i < WINDOW_BYTES; i++)
		pair.memory[0][i] = (unsigned char)(i * 7 + i / 100);
	CHECK(reg(&pair, WINDOW_BYTES, 0, BOTH, 0) > 0);
	for (int i = 0; i < WINDOW_BYTES; i++)
		EQUAL(pair.memory[0][i], (unsigned char)(i * 7 + i / 100));
}

static void register_same_memory_twice(void)
{
	struct pair pair;
	unsigned char byte = 0;
	long long first, second;

	make_pair(&pair);
	first = reg(&pair, PAGE, 0, BOTH, 0);
	second = reg(&pair, PAGE, 0, BOTH, 0);
	CHECK(first > 0 && second > 0);
	pair.memory[0][5] = 123;
	EQUAL(scif_vreadfrom(pair.two, &byte, 1, first + 5, SCIF_RMA_SYNC), 0);
	EQUAL(byte, 123);
	byte = 0;
	EQUAL(scif_vreadfrom(pair.two, &byte, 1, second + 5, SCIF_RMA_SYNC), 0);
	EQUAL(byte, 123);
}

static void windows_belong_to_endpoints(void)
{
	struct pair first, second;
	unsigned char byte;
	long long offset;

	make_pair(&first);
	make_pair(&second);
	offset = reg(&first, PAGE, 0, BOTH, 0);
	CHECK(offset > 0);
	FAILS(scif_vreadfrom(second.two, &byte, 1, offset, SCIF_RMA_SYNC), ENXIO);
	FAILS(scif_vreadfrom(first.one, &byte, 1, offset, SCIF_RMA_SYNC), ENXIO);
	EQUAL(scif_vreadfrom(first.two, &byte, 1, offset, SCIF_RMA_SYNC), 0);
}

static void unregister_whole(void)
{
	struct pair pair;
	unsigned char byte;

	make_pair(&pair);
	make_windows(&pair);
	EQUAL(scif_unregister(pair.one, pair.window[0], WINDOW_BYTES), 0);
	FAILS(scif_vreadfrom(pair.two, &byte, 1, pair.window[0], SCIF_RMA_SYNC), ENXIO);
}

static void unregister_part(void)
{
	struct pair pair;

	make_pair(&pair);
	make_windows(&pair);
	FAILS(scif_unregister(pair.one, pair.window[0], PAGE), ENXIO);
	FAILS(scif_unregister(pair.one, pair.window[0] + PAGE, WINDOW_BYTES - PAGE), ENXIO);
	EQUAL(scif_unregister(pair.one, pair.window[0], WINDOW_BYTES), 0);
}

static void unregister_unknown(void)
{
	struct pair pair;

	make_pair(&pair);
	FAILS(scif_unregister(pair.one, FIXED, PAGE), ENXIO);
}

static void unregister_twice(void)
{
	struct pair pair;

	make_pair(&pair);
	make_windows(&pair);
	EQUAL(scif_unregister(pair.one, pair.window[0], WINDOW_BYTES), 0);
	FAILS(scif_unregister(pair.one, pair.window[0], WINDOW_BYTES), ENXIO);
}

static void unregister_several_at_once(void)
{
	struct pair pair;

	make_pair(&pair);
	for (int i = 0; i < 4; i++)
		EQUAL(reg(&pair, PAGE, FIXED + i * PAGE, BOTH, SCIF_MAP_FIXED), FIXED + i * PAGE);
	EQUAL(scif_unregister(pair.one, FIXED, 4 * PAGE), 0);
}

static void unregister_with_hole(void)
{
	struct pair pair;

	make_pair(&pair);
	reg(&pair, PAGE, FIXED, BOTH, SCIF_MAP_FIXED);
	reg(&pair, PAGE, FIXED + 2 * PAGE, BOTH, SCIF_MAP_FIXED);
	FAILS(scif_unregister(pair.one, FIXED, 3 * PAGE), ENXIO);
}

static void unregister_of_unconnected(void)
{
	FAILS(scif_unregister(make_open(), FIXED, PAGE), ENOTCONN);
}

static void unregister_frees_the_offset(void)
{
	struct pair pair;

	make_pair(&pair);
	for (int i = 0; i < 20; i++) {
		EQUAL(reg(&pair, PAGE, FIXED, BOTH, SCIF_MAP_FIXED), FIXED);
		EQUAL(scif_unregister(pair.one, FIXED, PAGE), 0);
	}
}

static void mmap_sees_what_is_there(void)
{
	struct pair pair;
	unsigned char *seen;

	make_pair(&pair);
	pair.memory[0][PAGE + 17] = 42;
	make_windows(&pair);
	seen = scif_mmap(NULL, WINDOW_BYTES, PROT_READ, 0, pair.two, pair.window[0]);
	CHECK(seen != SCIF_MMAP_FAILED);
	EQUAL(seen[PAGE + 17], 42);
	EQUAL(scif_munmap(seen, WINDOW_BYTES), 0);
}

static void mmap_is_coherent(void)
{
	struct pair pair;
	volatile unsigned char *seen;

	make_pair(&pair);
	make_windows(&pair);
	seen = scif_mmap(NULL, PAGE, PROT_READ | PROT_WRITE, 0, pair.two, pair.window[0]);
	CHECK(seen != SCIF_MMAP_FAILED);
	for (int i = 0; i < 256; i++) {
		((volatile unsigned char *)pair.memory[0])[i] = (unsigned char)(i ^ 0x5a);
		EQUAL(seen[i], (unsigned char)(i ^ 0x5a));
		seen[i] = (unsigned char)i;
		EQUAL(((volatile unsigned char *)pair.memory[0])[i], i);
	}
	EQUAL(scif_munmap((void *)seen, PAGE), 0);
}

static void mmap_of_a_middle(void)
{
	struct pair pair;
	unsigned char *seen;

	make_pair(&pair);
	make_windows(&pair);
	pair.memory[0][3 * PAGE] = 77;
	seen = scif_mmap(NULL, 2 * PAGE, PROT_READ, 0, pair.two, pair.window[0] + 3 * PAGE);
	CHECK(seen != SCIF_MMAP_FAILED);
	EQUAL(seen[0], 77);
	EQUAL(scif_munmap(seen, 2 * PAGE), 0);
}

static void mmap_across_windows(void)
{
	struct pair pair;
	unsigned char *seen;

	make_pair(&pair);
	EQUAL(reg(&pair, PAGE, FIXED, BOTH, SCIF_MAP_FIXED), FIXED);
	EQUAL(scif_register(pair.one, pair.memory[1], PAGE, FIXED + PAGE, BOTH, SCIF_MAP_FIXED),
	      FIXED + PAGE);
	pair.memory[0][1] = 11;
	pair.memory[1][2] = 22;
	seen = scif_mmap(NULL, 2 * PAGE, PROT_READ, 0, pair.two, FIXED);
	CHECK(seen != SCIF_MMAP_FAILED);
	EQUAL(seen[1], 11);
	EQUAL(seen[PAGE + 2], 22);
	EQUAL(scif_munmap(seen, 2 * PAGE), 0);
}

static void mmap_of_nothing_registered(void)
{
	struct pair pair;

	make_pair(&pair);
	FAILS((long)scif_mmap(NULL, PAGE, PROT_READ, 0, pair.one, FIXED), ENXIO);
}

static void mmap_beyond_window(void)
{
	struct pair pair;

	make_pair(&pair);
	make_windows(&pair);
	FAILS((long)scif_mmap(NULL, WINDOW_BYTES + PAGE, PROT_READ, 0, pair.two, pair.window[0]),
	      ENXIO);
}

static void mmap_more_than_allowed(void)
{
	struct pair pair;

	make_pair(&pair);
	EQUAL(reg(&pair, PAGE, FIXED, SCIF_PROT_READ, SCIF_MAP_FIXED), FIXED);
	FAILS((long)scif_mmap(NULL, PAGE, PROT_READ | PROT_WRITE, 0, pair.two, FIXED), EPERM);
}

static void mmap_of_unconnected(void)
{
	FAILS((long)scif_mmap(NULL, PAGE, PROT_READ, 0, make_open(), FIXED), ENOTCONN);
}

static void mmap_outlives_unregister(void)
{
	struct pair pair;
	volatile unsigned char *seen;

	make_pair(&pair);
	make_windows(&pair);
	seen = scif_mmap(NULL, PAGE, PROT_READ | PROT_WRITE, 0, pair.two, pair.window[0]);
	CHECK(seen != SCIF_MMAP_FAILED);
	EQUAL(scif_unregister(pair.one, pair.window[0], WINDOW_BYTES), 0);
	seen[9] = 99;
	EQUAL(((volatile unsigned char *)pair.memory[0])[9], 99);
	EQUAL(scif_munmap((void *)seen, PAGE), 0);
}

static void mmap_outlives_peer(void)
{
	struct pair pair;
	volatile unsigned char *seen;

	make_pair(&pair);
	make_windows(&pair);
	seen = scif_mmap(NULL, PAGE, PROT_READ | PROT_WRITE, 0, pair.two, pair.window[0]);
	CHECK(seen != SCIF_MMAP_FAILED);
	pair.memory[0][3] = 33;
	forget(pair.one);
	scif_close(pair.one);
	EQUAL(seen[3], 33);
	EQUAL(scif_munmap((void *)seen, PAGE), 0);
}

static void mmap_is_not_inherited(void)
{
	struct pair pair;
	volatile unsigned char *seen;
	int status;
	pid_t child;

	make_pair(&pair);
	make_windows(&pair);
	seen = scif_mmap(NULL, PAGE, PROT_READ, 0, pair.two, pair.window[0]);
	CHECK(seen != SCIF_MMAP_FAILED);
	child = fork();
	if (child == 0) {
		unsigned char resident;

		/* Nothing is mapped there: the kernel says so without a fault. */
		_exit(mincore((void *)seen, PAGE, &resident) == 0);
	}
	CHECK(child > 0 && waitpid(child, &status, 0) == child);
	EQUAL(status, 0);
	EQUAL(scif_munmap((void *)seen, PAGE), 0);
}

static void mmap_again_and_again(void)
{
	struct pair pair;

	make_pair(&pair);
	make_windows(&pair);
	for (int i = 0; i < 100; i++) {
		unsigned char *seen =
			scif_mmap(NULL, WINDOW_BYTES, PROT_READ, 0, pair.two, pair.window[0]);

		CHECK(seen != SCIF_MMAP_FAILED);
		EQUAL(scif_munmap(seen, WINDOW_BYTES), 0);
	}
}

const struct test_case window_cases[] = {
	{ "register_chooses_high", register_chooses_high, false },
	{ "register_chooses_disjoint", register_chooses_disjoint, false },
	{ "register_ignores_unfixed_offset", register_ignores_unfixed_offset, false },
	{ "register_fixed", register_fixed, false },
	{ "register_fixed_0", register_fixed_0, false },
	{ "register_fixed_unaligned", register_fixed_unaligned, false },
	{ "register_fixed_negative", register_fixed_negative, false },
	{ "register_fixed_wrapping", register_fixed_wrapping, false },
	{ "register_fixed_over_window", register_fixed_over_window, false },
	{ "register_fixed_beside_window", register_fixed_beside_window, false },
	{ "register_of_nothing", register_of_nothing, false },
	{ "register_odd_length", register_odd_length, false },
	{ "register_odd_address", register_odd_address, false },
	{ "register_unknown_prot", register_unknown_prot, false },
	{ "register_unknown_flag", register_unknown_flag, false },
	{ "register_kernel_flag", register_kernel_flag, false },
	{ "register_of_unconnected", register_of_unconnected, false },
	{ "register_of_disconnected", register_of_disconnected, false },
	{ "register_keeps_contents", register_keeps_contents, false },
	{ "register_same_memory_twice", register_same_memory_twice, false },
	{ "windows_belong_to_endpoints", windows_belong_to_endpoints, false },
	{ "unregister_whole", unregister_whole, false },
	{ "unregister_part", unregister_part, false },
	{ "unregister_unknown", unregister_unknown, false },
	{ "unregister_twice", unregister_twice, false },
	{ "unregister_several_at_once", unregister_several_at_once, false },
	{ "unregister_with_hole", unregister_with_hole, false },
	{ "unregister_of_unconnected", unregister_of_unconnected, false },
	{ "unregister_frees_the_offset", unregister_frees_the_offset, false },
	{ "mmap_sees_what_is_there", mmap_sees_what_is_there, false },
	{ "mmap_is_coherent", mmap_is_coherent, false },
	{ "mmap_of_a_middle", mmap_of_a_middle, false },
	{ "mmap_across_windows", mmap_across_windows, false },
	{ "mmap_of_nothing_registered", mmap_of_nothing_registered, false },
	{ "mmap_beyond_window", mmap_beyond_window, false },
	{ "mmap_more_than_allowed", mmap_more_than_allowed, false },
	{ "mmap_of_unconnected", mmap_of_unconnected, false },
	{ "mmap_outlives_unregister", mmap_outlives_unregister, false },
	{ "mmap_outlives_peer", mmap_outlives_peer, false },
	{ "mmap_is_not_inherited", mmap_is_not_inherited, false },
	{ "mmap_again_and_again", mmap_again_and_again, false },
	{ NULL, NULL, false },
};
