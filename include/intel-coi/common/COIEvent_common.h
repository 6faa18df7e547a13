/* SPDX-License-Identifier: Apache-2.0 */
/* Signalling a user event, from either side. */
#ifndef CAUSEWAY_COI_EVENT_COMMON_H
#define CAUSEWAY_COI_EVENT_COMMON_H

#include "../common/COIResult_common.h"
#include "../common/COITypes_common.h"

#ifdef __cplusplus
extern "C" {
#endif

/* COIEventSignalUserEvent - once; later signals are ignored. COI_INVALID_HANDLE for an event that
 * is no user event; COI_ERROR when the source cannot be told */
COIACCESSAPI COIRESULT COIEventSignalUserEvent(COIEVENT in_Event);

#ifdef __cplusplus
}
#endif

#endif
