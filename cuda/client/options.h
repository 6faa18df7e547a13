/* SPDX-License-Identifier: Apache-2.0 */
/* Options of just-in-time compilation and linking, ready to travel. */
#ifndef CAUSEWAY_CUDA_CLIENT_OPTIONS_H
#define CAUSEWAY_CUDA_CLIENT_OPTIONS_H

#include "cuda/client/client.h"

#define CLIENT_OPTIONS_MAX 64u

struct client_options {
	struct cuda_wire_option wire[CLIENT_OPTIONS_MAX];
	unsigned int count;
	char *error_log;
	uint32_t error_log_bytes;
	void **error_log_size; /* the option's value: capacity in, length out */
};

/* client_options_read - CUDA_ERROR_NOT_SUPPORTED for options that hold pointers of the program */
CUresult client_options_read(struct client_options *options, unsigned int count,
			     const CUjit_option *names, void **values);

/* client_file_read - a whole file with a NUL behind it; the caller frees it */
CUresult client_file_read(const char *path, void **data, size_t *bytes);

#endif
