/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory: what the program allocated, on the device and as pinned host memory.
 *
 * The table of ranges tells device from host addresses, as unified addressing wants it. A device
 * range is reserved in this process too (PROT_NONE, no memory behind it), page by page, so that no
 * host object ever gets a device object's address; where something is there already, the worker
 * keeps that block and is asked for another. Small allocations share pages: a page belongs to the
 * reservation while any range touches it, which its neighbours in the table tell.
 *
 * range_lock protects the table and the reservations. It is a leaf, and is held across mmap and
 * munmap so that both stay the same.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#include "cuda/client/shared.h"
#include "cuda/common/range.h"

#define PAGE_BYTES     4096u
#define ALLOCATE_TRIES 8
#define HOST_FLAGS_KNOWN \
	(CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED)
#define REGISTER_FLAGS_KNOWN \
	(CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP | CU_MEMHOSTREGISTER_READ_ONLY)

enum range_flags {
	RANGE_ASYNC = 0x100,	  /* from a pool, in stream order */
	RANGE_REGISTERED = 0x200, /* the program's own memory */
	RANGE_RESERVED = 0x400,	  /* its pages are PROT_NONE here */
	RANGE_ADOPTED = 0x2000,	  /* of a graph */
	RANGE_KEPT = 0x4000,	  /* cuMemFree does not end it: reserved, or another process's */
	RANGE_SHARED = 0x800,	  /* pinned host memory that the worker has at the same address */
	RANGE_MAPPED = 0x1000,	  /* kernels see it there, too */
	RANGE_HOST_FLAGS = 0xff,  /* what the program asked for, of a host range */
};

static struct {
	pthread_mutex_t lock; /* range_lock */
	struct range_table table;
	uint64_t serial;
} memory = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* memory_pages - the pages of @range that no neighbour touches; false: none. Under range_lock. */
static bool memory_pages(const struct range *range, uint64_t *from, uint64_t *to)
{
	const struct range_table *table = &memory.table;
	size_t index = range_index(table, range->start);
	const struct range *before = NULL, *after = NULL;

	if (index && table->ranges[index - 1].start == range->start)
		before = index > 1 ? &table->ranges[index - 2] : NULL;
	else if (index)
		before = &table->ranges[index - 1];
	if (index < table->count)
		after = &table->ranges[index];
	*from = range->start & ~(uint64_t)(PAGE_BYTES - 1);
	*to = (range->start + range->bytes + PAGE_BYTES - 1) & ~(uint64_t)(PAGE_BYTES - 1);
	if (before && (before->flags & RANGE_RESERVED) && before->start + before->bytes > *from)
		*from += PAGE_BYTES;
	if (after && (after->flags & RANGE_RESERVED) && after->start < *to)
		*to -= PAGE_BYTES;
	return *from < *to;
}

/*
 * memory_out_of_reach - whether no mapping of this process can ever lie at @address: its stack,
 * with the program's name at the end, is the last thing in an address space. User-Mode Linux and
 * other small address spaces end below what a device uses.
 */
static bool memory_out_of_reach(uint64_t address)
{
	return address > getauxval(AT_EXECFN);
}

/* memory_reserve - 0, or -EEXIST where something of this process lies there. Under range_lock. */
static int memory_reserve(const struct range *range)
{
	uint64_t from, to;
	void *at;

	if (!memory_pages(range, &from, &to))
		return 0;
	at = mmap((void *)(uintptr_t)from, to - from, PROT_NONE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
	if (at == (void *)(uintptr_t)from)
		return 0;
	if (at != MAP_FAILED)
		munmap(at, to - from); /* a kernel that does not know the flag */
	else if (errno == ENOMEM && memory_out_of_reach(from))
		return 0;
	return -EEXIST;
}

/* memory_forget - take @range out of the table and its pages out of this process; under the lock */
static void memory_forget(struct range *range)
{
	uint64_t from, to;

	if ((range->flags & RANGE_RESERVED) && memory_pages(range, &from, &to))
		munmap((void *)(uintptr_t)from, to - from);
	range_remove(&memory.table, range->start);
}

/*
 * memory_graphs_forget - what graphs had between these addresses, which the worker has given again;
 * nobody says when the last executable graph of such an address is gone. Under the lock.
 */
static void memory_graphs_forget(uint64_t address, uint64_t bytes)
{
	for (size_t i = range_index(&memory.table, address + bytes - 1); i-- > 0;) {
		struct range *range = &memory.table.ranges[i];

		if (range->start + range->bytes <= address)
			return;
		if (range->kind == CLIENT_RANGE_DEVICE &&
		    (range->flags & (RANGE_ADOPTED | RANGE_ASYNC)))
			memory_forget(range);
	}
}

/* memory_adopt - a block that the worker allocated; -EEXIST: its addresses are taken here */
static int memory_adopt(uint64_t address, uint64_t bytes, enum client_range_kind kind,
			uint32_t owner, uint16_t flags)
{
	struct range range = { .start = address,
			       .bytes = bytes,
			       .owner = owner,
			       .kind = (uint16_t)kind,
			       .flags = flags | RANGE_RESERVED };
	int error;

	if (!bytes || address + bytes < address)
		return -EINVAL;
	pthread_mutex_lock(&memory.lock);
	range.serial = ++memory.serial;
	memory_graphs_forget(address, bytes);
	error = memory_reserve(&range);
	if (!error) {
		error = range_insert(&memory.table, &range);
		if (error)
			client_log("the server gave an address twice: 0x%llx",
				   (unsigned long long)address);
	}
	pthread_mutex_unlock(&memory.lock);
	return error;
}

bool client_range_on_device(const struct range *range)
{
	return range->kind != CLIENT_RANGE_HOST || (range->flags & RANGE_SHARED);
}

bool client_range_lookup(uint64_t address, struct range *range)
{
	const struct range *found;

	pthread_mutex_lock(&memory.lock);
	found = range_find(&memory.table, address);
	if (found)
		*range = *found;
	pthread_mutex_unlock(&memory.lock);
	return found != NULL;
}

CUresult client_range_check(uint64_t address, unsigned __int128 bytes)
{
	struct range range;

	if (!bytes)
		return CUDA_SUCCESS;
	if (!client_range_lookup(address, &range) || !client_range_on_device(&range) ||
	    bytes > range.bytes - (address - range.start))
		return CUDA_ERROR_INVALID_VALUE;
	return CUDA_SUCCESS;
}

CUresult client_range_global(uint64_t address, uint64_t bytes, uint32_t module)
{
	struct range known;

	if (client_range_lookup(address, &known))
		return CUDA_SUCCESS;
	/* A variable stays where it is; unreserved, its address is still known to be the device's.
	 */
	if (memory_adopt(address, bytes, CLIENT_RANGE_GLOBAL, module, 0) == -EEXIST) {
		struct range range = { .start = address,
				       .bytes = bytes,
				       .owner = module,
				       .kind = CLIENT_RANGE_GLOBAL };

		pthread_mutex_lock(&memory.lock);
		range.serial = ++memory.serial;
		range_insert(&memory.table, &range);
		pthread_mutex_unlock(&memory.lock);
	}
	return CUDA_SUCCESS;
}

void client_range_forget(uint32_t owner)
{
	pthread_mutex_lock(&memory.lock);
	for (size_t i = memory.table.count; i-- > 0;) {
		struct range *range = &memory.table.ranges[i];

		if (range->owner == owner && range->kind != CLIENT_RANGE_HOST)
			memory_forget(range);
	}
	pthread_mutex_unlock(&memory.lock);
}

int client_range_adopt(uint64_t address, uint64_t bytes, uint32_t owner, bool freed)
{
	return memory_adopt(address, bytes, CLIENT_RANGE_DEVICE, owner,
			    freed ? RANGE_ADOPTED : RANGE_KEPT);
}

/* What is asked of the worker; asked again where the address cannot be used here. */
struct allocation {
	uint64_t bytes;
	bool async, pitched;
	uint32_t pool, stream;	      /* async */
	uint64_t width_bytes, height; /* pitched */
	uint32_t element_bytes;
	uint64_t pitch; /* out */
};

static CUresult memory_allocate(struct allocation *wanted, CUdeviceptr *dptr)
{
	uint32_t context = client_context_number();
	uint64_t address;
	CUresult result;
	int error;

	for (int i = 0; i < ALLOCATE_TRIES; i++) {
		if (wanted->async)
			result = client_send_memory_allocate_async(wanted->bytes, wanted->pool,
								   wanted->stream, &address);
		else if (wanted->pitched)
			result = client_send_memory_allocate_pitch(
				wanted->width_bytes, wanted->height, wanted->element_bytes,
				&address, &wanted->pitch);
		else
			result = client_send_memory_allocate(wanted->bytes, &address);
		if (result)
			return result;
		if (wanted->pitched)
			wanted->bytes = wanted->pitch * wanted->height;
		error = memory_adopt(address, wanted->bytes, CLIENT_RANGE_DEVICE, context,
				     wanted->async ? RANGE_ASYNC : 0);
		if (!error) {
			*dptr = address;
			return CUDA_SUCCESS;
		}
		client_log("device address 0x%llx is taken in this process; asking for another",
			   (unsigned long long)address);
	}
	return CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult client_cuMemAlloc_v2(CUdeviceptr *dptr, size_t bytesize)
{
	struct allocation wanted = { .bytes = bytesize };
	CUresult result = client_enter();

	if (result)
		return result;
	if (!dptr || !bytesize)
		return CUDA_ERROR_INVALID_VALUE;
	return memory_allocate(&wanted, dptr);
}

CUresult client_cuMemAllocPitch_v2(CUdeviceptr *dptr, size_t *pPitch, size_t WidthInBytes,
				   size_t Height, unsigned int ElementSizeBytes)
{
	struct allocation wanted = { .pitched = true,
				     .width_bytes = WidthInBytes,
				     .height = Height,
				     .element_bytes = ElementSizeBytes };
	CUresult result = client_enter();

	if (result)
		return result;
	if (!dptr || !pPitch || !WidthInBytes || !Height)
		return CUDA_ERROR_INVALID_VALUE;
	result = memory_allocate(&wanted, dptr);
	if (!result)
		*pPitch = wanted.pitch;
	return result;
}

/* memory_take - forget a device allocation that starts at @dptr, @kept from cuMemFree or not */
static CUresult memory_take(CUdeviceptr dptr, bool kept)
{
	CUresult result = CUDA_ERROR_INVALID_VALUE;
	struct range *range;

	pthread_mutex_lock(&memory.lock);
	range = range_find(&memory.table, dptr);
	if (range && range->start == dptr && range->kind == CLIENT_RANGE_DEVICE &&
	    !(range->flags & RANGE_KEPT) == !kept) {
		memory_forget(range);
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&memory.lock);
	return result;
}

CUresult client_range_end(uint64_t address)
{
	return memory_take(address, true);
}

CUresult client_cuMemFree_v2(CUdeviceptr dptr)
{
	CUresult result = client_enter();

	if (result)
		return result;
	if (!dptr)
		return CUDA_SUCCESS;
	if (!client_context_number())
		return CUDA_ERROR_INVALID_CONTEXT;
	result = memory_take(dptr, false);
	return result ? result : client_send_memory_free(dptr);
}

CUresult client_cuMemFreeAsync(CUdeviceptr dptr, CUstream hStream)
{
	uint32_t stream;
	CUresult result = client_enter();

	if (!result)
		result = client_number_stream(hStream, true, &stream);
	if (result)
		return result;
	if (!client_context_number())
		return CUDA_ERROR_INVALID_CONTEXT;
	result = memory_take(dptr, false);
	return result ? result : client_send_memory_free_async(dptr, stream);
}

static CUresult memory_allocate_async(CUdeviceptr *dptr, size_t bytes, uint32_t pool,
				      CUstream hStream)
{
	struct allocation wanted = { .bytes = bytes, .async = true, .pool = pool };
	CUresult result = client_number_stream(hStream, true, &wanted.stream);

	if (result)
		return result;
	if (!dptr || !bytes)
		return CUDA_ERROR_INVALID_VALUE;
	return memory_allocate(&wanted, dptr);
}

CUresult client_cuMemAllocAsync(CUdeviceptr *dptr, size_t bytesize, CUstream hStream)
{
	CUresult result = client_enter();

	return result ? result : memory_allocate_async(dptr, bytesize, 0, hStream);
}

CUresult client_cuMemAllocFromPoolAsync(CUdeviceptr *dptr, size_t bytesize, CUmemoryPool pool,
					CUstream hStream)
{
	uint32_t number;
	CUresult result = client_enter();

	if (!result)
		result = client_number_pool(pool, false, &number);
	return result ? result : memory_allocate_async(dptr, bytesize, number, hStream);
}

CUresult client_cuMemGetInfo_v2(size_t *free, size_t *total)
{
	uint64_t free_bytes, total_bytes;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!free || !total)
		return CUDA_ERROR_INVALID_VALUE;
	result = client_send_memory_info(&free_bytes, &total_bytes);
	if (result)
		return result;
	*free = free_bytes;
	*total = total_bytes;
	return CUDA_SUCCESS;
}

CUresult client_cuMemGetAddressRange_v2(CUdeviceptr *pbase, size_t *psize, CUdeviceptr dptr)
{
	struct range range;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!client_range_lookup(dptr, &range) || range.kind == CLIENT_RANGE_HOST)
		return CUDA_ERROR_NOT_FOUND;
	if (pbase)
		*pbase = range.start;
	if (psize)
		*psize = range.bytes;
	return CUDA_SUCCESS;
}

/* memory_host_insert - a host range; CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED where they meet */
static CUresult memory_host_insert(void *at, size_t bytes, unsigned int flags)
{
	struct range range = { .start = (uintptr_t)at,
			       .bytes = bytes,
			       .kind = CLIENT_RANGE_HOST,
			       .owner = client_context_number(),
			       .flags = (uint16_t)flags };
	int error;

	pthread_mutex_lock(&memory.lock);
	range.serial = ++memory.serial;
	error = range_insert(&memory.table, &range);
	pthread_mutex_unlock(&memory.lock);
	switch (error) {
	case 0:
		return CUDA_SUCCESS;
	case -EEXIST:
		return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
	case -ENOMEM:
		return CUDA_ERROR_OUT_OF_MEMORY;
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
}

/* memory_host_map - pages for pinned memory: shared with the worker where that is possible */
static CUresult memory_host_map(size_t bytes, void **at, unsigned int *flags)
{
	uint64_t device = 0;
	CUresult result = client_shared_allocate(bytes, at, &device);

	if (!result) {
		*flags |= RANGE_SHARED;
		if (device == (uintptr_t)*at)
			*flags |= RANGE_MAPPED;
		return CUDA_SUCCESS;
	}
	if (result != CUDA_ERROR_NOT_SUPPORTED)
		return result;
	*at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return *at == MAP_FAILED ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}

static void memory_host_unmap(void *at, size_t bytes, unsigned int flags)
{
	if (flags & RANGE_SHARED)
		client_shared_free(at, bytes);
	else
		munmap(at, (bytes + PAGE_BYTES - 1) & ~(size_t)(PAGE_BYTES - 1));
}

CUresult client_cuMemHostAlloc(void **pp, size_t bytesize, unsigned int Flags)
{
	CUresult result = client_enter();
	size_t bytes = (bytesize + PAGE_BYTES - 1) & ~(size_t)(PAGE_BYTES - 1);
	unsigned int flags = Flags;
	void *at;

	if (result)
		return result;
	if (!pp || !bytesize || bytes < bytesize || Flags & ~(unsigned int)HOST_FLAGS_KNOWN)
		return CUDA_ERROR_INVALID_VALUE;
	if (!client_context_number())
		return CUDA_ERROR_INVALID_CONTEXT;
	result = memory_host_map(bytes, &at, &flags);
	if (result)
		return result;
	result = memory_host_insert(at, bytesize, flags);
	if (result) {
		memory_host_unmap(at, bytes, flags);
		return result;
	}
	*pp = at;
	return CUDA_SUCCESS;
}

CUresult client_cuMemAllocHost_v2(void **pp, size_t bytesize)
{
	return client_cuMemHostAlloc(pp, bytesize, 0);
}

/* memory_host_take - forget the host range that starts at @at; @registered says of which sort */
static bool memory_host_take(void *at, bool registered, size_t *bytes, unsigned int *flags)
{
	struct range *range;
	bool found;

	pthread_mutex_lock(&memory.lock);
	range = range_find(&memory.table, (uintptr_t)at);
	found = range && range->start == (uintptr_t)at && range->kind == CLIENT_RANGE_HOST &&
		!(range->flags & RANGE_REGISTERED) == !registered;
	if (found) {
		*bytes = range->bytes;
		*flags = range->flags;
		range_remove(&memory.table, range->start);
	}
	pthread_mutex_unlock(&memory.lock);
	return found;
}

CUresult client_cuMemFreeHost(void *p)
{
	unsigned int flags;
	size_t bytes;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!memory_host_take(p, false, &bytes, &flags))
		return CUDA_ERROR_INVALID_VALUE;
	memory_host_unmap(p, bytes, flags);
	return CUDA_SUCCESS;
}

/* memory_host_shared - the host range at @at is the worker's, too; @mapped: and the kernels' */
static void memory_host_shared(void *at, bool mapped)
{
	struct range *range;

	pthread_mutex_lock(&memory.lock);
	range = range_find(&memory.table, (uintptr_t)at);
	if (range)
		range->flags |= RANGE_SHARED | (mapped ? RANGE_MAPPED : 0);
	pthread_mutex_unlock(&memory.lock);
}

CUresult client_cuMemHostRegister_v2(void *p, size_t bytesize, unsigned int Flags)
{
	CUresult result = client_enter();
	unsigned int flags;
	uint64_t device = 0;

	if (result)
		return result;
	if (!p || !bytesize || Flags & ~(unsigned int)(REGISTER_FLAGS_KNOWN))
		return CUDA_ERROR_INVALID_VALUE;
	if (!client_context_number())
		return CUDA_ERROR_INVALID_CONTEXT;
	flags = Flags | RANGE_REGISTERED;
	result = memory_host_insert(p, bytesize, flags);
	if (result)
		return result;
	/* What cannot be shared is copied as pageable memory is. */
	if (!client_shared_adopt(p, bytesize, &device))
		memory_host_shared(p, device == (uintptr_t)p - (uintptr_t)p % PAGE_BYTES);
	return CUDA_SUCCESS;
}

CUresult client_cuMemHostUnregister(void *p)
{
	unsigned int flags;
	size_t bytes;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!memory_host_take(p, true, &bytes, &flags))
		return CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
	/* CUDA waits for what still uses it; the worker does, before its answer. */
	if (flags & RANGE_SHARED) {
		client_cuCtxSynchronize();
		client_shared_release(p, bytes);
	}
	return CUDA_SUCCESS;
}

/* Kernels reach what is shared, at its own address, where the driver can; no other memory. */
CUresult client_cuMemHostGetDevicePointer_v2(CUdeviceptr *pdptr, void *p, unsigned int Flags)
{
	struct range range;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!pdptr || Flags || !client_range_lookup((uintptr_t)p, &range) ||
	    range.kind != CLIENT_RANGE_HOST)
		return CUDA_ERROR_INVALID_VALUE;
	if (!(range.flags & RANGE_MAPPED))
		return CUDA_ERROR_NOT_SUPPORTED;
	*pdptr = (uintptr_t)p;
	return CUDA_SUCCESS;
}

CUresult client_cuMemHostGetFlags(unsigned int *pFlags, void *p)
{
	struct range range;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!pFlags || !client_range_lookup((uintptr_t)p, &range) ||
	    range.kind != CLIENT_RANGE_HOST || (range.flags & RANGE_REGISTERED))
		return CUDA_ERROR_INVALID_VALUE;
	*pFlags = range.flags & RANGE_HOST_FLAGS;
	return CUDA_SUCCESS;
}

CUresult client_cuMemAllocManaged(CUdeviceptr *dptr, size_t bytesize, unsigned int flags)
{
	CUresult result = client_enter();

	if (result)
		return result;
	if (!dptr || !bytesize || (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST))
		return CUDA_ERROR_INVALID_VALUE;
	return CUDA_ERROR_NOT_SUPPORTED;
}

/* pointer_device - attributes that only device ranges have; *data is at least 8 bytes */
static CUresult pointer_device(const struct range *range, CUpointer_attribute attribute, void *data)
{
	struct client_object *context = client_handle_at(range->owner);
	bool host = range->kind == CLIENT_RANGE_HOST;

	while (context && context->kind != KIND_context && context->parent)
		context = client_handle_at(context->parent);
	if (context && context->kind != KIND_context)
		context = client_context_current(); /* a variable of a library */
	switch (attribute) {
	case CU_POINTER_ATTRIBUTE_CONTEXT:
		*(CUcontext *)data = context ? client_handle_pointer(context) : NULL;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
		*(int *)data = context ? context->context.device : 0;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
		*(int *)data =
			host ? CU_MEM_ACCESS_FLAGS_PROT_NONE : CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
		*(CUmemoryPool *)data = NULL;
		if ((range->flags & RANGE_ASYNC) && context)
			return client_cuDeviceGetDefaultMemPool(data, context->context.device);
		return CUDA_SUCCESS;
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
}

/* pointer_attribute - one attribute of an address in @range */
static CUresult pointer_attribute(const struct range *range, CUdeviceptr ptr,
				  CUpointer_attribute attribute, void *data)
{
	bool host = range->kind == CLIENT_RANGE_HOST;
	bool mapped = !host || (range->flags & RANGE_MAPPED);

	switch (attribute) {
	case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
		*(unsigned int *)data = host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
		*(CUdeviceptr *)data = mapped ? ptr : 0;
		return mapped ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
	case CU_POINTER_ATTRIBUTE_HOST_POINTER:
		*(void **)data = host ? (void *)(uintptr_t)ptr : NULL;
		return host ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
	case CU_POINTER_ATTRIBUTE_BUFFER_ID:
	case CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID:
		*(unsigned long long *)data = range->serial;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
	case CU_POINTER_ATTRIBUTE_IS_MANAGED:
	case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
	case CU_POINTER_ATTRIBUTE_IS_HW_DECOMPRESS_CAPABLE:
		*(unsigned int *)data = 0; /* runtimes read four bytes of a boolean */
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
		*(unsigned int *)data =
			range->kind == CLIENT_RANGE_DEVICE &&
			!(range->flags & (RANGE_ASYNC | RANGE_ADOPTED | RANGE_KEPT));
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_MAPPED:
		*(unsigned int *)data = mapped;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
		*(unsigned long long *)data = 0;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
	case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR:
		*(CUdeviceptr *)data = range->start;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
	case CU_POINTER_ATTRIBUTE_MAPPING_SIZE:
		*(size_t *)data = range->bytes;
		return CUDA_SUCCESS;
	default:
		return pointer_device(range, attribute, data);
	}
}

CUresult client_cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr ptr)
{
	struct range range;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!data || !client_range_lookup(ptr, &range))
		return CUDA_ERROR_INVALID_VALUE;
	return pointer_attribute(&range, ptr, attribute, data);
}

/* pointer_unknown - what CUDA fills in for memory that is not its own */
static void pointer_unknown(CUpointer_attribute attribute, void *data)
{
	switch (attribute) {
	case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
		*(int *)data = CU_DEVICE_INVALID;
		break;
	case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
	case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
	case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
	case CU_POINTER_ATTRIBUTE_IS_MANAGED:
	case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
	case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
	case CU_POINTER_ATTRIBUTE_IS_HW_DECOMPRESS_CAPABLE:
	case CU_POINTER_ATTRIBUTE_MAPPED:
		*(unsigned int *)data = 0;
		break;
	default:
		*(unsigned long long *)data = 0;
		break;
	}
}

CUresult client_cuPointerGetAttributes(unsigned int numAttributes, CUpointer_attribute *attributes,
				       void **data, CUdeviceptr ptr)
{
	struct range range;
	CUresult result = client_enter();
	bool known;

	if (result)
		return result;
	if (!numAttributes || !attributes || !data)
		return CUDA_ERROR_INVALID_VALUE;
	known = client_range_lookup(ptr, &range);
	for (unsigned int i = 0; i < numAttributes; i++) {
		if (!data[i])
			return CUDA_ERROR_INVALID_VALUE;
		if (!known || pointer_attribute(&range, ptr, attributes[i], data[i]))
			pointer_unknown(attributes[i], data[i]);
	}
	return CUDA_SUCCESS;
}

CUresult client_cuPointerSetAttribute(const void *value, CUpointer_attribute attribute,
				      CUdeviceptr ptr)
{
	struct range range;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!value || attribute != CU_POINTER_ATTRIBUTE_SYNC_MEMOPS ||
	    !client_range_lookup(ptr, &range) || range.kind == CLIENT_RANGE_HOST)
		return CUDA_ERROR_INVALID_VALUE;
	/* Copies that the program waits for are complete when they return: always in that mode. */
	return CUDA_SUCCESS;
}
