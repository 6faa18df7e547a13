/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The offload benchmarks: GEMM (single precision), SPMV and Reduction (double) on a card, in the
 * sizes of the thesis's chapter 5.
 *
 * usage: offload [--time] [--threads N] [--passes N] SINK gemm|spmv|reduction SIZE
 *
 * A pass writes the inputs into the buffers, runs the kernel as often as the thesis did (4, 100,
 * 256 times), and reads the result, which is checked. Every execution is a run function of its own.
 * With --time, for each pass: seconds of the executions queued one behind the other, of the
 * executions each waited for, and of the first together with the transfers. Without, the output is
 * the same at each run.
 */
#include <getopt.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <source/COIBuffer_source.h>
#include <source/COIEngine_source.h>
#include <source/COIEvent_source.h>
#include <source/COIPipeline_source.h>
#include <source/COIProcess_source.h>

#include "bench/offload.h"

#define BUFFERS_MAX 5

struct data {
	void *bytes;
	uint64_t count; /* bytes */
	COI_ACCESS_FLAGS access;
	COIBUFFER buffer;
};

struct work {
	const char *function;
	unsigned int executions;
	struct offload_task task;
	struct data data[BUFFERS_MAX];
	unsigned int data_count;
	struct data *result; /* one of these, read back; NULL: the function returns it */
	double total;
	bool (*right)(const struct work *work);
};

struct place {
	COIPROCESS process;
	COIPIPELINE pipeline;
	COIFUNCTION function;
};

static void must(COIRESULT result, const char *what)
{
	if (result == COI_SUCCESS)
		return;
	fprintf(stderr, "offload: %s: %s\n", what, COIResultGetName(result));
	exit(1);
}

static double seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Small whole numbers, the same at each run. */
static uint32_t random_next(uint32_t *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 24;
}

static struct data *work_add(struct work *work, uint64_t bytes, COI_ACCESS_FLAGS access)
{
	struct data *data = &work->data[work->data_count++];

	data->bytes = calloc(1, bytes);
	if (!data->bytes) {
		fprintf(stderr, "offload: no memory for %llu bytes\n", (unsigned long long)bytes);
		exit(1);
	}
	data->count = bytes;
	data->access = access;
	return data;
}

/* C·x against A·(B·x): as good as a product of one's own, and far quicker. */
static bool gemm_right(const struct work *work)
{
	const float *a = work->data[0].bytes, *b = work->data[1].bytes, *c = work->data[2].bytes;
	uint32_t m = work->task.m, n = work->task.n, k = work->task.k, state = 7;
	double *x = calloc(n, sizeof(*x)), *bx = calloc(k, sizeof(*bx));
	bool right = true;

	for (uint32_t j = 0; j < n; j++)
		x[j] = random_next(&state) % 4;
	for (uint32_t i = 0; i < k; i++) {
		for (uint32_t j = 0; j < n; j++)
			bx[i] += (double)b[(size_t)i * n + j] * x[j];
	}
	for (uint32_t i = 0; i < m; i++) {
		double got = 0, wanted = 0;

		for (uint32_t j = 0; j < n; j++)
			got += (double)c[(size_t)i * n + j] * x[j];
		for (uint32_t j = 0; j < k; j++)
			wanted += (double)a[(size_t)i * k + j] * bx[j];
		right = right && fabs(got - wanted) <= 1e-6 * fabs(wanted);
	}
	free(x);
	free(bx);
	return right;
}

static void gemm_new(struct work *work, unsigned int size)
{
	/* 98304 and 1179648 elements, as the thesis has them. */
	uint32_t m = size == 1 ? 256 : 1024, n = size == 1 ? 384 : 1152, k = m, state = 1;

	work->function = "gemm";
	work->executions = 4;
	work->task.m = m;
	work->task.n = n;
	work->task.k = k;
	work_add(work, (uint64_t)m * k * sizeof(float), COI_SINK_READ);
	work_add(work, (uint64_t)k * n * sizeof(float), COI_SINK_READ);
	work->result = work_add(work, (uint64_t)m * n * sizeof(float), COI_SINK_WRITE_ENTIRE);
	for (uint32_t i = 0; i < m * k; i++)
		((float *)work->data[0].bytes)[i] = (float)(random_next(&state) % 8);
	for (uint32_t i = 0; i < k * n; i++)
		((float *)work->data[1].bytes)[i] = (float)(random_next(&state) % 8);
	work->right = gemm_right;
}

static bool spmv_right(const struct work *work)
{
	const double *values = work->data[0].bytes, *vector = work->data[3].bytes;
	const uint32_t *columns = work->data[1].bytes, *first = work->data[2].bytes;
	const double *result = work->data[4].bytes;

	for (uint32_t row = 0; row < work->task.m; row++) {
		double sum = 0;

		for (uint32_t i = first[row]; i < first[row + 1]; i++)
			sum += values[i] * vector[columns[i]];
		if (sum != result[row]) /* whole numbers */
			return false;
	}
	return true;
}

static void spmv_new(struct work *work, unsigned int size)
{
	uint32_t rows = size == 1 ? 1024 : 8192, each = rows / 100 + 1, state = 2;
	uint32_t *columns, *first;

	work->function = "spmv";
	work->executions = 100;
	work->task.m = rows;
	work_add(work, (uint64_t)rows * each * sizeof(double), COI_SINK_READ);
	columns = work_add(work, (uint64_t)rows * each * sizeof(uint32_t), COI_SINK_READ)->bytes;
	first = work_add(work, (rows + 1) * sizeof(uint32_t), COI_SINK_READ)->bytes;
	work_add(work, rows * sizeof(double), COI_SINK_READ);
	work->result = work_add(work, rows * sizeof(double), COI_SINK_WRITE_ENTIRE);
	for (uint32_t i = 0; i < rows * each; i++) {
		((double *)work->data[0].bytes)[i] = random_next(&state);
		columns[i] = (random_next(&state) << 8 | random_next(&state)) % rows;
	}
	for (uint32_t row = 0; row <= rows; row++)
		first[row] = row * each;
	for (uint32_t row = 0; row < rows; row++)
		((double *)work->data[3].bytes)[row] = random_next(&state);
	work->right = spmv_right;
}

static bool reduction_right(const struct work *work)
{
	const double *values = work->data[0].bytes;
	double sum = 0;

	for (uint64_t i = 0; i < work->data[0].count / sizeof(double); i++)
		sum += values[i];
	return sum == work->total;
}

static void reduction_new(struct work *work, unsigned int size)
{
	uint32_t count = size == 1 ? 524288 : 1048576, state = 3;
	double *values;

	work->function = "reduction";
	work->executions = 256;
	values = work_add(work, count * sizeof(double), COI_SINK_READ)->bytes;
	for (uint32_t i = 0; i < count; i++)
		values[i] = random_next(&state);
	work->right = reduction_right;
}

/* All executions, one behind the other, or each waited for; seconds. */
static double work_execute(struct work *work, const struct place *place, bool wait)
{
	COIBUFFER buffers[BUFFERS_MAX];
	COI_ACCESS_FLAGS access[BUFFERS_MAX];
	uint16_t answer = work->result ? 0 : sizeof(work->total);
	double start;
	COIEVENT done;

	for (unsigned int i = 0; i < work->data_count; i++) {
		buffers[i] = work->data[i].buffer;
		access[i] = work->data[i].access;
	}
	start = seconds_now();
	for (unsigned int i = 0; i < work->executions; i++) {
		must(COIPipelineRunFunction(place->pipeline, place->function, work->data_count,
					    buffers, access, 0, NULL, &work->task,
					    sizeof(work->task), answer ? &work->total : NULL,
					    answer, &done),
		     "run");
		if (wait)
			must(COIEventWait(1, &done, -1, 1, NULL, NULL), "wait");
	}
	must(COIEventWait(1, &done, -1, 1, NULL, NULL), "wait");
	return seconds_now() - start;
}

/* Inputs to the sink, there before this returns; seconds. */
static double work_send(struct work *work, const struct place *place)
{
	double start = seconds_now();

	for (unsigned int i = 0; i < work->data_count; i++) {
		struct data *data = &work->data[i];

		if (data->access != COI_SINK_READ)
			continue;
		must(COIBufferWrite(data->buffer, 0, data->bytes, data->count, COI_COPY_UNSPECIFIED,
				    0, NULL, NULL),
		     "write");
		must(COIBufferSetState(data->buffer, place->process, COI_BUFFER_VALID,
				       COI_BUFFER_MOVE, 0, NULL, NULL),
		     "state");
	}
	return seconds_now() - start;
}

static double work_receive(struct work *work)
{
	double start = seconds_now();

	if (work->result)
		must(COIBufferRead(work->result->buffer, 0, work->result->bytes,
				   work->result->count, COI_COPY_UNSPECIFIED, 0, NULL, NULL),
		     "read");
	return seconds_now() - start;
}

static void work_prepare(struct work *work, struct place *place, const char *sink)
{
	/* Threads that wait sleep: the card's cores are also this machine's. */
	const char *variables[] = { "OMP_WAIT_POLICY=passive", NULL };
	COIENGINE engine;

	must(COIEngineGetHandle(COI_ISA_MIC, 0, &engine), "card");
	must(COIProcessCreateFromFile(engine, sink, 0, NULL, 0, variables, 1, NULL, 0, NULL,
				      &place->process),
	     sink);
	must(COIProcessGetFunctionHandles(place->process, 1, &work->function, &place->function),
	     work->function);
	must(COIPipelineCreate(place->process, NULL, 0, &place->pipeline), "pipeline");
	for (unsigned int i = 0; i < work->data_count; i++)
		must(COIBufferCreate(work->data[i].count, COI_BUFFER_NORMAL, 0, NULL, 1,
				     &place->process, &work->data[i].buffer),
		     "buffer");
}

static void work_end(struct work *work, struct place *place)
{
	for (unsigned int i = 0; i < work->data_count; i++) {
		must(COIBufferDestroy(work->data[i].buffer), "buffer's end");
		free(work->data[i].bytes);
	}
	must(COIPipelineDestroy(place->pipeline), "pipeline's end");
	must(COIProcessDestroy(place->process, -1, 0, NULL, NULL), "process's end");
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "time", no_argument, NULL, 't' },
						 { "threads", required_argument, NULL, 'n' },
						 { "passes", required_argument, NULL, 'p' },
						 { NULL, 0, NULL, 0 } };
	struct work work = { .task = { .threads = 1 } };
	struct place place;
	unsigned int passes = 1, size;
	bool timed = false, right = true;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 't')
			timed = true;
		else if (option == 'n')
			work.task.threads = (uint32_t)atoi(optarg);
		else if (option == 'p')
			passes = (unsigned int)atoi(optarg);
		else
			return 2;
	}
	size = argc - optind == 3 ? (unsigned int)atoi(argv[optind + 2]) : 0;
	if (size < 1 || size > 2 || work.task.threads < 1) {
		fprintf(stderr, "usage: offload [--time] [--threads N] [--passes N] SINK "
				"gemm|spmv|reduction 1|2\n");
		return 2;
	}
	if (strcmp(argv[optind + 1], "gemm") == 0)
		gemm_new(&work, size);
	else if (strcmp(argv[optind + 1], "spmv") == 0)
		spmv_new(&work, size);
	else
		reduction_new(&work, size);
	work_prepare(&work, &place, argv[optind]);
	for (unsigned int i = 0; i < passes; i++) {
		double sent = work_send(&work, &place);
		double queued = work_execute(&work, &place, false), got = work_receive(&work);
		double waited = work_execute(&work, &place, true);

		/* Of all passes when nothing is timed; else of the last, whose result is there. */
		if (!timed || i + 1 == passes)
			right = right && work.right(&work);
		if (timed)
			printf("%.6f %.6f %.6f\n", queued, waited, sent + queued + got);
	}
	printf("%s, size %u, %u executions: %s\n", work.function, size, work.executions,
	       right ? "right" : "WRONG");
	work_end(&work, &place);
	return right ? 0 : 1;
}
