/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The symbols of libnvidia-ml.so.1: those of the rows, and what is answered here: starting and
 * stopping, sentences, handles, the tenant's processes. events.c has sets of events, table.c
 * nvidia-smi's table, refusals.c the rest.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "cuda/client/nvml/nvml.h"

#define FLAGS_KNOWN 3u /* no devices needed, do not attach */

#define A uint64_t
#define EXPORT_1(name)                        \
	NVML_EXPORT int name(A a);            \
	int name(A a)                         \
	{                                     \
		const A all[6] = { a };       \
		return nvml_call(#name, all); \
	}
#define EXPORT_2(name)                        \
	NVML_EXPORT int name(A a, A b);       \
	int name(A a, A b)                    \
	{                                     \
		const A all[6] = { a, b };    \
		return nvml_call(#name, all); \
	}
#define EXPORT_3(name)                        \
	NVML_EXPORT int name(A a, A b, A c);  \
	int name(A a, A b, A c)               \
	{                                     \
		const A all[6] = { a, b, c }; \
		return nvml_call(#name, all); \
	}
#define EXPORT_4(name)                            \
	NVML_EXPORT int name(A a, A b, A c, A d); \
	int name(A a, A b, A c, A d)              \
	{                                         \
		const A all[6] = { a, b, c, d };  \
		return nvml_call(#name, all);     \
	}
#define EXPORT_5(name)                                 \
	NVML_EXPORT int name(A a, A b, A c, A d, A e); \
	int name(A a, A b, A c, A d, A e)              \
	{                                              \
		const A all[6] = { a, b, c, d, e };    \
		return nvml_call(#name, all);          \
	}
#define EXPORT_6(name)                                      \
	NVML_EXPORT int name(A a, A b, A c, A d, A e, A f); \
	int name(A a, A b, A c, A d, A e, A f)              \
	{                                                   \
		const A all[6] = { a, b, c, d, e, f };      \
		return nvml_call(#name, all);               \
	}
#define EXPORT(name, count, ...) EXPORT_##count(name)

NVML_ROWS(EXPORT)

NVML_EXPORT int nvmlInitWithFlags(unsigned int flags);
NVML_EXPORT int nvmlInit(void);
NVML_EXPORT int nvmlInit_v2(void);
NVML_EXPORT int nvmlShutdown(void);
NVML_EXPORT const char *nvmlErrorString(int result);
NVML_EXPORT int nvmlDeviceGetCount(unsigned int *count);
NVML_EXPORT int nvmlDeviceGetCount_v2(unsigned int *count);
NVML_EXPORT int nvmlDeviceGetHandleByIndex(unsigned int index, void **device);
NVML_EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device);
NVML_EXPORT int nvmlDeviceGetHandleByUUID(const char *uuid, void **device);
NVML_EXPORT int nvmlDeviceGetHandleBySerial(const char *serial, void **device);
NVML_EXPORT int nvmlDeviceGetHandleByPciBusId(const char *id, void **device);
NVML_EXPORT int nvmlDeviceGetHandleByPciBusId_v2(const char *id, void **device);
NVML_EXPORT int nvmlSystemGetProcessName(unsigned int process, char *name, unsigned int bytes);
NVML_EXPORT int nvmlUnitGetCount(unsigned int *count);
NVML_EXPORT int nvmlSystemGetHicVersion(unsigned int *count, void *list);
NVML_EXPORT int nvmlDeviceGetComputeRunningProcesses(void *device, unsigned int *count, void *list);
NVML_EXPORT int nvmlDeviceGetComputeRunningProcesses_v2(void *device, unsigned int *count,
							void *list);
NVML_EXPORT int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned int *count,
							void *list);
NVML_EXPORT int nvmlDeviceGetGraphicsRunningProcesses(void *device, unsigned int *count,
						      void *list);
NVML_EXPORT int nvmlDeviceGetGraphicsRunningProcesses_v2(void *device, unsigned int *count,
							 void *list);
NVML_EXPORT int nvmlDeviceGetGraphicsRunningProcesses_v3(void *device, unsigned int *count,
							 void *list);
NVML_EXPORT int nvmlDeviceGetMPSComputeRunningProcesses(void *device, unsigned int *count,
							void *list);
NVML_EXPORT int nvmlDeviceGetMPSComputeRunningProcesses_v2(void *device, unsigned int *count,
							   void *list);
NVML_EXPORT int nvmlDeviceGetMPSComputeRunningProcesses_v3(void *device, unsigned int *count,
							   void *list);

int nvmlInitWithFlags(unsigned int flags)
{
	return flags & ~FLAGS_KNOWN ? NVML_ERROR_INVALID_ARGUMENT : nvml_open();
}

int nvmlInit_v2(void)
{
	return nvml_open();
}

int nvmlInit(void)
{
	return nvml_open();
}

int nvmlShutdown(void)
{
	return nvml_close();
}

const char *nvmlErrorString(int result)
{
	static const char *const sentences[] = {
		"Success",
		"Uninitialized",
		"Invalid Argument",
		"Not Supported",
		"Insufficient Permissions",
		"Already Initialized",
		"Not Found",
		"Insufficient Size",
		"Insufficient External Power",
		"Driver Not Loaded",
		"Timeout",
		"Interrupt Request Issue",
		"NVML Shared Library Not Found",
		"Function Not Found",
		"Corrupted infoROM",
		"GPU is lost",
		"GPU requires reset",
		"GPU access blocked by the operating system",
		"Driver/library version mismatch",
		"In use by another client",
		"Insufficient Memory",
		"No data",
		("The requested vgpu operation is not available on target device, becasue ECC is "
		 "enabled"),
		"Insufficient Resources",
		"Frequency Not Supported",
		"The provided version is invalid/unsupported",
		"The requested functionality has been deprecated",
		"The system is not ready for the request",
		"No GPUs were found",
		"Resource not in correct state to perform requested operation",
	};

	return result >= 0 && (size_t)result < sizeof(sentences) / sizeof(*sentences)
		       ? sentences[result]
		       : "Unknown Error";
}

int nvmlDeviceGetCount_v2(unsigned int *count)
{
	int result = nvml_enter();

	if (result)
		return result;
	if (count)
		*count = nvml_device_count();
	nvml_leave();
	return count ? NVML_SUCCESS : NVML_ERROR_INVALID_ARGUMENT;
}

int nvmlDeviceGetCount(unsigned int *count)
{
	return nvmlDeviceGetCount_v2(count);
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device)
{
	struct nvml_device *found;
	int result = nvml_enter();

	if (result)
		return result;
	found = nvml_device_at(index);
	if (found && device)
		*device = found;
	nvml_leave();
	return found && device ? NVML_SUCCESS : NVML_ERROR_INVALID_ARGUMENT;
}

int nvmlDeviceGetHandleByIndex(unsigned int index, void **device)
{
	return nvmlDeviceGetHandleByIndex_v2(index, device);
}

/* find_device - the device of which @is says so about @text */
static int find_device(const char *text, void **device,
		       bool (*is)(const struct nvml_wire_device *facts, const char *text))
{
	struct nvml_device *found = NULL;
	int result = nvml_enter();

	if (result)
		return result;
	for (uint32_t i = 0; text && i < nvml_device_count() && !found; i++) {
		if (is(&nvml_device_at(i)->facts, text))
			found = nvml_device_at(i);
	}
	nvml_leave();
	if (!text || !device)
		return NVML_ERROR_INVALID_ARGUMENT;
	if (!found)
		return NVML_ERROR_NOT_FOUND;
	*device = found;
	return NVML_SUCCESS;
}

static bool is_uuid(const struct nvml_wire_device *facts, const char *text)
{
	return !strcmp(facts->uuid, text);
}

static bool is_serial(const struct nvml_wire_device *facts, const char *text)
{
	return *facts->serial && !strcmp(facts->serial, text);
}

/* is_bus_id - whether both name the same place; the domain may have 4 or 8 digits, or be left out
 */
static bool is_bus_id(const struct nvml_wire_device *facts, const char *text)
{
	unsigned int own[3] = { 0 }, asked[3] = { 0 };

	if (sscanf(text, "%x:%x:%x", &asked[0], &asked[1], &asked[2]) != 3) {
		asked[0] = 0;
		if (sscanf(text, "%x:%x", &asked[1], &asked[2]) != 2)
			return false;
	}
	return sscanf(facts->bus_id, "%x:%x:%x", &own[0], &own[1], &own[2]) == 3 &&
	       !memcmp(own, asked, sizeof(own));
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **device)
{
	return find_device(uuid, device, is_uuid);
}

int nvmlDeviceGetHandleBySerial(const char *serial, void **device)
{
	return find_device(serial, device, is_serial);
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *id, void **device)
{
	return find_device(id, device, is_bus_id);
}

int nvmlDeviceGetHandleByPciBusId(const char *id, void **device)
{
	return find_device(id, device, is_bus_id);
}

int nvmlDeviceGetIndex(void *device, unsigned int *index)
{
	int found, result = nvml_enter();

	if (result)
		return result;
	found = nvml_device_index((uint64_t)(uintptr_t)device);
	nvml_leave();
	if (found < 0 || !index)
		return NVML_ERROR_INVALID_ARGUMENT;
	*index = (unsigned int)found;
	return NVML_SUCCESS;
}

/* The processes run on this machine, or in another guest of the tenant's, where they have no name.
 */
int nvmlSystemGetProcessName(unsigned int process, char *name, unsigned int bytes)
{
	char path[64], text[4096];
	ssize_t used;
	int result = nvml_enter();

	if (result)
		return result;
	nvml_leave();
	if (!name || !bytes)
		return NVML_ERROR_INVALID_ARGUMENT;
	snprintf(path, sizeof(path), "/proc/%u/exe", process);
	used = readlink(path, text, sizeof(text) - 1);
	if (used <= 0)
		return NVML_ERROR_NOT_FOUND;
	text[used] = 0;
	snprintf(name, bytes, "%s", text);
	return (size_t)used < bytes ? NVML_SUCCESS : NVML_ERROR_INSUFFICIENT_SIZE;
}

int nvmlUnitGetCount(unsigned int *count)
{
	int result = nvml_enter();

	if (result)
		return result;
	nvml_leave();
	if (!count)
		return NVML_ERROR_INVALID_ARGUMENT;
	*count = 0;
	return NVML_SUCCESS;
}

int nvmlSystemGetHicVersion(unsigned int *count, void *list)
{
	(void)list;
	return nvmlUnitGetCount(count);
}

/*
 * processes - the tenant's own processes on a device
 * @bytes: of an element in the version that is asked for; its first fields are those of the wire's
 */
static int processes(void *device, unsigned int *count, void *list, size_t bytes)
{
	struct nvml_wire_process *all = calloc(NVML_WIRE_ELEMENTS_MAX, sizeof(*all));
	uint32_t found = NVML_WIRE_ELEMENTS_MAX;
	const uint64_t arguments[6] = { (uint64_t)(uintptr_t)device, (uint64_t)(uintptr_t)&found,
					(uint64_t)(uintptr_t)all };
	uint32_t room = count ? *count : 0;
	int result;

	if (!all)
		return NVML_ERROR_MEMORY;
	result = nvml_call(NVML_WIRE_PROCESSES, arguments);
	if (!result && (!count || (room && !list)))
		result = NVML_ERROR_INVALID_ARGUMENT;
	for (uint32_t i = 0; !result && i < found && i < room; i++)
		memcpy((char *)list + i * bytes, &all[i], bytes);
	if (!result) {
		*count = found;
		if (found > room)
			result = NVML_ERROR_INSUFFICIENT_SIZE;
	}
	free(all);
	return result;
}

/* no_processes - of a kind that does not run here */
static int no_processes(void *device, unsigned int *count)
{
	unsigned int index;
	int result = nvmlDeviceGetIndex(device, &index);

	if (result)
		return result;
	if (!count)
		return NVML_ERROR_INVALID_ARGUMENT;
	*count = 0;
	return NVML_SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses(void *device, unsigned int *count, void *list)
{
	return processes(device, count, list, 16);
}

int nvmlDeviceGetComputeRunningProcesses_v2(void *device, unsigned int *count, void *list)
{
	return processes(device, count, list, sizeof(struct nvml_wire_process));
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned int *count, void *list)
{
	return processes(device, count, list, sizeof(struct nvml_wire_process));
}

#define NO_PROCESSES(name)                                      \
	int name(void *device, unsigned int *count, void *list) \
	{                                                       \
		(void)list;                                     \
		return no_processes(device, count);             \
	}
NO_PROCESSES(nvmlDeviceGetGraphicsRunningProcesses)
NO_PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v2)
NO_PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v3)
NO_PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses)
NO_PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses_v2)
NO_PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses_v3)
