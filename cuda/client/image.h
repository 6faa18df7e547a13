/* SPDX-License-Identifier: Apache-2.0 */
/* Program images in the program's memory: what they are and where they end. */
#ifndef CAUSEWAY_CUDA_CLIENT_IMAGE_H
#define CAUSEWAY_CUDA_CLIENT_IMAGE_H

#include <stdint.h>

#include "proto/cuda-wire.h"

struct client_image {
	const void *at; /* the fat binary itself where @form is CUDA_WIRE_IMAGE_WRAPPED */
	uint64_t bytes;
	enum cuda_wire_image form;
};

/*
 * client_image_measure - a fat binary (behind its wrapper or not), an ELF file, or PTX as a string;
 * -1 for a wrapper around something else. The image is the program's own and is believed, as a
 * driver in this process would have to.
 */
int client_image_measure(const void *image, struct client_image *measured);

#endif
