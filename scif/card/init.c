/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first process of a sandbox. It makes the sandbox's root its root, starts the program as a
 * user without rights, hands on signals that the worker sends, reaps whatever is left to it, and
 * ends with the program, which ends everything else in the namespace.
 *
 * It is the child of a process with one thread and may call what it likes.
 */
#include "scif/card/init.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <math.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/log.h"

#define INIT_PROCESSES_MAX 4096

static volatile sig_atomic_t init_program;

static void init_forward(int number)
{
	/* A moment after its start the program leads no group yet. */
	if (init_program && kill(-(pid_t)init_program, number) < 0)
		kill((pid_t)init_program, number);
}

/* The worker wants everything to end, and this process to reap it: then it is accounted for. */
static void init_end(int number)
{
	(void)number;
	kill(-1, SIGKILL);
}

static __attribute__((noreturn)) void init_fail(int fd, int status)
{
	/* Who does not hear it sees the end of the pipe, and of this process. */
	if (write(fd, &status, sizeof(status)) < 0)
		_exit(126);
	_exit(127);
}

static int init_enter_root(const char *root)
{
	if (chdir(root) < 0 ||
	    mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return -errno;
	/* pivot_root() wants a mount point; the old root is put over the new one and taken off. An
	 * initial RAM disk, as in a card that is a small VM, stays: it is covered, and left. */
	if (syscall(SYS_pivot_root, ".", ".") == 0) {
		if (umount2(".", MNT_DETACH) < 0)
			return -errno;
	} else if (errno != EINVAL || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0) {
		return -errno;
	}
	return chdir("/home") < 0 ? -errno : 0;
}

/* A network namespace of its own has a loopback interface, which is down. */
static void init_raise_loopback(void)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return; /* a kernel without IP: there is nothing to raise */
	ioctl(fd, SIOCSIFFLAGS, &request);
	close(fd);
}

/* Nice values are a factor of 1.25 apart; the card's own is a weight of 100. */
static int init_nice(unsigned int weight)
{
	double steps = getpriority(PRIO_PROCESS, 0) - log(weight / 100.0) / log(1.25);

	return steps < -20 ? -20 : steps > 19 ? 19 : (int)lround(steps);
}

/*
 * Kernels with automatic groups weigh sessions against each other, by a nice value of the session's
 * own; without this file there are none. The caller has just made its session, and has its nice
 * value already.
 */
static void init_nice_session(void)
{
	int fd = open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC);
	char text[16];

	snprintf(text, sizeof(text), "%d", getpriority(PRIO_PROCESS, 0));
	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) < 0)
		log_warning("nice value %s: /proc/self/autogroup: %s", text, strerror(errno));
	close(fd);
}

static int init_limit(const struct sandbox_start *start)
{
	const struct rlimit none = { 0, 0 };
	const struct rlimit processes = { INIT_PROCESSES_MAX, INIT_PROCESSES_MAX };

	if (setrlimit(RLIMIT_CORE, &none) < 0)
		return -errno;
	if (cgroup_is_used())
		return 0;
	if (sched_setaffinity(0, sizeof(start->cores), &start->cores) < 0 ||
	    setpriority(PRIO_PROCESS, 0, init_nice(start->weight)) < 0 ||
	    setrlimit(RLIMIT_NPROC, &processes) < 0)
		return -errno;
	return 0;
}

/* Of the program alone, just before it is executed: sanitizers, of which this process may be full,
 * have no room in it. */
static int init_limit_memory(const struct sandbox_start *start)
{
	const struct rlimit memory = { start->memory_bytes, start->memory_bytes };

	return !cgroup_is_used() && setrlimit(RLIMIT_DATA, &memory) < 0 ? -errno : 0;
}

static int init_drop_rights(const struct sandbox *box)
{
	for (int capability = 0; capability <= CAP_LAST_CAP; capability++)
		prctl(PR_CAPBSET_DROP, capability, 0, 0, 0); /* EINVAL: the kernel has fewer */
	if (setgroups(0, NULL) < 0 || setresgid(box->uid, box->uid, box->uid) < 0 ||
	    setresuid(box->uid, box->uid, box->uid) < 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return filter_load(cgroup_is_used());
}

static __attribute__((noreturn)) void init_execute(const struct sandbox *box,
						   const struct sandbox_start *start,
						   int pipes[INIT_PIPES][2])
{
	/* Numbers above all that are used, so that none of the targets is a source yet to come. */
	int failure = fcntl(pipes[INIT_FAILURE][1], F_DUPFD_CLOEXEC, 64);
	int ends[4] = { fcntl(pipes[INIT_INPUT][0], F_DUPFD_CLOEXEC, 64),
			fcntl(pipes[INIT_OUTPUT][1], F_DUPFD_CLOEXEC, 64),
			fcntl(pipes[INIT_ERRORS][1], F_DUPFD_CLOEXEC, 64),
			fcntl(pipes[INIT_PORT][1], F_DUPFD_CLOEXEC, 64) };
	char path[CARD_NAME_MAX + 8];
	sigset_t none;
	int status;

	for (int number = 1; number < NSIG; number++)
		signal(number, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	if (!cgroup_is_used())
		init_nice_session();
	for (int i = 0; i < 4; i++) {
		if (dup2(ends[i], i) < 0)
			init_fail(failure, -errno);
	}
	/* Everything else closes at execve(); what is not marked for it must not be inherited. */
	syscall(SYS_close_range, 4, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */);
	status = init_drop_rights(box);
	if (status < 0)
		init_fail(failure, status);
	snprintf(path, sizeof(path), "/home/%s", start->arguments[0]);
	status = init_limit_memory(start);
	if (status < 0)
		init_fail(failure, status);
	execve(path, start->arguments, start->variables);
	init_fail(failure, -errno);
}

/* The worker's connections must end with the worker: the init keeps the pipes alone. */
static void init_close_others(int pipes[INIT_PIPES][2])
{
	for (int fd = 3; fd < 1024; fd++) {
		bool kept = false;

		for (int i = 0; i < INIT_PIPES; i++)
			kept |= pipes[i][0] == fd || pipes[i][1] == fd;
		if (!kept)
			close(fd);
	}
}

/* Waits for the program's end, reaping others; then for that of all that it left behind. What is
 * reaped counts as used by this process, what the kernel kills with the namespace does not. */
static __attribute__((noreturn)) void init_reap(int status_fd)
{
	int status, ended = SIGKILL;
	pid_t process;

	do {
		process = waitpid(-1, &status, 0);
		if (process != init_program)
			continue;
		ended = status;
		kill(-1, SIGKILL);
	} while (process > 0 || errno == EINTR);
	if (write(status_fd, &ended, sizeof(ended)) < 0)
		_exit(126);
	_exit(0);
}

void init_run(const struct sandbox *box, const struct sandbox_start *start,
	      int pipes[INIT_PIPES][2])
{
	struct sigaction forward = { .sa_handler = init_forward }, end = { .sa_handler = init_end };
	int failure = pipes[INIT_FAILURE][1], status;
	char byte;
	pid_t program;

	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	close(pipes[INIT_GO][1]);
	if (start->network && setns(box->settings->network_fd, CLONE_NEWNET) < 0)
		init_fail(failure, -errno);
	init_close_others(pipes);
	if (read(pipes[INIT_GO][0], &byte, 1) != 1)
		_exit(126);
	for (int number = 1; number < 32; number++) {
		if (number != SIGCHLD)
			sigaction(number, &forward, NULL);
	}
	sigaction(INIT_END_SIGNAL, &end, NULL);
	status = init_enter_root(box->root);
	if (status == 0)
		status = init_limit(start);
	if (status < 0)
		init_fail(failure, status);
	if (!start->network)
		init_raise_loopback();
	if (sethostname(box->settings->name, strlen(box->settings->name)) < 0)
		init_fail(failure, -errno);
	program = fork();
	if (program < 0)
		init_fail(failure, -errno);
	if (program == 0)
		init_execute(box, start, pipes);
	init_program = program;
	/* What init holds open would keep the worker from seeing ends. */
	for (int i = 0; i < INIT_PIPES; i++) {
		if (i != INIT_STATUS) {
			close(pipes[i][0]);
			close(pipes[i][1]);
		}
	}
	init_reap(pipes[INIT_STATUS][1]);
}
