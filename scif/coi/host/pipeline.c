/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pipelines: run functions in order, some of them ahead of the sink.
 *
 *	queued	what was asked for; its head is looked at by pipeline_pump()
 *	sent	the sink has it, or it lies in the ring; COMPLETE comes for each in order
 *
 * The head is sent when all that it waits for has come and its buffers are valid in the sink; what
 * comes before it in the same pipeline is not waited for, since the sink keeps the order. What the
 * sink has not taken is at most COI_PIPELINE_RING_BYTES, which the ring holds, so that sending
 * never waits for a function to end; a longer run goes when nothing is out. The sink says what it
 * has taken (TAKEN; an answer says so, too); once the ring was full, more goes when half of it is
 * taken, as many as fit in one message. Bytes are moved by workers, or by the program's thread, and
 * not before all that was sent is answered if one of those may use the same buffer.
 *
 * While a program queues runs, its own thread sends them, in a row of batches each PIPELINE_GROWTH
 * times as long as the one before: the first at once, and a long row with few messages, since
 * sending may take longer than what is sent. What is left goes when somebody waits, or when the
 * sink has nothing left: its answer comes then.
 *
 * Runs are sent as LAZY unless somebody waits for them: their answers may come together. As soon as
 * somebody waits for one that would not come by itself, since others are behind it, the sink is
 * asked to hold none back.
 *
 * A run function has two events: its completion, and the end of its uses of buffers, which comes
 * later when the sink took references.
 */
#include "scif/coi/host/host.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "scif/coi/export.h"

#define PIPELINE_STACK_MIN 16384u
#define PIPELINE_PAGE	   4096u
#define PIPELINE_LOW_BYTES (COI_PIPELINE_RING_BYTES / 2)
#define PIPELINE_GROWTH	   4
#define PIPELINE_BATCH_MAX 64 /* more than that, of any length, is worth a message */

struct coipipeline {
	struct object object;
	LIST_ENTRY(coipipeline) link;
	struct coiprocess *process;
	scif_epd_t epd;
	pthread_t reader;
	struct message_stream stream; /* of the reader */
	struct operation_list queued, sent;
	uint32_t number; /* the sink knows it by */
	unsigned int queued_count, queued_wanted;
	unsigned int batch; /* so many go together, unless one is wanted or nothing is out */
	uint64_t sent_bytes, taken_bytes; /* of all runs: by the source, out of the ring */
	bool full;	     /* nothing goes until PIPELINE_LOW_BYTES are in the ring */
	unsigned int wanted; /* LAZY runs that were sent, and are waited for */
	struct operation *marked;
	bool pumping;	       /* one thread is at it */
	bool awaited;	       /* of the reader: somebody waited for what came last */
	bool failed;	       /* the connection is gone */
	bool ending;	       /* since it was to end */
	struct operation pump; /* for a worker */
	bool pump_queued;
	struct operation prompt; /* likewise */
	bool prompt_queued;
};

/* A buffer of a run function. */
struct use {
	struct coibuffer *buffer;
	COI_ACCESS_FLAGS access;
	struct version *version; /* streaming */
};

struct run {
	struct operation operation; /* .pipeline is its pipeline */
	uint64_t uses_done;	    /* 0 without buffers */
	struct coi_header header;
	unsigned char *message;
	size_t bytes;
	uint64_t end; /* of the pipeline's bytes, with it */
	bool wanted, sent;
	struct note note;
	struct coiprocess *process;
	void *answer;
	uint16_t answer_bytes;
	uint32_t use_count;
	struct use uses[];
};

/* Messages that go out by one call. */
struct batch {
	unsigned char bytes[COI_PIPELINE_RING_BYTES];
	size_t used;
};

static LIST_HEAD(, coipipeline) pipelines = LIST_HEAD_INITIALIZER(pipelines);

static void run_free(struct run *run)
{
	for (uint32_t i = 0; i < run->use_count; i++)
		version_put(run->uses[i].version);
	free(run->message);
	free(run);
}

/* By a worker, when no reference keeps its buffers in use: the last of a function's uses. */
static COIRESULT run_rest(struct operation *operation)
{
	struct run *run = (struct run *)operation;
	COIRESULT result = COI_SUCCESS;

	for (uint32_t i = 0; i < run->use_count && result == COI_SUCCESS; i++) {
		struct coibuffer *buffer = run->uses[i].buffer;
		struct version *version;

		if (buffer->type != COI_BUFFER_STREAMING_TO_SOURCE)
			continue;
		version = version_new(buffer->bytes);
		result = version ? transfer_read(buffer_instance(buffer, run->process), 0,
						 version->memory, buffer->bytes)
				 : COI_RESOURCE_EXHAUSTED;
		pthread_mutex_lock(&host_lock);
		if (result == COI_SUCCESS)
			STAILQ_INSERT_TAIL(&buffer->versions, version, link);
		pthread_mutex_unlock(&host_lock);
		if (result != COI_SUCCESS)
			version_put(version);
	}
	run_free(run);
	return result;
}

/* With the lock: the function ended. Its uses of buffers may go on: references of the sink, bytes
 * that come to the source. */
static void run_finish(struct run *run, COIRESULT result)
{
	struct operation *rest = &run->operation;
	bool more = false;

	event_finish(rest->done, result);
	event_is_runs(run->uses_done, NULL); /* what is left of it, nobody keeps in order */
	rest->done = run->uses_done;
	rest->pipeline = NULL;
	for (uint32_t i = 0; i < run->use_count && result == COI_SUCCESS; i++) {
		struct coibuffer *buffer = buffer_whole(run->uses[i].buffer, NULL);

		if (buffer->held)
			operation_after(rest, buffer->held);
		more = more || buffer->type == COI_BUFFER_STREAMING_TO_SOURCE;
	}
	rest->ready = NULL;
	rest->execute = run_rest;
	if (rest->waits)
		return;
	if (more) {
		operation_queue(rest);
		return;
	}
	event_finish(run->uses_done, COI_SUCCESS);
	run_free(run);
}

static void run_drop(struct operation *operation)
{
	run_free((struct run *)operation);
}

/* With the lock: it will not be sent. Events that it still waits for find it, and drop it. */
static void run_cancel(struct run *run)
{
	event_finish(run->operation.done, COI_PROCESS_DIED);
	event_finish(run->uses_done, COI_SUCCESS);
	run->operation.pipeline = NULL;
	run->operation.ready = run_drop;
	if (run->operation.waits == 0)
		run_free(run);
}

/* With the lock: the connection is gone. The queue is the pump's while there is one. */
static void pipeline_fail(struct coipipeline *pipeline)
{
	struct operation *operation;

	pipeline->failed = true;
	pipeline->wanted = 0;
	while ((operation = STAILQ_FIRST(&pipeline->sent))) {
		STAILQ_REMOVE_HEAD(&pipeline->sent, next);
		run_finish((struct run *)operation, COI_PROCESS_DIED);
	}
	while (!pipeline->pumping && (operation = STAILQ_FIRST(&pipeline->queued))) {
		STAILQ_REMOVE_HEAD(&pipeline->queued, next);
		run_cancel((struct run *)operation);
	}
	pthread_cond_broadcast(&host_changed);
}

/* Whether bytes have to be moved before the function can go; with the lock. */
static bool run_moves(const struct run *run)
{
	for (uint32_t i = 0; i < run->use_count; i++) {
		const struct use *use = &run->uses[i];
		struct coibuffer *buffer = buffer_whole(use->buffer, NULL);

		if (use->version)
			return true;
		if (buffer->type != COI_BUFFER_NORMAL && buffer->type != COI_BUFFER_OPENCL)
			continue;
		if (use->access != COI_SINK_WRITE_ENTIRE &&
		    !buffer_instance(buffer, run->process)->valid)
			return true;
	}
	return false;
}

/* Moves what has to be moved; without the lock. */
static COIRESULT run_move(struct run *run)
{
	COIRESULT result = COI_SUCCESS;

	for (uint32_t i = 0; i < run->use_count && result == COI_SUCCESS; i++) {
		struct use *use = &run->uses[i];
		struct coibuffer *buffer = use->buffer;

		if (use->version)
			result = transfer_write(buffer_instance(buffer, run->process), 0,
						use->version->memory, buffer->bytes);
		else if (use->access != COI_SINK_WRITE_ENTIRE)
			result = buffer_bring(buffer, run->process, NULL);
		version_put(use->version);
		use->version = NULL;
	}
	return result;
}

/* With the lock: the sink is about to write. */
static void run_own(const struct run *run)
{
	for (uint32_t i = 0; i < run->use_count; i++) {
		struct coibuffer *buffer = buffer_whole(run->uses[i].buffer, NULL);

		if (run->uses[i].access == COI_SINK_READ ||
		    (buffer->type != COI_BUFFER_NORMAL && buffer->type != COI_BUFFER_OPENCL))
			continue;
		buffer_own(buffer, buffer_instance(buffer, run->process));
	}
}

/* With the lock: whether the head may go now. */
static struct run *pipeline_head(struct coipipeline *pipeline)
{
	struct run *run = (struct run *)STAILQ_FIRST(&pipeline->queued);
	uint64_t in_ring = pipeline->sent_bytes - pipeline->taken_bytes;

	if (!run || run->operation.waits || pipeline->failed)
		return NULL;
	if (pipeline->full && in_ring > PIPELINE_LOW_BYTES)
		return NULL;
	pipeline->full =
		!STAILQ_EMPTY(&pipeline->sent) && in_ring + run->bytes > COI_PIPELINE_RING_BYTES;
	if (pipeline->full)
		return NULL;
	/* One that was sent may use what would be moved. */
	if (run->operation.ordered && !STAILQ_EMPTY(&pipeline->sent) && run_moves(run))
		return NULL;
	return run;
}

/* With the lock: whether a message is worth it. If not, the sink has something to do, and the
 * program may have more. */
static bool pipeline_begins(const struct coipipeline *pipeline)
{
	return STAILQ_EMPTY(&pipeline->sent) || pipeline->queued_wanted ||
	       pipeline->queued_count >= pipeline->batch;
}

static void pipeline_pump_later(struct coipipeline *pipeline)
{
	if (pipeline->pump_queued)
		return;
	pipeline->pump_queued = true;
	operation_queue(&pipeline->pump);
}

/* With the lock: a worker asks the sink to hold no answer back, if there is one that it might. */
static void pipeline_prompt_later(struct coipipeline *pipeline)
{
	if (pipeline->prompt_queued || pipeline->failed)
		return;
	pipeline->prompt_queued = true;
	operation_queue(&pipeline->prompt);
}

static COIRESULT pipeline_prompt_worker(struct operation *operation)
{
	struct coipipeline *pipeline =
		(struct coipipeline *)((char *)operation - offsetof(struct coipipeline, prompt));
	struct coi_header header = { .type = COI_PROMPT, .value = pipeline->number };

	process_call(pipeline->process, &header, NULL, 0, NULL, 0, NULL);
	pthread_mutex_lock(&host_lock);
	pipeline->prompt_queued = false;
	pthread_cond_broadcast(&host_changed);
	pthread_mutex_unlock(&host_lock);
	return COI_SUCCESS;
}

void pipeline_want(struct operation *operation, bool later)
{
	struct run *run = (struct run *)operation;
	struct coipipeline *pipeline = operation->pipeline;

	if (run->wanted)
		return;
	run->wanted = true;
	pipeline->batch = 1;
	if (!run->sent) {
		pipeline->queued_wanted++;
		if (later)
			pipeline_pump_later(pipeline);
		return;
	}
	if (!(run->header.value & COI_RUN_LAZY))
		return;
	pipeline->wanted++;
	/* The sink answers the last when it has nothing else to do. */
	if (STAILQ_NEXT(operation, next))
		pipeline_prompt_later(pipeline);
}

void pipeline_mark(struct operation *operation)
{
	struct operation *before = operation->pipeline->marked;

	if (!before || before->done < operation->done)
		operation->pipeline->marked = operation;
}

void pipeline_want_marked(struct operation *operation)
{
	if (operation->pipeline->marked != operation)
		return;
	operation->pipeline->marked = NULL;
	pipeline_want(operation, false);
}

/* With the lock: the head is as good as sent, and its message is in the batch, if that has room. */
static void pipeline_take(struct coipipeline *pipeline, struct run *run, struct batch *batch)
{
	STAILQ_REMOVE_HEAD(&pipeline->queued, next);
	run_own(run);
	pipeline->queued_count--;
	pipeline->queued_wanted -= run->wanted;
	pipeline->sent_bytes += run->bytes;
	run->end = pipeline->sent_bytes;
	if (run->note.process)
		run->header.value = COI_RUN_TELLS;
	else if (!run->wanted)
		run->header.value = COI_RUN_LAZY;
	run->header.bytes = (uint32_t)(run->bytes - sizeof(run->header));
	run->sent = true;
	STAILQ_INSERT_TAIL(&pipeline->sent, &run->operation, next);
	if (run->bytes > sizeof(batch->bytes))
		return;
	memcpy(batch->bytes + batch->used, &run->header, sizeof(run->header));
	memcpy(batch->bytes + batch->used + sizeof(run->header), run->message,
	       run->bytes - sizeof(run->header));
	batch->used += run->bytes;
}

/* With the lock, which is given up meanwhile: sends the head, and what can go with it. */
static void pipeline_send(struct coipipeline *pipeline, struct run *run)
{
	struct batch batch = { .used = 0 };
	struct iovec alone = { run->message, run->bytes - sizeof(run->header) };
	struct coi_header header;
	int status;

	pipeline_take(pipeline, run, &batch);
	header = run->header;
	if (batch.used == 0) {
		run->message = NULL; /* it may be answered, and freed, when its last byte is out */
	} else {
		while ((run = pipeline_head(pipeline)) && !run_moves(run) && !run->note.process &&
		       run->bytes <= sizeof(batch.bytes) - batch.used)
			pipeline_take(pipeline, run, &batch);
	}
	if (pipeline->wanted)
		pipeline_prompt_later(pipeline);
	if (pipeline->batch < PIPELINE_BATCH_MAX)
		pipeline->batch *= PIPELINE_GROWTH;
	pthread_mutex_unlock(&host_lock);
	if (batch.used) {
		status = message_send_all(pipeline->epd, batch.bytes, batch.used);
	} else {
		status = message_send(pipeline->epd, &header, &alone, 1);
		free(alone.iov_base);
	}
	pthread_mutex_lock(&host_lock);
	if (status < 0)
		pipeline_fail(pipeline);
}

/* With the lock, which is given up meanwhile: sends what may go. @may_move: this thread may take
 * the time to move bytes. */
static void pipeline_pump(struct coipipeline *pipeline, bool may_move)
{
	struct run *run;

	if (pipeline->pumping)
		return;
	pipeline->pumping = true;
	while (pipeline_begins(pipeline) && (run = pipeline_head(pipeline))) {
		COIRESULT result = COI_SUCCESS;

		if (run_moves(run)) {
			if (!may_move) {
				pipeline_pump_later(pipeline);
				break;
			}
			pthread_mutex_unlock(&host_lock);
			result = run_move(run);
			pthread_mutex_lock(&host_lock);
		}
		if (result == COI_SUCCESS && run->note.process) {
			pthread_mutex_unlock(&host_lock);
			note_tell(&run->note, RUN_FUNCTION_READY);
			pthread_mutex_lock(&host_lock);
		}
		if (result == COI_SUCCESS) {
			pipeline_send(pipeline, run);
			continue;
		}
		STAILQ_REMOVE_HEAD(&pipeline->queued, next);
		pipeline->queued_count--;
		pipeline->queued_wanted -= run->wanted;
		run_finish(run, result);
	}
	pipeline->pumping = false;
	if (pipeline->failed)
		pipeline_fail(pipeline);
	pthread_cond_broadcast(&host_changed);
}

void pipeline_hurry(struct operation *operation)
{
	if (!((struct run *)operation)->sent)
		pipeline_pump(operation->pipeline, false);
}

static COIRESULT pipeline_pump_worker(struct operation *operation)
{
	struct coipipeline *pipeline =
		(struct coipipeline *)((char *)operation - offsetof(struct coipipeline, pump));

	pthread_mutex_lock(&host_lock);
	pipeline->pump_queued = false;
	pipeline_pump(pipeline, true);
	pthread_cond_broadcast(&host_changed);
	pthread_mutex_unlock(&host_lock);
	return COI_SUCCESS;
}

static void run_ready(struct operation *operation)
{
	struct run *run = (struct run *)operation;

	/* By whoever finished an event: that thread has other things to do. */
	if (STAILQ_FIRST(&run->operation.pipeline->queued) == operation)
		pipeline_pump_later(run->operation.pipeline);
}

/* One COMPLETE of either kind; with the lock. -EPROTO when nothing was sent. */
static int pipeline_complete(struct coipipeline *pipeline, const struct coi_header *header,
			     const unsigned char *payload)
{
	struct run *run = (struct run *)STAILQ_FIRST(&pipeline->sent);
	bool is_short = header->type == COI_COMPLETE_SHORT;

	if (!run || header->tag != run->header.tag || header->result >= COI_NUM_RESULTS)
		return -EPROTO;
	if (is_short ? header->bytes || run->answer_bytes > sizeof(header->value)
		     : header->bytes > run->answer_bytes)
		return -EPROTO;
	STAILQ_REMOVE_HEAD(&pipeline->sent, next);
	if (pipeline->taken_bytes < run->end)
		pipeline->taken_bytes = run->end;
	pipeline->awaited = run->wanted;
	if (run->wanted && run->header.value & COI_RUN_LAZY && pipeline->wanted)
		pipeline->wanted--;
	if (is_short && run->answer_bytes)
		memcpy(run->answer, &header->value, run->answer_bytes);
	else if (header->bytes)
		memcpy(run->answer, payload, header->bytes);
	run_finish(run, (COIRESULT)header->result);
	pipeline_pump(pipeline, false);
	return 0;
}

/* With the lock, which is given up meanwhile: tells that the function which the message is about
 * begins, or has ended. */
static void pipeline_tell(struct coipipeline *pipeline, const struct coi_header *header)
{
	const struct run *run = (const struct run *)STAILQ_FIRST(&pipeline->sent);
	struct note note;

	if (!run || !run->note.process || run->header.tag != header->tag)
		return;
	note = run->note;
	pthread_mutex_unlock(&host_lock);
	note_tell(&note, header->type == COI_STARTED ? RUN_FUNCTION_START : RUN_FUNCTION_COMPLETE);
	pthread_mutex_lock(&host_lock);
}

/* TAKEN; with the lock. -EPROTO for more than was sent. */
static int pipeline_taken(struct coipipeline *pipeline, uint64_t bytes)
{
	if (bytes > pipeline->sent_bytes)
		return -EPROTO;
	if (pipeline->taken_bytes < bytes)
		pipeline->taken_bytes = bytes;
	pipeline_pump(pipeline, false);
	return 0;
}

/* What the sink says on a pipeline's connection; with the lock. -EPROTO when it makes no sense. */
static int pipeline_hear(struct coipipeline *pipeline, const struct coi_header *header,
			 const unsigned char *payload)
{
	switch (header->type) {
	case COI_HELD:
		buffer_hold(pipeline->process, header->value, 1);
		return 0;
	case COI_TAKEN:
		return pipeline_taken(pipeline, header->value);
	case COI_STARTED:
		pipeline_tell(pipeline, header);
		return 0;
	case COI_COMPLETE:
	case COI_COMPLETE_SHORT:
		pipeline_tell(pipeline, header);
		return pipeline_complete(pipeline, header, payload);
	default:
		return -EPROTO;
	}
}

static void *pipeline_read(void *argument)
{
	struct coipipeline *pipeline = argument;
	struct coi_header header;
	bool more = false;
	int status = 0;

	while (status == 0) {
		unsigned char *payload;

		status = message_stream_next(&pipeline->stream, more, &header, &payload);
		pipeline->awaited = false;
		pthread_mutex_lock(&host_lock);
		if (status == 0)
			status = pipeline_hear(pipeline, &header, payload);
		if (status < 0 && !pipeline->ending)
			process_die(pipeline->process);
		if (status < 0)
			pipeline_fail(pipeline);
		/* More than one is out: the answers may come together. */
		more = !STAILQ_EMPTY(&pipeline->sent) &&
		       STAILQ_NEXT(STAILQ_FIRST(&pipeline->sent), next);
		pthread_mutex_unlock(&host_lock);
		event_calls();
		if (pipeline->awaited)
			sched_yield(); /* with one processor, before the next receive */
	}
	return NULL;
}

/* Waits for the last function, has the sink hang up, and forgets it. */
static void pipeline_destroy(struct coipipeline *pipeline)
{
	struct coi_header end = { .type = COI_SHUTDOWN };

	pthread_mutex_lock(&host_lock);
	while (!STAILQ_EMPTY(&pipeline->queued) || !STAILQ_EMPTY(&pipeline->sent) ||
	       pipeline->pumping || pipeline->pump_queued || pipeline->prompt_queued)
		pthread_cond_wait(&host_changed, &host_lock);
	pipeline->ending = true;
	pthread_mutex_unlock(&host_lock);
	message_send(pipeline->epd, &end, NULL, 0);
	pthread_join(pipeline->reader, NULL);
	scif_close(pipeline->epd);
	message_stream_close(&pipeline->stream);
	pthread_mutex_lock(&host_lock);
	LIST_REMOVE(pipeline, link);
	pipeline->process->pipelines--;
	pthread_cond_broadcast(&host_changed);
	pthread_mutex_unlock(&host_lock);
	free(pipeline);
}

void pipeline_end_all(struct coiprocess *process)
{
	for (;;) {
		struct coipipeline *found = NULL, *pipeline;

		pthread_mutex_lock(&host_lock);
		LIST_FOREACH(pipeline, &pipelines, link)
		{
			if (pipeline->process == process && object_is(pipeline, OBJECT_PIPELINE))
				found = pipeline;
		}
		if (found)
			object_leave(&found->object);
		/* Another thread may be destroying one. */
		while (!found && process->pipelines)
			pthread_cond_wait(&host_changed, &host_lock);
		pthread_mutex_unlock(&host_lock);
		if (!found)
			return;
		pipeline_destroy(found);
	}
}

static COIRESULT pipeline_check(COI_CPU_MASK mask, uint32_t stack, struct coi_greeting *greeting)
{
	bool any = false;

	if (stack && (stack < PIPELINE_STACK_MIN || stack % PIPELINE_PAGE))
		return COI_OUT_OF_RANGE;
	for (unsigned int i = 0; mask && i < 16; i++) {
		greeting->mask[i] = mask[i];
		any = any || mask[i];
	}
	return mask && !any ? COI_OUT_OF_RANGE : COI_SUCCESS;
}

/* The thread that reads answers; signals are not for it. */
static int pipeline_start(struct coipipeline *pipeline)
{
	sigset_t all, before;
	int status;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	status = pthread_create(&pipeline->reader, NULL, pipeline_read, pipeline);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -status;
}

COI_EXPORT COIRESULT COIPipelineCreate(COIPROCESS in_Process, COI_CPU_MASK in_Mask,
				       uint32_t in_StackSize, COIPIPELINE *out_pPipeline)
{
	struct coi_greeting greeting = { .role = COI_ROLE_PIPELINE, .stack_bytes = in_StackSize };
	struct coipipeline *pipeline;
	COIRESULT result;
	int status;

	if (!out_pPipeline)
		return COI_INVALID_POINTER;
	result = pipeline_check(in_Mask, in_StackSize, &greeting);
	if (result != COI_SUCCESS)
		return result;
	pthread_mutex_lock(&host_lock);
	if (!process_is(in_Process))
		result = COI_INVALID_HANDLE;
	else if (in_Process->pipelines == COI_PIPELINE_MAX_PIPELINES)
		result = COI_RESOURCE_EXHAUSTED;
	else
		in_Process->pipelines++;
	if (result == COI_SUCCESS)
		greeting.pipeline = in_Process->next_pipeline++;
	pthread_mutex_unlock(&host_lock);
	if (result != COI_SUCCESS)
		return result;
	pipeline = calloc(1, sizeof(*pipeline));
	status = pipeline ? process_connect(in_Process, &greeting) : -ENOMEM;
	if (status >= 0) {
		pipeline->process = in_Process;
		pipeline->epd = status;
		pipeline->number = greeting.pipeline;
		pipeline->batch = 1;
		pipeline->pump.execute = pipeline_pump_worker;
		pipeline->prompt.execute = pipeline_prompt_worker;
		STAILQ_INIT(&pipeline->queued);
		STAILQ_INIT(&pipeline->sent);
		status = message_stream_open(&pipeline->stream, pipeline->epd, MESSAGE_STREAM_ROOM);
		if (status == 0)
			status = pipeline_start(pipeline);
		if (status < 0) {
			message_stream_close(&pipeline->stream);
			scif_close(pipeline->epd);
		}
	}
	pthread_mutex_lock(&host_lock);
	if (status < 0)
		in_Process->pipelines--;
	else
		object_enter(&pipeline->object, OBJECT_PIPELINE);
	if (status >= 0)
		LIST_INSERT_HEAD(&pipelines, pipeline, link);
	pthread_mutex_unlock(&host_lock);
	if (status < 0) {
		free(pipeline);
		return result_of(status);
	}
	*out_pPipeline = pipeline;
	return COI_SUCCESS;
}

COI_EXPORT COIRESULT COIPipelineDestroy(COIPIPELINE in_Pipeline)
{
	bool valid;

	pthread_mutex_lock(&host_lock);
	valid = object_is(in_Pipeline, OBJECT_PIPELINE);
	if (valid)
		object_leave(&in_Pipeline->object);
	pthread_mutex_unlock(&host_lock);
	if (!valid)
		return COI_INVALID_HANDLE;
	pipeline_destroy(in_Pipeline);
	return COI_SUCCESS;
}

/* What is wrong with a run function's arguments, but for handles. */
static COIRESULT run_check(uint32_t buffers, const COIBUFFER *list, const COI_ACCESS_FLAGS *access,
			   const void *misc, uint16_t misc_bytes, const void *answer,
			   uint16_t answer_bytes)
{
	if (buffers > COI_PIPELINE_MAX_IN_BUFFERS || misc_bytes > COI_PIPELINE_MAX_IN_MISC_DATA_LEN)
		return COI_OUT_OF_RANGE;
	if (!buffers != !list || !buffers != !access || !misc_bytes != !misc ||
	    !answer_bytes != !answer)
		return COI_ARGUMENT_MISMATCH;
	for (uint32_t i = 0; i < buffers; i++) {
		if (access[i] < COI_SINK_READ || access[i] > COI_SINK_WRITE_ENTIRE)
			return COI_OUT_OF_RANGE;
	}
	return COI_SUCCESS;
}

/* With the lock: whether the buffer may be used so; fills its part of the message. */
static COIRESULT run_use(struct run *run, struct use *use, struct coi_run_buffer *wanted)
{
	struct coibuffer *buffer = use->buffer, *whole;
	struct instance *instance;
	uint64_t offset;

	if (!object_is(buffer, OBJECT_BUFFER))
		return COI_INVALID_HANDLE;
	whole = buffer_whole(buffer, &offset);
	instance = buffer_instance(whole, run->process);
	if (!instance)
		return COI_MISSING_DEPENDENCY;
	if (whole->maps && whole->type == COI_BUFFER_NORMAL)
		return COI_RETRY;
	if (whole->type == COI_BUFFER_STREAMING_TO_SOURCE && use->access != COI_SINK_WRITE_ENTIRE)
		return COI_ARGUMENT_MISMATCH;
	if (whole->type == COI_BUFFER_STREAMING_TO_SINK && whole->version) {
		use->version = whole->version;
		use->version->holders++;
	}
	*wanted = (struct coi_run_buffer){ .id = instance->id,
					   .offset = offset,
					   .bytes = buffer->size };
	return COI_SUCCESS;
}

/* The message behind its header. */
static COIRESULT run_fill(struct run *run, const struct coi_run *what, const COIBUFFER *buffers,
			  const COI_ACCESS_FLAGS *access, const void *misc)
{
	unsigned char *at;
	COIRESULT result = COI_SUCCESS;

	run->bytes = sizeof(run->header) + sizeof(*what) +
		     what->buffers * sizeof(struct coi_run_buffer) + what->misc_bytes;
	run->message = malloc(run->bytes);
	if (!run->message)
		return COI_OUT_OF_MEMORY;
	at = run->message;
	memcpy(at, what, sizeof(*what));
	at += sizeof(*what);
	for (uint32_t i = 0; i < what->buffers && result == COI_SUCCESS; i++) {
		struct coi_run_buffer wanted;

		run->uses[i] = (struct use){ .buffer = buffers[i], .access = access[i] };
		run->use_count = i + 1;
		result = run_use(run, &run->uses[i], &wanted);
		if (result == COI_SUCCESS)
			memcpy(at, &wanted, sizeof(wanted));
		at += sizeof(wanted);
	}
	if (what->misc_bytes)
		memcpy(at, misc, what->misc_bytes);
	return result;
}

/* Whether it leaves something in a buffer that streams to the source. */
static bool run_leaves(const struct run *run)
{
	for (uint32_t i = 0; i < run->use_count; i++) {
		if (run->uses[i].buffer->type == COI_BUFFER_STREAMING_TO_SOURCE)
			return true;
	}
	return false;
}

/* With the lock: the order among the uses of its buffers; then it is queued. */
static COIRESULT run_queue(struct run *run, uint32_t count, const COIEVENT *events)
{
	struct operation *operation = &run->operation;
	COIRESULT result = operation_after_all(operation, count, events);

	if (result != COI_SUCCESS)
		return result;
	operation->done = event_begin();
	run->uses_done = run->use_count ? event_begin() : 0;
	event_is_runs(operation->done, operation);
	/* The source takes what such a buffer holds before the next function may write there. */
	run->wanted = run_leaves(run);
	operation->pipeline->queued_wanted += run->wanted;
	if (!run->wanted)
		event_is_runs(run->uses_done, operation);
	for (uint32_t i = 0; i < run->use_count; i++) {
		const struct use *use = &run->uses[i];

		/* A version of a streaming buffer is written into the sink for each. */
		buffer_use(use->buffer, operation, run->uses_done,
			   use->access != COI_SINK_READ || use->version);
	}
	operation->ready = run_ready;
	run->header = (struct coi_header){ .type = COI_RUN, .tag = (uint32_t)operation->done };
	note_take(&run->note, run->process, note_context(), event_value(operation->done));
	STAILQ_INSERT_TAIL(&run->operation.pipeline->queued, operation, next);
	run->operation.pipeline->queued_count++;
	return COI_SUCCESS;
}

COI_EXPORT COIRESULT COIPipelineRunFunction(
	COIPIPELINE in_Pipeline, COIFUNCTION in_Function, uint32_t in_NumBuffers,
	const COIBUFFER *in_pBuffers, const COI_ACCESS_FLAGS *in_pBufferAccessFlags,
	uint32_t in_NumDependencies, const COIEVENT *in_pDependencies, const void *in_pMiscData,
	uint16_t in_MiscDataLen, void *out_pAsyncReturnValue, uint16_t in_AsyncReturnValueLen,
	COIEVENT *out_pCompletion)
{
	struct coi_run what = { .buffers = in_NumBuffers,
				.misc_bytes = in_MiscDataLen,
				.return_bytes = in_AsyncReturnValueLen };
	COIRESULT result =
		run_check(in_NumBuffers, in_pBuffers, in_pBufferAccessFlags, in_pMiscData,
			  in_MiscDataLen, out_pAsyncReturnValue, in_AsyncReturnValueLen);
	struct run *run;
	uint64_t done;

	if (result != COI_SUCCESS)
		return result;
	run = calloc(1, sizeof(*run) + in_NumBuffers * sizeof(run->uses[0]));
	if (!run)
		return COI_OUT_OF_MEMORY;
	run->operation.pipeline = in_Pipeline;
	run->answer = out_pAsyncReturnValue;
	run->answer_bytes = in_AsyncReturnValueLen;
	pthread_mutex_lock(&host_lock);
	if (!object_is(in_Pipeline, OBJECT_PIPELINE) || !object_is(in_Function, OBJECT_FUNCTION) ||
	    in_Function->process != in_Pipeline->process)
		result = COI_INVALID_HANDLE;
	else if (in_Pipeline->failed)
		result = COI_PROCESS_DIED;
	if (result == COI_SUCCESS) {
		run->process = in_Pipeline->process;
		what.function = in_Function->address;
		result = run_fill(run, &what, in_pBuffers, in_pBufferAccessFlags, in_pMiscData);
	}
	if (result == COI_SUCCESS)
		result = run_queue(run, in_NumDependencies, in_pDependencies);
	if (result != COI_SUCCESS) {
		run_free(run);
		pthread_mutex_unlock(&host_lock);
		return result;
	}
	done = run->operation.done;
	if (out_pCompletion && out_pCompletion != COI_EVENT_ASYNC &&
	    out_pCompletion != COI_EVENT_SYNC)
		*out_pCompletion = event_value(done);
	pipeline_pump(in_Pipeline, out_pCompletion == COI_EVENT_SYNC);
	pthread_mutex_unlock(&host_lock);
	return out_pCompletion == COI_EVENT_SYNC ? event_wait(done) : COI_SUCCESS;
}

COI_EXPORT COIRESULT COIPipelineGetEngine(COIPIPELINE in_Pipeline, COIENGINE *out_pEngine)
{
	COIRESULT result = COI_SUCCESS;

	if (!out_pEngine)
		return COI_INVALID_POINTER;
	pthread_mutex_lock(&host_lock);
	if (!object_is(in_Pipeline, OBJECT_PIPELINE))
		result = COI_INVALID_HANDLE;
	else if (in_Pipeline->failed)
		result = COI_PROCESS_DIED;
	else
		*out_pEngine = in_Pipeline->process->engine;
	pthread_mutex_unlock(&host_lock);
	return result;
}

COI_EXPORT COIRESULT COIPipelineSetCPUMask(COIPROCESS in_Process, uint32_t in_CoreID,
					   uint8_t in_ThreadID, COI_CPU_MASK *out_pMask)
{
	COIRESULT result = COI_SUCCESS;
	uint32_t thread = 0, beside = 0;

	if (!out_pMask)
		return COI_INVALID_POINTER;
	pthread_mutex_lock(&host_lock);
	if (!process_is(in_Process)) {
		result = COI_INVALID_HANDLE;
	} else {
		beside = in_Process->card.welcome.threads_per_core;
		thread = in_CoreID * beside + in_ThreadID;
		if (in_CoreID >= in_Process->card.welcome.cores || in_ThreadID >= beside ||
		    thread >= COI_MAX_HW_THREADS)
			result = COI_OUT_OF_RANGE;
	}
	pthread_mutex_unlock(&host_lock);
	if (result == COI_SUCCESS)
		(*out_pMask)[thread / 64] |= 1ull << (thread % 64);
	return result;
}

COI_EXPORT COIRESULT COIPipelineClearCPUMask(COI_CPU_MASK *in_Mask)
{
	if (!in_Mask)
		return COI_INVALID_POINTER;
	memset(*in_Mask, 0, sizeof(*in_Mask));
	return COI_SUCCESS;
}
