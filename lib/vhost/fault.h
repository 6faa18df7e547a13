/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Surviving a VMM that truncates the file behind its guest's memory.
 *
 * An access to a page behind the file's new end raises SIGBUS in the thread that touched it. The
 * handler looks whether the address lies in memory that this thread announced; if so it puts
 * private zero pages over that mapping, marks it as lost and lets the access go on. The
 * session ends at its next check; other VMs notice nothing. Any other SIGBUS is passed on to
 * whoever handled it before.
 */
#ifndef CAUSEWAY_LIB_VHOST_FAULT_H
#define CAUSEWAY_LIB_VHOST_FAULT_H

#include "lib/vhost/memory.h"

/* vhost_fault_install - take SIGBUS for the process; once, before threads start; 0 or -errno */
int vhost_fault_install(void);

/**
 * vhost_fault_guard_mappings - this thread also accesses @count mappings that it holds; 0 ends it
 *
 * For threads that copy between guests. @list must outlive the announcement.
 */
void vhost_fault_guard_mappings(struct vhost_mapping *const *list, unsigned int count);

/**
 * vhost_fault_guard - this thread accesses @memory from now on; NULL ends it
 *
 * Only one at a time in each thread. @memory must outlive the announcement.
 */
void vhost_fault_guard(struct vhost_memory *memory);

/* vhost_fault_guard_other - the same for a second memory, to copy from one guest to another */
void vhost_fault_guard_other(struct vhost_memory *memory);

#endif
