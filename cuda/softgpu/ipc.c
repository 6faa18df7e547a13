/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ipc: device memory and events that other processes open by handles.
 *
 * What is shared is an object of POSIX shared memory with a random name, which the handle carries.
 * Device memory is private until it is exported: then its content moves into an object that is
 * mapped in its place, at a moment when no task runs (memory.c, stream.c), so that other memory is
 * as fast and as exactly counted as ever. It is counted where it was allocated, once. Who opens it
 * maps it into a reservation of virtual addresses (virtual.c); the memory lives until the last
 * mapping goes.
 *
 * The object goes with the allocation or the event, and with the process: one that is killed leaves
 * it (in a worker the supervisor removes it).
 *
 * Locks: made_lock over what this process made, a leaf; opened_lock over what is open here,
 * virtual_lock is taken under it.
 */
#include "cuda/softgpu/ipc.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cuda/softgpu/driver.h"

#define NAME_BYTES 48

/* An object that this process made: removed at its end. */
struct made {
	struct made *next;
	uint64_t name[2];
};

/* Memory of another process that is open here. */
struct opened {
	struct opened *next;
	struct ipc_handle handle;
	struct context *context;
	uint64_t address;
	unsigned int count;
};

static pthread_mutex_t made_lock = PTHREAD_MUTEX_INITIALIZER;
static struct made *made_list;
static uint64_t process_number;
static pid_t process_id; /* a child of fork() is another process, with nothing of its own */
static pthread_mutex_t opened_lock = PTHREAD_MUTEX_INITIALIZER;
static struct opened *opened_list;

/* ---- objects ---- */

static void name_compose(const uint64_t name[2], char text[NAME_BYTES])
{
	snprintf(text, NAME_BYTES, "/softgpu.%016llx%016llx", (unsigned long long)name[0],
		 (unsigned long long)name[1]);
}

/* Caller holds the lock. */
static bool process_know(void)
{
	if (process_id == getpid())
		return true;
	if (getrandom(&process_number, sizeof(process_number), 0) != sizeof(process_number))
		return false;
	process_id = getpid();
	made_list = NULL; /* the parent's, if there was one */
	return true;
}

/* object_note - it is this process's, and goes with it */
static bool object_note(struct ipc_handle *handle)
{
	struct made *made = malloc(sizeof(*made));
	bool known;

	if (!made)
		return false;
	pthread_mutex_lock(&made_lock);
	known = process_know();
	if (known) {
		*made = (struct made){ made_list, { handle->name[0], handle->name[1] } };
		made_list = made;
		handle->process = process_number;
	} else {
		free(made);
	}
	pthread_mutex_unlock(&made_lock);
	return known;
}

int ipc_object_make(struct ipc_handle *handle, enum ipc_kind kind, uint64_t bytes)
{
	char text[NAME_BYTES];
	int fd, status;

	*handle = (struct ipc_handle){ .magic = IPC_MAGIC, .kind = kind, .bytes = bytes };
	if (getrandom(handle->name, sizeof(handle->name), 0) != sizeof(handle->name))
		return -EAGAIN;
	if (!object_note(handle))
		return -ENOMEM;
	name_compose(handle->name, text);
	fd = shm_open(text, O_RDWR | O_CREAT | O_EXCL, 0600);
	status = fd < 0 ? -errno : -posix_fallocate(fd, 0, (off_t)bytes);
	if (!status)
		return fd;
	if (fd >= 0)
		close(fd);
	ipc_object_remove(handle);
	return status;
}

CUresult ipc_object_open(const struct ipc_handle *handle, enum ipc_kind kind, int *fd)
{
	char text[NAME_BYTES];
	struct stat status;
	bool own;

	if (handle->magic != IPC_MAGIC || handle->kind != kind || !handle->bytes ||
	    handle->bytes % PAGE_BYTES || handle->device >= (uint32_t)settings.devices)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&made_lock);
	own = process_know() && handle->process == process_number;
	pthread_mutex_unlock(&made_lock);
	if (own)
		return CUDA_ERROR_INVALID_CONTEXT;
	name_compose(handle->name, text);
	*fd = shm_open(text, O_RDWR, 0);
	if (*fd < 0)
		return CUDA_ERROR_INVALID_VALUE;
	if (fstat(*fd, &status) == 0 && (uint64_t)status.st_size == handle->bytes)
		return CUDA_SUCCESS;
	close(*fd);
	return CUDA_ERROR_INVALID_VALUE;
}

void ipc_object_remove(const struct ipc_handle *handle)
{
	struct made **link = &made_list;
	char text[NAME_BYTES];

	pthread_mutex_lock(&made_lock);
	while (*link && memcmp((*link)->name, handle->name, sizeof(handle->name)) != 0)
		link = &(*link)->next;
	if (*link && process_id == getpid()) {
		struct made *gone = *link;

		*link = gone->next;
		free(gone);
		name_compose(handle->name, text);
		shm_unlink(text);
	}
	pthread_mutex_unlock(&made_lock);
}

static __attribute__((destructor)) void objects_remove(void)
{
	char text[NAME_BYTES];

	if (process_id != getpid())
		return;
	for (const struct made *made = made_list; made; made = made->next) {
		name_compose(made->name, text);
		shm_unlink(text);
	}
}

/* ---- memory ---- */

CUresult cuIpcGetMemHandle(CUipcMemHandle *pHandle, CUdeviceptr dptr)
{
	struct ipc_handle handle;
	struct context *context;
	CUresult result = context_enter(&context);

	if (result)
		return result;
	if (!pHandle)
		return CUDA_ERROR_INVALID_VALUE;
	result = memory_export(dptr, &handle);
	if (!result)
		memcpy(pHandle, &handle, sizeof(handle));
	return result;
}

/* Caller holds the lock. The link to what is open at @address, or as that object in that context.
 */
static struct opened **opened_find(uint64_t address, const struct ipc_handle *handle,
				   const struct context *context)
{
	struct opened **link = &opened_list;

	while (*link &&
	       (handle ? (*link)->context != context || memcmp((*link)->handle.name, handle->name,
							       sizeof(handle->name)) != 0
		       : (*link)->address != address))
		link = &(*link)->next;
	return link;
}

/* opened_add - map the object that is open as @fd; caller holds the lock */
static CUresult opened_add(const struct ipc_handle *handle, struct context *context, int fd)
{
	struct opened *opened = calloc(1, sizeof(*opened));
	CUresult result = CUDA_ERROR_OUT_OF_MEMORY;

	if (!opened)
		return result;
	*opened = (struct opened){ opened_list, *handle, context, 0, 1 };
	result = virtual_import(fd, handle->asked, context, (CUdevice)handle->device,
				&opened->address);
	if (result)
		free(opened);
	else
		opened_list = opened;
	return result;
}

CUresult cuIpcOpenMemHandle_v2(CUdeviceptr *pdptr, CUipcMemHandle handle, unsigned int Flags)
{
	struct ipc_handle known;
	struct context *context;
	struct opened *opened;
	CUresult result = context_enter(&context);
	int fd;

	if (result)
		return result;
	if (!pdptr || Flags != CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS)
		return CUDA_ERROR_INVALID_VALUE;
	memcpy(&known, &handle, sizeof(known));
	result = ipc_object_open(&known, IPC_MEMORY, &fd);
	if (result)
		return result;
	if (!known.asked || known.asked > known.bytes) {
		close(fd);
		return CUDA_ERROR_INVALID_VALUE;
	}
	pthread_mutex_lock(&opened_lock);
	opened = *opened_find(0, &known, context);
	if (opened)
		opened->count++;
	else
		result = opened_add(&known, context, fd);
	if (!result)
		*pdptr = opened ? opened->address : opened_list->address;
	pthread_mutex_unlock(&opened_lock);
	close(fd);
	return result;
}

/* opened_end - forget what *@link says, and its mapping; caller holds the lock */
static void opened_end(struct opened **link)
{
	struct opened *gone = *link;

	*link = gone->next;
	virtual_import_end(gone->address);
	free(gone);
}

CUresult cuIpcCloseMemHandle(CUdeviceptr dptr)
{
	struct context *context;
	struct opened **link;
	CUresult result = context_enter(&context);

	if (result)
		return result;
	streams_drain_all();
	pthread_mutex_lock(&opened_lock);
	link = opened_find(dptr, NULL, NULL);
	if (!*link)
		result = CUDA_ERROR_INVALID_VALUE;
	else if (!--(*link)->count)
		opened_end(link);
	pthread_mutex_unlock(&opened_lock);
	return result;
}

void ipc_close_context(const struct context *context)
{
	struct opened **link = &opened_list;

	pthread_mutex_lock(&opened_lock);
	while (*link) {
		if ((*link)->context == context)
			opened_end(link);
		else
			link = &(*link)->next;
	}
	pthread_mutex_unlock(&opened_lock);
}
