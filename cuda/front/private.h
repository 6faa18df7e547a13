/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of front share; not for others. */
#ifndef CAUSEWAY_CUDA_FRONT_PRIVATE_H
#define CAUSEWAY_CUDA_FRONT_PRIVATE_H

#include "cuda/front/front.h"

/* The CUresult values the front itself answers; facts of CUDA's interface. */
enum front_result {
	FRONT_SUCCESS = 0,
	FRONT_INVALID_VALUE = 1,
	FRONT_OUT_OF_MEMORY = 2,
	FRONT_NOT_INITIALIZED = 3,
	FRONT_INVALID_CONTEXT = 201,
	FRONT_INVALID_HANDLE = 400,
	FRONT_NOT_FOUND = 500,
	FRONT_NOT_SUPPORTED = 801,
};

/* The driver given to front_open(); never NULL once a program can call. */
extern const struct front_driver *front_driver;

/* What a runtime wants called when a context, or its value there, goes. */
typedef void (*front_destructor)(void *context, void *key, void *value);

/* Slots of CONTEXT_LOCAL_STORAGE; a NULL context means the current one. */
int front_storage_put(void *context, void *key, void *value, front_destructor destructor);
int front_storage_delete(void *context, void *key);
int front_storage_get(void **value, void *context, void *key);

/**
 * front_integrity_answer - what INTEGRITY_CHECK's function puts out
 * @addresses: the CUDART_INTERFACE table, the INTEGRITY_CHECK table, the check function
 *
 * Return: CUresult; the driver's error where it cannot name its devices.
 */
int front_integrity_answer(const void *const addresses[3], uint32_t version, uint64_t unix_time,
			   uint64_t answer[2]);

#endif
