/* SPDX-License-Identifier: Apache-2.0 */
/* Processes on a card: creating them, their functions, their libraries. */
#ifndef CAUSEWAY_COI_PROCESS_SOURCE_H
#define CAUSEWAY_COI_PROCESS_SOURCE_H

#include "../common/COIResult_common.h"
#include "../common/COITypes_common.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The caller itself as a process; bounds of names; where a file's length is not known. */
#define COI_PROCESS_SOURCE	     ((COIPROCESS)-1)
#define COI_MAX_FILE_NAME_LENGTH     256
#define COI_FAT_BINARY		     ((uint64_t)-1)
#define COI_MAX_FUNCTION_NAME_LENGTH 256

/**
 * COIProcessCreateFromFile - start a program on a card
 * @in_pBinaryName: its file here; argv[0] there is its last part
 * @in_ppArgv: the further arguments
 * @in_DupEnv: whether the caller's environment goes along
 * @in_ppAdditionalEnv: NULL, or NAME=VALUE strings with NULL behind the last
 * @in_ProxyActive: whether its output appears at the caller's
 * @in_LibrarySearchPath: where its libraries are; NULL: $SINK_LD_LIBRARY_PATH
 *
 * Return: COI_SUCCESS; COI_DOES_NOT_EXIST and COI_INVALID_FILE (the file),
 * COI_BINARY_AND_HARDWARE_MISMATCH, COI_MISSING_DEPENDENCY (a library is neither here nor on the
 * card), COI_RESOURCE_EXHAUSTED (the card is full), COI_PROCESS_DIED (it ended before it was
 * ready), COI_TIME_OUT_REACHED, COI_INVALID_HANDLE, COI_INVALID_POINTER, COI_ARGUMENT_MISMATCH,
 * COI_OUT_OF_RANGE.
 */
COIACCESSAPI COIRESULT COIProcessCreateFromFile(COIENGINE in_Engine, const char *in_pBinaryName,
						int in_Argc, const char **in_ppArgv,
						uint8_t in_DupEnv, const char **in_ppAdditionalEnv,
						uint8_t in_ProxyActive, const char *in_Reserved,
						uint64_t in_InitialBufferSpace,
						const char *in_LibrarySearchPath,
						COIPROCESS *out_pProcess);
COIACCESSAPI COIRESULT COIProcessCreateFromMemory(
	COIENGINE in_Engine, const char *in_pBinaryName, const void *in_pBinaryBuffer,
	uint64_t in_BinaryBufferLength, int in_Argc, const char **in_ppArgv, uint8_t in_DupEnv,
	const char **in_ppAdditionalEnv, uint8_t in_ProxyActive, const char *in_Reserved,
	uint64_t in_InitialBufferSpace, const char *in_LibrarySearchPath,
	const char *in_FileOfOrigin, uint64_t in_FileOfOriginOffset, COIPROCESS *out_pProcess);

/**
 * COIProcessDestroy - ask it to end, wait, or end it
 * @in_WaitForMainTimeout: milliseconds; -1 without limit
 * @in_ForceDestroy: end it when the time is over. With 0 and no force, it is not even asked.
 * @out_pProcessReturn: what its main() returned; may be NULL
 * @out_pTerminationCode: 0, or the signal that ended it; may be NULL
 *
 * Return: COI_SUCCESS; COI_TIME_OUT_REACHED when it still runs; COI_INVALID_HANDLE,
 * COI_OUT_OF_RANGE (a negative time), COI_ARGUMENT_MISMATCH (force after no time).
 */
COIACCESSAPI COIRESULT COIProcessDestroy(COIPROCESS in_Process, int32_t in_WaitForMainTimeout,
					 uint8_t in_ForceDestroy, int8_t *out_pProcessReturn,
					 uint32_t *out_pTerminationCode);

/* COIProcessGetFunctionHandles - by exported names; COI_DOES_NOT_EXIST when some are not found, and
 * then these are NULL */
COIACCESSAPI COIRESULT COIProcessGetFunctionHandles(COIPROCESS in_Process, uint32_t in_NumFunctions,
						    const char **in_ppFunctionNameArray,
						    COIFUNCTION *out_pFunctionHandleArray);

/* As dlopen()'s flags of the same names. */
#define COI_LOADLIBRARY_LOCAL	 0x00000
#define COI_LOADLIBRARY_GLOBAL	 0x00100
#define COI_LOADLIBRARY_LAZY	 0x00001
#define COI_LOADLIBRARY_NOW	 0x00002
#define COI_LOADLIBRARY_NOLOAD	 0x00004
#define COI_LOADLIBRARY_DEEPBIND 0x00008
#define COI_LOADLIBRARY_NODELETE 0x01000
#define COI_LOADLIBRARY_V1_FLAGS (COI_LOADLIBRARY_GLOBAL | COI_LOADLIBRARY_NOW)

/* Loading a library into the sink process. With COI_LIBRARY_VERSION >= 2 there are flags, as
 * dlopen() has them, and the symbols' version is COI_2.0. */
#if defined(COI_LIBRARY_VERSION) && COI_LIBRARY_VERSION >= 2
COIACCESSAPI COIRESULT COIProcessLoadLibraryFromMemory(
	COIPROCESS in_Process, const void *in_pLibraryBuffer, uint64_t in_LibraryBufferLength,
	const char *in_pLibraryName, const char *in_LibrarySearchPath, const char *in_FileOfOrigin,
	uint64_t in_FileOfOriginOffset, uint32_t in_Flags, COILIBRARY *out_pLibrary);
COIACCESSAPI COIRESULT COIProcessLoadLibraryFromFile(COIPROCESS in_Process,
						     const char *in_pFileName,
						     const char *in_pLibraryName,
						     const char *in_LibrarySearchPath,
						     uint32_t in_Flags, COILIBRARY *out_pLibrary);
__asm__(".symver COIProcessLoadLibraryFromMemory,COIProcessLoadLibraryFromMemory@COI_2.0");
__asm__(".symver COIProcessLoadLibraryFromFile,COIProcessLoadLibraryFromFile@COI_2.0");
#else
COIRESULT COIProcessLoadLibraryFromMemory(COIPROCESS in_Process, const void *in_pLibraryBuffer,
					  uint64_t in_LibraryBufferLength,
					  const char *in_pLibraryName,
					  const char *in_LibrarySearchPath,
					  const char *in_FileOfOrigin,
					  uint64_t in_FileOfOriginOffset, COILIBRARY *out_pLibrary);
COIRESULT COIProcessLoadLibraryFromFile(COIPROCESS in_Process, const char *in_pFileName,
					const char *in_pLibraryName,
					const char *in_LibrarySearchPath, COILIBRARY *out_pLibrary);
#endif
COIACCESSAPI COIRESULT COIProcessUnloadLibrary(COIPROCESS in_Process, COILIBRARY in_Library);
/* COIProcessRegisterLibraries - images in memory that satisfy dependencies by their DT_SONAME */
COIACCESSAPI COIRESULT COIProcessRegisterLibraries(uint32_t in_NumLibraries,
						   const void **in_ppLibraryArray,
						   const uint64_t *in_pLibrarySizeArray,
						   const char **in_ppFileOfOriginArray,
						   const uint64_t *in_pFileOfOriginOffSetArray);

/* Accepted for programs that ask; there is no cache here that they would change. */
#define COI_CACHE_MODE_MASK	      0x00000007
#define COI_CACHE_MODE_NOCHANGE	      0x00000001
#define COI_CACHE_MODE_ONDEMAND_SYNC  0x00000002
#define COI_CACHE_MODE_ONDEMAND_ASYNC 0x00000004
#define COI_CACHE_ACTION_MASK	      0x00070000
#define COI_CACHE_ACTION_NONE	      0x00010000
#define COI_CACHE_ACTION_GROW_NOW     0x00020000
#define COI_CACHE_ACTION_FREE_UNUSED  0x00040000

/* COIProcessSetCacheSize - accepted and checked; buffers here have their memory from their creation
 * to their end, so there is no cache to size */
COIACCESSAPI COIRESULT
COIProcessSetCacheSize(const COIPROCESS in_Process, const uint64_t in_HugePagePoolSize,
		       const uint32_t in_HugeFlags, const uint64_t in_SmallPagePoolSize,
		       const uint32_t in_SmallFlags, uint32_t in_NumDependencies,
		       const COIEVENT *in_pDependencies, COIEVENT *out_pCompletion);

/* How copies would share DMA channels. */
typedef enum COI_DMA_MODE {
	COI_DMA_MODE_SINGLE = 0,
	COI_DMA_MODE_READ_WRITE,
	COI_DMA_MODE_ROUND_ROBIN,
	COI_DMA_RESERVED
} COI_DMA_MODE;
COIACCESSAPI COIRESULT COIProcessConfigureDMA(const uint64_t in_Channels,
					      const COI_DMA_MODE in_Mode);

/* What a program can be told of, to measure what happens. */
typedef enum COI_NOTIFICATIONS {
	RUN_FUNCTION_READY = 0,	   /* it waits for nothing any more, and goes to the sink */
	RUN_FUNCTION_START,	   /* the sink is about to execute it */
	RUN_FUNCTION_COMPLETE,	   /* it has ended */
	BUFFER_OPERATION_READY,	   /* bytes are about to be moved: not where none are */
	BUFFER_OPERATION_COMPLETE, /* they were moved */
	USER_EVENT_SIGNALED	   /* by the sink */
} COI_NOTIFICATIONS;

/* Called by any thread, and before the event of the operation comes. */
typedef void (*COI_NOTIFICATION_CALLBACK)(COI_NOTIFICATIONS in_Type, COIPROCESS in_Process,
					  COIEVENT in_Event, const void *in_UserData);

/* COIRegisterNotificationCallback - from now on it is told of what is asked of the process.
 * COI_INVALID_HANDLE, COI_INVALID_POINTER; COI_ALREADY_EXISTS: it is told already */
COIACCESSAPI COIRESULT COIRegisterNotificationCallback(COIPROCESS in_Process,
						       COI_NOTIFICATION_CALLBACK in_Callback,
						       const void *in_UserData);
/* COIUnregisterNotificationCallback - COI_INVALID_HANDLE, COI_INVALID_POINTER, COI_DOES_NOT_EXIST
 */
COIACCESSAPI COIRESULT COIUnregisterNotificationCallback(COIPROCESS in_Process,
							 COI_NOTIFICATION_CALLBACK in_Callback);
/* COINotificationCallbackSetContext - what the calling thread asks for from now on is told with
 * this data, and not with the registered one; user events are asked for by registering them. NULL
 * ends it. */
COIACCESSAPI void COINotificationCallbackSetContext(const void *in_UserData);

#ifdef __cplusplus
}
#endif

#endif
