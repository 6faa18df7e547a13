/* SPDX-License-Identifier: Apache-2.0 */
/*
 * value: words that a stream writes, or waits for, in its order (cuStreamWriteValue, WaitValue,
 * BatchMemOp). A wait keeps the stream's executor: it looks for a moment, then sleeps between
 * looks, until the word is as wanted or the context has failed.
 */
#include <stdlib.h>
#include <time.h>

#include "cuda/softgpu/driver.h"

#define LOOKS	   1000
#define NAP_NS	   50000
#define BATCH_MAX  256u /* operations of one batch, as devices have it */
#define WAIT_KINDS 3u	/* the bits that say what is compared */

struct value_task {
	struct task task;
	uint64_t address;
	uint64_t value;
	unsigned int flags;
	bool wide; /* 64 bits */
	bool wait;
};

static bool value_reached(const struct value_task *value)
{
	uint64_t now;

	if (value->wide)
		now = __atomic_load_n((uint64_t *)value->address, __ATOMIC_ACQUIRE);
	else
		now = __atomic_load_n((uint32_t *)value->address, __ATOMIC_ACQUIRE);
	switch (value->flags & WAIT_KINDS) {
	case CU_STREAM_WAIT_VALUE_GEQ: /* cyclic: how far it is ahead counts */
		return value->wide ? (int64_t)(now - value->value) >= 0
				   : (int32_t)((uint32_t)now - (uint32_t)value->value) >= 0;
	case CU_STREAM_WAIT_VALUE_EQ:
		return now == value->value;
	case CU_STREAM_WAIT_VALUE_AND:
		return (now & value->value) != 0;
	default:
		return (value->wide ? ~(now | value->value) : (uint32_t) ~(now | value->value)) !=
		       0;
	}
}

static CUresult run_value(struct task *task)
{
	static const struct timespec nap = { 0, NAP_NS };
	const struct value_task *value = (const struct value_task *)task;

	if (!value->wait && value->wide)
		__atomic_store_n((uint64_t *)value->address, value->value, __ATOMIC_RELEASE);
	else if (!value->wait)
		__atomic_store_n((uint32_t *)value->address, (uint32_t)value->value,
				 __ATOMIC_RELEASE);
	for (unsigned int looks = 0;
	     value->wait && !value_reached(value) && !task->context->failure; looks++) {
		if (looks >= LOOKS)
			nanosleep(&nap, NULL);
	}
	return CUDA_SUCCESS;
}

/* value_check - what a device would refuse */
static CUresult value_check(const struct value_task *value)
{
	unsigned int known = value->wait ? WAIT_KINDS | CU_STREAM_WAIT_VALUE_FLUSH
					 : CU_STREAM_WRITE_VALUE_NO_MEMORY_BARRIER;
	size_t bytes = value->wide ? sizeof(uint64_t) : sizeof(uint32_t);
	enum memory_kind kind;

	if (value->wait && value->flags & CU_STREAM_WAIT_VALUE_FLUSH)
		return CUDA_ERROR_NOT_SUPPORTED; /* as the attribute says */
	if (value->flags & ~known || value->address % bytes)
		return CUDA_ERROR_INVALID_VALUE;
	kind = memory_classify(value->address, bytes);
	return kind == MEMORY_DEVICE || kind == MEMORY_PINNED || kind == MEMORY_REGISTERED
		       ? CUDA_SUCCESS
		       : CUDA_ERROR_INVALID_VALUE;
}

static CUresult value_submit(CUstream handle, const struct value_task *model)
{
	struct value_task *task;
	struct stream *stream;
	CUresult result = stream_resolve(handle, &stream);

	if (!result)
		result = value_check(model);
	if (result)
		return result;
	task = malloc(sizeof(*task));
	if (!task)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*task = *model;
	task->task.run = run_value;
	return stream_submit(stream, &task->task, NULL, false);
}

CUresult cuStreamWriteValue32_v2(CUstream stream, CUdeviceptr addr, cuuint32_t value,
				 unsigned int flags)
{
	return value_submit(
		stream, &(struct value_task){ .address = addr, .value = value, .flags = flags });
}

CUresult cuStreamWriteValue64_v2(CUstream stream, CUdeviceptr addr, cuuint64_t value,
				 unsigned int flags)
{
	return value_submit(
		stream, &(struct value_task){
				.address = addr, .value = value, .flags = flags, .wide = true });
}

CUresult cuStreamWaitValue32_v2(CUstream stream, CUdeviceptr addr, cuuint32_t value,
				unsigned int flags)
{
	return value_submit(
		stream, &(struct value_task){
				.address = addr, .value = value, .flags = flags, .wait = true });
}

CUresult cuStreamWaitValue64_v2(CUstream stream, CUdeviceptr addr, cuuint64_t value,
				unsigned int flags)
{
	return value_submit(stream, &(struct value_task){ .address = addr,
							  .value = value,
							  .flags = flags,
							  .wide = true,
							  .wait = true });
}

/* batch_task - one operation of a batch; false: it is no operation on a word */
static bool batch_task(const CUstreamBatchMemOpParams *operation, struct value_task *task)
{
	*task = (struct value_task){ .address = operation->waitValue.address,
				     .value = operation->waitValue.value64,
				     .flags = operation->waitValue.flags };
	switch (operation->operation) {
	case CU_STREAM_MEM_OP_WAIT_VALUE_64:
	case CU_STREAM_MEM_OP_WRITE_VALUE_64:
		task->wide = true;
		break;
	case CU_STREAM_MEM_OP_WAIT_VALUE_32:
	case CU_STREAM_MEM_OP_WRITE_VALUE_32:
		task->value = operation->waitValue.value;
		break;
	default:
		return false;
	}
	task->wait = operation->operation == CU_STREAM_MEM_OP_WAIT_VALUE_32 ||
		     operation->operation == CU_STREAM_MEM_OP_WAIT_VALUE_64;
	return true;
}

CUresult cuStreamBatchMemOp_v2(CUstream stream, unsigned int count,
			       CUstreamBatchMemOpParams *paramArray, unsigned int flags)
{
	struct value_task task;
	CUresult result = CUDA_SUCCESS;

	if (flags || !paramArray || !count || count > BATCH_MAX)
		return CUDA_ERROR_INVALID_VALUE;
	/* All or none: a part of a batch may be what another part waits for. */
	for (unsigned int i = 0; i < count && !result; i++)
		result = batch_task(&paramArray[i], &task) ? value_check(&task)
							   : CUDA_ERROR_NOT_SUPPORTED;
	for (unsigned int i = 0; i < count && !result; i++) {
		batch_task(&paramArray[i], &task);
		result = value_submit(stream, &task);
	}
	return result;
}

/* ---- the same under the names of CUDA 8 ---- */

CUresult cuStreamWriteValue32(CUstream stream, CUdeviceptr addr, cuuint32_t value,
			      unsigned int flags)
{
	return cuStreamWriteValue32_v2(stream, addr, value, flags);
}

CUresult cuStreamWriteValue64(CUstream stream, CUdeviceptr addr, cuuint64_t value,
			      unsigned int flags)
{
	return cuStreamWriteValue64_v2(stream, addr, value, flags);
}

CUresult cuStreamWaitValue32(CUstream stream, CUdeviceptr addr, cuuint32_t value,
			     unsigned int flags)
{
	return cuStreamWaitValue32_v2(stream, addr, value, flags);
}

CUresult cuStreamWaitValue64(CUstream stream, CUdeviceptr addr, cuuint64_t value,
			     unsigned int flags)
{
	return cuStreamWaitValue64_v2(stream, addr, value, flags);
}

CUresult cuStreamBatchMemOp(CUstream stream, unsigned int count,
			    CUstreamBatchMemOpParams *paramArray, unsigned int flags)
{
	return cuStreamBatchMemOp_v2(stream, count, paramArray, flags);
}
