/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker's state: one connection, its files, its program. Before the program runs there is one
 * thread. From then on worker_receive() is a second one; what both touch is marked.
 */
#ifndef CAUSEWAY_SCIF_CARD_WORKER_H
#define CAUSEWAY_SCIF_CARD_WORKER_H

#include <pthread.h>

#include "scif/card/sandbox.h"

struct worker {
	const struct card_settings *settings;
	scif_epd_t epd;
	unsigned int node;
	int supervisor;
	struct card_hello hello;
	unsigned char *window;
	struct sandbox box;
	struct card_answer granted;

	/* files */
	int file; /* being sent, or -1 */
	uint64_t file_left, file_taken, bytes_taken;
	unsigned int files;
	char program[CARD_NAME_MAX + 1]; /* empty: none was sent */

	/* the program's input; protected by lock */
	pthread_mutex_t lock;
	char input[CARD_INPUT_CREDIT];
	size_t input_used;
	bool input_ended;
	bool lost;	/* the connection */
	uint64_t flush; /* the last number of FLUSH */

	uint64_t flushed;		    /* the last that was answered */
	int wake_fd;			    /* eventfd: input came, or the connection is lost */
	char payload[CARD_PAYLOAD_MAX + 1]; /* of the thread that receives */
	uint64_t started_us;
};

/* worker_files.c: one function for each frame before START; 0 or -errno with a sentence */
int worker_take_need(struct worker *worker, const struct card_frame *frame, struct error *error);
int worker_take_file(struct worker *worker, const struct card_frame *frame, struct error *error);
int worker_take_data(struct worker *worker, const struct card_frame *frame, struct error *error);
/* worker_take_strings - START's strings, of which there is room for 2 * CARD_STRINGS_MAX */
int worker_take_strings(struct worker *worker, const struct card_frame *frame, char **strings,
			struct card_start *start, struct error *error);

/* worker_program.c */
/* worker_start_program - as START says: admission, sandbox; 0 once it runs */
int worker_start_program(struct worker *worker, const struct card_frame *frame,
			 struct error *error);
/* worker_carry - input and output until the program's end, which is told to both sides */
void worker_carry(struct worker *worker);

/* worker_ask - a message to the supervisor; 0 or -errno */
int worker_ask(struct worker *worker, const struct card_ask *ask);
/* worker_answer - the next from it; -EPIPE when it is gone, or wants this worker to end */
int worker_answer(struct worker *worker, struct card_answer *answer);

#endif
