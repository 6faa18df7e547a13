/* SPDX-License-Identifier: Apache-2.0 */
/* Handlers that ask the machine around the warp: clocks, the heap, address spaces, block copies. */
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "cuda/softgpu/ptx_code.h"

#define HANDLER(name)                                                      \
	static const struct ptx_code *handle_##name(struct ptx_warp *warp, \
						    const struct ptx_code *code)

static uint64_t now_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void write_64(struct ptx_warp *warp, const struct ptx_code *code, uint64_t value)
{
	uint64_t *d = ptx_target(warp, code->r[0]);

	for (uint32_t left = warp->mask; left; left &= left - 1)
		d[ptx_first_lane(left)] = value;
}

/* clock - a cycle counter of 1 GHz; globaltimer - nanoseconds since 1970 */
HANDLER(clock_64)
{
	write_64(warp, code, now_ns(CLOCK_MONOTONIC));
	return code + 1;
}

HANDLER(globaltimer)
{
	write_64(warp, code, now_ns(CLOCK_REALTIME));
	return code + 1;
}

HANDLER(fence)
{
	(void)warp;
	atomic_thread_fence(memory_order_seq_cst);
	return code + 1;
}

/* heap_take - operands: 0 the address, 1 the number of bytes */
HANDLER(heap_take)
{
	struct ptx_module *module = warp->block->run->kernel->module;
	const uint64_t *bytes = ptx_source(warp, code->r[1]);
	uint64_t *d = ptx_target(warp, code->r[0]);

	for (uint32_t left = warp->mask; left; left &= left - 1) {
		uint32_t lane = ptx_first_lane(left);

		d[lane] = ptx_heap_take(&module->heap, &module->memory, bytes[lane]);
	}
	return code + 1;
}

HANDLER(heap_give)
{
	struct ptx_module *module = warp->block->run->kernel->module;
	const uint64_t *address = ptx_source(warp, code->r[1]);

	for (uint32_t left = warp->mask; left; left &= left - 1) {
		uint32_t lane = ptx_first_lane(left);

		if (!ptx_heap_give(&module->heap, address[lane]))
			return ptx_fault(warp, code, PTX_FAULT_ILLEGAL_ADDRESS, address[lane],
					 lane);
	}
	return code + 1;
}

/* isspacep - operand 0 a predicate; detail: the window, 0 for global */
HANDLER(isspacep)
{
	const uint64_t *address = ptx_source(warp, code->r[1]);
	uint32_t *d = ptx_target(warp, code->r[0]);
	uint32_t inside = 0;

	for (uint32_t lane = 0; lane < PTX_LANES; lane++)
		inside |= PTX_WINDOW_OF(address[lane]) == code->detail ? 1u << lane : 0;
	*d = (*d & ~warp->mask) | (inside & warp->mask);
	return code + 1;
}

/*
 * copy_async - cp.async, done at once. Operands: 1 the shared address (32 bits), 2 the global one,
 * 3 how many bytes are read; detail: how many are written, the rest zero; immediate: the offsets
 * of both addresses, 32 bits each.
 */
HANDLER(copy_async)
{
	const uint32_t *to = ptx_source(warp, code->r[1]);
	const uint64_t *from = ptx_source(warp, code->r[2]);
	const uint32_t *read = ptx_source(warp, code->r[3]);

	for (uint32_t left = warp->mask; left; left &= left - 1) {
		uint32_t lane = ptx_first_lane(left);
		uint64_t source = from[lane] + (uint64_t)(int64_t)(int32_t)(code->immediate >> 32);
		uint64_t target = (uint32_t)(to[lane] + (uint32_t)code->immediate);
		uint32_t bytes = read[lane] < code->detail ? read[lane] : code->detail;
		uint8_t *d, copy[16] = { 0 };

		if ((source | target) & (code->detail - 1))
			return ptx_fault(warp, code, PTX_FAULT_MISALIGNED_ADDRESS, source, lane);
		if (bytes) {
			const void *s = ptx_host_pointer(warp, source, bytes, lane, 0);

			if (!s)
				return ptx_fault(warp, code, PTX_FAULT_ILLEGAL_ADDRESS, source,
						 lane);
			memcpy(copy, s, bytes);
		}
		d = ptx_host_pointer(warp, PTX_WINDOW_SHARED | target, code->detail, lane, 1);
		if (!d)
			return ptx_fault(warp, code, PTX_FAULT_ILLEGAL_ADDRESS, target, lane);
		memcpy(d, copy, code->detail);
	}
	return code + 1;
}

#define ENTRY(name) { #name, handle_##name },
static const struct ptx_handler_entry entries[] = { ENTRY(clock_64) ENTRY(globaltimer) ENTRY(
	fence) ENTRY(heap_take) ENTRY(heap_give) ENTRY(isspacep) ENTRY(copy_async) };
const struct ptx_handler_table ptx_system_table = { entries, sizeof(entries) / sizeof(entries[0]) };
