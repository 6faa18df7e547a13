/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the other parts of Causeway, starting from where this program lies. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

int cli_paths_find(struct cli_paths *paths, struct error *error)
{
	char self[PATH_MAX], *slash;
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (length < 0)
		return error_set(error, -errno, "cannot read /proc/self/exe: %s", strerror(errno));
	self[length] = 0;
	/* BUILD/cli/causeway */
	for (int levels = 0; levels < 2; levels++) {
		slash = strrchr(self, '/');
		if (slash)
			*slash = 0;
	}
	if (snprintf(paths->build, sizeof(paths->build), "%s", self) >= (int)sizeof(paths->build) ||
	    snprintf(paths->source, sizeof(paths->source), "%s", CAUSEWAY_SOURCE_ROOT) >=
		    (int)sizeof(paths->source))
		return error_set(error, -ENAMETOOLONG, "the path %s is too long", self);
	length = strlen(self);
	snprintf(self + length, sizeof(self) - length, "/build.ninja");
	if (access(self, F_OK) == 0)
		return 0;
	/* BUNDLE/build/cli/causeway, made by scripts/bundle: what is needed of the source is there
	 */
	self[length] = 0;
	slash = strrchr(self, '/');
	if (slash) {
		*slash = 0;
		snprintf(paths->source, sizeof(paths->source), "%s", self);
		length = strlen(self);
		snprintf(self + length, sizeof(self) - length, "/bundle");
		if (access(self, F_OK) == 0)
			return 0;
	}
	return error_set(error, -ENOENT,
			 "%s holds neither a build folder nor a bundle: causeway must lie where it "
			 "was built, as BUILD/cli/causeway, or where scripts/bundle put it",
			 paths->build);
}
