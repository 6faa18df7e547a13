/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's side of turns: work waits for the device to be this client's, and is measured.
 *
 * turn_calls.c puts itself between the dispatch and the driver's functions that give the device
 * work, so that whatever request leads there takes part. Without a page from the supervisor
 * nothing is put between.
 */
#ifndef CAUSEWAY_CUDA_SERVER_TURN_H
#define CAUSEWAY_CUDA_SERVER_TURN_H

#include <stdbool.h>
#include <stdint.h>

#include "cuda/server/device_memory.h"
#include "gen/cuda_driver.h"

struct share_page;

/*
 * turn_open - take turns from now on; before any thread starts. @page is account_open()'s, @kick_fd
 * is owned from here on.
 */
void turn_open(struct share_page *page, int kick_fd);

/* One piece of work on its way to the driver; the fields are turn.c's. */
struct turn_work {
	struct turn *turn; /* NULL: it takes no part */
	CUstream stream;
	uint32_t cost; /* which estimate it has */
	uint64_t estimate_ns;
	uint64_t arrived_ns; /* these three while launches are recorded, else 0 */
	uint64_t gap_ns;
	bool idle;
};

/**
 * turn_begin - wait until the device is this client's, and note where the work begins
 * @cost: what kind of work this is, for estimates of its length: any number that tells kinds apart;
 *	   0: @estimate_ns holds, whatever is measured
 * @estimate_ns: how long it takes on the device until one with that @cost was measured; 0: unknown
 *
 * Nothing else of this process gives that device work between turn_begin() and turn_end().
 */
void turn_begin(struct turn_work *work, CUstream stream, uint32_t cost, uint64_t estimate_ns);

/* turn_end - the driver has it (@result), or refused it */
void turn_end(struct turn_work *work, CUresult result);

/*
 * turn_stream_ends - before the driver destroys or captures a stream: what it was given until now
 * is complete, and no event is recorded in it for it any more
 */
void turn_stream_ends(CUstream stream);

/*
 * turn_context_ends - before the driver destroys a context: what was given to it is measured, which
 * is waited for (two seconds at most), and none of its events is kept
 */
void turn_context_ends(CUcontext context);

/* turn_calls_open - put the calls between, into the driver's table; nothing without a page */
void turn_calls_open(struct cuda_driver *driver);

/*
 * quota.c: the tenant's memory. quota_open() maps it (@fd is owned from here on). An allocation is
 * admitted by quota_enter(), which keeps out the tenant's other workers until quota_leave(), and is
 * on the books with quota_publish(). Without quota_open() everything is admitted.
 */
int quota_open(int fd, unsigned int slot);
/* quota_enter - whether @bytes more fit beside what the tenant has */
bool quota_enter(uint64_t bytes);
/* quota_leave - at the end of the request; without quota_enter() in this thread nothing happens */
void quota_leave(void);
/* quota_publish - all that this process has allocated */
void quota_publish(uint64_t bytes);
/* quota_show - whose process this worker serves, and that it has a context on @device */
void quota_show_process(uint32_t process);
void quota_show_device(int device);
/* quota_used - by all of the tenant's clients; 0 without quota_open() */
uint64_t quota_used(void);
/* quota_process_at - the slot's process, if it is on @device; false: nobody there */
bool quota_process_at(unsigned int slot, int device, uint32_t *process, uint64_t *used_bytes);
/* quota_arrays_open - put functions that count arrays into the driver's table (quota_arrays.c) */
void quota_arrays_open(struct cuda_driver *driver);
/*
 * quota_overhead_open - put functions that count what contexts and modules take into the driver's
 * table (quota_overhead.c), above those of turns and arrays; @path is the driver's, and @read
 * device_memory_read()
 */
typedef bool quota_device_memory(const char *bus_id, const char *path,
				 struct device_memory *memory);
void quota_overhead_open(struct cuda_driver *driver, const char *path, quota_device_memory *read);
/*
 * quota_follow.c: what the driver takes later than in the call that it is for.
 *
 * quota_follow - a kernel was launched for the first time, or code has ended: ask the device soon
 * quota_follow_device - this process has something on that device
 * quota_follow_look - ask now, and charge; false: a request changes something, ask again. By one
 *	thread.
 * quota_change_begin - this thread's request may change what is taken of a device, or the books of
 *	it, until quota_change_end(), at its end
 */
void quota_follow_open(const struct cuda_driver *driver, const char *path,
		       quota_device_memory *read);
void quota_follow(void);
void quota_follow_device(int device, const char *bus_id);
bool quota_follow_look(void);
void quota_change_begin(void);
void quota_change_end(void);
/*
 * quota_pools.c: what pools keep above what is allocated from them counts as well, up to their
 * release threshold: the rest goes back to the device by itself.
 */
void quota_pools_open(struct cuda_driver *driver);
/* quota_pool_current - the one that cuMemAllocAsync takes from, on the current device, or NULL */
CUmemoryPool quota_pool_current(void);
/* quota_pool_count - so much more (or, negative, less) of the pool is allocated */
void quota_pool_count(CUmemoryPool pool, int64_t bytes);
/* quota_pools_settle - charge what pools keep by now */
void quota_pools_settle(void);
/* quota_pools_rests - what pools have beyond what is on the books */
uint64_t quota_pools_rests(void);
/* quota_pools_trim - make pools keep nothing; false: they did not */
bool quota_pools_trim(void);
/* handles_open - put functions into the driver's table that let handles of device memory be opened
 * by workers of the tenant alone that exported it (handles.c); where the tenant has a folder */
void handles_open(struct cuda_driver *driver);
/*
 * memory_clear_open - put functions that clear what they allocate into the driver's table
 * (memory_clear.c), below those of turns and quotas
 */
void memory_clear_open(struct cuda_driver *driver);
/* memory_clears - whether memory_clear_open() did */
bool memory_clears(void);
/*
 * memory_clear_array - a new array, or one level, of the current context; @element_bytes 0: of
 * another form, which cannot be cleared: CUDA_ERROR_NOT_SUPPORTED. Without memory_clear_open()
 * nothing.
 */
CUresult memory_clear_array(CUarray array, const CUDA_ARRAY3D_DESCRIPTOR *shape,
			    unsigned int element_bytes);
typedef CUresult graph_allocation_fn(CUgraphNode node, const CUDA_MEM_ALLOC_NODE_PARAMS *allocation,
				     void *argument);
/* graph_allocations - call @visit for each node that allocates, until it fails (quota_arrays.c) */
CUresult graph_allocations(const struct cuda_driver *driver, CUgraph graph,
			   graph_allocation_fn *visit, void *argument);
/*
 * memory_clear_graph_open - memory_clear_open()'s part for what the nodes of graphs allocate
 * (memory_clear_graph.c)
 */
void memory_clear_graph_open(struct cuda_driver *driver);
/*
 * memory_clear_graph - before it is instantiated: what its nodes allocate is cleared at each
 * launch. Without memory_clear_open() nothing. CUDA_ERROR_NOT_SUPPORTED: an allocation has no
 * clearing.
 */
CUresult memory_clear_graph(CUgraph graph);
/* quota_left - of the limit, for all of the tenant; UINT64_MAX without one. *limit: 0 without */
uint64_t quota_left(uint64_t *limit);

#endif
