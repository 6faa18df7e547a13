/* SPDX-License-Identifier: Apache-2.0 */
/* front: look-ups, export tables, context-local storage, MD2 and the integrity check. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <unistd.h>
#include <cmocka.h>

#include "cuda/front/front.h"
#include "cuda/front/md2.h"

static char alloc_old, alloc_new, alloc_new_thread, init_only, late;
static void *current_context;
static int unused_calls;

static const struct front_entry entries[] = {
	{ "cuInit", 2000, &init_only, NULL },
	{ "cuLate", 12000, &late, NULL },
	{ "cuMemAlloc", 2000, &alloc_old, NULL },
	{ "cuMemAlloc", 3020, &alloc_new, &alloc_new_thread },
};

static int device_count(void)
{
	return 2;
}

static int device_identity(int device, struct front_device *identity)
{
	memset(identity->uuid, 0x40 + device, sizeof(identity->uuid));
	identity->pci_domain = 0;
	identity->pci_bus = 3 + device;
	identity->pci_device = 7;
	return 0;
}

static int context_current(void **context)
{
	*context = current_context;
	return 0;
}

static int context_id(void *context, uint64_t *id)
{
	*id = (uint64_t)(uintptr_t)context + 1;
	return 0;
}

static int primary_context(int device, void **context)
{
	*context = (void *)(uintptr_t)(0x1000 + device);
	return 0;
}

static int stream_id(void *context, void *stream, uint64_t *id)
{
	*id = (uintptr_t)(stream ? stream : context) + 2;
	return 0;
}

static int module_load_fatbin(void **module, const void *image)
{
	*module = (void *)(uintptr_t)image;
	return 0;
}

static void unused_slot(const char *table)
{
	assert_string_equal(table, "tools_tls");
	unused_calls++;
}

static const struct front_driver driver = {
	.entries = entries,
	.entry_count = sizeof(entries) / sizeof(entries[0]),
	.driver_version = 13000,
	.device_count = device_count,
	.device_identity = device_identity,
	.context_current = context_current,
	.context_id = context_id,
	.stream_id = stream_id,
	.primary_context = primary_context,
	.module_load_fatbin = module_load_fatbin,
	.unused_slot = unused_slot,
};
static struct front_driver driver_with_all; /* with the calls that a driver may lack */

static void expect_lookup(const char *name, int version, uint64_t flags, int result, int status,
			  const void *function)
{
	void *found = &found;
	int found_status = -1;

	assert_int_equal(front_get_proc_address(name, &found, version, flags, &found_status),
			 result);
	assert_int_equal(found_status, status);
	assert_ptr_equal(found, function);
	/* The second version of the call has a status, and no error for programs of CUDA 12. */
	if (result == 500)
		assert_int_equal(
			front_get_proc_address_v2(name, &found, version, flags, &found_status),
			version < 12000 ? 500 : 0);
	/* The first version of the call has no status. */
	assert_int_equal(front_get_proc_address(name, &found, version, flags, NULL), result);
	assert_ptr_equal(found, function);
}

static void test_lookup(void **state)
{
	void *found;

	(void)state;
	expect_lookup("cuMemAlloc", 3020, 0, 0, 0, &alloc_new);
	expect_lookup("cuMemAlloc", 3010, 0, 0, 0, &alloc_old);
	expect_lookup("cuMemAlloc", 13000, 1, 0, 0, &alloc_new);
	expect_lookup("cuMemAlloc", 13000, 2, 0, 0, &alloc_new_thread);
	expect_lookup("cuMemAlloc", 3010, 2, 0, 0, &alloc_old);
	expect_lookup("cuInit", 13000, 2, 0, 0, &init_only);
	expect_lookup("cuLate", 11080, 0, 500, 2, NULL);
	expect_lookup("cuMemAlloc_v2", 13000, 0, 500, 1, NULL);
	expect_lookup("", 13000, 0, 500, 1, NULL);
	expect_lookup("cuZ", 13000, 0, 500, 1, NULL);
	expect_lookup("cuInit", 13010, 0, 1, 1, NULL);
	assert_int_equal(front_get_proc_address("cuInit", &found, 13000, 3, NULL), 1);
	assert_int_equal(front_get_proc_address(NULL, &found, 13000, 0, NULL), 1);
	assert_int_equal(front_get_proc_address("cuInit", NULL, 13000, 0, NULL), 1);
}

static const uint8_t uuid_cudart[16] = { 0x6b, 0xd5, 0xfb, 0x6c, 0x5b, 0xf4, 0xe7, 0x4a,
					 0x89, 0x87, 0xd9, 0x39, 0x12, 0xfd, 0x9d, 0xf9 };
static const uint8_t uuid_tls[16] = { 0x42, 0xd8, 0x5a, 0x81, 0x23, 0xf6, 0xcb, 0x47,
				      0x82, 0x98, 0xf6, 0xe7, 0x8a, 0x3a, 0xec, 0xdc };
static const uint8_t uuid_storage[16] = { 0xc6, 0x93, 0x33, 0x6e, 0x11, 0x21, 0xdf, 0x11,
					  0xa8, 0xc3, 0x68, 0xf3, 0x55, 0xd8, 0x95, 0x93 };
static const uint8_t uuid_hooks[16] = { 0xa0, 0x94, 0x79, 0x8c, 0x2e, 0x74, 0x2e, 0x74,
					0x93, 0xf2, 0x08, 0x00, 0x20, 0x0c, 0x0a, 0x66 };
static const uint8_t uuid_integrity[16] = { 0xd4, 0x08, 0x20, 0x55, 0xbd, 0xe6, 0x70, 0x4b,
					    0x8d, 0x34, 0xba, 0x12, 0x3c, 0x66, 0xe1, 0xf2 };
static const uint8_t uuid_identity[16] = { 0x21, 0x31, 0x8c, 0x60, 0x97, 0x14, 0x32, 0x48,
					   0x8c, 0xa6, 0x41, 0xff, 0x73, 0x24, 0xc8, 0xf2 };

static const uintptr_t *table_of(const uint8_t *uuid)
{
	const void *table = NULL;

	assert_int_equal(front_get_export_table(&table, uuid), 0);
	assert_non_null(table);
	return table;
}

static const uint8_t uuid_iterator[16] = { 0x6e, 0x16, 0x3f, 0xbe, 0xb9, 0x58, 0x44, 0x4d,
					   0x83, 0x5c, 0xe1, 0x82, 0xaf, 0xf1, 0x99, 0x1e };
static const uint8_t uuid_places[16] = { 0x17, 0x34, 0xdc, 0x26, 0x80, 0x0d, 0x47, 0x45,
					 0x87, 0x26, 0xc0, 0xf1, 0xe7, 0xdd, 0x8b, 0xca };

static void test_tables(void **state)
{
	static const uint8_t unknown[16] = { 1, 2, 3 };
	const void *table = &table;
	const uintptr_t *slots;
	void *pointer = NULL;
	uint64_t id = 0;
	size_t count = 0;

	(void)state;
	assert_int_not_equal(front_get_export_table(&table, unknown), 0);
	assert_null(table);

	slots = table_of(uuid_cudart);
	assert_int_equal(slots[0], 13 * sizeof(void *));
	assert_int_equal(((int (*)(void **, int))slots[2])(&pointer, 1), 0);
	assert_int_equal((uintptr_t)pointer, 0x1001);
	assert_int_equal(((int (*)(void **, const void *))slots[1])(&pointer, &id), 0);
	assert_ptr_equal(pointer, &id);
	assert_int_equal(((int (*)(const void *, void **))slots[8])(&count, &pointer), 0);
	assert_ptr_equal(pointer, &count);

	slots = table_of(uuid_hooks);
	assert_int_equal(slots[0], 7 * sizeof(void *));
	assert_int_equal(((int (*)(void **, size_t *))slots[2])(&pointer, &count), 0);
	assert_int_equal(count, 1024);
	assert_int_equal(((int (*)(void **, size_t *))slots[6])(&pointer, &count), 0);
	assert_int_equal(count, 14);

	slots = table_of(uuid_identity);
	current_context = NULL;
	assert_int_equal(((int (*)(void *, uint64_t *))slots[4])(NULL, &id), 201);
	assert_int_equal(((int (*)(void *, uint64_t *))slots[4])((void *)0x77, &id), 0);
	assert_int_equal(id, 0x78);
}

/* A table or an answer is asked for with nowhere to put it: nothing is written, nothing crashes. */
static void test_tables_without_room(void **state)
{
	const void *table = &table;
	const uintptr_t *slots;
	void *pointer = &pointer;
	size_t count = 77;
	uint64_t id;

	(void)state;
	assert_int_equal(front_get_export_table(NULL, uuid_cudart), 1);
	assert_int_equal(front_get_export_table(&table, NULL), 1);
	assert_null(table);

	slots = table_of(uuid_cudart);
	assert_int_equal(((int (*)(void **, int))slots[2])(NULL, 1), 1);
	assert_int_equal(((int (*)(void **, const void *))slots[1])(NULL, &id), 1);
	assert_int_equal(((int (*)(void **, const void *))slots[6])(&pointer, NULL), 1);
	assert_int_equal(((int (*)(const void *, void **))slots[8])(NULL, &pointer), 1);
	assert_int_equal(((int (*)(const void *, void **))slots[8])(&id, NULL), 1);

	slots = table_of(uuid_hooks);
	for (int slot = 2; slot <= 6; slot += 4) {
		assert_int_equal(((int (*)(void **, size_t *))slots[slot])(NULL, &count), 1);
		assert_int_equal(((int (*)(void **, size_t *))slots[slot])(&pointer, NULL), 1);
	}
	assert_int_equal(count, 77);

	slots = table_of(uuid_tls);
	assert_int_equal(((int (*)(void **))slots[2])(NULL), 1);
	slots = table_of(uuid_integrity);
	assert_int_equal(((int (*)(uint32_t, uint64_t, uint64_t *))slots[1])(13002, 5, NULL), 1);
	slots = table_of(uuid_identity);
	assert_int_equal(((int (*)(void *, uint64_t *))slots[4])((void *)0x77, NULL), 1);
	assert_int_equal(((int (*)(void *, void *, uint64_t *))slots[39])((void *)0x77, NULL, NULL),
			 1);
	assert_ptr_equal(pointer, &pointer);
}

static void note_function(void *function, void *data)
{
	*(uintptr_t *)data += (uintptr_t)function;
}

static int module_functions(void *module, void (*each)(void *function, void *data), void *data)
{
	if (module != &driver_with_all)
		return 400;
	each((void *)0x30, data);
	each((void *)0x5, data);
	return 0;
}

static int device_places(uint8_t **cluster, uint8_t **place)
{
	*cluster = calloc(1, 4);
	*place = calloc(1, 4);
	return 0;
}

/* The iterator says 1 where it went through, and 0 for everything else. */
static void test_module_iterator(void **state)
{
	typedef int iterate(void *, void *, void (*)(void *, void *), void *);
	const uintptr_t *slots = table_of(uuid_iterator);
	iterate *functions = (iterate *)slots[7];
	uintptr_t sum = 0;

	(void)state;
	assert_int_equal(slots[0], 16 * sizeof(void *));
	/* A driver without it. */
	assert_int_equal(functions(NULL, &driver_with_all, note_function, &sum), 0);
	driver_with_all = driver;
	driver_with_all.module_functions = module_functions;
	front_open(&driver_with_all);
	assert_int_equal(functions(NULL, NULL, note_function, &sum), 0);
	assert_int_equal(functions(NULL, &driver_with_all, NULL, &sum), 0);
	assert_int_equal(functions(NULL, &sum, note_function, &sum), 0);
	assert_int_equal(sum, 0);
	assert_int_equal(functions(NULL, &driver_with_all, note_function, &sum), 1);
	assert_int_equal(sum, 0x35);
	front_open(&driver);
}

static void test_device_places(void **state)
{
	const uintptr_t *slots = table_of(uuid_places);
	int (*get)(uint8_t **, uint8_t **) = (int (*)(uint8_t **, uint8_t **))slots[4];
	int (*end)(uint8_t *, uint8_t *) = (int (*)(uint8_t *, uint8_t *))slots[13];
	uint8_t *cluster = NULL, *place = NULL;

	(void)state;
	assert_int_equal(slots[0], 17 * sizeof(void *));
	assert_int_equal(get(NULL, &place), 1);
	assert_int_equal(get(&cluster, NULL), 1);
	/* A driver without it. */
	assert_int_equal(get(&cluster, &place), 801);
	assert_null(cluster);
	assert_null(place);
	driver_with_all = driver;
	driver_with_all.device_places = device_places;
	front_open(&driver_with_all);
	assert_int_equal(get(&cluster, &place), 0);
	assert_int_equal(place[3], 0);
	assert_int_equal(end(cluster, place), 0);
	front_open(&driver);
}

static void test_stream_identity(void **state)
{
	const uintptr_t *slots = table_of(uuid_identity);
	int (*object_of)(void *, void *, void **) = (int (*)(void *, void *, void **))slots[51];
	int (*id_of)(void *, void *, uint64_t *) = (int (*)(void *, void *, uint64_t *))slots[39];
	void *context = (void *)0x77, *object = NULL;
	uint64_t id = 0;

	(void)state;
	current_context = NULL;
	assert_int_equal(object_of(NULL, NULL, &object), 201);
	assert_int_equal(object_of(context, NULL, NULL), 1);
	assert_int_equal(object_of(context, (void *)0x500, &object), 0);
	assert_int_equal(id_of(context, object, &id), 0);
	assert_int_equal(id, 0x502);
	assert_int_equal(object_of(context, NULL, &object), 0);
	assert_non_null(object);
	assert_int_equal(id_of(context, object, &id), 0);
	assert_int_equal(id, 0x79);
	current_context = (void *)0x88;
	assert_int_equal(id_of(NULL, object, &id), 0);
	assert_int_equal(id, 0x8a);
}

static void test_unused_slot(void **state)
{
	const uintptr_t *slots = table_of(uuid_tls);
	void *context = NULL;

	(void)state;
	assert_int_equal(slots[0], 4 * sizeof(void *));
	assert_int_equal(((int (*)(void))slots[1])(), 801);
	assert_int_equal(((int (*)(void))slots[3])(), 801);
	assert_int_equal(unused_calls, 1);
	current_context = (void *)0x5000;
	assert_int_equal(((int (*)(void **))slots[2])(&context), 0);
	assert_ptr_equal(context, current_context);
}

static int destroyed;

static void on_destroy(void *context, void *key, void *value)
{
	assert_ptr_equal(context, (void *)0x5000);
	assert_ptr_equal(key, &destroyed);
	assert_ptr_equal(value, (void *)0x22);
	destroyed++;
}

struct storage {
	int (*put)(void *, void *, void *, void (*)(void *, void *, void *));
	int (*remove)(void *, void *);
	int (*get)(void **, void *, void *);
};

static void *get_in_thread(void *argument)
{
	struct storage *storage = argument;
	void *value = NULL;

	/* The thread has no current context of its own here: the driver's answer is shared. */
	assert_int_equal(storage->get(&value, (void *)0x5000, &destroyed), 0);
	return value;
}

static void test_storage(void **state)
{
	const uintptr_t *slots = table_of(uuid_storage);
	struct storage storage;
	pthread_t thread;
	void *value = NULL;

	(void)state;
	memcpy(&storage, slots, sizeof(storage));
	current_context = (void *)0x5000;
	assert_int_equal(storage.get(&value, NULL, &destroyed), 400);
	assert_int_equal(storage.put(NULL, &destroyed, (void *)0x11, on_destroy), 0);
	assert_int_equal(storage.get(&value, NULL, &destroyed), 0);
	assert_ptr_equal(value, (void *)0x11);
	/* What this thread remembers must not outlive a change. */
	assert_int_equal(storage.put((void *)0x5000, &destroyed, (void *)0x22, on_destroy), 0);
	assert_int_equal(storage.get(&value, NULL, &destroyed), 0);
	assert_ptr_equal(value, (void *)0x22);
	assert_int_equal(storage.get(&value, (void *)0x6000, &destroyed), 400);
	assert_int_equal(pthread_create(&thread, NULL, get_in_thread, &storage), 0);
	assert_int_equal(pthread_join(thread, &value), 0);
	assert_ptr_equal(value, (void *)0x22);
	front_context_destroyed((void *)0x5000);
	assert_int_equal(destroyed, 1);
	assert_int_equal(storage.get(&value, NULL, &destroyed), 400);
	assert_int_equal(storage.put(NULL, &destroyed, (void *)0x22, on_destroy), 0);
	assert_int_equal(storage.remove(NULL, &destroyed), 0);
	assert_int_equal(storage.get(&value, NULL, &destroyed), 400);
	assert_int_equal(storage.remove(NULL, &destroyed), 400);
	assert_int_equal(destroyed, 1);
	current_context = NULL;
	assert_int_equal(storage.get(&value, NULL, &destroyed), 201);
}

static void expect_md2(const char *text, const char *hex)
{
	uint8_t digest[MD2_BYTES];
	char got[2 * MD2_BYTES + 1];
	struct md2 md2;

	md2_start(&md2);
	md2_add(&md2, text, strlen(text));
	md2_finish(&md2, digest);
	for (int i = 0; i < MD2_BYTES; i++)
		snprintf(got + 2 * i, 3, "%02x", digest[i]);
	assert_string_equal(got, hex);
}

static void test_md2(void **state)
{
	(void)state;
	/* RFC 1319, A.5 */
	expect_md2("", "8350e5a3e24c153df2275c9f80692773");
	expect_md2("a", "32ec01ec4a6dac72c0ab96fb34c0b5d1");
	expect_md2("abc", "da853b0d3f88d99b30283a69e6ded6bb");
	expect_md2("message digest", "ab4f496bfb2a530b219ff33031fe06b0");
	expect_md2("abcdefghijklmnopqrstuvwxyz", "4e8ddff3650292ab5a4108c3aa47940b");
	expect_md2("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
		   "da33def2a42df13975352846c30338cd");
	expect_md2("1234567890123456789012345678901234567890"
		   "1234567890123456789012345678901234567890",
		   "d5976f79d83d3a0dc9806c3c66f3efd8");
}

/* The message of the check as a structure, hashed in one piece: an independent layout. */
struct integrity_message {
	uint32_t driver_version, version, process, thread;
	uint64_t cudart_table, integrity_table, function, time;
	struct {
		uint8_t uuid[16];
		int32_t pci[3];
	} devices[2];
};

static void test_integrity(void **state)
{
	static const uint8_t key[MD2_BYTES] = { 0x14, 0x6a, 0xdd, 0xae, 0x53, 0xa9, 0xa7, 0x52,
						0xaa, 0x08, 0x41, 0x36, 0x0b, 0xf5, 0x5a, 0x9f };
	const uintptr_t *slots = table_of(uuid_integrity);
	int (*check)(uint32_t, uint64_t, uint64_t *) =
		(int (*)(uint32_t, uint64_t, uint64_t *))slots[1];
	struct integrity_message message = {
		13000,
		13002,
		(uint32_t)getpid(),
		(uint32_t)pthread_self(),
		(uintptr_t)table_of(uuid_cudart),
		(uintptr_t)slots,
		slots[1],
		1700000000,
		{ { { 0 }, { 0, 3, 7 } }, { { 0 }, { 0, 4, 7 } } },
	};
	struct md2_hmac hmac;
	uint8_t digest[MD2_BYTES];
	uint64_t answer[2] = { 0 };

	(void)state;
	assert_int_equal(slots[0], 3 * sizeof(void *));
	assert_int_equal(check(13000, 5, answer), 0);
	assert_true(answer[0] == 0x3341181C03CB675Cu && answer[1] == 0x8ED383AA1F4CD1E8u);
	assert_int_equal(check(13001, 5, answer), 0);
	assert_true(answer[0] == 0x1841181C03CB675Cu && answer[1] == 0x8ED383AA1F4CD1E8u);

	memset(message.devices[0].uuid, 0x40, 16);
	memset(message.devices[1].uuid, 0x41, 16);
	md2_hmac_start(&hmac, key);
	md2_add(&hmac.inner, &message, sizeof(message));
	md2_hmac_finish(&hmac, digest);
	assert_int_equal(check(13002, 1700000000, answer), 0);
	assert_memory_equal(answer, digest, sizeof(digest));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lookup),
		cmocka_unit_test(test_tables),
		cmocka_unit_test(test_tables_without_room),
		cmocka_unit_test(test_module_iterator),
		cmocka_unit_test(test_device_places),
		cmocka_unit_test(test_stream_identity),
		cmocka_unit_test(test_unused_slot),
		cmocka_unit_test(test_storage),
		cmocka_unit_test(test_md2),
		cmocka_unit_test(test_integrity),
	};

	front_open(&driver);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
