/* SPDX-License-Identifier: Apache-2.0 */
/* Adaptive spinning in front of epoll; see wait.h. */
#include "lib/vhost/wait.h"

#include <errno.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#define VHOST_SPIN_START_NS	  4000u
#define VHOST_SPIN_SOON_LIMITS	  4  /* a round trip when both sides sleep */
#define VHOST_SPIN_LOOKS_PER_POLL 64 /* looks at memory between two looks at the descriptors */

int vhost_wait_init(struct vhost_wait *wait, uint32_t spin_limit_us)
{
	wait->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	wait->spin_limit_ns = spin_limit_us * 1000;
	wait->soon_ns = wait->spin_limit_ns;
	wait->spin_ns = 0;
	return wait->epoll_fd < 0 ? -errno : 0;
}

void vhost_wait_close(struct vhost_wait *wait)
{
	close(wait->epoll_fd);
	wait->epoll_fd = -1;
}

void vhost_wait_patient(struct vhost_wait *wait, int processors)
{
	cpu_set_t usable;

	if (sched_getaffinity(0, sizeof(usable), &usable) == 0 && CPU_COUNT(&usable) >= processors)
		wait->soon_ns = (uint64_t)wait->spin_limit_ns * VHOST_SPIN_SOON_LIMITS;
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

void vhost_wait_adapt(struct vhost_wait *wait, uint64_t waited_ns)
{
	bool in_vain = wait->spin_ns >= wait->spin_limit_ns && waited_ns > wait->spin_limit_ns;

	if (waited_ns > wait->soon_ns || in_vain) {
		wait->spin_ns /= 2;
		if (wait->spin_ns < VHOST_SPIN_START_NS)
			wait->spin_ns = 0;
	} else if (waited_ns > wait->spin_ns) {
		wait->spin_ns = wait->spin_ns ? wait->spin_ns * 2 : VHOST_SPIN_START_NS;
		if (wait->spin_ns > wait->spin_limit_ns)
			wait->spin_ns = wait->spin_limit_ns;
	}
}

static uint64_t vhost_clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int vhost_wait_poll(struct vhost_wait *wait, struct epoll_event *events, int capacity,
			   int timeout_ms)
{
	int count = epoll_wait(wait->epoll_fd, events, capacity, timeout_ms);

	return count < 0 ? 0 : count; /* only EINTR: as good as a timeout */
}

/* Spins until there is work, an event or the time is over; whether the wait is over. */
static bool vhost_wait_spin(struct vhost_wait *wait, const struct vhost_wait_work *work,
			    struct epoll_event *events, int capacity, uint64_t end_ns, int *count)
{
	do {
		for (int look = 0; look < VHOST_SPIN_LOOKS_PER_POLL; look++) {
			if (work->pending(work->context)) {
				*count = vhost_wait_poll(wait, events, capacity, 0);
				return true;
			}
			__builtin_ia32_pause();
		}
		*count = vhost_wait_poll(wait, events, capacity, 0);
		if (*count)
			return true;
	} while (vhost_clock_ns() < end_ns);
	return false;
}

int vhost_wait_events(struct vhost_wait *wait, const struct vhost_wait_work *work,
		      struct epoll_event *events, int capacity, int timeout_ms)
{
	uint64_t start_ns;
	int count = 0;

	if (timeout_ms == 0 || work->pending(work->context))
		return vhost_wait_poll(wait, events, capacity, 0);
	start_ns = vhost_clock_ns();
	if (wait->spin_ns &&
	    vhost_wait_spin(wait, work, events, capacity, start_ns + wait->spin_ns, &count))
		return count;

	work->arm(work->context, true);
	if (work->pending(work->context))
		timeout_ms = 0;
	count = vhost_wait_poll(wait, events, capacity, timeout_ms);
	work->arm(work->context, false);
	if (wait->spin_limit_ns)
		vhost_wait_adapt(wait, vhost_clock_ns() - start_ns);
	return count;
}
