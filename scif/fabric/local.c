/* SPDX-License-Identifier: Apache-2.0 */
/* The loop of host and card processes: sockets that connect, messages, notes. See local.h. */
#include "scif/fabric/local.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/log.h"

#define LOCAL_EVENTS_PER_TURN 64
#define LOCAL_SOCKET_MODE     0660
#define LOCAL_CARD_FAMILY     "x200" /* COI then loads ordinary x86-64 programs */

enum local_tag { LOCAL_TAG_STOP, LOCAL_TAG_INBOX, LOCAL_TAG_LISTENER, LOCAL_TAG_SESSION };

#define LOCAL_TAG(kind, index) ((uint64_t)(kind) << 32 | (index))

static bool local_is_pending(void *context)
{
	struct local *local = context;

	return atomic_load_explicit(&local->inbox.full, memory_order_relaxed);
}

static void local_arm(void *context, bool sleeping)
{
	struct local *local = context;

	atomic_store(&local->inbox.sleeping, sleeping);
}

void local_end(struct local *local, struct session *session)
{
	vhost_wait_remove(&local->wait, session->fd);
	local->sessions[session->slot] = NULL;
	for (uint32_t i = 0; session->joined && i < local->session_room; i++) {
		if (local->sessions[i] && local->sessions[i]->of == session)
			local->sessions[i]->of = NULL;
	}
	local_drop(session);
	close(session->fd);
	free(session);
}

/* A slot for one more session; -ENOMEM without memory. */
static int64_t local_free_slot(struct local *local)
{
	uint32_t slot = 0, room;
	struct session **larger;

	while (slot < local->session_room && local->sessions[slot])
		slot++;
	if (slot < local->session_room)
		return slot;
	room = slot ? slot * 2 : 64;
	larger = realloc(local->sessions, room * sizeof(larger[0]));
	if (!larger)
		return -ENOMEM;
	memset(larger + slot, 0, (room - slot) * sizeof(larger[0]));
	local->sessions = larger;
	local->session_room = room;
	return slot;
}

static void local_accept(struct local *local, const struct local_listener *listener)
{
	int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), on = 1;
	struct session *session = fd < 0 ? NULL : calloc(1, sizeof(*session));
	struct ucred peer = { 0 };
	socklen_t bytes = sizeof(peer);
	int64_t slot = session ? local_free_slot(local) : -ENOMEM;

	if (fd < 0)
		return;
	if (slot < 0 || setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) < 0 ||
	    vhost_wait_add(&local->wait, fd, EPOLLIN,
			   LOCAL_TAG(LOCAL_TAG_SESSION, (uint64_t)slot)) < 0) {
		log_error("cannot serve a process of user %u: %s", peer.uid, strerror(errno));
		close(fd);
		free(session);
		return;
	}
	session->fd = fd;
	session->slot = (uint32_t)slot;
	session->node = listener->node;
	session->user = peer.uid;
	TAILQ_INIT(&session->calls);
	TAILQ_INIT(&session->maps);
	local->sessions[slot] = session;
}

static void local_dispatch(struct local *local, const struct epoll_event *event)
{
	uint32_t index = (uint32_t)event->data.u64;

	switch ((enum local_tag)(event->data.u64 >> 32)) {
	case LOCAL_TAG_STOP:
		local->stopping = true;
		break;
	case LOCAL_TAG_INBOX:
		break; /* each turn empties it */
	case LOCAL_TAG_LISTENER:
		local_accept(local, &local->listeners[index]);
		break;
	case LOCAL_TAG_SESSION:
		/* The slot may have a new owner: its socket is then merely looked at. */
		if (local->sessions[index] && !local_serve(local, local->sessions[index]))
			local_end(local, local->sessions[index]);
		break;
	}
}

static void local_empty_inbox(struct local *local)
{
	struct inbox *inbox = &local->inbox;
	struct endpoint *endpoint;

	if (!atomic_exchange(&inbox->full, false))
		return;
	pthread_mutex_lock(&inbox->lock);
	while ((endpoint = TAILQ_FIRST(&inbox->endpoints))) {
		TAILQ_REMOVE(&inbox->endpoints, endpoint, inbox_link);
		pthread_mutex_unlock(&inbox->lock);
		atomic_store(&endpoint->notified, false);
		local_try(endpoint);
		endpoint_put(endpoint);
		pthread_mutex_lock(&inbox->lock);
	}
	pthread_mutex_unlock(&inbox->lock);
}

void local_turn(struct local *local, int timeout_ms)
{
	const struct vhost_wait_work work = { local_is_pending, local_arm, local };
	struct epoll_event events[LOCAL_EVENTS_PER_TURN];
	int count;

	count = vhost_wait_events(&local->wait, &work, events, LOCAL_EVENTS_PER_TURN, timeout_ms);
	for (int i = 0; i < count; i++)
		local_dispatch(local, &events[i]);
	local_empty_inbox(local);
}

void local_run(struct local *local)
{
	vhost_wait_promptly();
	while (!local->stopping)
		local_turn(local, -1);
	for (uint32_t i = 0; i < local->session_room; i++) {
		if (local->sessions[i])
			local_end(local, local->sessions[i]);
	}
}

void local_stop(struct local *local)
{
	static const uint64_t one = 1;

	if (write(local->stop_fd, &one, sizeof(one)) < 0)
		log_error("cannot stop serving processes: %s", strerror(errno));
}

static int local_listen(struct local *local, struct node *node, const char *path,
			struct error *error)
{
	struct local_listener *listener = &local->listeners[local->listener_count];
	int fd = io_unix_listen_packets(path, LOCAL_SOCKET_MODE, error), status;

	if (fd < 0)
		return fd;
	*listener = (struct local_listener){ fd, path, node };
	status = vhost_wait_add(&local->wait, fd, EPOLLIN,
				LOCAL_TAG(LOCAL_TAG_LISTENER, local->listener_count));
	local->listener_count++;
	return status < 0 ? error_set(error, status, "epoll: %s", strerror(-status)) : 0;
}

void local_describe_card(struct node *node, const struct settings_card *card)
{
	node->card = (struct scif_virtio_card){
		.node = (__le16)node->number,
		.vendor = 0x8086,
		.device = 0x2262,
		.subsystem_device = 0x7495,
		.cores = card->cores,
		.memsize = card->memory_bytes,
		.family = LOCAL_CARD_FAMILY,
		.stepping = "B0",
		.sku = "causeway",
		.state = "online",
		.mode = "linux",
	};
}

static int local_open_nodes(struct local *local, const struct settings *settings,
			    struct error *error)
{
	struct node *host =
		node_create(local->fabric, FABRIC_NODE_HOST, NODE_HOST, "host", &local->inbox);
	int status = host ? 0 : error_set(error, -ENOMEM, "out of memory");

	if (status == 0 && settings->socket)
		status = local_listen(local, host, settings->socket, error);
	for (unsigned int i = 0; i < settings->card_count && status == 0; i++) {
		const struct settings_card *card = &settings->cards[i];
		struct node *node;

		if (card->vm.socket)
			continue; /* its loop is its own: main.c */
		node = node_create(local->fabric, 1 + i, NODE_CARD, card->name, &local->inbox);
		if (!node)
			return error_set(error, -ENOMEM, "out of memory");
		local_describe_card(node, card);
		node->device = card->device;
		node->device_node = card->device_node;
		node->visible = host->visible = UINT64_MAX;
		if (card->socket)
			status = local_listen(local, node, card->socket, error);
	}
	if (host)
		host->visible = UINT64_MAX;
	return status;
}

struct local *local_create(struct fabric *fabric, const struct settings *settings,
			   struct error *error)
{
	struct local *local = calloc(1, sizeof(*local));
	int status = local ? inbox_init(&local->inbox) : -ENOMEM;

	if (status < 0) {
		error_set(error, status, "cannot serve processes: %s", strerror(-status));
		free(local);
		return NULL;
	}
	local->fabric = fabric;
	local->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	local->wait.epoll_fd = -1;
	status = local->stop_fd < 0 ? -errno : vhost_wait_init(&local->wait, settings->spin_us);
	if (status == 0)
		status = vhost_wait_add(&local->wait, local->stop_fd, EPOLLIN,
					LOCAL_TAG(LOCAL_TAG_STOP, 0));
	if (status == 0)
		status = vhost_wait_add(&local->wait, local->inbox.wake_fd, EPOLLIN | EPOLLET,
					LOCAL_TAG(LOCAL_TAG_INBOX, 0));
	if (status < 0)
		error_set(error, status, "cannot serve processes: %s", strerror(-status));
	else
		status = local_open_nodes(local, settings, error);
	if (status < 0) {
		local_destroy(local);
		return NULL;
	}
	return local;
}

void local_destroy(struct local *local)
{
	for (unsigned int i = 0; i < local->listener_count; i++) {
		close(local->listeners[i].fd);
		unlink(local->listeners[i].path);
	}
	if (local->stop_fd >= 0)
		close(local->stop_fd);
	if (local->wait.epoll_fd >= 0)
		vhost_wait_close(&local->wait);
	inbox_destroy(&local->inbox);
	free(local->sessions);
	free(local);
}
