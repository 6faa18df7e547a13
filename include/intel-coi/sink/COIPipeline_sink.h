/* SPDX-License-Identifier: Apache-2.0 */
/* Run functions, and when the sink begins to execute them. */
#ifndef CAUSEWAY_COI_PIPELINE_SINK_H
#define CAUSEWAY_COI_PIPELINE_SINK_H

#include "../common/COIResult_common.h"
#include "../common/COITypes_common.h"

#ifdef __cplusplus
/* Before a run function: found by its plain name, in a library and in an executable. */
#define COINATIVELIBEXPORT extern "C" __attribute__((visibility("default")))
extern "C" {
#else
#define COINATIVELIBEXPORT __attribute__((visibility("default")))
#endif
/* The same in an executable, which is to be linked with -rdynamic. */
#define COINATIVEPROCESSEXPORT COINATIVELIBEXPORT

/* A run function: buffers and their lengths, the source's data, room for what it returns. */
typedef void (*RunFunctionPtr_t)(uint32_t in_BufferCount, void **in_ppBufferPointers,
				 uint64_t *in_pBufferLengths, void *in_pMiscData,
				 uint16_t in_MiscDataLength, void *in_pReturnValue,
				 uint16_t in_ReturnValueLength);

/* COIPipelineStartExecutingRunFunctions - until then they queue up */
COIRESULT COIPipelineStartExecutingRunFunctions(void);

#ifdef __cplusplus
}
#endif

#endif
