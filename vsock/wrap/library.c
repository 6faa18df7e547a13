/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcauseway-wrap.so: carries TCP sockets of unmodified programs over AF_VSOCK, by rules.
 *
 * The way of a client's socket:
 *	1. convert.c:socket		made by the kernel as TCP; remembered as new
 *	2. wait.c:epoll_ctl		registrations before connect() are remembered
 *	3. convert.c:connect		rules.c:rules_find, rules_cid: a VM? else TCP and that is
 *all
 *	4. convert.c:client_open	an AF_VSOCK socket with the same flags and options
 *	5. convert.c:wrap_replace	takes over the number, its duplicates, its epoll
 *registrations
 *	6. address.c, options.c		names and TCP's options, for as long as it lives
 * The way of a server's:
 *	1. convert.c:bind		by the kernel; an address that only the VMs' world has:
 *vsock
 *	2. listener.c:listen		a companion on AF_VSOCK with the same port, under a hidden
 *number
 *	3. wait.c:epoll_ctl, poll ...	whoever waits for the listener waits for both
 *	4. listener.c:accept_both	takes from both in turn
 *	5. listener.c:wrap_listeners_find	after exec: the pair is found again
 *
 * read, write, send and their vectors are the kernel's: nothing stands in their way. sendto,
 *sendmsg and sendmmsg are looked at for an address (send.c), recv, recvfrom and recvmsg for
 *MSG_WAITALL (receive.c), nothing else.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vsock/wrap/wrap.h"

struct wrap_state wrap_state = { .own_cid = VMADDR_CID_ANY };
struct wrap_real wrap_real_functions;

/* Idempotent: two threads may do it at once. .socket comes last, since REAL() looks at it. */
void wrap_real_resolve(void)
{
#define RESOLVE(name) *(void **)&wrap_real_functions.name = dlsym(RTLD_NEXT, #name)
	RESOLVE(connect);
	RESOLVE(bind);
	RESOLVE(listen);
	RESOLVE(accept4);
	RESOLVE(getsockname);
	RESOLVE(getpeername);
	RESOLVE(getsockopt);
	RESOLVE(setsockopt);
	RESOLVE(shutdown);
	RESOLVE(sendto);
	RESOLVE(sendmsg);
	RESOLVE(sendmmsg);
	RESOLVE(recv);
	RESOLVE(recvfrom);
	RESOLVE(recvmsg);
	RESOLVE(close);
	RESOLVE(close_range);
	RESOLVE(dup);
	RESOLVE(dup2);
	RESOLVE(dup3);
	RESOLVE(fcntl);
	RESOLVE(ioctl);
	RESOLVE(epoll_ctl);
	RESOLVE(poll);
	RESOLVE(ppoll);
	RESOLVE(select);
	RESOLVE(pselect);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	RESOLVE(socket);
#undef RESOLVE
}

/* The CID that this machine has for others, or VMADDR_CID_ANY. */
static uint32_t own_cid(void)
{
	unsigned cid = VMADDR_CID_ANY;
	int fd = open("/dev/vsock", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return VMADDR_CID_ANY;
	if (REAL(ioctl)(fd, IOCTL_VM_SOCKETS_GET_LOCAL_CID, &cid) < 0)
		cid = VMADDR_CID_ANY;
	REAL(close)(fd);
	return cid;
}

/* The rules' text: of the environment, of the file it names, or the default; NULL with a line. */
static char *rules_text(const char *given, size_t *bytes, const char **name)
{
	char *text;
	ssize_t got;
	int fd;

	*name = given ? WRAP_RULES_NAME : "default rules";
	if (!given || *given != '/') {
		text = strdup(given ? given : RULES_DEFAULT_TEXT);
		*bytes = text ? strlen(text) : 0;
		return text;
	}
	*name = given;
	fd = open(given, O_RDONLY | O_CLOEXEC);
	text = malloc(RULES_TEXT_BYTES_MAX + 1);
	got = fd < 0 || !text ? -1 : read(fd, text, RULES_TEXT_BYTES_MAX + 1);
	if (got < 0) {
		wrap_say(WRAP_REFUSED, "%s: %s; all sockets stay TCP", given, strerror(errno));
		free(text);
		text = NULL;
	}
	if (fd >= 0)
		REAL(close)(fd);
	*bytes = got < 0 ? 0 : got;
	return text;
}

static void __attribute__((constructor)) wrap_start(void)
{
	const char *name;
	char path[PATH_MAX];
	struct error error;
	size_t bytes;
	ssize_t length;
	int saved_errno = errno;
	char *text;

	wrap_real_resolve();
	wrap_say_open();
	wrap_table_open();
	text = rules_text(getenv(WRAP_RULES_NAME), &bytes, &name);
	length = readlink("/proc/self/exe", path, sizeof(path) - 1);
	path[length < 0 ? 0 : length] = '\0';
	if (text && rules_parse(&wrap_state.rules, text, bytes, name, &error) < 0)
		wrap_say(WRAP_REFUSED, "%s; all sockets stay TCP", error.text);
	free(text);
	rules_keep_program(&wrap_state.rules, program_invocation_short_name, path);
	for (unsigned i = 0; i < wrap_state.rules.line_count; i++)
		wrap_state.active |= wrap_state.rules.lines[i].use != RULES_USE_TCP;
	if (wrap_state.active)
		wrap_state.own_cid = own_cid();
	wrap_listeners_find();
	errno = saved_errno;
}
