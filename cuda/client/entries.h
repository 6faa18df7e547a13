/* SPDX-License-Identifier: Apache-2.0 */
/* The client's table for cuGetProcAddress, generated from proto/cuda.api. */
#ifndef CAUSEWAY_CUDA_CLIENT_ENTRIES_H
#define CAUSEWAY_CUDA_CLIENT_ENTRIES_H

#include "cuda/front/front.h"

/* What a program can look up, sorted by name and version, with the number of entries. */
extern const struct front_entry client_entries[];
extern const size_t client_entry_count;

#endif
