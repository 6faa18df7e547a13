/* SPDX-License-Identifier: Apache-2.0 */
/* What this process takes of a device, by NVML; see device_memory.h. */
#include "cuda/server/device_memory.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "cuda/server/monitor.h"
#include "lib/base/clean.h"
#include "lib/base/log.h"

#define LISTED_MAX    4096u
#define UNKNOWN_BYTES UINT64_MAX /* NVML_VALUE_NOT_AVAILABLE */

static struct {
	pthread_mutex_t lock; /* over all of it, and the questions */
	bool tried;
	int (*find)(const char *bus_id, void **device);
	int (*list)(void *device, unsigned int *count, struct nvml_wire_process *list);
	int (*memory)(void *device, uint64_t total_free_used[3]);
} library = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* library_open - once; what it lacks stays NULL */
static void library_open(const char *driver)
{
	int (*start)(void);
	char path[4096];
	void *handle;

	library.tried = true;
	monitor_library(driver, path, sizeof(path));
	handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!handle) {
		log_warning("what contexts take of a device is not counted: %s", dlerror());
		return;
	}
	*(void **)&start = dlsym(handle, "nvmlInit_v2");
	if (!start || start()) {
		log_warning("what contexts take of a device is not counted: %s does not start",
			    path);
		return;
	}
	*(void **)&library.find = dlsym(handle, "nvmlDeviceGetHandleByPciBusId_v2");
	*(void **)&library.list = dlsym(handle, "nvmlDeviceGetComputeRunningProcesses_v3");
	*(void **)&library.memory = dlsym(handle, "nvmlDeviceGetMemoryInfo");
}

/* list_read - this process's entries of the device's list, where they say how much */
static void list_read(void *device, struct device_memory *memory)
{
	autofree struct nvml_wire_process *list = NULL;
	int result = NVML_ERROR_INSUFFICIENT_SIZE;
	unsigned int count = 0;

	for (unsigned int room = 64; room <= LISTED_MAX; room *= 2) {
		free(list);
		list = calloc(room, sizeof(*list));
		if (!list || !library.list)
			return;
		count = room;
		result = library.list(device, &count, list);
		if (result != NVML_ERROR_INSUFFICIENT_SIZE)
			break;
	}
	for (unsigned int i = 0; !result && i < count; i++) {
		if (list[i].process != (uint32_t)getpid() || list[i].used_bytes == UNKNOWN_BYTES)
			continue;
		memory->listed = true;
		memory->own_bytes += list[i].used_bytes; /* one for each part of a divided GPU */
	}
}

/* memory_read - under the lock */
static bool memory_read(const char *bus_id, const char *driver, struct device_memory *memory)
{
	uint64_t numbers[3];
	void *device;

	if (!library.tried)
		library_open(driver);
	if (!library.find || library.find(bus_id, &device))
		return false;
	list_read(device, memory);
	if (!memory->listed && library.memory && !library.memory(device, numbers))
		memory->all_bytes = numbers[2];
	return true;
}

bool device_memory_read(const char *bus_id, const char *driver, struct device_memory *memory)
{
	bool known;

	*memory = (struct device_memory){ 0 };
	pthread_mutex_lock(&library.lock);
	known = memory_read(bus_id, driver, memory);
	pthread_mutex_unlock(&library.lock);
	return known;
}
