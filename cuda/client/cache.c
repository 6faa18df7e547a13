/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers that are remembered: what a call marked `cached` answered for the same arguments.
 *
 * An answer's set of WAYS entries follows from a hash of call, context and argument block; in a
 * full set the places are taken in turn. (With one place each, two launches of a training step that
 * met in it asked the device about each other at every step.) Whatever ends a handle or changes a
 * function's attributes forgets everything, which is rare. cache.lock protects the table.
 */
#include <stdint.h>

#include "cuda/client/client.h"

#define SETS	     512u
#define WAYS	     8u
#define KEY_BYTES    48u
#define ANSWER_BYTES 16u

struct cache_entry {
	uint64_t generation; /* valid while it is the table's */
	uint32_t context;
	uint16_t number;
	uint16_t block_bytes;
	unsigned char block[KEY_BYTES];
	unsigned char answer[ANSWER_BYTES];
};

static struct {
	pthread_mutex_t lock;
	uint64_t generation;
	struct cache_set {
		struct cache_entry entries[WAYS];
		unsigned int next;
	} sets[SETS];
} cache = { .lock = PTHREAD_MUTEX_INITIALIZER, .generation = 1 };

static struct cache_set *cache_set(const struct client_call *call, uint32_t context)
{
	uint64_t hash = 0xcbf29ce484222325u ^ call->number ^ ((uint64_t)context << 32);
	const unsigned char *block = call->block;

	for (uint32_t i = 0; i < call->block_bytes; i++)
		hash = (hash ^ block[i]) * 0x100000001b3u;
	return &cache.sets[(hash >> 32) % SETS];
}

/* cache_entry_find - under the lock; NULL: not known */
static struct cache_entry *cache_entry_find(struct cache_set *set, const struct client_call *call,
					    uint32_t context)
{
	for (unsigned int i = 0; i < WAYS; i++) {
		struct cache_entry *entry = &set->entries[i];

		if (entry->generation == cache.generation && entry->context == context &&
		    entry->number == call->number && entry->block_bytes == call->block_bytes &&
		    !memcmp(entry->block, call->block, call->block_bytes))
			return entry;
	}
	return NULL;
}

static bool cache_fits(const struct client_call *call)
{
	return call->block_bytes <= KEY_BYTES && call->reply_bytes <= ANSWER_BYTES &&
	       !call->piece_count;
}

bool client_cache_find(const struct client_call *call, uint32_t context)
{
	struct cache_entry *entry;

	if (!cache_fits(call))
		return false;
	pthread_mutex_lock(&cache.lock);
	entry = cache_entry_find(cache_set(call, context), call, context);
	if (entry)
		memcpy(call->reply, entry->answer, call->reply_bytes);
	pthread_mutex_unlock(&cache.lock);
	return entry;
}

void client_cache_store(const struct client_call *call, uint32_t context)
{
	struct cache_set *set = cache_set(call, context);
	struct cache_entry *entry;

	if (!cache_fits(call))
		return;
	pthread_mutex_lock(&cache.lock);
	entry = cache_entry_find(set, call, context);
	if (!entry)
		entry = &set->entries[set->next++ % WAYS];
	entry->generation = cache.generation;
	entry->context = context;
	entry->number = call->number;
	entry->block_bytes = (uint16_t)call->block_bytes;
	memcpy(entry->block, call->block, call->block_bytes);
	memcpy(entry->answer, call->reply, call->reply_bytes);
	pthread_mutex_unlock(&cache.lock);
}

void client_cache_clear(void)
{
	pthread_mutex_lock(&cache.lock);
	cache.generation++;
	pthread_mutex_unlock(&cache.lock);
}
