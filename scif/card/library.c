/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The card's library folder: what every program finds there without its client sending it. Copies,
 * made when the card boots, so that nothing of the host's own folders is in a sandbox.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clean.h"
#include "scif/card/card.h"

/* Where this host keeps libraries; the first that has one wins. */
static const char *const folders[] = { "/lib/x86_64-linux-gnu",
				       "/usr/lib/x86_64-linux-gnu",
				       "/lib64",
				       "/usr/lib64",
				       "/lib",
				       "/usr/lib" };
static const char *const needed[] = { "ld-linux-x86-64.so.2", "libc.so.6" };
/* Of the C library, the compilers' run time, and offload; those that the host has. */
static const char *const usual[] = {
	"libm.so.6",	  "libdl.so.2",	      "libpthread.so.0",  "librt.so.1",	   "libutil.so.1",
	"libresolv.so.2", "libmvec.so.1",     "libanl.so.1",	  "libgcc_s.so.1", "libstdc++.so.6",
	"libgomp.so.1",	  "libgfortran.so.5", "libquadmath.so.0",
};

static int library_copy(const struct card_settings *settings, const char *from, const char *name)
{
	autoclose int source = open(from, O_RDONLY | O_CLOEXEC), target = -1;
	char path[PATH_MAX];
	struct stat about;

	if (source < 0 || fstat(source, &about) < 0)
		return -errno;
	if (!S_ISREG(about.st_mode))
		return -EINVAL;
	if (snprintf(path, sizeof(path), "%s/lib/%s", settings->folder, name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	unlink(path);
	target = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	if (target < 0)
		return -errno;
	for (off_t left = about.st_size; left > 0;) {
		ssize_t moved = sendfile(target, source, NULL, (size_t)left);

		if (moved < 0 && errno == EINTR)
			continue;
		if (moved <= 0)
			return moved < 0 ? -errno : -EIO;
		left -= moved;
	}
	return 0;
}

/* From the first folder that has it; -ENOENT when none does. */
static int library_find(const struct card_settings *settings, const char *name)
{
	char path[PATH_MAX];
	int status = -ENOENT;

	for (size_t i = 0; status == -ENOENT && i < sizeof(folders) / sizeof(*folders); i++) {
		snprintf(path, sizeof(path), "%s/%s", folders[i], name);
		status = library_copy(settings, path, name);
	}
	return status;
}

/* The libraries that programs of a card are linked with: this program's own libscif, and beside
 * it, or in the folder of the build, libcoi_device. */
static int library_copy_own(const struct card_settings *settings, struct error *error)
{
	char folder[PATH_MAX], path[PATH_MAX + 64], *slash;
	Dl_info about;
	int status;

	if (!dladdr((void *)scif_open, &about) || !realpath(about.dli_fname, folder))
		return error_set(error, -ENOENT, "cannot tell where libscif.so.0 lies");
	status = library_copy(settings, folder, "libscif.so.0");
	if (status < 0)
		return error_set(error, status, "%s: %s", folder, strerror(-status));
	slash = strrchr(folder, '/');
	*slash = 0;
	snprintf(path, sizeof(path), "%s/libcoi_device.so.0", folder);
	if (access(path, R_OK) < 0)
		snprintf(path, sizeof(path), "%s/../coi/libcoi_device.so.0", folder);
	status = library_copy(settings, path, "libcoi_device.so.0");
	if (status < 0 && status != -ENOENT)
		return error_set(error, status, "%s: %s", path, strerror(-status));
	return 0;
}

int library_fill(const struct card_settings *settings, struct error *error)
{
	int status = 0;

	for (size_t i = 0; i < sizeof(needed) / sizeof(*needed); i++) {
		status = library_find(settings, needed[i]);
		if (status < 0)
			return error_set(error, status, "the C library's %s: %s", needed[i],
					 strerror(-status));
	}
	for (size_t i = 0; i < sizeof(usual) / sizeof(*usual); i++) {
		status = library_find(settings, usual[i]);
		if (status < 0 && status != -ENOENT)
			return error_set(error, status, "%s: %s", usual[i], strerror(-status));
	}
	status = library_copy_own(settings, error);
	for (unsigned int i = 0; status == 0 && i < settings->library_count; i++) {
		const char *path = settings->libraries[i], *slash = strrchr(path, '/');

		status = library_copy(settings, path, slash ? slash + 1 : path);
		if (status < 0)
			error_set(error, status, "--library=%s: %s", path, strerror(-status));
	}
	return status;
}

bool library_has(const struct card_settings *settings, const char *name)
{
	char path[PATH_MAX];

	return !strchr(name, '/') && name[0] != '.' &&
	       snprintf(path, sizeof(path), "%s/lib/%s", settings->folder, name) <
		       (int)sizeof(path) &&
	       access(path, F_OK) == 0;
}
