/* SPDX-License-Identifier: Apache-2.0 */
/* What the cases of coi_cases.c share. */
#ifndef CAUSEWAY_TESTS_COI_COI_CASES_H
#define CAUSEWAY_TESTS_COI_COI_CASES_H

#include <stdbool.h>

#include <source/COIBuffer_source.h>
#include <source/COIEngine_source.h>
#include <source/COIEvent_source.h>
#include <source/COIPipeline_source.h>
#include <source/COIProcess_source.h>

struct test_case {
	const char *name;
	void (*run)(void);
	bool alone; /* starts what it needs itself */
	bool ends;  /* destroys the process that it was given */
};

extern const struct test_case process_cases[], buffer_cases[], event_cases[];

/* The card, the sink's file, and for most cases a process with a pipeline. */
struct offload {
	COIENGINE engine;
	const char *sink;
	COIPROCESS process;
	COIPIPELINE pipeline;
};

extern struct offload offload;

void case_fail(const char *file, int line, const char *text, long got, long wanted);
/* case_skip - this place cannot do what the case is about */
void case_skip(void);
double seconds_now(void);
COIRESULT offload_start(COIPROCESS *process, const char *word, const char *value);
COIFUNCTION function_of(COIPROCESS process, const char *name);
/* run_now - one run function of the case's process, waited for */
COIRESULT run_now(COIPIPELINE pipeline, const char *name, uint32_t count, const COIBUFFER *buffers,
		  const COI_ACCESS_FLAGS *access, const void *misc, uint16_t misc_bytes,
		  void *answer, uint16_t answer_bytes);

#define EQUAL(got, wanted)                                                  \
	do {                                                                \
		long got_ = (long)(got), wanted_ = (long)(wanted);          \
		if (got_ != wanted_)                                        \
			case_fail(__FILE__, __LINE__, #got, got_, wanted_); \
	} while (0)
#define CHECK(condition)     EQUAL(!!(condition), 1)
#define RESULT(call, wanted) EQUAL(call, wanted)

#endif
