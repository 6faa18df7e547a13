/* SPDX-License-Identifier: Apache-2.0 */
/* The driver's linker: options and pieces as they come, the image back as bulk. */
#include <stdlib.h>

#include "cuda/server/worker.h"
#include "lib/base/clean.h"

#define LOG_BYTES 32768u

/* What a linker keeps: the driver writes its log until the linker ends. */
struct linker {
	struct worker_options_read options;
	const void *image; /* the driver's, once it is complete */
	size_t image_bytes;
	char log[LOG_BYTES];
};

CUresult worker_link_create(struct worker_call *call,
			    const struct wire_link_create_request *request)
{
	struct linker *linker = calloc(1, sizeof(*linker));
	struct worker_options_read *options = &linker->options;
	CUlinkState state;
	CUresult result;

	if (!linker)
		return CUDA_ERROR_OUT_OF_MEMORY;
	result = worker_options_decode(call, request->option_count, 0, options);
	if (!result && !worker_handle_free(call, request->linker))
		result = worker_broken(call);
	if (!result && !worker_driver.cuLinkCreate_v2)
		result = CUDA_ERROR_NOT_SUPPORTED;
	if (!result) {
		options->names[options->count] = CU_JIT_ERROR_LOG_BUFFER;
		options->values[options->count++] = linker->log;
		options->names[options->count] = CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES;
		options->values[options->count++] = (void *)(uintptr_t)LOG_BYTES;
		result = worker_driver.cuLinkCreate_v2(options->count, options->names,
						       options->values, &state);
	}
	if (!result)
		result = worker_handle_set(call, KIND_linker, request->linker, state,
					   call->request.context);
	if (result) {
		free(linker);
		return result;
	}
	worker_handle_own(request->linker, linker);
	return CUDA_SUCCESS;
}

/* linker_log - what the driver wrote becomes the reply's tail */
static void linker_log(struct worker_call *call, const struct linker *linker, uint32_t log_bytes)
{
	size_t used = strnlen(linker->log, LOG_BYTES - 1) + 1;

	if (log_bytes > LOG_BYTES || used + 8 > log_bytes || used == 1)
		return;
	memset(call->reply, 0, (used + 7) & ~(size_t)7);
	memcpy(call->reply, linker->log, used);
	call->reply_tail_bytes = used;
}

CUresult worker_link_add(struct worker_call *call, const struct wire_link_add_request *request,
			 const char *name)
{
	autofree struct worker_options_read *options = malloc(sizeof(*options));
	autofree void *data = NULL;
	struct linker *linker;
	CUlinkState state;
	uint64_t bytes;
	CUresult result = options ? worker_options_decode(call, request->option_count, 0, options)
				  : CUDA_ERROR_OUT_OF_MEMORY;

	if (!result)
		result = worker_handle_find(call, KIND_linker, request->linker, false, &state);
	if (!result)
		result = worker_bulk_read(call, &data, &bytes);
	if (result)
		return result;
	linker = worker_handle_owned(request->linker);
	if (!linker || !worker_driver.cuLinkAddData_v2)
		return CUDA_ERROR_NOT_SUPPORTED;
	result = worker_driver.cuLinkAddData_v2(state, (CUjitInputType)request->type, data, bytes,
						name, options->count, options->names,
						options->values);
	linker_log(call, linker, request->log_bytes);
	return result;
}

CUresult worker_link_complete(struct worker_call *call,
			      const struct wire_link_complete_request *request,
			      struct wire_link_complete_reply *reply)
{
	struct linker *linker = worker_handle_owned(request->linker);
	CUlinkState state;
	void *image = NULL;
	size_t bytes = 0;
	CUresult result = worker_handle_find(call, KIND_linker, request->linker, false, &state);

	if (result)
		return result;
	if (!linker || !worker_driver.cuLinkComplete)
		return CUDA_ERROR_NOT_SUPPORTED;
	result = worker_driver.cuLinkComplete(state, &image, &bytes);
	if (result)
		return result;
	linker->image = image;
	linker->image_bytes = bytes;
	reply->bytes = bytes;
	return CUDA_SUCCESS;
}

CUresult worker_link_image(struct worker_call *call, const struct wire_link_image_request *request)
{
	const struct linker *linker = worker_handle_owned(request->linker);
	CUlinkState state;
	int error;
	CUresult result = worker_handle_find(call, KIND_linker, request->linker, false, &state);

	if (result)
		return result;
	if (!linker || !linker->image)
		return CUDA_ERROR_INVALID_VALUE;
	error = worker_piece_send(call, linker->image, linker->image_bytes);
	return error ? worker_link_failed(call, error) : CUDA_SUCCESS;
}

CUresult worker_link_destroy(struct worker_call *call,
			     const struct wire_link_destroy_request *request)
{
	CUlinkState state;
	CUresult result = worker_handle_find(call, KIND_linker, request->linker, false, &state);

	if (result)
		return result;
	result = worker_driver.cuLinkDestroy ? worker_driver.cuLinkDestroy(state)
					     : CUDA_ERROR_NOT_SUPPORTED;
	worker_handle_end(call, request->linker);
	return result;
}
