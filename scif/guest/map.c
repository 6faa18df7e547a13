// SPDX-License-Identifier: GPL-2.0-only
/*
 * vphi: scif_mmap(): the other side's window in a program's memory.
 *
 * The device shows the memory in its shared memory region and says where; the driver maps that
 * part of the region. Where the window is this guest's own (loopback), the device names parts of
 * windows, and the driver maps the pages that it pinned for them: they stay pinned, because the
 * device does not release a window that is mapped.
 *
 * A mapping ends with the last of the areas that it was cut into. It is not inherited by a fork and
 * does not grow. When the device goes, all mappings are taken out of the programs' memory
 * (vphi_device), and who touches one gets SIGBUS.
 */
#include <linux/mm.h>
#include <linux/slab.h>

#include "vphi.h"

struct vphi_mapping {
	refcount_t areas;
	struct vphi_endpoint *endpoint; /* the area holds its file */
	u32 number; /* the device's */
	struct page **pages; /* the guest's own, held: the device may go and release its windows */
	unsigned long page_count;
};

/*
 * The device hides it. It answers when it is out of sight; nobody waits for ever: false when there
 * was no answer.
 */
static bool vphi_mapping_hide(struct vphi_device *device, u32 endpoint, u32 number)
{
	struct vphi_call *call = vphi_call_new(device, endpoint, SCIF_VIRTIO_MUNMAP, VPHI_SHORT);
	bool answered;

	if (!call)
		return false;
	call->request.map.mapping = cpu_to_le32(number);
	answered = vphi_call_submit(call) == 0 &&
		   (vphi_wait_spin(call, &call->queue->history) || vphi_call_end(call) == 0);
	vphi_call_put(call);
	return answered;
}

/*
 * vphi_mappings_hide - all of them, before the device is reset
 *
 * Programs do not see them any more. QEMU 11.1 ends with a segmentation fault when it is told to
 * reset a device whose shared memory region still shows something.
 */
void vphi_mappings_hide(struct vphi_device *device)
{
	unsigned long number;
	void *endpoint;

	xa_for_each(&device->mappings, number, endpoint)
		if (!vphi_mapping_hide(device, xa_to_value(endpoint), number))
			return; /* it does not listen any more */
}

static void vphi_mapping_free(struct vphi_mapping *mapping)
{
	while (mapping->page_count)
		put_page(mapping->pages[--mapping->page_count]);
	kvfree(mapping->pages);
	kfree(mapping);
}

static void vphi_area_open(struct vm_area_struct *area)
{
	struct vphi_mapping *mapping = area->vm_private_data;

	refcount_inc(&mapping->areas);
}

static void vphi_area_close(struct vm_area_struct *area)
{
	struct vphi_mapping *mapping = area->vm_private_data;

	if (!refcount_dec_and_test(&mapping->areas))
		return;
	xa_erase(&mapping->endpoint->device->mappings, mapping->number);
	vphi_mapping_hide(mapping->endpoint->device, mapping->endpoint->number, mapping->number);
	vphi_mapping_free(mapping);
}

/* Everything is mapped from the start: what is not there was taken away. */
static vm_fault_t vphi_area_fault(struct vm_fault *fault)
{
	return VM_FAULT_SIGBUS;
}

static const struct vm_operations_struct vphi_area_ops = {
	.open = vphi_area_open,
	.close = vphi_area_close,
	.fault = vphi_area_fault,
};

/* Maps a part of a window behind what the mapping has so far. */
static int vphi_map_part(struct vphi_mapping *mapping, struct vm_area_struct *area,
			 const struct vphi_window *window, u64 start, u64 bytes)
{
	unsigned long page = start >> PAGE_SHIFT, pages = bytes >> PAGE_SHIFT;
	unsigned long left = vma_pages(area) - mapping->page_count;
	int status = 0;

	if (offset_in_page(start) || offset_in_page(bytes) || pages > left ||
	    page > window->page_count || pages > window->page_count - page)
		return -EIO;
	for (; pages && !status; pages--, page++) {
		status = remap_pfn_range(area, area->vm_start + mapping->page_count * PAGE_SIZE,
					 page_to_pfn(window->pages[page]), PAGE_SIZE,
					 area->vm_page_prot);
		if (status == 0) {
			get_page(window->pages[page]);
			mapping->pages[mapping->page_count++] = window->pages[page];
		}
	}
	return status;
}

/* The guest's own memory, by parts of windows. */
static int vphi_map_own(struct vphi_device *device, struct vphi_mapping *mapping,
			struct vm_area_struct *area, const struct scif_virtio_extent *extents,
			u64 count)
{
	struct vphi_window *window;
	int status = 0;

	if (count > VPHI_EXTENTS)
		return -EIO;
	mapping->pages = kvmalloc_array(vma_pages(area), sizeof(*mapping->pages),
					GFP_KERNEL | __GFP_NOWARN);
	if (!mapping->pages)
		return -ENOMEM;
	for (; count && !status; count--, extents++) {
		window = vphi_window_get(device, le64_to_cpu(extents->cookie));
		if (!window)
			return -EIO;
		status = vphi_map_part(mapping, area, window, le64_to_cpu(extents->start),
				       le64_to_cpu(extents->bytes));
		vphi_window_put(device, window);
	}
	if (status == 0 && mapping->page_count != vma_pages(area))
		status = -EIO;
	return status;
}

/* A part of the shared memory region. */
static int vphi_map_region(struct vphi_device *device, struct vm_area_struct *area, u64 offset)
{
	unsigned long bytes = area->vm_end - area->vm_start;

	if (!device->has_shm || offset_in_page(offset) || offset > device->shm.len ||
	    bytes > device->shm.len - offset)
		return -EIO;
	return remap_pfn_range(area, area->vm_start, (device->shm.addr + offset) >> PAGE_SHIFT,
			       bytes, area->vm_page_prot);
}

static int vphi_map_answer(struct vphi_device *device, struct vphi_mapping *mapping,
			   struct vm_area_struct *area, const struct vphi_call *call)
{
	u64 value = le64_to_cpu(call->reply.value[1]);

	if (call->reply.flags & cpu_to_le32(SCIF_VIRTIO_MAP_OWN))
		return vphi_map_own(device, mapping, area, call->buffer, value);
	return vphi_map_region(device, area, value);
}

/**
 * vphi_mmap - the file operation
 * @endpoint: of the program
 * @area: its offset is that in the peer's address space of windows
 *
 * Return: 0; -EINVAL for a private mapping; -ENXIO, -EPERM, -EOPNOTSUPP as the device says.
 */
int vphi_mmap(struct vphi_endpoint *endpoint, struct vm_area_struct *area)
{
	struct vphi_mapping *mapping;
	struct vphi_call *call;
	int status = -ENOMEM;

	if (!(area->vm_flags & VM_SHARED))
		return -EINVAL;
	mapping = kzalloc(sizeof(*mapping), GFP_KERNEL);
	if (!mapping)
		return -ENOMEM;
	call = vphi_endpoint_call(endpoint, SCIF_VIRTIO_MMAP, VPHI_SHORT, 0);
	if (!call)
		goto free;
	call->buffer_bytes = VPHI_EXTENTS * sizeof(struct scif_virtio_extent);
	call->buffer = kzalloc(call->buffer_bytes, GFP_KERNEL);
	if (!call->buffer)
		goto put;
	call->request.map.offset = cpu_to_le64((u64)area->vm_pgoff << PAGE_SHIFT);
	call->request.map.bytes = cpu_to_le64(area->vm_end - area->vm_start);
	call->request.map.prot = cpu_to_le32((area->vm_flags & VM_READ ? SCIF_PROT_READ : 0) |
					     (area->vm_flags & VM_WRITE ? SCIF_PROT_WRITE : 0));
	status = vphi_endpoint_run(endpoint, call);
	if (status)
		goto put;
	mapping->endpoint = endpoint;
	mapping->number = le64_to_cpu(call->reply.value[0]);
	refcount_set(&mapping->areas, 1);
	/* What it must not do later, mprotect() must not allow, either. */
	vphi_area_flags(area, VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP,
			area->vm_flags & VM_WRITE ? 0 : VM_MAYWRITE);
	status = vphi_map_answer(endpoint->device, mapping, area, call);
	if (status == 0)
		status = xa_err(xa_store(&endpoint->device->mappings, mapping->number,
					 xa_mk_value(endpoint->number), GFP_KERNEL));
	if (status == 0 && READ_ONCE(endpoint->device->dead))
		status = -ENODEV; /* it went meanwhile, and may not have seen this mapping */
	if (status) {
		xa_erase(&endpoint->device->mappings, mapping->number);
		vphi_mapping_hide(endpoint->device, endpoint->number, mapping->number);
		goto put;
	}
	area->vm_private_data = mapping;
	area->vm_ops = &vphi_area_ops;
	mapping = NULL;
put:
	vphi_call_put(call);
free:
	if (mapping)
		vphi_mapping_free(mapping);
	return status;
}
