/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libscif: the SCIF interface for host and card programs that are served by scifd.
 *
 * Stability: the 21 functions, their numbers and structures are those of Intel's libscif.so.0
 * (symbol version SCIF_0.0); programs built against that run with this, and the other way round.
 * Threads: any thread may call anything on any endpoint; closing wakes calls that wait (EINTR).
 * Blocking: as each call says; a signal handler that ran ends a wait with EINTR.
 * Errors: -1 (or MAP_FAILED) and errno.
 *
 * Memory that is registered becomes shared memory in place, contents kept: no other thread may
 * write to it during scif_register(), and a child made by fork() shares it. Memory that is mapped
 * from elsewhere is reached all the same, but the peer cannot scif_mmap() it (EOPNOTSUPP).
 * After fork() parent and child may both send and receive; for all else one of them may use an
 * endpoint. scifd's socket is $CAUSEWAY_SCIF_SOCKET, or /run/causeway/scif.sock (below
 * $XDG_RUNTIME_DIR when not root). Without the variable and that socket, as in a virtual machine,
 * calls go to the driver behind /dev/scif or /dev/mic/scif, and memory is not changed.
 */
#ifndef CAUSEWAY_INCLUDE_SCIF_H
#define CAUSEWAY_INCLUDE_SCIF_H

#include <poll.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef int scif_epd_t;

struct scif_portID {
	uint16_t node;
	uint16_t port;
};

struct scif_pollepd {
	scif_epd_t epd;
	short events;
	short revents;
};

#define SCIF_OPEN_FAILED     ((scif_epd_t)-1)
#define SCIF_REGISTER_FAILED ((off_t)-1)
#define SCIF_MMAP_FAILED     ((void *)-1)

#define SCIF_POLLIN  POLLIN
#define SCIF_POLLOUT POLLOUT
#define SCIF_POLLERR POLLERR
#define SCIF_POLLHUP POLLHUP

enum {
	SCIF_ACCEPT_SYNC = 1,
	SCIF_SEND_BLOCK = 1,
	SCIF_RECV_BLOCK = 1,
	SCIF_PROT_READ = 1,
	SCIF_PROT_WRITE = 2,
	SCIF_MAP_FIXED = 0x10,
	SCIF_MAP_KERNEL = 0x20,
	SCIF_RMA_USECPU = 1,
	SCIF_RMA_USECACHE = 2,
	SCIF_RMA_SYNC = 4,
	SCIF_RMA_ORDERED = 8,
	SCIF_FENCE_INIT_SELF = 1,
	SCIF_FENCE_INIT_PEER = 2,
	SCIF_SIGNAL_LOCAL = 0x10,
	SCIF_SIGNAL_REMOTE = 0x20,
};

#pragma GCC visibility push(default)
scif_epd_t scif_open(void);
int scif_close(scif_epd_t epd);
int scif_bind(scif_epd_t epd, uint16_t port);
int scif_listen(scif_epd_t epd, int backlog);
int scif_connect(scif_epd_t epd, struct scif_portID *peer);
int scif_accept(scif_epd_t epd, struct scif_portID *peer, scif_epd_t *accepted, int flags);
int scif_send(scif_epd_t epd, void *message, int bytes, int flags);
int scif_recv(scif_epd_t epd, void *message, int bytes, int flags);
off_t scif_register(scif_epd_t epd, void *address, size_t bytes, off_t offset, int prot, int flags);
int scif_unregister(scif_epd_t epd, off_t offset, size_t bytes);
void *scif_mmap(void *address, size_t bytes, int prot, int flags, scif_epd_t epd, off_t offset);
int scif_munmap(void *address, size_t bytes);
int scif_readfrom(scif_epd_t epd, off_t local, size_t bytes, off_t remote, int flags);
int scif_writeto(scif_epd_t epd, off_t local, size_t bytes, off_t remote, int flags);
int scif_vreadfrom(scif_epd_t epd, void *address, size_t bytes, off_t remote, int flags);
int scif_vwriteto(scif_epd_t epd, void *address, size_t bytes, off_t remote, int flags);
int scif_fence_mark(scif_epd_t epd, int flags, int *mark);
int scif_fence_wait(scif_epd_t epd, int mark);
int scif_fence_signal(scif_epd_t epd, off_t local, uint64_t local_value, off_t remote,
		      uint64_t remote_value, int flags);
int scif_get_nodeIDs(uint16_t *nodes, int count, uint16_t *self);
int scif_poll(struct scif_pollepd *epds, unsigned int count, long timeout_ms);
#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
