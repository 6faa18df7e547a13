/* SPDX-License-Identifier: Apache-2.0 */
/* Kinds of engines, and which one a program runs on. */
#ifndef CAUSEWAY_COI_ENGINE_COMMON_H
#define CAUSEWAY_COI_ENGINE_COMMON_H

#include "../common/COIResult_common.h"
#include "../common/COITypes_common.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How many engines of each kind there may be; cards are of kind MIC. */
#define COI_MAX_ISA_x86_64_DEVICES 1
#define COI_MAX_ISA_MIC_DEVICES	   128
#define COI_MAX_ISA_KNF_DEVICES	   COI_MAX_ISA_MIC_DEVICES
#define COI_MAX_ISA_KNC_DEVICES	   COI_MAX_ISA_MIC_DEVICES

typedef enum {
	COI_ISA_INVALID = 0,
	COI_ISA_x86_64, /* the host */
	COI_ISA_MIC,	/* any card */
	COI_ISA_KNF,
	COI_ISA_KNC
} COI_ISA_TYPE;

/* COIEngineGetIndex - of the engine that runs the caller. COI_INVALID_POINTER for a NULL */
COIACCESSAPI COIRESULT COIEngineGetIndex(COI_ISA_TYPE *out_pType, uint32_t *out_pIndex);

#ifdef __cplusplus
}
#endif

#endif
