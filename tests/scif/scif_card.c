/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The card test process: listens on its node and serves the commands of scif_card.h, a thread for
 * each connection. Prints "listening" when it does. usage: scif_card [PORT]
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "include/scif.h"
#include "tests/scif/scif_card.h"

#define WINDOWS_MAX 64
#define ECHO_BYTES  65536
#define AWAIT_LOOKS (1ull << 33)

struct window {
	uint64_t offset, bytes;
	unsigned char *memory;
};

struct connection {
	scif_epd_t epd;
	struct scif_portID peer;
	struct window windows[WINDOWS_MAX];
};

/* The memory behind @offset with at least @bytes of it, or NULL. */
static unsigned char *window_at(struct connection *connection, uint64_t offset, uint64_t bytes)
{
	for (unsigned int i = 0; i < WINDOWS_MAX; i++) {
		struct window *window = &connection->windows[i];

		if (window->memory && offset >= window->offset &&
		    offset - window->offset <= window->bytes &&
		    bytes <= window->bytes - (offset - window->offset))
			return window->memory + (offset - window->offset);
	}
	return NULL;
}

static int do_register(struct connection *connection, const struct scif_card_command *command,
		       uint64_t *value)
{
	struct window *window = connection->windows;
	off_t offset;

	while (window < connection->windows + WINDOWS_MAX && window->memory)
		window++;
	if (window == connection->windows + WINDOWS_MAX)
		return ENOSPC;
	window->memory = mmap(NULL, command->bytes, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (window->memory == MAP_FAILED) {
		window->memory = NULL;
		return errno;
	}
	offset = scif_register(connection->epd, window->memory, command->bytes,
			       (off_t)command->offset, SCIF_PROT_READ | SCIF_PROT_WRITE,
			       command->offset ? SCIF_MAP_FIXED : 0);
	if (offset == SCIF_REGISTER_FAILED) {
		int code = errno;

		munmap(window->memory, command->bytes);
		window->memory = NULL;
		return code;
	}
	window->offset = *value = (uint64_t)offset;
	window->bytes = command->bytes;
	return 0;
}

static int do_unregister(struct connection *connection, const struct scif_card_command *command)
{
	if (scif_unregister(connection->epd, (off_t)command->offset, command->bytes) < 0)
		return errno;
	for (unsigned int i = 0; i < WINDOWS_MAX; i++) {
		struct window *window = &connection->windows[i];

		if (!window->memory || window->offset != command->offset)
			continue;
		munmap(window->memory, window->bytes);
		window->memory = NULL;
	}
	return 0;
}

static int do_memory(struct connection *connection, const struct scif_card_command *command,
		     uint64_t *value)
{
	uint64_t bytes = command->op == SCIF_CARD_FILL || command->op == SCIF_CARD_SUM
				 ? command->bytes
				 : sizeof(uint64_t);
	unsigned char *memory = window_at(connection, command->offset, bytes);
	volatile uint64_t *word = (volatile uint64_t *)memory;

	if (!memory)
		return EINVAL;
	switch (command->op) {
	case SCIF_CARD_FILL:
		for (uint64_t i = 0; i < bytes; i++)
			memory[i] = scif_card_pattern(i, command->value);
		return 0;
	case SCIF_CARD_SUM:
		*value = scif_card_sum(memory, bytes);
		return 0;
	case SCIF_CARD_STORE:
		__atomic_store_n((uint64_t *)memory, command->value, __ATOMIC_SEQ_CST);
		return 0;
	default:
		while (*word != command->value && *value < AWAIT_LOOKS)
			++*value;
		return *word == command->value ? 0 : ETIMEDOUT;
	}
}

static int do_map_store(struct connection *connection, const struct scif_card_command *command)
{
	uint64_t *word = scif_mmap(NULL, 4096, PROT_READ | PROT_WRITE, 0, connection->epd,
				   (off_t)command->offset);

	if (word == SCIF_MMAP_FAILED)
		return errno;
	__atomic_store_n(word, command->value, __ATOMIC_SEQ_CST);
	return scif_munmap(word, 4096) < 0 ? errno : 0;
}

static int do_connect(const struct connection *connection, const struct scif_card_command *command,
		      uint64_t *value)
{
	struct scif_portID peer = { connection->peer.node, (uint16_t)command->value };
	scif_epd_t epd = scif_open();
	unsigned char byte = 'c';
	int code = 0;

	if (epd < 0)
		return errno;
	if (scif_connect(epd, &peer) < 0 || scif_send(epd, &byte, 1, SCIF_SEND_BLOCK) != 1 ||
	    scif_recv(epd, &byte, 1, SCIF_RECV_BLOCK) != 1)
		code = errno;
	*value = byte;
	scif_close(epd);
	return code;
}

static int do_echo(struct connection *connection, uint64_t bytes)
{
	static _Thread_local char buffer[ECHO_BYTES];

	while (bytes) {
		int part = bytes < ECHO_BYTES ? (int)bytes : ECHO_BYTES;

		/* What is there goes back at once, so that a ring never stands between both. */
		part = scif_recv(connection->epd, buffer, 1, SCIF_RECV_BLOCK) == 1 && part > 1
			       ? 1 + scif_recv(connection->epd, buffer + 1, part - 1, 0)
			       : part == 1;
		if (part <= 0 || scif_send(connection->epd, buffer, part, SCIF_SEND_BLOCK) != part)
			return -1;
		bytes -= (uint64_t)part;
	}
	return 0;
}

/* Serves one command; -1 ends the connection. */
static int serve(struct connection *connection, const struct scif_card_command *command)
{
	struct scif_card_answer answer = { 0 };

	switch (command->op) {
	case SCIF_CARD_ECHO:
		return do_echo(connection, command->bytes);
	case SCIF_CARD_REGISTER:
		answer.error = do_register(connection, command, &answer.value);
		break;
	case SCIF_CARD_UNREGISTER:
		answer.error = do_unregister(connection, command);
		break;
	case SCIF_CARD_FILL:
	case SCIF_CARD_SUM:
	case SCIF_CARD_AWAIT:
	case SCIF_CARD_STORE:
		answer.error = do_memory(connection, command, &answer.value);
		break;
	case SCIF_CARD_READFROM:
	case SCIF_CARD_WRITETO:
		if ((command->op == SCIF_CARD_READFROM
			     ? scif_readfrom(connection->epd, (off_t)command->offset,
					     command->bytes, (off_t)command->value, SCIF_RMA_SYNC)
			     : scif_writeto(connection->epd, (off_t)command->offset, command->bytes,
					    (off_t)command->value, SCIF_RMA_SYNC)) < 0)
			answer.error = errno;
		break;
	case SCIF_CARD_MAP_STORE:
		answer.error = do_map_store(connection, command);
		break;
	case SCIF_CARD_CONNECT:
		answer.error = do_connect(connection, command, &answer.value);
		break;
	default:
		return -1;
	}
	return scif_send(connection->epd, &answer, sizeof(answer), SCIF_SEND_BLOCK) ==
			       (int)sizeof(answer)
		       ? 0
		       : -1;
}

static void *serve_connection(void *argument)
{
	struct connection *connection = argument;
	struct scif_card_command command;

	while (scif_recv(connection->epd, &command, sizeof(command), SCIF_RECV_BLOCK) ==
		       (int)sizeof(command) &&
	       serve(connection, &command) == 0)
		continue;
	scif_close(connection->epd);
	for (unsigned int i = 0; i < WINDOWS_MAX; i++) {
		if (connection->windows[i].memory)
			munmap(connection->windows[i].memory, connection->windows[i].bytes);
	}
	free(connection);
	return NULL;
}

int main(int argc, char **argv)
{
	uint16_t port = argc > 1 ? (uint16_t)atoi(argv[1]) : SCIF_CARD_PORT;
	scif_epd_t listener = scif_open();

	if (listener < 0 || scif_bind(listener, port) < 0 || scif_listen(listener, 1024) < 0) {
		perror("scif_card: cannot listen");
		return 1;
	}
	puts("listening");
	fflush(stdout);
	for (;;) {
		struct connection *connection = calloc(1, sizeof(*connection));
		pthread_attr_t attributes;
		pthread_t thread;

		if (!connection || scif_accept(listener, &connection->peer, &connection->epd,
					       SCIF_ACCEPT_SYNC) < 0) {
			perror("scif_card: accept");
			free(connection);
			if (errno == EINTR)
				continue;
			return 1;
		}
		pthread_attr_init(&attributes);
		pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
		pthread_attr_setstacksize(&attributes, 256 << 10);
		if (pthread_create(&thread, &attributes, serve_connection, connection)) {
			scif_close(connection->epd);
			free(connection);
		}
		pthread_attr_destroy(&attributes);
	}
}
