/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tracer: with CAUSEWAY_CUDA_TRACE=FILE each call becomes one line of FILE,
 *
 *	thread start_us  name(argument=value, ...) = result  duration_us
 *
 * where a pointer that the call wrote through shows the value behind it as name=&value.
 * Threads: a line is composed in the calling thread and written at once.
 */
#ifndef CAUSEWAY_CUDA_CLIENT_TRACE_H
#define CAUSEWAY_CUDA_CLIENT_TRACE_H

#include <stdint.h>

/*
 * With CAUSEWAY_CUDA_COUNTERS=FILE, FILE holds these numbers while the program runs, each 64 bits
 * in the machine's byte order: a benchmark maps it and looks before and after.
 */
struct trace_counters {
	uint64_t calls;	      /* of the program to functions of the driver */
	uint64_t requests;    /* sent to the worker */
	uint64_t round_trips; /* requests that waited for a reply */
	uint64_t bytes_out;   /* through the link */
	uint64_t bytes_in;
};

extern struct trace_counters *trace_counters; /* NULL: nobody wants them */
extern int trace_wanted; /* the tracer or the counters are on; constant after the constructors */

/* trace_call - count a call; returns when it began, 0 while the tracer is off */
double trace_call(void);

/* trace_start - counts a call where anybody wants that; when it began, for trace_end() */
static inline double trace_start(void)
{
	return __builtin_expect(trace_wanted, 0) ? trace_call() : 0;
}

/* trace_count - adds to one of the counters; any thread */
static inline void trace_count(uint64_t *counter, uint64_t more)
{
	__atomic_add_fetch(counter, more, __ATOMIC_RELAXED);
}

/* One call is one line: its name, its arguments (a text is quoted), its time and result. */
void trace_begin(const char *name);
void trace_print(const char *format, ...) __attribute__((format(printf, 1, 2)));
void trace_string(const char *name, const char *text);
void trace_end(double start_us, int result);

#endif
