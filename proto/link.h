/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wire of a link: the greeting, its answer, and the memory of a ring.
 *
 * The client sends one struct link_greeting right after connecting (behind an identity preamble
 * where the switch made the connection); the server sends one struct link_answer. After an answer
 * with LINK_ANSWER_ACCEPTED both streams belong to whoever uses the link; after any other the
 * server hangs up. All integers are little-endian; fields and bytes named zero are zero, and a
 * receiver refuses anything else.
 *
 * A ring's greeting is one message on a Unix socket that carries two descriptors: the memory (a
 * memfd sealed against shrinking and growing) and one end of a Unix stream socket pair. The memory
 * holds struct link_ring_header in its first LINK_RING_HEADER_BYTES, then the ring towards the
 * server, then the ring towards the client, ring_bytes each. Wakes are single bytes of any value:
 * to a reader over the connection itself, to a writer over the second socket. Its control words
 * are in the machine's own byte order: a ring never leaves the machine.
 *
 * Over a Unix socket, with or without a ring, the client may offer shared memory for whatever the
 * link's user wants: a memfd sealed like the ring's, of shared_bytes, as the last descriptor. The
 * answer says whether the server took it; where something between them kept the descriptor, it did
 * not.
 */
#ifndef CAUSEWAY_PROTO_LINK_H
#define CAUSEWAY_PROTO_LINK_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define LINK_WIRE_MAGIC	     0x4b4c5743u /* "CWLK" */
#define LINK_WIRE_VERSION    2
#define LINK_TOKEN_BYTES_MAX 64

enum link_wire_medium {
	LINK_WIRE_UNIX = 1,
	LINK_WIRE_RING = 2,
	LINK_WIRE_TCP = 3,
	LINK_WIRE_VSOCK = 4,
	LINK_WIRE_SCIF = 5, /* over vsock, with the ring in a SCIF window of the client's */
};

struct link_greeting {
	uint32_t magic;
	uint16_t version;
	uint8_t medium; /* enum link_wire_medium; what the client believes to use */
	uint8_t zero_a;
	uint32_t token_bytes; /* 0 unless medium is TCP; at most LINK_TOKEN_BYTES_MAX */
	uint32_t zero_b;
	uint64_t ring_bytes;   /* of one direction, a power of two; 0 unless medium is RING */
	uint64_t memory_bytes; /* LINK_RING_HEADER_BYTES + 2 * ring_bytes, or 0 */
	uint8_t token[LINK_TOKEN_BYTES_MAX];
	uint64_t shared_bytes; /* of the memory that is offered, or 0 */
	uint8_t zero_c[24];
};

_Static_assert(sizeof(struct link_greeting) == 128, "link_greeting");
_Static_assert(offsetof(struct link_greeting, ring_bytes) == 16, "link_greeting.ring_bytes");
_Static_assert(offsetof(struct link_greeting, token) == 32, "link_greeting.token");
_Static_assert(offsetof(struct link_greeting, shared_bytes) == 96, "link_greeting.shared_bytes");

/* Why a server says no. The text beside it is for people, the code for programs. */
enum link_answer_code {
	LINK_ANSWER_ACCEPTED = 0,
	LINK_ANSWER_MALFORMED = 1, /* the greeting breaks the rules above */
	LINK_ANSWER_VERSION = 2,   /* the server speaks link_answer.version only */
	LINK_ANSWER_DENIED = 3,	   /* wrong token, or an identity that may not use the server */
	LINK_ANSWER_MEMORY = 4,	   /* the ring's memory is unsealed, of a wrong size or kind */
	LINK_ANSWER_BUSY = 5,	   /* a limit of the server is reached; later it may not be */
	LINK_ANSWER_BROKEN = 6,	   /* the server cannot serve: no worker, no driver */
	LINK_ANSWER_CODES
};

#define LINK_ANSWER_TEXT_BYTES 240
#define LINK_ANSWER_SHARED     1u /* link_answer.flags: the shared memory was taken */

struct link_answer {
	uint32_t magic;
	uint16_t version;    /* of the server */
	uint16_t code;	     /* enum link_answer_code */
	uint32_t text_bytes; /* without any end mark; at most LINK_ANSWER_TEXT_BYTES */
	uint32_t flags;	     /* 0, or LINK_ANSWER_SHARED with LINK_ANSWER_ACCEPTED */
	char text[LINK_ANSWER_TEXT_BYTES]; /* bytes behind text_bytes are zero */
};

_Static_assert(sizeof(struct link_answer) == 256, "link_answer");
_Static_assert(offsetof(struct link_answer, text) == 16, "link_answer.text");

/*
 * Medium scif: where the client connects to over SCIF, behind the answer that accepts it; what the
 * client says there after the server's word, and is answered by a struct of one int32_t, 0 or
 * -errno.
 */
struct link_scif_door {
	uint16_t port; /* of the node that the server's host is */
	uint8_t zero[6];
	uint8_t server_word[16];
	uint8_t client_word[16];
};

_Static_assert(sizeof(struct link_scif_door) == 40, "link_scif_door");

struct link_scif_knock {
	uint8_t client_word[16];
	uint64_t offset; /* of the window that holds the ring's memory */
};

_Static_assert(sizeof(struct link_scif_knock) == 24, "link_scif_knock");

#define LINK_RING_HEADER_BYTES 65536u /* whole pages, whatever their size */
/* Twice what a side may ask for in one piece: else writer and reader could wait for each other. */
#define LINK_RING_BYTES_MIN   (512u << 10)
#define LINK_RING_BYTES_MAX   (64u << 20)
#define LINK_RING_FDS	      2
#define LINK_SHARED_BYTES_MAX (1ull << 46)

/*
 * Control words of one direction, each on cache lines of its own (two, since processors fetch
 * pairs). The indices count bytes since the start and never wrap; an index modulo ring_bytes is
 * an offset. All words start as zero.
 */
struct link_ring_words {
	alignas(128) _Atomic uint64_t produced;	     /* written by the ring's writer */
	_Atomic uint32_t writer_processor;	     /* likewise: where it runs, plus 1; a hint */
	alignas(128) _Atomic uint64_t consumed;	     /* written by the ring's reader */
	alignas(128) _Atomic uint32_t reader_sleeps; /* set by the reader, cleared by either */
	alignas(128) _Atomic uint32_t writer_sleeps; /* set by the writer, cleared by either */
};

/* The first page of a ring's memory. */
struct link_ring_header {
	struct link_ring_words to_server;
	struct link_ring_words to_client;
};

_Static_assert(sizeof(struct link_ring_words) == 512, "link_ring_words");
_Static_assert(offsetof(struct link_ring_words, writer_sleeps) == 384, "link_ring_words");
_Static_assert(sizeof(struct link_ring_header) <= LINK_RING_HEADER_BYTES, "link_ring_header");

#endif
