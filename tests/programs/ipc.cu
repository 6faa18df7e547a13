// SPDX-License-Identifier: Apache-2.0
//
// Device memory and events that two processes share: one allocates, both write, events alone say
// when.
//
//	ipc [--elements N] [--rounds N]
//
// The importing process is this program again, started before any CUDA call. Pipes carry handles
// and single bytes, which are sent while the work before them is still running: only the events
// order it.
#include "common.h"

#include <cerrno>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

static long element_count = 300000, round_count = 6;

// What the exporter sends first.
struct offer {
	cudaIpcMemHandle_t memory;
	cudaIpcEventHandle_t written;
};

// What the importer answers at its end.
struct verdict {
	unsigned int wrong;		 // elements that were not what the exporter wrote
	int same_address;		 // the handle opened a second time
	int freed, closed, closed_again; // what the runtime said
};

static void pass(int fd, const void *data, size_t bytes)
{
	if (write(fd, data, bytes) != ssize_t(bytes)) {
		fprintf(stderr, "ipc: write: %s\n", strerror(errno));
		exit(1);
	}
}

static void take(int fd, void *data, size_t bytes)
{
	for (size_t done = 0; done < bytes;) {
		ssize_t now = read(fd, (char *)data + done, bytes - done);

		if (now <= 0) {
			fprintf(stderr, "ipc: the other process is gone\n");
			exit(1);
		}
		done += now;
	}
}

// Takes its time before it writes, so that whoever does not wait reads what was there before.
__global__ void write_late(unsigned int *to, long count, unsigned int value, unsigned int *waste)
{
	unsigned int turns = value;

	for (int i = 0; i < 20000; i++)
		turns = turns * 1664525u + 1013904223u;
	if (threadIdx.x == 0 && blockIdx.x == 0)
		*waste = turns;
	for (long i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x)
		to[i] = value + (unsigned int)i;
}

__global__ void compare(const unsigned int *from, long count, unsigned int value,
			unsigned int *wrong)
{
	for (long i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x)
		if (from[i] != value + (unsigned int)i)
			atomicAdd(wrong, 1u);
}

static unsigned int *counter()
{
	unsigned int *made;

	CHECK(cudaMalloc(&made, 2 * sizeof(*made)));
	CHECK(cudaMemset(made, 0, 2 * sizeof(*made)));
	CHECK(cudaDeviceSynchronize());
	return made;
}

static int code(cudaError_t error)
{
	cudaGetLastError(); // no later call shall report it
	return int(error);
}

// Reads what the exporter wrote in each round, and answers in the same memory.
static int import(int from, int to)
{
	unsigned int *memory, *again, *wrong = counter();
	cudaIpcEventHandle_t handle;
	cudaEvent_t written, answered;
	cudaStream_t stream;
	verdict verdict = {};
	offer offer;
	char byte = 0;

	CHECK(cudaStreamCreate(&stream));
	CHECK(cudaEventCreateWithFlags(&answered, cudaEventDisableTiming | cudaEventInterprocess));
	CHECK(cudaIpcGetEventHandle(&handle, answered));
	pass(to, &handle, sizeof(handle));
	take(from, &offer, sizeof(offer));
	CHECK(cudaIpcOpenEventHandle(&written, offer.written));
	CHECK(cudaIpcOpenMemHandle((void **)&memory, offer.memory, cudaIpcMemLazyEnablePeerAccess));
	for (long round = 0; round < round_count; round++) {
		take(from, &byte, 1);
		CHECK(cudaStreamWaitEvent(stream, written, 0));
		compare<<<8, 128, 0, stream>>>(memory, element_count, 1000 * round, wrong);
		write_late<<<8, 128, 0, stream>>>(memory, element_count, 1000 * round + 500,
						  wrong + 1);
		CHECK(cudaGetLastError());
		CHECK(cudaEventRecord(answered, stream));
		pass(to, &byte, 1);
	}
	CHECK(cudaStreamSynchronize(stream));
	CHECK(cudaMemcpy(&verdict.wrong, wrong, sizeof(verdict.wrong), cudaMemcpyDeviceToHost));
	CHECK(cudaIpcOpenMemHandle((void **)&again, offer.memory, cudaIpcMemLazyEnablePeerAccess));
	verdict.same_address = again == memory;
	verdict.freed = code(cudaFree(memory));
	CHECK(cudaIpcCloseMemHandle(again));
	verdict.closed = code(cudaIpcCloseMemHandle(memory));
	verdict.closed_again = code(cudaIpcCloseMemHandle(memory));
	CHECK(cudaEventDestroy(written));
	CHECK(cudaEventDestroy(answered));
	pass(to, &verdict, sizeof(verdict));
	return 0;
}

static bool refused(const char *what, cudaError_t error, cudaError_t expected)
{
	code(error);
	printf("%s: %s\n", what, cudaGetErrorName(error));
	return error == expected;
}

// What CUDA refuses to the process that shares.
static bool refusals(const offer &offer)
{
	cudaIpcMemHandle_t handle;
	cudaIpcEventHandle_t event_handle;
	cudaEvent_t plain, opened;
	void *host, *memory;
	bool good = true;

	CHECK(cudaEventCreateWithFlags(&plain, cudaEventDisableTiming));
	CHECK(cudaMallocHost(&host, 4096));
	good &= refused("own memory opened",
			cudaIpcOpenMemHandle(&memory, offer.memory, cudaIpcMemLazyEnablePeerAccess),
			cudaErrorDeviceUninitialized);
	good &= refused("own event opened", cudaIpcOpenEventHandle(&opened, offer.written),
			cudaErrorDeviceUninitialized);
	good &= refused("handle of host memory", cudaIpcGetMemHandle(&handle, host),
			cudaErrorInvalidValue);
	good &= refused("handle of an event of one process",
			cudaIpcGetEventHandle(&event_handle, plain),
			cudaErrorInvalidResourceHandle);
	good &= refused("an event with times for several processes",
			cudaEventCreateWithFlags(&opened, cudaEventInterprocess),
			cudaErrorInvalidValue);
	CHECK(cudaFreeHost(host));
	CHECK(cudaEventDestroy(plain));
	return good;
}

static bool export_to(int to, int from)
{
	unsigned int *memory, *wrong = counter(), found;
	cudaIpcEventHandle_t handle;
	cudaEvent_t written, answered;
	cudaStream_t stream;
	verdict verdict;
	offer offer;
	char byte = 0;
	bool good;

	CHECK(cudaStreamCreate(&stream));
	CHECK(cudaMalloc(&memory, element_count * sizeof(*memory)));
	CHECK(cudaMemset(memory, 0xff, element_count * sizeof(*memory)));
	CHECK(cudaDeviceSynchronize());
	CHECK(cudaEventCreateWithFlags(&written, cudaEventDisableTiming | cudaEventInterprocess));
	CHECK(cudaIpcGetMemHandle(&offer.memory, memory));
	CHECK(cudaIpcGetEventHandle(&offer.written, written));
	take(from, &handle, sizeof(handle));
	CHECK(cudaIpcOpenEventHandle(&answered, handle));
	pass(to, &offer, sizeof(offer));
	for (long round = 0; round < round_count; round++) {
		write_late<<<8, 128, 0, stream>>>(memory, element_count, 1000 * round, wrong + 1);
		CHECK(cudaGetLastError());
		CHECK(cudaEventRecord(written, stream));
		pass(to, &byte, 1);
		take(from, &byte, 1);
		CHECK(cudaStreamWaitEvent(stream, answered, 0));
		compare<<<8, 128, 0, stream>>>(memory, element_count, 1000 * round + 500, wrong);
	}
	CHECK(cudaStreamSynchronize(stream));
	CHECK(cudaMemcpy(&found, wrong, sizeof(found), cudaMemcpyDeviceToHost));
	good = refusals(offer);
	take(from, &verdict, sizeof(verdict)); // the importer has closed
	CHECK(cudaFree(memory));
	printf("%ld rounds: %u wrong elements here, %u there\n", round_count, found, verdict.wrong);
	printf("opened again at the same address: %s\n", verdict.same_address ? "yes" : "no");
	good &= refused("imported memory freed", cudaError_t(verdict.freed), cudaErrorInvalidValue);
	good &= refused("closed", cudaError_t(verdict.closed), cudaSuccess);
	good &= refused("closed again", cudaError_t(verdict.closed_again), cudaErrorInvalidValue);
	return good && !found && !verdict.wrong && verdict.same_address;
}

int main(int argc, char **argv)
{
	int there[2], back[2], status;
	const char *role = getenv("IPC_IMPORTER"); // the descriptors that the child has
	pid_t child;
	bool good;

	program_options("ipc", argc, argv,
			{ { "--elements", &element_count, 1, 100000000, "numbers to share" },
			  { "--rounds", &round_count, 1, 100000, "times that each side writes" } });
	if (role) {
		if (sscanf(role, "%d,%d", &there[0], &back[1]) != 2)
			return 1;
		return import(there[0], back[1]);
	}
	if (pipe(there) || pipe(back)) {
		perror("ipc: pipe");
		return 1;
	}
	child = fork();
	if (!child) {
		std::string mine = std::to_string(there[0]) + "," + std::to_string(back[1]);

		close(there[1]);
		close(back[0]);
		setenv("IPC_IMPORTER", mine.c_str(), 1);
		execv("/proc/self/exe", argv);
		_exit(1);
	}
	close(there[0]);
	close(back[1]);
	program_show_device();
	good = export_to(there[1], back[0]);
	good &= waitpid(child, &status, 0) == child && status == 0;
	return program_end(good);
}
