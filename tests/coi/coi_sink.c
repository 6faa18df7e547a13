/* SPDX-License-Identifier: Apache-2.0 */
/* The sink of coi_cases.c: run functions for its cases. With the argument "die" it ends at once. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <common/COIEvent_common.h>
#include <sink/COIBuffer_sink.h>
#include <sink/COIPipeline_sink.h>
#include <sink/COIProcess_sink.h>

static void *kept;

#ifdef LINKED
uint32_t library_number(void); /* coi_library.c */
#else
static uint32_t library_number(void)
{
	return 4242;
}
#endif

#define RUN_FUNCTION(name)                                                                         \
	COINATIVELIBEXPORT void name(uint32_t count, void **buffers, uint64_t *lengths,            \
				     void *misc, uint16_t misc_bytes, void *answer,                \
				     uint16_t answer_bytes);                                       \
	COINATIVELIBEXPORT void name(                                                              \
		uint32_t count __attribute__((unused)), void **buffers __attribute__((unused)),    \
		uint64_t *lengths __attribute__((unused)), void *misc __attribute__((unused)),     \
		uint16_t misc_bytes __attribute__((unused)), void *answer __attribute__((unused)), \
		uint16_t answer_bytes __attribute__((unused)))

/* Gives the source's data back. */
RUN_FUNCTION(echo)
{
	memcpy(answer, misc, answer_bytes < misc_bytes ? answer_bytes : misc_bytes);
}

/* Loads the library that the data names; answers what came of it. */
RUN_FUNCTION(load)
{
	COILIBRARY library;
	uint32_t result = COIProcessLoadSinkLibraryFromFile(misc, misc, "/nowhere:/lib64",
							    2 /* RTLD_NOW */, &library);

	memcpy(answer, &result, sizeof(result));
}

/* The sum of each buffer's bytes. */
RUN_FUNCTION(sum)
{
	uint64_t total = 0;

	for (uint32_t i = 0; i < count; i++) {
		const unsigned char *bytes = buffers[i];

		for (uint64_t k = 0; k < lengths[i]; k++)
			total += bytes[k];
	}
	memcpy(answer, &total, sizeof(total));
}

/* Adds a number to every byte of the last buffer. */
RUN_FUNCTION(add)
{
	unsigned char *bytes = buffers[count - 1];

	for (uint64_t k = 0; k < lengths[count - 1]; k++)
		bytes[k] = (unsigned char)(bytes[k] + *(unsigned char *)misc);
}

/* Adds 1 to every byte of the buffer where the data has 0, again and again, until the first where
 * it has not is 255, for at most ten seconds; answers how often, 0 for never ended. */
RUN_FUNCTION(stir)
{
	volatile unsigned char *bytes = buffers[0];
	const unsigned char *taken = misc;
	time_t end = time(NULL) + 10;
	uint16_t first = 0;
	uint64_t rounds;

	while (!taken[first])
		first++;
	for (rounds = 0; bytes[first] != 255 && time(NULL) <= end; rounds++) {
		for (uint16_t i = 0; i < misc_bytes; i++)
			if (!taken[i]) /* the others are not even read and written back */
				bytes[i]++;
	}
	rounds = bytes[first] == 255 ? rounds : 0;
	memcpy(answer, &rounds, sizeof(rounds));
}

RUN_FUNCTION(fill)
{
	memset(buffers[0], *(unsigned char *)misc, lengths[0]);
}

/* The lengths, and the address of the first. */
RUN_FUNCTION(describe)
{
	uint64_t told[2] = { count ? lengths[0] : 0, count ? (uintptr_t)buffers[0] : 0 };

	memcpy(answer, told, sizeof(told));
}

RUN_FUNCTION(signal_event)
{
	COIEVENT event;

	memcpy(&event, misc, sizeof(event));
	COIEventSignalUserEvent(event);
}

RUN_FUNCTION(hold)
{
	kept = buffers[0];
	COIBufferAddRef(kept);
}

RUN_FUNCTION(let_go)
{
	int results[3] = { COIBufferReleaseRef(kept), COIBufferReleaseRef(kept),
			   COIBufferAddRef(&results) };

	memcpy(answer, results, sizeof(results));
}

RUN_FUNCTION(nap)
{
	usleep(*(unsigned int *)misc * 1000);
}

/* Sleeps as long as the data's first number says, in ms, and answers with its last. */
RUN_FUNCTION(nap_and_echo)
{
	usleep(*(unsigned int *)misc * 1000);
	memcpy(answer, (unsigned char *)misc + misc_bytes - answer_bytes, answer_bytes);
}

RUN_FUNCTION(print)
{
	printf("sink says %s\n", (char *)misc);
	COIProcessProxyFlush();
}

/* Memory of the sink's own, with a pattern. */
RUN_FUNCTION(allocate)
{
	unsigned char *memory = malloc(*(uint64_t *)misc);
	uint64_t address = (uintptr_t)memory;

	for (uint64_t k = 0; k < *(uint64_t *)misc; k++)
		memory[k] = (unsigned char)k;
	memcpy(answer, &address, sizeof(address));
}

RUN_FUNCTION(crash)
{
	raise(SIGSEGV);
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "die") == 0)
		return 3;
	if (library_number() != 4242 || COIPipelineStartExecutingRunFunctions() != COI_SUCCESS)
		return 2;
	COIProcessWaitForShutdown();
	return argc > 2 && strcmp(argv[1], "exit") == 0 ? atoi(argv[2]) : 0;
}
