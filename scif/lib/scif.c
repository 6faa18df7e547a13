/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls of libscif that scifd answers: each becomes one message. Messages and poll are
 * stream.c's.
 *
 * A mapping holds its handle: the socket stays open until the last mapping made through it is
 * unmapped, since scifd takes its end for the end of all mappings.
 */
#include "include/scif.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "scif/lib/device.h"
#include "scif/lib/handle.h"

/* A part of the address space that shows a peer's windows. */
struct mapping {
	TAILQ_ENTRY(mapping) link;
	unsigned char *address;
	size_t bytes;
	uint32_t number;
	struct handle *handle; /* held */
};

static pthread_mutex_t mappings_lock = PTHREAD_MUTEX_INITIALIZER;
static TAILQ_HEAD(, mapping) mappings = TAILQ_HEAD_INITIALIZER(mappings);

void mappings_freeze(void)
{
	pthread_mutex_lock(&mappings_lock);
}

void mappings_thaw(void)
{
	pthread_mutex_unlock(&mappings_lock);
}

void mappings_forget(void)
{
	struct mapping *mapping;

	while ((mapping = TAILQ_FIRST(&mappings))) {
		TAILQ_REMOVE(&mappings, mapping, link);
		handle_put(mapping->handle);
		free(mapping);
	}
	pthread_mutex_unlock(&mappings_lock);
}

/* -1 and errno for a negative status, else @value. */
static int scif_result(int status, int value)
{
	if (status >= 0)
		return value;
	errno = -status;
	return -1;
}

/* One call without descriptors or payload; 0 or -errno. */
static int scif_call(scif_epd_t epd, struct scif_local_request *request,
		     struct scif_virtio_reply *reply)
{
	struct handle *handle = handle_find(epd);
	struct waiter waiter = { 0 };
	int status;

	if (!handle)
		return -EBADF;
	status = handle_call(handle, request, -1, &waiter);
	if (reply)
		*reply = waiter.reply.reply;
	handle_put(handle);
	return status;
}

scif_epd_t scif_open(void)
{
	if (device_is_used())
		return device_open();
	int fd = handle_open();

	return scif_result(fd, fd);
}

int scif_close(scif_epd_t epd)
{
	if (device_is_used())
		return close(epd);
	struct scif_local_request request = { .request.call = SCIF_VIRTIO_CLOSE };
	struct waiter waiter = { 0 };
	struct handle *handle;
	int status = handle_forget(epd, &handle);

	if (status < 0)
		return scif_result(status, 0);
	if (handle->shared)
		request.request.flags = SCIF_LOCAL_LEAVE;
	if (!handle->inherited) /* else this process has not used it */
		handle_call(handle, &request, -1, &waiter);
	/*
	 * Threads in calls, and mappings, need the socket; the program's number is free at once. So
	 * an endpoint that others have, too, lasts until the last mapping is gone, as with a
	 * driver.
	 */
	pthread_mutex_lock(&handle->lock);
	if (atomic_load(&handle->holders) > 1) {
		int kept = fcntl(epd, F_DUPFD_CLOEXEC, 0);

		handle->fd = kept;
		close(epd);
	}
	pthread_mutex_unlock(&handle->lock);
	handle_put(handle);
	return 0;
}

int scif_bind(scif_epd_t epd, uint16_t port)
{
	if (device_is_used())
		return device_bind(epd, port);
	struct scif_local_request request = {
		.request = { .call = SCIF_VIRTIO_BIND, .bind.port = port },
	};
	struct scif_virtio_reply reply = { 0 };
	int status;

	if (port && port < 1024 && geteuid() != 0)
		return scif_result(-EACCES, 0);
	status = scif_call(epd, &request, &reply);
	return scif_result(status, (int)reply.value[0]);
}

int scif_listen(scif_epd_t epd, int backlog)
{
	if (device_is_used())
		return device_listen(epd, backlog);
	struct scif_local_request request = {
		.request = { .call = SCIF_VIRTIO_LISTEN, .listen.backlog = (uint32_t)backlog },
	};

	return scif_result(scif_call(epd, &request, NULL), 0);
}

int scif_connect(scif_epd_t epd, struct scif_portID *peer)
{
	if (device_is_used())
		return device_connect(epd, peer);
	struct scif_local_request request = { .request.call = SCIF_VIRTIO_CONNECT };
	struct scif_virtio_reply reply = { 0 };
	int flags = fcntl(epd, F_GETFL), status;

	if (!peer)
		return scif_result(-EINVAL, 0);
	if (flags >= 0 && (flags & O_NONBLOCK))
		request.request.flags = SCIF_VIRTIO_NONBLOCK;
	request.request.connect.node = peer->node;
	request.request.connect.port = peer->port;
	status = scif_call(epd, &request, &reply);
	return scif_result(status, (int)(reply.value[0] >> 16 & 0xffff));
}

int scif_accept(scif_epd_t epd, struct scif_portID *peer, scif_epd_t *accepted, int flags)
{
	if (device_is_used())
		return device_accept(epd, peer, accepted, flags);
	struct scif_local_request request = {
		.request = { .call = SCIF_VIRTIO_ACCEPTREQ, .flags = (uint32_t)flags },
	};
	struct scif_local_request collect = { .request.call = SCIF_VIRTIO_ACCEPTREG };
	struct scif_virtio_reply reply = { 0 };
	struct handle *handle;
	int fresh, status;

	if (!peer || !accepted)
		return scif_result(-EINVAL, 0);
	/* First the descriptor, so that a connection is never accepted without one. */
	fresh = handle_open();
	if (fresh < 0)
		return scif_result(fresh, 0);
	status = scif_call(epd, &request, &reply);
	if (status == 0) {
		collect.request.accept.handle = reply.value[1];
		status = scif_call(fresh, &collect, NULL);
	}
	if (status < 0) {
		scif_close(fresh);
		return scif_result(status, 0);
	}
	handle = handle_find(fresh);
	if (handle)
		handle_detach(handle);
	handle_put(handle);
	peer->node = (uint16_t)reply.value[0];
	peer->port = (uint16_t)(reply.value[0] >> 16);
	*accepted = fresh;
	return 0;
}

/* Whether the arguments are sound enough for the memory to be touched at all. */
static bool scif_is_registrable(const void *address, size_t bytes, off_t offset, int prot,
				int flags)
{
	const unsigned int mask = SCIF_VIRTIO_PAGE_BYTES - 1;

	return bytes && !(((uintptr_t)address | bytes) & mask) &&
	       !(prot & ~(SCIF_PROT_READ | SCIF_PROT_WRITE)) && !(flags & ~SCIF_MAP_FIXED) &&
	       (!(flags & SCIF_MAP_FIXED) || (offset >= 0 && !(offset & mask)));
}

/* Notes what memory a window uses; without memory for the note it is never given back. */
static void scif_note_window(struct handle *handle, uint64_t offset, uint64_t bytes,
			     struct shared *shared)
{
	struct window *window = malloc(sizeof(*window));

	if (!window)
		return;
	window->offset = offset;
	window->bytes = bytes;
	window->shared = shared;
	pthread_mutex_lock(&handle->attach);
	TAILQ_INSERT_TAIL(&handle->windows, window, link);
	pthread_mutex_unlock(&handle->attach);
}

off_t scif_register(scif_epd_t epd, void *address, size_t bytes, off_t offset, int prot, int flags)
{
	if (device_is_used())
		return device_register(epd, address, bytes, offset, prot, flags);
	struct scif_local_request request = {
		.request = { .call = SCIF_VIRTIO_REGISTER,
			     .flags = (uint32_t)flags,
			     .window = { .offset = (uint64_t)offset,
					 .bytes = bytes,
					 .prot = (uint32_t)prot } },
		.address = (uintptr_t)address,
	};
	struct handle *handle = handle_find(epd);
	struct waiter waiter = { 0 };
	struct shared *shared = NULL;
	int status = handle ? 0 : -EBADF;

	if (status == 0 && handle_attach(handle) == 0 && handle->peer &&
	    scif_is_registrable(address, bytes, offset, prot, flags))
		status = memory_share(address, bytes, &shared, &request.file_offset);
	if (status >= 0)
		status = handle_call(handle, &request, shared ? memory_fd(shared) : -1, &waiter);
	if (status == 0 && shared)
		scif_note_window(handle, waiter.reply.reply.value[0], bytes, shared);
	else if (shared)
		memory_put(shared);
	handle_put(handle);
	if (status < 0) {
		errno = -status;
		return SCIF_REGISTER_FAILED;
	}
	return (off_t)waiter.reply.reply.value[0];
}

int scif_unregister(scif_epd_t epd, off_t offset, size_t bytes)
{
	if (device_is_used())
		return device_unregister(epd, offset, bytes);
	struct scif_local_request request = {
		.request = { .call = SCIF_VIRTIO_UNREGISTER,
			     .window = { .offset = (uint64_t)offset, .bytes = bytes } },
	};
	struct handle *handle = handle_find(epd);
	struct waiter waiter = { 0 };
	struct window *window, *next;
	int status = handle ? handle_call(handle, &request, -1, &waiter) : -EBADF;

	if (status == 0) {
		pthread_mutex_lock(&handle->attach);
		for (window = TAILQ_FIRST(&handle->windows); window; window = next) {
			next = TAILQ_NEXT(window, link);
			if (window->offset < (uint64_t)offset ||
			    window->offset >= (uint64_t)offset + bytes)
				continue;
			TAILQ_REMOVE(&handle->windows, window, link);
			memory_put(window->shared);
			free(window);
		}
		pthread_mutex_unlock(&handle->attach);
	}
	handle_put(handle);
	return scif_result(status, 0);
}

/* Shows the answer's extents at @base, which is reserved. */
static int scif_show(unsigned char *base, size_t bytes, int prot, const struct waiter *waiter)
{
	const unsigned char *at = waiter->payload;
	size_t count = waiter->payload_bytes / sizeof(struct scif_local_extent), done = 0;

	for (size_t i = 0; i < count; i++) {
		struct scif_local_extent extent;

		memcpy(&extent, at + i * sizeof(extent), sizeof(extent));
		if (extent.descriptor >= waiter->fd_count || extent.bytes > bytes - done)
			return -EPROTO;
		if (mmap(base + done, extent.bytes, prot, MAP_SHARED | MAP_FIXED,
			 waiter->fds[extent.descriptor], (off_t)extent.file_offset) == MAP_FAILED)
			return -errno;
		done += extent.bytes;
	}
	return done == bytes ? 0 : -EPROTO;
}

static void scif_unmap_number(struct handle *handle, uint32_t number)
{
	struct scif_local_request request = {
		.request = { .call = SCIF_VIRTIO_MUNMAP, .map.mapping = number },
	};
	struct waiter waiter = { 0 };

	handle_call(handle, &request, -1, &waiter);
}

/* Reserves addresses, shows the windows there, and notes it. */
static int scif_place(struct handle *handle, void *address, size_t bytes, int prot, int flags,
		      const struct waiter *waiter, void **place)
{
	struct mapping *mapping = malloc(sizeof(*mapping));
	void *base;
	int status;

	if (!mapping)
		return -ENOMEM;
	base = mmap(address, bytes, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
			    (flags & SCIF_MAP_FIXED ? MAP_FIXED : 0),
		    -1, 0);
	status = base == MAP_FAILED ? -errno : scif_show(base, bytes, prot, waiter);
	if (status < 0) {
		if (base != MAP_FAILED)
			munmap(base, bytes);
		free(mapping);
		return status;
	}
	madvise(base, bytes, MADV_DONTFORK);
	*mapping = (struct mapping){
		.address = base,
		.bytes = bytes,
		.number = (uint32_t)waiter->reply.reply.value[0],
		.handle = handle,
	};
	handle_hold(handle);
	pthread_mutex_lock(&mappings_lock);
	TAILQ_INSERT_TAIL(&mappings, mapping, link);
	pthread_mutex_unlock(&mappings_lock);
	*place = base;
	return 0;
}

void *scif_mmap(void *address, size_t bytes, int prot, int flags, scif_epd_t epd, off_t offset)
{
	if (device_is_used())
		return device_mmap(address, bytes, prot, flags, epd, offset);
	size_t whole = (bytes + SCIF_VIRTIO_PAGE_BYTES - 1) & ~(size_t)(SCIF_VIRTIO_PAGE_BYTES - 1);
	struct scif_local_request request = {
		.request = { .call = SCIF_VIRTIO_MMAP,
			     .map = { .offset = (uint64_t)offset,
				      .bytes = whole,
				      .prot = (uint32_t)prot } },
	};
	struct handle *handle = handle_find(epd);
	struct waiter waiter = { .payload = malloc(SCIF_LOCAL_PAYLOAD_BYTES) };
	void *place = MAP_FAILED;
	int status = !handle ? -EBADF : waiter.payload ? 0 : -ENOMEM;

	if (status == 0)
		status = handle_call(handle, &request, -1, &waiter);
	if (status == 0) {
		status = scif_place(handle, address, whole, prot, flags, &waiter, &place);
		if (status < 0)
			scif_unmap_number(handle, (uint32_t)waiter.reply.reply.value[0]);
	}
	for (unsigned int i = 0; i < waiter.fd_count; i++)
		close(waiter.fds[i]);
	free(waiter.payload);
	handle_put(handle);
	if (status < 0)
		errno = -status;
	return status < 0 ? SCIF_MMAP_FAILED : place;
}

int scif_munmap(void *address, size_t bytes)
{
	if (device_is_used())
		return munmap(address, bytes);
	size_t whole = (bytes + SCIF_VIRTIO_PAGE_BYTES - 1) & ~(size_t)(SCIF_VIRTIO_PAGE_BYTES - 1);
	struct mapping *mapping;

	if (munmap(address, bytes) < 0)
		return -1;
	pthread_mutex_lock(&mappings_lock);
	TAILQ_FOREACH(mapping, &mappings, link)
	{
		if (mapping->address == address && mapping->bytes == whole)
			break;
	}
	if (mapping)
		TAILQ_REMOVE(&mappings, mapping, link);
	pthread_mutex_unlock(&mappings_lock);
	if (mapping) {
		scif_unmap_number(mapping->handle, mapping->number);
		handle_put(mapping->handle);
		free(mapping);
	}
	return 0;
}

static int scif_copy(scif_epd_t epd, enum scif_virtio_call call, uint64_t local, uint64_t bytes,
		     uint64_t remote, int flags, const void *address)
{
	struct scif_local_request request = {
		.request = { .call = call,
			     .flags = (uint32_t)flags,
			     .rma = { .local = local, .remote = remote, .bytes = bytes } },
		.address = (uintptr_t)address,
	};

	return scif_result(scif_call(epd, &request, NULL), 0);
}

int scif_readfrom(scif_epd_t epd, off_t local, size_t bytes, off_t remote, int flags)
{
	if (device_is_used())
		return device_copy(epd, DEVICE_READFROM, local, bytes, remote, NULL, flags);
	return scif_copy(epd, SCIF_VIRTIO_READFROM, (uint64_t)local, bytes, (uint64_t)remote, flags,
			 NULL);
}

int scif_writeto(scif_epd_t epd, off_t local, size_t bytes, off_t remote, int flags)
{
	if (device_is_used())
		return device_copy(epd, DEVICE_WRITETO, local, bytes, remote, NULL, flags);
	return scif_copy(epd, SCIF_VIRTIO_WRITETO, (uint64_t)local, bytes, (uint64_t)remote, flags,
			 NULL);
}

int scif_vreadfrom(scif_epd_t epd, void *address, size_t bytes, off_t remote, int flags)
{
	if (device_is_used())
		return device_copy(epd, DEVICE_VREADFROM, 0, bytes, remote, address, flags);
	return scif_copy(epd, SCIF_VIRTIO_VREADFROM, 0, bytes, (uint64_t)remote, flags, address);
}

int scif_vwriteto(scif_epd_t epd, void *address, size_t bytes, off_t remote, int flags)
{
	if (device_is_used())
		return device_copy(epd, DEVICE_VWRITETO, 0, bytes, remote, address, flags);
	return scif_copy(epd, SCIF_VIRTIO_VWRITETO, 0, bytes, (uint64_t)remote, flags, address);
}

int scif_fence_mark(scif_epd_t epd, int flags, int *mark)
{
	if (device_is_used())
		return device_fence_mark(epd, flags, mark);
	struct scif_local_request request = {
		.request = { .call = SCIF_VIRTIO_FENCE_MARK, .flags = (uint32_t)flags },
	};
	struct scif_virtio_reply reply = { 0 };
	int status = scif_call(epd, &request, &reply);

	if (status == 0 && !mark)
		status = -EFAULT;
	if (status == 0)
		*mark = (int)reply.value[0];
	return scif_result(status, 0);
}

int scif_fence_wait(scif_epd_t epd, int mark)
{
	if (device_is_used())
		return device_fence_wait(epd, mark);
	struct scif_local_request request = {
		.request = { .call = SCIF_VIRTIO_FENCE_WAIT, .fence.mark = (uint32_t)mark },
	};

	return scif_result(scif_call(epd, &request, NULL), 0);
}

int scif_fence_signal(scif_epd_t epd, off_t local, uint64_t local_value, off_t remote,
		      uint64_t remote_value, int flags)
{
	if (device_is_used())
		return device_fence_signal(epd, local, local_value, remote, remote_value, flags);
	struct scif_local_request request = {
		.request = { .call = SCIF_VIRTIO_FENCE_SIGNAL,
			     .flags = (uint32_t)flags,
			     .signal = { .local = (uint64_t)local,
					 .local_value = local_value,
					 .remote = (uint64_t)remote,
					 .remote_value = remote_value } },
	};

	return scif_result(scif_call(epd, &request, NULL), 0);
}

int scif_get_nodeIDs(uint16_t *nodes, int count, uint16_t *self)
{
	if (device_is_used())
		return device_get_nodes(nodes, count, self);
	struct scif_local_request request = { .request.call = SCIF_VIRTIO_GET_NODES };
	struct waiter waiter = { .payload = malloc(SCIF_LOCAL_PAYLOAD_BYTES) };
	int fd = handle_open(), status = fd < 0 ? fd : 0;
	struct handle *handle = handle_find(fd);
	size_t known;

	if (status == 0 && (!handle || !waiter.payload))
		status = -ENOMEM;
	if (status == 0)
		status = handle_call(handle, &request, -1, &waiter);
	if (status == 0) {
		known = waiter.payload_bytes / sizeof(nodes[0]);
		if (nodes && count > 0)
			memcpy(nodes, waiter.payload,
			       (known < (size_t)count ? known : (size_t)count) * sizeof(nodes[0]));
		if (self)
			*self = (uint16_t)waiter.reply.reply.value[1];
	}
	handle_put(handle);
	if (fd >= 0)
		scif_close(fd);
	free(waiter.payload);
	return scif_result(status, (int)waiter.reply.reply.value[0]);
}
