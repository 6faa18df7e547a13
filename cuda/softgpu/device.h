/* SPDX-License-Identifier: Apache-2.0 */
/* The devices' identities in the form that cuda/front hashes. */
#ifndef CAUSEWAY_CUDA_SOFTGPU_DEVICE_H
#define CAUSEWAY_CUDA_SOFTGPU_DEVICE_H

#include "cuda/front/front.h"

/* How many devices there are, and what a runtime checks one by: 0, or the CUDA error. */
int device_count(void);
int device_identity(int device, struct front_device *identity);

#endif
