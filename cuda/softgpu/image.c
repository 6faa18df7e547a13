/* SPDX-License-Identifier: Apache-2.0 */
/* image: recognises what a program loads and keeps a copy of it. */
#include "cuda/softgpu/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cuda/softgpu/driver.h"
#include "cuda/softgpu/fatbin.h"
#include "lib/base/clean.h"
#include "lib/base/io.h"

struct image {
	bool fatbin; /* else PTX text, ending in NUL */
	size_t bytes;
	unsigned char data[];
};

/* As programs pass it in memory: magic, version, the binary, and one pointer more. */
struct wrapper {
	uint32_t magic;
	uint32_t version;
	const void *fatbin;
	const void *more;
};

static bool is_elf(const void *data)
{
	return memcmp(data, "\177ELF", 4) == 0;
}

static int image_make(const void *data, size_t bytes, bool fatbin, struct image **image,
		      struct error *error)
{
	struct image *made = malloc(sizeof(*made) + bytes + 1);

	if (!made)
		return error_set(error, -ENOMEM, "no memory for an image of %zu bytes", bytes);
	made->fatbin = fatbin;
	made->bytes = bytes;
	memcpy(made->data, data, bytes);
	made->data[bytes] = '\0';
	*image = made;
	return 0;
}

int image_copy(const void *data, struct image **image, struct error *error)
{
	uint32_t magic;

	/* PTX may be shorter than the magic: look at one byte after the other. */
	for (size_t i = 0; i < sizeof(magic); i++) {
		if (!((const char *)data)[i])
			return error_set(error, -ENOEXEC,
					 "the image is neither PTX nor a fat "
					 "binary");
	}
	memcpy(&magic, data, sizeof(magic));
	if (magic == FATBIN_WRAPPER_MAGIC) {
		data = ((const struct wrapper *)data)->fatbin;
		if (!data)
			return error_set(error, -ENOEXEC, "the wrapper holds no fat binary");
		memcpy(&magic, data, sizeof(magic));
	}
	if (magic == FATBIN_MAGIC) {
		if (fatbin_bytes(data) == 0)
			return error_set(error, -ENOEXEC, "fat binary: its header is wrong");
		return image_make(data, fatbin_bytes(data), true, image, error);
	}
	if (is_elf(data))
		return error_set(error, -ENOENT,
				 "machine code only, no PTX that could be run here");
	return image_make(data, strlen(data), false, image, error);
}

int image_read(const char *path, struct image **image, struct error *error)
{
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	autofree unsigned char *data = NULL;
	struct stat status;
	uint32_t magic = 0;
	size_t bytes;
	int result;

	if (fd < 0 || fstat(fd, &status) < 0)
		return error_set(error, IMAGE_NO_FILE, "%s: %s", path, strerror(errno));
	if (!S_ISREG(status.st_mode) || status.st_size < 4 || status.st_size > (1l << 30))
		return error_set(error, -ENOEXEC, "%s: not a file that could be an image", path);
	bytes = (size_t)status.st_size;
	data = malloc(bytes);
	if (!data)
		return error_set(error, -ENOMEM, "no memory for an image of %zu bytes", bytes);
	result = io_read_full(fd, data, bytes);
	if (result < 0)
		return error_set(error, IMAGE_NO_FILE, "%s: %s", path, strerror(-result));
	memcpy(&magic, data, sizeof(magic));
	if (is_elf(data))
		return error_set(error, -ENOENT, "%s: machine code only, no PTX", path);
	return image_make(data, bytes, magic == FATBIN_MAGIC, image, error);
}

void image_free(struct image *image)
{
	free(image);
}

int image_text(const struct image *image, char **text, size_t *bytes, struct error *error)
{
	if (image->fatbin)
		return fatbin_text(image->data, image->bytes,
				   CAPABILITY_MAJOR * 10 + CAPABILITY_MINOR, text, bytes, error);
	*text = malloc(image->bytes + 1);
	if (!*text)
		return error_set(error, -ENOMEM, "no memory for %zu bytes of PTX", image->bytes);
	memcpy(*text, image->data, image->bytes + 1);
	*bytes = image->bytes;
	return 0;
}
