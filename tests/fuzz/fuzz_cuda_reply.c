/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client whose worker answers anything: a few calls of different sorts are made, and the input
 * is all that ever comes back.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cuda/client/client.h"
#include "lib/link/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static struct link *reply_link(int fd)
{
	struct link *link = calloc(1, sizeof(*link));

	if (!link)
		abort();
	link->fd = fd;
	link->medium = LINK_UNIX;
	link->ring.room_fd = -1;
	if (stream_open(link))
		abort();
	return link;
}

/* One call that takes what @sort says: a block, a tail, or bulk into a box with gaps. */
static void reply_call(unsigned int sort)
{
	struct wire_ping_request request = { 0 };
	struct wire_memory_info_reply block;
	unsigned char tail[200], box[300];
	struct client_bulk bulk = { .at = box,
				    .width_bytes = 20,
				    .pitch = 30,
				    .rows = 3,
				    .slice_pitch = 100,
				    .slices = 3 };
	struct client_call call = { .number = CALL_ping,
				    .flags = CLIENT_NO_CONTEXT,
				    .block = &request,
				    .block_bytes = sizeof(request) };

	if (sort & 1) {
		call.reply = &block;
		call.reply_bytes = sizeof(block);
	}
	if (sort & 2) {
		call.tail = tail;
		call.tail_capacity = sizeof(tail);
	}
	if (sort & 4)
		call.receive = &bulk;
	client_call_run(&call);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static bool quiet;
	int ends[2];

	if (bytes < 1)
		return 0;
	if (!quiet && !freopen("/dev/null", "w", stdout))
		abort();
	quiet = true;
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
		abort();
	client.link = reply_link(ends[1]);
	client.sequence = 0;
	client.state = CLIENT_READY;
	if (bytes - 1 && send(ends[0], data + 1, bytes - 1 < 65536 ? bytes - 1 : 65536, 0) < 0)
		abort();
	shutdown(ends[0], SHUT_WR);
	for (unsigned int i = 0; i < 4; i++)
		reply_call((data[0] + i) & 7);
	link_close(client.link);
	close(ends[0]);
	return 0;
}
