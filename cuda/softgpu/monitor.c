/* SPDX-License-Identifier: Apache-2.0 */
/*
 * softgpu's libnvidia-ml.so.1: what a monitor can learn about a device made of the host's cores.
 *
 * A library of its own beside softgpu's libcuda.so.1, with the same environment. Memory in use is
 * the process's: the only process that it lists is its own, where that has softgpu's driver, and
 * causeway's worker puts the tenant's in the place of the device's.
 * Utilisation is that of the host's processors since it was last asked for. What such a device has
 * not (fans, temperatures, power) is not supported.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cuda/softgpu/settings.h"
#include "proto/nvml-wire.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT int nvmlInit_v2(void);
EXPORT int nvmlShutdown(void);
EXPORT int nvmlDeviceGetCount_v2(unsigned int *count);
EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device);
EXPORT int nvmlDeviceGetHandleByUUID(const char *uuid, void **device);
EXPORT int nvmlDeviceGetHandleByPciBusId_v2(const char *id, void **device);
EXPORT int nvmlDeviceGetIndex(void *device, unsigned int *index);
EXPORT int nvmlSystemGetDriverVersion(char *text, unsigned int bytes);
EXPORT int nvmlSystemGetNVMLVersion(char *text, unsigned int bytes);
EXPORT int nvmlSystemGetCudaDriverVersion(int *version);
EXPORT int nvmlSystemGetCudaDriverVersion_v2(int *version);
EXPORT int nvmlDeviceGetName(void *device, char *text, unsigned int bytes);
EXPORT int nvmlDeviceGetUUID(void *device, char *text, unsigned int bytes);
EXPORT int nvmlDeviceGetPciInfo_v3(void *device, void *info);
EXPORT int nvmlDeviceGetMinorNumber(void *device, unsigned int *number);
EXPORT int nvmlDeviceGetMemoryInfo(void *device, uint64_t *info);
EXPORT int nvmlDeviceGetMemoryInfo_v2(void *device, uint64_t *info);
EXPORT int nvmlDeviceGetUtilizationRates(void *device, unsigned int *rates);
EXPORT int nvmlDeviceGetClockInfo(void *device, unsigned int type, unsigned int *mhz);
EXPORT int nvmlDeviceGetMaxClockInfo(void *device, unsigned int type, unsigned int *mhz);
EXPORT int nvmlDeviceGetSupportedMemoryClocks(void *device, unsigned int *count, unsigned int *mhz);
EXPORT int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor);
EXPORT int nvmlDeviceGetComputeMode(void *device, unsigned int *mode);
EXPORT int nvmlDeviceGetPersistenceMode(void *device, unsigned int *mode);
EXPORT int nvmlDeviceGetPerformanceState(void *device, unsigned int *state);
EXPORT int nvmlDeviceGetMigMode(void *device, unsigned int *now, unsigned int *later);
EXPORT int nvmlDeviceGetTemperature(void *device, unsigned int sensor, unsigned int *degrees);
EXPORT int nvmlDeviceGetPowerUsage(void *device, unsigned int *milliwatts);
EXPORT int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned int *count,
						   struct nvml_wire_process *list);
EXPORT int nvmlDeviceGetFieldValues(void *device, int count, void *values);

static struct settings facts;
static char places[DEVICES_MAX]; /* a device's handle is the address of one */
static pthread_mutex_t busy_lock = PTHREAD_MUTEX_INITIALIZER;

/* number - of a handle; -1: it is none */
static int number(const void *device)
{
	uintptr_t at = (uintptr_t)device - (uintptr_t)places;

	return device && at < (uintptr_t)facts.devices ? (int)at : -1;
}

int nvmlInit_v2(void)
{
	return settings_read(&facts) ? NVML_SUCCESS : NVML_ERROR_UNKNOWN;
}

int nvmlShutdown(void)
{
	return NVML_SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned int *count)
{
	if (!facts.devices)
		return NVML_ERROR_UNINITIALIZED;
	*count = (unsigned int)facts.devices;
	return NVML_SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device)
{
	if (index >= (unsigned int)facts.devices)
		return NVML_ERROR_INVALID_ARGUMENT;
	*device = &places[index];
	return NVML_SUCCESS;
}

/* text_give - into the caller's room */
static int text_give(const char *answer, char *text, unsigned int bytes)
{
	if (strlen(answer) >= bytes)
		return NVML_ERROR_INSUFFICIENT_SIZE;
	memcpy(text, answer, strlen(answer) + 1);
	return NVML_SUCCESS;
}

int nvmlSystemGetDriverVersion(char *text, unsigned int bytes)
{
	return text_give("softgpu", text, bytes);
}

int nvmlSystemGetNVMLVersion(char *text, unsigned int bytes)
{
	return text_give("13.softgpu", text, bytes);
}

int nvmlSystemGetCudaDriverVersion_v2(int *version)
{
	*version = SETTINGS_CUDA_VERSION;
	return NVML_SUCCESS;
}

int nvmlSystemGetCudaDriverVersion(int *version)
{
	return nvmlSystemGetCudaDriverVersion_v2(version);
}

int nvmlDeviceGetName(void *device, char *text, unsigned int bytes)
{
	return number(device) < 0 ? NVML_ERROR_INVALID_ARGUMENT
				  : text_give(SETTINGS_NAME, text, bytes);
}

int nvmlDeviceGetUUID(void *device, char *text, unsigned int bytes)
{
	uint8_t uuid[16];
	char answer[48];
	int used;

	if (number(device) < 0)
		return NVML_ERROR_INVALID_ARGUMENT;
	settings_uuid(number(device), uuid);
	used = snprintf(answer, sizeof(answer), "GPU-");
	for (int i = 0; i < 16; i++)
		used += snprintf(answer + used, sizeof(answer) - (size_t)used, "%s%02x",
				 i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid[i]);
	return text_give(answer, text, bytes);
}

int nvmlDeviceGetPciInfo_v3(void *device, void *info)
{
	struct {
		char legacy[16];
		uint32_t domain, bus, device, ids, subsystem;
		char id[32];
	} place = { 0 };

	if (number(device) < 0)
		return NVML_ERROR_INVALID_ARGUMENT;
	place.bus = 1 + (uint32_t)number(device);
	snprintf(place.legacy, sizeof(place.legacy), "0000:%02X:00.0", (uint8_t)place.bus);
	snprintf(place.id, sizeof(place.id), "00000000:%02X:00.0", place.bus);
	memcpy(info, &place, sizeof(place));
	return NVML_SUCCESS;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **device)
{
	char text[96];

	for (int i = 0; i < facts.devices; i++) {
		nvmlDeviceGetUUID(&places[i], text, sizeof(text));
		if (!strcmp(text, uuid)) {
			*device = &places[i];
			return NVML_SUCCESS;
		}
	}
	return NVML_ERROR_NOT_FOUND;
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *id, void **device)
{
	unsigned int domain, bus;

	if (sscanf(id, "%x:%x:", &domain, &bus) != 2 || domain || !bus ||
	    bus > (unsigned int)facts.devices)
		return NVML_ERROR_NOT_FOUND;
	*device = &places[bus - 1];
	return NVML_SUCCESS;
}

int nvmlDeviceGetIndex(void *device, unsigned int *index)
{
	return nvmlDeviceGetMinorNumber(device, index);
}

int nvmlDeviceGetMinorNumber(void *device, unsigned int *minor)
{
	if (number(device) < 0)
		return NVML_ERROR_INVALID_ARGUMENT;
	*minor = (unsigned int)number(device);
	return NVML_SUCCESS;
}

int nvmlDeviceGetMemoryInfo(void *device, uint64_t *info)
{
	if (number(device) < 0)
		return NVML_ERROR_INVALID_ARGUMENT;
	info[0] = info[1] = facts.memory_bytes;
	info[2] = 0;
	return NVML_SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(void *device, uint64_t *info)
{
	uint32_t version;

	if (number(device) < 0)
		return NVML_ERROR_INVALID_ARGUMENT;
	memcpy(&version, info, sizeof(version));
	if (version != (2u << 24 | 40))
		return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
	info[1] = info[3] = facts.memory_bytes;
	info[2] = info[4] = 0;
	return NVML_SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned int *count,
					    struct nvml_wire_process *list)
{
	uint64_t (*used)(int place) = NULL;
	unsigned int room = *count;
	void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
	uint64_t bytes;

	if (number(device) < 0)
		return NVML_ERROR_INVALID_ARGUMENT;
	if (driver)
		*(void **)&used = dlsym(driver, "softgpu_memory_used");
	bytes = used ? used(number(device)) : 0;
	if (driver)
		dlclose(driver);
	*count = bytes ? 1 : 0;
	if (*count > room)
		return NVML_ERROR_INSUFFICIENT_SIZE;
	if (bytes)
		*list = (struct nvml_wire_process){ .process = (uint32_t)getpid(),
						    .used_bytes = bytes,
						    .gpu_instance = UINT32_MAX,
						    .compute_instance = UINT32_MAX };
	return NVML_SUCCESS;
}

/* busy_read - ticks of all processors: at work, and in all */
static bool busy_read(uint64_t *work, uint64_t *all)
{
	unsigned long long ticks[8] = { 0 };
	FILE *file = fopen("/proc/stat", "re");
	int found;

	if (!file)
		return false;
	found = fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &ticks[0], &ticks[1],
		       &ticks[2], &ticks[3], &ticks[4], &ticks[5], &ticks[6], &ticks[7]);
	fclose(file);
	*work = ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6];
	*all = *work + ticks[3] + ticks[4];
	return found == 8;
}

int nvmlDeviceGetUtilizationRates(void *device, unsigned int *rates)
{
	static uint64_t work_before, all_before;
	uint64_t work = 0, all = 0;

	if (number(device) < 0)
		return NVML_ERROR_INVALID_ARGUMENT;
	if (!busy_read(&work, &all))
		return NVML_ERROR_NOT_SUPPORTED;
	pthread_mutex_lock(&busy_lock);
	rates[0] = all > all_before
			   ? (unsigned int)(100 * (work - work_before) / (all - all_before))
			   : 0;
	work_before = work;
	all_before = all;
	pthread_mutex_unlock(&busy_lock);
	rates[1] = 0; /* nobody counts the memory's */
	return NVML_SUCCESS;
}

int nvmlDeviceGetClockInfo(void *device, unsigned int type, unsigned int *mhz)
{
	if (number(device) < 0 || type > 3)
		return NVML_ERROR_INVALID_ARGUMENT;
	*mhz = SETTINGS_CLOCK_KHZ / 1000; /* %clock counts nanoseconds */
	return NVML_SUCCESS;
}

int nvmlDeviceGetMaxClockInfo(void *device, unsigned int type, unsigned int *mhz)
{
	return nvmlDeviceGetClockInfo(device, type, mhz);
}

int nvmlDeviceGetSupportedMemoryClocks(void *device, unsigned int *count, unsigned int *mhz)
{
	unsigned int room = *count;

	if (number(device) < 0)
		return NVML_ERROR_INVALID_ARGUMENT;
	*count = 1;
	if (!room || !mhz)
		return NVML_ERROR_INSUFFICIENT_SIZE;
	*mhz = SETTINGS_CLOCK_KHZ / 1000;
	return NVML_SUCCESS;
}

int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor)
{
	if (number(device) < 0)
		return NVML_ERROR_INVALID_ARGUMENT;
	*major = CAPABILITY_MAJOR;
	*minor = CAPABILITY_MINOR;
	return NVML_SUCCESS;
}

int nvmlDeviceGetComputeMode(void *device, unsigned int *mode)
{
	*mode = 0; /* for any number of processes */
	return number(device) < 0 ? NVML_ERROR_INVALID_ARGUMENT : NVML_SUCCESS;
}

int nvmlDeviceGetPersistenceMode(void *device, unsigned int *mode)
{
	*mode = 1;
	return number(device) < 0 ? NVML_ERROR_INVALID_ARGUMENT : NVML_SUCCESS;
}

int nvmlDeviceGetPerformanceState(void *device, unsigned int *state)
{
	*state = 0;
	return number(device) < 0 ? NVML_ERROR_INVALID_ARGUMENT : NVML_SUCCESS;
}

int nvmlDeviceGetMigMode(void *device, unsigned int *now, unsigned int *later)
{
	*now = *later = 0;
	return number(device) < 0 ? NVML_ERROR_INVALID_ARGUMENT : NVML_ERROR_NOT_SUPPORTED;
}

int nvmlDeviceGetTemperature(void *device, unsigned int sensor, unsigned int *degrees)
{
	(void)sensor;
	(void)degrees;
	return number(device) < 0 ? NVML_ERROR_INVALID_ARGUMENT : NVML_ERROR_NOT_SUPPORTED;
}

int nvmlDeviceGetPowerUsage(void *device, unsigned int *milliwatts)
{
	(void)milliwatts;
	return number(device) < 0 ? NVML_ERROR_INVALID_ARGUMENT : NVML_ERROR_NOT_SUPPORTED;
}

/* Each value says for itself that it is not supported. */
int nvmlDeviceGetFieldValues(void *device, int count, void *values)
{
	const int unsupported = NVML_ERROR_NOT_SUPPORTED;

	if (number(device) < 0 || count < 0)
		return NVML_ERROR_INVALID_ARGUMENT;
	for (int i = 0; i < count; i++)
		memcpy((char *)values + 40 * i + 28, &unsupported, sizeof(unsupported));
	return NVML_SUCCESS;
}
