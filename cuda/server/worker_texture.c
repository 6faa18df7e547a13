/* SPDX-License-Identifier: Apache-2.0 */
/* Textures and surfaces on the driver's side: descriptions with numbers become ones with handles.
 */
#include "cuda/server/worker.h"

/* resource_decode - from the tail; what lies in device memory must be the client's own */
static CUresult resource_decode(struct worker_call *call, CUDA_RESOURCE_DESC *to)
{
	const struct cuda_wire_resource *from = worker_tail(call, 1, sizeof(*from));

	if (!from)
		return worker_broken(call);
	*to = (CUDA_RESOURCE_DESC){ .resType = (CUresourcetype)from->type, .flags = from->flags };
	switch (to->resType) {
	case CU_RESOURCE_TYPE_ARRAY:
		return worker_handle_find(call, KIND_array, from->array, false,
					  &to->res.array.hArray);
	case CU_RESOURCE_TYPE_MIPMAPPED_ARRAY:
		return worker_handle_find(call, KIND_mipmap, from->array, false,
					  &to->res.mipmap.hMipmappedArray);
	case CU_RESOURCE_TYPE_LINEAR:
		to->res.linear.devPtr = from->at;
		to->res.linear.format = (CUarray_format)from->format;
		to->res.linear.numChannels = from->channels;
		to->res.linear.sizeInBytes = from->bytes;
		return worker_range_check(call, from->at, from->bytes);
	case CU_RESOURCE_TYPE_PITCH2D:
		to->res.pitch2D.devPtr = from->at;
		to->res.pitch2D.format = (CUarray_format)from->format;
		to->res.pitch2D.numChannels = from->channels;
		to->res.pitch2D.width = from->width;
		to->res.pitch2D.height = from->height;
		to->res.pitch2D.pitchInBytes = from->pitch;
		/* The last row need not be as long as the pitch. */
		return from->height
			       ? worker_range_check(
					 call, from->at,
					 (unsigned __int128)(from->height - 1) * from->pitch + 1)
			       : CUDA_ERROR_INVALID_VALUE;
	}
	return CUDA_ERROR_INVALID_VALUE;
}

static struct cuda_wire_resource resource_encode(const CUDA_RESOURCE_DESC *from)
{
	struct cuda_wire_resource to = { .type = (uint32_t)from->resType, .flags = from->flags };

	switch (from->resType) {
	case CU_RESOURCE_TYPE_ARRAY:
		to.array = worker_handle_known(KIND_array, from->res.array.hArray);
		break;
	case CU_RESOURCE_TYPE_MIPMAPPED_ARRAY:
		to.array = worker_handle_known(KIND_mipmap, from->res.mipmap.hMipmappedArray);
		break;
	case CU_RESOURCE_TYPE_LINEAR:
		to.at = from->res.linear.devPtr;
		to.format = (uint32_t)from->res.linear.format;
		to.channels = from->res.linear.numChannels;
		to.bytes = from->res.linear.sizeInBytes;
		break;
	case CU_RESOURCE_TYPE_PITCH2D:
		to.at = from->res.pitch2D.devPtr;
		to.format = (uint32_t)from->res.pitch2D.format;
		to.channels = from->res.pitch2D.numChannels;
		to.width = from->res.pitch2D.width;
		to.height = from->res.pitch2D.height;
		to.pitch = from->res.pitch2D.pitchInBytes;
		break;
	}
	return to;
}

CUresult worker_texture_create(struct worker_call *call,
			       const struct wire_texture_create_request *request,
			       struct wire_texture_create_reply *reply)
{
	CUDA_RESOURCE_DESC resource;
	CUDA_TEXTURE_DESC texture;
	CUDA_RESOURCE_VIEW_DESC view;
	CUtexObject object = 0;
	const void *tail;
	CUresult result = resource_decode(call, &resource);

	if (result)
		return result;
	tail = worker_tail(call, 1, sizeof(texture));
	if (!tail)
		return worker_broken(call);
	memcpy(&texture, tail, sizeof(texture));
	if (request->with_view) {
		tail = worker_tail(call, 1, sizeof(view));
		if (!tail)
			return worker_broken(call);
		memcpy(&view, tail, sizeof(view));
	}
	if (!worker_driver.cuTexObjectCreate)
		return CUDA_ERROR_NOT_SUPPORTED;
	result = worker_driver.cuTexObjectCreate(&object, &resource, &texture,
						 request->with_view ? &view : NULL);
	reply->object = object;
	return result;
}

CUresult worker_texture_destroy(struct worker_call *call,
				const struct wire_texture_destroy_request *request)
{
	(void)call;
	return worker_driver.cuTexObjectDestroy ? worker_driver.cuTexObjectDestroy(request->object)
						: CUDA_ERROR_NOT_SUPPORTED;
}

CUresult worker_texture_describe(struct worker_call *call,
				 const struct wire_texture_describe_request *request)
{
	CUDA_RESOURCE_DESC resource = { 0 };
	struct {
		struct cuda_wire_resource resource;
		CUDA_TEXTURE_DESC texture;
		CUDA_RESOURCE_VIEW_DESC view;
		uint32_t view_result;
		uint32_t reserved;
	} facts = { 0 };
	CUresult result;

	if (!worker_driver.cuTexObjectGetResourceDesc || !worker_driver.cuTexObjectGetTextureDesc)
		return CUDA_ERROR_NOT_SUPPORTED;
	result = worker_driver.cuTexObjectGetResourceDesc(&resource, request->object);
	if (!result)
		result = worker_driver.cuTexObjectGetTextureDesc(&facts.texture, request->object);
	if (result)
		return result;
	facts.resource = resource_encode(&resource);
	facts.view_result = CUDA_ERROR_NOT_SUPPORTED;
	if (worker_driver.cuTexObjectGetResourceViewDesc)
		facts.view_result =
			worker_driver.cuTexObjectGetResourceViewDesc(&facts.view, request->object);
	return worker_list_add(call, &facts, 1, sizeof(facts));
}

CUresult worker_surface_create(struct worker_call *call,
			       const struct wire_surface_create_request *request,
			       struct wire_surface_create_reply *reply)
{
	CUDA_RESOURCE_DESC resource;
	CUsurfObject object = 0;
	CUresult result = resource_decode(call, &resource);

	(void)request;
	if (result)
		return result;
	if (!worker_driver.cuSurfObjectCreate)
		return CUDA_ERROR_NOT_SUPPORTED;
	result = worker_driver.cuSurfObjectCreate(&object, &resource);
	reply->object = object;
	return result;
}

CUresult worker_surface_destroy(struct worker_call *call,
				const struct wire_surface_destroy_request *request)
{
	(void)call;
	return worker_driver.cuSurfObjectDestroy
		       ? worker_driver.cuSurfObjectDestroy(request->object)
		       : CUDA_ERROR_NOT_SUPPORTED;
}

CUresult worker_surface_describe(struct worker_call *call,
				 const struct wire_surface_describe_request *request)
{
	CUDA_RESOURCE_DESC resource = { 0 };
	struct cuda_wire_resource wire;
	CUresult result;

	if (!worker_driver.cuSurfObjectGetResourceDesc)
		return CUDA_ERROR_NOT_SUPPORTED;
	result = worker_driver.cuSurfObjectGetResourceDesc(&resource, request->object);
	if (result)
		return result;
	wire = resource_encode(&resource);
	return worker_list_add(call, &wire, 1, sizeof(wire));
}
