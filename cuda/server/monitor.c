/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker for a client of libnvidia-ml.so.1: it loads the monitoring library and never the driver,
 * so that looking at a device makes no context on it.
 *
 *	monitor_serve -> monitor_open      the library, its devices
 *	              -> monitor_answer    a request: gate, arguments, the library's function, view
 *
 * What a tenant sees is its own: the devices that CUDA_VISIBLE_DEVICES leaves to it (the supervisor
 * sets it), its quota in place of the device's memory, its own processes. Everything else is the
 * device's. One thread; the request is copied out of the link before it is looked at.
 */
#include "cuda/server/monitor.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cuda/common/nvml_row.h"
#include "cuda/server/turn.h"
#include "lib/base/log.h"
#include "proto/share-page.h"

#define SLACK_BYTES \
	512u /* behind each thing pointed to, for a library that writes more than we know */
#define NONE 0xffffffffu

typedef int (*function_1)(uint64_t);
typedef int (*function_2)(uint64_t, uint64_t);
typedef int (*function_3)(uint64_t, uint64_t, uint64_t);
typedef int (*function_6)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);

static struct {
	void *library;
	void *devices[NVML_WIRE_DEVICES_MAX];
	int ordinals[NVML_WIRE_DEVICES_MAX]; /* as the driver counts those that are visible */
	uint32_t device_count;
	uint64_t memory_limit;
} monitor;

void monitor_library(const char *driver, char *path, unsigned long bytes)
{
	const char *slash = strrchr(driver, '/');

	snprintf(path, bytes, "%.*slibnvidia-ml.so.1", slash ? (int)(slash - driver) + 1 : 0,
		 driver);
	if (slash && access(path, R_OK))
		snprintf(path, bytes, "libnvidia-ml.so.1");
}

/* monitor_invoke - a function of the library; NVML_ERROR_FUNCTION_NOT_FOUND where it has none */
static int monitor_invoke(const char *name, unsigned int count, const uint64_t *a)
{
	void *function = dlsym(monitor.library, name);

	if (!function)
		return NVML_ERROR_FUNCTION_NOT_FOUND;
	/* Integers and pointers are passed alike; see cuda/client/nvml/call.c. */
	switch (count) {
	case 1:
		return ((function_1)function)(a[0]);
	case 2:
		return ((function_2)function)(a[0], a[1]);
	case 3:
		return ((function_3)function)(a[0], a[1], a[2]);
	default:
		return ((function_6)function)(a[0], a[1], a[2], a[3], a[4], a[5]);
	}
}

static uint64_t word(const void *pointer)
{
	return (uint64_t)(uintptr_t)pointer;
}

/* device_visible - whether the tenant may see the device of that number; *ordinal: which one it is
 */
static bool device_visible(unsigned int number, int *ordinal)
{
	const char *list = getenv("CUDA_VISIBLE_DEVICES");
	int place = 0;

	*ordinal = (int)number;
	if (!list)
		return true;
	while (*list) {
		char *end;
		unsigned long entry = strtoul(list, &end, 10);

		if (end == list)
			return false; /* the driver, too, stops at what is no number of a device */
		*ordinal = place++;
		if (entry == number)
			return true;
		list = *end ? end + 1 : end;
	}
	return false;
}

static void device_facts(void *device, struct nvml_wire_device *facts)
{
	unsigned char pci[68 + SLACK_BYTES] = { 0 };
	const uint64_t uuid[3] = { word(device), word(facts->uuid), sizeof(facts->uuid) };
	const uint64_t serial[3] = { word(device), word(facts->serial), sizeof(facts->serial) };
	const uint64_t place[2] = { word(device), word(pci) };

	*facts = (struct nvml_wire_device){ 0 };
	monitor_invoke("nvmlDeviceGetUUID", 3, uuid);
	monitor_invoke("nvmlDeviceGetSerial", 3, serial);
	if (monitor_invoke("nvmlDeviceGetPciInfo_v3", 2, place))
		return;
	memcpy(facts->bus_id_legacy, pci, sizeof(facts->bus_id_legacy) - 1);
	memcpy(facts->bus_id, pci + 36, sizeof(facts->bus_id) - 1);
}

/* monitor_open - load, initialise, list; an nvml_result, with a sentence */
static int monitor_open(const char *path, char *reason, size_t bytes)
{
	uint32_t count = 0;
	const uint64_t arguments[1] = { word(&count) }, none[1] = { 0 };
	int result;

	monitor.device_count = 0;
	monitor.library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!monitor.library) {
		snprintf(reason, bytes, "%s", dlerror());
		return NVML_ERROR_LIBRARY_NOT_FOUND;
	}
	result = monitor_invoke("nvmlInit_v2", 1, none);
	if (!result)
		result = monitor_invoke("nvmlDeviceGetCount_v2", 1, arguments);
	if (result)
		snprintf(reason, bytes, "%.80s: NVML's result %d", path, result);
	for (uint32_t i = 0; !result && i < count; i++) {
		void *device = NULL;
		const uint64_t find[2] = { i, word(&device) };
		int ordinal;

		if (!device_visible(i, &ordinal) || monitor.device_count == NVML_WIRE_DEVICES_MAX ||
		    monitor_invoke("nvmlDeviceGetHandleByIndex_v2", 2, find))
			continue;
		monitor.ordinals[monitor.device_count] = ordinal;
		monitor.devices[monitor.device_count++] = device;
	}
	return result;
}

/* monitor_processes - the tenant's own on a device; data is a count and as many elements as fit */
static int monitor_processes(const struct nvml_wire_request *request, unsigned char *data)
{
	struct nvml_wire_process own = { .gpu_instance = NONE, .compute_instance = NONE };
	uint32_t room, found = 0;

	if (request->arguments[0] >= monitor.device_count)
		return NVML_ERROR_INVALID_ARGUMENT;
	memcpy(&room, data, sizeof(room));
	if (request->missing)
		room = 0;
	for (unsigned int slot = 0; slot < SHARE_MEMORY_SLOTS; slot++) {
		if (!quota_process_at(slot, monitor.ordinals[request->arguments[0]], &own.process,
				      &own.used_bytes))
			continue;
		if (found < room)
			memcpy(data + 8 + found * sizeof(own), &own, sizeof(own));
		found++;
	}
	memcpy(data, &found, sizeof(found));
	return found > room && room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

/* view_memory - the tenant's quota and use in place of the device's, where there is a quota */
static void view_memory(enum nvml_view view, unsigned char *data, size_t bytes)
{
	/* total, free, used; or version, total, reserved, free, used */
	static const unsigned int places[][3] = {
		[NVML_MEMORY] = { 0, 1, 2 }, [NVML_MEMORY_V2] = { 1, 3, 4 }
	};
	uint64_t numbers[5], limit, used = quota_used();
	const unsigned int *at = places[view];

	quota_left(&limit);
	if (monitor.memory_limit && (!limit || monitor.memory_limit < limit))
		limit = monitor.memory_limit;
	if (!limit || bytes < (at[2] + 1) * sizeof(uint64_t))
		return;
	memcpy(numbers, data, sizeof(uint64_t) * (at[2] + 1));
	if (limit < numbers[at[0]])
		numbers[at[0]] = limit;
	if (used > numbers[at[0]])
		used = numbers[at[0]];
	numbers[at[2]] = used;
	if (numbers[at[1]] > numbers[at[0]] - used)
		numbers[at[1]] = numbers[at[0]] - used;
	if (view == NVML_MEMORY_V2)
		numbers[2] = 0; /* what the driver keeps for itself is nobody's quota */
	memcpy(data, numbers, sizeof(uint64_t) * (at[2] + 1));
}

/* The pointers of a request: where they lie in its data, and in memory with slack behind each. */
struct monitor_layout {
	size_t bytes[NVML_WIRE_ARGUMENTS], data_at[NVML_WIRE_ARGUMENTS];
	size_t memory_at[NVML_WIRE_ARGUMENTS];
	size_t memory_bytes;
};

/* layout_read - the gate: data must be as long as the row says; -EPROTO */
static int layout_read(const struct nvml_row *row, const struct nvml_wire_request *request,
		       const unsigned char *data, struct monitor_layout *layout)
{
	static const unsigned char nothing[8];
	size_t at = 0;

	for (unsigned int i = 0; row->shape[i]; i++) {
		bool missing = request->missing >> i & 1;
		long bytes;

		if (!nvml_row_points(row->shape[i]))
			continue;
		if (missing && row->shape[i] != 'l')
			return -EPROTO;
		bytes = missing ? 0
				: nvml_row_bytes(row, i, request->arguments, data + at,
						 request->data_bytes - at,
						 i ? data + layout->data_at[i - 1] : nothing);
		if (bytes < 0 || nvml_row_pad((size_t)bytes) > request->data_bytes - at)
			return -EPROTO;
		layout->bytes[i] = (size_t)bytes;
		layout->data_at[i] = at;
		layout->memory_at[i] = layout->memory_bytes;
		at += nvml_row_pad((size_t)bytes);
		layout->memory_bytes += nvml_row_pad((size_t)bytes) + SLACK_BYTES;
	}
	return at == request->data_bytes ? 0 : -EPROTO;
}

/* monitor_call - the library's function with the request's arguments; an nvml_result */
static int monitor_call(const struct nvml_row *row, const struct nvml_wire_request *request,
			const struct monitor_layout *layout, unsigned char *data)
{
	uint64_t arguments[NVML_WIRE_ARGUMENTS] = { 0 };
	unsigned char *memory = calloc(1, layout->memory_bytes + 1);
	unsigned int count = 0;
	int result;

	if (!memory)
		return NVML_ERROR_MEMORY;
	for (; row->shape[count]; count++) {
		unsigned int i = count;

		arguments[i] = request->arguments[i];
		if (row->shape[i] == 'd') {
			if (arguments[i] >= monitor.device_count) {
				free(memory);
				return NVML_ERROR_INVALID_ARGUMENT;
			}
			arguments[i] = word(monitor.devices[arguments[i]]);
		} else if (nvml_row_points(row->shape[i])) {
			memcpy(memory + layout->memory_at[i], data + layout->data_at[i],
			       layout->bytes[i]);
			arguments[i] =
				request->missing >> i & 1 ? 0 : word(memory + layout->memory_at[i]);
		}
	}
	result = monitor_invoke(row->name, count, arguments);
	for (unsigned int i = 0; row->shape[i]; i++) {
		if (layout->bytes[i])
			memcpy(data + layout->data_at[i], memory + layout->memory_at[i],
			       layout->bytes[i]);
	}
	free(memory);
	if (!result && row->view != NVML_WHOLE)
		view_memory(row->view, data + layout->data_at[1], layout->bytes[1]);
	return result;
}

/* monitor_answer - one request; -errno of the link, or -EPROTO */
static int monitor_answer(struct link *link)
{
	struct nvml_wire_request request;
	struct nvml_wire_reply reply = { 0 };
	struct monitor_layout layout = { 0 };
	static unsigned char data[NVML_WIRE_DATA_MAX];
	const struct nvml_row *row;
	int error = link_read(link, &request, sizeof(request));

	if (error)
		return error;
	if (request.data_bytes > sizeof(data) || !memchr(request.name, 0, sizeof(request.name)))
		return -EPROTO;
	error = link_read(link, data, request.data_bytes);
	if (error)
		return error;
	row = nvml_row_find(request.name);
	if (!row) {
		reply.result = NVML_ERROR_FUNCTION_NOT_FOUND;
	} else {
		error = layout_read(row, &request, data, &layout);
		if (error)
			return error;
		reply.data_bytes = request.data_bytes;
		reply.result = strcmp(row->name, NVML_WIRE_PROCESSES)
				       ? monitor_call(row, &request, &layout, data)
				       : monitor_processes(&request, data);
	}
	error = link_write(link, &reply, sizeof(reply));
	if (!error && reply.data_bytes)
		error = link_write(link, data, reply.data_bytes);
	return error ? error : link_flush(link);
}

int monitor_serve(struct link *link, uint32_t version, const char *library, uint64_t memory_limit)
{
	struct nvml_wire_welcome welcome = { .magic = NVML_WIRE_MAGIC,
					     .version = NVML_WIRE_VERSION };
	int error;

	monitor.memory_limit = memory_limit;
	if (version != NVML_WIRE_VERSION) {
		welcome.result = NVML_ERROR_UNKNOWN;
		snprintf(welcome.reason, sizeof(welcome.reason),
			 "install the same version of Causeway on both sides");
	} else {
		welcome.result = monitor_open(library, welcome.reason, sizeof(welcome.reason));
		if (welcome.result)
			log_warning("NVML: %s", welcome.reason);
	}
	if (!welcome.result)
		welcome.device_count = monitor.device_count;
	error = link_write(link, &welcome, sizeof(welcome));
	for (uint32_t i = 0; i < welcome.device_count && !error; i++) {
		struct nvml_wire_device facts;

		device_facts(monitor.devices[i], &facts);
		error = link_write(link, &facts, sizeof(facts));
	}
	if (!error)
		error = link_flush(link);
	while (!error)
		error = monitor_answer(link);
	return error;
}
