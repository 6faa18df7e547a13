/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Offload: what libcoi_host (the source) and libcoi_device (in a sink process) say over SCIF.
 *
 * The sink listens; the source learns its port, and a token, from who started the process
 * (proto/card-launch.h), connects, and says with a greeting what each connection is for:
 *
 *	control	 one. The source asks, each message is answered by REPLY with its tag; the sink
 *tells of its own accord SIGNAL and RELEASED. data	 one. No messages: the sink's windows are
 *registered on it, one for each buffer, and the source reads and writes them. Pinned buffers are
 *windows of the source's. pipeline one for each. RUN, answered in order by COMPLETE; before it
 *HELD, for buffers that got a reference meanwhile.
 *
 * The sink answers a greeting that it takes with WELCOME; others it hangs up on. A message is a
 * header and at most COI_PAYLOAD_MAX bytes; numbers are little-endian. When the control connection
 * ends, so does the process.
 */
#ifndef CAUSEWAY_PROTO_COI_H
#define CAUSEWAY_PROTO_COI_H

#include <stdint.h>

#define COI_MAGIC		 0x31494f43u /* "COI1" */
#define COI_VERSION		 5
#define COI_TOKEN_BYTES		 16
#define COI_PAYLOAD_MAX		 (1u << 20)
#define COI_DIMENSIONS		 3
#define COI_FUNCTIONS_MAX	 128u /* names of one message */
#define COI_NAME_MAX		 255u /* without the NUL */
#define COI_RUN_BUFFERS_MAX	 16384u
#define COI_RUN_MISC_MAX	 32768u
#define COI_PIPELINES_MAX	 512u
#define COI_PIPELINE_RING_BYTES	 3584u	/* runs that the sink has not taken: the ring holds them */
#define COI_PIPELINE_TOLD_BYTES	 1792u	/* the sink says TAKEN for so many */
#define COI_PIPELINE_AHEAD_BYTES 65536u /* runs that the sink takes ahead of what it executes */
#define COI_PIPELINE_HOLD_BYTES	 3072u	/* answers that a sink may hold back */

/* What a connection is for. */
enum coi_role {
	COI_ROLE_CONTROL = 1,
	COI_ROLE_DATA = 2,
	COI_ROLE_PIPELINE = 3,
};

struct coi_greeting {
	uint8_t token[COI_TOKEN_BYTES];
	uint32_t magic;
	uint16_t version;
	uint16_t role;
	uint32_t pipeline;    /* number, for that role */
	uint32_t stack_bytes; /* of the pipeline's thread; 0: as usual */
	uint64_t mask[16];    /* hardware threads of the pipeline; all zero: any */
};

_Static_assert(sizeof(struct coi_greeting) == 160, "as on the wire");

enum coi_message_type {
	COI_FUNCTIONS = 1, /* value: count; names, each with its NUL; answered by a uint64_t each */
	COI_BUFFER_NEW = 2,	/* struct coi_buffer; answered by struct coi_place */
	COI_BUFFER_END = 3,	/* value: id */
	COI_COPY = 4,		/* struct coi_copy */
	COI_LIBRARY_LOAD = 5,	/* struct coi_library, then a name; value of the answer: id */
	COI_LIBRARY_UNLOAD = 6, /* value: id */
	COI_SHUTDOWN = 7,
	COI_PRINTED = 8,  /* value: of PRINT: that is done */
	COI_PROMPT = 9,	  /* value: number of a pipeline, whose answers are wanted without delay */
	COI_SECTION = 10, /* value: coi_section_way; struct coi_section */

	COI_RUN = 32, /* value: coi_run_flags; struct coi_run, struct coi_run_buffer[], data */

	COI_WELCOME = 64,
	COI_REPLY = 65,		 /* result; value and payload as the request says */
	COI_COMPLETE = 66,	 /* result; the function's return value of more than 8 bytes */
	COI_HELD = 67,		 /* value: buffer */
	COI_RELEASED = 68,	 /* value: buffer */
	COI_SIGNAL = 69,	 /* struct coi_signal */
	COI_COMPLETE_SHORT = 70, /* result; value: the function's return value, first byte lowest */
	COI_STARTED = 71,	 /* tag: of a run that TELLS */
	COI_PRINT = 72, /* value: number; what the process printed so far is to be printed */
	COI_TAKEN = 73, /* value: bytes of this pipeline's messages that left the ring, in all */
};

/*
 * A LAZY run's answer may be held back while the pipeline has further runs at hand: until one that
 * is not, or PROMPT, or COI_PIPELINE_HOLD_BYTES. A row of short functions then costs the source one
 * message for many, and it says so of those that nobody waits for.
 */
enum coi_run_flags {
	COI_RUN_LAZY = 1,
	COI_RUN_TELLS = 2, /* STARTED comes before it is executed */
};

struct coi_header {
	uint32_t type;
	uint32_t bytes; /* of what follows */
	uint32_t tag;
	uint32_t result; /* COIRESULT, of answers */
	uint64_t value;
};

_Static_assert(sizeof(struct coi_header) == 24, "as on the wire");

enum coi_buffer_kind {
	COI_BUFFER_MEMORY = 0,	/* fresh memory of the sink, at .address if that is not 0 */
	COI_BUFFER_SHARED = 1,	/* the source's window at .offset, mapped */
	COI_BUFFER_ADOPTED = 2, /* memory that the sink process has at .address */
};

struct coi_buffer {
	uint32_t id;
	uint32_t kind;
	uint64_t bytes; /* whole pages, but for ADOPTED */
	uint64_t address;
	uint64_t offset;
};

_Static_assert(sizeof(struct coi_buffer) == 32, "as on the wire");

struct coi_place {
	uint64_t address; /* in the sink */
	uint64_t offset;  /* of its first byte, on the data connection */
};

_Static_assert(sizeof(struct coi_place) == 16, "as on the wire");

struct coi_copy {
	uint32_t to, from; /* buffers; never overlapping ranges of one */
	uint64_t to_offset, from_offset, bytes;
};

_Static_assert(sizeof(struct coi_copy) == 32, "as on the wire");

enum coi_section_way {
	COI_SECTION_PACK = 0,	/* to where the elements lie one behind the other */
	COI_SECTION_UNPACK = 1, /* from there */
};

/*
 * Some elements of a section of an array. The array lies in one buffer, the elements one behind the
 * other at the beginning of another. What lies between elements is neither read nor written.
 */
struct coi_section {
	uint32_t array, packed;		 /* buffers, not the same */
	uint64_t offset;		 /* of the section's first element */
	uint64_t element;		 /* bytes of one */
	uint64_t counts[COI_DIMENSIONS]; /* 1 of a dimension that there is not */
	uint64_t steps[COI_DIMENSIONS];	 /* bytes from one index to the next */
	uint64_t first, elements; /* those that are meant, in the order of the last dimension */
};

_Static_assert(sizeof(struct coi_section) == 88, "as on the wire");

struct coi_library {
	uint32_t buffer; /* that holds the file's bytes */
	uint32_t flags;	 /* of COIProcessLoadLibrary */
	uint64_t bytes;
};

_Static_assert(sizeof(struct coi_library) == 16, "as on the wire");

struct coi_run {
	uint64_t function; /* as FUNCTIONS answered */
	uint32_t buffers;
	uint16_t misc_bytes;
	uint16_t return_bytes;
};

_Static_assert(sizeof(struct coi_run) == 16, "as on the wire");

/* A part of a buffer that a run function uses. */
struct coi_run_buffer {
	uint32_t id;
	uint32_t reserved;
	uint64_t offset, bytes;
};

_Static_assert(sizeof(struct coi_run_buffer) == 24, "as on the wire");

/* A user event that was signalled. */
struct coi_signal {
	uint64_t event[2];
};

_Static_assert(sizeof(struct coi_signal) == 16, "as on the wire");

#endif
