/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver's linker: pieces travel to the worker as they are added, the linked image comes back
 * and belongs to the linker's handle, as CUDA says.
 */
#include <stdlib.h>

#include "cuda/client/client.h"
#include "cuda/client/options.h"
#include "lib/base/clean.h"

struct client_link {
	void *image;
	struct client_options options; /* of the linker: its logs are filled until it ends */
};

void client_link_release(struct client_link *link)
{
	if (!link)
		return;
	free(link->image);
	free(link);
}

CUresult client_cuLinkCreate_v2(unsigned int numOptions, CUjit_option *options, void **optionValues,
				CUlinkState *stateOut)
{
	struct wire_link_create_request request = { 0 };
	struct client_call call = { .number = CALL_link_create,
				    .block = &request,
				    .block_bytes = sizeof(request) };
	struct client_object *made;
	struct client_link *link;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!stateOut)
		return CUDA_ERROR_INVALID_VALUE;
	if (!client_context_number())
		return CUDA_ERROR_INVALID_CONTEXT;
	link = calloc(1, sizeof(*link));
	if (!link)
		return CUDA_ERROR_OUT_OF_MEMORY;
	result = client_options_read(&link->options, numOptions, options, optionValues);
	if (!result)
		result = client_handle_new(KIND_linker, client_context_number(), &made);
	if (result) {
		free(link);
		return result;
	}
	made->link = link;
	request.linker = made->number;
	request.option_count = link->options.count;
	client_call_piece(&call, link->options.wire,
			  link->options.count * sizeof(link->options.wire[0]));
	result = client_call_run(&call);
	if (result) {
		client_handle_end(made);
		return result;
	}
	if (link->options.error_log)
		*link->options.error_log = 0;
	*stateOut = client_handle_pointer(made);
	return CUDA_SUCCESS;
}

CUresult client_cuLinkAddData_v2(CUlinkState state, CUjitInputType type, void *data, size_t size,
				 const char *name, unsigned int numOptions, CUjit_option *options,
				 void **optionValues)
{
	struct client_object *object = client_object_of(KIND_linker, state);
	struct wire_link_add_request request = { .type = (int32_t)type };
	struct client_bulk bulk = { .at = data, .width_bytes = size, .rows = 1, .slices = 1 };
	struct client_call call = { .number = CALL_link_add,
				    .block = &request,
				    .block_bytes = sizeof(request),
				    .send = &bulk };
	autofree struct client_options *read = malloc(sizeof(*read));
	CUresult result = client_enter();

	if (result)
		return result;
	if (!object)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!data || !size)
		return CUDA_ERROR_INVALID_VALUE;
	if (!read)
		return CUDA_ERROR_OUT_OF_MEMORY;
	result = client_options_read(read, numOptions, options, optionValues);
	if (result)
		return result;
	name = name ? name : "";
	request.linker = object->number;
	request.option_count = read->count;
	request.log_bytes = object->link->options.error_log_bytes;
	request.name_bytes = (uint32_t)strnlen(name, CUDA_WIRE_STRING_BYTES_MAX - 1) + 1;
	client_call_piece(&call, name, request.name_bytes);
	client_call_piece(&call, read->wire, read->count * sizeof(read->wire[0]));
	call.tail = object->link->options.error_log;
	call.tail_capacity = object->link->options.error_log_bytes;
	return client_call_run(&call);
}

CUresult client_cuLinkAddFile_v2(CUlinkState state, CUjitInputType type, const char *path,
				 unsigned int numOptions, CUjit_option *options,
				 void **optionValues)
{
	autofree void *data = NULL;
	size_t bytes;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!path)
		return CUDA_ERROR_INVALID_VALUE;
	result = client_file_read(path, &data, &bytes);
	if (result)
		return result;
	/* Text is taken with its end, as from memory. */
	return client_cuLinkAddData_v2(state, type, data,
				       type == CU_JIT_INPUT_PTX ? bytes + 1 : bytes, path,
				       numOptions, options, optionValues);
}

CUresult client_cuLinkComplete(CUlinkState state, void **cubinOut, size_t *sizeOut)
{
	struct client_object *object = client_object_of(KIND_linker, state);
	struct wire_link_image_request request = { 0 };
	struct client_bulk bulk = { .rows = 1, .slices = 1 };
	struct client_call call = { .number = CALL_link_image,
				    .block = &request,
				    .block_bytes = sizeof(request),
				    .receive = &bulk };
	uint64_t bytes;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!object)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!cubinOut)
		return CUDA_ERROR_INVALID_VALUE;
	result = client_send_link_complete(object->number, &bytes);
	if (result)
		return result;
	free(object->link->image);
	object->link->image = malloc(bytes);
	if (!object->link->image)
		return CUDA_ERROR_OUT_OF_MEMORY;
	bulk.at = object->link->image;
	bulk.width_bytes = bytes;
	request.linker = object->number;
	result = client_call_run(&call);
	if (result)
		return result;
	*cubinOut = object->link->image;
	if (sizeOut)
		*sizeOut = bytes;
	return CUDA_SUCCESS;
}

CUresult client_cuLinkDestroy(CUlinkState state)
{
	struct client_object *object = client_object_of(KIND_linker, state);
	CUresult result = client_enter();

	if (result)
		return result;
	if (!object)
		return CUDA_ERROR_INVALID_HANDLE;
	result = client_send_link_destroy(object->number);
	client_handle_end(object);
	return result;
}

CUresult client_cuLinkCreate(unsigned int numOptions, CUjit_option *options, void **optionValues,
			     CUlinkState *stateOut)
{
	return client_cuLinkCreate_v2(numOptions, options, optionValues, stateOut);
}

CUresult client_cuLinkAddData(CUlinkState state, CUjitInputType type, void *data, size_t size,
			      const char *name, unsigned int numOptions, CUjit_option *options,
			      void **optionValues)
{
	return client_cuLinkAddData_v2(state, type, data, size, name, numOptions, options,
				       optionValues);
}

CUresult client_cuLinkAddFile(CUlinkState state, CUjitInputType type, const char *path,
			      unsigned int numOptions, CUjit_option *options, void **optionValues)
{
	return client_cuLinkAddFile_v2(state, type, path, numOptions, options, optionValues);
}
