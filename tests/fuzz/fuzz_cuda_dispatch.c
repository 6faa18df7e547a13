/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker whose client sends anything. Two thirds of the inputs are requests with a sound frame,
 * so that their blocks get far; the rest is a raw stream. The first handles are one of each kind,
 * and a driver of memory and a few kernels stands behind.
 */
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cuda/server/worker.h"
#include "lib/link/internal.h"
#include "tests/unit/fake_driver.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

struct feed {
	int fd;
	const uint8_t *data;
	size_t bytes;
	pthread_t reader;
};

/* What the worker answers is read and dropped. */
static void *feed_drain(void *data)
{
	struct feed *feed = data;
	char buffer[65536];

	while (read(feed->fd, buffer, sizeof(buffer)) > 0)
		;
	return NULL;
}

static void feed_send(struct feed *feed, const void *data, size_t bytes)
{
	if (send(feed->fd, data, bytes, MSG_NOSIGNAL) < 0)
		return;
}

/* One request with a sound frame: call, context, sizes from five bytes, then the block. */
static size_t feed_request(struct feed *feed, const uint8_t *data, size_t bytes)
{
	struct cuda_wire_request request = { 0 };
	unsigned char block[512] = { 0 };
	size_t block_bytes = (size_t)(data[1] & 63) * 8, bulk_bytes = (size_t)data[3] * 4;
	size_t copied;

	request.call = data[0] % CALL_count;
	request.context = data[2] & 1;
	request.bytes = (uint32_t)(sizeof(request) + block_bytes);
	request.bulk_bytes = data[4] & 1 ? bulk_bytes : 0;
	data += 5;
	bytes -= 5;
	copied = bytes < block_bytes ? bytes : block_bytes;
	memcpy(block, data, copied);
	feed_send(feed, &request, sizeof(request));
	feed_send(feed, block, block_bytes);
	if (request.bulk_bytes) {
		unsigned char bulk[1024] = "good";
		size_t left = bytes - copied < bulk_bytes ? bytes - copied : bulk_bytes;

		memcpy(bulk, data + copied, left);
		feed_send(feed, bulk, bulk_bytes);
		copied += left;
	}
	return 5 + copied;
}

/* The client's side: it stays below what a socket holds, then hangs up. */
static void feed_all(struct feed *feed)
{
	const uint8_t *data = feed->data;
	size_t bytes = feed->bytes;

	if (bytes && data[0] % 3 == 0) {
		feed_send(feed, data + 1, bytes - 1 < 65536 ? bytes - 1 : 65536);
	} else {
		for (int i = 0; i < 64 && bytes > 5; i++) {
			size_t used = feed_request(feed, data, bytes);

			data += used;
			bytes -= used;
		}
	}
	shutdown(feed->fd, SHUT_WR);
}

static struct link *feed_link(int fd)
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

/* A graph with nodes: the driver looks into these, so any number will not do. */
static void prepare_graph(struct worker_call *call)
{
	CUgraphExec exec = NULL;
	CUgraphNode nodes[2] = { 0 };
	CUgraph graph = NULL;
	size_t count = 2;

	worker_driver.cuStreamEndCapture((CUstream)1, &graph); /* the last input's, if any */
	if (worker_driver.cuStreamBeginCapture_v2((CUstream)1, CU_STREAM_CAPTURE_MODE_RELAXED) ||
	    worker_driver.cuStreamEndCapture((CUstream)1, &graph) ||
	    worker_driver.cuGraphGetNodes(graph, nodes, &count) ||
	    worker_driver.cuGraphInstantiateWithFlags(&exec, graph, 0))
		abort();
	worker_handle_set(call, KIND_graph, KIND_graph, graph, 0);
	worker_handle_set(call, KIND_node, KIND_node, nodes[1], KIND_graph);
	worker_handle_set(call, KIND_exec, KIND_exec, exec, 0);
}

/* A handle of each kind, kernels with their layouts, and a block of memory. */
static void prepare(struct worker_call *call)
{
	struct wire_context_retain_request retain = { .context = KIND_context };
	struct wire_context_retain_reply facts;
	CUdeviceptr address;

	for (unsigned int kind = KIND_context + 1; kind < KIND_count; kind++)
		if (kind != KIND_graph && kind != KIND_node && kind != KIND_exec)
			worker_handle_set(call, kind, kind, (void *)(uintptr_t)(kind * 0x1000), 0);
	prepare_graph(call);
	worker_context_retain(call, &retain, &facts);
	worker_function_describe(call, KIND_function, 0);
	worker_function_describe(call, KIND_kernel, 0);
	worker_driver.cuMemAlloc_v2(&address, 65536);
	worker_range_add(address, 65536, WORKER_RANGE_ALLOCATION, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct feed feed = { .data = data, .bytes = bytes };
	struct worker_call call = { 0 };
	int ends[2];

	fake_driver_fill(&worker_driver);
	worker_driver.cuLaunchHostFunc = NULL; /* its thread would wait for ever */
	worker_options.image_limit = 65536;
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
		abort();
	feed.fd = ends[0];
	worker_link = feed_link(ends[1]);
	if (worker_call_open(&call))
		abort();
	prepare(&call);
	pthread_create(&feed.reader, NULL, feed_drain, &feed);
	feed_all(&feed);
	while (!worker_serve_one(&call))
		;
	worker_call_close(&call);
	link_close(worker_link);
	pthread_join(feed.reader, NULL);
	close(feed.fd);
	worker_table_close();
	return 0;
}
