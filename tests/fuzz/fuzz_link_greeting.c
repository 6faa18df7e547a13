/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The greeting as a server receives it, with and without descriptors, and the answer as a client
 * receives it. The first byte says which; the rest is what the peer sends before it hangs up.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/link/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void fuzz_answer(const uint8_t *data, size_t bytes)
{
	struct link_answer answer = { 0 };
	struct error error;

	memcpy(&answer, data, bytes < sizeof(answer) ? bytes : sizeof(answer));
	link_answer_check(&answer, &error);
}

static void fuzz_token(const uint8_t *data, size_t bytes)
{
	struct link_greeting greeting = { 0 };
	struct error error;

	memcpy(&greeting, data, bytes < sizeof(greeting) ? bytes : sizeof(greeting));
	link_greeting_check(&greeting, true, "token", &error);
}

/* What may travel beside a greeting: bit 0 sealed memory, bit 1 memory at all, bit 2 a socket. */
static size_t make_fds(uint8_t kind, int *fds)
{
	size_t count = 0;

	if (kind & 2) {
		fds[count] = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		if (ftruncate(fds[count], LINK_RING_HEADER_BYTES + 2 * LINK_RING_BYTES_MIN) < 0)
			abort();
		if (kind & 1)
			fcntl(fds[count], F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK);
		count++;
	}
	if (kind & 4)
		fds[count++] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct link_options options = link_options_default;
	struct link *link = NULL;
	int pair[2], fds[2];
	size_t fd_count;

	if (bytes < 2 || bytes > 4096)
		return 0;
	if (data[0] & 0x80)
		fuzz_answer(data + 1, bytes - 1);
	if (data[0] & 0x40)
		fuzz_token(data + 1, bytes - 1);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		abort();
	fd_count = make_fds(data[0], fds);
	io_send_fds(pair[0], data + 1, bytes - 1, fds, fd_count);
	while (fd_count)
		close(fds[--fd_count]);
	shutdown(pair[0], SHUT_WR);
	options.spin_limit_us = 0;
	if (link_adopt(pair[1], &options, &link, NULL) < 0) {
		close(pair[1]);
	} else {
		const void *at;

		link_peek(link, 1, &at);
		link_close(link);
	}
	close(pair[0]);
	return 0;
}
