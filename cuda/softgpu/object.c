/* SPDX-License-Identifier: Apache-2.0 */
/*
 * object: handles. Each kind has an array of its own, reserved as addresses at first use and never
 * given back, so any value a program passes can be checked by range, alignment and mark without a
 * lock, and a stale pointer inside the driver points at memory of the right type.
 *
 * Locks: one for each kind, over its free list and its high-water mark.
 */
#include <string.h>
#include <sys/mman.h>

#include "cuda/softgpu/driver.h"

#define OBJECTS_MAX (1ul << 20) /* of one kind */

struct array {
	pthread_mutex_t lock;
	_Atomic(unsigned char *) base;
	size_t bytes;	 /* of one object */
	size_t persists; /* bytes at its start that reuse does not clear */
	_Atomic size_t used;
	struct object *free;
};

static struct array arrays[OBJECT_KINDS] = {
	[0 ... OBJECT_KINDS - 1] = { .lock = PTHREAD_MUTEX_INITIALIZER },
};

static size_t kind_bytes(enum object_kind kind, size_t *persists)
{
	*persists = sizeof(struct object);
	switch (kind) {
	case OBJECT_CONTEXT:
		return sizeof(struct context);
	case OBJECT_STREAM:
		*persists = offsetof(struct stream, context);
		return sizeof(struct stream);
	case OBJECT_EVENT:
		*persists = event_persists();
		return event_bytes();
	case OBJECT_MODULE:
		return sizeof(struct module);
	case OBJECT_LIBRARY:
		return sizeof(struct library);
	case OBJECT_FUNCTION:
		return sizeof(struct function);
	case OBJECT_KERNEL:
		return sizeof(struct kernel);
	case OBJECT_POOL:
		return pool_bytes();
	case OBJECT_GRAPH:
		return graph_bytes();
	case OBJECT_NODE:
		return node_bytes();
	case OBJECT_EXEC:
		return exec_bytes();
	case OBJECT_PHYSICAL:
		return physical_bytes();
	case OBJECT_KINDS:
		break;
	}
	return 0;
}

/* Caller holds the array's lock. */
static bool array_open(struct array *array, enum object_kind kind)
{
	void *base;

	if (array->base)
		return true;
	array->bytes = (kind_bytes(kind, &array->persists) + 15) & ~15ul;
	base = mmap(NULL, OBJECTS_MAX * array->bytes, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		return false;
	array->base = base;
	return true;
}

void *object_create(enum object_kind kind)
{
	struct array *array = &arrays[kind];
	struct object *object = NULL;

	pthread_mutex_lock(&array->lock);
	if (array->free) {
		object = array->free;
		array->free = object->next_free;
	} else if (array_open(array, kind) && array->used < OBJECTS_MAX) {
		object = (struct object *)(array->base + array->used * array->bytes);
		array->used++;
	}
	pthread_mutex_unlock(&array->lock);
	if (!object)
		return NULL;
	memset((unsigned char *)object + array->persists, 0, array->bytes - array->persists);
	object->next_free = NULL;
	object->live = 1;
	return object;
}

void object_destroy(enum object_kind kind, void *handle)
{
	struct array *array = &arrays[kind];
	struct object *object = handle;

	object->live = 0;
	pthread_mutex_lock(&array->lock);
	object->next_free = array->free;
	array->free = object;
	pthread_mutex_unlock(&array->lock);
}

/* Whether @handle is the address of an object of that kind, live or not. */
static bool object_inside(enum object_kind kind, const void *handle)
{
	struct array *array = &arrays[kind];
	uintptr_t base = (uintptr_t)array->base;
	uintptr_t offset = (uintptr_t)handle - base;

	return base && (uintptr_t)handle >= base && offset < array->used * array->bytes &&
	       offset % array->bytes == 0;
}

bool object_valid(enum object_kind kind, const void *handle)
{
	return object_inside(kind, handle) && ((const struct object *)handle)->live == 1;
}

void *object_next(enum object_kind kind, const void *after)
{
	struct array *array = &arrays[kind];
	size_t index = 0;

	if (!array->base)
		return NULL;
	if (after)
		index = (size_t)((const unsigned char *)after - array->base) / array->bytes + 1;
	for (; index < array->used; index++) {
		struct object *object = (struct object *)(array->base + index * array->bytes);

		if (object->live)
			return object;
	}
	return NULL;
}
