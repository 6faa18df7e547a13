/* SPDX-License-Identifier: Apache-2.0 */
/* The list of what the driver's objects hold; see quota_held.h. held.lock guards it, a leaf. */
#include "cuda/server/quota_held.h"

#include <pthread.h>
#include <stdlib.h>

#include "cuda/server/worker.h"

struct held_record {
	struct held_record *next;
	const void *object;
	CUcontext context;
	uint64_t bytes;
	enum held_kind kind;
};

static struct {
	pthread_mutex_t lock;
	struct held_record *first;
} held = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void charge(enum held_kind kind, int64_t bytes)
{
	if (kind == HELD_OVERHEAD)
		worker_overhead_charge(bytes);
	else
		worker_memory_charge(bytes);
}

bool held_keep(const void *object, CUcontext context, uint64_t bytes, enum held_kind kind)
{
	struct held_record *record = calloc(1, sizeof(*record));

	if (!record)
		return false;
	record->object = object;
	record->context = context;
	record->bytes = bytes;
	record->kind = kind;
	pthread_mutex_lock(&held.lock);
	record->next = held.first;
	held.first = record;
	pthread_mutex_unlock(&held.lock);
	charge(kind, (int64_t)bytes);
	return true;
}

void held_change(const void *object, int64_t bytes)
{
	struct held_record *record;
	enum held_kind kind = HELD_ASKED;

	pthread_mutex_lock(&held.lock);
	for (record = held.first; record && record->object != object;)
		record = record->next;
	if (!record)
		bytes = 0;
	else if (bytes < 0 && record->bytes < (uint64_t)-bytes)
		bytes = -(int64_t)record->bytes;
	if (record) {
		record->bytes += (uint64_t)bytes;
		kind = record->kind;
	}
	pthread_mutex_unlock(&held.lock);
	if (bytes)
		charge(kind, bytes);
}

uint64_t held_rests(void)
{
	uint64_t bytes = 0;

	pthread_mutex_lock(&held.lock);
	for (const struct held_record *record = held.first; record; record = record->next)
		if (record->kind == HELD_ASKED)
			bytes += worker_memory_rest(record->bytes);
	pthread_mutex_unlock(&held.lock);
	return bytes;
}

/* records_drop - those of which one of the two is theirs; the other is NULL */
static void records_drop(const void *object, CUcontext context)
{
	struct held_record **at = &held.first, *record;
	uint64_t bytes[] = { [HELD_ASKED] = 0, [HELD_OVERHEAD] = 0 };

	pthread_mutex_lock(&held.lock);
	while ((record = *at)) {
		if ((object && record->object == object) ||
		    (context && record->context == context)) {
			*at = record->next;
			bytes[record->kind] += record->bytes;
			free(record);
		} else {
			at = &record->next;
		}
	}
	pthread_mutex_unlock(&held.lock);
	for (enum held_kind kind = HELD_ASKED; kind <= HELD_OVERHEAD; kind++)
		if (bytes[kind])
			charge(kind, -(int64_t)bytes[kind]);
}

void held_drop(const void *object)
{
	records_drop(object, NULL);
}

void held_drop_context(CUcontext context)
{
	records_drop(NULL, context);
}
