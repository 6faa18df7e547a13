/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes, who sees whom under which number, and the notes that loops leave each other. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "scif/fabric/fabric.h"

uint64_t fabric_clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int inbox_init(struct inbox *inbox)
{
	memset(inbox, 0, sizeof(*inbox));
	pthread_mutex_init(&inbox->lock, NULL);
	TAILQ_INIT(&inbox->endpoints);
	TAILQ_INIT(&inbox->released);
	inbox->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return inbox->wake_fd < 0 ? -errno : 0;
}

void inbox_destroy(struct inbox *inbox)
{
	if (inbox->wake_fd >= 0)
		close(inbox->wake_fd);
	pthread_mutex_destroy(&inbox->lock);
}

void inbox_wake(struct inbox *inbox)
{
	static const uint64_t one = 1;

	atomic_store(&inbox->full, true);
	if (!atomic_exchange(&inbox->sleeping, false))
		return;
	/* A counter that is full is a wake-up as well. */
	if (write(inbox->wake_fd, &one, sizeof(one)) < 0)
		return;
}

struct node *node_create(struct fabric *fabric, unsigned int number, enum node_kind kind,
			 const char *name, struct inbox *inbox)
{
	struct node *node = calloc(1, sizeof(*node));

	if (node)
		node->ports = calloc(FABRIC_PORTS, sizeof(node->ports[0]));
	if (!node || !node->ports) {
		free(node);
		return NULL;
	}
	node->fabric = fabric;
	node->number = number;
	node->kind = kind;
	node->inbox = inbox;
	node->next_port = FABRIC_PORT_ANY_FIRST;
	node->online = true;
	node->visible = 1ull << number;
	node->limits = (struct node_limits){ UINT32_MAX, UINT32_MAX, UINT64_MAX, 0 };
	snprintf(node->name, sizeof(node->name), "%s", name);
	snprintf(node->tenant, sizeof(node->tenant), "%s", name);
	TAILQ_INIT(&node->endpoints);
	TAILQ_INIT(&node->accepted);
	fabric->nodes[number] = node;
	return node;
}

unsigned int node_seen(const struct node *node, unsigned int number)
{
	if (node->kind != NODE_VM || node->card_vm)
		return number;
	if (number == node->number)
		return FABRIC_NODE_HOST;
	return number == FABRIC_NODE_HOST ? node->number : number;
}

bool node_is_card(const struct node *node)
{
	return node->kind == NODE_CARD || node->card_vm;
}

struct node *node_find(const struct node *node, unsigned int seen)
{
	unsigned int number = node_seen(node, seen);
	struct node *found = number < FABRIC_NODES_MAX ? node->fabric->nodes[number] : NULL;

	return found && found->online && (node->visible >> number & 1) ? found : NULL;
}

static void node_tell_all(struct fabric *fabric)
{
	for (unsigned int i = 0; i < fabric->inbox_count; i++) {
		atomic_store(&fabric->inboxes[i]->nodes_changed, true);
		inbox_wake(fabric->inboxes[i]);
	}
}

void node_driver_gone(struct node *node)
{
	struct fabric *fabric = node->fabric;

	atomic_fetch_add(&node->generation, 1);
	pthread_mutex_lock(&fabric->lock);
	for (unsigned int i = 0; i < fabric->inbox_count; i++) {
		atomic_store(&fabric->inboxes[i]->windows_gone, true);
		inbox_wake(fabric->inboxes[i]);
	}
	pthread_mutex_unlock(&fabric->lock);
}

void node_set_online(struct node *node, bool online)
{
	struct fabric *fabric = node->fabric;
	struct endpoint *endpoint, *next;

	pthread_mutex_lock(&fabric->lock);
	node->online = online;
	/* Cutting off a listener may remove others from the list, never itself. */
	for (endpoint = TAILQ_FIRST(&node->endpoints); endpoint && !online; endpoint = next) {
		endpoint_cut_off(endpoint);
		next = TAILQ_NEXT(endpoint, node_link);
	}
	snprintf(node->card.state, sizeof(node->card.state), "%s", online ? "online" : "ready");
	pthread_mutex_unlock(&fabric->lock);
	if (!online)
		copy_abort_node(node);
	node_tell_all(fabric);
}

int fabric_init(struct fabric *fabric, unsigned int workers)
{
	pthread_condattr_t attributes;

	memset(fabric, 0, sizeof(*fabric));
	pthread_mutex_init(&fabric->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&fabric->work, &attributes);
	pthread_cond_init(&fabric->quiet, &attributes);
	pthread_condattr_destroy(&attributes);
	TAILQ_INIT(&fabric->active);
	fabric->since = (uint64_t)time(NULL);
	return copy_start_workers(fabric, workers);
}

void fabric_destroy(struct fabric *fabric)
{
	copy_stop_workers(fabric);
	for (unsigned int i = 0; i < FABRIC_NODES_MAX; i++) {
		if (fabric->nodes[i])
			free(fabric->nodes[i]->ports);
		free(fabric->nodes[i]);
	}
	pthread_cond_destroy(&fabric->work);
	pthread_cond_destroy(&fabric->quiet);
	pthread_mutex_destroy(&fabric->lock);
}
