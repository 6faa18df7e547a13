/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Libraries that the source, or the sink itself, loads into the sink process, and its functions by
 * name. library_lock guards the list; the loader is called without it.
 */
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "include/intel-coi/source/COIProcess_source.h"
#include "include/intel-coi/sink/COIProcess_sink.h"
#include "scif/coi/device/sink.h"
#include "scif/coi/export.h"

#define LIBRARY_FLAGS                                                          \
	(COI_LOADLIBRARY_GLOBAL | COI_LOADLIBRARY_LAZY | COI_LOADLIBRARY_NOW | \
	 COI_LOADLIBRARY_NOLOAD | COI_LOADLIBRARY_DEEPBIND | COI_LOADLIBRARY_NODELETE)

struct library {
	LIST_ENTRY(library) link;
	uint64_t id;
	void *handle;
	int fd; /* -1: a file of the card's; else open as long as the library is: the loader tells
		   libraries apart by their path */
};

static pthread_mutex_t library_lock = PTHREAD_MUTEX_INITIALIZER;
static LIST_HEAD(, library) libraries = LIST_HEAD_INITIALIZER(libraries);
static uint64_t library_next = 1;

/* What dlopen() said, as a result. */
static COIRESULT library_error(const char *text)
{
	static const struct {
		const char *words;
		COIRESULT result;
	} meanings[] = {
		{ "undefined symbol", COI_UNDEFINED_SYMBOL },
		{ "cannot open shared object file", COI_MISSING_DEPENDENCY },
		{ "wrong ELF class", COI_BINARY_AND_HARDWARE_MISMATCH },
		{ "version `", COI_MISSING_DEPENDENCY },
	};

	for (size_t i = 0; text && i < sizeof(meanings) / sizeof(meanings[0]); i++) {
		if (strstr(text, meanings[i].words))
			return meanings[i].result;
	}
	return COI_INVALID_FILE;
}

/* The bytes as a file without a name on any disk; its descriptor, or -1. */
static int library_file(const char *name, const void *bytes, uint64_t count)
{
	const char *next = bytes;
	int fd = memfd_create(name, MFD_CLOEXEC);

	while (fd >= 0 && count) {
		ssize_t written = write(fd, next, count);

		if (written <= 0) {
			close(fd);
			return -1;
		}
		next += written;
		count -= (uint64_t)written;
	}
	return fd;
}

/* Its number, from now on that of a library of this process. */
static uint64_t library_enter(struct library *library)
{
	uint64_t id;

	pthread_mutex_lock(&library_lock);
	id = library->id = library_next++;
	LIST_INSERT_HEAD(&libraries, library, link);
	pthread_mutex_unlock(&library_lock);
	return id;
}

COIRESULT library_load(const struct coi_library *wanted, const char *name, uint64_t *id)
{
	struct coi_run_buffer bytes = { .id = wanted->buffer, .bytes = wanted->bytes };
	struct library *library = calloc(1, sizeof(*library));
	void *address;
	uint64_t count;
	char path[64];
	COIRESULT result = memory_hold(NULL, &bytes, &address, &count);
	int fd;

	if (!library || result != COI_SUCCESS) {
		if (result == COI_SUCCESS)
			memory_release(wanted->buffer);
		free(library);
		return result == COI_SUCCESS ? COI_RESOURCE_EXHAUSTED : result;
	}
	fd = library_file(name, address, count);
	memory_release(wanted->buffer);
	if (fd < 0) {
		free(library);
		return COI_RESOURCE_EXHAUSTED;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	/* The flags' numbers are those of this system's dlopen(). */
	library->handle = dlopen(path, (int)(wanted->flags & LIBRARY_FLAGS));
	if (!library->handle)
		result = library_error(dlerror());
	if (result != COI_SUCCESS) {
		close(fd);
		free(library);
		return result;
	}
	library->fd = fd;
	*id = library_enter(library);
	return COI_SUCCESS;
}

/* A file of the card's along a search path; as dlopen() finds it where no folder has it. */
static void *library_open(const char *file, const char *search, int flags)
{
	const char *at = search, *end;
	char path[PATH_MAX];

	for (; at && *at && !strchr(file, '/'); at = *end ? end + 1 : end) {
		end = strchrnul(at, ':');
		if (snprintf(path, sizeof(path), "%.*s/%s", (int)(end - at), at, file) <
			    (int)sizeof(path) &&
		    access(path, R_OK) == 0)
			return dlopen(path, flags);
	}
	return dlopen(file, flags);
}

COI_EXPORT COIRESULT COIProcessLoadSinkLibraryFromFile(const char *in_pFileName,
						       const char *in_pLibraryName,
						       const char *in_LibrarySearchPath,
						       uint32_t in_Flags, COILIBRARY *out_pLibrary)
{
	struct library *library;

	(void)in_pLibraryName; /* it is called by what its file says */
	if (!in_pFileName || !out_pLibrary)
		return COI_INVALID_POINTER;
	if (!sink.offloaded)
		return COI_NOT_INITIALIZED;
	library = calloc(1, sizeof(*library));
	if (!library)
		return COI_OUT_OF_MEMORY;
	library->fd = -1;
	library->handle =
		library_open(in_pFileName, in_LibrarySearchPath, (int)(in_Flags & LIBRARY_FLAGS));
	if (!library->handle) {
		free(library);
		return library_error(dlerror());
	}
	*out_pLibrary = (COILIBRARY)(uintptr_t)library_enter(library);
	return COI_SUCCESS;
}

COIRESULT library_unload(uint64_t id)
{
	struct library *library;

	pthread_mutex_lock(&library_lock);
	LIST_FOREACH(library, &libraries, link)
	{
		if (library->id == id)
			break;
	}
	if (library)
		LIST_REMOVE(library, link);
	pthread_mutex_unlock(&library_lock);
	if (!library)
		return COI_INVALID_HANDLE;
	dlclose(library->handle);
	if (library->fd >= 0)
		close(library->fd);
	free(library);
	return COI_SUCCESS;
}

void *library_find(const char *name)
{
	struct library *library;
	void *found = dlsym(RTLD_DEFAULT, name);

	pthread_mutex_lock(&library_lock);
	LIST_FOREACH(library, &libraries, link)
	{
		if (!found)
			found = dlsym(library->handle, name);
	}
	pthread_mutex_unlock(&library_lock);
	return found;
}
