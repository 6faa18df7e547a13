/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Windows: memory that an endpoint lets its peer reach, under offsets of its choice.
 *
 * A window is a list of runs, each contiguous here: pages of a guest, as their descriptors came
 * (neighbours merged), or a part of a process's memfd. It is in its endpoint's sorted array from
 * the first piece on, which reserves its offsets, and exists for the peer when the last page came.
 * Until then its loop alone looks at the runs; from then on they are constant.
 *
 * Unregistering takes a window out of the array. Its memory stays for copies and mappings that
 * hold it; the last of them gives it back: a guest's loop then tells the guest.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "scif/fabric/device.h"

int mappings_add(struct vhost_mapping ***list, unsigned int *count, struct vhost_mapping *mapping)
{
	struct vhost_mapping **larger;

	if (!mapping)
		return -EFAULT;
	for (unsigned int i = *count; i > 0; i--) {
		if ((*list)[i - 1] == mapping)
			return 0;
	}
	larger = realloc(*list, (*count + 1) * sizeof(larger[0]));
	if (!larger)
		return -ENOMEM;
	larger[(*count)++] = vhost_mapping_get(mapping);
	*list = larger;
	return 0;
}

void mappings_put(struct vhost_mapping **list, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		vhost_mapping_put(list[i]);
	free(list);
}

void window_hold(struct window *window)
{
	atomic_fetch_add(&window->holders, 1);
}

void window_put(struct window *window)
{
	struct node *node = window->node;
	struct inbox *inbox = node->inbox;

	if (atomic_fetch_sub(&window->holders, 1) != 1)
		return;
	mappings_put(window->mappings, window->mapping_count);
	free(window->runs);
	window->mappings = NULL;
	window->runs = NULL;
	atomic_fetch_sub(&node->window_count, 1);
	atomic_fetch_sub(&node->pinned_bytes, window->bytes);
	if (node->kind != NODE_VM) {
		free(window);
		return;
	}
	pthread_mutex_lock(&inbox->lock);
	TAILQ_INSERT_TAIL(&inbox->released, window, link);
	pthread_mutex_unlock(&inbox->lock);
	inbox_wake(inbox);
}

/* The first window of the endpoint that ends behind @offset: its index, or their number. */
static unsigned int window_after(const struct endpoint *endpoint, uint64_t offset)
{
	unsigned int low = 0, high = endpoint->window_count;

	while (low < high) {
		unsigned int middle = (low + high) / 2;
		const struct window *window = endpoint->windows[middle];

		if (window->offset + window->bytes > offset)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/* Room for @bytes at or behind the first offset of those that are chosen; 0 without. */
static uint64_t window_choose(const struct endpoint *endpoint, uint64_t bytes)
{
	uint64_t offset = FABRIC_OFFSET_FIRST;
	unsigned int at = window_after(endpoint, offset);

	for (; at < endpoint->window_count; at++) {
		const struct window *window = endpoint->windows[at];

		if (window->offset >= offset && window->offset - offset >= bytes)
			break;
		offset = window->offset + window->bytes;
	}
	return offset <= INT64_MAX && bytes <= INT64_MAX - offset ? offset : 0;
}

static int window_insert(struct endpoint *endpoint, struct window *window)
{
	unsigned int at = window_after(endpoint, window->offset);

	if (endpoint->window_count == endpoint->window_room) {
		unsigned int room = endpoint->window_room ? endpoint->window_room * 2 : 4;
		struct window **larger =
			realloc(endpoint->windows, room * sizeof(endpoint->windows[0]));

		if (!larger)
			return -ENOMEM;
		endpoint->windows = larger;
		endpoint->window_room = room;
	}
	memmove(endpoint->windows + at + 1, endpoint->windows + at,
		(endpoint->window_count - at) * sizeof(endpoint->windows[0]));
	endpoint->windows[at] = window;
	endpoint->window_count++;
	return 0;
}

static void window_remove(struct endpoint *endpoint, struct window *window)
{
	unsigned int at = window_after(endpoint, window->offset);

	endpoint->window_count--;
	memmove(endpoint->windows + at, endpoint->windows + at + 1,
		(endpoint->window_count - at) * sizeof(endpoint->windows[0]));
	window_put(window);
}

void window_withdraw(struct endpoint *endpoint, struct window *window)
{
	for (unsigned int i = 0; i < endpoint->window_count; i++) {
		if (endpoint->windows[i] == window) {
			window_remove(endpoint, window);
			return;
		}
	}
}

struct vhost_mapping *window_find_mapping(const struct window *window, const unsigned char *start)
{
	for (unsigned int i = 0; i < window->mapping_count; i++) {
		struct vhost_mapping *mapping = window->mappings[i];

		if (start >= mapping->base && start < mapping->base + mapping->bytes)
			return mapping;
	}
	return NULL;
}

void window_drop_all(struct endpoint *endpoint)
{
	while (endpoint->window_count)
		window_put(endpoint->windows[--endpoint->window_count]);
}

static int window_add_run(struct window *window, unsigned char *start, uint64_t bytes, bool merge)
{
	struct window_run *last = NULL;
	uint64_t last_start = 0;

	if (bytes > window->bytes - window->filled)
		return -EINVAL;
	window->filled += bytes;
	if (window->run_count)
		last = &window->runs[window->run_count - 1];
	if (window->run_count > 1)
		last_start = last[-1].end;
	if (merge && last && last->start + (last->end - last_start) == start) {
		last->end += bytes;
		return 0;
	}
	if (window->run_count == window->run_room) {
		uint32_t room = window->run_room ? window->run_room * 2 : 1;
		struct window_run *larger = realloc(window->runs, room * sizeof(larger[0]));

		if (!larger) {
			window->filled -= bytes;
			return -ENOMEM;
		}
		window->runs = larger;
		window->run_room = room;
	}
	window->runs[window->run_count].start = start;
	window->runs[window->run_count].end = window->filled;
	window->run_count++;
	return 0;
}

/* The guest's pages of one chain; each must lie in a mapping that the call knows. */
static int window_add_pages(struct window *window, const struct call *call)
{
	bool writable = window->prot & SCIF_PROT_WRITE;
	const struct iovec *pages = writable ? call->out : call->in;
	unsigned int count = writable ? call->out_count : call->in_count;
	int status = 0;

	for (unsigned int i = 0; i < count && status == 0; i++) {
		unsigned char *start = pages[i].iov_base;
		unsigned int before = window->mapping_count, known = 0;

		if ((uintptr_t)start % FABRIC_PAGE_BYTES || pages[i].iov_len % FABRIC_PAGE_BYTES)
			return -EINVAL;
		while (known < call->mapping_count &&
		       (start < call->mappings[known]->base ||
			start >= call->mappings[known]->base + call->mappings[known]->bytes))
			known++;
		if (known == call->mapping_count)
			return -EFAULT;
		status = mappings_add(&window->mappings, &window->mapping_count,
				      call->mappings[known]);
		if (status == 0)
			status = window_add_run(window, start, pages[i].iov_len,
						before == window->mapping_count);
	}
	return status;
}

/* The memory of a process: its memfd mapped here, or its addresses. */
static int window_add_process(struct window *window, const struct call *call)
{
	struct vhost_mapping *mapping;
	struct stat file;
	int status;

	if (call->fd_in < 0) {
		window->process = call->process;
		return window_add_run(window, (unsigned char *)(uintptr_t)call->address,
				      window->bytes, false);
	}
	/* Only memory has seals: a file whose pages somebody else provides could hold us up. */
	if (fcntl(call->fd_in, F_GET_SEALS) < 0 || fstat(call->fd_in, &file) < 0 ||
	    call->file_offset % FABRIC_PAGE_BYTES || call->file_offset > (uint64_t)file.st_size ||
	    window->bytes > (uint64_t)file.st_size - call->file_offset)
		return -EINVAL;
	mapping = vhost_mapping_create(call->fd_in, call->file_offset, window->bytes);
	if (!mapping)
		return -errno;
	status = mappings_add(&window->mappings, &window->mapping_count, mapping);
	if (status == 0)
		status = window_add_run(window, mapping->base, window->bytes, false);
	vhost_mapping_put(mapping);
	return status;
}

static int window_check_register(const struct call *call)
{
	uint64_t offset = call->request.window.offset, bytes = call->request.window.bytes;

	if ((call->request.window.prot & ~(SCIF_PROT_READ | SCIF_PROT_WRITE)) ||
	    (call->request.flags & ~SCIF_MAP_FIXED) || bytes == 0 || bytes % FABRIC_PAGE_BYTES ||
	    bytes > INT64_MAX || call->address % FABRIC_PAGE_BYTES)
		return -EINVAL;
	if (!(call->request.flags & SCIF_MAP_FIXED))
		return 0;
	if (offset % FABRIC_PAGE_BYTES || offset > INT64_MAX || bytes > INT64_MAX - offset)
		return -EINVAL;
	return 0;
}

/* A window in its place, or the error; counted against the quota. */
static int window_create(struct call *call, struct window **made)
{
	struct endpoint *endpoint = call->endpoint;
	struct node *node = call->node;
	uint64_t bytes = call->request.window.bytes, offset = call->request.window.offset;
	struct window *window;
	unsigned int at;
	int status;

	if (!(call->request.flags & SCIF_MAP_FIXED))
		offset = window_choose(endpoint, bytes);
	at = window_after(endpoint, offset);
	if (offset == 0 && !(call->request.flags & SCIF_MAP_FIXED))
		return -ENOMEM;
	if (at < endpoint->window_count && endpoint->windows[at]->offset < offset + bytes)
		return -EADDRINUSE;
	if (node->window_count >= node->limits.windows ||
	    bytes > node->limits.pinned_bytes - node->pinned_bytes)
		return -ENOMEM;
	window = calloc(1, sizeof(*window));
	if (!window)
		return -ENOMEM;
	window->holders = 1;
	window->node = node;
	window->generation = node->generation;
	window->offset = offset;
	window->bytes = bytes;
	window->cookie = call->request.window.cookie;
	window->prot = call->request.window.prot;
	status = window_insert(endpoint, window);
	if (status < 0) {
		free(window);
		return status;
	}
	atomic_fetch_add(&node->window_count, 1);
	atomic_fetch_add(&node->pinned_bytes, bytes);
	*made = window;
	return 0;
}

/* Takes a window out that never existed for anyone, without telling its guest. */
static void window_undo(struct endpoint *endpoint, struct window *window)
{
	window->cookie = 0;
	window_remove(endpoint, window);
}

int window_register(struct call *call)
{
	struct window *window = NULL;
	int status = call->task ? 0 : window_check_register(call);

	if (call->task)
		return device_register(call, NULL);
	if (status == 0)
		status = endpoint_verify(call->endpoint);
	if (status == 0 && call->node->kind == NODE_VM && call->request.window.cookie == 0)
		status = -EINVAL;
	if (status == 0)
		status = window_create(call, &window);
	if (status < 0)
		return status;
	status = call->node->kind == NODE_VM ? window_add_pages(window, call)
					     : window_add_process(window, call);
	if (status < 0) {
		window_undo(call->endpoint, window);
		return status;
	}
	if (call->endpoint->device && window->filled == window->bytes)
		return device_register(call, window);
	window->complete = window->filled == window->bytes;
	call->value[0] = window->offset;
	return 0;
}

/* The incomplete window of that cookie, or NULL. */
static struct window *window_find_incomplete(const struct call *call)
{
	for (unsigned int i = call->endpoint->window_count; i > 0; i--) {
		struct window *window = call->endpoint->windows[i - 1];

		if (!window->complete && window->cookie == call->request.window.cookie)
			return window;
	}
	return NULL;
}

int window_register_more(struct call *call)
{
	struct window *window = call->task ? NULL : window_find_incomplete(call);
	int status;

	if (call->task)
		return device_register(call, NULL);
	if (!window)
		return -ENOENT;
	status = window_add_pages(window, call);
	if (status < 0)
		window_remove(call->endpoint, window);
	else if (call->endpoint->device && window->filled == window->bytes)
		return device_register(call, window);
	else
		window->complete = window->filled == window->bytes;
	return status;
}

int window_register_end(struct call *call)
{
	struct window *window = window_find_incomplete(call);

	if (!window)
		return -ENOENT;
	window_remove(call->endpoint, window);
	return 0;
}

int window_unregister(struct call *call)
{
	struct endpoint *endpoint = call->endpoint;
	uint64_t offset = call->request.window.offset, bytes = call->request.window.bytes;
	unsigned int first, count = 0;
	uint64_t at = offset;
	int status;

	if (bytes == 0 || bytes % FABRIC_PAGE_BYTES || offset % FABRIC_PAGE_BYTES)
		return -EINVAL;
	status = endpoint_verify(endpoint);
	if (status < 0)
		return status;
	if (offset > INT64_MAX || bytes > INT64_MAX - offset)
		return -ENXIO;
	first = window_after(endpoint, offset);
	while (at < offset + bytes) {
		const struct window *window = first + count < endpoint->window_count
						      ? endpoint->windows[first + count]
						      : NULL;

		if (!window || !window->complete || window->offset != at ||
		    window->bytes > offset + bytes - at)
			return -ENXIO;
		at += window->bytes;
		count++;
	}
	if (endpoint->device)
		return device_unregister(call);
	while (count--)
		window_remove(endpoint, endpoint->windows[first]);
	return 0;
}

int window_collect(struct endpoint *endpoint, uint64_t offset, uint64_t bytes, uint32_t prot,
		   struct window ***windows)
{
	unsigned int first = window_after(endpoint, offset), count = 0;
	uint64_t at = offset;
	struct window **list;

	if (offset > INT64_MAX || bytes > INT64_MAX - offset)
		return -ENXIO;
	while (at < offset + bytes) {
		const struct window *window = first + count < endpoint->window_count
						      ? endpoint->windows[first + count]
						      : NULL;

		if (!window || !window->complete || window->offset > at)
			return -ENXIO;
		at = window->offset + window->bytes;
		count++;
	}
	for (unsigned int i = 0; i < count; i++) {
		if (prot & ~endpoint->windows[first + i]->prot)
			return -EPERM;
	}
	list = malloc(count * sizeof(list[0]));
	if (!list)
		return -ENOMEM;
	for (unsigned int i = 0; i < count; i++) {
		list[i] = endpoint->windows[first + i];
		window_hold(list[i]);
	}
	*windows = list;
	return (int)count;
}

uint32_t window_run_at(const struct window *window, uint64_t start)
{
	uint32_t low = 0, high = window->run_count;

	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (window->runs[middle].end > start)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}
