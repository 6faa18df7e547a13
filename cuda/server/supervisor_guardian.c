/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guardian: a tiny process that outlives a killed supervisor just long enough to kill its
 * workers and unlink its socket files.
 *
 * The supervisor tells it over a sequenced-packet socket what exists: a worker (its pidfd beside
 * the message, so that no other process can be meant), a worker that ended, a socket file (with
 * its inode and birth, so that the file of a successor is left alone), the folder in which workers
 * share memory (whose name is no other daemon's). When that socket ends, however the supervisor
 * ended, the guardian cleans up and exits. When the guardian dies, the
 * supervisor starts another and tells it everything again. A guardian that does not listen is
 * replaced too: the supervisor never waits for it.
 *
 * Each worker is also killed by the kernel when its parent dies (supervisor_spawn.c), which covers
 * the moment before the guardian has heard of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cuda/server/supervisor.h"
#include "lib/base/clean.h"
#include "lib/base/io.h"
#include "lib/base/log.h"

#define GUARDIAN_SOCKETS_MAX (8 + TENANTS_MAX)
#define GUARDIAN_AGAIN_S     1
#define GUARDIAN_END_MS	     1000 /* within which a killed worker has ended */

enum guardian_kind { GUARDIAN_WORKER, GUARDIAN_WORKER_ENDED, GUARDIAN_SOCKET, GUARDIAN_FOLDER };

struct guardian_message {
	enum guardian_kind kind;
	pid_t pid;
	struct guardian_file {
		uint32_t device[2];
		uint64_t inode;
		int64_t born_s;
		uint32_t born_ns;
	} file;
	char path[108];
};

/* What the guardian's process knows. */
struct guardian_worker {
	LIST_ENTRY(guardian_worker) link;
	pid_t pid;
	int pidfd;
};

static LIST_HEAD(, guardian_worker) guardian_workers;
static struct guardian_message guardian_sockets[GUARDIAN_SOCKETS_MAX];
static size_t guardian_socket_count;
static char guardian_folder[sizeof(((struct guardian_message *)NULL)->path)];

/* What tells a file from a later one of the same name and inode number; 0 or -errno. */
static int guardian_identify_file(const char *path, struct guardian_file *file)
{
	struct statx found;

	memset(file, 0, sizeof(*file));
	if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_BTIME, &found) < 0)
		return -errno;
	file->device[0] = found.stx_dev_major;
	file->device[1] = found.stx_dev_minor;
	file->inode = found.stx_ino;
	if (found.stx_mask & STATX_BTIME) {
		file->born_s = found.stx_btime.tv_sec;
		file->born_ns = found.stx_btime.tv_nsec;
	}
	return 0;
}

static void guardian_learn(const struct guardian_message *message, int pidfd)
{
	struct guardian_worker *worker;

	switch (message->kind) {
	case GUARDIAN_WORKER:
		worker = malloc(sizeof(*worker));
		if (!worker)
			_exit(1); /* the supervisor starts a guardian that has memory */
		worker->pid = message->pid;
		worker->pidfd = pidfd;
		LIST_INSERT_HEAD(&guardian_workers, worker, link);
		return;
	case GUARDIAN_WORKER_ENDED:
		LIST_FOREACH(worker, &guardian_workers, link)
		{
			if (worker->pid == message->pid) {
				LIST_REMOVE(worker, link);
				close(worker->pidfd);
				free(worker);
				return;
			}
		}
		return;
	case GUARDIAN_SOCKET:
		if (guardian_socket_count < GUARDIAN_SOCKETS_MAX)
			guardian_sockets[guardian_socket_count++] = *message;
		return;
	case GUARDIAN_FOLDER:
		memcpy(guardian_folder, message->path, sizeof(guardian_folder));
		return;
	}
}

static void guardian_clean_up(void)
{
	struct guardian_worker *worker;

	LIST_FOREACH(worker, &guardian_workers, link)
	syscall(SYS_pidfd_send_signal, worker->pidfd, SIGKILL, NULL, 0);
	for (size_t i = 0; i < guardian_socket_count; i++) {
		const struct guardian_message *one = &guardian_sockets[i];
		struct guardian_file now;

		if (guardian_identify_file(one->path, &now) == 0 &&
		    memcmp(&now, &one->file, sizeof(now)) == 0)
			unlink(one->path);
	}
	if (!*guardian_folder)
		return;
	/* A worker that still runs could put something into it meanwhile. */
	LIST_FOREACH(worker, &guardian_workers, link)
	{
		struct pollfd ended = { .fd = worker->pidfd, .events = POLLIN };

		poll(&ended, 1, GUARDIAN_END_MS);
	}
	folder_remove(guardian_folder);
}

/* The guardian's whole life, behind the fork. */
static __attribute__((noreturn)) void guardian_run(int fd)
{
	struct guardian_message message;
	int fds[IO_FDS_MAX];
	size_t fd_count;

	setsid();
	prctl(PR_SET_NAME, "cudad-guardian");
	/* Ctrl-C and kill mean the supervisor; this process follows it in any case. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	/* Not even a copy of a listening or served socket may stay open here. */
	close_range(3, fd - 1, 0);
	close_range(fd + 1, ~0u, 0);
	for (;;) {
		ssize_t got = io_receive_fds(fd, &message, sizeof(message), fds, &fd_count);

		if (got != sizeof(message))
			break;
		guardian_learn(&message, fd_count ? fds[0] : -1);
	}
	guardian_clean_up();
	_exit(0);
}

/**
 * guardian_start - fork a guardian that knows nothing yet
 *
 * Return: 0 or -errno with a sentence.
 */
int guardian_start(struct supervisor *supervisor, struct error *error)
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return error_set(error, -errno, "no sockets for the guardian: %s", strerror(errno));
	pid = fork();
	if (!pid) {
		close(pair[0]);
		guardian_run(pair[1]);
	}
	close(pair[1]);
	if (pid > 0)
		supervisor->guardian_pidfd = syscall(SYS_pidfd_open, pid, 0);
	if (pid < 0 || supervisor->guardian_pidfd < 0) {
		error_set(error, -errno, "no guardian: %s", strerror(errno));
		close(pair[0]);
		return -EAGAIN;
	}
	supervisor->guardian_fd = pair[0];
	return 0;
}

static void guardian_tell(struct supervisor *supervisor, const struct guardian_message *message,
			  int pidfd)
{
	ssize_t sent;

	if (supervisor->guardian_fd < 0)
		return;
	sent = io_send_fds(supervisor->guardian_fd, message, sizeof(*message), &pidfd, pidfd >= 0);
	/* Its end shows at guardian_event. One that does not listen must go for another. */
	if (sent == -EAGAIN)
		syscall(SYS_pidfd_send_signal, supervisor->guardian_pidfd, SIGKILL, NULL, 0);
}

void guardian_add_worker(struct supervisor *supervisor, const struct client *client)
{
	const struct guardian_message message = { .kind = GUARDIAN_WORKER, .pid = client->pid };

	guardian_tell(supervisor, &message, client->pidfd);
}

void guardian_remove_worker(struct supervisor *supervisor, const struct client *client)
{
	const struct guardian_message message = { .kind = GUARDIAN_WORKER_ENDED,
						  .pid = client->pid };

	guardian_tell(supervisor, &message, -1);
}

void guardian_add_socket(struct supervisor *supervisor, const struct listener *listener)
{
	struct guardian_message message = { .kind = GUARDIAN_SOCKET };
	autofree char *path = realpath(listener->path, NULL);

	/* The guardian's working folder may differ one day: tell it the whole path. */
	snprintf(message.path, sizeof(message.path), "%s", path ? path : listener->path);
	if (guardian_identify_file(message.path, &message.file) == 0)
		guardian_tell(supervisor, &message, -1);
}

void guardian_add_folder(struct supervisor *supervisor)
{
	struct guardian_message message = { .kind = GUARDIAN_FOLDER };

	snprintf(message.path, sizeof(message.path), "%s", supervisor->folder);
	guardian_tell(supervisor, &message, -1);
}

/* Everything that a guardian must know, to one that has just started. */
static void guardian_tell_all(struct supervisor *supervisor)
{
	const struct tenant_entrance *entrance;
	const struct client *client;

	for (size_t i = 0; i < supervisor->listener_count; i++) {
		if (supervisor->listeners[i].path)
			guardian_add_socket(supervisor, &supervisor->listeners[i]);
	}
	TAILQ_FOREACH(entrance, &supervisor->tenant_entrances, link)
	guardian_add_socket(supervisor, &entrance->listener);
	if (supervisor->control.path)
		guardian_add_socket(supervisor, &supervisor->control);
	if (*supervisor->folder)
		guardian_add_folder(supervisor);
	TAILQ_FOREACH(client, &supervisor->clients, link)
	{
		if (client->pid)
			guardian_add_worker(supervisor, client);
	}
}

static void guardian_forget(struct supervisor *supervisor)
{
	siginfo_t end;

	if (supervisor->guardian_event)
		event_free(supervisor->guardian_event);
	supervisor->guardian_event = NULL;
	waitid(P_PIDFD, supervisor->guardian_pidfd, &end, WEXITED);
	close(supervisor->guardian_pidfd);
	close(supervisor->guardian_fd);
	supervisor->guardian_fd = supervisor->guardian_pidfd = -1;
}

static void guardian_start_again(evutil_socket_t fd, short what, void *argument)
{
	const struct timeval later = { .tv_sec = GUARDIAN_AGAIN_S };
	struct supervisor *supervisor = argument;
	struct error error = { 0 };

	(void)fd;
	(void)what;
	if (guardian_start(supervisor, &error) < 0 || guardian_watch(supervisor) < 0) {
		log_error("guardian: %s", error.text);
		evtimer_add(supervisor->guardian_again, &later);
		return;
	}
	guardian_tell_all(supervisor);
}

static void guardian_ended(evutil_socket_t fd, short what, void *argument)
{
	const struct timeval later = { .tv_sec = GUARDIAN_AGAIN_S };
	static time_t last;
	struct supervisor *supervisor = argument;
	struct timespec now;

	(void)fd;
	(void)what;
	log_warning("the guardian died; starting another");
	guardian_forget(supervisor);
	/* At once, but not in circles where each dies immediately. */
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (now.tv_sec - last >= GUARDIAN_AGAIN_S)
		guardian_start_again(-1, 0, supervisor);
	else
		evtimer_add(supervisor->guardian_again, &later);
	last = now.tv_sec;
}

/* guardian_watch - learn of the guardian's end from the event loop; 0 or -errno */
int guardian_watch(struct supervisor *supervisor)
{
	int status = io_set_nonblock(supervisor->guardian_fd, 1);

	if (status < 0)
		return status;
	if (!supervisor->guardian_again)
		supervisor->guardian_again =
			evtimer_new(supervisor->base, guardian_start_again, supervisor);
	supervisor->guardian_event = event_new(supervisor->base, supervisor->guardian_pidfd,
					       EV_READ, guardian_ended, supervisor);
	if (!supervisor->guardian_again || !supervisor->guardian_event ||
	    event_add(supervisor->guardian_event, NULL) < 0)
		return -ENOMEM;
	return 0;
}

/* guardian_stop - in good order: everything is cleaned up already, so it finds nothing to do */
void guardian_stop(struct supervisor *supervisor)
{
	siginfo_t end;

	if (supervisor->guardian_again)
		event_free(supervisor->guardian_again);
	supervisor->guardian_again = NULL;
	if (supervisor->guardian_fd < 0)
		return;
	if (supervisor->guardian_event)
		event_free(supervisor->guardian_event);
	supervisor->guardian_event = NULL;
	close(supervisor->guardian_fd);
	supervisor->guardian_fd = -1;
	waitid(P_PIDFD, supervisor->guardian_pidfd, &end, WEXITED);
	close(supervisor->guardian_pidfd);
}
