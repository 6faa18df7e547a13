/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes on a card: launching them, the control connection, their end.
 *
 *	launched   causeway-card runs it (scif/card/client.h); the launch connection is its life
 *line connected  control and data connection are there, it has a handle dead	   one of them
 *broke: calls return COI_PROCESS_DIED; it still has its handle exited	   the card said how it
 *ended destroyed  no handle any more
 */
#include "scif/coi/host/host.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "scif/coi/export.h"

#define PROCESS_PORT_MS 60000 /* for the program to load and tell its port */

COIRESULT result_of(int status)
{
	switch (-status) {
	case 0:
		return COI_SUCCESS;
	case ENOMEM:
		return COI_OUT_OF_MEMORY;
	case EAGAIN:
	case EBUSY:
	case ENOSPC:
		return COI_RESOURCE_EXHAUSTED;
	case ENOEXEC:
		return COI_BINARY_AND_HARDWARE_MISMATCH;
	case ENOENT:
		return COI_MISSING_DEPENDENCY;
	case ENODEV:
	case ECONNREFUSED:
		return COI_NOT_INITIALIZED;
	case ETIMEDOUT:
		return COI_TIME_OUT_REACHED;
	case EACCES:
		return COI_AUTHENTICATION_FAILURE;
	default:
		return COI_PROCESS_DIED;
	}
}

bool process_is(COIPROCESS process)
{
	return object_is(process, OBJECT_PROCESS);
}

struct coiprocess *process_enter(const struct instance *instance)
{
	struct coiprocess *process;

	pthread_mutex_lock(&host_lock);
	process = instance ? instance->process : NULL;
	/* Its windows may be there a little longer than its connections. */
	if (process && process->dead)
		process = NULL;
	if (process)
		process->visitors++;
	pthread_mutex_unlock(&host_lock);
	return process;
}

void process_leave(struct coiprocess *process)
{
	pthread_mutex_lock(&host_lock);
	if (--process->visitors == 0)
		pthread_cond_broadcast(&host_changed);
	pthread_mutex_unlock(&host_lock);
}

void process_die(struct coiprocess *process)
{
	struct call *call;

	process->dead = true;
	TAILQ_FOREACH(call, &process->calls, link)
	{
		call->done = true;
		call->reply.result = COI_PROCESS_DIED;
	}
	pthread_cond_broadcast(&host_changed);
}

COIRESULT process_call(struct coiprocess *process, struct coi_header *header,
		       const struct iovec *parts, unsigned int count, void *answer, size_t room,
		       uint64_t *value)
{
	struct call call = { .answer = answer, .room = room };
	int status = 0;

	pthread_mutex_lock(&process->calling);
	pthread_mutex_lock(&host_lock);
	if (process->dead) {
		status = -ECONNRESET;
	} else {
		call.tag = header->tag = ++process->next_tag;
		TAILQ_INSERT_TAIL(&process->calls, &call, link);
	}
	pthread_mutex_unlock(&host_lock);
	if (status == 0)
		status = message_send(process->control, header, parts, count);
	pthread_mutex_unlock(&process->calling);
	if (!call.tag)
		return COI_PROCESS_DIED;
	pthread_mutex_lock(&host_lock);
	if (status < 0)
		process_die(process);
	while (!call.done)
		pthread_cond_wait(&host_changed, &host_lock);
	TAILQ_REMOVE(&process->calls, &call, link);
	pthread_mutex_unlock(&host_lock);
	if (value)
		*value = call.reply.value;
	return (COIRESULT)call.reply.result;
}

/* With the lock: the answer to a call; -EPROTO when it answers none, or with too much. */
static int process_reply(struct coiprocess *process, const struct coi_header *header,
			 const unsigned char *payload)
{
	struct call *call;

	TAILQ_FOREACH(call, &process->calls, link)
	{
		if (call->tag == header->tag && !call->done)
			break;
	}
	if (!call || header->bytes > call->room || header->result >= COI_NUM_RESULTS)
		return -EPROTO;
	if (header->bytes)
		memcpy(call->answer, payload, header->bytes);
	/* What did not come is zero. */
	if (call->answer)
		memset((char *)call->answer + header->bytes, 0, call->room - header->bytes);
	call->reply = *header;
	call->done = true;
	pthread_cond_broadcast(&host_changed);
	return 0;
}

/* One message of the control connection; 0 or -errno. */
static int process_hear(struct coiprocess *process)
{
	struct coi_header header;
	struct coi_signal signalled;
	unsigned char *payload;
	COIEVENT event;
	int status = message_receive(process->control, &header, &payload);

	if (status < 0)
		return status;
	if (header.type == COI_SIGNAL) {
		status = message_fixed(payload, header.bytes, &signalled, sizeof(signalled));
		event = (COIEVENT){ { signalled.event[0], signalled.event[1] } };
		if (status == 0)
			event_signal(&event, process);
	} else {
		pthread_mutex_lock(&host_lock);
		if (header.type == COI_REPLY)
			status = process_reply(process, &header, payload);
		else if (header.type == COI_RELEASED)
			buffer_hold(process, header.value, -1);
		else if (header.type != COI_PRINT)
			status = -EPROTO;
		pthread_mutex_unlock(&host_lock);
		/* process_watch() tells the sink; when there is no card any more, nobody waits. */
		if (header.type == COI_PRINT)
			card_flush(&process->card, header.value);
		event_calls();
	}
	free(payload);
	return status;
}

static void *process_control(void *argument)
{
	struct coiprocess *process = argument;

	while (process_hear(process) == 0)
		continue;
	pthread_mutex_lock(&host_lock);
	process_die(process);
	buffer_forget_holds(process);
	pthread_mutex_unlock(&host_lock);
	event_calls();
	return NULL;
}

/* What the program printed, to where this one prints. */
static void process_print(const struct coiprocess *process, const struct card_event *event)
{
	int fd = event->type == CARD_ERRORS ? STDERR_FILENO : STDOUT_FILENO;
	const char *next = event->data;
	size_t left = process->proxy ? event->bytes : 0;

	while (left) {
		ssize_t written = write(fd, next, left);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			return;
		next += written;
		left -= (size_t)written;
	}
}

/* Tells the sink that it is printed up to what it asked for. */
static void process_tell_printed(struct coiprocess *process, uint64_t number)
{
	struct coi_header header = { .type = COI_PRINTED, .value = number };

	process_call(process, &header, NULL, 0, NULL, 0, NULL);
}

/* Follows the launch connection to the program's end. */
static void *process_watch(void *argument)
{
	struct coiprocess *process = argument;
	char *room = malloc(CARD_PAYLOAD_MAX + 1);
	struct card_event event;
	struct error error;
	bool lost = !room;

	memset(&event, 0, sizeof(event));
	while (!lost && event.type != CARD_EXITED) {
		lost = card_next(&process->card, &event, room, &error) < 0;
		if (!lost && (event.type == CARD_OUTPUT || event.type == CARD_ERRORS))
			process_print(process, &event);
		else if (!lost && event.type == CARD_FLUSHED)
			process_tell_printed(process, event.value);
	}
	pthread_mutex_lock(&host_lock);
	process->end = event.exited;
	if (lost) /* with the card: it ended as cards end what they run */
		process->end = (struct card_exited){ .signal = SIGKILL };
	process->exited = true;
	process_die(process);
	pthread_mutex_unlock(&host_lock);
	free(room);
	return NULL;
}

/* A thread of the library's: without signals. */
static int process_thread(pthread_t *thread, void *(*function)(void *), void *argument)
{
	sigset_t all, before;
	int status;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	status = pthread_create(thread, NULL, function, argument);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -status;
}

int process_connect(struct coiprocess *process, const struct coi_greeting *greeting)
{
	struct scif_portID peer = { process->engine->node, process->port };
	struct coi_greeting full = *greeting;
	struct coi_header header;
	scif_epd_t epd = scif_open();
	int status = epd < 0 ? -errno : 0;

	full.magic = COI_MAGIC;
	full.version = COI_VERSION;
	memcpy(full.token, process->card.token, COI_TOKEN_BYTES);
	if (status == 0 && scif_connect(epd, &peer) < 0)
		status = -errno;
	if (status == 0)
		status = message_send_all(epd, &full, sizeof(full));
	if (status == 0)
		status = message_receive_all(epd, &header, sizeof(header));
	if (status == 0 && (header.type != COI_WELCOME || header.bytes))
		status = -EPROTO;
	if (status < 0 && epd >= 0)
		scif_close(epd);
	/* Whoever listened there is gone, then. */
	if (status == -ECONNREFUSED || status == -ENODEV)
		status = -ECONNRESET;
	return status < 0 ? status : epd;
}

/* Waits for the port; what the program prints meanwhile is passed on. */
COIRESULT process_port(struct coiprocess *process)
{
	char *room = malloc(CARD_PAYLOAD_MAX + 1);
	struct card_event event = { .type = CARD_WAITING };
	COIRESULT result = room ? COI_SUCCESS : COI_OUT_OF_MEMORY;
	struct error error;

	while (result == COI_SUCCESS && event.type != CARD_PORT_OPEN) {
		struct scif_pollepd wait = { process->card.epd, SCIF_POLLIN, 0 };

		if (scif_poll(&wait, 1, PROCESS_PORT_MS) == 0)
			result = COI_TIME_OUT_REACHED;
		else if (card_next(&process->card, &event, room, &error) < 0)
			result = COI_PROCESS_DIED;
		else if (event.type == CARD_EXITED)
			/* What the loader says when it lacks a library. */
			result = event.exited.status == 127 ? COI_MISSING_DEPENDENCY
							    : COI_PROCESS_DIED;
		else if (event.type == CARD_OUTPUT || event.type == CARD_ERRORS)
			process_print(process, &event);
	}
	process->port = (uint16_t)event.value;
	free(room);
	return result;
}

struct coiprocess *process_new(struct coiengine *engine, bool proxy)
{
	struct coiprocess *process = calloc(1, sizeof(*process));

	if (!process)
		return NULL;
	process->engine = engine;
	process->proxy = proxy;
	process->control = process->data = -1;
	process->next_buffer = 1;
	pthread_mutex_init(&process->calling, NULL);
	pthread_mutex_init(&process->staging, NULL);
	TAILQ_INIT(&process->calls);
	SLIST_INIT(&process->functions);
	SLIST_INIT(&process->libraries);
	SLIST_INIT(&process->notifications);
	return process;
}

COIRESULT process_start(struct coiprocess *process)
{
	if (process_thread(&process->controller, process_control, process) < 0)
		return COI_RESOURCE_EXHAUSTED;
	process->controlled = true;
	if (process_thread(&process->watcher, process_watch, process) < 0)
		return COI_RESOURCE_EXHAUSTED;
	process->watched = true;
	pthread_mutex_lock(&host_lock);
	object_enter(&process->object, OBJECT_PROCESS);
	pthread_mutex_unlock(&host_lock);
	return COI_SUCCESS;
}

/* Everything that was begun with it, in the other order. */
void process_free(struct coiprocess *process)
{
	struct coifunction *function;
	struct coilibrary *library;

	if (process->watched)
		pthread_join(process->watcher, NULL);
	if (process->launched)
		card_close(&process->card); /* which ends the program */
	if (process->controlled)
		pthread_join(process->controller, NULL);
	if (process->control >= 0)
		scif_close(process->control);
	if (process->data >= 0)
		scif_close(process->data);
	while ((function = SLIST_FIRST(&process->functions))) {
		SLIST_REMOVE_HEAD(&process->functions, link);
		free(function);
	}
	while ((library = SLIST_FIRST(&process->libraries))) {
		SLIST_REMOVE_HEAD(&process->libraries, link);
		free(library);
	}
	note_forget(process);
	free(process->stage);
	free(process);
}

/* With the lock: waits for the end, at most so long; -1 is for ever. */
static bool process_wait(const struct coiprocess *process, int32_t timeout_ms)
{
	struct timespec limit;
	int status = 0;

	clock_gettime(CLOCK_MONOTONIC, &limit);
	limit.tv_sec += timeout_ms / 1000;
	limit.tv_nsec += timeout_ms % 1000 * 1000000L;
	if (limit.tv_nsec >= 1000000000) {
		limit.tv_sec++;
		limit.tv_nsec -= 1000000000;
	}
	while (!process->exited && status != ETIMEDOUT && timeout_ms)
		status = timeout_ms < 0 ? pthread_cond_wait(&host_changed, &host_lock)
					: pthread_cond_clockwait(&host_changed, &host_lock,
								 CLOCK_MONOTONIC, &limit);
	return process->exited;
}

/* Asks it to end, waits, ends it; whether it ended. */
static bool process_end(struct coiprocess *process, int32_t timeout_ms, bool force)
{
	struct coi_header header = { .type = COI_SHUTDOWN };
	bool exited;

	if (timeout_ms)
		process_call(process, &header, NULL, 0, NULL, 0, NULL);
	pthread_mutex_lock(&host_lock);
	exited = process_wait(process, timeout_ms);
	pthread_mutex_unlock(&host_lock);
	if (exited || !force)
		return exited;
	card_signal(&process->card, SIGKILL);
	pthread_mutex_lock(&host_lock);
	exited = process_wait(process, -1);
	pthread_mutex_unlock(&host_lock);
	return exited;
}

COI_EXPORT COIRESULT COIProcessDestroy(COIPROCESS in_Process, int32_t in_WaitForMainTimeout,
				       uint8_t in_ForceDestroy, int8_t *out_pProcessReturn,
				       uint32_t *out_pTerminationCode)
{
	struct coifunction *function;
	struct coilibrary *library;
	bool valid;

	if (in_WaitForMainTimeout < -1)
		return COI_OUT_OF_RANGE;
	if (in_WaitForMainTimeout == -1 && in_ForceDestroy)
		return COI_ARGUMENT_MISMATCH;
	pthread_mutex_lock(&host_lock);
	valid = process_is(in_Process);
	pthread_mutex_unlock(&host_lock);
	if (!valid)
		return COI_INVALID_HANDLE;
	if (!process_end(in_Process, in_WaitForMainTimeout, in_ForceDestroy))
		return COI_TIME_OUT_REACHED;
	if (out_pProcessReturn)
		*out_pProcessReturn = (int8_t)in_Process->end.status;
	if (out_pTerminationCode)
		*out_pTerminationCode = in_Process->end.signal;
	pipeline_end_all(in_Process);
	pthread_mutex_lock(&host_lock);
	object_leave(&in_Process->object);
	SLIST_FOREACH(function, &in_Process->functions, link)
	{
		object_leave(&function->object);
	}
	SLIST_FOREACH(library, &in_Process->libraries, link)
	{
		object_leave(&library->object);
	}
	buffer_forget(in_Process);
	while (in_Process->visitors) /* which does not take long: the sink is gone */
		pthread_cond_wait(&host_changed, &host_lock);
	pthread_mutex_unlock(&host_lock);
	event_calls();
	process_free(in_Process);
	return COI_SUCCESS;
}

/* So many names as go into one message. */
static COIRESULT process_functions(struct coiprocess *process, uint32_t count, const char **names,
				   uint64_t *found)
{
	struct coi_header header = { .type = COI_FUNCTIONS, .value = count };
	char text[COI_FUNCTIONS_MAX * (COI_NAME_MAX + 1)];
	struct iovec part = { text, 0 };

	for (uint32_t i = 0; i < count; i++) {
		size_t bytes = strlen(names[i]) + 1;

		memcpy(text + part.iov_len, names[i], bytes);
		part.iov_len += bytes;
	}
	return process_call(process, &header, &part, 1, found, count * sizeof(found[0]), NULL);
}

/* A handle for a function of that address; NULL for address 0, or without memory. */
static COIFUNCTION process_function(struct coiprocess *process, uint64_t address)
{
	struct coifunction *function = address ? calloc(1, sizeof(*function)) : NULL;

	if (!function)
		return NULL;
	function->process = process;
	function->address = address;
	pthread_mutex_lock(&host_lock);
	SLIST_INSERT_HEAD(&process->functions, function, link);
	object_enter(&function->object, OBJECT_FUNCTION);
	pthread_mutex_unlock(&host_lock);
	return function;
}

COI_EXPORT COIRESULT COIProcessGetFunctionHandles(COIPROCESS in_Process, uint32_t in_NumFunctions,
						  const char **in_ppFunctionNameArray,
						  COIFUNCTION *out_pFunctionHandleArray)
{
	uint64_t found[COI_FUNCTIONS_MAX];
	COIRESULT result = COI_SUCCESS, one;
	bool valid;

	if (in_NumFunctions == 0)
		return COI_OUT_OF_RANGE;
	if (!in_ppFunctionNameArray || !out_pFunctionHandleArray)
		return COI_INVALID_POINTER;
	for (uint32_t i = 0; i < in_NumFunctions; i++) {
		if (!in_ppFunctionNameArray[i])
			return COI_INVALID_POINTER;
		if (strlen(in_ppFunctionNameArray[i]) >= COI_MAX_FUNCTION_NAME_LENGTH)
			return COI_OUT_OF_RANGE;
	}
	pthread_mutex_lock(&host_lock);
	valid = process_is(in_Process);
	pthread_mutex_unlock(&host_lock);
	if (!valid)
		return COI_INVALID_HANDLE;
	for (uint32_t at = 0, part; at < in_NumFunctions; at += part) {
		part = in_NumFunctions - at;
		part = part > COI_FUNCTIONS_MAX ? COI_FUNCTIONS_MAX : part;
		one = process_functions(in_Process, part, in_ppFunctionNameArray + at, found);
		if (one != COI_SUCCESS)
			return one;
		for (uint32_t i = 0; i < part; i++) {
			out_pFunctionHandleArray[at + i] = process_function(in_Process, found[i]);
			if (!out_pFunctionHandleArray[at + i])
				result = COI_DOES_NOT_EXIST;
		}
	}
	return result;
}
