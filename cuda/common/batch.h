/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a batch of copies must be, for the client and for softgpu: both do one copy after the other,
 * which is an order that the interface allows.
 */
#ifndef CAUSEWAY_CUDA_COMMON_BATCH_H
#define CAUSEWAY_CUDA_COMMON_BATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "gen/cuda_types.h"

/* One batch, as cuMemcpyBatchAsync gets it. */
struct batch {
	const CUdeviceptr *to, *from;
	const size_t *bytes;
	size_t count;
	const CUmemcpyAttributes *attributes;
	const size_t *first; /* of these attributes: from which copy on they hold */
	size_t attribute_count;
};

/* batch_valid - arrays that are there, and attributes for every copy */
static inline bool batch_valid(const struct batch *batch)
{
	if (!batch->to || !batch->from || !batch->bytes || !batch->count || !batch->attributes ||
	    !batch->first || !batch->attribute_count || batch->attribute_count > batch->count ||
	    batch->first[0])
		return false;
	for (size_t i = 0; i < batch->attribute_count; i++) {
		const CUmemcpyAttributes *one = &batch->attributes[i];

		if (batch->first[i] >= batch->count ||
		    (i && batch->first[i] <= batch->first[i - 1]) ||
		    one->flags & ~(unsigned int)CU_MEMCPY_FLAG_PREFER_OVERLAP_WITH_COMPUTE ||
		    one->srcAccessOrder < CU_MEMCPY_SRC_ACCESS_ORDER_STREAM ||
		    one->srcAccessOrder > CU_MEMCPY_SRC_ACCESS_ORDER_ANY)
			return false;
	}
	return true;
}

#endif
