/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The undocumented export tables. Slot 0 holds the table's size in bytes, except in
 * CONTEXT_LOCAL_STORAGE; the others hold functions the runtime jumps to. A slot that nobody is
 * known to use is callable and says NOT_SUPPORTED, and the driver is told of the first such call.
 *
 * The tables are immutable and live as long as the library; their addresses are part of what
 * INTEGRITY_CHECK hashes.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/front/private.h"

typedef void (*slot_function)(void);

union slot {
	uintptr_t bytes;
	slot_function function;
};

#define SIZE_OF_TABLE(slots)                          \
	{                                             \
		.bytes = (slots) * sizeof(union slot) \
	}
#define SLOT(name)                                \
	{                                         \
		.function = (slot_function)(name) \
	}

/* The function in every unused slot of one table: tells the driver once. */
#define UNUSED_SLOT(table)                                                         \
	static int table##_unused(void)                                            \
	{                                                                          \
		static atomic_flag told = ATOMIC_FLAG_INIT;                        \
                                                                                   \
		if (!atomic_flag_test_and_set(&told) && front_driver->unused_slot) \
			front_driver->unused_slot(#table);                         \
		return FRONT_NOT_SUPPORTED;                                        \
	}

UNUSED_SLOT(cudart_interface)
UNUSED_SLOT(runtime_callback_hooks)
UNUSED_SLOT(tools_tls)
UNUSED_SLOT(context_local_storage)
UNUSED_SLOT(context_checks)
UNUSED_SLOT(integrity_check)
UNUSED_SLOT(context_identity)
UNUSED_SLOT(module_iterator)
UNUSED_SLOT(device_places)

static int slot_nothing(void)
{
	return FRONT_SUCCESS;
}

/* CUDART_INTERFACE */

static int cudart_primary_context(void **context, int device)
{
	if (!context)
		return FRONT_INVALID_VALUE;
	return front_driver->primary_context(device, context);
}

static int cudart_module(void **module, const void *wrapper)
{
	if (!module || !wrapper)
		return FRONT_INVALID_VALUE;
	return front_driver->module_load_fatbin(module, wrapper);
}

/* Old runtimes give the binary itself, and give it first. */
static int cudart_module_of_binary(const void *binary, void **module)
{
	return cudart_module(module, binary);
}

#define CUDART_SLOTS 13
static const union slot cudart_interface[CUDART_SLOTS] = {
	[0] = SIZE_OF_TABLE(CUDART_SLOTS),
	[1] = SLOT(cudart_module),
	[2] = SLOT(cudart_primary_context),
	[3] = SLOT(cudart_interface_unused),
	[4] = SLOT(cudart_interface_unused),
	[5] = SLOT(cudart_interface_unused),
	[6] = SLOT(cudart_module),
	[7] = SLOT(slot_nothing),
	[8] = SLOT(cudart_module_of_binary),
	[9 ... CUDART_SLOTS - 1] = SLOT(cudart_interface_unused),
};

/* TOOLS_RUNTIME_CALLBACK_HOOKS: buffers in which the runtime notes what tools subscribed to. */

#define HOOKS_LARGE 1024
#define HOOKS_SMALL 14
static void *hooks_large[HOOKS_LARGE];
static void *hooks_small[HOOKS_SMALL];

static int hooks_large_buffer(void **buffer, size_t *count)
{
	if (!buffer || !count)
		return FRONT_INVALID_VALUE;
	*buffer = hooks_large;
	*count = HOOKS_LARGE;
	return FRONT_SUCCESS;
}

static int hooks_small_buffer(void **buffer, size_t *count)
{
	if (!buffer || !count)
		return FRONT_INVALID_VALUE;
	*buffer = hooks_small;
	*count = HOOKS_SMALL;
	return FRONT_SUCCESS;
}

#define HOOKS_SLOTS 7
static const union slot runtime_callback_hooks[HOOKS_SLOTS] = {
	[0] = SIZE_OF_TABLE(HOOKS_SLOTS), [1] = SLOT(slot_nothing),
	[2] = SLOT(hooks_large_buffer),	  [3] = SLOT(runtime_callback_hooks_unused),
	[4] = SLOT(slot_nothing),	  [5] = SLOT(runtime_callback_hooks_unused),
	[6] = SLOT(hooks_small_buffer),
};

/* TOOLS_TLS */

static int tls_current_context(void **context)
{
	if (!context)
		return FRONT_INVALID_VALUE;
	return front_driver->context_current(context);
}

#define TLS_SLOTS 4
static const union slot tools_tls[TLS_SLOTS] = {
	[0] = SIZE_OF_TABLE(TLS_SLOTS),
	[1] = SLOT(tools_tls_unused),
	[2] = SLOT(tls_current_context),
	[3] = SLOT(tools_tls_unused),
};

/* CONTEXT_LOCAL_STORAGE: the one table without a size */

static const union slot context_local_storage[] = {
	SLOT(front_storage_put),
	SLOT(front_storage_delete),
	SLOT(front_storage_get),
	SLOT(context_local_storage_unused),
};

/* CONTEXT_CHECKS */

static int checks_context(void *context, uint32_t *answer, void **state)
{
	(void)context;
	(void)state;
	if (answer)
		*answer = 0;
	return FRONT_SUCCESS;
}

#define CHECKS_SLOTS 17
static const union slot context_checks[CHECKS_SLOTS] = {
	[0] = SIZE_OF_TABLE(CHECKS_SLOTS),
	[1] = SLOT(context_checks_unused),
	[2] = SLOT(checks_context),
	[3] = SLOT(slot_nothing),
	[4 ... CHECKS_SLOTS - 1] = SLOT(context_checks_unused),
};

/* INTEGRITY_CHECK */

static int integrity_check_answer(uint32_t version, uint64_t unix_time, uint64_t answer[2]);

#define INTEGRITY_SLOTS 3
static const union slot integrity_check[INTEGRITY_SLOTS] = {
	[0] = SIZE_OF_TABLE(INTEGRITY_SLOTS),
	[1] = SLOT(integrity_check_answer),
	[2] = SLOT(integrity_check_unused),
};

static int integrity_check_answer(uint32_t version, uint64_t unix_time, uint64_t answer[2])
{
	const void *const addresses[3] = { cudart_interface, integrity_check,
					   (const void *)(uintptr_t)integrity_check_answer };

	if (!answer)
		return FRONT_INVALID_VALUE;
	return front_integrity_answer(addresses, version, unix_time, answer);
}

/*
 * Context identity: slot 4 gives a context's id, slot 51 the object behind a stream's handle and
 * slot 39 the id of that object. Before some matrix products cuBLAS compares a stream so, and gives
 * up where it cannot (seen with CUDA 13.0: slot 51 with the default stream, then slot 39).
 */

/* identity_of - @context, or the current one where it is NULL */
static int identity_of(void **context)
{
	int result = *context ? FRONT_SUCCESS : front_driver->context_current(context);

	return result == FRONT_SUCCESS && !*context ? FRONT_INVALID_CONTEXT : result;
}

static int identity_context(void *context, uint64_t *id)
{
	int result = id ? identity_of(&context) : FRONT_INVALID_VALUE;

	return result == FRONT_SUCCESS ? front_driver->context_id(context, id) : result;
}

/* What slot 51 gives for every default stream; memory, since callers may read behind a handle. */
static char identity_default_stream[64];

static int identity_stream(void *context, void *stream, void **object)
{
	int result = object ? identity_of(&context) : FRONT_INVALID_VALUE;

	if (result == FRONT_SUCCESS)
		*object = stream ? stream : identity_default_stream;
	return result;
}

static int identity_stream_id(void *context, void *object, uint64_t *id)
{
	int result = id ? identity_of(&context) : FRONT_INVALID_VALUE;

	if (object == identity_default_stream)
		object = NULL;
	return result == FRONT_SUCCESS ? front_driver->stream_id(context, object, id) : result;
}

#define IDENTITY_SLOTS 95
static const union slot context_identity[IDENTITY_SLOTS] = {
	[0] = SIZE_OF_TABLE(IDENTITY_SLOTS),
	[1 ... 3] = SLOT(context_identity_unused),
	[4] = SLOT(identity_context),
	[5 ... 38] = SLOT(context_identity_unused),
	[39] = SLOT(identity_stream_id),
	[40 ... 50] = SLOT(context_identity_unused),
	[51] = SLOT(identity_stream),
	[52 ... IDENTITY_SLOTS - 1] = SLOT(context_identity_unused),
};

/*
 * Module iterator: slot 7 calls a function of the caller's with each function of a module, and
 * returns 1; cuFFT finds so the one kernel of a module that it has made.
 */
static int iterator_functions(void *context, void *module, void (*each)(void *, void *), void *data)
{
	(void)context; /* the module knows its own */
	if (!module || !each || !front_driver->module_functions)
		return 0;
	return front_driver->module_functions(module, each, data) == FRONT_SUCCESS;
}

#define ITERATOR_SLOTS 16
static const union slot module_iterator[ITERATOR_SLOTS] = {
	[0] = SIZE_OF_TABLE(ITERATOR_SLOTS),
	[1 ... 6] = SLOT(module_iterator_unused),
	[7] = SLOT(iterator_functions),
	[8 ... ITERATOR_SLOTS - 1] = SLOT(module_iterator_unused),
};

/*
 * Device places: slot 4 gives two arrays of bytes that slot 13 frees. cuBLASLt asks for them before
 * it chooses a kernel for half precision, and does not look whether the table is there.
 */
static int places_get(uint8_t **cluster, uint8_t **place)
{
	if (!cluster || !place)
		return FRONT_INVALID_VALUE;
	return front_driver->device_places ? front_driver->device_places(cluster, place)
					   : FRONT_NOT_SUPPORTED;
}

static int places_free(uint8_t *cluster, uint8_t *place)
{
	free(cluster);
	free(place);
	return FRONT_SUCCESS;
}

#define PLACES_SLOTS 17
static const union slot device_places[PLACES_SLOTS] = {
	[0] = SIZE_OF_TABLE(PLACES_SLOTS),
	[1 ... 3] = SLOT(device_places_unused),
	[4] = SLOT(places_get),
	[5 ... 12] = SLOT(device_places_unused),
	[13] = SLOT(places_free),
	[14 ... PLACES_SLOTS - 1] = SLOT(device_places_unused),
};

static const struct {
	uint8_t uuid[16];
	const union slot *table;
} tables[] = {
	{ { 0x6b, 0xd5, 0xfb, 0x6c, 0x5b, 0xf4, 0xe7, 0x4a, 0x89, 0x87, 0xd9, 0x39, 0x12, 0xfd,
	    0x9d, 0xf9 },
	  cudart_interface },
	{ { 0xa0, 0x94, 0x79, 0x8c, 0x2e, 0x74, 0x2e, 0x74, 0x93, 0xf2, 0x08, 0x00, 0x20, 0x0c,
	    0x0a, 0x66 },
	  runtime_callback_hooks },
	{ { 0x42, 0xd8, 0x5a, 0x81, 0x23, 0xf6, 0xcb, 0x47, 0x82, 0x98, 0xf6, 0xe7, 0x8a, 0x3a,
	    0xec, 0xdc },
	  tools_tls },
	{ { 0xc6, 0x93, 0x33, 0x6e, 0x11, 0x21, 0xdf, 0x11, 0xa8, 0xc3, 0x68, 0xf3, 0x55, 0xd8,
	    0x95, 0x93 },
	  context_local_storage },
	{ { 0x26, 0x3e, 0x88, 0x60, 0x7c, 0xd2, 0x61, 0x43, 0x92, 0xf6, 0xbb, 0xd5, 0x00, 0x6d,
	    0xfa, 0x7e },
	  context_checks },
	{ { 0xd4, 0x08, 0x20, 0x55, 0xbd, 0xe6, 0x70, 0x4b, 0x8d, 0x34, 0xba, 0x12, 0x3c, 0x66,
	    0xe1, 0xf2 },
	  integrity_check },
	{ { 0x21, 0x31, 0x8c, 0x60, 0x97, 0x14, 0x32, 0x48, 0x8c, 0xa6, 0x41, 0xff, 0x73, 0x24,
	    0xc8, 0xf2 },
	  context_identity },
	{ { 0x6e, 0x16, 0x3f, 0xbe, 0xb9, 0x58, 0x44, 0x4d, 0x83, 0x5c, 0xe1, 0x82, 0xaf, 0xf1,
	    0x99, 0x1e },
	  module_iterator },
	{ { 0x17, 0x34, 0xdc, 0x26, 0x80, 0x0d, 0x47, 0x45, 0x87, 0x26, 0xc0, 0xf1, 0xe7, 0xdd,
	    0x8b, 0xca },
	  device_places },
};

int front_get_export_table(const void **table, const void *uuid)
{
	if (!table)
		return FRONT_INVALID_VALUE;
	*table = NULL; /* success without a table, or a stale one, would crash the caller */
	if (!uuid)
		return FRONT_INVALID_VALUE;
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		if (memcmp(tables[i].uuid, uuid, sizeof(tables[i].uuid)) == 0) {
			*table = tables[i].table;
			return FRONT_SUCCESS;
		}
	}
	return FRONT_NOT_FOUND;
}
