/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A libcuda.so.1 that was taken over by its client: at cuInit() it tries to reach what a worker
 * must not, and writes to the log how each attempt ended, as "attempt NAME: ERROR" (0: it was let).
 *
 * ESCAPE_FILE is a file that no driver needs, ESCAPE_PROCESS a process of the same user.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static const char *file;
static pid_t process;

static int file_read(void)
{
	return open(file, O_RDONLY | O_CLOEXEC);
}

static int file_write(void)
{
	return open(file, O_WRONLY | O_CLOEXEC);
}

static int file_create(void)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s.%d", file, getpid());
	fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	unlink(path);
	return fd;
}

static int users_read(void)
{
	return open("/etc/passwd", O_RDONLY | O_CLOEXEC);
}

static int folder_list(void)
{
	return open("/home", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int inet_socket(void)
{
	return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

/* To a path that does not exist: it comes back either way, and says which. */
static int unix_connect(void)
{
	const struct sockaddr_un there = { AF_UNIX, "/nonexistent/socket" };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), result;

	if (fd < 0)
		return -1;
	result = connect(fd, (const struct sockaddr *)&there, sizeof(there));
	close(fd);
	return result < 0 && errno == ENOENT ? 0 : result;
}

static int unix_datagram(void)
{
	return socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

/* libcuda listens on an abstract name. */
static int unix_listen(void)
{
	struct sockaddr_un here = { AF_UNIX, "" };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), result;

	snprintf(here.sun_path + 1, sizeof(here.sun_path) - 1, "causeway-escape-%d", getpid());
	result = fd < 0 || bind(fd, (const struct sockaddr *)&here, sizeof(here)) < 0 ||
				 listen(fd, 1) < 0
			 ? -1
			 : 0;
	close(fd);
	return result;
}

static int netlink_socket(void)
{
	return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0);
}

/* Nothing runs in the child. */
static int child_make(void)
{
	pid_t child = fork();

	if (!child)
		_exit(0);
	if (child > 0)
		waitpid(child, NULL, 0);
	return child;
}

/* With a path that does not exist it comes back either way, and says which. */
static int program_run(void)
{
	static char *const words[] = { NULL };

	execve("/nonexistent/program", words, words);
	if (errno == ENOENT)
		return 0;
	return -1;
}

static int process_signal(void)
{
	return kill(process, 0);
}

static int process_read(void)
{
	char byte;
	struct iovec here = { &byte, 1 }, there = { &byte, 1 };

	/* The address is whatever it is there: only the permission counts. */
	if (process_vm_readv(process, &here, 1, &there, 1, 0) < 0 && errno == EFAULT)
		return 0;
	return errno ? -1 : 0;
}

static int process_memory_open(void)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/mem", process);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static int process_trace(void)
{
	if (ptrace(PTRACE_SEIZE, process, NULL, NULL) < 0)
		return -1;
	return 0;
}

static int namespace_make(void)
{
	return unshare(CLONE_NEWUSER);
}

static int uring_make(void)
{
	struct io_uring_params parameters = { 0 };

	return (int)syscall(SYS_io_uring_setup, 1, &parameters);
}

static int privileges_regain(void)
{
	return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? (errno = EPERM, -1) : 0;
}

static int traceable_become(void)
{
	return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static void *thread_wait(void *descriptor)
{
	char byte;

	return read(*(int *)descriptor, &byte, 1) < 0 ? descriptor : NULL;
}

/* Drivers name threads of theirs, which is a file in /proc. */
static int thread_name(void)
{
	pthread_t thread;
	int ends[2], status;
	FILE *comm = NULL;
	char path[64];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	status = pthread_create(&thread, NULL, thread_wait, &ends[0]);
	snprintf(path, sizeof(path), "/proc/self/task/%d/comm", getpid());
	if (!status && !(comm = fopen(path, "w")))
		status = errno;
	if (comm)
		fclose(comm);
	if (!status)
		status = pthread_setname_np(thread, "driver's");
	close(ends[1]);
	if (!status)
		status = pthread_join(thread, NULL);
	close(ends[0]);
	errno = status;
	return status ? -1 : 0;
}

static int memory_look(void)
{
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);

	close(fd);
	return fd < 0 ? -1 : open("/dev/null", O_RDWR | O_CLOEXEC);
}

EXPORT int cuInit(unsigned int flags);
EXPORT int cuDeviceGetCount(int *count);

int cuDeviceGetCount(int *count)
{
	*count = 0;
	return 100;
}

int cuInit(unsigned int flags)
{
	static const struct {
		const char *name;
		int (*attempt)(void);
	} attempts[] = {
		{ "file-read", file_read },
		{ "file-write", file_write },
		{ "file-create", file_create },
		{ "users-read", users_read },
		{ "folder-list", folder_list },
		{ "inet-socket", inet_socket },
		{ "unix-connect", unix_connect },
		{ "unix-datagram", unix_datagram },
		{ "netlink-socket", netlink_socket },
		{ "child-make", child_make },
		{ "program-run", program_run },
		{ "process-signal", process_signal },
		{ "process-read", process_read },
		{ "process-memory-open", process_memory_open },
		{ "process-trace", process_trace },
		{ "namespace-make", namespace_make },
		{ "uring-make", uring_make },
		{ "privileges-regain", privileges_regain },
		{ "traceable-become", traceable_become },
		/* These must be let. */
		{ "thread-name", thread_name },
		{ "unix-listen", unix_listen },
		{ "memory-look", memory_look },
	};

	(void)flags;
	file = getenv("ESCAPE_FILE");
	process = getenv("ESCAPE_PROCESS") ? atoi(getenv("ESCAPE_PROCESS")) : 0;
	if (!file || !process)
		return 1;
	for (size_t i = 0; i < sizeof(attempts) / sizeof(*attempts); i++) {
		errno = 0;
		fprintf(stderr, "attempt %s: %d\n", attempts[i].name,
			attempts[i].attempt() < 0 ? errno : 0);
	}
	fprintf(stderr, "attempts ended as user %u\n", geteuid());
	return 999;
}
