/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handles of device memory are good for the tenant that exported the memory, and nobody else.
 *
 * A driver opens memory of any process of the same user by the 64 bytes of a handle, which are no
 * secret: they have numbers of processes and objects in them. So a worker leaves a mark in its
 * tenant's folder of shared memory (shm.c) for what it exports, named by all bytes of the handle,
 * and opens only what has one. The mark goes when the memory is freed, at the latest with the
 * folder. Without a folder (no sandbox) nothing is put between.
 *
 * Events need none: what a driver shares of them lies in that folder itself.
 *
 * Threads: marks.lock guards the list of this process's marks, a leaf.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cuda/server/turn.h"
#include "cuda/server/worker.h"
#include "lib/base/log.h"

#define NAME_BYTES (16 + 2 * sizeof(CUipcMemHandle))

struct mark {
	struct mark *next;
	CUdeviceptr base; /* of the allocation */
	CUipcMemHandle handle;
};

static struct {
	pthread_mutex_t lock;
	struct mark *first;
} marks = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct cuda_driver real;

static void mark_name(const CUipcMemHandle *handle, char name[NAME_BYTES])
{
	int used = snprintf(name, NAME_BYTES, "/causeway.");

	for (size_t i = 0; i < sizeof(*handle); i++)
		used += snprintf(name + used, NAME_BYTES - (size_t)used, "%02x",
				 (unsigned char)handle->reserved[i]);
}

/* mark_found - there is one for this handle; under the lock */
static bool mark_found(const CUipcMemHandle *handle)
{
	const struct mark *mark = marks.first;

	while (mark && memcmp(&mark->handle, handle, sizeof(*handle)))
		mark = mark->next;
	return mark;
}

/* mark_make - the memory at @base can be opened by this handle; 0 or -errno; under the lock */
static int mark_make(const CUipcMemHandle *handle, CUdeviceptr base)
{
	struct mark *mark = malloc(sizeof(*mark));
	char name[NAME_BYTES];
	int fd;

	if (!mark)
		return -ENOMEM;
	mark_name(handle, name);
	fd = shm_open(name, O_RDWR | O_CREAT, 0600);
	if (fd < 0) {
		int error = -errno;

		free(mark);
		return error;
	}
	close(fd);
	*mark = (struct mark){ marks.first, base, *handle };
	marks.first = mark;
	return 0;
}

static CUresult memory_export(CUipcMemHandle *handle, CUdeviceptr address)
{
	CUdeviceptr base = address;
	size_t bytes;
	CUresult result = real.cuIpcGetMemHandle(handle, address);
	int error = 0;

	if (!result)
		result = real.cuMemGetAddressRange_v2(&base, &bytes, address);
	if (result)
		return result;
	pthread_mutex_lock(&marks.lock);
	if (!mark_found(handle))
		error = mark_make(handle, base);
	pthread_mutex_unlock(&marks.lock);
	if (!error)
		return CUDA_SUCCESS;
	log_warning("memory cannot be shared: %s", strerror(-error));
	return CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult memory_open(CUdeviceptr *address, CUipcMemHandle handle, unsigned int flags)
{
	char name[NAME_BYTES];
	int fd;

	mark_name(&handle, name);
	fd = shm_open(name, O_RDONLY, 0);
	if (fd < 0)
		return CUDA_ERROR_INVALID_VALUE;
	close(fd);
	return real.cuIpcOpenMemHandle_v2(address, handle, flags);
}

/* memory_free - its marks go first: another thread may be given the same address at once */
static CUresult memory_free(CUdeviceptr address)
{
	struct mark **at = &marks.first, *mark;
	char name[NAME_BYTES];

	pthread_mutex_lock(&marks.lock);
	while ((mark = *at)) {
		if (mark->base != address) {
			at = &mark->next;
			continue;
		}
		mark_name(&mark->handle, name);
		shm_unlink(name);
		*at = mark->next;
		free(mark);
	}
	pthread_mutex_unlock(&marks.lock);
	return real.cuMemFree_v2(address);
}

void handles_open(struct cuda_driver *driver)
{
	real = *driver;
	if (!driver->cuMemGetAddressRange_v2 || !driver->cuMemFree_v2)
		driver->cuIpcGetMemHandle = NULL;
	WORKER_PUT(driver, cuIpcGetMemHandle, memory_export);
	WORKER_PUT(driver, cuIpcOpenMemHandle_v2, memory_open);
	WORKER_PUT(driver, cuMemFree_v2, memory_free);
}
