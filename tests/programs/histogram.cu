// SPDX-License-Identifier: Apache-2.0
// Counts how often each byte value occurs: atomics in shared memory, then in global memory.
#include "common.h"

#include <vector>

__global__ void histogram(const unsigned char *bytes, long count, unsigned int *bins)
{
	__shared__ unsigned int local[256];

	for (int i = threadIdx.x; i < 256; i += blockDim.x)
		local[i] = 0;
	__syncthreads();
	for (long i = blockIdx.x * long(blockDim.x) + threadIdx.x; i < count;
	     i += long(gridDim.x) * blockDim.x)
		atomicAdd(&local[bytes[i]], 1u);
	__syncthreads();
	for (int i = threadIdx.x; i < 256; i += blockDim.x)
		atomicAdd(&bins[i], local[i]);
}

int main(int argc, char **argv)
{
	long count = 1 << 20, blocks = 64;

	program_begin("histogram", argc, argv,
		      { { "--bytes", &count, 1, 1L << 31, "how many bytes" },
			{ "--blocks", &blocks, 1, 65535, "blocks of the launch" } });
	std::vector<unsigned char> bytes(count);
	std::vector<unsigned int> bins(256), expected(256);
	program_sequence sequence(4);
	for (unsigned char &byte : bytes) {
		// The product of two bytes leaves the bins unequal, so that a mix-up shows.
		byte = (sequence.next() & 0xff) * (sequence.next() & 0xff) >> 8;
		expected[byte]++;
	}

	unsigned char *device_bytes;
	unsigned int *device_bins;
	CHECK(cudaMalloc(&device_bytes, count));
	CHECK(cudaMalloc(&device_bins, 256 * sizeof(unsigned int)));
	CHECK(cudaMemset(device_bins, 0, 256 * sizeof(unsigned int)));
	double start = program_now_us();
	CHECK(cudaMemcpy(device_bytes, bytes.data(), count, cudaMemcpyHostToDevice));
	program_time("copy_in", start);
	start = program_now_us();
	histogram<<<blocks, 256>>>(device_bytes, count, device_bins);
	CHECK(cudaGetLastError());
	CHECK(cudaDeviceSynchronize());
	program_time("kernel", start);
	CHECK(cudaMemcpy(bins.data(), device_bins, 256 * sizeof(unsigned int),
			 cudaMemcpyDeviceToHost));
	CHECK(cudaFree(device_bytes));
	CHECK(cudaFree(device_bins));

	int wrong = 0, fullest = 0;
	for (int i = 0; i < 256; i++) {
		wrong += bins[i] != expected[i];
		fullest = bins[i] > bins[fullest] ? i : fullest;
	}
	printf("histogram: %ld bytes, %d bins wrong, fullest bin %d with %u\n", count, wrong,
	       fullest, bins[fullest]);
	return program_end(wrong == 0);
}
