/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Launching programs on a card: what client (micnativeloadex, libcoi_host) and causeway-card say
 * over one SCIF connection to the card's port CARD_PORT.
 *
 * The stream is a sequence of frames, a header and at most CARD_PAYLOAD_MAX bytes; numbers are
 * little-endian. One connection is one program: when it ends, for whatever reason, so does the
 * program and all that it started.
 *
 *	client                              card
 *	HELLO                          ->
 *	                               <-   WELCOME, or REFUSED
 *	NEED (names of libraries)      ->                              as often as wanted
 *	                               <-   LACKS (those that the card has not)
 *	FILE (executable or library)   ->                              once for each
 *	  DATA (bytes are in window)   ->                              until the file is whole
 *	                               <-   TAKEN
 *	START (arguments, environment) ->
 *	                               <-   WAITING (place in the queue), any number of times
 *	                               <-   STARTED, or REFUSED
 *	INPUT, INPUT_END, SIGNAL, FLUSH ->
 *	                               <-   OUTPUT, ERRORS, CREDIT, PORT, FLUSHED
 *	                               <-   EXITED; the card hangs up
 *
 * Files come through memory: WELCOME names a window of the card's endpoint, the client writes part
 * of the file to its start (scif_vwriteto with SCIF_RMA_SYNC), says so, and waits for TAKEN.
 * Input is sent within the credit that STARTED (CARD_INPUT_CREDIT) and CREDIT give, so that a
 * program that does not read never stands before a SIGNAL. Output needs none: it stops at the ring.
 * FLUSHED comes behind all output that the program had written when FLUSH came.
 *
 * What a program finds in its environment besides what START says: see docs/architecture.md.
 */
#ifndef CAUSEWAY_PROTO_CARD_LAUNCH_H
#define CAUSEWAY_PROTO_CARD_LAUNCH_H

#include <stdint.h>

#define CARD_PORT	  40 /* the first of COI's */
#define CARD_VERSION	  2
#define CARD_PAYLOAD_MAX  32768u
#define CARD_WINDOW_BYTES (4u << 20)
#define CARD_INPUT_CREDIT 65536u
#define CARD_NAME_MAX	  127u /* of a file, without the NUL */
#define CARD_FILES_MAX	  256u
#define CARD_STRINGS_MAX  1024u /* arguments and variables together */
#define CARD_TOKEN_BYTES  16u

enum card_frame_type {
	CARD_HELLO = 1, /* value: CARD_VERSION; struct card_hello */
	CARD_NEED = 2,	/* names, each with its NUL */
	CARD_FILE = 3,	/* value: bytes; struct card_file, then the name without NUL */
	CARD_DATA = 4,	/* value: bytes at the start of the window, 1 to its size */
	CARD_START = 5, /* struct card_start, then strings, each with its NUL */
	CARD_INPUT = 6, /* bytes */
	CARD_INPUT_END = 7,
	CARD_SIGNAL = 8, /* value: number, 1 to 31 */
	CARD_FLUSH = 9,	 /* value: a number, higher than those before */

	CARD_WELCOME = 64,   /* value: CARD_VERSION; struct card_welcome */
	CARD_LACKS = 65,     /* names, each with its NUL */
	CARD_TAKEN = 66,     /* value: bytes of the file that are there now */
	CARD_WAITING = 67,   /* value: how many are before this one */
	CARD_STARTED = 68,   /* value: process id; CARD_TOKEN_BYTES bytes */
	CARD_REFUSED = 69,   /* value: errno; a sentence, without NUL */
	CARD_PORT_OPEN = 70, /* value: the SCIF port of the card at which the program listens */
	CARD_OUTPUT = 71,    /* bytes */
	CARD_ERRORS = 72,    /* bytes */
	CARD_CREDIT = 73,    /* value: so many bytes of input more */
	CARD_EXITED = 74,    /* struct card_exited */
	CARD_FLUSHED = 75,   /* value: the highest of FLUSH */
};

struct card_frame {
	uint32_t type;
	uint32_t bytes; /* of what follows */
	uint64_t value;
};

_Static_assert(sizeof(struct card_frame) == 16, "as on the wire");

enum card_mode {
	CARD_MODE_NATIVE = 0,
	CARD_MODE_OFFLOAD = 1, /* the program will tell a port */
};

#define CARD_FLAG_NETWORK 1u /* the program joins the card's network instead of having none */

struct card_hello {
	uint32_t mode;
	uint32_t flags;
	uint32_t cores; /* that the program wants; 0: what the card gives */
	uint32_t reserved;
	uint64_t memory_bytes; /* likewise */
};

_Static_assert(sizeof(struct card_hello) == 24, "as on the wire");

struct card_welcome {
	uint32_t node; /* of the card */
	uint32_t client_node;
	uint32_t cores;
	uint32_t threads_per_core;
	uint32_t programs; /* on the card now */
	uint32_t programs_max;
	uint64_t memory_bytes;
	uint64_t memory_free_bytes;
	uint64_t window; /* offset */
	uint64_t window_bytes;
	char family[16]; /* NUL-terminated */
	char sku[16];
};

_Static_assert(sizeof(struct card_welcome) == 88, "as on the wire");

enum card_file_kind {
	CARD_FILE_PROGRAM = 0, /* exactly one */
	CARD_FILE_LIBRARY = 1,
	CARD_FILE_DATA = 2, /* lies in the program's working folder */
};

/* Before a file's bytes: what the file is for. */
struct card_file {
	uint32_t kind;
	uint32_t reserved;
};

_Static_assert(sizeof(struct card_file) == 8, "as on the wire");

struct card_start {
	uint32_t arguments; /* first of them: the program's name */
	uint32_t variables; /* NAME=VALUE */
};

_Static_assert(sizeof(struct card_start) == 8, "as on the wire");

struct card_exited {
	uint32_t status; /* of exit() */
	uint32_t signal; /* that ended it, or 0 */
	uint64_t user_us, system_us, wall_us;
	uint64_t memory_peak_bytes;
};

_Static_assert(sizeof(struct card_exited) == 40, "as on the wire");

#endif
