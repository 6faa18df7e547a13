/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host functions: the program's functions that a stream calls in its order.
 *
 * A lasting entry belongs to a node of a graph: each time the node runs, the worker asks with the
 * entry's number below and the run's above bit 32, and a copy of the entry runs. It stays as long
 * as the process, as graphs may be copied.
 *
 * states of one entry: issued (request sent) -> arrived (the worker asks) -> running -> gone.
 * callback_lock protects the list and the counters; it is taken after call.c's wait_lock.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "cuda/client/callback.h"
#include "cuda/client/client.h"

#define WORK_WHILE_OUTSTANDING 256u /* requests that may be queued behind a host function */

struct callback {
	struct callback *next;
	uint64_t id;
	CUhostFn function;
	CUstreamCallback callback;
	CUstream stream;
	void *data;
	bool arrived;
	bool lasting; /* runs any number of times */
};

static struct {
	pthread_mutex_t lock; /* callback_lock */
	pthread_cond_t quiet; /* signalled when outstanding reaches 0 or the client is lost */
	struct callback *first, **last;
	unsigned int outstanding; /* atomic for reading */
	unsigned int arrived;	  /* atomic for reading */
	unsigned int work;	  /* requests without reply since the last quiet moment */
	uint64_t ids;
	bool started;
} callbacks = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.quiet = PTHREAD_COND_INITIALIZER,
	.last = &callbacks.first,
};

/* Waited on with call.c's wait_lock. */
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;

/* The thread that runs them: it must not wait for itself. */
static __thread bool inside;

void client_callback_sleep(pthread_mutex_t *lock)
{
	pthread_cond_wait(&wake, lock);
}

void client_callback_wake(void)
{
	pthread_cond_broadcast(&wake);
	if (__atomic_load_n(&client.state, __ATOMIC_ACQUIRE) == CLIENT_LOST) {
		pthread_mutex_lock(&callbacks.lock);
		pthread_cond_broadcast(&callbacks.quiet);
		pthread_mutex_unlock(&callbacks.lock);
	}
}

/* callback_again - a lasting entry's copy, for one run; under the lock */
static struct callback *callback_again(const struct callback *lasting, uint64_t id)
{
	struct callback *copy = malloc(sizeof(*copy));

	if (!copy)
		return NULL;
	*copy = *lasting;
	copy->next = NULL;
	copy->id = id;
	copy->lasting = false;
	*callbacks.last = copy;
	callbacks.last = &copy->next;
	__atomic_add_fetch(&callbacks.outstanding, 1, __ATOMIC_RELEASE);
	return copy;
}

int client_callback_arrived(uint64_t id)
{
	struct callback *callback;

	pthread_mutex_lock(&callbacks.lock);
	for (callback = callbacks.first; callback && callback->id != id; callback = callback->next)
		if (callback->lasting && callback->id == (uint32_t)id) {
			callback = callback_again(callback, id);
			break;
		}
	if (callback && !callback->arrived) {
		callback->arrived = true;
		__atomic_add_fetch(&callbacks.arrived, 1, __ATOMIC_RELEASE);
	} else {
		callback = NULL;
	}
	pthread_mutex_unlock(&callbacks.lock);
	return callback ? 0 : -EPROTO;
}

CUresult client_callback_find(uint64_t id, CUhostFn *function, void **data)
{
	const struct callback *callback;

	pthread_mutex_lock(&callbacks.lock);
	for (callback = callbacks.first; callback && callback->id != id; callback = callback->next)
		;
	if (callback) {
		*function = callback->function;
		*data = callback->data;
	}
	pthread_mutex_unlock(&callbacks.lock);
	return callback ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static bool callback_wanted(void)
{
	return __atomic_load_n(&callbacks.arrived, __ATOMIC_ACQUIRE) != 0 ||
	       __atomic_load_n(&client.state, __ATOMIC_ACQUIRE) != CLIENT_READY;
}

/* callback_take - unlink the first that has arrived, or NULL */
static struct callback *callback_take(void)
{
	struct callback **at = &callbacks.first, *callback;

	pthread_mutex_lock(&callbacks.lock);
	while (*at && !(*at)->arrived)
		at = &(*at)->next;
	callback = *at;
	if (callback) {
		*at = callback->next;
		if (callbacks.last == &callback->next)
			callbacks.last = at;
		__atomic_sub_fetch(&callbacks.arrived, 1, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&callbacks.lock);
	return callback;
}

/* callback_end - one less outstanding; the last one makes it quiet */
static void callback_end(void)
{
	pthread_mutex_lock(&callbacks.lock);
	if (!__atomic_sub_fetch(&callbacks.outstanding, 1, __ATOMIC_RELEASE)) {
		callbacks.work = 0;
		pthread_cond_broadcast(&callbacks.quiet);
	}
	pthread_mutex_unlock(&callbacks.lock);
}

/* The thread: run what arrived, tell the worker, and read the link in between. */
static void *callback_thread(void *unused)
{
	(void)unused;
	inside = true;
	for (;;) {
		struct callback *callback;

		if (client_call_read_idle(callback_wanted) ||
		    __atomic_load_n(&client.state, __ATOMIC_ACQUIRE) != CLIENT_READY)
			return NULL;
		while ((callback = callback_take())) {
			if (callback->callback)
				callback->callback(callback->stream, CUDA_SUCCESS, callback->data);
			else
				callback->function(callback->data);
			client_send_host_function_done(callback->id);
			callback_end();
			free(callback);
		}
	}
}

/* callback_start - the thread, with every signal blocked; under the lock */
static int callback_start(void)
{
	sigset_t all, before;
	pthread_t thread;
	int error;

	if (callbacks.started)
		return 0;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&thread, NULL, callback_thread, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error)
		return -error;
	pthread_detach(thread);
	callbacks.started = true;
	return 0;
}

/* callback_forget - unlink and free an entry that the worker refused; false: it has arrived since
 */
static bool callback_forget(struct callback *entry)
{
	struct callback **at = &callbacks.first;

	pthread_mutex_lock(&callbacks.lock);
	while (*at && *at != entry)
		at = &(*at)->next;
	if (*at && !entry->arrived) {
		*at = entry->next;
		if (callbacks.last == &entry->next)
			callbacks.last = at;
	} else {
		entry = NULL;
	}
	pthread_mutex_unlock(&callbacks.lock);
	free(entry);
	return entry != NULL;
}

/* callback_enter - put @entry into the list with a number; the thread runs from then on */
static int callback_enter(struct callback *entry, uint64_t *id)
{
	int error;

	pthread_mutex_lock(&callbacks.lock);
	error = callback_start();
	if (!error) {
		*id = entry->id = (uint32_t)++callbacks.ids;
		if (!entry->lasting)
			__atomic_add_fetch(&callbacks.outstanding, 1, __ATOMIC_RELEASE);
		*callbacks.last = entry;
		callbacks.last = &entry->next;
	}
	pthread_mutex_unlock(&callbacks.lock);
	return error;
}

CUresult client_callback_lasting(CUhostFn function, void *data, uint64_t *id)
{
	struct callback *entry = calloc(1, sizeof(*entry));

	if (!entry)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*entry = (struct callback){ .function = function, .data = data, .lasting = true };
	if (!callback_enter(entry, id))
		return CUDA_SUCCESS;
	free(entry);
	return CUDA_ERROR_OPERATING_SYSTEM;
}

CUresult client_callback_issue(CUstream stream, CUhostFn function, CUstreamCallback callback,
			       void *data)
{
	struct callback *entry;
	uint32_t number;
	CUresult result = client_number_stream(stream, true, &number);
	uint64_t id;
	bool lasting;
	int error;

	if (result)
		return result;
	if (!client_context_number())
		return CUDA_ERROR_INVALID_CONTEXT;
	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*entry = (struct callback){
		.function = function, .callback = callback, .stream = stream, .data = data
	};
	lasting = entry->lasting = client_capture_active(stream);
	error = callback_enter(entry, &id);
	if (error) {
		free(entry);
		return CUDA_ERROR_OPERATING_SYSTEM;
	}
	result = client_send_host_function(number, id);
	if (result && callback_forget(entry) && !lasting)
		callback_end();
	return result;
}

/* callback_dead - whether the stream of the oldest host function has failed, so it is not called */
static bool callback_dead(void)
{
	CUstream stream = NULL;
	CUresult result;

	pthread_mutex_lock(&callbacks.lock);
	if (callbacks.first)
		stream = callbacks.first->stream;
	pthread_mutex_unlock(&callbacks.lock);
	result = client_cuStreamQuery(stream);
	return result != CUDA_SUCCESS && result != CUDA_ERROR_NOT_READY;
}

void client_callback_throttle(void)
{
	if (!__atomic_load_n(&callbacks.outstanding, __ATOMIC_ACQUIRE) || inside)
		return;
	pthread_mutex_lock(&callbacks.lock);
	callbacks.work++;
	while (callbacks.work > WORK_WHILE_OUTSTANDING && callbacks.outstanding &&
	       __atomic_load_n(&client.state, __ATOMIC_ACQUIRE) == CLIENT_READY) {
		struct timespec until;
		bool dead;

		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += 1;
		if (!pthread_cond_timedwait(&callbacks.quiet, &callbacks.lock, &until))
			continue;
		pthread_mutex_unlock(&callbacks.lock);
		dead = callback_dead();
		pthread_mutex_lock(&callbacks.lock);
		if (dead)
			break;
	}
	pthread_mutex_unlock(&callbacks.lock);
}
