/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image: what a program gave to load, kept until it is parsed.
 *
 * Ownership: an image is a copy; image_free() ends it. Threads: immutable once made.
 */
#ifndef CAUSEWAY_CUDA_SOFTGPU_IMAGE_H
#define CAUSEWAY_CUDA_SOFTGPU_IMAGE_H

#include <errno.h>
#include <stddef.h>

#include "lib/base/error.h"

struct image;

/**
 * image_copy - copy a wrapper, a fat binary or PTX text ending in NUL
 * @data: as programs pass it, without a length
 *
 * Return: 0; -ENOENT for machine code alone; -ENOEXEC for anything else; -ENOMEM.
 */
int image_copy(const void *data, struct image **image, struct error *error);

/* image_read - the same from a file; IMAGE_NO_FILE where it cannot be opened or read */
#define IMAGE_NO_FILE (-EIO)
int image_read(const char *path, struct image **image, struct error *error);

/* image_free - gives the copy's memory back */
void image_free(struct image *image);

/* image_text - the PTX to parse, the caller's to free; errors as fatbin_text() */
int image_text(const struct image *image, char **text, size_t *bytes, struct error *error);

#endif
