/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies and fills.
 *
 * Every copy becomes a pair of boxes: address, pitch and height of each side, and the extent in
 * bytes, rows and slices. What has no gaps on the host's side and the device's is sent as one run
 * of bytes. Which side is where follows from the range table, whatever the function's name says,
 * so that a device address is never touched here.
 *
 * To the device: without a reply where the program does not wait. From the device: the call
 * waits, also for the asynchronous functions: the bytes are there when it returns, which is
 * sooner than CUDA promises.
 */
#include <stdlib.h>

#include "cuda/common/batch.h"
#include "cuda/client/client.h"
#include "cuda/client/node.h"
#include "cuda/client/shared.h"
#include "cuda/common/range.h"

#define PART_BYTES	 (4u << 20)   /* of one request */
#define STAGED_BYTES_MIN (128u << 10) /* what is smaller travels with its request */

struct side {
	uint64_t at;
	uint64_t pitch;	  /* bytes from row to row */
	uint64_t height;  /* rows from slice to slice */
	bool device;	  /* the worker reaches it by its address */
	bool shared;	  /* .device, and pinned memory of the program's */
	uint32_t context; /* of a peer copy, else 0 */
};

struct copy {
	struct side to, from;
	uint64_t width_bytes, rows, slices;
	CUstream stream;
	bool wait;
};

/* side_bytes - what a side spans, in 128 bits since every factor is the program's */
static unsigned __int128 side_bytes(const struct copy *copy, const struct side *side)
{
	return ((unsigned __int128)(copy->slices - 1) * side->height + (copy->rows - 1)) *
		       side->pitch +
	       copy->width_bytes;
}

/* side_place - find out where a side is; device ranges must cover what is copied */
static CUresult side_place(const struct copy *copy, struct side *side, bool must_be_device)
{
	unsigned __int128 bytes = side_bytes(copy, side);
	struct range range;
	bool known = client_range_lookup(side->at, &range);
	bool inside = known && bytes <= range.bytes - (side->at - range.start);

	side->device = known && client_range_on_device(&range);
	side->shared = side->device && range.kind == CLIENT_RANGE_HOST;
	if (side->shared && !inside)
		side->shared = side->device = false; /* pinned in part: as if it were not */
	if (side->device)
		return inside ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
	if (must_be_device || !side->at || bytes > UINT64_MAX - side->at)
		return CUDA_ERROR_INVALID_VALUE;
	return CUDA_SUCCESS;
}

/* side_flat - no gaps between rows and slices */
static bool side_flat(const struct copy *copy, const struct side *side)
{
	return (copy->rows == 1 || side->pitch == copy->width_bytes) &&
	       (copy->slices == 1 || side->pitch * side->height == copy->width_bytes * copy->rows);
}

static struct client_bulk side_bulk(const struct copy *copy, const struct side *side)
{
	return (struct client_bulk){
		.at = (unsigned char *)(uintptr_t)side->at,
		.width_bytes = copy->width_bytes,
		.pitch = side->pitch,
		.rows = copy->rows,
		.slice_pitch = side->pitch * side->height,
		.slices = copy->slices,
	};
}

/* copy_flat_part - @bytes that lie together on both sides; the last part may be waited for */
static CUresult copy_flat_part(uint64_t to, const struct client_bulk *bulk, uint32_t stream,
			       bool wait)
{
	struct wire_copy_to_device_request request = { .to = to, .stream = stream };
	struct client_call call = { .number = wait ? CALL_copy_to_device_wait : CALL_copy_to_device,
				    .flags = wait ? 0 : CLIENT_NO_REPLY,
				    .block = &request,
				    .block_bytes = sizeof(request),
				    .send = bulk };

	static_assert(sizeof(struct wire_copy_to_device_wait_request) == sizeof(request),
		      "the two copies are sent alike");
	return client_call_run(&call);
}

/* copy_staged - a large copy of pageable memory; CUDA_ERROR_NOT_SUPPORTED: go another way */
static CUresult copy_staged(const struct copy *copy, uint32_t stream)
{
	uint64_t bytes = copy->width_bytes * copy->rows * copy->slices;
	CUresult result;

	if (bytes < STAGED_BYTES_MIN || !client_shared_ready())
		return CUDA_ERROR_NOT_SUPPORTED;
	/* As the driver does: what is before it in the stream has ended when it begins. */
	result = client_send_stream_synchronize(stream);
	if (result)
		return result;
	return copy->to.device
		       ? client_staged_to_device(
				 copy->to.at, (const void *)(uintptr_t)copy->from.at, bytes, stream)
		       : client_staged_from_device((void *)(uintptr_t)copy->to.at, copy->from.at,
						   bytes, stream);
}

/* copy_flat_to_device - in parts, so that other threads' calls find their way between them */
static CUresult copy_flat_to_device(const struct copy *copy, uint32_t stream)
{
	uint64_t bytes = copy->width_bytes * copy->rows * copy->slices, sent = 0;
	CUresult result = copy_staged(copy, stream);

	if (result != CUDA_ERROR_NOT_SUPPORTED)
		return result;
	result = CUDA_SUCCESS;
	while (sent < bytes && !result) {
		uint64_t part = bytes - sent < PART_BYTES ? bytes - sent : PART_BYTES;
		struct client_bulk bulk = { .at = (unsigned char *)(uintptr_t)copy->from.at + sent,
					    .width_bytes = part,
					    .rows = 1,
					    .slices = 1 };

		if (sent)
			client_call_give_way();
		result = copy_flat_part(copy->to.at + sent, &bulk, stream,
					copy->wait && sent + part == bytes);
		sent += part;
	}
	return result;
}

static CUresult copy_to_device(const struct copy *copy, uint32_t stream)
{
	struct client_bulk bulk = side_bulk(copy, &copy->from);
	struct wire_copy_box_to_device_request box = {
		.to = copy->to.at,
		.pitch = copy->to.pitch,
		.height = copy->to.height,
		.width_bytes = copy->width_bytes,
		.rows = copy->rows,
		.slices = copy->slices,
		.stream = stream,
	};
	struct client_call call = { .number = CALL_copy_box_to_device,
				    .block = &box,
				    .block_bytes = sizeof(box),
				    .send = &bulk };

	if (!side_flat(copy, &copy->to))
		return client_call_run(&call);
	if (side_flat(copy, &copy->from))
		return copy_flat_to_device(copy, stream);
	return copy_flat_part(copy->to.at, &bulk, stream, copy->wait);
}

static CUresult copy_from_device(const struct copy *copy, uint32_t stream)
{
	struct client_bulk bulk = side_bulk(copy, &copy->to);
	struct wire_copy_from_device_request flat = {
		.from = copy->from.at,
		.bytes = copy->width_bytes * copy->rows * copy->slices,
		.stream = stream,
	};
	struct wire_copy_box_from_device_request box = {
		.from = copy->from.at,
		.pitch = copy->from.pitch,
		.height = copy->from.height,
		.width_bytes = copy->width_bytes,
		.rows = copy->rows,
		.slices = copy->slices,
		.stream = stream,
	};
	struct client_call call = { .receive = &bulk };

	if (side_flat(copy, &copy->from) && side_flat(copy, &copy->to)) {
		CUresult result = copy_staged(copy, stream);

		if (result != CUDA_ERROR_NOT_SUPPORTED)
			return result;
	}
	if (side_flat(copy, &copy->from)) {
		call.number = CALL_copy_from_device;
		call.block = &flat;
		call.block_bytes = sizeof(flat);
	} else {
		call.number = CALL_copy_box_from_device;
		call.block = &box;
		call.block_bytes = sizeof(box);
	}
	return client_call_run(&call);
}

/* copy_on_device_issue - both sides are the worker's, too */
static CUresult copy_on_device_issue(const struct copy *copy, uint32_t stream)
{
	if (side_flat(copy, &copy->to) && side_flat(copy, &copy->from))
		return client_send_copy_on_device(copy->to.at, copy->from.at,
						  copy->width_bytes * copy->rows * copy->slices,
						  stream, copy->to.context, copy->from.context);
	return client_send_copy_box_on_device(copy->to.at, copy->to.pitch, copy->to.height,
					      copy->from.at, copy->from.pitch, copy->from.height,
					      copy->width_bytes, copy->rows, copy->slices, stream);
}

static CUresult copy_on_device(const struct copy *copy, uint32_t stream)
{
	CUresult result = copy_on_device_issue(copy, stream);

	/* Between the device and pinned memory the program sees when it is done. */
	if (!result && copy->wait && (copy->to.shared || copy->from.shared))
		result = client_send_stream_synchronize(stream);
	return result;
}

/* copy_on_host - both sides are the program's: in stream order, hence after what is queued */
static CUresult copy_on_host(const struct copy *copy)
{
	CUresult result = client_cuStreamSynchronize(copy->stream);

	if (result)
		return result;
	for (uint64_t slice = 0; slice < copy->slices; slice++) {
		for (uint64_t row = 0; row < copy->rows; row++) {
			uint64_t to = (slice * copy->to.height + row) * copy->to.pitch;
			uint64_t from = (slice * copy->from.height + row) * copy->from.pitch;

			memmove((void *)(uintptr_t)(copy->to.at + to),
				(const void *)(uintptr_t)(copy->from.at + from), copy->width_bytes);
		}
	}
	return CUDA_SUCCESS;
}

/* copy_run - place both sides, then the way that fits; @to_device, @from_device: what must hold */
static CUresult copy_run(struct copy *copy, bool to_device, bool from_device)
{
	uint32_t stream;
	CUresult result = client_enter();

	if (!result && !client_context_number())
		result = CUDA_ERROR_INVALID_CONTEXT;
	if (!result)
		result = client_number_stream(copy->stream, true, &stream);
	if (result)
		return result;
	if (!copy->width_bytes || !copy->rows || !copy->slices)
		return CUDA_SUCCESS;
	result = side_place(copy, &copy->to, to_device);
	if (!result)
		result = side_place(copy, &copy->from, from_device);
	if (result)
		return result;
	if (copy->to.device && copy->from.device)
		return copy_on_device(copy, stream);
	/* A graph would read and write the program's memory when it runs, which only pinned memory
	 * that the worker has as well allows. */
	if (client_capture_active(copy->stream))
		return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	if (copy->to.device && !copy->to.shared)
		return copy_to_device(copy, stream);
	return copy->from.device && !copy->from.shared ? copy_from_device(copy, stream)
						       : copy_on_host(copy);
}

/* copy_linear - one run of bytes */
static CUresult copy_linear(uint64_t to, uint64_t from, size_t bytes, CUstream stream, bool wait,
			    bool to_device, bool from_device)
{
	struct copy copy = { .to = { .at = to, .pitch = bytes, .height = 1 },
			     .from = { .at = from, .pitch = bytes, .height = 1 },
			     .width_bytes = bytes,
			     .rows = 1,
			     .slices = 1,
			     .stream = stream,
			     .wait = wait };

	return copy_run(&copy, to_device, from_device);
}

CUresult client_cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t ByteCount)
{
	return copy_linear(dst, src, ByteCount, NULL, true, false, false);
}

CUresult client_cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t ByteCount, CUstream hStream)
{
	return copy_linear(dst, src, ByteCount, hStream, false, false, false);
}

/* A pageable source is read before this returns, which is as early as any attribute asks for. */
CUresult client_cuMemcpyBatchAsync(CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes,
				   size_t count, CUmemcpyAttributes *attrs, size_t *attrsIdxs,
				   size_t numAttrs, size_t *failIdx, CUstream hStream)
{
	const struct batch batch = { dsts, srcs, sizes, count, attrs, attrsIdxs, numAttrs };
	uint32_t stream;
	CUresult result = client_enter();

	if (failIdx)
		*failIdx = SIZE_MAX; /* no copy in particular */
	if (!result)
		result = client_number_stream(hStream, true, &stream);
	if (!result && (!stream || !batch_valid(&batch)))
		result = CUDA_ERROR_INVALID_VALUE;
	for (size_t i = 0; i < count && !result; i++) {
		result = client_cuMemcpyAsync(dsts[i], srcs[i], sizes[i], hStream);
		if (result && failIdx)
			*failIdx = i;
	}
	return result;
}

CUresult client_cuMemcpyBatchAsync_v2(CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes,
				      size_t count, CUmemcpyAttributes *attrs, size_t *attrsIdxs,
				      size_t numAttrs, CUstream hStream)
{
	return client_cuMemcpyBatchAsync(dsts, srcs, sizes, count, attrs, attrsIdxs, numAttrs, NULL,
					 hStream);
}

CUresult client_cuMemcpyHtoD_v2(CUdeviceptr dstDevice, const void *srcHost, size_t ByteCount)
{
	return copy_linear(dstDevice, (uintptr_t)srcHost, ByteCount, NULL, true, true, false);
}

CUresult client_cuMemcpyHtoDAsync_v2(CUdeviceptr dstDevice, const void *srcHost, size_t ByteCount,
				     CUstream hStream)
{
	return copy_linear(dstDevice, (uintptr_t)srcHost, ByteCount, hStream, false, true, false);
}

CUresult client_cuMemcpyDtoH_v2(void *dstHost, CUdeviceptr srcDevice, size_t ByteCount)
{
	return copy_linear((uintptr_t)dstHost, srcDevice, ByteCount, NULL, true, false, true);
}

CUresult client_cuMemcpyDtoHAsync_v2(void *dstHost, CUdeviceptr srcDevice, size_t ByteCount,
				     CUstream hStream)
{
	return copy_linear((uintptr_t)dstHost, srcDevice, ByteCount, hStream, false, false, true);
}

CUresult client_cuMemcpyDtoD_v2(CUdeviceptr dstDevice, CUdeviceptr srcDevice, size_t ByteCount)
{
	return copy_linear(dstDevice, srcDevice, ByteCount, NULL, true, true, true);
}

CUresult client_cuMemcpyDtoDAsync_v2(CUdeviceptr dstDevice, CUdeviceptr srcDevice, size_t ByteCount,
				     CUstream hStream)
{
	return copy_linear(dstDevice, srcDevice, ByteCount, hStream, false, true, true);
}

static CUresult copy_peer(CUdeviceptr to, CUcontext to_context, CUdeviceptr from,
			  CUcontext from_context, size_t bytes, CUstream stream)
{
	struct copy copy = { .to = { .at = to, .pitch = bytes, .height = 1 },
			     .from = { .at = from, .pitch = bytes, .height = 1 },
			     .width_bytes = bytes,
			     .rows = 1,
			     .slices = 1,
			     .stream = stream };
	CUresult result = client_enter();

	if (!result)
		result = client_number_context(to_context, true, &copy.to.context);
	if (!result)
		result = client_number_context(from_context, true, &copy.from.context);
	return result ? result : copy_run(&copy, true, true);
}

CUresult client_cuMemcpyPeer(CUdeviceptr dstDevice, CUcontext dstContext, CUdeviceptr srcDevice,
			     CUcontext srcContext, size_t ByteCount)
{
	return copy_peer(dstDevice, dstContext, srcDevice, srcContext, ByteCount, NULL);
}

CUresult client_cuMemcpyPeerAsync(CUdeviceptr dstDevice, CUcontext dstContext,
				  CUdeviceptr srcDevice, CUcontext srcContext, size_t ByteCount,
				  CUstream hStream)
{
	return copy_peer(dstDevice, dstContext, srcDevice, srcContext, ByteCount, hStream);
}

/* copy_side - one side of a CUDA_MEMCPY structure; *device: its type says so */
static CUresult copy_side(struct side *side, bool *device, CUmemorytype type, const void *host,
			  CUdeviceptr address, size_t x, size_t y, size_t z, size_t pitch,
			  size_t height)
{
	uint64_t offset, slices;

	switch (type) {
	case CU_MEMORYTYPE_HOST:
		side->at = (uintptr_t)host;
		break;
	case CU_MEMORYTYPE_DEVICE:
	case CU_MEMORYTYPE_UNIFIED:
		side->at = address;
		break;
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
	*device = type == CU_MEMORYTYPE_DEVICE;
	side->pitch = pitch;
	side->height = height;
	if (__builtin_mul_overflow(z, height, &slices) ||
	    __builtin_add_overflow(slices, y, &slices) ||
	    __builtin_mul_overflow(slices, pitch, &offset) ||
	    __builtin_add_overflow(offset, x, &offset) ||
	    __builtin_add_overflow(side->at, offset, &side->at))
		return CUDA_ERROR_INVALID_VALUE;
	return CUDA_SUCCESS;
}

/* copy_geometry - a pitch of 0 means rows without gaps; otherwise rows must fit into it */
static CUresult copy_geometry(struct copy *copy, struct side *side, size_t x)
{
	uint64_t bytes;

	if (!side->pitch)
		side->pitch = copy->width_bytes;
	if (!side->height)
		side->height = copy->rows;
	if ((copy->rows > 1 || copy->slices > 1) &&
	    (side->pitch < copy->width_bytes || side->pitch - copy->width_bytes < x))
		return CUDA_ERROR_INVALID_VALUE;
	if (copy->slices > 1 && side->height < copy->rows)
		return CUDA_ERROR_INVALID_VALUE;
	if (__builtin_mul_overflow(copy->width_bytes, copy->rows, &bytes) ||
	    __builtin_mul_overflow(bytes, copy->slices, &bytes) ||
	    __builtin_mul_overflow(side->pitch, side->height, &bytes))
		return CUDA_ERROR_INVALID_VALUE;
	return CUDA_SUCCESS;
}

/* box_host - what the program's side of a copy with an array is, row after row */
static struct client_bulk box_host(const CUDA_MEMCPY3D_PEER *box, bool to)
{
	size_t pitch = to ? box->dstPitch : box->srcPitch;
	size_t height = to ? box->dstHeight : box->srcHeight;
	size_t x = to ? box->dstXInBytes : box->srcXInBytes;
	size_t y = to ? box->dstY : box->srcY, z = to ? box->dstZ : box->srcZ;
	unsigned char *at = to ? box->dstHost : (unsigned char *)(uintptr_t)box->srcHost;

	pitch = pitch ? pitch : box->WidthInBytes;
	height = height ? height : box->Height;
	return (struct client_bulk){ .at = at + (z * height + y) * pitch + x,
				     .width_bytes = box->WidthInBytes,
				     .pitch = pitch,
				     .rows = box->Height,
				     .slice_pitch = pitch * height,
				     .slices = box->Depth };
}

/* box_type - of one side; an address of the program's or of the device's, where it says neither */
static CUmemorytype box_type(CUmemorytype type, CUdeviceptr at)
{
	struct range range;

	if (type != CU_MEMORYTYPE_UNIFIED)
		return type;
	return client_range_lookup(at, &range) && range.kind != CLIENT_RANGE_HOST
		       ? CU_MEMORYTYPE_DEVICE
		       : CU_MEMORYTYPE_HOST;
}

/* copy_array - with an array on one side or both; the program waits where its memory takes part */
static CUresult copy_array(const CUDA_MEMCPY3D_PEER *box, CUstream stream)
{
	struct wire_copy_array_request request = { 0 };
	struct cuda_wire_copy wire = { .width_bytes = box->WidthInBytes,
				       .rows = box->Height,
				       .slices = box->Depth };
	struct client_call call = { .number = CALL_copy_array,
				    .block = &request,
				    .block_bytes = sizeof(request) };
	CUmemorytype from = box_type(box->srcMemoryType, box->srcDevice);
	CUmemorytype to = box_type(box->dstMemoryType, box->dstDevice);
	struct client_bulk bulk;
	CUresult result = client_number_stream(stream, true, &request.stream);

	if (!result)
		result = client_place(&wire.from, from, NULL, box->srcDevice, box->srcArray,
				      box->srcXInBytes, box->srcY, box->srcZ, box->srcLOD,
				      box->srcPitch, box->srcHeight);
	if (!result)
		result = client_place(&wire.to, to, NULL, box->dstDevice, box->dstArray,
				      box->dstXInBytes, box->dstY, box->dstZ, box->dstLOD,
				      box->dstPitch, box->dstHeight);
	if (result)
		return result;
	request.from_host = from == CU_MEMORYTYPE_HOST;
	request.to_host = to == CU_MEMORYTYPE_HOST;
	if ((request.from_host || request.to_host) && client_capture_active(stream))
		return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	if (request.from_host || request.to_host) {
		CUDA_MEMCPY3D_PEER plain = *box;

		if (box->srcMemoryType == CU_MEMORYTYPE_UNIFIED)
			plain.srcHost = (const void *)(uintptr_t)box->srcDevice;
		if (box->dstMemoryType == CU_MEMORYTYPE_UNIFIED)
			plain.dstHost = (void *)(uintptr_t)box->dstDevice;
		bulk = box_host(&plain, request.to_host);
		if (!bulk.at)
			return CUDA_ERROR_INVALID_VALUE;
		if (request.to_host)
			call.receive = &bulk;
		else
			call.send = &bulk;
	}
	client_call_piece(&call, &wire, sizeof(wire));
	return client_call_run(&call);
}

/* copy_box - the common form of the structures below */
static CUresult copy_box(const CUDA_MEMCPY3D_PEER *box, CUstream stream, bool wait)
{
	struct copy copy = { .width_bytes = box->WidthInBytes,
			     .rows = box->Height,
			     .slices = box->Depth,
			     .stream = stream,
			     .wait = wait };
	bool to_device = false, from_device = false;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!copy.width_bytes || !copy.rows || !copy.slices)
		return CUDA_SUCCESS;
	if (box->srcMemoryType == CU_MEMORYTYPE_ARRAY || box->dstMemoryType == CU_MEMORYTYPE_ARRAY)
		return copy_array(box, stream);
	result = copy_side(&copy.to, &to_device, box->dstMemoryType, box->dstHost, box->dstDevice,
			   box->dstXInBytes, box->dstY, box->dstZ,
			   box->dstPitch ? box->dstPitch : box->WidthInBytes,
			   box->dstHeight ? box->dstHeight : box->Height);
	if (!result)
		result = copy_side(&copy.from, &from_device, box->srcMemoryType, box->srcHost,
				   box->srcDevice, box->srcXInBytes, box->srcY, box->srcZ,
				   box->srcPitch ? box->srcPitch : box->WidthInBytes,
				   box->srcHeight ? box->srcHeight : box->Height);
	if (!result)
		result = copy_geometry(&copy, &copy.to, box->dstXInBytes);
	if (!result)
		result = copy_geometry(&copy, &copy.from, box->srcXInBytes);
	if (!result && box->dstContext)
		result = client_number_context(box->dstContext, true, &copy.to.context);
	if (!result && box->srcContext)
		result = client_number_context(box->srcContext, true, &copy.from.context);
	return result ? result : copy_run(&copy, to_device, from_device);
}

static CUresult copy_2d(const CUDA_MEMCPY2D *copy, CUstream stream, bool wait)
{
	CUDA_MEMCPY3D_PEER box;

	if (!copy)
		return CUDA_ERROR_INVALID_VALUE;
	box = (CUDA_MEMCPY3D_PEER){
		.srcXInBytes = copy->srcXInBytes,
		.srcY = copy->srcY,
		.srcMemoryType = copy->srcMemoryType,
		.srcHost = copy->srcHost,
		.srcDevice = copy->srcDevice,
		.srcArray = copy->srcArray,
		.srcPitch = copy->srcPitch,
		.dstXInBytes = copy->dstXInBytes,
		.dstY = copy->dstY,
		.dstMemoryType = copy->dstMemoryType,
		.dstHost = copy->dstHost,
		.dstDevice = copy->dstDevice,
		.dstArray = copy->dstArray,
		.dstPitch = copy->dstPitch,
		.WidthInBytes = copy->WidthInBytes,
		.Height = copy->Height,
		.Depth = 1,
	};
	return copy_box(&box, stream, wait);
}

static CUresult copy_3d(const CUDA_MEMCPY3D *copy, CUstream stream, bool wait)
{
	CUDA_MEMCPY3D_PEER box;

	/* The two structures differ in what the contexts' places mean: here they are reserved. */
	static_assert(sizeof(box) == sizeof(*copy), "CUDA_MEMCPY3D and its peer form");
	static_assert(offsetof(CUDA_MEMCPY3D_PEER, Depth) == offsetof(CUDA_MEMCPY3D, Depth),
		      "Depth");
	if (!copy)
		return CUDA_ERROR_INVALID_VALUE;
	memcpy(&box, copy, sizeof(box));
	box.srcContext = NULL;
	box.dstContext = NULL;
	return copy_box(&box, stream, wait);
}

/* copy_line - @bytes of the first row, in the structure's terms */
static CUDA_MEMCPY2D copy_line(size_t bytes)
{
	return (CUDA_MEMCPY2D){ .WidthInBytes = bytes, .Height = 1 };
}

CUresult client_cuMemcpyHtoAAsync_v2(CUarray dstArray, size_t dstOffset, const void *srcHost,
				     size_t ByteCount, CUstream hStream)
{
	CUDA_MEMCPY2D copy = copy_line(ByteCount);

	copy.srcMemoryType = CU_MEMORYTYPE_HOST;
	copy.srcHost = srcHost;
	copy.dstMemoryType = CU_MEMORYTYPE_ARRAY;
	copy.dstArray = dstArray;
	copy.dstXInBytes = dstOffset;
	return copy_2d(&copy, hStream, false);
}

CUresult client_cuMemcpyHtoA_v2(CUarray dstArray, size_t dstOffset, const void *srcHost,
				size_t ByteCount)
{
	return client_cuMemcpyHtoAAsync_v2(dstArray, dstOffset, srcHost, ByteCount, NULL);
}

CUresult client_cuMemcpyAtoHAsync_v2(void *dstHost, CUarray srcArray, size_t srcOffset,
				     size_t ByteCount, CUstream hStream)
{
	CUDA_MEMCPY2D copy = copy_line(ByteCount);

	copy.srcMemoryType = CU_MEMORYTYPE_ARRAY;
	copy.srcArray = srcArray;
	copy.srcXInBytes = srcOffset;
	copy.dstMemoryType = CU_MEMORYTYPE_HOST;
	copy.dstHost = dstHost;
	return copy_2d(&copy, hStream, false);
}

CUresult client_cuMemcpyAtoH_v2(void *dstHost, CUarray srcArray, size_t srcOffset, size_t ByteCount)
{
	return client_cuMemcpyAtoHAsync_v2(dstHost, srcArray, srcOffset, ByteCount, NULL);
}

CUresult client_cuMemcpyDtoA_v2(CUarray dstArray, size_t dstOffset, CUdeviceptr srcDevice,
				size_t ByteCount)
{
	CUDA_MEMCPY2D copy = copy_line(ByteCount);

	copy.srcMemoryType = CU_MEMORYTYPE_DEVICE;
	copy.srcDevice = srcDevice;
	copy.dstMemoryType = CU_MEMORYTYPE_ARRAY;
	copy.dstArray = dstArray;
	copy.dstXInBytes = dstOffset;
	return copy_2d(&copy, NULL, true);
}

CUresult client_cuMemcpyAtoD_v2(CUdeviceptr dstDevice, CUarray srcArray, size_t srcOffset,
				size_t ByteCount)
{
	CUDA_MEMCPY2D copy = copy_line(ByteCount);

	copy.srcMemoryType = CU_MEMORYTYPE_ARRAY;
	copy.srcArray = srcArray;
	copy.srcXInBytes = srcOffset;
	copy.dstMemoryType = CU_MEMORYTYPE_DEVICE;
	copy.dstDevice = dstDevice;
	return copy_2d(&copy, NULL, true);
}

CUresult client_cuMemcpyAtoA_v2(CUarray dstArray, size_t dstOffset, CUarray srcArray,
				size_t srcOffset, size_t ByteCount)
{
	CUDA_MEMCPY2D copy = copy_line(ByteCount);

	copy.srcMemoryType = CU_MEMORYTYPE_ARRAY;
	copy.srcArray = srcArray;
	copy.srcXInBytes = srcOffset;
	copy.dstMemoryType = CU_MEMORYTYPE_ARRAY;
	copy.dstArray = dstArray;
	copy.dstXInBytes = dstOffset;
	return copy_2d(&copy, NULL, true);
}

CUresult client_cuMemcpy2D_v2(const CUDA_MEMCPY2D *pCopy)
{
	return copy_2d(pCopy, NULL, true);
}

CUresult client_cuMemcpy2DUnaligned_v2(const CUDA_MEMCPY2D *pCopy)
{
	return copy_2d(pCopy, NULL, true);
}

CUresult client_cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D *pCopy, CUstream hStream)
{
	return copy_2d(pCopy, hStream, false);
}

CUresult client_cuMemcpy3D_v2(const CUDA_MEMCPY3D *pCopy)
{
	return copy_3d(pCopy, NULL, true);
}

CUresult client_cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D *pCopy, CUstream hStream)
{
	return copy_3d(pCopy, hStream, false);
}

CUresult client_cuMemcpy3DPeer(const CUDA_MEMCPY3D_PEER *pCopy)
{
	return pCopy ? copy_box(pCopy, NULL, true) : CUDA_ERROR_INVALID_VALUE;
}

CUresult client_cuMemcpy3DPeerAsync(const CUDA_MEMCPY3D_PEER *pCopy, CUstream hStream)
{
	return pCopy ? copy_box(pCopy, hStream, false) : CUDA_ERROR_INVALID_VALUE;
}

/* Fills do not wait in CUDA either: the plain ones are the asynchronous ones on the NULL stream. */
CUresult client_cuMemsetD8_v2(CUdeviceptr dstDevice, unsigned char uc, size_t N)
{
	return client_cuMemsetD8Async(dstDevice, uc, N, NULL);
}

CUresult client_cuMemsetD16_v2(CUdeviceptr dstDevice, unsigned short us, size_t N)
{
	return client_cuMemsetD16Async(dstDevice, us, N, NULL);
}

CUresult client_cuMemsetD32_v2(CUdeviceptr dstDevice, unsigned int ui, size_t N)
{
	return client_cuMemsetD32Async(dstDevice, ui, N, NULL);
}

CUresult client_cuMemsetD2D8_v2(CUdeviceptr dstDevice, size_t dstPitch, unsigned char uc,
				size_t Width, size_t Height)
{
	return client_cuMemsetD2D8Async(dstDevice, dstPitch, uc, Width, Height, NULL);
}

CUresult client_cuMemsetD2D16_v2(CUdeviceptr dstDevice, size_t dstPitch, unsigned short us,
				 size_t Width, size_t Height)
{
	return client_cuMemsetD2D16Async(dstDevice, dstPitch, us, Width, Height, NULL);
}

CUresult client_cuMemsetD2D32_v2(CUdeviceptr dstDevice, size_t dstPitch, unsigned int ui,
				 size_t Width, size_t Height)
{
	return client_cuMemsetD2D32Async(dstDevice, dstPitch, ui, Width, Height, NULL);
}
