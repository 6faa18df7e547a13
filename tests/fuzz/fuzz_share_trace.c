/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a trace of launches; what is accepted is played for a moment of simulated time. */
#include <stdint.h>
#include <stdlib.h>

#include "share/simulate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static const struct simulate_settings settings = {
		.share = { .quantum_ns = 5000000, .slice_ns = 5000000 },
		.duration_ns = 1000000,
		.handover_ns = 1000,
		.linger_ns = 10000,
	};
	struct simulate_result results[2];
	struct simulate_summary summary;
	struct simulate_trace trace;
	struct error error;

	if (simulate_trace_parse(&trace, (const char *)data, bytes, "input", &error))
		return 0;
	for (size_t i = 0; i < trace.count; i++) {
		if (!trace.launches[i].duration_ns)
			abort();
	}
	struct simulate_tenant tenants[2] = {
		{ .name = "one", .weight = 1, .trace = &trace },
		{ .name = "other", .weight = 2, .trace = &trace },
	};
	if (simulate_run(&settings, tenants, 2, results, &summary))
		abort();
	simulate_trace_free(&trace);
	return 0;
}
