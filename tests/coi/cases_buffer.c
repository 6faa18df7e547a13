/* SPDX-License-Identifier: Apache-2.0 */
/* Buffers: all types, all ways of moving bytes, states, references. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/coi/coi_cases.h"

#define BYTES 300000u /* no whole number of pages */

static COIBUFFER buffer_of(COI_BUFFER_TYPE type, uint64_t bytes, uint32_t flags, const void *data)
{
	COIBUFFER buffer = NULL;

	RESULT(COIBufferCreate(bytes, type, flags, data, 1, &offload.process, &buffer),
	       COI_SUCCESS);
	return buffer;
}

static unsigned char *pattern_new(size_t bytes, unsigned int seed)
{
	unsigned char *pattern = malloc(bytes);

	for (size_t i = 0; i < bytes; i++)
		pattern[i] = (unsigned char)((i * 2654435761u + seed) >> 11);
	return pattern;
}

static uint64_t pattern_sum(const unsigned char *bytes, size_t count)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += bytes[i];
	return sum;
}

static uint64_t sink_sum(COIBUFFER buffer)
{
	COI_ACCESS_FLAGS access = COI_SINK_READ;
	uint64_t sum = 0;

	RESULT(run_now(offload.pipeline, "sum", 1, &buffer, &access, NULL, 0, &sum, sizeof(sum)),
	       COI_SUCCESS);
	return sum;
}

static void sink_add(COIBUFFER buffer, unsigned char number)
{
	COI_ACCESS_FLAGS access = COI_SINK_WRITE;

	RESULT(run_now(offload.pipeline, "add", 1, &buffer, &access, &number, 1, NULL, 0),
	       COI_SUCCESS);
}

static void bad_creations(void)
{
	COIBUFFER buffer;
	COIPROCESS nobody = (COIPROCESS)&buffer;
	char byte;

	RESULT(COIBufferCreate(0, COI_BUFFER_NORMAL, 0, NULL, 1, &offload.process, &buffer),
	       COI_OUT_OF_RANGE);
	RESULT(COIBufferCreate(1, COI_BUFFER_NORMAL, 0x80000, NULL, 1, &offload.process, &buffer),
	       COI_OUT_OF_RANGE);
	RESULT(COIBufferCreate(1, COI_BUFFER_NORMAL, 0, NULL, 0, &offload.process, &buffer),
	       COI_OUT_OF_RANGE);
	RESULT(COIBufferCreate(1, COI_BUFFER_NORMAL, 0, NULL, 1, NULL, &buffer),
	       COI_INVALID_POINTER);
	RESULT(COIBufferCreate(1, COI_BUFFER_NORMAL, 0, NULL, 1, &nobody, &buffer),
	       COI_INVALID_HANDLE);
	RESULT(COIBufferCreate(1, COI_BUFFER_NORMAL, COI_SINK_MEMORY, NULL, 1, &offload.process,
			       &buffer),
	       COI_NOT_SUPPORTED);
	RESULT(COIBufferCreate(1, COI_BUFFER_STREAMING_TO_SINK, COI_OPTIMIZE_SOURCE_READ, NULL, 1,
			       &offload.process, &buffer),
	       COI_ARGUMENT_MISMATCH);
	RESULT(COIBufferCreateFromMemory(1, COI_BUFFER_OPENCL, 0, &byte, 1, &offload.process,
					 &buffer),
	       COI_NOT_SUPPORTED);
	RESULT(COIBufferCreateFromMemory(1, COI_BUFFER_NORMAL, 0, NULL, 1, &offload.process,
					 &buffer),
	       COI_INVALID_POINTER);
	RESULT(COIBufferDestroy((COIBUFFER)&byte), COI_INVALID_HANDLE);
}

static void normal_buffer_moves(void)
{
	unsigned char *data = pattern_new(BYTES, 1), *back = calloc(1, BYTES);
	COIBUFFER buffer = buffer_of(COI_BUFFER_NORMAL, BYTES, 0, data);

	EQUAL(sink_sum(buffer), pattern_sum(data, BYTES));
	sink_add(buffer, 3);
	RESULT(COIBufferRead(buffer, 0, back, BYTES, COI_COPY_UNSPECIFIED, 0, NULL, NULL),
	       COI_SUCCESS);
	for (size_t i = 0; i < BYTES; i++)
		data[i] = (unsigned char)(data[i] + 3);
	CHECK(memcmp(data, back, BYTES) == 0);
	/* A part, where it is valid: in the sink. */
	memset(back, 9, 1000);
	RESULT(COIBufferWrite(buffer, 777, back, 1000, COI_COPY_USE_DMA, 0, NULL, NULL),
	       COI_SUCCESS);
	memset(data + 777, 9, 1000);
	EQUAL(sink_sum(buffer), pattern_sum(data, BYTES));
	RESULT(COIBufferRead(buffer, 700, back, 2000, COI_COPY_USE_CPU, 0, NULL, NULL),
	       COI_SUCCESS);
	CHECK(memcmp(data + 700, back, 2000) == 0);
	RESULT(COIBufferDestroy(buffer), COI_SUCCESS);
	RESULT(COIBufferDestroy(buffer), COI_INVALID_HANDLE);
	free(data);
	free(back);
}

static void ranges_are_checked(void)
{
	COIBUFFER buffer = buffer_of(COI_BUFFER_NORMAL, 100, 0, NULL);
	char bytes[200] = { 0 };

	RESULT(COIBufferWrite(buffer, 0, bytes, 101, 0, 0, NULL, NULL), COI_OUT_OF_RANGE);
	RESULT(COIBufferWrite(buffer, 100, bytes, 1, 0, 0, NULL, NULL), COI_OUT_OF_RANGE);
	RESULT(COIBufferWrite(buffer, ~0ull, bytes, 2, 0, 0, NULL, NULL), COI_OUT_OF_RANGE);
	RESULT(COIBufferWrite(buffer, 0, bytes, 0, 0, 0, NULL, NULL), COI_OUT_OF_RANGE);
	RESULT(COIBufferWrite(buffer, 0, NULL, 1, 0, 0, NULL, NULL), COI_INVALID_POINTER);
	RESULT(COIBufferRead(buffer, 99, bytes, 2, 0, 0, NULL, NULL), COI_OUT_OF_RANGE);
	RESULT(COIBufferRead(buffer, 99, bytes, 1, 0, 2, NULL, NULL), COI_ARGUMENT_MISMATCH);
	RESULT(COIBufferCopy(buffer, buffer, 10, 0, 20, 0, 0, NULL, NULL), COI_MEMORY_OVERLAP);
	RESULT(COIBufferCopy(buffer, buffer, 50, 0, 60, 0, 0, NULL, NULL), COI_OUT_OF_RANGE);
	RESULT(COIBufferDestroy(buffer), COI_SUCCESS);
}

/* Every second column of rows 1 and 2 of a matrix of 4 × 6, from and to columns 0 to 2 of one of 2
 * × 3. */
static void sections_of_arrays(void)
{
	struct arr_desc sparse = { .rank = 2, .dim = { { 6, 0, 1, 2, 1 }, { 1, 10, 11, 15, 2 } } };
	struct arr_desc dense = { .rank = 2, .dim = { { 3, 0, 0, 1, 1 }, { 1, 0, 0, 2, 1 } } };
	unsigned char bytes[24], six[6] = { 1, 2, 3, 4, 5, 6 }, back[6] = { 0 };
	COIBUFFER buffer = buffer_of(COI_BUFFER_NORMAL, 100, 0, NULL);

	memset(bytes, 9, sizeof(bytes));
	RESULT(COIBufferWrite(buffer, 8, bytes, sizeof(bytes), 0, 0, NULL, NULL), COI_SUCCESS);
	dense.base = (int64_t)(uintptr_t)six;
	RESULT(COIBufferWriteMultiD(buffer, NULL, 8, &sparse, &dense, 0, 0, NULL, NULL),
	       COI_SUCCESS);
	RESULT(COIBufferRead(buffer, 8, bytes, sizeof(bytes), 0, 0, NULL, NULL), COI_SUCCESS);
	for (int i = 0; i < 24; i++) {
		int row = i / 6, column = i % 6;
		bool in = (row == 1 || row == 2) && column % 2 == 1;

		EQUAL(bytes[i], in ? (row - 1) * 3 + column / 2 + 1 : 9);
	}
	dense.base = (int64_t)(uintptr_t)back;
	RESULT(COIBufferReadMultiD(buffer, 8, &dense, &sparse, 0, 0, NULL, NULL), COI_SUCCESS);
	EQUAL(memcmp(back, six, sizeof(six)), 0);
	RESULT(COIBufferReadMultiD(buffer, 85, &dense, &sparse, 0, 0, NULL, NULL),
	       COI_OUT_OF_RANGE);
	RESULT(COIBufferReadMultiD(buffer, 8, NULL, &sparse, 0, 0, NULL, NULL),
	       COI_INVALID_POINTER);
	dense.dim[1].upper = 3;
	RESULT(COIBufferReadMultiD(buffer, 8, &dense, &sparse, 0, 0, NULL, NULL),
	       COI_ARGUMENT_MISMATCH);
	dense.dim[1].upper = INT64_MAX;
	RESULT(COIBufferReadMultiD(buffer, 8, &dense, &sparse, 0, 0, NULL, NULL), COI_OUT_OF_RANGE);
	dense.rank = 4;
	RESULT(COIBufferReadMultiD(buffer, 8, &dense, &sparse, 0, 0, NULL, NULL),
	       COI_NOT_SUPPORTED);
	RESULT(COIBufferDestroy(buffer), COI_SUCCESS);
}

/* The elements of a section by three loops: gives to each 1, 2, … or only marks which bytes. */
static void section_fill(const struct arr_desc *array, unsigned char *memory, bool marks)
{
	struct dim_desc dim[3] = { { 1, 0, 0, 0, 1 }, { 1, 0, 0, 0, 1 }, { 1, 0, 0, 0, 1 } };
	int64_t element = array->dim[array->rank - 1].size;
	unsigned int number = 0;

	memcpy(&dim[3 - array->rank], array->dim, (size_t)array->rank * sizeof(dim[0]));
	for (int64_t i = dim[0].lower; i <= dim[0].upper; i += dim[0].stride) {
		for (int64_t k = dim[1].lower; k <= dim[1].upper; k += dim[1].stride) {
			for (int64_t m = dim[2].lower; m <= dim[2].upper; m += dim[2].stride) {
				int64_t at = (i - dim[0].lindex) * dim[0].size +
					     (k - dim[1].lindex) * dim[1].size +
					     (m - dim[2].lindex) * dim[2].size;

				number++;
				memset(memory + at, marks ? 1 : (int)(number * 37 % 251 + 1),
				       (size_t)element);
			}
		}
	}
}

/* Sections of one shape, in a buffer from byte 7 on and in memory. */
static const struct {
	const char *name;
	uint64_t bytes; /* both arrays are smaller */
	struct arr_desc there, here;
} section_cases[] = {
	{ "2-D, every third column of some rows",
	  500,
	  { .rank = 2, .dim = { { 40, 1, 2, 9, 2 }, { 4, 0, 1, 9, 3 } } },
	  { .rank = 2, .dim = { { 24, 0, 1, 4, 1 }, { 4, 0, 0, 4, 2 } } } },
	{ "3-D, strides in all",
	  700,
	  { .rank = 3, .dim = { { 120, 0, 0, 4, 2 }, { 24, 5, 6, 8, 2 }, { 2, 1, 2, 12, 5 } } },
	  { .rank = 3, .dim = { { 60, 0, 1, 3, 1 }, { 30, 0, 0, 1, 1 }, { 2, 0, 3, 9, 3 } } } },
	{ "2-D, whole rows",
	  500,
	  { .rank = 2, .dim = { { 60, 0, 1, 7, 2 }, { 8, 0, 1, 6, 1 } } },
	  { .rank = 2, .dim = { { 48, 0, 0, 3, 1 }, { 8, 0, 0, 5, 1 } } } },
	{ "2-D, long rows",
	  300000,
	  { .rank = 2, .dim = { { 40000, 0, 1, 6, 2 }, { 1, 0, 10, 29999, 1 } } },
	  { .rank = 2, .dim = { { 50000, 0, 0, 2, 1 }, { 1, 0, 1, 29990, 1 } } } },
	{ "2-D, more elements than go at once",
	  3100000,
	  { .rank = 2, .dim = { { 3100, 0, 1, 998, 1 }, { 1, 0, 5, 3003, 2 } } },
	  { .rank = 2, .dim = { { 1600, 0, 0, 997, 1 }, { 1, 0, 3, 1502, 1 } } } },
	{ "1-D, all of it",
	  2500000,
	  { .rank = 1, .dim = { { 8, 0, 0, 299999, 1 } } },
	  { .rank = 1, .dim = { { 8, 0, 0, 299999, 1 } } } },
};

#define SECTION_CASES (sizeof(section_cases) / sizeof(section_cases[0]))
#define SECTION_AT    7u

/* Writes one and reads it back, where the buffer is valid; all other bytes stay 0x55 and 0xaa. */
static void section_round_trip(unsigned int number, bool in_sink)
{
	struct arr_desc there = section_cases[number].there, here = section_cases[number].here;
	uint64_t bytes = section_cases[number].bytes;
	unsigned char *wanted = malloc(bytes), *got = malloc(bytes), *memory = malloc(bytes);
	COIBUFFER buffer;

	memset(wanted, 0x55, bytes);
	buffer = buffer_of(COI_BUFFER_NORMAL, bytes, 0, wanted);
	if (in_sink)
		sink_add(buffer, 0);
	memset(memory, 0xaa, bytes);
	section_fill(&here, memory, false);
	section_fill(&there, wanted + SECTION_AT, false);
	here.base = (int64_t)(uintptr_t)memory;
	RESULT(COIBufferWriteMultiD(buffer, NULL, SECTION_AT, &there, &here, 0, 0, NULL, NULL),
	       COI_SUCCESS);
	RESULT(COIBufferRead(buffer, 0, got, bytes, 0, 0, NULL, NULL), COI_SUCCESS);
	CHECK(memcmp(got, wanted, bytes) == 0);
	memcpy(wanted, memory, bytes);
	memset(memory, 0xaa, bytes);
	RESULT(COIBufferReadMultiD(buffer, SECTION_AT, &here, &there, 0, 0, NULL, NULL),
	       COI_SUCCESS);
	CHECK(memcmp(memory, wanted, bytes) == 0);
	RESULT(COIBufferDestroy(buffer), COI_SUCCESS);
	free(wanted);
	free(got);
	free(memory);
}

static void sections_move_their_bytes_only(void)
{
	for (unsigned int i = 0; i < SECTION_CASES; i++) {
		section_round_trip(i, false);
		section_round_trip(i, true);
	}
}

/* A run function changes all other bytes while sections are written; none of that is lost. */
static void section_beside_a_writer(unsigned int number)
{
	struct arr_desc there = section_cases[number].there, here = section_cases[number].here;
	unsigned char taken[700] = { 0 }, got[700] = { 0 }, memory[700] = { 0 };
	uint16_t bytes = (uint16_t)section_cases[number].bytes;
	COIBUFFER buffer = buffer_of(COI_BUFFER_NORMAL, bytes, 0, NULL);
	COI_ACCESS_FLAGS access = COI_SINK_WRITE;
	uint64_t rounds = 0;
	COIEVENT done;

	sink_add(buffer, 0);
	section_fill(&there, taken + SECTION_AT, true);
	here.base = (int64_t)(uintptr_t)memory;
	RESULT(COIPipelineRunFunction(offload.pipeline, function_of(offload.process, "stir"), 1,
				      &buffer, &access, 0, NULL, taken, bytes, &rounds,
				      sizeof(rounds), &done),
	       COI_SUCCESS);
	while (got[0] == 0) /* until it runs */
		RESULT(COIBufferRead(buffer, 0, got, 1, 0, 0, NULL, NULL), COI_SUCCESS);
	for (unsigned int i = 0; i <= 255; i++) {
		memset(memory, (int)(i < 255 ? i % 100 : i), sizeof(memory));
		RESULT(COIBufferWriteMultiD(buffer, NULL, SECTION_AT, &there, &here, 0, 0, NULL,
					    NULL),
		       COI_SUCCESS);
	}
	RESULT(COIEventWait(1, &done, -1, 1, NULL, NULL), COI_SUCCESS);
	CHECK(rounds > 0);
	RESULT(COIBufferRead(buffer, 0, got, bytes, 0, 0, NULL, NULL), COI_SUCCESS);
	for (unsigned int i = 0; i < bytes; i++)
		EQUAL(got[i], taken[i] ? 255 : (unsigned char)rounds);
	RESULT(COIBufferDestroy(buffer), COI_SUCCESS);
}

static void sections_beside_a_writer(void)
{
	section_beside_a_writer(0);
	section_beside_a_writer(1);
	section_beside_a_writer(2);
}

/* What a section with one thing changed is refused with, whatever side it is on. */
static void bad_section(COIBUFFER buffer, struct arr_desc bad, COIRESULT wanted)
{
	static unsigned char memory[700];
	struct arr_desc good = section_cases[1].here;

	good.base = bad.base = (int64_t)(uintptr_t)memory;
	RESULT(COIBufferWriteMultiD(buffer, NULL, 0, &bad, &good, 0, 0, NULL, NULL), wanted);
	RESULT(COIBufferReadMultiD(buffer, 0, &good, &bad, 0, 0, NULL, NULL), wanted);
	RESULT(COIBufferWriteMultiD(buffer, NULL, 0, &good, &bad, 0, 0, NULL, NULL), wanted);
	RESULT(COIBufferReadMultiD(buffer, 0, &bad, &good, 0, 0, NULL, NULL), wanted);
}

static void bad_dimensions(COIBUFFER buffer, const struct arr_desc *good, unsigned int at)
{
	const struct dim_desc *dim = &good->dim[at];
	const struct dim_desc wrong[] = {
		{ 0, dim->lindex, dim->lower, dim->upper, dim->stride },
		{ -1, dim->lindex, dim->lower, dim->upper, dim->stride },
		{ INT64_MAX, dim->lindex, dim->lower, dim->upper, dim->stride },
		{ dim->size, dim->lower + 1, dim->lower, dim->upper, dim->stride },
		{ dim->size, INT64_MIN, dim->lower, dim->upper, dim->stride },
		{ dim->size, dim->lindex, dim->lower, dim->lower - 1, dim->stride },
		{ dim->size, dim->lindex, dim->lower, INT64_MAX, 1 },
		{ dim->size, INT64_MIN, INT64_MIN, INT64_MAX, 1 },
		{ dim->size, dim->lindex, dim->lower, dim->upper, 0 },
		{ dim->size, dim->lindex, dim->lower, dim->upper, -1 },
		{ dim->size, dim->lindex, dim->lower, dim->upper, INT64_MAX },
	};
	struct arr_desc bad;

	for (unsigned int i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		bad = *good;
		bad.dim[at] = wrong[i];
		bad_section(buffer, bad, COI_OUT_OF_RANGE);
	}
	bad = *good;
	bad.dim[at].upper += bad.dim[at].stride;
	bad_section(buffer, bad, COI_ARGUMENT_MISMATCH);
}

static void bad_sections(void)
{
	struct arr_desc good = section_cases[1].there, here = section_cases[1].here, bad;
	COIBUFFER buffer = buffer_of(COI_BUFFER_NORMAL, 700, 0, NULL);
	const int64_t ranks[] = { 0, -1, 4, INT64_MIN, INT64_MAX };
	unsigned char memory[700] = { 0 };
	/* From the first element's first byte, lowest indices before it, to the last one's last. */
	const uint64_t end = 4 * 120 + 3 * 24 + 11 * 2 + 2;

	for (unsigned int i = 0; i < sizeof(ranks) / sizeof(ranks[0]); i++) {
		bad = good;
		bad.rank = ranks[i];
		bad_section(buffer, bad, COI_NOT_SUPPORTED);
	}
	for (unsigned int i = 0; i < 3; i++)
		bad_dimensions(buffer, &good, i);
	here.base = (int64_t)(uintptr_t)memory;
	RESULT(COIBufferWriteMultiD(buffer, NULL, 700 - end, &good, &here, 0, 0, NULL, NULL),
	       COI_SUCCESS);
	RESULT(COIBufferWriteMultiD(buffer, NULL, 700 - end + 1, &good, &here, 0, 0, NULL, NULL),
	       COI_OUT_OF_RANGE);
	RESULT(COIBufferWriteMultiD(buffer, NULL, ~0ull, &good, &here, 0, 0, NULL, NULL),
	       COI_OUT_OF_RANGE);
	RESULT(COIBufferWriteMultiD(buffer, NULL, 0, &good, &here, 9, 0, NULL, NULL),
	       COI_OUT_OF_RANGE);
	RESULT(COIBufferWriteMultiD((COIBUFFER)memory, NULL, 0, &good, &here, 0, 0, NULL, NULL),
	       COI_INVALID_HANDLE);
	/* More bytes of elements than there are from the first to the last. */
	bad = here;
	bad.dim[0].size = bad.dim[1].size = 1;
	RESULT(COIBufferWriteMultiD(buffer, NULL, 0, &bad, &here, 0, 0, NULL, NULL),
	       COI_OUT_OF_RANGE);
	here.base = -1;
	RESULT(COIBufferReadMultiD(buffer, 0, &here, &good, 0, 0, NULL, NULL), COI_OUT_OF_RANGE);
	RESULT(COIBufferDestroy(buffer), COI_SUCCESS);
}

static void maps_wait_and_keep_others_out(void)
{
	unsigned char *data = pattern_new(BYTES, 5), *seen;
	COI_ACCESS_FLAGS access = COI_SINK_WRITE;
	COIBUFFER buffer = buffer_of(COI_BUFFER_NORMAL, BYTES, 0, data);
	COIMAPINSTANCE map;
	unsigned char one = 1;
	void *address;

	/* Not waited for: the map has to. */
	RESULT(COIPipelineRunFunction(offload.pipeline, function_of(offload.process, "add"), 1,
				      &buffer, &access, 0, NULL, &one, 1, NULL, 0, NULL),
	       COI_SUCCESS);
	RESULT(COIBufferMap(buffer, 100, 50, COI_MAP_READ_WRITE, 0, NULL, NULL, &map, &address),
	       COI_SUCCESS);
	seen = address;
	EQUAL(seen[0], (unsigned char)(data[100] + 1));
	seen[0] = 77;
	RESULT(COIPipelineRunFunction(offload.pipeline, function_of(offload.process, "add"), 1,
				      &buffer, &access, 0, NULL, &one, 1, NULL, 0, NULL),
	       COI_RETRY);
	RESULT(COIBufferWrite(buffer, 0, data, 1, 0, 0, NULL, NULL), COI_RETRY);
	RESULT(COIBufferDestroy(buffer), COI_RETRY);
	RESULT(COIBufferUnmap(map, 0, NULL, NULL), COI_SUCCESS);
	RESULT(COIBufferUnmap(map, 0, NULL, NULL), COI_INVALID_HANDLE);
	for (size_t i = 0; i < BYTES; i++)
		data[i]++;
	data[100] = 77;
	EQUAL(sink_sum(buffer), pattern_sum(data, BYTES));
	RESULT(COIBufferMap(buffer, 1, 0, COI_MAP_READ_ONLY, 0, NULL, NULL, &map, &address),
	       COI_OUT_OF_RANGE);
	RESULT(COIBufferDestroy(buffer), COI_SUCCESS);
	free(data);
}

static void from_the_programs_memory(void)
{
	unsigned char *data = pattern_new(BYTES + 1, 6);
	COIMAPINSTANCE map;
	COIBUFFER buffer;
	void *address;

	RESULT(COIBufferCreateFromMemory(BYTES, COI_BUFFER_NORMAL, 0, data + 1, 1, &offload.process,
					 &buffer),
	       COI_SUCCESS);
	EQUAL(sink_sum(buffer), pattern_sum(data + 1, BYTES));
	sink_add(buffer, 1);
	RESULT(COIBufferMap(buffer, 0, 0, COI_MAP_READ_ONLY, 0, NULL, NULL, &map, &address),
	       COI_SUCCESS);
	CHECK(address == data + 1);
	RESULT(COIBufferUnmap(map, 0, NULL, NULL), COI_SUCCESS);
	EQUAL(sink_sum(buffer), pattern_sum(data + 1, BYTES));
	RESULT(COIBufferDestroy(buffer), COI_SUCCESS);
	free(data);
}

static void on_the_sinks_memory(void)
{
	uint64_t bytes = 100000, address = 0;
	unsigned char back[100];
	COIBUFFER buffer;

	RESULT(run_now(offload.pipeline, "allocate", 0, NULL, NULL, &bytes, sizeof(bytes), &address,
		       sizeof(address)),
	       COI_SUCCESS);
	RESULT(COIBufferCreateFromMemory(bytes, COI_BUFFER_NORMAL, COI_SINK_MEMORY,
					 (void *)(uintptr_t)address, 1, &offload.process, &buffer),
	       COI_SUCCESS);
	RESULT(COIBufferRead(buffer, 5000, back, 100, 0, 0, NULL, NULL), COI_SUCCESS);
	for (int i = 0; i < 100; i++)
		CHECK(back[i] == (unsigned char)(5000 + i));
	memset(back, 1, sizeof(back));
	RESULT(COIBufferWrite(buffer, 5000, back, 100, 0, 0, NULL, NULL), COI_SUCCESS);
	memset(back, 0, sizeof(back));
	RESULT(COIBufferRead(buffer, 5001, back, 1, 0, 0, NULL, NULL), COI_SUCCESS);
	EQUAL(back[0], 1);
	RESULT(COIBufferDestroy(buffer), COI_SUCCESS);
}

static void copies(void)
{
	unsigned char *data = pattern_new(BYTES, 8), *back = calloc(1, BYTES);
	COIBUFFER from = buffer_of(COI_BUFFER_NORMAL, BYTES, 0, data);
	COIBUFFER to = buffer_of(COI_BUFFER_NORMAL, BYTES, 0, NULL);
	uint64_t whole = pattern_sum(data, BYTES);

	/* source to source, source to sink, sink to sink, sink to source */
	RESULT(COIBufferCopy(to, from, 0, 0, 0, 0, 0, NULL, NULL), COI_SUCCESS);
	EQUAL(sink_sum(to), whole);
	sink_add(to, 0);
	RESULT(COIBufferCopy(to, from, 10, 20, 5000, 0, 0, NULL, NULL), COI_SUCCESS);
	memcpy(back, data, BYTES);
	memcpy(back + 10, data + 20, 5000);
	EQUAL(sink_sum(to), pattern_sum(back, BYTES));
	sink_add(to, 0);
	sink_add(from, 1);
	for (size_t i = 0; i < BYTES; i++)
		data[i]++;
	RESULT(COIBufferCopy(to, from, 0, 0, BYTES, 0, 0, NULL, NULL), COI_SUCCESS);
	EQUAL(sink_sum(to), pattern_sum(data, BYTES));
	RESULT(COIBufferSetState(to, COI_PROCESS_SOURCE, COI_BUFFER_VALID, COI_BUFFER_MOVE, 0, NULL,
				 NULL),
	       COI_SUCCESS);
	RESULT(COIBufferSetState(to, offload.process, COI_BUFFER_INVALID, COI_BUFFER_NO_MOVE, 0,
				 NULL, NULL),
	       COI_SUCCESS);
	RESULT(COIBufferCopy(to, from, 1000, 3000, 5000, 0, 0, NULL, NULL), COI_SUCCESS);
	RESULT(COIBufferRead(to, 0, back, BYTES, 0, 0, NULL, NULL), COI_SUCCESS);
	CHECK(memcmp(back + 1000, data + 3000, 5000) == 0);
	CHECK(memcmp(back, data, 1000) == 0);
	RESULT(COIBufferDestroy(from), COI_SUCCESS);
	RESULT(COIBufferDestroy(to), COI_SUCCESS);
	free(data);
	free(back);
}

static void states(void)
{
	unsigned char *data = pattern_new(BYTES, 9), byte;
	COIBUFFER buffer = buffer_of(COI_BUFFER_NORMAL, BYTES, 0, data);
	COIPROCESS nobody = (COIPROCESS)&byte;

	/* Valid there without bytes: what is written goes there, and only that is known. */
	RESULT(COIBufferSetState(buffer, offload.process, COI_BUFFER_VALID, COI_BUFFER_NO_MOVE, 0,
				 NULL, NULL),
	       COI_SUCCESS);
	RESULT(COIBufferSetState(buffer, COI_PROCESS_SOURCE, COI_BUFFER_INVALID, COI_BUFFER_NO_MOVE,
				 0, NULL, NULL),
	       COI_SUCCESS);
	EQUAL(sink_sum(buffer), 0);
	RESULT(COIBufferWrite(buffer, 0, data, 1000, 0, 0, NULL, NULL), COI_SUCCESS);
	EQUAL(sink_sum(buffer), pattern_sum(data, 1000));
	RESULT(COIBufferSetState(buffer, COI_PROCESS_SOURCE, COI_BUFFER_VALID, COI_BUFFER_MOVE, 0,
				 NULL, NULL),
	       COI_SUCCESS);
	RESULT(COIBufferSetState(buffer, COI_SINK_OWNERS, COI_BUFFER_INVALID, COI_BUFFER_NO_MOVE, 0,
				 NULL, NULL),
	       COI_SUCCESS);
	RESULT(COIBufferRead(buffer, 999, &byte, 1, 0, 0, NULL, NULL), COI_SUCCESS);
	EQUAL(byte, data[999]);
	RESULT(COIBufferSetState(buffer, COI_SINK_OWNERS, COI_BUFFER_INVALID, COI_BUFFER_MOVE, 0,
				 NULL, NULL),
	       COI_ARGUMENT_MISMATCH);
	RESULT(COIBufferSetState(buffer, COI_PROCESS_SOURCE, COI_BUFFER_VALID_MAY_DROP,
				 COI_BUFFER_MOVE, 0, NULL, NULL),
	       COI_ARGUMENT_MISMATCH);
	RESULT(COIBufferSetState(buffer, nobody, COI_BUFFER_VALID, COI_BUFFER_MOVE, 0, NULL, NULL),
	       COI_INVALID_HANDLE);
	RESULT(COIBufferDestroy(buffer), COI_SUCCESS);
	free(data);
}

/* Both see the same memory, at once. */
static void pinned_buffer_is_shared(void)
{
	unsigned char two = 2, *memory, back;
	COIMAPINSTANCE map;
	COIBUFFER buffer;
	void *address;
	COIRESULT result =
		COIBufferCreate(8192, COI_BUFFER_PINNED, 0, NULL, 1, &offload.process, &buffer);

	if (result == COI_NOT_SUPPORTED) { /* no memory of one side can be mapped by the other */
		case_skip();
		return;
	}
	RESULT(result, COI_SUCCESS);

	RESULT(COIBufferMap(buffer, 0, 0, COI_MAP_READ_WRITE, 0, NULL, NULL, &map, &address),
	       COI_SUCCESS);
	memory = address;
	memset(memory, 5, 8192);
	sink_add(buffer, 2); /* while it is mapped */
	EQUAL(memory[0], 7);
	EQUAL(memory[8191], 7);
	memory[1] = 100;
	EQUAL(sink_sum(buffer), 8191 * 7 + 100);
	RESULT(COIBufferWrite(buffer, 2, &two, 1, 0, 0, NULL, NULL), COI_SUCCESS);
	EQUAL(memory[2], 2);
	RESULT(COIBufferRead(buffer, 1, &back, 1, 0, 0, NULL, NULL), COI_SUCCESS);
	EQUAL(back, 100);
	RESULT(COIBufferSetState(buffer, offload.process, COI_BUFFER_VALID, COI_BUFFER_MOVE, 0,
				 NULL, NULL),
	       COI_NOT_SUPPORTED);
	RESULT(COIBufferUnmap(map, 0, NULL, NULL), COI_SUCCESS);
	RESULT(COIBufferDestroy(buffer), COI_SUCCESS);
}

static void streaming_to_the_sink(void)
{
	COIBUFFER buffer = buffer_of(COI_BUFFER_STREAMING_TO_SINK, 5000, 0, NULL);
	COI_ACCESS_FLAGS access = COI_SINK_READ;
	uint64_t sums[3], nap_ms = 100;
	COIEVENT done[3];
	COIMAPINSTANCE map;
	void *address;

	RESULT(COIPipelineRunFunction(offload.pipeline, function_of(offload.process, "nap"), 0,
				      NULL, NULL, 0, NULL, &nap_ms, 4, NULL, 0, NULL),
	       COI_SUCCESS);
	for (int i = 0; i < 3; i++) {
		/* Each map is fresh memory, though the function before has not run yet. */
		RESULT(COIBufferMap(buffer, 0, 0, COI_MAP_WRITE_ENTIRE_BUFFER, 0, NULL, NULL, &map,
				    &address),
		       COI_SUCCESS);
		memset(address, i + 1, 5000);
		RESULT(COIBufferUnmap(map, 0, NULL, NULL), COI_SUCCESS);
		RESULT(COIPipelineRunFunction(offload.pipeline, function_of(offload.process, "sum"),
					      1, &buffer, &access, 0, NULL, NULL, 0, &sums[i],
					      sizeof(sums[i]), &done[i]),
		       COI_SUCCESS);
	}
	RESULT(COIEventWait(3, done, -1, 1, NULL, NULL), COI_SUCCESS);
	for (int i = 0; i < 3; i++)
		EQUAL(sums[i], 5000 * (i + 1));
	RESULT(COIBufferMap(buffer, 0, 0, COI_MAP_READ_ONLY, 0, NULL, NULL, &map, &address),
	       COI_ARGUMENT_MISMATCH);
	RESULT(COIBufferWrite(buffer, 0, sums, 1, 0, 0, NULL, NULL), COI_NOT_SUPPORTED);
	RESULT(COIBufferDestroy(buffer), COI_SUCCESS);
}

static void streaming_to_the_source(void)
{
	COIBUFFER buffer = buffer_of(COI_BUFFER_STREAMING_TO_SOURCE, 5000, 0, NULL);
	COI_ACCESS_FLAGS entire = COI_SINK_WRITE_ENTIRE, read = COI_SINK_READ;
	COIMAPINSTANCE map;
	void *address;

	RESULT(COIPipelineRunFunction(offload.pipeline, function_of(offload.process, "fill"), 1,
				      &buffer, &read, 0, NULL, "a", 1, NULL, 0, NULL),
	       COI_ARGUMENT_MISMATCH);
	for (unsigned char i = 1; i <= 3; i++)
		RESULT(COIPipelineRunFunction(offload.pipeline,
					      function_of(offload.process, "fill"), 1, &buffer,
					      &entire, 0, NULL, &i, 1, NULL, 0, NULL),
		       COI_SUCCESS);
	for (int i = 1; i <= 3; i++) {
		RESULT(COIBufferMap(buffer, 0, 0, COI_MAP_READ_ONLY, 0, NULL, NULL, &map, &address),
		       COI_SUCCESS);
		EQUAL(((unsigned char *)address)[0], i);
		EQUAL(((unsigned char *)address)[4999], i);
		RESULT(COIBufferUnmap(map, 0, NULL, NULL), COI_SUCCESS);
	}
	RESULT(COIBufferDestroy(buffer), COI_SUCCESS);
}

static void sub_buffers(void)
{
	unsigned char *data = pattern_new(BYTES, 12);
	COIBUFFER whole = buffer_of(COI_BUFFER_OPENCL, BYTES, 0, data), part, other;
	COIBUFFER normal = buffer_of(COI_BUFFER_NORMAL, 100, 0, NULL);

	RESULT(COIBufferCreateSubBuffer(normal, 10, 0, &other), COI_NOT_SUPPORTED);
	RESULT(COIBufferCreateSubBuffer(whole, BYTES, 1, &other), COI_OUT_OF_RANGE);
	RESULT(COIBufferCreateSubBuffer(whole, 1000, 2000, &part), COI_SUCCESS);
	EQUAL(sink_sum(part), pattern_sum(data + 2000, 1000));
	sink_add(part, 1);
	for (size_t i = 2000; i < 3000; i++)
		data[i]++;
	EQUAL(sink_sum(whole), pattern_sum(data, BYTES));
	RESULT(COIBufferWrite(part, 0, data, 1000, 0, 0, NULL, NULL), COI_SUCCESS);
	memcpy(data + 2000, data, 1000);
	EQUAL(sink_sum(whole), pattern_sum(data, BYTES));
	RESULT(COIBufferDestroy(whole), COI_RETRY);
	RESULT(COIBufferDestroy(part), COI_SUCCESS);
	RESULT(COIBufferDestroy(whole), COI_SUCCESS);
	RESULT(COIBufferDestroy(normal), COI_SUCCESS);
	free(data);
}

static void same_addresses(void)
{
	COIBUFFER buffer =
		buffer_of(COI_BUFFER_NORMAL, BYTES, COI_SAME_ADDRESS_SINKS_AND_SOURCE, NULL);
	COI_ACCESS_FLAGS access = COI_SINK_READ;
	uint64_t address = 0, told[2];
	COIMAPINSTANCE map;
	void *here = NULL;

	RESULT(COIBufferGetSinkAddress(buffer, &address), COI_SUCCESS);
	RESULT(COIBufferMap(buffer, 0, 0, COI_MAP_READ_ONLY, 0, NULL, NULL, &map, &here),
	       COI_SUCCESS);
	CHECK((uintptr_t)here == address);
	RESULT(COIBufferUnmap(map, 0, NULL, NULL), COI_SUCCESS);
	RESULT(run_now(offload.pipeline, "describe", 1, &buffer, &access, NULL, 0, told,
		       sizeof(told)),
	       COI_SUCCESS);
	EQUAL(told[0], BYTES);
	CHECK(told[1] == address);
	RESULT(COIBufferGetSinkAddress(buffer, NULL), COI_INVALID_POINTER);
	RESULT(COIBufferDestroy(buffer), COI_SUCCESS);
}

static void references_keep_a_buffer(void)
{
	COIBUFFER buffer = buffer_of(COI_BUFFER_NORMAL, 4096, 0, NULL);
	COI_ACCESS_FLAGS access = COI_SINK_READ;
	int results[3] = { -1, -1, -1 };
	COIMAPINSTANCE map;
	COIEVENT mapped;
	void *address;

	RESULT(run_now(offload.pipeline, "hold", 1, &buffer, &access, NULL, 0, NULL, 0),
	       COI_SUCCESS);
	RESULT(COIBufferMap(buffer, 0, 0, COI_MAP_READ_WRITE, 0, NULL, &mapped, &map, &address),
	       COI_SUCCESS);
	RESULT(COIEventWait(1, &mapped, 50, 1, NULL, NULL), COI_TIME_OUT_REACHED);
	RESULT(run_now(offload.pipeline, "let_go", 0, NULL, NULL, NULL, 0, results,
		       sizeof(results)),
	       COI_SUCCESS);
	EQUAL(results[0], COI_SUCCESS);
	EQUAL(results[1], COI_INVALID_HANDLE);
	EQUAL(results[2], COI_INVALID_HANDLE);
	RESULT(COIEventWait(1, &mapped, -1, 1, NULL, NULL), COI_SUCCESS);
	RESULT(COIBufferUnmap(map, 0, NULL, NULL), COI_SUCCESS);
	RESULT(COIBufferAddRefcnt(offload.process, buffer, 1), COI_NOT_INITIALIZED);
	EQUAL(sink_sum(buffer), 0);
	RESULT(COIBufferAddRefcnt(offload.process, buffer, 2), COI_SUCCESS);
	RESULT(COIBufferReleaseRefcnt(offload.process, buffer, 2), COI_SUCCESS);
	RESULT(COIBufferReleaseRefcnt(offload.process, buffer, 1), COI_OUT_OF_RANGE);
	RESULT(COIBufferDestroy(buffer), COI_SUCCESS);
}

/* Two processes of one card: bytes follow the buffer. */
static void two_processes_share_a_buffer(void)
{
	unsigned char *data = pattern_new(BYTES, 14);
	COI_ACCESS_FLAGS write = COI_SINK_WRITE, read = COI_SINK_READ;
	COIPROCESS both[2] = { offload.process, NULL };
	COIPIPELINE pipeline;
	COIFUNCTION add;
	uint64_t sum = 0;
	COIBUFFER buffer, alone;
	COIEVENT done;

	RESULT(offload_start(&both[1], NULL, NULL), COI_SUCCESS);
	RESULT(COIPipelineCreate(both[1], NULL, 0, &pipeline), COI_SUCCESS);
	RESULT(COIBufferCreate(BYTES, COI_BUFFER_NORMAL, 0, data, 2, both, &buffer), COI_SUCCESS);
	RESULT(COIBufferCreate(10, COI_BUFFER_NORMAL, 0, NULL, 1, both, &alone), COI_SUCCESS);
	add = function_of(both[1], "add");
	RESULT(COIPipelineRunFunction(pipeline, add, 1, &buffer, &write, 0, NULL, "\1", 1, NULL, 0,
				      NULL),
	       COI_SUCCESS);
	for (size_t i = 0; i < BYTES; i++)
		data[i]++;
	/* In the other pipeline, after it, without a word about it. */
	RESULT(COIPipelineRunFunction(offload.pipeline, function_of(offload.process, "sum"), 1,
				      &buffer, &read, 0, NULL, NULL, 0, &sum, sizeof(sum), &done),
	       COI_SUCCESS);
	RESULT(COIEventWait(1, &done, -1, 1, NULL, NULL), COI_SUCCESS);
	EQUAL(sum, pattern_sum(data, BYTES));
	RESULT(COIPipelineRunFunction(pipeline, add, 1, &alone, &write, 0, NULL, "\1", 1, NULL, 0,
				      NULL),
	       COI_MISSING_DEPENDENCY);
	RESULT(COIProcessDestroy(both[1], 0, 1, NULL, NULL), COI_SUCCESS);
	EQUAL(sink_sum(buffer), pattern_sum(data, BYTES));
	RESULT(COIBufferDestroy(buffer), COI_SUCCESS);
	RESULT(COIBufferDestroy(alone), COI_SUCCESS);
	free(data);
}

/* Beyond any piece that something on the way may work in. */
static void large_transfers(void)
{
	size_t bytes = 40 << 20;
	unsigned char *data = pattern_new(bytes, 15), *back = malloc(bytes);
	COIBUFFER buffer = buffer_of(COI_BUFFER_NORMAL, bytes, 0, NULL);
	COIEVENT written, read;

	RESULT(COIBufferSetState(buffer, COI_PROCESS_SOURCE, COI_BUFFER_INVALID, COI_BUFFER_NO_MOVE,
				 0, NULL, NULL),
	       COI_SUCCESS);
	RESULT(COIBufferWrite(buffer, 0, data, bytes, 0, 0, NULL, &written), COI_SUCCESS);
	RESULT(COIBufferRead(buffer, 0, back, bytes, 0, 1, &written, &read), COI_SUCCESS);
	RESULT(COIEventWait(1, &read, -1, 1, NULL, NULL), COI_SUCCESS);
	CHECK(memcmp(data, back, bytes) == 0);
	EQUAL(sink_sum(buffer), pattern_sum(data, bytes));
	RESULT(COIBufferDestroy(buffer), COI_SUCCESS);
	free(data);
	free(back);
}

const struct test_case buffer_cases[] = {
	{ .name = "bad_creations", .run = bad_creations },
	{ .name = "normal_buffer_moves", .run = normal_buffer_moves },
	{ .name = "ranges_are_checked", .run = ranges_are_checked },
	{ .name = "sections_of_arrays", .run = sections_of_arrays },
	{ .name = "sections_move_their_bytes_only", .run = sections_move_their_bytes_only },
	{ .name = "sections_beside_a_writer", .run = sections_beside_a_writer },
	{ .name = "bad_sections", .run = bad_sections },
	{ .name = "maps_wait_and_keep_others_out", .run = maps_wait_and_keep_others_out },
	{ .name = "from_the_programs_memory", .run = from_the_programs_memory },
	{ .name = "on_the_sinks_memory", .run = on_the_sinks_memory },
	{ .name = "copies", .run = copies },
	{ .name = "states", .run = states },
	{ .name = "pinned_buffer_is_shared", .run = pinned_buffer_is_shared },
	{ .name = "streaming_to_the_sink", .run = streaming_to_the_sink },
	{ .name = "streaming_to_the_source", .run = streaming_to_the_source },
	{ .name = "sub_buffers", .run = sub_buffers },
	{ .name = "same_addresses", .run = same_addresses },
	{ .name = "references_keep_a_buffer", .run = references_keep_a_buffer },
	{ .name = "two_processes_share_a_buffer", .run = two_processes_share_a_buffer },
	{ .name = "large_transfers", .run = large_transfers },
	{ .name = NULL },
};
