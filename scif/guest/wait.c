// SPDX-License-Identifier: GPL-2.0-only
/*
 * vphi: how a thread waits for its request, by looking at the ring or by sleeping.
 *
 * An interrupt, a wake-up and the scheduler cost tens of microseconds, most of what a small message
 * takes. So a thread first looks at the used ring for a while, with the ring's interrupts off, as
 * long as waits of its kind have lately been short (vphi_history): as the kernel's haltpoll does.
 * Long copies take what copies of their size took lately: the thread sleeps until shortly before
 * that, and looks then (vphi_nap). Whoever looks collects for everybody.
 */
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/moduleparam.h>
#include <linux/sched/signal.h>
#include <linux/sched/stat.h>
#include <linux/string.h>

#include "vphi.h"

#define VPHI_SPIN_MIN_NS 4000
#define VPHI_RATE_SHIFT 16 /* times of copies are kept for so many bytes, as a power of two */
#define VPHI_NAP_EARLY 8 /* look from an eighth before a copy's expected end, as long after it */
#define VPHI_SPIN_SOON 4 /* limits: as long as a round trip may take when both sides sleep */

enum vphi_wait_mode {
	VPHI_WAIT_ADAPTIVE,
	VPHI_WAIT_SPIN,
	VPHI_WAIT_SLEEP,
};

static const char *const vphi_wait_names[] = {
	[VPHI_WAIT_ADAPTIVE] = "adaptive",
	[VPHI_WAIT_SPIN] = "spin",
	[VPHI_WAIT_SLEEP] = "sleep",
};

static unsigned int vphi_wait_mode = VPHI_WAIT_ADAPTIVE;
static unsigned int vphi_spin_limit_us = 200;
static unsigned int vphi_spin_bytes = 256 * 1024;

static int vphi_wait_set(const char *text, const struct kernel_param *parameter)
{
	int mode = sysfs_match_string(vphi_wait_names, text);

	if (mode < 0) {
		pr_err("vphi: wait=%s: expected adaptive, spin or sleep\n", text);
		return mode;
	}
	WRITE_ONCE(vphi_wait_mode, mode);
	return 0;
}

static int vphi_wait_get(char *buffer, const struct kernel_param *parameter)
{
	return sysfs_emit(buffer, "%s\n", vphi_wait_names[vphi_wait_mode]);
}

static const struct kernel_param_ops vphi_wait_parameter = {
	.set = vphi_wait_set,
	.get = vphi_wait_get,
};

module_param_cb(wait, &vphi_wait_parameter, NULL, 0644);
MODULE_PARM_DESC(wait, "how to wait for the device: adaptive, spin or sleep");
module_param_named(spin_limit_us, vphi_spin_limit_us, uint, 0644);
MODULE_PARM_DESC(spin_limit_us, "adaptive: look at the ring for so long at most");
module_param_named(spin_bytes, vphi_spin_bytes, uint, 0644);
MODULE_PARM_DESC(spin_bytes, "adaptive: sleep first where more is to be copied");

static u64 vphi_spin_limit_ns(void)
{
	return (u64)READ_ONCE(vphi_spin_limit_us) * NSEC_PER_USEC;
}

/* What a call moves, as far as it says how long it will take. */
static u64 vphi_call_bytes(const struct vphi_call *call)
{
	if (call->kind != VPHI_COPY)
		return 0;
	switch (le32_to_cpu(call->request.call)) {
	case SCIF_VIRTIO_READFROM:
	case SCIF_VIRTIO_WRITETO:
	case SCIF_VIRTIO_VREADFROM:
	case SCIF_VIRTIO_VWRITETO:
		return le64_to_cpu(call->request.rma.bytes);
	default:
		return 0;
	}
}

static bool vphi_call_is_long(const struct vphi_call *call)
{
	return vphi_call_bytes(call) > max(READ_ONCE(vphi_spin_bytes), 1u << VPHI_RATE_SHIFT);
}

/* How long a long copy will take; 0 when nothing is known. */
static u64 vphi_expected_ns(const struct vphi_call *call, const struct vphi_history *history)
{
	return (vphi_call_bytes(call) >> VPHI_RATE_SHIFT) * READ_ONCE(history->copy_ns);
}

/* How far from its expected end it is looked for. */
static u64 vphi_early_ns(u64 expected_ns)
{
	return max(expected_ns / VPHI_NAP_EARLY, vphi_spin_limit_ns());
}

static u64 vphi_spin_ns(const struct vphi_call *call, const struct vphi_history *history)
{
	u64 expected_ns;

	switch (READ_ONCE(vphi_wait_mode)) {
	case VPHI_WAIT_SPIN:
		return U64_MAX;
	case VPHI_WAIT_SLEEP:
		return 0;
	default:
		if (!vphi_call_is_long(call))
			return min_t(u64, READ_ONCE(history->spin_ns), vphi_spin_limit_ns());
		expected_ns = vphi_expected_ns(call, history);
		return expected_ns ? expected_ns + vphi_early_ns(expected_ns) : 0;
	}
}

/*
 * Sleeps towards the expected end of a long copy, if that is not near. Interrupts of the ring are
 * on, so a copy that takes less ends it, as a signal does.
 */
static void vphi_nap(struct vphi_call *call, const struct vphi_history *history)
{
	u64 expected_ns = vphi_expected_ns(call, history);
	u64 early_ns = vphi_early_ns(expected_ns);

	if (READ_ONCE(vphi_wait_mode) == VPHI_WAIT_ADAPTIVE && expected_ns > 2 * early_ns)
		wait_event_interruptible_hrtimeout(call->queue->room, READ_ONCE(call->finished),
						   ns_to_ktime(expected_ns - early_ns));
}

/* A copy that took less is believed at once, one that took more by and by. */
static void vphi_learn_copy(const struct vphi_call *call, struct vphi_history *history,
			    u64 waited_ns)
{
	u64 took_ns = div64_u64(waited_ns, vphi_call_bytes(call) >> VPHI_RATE_SHIFT);
	u64 known_ns = READ_ONCE(history->copy_ns);

	if (known_ns && took_ns > known_ns)
		took_ns = known_ns + (took_ns - known_ns + 7) / 8;
	WRITE_ONCE(history->copy_ns, min_t(u64, took_ns, U32_MAX));
}

/**
 * vphi_wait_learn - the next wait of this kind looks longer, or not so long
 * @call: what was waited for
 * @history: of the kind
 * @spun_ns: how long it looked in vain; 0 when looking was enough
 * @waited_ns: how long it took in all
 */
void vphi_wait_learn(const struct vphi_call *call, struct vphi_history *history, u64 spun_ns,
		     u64 waited_ns)
{
	u64 limit_ns = vphi_spin_limit_ns();
	u64 next_ns = READ_ONCE(history->spin_ns);

	if (vphi_call_is_long(call))
		return vphi_learn_copy(call, history, waited_ns);
	if (waited_ns <= VPHI_SPIN_SOON * limit_ns && spun_ns < limit_ns)
		next_ns = min_t(u64, max_t(u64, next_ns * 2, VPHI_SPIN_MIN_NS), limit_ns);
	else
		next_ns /= 2;
	WRITE_ONCE(history->spin_ns, next_ns < VPHI_SPIN_MIN_NS ? 0 : (u32)next_ns);
}

/*
 * Looks at the ring until the call is back, for @spin_ns at most. A signal that the caller would
 * wake up for ends it, too, and so does another thread that wants this processor: what is waited
 * for may depend on it, and sleeping lets it run at once.
 */
static void vphi_spin(struct vphi_call *call, u64 begun_ns, u64 spin_ns)
{
	struct vphi_queue *queue = call->queue;

	while (!READ_ONCE(call->finished)) {
		if (spin_trylock_irq(&queue->lock)) {
			vphi_queue_reap(queue);
			spin_unlock_irq(&queue->lock);
		}
		if (READ_ONCE(call->finished) || signal_pending(current) ||
		    !single_task_running() || ktime_get_ns() - begun_ns >= spin_ns)
			return;
		cpu_relax();
		cond_resched();
	}
}

/**
 * vphi_wait_spin - look for a call that was submitted
 * @call: the call
 * @history: how long calls of its kind took
 *
 * Return: whether it is back. If not, interrupts are on, and it may be slept for.
 */
bool vphi_wait_spin(struct vphi_call *call, struct vphi_history *history)
{
	struct vphi_queue *queue = call->queue;
	u64 spin_ns = vphi_spin_ns(call, history), begun_ns = ktime_get_ns();

	if (!READ_ONCE(call->finished) && vphi_call_is_long(call))
		vphi_nap(call, history);
	if (!READ_ONCE(call->finished) && spin_ns) {
		spin_lock_irq(&queue->lock);
		queue->spinners++;
		vphi_queue_interrupts(queue);
		spin_unlock_irq(&queue->lock);

		vphi_spin(call, begun_ns, spin_ns);

		spin_lock_irq(&queue->lock);
		queue->spinners--;
		vphi_queue_reap(queue);
		vphi_queue_interrupts(queue);
		spin_unlock_irq(&queue->lock);
	}
	return READ_ONCE(call->finished);
}
