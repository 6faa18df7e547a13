/* SPDX-License-Identifier: Apache-2.0 */
/* All processes of a sandbox, seen from outside in /proc: what they used, and on which cores. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "scif/card/supervisor.h"

#define PROCESSES_DEPTH_MAX  64
#define PROCESSES_PASSES_MAX 4

struct walk {
	const cpu_set_t *cores; /* to move to; NULL: stay */
	unsigned int moved;
	uint64_t ticks;
};

/* User and system time, own and of children that were reaped; a process that ended adds nothing. */
static uint64_t process_ticks(pid_t process)
{
	unsigned long long ticks[4] = { 0 };
	char path[64], text[1024], *at;
	size_t got;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", process);
	file = fopen(path, "re");
	if (!file)
		return 0;
	got = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[got] = 0;
	at = strrchr(text, ')');
	if (!at || sscanf(at, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %llu %llu",
			  &ticks[0], &ticks[1], &ticks[2], &ticks[3]) != 4)
		return 0;
	return ticks[0] + ticks[1] + ticks[2] + ticks[3];
}

static void thread_move(struct walk *walk, pid_t thread)
{
	cpu_set_t now;

	if (sched_getaffinity(thread, sizeof(now), &now) < 0 || CPU_EQUAL(&now, walk->cores))
		return;
	walk->moved += sched_setaffinity(thread, sizeof(*walk->cores), walk->cores) == 0;
}

/* A process and all below it, thread by thread, as children are a thread's. */
static void walk_process(struct walk *walk, pid_t process, unsigned int depth)
{
	const struct dirent *entry;
	char path[64];
	DIR *threads;

	snprintf(path, sizeof(path), "/proc/%d/task", process);
	threads = opendir(path);
	if (!threads)
		return;
	walk->ticks += process_ticks(process);
	while ((entry = readdir(threads))) {
		pid_t thread = atoi(entry->d_name);
		FILE *children;
		int child;

		if (thread <= 0)
			continue;
		if (walk->cores)
			thread_move(walk, thread);
		snprintf(path, sizeof(path), "/proc/%d/task/%d/children", process, thread);
		children = depth < PROCESSES_DEPTH_MAX ? fopen(path, "re") : NULL;
		while (children && fscanf(children, "%d", &child) == 1)
			walk_process(walk, child, depth + 1);
		if (children)
			fclose(children);
	}
	closedir(threads);
}

uint64_t processes_cpu_us(pid_t init)
{
	struct walk walk = { 0 };

	walk_process(&walk, init, 0);
	return walk.ticks * 1000000 / (uint64_t)sysconf(_SC_CLK_TCK);
}

void processes_move(pid_t init, const cpu_set_t *cores)
{
	/* A thread has the cores of the one that made it: when a pass found none that was made
	 * meanwhile, there is none. */
	for (unsigned int pass = 0; pass < PROCESSES_PASSES_MAX; pass++) {
		struct walk walk = { .cores = cores };

		walk_process(&walk, init, 0);
		if (!walk.moved)
			return;
	}
}
