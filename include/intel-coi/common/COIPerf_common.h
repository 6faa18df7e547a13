/* SPDX-License-Identifier: Apache-2.0 */
/* A counter that runs at one speed on all processors. */
#ifndef CAUSEWAY_COI_PERF_COMMON_H
#define CAUSEWAY_COI_PERF_COMMON_H

#include "../common/COITypes_common.h"

#ifdef __cplusplus
extern "C" {
#endif

/* COIPerfGetCycleCounter - the processor's time stamp counter */
COIACCESSAPI uint64_t COIPerfGetCycleCounter(void);
/* COIPerfGetCycleFrequency - the counter's steps in a second */
COIACCESSAPI uint64_t COIPerfGetCycleFrequency(void);

#ifdef __cplusplus
}
#endif

#endif
