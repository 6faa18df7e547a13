/* SPDX-License-Identifier: Apache-2.0 */
/* A VM's loop: one wait, one switch over what woke it, then queues, notes and events. */
#include "scif/fabric/guest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/log.h"
#include "lib/vhost/fault.h"

#define GUEST_EVENTS_PER_TURN 32
#define GUEST_SOCKET_MODE     0600

/* What woke the loop: the upper half of an event's tag; the lower is an index. */
enum guest_tag {
	GUEST_TAG_DEVICE,
	GUEST_TAG_STOP,
	GUEST_TAG_VMM,
	GUEST_TAG_INBOX,
};

#define GUEST_TAG(kind) ((uint64_t)(kind) << 32)

static void guest_config_read(void *context, uint32_t offset, void *to, uint32_t bytes)
{
	const struct guest *guest = context;
	struct scif_virtio_config config = {
		.version = SCIF_VIRTIO_VERSION,
		.request_queues = (__le16)guest->settings->request_queues,
		.self = 0,
		.endpoints_max = guest->own->endpoints,
		.windows_max = guest->own->windows,
		.pinned_bytes_max = guest->own->pinned_bytes,
	};

	memcpy(to, (unsigned char *)&config + offset, bytes);
}

static bool guest_runs(struct guest *guest)
{
	for (unsigned int i = 0; i < guest->settings->request_queues; i++) {
		if (vhost_device_queue(&guest->device, SCIF_VIRTIO_QUEUE_REQUEST + i)->ready)
			return true;
	}
	return false;
}

static void guest_queue_started(void *context, unsigned int index)
{
	struct guest *guest = context;
	struct call *call, *next;

	if (index == SCIF_VIRTIO_QUEUE_EVENT || !guest->resting)
		return;
	guest->resting = false;
	copy_rest_node(guest->node, false);
	guest_flush(guest);
	for (call = TAILQ_FIRST(&guest->calls); call; call = next) {
		next = TAILQ_NEXT(call, all_link);
		if (call->endpoint && call_run(call) != CALL_WAITS)
			guest_finish(guest, call);
	}
	/* What they were told meanwhile was not looked at: armed polls, too. */
	for (uint32_t i = 0; i < guest->slot_count; i++) {
		if (guest->slots[i])
			guest_try(guest, guest->slots[i]);
	}
}

static void guest_queue_stopped(void *context, unsigned int index)
{
	struct guest *guest = context;

	if (index == SCIF_VIRTIO_QUEUE_EVENT || guest->resting || guest_runs(guest))
		return;
	guest->resting = true;
	copy_rest_node(guest->node, true);
}

/* Each turn serves the queues anyway. */
static void guest_queue_kicked(void *context, unsigned int index)
{
	(void)context;
	(void)index;
}

static void guest_reset(void *context)
{
	struct guest *guest = context;

	log_debug("VM '%s': its driver starts anew", guest->own->name);
	guest_drop_all(guest);
}

static void guest_shm_done(void *context, void *token, int status)
{
	struct guest *guest = context;

	guest_map_answered(guest, token, status);
	if (guest->cuts_due)
		guest_map_cut_gone(guest);
}

/* Whether there is anything to do but the copy that it does itself; looks at memory alone. */
static bool guest_has_work(void *context)
{
	struct guest *guest = context;
	const struct endpoint *endpoint;
	unsigned int count = 0;

	if (atomic_load_explicit(&guest->inbox.full, memory_order_relaxed))
		return true;
	for (unsigned int i = 0; i < guest->settings->request_queues; i++) {
		if (vhost_queue_has_work(
			    vhost_device_queue(&guest->device, SCIF_VIRTIO_QUEUE_REQUEST + i)))
			return true;
	}
	TAILQ_FOREACH(endpoint, &guest->watch, watch_link)
	{
		if (count++ == GUEST_WATCHED || guest->resting)
			break;
		if (guest_watch_changed(endpoint))
			return true;
	}
	return guest_has_events(guest) &&
	       vhost_queue_has_work(vhost_device_queue(&guest->device, SCIF_VIRTIO_QUEUE_EVENT));
}

bool guest_is_pending(void *context)
{
	const struct guest *guest = context;

	return guest->node->own_copy || guest_has_work(context);
}

static void guest_arm(void *context, bool sleeping)
{
	struct guest *guest = context;
	struct endpoint *endpoint;
	unsigned int count = 0;

	for (unsigned int i = 0; i < guest->settings->request_queues; i++)
		vhost_queue_want_kicks(
			vhost_device_queue(&guest->device, SCIF_VIRTIO_QUEUE_REQUEST + i),
			sleeping);
	vhost_queue_want_kicks(vhost_device_queue(&guest->device, SCIF_VIRTIO_QUEUE_EVENT),
			       sleeping && guest_has_events(guest));
	TAILQ_FOREACH(endpoint, &guest->watch, watch_link)
	{
		if (count++ == GUEST_WATCHED)
			break;
		__atomic_store_n(&endpoint->rx->shared->waiting, sleeping, __ATOMIC_RELAXED);
	}
	atomic_store(&guest->inbox.sleeping, sleeping);
}

/* One VMM at a time: the listener rests while one is attached. */
static void guest_attach(struct guest *guest)
{
	int fd = accept4(guest->listener, NULL, NULL, SOCK_CLOEXEC), status;

	if (fd < 0)
		return;
	status = vhost_device_attach(&guest->device, fd);
	if (status < 0) {
		log_error("VM '%s': cannot serve its VMM: %s", guest->own->name, strerror(-status));
		return;
	}
	vhost_wait_remove(&guest->wait, guest->listener);
	log_info("VM '%s': VMM attached", guest->own->name);
}

static void guest_detach(struct guest *guest, const char *why)
{
	log_info("VM '%s': VMM detached: %s", guest->own->name, why);
	guest_drop_all(guest);
	vhost_device_detach(&guest->device);
	vhost_wait_add(&guest->wait, guest->listener, EPOLLIN, GUEST_TAG(GUEST_TAG_VMM));
}

static void guest_dispatch(struct guest *guest, const struct epoll_event *event)
{
	struct error error = { 0 };

	switch ((enum guest_tag)(event->data.u64 >> 32)) {
	case GUEST_TAG_DEVICE:
		if (vhost_device_woken(&guest->device, (uint32_t)event->data.u64, &error) < 0)
			guest_detach(guest, error.text);
		break;
	case GUEST_TAG_STOP:
		guest->stopping = true;
		break;
	case GUEST_TAG_VMM:
		if (guest->device.socket_fd < 0)
			guest_attach(guest);
		break;
	case GUEST_TAG_INBOX:
		guest_watch_check(guest);
		break;
	}
}

static void guest_empty_inbox(struct guest *guest)
{
	struct inbox *inbox = &guest->inbox;
	struct window_list released;
	struct endpoint *endpoint;
	struct window *window;

	if (!atomic_exchange(&inbox->full, false))
		return;
	if (atomic_exchange(&inbox->nodes_changed, false))
		guest->nodes_due = true;
	if (atomic_exchange(&inbox->windows_gone, false))
		guest_map_cut_gone(guest);
	TAILQ_INIT(&released);
	pthread_mutex_lock(&inbox->lock);
	TAILQ_CONCAT(&released, &inbox->released, link);
	while ((endpoint = TAILQ_FIRST(&inbox->endpoints))) {
		TAILQ_REMOVE(&inbox->endpoints, endpoint, inbox_link);
		pthread_mutex_unlock(&inbox->lock);
		atomic_store(&endpoint->notified, false);
		guest_try(guest, endpoint);
		endpoint_put(endpoint);
		pthread_mutex_lock(&inbox->lock);
	}
	pthread_mutex_unlock(&inbox->lock);
	while ((window = TAILQ_FIRST(&released))) {
		TAILQ_REMOVE(&released, window, link);
		if (window->cookie && window->generation == guest->node->generation)
			TAILQ_INSERT_TAIL(&guest->released, window, link);
		else
			free(window);
	}
}

static void guest_watch_newest(struct guest *guest)
{
	struct endpoint *endpoint, *next;
	unsigned int count = 0;

	for (endpoint = TAILQ_FIRST(&guest->watch); endpoint && count < GUEST_WATCHED;
	     endpoint = next, count++) {
		next = TAILQ_NEXT(endpoint, watch_link);
		if (guest_watch_changed(endpoint))
			guest_try(guest, endpoint);
	}
}

void guest_turn(struct guest *guest, int timeout_ms)
{
	const struct vhost_wait_work work = { guest_is_pending, guest_arm, guest };
	struct epoll_event events[GUEST_EVENTS_PER_TURN];
	struct error error = { 0 };
	int count;

	count = vhost_wait_events(&guest->wait, &work, events, GUEST_EVENTS_PER_TURN, timeout_ms);
	for (int i = 0; i < count; i++)
		guest_dispatch(guest, &events[i]);
	guest_serve(guest);
	guest_empty_inbox(guest);
	guest_watch_newest(guest);
	guest_send_events(guest);
	for (unsigned int i = 0; i <= guest->settings->request_queues; i++)
		vhost_queue_notify(vhost_device_queue(&guest->device, i));
	if (vhost_device_check(&guest->device, &error) < 0)
		guest_detach(guest, error.text);
	copy_own_turn(guest->node, guest_has_work, guest);
}

void guest_run(struct guest *guest)
{
	vhost_wait_promptly();
	vhost_fault_guard(&guest->device.memory);
	while (!guest->stopping)
		guest_turn(guest, -1);
	guest_drop_all(guest);
	vhost_device_detach(&guest->device);
	vhost_fault_guard(NULL);
}

void guest_stop(struct guest *guest)
{
	static const uint64_t one = 1;

	if (write(guest->stop_fd, &one, sizeof(one)) < 0)
		log_error("VM '%s': cannot be stopped: %s", guest->own->name, strerror(errno));
}

static int guest_open_loop(struct guest *guest, struct error *error)
{
	int status = vhost_wait_init(&guest->wait, guest->settings->spin_us);

	if (status < 0)
		return error_set(error, status, "no epoll instance: %s", strerror(-status));
	guest->listener = io_unix_listen(guest->own->socket, GUEST_SOCKET_MODE, error);
	if (guest->listener < 0)
		return guest->listener;
	guest->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (guest->stop_fd < 0)
		return error_set(error, -errno, "no event descriptor: %s", strerror(errno));
	status = vhost_wait_add(&guest->wait, guest->listener, EPOLLIN, GUEST_TAG(GUEST_TAG_VMM));
	if (status == 0)
		status = vhost_wait_add(&guest->wait, guest->stop_fd, EPOLLIN,
					GUEST_TAG(GUEST_TAG_STOP));
	if (status == 0)
		status = vhost_wait_add(&guest->wait, guest->inbox.wake_fd, EPOLLIN | EPOLLET,
					GUEST_TAG(GUEST_TAG_INBOX));
	return status < 0 ? error_set(error, status, "epoll: %s", strerror(-status)) : 0;
}

static void guest_set_ops(struct guest *guest)
{
	guest->ops = (struct vhost_device_ops){
		.features = VIRTIO_RING_F_INDIRECT_DESC | VIRTIO_RING_F_EVENT_IDX,
		.queue_count = 1 + guest->settings->request_queues,
		.config_bytes = sizeof(struct scif_virtio_config),
		.config_read = guest_config_read,
		.queue_started = guest_queue_started,
		.queue_stopped = guest_queue_stopped,
		.queue_kicked = guest_queue_kicked,
		.reset = guest_reset,
		.shm_bytes = guest->settings->shm_bytes,
		.shm_done = guest_shm_done,
	};
}

struct guest *guest_create(struct fabric *fabric, const struct settings *settings,
			   const struct settings_vm *own, unsigned int number, struct error *error)
{
	struct guest *guest = calloc(1, sizeof(*guest));
	int status = guest ? inbox_init(&guest->inbox) : -ENOMEM;

	if (status < 0) {
		error_set(error, status, "VM '%s': %s", own->name, strerror(-status));
		free(guest);
		return NULL;
	}
	guest->settings = settings;
	guest->own = own;
	guest->wait.epoll_fd = guest->stop_fd = guest->listener = -1;
	TAILQ_INIT(&guest->calls);
	TAILQ_INIT(&guest->finished);
	TAILQ_INIT(&guest->watch);
	TAILQ_INIT(&guest->events);
	TAILQ_INIT(&guest->released);
	TAILQ_INIT(&guest->maps);
	guest_set_ops(guest);
	vhost_device_init(&guest->device, &guest->ops, guest, &guest->wait,
			  GUEST_TAG(GUEST_TAG_DEVICE));
	guest->node = node_create(fabric, number, NODE_VM, own->name, &guest->inbox);
	if (!guest->node)
		error_set(error, -ENOMEM, "out of memory");
	if (!guest->node || guest_open_loop(guest, error) < 0) {
		error_prefix(error, "VM '%s'", own->name);
		guest_destroy(guest);
		return NULL;
	}
	guest->node->limits = (struct node_limits){ own->endpoints, own->windows, own->pinned_bytes,
						    own->bytes_per_second };
	fabric->inboxes[fabric->inbox_count++] = &guest->inbox;
	return guest;
}

/* Nobody leaves notes any more. */
static void guest_forget_inbox(struct guest *guest)
{
	struct fabric *fabric = guest->node->fabric;

	pthread_mutex_lock(&fabric->lock);
	for (unsigned int i = 0; i < fabric->inbox_count; i++) {
		if (fabric->inboxes[i] == &guest->inbox)
			fabric->inboxes[i--] = fabric->inboxes[--fabric->inbox_count];
	}
	pthread_mutex_unlock(&fabric->lock);
}

void guest_destroy(struct guest *guest)
{
	if (guest->node) {
		guest_drop_all(guest);
		guest_forget_inbox(guest);
	}
	vhost_device_detach(&guest->device);
	guest_empty_inbox(guest);
	if (guest->listener >= 0) {
		close(guest->listener);
		unlink(guest->own->socket);
	}
	if (guest->stop_fd >= 0)
		close(guest->stop_fd);
	if (guest->wait.epoll_fd >= 0)
		vhost_wait_close(&guest->wait);
	inbox_destroy(&guest->inbox);
	free(guest->slots);
	free(guest);
}
