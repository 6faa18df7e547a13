/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fill: cuMemset* of one, two and four bytes, in lines and planes, in the order of a stream. All
 * of them may return before the memory is filled, as on a device.
 */
#include <stdlib.h>
#include <string.h>

#include "cuda/softgpu/driver.h"
#include "cuda/softgpu/graph.h"

struct fill_task {
	struct task task;
	uint64_t address;
	size_t pitch;
	size_t width; /* elements */
	size_t height;
	unsigned int element_bytes; /* 1, 2 or 4 */
	uint32_t value;
};

static void fill_row(uint64_t address, const struct fill_task *fill)
{
	uint16_t *halves = (uint16_t *)address;
	uint32_t *words = (uint32_t *)address;

	switch (fill->element_bytes) {
	case 1:
		memset((void *)address, (int)fill->value, fill->width);
		break;
	case 2:
		for (size_t i = 0; i < fill->width; i++)
			halves[i] = (uint16_t)fill->value;
		break;
	default:
		for (size_t i = 0; i < fill->width; i++)
			words[i] = fill->value;
		break;
	}
}

static CUresult run_fill(struct task *task)
{
	const struct fill_task *fill = (const struct fill_task *)task;

	for (size_t row = 0; row < fill->height; row++)
		fill_row(fill->address + row * fill->pitch, fill);
	return CUDA_SUCCESS;
}

/* Whether the rows lie in memory a device may write, at addresses fit for the element. */
static bool fill_valid(const struct fill_task *fill)
{
	enum memory_kind kind;
	size_t row_bytes;
	size_t bytes;

	if (fill->address % fill->element_bytes != 0 ||
	    (fill->height > 1 && fill->pitch % fill->element_bytes != 0) ||
	    __builtin_mul_overflow(fill->width, fill->element_bytes, &row_bytes) ||
	    (fill->height > 1 && fill->pitch < row_bytes) ||
	    __builtin_mul_overflow(fill->height - 1, fill->pitch, &bytes) ||
	    __builtin_add_overflow(bytes, row_bytes, &bytes))
		return false;
	kind = memory_classify(fill->address, bytes);
	return kind == MEMORY_DEVICE || kind == MEMORY_PINNED;
}

static CUresult fill_capture(struct stream *stream, const struct fill_task *fill)
{
	struct body body = { .type = CU_GRAPH_NODE_TYPE_MEMSET,
			     .context = stream->context,
			     .fill = { .dst = fill->address,
				       .pitch = fill->pitch,
				       .value = fill->value,
				       .elementSize = fill->element_bytes,
				       .width = fill->width,
				       .height = fill->height } };

	return capture_add(stream, &body);
}

/* fill_of - a node's parameters as a task */
static struct fill_task fill_of(const CUDA_MEMSET_NODE_PARAMS *fill)
{
	return (struct fill_task){ .address = fill->dst,
				   .pitch = fill->pitch,
				   .width = fill->width,
				   .height = fill->height,
				   .element_bytes = fill->elementSize,
				   .value = fill->value };
}

CUresult fill_body_check(const CUDA_MEMSET_NODE_PARAMS *fill)
{
	const struct fill_task task = fill_of(fill);

	if (fill->elementSize != 1 && fill->elementSize != 2 && fill->elementSize != 4)
		return CUDA_ERROR_INVALID_VALUE;
	return fill->width && fill->height && fill_valid(&task) ? CUDA_SUCCESS
								: CUDA_ERROR_INVALID_VALUE;
}

void fill_body_run(const CUDA_MEMSET_NODE_PARAMS *fill)
{
	struct fill_task task = fill_of(fill);

	run_fill(&task.task);
}

static CUresult fill(const struct fill_task *model, CUstream handle)
{
	struct fill_task *task;
	struct stream *stream;
	CUresult result = stream_resolve(handle, &stream);

	if (result != CUDA_SUCCESS || model->width == 0 || model->height == 0)
		return result;
	if (!fill_valid(model))
		return CUDA_ERROR_INVALID_VALUE;
	if (capture_active(stream))
		return fill_capture(stream, model);
	task = malloc(sizeof(*task));
	if (!task)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*task = *model;
	task->task.run = run_fill;
	return stream_submit(stream, &task->task, NULL, false);
}

static CUresult fill_line(CUdeviceptr address, unsigned int element_bytes, uint32_t value,
			  size_t count, CUstream stream)
{
	return fill(&(struct fill_task){ .address = address,
					 .width = count,
					 .height = 1,
					 .element_bytes = element_bytes,
					 .value = value },
		    stream);
}

static CUresult fill_plane(CUdeviceptr address, size_t pitch, unsigned int element_bytes,
			   uint32_t value, size_t width, size_t height, CUstream stream)
{
	return fill(&(struct fill_task){ .address = address,
					 .pitch = pitch,
					 .width = width,
					 .height = height,
					 .element_bytes = element_bytes,
					 .value = value },
		    stream);
}

/* The twelve functions of one element size: plain, per-thread and asynchronous. */
#define FILL_FUNCTIONS(bits, type)                                                               \
	CUresult cuMemsetD##bits##_v2(CUdeviceptr dstDevice, type value, size_t N)               \
	{                                                                                        \
		return fill_line(dstDevice, bits / 8, value, N, NULL);                           \
	}                                                                                        \
                                                                                                 \
	CUresult cuMemsetD##bits##_v2_ptds(CUdeviceptr dstDevice, type value, size_t N)          \
	{                                                                                        \
		return fill_line(dstDevice, bits / 8, value, N, CU_STREAM_PER_THREAD);           \
	}                                                                                        \
                                                                                                 \
	CUresult cuMemsetD##bits##Async(CUdeviceptr dstDevice, type value, size_t N,             \
					CUstream hStream)                                        \
	{                                                                                        \
		return fill_line(dstDevice, bits / 8, value, N, hStream);                        \
	}                                                                                        \
                                                                                                 \
	CUresult cuMemsetD2D##bits##_v2(CUdeviceptr dstDevice, size_t dstPitch, type value,      \
					size_t Width, size_t Height)                             \
	{                                                                                        \
		return fill_plane(dstDevice, dstPitch, bits / 8, value, Width, Height, NULL);    \
	}                                                                                        \
                                                                                                 \
	CUresult cuMemsetD2D##bits##_v2_ptds(CUdeviceptr dstDevice, size_t dstPitch, type value, \
					     size_t Width, size_t Height)                        \
	{                                                                                        \
		return fill_plane(dstDevice, dstPitch, bits / 8, value, Width, Height,           \
				  CU_STREAM_PER_THREAD);                                         \
	}                                                                                        \
                                                                                                 \
	CUresult cuMemsetD2D##bits##Async(CUdeviceptr dstDevice, size_t dstPitch, type value,    \
					  size_t Width, size_t Height, CUstream hStream)         \
	{                                                                                        \
		return fill_plane(dstDevice, dstPitch, bits / 8, value, Width, Height, hStream); \
	}

FILL_FUNCTIONS(8, unsigned char)
FILL_FUNCTIONS(16, unsigned short)
FILL_FUNCTIONS(32, unsigned int)
