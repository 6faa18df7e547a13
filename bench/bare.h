/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bare ping-pong: what a link is measured against, in the same process and the same run.
 *
 * It is what one would write without a library: read() and write() of BARE_MESSAGE_BYTES on a
 * blocking socket, answered by `link_pingpong serve`; or, for a ring, two counters in shared memory
 * with a process of its own that spins, and is stopped while it is not measured.
 */
#ifndef CAUSEWAY_BENCH_BARE_H
#define CAUSEWAY_BENCH_BARE_H

#include <stdint.h>
#include <sys/types.h>

#define BARE_MESSAGE_BYTES 32
#define BARE_MAGIC	   0x45524142u /* "BARE": the first bytes on a bare connection */
#define BARE_BATCH	   400	       /* round trips in a sample */

struct bare_ring;

struct bare {
	int fd;			/* -1 for a ring */
	struct bare_ring *ring; /* NULL for a socket */
	pid_t peer;		/* of the ring */
};

/* bare_fail - end the program with a message; @status is -errno */
void bare_fail(const char *what, int status) __attribute__((noreturn));
int bare_check(const char *what, int status);

/* bare_open - connect to @address of a server, or start the ring's peer (before any thread) */
void bare_open(struct bare *bare, const char *address);
void bare_close(struct bare *bare);

/* bare_now_us - microseconds of the monotonic clock */
double bare_now_us(void);

/* bare_batch - the median of BARE_BATCH runs of @round, in microseconds */
double bare_batch(void (*round)(void *), void *argument);

/* bare_sample - the same for the bare round trip */
double bare_sample(struct bare *bare);

/* bare_print - "NAME": [SAMPLES] */
void bare_print(const char *name, const double *samples, int count);

#endif
