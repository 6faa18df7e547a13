/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events, operations and workers.
 *
 * Events are numbers, never given twice. One that is pending, or came with another result than
 * COI_SUCCESS, or is a user's, has a structure here; a number without one came and was well. Of
 * those that failed the latest EVENT_FAILURES_MAX are remembered.
 */
#include "scif/coi/host/host.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "scif/coi/export.h"

#define EVENT_BUCKETS	   1024
#define EVENT_FAILURES_MAX 4096
#define EVENT_OPERATION	   1 /* opaque[1] */
#define EVENT_USER	   2
#define OBJECT_BUCKETS	   256
#define WORKERS		   2

pthread_mutex_t host_lock = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t host_changed = PTHREAD_COND_INITIALIZER;

/* An operation that waits for an event. */
struct dependency {
	SLIST_ENTRY(dependency) link;
	struct operation *operation;
};

/* A program's function that is to be called when the event came. */
struct callback {
	STAILQ_ENTRY(callback) link;
	COI_EVENT_CALLBACK function;
	const void *data;
	COIEVENT event;
	COIRESULT result;
};

STAILQ_HEAD(callback_list, callback);

struct event {
	LIST_ENTRY(event) link;
	TAILQ_ENTRY(event) failed_link;
	uint64_t id;
	bool user, done;
	COIRESULT result;
	struct operation *run; /* whose it is, when it is a run function's */
	const void *context;   /* a user's: what notifications of it are called with */
	SLIST_HEAD(, dependency) dependencies;
	struct callback_list callbacks;
};

static LIST_HEAD(, event) events[EVENT_BUCKETS];
static TAILQ_HEAD(event_list, event) failures = TAILQ_HEAD_INITIALIZER(failures);
static unsigned int failure_count;
static uint64_t event_next = 1;
static struct callback_list due = STAILQ_HEAD_INITIALIZER(due);
static LIST_HEAD(, object) objects[OBJECT_BUCKETS];
static struct operation_list work = STAILQ_HEAD_INITIALIZER(work);
static pthread_cond_t work_came = PTHREAD_COND_INITIALIZER;
static unsigned int worker_count;

static unsigned int object_bucket(const void *handle)
{
	return (unsigned int)(((uintptr_t)handle >> 4) % OBJECT_BUCKETS);
}

void object_enter(struct object *object, enum object_kind kind)
{
	object->kind = kind;
	LIST_INSERT_HEAD(&objects[object_bucket(object)], object, link);
}

void object_leave(struct object *object)
{
	LIST_REMOVE(object, link);
}

bool object_is(const void *handle, enum object_kind kind)
{
	const struct object *object;

	LIST_FOREACH(object, &objects[object_bucket(handle)], link)
	{
		if (object == handle)
			return object->kind == kind;
	}
	return false;
}

static struct event *event_find(uint64_t id)
{
	struct event *event;

	LIST_FOREACH(event, &events[id % EVENT_BUCKETS], link)
	{
		if (event->id == id)
			return event;
	}
	return NULL;
}

static struct event *event_new(bool user)
{
	struct event *event = calloc(1, sizeof(*event));

	if (!event)
		return NULL;
	event->id = event_next++;
	event->user = user;
	SLIST_INIT(&event->dependencies);
	STAILQ_INIT(&event->callbacks);
	LIST_INSERT_HEAD(&events[event->id % EVENT_BUCKETS], event, link);
	return event;
}

static void event_free(struct event *event)
{
	LIST_REMOVE(event, link);
	free(event);
}

uint64_t event_begin(void)
{
	struct event *event = event_new(false);

	return event ? event->id : 0;
}

void event_is_runs(uint64_t id, struct operation *run)
{
	struct event *event = event_find(id);

	if (event)
		event->run = run;
}

/* With the lock: somebody wants it to come. */
static void event_want(const struct event *event, bool later)
{
	if (event && !event->done && event->run)
		pipeline_want(event->run, later);
}

/* With the lock, which is given up meanwhile: who waits for it sends what has to be sent for it. */
static void event_hurry(uint64_t id)
{
	const struct event *event = event_find(id);

	if (event && !event->done && event->run)
		pipeline_hurry(event->run);
}

COIEVENT event_value(uint64_t id)
{
	return (COIEVENT){ { id, EVENT_OPERATION } };
}

/* Lets go what waited for the event, and notes whom to call. */
static void event_release(struct event *event)
{
	struct dependency *dependency;
	struct callback *callback;

	while ((dependency = SLIST_FIRST(&event->dependencies))) {
		struct operation *operation = dependency->operation;

		SLIST_REMOVE_HEAD(&event->dependencies, link);
		free(dependency);
		if (--operation->waits)
			continue;
		if (operation->ready)
			operation->ready(operation);
		else
			operation_queue(operation);
	}
	STAILQ_FOREACH(callback, &event->callbacks, link)
	{
		callback->result = event->result;
	}
	STAILQ_CONCAT(&due, &event->callbacks);
	pthread_cond_broadcast(&host_changed);
}

/* A user event that comes a second time is let be. */
static void event_come(struct event *event, COIRESULT result)
{
	if (event->done)
		return;
	event->done = true;
	event->result = result;
	event_release(event);
	if (event->user)
		return;
	if (result == COI_SUCCESS) {
		event_free(event);
		return;
	}
	TAILQ_INSERT_TAIL(&failures, event, failed_link);
	if (++failure_count > EVENT_FAILURES_MAX) {
		event = TAILQ_FIRST(&failures);
		TAILQ_REMOVE(&failures, event, failed_link);
		failure_count--;
		event_free(event);
	}
}

uint32_t event_pending(uint64_t *ids, uint32_t count)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < count; i++) {
		struct event *event = event_find(ids[i]);

		if (event && !event->done)
			ids[kept++] = ids[i];
	}
	return kept;
}

void event_finish(uint64_t id, COIRESULT result)
{
	struct event *event = event_find(id);

	if (event)
		event_come(event, result);
}

void event_calls(void)
{
	struct callback *callback;

	for (;;) {
		pthread_mutex_lock(&host_lock);
		callback = STAILQ_FIRST(&due);
		if (callback)
			STAILQ_REMOVE_HEAD(&due, link);
		pthread_mutex_unlock(&host_lock);
		if (!callback)
			return;
		callback->function(callback->event, callback->result, callback->data);
		free(callback);
	}
}

void event_signal(const COIEVENT *value, struct coiprocess *process)
{
	struct note note = { .process = NULL };
	struct event *event;

	pthread_mutex_lock(&host_lock);
	event = value->opaque[1] == EVENT_USER ? event_find(value->opaque[0]) : NULL;
	if (event && process)
		note_take(&note, process, event->context, *value);
	if (note.process) { /* it is told before the event comes */
		pthread_mutex_unlock(&host_lock);
		note_tell(&note, USER_EVENT_SIGNALED);
		pthread_mutex_lock(&host_lock);
		event = event_find(value->opaque[0]);
	}
	if (event)
		event_come(event, COI_SUCCESS);
	pthread_mutex_unlock(&host_lock);
	event_calls();
}

int operation_after(struct operation *operation, uint64_t id)
{
	struct event *event = event_find(id);
	struct dependency *dependency;

	if (!event || event->done)
		return 0;
	if (event->run && event->run->pipeline == operation->pipeline) {
		operation->ordered = true;
		return 0;
	}
	event_want(event, true);
	dependency = malloc(sizeof(*dependency));
	if (!dependency)
		return -ENOMEM;
	dependency->operation = operation;
	SLIST_INSERT_HEAD(&event->dependencies, dependency, link);
	operation->waits++;
	return 0;
}

COIRESULT operation_after_all(struct operation *operation, uint32_t count, const COIEVENT *list)
{
	if (!count != !list)
		return COI_ARGUMENT_MISMATCH;
	for (uint32_t i = 0; i < count; i++) {
		if (operation_after(operation, list[i].opaque[0]) < 0)
			return COI_OUT_OF_MEMORY;
	}
	return COI_SUCCESS;
}

static void *worker_run(void *unused)
{
	pthread_mutex_lock(&host_lock);
	for (;;) {
		struct operation *operation = STAILQ_FIRST(&work);
		uint64_t done;
		COIRESULT result;

		if (!operation) {
			pthread_cond_wait(&work_came, &host_lock);
			continue;
		}
		STAILQ_REMOVE_HEAD(&work, next);
		pthread_mutex_unlock(&host_lock);
		done = operation->done;
		result = operation->execute(operation);
		pthread_mutex_lock(&host_lock);
		event_finish(done, result);
		pthread_mutex_unlock(&host_lock);
		event_calls();
		pthread_mutex_lock(&host_lock);
	}
	return unused;
}

/* Threads of a library take no signals. */
static int worker_start(void)
{
	sigset_t all, before;
	pthread_t thread;
	int status;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	status = pthread_create(&thread, NULL, worker_run, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (status == 0)
		pthread_detach(thread);
	return -status;
}

void operation_queue(struct operation *operation)
{
	if (worker_count < WORKERS && worker_start() == 0)
		worker_count++;
	STAILQ_INSERT_TAIL(&work, operation, next);
	pthread_cond_signal(&work_came);
}

COIRESULT operation_begin(struct operation *operation, COIEVENT *completion)
{
	bool wait = !completion || completion == COI_EVENT_SYNC;
	uint64_t done = operation->done;
	COIRESULT result = COI_SUCCESS;

	if (!wait && completion != COI_EVENT_ASYNC)
		*completion = event_value(done);
	if (operation->waits == 0 && wait) {
		pthread_mutex_unlock(&host_lock);
		result = operation->execute(operation);
		pthread_mutex_lock(&host_lock);
		event_finish(done, result);
		pthread_mutex_unlock(&host_lock);
		event_calls();
		return result;
	}
	if (operation->waits == 0)
		operation_queue(operation);
	pthread_mutex_unlock(&host_lock);
	return wait ? event_wait(done) : result;
}

/* Whether a program's event came, and with what. */
static bool event_came(const COIEVENT *value, COIRESULT *result)
{
	struct event *event = event_find(value->opaque[0]);

	*result = COI_SUCCESS;
	if (!event) {
		if (value->opaque[1] == EVENT_USER)
			*result = COI_EVENT_CANCELED;
		return true;
	}
	*result = event->result;
	return event->done;
}

COIRESULT event_wait(uint64_t id)
{
	COIEVENT value = event_value(id);
	COIRESULT result;

	pthread_mutex_lock(&host_lock);
	event_want(event_find(id), false);
	event_hurry(id);
	while (!event_came(&value, &result))
		pthread_cond_wait(&host_changed, &host_lock);
	pthread_mutex_unlock(&host_lock);
	return result;
}

/* One look at all; how many came, and the first result that is none of success. */
static uint32_t events_look(uint32_t count, const COIEVENT *list, uint32_t *indices,
			    COIRESULT *result)
{
	uint32_t came = 0;

	*result = COI_SUCCESS;
	for (uint32_t i = 0; i < count; i++) {
		COIRESULT one;

		if (!event_came(&list[i], &one))
			continue;
		if (indices)
			indices[came] = i;
		came++;
		if (one != COI_SUCCESS && *result == COI_SUCCESS)
			*result = one;
	}
	return came;
}

/* With the lock, which is given up meanwhile: a list that is waited for, all of it or any. */
static void events_want(uint32_t count, const COIEVENT *list, bool all)
{
	for (uint32_t i = 0; i < count; i++) {
		struct event *event = event_find(list[i].opaque[0]);

		if (event && !event->done && event->run && all)
			pipeline_mark(event->run);
		else
			event_want(event, false);
	}
	for (uint32_t i = 0; i < count && all; i++) {
		struct event *event = event_find(list[i].opaque[0]);

		if (event && !event->done && event->run)
			pipeline_want_marked(event->run);
	}
	for (uint32_t i = 0; i < count; i++)
		event_hurry(list[i].opaque[0]);
}

static struct timespec event_limit(int32_t timeout_ms)
{
	struct timespec limit;

	clock_gettime(CLOCK_MONOTONIC, &limit);
	limit.tv_sec += timeout_ms / 1000;
	limit.tv_nsec += timeout_ms % 1000 * 1000000L;
	if (limit.tv_nsec >= 1000000000) {
		limit.tv_sec++;
		limit.tv_nsec -= 1000000000;
	}
	return limit;
}

COI_EXPORT COIRESULT COIEventWait(uint16_t in_NumEvents, const COIEVENT *in_pEvents,
				  int32_t in_TimeoutMilliseconds, uint8_t in_WaitForAll,
				  uint32_t *out_pNumSignaled, uint32_t *out_pSignaledIndices)
{
	uint32_t wanted = in_WaitForAll ? in_NumEvents : 1, came;
	struct timespec limit;
	COIRESULT result;
	int status = 0;

	if (in_TimeoutMilliseconds < -1 || in_NumEvents == 0)
		return COI_OUT_OF_RANGE;
	if (!in_pEvents)
		return COI_INVALID_POINTER;
	if (!out_pNumSignaled != !out_pSignaledIndices ||
	    (in_NumEvents > 1 && !in_WaitForAll && !out_pNumSignaled))
		return COI_ARGUMENT_MISMATCH;
	if (in_TimeoutMilliseconds > 0)
		limit = event_limit(in_TimeoutMilliseconds);
	pthread_mutex_lock(&host_lock);
	events_want(in_NumEvents, in_pEvents, in_WaitForAll);
	for (;;) {
		came = events_look(in_NumEvents, in_pEvents, out_pSignaledIndices, &result);
		if (came >= wanted || in_TimeoutMilliseconds == 0 || status == ETIMEDOUT)
			break;
		status = in_TimeoutMilliseconds < 0
				 ? pthread_cond_wait(&host_changed, &host_lock)
				 : pthread_cond_clockwait(&host_changed, &host_lock,
							  CLOCK_MONOTONIC, &limit);
	}
	pthread_mutex_unlock(&host_lock);
	if (out_pNumSignaled)
		*out_pNumSignaled = came;
	return came >= wanted ? result : COI_TIME_OUT_REACHED;
}

COI_EXPORT COIRESULT COIEventRegisterUserEvent(COIEVENT *out_pEvent)
{
	struct event *event;

	if (!out_pEvent)
		return COI_INVALID_POINTER;
	pthread_mutex_lock(&host_lock);
	event = event_new(true);
	if (event) {
		event->context = note_context();
		*out_pEvent = (COIEVENT){ { event->id, EVENT_USER } };
	}
	pthread_mutex_unlock(&host_lock);
	return event ? COI_SUCCESS : COI_OUT_OF_MEMORY;
}

COI_EXPORT COIRESULT COIEventUnregisterUserEvent(COIEVENT in_Event)
{
	struct event *event;

	if (in_Event.opaque[1] != EVENT_USER)
		return COI_INVALID_HANDLE;
	pthread_mutex_lock(&host_lock);
	event = event_find(in_Event.opaque[0]);
	if (event && event->user) {
		event_come(event, COI_EVENT_CANCELED);
		event_free(event);
	}
	pthread_mutex_unlock(&host_lock);
	event_calls();
	return event ? COI_SUCCESS : COI_INVALID_HANDLE;
}

COI_EXPORT COIRESULT COIEventSignalUserEvent(COIEVENT in_Event)
{
	if (in_Event.opaque[1] != EVENT_USER)
		return COI_INVALID_HANDLE;
	event_signal(&in_Event, NULL);
	return COI_SUCCESS;
}

COI_EXPORT COIRESULT COIEventRegisterCallback(const COIEVENT in_Event,
					      COI_EVENT_CALLBACK in_Callback,
					      const void *in_UserData, const uint64_t in_Flags)
{
	struct callback *callback;
	struct event *event;

	if (!in_Callback)
		return COI_INVALID_POINTER;
	if (in_Flags)
		return COI_ARGUMENT_MISMATCH;
	callback = calloc(1, sizeof(*callback));
	if (!callback)
		return COI_OUT_OF_MEMORY;
	*callback = (struct callback){ .function = in_Callback,
				       .data = in_UserData,
				       .event = in_Event };
	pthread_mutex_lock(&host_lock);
	event = event_find(in_Event.opaque[0]);
	if (event && !event->done) {
		event_want(event, true);
		STAILQ_INSERT_TAIL(&event->callbacks, callback, link);
	} else {
		event_came(&in_Event, &callback->result);
		STAILQ_INSERT_TAIL(&due, callback, link);
	}
	pthread_mutex_unlock(&host_lock);
	event_calls();
	return COI_SUCCESS;
}
