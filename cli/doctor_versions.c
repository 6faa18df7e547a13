/* SPDX-License-Identifier: Apache-2.0 */
/*
 * causeway doctor: what must fit each other: packages, running daemons and their files, the
 * client's library and the worker, modules and the kernel, the GPU's module and its library.
 *
 * A client and a worker of two builds refuse each other when proto/cuda.api differs; both have that
 * file's digest in them, so that their files can be compared without running them.
 */
#include <ctype.h>
#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/doctor.h"
#include "gen/cuda_wire.h"
#include "lib/base/clean.h"

#define VERSION_BYTES	  64
#define DELETED		  " (deleted)"
#define BINARY_BYTES_MAX  (16u << 20)
#define NVIDIA_KERNEL	  "/proc/driver/nvidia/version"
#define NVIDIA_KERNEL_TAG "Kernel Module"

struct package {
	const char *name;
	char version[VERSION_BYTES]; /* "": not installed */
};

/* packages_read - versions of what is installed, from dpkg's own list */
static void packages_read(const struct doctor *doctor, struct package *packages, size_t count)
{
	struct package *current = NULL;
	char whole[PATH_MAX];
	autofree char *line = NULL;
	size_t room = 0;
	bool installed = false;
	FILE *file;

	snprintf(whole, sizeof(whole), "%s/var/lib/dpkg/status", doctor->root);
	file = fopen(whole, "re");
	while (file && getline(&line, &room, file) > 0) {
		line[strcspn(line, "\n")] = 0;
		if (!strncmp(line, "Package: ", 9)) {
			current = NULL;
			for (size_t i = 0; i < count && !current; i++)
				current = strcmp(line + 9, packages[i].name) ? NULL : &packages[i];
		} else if (!strncmp(line, "Status: ", 8)) {
			installed = !strcmp(line + 8, "install ok installed");
		} else if (current && installed && !strncmp(line, "Version: ", 9)) {
			snprintf(current->version, sizeof(current->version), "%.63s", line + 9);
		}
	}
	if (file)
		fclose(file);
}

/* versions_packages - all of Causeway's packages that are installed have one version */
static void versions_packages(struct doctor *doctor)
{
	struct package packages[] = { { "causeway-common", "" },
				      { "causeway", "" },
				      { "causeway-guest", "" },
				      { "causeway-dkms", "" } };
	const size_t count = sizeof(packages) / sizeof(*packages);
	const struct package *first = NULL;
	bool same = true;

	packages_read(doctor, packages, count);
	for (size_t i = 0; i < count; i++) {
		if (!*packages[i].version)
			continue;
		if (!first)
			first = &packages[i];
		if (strcmp(first->version, packages[i].version) != 0) {
			same = false;
			doctor_lacks(doctor, "apt-get install --only-upgrade 'causeway*'",
				     "one version of all packages: %s is %s, %s %s", first->name,
				     first->version, packages[i].name, packages[i].version);
		}
	}
	if (first && same)
		doctor_good("packages of version %s", first->version);
}

/* versions_daemons - no daemon runs from a file that an upgrade has replaced */
static void versions_daemons(struct doctor *doctor)
{
	static const struct {
		const char *program, *service;
	} daemons[] = {
		{ "/causeway-cudad" DELETED, "causeway-cudad" },
		{ "/causeway-switch" DELETED, "causeway-switch" },
		{ "/scifd" DELETED, "causeway-scifd" },
		{ "/causeway-card" DELETED, "'causeway-card@*'" },
	};
	char whole[PATH_MAX], target[PATH_MAX], mend[64];
	glob_t found;

	snprintf(whole, sizeof(whole), "%s/proc/[0-9]*/exe", doctor->root);
	if (glob(whole, 0, NULL, &found))
		return;
	for (size_t i = 0; i < found.gl_pathc; i++) {
		ssize_t length = readlink(found.gl_pathv[i], target, sizeof(target) - 1);

		target[length < 0 ? 0 : length] = 0;
		for (size_t k = 0; k < sizeof(daemons) / sizeof(*daemons); k++) {
			size_t tail = strlen(daemons[k].program);

			if (length < (ssize_t)tail ||
			    strcmp(target + length - tail, daemons[k].program) != 0)
				continue;
			snprintf(mend, sizeof(mend), "systemctl restart %s", daemons[k].service);
			doctor_lacks(doctor, mend,
				     "a restart: %s runs an older version than is installed",
				     daemons[k].program + 1);
		}
	}
	globfree(&found);
}

/* speaks_our_protocol - 1: the file has this build's digest; 0: another; -1: it cannot be said */
static int speaks_our_protocol(const struct doctor *doctor, const char *path)
{
	static const unsigned char digest[] = CUDA_WIRE_DIGEST;
	autofree char *bytes = malloc(BINARY_BYTES_MAX);
	char whole[PATH_MAX];
	size_t length;

	snprintf(whole, sizeof(whole), "%s%s", doctor->root, path);
	length = bytes ? doctor_contents(whole, bytes, BINARY_BYTES_MAX) : 0;
	return length ? memmem(bytes, length, digest, sizeof(digest)) != NULL : -1;
}

/* versions_protocol - client's library and worker are of the build that this command is of */
static void versions_protocol(struct doctor *doctor)
{
	static const struct {
		const char *path, *package;
	} files[] = {
		{ DOCTOR_LIBRARIES "/causeway/libcuda.so.1", "causeway-guest" },
		{ "/usr/bin/causeway-cuda-worker", "causeway" },
	};
	char mend[96];

	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		int speaks = speaks_our_protocol(doctor, files[i].path);

		snprintf(mend, sizeof(mend), "apt-get install --reinstall %s causeway-common",
			 files[i].package);
		if (speaks == 0)
			doctor_lacks(doctor, mend,
				     "one protocol: %s is of another build than this command, and "
				     "client and server of two builds refuse each other",
				     files[i].path);
		else if (speaks > 0)
			doctor_good("%s speaks this version's protocol", files[i].path);
	}
}

/* versions_module - built for this kernel where DKMS has it; the loaded one is the installed one */
static void versions_module(struct doctor *doctor, const char *module)
{
	char whole[PATH_MAX], release[VERSION_BYTES], loaded[VERSION_BYTES], path[256], mend[256];

	snprintf(whole, sizeof(whole), "%s/proc/sys/kernel/osrelease", doctor->root);
	doctor_contents(whole, release, sizeof(release));
	release[strcspn(release, "\n")] = 0;
	snprintf(path, sizeof(path), "/lib/modules/%s/updates/dkms/%s.ko*", release, module);
	if (*release && doctor_any_file(doctor, "/usr/src/causeway-*/dkms.conf") &&
	    !doctor_any_file(doctor, path)) {
		snprintf(mend, sizeof(mend),
			 "apt-get install linux-headers-%s && dkms autoinstall -k %s", release,
			 release);
		doctor_lacks(doctor, mend, "module %s for this kernel, %s", module, release);
	}
	snprintf(whole, sizeof(whole), "%s/sys/module/%s/version", doctor->root, module);
	doctor_contents(whole, loaded, sizeof(loaded));
	loaded[strcspn(loaded, "\n")] = 0;
	snprintf(path, sizeof(path), "/usr/src/causeway-%s/dkms.conf", loaded);
	if (*loaded && doctor_any_file(doctor, "/usr/src/causeway-*/dkms.conf") &&
	    !doctor_any_file(doctor, path)) {
		snprintf(mend, sizeof(mend), "modprobe -r %s && modprobe %s", module, module);
		doctor_lacks(doctor, mend,
			     "the installed module %s: version %s of another package is loaded",
			     module, loaded);
	}
}

/* versions_driver - NVIDIA's library and kernel module are of one release */
static void versions_driver(struct doctor *doctor)
{
	char whole[PATH_MAX], text[1024], target[PATH_MAX];
	const char *module, *library;
	ssize_t length;
	size_t digits;

	snprintf(whole, sizeof(whole), "%s" NVIDIA_KERNEL, doctor->root);
	doctor_contents(whole, text, sizeof(text));
	module = strstr(text, NVIDIA_KERNEL_TAG);
	snprintf(whole, sizeof(whole), "%s" DOCTOR_LIBRARIES "/libcuda.so.1", doctor->root);
	length = readlink(whole, target, sizeof(target) - 1);
	target[length < 0 ? 0 : length] = 0;
	library = strstr(target, "libcuda.so.");
	if (!module || !library)
		return;
	module = strpbrk(module, "0123456789");
	library += strlen("libcuda.so.");
	digits = module ? strspn(module, "0123456789.") : 0;
	if (!digits || !isdigit((unsigned char)*library))
		return;
	if (strlen(library) == digits && !strncmp(module, library, digits))
		doctor_good("NVIDIA driver %s", library);
	else
		doctor_lacks(
			doctor, "modprobe -r nvidia_uvm nvidia && modprobe nvidia   # or reboot",
			"one release of NVIDIA's driver: the kernel has %.*s, libcuda.so.1 is %s",
			(int)digits, module, library);
}

void doctor_versions(struct doctor *doctor)
{
	versions_packages(doctor);
	versions_protocol(doctor);
	if (doctor->role == ROLE_HOST) {
		versions_daemons(doctor);
		versions_driver(doctor);
	} else {
		versions_module(doctor, "vphi");
		versions_module(doctor, "vsock_argo");
	}
}
