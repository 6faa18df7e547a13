/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory: device memory and pinned host memory, as pages of one reserved range of addresses.
 *
 * The range lies at a fixed address far from where mmap puts things (a real device's addresses are
 * as plainly not the heap's), so a stray host pointer never looks like device memory. It has one
 * region for each device and one for pinned host memory. A region's addresses are several times
 * its quota: what runs out is the quota, exactly, and not room between allocations.
 *
 * Every allocation takes whole pages of its own; valid_pages has one byte for each page, set while
 * it is allocated, which running kernels read without a lock. Pages are made accessible up to a
 * high-water mark when first needed and stay so (a kernel that races with a free must fault by
 * valid_pages, not by a signal); freed ones lose their content and their memory at once.
 *
 * With SOFTGPU_REMNANTS the devices' memory lies in that file, which processes share, and nothing
 * is ever cleared: a device on which who allocates finds what another left behind.
 *
 * Behind these regions lies one of addresses alone: virtual.c's reservations, into which it maps
 * memory of its own, or of other processes, and says here what of that may be used. An allocation
 * that other processes may open is mapped from an object of shared memory (ipc.c) until it is
 * freed.
 *
 * Locks: memory_lock over the regions' sorted tables of blocks and the registrations.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cuda/softgpu/driver.h"
#include "lib/base/log.h"

#define RANGE_ADDRESS 0x200000000000ul
#define ROOM_FACTOR   4 /* addresses of a region for each byte of its quota */
#define VIRTUAL_FACTOR \
	32 /* addresses to reserve, likewise: programs ask for far more than memory */
#define HUGE_PAGES	(2ul << (20 - PAGE_SHIFT)) /* a huge page's */
#define ROOM_STEP_PAGES (1ul << 14) /* the high-water mark moves in steps of 64 MiB */

/* Sorted by address; blocks never overlap. */
struct table {
	struct memory_block *blocks;
	size_t count;
	size_t capacity;
};

struct region {
	uint64_t address;
	size_t pages; /* of addresses */
	size_t quota_pages;
	size_t used_pages;
	size_t writable_pages; /* high-water mark */
	size_t packed;	       /* blocks [0, packed) lie without a gap from the start */
	struct table table;
};

static pthread_mutex_t memory_lock = PTHREAD_MUTEX_INITIALIZER;
static struct region regions[DEVICES_MAX + 2]; /* the devices', the host's, the virtual one */
static struct table registered;
static uint8_t *valid_pages;
static uint64_t range_address;
static size_t range_pages;
static uint64_t next_block_id = 1;
static struct ptx_memory machine_memory[DEVICES_MAX];
static int machine_devices[DEVICES_MAX];

static struct region *region_of(const struct memory_block *block)
{
	return &regions[block->kind == MEMORY_PINNED ? settings.devices : block->device];
}

static struct region *virtual_region(void)
{
	return &regions[settings.devices + 1];
}

static struct region *region_at(uint64_t address)
{
	for (int i = 0; i <= settings.devices + 1; i++) {
		struct region *region = &regions[i];

		if (address >= region->address && address - region->address < region->pages
										      << PAGE_SHIFT)
			return region;
	}
	return NULL;
}

/* Index of the first block that starts above @address. */
static size_t table_above(const struct table *table, uint64_t address)
{
	size_t low = 0;
	size_t high = table->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (table->blocks[middle].address <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The block that holds @address, or NULL. */
static struct memory_block *table_find(const struct table *table, uint64_t address)
{
	size_t above = table_above(table, address);
	struct memory_block *block;

	if (above == 0)
		return NULL;
	block = &table->blocks[above - 1];
	return address - block->address < (block->bytes ? block->bytes : 1) ? block : NULL;
}

static bool table_insert(struct table *table, size_t index, const struct memory_block *block)
{
	if (table->count == table->capacity) {
		size_t capacity = table->capacity ? 2 * table->capacity : 64;
		struct memory_block *blocks =
			realloc(table->blocks, capacity * sizeof(*table->blocks));

		if (!blocks)
			return false;
		table->blocks = blocks;
		table->capacity = capacity;
	}
	memmove(&table->blocks[index + 1], &table->blocks[index],
		(table->count - index) * sizeof(*table->blocks));
	table->blocks[index] = *block;
	table->count++;
	return true;
}

static void table_remove(struct table *table, size_t index)
{
	table->count--;
	memmove(&table->blocks[index], &table->blocks[index + 1],
		(table->count - index) * sizeof(*table->blocks));
}

/* Page of the region at which block @index starts; behind the last one: the region's end. */
static size_t block_page(const struct region *region, size_t index)
{
	if (index >= region->table.count)
		return region->pages;
	return (region->table.blocks[index].address - region->address) >> PAGE_SHIFT;
}

static size_t block_end_page(const struct region *region, size_t index)
{
	return block_page(region, index) + region->table.blocks[index].pages;
}

/*
 * First gap of @pages pages: its page, and in *index where the block goes. Blocks below ->packed
 * are skipped, for they have no gap between them.
 */
static bool region_gap(struct region *region, size_t pages, size_t *index, size_t *page)
{
	size_t at = region->packed ? block_end_page(region, region->packed - 1) : 0;

	for (size_t i = region->packed; i <= region->table.count; i++) {
		size_t next = block_page(region, i);

		if (next - at >= pages) {
			*index = i;
			*page = at;
			return true;
		}
		if (i == region->packed && next == at)
			region->packed++;
		if (i < region->table.count)
			at = block_end_page(region, i);
	}
	return false;
}

static bool region_make_writable(struct region *region, size_t end_page)
{
	size_t wanted = (end_page + ROOM_STEP_PAGES - 1) / ROOM_STEP_PAGES * ROOM_STEP_PAGES;

	if (end_page <= region->writable_pages)
		return true;
	if (wanted > region->pages)
		wanted = region->pages;
	if (mprotect((void *)(region->address + (region->writable_pages << PAGE_SHIFT)),
		     (wanted - region->writable_pages) << PAGE_SHIFT, PROT_READ | PROT_WRITE) != 0)
		return false;
	region->writable_pages = wanted;
	return true;
}

static void mark_pages(const struct memory_block *block, uint8_t valid)
{
	memset(valid_pages + ((block->address - range_address) >> PAGE_SHIFT), valid, block->pages);
}

/* allocate - from what the region has free; CUDA_ERROR_OUT_OF_MEMORY */
static CUresult allocate(struct memory_block *block)
{
	struct region *region = region_of(block);
	CUresult result = CUDA_ERROR_OUT_OF_MEMORY;
	size_t index;
	size_t page;

	pthread_mutex_lock(&memory_lock);
	if (block->pages <= region->quota_pages - region->used_pages &&
	    region_gap(region, block->pages, &index, &page) &&
	    region_make_writable(region, page + block->pages)) {
		block->address = region->address + (page << PAGE_SHIFT);
		block->id = next_block_id++;
		if (table_insert(&region->table, index, block)) {
			region->used_pages += block->pages;
			mark_pages(block, 1);
			/* Few faults for much memory; small blocks stay small. */
			if (block->pages >= HUGE_PAGES)
				madvise((void *)block->address, block->pages << PAGE_SHIFT,
					MADV_HUGEPAGE);
			result = CUDA_SUCCESS;
		}
	}
	pthread_mutex_unlock(&memory_lock);
	return result;
}

CUresult memory_allocate(struct memory_block *block)
{
	CUresult result;

	if (block->bytes > SIZE_MAX - PAGE_BYTES)
		return CUDA_ERROR_OUT_OF_MEMORY;
	block->pages = (block->bytes + PAGE_BYTES - 1) >> PAGE_SHIFT;
	if (block->pages == 0)
		block->pages = 1;
	result = allocate(block);
	if (result != CUDA_SUCCESS && block->kind != MEMORY_PINNED && pools_release(block->device))
		result = allocate(block);
	return result;
}

/* export_end - who has it open keeps it; here its pages are private again, at every moment some */
static void export_end(const struct memory_block *block)
{
	ipc_object_remove(block->shared);
	free(block->shared);
	mmap((void *)block->address, block->pages << PAGE_SHIFT, PROT_READ | PROT_WRITE,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
}

/* Caller holds memory_lock. */
static void region_free(struct region *region, size_t index)
{
	struct memory_block block = region->table.blocks[index];

	mark_pages(&block, 0);
	if (block.shared)
		export_end(&block);
	else if (!settings.remnants || block.kind == MEMORY_PINNED)
		madvise((void *)block.address, block.pages << PAGE_SHIFT, MADV_DONTNEED);
	region->used_pages -= block.pages;
	table_remove(&region->table, index);
	if (region->packed > index)
		region->packed = index;
	if (block.pool)
		region->used_pages +=
			pool_credit(block.pool, block.pages << PAGE_SHIFT) >> PAGE_SHIFT;
}

CUresult memory_free(uint64_t address)
{
	CUresult result = CUDA_ERROR_INVALID_VALUE;
	struct memory_block *block;
	struct region *region;

	pthread_mutex_lock(&memory_lock);
	region = region_at(address);
	block = region ? table_find(&region->table, address) : NULL;
	if (block && block->address == address) {
		region_free(region, (size_t)(block - region->table.blocks));
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&memory_lock);
	return result;
}

void memory_free_context(struct context *context)
{
	pthread_mutex_lock(&memory_lock);
	for (int i = 0; i <= settings.devices; i++) {
		struct region *region = &regions[i];

		for (size_t index = region->table.count; index-- > 0;) {
			if (region->table.blocks[index].context == context)
				region_free(region, index);
		}
	}
	for (size_t index = registered.count; index-- > 0;) {
		if (registered.blocks[index].context == context)
			table_remove(&registered, index);
	}
	pthread_mutex_unlock(&memory_lock);
}

bool memory_find(uint64_t address, struct memory_block *block)
{
	struct memory_block *found;
	struct region *region;

	pthread_mutex_lock(&memory_lock);
	region = region_at(address);
	found = table_find(region ? &region->table : &registered, address);
	if (found)
		*block = *found;
	pthread_mutex_unlock(&memory_lock);
	return found != NULL;
}

/* block_reach - bytes from @address that may be used as one; mappings may follow each other */
static size_t block_reach(const struct region *region, const struct memory_block *block,
			  uint64_t address)
{
	uint64_t end = block->address + block->bytes;

	if (region == virtual_region()) {
		const struct memory_block *last = region->table.blocks + region->table.count;

		while (++block < last && block->address == end)
			end += block->bytes;
	}
	return end - address;
}

enum memory_kind memory_classify(uint64_t address, size_t bytes)
{
	enum memory_kind kind = MEMORY_PAGEABLE;
	struct memory_block *block;
	struct region *region;

	pthread_mutex_lock(&memory_lock);
	region = region_at(address);
	block = table_find(region ? &region->table : &registered, address);
	if (block && bytes <= block_reach(region, block, address))
		kind = block->kind;
	else if (region)
		kind = MEMORY_INVALID;
	pthread_mutex_unlock(&memory_lock);
	return kind;
}

CUresult memory_register(struct memory_block *block)
{
	CUresult result = CUDA_SUCCESS;
	uint64_t end = block->address + block->bytes;
	size_t index;

	block->kind = MEMORY_REGISTERED;
	pthread_mutex_lock(&memory_lock);
	index = table_above(&registered, block->address);
	block->id = next_block_id++;
	if (region_at(block->address) || table_find(&registered, block->address) ||
	    (index < registered.count && registered.blocks[index].address < end))
		result = CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
	else if (!table_insert(&registered, index, block))
		result = CUDA_ERROR_OUT_OF_MEMORY;
	pthread_mutex_unlock(&memory_lock);
	return result;
}

CUresult memory_unregister(uint64_t address)
{
	CUresult result = CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
	struct memory_block *block;

	pthread_mutex_lock(&memory_lock);
	block = table_find(&registered, address);
	if (block && block->address == address) {
		table_remove(&registered, (size_t)(block - registered.blocks));
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&memory_lock);
	return result;
}

uint64_t softgpu_memory_used(int place)
{
	for (int i = 0; i < settings.devices; i++)
		if (settings.places[i] == place)
			return memory_used(i);
	return 0;
}

size_t memory_used(CUdevice device)
{
	size_t used;

	pthread_mutex_lock(&memory_lock);
	used = regions[device].used_pages << PAGE_SHIFT;
	pthread_mutex_unlock(&memory_lock);
	return used;
}

uint64_t memory_virtual(uint64_t *bytes)
{
	*bytes = virtual_region()->pages << PAGE_SHIFT;
	return virtual_region()->address;
}

/* An allocation on its way into an object of shared memory. */
struct export
{
	uint64_t address, id;
	int fd;
	struct ipc_handle *handle; /* the block's, once it is done */
	struct ipc_handle result;
};

/* export_move - content and pages of the block; caller holds memory_lock, and no task runs */
static CUresult export_move(struct memory_block *block, struct export *export)
{
	size_t bytes = block->pages << PAGE_SHIFT, done = 0;

	while (done < bytes) {
		ssize_t now = pwrite(export->fd, (const char *)block->address + done, bytes - done,
				     (off_t)done);

		if (now <= 0)
			return CUDA_ERROR_OUT_OF_MEMORY;
		done += (size_t)now;
	}
	if (mmap((void *)block->address, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		 export->fd, 0) == MAP_FAILED)
		return CUDA_ERROR_OUT_OF_MEMORY;
	block->shared = export->handle;
	export->handle = NULL;
	return CUDA_SUCCESS;
}

static CUresult export_still(void *argument)
{
	struct export *export = argument;
	CUresult result = CUDA_SUCCESS;
	struct memory_block *block;
	struct region *region;

	pthread_mutex_lock(&memory_lock);
	region = region_at(export->address);
	block = region ? table_find(&region->table, export->address) : NULL;
	if (!block || block->id != export->id)
		result = CUDA_ERROR_INVALID_VALUE; /* freed meanwhile */
	else if (!block->shared)
		result = export_move(block, export);
	if (!result)
		export->result = *block->shared; /* another thread's, where one was faster */
	pthread_mutex_unlock(&memory_lock);
	return result;
}

CUresult memory_export(uint64_t address, struct ipc_handle *handle)
{
	struct export export = { .address = address };
	struct memory_block block;
	CUresult result = CUDA_ERROR_OUT_OF_MEMORY;

	if (!memory_find(address, &block) || block.kind != MEMORY_DEVICE || block.pool ||
	    !block.context || block.imported)
		return CUDA_ERROR_INVALID_VALUE;
	if (settings.remnants)
		return CUDA_ERROR_NOT_SUPPORTED; /* that memory stays in its file */
	export.id = block.id;
	export.handle = malloc(sizeof(*export.handle));
	if (!export.handle)
		return result;
	export.fd = ipc_object_make(export.handle, IPC_MEMORY, block.pages << PAGE_SHIFT);
	export.handle->asked = block.bytes;
	export.handle->device = (uint32_t)block.device;
	if (export.fd >= 0) {
		result = streams_still(export_still, &export);
		close(export.fd);
		if (export.handle)
			ipc_object_remove(export.handle);
	}
	free(export.handle);
	*handle = export.result;
	return result;
}

CUresult memory_charge(CUdevice device, size_t bytes)
{
	struct region *region = &regions[device];
	CUresult result = CUDA_ERROR_OUT_OF_MEMORY;

	pthread_mutex_lock(&memory_lock);
	if (bytes >> PAGE_SHIFT <= region->quota_pages - region->used_pages) {
		region->used_pages += bytes >> PAGE_SHIFT;
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&memory_lock);
	return result;
}

void memory_discharge(CUdevice device, size_t bytes)
{
	pthread_mutex_lock(&memory_lock);
	regions[device].used_pages -= bytes >> PAGE_SHIFT;
	pthread_mutex_unlock(&memory_lock);
}

CUresult memory_map(struct memory_block *block)
{
	struct table *table = &virtual_region()->table;
	CUresult result = CUDA_ERROR_OUT_OF_MEMORY;

	pthread_mutex_lock(&memory_lock);
	block->id = next_block_id++;
	block->pages = (block->bytes + PAGE_BYTES - 1) >> PAGE_SHIFT;
	if (table_insert(table, table_above(table, block->address), block)) {
		mark_pages(block, 1);
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&memory_lock);
	return result;
}

void memory_unmap(uint64_t address)
{
	struct table *table = &virtual_region()->table;
	struct memory_block *block;

	pthread_mutex_lock(&memory_lock);
	block = table_find(table, address);
	if (block) {
		mark_pages(block, 0);
		table_remove(table, (size_t)(block - table->blocks));
	}
	pthread_mutex_unlock(&memory_lock);
}

/* What the machine calls for a module's variables. They end with the module, not with a context. */
static int machine_allocate(void *owner, size_t bytes, size_t alignment, uint64_t *address)
{
	struct memory_block block = {
		.bytes = bytes,
		.kind = MEMORY_DEVICE,
		.device = *(const int *)owner,
	};

	if (alignment > PAGE_BYTES)
		return -EINVAL;
	if (memory_allocate(&block) != CUDA_SUCCESS)
		return -ENOMEM;
	*address = block.address;
	return 0;
}

static void machine_release(void *owner, uint64_t address)
{
	(void)owner;
	memory_free(address);
}

const struct ptx_memory *memory_for_machine(CUdevice device)
{
	return &machine_memory[device];
}

static void *reserve(void *wanted, size_t bytes, int protection, int flags)
{
	void *address = mmap(wanted, bytes, protection,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);

	return address == MAP_FAILED ? NULL : address;
}

/* remnants_open - the file behind the devices' regions, which come first in the range */
static bool remnants_open(size_t region_pages)
{
	size_t bytes = region_pages * (size_t)settings.devices << PAGE_SHIFT;
	int fd = open(settings.remnants, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	void *range = MAP_FAILED;

	if (fd >= 0 && ftruncate(fd, (off_t)bytes) == 0)
		range = mmap((void *)range_address, bytes, PROT_NONE,
			     MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd, 0);
	if (range == MAP_FAILED)
		log_error("SOFTGPU_REMNANTS is \"%s\": %s", settings.remnants, strerror(errno));
	if (fd >= 0)
		close(fd);
	return range != MAP_FAILED;
}

CUresult memory_open(void)
{
	size_t region_pages = ROOM_FACTOR * (settings.memory_bytes >> PAGE_SHIFT);
	size_t virtual_pages = VIRTUAL_FACTOR * (settings.memory_bytes >> PAGE_SHIFT);
	void *range;

	range_pages = region_pages * (size_t)(settings.devices + 1) + virtual_pages;
	range = reserve((void *)RANGE_ADDRESS, range_pages << PAGE_SHIFT, PROT_NONE,
			MAP_FIXED_NOREPLACE);
	if (!range)
		range = reserve(NULL, range_pages << PAGE_SHIFT, PROT_NONE, 0);
	valid_pages = reserve(NULL, range_pages, PROT_READ | PROT_WRITE, 0);
	if (!range || !valid_pages)
		return CUDA_ERROR_OUT_OF_MEMORY;
	range_address = (uint64_t)range;
	if (settings.remnants && !remnants_open(region_pages))
		return CUDA_ERROR_SYSTEM_NOT_READY;
	for (int i = 0; i <= settings.devices; i++) {
		regions[i].address = range_address + i * (region_pages << PAGE_SHIFT);
		regions[i].pages = region_pages;
		regions[i].quota_pages = settings.memory_bytes >> PAGE_SHIFT;
	}
	*virtual_region() = (struct region){
		.address = range_address + (settings.devices + 1) * (region_pages << PAGE_SHIFT),
		.pages = virtual_pages,
	};
	for (int i = 0; i < settings.devices; i++) {
		machine_devices[i] = i;
		machine_memory[i] = (struct ptx_memory){
			.owner = &machine_devices[i],
			.allocate = machine_allocate,
			.release = machine_release,
			.valid_pages = valid_pages,
			.base = range_address,
			.pages = range_pages,
			.page_shift = PAGE_SHIFT,
		};
	}
	return CUDA_SUCCESS;
}
