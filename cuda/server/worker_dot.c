/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A graph as text. The driver writes it into a file that it is named; here that is memory of this
 * process's, whose parts then go to the client, which writes the program's file. The client asks
 * for one text at a time; what is here is the last one.
 *
 * Locks: text_lock guards the text, a leaf.
 */
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cuda/server/worker.h"

#define TEXT_BYTES_MAX (64u << 20)
#define PART_BYTES     (WORKER_PAYLOAD_BYTES - 8)

static pthread_mutex_t text_lock = PTHREAD_MUTEX_INITIALIZER;
static int text_fd = -1;

/* text_open - an empty file, and its path for the driver; false: there is none to be had */
static bool text_open(char *path, size_t bytes)
{
	if (text_fd < 0)
		text_fd = memfd_create("causeway-graph", MFD_CLOEXEC);
	snprintf(path, bytes, "/proc/self/fd/%d", text_fd);
	return text_fd >= 0 && ftruncate(text_fd, 0) == 0;
}

CUresult worker_graph_print(struct worker_call *call,
			    const struct wire_graph_print_request *request,
			    struct wire_graph_print_reply *reply)
{
	struct stat status;
	char path[32];
	CUgraph graph;
	CUresult result = worker_handle_find(call, KIND_graph, request->graph, false, &graph);

	if (!result && !worker_driver.cuGraphDebugDotPrint)
		result = CUDA_ERROR_NOT_SUPPORTED;
	if (result)
		return result;
	pthread_mutex_lock(&text_lock);
	if (!text_open(path, sizeof(path)))
		result = CUDA_ERROR_OPERATING_SYSTEM;
	if (!result)
		result = worker_driver.cuGraphDebugDotPrint(graph, path, request->flags);
	if (!result && fstat(text_fd, &status) < 0)
		result = CUDA_ERROR_OPERATING_SYSTEM;
	if (!result && status.st_size > (off_t)TEXT_BYTES_MAX)
		result = CUDA_ERROR_NOT_SUPPORTED;
	if (!result)
		reply->bytes = (uint64_t)status.st_size;
	pthread_mutex_unlock(&text_lock);
	return result;
}

CUresult worker_graph_print_part(struct worker_call *call,
				 const struct wire_graph_print_part_request *request)
{
	ssize_t got = -1;

	pthread_mutex_lock(&text_lock);
	if (text_fd >= 0 && request->offset < TEXT_BYTES_MAX)
		got = pread(text_fd, call->reply, PART_BYTES, (off_t)request->offset);
	pthread_mutex_unlock(&text_lock);
	if (got < 0)
		return CUDA_ERROR_INVALID_VALUE;
	memset(call->reply + got, 0, 8); /* up to the next multiple */
	call->reply_tail_bytes = (size_t)got;
	return CUDA_SUCCESS;
}
