/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of lib/link share; see link.h for the contract and each file for its hop. */
#ifndef CAUSEWAY_LIB_LINK_INTERNAL_H
#define CAUSEWAY_LIB_LINK_INTERNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/base/spin.h"
#include "lib/link/link.h"
#include "proto/link.h"

_Static_assert(LINK_RING_BYTES_MIN >= 2 * LINK_CONTIGUOUS_BYTES, "a ring holds both sides' pieces");

/* Out-buffer and in-buffer of a socket. The writing thread owns out_*, the reading one in_*. */
struct link_stream {
	unsigned char *out;
	size_t out_used;
	unsigned char *in;
	size_t in_start; /* bytes [in_start, in_end) are received and not consumed */
	size_t in_end;
};

/*
 * One direction of a ring as one side sees it. The own index lives here and is only ever written
 * to the shared words; the peer's index is read from there once per look and checked.
 */
struct link_ring_half {
	struct link_ring_words *words;
	unsigned char *base; /* ring_bytes mapped twice, back to back */
	uint64_t own_index;
	uint64_t peer_index; /* the last one that passed the check */
	uint32_t processor;  /* what `out` last stored as writer_processor */
};

struct link_ring {
	struct link_ring_header *header;
	size_t ring_bytes;
	struct link_ring_half out; /* the writing thread's */
	struct link_ring_half in;  /* the reading thread's */
	int room_fd;		   /* wakes of writers travel here */
	bool moves_away;	   /* this side leaves a processor that both are on */
	uint64_t moved_ns;	   /* when it last did; the reading thread's */
	bool reader_hung_up;	   /* the reading thread saw the end of fd */
	bool writer_hung_up;	   /* the writing thread saw the end of room_fd */
};

/* What a link of medium scif has beside its ring. */
struct link_scif {
	int epd;      /* -1 until both sides have met */
	int listener; /* the server's, until then */
	void *memory; /* the client's ring in one piece, as it is registered */
	size_t memory_bytes;
};

struct link {
	int fd;
	enum link_medium medium;
	int shared_fd; /* -1: no shared memory */
	uint64_t shared_bytes;
	atomic_bool stopped; /* link_shutdown() was called */
	int write_status;    /* first failure of the writing side, sticky; the writing thread's */
	int read_status;     /* likewise for reading */
	struct spin write_spin;
	struct spin read_spin;
	struct link_stream stream; /* unless the medium has a ring */
	struct link_ring ring;	   /* when it has */
	struct link_scif scif;	   /* of medium scif */
};

/* link_has_ring - whether what is said lies in shared memory */
static inline bool link_has_ring(const struct link *link)
{
	return link->medium == LINK_RING || link->medium == LINK_SCIF;
}

/* address.c */
struct link_address {
	enum link_medium medium;
	char path[108]; /* unix, ring */
	char host[256]; /* tcp */
	char port[16];	/* tcp, vsock, scif */
	uint32_t cid;	/* vsock, scif */
};

/* link_address_parse - 0, or -EINVAL with a sentence that names @text */
int link_address_parse(const char *text, struct link_address *address, struct error *error);
/* link_address_connect - a connected, blocking, close-on-exec socket, or -errno */
int link_address_connect(const struct link_address *address, int64_t deadline_ms,
			 struct error *error);

/* greeting.c; deadlines are of link_now_ms() */
int64_t link_now_ms(void);
int link_greet(struct link *link, const struct link_options *options, int64_t deadline_ms,
	       struct error *error);
int link_answer(struct link *link, const struct link_options *options, int64_t deadline_ms,
		struct error *error);
int link_answer_check(const struct link_answer *answer, struct error *error);

/* stream.c */
int stream_open(struct link *link);
void stream_close(struct link *link);
int stream_reserve(struct link *link, size_t bytes, void **at);
int stream_commit(struct link *link, size_t bytes);
int stream_write(struct link *link, const void *data, size_t bytes);
int stream_flush(struct link *link);
int stream_peek(struct link *link, size_t bytes, const void **at);
int stream_peek_some(struct link *link, const void **at, size_t *bytes);
ssize_t stream_readable(struct link *link);
void stream_consume(struct link *link, size_t bytes);
int stream_read(struct link *link, void *to, size_t bytes);

/* ring.c */
/* ring_make - the client's side: memory and the writers' socket; @fds get what travels */
int ring_make(struct link *link, size_t ring_bytes, int fds[LINK_RING_FDS], struct error *error);
/* ring_attach - the server's side: checks and maps what came; takes over fds on success only */
int ring_attach(struct link *link, const struct link_greeting *greeting,
		const int fds[LINK_RING_FDS], struct error *error);
/* ring_check_memory - -EINVAL unless it is a plain memfd, sealed, of that size */
int ring_check_memory(int memory_fd, uint64_t memory_bytes, const char *what, struct error *error);
/* ring_make_window - the client's side of medium scif: memory that is to be registered */
int ring_make_window(struct link *link, size_t ring_bytes, struct error *error);
void ring_close(struct link *link);
void ring_shutdown(struct link *link);
int ring_reserve(struct link *link, size_t bytes, void **at);
int ring_commit(struct link *link, size_t bytes);
int ring_write(struct link *link, const void *data, size_t bytes);
int ring_flush(struct link *link);
int ring_peek(struct link *link, size_t bytes, const void **at);
int ring_peek_some(struct link *link, const void **at, size_t *bytes);
ssize_t ring_readable(struct link *link);
void ring_consume(struct link *link, size_t bytes);
int ring_read(struct link *link, void *to, size_t bytes);

/* scif.c: the order of these is in its theory */
int link_scif_open(struct error *error);
int link_scif_listen(struct link *link, struct link_scif_door *door, struct error *error);
int link_scif_serve(struct link *link, const struct link_scif_door *door, int64_t deadline_ms,
		    struct error *error);
int link_scif_meet(struct link *link, const struct link_scif_door *door, int64_t deadline_ms,
		   struct error *error);
void link_scif_close(struct link *link);

/* link_failure - what the last socket call's errno means to the caller, never 0 */
int link_failure(struct link *link, int error_number);

#endif
