// SPDX-License-Identifier: GPL-2.0-only
/*
 * Waiting without sleep, for as long as it is likely to pay.
 *
 * A program that would sleep in recv() or send() first looks at the rings itself, and does the
 * tasklet's work. Meanwhile Xen's interrupt is masked, so that a message costs its sender no
 * interrupt and us no context switch. Nobody else suffers: the other peers' rings are looked at
 * too, and what Xen wanted to say beside that is asked for at the end.
 *
 * How long is learnt for each socket, between 0 and a bound, as KVM's haltpoll does: a wait that
 * slept and would have been caught by spinning up to the bound doubles the time, one that was
 * longer halves it. A socket starts with the bound.
 *
 * The bound is the parameter spin_us where wake-ups are quick. Where they are slow, as in a guest
 * whose processor is shared or translated, two sides that sleep look idle to that bound and would
 * never come to spin. So it grows with what a wake-up costs here, up to ARGO_SPIN_SLOW times: the
 * time from the tasklet that wakes a reader to that reader, a running mean over all sockets.
 */
#include <linux/sched/signal.h>
#include <linux/timekeeping.h>
#include <xen/events.h>

#include "argo.h"

#define ARGO_SPIN_LEAST_NS 10000
#define ARGO_SPIN_WAKES	   8  /* wake-ups' time that spinning may take */
#define ARGO_SPIN_SLOW	   10 /* times spin_us, at most */
#define ARGO_WAKE_WEIGHT   8  /* of the mean over one sample */
#define ARGO_WAKE_NS_MAX   (10 * NSEC_PER_MSEC) /* what takes longer waited for something else */

/* argo_spin_bound_ns - how long a wait may spin at most */
u32 argo_spin_bound_ns(void)
{
	u64 least = min(READ_ONCE(argo_spin_us), ARGO_SPIN_US_MAX) * (u64)NSEC_PER_USEC;

	return clamp_t(u64, (u64)READ_ONCE(argo.wake_ns) * ARGO_SPIN_WAKES, least,
		       least * ARGO_SPIN_SLOW);
}

/* argo_spin_learn - a socket's wait is over; if it slept, its next one spins for longer or less */
void argo_spin_learn(struct argo_socket *socket)
{
	u64 since = READ_ONCE(socket->waiting_since_ns);
	u32 bound_ns = argo_spin_bound_ns(), spin_ns = socket->spin_ns;
	u64 now = ktime_get_mono_fast_ns();

	if (!since)
		return;
	WRITE_ONCE(socket->waiting_since_ns, 0);
	WRITE_ONCE(socket->woken_ns, now);
	if (now - since <= bound_ns)
		spin_ns = max_t(u32, 2 * spin_ns, ARGO_SPIN_LEAST_NS);
	else
		spin_ns = spin_ns < 2 * ARGO_SPIN_LEAST_NS ? 0 : spin_ns / 2;
	WRITE_ONCE(socket->spin_ns, min(spin_ns, bound_ns));
}

/* argo_spin_woken - a reader runs: if it had slept, what did waking it cost? */
void argo_spin_woken(struct argo_socket *socket)
{
	u64 woken_ns = READ_ONCE(socket->woken_ns), cost_ns;
	u32 mean_ns = READ_ONCE(argo.wake_ns); /* a sample that is lost to a race is no harm */

	if (!woken_ns)
		return;
	WRITE_ONCE(socket->woken_ns, 0);
	cost_ns = ktime_get_mono_fast_ns() - woken_ns;
	if (cost_ns <= ARGO_WAKE_NS_MAX)
		WRITE_ONCE(argo.wake_ns, mean_ns - mean_ns / ARGO_WAKE_WEIGHT +
						 (u32)cost_ns / ARGO_WAKE_WEIGHT);
}

/* argo_spin_over - another reason to end the wait, or somebody wants the processor or the lock */
static bool argo_spin_over(const struct argo_socket *socket)
{
	struct sock *sk = sk_vsock(socket->vsk);

	/* No barrier for the queue of the lock: who is not seen now is seen in the next turn. */
	return sk->sk_err || socket->vsk->peer_shutdown || waitqueue_active(&sk->sk_lock.wq) ||
	       need_resched() || signal_pending(current);
}

/**
 * argo_spin - before a program sleeps
 * @ready: whether it need not
 * @reader: large pieces are left to it, see argo_receive_own(); NULL for a writer, for whom credit
 *	may lie behind them
 *
 * Called with the socket's own lock, maybe by a task that is no longer TASK_RUNNING: nothing here
 * sleeps.
 */
void argo_spin(struct argo_socket *socket, bool (*ready)(struct argo_socket *socket),
	       struct argo_socket *reader)
{
	u64 start = ktime_get_mono_fast_ns();
	u32 limit_ns = min(socket->spin_ns, argo_spin_bound_ns());
	struct argo_peer *peer = socket->peer;
	bool caught = false, left;

	if (!peer || READ_ONCE(peer->state) != ARGO_PEER_UP)
		return;
	if (limit_ns) {
		disable_irq_nosync(argo.irq);
		while (argo_receive_own(peer, reader) && !(caught = ready(socket)) &&
		       !argo_spin_over(socket) && ktime_get_mono_fast_ns() - start < limit_ns) {
			if (test_bit(ARGO_PEER_FULL, &peer->flags))
				argo_peer_room(peer);
			if (argo_receive_waits(peer, false))
				tasklet_schedule(&argo.tasklet);
			cpu_relax();
		}
		xen_clear_irq_pending(argo.irq);
		enable_irq(argo.irq);
		left = reader && READ_ONCE(reader->front_bytes);
		if (argo_receive_waits(left ? peer : NULL, true))
			tasklet_schedule(&argo.tasklet);
	}
	atomic_long_inc(caught ? &argo.waits_spun : &argo.waits_slept);
	if (caught)
		__set_current_state(TASK_RUNNING);
	else
		WRITE_ONCE(socket->waiting_since_ns, start);
}
