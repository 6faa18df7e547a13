/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Executables and libraries as files: whether a card can run them, and what they need.
 *
 * What a card has of its own (the C library and the like) is not looked for here. Reading ELF is
 * scif/card/binary.c's.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "scif/card/binary.h"
#include "scif/coi/export.h"
#include "scif/coi/host/host.h"

/* Libraries that the program registered (COIProcessRegisterLibraries). */
static struct image_list registered = SLIST_HEAD_INITIALIZER(registered);

COIRESULT image_check(const void *bytes, size_t count)
{
	struct error error;

	if (elf_check_program(bytes, count, &error) == 0)
		return COI_SUCCESS;
	/* What is said of a file that is none of ELF's is not the machine's fault. */
	return count >= SELFMAG && memcmp(bytes, ELFMAG, SELFMAG) == 0
		       ? COI_BINARY_AND_HARDWARE_MISMATCH
		       : COI_INVALID_FILE;
}

COIRESULT image_open(const char *path, struct image *image)
{
	COIRESULT result = COI_SUCCESS;
	struct stat about;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	void *bytes = MAP_FAILED;

	memset(image, 0, sizeof(*image));
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR ? COI_DOES_NOT_EXIST : COI_INVALID_FILE;
	if (fstat(fd, &about) < 0 || !S_ISREG(about.st_mode) || about.st_size == 0)
		result = COI_INVALID_FILE;
	else
		bytes = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (result != COI_SUCCESS || bytes == MAP_FAILED)
		return result == COI_SUCCESS ? COI_OUT_OF_MEMORY : result;
	image->bytes = bytes;
	image->count = (size_t)about.st_size;
	image->mapped = true;
	return COI_SUCCESS;
}

void image_close(struct image *image)
{
	if (image->mapped)
		munmap((void *)image->bytes, image->count);
	image->mapped = false;
}

void images_free(struct image_list *images)
{
	struct image *image;

	while ((image = SLIST_FIRST(images))) {
		SLIST_REMOVE_HEAD(images, link);
		image_close(image);
		free(image);
	}
}

/* The one of that name, or NULL. */
static struct image *images_find(struct image_list *images, const char *name)
{
	struct image *image;

	SLIST_FOREACH(image, images, link)
	{
		if (strcmp(image->name, name) == 0)
			return image;
	}
	return NULL;
}

/* A library of that name: registered, or in the first folder of @path that has one. */
static struct image *image_search(const char *name, const char *path)
{
	struct image *image = calloc(1, sizeof(*image)), *known;
	bool found = false;

	if (!image)
		return NULL;
	pthread_mutex_lock(&host_lock);
	known = images_find(&registered, name);
	if (known)
		*image = *known;
	pthread_mutex_unlock(&host_lock);
	found = known != NULL;
	while (path && *path && !found) {
		const char *end = strchrnul(path, ':');
		char file[PATH_MAX];

		if (snprintf(file, sizeof(file), "%.*s/%s", (int)(end - path), path, name) <
		    (int)sizeof(file))
			found = image_open(file, image) == COI_SUCCESS;
		path = *end ? end + 1 : end;
	}
	if (!found) {
		free(image);
		return NULL;
	}
	snprintf(image->name, sizeof(image->name), "%s", name);
	return image;
}

/* What the work of image_needs() is about. */
struct needs {
	const char *path;
	struct image_list *found;
	char **lacking;
	size_t *lacking_count;
	unsigned int taken;
};

/* One library that is needed; a new one goes to the front, before those that need it. */
static COIRESULT needs_take(struct needs *needs, const char *name)
{
	struct image *image = images_find(needs->found, name);
	COIRESULT result;

	for (size_t i = 0; i < *needs->lacking_count; i++) {
		if (strcmp(needs->lacking[i], name) == 0)
			return COI_SUCCESS;
	}
	if (image)
		return COI_SUCCESS;
	if (strchr(name, '/'))
		return COI_MISSING_DEPENDENCY;
	if (needs->taken++ == CARD_FILES_MAX - 1)
		return COI_OUT_OF_RANGE;
	image = image_search(name, needs->path);
	if (!image) {
		needs->lacking[*needs->lacking_count] = strdup(name);
		if (!needs->lacking[*needs->lacking_count])
			return COI_OUT_OF_MEMORY;
		++*needs->lacking_count;
		return COI_SUCCESS;
	}
	SLIST_INSERT_HEAD(needs->found, image, link);
	result = image_check(image->bytes, image->count);
	return result;
}

/* All that one image needs itself. */
static COIRESULT needs_of(struct needs *needs, const void *bytes, size_t count)
{
	const char *names[CARD_FILES_MAX], *runpath;
	int named = elf_needed(bytes, count, names, CARD_FILES_MAX, &runpath);
	COIRESULT result = named < 0 ? COI_INVALID_FILE : COI_SUCCESS;

	for (int i = 0; i < named && result == COI_SUCCESS; i++)
		result = strlen(names[i]) > CARD_NAME_MAX ? COI_INVALID_FILE
							  : needs_take(needs, names[i]);
	return result;
}

COIRESULT image_needs(const void *bytes, size_t count, const char *path, struct image_list *found,
		      char **lacking, size_t *lacking_count)
{
	struct needs needs = { path, found, lacking, lacking_count, 0 };
	struct image *first = NULL, *image;
	COIRESULT result = needs_of(&needs, bytes, count);

	/* What came to the front meanwhile is looked at next, until nothing comes. */
	while (result == COI_SUCCESS && SLIST_FIRST(found) != first) {
		struct image *until = first;

		first = SLIST_FIRST(found);
		for (image = first; image != until && result == COI_SUCCESS;
		     image = SLIST_NEXT(image, link))
			result = needs_of(&needs, image->bytes, image->count);
	}
	return result;
}

/* Whether the lists of COIProcessRegisterLibraries are what they should be. */
static COIRESULT images_check(uint32_t count, const void **libraries, const uint64_t *sizes,
			      const char **files, const uint64_t *offsets)
{
	if (count == 0)
		return COI_OUT_OF_RANGE;
	if (!libraries || !sizes)
		return COI_INVALID_POINTER;
	if (!files != !offsets)
		return COI_ARGUMENT_MISMATCH;
	for (uint32_t i = 0; i < count; i++) {
		if (!libraries[i])
			return COI_INVALID_POINTER;
		if (sizes[i] == 0 || image_check(libraries[i], sizes[i]) != COI_SUCCESS ||
		    !elf_soname(libraries[i], sizes[i]))
			return COI_OUT_OF_RANGE;
	}
	return COI_SUCCESS;
}

COI_EXPORT COIRESULT COIProcessRegisterLibraries(uint32_t in_NumLibraries,
						 const void **in_ppLibraryArray,
						 const uint64_t *in_pLibrarySizeArray,
						 const char **in_ppFileOfOriginArray,
						 const uint64_t *in_pFileOfOriginOffSetArray)
{
	COIRESULT result = images_check(in_NumLibraries, in_ppLibraryArray, in_pLibrarySizeArray,
					in_ppFileOfOriginArray, in_pFileOfOriginOffSetArray);

	for (uint32_t i = 0; i < in_NumLibraries && result == COI_SUCCESS; i++) {
		struct image *image = calloc(1, sizeof(*image));

		if (!image)
			return COI_OUT_OF_MEMORY;
		image->bytes = in_ppLibraryArray[i];
		image->count = in_pLibrarySizeArray[i];
		snprintf(image->name, sizeof(image->name), "%s",
			 elf_soname(image->bytes, image->count));
		pthread_mutex_lock(&host_lock);
		SLIST_INSERT_HEAD(&registered, image, link);
		pthread_mutex_unlock(&host_lock);
	}
	return result;
}
