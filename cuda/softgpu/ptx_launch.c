/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Launches: a grid's blocks over the host's cores.
 *
 * The pool has one thread per core but one; the first launch starts it, and its threads sleep
 * while there is nothing to do. A launch is a job in the pool's list. The launching thread works
 * on its own job too, so a grid of one block wakes nobody. Blocks are taken in order from a
 * counter: a block that waits for one before it waits for one that runs or has ended.
 *
 * A cooperative launch has all its blocks under way at once: a thread keeps several, gives each a
 * slice in turn, and takes on one more after each round until none is left.
 *
 * Each thread keeps the memory of the last block it ran, for the next launch.
 *
 * Locks: pool.lock guards the list and each job's `helpers`, `active`. Taken alone.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cuda/softgpu/ptx_code.h"
#include "lib/base/clean.h"

#define POOL_THREADS_MAX 256
#define KEEP_BYTES_MAX	 ((size_t)8 << 20) /* of a block's memory, between launches */
#define SHARED_BYTES_MAX (227u << 10)

struct job {
	struct job *next;
	struct ptx_run *run;
	unsigned int helpers; /* that may still join */
	unsigned int active;  /* that have joined and not left */
	pthread_cond_t left;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct job *jobs;
	unsigned int threads;
	bool started;
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER };

/* ---- the memory of a block ---- */

struct block_memory {
	struct ptx_block block;
	size_t bytes;
	uint8_t *memory;
	unsigned int warp_capacity;
};

static void block_free(struct block_memory *memory)
{
	if (!memory)
		return;
	for (unsigned int i = 0; i < memory->warp_capacity; i++)
		ptx_warp_clean(&memory->block.warps[i]);
	free(memory->block.warps);
	free(memory->memory);
	free(memory);
}

static void fill(uint8_t *slots, unsigned int slot, uint32_t value)
{
	uint32_t *lanes = (uint32_t *)(slots + (size_t)slot * PTX_SLOT_BYTES);

	for (uint32_t lane = 0; lane < PTX_LANES; lane++)
		lanes[lane] = value;
}

/* fill_warp - a warp's special registers, the same in every block of a launch */
static void fill_warp(const struct ptx_run *run, uint8_t *slots, unsigned int index)
{
	const unsigned int *size = run->launch->block;

	for (uint32_t lane = 0; lane < PTX_LANES; lane++) {
		uint32_t thread = index * PTX_LANES + lane;
		const uint32_t values[PTX_WARP_SPECIALS] = {
			[PTX_WARP_TID_X] = thread % size[0],
			[PTX_WARP_TID_Y] = thread / size[0] % size[1],
			[PTX_WARP_TID_Z] = thread / size[0] / size[1],
			[PTX_WARP_LANEID] = lane,
			[PTX_WARP_LANEMASK_EQ] = 1u << lane,
			[PTX_WARP_LANEMASK_LT] = (1u << lane) - 1,
			[PTX_WARP_LANEMASK_LE] = ((1u << lane) - 1) | 1u << lane,
			[PTX_WARP_LANEMASK_GT] = ~(((1u << lane) - 1) | 1u << lane),
			[PTX_WARP_LANEMASK_GE] = ~((1u << lane) - 1),
			[PTX_WARP_WARPID] = index,
		};

		for (unsigned int slot = 0; slot < PTX_WARP_SPECIALS; slot++)
			((uint32_t *)(slots + (size_t)slot * PTX_SLOT_BYTES))[lane] = values[slot];
	}
}

static void fill_block(const struct ptx_run *run, uint8_t *slots, uint32_t processor)
{
	const struct ptx_launch *launch = run->launch;

	for (unsigned int axis = 0; axis < 3; axis++) {
		fill(slots, PTX_BLOCK_NTID_X + axis, launch->block[axis]);
		fill(slots, PTX_BLOCK_NCTAID_X + axis, launch->grid[axis]);
	}
	fill(slots, PTX_BLOCK_NWARPID, run->warp_count);
	fill(slots, PTX_BLOCK_SMID, processor);
	fill(slots, PTX_BLOCK_NSMID, pool.threads + 1);
	fill(slots, PTX_BLOCK_GRIDID, run->grid_id);
	fill(slots, PTX_BLOCK_DYNAMIC_SHARED_BYTES, (uint32_t)launch->dynamic_shared_bytes);
	fill(slots, PTX_BLOCK_TOTAL_SHARED_BYTES, run->shared_bytes);
	fill(slots, PTX_BLOCK_DYNAMIC_SHARED_OFFSET, run->dynamic_shared_offset);
	fill(slots, PTX_BLOCK_ENVREG1, (uint32_t)(run->grid_barrier >> 32));
	fill(slots, PTX_BLOCK_ENVREG2, (uint32_t)run->grid_barrier);
	fill(slots, PTX_BLOCK_ONE, 1);
	fill(slots, PTX_BLOCK_ZERO, 0);
}

static size_t round_up(size_t bytes)
{
	return (bytes + 63) & ~(size_t)63;
}

/* warps_open - what of a warp is the same in every block of the launch */
static void warps_open(struct block_memory *memory, const struct ptx_run *run,
		       size_t register_bytes)
{
	struct ptx_block *block = &memory->block;
	const struct ptx_kernel *kernel = run->kernel;
	const struct ptx_memory *device = &kernel->module->memory;

	for (unsigned int index = 0; index < run->warp_count; index++) {
		struct ptx_warp *warp = &block->warps[index];
		uint8_t *specials =
			block->warp_specials + (size_t)index * PTX_WARP_SPECIALS * PTX_SLOT_BYTES;

		warp->block = block;
		warp->index = index;
		warp->valid_pages = device->valid_pages;
		warp->memory_base = device->base;
		warp->memory_pages = device->pages;
		warp->page_shift = device->page_shift;
		warp->local = block->local + (size_t)index * PTX_LANES * block->local_stride;
		warp->root.parent = NULL;
		warp->root.local_offset = 0;
		warp->root.depth = 0;
		warp->root.registers = block->registers + index * register_bytes;
		warp->bases[PTX_BASE_FRAME] = warp->root.registers;
		warp->bases[PTX_BASE_CONSTANT] = kernel->module->constants;
		warp->bases[PTX_BASE_WARP] = specials;
		warp->bases[PTX_BASE_BLOCK] = block->specials;
		warp->lane_operations = 0;
		fill_warp(run, specials, index);
	}
}

/* block_open - memory for blocks of this launch, out of @memory if it is large enough */
static struct block_memory *block_open(struct block_memory *memory, struct ptx_run *run,
				       uint32_t processor)
{
	const struct ptx_kernel *kernel = run->kernel;
	/* Lanes whose strides are a power of two would all fall into the same sets of a cache. */
	uint32_t stride = kernel->local_bytes ? ((kernel->local_bytes + 15) & ~15u) + 80 : 0;
	size_t register_bytes = round_up((size_t)kernel->register_bytes + kernel->outgoing_bytes);
	size_t specials = PTX_BLOCK_SPECIALS * PTX_SLOT_BYTES;
	size_t warp_specials = (size_t)run->warp_count * PTX_WARP_SPECIALS * PTX_SLOT_BYTES;
	size_t registers = run->warp_count * register_bytes;
	size_t shared = round_up(run->shared_bytes) + 64;
	size_t local = round_up((size_t)stride * run->warp_count * PTX_LANES);
	size_t bytes = specials + warp_specials + registers + shared + local + 64;
	uint8_t *start;

	if (memory && (memory->bytes < bytes || memory->warp_capacity < run->warp_count)) {
		block_free(memory);
		memory = NULL;
	}
	if (!memory) {
		memory = calloc(1, sizeof(*memory));
		if (!memory)
			return NULL;
		memory->bytes = bytes;
		memory->memory = calloc(1, bytes);
		memory->block.warps = ptx_aligned_alloc(run->warp_count * sizeof(struct ptx_warp));
		if (!memory->memory || !memory->block.warps) {
			block_free(memory);
			return NULL;
		}
		memset(memory->block.warps, 0, run->warp_count * sizeof(struct ptx_warp));
		memory->warp_capacity = run->warp_count;
	}
	start = (uint8_t *)(((uintptr_t)memory->memory + 63) & ~(uintptr_t)63);
	memory->block.run = run;
	memory->block.specials = start;
	memory->block.warp_specials = start + specials;
	memory->block.registers = memory->block.warp_specials + warp_specials;
	memory->block.shared = memory->block.registers + registers;
	memory->block.local = memory->block.shared + shared;
	memory->block.shared_bytes = run->shared_bytes;
	memory->block.local_bytes = kernel->local_bytes;
	memory->block.local_stride = stride;
	memory->block.warp_count = run->warp_count;
	fill_block(run, memory->block.specials, processor);
	warps_open(memory, run, register_bytes);
	return memory;
}

/* ---- running blocks ---- */

static void block_start(struct ptx_block *block, uint64_t number)
{
	struct ptx_run *run = block->run;
	const unsigned int *grid = run->launch->grid;

	block->index[0] = (unsigned int)(number % grid[0]);
	block->index[1] = (unsigned int)(number / grid[0] % grid[1]);
	block->index[2] = (unsigned int)(number / grid[0] / grid[1]);
	for (unsigned int axis = 0; axis < 3; axis++)
		fill(block->specials, PTX_BLOCK_CTAID_X + axis, block->index[axis]);
	block->live_threads = run->block_threads;
	for (unsigned int number_of = 0; number_of < PTX_BARRIERS; number_of++)
		block->barriers[number_of] = (struct ptx_barrier){ .all = 1 };
	for (unsigned int index = 0; index < block->warp_count; index++) {
		unsigned int left = run->block_threads - index * PTX_LANES;

		ptx_warp_start(&block->warps[index], run->kernel->code,
			       left >= PTX_LANES ? ~0u : (1u << left) - 1);
	}
}

static bool stopping(struct ptx_run *run)
{
	return atomic_load_explicit(&run->stopping, memory_order_relaxed) != 0;
}

/* block_stuck - no warp can go on: let lanes go that wait for lanes that cannot come, or give up */
static void block_stuck(struct ptx_block *block)
{
	bool found = false;

	for (unsigned int index = 0; index < block->warp_count; index++)
		found = ptx_warp_force(&block->warps[index]) || found;
	if (!found) {
		struct ptx_warp *warp = block->warps;

		while (warp->ended)
			warp++;
		ptx_fault(warp, block->run->kernel->code, PTX_FAULT_ILLEGAL_INSTRUCTION, 0,
			  warp->live ? ptx_first_lane(warp->live) : 0);
	}
}

/* block_pass - each warp once; true: the block has ended */
static bool block_pass(struct ptx_block *block)
{
	bool ended = true, moved = false;

	for (unsigned int index = 0; index < block->warp_count; index++) {
		struct ptx_warp *warp = &block->warps[index];

		if (warp->ready) {
			moved = true;
			ptx_warp_run(warp);
			if (stopping(block->run))
				return true;
		}
		ended = ended && warp->ended;
	}
	if (!ended && !moved)
		block_stuck(block);
	return ended;
}

static void count_operations(struct ptx_block *block)
{
	uint64_t sum = 0;

	for (unsigned int index = 0; index < block->warp_count; index++)
		sum += block->warps[index].lane_operations;
	atomic_fetch_add(&block->run->lane_operations, sum);
}

static bool asked_to_stop(struct ptx_run *run, struct ptx_block *block)
{
	if (!run->launch->stop || !*run->launch->stop)
		return stopping(run);
	block->warps->live = 1;
	ptx_fault(block->warps, run->kernel->code, PTX_FAULT_STOPPED, 0, 0);
	return true;
}

/* run_blocks - one block after the other until none is left */
static struct block_memory *run_blocks(struct ptx_run *run, struct block_memory *memory,
				       uint32_t processor)
{
	memory = block_open(memory, run, processor);
	if (!memory) {
		atomic_store(&run->no_memory, 1);
		atomic_store(&run->stopping, 1);
		return NULL;
	}
	while (!asked_to_stop(run, &memory->block)) {
		uint64_t number = atomic_fetch_add(&run->next_block, 1);

		if (number >= run->block_total)
			break;
		block_start(&memory->block, number);
		while (!stopping(run) && !block_pass(&memory->block))
			;
	}
	count_operations(&memory->block);
	return memory;
}

/* run_together - several blocks in turn, one more after each round */
static void run_together(struct ptx_run *run, uint32_t processor)
{
	struct block_memory **blocks = NULL;
	size_t count = 0;
	bool more = true;

	while (!stopping(run)) {
		bool ended = true;
		uint64_t number = more ? atomic_fetch_add(&run->next_block, 1) : run->block_total;

		if (number < run->block_total) {
			struct block_memory **larger =
				realloc(blocks, (count + 1) * sizeof(*blocks));

			if (larger)
				blocks = larger;
			if (!larger || !(blocks[count] = block_open(NULL, run, processor))) {
				atomic_store(&run->no_memory, 1);
				atomic_store(&run->stopping, 1);
				break;
			}
			block_start(&blocks[count++]->block, number);
		} else {
			more = false;
		}
		for (size_t i = 0; i < count && !asked_to_stop(run, &blocks[i]->block); i++)
			ended = block_pass(&blocks[i]->block) && ended;
		if (ended && !more)
			break;
	}
	for (size_t i = 0; i < count; i++) {
		count_operations(&blocks[i]->block);
		block_free(blocks[i]);
	}
	free(blocks);
}

/* ---- the pool ---- */

static pthread_key_t memory_key;
static pthread_once_t memory_once = PTHREAD_ONCE_INIT;

static void memory_drop(void *memory)
{
	block_free(memory);
}

static void memory_open(void)
{
	(void)pthread_key_create(&memory_key, memory_drop);
}

static void work_on(struct ptx_run *run, uint32_t processor)
{
	struct block_memory *memory;

	if (run->launch->cooperative) {
		run_together(run, processor);
		return;
	}
	memory = run_blocks(run, pthread_getspecific(memory_key), processor);
	if (memory && memory->bytes > KEEP_BYTES_MAX) {
		block_free(memory);
		memory = NULL;
	}
	pthread_setspecific(memory_key, memory);
}

static void *pool_thread(void *argument)
{
	uint32_t processor = (uint32_t)(uintptr_t)argument;

	pthread_mutex_lock(&pool.lock);
	for (;;) {
		struct job *job = pool.jobs;

		while (job && !job->helpers)
			job = job->next;
		if (!job) {
			pthread_cond_wait(&pool.work, &pool.lock);
			continue;
		}
		job->helpers--;
		job->active++;
		pthread_mutex_unlock(&pool.lock);
		work_on(job->run, processor);
		pthread_mutex_lock(&pool.lock);
		if (--job->active == 0)
			pthread_cond_signal(&job->left);
	}
	return NULL;
}

/*
 * pool_start - with the lock held; a pool that cannot have its threads works without them. They
 * take no signals: those are for the program's own threads.
 */
static void pool_start(void)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	cpu_set_t allowed;
	pthread_attr_t attributes;
	sigset_t all, before;

	pool.started = true;
	if (!sched_getaffinity(0, sizeof(allowed), &allowed))
		cores = CPU_COUNT(&allowed);
	if (cores > POOL_THREADS_MAX)
		cores = POOL_THREADS_MAX;
	if (pthread_attr_init(&attributes))
		return;
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	for (long i = 1; i < cores; i++) {
		pthread_t thread;

		if (pthread_create(&thread, &attributes, pool_thread, (void *)(uintptr_t)i))
			break;
		pool.threads++;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
}

/* job_run - the caller and as many helpers as there are blocks for */
static void job_run(struct ptx_run *run)
{
	struct job job = { .run = run, .left = PTHREAD_COND_INITIALIZER };
	struct job **link;

	pthread_mutex_lock(&pool.lock);
	if (!pool.started)
		pool_start();
	job.helpers = run->block_total - 1 < pool.threads ? (unsigned int)(run->block_total - 1)
							  : pool.threads;
	if (job.helpers) {
		job.next = pool.jobs;
		pool.jobs = &job;
		if (job.helpers == 1)
			pthread_cond_signal(&pool.work);
		else
			pthread_cond_broadcast(&pool.work);
	}
	pthread_mutex_unlock(&pool.lock);
	work_on(run, 0);
	pthread_mutex_lock(&pool.lock);
	for (link = &pool.jobs; *link && *link != &job; link = &(*link)->next)
		;
	if (*link)
		*link = job.next;
	while (job.active)
		pthread_cond_wait(&job.left, &pool.lock);
	pthread_mutex_unlock(&pool.lock);
	pthread_cond_destroy(&job.left);
}

/* ---- a launch ---- */

static int launch_check(const struct ptx_kernel *kernel, const struct ptx_launch *launch,
			struct ptx_run *run)
{
	const struct ptx_kernel_facts *facts = &kernel->facts;
	uint64_t threads = 1, blocks = 1;

	for (unsigned int axis = 0; axis < 3; axis++) {
		if (!launch->grid[axis] || !launch->block[axis] ||
		    launch->block[axis] > PTX_THREADS_MAX)
			return -EINVAL;
		if (facts->required_threads[0] &&
		    facts->required_threads[axis] != launch->block[axis])
			return -EINVAL;
		threads *= launch->block[axis];
		if (__builtin_mul_overflow(blocks, (uint64_t)launch->grid[axis], &blocks))
			return -EINVAL;
	}
	if (threads > PTX_THREADS_MAX || threads > facts->max_threads ||
	    launch->dynamic_shared_bytes > SHARED_BYTES_MAX ||
	    (facts->parameter_bytes && !launch->parameters))
		return -EINVAL;
	run->dynamic_shared_offset = (uint32_t)((facts->static_shared_bytes + 15) & ~(size_t)15);
	run->shared_bytes =
		launch->dynamic_shared_bytes
			? run->dynamic_shared_offset + (uint32_t)launch->dynamic_shared_bytes
			: (uint32_t)facts->static_shared_bytes;
	if (run->shared_bytes > SHARED_BYTES_MAX)
		return -EINVAL;
	run->block_threads = (unsigned int)threads;
	run->warp_count = (unsigned int)(threads + PTX_LANES - 1) / PTX_LANES;
	run->block_total = blocks;
	return 0;
}

int ptx_launch_run(const struct ptx_kernel *kernel, struct ptx_launch *launch)
{
	static _Atomic uint32_t grid_ids;
	const struct ptx_memory *device = &kernel->module->memory;
	struct ptx_run run = { .kernel = kernel, .launch = launch };
	size_t bytes = kernel->facts.parameter_bytes;
	autofree uint8_t *parameters = NULL;
	int code = launch_check(kernel, launch, &run);

	if (code)
		return code;
	launch->fault = PTX_FAULT_NONE;
	launch->fault_address = 0;
	launch->fault_text[0] = '\0';
	launch->lane_operations = 0;
	parameters = calloc(1, bytes + 64);
	if (!parameters || pthread_once(&memory_once, memory_open))
		return -ENOMEM;
	if (bytes)
		memcpy(parameters, launch->parameters, bytes);
	run.parameters = parameters;
	run.parameter_bytes = (uint32_t)bytes;
	run.grid_id = atomic_fetch_add(&grid_ids, 1) + 1;
	if (launch->cooperative) {
		if (device->allocate(device->owner, 256, 256, &run.grid_barrier))
			return -ENOMEM;
		memset((void *)(uintptr_t)run.grid_barrier, 0, 256);
	}
	pthread_mutex_init(&run.lock, NULL);
	job_run(&run);
	pthread_mutex_destroy(&run.lock);
	if (run.grid_barrier)
		device->release(device->owner, run.grid_barrier);
	launch->lane_operations = atomic_load(&run.lane_operations);
	if (atomic_load(&run.no_memory) && launch->fault == PTX_FAULT_NONE)
		return -ENOMEM;
	return 0;
}
