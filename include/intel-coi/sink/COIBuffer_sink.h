/* SPDX-License-Identifier: Apache-2.0 */
/* References that keep a buffer in use after the run function that it came with. */
#ifndef CAUSEWAY_COI_BUFFER_SINK_H
#define CAUSEWAY_COI_BUFFER_SINK_H

#include "../common/COIResult_common.h"
#include "../common/COITypes_common.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Both: COI_INVALID_POINTER for NULL, COI_INVALID_HANDLE for what is no buffer's first byte or, to
 * release, has no reference. */
COIRESULT COIBufferAddRef(void *in_pBuffer);
COIRESULT COIBufferReleaseRef(void *in_pBuffer);

#ifdef __cplusplus
}
#endif

#endif
