/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection of libnvidia-ml.so.1: made by the first nvmlInit(), over the client's configured
 * way to the server (a ring's socket as a plain one: nobody asks a monitor a million times).
 *
 * States, under nvml.lock:
 *	opened == 0	no connection; every call but nvmlInit is UNINITIALIZED
 *	opened > 0	link, or NULL after it was lost or in a forked child: the next call connects
 *			again. Programs that watch a device outlive its server.
 * The devices are those of the first connection for good, since programs keep handles.
 *
 * The library is loaded beside or without libcuda.so.1, and shares nothing with it.
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cuda/client/client.h"
#include "cuda/client/nvml/nvml.h"

#define SPIN_US 50

static struct {
	pthread_mutex_t lock;
	unsigned int opened;
	struct link *link;
	struct nvml_device *devices;
	uint32_t device_count;
} nvml = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* connection_child - in a forked child the connection is the parent's */
static void connection_child(void)
{
	pthread_mutex_init(&nvml.lock, NULL);
	if (nvml.link)
		link_abandon(nvml.link);
	nvml.link = NULL;
}

static void connection_register(void)
{
	pthread_atfork(NULL, NULL, connection_child);
}

/* connection_devices - the snapshot behind a welcome, taken over at the first time */
static int connection_devices(struct link *link, uint32_t count)
{
	struct nvml_device *devices = calloc(count + 1, sizeof(*devices));
	int error = devices ? 0 : -ENOMEM;

	for (uint32_t i = 0; i < count && !error; i++) {
		struct nvml_wire_device *facts = &devices[i].facts;

		error = link_read(link, facts, sizeof(*facts));
		facts->uuid[sizeof(facts->uuid) - 1] = 0;
		facts->serial[sizeof(facts->serial) - 1] = 0;
		facts->bus_id[sizeof(facts->bus_id) - 1] = 0;
		facts->bus_id_legacy[sizeof(facts->bus_id_legacy) - 1] = 0;
	}
	if (!error && !nvml.devices) {
		nvml.devices = devices;
		nvml.device_count = count;
		return 0;
	}
	free(devices);
	return error;
}

/* connection_greet - hello and welcome; -errno with a sentence, *result is the server's word */
static int connection_greet(struct link *link, int *result, struct error *error)
{
	struct cuda_wire_hello hello = { .magic = NVML_WIRE_MAGIC,
					 .version = NVML_WIRE_VERSION,
					 .process = (uint32_t)getpid() };
	struct nvml_wire_welcome welcome;
	int status;

	snprintf(hello.program, sizeof(hello.program), "%s", program_invocation_short_name);
	status = link_write(link, &hello, sizeof(hello));
	if (!status)
		status = link_flush(link);
	if (!status)
		status = link_read(link, &welcome, sizeof(welcome));
	if (status)
		return error_set(error, status, "%s", strerror(-status));
	if (welcome.magic != NVML_WIRE_MAGIC || welcome.version != NVML_WIRE_VERSION ||
	    welcome.device_count > NVML_WIRE_DEVICES_MAX)
		return error_set(error, -EPROTO, "the server is of another version");
	welcome.reason[sizeof(welcome.reason) - 1] = 0;
	*result = welcome.result;
	if (welcome.result)
		return error_set(error, -ENODEV, "%s", welcome.reason);
	status = connection_devices(link, welcome.device_count);
	return status ? error_set(error, status, "%s", strerror(-status)) : 0;
}

/* connection_plain - the socket below a way to the server that has memory beside it */
static void connection_plain(struct client_config *config)
{
	char server[sizeof(config->server) + 8];

	if (!strncmp(config->server, "ring:", 5))
		memcpy(config->server, "unix:", 5);
	if (strncmp(config->server, "scif:", 5))
		return;
	snprintf(server, sizeof(server), "vsock:%s", config->server + 5);
	memcpy(config->server, server, sizeof(config->server));
	config->server[sizeof(config->server) - 1] = 0;
}

/* connection_make - under the lock; an nvml_result */
static int connection_make(void)
{
	struct client_config config;
	struct error error = { 0 };
	int result = NVML_ERROR_DRIVER_NOT_LOADED;
	int status = client_config_load(&config, &error);

	if (!status) {
		connection_plain(&config);
		config.link.spin_limit_us = SPIN_US;
		status = link_connect(config.server, &config.link, &nvml.link, &error);
	}
	if (!status) {
		status = connection_greet(nvml.link, &result, &error);
		if (status) {
			link_close(nvml.link);
			nvml.link = NULL;
		}
	}
	if (!status)
		return NVML_SUCCESS;
	client_log("NVML: %s", error.text);
	return result ? result : NVML_ERROR_DRIVER_NOT_LOADED;
}

static void connection_drop(void)
{
	link_close(nvml.link);
	nvml.link = NULL;
}

int nvml_open(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	int result = NVML_SUCCESS;

	pthread_once(&once, connection_register);
	pthread_mutex_lock(&nvml.lock);
	if (!nvml.opened)
		result = connection_make();
	nvml.opened += !result;
	pthread_mutex_unlock(&nvml.lock);
	return result;
}

int nvml_close(void)
{
	int result = NVML_SUCCESS;

	pthread_mutex_lock(&nvml.lock);
	if (!nvml.opened)
		result = NVML_ERROR_UNINITIALIZED;
	else if (!--nvml.opened && nvml.link)
		connection_drop();
	pthread_mutex_unlock(&nvml.lock);
	return result;
}

int nvml_enter(void)
{
	int result = NVML_ERROR_UNINITIALIZED;

	pthread_mutex_lock(&nvml.lock);
	if (nvml.opened)
		result = nvml.link ? NVML_SUCCESS : connection_make();
	if (result)
		pthread_mutex_unlock(&nvml.lock);
	return result;
}

void nvml_leave(void)
{
	pthread_mutex_unlock(&nvml.lock);
}

uint32_t nvml_device_count(void)
{
	return nvml.device_count;
}

struct nvml_device *nvml_device_at(uint32_t index)
{
	return index < nvml.device_count ? &nvml.devices[index] : NULL;
}

int nvml_device_index(uint64_t handle)
{
	uint64_t offset = handle - (uint64_t)(uintptr_t)nvml.devices;

	if (!handle || offset % sizeof(*nvml.devices) ||
	    offset / sizeof(*nvml.devices) >= nvml.device_count)
		return -1;
	return (int)(offset / sizeof(*nvml.devices));
}

int nvml_exchange(const struct nvml_wire_request *request, void *data, int *result)
{
	struct nvml_wire_reply reply;
	int error = link_write(nvml.link, request, sizeof(*request));

	if (!error && request->data_bytes)
		error = link_write(nvml.link, data, request->data_bytes);
	if (!error)
		error = link_flush(nvml.link);
	if (!error)
		error = link_read(nvml.link, &reply, sizeof(reply));
	if (!error && reply.data_bytes && reply.data_bytes != request->data_bytes)
		error = -EPROTO;
	if (!error && reply.data_bytes)
		error = link_read(nvml.link, data, reply.data_bytes);
	if (error) {
		client_log("NVML: the connection to the server is lost: %s", strerror(-error));
		connection_drop();
		return NVML_ERROR_GPU_IS_LOST;
	}
	*result = reply.result;
	return NVML_SUCCESS;
}
