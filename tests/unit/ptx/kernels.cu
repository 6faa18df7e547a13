// SPDX-License-Identifier: Apache-2.0
// Kernels whose PTX the unit tests run; kernels.ptx was made from this file with
//	nvcc -ptx kernels.cu
#include <cassert>
#include <cstdio>

#include <cooperative_groups.h>
#include <cuda_fp16.h>

namespace groups = cooperative_groups;

extern "C" __global__ void add(const float *a, const float *b, float *sum, int count)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;

	if (i < count)
		sum[i] = a[i] + b[i];
}

#define TILE 16
extern "C" __global__ void multiply(const float *a, const float *b, float *product, int size)
{
	__shared__ float tile_a[TILE][TILE], tile_b[TILE][TILE];
	int row = blockIdx.y * TILE + threadIdx.y, column = blockIdx.x * TILE + threadIdx.x;
	float sum = 0;

	for (int tile = 0; tile < size; tile += TILE) {
		tile_a[threadIdx.y][threadIdx.x] = a[row * size + tile + threadIdx.x];
		tile_b[threadIdx.y][threadIdx.x] = b[(tile + threadIdx.y) * size + column];
		__syncthreads();
		for (int k = 0; k < TILE; k++)
			sum += tile_a[threadIdx.y][k] * tile_b[k][threadIdx.x];
		__syncthreads();
	}
	product[row * size + column] = sum;
}

extern "C" __global__ void reduce(const float *values, float *sum, int count)
{
	__shared__ float partial[32];
	float mine = 0;

	for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x)
		mine += values[i];
	for (int distance = 16; distance; distance >>= 1)
		mine += __shfl_down_sync(~0u, mine, distance);
	if (threadIdx.x % 32 == 0)
		partial[threadIdx.x / 32] = mine;
	__syncthreads();
	if (threadIdx.x < 32) {
		mine = threadIdx.x < blockDim.x / 32 ? partial[threadIdx.x] : 0;
		for (int distance = 16; distance; distance >>= 1)
			mine += __shfl_down_sync(~0u, mine, distance);
		if (threadIdx.x == 0)
			atomicAdd(sum, mine);
	}
}

extern "C" __global__ void histogram(const unsigned char *bytes, unsigned *counts, int count)
{
	__shared__ unsigned mine[256];

	for (int i = threadIdx.x; i < 256; i += blockDim.x)
		mine[i] = 0;
	__syncthreads();
	for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x)
		atomicAdd(&mine[bytes[i]], 1);
	__syncthreads();
	for (int i = threadIdx.x; i < 256; i += blockDim.x)
		atomicAdd(&counts[i], mine[i]);
}

__device__ __noinline__ int fibonacci(int n)
{
	return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

extern "C" __global__ void recursion(int *results)
{
	results[threadIdx.x] = fibonacci(threadIdx.x % 12);
}

__device__ __noinline__ float square(float x)
{
	return x * x;
}
__device__ __noinline__ float twice(float x)
{
	return x + x;
}
__device__ float (*table[2])(float) = { square, twice };
__device__ int counter = 5;
__device__ int *counter_address = &counter;
__constant__ float coefficients[4] = { 1, 2, 3, 4 };

struct settings {
	int offset;
	double factor;
	char letters[5];
};

extern "C" __global__ void mixture(struct settings settings, int *whole, float *real)
{
	int local[16];

	whole[threadIdx.x] =
		settings.offset + settings.letters[threadIdx.x % 5] + *counter_address;
	real[threadIdx.x] =
		table[threadIdx.x & 1](coefficients[threadIdx.x & 3] + (float)settings.factor);
	for (int i = 0; i < 16; i++)
		local[i] = i * i + settings.offset;
	whole[threadIdx.x] += local[whole[threadIdx.x] & 15];
}

extern "C" __global__ void say(int limit)
{
	if (threadIdx.x < limit)
		printf("%d %5.2f %s %c|%-6lld|%06u|%x %p %%\n", (int)threadIdx.x - 1,
		       threadIdx.x * 0.5, "text", 'a' + threadIdx.x, 123456789012345ll, 42u, 255u,
		       (void *)0x1234);
	assert(limit < 100);
}

extern "C" __global__ void tiles(int *results)
{
	groups::thread_block block = groups::this_thread_block();
	auto tile = groups::tiled_partition<16>(block);
	int value = block.thread_rank();

	for (int distance = 8; distance; distance >>= 1)
		value += tile.shfl_xor(value, distance);
	results[block.thread_rank()] = value + (int)tile.ballot(tile.thread_rank() % 3 == 0);
	block.sync();
	if (threadIdx.x & 1) {
		auto active = groups::coalesced_threads();

		results[threadIdx.x] += 1000 * active.size() + 100 * active.thread_rank();
	}
}

extern "C" __global__ void whole_grid(int *sums, int rounds)
{
	groups::grid_group grid = groups::this_grid();

	for (int round = 0; round < rounds; round++) {
		if (threadIdx.x == 0)
			atomicAdd(&sums[round], round ? sums[round - 1] : 1);
		grid.sync();
	}
}

extern "C" __global__ void heap(int **pointers)
{
	int *mine = (int *)malloc(40 * sizeof(int));

	for (int i = 0; i < 40; i++)
		mine[i] = threadIdx.x + i;
	pointers[threadIdx.x] = mine;
	if (threadIdx.x & 1) {
		free(mine);
		pointers[threadIdx.x] = 0;
	}
}

/* A lock between lanes of one warp: the lane that holds it must be let on. */
extern "C" __global__ void locked(int *lock, int *value)
{
	while (atomicCAS(lock, 0, 1) != 0)
		;
	*(volatile int *)value = *(volatile int *)value + 1;
	__threadfence();
	atomicExch(lock, 0);
}

extern "C" __global__ void choose(int *results)
{
	int x = threadIdx.x, result = 0;

	switch (x % 9) {
	case 0:
		result = x * 3;
		break;
	case 1:
		result = x + 7;
		break;
	case 2:
		for (int i = 0; i < x; i++) {
			if (i == 20)
				break;
			if (i & 1)
				continue;
			result += i;
		}
		break;
	case 3:
		result = x ^ 0x55;
		/* fall through */
	case 4:
		result += 100;
		break;
	case 5:
		if (x > 40)
			return;
		result = -x;
		break;
	default:
		result = 1;
	}
	results[x] = result;
}

extern "C" __global__ void halves(const __half *a, const __half *b, __half *results, int count)
{
	int i = threadIdx.x;

	if (i < count)
		results[i] = __hfma(a[i], b[i], __hadd(a[i], __float2half(0.5f)));
}

extern "C" __global__ void doubles(const double *x, double *results)
{
	int i = threadIdx.x;

	results[i] = sin(x[i]) * exp(-x[i]) + sqrt(fabs(x[i])) / (1.0 + x[i] * x[i]);
}

extern "C" __global__ void generic(int *results, int which)
{
	extern __shared__ int shared[];
	int local[8];

	for (int i = 0; i < 8; i++)
		local[i] = i;
	int *chosen = which == 0 ? shared + 8 * threadIdx.x : which == 1 ? local : results;

	chosen[3] = 40 + which;
	results[threadIdx.x + 64] = chosen[3] + local[3];
}

extern "C" __global__ void forever(int *flag)
{
	while (*(volatile int *)flag == 0)
		;
}

extern "C" __global__ void touch(char *address)
{
	address[threadIdx.x] = 1;
}
