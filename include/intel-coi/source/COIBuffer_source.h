/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Buffers: memory that source and sinks use in turn (or, pinned, at once).
 *
 * A normal buffer is valid in the source, in sinks, or in both; what needs it elsewhere moves it.
 * Run functions, maps and COIBufferSetState wait for each other as their accesses demand;
 * COIBufferWrite, Read and Copy do not: they act at once, or after the events they are given.
 */
#ifndef CAUSEWAY_COI_BUFFER_SOURCE_H
#define CAUSEWAY_COI_BUFFER_SOURCE_H

#include "../common/COIResult_common.h"
#include "../common/COITypes_common.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum COI_BUFFER_TYPE {
	COI_BUFFER_NORMAL = 1,
	COI_BUFFER_STREAMING_TO_SINK,	/* each map is a new version, each run function takes it */
	COI_BUFFER_STREAMING_TO_SOURCE, /* the other way */
	COI_BUFFER_PINNED,		/* the same memory on both sides */
	COI_BUFFER_OPENCL		/* as normal, but nothing waits for other uses */
} COI_BUFFER_TYPE;

/*
 * Flags of a buffer. Addresses that are equal on sinks, or on both sides; hints; memory of a sink.
 */
#define COI_SAME_ADDRESS_SINKS		  0x00000001
#define COI_SAME_ADDRESS_SINKS_AND_SOURCE 0x00000002
#define COI_OPTIMIZE_SOURCE_READ	  0x00000004
#define COI_OPTIMIZE_SOURCE_WRITE	  0x00000008
#define COI_OPTIMIZE_SINK_READ		  0x00000010
#define COI_OPTIMIZE_SINK_WRITE		  0x00000020
#define COI_OPTIMIZE_NO_DMA		  0x00000040
#define COI_OPTIMIZE_HUGE_PAGE_SIZE	  0x00000080
#define COI_SINK_MEMORY			  0x00000100

/* Which flags each type may have, one bit for each flag. */
static const uint64_t COI_VALID_BUFFER_TYPES_AND_FLAGS[COI_BUFFER_OPENCL + 1] = {
	0x000, 0x1ff, 0x038, 0x024, 0x03f, 0x0ff,
};

/* What a mapping is for; with WRITE_ENTIRE_BUFFER nothing is brought before. */
typedef enum COI_MAP_TYPE {
	COI_MAP_READ_WRITE = 1,
	COI_MAP_READ_ONLY,
	COI_MAP_WRITE_ENTIRE_BUFFER
} COI_MAP_TYPE;

/* Whether a type may be mapped in a way. */
static const uint64_t
	COI_VALID_BUFFER_TYPES_AND_MAP[COI_BUFFER_OPENCL + 1][COI_MAP_WRITE_ENTIRE_BUFFER + 1] = {
		{ 0, 0, 0, 0 }, { 0, 1, 1, 1 }, { 0, 0, 0, 1 },
		{ 0, 0, 1, 0 }, { 0, 1, 1, 1 }, { 0, 1, 1, 1 },
	};

/* How a copy is made. */
typedef enum COI_COPY_TYPE {
	COI_COPY_UNSPECIFIED = 0,
	COI_COPY_USE_DMA,
	COI_COPY_USE_CPU /* always waits for the end */
} COI_COPY_TYPE;

/* Where a buffer is valid, as COIBufferSetState() sets it. */
typedef enum {
	COI_BUFFER_VALID = 0,
	COI_BUFFER_INVALID,
	COI_BUFFER_VALID_MAY_DROP,
	COI_BUFFER_RESERVED
} COI_BUFFER_STATE;

/* Whether a change of that state moves the bytes. */
typedef enum { COI_BUFFER_MOVE = 0, COI_BUFFER_NO_MOVE } COI_BUFFER_MOVE_FLAG;

/* In place of a process: all that the buffer was made for. */
#define COI_SINK_OWNERS ((COIPROCESS)-2)

/**
 * COIBufferCreate - memory for the given processes
 * @in_pInitData: @in_Size bytes to begin with, or NULL
 *
 * Return: COI_SUCCESS; COI_OUT_OF_RANGE (no size, unknown flags, no process),
 * COI_ARGUMENT_MISMATCH (flags that the type cannot have), COI_NOT_SUPPORTED, COI_INVALID_POINTER,
 * COI_INVALID_HANDLE, COI_OUT_OF_MEMORY (source), COI_RESOURCE_EXHAUSTED (sink), COI_PROCESS_DIED.
 */
COIACCESSAPI COIRESULT COIBufferCreate(uint64_t in_Size, COI_BUFFER_TYPE in_Type, uint32_t in_Flags,
				       const void *in_pInitData, uint32_t in_NumProcesses,
				       const COIPROCESS *in_pProcesses, COIBUFFER *out_pBuffer);
/* COIBufferCreateFromMemory - on the caller's memory, or with COI_SINK_MEMORY on that of a sink; it
 * stays the caller's, and must outlive the buffer. Normal and pinned ones only */
COIACCESSAPI COIRESULT COIBufferCreateFromMemory(uint64_t in_Size, COI_BUFFER_TYPE in_Type,
						 uint32_t in_Flags, void *in_Memory,
						 uint32_t in_NumProcesses,
						 const COIPROCESS *in_pProcesses,
						 COIBUFFER *out_pBuffer);
/* COIBufferDestroy - waits for its uses and references; COI_RETRY while it is mapped or has
 * sub-buffers */
COIACCESSAPI COIRESULT COIBufferDestroy(COIBUFFER in_Buffer);

/* COIBufferMap - the bytes are there when @out_pCompletion comes, or on return without it */
COIACCESSAPI COIRESULT COIBufferMap(COIBUFFER in_Buffer, uint64_t in_Offset, uint64_t in_Length,
				    COI_MAP_TYPE in_Type, uint32_t in_NumDependencies,
				    const COIEVENT *in_pDependencies, COIEVENT *out_pCompletion,
				    COIMAPINSTANCE *out_pMapInstance, void **out_ppData);
COIACCESSAPI COIRESULT COIBufferUnmap(COIMAPINSTANCE in_MapInstance, uint32_t in_NumDependencies,
				      const COIEVENT *in_pDependencies, COIEVENT *out_pCompletion);

/* COIBufferGetSinkAddress - of the first of its processes; it never changes */
COIACCESSAPI COIRESULT COIBufferGetSinkAddress(COIBUFFER in_Buffer, uint64_t *out_pAddress);
COIACCESSAPI COIRESULT COIBufferGetSinkAddressEx(COIPROCESS in_Process, COIBUFFER in_Buffer,
						 uint64_t *out_pAddress);

/* Transfers. COI_RETRY while a buffer that is neither pinned nor OpenCL's is mapped;
 * COI_OUT_OF_RANGE beyond its end; COI_NOT_SUPPORTED for streaming ones. */
COIACCESSAPI COIRESULT COIBufferWrite(COIBUFFER in_DestBuffer, uint64_t in_Offset,
				      const void *in_pSourceData, uint64_t in_Length,
				      COI_COPY_TYPE in_Type, uint32_t in_NumDependencies,
				      const COIEVENT *in_pDependencies, COIEVENT *out_pCompletion);
COIACCESSAPI COIRESULT COIBufferWriteEx(COIBUFFER in_DestBuffer, const COIPROCESS in_DestProcess,
					uint64_t in_Offset, const void *in_pSourceData,
					uint64_t in_Length, COI_COPY_TYPE in_Type,
					uint32_t in_NumDependencies,
					const COIEVENT *in_pDependencies,
					COIEVENT *out_pCompletion);
COIACCESSAPI COIRESULT COIBufferRead(COIBUFFER in_SourceBuffer, uint64_t in_Offset,
				     void *in_pDestData, uint64_t in_Length, COI_COPY_TYPE in_Type,
				     uint32_t in_NumDependencies, const COIEVENT *in_pDependencies,
				     COIEVENT *out_pCompletion);
/* One dimension of an array, and the section of it that is meant; at most three. */
struct dim_desc {
	int64_t size;	/* bytes from one index to the next; of the last one: of an element */
	int64_t lindex; /* lowest index */
	int64_t lower, upper, stride;
};

/* An array in memory; one in a buffer has its base at the call's offset. */
struct arr_desc {
	int64_t base;
	int64_t rank;
	struct dim_desc dim[3];
};

/* Sections of arrays, element by element; what lies between the elements is neither read nor
 * written. COI_NOT_SUPPORTED for a rank that is not 1 to 3, COI_OUT_OF_RANGE for a dimension that
 * cannot be, beyond the buffer's end, or when elements in the buffer overlap so that they are more
 * bytes than it, COI_ARGUMENT_MISMATCH when the sections have not as many elements of one size,
 * COI_INVALID_POINTER without an array, or one in memory without a base */
COIACCESSAPI COIRESULT COIBufferWriteMultiD(
	COIBUFFER in_DestBuffer, const COIPROCESS in_DestProcess, uint64_t in_Offset,
	struct arr_desc *in_DestArray, struct arr_desc *in_SrcArray, COI_COPY_TYPE in_Type,
	uint32_t in_NumDependencies, const COIEVENT *in_pDependencies, COIEVENT *out_pCompletion);
COIACCESSAPI COIRESULT COIBufferReadMultiD(COIBUFFER in_SourceBuffer, uint64_t in_Offset,
					   struct arr_desc *in_DestArray,
					   struct arr_desc *in_SrcArray, COI_COPY_TYPE in_Type,
					   uint32_t in_NumDependencies,
					   const COIEVENT *in_pDependencies,
					   COIEVENT *out_pCompletion);
/* COIBufferCopy - length 0 is the whole destination; COI_MEMORY_OVERLAP within one buffer */
COIACCESSAPI COIRESULT COIBufferCopy(COIBUFFER in_DestBuffer, COIBUFFER in_SourceBuffer,
				     uint64_t in_DestOffset, uint64_t in_SourceOffset,
				     uint64_t in_Length, COI_COPY_TYPE in_Type,
				     uint32_t in_NumDependencies, const COIEVENT *in_pDependencies,
				     COIEVENT *out_pCompletion);
COIACCESSAPI COIRESULT COIBufferCopyEx(COIBUFFER in_DestBuffer, const COIPROCESS in_DestProcess,
				       COIBUFFER in_SourceBuffer, uint64_t in_DestOffset,
				       uint64_t in_SourceOffset, uint64_t in_Length,
				       COI_COPY_TYPE in_Type, uint32_t in_NumDependencies,
				       const COIEVENT *in_pDependencies, COIEVENT *out_pCompletion);

/* COIBufferSetState - where the buffer is valid, and whether its bytes move for that */
COIACCESSAPI COIRESULT COIBufferSetState(COIBUFFER in_Buffer, COIPROCESS in_Process,
					 COI_BUFFER_STATE in_State,
					 COI_BUFFER_MOVE_FLAG in_DataMove,
					 uint32_t in_NumDependencies,
					 const COIEVENT *in_pDependencies,
					 COIEVENT *out_pCompletion);
/* COIBufferCreateSubBuffer - a part of an OpenCL buffer */
COIACCESSAPI COIRESULT COIBufferCreateSubBuffer(COIBUFFER in_Buffer, uint64_t in_Length,
						uint64_t in_Offset, COIBUFFER *out_pSubBuffer);
/* References of the source: the buffer is in use in the process until they are released.
 * COI_NOT_INITIALIZED where it is not valid there. */
COIACCESSAPI COIRESULT COIBufferAddRefcnt(COIPROCESS in_Process, COIBUFFER in_Buffer,
					  uint64_t in_AddRefcnt);
COIACCESSAPI COIRESULT COIBufferReleaseRefcnt(COIPROCESS in_Process, COIBUFFER in_Buffer,
					      uint64_t in_ReleaseRefcnt);

#ifdef __cplusplus
}
#endif

#endif
