/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spin: how long a wait spins before it sleeps.
 *
 * A wait that ends soon, spinning or not, makes the next one spin longer; one that ends late makes
 * it spin less, down to nothing, as the kernel's haltpoll does. So a busy conversation costs no
 * wake-up and an idle one no processor time. "Soon" is a few times the limit: two sides that both
 * sleep take that long for a round trip, and must be able to get back to spinning.
 *
 * The peer may be waiting for this very processor: after a moment the spin yields between looks.
 * Where a yield comes back late, others want the processor, and a sleeper is served sooner than one
 * who yields: spinning then stops for a while.
 *
 * One thread at a time uses a struct spin.
 */
#ifndef CAUSEWAY_LIB_LINK_SPIN_H
#define CAUSEWAY_LIB_LINK_SPIN_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define SPIN_GROW_START_NS 4000
#define SPIN_SOON_LIMITS   4	  /* a wait of up to so many limits ended soon */
#define SPIN_CLOCK_EVERY   32	  /* rounds between two looks at the clock */
#define SPIN_YIELD_FROM_NS 1000	  /* spin without yielding up to here */
#define SPIN_CROWDED_NS	   100000 /* a yield that takes longer tells of others */
#define SPIN_CALM_NS	   20000000

struct spin {
	uint32_t limit_ns;
	uint32_t now_ns;
	uint32_t rounds;
	uint64_t start_ns;	   /* of the wait under way; 0 before the first look at the clock */
	uint64_t crowded_until_ns; /* no growth before */
};

static inline uint64_t spin_clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline void spin_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

static inline void spin_begin(struct spin *spin)
{
	spin->rounds = 0;
	spin->start_ns = 0;
}

/* Lets others run; what comes back late ends the spinning of this wait and of those to come. */
static inline void spin_yield(struct spin *spin, uint64_t now_ns)
{
	sched_yield();
	if (spin_clock_ns() - now_ns > SPIN_CROWDED_NS) {
		spin->now_ns = 0;
		spin->crowded_until_ns = now_ns + SPIN_CALM_NS;
	}
}

/**
 * spin_again - whether to look once more before sleeping
 * @clock_every: rounds between two looks at the clock; 1 where a look is a system call, and
 *	yielding at once costs little more
 */
static inline bool spin_again(struct spin *spin, uint32_t clock_every)
{
	uint64_t now_ns;

	if (spin->rounds++ % clock_every) {
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
	if (now_ns - spin->start_ns >= (clock_every > 1 ? SPIN_YIELD_FROM_NS : 0))
		spin_yield(spin, now_ns);
	return true;
}

/* spin_slept - the wait is over and it slept: adapt */
static inline void spin_slept(struct spin *spin)
{
	uint64_t now_ns;

	if (!spin->limit_ns)
		return;
	now_ns = spin_clock_ns();
	if (now_ns - spin->start_ns > (uint64_t)SPIN_SOON_LIMITS * spin->limit_ns) {
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
