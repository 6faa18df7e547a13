/* SPDX-License-Identifier: Apache-2.0 */
/*
 * causeway-cuda-worker: serves one CUDA client over a connection that it was given.
 *
 *	causeway-cuda-worker --fd 3 --driver PATH --peer TEXT [--memory-limit BYTES]
 *
 *	main -> worker_greet -> worker_welcome -> worker.c:worker_serve
 *
 * The process ends with its connection: any thread that sees the end of it ends the process at
 * once, and a thread of its own watches the socket for the case that all others wait inside the
 * driver. The driver is not asked to tidy up: it may be what hangs.
 */
#include <argp.h>
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cuda/server/account.h"
#include "cuda/server/monitor.h"
#include "cuda/server/sandbox.h"
#include "cuda/server/shm.h"
#include "cuda/server/turn.h"
#include "cuda/server/worker.h"
#include "lib/base/clean.h"
#include "lib/base/io.h"
#include "lib/base/log.h"
#include "gen/cuda_names.h"
#include "proto/share-page.h"

#define IMAGE_LIMIT_BYTES (1ull << 30)
#define GREETING_WAIT_MS  5000
#define SPIN_US		  200 /* a sleeping worker is woken late, above all inside a VM */

struct arguments {
	int fd;
	int token_fd;
	int share_slot; /* -1: nothing is shared */
	bool turns;
	const char *driver;
	struct sandbox sandbox;
};

static bool worker_clears;     /* device memory that the client gets */
static bool worker_has_folder; /* of its tenant's, for memory by name */

static const struct argp_option option_list[] = {
	{ "fd", 'f', "NUMBER", 0, "descriptor of the accepted connection", 0 },
	{ "driver", 'd', "LIBRARY", 0, "libcuda.so.1 to load", 0 },
	{ "peer", 'p', "TEXT", 0, "who the client is, for the log", 0 },
	{ "memory-limit", 'm', "BYTES", 0, "device memory that the client may allocate", 0 },
	{ "image-limit", 'i', "BYTES", 0, "largest program image that is taken", 0 },
	{ "share", 's', "NUMBER", 0,
	  "descriptors 5 to 7 are shared; the number of the memory's slot", 0 },
	{ "turns", 'u', NULL, 0, "take turns on the device", 0 },
	{ "clear", 'c', NULL, 0, "clear device memory when it is allocated", 0 },
	{ "folder", 'o', NULL, 0, "descriptor 8 is the folder of shared memory by name", 0 },
	{ "sandbox", 'x', NULL, 0, "give up files, network and system calls", 0 },
	{ "user", 'U', "NUMBER", 0, "become this user", 0 },
	{ "path", 'P', "PATH", 0, "in the sandbox: may be read and written too (up to 16)", 0 },
	{ "token-fd", 't', "NUMBER", 0, "descriptor to read the TCP token from", 0 },
	{ 0 },
};

static unsigned long long option_number(struct argp_state *state, const char *text)
{
	unsigned long long number;
	char *end;

	errno = 0;
	number = strtoull(text, &end, 10);
	if (errno || end == text || *end || *text == '-')
		argp_error(state, "\"%s\" is no number", text);
	return number;
}

static error_t option_parse(int key, char *text, struct argp_state *state)
{
	struct arguments *arguments = state->input;

	switch (key) {
	case 'f':
		arguments->fd = (int)option_number(state, text);
		return 0;
	case 'd':
		arguments->driver = text;
		return 0;
	case 'p':
		worker_options.peer = text;
		return 0;
	case 'm':
		worker_options.memory_limit = option_number(state, text);
		return 0;
	case 'i':
		worker_options.image_limit = option_number(state, text);
		return 0;
	case 't':
		arguments->token_fd = (int)option_number(state, text);
		return 0;
	case 's':
		arguments->share_slot = (int)option_number(state, text);
		return 0;
	case 'c':
		worker_clears = true;
		return 0;
	case 'u':
		arguments->turns = true;
		return 0;
	case 'o':
		arguments->sandbox.folder_fd = SHARE_FOLDER_FD;
		worker_has_folder = true;
		return 0;
	case 'x':
		arguments->sandbox.confined = true;
		return 0;
	case 'U':
		arguments->sandbox.as_user = true;
		arguments->sandbox.uid = (uid_t)option_number(state, text);
		return 0;
	case 'P':
		if (arguments->sandbox.path_count == SANDBOX_PATHS_MAX)
			argp_error(state, "more than %d paths", SANDBOX_PATHS_MAX);
		arguments->sandbox.paths[arguments->sandbox.path_count++] = text;
		return 0;
	case ARGP_KEY_END:
		if (arguments->fd < 0 || !arguments->driver)
			argp_error(state, "--fd and --driver are needed");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* worker_ended - the connection is over: so is the process */
static __attribute__((noreturn)) void worker_ended(int error)
{
	switch (error) {
	case -EPIPE:
	case -ESHUTDOWN:
	case -ECONNRESET:
		log_debug("%s: the client is gone", worker_options.peer);
		_exit(0);
	case -EPROTO:
		log_warning("%s: the client broke the protocol; its connection ends",
			    worker_options.peer);
		_exit(1);
	default:
		log_warning("%s: the connection failed: %s", worker_options.peer, strerror(-error));
		_exit(1);
	}
}

/* The watcher: sees the client's end while every other thread waits inside the driver. */
static void *worker_watch(void *data)
{
	struct pollfd watched = { .fd = *(int *)data, .events = POLLRDHUP };

	while (poll(&watched, 1, -1) < 0 && errno == EINTR)
		;
	worker_ended(-EPIPE);
}

/* worker_driver_open - load and initialise; the welcome's result and reason where that fails */
static CUresult worker_driver_open(const char *path, struct cuda_wire_welcome *welcome)
{
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	const char *name;
	CUresult result;

	if (!library) {
		snprintf(welcome->reason, sizeof(welcome->reason), "%s", dlerror());
		return CUDA_ERROR_NO_DEVICE;
	}
	cuda_driver_find(&worker_driver, library);
	*(void **)&worker_write_value = dlsym(library, "cuStreamWriteValue32_v2");
	if (worker_clears)
		memory_clear_open(&worker_driver);
	if (worker_has_folder)
		handles_open(&worker_driver);
	turn_calls_open(&worker_driver);
	quota_arrays_open(&worker_driver);
	quota_pools_open(&worker_driver);
	quota_overhead_open(&worker_driver, path, device_memory_read);
	if (!worker_driver.cuInit || !worker_driver.cuDeviceGetCount) {
		snprintf(welcome->reason, sizeof(welcome->reason), "%s is no CUDA driver", path);
		return CUDA_ERROR_NO_DEVICE;
	}
	result = worker_driver.cuInit(0);
	if (result) {
		name = cuda_result_name(result);
		snprintf(welcome->reason, sizeof(welcome->reason), "%s: cuInit says %s", path,
			 name ? name : "an unknown error");
	}
	return result;
}

/* device_facts - everything that the client will answer by itself */
static void device_facts(CUdevice device, struct cuda_wire_device *facts)
{
	CUresult (*uuid)(CUuuid *, CUdevice) = worker_driver.cuDeviceGetUuid_v2
						       ? worker_driver.cuDeviceGetUuid_v2
						       : worker_driver.cuDeviceGetUuid;
	size_t bytes = 0;
	uint64_t limit;

	if (worker_driver.cuDeviceGetName)
		worker_driver.cuDeviceGetName(facts->name, sizeof(facts->name), device);
	if (uuid)
		uuid((CUuuid *)facts->uuid, device);
	if (worker_driver.cuDeviceTotalMem_v2)
		worker_driver.cuDeviceTotalMem_v2(&bytes, device);
	facts->total_bytes = bytes;
	if (worker_options.memory_limit && bytes > worker_options.memory_limit)
		facts->total_bytes = worker_options.memory_limit;
	quota_left(&limit);
	if (limit && facts->total_bytes > limit)
		facts->total_bytes = limit;
	if (worker_driver.cuDeviceGetPCIBusId)
		worker_driver.cuDeviceGetPCIBusId(facts->pci_bus_id, sizeof(facts->pci_bus_id),
						  device);
	for (int i = 1; worker_driver.cuDeviceGetAttribute && i < CU_DEVICE_ATTRIBUTE_MAX; i++) {
		int value = 0;

		if (worker_driver.cuDeviceGetAttribute(&value, (CUdevice_attribute)i, device))
			continue;
		facts->attributes[i] = value;
		facts->known[i] = 1;
	}
}

/*
 * worker_hello - the client's hello, checked; -EPROTO, or with a sentence for it in @welcome.
 * A client of the monitoring library is served here, to its end.
 */
static int worker_hello(struct cuda_wire_welcome *welcome, const char *driver)
{
	static const uint8_t digest[32] = CUDA_WIRE_DIGEST;
	struct cuda_wire_hello hello;
	char library[4096];
	int error = link_read(worker_link, &hello, sizeof(hello));

	if (error)
		return error;
	if (hello.magic == NVML_WIRE_MAGIC) {
		monitor_library(driver, library, sizeof(library));
		return monitor_serve(worker_link, hello.version, library,
				     worker_options.memory_limit);
	}
	if (hello.magic != CUDA_WIRE_MAGIC)
		return -EPROTO;
	quota_show_process(hello.process);
	if (hello.version == CUDA_WIRE_VERSION && !memcmp(hello.digest, digest, sizeof(digest)))
		return 0;
	log_warning("%s: the client's library describes another CUDA interface than this worker; "
		    "install the same version of Causeway on both sides",
		    worker_options.peer);
	welcome->result = CUDA_ERROR_SYSTEM_DRIVER_MISMATCH;
	return 0;
}

/* worker_welcome - start the driver and send the snapshot */
static int worker_welcome(const char *driver)
{
	struct cuda_wire_welcome welcome = { .magic = CUDA_WIRE_MAGIC,
					     .version = CUDA_WIRE_VERSION,
					     .digest = CUDA_WIRE_DIGEST };
	autofree struct cuda_wire_device *devices = NULL;
	int count = 0, version = 0;
	int error = worker_hello(&welcome, driver);

	if (error)
		return error;
	if (!welcome.result)
		welcome.result = worker_driver_open(driver, &welcome);
	if (!welcome.result)
		welcome.result = worker_driver.cuDeviceGetCount(&count);
	if (!welcome.result && count < 1) {
		welcome.result = CUDA_ERROR_NO_DEVICE;
		snprintf(welcome.reason, sizeof(welcome.reason), "%s has no device", driver);
	}
	if (welcome.result && *welcome.reason)
		log_error("%s", welcome.reason);
	if (!welcome.result) {
		welcome.device_count = (uint32_t)count < CUDA_WIRE_DEVICES_MAX
					       ? (uint32_t)count
					       : CUDA_WIRE_DEVICES_MAX;
		devices = calloc(welcome.device_count, sizeof(*devices));
		if (!devices)
			return -ENOMEM;
		for (uint32_t i = 0; i < welcome.device_count; i++)
			device_facts((CUdevice)i, &devices[i]);
		if (worker_driver.cuDriverGetVersion)
			worker_driver.cuDriverGetVersion(&version);
		welcome.driver_version = version;
	}
	error = link_write(worker_link, &welcome, sizeof(welcome));
	if (!error && devices)
		error = link_write(worker_link, devices, welcome.device_count * sizeof(*devices));
	return error ? error : link_flush(worker_link);
}

/* worker_adopt - the link on the connection, with the token that TCP needs */
static int worker_adopt(const struct arguments *arguments)
{
	struct link_options options = link_options_default;
	char token[65] = "";
	struct error error = { 0 };

	options.connect_wait_ms = GREETING_WAIT_MS;
	options.spin_limit_us = SPIN_US;
	if (arguments->token_fd >= 0) {
		ssize_t used = read(arguments->token_fd, token, sizeof(token) - 1);

		close(arguments->token_fd);
		if (used > 0)
			options.token = token;
	}
	if (link_adopt(arguments->fd, &options, &worker_link, &error)) {
		log_warning("%s: %s", worker_options.peer, error.text);
		return error.code;
	}
	return 0;
}

/* worker_confine - the sandbox, before the client is heard and a driver loaded */
static int worker_confine(struct arguments *arguments)
{
	struct error error = { 0 };

	arguments->sandbox.driver = arguments->driver;
	shm_folder_set(arguments->sandbox.folder_fd);
	if (sandbox_enter(&arguments->sandbox, &error)) {
		log_error("%s: %s", worker_options.peer, error.text);
		return error.code;
	}
	return 0;
}

int main(int argc, char **argv)
{
	static struct arguments arguments = {
		.fd = -1, .token_fd = -1, .share_slot = -1, .sandbox.folder_fd = -1
	};
	static const struct argp parser = {
		option_list, option_parse,
		NULL,	     "Serves one CUDA client over an accepted connection.",
		NULL,	     NULL,
		NULL
	};
	struct share_page *page;
	pthread_t watcher;
	int error;

	worker_options = (struct worker_options){ .image_limit = IMAGE_LIMIT_BYTES,
						  .peer = "client",
						  .ended = worker_ended };
	argp_parse(&parser, argc, argv, 0, NULL, &arguments);
	log_open("causeway-cuda-worker");
	signal(SIGPIPE, SIG_IGN);
	if (worker_adopt(&arguments) || worker_confine(&arguments))
		return 1;
	if (pthread_create(&watcher, NULL, worker_watch, &arguments.fd)) {
		log_error("no thread to watch the connection");
		return 1;
	}
	if (arguments.share_slot >= 0) {
		error = quota_open(SHARE_MEMORY_FD, (unsigned int)arguments.share_slot);
		if (!error)
			error = account_open(SHARE_PAGE_FD, &page);
		if (!error && arguments.turns)
			turn_open(page, SHARE_KICK_FD);
		if (error) {
			log_error("what is shared with the supervisor: %s", strerror(-error));
			return 1;
		}
	}
	error = worker_print_open();
	if (error)
		log_warning("device printf is lost: %s", strerror(-error));
	error = worker_welcome(arguments.driver);
	if (error)
		worker_ended(error);
	worker_ended(worker_serve());
}
