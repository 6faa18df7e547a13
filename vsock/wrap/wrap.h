/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wrapper's inside: what its files share. library.c lists the hops.
 *
 * What is known about a socket lies in three places:
 *	the kernel	whether it is AF_VSOCK, and its tag (below): survives fork, exec, dup and
 *			travel through a Unix socket. This alone decides what a socket is.
 *	struct wrap_slot	by descriptor, in this process: what the kernel cannot be asked for.
 *			Losing it costs precision, never correctness.
 *	struct wrap_listener	a TCP listener and its companion; found again after exec.
 *
 * Locks: wrap_lock guards listeners, the companion and alias fields of slots, and every step that
 * replaces a descriptor. It is held with all signals blocked, since the calls we stand in for are
 * allowed in signal handlers, and across fork (pthread_atfork). Other fields of a slot are written
 * without it: two threads that change one descriptor at once race in any program.
 *
 * A child of vfork shares our memory but not our descriptors: there wrap_is_ours() is false, and
 *what such children do (close, dup2, fcntl) changes nothing here; their exec finds everything
 *again.
 */
#ifndef CAUSEWAY_VSOCK_WRAP_WRAP_H
#define CAUSEWAY_VSOCK_WRAP_WRAP_H

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <linux/vm_sockets.h>

#include "vsock/wrap/rules.h"

#define WRAP_EXPORT __attribute__((visibility("default")))

/* Names in the environment that `causeway run` sets. */
#define WRAP_RULES_NAME "CAUSEWAY_WRAP_RULES" /* the text, or the path of a file: begins with / */
#define WRAP_LOG_NAME	"CAUSEWAY_WRAP_LOG"   /* LEVEL:FD:DEVICE:INODE, see say.c */

struct wrap_state {
	bool active; /* a rule names this program; false: every call goes straight on */
	struct rules rules;
	uint32_t own_cid; /* VMADDR_CID_ANY where there is none */
	pid_t pid;	  /* whose descriptors the slots describe */
};

/* What this process decided at its start. */
extern struct wrap_state wrap_state;

/* The functions we stand in for, as the next library in line has them. */
struct wrap_real {
	int (*socket)(int domain, int type, int protocol);
	int (*connect)(int fd, const struct sockaddr *to, socklen_t bytes);
	int (*bind)(int fd, const struct sockaddr *to, socklen_t bytes);
	int (*listen)(int fd, int backlog);
	int (*accept4)(int fd, struct sockaddr *from, socklen_t *bytes, int flags);
	int (*getsockname)(int fd, struct sockaddr *name, socklen_t *bytes);
	int (*getpeername)(int fd, struct sockaddr *name, socklen_t *bytes);
	int (*getsockopt)(int fd, int level, int option, void *value, socklen_t *bytes);
	int (*setsockopt)(int fd, int level, int option, const void *value, socklen_t bytes);
	int (*shutdown)(int fd, int how);
	ssize_t (*sendto)(int fd, const void *data, size_t bytes, int flags,
			  const struct sockaddr *to, socklen_t to_bytes);
	ssize_t (*sendmsg)(int fd, const struct msghdr *message, int flags);
	int (*sendmmsg)(int fd, struct mmsghdr *messages, unsigned count, int flags);
	ssize_t (*recv)(int fd, void *data, size_t bytes, int flags);
	ssize_t (*recvfrom)(int fd, void *data, size_t bytes, int flags, struct sockaddr *from,
			    socklen_t *from_bytes);
	ssize_t (*recvmsg)(int fd, struct msghdr *message, int flags);
	int (*close)(int fd);
	int (*close_range)(unsigned first, unsigned last, int flags);
	int (*dup)(int fd);
	int (*dup3)(int fd, int to, int flags);
	int (*dup2)(int fd, int to);
	int (*fcntl)(int fd, int command, ...);
	int (*ioctl)(int fd, unsigned long request, ...);
	int (*epoll_ctl)(int epoll_fd, int operation, int fd, struct epoll_event *event);
	int (*poll)(struct pollfd *fds, nfds_t count, int timeout_ms);
	int (*ppoll)(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
		     const sigset_t *mask);
	int (*select)(int count, fd_set *reads, fd_set *writes, fd_set *excepts,
		      struct timeval *timeout);
	int (*pselect)(int count, fd_set *reads, fd_set *writes, fd_set *excepts,
		       const struct timespec *timeout, const sigset_t *mask);
};

/* The C library's own functions, once wrap_real_resolve() has looked them up. */
extern struct wrap_real wrap_real_functions;
void wrap_real_resolve(void);

/* REAL(close)(fd): calls may come before our constructor, from those of other libraries */
#define REAL(function) \
	((wrap_real_functions.socket ? (void)0 : wrap_real_resolve()), wrap_real_functions.function)

/* ── say.c ── */
enum wrap_say { WRAP_REFUSED, WRAP_EXPLAIN };

/* Open what is told, as the environment wants it; whether a kind is wanted. */
void wrap_say_open(void);
bool wrap_says(enum wrap_say kind);
/* wrap_say - one line "causeway: PROGRAM[PID]: text", where asked for; errno stays */
void wrap_say(enum wrap_say kind, const char *format, ...) __attribute__((format(printf, 2, 3)));
int wrap_say_fd(void); /* -1: none; a descriptor that the program must not close */

/* ── tag.c ── */
enum wrap_tag_kind {
	WRAP_TAG_NONE,	    /* no socket of ours */
	WRAP_TAG_CLIENT,    /* made by connect() or bind(); .map names its peer's address */
	WRAP_TAG_SERVER,    /* listens in place of a TCP socket, or was accepted */
	WRAP_TAG_COMPANION, /* listens beside a TCP socket; .cookie is that one's */
};

struct wrap_tag {
	enum wrap_tag_kind kind;
	bool v6;	 /* the program takes it for an AF_INET6 socket */
	bool v6_only;	 /* IPV6_V6ONLY is set */
	bool mapped;	 /* AF_INET6, its addresses are v4-mapped ones */
	bool no_delay;	 /* what TCP_NODELAY reads as */
	bool blocking;	 /* companion: O_NONBLOCK of the TCP listener is ours, not the program's */
	uint16_t map;	 /* client: index of the map line, plus one; 0: none */
	uint64_t cookie; /* companion: SO_COOKIE of the TCP listener, its low bits */
};

#define WRAP_TAG_COOKIE_MASK ((UINT64_C(1) << 40) - 1)

/* wrap_tag_get - the tag of a socket that is AF_VSOCK; .kind is WRAP_TAG_NONE for others' */
struct wrap_tag wrap_tag_get(int fd);
int wrap_tag_set(int fd, const struct wrap_tag *tag);
/* wrap_tag_of - the same for any descriptor */
struct wrap_tag wrap_tag_of(int fd);
int wrap_socket_option(int fd, int option); /* an integer of SOL_SOCKET, or -1 */
uint64_t wrap_cookie(int fd);		    /* SO_COOKIE, or 0 */

/* ── table.c ── */
#define WRAP_WATCHES 2

struct wrap_watch {
	int epoll_fd; /* plus one; 0: unused */
	uint32_t events;
	uint64_t data;
};

enum wrap_slot_flags {
	WRAP_SLOT_NEW = 1,	/* socket() made it here: a TCP socket that is not converted */
	WRAP_SLOT_V6 = 2,	/* valid with NEW */
	WRAP_SLOT_OPTIONS = 4,	/* valid with NEW: a SOL_SOCKET option was set */
	WRAP_SLOT_BOUND = 8,	/* valid with NEW: bind() was called */
	WRAP_SLOT_HIDDEN = 16,	/* ours: the program does not know of it */
	WRAP_SLOT_CROWDED = 32, /* is in more epoll sets than there are watches */
};

/* TCP options that are read back as they were set. */
enum wrap_kept {
	WRAP_KEPT_IDLE,
	WRAP_KEPT_INTERVAL,
	WRAP_KEPT_COUNT,
	WRAP_KEPT_TIMEOUT,
	WRAP_KEPT
};

struct wrap_slot {
	unsigned flags;
	uint16_t companion; /* index of the listener, plus one */
	int alias_next;	    /* plus one: ring of descriptors that dup() made of this one */
	int kept[WRAP_KEPT];
	struct wrap_watch watches[WRAP_WATCHES];
};

/* wrap_slot_find - NULL where nothing was ever kept for it; wrap_slot_make - NULL beyond 2^20 */
struct wrap_slot *wrap_slot_find(int fd);
struct wrap_slot *wrap_slot_make(int fd);

/* wrap_slots_clear - descriptors [first, last] are closed; with wrap_lock held */
void wrap_slots_clear(unsigned first, unsigned last);
bool wrap_slot_is_empty(const struct wrap_slot *slot);

/* Guards the table of slots, with all signals held back: a handler may call us. */
void wrap_lock(sigset_t *saved);
void wrap_unlock(const sigset_t *saved);
void wrap_table_open(void); /* once, from the constructor */
bool wrap_is_ours(void);    /* false in a child of vfork */

/* ── address.c ── */
struct wrap_endpoint {
	struct in6_addr address; /* IPv4 as ::ffff:a.b.c.d */
	uint16_t port;
	bool v6; /* came as sockaddr_in6 */
};

#define WRAP_TEXT_BYTES 64

/* wrap_endpoint_read - false unless it is a whole sockaddr_in or sockaddr_in6 */
bool wrap_endpoint_read(struct wrap_endpoint *endpoint, const void *name, socklen_t bytes);
const char *wrap_endpoint_text(const struct wrap_endpoint *endpoint, char text[WRAP_TEXT_BYTES]);
bool wrap_endpoint_is_wildcard(const struct wrap_endpoint *endpoint);
bool wrap_endpoint_is_loopback(const struct wrap_endpoint *endpoint);
/* wrap_local_endpoint - what a TCP socket is bound to */
bool wrap_local_endpoint(int fd, struct wrap_endpoint *endpoint);
/* wrap_name_of - the address that a program is shown for one end of a socket of ours */
void wrap_name_of(const struct wrap_tag *tag, const struct sockaddr_vm *vm, bool peer,
		  struct wrap_endpoint *endpoint);
/* wrap_name_store - write it as the kernel does: cut to *bytes, which becomes the full length */
int wrap_name_store(const struct wrap_tag *tag, const struct wrap_endpoint *endpoint, void *name,
		    socklen_t *bytes);

/* ── convert.c ── */
struct wrap_tcp {
	bool v6;
	bool is_new; /* this process made it: the slot tells the truth */
};

/* wrap_tcp_socket - whether it is a TCP socket over IPv4 or IPv6 */
bool wrap_tcp_socket(int fd, struct wrap_tcp *tcp);
/* wrap_options_copy - options and flags of one socket for another; -errno where one cannot be */
int wrap_options_copy(int from, int to);
/* wrap_bind_ephemeral - bind to a port that fits into 16 bits, as TCP's would; 0 or -errno */
int wrap_bind_ephemeral(int fd, uint32_t cid);
int wrap_bind_port(int fd, uint32_t cid, uint32_t port);
int wrap_tcp_error(int error); /* the error that TCP gives where vsock gives @error */
/**
 * wrap_replace - @with takes the place of @fd and its duplicates, in epoll sets too
 * @with: is closed
 * @flags: of @fd's file
 *
 * Return: 0 or -errno.
 */
int wrap_replace(int fd, int with, int flags);

/* ── listener.c ── */
#define WRAP_LISTENER_FDS 8

struct wrap_listener {
	int fd;			    /* the companion; -1: this entry is free */
	int fds[WRAP_LISTENER_FDS]; /* descriptors that are its TCP listener */
	unsigned count;		    /* of those */
	bool v6, v6_only;
	bool copies; /* accepted sockets are given options of the TCP listener */
	unsigned turn;
};

/* wrap_listener_of - NULL unless @fd is a TCP listener with a companion */
struct wrap_listener *wrap_listener_of(int fd);
bool wrap_listeners_exist(void);
void wrap_listeners_find(void); /* those that were inherited; once, from the constructor */
/* wrap_listener_reread - options of the TCP listener @fd may have changed */
void wrap_listener_reread(struct wrap_listener *listener, int fd);
/* wrap_listener_forget - the pair is no more: shutdown(), or the companion was lost */
void wrap_listener_forget(int fd);
/* wrap_listener_mirror - the companion's close-on-exec flag becomes that of the listener */
void wrap_listener_mirror(const struct wrap_listener *listener);
int wrap_companions(int *found); /* all of them; how many, fewer than WRAP_HIDDEN_MAX */
/* The three below are called with wrap_lock held. */
void wrap_listener_hold(int fd, struct wrap_listener *listener);
void wrap_listener_release(int fd);
void wrap_listener_move(int companion); /* to another number: the program wants this one */

/* ── descriptor.c ── */
#define WRAP_HIDDEN_MAX 160

/* wrap_descriptor_hide - move it out of the program's way; the new number or -1 */
int wrap_descriptor_hide(int fd, bool close_on_exec);

#endif
