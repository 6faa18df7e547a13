/* SPDX-License-Identifier: Apache-2.0 */
/* Program images in the program's memory: what they are and where they end. */
#include "cuda/client/image.h"

#include <string.h>

#define WRAPPER_MAGIC 0x466243b1u
#define FATBIN_MAGIC  0xba55ed50u

struct wrapper {
	uint32_t magic;
	uint32_t version;
	const void *data;
};

struct fatbin {
	uint32_t magic;
	uint16_t version;
	uint16_t header_bytes;
	uint64_t bytes; /* behind the header */
};

static uint64_t image_number(const unsigned char *at, size_t bytes)
{
	uint64_t number = 0;

	for (size_t i = bytes; i-- > 0;)
		number = number << 8 | at[i];
	return number;
}

/* image_elf - the end of the last table or section of a 64-bit ELF file */
static uint64_t image_elf(const unsigned char *image)
{
	uint64_t segments = image_number(image + 0x20, 8), sections = image_number(image + 0x28, 8);
	uint64_t segment_bytes = image_number(image + 0x36, 2);
	uint64_t segment_count = image_number(image + 0x38, 2);
	uint64_t section_bytes = image_number(image + 0x3a, 2);
	uint64_t section_count = image_number(image + 0x3c, 2);
	uint64_t end = 64;

	if (segment_count && segments + segment_bytes * segment_count > end)
		end = segments + segment_bytes * segment_count;
	if (section_count && sections + section_bytes * section_count > end)
		end = sections + section_bytes * section_count;
	for (uint64_t i = 0; i < section_count && section_bytes >= 64; i++) {
		const unsigned char *section = image + sections + i * section_bytes;
		uint64_t section_end =
			image_number(section + 0x18, 8) + image_number(section + 0x20, 8);

		if (image_number(section + 4, 4) != 8 /* SHT_NOBITS */ && section_end > end)
			end = section_end;
	}
	return end;
}

int client_image_measure(const void *image, struct client_image *measured)
{
	struct wrapper wrapper;
	struct fatbin fatbin;
	uint32_t magic;

	*measured = (struct client_image){ .at = image, .form = CUDA_WIRE_IMAGE_PLAIN };
	memcpy(&magic, image, sizeof(magic));
	if (magic == WRAPPER_MAGIC) {
		memcpy(&wrapper, image, sizeof(wrapper));
		measured->at = wrapper.data;
		measured->form = CUDA_WIRE_IMAGE_WRAPPED;
		if (!wrapper.data)
			return -1;
		memcpy(&magic, wrapper.data, sizeof(magic));
		if (magic != FATBIN_MAGIC)
			return -1;
	}
	if (magic == FATBIN_MAGIC) {
		memcpy(&fatbin, measured->at, sizeof(fatbin));
		measured->bytes = fatbin.header_bytes + fatbin.bytes;
		return fatbin.header_bytes < sizeof(fatbin) || measured->bytes < fatbin.bytes ? -1
											      : 0;
	}
	if (!memcmp(image, "\177ELF", 4))
		measured->bytes = image_elf(image);
	else
		measured->bytes = strlen(image) + 1;
	return 0;
}
