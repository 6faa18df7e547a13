/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starts a client's worker: the connection as descriptor 3, the token (for TCP) to read from 4,
 * what it shares with the supervisor and its tenant as 5 to 8 (proto/share-page.h), nothing else,
 * in a process group of its own, and dead when the supervisor is.
 *
 * fork() and not posix_spawn(), because the kernel is asked in between to kill the child with its
 * parent; the supervisor is small and has one thread, so a fork is cheap and safe.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cuda/server/supervisor.h"
#include "lib/base/clean.h"
#include "lib/base/io.h"
#include "lib/link/link.h"
#include "proto/share-page.h"

#define SPAWN_CONNECTION_FD 3
#define SPAWN_TOKEN_FD	    4
#define SPAWN_ARGUMENTS_MAX (24 + 2 * SANDBOX_PATHS_MAX)

struct spawn_arguments {
	const char *list[SPAWN_ARGUMENTS_MAX];
	char limit[24], slot[12], user[12], devices[SHARE_PAGE_DEVICES * 3 + 32];
};

/* spawn_visible - the devices of a tenant that may not use all, as the driver's variable has them
 */
static void spawn_visible(uint32_t devices, char *text, size_t bytes)
{
	int used = snprintf(text, bytes, "CUDA_VISIBLE_DEVICES=");

	for (unsigned int i = 0; i < SHARE_PAGE_DEVICES; i++) {
		if (devices & 1u << i)
			used += snprintf(text + used, bytes - used, "%s%u",
					 text[used - 1] == '=' ? "" : ",", i);
	}
}

static void spawn_compose(const struct supervisor *supervisor, const struct client *client,
			  bool with_token, struct spawn_arguments *arguments)
{
	const char **next = arguments->list;
	int descriptors[4];
	unsigned int slot;
	uid_t user;

	*next++ = supervisor->options.worker;
	*next++ = "--fd";
	*next++ = "3";
	*next++ = "--driver";
	*next++ = supervisor->options.driver;
	*next++ = "--peer";
	*next++ = client->identity.text;
	if (with_token) {
		*next++ = "--token-fd";
		*next++ = "4";
	}
	if (supervisor->options.memory_limit) {
		snprintf(arguments->limit, sizeof(arguments->limit), "%lld",
			 (long long)supervisor->options.memory_limit);
		*next++ = "--memory-limit";
		*next++ = arguments->limit;
	}
	share_client_descriptors(client, descriptors, &slot);
	snprintf(arguments->slot, sizeof(arguments->slot), "%u", slot);
	*next++ = "--share";
	*next++ = arguments->slot;
	if (descriptors[3] >= 0)
		*next++ = "--folder";
	if (supervisor->options.turns)
		*next++ = "--turns";
	if (supervisor->options.clear_memory)
		*next++ = "--clear";
	if (supervisor->options.sandbox)
		*next++ = "--sandbox";
	for (size_t i = 0; i < supervisor->options.worker_path_count; i++) {
		*next++ = "--path";
		*next++ = supervisor->options.worker_paths[i];
	}
	if (share_client_user(client, &user)) {
		snprintf(arguments->user, sizeof(arguments->user), "%u", user);
		*next++ = "--user";
		*next++ = arguments->user;
	}
	*next = NULL;
	if (~tenant_settings(client->tenant)->devices)
		spawn_visible(tenant_settings(client->tenant)->devices, arguments->devices,
			      sizeof(arguments->devices));
	else
		*arguments->devices = '\0';
}

/* A pipe with the token in it, or -errno. */
static int spawn_token_pipe(const char *token)
{
	int ends[2], status;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	status = io_write_full(ends[1], token, strlen(token));
	close(ends[1]);
	if (status < 0)
		close(ends[0]);
	return status < 0 ? status : ends[0];
}

/* In the child: becomes the worker, or tells the client why not. */
static __attribute__((noreturn)) void spawn_become(const struct client *client,
						   struct spawn_arguments *arguments, int token_fd,
						   pid_t parent)
{
	int connection = client->fd, shared[4];
	unsigned int slot;
	struct sigaction by_default = { .sa_handler = SIG_DFL };
	char text[LINK_ANSWER_TEXT_BYTES];
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	setpgid(0, 0);
	for (int i = 1; i < NSIG; i++)
		sigaction(i, &by_default, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	share_client_descriptors(client, shared, &slot);
	if (*arguments->devices)
		putenv(arguments->devices);
	if (dup2(connection, SPAWN_CONNECTION_FD) >= 0 &&
	    (token_fd < 0 || dup2(token_fd, SPAWN_TOKEN_FD) >= 0) &&
	    dup2(shared[0], SHARE_PAGE_FD) >= 0 && dup2(shared[1], SHARE_KICK_FD) >= 0 &&
	    dup2(shared[2], SHARE_MEMORY_FD) >= 0 &&
	    (shared[3] < 0 || dup2(shared[3], SHARE_FOLDER_FD) >= 0))
		execv(arguments->list[0], (char *const *)arguments->list);
	snprintf(text, sizeof(text), "cannot start worker '%s': %s", arguments->list[0],
		 strerror(errno));
	link_refuse(connection, -EIO, text);
	_exit(127);
}

pid_t spawn_worker(const struct supervisor *supervisor, const struct client *client, int *pidfd)
{
	struct spawn_arguments arguments;
	autoclose int token_fd = -1;
	pid_t parent = getpid(), pid;

	if (client->entrance == ENTRANCE_TCP) {
		token_fd = spawn_token_pipe(client->token.text);
		if (token_fd < 0)
			return token_fd;
	}
	spawn_compose(supervisor, client, token_fd >= 0, &arguments);
	pid = fork();
	if (!pid)
		spawn_become(client, &arguments, token_fd, parent);
	if (pid < 0)
		return -errno;
	/* Both sides set the group, so that it holds whoever runs first. */
	setpgid(pid, pid);
	*pidfd = syscall(SYS_pidfd_open, pid, 0);
	if (*pidfd < 0) {
		int status = -errno;

		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return status;
	}
	return pid;
}
