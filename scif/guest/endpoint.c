// SPDX-License-Identifier: GPL-2.0-only
/*
 * vphi: endpoints from open to close, and their connections.
 *
 * The state of an endpoint is the device's. Here is only what the device cannot know: the file, who
 * polls, and whether it was ever connected: that decides the error when the device is gone,
 * -ECONNRESET as from a peer that died, else -ENODEV.
 */
#include <linux/capability.h>
#include <linux/file.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>

#include "vphi.h"

unsigned int vphi_endpoints_max;
module_param_named(endpoints_max, vphi_endpoints_max, uint, 0644);
MODULE_PARM_DESC(endpoints_max, "endpoints that may be open; 0: the device's limit");

/* vphi_endpoint_error - what the program sees of a device that is gone */
int vphi_endpoint_error(struct vphi_endpoint *endpoint, int status)
{
	if (status == -ENODEV && READ_ONCE(endpoint->device->dead) && endpoint->connected)
		return -ECONNRESET;
	return status;
}

/* vphi_endpoint_call - a request of the endpoint; NULL without memory */
struct vphi_call *vphi_endpoint_call(struct vphi_endpoint *endpoint, u32 call,
				     enum vphi_kind kind, u32 flags)
{
	struct vphi_call *new = vphi_call_new(endpoint->device, endpoint->number, call, kind);

	if (new)
		new->request.flags = cpu_to_le32(flags);
	return new;
}

/* vphi_endpoint_collect - wait for a submitted call of the endpoint; its status */
int vphi_endpoint_collect(struct vphi_endpoint *endpoint, struct vphi_call *call)
{
	return vphi_endpoint_error(endpoint, vphi_call_collect(call, call->kind == VPHI_WAIT ?
								     &endpoint->history : NULL));
}

/* vphi_endpoint_run - submit it and wait for it; its status */
int vphi_endpoint_run(struct vphi_endpoint *endpoint, struct vphi_call *call)
{
	int status = vphi_call_submit(call);

	if (status)
		return vphi_endpoint_error(endpoint, status);
	return vphi_endpoint_collect(endpoint, call);
}

/* The device's endpoint; its number, or -errno. */
static s64 vphi_endpoint_number(struct vphi_device *device)
{
	struct vphi_call *call = vphi_call_new(device, 0, SCIF_VIRTIO_OPEN, VPHI_SHORT);
	s64 result;

	if (!call)
		return -ENOMEM;
	result = vphi_call_run(call, NULL);
	if (result == 0) {
		call->claimed = true;
		result = (u32)le64_to_cpu(call->reply.value[0]);
	}
	vphi_call_put(call);
	return result;
}

/* The device's endpoint ends; nobody waits for ever for that. */
static void vphi_endpoint_end(struct vphi_device *device, u32 number)
{
	struct vphi_call *call = vphi_call_new(device, number, SCIF_VIRTIO_CLOSE, VPHI_SHORT);
	int status = -EAGAIN;

	if (!call)
		return; /* the device keeps it until its reset: worse than waiting, but rare */
	wait_event_timeout(call->queue->room, vphi_call_tried(call, &status), VPHI_END_TIMEOUT);
	if (status == 0 && !vphi_wait_spin(call, &call->queue->history))
		vphi_call_end(call);
	vphi_call_put(call);
}

/**
 * vphi_endpoint_open - for a file that is opened
 * @device: held by the endpoint from now on
 * @file: its private data is set
 *
 * Return: 0; -EMFILE at a limit; -ENOMEM, -EINTR, -ENODEV.
 */
int vphi_endpoint_open(struct vphi_device *device, struct file *file)
{
	struct vphi_endpoint *endpoint;
	unsigned int limit = READ_ONCE(vphi_endpoints_max);
	int status = -EMFILE;
	s64 number;

	if (atomic_inc_return(&device->endpoint_count) > limit && limit)
		goto uncount;
	status = -ENOMEM;
	endpoint = kzalloc(sizeof(*endpoint), GFP_KERNEL);
	if (!endpoint)
		goto uncount;
	number = vphi_endpoint_number(device);
	if (number < 0) {
		status = number;
		goto free;
	}
	endpoint->device = device;
	endpoint->number = number;
	endpoint->mapping = file->f_mapping;
	init_waitqueue_head(&endpoint->wait);
	status = xa_insert_irq(&device->endpoints, endpoint->number, endpoint, GFP_KERNEL);
	if (status) {
		status = status == -EBUSY ? -EIO : status; /* the device gave a number twice */
		goto end;
	}
	kref_get(&device->refs);
	file->private_data = endpoint;
	return 0;

end:
	if (status != -EIO)
		vphi_endpoint_end(device, endpoint->number);
free:
	kfree(endpoint);
uncount:
	atomic_dec(&device->endpoint_count);
	return status;
}

/* vphi_endpoint_close - the last descriptor of the file, and the last mapping, are gone */
void vphi_endpoint_close(struct vphi_endpoint *endpoint)
{
	struct vphi_device *device = endpoint->device;

	mutex_lock(&device->endpoints_mutex);
	xa_erase_irq(&device->endpoints, endpoint->number);
	mutex_unlock(&device->endpoints_mutex);
	vphi_endpoint_end(device, endpoint->number);
	kfree(endpoint);
	atomic_dec(&device->endpoint_count);
	kref_put(&device->refs, vphi_device_release);
}

/*
 * vphi_endpoint_flush - some descriptor of the file is closed
 * @id: the files that it was in
 *
 * A thread that waits in accept holds the file, so that its close would not be noticed: the close
 * wakes it up.
 */
void vphi_endpoint_flush(struct vphi_endpoint *endpoint, fl_owner_t id)
{
	if (READ_ONCE(endpoint->acceptor) == id)
		vphi_cancel_tag(endpoint->device, endpoint->number,
				READ_ONCE(endpoint->accept_tag));
}

/* A short call that answers with no more than a status. */
static int vphi_endpoint_simple(struct vphi_endpoint *endpoint, struct vphi_call *call)
{
	int status = vphi_endpoint_run(endpoint, call);

	vphi_call_put(call);
	return status;
}

/* vphi_bind - *port: 0 for any, then the one that it got */
int vphi_bind(struct vphi_endpoint *endpoint, u16 *port)
{
	struct vphi_call *call;
	int status;

	if (*port && *port < SCIF_ADMIN_PORT_END && !capable(CAP_SYS_ADMIN))
		return -EACCES;
	call = vphi_endpoint_call(endpoint, SCIF_VIRTIO_BIND, VPHI_SHORT, 0);
	if (!call)
		return -ENOMEM;
	call->request.bind.port = cpu_to_le16(*port);
	status = vphi_endpoint_run(endpoint, call);
	if (status == 0)
		*port = le64_to_cpu(call->reply.value[0]);
	vphi_call_put(call);
	return status;
}

int vphi_listen(struct vphi_endpoint *endpoint, int backlog)
{
	struct vphi_call *call = vphi_endpoint_call(endpoint, SCIF_VIRTIO_LISTEN, VPHI_SHORT, 0);

	if (!call)
		return -ENOMEM;
	call->request.listen.backlog = cpu_to_le32(backlog);
	return vphi_endpoint_simple(endpoint, call);
}

static void vphi_port_read(struct vphi_port *port, __le64 value)
{
	port->node = le64_to_cpu(value);
	port->port = le64_to_cpu(value) >> 16;
}

static int vphi_connect_once(struct vphi_endpoint *endpoint, struct vphi_port *self,
			     const struct vphi_port *peer, bool waits)
{
	struct vphi_call *call = vphi_endpoint_call(endpoint, SCIF_VIRTIO_CONNECT,
						    waits ? VPHI_WAIT : VPHI_SHORT,
						    waits ? 0 : SCIF_VIRTIO_NONBLOCK);
	int status;

	if (!call)
		return -ENOMEM;
	call->request.connect.node = cpu_to_le16(peer->node);
	call->request.connect.port = cpu_to_le16(peer->port);
	status = waits ? vphi_call_try(call) : vphi_call_submit(call);
	if (status == 0)
		status = vphi_endpoint_collect(endpoint, call);
	if (status == 0)
		vphi_port_read(self, call->reply.value[0]);
	vphi_call_put(call);
	return vphi_endpoint_error(endpoint, status);
}

/**
 * vphi_connect - scif_connect()
 * @endpoint: of the program
 * @self: out
 * @peer: where to
 * @nonblocking: as the file's flag says
 *
 * Return: 0; -EINPROGRESS, only if @nonblocking; the device's errors.
 */
int vphi_connect(struct vphi_endpoint *endpoint, struct vphi_port *self,
		 const struct vphi_port *peer, bool nonblocking)
{
	int status = vphi_connect_once(endpoint, self, peer, !nonblocking);

	/* No room for one that waits. */
	while (status == -EAGAIN) {
		status = vphi_connect_once(endpoint, self, peer, false);
		if (status != -EINPROGRESS)
			break;
		status = vphi_poll_wait(endpoint, EPOLLOUT);
		if (status == 0)
			status = -EAGAIN;
	}
	if (status == 0 || status == -EINPROGRESS)
		endpoint->connected = true;
	return status;
}

static int vphi_accept_once(struct vphi_endpoint *endpoint, bool waits, struct vphi_port *peer,
			    u64 *handle)
{
	struct vphi_call *call = vphi_endpoint_call(endpoint, SCIF_VIRTIO_ACCEPTREQ,
						    waits ? VPHI_WAIT : VPHI_SHORT,
						    waits ? SCIF_ACCEPT_SYNC : 0);
	int status;

	if (!call)
		return -ENOMEM;
	if (waits) {
		WRITE_ONCE(endpoint->accept_tag, le32_to_cpu(call->request.tag));
		WRITE_ONCE(endpoint->acceptor, current->files);
		status = vphi_call_try(call);
		status = status == -EAGAIN ? -ENOBUFS : status;
	} else {
		status = vphi_call_submit(call);
	}
	if (status == 0)
		status = vphi_endpoint_collect(endpoint, call);
	if (waits)
		WRITE_ONCE(endpoint->acceptor, NULL);
	if (status == 0) {
		vphi_port_read(peer, call->reply.value[0]);
		*handle = le64_to_cpu(call->reply.value[1]);
	}
	vphi_call_put(call);
	return vphi_endpoint_error(endpoint, status);
}

/**
 * vphi_accept_request - the first half of scif_accept()
 * @endpoint: that listens
 * @flags: SCIF_ACCEPT_SYNC waits for a connection
 * @peer: out
 * @handle: out, for vphi_accept_register()
 */
int vphi_accept_request(struct vphi_endpoint *endpoint, int flags, struct vphi_port *peer,
			u64 *handle)
{
	int status;

	if (flags & ~SCIF_ACCEPT_SYNC)
		return -EINVAL;
	status = vphi_accept_once(endpoint, flags & SCIF_ACCEPT_SYNC, peer, handle);
	/* No room for one that waits: -ENOBUFS, since -EAGAIN is an answer of the device's. */
	while (status == -ENOBUFS) {
		status = vphi_accept_once(endpoint, false, peer, handle);
		if (status != -EAGAIN)
			break;
		status = vphi_poll_wait(endpoint, EPOLLIN);
		if (status == 0)
			status = -ENOBUFS;
	}
	if (status == 0 || status == -EAGAIN)
		vphi_poll_again(endpoint, EPOLLIN, true);
	return status;
}

/* vphi_accept_register - this fresh endpoint becomes the accepted one */
int vphi_accept_register(struct vphi_endpoint *endpoint, u64 handle)
{
	struct vphi_call *call = vphi_endpoint_call(endpoint, SCIF_VIRTIO_ACCEPTREG, VPHI_SHORT, 0);
	int status;

	if (!call)
		return -ENOMEM;
	call->request.accept.handle = cpu_to_le64(handle);
	status = vphi_endpoint_simple(endpoint, call);
	if (status == 0)
		endpoint->connected = true;
	return status;
}

/**
 * vphi_get_nodes - the nodes that are online
 * @endpoint: any
 * @nodes: SCIF_VIRTIO_NODES_MAX of them, filled in
 * @self: out
 *
 * Return: how many are online, or -errno.
 */
int vphi_get_nodes(struct vphi_endpoint *endpoint, __le16 *nodes, u16 *self)
{
	struct vphi_call *call = vphi_endpoint_call(endpoint, SCIF_VIRTIO_GET_NODES, VPHI_SHORT, 0);
	int status = -ENOMEM;

	if (!call)
		return status;
	call->buffer_bytes = SCIF_VIRTIO_NODES_MAX * sizeof(*nodes);
	call->buffer = kzalloc(call->buffer_bytes, GFP_KERNEL);
	if (call->buffer)
		status = vphi_endpoint_run(endpoint, call);
	if (status == 0) {
		memcpy(nodes, call->buffer, call->buffer_bytes);
		*self = le64_to_cpu(call->reply.value[1]);
		status = min_t(u64, le64_to_cpu(call->reply.value[0]), SCIF_VIRTIO_NODES_MAX);
	}
	vphi_call_put(call);
	return status;
}
