/* SPDX-License-Identifier: Apache-2.0 */
/*
 * context: what a program computes in. A context has a device, streams, and owns modules, events
 * and memory, which end with it.
 *
 * States: active -> ended. A context made by cuCtxCreate is gone then; a device's primary context
 * keeps its handle and becomes active again with the next retain, as runtimes keep the handle.
 * A failure (a kernel's fault) stays for good: every call returns it until the context ends.
 *
 * Each thread has a stack of contexts. It holds handles with their ids, so a context that was
 * destroyed elsewhere is noticed although its place may be taken by another.
 *
 * Locks: context_lock over creation, end and the primary contexts; the stacks are the threads' own.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/front/front.h"
#include "cuda/softgpu/driver.h"

#define STACK_DEPTH   64
#define PRINT_DEFAULT (1u << 20)

struct stacked {
	struct context *context;
	uint64_t id;
};

/* Recursive: the destructors of context-local storage may call the driver. */
static pthread_mutex_t context_lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static _Atomic(struct context *) primaries[DEVICES_MAX]; /* read without the lock too */
static unsigned int primary_flags[DEVICES_MAX];
static uint64_t next_context_id = 1;
static __thread struct stacked stack[STACK_DEPTH];
static __thread int depth;

/* ---- life ---- */

static struct context *context_allocate(CUdevice device, unsigned int flags, bool primary)
{
	struct context *context = object_create(OBJECT_CONTEXT);

	if (!context)
		return NULL;
	context->id = next_context_id++;
	context->device = device;
	context->flags = flags;
	context->primary = primary;
	pthread_mutex_init(&context->print.lock, NULL);
	return context;
}

static CUresult context_activate(struct context *context)
{
	if (memory_charge(context->device, settings.context_bytes) != CUDA_SUCCESS)
		return CUDA_ERROR_OUT_OF_MEMORY;
	context->failure = 0;
	context->limits[CU_LIMIT_STACK_SIZE] = 1024;
	context->limits[CU_LIMIT_PRINTF_FIFO_SIZE] = PRINT_DEFAULT;
	context->limits[CU_LIMIT_MALLOC_HEAP_SIZE] = 8u << 20;
	context->limits[CU_LIMIT_DEV_RUNTIME_SYNC_DEPTH] = 2;
	context->limits[CU_LIMIT_DEV_RUNTIME_PENDING_LAUNCH_COUNT] = 2048;
	context->limits[CU_LIMIT_MAX_L2_FETCH_GRANULARITY] = 64;
	context->limits[CU_LIMIT_PERSISTING_L2_CACHE_SIZE] = 0;
	context->legacy = stream_create(context, STREAM_LEGACY, CU_STREAM_DEFAULT, 0);
	if (!context->legacy) {
		memory_discharge(context->device, settings.context_bytes);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	context->active = true;
	return CUDA_SUCCESS;
}

/* Ends everything in the context. Caller holds context_lock. */
static void context_end(struct context *context)
{
	context_drain(context);
	context->active = false;
	front_context_destroyed(context);
	context_streams_close(context);
	context_events_destroy(context);
	context_modules_unload(context);
	ipc_close_context(context);
	memory_free_context(context);
	memory_discharge(context->device, settings.context_bytes);
	context_print_flush(context);
	free(context->print.text);
	context->print.text = NULL;
}

static CUresult context_primary(CUdevice device, struct context **context)
{
	CUresult result = driver_ready();

	if (result != CUDA_SUCCESS)
		return result;
	if (!device_valid(device))
		return CUDA_ERROR_INVALID_DEVICE;
	pthread_mutex_lock(&context_lock);
	if (!primaries[device])
		primaries[device] = context_allocate(device, primary_flags[device], true);
	if (!primaries[device])
		result = CUDA_ERROR_OUT_OF_MEMORY;
	else if (!primaries[device]->active)
		result = context_activate(primaries[device]);
	if (result == CUDA_SUCCESS) {
		primaries[device]->references++;
		*context = primaries[device];
	}
	pthread_mutex_unlock(&context_lock);
	return result;
}

struct context *context_primary_active(CUdevice device)
{
	struct context *context = primaries[device];

	return context && context->active ? context : NULL;
}

/* ---- the calling thread's stack ---- */

static struct context *context_current(void)
{
	return depth > 0 ? stack[depth - 1].context : NULL;
}

static CUresult context_health(struct context *context, uint64_t id)
{
	if (!object_valid(OBJECT_CONTEXT, context) || context->id != id || !context->active)
		return CUDA_ERROR_CONTEXT_IS_DESTROYED;
	/* Whichever call tells of a failure first brings what the device printed before it. */
	if (context->failure)
		context_print_flush(context);
	return (CUresult)context->failure;
}

CUresult context_enter(struct context **context)
{
	CUresult result = driver_ready();

	if (result != CUDA_SUCCESS)
		return result;
	if (thread_in_callback())
		return CUDA_ERROR_NOT_PERMITTED;
	if (depth == 0 || !stack[depth - 1].context)
		return CUDA_ERROR_INVALID_CONTEXT;
	*context = stack[depth - 1].context;
	return context_health(*context, stack[depth - 1].id);
}

/* The context behind a handle that a program gave, healthy; NULL means the current one. */
static CUresult context_of(CUcontext handle, struct context **context)
{
	CUresult result;

	if (!handle)
		return context_enter(context);
	result = driver_ready();
	if (result != CUDA_SUCCESS)
		return result;
	*context = (struct context *)handle;
	if (!object_valid(OBJECT_CONTEXT, *context))
		return CUDA_ERROR_INVALID_CONTEXT;
	return context_health(*context, (*context)->id);
}

void context_fail(struct context *context, CUresult result)
{
	int none = 0;

	atomic_compare_exchange_strong(&context->failure, &none, (int)result);
}

static CUresult push(struct context *context)
{
	if (depth == STACK_DEPTH)
		return CUDA_ERROR_OUT_OF_MEMORY;
	stack[depth++] = (struct stacked){ context, context->id };
	return CUDA_SUCCESS;
}

CUresult cuCtxPushCurrent_v2(CUcontext ctx)
{
	CUresult result = driver_ready();

	if (result != CUDA_SUCCESS)
		return result;
	if (!object_valid(OBJECT_CONTEXT, ctx))
		return CUDA_ERROR_INVALID_CONTEXT;
	return push((struct context *)ctx);
}

CUresult cuCtxPushCurrent(CUcontext ctx)
{
	return cuCtxPushCurrent_v2(ctx);
}

CUresult cuCtxPopCurrent_v2(CUcontext *pctx)
{
	CUresult result = driver_ready();

	if (result != CUDA_SUCCESS)
		return result;
	if (depth == 0)
		return CUDA_ERROR_INVALID_CONTEXT;
	depth--;
	if (pctx)
		*pctx = (CUcontext)stack[depth].context;
	return CUDA_SUCCESS;
}

CUresult cuCtxPopCurrent(CUcontext *pctx)
{
	return cuCtxPopCurrent_v2(pctx);
}

CUresult cuCtxSetCurrent(CUcontext ctx)
{
	CUresult result = driver_ready();

	if (result != CUDA_SUCCESS)
		return result;
	if (ctx && !object_valid(OBJECT_CONTEXT, ctx))
		return CUDA_ERROR_INVALID_CONTEXT;
	if (depth > 0)
		depth--;
	return ctx ? push((struct context *)ctx) : CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext *pctx)
{
	CUresult result = driver_ready();

	if (result != CUDA_SUCCESS)
		return result;
	if (!pctx)
		return CUDA_ERROR_INVALID_VALUE;
	*pctx = (CUcontext)context_current();
	return CUDA_SUCCESS;
}

/* ---- primary contexts ---- */

CUresult cuDevicePrimaryCtxRetain(CUcontext *pctx, CUdevice dev)
{
	if (!pctx)
		return CUDA_ERROR_INVALID_VALUE;
	return context_primary(dev, (struct context **)pctx);
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice dev)
{
	CUresult result = driver_ready();
	struct context *context;

	if (result != CUDA_SUCCESS)
		return result;
	if (!device_valid(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	pthread_mutex_lock(&context_lock);
	context = primaries[dev];
	if (!context || context->references == 0)
		result = CUDA_ERROR_INVALID_CONTEXT;
	else if (--context->references == 0 && context->active)
		context_end(context);
	pthread_mutex_unlock(&context_lock);
	return result;
}

CUresult cuDevicePrimaryCtxRelease(CUdevice dev)
{
	return cuDevicePrimaryCtxRelease_v2(dev);
}

CUresult cuDevicePrimaryCtxReset_v2(CUdevice dev)
{
	CUresult result = driver_ready();

	if (result != CUDA_SUCCESS)
		return result;
	if (!device_valid(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	pthread_mutex_lock(&context_lock);
	if (primaries[dev] && primaries[dev]->active)
		context_end(primaries[dev]);
	pthread_mutex_unlock(&context_lock);
	return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxReset(CUdevice dev)
{
	return cuDevicePrimaryCtxReset_v2(dev);
}

static bool flags_valid(unsigned int flags)
{
	unsigned int scheduling = flags & CU_CTX_SCHED_MASK;

	return !(flags & ~(unsigned int)CU_CTX_FLAGS_MASK) && (scheduling & (scheduling - 1)) == 0;
}

CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice dev, unsigned int flags)
{
	CUresult result = driver_ready();

	if (result != CUDA_SUCCESS)
		return result;
	if (!device_valid(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	if (!flags_valid(flags))
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&context_lock);
	primary_flags[dev] = flags;
	if (primaries[dev])
		primaries[dev]->flags = flags;
	pthread_mutex_unlock(&context_lock);
	return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxSetFlags(CUdevice dev, unsigned int flags)
{
	return cuDevicePrimaryCtxSetFlags_v2(dev, flags);
}

CUresult cuDevicePrimaryCtxGetState(CUdevice dev, unsigned int *flags, int *active)
{
	CUresult result = driver_ready();

	if (result != CUDA_SUCCESS)
		return result;
	if (!device_valid(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	if (!flags || !active)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&context_lock);
	*flags = primary_flags[dev];
	*active = primaries[dev] && primaries[dev]->active;
	pthread_mutex_unlock(&context_lock);
	return CUDA_SUCCESS;
}

/* ---- contexts of a program's own ---- */

CUresult cuCtxCreate_v2(CUcontext *pctx, unsigned int flags, CUdevice dev)
{
	CUresult result = driver_ready();
	struct context *context;

	if (result != CUDA_SUCCESS)
		return result;
	if (!pctx || !flags_valid(flags))
		return CUDA_ERROR_INVALID_VALUE;
	if (!device_valid(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	pthread_mutex_lock(&context_lock);
	context = context_allocate(dev, flags, false);
	if (!context)
		result = CUDA_ERROR_OUT_OF_MEMORY;
	else
		result = context_activate(context);
	pthread_mutex_unlock(&context_lock);
	if (result == CUDA_SUCCESS)
		result = push(context);
	if (result == CUDA_SUCCESS)
		*pctx = (CUcontext)context;
	return result;
}

CUresult cuCtxCreate(CUcontext *pctx, unsigned int flags, CUdevice dev)
{
	return cuCtxCreate_v2(pctx, flags, dev);
}

CUresult cuCtxCreate_v3(CUcontext *pctx, CUexecAffinityParam *paramsArray, int numParams,
			unsigned int flags, CUdevice dev)
{
	if (paramsArray || numParams != 0)
		return CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY;
	return cuCtxCreate_v2(pctx, flags, dev);
}

CUresult cuCtxCreate_v4(CUcontext *pctx, CUctxCreateParams *ctxCreateParams, unsigned int flags,
			CUdevice dev)
{
	if (ctxCreateParams && ctxCreateParams->cigParams)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (ctxCreateParams && ctxCreateParams->numExecAffinityParams != 0)
		return CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY;
	return cuCtxCreate_v2(pctx, flags, dev);
}

CUresult cuCtxDestroy_v2(CUcontext ctx)
{
	struct context *context = (struct context *)ctx;
	CUresult result = driver_ready();

	if (result != CUDA_SUCCESS)
		return result;
	if (!object_valid(OBJECT_CONTEXT, context) || context->primary)
		return CUDA_ERROR_INVALID_CONTEXT;
	pthread_mutex_lock(&context_lock);
	context_end(context);
	pthread_mutex_destroy(&context->print.lock);
	object_destroy(OBJECT_CONTEXT, context);
	pthread_mutex_unlock(&context_lock);
	if (depth > 0 && stack[depth - 1].context == context)
		depth--;
	return CUDA_SUCCESS;
}

CUresult cuCtxDestroy(CUcontext ctx)
{
	return cuCtxDestroy_v2(ctx);
}

/* Attach and detach count uses of the current context; ours live until they are destroyed. */
CUresult cuCtxAttach(CUcontext *pctx, unsigned int flags)
{
	struct context *context;
	CUresult result = context_enter(&context);

	if (result != CUDA_SUCCESS)
		return result;
	if (!pctx || flags != 0)
		return CUDA_ERROR_INVALID_VALUE;
	*pctx = (CUcontext)context;
	return CUDA_SUCCESS;
}

CUresult cuCtxDetach(CUcontext ctx)
{
	struct context *context;
	CUresult result = context_enter(&context);

	if (result != CUDA_SUCCESS)
		return result;
	return (CUcontext)context == ctx ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

/* ---- what a context says of itself ---- */

CUresult cuCtxGetDevice_v2(CUdevice *device, CUcontext ctx)
{
	struct context *context;
	CUresult result = context_of(ctx, &context);

	if (result != CUDA_SUCCESS)
		return result;
	if (!device)
		return CUDA_ERROR_INVALID_VALUE;
	*device = context->device;
	return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice *device)
{
	return cuCtxGetDevice_v2(device, NULL);
}

CUresult cuCtxGetFlags(unsigned int *flags)
{
	struct context *context;
	CUresult result = context_enter(&context);

	if (result != CUDA_SUCCESS)
		return result;
	if (!flags)
		return CUDA_ERROR_INVALID_VALUE;
	*flags = context->flags;
	return CUDA_SUCCESS;
}

CUresult cuCtxSetFlags(unsigned int flags)
{
	struct context *context;
	CUresult result = context_enter(&context);

	if (result != CUDA_SUCCESS)
		return result;
	if (!flags_valid(flags))
		return CUDA_ERROR_INVALID_VALUE;
	context->flags = flags;
	return CUDA_SUCCESS;
}

CUresult cuCtxGetId(CUcontext ctx, unsigned long long *ctxId)
{
	struct context *context;
	CUresult result = context_of(ctx, &context);

	if (result != CUDA_SUCCESS)
		return result;
	if (!ctxId)
		return CUDA_ERROR_INVALID_VALUE;
	*ctxId = context->id;
	return CUDA_SUCCESS;
}

CUresult cuCtxGetApiVersion(CUcontext ctx, unsigned int *version)
{
	struct context *context;
	CUresult result = context_of(ctx, &context);

	if (result != CUDA_SUCCESS)
		return result;
	if (!version)
		return CUDA_ERROR_INVALID_VALUE;
	*version = 3020;
	return CUDA_SUCCESS;
}

CUresult cuCtxSynchronize_v2(CUcontext ctx)
{
	struct context *context;
	CUresult result = context_of(ctx, &context);

	if (result != CUDA_SUCCESS)
		return result;
	context_drain(context);
	return (CUresult)context->failure;
}

CUresult cuCtxSynchronize(void)
{
	return cuCtxSynchronize_v2(NULL);
}

CUresult cuCtxGetLimit(size_t *pvalue, CUlimit limit)
{
	struct context *context;
	CUresult result = context_enter(&context);

	if (result != CUDA_SUCCESS)
		return result;
	if (!pvalue || (unsigned int)limit >= CU_LIMIT_MAX)
		return CUDA_ERROR_INVALID_VALUE;
	if (limit > CU_LIMIT_PERSISTING_L2_CACHE_SIZE)
		return CUDA_ERROR_UNSUPPORTED_LIMIT;
	*pvalue = context->limits[limit];
	return CUDA_SUCCESS;
}

CUresult cuCtxSetLimit(CUlimit limit, size_t value)
{
	struct context *context;
	CUresult result = context_enter(&context);

	if (result != CUDA_SUCCESS)
		return result;
	if ((unsigned int)limit >= CU_LIMIT_MAX)
		return CUDA_ERROR_INVALID_VALUE;
	if (limit > CU_LIMIT_PERSISTING_L2_CACHE_SIZE)
		return CUDA_ERROR_UNSUPPORTED_LIMIT;
	context->limits[limit] = value;
	return CUDA_SUCCESS;
}

CUresult cuCtxGetCacheConfig(CUfunc_cache *pconfig)
{
	struct context *context;
	CUresult result = context_enter(&context);

	if (result == CUDA_SUCCESS && !pconfig)
		result = CUDA_ERROR_INVALID_VALUE;
	if (result == CUDA_SUCCESS)
		*pconfig = context->cache_config;
	return result;
}

CUresult cuCtxSetCacheConfig(CUfunc_cache config)
{
	struct context *context;
	CUresult result = context_enter(&context);

	if (result == CUDA_SUCCESS && (unsigned int)config > CU_FUNC_CACHE_PREFER_EQUAL)
		result = CUDA_ERROR_INVALID_VALUE;
	if (result == CUDA_SUCCESS)
		context->cache_config = config;
	return result;
}

CUresult cuCtxGetSharedMemConfig(CUsharedconfig *pConfig)
{
	struct context *context;
	CUresult result = context_enter(&context);

	if (result == CUDA_SUCCESS && !pConfig)
		result = CUDA_ERROR_INVALID_VALUE;
	if (result == CUDA_SUCCESS)
		*pConfig = CU_SHARED_MEM_CONFIG_FOUR_BYTE_BANK_SIZE;
	return result;
}

CUresult cuCtxSetSharedMemConfig(CUsharedconfig config)
{
	struct context *context;
	CUresult result = context_enter(&context);

	if (result == CUDA_SUCCESS &&
	    (unsigned int)config > CU_SHARED_MEM_CONFIG_EIGHT_BYTE_BANK_SIZE)
		result = CUDA_ERROR_INVALID_VALUE;
	return result; /* a hint; banks are of four bytes */
}

CUresult cuCtxGetStreamPriorityRange(int *leastPriority, int *greatestPriority)
{
	struct context *context;
	CUresult result = context_enter(&context);

	if (result != CUDA_SUCCESS)
		return result;
	if (leastPriority)
		*leastPriority = 0;
	if (greatestPriority)
		*greatestPriority = -5;
	return CUDA_SUCCESS;
}

CUresult cuCtxResetPersistingL2Cache(void)
{
	struct context *context;

	return context_enter(&context);
}

/* All devices' memory is in one range that every kernel may reach: only the bookkeeping differs. */
CUresult cuCtxEnablePeerAccess(CUcontext peerContext, unsigned int Flags)
{
	struct context *context;
	CUresult result = context_enter(&context);

	if (result != CUDA_SUCCESS)
		return result;
	if (Flags != 0)
		return CUDA_ERROR_INVALID_VALUE;
	if (!object_valid(OBJECT_CONTEXT, peerContext))
		return CUDA_ERROR_INVALID_CONTEXT;
	if (((struct context *)peerContext)->device == context->device)
		return CUDA_ERROR_INVALID_DEVICE;
	return CUDA_SUCCESS;
}

CUresult cuCtxDisablePeerAccess(CUcontext peerContext)
{
	struct context *context;
	CUresult result = context_enter(&context);

	if (result != CUDA_SUCCESS)
		return result;
	return object_valid(OBJECT_CONTEXT, peerContext) ? CUDA_SUCCESS
							 : CUDA_ERROR_INVALID_CONTEXT;
}

/* ---- device printf ---- */

void context_print(void *owner, const char *text, size_t bytes)
{
	struct context *context = owner;
	size_t limit = context->limits[CU_LIMIT_PRINTF_FIFO_SIZE];

	pthread_mutex_lock(&context->print.lock);
	/* As on a device: what does not fit before the next synchronisation is lost. */
	if (context->print.used + bytes <= limit) {
		char *grown = realloc(context->print.text, context->print.used + bytes);

		if (grown) {
			memcpy(grown + context->print.used, text, bytes);
			context->print.text = grown;
			context->print.used += bytes;
		}
	}
	pthread_mutex_unlock(&context->print.lock);
}

void context_print_flush(struct context *context)
{
	pthread_mutex_lock(&context->print.lock);
	if (context->print.used > 0)
		fwrite(context->print.text, 1, context->print.used, stdout);
	context->print.used = 0;
	pthread_mutex_unlock(&context->print.lock);
}
