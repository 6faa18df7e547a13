/* SPDX-License-Identifier: Apache-2.0 */
/* Loading libraries into a process that runs. The bytes go through a buffer of their own. */
#define COI_LIBRARY_VERSION 1

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scif/card/binary.h"
#include "scif/coi/export.h"
#include "scif/coi/host/host.h"

#define LIBRARY_PAGE 4096u

/* One image: its bytes into the sink, then dlopen() there; @id is the sink's number for it. */
static COIRESULT library_send(struct coiprocess *process, const void *bytes, uint64_t count,
			      const char *name, uint32_t flags, uint64_t *id)
{
	struct coi_buffer buffer = {
		.kind = COI_BUFFER_MEMORY,
		.bytes = (count + LIBRARY_PAGE - 1) & ~(uint64_t)(LIBRARY_PAGE - 1),
	};
	struct coi_header header = { .type = COI_BUFFER_NEW };
	struct iovec parts[2] = { { &buffer, sizeof(buffer) } };
	struct coi_library library = { .flags = flags, .bytes = count };
	struct instance instance = { .process = process };
	struct coi_place place;
	COIRESULT result;

	pthread_mutex_lock(&host_lock);
	buffer.id = library.buffer = process->next_buffer++;
	pthread_mutex_unlock(&host_lock);
	result = process_call(process, &header, parts, 1, &place, sizeof(place), NULL);
	if (result != COI_SUCCESS)
		return result;
	instance.offset = place.offset;
	result = transfer_write(&instance, 0, bytes, count);
	if (result == COI_SUCCESS) {
		header = (struct coi_header){ .type = COI_LIBRARY_LOAD };
		parts[0] = (struct iovec){ &library, sizeof(library) };
		parts[1] = (struct iovec){ (void *)name, strlen(name) + 1 };
		result = process_call(process, &header, parts, 2, NULL, 0, id);
	}
	header = (struct coi_header){ .type = COI_BUFFER_END, .value = buffer.id };
	process_call(process, &header, NULL, 0, NULL, 0, NULL);
	return result;
}

/* With the lock: the one of that name that is loaded, or NULL. */
static struct coilibrary *library_known(const struct coiprocess *process, const char *name)
{
	struct coilibrary *library;

	SLIST_FOREACH(library, &process->libraries, link)
	{
		if (strcmp(library->name, name) == 0)
			return library;
	}
	return NULL;
}

/* One of the libraries that another needs. COI_ARGUMENT_MISMATCH when it is that other one. */
static COIRESULT library_dependency(struct coiprocess *process, const struct image *image,
				    const char *name)
{
	uint64_t id;
	bool known;

	if (strcmp(image->name, name) == 0)
		return COI_ARGUMENT_MISMATCH;
	pthread_mutex_lock(&host_lock);
	known = library_known(process, image->name);
	pthread_mutex_unlock(&host_lock);
	if (known)
		return COI_SUCCESS;
	return library_send(process, image->bytes, image->count, image->name,
			    COI_LOADLIBRARY_V1_FLAGS, &id);
}

/* What the library needs goes first, so that the loader there has it already by its name. One that
 * needs another of them waits for a further round. */
static COIRESULT library_dependencies(struct coiprocess *process, const void *bytes, uint64_t count,
				      const char *name, const char *path)
{
	struct image_list images = SLIST_HEAD_INITIALIZER(images), left, again;
	char *lacking[CARD_FILES_MAX];
	size_t lacking_count = 0;
	COIRESULT result = image_needs(bytes, count, path, &images, lacking, &lacking_count);
	bool progress = true;

	left = images;
	while (result == COI_SUCCESS && progress && !SLIST_EMPTY(&left)) {
		struct image *image;

		progress = false;
		SLIST_INIT(&again);
		while ((image = SLIST_FIRST(&left))) {
			COIRESULT one = library_dependency(process, image, name);

			SLIST_REMOVE_HEAD(&left, link);
			if (one == COI_MISSING_DEPENDENCY) {
				SLIST_INSERT_HEAD(&again, image, link);
				continue;
			}
			progress = true;
			result = one == COI_SUCCESS ? result : one;
			image_close(image);
			free(image);
		}
		left = again;
	}
	if (result == COI_SUCCESS && !SLIST_EMPTY(&left))
		result = COI_MISSING_DEPENDENCY;
	images_free(&left);
	for (size_t i = 0; i < lacking_count; i++)
		free(lacking[i]);
	return result;
}

static COIRESULT library_check(COIPROCESS process, const void *bytes, uint64_t count,
			       const char *name)
{
	COIRESULT result;
	bool valid;

	pthread_mutex_lock(&host_lock);
	valid = process_is(process);
	pthread_mutex_unlock(&host_lock);
	if (!valid)
		return COI_INVALID_HANDLE;
	if (count == 0)
		return COI_OUT_OF_RANGE;
	result = image_check(bytes, count);
	if (result != COI_SUCCESS)
		return result;
	if (!name)
		return COI_ARGUMENT_MISMATCH;
	return strlen(name) < COI_MAX_FILE_NAME_LENGTH ? COI_SUCCESS : COI_OUT_OF_RANGE;
}

static COIRESULT library_load(COIPROCESS process, const void *bytes, uint64_t count,
			      const char *name, const char *path, const char *origin,
			      uint64_t origin_offset, uint32_t flags, COILIBRARY *out)
{
	struct coilibrary *library, *known;
	COIRESULT result;

	if (!out || !bytes)
		return COI_INVALID_POINTER;
	name = name ? name : elf_soname(bytes, count);
	result = library_check(process, bytes, count, name);
	if (result == COI_SUCCESS)
		result = image_origin(origin, origin_offset, count);
	if (result != COI_SUCCESS)
		return result;
	pthread_mutex_lock(&host_lock);
	known = library_known(process, name);
	pthread_mutex_unlock(&host_lock);
	if (known) {
		*out = known;
		return COI_ALREADY_EXISTS;
	}
	library = calloc(1, sizeof(*library));
	if (!library)
		return COI_OUT_OF_MEMORY;
	library->process = process;
	snprintf(library->name, sizeof(library->name), "%s", name);
	result = library_dependencies(process, bytes, count, name,
				      path ? path : getenv("SINK_LD_LIBRARY_PATH"));
	if (result == COI_SUCCESS)
		result = library_send(process, bytes, count, name, flags, &library->id);
	if (result != COI_SUCCESS) {
		free(library);
		return result;
	}
	pthread_mutex_lock(&host_lock);
	SLIST_INSERT_HEAD(&process->libraries, library, link);
	object_enter(&library->object, OBJECT_LIBRARY);
	pthread_mutex_unlock(&host_lock);
	*out = library;
	return COI_SUCCESS;
}

/* A file by its path, or found as dependencies are. */
static COIRESULT library_load_file(COIPROCESS process, const char *file, const char *name,
				   const char *path, uint32_t flags, COILIBRARY *out)
{
	const char *folder = path ? path : getenv("SINK_LD_LIBRARY_PATH");
	char found[COI_MAX_FILE_NAME_LENGTH * 4];
	struct image image;
	COIRESULT result;

	if (!file)
		return COI_INVALID_POINTER;
	result = image_open(file, &image);
	snprintf(found, sizeof(found), "%s", file);
	while (result != COI_SUCCESS && file[0] != '/' && folder && *folder) {
		const char *end = strchrnul(folder, ':');

		snprintf(found, sizeof(found), "%.*s/%s", (int)(end - folder), folder, file);
		result = image_open(found, &image);
		folder = *end ? end + 1 : end;
	}
	if (result != COI_SUCCESS)
		return result;
	result = library_load(process, image.bytes, image.count, name, path, found, 0, flags, out);
	image_close(&image);
	return result;
}

/* The interface's first version has no flags, its second has; programs are bound to either. */
__asm__(".symver library_from_memory_1,COIProcessLoadLibraryFromMemory@@COI_1.0");
COI_EXPORT COIRESULT library_from_memory_1(COIPROCESS process, const void *bytes, uint64_t count,
					   const char *name, const char *path, const char *origin,
					   uint64_t offset, COILIBRARY *out);
__asm__(".symver library_from_memory_2,COIProcessLoadLibraryFromMemory@COI_2.0");
COI_EXPORT COIRESULT library_from_memory_2(COIPROCESS process, const void *bytes, uint64_t count,
					   const char *name, const char *path, const char *origin,
					   uint64_t offset, uint32_t flags, COILIBRARY *out);
__asm__(".symver library_from_file_1,COIProcessLoadLibraryFromFile@@COI_1.0");
COI_EXPORT COIRESULT library_from_file_1(COIPROCESS process, const char *file, const char *name,
					 const char *path, COILIBRARY *out);
__asm__(".symver library_from_file_2,COIProcessLoadLibraryFromFile@COI_2.0");
COI_EXPORT COIRESULT library_from_file_2(COIPROCESS process, const char *file, const char *name,
					 const char *path, uint32_t flags, COILIBRARY *out);

COIRESULT library_from_memory_1(COIPROCESS process, const void *bytes, uint64_t count,
				const char *name, const char *path, const char *origin,
				uint64_t offset, COILIBRARY *out)
{
	return library_load(process, bytes, count, name, path, origin, offset,
			    COI_LOADLIBRARY_V1_FLAGS, out);
}

COIRESULT library_from_memory_2(COIPROCESS process, const void *bytes, uint64_t count,
				const char *name, const char *path, const char *origin,
				uint64_t offset, uint32_t flags, COILIBRARY *out)
{
	return library_load(process, bytes, count, name, path, origin, offset, flags, out);
}

COIRESULT library_from_file_1(COIPROCESS process, const char *file, const char *name,
			      const char *path, COILIBRARY *out)
{
	return library_load_file(process, file, name, path, COI_LOADLIBRARY_V1_FLAGS, out);
}

COIRESULT library_from_file_2(COIPROCESS process, const char *file, const char *name,
			      const char *path, uint32_t flags, COILIBRARY *out)
{
	return library_load_file(process, file, name, path, flags, out);
}

COI_EXPORT COIRESULT COIProcessUnloadLibrary(COIPROCESS in_Process, COILIBRARY in_Library)
{
	struct coi_header header = { .type = COI_LIBRARY_UNLOAD };
	bool valid;

	pthread_mutex_lock(&host_lock);
	valid = process_is(in_Process) && object_is(in_Library, OBJECT_LIBRARY) &&
		in_Library->process == in_Process;
	if (valid) {
		object_leave(&in_Library->object);
		SLIST_REMOVE(&in_Process->libraries, in_Library, coilibrary, link);
		header.value = in_Library->id;
	}
	pthread_mutex_unlock(&host_lock);
	if (!valid)
		return COI_INVALID_HANDLE;
	free(in_Library);
	return process_call(in_Process, &header, NULL, 0, NULL, 0, NULL);
}

/* Both are advice about memory and channels of a kind that there is none of here. */
COI_EXPORT COIRESULT
COIProcessSetCacheSize(const COIPROCESS in_Process, const uint64_t in_HugePagePoolSize,
		       const uint32_t in_HugeFlags, const uint64_t in_SmallPagePoolSize,
		       const uint32_t in_SmallFlags, uint32_t in_NumDependencies,
		       const COIEVENT *in_pDependencies, COIEVENT *out_pCompletion)
{
	const uint32_t flags[2] = { in_HugeFlags, in_SmallFlags };
	bool valid;

	(void)in_HugePagePoolSize;
	(void)in_SmallPagePoolSize;
	pthread_mutex_lock(&host_lock);
	valid = process_is(in_Process);
	pthread_mutex_unlock(&host_lock);
	if (!valid)
		return COI_INVALID_HANDLE;
	for (unsigned int i = 0; i < 2; i++) {
		uint32_t mode = flags[i] & COI_CACHE_MODE_MASK;
		uint32_t action = flags[i] & COI_CACHE_ACTION_MASK;

		if ((flags[i] & ~(COI_CACHE_MODE_MASK | COI_CACHE_ACTION_MASK)) ||
		    (mode & (mode - 1)) || (action & (action - 1)))
			return COI_NOT_SUPPORTED;
	}
	if (!in_NumDependencies != !in_pDependencies)
		return COI_ARGUMENT_MISMATCH;
	if (out_pCompletion && out_pCompletion != COI_EVENT_ASYNC &&
	    out_pCompletion != COI_EVENT_SYNC)
		*out_pCompletion = event_value(0); /* an event that came */
	return COI_SUCCESS;
}

COI_EXPORT COIRESULT COIProcessConfigureDMA(const uint64_t in_Channels, const COI_DMA_MODE in_Mode)
{
	if (in_Mode < COI_DMA_MODE_SINGLE || in_Mode > COI_DMA_MODE_READ_WRITE ||
	    in_Channels == 0 || in_Channels > 4)
		return COI_NOT_SUPPORTED;
	return in_Mode == COI_DMA_MODE_READ_WRITE && in_Channels < 2 ? COI_ARGUMENT_MISMATCH
								     : COI_SUCCESS;
}
