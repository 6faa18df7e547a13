/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A CUDA driver for tests of client and worker: device memory, modules with a few kernels in C,
 * and streams that execute at once. It can be told to fail a call and to hold up synchronisation,
 * and it writes down what was launched in which order.
 *
 * Its device addresses are not mapped in this process: client and worker may share it.
 */
#ifndef CAUSEWAY_TESTS_UNIT_FAKE_DRIVER_H
#define CAUSEWAY_TESTS_UNIT_FAKE_DRIVER_H

#include <stdbool.h>

#include "gen/cuda_driver.h"

#define FAKE_MEMORY_BASE   0x7e9000000000ull /* where all sanitizers let programs map */
#define FAKE_MEMORY_BYTES  (32u << 20)
#define FAKE_RESERVED_BASE 0x7e9800000000ull /* where it reserves addresses */

struct fake_state {
	/* What the next call of that sort answers; CUDA_SUCCESS: its work. Taken back once used. */
	CUresult fail_launch, fail_copy, fail_stream_create;
	unsigned int launches;
	uint64_t order[65536]; /* the first parameter of each launch */
	unsigned int frees;
	bool hold; /* synchronisation waits and queries say NOT_READY while set; atomic */
	unsigned int waiting; /* threads held up; atomic */
};

extern struct fake_state fake;

/* fake_driver_fill - every function that the driver has; memory starts empty */
void fake_driver_fill(struct cuda_driver *driver);
/* fake_driver_fill_graphs - its graphs, captures, virtual memory and linker; _fill() does so too */
void fake_driver_fill_graphs(struct cuda_driver *driver);
/* fake_driver_memory - the bytes behind a device address */
void *fake_driver_memory(CUdeviceptr address);

#endif
