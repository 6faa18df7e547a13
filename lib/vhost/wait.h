/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hybrid waiting: look at shared memory for a short, adaptive time, then sleep in epoll.
 *
 * Spinning saves the kick of the guest and the wake-up here, a few microseconds each way, but only
 * where the next event is near. So the bound adapts as the kernel's haltpoll does: a wait that an
 * event ended soon enough to have been caught by spinning makes it grow, one that lasted longer
 * than the configured limit makes it shrink. An idle device therefore soon stops spinning at all
 * and then costs no CPU.
 *
 * A wait that was slept through counts the wake-up, too. Where that alone takes as long as the
 * limit, two sides that sleep would never get back to spinning. vhost_wait_patient() lets waits of
 * up to four limits make the spin grow, as the guest's driver and lib/link do; a spin of the whole
 * limit that was in vain still shrinks it. That costs processor time that others may want: it is
 * for machines with enough of them.
 *
 * Threads: one thread uses a vhost_wait; vhost_wait_add() may name descriptors others write to.
 */
#ifndef CAUSEWAY_LIB_VHOST_WAIT_H
#define CAUSEWAY_LIB_VHOST_WAIT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

struct vhost_wait {
	int epoll_fd;
	uint32_t spin_limit_ns; /* from the configuration; 0 never spins */
	uint64_t soon_ns;	/* waits of up to this make the spin grow; at least the limit */
	uint32_t spin_ns;	/* what the next wait spins at most */
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
/* vhost_wait_patient - see above; only if this process may use @processors or more */
void vhost_wait_patient(struct vhost_wait *wait, int processors);

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

/* vhost_wait_adapt - the rule above: the next spin after a wait that lasted @waited_ns */
void vhost_wait_adapt(struct vhost_wait *wait, uint64_t waited_ns);

#endif
