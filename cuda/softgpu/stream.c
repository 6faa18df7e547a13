/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream: queues of work, and the threads that run it.
 *
 * A stream counts tasks submitted and tasks completed. A point (stream, count) means "after that
 * work" and is reached once completed is at least count; counts outlive the stream (object.c), so a
 * point never dangles. Everything that orders work is a point: events, waits for them, and the
 * legacy default stream, whose tasks wait for all blocking streams and which all those wait for.
 *
 * A task is run by whoever comes first: the stream's own thread, which starts with the first task
 * nobody waits for and sleeps when there is none, or a thread that waits for the stream. So a
 * synchronous copy on an idle stream runs in the caller, without a switch.
 *
 * Locks: stream_lock over all queues and counts; never held while a task runs. Two condition
 * variables: a stream's own (work has come) and progress (something completed), signalled only
 * while somebody waits for it.
 *
 * States of a stream: open (has a handle) -> closing (no handle, what is queued drains) -> gone.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "cuda/softgpu/driver.h"
#include "cuda/softgpu/graph.h"

#define THREAD_STACK_BYTES (512u << 10)

static pthread_mutex_t stream_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t progress = PTHREAD_COND_INITIALIZER;
static unsigned int progress_waiters; /* protected by stream_lock */
static unsigned int running_tasks;    /* likewise */
static uint64_t next_stream_id = 1;   /* protected by stream_lock */
static __thread bool in_callback;
static __thread struct stream *own_default; /* of this thread, see stream_of_thread() */
static __thread struct context *own_default_context;
static __thread uint64_t own_default_id;

bool thread_in_callback(void)
{
	return in_callback;
}

static void wait_for_progress(void)
{
	progress_waiters++;
	pthread_cond_wait(&progress, &stream_lock);
	progress_waiters--;
}

static bool reached(const struct point *point)
{
	return point->stream->completed >= point->count;
}

static bool head_ready(const struct stream *stream)
{
	const struct task *task = stream->head;

	if (!task || stream->running)
		return false;
	for (size_t i = 0; i < task->wait_count; i++) {
		if (!reached(&task->waits[i]))
			return false;
	}
	return true;
}

/* Takes the stream off its context and gives the handle's slot back; nothing is queued. */
static void stream_end(struct stream *stream)
{
	struct stream **link = &stream->context->streams;

	while (*link && *link != stream)
		link = &(*link)->next;
	if (*link)
		*link = stream->next;
	pthread_cond_destroy(&stream->work);
	object_destroy(OBJECT_STREAM, stream);
	if (progress_waiters)
		pthread_cond_broadcast(&progress);
}

/* Runs the ready head of the queue; the lock is dropped meanwhile. */
static void run_head(struct stream *stream)
{
	struct task *task = stream->head;
	CUresult result = CUDA_SUCCESS;

	stream->running = true;
	running_tasks++;
	pthread_mutex_unlock(&stream_lock);
	if (!task->context->failure || task->always)
		result = task->run(task);
	if (result != CUDA_SUCCESS)
		context_fail(task->context, result);
	pthread_mutex_lock(&stream_lock);
	stream->running = false;
	running_tasks--;
	stream->head = task->next;
	if (!stream->head)
		stream->tail = &stream->head;
	stream->queued--;
	stream->completed = task->count;
	if (progress_waiters)
		pthread_cond_broadcast(&progress);
	free(task->waits);
	free(task);
}

static void *executor_main(void *argument)
{
	struct stream *stream = argument;

	pthread_mutex_lock(&stream_lock);
	for (;;) {
		if (head_ready(stream))
			run_head(stream);
		else if (stream->head)
			wait_for_progress();
		else if (stream->closing)
			break;
		else
			pthread_cond_wait(&stream->work, &stream_lock);
	}
	stream->threaded = false;
	stream_end(stream);
	pthread_mutex_unlock(&stream_lock);
	return NULL;
}

/* Caller holds the lock. Signals are the program's business, not this thread's. */
static bool start_thread(struct stream *stream)
{
	sigset_t all, before;
	pthread_attr_t attributes;
	pthread_t thread;
	int error;

	if (stream->threaded)
		return true;
	sigfillset(&all);
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&thread, &attributes, executor_main, stream);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	stream->threaded = error == 0;
	return stream->threaded;
}

static bool pending(const struct stream *stream)
{
	return stream->completed < stream->submitted;
}

/* Whether work of @stream comes after work of @other, by the legacy default stream's rules. */
static bool ordered_after(const struct stream *stream, const struct stream *other)
{
	if (stream == other || stream->kind == STREAM_NON_BLOCKING ||
	    other->kind == STREAM_NON_BLOCKING)
		return false;
	return stream->kind == STREAM_LEGACY || other->kind == STREAM_LEGACY;
}

/* Fills the task's waits; caller holds the lock. */
static bool collect_waits(const struct stream *stream, struct task *task, const struct point *extra)
{
	size_t count = extra && !reached(extra) ? 1 : 0;
	struct stream *other;

	for (other = stream->context->streams; other; other = other->next)
		count += ordered_after(stream, other) && pending(other);
	task->wait_count = 0;
	task->waits = NULL;
	if (count == 0)
		return true;
	task->waits = malloc(count * sizeof(*task->waits));
	if (!task->waits)
		return false;
	if (extra && !reached(extra))
		task->waits[task->wait_count++] = *extra;
	for (other = stream->context->streams; other; other = other->next) {
		if (ordered_after(stream, other) && pending(other))
			task->waits[task->wait_count++] = (struct point){ other, other->submitted };
	}
	return true;
}

/* Caller holds the lock; runs what it can of that stream itself. */
static void wait_locked(const struct point *point)
{
	while (!reached(point)) {
		if (head_ready(point->stream))
			run_head(point->stream);
		else
			wait_for_progress();
	}
}

CUresult stream_submit(struct stream *stream, struct task *task, const struct point *extra,
		       bool wait)
{
	struct context *context = stream->context;
	struct point end = { .stream = stream };
	CUresult captured =
		capture_active(stream) ? capture_refuse(stream) : capture_implicit(stream);

	if (captured) { /* what can be a node has become one before it came here */
		free(task);
		return captured;
	}
	task->context = context;
	task->next = NULL;
	pthread_mutex_lock(&stream_lock);
	while (stream->queued >= STREAM_QUEUE_MAX)
		wait_for_progress();
	if (!collect_waits(stream, task, extra) || (!wait && !start_thread(stream))) {
		pthread_mutex_unlock(&stream_lock);
		free(task->waits);
		free(task);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	task->count = ++stream->submitted;
	end.count = task->count;
	*stream->tail = task;
	stream->tail = &task->next;
	stream->queued++;
	if (wait)
		wait_locked(&end);
	else
		pthread_cond_signal(&stream->work);
	pthread_mutex_unlock(&stream_lock);
	return wait ? (CUresult)context->failure : CUDA_SUCCESS;
}

bool stream_idle(struct stream *stream)
{
	bool idle;

	pthread_mutex_lock(&stream_lock);
	idle = !pending(stream);
	for (struct stream *other = stream->context->streams; other && idle; other = other->next)
		idle = !ordered_after(stream, other) || !pending(other);
	pthread_mutex_unlock(&stream_lock);
	return idle;
}

struct point stream_last(struct stream *stream)
{
	struct point point = { .stream = stream };

	pthread_mutex_lock(&stream_lock);
	point.count = stream->submitted;
	pthread_mutex_unlock(&stream_lock);
	return point;
}

bool point_reached(const struct point *point)
{
	bool result;

	pthread_mutex_lock(&stream_lock);
	result = reached(point);
	pthread_mutex_unlock(&stream_lock);
	return result;
}

void point_wait(const struct point *point)
{
	pthread_mutex_lock(&stream_lock);
	wait_locked(point);
	pthread_mutex_unlock(&stream_lock);
}

/* One stream of the context with work submitted up to now unfinished, or NULL. */
static struct stream *find_pending(const struct context *context)
{
	for (struct stream *stream = context->streams; stream; stream = stream->next) {
		if (pending(stream))
			return stream;
	}
	return NULL;
}

void context_drain(struct context *context)
{
	struct stream *stream;

	pthread_mutex_lock(&stream_lock);
	while ((stream = find_pending(context))) {
		struct point end = { stream, stream->submitted };

		wait_locked(&end);
	}
	pthread_mutex_unlock(&stream_lock);
	context_print_flush(context);
}

void streams_drain_all(void)
{
	struct context *context = NULL;

	while ((context = object_next(OBJECT_CONTEXT, context)))
		context_drain(context);
}

CUresult streams_still(CUresult (*function)(void *), void *argument)
{
	CUresult result;

	pthread_mutex_lock(&stream_lock);
	/* Nothing is kept from beginning meanwhile: what runs may be waiting for it. */
	while (running_tasks)
		wait_for_progress();
	result = function(argument);
	pthread_mutex_unlock(&stream_lock);
	return result;
}

struct stream *stream_create(struct context *context, enum stream_kind kind, unsigned int flags,
			     int priority)
{
	struct stream *stream = object_create(OBJECT_STREAM);

	if (!stream)
		return NULL;
	stream->context = context;
	stream->kind = kind;
	stream->flags = flags;
	stream->priority = priority;
	stream->tail = &stream->head;
	pthread_cond_init(&stream->work, NULL);
	pthread_mutex_lock(&stream_lock);
	stream->id = next_stream_id++;
	stream->next = context->streams;
	context->streams = stream;
	pthread_mutex_unlock(&stream_lock);
	return stream;
}

/* The handle is gone; what is queued drains. */
static void stream_close(struct stream *stream)
{
	capture_stream_closed(stream);
	pthread_mutex_lock(&stream_lock);
	stream->closing = true;
	if (stream->threaded) {
		pthread_cond_signal(&stream->work);
	} else {
		struct point end = { stream, stream->submitted };

		wait_locked(&end);
		stream_end(stream);
	}
	pthread_mutex_unlock(&stream_lock);
}

/* Closes all streams of a drained context and waits until their threads have gone. */
void context_streams_close(struct context *context)
{
	pthread_mutex_lock(&stream_lock);
	for (;;) {
		struct stream *stream = context->streams;

		while (stream && stream->closing)
			stream = stream->next;
		if (!stream)
			break;
		stream->closing = true;
		if (stream->threaded)
			pthread_cond_signal(&stream->work);
		else
			stream_end(stream);
	}
	while (context->streams)
		wait_for_progress();
	pthread_mutex_unlock(&stream_lock);
	context->legacy = NULL;
}

/* ---- handles ---- */

static bool stream_usable(const struct stream *stream)
{
	return object_valid(OBJECT_STREAM, stream) && !stream->closing;
}

static pthread_once_t own_default_once = PTHREAD_ONCE_INIT;
static pthread_key_t own_default_key;

static void thread_ended(void *stream)
{
	if (stream == own_default && stream_usable(stream) && own_default->id == own_default_id)
		stream_close(stream);
}

static void make_own_default_key(void)
{
	pthread_key_create(&own_default_key, thread_ended);
}

/*
 * The calling thread's own default stream in that context: a blocking stream made at first use. A
 * thread remembers the one it used last; going back to another context makes another stream, which
 * is allowed, as it is drained first.
 */
static CUresult stream_of_thread(struct context *context, struct stream **stream)
{
	pthread_once(&own_default_once, make_own_default_key);
	if (own_default && own_default_context == context && stream_usable(own_default) &&
	    own_default->id == own_default_id) {
		*stream = own_default;
		return CUDA_SUCCESS;
	}
	if (own_default && stream_usable(own_default) && own_default->id == own_default_id)
		stream_close(own_default);
	own_default = stream_create(context, STREAM_BLOCKING, CU_STREAM_DEFAULT, 0);
	if (!own_default)
		return CUDA_ERROR_OUT_OF_MEMORY;
	own_default_context = context;
	own_default_id = own_default->id;
	pthread_setspecific(own_default_key, own_default); /* so that the thread's end closes it */
	*stream = own_default;
	return CUDA_SUCCESS;
}

CUresult stream_resolve(CUstream handle, struct stream **stream)
{
	struct context *context;
	CUresult result = context_enter(&context);

	if (result != CUDA_SUCCESS)
		return result;
	if (!handle || handle == CU_STREAM_LEGACY) {
		*stream = context->legacy;
		return CUDA_SUCCESS;
	}
	if (handle == CU_STREAM_PER_THREAD)
		return stream_of_thread(context, stream);
	if (!stream_usable((struct stream *)handle))
		return CUDA_ERROR_INVALID_HANDLE;
	*stream = (struct stream *)handle;
	if ((*stream)->context->failure)
		return (CUresult)(*stream)->context->failure;
	return CUDA_SUCCESS;
}

/* ---- the driver's functions ---- */

static CUresult stream_new(CUstream *handle, unsigned int flags, int priority)
{
	struct context *context;
	struct stream *stream;
	CUresult result = context_enter(&context);

	if (result != CUDA_SUCCESS)
		return result;
	if (!handle || flags > CU_STREAM_NON_BLOCKING)
		return CUDA_ERROR_INVALID_VALUE;
	stream = stream_create(context, flags ? STREAM_NON_BLOCKING : STREAM_BLOCKING, flags,
			       priority);
	if (!stream)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*handle = (CUstream)stream;
	return CUDA_SUCCESS;
}

CUresult cuStreamCreate(CUstream *phStream, unsigned int Flags)
{
	return stream_new(phStream, Flags, 0);
}

/* Priorities are kept and reported, clamped to the range; all streams share the cores alike. */
CUresult cuStreamCreateWithPriority(CUstream *phStream, unsigned int flags, int priority)
{
	int clamped = priority > 0 ? 0 : priority;

	return stream_new(phStream, flags, clamped < -5 ? -5 : clamped);
}

CUresult cuStreamDestroy_v2(CUstream hStream)
{
	CUresult result = driver_ready();

	if (result != CUDA_SUCCESS)
		return result;
	if (!stream_usable((struct stream *)hStream) ||
	    ((struct stream *)hStream)->kind == STREAM_LEGACY)
		return CUDA_ERROR_INVALID_HANDLE;
	stream_close((struct stream *)hStream);
	return CUDA_SUCCESS;
}

CUresult cuStreamDestroy(CUstream hStream)
{
	return cuStreamDestroy_v2(hStream);
}

CUresult cuStreamGetPriority(CUstream hStream, int *priority)
{
	struct stream *stream;
	CUresult result = stream_resolve(hStream, &stream);

	if (result == CUDA_SUCCESS && !priority)
		result = CUDA_ERROR_INVALID_VALUE;
	if (result == CUDA_SUCCESS)
		*priority = stream->priority;
	return result;
}

CUresult cuStreamGetFlags(CUstream hStream, unsigned int *flags)
{
	struct stream *stream;
	CUresult result = stream_resolve(hStream, &stream);

	if (result == CUDA_SUCCESS && !flags)
		result = CUDA_ERROR_INVALID_VALUE;
	if (result == CUDA_SUCCESS)
		*flags = stream->flags;
	return result;
}

CUresult cuStreamGetId(CUstream hStream, unsigned long long *streamId)
{
	struct stream *stream;
	CUresult result = stream_resolve(hStream, &stream);

	if (result == CUDA_SUCCESS && !streamId)
		result = CUDA_ERROR_INVALID_VALUE;
	if (result == CUDA_SUCCESS)
		*streamId = stream->id;
	return result;
}

CUresult cuStreamGetDevice(CUstream hStream, CUdevice *device)
{
	struct stream *stream;
	CUresult result = stream_resolve(hStream, &stream);

	if (result == CUDA_SUCCESS && !device)
		result = CUDA_ERROR_INVALID_VALUE;
	if (result == CUDA_SUCCESS)
		*device = stream->context->device;
	return result;
}

CUresult cuStreamGetCtx(CUstream hStream, CUcontext *pctx)
{
	struct stream *stream;
	CUresult result = stream_resolve(hStream, &stream);

	if (result == CUDA_SUCCESS && !pctx)
		result = CUDA_ERROR_INVALID_VALUE;
	if (result == CUDA_SUCCESS)
		*pctx = (CUcontext)stream->context;
	return result;
}

CUresult cuStreamGetCtx_v2(CUstream hStream, CUcontext *pCtx, CUgreenCtx *pGreenCtx)
{
	CUresult result = cuStreamGetCtx(hStream, pCtx);

	if (result == CUDA_SUCCESS && pGreenCtx)
		*pGreenCtx = NULL;
	return result;
}

/*
 * What stands before a synchronisation of the stream: its own work, and for the legacy stream that
 * of all blocking ones, as a task in it would have to wait for those. Caller holds the lock.
 */
static struct stream *find_before(struct stream *stream)
{
	if (pending(stream))
		return stream;
	if (stream->kind != STREAM_LEGACY)
		return NULL;
	for (struct stream *other = stream->context->streams; other; other = other->next) {
		if (ordered_after(stream, other) && pending(other))
			return other;
	}
	return NULL;
}

CUresult cuStreamQuery(CUstream hStream)
{
	struct stream *stream;
	CUresult result = stream_resolve(hStream, &stream);
	bool done;

	if (result == CUDA_SUCCESS)
		result = capture_active(stream) ? capture_refuse(stream) : capture_implicit(stream);
	if (result != CUDA_SUCCESS)
		return result;
	pthread_mutex_lock(&stream_lock);
	done = !find_before(stream);
	pthread_mutex_unlock(&stream_lock);
	if (!done)
		return CUDA_ERROR_NOT_READY;
	context_print_flush(stream->context);
	return (CUresult)stream->context->failure;
}

CUresult cuStreamSynchronize(CUstream hStream)
{
	struct context *context;
	struct stream *stream;
	struct stream *before;
	CUresult result = stream_resolve(hStream, &stream);

	if (result == CUDA_SUCCESS)
		result = capture_active(stream) ? capture_refuse(stream) : capture_implicit(stream);
	if (result != CUDA_SUCCESS)
		return result;
	context = stream->context;
	pthread_mutex_lock(&stream_lock);
	while ((before = find_before(stream))) {
		struct point end = { before, before->submitted };

		wait_locked(&end);
	}
	pthread_mutex_unlock(&stream_lock);
	context_print_flush(context);
	return (CUresult)context->failure;
}

/* ---- host functions ---- */

struct host_task {
	struct task task;
	CUhostFn function;
	CUstreamCallback callback;
	CUstream handle;
	void *data;
};

void host_call(CUhostFn function, void *data)
{
	in_callback = true;
	function(data);
	in_callback = false;
}

static CUresult run_host(struct task *task)
{
	struct host_task *host = (struct host_task *)task;

	if (!host->callback) {
		host_call(host->function, host->data);
		return CUDA_SUCCESS;
	}
	in_callback = true;
	host->callback(host->handle, (CUresult)task->context->failure, host->data);
	in_callback = false;
	return CUDA_SUCCESS;
}

static CUresult submit_host(CUstream handle, CUhostFn function, CUstreamCallback callback,
			    void *data)
{
	struct stream *stream;
	struct host_task *host;
	CUresult result = stream_resolve(handle, &stream);

	if (result != CUDA_SUCCESS)
		return result;
	if (capture_active(stream) && function) {
		struct body body = { .type = CU_GRAPH_NODE_TYPE_HOST,
				     .context = stream->context,
				     .host = { .fn = function, .userData = data } };

		return capture_add(stream, &body);
	}
	host = calloc(1, sizeof(*host));
	if (!host)
		return CUDA_ERROR_OUT_OF_MEMORY;
	host->task.run = run_host;
	host->task.always = callback != NULL; /* a callback is told of the error */
	host->function = function;
	host->callback = callback;
	host->handle = handle;
	host->data = data;
	return stream_submit(stream, &host->task, NULL, false);
}

CUresult cuLaunchHostFunc(CUstream hStream, CUhostFn fn, void *userData)
{
	if (!fn)
		return CUDA_ERROR_INVALID_VALUE;
	return submit_host(hStream, fn, NULL, userData);
}

CUresult cuStreamAddCallback(CUstream hStream, CUstreamCallback callback, void *userData,
			     unsigned int flags)
{
	if (!callback || flags != 0)
		return CUDA_ERROR_INVALID_VALUE;
	return submit_host(hStream, NULL, callback, userData);
}

/* ---- attributes: there are none, and programs may ask ---- */

CUresult cuStreamCopyAttributes(CUstream dst, CUstream src)
{
	struct stream *stream;
	CUresult result = stream_resolve(dst, &stream);

	return result == CUDA_SUCCESS ? stream_resolve(src, &stream) : result;
}
