/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of causeway doctor share; see doctor.c. */
#ifndef CAUSEWAY_CLI_DOCTOR_H
#define CAUSEWAY_CLI_DOCTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#define DOCTOR_LIBRARIES  "/usr/lib/x86_64-linux-gnu"
#define DOCTOR_FILE_BYTES 65536

/* One look at a machine. */
struct doctor {
	const char *root; /* without a slash at its end; "" for the machine itself */
	enum { ROLE_ASK, ROLE_HOST, ROLE_GUEST } role;
	unsigned int lacking;
};

/* doctor_good - something is as it should be */
void doctor_good(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* doctor_lacks - something is not: @mend is the command, the rest says what */
void doctor_lacks(struct doctor *doctor, const char *mend, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* doctor_there - whether a file is there; its status for those who ask */
bool doctor_there(const struct doctor *doctor, const char *path, struct stat *status);

/* doctor_any_file - whether any file matches */
bool doctor_any_file(const struct doctor *doctor, const char *pattern);

/*
 * doctor_contents - the beginning of a file as text, "" where it cannot be read; returns its length
 * @whole: with the root
 */
size_t doctor_contents(const char *whole, char *text, size_t bytes);

/* doctor_versions - whether packages, daemons, libraries and modules fit each other */
void doctor_versions(struct doctor *doctor);

#endif
