/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each of the program's threads has of its own: a stack of current contexts, the stream that
 * stands for its default stream, and its capture mode.
 *
 * Only the thread itself touches its record. An entry of the stack remembers the context's serial
 * number, so that a context which another thread ended is seen as gone and not as the object that
 * took its place.
 */
#include <stdlib.h>

#include "cuda/client/client.h"
#include "cuda/client/thread.h"

#define STACK_MAX 256u

struct own_stream {
	uint64_t context_serial;
	uint64_t stream_serial;
	struct client_object *stream;
};

struct entry {
	struct client_object *context; /* NULL: an empty place that cuCtxSetCurrent(NULL) left */
	uint64_t serial;
};

static __thread struct {
	struct entry stack[STACK_MAX];
	unsigned int depth;
	bool per_thread; /* the NULL stream is the thread's own */
	struct own_stream *streams;
	unsigned int stream_count;
	CUstreamCaptureMode capture_mode;
	bool known_to_key;
} self;

static pthread_key_t thread_key;
static pthread_once_t thread_once = PTHREAD_ONCE_INIT;

/* thread_end - a thread ends: its own streams do, too */
static void thread_end(void *unused)
{
	(void)unused;
	for (unsigned int i = 0; i < self.stream_count; i++) {
		struct own_stream *own = &self.streams[i];

		if (own->stream->kind != KIND_stream || own->stream->serial != own->stream_serial ||
		    client_enter())
			continue;
		client_cuStreamDestroy_v2(client_handle_pointer(own->stream));
	}
	free(self.streams);
	self.streams = NULL;
	self.stream_count = 0;
}

static void thread_key_make(void)
{
	if (pthread_key_create(&thread_key, thread_end))
		client_log("no thread key: streams of ended threads stay until the process ends");
}

struct client_object *client_context_current(void)
{
	const struct entry *top;

	if (!self.depth)
		return NULL;
	top = &self.stack[self.depth - 1];
	if (!top->context || top->context->kind != KIND_context ||
	    top->context->serial != top->serial)
		return NULL;
	return top->context;
}

uint32_t client_context_number(void)
{
	const struct client_object *context = client_context_current();

	return context ? context->number : 0;
}

CUresult client_thread_push(struct client_object *context)
{
	if (self.depth == STACK_MAX)
		return CUDA_ERROR_OUT_OF_MEMORY;
	self.stack[self.depth++] = (struct entry){ context, context->serial };
	return CUDA_SUCCESS;
}

CUresult client_thread_pop(struct client_object **context)
{
	*context = client_context_current();
	if (!*context)
		return CUDA_ERROR_INVALID_CONTEXT;
	self.depth--;
	return CUDA_SUCCESS;
}

CUresult client_thread_set(struct client_object *context)
{
	if (!context) {
		if (self.depth)
			self.depth--;
		return CUDA_SUCCESS;
	}
	if (self.depth)
		self.depth--;
	return client_thread_push(context);
}

bool client_per_thread_begin(void)
{
	bool outer = self.per_thread;

	self.per_thread = true;
	return outer;
}

void client_per_thread_end(bool outer)
{
	self.per_thread = outer;
}

/* thread_stream_make - a stream of this thread in @context, remembered */
static CUresult thread_stream_make(struct client_object *context, struct client_object **stream)
{
	struct own_stream *longer;
	CUstream handle;
	CUresult result;

	pthread_once(&thread_once, thread_key_make);
	if (!self.known_to_key)
		self.known_to_key = !pthread_setspecific(thread_key, &self);
	longer = realloc(self.streams, (self.stream_count + 1) * sizeof(*longer));
	if (!longer)
		return CUDA_ERROR_OUT_OF_MEMORY;
	self.streams = longer;
	result = client_cuStreamCreate(&handle, CU_STREAM_DEFAULT);
	if (result)
		return result;
	*stream = client_handle_object(handle);
	longer[self.stream_count++] =
		(struct own_stream){ context->serial, (*stream)->serial, *stream };
	return CUDA_SUCCESS;
}

/* thread_stream - number of the calling thread's own stream in the current context */
static CUresult thread_stream(uint32_t *number)
{
	struct client_object *context = client_context_current(), *stream;
	CUresult result;

	if (!context)
		return CUDA_ERROR_INVALID_CONTEXT;
	for (unsigned int i = 0; i < self.stream_count; i++) {
		struct own_stream *own = &self.streams[i];

		if (own->context_serial == context->serial && own->stream->kind == KIND_stream &&
		    own->stream->serial == own->stream_serial) {
			*number = own->stream->number;
			return CUDA_SUCCESS;
		}
	}
	result = thread_stream_make(context, &stream);
	if (!result)
		*number = stream->number;
	return result;
}

CUresult client_number_stream(const void *handle, bool null, uint32_t *number)
{
	struct client_object *object;

	if (!handle && self.per_thread)
		return thread_stream(number);
	if (handle == (const void *)CU_STREAM_PER_THREAD)
		return thread_stream(number);
	if (!handle || handle == (const void *)CU_STREAM_LEGACY) {
		*number = 0;
		return null ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
	}
	object = client_object_of(KIND_stream, handle);
	if (!object)
		return CUDA_ERROR_INVALID_HANDLE;
	*number = object->number;
	return CUDA_SUCCESS;
}

CUresult client_cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode)
{
	CUstreamCaptureMode before = self.capture_mode;

	if (!mode || *mode > CU_STREAM_CAPTURE_MODE_RELAXED)
		return CUDA_ERROR_INVALID_VALUE;
	self.capture_mode = *mode;
	*mode = before;
	return CUDA_SUCCESS;
}
