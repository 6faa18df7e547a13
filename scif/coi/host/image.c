/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Executables and libraries as files: whether a card can run them, and what they need.
 *
 * They come from outside, so that every offset is checked against the bytes that there are. What a
 * card has of its own (the C library and the like) is not looked for here.
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

#include "scif/coi/export.h"
#include "scif/coi/host/host.h"

/* The dynamic section of an image, and its strings. */
struct dynamic {
	const unsigned char *entries;
	size_t count;
	const char *strings;
	size_t strings_bytes;
};

/* Libraries that the program registered (COIProcessRegisterLibraries). */
static struct image_list registered = SLIST_HEAD_INITIALIZER(registered);

COIRESULT image_check(const void *bytes, size_t count)
{
	Elf64_Ehdr header;

	if (count < EI_NIDENT || memcmp(bytes, ELFMAG, SELFMAG) != 0)
		return COI_INVALID_FILE;
	if (((const unsigned char *)bytes)[EI_CLASS] != ELFCLASS64 || count < sizeof(header))
		return COI_BINARY_AND_HARDWARE_MISMATCH;
	memcpy(&header, bytes, sizeof(header));
	if (header.e_machine != EM_X86_64)
		return COI_BINARY_AND_HARDWARE_MISMATCH;
	return header.e_type == ET_EXEC || header.e_type == ET_DYN ? COI_SUCCESS : COI_INVALID_FILE;
}

/* The index-th program header; false when there is none. */
static bool image_segment(const unsigned char *bytes, size_t count, unsigned int index,
			  Elf64_Phdr *segment)
{
	Elf64_Ehdr header;

	memcpy(&header, bytes, sizeof(header));
	if (index >= header.e_phnum || header.e_phentsize != sizeof(*segment) ||
	    !message_range(header.e_phoff, (uint64_t)header.e_phnum * sizeof(*segment), count))
		return false;
	memcpy(segment, bytes + header.e_phoff + index * sizeof(*segment), sizeof(*segment));
	return true;
}

/* Where in the file an address of the image is; SIZE_MAX when nowhere. */
static size_t image_place(const unsigned char *bytes, size_t count, uint64_t address)
{
	Elf64_Phdr segment;

	for (unsigned int i = 0; image_segment(bytes, count, i, &segment); i++) {
		if (segment.p_type == PT_LOAD && address >= segment.p_vaddr &&
		    address - segment.p_vaddr < segment.p_filesz &&
		    message_range(segment.p_offset, segment.p_filesz, count))
			return segment.p_offset + (address - segment.p_vaddr);
	}
	return SIZE_MAX;
}

static Elf64_Dyn dynamic_entry(const struct dynamic *dynamic, size_t index)
{
	Elf64_Dyn entry;

	memcpy(&entry, dynamic->entries + index * sizeof(entry), sizeof(entry));
	return entry;
}

/* False for an image without a dynamic section that can be read. */
static bool image_dynamic(const unsigned char *bytes, size_t count, struct dynamic *dynamic)
{
	Elf64_Phdr segment = { 0 };
	size_t strings = SIZE_MAX;
	unsigned int i = 0;

	memset(dynamic, 0, sizeof(*dynamic));
	if (image_check(bytes, count) != COI_SUCCESS)
		return false;
	while (image_segment(bytes, count, i, &segment) && segment.p_type != PT_DYNAMIC)
		i++;
	if (segment.p_type != PT_DYNAMIC || !message_range(segment.p_offset, segment.p_filesz, count))
		return false;
	dynamic->entries = bytes + segment.p_offset;
	dynamic->count = segment.p_filesz / sizeof(Elf64_Dyn);
	for (size_t at = 0; at < dynamic->count; at++) {
		Elf64_Dyn entry = dynamic_entry(dynamic, at);

		if (entry.d_tag == DT_NULL)
			dynamic->count = at;
		else if (entry.d_tag == DT_STRTAB)
			strings = image_place(bytes, count, entry.d_un.d_ptr);
		else if (entry.d_tag == DT_STRSZ)
			dynamic->strings_bytes = entry.d_un.d_val;
	}
	if (strings == SIZE_MAX || !message_range(strings, dynamic->strings_bytes, count))
		return false;
	dynamic->strings = (const char *)bytes + strings;
	return true;
}

/* A string of the dynamic section: whole, and no longer than files' names are. NULL otherwise. */
static const char *dynamic_string(const struct dynamic *dynamic, uint64_t at)
{
	size_t left = at < dynamic->strings_bytes ? dynamic->strings_bytes - at : 0;
	const char *string = dynamic->strings + at;

	if (!left || !memchr(string, 0, left) || !*string || strlen(string) > CARD_NAME_MAX)
		return NULL;
	return string;
}

const char *image_soname(const void *bytes, size_t count)
{
	struct dynamic dynamic;

	if (!image_dynamic(bytes, count, &dynamic))
		return NULL;
	for (size_t i = 0; i < dynamic.count; i++) {
		Elf64_Dyn entry = dynamic_entry(&dynamic, i);

		if (entry.d_tag == DT_SONAME)
			return dynamic_string(&dynamic, entry.d_un.d_val);
	}
	return NULL;
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
	struct dynamic dynamic;
	COIRESULT result = COI_SUCCESS;

	if (!image_dynamic(bytes, count, &dynamic))
		return COI_SUCCESS; /* linked statically */
	for (size_t i = 0; i < dynamic.count && result == COI_SUCCESS; i++) {
		Elf64_Dyn entry = dynamic_entry(&dynamic, i);
		const char *name;

		if (entry.d_tag != DT_NEEDED)
			continue;
		name = dynamic_string(&dynamic, entry.d_un.d_val);
		result = name ? needs_take(needs, name) : COI_INVALID_FILE;
	}
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
		if (sizes[i] == 0 || !image_soname(libraries[i], sizes[i]))
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
			 image_soname(image->bytes, image->count));
		pthread_mutex_lock(&host_lock);
		SLIST_INSERT_HEAD(&registered, image, link);
		pthread_mutex_unlock(&host_lock);
	}
	return result;
}
