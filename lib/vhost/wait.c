/* SPDX-License-Identifier: Apache-2.0 */
/* Adaptive spinning in front of epoll; see wait.h. */
#include "lib/vhost/wait.h"

#include <errno.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#define VHOST_SLICE_NS		  100000 /* the least that Linux takes */
#define VHOST_SPIN_LOOKS_PER_POLL 64	 /* looks at memory between two looks at the descriptors */

/* The first struct sched_attr of <linux/sched/types.h>; that header and <sched.h> clash. */
struct vhost_sched {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

void vhost_wait_promptly(void)
{
	struct vhost_sched attributes = { .size = sizeof(attributes) };

	if (syscall(SYS_sched_getattr, 0, &attributes, sizeof(attributes), 0) == 0 &&
	    attributes.policy == SCHED_OTHER) {
		attributes.runtime = VHOST_SLICE_NS;
		syscall(SYS_sched_setattr, 0, &attributes, 0);
	}
}

int vhost_wait_init(struct vhost_wait *wait, uint32_t spin_limit_us)
{
	wait->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	wait->spin = (struct spin){ .limit_ns = spin_limit_us * 1000 };
	return wait->epoll_fd < 0 ? -errno : 0;
}

void vhost_wait_close(struct vhost_wait *wait)
{
	close(wait->epoll_fd);
	wait->epoll_fd = -1;
}

int vhost_wait_add(struct vhost_wait *wait, int fd, uint32_t events, uint64_t tag)
{
	struct epoll_event event = { .events = events, .data.u64 = tag };

	return epoll_ctl(wait->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int vhost_wait_change(struct vhost_wait *wait, int fd, uint32_t events, uint64_t tag)
{
	struct epoll_event event = { .events = events, .data.u64 = tag };

	return epoll_ctl(wait->epoll_fd, EPOLL_CTL_MOD, fd, &event) < 0 ? -errno : 0;
}

void vhost_wait_remove(struct vhost_wait *wait, int fd)
{
	epoll_ctl(wait->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

static int vhost_wait_poll(struct vhost_wait *wait, struct epoll_event *events, int capacity,
			   int timeout_ms)
{
	int count = epoll_wait(wait->epoll_fd, events, capacity, timeout_ms);

	return count < 0 ? 0 : count; /* only EINTR: as good as a timeout */
}

/* Looks until there is work, an event or the time is over; whether the wait is over. */
static bool vhost_wait_spin(struct vhost_wait *wait, const struct vhost_wait_work *work,
			    struct epoll_event *events, int capacity, int *count)
{
	unsigned int looks = 0;

	spin_begin(&wait->spin);
	while (spin_again(&wait->spin, false)) {
		if (work->pending(work->context)) {
			*count = vhost_wait_poll(wait, events, capacity, 0);
			return true;
		}
		if (++looks % VHOST_SPIN_LOOKS_PER_POLL)
			continue;
		*count = vhost_wait_poll(wait, events, capacity, 0);
		if (*count)
			return true;
	}
	return false;
}

int vhost_wait_events(struct vhost_wait *wait, const struct vhost_wait_work *work,
		      struct epoll_event *events, int capacity, int timeout_ms)
{
	int count = 0;

	if (timeout_ms == 0 || work->pending(work->context))
		return vhost_wait_poll(wait, events, capacity, 0);
	if (vhost_wait_spin(wait, work, events, capacity, &count))
		return count;

	work->arm(work->context, true);
	if (work->pending(work->context))
		timeout_ms = 0;
	count = vhost_wait_poll(wait, events, capacity, timeout_ms);
	work->arm(work->context, false);
	spin_slept(&wait->spin);
	return count;
}
