/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies on the driver's side, between the link's own memory and the device.
 *
 * To the device: a span of what is readable in the link is given to the driver, then consumed. The
 * driver has taken pageable memory when a copy function returns, as CUDA says of it. While host
 * functions are outstanding the driver call may wait for one, and with it for a request behind
 * this one's bulk; the bulk is therefore read into memory first.
 *
 * From the device: wait for the stream (aside), then the driver writes into the link's memory, a
 * message of its own for each piece under reply_lock, so that other replies find their way between
 * them; the reply after them says how it ended.
 */
#include <errno.h>
#include <stdlib.h>

#include "cuda/server/worker.h"
#include "lib/base/clean.h"

#define PIECE_BYTES ((uint64_t)LINK_CONTIGUOUS_BYTES)
#define SEND_BYTES  (PIECE_BYTES - 64) /* room for the message's head */

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

/* bulk_buffered - with host functions outstanding: all of it into memory, then step back */
static CUresult bulk_buffered(struct worker_call *call, CUdeviceptr to, CUstream stream, bool wait)
{
	uint64_t bytes = call->bulk_left;
	void *buffer = malloc(bytes);
	CUresult result;
	int error;

	if (!buffer)
		return CUDA_ERROR_OUT_OF_MEMORY;
	error = link_read(worker_link, buffer, bytes);
	if (error) {
		free(buffer);
		return worker_link_failed(call, error);
	}
	call->bulk_left = 0;
	worker_step_back(call);
	result = host_to_device(to, buffer, bytes, stream, wait);
	free(buffer);
	return result;
}

static CUresult copy_to_device(struct worker_call *call, CUdeviceptr to, uint32_t number, bool wait)
{
	CUstream stream;
	CUresult result = worker_handle_find(call, KIND_stream, number, true, &stream);

	if (!result)
		result = worker_range_check(call, to, call->bulk_left);
	if (result)
		return result;
	if (call->bulk_left && worker_host_outstanding())
		return bulk_buffered(call, to, stream, wait);
	while (call->bulk_left && !result) {
		size_t piece = call->bulk_left < PIECE_BYTES ? call->bulk_left : PIECE_BYTES;
		const void *at;
		int error = link_peek(worker_link, piece, &at);

		if (error)
			return worker_link_failed(call, error);
		result = host_to_device(to, at, piece, stream, wait);
		link_consume(worker_link, piece);
		call->bulk_left -= piece;
		to += piece;
	}
	/* A copy in a stream of the thread's own that the program waits for. */
	if (!result && wait && stream)
		result = worker_stream_wait(call, stream);
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

/* rows_to_host - @rows rows from @from with @pitch, without gaps into @to */
static CUresult rows_to_host(void *to, CUdeviceptr from, const struct box *box, uint64_t rows)
{
	CUDA_MEMCPY2D copy = {
		.srcMemoryType = CU_MEMORYTYPE_DEVICE,
		.srcDevice = from,
		.srcPitch = box->pitch,
		.dstMemoryType = CU_MEMORYTYPE_HOST,
		.dstHost = to,
		.dstPitch = box->width_bytes,
		.WidthInBytes = box->width_bytes,
		.Height = rows,
	};
	CUresult result;

	if (!worker_driver.cuMemcpy2DAsync_v2 || !worker_driver.cuStreamSynchronize)
		return CUDA_ERROR_NOT_SUPPORTED;
	result = worker_driver.cuMemcpy2DAsync_v2(&copy, box->stream);
	return result ? result : worker_driver.cuStreamSynchronize(box->stream);
}

/*
 * send_piece - @rows whole rows, or @bytes of one row, as one message
 *
 * The driver writes into the link's own memory; a copy that fails leaves nothing there.
 */
static int send_piece(struct worker_call *call, const struct box *box, CUdeviceptr from,
		      uint64_t rows, uint64_t bytes, CUresult *result)
{
	const struct cuda_wire_reply piece = { .bytes = sizeof(piece),
					       .kind = CUDA_WIRE_PIECE,
					       .sequence = call->request.sequence,
					       .bulk_bytes = bytes };
	void *at, *data;
	int error;

	worker_reply_lock();
	error = link_reserve(worker_link, sizeof(piece) + bytes, &at);
	if (!error) {
		memcpy(at, &piece, sizeof(piece));
		data = (unsigned char *)at + sizeof(piece);
		*result = rows ? rows_to_host(data, from, box, rows)
			       : device_to_host(data, from, bytes, box->stream);
		if (!*result)
			error = link_commit(worker_link, sizeof(piece) + bytes);
		if (!*result && !error)
			error = link_flush(worker_link);
	}
	worker_reply_unlock();
	return error;
}

/* send_rows - one slice */
static int send_rows(struct worker_call *call, const struct box *box, CUdeviceptr from,
		     CUresult *result)
{
	uint64_t whole = SEND_BYTES / box->width_bytes;
	int error = 0;

	for (uint64_t row = 0; row < box->rows && !error && !*result;) {
		uint64_t rows = box->rows - row < whole ? box->rows - row : whole;
		CUdeviceptr at = from + row * box->pitch;

		if (box->rows > 1 && rows) {
			error = send_piece(call, box, at, rows, rows * box->width_bytes, result);
			row += rows;
			continue;
		}
		for (uint64_t sent = 0; sent < box->width_bytes && !error && !*result;) {
			uint64_t left = box->width_bytes - sent;
			uint64_t piece = left < SEND_BYTES ? left : SEND_BYTES;

			error = send_piece(call, box, at + sent, 0, piece, result);
			sent += piece;
		}
		row++;
	}
	return error;
}

/* copy_from_device - wait, settle, send */
static CUresult copy_from_device(struct worker_call *call, struct box *box, uint32_t number)
{
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
	/* A client that is slow to take a large copy holds up its own threads no more than this
	 * one. */
	if (bytes > SEND_BYTES)
		worker_step_aside(call);
	for (uint64_t slice = 0; slice < box->slices && !result; slice++) {
		int error =
			send_rows(call, box, box->at + slice * box->height * box->pitch, &result);

		if (error)
			return worker_link_failed(call, error);
	}
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

/* receive_piece - @rows whole rows, or @bytes of one row, from the link to @to */
static CUresult receive_piece(struct worker_call *call, const struct box *box, CUdeviceptr to,
			      uint64_t rows, uint64_t bytes)
{
	CUDA_MEMCPY2D copy = {
		.srcMemoryType = CU_MEMORYTYPE_HOST,
		.srcPitch = box->width_bytes,
		.dstMemoryType = CU_MEMORYTYPE_DEVICE,
		.dstDevice = to,
		.dstPitch = box->pitch,
		.WidthInBytes = box->width_bytes,
		.Height = rows,
	};
	const void *at;
	CUresult result;
	int error = link_peek(worker_link, bytes, &at);

	if (error)
		return worker_link_failed(call, error);
	if (!rows) {
		result = host_to_device(to, at, bytes, box->stream, false);
	} else if (worker_driver.cuMemcpy2DAsync_v2) {
		copy.srcHost = at;
		result = worker_driver.cuMemcpy2DAsync_v2(&copy, box->stream);
	} else {
		result = CUDA_ERROR_NOT_SUPPORTED;
	}
	if (!result && worker_driver.cuStreamSynchronize)
		result = worker_driver.cuStreamSynchronize(box->stream);
	link_consume(worker_link, bytes);
	call->bulk_left -= bytes;
	return result;
}

/* receive_rows - one slice */
static CUresult receive_rows(struct worker_call *call, const struct box *box, CUdeviceptr to)
{
	uint64_t whole = PIECE_BYTES / box->width_bytes;
	CUresult result = CUDA_SUCCESS;

	for (uint64_t row = 0; row < box->rows && !result;) {
		uint64_t rows = box->rows - row < whole ? box->rows - row : whole;
		CUdeviceptr at = to + row * box->pitch;

		if (rows) {
			result = receive_piece(call, box, at, rows, rows * box->width_bytes);
			row += rows;
			continue;
		}
		for (uint64_t got = 0; got < box->width_bytes && !result;) {
			uint64_t left = box->width_bytes - got;
			uint64_t piece = left < PIECE_BYTES ? left : PIECE_BYTES;

			result = receive_piece(call, box, at + got, 0, piece);
			got += piece;
		}
		row++;
	}
	return result;
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
	for (uint64_t slice = 0; slice < box.slices && !result; slice++)
		result = receive_rows(call, &box, box.at + slice * box.height * box.pitch);
	return result;
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
		uint64_t part = bytes - sent < SEND_BYTES ? bytes - sent : SEND_BYTES;
		const struct cuda_wire_reply piece = { .bytes = sizeof(piece),
						       .kind = CUDA_WIRE_PIECE,
						       .sequence = call->request.sequence,
						       .bulk_bytes = part };
		void *at;

		worker_reply_lock();
		error = link_reserve(worker_link, sizeof(piece) + part, &at);
		if (!error) {
			memcpy(at, &piece, sizeof(piece));
			memcpy((unsigned char *)at + sizeof(piece),
			       (const unsigned char *)data + sent, part);
			error = link_commit(worker_link, sizeof(piece) + part);
		}
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
