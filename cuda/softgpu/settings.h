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
	int places[DEVICES_MAX]; /* of each device among all that there are */
	size_t memory_bytes;	 /* of each device */
	size_t context_bytes;	 /* that a context takes of it */
	size_t code_bytes;	 /* that a kernel takes of it from its first launch on */
	const char *remnants;	 /* file that device memory lies in, and stays in; NULL: nowhere */
	int processors;		 /* multiprocessors of each device: the host's cores */
};

/* settings_read - SOFTGPU_* of the environment; false, and logged, where one makes no sense */
bool settings_read(struct settings *settings);
/*
 * settings_see - leave the devices that CUDA_VISIBLE_DEVICES names, in its order; what is no number
 * of a device, or comes again, ends the list
 */
void settings_see(struct settings *settings);
void settings_uuid(int place, uint8_t uuid[16]);

#endif
