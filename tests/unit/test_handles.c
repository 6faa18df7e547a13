/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handles of device memory: good for the tenant alone that exported it, over a driver that opens
 * whatever it is asked for. shm_open() and shm_unlink() are the test's, with a folder for each of
 * two tenants.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "cuda/server/turn.h"
#include "cuda/server/worker.h"

#define ROOM 8

static char folders[2][ROOM][256]; /* names; empty: none */
static unsigned int tenant;
static bool full;

static char *object_find(const char *name)
{
	for (int i = 0; i < ROOM; i++)
		if (!strcmp(folders[tenant][i], name))
			return folders[tenant][i];
	return NULL;
}

int shm_open(const char *name, int flags, mode_t mode)
{
	char *at = object_find(name);

	(void)mode;
	assert_true(strlen(name) > 1 && strlen(name) < 200 && !strchr(name + 1, '/'));
	if (!at && full) {
		errno = ENOSPC;
		return -1;
	}
	if (!at && flags & O_CREAT) {
		at = object_find("");
		assert_non_null(at);
		snprintf(at, sizeof(folders[0][0]), "%s", name);
	}
	errno = ENOENT;
	return at ? open("/dev/null", O_RDWR) : -1;
}

int shm_unlink(const char *name)
{
	char *at = object_find(name);

	assert_non_null(at);
	*at = 0;
	return 0;
}

static unsigned int names_count(void)
{
	unsigned int count = 0;

	for (int i = 0; i < ROOM; i++)
		count += folders[tenant][i][0] != 0;
	return count;
}

/* One handle for each MiB, whatever address in it is meant. */
static CUresult get(CUipcMemHandle *handle, CUdeviceptr address)
{
	uint64_t base = address & ~(CUdeviceptr)0xfffff;

	memset(handle, 0, sizeof(*handle));
	memcpy(handle->reserved + 40, &base, sizeof(base));
	return CUDA_SUCCESS;
}

static CUresult open_any(CUdeviceptr *address, CUipcMemHandle handle, unsigned int flags)
{
	(void)flags;
	memcpy(address, handle.reserved + 40, sizeof(*address));
	return CUDA_SUCCESS;
}

static CUresult get_range(CUdeviceptr *base, size_t *bytes, CUdeviceptr address)
{
	*base = address & ~(CUdeviceptr)0xfffff;
	*bytes = 0x100000;
	return CUDA_SUCCESS;
}

static CUresult free_any(CUdeviceptr address)
{
	(void)address;
	return CUDA_SUCCESS;
}

static int set_up(void **state)
{
	(void)state;
	memset(folders, 0, sizeof(folders));
	tenant = 0;
	full = false;
	worker_driver = (struct cuda_driver){ .cuIpcGetMemHandle = get,
					      .cuIpcOpenMemHandle_v2 = open_any,
					      .cuMemGetAddressRange_v2 = get_range,
					      .cuMemFree_v2 = free_any };
	handles_open(&worker_driver);
	return 0;
}

static CUresult opens(const CUipcMemHandle *handle)
{
	CUdeviceptr address;

	return worker_driver.cuIpcOpenMemHandle_v2(&address, *handle, 1);
}

static void test_only_its_tenant_opens_it(void **state)
{
	CUipcMemHandle handle, again;

	(void)state;
	get(&handle, 0x100000);
	assert_int_equal(opens(&handle), CUDA_ERROR_INVALID_VALUE); /* guessed too early */
	assert_int_equal(worker_driver.cuIpcGetMemHandle(&handle, 0x100000), CUDA_SUCCESS);
	assert_int_equal(worker_driver.cuIpcGetMemHandle(&again, 0x100040), CUDA_SUCCESS);
	assert_int_equal(names_count(), 1);
	assert_int_equal(opens(&handle), CUDA_SUCCESS);
	tenant = 1;
	assert_int_equal(opens(&handle), CUDA_ERROR_INVALID_VALUE);
	tenant = 0;
	for (size_t i = 0; i < sizeof(handle); i++) { /* every byte counts */
		again = handle;
		again.reserved[i] ^= 1;
		assert_int_equal(opens(&again), CUDA_ERROR_INVALID_VALUE);
	}
	assert_int_equal(worker_driver.cuMemFree_v2(0x100000), CUDA_SUCCESS);
}

static void test_until_it_is_freed(void **state)
{
	CUipcMemHandle one, other;

	(void)state;
	assert_int_equal(worker_driver.cuIpcGetMemHandle(&one, 0x200000), CUDA_SUCCESS);
	assert_int_equal(worker_driver.cuIpcGetMemHandle(&other, 0x900010), CUDA_SUCCESS);
	assert_int_equal(worker_driver.cuMemFree_v2(0x300000), CUDA_SUCCESS);
	assert_int_equal(names_count(), 2);
	assert_int_equal(worker_driver.cuMemFree_v2(0x200000), CUDA_SUCCESS);
	assert_int_equal(names_count(), 1);
	assert_int_equal(opens(&one), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(opens(&other), CUDA_SUCCESS);
}

static void test_without_room_nothing_is_exported(void **state)
{
	CUipcMemHandle handle;

	(void)state;
	full = true;
	assert_int_equal(worker_driver.cuIpcGetMemHandle(&handle, 0x400000),
			 CUDA_ERROR_OUT_OF_MEMORY);
	full = false;
	assert_int_equal(opens(&handle), CUDA_ERROR_INVALID_VALUE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_only_its_tenant_opens_it, set_up),
		cmocka_unit_test_setup(test_until_it_is_freed, set_up),
		cmocka_unit_test_setup(test_without_room_nothing_is_exported, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
