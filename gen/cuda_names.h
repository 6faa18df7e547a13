/* SPDX-License-Identifier: Apache-2.0 */
/* Names and meanings of CUDA's results, for programs, logs and the tracer. */
#ifndef CAUSEWAY_GEN_CUDA_NAMES_H
#define CAUSEWAY_GEN_CUDA_NAMES_H

/* cuda_result_name - "CUDA_ERROR_INVALID_VALUE"; NULL for a value that CUDA does not have */
const char *cuda_result_name(int result);

/* cuda_result_text - "invalid argument", as CUDA words it; NULL for a value that CUDA does not have
 */
const char *cuda_result_text(int result);

#endif
