/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers that are remembered: what a call marked `cached` answered for the same arguments.
 *
 * A direct-mapped table: an entry's place follows from a hash of call, context and argument block,
 * a newer answer replaces an older one. Whatever ends a handle or changes a function's attributes
 * forgets everything, which is rare. cache_lock protects the table.
 */
#include <stdint.h>

#include "cuda/client/client.h"

#define ENTRIES	     512u
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
	struct cache_entry entries[ENTRIES];
} cache = { .lock = PTHREAD_MUTEX_INITIALIZER, .generation = 1 };

static struct cache_entry *cache_place(const struct client_call *call, uint32_t context)
{
	uint64_t hash = 0xcbf29ce484222325u ^ call->number ^ ((uint64_t)context << 32);
	const unsigned char *block = call->block;

	for (uint32_t i = 0; i < call->block_bytes; i++)
		hash = (hash ^ block[i]) * 0x100000001b3u;
	return &cache.entries[(hash >> 32) % ENTRIES];
}

static bool cache_fits(const struct client_call *call)
{
	return call->block_bytes <= KEY_BYTES && call->reply_bytes <= ANSWER_BYTES &&
	       !call->piece_count;
}

bool client_cache_find(const struct client_call *call, uint32_t context)
{
	struct cache_entry *entry = cache_place(call, context);
	bool found;

	if (!cache_fits(call))
		return false;
	pthread_mutex_lock(&cache.lock);
	found = entry->generation == cache.generation && entry->context == context &&
		entry->number == call->number && entry->block_bytes == call->block_bytes &&
		!memcmp(entry->block, call->block, call->block_bytes);
	if (found)
		memcpy(call->reply, entry->answer, call->reply_bytes);
	pthread_mutex_unlock(&cache.lock);
	return found;
}

void client_cache_store(const struct client_call *call, uint32_t context)
{
	struct cache_entry *entry = cache_place(call, context);

	if (!cache_fits(call))
		return;
	pthread_mutex_lock(&cache.lock);
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
