/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spin: how long a wait spins before it sleeps.
 *
 * A wait that ends within the limit, spinning or not, makes the next one spin longer; one that
 * ends later makes it spin less, down to nothing, as the kernel's haltpoll does. So a busy
 * conversation costs no system call and an idle one no processor time. One thread at a time uses
 * a struct spin.
 */
#ifndef CAUSEWAY_LIB_LINK_SPIN_H
#define CAUSEWAY_LIB_LINK_SPIN_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define SPIN_GROW_START_NS 4000
#define SPIN_CLOCK_EVERY   32 /* rounds between two looks at the clock */

struct spin {
	uint32_t limit_ns;
	uint32_t now_ns;
	uint32_t rounds;
	uint64_t start_ns; /* of the wait under way; 0 before the first look at the clock */
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

/* spin_again - whether to look once more before sleeping */
static inline bool spin_again(struct spin *spin, uint32_t clock_every)
{
	if (spin->rounds++ % clock_every == 0) {
		uint64_t now_ns;

		if (!spin->limit_ns)
			return false;
		now_ns = spin_clock_ns();
		if (!spin->start_ns)
			spin->start_ns = now_ns;
		if (now_ns - spin->start_ns >= spin->now_ns)
			return false;
	}
	spin_relax();
	return true;
}

/* spin_slept - the wait is over and it slept: adapt */
static inline void spin_slept(struct spin *spin)
{
	uint64_t waited_ns;

	if (!spin->limit_ns)
		return;
	waited_ns = spin_clock_ns() - spin->start_ns;
	if (waited_ns > spin->limit_ns) {
		spin->now_ns /= 2;
		if (spin->now_ns < SPIN_GROW_START_NS / 2)
			spin->now_ns = 0;
		return;
	}
	spin->now_ns = spin->now_ns ? spin->now_ns * 2 : SPIN_GROW_START_NS;
	if (spin->now_ns > spin->limit_ns)
		spin->now_ns = spin->limit_ns;
}

#endif
