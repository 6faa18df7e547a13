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
 * After fork() parent and child have the same endpoints, and both may make any call; an endpoint
 * ends when the last of them has closed it.
 * scifd's socket is $CAUSEWAY_SCIF_SOCKET, or /run/causeway/scif.sock (below $XDG_RUNTIME_DIR when
 * not root). Without the variable and that socket, as in a virtual machine, calls go to the driver
 * behind /dev/scif or /dev/mic/scif, and memory is not changed.
 */
#ifndef CAUSEWAY_INCLUDE_SCIF_H
#define CAUSEWAY_INCLUDE_SCIF_H

#include <poll.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An endpoint, a number of the library's own: no file descriptor. */
typedef int scif_epd_t;

/* Where an endpoint is: a node (0 the host, 1 the first card) and a port there. */
struct scif_portID {
	uint16_t node;
	uint16_t port;
};

/* For scif_poll(), as struct pollfd. */
struct scif_pollepd {
	scif_epd_t epd;
	short events;
	short revents;
};

/* What calls that do not return a number return after an error. */
#define SCIF_OPEN_FAILED     ((scif_epd_t)-1)
#define SCIF_REGISTER_FAILED ((off_t)-1)
#define SCIF_MMAP_FAILED     ((void *)-1)

/* Events of scif_poll(): bytes or a request, room, an error, a peer that is gone. */
#define SCIF_POLLIN  POLLIN
#define SCIF_POLLOUT POLLOUT
#define SCIF_POLLERR POLLERR
#define SCIF_POLLHUP POLLHUP

/* Flags of the calls that are named in them. */
enum {
	SCIF_ACCEPT_SYNC = 1, /* wait for a request */
	SCIF_SEND_BLOCK = 1,  /* until all is sent */
	SCIF_RECV_BLOCK = 1,  /* until all has come */
	SCIF_PROT_READ = 1,
	SCIF_PROT_WRITE = 2,
	SCIF_MAP_FIXED = 0x10, /* at the very offset or address, whole pages */
	SCIF_MAP_KERNEL = 0x20,
	SCIF_RMA_USECPU = 1,
	SCIF_RMA_USECACHE = 2,
	SCIF_RMA_SYNC = 4,    /* wait for the copy's end */
	SCIF_RMA_ORDERED = 8, /* the last bytes come last */
	SCIF_FENCE_INIT_SELF = 1,
	SCIF_FENCE_INIT_PEER = 2,
	SCIF_SIGNAL_LOCAL = 0x10,
	SCIF_SIGNAL_REMOTE = 0x20,
};

#pragma GCC visibility push(default)
/* scif_open - a fresh endpoint; EMFILE, ENOMEM, ENXIO or ENODEV without scifd or driver */
scif_epd_t scif_open(void);
/* scif_close - end it, its connection and windows; copies under way are waited for */
int scif_close(scif_epd_t epd);
/* scif_bind - give it @port, or a free one for 0; returns the port. EINVAL: it has one */
int scif_bind(scif_epd_t epd, uint16_t port);
/* scif_listen - let up to @backlog requests wait; the endpoint has to be bound */
int scif_listen(scif_epd_t epd, int backlog);
/* scif_connect - connect to @peer; returns the own port. ECONNREFUSED, ENODEV (no such node) */
int scif_connect(scif_epd_t epd, struct scif_portID *peer);
/* scif_accept - take a request: @accepted is connected to @peer. EAGAIN without SCIF_ACCEPT_SYNC */
int scif_accept(scif_epd_t epd, struct scif_portID *peer, scif_epd_t *accepted, int flags);
/*
 * scif_send, scif_recv - bytes in order; how many were moved, which is less than @bytes without the
 * BLOCK flag, or when the connection ends meanwhile. ENOTCONN, ECONNRESET.
 */
int scif_send(scif_epd_t epd, void *message, int bytes, int flags);
int scif_recv(scif_epd_t epd, void *message, int bytes, int flags);
/*
 * scif_register - make whole pages a window, which the peer may read and write as @prot says;
 * returns its offset: @offset with SCIF_MAP_FIXED, else one that is free. scif_unregister takes
 * whole windows away; the memory stays in use until copies and mappings of it have ended.
 */
off_t scif_register(scif_epd_t epd, void *address, size_t bytes, off_t offset, int prot, int flags);
int scif_unregister(scif_epd_t epd, off_t offset, size_t bytes);
/* scif_mmap, scif_munmap - see the peer's windows as memory; as mmap() and munmap() */
void *scif_mmap(void *address, size_t bytes, int prot, int flags, scif_epd_t epd, off_t offset);
int scif_munmap(void *address, size_t bytes);
/*
 * Copies between a window of ours at @local and the peer's at @remote; the v calls take any memory
 * of the program's. Over when they return with SCIF_RMA_SYNC, else when a later mark was waited
 * for. ENXIO: an offset that is in no window; EACCES: the window does not permit it.
 */
int scif_readfrom(scif_epd_t epd, off_t local, size_t bytes, off_t remote, int flags);
int scif_writeto(scif_epd_t epd, off_t local, size_t bytes, off_t remote, int flags);
int scif_vreadfrom(scif_epd_t epd, void *address, size_t bytes, off_t remote, int flags);
int scif_vwriteto(scif_epd_t epd, void *address, size_t bytes, off_t remote, int flags);
/* scif_fence_mark, scif_fence_wait - mark the copies begun so far by one side; wait for a mark */
int scif_fence_mark(scif_epd_t epd, int flags, int *mark);
int scif_fence_wait(scif_epd_t epd, int mark);
/* scif_fence_signal - write 8 bytes to either side, or both, when the copies so far are over */
int scif_fence_signal(scif_epd_t epd, off_t local, uint64_t local_value, off_t remote,
		      uint64_t remote_value, int flags);
/* scif_get_nodeIDs - at most @count nodes, and the own one; returns how many nodes there are */
int scif_get_nodeIDs(uint16_t *nodes, int count, uint16_t *self);
/* scif_poll - as poll(), for endpoints; milliseconds, -1 for no limit */
int scif_poll(struct scif_pollepd *epds, unsigned int count, long timeout_ms);
#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
