/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Notifications: functions of the program that are told what happens to the operations of a
 * process, for profilers above COI.
 *
 * What an operation tells, and with which data, is settled when it is asked for (note_take): the
 * data is the asking thread's. While nobody is registered an operation has no note, and costs
 * nothing. Functions are called without host_lock, by whichever thread got to that point, and
 * before the operation's event comes. One that is unregistered may be in a call just then.
 */
#include <stdlib.h>

#include "scif/coi/export.h"
#include "scif/coi/host/host.h"

struct notification {
	SLIST_ENTRY(notification) link;
	COI_NOTIFICATION_CALLBACK function;
	const void *data;
};

static __thread const void *note_data;

const void *note_context(void)
{
	return note_data;
}

void note_take(struct note *note, struct coiprocess *process, const void *context, COIEVENT event)
{
	if (process_is(process) && !SLIST_EMPTY(&process->notifications))
		*note = (struct note){ process, context, event };
}

void note_tell(const struct note *note, COI_NOTIFICATIONS type)
{
	bool more = note->process != NULL;

	for (unsigned int number = 0; more; number++) {
		struct notification *one = NULL, copy;

		pthread_mutex_lock(&host_lock);
		if (process_is(note->process))
			one = SLIST_FIRST(&note->process->notifications);
		for (unsigned int i = 0; one && i < number; i++)
			one = SLIST_NEXT(one, link);
		more = one != NULL;
		if (more)
			copy = *one;
		pthread_mutex_unlock(&host_lock);
		if (more)
			copy.function(type, note->process, note->event,
				      note->context ? note->context : copy.data);
	}
}

void note_forget(struct coiprocess *process)
{
	struct notification *one;

	while ((one = SLIST_FIRST(&process->notifications))) {
		SLIST_REMOVE_HEAD(&process->notifications, link);
		free(one);
	}
}

/* With the lock: what is registered, or NULL. */
static struct notification *note_find(const struct coiprocess *process,
				      COI_NOTIFICATION_CALLBACK function)
{
	struct notification *one;

	SLIST_FOREACH(one, &process->notifications, link)
	{
		if (one->function == function)
			return one;
	}
	return NULL;
}

COI_EXPORT COIRESULT COIRegisterNotificationCallback(COIPROCESS in_Process,
						     COI_NOTIFICATION_CALLBACK in_Callback,
						     const void *in_UserData)
{
	struct notification *one;
	COIRESULT result = COI_SUCCESS;

	if (!in_Callback)
		return COI_INVALID_POINTER;
	one = malloc(sizeof(*one));
	if (!one)
		return COI_OUT_OF_MEMORY;
	*one = (struct notification){ .function = in_Callback, .data = in_UserData };
	pthread_mutex_lock(&host_lock);
	if (!process_is(in_Process))
		result = COI_INVALID_HANDLE;
	else if (note_find(in_Process, in_Callback))
		result = COI_ALREADY_EXISTS;
	else
		SLIST_INSERT_HEAD(&in_Process->notifications, one, link);
	pthread_mutex_unlock(&host_lock);
	if (result != COI_SUCCESS)
		free(one);
	return result;
}

COI_EXPORT COIRESULT COIUnregisterNotificationCallback(COIPROCESS in_Process,
						       COI_NOTIFICATION_CALLBACK in_Callback)
{
	struct notification *one = NULL;
	COIRESULT result = COI_SUCCESS;

	if (!in_Callback)
		return COI_INVALID_POINTER;
	pthread_mutex_lock(&host_lock);
	if (!process_is(in_Process))
		result = COI_INVALID_HANDLE;
	else if (!(one = note_find(in_Process, in_Callback)))
		result = COI_DOES_NOT_EXIST;
	if (one)
		SLIST_REMOVE(&in_Process->notifications, one, notification, link);
	pthread_mutex_unlock(&host_lock);
	free(one);
	return result;
}

COI_EXPORT void COINotificationCallbackSetContext(const void *in_UserData)
{
	note_data = in_UserData;
}
