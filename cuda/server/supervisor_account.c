/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Accounts: what each client used, told in reports and written into the journal (share/journal.h).
 *
 * A client's counters are on its page; client.written is how much of them the journal has. The
 * difference is added every interval_s seconds while somebody is served, and when a client ends.
 * Without clients no timer runs. A worker that goes wrong may write what it likes into its page: a
 * counter that fell adds nothing until it is back where it was.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/server/supervisor.h"
#include "lib/metrics/report.h"
#include "share/journal.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define NS_PER_S     1e9

struct accounts {
	struct journal *journal;
	struct journal_settings settings;
	struct event *timer;
};

/* grown - the part of @now that is not in *@written yet; notes that it is */
static uint64_t grown(uint64_t now, uint64_t *written)
{
	uint64_t before = *written;

	if (now <= before)
		return 0;
	*written = now;
	return now - before;
}

/* accounts_add - what @client has used since the last time */
static void accounts_add(struct accounts *accounts, struct client *client,
			 const struct share_usage *usage)
{
	struct share_usage *written = &client->written;
	const struct journal_client who = { tenant_name(client->tenant), client->identity.text,
					    client->id, client->since };
	struct journal_usage more;
	bool any = false;

	more.counters[JOURNAL_DEVICE_NS] = grown(usage->device_ns, &written->device_ns);
	more.counters[JOURNAL_LAUNCHES] = grown(usage->launches, &written->launches);
	more.counters[JOURNAL_CALLS] = grown(usage->calls, &written->calls);
	for (int i = 0; i < SHARE_COPIES; i++)
		more.counters[JOURNAL_IN_BYTES + i] =
			grown(usage->copied_bytes[i], &written->copied_bytes[i]);
	more.counters[JOURNAL_MEMORY_BYTE_MS] =
		grown(usage->memory_byte_ms, &written->memory_byte_ms);
	more.counters[JOURNAL_WAITS] = grown(usage->waits, &written->waits);
	more.counters[JOURNAL_WAITED_NS] = grown(usage->waited_ns, &written->waited_ns);
	for (int i = 0; i < JOURNAL_COUNTERS; i++)
		any |= more.counters[i] != 0;
	if (any)
		journal_add(accounts->journal, &who, &more);
}

void accounts_write(struct client *client, const struct share_usage *usage)
{
	struct accounts *accounts = client->supervisor->accounts;

	if (!accounts)
		return;
	accounts_add(accounts, client, usage);
	journal_commit(accounts->journal);
}

static void accounts_tick(evutil_socket_t fd, short what, void *argument)
{
	struct supervisor *supervisor = argument;
	struct share_usage usage;
	struct client *client;

	(void)fd;
	(void)what;
	TAILQ_FOREACH(client, &supervisor->clients, link)
	{
		if (!client->share)
			continue;
		share_client_usage(client, &usage);
		accounts_add(supervisor->accounts, client, &usage);
	}
	journal_commit(supervisor->accounts->journal);
	accounts_start(supervisor);
}

void accounts_start(struct supervisor *supervisor)
{
	struct accounts *accounts = supervisor->accounts;
	struct timeval interval = { 0 };

	if (!accounts || !supervisor->worker_count || evtimer_pending(accounts->timer, NULL))
		return;
	interval.tv_sec = accounts->settings.interval_s;
	evtimer_add(accounts->timer, &interval);
}

int accounts_open(struct supervisor *supervisor, struct error *error)
{
	struct accounts *accounts;
	int status;

	if (!supervisor->options.accounting.path)
		return 0;
	accounts = calloc(1, sizeof(*accounts));
	if (!accounts)
		return error_set(error, -ENOMEM, "no memory");
	accounts->settings = supervisor->options.accounting;
	accounts->timer = evtimer_new(supervisor->base, accounts_tick, supervisor);
	status = accounts->timer ? journal_open(&accounts->journal, "cudad", &accounts->settings)
				 : -ENOMEM;
	if (status < 0) {
		if (accounts->timer)
			event_free(accounts->timer);
		free(accounts);
		return error_set(error, status, "no journal: %s", strerror(-status));
	}
	supervisor->accounts = accounts;
	return 0;
}

void accounts_close(struct supervisor *supervisor)
{
	struct accounts *accounts = supervisor->accounts;

	if (!accounts)
		return;
	journal_close(accounts->journal);
	event_free(accounts->timer);
	free(accounts);
	supervisor->accounts = NULL;
}

void accounts_append(json_t *row, const struct share_usage *usage, json_int_t queue)
{
	json_t *cells = json_pack(
		"[f, I, I, I, I, I, I, I, f, I, I, f]", usage->device_ns / NS_PER_S,
		(json_int_t)usage->launches, (json_int_t)usage->calls,
		(json_int_t)usage->copied_bytes[SHARE_COPY_IN],
		(json_int_t)usage->copied_bytes[SHARE_COPY_OUT],
		(json_int_t)usage->copied_bytes[SHARE_COPY_WITHIN], (json_int_t)usage->memory_bytes,
		(json_int_t)usage->overhead_bytes, usage->memory_byte_ms / 1e3, queue,
		(json_int_t)usage->waits, usage->waited_ns / NS_PER_S);

	json_array_extend(row, cells);
	json_decref(cells);
}

void accounts_report(const struct supervisor *supervisor, json_t *report)
{
	static const struct report_column columns[] = {
		{ "client", REPORT_LABEL, "", "its number" },
		{ "tenant", REPORT_LABEL, "", "whose it is" },
		{ "identity", REPORT_LABEL, "", "who it is" },
		ACCOUNTS_COLUMNS,
	};
	json_t *rows = report_add_table(report, "client_usage", true, columns, COUNT(columns));
	const struct client *client;
	struct share_usage usage;

	TAILQ_FOREACH(client, &supervisor->clients, link)
	{
		json_t *row;

		if (!client->share)
			continue;
		share_client_usage(client, &usage);
		row = json_pack("[I, s, s]", (json_int_t)client->id, tenant_name(client->tenant),
				client->identity.text);
		accounts_append(row, &usage, share_client_waits(client));
		json_array_append_new(rows, row);
	}
}
