/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handles: pointers that the program holds, numbers on the wire, objects in here.
 *
 * A handle points to a block of zeros in one reserved area, because some libraries read behind a
 * handle; block n belongs to object n, so a handle is checked with a subtraction and a look at the
 * object's kind. Nothing ever writes to a block, so it costs address space and no memory. Objects
 * lie in a second reserved area and are never unmapped: a stale handle finds a free or another
 * object, never a hole.
 *
 * handle_lock protects allocation, kinds' changes and the lists of children; the kind is also read
 * without it. An object's own fields are written before the program gets the handle.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "cuda/client/client.h"

#define BLOCK_BYTES 1024u

static struct {
	pthread_mutex_t lock;
	unsigned char *blocks;	       /* CUDA_WIRE_HANDLES blocks of zeros */
	struct client_object *objects; /* as many */
	uint32_t used;	     /* numbers below it were given out at some time; 0 never is */
	uint32_t free_first; /* list through next_sibling */
	uint64_t serial;
} handles = { .lock = PTHREAD_MUTEX_INITIALIZER, .used = 1 };

/* handle_reserve - an area of zeros that takes memory only where it is written */
static void *handle_reserve(size_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return at == MAP_FAILED ? NULL : at;
}

/* handle_open - reserve both areas; under the lock */
static int handle_open(void)
{
	if (!handles.blocks)
		handles.blocks = handle_reserve((size_t)CUDA_WIRE_HANDLES * BLOCK_BYTES);
	if (!handles.objects)
		handles.objects =
			handle_reserve((size_t)CUDA_WIRE_HANDLES * sizeof(struct client_object));
	return handles.blocks && handles.objects ? 0 : -ENOMEM;
}

/* handle_take - a number that is free, or 0; under the lock */
static uint32_t handle_take(void)
{
	uint32_t number = handles.free_first;

	if (number) {
		handles.free_first = handles.objects[number].next_sibling;
		return number;
	}
	return handles.used < CUDA_WIRE_HANDLES_CLIENT ? handles.used++ : 0;
}

/* handle_begin - the object of a number that is free; under the lock */
static struct client_object *handle_begin(enum cuda_wire_kind kind, uint32_t number,
					  uint32_t parent)
{
	struct client_object *object = &handles.objects[number];

	*object = (struct client_object){ .number = number, .parent = parent };
	object->serial = ++handles.serial;
	if (parent) {
		struct client_object *above = &handles.objects[parent];

		object->next_sibling = above->first_child;
		if (above->first_child)
			handles.objects[above->first_child].previous_sibling = number;
		above->first_child = number;
	}
	__atomic_store_n(&object->kind, (uint8_t)kind, __ATOMIC_RELEASE);
	return object;
}

CUresult client_handle_adopt(enum cuda_wire_kind kind, uint32_t number, uint32_t parent,
			     struct client_object **object)
{
	CUresult result = CUDA_SUCCESS;

	if (!number || number >= CUDA_WIRE_HANDLES || parent >= CUDA_WIRE_HANDLES)
		return CUDA_ERROR_UNKNOWN;
	pthread_mutex_lock(&handles.lock);
	if (handle_open()) {
		pthread_mutex_unlock(&handles.lock);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	*object = &handles.objects[number];
	if ((*object)->kind == KIND_none && number >= CUDA_WIRE_HANDLES_CLIENT) {
		if (parent && handles.objects[parent].kind == kind)
			parent = handles.objects[parent].parent;
		if (parent && handles.objects[parent].kind == KIND_none)
			parent = 0;
		*object = handle_begin(kind, number, parent);
	} else if ((*object)->kind != kind) {
		result = CUDA_ERROR_UNKNOWN; /* the worker says nonsense */
	}
	pthread_mutex_unlock(&handles.lock);
	return result;
}

CUresult client_handle_new(enum cuda_wire_kind kind, uint32_t parent, struct client_object **made)
{
	struct client_object *object = NULL;
	uint32_t number = 0;

	pthread_mutex_lock(&handles.lock);
	if (!handle_open())
		number = handle_take();
	if (number) {
		object = handle_begin(kind, number, parent);
	}
	pthread_mutex_unlock(&handles.lock);
	*made = object;
	return object ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

/* handle_free_facts - a kernel owns its facts; a function made from one borrows them */
static void handle_free_facts(struct client_object *object)
{
	struct client_function *facts = object->function;

	if (!facts)
		return;
	if (object->parent && handles.objects[object->parent].kind == KIND_kernel)
		return;
	free(facts->parameters);
	free(facts->name);
	free(facts);
}

/* handle_release - free @object and everything below it; under the lock, unlinked by the caller */
static void handle_release(struct client_object *object)
{
	while (object->first_child) {
		struct client_object *child = &handles.objects[object->first_child];

		object->first_child = child->next_sibling;
		handle_release(child);
	}
	if (object->kind == KIND_function || object->kind == KIND_kernel)
		handle_free_facts(object);
	if (object->kind == KIND_node)
		client_node_release(object->node);
	if (object->kind == KIND_linker)
		client_link_release(object->link);
	__atomic_store_n(&object->kind, KIND_none, __ATOMIC_RELEASE);
	object->function = NULL;
	if (object->number >= CUDA_WIRE_HANDLES_CLIENT)
		return; /* the worker's to give again */
	object->next_sibling = handles.free_first;
	handles.free_first = object->number;
}

void client_handle_end(struct client_object *object)
{
	if (!object)
		return;
	client_cache_clear();
	pthread_mutex_lock(&handles.lock);
	if (object->kind != KIND_none) {
		if (object->previous_sibling)
			handles.objects[object->previous_sibling].next_sibling =
				object->next_sibling;
		else if (object->parent)
			handles.objects[object->parent].first_child = object->next_sibling;
		if (object->next_sibling)
			handles.objects[object->next_sibling].previous_sibling =
				object->previous_sibling;
		handle_release(object);
	}
	pthread_mutex_unlock(&handles.lock);
}

struct client_object *client_handle_at(uint32_t number)
{
	if (!number || number >= CUDA_WIRE_HANDLES || !handles.objects)
		return NULL;
	if (__atomic_load_n(&handles.objects[number].kind, __ATOMIC_ACQUIRE) == KIND_none)
		return NULL;
	return &handles.objects[number];
}

struct client_object *client_handle_object(const void *handle)
{
	uintptr_t offset = (uintptr_t)handle - (uintptr_t)handles.blocks;

	if (!handles.blocks || offset % BLOCK_BYTES || offset / BLOCK_BYTES >= CUDA_WIRE_HANDLES)
		return NULL;
	return client_handle_at((uint32_t)(offset / BLOCK_BYTES));
}

void *client_handle_pointer(const struct client_object *object)
{
	return handles.blocks + (size_t)object->number * BLOCK_BYTES;
}

struct client_object *client_handle_child(struct client_object *parent, enum cuda_wire_kind kind,
					  const char *name)
{
	struct client_object *found = NULL;

	pthread_mutex_lock(&handles.lock);
	for (uint32_t n = parent->first_child; n && !found; n = handles.objects[n].next_sibling) {
		struct client_object *child = &handles.objects[n];

		if (child->kind == kind && (!name || (child->function && child->function->name &&
						      !strcmp(child->function->name, name))))
			found = child;
	}
	pthread_mutex_unlock(&handles.lock);
	return found;
}

static CUresult number_of(enum cuda_wire_kind kind, const void *handle, bool null, uint32_t *number)
{
	struct client_object *object;

	if (!handle && null) {
		*number = 0;
		return CUDA_SUCCESS;
	}
	object = client_object_of(kind, handle);
	if (!object)
		return CUDA_ERROR_INVALID_HANDLE;
	*number = object->number;
	return CUDA_SUCCESS;
}

CUresult client_number_context(const void *handle, bool null, uint32_t *number)
{
	return number_of(KIND_context, handle, null, number) ? CUDA_ERROR_INVALID_CONTEXT
							     : CUDA_SUCCESS;
}

CUresult client_number_module(const void *handle, bool null, uint32_t *number)
{
	return number_of(KIND_module, handle, null, number);
}

/* A runtime passes a CUkernel where a CUfunction is meant. */
CUresult client_number_function(const void *handle, bool null, uint32_t *number)
{
	if (!number_of(KIND_function, handle, null, number))
		return CUDA_SUCCESS;
	return number_of(KIND_kernel, handle, null, number);
}

CUresult client_number_library(const void *handle, bool null, uint32_t *number)
{
	return number_of(KIND_library, handle, null, number);
}

CUresult client_number_kernel(const void *handle, bool null, uint32_t *number)
{
	return number_of(KIND_kernel, handle, null, number);
}

CUresult client_number_event(const void *handle, bool null, uint32_t *number)
{
	return number_of(KIND_event, handle, null, number);
}

CUresult client_number_pool(const void *handle, bool null, uint32_t *number)
{
	return number_of(KIND_pool, handle, null, number);
}

CUresult client_number_array(const void *handle, bool null, uint32_t *number)
{
	return number_of(KIND_array, handle, null, number);
}

CUresult client_number_mipmap(const void *handle, bool null, uint32_t *number)
{
	return number_of(KIND_mipmap, handle, null, number);
}

CUresult client_number_graph(const void *handle, bool null, uint32_t *number)
{
	return number_of(KIND_graph, handle, null, number);
}

CUresult client_number_node(const void *handle, bool null, uint32_t *number)
{
	return number_of(KIND_node, handle, null, number);
}

CUresult client_number_exec(const void *handle, bool null, uint32_t *number)
{
	return number_of(KIND_exec, handle, null, number);
}

CUresult client_number_linker(const void *handle, bool null, uint32_t *number)
{
	return number_of(KIND_linker, handle, null, number);
}
