/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcoi_device: what a program on the card needs to be a sink.
 *
 *	sink_begin      (constructor) listens, tells its port to who started the program
 *	sink_serve      takes the source's control and data connection, then serves the former
 *	sink_accept_all takes connections for pipelines
 *	pipeline.c      executes run functions
 *	memory.c        buffers: windows of the data connection
 *	library.c       functions by name, libraries
 *
 * A program that was not started for offload has none of it: calls return COI_NOT_INITIALIZED.
 */
#include "scif/coi/device/sink.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "include/intel-coi/common/COIEngine_common.h"
#include "include/intel-coi/common/COIEvent_common.h"
#include "include/intel-coi/sink/COIProcess_sink.h"
#include "scif/coi/export.h"

#define SINK_DRAIN_LOOKS 20000 /* two seconds and more */

struct sink sink = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.changed = PTHREAD_COND_INITIALIZER,
	.telling = PTHREAD_MUTEX_INITIALIZER,
	.listener = -1,
	.control = -1,
	.data = -1,
};

int sink_tell(uint32_t type, uint64_t value, const void *payload, size_t bytes)
{
	struct coi_header header = { .type = type, .value = value };
	struct iovec part = { (void *)payload, bytes };
	int status;

	pthread_mutex_lock(&sink.telling);
	status = message_send(sink.control, &header, &part, 1);
	pthread_mutex_unlock(&sink.telling);
	return status;
}

/* No further run function begins; who waits for the end goes on. */
static void sink_end(void)
{
	pthread_mutex_lock(&sink.lock);
	sink.ending = true;
	pthread_cond_broadcast(&sink.changed);
	pthread_mutex_unlock(&sink.lock);
}

/* FUNCTIONS: an address for each name, 0 for what there is not. */
static int sink_functions(const struct coi_header *header, const unsigned char *payload,
			  uint64_t *found)
{
	const char *names[COI_FUNCTIONS_MAX];
	int status = message_names_parse(payload, header->bytes, header->value, names);

	for (uint64_t i = 0; status == 0 && i < header->value; i++)
		found[i] = (uintptr_t)library_find(names[i]);
	return status;
}

static int sink_library(const struct coi_header *header, const unsigned char *payload,
			struct coi_header *reply)
{
	struct coi_library library;
	const char *name;
	int status = message_library_parse(payload, header->bytes, &library, &name);

	if (status == 0)
		reply->result = library_load(&library, name, &reply->value);
	return status;
}

/* The source has printed what there was at PRINT @number. */
static void sink_printed(uint64_t number)
{
	pthread_mutex_lock(&sink.lock);
	sink.printed = number;
	pthread_cond_broadcast(&sink.changed);
	pthread_mutex_unlock(&sink.lock);
}

/* Does what one control message asks; fills the reply and @answer. 0 or -EPROTO. */
static int sink_do(const struct coi_header *header, const unsigned char *payload,
		   struct coi_header *reply, void *answer, size_t *answer_bytes)
{
	struct coi_buffer buffer;
	struct coi_section section;
	struct coi_copy copy;
	int status = 0;

	switch (header->type) {
	case COI_FUNCTIONS:
		status = sink_functions(header, payload, answer);
		*answer_bytes = header->value * sizeof(uint64_t);
		return status;
	case COI_BUFFER_NEW:
		status = message_fixed(payload, header->bytes, &buffer, sizeof(buffer));
		if (status == 0)
			reply->result = memory_new(&buffer, answer);
		*answer_bytes = sizeof(struct coi_place);
		return status;
	case COI_BUFFER_END:
		reply->result = memory_end(header->value);
		return 0;
	case COI_COPY:
		status = message_fixed(payload, header->bytes, &copy, sizeof(copy));
		if (status == 0)
			reply->result = memory_copy(&copy);
		return status;
	case COI_SECTION:
		status = message_fixed(payload, header->bytes, &section, sizeof(section));
		if (status == 0)
			reply->result = memory_section(&section, header->value);
		return status;
	case COI_LIBRARY_LOAD:
		return sink_library(header, payload, reply);
	case COI_LIBRARY_UNLOAD:
		reply->result = library_unload(header->value);
		return 0;
	case COI_PROMPT:
		pipeline_prompt(header->value);
		return 0;
	case COI_PRINTED:
		sink_printed(header->value);
		return 0;
	case COI_SHUTDOWN:
		sink_end();
		return 0;
	default:
		return -EPROTO;
	}
}

/* One control message and its answer; 0 or -errno. */
static int sink_answer(void)
{
	uint64_t answer[COI_FUNCTIONS_MAX] = { 0 };
	struct coi_header header, reply = { .type = COI_REPLY };
	struct iovec part = { answer, 0 };
	unsigned char *payload;
	int status = message_receive(sink.control, &header, &payload);

	if (status == 0) {
		reply.tag = header.tag;
		status = sink_do(&header, payload, &reply, answer, &part.iov_len);
	}
	free(payload);
	if (status < 0)
		return status;
	pthread_mutex_lock(&sink.telling);
	status = message_send(sink.control, &reply, &part, 1);
	pthread_mutex_unlock(&sink.telling);
	return status;
}

/* The next connection with a greeting that is right; -errno when the listener is gone. */
static int sink_accept(struct coi_greeting *greeting)
{
	for (;;) {
		struct scif_portID peer;
		scif_epd_t epd;

		if (scif_accept(sink.listener, &peer, &epd, SCIF_ACCEPT_SYNC) < 0) {
			if (errno == EINTR && !sink.ending)
				continue;
			return -errno;
		}
		if (peer.node == sink.client &&
		    message_receive_all(epd, greeting, sizeof(*greeting)) == 0 &&
		    message_greeting_check(greeting, sink.token) == 0)
			return epd;
		scif_close(epd);
	}
}

static int sink_welcome(scif_epd_t epd)
{
	struct coi_header header = { .type = COI_WELCOME };

	return message_send(epd, &header, NULL, 0);
}

/* Pipelines' connections, until the listener goes. */
static void *sink_accept_all(void *unused)
{
	struct coi_greeting greeting;
	scif_epd_t epd;

	while ((epd = sink_accept(&greeting)) >= 0) {
		if (greeting.role != COI_ROLE_PIPELINE || pipeline_open(epd, &greeting) < 0)
			scif_close(epd);
	}
	return unused;
}

/* The control thread: the source's first two connections, then its messages. */
static void *sink_serve(void *unused)
{
	struct coi_greeting greeting;
	pthread_t acceptor;
	int status = 0;

	while (sink.control < 0 || sink.data < 0) {
		scif_epd_t epd = sink_accept(&greeting);
		scif_epd_t *place = greeting.role == COI_ROLE_CONTROL ? &sink.control : &sink.data;

		if (epd < 0)
			return unused;
		if (greeting.role == COI_ROLE_PIPELINE || *place >= 0) {
			scif_close(epd);
			continue;
		}
		*place = epd;
		status = sink_welcome(epd);
		if (status < 0)
			break;
	}
	if (status == 0)
		status = -pthread_create(&acceptor, NULL, sink_accept_all, NULL);
	if (status == 0)
		pthread_detach(acceptor);
	while (status == 0)
		status = sink_answer();
	pthread_mutex_lock(&sink.lock);
	sink.lost = true;
	pthread_mutex_unlock(&sink.lock);
	sink_end();
	return unused;
}

static int sink_token(const char *text)
{
	for (unsigned int i = 0; i < COI_TOKEN_BYTES; i++) {
		unsigned int byte;

		if (sscanf(text + 2 * (size_t)i, "%2x", &byte) != 1)
			return -EINVAL;
		sink.token[i] = (uint8_t)byte;
	}
	return 0;
}

/* Tells the port to who started the program. */
static int sink_publish(int fd, int port)
{
	unsigned char bytes[2] = { (unsigned char)port, (unsigned char)(port >> 8) };
	ssize_t written = write(fd, bytes, sizeof(bytes));

	close(fd);
	return written == sizeof(bytes) ? 0 : -EPIPE;
}

/* Begins with the process, when its environment says that a source wants it. */
__attribute__((constructor)) static void sink_begin(void)
{
	const char *token = getenv("CAUSEWAY_CARD_TOKEN"), *fd = getenv("CAUSEWAY_CARD_FD");
	const char *client = getenv("CAUSEWAY_CARD_CLIENT");
	pthread_t thread;
	int port;

	if (!token || !fd || !client || strlen(token) != 2 * COI_TOKEN_BYTES ||
	    sink_token(token) < 0)
		return;
	sink.client = (uint16_t)atoi(client);
	sink.threads_follow = getenv("CAUSEWAY_CARD_THREADS") != NULL;
	sink.listener = scif_open();
	port = sink.listener < 0 ? -1 : scif_bind(sink.listener, 0);
	if (port < 0 || scif_listen(sink.listener, 16) < 0 ||
	    pthread_create(&thread, NULL, sink_serve, NULL) != 0) {
		fprintf(stderr, "libcoi_device: cannot listen: %s\n", strerror(errno));
		return;
	}
	pthread_detach(thread);
	sink.offloaded = true;
	unsetenv("CAUSEWAY_CARD_TOKEN");
	if (sink_publish(atoi(fd), port) < 0)
		fprintf(stderr, "libcoi_device: nobody takes the port\n");
	unsetenv("CAUSEWAY_CARD_FD");
}

COI_EXPORT COIRESULT COIProcessWaitForShutdown(void)
{
	if (!sink.offloaded)
		return COI_NOT_INITIALIZED;
	pthread_mutex_lock(&sink.lock);
	while (!sink.ending)
		pthread_cond_wait(&sink.changed, &sink.lock);
	pthread_mutex_unlock(&sink.lock);
	pipeline_idle_wait();
	return COI_SUCCESS;
}

/* Waits until whoever carries the output has taken it, for a while. */
static void sink_drain(int fd)
{
	const struct timespec pause = { 0, 100000 };
	int left = 0;

	for (unsigned int i = 0; i < SINK_DRAIN_LOOKS; i++) {
		if (ioctl(fd, FIONREAD, &left) < 0 || left == 0)
			return;
		nanosleep(&pause, NULL);
	}
}

/* Waits until the source has printed what was written by now; false when there is none. */
static bool sink_print(void)
{
	uint64_t number;
	bool told;

	pthread_mutex_lock(&sink.telling);
	told = sink.control >= 0;
	number = ++sink.print;
	pthread_mutex_unlock(&sink.telling);
	if (!told || sink_tell(COI_PRINT, number, NULL, 0) < 0)
		return false;
	pthread_mutex_lock(&sink.lock);
	while (sink.printed < number && !sink.lost)
		pthread_cond_wait(&sink.changed, &sink.lock);
	pthread_mutex_unlock(&sink.lock);
	return true;
}

COI_EXPORT COIRESULT COIProcessProxyFlush(void)
{
	fflush(NULL);
	if (sink.offloaded && sink_print())
		return COI_SUCCESS;
	sink_drain(STDOUT_FILENO);
	sink_drain(STDERR_FILENO);
	return COI_SUCCESS;
}

COI_EXPORT COIRESULT COIEventSignalUserEvent(COIEVENT in_Event)
{
	struct coi_signal signal = { { in_Event.opaque[0], in_Event.opaque[1] } };

	if (!sink.offloaded)
		return COI_NOT_INITIALIZED;
	return sink_tell(COI_SIGNAL, 0, &signal, sizeof(signal)) < 0 ? COI_ERROR : COI_SUCCESS;
}

COI_EXPORT COIRESULT COIEngineGetIndex(COI_ISA_TYPE *out_pType, uint32_t *out_pIndex)
{
	uint16_t self = 0;

	if (!out_pType || !out_pIndex)
		return COI_INVALID_POINTER;
	scif_get_nodeIDs(NULL, 0, &self);
	*out_pType = COI_ISA_MIC;
	*out_pIndex = self ? self - 1u : 0;
	return COI_SUCCESS;
}
