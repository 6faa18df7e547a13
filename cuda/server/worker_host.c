/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host functions: the device's stream waits here until the client's function has returned.
 *
 * host_lock protects the list. An entry is issued by a request, waited for in the driver's own
 * thread, and freed there once host_function_done has marked it.
 */
#include <stdlib.h>

#include "cuda/server/worker.h"

struct host_function {
	struct host_function *next;
	uint64_t id;
	bool done;
};

/* What a node of a graph calls: any number of times, each with a number of its own above bit 32. */
struct host_lasting {
	struct host_lasting *next;
	uint64_t id;
	uint32_t runs;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t done;
	struct host_function *first;
	struct host_lasting *lasting;
	unsigned int outstanding; /* atomic for reading; a lasting one is so for good */
} host = { .lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER };

bool worker_host_outstanding(void)
{
	return __atomic_load_n(&host.outstanding, __ATOMIC_ACQUIRE) != 0;
}

/* host_remove - unlink and free; under host_lock */
static void host_remove(struct host_function *function)
{
	struct host_function **at = &host.first;

	while (*at && *at != function)
		at = &(*at)->next;
	if (!*at)
		return;
	*at = function->next;
	__atomic_sub_fetch(&host.outstanding, 1, __ATOMIC_RELEASE);
	free(function);
}

/* Called by the driver, in stream order. */
static void host_call(void *data)
{
	struct host_function *function = data;
	int error = worker_host_function_send(function->id);

	pthread_mutex_lock(&host.lock);
	while (!error && !function->done)
		pthread_cond_wait(&host.done, &host.lock);
	host_remove(function);
	pthread_mutex_unlock(&host.lock);
}

/* Called by the driver where a node runs. */
static void host_call_lasting(void *data)
{
	struct host_lasting *lasting = data;
	struct host_function *function = calloc(1, sizeof(*function));

	if (!function)
		return; /* the program's function is not called: its client sees no result either */
	pthread_mutex_lock(&host.lock);
	function->id = lasting->id | (uint64_t)++lasting->runs << 32;
	function->next = host.first;
	host.first = function;
	__atomic_add_fetch(&host.outstanding, 1, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&host.lock);
	host_call(function);
}

CUresult worker_host_lasting(uint64_t id, CUhostFn *function, void **data)
{
	struct host_lasting *lasting = calloc(1, sizeof(*lasting));

	if (!lasting)
		return CUDA_ERROR_OUT_OF_MEMORY;
	lasting->id = (uint32_t)id;
	pthread_mutex_lock(&host.lock);
	lasting->next = host.lasting;
	host.lasting = lasting;
	__atomic_add_fetch(&host.outstanding, 1, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&host.lock);
	*function = host_call_lasting;
	*data = lasting;
	return CUDA_SUCCESS;
}

uint64_t worker_host_id(CUhostFn function, void *data)
{
	return function == host_call_lasting ? ((const struct host_lasting *)data)->id : 0;
}

/* host_captured - a stream that is being captured keeps the function in its graph */
static bool host_captured(CUstream stream)
{
	CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;

	return worker_driver.cuStreamIsCapturing &&
	       !worker_driver.cuStreamIsCapturing(stream, &status) &&
	       status != CU_STREAM_CAPTURE_STATUS_NONE;
}

CUresult worker_host_function(struct worker_call *call,
			      const struct wire_host_function_request *request)
{
	struct host_function *function;
	CUhostFn lasting;
	CUstream stream;
	void *data;
	CUresult result = worker_handle_find(call, KIND_stream, request->stream, true, &stream);

	if (result)
		return result;
	if (!worker_driver.cuLaunchHostFunc)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (host_captured(stream)) {
		result = worker_host_lasting(request->id, &lasting, &data);
		return result ? result : worker_driver.cuLaunchHostFunc(stream, lasting, data);
	}
	function = calloc(1, sizeof(*function));
	if (!function)
		return CUDA_ERROR_OUT_OF_MEMORY;
	function->id = request->id;
	pthread_mutex_lock(&host.lock);
	function->next = host.first;
	host.first = function;
	__atomic_add_fetch(&host.outstanding, 1, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&host.lock);
	worker_step_back(call);
	result = worker_driver.cuLaunchHostFunc(stream, host_call, function);
	if (result) {
		pthread_mutex_lock(&host.lock);
		host_remove(function);
		pthread_mutex_unlock(&host.lock);
	}
	return result;
}

CUresult worker_host_function_done(struct worker_call *call,
				   const struct wire_host_function_done_request *request)
{
	struct host_function *function;

	(void)call;
	pthread_mutex_lock(&host.lock);
	for (function = host.first; function; function = function->next)
		if (function->id == request->id)
			function->done = true;
	pthread_cond_broadcast(&host.done);
	pthread_mutex_unlock(&host.lock);
	return CUDA_SUCCESS;
}
