/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose a node is, what that tenant may have of the card, and what it used, into the journal that
 * all daemons share (share/journal.h).
 *
 * The card knows its clients by their SCIF node; scifd, which gave them the numbers, tells whose
 * they are. That is asked when a node's first client comes. A program's core-seconds are written
 * down while it runs and at its end, what it waited for its cores when it begins.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/log.h"
#include "lib/control/client.h"
#include "scif/card/supervisor.h"
#include "share/journal.h"
#include "share/tenants.h"

#define WEIGHT_ONE  100u /* of the card, for a tenant's weight of 1 */
#define WEIGHT_MOST 10000u

struct accounting {
	struct tenants tenants;
	struct journal_settings settings;
	struct journal *journal;
	struct event *timer;
	char names[CARD_NODES_MAX][TENANT_NAME_BYTES]; /* "" : not asked yet */
};

static uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* report_tenant - the tenant of a node in scifd's report; false: it does not say */
static bool report_tenant(const json_t *report, unsigned int node, char name[TENANT_NAME_BYTES])
{
	const json_t *table, *found = NULL, *column, *row;
	size_t i, k, number = SIZE_MAX, tenant = SIZE_MAX;

	json_array_foreach(json_object_get(report, "tables"), i, table)
	{
		const char *is = json_string_value(json_object_get(table, "name"));

		if (is && !strcmp(is, "node"))
			found = table;
	}
	json_array_foreach(json_object_get(found, "columns"), k, column)
	{
		const char *is = json_string_value(json_object_get(column, "name"));

		if (is && !strcmp(is, "node"))
			number = k;
		else if (is && !strcmp(is, "tenant"))
			tenant = k;
	}
	json_array_foreach(json_object_get(found, "rows"), k, row)
	{
		const char *is = json_string_value(json_array_get(row, tenant));

		if (!is || !*is || json_integer_value(json_array_get(row, number)) != (int)node)
			continue;
		snprintf(name, TENANT_NAME_BYTES, "%.63s", is);
		return true;
	}
	return false;
}

/* account_ask - scifd whose that node is; the node itself where that is not known */
static void account_ask(struct supervisor *supervisor, unsigned int node)
{
	struct accounting *accounting = supervisor->accounting;
	const char *scifd = supervisor->settings->scifd;
	struct error error = { 0 };
	json_t *answer = NULL;
	bool told = false;

	if (scifd && control_ask(scifd, json_pack("{s:s}", "command", "status"), &answer, &error))
		log_warning("whose node %u is: %s", node, error.text);
	if (answer)
		told = report_tenant(answer, node, accounting->names[node]);
	json_decref(answer);
	if (!told)
		snprintf(accounting->names[node], TENANT_NAME_BYTES, "node %u", node);
}

void account_client(struct supervisor *supervisor, unsigned int node)
{
	struct accounting *accounting = supervisor->accounting;
	const struct tenant_settings *tenant;
	struct card_share *share = &supervisor->settings->shares[node];

	if (!accounting || *accounting->names[node])
		return;
	account_ask(supervisor, node);
	tenant = tenants_find_name(&accounting->tenants, accounting->names[node]);
	if (!tenant)
		return;
	if (!share->weighed)
		share->weight = WEIGHT_ONE * tenant->weight < WEIGHT_MOST
					? WEIGHT_ONE * tenant->weight
					: WEIGHT_MOST;
	if (!share->programs)
		share->programs =
			tenant->clients < CARD_CLIENTS_MAX ? tenant->clients : CARD_CLIENTS_MAX;
	log_info("node %u is of tenant '%s': weight %u, programs %u", node, tenant->name,
		 share->weight, share->programs);
}

const char *account_tenant(const struct supervisor *supervisor, unsigned int node)
{
	return supervisor->accounting ? supervisor->accounting->names[node] : "";
}

/* account_add - more that a client used */
static void account_add(struct client *client, const struct journal_usage *more)
{
	struct accounting *accounting = client->supervisor->accounting;
	char who[CARD_NAME_MAX + 32];
	const struct journal_client is = { accounting->names[client->node], who, client->number,
					   client->since };

	snprintf(who, sizeof(who), "node %u %s", client->node, client->name);
	journal_add(accounting->journal, &is, more);
}

void account_asked(struct client *client)
{
	client->asked_ns = clock_ns();
	client->since = time(NULL);
}

void account_begun(struct client *client)
{
	struct accounting *accounting = client->supervisor->accounting;
	struct journal_usage more = { 0 };

	if (!accounting || !accounting->journal)
		return;
	more.counters[JOURNAL_LAUNCHES] = 1;
	more.counters[JOURNAL_WAITS] = client->waited;
	if (client->waited)
		more.counters[JOURNAL_WAITED_NS] = clock_ns() - client->asked_ns;
	account_add(client, &more);
}

void account_used(struct client *client, uint64_t cpu_us)
{
	struct accounting *accounting = client->supervisor->accounting;
	struct journal_usage more = { 0 };

	if (!accounting || !accounting->journal || cpu_us <= client->written_us)
		return;
	more.counters[JOURNAL_DEVICE_NS] = (cpu_us - client->written_us) * 1000;
	client->written_us = cpu_us;
	account_add(client, &more);
	if (client->counted)
		journal_commit(accounting->journal);
}

static void account_tick(evutil_socket_t fd, short what, void *context)
{
	struct supervisor *supervisor = context;
	struct client *client;

	(void)fd;
	(void)what;
	TAILQ_FOREACH(client, &supervisor->clients, link)
	{
		if (client->granted && !client->counted)
			account_used(client, supervisor_cpu_us(client));
	}
	journal_commit(supervisor->accounting->journal);
}

/* account_read - tenants and accounting of the configuration file; 0 or -errno */
static int account_read(struct accounting *accounting, const char *path, struct error *error)
{
	struct config config;
	int status = config_load(&config, path, error);

	if (status < 0)
		return status;
	status = tenants_read(&accounting->tenants, &config, error);
	if (status == 0)
		status = journal_settings_read(&accounting->settings, &config, error);
	config_close(&config);
	return status;
}

int account_open(struct supervisor *supervisor, struct error *error)
{
	struct timeval interval = { 0 };
	struct accounting *accounting;
	int status;

	if (!supervisor->settings->config)
		return 0;
	accounting = calloc(1, sizeof(*accounting));
	if (!accounting)
		return error_set(error, -ENOMEM, "no memory");
	supervisor->accounting = accounting;
	status = account_read(accounting, supervisor->settings->config, error);
	if (status < 0 || !accounting->settings.path)
		return status;
	interval.tv_sec = accounting->settings.interval_s;
	accounting->timer = event_new(supervisor->base, -1, EV_PERSIST, account_tick, supervisor);
	status = accounting->timer
			 ? journal_open(&accounting->journal, "card", &accounting->settings)
			 : -ENOMEM;
	if (status < 0)
		return error_set(error, status, "no journal: %s", strerror(-status));
	event_add(accounting->timer, &interval);
	return 0;
}

void account_close(struct supervisor *supervisor)
{
	struct accounting *accounting = supervisor->accounting;

	if (!accounting)
		return;
	journal_close(accounting->journal);
	if (accounting->timer)
		event_free(accounting->timer);
	tenants_free(&accounting->tenants);
	journal_settings_free(&accounting->settings);
	free(accounting);
	supervisor->accounting = NULL;
}
