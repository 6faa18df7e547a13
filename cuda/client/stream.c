/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams: made and ended without a reply; what the program may ask about one is kept here. Events
 * are generated calls but for making and waiting; one that another process may have is recorded
 * when the call returns, since the program may tell that process at once, by ways that nobody here
 * sees.
 */
#include "cuda/client/callback.h"
#include "cuda/client/client.h"

CUresult client_cuStreamCreateWithPriority(CUstream *phStream, unsigned int flags, int priority)
{
	struct client_object *context = client_context_current(), *stream;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!phStream || flags & ~(unsigned int)CU_STREAM_NON_BLOCKING)
		return CUDA_ERROR_INVALID_VALUE;
	if (!context)
		return CUDA_ERROR_INVALID_CONTEXT;
	/* Numerically lower is greater; what lies outside the range counts as its end. */
	if (priority > context->context.priority_least)
		priority = context->context.priority_least;
	if (priority < context->context.priority_greatest)
		priority = context->context.priority_greatest;
	result = client_handle_new(KIND_stream, context->number, &stream);
	if (result)
		return result;
	stream->stream.flags = flags;
	stream->stream.priority = priority;
	result = client_send_stream_create(stream->number, flags, priority);
	if (result) {
		client_handle_end(stream);
		return result;
	}
	*phStream = client_handle_pointer(stream);
	return CUDA_SUCCESS;
}

CUresult client_cuStreamCreate(CUstream *phStream, unsigned int Flags)
{
	return client_cuStreamCreateWithPriority(phStream, Flags, 0);
}

CUresult client_cuStreamDestroy_v2(CUstream hStream)
{
	struct client_object *stream = client_object_of(KIND_stream, hStream);
	CUresult result = client_enter();

	if (result)
		return result;
	if (!stream)
		return CUDA_ERROR_INVALID_HANDLE;
	result = client_send_stream_destroy(stream->number);
	client_handle_end(stream);
	return result;
}

CUresult client_cuStreamDestroy(CUstream hStream)
{
	return client_cuStreamDestroy_v2(hStream);
}

/* stream_pick - *object is NULL for a default stream */
static CUresult stream_pick(CUstream hStream, struct client_object **object)
{
	uint32_t number;
	CUresult result = client_enter();

	if (!result)
		result = client_number_stream(hStream, true, &number);
	if (result)
		return result;
	*object = client_handle_at(number);
	return *object || client_context_current() ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult client_cuStreamGetPriority(CUstream hStream, int *priority)
{
	struct client_object *stream;
	CUresult result = stream_pick(hStream, &stream);

	if (result)
		return result;
	if (!priority)
		return CUDA_ERROR_INVALID_VALUE;
	*priority = stream ? stream->stream.priority : 0;
	return CUDA_SUCCESS;
}

CUresult client_cuStreamGetFlags(CUstream hStream, unsigned int *flags)
{
	struct client_object *stream;
	CUresult result = stream_pick(hStream, &stream);

	if (result)
		return result;
	if (!flags)
		return CUDA_ERROR_INVALID_VALUE;
	*flags = stream ? stream->stream.flags : CU_STREAM_DEFAULT;
	return CUDA_SUCCESS;
}

CUresult client_cuStreamGetId(CUstream hStream, unsigned long long *streamId)
{
	struct client_object *stream;
	CUresult result = stream_pick(hStream, &stream);

	if (result)
		return result;
	if (!streamId)
		return CUDA_ERROR_INVALID_VALUE;
	*streamId = stream ? stream->serial : client_context_current()->serial;
	return CUDA_SUCCESS;
}

/* stream_context - the context that a stream lives in */
static struct client_object *stream_context(const struct client_object *stream)
{
	return stream ? client_handle_at(stream->parent) : client_context_current();
}

CUresult client_cuStreamGetDevice(CUstream hStream, CUdevice *device)
{
	struct client_object *stream, *context;
	CUresult result = stream_pick(hStream, &stream);

	if (result)
		return result;
	context = stream_context(stream);
	if (!device)
		return CUDA_ERROR_INVALID_VALUE;
	if (!context)
		return CUDA_ERROR_INVALID_HANDLE;
	*device = context->context.device;
	return CUDA_SUCCESS;
}

CUresult client_cuStreamGetCtx(CUstream hStream, CUcontext *pctx)
{
	struct client_object *stream, *context;
	CUresult result = stream_pick(hStream, &stream);

	if (result)
		return result;
	context = stream_context(stream);
	if (!pctx)
		return CUDA_ERROR_INVALID_VALUE;
	if (!context)
		return CUDA_ERROR_INVALID_HANDLE;
	*pctx = client_handle_pointer(context);
	return CUDA_SUCCESS;
}

CUresult client_cuStreamGetCtx_v2(CUstream hStream, CUcontext *pCtx, CUgreenCtx *pGreenCtx)
{
	if (!pGreenCtx)
		return CUDA_ERROR_INVALID_VALUE;
	*pGreenCtx = NULL;
	return client_cuStreamGetCtx(hStream, pCtx);
}

CUresult client_cuStreamSynchronize(CUstream hStream)
{
	uint32_t number;
	CUresult result = client_enter();

	if (!result)
		result = client_number_stream(hStream, true, &number);
	if (!result && !number && !client_context_number())
		result = CUDA_ERROR_INVALID_CONTEXT;
	return result ? result : client_send_stream_synchronize(number);
}

CUresult client_cuEventSynchronize(CUevent hEvent)
{
	uint32_t number;
	CUresult result = client_enter();

	if (!result)
		result = client_number_event(hEvent, false, &number);
	return result ? result : client_send_event_synchronize(number);
}

CUresult client_cuEventCreate(CUevent *phEvent, unsigned int Flags)
{
	bool shared = Flags & CU_EVENT_INTERPROCESS;
	uint32_t context = client_context_number();
	struct client_object *event;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!phEvent ||
	    Flags & ~(CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS) ||
	    (shared && !(Flags & CU_EVENT_DISABLE_TIMING)))
		return CUDA_ERROR_INVALID_VALUE;
	if (!context)
		return CUDA_ERROR_INVALID_CONTEXT;
	result = client_handle_new(KIND_event, context, &event);
	if (result)
		return result;
	result = shared ? client_send_event_create_wait(event->number, Flags)
			: client_send_event_create(event->number, Flags);
	if (result) {
		client_handle_end(event);
		return result;
	}
	*phEvent = client_handle_pointer(event);
	return CUDA_SUCCESS;
}

CUresult client_event_share(CUevent event)
{
	struct client_object *object = client_object_of(KIND_event, event);

	if (object)
		__atomic_store_n(&object->event.shared, true, __ATOMIC_RELEASE);
	return CUDA_SUCCESS;
}

CUresult client_event_order(CUevent event)
{
	struct client_object *object = client_object_of(KIND_event, event);

	if (!object || !__atomic_load_n(&object->event.shared, __ATOMIC_ACQUIRE))
		return CUDA_SUCCESS;
	return client_send_ping();
}

CUresult client_cuLaunchHostFunc(CUstream hStream, CUhostFn fn, void *userData)
{
	CUresult result = client_enter();

	if (result)
		return result;
	return fn ? client_callback_issue(hStream, fn, NULL, userData) : CUDA_ERROR_INVALID_VALUE;
}

CUresult client_cuStreamAddCallback(CUstream hStream, CUstreamCallback callback, void *userData,
				    unsigned int flags)
{
	CUresult result = client_enter();

	if (result)
		return result;
	if (!callback || flags)
		return CUDA_ERROR_INVALID_VALUE;
	return client_callback_issue(hStream, NULL, callback, userData);
}

/* Profilers attach to the worker; a program that brackets its region is not disturbed. */
CUresult client_cuProfilerStart(void)
{
	return client_enter();
}

CUresult client_cuProfilerStop(void)
{
	return client_enter();
}
