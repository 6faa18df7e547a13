/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link: one connection between a CUDA client and its server, whatever carries it.
 *
 * A link is a pair of byte streams, one each way, with contiguous access to what is buffered.
 * Media, by address:
 *
 *	unix:PATH          Unix stream socket
 *	ring:PATH          two rings in a memfd that the client makes and passes over unix:PATH;
 *	                   the socket stays open and tells of the peer's death
 *	tcp:HOST:PORT      TCP with a token (see struct link_options); off in servers by default
 *	vsock:CID:PORT     AF_VSOCK; CID 2 is the host
 *	scif:CID:PORT      the same connection, and a ring in a SCIF window of the client's (scif.c)
 *
 * Threads: at most one thread writes and at most one reads at any time (the caller's locks say
 * who); writing and reading may go on at once. link_shutdown() may be called by any thread and
 * wakes both. link_close() is called when nobody else uses the link; link_abandon() in a forked
 * child, whose parent goes on using it.
 * Blocking: functions block until they can do their work; the wait spins for a bounded, adaptive
 * time and then sleeps (struct link_options). SIGPIPE is never raised.
 * Errors: 0 or a count, or -errno: -EPIPE when the peer is gone, -ESHUTDOWN after
 * link_shutdown(), -EMSGSIZE when more contiguous bytes are asked for than LINK_CONTIGUOUS_BYTES,
 * -EPROTO when the peer's ring indices make no sense (the link is dead then), -ETIMEDOUT.
 * Trust: everything that the peer can write (ring indices, bytes) is read once and checked.
 * Bytes behind link_peek() in a ring may change while one looks at them: copy before checking.
 */
#ifndef CAUSEWAY_LIB_LINK_LINK_H
#define CAUSEWAY_LIB_LINK_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/base/error.h"

/* Every medium can hand out at least this many contiguous bytes for writing and for reading. */
#define LINK_CONTIGUOUS_BYTES (256u << 10)

/* What carries a link. */
/* What carries a link. */
enum link_medium { LINK_UNIX, LINK_RING, LINK_TCP, LINK_VSOCK, LINK_SCIF };

struct link;

struct link_options {
	const char *token;	  /* TCP: the secret both sides know, 1 to 64 bytes; else NULL */
	uint32_t spin_limit_us;	  /* longest spin before sleeping; 0 never spins */
	uint32_t ring_bytes;	  /* client: size of each direction's ring; 0 = 4 MiB */
	uint64_t shared_bytes;	  /* client: shared memory to offer; 0: none */
	uint32_t connect_wait_ms; /* bound on connecting and greeting; 0: client 30000, server 5000
				   */
};

/* link_options_default - spin 50 us, 4 MiB rings, default bounds, no token */
extern const struct link_options link_options_default;

/**
 * link_connect - connect, greet, and for ring: make and pass the shared memory
 * @address: as above; an unknown scheme is -EINVAL with a sentence that lists the known ones
 */
int link_connect(const char *address, const struct link_options *options, struct link **link,
		 struct error *error);
/* link_connect answers a server's refusal with -EPROTO, -EPROTONOSUPPORT (version), -EACCES,
 * -EINVAL (ring memory), -EBUSY (a limit) or -EIO, and the server's own sentence in @error.
 */

/**
 * link_adopt - the server's side: greet on an accepted stream socket
 * @fd: connected Unix, TCP or vsock stream socket; owned by the link after success
 *
 * Refuses a greeting of another magic (-EPROTO) or version (-EPROTONOSUPPORT), a wrong token
 * (-EACCES, compared in constant time), a TCP socket when options->token is NULL (-EACCES), and a
 * ring whose memory is not sealed against shrinking or has a bad size (-EINVAL). The peer is told
 * why; @fd is still the caller's then. -ETIMEDOUT when the greeting is not complete in time.
 */
int link_adopt(int fd, const struct link_options *options, struct link **link, struct error *error);

/* link_medium - what carries this one */
enum link_medium link_medium(const struct link *link);
/* link_medium_name - "unix", "ring", "tcp", "vsock" or "scif" */
const char *link_medium_name(enum link_medium medium);

/**
 * link_shared - memory that both sides have, for the link's user
 * @bytes: out: its size, constant; a multiple of 4096
 *
 * A memfd on tmpfs, sealed against shrinking and growing, sparse until it is touched. It is there
 * over unix and ring, if the client's options ask for it, the system has it and the server took it.
 * Return: the link's own descriptor, for mmap(), or -1.
 */
int link_shared(const struct link *link, uint64_t *bytes);

/*
 * The same over scif, where there is no such descriptor: link_shared() answers -1 and the highest
 * offset that may be named. The client places memory of its own (@at, whole pages), which begins at
 * *@offset for the server; link_shared_remove() ends that, for what is not mapped.
 */
int link_shared_place(struct link *link, void *at, size_t bytes, uint64_t *offset);
void link_shared_remove(struct link *link, uint64_t offset, size_t bytes);

/**
 * link_shared_map - the server: a part of what both sides have, at the address @at
 *
 * Return: 0, -EEXIST where something is there already, -errno.
 */
int link_shared_map(struct link *link, uint64_t offset, size_t bytes, void *at);
void link_shared_unmap(struct link *link, void *at, size_t bytes);

/* The writing side. */

/* link_reserve - room for @bytes contiguous bytes (<= LINK_CONTIGUOUS_BYTES), NULL never on 0 */
int link_reserve(struct link *link, size_t bytes, void **at);
/* link_commit - @bytes of what was reserved are written; visible to the peer at the next flush
 * at the latest (a ring: at once, but a sleeping peer is only woken by the flush)
 */
int link_commit(struct link *link, size_t bytes);
/* link_write - stream any number of bytes; sockets send large ones straight from @data */
int link_write(struct link *link, const void *data, size_t bytes);
/* link_flush - everything committed is on its way and the peer is awake */
int link_flush(struct link *link);

/* The reading side. */

/* link_peek - wait for @bytes contiguous readable bytes; *@at is valid until link_consume() */
int link_peek(struct link *link, size_t bytes, const void **at);
/* link_peek_some - wait for at least one byte; *@bytes: in, most wanted; out, how many */
int link_peek_some(struct link *link, const void **at, size_t *bytes);
/* link_readable - bytes readable right now without waiting, or -errno */
ssize_t link_readable(struct link *link);
void link_consume(struct link *link, size_t bytes);
/* link_read - wait for and copy out exactly @bytes bytes, any number */
int link_read(struct link *link, void *to, size_t bytes);
/* link_discard - read and drop exactly @bytes bytes, any number */
int link_discard(struct link *link, uint64_t bytes);

/* Both. */
void link_shutdown(struct link *link);
void link_close(struct link *link); /* NULL is fine; what was not flushed is lost */
/* link_abandon - close and unmap in a forked child without a word to the peer */
void link_abandon(struct link *link);

/*
 * For a server that decides before a link exists. link_refuse() sends the greeting's answer
 * without blocking; @status is what link_connect() shall return there, one of those named above.
 * The caller then closes, best after the peer did (data that the peer sent and nobody read would
 * turn a TCP close into a reset). link_greeting_check() is the gate that link_adopt() uses:
 * @greeting is a whole struct link_greeting as received, @is_inet says that it came over TCP; fills
 * @error and returns -errno, or 0. link_greeting_token_is() compares the token in a greeting, in
 * constant time; a server with several asks for each.
 */
struct link_greeting;
int link_refuse(int fd, int status, const char *text);
int link_greeting_check(const struct link_greeting *greeting, bool is_inet, const char *token,
			struct error *error);
bool link_greeting_token_is(const struct link_greeting *greeting, const char *token);

#endif
