/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source's side of offload: what the parts of libcoi_host share.
 *
 * An operation waits for events, is executed, and finishes its own event. Operations that move
 * bytes are executed by the caller, when it waits anyway and nothing is in the way, or by a worker;
 * run functions by their pipeline, which sends them in order.
 *
 * Locks: host_lock guards events, operations, states of buffers, queues of pipelines, and the
 * lists of handles. It is never held over a call of SCIF. process->calling orders messages on the
 * control connection; it is taken without host_lock. process->staging is held while sections
 * pass through the sink's memory for them; it is taken first.
 * Threads: two workers for all; for each process one that reads the control connection and one that
 * watches the launch connection; for each pipeline one that reads its answers.
 */
#ifndef CAUSEWAY_SCIF_COI_HOST_HOST_H
#define CAUSEWAY_SCIF_COI_HOST_HOST_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "include/intel-coi/source/COIBuffer_source.h"
#include "include/intel-coi/source/COIEngine_source.h"
#include "include/intel-coi/source/COIEvent_source.h"
#include "include/intel-coi/source/COIPipeline_source.h"
#include "include/intel-coi/source/COIProcess_source.h"
#include "scif/card/client.h"
#include "scif/coi/message.h"

/* Guards everything of this library but bytes on their way. */
extern pthread_mutex_t host_lock;
extern pthread_cond_t host_changed; /* events finished, pipelines drained, processes ended */

/* event.c: handles. What a program passes is a handle only while it is listed. */
enum object_kind {
	OBJECT_PROCESS = 1,
	OBJECT_PIPELINE,
	OBJECT_BUFFER,
	OBJECT_FUNCTION,
	OBJECT_LIBRARY,
	OBJECT_MAP,
};

/* At the beginning of everything that a handle can name. */
struct object {
	LIST_ENTRY(object) link;
	enum object_kind kind;
};

/* Each of these is to be called with host_lock. */
void object_enter(struct object *object, enum object_kind kind);
void object_leave(struct object *object);
bool object_is(const void *handle, enum object_kind kind);

/* note.c: what is told to functions that the program registered with a process. */
struct note {
	struct coiprocess *process; /* NULL: nothing is told */
	const void *context;
	COIEVENT event;
};

/* note_context - the data that the calling thread set */
const void *note_context(void);
/* note_take - the operation that is asked for now tells, when somebody is registered; with the
 * lock. @process: a handle, or NULL */
void note_take(struct note *note, struct coiprocess *process, const void *context, COIEVENT event);
/* note_tell - calls the functions, without the lock */
void note_tell(const struct note *note, COI_NOTIFICATIONS type);
/* note_forget - of a process that has no handle any more */
void note_forget(struct coiprocess *process);

/* Operations. Embedded at the beginning of what is to be done. */
struct operation {
	STAILQ_ENTRY(operation) next; /* of a worker's or a pipeline's queue */
	unsigned int waits;	      /* events that have not come */
	uint64_t done;		      /* the event that it finishes */
	struct coipipeline *pipeline; /* of a run function: it keeps these in order; or NULL */
	bool ordered; /* so it waits for none of its pipeline's that it has to follow */
	/* What a worker does with it: the result. The operation may be freed by it, no more used.
	 */
	COIRESULT (*execute)(struct operation *operation);
	/* Called with the lock when nothing is waited for any more; NULL: goes to a worker. */
	void (*ready)(struct operation *operation);
};

STAILQ_HEAD(operation_list, operation);

/* event_begin - a fresh event's number; with the lock. 0 when there is no memory */
uint64_t event_begin(void);
/* event_pending - keeps of a list those that have not come; how many; with the lock */
uint32_t event_pending(uint64_t *ids, uint32_t count);
/* event_is_runs - it is a run function's, whose pipeline may hold it back (pipeline_want()), and
 * which others of that pipeline follow by themselves; NULL: no more. With the lock. */
void event_is_runs(uint64_t id, struct operation *run);
/* event_finish - it came, with that result; with the lock. What waited for it is made ready. */
void event_finish(uint64_t id, COIRESULT result);
COIEVENT event_value(uint64_t id);
/* event_wait - until it came; without the lock */
COIRESULT event_wait(uint64_t id);
/* event_signal - a user event came, by the word of the sink of @process */
void event_signal(const COIEVENT *event, struct coiprocess *process);
/* event_calls - run the callbacks that are due; without the lock, after finishing events */
void event_calls(void);

/* operation_after - it waits for that event, when that has not come; with the lock. 0 or -ENOMEM */
int operation_after(struct operation *operation, uint64_t event);
/* operation_after_all - the program's list. COI_ARGUMENT_MISMATCH for a list without its count */
COIRESULT operation_after_all(struct operation *operation, uint32_t count, const COIEVENT *events);
/**
 * operation_begin - all that it waits for was said: off it goes, or stays
 * @completion: as programs give it; NULL is COI_EVENT_SYNC
 *
 * Called with the lock, which it gives up. Where the caller waits and nothing is in the way, the
 * caller executes. Return: COI_SUCCESS when it is on its way; of one that is waited for, its
 * result.
 */
COIRESULT operation_begin(struct operation *operation, COIEVENT *completion);
/* operation_queue - to a worker; with the lock */
void operation_queue(struct operation *operation);

/* process.c */
struct coifunction {
	struct object object;
	SLIST_ENTRY(coifunction) link;
	struct coiprocess *process;
	uint64_t address;
};

/* A library that was loaded into a sink. */
struct coilibrary {
	struct object object;
	SLIST_ENTRY(coilibrary) link;
	struct coiprocess *process;
	uint64_t id;
	char name[COI_MAX_FILE_NAME_LENGTH];
};

struct call {
	TAILQ_ENTRY(call) link;
	uint32_t tag;
	bool done;
	struct coi_header reply;
	void *answer; /* room for the reply's payload */
	size_t room;
};

TAILQ_HEAD(call_list, call);

/* A card. */
struct coiengine {
	uint16_t node;
};

/* engine.c */
bool engine_is(const struct coiengine *engine);

struct coiprocess {
	struct object object;
	struct coiengine *engine;
	struct card_connection card;
	scif_epd_t control, data;
	uint16_t port;
	bool dead;   /* the connection is gone: nothing further succeeds */
	bool exited; /* the card said so */
	bool proxy;
	struct card_exited end;
	pthread_mutex_t calling;
	pthread_mutex_t staging; /* guards .stage, and what lies there */
	struct instance *stage;	 /* memory of the sink for sections on their way; NULL: not made */
	struct call_list calls;
	uint32_t next_tag, next_buffer, next_pipeline, pipelines;
	unsigned int visitors; /* threads that move bytes of its buffers */
	SLIST_HEAD(, coifunction) functions;
	SLIST_HEAD(, coilibrary) libraries;
	SLIST_HEAD(, notification) notifications;
	pthread_t controller, watcher;
	bool launched, controlled, watched; /* the connection, and these threads, are there */
};

/* process_new - not yet launched; NULL without memory. process_start - its threads run, it has a
 * handle. process_free - of one that was not started, or has exited */
struct coiprocess *process_new(struct coiengine *engine, bool proxy);
COIRESULT process_start(struct coiprocess *process);
void process_free(struct coiprocess *process);
/* process_port - waits for the port; COI_MISSING_DEPENDENCY, COI_PROCESS_DIED,
 * COI_TIME_OUT_REACHED */
COIRESULT process_port(struct coiprocess *process);
/* process_is - the handle is a process's that is not being destroyed; with the lock */
bool process_is(COIPROCESS process);
/* process_die - a connection broke: nothing further will be answered; with the lock */
void process_die(struct coiprocess *process);
/* process_enter - the process that a buffer's instance is in, which is not freed before
 * process_leave(). NULL: it is gone, or its connection is, or there is no instance. Both take the
 * lock themselves */
struct coiprocess *process_enter(const struct instance *instance);
void process_leave(struct coiprocess *process);
/* process_call - one control message and its answer's result. @answer may be NULL */
COIRESULT process_call(struct coiprocess *process, struct coi_header *header,
		       const struct iovec *parts, unsigned int count, void *answer, size_t room,
		       uint64_t *value);
/* process_connect - one more connection to the sink; its descriptor or -errno */
int process_connect(struct coiprocess *process, const struct coi_greeting *greeting);

/* image.c: executables and libraries that go to a card */
struct image {
	SLIST_ENTRY(image) link;
	char name[CARD_NAME_MAX + 1]; /* that others need it by */
	const unsigned char *bytes;
	size_t count;
	bool mapped; /* by image_open: to be unmapped */
};

SLIST_HEAD(image_list, image);

/* image_check - COI_SUCCESS, COI_INVALID_FILE, or COI_BINARY_AND_HARDWARE_MISMATCH */
COIRESULT image_check(const void *bytes, size_t count);
/* image_open - maps a file. COI_DOES_NOT_EXIST, COI_INVALID_FILE */
COIRESULT image_open(const char *path, struct image *image);
void image_close(struct image *image);
/* image_origin - whether the file that an image is said to be from has these bytes */
COIRESULT image_origin(const char *file, uint64_t offset, uint64_t count);
/**
 * image_needs - the libraries that an image needs, and these need, found along @path
 * @found: dependencies first; the caller frees it with images_free()
 * @lacking: names that were found nowhere, @lacking_count of at most CARD_FILES_MAX; to be freed
 */
COIRESULT image_needs(const void *bytes, size_t count, const char *path, struct image_list *found,
		      char **lacking, size_t *lacking_count);
void images_free(struct image_list *images);

/* buffer.c */
struct instance {
	struct coiprocess *process; /* NULL: gone */
	uint32_t id;
	bool made;	     /* the sink has it */
	bool valid;	     /* and its bytes are what the buffer holds */
	int holds;	     /* of the sink: 1 while it has references; may be early by one */
	uint64_t references; /* of the source */
	uint64_t address, offset;
	uint64_t window, window_bytes; /* pinned: the source's window */
};

/* What one use of a streaming buffer takes or leaves. */
struct version {
	STAILQ_ENTRY(version) link;
	unsigned int holders;
	void *memory;
	uint64_t bytes;
};

struct coibuffer {
	struct object object;
	LIST_ENTRY(coibuffer) link;
	COI_BUFFER_TYPE type;
	uint32_t flags;
	uint64_t size, bytes;  /* as asked; in whole pages */
	unsigned char *memory; /* of the source */
	bool memory_is_ours;
	bool memory_is_theirs;	  /* the sink's, mapped */
	bool valid;		  /* in the source */
	struct coibuffer *parent; /* of a sub-buffer, which has no memory of its own */
	uint64_t parent_offset;
	unsigned int children, maps;
	struct instance *instances;
	uint32_t instance_count;

	uint64_t writer;   /* the last use that writes */
	uint64_t *readers; /* uses since then that read */
	uint32_t reader_count, reader_room;
	int holds;			 /* sum of the instances' */
	uint64_t held;			 /* an event, while there are references */
	struct version *version;	 /* TO_SINK: what the next run function takes */
	STAILQ_HEAD(, version) versions; /* TO_SOURCE: what was left, and not yet mapped */
};

/* All of these with the lock. buffer_whole - the buffer that has the state: itself or its parent */
struct coibuffer *buffer_whole(struct coibuffer *buffer, uint64_t *offset);
struct instance *buffer_instance(struct coibuffer *buffer, const struct coiprocess *process);
/* buffer_use - the operation waits for uses that it must not meet, and is one. 0 or -ENOMEM */
int buffer_use(struct coibuffer *buffer, struct operation *operation, uint64_t event, bool writes);
/* buffer_keep - a use that waits for none, but that those which write, and the end, wait for */
int buffer_keep(struct coibuffer *buffer, uint64_t event);
void buffer_own(struct coibuffer *buffer, const struct instance *only);
/* buffer_hold, buffer_let_go - a sink's references; by the number that the process knows it by */
void buffer_hold(struct coiprocess *process, uint64_t id, int change);
/* buffer_forget_holds - it is gone, and so are its references. buffer_forget - so are its buffers
 */
void buffer_forget_holds(struct coiprocess *process);
void buffer_forget(struct coiprocess *process);
/* buffer_bring - make it valid in a process (NULL: the source); takes the lock itself. @note: told
 * of it when bytes are moved; may be NULL */
COIRESULT buffer_bring(struct coibuffer *buffer, struct coiprocess *process,
		       const struct note *note);
/* buffer_note - what an operation on the buffer tells: to @wanted, if the buffer is there, or to
 * the first process that it is in; with the lock */
void buffer_note(struct coibuffer *buffer, struct coiprocess *wanted, uint64_t event,
		 struct note *note);
/* version_new - one holder; NULL when there is no memory. version_put may be called with NULL */
struct version *version_new(uint64_t bytes);
void version_put(struct version *version);

/* transfer.c: bytes between the source's memory and a sink's; without the lock */
COIRESULT transfer_write(const struct instance *to, uint64_t offset, const void *from,
			 uint64_t bytes);
COIRESULT transfer_read(const struct instance *from, uint64_t offset, void *to, uint64_t bytes);

/* transfer_store - where a part of a buffer is written: in one place, which it is valid in from
 * then on. transfer_load - from one where it is valid */
COIRESULT transfer_store(struct coibuffer *buffer, struct coiprocess *wanted, uint64_t offset,
			 const void *from, uint64_t bytes);
COIRESULT transfer_load(struct coibuffer *buffer, uint64_t offset, void *to, uint64_t bytes);
/* transfer_place - the place that a write of a buffer goes to, as above; NULL: the source; with the
 * lock */
struct instance *transfer_place(struct coibuffer *buffer, struct coiprocess *wanted);
/* transfer_check - whether a part of a buffer may be read, written or copied now; with the lock */
COIRESULT transfer_check(struct coibuffer *buffer, uint64_t offset, uint64_t bytes);

/* pipeline.c */
void pipeline_end_all(struct coiprocess *process);
/* With the lock: somebody waits for the event of this run function: its answer must not be held
 * back, and it goes soon: a worker sends it, or, if not @later, the caller by pipeline_hurry(). Who
 * waits for all of a list marks each first, and then wants those that are marked: of each pipeline
 * the last, after which the others have come. */
void pipeline_want(struct operation *run, bool later);
void pipeline_mark(struct operation *run);
void pipeline_want_marked(struct operation *run);
/* pipeline_hurry - sends it, if it may go; with the lock, which is given up meanwhile */
void pipeline_hurry(struct operation *run);

/* COIRESULT of an errno of SCIF's calls towards a sink */
COIRESULT result_of(int status);

#endif
