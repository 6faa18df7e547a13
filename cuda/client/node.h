/* SPDX-License-Identifier: Apache-2.0 */
/* Parameters of a graph's nodes in the wire's form. */
#ifndef CAUSEWAY_CUDA_CLIENT_NODE_H
#define CAUSEWAY_CUDA_CLIENT_NODE_H

#include <stdlib.h>

#include "cuda/client/client.h"

struct node_body {
	int32_t kind; /* CUgraphNodeType */
	unsigned char *bytes;
	size_t used;
};

/* node_body_free - frees what was encoded; for node_body_auto */
static inline void node_body_free(struct node_body *body)
{
	free(body->bytes);
}

#define node_body_auto __attribute__((cleanup(node_body_free)))

/* client_node_KIND - CUDA_ERROR_INVALID_VALUE, or _HANDLE, where the parameters cannot be */
CUresult client_node_kernel(struct node_body *body, const CUDA_KERNEL_NODE_PARAMS *parameters);
CUresult client_node_copy(struct node_body *body, const CUDA_MEMCPY3D *copy, CUcontext context);
CUresult client_node_memset(struct node_body *body, const CUDA_MEMSET_NODE_PARAMS *parameters,
			    CUcontext context);
CUresult client_node_host(struct node_body *body, const CUDA_HOST_NODE_PARAMS *parameters);
CUresult client_node_allocation(struct node_body *body,
				const CUDA_MEM_ALLOC_NODE_PARAMS *parameters);
CUresult client_node_batch(struct node_body *body, const CUDA_BATCH_MEM_OP_NODE_PARAMS *parameters);
CUresult client_node_any(struct node_body *body, const CUgraphNodeParams *parameters);

/* client_place - one side of a copy for the wire; copy.c uses it for arrays as well */
CUresult client_place(struct cuda_wire_place *place, CUmemorytype type, const void *host,
		      CUdeviceptr device, CUarray array, size_t x_bytes, size_t y, size_t z,
		      size_t lod, size_t pitch, size_t height);
CUresult client_copy_encode(struct cuda_wire_copy *to, const CUDA_MEMCPY3D *copy);

#endif
