/* SPDX-License-Identifier: Apache-2.0 */
/* The tree's memory, names and types. */
#include "cuda/softgpu/ptx_text.h"

#include <stdlib.h>
#include <string.h>

#define ARENA_CHUNK_BYTES ((size_t)64 * 1024)

struct ptx_arena_chunk {
	struct ptx_arena_chunk *next;
	size_t used;
	size_t bytes;
	_Alignas(16) unsigned char data[];
};

void *ptx_arena_take(struct ptx_arena *arena, size_t bytes)
{
	struct ptx_arena_chunk *chunk = arena->chunks;
	void *taken;

	if (bytes > PTX_ARENA_BYTES_MAX)
		return NULL;
	bytes = (bytes + 15) & ~(size_t)15;
	if (!chunk || chunk->bytes - chunk->used < bytes) {
		size_t size = bytes > ARENA_CHUNK_BYTES / 4 ? bytes : ARENA_CHUNK_BYTES;

		if (arena->bytes + size > PTX_ARENA_BYTES_MAX)
			return NULL;
		chunk = malloc(sizeof(*chunk) + size);
		if (!chunk)
			return NULL;
		chunk->used = 0;
		chunk->bytes = size;
		arena->bytes += size;
		if (arena->chunks && size == bytes) {
			/* A large piece goes behind, so that the open chunk stays in use. */
			chunk->next = arena->chunks->next;
			arena->chunks->next = chunk;
		} else {
			chunk->next = arena->chunks;
			arena->chunks = chunk;
		}
	}
	taken = chunk->data + chunk->used;
	chunk->used += bytes;
	memset(taken, 0, bytes);
	return taken;
}

void ptx_arena_free(struct ptx_arena *arena)
{
	struct ptx_arena_chunk *chunk = arena->chunks;

	while (chunk) {
		struct ptx_arena_chunk *next = chunk->next;

		free(chunk);
		chunk = next;
	}
	arena->chunks = NULL;
	arena->bytes = 0;
}

static const struct {
	const char *name;
	unsigned int bytes;
} type_facts[PTX_TYPE_COUNT] = {
	[PTX_TYPE_NONE] = { "", 0 },	   [PTX_TYPE_PRED] = { "pred", 0 },
	[PTX_TYPE_B8] = { "b8", 1 },	   [PTX_TYPE_U8] = { "u8", 1 },
	[PTX_TYPE_S8] = { "s8", 1 },	   [PTX_TYPE_B16] = { "b16", 2 },
	[PTX_TYPE_U16] = { "u16", 2 },	   [PTX_TYPE_S16] = { "s16", 2 },
	[PTX_TYPE_F16] = { "f16", 2 },	   [PTX_TYPE_BF16] = { "bf16", 2 },
	[PTX_TYPE_B32] = { "b32", 4 },	   [PTX_TYPE_U32] = { "u32", 4 },
	[PTX_TYPE_S32] = { "s32", 4 },	   [PTX_TYPE_F32] = { "f32", 4 },
	[PTX_TYPE_F16X2] = { "f16x2", 4 }, [PTX_TYPE_BF16X2] = { "bf16x2", 4 },
	[PTX_TYPE_U16X2] = { "u16x2", 4 }, [PTX_TYPE_S16X2] = { "s16x2", 4 },
	[PTX_TYPE_B64] = { "b64", 8 },	   [PTX_TYPE_U64] = { "u64", 8 },
	[PTX_TYPE_S64] = { "s64", 8 },	   [PTX_TYPE_F64] = { "f64", 8 },
	[PTX_TYPE_B128] = { "b128", 16 },
};

enum ptx_type ptx_type_find(const char *name)
{
	for (unsigned int type = 1; type < PTX_TYPE_COUNT; type++)
		if (!strcmp(name, type_facts[type].name))
			return type;
	return PTX_TYPE_NONE;
}

const char *ptx_type_name(enum ptx_type type)
{
	return type_facts[type].name;
}

unsigned int ptx_type_bytes(enum ptx_type type)
{
	return type_facts[type].bytes;
}

static uint32_t name_hash(const char *text, size_t length)
{
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < length; i++)
		hash = (hash ^ (unsigned char)text[i]) * 16777619u;
	return hash;
}

struct ptx_name *ptx_tree_name(struct ptx_tree *tree, const char *text, size_t length)
{
	uint32_t hash = name_hash(text, length);
	struct ptx_name **bucket = &tree->buckets[hash % PTX_NAME_BUCKETS];
	struct ptx_name *name;

	for (name = *bucket; name; name = name->next)
		if (name->hash == hash && name->length == length &&
		    !memcmp(name->text, text, length))
			return name;
	if (length > 65535)
		return NULL;
	name = ptx_arena_take(&tree->arena, sizeof(*name) + length + 1);
	if (!name)
		return NULL;
	memcpy(name->text, text, length);
	name->hash = hash;
	name->length = (uint32_t)length;
	name->next = *bucket;
	*bucket = name;
	return name;
}
