/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop of one VM: one wait, one switch over the kinds of wake-ups, then both queues.
 *
 * Every wake-up only leaves notes (a socket may be readable, a message was served); the queues are
 * then served until they are empty or their budget for one turn is used up. An event for a
 * connection is a hint that may be stale, as its slot can have a new owner: acting on it is
 * harmless, since all descriptors are non-blocking.
 */
#include "vsock/switch/vm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clean.h"
#include "lib/base/io.h"
#include "lib/base/log.h"
#include "lib/vhost/fault.h"

#define VM_EVENTS_PER_TURN 64
#define VM_SOCKET_MODE	   0600

static void vm_config_read(void *context, uint32_t offset, void *to, uint32_t bytes)
{
	const struct vm *vm = context;
	struct virtio_vsock_config config = { .guest_cid = vm->own->cid };

	memcpy(to, (unsigned char *)&config + offset, bytes);
}

static void vm_queue_started(void *context, unsigned int index)
{
	const struct vm *vm = context;

	log_debug("VM '%s': queue %u starts", vm->own->name, index);
}

static void vm_queue_stopped(void *context, unsigned int index)
{
	const struct vm *vm = context;

	log_debug("VM '%s': queue %u stops", vm->own->name, index);
}

/* Each turn serves the queues anyway. */
static void vm_queue_kicked(void *context, unsigned int index)
{
	(void)context;
	(void)index;
}

static void vm_reset(void *context)
{
	struct vm *vm = context;

	log_debug("VM '%s': its driver starts anew", vm->own->name);
	connection_free_all(vm);
}

static const struct vhost_device_ops vm_device_ops = {
	.features = VIRTIO_RING_F_INDIRECT_DESC | VIRTIO_RING_F_EVENT_IDX,
	.queue_count = VIRTIO_VSOCK_QUEUE_COUNT,
	.config_bytes = sizeof(struct virtio_vsock_config),
	.config_read = vm_config_read,
	.queue_started = vm_queue_started,
	.queue_stopped = vm_queue_stopped,
	.queue_kicked = vm_queue_kicked,
	.reset = vm_reset,
};

bool vm_can_send(struct vm *vm)
{
	return vhost_device_queue(&vm->device, VIRTIO_VSOCK_QUEUE_RECEIVE)->ready &&
	       vhost_device_queue(&vm->device, VIRTIO_VSOCK_QUEUE_TRANSMIT)->ready;
}

static bool vm_is_pending(void *context)
{
	struct vm *vm = context;

	return transmit_is_pending(vm) || receive_is_pending(vm);
}

static void vm_arm(void *context, bool sleeping)
{
	struct vm *vm = context;
	struct vhost_queue *receive = vhost_device_queue(&vm->device, VIRTIO_VSOCK_QUEUE_RECEIVE);
	struct vhost_queue *transmit = vhost_device_queue(&vm->device, VIRTIO_VSOCK_QUEUE_TRANSMIT);
	bool starved = vm->reset_count || !TAILQ_EMPTY(&vm->ready);

	vhost_queue_want_kicks(transmit, sleeping && vm->reset_count < VM_RESETS_MAX);
	vhost_queue_want_kicks(receive, sleeping && starved);
}

/* One VMM at a time: the listener rests while one is attached. */
static void vm_attach(struct vm *vm)
{
	int fd = accept4(vm->vmm_listener, NULL, NULL, SOCK_CLOEXEC), status;

	if (fd < 0)
		return;
	status = vhost_device_attach(&vm->device, fd);
	if (status < 0) {
		log_error("VM '%s': cannot serve its VMM: %s", vm->own->name, strerror(-status));
		return;
	}
	vhost_wait_remove(&vm->wait, vm->vmm_listener);
	log_info("VM '%s': VMM attached", vm->own->name);
}

static void vm_detach(struct vm *vm, const char *why)
{
	log_info("VM '%s': VMM detached: %s", vm->own->name, why);
	connection_free_all(vm);
	vhost_device_detach(&vm->device);
	vhost_wait_add(&vm->wait, vm->vmm_listener, EPOLLIN, VM_TAG(VM_TAG_VMM, 0));
}

static void vm_connection_woken(struct vm *vm, struct connection *connection, uint32_t events)
{
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		connection->hung_up = true;
	connection->readable = true;
	switch (connection->state) {
	case CONNECTION_GREETING:
		host_greet(vm, connection);
		break;
	case CONNECTION_OPEN:
		connection_set_ready(vm, connection, true);
		if (connection->waits_for_room && (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)))
			transmit_resume(vm, connection);
		break;
	case CONNECTION_DRAINING:
		transmit_resume(vm, connection);
		break;
	case CONNECTION_CONNECTING:
	case CONNECTION_REQUESTED:
	case CONNECTION_CLOSING:
		break;
	}
}

static void vm_dispatch(struct vm *vm, const struct epoll_event *event)
{
	uint32_t index = (uint32_t)event->data.u64;
	struct error error = { 0 };

	switch ((enum vm_tag)(event->data.u64 >> 32)) {
	case VM_TAG_DEVICE:
		if (vhost_device_woken(&vm->device, index, &error) < 0)
			vm_detach(vm, error.text);
		break;
	case VM_TAG_STOP:
		vm->stopping = true;
		break;
	case VM_TAG_VMM:
		if (vm->device.socket_fd < 0)
			vm_attach(vm);
		break;
	case VM_TAG_HOST:
		host_accept(vm);
		break;
	case VM_TAG_CONNECTION:
		if (vm->slots[index])
			vm_connection_woken(vm, vm->slots[index], event->events);
		break;
	}
}

/* The shorter of two times, -1 being for ever. */
static int vm_nearer(int one_ms, int other_ms)
{
	if (one_ms < 0 || (other_ms >= 0 && other_ms < one_ms))
		return other_ms;
	return one_ms;
}

void vm_turn(struct vm *vm, int timeout_ms)
{
	const struct vhost_wait_work work = { vm_is_pending, vm_arm, vm };
	struct epoll_event events[VM_EVENTS_PER_TURN];
	struct error error = { 0 };
	int count;

	timeout_ms = vm_nearer(timeout_ms, connection_expire(vm));
	timeout_ms = vm_nearer(timeout_ms, host_rest(vm));
	count = vhost_wait_events(&vm->wait, &work, events, VM_EVENTS_PER_TURN, timeout_ms);
	for (int i = 0; i < count; i++)
		vm_dispatch(vm, &events[i]);
	transmit_run(vm);
	receive_run(vm);
	if (vhost_device_check(&vm->device, &error) < 0)
		vm_detach(vm, error.text);
}

/* Guests learn that their connections are over, as far as they have receive buffers. */
static void vm_say_farewell(struct vm *vm)
{
	for (uint32_t slot = 0; slot < vm->settings->connections; slot++)
		if (vm->slots[slot] && vm->slots[slot]->state != CONNECTION_GREETING &&
		    vm->slots[slot]->state != CONNECTION_DRAINING)
			connection_reset(vm, vm->slots[slot]);
	while (receive_is_pending(vm))
		receive_run(vm);
}

void vm_run(struct vm *vm)
{
	vhost_fault_guard(&vm->device.memory);
	while (!vm->stopping)
		vm_turn(vm, -1);
	vm_say_farewell(vm);
	connection_free_all(vm);
	vhost_device_detach(&vm->device);
	vhost_fault_guard(NULL);
}

void vm_stop(struct vm *vm)
{
	static const uint64_t one = 1;

	if (write(vm->stop_fd, &one, sizeof(one)) < 0)
		log_error("VM '%s': cannot be stopped: %s", vm->own->name, strerror(errno));
}

static int vm_open(struct vm *vm, struct error *error)
{
	int status = vhost_wait_init(&vm->wait, vm->settings->spin_us);

	if (status < 0)
		return error_set(error, status, "no epoll instance: %s", strerror(-status));
	vm->vmm_listener = io_unix_listen(vm->own->socket, VM_SOCKET_MODE, error);
	if (vm->vmm_listener < 0)
		return vm->vmm_listener;
	vm->host_listener = io_unix_listen(vm->own->host_socket, VM_SOCKET_MODE, error);
	if (vm->host_listener < 0)
		return vm->host_listener;
	vm->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vm->stop_fd < 0)
		return error_set(error, -errno, "no event descriptor: %s", strerror(errno));
	status = vhost_wait_add(&vm->wait, vm->vmm_listener, EPOLLIN, VM_TAG(VM_TAG_VMM, 0));
	if (status == 0)
		status = vhost_wait_add(&vm->wait, vm->host_listener, EPOLLIN,
					VM_TAG(VM_TAG_HOST, 0));
	if (status == 0)
		status = vhost_wait_add(&vm->wait, vm->stop_fd, EPOLLIN, VM_TAG(VM_TAG_STOP, 0));
	return status < 0 ? error_set(error, status, "epoll: %s", strerror(-status)) : 0;
}

struct vm *vm_create(const struct settings *settings, const struct settings_vm *own,
		     struct error *error)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	if (!vm) {
		error_set(error, -ENOMEM, "out of memory");
		return NULL;
	}
	vm->settings = settings;
	vm->own = own;
	vm->wait.epoll_fd = vm->stop_fd = vm->vmm_listener = vm->host_listener = -1;
	TAILQ_INIT(&vm->ready);
	TAILQ_INIT(&vm->timed);
	vm->next_host_port = VM_HOST_PORT_FIRST;
	vhost_device_init(&vm->device, &vm_device_ops, vm, &vm->wait, VM_TAG(VM_TAG_DEVICE, 0));
	vm->slots = calloc(settings->connections, sizeof(vm->slots[0]));
	if (!vm->slots)
		error_set(error, -ENOMEM, "out of memory");
	if (!vm->slots || vm_open(vm, error) < 0) {
		error_prefix(error, "VM '%s'", own->name);
		vm_destroy(vm);
		return NULL;
	}
	return vm;
}

static void vm_close_listener(int fd, const char *path)
{
	if (fd < 0)
		return;
	close(fd);
	unlink(path);
}

void vm_destroy(struct vm *vm)
{
	connection_free_all(vm);
	vhost_device_detach(&vm->device);
	vm_close_listener(vm->vmm_listener, vm->own->socket);
	vm_close_listener(vm->host_listener, vm->own->host_socket);
	if (vm->stop_fd >= 0)
		close(vm->stop_fd);
	if (vm->wait.epoll_fd >= 0)
		vhost_wait_close(&vm->wait);
	free(vm->slots);
	free(vm);
}
