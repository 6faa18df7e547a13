/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events: the ends of operations, and what a program signals itself. Nothing needs to be freed but
 * user events.
 */
#ifndef CAUSEWAY_COI_EVENT_SOURCE_H
#define CAUSEWAY_COI_EVENT_SOURCE_H

#include "../common/COIEvent_common.h"
#include "../common/COIResult_common.h"
#include "../common/COITypes_common.h"

#ifdef __cplusplus
extern "C" {
#endif

/* In place of a pointer to an event: do not wait, nor tell; or wait for the end. NULL is SYNC for
 * buffers and ASYNC for COIPipelineRunFunction. */
#define COI_EVENT_ASYNC ((COIEVENT *)1)
#define COI_EVENT_SYNC	((COIEVENT *)2)

/**
 * COIEventWait - until all events have come, or the first
 * @in_TimeoutMilliseconds: 0 looks only, -1 waits without limit
 * @out_pNumSignaled, @out_pSignaledIndices: which have come; needed when there are several and the
 *	first is enough
 *
 * Return: COI_SUCCESS; COI_TIME_OUT_REACHED; COI_OUT_OF_RANGE (a negative time, no event),
 * COI_INVALID_POINTER, COI_ARGUMENT_MISMATCH; COI_EVENT_CANCELED for a user event that was
 * unregistered; COI_PROCESS_DIED and other results that operations ended with.
 */
COIACCESSAPI COIRESULT COIEventWait(uint16_t in_NumEvents, const COIEVENT *in_pEvents,
				    int32_t in_TimeoutMilliseconds, uint8_t in_WaitForAll,
				    uint32_t *out_pNumSignaled, uint32_t *out_pSignaledIndices);
COIACCESSAPI COIRESULT COIEventRegisterUserEvent(COIEVENT *out_pEvent);
/* COIEventUnregisterUserEvent - waiters get COI_EVENT_CANCELED, what depends on it goes on */
COIACCESSAPI COIRESULT COIEventUnregisterUserEvent(COIEVENT in_Event);

/* Called once, when the event is over, by a thread of the library. */
typedef void (*COI_EVENT_CALLBACK)(COIEVENT in_Event, const COIRESULT in_Result,
				   const void *in_UserData);
/* COIEventRegisterCallback - called once, when the event comes, or at once when it has */
COIACCESSAPI COIRESULT COIEventRegisterCallback(const COIEVENT in_Event,
						COI_EVENT_CALLBACK in_Callback,
						const void *in_UserData, const uint64_t in_Flags);

#ifdef __cplusplus
}
#endif

#endif
