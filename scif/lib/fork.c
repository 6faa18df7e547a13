/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a fork does to endpoints: see handle.h.
 *
 * Each file's lock is held while the process forks, so that the child finds tables in order. Other
 * threads' calls stay behind in the parent: the child's locks and lists of waiters are fresh. What
 * is mapped from peers is not inherited, so the child forgets it.
 */
#include <pthread.h>

#include "scif/lib/handle.h"

static void fork_prepare(void)
{
	handles_freeze();
	mappings_freeze();
	memory_freeze();
}

static void fork_parent(void)
{
	memory_thaw();
	mappings_thaw();
	handles_thaw();
}

static void fork_child(void)
{
	memory_thaw();
	mappings_forget();
	handles_inherit();
}

static void fork_register(void)
{
	pthread_atfork(fork_prepare, fork_parent, fork_child);
}

/* fork_watch - before the first endpoint */
void fork_watch(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, fork_register);
}
