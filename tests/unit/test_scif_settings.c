/* SPDX-License-Identifier: Apache-2.0 */
/* scifd's settings: what a file and options make of them, and what is said of each fault. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/clean.h"
#include "scif/fabric/settings.h"

#define OPTIONS_MAX 8

/* read_options - scifd's settings of these options, NULL behind the last */
static int read_options(struct settings *settings, struct error *error, char *const *options)
{
	char *words[OPTIONS_MAX + 2] = { (char[]){ "scifd" } };
	int count = 1;

	while (options[count - 1]) {
		words[count] = options[count - 1];
		count++;
	}
	return settings_read(settings, count, words, error);
}

/* read_file - the same of a file with @text, and more options */
static int read_file(struct settings *settings, struct error *error, const char *text, char *option)
{
	char path[64];
	autoclose int fd = memfd_create("settings", MFD_CLOEXEC);

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	snprintf(path, sizeof(path), "--config=/proc/self/fd/%d", fd);
	return read_options(settings, error, (char *[]){ path, option, NULL });
}

static void test_file(void **state)
{
	static const char text[] =
		"scif = { socket = \"/s\"; control = \"/c\"; metrics = \"/m\"; spin = 7; workers = "
		"2;\n"
		"request_queues = 3; cards = [ \"mic0,socket=/k,memory=2G,cores=5\" ];\n"
		"vms = [ "
		"\"a,socket=/a,sees=host,endpoints=9,windows=8,pinned=64K,bandwidth=1M,cid=5\" ]; "
		"};"
		"tenants = ( { name = \"red\"; cids = [ 5 ]; } );";
	struct settings settings;
	struct error error = { 0 };

	(void)state;
	assert_int_equal(read_file(&settings, &error, text, "--workers=4"), 0);
	assert_string_equal(settings.socket, "/s");
	assert_string_equal(settings.control, "/c");
	assert_string_equal(settings.metrics, "/m");
	assert_int_equal(settings.spin_us, 7);
	assert_int_equal(settings.workers, 4); /* the option's */
	assert_int_equal(settings.request_queues, 3);
	assert_int_equal(settings.card_count, 1);
	assert_string_equal(settings.cards[0].name, "mic0");
	assert_int_equal(settings.cards[0].memory_bytes, 2ull << 30);
	assert_int_equal(settings.cards[0].cores, 5);
	assert_int_equal(settings.vm_count, 1);
	assert_string_equal(settings.vms[0].sees, "host");
	assert_int_equal(settings.vms[0].endpoints, 9);
	assert_int_equal(settings.vms[0].windows, 8);
	assert_int_equal(settings.vms[0].pinned_bytes, 64 << 10);
	assert_int_equal(settings.vms[0].bytes_per_second, 1 << 20);
	assert_int_equal(settings.vms[0].cid, 5);
	assert_int_equal(settings.tenants.count, 1);
	settings_free(&settings);
}

static const struct {
	const char *text, *error;
} bad_files[] = {
	{ "scif = { colour = 1; };", "1: unknown setting 'colour'" },
	{ "scif = { spin = 10001; };", "1: spin is 10001: expected 0 to 10000" },
	{ "scif = { workers = 0; };", "1: workers is 0: expected 1 to 16" },
	{ "scif = { request_queues = \"many\"; };", "1: request_queues: expected a whole number" },
	{ "scif = { socket = 5; };", "1: socket: expected a string in double quotes" },
	{ "scif = { cards = [ 5 ]; };", " scif.cards: expected a list of texts" },
	{ "scif = { vms = [ \"a\" ]; };", " scif.vms: VM 'a' needs a socket" },
	{ "tenants = 5;", "1: tenants: expected a list of groups, as in ( { name = \"red\"; } )" },
	{ "scif = { };", "nobody to serve: give --vm, --card, --socket or --config" },
}, bad_options[] = {
	{ "--spin-us=10001", "--spin-us is '10001': expected 0 to 10000" },
	{ "--workers=no", "--workers is 'no': expected 1 to 16" },
	{ "--request-queues=-1", "--request-queues is '-1': expected 1 to 8" },
	{ "--vm=", "VM '': its name must have 1 to 31 characters" },
	{ "--vm=a", "VM 'a' needs a socket" },
	{ "--vm=a,colour=1", "VM 'a': unknown setting 'colour=1'" },
	{ "--vm=a,socket", "VM 'a': unknown setting 'socket'" },
	{ "--vm=a,socket=/a,endpoints=70000", "VM 'a': endpoints is '70000': expected 1 to 65535" },
	{ "--vm=a,socket=/a,pinned=1X", "VM 'a': pinned is '1X': expected 4096 to 9223372036854775807" },
	{ "--vm=a,socket=/a,pinned=99999999999T", "VM 'a': pinned is '99999999999T': expected 4096 to 9223372036854775807" },
	{ "--vm=a,socket=/a,cid=2", "VM 'a': cid is '2': expected 3 to 4294967294" },
	{ "--vm=of-thirty-two-characters-or-more,socket=/a", "VM 'of-thirty-two-characters-or-more,socket=/a': its name must have 1 to 31 characters" },
	{ "--vm=host,socket=/a", "the name 'host' is given twice" },
	{ "--card=mic0", "card 'mic0' needs one of socket= (of its processes), device= and vm= (of its VMM)" },
	{ "--card=mic0,socket=/a,vm=/b", "card 'mic0' needs one of socket= (of its processes), device= and vm= (of its VMM)" },
	{ "--card=mic0,socket=/a,memory=1", "card 'mic0': memory is '1': expected 1048576 to 9223372036854775807" },
	{ "--card=host,socket=/a", "the name 'host' is given twice" },
	{ "--config=/nowhere", "cannot read '/nowhere': No such file or directory" },
};

/* A sentence without the path of read_file(), which is another each time. */
static const char *behind_path(const char *text)
{
	return strncmp(text, "/proc/", 6) ? text : strchr(text, ':') + 1;
}

static void test_refused(void **state)
{
	struct settings settings;

	(void)state;
	for (size_t i = 0; i < sizeof(bad_files) / sizeof(*bad_files); i++) {
		struct error error = { 0 };

		assert_true(read_file(&settings, &error, bad_files[i].text, NULL) < 0);
		assert_string_equal(behind_path(error.text), bad_files[i].error);
		settings_free(&settings);
	}
	for (size_t i = 0; i < sizeof(bad_options) / sizeof(*bad_options); i++) {
		struct error error = { 0 };

		assert_true(read_options(&settings, &error,
					 (char *[]){ (char *)bad_options[i].text, NULL }) < 0);
		assert_string_equal(error.text, bad_options[i].error);
		settings_free(&settings);
	}
}

/* More than there is room for, and names that two have. */
static void test_many(void **state)
{
	struct settings settings;
	struct error error = { 0 };
	char text[64];

	(void)state;
	settings_defaults(&settings);
	for (int i = 0; i < SETTINGS_VMS_MAX; i++) {
		snprintf(text, sizeof(text), "v%d,socket=/v", i);
		assert_int_equal(settings_add_vm(&settings, text, &error), 0);
	}
	assert_true(settings_add_vm(&settings, "one-more,socket=/v", &error) < 0);
	assert_non_null(strstr(error.text, "more than"));
	for (int i = 0; i < SETTINGS_CARDS_MAX; i++) {
		snprintf(text, sizeof(text), "c%d,socket=/c", i);
		assert_int_equal(settings_add_card(&settings, text, &error), 0);
	}
	assert_true(settings_add_card(&settings, "one-more,socket=/c", &error) < 0);
	assert_non_null(strstr(error.text, "more than"));
	settings_free(&settings);
	settings_defaults(&settings);
	assert_int_equal(settings_add_vm(&settings, "one,socket=/v", &error), 0);
	assert_true(settings_add_card(&settings, "one,socket=/c", &error) < 0);
	assert_string_equal(error.text, "the name 'one' is given twice");
	assert_int_equal(settings_add_card(&settings, "two,socket=/c", &error), 0);
	assert_true(settings_add_vm(&settings, "two,socket=/v", &error) < 0);
	settings_free(&settings);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
