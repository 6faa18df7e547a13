/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a card and its clients want to know of an ELF file: whether a card can run it, and which
 * libraries it names. The file is untrusted: every offset is checked against its size.
 */
#ifndef CAUSEWAY_SCIF_CARD_BINARY_H
#define CAUSEWAY_SCIF_CARD_BINARY_H

#include <stddef.h>

#include "lib/base/error.h"

/* elf_check_program - 0; -ENOEXEC with a sentence that says what it is instead */
int elf_check_program(const void *data, size_t bytes, struct error *error);

/**
 * elf_needed - names of the libraries (DT_NEEDED)
 * @names: out, pointers into @data
 * @runpath: out, its own search path (DT_RUNPATH or DT_RPATH), or NULL
 *
 * Return: how many; 0 for a static program; -ENOEXEC when the file is broken, -E2BIG beyond @room.
 */
int elf_needed(const void *data, size_t bytes, const char **names, size_t room,
	       const char **runpath);

/* elf_soname - the name that a library goes by (DT_SONAME), in @data, or NULL */
const char *elf_soname(const void *data, size_t bytes);

#endif
