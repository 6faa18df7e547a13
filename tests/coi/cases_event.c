/* SPDX-License-Identifier: Apache-2.0 */
/* Events: waiting, signalling from either side, dependencies, callbacks. */
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

const struct test_case event_cases[] = {
	{ .name = "user_events", .run = user_events, .alone = true },
	{ .name = "the_sink_signals", .run = the_sink_signals },
	{ .name = "dependencies_hold_back", .run = dependencies_hold_back },
	{ .name = "callbacks_are_called", .run = callbacks_are_called, .alone = true },
	{ .name = NULL },
};
