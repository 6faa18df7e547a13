/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Launches of all clients into a file (proto/share-trace.h), for `causeway simulate`.
 *
 * While `recording` is set in a client's page its worker writes there what ended; this looks every
 * TAKE_MS for what is new. A worker that is faster than SHARE_PAGE_PIECES in that time loses
 * pieces, which are counted; one that writes nonsense spoils its own launches, since who they are
 * of is said here. The file is bounded; a recording ends by itself when it is full or its time is
 * over.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cuda/server/supervisor.h"
#include "lib/base/log.h"
#include "proto/share-trace.h"

#define TAKE_MS	     20
#define FILE_BYTES   (256u << 20)
#define TENANTS_SEEN 1024u
#define LAUNCHES_MAX 4096u /* in one piece: more is nonsense */
#define NS_PER_S     1000000000ull

struct recorder {
	FILE *file;
	char *path;
	struct event *timer;
	uint64_t until_ns; /* CLOCK_MONOTONIC */
	uint64_t bytes, launches, clients, lost;
	uint32_t tenant_count;
	char tenants[TENANTS_SEEN][SHARE_TRACE_NAME]; /* by number */
	bool over; /* nothing more is written, but nobody has asked for the end */
	int status;
};

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void recorder_put(struct recorder *recorder, const void *data, size_t bytes)
{
	if (recorder->over)
		return;
	if (recorder->bytes + bytes > FILE_BYTES)
		recorder->over = true;
	else if (fwrite(data, bytes, 1, recorder->file) != 1) {
		recorder->status = -errno;
		recorder->over = true;
	}
	recorder->bytes += bytes;
}

/* recorder_tenant - the tenant's number in the file, written down when it is new */
static int64_t recorder_tenant(struct recorder *recorder, const struct tenant *tenant)
{
	const struct tenant_settings *settings = tenant_settings(tenant);
	struct share_trace_record record = { .kind = SHARE_TRACE_TENANT,
					     .tenant = recorder->tenant_count };

	static_assert(SHARE_TRACE_NAME >= TENANT_NAME_BYTES, "every name fits");
	for (uint32_t i = 0; i < recorder->tenant_count; i++)
		if (!strcmp(recorder->tenants[i], settings->name))
			return i;
	if (recorder->tenant_count == TENANTS_SEEN)
		return -1;
	strcpy(recorder->tenants[recorder->tenant_count++], settings->name);
	record.tenant_is.weight = settings->weight;
	record.tenant_is.priority = settings->priority;
	memcpy(record.tenant_is.name, settings->name, strlen(settings->name));
	recorder_put(recorder, &record, sizeof(record));
	return record.tenant;
}

/* piece_valid - of a worker's page: nothing is taken for granted */
static bool piece_valid(const struct share_page_piece *piece)
{
	return piece->device < SHARE_PAGE_DEVICES && piece->count && piece->count <= LAUNCHES_MAX &&
	       piece->idle <= 1 && !piece->reserved && piece->measured_ns < 3600 * NS_PER_S &&
	       piece->gap_ns < 3600 * NS_PER_S && piece->spread_ns < 3600 * NS_PER_S;
}

/* record_take - what a client's worker has written since the last time */
static void record_take(struct recorder *recorder, struct client *client)
{
	struct share_page *page = share_client_page(client);
	struct share_trace_record record = { .kind = SHARE_TRACE_LAUNCHES };
	uint64_t count = __atomic_load_n(&page->piece_count, __ATOMIC_ACQUIRE);
	int64_t tenant = recorder_tenant(recorder, client->tenant);

	if (count < client->recorded || tenant < 0)
		return;
	if (count - client->recorded > SHARE_PAGE_PIECES) {
		recorder->lost += count - client->recorded - SHARE_PAGE_PIECES;
		client->recorded = count - SHARE_PAGE_PIECES;
	}
	record.tenant = (uint32_t)tenant;
	record.launches.client = client->id;
	for (; client->recorded < count; client->recorded++) {
		record.launches.piece = page->pieces[client->recorded % SHARE_PAGE_PIECES];
		/* It may have been written over while it was copied. */
		if (__atomic_load_n(&page->piece_count, __ATOMIC_ACQUIRE) - client->recorded >=
			    SHARE_PAGE_PIECES ||
		    !piece_valid(&record.launches.piece)) {
			recorder->lost++;
			continue;
		}
		recorder_put(recorder, &record, sizeof(record));
		recorder->launches += record.launches.piece.count;
	}
}

static void recording_set(struct client *client, bool on)
{
	struct share_page *page = share_client_page(client);

	client->recorded = __atomic_load_n(&page->piece_count, __ATOMIC_ACQUIRE);
	__atomic_store_n(&page->recording, on, __ATOMIC_RELEASE);
}

void record_client_start(struct client *client)
{
	struct recorder *recorder = client->supervisor->recorder;

	if (!recorder || recorder->over)
		return;
	recorder->clients++;
	recording_set(client, true);
}

void record_client_end(struct client *client)
{
	struct recorder *recorder = client->supervisor->recorder;

	if (recorder && !recorder->over)
		record_take(recorder, client);
}

static void record_tick(evutil_socket_t fd, short what, void *argument)
{
	struct supervisor *supervisor = argument;
	struct recorder *recorder = supervisor->recorder;
	const struct timeval next = { 0, TAKE_MS * 1000 };
	struct client *client;

	(void)fd;
	(void)what;
	TAILQ_FOREACH(client, &supervisor->clients, link)
	{
		if (share_client_page(client))
			record_take(recorder, client);
	}
	if (clock_ns(CLOCK_MONOTONIC) >= recorder->until_ns)
		recorder->over = true;
	if (!recorder->over) {
		evtimer_add(recorder->timer, &next);
		return;
	}
	TAILQ_FOREACH(client, &supervisor->clients, link)
	{
		if (share_client_page(client))
			recording_set(client, false);
	}
	fflush(recorder->file);
}

static void recorder_free(struct recorder *recorder)
{
	if (recorder->file)
		fclose(recorder->file);
	if (recorder->timer)
		event_free(recorder->timer);
	free(recorder->path);
	free(recorder);
}

/* recorder_open - the file, which must be new, with its header; 0 or -errno */
static int recorder_open(struct recorder *recorder, const char *path)
{
	const struct share_trace_header header = { .magic = SHARE_TRACE_MAGIC,
						   .version = SHARE_TRACE_VERSION,
						   .record_bytes =
							   sizeof(struct share_trace_record),
						   .began_ns = clock_ns(CLOCK_REALTIME),
						   .clock_ns = clock_ns(CLOCK_MONOTONIC) };
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	recorder->file = fdopen(fd, "w");
	recorder->path = strdup(path);
	if (!recorder->file)
		close(fd);
	if (!recorder->file || !recorder->path)
		return -ENOMEM;
	recorder_put(recorder, &header, sizeof(header));
	return recorder->status;
}

int record_begin(struct supervisor *supervisor, const char *path, unsigned int seconds,
		 struct error *error)
{
	struct recorder *recorder = supervisor->recorder;
	struct client *client;
	int status = -ENOMEM;

	if (recorder && !recorder->over)
		return error_set(error, -EBUSY, "launches are recorded already, into '%s'",
				 recorder->path);
	if (!supervisor->options.turns)
		return error_set(error, -EINVAL,
				 "clients take no turns, and are not measured: set turns = true");
	record_close(supervisor);
	recorder = calloc(1, sizeof(*recorder));
	if (recorder)
		recorder->timer = evtimer_new(supervisor->base, record_tick, supervisor);
	if (recorder && recorder->timer)
		status = recorder_open(recorder, path);
	if (status < 0) {
		if (recorder)
			recorder_free(recorder);
		return error_set(error, status, "cannot write '%s': %s", path, strerror(-status));
	}
	recorder->until_ns = clock_ns(CLOCK_MONOTONIC) + seconds * NS_PER_S;
	supervisor->recorder = recorder;
	TAILQ_FOREACH(client, &supervisor->clients, link)
	{
		if (share_client_page(client))
			record_client_start(client);
	}
	record_tick(-1, 0, supervisor);
	log_info("launches are recorded into '%s' for %u s", path, seconds);
	return 0;
}

int record_end(struct supervisor *supervisor, json_t **answer, struct error *error)
{
	struct recorder *recorder = supervisor->recorder;
	int status;

	if (!recorder)
		return error_set(error, -EINVAL, "launches are not recorded");
	if (!recorder->over) {
		recorder->until_ns = 0;
		record_tick(-1, 0, supervisor);
	}
	status = recorder->status;
	if (!status && fflush(recorder->file))
		status = -errno;
	*answer = json_pack("{s:s, s:I, s:I, s:I}", "file", recorder->path, "launches",
			    (json_int_t)recorder->launches, "clients",
			    (json_int_t)recorder->clients, "lost", (json_int_t)recorder->lost);
	if (status < 0) {
		json_decref(*answer);
		error_set(error, status, "'%s': %s", recorder->path, strerror(-status));
	}
	record_close(supervisor);
	return status;
}

void record_close(struct supervisor *supervisor)
{
	struct recorder *recorder = supervisor->recorder;

	if (!recorder)
		return;
	recorder_free(recorder);
	supervisor->recorder = NULL;
}
