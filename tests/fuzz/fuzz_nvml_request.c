/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker for NVML whose client sends anything behind a proper greeting: requests with names of
 * rows, and arguments, lengths and data as the input says. The library fills whatever it is given.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cuda/common/nvml_row.h"
#include "cuda/server/monitor.h"
#include "proto/link.h"

#define REQUESTS_MAX 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

#define NAMED(name, ...) #name,
static const char *const names[] = { NVML_ROWS(NAMED) NVML_WIRE_PROCESSES, "", "nvmlUnknown" };

static void send_bytes(int fd, const void *bytes, size_t count)
{
	if (send(fd, bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return; /* what does not fit is lost, as from a peer that stops in the middle */
}

/* one_request - from the input; the rest of it, or 0 */
static size_t one_request(int fd, const uint8_t *data, size_t bytes)
{
	struct nvml_wire_request request = { 0 };
	size_t fixed = 2 + sizeof(request.missing) + sizeof(request.arguments) + 2, used;

	if (bytes < fixed)
		return 0;
	strcpy(request.name, names[data[0] % (sizeof(names) / sizeof(*names))]);
	memcpy(&request.missing, data + 2, sizeof(request.missing));
	memcpy(request.arguments, data + 2 + sizeof(request.missing), sizeof(request.arguments));
	used = (size_t)data[fixed - 2] << 8 | data[fixed - 1];
	if (used > bytes - fixed)
		used = bytes - fixed;
	request.data_bytes = data[1] ? (uint32_t)used : (uint32_t)used * 131071;
	send_bytes(fd, &request, sizeof(request));
	send_bytes(fd, data + fixed, used);
	return bytes - fixed - used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	const struct link_greeting greeting = { .magic = LINK_WIRE_MAGIC,
						.version = LINK_WIRE_VERSION,
						.medium = LINK_WIRE_UNIX };
	struct link_options options = link_options_default;
	struct error error = { 0 };
	struct link *link;
	size_t left = bytes;
	int pair[2];

	options.spin_limit_us = 0;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		abort();
	send_bytes(pair[0], &greeting, sizeof(greeting));
	if (link_adopt(pair[1], &options, &link, &error))
		abort();
	for (int i = 0; i < REQUESTS_MAX && left; i++)
		left = one_request(pair[0], data + bytes - left, left);
	shutdown(pair[0], SHUT_WR);
	monitor_serve(link, NVML_WIRE_VERSION, NVML_ROWS_PATH, 1 << 20);
	link_close(link);
	close(pair[0]);
	return 0;
}
