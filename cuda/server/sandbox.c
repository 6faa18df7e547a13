/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker runs what a client asks of a driver that nobody here can read. So, before it loads the
 * driver, it gives up everything that a driver has no use for:
 *
 *	user		its tenant's own, where one is configured; else the supervisor's, without
 *any capability. Nobody may trace it (not dumpable), it dies with its parent.
 *	files		(Landlock) only those listed below and in the configuration, and one folder
 *			for shared memory (shm.c); no other process can be traced or, in newer
 *			kernels, be sent a signal
 *	network		no connection: connect() is refused, and every socket but such of this host
 *			that only its own threads can reach (libcuda listens on one). The client's
 *			connection, and scifd's where the link needs it, are open by then.
 *	system calls	(seccomp) what is not in calls[] gets EPERM: no programs, no processes, no
 *			mounts, namespaces, keys, tracing, io_uring ...
 *
 * A thread keeps what its creator gave up: all of this comes before the first one is made.
 *
 * Threads: one.
 */
#include "cuda/server/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <limits.h>
#include <link.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/clean.h"
#include "lib/base/log.h"

/*
 * Landlock as the kernel has it (linux/landlock.h of 6.12): older headers lack the later fields.
 * Each version of its interface (ABI) knows more rights.
 */
#define LANDLOCK_CREATE	 444 /* system calls */
#define LANDLOCK_ADD	 445
#define LANDLOCK_ENTER	 446
#define LANDLOCK_VERSION 1u /* a flag of the first */
#define LANDLOCK_BENEATH 1
#define FS_WRITE_FILE	 (1ull << 1)
#define FS_READ_FILE	 (1ull << 2)
#define FS_READ_DIR	 (1ull << 3)
#define FS_REMOVE_FILE	 (1ull << 5)
#define FS_MAKE_REG	 (1ull << 8)
#define FS_TRUNCATE	 (1ull << 14)
#define FS_IOCTL_DEV	 (1ull << 15)
#define FS_READ		 (FS_READ_FILE | FS_READ_DIR)
#define FS_DEVICE	 (FS_READ_FILE | FS_WRITE_FILE | FS_IOCTL_DEV)

struct landlock_attributes {
	uint64_t fs, net, scoped;
};

struct landlock_beneath {
	uint64_t allowed;
	int32_t parent;
} __attribute__((packed));

/* What drivers look at. /proc has no process of others in it that may be opened for more. */
static const char *const readable[] = {
	"/usr",	       "/lib",		 "/lib64",
	"/proc",       "/sys",		 "/etc/ld.so.cache",
	"/etc/nvidia", "/etc/localtime", "/run/nvidia-persistenced",
};

/* Patterns of the devices that they work with. */
static const char *const devices[] = {
	"/dev/nvidia*", "/dev/nvidia-caps/*", "/dev/null",    "/dev/zero",
	"/dev/full",	"/dev/random",	      "/dev/urandom",
};

/* What a driver and this program do without anybody else being reached by it. */
static const int calls[] = {
	SCMP_SYS(accept),
	SCMP_SYS(accept4),
	SCMP_SYS(bind),
	SCMP_SYS(listen),
	SCMP_SYS(access),
	SCMP_SYS(arch_prctl),
	SCMP_SYS(brk),
	SCMP_SYS(clock_getres),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(close),
	SCMP_SYS(close_range),
	SCMP_SYS(dup),
	SCMP_SYS(dup2),
	SCMP_SYS(dup3),
	SCMP_SYS(epoll_create),
	SCMP_SYS(epoll_create1),
	SCMP_SYS(epoll_ctl),
	SCMP_SYS(epoll_pwait),
	SCMP_SYS(epoll_pwait2),
	SCMP_SYS(epoll_wait),
	SCMP_SYS(eventfd),
	SCMP_SYS(eventfd2),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
	SCMP_SYS(faccessat),
	SCMP_SYS(faccessat2),
	SCMP_SYS(fadvise64),
	SCMP_SYS(fallocate),
	SCMP_SYS(fcntl),
	SCMP_SYS(fdatasync),
	SCMP_SYS(flock),
	SCMP_SYS(fstat),
	SCMP_SYS(fstatfs),
	SCMP_SYS(fsync),
	SCMP_SYS(ftruncate),
	SCMP_SYS(futex),
	SCMP_SYS(futex_waitv),
	SCMP_SYS(get_mempolicy),
	SCMP_SYS(get_robust_list),
	SCMP_SYS(getcpu),
	SCMP_SYS(getcwd),
	SCMP_SYS(getdents),
	SCMP_SYS(getdents64),
	SCMP_SYS(getegid),
	SCMP_SYS(geteuid),
	SCMP_SYS(getgid),
	SCMP_SYS(getgroups),
	SCMP_SYS(getitimer),
	SCMP_SYS(getpeername),
	SCMP_SYS(getpgid),
	SCMP_SYS(getpgrp),
	SCMP_SYS(getpid),
	SCMP_SYS(getppid),
	SCMP_SYS(getpriority),
	SCMP_SYS(getrandom),
	SCMP_SYS(getresgid),
	SCMP_SYS(getresuid),
	SCMP_SYS(getrlimit),
	SCMP_SYS(getrusage),
	SCMP_SYS(getsid),
	SCMP_SYS(getsockname),
	SCMP_SYS(getsockopt),
	SCMP_SYS(gettid),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(getuid),
	SCMP_SYS(lseek),
	SCMP_SYS(lstat),
	SCMP_SYS(madvise),
	SCMP_SYS(mbind),
	SCMP_SYS(membarrier),
	SCMP_SYS(memfd_create),
	SCMP_SYS(mincore),
	SCMP_SYS(mlock),
	SCMP_SYS(mlock2),
	SCMP_SYS(mmap),
	SCMP_SYS(mprotect),
	SCMP_SYS(mremap),
	SCMP_SYS(msync),
	SCMP_SYS(munlock),
	SCMP_SYS(munmap),
	SCMP_SYS(nanosleep),
	SCMP_SYS(newfstatat),
	SCMP_SYS(open),
	SCMP_SYS(openat),
	SCMP_SYS(openat2),
	SCMP_SYS(pause),
	SCMP_SYS(pipe),
	SCMP_SYS(pipe2),
	SCMP_SYS(pkey_alloc),
	SCMP_SYS(pkey_free),
	SCMP_SYS(pkey_mprotect),
	SCMP_SYS(poll),
	SCMP_SYS(ppoll),
	SCMP_SYS(pread64),
	SCMP_SYS(preadv),
	SCMP_SYS(pselect6),
	SCMP_SYS(pwrite64),
	SCMP_SYS(pwritev),
	SCMP_SYS(read),
	SCMP_SYS(readahead),
	SCMP_SYS(readlink),
	SCMP_SYS(readlinkat),
	SCMP_SYS(readv),
	SCMP_SYS(recvfrom),
	SCMP_SYS(recvmmsg),
	SCMP_SYS(recvmsg),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(rseq),
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigpending),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(rt_sigsuspend),
	SCMP_SYS(rt_sigtimedwait),
	SCMP_SYS(sched_get_priority_max),
	SCMP_SYS(sched_get_priority_min),
	SCMP_SYS(sched_getaffinity),
	SCMP_SYS(sched_getattr),
	SCMP_SYS(sched_getparam),
	SCMP_SYS(sched_getscheduler),
	SCMP_SYS(sched_rr_get_interval),
	SCMP_SYS(sched_setaffinity),
	SCMP_SYS(sched_yield),
	SCMP_SYS(select),
	SCMP_SYS(sendmmsg),
	SCMP_SYS(sendmsg),
	SCMP_SYS(sendto),
	SCMP_SYS(set_mempolicy),
	SCMP_SYS(set_robust_list),
	SCMP_SYS(set_tid_address),
	SCMP_SYS(setitimer),
	SCMP_SYS(setsockopt),
	SCMP_SYS(shutdown),
	SCMP_SYS(sigaltstack),
	SCMP_SYS(stat),
	SCMP_SYS(statfs),
	SCMP_SYS(statx),
	SCMP_SYS(sysinfo),
	SCMP_SYS(time),
	SCMP_SYS(timer_create),
	SCMP_SYS(timer_delete),
	SCMP_SYS(timer_settime),
	SCMP_SYS(timerfd_create),
	SCMP_SYS(timerfd_gettime),
	SCMP_SYS(timerfd_settime),
	SCMP_SYS(times),
	SCMP_SYS(umask),
	SCMP_SYS(uname),
	SCMP_SYS(wait4),
	SCMP_SYS(waitid),
	SCMP_SYS(write),
	SCMP_SYS(writev),
};

/* With Landlock, which knows which files: drivers expect its answer to these, not another. */
static const int path_calls[] = {
	SCMP_SYS(link),	     SCMP_SYS(mkdir),	  SCMP_SYS(mkdirat),  SCMP_SYS(rename),
	SCMP_SYS(renameat),  SCMP_SYS(renameat2), SCMP_SYS(rmdir),    SCMP_SYS(symlink),
	SCMP_SYS(symlinkat), SCMP_SYS(unlink),	  SCMP_SYS(unlinkat),
};

static const int processes[] = {
	/* whose first argument is a process: this one alone */
	SCMP_SYS(kill),
	SCMP_SYS(rt_sigqueueinfo),
	SCMP_SYS(rt_tgsigqueueinfo),
	SCMP_SYS(tgkill),
};

static const int sockets[] = {
	/* of this host, and such that a connection comes before data */
	SCMP_SYS(socket),
	SCMP_SYS(socketpair),
};

static const int controls[] = {
	/* of prctl() */
	PR_GET_DUMPABLE,   PR_CAPBSET_READ,   PR_GET_NAME,	   PR_SET_NAME, PR_GET_SECCOMP,
	PR_GET_TIMERSLACK, PR_SET_TIMERSLACK, PR_GET_NO_NEW_PRIVS, PR_SET_VMA,
};

static int landlock_version(void)
{
	return (int)syscall(LANDLOCK_CREATE, NULL, 0, LANDLOCK_VERSION);
}

const char *sandbox_lacks(void)
{
	int version = landlock_version();

	if (version < 1)
		return "workers may read and write what their user may: this kernel has no "
		       "Landlock";
	if (version < 6)
		return "workers may send signals to processes of their user: "
		       "this kernel's Landlock is older than 6.12's";
	return NULL;
}

/* user_become - with the groups that the user is in */
static int user_become(uid_t uid, struct error *error)
{
	const struct passwd *user = getpwuid(uid);
	gid_t group = user ? user->pw_gid : (gid_t)uid;

	if ((user ? initgroups(user->pw_name, group) : setgroups(0, NULL)) < 0 ||
	    setresgid(group, group, group) < 0 || setresuid(uid, uid, uid) < 0)
		return error_set(error, -errno, "cannot become user %u: %s", uid, strerror(errno));
	return 0;
}

/* privileges_drop - whatever user this is: no capability, and no way to get one */
static int privileges_drop(struct error *error)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };
	static const struct rlimit no_core = { 0, 0 };

	for (int i = 0; prctl(PR_CAPBSET_READ, i, 0, 0, 0) >= 0; i++)
		prctl(PR_CAPBSET_DROP, i, 0, 0, 0); /* without CAP_SETPCAP none can be had anyway */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_capset, &header, none) < 0 ||
	    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || setrlimit(RLIMIT_CORE, &no_core) < 0)
		return error_set(error, -errno, "cannot drop privileges: %s", strerror(errno));
	return 0;
}

/* file_allow - this one and what is beneath; files that do not exist are passed over */
static int file_allow(int ruleset, const char *path, uint64_t rights)
{
	autoclose int fd = open(path, O_PATH | O_CLOEXEC);
	struct landlock_beneath rule = { .allowed = rights, .parent = fd };
	struct stat status;

	if (fd < 0 || fstat(fd, &status) < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == EACCES ? 0 : -errno;
	if (!S_ISDIR(status.st_mode)) /* the kernel takes no others for them */
		rule.allowed &= FS_READ_FILE | FS_WRITE_FILE | FS_TRUNCATE | FS_IOCTL_DEV;
	return syscall(LANDLOCK_ADD, ruleset, LANDLOCK_BENEATH, &rule, 0) < 0 ? -errno : 0;
}

/*
 * self_allow - to write what this process has in /proc: a driver names its threads there. The
 * folder stays open: its inode must not be forgotten and made anew, without the rule.
 */
static int self_allow(int ruleset, uint64_t rights)
{
	static int self = -1;
	struct landlock_beneath rule = { .allowed = rights };

	self = open("/proc/self", O_PATH | O_CLOEXEC);
	rule.parent = self;
	if (self < 0)
		return errno == ENOENT ? 0 : -errno;
	return syscall(LANDLOCK_ADD, ruleset, LANDLOCK_BENEATH, &rule, 0) < 0 ? -errno : 0;
}

/* shared_allow - the folder in which the tenant's workers share memory, to make and remove files */
static int shared_allow(int ruleset, int folder_fd, uint64_t known)
{
	struct landlock_beneath rule = { .parent = folder_fd };

	if (folder_fd < 0)
		return 0;
	rule.allowed =
		known & (FS_READ | FS_WRITE_FILE | FS_TRUNCATE | FS_MAKE_REG | FS_REMOVE_FILE);
	return syscall(LANDLOCK_ADD, ruleset, LANDLOCK_BENEATH, &rule, 0) < 0 ? -errno : 0;
}

static int devices_allow(int ruleset, uint64_t known)
{
	int status = 0;

	for (size_t i = 0; i < sizeof(devices) / sizeof(*devices) && !status; i++) {
		glob_t found;

		if (glob(devices[i], 0, NULL, &found))
			continue;
		for (size_t k = 0; k < found.gl_pathc && !status; k++) {
			struct stat is;

			/* /dev/nvidia-caps is a folder: its files are in the next pattern. */
			if (!stat(found.gl_pathv[k], &is) && S_ISCHR(is.st_mode))
				status = file_allow(ruleset, found.gl_pathv[k], FS_DEVICE & known);
		}
		globfree(&found);
	}
	return status;
}

/* folder_allow - to read the folder that a file is in, by its path; other names are none */
static int folder_allow(int ruleset, const char *path)
{
	const char *end = path ? strrchr(path, '/') : NULL;
	char folder[PATH_MAX];

	if (!end || end == path || end - path >= (ptrdiff_t)sizeof(folder))
		return 0;
	memcpy(folder, path, (size_t)(end - path));
	folder[end - path] = '\0';
	return file_allow(ruleset, folder, FS_READ);
}

static int object_allow(struct dl_phdr_info *object, size_t bytes, void *ruleset)
{
	(void)bytes;
	return folder_allow(*(int *)ruleset, object->dlpi_name);
}

/* libraries_allow - where a driver that is named by its path lies, and where this program's do */
static int libraries_allow(int ruleset, const char *driver)
{
	autofree char *real = strchr(driver, '/') ? realpath(driver, NULL) : NULL;
	int status = folder_allow(ruleset, driver);

	if (!status)
		status = folder_allow(ruleset, real);
	return status ? status : dl_iterate_phdr(object_allow, &ruleset);
}

/* files_confine - Landlock; 0 also where the kernel has none */
static int files_confine(const struct sandbox *sandbox, struct error *error)
{
	struct landlock_attributes attributes = { 0 };
	int version = landlock_version(), status = 0;
	autoclose int ruleset = -1;
	uint64_t known;

	if (version < 1)
		return 0;
	/* All rights that this version knows: 13 at first, and one more in versions 2, 3 and 5. */
	known = (1ull << (13 + (version >= 2) + (version >= 3) + (version >= 5))) - 1;
	attributes.fs = known;
	attributes.net = version >= 4 ? 3 : 0;	  /* bind and connect */
	attributes.scoped = version >= 6 ? 3 : 0; /* abstract Unix sockets, signals */
	ruleset = (int)syscall(LANDLOCK_CREATE, &attributes,
			       version < 4   ? sizeof(uint64_t)
			       : version < 6 ? 2 * sizeof(uint64_t)
					     : sizeof(attributes),
			       0);
	if (ruleset < 0)
		return error_set(error, -errno, "Landlock: %s", strerror(errno));
	for (size_t i = 0; i < sizeof(readable) / sizeof(*readable) && !status; i++)
		status = file_allow(ruleset, readable[i], FS_READ);
	if (!status)
		status = self_allow(ruleset, known & (FS_READ | FS_WRITE_FILE | FS_TRUNCATE));
	if (!status)
		status = shared_allow(ruleset, sandbox->folder_fd, known);
	if (!status)
		status = devices_allow(ruleset, known);
	if (!status)
		status = libraries_allow(ruleset, sandbox->driver);
	for (size_t i = 0; i < sandbox->path_count && !status; i++)
		status = file_allow(ruleset, sandbox->paths[i], known & ~1ull); /* not to execute */
	if (!status && syscall(LANDLOCK_ENTER, ruleset, 0) < 0)
		status = -errno;
	return status ? error_set(error, status, "Landlock: %s", strerror(-status)) : 0;
}

/* call_refused - where debugging is on: which system call it was that got EPERM */
static void call_refused(int number, siginfo_t *info, void *context)
{
	(void)number;
	log_debug("the sandbox refuses system call %d", info->si_syscall);
	((ucontext_t *)context)->uc_mcontext.gregs[REG_RAX] = -EPERM;
}

static int rules_add(scmp_filter_ctx filter)
{
	int status = 0;

	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls) && !status; i++)
		status = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
	for (size_t i = 0; i < sizeof(path_calls) / sizeof(*path_calls) && !status; i++)
		if (landlock_version() >= 1)
			status = seccomp_rule_add(filter, SCMP_ACT_ALLOW, path_calls[i], 0);
	/* As where nobody listens: libcuda asks for MPS, and takes no other error for a no. */
	if (!status)
		status = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ECONNREFUSED), SCMP_SYS(connect),
					  0);
	for (size_t i = 0; i < sizeof(processes) / sizeof(*processes) && !status; i++)
		status = seccomp_rule_add(filter, SCMP_ACT_ALLOW, processes[i], 1,
					  SCMP_A0(SCMP_CMP_EQ, (uint64_t)getpid(), 0));
	for (size_t i = 0; i < sizeof(controls) / sizeof(*controls) && !status; i++)
		status = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1,
					  SCMP_A0(SCMP_CMP_EQ, (uint64_t)controls[i], 0));
	for (size_t i = 0; i < 2 * sizeof(sockets) / sizeof(*sockets) && !status; i++)
		status = seccomp_rule_add(
			filter, SCMP_ACT_ALLOW, sockets[i / 2], 2, SCMP_A0(SCMP_CMP_EQ, AF_UNIX, 0),
			SCMP_A1(SCMP_CMP_MASKED_EQ, 0xf, i % 2 ? SOCK_STREAM : SOCK_SEQPACKET));
	/* Its own limits; threads and no processes; no typing into a terminal that is its log. */
	if (!status)
		status = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1,
					  SCMP_A0(SCMP_CMP_EQ, 0, 0));
	if (!status)
		status = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
					  SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
	if (!status)
		status = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
					  SCMP_A1(SCMP_CMP_NE, TIOCSTI, 0));
	/* Its flags lie in memory, where no filter sees them: C libraries then take clone(). */
	if (!status)
		status = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	return status;
}

/* calls_confine - seccomp */
static int calls_confine(struct error *error)
{
	struct sigaction told = { .sa_sigaction = call_refused,
				  .sa_flags = SA_SIGINFO | SA_NODEFER };
	bool trap = log_enabled(LOG_LEVEL_DEBUG) && !sigaction(SIGSYS, &told, NULL);
	scmp_filter_ctx filter = seccomp_init(trap ? SCMP_ACT_TRAP : SCMP_ACT_ERRNO(EPERM));
	int status = filter ? 0 : -ENOMEM;

	if (!status)
		status = rules_add(filter);
	if (!status)
		status = seccomp_load(filter);
	seccomp_release(filter);
	return status ? error_set(error, status, "seccomp: %s", strerror(-status)) : 0;
}

int sandbox_enter(const struct sandbox *sandbox, struct error *error)
{
	pid_t parent = getppid();
	int status = 0;

	if (sandbox->as_user)
		status = user_become(sandbox->uid, error);
	if (!status)
		status = privileges_drop(error);
	/* Another user's process has forgotten that it dies with its parent. */
	if (!status && prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		status = error_set(error, -errno, "prctl: %s", strerror(errno));
	if (!status && getppid() != parent)
		status = error_set(error, -ESRCH, "the supervisor is gone");
	if (status || !sandbox->confined)
		return status;
	status = files_confine(sandbox, error);
	return status ? status : calls_confine(error);
}
