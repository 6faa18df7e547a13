/* SPDX-License-Identifier: Apache-2.0 */
/* A sink process's end, and its output. */
#ifndef CAUSEWAY_COI_PROCESS_SINK_H
#define CAUSEWAY_COI_PROCESS_SINK_H

#include "../common/COIResult_common.h"
#include "../common/COITypes_common.h"

#ifdef __cplusplus
extern "C" {
#endif

/* COIProcessWaitForShutdown - until the source destroys the process, or is gone. Run functions that
 * execute are waited for, no further ones begin. */
COIRESULT COIProcessWaitForShutdown(void);
/* COIProcessProxyFlush - what was printed has left the process, and is on its way to the source */
COIRESULT COIProcessProxyFlush(void);
/* COIProcessLoadSinkLibraryFromFile - a library of the card's, or one that was sent: dlopen() along
 * a search path of folders with ':' between them, or NULL. COI_MISSING_DEPENDENCY,
 * COI_INVALID_FILE, COI_UNDEFINED_SYMBOL, COI_INVALID_POINTER */
COIRESULT COIProcessLoadSinkLibraryFromFile(const char *in_pFileName, const char *in_pLibraryName,
					    const char *in_LibrarySearchPath, uint32_t in_Flags,
					    COILIBRARY *out_pLibrary);

#ifdef __cplusplus
}
#endif

#endif
