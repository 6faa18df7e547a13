/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio device served over vhost-user: the back-end's side of the protocol, for any device id.
 *
 * The owner brings an accepted (or connected) Unix socket with vhost_device_attach(), and its
 * thread's vhost_wait. The device watches its descriptors there with tags from @tag_base on; when
 * one of them fires, the owner calls vhost_device_woken(). A negative answer from there, or from
 * vhost_device_check() after a batch, ends the session: the owner logs it and calls
 * vhost_device_detach(). The next VMM may be attached at once.
 *
 * States of a session: attached (messages are served) -> queues ready, one by one (a kick
 * descriptor came, the ring is enabled, its addresses resolve) -> stopped by GET_VRING_BASE, a
 * disable, a reset or the end of the session. queue_started and queue_stopped tell of each change.
 * A queue that comes back with another base than it stopped with has a new driver: reset is
 * called before it starts, once for each queue that shows it.
 *
 * Two front-ends differ from what the specification suggests, and both are served: QEMU gives
 * ring addresses of its own user space, User-Mode Linux guest-physical ones; User-Mode Linux
 * sends SET_MEM_TABLE longer than its regions and passes pipes as call and request channels.
 *
 * Shared memory: a device with `shm_bytes` can let the guest see files of its choice in shared
 * memory region 0, where the VMM can do that (shm.c): vhost_device_shm_map() asks the VMM, and
 * shm_done brings its answer. Meanwhile the device's other messages must be served, since the VMM
 * shows each new part to us as memory before it answers.
 *
 * Threads: one thread uses a device. Ownership: descriptors received are the device's; ops and
 * context are the owner's. Blocking: nothing here blocks.
 */
#ifndef CAUSEWAY_LIB_VHOST_DEVICE_H
#define CAUSEWAY_LIB_VHOST_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/error.h"
#include "lib/vhost/memory.h"
#include "lib/vhost/queue.h"
#include "lib/vhost/wait.h"
#include "proto/vhost-user.h"

#define VHOST_QUEUES_MAX  16u
#define VHOST_DEVICE_TAGS (2u + VHOST_QUEUES_MAX) /* the socket, each queue, the VMM's answers */
#define VHOST_FDS_MAX	  VHOST_USER_MEMORY_TABLE_MAX

struct vhost_device_ops {
	uint64_t features; /* the device's own and the ring's; VERSION_1 is always added */
	unsigned int queue_count;
	uint32_t config_bytes; /* size of the configuration space */

	/* [offset, offset + bytes) lies in the configuration space */
	void (*config_read)(void *context, uint32_t offset, void *to, uint32_t bytes);
	/* 0 or -errno; NULL refuses every write */
	int (*config_write)(void *context, uint32_t offset, const void *from, uint32_t bytes);
	void (*queue_started)(void *context, unsigned int index);
	/* about to stop: chains that are kept can still be pushed; may be NULL */
	void (*queue_stopping)(void *context, unsigned int index);
	void (*queue_stopped)(void *context, unsigned int index);
	void (*queue_kicked)(void *context, unsigned int index);
	void (*reset)(void *context); /* the driver starts anew: forget what it set up */

	uint64_t shm_bytes; /* size of shared memory region 0, whole pages; 0: no such region */
	/* the answer to a map or unmap: 0, -EINVAL when refused, -EPIPE when the session ended */
	void (*shm_done)(void *context, void *token, int status);
};

/* One message as far as it has come. */
struct vhost_incoming {
	struct vhost_user_header header;
	union vhost_user_payload payload;
	uint32_t used; /* bytes received of header and payload together */
	int fds[VHOST_FDS_MAX];
	unsigned int fd_count;
};

#define VHOST_SHM_CALLS_MAX 64u

/* Requests to the VMM that it has not answered yet, in a circle; it answers in order. */
struct vhost_shm_call {
	void *token;
	uint32_t request;
	bool answered; /* and what goes behind it is not */
	int status;    /* if so */
};

/* Requests to the VMM that have no answer yet, oldest first. */
struct vhost_shm_calls {
	struct vhost_shm_call calls[VHOST_SHM_CALLS_MAX];
	unsigned int first, count;
};

struct vhost_device {
	const struct vhost_device_ops *ops;
	void *context;
	struct vhost_wait *wait;
	uint64_t tag_base;

	int socket_fd;			      /* -1 while detached */
	int request_fd;			      /* to ask the front-end; -1 without */
	uint64_t features, protocol_features; /* negotiated */
	uint8_t status;
	struct vhost_incoming incoming;
	struct vhost_incoming answer; /* on request_fd */
	struct vhost_shm_calls shm_calls;
	struct vhost_memory memory;
	struct vhost_queue queues[VHOST_QUEUES_MAX];
};

/**
 * vhost_device_init - detached
 * @ops, @context, @wait: outlive the device
 * @tag_base: the first of the VHOST_DEVICE_TAGS tags that are the device's in @wait
 */
void vhost_device_init(struct vhost_device *device, const struct vhost_device_ops *ops,
		       void *context, struct vhost_wait *wait, uint64_t tag_base);

/* vhost_device_attach - serve the front-end on @socket_fd, which becomes the device's; 0, -errno */
int vhost_device_attach(struct vhost_device *device, int socket_fd);

/* vhost_device_detach - stop the queues, unmap the memory, close everything; fine when detached */
void vhost_device_detach(struct vhost_device *device);

/**
 * vhost_device_woken - one of the device's descriptors fired
 * @tag: what vhost_wait_events() gave, less tag_base
 *
 * Return: 0; -EPIPE when the front-end closed the socket; -errno with a sentence when it broke
 * the protocol. The owner detaches then.
 */
int vhost_device_woken(struct vhost_device *device, unsigned int tag, struct error *error);

/* vhost_device_check - -EFAULT when guest memory vanished (its file was cut off), else 0 */
int vhost_device_check(const struct vhost_device *device, struct error *error);

/* vhost_device_config_changed - tell the driver; 0, -EOPNOTSUPP without a channel, or -errno */
int vhost_device_config_changed(struct vhost_device *device);

/* vhost_device_has_shm - whether the VMM can show memory to the guest */
bool vhost_device_has_shm(const struct vhost_device *device);

/**
 * vhost_device_shm_map - let the guest see a part of a file in shared memory region 0
 * @offset: in the region; nothing may be mapped there
 * @fd: stays the caller's
 * @token: comes back with shm_done, exactly once if this returns 0
 *
 * Offsets and @bytes are whole pages. Return: 0; -EOPNOTSUPP without vhost_device_has_shm();
 * -EINVAL outside the region; -EAGAIN while too many requests are on their way; -errno.
 */
int vhost_device_shm_map(struct vhost_device *device, uint64_t offset, int fd, uint64_t file_offset,
			 uint64_t bytes, bool writable, void *token);

/* vhost_device_shm_unmap - of exactly what one map showed; otherwise as above */
int vhost_device_shm_unmap(struct vhost_device *device, uint64_t offset, uint64_t bytes,
			   void *token);

/* For device.c: an answer may have come; every request ends with -EPIPE. */
int vhost_shm_woken(struct vhost_device *device, struct error *error);
void vhost_shm_drop(struct vhost_device *device);

/* vhost_device_queue - one of the device's queues, which @index must be */
static inline struct vhost_queue *vhost_device_queue(struct vhost_device *device,
						     unsigned int index)
{
	return &device->queues[index];
}

#endif
