/* SPDX-License-Identifier: Apache-2.0 */
/* What a softgpu device is, for its libcuda.so.1 and its libnvidia-ml.so.1. */
#ifndef CAUSEWAY_CUDA_SOFTGPU_SETTINGS_H
#define CAUSEWAY_CUDA_SOFTGPU_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DEVICES_MAX	      16
#define SETTINGS_NAME	      "Causeway softgpu"
#define SETTINGS_CUDA_VERSION 13000 /* the CUDA this driver answers like */
#define SETTINGS_CLOCK_KHZ    1000000
#define CAPABILITY_MAJOR      7
#define CAPABILITY_MINOR      5

struct settings {
	int devices;
	size_t memory_bytes; /* of each device */
	int processors;	     /* multiprocessors of each device: the host's cores */
};

/* settings_read - SOFTGPU_* of the environment; false, and logged, where one makes no sense */
bool settings_read(struct settings *settings);
void settings_uuid(int device, uint8_t uuid[16]);

#endif
