/* SPDX-License-Identifier: Apache-2.0 */
/* The wrapper's rules: their form, which line decides, and addresses of CIDs both ways. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "cli/program.h"
#include "vsock/wrap/rules.h"

static struct in6_addr address_of(const char *text)
{
	struct in6_addr address = { 0 };

	if (strchr(text, ':')) {
		assert_int_equal(inet_pton(AF_INET6, text, &address), 1);
		return address;
	}
	address.s6_addr32[2] = htonl(0xffff);
	assert_int_equal(inet_pton(AF_INET, text, &address.s6_addr32[3]), 1);
	return address;
}

static struct rules parsed(const char *text)
{
	struct error error = { 0 };
	struct rules rules;

	if (rules_parse(&rules, text, strlen(text), "test", &error))
		fail_msg("%s", error.text);
	return rules;
}

/* The number of the line that decides, 0 for none. */
static unsigned line_for(const struct rules *rules, enum rules_role role, const char *address,
			 uint16_t port)
{
	struct in6_addr bytes = address_of(address);
	const struct rules_line *line = rules_find(rules, role, &bytes, port);

	return line ? line->number : 0;
}

static void first_line_that_fits_decides(void **state)
{
	struct rules rules = parsed("# comment\n"
				    "use tcp client * 10.77.0.9:80,443,8000-8009 # tail\n"
				    "\n"
				    "use vsock client * 10.77.0.0/16\r\n"
				    "use both server * 10.77.0.0/16:*\n"
				    "use both any * [fd00::]/9:5\n"
				    "use tcp any * *:7\n");

	(void)state;
	assert_int_equal(rules.line_count, 5);
	assert_int_equal(line_for(&rules, RULES_CLIENT, "10.77.0.9", 80), 2);
	assert_int_equal(line_for(&rules, RULES_CLIENT, "10.77.0.9", 8009), 2);
	assert_int_equal(line_for(&rules, RULES_CLIENT, "10.77.0.9", 8010), 4);
	assert_int_equal(line_for(&rules, RULES_CLIENT, "10.77.255.9", 81), 4);
	assert_int_equal(line_for(&rules, RULES_CLIENT, "10.78.0.9", 81), 0);
	assert_int_equal(line_for(&rules, RULES_CLIENT, "10.78.0.9", 7), 7);
	assert_int_equal(line_for(&rules, RULES_CLIENT, "::ffff:10.77.1.1", 9), 4);
	/* A server that listens everywhere listens at the line's address too. */
	assert_int_equal(line_for(&rules, RULES_SERVER, "0.0.0.0", 1), 5);
	assert_int_equal(line_for(&rules, RULES_SERVER, "::", 1), 5);
	assert_int_equal(line_for(&rules, RULES_SERVER, "127.0.0.1", 1), 0);
	/* Nine bits of prefix. */
	assert_int_equal(line_for(&rules, RULES_CLIENT, "fd7f::1", 5), 6);
	assert_int_equal(line_for(&rules, RULES_CLIENT, "fd80::1", 5), 0);
	assert_int_equal(line_for(&rules, RULES_CLIENT, "fd7f::1", 6), 0);
	rules_free(&rules);
}

static void programs_are_told_apart(void **state)
{
	static const char text[] = "use tcp any redis-* *\nuse both any /usr/bin/* *\n"
				   "use vsock any nginx *\n";
	struct rules rules = parsed(text);

	(void)state;
	rules_keep_program(&rules, "redis-server", "/usr/bin/redis-check-rdb");
	assert_int_equal(rules.line_count, 2);
	assert_int_equal(rules.lines[1].number, 2);
	rules_free(&rules);
	rules = parsed(text);
	rules_keep_program(&rules, "nginx", "/usr/sbin/nginx");
	assert_int_equal(rules.line_count, 1);
	assert_int_equal(rules.lines[0].use, RULES_USE_VSOCK);
	rules_free(&rules);
}

static void addresses_and_cids_both_ways(void **state)
{
	struct rules rules = parsed("map 192.168.1.10 cid 7\nmap 10.77.0.0/16 host\n"
				    "map [fd00:77::]/64 host\nmap 10.9.1.0/29 host\n");
	struct in6_addr address, expected;
	uint32_t cid = 0;

	(void)state;
	address = address_of("10.77.1.3");
	assert_int_equal(rules_cid(&rules, &address, &cid), 1);
	assert_int_equal(cid, 259);
	address = address_of("192.168.1.10");
	assert_int_equal(rules_cid(&rules, &address, &cid), 0);
	assert_int_equal(cid, 7);
	address = address_of("fd00:77::1:0:4");
	assert_int_equal(rules_cid(&rules, &address, &cid), -1); /* more than a CID holds */
	address = address_of("fd00:77::ffff:ffff");
	assert_int_equal(rules_cid(&rules, &address, &cid), -1); /* VMADDR_CID_ANY */
	address = address_of("fd00:77::ffff:fffe");
	assert_int_equal(rules_cid(&rules, &address, &cid), 2);
	assert_int_equal(cid, 0xfffffffe);
	address = address_of("10.77.0.0");
	assert_int_equal(rules_cid(&rules, &address, &cid), -1);

	assert_true(rules_name(&rules, 7, RULES_V4, &address));
	expected = address_of("192.168.1.10");
	assert_memory_equal(&address, &expected, 16);
	assert_true(rules_name(&rules, 7, RULES_V6, &address));
	expected = address_of("fd00:77::7");
	assert_memory_equal(&address, &expected, 16);
	assert_false(rules_name(&rules, 70000, RULES_V4, &address));
	assert_true(rules_address(&rules, 3, 7, &address));
	expected = address_of("10.9.1.7");
	assert_memory_equal(&address, &expected, 16);
	assert_false(rules_address(&rules, 3, 8, &address));
	assert_false(rules_address(&rules, 4, 3, &address));
	rules_free(&rules);
}

#define SIXTEEN "a-program-of-16-"

static void bad_lines_are_named(void **state)
{
	static const struct {
		const char *text, *complaint;
	} bad[] = {
		{ "use both any *", "test:1: expected: use tcp|vsock|both" },
		{ "\nuse sdp any * *", "test:2: \"use sdp\": expected tcp, vsock or both" },
		{ "use tcp peer * *", "expected server, client or any" },
		{ "use tcp any " SIXTEEN SIXTEEN SIXTEEN SIXTEEN SIXTEEN SIXTEEN SIXTEEN SIXTEEN
		  " *",
		  "the program's name is longer than" },
		{ "use tcp any * *:0-65536", "port \"0-65536\"" },
		{ "use tcp any * *:9-8", "port \"9-8\"" },
		{ "use tcp any * *:", "port \"\"" },
		{ "use tcp any * *:1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17",
		  "more than 16 ranges" },
		{ "use tcp any * 10.0.0.0/33", "\"/33\" is no length" },
		{ "use tcp any * 10.0.0", "\"10.0.0\" is no address" },
		{ "use tcp any * fd00::1", "is no address" },
		{ "use tcp any * [fd00::1", "the bracket is not closed" },
		{ "use tcp any * [fd00::1]x", "expected /LENGTH or :PORTS" },
		{ "use tcp any * [fd00::1]/129", "expected 0 to 128" },
		{ "use tcp any * * more", "expected: use" },
		{ "map 10.0.0.0/8", "expected: map" },
		{ "map 10.0.0.0/8 cid 3", "single address" },
		{ "map 10.0.0.1 host", "needs a prefix" },
		{ "map 10.0.0.1:5 cid 3", "has no ports" },
		{ "map * cid 3", "expected an address" },
		{ "map 10.0.0.1 cid 0", "\"cid 0\": expected 1 to 4294967294" },
		{ "map 10.0.0.1 cid 4294967295", "expected 1 to" },
		{ "map 10.0.0.1 cid", "expected: map" },
		{ "let 1 2", "\"let\": expected use or map" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct error error = { 0 };
		struct rules rules;

		assert_int_equal(
			rules_parse(&rules, bad[i].text, strlen(bad[i].text), "test", &error),
			-EINVAL);
		if (!strstr(error.text, bad[i].complaint))
			fail_msg("\"%s\": \"%s\" lacks \"%s\"", bad[i].text, error.text,
				 bad[i].complaint);
	}
}

static void texts_are_bounded(void **state)
{
	static char text[RULES_TEXT_BYTES_MAX + 1];
	struct error error = { 0 };
	struct rules rules;

	(void)state;
	memset(text, '\n', sizeof(text));
	assert_int_equal(rules_parse(&rules, text, sizeof(text), "test", &error), -E2BIG);
	assert_int_equal(rules_parse(&rules, text, sizeof(text) - 1, "test", &error), 0);
	rules_free(&rules);
	memset(text, 'x', sizeof(text));
	assert_int_equal(rules_parse(&rules, text, 600, "test", &error), -EINVAL);
	for (int i = 0; i <= RULES_LINES_MAX; i++)
		memcpy(text + i * 16, "use tcp any * *\n", 16);
	assert_int_equal(rules_parse(&rules, text, 16 * (RULES_LINES_MAX + 1), "test", &error),
			 -EINVAL);
	assert_non_null(strstr(error.text, "more than 1024 rules"));
	assert_int_equal(rules_parse(&rules, text, 16 * RULES_LINES_MAX, "test", &error), 0);
	rules_free(&rules);
	assert_int_equal(rules_parse(&rules, RULES_DEFAULT_TEXT, strlen(RULES_DEFAULT_TEXT),
				     "default", &error),
			 0);
	rules_free(&rules);
}

/* A file of that content and mode; its path lives until the next call. */
static const char *file_of(const void *content, size_t bytes, mode_t mode)
{
	static char path[64];
	int fd;

	snprintf(path, sizeof(path), "/tmp/causeway-test-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, content, bytes), (ssize_t)bytes);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
	return path;
}

static void programs_without_preload_are_known(void **state)
{
	static const char foreign[64] = "\177ELF\2\1\1\0\0\0\0\0\0\0\0\0\2\0\267"; /* aarch64 */
	struct error error = { 0 };
	const char *path;

	(void)state;
	assert_int_equal(program_check("sh", &error), 0);
	assert_int_equal(program_check("/proc/self/exe", &error), 0);
	assert_int_equal(program_check("no-such-program", &error), -ENOENT);
	assert_int_equal(program_check("/no/such", &error), -ENOENT);
	path = file_of(foreign, sizeof(foreign), 0755);
	assert_int_equal(program_check(path, &error), -ENOTSUP);
	assert_non_null(strstr(error.text, "is not for 64-bit x86"));
	unlink(path);
	path = file_of("#! /bin/sh -e\n", 14, 0755);
	assert_int_equal(program_check(path, &error), 0);
	unlink(path);
	path = file_of("#!/proc/self/fd/0\n", 10, 0644);
	assert_int_equal(program_check(path, &error), -EACCES);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_line_that_fits_decides),
		cmocka_unit_test(programs_are_told_apart),
		cmocka_unit_test(addresses_and_cids_both_ways),
		cmocka_unit_test(bad_lines_are_named),
		cmocka_unit_test(texts_are_bounded),
		cmocka_unit_test(programs_without_preload_are_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
