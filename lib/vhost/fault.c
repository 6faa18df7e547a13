/* SPDX-License-Identifier: Apache-2.0 */
/* The SIGBUS handler; see fault.h. Everything it calls is a plain system call. */
#include "lib/vhost/fault.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>

static _Thread_local struct vhost_memory *fault_memory, *fault_other_memory;
static _Thread_local struct vhost_mapping *const *fault_mappings;
static _Thread_local unsigned int fault_mapping_count;
static struct sigaction fault_previous;

/* Zero pages over the mapping if it holds @address; whether that is done. */
static bool vhost_fault_replace(struct vhost_mapping *mapping, const unsigned char *address)
{
	if (address < mapping->base || address >= mapping->base + mapping->bytes)
		return false;
	mapping->lost = 1;
	return mmap(mapping->base, mapping->bytes, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED;
}

static bool vhost_fault_mend_memory(struct vhost_memory *memory, const unsigned char *address)
{
	for (unsigned int i = 0; memory && i < memory->count; i++) {
		if (vhost_fault_replace(memory->regions[i].mapping, address))
			return true;
	}
	return false;
}

static bool vhost_fault_mend(const unsigned char *address)
{
	if (vhost_fault_mend_memory(fault_memory, address) ||
	    vhost_fault_mend_memory(fault_other_memory, address))
		return true;
	for (unsigned int i = 0; i < fault_mapping_count; i++) {
		if (vhost_fault_replace(fault_mappings[i], address))
			return true;
	}
	return false;
}

static void vhost_fault_handle(int number, siginfo_t *info, void *context)
{
	int saved_errno = errno;

	if (vhost_fault_mend(info->si_addr)) {
		errno = saved_errno;
		return;
	}
	if (fault_previous.sa_flags & SA_SIGINFO) {
		fault_previous.sa_sigaction(number, info, context);
	} else if (fault_previous.sa_handler != SIG_DFL && fault_previous.sa_handler != SIG_IGN) {
		fault_previous.sa_handler(number);
	} else {
		/* The access is repeated on return and now ends the process, with a core. */
		signal(SIGBUS, SIG_DFL);
	}
	errno = saved_errno;
}

int vhost_fault_install(void)
{
	struct sigaction action = { .sa_sigaction = vhost_fault_handle, .sa_flags = SA_SIGINFO };

	sigemptyset(&action.sa_mask);
	return sigaction(SIGBUS, &action, &fault_previous) < 0 ? -errno : 0;
}

void vhost_fault_guard_mappings(struct vhost_mapping *const *list, unsigned int count)
{
	fault_mapping_count = 0;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	fault_mappings = list;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	fault_mapping_count = count;
}

void vhost_fault_guard(struct vhost_memory *memory)
{
	fault_memory = memory;
}

void vhost_fault_guard_other(struct vhost_memory *memory)
{
	fault_other_memory = memory;
}
