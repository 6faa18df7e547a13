/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this process takes of a device, as the monitoring library (NVML) tells it: contexts, modules
 * and whatever else the driver keeps, of which the driver itself says nothing.
 *
 * NVML lists each process with what it takes. Where this one is not in the list (a namespace of
 * process numbers, a virtual GPU), what all take is the next best: between two questions it grows
 * by what a neighbour allocates as well.
 *
 * Threads: any.
 */
#ifndef CAUSEWAY_CUDA_SERVER_DEVICE_MEMORY_H
#define CAUSEWAY_CUDA_SERVER_DEVICE_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

struct device_memory {
	bool listed;	    /* this process is in the device's list, with: */
	uint64_t own_bytes; /* ... what it takes */
	uint64_t all_bytes; /* what all processes take, and the driver; 0 where it is listed */
};

/**
 * device_memory_read - what is taken of a device now
 * @bus_id: its place, as cuDeviceGetPCIBusId() says it
 * @driver: path of the driver, beside which the library is looked for at first
 *
 * Return: false where there is no library or it does not know the device; then *memory is zero.
 */
bool device_memory_read(const char *bus_id, const char *driver, struct device_memory *memory);

#endif
