/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A source that others do things to. usage: coi_faults SINK start|hold
 * start: creates a process, says with which result, destroys it.
 * hold: has a run function executing and a buffer, says "holding"; then, what they end with.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <source/COIBuffer_source.h>
#include <source/COIEngine_source.h>
#include <source/COIEvent_source.h>
#include <source/COIPipeline_source.h>
#include <source/COIProcess_source.h>

#define NAP_MS 600000u

static void must(COIRESULT result, const char *what)
{
	if (result == COI_SUCCESS)
		return;
	printf("%s: %s\n", what, COIResultGetName(result));
	exit(1);
}

static int hold(COIPROCESS process)
{
	const char *name = "nap";
	uint32_t nap_ms = NAP_MS, ended_by = 0;
	COIPIPELINE pipeline;
	COIFUNCTION nap;
	COIBUFFER buffer;
	COIEVENT done;

	must(COIPipelineCreate(process, NULL, 0, &pipeline), "pipeline");
	must(COIBufferCreate(1 << 20, COI_BUFFER_NORMAL, 0, NULL, 1, &process, &buffer), "buffer");
	must(COIProcessGetFunctionHandles(process, 1, &name, &nap), "function");
	must(COIBufferSetState(buffer, process, COI_BUFFER_VALID, COI_BUFFER_MOVE, 0, NULL, NULL),
	     "state");
	must(COIBufferSetState(buffer, COI_PROCESS_SOURCE, COI_BUFFER_INVALID, COI_BUFFER_NO_MOVE,
			       0, NULL, NULL),
	     "state");
	must(COIPipelineRunFunction(pipeline, nap, 0, NULL, NULL, 0, NULL, &nap_ms, sizeof(nap_ms),
				    NULL, 0, &done),
	     "run");
	puts("holding");
	fflush(stdout);
	printf("run: %s\n", COIResultGetName(COIEventWait(1, &done, -1, 1, NULL, NULL)));
	printf("write: %s\n", COIResultGetName(COIBufferWrite(buffer, 0, "x", 1, COI_COPY_USE_CPU,
							      0, NULL, NULL)));
	printf("destroy: %s\n",
	       COIResultGetName(COIProcessDestroy(process, -1, 0, NULL, &ended_by)));
	printf("ended by %u\n", ended_by);
	return 0;
}

int main(int argc, char **argv)
{
	COIENGINE engine;
	COIPROCESS process;

	if (argc != 3)
		return 2;
	must(COIEngineGetHandle(COI_ISA_MIC, 0, &engine), "engine");
	must(COIProcessCreateFromFile(engine, argv[1], 0, NULL, 0, NULL, 1, NULL, 0, NULL,
				      &process),
	     "start");
	if (strcmp(argv[2], "hold") == 0)
		return hold(process);
	puts("start: COI_SUCCESS");
	return COIProcessDestroy(process, -1, 0, NULL, NULL) != COI_SUCCESS;
}
