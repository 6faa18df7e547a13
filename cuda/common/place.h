/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a pool's memory is to be, for the client and for softgpu: both have those of devices alone.
 */
#ifndef CAUSEWAY_CUDA_COMMON_PLACE_H
#define CAUSEWAY_CUDA_COMMON_PLACE_H

#include "gen/cuda_types.h"

/* place_device - the device whose pools are meant; NOT_SUPPORTED: the host's */
static inline CUresult place_device(const CUmemLocation *location, CUmemAllocationType type,
				    CUdevice *device)
{
	if (!location)
		return CUDA_ERROR_INVALID_VALUE;
	*device = location->id;
	return location->type == CU_MEM_LOCATION_TYPE_DEVICE &&
			       type == CU_MEM_ALLOCATION_TYPE_PINNED
		       ? CUDA_SUCCESS
		       : CUDA_ERROR_NOT_SUPPORTED;
}

#endif
