// SPDX-License-Identifier: GPL-2.0-only
/*
 * vphi: remote memory: copies between windows, copies of the program's own memory, fences.
 *
 * READFROM and WRITETO name two windows; one request each. The v-variants name the program's
 * memory, which is pinned for the copy and goes out in pieces, several on their way at once, so
 * that pages are pinned while others are copied. They are done when the call returns, also without
 * SCIF_RMA_SYNC. The last piece of an ordered copy waits for the others.
 */
#include <linux/sched/signal.h>

#include "vphi.h"

static bool vphi_copy_valid(const struct vphi_ioctl_copy *arguments)
{
	return !(arguments->flags & ~SCIF_RMA_FLAGS) && arguments->bytes &&
	       arguments->bytes <= LONG_MAX;
}

/* vphi_copy - scif_readfrom() and scif_writeto(), by @call */
int vphi_copy(struct vphi_endpoint *endpoint, u32 number, const struct vphi_ioctl_copy *arguments)
{
	struct vphi_call *call;
	int status;

	if (!vphi_copy_valid(arguments))
		return -EINVAL;
	call = vphi_endpoint_call(endpoint, number, arguments->flags & SCIF_RMA_SYNC ? VPHI_COPY :
										       VPHI_SHORT,
				  arguments->flags);
	if (!call)
		return -ENOMEM;
	call->request.rma.local = cpu_to_le64(arguments->local);
	call->request.rma.remote = cpu_to_le64(arguments->remote);
	call->request.rma.bytes = cpu_to_le64(arguments->bytes);
	status = vphi_endpoint_run(endpoint, call);
	vphi_call_put(call);
	return status;
}

/* What is on its way of one copy: a circle. */
struct vphi_pipeline {
	struct vphi_call *calls[VPHI_PIECES_AHEAD];
	unsigned int first, count;
	int status; /* the first that went wrong */
};

/* Waits for the oldest piece. */
static void vphi_pipeline_collect(struct vphi_endpoint *endpoint, struct vphi_pipeline *pipeline)
{
	struct vphi_call *call = pipeline->calls[pipeline->first];
	int status = vphi_endpoint_collect(endpoint, call);

	pipeline->first = (pipeline->first + 1) % VPHI_PIECES_AHEAD;
	pipeline->count--;
	vphi_call_put(call);
	if (status && !pipeline->status)
		pipeline->status = status;
}

/* One piece more. 0 or -errno. */
static int vphi_pipeline_add(struct vphi_endpoint *endpoint, struct vphi_pipeline *pipeline,
			     u32 number, const struct vphi_ioctl_copy *arguments, u64 done,
			     u64 bytes)
{
	struct vphi_call *call = vphi_endpoint_call(endpoint, number, VPHI_COPY, arguments->flags);
	int status;

	if (!call)
		return -ENOMEM;
	call->request.rma.remote = cpu_to_le64(arguments->remote + done);
	call->request.rma.bytes = cpu_to_le64(bytes);
	status = vphi_payload_pin(call, arguments->address + done, bytes,
				  number == SCIF_VIRTIO_VREADFROM);
	if (status == 0)
		status = vphi_endpoint_error(endpoint, vphi_call_submit(call));
	if (status) {
		vphi_call_put(call);
		return status;
	}
	pipeline->calls[(pipeline->first + pipeline->count++) % VPHI_PIECES_AHEAD] = call;
	return 0;
}

/**
 * vphi_copy_pages - scif_vreadfrom() and scif_vwriteto()
 * @endpoint: of the program
 * @number: SCIF_VIRTIO_VREADFROM or SCIF_VIRTIO_VWRITETO
 * @arguments: the program's
 *
 * Return: 0, and all of it is done; the first error otherwise, and nothing is on its way any more.
 */
int vphi_copy_pages(struct vphi_endpoint *endpoint, u32 number,
		    const struct vphi_ioctl_copy *arguments)
{
	struct vphi_pipeline pipeline = { .count = 0 };
	u64 done = 0, bytes;
	bool last;

	if (!vphi_copy_valid(arguments))
		return -EINVAL;
	while (done < arguments->bytes && !pipeline.status) {
		bytes = min_t(u64, arguments->bytes - done, VPHI_PIECE_PAGES * PAGE_SIZE -
			      offset_in_page(arguments->address + done));
		last = bytes == arguments->bytes - done;
		while (pipeline.count == VPHI_PIECES_AHEAD ||
		       (pipeline.count && last && (arguments->flags & SCIF_RMA_ORDERED)))
			vphi_pipeline_collect(endpoint, &pipeline);
		if (!pipeline.status && signal_pending(current))
			pipeline.status = -EINTR;
		if (!pipeline.status)
			pipeline.status = vphi_pipeline_add(endpoint, &pipeline, number, arguments,
							    done, bytes);
		done += bytes;
	}
	while (pipeline.count)
		vphi_pipeline_collect(endpoint, &pipeline);
	return pipeline.status;
}

/* vphi_fence_mark - scif_fence_mark(); @mark: out */
int vphi_fence_mark(struct vphi_endpoint *endpoint, int flags, int *mark)
{
	struct vphi_call *call = vphi_endpoint_call(endpoint, SCIF_VIRTIO_FENCE_MARK, VPHI_SHORT,
						    flags);
	int status;

	if (!call)
		return -ENOMEM;
	status = vphi_endpoint_run(endpoint, call);
	if (status == 0)
		*mark = le64_to_cpu(call->reply.value[0]);
	vphi_call_put(call);
	return status;
}

/* vphi_fence_wait - scif_fence_wait() */
int vphi_fence_wait(struct vphi_endpoint *endpoint, int mark)
{
	struct vphi_call *call = vphi_endpoint_call(endpoint, SCIF_VIRTIO_FENCE_WAIT, VPHI_COPY, 0);
	int status;

	if (!call)
		return -ENOMEM;
	call->request.fence.mark = cpu_to_le32(mark);
	status = vphi_endpoint_run(endpoint, call);
	vphi_call_put(call);
	return status;
}

/* vphi_fence_signal - scif_fence_signal() */
int vphi_fence_signal(struct vphi_endpoint *endpoint,
		      const struct vphi_ioctl_fence_signal *arguments)
{
	struct vphi_call *call = vphi_endpoint_call(endpoint, SCIF_VIRTIO_FENCE_SIGNAL, VPHI_SHORT,
						    arguments->flags);
	int status;

	if (!call)
		return -ENOMEM;
	call->request.signal.local = cpu_to_le64(arguments->local);
	call->request.signal.local_value = cpu_to_le64(arguments->local_value);
	call->request.signal.remote = cpu_to_le64(arguments->remote);
	call->request.signal.remote_value = cpu_to_le64(arguments->remote_value);
	status = vphi_endpoint_run(endpoint, call);
	vphi_call_put(call);
	return status;
}
