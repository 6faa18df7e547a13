/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Offload, from beginning to end. The source's half; docs/offload.md walks through it.
 * usage: offload_tutorial SINK
 */
#include <stdio.h>
#include <stdlib.h>

#include <source/COIBuffer_source.h>
#include <source/COIEngine_source.h>
#include <source/COIEvent_source.h>
#include <source/COIPipeline_source.h>
#include <source/COIProcess_source.h>

#define COUNT 1000

/* Ends the program with the name of what went wrong. */
static void must(const char *what, COIRESULT result)
{
	if (result == COI_SUCCESS)
		return;
	fprintf(stderr, "%s: %s\n", what, COIResultGetName(result));
	exit(1);
}

int main(int argc, char **argv)
{
	const char *names[] = { "scale", "total" };
	COI_ACCESS_FLAGS write = COI_SINK_WRITE, read = COI_SINK_READ;
	double values[COUNT], factor = 3, total = 0;
	COIEVENT scaled, summed;
	COIFUNCTION functions[2];
	COIPIPELINE pipeline;
	COIPROCESS process;
	COIENGINE engine;
	COIBUFFER buffer;
	int8_t status;

	if (argc != 2) {
		fprintf(stderr, "usage: offload_tutorial SINK\n");
		return 2;
	}
	/* 1. A card, a program on it, two of its functions, and somebody to execute them. */
	must("card", COIEngineGetHandle(COI_ISA_MIC, 0, &engine));
	must("start", COIProcessCreateFromFile(engine, argv[1], 0, NULL, 0, NULL, 1, NULL, 0, NULL,
					       &process));
	must("functions", COIProcessGetFunctionHandles(process, 2, names, functions));
	must("pipeline", COIPipelineCreate(process, NULL, 0, &pipeline));

	/* 2. A buffer that both sides use, filled here. */
	for (int i = 0; i < COUNT; i++)
		values[i] = i;
	must("buffer",
	     COIBufferCreate(sizeof(values), COI_BUFFER_NORMAL, 0, values, 1, &process, &buffer));

	/* 3. Two run functions. The bytes go there by themselves; the second follows the first. */
	must("scale", COIPipelineRunFunction(pipeline, functions[0], 1, &buffer, &write, 0, NULL,
					     &factor, sizeof(factor), NULL, 0, &scaled));
	must("total", COIPipelineRunFunction(pipeline, functions[1], 1, &buffer, &read, 1, &scaled,
					     NULL, 0, &total, sizeof(total), &summed));
	must("wait", COIEventWait(1, &summed, -1, 1, NULL, NULL));

	/* 4. What the sink wrote, back here. */
	must("read",
	     COIBufferRead(buffer, 0, values, sizeof(values), COI_COPY_UNSPECIFIED, 0, NULL, NULL));
	printf("value 10 is %g, the total %g\n", values[10], total);

	/* 5. The end: the sink's COIProcessWaitForShutdown() returns, then its main(). */
	must("buffer's end", COIBufferDestroy(buffer));
	must("pipeline's end", COIPipelineDestroy(pipeline));
	must("end", COIProcessDestroy(process, -1, 0, &status, NULL));
	printf("the sink returned %d\n", status);
	return 0;
}
