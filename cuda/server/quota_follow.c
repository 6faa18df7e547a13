/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the driver takes of a device at some later time counts as well: code that it loads when a
 * kernel is first launched, a larger local memory, a library's variables in one more context.
 *
 * No call says how much that is, and to ask the device around each launch would cost the launch.
 * So a thread asks afterwards: FOLLOW_NS after the first of the kernels launched since the last
 * time that had never been launched before (quota_follow()). Code goes with its module or context,
 * so it asks after their ends, too. Without such launches and ends it sleeps.
 *
 * What it charges is what this process takes of its devices beyond what is on the books, and beyond
 * what the driver may keep for that: it hands out parts of blocks of BLOCK_BYTES, pools and graphs
 * keep what is freed, and memory that another process has shared may or may not be counted here. So
 * rather too little is charged than too much: with many small allocations up to a block for each.
 *
 * Books and device agree only while no request changes either. Requests that allocate, free or end
 * something say so (quota_change_begin()), until their end; what was asked while one was at work is
 * thrown away, and asked again later.
 *
 * Threads: follow.lock guards .noted and .bus_ids; .charged_bytes is the asking thread's alone.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cuda/server/account.h"
#include "cuda/server/quota_held.h"
#include "cuda/server/turn.h"
#include "cuda/server/worker.h"
#include "lib/base/log.h"

#define FOLLOW_NS 100000000

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool started, noted;
	char bus_ids[CUDA_WIRE_DEVICES_MAX][32]; /* of devices with something on the books */
	uint64_t charged_bytes;
	uint64_t begun, ended; /* requests that change something; atomics */
} follow = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static CUresult (*graph_memory)(CUdevice device, CUgraphMem_attribute attribute, void *value);
static quota_device_memory *device_read;
static const char *driver_path;
static __thread bool changing;

void quota_change_begin(void)
{
	if (changing)
		return;
	changing = true;
	__atomic_add_fetch(&follow.begun, 1, __ATOMIC_SEQ_CST);
}

void quota_change_end(void)
{
	if (!changing)
		return;
	changing = false;
	__atomic_add_fetch(&follow.ended, 1, __ATOMIC_SEQ_CST);
}

/* bus_id_copy - of a device that has something on the books; false: it has not */
static bool bus_id_copy(int device, char bus_id[32])
{
	pthread_mutex_lock(&follow.lock);
	memcpy(bus_id, follow.bus_ids[device], 32);
	pthread_mutex_unlock(&follow.lock);
	return *bus_id;
}

/* explained - what the books say, and what the driver may keep for it */
static uint64_t explained(void)
{
	uint64_t bytes = worker_memory_used() - follow.charged_bytes + worker_memory_rests() +
			 held_rests() + quota_pools_rests();
	cuuint64_t graphs;
	char bus_id[32];

	for (int i = 0; graph_memory && i < (int)CUDA_WIRE_DEVICES_MAX; i++)
		if (bus_id_copy(i, bus_id) &&
		    !graph_memory(i, CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT, &graphs))
			bytes += graphs;
	return bytes;
}

bool quota_follow_look(void)
{
	uint64_t begun = __atomic_load_n(&follow.begun, __ATOMIC_SEQ_CST);
	uint64_t own = 0, before, behind, beyond;
	struct device_memory memory;
	char bus_id[32];

	if (__atomic_load_n(&follow.ended, __ATOMIC_SEQ_CST) != begun)
		return false;
	before = explained();
	for (int i = 0; i < (int)CUDA_WIRE_DEVICES_MAX; i++)
		if (bus_id_copy(i, bus_id) && device_read(bus_id, driver_path, &memory))
			own += memory.own_bytes;
	behind = explained(); /* a pool may have given something back meanwhile */
	if (__atomic_load_n(&follow.begun, __ATOMIC_SEQ_CST) != begun)
		return false;
	if (behind < before)
		behind = before;
	beyond = own > behind ? own - behind : 0;
	log_debug("the device says %llu bytes, of which %llu are not known here",
		  (unsigned long long)own, (unsigned long long)beyond);
	if (beyond != follow.charged_bytes)
		worker_overhead_charge((int64_t)(beyond - follow.charged_bytes));
	follow.charged_bytes = beyond;
	return true;
}

static void *follow_run(void *unused)
{
	static const struct timespec nap = { 0, FOLLOW_NS };

	(void)unused;
	for (;;) {
		pthread_mutex_lock(&follow.lock);
		while (!follow.noted)
			pthread_cond_wait(&follow.changed, &follow.lock);
		pthread_mutex_unlock(&follow.lock);
		nanosleep(&nap, NULL);
		/* Before it is asked: what is noted meanwhile may not be in the answer. */
		pthread_mutex_lock(&follow.lock);
		follow.noted = false;
		pthread_mutex_unlock(&follow.lock);
		if (!quota_follow_look())
			quota_follow();
	}
	return NULL;
}

void quota_follow(void)
{
	pthread_attr_t attributes;
	pthread_t thread;

	if (!device_read || !account_opened())
		return;
	pthread_mutex_lock(&follow.lock);
	follow.noted = true;
	pthread_cond_signal(&follow.changed);
	if (!follow.started && !pthread_attr_init(&attributes)) {
		pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
		follow.started = !pthread_create(&thread, &attributes, follow_run, NULL);
		pthread_attr_destroy(&attributes);
	}
	pthread_mutex_unlock(&follow.lock);
}

void quota_follow_device(int device, const char *bus_id)
{
	if (device < 0 || device >= (int)CUDA_WIRE_DEVICES_MAX)
		return;
	pthread_mutex_lock(&follow.lock);
	snprintf(follow.bus_ids[device], sizeof(follow.bus_ids[device]), "%s", bus_id);
	pthread_mutex_unlock(&follow.lock);
}

void quota_follow_open(const struct cuda_driver *driver, const char *path,
		       quota_device_memory *read)
{
	graph_memory = driver->cuDeviceGetGraphMemAttribute;
	driver_path = path;
	device_read = read;
	memset(follow.bus_ids, 0, sizeof(follow.bus_ids));
	follow.charged_bytes = 0;
}
