/* SPDX-License-Identifier: Apache-2.0 */
/* Who may connect to whom, and the capture's file byte by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "proto/virtio-vsock.h"
#include "vsock/switch/capture.h"
#include "vsock/switch/capture_file.h"
#include "vsock/switch/policy.h"

#define HOST VIRTIO_VSOCK_CID_HOST

/* Settings from a configuration file with that text in its section. */
static void load(struct settings *settings, const char *text)
{
	char path[] = "/tmp/causeway-policy-XXXXXX";
	int fd = mkstemp(path);
	struct error error = { 0 };

	memset(settings, 0, sizeof(*settings));
	assert_true(fd >= 0);
	assert_int_equal(io_write_full(fd, text, strlen(text)), 0);
	close(fd);
	if (settings_load(settings, path, &error) < 0)
		fail_msg("%s", error.text);
	unlink(path);
}

#define VMS                                                                   \
	"vms = ( { name = \"a\"; cid = 3; socket = \"/a\"; },"                \
	" { name = \"b\"; cid = 4; socket = \"/b\"; },"                       \
	" { name = \"c\"; cid = 5; socket = \"/c\"; groups = [ \"web\" ]; }," \
	" { name = \"d\"; cid = 6; socket = \"/d\"; groups = [ \"web\", \"default\" ]; } );"

static void test_groups(void **state)
{
	static struct settings settings;

	(void)state;
	load(&settings, "switch = { " VMS " };");
	assert_true(policy_allows(&settings, 3, 4, 80)); /* both in the default group */
	assert_false(policy_allows(&settings, 3, 5, 80));
	assert_false(policy_allows(&settings, 5, 3, 80));
	assert_true(policy_allows(&settings, 5, 6, 80));
	assert_true(policy_allows(&settings, 6, 3, 80)); /* a group named "default" is that group */
	assert_false(policy_allows(&settings, 3, 77, 80)); /* nobody has that cid */
	for (uint64_t cid = 3; cid < 7; cid++) {
		assert_true(policy_allows(&settings, HOST, cid, 80));
		assert_true(policy_allows(&settings, cid, HOST, 80));
	}
	settings_free(&settings);
}

static void test_the_first_rule_that_fits_decides(void **state)
{
	static struct settings settings;

	(void)state;
	load(&settings,
	     "switch = { " VMS "rules = ( { action = \"allow\"; from = \"cid:3\"; to = "
	     "\"group:web\"; ports = \"80\"; },"
	     " { action = \"deny\"; from = \"cid:3\"; to = \"host\"; ports = \"7000-7999\"; },"
	     " { action = \"allow\"; from = \"cid:3\"; to = \"host\"; },"
	     " { action = \"deny\"; from = \"any\"; to = \"host\"; },"
	     " { action = \"deny\"; from = \"host\"; to = \"group:default\"; } ); };");
	assert_true(policy_allows(&settings, 3, 5, 80));
	assert_false(policy_allows(&settings, 3, 5, 79));
	assert_false(policy_allows(&settings, 3, 5, 81));
	assert_false(policy_allows(&settings, 4, 5, 80));
	assert_true(policy_allows(&settings, 3, HOST, 6999));
	assert_false(policy_allows(&settings, 3, HOST, 7000));
	assert_false(policy_allows(&settings, 3, HOST, 7999));
	assert_true(policy_allows(&settings, 3, HOST, 8000));
	assert_false(policy_allows(&settings, 5, HOST, 8000));
	assert_false(policy_allows(&settings, HOST, 4, 22)); /* names no group: default */
	assert_true(policy_allows(&settings, HOST, 5, 22));
	assert_false(policy_allows(&settings, HOST, 6, 22));
	settings_free(&settings);
}

/* The whole file into @bytes; its length. */
static size_t slurp(const char *path, unsigned char *bytes, size_t room)
{
	FILE *file = fopen(path, "re");
	size_t got;

	assert_non_null(file);
	got = fread(bytes, 1, room, file);
	fclose(file);
	return got;
}

static void test_capture(void **state)
{
	static const unsigned char magic[] = { 0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0 };
	struct virtio_vsock_header header = { .src_cid = 3,
					      .dst_cid = 4,
					      .src_port = 1000,
					      .dst_port = 80,
					      .len = 5,
					      .type = VIRTIO_VSOCK_TYPE_STREAM,
					      .op = VIRTIO_VSOCK_OP_RW };
	char folder[] = "/tmp/causeway-capture-XXXXXX", path[64], first[] = "hel",
	     second[] = "lo...";
	struct iovec payload[] = { { first, 3 }, { second, 5 } };
	unsigned char bytes[1024];
	uint64_t taken, lost;
	struct stat status;
	struct error error = { 0 };

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/pcap", folder);
	assert_int_equal(capture_file_start(path, &error), 0);
	assert_int_equal(capture_file_start(path, &error), -EBUSY);
	capture_packet(&header, payload, 2); /* a buffer longer than the packet */
	header.op = VIRTIO_VSOCK_OP_RST;
	header.len = 0;
	capture_packet(&header, NULL, 0);
	assert_true(capture_file_count(&taken, &lost));
	assert_int_equal(taken, 2);
	assert_int_equal(lost, 0);
	capture_file_stop();
	capture_packet(&header, NULL, 0); /* nobody listens any more */
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0600);
	assert_int_equal(slurp(path, bytes, sizeof(bytes)), 24 + 2 * (16 + 32 + 44) + 5);
	assert_memory_equal(bytes, magic, sizeof(magic));
	assert_int_equal(bytes[20] | bytes[21] << 8, 271);
	assert_int_equal(bytes[24 + 8], 32 + 44 + 5); /* captured, then original bytes */
	assert_int_equal(bytes[24 + 12], 32 + 44 + 5);
	assert_int_equal(bytes[40], 3);	      /* src_cid */
	assert_int_equal(bytes[40 + 24], 4);  /* the operation: payload */
	assert_int_equal(bytes[40 + 26], 2);  /* virtio */
	assert_int_equal(bytes[40 + 28], 44); /* whose header has 44 bytes */
	assert_memory_equal(bytes + 40 + 32 + 44, "hello", 5);
	assert_int_equal(bytes[40 + 81 + 16 + 24], 2); /* disconnect */
	unlink(path);
	rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_groups),
		cmocka_unit_test(test_the_first_rule_that_fits_decides),
		cmocka_unit_test(test_capture),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
