/* SPDX-License-Identifier: Apache-2.0 */
/* The client's parts that need no connection: configuration, images, ranges, remembered answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cuda/client/client.h"
#include "cuda/client/image.h"
#include "cuda/common/range.h"

/* config_of - load a configuration file with that text; the environment names no server */
static int config_of(const char *text, struct client_config *config, struct error *error)
{
	char path[] = "/tmp/causeway-config-XXXXXX";
	int fd = mkstemp(path), result;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	setenv("CAUSEWAY_CUDA_CONFIG", path, 1);
	unsetenv("CAUSEWAY_CUDA_SERVER");
	result = client_config_load(config, error);
	unlink(path);
	return result;
}

static void test_config(void **state)
{
	struct client_config config;
	struct error error = { 0 };

	(void)state;
	assert_int_equal(config_of("# a comment\n server = unix:/a b \nspin_us=7 # short\n"
				   "ring_kib = 1024\nconnect_wait_ms = 20\n",
				   &config, &error),
			 0);
	assert_string_equal(config.server, "unix:/a b");
	assert_int_equal(config.link.spin_limit_us, 7);
	assert_int_equal(config.link.ring_bytes, 1 << 20);
	assert_int_equal(config.link.connect_wait_ms, 20);
	assert_int_equal(config_of("", &config, &error), 0);
	assert_true(!strncmp(config.server, "vsock:2:7000", 12) ||
		    !strncmp(config.server, "ring:/run/causeway", 18));
}

static void test_config_environment(void **state)
{
	struct client_config config;
	struct error error = { 0 };

	(void)state;
	assert_int_equal(config_of("server = unix:/file\n", &config, &error), 0);
	unsetenv("CAUSEWAY_CUDA_CONFIG");
	setenv("CAUSEWAY_CUDA_SERVER", "vsock:9:9", 1);
	assert_int_equal(client_config_load(&config, &error), 0);
	assert_string_equal(config.server, "vsock:9:9");
	setenv("CAUSEWAY_CUDA_CONFIG", "/nonexistent/causeway", 1);
	assert_int_equal(client_config_load(&config, &error), -ENOENT);
	assert_non_null(strstr(error.text, "/nonexistent/causeway"));
}

/* Each mistake is named with its line. */
static void test_config_mistakes(void **state)
{
	static const char *const texts[][2] = {
		{ "server = unix:/a\nspin = 4\n", ":2: unknown setting \"spin\"" },
		{ "spin_us = fast\n", ":1: \"fast\" is no value for spin_us" },
		{ "spin_us = -1\n", "\"-1\"" },
		{ "spin_us = 10001\n", "10001" },
		{ "ring_kib = 4\n", "ring_kib" },
		{ "\n\njust words\n", ":3: expected name = value" },
		{ "token_file = /nonexistent/token\n", "token_file /nonexistent/token" },
	};
	struct client_config config;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct error error = { 0 };

		assert_true(config_of(texts[i][0], &config, &error) < 0);
		if (!strstr(error.text, texts[i][1]))
			fail_msg("\"%s\" does not say \"%s\"", error.text, texts[i][1]);
	}
}

static void test_image_text(void **state)
{
	struct client_image image;

	(void)state;
	assert_int_equal(client_image_measure(".version 8.0\n", &image), 0);
	assert_int_equal(image.bytes, 14);
	assert_int_equal(image.form, CUDA_WIRE_IMAGE_PLAIN);
}

static void test_image_fat_binary(void **state)
{
	static struct {
		uint32_t magic;
		uint16_t version, header_bytes;
		uint64_t bytes;
	} fatbin = { 0xba55ed50u, 1, 16, 1000 };
	struct {
		uint32_t magic, version;
		const void *data;
	} wrapper = { 0x466243b1u, 1, &fatbin };
	struct client_image image;

	(void)state;
	assert_int_equal(client_image_measure(&fatbin, &image), 0);
	assert_int_equal(image.bytes, 1016);
	assert_int_equal(client_image_measure(&wrapper, &image), 0);
	assert_int_equal(image.bytes, 1016);
	assert_ptr_equal(image.at, &fatbin);
	assert_int_equal(image.form, CUDA_WIRE_IMAGE_WRAPPED);
	wrapper.data = NULL;
	assert_int_equal(client_image_measure(&wrapper, &image), -1);
	fatbin.bytes = UINT64_MAX;
	assert_int_equal(client_image_measure(&fatbin, &image), -1);
	fatbin.header_bytes = 8;
	assert_int_equal(client_image_measure(&fatbin, &image), -1);
}

/* The end of a cubin is the end of its last section, which lies behind the tables. */
static void test_image_elf(void **state)
{
	static unsigned char elf[512] = "\177ELF\2\1\1";
	struct client_image image;
	const uint64_t sections = 64, offset = 300, bytes = 123;
	const uint16_t section_bytes = 64, section_count = 2;

	(void)state;
	memcpy(elf + 0x28, &sections, 8);
	memcpy(elf + 0x3a, &section_bytes, 2);
	memcpy(elf + 0x3c, &section_count, 2);
	elf[64 + 64 + 4] = 1; /* SHT_PROGBITS */
	memcpy(elf + 64 + 64 + 0x18, &offset, 8);
	memcpy(elf + 64 + 64 + 0x20, &bytes, 8);
	assert_int_equal(client_image_measure(elf, &image), 0);
	assert_int_equal(image.bytes, 423);
	elf[64 + 64 + 4] = 8; /* SHT_NOBITS takes no room in the file */
	assert_int_equal(client_image_measure(elf, &image), 0);
	assert_int_equal(image.bytes, 192);
}

static void test_ranges(void **state)
{
	struct range_table table = { 0 };
	struct range range = { .bytes = 16 };

	(void)state;
	for (uint64_t i = 0; i < 1000; i++) {
		range.start = 1000 + (i * 7919 % 1000) * 32;
		assert_int_equal(range_insert(&table, &range), 0);
	}
	for (size_t i = 1; i < table.count; i++)
		assert_true(table.ranges[i - 1].start < table.ranges[i].start);
	assert_int_equal(range_insert(&table, &range), -EEXIST);
	range.start = 1000 + 15;
	assert_int_equal(range_insert(&table, &range), -EEXIST);
	range.start = 1000 - 1;
	assert_int_equal(range_insert(&table, &range), -EEXIST);
	range.start = UINT64_MAX - 3;
	assert_int_equal(range_insert(&table, &range), -EINVAL);
	assert_non_null(range_find(&table, 1000 + 32 + 15));
	assert_null(range_find(&table, 1000 + 32 + 16));
	assert_null(range_find(&table, 999));
	assert_true(range_covers(&table, 1000 + 4, 12));
	assert_false(range_covers(&table, 1000 + 4, 13));
	assert_false(range_covers(&table, 1000 + 4, UINT64_MAX));
	assert_int_equal(range_remove(&table, 1000 + 32), 0);
	assert_int_equal(range_remove(&table, 1000 + 32), -ENOENT);
	assert_null(range_find(&table, 1000 + 32));
	assert_int_equal(table.count, 999);
	range_free(&table);
}

static void test_cache(void **state)
{
	struct wire_cuCtxGetLimit_request key = { .limit = 3 };
	struct wire_cuCtxGetLimit_reply answer = { .pvalue = 77 };
	struct client_call call = { .number = CALL_cuCtxGetLimit,
				    .block = &key,
				    .block_bytes = sizeof(key),
				    .reply = &answer,
				    .reply_bytes = sizeof(answer) };

	(void)state;
	assert_false(client_cache_find(&call, 1));
	client_cache_store(&call, 1);
	answer.pvalue = 0;
	assert_true(client_cache_find(&call, 1));
	assert_int_equal(answer.pvalue, 77);
	assert_false(client_cache_find(&call, 2));
	key.limit = 4;
	assert_false(client_cache_find(&call, 1));
	key.limit = 3;
	client_cache_clear();
	assert_false(client_cache_find(&call, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_config),		 cmocka_unit_test(test_config_environment),
		cmocka_unit_test(test_config_mistakes),	 cmocka_unit_test(test_image_text),
		cmocka_unit_test(test_image_fat_binary), cmocka_unit_test(test_image_elf),
		cmocka_unit_test(test_ranges),		 cmocka_unit_test(test_cache),
	};

	return cmocka_run_group_tests_name("cuda client", tests, NULL, NULL);
}
