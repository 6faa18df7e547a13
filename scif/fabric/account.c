/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each node has sent, received, copied and pinned since the last time, every interval_s
 * seconds; see account.h. Nodes stay for the daemon's life, so there is nothing to write at their
 * end but at the daemon's.
 */
#include "scif/fabric/account.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "share/journal.h"

struct account {
	struct fabric *fabric;
	struct journal *journal;
	struct event *timer;
	unsigned int interval_s;
	uint64_t looked_ms; /* when it was looked last */
	struct journal_usage written[FABRIC_NODES_MAX];
};

void account_name(struct node *node, const struct settings *settings, const struct settings_vm *vm)
{
	const struct tenant_settings *tenant =
		vm->cid ? tenants_find_cid(&settings->tenants, vm->cid) : NULL;

	static_assert(sizeof(node->tenant) >= TENANT_NAME_BYTES, "every name fits");
	if (tenant)
		strcpy(node->tenant, tenant->name);
	else
		snprintf(node->tenant, sizeof(node->tenant), "vm %s", vm->name);
}

/* account_node - what a node used since the last time; under the fabric's lock */
static void account_node(struct account *account, const struct node *node, uint64_t passed_ms)
{
	const struct journal_client who = { node->tenant, node->name, node->number,
					    (time_t)account->fabric->since };
	uint64_t *written = account->written[node->number].counters;
	const uint64_t now[JOURNAL_COUNTERS] = {
		[JOURNAL_CALLS] = node->calls,
		[JOURNAL_IN_BYTES] = node->sent_bytes,
		[JOURNAL_OUT_BYTES] = node->received_bytes,
		[JOURNAL_WITHIN_BYTES] = node->copied_bytes,
		[JOURNAL_MEMORY_BYTE_MS] =
			written[JOURNAL_MEMORY_BYTE_MS] + node->pinned_bytes * passed_ms,
	};
	struct journal_usage more = { 0 };
	bool any = false;

	for (int i = 0; i < JOURNAL_COUNTERS; i++) {
		more.counters[i] = now[i] - written[i];
		written[i] = now[i];
		any |= more.counters[i] != 0;
	}
	if (any)
		journal_add(account->journal, &who, &more);
}

static void account_look(struct account *account)
{
	struct timespec now;
	uint64_t now_ms;

	clock_gettime(CLOCK_MONOTONIC, &now);
	now_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
	pthread_mutex_lock(&account->fabric->lock);
	for (unsigned int i = 0; i < FABRIC_NODES_MAX; i++) {
		if (account->fabric->nodes[i])
			account_node(account, account->fabric->nodes[i],
				     now_ms - account->looked_ms);
	}
	pthread_mutex_unlock(&account->fabric->lock);
	account->looked_ms = now_ms;
	journal_commit(account->journal);
}

static void account_tick(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	account_look(context);
}

int account_open(struct account **opened, struct event_base *base, struct fabric *fabric,
		 const struct settings *settings, struct error *error)
{
	const struct timeval interval = { settings->accounting.interval_s, 0 };
	struct account *account;
	struct timespec now;
	int status = -ENOMEM;

	if (!settings->accounting.path)
		return 0;
	account = calloc(1, sizeof(*account));
	if (account)
		account->timer = event_new(base, -1, EV_PERSIST, account_tick, account);
	if (account && account->timer)
		status = journal_open(&account->journal, "scifd", &settings->accounting);
	if (status < 0) {
		if (account && account->timer)
			event_free(account->timer);
		free(account);
		return error_set(error, status, "no journal: %s", strerror(-status));
	}
	account->fabric = fabric;
	clock_gettime(CLOCK_MONOTONIC, &now);
	account->looked_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
	event_add(account->timer, &interval);
	*opened = account;
	return 0;
}

void account_close(struct account *account)
{
	if (!account)
		return;
	account_look(account);
	journal_close(account->journal);
	event_free(account->timer);
	free(account);
}
