/* SPDX-License-Identifier: Apache-2.0 */
/* What the source and the sink of the offload benchmarks have to agree on. */
#ifndef CAUSEWAY_BENCH_OFFLOAD_H
#define CAUSEWAY_BENCH_OFFLOAD_H

#include <stdint.h>

/* Every run function's data. */
struct offload_task {
	uint32_t threads;
	uint32_t m, n, k; /* GEMM: C (m × n) = A (m × k) · B (k × n); SPMV: m rows */
};

#endif
