/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fatbin: the container in which nvcc puts a program's device code.
 *
 * A program hands over a wrapper {u32 0x466243b1, u32 version, pointer to the binary}, or the
 * binary itself: a header and entries, each with a header of its own and a payload. Untrusted:
 * every length is checked against what surrounds it. Threads: no state.
 */
#ifndef CAUSEWAY_CUDA_SOFTGPU_FATBIN_H
#define CAUSEWAY_CUDA_SOFTGPU_FATBIN_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"

#define FATBIN_WRAPPER_MAGIC 0x466243b1u
#define FATBIN_MAGIC	     0xba55ed50u
#define FATBIN_TEXT_MAX	     (256u << 20) /* bytes of PTX that one entry may unfold to */

/* fatbin_bytes - size of the whole container, from its header; 0 where it is none */
size_t fatbin_bytes(const void *fatbin);

/**
 * fatbin_text - the PTX that fits a device best
 * @bytes: of the container
 * @target: the device's compute capability, 75 for 7.5
 *
 * The newest entry not above @target; where all are above, the oldest of them. *text is the
 * caller's to free, ends in NUL and has *text_bytes bytes before that.
 *
 * Return: 0; -ENOENT where there is no PTX at all; -ENOEXEC for a container that contradicts
 * itself; -ENOMEM.
 */
int fatbin_text(const void *fatbin, size_t bytes, unsigned int target, char **text,
		size_t *text_bytes, struct error *error);

#endif
