// SPDX-License-Identifier: GPL-2.0-only
/*
 * vphi: the program's pages, pinned for the device, and let go.
 *
 * Payload never passes a buffer of ours: the pages themselves are the chain's descriptors. Those of
 * a call are unpinned with it (vphi_payload_free), those of a window when the device releases it.
 * pinned_pages of the device counts both, so that a test can see that none is left.
 *
 * The page of zeroes, which memory that was never written shares, is no page for a device: that of
 * User-Mode Linux lies outside of the memory that a device sees. A payload names another one in its
 * place; for a window the program gets a page of its own.
 */
#include <linux/capability.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>

#include "vphi.h"

unsigned long vphi_pinned_mib_max;
module_param_named(pinned_mib_max, vphi_pinned_mib_max, ulong, 0644);
MODULE_PARM_DESC(pinned_mib_max, "MiB that all windows together may pin; 0: the device's limit");

static struct page *vphi_zero_page;

int vphi_pages_init(void)
{
	vphi_zero_page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	return vphi_zero_page ? 0 : -ENOMEM;
}

void vphi_pages_exit(void)
{
	__free_page(vphi_zero_page);
}

/**
 * vphi_pin - pin pages of the calling program
 * @device: which counts them
 * @address: of the first, page-aligned
 * @count: of pages
 * @pages: filled in
 * @writable: the device will write them
 * @long_term: for a window
 *
 * Return: 0, or -EFAULT, -ENOMEM with none pinned.
 */
int vphi_pin(struct vphi_device *device, unsigned long address, unsigned long count,
	     struct page **pages, bool writable, bool long_term)
{
	unsigned int flags = long_term ? FOLL_LONGTERM : 0;
	unsigned long done = 0, at;
	int part, got;

	while (done < count) {
		at = address + done * PAGE_SIZE;
		part = min_t(unsigned long, count - done, 1024);
		got = -EFAULT;
		/* A window's pages must be the program's own, also if it alone writes them. */
		if (writable || long_term)
			got = pin_user_pages_fast(at, part, flags | FOLL_WRITE, pages + done);
		if (got <= 0 && !writable)
			got = pin_user_pages_fast(at, part, flags, pages + done);
		if (got <= 0) {
			unpin_user_pages(pages, done);
			return got == -ENOMEM || got == -EINTR ? got : -EFAULT;
		}
		done += got;
	}
	atomic_long_add(count, &device->pinned_pages);
	return 0;
}

/* vphi_unpin - let them go; @writable: they were written. May sleep. */
void vphi_unpin(struct vphi_device *device, struct page **pages, unsigned long count,
		bool writable)
{
	unpin_user_pages_dirty_lock(pages, count, writable);
	atomic_long_sub(count, &device->pinned_pages);
}

static struct page *vphi_page_shown(struct page *page)
{
	return is_zero_pfn(page_to_pfn(page)) ? vphi_zero_page : page;
}

/* The descriptors for pages that the payload has: one for each run of them. */
static int vphi_payload_describe(struct vphi_payload *payload, size_t offset, size_t bytes)
{
	struct scatterlist *sg;
	unsigned int i;

	if (payload->pages != payload->small_pages) {
		payload->sgs = NULL;
		if (sg_alloc_table_from_pages(&payload->table, payload->pages, payload->count,
					      offset, bytes, GFP_KERNEL))
			return -ENOMEM;
		payload->sgs = payload->table.sgl;
		for_each_sgtable_sg(&payload->table, sg, i)
			sg_set_page(sg, vphi_page_shown(sg_page(sg)), sg->length, sg->offset);
		return 0;
	}
	sg_init_table(payload->small, payload->count);
	for (i = 0; i < payload->count; i++) {
		size_t part = min_t(size_t, bytes, PAGE_SIZE - offset);

		sg_set_page(&payload->small[i], vphi_page_shown(payload->pages[i]), part, offset);
		bytes -= part;
		offset = 0;
	}
	payload->sgs = payload->small;
	return 0;
}

/**
 * vphi_payload_pin - the call's payload is a part of the calling program's memory
 * @call: without payload so far, not submitted
 * @address: any
 * @bytes: more than 0, VPHI_PIECE_PAGES pages at most
 * @writable: the device writes it
 *
 * Return: 0, -EFAULT, -ENOMEM. What was taken is freed with the call.
 */
int vphi_payload_pin(struct vphi_call *call, unsigned long address, size_t bytes, bool writable)
{
	struct vphi_payload *payload = &call->payload;
	size_t offset = offset_in_page(address);
	unsigned int count = DIV_ROUND_UP(offset + bytes, PAGE_SIZE);
	int status;

	payload->pages = payload->small_pages;
	if (count > VPHI_SMALL_PAGES) {
		payload->pages = kmalloc_array(count, sizeof(*payload->pages), GFP_KERNEL);
		if (!payload->pages)
			return -ENOMEM;
	}
	status = vphi_pin(call->device, address - offset, count, payload->pages, writable, false);
	if (status) {
		if (payload->pages != payload->small_pages)
			kfree(payload->pages);
		return status;
	}
	payload->count = count;
	payload->writable = writable;
	payload->pinned = true;
	return vphi_payload_describe(payload, offset, bytes);
}

/**
 * vphi_payload_pages - the call's payload is whole pages that stay the caller's
 * @call: without payload so far, not submitted
 * @pages: the array, too, must stay until the call is freed
 * @count: VPHI_PIECE_PAGES at most
 * @writable: the device may write them
 */
int vphi_payload_pages(struct vphi_call *call, struct page **pages, unsigned int count,
		       bool writable)
{
	call->payload.pages = pages;
	call->payload.count = count;
	call->payload.writable = writable;
	return vphi_payload_describe(&call->payload, 0, (size_t)count * PAGE_SIZE);
}

/* vphi_payload_free - for the end of the call; may sleep */
void vphi_payload_free(struct vphi_call *call)
{
	struct vphi_payload *payload = &call->payload;

	if (payload->sgs && payload->sgs != payload->small)
		sg_free_table(&payload->table);
	if (!payload->pinned)
		return;
	vphi_unpin(call->device, payload->pages, payload->count, payload->writable);
	if (payload->pages != payload->small_pages)
		kfree(payload->pages);
}
