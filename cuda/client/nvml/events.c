/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sets of events in which nothing happens: no event travels, so none is supported and no device can
 * be added. A program gets its set all the same (nvidia-smi ends without one), and who waits at it
 * waits out its time.
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "cuda/client/nvml/nvml.h"

struct event_set {
	char unused;
};

NVML_EXPORT int nvmlEventSetCreate(struct event_set **set);
NVML_EXPORT int nvmlEventSetFree(struct event_set *set);
NVML_EXPORT int nvmlEventSetWait(struct event_set *set, void *event, unsigned int timeout_ms);
NVML_EXPORT int nvmlEventSetWait_v2(struct event_set *set, void *event, unsigned int timeout_ms);
NVML_EXPORT int nvmlDeviceGetSupportedEventTypes(void *device, unsigned long long *types);
NVML_EXPORT int nvmlDeviceRegisterEvents(void *device, unsigned long long types,
					 struct event_set *set);

/* started - whether the program called nvmlInit; an nvml_result */
static int started(void)
{
	int result = nvml_enter();

	if (!result)
		nvml_leave();
	return result;
}

int nvmlEventSetCreate(struct event_set **set)
{
	int result = started();

	if (result)
		return result;
	if (!set)
		return NVML_ERROR_INVALID_ARGUMENT;
	*set = calloc(1, sizeof(**set));
	return *set ? NVML_SUCCESS : NVML_ERROR_MEMORY;
}

int nvmlEventSetFree(struct event_set *set)
{
	if (!set)
		return NVML_ERROR_INVALID_ARGUMENT;
	free(set);
	return NVML_SUCCESS;
}

int nvmlEventSetWait_v2(struct event_set *set, void *event, unsigned int timeout_ms)
{
	struct timespec left = { .tv_sec = timeout_ms / 1000,
				 .tv_nsec = (long)(timeout_ms % 1000) * 1000000 };
	int result = started();

	if (result)
		return result;
	if (!set || !event)
		return NVML_ERROR_INVALID_ARGUMENT;
	while (nanosleep(&left, &left) && errno == EINTR)
		;
	return NVML_ERROR_TIMEOUT;
}

int nvmlEventSetWait(struct event_set *set, void *event, unsigned int timeout_ms)
{
	return nvmlEventSetWait_v2(set, event, timeout_ms);
}

int nvmlDeviceGetSupportedEventTypes(void *device, unsigned long long *types)
{
	unsigned int index;
	int result = nvmlDeviceGetIndex(device, &index);

	if (result)
		return result;
	if (!types)
		return NVML_ERROR_INVALID_ARGUMENT;
	*types = 0;
	return NVML_SUCCESS;
}

/* The set stays usable, as NVIDIA's documentation says of this answer. */
int nvmlDeviceRegisterEvents(void *device, unsigned long long types, struct event_set *set)
{
	unsigned int index;
	int result = nvmlDeviceGetIndex(device, &index);

	if (result)
		return result;
	if (!set)
		return NVML_ERROR_INVALID_ARGUMENT;
	return types ? NVML_ERROR_NOT_SUPPORTED : NVML_SUCCESS;
}
