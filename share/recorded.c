/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From records to traces; see recorded.h.
 *
 * A record is a batch of launches that took measured_ns together. In the trace each takes an equal
 * part. A batch that came when all before it had ended makes the launch before it one that the
 * program waited for: its gap counts from that one's end, and the record has it from the moment at
 * which that one was given to the driver.
 */
#include "share/recorded.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clean.h"
#include "lib/base/io.h"
#include "proto/share-trace.h"

#define TENANTS_LAST   1024u
#define COUNT_MAX      4096u /* launches of one record */
#define FILE_BYTES_MAX (1u << 30)
#define TIME_MAX_NS    3600000000000ull

/* While a file is parsed. */
struct parser {
	struct recorded *recorded;
	const char *name;
	uint32_t device;
	uint64_t clock_ns; /* when the recording began */
	size_t launches;   /* of all clients */
	size_t number;	   /* of the record, from 1 on */
	size_t rooms[SIMULATE_TENANTS_MAX];
	struct error *error;
};

static int refuse(const struct parser *parser, const char *what)
{
	return error_set(parser->error, -EINVAL, "%s: record %zu: %s", parser->name, parser->number,
			 what);
}

/* is_zero - whether all of these bytes are */
static bool is_zero(const uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (bytes[i])
			return false;
	return true;
}

static int tenant_add(struct parser *parser, const struct share_trace_record *record)
{
	const struct share_trace_tenant *is = &record->tenant_is;
	struct recorded *recorded = parser->recorded;
	struct recorded_tenant *tenant, *grown;

	if (record->tenant != recorded->tenant_count || record->tenant >= TENANTS_LAST)
		return refuse(parser, "expected tenants numbered from 0 on, without gaps");
	if (is->weight < 1 || is->weight > SHARE_WEIGHT_MAX || is->priority >= SHARE_PRIORITIES)
		return refuse(parser, "a tenant's weight or priority is out of its range");
	if (!is->name[0] || !memchr(is->name, '\0', sizeof(is->name)) ||
	    !is_zero(is->reserved, sizeof(is->reserved)))
		return refuse(parser, "expected a tenant's name of 1 to 63 bytes");
	grown = realloc(recorded->tenants, (recorded->tenant_count + 1) * sizeof(*grown));
	if (!grown)
		return error_set(parser->error, -ENOMEM, "no memory");
	recorded->tenants = grown;
	tenant = &grown[recorded->tenant_count++];
	*tenant = (struct recorded_tenant){ .weight = is->weight, .priority = is->priority };
	memcpy(tenant->name, is->name, sizeof(tenant->name));
	return 0;
}

/* client_find - the client's place, made where there is none; -1: there are too many */
static int client_find(struct parser *parser, const struct share_trace_record *record)
{
	struct recorded *recorded = parser->recorded;
	const struct share_page_piece *piece = &record->launches.piece;
	struct recorded_client *client;

	for (size_t i = 0; i < recorded->client_count; i++)
		if (recorded->clients[i].number == record->launches.client)
			return (int)i;
	if (recorded->client_count == SIMULATE_TENANTS_MAX)
		return -1;
	client = &recorded->clients[recorded->client_count];
	*client = (struct recorded_client){ .number = record->launches.client,
					    .device = piece->device,
					    .tenant = record->tenant };
	if (piece->issued_ns > parser->clock_ns)
		client->start_ns = piece->issued_ns - parser->clock_ns;
	return (int)recorded->client_count++;
}

/* trace_room - for @more launches of a client; false without memory */
static bool trace_room(struct parser *parser, int at, size_t more)
{
	struct simulate_trace *trace = &parser->recorded->clients[at].trace;
	size_t room = parser->rooms[at];
	struct simulate_launch *grown;

	if (trace->count + more <= room)
		return true;
	room = 2 * room + more;
	grown = realloc(trace->launches, room * sizeof(*grown));
	if (!grown)
		return false;
	trace->launches = grown;
	parser->rooms[at] = room;
	return true;
}

/* trace_add - the launches of one record behind those that a client has */
static void trace_add(struct simulate_trace *trace, const struct share_page_piece *piece)
{
	uint64_t each = piece->measured_ns / piece->count, gap = piece->gap_ns;
	struct simulate_launch *last = trace->count ? &trace->launches[trace->count - 1] : NULL;

	if (!last) {
		gap = 0; /* start_ns says when it comes */
	} else if (piece->idle) {
		last->waits = true;
		gap = gap > last->duration_ns ? gap - last->duration_ns : 0;
	}
	for (uint32_t i = 0; i < piece->count; i++) {
		trace->launches[trace->count++] = (struct simulate_launch){
			.gap_ns = i ? piece->spread_ns / (piece->count - 1) : gap,
			.duration_ns = each ? each : 1,
		};
	}
}

static int launches_add(struct parser *parser, const struct share_trace_record *record)
{
	const struct share_page_piece *piece = &record->launches.piece;
	struct recorded *recorded = parser->recorded;
	struct recorded_client *client;
	uint64_t ended_ns;
	int at;

	if (record->tenant >= recorded->tenant_count)
		return refuse(parser, "it is of a tenant that was not told of");
	if (!piece->count || piece->count > COUNT_MAX || piece->device >= SHARE_PAGE_DEVICES ||
	    piece->idle > 1 || piece->reserved ||
	    !is_zero(record->launches.reserved, sizeof(record->launches.reserved)))
		return refuse(parser, "expected 1 to 4096 launches on a device of 0 to 15");
	if (piece->gap_ns > TIME_MAX_NS || piece->spread_ns > TIME_MAX_NS ||
	    piece->measured_ns > TIME_MAX_NS)
		return refuse(parser, "a time is longer than an hour");
	if (piece->device != parser->device)
		return 0;
	parser->launches += piece->count;
	if (parser->launches > RECORDED_LAUNCHES_MAX)
		return refuse(parser, "more than 8388608 launches");
	at = client_find(parser, record);
	if (at < 0)
		return refuse(parser, "more than 64 clients");
	client = &recorded->clients[at];
	if (client->tenant != record->tenant)
		return refuse(parser, "its client is of another tenant");
	if (!trace_room(parser, at, piece->count))
		return error_set(parser->error, -ENOMEM, "no memory");
	trace_add(&client->trace, piece);
	recorded->tenants[record->tenant].measured_ns += piece->measured_ns;
	if (piece->issued_ns > parser->clock_ns) {
		ended_ns = piece->issued_ns - parser->clock_ns + piece->measured_ns;
		if (ended_ns > 24 * TIME_MAX_NS)
			return refuse(parser, "it is a day after the beginning");
		client->end_ns = ended_ns;
		if (ended_ns > recorded->length_ns)
			recorded->length_ns = ended_ns;
	}
	return 0;
}

static int header_check(struct parser *parser, const struct share_trace_header *header)
{
	if (header->magic != SHARE_TRACE_MAGIC)
		return error_set(parser->error, -EINVAL, "%s: it is no file of recorded launches",
				 parser->name);
	if (header->version != SHARE_TRACE_VERSION ||
	    header->record_bytes != sizeof(struct share_trace_record))
		return error_set(parser->error, -EINVAL, "%s: it is of version %u, expected %u",
				 parser->name, header->version, SHARE_TRACE_VERSION);
	parser->clock_ns = header->clock_ns;
	return 0;
}

/* records_parse - all whole records behind the header */
static int records_parse(struct parser *parser, const uint8_t *data, size_t bytes)
{
	struct share_trace_record record;
	int status = 0;

	for (; bytes >= sizeof(record) && !status; bytes -= sizeof(record)) {
		memcpy(&record, data, sizeof(record));
		data += sizeof(record);
		parser->number++;
		if (record.kind == SHARE_TRACE_TENANT)
			status = tenant_add(parser, &record);
		else if (record.kind == SHARE_TRACE_LAUNCHES)
			status = launches_add(parser, &record);
		else
			status = refuse(parser, "unknown kind");
	}
	if (!status && !parser->recorded->client_count)
		status = error_set(parser->error, -EINVAL, "%s: no launch on device %u in it",
				   parser->name, parser->device);
	return status;
}

int recorded_parse(struct recorded *recorded, const void *data, size_t bytes, uint32_t device,
		   const char *name, struct error *error)
{
	struct parser parser = {
		.recorded = recorded, .name = name, .device = device, .error = error
	};
	struct share_trace_header header = { 0 };
	int status;

	*recorded = (struct recorded){ 0 };
	recorded->clients = calloc(SIMULATE_TENANTS_MAX, sizeof(*recorded->clients));
	if (!recorded->clients)
		return error_set(error, -ENOMEM, "no memory");
	if (bytes >= sizeof(header))
		memcpy(&header, data, sizeof(header));
	status = header_check(&parser, &header);
	if (!status)
		status = records_parse(&parser, (const uint8_t *)data + sizeof(header),
				       bytes - sizeof(header));
	if (status)
		recorded_free(recorded);
	return status;
}

int recorded_read(struct recorded *recorded, const char *path, uint32_t device, struct error *error)
{
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat is;
	void *data = NULL;
	int status;

	*recorded = (struct recorded){ 0 };
	if (fd < 0 || fstat(fd, &is) < 0)
		return error_set(error, -errno, "cannot read '%s': %s", path, strerror(errno));
	if (!S_ISREG(is.st_mode))
		return error_set(error, -EINVAL, "'%s' is no file", path);
	if (is.st_size > FILE_BYTES_MAX)
		return error_set(error, -EFBIG, "'%s': more than %u MiB", path,
				 FILE_BYTES_MAX >> 20);
	if (is.st_size) {
		/* Read and not mapped: it may be written while it is looked at. */
		data = malloc((size_t)is.st_size);
		if (!data)
			return error_set(error, -ENOMEM, "no memory for '%s'", path);
	}
	status = io_read_full(fd, data, (size_t)is.st_size);
	if (status < 0)
		error_set(error, status, "cannot read '%s': %s", path, strerror(-status));
	else
		status = recorded_parse(recorded, data, (size_t)is.st_size, device, path, error);
	free(data);
	return status;
}

void recorded_free(struct recorded *recorded)
{
	for (size_t i = 0; i < recorded->client_count; i++)
		simulate_trace_free(&recorded->clients[i].trace);
	free(recorded->clients);
	free(recorded->tenants);
	*recorded = (struct recorded){ 0 };
}
