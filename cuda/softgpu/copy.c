/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy: memory copied and filled, in the order of a stream.
 *
 * Every copy is one box: width bytes, height rows, depth slices, with a pitch on either side. Both
 * sides are looked up: device addresses and pinned memory must be allocated over the whole box.
 * As with CUDA, a copy that touches a program's pageable memory is over when the call returns, and
 * only copies between device and pinned or registered memory run behind it.
 */
#include <stdlib.h>
#include <string.h>

#include "cuda/common/batch.h"
#include "cuda/softgpu/driver.h"
#include "cuda/softgpu/graph.h"

struct side {
	uint64_t address;
	size_t pitch; /* bytes from row to row */
	size_t slice; /* bytes from slice to slice */
};

struct box {
	struct side to;
	struct side from;
	size_t width; /* bytes */
	size_t height;
	size_t depth;
};

struct copy_task {
	struct task task;
	struct box box;
};

static void box_move(const struct box *box)
{
	for (size_t z = 0; z < box->depth; z++) {
		for (size_t y = 0; y < box->height; y++)
			memmove((void *)(box->to.address + z * box->to.slice + y * box->to.pitch),
				(void *)(box->from.address + z * box->from.slice +
					 y * box->from.pitch),
				box->width);
	}
}

static CUresult run_copy(struct task *task)
{
	box_move(&((struct copy_task *)task)->box);
	return CUDA_SUCCESS;
}

/* box_capture - the copy as a node, both sides by their addresses, whatever they are */
static CUresult box_capture(struct stream *stream, const struct box *box)
{
	struct body body = { .type = CU_GRAPH_NODE_TYPE_MEMCPY, .context = stream->context };

	body.copy = (CUDA_MEMCPY3D){
		.srcMemoryType = CU_MEMORYTYPE_UNIFIED,
		.srcDevice = box->from.address,
		.srcPitch = box->from.pitch,
		.srcHeight = box->from.pitch ? box->from.slice / box->from.pitch : 0,
		.dstMemoryType = CU_MEMORYTYPE_UNIFIED,
		.dstDevice = box->to.address,
		.dstPitch = box->to.pitch,
		.dstHeight = box->to.pitch ? box->to.slice / box->to.pitch : 0,
		.WidthInBytes = box->width,
		.Height = box->height,
		.Depth = box->depth,
	};
	return capture_add(stream, &body);
}

/* Bytes from the first to the last byte of a box on one side; false where they overflow. */
static bool side_extent(const struct box *box, const struct side *side, size_t *bytes)
{
	size_t rows;
	size_t slices;

	return !__builtin_mul_overflow(box->height - 1, side->pitch, &rows) &&
	       !__builtin_mul_overflow(box->depth - 1, side->slice, &slices) &&
	       !__builtin_add_overflow(rows, slices, bytes) &&
	       !__builtin_add_overflow(*bytes, box->width, bytes) &&
	       *bytes <= UINT64_MAX - side->address;
}

/* @device: the program says that it is device memory, so the program's own will not do. */
static CUresult side_check(const struct box *box, const struct side *side, bool device,
			   bool *pageable)
{
	enum memory_kind kind;
	size_t bytes;

	if (!side->address || (box->height > 1 && side->pitch < box->width) ||
	    !side_extent(box, side, &bytes))
		return CUDA_ERROR_INVALID_VALUE;
	kind = memory_classify(side->address, bytes);
	if (kind == MEMORY_INVALID || (device && kind != MEMORY_DEVICE && kind != MEMORY_PINNED))
		return CUDA_ERROR_INVALID_VALUE;
	*pageable = *pageable || kind == MEMORY_PAGEABLE;
	return CUDA_SUCCESS;
}

enum { DEVICE_TO = 1, DEVICE_FROM = 2 }; /* sides that must be device memory */

static CUresult copy(struct box *box, unsigned int device, CUstream handle, bool wait)
{
	struct copy_task *task;
	struct stream *stream;
	CUresult result = stream_resolve(handle, &stream);

	if (result != CUDA_SUCCESS)
		return result;
	if (box->width == 0 || box->height == 0 || box->depth == 0)
		return CUDA_SUCCESS;
	result = side_check(box, &box->to, device & DEVICE_TO, &wait);
	if (result == CUDA_SUCCESS)
		result = side_check(box, &box->from, device & DEVICE_FROM, &wait);
	if (result != CUDA_SUCCESS)
		return result;
	if (capture_active(stream)) /* what somebody waits for is nothing that can run later */
		return wait ? capture_refuse(stream) : box_capture(stream, box);
	task = calloc(1, sizeof(*task));
	if (!task)
		return CUDA_ERROR_OUT_OF_MEMORY;
	task->task.run = run_copy;
	task->box = *box;
	result = stream_submit(stream, &task->task, NULL, wait);
	if (wait)
		context_print_flush(stream->context);
	return result;
}

static CUresult copy_line(uint64_t to, uint64_t from, size_t bytes, unsigned int device,
			  CUstream stream, bool wait)
{
	struct box box = {
		.to = { .address = to },
		.from = { .address = from },
		.width = bytes,
		.height = 1,
		.depth = 1,
	};

	return copy(&box, device, stream, wait);
}

/* ---- one dimension ---- */

CUresult cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t ByteCount)
{
	return copy_line(dst, src, ByteCount, 0, NULL, true);
}

CUresult cuMemcpy_ptds(CUdeviceptr dst, CUdeviceptr src, size_t ByteCount)
{
	return copy_line(dst, src, ByteCount, 0, CU_STREAM_PER_THREAD, true);
}

CUresult cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t ByteCount, CUstream hStream)
{
	return copy_line(dst, src, ByteCount, 0, hStream, false);
}

CUresult cuMemcpyBatchAsync(CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes, size_t count,
			    CUmemcpyAttributes *attrs, size_t *attrsIdxs, size_t numAttrs,
			    size_t *failIdx, CUstream hStream)
{
	const struct batch batch = { dsts, srcs, sizes, count, attrs, attrsIdxs, numAttrs };
	struct stream *stream;
	CUresult result = stream_resolve(hStream, &stream);

	if (failIdx)
		*failIdx = SIZE_MAX; /* no copy in particular */
	if (!result && (stream->kind == STREAM_LEGACY || !batch_valid(&batch)))
		result = CUDA_ERROR_INVALID_VALUE;
	for (size_t i = 0; i < count && !result; i++) {
		result = cuMemcpyAsync(dsts[i], srcs[i], sizes[i], hStream);
		if (result && failIdx)
			*failIdx = i;
	}
	return result;
}

CUresult cuMemcpyBatchAsync_v2(CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes, size_t count,
			       CUmemcpyAttributes *attrs, size_t *attrsIdxs, size_t numAttrs,
			       CUstream hStream)
{
	return cuMemcpyBatchAsync(dsts, srcs, sizes, count, attrs, attrsIdxs, numAttrs, NULL,
				  hStream);
}

CUresult cuMemcpyHtoD_v2(CUdeviceptr dstDevice, const void *srcHost, size_t ByteCount)
{
	return copy_line(dstDevice, (uint64_t)srcHost, ByteCount, DEVICE_TO, NULL, true);
}

CUresult cuMemcpyHtoD_v2_ptds(CUdeviceptr dstDevice, const void *srcHost, size_t ByteCount)
{
	return copy_line(dstDevice, (uint64_t)srcHost, ByteCount, DEVICE_TO, CU_STREAM_PER_THREAD,
			 true);
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr dstDevice, const void *srcHost, size_t ByteCount,
			      CUstream hStream)
{
	return copy_line(dstDevice, (uint64_t)srcHost, ByteCount, DEVICE_TO, hStream, false);
}

CUresult cuMemcpyDtoH_v2(void *dstHost, CUdeviceptr srcDevice, size_t ByteCount)
{
	return copy_line((uint64_t)dstHost, srcDevice, ByteCount, DEVICE_FROM, NULL, true);
}

CUresult cuMemcpyDtoH_v2_ptds(void *dstHost, CUdeviceptr srcDevice, size_t ByteCount)
{
	return copy_line((uint64_t)dstHost, srcDevice, ByteCount, DEVICE_FROM, CU_STREAM_PER_THREAD,
			 true);
}

CUresult cuMemcpyDtoHAsync_v2(void *dstHost, CUdeviceptr srcDevice, size_t ByteCount,
			      CUstream hStream)
{
	return copy_line((uint64_t)dstHost, srcDevice, ByteCount, DEVICE_FROM, hStream, false);
}

CUresult cuMemcpyDtoD_v2(CUdeviceptr dstDevice, CUdeviceptr srcDevice, size_t ByteCount)
{
	return copy_line(dstDevice, srcDevice, ByteCount, DEVICE_TO | DEVICE_FROM, NULL, true);
}

CUresult cuMemcpyDtoD_v2_ptds(CUdeviceptr dstDevice, CUdeviceptr srcDevice, size_t ByteCount)
{
	return copy_line(dstDevice, srcDevice, ByteCount, DEVICE_TO | DEVICE_FROM,
			 CU_STREAM_PER_THREAD, true);
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr dstDevice, CUdeviceptr srcDevice, size_t ByteCount,
			      CUstream hStream)
{
	return copy_line(dstDevice, srcDevice, ByteCount, DEVICE_TO | DEVICE_FROM, hStream, false);
}

static CUresult copy_peer(CUdeviceptr dstDevice, CUcontext dstContext, CUdeviceptr srcDevice,
			  CUcontext srcContext, size_t ByteCount, CUstream stream, bool wait)
{
	if (!object_valid(OBJECT_CONTEXT, dstContext) || !object_valid(OBJECT_CONTEXT, srcContext))
		return CUDA_ERROR_INVALID_CONTEXT;
	return copy_line(dstDevice, srcDevice, ByteCount, DEVICE_TO | DEVICE_FROM, stream, wait);
}

CUresult cuMemcpyPeer(CUdeviceptr dstDevice, CUcontext dstContext, CUdeviceptr srcDevice,
		      CUcontext srcContext, size_t ByteCount)
{
	return copy_peer(dstDevice, dstContext, srcDevice, srcContext, ByteCount, NULL, true);
}

CUresult cuMemcpyPeer_ptds(CUdeviceptr dstDevice, CUcontext dstContext, CUdeviceptr srcDevice,
			   CUcontext srcContext, size_t ByteCount)
{
	return copy_peer(dstDevice, dstContext, srcDevice, srcContext, ByteCount,
			 CU_STREAM_PER_THREAD, true);
}

CUresult cuMemcpyPeerAsync(CUdeviceptr dstDevice, CUcontext dstContext, CUdeviceptr srcDevice,
			   CUcontext srcContext, size_t ByteCount, CUstream hStream)
{
	return copy_peer(dstDevice, dstContext, srcDevice, srcContext, ByteCount, hStream, false);
}

/* ---- two and three dimensions ---- */

/*
 * One side as a program describes it in two or three dimensions: the first byte of the box, and
 * the strides. @must: set to @bit where it says device memory.
 */
static CUresult side_of(CUmemorytype type, const void *host, CUdeviceptr device, size_t x, size_t y,
			size_t z, size_t pitch, size_t rows, const struct box *box,
			struct side *side, unsigned int *must, unsigned int bit)
{
	size_t offset;

	switch (type) {
	case CU_MEMORYTYPE_HOST:
		side->address = (uint64_t)host;
		break;
	case CU_MEMORYTYPE_DEVICE:
		*must |= bit;
		side->address = device;
		break;
	case CU_MEMORYTYPE_UNIFIED:
		side->address = device;
		break;
	default: /* arrays: none can exist here */
		return CUDA_ERROR_INVALID_VALUE;
	}
	side->pitch = pitch ? pitch : box->width + x;
	if (__builtin_mul_overflow(side->pitch, rows ? rows : box->height, &side->slice) ||
	    __builtin_mul_overflow(side->slice, z, &offset) || y > SIZE_MAX / 2 / side->pitch ||
	    __builtin_add_overflow(offset, y * side->pitch, &offset) ||
	    __builtin_add_overflow(offset, x, &offset) ||
	    __builtin_add_overflow(side->address, offset, &side->address))
		return CUDA_ERROR_INVALID_VALUE;
	return CUDA_SUCCESS;
}

static CUresult copy_plane(const CUDA_MEMCPY2D *p, CUstream stream, bool wait)
{
	unsigned int must = 0;
	struct box box;
	CUresult result;

	if (!p)
		return CUDA_ERROR_INVALID_VALUE;
	box = (struct box){ .width = p->WidthInBytes, .height = p->Height, .depth = 1 };
	if (box.width == 0 || box.height == 0)
		return CUDA_SUCCESS;
	result = side_of(p->dstMemoryType, p->dstHost, p->dstDevice, p->dstXInBytes, p->dstY, 0,
			 p->dstPitch, 0, &box, &box.to, &must, DEVICE_TO);
	if (result == CUDA_SUCCESS)
		result = side_of(p->srcMemoryType, p->srcHost, p->srcDevice, p->srcXInBytes,
				 p->srcY, 0, p->srcPitch, 0, &box, &box.from, &must, DEVICE_FROM);
	return result == CUDA_SUCCESS ? copy(&box, must, stream, wait) : result;
}

CUresult cuMemcpy2D_v2(const CUDA_MEMCPY2D *pCopy)
{
	return copy_plane(pCopy, NULL, true);
}

CUresult cuMemcpy2D_v2_ptds(const CUDA_MEMCPY2D *pCopy)
{
	return copy_plane(pCopy, CU_STREAM_PER_THREAD, true);
}

CUresult cuMemcpy2DUnaligned_v2(const CUDA_MEMCPY2D *pCopy)
{
	return copy_plane(pCopy, NULL, true);
}

CUresult cuMemcpy2DUnaligned_v2_ptds(const CUDA_MEMCPY2D *pCopy)
{
	return copy_plane(pCopy, CU_STREAM_PER_THREAD, true);
}

CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D *pCopy, CUstream hStream)
{
	return copy_plane(pCopy, hStream, false);
}

/* volume_box - the box that a program describes; @must: the sides it says are device memory */
static CUresult volume_box(const CUDA_MEMCPY3D *p, struct box *box, unsigned int *must)
{
	CUresult result;

	*must = 0;
	if (!p || p->srcLOD != 0 || p->dstLOD != 0)
		return CUDA_ERROR_INVALID_VALUE;
	*box = (struct box){ .width = p->WidthInBytes, .height = p->Height, .depth = p->Depth };
	if (box->width == 0 || box->height == 0 || box->depth == 0)
		return CUDA_SUCCESS;
	result = side_of(p->dstMemoryType, p->dstHost, p->dstDevice, p->dstXInBytes, p->dstY,
			 p->dstZ, p->dstPitch, p->dstHeight, box, &box->to, must, DEVICE_TO);
	if (result == CUDA_SUCCESS)
		result = side_of(p->srcMemoryType, p->srcHost, p->srcDevice, p->srcXInBytes,
				 p->srcY, p->srcZ, p->srcPitch, p->srcHeight, box, &box->from, must,
				 DEVICE_FROM);
	return result;
}

static CUresult copy_volume(const CUDA_MEMCPY3D *p, CUstream stream, bool wait)
{
	unsigned int must;
	struct box box;
	CUresult result = volume_box(p, &box, &must);

	return result == CUDA_SUCCESS ? copy(&box, must, stream, wait) : result;
}

CUresult copy_body_check(const CUDA_MEMCPY3D *copy)
{
	bool pageable = false;
	unsigned int must;
	struct box box;
	CUresult result = volume_box(copy, &box, &must);

	if (result == CUDA_SUCCESS && (box.width == 0 || box.height == 0 || box.depth == 0))
		result = CUDA_ERROR_INVALID_VALUE;
	if (result == CUDA_SUCCESS)
		result = side_check(&box, &box.to, must & DEVICE_TO, &pageable);
	if (result == CUDA_SUCCESS)
		result = side_check(&box, &box.from, must & DEVICE_FROM, &pageable);
	return result;
}

void copy_body_run(const CUDA_MEMCPY3D *copy)
{
	unsigned int must;
	struct box box;

	if (volume_box(copy, &box, &must) == CUDA_SUCCESS)
		box_move(&box);
}

CUresult cuMemcpy3D_v2(const CUDA_MEMCPY3D *pCopy)
{
	return copy_volume(pCopy, NULL, true);
}

CUresult cuMemcpy3D_v2_ptds(const CUDA_MEMCPY3D *pCopy)
{
	return copy_volume(pCopy, CU_STREAM_PER_THREAD, true);
}

CUresult cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D *pCopy, CUstream hStream)
{
	return copy_volume(pCopy, hStream, false);
}

static CUresult copy_volume_peer(const CUDA_MEMCPY3D_PEER *p, CUstream stream, bool wait)
{
	CUDA_MEMCPY3D plain;

	if (!p)
		return CUDA_ERROR_INVALID_VALUE;
	if (!object_valid(OBJECT_CONTEXT, p->srcContext) ||
	    !object_valid(OBJECT_CONTEXT, p->dstContext))
		return CUDA_ERROR_INVALID_CONTEXT;
	plain = (CUDA_MEMCPY3D){
		.srcXInBytes = p->srcXInBytes,
		.srcY = p->srcY,
		.srcZ = p->srcZ,
		.srcLOD = p->srcLOD,
		.srcMemoryType = p->srcMemoryType,
		.srcHost = p->srcHost,
		.srcDevice = p->srcDevice,
		.srcPitch = p->srcPitch,
		.srcHeight = p->srcHeight,
		.dstXInBytes = p->dstXInBytes,
		.dstY = p->dstY,
		.dstZ = p->dstZ,
		.dstLOD = p->dstLOD,
		.dstMemoryType = p->dstMemoryType,
		.dstHost = p->dstHost,
		.dstDevice = p->dstDevice,
		.dstPitch = p->dstPitch,
		.dstHeight = p->dstHeight,
		.WidthInBytes = p->WidthInBytes,
		.Height = p->Height,
		.Depth = p->Depth,
	};
	return copy_volume(&plain, stream, wait);
}

CUresult cuMemcpy3DPeer(const CUDA_MEMCPY3D_PEER *pCopy)
{
	return copy_volume_peer(pCopy, NULL, true);
}

CUresult cuMemcpy3DPeer_ptds(const CUDA_MEMCPY3D_PEER *pCopy)
{
	return copy_volume_peer(pCopy, CU_STREAM_PER_THREAD, true);
}

CUresult cuMemcpy3DPeerAsync(const CUDA_MEMCPY3D_PEER *pCopy, CUstream hStream)
{
	return copy_volume_peer(pCopy, hStream, false);
}
