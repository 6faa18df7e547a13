/* SPDX-License-Identifier: Apache-2.0 */
/* The processor that the caller runs on. Counts are 0, and indices UINT32_MAX, where unknown. */
#ifndef CAUSEWAY_COI_SYSINFO_COMMON_H
#define CAUSEWAY_COI_SYSINFO_COMMON_H

#include "../common/COITypes_common.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Cores and hardware threads of this machine, and those that the caller runs on. */
COIACCESSAPI uint32_t COISysGetCoreCount(void);
COIACCESSAPI uint32_t COISysGetHardwareThreadCount(void);
COIACCESSAPI uint32_t COISysGetHardwareThreadIndex(void);
COIACCESSAPI uint32_t COISysGetCoreIndex(void);
/* The number by which the processor itself knows that hardware thread. */
COIACCESSAPI uint32_t COISysGetAPICID(void);
/* Second-level caches of this machine, and the caller's. */
COIACCESSAPI uint32_t COISysGetL2CacheCount(void);
COIACCESSAPI uint32_t COISysGetL2CacheIndex(void);

#ifdef __cplusplus
}
#endif

#endif
