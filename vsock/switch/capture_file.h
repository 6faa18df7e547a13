/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A capture of all packets into a file that Wireshark opens: pcap with vsockmon records.
 *
 * The workers' tap (capture.h) copies packets into a bounded buffer; a thread of the capture's own
 * writes them. A disk that is too slow loses packets of the capture, which are counted, and never
 * holds up a guest.
 * Threads: start and stop from the main thread alone.
 */
#ifndef CAUSEWAY_VSOCK_SWITCH_CAPTURE_FILE_H
#define CAUSEWAY_VSOCK_SWITCH_CAPTURE_FILE_H

#include <stdint.h>

#include "lib/base/error.h"

/* capture_file_start - into a new file (mode 0600); -EBUSY while another capture runs */
int capture_file_start(const char *path, struct error *error);

/* capture_file_stop - write what there is and close; nothing without a capture */
void capture_file_stop(void);

/* capture_file_count - packets taken and lost since the capture began; whether one runs */
int capture_file_count(uint64_t *taken, uint64_t *lost);

#endif
