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

extern int trace_fd; /* -1: off; constant after the library's constructors */

double trace_clock_us(void);

/* trace_start - when a call began; 0 while the tracer is off */
static inline double trace_start(void)
{
	return __builtin_expect(trace_fd >= 0, 0) ? trace_clock_us() : 0;
}

void trace_begin(const char *name);
void trace_print(const char *format, ...) __attribute__((format(printf, 1, 2)));
void trace_string(const char *name, const char *text);
void trace_end(double start_us, int result);

#endif
