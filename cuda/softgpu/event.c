/* SPDX-License-Identifier: Apache-2.0 */
/*
 * event: marks in streams. An event is the point behind the work that its stream had when it was
 * recorded last; a record on a busy stream also queues a task that notes the time.
 *
 * An event that other processes may open has its state in shared memory instead (ipc_event.c), and
 * no time.
 *
 * The time belongs to one record: a task whose record was overtaken by a later one writes nothing.
 * Locks: event_lock over the fields below; graph_lock is taken under it, and no other.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cuda/softgpu/driver.h"
#include "cuda/softgpu/graph.h"

struct event {
	struct object object;
	uint64_t records; /* persists: a late task must not take a new event for its own */
	struct context *context;
	unsigned int flags;
	struct ipc_event
		*shared; /* NULL: this process's alone; else its record, not the point, counts */
	bool recorded;
	struct point point;
	uint64_t time_ns;
	struct capture_mark
		mark; /* .id not 0: it was recorded last in a stream that was captured */
};

static pthread_mutex_t event_lock = PTHREAD_MUTEX_INITIALIZER;

size_t event_bytes(void)
{
	return sizeof(struct event);
}

size_t event_persists(void)
{
	return offsetof(struct event, context);
}

struct event_task {
	struct task task;
	struct event *event;
	uint64_t record;
};

/* A record of an event of several processes, or a wait for one. */
struct shared_task {
	struct task task;
	struct ipc_event *event;
	uint32_t record;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static CUresult event_of(CUevent handle, struct event **event)
{
	CUresult result = driver_ready();

	if (result != CUDA_SUCCESS)
		return result;
	if (!object_valid(OBJECT_EVENT, handle))
		return CUDA_ERROR_INVALID_HANDLE;
	*event = (struct event *)handle;
	return CUDA_SUCCESS;
}

CUresult cuEventCreate(CUevent *phEvent, unsigned int Flags)
{
	struct context *context;
	struct event *event;
	CUresult result = context_enter(&context);

	if (result != CUDA_SUCCESS)
		return result;
	if (!phEvent ||
	    Flags & ~(CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS))
		return CUDA_ERROR_INVALID_VALUE;
	if (Flags & CU_EVENT_INTERPROCESS && !(Flags & CU_EVENT_DISABLE_TIMING))
		return CUDA_ERROR_INVALID_VALUE;
	event = object_create(OBJECT_EVENT);
	if (!event)
		return CUDA_ERROR_OUT_OF_MEMORY;
	if (Flags & CU_EVENT_INTERPROCESS && !(event->shared = ipc_event_make())) {
		object_destroy(OBJECT_EVENT, event);
		return CUDA_ERROR_OPERATING_SYSTEM;
	}
	event->context = context;
	event->flags = Flags;
	*phEvent = (CUevent)event;
	return CUDA_SUCCESS;
}

CUresult cuIpcGetEventHandle(CUipcEventHandle *pHandle, CUevent event)
{
	struct event *found;
	CUresult result = event_of(event, &found);

	if (result)
		return result;
	if (!pHandle)
		return CUDA_ERROR_INVALID_VALUE;
	if (!found->shared)
		return CUDA_ERROR_INVALID_HANDLE;
	memcpy(pHandle, ipc_event_handle(found->shared), sizeof(*pHandle));
	return CUDA_SUCCESS;
}

CUresult cuIpcOpenEventHandle(CUevent *phEvent, CUipcEventHandle handle)
{
	struct ipc_event *shared;
	struct ipc_handle known;
	struct context *context;
	struct event *event;
	CUresult result = context_enter(&context);

	if (result)
		return result;
	if (!phEvent)
		return CUDA_ERROR_INVALID_VALUE;
	memcpy(&known, &handle, sizeof(known));
	result = ipc_event_open(&known, &shared);
	if (result)
		return result;
	event = object_create(OBJECT_EVENT);
	if (!event) {
		ipc_event_drop(shared);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	event->context = context;
	event->flags = CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS;
	event->shared = shared;
	*phEvent = (CUevent)event;
	return CUDA_SUCCESS;
}

static void event_end(struct event *event)
{
	pthread_mutex_lock(&event_lock);
	event->records++;
	capture_unmark(&event->mark);
	pthread_mutex_unlock(&event_lock);
	ipc_event_drop(event->shared);
	object_destroy(OBJECT_EVENT, event);
}

CUresult cuEventDestroy_v2(CUevent hEvent)
{
	struct event *event;
	CUresult result = event_of(hEvent, &event);

	if (result == CUDA_SUCCESS)
		event_end(event);
	return result;
}

CUresult cuEventDestroy(CUevent hEvent)
{
	return cuEventDestroy_v2(hEvent);
}

void context_events_destroy(struct context *context)
{
	struct event *event = NULL;

	while ((event = object_next(OBJECT_EVENT, event))) {
		if (event->context == context)
			event_end(event);
	}
}

static CUresult run_record(struct task *task)
{
	struct event_task *record = (struct event_task *)task;

	pthread_mutex_lock(&event_lock);
	if (record->event->records == record->record)
		record->event->time_ns = now_ns();
	pthread_mutex_unlock(&event_lock);
	return CUDA_SUCCESS;
}

/* Marks the event as recorded behind @point now; returns the number of this record. */
static uint64_t event_mark(struct event *event, struct point point)
{
	uint64_t record;

	pthread_mutex_lock(&event_lock);
	record = ++event->records;
	capture_unmark(&event->mark);
	event->recorded = true;
	event->point = point;
	event->time_ns = now_ns();
	pthread_mutex_unlock(&event_lock);
	return record;
}

/* event_capture - the event stands for where a captured stream is */
static CUresult event_capture(struct event *event, const struct stream *stream)
{
	CUresult result;

	pthread_mutex_lock(&event_lock);
	result = capture_marked(stream, &event->mark);
	pthread_mutex_unlock(&event_lock);
	return result;
}

/* event_captured - whether it was last recorded in a stream that was captured */
static bool event_captured(struct event *event)
{
	bool captured;

	pthread_mutex_lock(&event_lock);
	captured = event->mark.id != 0;
	pthread_mutex_unlock(&event_lock);
	return captured;
}

bool event_usable(CUevent event)
{
	return object_valid(OBJECT_EVENT, event);
}

void event_record_now(CUevent handle)
{
	struct event *event = (struct event *)handle;

	/* What is before it has been done by this very thread. */
	if (!event_usable(handle))
		return;
	event_mark(event, (struct point){ event->context->legacy, 0 });
	if (event->shared)
		ipc_event_reach(event->shared, ipc_event_begin(event->shared));
}

/* event_external - a node that records or waits for an event that others use, too */
static CUresult event_external(struct stream *stream, CUevent event, CUgraphNodeType type)
{
	struct body body = { .type = type, .context = stream->context, .event = event };

	return capture_add(stream, &body);
}

static CUresult run_shared_record(struct task *task)
{
	struct shared_task *shared = (struct shared_task *)task;

	ipc_event_reach(shared->event, shared->record);
	ipc_event_drop(shared->event);
	return CUDA_SUCCESS;
}

static CUresult run_shared_wait(struct task *task)
{
	struct shared_task *shared = (struct shared_task *)task;

	ipc_event_wait(shared->event, shared->record);
	ipc_event_drop(shared->event);
	return CUDA_SUCCESS;
}

/* shared_submit - a record of that event, or a wait, in the stream */
static CUresult shared_submit(struct stream *stream, struct ipc_event *event, uint32_t record,
			      CUresult (*run)(struct task *))
{
	struct shared_task *task = calloc(1, sizeof(*task));
	CUresult result;

	if (!task)
		return CUDA_ERROR_OUT_OF_MEMORY;
	task->task.run = run;
	task->task.always = true;
	task->event = ipc_event_hold(event);
	task->record = record;
	result = stream_submit(stream, &task->task, NULL, false);
	if (result)
		ipc_event_drop(event);
	return result;
}

/* shared_record - who asks for the event from now on, in whatever process, means this record */
static CUresult shared_record(struct ipc_event *event, struct stream *stream)
{
	uint32_t record = ipc_event_begin(event);
	CUresult result = CUDA_SUCCESS;

	if (stream_idle(stream))
		ipc_event_reach(event, record);
	else
		result = shared_submit(stream, event, record, run_shared_record);
	if (result)
		ipc_event_reach(event, record); /* nobody must wait for it */
	return result;
}

CUresult cuEventRecord(CUevent hEvent, CUstream hStream)
{
	struct event_task *task;
	struct stream *stream;
	struct event *event;
	struct point last;
	CUresult result = event_of(hEvent, &event);

	if (result == CUDA_SUCCESS)
		result = stream_resolve(hStream, &stream);
	if (result != CUDA_SUCCESS)
		return result;
	if (event->context != stream->context)
		return CUDA_ERROR_INVALID_HANDLE;
	if (capture_active(stream))
		return event_capture(event, stream);
	if (event->shared)
		return shared_record(event->shared, stream);
	last = stream_last(stream);
	if (stream_idle(stream)) {
		event_mark(event, last);
		return CUDA_SUCCESS;
	}
	task = calloc(1, sizeof(*task));
	if (!task)
		return CUDA_ERROR_OUT_OF_MEMORY;
	task->task.run = run_record;
	task->task.always = true;
	task->event = event;
	/* The task is the next one of this stream, unless the program races with itself. */
	last.count++;
	task->record = event_mark(event, last);
	return stream_submit(stream, &task->task, NULL, false);
}

CUresult cuEventRecordWithFlags(CUevent hEvent, CUstream hStream, unsigned int flags)
{
	if (flags & ~(unsigned int)CU_EVENT_RECORD_EXTERNAL)
		return CUDA_ERROR_INVALID_VALUE;
	if (flags & CU_EVENT_RECORD_EXTERNAL) {
		struct stream *stream;
		struct event *event;
		CUresult result = event_of(hEvent, &event);

		if (result == CUDA_SUCCESS)
			result = stream_resolve(hStream, &stream);
		if (result != CUDA_SUCCESS)
			return result;
		if (capture_active(stream))
			return event_external(stream, hEvent, CU_GRAPH_NODE_TYPE_EVENT_RECORD);
	}
	return cuEventRecord(hEvent, hStream);
}

/* The point of the last record; false where there was none. */
static bool event_point(struct event *event, struct point *point)
{
	bool recorded;

	pthread_mutex_lock(&event_lock);
	recorded = event->recorded;
	*point = event->point;
	pthread_mutex_unlock(&event_lock);
	return recorded;
}

CUresult cuEventQuery(CUevent hEvent)
{
	struct event *event;
	struct point point;
	CUresult result = event_of(hEvent, &event);

	if (result != CUDA_SUCCESS)
		return result;
	if (event_captured(event))
		return CUDA_ERROR_CAPTURED_EVENT;
	if (event->shared && !ipc_event_reached(event->shared, ipc_event_last(event->shared)))
		return CUDA_ERROR_NOT_READY;
	if (event_point(event, &point) && !point_reached(&point))
		return CUDA_ERROR_NOT_READY;
	return (CUresult)event->context->failure;
}

CUresult cuEventSynchronize(CUevent hEvent)
{
	struct event *event;
	struct point point;
	CUresult result = event_of(hEvent, &event);

	if (result != CUDA_SUCCESS)
		return result;
	if (event_captured(event))
		return CUDA_ERROR_CAPTURED_EVENT;
	if (event->shared)
		ipc_event_wait(event->shared, ipc_event_last(event->shared));
	else if (event_point(event, &point))
		point_wait(&point);
	context_print_flush(event->context);
	return (CUresult)event->context->failure;
}

CUresult cuEventElapsedTime_v2(float *pMilliseconds, CUevent hStart, CUevent hEnd)
{
	struct event *events[2];
	uint64_t times[2];
	CUresult result = event_of(hStart, &events[0]);

	if (result == CUDA_SUCCESS)
		result = event_of(hEnd, &events[1]);
	if (result != CUDA_SUCCESS)
		return result;
	if (!pMilliseconds)
		return CUDA_ERROR_INVALID_VALUE;
	for (int i = 0; i < 2; i++) {
		struct point point;

		if (!event_point(events[i], &point) || events[i]->flags & CU_EVENT_DISABLE_TIMING)
			return CUDA_ERROR_INVALID_HANDLE;
		if (events[i]->context->failure)
			return (CUresult)events[i]->context->failure;
		if (!point_reached(&point))
			return CUDA_ERROR_NOT_READY;
		pthread_mutex_lock(&event_lock);
		times[i] = events[i]->time_ns;
		pthread_mutex_unlock(&event_lock);
	}
	*pMilliseconds = (float)((double)(int64_t)(times[1] - times[0]) / 1e6);
	return CUDA_SUCCESS;
}

CUresult cuEventElapsedTime(float *pMilliseconds, CUevent hStart, CUevent hEnd)
{
	return cuEventElapsedTime_v2(pMilliseconds, hStart, hEnd);
}

void event_wait_now(CUevent handle)
{
	struct event *event = (struct event *)handle;
	struct point point;

	if (!event_usable(handle))
		return;
	if (event->shared)
		ipc_event_wait(event->shared, ipc_event_last(event->shared));
	else if (event_point(event, &point))
		point_wait(&point);
}

/* event_join - the stream goes on behind what the event stands for in a capture */
static CUresult event_join(struct event *event, struct stream *stream)
{
	CUresult result;

	pthread_mutex_lock(&event_lock);
	result = capture_join(stream, &event->mark);
	pthread_mutex_unlock(&event_lock);
	return result;
}

static CUresult run_nothing(struct task *task)
{
	(void)task;
	return CUDA_SUCCESS;
}

CUresult cuStreamWaitEvent(CUstream hStream, CUevent hEvent, unsigned int Flags)
{
	struct stream *stream;
	struct event *event;
	struct point point;
	struct task *task;
	CUresult result = event_of(hEvent, &event);

	if (result == CUDA_SUCCESS)
		result = stream_resolve(hStream, &stream);
	if (result != CUDA_SUCCESS)
		return result;
	if (Flags & ~(unsigned int)CU_EVENT_WAIT_EXTERNAL)
		return CUDA_ERROR_INVALID_VALUE;
	if (capture_active(stream) && Flags & CU_EVENT_WAIT_EXTERNAL)
		return event_external(stream, hEvent, CU_GRAPH_NODE_TYPE_WAIT_EVENT);
	if (event_captured(event))
		return event_join(event, stream);
	if (capture_active(stream)) { /* from outside the capture */
		capture_refuse(stream);
		return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
	}
	if (event->shared) {
		uint32_t record = ipc_event_last(event->shared);

		return ipc_event_reached(event->shared, record)
			       ? CUDA_SUCCESS
			       : shared_submit(stream, event->shared, record, run_shared_wait);
	}
	if (!event_point(event, &point) || point.stream == stream || point_reached(&point))
		return CUDA_SUCCESS;
	task = calloc(1, sizeof(*task));
	if (!task)
		return CUDA_ERROR_OUT_OF_MEMORY;
	task->run = run_nothing;
	return stream_submit(stream, task, &point, false);
}
