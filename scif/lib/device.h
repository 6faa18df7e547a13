/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 21 calls over a SCIF driver (vphi.ko, or Intel's): where there is no scifd to connect to but
 * /dev/mic/scif or /dev/scif, as in a VM. Results as in include/scif.h; threads likewise.
 */
#ifndef CAUSEWAY_SCIF_LIB_DEVICE_H
#define CAUSEWAY_SCIF_LIB_DEVICE_H

#include <stdbool.h>

#include "include/scif.h"

/*
 * device_is_used - whether calls go to a driver: $CAUSEWAY_SCIF_SOCKET is not set, scifd's default
 * socket is not there, and a device node is. Decided at the first call, for the process.
 */
bool device_is_used(void);

/* As their namesakes of scif.h, by the driver of this machine's kernel; -1 and errno. */
scif_epd_t device_open(void);
int device_bind(scif_epd_t epd, uint16_t port);
int device_connect(scif_epd_t epd, struct scif_portID *peer);
int device_listen(scif_epd_t epd, int backlog);
int device_accept(scif_epd_t epd, struct scif_portID *peer, scif_epd_t *accepted, int flags);
int device_send(scif_epd_t epd, void *message, int bytes, int flags);
int device_recv(scif_epd_t epd, void *message, int bytes, int flags);
off_t device_register(scif_epd_t epd, void *address, size_t bytes, off_t offset, int prot,
		      int flags);
int device_unregister(scif_epd_t epd, off_t offset, size_t bytes);
void *device_mmap(void *address, size_t bytes, int prot, int flags, scif_epd_t epd, off_t offset);
enum device_copy { DEVICE_READFROM = 10, DEVICE_WRITETO, DEVICE_VREADFROM, DEVICE_VWRITETO };
int device_copy(scif_epd_t epd, enum device_copy which, off_t local, size_t bytes, off_t remote,
		void *address, int flags);
int device_fence_mark(scif_epd_t epd, int flags, int *mark);
int device_fence_wait(scif_epd_t epd, int mark);
int device_fence_signal(scif_epd_t epd, off_t local, uint64_t local_value, off_t remote,
			uint64_t remote_value, int flags);
int device_get_nodes(uint16_t *nodes, int count, uint16_t *self);

#endif
