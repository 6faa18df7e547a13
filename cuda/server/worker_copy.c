/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies on the driver's side, between the link's own memory and the device.
 *
 * To the device: a small copy is a span of what is readable in the link, which the driver has taken
 * when its function returns, as CUDA says of pageable memory. A larger one goes through a stage, a
 * slot filled from the link while the device reads the other. While host functions are outstanding
 * the driver may wait for one, and with it for a request behind this one's bulk; the bulk is
 * therefore read into memory first.
 *
 * From the device: wait for the stream (aside), then a slot is filled by the device while the other
 * is sent, a message of its own for each piece under reply_lock, so that other replies find their
 * way between them; the reply after the last says how it ended. The lock is not held while the
 * device is waited for: a host function's message may need it first.
 */
#include <errno.h>
#include <stdlib.h>

#include "cuda/server/stage.h"
#include "cuda/server/worker.h"
#include "lib/base/clean.h"

#define PIECE_BYTES	 STAGE_SLOT_BYTES
#define DIRECT_BYTES_MAX (64u << 10) /* to the device: taken by the driver itself at once */

/* One side on the device. */
struct box {
	CUdeviceptr at;
	uint64_t pitch, height;
	uint64_t width_bytes, rows, slices;
	CUstream stream;
};

/* box_bytes - what it spans, in 128 bits; 0 for an empty one */
static unsigned __int128 box_bytes(const struct box *box)
{
	if (!box->width_bytes || !box->rows || !box->slices)
		return 0;
	return ((unsigned __int128)(box->slices - 1) * box->height + (box->rows - 1)) * box->pitch +
	       box->width_bytes;
}

/* box_check - sane extents, a range that holds it, and *bytes of payload */
static CUresult box_check(struct worker_call *call, const struct box *box, uint64_t *bytes)
{
	if (__builtin_mul_overflow(box->width_bytes, box->rows, bytes) ||
	    __builtin_mul_overflow(*bytes, box->slices, bytes) || !*bytes)
		return CUDA_ERROR_INVALID_VALUE;
	if ((box->rows > 1 || box->slices > 1) &&
	    (box->pitch < box->width_bytes || box->height < box->rows))
		return CUDA_ERROR_INVALID_VALUE;
	return worker_range_check(call, box->at, box_bytes(box));
}

/* host_to_device - one run of bytes; @wait: the plain function, which CUDA also times differently
 */
static CUresult host_to_device(CUdeviceptr to, const void *from, size_t bytes, CUstream stream,
			       bool wait)
{
	if (wait && !stream && worker_driver.cuMemcpyHtoD_v2)
		return worker_driver.cuMemcpyHtoD_v2(to, from, bytes);
	return worker_driver.cuMemcpyHtoDAsync_v2
		       ? worker_driver.cuMemcpyHtoDAsync_v2(to, from, bytes, stream)
		       : CUDA_ERROR_NOT_SUPPORTED;
}

/* A part of a box that fits into a slot: whole rows, or some bytes of one row. */
struct piece {
	CUdeviceptr at;
	uint64_t rows; /* 0: it is a run of bytes */
	uint64_t bytes;
};

/* Where the next piece of a box begins. */
struct cursor {
	uint64_t slice, row, byte;
};

/* piece_next - the next piece, of PIECE_BYTES at most; false: the box is done */
static bool piece_next(const struct box *box, struct cursor *cursor, struct piece *piece)
{
	uint64_t whole = PIECE_BYTES / box->width_bytes, left;

	if (cursor->slice == box->slices)
		return false;
	piece->at =
		box->at + (cursor->slice * box->height + cursor->row) * box->pitch + cursor->byte;
	if (box->rows > 1 && whole) {
		left = box->rows - cursor->row;
		piece->rows = left < whole ? left : whole;
		piece->bytes = piece->rows * box->width_bytes;
		cursor->row += piece->rows;
	} else {
		left = box->width_bytes - cursor->byte;
		piece->rows = 0;
		piece->bytes = left < PIECE_BYTES ? left : PIECE_BYTES;
		cursor->byte += piece->bytes;
		if (cursor->byte == box->width_bytes) {
			cursor->byte = 0;
			cursor->row++;
		}
	}
	if (cursor->row == box->rows) {
		cursor->row = 0;
		cursor->slice++;
	}
	return true;
}

/* piece_copy - into the box's stream; @host holds the piece without gaps */
static CUresult piece_copy(const struct box *box, const struct piece *piece, void *host,
			   bool to_device)
{
	const CUmemorytype here = CU_MEMORYTYPE_HOST, there = CU_MEMORYTYPE_DEVICE;
	const CUDA_MEMCPY2D copy = {
		.srcMemoryType = to_device ? here : there,
		.srcHost = host,
		.srcDevice = piece->at,
		.srcPitch = to_device ? box->width_bytes : box->pitch,
		.dstMemoryType = to_device ? there : here,
		.dstHost = host,
		.dstDevice = piece->at,
		.dstPitch = to_device ? box->pitch : box->width_bytes,
		.WidthInBytes = box->width_bytes,
		.Height = piece->rows,
	};

	if (piece->rows)
		return worker_driver.cuMemcpy2DAsync_v2
			       ? worker_driver.cuMemcpy2DAsync_v2(&copy, box->stream)
			       : CUDA_ERROR_NOT_SUPPORTED;
	if (to_device)
		return host_to_device(piece->at, host, piece->bytes, box->stream, false);
	return worker_driver.cuMemcpyDtoHAsync_v2
		       ? worker_driver.cuMemcpyDtoHAsync_v2(host, piece->at, piece->bytes,
							    box->stream)
		       : CUDA_ERROR_NOT_SUPPORTED;
}

/* box_fill - the request's bulk to the device, through a stage */
static CUresult box_fill(struct worker_call *call, const struct box *box)
{
	struct stage *stage = stage_take();
	CUresult result = stage ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
	struct cursor cursor = { 0 };
	struct piece piece;

	for (unsigned int turn = 0; !result && piece_next(box, &cursor, &piece); turn++) {
		struct stage_slot *slot = &stage->slots[turn % STAGE_SLOTS];

		result = stage_wait(slot);
		if (!result)
			result = worker_bulk_take(call, slot->at, piece.bytes);
		if (!result)
			result = piece_copy(box, &piece, slot->at, true);
		if (!result)
			result = stage_issued(slot, box->stream);
	}
	if (stage)
		stage_give(stage);
	return result;
}

/* copy_direct - a small copy, from the link's own memory if it is still there */
static CUresult copy_direct(struct worker_call *call, const struct box *box, bool wait)
{
	const void *at = call->bulk ? call->bulk + call->bulk_taken : NULL;
	CUresult result;
	int error = at ? 0 : link_peek(worker_link, call->bulk_left, &at);

	if (error)
		return worker_link_failed(call, error);
	result = host_to_device(box->at, at, call->bulk_left, box->stream, wait);
	if (!call->bulk)
		link_consume(worker_link, call->bulk_left);
	call->bulk_left = 0;
	return result;
}

static CUresult copy_to_device(struct worker_call *call, CUdeviceptr to, uint32_t number, bool wait)
{
	struct box box = { .at = to,
			   .pitch = call->bulk_left,
			   .height = 1,
			   .width_bytes = call->bulk_left,
			   .rows = 1,
			   .slices = 1 };
	CUresult result = worker_handle_find(call, KIND_stream, number, true, &box.stream);

	if (!result)
		result = worker_range_check(call, to, call->bulk_left);
	if (!result && worker_host_outstanding())
		result = worker_bulk_buffer(call);
	if (result || !call->bulk_left)
		return result;
	worker_step_back(call);
	if (call->bulk_left <= DIRECT_BYTES_MAX)
		result = copy_direct(call, &box, wait);
	else
		result = box_fill(call, &box);
	/* A copy in a stream of the thread's own that the program waits for. */
	if (!result && wait && box.stream)
		result = worker_stream_wait(call, box.stream);
	return result;
}

CUresult worker_copy_to_device(struct worker_call *call,
			       const struct wire_copy_to_device_request *request)
{
	return copy_to_device(call, request->to, request->stream, false);
}

CUresult worker_copy_to_device_wait(struct worker_call *call,
				    const struct wire_copy_to_device_wait_request *request)
{
	return copy_to_device(call, request->to, request->stream, true);
}

/* device_to_host - into @to, which is this process's; complete on return */
static CUresult device_to_host(void *to, CUdeviceptr from, size_t bytes, CUstream stream)
{
	CUresult result;

	if (!stream && worker_driver.cuMemcpyDtoH_v2)
		return worker_driver.cuMemcpyDtoH_v2(to, from, bytes);
	if (!worker_driver.cuMemcpyDtoHAsync_v2 || !worker_driver.cuStreamSynchronize)
		return CUDA_ERROR_NOT_SUPPORTED;
	result = worker_driver.cuMemcpyDtoHAsync_v2(to, from, bytes, stream);
	return result ? result : worker_driver.cuStreamSynchronize(stream);
}

/* box_send_small - one piece, which the driver has a quick way for */
static CUresult box_send_small(struct worker_call *call, const struct box *box,
			       struct stage_slot *slot)
{
	CUresult result = stage_wait(slot);
	int error;

	if (!result)
		result = device_to_host(slot->at, box->at, box->width_bytes, box->stream);
	if (result)
		return result;
	error = worker_piece_send(call, slot->at, box->width_bytes);
	return error ? worker_link_failed(call, error) : CUDA_SUCCESS;
}

/* box_send - what is on the device as messages, through a stage */
static CUresult box_send(struct worker_call *call, const struct box *box, struct stage *stage)
{
	struct cursor cursor = { 0 };
	struct piece pieces[STAGE_SLOTS];
	bool more = piece_next(box, &cursor, &pieces[0]);
	CUresult result = stage_wait(&stage->slots[0]);

	if (!result)
		result = stage_wait(&stage->slots[1]);
	if (!result)
		result = piece_copy(box, &pieces[0], stage->slots[0].at, false);
	if (!result)
		result = stage_issued(&stage->slots[0], box->stream);
	for (unsigned int turn = 0; more && !result; turn ^= 1) {
		struct stage_slot *slot = &stage->slots[turn], *next = &stage->slots[turn ^ 1];
		int error;

		more = piece_next(box, &cursor, &pieces[turn ^ 1]);
		if (more)
			result = piece_copy(box, &pieces[turn ^ 1], next->at, false);
		if (more && !result)
			result = stage_issued(next, box->stream);
		if (!result)
			result = stage_wait(slot);
		if (result)
			break;
		error = worker_piece_send(call, slot->at, pieces[turn].bytes);
		if (error)
			return worker_link_failed(call, error);
	}
	return result;
}

/* copy_from_device - wait, settle, send */
static CUresult copy_from_device(struct worker_call *call, struct box *box, uint32_t number)
{
	struct stage *stage;
	uint64_t bytes;
	CUresult result = worker_handle_find(call, KIND_stream, number, true, &box->stream);

	if (!result)
		result = box_check(call, box, &bytes);
	if (!result && (box->stream || !worker_legacy_idle(call)))
		result = worker_stream_wait(call, box->stream);
	if (!result)
		result = worker_settle(result);
	if (result)
		return result;
	if (!box->stream)
		worker_legacy_waited(call);
	stage = stage_take();
	if (!stage)
		return CUDA_ERROR_OUT_OF_MEMORY;
	if (bytes <= DIRECT_BYTES_MAX && box->width_bytes == bytes) {
		worker_step_back(call);
		result = box_send_small(call, box, &stage->slots[0]);
	} else {
		/* A client that is slow to take a large copy holds up its own threads no more than
		 * this one. */
		worker_step_aside(call);
		result = box_send(call, box, stage);
	}
	stage_give(stage);
	return result;
}

CUresult worker_copy_from_device(struct worker_call *call,
				 const struct wire_copy_from_device_request *request)
{
	struct box box = { .at = request->from,
			   .pitch = request->bytes,
			   .height = 1,
			   .width_bytes = request->bytes,
			   .rows = 1,
			   .slices = 1 };

	return copy_from_device(call, &box, request->stream);
}

CUresult worker_copy_box_from_device(struct worker_call *call,
				     const struct wire_copy_box_from_device_request *request)
{
	struct box box = { .at = request->from,
			   .pitch = request->pitch,
			   .height = request->height,
			   .width_bytes = request->width_bytes,
			   .rows = request->rows,
			   .slices = request->slices };

	return copy_from_device(call, &box, request->stream);
}

CUresult worker_copy_box_to_device(struct worker_call *call,
				   const struct wire_copy_box_to_device_request *request)
{
	struct box box = { .at = request->to,
			   .pitch = request->pitch,
			   .height = request->height,
			   .width_bytes = request->width_bytes,
			   .rows = request->rows,
			   .slices = request->slices };
	uint64_t bytes;
	CUresult result = worker_handle_find(call, KIND_stream, request->stream, true, &box.stream);

	if (!result)
		result = box_check(call, &box, &bytes);
	if (result)
		return result;
	if (bytes != call->bulk_left)
		return worker_broken(call);
	if (worker_host_outstanding())
		result = worker_bulk_buffer(call);
	if (result)
		return result;
	worker_step_back(call);
	return box_fill(call, &box);
}

CUresult worker_copy_on_device(struct worker_call *call,
			       const struct wire_copy_on_device_request *request)
{
	CUcontext to_context, from_context;
	CUstream stream;
	CUresult result = worker_handle_find(call, KIND_stream, request->stream, true, &stream);

	if (!result)
		result = worker_handle_find(call, KIND_context, request->to_context, true,
					    &to_context);
	if (!result)
		result = worker_handle_find(call, KIND_context, request->from_context, true,
					    &from_context);
	if (!result)
		result = worker_range_check(call, request->to, request->bytes);
	if (!result)
		result = worker_range_check(call, request->from, request->bytes);
	if (result)
		return result;
	worker_step_back(call);
	if (to_context && from_context && to_context != from_context)
		return worker_driver.cuMemcpyPeerAsync
			       ? worker_driver.cuMemcpyPeerAsync(request->to, to_context,
								 request->from, from_context,
								 request->bytes, stream)
			       : CUDA_ERROR_NOT_SUPPORTED;
	/* Either side may be memory that is shared with the client: the driver sees which. */
	return worker_driver.cuMemcpyAsync ? worker_driver.cuMemcpyAsync(request->to, request->from,
									 request->bytes, stream)
					   : CUDA_ERROR_NOT_SUPPORTED;
}

CUresult worker_copy_box_on_device(struct worker_call *call,
				   const struct wire_copy_box_on_device_request *request)
{
	struct box to = { .at = request->to,
			  .pitch = request->to_pitch,
			  .height = request->to_height,
			  .width_bytes = request->width_bytes,
			  .rows = request->rows,
			  .slices = request->slices };
	struct box from = to;
	CUDA_MEMCPY3D copy = {
		.srcMemoryType = CU_MEMORYTYPE_UNIFIED, /* or memory shared with the client */
		.srcDevice = request->from,
		.srcPitch = request->from_pitch,
		.srcHeight = request->from_height,
		.dstMemoryType = CU_MEMORYTYPE_UNIFIED,
		.dstDevice = request->to,
		.dstPitch = request->to_pitch,
		.dstHeight = request->to_height,
		.WidthInBytes = request->width_bytes,
		.Height = request->rows,
		.Depth = request->slices,
	};
	uint64_t bytes;
	CUresult result = worker_handle_find(call, KIND_stream, request->stream, true, &to.stream);

	from.at = request->from;
	from.pitch = request->from_pitch;
	from.height = request->from_height;
	if (!result)
		result = box_check(call, &to, &bytes);
	if (!result)
		result = box_check(call, &from, &bytes);
	if (result)
		return result;
	worker_step_back(call);
	return worker_driver.cuMemcpy3DAsync_v2 ? worker_driver.cuMemcpy3DAsync_v2(&copy, to.stream)
						: CUDA_ERROR_NOT_SUPPORTED;
}

/* place_decode - one side; a device's range is checked, host memory is the caller's to name */
static CUresult place_decode(struct worker_call *call, const struct cuda_wire_place *place,
			     const struct cuda_wire_copy *wire, CUarray *array)
{
	uint64_t pitch = place->pitch ? place->pitch : wire->width_bytes;
	uint64_t height = place->height ? place->height : wire->rows;
	unsigned __int128 first, bytes;

	switch (place->type) {
	case CU_MEMORYTYPE_HOST:
		return CUDA_SUCCESS;
	case CU_MEMORYTYPE_ARRAY:
		return worker_handle_find(call, KIND_array, place->array, false, array);
	case CU_MEMORYTYPE_DEVICE:
	case CU_MEMORYTYPE_UNIFIED:
		break;
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
	if (place->z > UINT32_MAX || height > UINT32_MAX || pitch > UINT32_MAX ||
	    wire->slices > UINT32_MAX || wire->rows > UINT32_MAX || !wire->rows || !wire->slices)
		return CUDA_ERROR_INVALID_VALUE;
	first = ((unsigned __int128)place->z * height + place->y) * pitch + place->x_bytes;
	bytes = ((unsigned __int128)(wire->slices - 1) * height + wire->rows - 1) * pitch +
		wire->width_bytes;
	if (first > UINT64_MAX - place->at)
		return CUDA_ERROR_INVALID_VALUE;
	return worker_range_check(call, place->at + (uint64_t)first, bytes);
}

CUresult worker_copy_decode(struct worker_call *call, const struct cuda_wire_copy *wire,
			    CUDA_MEMCPY3D *copy)
{
	CUarray from = NULL, to = NULL;
	CUresult result = place_decode(call, &wire->from, wire, &from);

	if (!result)
		result = place_decode(call, &wire->to, wire, &to);
	if (result)
		return result;
	*copy = (CUDA_MEMCPY3D){
		.srcXInBytes = wire->from.x_bytes,
		.srcY = wire->from.y,
		.srcZ = wire->from.z,
		.srcLOD = wire->from.lod,
		.srcMemoryType = (CUmemorytype)wire->from.type,
		.srcDevice = wire->from.at,
		.srcArray = from,
		.srcPitch = wire->from.pitch,
		.srcHeight = wire->from.height,
		.dstXInBytes = wire->to.x_bytes,
		.dstY = wire->to.y,
		.dstZ = wire->to.z,
		.dstLOD = wire->to.lod,
		.dstMemoryType = (CUmemorytype)wire->to.type,
		.dstDevice = wire->to.at,
		.dstArray = to,
		.dstPitch = wire->to.pitch,
		.dstHeight = wire->to.height,
		.WidthInBytes = wire->width_bytes,
		.Height = wire->rows,
		.Depth = wire->slices,
	};
	return CUDA_SUCCESS;
}

int worker_piece_send(struct worker_call *call, const void *data, uint64_t bytes)
{
	int error = 0;

	for (uint64_t sent = 0; sent < bytes && !error;) {
		uint64_t part = bytes - sent < PIECE_BYTES ? bytes - sent : PIECE_BYTES;
		const struct cuda_wire_reply piece = { .bytes = sizeof(piece),
						       .kind = CUDA_WIRE_PIECE,
						       .sequence = call->request.sequence,
						       .bulk_bytes = part };

		worker_reply_lock();
		error = link_write(worker_link, &piece, sizeof(piece));
		if (!error)
			error = link_write(worker_link, (const unsigned char *)data + sent, part);
		if (!error)
			error = link_flush(worker_link);
		worker_reply_unlock();
		sent += part;
	}
	return error;
}

/* array_host - the client's side of a copy with an array is @buffer, without gaps */
static void array_host(CUDA_MEMCPY3D *copy, void *buffer, bool to)
{
	if (to) {
		copy->dstXInBytes = copy->dstY = copy->dstZ = 0;
		copy->dstPitch = copy->WidthInBytes;
		copy->dstHeight = copy->Height;
		copy->dstHost = buffer;
	} else {
		copy->srcXInBytes = copy->srcY = copy->srcZ = 0;
		copy->srcPitch = copy->WidthInBytes;
		copy->srcHeight = copy->Height;
		copy->srcHost = buffer;
	}
}

/* array_copy - with the buffer in place: copy, and wait where the buffer takes part */
static CUresult array_copy(struct worker_call *call, const CUDA_MEMCPY3D *copy, CUstream stream,
			   bool wait)
{
	CUresult result;

	worker_step_back(call);
	result = worker_driver.cuMemcpy3DAsync_v2(copy, stream);
	if (!result && wait)
		result = worker_driver.cuStreamSynchronize(stream);
	return result;
}

CUresult worker_copy_array(struct worker_call *call, const struct wire_copy_array_request *request)
{
	const struct cuda_wire_copy *tail = worker_tail(call, 1, sizeof(*tail));
	autofree void *buffer = NULL;
	struct cuda_wire_copy wire;
	CUDA_MEMCPY3D copy;
	CUstream stream;
	uint64_t bytes, got;
	bool host = request->from_host || request->to_host;
	CUresult result = worker_handle_find(call, KIND_stream, request->stream, true, &stream);

	if (!tail)
		return worker_broken(call);
	memcpy(&wire, tail, sizeof(wire));
	if ((wire.from.type == CU_MEMORYTYPE_HOST) != (request->from_host != 0) ||
	    (wire.to.type == CU_MEMORYTYPE_HOST) != (request->to_host != 0) ||
	    (request->from_host && request->to_host))
		return worker_broken(call);
	if (!result)
		result = worker_copy_decode(call, &wire, &copy);
	if (!result && (__builtin_mul_overflow(wire.width_bytes, wire.rows, &bytes) ||
			__builtin_mul_overflow(bytes, wire.slices, &bytes) || !bytes ||
			bytes > worker_options.image_limit))
		result = CUDA_ERROR_INVALID_VALUE;
	if (!result && (!worker_driver.cuMemcpy3DAsync_v2 || !worker_driver.cuStreamSynchronize))
		result = CUDA_ERROR_NOT_SUPPORTED;
	if (result)
		return result;
	if (request->from_host) {
		if (call->bulk_left != bytes)
			return worker_broken(call);
		result = worker_bulk_read(call, &buffer, &got);
	} else if (request->to_host) {
		buffer = malloc(bytes);
		result = buffer ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
	}
	if (result)
		return result;
	if (host)
		array_host(&copy, buffer, request->to_host);
	result = array_copy(call, &copy, stream, host);
	if (!result && request->to_host) {
		int error = worker_piece_send(call, buffer, bytes);

		if (error)
			return worker_link_failed(call, error);
	}
	return result;
}
