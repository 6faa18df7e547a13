/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtual: addresses and memory by themselves, joined by mapping.
 *
 * A reservation is a range of the region for it (memory.c). An allocation is a memfd, counted
 * against its device from its making until its last handle and its last mapping are gone. A mapping
 * puts all of an allocation somewhere into one reservation; kernels and copies may use it once
 * access was set, which is what marks its pages. What another process exported (ipc.c) is mapped
 * into a reservation of its own, and counted there.
 *
 * virtual_lock guards all of it; memory_lock is taken under it.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cuda/softgpu/driver.h"

#define GRANULARITY (2ul << 20)

struct physical {
	struct object object;
	int fd;
	size_t bytes;
	unsigned int handles, mappings;
	CUmemAllocationProp properties;
};

struct reservation {
	struct reservation *next; /* by address */
	uint64_t address;
	size_t bytes;
	bool imported; /* for memory of another process: nobody else's to map into or to free */
};

struct mapping {
	struct mapping *next;
	uint64_t address;
	struct physical *physical;
	unsigned long long access; /* CUmemAccess_flags */
};

static pthread_mutex_t virtual_lock = PTHREAD_MUTEX_INITIALIZER;
static struct reservation *reservations;
static struct mapping *mappings;

size_t physical_bytes(void)
{
	return sizeof(struct physical);
}

static CUresult virtual_enter(void)
{
	CUresult result = driver_ready();

	pthread_mutex_lock(&virtual_lock);
	return result;
}

static CUresult virtual_leave(CUresult result)
{
	pthread_mutex_unlock(&virtual_lock);
	return result;
}

/* ---- addresses ---- */

static uint64_t align_up(uint64_t address, uint64_t alignment)
{
	return (address + alignment - 1) / alignment * alignment;
}

/* gap_find - where @bytes fit: at @wanted if that is free, else the first place; NULL: nowhere */
static struct reservation **gap_find(uint64_t bytes, uint64_t alignment, uint64_t wanted,
				     uint64_t *address)
{
	uint64_t region_bytes, at = memory_virtual(&region_bytes), end = at + region_bytes;
	struct reservation **first = NULL, **link = &reservations;

	for (;; link = &(*link)->next) {
		uint64_t begin = align_up(at, alignment), stop = *link ? (*link)->address : end;

		if (begin <= stop && stop - begin >= bytes && !first) {
			first = link;
			*address = begin;
		}
		if (wanted && wanted % alignment == 0 && wanted >= at && wanted <= stop &&
		    stop - wanted >= bytes) {
			*address = wanted;
			return link;
		}
		if (!*link)
			return first;
		at = (*link)->address + (*link)->bytes;
	}
}

CUresult cuMemAddressReserve(CUdeviceptr *ptr, size_t size, size_t alignment, CUdeviceptr addr,
			     unsigned long long flags)
{
	struct reservation *made = malloc(sizeof(*made));
	struct reservation **link;
	uint64_t address = 0;
	CUresult result;

	if (!made)
		return CUDA_ERROR_OUT_OF_MEMORY;
	if (alignment < GRANULARITY)
		alignment = GRANULARITY;
	result = virtual_enter();
	if (!result &&
	    (!ptr || !size || size % GRANULARITY || alignment & (alignment - 1) || flags))
		result = CUDA_ERROR_INVALID_VALUE;
	if (!result) {
		link = gap_find(size, alignment, addr, &address);
		if (link) {
			*made = (struct reservation){ *link, address, size, false };
			*link = made;
			*ptr = address;
			made = NULL;
		} else {
			result = CUDA_ERROR_OUT_OF_MEMORY;
		}
	}
	free(made);
	return virtual_leave(result);
}

/* mapping_inside - the first mapping with a byte in the range, or NULL */
static struct mapping *mapping_inside(uint64_t address, uint64_t bytes)
{
	struct mapping *mapping = mappings;

	while (mapping && (mapping->address >= address + bytes ||
			   mapping->address + mapping->physical->bytes <= address))
		mapping = mapping->next;
	return mapping;
}

CUresult cuMemAddressFree(CUdeviceptr ptr, size_t size)
{
	struct reservation **link = &reservations;
	CUresult result = virtual_enter();

	while (*link && (*link)->address != ptr)
		link = &(*link)->next;
	if (!result &&
	    (!*link || (*link)->imported || (*link)->bytes != size || mapping_inside(ptr, size)))
		result = CUDA_ERROR_INVALID_VALUE;
	if (!result) {
		struct reservation *gone = *link;

		*link = gone->next;
		free(gone);
	}
	return virtual_leave(result);
}

/* ---- memory ---- */

static CUresult properties_check(const CUmemAllocationProp *properties)
{
	if (!properties || properties->type != CU_MEM_ALLOCATION_TYPE_PINNED ||
	    properties->location.type != CU_MEM_LOCATION_TYPE_DEVICE)
		return CUDA_ERROR_INVALID_VALUE;
	if (!device_valid(properties->location.id))
		return CUDA_ERROR_INVALID_DEVICE;
	return properties->requestedHandleTypes ? CUDA_ERROR_NOT_SUPPORTED : CUDA_SUCCESS;
}

CUresult cuMemGetAllocationGranularity(size_t *granularity, const CUmemAllocationProp *prop,
				       CUmemAllocationGranularity_flags option)
{
	CUresult result = driver_ready();

	if (!result)
		result = properties_check(prop);
	if (!result &&
	    (!granularity || (unsigned int)option > CU_MEM_ALLOC_GRANULARITY_RECOMMENDED))
		result = CUDA_ERROR_INVALID_VALUE;
	if (!result)
		*granularity = GRANULARITY;
	return result;
}

/* physical_make - memory that is counted; NULL and *result where there is no more */
static struct physical *physical_make(size_t bytes, const CUmemAllocationProp *properties,
				      CUresult *result)
{
	struct physical *made;
	int fd;

	*result = memory_charge(properties->location.id, bytes);
	if (*result)
		return NULL;
	fd = memfd_create("softgpu-memory", MFD_CLOEXEC);
	made = fd >= 0 && !ftruncate(fd, (off_t)bytes) ? object_create(OBJECT_PHYSICAL) : NULL;
	if (!made) {
		if (fd >= 0)
			close(fd);
		memory_discharge(properties->location.id, bytes);
		*result = CUDA_ERROR_OUT_OF_MEMORY;
		return NULL;
	}
	made->fd = fd;
	made->bytes = bytes;
	made->handles = 1;
	made->properties = *properties;
	return made;
}

/* physical_drop - it ends with its last handle and mapping */
static void physical_drop(struct physical *physical)
{
	if (physical->handles || physical->mappings)
		return;
	close(physical->fd);
	memory_discharge(physical->properties.location.id, physical->bytes);
	object_destroy(OBJECT_PHYSICAL, physical);
}

CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t size,
		     const CUmemAllocationProp *prop, unsigned long long flags)
{
	struct physical *made = NULL;
	CUresult result = virtual_enter();

	if (!result)
		result = properties_check(prop);
	if (!result && (!handle || !size || size % GRANULARITY || flags))
		result = CUDA_ERROR_INVALID_VALUE;
	if (!result)
		made = physical_make(size, prop, &result);
	if (made)
		*handle = (uintptr_t)made;
	return virtual_leave(result);
}

static struct physical *physical_of(CUmemGenericAllocationHandle handle)
{
	struct physical *physical = (struct physical *)(uintptr_t)handle;

	return object_valid(OBJECT_PHYSICAL, physical) && physical->handles ? physical : NULL;
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle)
{
	CUresult result = virtual_enter();
	struct physical *physical = physical_of(handle);

	if (!result && !physical)
		result = CUDA_ERROR_INVALID_VALUE;
	if (!result) {
		physical->handles--;
		physical_drop(physical);
	}
	return virtual_leave(result);
}

CUresult cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp *prop,
						CUmemGenericAllocationHandle handle)
{
	CUresult result = virtual_enter();
	const struct physical *physical = physical_of(handle);

	if (!result && (!prop || !physical))
		result = CUDA_ERROR_INVALID_VALUE;
	if (!result)
		*prop = physical->properties;
	return virtual_leave(result);
}

CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *handle, void *addr)
{
	CUresult result = virtual_enter();
	const struct mapping *mapping = mapping_inside((uintptr_t)addr, 1);

	if (!result && (!handle || !mapping))
		result = CUDA_ERROR_INVALID_VALUE;
	if (!result) {
		mapping->physical->handles++;
		*handle = (uintptr_t)mapping->physical;
	}
	return virtual_leave(result);
}

/* ---- mapping ---- */

static bool reserved(uint64_t address, uint64_t bytes)
{
	const struct reservation *at = reservations;

	while (at && (address < at->address || address - at->address >= at->bytes))
		at = at->next;
	return at && !at->imported && bytes <= at->bytes - (address - at->address);
}

CUresult cuMemMap(CUdeviceptr ptr, size_t size, size_t offset, CUmemGenericAllocationHandle handle,
		  unsigned long long flags)
{
	struct mapping *made = calloc(1, sizeof(*made));
	CUresult result = virtual_enter();
	struct physical *physical = physical_of(handle);

	if (!made)
		return virtual_leave(CUDA_ERROR_OUT_OF_MEMORY);
	/* As the driver has it: all of an allocation, from its start. */
	if (!result && (!physical || offset || flags || size != physical->bytes ||
			ptr % GRANULARITY || !reserved(ptr, size) || mapping_inside(ptr, size)))
		result = CUDA_ERROR_INVALID_VALUE;
	if (!result && mmap((void *)(uintptr_t)ptr, size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_FIXED | MAP_NORESERVE, physical->fd, 0) == MAP_FAILED)
		result = CUDA_ERROR_OUT_OF_MEMORY;
	if (!result) {
		*made = (struct mapping){ mappings, ptr, physical, CU_MEM_ACCESS_FLAGS_PROT_NONE };
		mappings = made;
		physical->mappings++;
		made = NULL;
	}
	free(made);
	return virtual_leave(result);
}

/* mappings_whole - the range is mappings from its start to its end */
static bool mappings_whole(uint64_t address, uint64_t bytes)
{
	while (bytes) {
		const struct mapping *mapping = mapping_inside(address, 1);

		if (!mapping || mapping->address != address || mapping->physical->bytes > bytes)
			return false;
		address += mapping->physical->bytes;
		bytes -= mapping->physical->bytes;
	}
	return true;
}

/* nothing_map - its pages are nothing again, without a moment in which they cannot be touched */
static void nothing_map(uint64_t address, size_t bytes)
{
	mmap((void *)(uintptr_t)address, bytes, PROT_READ | PROT_WRITE,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
}

/* mapping_end - forget a mapping, and what nothing else holds of it */
static void mapping_end(struct mapping *gone)
{
	struct mapping **link = &mappings;

	if (gone->access)
		memory_unmap(gone->address);
	nothing_map(gone->address, gone->physical->bytes);
	while (*link != gone)
		link = &(*link)->next;
	*link = gone->next;
	gone->physical->mappings--;
	physical_drop(gone->physical);
	free(gone);
}

CUresult cuMemUnmap(CUdeviceptr ptr, size_t size)
{
	CUresult result = driver_ready();
	struct mapping *mapping;

	if (result)
		return result;
	streams_drain_all();
	result = virtual_enter();
	if (!result && (!size || !mappings_whole(ptr, size)))
		result = CUDA_ERROR_INVALID_VALUE;
	while (!result && (mapping = mapping_inside(ptr, size)))
		mapping_end(mapping);
	return virtual_leave(result);
}

/* mapping_access - what may be done with one mapping from now on */
static CUresult mapping_access(struct mapping *mapping, unsigned long long access)
{
	struct memory_block block = { .address = mapping->address,
				      .bytes = mapping->physical->bytes,
				      .kind = MEMORY_DEVICE,
				      .device = mapping->physical->properties.location.id };
	CUresult result = CUDA_SUCCESS;

	if (access && !mapping->access)
		result = memory_map(&block);
	else if (!access && mapping->access)
		memory_unmap(mapping->address);
	if (!result)
		mapping->access = access;
	return result;
}

CUresult cuMemSetAccess(CUdeviceptr ptr, size_t size, const CUmemAccessDesc *desc, size_t count)
{
	CUresult result = virtual_enter();

	if (!result && (!desc || !count || !size || !mappings_whole(ptr, size)))
		result = CUDA_ERROR_INVALID_VALUE;
	for (size_t i = 0; i < count && !result; i++) {
		/* Reading alone is not told apart from writing: a page is usable or not. */
		if (desc[i].location.type != CU_MEM_LOCATION_TYPE_DEVICE ||
		    !device_valid(desc[i].location.id) ||
		    (desc[i].flags != CU_MEM_ACCESS_FLAGS_PROT_NONE &&
		     desc[i].flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE))
			result = CUDA_ERROR_INVALID_VALUE;
	}
	for (uint64_t at = ptr; at < ptr + size && !result;) {
		struct mapping *mapping = mapping_inside(at, 1);

		result = mapping_access(mapping, desc[0].flags);
		at += mapping->physical->bytes;
	}
	return virtual_leave(result);
}

CUresult cuMemGetAccess(unsigned long long *flags, const CUmemLocation *location, CUdeviceptr ptr)
{
	CUresult result = virtual_enter();
	const struct mapping *mapping = mapping_inside(ptr, 1);

	if (!result &&
	    (!flags || !location || !mapping || location->type != CU_MEM_LOCATION_TYPE_DEVICE))
		result = CUDA_ERROR_INVALID_VALUE;
	if (!result)
		*flags = mapping->access;
	return virtual_leave(result);
}

/* ---- memory of other processes ---- */

CUresult virtual_import(int fd, uint64_t bytes, struct context *context, CUdevice device,
			uint64_t *address)
{
	struct memory_block block = { .bytes = bytes,
				      .kind = MEMORY_DEVICE,
				      .device = device,
				      .context = context,
				      .imported = true };
	struct reservation *made = malloc(sizeof(*made)), **link;
	CUresult result = CUDA_ERROR_OUT_OF_MEMORY;

	if (!made)
		return result;
	pthread_mutex_lock(&virtual_lock);
	link = gap_find(align_up(bytes, GRANULARITY), GRANULARITY, 0, &block.address);
	if (link && mmap((void *)(uintptr_t)block.address, bytes, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED)
		result = memory_map(&block);
	if (!result) {
		*made = (struct reservation){ *link, block.address, align_up(bytes, GRANULARITY),
					      true };
		*link = made;
		*address = block.address;
		made = NULL;
	} else if (link) {
		nothing_map(block.address, bytes);
	}
	free(made);
	pthread_mutex_unlock(&virtual_lock);
	return result;
}

void virtual_import_end(uint64_t address)
{
	struct reservation **link = &reservations, *gone;

	pthread_mutex_lock(&virtual_lock);
	while ((*link)->address != address)
		link = &(*link)->next;
	gone = *link;
	memory_unmap(address);
	nothing_map(address, gone->bytes);
	*link = gone->next;
	free(gone);
	pthread_mutex_unlock(&virtual_lock);
}
