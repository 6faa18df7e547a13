/* SPDX-License-Identifier: Apache-2.0 */
/* Contexts and streams on the driver's side: making, ending, waiting. */
#include <malloc.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "cuda/server/turn.h"
#include "cuda/server/worker.h"

#define QUERY_NS	 20000 /* a synchronisation asks so long before another thread may lead, */
#define QUERY_ALONE_NS	 10000000 /* or so long while nobody wants to, where there are */
#define QUERY_PROCESSORS 4	  /* so many processors; */
#define QUERY_YIELD_NS	 200000	  /* and gives way after this time */

static bool streams_made; /* there is or was a stream beside the legacy one; in turn */

/* How much was issued when a context was last known to be idle; owned by the context's handle. */
struct context_clean {
	uint64_t issued;
	int device;
	bool primary;
};

/* context_facts - what the client keeps of a new context; zero where the driver does not say */
static void context_facts(CUcontext context, int32_t *least, int32_t *greatest, uint32_t *version)
{
	int low = 0, high = 0;
	unsigned int api = 0;

	if (worker_driver.cuCtxGetStreamPriorityRange)
		worker_driver.cuCtxGetStreamPriorityRange(&low, &high);
	if (worker_driver.cuCtxGetApiVersion)
		worker_driver.cuCtxGetApiVersion(context, &api);
	*least = low;
	*greatest = high;
	*version = api;
}

/* context_adopt - enter a new context into the table and make it current in this thread */
static CUresult context_adopt(struct worker_call *call, uint32_t number, CUcontext context,
			      int device, bool primary)
{
	struct context_clean *clean = calloc(1, sizeof(*clean));
	CUresult result;

	if (!clean)
		return CUDA_ERROR_OUT_OF_MEMORY;
	clean->issued = UINT64_MAX;
	clean->device = device;
	clean->primary = primary;
	result = worker_handle_set(call, KIND_context, number, context, 0);
	if (result) {
		free(clean);
		return result;
	}
	worker_handle_own(number, clean);
	quota_show_device(device);
	return worker_enter_context(number);
}

CUresult worker_context_retain(struct worker_call *call,
			       const struct wire_context_retain_request *request,
			       struct wire_context_retain_reply *reply)
{
	CUcontext context;
	CUresult result;

	if (!worker_handle_free(call, request->context))
		return worker_broken(call);
	if (!worker_driver.cuDevicePrimaryCtxRetain)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (request->flags && worker_driver.cuDevicePrimaryCtxSetFlags_v2)
		worker_driver.cuDevicePrimaryCtxSetFlags_v2(request->device, request->flags);
	result = worker_driver.cuDevicePrimaryCtxRetain(&context, request->device);
	if (!result)
		result = context_adopt(call, request->context, context, request->device, true);
	if (!result)
		context_facts(context, &reply->priority_least, &reply->priority_greatest,
			      &reply->api_version);
	return result;
}

/* context_forget - the handle, all handles in it, and its memory */
static void context_forget(struct worker_call *call, uint32_t number, CUcontext context)
{
	worker_handle_end(call, number);
	worker_range_forget(number);
	worker_context_gone(context);
}

CUresult worker_context_release(struct worker_call *call,
				const struct wire_context_release_request *request)
{
	const struct context_clean *clean;
	CUcontext context;
	int device;
	CUresult result = worker_handle_find(call, KIND_context, request->context, false, &context);

	if (result)
		return result;
	clean = worker_handle_owned(request->context);
	if (!clean || !clean->primary)
		return CUDA_ERROR_INVALID_CONTEXT;
	device = clean->device;
	context_forget(call, request->context, context);
	if (!worker_driver.cuDevicePrimaryCtxRelease_v2)
		return CUDA_ERROR_NOT_SUPPORTED;
	worker_step_back(call);
	return worker_driver.cuDevicePrimaryCtxRelease_v2(device);
}

CUresult worker_context_create(struct worker_call *call,
			       const struct wire_context_create_request *request,
			       struct wire_context_create_reply *reply)
{
	CUcontext context;
	CUresult result;

	if (!worker_handle_free(call, request->context))
		return worker_broken(call);
	if (!worker_driver.cuCtxCreate_v2)
		return CUDA_ERROR_NOT_SUPPORTED;
	result = worker_driver.cuCtxCreate_v2(&context, request->flags, request->device);
	worker_context_gone(NULL); /* it is current now, whatever this thread believed */
	if (!result)
		result = context_adopt(call, request->context, context, request->device, false);
	if (!result)
		context_facts(context, &reply->priority_least, &reply->priority_greatest,
			      &reply->api_version);
	return result;
}

CUresult worker_context_destroy(struct worker_call *call,
				const struct wire_context_destroy_request *request)
{
	const struct context_clean *clean;
	CUcontext context;
	CUresult result = worker_handle_find(call, KIND_context, request->context, false, &context);

	if (result)
		return result;
	clean = worker_handle_owned(request->context);
	if (!clean || clean->primary)
		return CUDA_ERROR_INVALID_CONTEXT;
	context_forget(call, request->context, context);
	if (!worker_driver.cuCtxDestroy_v2)
		return CUDA_ERROR_NOT_SUPPORTED;
	worker_step_back(call);
	return worker_driver.cuCtxDestroy_v2(context);
}

static CUresult query_stream(void *stream)
{
	return worker_driver.cuStreamQuery ? worker_driver.cuStreamQuery(stream)
					   : CUDA_ERROR_NOT_READY;
}

static CUresult query_event(void *event)
{
	return worker_driver.cuEventQuery ? worker_driver.cuEventQuery(event)
					  : CUDA_ERROR_NOT_READY;
}

/* wait_alone - whether this thread may go on asking: nobody wants anything else of it */
static bool wait_alone(const struct worker_call *call)
{
	static int processors; /* atomic; 0: not asked yet */
	int count = __atomic_load_n(&processors, __ATOMIC_RELAXED);

	if (!count) {
		count = (int)sysconf(_SC_NPROCESSORS_ONLN);
		__atomic_store_n(&processors, count, __ATOMIC_RELAXED);
	}
	return count >= QUERY_PROCESSORS && call->leading &&
	       (link_medium(worker_link) == LINK_RING || link_medium(worker_link) == LINK_SCIF) &&
	       !link_readable(worker_link);
}

/*
 * wait_query - ask for a short while; CUDA_ERROR_NOT_READY: it takes longer
 *
 * Over a ring it goes on for longer while no request comes. So the thread that answers is the one
 * that then reads, awake: a reader that slept through the wait would have to be woken for the next
 * request, which costs a guest hundreds of microseconds.
 */
static CUresult wait_query(const struct worker_call *call, CUresult (*query)(void *), void *subject)
{
	struct timespec begin, now;
	CUresult result;
	long passed_ns;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	do {
		result = query(subject);
		if (result != CUDA_ERROR_NOT_READY)
			return result;
		clock_gettime(CLOCK_MONOTONIC, &now);
		passed_ns = (now.tv_sec - begin.tv_sec) * 1000000000L + now.tv_nsec - begin.tv_nsec;
		if (passed_ns > QUERY_YIELD_NS)
			sched_yield();
	} while (passed_ns < QUERY_NS || (passed_ns < QUERY_ALONE_NS && wait_alone(call)));
	return CUDA_ERROR_NOT_READY;
}

/*
 * How much was issued when the legacy stream was last seen idle; in turn. What was issued since
 * may have been something else, which only costs a question.
 */
static uint64_t legacy_idle;

bool worker_legacy_idle(const struct worker_call *call)
{
	return call->in_turn && legacy_idle + 1 == worker_issued();
}

void worker_legacy_waited(const struct worker_call *call)
{
	if (call->in_turn)
		legacy_idle = worker_issued();
}

CUresult worker_stream_wait(struct worker_call *call, CUstream stream)
{
	CUresult result = wait_query(call, query_stream, stream);

	if (result && result != CUDA_ERROR_NOT_READY)
		return result;
	if (!worker_driver.cuStreamSynchronize)
		return result == CUDA_ERROR_NOT_READY ? CUDA_ERROR_NOT_SUPPORTED : result;
	if (result == CUDA_ERROR_NOT_READY)
		worker_step_aside(call);
	/* A query alone does not bring the text that kernels print. */
	if (result || worker_may_print())
		result = worker_driver.cuStreamSynchronize(stream);
	if (!result && !stream)
		worker_legacy_waited(call);
	return result;
}

CUresult worker_context_synchronize(struct worker_call *call,
				    const struct wire_context_synchronize_request *request)
{
	uint64_t before = worker_issued();
	struct context_clean *clean;
	CUcontext context;
	CUresult result = worker_handle_find(call, KIND_context, request->context, false, &context);

	if (result)
		return result;
	result = worker_enter_context(request->context);
	if (result)
		return result;
	clean = worker_handle_owned(request->context);
	if (!clean)
		return CUDA_ERROR_INVALID_CONTEXT;
	if (clean->issued == before)
		return CUDA_SUCCESS; /* nothing was issued since it was last waited for */
	if (!worker_driver.cuCtxSynchronize)
		return CUDA_ERROR_NOT_SUPPORTED;
	/* Work on the default stream alone is the common case, and often short. */
	result = wait_query(call, query_stream, NULL);
	if (result == CUDA_ERROR_NOT_READY)
		worker_step_aside(call);
	/* With one stream the query has said all, apart from the text that kernels print. */
	if (result || streams_made || worker_may_print())
		result = worker_driver.cuCtxSynchronize();
	if (!result && call->in_turn)
		clean->issued = before;
	return result;
}

CUresult worker_stream_create(struct worker_call *call,
			      const struct wire_stream_create_request *request)
{
	CUstream stream;
	CUresult result;

	if (!worker_handle_free(call, request->stream))
		return worker_broken(call);
	streams_made = true;
	if (worker_driver.cuStreamCreateWithPriority)
		result = worker_driver.cuStreamCreateWithPriority(&stream, request->flags,
								  request->priority);
	else if (worker_driver.cuStreamCreate)
		result = worker_driver.cuStreamCreate(&stream, request->flags);
	else
		result = CUDA_ERROR_NOT_SUPPORTED;
	if (result)
		return result;
	return worker_handle_set(call, KIND_stream, request->stream, stream, call->request.context);
}

CUresult worker_stream_destroy(struct worker_call *call,
			       const struct wire_stream_destroy_request *request)
{
	CUstream stream;
	CUresult result = worker_handle_find(call, KIND_stream, request->stream, false, &stream);

	if (result)
		return result;
	worker_handle_end(call, request->stream);
	return worker_driver.cuStreamDestroy_v2 ? worker_driver.cuStreamDestroy_v2(stream)
						: CUDA_ERROR_NOT_SUPPORTED;
}

CUresult worker_stream_synchronize(struct worker_call *call,
				   const struct wire_stream_synchronize_request *request)
{
	CUstream stream;
	CUresult result = worker_handle_find(call, KIND_stream, request->stream, true, &stream);

	return result ? result : worker_stream_wait(call, stream);
}

static CUresult event_create(struct worker_call *call, uint32_t number, unsigned int flags)
{
	CUevent event;
	CUresult result;

	if (!worker_handle_free(call, number))
		return worker_broken(call);
	if (!worker_driver.cuEventCreate)
		return CUDA_ERROR_NOT_SUPPORTED;
	result = worker_driver.cuEventCreate(&event, flags);
	return result ? result
		      : worker_handle_set(call, KIND_event, number, event, call->request.context);
}

CUresult worker_event_create(struct worker_call *call,
			     const struct wire_event_create_request *request)
{
	return event_create(call, request->event, request->flags);
}

CUresult worker_event_create_wait(struct worker_call *call,
				  const struct wire_event_create_wait_request *request)
{
	return event_create(call, request->event, request->flags);
}

CUresult worker_event_synchronize(struct worker_call *call,
				  const struct wire_event_synchronize_request *request)
{
	CUevent event;
	CUresult result = worker_handle_find(call, KIND_event, request->event, false, &event);

	if (!result)
		result = wait_query(call, query_event, event);
	if (result != CUDA_ERROR_NOT_READY)
		return result;
	if (!worker_driver.cuEventSynchronize)
		return CUDA_ERROR_NOT_SUPPORTED;
	worker_step_aside(call);
	return worker_driver.cuEventSynchronize(event);
}

/*
 * The driver has these in a table without documentation: two arrays that it allocates, as long as
 * there are pairs of multiprocessors. How long they are it does not say, so that no more is read
 * than was allocated.
 */
CUresult worker_device_places(struct worker_call *call,
			      const struct wire_device_places_request *request,
			      struct wire_device_places_reply *reply)
{
	static const CUuuid id = { { 0x17, 0x34, (char)0xdc, 0x26, (char)0x80, 0x0d, 0x47, 0x45,
				     (char)0x87, 0x26, (char)0xc0, (char)0xf1, (char)0xe7,
				     (char)0xdd, (char)0x8b, (char)0xca } };
	const struct {
		size_t bytes;
		void *before[3];
		int (*get)(unsigned char **, unsigned char **);
		void *between[8];
		int (*release)(unsigned char *, unsigned char *);
	} *table = NULL;
	unsigned char *cluster = NULL, *place = NULL;
	size_t count;
	CUresult result;

	(void)request;
	if (!worker_driver.cuGetExportTable)
		return CUDA_ERROR_NOT_SUPPORTED;
	result = worker_driver.cuGetExportTable((const void **)&table, &id);
	if (!result && (!table || table->bytes < sizeof(*table)))
		result = CUDA_ERROR_NOT_SUPPORTED;
	if (!result)
		result = (CUresult)table->get(&cluster, &place);
	if (result)
		return result;
	count = malloc_usable_size(cluster);
	if (malloc_usable_size(place) < count)
		count = malloc_usable_size(place);
	if (count > CUDA_WIRE_LIST_MAX)
		count = CUDA_WIRE_LIST_MAX;
	reply->bytes = count;
	result = worker_list_add(call, cluster, count, 1);
	if (!result)
		result = worker_list_add(call, place, count, 1);
	table->release(cluster, place);
	return result;
}

/* An empty request, for measuring the way and for knowing that the worker lives. */
CUresult worker_ping(struct worker_call *call, const struct wire_ping_request *request)
{
	(void)call;
	(void)request;
	return CUDA_SUCCESS;
}
