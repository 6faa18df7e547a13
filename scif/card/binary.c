/* SPDX-License-Identifier: Apache-2.0 */
/* Headers and the dynamic section of an ELF file; see binary.h. */
#include "scif/card/binary.h"

#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define BINARY_MACHINE_K1OM 181 /* which <elf.h> does not name */

/* Copies @size bytes at @offset of the file; false where there are none. */
static bool elf_take(const void *data, size_t bytes, uint64_t offset, void *to, size_t size)
{
	if (offset > bytes || size > bytes - offset)
		return false;
	memcpy(to, (const char *)data + offset, size);
	return true;
}

int elf_check_program(const void *data, size_t bytes, struct error *error)
{
	Elf64_Ehdr header;

	if (bytes >= 2 && memcmp(data, "#!", 2) == 0)
		return error_set(error, -ENOEXEC, "a script; the card runs x86-64 programs");
	if (!elf_take(data, bytes, 0, &header, sizeof(header)) ||
	    memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
		return error_set(error, -ENOEXEC, "not an ELF file; the card runs x86-64 programs");
	if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB ||
	    header.e_machine != EM_X86_64)
		return error_set(error, -ENOEXEC,
				 "a program for machine %u%s; the card runs x86-64 programs",
				 header.e_machine,
				 header.e_machine == BINARY_MACHINE_K1OM ? " (Knights Corner)"
									 : "");
	if (header.e_type != ET_EXEC && header.e_type != ET_DYN)
		return error_set(error, -ENOEXEC, "no program but an ELF file of type %u",
				 header.e_type);
	return 0;
}

/* The program header of @type, number @skip of its kind. */
static bool elf_segment(const void *data, size_t bytes, uint32_t type, unsigned int skip,
			Elf64_Phdr *segment)
{
	Elf64_Ehdr header;

	if (!elf_take(data, bytes, 0, &header, sizeof(header)) ||
	    header.e_phentsize != sizeof(*segment))
		return false;
	for (unsigned int i = 0; i < header.e_phnum; i++) {
		if (header.e_phoff > bytes ||
		    !elf_take(data, bytes, header.e_phoff + (uint64_t)i * sizeof(*segment), segment,
			      sizeof(*segment)))
			return false;
		if (segment->p_type == type && skip-- == 0)
			return true;
	}
	return false;
}

/* Where in the file the address lies, or UINT64_MAX. */
static uint64_t elf_offset(const void *data, size_t bytes, uint64_t address)
{
	Elf64_Phdr segment;

	for (unsigned int i = 0; elf_segment(data, bytes, PT_LOAD, i, &segment); i++) {
		if (address >= segment.p_vaddr && address - segment.p_vaddr < segment.p_filesz &&
		    segment.p_offset <= bytes)
			return segment.p_offset + (address - segment.p_vaddr);
	}
	return UINT64_MAX;
}

/* The string at @offset, which ends within the file, or NULL. */
static const char *elf_string(const void *data, size_t bytes, uint64_t table, uint64_t offset)
{
	const char *text = data;

	if (table >= bytes || offset >= bytes - table ||
	    !memchr(text + table + offset, 0, bytes - table - offset))
		return NULL;
	return text + table + offset;
}

/* What the dynamic section says with strings. */
struct elf_names {
	const char **needed;
	size_t room, count;
	const char *runpath, *soname;
};

/* One entry's string to where it belongs; 0, -ENOEXEC or -E2BIG. */
static int elf_note(struct elf_names *names, int64_t tag, const char *text)
{
	if (!text)
		return -ENOEXEC;
	if (tag == DT_SONAME)
		names->soname = text;
	else if (tag != DT_NEEDED)
		names->runpath = text;
	else if (names->needed && names->count == names->room)
		return -E2BIG;
	else if (names->needed)
		names->needed[names->count++] = text;
	return 0;
}

/* Reads the dynamic section; 0, also for a static program, -ENOEXEC or -E2BIG. */
static int elf_dynamic(const void *data, size_t bytes, struct elf_names *names)
{
	Elf64_Phdr dynamic;
	Elf64_Dyn entry;
	uint64_t table = UINT64_MAX;
	int status = 0;

	if (!elf_segment(data, bytes, PT_DYNAMIC, 0, &dynamic))
		return 0;
	if (dynamic.p_offset > bytes || dynamic.p_filesz > bytes - dynamic.p_offset)
		return -ENOEXEC;
	/* Twice: where the strings are stands behind those that are looked up. */
	for (int pass = 0; pass < 2; pass++) {
		for (uint64_t at = 0; at + sizeof(entry) <= dynamic.p_filesz && status == 0;
		     at += sizeof(entry)) {
			elf_take(data, bytes, dynamic.p_offset + at, &entry, sizeof(entry));
			if (entry.d_tag == DT_NULL)
				break;
			if (pass == 0 && entry.d_tag == DT_STRTAB)
				table = elf_offset(data, bytes, entry.d_un.d_ptr);
			if (pass == 1 && (entry.d_tag == DT_NEEDED || entry.d_tag == DT_RUNPATH ||
					  entry.d_tag == DT_RPATH || entry.d_tag == DT_SONAME))
				status = elf_note(names, entry.d_tag,
						  elf_string(data, bytes, table, entry.d_un.d_val));
		}
	}
	return status;
}

int elf_needed(const void *data, size_t bytes, const char **names, size_t room,
	       const char **runpath)
{
	struct elf_names found = { .needed = names, .room = room };
	int status = elf_dynamic(data, bytes, &found);

	*runpath = found.runpath;
	return status < 0 ? status : (int)found.count;
}

const char *elf_soname(const void *data, size_t bytes)
{
	struct elf_names found = { .needed = NULL };

	return elf_dynamic(data, bytes, &found) < 0 ? NULL : found.soname;
}
