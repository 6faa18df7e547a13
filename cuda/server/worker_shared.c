/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host memory that the client has too: parts of the link's shared memory, mapped at the client's
 * address and pinned for the device, and copies through it.
 *
 * The link has checked that the memory can neither shrink nor be anything but a memfd; a part is
 * checked to lie inside it. A mapping never replaces another one. The driver forgets what it pinned
 * when the context that it was pinned in ends; a copy that meets a part from before such an end
 * pins it again.
 */
#include <errno.h>

#include "cuda/common/range.h"
#include "cuda/server/worker.h"

#define PAGE_BYTES  4096u
#define ADDRESS_MIN (1ull << 20)
#define ADDRESS_MAX (1ull << 47)

/* shared_pin - CUDA_SUCCESS where it is pinned already */
static CUresult shared_pin(void *at, uint64_t bytes)
{
	CUresult result;

	if (!worker_driver.cuMemHostRegister_v2)
		return CUDA_ERROR_NOT_SUPPORTED;
	result = worker_driver.cuMemHostRegister_v2(
		at, bytes, CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP);
	if (result == CUDA_ERROR_NOT_SUPPORTED) /* good for copies, not for kernels */
		result = worker_driver.cuMemHostRegister_v2(at, bytes, CU_MEMHOSTREGISTER_PORTABLE);
	return result == CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED ? CUDA_SUCCESS : result;
}

/* shared_pin_again - contexts have ended since; one of them may have been the part's */
static CUresult shared_pin_again(const struct range *part)
{
	worker_range_host_mark(part->start, worker_context_generation());
	return shared_pin((void *)(uintptr_t)part->start, part->bytes);
}

/* shared_inside - whether the client may name that part */
static bool shared_inside(const struct wire_host_share_request *request, uint64_t shared_bytes)
{
	return request->bytes && request->bytes <= shared_bytes &&
	       request->offset <= shared_bytes - request->bytes &&
	       request->address >= ADDRESS_MIN && request->address < ADDRESS_MAX &&
	       request->bytes <= ADDRESS_MAX - request->address &&
	       !((request->offset | request->address | request->bytes) % PAGE_BYTES);
}

CUresult worker_host_share(struct worker_call *call, const struct wire_host_share_request *request,
			   struct wire_host_share_reply *reply)
{
	void *at = (void *)(uintptr_t)request->address;
	CUdeviceptr device = 0;
	uint64_t shared_bytes;
	int fd = link_shared(worker_link, &shared_bytes);
	int status;
	CUresult result;

	if ((fd < 0 && link_medium(worker_link) != LINK_SCIF) ||
	    !shared_inside(request, shared_bytes))
		return CUDA_ERROR_INVALID_VALUE;
	status = link_shared_map(worker_link, request->offset, request->bytes, at);
	if (status) {
		reply->taken = status == -EEXIST;
		return reply->taken ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
	}
	worker_step_back(call);
	result = shared_pin(at, request->bytes);
	if (!result)
		result = worker_range_add(request->address, request->bytes, WORKER_RANGE_HOST, 0);
	if (result) {
		link_shared_unmap(worker_link, at, request->bytes);
		return result;
	}
	worker_range_host_mark(request->address, worker_context_generation());
	if (worker_driver.cuMemHostGetDevicePointer_v2 &&
	    !worker_driver.cuMemHostGetDevicePointer_v2(&device, at, 0))
		reply->device = device;
	return CUDA_SUCCESS;
}

CUresult worker_host_unshare(struct worker_call *call,
			     const struct wire_host_unshare_request *request)
{
	void *at = (void *)(uintptr_t)request->address;
	uint64_t bytes;
	CUresult result = worker_range_host_take(request->address, &bytes);

	if (result)
		return result;
	worker_step_back(call);
	/* Where the context is gone it is not pinned any more, which is fine as well. */
	if (worker_driver.cuMemHostUnregister)
		worker_driver.cuMemHostUnregister(at);
	link_shared_unmap(worker_link, at, bytes);
	return CUDA_SUCCESS;
}

CUresult (*worker_write_value)(CUstream stream, CUdeviceptr address, uint32_t value,
			       unsigned int flags);

/* staged_signal - the word that tells that the copy before it in the stream is done */
static CUresult staged_signal(uint64_t flag, uint32_t value, CUstream stream)
{
	static int by_device = 1; /* atomic; 0: the driver cannot */
	CUresult result;

	if (worker_write_value && __atomic_load_n(&by_device, __ATOMIC_RELAXED)) {
		result = worker_write_value(stream, flag, value, 0);
		if (result != CUDA_ERROR_NOT_SUPPORTED && result != CUDA_ERROR_INVALID_VALUE)
			return result;
		__atomic_store_n(&by_device, 0, __ATOMIC_RELAXED);
	}
	if (!worker_driver.cuStreamSynchronize)
		return CUDA_ERROR_NOT_SUPPORTED;
	result = worker_driver.cuStreamSynchronize(stream);
	if (!result)
		__atomic_store_n((uint32_t *)(uintptr_t)flag, value, __ATOMIC_RELEASE);
	return result;
}

CUresult worker_copy_staged(struct worker_call *call,
			    const struct wire_copy_staged_request *request)
{
	struct range part;
	CUstream stream;
	CUresult result = worker_handle_find(call, KIND_stream, request->stream, true, &stream);

	if (!result)
		result = worker_range_check(call, request->to, request->bytes);
	if (!result)
		result = worker_range_check(call, request->from, request->bytes);
	if (!result && (request->flag % sizeof(uint32_t) ||
			!worker_range_host(request->flag, sizeof(uint32_t), &part)))
		result = CUDA_ERROR_INVALID_VALUE;
	if (!result && part.serial != worker_context_generation())
		result = shared_pin_again(&part);
	if (result)
		return result;
	worker_step_back(call);
	if (!worker_driver.cuMemcpyAsync)
		return CUDA_ERROR_NOT_SUPPORTED;
	result = worker_driver.cuMemcpyAsync(request->to, request->from, request->bytes, stream);
	return result ? result : staged_signal(request->flag, request->value, stream);
}
