/* SPDX-License-Identifier: Apache-2.0 */
/* Pipelines: run functions of a sink process, in order. */
#ifndef CAUSEWAY_COI_PIPELINE_SOURCE_H
#define CAUSEWAY_COI_PIPELINE_SOURCE_H

#include "../common/COIResult_common.h"
#include "../common/COITypes_common.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a run function does to a buffer; other uses of the buffer are ordered by it. */
typedef enum COI_ACCESS_FLAGS {
	COI_SINK_READ = 1,
	COI_SINK_WRITE,
	COI_SINK_WRITE_ENTIRE /* nothing of what the buffer holds is needed */
} COI_ACCESS_FLAGS;

/* Bounds: pipelines of a process, buffers and bytes of one run function. */
#define COI_PIPELINE_MAX_PIPELINES	  512
#define COI_PIPELINE_MAX_IN_BUFFERS	  16384
#define COI_PIPELINE_MAX_IN_MISC_DATA_LEN 32768

/**
 * COIPipelineCreate - a thread of the sink process that executes run functions
 * @in_Mask: hardware threads it may use, or NULL
 * @in_StackSize: 0, or at least 16384 and a multiple of 4096
 *
 * Return: COI_SUCCESS, COI_INVALID_HANDLE, COI_INVALID_POINTER, COI_OUT_OF_RANGE (stack, a mask of
 * zeroes), COI_RESOURCE_EXHAUSTED, COI_PROCESS_DIED.
 */
COIACCESSAPI COIRESULT COIPipelineCreate(COIPROCESS in_Process, COI_CPU_MASK in_Mask,
					 uint32_t in_StackSize, COIPIPELINE *out_pPipeline);
/* COIPipelineDestroy - waits for what was queued */
COIACCESSAPI COIRESULT COIPipelineDestroy(COIPIPELINE in_Pipeline);

/**
 * COIPipelineRunFunction - queue one call
 * @in_pBufferAccessFlags: COI_ACCESS_FLAGS of each buffer
 * @in_pMiscData: copied before this returns
 * @out_pAsyncReturnValue: valid, and written, until the completion event
 *
 * Return: COI_SUCCESS once it is queued; COI_INVALID_HANDLE, COI_OUT_OF_RANGE (counts, flags),
 * COI_ARGUMENT_MISMATCH (a pointer without its count, or the other way round), COI_RETRY (a buffer
 * is mapped), COI_MISSING_DEPENDENCY (a buffer of other processes), COI_RESOURCE_EXHAUSTED.
 */
COIACCESSAPI COIRESULT COIPipelineRunFunction(
	COIPIPELINE in_Pipeline, COIFUNCTION in_Function, uint32_t in_NumBuffers,
	const COIBUFFER *in_pBuffers, const COI_ACCESS_FLAGS *in_pBufferAccessFlags,
	uint32_t in_NumDependencies, const COIEVENT *in_pDependencies, const void *in_pMiscData,
	uint16_t in_MiscDataLen, void *out_pAsyncReturnValue, uint16_t in_AsyncReturnValueLen,
	COIEVENT *out_pCompletion);
COIACCESSAPI COIRESULT COIPipelineGetEngine(COIPIPELINE in_Pipeline, COIENGINE *out_pEngine);
COIACCESSAPI COIRESULT COIPipelineSetCPUMask(COIPROCESS in_Process, uint32_t in_CoreID,
					     uint8_t in_ThreadID, COI_CPU_MASK *out_pMask);
COIACCESSAPI COIRESULT COIPipelineClearCPUMask(COI_CPU_MASK *in_Mask);

#ifdef __cplusplus
}
#endif

#endif
