/* SPDX-License-Identifier: Apache-2.0 */
/* Tells whether a library can be preloaded into a program; see program.h. */
#include "cli/program.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/base/clean.h"

#define SCRIPT_LINE_BYTES 256 /* the kernel's own limit */
#define SCRIPTS_MAX	  4   /* interpreters of interpreters */
#define SECTIONS_MAX	  4096
#define NAME_BYTES	  32

/* Exactly @bytes bytes at @offset; false where the file does not have them. */
static bool read_at(int fd, void *to, size_t bytes, uint64_t offset)
{
	return offset <= INT64_MAX - bytes && pread(fd, to, bytes, (off_t)offset) == (ssize_t)bytes;
}

/* A "#!" line: the interpreter's path. */
static void read_script(int fd, struct program *program)
{
	char line[SCRIPT_LINE_BYTES + 1] = { 0 }, *path;

	if (pread(fd, line, SCRIPT_LINE_BYTES, 0) < 0)
		return;
	path = line + 2 + strspn(line + 2, " \t");
	path[strcspn(path, " \t\r\n")] = '\0';
	if (!*path)
		return;
	memcpy(program->interpreter, path, strlen(path) + 1);
	program->kind = PROGRAM_SCRIPT;
}

/* Whether a section of that kind is there which only Go's linker makes. */
static bool has_go_section(int fd, const Elf64_Ehdr *header)
{
	Elf64_Shdr names, section;
	char name[NAME_BYTES] = { 0 };

	if (header->e_shentsize != sizeof(section) || header->e_shnum > SECTIONS_MAX ||
	    header->e_shstrndx >= header->e_shnum ||
	    !read_at(fd, &names, sizeof(names),
		     header->e_shoff + (uint64_t)header->e_shstrndx * sizeof(section)))
		return false;
	for (unsigned i = 0; i < header->e_shnum; i++) {
		if (!read_at(fd, &section, sizeof(section),
			     header->e_shoff + (uint64_t)i * sizeof(section)))
			return false;
		if (section.sh_name >= names.sh_size || names.sh_offset > INT64_MAX ||
		    !read_at(fd, name, sizeof("go.buildid") + 8, names.sh_offset + section.sh_name))
			continue;
		if (!strcmp(name, ".go.buildinfo") || !strcmp(name, ".note.go.buildid"))
			return true;
	}
	return false;
}

/* The loader that the program names; false where it names none. */
static bool read_loader(int fd, const Elf64_Ehdr *header, struct program *program)
{
	Elf64_Phdr segment;

	if (header->e_phentsize != sizeof(segment))
		return false;
	for (unsigned i = 0; i < header->e_phnum; i++) {
		if (!read_at(fd, &segment, sizeof(segment),
			     header->e_phoff + (uint64_t)i * sizeof(segment)))
			return false;
		if (segment.p_type != PT_INTERP || !segment.p_filesz ||
		    segment.p_filesz >= sizeof(program->interpreter))
			continue;
		if (!read_at(fd, program->interpreter, segment.p_filesz, segment.p_offset))
			return false;
		program->interpreter[segment.p_filesz] = '\0';
		return true;
	}
	return false;
}

int program_inspect(int fd, struct program *program)
{
	Elf64_Ehdr header = { 0 };
	ssize_t got = pread(fd, &header, sizeof(header), 0);

	*program = (struct program){ .kind = PROGRAM_UNKNOWN };
	if (got < 0)
		return -errno;
	if (got >= 2 && !memcmp(header.e_ident, "#!", 2)) {
		read_script(fd, program);
		return 0;
	}
	if (got < (ssize_t)sizeof(header) || memcmp(header.e_ident, ELFMAG, SELFMAG))
		return 0;
	if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB ||
	    header.e_machine != EM_X86_64)
		program->kind = PROGRAM_OTHER_MACHINE;
	else if (has_go_section(fd, &header))
		program->kind = PROGRAM_GO;
	else if (!read_loader(fd, &header, program))
		program->kind = PROGRAM_STATIC;
	else
		program->kind = strstr(program->interpreter, "/ld-linux-x86-64.so")
					? PROGRAM_PRELOADS
					: PROGRAM_OTHER_LIBC;
	return 0;
}

/* Whether exec gives the process other rights than ours: the loader then preloads nothing. */
static bool changes_rights(int fd)
{
	struct stat status;

	if (fstat(fd, &status) < 0)
		return false;
	if ((status.st_mode & S_ISUID && status.st_uid != getuid()) ||
	    (status.st_mode & S_ISGID && status.st_mode & S_IXGRP && status.st_gid != getgid()))
		return true;
	return getuid() && fgetxattr(fd, "security.capability", NULL, 0) > 0;
}

/* The file that execvp() would take; 0 or -errno. */
static int find_program(const char *name, char path[PATH_MAX])
{
	const char *folders = getenv("PATH");
	int code = -ENOENT;

	if (strchr(name, '/')) {
		snprintf(path, PATH_MAX, "%s", name);
		return access(path, X_OK) < 0 ? -errno : 0;
	}
	if (!folders)
		folders = "/bin:/usr/bin";
	for (const char *end; *name; folders = end + 1) {
		struct stat status;

		end = folders + strcspn(folders, ":");
		snprintf(path, PATH_MAX, "%.*s%s%s", (int)(end - folders), folders,
			 end > folders ? "/" : "", name);
		if (stat(path, &status) == 0 && S_ISREG(status.st_mode)) {
			if (access(path, X_OK) == 0)
				return 0;
			code = -errno;
		}
		if (!*end)
			break;
	}
	return code;
}

int program_check(const char *name, struct error *error)
{
	static const char *const reasons[] = {
		[PROGRAM_STATIC] = "is statically linked: no library can be loaded into it",
		[PROGRAM_GO] = "is a Go program: it makes its system calls without the C library",
		[PROGRAM_OTHER_LIBC] = "is for another C library than glibc",
		[PROGRAM_OTHER_MACHINE] = "is not for 64-bit x86",
	};
	struct program program;
	char path[PATH_MAX];
	int code = find_program(name, path);

	if (code)
		return error_set(error, code, "%s: %s", name, strerror(-code));
	for (int depth = 0; depth < SCRIPTS_MAX; depth++) {
		autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);

		/* One that may be run but not read: exec will tell. */
		if (fd < 0 || program_inspect(fd, &program) < 0)
			return 0;
		if (changes_rights(fd))
			return error_set(error, -ENOTSUP,
					 "%s runs with rights of its own (setuid, setgid or "
					 "capabilities): the loader preloads nothing into it",
					 path);
		if (program.kind != PROGRAM_SCRIPT)
			break;
		memcpy(path, program.interpreter, sizeof(path));
	}
	if (program.kind < sizeof(reasons) / sizeof(*reasons) && reasons[program.kind])
		return error_set(error, -ENOTSUP, "%s %s", path, reasons[program.kind]);
	return 0;
}
