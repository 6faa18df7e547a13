/* SPDX-License-Identifier: Apache-2.0 */
/* Handlers by name, in the variant that this processor runs best. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/softgpu/ptx_code.h"

#define DECLARE(variant)                                                   \
	extern const struct ptx_handler_table ptx_integer_table_##variant; \
	extern const struct ptx_handler_table ptx_float_table_##variant;   \
	extern const struct ptx_handler_table ptx_memory_table_##variant;
DECLARE(plain)
DECLARE(avx2)
DECLARE(avx512)

#define TABLES(variant)                                                                   \
	{                                                                                 \
		&ptx_integer_table_##variant, &ptx_float_table_##variant,                 \
			&ptx_memory_table_##variant, &ptx_control_table, &ptx_warp_table, \
			&ptx_system_table, &ptx_printf_table                              \
	}
#define TABLE_COUNT 7

static const struct {
	const char *name;
	const struct ptx_handler_table *tables[TABLE_COUNT];
} variants[] = {
	{ "avx512", TABLES(avx512) },
	{ "avx2", TABLES(avx2) },
	{ "plain", TABLES(plain) },
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static size_t chosen;
static const struct ptx_handler_entry **sorted;
static size_t sorted_count;

static size_t variant_choose(void)
{
	const char *wanted = getenv("CAUSEWAY_SOFTGPU_VARIANT");
	size_t best = 2;

	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
	    __builtin_cpu_supports("bmi2"))
		best = 1;
	if (best == 1 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
		best = 0;
	for (size_t i = best; wanted && i < sizeof(variants) / sizeof(variants[0]); i++)
		if (!strcmp(wanted, variants[i].name))
			return i;
	return best;
}

static int entry_compare(const void *left, const void *right)
{
	const struct ptx_handler_entry *const *a = left, *const *b = right;

	return strcmp((*a)->name, (*b)->name);
}

static void variant_open(void)
{
	size_t count = 0;

	chosen = variant_choose();
	for (size_t t = 0; t < TABLE_COUNT; t++)
		count += variants[chosen].tables[t]->count;
	sorted = malloc(count * sizeof(*sorted));
	if (!sorted)
		return;
	for (size_t t = 0; t < TABLE_COUNT; t++)
		for (size_t i = 0; i < variants[chosen].tables[t]->count; i++)
			sorted[sorted_count++] = &variants[chosen].tables[t]->entries[i];
	qsort(sorted, sorted_count, sizeof(*sorted), entry_compare);
}

ptx_handler ptx_handler_find(const char *name)
{
	struct ptx_handler_entry wanted = { .name = name };
	const struct ptx_handler_entry *key = &wanted, **found;

	pthread_once(&once, variant_open);
	if (!sorted)
		return NULL;
	found = bsearch(&key, sorted, sorted_count, sizeof(*sorted), entry_compare);
	return found ? (*found)->run : NULL;
}

const char *ptx_handler_variant(void)
{
	pthread_once(&once, variant_open);
	return variants[chosen].name;
}
