/* SPDX-License-Identifier: Apache-2.0 */
/* fatbin: containers built here byte by byte as nvcc 13 writes them, and damaged ones. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <lz4.h>
#include <zstd.h>

#include "cuda/softgpu/fatbin.h"

enum { PLAIN = 0x11, LZ4 = 0x2011, ZSTD = 0x8011 };

struct container {
	uint8_t bytes[8192];
	size_t used;
};

static void put(struct container *container, size_t at, uint64_t value, size_t bytes)
{
	memcpy(container->bytes + at, &value, bytes);
}

static void start(struct container *container)
{
	memset(container, 0, sizeof(*container));
	put(container, 0, FATBIN_MAGIC, 4);
	put(container, 4, 1, 2);
	put(container, 6, 16, 2);
	container->used = 16;
}

static void finish(struct container *container)
{
	put(container, 8, container->used - 16, 8);
}

/* An entry with a header of 80 bytes, as nvcc writes for PTX, and a payload padded to 8. */
static void add(struct container *container, int kind, unsigned int target, uint64_t flags,
		const char *text)
{
	size_t at = container->used, plain = strlen(text) + 1, bytes = plain;
	char payload[1024] = { 0 };

	if (flags == LZ4)
		bytes = (size_t)LZ4_compress_default(text, payload, (int)plain, sizeof(payload));
	else if (flags == ZSTD)
		bytes = ZSTD_compress(payload, sizeof(payload), text, plain, 3);
	else
		memcpy(payload, text, plain);
	put(container, at, (uint64_t)kind, 2);
	put(container, at + 2, 0x101, 2);
	put(container, at + 4, 80, 4);
	put(container, at + 8, (bytes + 7) / 8 * 8, 8);
	put(container, at + 16, flags == PLAIN ? 0 : bytes, 4);
	put(container, at + 28, target, 4);
	put(container, at + 40, flags, 8);
	put(container, at + 56, flags == PLAIN ? 0 : plain, 8);
	memcpy(container->bytes + at + 80, payload, bytes);
	container->used = at + 80 + (bytes + 7) / 8 * 8;
}

static void expect(struct container *container, int result, const char *wanted)
{
	/* A copy of just these bytes, so that the address sanitizer sees what is read beyond. */
	uint8_t *exact = malloc(container->used);
	char *text = NULL;
	size_t bytes;

	memcpy(exact, container->bytes, container->used);
	assert_int_equal(fatbin_text(exact, container->used, 75, &text, &bytes, NULL), result);
	if (result == 0) {
		assert_string_equal(text, wanted);
		assert_int_equal(bytes, strlen(wanted));
	}
	free(text);
	free(exact);
}

static void test_compression(void **state)
{
	static const uint64_t flags[] = { PLAIN, LZ4, ZSTD };
	const char *text = ".version 9.0\n.target sm_75\n.version 9.0\n.target sm_75\n";
	struct container container;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		start(&container);
		add(&container, 2, 75, PLAIN, "\177ELF");
		add(&container, 1, 75, flags[i], text);
		finish(&container);
		assert_int_equal(fatbin_bytes(container.bytes), container.used);
		expect(&container, 0, text);
	}
}

static void test_choice(void **state)
{
	struct container container;

	(void)state;
	start(&container);
	add(&container, 1, 52, PLAIN, "sm_52");
	add(&container, 1, 90, PLAIN, "sm_90");
	add(&container, 1, 70, PLAIN, "sm_70");
	add(&container, 1, 80, PLAIN, "sm_80");
	finish(&container);
	expect(&container, 0, "sm_70");
	start(&container);
	add(&container, 1, 90, PLAIN, "sm_90");
	add(&container, 1, 80, PLAIN, "sm_80");
	add(&container, 1, 100, PLAIN, "sm_100");
	finish(&container);
	expect(&container, 0, "sm_80"); /* none is old enough: the oldest is tried */
	start(&container);
	add(&container, 2, 75, PLAIN, "\177ELF");
	finish(&container);
	expect(&container, -ENOENT, NULL);
	start(&container);
	finish(&container);
	expect(&container, -ENOENT, NULL);
}

/* One field of a good container changed at a time. */
static void test_damage(void **state)
{
	static const struct {
		size_t at, bytes;
		uint64_t value;
	} damages[] = {
		{ 0, 4, 0x12345678 },	    { 6, 2, 15 },
		{ 6, 2, 0xffff },	    { 8, 8, UINT64_MAX },
		{ 8, 8, 1u << 20 },	    { 8, 8, 40 },
		{ 16 + 4, 4, 63 },	    { 16 + 4, 4, 0xffffffff },
		{ 16 + 8, 8, UINT64_MAX },  { 16 + 8, 8, 1u << 20 },
		{ 16 + 8, 8, 8 },	    { 16 + 16, 4, 0xffffffff },
		{ 16 + 16, 4, 3 },	    { 16 + 56, 8, 1 },
		{ 16 + 56, 8, UINT64_MAX }, { 16 + 56, 8, 1ul << 28 },
		{ 16 + 56, 8, 200 },
	};
	static const uint64_t flags[] = { LZ4, ZSTD };
	const char *text = ".version 9.0\n.target sm_75\n.version 9.0\n.target sm_75\n";
	struct container container;

	(void)state;
	for (size_t f = 0; f < 2; f++) {
		for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
			start(&container);
			add(&container, 1, 75, flags[f], text);
			finish(&container);
			put(&container, damages[i].at, damages[i].value, damages[i].bytes);
			expect(&container, -ENOEXEC, NULL);
		}
	}
	for (size_t used = 0; used < 16 + 80; used++) { /* cut off */
		start(&container);
		add(&container, 1, 75, PLAIN, text);
		finish(&container);
		container.used = used;
		expect(&container, -ENOEXEC, NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_compression),
		cmocka_unit_test(test_choice),
		cmocka_unit_test(test_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
