/* SPDX-License-Identifier: Apache-2.0 */
/*
 * As many threads as cores. A card that shares its cores among VMs gives and takes them while
 * programs run; libraries of threads look once, at the start. Where the program's threads are the
 * card's to choose (CAUSEWAY_CARD_THREADS), they are told before a run function begins.
 */
#include <dlfcn.h>
#include <sched.h>
#include <stdlib.h>

#include "scif/coi/device/sink.h"

typedef void (*threads_setter)(int count);

void threads_follow(void)
{
	static const char *const setters[] = { "omp_set_num_threads", "openblas_set_num_threads" };
	static _Thread_local int told;
	cpu_set_t cores;
	int count;

	if (!sink.threads_follow || sched_getaffinity(0, sizeof(cores), &cores) < 0)
		return;
	count = CPU_COUNT(&cores);
	if (count == told)
		return;
	told = count;
	for (unsigned int i = 0; i < 2; i++) {
		void *symbol = dlsym(RTLD_DEFAULT, setters[i]);

		/* ISO C has no cast from an object to a function; POSIX promises this one. */
		if (symbol)
			((threads_setter)(uintptr_t)symbol)(count);
	}
}
