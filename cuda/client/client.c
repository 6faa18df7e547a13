/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a client: cuInit connects and takes the snapshot, fork and exit leave the worker
 *alone.
 *
 * Hops of a call, for orientation:
 *	gen/cuda_exports.c:cuX         the symbol; the tracer when it is on
 *	gen/cuda_stubs.c:client_cuX    or a body by hand in this folder: check, encode
 *	call.c:client_call_run         order, send
 *	call.c:client_call_read        deliver the reply
 */
#include "cuda/client/shared.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct client client = {
	.start_lock = PTHREAD_MUTEX_INITIALIZER,
	.send_lock = PTHREAD_MUTEX_INITIALIZER,
};

/* client_state_set - the one place that assigns the state, apart from client_lost() */
static void client_state_set(enum client_state state)
{
	__atomic_store_n(&client.state, state, __ATOMIC_RELEASE);
}

CUresult client_enter_slow(void)
{
	switch ((enum client_state)__atomic_load_n(&client.state, __ATOMIC_ACQUIRE)) {
	case CLIENT_READY:
		return CUDA_SUCCESS;
	case CLIENT_LOST:
		return CUDA_ERROR_DEVICE_UNAVAILABLE;
	case CLIENT_NEW:
	case CLIENT_FAILED:
	case CLIENT_FORKED:
		break;
	}
	return CUDA_ERROR_NOT_INITIALIZED;
}

/* client_child - in a forked child: the connection is the parent's */
static void client_child(void)
{
	int state = __atomic_load_n(&client.state, __ATOMIC_RELAXED);

	pthread_mutex_init(&client.start_lock, NULL); /* another thread may have been in cuInit */
	if (state != CLIENT_READY && state != CLIENT_LOST)
		return;
	link_abandon(client.link);
	client.link = NULL;
	client_state_set(CLIENT_FORKED);
}

static void client_fork_register(void)
{
	pthread_atfork(NULL, NULL, client_child);
}

void client_fork_prepare(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, client_fork_register);
}

static int client_greet(struct link *link, struct error *error)
{
	struct cuda_wire_hello hello = { .magic = CUDA_WIRE_MAGIC,
					 .version = CUDA_WIRE_VERSION,
					 .digest = CUDA_WIRE_DIGEST,
					 .process = (uint32_t)getpid() };
	int result;

	snprintf(hello.program, sizeof(hello.program), "%s", program_invocation_short_name);
	result = link_write(link, &hello, sizeof(hello));
	if (!result)
		result = link_flush(link);
	return result ? error_set(error, result, "greeting the server: %s", strerror(-result)) : 0;
}

/* client_welcome - the worker's answer, checked; -errno with a sentence */
static int client_welcome(struct link *link, struct cuda_wire_welcome *welcome, struct error *error)
{
	static const uint8_t digest[32] = CUDA_WIRE_DIGEST;
	int result = link_read(link, welcome, sizeof(*welcome));

	if (result)
		return error_set(error, result, "waiting for the server's welcome: %s",
				 strerror(-result));
	if (welcome->magic != CUDA_WIRE_MAGIC)
		return error_set(error, -EPROTO, "the server speaks another protocol");
	if (welcome->version != CUDA_WIRE_VERSION ||
	    memcmp(welcome->digest, digest, sizeof(digest)))
		return error_set(
			error, -EPROTO,
			"the server's version of Causeway describes another CUDA interface "
			"than this library's; install the same version on both sides");
	welcome->reason[sizeof(welcome->reason) - 1] = 0;
	if (welcome->result)
		return error_set(error, -ENODEV, "the server has no device: %s", welcome->reason);
	if (!welcome->device_count || welcome->device_count > CUDA_WIRE_DEVICES_MAX)
		return error_set(error, -EPROTO, "the server says that it has %u devices",
				 welcome->device_count);
	return 0;
}

static int client_snapshot(struct link *link, const struct cuda_wire_welcome *welcome,
			   struct error *error)
{
	struct cuda_wire_device *devices = calloc(welcome->device_count, sizeof(*devices));
	int result = -ENOMEM;

	if (devices)
		result = link_read(link, devices, welcome->device_count * sizeof(*devices));
	if (result) {
		free(devices);
		return error_set(error, result, "reading the devices' facts: %s",
				 strerror(-result));
	}
	for (uint32_t i = 0; i < welcome->device_count; i++) {
		devices[i].name[sizeof(devices[i].name) - 1] = 0;
		devices[i].pci_bus_id[sizeof(devices[i].pci_bus_id) - 1] = 0;
	}
	client.devices = devices;
	client.device_count = welcome->device_count;
	client.driver_version = welcome->driver_version;
	return 0;
}

/* client_connect - configuration, link, greeting, snapshot */
static int client_connect(struct error *error)
{
	struct client_config config;
	struct cuda_wire_welcome welcome;
	struct link *link = NULL;
	int result = client_config_load(&config, error);

	if (result)
		return result;
	config.link.shared_bytes = client_shared_offer();
	result = link_connect(config.server, &config.link, &link, error);
	if (result)
		return error_prefix(error, "server %s", config.server);
	result = client_greet(link, error);
	if (!result)
		result = client_welcome(link, &welcome, error);
	if (!result)
		result = client_snapshot(link, &welcome, error);
	if (result) {
		link_close(link);
		return error_prefix(error, "server %s", config.server);
	}
	client.link = link;
	client_shared_open();
	if (client.driver_version > CUDA_VERSION)
		client.driver_version = CUDA_VERSION; /* what is newer is not offered */
	if (client.look_up_version)
		__atomic_store_n(client.look_up_version, client.driver_version, __ATOMIC_RELAXED);
	return 0;
}

CUresult client_cuInit(unsigned int Flags)
{
	struct error error = { 0 };
	CUresult result = CUDA_SUCCESS;
	int state = __atomic_load_n(&client.state, __ATOMIC_ACQUIRE);

	if (Flags)
		return CUDA_ERROR_INVALID_VALUE;
	if (state != CLIENT_NEW && state != CLIENT_FAILED)
		return client_enter_slow();
	pthread_mutex_lock(&client.start_lock);
	state = __atomic_load_n(&client.state, __ATOMIC_ACQUIRE);
	if (state == CLIENT_NEW || state == CLIENT_FAILED) {
		client_fork_prepare();
		if (client_connect(&error)) {
			client_log("%s", error.text);
			client_state_set(CLIENT_FAILED);
			result = CUDA_ERROR_NO_DEVICE;
		} else {
			client_state_set(CLIENT_READY);
		}
	} else {
		result = client_enter_slow();
	}
	pthread_mutex_unlock(&client.start_lock);
	return result;
}

CUresult client_cuDriverGetVersion(int *driverVersion)
{
	if (!driverVersion)
		return CUDA_ERROR_INVALID_VALUE;
	*driverVersion = client.driver_version ? client.driver_version : CUDA_VERSION;
	return CUDA_SUCCESS;
}
