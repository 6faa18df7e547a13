/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spin: how long a wait spins before it sleeps.
 *
 * A wait that ends soon, spinning or not, makes the next one spin longer; one that ends late makes
 * it spin less, down to nothing, as the kernel's haltpoll does. So a busy conversation costs no
 * wake-up and an idle one no processor time. "Soon" is a few times the limit: two sides that both
 * sleep take that long for a round trip, and must be able to get back to spinning. One that serves
 * many sides at once has no use for that (a switch moved 7.2 GB with a second of processor time,
 * and 4.4 GB with it): ->thrifty counts as soon what a spin of the limit would have caught.
 *
 * The peer may be waiting for this very processor: after a moment the spin yields between looks.
 * Two that yield to each other look busy, so the kernel moves one to an idle processor. Where it
 * has none to spare, sleeping is cheaper, so spinning then rests: for a while when yields keep
 * giving the processor away (on sockets; a ring gains too much from a processor of its own to give
 * up), and at once when one comes back very late, because others want it and a sleeper is served
 * sooner than one who yields.
 *
 * In a guest whose peer is the host nobody here is in its way: such a spin never yields, and seldom
 * looks at the clock.
 *
 * One thread at a time uses a struct spin.
 */
#ifndef CAUSEWAY_LIB_BASE_SPIN_H
#define CAUSEWAY_LIB_BASE_SPIN_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define SPIN_GROW_START_NS 4000
#define SPIN_SOON_LIMITS   4	  /* a wait of up to so many limits ended soon */
#define SPIN_CLOCK_EVERY   32	  /* rounds between two looks at the clock */
#define SPIN_OUTSIDE_EVERY 512	  /* likewise, where a look may cost a guest microseconds */
#define SPIN_YIELD_FROM_NS 1000	  /* spin without yielding up to here */
#define SPIN_CROWDED_NS	   100000 /* a yield that takes longer tells of others */
#define SPIN_CALM_NS	   5000000
#define SPIN_SWITCH_NS	   1000	    /* a yield that takes longer gave the processor away */
#define SPIN_SHARED_NS	   50000000 /* for so long: there is no other processor */
#define SPIN_REST_NS	   200000000

struct spin {
	uint32_t limit_ns;
	uint32_t now_ns;
	uint32_t rounds;
	uint64_t start_ns;	   /* of the wait under way; 0 before the first look at the clock */
	uint64_t crowded_until_ns; /* no growth before */
	uint64_t shared_since_ns;  /* every wait since then gave the processor away; 0: not so */
	bool switched;		   /* the wait under way did */
	bool yielded;		   /* it yielded at all */
	bool thrifty;		   /* see above */
	bool outside;		   /* the peer needs no processor that this side could yield */
};

/* Nanoseconds of the monotonic clock. */
static inline uint64_t spin_clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Tells the processor that this is a spin. */
static inline void spin_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* spin_begin - a wait begins: takes the time and how long to spin at most */
static inline void spin_begin(struct spin *spin)
{
	spin->rounds = 0;
	spin->start_ns = 0;
	if (!spin->switched)
		spin->shared_since_ns = 0;
	spin->switched = false;
	spin->yielded = false;
}

/* Ends the spinning of this wait and of those to come. */
static inline void spin_rest(struct spin *spin, uint64_t until_ns)
{
	spin->now_ns = 0;
	spin->crowded_until_ns = until_ns;
	spin->shared_since_ns = 0;
}

/* Lets others run, and learns from the time that they took. */
static inline void spin_yield(struct spin *spin, uint64_t before_ns, bool is_socket)
{
	uint64_t now_ns, away_ns;

	spin->yielded = true;
	sched_yield();
	now_ns = spin_clock_ns();
	away_ns = now_ns - before_ns;
	if (away_ns > SPIN_CROWDED_NS)
		return spin_rest(spin, now_ns + SPIN_CALM_NS);
	if (!is_socket || away_ns < SPIN_SWITCH_NS)
		return;
	spin->switched = true;
	if (!spin->shared_since_ns)
		spin->shared_since_ns = now_ns;
	else if (now_ns - spin->shared_since_ns > SPIN_SHARED_NS)
		spin_rest(spin, now_ns + SPIN_REST_NS);
}

/**
 * spin_again - whether to look once more before sleeping
 * @is_socket: a look is a system call, beside which clock and yield cost little. A ring looks often
 *	and at the clock now and then.
 */
static inline bool spin_again(struct spin *spin, bool is_socket)
{
	uint64_t now_ns;

	if (spin->outside ? ++spin->rounds % SPIN_OUTSIDE_EVERY
			  : spin->rounds++ % SPIN_CLOCK_EVERY && !is_socket) {
		spin_relax();
		return true;
	}
	if (!spin->limit_ns)
		return false;
	now_ns = spin_clock_ns();
	if (!spin->start_ns)
		spin->start_ns = now_ns;
	if (now_ns - spin->start_ns >= spin->now_ns)
		return false;
	if (!spin->outside && (is_socket || now_ns - spin->start_ns >= SPIN_YIELD_FROM_NS))
		spin_yield(spin, now_ns, is_socket);
	return true;
}

/* spin_slept - the wait is over and it slept: adapt */
static inline void spin_slept(struct spin *spin)
{
	uint64_t now_ns;

	if (!spin->limit_ns)
		return;
	now_ns = spin_clock_ns();
	if (now_ns - spin->start_ns >
	    (uint64_t)(spin->thrifty ? 1 : SPIN_SOON_LIMITS) * spin->limit_ns) {
		spin->now_ns /= 2;
		if (spin->now_ns < SPIN_GROW_START_NS / 2)
			spin->now_ns = 0;
		return;
	}
	if (now_ns < spin->crowded_until_ns)
		return;
	spin->now_ns = spin->now_ns ? spin->now_ns * 2 : SPIN_GROW_START_NS;
	if (spin->now_ns > spin->limit_ns)
		spin->now_ns = spin->limit_ns;
}

#endif
