/* SPDX-License-Identifier: Apache-2.0 */
/* Events: waiting, signalling from either side, dependencies, callbacks, notifications; output. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/coi/coi_cases.h"

static void user_events(void)
{
	COIEVENT event, other, both[2], none = { { 1, 1 } };
	uint32_t count = 9, indices[2];

	RESULT(COIEventRegisterUserEvent(NULL), COI_INVALID_POINTER);
	RESULT(COIEventRegisterUserEvent(&event), COI_SUCCESS);
	RESULT(COIEventRegisterUserEvent(&other), COI_SUCCESS);
	both[0] = event;
	both[1] = other;
	RESULT(COIEventWait(1, &event, 0, 1, NULL, NULL), COI_TIME_OUT_REACHED);
	RESULT(COIEventWait(1, &event, 30, 1, NULL, NULL), COI_TIME_OUT_REACHED);
	RESULT(COIEventSignalUserEvent(other), COI_SUCCESS);
	RESULT(COIEventSignalUserEvent(other), COI_SUCCESS);
	RESULT(COIEventWait(2, both, -1, 0, &count, indices), COI_SUCCESS);
	EQUAL(count, 1);
	EQUAL(indices[0], 1);
	RESULT(COIEventWait(2, both, 10, 1, NULL, NULL), COI_TIME_OUT_REACHED);
	RESULT(COIEventWait(2, both, -1, 0, NULL, NULL), COI_ARGUMENT_MISMATCH);
	RESULT(COIEventWait(0, both, -1, 0, NULL, NULL), COI_OUT_OF_RANGE);
	RESULT(COIEventWait(1, both, -2, 0, NULL, NULL), COI_OUT_OF_RANGE);
	RESULT(COIEventWait(1, NULL, -1, 0, NULL, NULL), COI_INVALID_POINTER);
	RESULT(COIEventSignalUserEvent(none), COI_INVALID_HANDLE);
	RESULT(COIEventUnregisterUserEvent(none), COI_INVALID_HANDLE);
	RESULT(COIEventUnregisterUserEvent(event), COI_SUCCESS);
	RESULT(COIEventWait(1, &event, -1, 1, NULL, NULL), COI_EVENT_CANCELED);
	RESULT(COIEventUnregisterUserEvent(other), COI_SUCCESS);
}

static void the_sink_signals(void)
{
	COIEVENT event;

	RESULT(COIEventRegisterUserEvent(&event), COI_SUCCESS);
	RESULT(COIPipelineRunFunction(offload.pipeline,
				      function_of(offload.process, "signal_event"), 0, NULL, NULL,
				      0, NULL, &event, sizeof(event), NULL, 0, NULL),
	       COI_SUCCESS);
	RESULT(COIEventWait(1, &event, 20000, 1, NULL, NULL), COI_SUCCESS);
	RESULT(COIEventUnregisterUserEvent(event), COI_SUCCESS);
}

/* A write waits for the program, a function for the write, a read for the function. */
static void dependencies_hold_back(void)
{
	unsigned char data[4096], back[4096];
	COI_ACCESS_FLAGS access = COI_SINK_WRITE;
	COIEVENT go, written, ran, read;
	COIBUFFER buffer;

	memset(data, 3, sizeof(data));
	RESULT(COIBufferCreate(sizeof(data), COI_BUFFER_NORMAL, 0, NULL, 1, &offload.process,
			       &buffer),
	       COI_SUCCESS);
	RESULT(COIEventRegisterUserEvent(&go), COI_SUCCESS);
	RESULT(COIBufferWrite(buffer, 0, data, sizeof(data), 0, 1, &go, &written), COI_SUCCESS);
	RESULT(COIPipelineRunFunction(offload.pipeline, function_of(offload.process, "add"), 1,
				      &buffer, &access, 1, &written, "\4", 1, NULL, 0, &ran),
	       COI_SUCCESS);
	RESULT(COIBufferRead(buffer, 0, back, sizeof(back), 0, 1, &ran, &read), COI_SUCCESS);
	RESULT(COIEventWait(1, &read, 50, 1, NULL, NULL), COI_TIME_OUT_REACHED);
	RESULT(COIEventSignalUserEvent(go), COI_SUCCESS);
	RESULT(COIEventWait(1, &read, 20000, 1, NULL, NULL), COI_SUCCESS);
	EQUAL(back[0], 7);
	EQUAL(back[4095], 7);
	RESULT(COIEventUnregisterUserEvent(go), COI_SUCCESS);
	RESULT(COIBufferDestroy(buffer), COI_SUCCESS);
}

static volatile int calls, called_with;

static void note_call(COIEVENT event, const COIRESULT result, const void *data)
{
	(void)event;
	called_with = (int)result;
	calls += *(const int *)data;
}

static void callbacks_are_called(void)
{
	COIEVENT event;
	int one = 1;

	calls = 0;
	RESULT(COIEventRegisterUserEvent(&event), COI_SUCCESS);
	RESULT(COIEventRegisterCallback(event, NULL, &one, 0), COI_INVALID_POINTER);
	RESULT(COIEventRegisterCallback(event, note_call, &one, 0), COI_SUCCESS);
	EQUAL(calls, 0);
	RESULT(COIEventSignalUserEvent(event), COI_SUCCESS);
	EQUAL(calls, 1);
	EQUAL(called_with, COI_SUCCESS);
	RESULT(COIEventRegisterCallback(event, note_call, &one, 0), COI_SUCCESS);
	EQUAL(calls, 2);
	RESULT(COIEventUnregisterUserEvent(event), COI_SUCCESS);
	EQUAL(calls, 2);
}

#define NOTES_MAX 64

/* What was told, in order. */
static struct {
	pthread_mutex_t lock;
	unsigned int count;
	COI_NOTIFICATIONS types[NOTES_MAX];
	COIEVENT events[NOTES_MAX];
	const void *data[NOTES_MAX];
	COIPROCESS processes[NOTES_MAX];
	bool came; /* an event that was told of had come already */
} notes = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void note_it(COI_NOTIFICATIONS type, COIPROCESS process, COIEVENT event, const void *data)
{
	bool came = COIEventWait(1, &event, 0, 1, NULL, NULL) != COI_TIME_OUT_REACHED;

	pthread_mutex_lock(&notes.lock);
	if (notes.count < NOTES_MAX) {
		notes.types[notes.count] = type;
		notes.events[notes.count] = event;
		notes.data[notes.count] = data;
		notes.processes[notes.count] = process;
		notes.came = notes.came || came;
		notes.count++;
	}
	pthread_mutex_unlock(&notes.lock);
}

/* What is expected to have been told since the last look: types, of one event, with that data. */
static void notes_are(unsigned int count, const COI_NOTIFICATIONS *types, const COIEVENT *event,
		      const void *data)
{
	pthread_mutex_lock(&notes.lock);
	EQUAL(notes.count, count);
	for (unsigned int i = 0; i < count && i < notes.count; i++) {
		EQUAL(notes.types[i], types[i]);
		CHECK(!event || memcmp(&notes.events[i], event, sizeof(*event)) == 0);
		CHECK(notes.data[i] == data);
		CHECK(notes.processes[i] == offload.process);
	}
	CHECK(!notes.came);
	notes.count = 0;
	pthread_mutex_unlock(&notes.lock);
}

static void notifications_of_runs(void)
{
	static const COI_NOTIFICATIONS all[] = { RUN_FUNCTION_READY, RUN_FUNCTION_START,
						 RUN_FUNCTION_COMPLETE };
	COIFUNCTION echo = function_of(offload.process, "echo");
	unsigned int at;
	int own, other;
	COIEVENT done, event;

	RESULT(COIRegisterNotificationCallback(offload.process, NULL, &own), COI_INVALID_POINTER);
	RESULT(COIRegisterNotificationCallback(NULL, note_it, &own), COI_INVALID_HANDLE);
	RESULT(COIUnregisterNotificationCallback(offload.process, note_it), COI_DOES_NOT_EXIST);
	RESULT(COIRegisterNotificationCallback(offload.process, note_it, &own), COI_SUCCESS);
	RESULT(COIRegisterNotificationCallback(offload.process, note_it, &own), COI_ALREADY_EXISTS);
	RESULT(COIPipelineRunFunction(offload.pipeline, echo, 0, NULL, NULL, 0, NULL, NULL, 0, NULL,
				      0, &done),
	       COI_SUCCESS);
	RESULT(COIEventWait(1, &done, -1, 1, NULL, NULL), COI_SUCCESS);
	notes_are(3, all, &done, &own);
	COINotificationCallbackSetContext(&other);
	RESULT(COIEventRegisterUserEvent(&event), COI_SUCCESS);
	COINotificationCallbackSetContext(NULL);
	RESULT(COIEventSignalUserEvent(event), COI_SUCCESS);
	notes_are(0, NULL, NULL, NULL); /* this side's own */
	RESULT(COIEventUnregisterUserEvent(event), COI_SUCCESS);
	COINotificationCallbackSetContext(&other);
	RESULT(COIEventRegisterUserEvent(&event), COI_SUCCESS);
	RESULT(COIPipelineRunFunction(offload.pipeline,
				      function_of(offload.process, "signal_event"), 0, NULL, NULL,
				      0, NULL, &event, sizeof(event), NULL, 0, &done),
	       COI_SUCCESS);
	RESULT(COIEventWait(1, &event, -1, 1, NULL, NULL), COI_SUCCESS);
	RESULT(COIEventWait(1, &done, -1, 1, NULL, NULL), COI_SUCCESS);
	/* The signal comes by a way of its own, at any time. */
	pthread_mutex_lock(&notes.lock);
	EQUAL(notes.count, 4);
	for (at = 0; at < 3 && notes.types[at] != USER_EVENT_SIGNALED; at++)
		continue;
	EQUAL(notes.types[at], USER_EVENT_SIGNALED);
	CHECK(memcmp(&notes.events[at], &event, sizeof(event)) == 0);
	CHECK(notes.data[at] == &other);
	for (; at < 3; at++) {
		notes.types[at] = notes.types[at + 1];
		notes.events[at] = notes.events[at + 1];
		notes.data[at] = notes.data[at + 1];
	}
	notes.count = 3;
	pthread_mutex_unlock(&notes.lock);
	notes_are(3, all, &done, &other);
	COINotificationCallbackSetContext(NULL);
	RESULT(COIUnregisterNotificationCallback(offload.process, note_it), COI_SUCCESS);
	RESULT(run_now(offload.pipeline, "echo", 0, NULL, NULL, NULL, 0, NULL, 0), COI_SUCCESS);
	notes_are(0, NULL, NULL, NULL);
	RESULT(COIEventUnregisterUserEvent(event), COI_SUCCESS);
}

static void notifications_of_buffers(void)
{
	static const COI_NOTIFICATIONS moved[] = { BUFFER_OPERATION_READY,
						   BUFFER_OPERATION_COMPLETE };
	unsigned char data[4096] = { 7 };
	COIMAPINSTANCE map;
	COIEVENT done;
	COIBUFFER buffer;
	void *address;
	int own;

	RESULT(COIBufferCreate(sizeof(data), COI_BUFFER_NORMAL, 0, data, 1, &offload.process,
			       &buffer),
	       COI_SUCCESS);
	RESULT(COIRegisterNotificationCallback(offload.process, note_it, &own), COI_SUCCESS);
	RESULT(COIBufferWrite(buffer, 0, data, sizeof(data), 0, 0, NULL, &done), COI_SUCCESS);
	RESULT(COIEventWait(1, &done, -1, 1, NULL, NULL), COI_SUCCESS);
	notes_are(2, moved, &done, &own);
	RESULT(COIBufferSetState(buffer, offload.process, COI_BUFFER_VALID, COI_BUFFER_MOVE, 0,
				 NULL, NULL),
	       COI_SUCCESS);
	notes_are(2, moved, NULL, &own);
	/* Valid there already: nothing is moved, and nothing told. */
	RESULT(COIBufferSetState(buffer, offload.process, COI_BUFFER_VALID, COI_BUFFER_MOVE, 0,
				 NULL, NULL),
	       COI_SUCCESS);
	RESULT(COIBufferMap(buffer, 0, 0, COI_MAP_READ_ONLY, 0, NULL, NULL, &map, &address),
	       COI_SUCCESS);
	RESULT(COIBufferUnmap(map, 0, NULL, NULL), COI_SUCCESS);
	notes_are(0, NULL, NULL, NULL);
	RESULT(COIBufferRead(buffer, 0, data, sizeof(data), 0, 0, NULL, NULL), COI_SUCCESS);
	notes_are(2, moved, NULL, &own);
	RESULT(COIUnregisterNotificationCallback(offload.process, note_it), COI_SUCCESS);
	RESULT(COIBufferDestroy(buffer), COI_SUCCESS);
}

/* A function flushed what it had printed: by its end the source has written it out. */
static void flushed_is_printed(void)
{
	static const char text[] = "sink says flushed\n";
	int ends[2], before;

	fflush(stdout);
	before = dup(STDOUT_FILENO);
	if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0 || before < 0) {
		EQUAL(errno, 0);
		return;
	}
	dup2(ends[1], STDOUT_FILENO);
	for (int i = 0; i < 20; i++) {
		char seen[sizeof(text)] = "";
		COIRESULT result =
			run_now(offload.pipeline, "print", 0, NULL, NULL, "flushed", 8, NULL, 0);
		ssize_t got = read(ends[0], seen, sizeof(seen));

		if (result == COI_SUCCESS && got == sizeof(text) - 1 && strcmp(seen, text) == 0)
			continue;
		dup2(before, STDOUT_FILENO);
		EQUAL(result, COI_SUCCESS);
		EQUAL(got, sizeof(text) - 1);
		break;
	}
	dup2(before, STDOUT_FILENO);
	close(before);
	close(ends[0]);
	close(ends[1]);
}

const struct test_case event_cases[] = {
	{ .name = "user_events", .run = user_events, .alone = true },
	{ .name = "the_sink_signals", .run = the_sink_signals },
	{ .name = "dependencies_hold_back", .run = dependencies_hold_back },
	{ .name = "notifications_of_runs", .run = notifications_of_runs },
	{ .name = "notifications_of_buffers", .run = notifications_of_buffers },
	{ .name = "flushed_is_printed", .run = flushed_is_printed },
	{ .name = "callbacks_are_called", .run = callbacks_are_called, .alone = true },
	{ .name = NULL },
};
