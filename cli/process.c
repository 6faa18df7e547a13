/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Child processes of a command; see process.h.
 *
 * A child is in one of two states: none (pid 0, both descriptors -1) and started (pid and pid_fd
 * valid until process_stop(); the process itself may have ended before and is then a zombie).
 */
#include "cli/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clean.h"
#include "lib/base/io.h"

static int signal_fd = -1;

double process_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

int process_open(void)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0)
		return -errno;
	/* Never read from: once readable it stays so, and every later wait ends at once. */
	signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	return signal_fd < 0 ? -errno : 0;
}

/* The child's half of process_start(); reports errno through @report_fd where exec fails. */
static void __attribute__((noreturn))
process_become(const struct process_setup *setup, pid_t parent, int output_fd, int report_fd)
{
	sigset_t none;
	int code;

	if (!setup->foreground)
		setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(127);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (!setup->foreground) {
		int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);

		if (null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0)
			goto failed;
	}
	if (output_fd >= 0 && dup2(output_fd, STDOUT_FILENO) < 0)
		goto failed;
	if (setup->output == PROCESS_OUTPUT_FILE && dup2(output_fd, STDERR_FILENO) < 0)
		goto failed;
	for (size_t i = 0; setup->names && setup->names[i]; i += 2)
		if (setenv(setup->names[i], setup->names[i + 1], 1) < 0)
			goto failed;
	execvp(setup->arguments[0], setup->arguments);
failed:
	code = errno;
	if (write(report_fd, &code, sizeof(code)) < 0)
		_exit(126);
	_exit(127);
}

int process_start(struct process *process, const struct process_setup *setup, struct error *error)
{
	const char *what = setup->arguments[0];
	autoclose int output_read = -1;
	autoclose int output_write = -1;
	autoclose int report_read = -1;
	autoclose int report_write = -1;
	int ends[2], code = 0;
	pid_t parent = getpid();

	*process = (struct process){ .name = what, .pid_fd = -1, .output_fd = -1 };
	process->leads_group = !setup->foreground;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_set(error, -errno, "cannot make a pipe: %s", strerror(errno));
	report_read = ends[0];
	report_write = ends[1];
	if (setup->output == PROCESS_OUTPUT_PIPE) {
		if (pipe2(ends, O_CLOEXEC) < 0)
			return error_set(error, -errno, "cannot make a pipe: %s", strerror(errno));
		output_read = ends[0];
		output_write = ends[1];
	} else if (setup->output == PROCESS_OUTPUT_FILE) {
		output_write = open(setup->file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
		if (output_write < 0)
			return error_set(error, -errno, "cannot write %s: %s", setup->file,
					 strerror(errno));
	}
	process->pid = fork();
	if (process->pid == 0)
		process_become(setup, parent, output_write, report_write);
	if (process->pid < 0) {
		process->pid = 0;
		return error_set(error, -errno, "cannot start %s: %s", what, strerror(errno));
	}
	close(steal_fd(&report_write));
	if (io_read_full(report_read, &code, sizeof(code)) == 0) {
		waitpid(process->pid, NULL, 0);
		process->pid = 0;
		return error_set(error, -code, "cannot start %s: %s", what, strerror(code));
	}
	process->pid_fd = (int)syscall(SYS_pidfd_open, process->pid, 0);
	process->output_fd = steal_fd(&output_read);
	if (process->pid_fd < 0) {
		code = -errno;
		process_stop(process, 0);
		return error_set(error, code, "cannot watch %s: %s", what, strerror(-code));
	}
	return 0;
}

int process_sleep(const struct process *process, int milliseconds)
{
	struct pollfd poll_fds[] = { { .fd = signal_fd, .events = POLLIN },
				     { .fd = process->pid_fd, .events = POLLIN } };
	int ready;

	do {
		ready = poll(poll_fds, 2, milliseconds);
	} while (ready < 0 && errno == EINTR);
	if (ready < 0)
		return -errno;
	if (poll_fds[0].revents)
		return -EINTR;
	return poll_fds[1].revents ? 1 : 0;
}

bool process_ended(const struct process *process)
{
	struct pollfd poll_fd = { .fd = process->pid_fd, .events = POLLIN };

	return !process->pid || poll(&poll_fd, 1, 0) > 0;
}

ssize_t process_read(const struct process *process, void *to, size_t bytes, double deadline_ms)
{
	struct pollfd poll_fds[] = { { .fd = signal_fd, .events = POLLIN },
				     { .fd = process->output_fd, .events = POLLIN } };
	ssize_t got;

	for (;;) {
		double left_ms = deadline_ms - process_now_ms();
		int ready = poll(poll_fds, 2, left_ms > 0 ? (int)left_ms + 1 : 0);

		if (ready < 0 && errno == EINTR)
			continue;
		if (ready < 0)
			return -errno;
		if (poll_fds[0].revents)
			return -EINTR;
		if (!poll_fds[1].revents)
			return -ETIMEDOUT;
		got = read(process->output_fd, to, bytes);
		if (got < 0 && errno == EINTR)
			continue;
		return got < 0 ? -errno : got;
	}
}

int process_stop(struct process *process, int grace_ms)
{
	struct pollfd poll_fd = { .fd = process->pid_fd, .events = POLLIN };
	int status = 0, ready;

	if (!process->pid)
		return 0;
	if (!process_ended(process)) {
		/* To the leader alone first: it knows best how to end what it has started. */
		kill(process->pid, SIGTERM);
		do {
			ready = poll(&poll_fd, 1, grace_ms);
		} while (ready < 0 && errno == EINTR);
	}
	/* Whatever is left in the group, also after a leader that ended in good order. */
	if (process->leads_group)
		kill(-process->pid, SIGKILL);
	kill(process->pid, SIGKILL);
	while (waitpid(process->pid, &status, 0) < 0 && errno == EINTR)
		;
	if (process->pid_fd >= 0)
		close(process->pid_fd);
	if (process->output_fd >= 0)
		close(process->output_fd);
	process->pid = 0;
	process->pid_fd = process->output_fd = -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
