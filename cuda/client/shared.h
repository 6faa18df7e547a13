/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that the program and the worker both have (shared.c), and copies through it (staging.c).
 */
#ifndef CAUSEWAY_CUDA_CLIENT_SHARED_H
#define CAUSEWAY_CUDA_CLIENT_SHARED_H

#include "cuda/client/client.h"

/* client_shared_offer - how much memory to offer to a server: bytes for struct link_options */
uint64_t client_shared_offer(void);

/* client_shared_open - the link is there: use its memory, if it has any; under start_lock */
void client_shared_open(void);

/* client_shared_ready - whether there is memory to share */
bool client_shared_ready(void);

/**
 * client_shared_allocate - new memory, zero, at the same address here and in the worker, pinned
 * @bytes: rounded up to whole pages
 * @device: out: the address at which kernels see it, or 0 where they do not
 *
 * Return: CUDA_ERROR_NOT_SUPPORTED where nothing can be shared, CUDA_ERROR_OUT_OF_MEMORY, or what
 * the driver says of pinning.
 */
CUresult client_shared_allocate(size_t bytes, void **at, uint64_t *device);
/* client_shared_free - give back memory of client_shared_allocate(), @bytes as given there */
void client_shared_free(void *at, size_t bytes);

/**
 * client_shared_adopt - turn the program's own memory into shared memory, where it is
 *
 * The pages that hold the range are replaced by pages that the worker has too, with the same
 * contents. Only private anonymous memory can be replaced without anybody noticing; and as a write
 * of another thread to a page that is being replaced would be lost, pages of which the range has
 * only a part are taken while the process has no other thread.
 *
 * Return: CUDA_ERROR_NOT_SUPPORTED for memory that must stay what it is; else as _allocate().
 */
CUresult client_shared_adopt(void *at, size_t bytes, uint64_t *device);
/* client_shared_release - make it private again; @bytes as given to _adopt() */
void client_shared_release(void *at, size_t bytes);

/*
 * client_staged_* - a copy of pageable memory through pinned memory, by several threads
 * @stream: its number; what is queued there has been waited for
 *
 * Return: CUDA_ERROR_NOT_SUPPORTED, before anything was copied, where there is no pinned memory for
 * it; errors of the device.
 */
CUresult client_staged_to_device(uint64_t to, const void *from, uint64_t bytes, uint32_t stream);
CUresult client_staged_from_device(void *to, uint64_t from, uint64_t bytes, uint32_t stream);

#endif
