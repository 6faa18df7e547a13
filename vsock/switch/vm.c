/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One VM as its worker serves it: one switch over the kinds of wake-ups, then both queues.
 *
 * Every wake-up only leaves notes (a socket may be readable, a message was served); the queues are
 * then served until they are empty or their budget for one turn is used up. An event for a
 * connection is a hint that may be stale, as its slot can have a new owner: acting on it is
 * harmless, since all descriptors are non-blocking.
 */
#include "vsock/switch/vm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/log.h"
#include "lib/vhost/fault.h"
#include "vsock/switch/flow_data.h"

#define VM_SOCKET_MODE 0600

static void vm_config_read(void *context, uint32_t offset, void *to, uint32_t bytes)
{
	const struct vm *vm = context;
	struct virtio_vsock_config config = { .guest_cid = vm->own.cid };

	memcpy(to, (unsigned char *)&config + offset, bytes);
}

static void vm_queue_started(void *context, unsigned int index)
{
	struct vm *vm = context;
	struct vhost_queue *transmit = vhost_device_queue(&vm->device, VIRTIO_VSOCK_QUEUE_TRANSMIT);

	log_debug("VM '%s': queue %u starts", vm->own.name, index);
	if (index == VIRTIO_VSOCK_QUEUE_TRANSMIT && flow_resize(vm, transmit->size) < 0)
		log_warning("VM '%s': no memory to keep packets; they are copied", vm->own.name);
	if (vm_can_send(vm))
		flow_open_door(vm, (vm->device.features & VIRTIO_VSOCK_F_SEQPACKET) != 0);
}

static void vm_queue_stopping(void *context, unsigned int index)
{
	if (index == VIRTIO_VSOCK_QUEUE_TRANSMIT)
		flow_spill(context);
}

static void vm_queue_stopped(void *context, unsigned int index)
{
	struct vm *vm = context;

	log_debug("VM '%s': queue %u stops", vm->own.name, index);
	flow_close_door(vm);
	if (index == VIRTIO_VSOCK_QUEUE_TRANSMIT && vm->kept_total)
		vm->driver_is_new = true; /* its memory went away with packets in it */
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

	log_debug("VM '%s': its driver starts anew", vm->own.name);
	vm->driver_is_new = true;
}

static const struct vhost_device_ops vm_device_ops = {
	.features =
		VIRTIO_VSOCK_F_SEQPACKET | VIRTIO_RING_F_INDIRECT_DESC | VIRTIO_RING_F_EVENT_IDX,
	.queue_count = VIRTIO_VSOCK_QUEUE_COUNT,
	.config_bytes = sizeof(struct virtio_vsock_config),
	.config_read = vm_config_read,
	.queue_started = vm_queue_started,
	.queue_stopping = vm_queue_stopping,
	.queue_stopped = vm_queue_stopped,
	.queue_kicked = vm_queue_kicked,
	.reset = vm_reset,
};

static bool vm_queue_is_sane(struct vm *vm, enum virtio_vsock_queue index)
{
	const struct vhost_queue *queue = vhost_device_queue(&vm->device, index);

	return queue->ready && !__atomic_load_n(&queue->broken, __ATOMIC_RELAXED);
}

bool vm_can_send(struct vm *vm)
{
	return vm_queue_is_sane(vm, VIRTIO_VSOCK_QUEUE_RECEIVE) &&
	       vm_queue_is_sane(vm, VIRTIO_VSOCK_QUEUE_TRANSMIT);
}

bool vm_is_pending(struct vm *vm)
{
	return transmit_is_pending(vm) || receive_is_pending(vm) || flow_has_waiters(vm) ||
	       __atomic_load_n(&vm->has_mail, __ATOMIC_RELAXED) ||
	       __atomic_load_n(&vm->retries, __ATOMIC_RELAXED);
}

void vm_arm(struct vm *vm, bool sleeping)
{
	struct vhost_queue *receive = vhost_device_queue(&vm->device, VIRTIO_VSOCK_QUEUE_RECEIVE);
	struct vhost_queue *transmit = vhost_device_queue(&vm->device, VIRTIO_VSOCK_QUEUE_TRANSMIT);
	bool starved = receive_is_owed(vm);

	vhost_queue_want_kicks(transmit, sleeping && transmit_may_pop(vm));
	vm_lock(vm);
	vhost_queue_want_kicks(receive, (sleeping && starved) || !TAILQ_EMPTY(&vm->waiters));
	vm_unlock(vm);
}

/* One VMM at a time: the listener rests while one is attached. */
static void vm_attach(struct vm *vm)
{
	int fd = accept4(vm->vmm_listener, NULL, NULL, SOCK_CLOEXEC), status;

	if (fd < 0)
		return;
	vm_lock(vm);
	status = vhost_device_attach(&vm->device, fd);
	vm_unlock(vm);
	if (status < 0) {
		log_error("VM '%s': cannot serve its VMM: %s", vm->own.name, strerror(-status));
		return;
	}
	vhost_wait_remove(&vm->worker->wait, vm->vmm_listener);
	log_info("VM '%s': VMM attached", vm->own.name);
}

/* Connections end with the session; the next VMM may attach at once. */
static void vm_end_session(struct vm *vm)
{
	flow_close_door(vm);
	flow_end_all(vm, false);
	vm_lock(vm);
	vhost_device_detach(&vm->device);
	vm_unlock(vm);
	connection_free_all(vm);
	vm->driver_is_new = vm->is_wrecked = false;
}

/* A guest whose rings make no sense loses its connections, once; others do not notice. */
static void vm_check_queues(struct vm *vm)
{
	const struct vhost_queue *receive = &vm->device.queues[VIRTIO_VSOCK_QUEUE_RECEIVE];
	const struct vhost_queue *transmit = &vm->device.queues[VIRTIO_VSOCK_QUEUE_TRANSMIT];

	if (!__atomic_load_n(&receive->broken, __ATOMIC_RELAXED) && !transmit->broken) {
		vm->is_wrecked = false;
		return;
	}
	if (vm->is_wrecked)
		return;
	vm->is_wrecked = true;
	log_warning(
		"VM '%s': its %s queue makes no sense; its connections end, and it stands still "
		"until the guest resets its device",
		vm->own.name, transmit->broken ? "transmit" : "receive");
	flow_close_door(vm);
	flow_end_all(vm, false);
	connection_free_all(vm);
}

static void vm_detach(struct vm *vm, const char *why)
{
	log_info("VM '%s': VMM detached: %s", vm->own.name, why);
	vm_end_session(vm);
	vhost_wait_add(&vm->worker->wait, vm->vmm_listener, EPOLLIN,
		       VM_TAG(VM_TAG_VMM, vm->slot, 0));
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

/* A message of the VMM or a kick; what the driver's new start ends is ended after the lock. */
static void vm_device_woken(struct vm *vm, uint32_t index)
{
	struct error error = { 0 };
	int status;

	vm_lock(vm);
	status = vhost_device_woken(&vm->device, index, &error);
	vm_unlock(vm);
	if (vm->driver_is_new) {
		vm->driver_is_new = false;
		flow_end_all(vm, false);
		connection_free_all(vm);
	}
	if (status < 0)
		vm_detach(vm, error.text);
}

void vm_woken(struct vm *vm, const struct epoll_event *event)
{
	uint32_t index = VM_TAG_INDEX(event->data.u64);

	vhost_fault_guard(&vm->device.memory);
	switch (VM_TAG_KIND(event->data.u64)) {
	case VM_TAG_DEVICE:
		vm_device_woken(vm, index);
		break;
	case VM_TAG_VMM:
		if (vm->device.socket_fd < 0)
			vm_attach(vm);
		break;
	case VM_TAG_HOST:
		host_accept(vm, index);
		break;
	case VM_TAG_CONNECTION:
		if (vm->slots[index])
			vm_connection_woken(vm, vm->slots[index], event->events);
		break;
	case VM_TAG_BELL:
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

int vm_next_ms(struct vm *vm)
{
	int next_ms = vm_nearer(connection_expire(vm), host_rest(vm));

	next_ms = vm_nearer(next_ms, transmit_tell_late(vm));
	next_ms = vm_nearer(next_ms, flow_late_ms(vm));
	return vm_nearer(vm_nearer(next_ms, flow_expire(vm)), transmit_rest(vm));
}

void vm_serve(struct vm *vm)
{
	struct error error = { 0 };

	vhost_fault_guard(&vm->device.memory);
	flow_read_mail(vm);
	if (__atomic_exchange_n(&vm->retries, false, __ATOMIC_ACQ_REL))
		flow_resume(vm);
	flow_pass_late(vm);
	if (__atomic_exchange_n(&vm->rules_changed, false, __ATOMIC_ACQ_REL)) {
		flow_end_denied(vm);
		host_end_denied(vm);
	}
	transmit_run(vm);
	receive_run(vm);
	flow_wake_waiters(vm);
	vm_check_queues(vm);
	if (vhost_device_check(&vm->device, &error) < 0)
		vm_detach(vm, error.text);
}

/* Guests learn that their connections are over, as far as they have receive buffers. */
static void vm_say_farewell(struct vm *vm)
{
	for (uint32_t slot = 0; slot < vm->connections_max; slot++)
		if (vm->slots[slot] && vm->slots[slot]->state != CONNECTION_GREETING &&
		    vm->slots[slot]->state != CONNECTION_DRAINING)
			connection_reset(vm, vm->slots[slot]);
	flow_end_all(vm, true);
	while (receive_is_pending(vm))
		receive_run(vm);
}

static int vm_watch(struct vm *vm, int fd, enum vm_tag kind, uint32_t index, struct error *error)
{
	int status = vhost_wait_add(&vm->worker->wait, fd, EPOLLIN, VM_TAG(kind, vm->slot, index));

	return status < 0 ? error_set(error, status, "epoll: %s", strerror(-status)) : 0;
}

/* Where host programs connect that speak in messages; "" when the name would be too long. */
static void vm_messages_path(const struct vm *vm, char *path, size_t size)
{
	int bytes = snprintf(path, size, "%s%s", vm->own.host_socket, VM_MESSAGES_SUFFIX);

	if (bytes < 0 || (size_t)bytes >= size)
		path[0] = '\0';
}

static int vm_listen(struct vm *vm, struct error *error)
{
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	int *listeners = vm->host_listeners;
	int status;

	vm->vmm_listener = io_unix_listen(vm->own.socket, VM_SOCKET_MODE, error);
	if (vm->vmm_listener < 0)
		return vm->vmm_listener;
	listeners[VM_HOST_STREAMS] = io_unix_listen(vm->own.host_socket, VM_SOCKET_MODE, error);
	if (listeners[VM_HOST_STREAMS] < 0)
		return listeners[VM_HOST_STREAMS];
	status = vm_watch(vm, vm->vmm_listener, VM_TAG_VMM, 0, error);
	if (status == 0)
		status = vm_watch(vm, listeners[VM_HOST_STREAMS], VM_TAG_HOST, VM_HOST_STREAMS,
				  error);
	vm_messages_path(vm, path, sizeof(path));
	if (status < 0)
		return status;
	if (!*path) {
		log_warning("VM '%s': '%s' is too long for '%s' behind it: no messages from "
			    "host programs",
			    vm->own.name, vm->own.host_socket, VM_MESSAGES_SUFFIX);
		return 0;
	}
	listeners[VM_HOST_MESSAGES] = io_unix_listen_packets(path, VM_SOCKET_MODE, error);
	if (listeners[VM_HOST_MESSAGES] < 0)
		return listeners[VM_HOST_MESSAGES];
	return vm_watch(vm, listeners[VM_HOST_MESSAGES], VM_TAG_HOST, VM_HOST_MESSAGES, error);
}

int vm_open(struct vm *vm, struct worker *worker, unsigned int slot, struct error *error)
{
	int status;

	vm->worker = worker;
	vm->slot = slot;
	vhost_device_init(&vm->device, &vm_device_ops, vm, &worker->wait,
			  VM_TAG(VM_TAG_DEVICE, slot, 0));
	status = vm_listen(vm, error);
	if (status < 0) {
		error_prefix(error, "VM '%s'", vm->own.name);
		vm_close(vm);
	}
	return status;
}

static void vm_close_listener(struct vm *vm, int *fd, const char *path)
{
	if (*fd < 0)
		return;
	vhost_wait_remove(&vm->worker->wait, *fd);
	close(*fd);
	unlink(path);
	*fd = -1;
}

void vm_close(struct vm *vm)
{
	char messages[sizeof(((struct sockaddr_un *)NULL)->sun_path)];

	__atomic_store_n(&vm->gone, true, __ATOMIC_RELEASE);
	vhost_fault_guard(&vm->device.memory);
	vm_say_farewell(vm);
	vm_end_session(vm);
	flow_wait_for_ends(vm);
	vhost_fault_guard(NULL);
	vm_close_listener(vm, &vm->vmm_listener, vm->own.socket);
	vm_close_listener(vm, &vm->host_listeners[VM_HOST_STREAMS], vm->own.host_socket);
	vm_messages_path(vm, messages, sizeof(messages));
	vm_close_listener(vm, &vm->host_listeners[VM_HOST_MESSAGES], messages);
}

void vm_lock(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
}

void vm_unlock(struct vm *vm)
{
	pthread_mutex_unlock(&vm->lock);
}

static void vm_free(struct vm *vm)
{
	pthread_mutex_destroy(&vm->lock);
	pthread_mutex_destroy(&vm->flows_lock);
	pthread_mutex_destroy(&vm->mail_lock);
	free(vm->own.name);
	free(vm->own.socket);
	free(vm->own.host_socket);
	free(vm->slots);
	free(vm->kept);
	free(vm);
}

struct vm *vm_create(struct vsock_switch *sw, const struct settings_vm *own)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	if (!vm)
		return NULL;
	vm->sw = sw;
	vm->references = 1;
	vm->vmm_listener = -1;
	vm->host_listeners[VM_HOST_STREAMS] = vm->host_listeners[VM_HOST_MESSAGES] = -1;
	pthread_mutex_init(&vm->lock, NULL);
	pthread_mutex_init(&vm->flows_lock, NULL);
	pthread_mutex_init(&vm->mail_lock, NULL);
	TAILQ_INIT(&vm->waiters);
	TAILQ_INIT(&vm->mail);
	TAILQ_INIT(&vm->blocked);
	TAILQ_INIT(&vm->farewells);
	TAILQ_INIT(&vm->tellings);
	TAILQ_INIT(&vm->late_credits);
	TAILQ_INIT(&vm->timed_flows);
	TAILQ_INIT(&vm->ready);
	TAILQ_INIT(&vm->timed);
	vm->next_host_port = VM_HOST_PORT_FIRST;
	vm->own = *own;
	limiter_set(&vm->limiter, own->limit_bytes_per_s);
	vm->own.name = strdup(own->name);
	vm->own.socket = strdup(own->socket);
	vm->own.host_socket = strdup(own->host_socket);
	vm->connections_max = sw->settings->connections;
	vm->slots = calloc(vm->connections_max, sizeof(vm->slots[0]));
	if (!vm->slots || !vm->own.name || !vm->own.socket || !vm->own.host_socket) {
		vm_free(vm);
		return NULL;
	}
	vhost_device_init(&vm->device, &vm_device_ops, vm, NULL, 0);
	return vm;
}

void vm_get(struct vm *vm)
{
	__atomic_add_fetch(&vm->references, 1, __ATOMIC_RELAXED);
}

void vm_put(struct vm *vm)
{
	if (__atomic_sub_fetch(&vm->references, 1, __ATOMIC_ACQ_REL) == 0)
		vm_free(vm);
}

void vm_flow_each(struct vm *vm, void (*visit)(const struct vm_flow *flow, void *context),
		  void *context)
{
	pthread_mutex_lock(&vm->flows_lock);
	for (uint32_t slot = 0; slot < vm->connections_max; slot++)
		if (vm->slots[slot])
			connection_visit(vm->slots[slot], visit, context);
	for (unsigned int i = 0; i < VM_PORT_BUCKETS; i++)
		for (const struct flow_end *end = vm->flows[i]; end; end = end->bucket_next)
			flow_visit(end, visit, context);
	pthread_mutex_unlock(&vm->flows_lock);
}
