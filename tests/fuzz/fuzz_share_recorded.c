/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a file of recorded launches; what is accepted is played for a moment. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/share-trace.h"
#include "share/recorded.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* replay - all clients of it, against each other */
static void replay(const struct recorded *recorded)
{
	static const struct simulate_settings settings = {
		.share = { .quantum_ns = 5000000, .slice_ns = 5000000 },
		.duration_ns = 1000000,
		.handover_ns = 1000,
		.linger_ns = 10000,
	};
	struct simulate_tenant tenants[SIMULATE_TENANTS_MAX] = { 0 };
	struct simulate_result results[SIMULATE_TENANTS_MAX];
	struct simulate_summary summary;

	for (size_t i = 0; i < recorded->client_count; i++) {
		const struct recorded_client *client = &recorded->clients[i];

		if (client->tenant >= recorded->tenant_count || !client->trace.count)
			abort();
		tenants[i].name = recorded->tenants[client->tenant].name;
		tenants[i].weight = recorded->tenants[client->tenant].weight;
		tenants[i].priority = recorded->tenants[client->tenant].priority;
		tenants[i].trace = &client->trace;
		tenants[i].start_ns = client->start_ns;
		tenants[i].once = true;
		for (size_t k = 0; k < i && !tenants[i].client_of; k++)
			if (recorded->clients[k].tenant == client->tenant)
				tenants[i].client_of = k + 1;
		for (size_t k = 0; k < client->trace.count; k++)
			if (!client->trace.launches[k].duration_ns)
				abort();
	}
	if (simulate_run(&settings, tenants, recorded->client_count, results, &summary))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	const struct share_trace_header header = { .magic = SHARE_TRACE_MAGIC,
						   .version = SHARE_TRACE_VERSION,
						   .record_bytes =
							   sizeof(struct share_trace_record) };
	struct recorded recorded;
	struct error error;
	uint8_t *file;

	if (!recorded_parse(&recorded, data, bytes, 0, "input", &error)) {
		replay(&recorded);
		recorded_free(&recorded);
	}
	/* With a header before it, so that records are reached at once. */
	file = malloc(sizeof(header) + bytes);
	if (!file)
		return 0;
	memcpy(file, &header, sizeof(header));
	memcpy(file + sizeof(header), data, bytes);
	if (!recorded_parse(&recorded, file, sizeof(header) + bytes, 0, "input", &error)) {
		replay(&recorded);
		recorded_free(&recorded);
	}
	free(file);
	return 0;
}
