/* SPDX-License-Identifier: Apache-2.0 */
/* Turns over a driver that, like one of a GPU, does not survive a handle that is gone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "cuda/server/account.h"
#include "cuda/server/turn.h"
#include "cuda/server/worker.h"

#define STREAM	((CUstream)0x100)
#define CONTEXT ((CUcontext)0x10)

static bool stream_gone, context_gone;
static unsigned int uses_after; /* of what is gone; the monitor's thread counts too */
static unsigned int records;

static void used(bool gone)
{
	if (gone)
		__atomic_add_fetch(&uses_after, 1, __ATOMIC_ACQ_REL);
}

static CUresult get_current(CUcontext *context)
{
	*context = CONTEXT;
	return CUDA_SUCCESS;
}

static CUresult set_current(CUcontext context)
{
	(void)context;
	return CUDA_SUCCESS;
}

static CUresult get_device(CUdevice *device)
{
	*device = 0;
	return CUDA_SUCCESS;
}

static CUresult event_create(CUevent *event, unsigned int flags)
{
	static uintptr_t last = 0x1000;

	(void)flags;
	*event = (CUevent)(last += 16);
	return CUDA_SUCCESS;
}

static CUresult event_record(CUevent event, CUstream stream)
{
	(void)event;
	used((stream == STREAM && stream_gone) || context_gone);
	__atomic_add_fetch(&records, 1, __ATOMIC_ACQ_REL);
	return CUDA_SUCCESS;
}

static CUresult event_use(CUevent event)
{
	(void)event;
	used(context_gone);
	return CUDA_SUCCESS;
}

static CUresult elapsed(float *ms, CUevent from, CUevent to)
{
	(void)from;
	(void)to;
	used(context_gone);
	*ms = 0.01f;
	return CUDA_SUCCESS;
}

static CUresult copy_in(CUdeviceptr to, const void *from, size_t bytes, CUstream stream)
{
	(void)to;
	(void)from;
	(void)bytes;
	(void)stream;
	return CUDA_SUCCESS;
}

static CUresult stream_destroy(CUstream stream)
{
	stream_gone = stream == STREAM;
	return CUDA_SUCCESS;
}

static CUresult context_destroy(CUcontext context)
{
	context_gone = context == CONTEXT;
	return CUDA_SUCCESS;
}

/* The supervisor's page, with a turn that is nobody else's. */
static int set_up(void **state)
{
	int fd = memfd_create("page", 0), ends[2];
	struct share_page *page;

	(void)state;
	if (fd < 0 || pipe(ends) || ftruncate(fd, sizeof(*page)))
		return -1;
	page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED)
		return -1;
	page->magic = SHARE_PAGE_MAGIC;
	page->version = SHARE_PAGE_VERSION;
	page->devices[0].grant = 1 << 2 | SHARE_GRANT_UNBOUNDED;
	worker_driver = (struct cuda_driver){ .cuCtxGetCurrent = get_current,
					      .cuCtxSetCurrent = set_current,
					      .cuCtxGetDevice = get_device,
					      .cuEventCreate = event_create,
					      .cuEventRecord = event_record,
					      .cuEventSynchronize = event_use,
					      .cuEventDestroy_v2 = event_use,
					      .cuEventElapsedTime_v2 = elapsed,
					      .cuMemcpyHtoDAsync_v2 = copy_in,
					      .cuStreamDestroy_v2 = stream_destroy,
					      .cuCtxDestroy_v2 = context_destroy };
	if (account_open(fd, &page))
		return -1;
	turn_open(page, ends[1]);
	turn_calls_open(&worker_driver);
	return 0;
}

/* pass - what the monitor would still do, it has done */
static void pass(void)
{
	static const struct timespec moment = { 0, 20000000 };

	nanosleep(&moment, NULL);
}

static void test_a_stream_ends_with_work_open(void **state)
{
	(void)state;
	assert_int_equal(worker_driver.cuMemcpyHtoDAsync_v2(1, "", 1, STREAM), CUDA_SUCCESS);
	assert_int_equal(worker_driver.cuStreamDestroy_v2(STREAM), CUDA_SUCCESS);
	pass();
	assert_int_equal(__atomic_load_n(&uses_after, __ATOMIC_ACQUIRE), 0);
	assert_int_equal(__atomic_load_n(&records, __ATOMIC_ACQUIRE), 2); /* begin and end */
	stream_gone = false;
}

static void test_a_context_ends_with_work_open(void **state)
{
	(void)state;
	assert_int_equal(worker_driver.cuMemcpyHtoDAsync_v2(1, "", 1, STREAM), CUDA_SUCCESS);
	assert_int_equal(worker_driver.cuCtxDestroy_v2(CONTEXT), CUDA_SUCCESS);
	pass();
	assert_int_equal(__atomic_load_n(&uses_after, __ATOMIC_ACQUIRE), 0);
	context_gone = false;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_stream_ends_with_work_open),
		cmocka_unit_test(test_a_context_ends_with_work_open),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
