/* SPDX-License-Identifier: Apache-2.0 */
/* The tracer's lines; gen/cuda_trace.c says what is in them. */
#include "cuda/client/trace.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "gen/cuda_names.h"

#define LINE_BYTES 2048

struct trace_counters *trace_counters;
int trace_wanted;
static int trace_fd = -1;

static __thread struct {
	char text[LINE_BYTES];
	int used, arguments;
} line;

/* counters_open - @path as the counters' memory; NULL where it cannot be */
static struct trace_counters *counters_open(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	void *at = MAP_FAILED;

	if (fd >= 0 && !ftruncate(fd, sizeof(struct trace_counters)))
		at = mmap(NULL, sizeof(struct trace_counters), PROT_READ | PROT_WRITE, MAP_SHARED,
			  fd, 0);
	if (fd >= 0)
		close(fd);
	return at == MAP_FAILED ? NULL : at;
}

__attribute__((constructor)) static void trace_open(void)
{
	const char *path = getenv("CAUSEWAY_CUDA_TRACE");

	if (path && *path)
		trace_fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	path = getenv("CAUSEWAY_CUDA_COUNTERS");
	if (path && *path)
		trace_counters = counters_open(path);
	trace_wanted = trace_fd >= 0 || trace_counters;
}

static double trace_clock_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

double trace_call(void)
{
	if (trace_counters)
		trace_count(&trace_counters->calls, 1);
	return trace_fd >= 0 ? trace_clock_us() : 0;
}

static void line_add(const char *format, va_list arguments)
{
	int room = LINE_BYTES - line.used;
	int wrote =
		room > 1 ? vsnprintf(line.text + line.used, (size_t)room, format, arguments) : 0;

	line.used += wrote < room ? wrote : room - 1;
}

static void __attribute__((format(printf, 1, 2))) line_print(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	line_add(format, arguments);
	va_end(arguments);
}

void trace_begin(const char *name)
{
	line.used = 0;
	line.arguments = 0;
	line_print("%s(", name);
}

void trace_print(const char *format, ...)
{
	va_list arguments;

	if (line.arguments++)
		line_print(", ");
	va_start(arguments, format);
	line_add(format, arguments);
	va_end(arguments);
}

void trace_string(const char *name, const char *text)
{
	if (text)
		trace_print("%s=\"%.200s\"", name, text);
	else
		trace_print("%s=NULL", name);
}

void trace_end(double start_us, int result)
{
	const char *name = cuda_result_name(result);
	char whole[LINE_BYTES + 160];
	int used;

	used = snprintf(whole, sizeof(whole), "%ld %.1f  %.*s) = %s  %.1f\n",
			(long)syscall(SYS_gettid), start_us, line.used, line.text,
			name ? name : "?", trace_clock_us() - start_us);
	if (used > 0 && write(trace_fd, whole, (size_t)used) < 0)
		used = 0; /* a full disk costs the trace, not the program */
}
