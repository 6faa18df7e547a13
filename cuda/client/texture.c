/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Textures and surfaces: an object's number is the device's own, since kernels are given it; what
 * it reads is described with handles, which become numbers.
 */
#include "cuda/client/client.h"

/* resource_encode - the description without its handles */
static CUresult resource_encode(struct cuda_wire_resource *to, const CUDA_RESOURCE_DESC *from)
{
	*to = (struct cuda_wire_resource){ .type = (uint32_t)from->resType, .flags = from->flags };
	switch (from->resType) {
	case CU_RESOURCE_TYPE_ARRAY:
		return client_number_array(from->res.array.hArray, false, &to->array);
	case CU_RESOURCE_TYPE_MIPMAPPED_ARRAY:
		return client_number_mipmap(from->res.mipmap.hMipmappedArray, false, &to->array);
	case CU_RESOURCE_TYPE_LINEAR:
		to->at = from->res.linear.devPtr;
		to->format = (uint32_t)from->res.linear.format;
		to->channels = from->res.linear.numChannels;
		to->bytes = from->res.linear.sizeInBytes;
		return CUDA_SUCCESS;
	case CU_RESOURCE_TYPE_PITCH2D:
		to->at = from->res.pitch2D.devPtr;
		to->format = (uint32_t)from->res.pitch2D.format;
		to->channels = from->res.pitch2D.numChannels;
		to->width = from->res.pitch2D.width;
		to->height = from->res.pitch2D.height;
		to->pitch = from->res.pitch2D.pitchInBytes;
		return CUDA_SUCCESS;
	}
	return CUDA_ERROR_INVALID_VALUE;
}

static void *resource_handle(uint32_t number)
{
	struct client_object *object = client_handle_at(number);

	return object ? client_handle_pointer(object) : NULL;
}

static void resource_decode(CUDA_RESOURCE_DESC *to, const struct cuda_wire_resource *from)
{
	*to = (CUDA_RESOURCE_DESC){ .resType = (CUresourcetype)from->type, .flags = from->flags };
	switch (to->resType) {
	case CU_RESOURCE_TYPE_ARRAY:
		to->res.array.hArray = resource_handle(from->array);
		break;
	case CU_RESOURCE_TYPE_MIPMAPPED_ARRAY:
		to->res.mipmap.hMipmappedArray = resource_handle(from->array);
		break;
	case CU_RESOURCE_TYPE_LINEAR:
		to->res.linear.devPtr = from->at;
		to->res.linear.format = (CUarray_format)from->format;
		to->res.linear.numChannels = from->channels;
		to->res.linear.sizeInBytes = from->bytes;
		break;
	case CU_RESOURCE_TYPE_PITCH2D:
		to->res.pitch2D.devPtr = from->at;
		to->res.pitch2D.format = (CUarray_format)from->format;
		to->res.pitch2D.numChannels = from->channels;
		to->res.pitch2D.width = from->width;
		to->res.pitch2D.height = from->height;
		to->res.pitch2D.pitchInBytes = from->pitch;
		break;
	}
}

CUresult client_cuTexObjectCreate(CUtexObject *pTexObject, const CUDA_RESOURCE_DESC *pResDesc,
				  const CUDA_TEXTURE_DESC *pTexDesc,
				  const CUDA_RESOURCE_VIEW_DESC *pResViewDesc)
{
	struct wire_texture_create_request request = { .with_view = pResViewDesc != NULL };
	struct wire_texture_create_reply reply;
	struct client_call call = { .number = CALL_texture_create,
				    .block = &request,
				    .block_bytes = sizeof(request),
				    .reply = &reply,
				    .reply_bytes = sizeof(reply) };
	struct cuda_wire_resource resource;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!pTexObject || !pResDesc || !pTexDesc)
		return CUDA_ERROR_INVALID_VALUE;
	result = resource_encode(&resource, pResDesc);
	if (result)
		return result;
	client_call_piece(&call, &resource, sizeof(resource));
	client_call_piece(&call, pTexDesc, sizeof(*pTexDesc));
	if (pResViewDesc)
		client_call_piece(&call, pResViewDesc, sizeof(*pResViewDesc));
	result = client_call_run(&call);
	if (!result)
		*pTexObject = reply.object;
	return result;
}

CUresult client_cuTexObjectDestroy(CUtexObject texObject)
{
	CUresult result = client_enter();

	return result ? result : client_send_texture_destroy(texObject);
}

/* What the worker says of a texture: each part as it is, padded. */
struct texture_facts {
	struct cuda_wire_resource resource;
	CUDA_TEXTURE_DESC texture;
	CUDA_RESOURCE_VIEW_DESC view;
	uint32_t view_result; /* a texture without a view has an error here */
	uint32_t reserved;
};

static CUresult texture_describe(CUtexObject object, struct texture_facts *facts)
{
	struct wire_texture_describe_request request = { .object = object };
	struct client_call call = { .number = CALL_texture_describe,
				    .block = &request,
				    .block_bytes = sizeof(request),
				    .tail = facts,
				    .tail_capacity = sizeof(*facts) };
	CUresult result = client_enter();

	if (!result)
		result = client_call_run(&call);
	return !result && call.tail_bytes < sizeof(*facts) ? CUDA_ERROR_UNKNOWN : result;
}

CUresult client_cuTexObjectGetResourceDesc(CUDA_RESOURCE_DESC *pResDesc, CUtexObject texObject)
{
	struct texture_facts facts;
	CUresult result = texture_describe(texObject, &facts);

	if (!result && !pResDesc)
		result = CUDA_ERROR_INVALID_VALUE;
	if (!result)
		resource_decode(pResDesc, &facts.resource);
	return result;
}

CUresult client_cuTexObjectGetTextureDesc(CUDA_TEXTURE_DESC *pTexDesc, CUtexObject texObject)
{
	struct texture_facts facts;
	CUresult result = texture_describe(texObject, &facts);

	if (!result && !pTexDesc)
		result = CUDA_ERROR_INVALID_VALUE;
	if (!result)
		*pTexDesc = facts.texture;
	return result;
}

CUresult client_cuTexObjectGetResourceViewDesc(CUDA_RESOURCE_VIEW_DESC *pResViewDesc,
					       CUtexObject texObject)
{
	struct texture_facts facts;
	CUresult result = texture_describe(texObject, &facts);

	if (!result && !pResViewDesc)
		result = CUDA_ERROR_INVALID_VALUE;
	if (!result)
		result = (CUresult)facts.view_result;
	if (!result)
		*pResViewDesc = facts.view;
	return result;
}

CUresult client_cuSurfObjectCreate(CUsurfObject *pSurfObject, const CUDA_RESOURCE_DESC *pResDesc)
{
	struct wire_surface_create_request request = { { 0 } };
	struct wire_surface_create_reply reply;
	struct client_call call = { .number = CALL_surface_create,
				    .block = &request,
				    .block_bytes = sizeof(request),
				    .reply = &reply,
				    .reply_bytes = sizeof(reply) };
	struct cuda_wire_resource resource;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!pSurfObject || !pResDesc)
		return CUDA_ERROR_INVALID_VALUE;
	result = resource_encode(&resource, pResDesc);
	if (result)
		return result;
	client_call_piece(&call, &resource, sizeof(resource));
	result = client_call_run(&call);
	if (!result)
		*pSurfObject = reply.object;
	return result;
}

CUresult client_cuSurfObjectDestroy(CUsurfObject surfObject)
{
	CUresult result = client_enter();

	return result ? result : client_send_surface_destroy(surfObject);
}

CUresult client_cuSurfObjectGetResourceDesc(CUDA_RESOURCE_DESC *pResDesc, CUsurfObject surfObject)
{
	struct wire_surface_describe_request request = { .object = surfObject };
	struct cuda_wire_resource resource;
	struct client_call call = { .number = CALL_surface_describe,
				    .block = &request,
				    .block_bytes = sizeof(request),
				    .tail = &resource,
				    .tail_capacity = sizeof(resource) };
	CUresult result = client_enter();

	if (!result && !pResDesc)
		result = CUDA_ERROR_INVALID_VALUE;
	if (!result)
		result = client_call_run(&call);
	if (!result && call.tail_bytes < sizeof(resource))
		result = CUDA_ERROR_UNKNOWN;
	if (!result)
		resource_decode(pResDesc, &resource);
	return result;
}
