/* SPDX-License-Identifier: Apache-2.0 */
/* What proto/cuda.api says of each function, for people: gen/cuda_coverage.c is generated. */
#ifndef CAUSEWAY_GEN_CUDA_COVERAGE_H
#define CAUSEWAY_GEN_CUDA_COVERAGE_H

struct cuda_coverage {
	const char *function;	 /* by its exported symbol */
	const char *implemented; /* "generated" or "by hand" */
	const char *cached;	 /* "yes": asked once for the same arguments */
	const char *reply_less;	 /* "yes": issued without waiting */
	const char *tested;	 /* files, besides what every program does; may be empty */
};

/* All functions, by name, and how many they are. */
extern const struct cuda_coverage cuda_coverage[];
extern const unsigned int cuda_coverage_count;

#endif
