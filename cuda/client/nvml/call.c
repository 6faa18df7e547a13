/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A function that travels: its arguments, gathered by the row's shape, there and back.
 *
 * The exported functions take six integers of 64 bits, whatever NVML's header says of them:
 * integers and pointers are passed alike in the calling conventions of x86-64 and arm64, where an
 * argument that a caller does not pass is a register that nobody reads. Of a narrower one only its
 * bits are used.
 */
#include <stdlib.h>
#include <string.h>

#include "cuda/client/nvml/nvml.h"
#include "cuda/common/nvml_row.h"

/* What a call's arguments are made of, in order. */
struct call_layout {
	size_t bytes[NVML_WIRE_ARGUMENTS]; /* of what the argument points to */
	size_t offsets[NVML_WIRE_ARGUMENTS];
	size_t total;
};

static void *pointer_of(uint64_t argument)
{
	return (void *)(uintptr_t)argument; /* NOLINT: see above */
}

/* call_count - a list's room as it is asked for: at most what one message carries */
static uint32_t call_count(uint64_t argument)
{
	uint32_t count;

	memcpy(&count, pointer_of(argument), sizeof(count));
	return count < NVML_WIRE_ELEMENTS_MAX ? count : NVML_WIRE_ELEMENTS_MAX;
}

/* call_lay_out - the pointers' places in the data; an nvml_result */
static int call_lay_out(const struct nvml_row *row, const uint64_t *arguments,
			struct nvml_wire_request *request, struct call_layout *layout)
{
	uint32_t count = 0;

	for (unsigned int i = 0; row->shape[i]; i++) {
		char letter = row->shape[i];
		bool missing = letter == 'l' && (!arguments[i] || !count);
		long bytes;

		if (!nvml_row_points(letter))
			continue;
		if (!arguments[i] && letter != 'l')
			return NVML_ERROR_INVALID_ARGUMENT;
		if (letter == 'c')
			count = call_count(arguments[i]);
		bytes = missing ? 0
				: nvml_row_bytes(row, i, request->arguments,
						 pointer_of(arguments[i]), sizeof(uint32_t),
						 &count);
		if (missing)
			request->missing |= 1u << i;
		if (bytes < 0)
			return letter == 'v' ? NVML_ERROR_ARGUMENT_VERSION_MISMATCH
					     : NVML_ERROR_INVALID_ARGUMENT;
		layout->bytes[i] = (size_t)bytes;
		layout->offsets[i] = layout->total;
		layout->total += nvml_row_pad((size_t)bytes);
	}
	return layout->total <= NVML_WIRE_DATA_MAX ? NVML_SUCCESS : NVML_ERROR_INVALID_ARGUMENT;
}

/* call_move - the data from the program's memory, or back into it */
static void call_move(const struct nvml_row *row, const uint64_t *arguments,
		      const struct call_layout *layout, unsigned char *data, bool back)
{
	for (unsigned int i = 0; row->shape[i]; i++) {
		if (!layout->bytes[i])
			continue;
		if (back)
			memcpy(pointer_of(arguments[i]), data + layout->offsets[i],
			       layout->bytes[i]);
		else
			memcpy(data + layout->offsets[i], pointer_of(arguments[i]),
			       layout->bytes[i]);
		if (!back && row->shape[i] == 'c') {
			uint32_t count = call_count(arguments[i]);

			memcpy(data + layout->offsets[i], &count, sizeof(count));
		}
	}
}

/* call_values - the arguments that are no pointers; an nvml_result */
static int call_values(const struct nvml_row *row, const uint64_t *arguments,
		       struct nvml_wire_request *request)
{
	for (unsigned int i = 0; row->shape[i]; i++) {
		int index;

		switch (row->shape[i]) {
		case 'd':
			index = nvml_device_index(arguments[i]);
			if (index < 0)
				return NVML_ERROR_INVALID_ARGUMENT;
			request->arguments[i] = (uint64_t)index;
			break;
		case 'u':
			request->arguments[i] = (uint32_t)arguments[i];
			break;
		case 'n': /* no answer is longer */
			request->arguments[i] =
				(uint32_t)arguments[i] < 4096 ? (uint32_t)arguments[i] : 4096;
			break;
		case 'x':
			request->arguments[i] = arguments[i];
			break;
		default:
			break;
		}
	}
	return NVML_SUCCESS;
}

/* call_run - under the lock */
static int call_run(const struct nvml_row *row, const uint64_t *arguments)
{
	struct nvml_wire_request request = { 0 };
	struct call_layout layout = { 0 };
	unsigned char *data;
	int answer = NVML_ERROR_UNKNOWN;
	int result = call_values(row, arguments, &request);

	if (!result)
		result = call_lay_out(row, arguments, &request, &layout);
	if (result)
		return result;
	memcpy(request.name, row->name, strlen(row->name) + 1);
	request.data_bytes = (uint32_t)layout.total;
	data = calloc(1, layout.total + 1);
	if (!data)
		return NVML_ERROR_MEMORY;
	call_move(row, arguments, &layout, data, false);
	result = nvml_exchange(&request, data, &answer);
	if (!result) {
		call_move(row, arguments, &layout, data, true);
		result = answer;
	}
	free(data);
	return result;
}

int nvml_call(const char *name, const uint64_t arguments[NVML_WIRE_ARGUMENTS])
{
	const struct nvml_row *row = nvml_row_find(name);
	int result;

	if (!row)
		return NVML_ERROR_FUNCTION_NOT_FOUND;
	result = nvml_enter();
	if (result)
		return result;
	result = call_run(row, arguments);
	nvml_leave();
	return result;
}
