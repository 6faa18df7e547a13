/* SPDX-License-Identifier: Apache-2.0 */
/* Engines, processes, functions, libraries, pipelines. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <common/COISysInfo_common.h>

#include "tests/coi/coi_cases.h"

static void engines(void)
{
	COI_ENGINE_INFO info;
	char name[4096];
	COIENGINE engine;
	COI_ISA_TYPE isa;
	uint32_t count = 0, index = 9;

	RESULT(COIEngineGetCount(COI_ISA_MIC, &count), COI_SUCCESS);
	CHECK(count >= 1);
	RESULT(COIEngineGetCount(COI_ISA_MIC, NULL), COI_INVALID_POINTER);
	RESULT(COIEngineGetCount((COI_ISA_TYPE)77, &count), COI_DOES_NOT_EXIST);
	RESULT(COIEngineGetHandle(COI_ISA_MIC, 900, &engine), COI_OUT_OF_RANGE);
	RESULT(COIEngineGetHandle(COI_ISA_MIC, 0, NULL), COI_INVALID_POINTER);
	RESULT(COIEngineGetInfo(offload.engine, sizeof(info), &info), COI_SUCCESS);
	CHECK(info.NumCores >= 1 && info.NumThreads >= info.NumCores);
	CHECK(info.PhysicalMemory >= 1 << 20);
	EQUAL(info.ISA, COI_ISA_MIC);
	RESULT(COIEngineGetInfo(offload.engine, 4, &info), COI_SIZE_MISMATCH);
	RESULT(COIEngineGetInfo((COIENGINE)&info, sizeof(info), &info), COI_INVALID_HANDLE);
	RESULT(COIEngineGetHostname(offload.engine, name), COI_SUCCESS);
	EQUAL(strcmp(name, "mic0"), 0);
	RESULT(COIEngineGetHostname((COIENGINE)&info, name), COI_INVALID_HANDLE);
	RESULT(COIEngineGetHostname(offload.engine, NULL), COI_INVALID_POINTER);
	CHECK(COISysGetL2CacheCount() >= 1);
	CHECK(COISysGetL2CacheIndex() < COISysGetHardwareThreadCount());
	CHECK(COISysGetAPICID() != UINT32_MAX);
	RESULT(COIEngineGetIndex(&isa, &index), COI_SUCCESS);
	EQUAL(isa, COI_ISA_x86_64);
	EQUAL(index, 0);
}

static void results_have_names(void)
{
	CHECK(strcmp(COIResultGetName(COI_RETRY), "COI_RETRY") == 0);
	CHECK(strcmp(COIResultGetName(COI_INCORRECT_FORMAT), "COI_INCORRECT_FORMAT") == 0);
	CHECK(strcmp(COIResultGetName((COIRESULT)4711), "COI_ERROR") == 0);
}

static void main_returns(void)
{
	COIPROCESS process;
	int8_t status = 0;
	uint32_t ended_by = 9;

	RESULT(offload_start(&process, "exit", "41"), COI_SUCCESS);
	RESULT(COIProcessDestroy(process, 0, 0, &status, &ended_by), COI_TIME_OUT_REACHED);
	RESULT(COIProcessDestroy(process, -1, 0, &status, &ended_by), COI_SUCCESS);
	EQUAL(status, 41);
	EQUAL(ended_by, 0);
	RESULT(COIProcessDestroy(process, -1, 0, NULL, NULL), COI_INVALID_HANDLE);
}

static void main_is_killed(void)
{
	COIPROCESS process;
	uint32_t ended_by = 0;

	RESULT(offload_start(&process, NULL, NULL), COI_SUCCESS);
	RESULT(COIProcessDestroy(process, -1, 1, NULL, NULL), COI_ARGUMENT_MISMATCH);
	RESULT(COIProcessDestroy(process, -2, 0, NULL, NULL), COI_OUT_OF_RANGE);
	RESULT(COIProcessDestroy(process, 0, 1, NULL, &ended_by), COI_SUCCESS);
	EQUAL(ended_by, 9);
}

static void bad_executables(void)
{
	COIPROCESS process;
	char text[] = "#!/bin/sh\necho this is no program of the card's\n";

	RESULT(COIProcessCreateFromFile(offload.engine, "/nowhere/at/all", 0, NULL, 0, NULL, 0,
					NULL, 0, NULL, &process),
	       COI_DOES_NOT_EXIST);
	RESULT(COIProcessCreateFromFile(offload.engine, "/", 0, NULL, 0, NULL, 0, NULL, 0, NULL,
					&process),
	       COI_INVALID_FILE);
	RESULT(COIProcessCreateFromFile(offload.engine, NULL, 0, NULL, 0, NULL, 0, NULL, 0, NULL,
					&process),
	       COI_INVALID_POINTER);
	RESULT(COIProcessCreateFromMemory(offload.engine, "text", text, sizeof(text), 0, NULL, 0,
					  NULL, 0, NULL, 0, NULL, NULL, 0, &process),
	       COI_INVALID_FILE);
	RESULT(COIProcessCreateFromFile(offload.engine, offload.sink, 1, NULL, 0, NULL, 0, NULL, 0,
					NULL, &process),
	       COI_ARGUMENT_MISMATCH);
	RESULT(COIProcessCreateFromFile((COIENGINE)&process, offload.sink, 0, NULL, 0, NULL, 0,
					NULL, 0, NULL, &process),
	       COI_INVALID_HANDLE);
	RESULT(offload_start(&process, "die", NULL), COI_PROCESS_DIED);
}

static void functions_by_name(void)
{
	const char *names[] = { "echo", "no_such_function", "sum" };
	COIFUNCTION found[3] = { (COIFUNCTION)1, (COIFUNCTION)1, (COIFUNCTION)1 };
	char longest[COI_MAX_FUNCTION_NAME_LENGTH + 1];
	const char *name = longest;

	RESULT(COIProcessGetFunctionHandles(offload.process, 3, names, found), COI_DOES_NOT_EXIST);
	CHECK(found[0] && !found[1] && found[2]);
	RESULT(COIProcessGetFunctionHandles(offload.process, 0, names, found), COI_OUT_OF_RANGE);
	RESULT(COIProcessGetFunctionHandles(offload.process, 1, NULL, found), COI_INVALID_POINTER);
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = 0;
	RESULT(COIProcessGetFunctionHandles(offload.process, 1, &name, found), COI_OUT_OF_RANGE);
	RESULT(COIProcessGetFunctionHandles((COIPROCESS)&name, 1, names, found),
	       COI_INVALID_HANDLE);
}

static void data_and_answers(void)
{
	unsigned char sent[32767], answer[32767];

	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (unsigned char)(i * 7);
	for (uint16_t bytes = 1; bytes && bytes <= sizeof(sent);
	     bytes = (uint16_t)(bytes * 3 + 1)) {
		memset(answer, 0, sizeof(answer));
		RESULT(run_now(offload.pipeline, "echo", 0, NULL, NULL, sent, bytes, answer, bytes),
		       COI_SUCCESS);
		CHECK(memcmp(sent, answer, bytes) == 0);
		if (bytes > 10922)
			break;
	}
	RESULT(run_now(offload.pipeline, "echo", 0, NULL, NULL, sent, sizeof(sent), answer,
		       sizeof(answer)),
	       COI_SUCCESS);
	CHECK(memcmp(sent, answer, sizeof(sent)) == 0);
}

static void the_sink_loads_a_library(void)
{
	static const struct {
		const char *name;
		uint32_t result;
	} files[] = { { "libm.so.6", COI_SUCCESS }, { "libnone.so.1", COI_MISSING_DEPENDENCY } };

	for (int i = 0; i < 2; i++) {
		uint32_t result = COI_NUM_RESULTS;

		RESULT(run_now(offload.pipeline, "load", 0, NULL, NULL, files[i].name,
			       (uint16_t)(strlen(files[i].name) + 1), &result, sizeof(result)),
		       COI_SUCCESS);
		EQUAL(result, files[i].result);
	}
}

static void bad_runs(void)
{
	COIFUNCTION echo = function_of(offload.process, "echo");
	COI_ACCESS_FLAGS access = COI_SINK_READ;
	COIBUFFER buffer = (COIBUFFER)&access;
	char byte = 1;

	RESULT(COIPipelineRunFunction(offload.pipeline, (COIFUNCTION)&byte, 0, NULL, NULL, 0, NULL,
				      NULL, 0, NULL, 0, NULL),
	       COI_INVALID_HANDLE);
	RESULT(COIPipelineRunFunction((COIPIPELINE)&byte, echo, 0, NULL, NULL, 0, NULL, NULL, 0,
				      NULL, 0, NULL),
	       COI_INVALID_HANDLE);
	RESULT(COIPipelineRunFunction(offload.pipeline, echo, 0, NULL, NULL, 0, NULL, NULL, 1, NULL,
				      0, NULL),
	       COI_ARGUMENT_MISMATCH);
	RESULT(COIPipelineRunFunction(offload.pipeline, echo, 0, NULL, NULL, 0, NULL, &byte, 0,
				      NULL, 0, NULL),
	       COI_ARGUMENT_MISMATCH);
	RESULT(COIPipelineRunFunction(offload.pipeline, echo, 0, NULL, NULL, 3, NULL, NULL, 0, NULL,
				      0, NULL),
	       COI_ARGUMENT_MISMATCH);
	RESULT(COIPipelineRunFunction(offload.pipeline, echo, 1, &buffer, &access, 0, NULL, NULL, 0,
				      NULL, 0, NULL),
	       COI_INVALID_HANDLE);
	access = (COI_ACCESS_FLAGS)7;
	RESULT(COIPipelineRunFunction(offload.pipeline, echo, 1, &buffer, &access, 0, NULL, NULL, 0,
				      NULL, 0, NULL),
	       COI_OUT_OF_RANGE);
	RESULT(COIPipelineRunFunction(offload.pipeline, echo, COI_PIPELINE_MAX_IN_BUFFERS + 1,
				      &buffer, &access, 0, NULL, NULL, 0, NULL, 0, NULL),
	       COI_OUT_OF_RANGE);
}

/* Many functions in one pipeline: in order, and more than the ring holds. */
static void a_pipeline_keeps_order(void)
{
	COIFUNCTION echo = function_of(offload.process, "echo");
	static uint32_t answers[2000];
	COIEVENT last;

	for (uint32_t i = 0; i < 2000; i++)
		RESULT(COIPipelineRunFunction(offload.pipeline, echo, 0, NULL, NULL, 0, NULL, &i,
					      sizeof(i), &answers[i], sizeof(i), &last),
		       COI_SUCCESS);
	RESULT(COIEventWait(1, &last, -1, 1, NULL, NULL), COI_SUCCESS);
	for (uint32_t i = 0; i < 2000; i++)
		CHECK(answers[i] == i);
}

/* Slow functions with more data than the sink takes ahead, some with more than the ring holds. The
 * program queues them all meanwhile. */
static void a_row_lies_ahead(void)
{
	COIFUNCTION nap = function_of(offload.process, "nap_and_echo");
	static uint32_t data[2000], answers[100];
	double start = seconds_now(), queued;
	COIEVENT last;

	data[0] = 5;
	for (uint32_t i = 0; i < 100; i++) {
		uint16_t bytes = i % 10 == 9 ? sizeof(data) : 1500;

		data[bytes / sizeof(data[0]) - 1] = i;
		RESULT(COIPipelineRunFunction(offload.pipeline, nap, 0, NULL, NULL, 0, NULL, data,
					      bytes, &answers[i], sizeof(answers[i]), &last),
		       COI_SUCCESS);
	}
	queued = seconds_now() - start;
	RESULT(COIEventWait(1, &last, -1, 1, NULL, NULL), COI_SUCCESS);
	CHECK(queued < (seconds_now() - start) / 2);
	for (uint32_t i = 0; i < 100; i++)
		CHECK(answers[i] == i);
}

static void pipelines_run_beside_each_other(void)
{
	COIFUNCTION nap = function_of(offload.process, "nap");
	COIPIPELINE pipelines[4];
	COIEVENT done[4];
	COIENGINE engine;
	uint32_t time_ms = 300;
	double start;

	for (int i = 0; i < 4; i++)
		RESULT(COIPipelineCreate(offload.process, NULL, 1 << 20, &pipelines[i]),
		       COI_SUCCESS);
	RESULT(COIPipelineGetEngine(pipelines[0], &engine), COI_SUCCESS);
	CHECK(engine == offload.engine);
	start = seconds_now();
	for (int i = 0; i < 4; i++)
		RESULT(COIPipelineRunFunction(pipelines[i], nap, 0, NULL, NULL, 0, NULL, &time_ms,
					      sizeof(time_ms), NULL, 0, &done[i]),
		       COI_SUCCESS);
	RESULT(COIEventWait(4, done, 0, 1, NULL, NULL), COI_TIME_OUT_REACHED);
	RESULT(COIEventWait(4, done, -1, 1, NULL, NULL), COI_SUCCESS);
	CHECK(seconds_now() - start < 1.0);
	for (int i = 0; i < 4; i++)
		RESULT(COIPipelineDestroy(pipelines[i]), COI_SUCCESS);
	RESULT(COIPipelineDestroy(pipelines[0]), COI_INVALID_HANDLE);
}

static void pipelines_have_masks(void)
{
	COI_CPU_MASK mask;
	COIPIPELINE pipeline;

	RESULT(COIPipelineClearCPUMask(&mask), COI_SUCCESS);
	RESULT(COIPipelineCreate(offload.process, mask, 0, &pipeline), COI_OUT_OF_RANGE);
	RESULT(COIPipelineSetCPUMask(offload.process, 0, 0, &mask), COI_SUCCESS);
	RESULT(COIPipelineSetCPUMask(offload.process, 5000, 0, &mask), COI_OUT_OF_RANGE);
	RESULT(COIPipelineCreate(offload.process, mask, 0, &pipeline), COI_SUCCESS);
	RESULT(COIPipelineDestroy(pipeline), COI_SUCCESS);
	RESULT(COIPipelineCreate(offload.process, NULL, 100, &pipeline), COI_OUT_OF_RANGE);
}

static const char *library_path(const char *name)
{
	static char path[PATH_MAX];
	const char *slash = strrchr(offload.sink, '/');

	snprintf(path, sizeof(path), "%.*s/%s", slash ? (int)(slash - offload.sink) : 1,
		 slash ? offload.sink : ".", name);
	return path;
}

static void libraries(void)
{
	const char *name = "library_answer", *missing = library_path("libcoi_second.so");
	COILIBRARY library, again;
	uint32_t answer = 0;
	char folder[PATH_MAX];

	/* It needs libcoi_first.so, which nobody finds yet. */
	unsetenv("SINK_LD_LIBRARY_PATH");
	RESULT(COIProcessLoadLibraryFromFile(offload.process, missing, NULL, NULL, &library),
	       COI_MISSING_DEPENDENCY);
	RESULT(COIProcessLoadLibraryFromFile(offload.process, "no-such-library", NULL, NULL,
					     &library),
	       COI_DOES_NOT_EXIST);
	snprintf(folder, sizeof(folder), "%s", missing);
	*strrchr(folder, '/') = 0;
	RESULT(COIProcessLoadLibraryFromFile(offload.process, missing, NULL, folder, &library),
	       COI_SUCCESS);
	RESULT(COIProcessLoadLibraryFromFile(offload.process, missing, NULL, folder, &again),
	       COI_ALREADY_EXISTS);
	CHECK(again == library);
	(void)name;
	RESULT(run_now(offload.pipeline, "library_answer", 0, NULL, NULL, NULL, 0, &answer,
		       sizeof(answer)),
	       COI_SUCCESS);
	EQUAL(answer, 4242);
	RESULT(COIProcessUnloadLibrary(offload.process, library), COI_SUCCESS);
	RESULT(COIProcessUnloadLibrary(offload.process, library), COI_INVALID_HANDLE);
}

/* One function crashes, one is behind it, one waits for what never comes. */
static void the_sink_crashes(void)
{
	COIFUNCTION crash = function_of(offload.process, "crash");
	uint32_t ended_by = 0;
	COIEVENT done[3], go, never;
	COIBUFFER buffer;

	RESULT(COIBufferCreate(4096, COI_BUFFER_NORMAL, 0, NULL, 1, &offload.process, &buffer),
	       COI_SUCCESS);
	RESULT(COIEventRegisterUserEvent(&go), COI_SUCCESS);
	RESULT(COIEventRegisterUserEvent(&never), COI_SUCCESS);
	for (int i = 0; i < 3; i++)
		RESULT(COIPipelineRunFunction(offload.pipeline, crash, 0, NULL, NULL, 1,
					      i == 2 ? &never : &go, NULL, 0, NULL, 0, &done[i]),
		       COI_SUCCESS);
	RESULT(COIEventSignalUserEvent(go), COI_SUCCESS);
	for (int i = 0; i < 3; i++)
		RESULT(COIEventWait(1, &done[i], 20000, 1, NULL, NULL), COI_PROCESS_DIED);
	RESULT(COIPipelineRunFunction(offload.pipeline, crash, 0, NULL, NULL, 0, NULL, NULL, 0,
				      NULL, 0, NULL),
	       COI_PROCESS_DIED);
	RESULT(COIBufferDestroy(buffer), COI_SUCCESS);
	RESULT(COIPipelineDestroy(offload.pipeline), COI_SUCCESS);
	RESULT(COIProcessDestroy(offload.process, -1, 0, NULL, &ended_by), COI_SUCCESS);
	EQUAL(ended_by, 11);
	RESULT(COIEventUnregisterUserEvent(go), COI_SUCCESS);
	RESULT(COIEventUnregisterUserEvent(never), COI_SUCCESS);
}

/* What is left when a process is destroyed goes with it, and its handles are none any more. */
static void destroyed_with_everything(void)
{
	COIFUNCTION echo = function_of(offload.process, "echo");
	COIBUFFER buffer;

	RESULT(COIBufferCreate(1 << 20, COI_BUFFER_NORMAL, 0, NULL, 1, &offload.process, &buffer),
	       COI_SUCCESS);
	RESULT(COIProcessDestroy(offload.process, -1, 0, NULL, NULL), COI_SUCCESS);
	RESULT(COIPipelineRunFunction(offload.pipeline, echo, 0, NULL, NULL, 0, NULL, NULL, 0, NULL,
				      0, NULL),
	       COI_INVALID_HANDLE);
	RESULT(COIPipelineDestroy(offload.pipeline), COI_INVALID_HANDLE);
	RESULT(COIBufferDestroy(buffer), COI_SUCCESS);
}

/* Bytes that are on their way meanwhile: each event comes, whatever became of it. */
static void destroyed_while_bytes_move(void)
{
	static unsigned char bytes[4 << 20];
	COIBUFFER buffers[4];
	COIEVENT done[100];

	for (int i = 0; i < 4; i++)
		RESULT(COIBufferCreate(sizeof(bytes), COI_BUFFER_NORMAL, 0, NULL, 1,
				       &offload.process, &buffers[i]),
		       COI_SUCCESS);
	for (int i = 0; i < 100; i++)
		RESULT(COIBufferWriteEx(buffers[i % 4], offload.process, 0, bytes, sizeof(bytes),
					COI_COPY_UNSPECIFIED, 0, NULL, &done[i]),
		       COI_SUCCESS);
	RESULT(COIProcessDestroy(offload.process, 0, 1, NULL, NULL), COI_SUCCESS);
	for (int i = 0; i < 100; i++) {
		COIRESULT result = COIEventWait(1, &done[i], -1, 1, NULL, NULL);

		CHECK(result == COI_SUCCESS || result == COI_PROCESS_DIED);
	}
	for (int i = 0; i < 4; i++)
		RESULT(COIBufferDestroy(buffers[i]), COI_SUCCESS);
}

static void output_is_forwarded(void)
{
	RESULT(run_now(offload.pipeline, "print", 0, NULL, NULL, "hello", 6, NULL, 0), COI_SUCCESS);
}

const struct test_case process_cases[] = {
	{ .name = "engines", .run = engines, .alone = true },
	{ .name = "results_have_names", .run = results_have_names, .alone = true },
	{ .name = "main_returns", .run = main_returns, .alone = true },
	{ .name = "main_is_killed", .run = main_is_killed, .alone = true },
	{ .name = "bad_executables", .run = bad_executables, .alone = true },
	{ .name = "functions_by_name", .run = functions_by_name },
	{ .name = "data_and_answers", .run = data_and_answers },
	{ .name = "the_sink_loads_a_library", .run = the_sink_loads_a_library },
	{ .name = "bad_runs", .run = bad_runs },
	{ .name = "a_pipeline_keeps_order", .run = a_pipeline_keeps_order },
	{ .name = "a_row_lies_ahead", .run = a_row_lies_ahead },
	{ .name = "pipelines_run_beside_each_other", .run = pipelines_run_beside_each_other },
	{ .name = "pipelines_have_masks", .run = pipelines_have_masks },
	{ .name = "libraries", .run = libraries },
	{ .name = "the_sink_crashes", .run = the_sink_crashes, .ends = true },
	{ .name = "destroyed_with_everything", .run = destroyed_with_everything, .ends = true },
	{ .name = "destroyed_while_bytes_move", .run = destroyed_while_bytes_move, .ends = true },
	{ .name = "output_is_forwarded", .run = output_is_forwarded },
	{ .name = NULL },
};
