/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One client of a shared card, as in the thesis's table 5.1: data stays on the card; the program
 * sleeps a random time, then has 1024 reductions done on the data there, and so on until its time
 * is over. Prints how often it did, and how long the reductions took.
 *
 * usage: card_sharing SINK SECONDS SLEEP_MS SEED
 *	sleeps are uniform from 0 to SLEEP_MS; waits for a line on standard input before it begins
 */
#include <source/COIBuffer_source.h>
#include <source/COIEngine_source.h>
#include <source/COIEvent_source.h>
#include <source/COIPipeline_source.h>
#include <source/COIProcess_source.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ELEMENTS   4096
#define REDUCTIONS 1024

struct card {
	COIPROCESS process;
	COIPIPELINE pipeline;
	COIFUNCTION function;
	COIBUFFER buffer;
};

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void check(COIRESULT result, const char *what)
{
	if (result == COI_SUCCESS)
		return;
	fprintf(stderr, "card_sharing: %s: %s\n", what, COIResultGetName(result));
	exit(1);
}

static void open_card(struct card *card, const char *sink)
{
	static double data[ELEMENTS];
	const char *name = "reduce";
	COIENGINE engine;

	for (int i = 0; i < ELEMENTS; i++)
		data[i] = i % 7;
	check(COIEngineGetHandle(COI_ISA_MIC, 0, &engine), "engine");
	check(COIProcessCreateFromFile(engine, sink, 0, NULL, 0, NULL, 0, NULL, 0, NULL,
				       &card->process),
	      "process");
	check(COIProcessGetFunctionHandles(card->process, 1, &name, &card->function), "function");
	check(COIPipelineCreate(card->process, NULL, 0, &card->pipeline), "pipeline");
	check(COIBufferCreate(sizeof(data), COI_BUFFER_NORMAL, 0, data, 1, &card->process,
			      &card->buffer),
	      "buffer");
}

/* The reductions, once; their sum. */
static double reduce(struct card *card)
{
	const COI_ACCESS_FLAGS access = COI_SINK_READ;
	unsigned int count = REDUCTIONS;
	COIEVENT done;
	double sum = 0;

	check(COIPipelineRunFunction(card->pipeline, card->function, 1, &card->buffer, &access, 0,
				     NULL, &count, sizeof(count), &sum, sizeof(sum), &done),
	      "run function");
	check(COIEventWait(1, &done, -1, 1, NULL, NULL), "wait");
	return sum;
}

int main(int argc, char **argv)
{
	double seconds = argc == 5 ? atof(argv[2]) : 0, sleep_ms = argc == 5 ? atof(argv[3]) : -1;
	double expected, begin, working = 0;
	unsigned long operations = 0;
	struct card card;

	if (seconds <= 0 || sleep_ms < 0) {
		fprintf(stderr, "usage: card_sharing SINK SECONDS SLEEP_MS SEED\n");
		return 64;
	}
	srand48(atol(argv[4]));
	open_card(&card, argv[1]);
	expected = reduce(&card);
	puts("ready");
	fflush(stdout);
	if (getchar() == EOF)
		return 1;
	begin = now();
	for (;;) {
		double pause = drand48() * sleep_ms / 1000, started;
		struct timespec time = { (time_t)pause,
					 (long)((pause - (double)(time_t)pause) * 1e9) };

		nanosleep(&time, NULL);
		started = now();
		if (started - begin >= seconds)
			break;
		if (reduce(&card) != expected) {
			fprintf(stderr, "card_sharing: a wrong sum\n");
			return 1;
		}
		working += now() - started;
		operations++;
	}
	printf("operations %lu ms %.3f\n", operations,
	       operations ? working / (double)operations * 1000 : 0.0);
	check(COIProcessDestroy(card.process, -1, 0, NULL, NULL), "end");
	return 0;
}
