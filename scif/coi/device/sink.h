/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sink's side of offload, inside the program that runs on the card.
 *
 * Threads: one takes connections and then control messages; one for each pipeline executes run
 * functions; the program's own call what they like. Locks: sink.lock (gate, pipelines), memory_lock
 * (buffers), pipeline->sending (its connection's outgoing side), sink.telling (the control
 * connection's). Order: memory_lock or sink.lock, then a sending lock.
 */
#ifndef CAUSEWAY_SCIF_COI_DEVICE_SINK_H
#define CAUSEWAY_SCIF_COI_DEVICE_SINK_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "include/intel-coi/common/COIResult_common.h"
#include "scif/coi/message.h"

struct pipeline {
	LIST_ENTRY(pipeline) link;
	scif_epd_t epd;
	pthread_t thread;
	struct message_stream stream; /* what comes: of its thread */
	uint64_t told;		      /* TAKEN, to the source; likewise */
	pthread_mutex_t sending;
	struct coi_greeting greeting;
	bool busy; /* executes a run function, or holds answers */
	/* Answers that the source has not got yet; with .sending. */
	unsigned char held[COI_PIPELINE_HOLD_BYTES];
	size_t held_bytes;
	bool prompt; /* the source waits: until nothing more is at hand, none is held */
	void **addresses;
	uint64_t *lengths;
	uint32_t room; /* of both */
};

LIST_HEAD(pipeline_list, pipeline);

/* All of it; begins with the process, when that was started for offload. */
struct sink {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool offloaded;	     /* there is a source */
	bool started;	     /* the program lets run functions execute */
	bool ending;	     /* no further run function begins */
	bool threads_follow; /* the number of threads is the card's to choose */
	struct pipeline_list pipelines;
	unsigned int pipeline_count;

	bool lost;		 /* the control connection has ended */
	uint64_t print, printed; /* numbers of PRINT: the last that was told, or answered */

	scif_epd_t listener, control, data;
	uint16_t client; /* node of the source */
	uint8_t token[COI_TOKEN_BYTES];
	pthread_mutex_t telling;
};

/* The one of this process. */
extern struct sink sink;

/* A buffer that a run function was given: an address, held until memory_release(). */
struct memory_use {
	void *address;
	uint64_t bytes;
};

/* pipeline.c */
/* pipeline_open - a thread that serves the connection, which is its own from now on. 0 or -errno */
int pipeline_open(scif_epd_t epd, const struct coi_greeting *greeting);
/* pipeline_prompt - no answer of that pipeline is held back any more, until it runs dry */
void pipeline_prompt(uint64_t number);
/* pipeline_hold - a message behind those that are held, and held as they are; 0 or -errno */
int pipeline_hold(struct pipeline *pipeline, struct coi_header *header, const struct iovec *part);
/* pipeline_idle_wait - until no run function executes */
void pipeline_idle_wait(void);

/* memory.c; answers are COIRESULTs */
COIRESULT memory_new(const struct coi_buffer *wanted, struct coi_place *place);
COIRESULT memory_end(uint64_t id);
COIRESULT memory_copy(const struct coi_copy *copy);
COIRESULT memory_section(const struct coi_section *wanted, uint64_t way);
/* memory_hold - the buffer's address and length for a run function of @pipeline; COI_INVALID_HANDLE
 * or COI_OUT_OF_RANGE */
COIRESULT memory_hold(struct pipeline *pipeline, const struct coi_run_buffer *wanted,
		      void **address, uint64_t *bytes);
void memory_release(uint32_t id);
/* memory_forget - the pipeline is about to end */
void memory_forget(const struct pipeline *pipeline);

/* library.c */
COIRESULT library_load(const struct coi_library *wanted, const char *name, uint64_t *id);
COIRESULT library_unload(uint64_t id);
/* library_find - an exported function of the program or of a library that was loaded, or NULL */
void *library_find(const char *name);

/* threads.c: threads_follow - the calling thread's OpenMP teams, and OpenBLAS, get as many threads
 * as it has cores, where the card says so */
void threads_follow(void);

/* sink_tell - a message of the sink's own accord; 0 or -errno */
int sink_tell(uint32_t type, uint64_t value, const void *payload, size_t bytes);

#endif
