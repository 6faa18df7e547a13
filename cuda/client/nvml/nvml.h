/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the client's libnvidia-ml.so.1 share. connection.c has states and the lock. */
#ifndef CAUSEWAY_CUDA_CLIENT_NVML_H
#define CAUSEWAY_CUDA_CLIENT_NVML_H

#include <stdint.h>

#include "proto/nvml-wire.h"

#define NVML_EXPORT __attribute__((visibility("default")))

/* A device's handle is its address. */
struct nvml_device {
	struct nvml_wire_device facts;
};

/* connection.c */
/* nvml_open, nvml_close - one more, one fewer of the program's nvmlInit(); an nvml_result */
int nvml_open(void);
int nvml_close(void);
/* nvml_enter - take the lock; an nvml_result, and without NVML_SUCCESS the lock is not held */
int nvml_enter(void);
void nvml_leave(void);
/* nvml_device_count, nvml_device_at - of the snapshot, under the lock; NULL: there is none */
uint32_t nvml_device_count(void);
struct nvml_device *nvml_device_at(uint32_t index);
/* nvml_device_index - of a handle, under the lock; -1: it is none */
int nvml_device_index(uint64_t handle);
/* nvml_exchange - a request and its reply, under the lock; data is replaced where there is any */
int nvml_exchange(const struct nvml_wire_request *request, void *data, int *result);

/* exports.c: which one a handle is, for all files */
NVML_EXPORT int nvmlDeviceGetIndex(void *device, unsigned int *index);

/* call.c */
/* nvml_call - function @name with its arguments as they came; an nvml_result */
int nvml_call(const char *name, const uint64_t arguments[NVML_WIRE_ARGUMENTS]);

#endif
