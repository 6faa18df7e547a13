// SPDX-License-Identifier: Apache-2.0
// Sums and finds the largest of many numbers: warps reduce by shuffles, blocks through shared
// memory, and a second launch reduces the blocks' results.
#include "common.h"

#include <vector>

struct partial {
	long long sum;
	int largest;
};

constexpr int block_threads = 256;
constexpr unsigned int all_lanes = 0xffffffffu;

__device__ partial combine(partial a, partial b)
{
	return { a.sum + b.sum, a.largest > b.largest ? a.largest : b.largest };
}

__device__ partial warp_reduce(partial value)
{
	for (int offset = 16; offset > 0; offset /= 2) {
		partial other;

		other.sum = __shfl_down_sync(all_lanes, value.sum, offset);
		other.largest = __shfl_down_sync(all_lanes, value.largest, offset);
		value = combine(value, other);
	}
	return value;
}

// Every thread of the block calls it; thread 0 has the result.
__device__ partial block_reduce(partial value)
{
	__shared__ partial of_warp[block_threads / 32];
	int lane = threadIdx.x % 32, warp = threadIdx.x / 32;

	value = warp_reduce(value);
	if (lane == 0)
		of_warp[warp] = value;
	__syncthreads();
	if (warp == 0) {
		value = lane < block_threads / 32 ? of_warp[lane] : partial{ 0, -0x7fffffff - 1 };
		value = warp_reduce(value);
	}
	return value;
}

__global__ void reduce_numbers(const int *numbers, long elements, partial *of_block)
{
	partial mine = { 0, -0x7fffffff - 1 };

	for (long i = blockIdx.x * long(blockDim.x) + threadIdx.x; i < elements;
	     i += long(gridDim.x) * blockDim.x)
		mine = combine(mine, { numbers[i], numbers[i] });
	mine = block_reduce(mine);
	if (threadIdx.x == 0)
		of_block[blockIdx.x] = mine;
}

__global__ void reduce_partials(const partial *of_block, int blocks, partial *result)
{
	partial mine = { 0, -0x7fffffff - 1 };

	for (int i = threadIdx.x; i < blocks; i += blockDim.x)
		mine = combine(mine, of_block[i]);
	mine = block_reduce(mine);
	if (threadIdx.x == 0)
		*result = mine;
}

int main(int argc, char **argv)
{
	long elements = 1 << 21, blocks = 96, repeat = 1;

	program_begin("reduction", argc, argv,
		      { { "--elements", &elements, 1, 1L << 31, "how many numbers" },
			{ "--blocks", &blocks, 1, 65535, "blocks of the first launch" },
			{ "--repeat", &repeat, 1, 1000000, "how often to launch" } });
	std::vector<int> numbers(elements);
	program_sequence sequence(3);
	for (int &number : numbers)
		number = sequence.between(-1000000, 1000000);

	int *device_numbers;
	partial *device_of_block, *device_result, result;
	CHECK(cudaMalloc(&device_numbers, elements * sizeof(int)));
	CHECK(cudaMalloc(&device_of_block, blocks * sizeof(partial)));
	CHECK(cudaMalloc(&device_result, sizeof(partial)));
	double start = program_now_us();
	CHECK(cudaMemcpy(device_numbers, numbers.data(), elements * sizeof(int),
			 cudaMemcpyHostToDevice));
	program_time("copy_in", start);
	for (long i = 0; i < repeat; i++) {
		start = program_now_us();
		reduce_numbers<<<blocks, block_threads>>>(device_numbers, elements,
							  device_of_block);
		reduce_partials<<<1, block_threads>>>(device_of_block, blocks, device_result);
		CHECK(cudaGetLastError());
		CHECK(cudaDeviceSynchronize());
		program_time("kernel", start);
	}
	CHECK(cudaMemcpy(&result, device_result, sizeof(result), cudaMemcpyDeviceToHost));
	CHECK(cudaFree(device_numbers));
	CHECK(cudaFree(device_of_block));
	CHECK(cudaFree(device_result));

	long long sum = 0;
	int largest = numbers[0];
	for (int number : numbers) {
		sum += number;
		largest = number > largest ? number : largest;
	}
	printf("reduction: %ld numbers, sum %lld, largest %d\n", elements, result.sum,
	       result.largest);
	if (sum != result.sum || largest != result.largest)
		printf("reduction: expected sum %lld, largest %d\n", sum, largest);
	return program_end(sum == result.sum && largest == result.largest);
}
