// SPDX-License-Identifier: Apache-2.0
// Launches from four host threads at once, each with a stream and memory of its own, and checks
// each thread's results; then hands data from thread to thread through the device, ordered by
// nothing but a mutex on the host and the legacy stream. One thread fails on purpose in between:
// the last error must stay that thread's own.
#include "common.h"

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

constexpr int thread_count = 4;
constexpr int elements = 3000;

__global__ void scale_and_add(unsigned int *values, int count, unsigned int factor,
			      unsigned int addend)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;

	if (i < count)
		values[i] = values[i] * factor + addend;
}

struct thread_result {
	bool own_right;	  // the thread's own stream
	bool error_right; // the last error as this thread must see it
};

static void run_thread(int number, long launches, thread_result *result)
{
	std::vector<unsigned int> values(elements), expected(elements);
	unsigned int *device;
	cudaStream_t stream;

	for (int i = 0; i < elements; i++)
		values[i] = expected[i] = i * (number + 1);
	CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
	CHECK(cudaMalloc(&device, elements * sizeof(unsigned int)));
	CHECK(cudaMemcpyAsync(device, values.data(), elements * sizeof(unsigned int),
			      cudaMemcpyHostToDevice, stream));
	for (long launch = 0; launch < launches; launch++) {
		unsigned int factor = 2 * launch + 3, addend = launch + number;

		scale_and_add<<<(elements + 95) / 96, 96, 0, stream>>>(device, elements, factor,
								       addend);
		for (unsigned int &value : expected)
			value = value * factor + addend;
	}
	if (number == 2)
		scale_and_add<<<1, 100000, 0, stream>>>(device, elements, 1, 1);
	cudaError_t last = cudaGetLastError();
	result->error_right = last == (number == 2 ? cudaErrorInvalidValue : cudaSuccess);
	CHECK(cudaMemcpyAsync(values.data(), device, elements * sizeof(unsigned int),
			      cudaMemcpyDeviceToHost, stream));
	CHECK(cudaStreamSynchronize(stream));
	CHECK(cudaFree(device));
	CHECK(cudaStreamDestroy(stream));
	result->own_right = values == expected;
}

// Threads take turns at one buffer: the order they agree on must be the device's order too.
struct relay {
	std::mutex lock;
	std::condition_variable moved;
	int turn = 0;
	unsigned int *device;
};

static void run_relay(relay *shared, int number, int rounds)
{
	for (int round = 0; round < rounds; round++) {
		int my_turn = round * thread_count + number;
		std::unique_lock<std::mutex> held(shared->lock);

		shared->moved.wait(held, [&] { return shared->turn == my_turn; });
		scale_and_add<<<(elements + 255) / 256, 256>>>(shared->device, elements,
							       2 * number + 3, my_turn);
		CHECK(cudaGetLastError());
		shared->turn++;
		shared->moved.notify_all();
	}
}

static bool relay_right(int rounds)
{
	std::vector<unsigned int> values(elements), expected(elements, 0);
	std::vector<std::thread> threads;
	relay shared;

	CHECK(cudaMalloc(&shared.device, elements * sizeof(unsigned int)));
	CHECK(cudaMemset(shared.device, 0, elements * sizeof(unsigned int)));
	for (int number = 0; number < thread_count; number++)
		threads.emplace_back(run_relay, &shared, number, rounds);
	for (std::thread &thread : threads)
		thread.join();
	CHECK(cudaMemcpy(values.data(), shared.device, elements * sizeof(unsigned int),
			 cudaMemcpyDeviceToHost));
	CHECK(cudaFree(shared.device));
	for (int turn = 0; turn < rounds * thread_count; turn++)
		for (unsigned int &value : expected)
			value = value * (2 * (turn % thread_count) + 3) + turn;
	return values == expected;
}

int main(int argc, char **argv)
{
	long launches = 50;
	thread_result results[thread_count] = {};
	std::vector<std::thread> threads;
	bool passed = true;

	program_begin("threads", argc, argv,
		      { { "--launches", &launches, 1, 10000000, "launches of each thread" } });
	double start = program_now_us();
	for (int number = 0; number < thread_count; number++)
		threads.emplace_back(run_thread, number, launches, &results[number]);
	for (std::thread &thread : threads)
		thread.join();
	program_time("threads", start);
	for (int number = 0; number < thread_count; number++) {
		printf("threads: thread %d: results %s, last error %s\n", number,
		       results[number].own_right ? "right" : "wrong",
		       results[number].error_right ? "its own" : "wrong");
		passed = passed && results[number].own_right && results[number].error_right;
	}
	bool relayed = relay_right(10);
	printf("threads: order of launches across threads %s\n", relayed ? "kept" : "lost");
	return program_end(passed && relayed);
}
