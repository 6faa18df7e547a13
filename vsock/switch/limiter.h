/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bandwidth limit: a bucket that fills with time and is emptied by packets.
 *
 * A packet is let through while the bucket is not overdrawn, and may overdraw it; the next one then
 * waits. The bucket holds LIMITER_BURST_MS worth of bytes.
 * Threads: the VM's worker; limiter_set() may be called by any thread.
 */
#ifndef CAUSEWAY_VSOCK_SWITCH_LIMITER_H
#define CAUSEWAY_VSOCK_SWITCH_LIMITER_H

#include <stdint.h>

#define LIMITER_BURST_MS 10

struct limiter {
	uint64_t bytes_per_s; /* 0: no limit; atomic */
	int64_t bytes;	      /* in the bucket; below 0: overdrawn */
	uint64_t filled_ns;   /* when it was filled last */
};

/* limiter_set - a new rate, 0 for none; from any thread */
static inline void limiter_set(struct limiter *limiter, uint64_t bytes_per_s)
{
	__atomic_store_n(&limiter->bytes_per_s, bytes_per_s, __ATOMIC_RELAXED);
}

/**
 * limiter_wait_ns - how long until the next packet may pass
 * @now_ns: the monotonic clock; only looked at when there is a limit
 *
 * Return: 0 when it may pass now.
 */
static inline uint64_t limiter_wait_ns(struct limiter *limiter, uint64_t (*now_ns)(void))
{
	uint64_t rate = __atomic_load_n(&limiter->bytes_per_s, __ATOMIC_RELAXED), now, passed_us;
	int64_t most = (int64_t)(rate / 1000 * LIMITER_BURST_MS);

	if (__builtin_expect(rate == 0, 1))
		return 0;
	now = now_ns();
	passed_us = (now - limiter->filled_ns) / 1000;
	if (passed_us > 1000000)
		passed_us = 1000000;
	if (passed_us) {
		limiter->bytes += (int64_t)((double)rate * (double)passed_us / 1e6);
		limiter->filled_ns = now;
	}
	if (limiter->bytes > most)
		limiter->bytes = most;
	if (limiter->bytes >= 0)
		return 0;
	return (uint64_t)((double)-limiter->bytes * 1e9 / (double)rate) + 1000;
}

/* limiter_charge - @bytes went; may leave a debt that is waited for */
static inline void limiter_charge(struct limiter *limiter, uint32_t bytes)
{
	limiter->bytes -= bytes;
}

#endif
