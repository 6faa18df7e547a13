/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cores, weight and memory of programs by cgroup v2, where a card has one: NAME/N for program N.
 * Where not, sandbox.c does what it can with affinity, nice and limits.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clean.h"
#include "lib/base/io.h"
#include "scif/card/sandbox.h"

#define CGROUP_PROCESSES_MAX 4096

static bool cgroup_usable;

bool cgroup_is_used(void)
{
	return cgroup_usable;
}

static int cgroup_write(const char *folder, const char *file, const char *text)
{
	char path[PATH_MAX];
	autoclose int fd = -1;

	if (snprintf(path, sizeof(path), "%s/%s", folder, file) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd < 0 ? -errno : io_write_full(fd, text, strlen(text));
}

bool cgroup_prepare(const struct card_settings *settings)
{
	static const char controllers[] = "+cpu +cpuset +memory +pids";
	char parent[PATH_MAX], *slash, bytes[32];

	snprintf(parent, sizeof(parent), "%s", settings->cgroup);
	slash = strrchr(parent, '/');
	if (!slash || slash == parent)
		return false;
	*slash = 0;
	cgroup_write(parent, "cgroup.subtree_control", controllers); /* they may be there already */
	if (mkdir(settings->cgroup, 0755) < 0 && errno != EEXIST)
		return false;
	snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)settings->memory_bytes);
	cgroup_usable =
		cgroup_write(settings->cgroup, "cgroup.subtree_control", controllers) == 0 &&
		cgroup_write(settings->cgroup, "memory.max", bytes) == 0;
	if (!cgroup_usable)
		rmdir(settings->cgroup);
	return cgroup_usable;
}

static void cgroup_path(const struct card_settings *settings, uint64_t number, char *path)
{
	snprintf(path, PATH_MAX, "%s/%llu", settings->cgroup, (unsigned long long)number);
}

int cgroup_move(const struct card_settings *settings, uint64_t number, const cpu_set_t *cores)
{
	char path[PATH_MAX], text[CARD_CORES_MAX * 5] = "";
	size_t used = 0;

	cgroup_path(settings, number, path);
	for (int core = 0; core < CARD_CORES_MAX; core++) {
		if (CPU_ISSET(core, cores))
			used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%d",
						 used ? "," : "", core);
	}
	return cgroup_write(path, "cpuset.cpus", text);
}

int cgroup_enter(const struct card_settings *settings, uint64_t number, pid_t process,
		 const struct sandbox_start *start)
{
	char path[PATH_MAX], text[32];
	int status;

	cgroup_path(settings, number, path);
	if (mkdir(path, 0755) < 0)
		return -errno;
	status = cgroup_move(settings, number, &start->cores);
	snprintf(text, sizeof(text), "%u", start->weight);
	if (status == 0)
		status = cgroup_write(path, "cpu.weight", text);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)start->memory_bytes);
	if (status == 0)
		status = cgroup_write(path, "memory.max", text);
	snprintf(text, sizeof(text), "%d", CGROUP_PROCESSES_MAX);
	if (status == 0)
		status = cgroup_write(path, "pids.max", text);
	snprintf(text, sizeof(text), "%d", (int)process);
	if (status == 0)
		status = cgroup_write(path, "cgroup.procs", text);
	return status;
}

void cgroup_remove(const struct card_settings *settings, uint64_t number)
{
	char path[PATH_MAX];

	cgroup_path(settings, number, path);
	if (cgroup_usable)
		rmdir(path);
}
