/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pipeline of the sink: its thread takes run functions from its connection, one after another,
 * and answers each. Nothing runs before the program has said so, nor after the source has asked for
 * the end.
 *
 * Answers to LAZY runs are held as long as more is at hand, so that a row of short functions costs
 * the source one message; what is held is sent before anything else is, and by whoever finds out
 * that it must not wait: the pipeline's thread when it runs dry, the control thread on PROMPT.
 *
 * After each function what has come is taken out of the ring, up to COI_PIPELINE_AHEAD_BYTES, and
 * the source is told (TAKEN), since it sends no more than the ring holds. So a long row of short
 * functions soon lies here, and the source sleeps until there are answers.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "include/intel-coi/sink/COIPipeline_sink.h"
#include "scif/coi/device/sink.h"
#include "scif/coi/export.h"

/* Waits for the gate; false when the end came. The pipeline is busy from then on. */
static bool pipeline_enter(struct pipeline *pipeline)
{
	bool may;

	pthread_mutex_lock(&sink.lock);
	while (!sink.started && !sink.ending)
		pthread_cond_wait(&sink.changed, &sink.lock);
	may = pipeline->busy = !sink.ending;
	pthread_mutex_unlock(&sink.lock);
	return may;
}

/* It goes on being busy while it holds answers: the process must not end before they are sent. */
static void pipeline_leave(struct pipeline *pipeline)
{
	pthread_mutex_lock(&sink.lock);
	pthread_mutex_lock(&pipeline->sending);
	pipeline->busy = pipeline->held_bytes > 0;
	pthread_mutex_unlock(&pipeline->sending);
	if (sink.ending)
		pthread_cond_broadcast(&sink.changed);
	pthread_mutex_unlock(&sink.lock);
}

void pipeline_idle_wait(void)
{
	struct pipeline *pipeline;
	bool busy;

	pthread_mutex_lock(&sink.lock);
	do {
		busy = false;
		LIST_FOREACH(pipeline, &sink.pipelines, link)
		{
			busy = busy || pipeline->busy;
		}
		if (busy)
			pthread_cond_wait(&sink.changed, &sink.lock);
	} while (busy);
	pthread_mutex_unlock(&sink.lock);
}

static COIRESULT pipeline_make_room(struct pipeline *pipeline, uint32_t count)
{
	void **addresses;
	uint64_t *lengths;

	if (count <= pipeline->room)
		return COI_SUCCESS;
	addresses = realloc(pipeline->addresses, count * sizeof(addresses[0]));
	if (addresses)
		pipeline->addresses = addresses;
	lengths = realloc(pipeline->lengths, count * sizeof(lengths[0]));
	if (lengths)
		pipeline->lengths = lengths;
	if (!addresses || !lengths)
		return COI_OUT_OF_MEMORY;
	pipeline->room = count;
	return COI_SUCCESS;
}

/* Calls the function with what the message says; @answer has room for what it returns. */
static COIRESULT pipeline_call(struct pipeline *pipeline, const struct message_run *run,
			       void *answer)
{
	RunFunctionPtr_t function = (RunFunctionPtr_t)(uintptr_t)run->run.function;
	COIRESULT result = pipeline_make_room(pipeline, run->run.buffers);
	uint32_t held = 0;

	while (held < run->run.buffers && result == COI_SUCCESS) {
		struct coi_run_buffer wanted = message_run_buffer(run, held);

		result = memory_hold(pipeline, &wanted, &pipeline->addresses[held],
				     &pipeline->lengths[held]);
		held += result == COI_SUCCESS;
	}
	if (result == COI_SUCCESS)
		function(run->run.buffers, pipeline->addresses, pipeline->lengths,
			 run->run.misc_bytes ? (void *)run->misc : NULL, run->run.misc_bytes,
			 run->run.return_bytes ? answer : NULL, run->run.return_bytes);
	while (held--)
		memory_release(message_run_buffer(run, held).id);
	return result;
}

/* With the sending lock: what is held goes; 0 or -errno. */
static int pipeline_flush(struct pipeline *pipeline)
{
	size_t bytes = pipeline->held_bytes;

	pipeline->held_bytes = 0;
	return bytes ? message_send_all(pipeline->epd, pipeline->held, bytes) : 0;
}

int pipeline_hold(struct pipeline *pipeline, struct coi_header *header, const struct iovec *part)
{
	size_t bytes = part ? part->iov_len : 0;
	int status = 0;

	pthread_mutex_lock(&pipeline->sending);
	if (sizeof(*header) + bytes > sizeof(pipeline->held) - pipeline->held_bytes)
		status = pipeline_flush(pipeline);
	if (status == 0 && sizeof(*header) + bytes > sizeof(pipeline->held)) {
		status = message_send(pipeline->epd, header, part, 1);
	} else if (status == 0) {
		header->bytes = (uint32_t)bytes;
		memcpy(pipeline->held + pipeline->held_bytes, header, sizeof(*header));
		pipeline->held_bytes += sizeof(*header);
		if (bytes)
			memcpy(pipeline->held + pipeline->held_bytes, part->iov_base, bytes);
		pipeline->held_bytes += bytes;
	}
	pthread_mutex_unlock(&pipeline->sending);
	return status;
}

void pipeline_prompt(uint64_t number)
{
	struct pipeline *pipeline;

	pthread_mutex_lock(&sink.lock);
	LIST_FOREACH(pipeline, &sink.pipelines, link)
	{
		if (pipeline->greeting.pipeline != number)
			continue;
		pthread_mutex_lock(&pipeline->sending);
		pipeline->prompt = true;
		pipeline_flush(pipeline); /* a connection that broke ends its thread */
		pthread_mutex_unlock(&pipeline->sending);
	}
	pthread_mutex_unlock(&sink.lock);
}

/* A message of its own accord, behind what is held; 0 or -errno. */
static int pipeline_tell(struct pipeline *pipeline, struct coi_header header)
{
	int status = pipeline_hold(pipeline, &header, NULL);

	pthread_mutex_lock(&pipeline->sending);
	if (status == 0)
		status = pipeline_flush(pipeline);
	pthread_mutex_unlock(&pipeline->sending);
	return status;
}

/* TAKEN, when that is worth a message; 0 or -errno. */
static int pipeline_tell_taken(struct pipeline *pipeline)
{
	uint64_t taken = pipeline->stream.taken;

	if (taken - pipeline->told < COI_PIPELINE_TOLD_BYTES)
		return 0;
	pipeline->told = taken;
	return pipeline_tell(pipeline, (struct coi_header){ .type = COI_TAKEN, .value = taken });
}

/* The answer to a RUN; it may be held back when the source said so and more is at hand. */
static int pipeline_answer(struct pipeline *pipeline, struct coi_header *reply, struct iovec *part,
			   bool lazy)
{
	bool dry = !message_stream_more(&pipeline->stream);
	int status;

	if (part->iov_len <= sizeof(reply->value)) {
		reply->type = COI_COMPLETE_SHORT;
		memcpy(&reply->value, part->iov_base, part->iov_len);
		part->iov_len = 0;
	}
	status = pipeline_hold(pipeline, reply, part);
	pthread_mutex_lock(&pipeline->sending);
	if (status == 0 && (!lazy || dry || pipeline->prompt))
		status = pipeline_flush(pipeline);
	if (dry)
		pipeline->prompt = false;
	pthread_mutex_unlock(&pipeline->sending);
	return status < 0 ? status : pipeline_tell_taken(pipeline);
}

/* Executes one RUN and answers it; 0, or -errno to end the pipeline. */
static int pipeline_run(struct pipeline *pipeline, struct coi_header *header,
			const unsigned char *payload)
{
	struct coi_header reply = { .type = COI_COMPLETE, .tag = header->tag };
	struct message_run run;
	struct iovec part;
	int status =
		header->type == COI_RUN ? message_run_parse(payload, header->bytes, &run) : -EPROTO;

	if (status < 0)
		return status;
	part = (struct iovec){ calloc(1, run.run.return_bytes + 1u), run.run.return_bytes };
	if (!part.iov_base)
		return -ENOMEM;
	if (!pipeline_enter(pipeline)) {
		free(part.iov_base);
		return -ECANCELED;
	}
	threads_follow();
	status = pipeline_tell_taken(pipeline);
	if (status == 0 && header->value & COI_RUN_TELLS)
		status = pipeline_tell(
			pipeline, (struct coi_header){ .type = COI_STARTED, .tag = header->tag });
	reply.result = pipeline_call(pipeline, &run, part.iov_base);
	if (status == 0)
		status = pipeline_answer(pipeline, &reply, &part, header->value & COI_RUN_LAZY);
	pipeline_leave(pipeline);
	free(part.iov_base);
	return status;
}

static void pipeline_pin(const struct coi_greeting *greeting)
{
	cpu_set_t processors;
	bool any = false;

	CPU_ZERO(&processors);
	for (unsigned int i = 0; i < 1024; i++) {
		if (!(greeting->mask[i / 64] >> (i % 64) & 1))
			continue;
		any = true;
		if (i < CPU_SETSIZE)
			CPU_SET(i, &processors);
	}
	/* A processor that is not this card's is no reason to fail: the mask is a wish. */
	if (any)
		sched_setaffinity(0, sizeof(processors), &processors);
}

static void *pipeline_serve(void *argument)
{
	struct pipeline *pipeline = argument;
	struct coi_header header = { .type = COI_WELCOME };
	unsigned char *payload;
	int status = message_send(pipeline->epd, &header, NULL, 0);

	pipeline_pin(&pipeline->greeting);
	while (status == 0) {
		status = message_stream_next(&pipeline->stream, true, &header, &payload);
		if (status == 0)
			status = pipeline_run(pipeline, &header, payload);
	}
	pthread_mutex_lock(&pipeline->sending);
	pipeline_flush(pipeline);
	pthread_mutex_unlock(&pipeline->sending);
	memory_forget(pipeline);
	scif_close(pipeline->epd);
	pthread_mutex_lock(&sink.lock);
	LIST_REMOVE(pipeline, link);
	sink.pipeline_count--;
	pthread_cond_broadcast(&sink.changed);
	pthread_mutex_unlock(&sink.lock);
	message_stream_close(&pipeline->stream);
	free(pipeline->addresses);
	free(pipeline->lengths);
	free(pipeline);
	return NULL;
}

int pipeline_open(scif_epd_t epd, const struct coi_greeting *greeting)
{
	struct pipeline *pipeline = calloc(1, sizeof(*pipeline));
	pthread_attr_t attributes;
	int status = 0;

	if (!pipeline ||
	    message_stream_open(&pipeline->stream, epd, COI_PIPELINE_AHEAD_BYTES) < 0) {
		free(pipeline);
		return -ENOMEM;
	}
	pipeline->epd = epd;
	pipeline->greeting = *greeting;
	pthread_mutex_init(&pipeline->sending, NULL);
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	if (greeting->stack_bytes &&
	    pthread_attr_setstacksize(&attributes, greeting->stack_bytes) != 0)
		status = -EINVAL;
	pthread_mutex_lock(&sink.lock);
	if (sink.pipeline_count == COI_PIPELINES_MAX)
		status = -EAGAIN;
	if (status == 0)
		status = -pthread_create(&pipeline->thread, &attributes, pipeline_serve, pipeline);
	if (status == 0) {
		LIST_INSERT_HEAD(&sink.pipelines, pipeline, link);
		sink.pipeline_count++;
	}
	pthread_mutex_unlock(&sink.lock);
	pthread_attr_destroy(&attributes);
	if (status < 0) {
		message_stream_close(&pipeline->stream);
		free(pipeline);
	}
	return status;
}

COI_EXPORT COIRESULT COIPipelineStartExecutingRunFunctions(void)
{
	if (!sink.offloaded)
		return COI_NOT_INITIALIZED;
	pthread_mutex_lock(&sink.lock);
	sink.started = true;
	pthread_cond_broadcast(&sink.changed);
	pthread_mutex_unlock(&sink.lock);
	return COI_SUCCESS;
}
