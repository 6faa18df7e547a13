/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of look-ups for a libcuda.so.1 that defines only part of proto/cuda.api (softgpu):
 * its rows name weak symbols, and those that are not defined are left out.
 * Threads: call once, before front_open().
 */
#ifndef CAUSEWAY_GEN_CUDA_WEAK_H
#define CAUSEWAY_GEN_CUDA_WEAK_H

#include "cuda/front/front.h"

/* cuda_weak_entries - the rows that are defined, sorted as front_open() wants them */
const struct front_entry *cuda_weak_entries(size_t *count);

#endif
