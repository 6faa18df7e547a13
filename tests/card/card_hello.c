/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program for a card, with one word for each thing that a test asks of it:
 *
 *	hello         a line on standard output and one on standard error; exit status 7
 *	echo          standard input to standard output; exit status 0
 *	where         what it sees: user, host name, processes, folders, capabilities
 *	sleep         says "sleeping", then sleeps for an hour, as does a child in a session of its
 *own spin SECONDS  says "spinning", then uses one core for so long crash         SIGSEGV forbidden
 *one line "NAME: errno" for each call that a sandbox must refuse memory MIB    touches so much
 *memory environment   its variables
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int hello(void)
{
	printf("hello from the card\n");
	fprintf(stderr, "and a word aside\n");
	return 7;
}

static int echo(void)
{
	char bytes[65536];
	size_t got;

	while ((got = fread(bytes, 1, sizeof(bytes), stdin)) > 0)
		fwrite(bytes, 1, got, stdout);
	return 0;
}

static void list(const char *folder)
{
	struct dirent *entry;
	DIR *open = opendir(folder);

	printf("%s:", folder);
	while (open && (entry = readdir(open))) {
		if (entry->d_name[0] != '.')
			printf(" %s", entry->d_name);
	}
	printf("\n");
	if (open)
		closedir(open);
}

static int where(void)
{
	char text[256] = "";
	FILE *status = fopen("/proc/self/status", "r");
	cpu_set_t cores;

	gethostname(text, sizeof(text));
	sched_getaffinity(0, sizeof(cores), &cores);
	printf("host %s user %u process %d cores %d\n", text, getuid(), getpid(),
	       CPU_COUNT(&cores));
	while (status && fgets(text, sizeof(text), status)) {
		if (!strncmp(text, "Cap", 3) || !strncmp(text, "NoNewPrivs", 10))
			fputs(text, stdout);
	}
	if (status)
		fclose(status);
	list("/");
	list("/home");
	list("/proc");
	list("/dev");
	list("/run");
	return 0;
}

static int sleeper(void)
{
	if (fork() == 0)
		setsid();
	else
		puts("sleeping");
	fflush(stdout);
	sleep(3600);
	return 0;
}

static int spin(double seconds)
{
	struct timespec used;

	puts("spinning");
	fflush(stdout);
	do
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	while ((double)used.tv_sec + (double)used.tv_nsec / 1e9 < seconds);
	return 0;
}

static void tell(const char *name, long result)
{
	printf("%s: %s\n", name, result < 0 ? strerror(errno) : "allowed");
}

static int forbidden(void)
{
	cpu_set_t all;

	memset(&all, 0xff, sizeof(all));
	tell("mount", mount("none", "/tmp", "tmpfs", 0, NULL));
	tell("ptrace", ptrace(PTRACE_TRACEME, 0, NULL, NULL));
	tell("unshare", unshare(CLONE_NEWUSER));
	tell("bpf", syscall(SYS_bpf, 0, NULL, 0));
	tell("clone", syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, 0));
	tell("vsock", socket(AF_VSOCK, SOCK_STREAM, 0));
	tell("setaffinity", sched_setaffinity(0, sizeof(all), &all));
	tell("setuid", setuid(0));
	tell("root", open("/lib64/libc.so.6", O_WRONLY));
	return 0;
}

static int memory(size_t mib)
{
	char *bytes = malloc(mib << 20);

	if (!bytes) {
		puts("no memory");
		return 3;
	}
	memset(bytes, 1, mib << 20);
	printf("touched %zu MiB at %p\n", mib, (void *)bytes);
	return 0;
}

int main(int argc, char **argv, char **variables)
{
	const char *what = argc > 1 ? argv[1] : "hello";

	if (!strcmp(what, "hello"))
		return hello();
	if (!strcmp(what, "echo"))
		return echo();
	if (!strcmp(what, "where"))
		return where();
	if (!strcmp(what, "sleep"))
		return sleeper();
	if (!strcmp(what, "spin") && argc > 2)
		return spin(atof(argv[2]));
	if (!strcmp(what, "crash"))
		return raise(SIGSEGV);
	if (!strcmp(what, "forbidden"))
		return forbidden();
	if (!strcmp(what, "memory") && argc > 2)
		return memory(strtoul(argv[2], NULL, 10));
	for (; !strcmp(what, "environment") && *variables; variables++)
		puts(*variables);
	return strcmp(what, "environment") ? 64 : 0;
}
