/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host functions: the program's functions that a stream calls in its order.
 *
 * The worker's stream waits until the client says that the function returned. A thread of its own
 * runs them one after the other; it also reads the link when no call waits, so that the worker's
 * word arrives. It exists from the first host function on.
 */
#ifndef CAUSEWAY_CUDA_CLIENT_CALLBACK_H
#define CAUSEWAY_CUDA_CLIENT_CALLBACK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "gen/cuda_types.h"

/**
 * client_callback_issue - have the stream call @function, or for a stream callback @callback
 *
 * Errors: CUDA_ERROR_OUT_OF_MEMORY, CUDA_ERROR_OPERATING_SYSTEM when no thread can be started.
 */
CUresult client_callback_issue(CUstream stream, CUhostFn function, CUstreamCallback callback,
			       void *data);

/**
 * client_callback_throttle - before each request without reply
 *
 * A device queues a bounded amount of work behind a host function, and the word that it has
 * returned comes behind that work. So the work is bounded here: beyond the bound, wait until no
 * host function is outstanding, or the device will not call it any more.
 */
void client_callback_throttle(void);

/* client_callback_arrived - the worker asks for one to be run; -EPROTO for an unknown one */
int client_callback_arrived(uint64_t id);

/* For call.c, which holds its wait_lock: the thread sleeps on @lock until it is woken. */
void client_callback_sleep(pthread_mutex_t *lock);
void client_callback_wake(void);

/* client_call_read_idle - read the link while no call waits, until @wanted() or an error */
int client_call_read_idle(bool (*wanted)(void));

/* client_callback_lasting - a function that a graph's node calls, each time it runs */
CUresult client_callback_lasting(CUhostFn function, void *data, uint64_t *id);
CUresult client_callback_find(uint64_t id, CUhostFn *function, void **data);

#endif
