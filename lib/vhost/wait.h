/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hybrid waiting: look at shared memory for a short, adaptive time, then sleep in epoll.
 *
 * Spinning saves the kick of the guest and the wake-up here, a few microseconds each way, but only
 * where the next event is near: lib/base/spin.h adapts to that. The spin yields between looks,
 * since whoever is waited for may need this very processor: the guest, or the process at the other
 * end.
 *
 * Threads: one thread uses a vhost_wait; vhost_wait_add() may name descriptors others write to.
 */
#ifndef CAUSEWAY_LIB_VHOST_WAIT_H
#define CAUSEWAY_LIB_VHOST_WAIT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "lib/base/spin.h"

struct vhost_wait {
	int epoll_fd;
	struct spin spin; /* its limit is the configuration's; 0 never spins */
};

/* What the waiter looks at between the system calls. */
struct vhost_wait_work {
	bool (*pending)(void *context);		   /* is there work in shared memory? */
	void (*arm)(void *context, bool sleeping); /* ask for kicks before sleeping, or not */
	void *context;
};

/* vhost_wait_init - an epoll instance; 0 or -errno */
int vhost_wait_init(struct vhost_wait *wait, uint32_t spin_limit_us);
void vhost_wait_close(struct vhost_wait *wait);

/**
 * vhost_wait_promptly - the calling thread runs soon when it is woken, and not for long
 *
 * It asks for short slices of the processor, which Linux has since 6.12 (sched_attr.sched_runtime
 * of SCHED_OTHER): a thread that is woken then comes before one with longer slices that computes,
 * whose share it does not change. Where that cannot be had, nothing is done.
 */
void vhost_wait_promptly(void);

/* Watch, change and forget a descriptor; @tag comes back in epoll_event.data.u64. 0 or -errno */
int vhost_wait_add(struct vhost_wait *wait, int fd, uint32_t events, uint64_t tag);
int vhost_wait_change(struct vhost_wait *wait, int fd, uint32_t events, uint64_t tag);
void vhost_wait_remove(struct vhost_wait *wait, int fd);

/**
 * vhost_wait_events - wait for descriptors or for work in shared memory
 * @timeout_ms: bound on the sleep; -1 for none, 0 only looks
 *
 * Return: how many @events were filled; 0 on timeout and when there is only work in memory.
 */
int vhost_wait_events(struct vhost_wait *wait, const struct vhost_wait_work *work,
		      struct epoll_event *events, int capacity, int timeout_ms);

#endif
