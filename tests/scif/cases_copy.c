/* SPDX-License-Identifier: Apache-2.0 */
/* Remote memory access and fences. */
#include <sys/mman.h>

#include "tests/scif/conformance.h"
#include "tests/scif/scif_card.h"

#define LARGE (8u << 20)

/* A pair with windows; one's memory has pattern 1, two's pattern 2. */
static void make_filled(struct pair *pair)
{
	make_pair(pair);
	make_windows(pair);
	for (uint64_t i = 0; i < WINDOW_BYTES; i++) {
		pair->memory[0][i] = scif_card_pattern(i, 1);
		pair->memory[1][i] = scif_card_pattern(i, 2);
	}
}

static void read_all(void)
{
	struct pair pair;

	make_filled(&pair);
	EQUAL(scif_readfrom(pair.one, pair.window[0], WINDOW_BYTES, pair.window[1], SCIF_RMA_SYNC),
	      0);
	EQUAL(memcmp(pair.memory[0], pair.memory[1], WINDOW_BYTES), 0);
	EQUAL(pair.memory[1][5], scif_card_pattern(5, 2));
}

static void write_all(void)
{
	struct pair pair;

	make_filled(&pair);
	EQUAL(scif_writeto(pair.one, pair.window[0], WINDOW_BYTES, pair.window[1], SCIF_RMA_SYNC),
	      0);
	EQUAL(memcmp(pair.memory[0], pair.memory[1], WINDOW_BYTES), 0);
	EQUAL(pair.memory[1][5], scif_card_pattern(5, 1));
}

static void copy_exactly_the_range(void)
{
	struct pair pair;

	make_filled(&pair);
	EQUAL(scif_writeto(pair.one, pair.window[0] + 13, 5001, pair.window[1] + 777,
			   SCIF_RMA_SYNC),
	      0);
	for (uint64_t i = 0; i < WINDOW_BYTES; i++)
		EQUAL(pair.memory[1][i], i >= 777 && i < 777 + 5001
						 ? scif_card_pattern(i - 777 + 13, 1)
						 : scif_card_pattern(i, 2));
}

static void copy_one_byte(void)
{
	struct pair pair;

	make_filled(&pair);
	EQUAL(scif_readfrom(pair.two, pair.window[1] + 4095, 1, pair.window[0] + 1, SCIF_RMA_SYNC),
	      0);
	EQUAL(pair.memory[1][4095], scif_card_pattern(1, 1));
	EQUAL(pair.memory[1][4094], scif_card_pattern(4094, 2));
	EQUAL(pair.memory[1][4096], scif_card_pattern(4096, 2));
}

static void vread(void)
{
	struct pair pair;
	unsigned char *memory = make_memory(WINDOW_BYTES);

	make_filled(&pair);
	EQUAL(scif_vreadfrom(pair.one, memory + 3, 9000, pair.window[1] + 100, SCIF_RMA_SYNC), 0);
	EQUAL(memcmp(memory + 3, pair.memory[1] + 100, 9000), 0);
	EQUAL(memory[2], 0);
	EQUAL(memory[9003], 0);
}

static void vwrite(void)
{
	struct pair pair;
	unsigned char *memory = make_memory(WINDOW_BYTES);

	make_filled(&pair);
	for (uint64_t i = 0; i < 9000; i++)
		memory[i + 1] = scif_card_pattern(i, 3);
	EQUAL(scif_vwriteto(pair.one, memory + 1, 9000, pair.window[1] + 200, SCIF_RMA_SYNC), 0);
	EQUAL(memcmp(memory + 1, pair.memory[1] + 200, 9000), 0);
	EQUAL(pair.memory[1][199], scif_card_pattern(199, 2));
	EQUAL(pair.memory[1][9200], scif_card_pattern(9200, 2));
}

static void vread_from_stack(void)
{
	struct pair pair;
	unsigned char local[300];

	make_filled(&pair);
	EQUAL(scif_vreadfrom(pair.one, local, sizeof(local), pair.window[1] + 50, SCIF_RMA_SYNC),
	      0);
	EQUAL(memcmp(local, pair.memory[1] + 50, sizeof(local)), 0);
}

static void vread_bad_address(void)
{
	struct pair pair;
	unsigned char *memory = make_memory(2 * PAGE);

	make_filled(&pair);
	munmap(memory + PAGE, PAGE);
	FAILS(scif_vreadfrom(pair.one, memory + PAGE, 100, pair.window[1], SCIF_RMA_SYNC), EFAULT);
}

static void vwrite_bad_address(void)
{
	struct pair pair;
	unsigned char *memory = make_memory(2 * PAGE);

	make_filled(&pair);
	munmap(memory + PAGE, PAGE);
	FAILS(scif_vwriteto(pair.one, memory + PAGE, 100, pair.window[1], SCIF_RMA_SYNC), EFAULT);
}

static void copy_of_nothing(void)
{
	struct pair pair;

	make_filled(&pair);
	FAILS(scif_readfrom(pair.one, pair.window[0], 0, pair.window[1], 0), EINVAL);
	FAILS(scif_writeto(pair.one, pair.window[0], 0, pair.window[1], 0), EINVAL);
}

static void vcopy_of_nothing(void)
{
	struct pair pair;

	make_filled(&pair);
	FAILS(scif_vreadfrom(pair.one, pair.memory[0], 0, pair.window[1], 0), EINVAL);
	FAILS(scif_vwriteto(pair.one, pair.memory[0], 0, pair.window[1], 0), EINVAL);
}

static void copy_unknown_flag(void)
{
	struct pair pair;

	make_filled(&pair);
	FAILS(scif_readfrom(pair.one, pair.window[0], 1, pair.window[1], 16), EINVAL);
}

static void copy_all_flags(void)
{
	struct pair pair;

	make_filled(&pair);
	EQUAL(scif_readfrom(pair.one, pair.window[0], 100, pair.window[1],
			    SCIF_RMA_USECPU | SCIF_RMA_USECACHE | SCIF_RMA_SYNC | SCIF_RMA_ORDERED),
	      0);
	EQUAL(memcmp(pair.memory[0], pair.memory[1], 100), 0);
}

static void read_beyond_remote(void)
{
	struct pair pair;

	make_filled(&pair);
	FAILS(scif_readfrom(pair.one, pair.window[0], PAGE, pair.window[1] + WINDOW_BYTES - 1,
			    SCIF_RMA_SYNC),
	      ENXIO);
}

static void read_beyond_local(void)
{
	struct pair pair;

	make_filled(&pair);
	FAILS(scif_readfrom(pair.one, pair.window[0] + WINDOW_BYTES - 1, 2, pair.window[1],
			    SCIF_RMA_SYNC),
	      ENXIO);
}

static void write_before_remote(void)
{
	struct pair pair;

	make_filled(&pair);
	FAILS(scif_writeto(pair.one, pair.window[0], 2, pair.window[1] - 1, SCIF_RMA_SYNC), ENXIO);
}

static void vread_unregistered(void)
{
	struct pair pair;
	char byte;

	make_pair(&pair);
	FAILS(scif_vreadfrom(pair.one, &byte, 1, 0x1000, SCIF_RMA_SYNC), ENXIO);
}

static void copy_across_windows(void)
{
	struct pair pair;
	unsigned char *memory;

	make_pair(&pair);
	memory = make_memory(WINDOW_BYTES);
	for (int i = 0; i < 2; i++)
		EQUAL(scif_register(pair.two, pair.memory[i], PAGE, 0x100000 + i * PAGE, BOTH,
				    SCIF_MAP_FIXED),
		      0x100000 + i * PAGE);
	for (uint64_t i = 0; i < 2 * PAGE; i++)
		memory[i] = scif_card_pattern(i, 4);
	EQUAL(scif_vwriteto(pair.one, memory, 2 * PAGE - 20, 0x100000 + 10, SCIF_RMA_SYNC), 0);
	EQUAL(memcmp(pair.memory[0] + 10, memory, PAGE - 10), 0);
	EQUAL(memcmp(pair.memory[1], memory + PAGE - 10, PAGE - 10), 0);
}

static void copy_across_hole(void)
{
	struct pair pair;

	make_pair(&pair);
	for (int i = 0; i < 2; i++)
		scif_register(pair.two, pair.memory[i], PAGE, 0x100000 + 2 * i * PAGE, BOTH,
			      SCIF_MAP_FIXED);
	FAILS(scif_vwriteto(pair.one, pair.memory[0], 3 * PAGE, 0x100000, SCIF_RMA_SYNC), ENXIO);
}

static void read_of_write_only(void)
{
	struct pair pair;
	char byte;

	make_pair(&pair);
	EQUAL(scif_register(pair.two, pair.memory[1], PAGE, 0x100000, SCIF_PROT_WRITE,
			    SCIF_MAP_FIXED),
	      0x100000);
	FAILS(scif_vreadfrom(pair.one, &byte, 1, 0x100000, SCIF_RMA_SYNC), EPERM);
}

static void write_of_read_only(void)
{
	struct pair pair;
	char byte = 1;

	make_pair(&pair);
	EQUAL(scif_register(pair.two, pair.memory[1], PAGE, 0x100000, SCIF_PROT_READ,
			    SCIF_MAP_FIXED),
	      0x100000);
	FAILS(scif_vwriteto(pair.one, &byte, 1, 0x100000, SCIF_RMA_SYNC), EPERM);
	EQUAL(scif_vreadfrom(pair.one, &byte, 1, 0x100000, SCIF_RMA_SYNC), 0);
}

static void read_into_read_only(void)
{
	struct pair pair;

	make_filled(&pair);
	EQUAL(scif_register(pair.one, pair.memory[0], PAGE, 0x100000, SCIF_PROT_READ,
			    SCIF_MAP_FIXED),
	      0x100000);
	FAILS(scif_readfrom(pair.one, 0x100000, 1, pair.window[1], SCIF_RMA_SYNC), EPERM);
}

static void copy_of_unconnected(void)
{
	char byte;

	FAILS(scif_vreadfrom(make_open(), &byte, 1, 0, SCIF_RMA_SYNC), ENOTCONN);
	FAILS(scif_readfrom(make_open(), 0, 1, 0, SCIF_RMA_SYNC), ENOTCONN);
}

static void copy_of_disconnected(void)
{
	struct pair pair;

	make_filled(&pair);
	forget(pair.two);
	scif_close(pair.two);
	FAILS(scif_readfrom(pair.one, pair.window[0], 1, pair.window[1], SCIF_RMA_SYNC),
	      ECONNRESET);
}

static void ordered_copy_arrives(void)
{
	struct pair pair;

	make_filled(&pair);
	EQUAL(scif_writeto(pair.one, pair.window[0] + 1, 10000, pair.window[1] + 2,
			   SCIF_RMA_SYNC | SCIF_RMA_ORDERED),
	      0);
	EQUAL(memcmp(pair.memory[0] + 1, pair.memory[1] + 2, 10000), 0);
}

/* Two large windows, one filled; in turn what one waits for and two looks at. */
static void make_large(struct pair *pair, unsigned char *large[2])
{
	scif_epd_t epds[2];

	make_pair(pair);
	epds[0] = pair->one;
	epds[1] = pair->two;
	for (int i = 0; i < 2; i++) {
		large[i] = make_memory(LARGE);
		pair->window[i] = scif_register(epds[i], large[i], LARGE, 0, BOTH, 0);
		CHECK(pair->window[i] != SCIF_REGISTER_FAILED);
	}
	for (uint64_t i = 0; i < LARGE; i++)
		large[0][i] = scif_card_pattern(i, 7);
}

static void large_copy(void)
{
	struct pair pair;
	unsigned char *large[2];

	make_large(&pair, large);
	EQUAL(scif_readfrom(pair.two, pair.window[1], LARGE, pair.window[0], SCIF_RMA_SYNC), 0);
	EQUAL(memcmp(large[0], large[1], LARGE), 0);
}

static void large_vcopy(void)
{
	struct pair pair;
	unsigned char *large[2], *memory;

	make_large(&pair, large);
	memory = make_memory(LARGE);
	EQUAL(scif_vreadfrom(pair.two, memory + 1, LARGE - 1, pair.window[0] + 1, SCIF_RMA_SYNC),
	      0);
	EQUAL(memcmp(large[0] + 1, memory + 1, LARGE - 1), 0);
}

static void fence_waits_for_copies(void)
{
	struct pair pair;
	unsigned char *large[2];
	int mark;

	make_large(&pair, large);
	EQUAL(scif_writeto(pair.one, pair.window[0], LARGE, pair.window[1], 0), 0);
	EQUAL(scif_fence_mark(pair.one, SCIF_FENCE_INIT_SELF, &mark), 0);
	EQUAL(scif_fence_wait(pair.one, mark), 0);
	EQUAL(memcmp(large[0], large[1], LARGE), 0);
}

static void fence_waits_for_peers_copies(void)
{
	struct pair pair;
	unsigned char *large[2];
	int mark;

	make_large(&pair, large);
	EQUAL(scif_writeto(pair.one, pair.window[0], LARGE, pair.window[1], 0), 0);
	EQUAL(scif_fence_mark(pair.two, SCIF_FENCE_INIT_PEER, &mark), 0);
	EQUAL(scif_fence_wait(pair.two, mark), 0);
	EQUAL(memcmp(large[0], large[1], LARGE), 0);
}

static void fence_of_nothing(void)
{
	struct pair pair;
	int mark;

	make_pair(&pair);
	EQUAL(scif_fence_mark(pair.one, SCIF_FENCE_INIT_SELF, &mark), 0);
	EQUAL(scif_fence_wait(pair.one, mark), 0);
	EQUAL(scif_fence_wait(pair.one, mark), 0);
}

static void fence_mark_flags(void)
{
	struct pair pair;
	int mark;

	make_pair(&pair);
	FAILS(scif_fence_mark(pair.one, 0, &mark), EINVAL);
	FAILS(scif_fence_mark(pair.one, SCIF_FENCE_INIT_SELF | SCIF_FENCE_INIT_PEER, &mark),
	      EINVAL);
	FAILS(scif_fence_mark(pair.one, 4, &mark), EINVAL);
}

static void fence_mark_of_unconnected(void)
{
	int mark;

	FAILS(scif_fence_mark(make_open(), SCIF_FENCE_INIT_SELF, &mark), ENOTCONN);
}

static void fence_of_disconnected(void)
{
	struct pair pair;
	int mark;

	make_pair(&pair);
	EQUAL(scif_fence_mark(pair.one, SCIF_FENCE_INIT_SELF, &mark), 0);
	forget(pair.two);
	scif_close(pair.two);
	FAILS(scif_fence_wait(pair.one, mark), ECONNRESET);
}

static void await(volatile uint64_t *word, uint64_t value)
{
	for (uint64_t looks = 0; *word != value; looks++)
		CHECK(looks < 1ull << 33);
}

static void signal_local(void)
{
	struct pair pair;

	make_filled(&pair);
	EQUAL(scif_fence_signal(pair.one, pair.window[0] + 64, 0x123456789abcdef0, 0, 0,
				SCIF_FENCE_INIT_SELF | SCIF_SIGNAL_LOCAL),
	      0);
	await((volatile uint64_t *)(pair.memory[0] + 64), 0x123456789abcdef0);
	EQUAL(pair.memory[0][63], scif_card_pattern(63, 1));
	EQUAL(pair.memory[0][72], scif_card_pattern(72, 1));
}

static void signal_remote(void)
{
	struct pair pair;

	make_filled(&pair);
	EQUAL(scif_fence_signal(pair.one, 0, 0, pair.window[1] + 8, 77,
				SCIF_FENCE_INIT_SELF | SCIF_SIGNAL_REMOTE),
	      0);
	await((volatile uint64_t *)(pair.memory[1] + 8), 77);
}

static void signal_both(void)
{
	struct pair pair;

	make_filled(&pair);
	EQUAL(scif_fence_signal(pair.one, pair.window[0], 1, pair.window[1], 2,
				SCIF_FENCE_INIT_SELF | SCIF_SIGNAL_LOCAL | SCIF_SIGNAL_REMOTE),
	      0);
	await((volatile uint64_t *)pair.memory[0], 1);
	await((volatile uint64_t *)pair.memory[1], 2);
}

static void signal_of_4_aligned(void)
{
	struct pair pair;
	uint64_t value = 0;

	make_filled(&pair);
	EQUAL(scif_fence_signal(pair.one, pair.window[0] + PAGE - 4, 0x1122334455667788, 0, 0,
				SCIF_FENCE_INIT_SELF | SCIF_SIGNAL_LOCAL),
	      0);
	for (uint64_t looks = 0; value != 0x1122334455667788; looks++) {
		CHECK(looks < 1ull << 33);
		memcpy(&value, (void *)(pair.memory[0] + PAGE - 4), sizeof(value));
		__asm__ volatile("" ::: "memory");
	}
}

static void signal_behind_copies(void)
{
	struct pair pair;
	unsigned char *large[2];

	make_large(&pair, large);
	memset(large[0] + LARGE - 8, 0, 8);
	EQUAL(scif_writeto(pair.one, pair.window[0], LARGE - PAGE, pair.window[1], 0), 0);
	EQUAL(scif_fence_signal(pair.one, 0, 0, pair.window[1] + LARGE - 8, 5,
				SCIF_FENCE_INIT_SELF | SCIF_SIGNAL_REMOTE),
	      0);
	await((volatile uint64_t *)(large[1] + LARGE - 8), 5);
	EQUAL(memcmp(large[0], large[1], LARGE - PAGE), 0);
}

static void signal_without_side(void)
{
	struct pair pair;

	make_filled(&pair);
	FAILS(scif_fence_signal(pair.one, pair.window[0], 1, pair.window[1], 1,
				SCIF_FENCE_INIT_SELF),
	      EINVAL);
}

static void signal_without_init(void)
{
	struct pair pair;

	make_filled(&pair);
	FAILS(scif_fence_signal(pair.one, pair.window[0], 1, 0, 0, SCIF_SIGNAL_LOCAL), EINVAL);
}

static void signal_unaligned(void)
{
	struct pair pair;

	make_filled(&pair);
	FAILS(scif_fence_signal(pair.one, pair.window[0] + 2, 1, 0, 0,
				SCIF_FENCE_INIT_SELF | SCIF_SIGNAL_LOCAL),
	      EINVAL);
	FAILS(scif_fence_signal(pair.one, 0, 0, pair.window[1] + 1, 1,
				SCIF_FENCE_INIT_SELF | SCIF_SIGNAL_REMOTE),
	      EINVAL);
}

static void signal_outside(void)
{
	struct pair pair;

	make_filled(&pair);
	FAILS(scif_fence_signal(pair.one, pair.window[0] + WINDOW_BYTES, 1, 0, 0,
				SCIF_FENCE_INIT_SELF | SCIF_SIGNAL_LOCAL),
	      ENXIO);
}

static void signal_of_unconnected(void)
{
	FAILS(scif_fence_signal(make_open(), 0, 1, 0, 0, SCIF_FENCE_INIT_SELF | SCIF_SIGNAL_LOCAL),
	      ENOTCONN);
}

const struct test_case copy_cases[] = {
	{ "read_all", read_all, false },
	{ "write_all", write_all, false },
	{ "copy_exactly_the_range", copy_exactly_the_range, false },
	{ "copy_one_byte", copy_one_byte, false },
	{ "vread", vread, false },
	{ "vwrite", vwrite, false },
	{ "vread_from_stack", vread_from_stack, false },
	{ "vread_bad_address", vread_bad_address, false },
	{ "vwrite_bad_address", vwrite_bad_address, false },
	{ "copy_of_nothing", copy_of_nothing, false },
	{ "vcopy_of_nothing", vcopy_of_nothing, false },
	{ "copy_unknown_flag", copy_unknown_flag, false },
	{ "copy_all_flags", copy_all_flags, false },
	{ "read_beyond_remote", read_beyond_remote, false },
	{ "read_beyond_local", read_beyond_local, false },
	{ "write_before_remote", write_before_remote, false },
	{ "vread_unregistered", vread_unregistered, false },
	{ "copy_across_windows", copy_across_windows, false },
	{ "copy_across_hole", copy_across_hole, false },
	{ "read_of_write_only", read_of_write_only, false },
	{ "write_of_read_only", write_of_read_only, false },
	{ "read_into_read_only", read_into_read_only, false },
	{ "copy_of_unconnected", copy_of_unconnected, false },
	{ "copy_of_disconnected", copy_of_disconnected, false },
	{ "ordered_copy_arrives", ordered_copy_arrives, false },
	{ "large_copy", large_copy, false },
	{ "large_vcopy", large_vcopy, false },
	{ "fence_waits_for_copies", fence_waits_for_copies, false },
	{ "fence_waits_for_peers_copies", fence_waits_for_peers_copies, false },
	{ "fence_of_nothing", fence_of_nothing, false },
	{ "fence_mark_flags", fence_mark_flags, false },
	{ "fence_mark_of_unconnected", fence_mark_of_unconnected, false },
	{ "fence_of_disconnected", fence_of_disconnected, false },
	{ "signal_local", signal_local, false },
	{ "signal_remote", signal_remote, false },
	{ "signal_both", signal_both, false },
	{ "signal_of_4_aligned", signal_of_4_aligned, false },
	{ "signal_behind_copies", signal_behind_copies, false },
	{ "signal_without_side", signal_without_side, false },
	{ "signal_without_init", signal_without_init, false },
	{ "signal_unaligned", signal_unaligned, false },
	{ "signal_outside", signal_outside, false },
	{ "signal_of_unconnected", signal_of_unconnected, false },
	{ NULL, NULL, false },
};
