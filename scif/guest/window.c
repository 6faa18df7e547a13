// SPDX-License-Identifier: GPL-2.0-only
/*
 * vphi: windows, that is the program's memory that the other side may read, write and map.
 *
 * The whole range is pinned first, then its pages go to the device in chains of VPHI_PIECE_PAGES,
 * REGISTER and as many REGISTER_MORE as it takes, so that a window may have any size. The device
 * says RELEASED when it will not touch them any more, and only then they are unpinned, however the
 * window ended: unregistered, its file closed, its program killed, a peer still mapping it.
 */
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "vphi.h"

/* vphi_window_get - the window of that cookie, held, or NULL */
struct vphi_window *vphi_window_get(struct vphi_device *device, u64 cookie)
{
	struct vphi_window *window = NULL;

	if (cookie > U32_MAX)
		return NULL;
	xa_lock_irq(&device->windows);
	window = xa_load(&device->windows, cookie);
	if (window)
		refcount_inc(&window->refs);
	xa_unlock_irq(&device->windows);
	return window;
}

/* vphi_window_put - the last hold unpins its pages. May sleep. */
void vphi_window_put(struct vphi_device *device, struct vphi_window *window)
{
	if (!refcount_dec_and_test(&window->refs))
		return;
	if (window->pinned)
		vphi_unpin(device, window->pages, window->page_count, window->writable);
	kvfree(window->pages);
	kfree(window);
}

/* vphi_window_released - the device says so; any context */
void vphi_window_released(struct vphi_device *device, u64 cookie)
{
	struct vphi_window *window = NULL;
	unsigned long flags;

	if (cookie <= U32_MAX) {
		xa_lock_irqsave(&device->windows, flags);
		window = __xa_erase(&device->windows, cookie);
		xa_unlock_irqrestore(&device->windows, flags);
	}
	if (!window)
		return;
	llist_add(&window->node, &device->released);
	queue_work(device->worker, &device->tidy_work);
}

/* It never reached the device. */
static void vphi_window_forget(struct vphi_device *device, struct vphi_window *window)
{
	if (xa_erase_irq(&device->windows, window->cookie) == window)
		vphi_window_put(device, window);
}

static bool vphi_window_fits(struct vphi_device *device, unsigned long pages)
{
	unsigned long limit = READ_ONCE(vphi_pinned_mib_max) << (20 - PAGE_SHIFT);
	unsigned long pinned = atomic_long_read(&device->pinned_pages);

	return !limit || (pinned <= limit && pages <= limit - pinned);
}

/* Pinned, known by a cookie, and held for the caller. NULL with the reason in *status. */
static struct vphi_window *vphi_window_new(struct vphi_device *device, unsigned long address,
					   unsigned long pages, bool writable, int *status)
{
	struct vphi_window *window;

	*status = -ENOMEM;
	if (!vphi_window_fits(device, pages))
		return NULL;
	window = kzalloc(sizeof(*window), GFP_KERNEL);
	if (!window)
		return NULL;
	refcount_set(&window->refs, 1);
	window->page_count = pages;
	window->writable = writable;
	window->pages = kvmalloc_array(pages, sizeof(*window->pages),
				       GFP_KERNEL | __GFP_NOWARN);
	if (!window->pages)
		goto free;
	*status = vphi_pin(device, address, pages, window->pages, writable, true);
	if (*status)
		goto free;
	window->pinned = true;
	refcount_inc(&window->refs); /* the caller's */
	*status = xa_alloc_cyclic_irq(&device->windows, &window->cookie, window, xa_limit_32b,
				      &device->next_cookie, GFP_KERNEL);
	if (*status >= 0)
		return window;
	vphi_window_put(device, window);
free:
	vphi_window_put(device, window);
	return NULL;
}

/* The call for a window's pages from @first on; how many, or -errno. */
static int vphi_window_piece(struct vphi_call *call, struct vphi_window *window,
			     unsigned long first)
{
	unsigned int count = min_t(unsigned long, window->page_count - first, VPHI_PIECE_PAGES);
	int status;

	call->request.window.cookie = cpu_to_le64(window->cookie);
	status = vphi_payload_pages(call, window->pages + first, count, window->writable);
	return status ? status : (int)count;
}

/* Gives a window up of which the device has a part; it will say RELEASED. */
static void vphi_window_give_up(struct vphi_endpoint *endpoint, struct vphi_window *window)
{
	struct vphi_call *call = vphi_endpoint_call(endpoint, SCIF_VIRTIO_REGISTER_END, VPHI_SHORT,
						    0);

	if (!call)
		return; /* it is released with its endpoint, then */
	call->request.window.cookie = cpu_to_le64(window->cookie);
	vphi_call_submit(call);
	vphi_call_put(call);
}

/* Pages behind the first piece. 0, or -errno when the window is given up. */
static int vphi_window_more(struct vphi_endpoint *endpoint, struct vphi_window *window,
			    unsigned long first)
{
	unsigned long pages = window->page_count;
	struct vphi_call *call;
	int count, status;

	while (first < pages) {
		call = vphi_endpoint_call(endpoint, SCIF_VIRTIO_REGISTER_MORE, VPHI_SHORT, 0);
		count = call ? vphi_window_piece(call, window, first) : -ENOMEM;
		if (count < 0 || fatal_signal_pending(current)) {
			if (call)
				vphi_call_put(call);
			vphi_window_give_up(endpoint, window);
			return count < 0 ? count : -EINTR;
		}
		first += count;
		status = vphi_endpoint_run(endpoint, call);
		vphi_call_put(call);
		if (status)
			return status; /* the device has given it up itself */
	}
	return 0;
}

/**
 * vphi_register - scif_register()
 * @endpoint: of the program
 * @arguments: the program's; ->chosen is filled in
 *
 * Return: 0; -EINVAL for what the driver can see; -EFAULT, -ENOMEM, -EINTR; the device's errors.
 */
int vphi_register(struct vphi_endpoint *endpoint, struct vphi_ioctl_register *arguments)
{
	struct vphi_device *device = endpoint->device;
	bool fixed = arguments->flags & SCIF_MAP_FIXED;
	struct vphi_window *window;
	struct vphi_call *call;
	int count, status;

	if ((arguments->flags & ~SCIF_MAP_FIXED) ||
	    (arguments->prot & ~(SCIF_PROT_READ | SCIF_PROT_WRITE)) ||
	    !arguments->bytes || offset_in_page(arguments->address) ||
	    offset_in_page(arguments->bytes) || arguments->bytes > LONG_MAX ||
	    (fixed && (arguments->offset < 0 || offset_in_page(arguments->offset) ||
		       arguments->bytes > LONG_MAX - arguments->offset)))
		return -EINVAL;
	window = vphi_window_new(device, arguments->address, arguments->bytes >> PAGE_SHIFT,
				 arguments->prot & SCIF_PROT_WRITE, &status);
	if (!window)
		return status;
	call = vphi_endpoint_call(endpoint, SCIF_VIRTIO_REGISTER, VPHI_SHORT, arguments->flags);
	count = call ? vphi_window_piece(call, window, 0) : -ENOMEM;
	if (count < 0) {
		vphi_window_forget(device, window);
		status = count;
		goto put;
	}
	call->request.window.offset = cpu_to_le64(arguments->offset);
	call->request.window.bytes = cpu_to_le64(arguments->bytes);
	call->request.window.prot = cpu_to_le32(arguments->prot);
	status = vphi_call_submit(call);
	if (status) {
		vphi_window_forget(device, window);
		status = vphi_endpoint_error(endpoint, status);
		goto put;
	}
	status = vphi_endpoint_collect(endpoint, call);
	if (READ_ONCE(call->finished) && vphi_reply_status(call))
		vphi_window_forget(device, window); /* refused: the device knows no such window */
	if (status == 0) {
		arguments->chosen = le64_to_cpu(call->reply.value[0]);
		status = vphi_window_more(endpoint, window, count);
	}
put:
	if (call)
		vphi_call_put(call);
	vphi_window_put(device, window);
	return status;
}

/* vphi_unregister - scif_unregister() */
int vphi_unregister(struct vphi_endpoint *endpoint, s64 offset, u64 bytes)
{
	struct vphi_call *call;
	int status;

	call = vphi_endpoint_call(endpoint, SCIF_VIRTIO_UNREGISTER, VPHI_SHORT, 0);
	if (!call)
		return -ENOMEM;
	call->request.window.offset = cpu_to_le64(offset);
	call->request.window.bytes = cpu_to_le64(bytes);
	status = vphi_endpoint_run(endpoint, call);
	vphi_call_put(call);
	return status;
}
