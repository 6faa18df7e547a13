/* SPDX-License-Identifier: Apache-2.0 */
/* The SIGBUS handler; see fault.h. Everything it calls is a plain system call. */
#include "lib/vhost/fault.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>

static _Thread_local struct vhost_memory *fault_memory;
static struct sigaction fault_previous;

/* vhost_fault_replace - zero pages over the region that holds @address; whether there was one */
static bool vhost_fault_replace(struct vhost_memory *memory, const unsigned char *address)
{
	for (unsigned int i = 0; i < memory->count; i++) {
		struct vhost_memory_region *region = &memory->regions[i];
		const unsigned char *start = region->mapping;

		if (address < start || address >= start + region->mapping_bytes)
			continue;
		memory->lost = 1;
		return mmap(region->mapping, region->mapping_bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
			    0) != MAP_FAILED;
	}
	return false;
}

static void vhost_fault_handle(int number, siginfo_t *info, void *context)
{
	int saved_errno = errno;

	if (fault_memory && vhost_fault_replace(fault_memory, info->si_addr)) {
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

void vhost_fault_guard(struct vhost_memory *memory)
{
	fault_memory = memory;
}
