/* SPDX-License-Identifier: Apache-2.0 */
/* Each fault of a list of tenants is refused with a sentence that names it and its line. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/clean.h"
#include "share/tenants.h"

/* file_of - a file that holds @text, by the path that it gets */
static int file_of(const char *text, char *path, size_t room)
{
	int fd = memfd_create("tenants", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchmod(fd, 0600), 0);
	snprintf(path, room, "/proc/self/fd/%d", fd);
	return fd;
}

static int read_text(const char *text, struct tenants *tenants, struct error *error)
{
	struct config config;
	char path[64];
	autoclose int fd = file_of(text, path, sizeof(path));
	int status = config_load(&config, path, error);

	assert_int_equal(status, 0);
	status = tenants_read(tenants, &config, error);
	config_close(&config);
	return status;
}

#define ONE(members) "tenants = ( { name = \"red\"; " members " } );"
#define TWO(first, second) \
	"tenants = ( { name = \"red\"; " first " },\n{ name = \"blue\"; " second " } );"

static const struct {
	const char *text, *error;
} refused[] = {
	{ "tenants = 5;", "1: tenants: expected a list of groups, as in ( { name = \"red\"; } )" },
	{ "tenants = ( 5 );",
	  "1: tenants: expected a group, as in { name = \"red\"; weight = 2; }" },
	{ "tenants = ( { weight = 1; } );",
	  "1: name is '': expected 1 to 63 bytes, for each tenant" },
	{ "tenants = ( { name = \"\"; } );",
	  "1: name is '': expected 1 to 63 bytes, for each tenant" },
	{ "tenants = ( { name = 5; } );", "1: name: expected a string in double quotes" },
	{ "tenants = ( { name = \"red\"; },\n{ name = \"red\"; } );",
	  "2: there are two tenants 'red'" },
	{ ONE("colour = 1;"), "1: unknown setting 'colour'" },
	{ ONE("weight = 0;"), "1: weight is 0: expected 1 to 1000" },
	{ ONE("priority = 99;"), "1: priority is 99: expected 0 to 3" },
	{ ONE("memory = \"much\";"),
	  "1: memory: expected bytes, as in \"8G\", \"512M\" or 1073741824" },
	{ ONE("memory = \"99999999999999999999\";"),
	  "1: memory: expected bytes, as in \"8G\", \"512M\" or 1073741824" },
	{ ONE("memory = \"99999999999T\";"),
	  "1: memory: expected bytes, as in \"8G\", \"512M\" or 1073741824" },
	{ ONE("memory = -1;"), "1: memory is -1: expected 0 to 9223372036854775807" },
	{ ONE("devices = 1;"), "1: devices: expected a list, as in [1, 2] or (\"name\", 2)" },
	{ ONE("devices = [ 16 ];"), "1: devices: expected numbers of devices, 0 to 15" },
	{ ONE("socket = \"here\";"),
	  "1: socket is 'here': expected a path from / on, of at most 107 bytes" },
	{ ONE("cids = 3;"), "1: cids: expected a list, as in [1, 2] or (\"name\", 2)" },
	{ ONE("cids = [ 2 ];"), "1: cids: expected CIDs of guests, 3 to 4294967294" },
	{ ONE("cids = [ \"three\" ];"), "1: cids: expected CIDs of guests, 3 to 4294967294" },
	{ ONE("users = [ -1 ];"), "1: users: expected names or numbers of users" },
	{ ONE("users = ( \"nobody-of-that-name\" );"),
	  "1: there is no user 'nobody-of-that-name': expected names or numbers of users" },
	{ ONE("users = ( 1.5 );"), "1: users: expected names or numbers of users" },
	{ ONE("user = 1.5;"), "1: user: expected the name or number of a user" },
	{ ONE("user = -1;"), "1: user: expected the name or number of a user" },
	{ ONE("token_files = \"file\";"),
	  "1: token_files: expected a list of files, as in [\"/etc/red.token\"]" },
	{ ONE("token_files = ( 5 );"), "1: token_files: expected names of files" },
	{ ONE("token_files = ( \"/nowhere\" );"),
	  "1: token file '/nowhere': No such file or directory" },
	{ ONE("token_files = ( \"/proc/self\" );"),
	  "1: token file '/proc/self': others may read it (mode 555); expected 0600" },
	{ TWO("cids = [ 3 ];", "cids = [ 3 ];"), "2: CID 3 belongs to tenant 'red' already" },
	{ TWO("users = [ 7 ];", "users = [ 7 ];"), "2: user 7 belongs to tenant 'red' already" },
};

static void test_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
		struct error error = { 0 };
		struct tenants tenants;

		assert_true(read_text(refused[i].text, &tenants, &error) < 0);
		/* Behind the name of the file, which is another each time. */
		assert_non_null(strchr(error.text, ':'));
		assert_string_equal(strchr(error.text, ':') + 1, refused[i].error);
	}
}

/* A list of more than it takes, of @what, @count times. */
static void refuses_many(const char *before, const char *what, int count, const char *after,
			 const char *expected)
{
	static char text[65536];
	struct error error = { 0 };
	struct tenants tenants;
	char *at = stpcpy(text, before);

	for (int i = 0; i < count; i++)
		at = stpcpy(stpcpy(at, i ? ", " : ""), what);
	strcpy(at, after);
	assert_int_equal(read_text(text, &tenants, &error), -EINVAL);
	assert_non_null(strstr(error.text, expected));
}

static void test_refused_many(void **state)
{
	(void)state;
	refuses_many("tenants = ( ", "{ }", 257, " );", "expected at most 256 tenants");
	refuses_many("tenants = ( { name = \"red\"; cids = [ ", "3", 257, " ]; } );",
		     "expected at most 256 members");
	refuses_many("tenants = ( { name = \"red\"; token_files = [ ", "\"x\"", 257, " ]; } );",
		     "expected at most 256 files");
}

/* Secrets: what a file may hold, who else may read it, and that nobody shares one. */
static void test_tokens(void **state)
{
	struct tenant_token token, other;
	struct error error = { 0 };
	char path[64], text[512];
	autoclose int fd = file_of("secret\n", path, sizeof(path));
	autoclose int empty = -1, long_one = -1;
	struct tenants tenants;

	(void)state;
	assert_int_equal(tenant_token_read(path, &token, &error), 0);
	assert_string_equal(token.text, "secret");
	snprintf(text, sizeof(text), TWO("token_files = [ \"%s\" ];", "token_files = [ \"%s\" ];"),
		 path, path);
	assert_int_equal(read_text(text, &tenants, &error), -EINVAL);
	assert_non_null(strstr(error.text, "token 1 is one of tenant 'red' already"));
	assert_int_equal(fchmod(fd, 0640), 0);
	assert_int_equal(tenant_token_read(path, &other, &error), -EACCES);
	assert_non_null(strstr(error.text, "others may read it (mode 640); expected 0600"));
	empty = file_of("\n", path, sizeof(path));
	assert_int_equal(tenant_token_read(path, &other, &error), -EINVAL);
	assert_non_null(strstr(error.text, "expected 1 to 64 bytes of text"));
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	long_one = file_of(text, path, sizeof(path));
	assert_int_equal(tenant_token_read(path, &other, &error), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_refused_many),
		cmocka_unit_test(test_tokens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
