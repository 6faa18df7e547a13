/* SPDX-License-Identifier: Apache-2.0 */
/* The cards that a program may use. */
#ifndef CAUSEWAY_COI_ENGINE_SOURCE_H
#define CAUSEWAY_COI_ENGINE_SOURCE_H

#include <wchar.h>

#include "../common/COIEngine_common.h"
#include "../common/COIResult_common.h"
#include "../common/COITypes_common.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bounds of struct COI_ENGINE_INFO. */
#define COI_MAX_DRIVER_VERSION_STR_LEN 255
#define COI_MAX_HW_THREADS	       1024

/* Whether a card's memory corrects errors. */
typedef enum {
	COI_ENG_ECC_DISABLED = 0,
	COI_ENG_ECC_ENABLED = 1,
	COI_ENG_ECC_UNKNOWN = 2
} coi_eng_misc;

/* What is not known is zero. */
typedef struct COI_ENGINE_INFO {
	coi_wchar_t DriverVersion[COI_MAX_DRIVER_VERSION_STR_LEN];
	COI_ISA_TYPE ISA;
	uint32_t NumCores;
	coi_eng_misc MiscFlags;
	uint32_t NumThreads;
	uint32_t CoreMaxFrequency;	   /* MHz */
	uint32_t Load[COI_MAX_HW_THREADS]; /* percent */
	uint64_t PhysicalMemory;	   /* bytes, as the others */
	uint64_t PhysicalMemoryFree;
	uint64_t SwapMemory;
	uint64_t SwapMemoryFree;
	uint16_t VendorId;
	uint16_t DeviceId;
	uint16_t SubSystemId;
	uint16_t BoardStepping;
	uint16_t BoardSKU;
} COI_ENGINE_INFO;

/* COI_INVALID_HANDLE, COI_INVALID_POINTER; COI_SIZE_MISMATCH when the size is not the structure's
 */
COIACCESSAPI COIRESULT COIEngineGetInfo(COIENGINE in_EngineHandle, uint32_t in_EngineInfoSize,
					COI_ENGINE_INFO *out_pEngineInfo);
/* COI_DOES_NOT_EXIST for a kind that there is not, COI_INVALID_POINTER */
COIACCESSAPI COIRESULT COIEngineGetCount(COI_ISA_TYPE in_ISA, uint32_t *out_pNumEngines);
/* Also COI_OUT_OF_RANGE, and COI_NOT_INITIALIZED for a card that is not online */
COIACCESSAPI COIRESULT COIEngineGetHandle(COI_ISA_TYPE in_ISA, uint32_t in_EngineIndex,
					  COIENGINE *out_pEngineHandle);
/* The card's name for itself, 4096 bytes at most. COI_INVALID_HANDLE, COI_INVALID_POINTER */
COIACCESSAPI COIRESULT COIEngineGetHostname(COIENGINE in_EngineHandle, char *out_Hostname);

#ifdef __cplusplus
}
#endif

#endif
