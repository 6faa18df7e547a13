/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client's side of launching a program on a card: what micnativeloadex and libcoi_host share.
 *
 * The order of calls is that of proto/card-launch.h: connect, need, send files, start, then next
 * for whatever the card says, until CARD_EXITED. Closing ends the program.
 *
 * Threads: one at a time, but that card_send_input(), card_end_input(), card_signal() and
 * card_flush() may be called beside a card_next() that waits (these hold the connection's lock
 * while they send). Errors: -errno with a sentence; -ECONNRESET means that the card is lost.
 */
#ifndef CAUSEWAY_SCIF_CARD_CLIENT_H
#define CAUSEWAY_SCIF_CARD_CLIENT_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/scif.h"
#include "lib/base/error.h"
#include "proto/card-launch.h"

struct card_connection {
	scif_epd_t epd;
	uint16_t node;
	struct card_welcome welcome;
	unsigned char token[CARD_TOKEN_BYTES]; /* once started */
	uint64_t process_id;		       /* once started */
	pthread_mutex_t sending;	       /* guards what is written to epd, and credit */
	pthread_cond_t credit_came;
	uint64_t credit; /* bytes of input that the card takes now */
	bool ended;	 /* no more credit will come */
};

/* What the card said; text points into the caller's room. */
struct card_event {
	enum card_frame_type type; /* CARD_OUTPUT, _ERRORS, _PORT_OPEN, _FLUSHED, _EXITED */
	uint64_t value;		   /* PORT_OPEN: the port; FLUSHED: the number */
	char *data;		   /* OUTPUT, ERRORS */
	size_t bytes;
	struct card_exited exited;
};

/**
 * card_connect - a connection to causeway-card on @node
 *
 * Return: 0; -ENODEV no such card; -ECONNREFUSED its daemon is not running; what the card refuses
 * with; with a sentence. After success the caller owes card_close().
 */
int card_connect(struct card_connection *card, uint16_t node, const struct card_hello *hello,
		 struct error *error);
void card_close(struct card_connection *card);

/**
 * card_need - which of the libraries the card lacks
 * @names: @count names; those that the card has are set to NULL
 */
int card_need(struct card_connection *card, const char **names, size_t count, struct error *error);

/* card_send_file - the file at @path, as @name; 0 or -errno with a sentence */
int card_send_file(struct card_connection *card, enum card_file_kind kind, const char *path,
		   const char *name, struct error *error);
/* card_send_bytes - the same for a file that lies in memory */
int card_send_bytes(struct card_connection *card, enum card_file_kind kind, const void *data,
		    size_t bytes, const char *name, struct error *error);

/**
 * card_start - start the program that was sent, and wait until it runs
 * @arguments, @variables: NULL-ended; variables may be NULL
 * @waits: called with the place in the queue when the card has the program wait; may be NULL
 *
 * Return: 0 once it runs; -errno with the card's sentence where it was refused: -EBUSY the card is
 * full, -ENOEXEC no program for this card, -ENOENT what it needs is missing.
 */
int card_start(struct card_connection *card, char *const *arguments, char *const *variables,
	       void (*waits)(uint64_t place), struct error *error);

/**
 * card_next - wait for what the card says next
 * @room: CARD_PAYLOAD_MAX + 1 bytes
 */
int card_next(struct card_connection *card, struct card_event *event, char *room,
	      struct error *error);

/* card_send_input - to the program's standard input; waits for credit. 0 or -errno */
int card_send_input(struct card_connection *card, const void *data, size_t bytes);
int card_end_input(struct card_connection *card);
int card_signal(struct card_connection *card, int number);
/* card_flush - CARD_FLUSHED shall come behind what the program has written by now */
int card_flush(struct card_connection *card, uint64_t number);

#endif
