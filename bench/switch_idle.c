/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drivers that do nothing: attaches to each of the switch's sockets as a VMM with a guest that has
 * set up its rings, says "attached", and stays until its input ends.
 *
 *	switch_idle SOCKET ...
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "tests/unit/vhost_frontend.h"

#define IDLE_ANSWER_MS 10000

static void idle_serve(void *context)
{
	struct frontend *frontend = context;
	struct pollfd answer = { .fd = frontend->socket_fd, .events = POLLIN };

	poll(&answer, 1, frontend->awaits_answer ? IDLE_ANSWER_MS : 0);
}

int main(int argc, char **argv)
{
	struct frontend *frontends = calloc((size_t)argc, sizeof(*frontends));
	char byte;

	for (int i = 1; i < argc && frontends; i++) {
		int fd = io_unix_connect(argv[i], NULL);

		if (fd < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
			fprintf(stderr, "switch_idle: cannot connect to %s\n", argv[i]);
			return 1;
		}
		frontend_open(&frontends[i], FRONTEND_QEMU, idle_serve, &frontends[i], fd);
		frontend_handshake(&frontends[i], VIRTIO_RING_F_EVENT_IDX);
	}
	puts("attached");
	fflush(stdout);
	while (read(0, &byte, 1) > 0)
		continue;
	free(frontends);
	return 0;
}
