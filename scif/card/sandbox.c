/* SPDX-License-Identifier: Apache-2.0 */
/* The sandbox of one program, from outside: root, pipes, start; see sandbox.h. The other side of
 * the fork is init.c. */
#include "scif/card/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clean.h"
#include "scif/card/init.h"

#define SANDBOX_PATIENCE_MS 2000

/* A file of the host, seen in the sandbox; an empty one is made to hold it. */
static int sandbox_bind(const struct sandbox *box, const char *source, const char *name,
			unsigned long flags)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s%s", box->root, name);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	if (fd >= 0)
		close(fd);
	else if (errno != EISDIR)
		return -errno;
	if (mount(source, path, NULL, MS_BIND, NULL) < 0)
		return -errno;
	if (flags && mount(NULL, path, NULL, MS_BIND | MS_REMOUNT | flags, NULL) < 0)
		return -errno;
	return 0;
}

static int sandbox_make_folder(const struct sandbox *box, const char *name, mode_t mode, uid_t uid)
{
	char path[512];

	snprintf(path, sizeof(path), "%s%s", box->root, name);
	if (mkdir(path, mode) < 0 || chmod(path, mode) < 0 || chown(path, uid, uid) < 0)
		return -errno;
	return 0;
}

/* What a program may ask of its host: names of this one, and of its user. */
static int sandbox_write_etc(const struct sandbox *box)
{
	char path[512], text[256];
	autoclose int hosts = -1, users = -1;

	snprintf(path, sizeof(path), "%s/etc/hosts", box->root);
	hosts = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	snprintf(path, sizeof(path), "%s/etc/passwd", box->root);
	users = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (hosts < 0 || users < 0)
		return -errno;
	snprintf(text, sizeof(text), "127.0.0.1 localhost %.64s\n", box->settings->name);
	if (write(hosts, text, strlen(text)) < 0)
		return -errno;
	snprintf(text, sizeof(text), "micuser:x:%u:%u::/home:/\n", box->uid, box->uid);
	return write(users, text, strlen(text)) < 0 ? -errno : 0;
}

static int sandbox_make_folders(const struct sandbox *box)
{
	static const struct {
		const char *name;
		mode_t mode;
		bool own; /* the program's */
	} folders[] = {
		{ "/home", 0755, true },	 { "/home/lib", 0755, false },
		{ "/lib64", 0755, false },	 { "/lib", 0755, false },
		{ "/proc", 0555, false },	 { "/dev", 0755, false },
		{ "/dev/shm", 01777, false },	 { "/dev/mic", 0755, false },
		{ "/tmp", 01777, false },	 { "/run", 0755, false },
		{ "/etc", 0755, false },	 { "/sys", 0755, false },
		{ "/sys/class", 0755, false },	 { "/sys/class/net", 0755, false },
		{ "/sys/devices", 0755, false },
	};
	static const struct {
		const char *target, *name;
	} links[] = {
		{ "/lib64", "/lib/x86_64-linux-gnu" },
		/* Names alone, for programs that list interfaces so; nothing of the host is there.
		 */
		{ "/sys/devices", "/sys/class/net/lo" },
		{ "/sys/devices", "/sys/class/net/scif0" },
	};
	char path[512];
	int status = 0;

	for (size_t i = 0; i < sizeof(folders) / sizeof(*folders) && status == 0; i++)
		status = sandbox_make_folder(box, folders[i].name, folders[i].mode,
					     folders[i].own ? box->uid : 0);
	for (size_t i = 0; i < sizeof(links) / sizeof(*links) && status == 0; i++) {
		snprintf(path, sizeof(path), "%s%s", box->root, links[i].name);
		if (symlink(links[i].target, path) < 0)
			status = -errno;
	}
	return status < 0 ? status : sandbox_write_etc(box);
}

static int sandbox_make_devices(const struct sandbox *box)
{
	static const char *const devices[] = { "/dev/null", "/dev/zero", "/dev/full", "/dev/random",
					       "/dev/urandom" };
	int status = 0;

	for (size_t i = 0; i < sizeof(devices) / sizeof(*devices) && status == 0; i++)
		status = sandbox_bind(box, devices[i], devices[i], 0);
	if (status == 0 && box->settings->socket)
		status = sandbox_bind(box, box->settings->socket, "/run/scif.sock", 0);
	else if (status == 0 && access("/dev/mic/scif", F_OK) == 0)
		status = sandbox_bind(box, "/dev/mic/scif", "/dev/mic/scif", 0);
	if (status == 0 && !box->settings->socket && access("/dev/scif", F_OK) == 0)
		status = sandbox_bind(box, "/dev/scif", "/dev/scif", 0);
	return status;
}

int sandbox_open(struct sandbox *box, const struct card_settings *settings, uid_t uid,
		 struct error *error)
{
	char library[512], options[64];
	int status;

	*box = (struct sandbox){ .settings = settings,
				 .uid = uid,
				 .init = -1,
				 .input = -1,
				 .output = -1,
				 .errors = -1,
				 .port = -1,
				 .status = -1 };
	snprintf(box->root, sizeof(box->root), "%s/root", settings->folder);
	snprintf(library, sizeof(library), "%s/lib", settings->folder);
	snprintf(options, sizeof(options), "mode=0755,size=%llu",
		 (unsigned long long)settings->memory_bytes);
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("card", box->root, "tmpfs", MS_NOSUID | MS_NODEV, options) < 0)
		return error_set(error, -errno, "no sandbox: %s", strerror(errno));
	status = sandbox_make_folders(box);
	if (status == 0)
		status = sandbox_make_devices(box);
	if (status == 0)
		status = sandbox_bind(box, library, "/lib64", MS_RDONLY | MS_NOSUID | MS_NODEV);
	return status < 0 ? error_set(error, status, "no sandbox: %s", strerror(-status)) : 0;
}

int sandbox_create_file(struct sandbox *box, const char *folder, const char *name)
{
	char path[1024];
	int fd;

	if (snprintf(path, sizeof(path), "%s/%s/%s", box->root, folder, name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0755);
	return fd < 0 ? -errno : fd;
}

/* Pipe @i's two ends. */
static int sandbox_open_pipes(int pipes[INIT_PIPES][2])
{
	for (int i = 0; i < INIT_PIPES; i++)
		pipes[i][0] = pipes[i][1] = -1;
	for (int i = 0; i < INIT_PIPES; i++) {
		if (pipe2(pipes[i], O_CLOEXEC) < 0)
			return -errno;
	}
	return 0;
}

static void sandbox_close_pipes(int pipes[INIT_PIPES][2])
{
	for (int i = 0; i < INIT_PIPES; i++) {
		for (int j = 0; j < 2; j++) {
			if (pipes[i][j] >= 0)
				close(pipes[i][j]);
		}
	}
}

/* The init, which waits for a byte on its go pipe; its process id or -errno. */
static pid_t sandbox_fork(struct sandbox *box, const struct sandbox_start *start,
			  int pipes[INIT_PIPES][2])
{
	unsigned long flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | SIGCHLD;
	pid_t init;

	if (!start->network)
		flags |= CLONE_NEWNET;
	init = (pid_t)syscall(SYS_clone, flags, NULL, NULL, NULL, 0);
	if (init < 0)
		return -errno;
	if (init == 0)
		init_run(box, start, pipes);
	return init;
}

/* Lets the init go on, and hears whether the program was executed; 0 or -errno. */
static int sandbox_go(struct sandbox *box, int pipes[INIT_PIPES][2])
{
	int failure = 0;
	ssize_t got;

	for (int i = 0; i < INIT_PIPES; i++) { /* the init's ends */
		int *end = &pipes[i][i == INIT_INPUT || i == INIT_GO ? 0 : 1];

		close(*end);
		*end = -1;
	}
	if (write(pipes[INIT_GO][1], "g", 1) != 1)
		return -errno;
	do
		got = read(pipes[INIT_FAILURE][0], &failure, sizeof(failure));
	while (got < 0 && errno == EINTR);
	if (got == (ssize_t)sizeof(failure))
		return failure;
	box->input = steal_fd(&pipes[INIT_INPUT][1]);
	box->output = steal_fd(&pipes[INIT_OUTPUT][0]);
	box->errors = steal_fd(&pipes[INIT_ERRORS][0]);
	box->port = steal_fd(&pipes[INIT_PORT][0]);
	box->status = steal_fd(&pipes[INIT_STATUS][0]);
	fcntl(box->input, F_SETFL, O_NONBLOCK);
	return 0;
}

/* The init's end; a kernel that cannot end a process must not hold up the worker's other work. */
static void sandbox_reap(struct sandbox *box, struct rusage *usage)
{
	int status;

	memset(usage, 0, sizeof(*usage));
	while (box->init > 0 && wait4(box->init, &status, 0, usage) < 0 && errno == EINTR)
		continue;
	box->init = -1;
	cgroup_remove(box->settings, box->number);
}

int sandbox_start(struct sandbox *box, const struct sandbox_start *start, struct error *error)
{
	int pipes[INIT_PIPES][2], status = sandbox_open_pipes(pipes);
	struct rusage usage;

	if (status == 0) {
		box->init = sandbox_fork(box, start, pipes);
		status = box->init < 0 ? (int)box->init : 0;
	}
	if (status == 0 && cgroup_is_used())
		status = cgroup_enter(box->settings, box->number, box->init, start);
	if (status == 0)
		status = sandbox_go(box, pipes);
	sandbox_close_pipes(pipes);
	if (status < 0 && box->init > 0) {
		kill(box->init, SIGKILL);
		sandbox_reap(box, &usage);
	}
	return status < 0 ? error_set(error, status, "%s: %s", start->arguments[0],
				      status == -ENOENT ? "the interpreter that it names is not on "
							  "the card"
							: strerror(-status))
			  : 0;
}

void sandbox_end(struct sandbox *box, struct rusage *usage)
{
	struct pollfd gone = { .fd = box->status, .events = POLLIN };

	if (box->init > 0 && box->status >= 0) {
		kill(box->init, INIT_END_SIGNAL);
		poll(&gone, 1, SANDBOX_PATIENCE_MS);
		kill(box->init, SIGKILL);
	}
	sandbox_reap(box, usage);
}
