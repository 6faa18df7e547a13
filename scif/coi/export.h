/* SPDX-License-Identifier: Apache-2.0 */
/* Marks what programs may call; version scripts give these their symbol versions. */
#ifndef CAUSEWAY_SCIF_COI_EXPORT_H
#define CAUSEWAY_SCIF_COI_EXPORT_H

#define COI_EXPORT __attribute__((visibility("default")))

#endif
