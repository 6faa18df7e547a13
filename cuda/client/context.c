/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contexts: which one is current is known here alone; making and ending one travels.
 *
 * primary_lock protects the record of each device's primary context. It is held across the
 * requests that retain and release, so that two threads cannot both create it; it is taken before
 * every other lock.
 */
#include <stdlib.h>

#include "cuda/client/client.h"
#include "cuda/client/thread.h"
#include "cuda/front/front.h"

static struct {
	pthread_mutex_t lock; /* primary_lock */
	struct {
		struct client_object *context; /* NULL: not active */
		unsigned int retained;
		unsigned int flags;
	} devices[CUDA_WIRE_DEVICES_MAX];
} primary = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* context_end - forget a context that the worker has ended, with all that lived in it */
static void context_end(struct client_object *context)
{
	uint32_t number = context->number;

	front_context_destroyed(client_handle_pointer(context));
	client_handle_end(context);
	client_range_forget(number);
}

/* context_facts - keep what the worker said about a new context */
static void context_facts(struct client_object *context, int device, unsigned int flags, int least,
			  int greatest, unsigned int api_version)
{
	context->context.device = device;
	context->context.flags = flags;
	context->context.priority_least = least;
	context->context.priority_greatest = greatest;
	context->context.api_version = api_version;
}

/* primary_make - under primary_lock */
static CUresult primary_make(CUdevice dev)
{
	struct client_object *context;
	unsigned int flags = primary.devices[dev].flags;
	int32_t least, greatest;
	uint32_t version;
	CUresult result = client_handle_new(KIND_context, 0, &context);

	if (result)
		return result;
	result = client_send_context_retain(context->number, dev, flags, &least, &greatest,
					    &version);
	if (result) {
		client_handle_end(context);
		return result;
	}
	context_facts(context, dev, flags, least, greatest, version);
	context->context.primary = true;
	primary.devices[dev].context = context;
	return CUDA_SUCCESS;
}

CUresult client_cuDevicePrimaryCtxRetain(CUcontext *pctx, CUdevice dev)
{
	CUresult result = client_device_check(dev);

	if (result)
		return result;
	if (!pctx)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&primary.lock);
	if (!primary.devices[dev].context)
		result = primary_make(dev);
	if (!result) {
		primary.devices[dev].retained++;
		*pctx = client_handle_pointer(primary.devices[dev].context);
	}
	pthread_mutex_unlock(&primary.lock);
	return result;
}

/* primary_end - under primary_lock; the record goes also when the request fails */
static CUresult primary_end(CUdevice dev)
{
	struct client_object *context = primary.devices[dev].context;
	CUresult result;

	primary.devices[dev].context = NULL;
	primary.devices[dev].retained = 0;
	result = client_send_context_release(context->number);
	context_end(context);
	return result;
}

CUresult client_cuDevicePrimaryCtxRelease_v2(CUdevice dev)
{
	CUresult result = client_device_check(dev);

	if (result)
		return result;
	pthread_mutex_lock(&primary.lock);
	if (!primary.devices[dev].context || !primary.devices[dev].retained)
		result = CUDA_ERROR_INVALID_CONTEXT;
	else if (!--primary.devices[dev].retained)
		result = primary_end(dev);
	pthread_mutex_unlock(&primary.lock);
	return result;
}

CUresult client_cuDevicePrimaryCtxRelease(CUdevice dev)
{
	return client_cuDevicePrimaryCtxRelease_v2(dev);
}

/* A reset ends all that lives in the context; the next retain makes a new one. */
CUresult client_cuDevicePrimaryCtxReset_v2(CUdevice dev)
{
	CUresult result = client_device_check(dev);

	if (result)
		return result;
	pthread_mutex_lock(&primary.lock);
	if (primary.devices[dev].context)
		result = primary_end(dev);
	primary.devices[dev].flags = 0;
	pthread_mutex_unlock(&primary.lock);
	return result;
}

CUresult client_cuDevicePrimaryCtxReset(CUdevice dev)
{
	return client_cuDevicePrimaryCtxReset_v2(dev);
}

/* context_flags_check - the scheduling flags exclude each other */
static CUresult context_flags_check(unsigned int flags)
{
	unsigned int schedule = flags & CU_CTX_SCHED_MASK;

	if (flags & ~(unsigned int)CU_CTX_FLAGS_MASK || (schedule & (schedule - 1)))
		return CUDA_ERROR_INVALID_VALUE;
	return CUDA_SUCCESS;
}

CUresult client_cuDevicePrimaryCtxSetFlags_v2(CUdevice dev, unsigned int flags)
{
	CUresult result = client_device_check(dev);

	if (!result)
		result = context_flags_check(flags);
	if (result)
		return result;
	pthread_mutex_lock(&primary.lock);
	primary.devices[dev].flags = flags;
	if (primary.devices[dev].context)
		primary.devices[dev].context->context.flags = flags;
	pthread_mutex_unlock(&primary.lock);
	return CUDA_SUCCESS;
}

CUresult client_cuDevicePrimaryCtxSetFlags(CUdevice dev, unsigned int flags)
{
	return client_cuDevicePrimaryCtxSetFlags_v2(dev, flags);
}

CUresult client_cuDevicePrimaryCtxGetState(CUdevice dev, unsigned int *flags, int *active)
{
	CUresult result = client_device_check(dev);

	if (result)
		return result;
	if (!flags || !active)
		return CUDA_ERROR_INVALID_VALUE;
	*flags = __atomic_load_n(&primary.devices[dev].flags, __ATOMIC_RELAXED);
	*active = __atomic_load_n(&primary.devices[dev].context, __ATOMIC_RELAXED) != NULL;
	return CUDA_SUCCESS;
}

static CUresult context_create(CUcontext *pctx, unsigned int flags, CUdevice dev)
{
	struct client_object *context;
	int32_t least, greatest;
	uint32_t version;
	CUresult result = client_device_check(dev);

	if (!result)
		result = context_flags_check(flags);
	if (result)
		return result;
	if (!pctx)
		return CUDA_ERROR_INVALID_VALUE;
	result = client_handle_new(KIND_context, 0, &context);
	if (result)
		return result;
	result = client_send_context_create(context->number, dev, flags, &least, &greatest,
					    &version);
	if (!result) {
		context_facts(context, dev, flags, least, greatest, version);
		result = client_thread_push(context);
	}
	if (result) {
		client_handle_end(context);
		return result;
	}
	*pctx = client_handle_pointer(context);
	return CUDA_SUCCESS;
}

CUresult client_cuCtxCreate(CUcontext *pctx, unsigned int flags, CUdevice dev)
{
	return context_create(pctx, flags, dev);
}

CUresult client_cuCtxCreate_v2(CUcontext *pctx, unsigned int flags, CUdevice dev)
{
	return context_create(pctx, flags, dev);
}

CUresult client_cuCtxCreate_v3(CUcontext *pctx, CUexecAffinityParam *paramsArray, int numParams,
			       unsigned int flags, CUdevice dev)
{
	if (numParams || paramsArray)
		return CUDA_ERROR_NOT_SUPPORTED;
	return context_create(pctx, flags, dev);
}

CUresult client_cuCtxCreate_v4(CUcontext *pctx, CUctxCreateParams *ctxCreateParams,
			       unsigned int flags, CUdevice dev)
{
	if (ctxCreateParams && (ctxCreateParams->execAffinityParams || ctxCreateParams->cigParams))
		return CUDA_ERROR_NOT_SUPPORTED;
	return context_create(pctx, flags, dev);
}

CUresult client_cuCtxDestroy_v2(CUcontext ctx)
{
	struct client_object *context = client_object_of(KIND_context, ctx), *popped;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!context || context->context.primary)
		return CUDA_ERROR_INVALID_CONTEXT;
	result = client_send_context_destroy(context->number);
	if (client_context_current() == context)
		client_thread_pop(&popped);
	context_end(context);
	return result;
}

CUresult client_cuCtxDestroy(CUcontext ctx)
{
	return client_cuCtxDestroy_v2(ctx);
}

CUresult client_cuCtxAttach(CUcontext *pctx, unsigned int flags)
{
	struct client_object *context = client_context_current();
	CUresult result = client_enter();

	if (result)
		return result;
	if (!pctx || flags)
		return CUDA_ERROR_INVALID_VALUE;
	if (!context)
		return CUDA_ERROR_INVALID_CONTEXT;
	return CUDA_ERROR_NOT_SUPPORTED; /* counted uses went out with CUDA 4 */
}

CUresult client_cuCtxDetach(CUcontext ctx)
{
	return client_cuCtxDestroy_v2(ctx);
}

CUresult client_cuCtxPushCurrent_v2(CUcontext ctx)
{
	struct client_object *context = client_object_of(KIND_context, ctx);
	CUresult result = client_enter();

	if (result)
		return result;
	return context ? client_thread_push(context) : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult client_cuCtxPushCurrent(CUcontext ctx)
{
	return client_cuCtxPushCurrent_v2(ctx);
}

CUresult client_cuCtxPopCurrent_v2(CUcontext *pctx)
{
	struct client_object *context;
	CUresult result = client_enter();

	if (!result)
		result = client_thread_pop(&context);
	if (!result && pctx)
		*pctx = client_handle_pointer(context);
	return result;
}

CUresult client_cuCtxPopCurrent(CUcontext *pctx)
{
	return client_cuCtxPopCurrent_v2(pctx);
}

CUresult client_cuCtxSetCurrent(CUcontext ctx)
{
	struct client_object *context = client_object_of(KIND_context, ctx);
	CUresult result = client_enter();

	if (result)
		return result;
	if (ctx && !context)
		return CUDA_ERROR_INVALID_CONTEXT;
	return client_thread_set(context);
}

CUresult client_cuCtxGetCurrent(CUcontext *pctx)
{
	struct client_object *context = client_context_current();
	CUresult result = client_enter();

	if (result)
		return result;
	if (!pctx)
		return CUDA_ERROR_INVALID_VALUE;
	*pctx = context ? client_handle_pointer(context) : NULL;
	return CUDA_SUCCESS;
}

/* context_pick - the one named, or the current one where it is NULL */
static CUresult context_pick(CUcontext ctx, struct client_object **context)
{
	CUresult result = client_enter();

	if (result)
		return result;
	*context = ctx ? client_object_of(KIND_context, ctx) : client_context_current();
	return *context ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult client_cuCtxGetDevice_v2(CUdevice *device, CUcontext ctx)
{
	struct client_object *context;
	CUresult result = context_pick(ctx, &context);

	if (result)
		return result;
	if (!device)
		return CUDA_ERROR_INVALID_VALUE;
	*device = context->context.device;
	return CUDA_SUCCESS;
}

CUresult client_cuCtxGetDevice(CUdevice *device)
{
	return client_cuCtxGetDevice_v2(device, NULL);
}

CUresult client_cuCtxGetFlags(unsigned int *flags)
{
	struct client_object *context;
	CUresult result = context_pick(NULL, &context);

	if (result)
		return result;
	if (!flags)
		return CUDA_ERROR_INVALID_VALUE;
	*flags = context->context.flags;
	return CUDA_SUCCESS;
}

CUresult client_cuCtxSetFlags(unsigned int flags)
{
	struct client_object *context;
	CUresult result = context_pick(NULL, &context);

	if (!result)
		result = context_flags_check(flags);
	if (!result)
		context->context.flags = flags;
	return result;
}

CUresult client_cuCtxGetId(CUcontext ctx, unsigned long long *ctxId)
{
	struct client_object *context;
	CUresult result = context_pick(ctx, &context);

	if (result)
		return result;
	if (!ctxId)
		return CUDA_ERROR_INVALID_VALUE;
	*ctxId = context->serial;
	return CUDA_SUCCESS;
}

CUresult client_cuCtxGetApiVersion(CUcontext ctx, unsigned int *version)
{
	struct client_object *context;
	CUresult result = context_pick(ctx, &context);

	if (result)
		return result;
	if (!version)
		return CUDA_ERROR_INVALID_VALUE;
	*version = context->context.api_version;
	return CUDA_SUCCESS;
}

CUresult client_cuCtxSynchronize_v2(CUcontext ctx)
{
	struct client_object *context;
	CUresult result = context_pick(ctx, &context);

	return result ? result : client_send_context_synchronize(context->number);
}

CUresult client_cuCtxSynchronize(void)
{
	return client_cuCtxSynchronize_v2(NULL);
}

CUresult client_cuCtxGetStreamPriorityRange(int *leastPriority, int *greatestPriority)
{
	struct client_object *context;
	CUresult result = context_pick(NULL, &context);

	if (result)
		return result;
	if (leastPriority)
		*leastPriority = context->context.priority_least;
	if (greatestPriority)
		*greatestPriority = context->context.priority_greatest;
	return CUDA_SUCCESS;
}
