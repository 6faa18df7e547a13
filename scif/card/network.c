/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The card's network namespace: causeway-scifnet runs in it, and the programs that asked for it.
 * As on a real card they share its addresses and ports; all other programs have no network.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scif/card/sandbox.h"

/* Beside this program, or in the build folder. */
static void network_program(char path[PATH_MAX])
{
	char folder[PATH_MAX / 2], *slash;
	ssize_t length = readlink("/proc/self/exe", folder, sizeof(folder) - 1);

	folder[length > 0 ? length : 0] = 0;
	slash = strrchr(folder, '/');
	if (slash)
		*slash = 0;
	snprintf(path, PATH_MAX, "%s/causeway-scifnet", folder);
	if (access(path, X_OK) < 0)
		snprintf(path, PATH_MAX, "%s/../net/causeway-scifnet", folder);
}

static __attribute__((noreturn)) void network_run(const struct card_settings *settings,
						  const char *path, int ready)
{
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (unshare(CLONE_NEWNET) < 0 || write(ready, "r", 1) != 1)
		_exit(126);
	if (settings->socket)
		setenv("CAUSEWAY_SCIF_SOCKET", settings->socket, 1);
	else
		unsetenv("CAUSEWAY_SCIF_SOCKET");
	execl(path, path, (char *)NULL);
	_exit(127);
}

pid_t network_start(struct card_settings *settings, struct error *error)
{
	char path[PATH_MAX], name[64], byte;
	int ready[2];
	pid_t process;

	if (!settings->network)
		return 0;
	network_program(path);
	if (access(path, X_OK) < 0 || pipe2(ready, O_CLOEXEC) < 0)
		return error_set(error, -errno, "--network: %s: %s", path, strerror(errno));
	process = fork();
	if (process == 0)
		network_run(settings, path, ready[1]);
	close(ready[1]);
	snprintf(name, sizeof(name), "/proc/%d/ns/net", process);
	if (process > 0 && read(ready[0], &byte, 1) == 1)
		settings->network_fd = open(name, O_RDONLY | O_CLOEXEC);
	close(ready[0]);
	if (settings->network_fd < 0)
		return error_set(error, -EIO, "--network: no network namespace");
	return process;
}

void network_stop(struct card_settings *settings, pid_t process)
{
	if (process > 0)
		kill(process, SIGKILL); /* the supervisor reaps all its children */
	if (settings->network_fd >= 0)
		close(settings->network_fd);
	settings->network_fd = -1;
}
