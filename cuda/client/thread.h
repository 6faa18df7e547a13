/* SPDX-License-Identifier: Apache-2.0 */
/* The calling thread's stack of current contexts. */
#ifndef CAUSEWAY_CUDA_CLIENT_THREAD_H
#define CAUSEWAY_CUDA_CLIENT_THREAD_H

#include "cuda/client/client.h"

/* client_thread_push - CUDA_ERROR_OUT_OF_MEMORY when it is nested too deep */
CUresult client_thread_push(struct client_object *context);
/* client_thread_pop - CUDA_ERROR_INVALID_CONTEXT when none is current */
CUresult client_thread_pop(struct client_object **context);
/* client_thread_set - replace the top; NULL takes it away */
CUresult client_thread_set(struct client_object *context);

#endif
