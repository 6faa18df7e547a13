/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest's first process does once, before it serves commands. */
#ifndef CAUSEWAY_TESTBED_AGENT_SETUP_H
#define CAUSEWAY_TESTBED_AGENT_SETUP_H

#include "lib/base/error.h"

#define AGENT_MODULES_FILE "/etc/causeway/modules"
#define AGENT_FOLDERS_FILE "/etc/causeway/folders"

/* agent_setup_system - file systems, host name, loopback; 0 or -errno with the sentence */
int agent_setup_system(struct error *error);

/**
 * agent_setup_modules - load the modules that AGENT_MODULES_FILE lists
 *
 * One line for each, in the order of loading: its path, then its parameters behind a space.
 * Stops at the first that fails. Return: 0 or -errno with the sentence.
 */
int agent_setup_modules(struct error *error);

/**
 * agent_setup_folders - mount the host's folders that AGENT_FOLDERS_FILE lists, read-only
 *
 * One line for each: file system, source, path, options, with one space between. No file: none.
 * Stops at the first that fails. Return: 0 or -errno with the sentence.
 */
int agent_setup_folders(struct error *error);

/**
 * agent_setup_channel - open the stream to the host
 * @path: a device, or tcp:OWN-ADDRESS:ADDRESS:PORT (the own one is given to eth0 first); it may
 *	still be on its way and is waited for: a minute
 *
 * Return: a blocking descriptor in raw mode, or -errno with the sentence.
 */
int agent_setup_channel(const char *path, struct error *error);

#endif
