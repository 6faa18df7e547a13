/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cases of the offload interface: what each call promises, tried against a card.
 * usage: coi_cases SINK [CASE ...]
 *
 * Prints one line for each case, and how many passed. It is an ordinary program of COI's: built
 * against its headers, the same file in a VM and on the host.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/coi/coi_cases.h"

struct offload offload;
static const char *case_name;
static unsigned int case_failures;
static bool case_skipped;

void case_fail(const char *file, int line, const char *text, long got, long wanted)
{
	printf("FAILED %s: %s:%d: %s: %ld, not %ld\n", case_name, file, line, text, got, wanted);
	fflush(stdout);
	case_failures++;
}

void case_skip(void)
{
	case_skipped = true;
}

double seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

COIRESULT offload_start(COIPROCESS *process, const char *word, const char *value)
{
	const char *arguments[] = { word, value };

	return COIProcessCreateFromFile(offload.engine, offload.sink,
					word ? 1 + (value != NULL) : 0, word ? arguments : NULL, 0,
					NULL, 1, NULL, 0, NULL, process);
}

COIFUNCTION function_of(COIPROCESS process, const char *name)
{
	COIFUNCTION function = NULL;

	RESULT(COIProcessGetFunctionHandles(process, 1, &name, &function), COI_SUCCESS);
	return function;
}

COIRESULT run_now(COIPIPELINE pipeline, const char *name, uint32_t count, const COIBUFFER *buffers,
		  const COI_ACCESS_FLAGS *access, const void *misc, uint16_t misc_bytes,
		  void *answer, uint16_t answer_bytes)
{
	COIEVENT done;
	COIRESULT result = COIPipelineRunFunction(pipeline, function_of(offload.process, name),
						  count, buffers, access, 0, NULL, misc, misc_bytes,
						  answer, answer_bytes, &done);

	return result == COI_SUCCESS ? COIEventWait(1, &done, -1, 1, NULL, NULL) : result;
}

/* Starts what a case needs, runs it, ends it. */
static int case_run(const struct test_case *one)
{
	int8_t status = -1;
	uint32_t signal_number = 99;

	case_name = one->name;
	case_failures = 0;
	case_skipped = false;
	if (!one->alone) {
		RESULT(offload_start(&offload.process, NULL, NULL), COI_SUCCESS);
		RESULT(COIPipelineCreate(offload.process, NULL, 0, &offload.pipeline), COI_SUCCESS);
	}
	if (case_failures == 0)
		one->run();
	if (!one->alone && !one->ends) {
		RESULT(COIPipelineDestroy(offload.pipeline), COI_SUCCESS);
		RESULT(COIProcessDestroy(offload.process, -1, 0, &status, &signal_number),
		       COI_SUCCESS);
		EQUAL(status, 0);
		EQUAL(signal_number, 0);
	}
	printf("%s %s\n", case_failures ? "FAILED" : case_skipped ? "skip" : "ok", one->name);
	fflush(stdout);
	return case_failures != 0;
}

static bool case_wanted(const char *name, int argc, char **argv)
{
	bool wanted = argc < 3;

	for (int i = 2; i < argc; i++)
		wanted = wanted || strcmp(argv[i], name) == 0;
	return wanted;
}

int main(int argc, char **argv)
{
	static const struct test_case *const lists[] = { process_cases, buffer_cases, event_cases };
	unsigned int passed = 0, failed = 0;

	if (argc < 2) {
		fprintf(stderr, "usage: coi_cases SINK [CASE ...]\n");
		return 2;
	}
	offload.sink = argv[1];
	if (COIEngineGetHandle(COI_ISA_MIC, 0, &offload.engine) != COI_SUCCESS) {
		fprintf(stderr, "coi_cases: there is no card\n");
		return 2;
	}
	for (unsigned int i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		for (const struct test_case *one = lists[i]; one->name; one++) {
			if (!case_wanted(one->name, argc, argv))
				continue;
			if (case_run(one))
				failed++;
			else
				passed++;
		}
	}
	printf("%u passed, %u failed\n", passed, failed);
	return failed || !passed;
}
