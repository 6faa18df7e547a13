/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared memory region 0: what we ask of the VMM, and its answers; see device.h.
 *
 * The VMM answers each request, in order, with the number 0 or another. QEMU does so before the
 * guest's memory has changed: a guest that learned of a mapping at once would still find nothing
 * there. So a second request goes behind each, whose answer comes when the first is over: the
 * notice of a changed configuration, which changes nothing. Both are sent whole or not at all: the
 * channel is a stream, and a part of a message could not be taken back.
 */
#include <errno.h>
#include <string.h>

#include "lib/base/io.h"
#include "lib/vhost/device.h"
#include "lib/vhost/message.h"

#define VHOST_SHM_PAGE_MASK 4095u

bool vhost_device_has_shm(const struct vhost_device *device)
{
	const uint64_t needed = VHOST_USER_PROTOCOL_F_SHMEM | VHOST_USER_PROTOCOL_F_BACKEND_REQ |
				VHOST_USER_PROTOCOL_F_REPLY_ACK;

	return (device->protocol_features & needed) == needed;
}

static int vhost_shm_send(struct vhost_device *device, uint32_t request,
			  const struct vhost_user_shmem_mapping *mapping, int fd, void *token)
{
	struct {
		struct vhost_user_header header;
		struct vhost_user_shmem_mapping mapping;
		struct vhost_user_header behind;
	} __attribute__((packed)) message = {
		.header = { .request = request,
			    .flags = VHOST_USER_FLAG_VERSION | VHOST_USER_FLAG_NEED_REPLY,
			    .size = sizeof(*mapping) },
		.mapping = *mapping,
		.behind = { .request = VHOST_USER_BACKEND_CONFIG_CHANGE,
			    .flags = VHOST_USER_FLAG_VERSION | VHOST_USER_FLAG_NEED_REPLY },
	};
	struct vhost_shm_calls *calls = &device->shm_calls;
	unsigned int last = (calls->first + calls->count) % VHOST_SHM_CALLS_MAX;
	ssize_t sent;

	if (!vhost_device_has_shm(device) || device->request_fd < 0)
		return -EOPNOTSUPP;
	if (((mapping->offset | mapping->bytes | mapping->file_offset) & VHOST_SHM_PAGE_MASK) ||
	    mapping->bytes == 0 || mapping->bytes > device->ops->shm_bytes ||
	    mapping->offset > device->ops->shm_bytes - mapping->bytes)
		return -EINVAL;
	if (calls->count == VHOST_SHM_CALLS_MAX)
		return -EAGAIN;
	sent = io_send_fds(device->request_fd, &message, sizeof(message), &fd, fd >= 0);
	if (sent < 0)
		return (int)sent;
	if ((size_t)sent != sizeof(message))
		return -EIO; /* what follows would be taken for its rest: useless from now on */
	calls->calls[last].token = token;
	calls->calls[last].request = request;
	calls->calls[last].answered = false;
	calls->count++;
	return 0;
}

int vhost_device_shm_map(struct vhost_device *device, uint64_t offset, int fd, uint64_t file_offset,
			 uint64_t bytes, bool writable, void *token)
{
	struct vhost_user_shmem_mapping mapping = {
		.file_offset = file_offset,
		.offset = offset,
		.bytes = bytes,
		.flags = writable ? VHOST_USER_SHMEM_WRITABLE : 0,
	};

	return vhost_shm_send(device, VHOST_USER_BACKEND_SHMEM_MAP, &mapping, fd, token);
}

int vhost_device_shm_unmap(struct vhost_device *device, uint64_t offset, uint64_t bytes,
			   void *token)
{
	struct vhost_user_shmem_mapping mapping = { .offset = offset, .bytes = bytes };

	return vhost_shm_send(device, VHOST_USER_BACKEND_SHMEM_UNMAP, &mapping, -1, token);
}

/* The oldest request is answered. */
static void vhost_shm_finish(struct vhost_device *device, int status)
{
	struct vhost_shm_calls *calls = &device->shm_calls;
	void *token = calls->calls[calls->first].token;

	calls->first = (calls->first + 1) % VHOST_SHM_CALLS_MAX;
	calls->count--;
	device->ops->shm_done(device->context, token, status);
}

/* One complete answer; -EPROTO for one that nobody waits for. */
static int vhost_shm_answer(struct vhost_device *device)
{
	const struct vhost_user_header *header = &device->answer.header;
	struct vhost_shm_calls *calls = &device->shm_calls;
	struct vhost_shm_call *call = &calls->calls[calls->first];
	uint64_t number = device->answer.payload.number;

	if (calls->count == 0 ||
	    header->request !=
		    (call->answered ? VHOST_USER_BACKEND_CONFIG_CHANGE : call->request) ||
	    header->flags != (VHOST_USER_FLAG_VERSION | VHOST_USER_FLAG_REPLY) ||
	    header->size != sizeof(number) || device->answer.fd_count)
		return -EPROTO;
	if (call->answered) {
		vhost_shm_finish(device, call->status);
	} else {
		call->answered = true;
		call->status = number ? -EINVAL : 0;
	}
	return 0;
}

int vhost_shm_woken(struct vhost_device *device, struct error *error)
{
	int status;

	if (device->request_fd < 0)
		return 0;
	while ((status = vhost_message_receive(device->request_fd, &device->answer)) > 0) {
		status = vhost_shm_answer(device);
		vhost_message_drop(&device->answer);
		if (status < 0)
			break;
	}
	if (status < 0)
		return error_set(error, status, "vhost-user backend channel: %s",
				 status == -EPIPE ? "closed by the VMM" : strerror(-status));
	return 0;
}

void vhost_shm_drop(struct vhost_device *device)
{
	vhost_message_drop(&device->answer);
	while (device->shm_calls.count)
		vhost_shm_finish(device, -EPIPE);
}
