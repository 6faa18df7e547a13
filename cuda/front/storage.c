/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Context-local storage: values that a runtime hangs on a context under a key of its own. A
 * runtime looks its value up in every call it makes, so that path takes no lock.
 *
 * State: one list of (context, key, value, destructor), few entries (contexts times runtimes in
 * the process), under storage_lock. Each thread remembers its last look-ups together with the
 * generation they were made in; put, delete and the end of a context raise the generation and so
 * void what all threads remember. Destructors run without the lock: they may call back.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "cuda/front/private.h"

#define REMEMBERED 4 /* look-ups a thread keeps; several runtimes may live in one process */

struct storage_entry {
	struct storage_entry *next;
	void *context;
	void *key;
	void *value;
	front_destructor destructor;
};

struct remembered {
	unsigned long generation;
	void *context;
	void *key;
	void *value;
};

static pthread_mutex_t storage_lock = PTHREAD_MUTEX_INITIALIZER;
static struct storage_entry *storage_list;	     /* protected by storage_lock */
static _Atomic unsigned long storage_generation = 1; /* raised under storage_lock */
static __thread struct remembered remembered[REMEMBERED];

static int resolve_context(void **context)
{
	int result;

	if (*context)
		return FRONT_SUCCESS;
	result = front_driver->context_current(context);
	if (result != FRONT_SUCCESS)
		return result;
	return *context ? FRONT_SUCCESS : FRONT_INVALID_CONTEXT;
}

static struct remembered *remembered_slot(const void *context, const void *key)
{
	uintptr_t mix = ((uintptr_t)context ^ (uintptr_t)key) >> 4;

	return &remembered[(mix ^ (mix >> 8)) % REMEMBERED];
}

/* Caller holds storage_lock. */
static struct storage_entry **find_entry(const void *context, const void *key)
{
	struct storage_entry **link = &storage_list;

	while (*link && ((*link)->context != context || (*link)->key != key))
		link = &(*link)->next;
	return link;
}

int front_storage_put(void *context, void *key, void *value, front_destructor destructor)
{
	struct storage_entry **link;
	int result = resolve_context(&context);

	if (result != FRONT_SUCCESS)
		return result;
	pthread_mutex_lock(&storage_lock);
	link = find_entry(context, key);
	if (!*link)
		*link = calloc(1, sizeof(**link));
	if (*link) {
		(*link)->context = context;
		(*link)->key = key;
		(*link)->value = value;
		(*link)->destructor = destructor;
		atomic_fetch_add(&storage_generation, 1);
	} else {
		result = FRONT_OUT_OF_MEMORY;
	}
	pthread_mutex_unlock(&storage_lock);
	return result;
}

int front_storage_delete(void *context, void *key)
{
	struct storage_entry *entry;
	struct storage_entry **link;
	int result = resolve_context(&context);

	if (result != FRONT_SUCCESS)
		return result;
	pthread_mutex_lock(&storage_lock);
	link = find_entry(context, key);
	entry = *link;
	if (entry) {
		*link = entry->next;
		atomic_fetch_add(&storage_generation, 1);
	}
	pthread_mutex_unlock(&storage_lock);
	if (!entry)
		return FRONT_INVALID_HANDLE;
	free(entry);
	return FRONT_SUCCESS;
}

int front_storage_get(void **value, void *context, void *key)
{
	unsigned long generation = atomic_load_explicit(&storage_generation, memory_order_acquire);
	struct storage_entry *entry;
	struct remembered *slot;
	int result;

	if (!value)
		return FRONT_INVALID_VALUE;
	result = resolve_context(&context);
	if (result != FRONT_SUCCESS)
		return result;
	slot = remembered_slot(context, key);
	if (slot->generation == generation && slot->context == context && slot->key == key) {
		*value = slot->value;
		return FRONT_SUCCESS;
	}
	pthread_mutex_lock(&storage_lock);
	entry = *find_entry(context, key);
	if (entry)
		*slot = (struct remembered){ atomic_load(&storage_generation), context, key,
					     entry->value };
	pthread_mutex_unlock(&storage_lock);
	if (!entry)
		return FRONT_INVALID_HANDLE;
	*value = slot->value;
	return FRONT_SUCCESS;
}

/* Takes one entry of the context off the list; NULL when none is left. */
static struct storage_entry *take_entry(const void *context)
{
	struct storage_entry **link = &storage_list;
	struct storage_entry *entry;

	pthread_mutex_lock(&storage_lock);
	while (*link && (*link)->context != context)
		link = &(*link)->next;
	entry = *link;
	if (entry) {
		*link = entry->next;
		atomic_fetch_add(&storage_generation, 1);
	}
	pthread_mutex_unlock(&storage_lock);
	return entry;
}

void front_context_destroyed(void *context)
{
	struct storage_entry *entry;

	while ((entry = take_entry(context))) {
		if (entry->destructor)
			entry->destructor(context, entry->key, entry->value);
		free(entry);
	}
}
