/* SPDX-License-Identifier: Apache-2.0 */
/* monitor.c: a worker for a client of libnvidia-ml.so.1. */
#ifndef CAUSEWAY_CUDA_SERVER_MONITOR_H
#define CAUSEWAY_CUDA_SERVER_MONITOR_H

#include <stdint.h>

#include "lib/link/link.h"
#include "proto/nvml-wire.h"

/* monitor_library - the monitoring library beside the driver @driver, into @path */
void monitor_library(const char *driver, char *path, unsigned long bytes);

/**
 * monitor_serve - welcome the client of @version and answer until the link ends
 * @library: the real libnvidia-ml.so.1, or softgpu's
 * @memory_limit: bytes of device memory that a client may have; 0: no limit
 *
 * Return: -errno of the link, -EPROTO for a request that breaks the format.
 */
int monitor_serve(struct link *link, uint32_t version, const char *library, uint64_t memory_limit);

#endif
